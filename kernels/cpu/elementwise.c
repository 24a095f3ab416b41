/* Activation alone, sum, product and per-channel affine, each with an activation after it.
 *
 * add, mul: x1 may be smaller than x0 in H, W or C, where it is 1 (numpy's broadcast).
 * affine: y = act(x * scale[c] + shift[c]): BatchNormalization that no convolution precedes.
 */
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
