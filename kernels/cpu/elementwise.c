/* Activation alone, sum, product and per-channel affine, each with an activation after it.
 *
 * add, mul: x1 may be smaller than x0 in H, W or C, where it is 1 (numpy's broadcast).
 * affine: y = act(x * scale[c] + shift[c]): BatchNormalization that no convolution precedes.
 */
#include <string.h>

#include "arena.h"
#include "clones.h"
#include "onednn.h"

int cpu_act_prepare(thaw_step *step, const thaw_plan_context *plan, struct thaw_error *err) {
    cpu_builder builder;
    CPU_TRY(cpu_begin(&builder, step, plan, err));
    dnnl_alg_kind_t alg;
    float alpha, beta;
    cpu_act_algorithm(&step->epilogue, &alg, &alpha, &beta);
    cpu_md x = cpu_layout(step->in[0]);
    dnnl_primitive_attr_t attr;
    CPU_TRY(cpu_attributes(NULL, &attr));
    dnnl_primitive_desc_t desc;
    int code = (int)dnnl_eltwise_forward_primitive_desc_create(
        &desc, builder.engine, dnnl_forward_inference, alg, x, x, alpha, beta, attr);
    dnnl_primitive_attr_destroy(attr);
    if (code) return cpu_refuse(&builder, code, "this activation");
    cpu_call *call;
    CPU_TRY(cpu_add_call(&builder, desc, &call));
    CPU_TRY(cpu_bind_port(&builder, call, DNNL_ARG_SRC, step->in[0]));
    CPU_TRY(cpu_bind_port_as(&builder, call, DNNL_ARG_DST, step->out, x));
    return cpu_set_output(&builder, x);
}

/* y = act(x0 op x1 [+ shift]); with shift, x1 is scale. Leaves the descriptor to the caller. */
static int make_binary(cpu_builder *builder, dnnl_alg_kind_t alg, cpu_md x1, cpu_md shift,
                       dnnl_primitive_desc_t *desc) {
    cpu_md x0 = cpu_layout(builder->step->in[0]);
    dnnl_primitive_attr_t attr;
    CPU_TRY(cpu_epilogue(builder, shift, &attr));
    int code = (int)dnnl_binary_primitive_desc_create(desc, builder->engine, alg, x0, x1, x0, attr);
    dnnl_primitive_attr_destroy(attr);
    return code ? cpu_refuse(builder, code, "these operands") : 0;
}

static int binary_prepare(thaw_step *step, dnnl_alg_kind_t alg, const thaw_plan_context *plan,
                          struct thaw_error *err) {
    cpu_builder builder;
    CPU_TRY(cpu_begin(&builder, step, plan, err));
    /* Where both have one shape x1 takes x0's layout; a broadcast operand is small and stays. */
    const thaw_port *a = step->in[0], *b = step->in[1];
    bool same = a->H == b->H && a->W == b->W && a->C == b->C;
    cpu_source x1 = {.port = b, .md = cpu_layout(b)};
    if (same) CPU_TRY(cpu_source_in(&builder, b, cpu_layout(a), &x1));
    dnnl_primitive_desc_t desc;
    CPU_TRY(make_binary(&builder, alg, x1.md, NULL, &desc));
    cpu_call *call;
    CPU_TRY(cpu_add_call(&builder, desc, &call));
    CPU_TRY(cpu_bind_port(&builder, call, DNNL_ARG_SRC_0, a));
    CPU_TRY(cpu_bind_source(&builder, call, DNNL_ARG_SRC_1, &x1));
    CPU_TRY(cpu_bind_port_as(&builder, call, DNNL_ARG_DST, step->out, cpu_layout(a)));
    return cpu_set_output(&builder, cpu_layout(a));
}

int cpu_add_prepare(thaw_step *step, const thaw_plan_context *plan, struct thaw_error *err) {
    return binary_prepare(step, dnnl_binary_add, plan, err);
}

int cpu_mul_prepare(thaw_step *step, const thaw_plan_context *plan, struct thaw_error *err) {
    return binary_prepare(step, dnnl_binary_mul, plan, err);
}

