/* One training run: from options to the run's folder. */
#ifndef THAW_TRAIN_H
#define THAW_TRAIN_H

#include "log.h"
#include "options/options.h"
#include "top/trainer.h"

/* What a caller may want to show afterwards. */
typedef struct thaw_train_summary {
    bool written; /* options->out is there, also of a run that was stopped. */
    double top1;
    double seconds_total, seconds_without_cache;
} thaw_train_summary;

/* Runs options->data.train through options->model, trains a head, and writes options->out. Prints
 * the results to stdout and the way there to stderr. title: of the report. Nothing is left of a run
 * that failed, except rejected.csv in OUT.partial when pictures were the reason. ERR_INTERRUPTED: it was stopped, and the sentence says so if with
 * options->checkpoint.bundle it has written options->out all the same, without a report. */
thaw_status thaw_train_run(const thaw_options *options, const char *title,
                           thaw_train_summary *summary, thaw_error *err);

/* A training without a folder of its own, for whoever tries several: from options to features once, then
 * as many heads on them as are wanted. */
typedef struct thaw_training thaw_training;

/* folder gets rejected.csv; it and options must outlive the training. Close it also after an error. */
thaw_status thaw_training_open(thaw_training **training, const thaw_options *options,
                               const char *folder, thaw_error *err);
void thaw_training_close(thaw_training *training); /* NULL: nothing. */

typedef struct thaw_training_facts {
    bool several;         /* Pictures may have several classes. */
    bool has_top;         /* More than the head is trained: only one run can be made. */
    int64_t n_validation; /* Pictures. */
    const char *model, *cut;
    const thaw_backend *backend;
} thaw_training_facts;
thaw_training_facts thaw_training_look(const thaw_training *training);
thaw_log *thaw_training_log(thaw_training *training);

/* The training of a head that these options, which differ in the head's alone, ask for. */
thaw_train_job thaw_training_job(thaw_training *training, const thaw_options *options);

/* Trains a head as options have it, in place of the one before, and what lies above the cut. kept: the epoch
 * that is kept. Errors as thaw_train's and thaw_tune's. */
thaw_status thaw_training_run(thaw_training *training, const thaw_options *options,
                              thaw_epoch *kept, thaw_error *err);

/* What a folded head, or with NULL the one that run has trained, scores on the test pictures, of which
 * there may be none: metrics->n. Its last layer gets the temperature that a run's has: once a head. metrics belong
 * to the training. */
thaw_status thaw_training_test(thaw_training *training, thaw_head *head, thaw_metrics *metrics,
                               thaw_error *err);

#endif
