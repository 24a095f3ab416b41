/* The benchmark of freeze depths: the same training at each depth, by seeds or folds.
 *
 * Each training is a process of its own, `thaw train` as the user would run it, so that it can be measured
 * (its peak of memory too), stopped, and gone on with. Pictures are decoded once, up to the lowest cut; what
 * deeper cuts need is computed from there, by the cache.
 *
 *   OUT/freeze.json    what was measured; report.html, freeze.csv: the same for people and for tables
 *   OUT/train.ini      what all trainings have in common
 *   OUT/runs/NAME/     of each training its figures; of the first at each depth the whole run
 */
#ifndef THAW_FREEZE_H
#define THAW_FREEZE_H

#include "options/options.h"

/* Runs the benchmark into options->out; one that was stopped goes on. Prints the table to stdout and the way
 * there to stderr. ERR_USAGE: options that cannot be compared, or OUT holds a benchmark of other options.
 * ERR_INTERRUPTED: stopped; what is finished stays. What no depth could be trained for. */
thaw_status thaw_freeze_run(const thaw_options *options, thaw_error *err);

#endif
