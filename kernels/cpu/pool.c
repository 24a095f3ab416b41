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

static int pool_prepare(thaw_step *step, const thaw_pool_shape *pool, const thaw_plan_context *plan,
                        struct thaw_error *err) {
    cpu_builder builder;
    CPU_TRY(cpu_begin(&builder, step, plan, err));
    const thaw_window *w = &pool->window;
    int64_t reach_h = (w->R - 1) * w->dilation_h + 1, reach_w = (w->S - 1) * w->dilation_w + 1;
    cpu_md x = cpu_layout(step->in[0]), y;
    CPU_TRY(cpu_port_md(&builder, step->out, cpu_type(step->out->dtype), dnnl_format_tag_any, &y));
    dnnl_alg_kind_t alg = pool->max                 ? dnnl_pooling_max
                          : pool->count_include_pad ? dnnl_pooling_avg_include_padding
                                                    : dnnl_pooling_avg_exclude_padding;
    dnnl_primitive_attr_t attr;
    CPU_TRY(cpu_attributes(NULL, &attr));
    dnnl_primitive_desc_t desc;
    int code = (int)dnnl_pooling_forward_primitive_desc_create(
        &desc, builder.engine, dnnl_forward_inference, alg, x, y,
        (dnnl_dims_t){w->stride_h, w->stride_w}, (dnnl_dims_t){w->R, w->S},
        (dnnl_dims_t){w->dilation_h - 1, w->dilation_w - 1}, (dnnl_dims_t){w->pad_top, w->pad_left},
        (dnnl_dims_t){far_pad(pool->P, w->stride_h, reach_h, pool->H, w->pad_top),
                      far_pad(pool->Q, w->stride_w, reach_w, pool->W, w->pad_left)},
        attr);
    dnnl_primitive_attr_destroy(attr);
    if (code) return cpu_refuse(&builder, code, "this window");
    cpu_call *call;
    code = cpu_chosen_md(&builder, desc, dnnl_query_dst_md, &y);
    if (code) {
        dnnl_primitive_desc_destroy(desc);
        return code;
    }
    CPU_TRY(cpu_add_call(&builder, desc, &call));
    CPU_TRY(cpu_bind_port(&builder, call, DNNL_ARG_SRC, step->in[0]));
    CPU_TRY(cpu_bind_port_as(&builder, call, DNNL_ARG_DST, step->out, y));
    return cpu_set_output(&builder, y);
}

int cpu_pool_prepare(thaw_step *step, const thaw_plan_context *plan, struct thaw_error *err) {
    return pool_prepare(step, &step->pool, plan, err);
}

int cpu_global_mean_prepare(thaw_step *step, const thaw_plan_context *plan,
                            struct thaw_error *err) {
    const thaw_port *x = step->in[0];
    thaw_pool_shape whole = {
        .N = x->N,
        .H = x->H,
        .W = x->W,
        .C = x->C,
        .P = 1,
        .Q = 1,
        .window =
            {.R = x->H, .S = x->W, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1},
    };
    return pool_prepare(step, &whole, plan, err);
}
