/* What makes rows vary alike in every direction within their classes. */
#ifndef THAW_WHITEN_H
#define THAW_WHITEN_H

#include "arena.h"
#include "kernels.h"
#include "status.h"

enum { THAW_WHITEN_MOST_D = 2048 }; /* Its memory grows with the square, its time with the cube. */

/* From rows x [n, D] with labels [n] in 0 .. K-1: the covariance within classes, one for all, drawn towards a
 * multiple of the identity by as much as rows this few call for (Ledoit and Wolf 2004), C = L L^T; and
 *
 *   centre [D]: the mean of the class means    whiten [D, D] = L^-1, lower triangular
 *   means [*n_means, D]: whiten (mean - centre) of the classes that have rows, in their order; room for K
 *
 * In double and in a fixed order. *n_means 0: the rows do not vary within their classes, or D is larger than
 * THAW_WHITEN_MOST_D. ERR_NOMEM; ERR_BACKEND. */
thaw_status thaw_whiten_fit(const thaw_top_slots *top, int64_t n, int64_t D, const float *x,
                            const int32_t *label, int64_t K, float *centre, float *whiten,
                            float *means, int64_t *n_means, thaw_error *err);

#endif
