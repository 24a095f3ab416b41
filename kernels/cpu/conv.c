/* Convolution and the dense layer, with bias, residual and activation in the same pass.
 *
 * conv:  y[n,k,p,q] = act(b[k] + sum over c,r,s of x w + residual);  dense: the same without space.
 * Accumulates in float whatever the factors' type; an input of another type is converted first. The
 * residual is oneDNN's `sum` post-operation: the output is written over the residual's memory, so
 * no third stream of bytes is read. Deterministic: its forward passes split work by output,
 * never by reduction over threads.
 */
#include <string.h>

#include "arena.h"
#include "onednn.h"
#include "status.h"
#include "weight_gradient.h"

/* The weights as ONNX stores them: K,C,R,S, or G,K/G,C/G,R,S. */
static int weight_dims(const thaw_step *step, dnnl_dims_t dims) {
    const thaw_conv_shape *c = &step->conv;
    int n = 0;
    if (c->G > 1) dims[n++] = c->G;
    dims[n++] = c->K / c->G;
    dims[n++] = c->C / c->G;
    if (step->kind == THAW_STEP_dense) return n;
    dims[n++] = c->window.R;
    dims[n++] = c->window.S;
    return n;
}

typedef struct layer_mds {
    cpu_md x, w, w_plain, b, y;
} layer_mds;

/* Layouts of x and y: oneDNN chooses, but in training with AVX2. There its choice differs between the
 * passes, which would have to reorder, and N,H,W,C is as fast: forwards and for dx it is at the
 * processor's peak, and for dw there is weight_gradient.h. With AVX-512 it has better code for dw. */
