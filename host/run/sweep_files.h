/* What a sweep has found, as files and on the terminal. */
#ifndef THAW_SWEEP_FILES_H
#define THAW_SWEEP_FILES_H

#include "options/options.h"

/* One point, and what came of it. */
typedef struct thaw_trial {
    size_t id;                               /* From 1. */
    const char *const *values;               /* [axes] */
    double validation_loss, validation_top1; /* Of its last rung or its end; NaN: there is none. */
    int64_t epochs;                          /* That it ran. */
    bool stopped;                            /* By halving. */
    bool ended;                              /* Of its own, as thaw train would have ended. */
    const char *error;                       /* Why it has no result; NULL: it may have one. */
} thaw_trial;

/* Whether it can be the best. */
bool thaw_trial_counts(const thaw_trial *trial);

/* Below 0: a is better: more right answers on validation pictures, then a lower loss, then a lower number.
 * What failed is last. */
int thaw_trial_compare(const thaw_trial *a, const thaw_trial *b);

typedef struct thaw_sweep_record {
    const thaw_options *options;
    const char *model, *cut;
    thaw_trial *trials; /* [n_trials] */
    size_t n_trials;
    bool complete;          /* It was not stopped. */
    const thaw_trial *best; /* NULL: none has ended. */
    const thaw_options *best_options;
    int64_t n_validation;
    int64_t n_test; /* Test pictures; what the best scores on them: */
    double test_loss, test_top1;
    double started; /* Seconds of the clock. */
} thaw_sweep_record;

/* Writes sweep.json, sweep.csv and, where there is a best trial, best.ini. ERR_IO, ERR_NOMEM. */
thaw_status thaw_sweep_files_write(const thaw_sweep_record *record, const char *folder,
                                   thaw_arena *arena, thaw_error *err);

/* Prints the best trials and where the rest is: path. older: where an older sweep went, or NULL. */
void thaw_sweep_files_print(const thaw_sweep_record *record, const char *path, const char *older);

#endif
