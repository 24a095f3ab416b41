/* Steps that move values without arithmetic, and the two ends of the trunk.
 *
 * import: u8 NHWC pixels -> y = x * scale[c] + shift[c], plain NHWC.
 * export: any layout -> float NHWC in the caller's memory.
 * concat along C; pad with zeros; reshape and transpose, in ONNX's NCHW order.
 */
#include <string.h>

#include "arena.h"
#include "onednn.h"

int cpu_import_prepare(thaw_step *step, const thaw_plan_context *plan, struct thaw_error *err) {
    cpu_builder builder;
    CPU_TRY(cpu_begin(&builder, step, plan, err));
    cpu_md md;
    CPU_TRY(cpu_port_md(&builder, step->out, cpu_type(step->out->dtype), dnnl_nhwc, &md));
    return cpu_set_output(&builder, md);
}

/* Round to nearest even, as the hardware's conversion does; pixels are never NaN. */
static uint16_t bf16_from_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

int cpu_import_run(const thaw_step *step, const thaw_run_context *context) {
    const thaw_port *y = step->out;
    int64_t C = y->C, n_pixels = y->N * y->H * y->W;
    const uint8_t *x = context->pixels;
    if (y->dtype == THAW_BF16) {
        uint16_t *out = y->data;
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < n_pixels; i++)
            for (int64_t c = 0; c < C; c++)
                out[i * C + c] = bf16_from_float(x[i * C + c] * step->scale[c] + step->shift[c]);
        return 0;
    }
    float *out = y->data;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n_pixels; i++)
        for (int64_t c = 0; c < C; c++)
            out[i * C + c] = x[i * C + c] * step->scale[c] + step->shift[c];
    return 0;
}

/* Adds a copy of src (as src_md sees it) to out (as dst_md sees it; NULL: the caller's features).
 */
static int add_copy(cpu_builder *builder, const thaw_port *in, cpu_md src_md, const thaw_port *out,
                    cpu_md dst_md) {
    dnnl_primitive_desc_t desc;
    CPU_TRY(cpu_copy_desc(builder, src_md, dst_md, &desc));
    cpu_call *call;
    CPU_TRY(cpu_add_call(builder, desc, &call));
    CPU_TRY(cpu_bind_port_as(builder, call, DNNL_ARG_FROM, in, src_md));
    if (!out) return cpu_bind_features(builder, call, DNNL_ARG_TO, dst_md);
    return cpu_bind_port_as(builder, call, DNNL_ARG_TO, out, dst_md);
}

int cpu_export_prepare(thaw_step *step, const thaw_plan_context *plan, struct thaw_error *err) {
    cpu_builder builder;
    CPU_TRY(cpu_begin(&builder, step, plan, err));
    cpu_md plain;
    CPU_TRY(cpu_port_md(&builder, step->in[0], dnnl_f32, dnnl_nhwc, &plain));
    return add_copy(&builder, step->in[0], cpu_layout(step->in[0]), NULL, plain);
}

int cpu_reshape_prepare(thaw_step *step, const thaw_plan_context *plan, struct thaw_error *err) {
    cpu_builder builder;
    CPU_TRY(cpu_begin(&builder, step, plan, err));
    dnnl_data_type_t type = cpu_type(step->out->dtype);
    cpu_md plain, out;
    CPU_TRY(cpu_port_md(&builder, step->in[0], type, dnnl_nchw, &plain));
    CPU_TRY(add_copy(&builder, step->in[0], cpu_layout(step->in[0]), step->out, plain));
    CPU_TRY(cpu_port_md(&builder, step->out, type, dnnl_nchw, &out));
    return cpu_set_output(&builder, out);
}

/* Axes of x behind the batch as a strided view of its plain N,C,H,W, in the order that y has them. */
static int permuted_md(cpu_builder *builder, dnnl_data_type_t type, cpu_md *view, cpu_md *dense) {
    static const dnnl_format_tag_t tags[] = {dnnl_a,    dnnl_ab,    dnnl_abc,
                                             dnnl_abcd, dnnl_abcde, dnnl_abcdef};
    const thaw_permutation *axes = &builder->step->axes;
    dnnl_dims_t stride_x = {0}, dims = {builder->step->in[0]->N}, strides = {1};
    dnnl_dim_t stride = 1;
    for (int i = axes->n - 1; i >= 0; stride *= axes->dims[i--])
        stride_x[i] = stride;
    strides[0] = stride;
    for (int i = 0; i < axes->n; i++) {
        dims[i + 1] = axes->dims[axes->perm[i]];
        strides[i + 1] = stride_x[axes->perm[i]];
    }
    CPU_TRY(cpu_strided_md(builder, axes->n + 1, dims, strides, type, view));
    return cpu_dense_md(builder, axes->n + 1, dims, type, tags[axes->n], dense);
}