int cpu_affine_prepare(thaw_step *step, const thaw_plan_context *plan, struct thaw_error *err) {
    cpu_builder builder;
    CPU_TRY(cpu_begin(&builder, step, plan, err));
    thaw_port channels = {.N = 1, .H = 1, .W = 1, .C = step->out->C};
    cpu_md md;
    CPU_TRY(cpu_port_md(&builder, &channels, dnnl_f32, dnnl_nchw, &md));
    dnnl_primitive_desc_t desc;
    CPU_TRY(make_binary(&builder, dnnl_binary_mul, md, md, &desc));
    cpu_call *call;
    CPU_TRY(cpu_add_call(&builder, desc, &call));
    CPU_TRY(cpu_bind_port(&builder, call, DNNL_ARG_SRC_0, step->in[0]));
    CPU_TRY(cpu_bind_constant(&builder, call, DNNL_ARG_SRC_1, step->scale, md, md));
    CPU_TRY(cpu_bind_constant(&builder, call, DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1,
                              step->shift, md, md));
    CPU_TRY(cpu_bind_port_as(&builder, call, DNNL_ARG_DST, step->out, cpu_layout(step->in[0])));
    return cpu_set_output(&builder, cpu_layout(step->in[0]));
}

/* ---- gradients ------------------------------------------------------------------------------- */

/* The activation's derivative, times dy: from the output where that is enough, so that the input
 * need not be kept. At a corner it is 0, as PyTorch has it. */

static size_t floats_of(const thaw_port *port) {
    return port->bytes / sizeof(float);
}

/* dx may be dy, number by number, which would keep the compiler from using vectors. */
#define IN_PLACE _Pragma("omp simd")

/* All memory of the port, padding included: where dy is 0, dx is. */
THAW_CLONES static void clip_backward(size_t n, float low, float high, const float *y,
                                      const float *dy, float *dx) {
    IN_PLACE
    for (size_t i = 0; i < n; i++) {
        float g = dy[i];
        dx[i] = ((y[i] > low) & (y[i] < high)) ? g : 0;
    }
}

THAW_CLONES static void leaky_backward(size_t n, float slope, const float *y, const float *dy,
                                       float *dx) {
    IN_PLACE
    for (size_t i = 0; i < n; i++)
        dx[i] = y[i] > 0 ? dy[i] : slope * dy[i];
}

THAW_CLONES static void elu_backward(size_t n, float a, const float *y, const float *dy,
                                     float *dx) {
    IN_PLACE
    for (size_t i = 0; i < n; i++)
        dx[i] = y[i] > 0 ? dy[i] : (y[i] + a) * dy[i];
}

THAW_CLONES static void sigmoid_backward(size_t n, float slope, const float *y, const float *dy,
                                         float *dx) {
    IN_PLACE
    for (size_t i = 0; i < n; i++)
        dx[i] = slope * y[i] * (1 - y[i]) * dy[i];
}

THAW_CLONES static void tanh_backward(size_t n, const float *y, const float *dy, float *dx) {
    IN_PLACE
    for (size_t i = 0; i < n; i++)
        dx[i] = (1 - y[i] * y[i]) * dy[i];
}

int cpu_act_backward(const thaw_step *step, const thaw_run_context *context) {
    const thaw_epilogue *e = &step->epilogue;
    size_t n = floats_of(step->dy);
    const float *dy = step->dy->data, *y = step->out->data;
    float *dx = step->dx[0]->data;
    switch (e->act) {
        case THAW_ACT_CLIP:
            clip_backward(n, e->a, e->b, y, dy, dx);
            return 0;
        case THAW_ACT_HARD_SIGMOID:
            /* a where it is neither 0 nor 1. */
            clip_backward(n, 0, 1, y, dy, dx);
            for (size_t i = 0; i < n; i++)
                dx[i] *= e->a;
            return 0;
        case THAW_ACT_LEAKY_RELU:
            if (e->a < 0) break;
            leaky_backward(n, e->a, y, dy, dx);
            return 0;
        case THAW_ACT_ELU:
            if (e->a < 0) break;
            elu_backward(n, e->a, y, dy, dx);
            return 0;
        case THAW_ACT_SIGMOID:
            sigmoid_backward(n, 1, y, dy, dx);
            return 0;
        case THAW_ACT_TANH:
            tanh_backward(n, y, dy, dx);
            return 0;
        case THAW_ACT_NONE:
        case THAW_ACT_SILU:
        case THAW_ACT_HARD_SWISH:
        case THAW_ACT_GELU:
        case THAW_ACT_GELU_TANH:
        case THAW_ACT_SOFTPLUS:
        case THAW_ACT_POWER:
            break;
    }
    return cpu_run_backward(step, context);
}

