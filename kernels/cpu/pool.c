/* Maximum, mean and global mean over a window.
 *
 * pool: ONNX MaxPool and AveragePool. A window may reach past the bottom and right pads
 * (ceil_mode): the part outside is not counted.  global_mean: a window as large as the picture.
 * Sums in float in a fixed order.
 */
#include "onednn.h"

/* The pad on the far side that makes `out` windows fit. */
static int64_t far_pad(int64_t out, int64_t stride, int64_t window, int64_t in, int64_t near) {
    return (out - 1) * stride + window - in - near;
}

static int64_t reach_h(const thaw_window *w) {
    return (w->R - 1) * w->dilation_h + 1;
}

static int64_t reach_w(const thaw_window *w) {
    return (w->S - 1) * w->dilation_w + 1;
}

static dnnl_alg_kind_t algorithm(const thaw_pool_shape *pool) {
    return pool->max                 ? dnnl_pooling_max
           : pool->count_include_pad ? dnnl_pooling_avg_include_padding
                                     : dnnl_pooling_avg_exclude_padding;
}

static int forward_desc(cpu_builder *builder, const thaw_pool_shape *pool, cpu_md x, cpu_md y,
                        dnnl_primitive_desc_t *desc) {
    const thaw_window *w = &pool->window;
    dnnl_prop_kind_t kind =
        builder->plan->training ? dnnl_forward_training : dnnl_forward_inference;
    dnnl_primitive_attr_t attr;
    CPU_TRY(cpu_attributes(NULL, &attr));
    int code = (int)dnnl_pooling_forward_primitive_desc_create(
        desc, builder->engine, kind, algorithm(pool), x, y, (dnnl_dims_t){w->stride_h, w->stride_w},
        (dnnl_dims_t){w->R, w->S}, (dnnl_dims_t){w->dilation_h - 1, w->dilation_w - 1},
        (dnnl_dims_t){w->pad_top, w->pad_left},
        (dnnl_dims_t){far_pad(pool->P, w->stride_h, reach_h(w), pool->H, w->pad_top),
                      far_pad(pool->Q, w->stride_w, reach_w(w), pool->W, w->pad_left)},
        attr);
    dnnl_primitive_attr_destroy(attr);
    return code ? cpu_refuse(builder, code, "this window") : 0;
}

static int pool_prepare(thaw_step *step, const thaw_pool_shape *pool, const thaw_plan_context *plan,
                        struct thaw_error *err) {
    cpu_builder builder;
    CPU_TRY(cpu_begin(&builder, step, plan, err));
    cpu_md x = cpu_layout(step->in[0]), y;
    CPU_TRY(cpu_port_md(&builder, step->out, cpu_type(step->out->dtype), dnnl_format_tag_any, &y));
    dnnl_primitive_desc_t desc;
    CPU_TRY(forward_desc(&builder, pool, x, y, &desc));
    cpu_md indices = NULL;
    cpu_call *call;
    int code = cpu_chosen_md(&builder, desc, dnnl_query_dst_md, &y);
    if (!code && pool->max && plan->training)
        code = cpu_chosen_md(&builder, desc, dnnl_query_workspace_md, &indices);
    if (code) {
        dnnl_primitive_desc_destroy(desc);
        return code;
    }
    CPU_TRY(cpu_add_call(&builder, desc, &call));
    CPU_TRY(cpu_bind_port(&builder, call, DNNL_ARG_SRC, step->in[0]));
    CPU_TRY(cpu_bind_port_as(&builder, call, DNNL_ARG_DST, step->out, y));
    if (indices) {
        CPU_TRY(cpu_bind_kept(&builder, call, DNNL_ARG_WORKSPACE, indices, 0));
        step->kept->bytes = dnnl_memory_desc_get_size(indices);
        step->kept->layout = y; /* As the backward pass has to lay out its hint. */
    }
    return cpu_set_output(&builder, y);
}

static int pool_backward_prepare(thaw_step *step, const thaw_pool_shape *pool,
                                 const thaw_plan_context *plan, struct thaw_error *err) {
    cpu_builder builder;
    CPU_TRY(cpu_begin_backward(&builder, step, plan, err));
    const thaw_window *w = &pool->window;
    cpu_md x = cpu_layout(step->in[0]), y = cpu_layout(step->out), indices = NULL;
    if (pool->max) y = step->kept->layout;
    dnnl_primitive_desc_t hint, desc = NULL;
    CPU_TRY(forward_desc(&builder, pool, x, y, &hint));
    dnnl_primitive_attr_t attr;
    int code = cpu_attributes(NULL, &attr);
    if (!code) {
        code = (int)dnnl_pooling_backward_primitive_desc_create(
            &desc, builder.engine, algorithm(pool), x, y, (dnnl_dims_t){w->stride_h, w->stride_w},
            (dnnl_dims_t){w->R, w->S}, (dnnl_dims_t){w->dilation_h - 1, w->dilation_w - 1},
            (dnnl_dims_t){w->pad_top, w->pad_left},
            (dnnl_dims_t){far_pad(pool->P, w->stride_h, reach_h(w), pool->H, w->pad_top),
                          far_pad(pool->Q, w->stride_w, reach_w(w), pool->W, w->pad_left)},
            hint, attr);
        dnnl_primitive_attr_destroy(attr);
    }
    if (!code && pool->max) code = cpu_chosen_md(&builder, hint, dnnl_query_workspace_md, &indices);
    dnnl_primitive_desc_destroy(hint);
    if (code) return cpu_refuse(&builder, code, "this window's gradient");
    cpu_call *call;
    CPU_TRY(cpu_add_call(&builder, desc, &call));
    CPU_TRY(cpu_bind_port_as(&builder, call, DNNL_ARG_DIFF_DST, step->dy, y));
    if (indices) CPU_TRY(cpu_bind_kept(&builder, call, DNNL_ARG_WORKSPACE, indices, 0));
    return cpu_bind_port(&builder, call, DNNL_ARG_DIFF_SRC, step->dx[0]);
}

int cpu_pool_prepare(thaw_step *step, const thaw_plan_context *plan, struct thaw_error *err) {
    return pool_prepare(step, &step->pool, plan, err);
}

int cpu_pool_backward_prepare(thaw_step *step, const thaw_plan_context *plan,
                              struct thaw_error *err) {
    return pool_backward_prepare(step, &step->pool, plan, err);
}

static thaw_pool_shape whole_picture(const thaw_port *x) {
    return (thaw_pool_shape){
        .N = x->N,
        .H = x->H,
        .W = x->W,
        .C = x->C,
        .P = 1,
        .Q = 1,
        .window =
            {.R = x->H, .S = x->W, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1},
    };
}

int cpu_global_mean_prepare(thaw_step *step, const thaw_plan_context *plan,
                            struct thaw_error *err) {
    thaw_pool_shape whole = whole_picture(step->in[0]);
    return pool_prepare(step, &whole, plan, err);
}

int cpu_global_mean_backward_prepare(thaw_step *step, const thaw_plan_context *plan,
                                     struct thaw_error *err) {
    thaw_pool_shape whole = whole_picture(step->in[0]);
    return pool_backward_prepare(step, &whole, plan, err);
}
