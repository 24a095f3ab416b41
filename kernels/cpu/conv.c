/* Convolution and the dense layer, with bias, residual and activation in the same pass.
 *
 * conv:  y[n,k,p,q] = act(b[k] + sum over c,r,s of x w + residual);  dense: the same without space.
 * Accumulates in float whatever the compute type. The residual is oneDNN's `sum` post-operation:
 * the output is written over the residual's memory, so no third stream of bytes is read.
 * Deterministic: oneDNN's forward passes split work by output, never by reduction over threads.
 */
#include "onednn.h"
#include "status.h"

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
    dnnl_memory_desc_t x, w, w_plain, b, y;
} layer_mds;

static dnnl_memory_desc_t matrix_md(const thaw_port *port, dnnl_data_type_t type) {
    dnnl_memory_desc_t md;
    dnnl_memory_desc_init_by_tag(&md, 2, (dnnl_dims_t){port->N, port->C}, type, dnnl_ab);
    return md;
}

static void make_mds(const thaw_step *step, dnnl_data_type_t type, layer_mds *mds) {
    static const dnnl_format_tag_t plain[] = {[2] = dnnl_ab, [4] = dnnl_abcd, [5] = dnnl_abcde};
    dnnl_dims_t dims;
    int n = weight_dims(step, dims);
    dnnl_memory_desc_init_by_tag(&mds->w_plain, n, dims, dnnl_f32, plain[n]);
    dnnl_memory_desc_init_by_tag(&mds->w, n, dims, type, dnnl_format_tag_any);
    dnnl_memory_desc_init_by_tag(&mds->b, 1, (dnnl_dims_t){step->conv.K}, dnnl_f32, dnnl_a);
    if (step->kind == THAW_STEP_dense) {
        mds->x = matrix_md(step->in[0], type);
        mds->y = matrix_md(step->out, type);
        return;
    }
    /* A picture's few channels stay as import wrote them; elsewhere oneDNN chooses. */
    mds->x = step->conv.C <= 4 ? *cpu_layout(step->in[0])
                               : cpu_md(step->in[0], type, dnnl_format_tag_any);
    mds->y = step->epilogue.residual ? *cpu_layout(step->in[step->n_in - 1])
                                     : cpu_md(step->out, type, dnnl_format_tag_any);
}

static int make_desc(const cpu_builder *builder, const layer_mds *mds, dnnl_primitive_attr_t attr,
                     dnnl_primitive_desc_t *desc) {
    const thaw_step *step = builder->step;
    const dnnl_memory_desc_t *bias = step->b ? &mds->b : NULL;
    if (step->kind == THAW_STEP_dense) {
        dnnl_inner_product_desc_t op;
        CPU_TRY(dnnl_inner_product_forward_desc_init(&op, dnnl_forward_inference, &mds->x, &mds->w,
                                                     bias, &mds->y));
        return (int)dnnl_primitive_desc_create(desc, &op, attr, builder->engine, NULL);
    }
    const thaw_window *win = &step->conv.window;
    dnnl_convolution_desc_t op;
    CPU_TRY(dnnl_dilated_convolution_forward_desc_init(
        &op, dnnl_forward_inference, dnnl_convolution_direct, &mds->x, &mds->w, bias, &mds->y,
        (dnnl_dims_t){win->stride_h, win->stride_w},
        (dnnl_dims_t){win->dilation_h - 1, win->dilation_w - 1},
        (dnnl_dims_t){win->pad_top, win->pad_left},
        (dnnl_dims_t){win->pad_bottom, win->pad_right}));
    return (int)dnnl_primitive_desc_create(desc, &op, attr, builder->engine, NULL);
}

int cpu_conv_prepare(thaw_step *step, const thaw_plan_context *plan, struct thaw_error *err) {
    cpu_builder builder;
    CPU_TRY(cpu_begin(&builder, step, plan, err));
    dnnl_data_type_t type = cpu_type(plan->compute);
    layer_mds mds;
    make_mds(step, type, &mds);
    dnnl_primitive_attr_t attr;
    CPU_TRY(cpu_epilogue(&builder, NULL, &attr));
    dnnl_primitive_desc_t desc;
    int code = make_desc(&builder, &mds, attr, &desc);
    dnnl_primitive_attr_destroy(attr);
    if (code) return cpu_refuse(&builder, code, "this shape");

    dnnl_memory_desc_t x = *dnnl_primitive_desc_query_md(desc, dnnl_query_src_md, 0);
    dnnl_memory_desc_t w = *dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0);
    dnnl_memory_desc_t y = *dnnl_primitive_desc_query_md(desc, dnnl_query_dst_md, 0);
    bool dense = step->kind == THAW_STEP_dense;
    dnnl_memory_desc_t plain_x = cpu_md(step->in[0], type, dnnl_nchw);
    cpu_source source;
    code = cpu_source_in(&builder, step->in[0], dense ? &plain_x : &x, &source);
    if (code) {
        dnnl_primitive_desc_destroy(desc);
        return code;
    }
    source.md = x; /* Plain N,C,1,1 is the matrix N,C. */
    cpu_call *call;
    CPU_TRY(cpu_add_call(&builder, desc, &call));
    CPU_TRY(cpu_bind_source(&builder, call, DNNL_ARG_SRC, &source));
    CPU_TRY(cpu_bind_constant(&builder, call, DNNL_ARG_WEIGHTS, step->w, &mds.w_plain, &w));
    if (step->b) CPU_TRY(cpu_bind_constant(&builder, call, DNNL_ARG_BIAS, step->b, &mds.b, &mds.b));
    CPU_TRY(cpu_bind_port_as(&builder, call, DNNL_ARG_DST, step->out, &y));
    step->in_place = step->epilogue.residual;
    if (dense) y = cpu_md(step->out, type, dnnl_nchw);
    return cpu_set_output(&builder, &y);
}

int cpu_dense_prepare(thaw_step *step, const thaw_plan_context *plan, struct thaw_error *err) {
    return cpu_conv_prepare(step, plan, err);
}
