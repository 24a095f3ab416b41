/* Whether a training above a cut fits into memory. */
#ifndef THAW_FIT_H
#define THAW_FIT_H

#include "tune.h"

/* What a step takes of one lane, of everything that lies between the job's values and is trained. */
thaw_status thaw_fit_measure(const thaw_tune_job *job, thaw_top_size *size, thaw_error *err);

/* What the whole training takes besides its rows: lanes that are under way at once, weights with gradients,
 * moments and what is kept, and a batch. */
thaw_status thaw_fit_bytes(const thaw_tune_job *job, size_t *bytes, thaw_error *err);

/* ERR_NOMEM where that is more than free_bytes: how much, and the nearest cut above that would do. cut: of
 * the job. */
thaw_status thaw_fit_check(const thaw_tune_job *job, const thaw_cuts *cuts, const thaw_cut *cut,
                           size_t free_bytes, thaw_error *err);

#endif