/* What needs the input is oneDNN's. */
int cpu_act_backward_prepare(thaw_step *step, const thaw_plan_context *plan,
                             struct thaw_error *err) {
    if (!thaw_act_needs_input(&step->epilogue)) return 0;
    cpu_builder builder;
    CPU_TRY(cpu_begin_backward(&builder, step, plan, err));
    dnnl_alg_kind_t alg;
    float alpha, beta;
    cpu_act_algorithm(&step->epilogue, &alg, &alpha, &beta);
    cpu_md x = cpu_layout(step->in[0]);
    dnnl_primitive_attr_t attr;
    dnnl_primitive_desc_t hint, desc = NULL;
    int code = (int)dnnl_eltwise_forward_primitive_desc_create(
        &hint, builder.engine, dnnl_forward_training, alg, x, x, alpha, beta, NULL);
    if (code) return cpu_refuse(&builder, code, "this activation");
    code = cpu_attributes(NULL, &attr);
    if (!code) {
        code = (int)dnnl_eltwise_backward_primitive_desc_create(&desc, builder.engine, alg, x, x, x,
                                                                alpha, beta, hint, attr);
        dnnl_primitive_attr_destroy(attr);
    }
    dnnl_primitive_desc_destroy(hint);
    if (code) return cpu_refuse(&builder, code, "this activation's gradient");
    cpu_call *call;
    CPU_TRY(cpu_add_call(&builder, desc, &call));
    CPU_TRY(cpu_bind_port(&builder, call, DNNL_ARG_SRC, step->in[0]));
    CPU_TRY(cpu_bind_port(&builder, call, DNNL_ARG_DIFF_DST, step->dy));
    return cpu_bind_port(&builder, call, DNNL_ARG_DIFF_SRC, step->dx[0]);
}

/* How a smaller operand is seen from the larger one's element (n, block, pixel, lane). */
typedef struct small_view {
    cpu_view v;
    int64_t image, block, pixel, lane; /* Strides; 0 along what it is 1 wide in. */
} small_view;

static int view_small(cpu_builder *builder, const thaw_port *port, const cpu_view *large,
                      small_view *s) {
    CPU_TRY(cpu_view_of(builder, port, &s->v));
    const cpu_view *v = &s->v;
    bool channels = v->C > 1, pixels = v->pixels > 1;
    /* A vector lies as a row whatever its blocks are, a plane as its pixels. */
    int64_t row = v->blocks * v->width;
    s->image = row * v->pixels;
    s->pixel = pixels ? (channels ? -1 : v->width) : 0;
    s->block = channels ? large->width : 0;
    s->lane = channels ? 1 : 0;
    return s->pixel < 0 ? cpu_refuse(builder, dnnl_unimplemented, "these operands") : 0;
}

/* Two operands, of which the second may be smaller. */
typedef struct binary_state {
    cpu_state state; /* First: step->backward_state is one. */
    small_view small;
} binary_state;

static bool is_smaller(const thaw_port *a, const thaw_port *b) {
    return a->H != b->H || a->W != b->W || a->C != b->C;
}

static int binary_backward_prepare(thaw_step *step, const thaw_plan_context *plan,
                                   struct thaw_error *err) {
    cpu_builder builder;
    CPU_TRY(cpu_begin_backward(&builder, step, plan, err));
    binary_state *state = thaw_arena_alloc(plan->arena, sizeof *state);
    if (!state) return cpu_refuse(&builder, dnnl_out_of_memory, "memory for the gradient");
    builder.state = &state->state;
    step->backward_state = state;
    CPU_TRY(cpu_view_of(&builder, step->out, &state->state.view));
    if (is_smaller(step->in[1], step->out))
        return view_small(&builder, step->in[1], &state->state.view, &state->small);
    return 0;
}

