/* LayerNormalization over the channels of each pixel (Ba, Kiros & Hinton 2016; ONNX 17).
 *
 *     y[n,h,w,c] = (x[n,h,w,c] - mean) / sqrt(variance + epsilon) * scale[c] + shift[c]
 *
 * mean, variance: over c. oneDNN normalises the last dimension, so pixels are rows of a matrix, and
 * x lies as plain NHWC.
 */
#include "onednn.h"

int cpu_layer_norm_prepare(thaw_step *step, const thaw_plan_context *plan, struct thaw_error *err) {
    cpu_builder builder;
    CPU_TRY(cpu_begin(&builder, step, plan, err));
    const thaw_port *x = step->in[0];
    const dnnl_dims_t pixels = {x->N * x->H * x->W, x->C};
    cpu_md plain, rows, vector;
    CPU_TRY(cpu_port_md(&builder, x, dnnl_f32, dnnl_nhwc, &plain));
    CPU_TRY(cpu_dense_md(&builder, 2, pixels, dnnl_f32, dnnl_ab, &rows));
    CPU_TRY(cpu_dense_md(&builder, 1, (dnnl_dims_t){x->C}, dnnl_f32, dnnl_a, &vector));
    cpu_source source;
    CPU_TRY(cpu_source_in(&builder, x, plain, &source));
    source.md = rows;
    dnnl_primitive_attr_t attr;
    CPU_TRY(cpu_attributes(NULL, &attr));
    dnnl_primitive_desc_t desc;
    int code = (int)dnnl_layer_normalization_forward_primitive_desc_create(
        &desc, builder.engine, dnnl_forward_inference, rows, rows, NULL, step->epsilon,
        dnnl_use_scale | dnnl_use_shift, attr);
    dnnl_primitive_attr_destroy(attr);
    if (code) return cpu_refuse(&builder, code, "this normalisation");
    cpu_call *call;
    CPU_TRY(cpu_add_call(&builder, desc, &call));
    CPU_TRY(cpu_bind_source(&builder, call, DNNL_ARG_SRC, &source));
    CPU_TRY(cpu_bind_constant(&builder, call, DNNL_ARG_SCALE, step->scale, vector, vector));
    CPU_TRY(cpu_bind_constant(&builder, call, DNNL_ARG_SHIFT, step->shift, vector, vector));
    CPU_TRY(cpu_bind_port_as(&builder, call, DNNL_ARG_DST, step->out, rows));
    return cpu_set_output(&builder, plain);
}