int cpu_transpose_prepare(thaw_step *step, const thaw_plan_context *plan, struct thaw_error *err) {
    cpu_builder builder;
    CPU_TRY(cpu_begin(&builder, step, plan, err));
    const thaw_port *x = step->in[0], *y = step->out;
    dnnl_data_type_t type = cpu_type(y->dtype);
    cpu_md plain, view, dense, out;
    cpu_source source;
    CPU_TRY(cpu_port_md(&builder, x, type, dnnl_nchw, &plain));
    CPU_TRY(cpu_source_in(&builder, x, plain, &source));
    CPU_TRY(permuted_md(&builder, type, &view, &dense));
    dnnl_primitive_desc_t desc;
    cpu_call *call;
    CPU_TRY(cpu_copy_desc(&builder, view, dense, &desc));
    CPU_TRY(cpu_add_call(&builder, desc, &call));
    source.md = view;
    CPU_TRY(cpu_bind_source(&builder, call, DNNL_ARG_FROM, &source));
    CPU_TRY(cpu_bind_port_as(&builder, call, DNNL_ARG_TO, y, dense));
    CPU_TRY(cpu_port_md(&builder, y, type, dnnl_nchw, &out));
    return cpu_set_output(&builder, out);
}

int cpu_constant_prepare(thaw_step *step, const thaw_plan_context *plan, struct thaw_error *err) {
    return cpu_loop_prepare(step, plan, err);
}

int cpu_constant_run(const thaw_step *step, const thaw_run_context *context) {
    const cpu_loop *loop = step->state;
    const thaw_port *y = step->out;
    const float *none[CPU_LOOP_PORTS];
    size_t n = (size_t)(y->H * y->W * y->C);
    float *out;
    CPU_TRY(cpu_loop_start(loop, context, none, &out));
    for (int64_t i = 0; i < y->N; i++)
        memcpy(out + (size_t)i * n, step->w, n * sizeof *out);
    return cpu_loop_end(loop, context);
}

int cpu_pad_prepare(thaw_step *step, const thaw_plan_context *plan, struct thaw_error *err) {
    cpu_builder builder;
    CPU_TRY(cpu_begin(&builder, step, plan, err));
    const thaw_port *x = step->in[0];
    const thaw_window *w = &step->conv.window;
    const dnnl_dims_t size = {x->N, x->C, x->H, x->W}, from = {0, 0, w->pad_top, w->pad_left};
    cpu_md y, inner;
    CPU_TRY(cpu_port_md(&builder, step->out, cpu_type(step->out->dtype), dnnl_nhwc, &y));
    CPU_TRY(cpu_part_md(&builder, y, size, from, &inner));
    CPU_TRY(add_copy(&builder, x, cpu_layout(x), step->out, inner));
    builder.state->clear_bytes = dnnl_memory_desc_get_size(y);
    return cpu_set_output(&builder, y);
}

/* The usual layout that the first input has; NHWC if it has another one. */
static int usual_tag(cpu_builder *builder, dnnl_format_tag_t *tag) {
    static const dnnl_format_tag_t blocked[] = {dnnl_nChw16c, dnnl_nChw8c};
    const thaw_port *x = builder->step->in[0];
    *tag = dnnl_nhwc;
    for (int i = 0; i < 2 && *tag == dnnl_nhwc; i++) {
        cpu_md candidate;
        CPU_TRY(cpu_port_md(builder, x, cpu_type(x->dtype), blocked[i], &candidate));
        if (dnnl_memory_desc_equal(candidate, cpu_layout(x))) *tag = blocked[i];
    }
    return 0;
}

/* The layout of the whole: the first part's, where it is one of the usual ones. oneDNN 3.2's own
 * choice for parts that lie differently can have channels before images, and its reference eltwise,
 * which AVX falls back to, takes that for images before channels. */
static int joined_md(cpu_builder *builder, cpu_md *md) {
    const thaw_port *y = builder->step->out;
    dnnl_format_tag_t tag;
    CPU_TRY(usual_tag(builder, &tag));
    return cpu_port_md(builder, y, cpu_type(y->dtype), tag, md);
}

/* A part of a blocked layout begins and ends with a block; where the channels do not, x is brought
 * to NHWC before. */
