/* Products of two maps, channel by channel (ONNX's MatMul of four dimensions).
 *
 *     y[n,c,i,k] = sum over j of a[n,c,i,j] b[n,c,j,k];  da = dy b^T;  db = a^T dy
 *
 * Each channel of a picture is a matrix of H x W, plain N,C,H,W.
 */
#include "onednn.h"

/* A port's channels as matrices, or as their transposes. */
static int matrices(cpu_builder *builder, const thaw_port *port, bool transposed, cpu_md *md) {
    int64_t H = port->H, W = port->W;
    const dnnl_dims_t dims = {port->N * port->C, transposed ? W : H, transposed ? H : W};
    const dnnl_dims_t strides = {H * W, transposed ? 1 : W, transposed ? W : 1};
    return cpu_strided_md(builder, 3, dims, strides, dnnl_f32, md);
}

/* The port in the plain layout that matrices are views of. */
static int open_source(cpu_builder *builder, const thaw_port *port, cpu_source *source) {
    cpu_md plain;
    CPU_TRY(cpu_port_md(builder, port, dnnl_f32, dnnl_nchw, &plain));
    return cpu_source_in(builder, port, plain, source);
}

/* to = a b, of which either may be transposed. `to` lies as `want` says in the end. */
static int add_product(cpu_builder *builder, const cpu_source *a, bool a_transposed,
                       const cpu_source *b, bool b_transposed, const thaw_port *to, cpu_md want) {
    cpu_md plain, mds[3];
    CPU_TRY(cpu_port_md(builder, to, dnnl_f32, dnnl_nchw, &plain));
    CPU_TRY(matrices(builder, a->port, a_transposed, &mds[0]));
    CPU_TRY(matrices(builder, b->port, b_transposed, &mds[1]));
    CPU_TRY(matrices(builder, to, false, &mds[2]));
    cpu_target target = {.port = to, .want = want, .md = plain};
    CPU_TRY(cpu_target_open(builder, &target));
    dnnl_primitive_attr_t attr;
    dnnl_primitive_desc_t desc;
    CPU_TRY(cpu_attributes(NULL, &attr));
    int code = (int)dnnl_matmul_primitive_desc_create(&desc, builder->engine, mds[0], mds[1], NULL,
                                                      mds[2], attr);
    dnnl_primitive_attr_destroy(attr);
    if (code) return cpu_refuse(builder, code, "these matrices");
    cpu_source left = *a, right = *b;
    cpu_target seen = target;
    left.md = mds[0];
    right.md = mds[1];
    seen.md = mds[2];
    if (!target.reordered) seen.want = mds[2];
    cpu_call *call;
    CPU_TRY(cpu_add_call(builder, desc, &call));
    CPU_TRY(cpu_bind_source(builder, call, DNNL_ARG_SRC, &left));
    CPU_TRY(cpu_bind_source(builder, call, DNNL_ARG_WEIGHTS, &right));
    CPU_TRY(cpu_bind_target(builder, call, DNNL_ARG_DST, &seen));
    return cpu_target_close(builder, &target);
}

int cpu_matmul_prepare(thaw_step *step, const thaw_plan_context *plan, struct thaw_error *err) {
    cpu_builder builder;
    cpu_source a, b;
    cpu_md out;
    CPU_TRY(cpu_begin(&builder, step, plan, err));
    CPU_TRY(open_source(&builder, step->in[0], &a));
    CPU_TRY(open_source(&builder, step->in[1], &b));
    CPU_TRY(cpu_port_md(&builder, step->out, cpu_type(step->out->dtype), dnnl_nchw, &out));
    CPU_TRY(add_product(&builder, &a, false, &b, false, step->out, out));
    return cpu_set_output(&builder, out);
}

int cpu_matmul_backward_prepare(thaw_step *step, const thaw_plan_context *plan,
                                struct thaw_error *err) {
    cpu_builder builder;
    cpu_source a, b, dy;
    CPU_TRY(cpu_begin_backward(&builder, step, plan, err));
    CPU_TRY(open_source(&builder, step->in[0], &a));
    CPU_TRY(open_source(&builder, step->in[1], &b));
    CPU_TRY(open_source(&builder, step->dy, &dy));
    const thaw_port *da = step->dx[0], *db = step->dx[1];
    if (da) CPU_TRY(add_product(&builder, &dy, false, &b, true, da, cpu_layout(da)));
    return db ? add_product(&builder, &a, true, &dy, false, db, cpu_layout(db)) : 0;
}
