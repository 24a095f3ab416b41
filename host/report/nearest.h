/* The rows that are most like some others: cosine of the features that the head reads. */
#ifndef THAW_NEAREST_H
#define THAW_NEAREST_H

#include "top/head.h"

enum {
    THAW_NEAREST = 3, /* So many are found. */
    THAW_NEAREST_MOST_ROWS = 1 << 20,
};

typedef struct thaw_near {
    int64_t row; /* -1: there are fewer rows. */
    float cosine;
} thaw_near;

/* near [n][THAW_NEAREST]: for each of n rows x [n, D] the rows of `among` with the highest cosine, the
 * nearest first, of equal ones the first. All of `among` is read once, in order. self [n]: a row of
 * `among` that each is itself, and not its own neighbour; NULL: it is in none. A row of zeros is at 0
 * from all. x is left with lengths of 1. ERR_NOMEM; ERR_BACKEND; what gather returns. */
thaw_status thaw_nearest_find(const thaw_top_slots *top, float *x, const int64_t *self, int64_t n,
                              const thaw_rows *among, thaw_near (*near)[THAW_NEAREST],
                              thaw_error *err);

#endif