int cpu_slice_prepare(thaw_step *step, const thaw_plan_context *plan, struct thaw_error *err) {
    cpu_builder builder;
    CPU_TRY(cpu_begin(&builder, step, plan, err));
    const thaw_port *x = step->in[0], *y = step->out;
    dnnl_format_tag_t tag;
    CPU_TRY(usual_tag(&builder, &tag));
    if (step->first % 16 != 0 || y->C % 16 != 0) tag = dnnl_nhwc;
    const dnnl_dims_t size = {y->N, y->C, y->H, y->W}, from = {0, step->first, 0, 0};
    cpu_md whole, part, out;
    cpu_source source;
    CPU_TRY(cpu_port_md(&builder, x, cpu_type(x->dtype), tag, &whole));
    CPU_TRY(cpu_source_in(&builder, x, whole, &source));
    CPU_TRY(cpu_part_md(&builder, whole, size, from, &part));
    CPU_TRY(cpu_port_md(&builder, y, cpu_type(y->dtype), tag, &out));
    dnnl_primitive_desc_t desc;
    cpu_call *call;
    CPU_TRY(cpu_copy_desc(&builder, part, out, &desc));
    CPU_TRY(cpu_add_call(&builder, desc, &call));
    source.md = part; /* The same memory, seen as the part. */
    CPU_TRY(cpu_bind_source(&builder, call, DNNL_ARG_FROM, &source));
    CPU_TRY(cpu_bind_port_as(&builder, call, DNNL_ARG_TO, y, out));
    return cpu_set_output(&builder, out);
}

/* oneDNN counts the channels of a group, which it transposes with the groups. */
int cpu_shuffle_prepare(thaw_step *step, const thaw_plan_context *plan, struct thaw_error *err) {
    cpu_builder builder;
    CPU_TRY(cpu_begin(&builder, step, plan, err));
    const thaw_port *x = step->in[0], *y = step->out;
    dnnl_format_tag_t tag;
    cpu_md md, out;
    cpu_source source;
    CPU_TRY(usual_tag(&builder, &tag));
    CPU_TRY(cpu_port_md(&builder, x, cpu_type(x->dtype), tag, &md));
    CPU_TRY(cpu_port_md(&builder, y, cpu_type(y->dtype), tag, &out));
    CPU_TRY(cpu_source_in(&builder, x, md, &source));
    dnnl_primitive_attr_t attr;
    dnnl_primitive_desc_t desc;
    CPU_TRY(cpu_attributes(NULL, &attr));
    int code = (int)dnnl_shuffle_forward_primitive_desc_create(
        &desc, builder.engine, dnnl_forward_inference, md, out, 1, x->C / step->groups, attr);
    dnnl_primitive_attr_destroy(attr);
    if (code) return cpu_refuse(&builder, code, "this shuffle");
    cpu_call *call;
    CPU_TRY(cpu_add_call(&builder, desc, &call));
    CPU_TRY(cpu_bind_source(&builder, call, DNNL_ARG_SRC, &source));
    CPU_TRY(cpu_bind_port_as(&builder, call, DNNL_ARG_DST, y, out));
    return cpu_set_output(&builder, out);
}

static int concat_desc(cpu_builder *builder, cpu_md y, dnnl_primitive_desc_t *desc) {
    const thaw_step *step = builder->step;
    cpu_md *mds = thaw_arena_array(builder->plan->arena, (size_t)step->n_in, sizeof *mds);
    if (!mds) return cpu_refuse(builder, dnnl_out_of_memory, "memory for a concatenation");
    for (int i = 0; i < step->n_in; i++)
        mds[i] = cpu_layout(step->in[i]);
    dnnl_primitive_attr_t attr;
    CPU_TRY(cpu_attributes(NULL, &attr));
    int code =
        (int)dnnl_concat_primitive_desc_create(desc, builder->engine, y, step->n_in, 1, mds, attr);
    dnnl_primitive_attr_destroy(attr);
    return code ? cpu_refuse(builder, code, "this concatenation") : 0;
}

int cpu_concat_prepare(thaw_step *step, const thaw_plan_context *plan, struct thaw_error *err) {
    cpu_builder builder;
    CPU_TRY(cpu_begin(&builder, step, plan, err));
    cpu_md y;
    CPU_TRY(joined_md(&builder, &y));
    dnnl_primitive_desc_t desc;
    CPU_TRY(concat_desc(&builder, y, &desc));
    cpu_call *call;
    CPU_TRY(cpu_add_call(&builder, desc, &call));
    for (int i = 0; i < step->n_in; i++)
        CPU_TRY(cpu_bind_port(&builder, call, DNNL_ARG_MULTIPLE_SRC + i, step->in[i]));
    CPU_TRY(cpu_bind_port_as(&builder, call, DNNL_ARG_DST, step->out, y));
    return cpu_set_output(&builder, y);
}

