/* One training run: from options to the run's folder. */
#ifndef THAW_TRAIN_H
#define THAW_TRAIN_H

#include "options/options.h"

/* What a caller may want to show afterwards. */
typedef struct thaw_train_summary {
    double top1;
    double seconds_total, seconds_without_cache;
} thaw_train_summary;

/* Runs options->data.train through options->model, trains a head, and writes options->out. Prints
 * the results to stdout and the way there to stderr. title: of the report. Nothing is left of a run
 * that failed, except rejected.csv in OUT.partial when pictures were the reason. */
thaw_status thaw_train_run(const thaw_options *options, const char *title,
                           thaw_train_summary *summary, thaw_error *err);

#endif
