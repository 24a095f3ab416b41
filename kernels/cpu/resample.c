/* Rows and columns of y as weighted sums of x's: resizing, borders that repeat or mirror the picture,
 * every other pixel, a part of it, one pixel for all.
 *
 *     y[n,p,q,c] = sum over i, j of a[p,i] b[q,j] x[n, rows.from[p,i], columns.from[q,j], c]
 *
 * Terms of weight 0 are not read. Backward is the same sum the other way round.
 */
#include <string.h>

#include "clones.h"
#include "onednn.h"

int cpu_resample_prepare(thaw_step *step, const thaw_plan_context *plan, struct thaw_error *err) {
    return cpu_loop_prepare(step, plan, err);
}

int cpu_resample_backward_prepare(thaw_step *step, const thaw_plan_context *plan,
                                  struct thaw_error *err) {
    return cpu_loop_backward_prepare(step, plan, 1, &step->dy, err);
}

THAW_CLONES static void add_scaled(int64_t C, float weight, const float *x, float *y) {
    for (int64_t c = 0; c < C; c++)
        y[c] += weight * x[c];
}

/* y's row p of picture n, and x's numbers or, backwards, the other way. */
static void each_term(const thaw_step *step, int64_t n, int64_t p, const float *x, float *y,
                      const float *dy, float *dx) {
    const thaw_port *from = step->in[0], *to = step->out;
    const thaw_taps *rows = &step->rows, *columns = &step->columns;
    for (int64_t i = p * rows->n; i < (p + 1) * rows->n; i++) {
        int64_t row = (n * from->H + rows->from[i]) * from->W;
        if (rows->weight[i] == 0) continue;
        for (int64_t k = 0; k < to->W * columns->n; k++) {
            float weight = rows->weight[i] * columns->weight[k];
            int64_t at = (row + columns->from[k]) * from->C;
            int64_t out = ((n * to->H + p) * to->W + k / columns->n) * to->C;
            if (weight == 0) continue;
            if (y)
                add_scaled(to->C, weight, x + at, y + out);
            else
                add_scaled(to->C, weight, dy + out, dx + at);
        }
    }
}

int cpu_resample_run(const thaw_step *step, const thaw_run_context *context) {
    const cpu_loop *loop = step->state;
    const thaw_port *to = step->out;
    const float *in[CPU_LOOP_PORTS];
    float *y;
    CPU_TRY(cpu_loop_start(loop, context, in, &y));
    const float *x = in[0];
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < to->N * to->H; i++) {
        memset(y + i * to->W * to->C, 0, (size_t)(to->W * to->C) * sizeof *y);
        each_term(step, i / to->H, i % to->H, x, y, NULL, NULL);
    }
    return cpu_loop_end(loop, context);
}

int cpu_resample_backward(const thaw_step *step, const thaw_run_context *context) {
    const cpu_loop *loop = step->backward_state;
    const thaw_port *x = step->in[0], *y = step->out;
    const float *in[CPU_LOOP_PORTS];
    float *dx;
    CPU_TRY(cpu_loop_start(loop, context, in, &dx));
    memset(dx, 0, (size_t)(x->N * x->H * x->W * x->C) * sizeof *dx);
    for (int64_t i = 0; i < y->N * y->H; i++)
        each_term(step, i / y->H, i % y->H, NULL, NULL, in[0], dx);
    return cpu_loop_end(loop, context);
}