/* ---- training -------------------------------------------------------------------------------- */

int cpu_load_prepare(thaw_step *step, const thaw_plan_context *plan, struct thaw_error *err) {
    return cpu_import_prepare(step, plan, err);
}

int cpu_concat_backward_prepare(thaw_step *step, const thaw_plan_context *plan,
                                struct thaw_error *err) {
    cpu_builder builder;
    CPU_TRY(cpu_begin_backward(&builder, step, plan, err));
    const thaw_port *dy = step->dy;
    dnnl_format_tag_t tag;
    CPU_TRY(usual_tag(&builder, &tag));
    /* A part of a blocked layout begins and ends with a block. */
    for (int i = 0; i < step->n_in; i++)
        if (step->in[i]->C % 16 != 0) tag = dnnl_nhwc;
    cpu_md whole;
    cpu_source source;
    CPU_TRY(cpu_port_md(&builder, dy, dnnl_f32, tag, &whole));
    CPU_TRY(cpu_source_in(&builder, dy, whole, &source));
    int64_t first = 0;
    for (int i = 0; i < step->n_in; first += step->in[i++]->C) {
        const thaw_port *dx = step->dx[i];
        if (!dx) continue;
        const dnnl_dims_t size = {dx->N, dx->C, dx->H, dx->W}, from = {0, first, 0, 0};
        CPU_TRY(cpu_part_md(&builder, whole, size, from, &source.md));
        dnnl_primitive_desc_t desc;
        cpu_call *call;
        CPU_TRY(cpu_copy_desc(&builder, source.md, cpu_layout(dx), &desc));
        CPU_TRY(cpu_add_call(&builder, desc, &call));
        CPU_TRY(cpu_bind_source(&builder, call, DNNL_ARG_FROM, &source));
        CPU_TRY(cpu_bind_port(&builder, call, DNNL_ARG_TO, dx));
    }
    return 0;
}

/* Zeros, and dy in its channels; by way of NHWC, of which any channels are a part. */
int cpu_slice_backward_prepare(thaw_step *step, const thaw_plan_context *plan,
                               struct thaw_error *err) {
    cpu_builder builder;
    CPU_TRY(cpu_begin_backward(&builder, step, plan, err));
    const thaw_port *dx = step->dx[0], *dy = step->dy;
    cpu_md rows, part, own = cpu_layout(dx);
    const dnnl_dims_t size = {dy->N, dy->C, dy->H, dy->W}, from = {0, step->first, 0, 0};
    CPU_TRY(cpu_port_md(&builder, dx, dnnl_f32, dnnl_nhwc, &rows));
    CPU_TRY(cpu_part_md(&builder, rows, size, from, &part));
    cpu_target target = {.port = dx, .want = own, .md = rows};
    CPU_TRY(cpu_target_open(&builder, &target));
    builder.state->clear_bytes = dnnl_memory_desc_get_size(rows);
    builder.state->clear_offset = target.reordered ? target.offset : SIZE_MAX;
    dnnl_primitive_desc_t desc;
    cpu_call *call;
    CPU_TRY(cpu_copy_desc(&builder, cpu_layout(dy), part, &desc));
    CPU_TRY(cpu_add_call(&builder, desc, &call));
    CPU_TRY(cpu_bind_port(&builder, call, DNNL_ARG_FROM, dy));
    cpu_target seen = target;
    seen.md = part;
    if (!target.reordered) seen.want = part;
    CPU_TRY(cpu_bind_target(&builder, call, DNNL_ARG_TO, &seen));
    return cpu_target_close(&builder, &target);
}

int cpu_slice_backward(const thaw_step *step, const thaw_run_context *context) {
    const cpu_state *state = step->backward_state;
    char *rows = state->clear_offset == SIZE_MAX ? step->dx[0]->data
                                                 : (char *)context->workspace + state->clear_offset;
    memset(rows, 0, state->clear_bytes);
    return cpu_run_backward(step, context);
}