static dnnl_format_tag_t layout_of(const cpu_builder *builder) {
    dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
    const thaw_conv_shape *c = &builder->step->conv;
    bool avx2 = (isa & dnnl_cpu_isa_avx2) == dnnl_cpu_isa_avx2;
    bool avx512 = (isa & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core;
    bool groups = c->G > 1 && c->G < c->C; /* Their channels are few; oneDNN's blocks fit them. */
    return builder->plan->training && avx2 && !avx512 && !groups ? dnnl_nhwc : dnnl_format_tag_any;
}

static int make_mds(cpu_builder *builder, layer_mds *mds) {
    static const dnnl_format_tag_t plain[] = {[2] = dnnl_ab, [4] = dnnl_abcd, [5] = dnnl_abcde};
    const thaw_step *step = builder->step;
    const thaw_port *x = step->in[0], *y = step->out;
    dnnl_data_type_t type = cpu_type(step->compute), out = cpu_type(y->dtype);
    dnnl_dims_t dims;
    int n = weight_dims(step, dims);
    CPU_TRY(cpu_dense_md(builder, n, dims, dnnl_f32, plain[n], &mds->w_plain));
    CPU_TRY(cpu_dense_md(builder, n, dims, type, dnnl_format_tag_any, &mds->w));
    CPU_TRY(cpu_dense_md(builder, 1, (dnnl_dims_t){step->conv.K}, dnnl_f32, dnnl_a, &mds->b));
    if (step->kind == THAW_STEP_dense) {
        CPU_TRY(cpu_dense_md(builder, 2, (dnnl_dims_t){x->N, x->C}, type, dnnl_ab, &mds->x));
        return cpu_dense_md(builder, 2, (dnnl_dims_t){y->N, y->C}, out, dnnl_ab, &mds->y);
    }
    mds->x = cpu_layout(x);
    mds->y = cpu_layout(step->in[step->n_in - 1]);
    /* A picture's few channels stay as import wrote them; elsewhere oneDNN chooses. */
    bool as_is = step->conv.C <= 4 && x->dtype == step->compute;
    if (!as_is) CPU_TRY(cpu_port_md(builder, x, type, layout_of(builder), &mds->x));
    if (step->epilogue.residual) return 0;
    return cpu_port_md(builder, y, out, layout_of(builder), &mds->y);
}

static int make_desc(const cpu_builder *builder, const layer_mds *mds, dnnl_primitive_attr_t attr,
                     dnnl_primitive_desc_t *desc) {
    const thaw_step *step = builder->step;
    const thaw_window *win = &step->conv.window;
    cpu_md bias = step->b ? mds->b : NULL;
    if (step->kind == THAW_STEP_dense)
        return (int)dnnl_inner_product_forward_primitive_desc_create(
            desc, builder->engine, dnnl_forward_inference, mds->x, mds->w, bias, mds->y, attr);
    return (int)dnnl_convolution_forward_primitive_desc_create(
        desc, builder->engine, dnnl_forward_inference, dnnl_convolution_direct, mds->x, mds->w,
        bias, mds->y, (dnnl_dims_t){win->stride_h, win->stride_w},
        (dnnl_dims_t){win->dilation_h - 1, win->dilation_w - 1},
        (dnnl_dims_t){win->pad_top, win->pad_left}, (dnnl_dims_t){win->pad_bottom, win->pad_right},
        attr);
}

/* oneDNN 3.7's brgemm computes a single channel wrongly where the output is one column wide and the
 * stride across is larger than the one down: then another of its implementations is taken. */
static int pass_over_brgemm(const thaw_step *step, dnnl_primitive_desc_t desc) {
    const thaw_conv_shape *c = &step->conv;
    if (step->kind == THAW_STEP_dense || c->C > 1 || c->Q > 1 || c->window.stride_w == 1) return 0;
    for (;;) {
        const char *name = "";
        dnnl_primitive_desc_query(desc, dnnl_query_impl_info_str, 0, (void *)&name);
        if (strncmp(name, "brg", 3) != 0) return 0;
        CPU_TRY(dnnl_primitive_desc_next_impl(desc));
    }
}

/* The call that computes, once its descriptor has chosen the layouts. */
static int add_layer(cpu_builder *builder, const layer_mds *mds, const cpu_source *source,
                     dnnl_primitive_desc_t desc) {
    const thaw_step *step = builder->step;
    cpu_call *call;
    CPU_TRY(cpu_add_call(builder, desc, &call));
    CPU_TRY(cpu_bind_source(builder, call, DNNL_ARG_SRC, source));
    CPU_TRY(cpu_bind_constant(builder, call, DNNL_ARG_WEIGHTS, step->w, mds->w_plain, mds->w));
    if (step->b) CPU_TRY(cpu_bind_constant(builder, call, DNNL_ARG_BIAS, step->b, mds->b, mds->b));
    return cpu_bind_port_as(builder, call, DNNL_ARG_DST, step->out, mds->y);
}

/* Finds out which layouts the descriptor wants, and converts the input. */
static int take_layouts(cpu_builder *builder, layer_mds *mds, dnnl_primitive_desc_t desc,
                        cpu_source *source) {
    const thaw_step *step = builder->step;
    CPU_TRY(cpu_chosen_md(builder, desc, dnnl_query_src_md, &mds->x));
    CPU_TRY(cpu_chosen_md(builder, desc, dnnl_query_weights_md, &mds->w));
    CPU_TRY(cpu_chosen_md(builder, desc, dnnl_query_dst_md, &mds->y));
    cpu_md want = mds->x;
    if (step->kind == THAW_STEP_dense)
        CPU_TRY(cpu_port_md(builder, step->in[0], cpu_type(step->compute), dnnl_nchw, &want));
    CPU_TRY(cpu_source_in(builder, step->in[0], want, source));
    source->md = mds->x; /* Plain N,C,1,1 is the matrix N,C. */
    return 0;
}

int cpu_conv_prepare(thaw_step *step, const thaw_plan_context *plan, struct thaw_error *err) {
    cpu_builder builder;
    CPU_TRY(cpu_begin(&builder, step, plan, err));
    layer_mds mds;
    CPU_TRY(make_mds(&builder, &mds));
    dnnl_primitive_attr_t attr;
    CPU_TRY(cpu_epilogue(&builder, NULL, &attr));
    dnnl_primitive_desc_t desc;
    int code = make_desc(&builder, &mds, attr, &desc);
    dnnl_primitive_attr_destroy(attr);
    if (code) return cpu_refuse(&builder, code, "this shape");
    cpu_source source;
    code = pass_over_brgemm(step, desc);
    if (!code) code = take_layouts(&builder, &mds, desc, &source);
    if (code) {
        dnnl_primitive_desc_destroy(desc);
        return code;
    }
    CPU_TRY(add_layer(&builder, &mds, &source, desc));
    step->in_place = step->epilogue.residual;
    if (step->kind != THAW_STEP_dense) return cpu_set_output(&builder, mds.y);
    cpu_md y;
    CPU_TRY(cpu_port_md(&builder, step->out, cpu_type(step->out->dtype), dnnl_nchw, &y));
    return cpu_set_output(&builder, y);
}

int cpu_dense_prepare(thaw_step *step, const thaw_plan_context *plan, struct thaw_error *err) {
    return cpu_conv_prepare(step, plan, err);
}

/* ---- gradients ------------------------------------------------------------------------------- */

/* dx = dy convolved with the filters turned round; dw, db: sums over images and pixels. Both are
 * oneDNN's, but for dw where weight_gradient.h has it; with one thread their sums have one order. */

/* What oneDNN wants to know of the forward pass. */
static int make_hint(const cpu_builder *builder, const layer_mds *mds,
                     dnnl_primitive_desc_t *hint) {
    const thaw_step *step = builder->step;
    const thaw_window *win = &step->conv.window;
    if (step->kind == THAW_STEP_dense)
        return (int)dnnl_inner_product_forward_primitive_desc_create(
            hint, builder->engine, dnnl_forward_training, mds->x, mds->w, NULL, mds->y, NULL);
    return (int)dnnl_convolution_forward_primitive_desc_create(
        hint, builder->engine, dnnl_forward_training, dnnl_convolution_direct, mds->x, mds->w, NULL,
        mds->y, (dnnl_dims_t){win->stride_h, win->stride_w},
        (dnnl_dims_t){win->dilation_h - 1, win->dilation_w - 1},
        (dnnl_dims_t){win->pad_top, win->pad_left}, (dnnl_dims_t){win->pad_bottom, win->pad_right},
        NULL);
}

static int make_gradient_desc(const cpu_builder *builder, const layer_mds *mds, bool weights,
                              dnnl_primitive_desc_t hint, dnnl_primitive_attr_t attr,
                              dnnl_primitive_desc_t *desc) {
    const thaw_step *step = builder->step;
    const thaw_window *win = &step->conv.window;
    dnnl_engine_t engine = builder->engine;
    cpu_md b = step->db ? mds->b : NULL;
    const dnnl_dims_t strides = {win->stride_h, win->stride_w};
    const dnnl_dims_t gaps = {win->dilation_h - 1, win->dilation_w - 1};
    const dnnl_dims_t near = {win->pad_top, win->pad_left}, far = {win->pad_bottom, win->pad_right};
    if (step->kind == THAW_STEP_dense && weights)
        return (int)dnnl_inner_product_backward_weights_primitive_desc_create(
            desc, engine, mds->x, mds->w, b, mds->y, hint, attr);
    if (step->kind == THAW_STEP_dense)
        return (int)dnnl_inner_product_backward_data_primitive_desc_create(
            desc, engine, mds->x, mds->w, mds->y, hint, attr);
    if (weights)
        return (int)dnnl_convolution_backward_weights_primitive_desc_create(
            desc, engine, dnnl_convolution_direct, mds->x, mds->w, b, mds->y, strides, gaps, near,
            far, hint, attr);
    return (int)dnnl_convolution_backward_data_primitive_desc_create(
        desc, engine, dnnl_convolution_direct, mds->x, mds->w, mds->y, strides, gaps, near, far,
        hint, attr);
}

/* The descriptor of one of the two passes, and the layouts that it has chosen. */
static int choose_gradient(cpu_builder *builder, bool weights, layer_mds *mds,
                           dnnl_primitive_desc_t *desc) {
    CPU_TRY(make_mds(builder, mds));
    const thaw_step *step = builder->step;
    if (step->kind == THAW_STEP_conv) {
        CPU_TRY(cpu_port_md(builder, step->in[0], dnnl_f32, layout_of(builder), &mds->x));
        CPU_TRY(cpu_port_md(builder, step->out, dnnl_f32, layout_of(builder), &mds->y));
    }
    dnnl_primitive_desc_t hint;
    dnnl_primitive_attr_t attr;
    int code = make_hint(builder, mds, &hint);
    if (code) return cpu_refuse(builder, code, "this shape");
    code = cpu_attributes(NULL, &attr);
    if (!code) {
        code = make_gradient_desc(builder, mds, weights, hint, attr, desc);
        dnnl_primitive_attr_destroy(attr);
    }
    dnnl_primitive_desc_destroy(hint);
    if (code) return cpu_refuse(builder, code, "the gradient of this shape");
    code = cpu_chosen_md(builder, *desc, weights ? dnnl_query_src_md : dnnl_query_diff_src_md,
                         &mds->x);
    if (!code)
        code = cpu_chosen_md(builder, *desc,
                             weights ? dnnl_query_diff_weights_md : dnnl_query_weights_md, &mds->w);
    if (!code) code = cpu_chosen_md(builder, *desc, dnnl_query_diff_dst_md, &mds->y);
    if (code) dnnl_primitive_desc_destroy(*desc);
    return code;
}

/* A port as the primitive of a dense layer sees it: N,C in rows; a convolution's is as chosen. */
static int source_rows(cpu_builder *builder, const thaw_port *port, cpu_md md, cpu_source *source) {
    cpu_md want = md;
    if (builder->step->kind == THAW_STEP_dense)
        CPU_TRY(cpu_port_md(builder, port, dnnl_f32, dnnl_nchw, &want));
    CPU_TRY(cpu_source_in(builder, port, want, source));
    source->md = md;
    return 0;
}

static int add_data_gradient(cpu_builder *builder) {
    const thaw_step *step = builder->step;
    layer_mds mds;
    dnnl_primitive_desc_t desc;
    CPU_TRY(choose_gradient(builder, false, &mds, &desc));
    cpu_source dy;
    cpu_target dx = {.port = step->dx[0], .want = cpu_layout(step->dx[0]), .md = mds.x};
    int code = source_rows(builder, step->dy, mds.y, &dy);
    cpu_md rows = mds.x;
    /* Rows N,C are the same memory as N,C,1,1. */
    if (!code && step->kind == THAW_STEP_dense)
        code = cpu_port_md(builder, step->dx[0], dnnl_f32, dnnl_nchw, &dx.md);
    if (!code) code = cpu_target_open(builder, &dx);
    if (code) {
        dnnl_primitive_desc_destroy(desc);
        return code;
    }
    cpu_call *call;
    CPU_TRY(cpu_add_call(builder, desc, &call));
    CPU_TRY(cpu_bind_source(builder, call, DNNL_ARG_DIFF_DST, &dy));
    CPU_TRY(cpu_bind_constant(builder, call, DNNL_ARG_WEIGHTS, step->w, mds.w_plain, mds.w));
    cpu_target seen = dx;
    seen.md = seen.want = rows;
    if (step->kind != THAW_STEP_dense) seen.want = dx.want;
    CPU_TRY(cpu_bind_target(builder, call, DNNL_ARG_DIFF_SRC, &seen));
    return cpu_target_close(builder, &dx);
}

static int add_weight_gradient(cpu_builder *builder) {
    const thaw_step *step = builder->step;
    layer_mds mds;
    dnnl_primitive_desc_t desc;
    CPU_TRY(choose_gradient(builder, true, &mds, &desc));
    cpu_source x, dy;
    cpu_target dw = {.memory = step->dw, .want = mds.w_plain, .md = mds.w};
    cpu_target db = {.memory = step->db, .want = mds.b, .md = mds.b};
    int code = source_rows(builder, step->in[0], mds.x, &x);
    if (!code) code = source_rows(builder, step->dy, mds.y, &dy);
    if (!code) code = cpu_target_open(builder, &dw);
    if (code) {
        dnnl_primitive_desc_destroy(desc);
        return code;
    }
    cpu_call *call;
    CPU_TRY(cpu_add_call(builder, desc, &call));
    CPU_TRY(cpu_bind_source(builder, call, DNNL_ARG_SRC, &x));
    CPU_TRY(cpu_bind_source(builder, call, DNNL_ARG_DIFF_DST, &dy));
    CPU_TRY(cpu_bind_target(builder, call, DNNL_ARG_DIFF_WEIGHTS, &dw));
    if (step->db) CPU_TRY(cpu_bind_target(builder, call, DNNL_ARG_DIFF_BIAS, &db));
    return cpu_target_close(builder, &dw);
}

/* Whether the port is plain N,H,W,C. */
static int is_plain(cpu_builder *builder, const thaw_port *port, bool *plain) {
    cpu_md md;
    CPU_TRY(cpu_port_md(builder, port, dnnl_f32, dnnl_nhwc, &md));
    *plain = dnnl_memory_desc_equal(md, cpu_layout(port));
    return 0;
}

/* Our own, where the layouts are for it; otherwise state->own stays NULL. */
static int plan_own(cpu_builder *builder) {
    thaw_step *step = builder->step;
    cpu_weight_gradient plan;
    bool x = false, dy = false;
    if (step->kind != THAW_STEP_conv || layout_of(builder) != dnnl_nhwc ||
        !cpu_weight_gradient_plan(&step->conv, &plan))
        return 0;
    CPU_TRY(is_plain(builder, step->in[0], &x));
    CPU_TRY(is_plain(builder, step->dy, &dy));
    if (!x || !dy) return 0;
    cpu_weight_gradient *own = thaw_arena_alloc(builder->plan->arena, sizeof *own);
    if (!own) return cpu_refuse(builder, dnnl_out_of_memory, "memory for a gradient");
    *own = plan;
    size_t bytes = cpu_weight_gradient_workspace(own);
    if (bytes > step->workspace_bytes) step->workspace_bytes = bytes;
    builder->state->own = own;
    return 0;
}

int cpu_conv_backward_prepare(thaw_step *step, const thaw_plan_context *plan,
                              struct thaw_error *err) {
    cpu_builder builder;
    CPU_TRY(cpu_begin_backward(&builder, step, plan, err));
    if (step->dw) CPU_TRY(plan_own(&builder));
    if (step->dw && !builder.state->own) CPU_TRY(add_weight_gradient(&builder));
    return step->dx[0] ? add_data_gradient(&builder) : 0;
}

int cpu_conv_backward(const thaw_step *step, const thaw_run_context *context) {
    const cpu_state *state = step->backward_state;
    if (state->own)
        CPU_TRY(cpu_weight_gradient_run(state->own, step->in[0]->data, step->dy->data, step->dw,
                                        step->db, context->workspace));
    return cpu_run_backward(step, context);
}
