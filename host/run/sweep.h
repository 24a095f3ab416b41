/* A sweep: the same training with many values, chosen by validation, from options to the sweep's folder.
 *
 * Points of the axes (points.h) become trials. Those that have the same frozen part, options above the
 * head and all, share one pass over the pictures; of them the linear heads of one batch and one seed are
 * trained at once (top/many.h), and successive halving (Jamieson & Talwalkar 2016) stops the worst at
 * rungs of their epochs. What cannot be trained at once is trained one after another, to the end: hidden
 * heads, the solver, and whatever lies above a cut.
 *
 * The best has the most right answers on the validation pictures, of equal ones the lowest loss, of these
 * the lowest number. Test pictures are looked at for the best alone.
 */
#ifndef THAW_SWEEP_H
#define THAW_SWEEP_H

#include "options/options.h"

/* Sweeps options->axes and writes sweep.json, sweep.csv and best.ini, which `thaw train` repeats to the
 * bit, into the folder of sweep.out; prints the table to stdout and the way there to stderr.
 * ERR_USAGE: there are no axes; ERR_DATA: nothing validates; ERR_INTERRUPTED: it was stopped; otherwise what a
 * training returns. What was tried before a failure is written all the same; nothing is left where there
 * is none. */
thaw_status thaw_sweep_run(const thaw_options *options, thaw_error *err);

#endif
