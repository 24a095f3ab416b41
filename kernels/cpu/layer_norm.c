/* LayerNormalization over the channels of each pixel (Ba, Kiros & Hinton 2016; ONNX 17).
 *
 *     y[n,h,w,c] = (x[n,h,w,c] - mean) / sqrt(variance + epsilon) * scale[c] + shift[c]
 *
 * mean, variance: over c. oneDNN normalises the last dimension, so pixels are rows of a matrix, and
 * x lies as plain NHWC.
 */
#include "onednn.h"

/* What it normalises, and the two numbers of each pixel that training keeps. */
typedef struct norm_mds {
    cpu_md plain, rows, vector, pixels;
} norm_mds;

static int make_mds(cpu_builder *builder, norm_mds *mds) {
    const thaw_port *x = builder->step->in[0];
    const dnnl_dims_t rows = {x->N * x->H * x->W, x->C};
    CPU_TRY(cpu_port_md(builder, x, dnnl_f32, dnnl_nhwc, &mds->plain));
    CPU_TRY(cpu_dense_md(builder, 2, rows, dnnl_f32, dnnl_ab, &mds->rows));
    CPU_TRY(cpu_dense_md(builder, 1, rows, dnnl_f32, dnnl_a, &mds->pixels));
    return cpu_dense_md(builder, 1, (dnnl_dims_t){x->C}, dnnl_f32, dnnl_a, &mds->vector);
}

static int forward_desc(cpu_builder *builder, const norm_mds *mds, dnnl_primitive_desc_t *desc) {
    bool training = builder->plan->training;
    dnnl_primitive_attr_t attr;
    CPU_TRY(cpu_attributes(NULL, &attr));
    int code = (int)dnnl_layer_normalization_forward_primitive_desc_create(
        desc, builder->engine, training ? dnnl_forward_training : dnnl_forward_inference, mds->rows,
        mds->rows, training ? mds->pixels : NULL, builder->step->epsilon,
        dnnl_use_scale | dnnl_use_shift, attr);
    dnnl_primitive_attr_destroy(attr);
    return code ? cpu_refuse(builder, code, "this normalisation") : 0;
}

/* Means, then variances. */
static int bind_moments(cpu_builder *builder, cpu_call *call, const norm_mds *mds) {
    size_t bytes = dnnl_memory_desc_get_size(mds->pixels);
    builder->step->kept->bytes = 2 * bytes;
    CPU_TRY(cpu_bind_kept(builder, call, DNNL_ARG_MEAN, mds->pixels, 0));
    return cpu_bind_kept(builder, call, DNNL_ARG_VARIANCE, mds->pixels, bytes);
}

int cpu_layer_norm_prepare(thaw_step *step, const thaw_plan_context *plan, struct thaw_error *err) {
    cpu_builder builder;
    CPU_TRY(cpu_begin(&builder, step, plan, err));
    norm_mds mds;
    CPU_TRY(make_mds(&builder, &mds));
    cpu_source source;
    CPU_TRY(cpu_source_in(&builder, step->in[0], mds.plain, &source));
    source.md = mds.rows;
    dnnl_primitive_desc_t desc;
    CPU_TRY(forward_desc(&builder, &mds, &desc));
    cpu_call *call;
    CPU_TRY(cpu_add_call(&builder, desc, &call));
    CPU_TRY(cpu_bind_source(&builder, call, DNNL_ARG_SRC, &source));
    CPU_TRY(cpu_bind_constant(&builder, call, DNNL_ARG_SCALE, step->scale, mds.vector, mds.vector));
    CPU_TRY(cpu_bind_constant(&builder, call, DNNL_ARG_SHIFT, step->shift, mds.vector, mds.vector));
    if (plan->training) CPU_TRY(bind_moments(&builder, call, &mds));
    CPU_TRY(cpu_bind_port_as(&builder, call, DNNL_ARG_DST, step->out, mds.rows));
    return cpu_set_output(&builder, mds.plain);
}

/* dx where no one wants it goes to the workspace: oneDNN always computes it. */
int cpu_layer_norm_backward_prepare(thaw_step *step, const thaw_plan_context *plan,
                                    struct thaw_error *err) {
    cpu_builder builder;
    CPU_TRY(cpu_begin_backward(&builder, step, plan, err));
    norm_mds mds;
    CPU_TRY(make_mds(&builder, &mds));
    cpu_source x, dy;
    CPU_TRY(cpu_source_in(&builder, step->in[0], mds.plain, &x));
    CPU_TRY(cpu_source_in(&builder, step->dy, mds.plain, &dy));
    x.md = dy.md = mds.rows;
    cpu_target dx = {.port = step->dx[0], .md = mds.plain, .want = mds.rows};
    if (dx.port) dx.want = cpu_layout(dx.port);
    CPU_TRY(cpu_target_open(&builder, &dx));
    dnnl_primitive_attr_t attr;
    dnnl_primitive_desc_t hint, desc = NULL;
    CPU_TRY(forward_desc(&builder, &mds, &hint));
    int code = cpu_attributes(NULL, &attr);
    if (!code) {
        code = (int)dnnl_layer_normalization_backward_primitive_desc_create(
            &desc, builder.engine, dnnl_backward, mds.rows, mds.rows, mds.rows, mds.pixels,
            step->epsilon, dnnl_use_scale | dnnl_use_shift, hint, attr);
        dnnl_primitive_attr_destroy(attr);
    }
    dnnl_primitive_desc_destroy(hint);
    if (code) return cpu_refuse(&builder, code, "this normalisation's gradient");
    /* oneDNN 3.2 wants the shift, too, which no gradient depends on; later ones count without it. */
    int inputs = 0;
    dnnl_primitive_desc_query(desc, dnnl_query_num_of_inputs_s32, 0, &inputs);
    cpu_call *call;
    CPU_TRY(cpu_add_call(&builder, desc, &call));
    CPU_TRY(cpu_bind_source(&builder, call, DNNL_ARG_SRC, &x));
    CPU_TRY(cpu_bind_source(&builder, call, DNNL_ARG_DIFF_DST, &dy));
    CPU_TRY(cpu_bind_constant(&builder, call, DNNL_ARG_SCALE, step->scale, mds.vector, mds.vector));
    if (inputs > 5)
        CPU_TRY(
            cpu_bind_constant(&builder, call, DNNL_ARG_SHIFT, step->shift, mds.vector, mds.vector));
    CPU_TRY(bind_moments(&builder, call, &mds));
    cpu_target sums[] = {{.memory = step->dscale, .want = mds.vector, .md = mds.vector},
                         {.memory = step->dshift, .want = mds.vector, .md = mds.vector}};
    CPU_TRY(cpu_bind_target(&builder, call, DNNL_ARG_DIFF_SCALE, &sums[0]));
    CPU_TRY(cpu_bind_target(&builder, call, DNNL_ARG_DIFF_SHIFT, &sums[1]));
    cpu_target seen = dx;
    seen.md = mds.rows;
    if (!dx.reordered) seen.want = mds.rows;
    CPU_TRY(cpu_bind_target(&builder, call, DNNL_ARG_DIFF_SRC, &seen));
    return dx.port ? cpu_target_close(&builder, &dx) : 0;
}
