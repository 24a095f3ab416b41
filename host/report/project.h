/* Many-dimensional rows on a plane: their two principal components. */
#ifndef THAW_PROJECT_H
#define THAW_PROJECT_H

#include "top/head.h"

typedef struct thaw_plane {
    double share[2]; /* Of the variance, that the first and the second axis show. */
    double *x, *y;   /* [n], in the arena; the mean is at 0, 0. */
} thaw_plane;

/* Projects the n rows that index names. Deterministic, signs included: of each component the number
 * that is farthest from zero is above it. Rows that are all the same lie at 0, 0. The caller limits n,
 * since n * D numbers are held at once. ERR_NOMEM; what gather returns. */
thaw_status thaw_project(const thaw_rows *rows, const int64_t *index, int64_t n, thaw_arena *arena,
                         thaw_plane *plane, thaw_error *err);

#endif