/* The way back: groups and the channels of a group change places. */
int cpu_shuffle_backward_prepare(thaw_step *step, const thaw_plan_context *plan,
                                 struct thaw_error *err) {
    cpu_builder builder;
    CPU_TRY(cpu_begin_backward(&builder, step, plan, err));
    const thaw_port *dx = step->dx[0], *dy = step->dy;
    cpu_md rows;
    cpu_source source;
    CPU_TRY(cpu_port_md(&builder, dy, dnnl_f32, dnnl_nhwc, &rows));
    CPU_TRY(cpu_source_in(&builder, dy, rows, &source));
    cpu_target target = {.port = dx, .want = cpu_layout(dx), .md = rows};
    CPU_TRY(cpu_target_open(&builder, &target));
    dnnl_primitive_attr_t attr;
    dnnl_primitive_desc_t desc;
    CPU_TRY(cpu_attributes(NULL, &attr));
    int code = (int)dnnl_shuffle_forward_primitive_desc_create(
        &desc, builder.engine, dnnl_forward_inference, rows, rows, 1, step->groups, attr);
    dnnl_primitive_attr_destroy(attr);
    if (code) return cpu_refuse(&builder, code, "this shuffle's gradient");
    cpu_call *call;
    CPU_TRY(cpu_add_call(&builder, desc, &call));
    CPU_TRY(cpu_bind_source(&builder, call, DNNL_ARG_SRC, &source));
    CPU_TRY(cpu_bind_target(&builder, call, DNNL_ARG_DST, &target));
    return cpu_target_close(&builder, &target);
}

int cpu_pad_backward_prepare(thaw_step *step, const thaw_plan_context *plan,
                             struct thaw_error *err) {
    cpu_builder builder;
    CPU_TRY(cpu_begin_backward(&builder, step, plan, err));
    const thaw_port *dx = step->dx[0];
    const thaw_window *w = &step->conv.window;
    const dnnl_dims_t size = {dx->N, dx->C, dx->H, dx->W}, from = {0, 0, w->pad_top, w->pad_left};
    cpu_md inner;
    CPU_TRY(cpu_part_md(&builder, cpu_layout(step->dy), size, from, &inner));
    dnnl_primitive_desc_t desc;
    cpu_call *call;
    CPU_TRY(cpu_copy_desc(&builder, inner, cpu_layout(dx), &desc));
    CPU_TRY(cpu_add_call(&builder, desc, &call));
    CPU_TRY(cpu_bind_port_as(&builder, call, DNNL_ARG_FROM, step->dy, inner));
    return cpu_bind_port(&builder, call, DNNL_ARG_TO, dx);
}

/* The way back: dy as it lies in x, written into x's places. */
int cpu_transpose_backward_prepare(thaw_step *step, const thaw_plan_context *plan,
                                   struct thaw_error *err) {
    cpu_builder builder;
    CPU_TRY(cpu_begin_backward(&builder, step, plan, err));
    const thaw_port *dx = step->dx[0], *dy = step->dy;
    cpu_md plain, view, dense, plain_dy;
    cpu_source source;
    CPU_TRY(cpu_port_md(&builder, dx, dnnl_f32, dnnl_nchw, &plain));
    CPU_TRY(cpu_port_md(&builder, dy, dnnl_f32, dnnl_nchw, &plain_dy));
    CPU_TRY(permuted_md(&builder, dnnl_f32, &view, &dense));
    CPU_TRY(cpu_source_in(&builder, dy, plain_dy, &source));
    cpu_target target = {.port = dx, .want = cpu_layout(dx), .md = plain};
    CPU_TRY(cpu_target_open(&builder, &target));
    dnnl_primitive_desc_t desc;
    cpu_call *call;
    CPU_TRY(cpu_copy_desc(&builder, dense, view, &desc));
    CPU_TRY(cpu_add_call(&builder, desc, &call));
    source.md = dense;
    CPU_TRY(cpu_bind_source(&builder, call, DNNL_ARG_FROM, &source));
    cpu_target seen = target;
    seen.md = view;
    if (!target.reordered) seen.want = view;
    CPU_TRY(cpu_bind_target(&builder, call, DNNL_ARG_TO, &seen));
    return cpu_target_close(&builder, &target);
}

int cpu_reshape_backward_prepare(thaw_step *step, const thaw_plan_context *plan,
                                 struct thaw_error *err) {
    cpu_builder builder;
    CPU_TRY(cpu_begin_backward(&builder, step, plan, err));
    const thaw_port *dx = step->dx[0];
    cpu_md plain;
    CPU_TRY(cpu_port_md(&builder, dx, dnnl_f32, dnnl_nchw, &plain));
    return add_copy(&builder, step->dy, plain, dx, cpu_layout(dx));
}