/* dx1 = the sum of f = dy or dy * x0 over what in[1] is 1 wide in. */
THAW_CLONES static void reduce_to_small(const binary_state *state, const float *dy, const float *x0,
                                        float *dx1, size_t n) {
    const cpu_view *v = &state->state.view;
    const small_view *s = &state->small;
    memset(dx1, 0, n * sizeof *dx1);
    for (int64_t i = 0; i < v->N; i++)
        for (int64_t k = 0; k < v->blocks; k++) {
            int64_t lanes = cpu_view_lanes(v, k);
            for (int64_t p = 0; p < v->pixels; p++) {
                int64_t at = ((i * v->blocks + k) * v->pixels + p) * v->width;
                float *to = dx1 + i * s->image + k * s->block + p * s->pixel;
                float sum = 0;
                if (s->lane)
                    for (int64_t l = 0; l < lanes; l++)
                        to[l] += x0 ? dy[at + l] * x0[at + l] : dy[at + l];
                else
                    for (int64_t l = 0; l < lanes; l++)
                        sum += x0 ? dy[at + l] * x0[at + l] : dy[at + l];
                if (!s->lane) *to += sum;
            }
        }
}

/* dx0 = dy * x1, of each pixel, channel or both. */
THAW_CLONES static void spread_small(const binary_state *state, const float *dy, const float *x1,
                                     float *dx0) {
    const cpu_view *v = &state->state.view;
    const small_view *s = &state->small;
    for (int64_t i = 0; i < v->N; i++)
        for (int64_t k = 0; k < v->blocks; k++) {
            int64_t lanes = cpu_view_lanes(v, k);
            for (int64_t p = 0; p < v->pixels; p++) {
                int64_t at = ((i * v->blocks + k) * v->pixels + p) * v->width, l = 0;
                const float *from = x1 + i * s->image + k * s->block + p * s->pixel;
                for (; l < lanes; l++)
                    dx0[at + l] = dy[at + l] * from[l * s->lane];
                for (; l < v->width; l++)
                    dx0[at + l] = 0;
            }
        }
}

/* An operand of the result's shape gets dy: as it is, or in its own layout. */
int cpu_add_backward_prepare(thaw_step *step, const thaw_plan_context *plan,
                             struct thaw_error *err) {
    if (is_smaller(step->in[1], step->out)) return binary_backward_prepare(step, plan, err);
    cpu_builder builder;
    CPU_TRY(cpu_begin_backward(&builder, step, plan, err));
    for (int i = 0; i < 2; i++) {
        if (!step->dx[i]) continue;
        dnnl_primitive_desc_t desc;
        cpu_call *call;
        CPU_TRY(cpu_copy_desc(&builder, cpu_layout(step->dy), cpu_layout(step->dx[i]), &desc));
        CPU_TRY(cpu_add_call(&builder, desc, &call));
        CPU_TRY(cpu_bind_port(&builder, call, DNNL_ARG_FROM, step->dy));
        CPU_TRY(cpu_bind_port(&builder, call, DNNL_ARG_TO, step->dx[i]));
    }
    return 0;
}

int cpu_add_backward(const thaw_step *step, const thaw_run_context *context) {
    if (!is_smaller(step->in[1], step->out)) return cpu_run_backward(step, context);
    if (step->dx[1])
        reduce_to_small(step->backward_state, step->dy->data, NULL, step->dx[1]->data,
                        floats_of(step->dx[1]));
    return 0;
}

