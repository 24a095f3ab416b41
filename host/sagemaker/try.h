/* thaw sagemaker try: the whole life of a model at SageMaker on this machine, without an account there.
 *
 *   the request of `thaw sagemaker job` ─► BASE, as the platform lays it out (layout.h)
 *     `train` in it ─► SIGTERM ─► a fresh BASE with the checkpoints ─► `train` ─► model/, output/
 *     the request's expressions over the log ─► what CloudWatch shows (observed.h)
 *     model/ ─► model.tar.gz ─► a folder that cannot be written ─► `serve` ─► every test picture (asking.h)
 */
#ifndef THAW_TRY_H
#define THAW_TRY_H

#include "options/options.h"

/* Tries it with the pictures in a folder, which is only read, and options->model. Prints what happens to
 * stdout and stderr, and in the end a table of what was checked. All files are in a temporary folder that is
 * gone afterwards, unless sagemaker.keep is set. ERR_USAGE: what cannot be asked for; ERR_MISMATCH: a check
 * failed; ERR_INTERRUPTED. */
thaw_status thaw_try_run(const thaw_options *options, const char *pictures, thaw_error *err);

#endif
