/* Softmax over some of each pixel's channels (ONNX 13).
 *
 *     y[c] = exp(x[c] - most) / sum of exp(x[k] - most),  k = c % groups, c % groups + groups, ...
 *
 * With groups = 1 over all channels. Channels k, k + groups, ... are the entries of an axis in front of
 * `groups` others, as of two branches that a network weighs against each other. Backward:
 *
 *     dx[c] = y[c] (dy[c] - sum of dy[k] y[k])
 */
#include <math.h>

#include "onednn.h"

int cpu_softmax_prepare(thaw_step *step, const thaw_plan_context *plan, struct thaw_error *err) {
    return cpu_loop_prepare(step, plan, err);
}

int cpu_softmax_backward_prepare(thaw_step *step, const thaw_plan_context *plan,
                                 struct thaw_error *err) {
    thaw_port *const in[] = {step->out, step->dy};
    return cpu_loop_backward_prepare(step, plan, 2, in, err);
}

/* n numbers, `stride` apart. */
static void softmax(int64_t n, int64_t stride, const float *x, float *y) {
    float most = x[0];
    double sum = 0;
    for (int64_t i = 1; i < n; i++)
        most = x[i * stride] > most ? x[i * stride] : most;
    for (int64_t i = 0; i < n; i++)
        sum += (double)(y[i * stride] = expf(x[i * stride] - most));
    for (int64_t i = 0; i < n; i++)
        y[i * stride] = (float)(y[i * stride] / sum);
}

int cpu_softmax_run(const thaw_step *step, const thaw_run_context *context) {
    const cpu_loop *loop = step->state;
    const thaw_port *port = step->out;
    const float *in[CPU_LOOP_PORTS];
    float *y;
    CPU_TRY(cpu_loop_start(loop, context, in, &y));
    int64_t n = port->C / step->groups;
    const float *x = in[0];
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < port->N * port->H * port->W; i++)
        for (int64_t c = 0; c < step->groups; c++)
            softmax(n, step->groups, x + i * port->C + c, y + i * port->C + c);
    return cpu_loop_end(loop, context);
}

int cpu_softmax_backward(const thaw_step *step, const thaw_run_context *context) {
    const cpu_loop *loop = step->backward_state;
    const thaw_port *port = step->out;
    const float *in[CPU_LOOP_PORTS];
    float *dx;
    CPU_TRY(cpu_loop_start(loop, context, in, &dx));
    int64_t n = port->C / step->groups, stride = step->groups;
    for (int64_t i = 0; i < port->N * port->H * port->W; i++)
        for (int64_t c = 0; c < stride; c++) {
            int64_t at = i * port->C + c;
            const float *y = in[0] + at, *dy = in[1] + at;
            double sum = 0;
            for (int64_t k = 0; k < n; k++)
                sum += (double)dy[k * stride] * y[k * stride];
            for (int64_t k = 0; k < n; k++)
                dx[at + k * stride] = (float)(y[k * stride] * (dy[k * stride] - sum));
        }
    return cpu_loop_end(loop, context);
}
