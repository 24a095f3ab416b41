/* What the trainings of the depth benchmark left, put together. */
#ifndef THAW_FREEZE_RESULTS_H
#define THAW_FREEZE_RESULTS_H

#include "freeze_plan.h"
#include "price.h"

/* The benchmark, for its results. */
typedef struct thaw_freeze {
    const thaw_options *options;
    const char *out, *runs; /* OUT, OUT/runs. */
    const thaw_network *network;
    thaw_depths depths;
    int n_reps; /* Trainings a depth. */
    bool folds; /* They are folds; otherwise seeds. */
    size_t n_images;
    int threads;
    thaw_price price;
} thaw_freeze;

/* The folder of a training, from 0; in the arena, NULL when memory is short. */
const char *thaw_freeze_run_folder(const thaw_freeze *freeze, const thaw_depth *depth, int rep,
                                   thaw_arena *arena);

/* Writes OUT/freeze.json, freeze.csv and report.html of the depths whose trainings are all there, and prints
 * the table. The document is that of report/depth_page.h. ERR_DATA: no depth is there; ERR_MISMATCH: depths
 * were not measured on the same pictures; ERR_IO, ERR_FORMAT, ERR_NOMEM. */
thaw_status thaw_freeze_results_write(const thaw_freeze *freeze, thaw_error *err);

#endif
