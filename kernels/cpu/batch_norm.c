/* Batch normalisation in training (Ioffe & Szegedy 2015; ONNX 15 with training_mode).
 *
 *     y[i,c] = (x[i,c] - mean[c]) / sqrt(var[c] + epsilon) * scale[c] + shift[c]
 *
 * over the pixels i of all images, n of them. mean, var: the batch's, var without Bessel's
 * correction, summed in double. Backward, with z = (x - mean) / sqrt(var + epsilon):
 *
 *     dshift = sum dy;  dscale = sum dy z;  dx = scale / sqrt(var + epsilon) (dy - (dshift + z dscale) / n)
 *
 * Outside of training the running statistics take the batch's place.
 */
#include <math.h>
#include <string.h>

#include "arena.h"
#include "clones.h"
#include "onednn.h"
#include "status.h"

/* Beside the state: room for a number of each channel, padding included. */
typedef struct norm_state {
    cpu_state state;
    double *sum;          /* [blocks * width] */
    double *second;       /* The same: sums of squares, or of dy z. */
    float *mean, *scale;  /* The same: y = (x - mean) scale + the step's shift. */
    float *shift, *slope; /* The same. */
} norm_state;

static int open_state(thaw_step *step, const thaw_plan_context *plan, cpu_builder *builder,
                      norm_state **out) {
    norm_state *state = thaw_arena_alloc(plan->arena, sizeof *state);
    if (!state) return cpu_refuse(builder, dnnl_out_of_memory, "memory for its sums");
    builder->state = &state->state;
    CPU_TRY(cpu_view_of(builder, step->in[0], &state->state.view));
    size_t n = (size_t)(state->state.view.blocks * state->state.view.width);
    state->sum = thaw_arena_array(plan->arena, n, sizeof(double));
    state->second = thaw_arena_array(plan->arena, n, sizeof(double));
    state->scale = thaw_arena_array(plan->arena, n, sizeof(float));
    state->shift = thaw_arena_array(plan->arena, n, sizeof(float));
    state->mean = thaw_arena_array(plan->arena, n, sizeof(float));
    state->slope = thaw_arena_array(plan->arena, n, sizeof(float));
    if (!state->sum || !state->second || !state->scale || !state->shift || !state->mean ||
        !state->slope)
        return cpu_refuse(builder, dnnl_out_of_memory, "memory for its sums");
    *out = state;
    return 0;
}

int cpu_batch_norm_prepare(thaw_step *step, const thaw_plan_context *plan, struct thaw_error *err) {
    cpu_builder builder;
    norm_state *state = NULL;
    CPU_TRY(cpu_begin(&builder, step, plan, err));
    CPU_TRY(open_state(step, plan, &builder, &state));
    step->state = state;
    return cpu_set_output(&builder, cpu_layout(step->in[0]));
}

int cpu_batch_norm_backward_prepare(thaw_step *step, const thaw_plan_context *plan,
                                    struct thaw_error *err) {
    cpu_builder builder;
    norm_state *state = NULL;
    CPU_TRY(cpu_begin_backward(&builder, step, plan, err));
    CPU_TRY(open_state(step, plan, &builder, &state));
    step->backward_state = state;
    return 0;
}

/* sum[l] += a[l], second[l] += a[l] b[l], pixel by pixel. */
THAW_CLONES static void add_products(int64_t pixels, int64_t width, const float *a, const float *b,
                                     double *sum, double *second) {
    for (int64_t p = 0; p < pixels; p++)
        for (int64_t l = 0; l < width; l++) {
            double v = a[p * width + l];
            sum[l] += v;
            second[l] += v * b[p * width + l];
        }
}

/* sum of a and of a b over all images, for each channel. */
static void sum_products(norm_state *state, const float *a, const float *b) {
    const cpu_view *v = &state->state.view;
    size_t n = (size_t)(v->blocks * v->width);
    memset(state->sum, 0, n * sizeof *state->sum);
    memset(state->second, 0, n * sizeof *state->second);
    for (int64_t i = 0; i < v->N * v->blocks; i++) {
        int64_t at = i * v->pixels * v->width, c = i % v->blocks * v->width;
        add_products(v->pixels, v->width, a + at, b + at, state->sum + c, state->second + c);
    }
}

