/* Normalisation of groups of channels over each picture (Wu & He 2018; ONNX 21). One channel a group
 * is instance normalisation (ONNX 6), one group all of them.
 *
 *     y[n,p,c] = z scale[c] + shift[c],  z = (x[n,p,c] - mean) / sqrt(variance + epsilon)
 *
 * mean, variance: over the pixels and channels of c's group in picture n, summed in double. Backward,
 * with r = 1 / sqrt(variance + epsilon), d = dy scale[c] and means over the group:
 *
 *     dshift[c] = sum dy;  dscale[c] = sum dy z;  dx = r (d - mean of d - z mean of d z)
 */
#include <math.h>
#include <string.h>

#include "clones.h"
#include "onednn.h"

int cpu_group_norm_prepare(thaw_step *step, const thaw_plan_context *plan, struct thaw_error *err) {
    return cpu_loop_prepare(step, plan, err);
}

int cpu_group_norm_backward_prepare(thaw_step *step, const thaw_plan_context *plan,
                                    struct thaw_error *err) {
    thaw_port *const in[] = {step->in[0], step->dy};
    return cpu_loop_backward_prepare(step, plan, 2, in, err);
}

/* Channels first..first + each of a picture's pixels, which are C apart. */
typedef struct group {
    int64_t pixels, C, first, each;
    double mean, r;
} group;

/* The mean goes off before the squares: it may be far larger than what is left. */
static void find_moments(const float *x, double epsilon, group *g) {
    double n = (double)(g->pixels * g->each), sum = 0, squares = 0;
    for (int64_t p = 0; p < g->pixels; p++)
        for (int64_t c = 0; c < g->each; c++)
            sum += x[p * g->C + c];
    g->mean = sum / n;
    for (int64_t p = 0; p < g->pixels; p++)
        for (int64_t c = 0; c < g->each; c++) {
            double d = x[p * g->C + c] - g->mean;
            squares += d * d;
        }
    g->r = 1 / sqrt(squares / n + epsilon);
}

static group group_of(const thaw_step *step, int64_t i) {
    const thaw_port *x = step->in[0];
    int64_t each = x->C / step->groups;
    return (group){
        .pixels = x->H * x->W, .C = x->C, .first = i % step->groups * each, .each = each};
}

/* Where the i-th of all pictures' groups begins. */
static int64_t place_of(const thaw_step *step, const group *g, int64_t i) {
    return i / step->groups * g->pixels * g->C + g->first;
}

THAW_CLONES static void normalise(const thaw_step *step, const group *g, const float *x, float *y) {
    const float *scale = step->scale + g->first, *shift = step->shift + g->first;
    for (int64_t p = 0; p < g->pixels; p++)
        for (int64_t c = 0; c < g->each; c++)
            y[p * g->C + c] = (float)((x[p * g->C + c] - g->mean) * g->r * scale[c] + shift[c]);
}

int cpu_group_norm_run(const thaw_step *step, const thaw_run_context *context) {
    const cpu_loop *loop = step->state;
    const float *in[CPU_LOOP_PORTS];
    float *y;
    CPU_TRY(cpu_loop_start(loop, context, in, &y));
    const float *x = in[0];
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < step->in[0]->N * step->groups; i++) {
        group g = group_of(step, i);
        int64_t at = place_of(step, &g, i);
        find_moments(x + at, step->epsilon, &g);
        normalise(step, &g, x + at, y + at);
    }
    return cpu_loop_end(loop, context);
}

/* The sums of d and of d z, and the group's part of dscale and dshift. */
static void add_sums(const thaw_step *step, const group *g, const float *x, const float *dy,
                     double *sum, double *by_z) {
    *sum = *by_z = 0;
    for (int64_t c = 0; c < g->each; c++) {
        double plain = 0, with_z = 0, scale = step->scale[g->first + c];
        for (int64_t p = 0; p < g->pixels; p++) {
            double d = dy[p * g->C + c], z = (x[p * g->C + c] - g->mean) * g->r;
            plain += d;
            with_z += d * z;
        }
        if (step->dshift) step->dshift[g->first + c] += (float)plain;
        if (step->dscale) step->dscale[g->first + c] += (float)with_z;
        *sum += plain * scale;
        *by_z += with_z * scale;
    }
}

static void spread(const thaw_step *step, const group *g, const float *x, const float *dy,
                   double sum, double by_z, float *dx) {
    double n = (double)(g->pixels * g->each);
    const float *scale = step->scale + g->first;
    for (int64_t p = 0; p < g->pixels; p++)
        for (int64_t c = 0; c < g->each; c++) {
            int64_t k = p * g->C + c;
            double z = (x[k] - g->mean) * g->r;
            dx[k] = (float)(g->r * ((double)dy[k] * scale[c] - sum / n - z * by_z / n));
        }
}

int cpu_group_norm_backward(const thaw_step *step, const thaw_run_context *context) {
    const cpu_loop *loop = step->backward_state;
    const float *in[CPU_LOOP_PORTS];
    float *dx;
    CPU_TRY(cpu_loop_start(loop, context, in, &dx));
    size_t C = (size_t)step->in[0]->C;
    if (step->dscale) memset(step->dscale, 0, C * sizeof(float));
    if (step->dshift) memset(step->dshift, 0, C * sizeof(float));
    for (int64_t i = 0; i < step->in[0]->N * step->groups; i++) {
        group g = group_of(step, i);
        int64_t at = place_of(step, &g, i);
        double sum, by_z;
        find_moments(in[0] + at, step->epsilon, &g);
        add_sums(step, &g, in[0] + at, in[1] + at, &sum, &by_z);
        if (dx) spread(step, &g, in[0] + at, in[1] + at, sum, by_z, dx + at);
    }
    return cpu_loop_end(loop, context);
}
