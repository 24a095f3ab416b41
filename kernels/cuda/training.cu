/* The CUDA table's training slots: layers whose weights change, and all gradients.
 *
 * Ports are as table.cu has them, N,H,W,Cp, of float or bf16; what it computes without weights it
 * computes here, too. A layer's numbers lie where the engine has them in device memory, floats in ONNX's order; pack brings
 * them into the order and the type that is multiplied, and the gradient is brought back. A layer is
 *
 *     a product    by cuBLAS: dense, and 1x1 with stride 1
 *     cuDNN's      other convolutions without groups; where pads differ, which cuDNN does not know, of
 *                  x inside a border of zeros, in the workspace
 *     depthwise    those that have one filter a channel
 *     plain        other grouped ones, and what cuDNN has no kernel for
 *
 * and then, in a pass over y, the bias and the activation, which are depthwise layers' own. Products
 * by the libraries are of the ports' type, of tf32 where that is float and the plan allows it; sums, and
 * what kernels of our own multiply, are float. Where a layer's y is float and its x is not, which is so of
 * the last one, dy is rounded to x's type first.
 */
#include "training.h"

#include <cuda_runtime.h>
#include <stdio.h>
#include <string.h>

#include <algorithm>
#include <vector>

#include "blas.h"
#include "cuda_kernels.h"
#include "device.h"
#include "dnn.h"
#include "step.h"
#include "types.h"

