/* Limited-memory BFGS: the minimum of a smooth function of many variables (Nocedal 1980; Liu and
 * Nocedal 1989; the line search is algorithms 3.5 and 3.6 of Nocedal and Wright 2006).
 *
 * Everything is in double and in a fixed order: the same function gives the same bits.
 */
#ifndef THAW_LBFGS_H
#define THAW_LBFGS_H

#include <stdint.h>

#include "arena.h"
#include "status.h"

typedef struct thaw_lbfgs {
    int64_t n; /* Variables. */
    /* The function at x and its gradient [n]. What fails here ends the search. */
    thaw_status (*evaluate)(void *ctx, const double *x, double *f, double *gradient,
                            thaw_error *err);
    void *ctx;
    double tolerance;        /* The search ends where no part of the gradient is larger, */
    int64_t most_iterations; /* or after so many steps. */
} thaw_lbfgs;

typedef struct thaw_lbfgs_result {
    double f;        /* At x. */
    double gradient; /* The largest part there, without its sign. */
    int64_t iterations, evaluations;
    bool converged; /* The tolerance was reached. Otherwise the steps ran out, or the function could
                     * not be told lower than it is: it is computed to so many digits only. */
} thaw_lbfgs_result;

/* Moves x [n], where the search starts, to a minimum. Takes (2 * 10 + 4) n numbers of memory from the
 * arena. ERR_NOMEM; ERR_DATA: the function or its gradient is not finite where the search starts; what
 * evaluate returns. */
thaw_status thaw_lbfgs_minimise(const thaw_lbfgs *problem, double *x, thaw_arena *arena,
                                thaw_lbfgs_result *result, thaw_error *err);

#endif
