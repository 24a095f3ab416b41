/* How well a number tells two kinds of rows apart. */
#ifndef THAW_AUROC_H
#define THAW_AUROC_H

#include <stddef.h>

#include "arena.h"
#include "status.h"

/* The area under the ROC curve: how probable it is that one of the `above` is larger than one of the
 * `below`, equal ones counting half; 0.5 says nothing, 1 all. NaN where either has none. No number is NaN.
 * ERR_NOMEM. */
thaw_status thaw_auroc(const float *below, size_t n_below, const float *above, size_t n_above,
                       double *auroc, thaw_error *err);

#endif