/* The mean goes off first: it may be far larger than what is left. */
THAW_CLONES static void normalise(int64_t pixels, int64_t width, const float *x, const float *mean,
                                  const float *scale, const float *shift, float *y) {
    for (int64_t p = 0; p < pixels; p++)
        for (int64_t l = 0; l < width; l++)
            y[p * width + l] = (x[p * width + l] - mean[l]) * scale[l] + shift[l];
}

/* dx = slope dy + by_x (x - mean) + constant, for each channel. */
THAW_CLONES static void spread(int64_t pixels, int64_t width, const float *dy, const float *x,
                               const float *mean, const float *slope, const float *by_x,
                               const float *constant, float *dx) {
    for (int64_t p = 0; p < pixels; p++)
        for (int64_t l = 0; l < width; l++)
            dx[p * width + l] =
                dy[p * width + l] * slope[l] + (x[p * width + l] - mean[l]) * by_x[l] + constant[l];
}

THAW_CLONES static void activate(size_t n, float low, float high, float *y) {
    for (size_t i = 0; i < n; i++) {
        float v = y[i] < low ? low : y[i];
        y[i] = v > high ? high : v;
    }
}

int cpu_batch_norm_run(const thaw_step *step, const thaw_run_context *context) {
    norm_state *state = step->state;
    const cpu_view *v = &state->state.view;
    const float *x = step->in[0]->data;
    float *y = step->out->data;
    double n = (double)(v->N * v->pixels);
    if (context->training) sum_products(state, x, x);
    for (int64_t c = 0; c < v->C; c++) {
        double mean, var;
        if (!context->training) {
            mean = step->mean[c];
            var = step->var[c];
        } else {
            mean = state->sum[c] / n;
            var = state->second[c] / n - mean * mean;
            if (var < 0) var = 0;
            step->batch_mean[c] = (float)mean;
            step->batch_var[c] = (float)var;
        }
        double scale = step->scale[c] / sqrt(var + (double)step->epsilon);
        state->scale[c] = (float)scale;
        state->mean[c] = (float)mean;
        state->shift[c] = step->shift[c];
    }
    for (int64_t i = 0; i < v->N * v->blocks; i++) {
        int64_t at = i * v->pixels * v->width, c = i % v->blocks * v->width;
        normalise(v->pixels, v->width, x + at, state->mean + c, state->scale + c, state->shift + c,
                  y + at);
    }
    if (step->epilogue.act == THAW_ACT_CLIP)
        activate(step->out->bytes / sizeof(float), step->epilogue.a, step->epilogue.b, y);
    return 0;
}

int cpu_batch_norm_backward(const thaw_step *step, const thaw_run_context *context) {
    (void)context;
    norm_state *state = step->backward_state;
    const cpu_view *v = &state->state.view;
    const float *x = step->in[0]->data, *dy = step->dy->data;
    double n = (double)(v->N * v->pixels);
    float *slope = state->slope, *by_x = state->scale, *constant = state->shift;
    sum_products(state, dy, x);
    for (int64_t c = 0; c < v->C; c++) {
        double mean = step->batch_mean[c];
        double r = 1 / sqrt((double)step->batch_var[c] + (double)step->epsilon);
        double dshift = state->sum[c], dscale = (state->second[c] - mean * dshift) * r;
        if (step->dshift) step->dshift[c] = (float)dshift;
        if (step->dscale) step->dscale[c] = (float)dscale;
        double scale = step->scale[c] * r;
        slope[c] = (float)scale;
        by_x[c] = (float)(-scale * dscale * r / n);
        constant[c] = (float)(-scale * dshift / n);
        state->mean[c] = (float)mean;
    }
    for (int64_t c = v->C; c < v->blocks * v->width; c++)
        slope[c] = by_x[c] = constant[c] = state->mean[c] = 0;
    if (!step->dx[0]) return 0;
    float *dx = step->dx[0]->data;
    for (int64_t i = 0; i < v->N * v->blocks; i++) {
        int64_t at = i * v->pixels * v->width, c = i % v->blocks * v->width;
        spread(v->pixels, v->width, dy + at, x + at, state->mean + c, slope + c, by_x + c,
               constant + c, dx + at);
    }
    return 0;
}