/* The forward pass brings x1 to x0's layout; here each is read where it lies. */
int cpu_mul_backward_prepare(thaw_step *step, const thaw_plan_context *plan,
                             struct thaw_error *err) {
    if (is_smaller(step->in[1], step->out)) return binary_backward_prepare(step, plan, err);
    cpu_builder builder;
    CPU_TRY(cpu_begin_backward(&builder, step, plan, err));
    for (int i = 0; i < 2; i++) {
        if (!step->dx[i]) continue;
        cpu_md dy = cpu_layout(step->dy);
        cpu_target dx = {.port = step->dx[i], .want = cpu_layout(step->dx[i]), .md = dy};
        cpu_source other;
        CPU_TRY(cpu_source_in(&builder, step->in[1 - i], dy, &other));
        CPU_TRY(cpu_target_open(&builder, &dx));
        dnnl_primitive_attr_t attr;
        dnnl_primitive_desc_t desc;
        CPU_TRY(cpu_attributes(NULL, &attr));
        int code = (int)dnnl_binary_primitive_desc_create(&desc, builder.engine, dnnl_binary_mul,
                                                          dy, dy, dy, attr);
        dnnl_primitive_attr_destroy(attr);
        if (code) return cpu_refuse(&builder, code, "these operands' gradient");
        cpu_call *call;
        CPU_TRY(cpu_add_call(&builder, desc, &call));
        CPU_TRY(cpu_bind_port(&builder, call, DNNL_ARG_SRC_0, step->dy));
        CPU_TRY(cpu_bind_source(&builder, call, DNNL_ARG_SRC_1, &other));
        CPU_TRY(cpu_bind_target(&builder, call, DNNL_ARG_DST, &dx));
        CPU_TRY(cpu_target_close(&builder, &dx));
    }
    return 0;
}

int cpu_mul_backward(const thaw_step *step, const thaw_run_context *context) {
    if (!is_smaller(step->in[1], step->out)) return cpu_run_backward(step, context);
    const float *x0 = step->in[0]->data, *x1 = step->in[1]->data, *dy = step->dy->data;
    if (step->dx[0]) spread_small(step->backward_state, dy, x1, step->dx[0]->data);
    if (step->dx[1])
        reduce_to_small(step->backward_state, dy, x0, step->dx[1]->data, floats_of(step->dx[1]));
    return 0;
}

int cpu_affine_backward_prepare(thaw_step *step, const thaw_plan_context *plan,
                                struct thaw_error *err) {
    cpu_builder builder;
    CPU_TRY(cpu_begin_backward(&builder, step, plan, err));
    return cpu_view_of(&builder, step->out, &builder.state->view);
}

/* dscale += sum of dy x, dshift += sum of dy, over one image's block. */
THAW_CLONES static void affine_sums(int64_t pixels, int64_t width, int64_t lanes, const float *dy,
                                    const float *x, float *dscale, float *dshift) {
    for (int64_t p = 0; p < pixels; p++)
        for (int64_t l = 0; l < lanes; l++) {
            dscale[l] += dy[p * width + l] * x[p * width + l];
            dshift[l] += dy[p * width + l];
        }
}

THAW_CLONES static void affine_data(int64_t pixels, int64_t width, int64_t lanes, const float *dy,
                                    const float *scale, float *dx) {
    for (int64_t p = 0; p < pixels; p++) {
        for (int64_t l = 0; l < lanes; l++)
            dx[p * width + l] = dy[p * width + l] * scale[l];
        for (int64_t l = lanes; l < width; l++)
            dx[p * width + l] = 0;
    }
}

int cpu_affine_backward(const thaw_step *step, const thaw_run_context *context) {
    (void)context;
    const cpu_view *v = &((const cpu_state *)step->backward_state)->view;
    const float *dy = step->dy->data, *x = step->in[0]->data;
    float *dx = step->dx[0] ? step->dx[0]->data : NULL;
    if (step->dscale) memset(step->dscale, 0, (size_t)v->C * sizeof(float));
    if (step->dshift) memset(step->dshift, 0, (size_t)v->C * sizeof(float));
    for (int64_t i = 0; i < v->N * v->blocks; i++) {
        int64_t k = i % v->blocks, at = i * v->pixels * v->width, c = k * v->width;
        int64_t lanes = cpu_view_lanes(v, k);
        if (step->dscale)
            affine_sums(v->pixels, v->width, lanes, dy + at, x + at, step->dscale + c,
                        step->dshift + c);
        if (dx) affine_data(v->pixels, v->width, lanes, dy + at, step->scale + c, dx + at);
    }
    return 0;
}
