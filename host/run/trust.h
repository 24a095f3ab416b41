/* How far to trust what a trained head says: the temperature that makes its scores probabilities, and from which
 * distance on a picture is unknown. Both are learnt from what validates. */
#ifndef THAW_TRUST_H
#define THAW_TRUST_H

#include "options/options.h"
#include "report/novelty_page.h"
#include "report/results.h"
#include "top/novelty_fit.h"
#include "unknown.h"

typedef struct thaw_trust {
    bool several;          /* Pictures may have several classes: there is nothing of this. */
    double rate;           /* That may be rejected of what is known; 0: nothing is. */
    double temperature;    /* 1: none was learnt. */
    int64_t n_calibrating; /* Pictures that it was learnt from; 0: it was given, or is none. */
    thaw_novelty_fit fit;
    int64_t n_known, n_known_all; /* Training pictures that are kept, and that there were. */
    thaw_unknown_source source;
    thaw_unknown unknown;
} thaw_trust;

/* Before anything is computed: what the options name that is not there. ERR_IO; ERR_USAGE. */
thaw_status thaw_trust_check(const thaw_options *options, thaw_error *err);

/* Once the dataset is open: what may be rejected, and what is unknown. Warns of a class that is called unknown.
 * The dataset outlives it. */
thaw_trust thaw_trust_begin(const thaw_options *options, const thaw_dataset *dataset,
                            thaw_log *log);

/* Where n = 0 pictures validate: nothing is rejected, which is said. ERR_USAGE: it was asked for, or any of this
 * where pictures may have several classes. */
thaw_status thaw_trust_check_validation(thaw_trust *trust, const thaw_options *options, int64_t n,
                                        thaw_log *log, thaw_error *err);

typedef struct thaw_trust_job {
    const thaw_options *options;
    const thaw_top_slots *top;
    int64_t K;
    thaw_head *head; /* Folded; gets the temperature. */
    /* Gives the rows of a split as the head reads them, until the next call. */
    thaw_status (*rows)(void *ctx, thaw_split split, thaw_rows *rows, thaw_error *err);
    void *ctx;
    bool stopped; /* Whoever has stopped the training does not wait for all training rows. */
    thaw_log *log;
} thaw_trust_job;

/* Learns the temperature, which the head gets; then, in the arena, what is unknown. ERR_NOMEM; ERR_BACKEND; what rows
 * and their gather return. */
thaw_status thaw_trust_calibrate(thaw_trust *trust, const thaw_trust_job *job, thaw_error *err);
thaw_status thaw_trust_learn(thaw_trust *trust, const thaw_trust_job *job, thaw_arena *arena,
                             thaw_error *err);

bool thaw_trust_has_unknown(const thaw_trust *trust);

/* "temperature", and "reject": {"method", "neighbours", "rate", "threshold", "rows", "validation", "trials": [{"method",
 * "neighbours", "auroc"}]} where something is rejected. */
void thaw_trust_json(const thaw_trust *trust, thaw_json *json, json_t *into);

/* Lines below the results' table. same: results are of the pictures that it was learnt from. */
void thaw_trust_print(FILE *out, const thaw_trust *trust, const thaw_results *results, bool same);

/* What the report shows of it. In the arena; ERR_NOMEM. */
thaw_status thaw_trust_show(const thaw_trust *trust, thaw_arena *arena, thaw_novelty_page *page,
                            thaw_error *err);

#endif