namespace thaw {

enum layer_way { BY_PRODUCT, BY_CUDNN, DEPTHWISE, PLAIN };

/* Its step's constants: */
enum { PACKED_W, PACKED_B, ONES, COUNTERS };

/* Of a convolution or dense layer, in the plan's arena. */
struct layer_state {
    layer_way way;
    thaw_conv_shape shape;
    blas *products;
    dnn_conv *conv;
    size_t border_bytes; /* Of the workspace: x inside its pads; 0: cuDNN pads. */
    bool passes;         /* Over y, with bias or activation. */
    /* Of the workspace: packed dw, a bias's sums, dy in x's type; then the way's own. */
    size_t dw_bytes, sums_bytes, dy_bytes;
};

static layer_state *layer_of(const thaw_step *step) {
    return (layer_state *)((step_state *)step->state)->layer;
}

static float *constant(const thaw_step *step, int i) {
    return (float *)((step_state *)step->state)->constants[i];
}

static void *data_of(const thaw_port *port) {
    return port ? port->data : nullptr;
}

static size_t width(const thaw_port *port) {
    return thaw_dtype_bytes(port->dtype);
}

/* What a layer multiplies. */
static thaw_dtype factors_of(const thaw_step *step) {
    return step->in[0]->dtype;
}

static size_t aligned(size_t bytes) {
    return (bytes + 255) / 256 * 256;
}

static void want_workspace(thaw_step *step, size_t bytes) {
    if (step->workspace_bytes < bytes) step->workspace_bytes = bytes;
}

/* A launch of a gradient: a step of activation alone has no state. */
static thaw_cuda_launch launch_in(const thaw_run_context *context) {
    thaw_cuda_launch launch = {};
    launch.stream = (cudaStream_t)context->stream;
    return launch;
}

/* ---- layers --------------------------------------------------------------------------------- */

static bool is_product(const thaw_conv_shape &s) {
    const thaw_window &w = s.window;
    return s.G == 1 && w.R == 1 && w.S == 1 && w.stride_h == 1 && w.stride_w == 1 &&
           w.pad_top == 0 && w.pad_left == 0 && s.P == s.H && s.Q == s.W;
}

static int open_products(open_device *device, bool tf32, blas **products, thaw_error *err) {
    blas **opened = &device->products[tf32];
    int code = *opened ? 0 : blas_open(device->stream, tf32, opened, err);
    *products = *opened;
    return code;
}

/* The convolution of x inside its pads; false: it has none. */
static bool put_inside(thaw_conv_shape *s) {
    thaw_window *w = &s->window;
    if (w->pad_top < 0 || w->pad_left < 0 || w->pad_bottom < 0 || w->pad_right < 0) return false;
    int64_t rows = w->pad_top + w->pad_bottom, columns = w->pad_left + w->pad_right;
    s->H += rows;
    s->W += columns;
    w->pad_top = w->pad_left = w->pad_bottom = w->pad_right = 0;
    return rows > 0 || columns > 0;
}

/* The convolution by cuDNN, if it takes the shape; without gaps, since its channels are padded. */
static int open_convolution(open_device *device, thaw_dtype dtype, bool tf32, layer_state *layer,
                            thaw_error *err) {
    thaw_conv_shape padded = layer->shape;
    padded.C = padded_channels(padded.C);
    padded.K = padded_channels(padded.K);
    int code = device->convolutions ? 0 : dnn_open(device->stream, &device->convolutions, err);
    if (!code) code = dnn_conv_open(device->convolutions, &padded, dtype, tf32, &layer->conv, err);
    if (!code && !layer->conv && put_inside(&padded)) {
        code = dnn_conv_open(device->convolutions, &padded, dtype, tf32, &layer->conv, err);
        layer->border_bytes =
            aligned((size_t)(padded.N * padded.H * padded.W * padded.C) * thaw_dtype_bytes(dtype));
    }
    layer->way = layer->conv ? BY_CUDNN : PLAIN;
    return code;
}

static int choose_way(thaw_step *step, const thaw_plan_context *plan, layer_state *layer,
                      thaw_error *err) {
    open_device *device = (open_device *)plan->device;
    layer->way = PLAIN;
    const thaw_dtype dtype = factors_of(step);
    if (is_product(layer->shape)) {
        layer->way = BY_PRODUCT;
        return open_products(device, plan->tf32 && dtype == THAW_F32, &layer->products, err);
    }
    if (cuda_depthwise_trains(&layer->shape)) {
        layer->way = DEPTHWISE;
        return 0;
    }
    if (layer->shape.G > 1) return 0;
    thaw_error why = {};
    int code = open_convolution(device, dtype, plan->tf32, layer, &why);
    if (code) thaw_fail(err, why.code, "%s: it is trained by cuDNN: %.800s", step->name, why.text);
    return code;
}

/* A product without padding: its filter's order is the file's, and the gradient's. */
static bool lies_as_multiplied(const layer_state *layer) {
    return layer->way == BY_PRODUCT && layer->shape.C % 8 == 0 && layer->shape.K % 8 == 0;
}

static bool is_packed(const thaw_step *step) {
    const layer_state *layer = layer_of(step);
    return layer->way != PLAIN && !(lies_as_multiplied(layer) && factors_of(step) == THAW_F32);
}

static const void *filter_of(const thaw_step *step) {
    return is_packed(step) ? constant(step, PACKED_W) : step->w;
}

/* With as many channels as y has, or zeros. */
static const float *bias_of(const thaw_step *step) {
    bool whole = step->b && layer_of(step)->shape.K % 8 == 0;
    return whole ? step->b : constant(step, PACKED_B);
}

static size_t packed_count(const layer_state *layer) {
    const thaw_conv_shape &s = layer->shape;
    if (layer->way == DEPTHWISE) return cuda_depthwise_packed_count(&s);
    return (size_t)(padded_channels(s.K) * s.window.R * s.window.S * padded_channels(s.C));
}

static int layer_prepare(thaw_step *step, const thaw_plan_context *plan, thaw_error *err) {
    int code = begin_reading(step, plan, err);
    if (code) return code;
    layer_state *layer = (layer_state *)thaw_arena_alloc(plan->arena, sizeof *layer);
    if (!layer) {
        thaw_fail_memory(err, "to plan a layer");
        return (int)cudaErrorMemoryAllocation;
    }
    ((step_state *)step->state)->layer = layer;
    layer->shape = shape_of(step);
    code = choose_way(step, plan, layer, err);
    if (!code && is_packed(step)) {
        size_t each = layer->way == DEPTHWISE ? sizeof(float) : width(step->in[0]);
        code = keep(step, PACKED_W, nullptr, packed_count(layer) * each, err);
    }
    layer->passes = layer->way != DEPTHWISE && (step->b || step->epilogue.act != THAW_ACT_NONE);
    size_t Kp = (size_t)padded_channels(layer->shape.K);
    std::vector<float> ones(Kp, 1.0f);
    if (!code && (step->b || layer->passes))
        code = keep(step, PACKED_B, nullptr, Kp * sizeof(float), err);
    if (!code && layer->passes) code = keep(step, ONES, ones.data(), Kp * sizeof(float), err);
    if (!code && layer->conv)
        want_workspace(step, layer->border_bytes + layer->conv->forward_bytes);
    return code;
}

static void layer_release(thaw_step *step) {
    step_state *state = (step_state *)step->state;
    if (state && state->layer) dnn_conv_close(((layer_state *)state->layer)->conv);
    step_release(step);
}

static int layer_pack(const thaw_step *step, thaw_cuda_launch *launch) {
    const layer_state *layer = layer_of(step);
    int code = 0;
    if (layer->way == DEPTHWISE)
        code = cuda_pack_depthwise(launch, &layer->shape, step->w, constant(step, PACKED_W));
    else if (is_packed(step))
        code = cuda_pack_filter(launch, &layer->shape, factors_of(step), step->w,
                                constant(step, PACKED_W));
    if (!code && (step->b || layer->passes) && bias_of(step) != step->b)
        code = cuda_pad_channels(launch, layer->shape.K, step->b, constant(step, PACKED_B));
    return code;
}

/* A product's status in words: the table explains only the runtime's. */
static int finish_product(int code, const thaw_run_context *context) {
    if (code && context->err)
        thaw_fail(context->err, THAW_ERR_BACKEND, "%s (%d)", blas_explain(code), code);
    return code;
}

static int64_t pixels_of(const thaw_port *port) {
    return port->N * port->H * port->W;
}

static int run_depthwise(const thaw_step *step, thaw_cuda_launch *launch) {
    const layer_state *layer = layer_of(step);
    const float *w = constant(step, PACKED_W);
    thaw_cuda_depthwise d = {};
    d.shape = layer->shape;
    d.dtype = factors_of(step);
    d.act = step->epilogue.act;
    d.a = step->epilogue.a;
    d.b = step->epilogue.b;
    d.x = step->in[0]->data;
    d.w = w;
    d.bias = step->b ? bias_of(step) : cuda_depthwise_zeros(&layer->shape, w);
    d.y = step->out->data;
    return cuda_depthwise(launch, &d);
}

/* x as cuDNN's convolution wants it; `workspace` moves behind what that takes. */
static int take_inside(const thaw_step *step, const thaw_run_context *context, void **workspace,
                       const void **x) {
    const layer_state *layer = layer_of(step);
    const thaw_conv_shape &s = layer->shape;
    *x = step->in[0]->data;
    if (!layer->border_bytes) return 0;
    void *inside = *workspace;
    thaw_cuda_launch launch = launch_in(context);
    int code =
        finish(cuda_pad(&launch, s.N, s.H, s.W, s.C, &s.window, factors_of(step), *x, inside),
               launch, context);
    *x = inside;
    *workspace = (char *)inside + layer->border_bytes;
    return code;
}

static int forward_by_dnn(const thaw_step *step, const thaw_run_context *context) {
    void *workspace = context->workspace;
    const void *x;
    int code = take_inside(step, context, &workspace, &x);
    return code ? code
                : dnn_forward(layer_of(step)->conv, x, constant(step, PACKED_W), workspace,
                              step->out->data, context->err);
}

static int multiply(const thaw_step *step, const thaw_run_context *context) {
    const layer_state *layer = layer_of(step);
    const thaw_dtype dtype = factors_of(step);
    const thaw_port *x = step->in[0], *y = step->out;
    thaw_cuda_launch launch = launch_in(context);
    int64_t Cp = padded_channels(layer->shape.C), Kp = padded_channels(layer->shape.K);
    switch (layer->way) {
        case BY_PRODUCT:
            return finish_product(
                blas_gemm(layer->products, Kp, pixels_of(y), Cp, {dtype, filter_of(step), Cp, true},
                          {dtype, x->data, Cp, false}, {y->dtype, y->data, Kp}),
                context);
        case BY_CUDNN:
            return forward_by_dnn(step, context);
        case DEPTHWISE:
            return finish(run_depthwise(step, &launch), launch, context);
        case PLAIN:
            break;
    }
    return finish(cuda_plain_conv(&launch, &layer->shape, dtype, x->data, step->w, y->data), launch,
                  context);
}

static int layer_run(const thaw_step *step, const thaw_run_context *context) {
    const layer_state *layer = layer_of(step);
    int code = multiply(step, context);
    if (code || !layer->passes) return code;
    thaw_cuda_launch launch = launch_in(context);
    const thaw_port *y = step->out;
    thaw_cuda_elementwise p = {};
    p.N = y->N;
    p.H = y->H;
    p.W = y->W;
    p.C = y->C;
    p.dtype = y->dtype;
    p.act = step->epilogue.act;
    p.a = step->epilogue.a;
    p.b = step->epilogue.b;
    p.x0 = p.y = y->data;
    p.scale = constant(step, ONES);
    p.shift = bias_of(step);
    return finish(cuda_affine(&launch, &p), launch, context);
}

static size_t filter_workspace(const layer_state *layer) {
    switch (layer->way) {
        case BY_PRODUCT:
            return 0;
        case BY_CUDNN:
            return layer->border_bytes + layer->conv->filter_bytes;
        case DEPTHWISE:
            return cuda_depthwise_filter_workspace(&layer->shape) * sizeof(float);
        case PLAIN:
            break;
    }
    return cuda_plain_conv_filter_workspace(&layer->shape) * sizeof(float);
}

/* Of a filter's gradient as it is multiplied: a product's is of float, cuDNN's of the tensors' type. */
static thaw_dtype dw_type(const thaw_step *step) {
    return layer_of(step)->way == BY_CUDNN ? factors_of(step) : THAW_F32;
}

static int layer_gradient_prepare(thaw_step *step, const thaw_plan_context *, thaw_error *err) {
    layer_state *layer = layer_of(step);
    int64_t M = pixels_of(step->out), K = layer->shape.K;
    size_t most = 0;
    bool unpacks =
        layer->way == BY_CUDNN || (layer->way == BY_PRODUCT && !lies_as_multiplied(layer));
    if (step->dw && unpacks)
        layer->dw_bytes = aligned(packed_count(layer) * thaw_dtype_bytes(dw_type(step)));
    if (step->dy->dtype != factors_of(step))
        layer->dy_bytes = aligned((size_t)(M * padded_channels(K)) * width(step->in[0]));
    if (step->db) layer->sums_bytes = aligned(cuda_column_sum_workspace(M, K) * sizeof(float));
    if (step->dw) most = filter_workspace(layer);
    if (layer->conv && step->dx[0] && layer->border_bytes + layer->conv->data_bytes > most)
        most = layer->border_bytes + layer->conv->data_bytes;
    want_workspace(step, layer->dw_bytes + layer->sums_bytes + layer->dy_bytes + most);
    size_t counters = step->db ? cuda_column_sum_counters(M, K) * sizeof(uint32_t) : 0;
    return keep(step, COUNTERS, nullptr, counters, err);
}

/* dw, in the order in which it is multiplied, and then in the file's. */
static int layer_dw(const thaw_step *step, const void *dy, const thaw_run_context *context,
                    void *workspace) {
    const layer_state *layer = layer_of(step);
    const thaw_dtype dtype = factors_of(step);
    const void *x = step->in[0]->data;
    bool as_is = lies_as_multiplied(layer);
    void *packed = as_is ? step->dw : context->workspace;
    thaw_cuda_launch launch = launch_in(context);
    int64_t Cp = padded_channels(layer->shape.C), Kp = padded_channels(layer->shape.K);
    int code = 0;
    switch (layer->way) {
        case BY_PRODUCT:
            code = finish_product(
                blas_gemm(layer->products, Cp, Kp, pixels_of(step->dy), {dtype, x, Cp, false},
                          {dtype, dy, Kp, true}, {dw_type(step), packed, Cp}),
                context);
            break;
        case BY_CUDNN:
            code = take_inside(step, context, &workspace, &x);
            if (!code) code = dnn_filter(layer->conv, x, dy, workspace, packed, context->err);
            break;
        case DEPTHWISE:
            return finish(cuda_depthwise_filter(&launch, &layer->shape, dtype, x, dy, step->dw,
                                                (float *)workspace),
                          launch, context);
        case PLAIN:
            return finish(cuda_plain_conv_filter(&launch, &layer->shape, dtype, x, dy, step->dw,
                                                 (float *)workspace),
                          launch, context);
    }
    if (code || as_is) return code;
    return finish(cuda_unpack_filter(&launch, &layer->shape, dw_type(step), packed, step->dw),
                  launch, context);
}

/* Where x lies inside a border, so does dx at first. */
static int data_by_dnn(const thaw_step *step, const void *dy, const thaw_run_context *context,
                       void *workspace) {
    const layer_state *layer = layer_of(step);
    const thaw_conv_shape &s = layer->shape;
    void *dx = step->dx[0]->data, *inside = layer->border_bytes ? workspace : dx;
    int code = dnn_data(layer->conv, dy, constant(step, PACKED_W),
                        (char *)workspace + layer->border_bytes, inside, context->err);
    if (code || inside == dx) return code;
    thaw_cuda_launch launch = launch_in(context);
    return finish(cuda_crop(&launch, s.N, s.H, s.W, s.C, &s.window, factors_of(step), inside, dx),
                  launch, context);
}

static int layer_dx(const thaw_step *step, const void *dy, const thaw_run_context *context,
                    void *workspace) {
    const layer_state *layer = layer_of(step);
    const thaw_dtype dtype = factors_of(step);
    void *dx = step->dx[0]->data;
    thaw_cuda_launch launch = launch_in(context);
    int64_t Cp = padded_channels(layer->shape.C), Kp = padded_channels(layer->shape.K);
    switch (layer->way) {
        case BY_PRODUCT:
            return finish_product(blas_gemm(layer->products, Cp, pixels_of(step->dy), Kp,
                                            {dtype, filter_of(step), Cp, false},
                                            {dtype, dy, Kp, false}, {dtype, dx, Cp}),
                                  context);
        case BY_CUDNN:
            return data_by_dnn(step, dy, context, workspace);
        case DEPTHWISE:
            return finish(cuda_depthwise_data(&launch, &layer->shape, dtype, dy,
                                              constant(step, PACKED_W), dx),
                          launch, context);
        case PLAIN:
            break;
    }
    return finish(cuda_plain_conv_data(&launch, &layer->shape, dtype, dy, step->w, dx), launch,
                  context);
}

static int layer_gradient(const thaw_step *step, const thaw_run_context *context) {
    const layer_state *layer = layer_of(step);
    char *sums = (char *)context->workspace + layer->dw_bytes;
    void *workspace = sums + layer->sums_bytes;
    const void *dy = step->dy->data;
    int code = 0;
    if (step->db) {
        thaw_cuda_launch launch = launch_in(context);
        thaw_cuda_column_sum c = {};
        c.M = pixels_of(step->dy);
        c.K = layer->shape.K;
        c.ld = padded_channels(c.K);
        c.dtype = step->dy->dtype;
        c.dy = dy;
        c.db = step->db;
        c.workspace = (float *)sums;
        c.counters = (uint32_t *)constant(step, COUNTERS);
        code = finish(cuda_column_sum(&launch, &c), launch, context);
    }
    if (!code && layer->dy_bytes) {
        thaw_cuda_launch launch = launch_in(context);
        code = finish(cuda_row_maps(&launch, step->dy->N, step->dy->H * step->dy->W,
                                    padded_channels(step->dy->C), step->dy->dtype, dy, nullptr,
                                    step->dy->N, factors_of(step), workspace),
                      launch, context);
        dy = workspace;
        workspace = (char *)workspace + layer->dy_bytes;
    }
    if (!code && step->dw) code = layer_dw(step, dy, context, workspace);
    if (!code && step->dx[0]) code = layer_dx(step, dy, context, workspace);
    return code;
}

/* ---- normalisation -------------------------------------------------------------------------- */

static int affine_prepare(thaw_step *step, const thaw_plan_context *plan, thaw_error *err) {
    size_t bytes = (size_t)padded_channels(step->out->C) * sizeof(float);
    int code = begin_reading(step, plan, err);
    for (int i = 0; i < 3 && !code; i++) /* scale and shift; zeros in their place for dx. */
        code = keep(step, i, nullptr, bytes, err);
    return code;
}

static int affine_pack(const thaw_step *step, thaw_cuda_launch *launch) {
    int code = cuda_pad_channels(launch, step->out->C, step->scale, constant(step, 0));
    return code ? code : cuda_pad_channels(launch, step->out->C, step->shift, constant(step, 1));
}

static int sums_prepare(thaw_step *step, const thaw_plan_context *, thaw_error *) {
    want_workspace(step, cuda_norm_workspace(pixels_of(step->out), step->out->C));
    return 0;
}

static int affine_gradient(const thaw_step *step, const thaw_run_context *context) {
    thaw_cuda_launch launch = launch_in(context);
    const thaw_port *y = step->out;
    int code = 0;
    if (step->dscale || step->dshift)
        code = finish(
            cuda_affine_gradient(&launch, pixels_of(y), y->C, y->dtype, step->in[0]->data, nullptr,
                                 step->dy->data, step->dscale, step->dshift, context->workspace),
            launch, context);
    if (code || !step->dx[0]) return code;
    thaw_cuda_elementwise p = {};
    p.N = y->N;
    p.H = y->H;
    p.W = y->W;
    p.C = y->C;
    p.dtype = y->dtype;
    p.x0 = step->dy->data;
    p.y = step->dx[0]->data;
    p.scale = constant(step, 0);
    p.shift = constant(step, 2);
    return finish(cuda_affine(&launch, &p), launch, context);
}

/* What it tells of pixels lies behind the sums' workspace. */
static int layer_norm_gradient_prepare(thaw_step *step, const thaw_plan_context *, thaw_error *) {
    int64_t pixels = pixels_of(step->out);
    want_workspace(
        step, aligned(cuda_norm_workspace(pixels, step->out->C)) + (size_t)pixels * sizeof(float2));
    return 0;
}

static int layer_norm_gradient(const thaw_step *step, const thaw_run_context *context) {
    const thaw_port *y = step->out;
    int64_t pixels = pixels_of(y);
    float2 *stats =
        (float2 *)((char *)context->workspace + aligned(cuda_norm_workspace(pixels, y->C)));
    thaw_cuda_launch launch = launch_in(context);
    int code = finish(
        cuda_layer_norm_gradient(&launch, pixels, y->C, step->epsilon, y->dtype, step->in[0]->data,
                                 step->dy->data, constant(step, 0), data_of(step->dx[0]), stats),
        launch, context);
    if (code || (!step->dscale && !step->dshift)) return code;
    return finish(
        cuda_affine_gradient(&launch, pixels, y->C, y->dtype, step->in[0]->data, stats,
                             step->dy->data, step->dscale, step->dshift, context->workspace),
        launch, context);
}

static int norm_prepare(thaw_step *step, const thaw_plan_context *plan, thaw_error *err) {
    int code = begin_reading(step, plan, err);
    return code ? code : sums_prepare(step, plan, err);
}

static int norm_run(const thaw_step *step, const thaw_run_context *context) {
    thaw_cuda_launch launch = launch_in(context);
    thaw_cuda_norm n = {};
    n.pixels = pixels_of(step->out);
    n.C = step->out->C;
    n.epsilon = step->epsilon;
    n.act = step->epilogue.act;
    n.a = step->epilogue.a;
    n.b = step->epilogue.b;
    n.dtype = step->out->dtype;
    n.x = step->in[0]->data;
    n.scale = step->scale;
    n.shift = step->shift;
    n.mean = step->mean;
    n.var = step->var;
    n.batch_mean = context->training ? step->batch_mean : nullptr;
    n.batch_var = step->batch_var;
    n.y = step->out->data;
    n.workspace = context->workspace;
    return finish(cuda_norm(&launch, &n), launch, context);
}

static int norm_gradient(const thaw_step *step, const thaw_run_context *context) {
    thaw_cuda_launch launch = launch_in(context);
    thaw_cuda_norm_gradient g = {};
    g.pixels = pixels_of(step->out);
    g.C = step->out->C;
    g.epsilon = step->epsilon;
    g.dtype = step->out->dtype;
    g.x = step->in[0]->data;
    g.dy = step->dy->data;
    g.scale = step->scale;
    g.batch_mean = step->batch_mean;
    g.batch_var = step->batch_var;
    g.dscale = step->dscale;
    g.dshift = step->dshift;
    g.dx = data_of(step->dx[0]);
    g.workspace = context->workspace;
    return finish(cuda_norm_gradient(&launch, &g), launch, context);
}

/* As the trunk's, of numbers that change. */
static int group_norm_prepare(thaw_step *step, const thaw_plan_context *plan, thaw_error *err) {
    want_workspace(step, cuda_group_norm_workspace(step->out->N, step->out->C));
    return affine_prepare(step, plan, err);
}

static int group_norm_gradient_prepare(thaw_step *step, const thaw_plan_context *, thaw_error *) {
    want_workspace(step, cuda_group_norm_gradient_workspace(step->out->N, step->out->C));
    return 0;
}

static int group_norm_gradient(const thaw_step *step, const thaw_run_context *context) {
    const thaw_port *y = step->out;
    thaw_cuda_launch launch = launch_in(context);
    thaw_cuda_group_norm_gradient g = {};
    g.N = y->N;
    g.pixels = y->H * y->W;
    g.C = y->C;
    g.groups = step->groups;
    g.epsilon = step->epsilon;
    g.dtype = y->dtype;
    g.x = step->in[0]->data;
    g.dy = step->dy->data;
    g.gamma = constant(step, 0);
    g.dgamma = step->dscale;
    g.dbeta = step->dshift;
    g.dx = data_of(step->dx[0]);
    g.workspace = (float *)context->workspace;
    return finish(cuda_group_norm_gradient(&launch, &g), launch, context);
}

/* ---- without weights ------------------------------------------------------------------------ */

/* The file's numbers for each place, which do not change: the engine has brought them here. */
static int constant_prepare(thaw_step *step, const thaw_plan_context *plan, thaw_error *err) {
    const thaw_port *y = step->out;
    size_t numbers = (size_t)(y->H * y->W * padded_channels(y->C));
    int code = begin_reading(step, plan, err);
    if (!code) code = keep(step, 0, nullptr, numbers * sizeof(float), err);
    if (code) return code;
    thaw_cuda_launch launch = {};
    launch.stream = ((open_device *)plan->device)->stream;
    return cuda_row_maps(&launch, 1, y->H * y->W, y->C, THAW_F32, step->w, nullptr, 1, THAW_F32,
                         constant(step, 0));
}

static int softmax_gradient(const thaw_step *step, const thaw_run_context *context) {
    const thaw_port *y = step->out;
    thaw_cuda_launch launch = launch_in(context);
    return finish(cuda_softmax_gradient(&launch, pixels_of(y), y->C, step->groups, y->dtype,
                                        y->data, step->dy->data, step->dx[0]->data),
                  launch, context);
}

static int matmul_gradient(const thaw_step *step, const thaw_run_context *context) {
    const thaw_port *a = step->in[0], *b = step->in[1], *y = step->out;
    thaw_cuda_launch launch = launch_in(context);
    return finish(
        cuda_matmul_gradient(&launch, y->N, y->H, a->W, y->W, y->C, y->dtype, a->data, b->data,
                             step->dy->data, data_of(step->dx[0]), data_of(step->dx[1])),
        launch, context);
}

/* Of a resampling backwards: which places of y each place of x has gone to, and its step's constants. */
enum { TAPS_OF_ROWS = 2, TAPS_OF_COLUMNS = 3 };

struct taps_back {
    int64_t rows, columns; /* Taps of each. */
};

/* Taps of n places, from those of `places` places of y. */
static int64_t turn_taps(const thaw_taps &taps, int64_t places, int64_t n,
                         std::vector<thaw_cuda_tap> *turned) {
    std::vector<std::vector<thaw_cuda_tap>> of((size_t)n);
    size_t most = 1;
    for (int64_t i = 0; i < places * taps.n; i++) {
        if (taps.weight[i] == 0) continue;
        std::vector<thaw_cuda_tap> &to = of[(size_t)taps.from[i]];
        to.push_back({(int32_t)(i / taps.n), taps.weight[i]});
        if (to.size() > most) most = to.size();
    }
    turned->assign((size_t)n * most, thaw_cuda_tap{0, 0}); /* Weights of 0 are not read. */
    for (size_t i = 0; i < of.size(); i++)
        std::copy(of[i].begin(), of[i].end(), turned->begin() + (ptrdiff_t)(i * most));
    return (int64_t)most;
}

static int resample_gradient_prepare(thaw_step *step, const thaw_plan_context *plan,
                                     thaw_error *err) {
    const thaw_port *x = step->in[0], *y = step->out;
    taps_back *back = (taps_back *)thaw_arena_alloc(plan->arena, sizeof *back);
    if (!back) {
        thaw_fail_memory(err, "to plan a gradient");
        return (int)cudaErrorMemoryAllocation;
    }
    std::vector<thaw_cuda_tap> rows, columns;
    back->rows = turn_taps(step->rows, y->H, x->H, &rows);
    back->columns = turn_taps(step->columns, y->W, x->W, &columns);
    ((step_state *)step->state)->layer = back;
    int code = keep(step, TAPS_OF_ROWS, rows.data(), rows.size() * sizeof rows[0], err);
    return code ? code
                : keep(step, TAPS_OF_COLUMNS, columns.data(), columns.size() * sizeof columns[0],
                       err);
}

static int resample_gradient(const thaw_step *step, const thaw_run_context *context) {
    const thaw_port *x = step->in[0], *y = step->out;
    const taps_back *back = (const taps_back *)((step_state *)step->state)->layer;
    thaw_cuda_resample r = {};
    r.N = y->N;
    r.H = y->H;
    r.W = y->W;
    r.C = y->C;
    r.P = x->H;
    r.Q = x->W;
    r.dtype = y->dtype;
    r.rows = (const thaw_cuda_tap *)constant(step, TAPS_OF_ROWS);
    r.columns = (const thaw_cuda_tap *)constant(step, TAPS_OF_COLUMNS);
    r.n_rows = back->rows;
    r.n_columns = back->columns;
    r.x = step->dy->data;
    r.y = step->dx[0]->data;
    thaw_cuda_launch launch = launch_in(context);
    return finish(cuda_resample(&launch, &r), launch, context);
}

static int nothing_to_prepare(thaw_step *, const thaw_plan_context *, thaw_error *) {
    return 0;
}

/* The engine puts the values there. */
static int load_run(const thaw_step *, const thaw_run_context *) {
    return 0;
}

static int act_gradient(const thaw_step *step, const thaw_run_context *context) {
    thaw_cuda_launch launch = launch_in(context);
    const thaw_port *v = thaw_act_needs_input(&step->epilogue) ? step->in[0] : step->out;
    return finish(
        cuda_act_gradient(&launch, &step->epilogue, (int64_t)(step->dy->bytes / width(step->dy)),
                          step->dy->dtype, v->data, step->dy->data, step->dx[0]->data),
        launch, context);
}

static int pool_gradient(const thaw_step *step, const thaw_run_context *context) {
    thaw_cuda_launch launch = launch_in(context);
    return finish(cuda_pool_gradient(&launch, &step->pool, step->dy->dtype, step->in[0]->data,
                                     step->out->data, step->dy->data, step->dx[0]->data),
                  launch, context);
}

static int global_mean_gradient(const thaw_step *step, const thaw_run_context *context) {
    const thaw_port *x = step->in[0];
    thaw_cuda_launch launch = launch_in(context);
    thaw_pool_shape whole = {};
    whole.N = x->N;
    whole.H = x->H;
    whole.W = x->W;
    whole.C = x->C;
    whole.P = whole.Q = 1;
    whole.window = {x->H, x->W, 1, 1, 1, 1, 0, 0, 0, 0};
    return finish(cuda_pool_gradient(&launch, &whole, x->dtype, nullptr, nullptr, step->dy->data,
                                     step->dx[0]->data),
                  launch, context);
}

static bool alike(const thaw_port *a, const thaw_port *b) {
    return a->N == b->N && a->H == b->H && a->W == b->W && a->C == b->C;
}

/* Of the second operand there is one pixel a picture, or one channel, or both: dx1 is a sum over the others,
 * of both first over pixels, in the workspace. */
static bool is_one_number(const thaw_step *step) {
    const thaw_port *x1 = step->in[1], *y = step->out;
    return x1->H * x1->W == 1 && y->H * y->W > 1 && x1->C == 1 && y->C > 1;
}

static int binary_gradient_prepare(thaw_step *step, const thaw_plan_context *, thaw_error *) {
    const thaw_port *y = step->out;
    if (step->dx[1] && is_one_number(step))
        want_workspace(step, (size_t)(y->N * padded_channels(y->C)) * width(y));
    return 0;
}

static int sum_products(const thaw_step *step, const thaw_run_context *context, const void *x) {
    const thaw_port *y = step->out;
    thaw_cuda_launch launch = launch_in(context);
    if (is_one_number(step)) {
        int code = cuda_image_sums(&launch, y->N, y->H * y->W, y->C, y->dtype, step->dy->data, x,
                                   context->workspace);
        if (!code)
            code = cuda_pixel_sums(&launch, y->N, y->C, y->dtype, context->workspace, nullptr,
                                   step->dx[1]->data);
        return finish(code, launch, context);
    }
    if (step->in[1]->C != y->C)
        return finish(cuda_pixel_sums(&launch, pixels_of(y), y->C, y->dtype, step->dy->data, x,
                                      step->dx[1]->data),
                      launch, context);
    return finish(cuda_image_sums(&launch, y->N, y->H * y->W, y->C, y->dtype, step->dy->data, x,
                                  step->dx[1]->data),
                  launch, context);
}

static int add_gradient(const thaw_step *step, const thaw_run_context *context) {
    return step->dx[1] ? sum_products(step, context, nullptr) : 0;
}

/* to = dy * x, x of dy's shape or smaller. */
static int multiply_by(const thaw_step *step, const thaw_run_context *context, const thaw_port *x,
                       const thaw_port *to) {
    const thaw_port *y = step->out;
    thaw_cuda_launch launch = launch_in(context);
    thaw_cuda_elementwise p = {};
    p.N = y->N;
    p.H = y->H;
    p.W = y->W;
    p.C = y->C;
    p.dtype = y->dtype;
    p.x1_one_pixel = x->H == 1 && x->W == 1;
    p.x1_one_channel = x->C == 1;
    p.x0 = step->dy->data;
    p.x1 = x->data;
    p.y = to->data;
    return finish(cuda_mul(&launch, &p), launch, context);
}

static int mul_gradient(const thaw_step *step, const thaw_run_context *context) {
    const thaw_port *x0 = step->in[0], *x1 = step->in[1];
    int code = step->dx[0] ? multiply_by(step, context, x1, step->dx[0]) : 0;
    if (code || !step->dx[1]) return code;
    if (alike(x0, x1)) return multiply_by(step, context, x0, step->dx[1]);
    return sum_products(step, context, x0->data);
}

static int concat_gradient(const thaw_step *step, const thaw_run_context *context) {
    const thaw_port *dy = step->dy;
    int64_t from = 0;
    for (int i = 0; i < step->n_in; i++) {
        int64_t C = step->in[i]->C;
        thaw_cuda_launch launch = launch_in(context);
        int code = step->dx[i] ? cuda_channels(&launch, pixels_of(dy), dy->C, from, C, 0, C,
                                               dy->dtype, dy->data, step->dx[i]->data)
                               : 0;
        if (code) return finish(code, launch, context);
        from += C;
    }
    return 0;
}

static int slice_gradient(const thaw_step *step, const thaw_run_context *context) {
    const thaw_port *dx = step->dx[0], *dy = step->dy;
    thaw_cuda_launch launch = launch_in(context);
    int code = (int)cudaMemsetAsync(dx->data, 0, dx->bytes, launch.stream);
    if (!code)
        code = cuda_channels(&launch, pixels_of(dy), dy->C, 0, dx->C, step->first, dy->C, dy->dtype,
                             dy->data, dx->data);
    return finish(code, launch, context);
}

static int shuffle_gradient(const thaw_step *step, const thaw_run_context *context) {
    const thaw_port *dx = step->dx[0];
    thaw_cuda_launch launch = launch_in(context);
    return finish(cuda_shuffle(&launch, pixels_of(dx), dx->C, dx->C / step->groups, dx->dtype,
                               step->dy->data, dx->data),
                  launch, context);
}

static int pad_gradient(const thaw_step *step, const thaw_run_context *context) {
    const thaw_port *dx = step->dx[0];
    thaw_cuda_launch launch = launch_in(context);
    return finish(cuda_crop(&launch, dx->N, dx->H, dx->W, dx->C, &step->conv.window, dx->dtype,
                            step->dy->data, dx->data),
                  launch, context);
}

static int rearrange_back(const thaw_step *step, const thaw_permutation &axes,
                          const thaw_run_context *context) {
    const thaw_port *x = step->dy, *y = step->dx[0];
    thaw_cuda_launch launch = launch_in(context);
    thaw_cuda_rearrange r = {x->N, x->H, x->W,     x->C,    y->H,   y->W,
                             y->C, axes, x->dtype, x->data, y->data};
    return finish(cuda_rearrange(&launch, &r), launch, context);
}

static int reshape_gradient(const thaw_step *step, const thaw_run_context *context) {
    const thaw_port *y = step->dx[0];
    return rearrange_back(step, {1, {y->H * y->W * y->C}, {0}}, context);
}

/* Axis perm[i] of x is axis i of y. */
static int transpose_gradient(const thaw_step *step, const thaw_run_context *context) {
    thaw_permutation back = {};
    back.n = step->axes.n;
    for (int i = 0; i < back.n; i++) {
        back.dims[i] = step->axes.dims[step->axes.perm[i]];
        back.perm[step->axes.perm[i]] = i;
    }
    return rearrange_back(step, back, context);
}

/* ---- between the engine and the steps ------------------------------------------------------- */

static int pack(const thaw_step *step, void *stream) {
    thaw_cuda_launch launch = {};
    launch.stream = (cudaStream_t)stream;
    switch (step->kind) {
        case THAW_STEP_conv:
        case THAW_STEP_dense:
            return layer_pack(step, &launch);
        case THAW_STEP_affine:
        case THAW_STEP_layer_norm:
        case THAW_STEP_group_norm:
            return affine_pack(step, &launch);
        default:
            return 0;
    }
}

static int add_to(size_t n, thaw_dtype dtype, const void *x, void *to, void *stream) {
    thaw_cuda_launch launch = {};
    launch.stream = (cudaStream_t)stream;
    return n ? cuda_add_to(&launch, (int64_t)n, dtype, x, to) : 0;
}

static int copy(size_t bytes, const void *x, void *to, void *stream) {
    return (int)cudaMemcpyAsync(to, x, bytes, cudaMemcpyDeviceToDevice, (cudaStream_t)stream);
}

static int gather(const thaw_port *to, const void *rows, thaw_dtype stored, const int64_t *index,
                  int64_t M, void *stream) {
    thaw_cuda_launch launch = {};
    launch.stream = (cudaStream_t)stream;
    return cuda_row_maps(&launch, to->N, to->H * to->W, to->C, stored, rows, index, M, to->dtype,
                         to->data);
}

static int spread(const thaw_port *from, float *rows, void *stream) {
    thaw_cuda_launch launch = {};
    launch.stream = (cudaStream_t)stream;
    return cuda_map_rows(&launch, pixels_of(from), from->C, from->dtype, from->data, rows);
}

/* ---- the loss ------------------------------------------------------------------------------- */

/* Softmax of one kind of labels. */
static int softmax_loss(const thaw_port *scores, const thaw_loss_problem *p, const int32_t *label,
                        float *loss, uint8_t *right, void *d, thaw_cuda_launch *launch) {
    thaw_cuda_loss l = {};
    l.M = p->rows;
    l.K = p->K;
    l.logits_ld = l.dlogits_ld = padded_channels(p->K);
    l.dlogits_dtype = THAW_F32;
    l.smoothing = p->smoothing;
    l.logits = (const float *)scores->data;
    l.label = label;
    l.class_weight = p->class_weight;
    l.norm = p->norm;
    l.loss = loss;
    l.correct = right;
    l.dlogits = d;
    return cuda_loss(launch, &l);
}

static int mixed_loss(const thaw_port *scores, const thaw_port *d, const thaw_loss_problem *p,
                      thaw_cuda_launch *launch) {
    int code = softmax_loss(scores, p, p->other, p->other_loss, nullptr, p->other_d, launch);
    thaw_cuda_mix_loss mix = {p->rows,
                              p->K,
                              padded_channels(p->K),
                              p->share,
                              p->other_loss,
                              (const float *)p->other_d,
                              p->loss,
                              (float *)d->data};
    return code ? code : cuda_mix_loss(launch, &mix);
}

static int sigmoid_loss(const thaw_port *scores, const thaw_port *d, const thaw_loss_problem *p,
                        thaw_cuda_launch *launch) {
    thaw_cuda_sigmoid_loss l = {};
    l.M = p->rows;
    l.K = p->K;
    l.ld = padded_channels(p->K);
    l.logits = (const float *)scores->data;
    l.label = p->label;
    l.target = p->target;
    l.own = p->own;
    l.positive_weight = p->class_weight;
    l.norm = p->norm;
    l.loss = p->loss;
    l.correct = p->right;
    l.dlogits = (float *)d->data;
    return cuda_sigmoid_loss(launch, &l);
}

/* Scores and their gradient are float; channels that are padding have a gradient of zero. */
static int loss(const thaw_port *scores, const thaw_port *d, const thaw_loss_problem *p,
                void *stream) {
    thaw_cuda_launch launch = {};
    launch.stream = (cudaStream_t)stream;
    int code = (int)cudaMemsetAsync(d->data, 0, d->bytes, launch.stream);
    if (!code && p->target)
        code = sigmoid_loss(scores, d, p, &launch);
    else if (!code)
        code = softmax_loss(scores, p, p->label, p->loss, p->right, d->data, &launch);
    if (!code && !p->target && p->other) code = mixed_loss(scores, d, p, &launch);
    return code ? code : cuda_loss_sums(&launch, p->rows, p->loss, p->right, p->step, p->sums);
}

/* ---- the slots ------------------------------------------------------------------------------ */

/* Steps as trunks have them, but for those whose numbers change. */
static thaw_trunk_slot forward[THAW_N_STEP_KINDS];
static thaw_training_slots slots;

const thaw_training_slots *make_training_slots(const thaw_trunk_slot *trunk) {
    const thaw_step_kind as_trunk[] = {THAW_STEP_pool,    THAW_STEP_global_mean, THAW_STEP_act,
                                       THAW_STEP_add,     THAW_STEP_mul,         THAW_STEP_concat,
                                       THAW_STEP_slice,   THAW_STEP_shuffle,     THAW_STEP_pad,
                                       THAW_STEP_reshape, THAW_STEP_transpose,   THAW_STEP_softmax,
                                       THAW_STEP_matmul,  THAW_STEP_resample};
    for (thaw_step_kind kind : as_trunk)
        forward[kind] = trunk[kind];
    forward[THAW_STEP_load] = {begin_reading, load_run, nullptr};
    forward[THAW_STEP_conv] = {layer_prepare, layer_run, layer_release};
    forward[THAW_STEP_dense] = {layer_prepare, layer_run, layer_release};
    forward[THAW_STEP_affine] = {affine_prepare, trunk[THAW_STEP_affine].run, step_release};
    forward[THAW_STEP_layer_norm] = {affine_prepare, trunk[THAW_STEP_layer_norm].run, step_release};
    forward[THAW_STEP_group_norm] = {group_norm_prepare, trunk[THAW_STEP_group_norm].run,
                                     step_release};
    forward[THAW_STEP_constant] = {constant_prepare, trunk[THAW_STEP_constant].run, step_release};
    forward[THAW_STEP_batch_norm] = {norm_prepare, norm_run, nullptr};
    slots.forward = forward;
    thaw_backward_slot *b = slots.backward;
    b[THAW_STEP_conv] = {true, false, layer_gradient_prepare, layer_gradient};
    b[THAW_STEP_dense] = {true, false, layer_gradient_prepare, layer_gradient};
    b[THAW_STEP_pool] = {true, true, nothing_to_prepare, pool_gradient};
    b[THAW_STEP_global_mean] = {false, false, nothing_to_prepare, global_mean_gradient};
    b[THAW_STEP_act] = {false, true, nothing_to_prepare, act_gradient};
    b[THAW_STEP_add] = {false, false, binary_gradient_prepare, add_gradient};
    b[THAW_STEP_mul] = {true, false, binary_gradient_prepare, mul_gradient};
    b[THAW_STEP_affine] = {true, false, sums_prepare, affine_gradient};
    b[THAW_STEP_batch_norm] = {true, false, nothing_to_prepare, norm_gradient};
    b[THAW_STEP_layer_norm] = {true, false, layer_norm_gradient_prepare, layer_norm_gradient};
    b[THAW_STEP_group_norm] = {true, false, group_norm_gradient_prepare, group_norm_gradient};
    b[THAW_STEP_softmax] = {false, true, nothing_to_prepare, softmax_gradient};
    b[THAW_STEP_matmul] = {true, false, nothing_to_prepare, matmul_gradient};
    b[THAW_STEP_resample] = {false, false, resample_gradient_prepare, resample_gradient};
    b[THAW_STEP_concat] = {false, false, nothing_to_prepare, concat_gradient};
    b[THAW_STEP_slice] = {false, false, nothing_to_prepare, slice_gradient};
    b[THAW_STEP_shuffle] = {false, false, nothing_to_prepare, shuffle_gradient};
    b[THAW_STEP_pad] = {false, false, nothing_to_prepare, pad_gradient};
    b[THAW_STEP_reshape] = {false, false, nothing_to_prepare, reshape_gradient};
    b[THAW_STEP_transpose] = {false, false, nothing_to_prepare, transpose_gradient};
    slots.pack = pack;
    slots.alike = alike;
    slots.add_to = add_to;
    slots.copy = copy;
    slots.side_by_side = thaw_cpu_kernels.training->side_by_side; /* Of the host's processors. */
    slots.gather = gather;
    slots.spread = spread;
    slots.loss = loss;
    slots.weights = &device_weights_slots;
    return &slots;
}

}  // namespace thaw
