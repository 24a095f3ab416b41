#include "ops.h"

#include <math.h>
#include <string.h>

#include "lower.h"

/* ---- helpers ------------------------------------------------------------------------------- */

static thaw_status refuse(const thaw_node *node, thaw_error *err, const char *why) {
    return thaw_fail(err, THAW_ERR_UNSUPPORTED, "%s (%s): %s", node->name, node->type, why);
}

static thaw_status misfit(const thaw_graph *graph, const thaw_node *node, thaw_error *err) {
    char a[96] = "nothing", b[96] = "nothing";
    if (thaw_node_in(graph, node, 0))
        thaw_value_shape_text(thaw_node_in(graph, node, 0), a, sizeof a);
    if (thaw_node_in(graph, node, 1))
        thaw_value_shape_text(thaw_node_in(graph, node, 1), b, sizeof b);
    return thaw_fail(err, THAW_ERR_SHAPE, "%s (%s): shapes do not fit: %s and %s", node->name,
                     node->type, a, b);
}

/* The output, once input 0 is known to have a shape. */
static thaw_value *begin(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *x = thaw_node_in(graph, node, 0), *y = thaw_node_out(graph, node, 0);
    if (x && y && x->rank >= 0) return y;
    misfit(graph, node, err);
    return NULL;
}

/* The same for an operator that computes from the picture: input 0 is not a constant, has one of
 * the given ranks (bit mask) and its channels are axis 1. */
static thaw_value *begin_layer(thaw_graph *graph, thaw_node *node, unsigned ranks,
                               thaw_error *err) {
    thaw_value *y = begin(graph, node, err), *x = thaw_node_in(graph, node, 0);
    if (!y) return NULL;
    const char *why = x->data   ? "its input is a constant"
                      : x->nhwc ? "its input is N,H,W,C: it needs a Transpose to N,C,H,W before it"
                                : NULL;
    if (!why && ranks >> x->rank & 1) return y;
    if (why)
        thaw_fail(err, THAW_ERR_SHAPE, "%s (%s): %s", node->name, node->type, why);
    else
        misfit(graph, node, err);
    return NULL;
}

/* For what treats every channel of every pixel alike, so that their order is no matter. */
static thaw_value *begin_pixelwise(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *x = thaw_node_in(graph, node, 0), *y;
    if (!x || !x->nhwc) return begin_layer(graph, node, 1u << 2 | 1u << 4, err);
    y = thaw_node_out(graph, node, 0);
    if (y && x->rank == 4 && !x->data) {
        y->nhwc = true;
        return y;
    }
    misfit(graph, node, err);
    return NULL;
}

static void set_shape(thaw_value *y, thaw_dtype dtype, int rank, const int64_t *dims) {
    y->dtype = dtype;
    y->rank = rank;
    memmove(y->dims, dims, (size_t)rank * sizeof *dims);
}

static bool is_ints(const thaw_value *v) {
    return v && v->data && v->dtype == THAW_I64;
}

/* A new constant int64 vector (rank 1) or scalar (rank 0) as the node's output. These are shapes,
 * which are short; a file that joins them to themselves over and over wants the machine's memory.
 */
static thaw_status make_ints(thaw_graph *graph, thaw_node *node, int rank, int64_t n, int64_t **out,
                             thaw_error *err) {
    enum { LONGEST = 256 };
    if (n > LONGEST) return refuse(node, err, "makes a shape of more than 256 numbers");
    thaw_value *y = thaw_node_out(graph, node, 0);
    *out = thaw_arena_array(graph->arena, (size_t)n, sizeof **out);
    if (!*out) return thaw_fail_memory(err, "for %s (%s)", node->name, node->type);
    set_shape(y, THAW_I64, rank, &n);
    y->data = *out;
    return THAW_OK;
}

/* ---- shape-only operators: folded away at import ------------------------------------------- */

static thaw_status infer_constant(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = thaw_node_out(graph, node, 0);
    const thaw_attr *attr = NULL;
    for (int i = 0; i < node->n_attrs && !attr; i++)
        if (strncmp(node->attrs[i].name, "value", 5) == 0) attr = &node->attrs[i];
    if (!y || !attr) return refuse(node, err, "has no value");
    if (attr->tensor >= 0) {
        const thaw_value *t = &graph->values[attr->tensor];
        set_shape(y, t->dtype, t->rank, t->dims);
        y->data = t->data;
        return THAW_OK;
    }
    bool floating = strncmp(attr->name, "value_float", 11) == 0;
    bool list = attr->name[0] && attr->name[strlen(attr->name) - 1] == 's';
    int64_t n = list ? (int64_t)attr->n : 1;
    if (strncmp(attr->name, "value_int", 9) != 0 && !floating)
        return refuse(node, err, "holds a value that is neither numbers nor a tensor");
    set_shape(y, floating ? THAW_F32 : THAW_I64, list ? 1 : 0, &n);
    if (list)
        y->data = floating ? (const void *)attr->floats : attr->ints;
    else
        y->data = floating ? (const void *)&attr->f : &attr->i;
    if (!y->data) return refuse(node, err, "holds an empty list");
    return THAW_OK;
}

static thaw_status infer_shape(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = begin(graph, node, err), *x = thaw_node_in(graph, node, 0);
    if (!y) return THAW_ERR_SHAPE;
    int64_t start = thaw_node_int(node, "start", 0), end = thaw_node_int(node, "end", x->rank);
    if (start < 0) start += x->rank;
    if (end < 0) end += x->rank;
    if (end > x->rank) end = x->rank;
    if (start < 0 || start > end) return misfit(graph, node, err);
    int64_t *out;
    THAW_TRY(make_ints(graph, node, 1, end - start, &out, err));
    memcpy(out, x->dims + start, (size_t)(end - start) * sizeof *out);
    return THAW_OK;
}

static thaw_status infer_gather(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = begin(graph, node, err), *x = thaw_node_in(graph, node, 0);
    thaw_value *index = thaw_node_in(graph, node, 1);
    if (!y) return THAW_ERR_SHAPE;
    if (!is_ints(x) || !is_ints(index) || x->rank != 1 || index->rank > 1)
        return refuse(node, err, "picks from a tensor that is computed from the image");
    int64_t n = thaw_value_elements(index);
    int64_t *out;
    THAW_TRY(make_ints(graph, node, index->rank, n, &out, err));
    for (int64_t i = 0; i < n; i++) {
        int64_t at = ((const int64_t *)index->data)[i];
        if (at < 0) at += x->dims[0];
        if (at < 0 || at >= x->dims[0]) return misfit(graph, node, err);
        out[i] = ((const int64_t *)x->data)[at];
    }
    return THAW_OK;
}

static thaw_status infer_slice(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = begin(graph, node, err), *x = thaw_node_in(graph, node, 0);
    if (!y) return THAW_ERR_SHAPE;
    int64_t bound[2];
    for (int i = 0; i < 2; i++) {
        const thaw_attr *attr = thaw_node_attr(node, i ? "ends" : "starts");
        const thaw_value *in = thaw_node_in(graph, node, 1 + i);
        if (attr && attr->n == 1 && attr->ints)
            bound[i] = attr->ints[0];
        else if (is_ints(in) && thaw_value_elements(in) == 1)
            bound[i] = *(const int64_t *)in->data;
        else
            return refuse(node, err, "slices along more than one axis");
    }
    const thaw_value *steps = thaw_node_in(graph, node, 4);
    if (!is_ints(x) || x->rank != 1 ||
        (steps && (!is_ints(steps) || thaw_value_elements(steps) != 1 ||
                   *(const int64_t *)steps->data != 1)))
        return refuse(node, err, "slices a tensor that is computed from the image");
    int64_t n = x->dims[0];
    for (int i = 0; i < 2; i++) {
        if (bound[i] < 0) bound[i] += n;
        bound[i] = bound[i] < 0 ? 0 : bound[i] > n ? n : bound[i];
    }
    int64_t count = bound[1] > bound[0] ? bound[1] - bound[0] : 0;
    int64_t *out;
    THAW_TRY(make_ints(graph, node, 1, count, &out, err));
    memcpy(out, (const int64_t *)x->data + bound[0], (size_t)count * sizeof *out);
    return THAW_OK;
}

/* The output is the input under another name. */
static thaw_status infer_same(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = begin(graph, node, err), *x = thaw_node_in(graph, node, 0);
    if (!y) return THAW_ERR_SHAPE;
    set_shape(y, x->dtype, x->rank, x->dims);
    y->nhwc = x->nhwc;
    y->data = x->data;
    node->alias = !x->data;
    return THAW_OK;
}

static thaw_status infer_cast(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    enum {
        TO_FLOAT = 1,
        TO_INT32 = 6,
        TO_INT64 = 7,
        TO_FLOAT16 = 10,
        TO_DOUBLE = 11,
        TO_BFLOAT16 = 16
    };
    THAW_TRY(infer_same(graph, node, err));
    thaw_value *x = thaw_node_in(graph, node, 0);
    int64_t to = thaw_node_int(node, "to", TO_FLOAT);
    /* Every floating type is float here. */
    bool floating = to == TO_FLOAT || to == TO_DOUBLE || to == TO_FLOAT16 || to == TO_BFLOAT16;
    bool ok = x->dtype == THAW_F32 ? floating : to == TO_INT32 || to == TO_INT64;
    return ok ? THAW_OK : refuse(node, err, "casts between integers and floats");
}

/* ---- operators that only rename memory ----------------------------------------------------- */

/* N,C and as many ones as the file likes. */
static bool is_vector(const thaw_value *v) {
    for (int i = 2; i < v->rank; i++)
        if (v->dims[v->nhwc ? i - 1 : i] != 1) return false;
    return v->rank >= 2;
}

/* Same elements, other dimensions. What lies in N,C,H,W order stays there, so it is an alias if
 * there is no picture (H = W = 1), or if nothing changes. */
static thaw_status reshape_to(thaw_graph *graph, thaw_node *node, int rank, const int64_t *dims,
                              thaw_error *err) {
    thaw_value *x = thaw_node_in(graph, node, 0), *y = thaw_node_out(graph, node, 0);
    set_shape(y, x->dtype, rank, dims);
    if (thaw_value_elements(y) != thaw_value_elements(x)) return misfit(graph, node, err);
    if (x->data) {
        y->data = x->data;
        return THAW_OK;
    }
    bool vector_in = is_vector(x), vector_out = is_vector(y);
    bool keeps_batch = rank >= 1 && y->dims[0] == THAW_BATCH && (!x->nhwc || vector_in);
    bool same = rank == x->rank && memcmp(x->dims, y->dims, (size_t)rank * sizeof *dims) == 0;
    if (!keeps_batch || !(same || vector_out))
        return refuse(node, err,
                      "reshapes a feature map into something that is neither itself nor a vector "
                      "for each image");
    node->alias = same || (vector_in && vector_out);
    return THAW_OK;
}

static thaw_status infer_reshape(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    if (!begin(graph, node, err)) return THAW_ERR_SHAPE;
    thaw_value *x = thaw_node_in(graph, node, 0), *target = thaw_node_in(graph, node, 1);
    if (!is_ints(target) || target->rank != 1 || target->dims[0] > THAW_MAX_RANK)
        return refuse(node, err, "the new shape is not constant");
    const int64_t *want = target->data;
    int rank = (int)target->dims[0], open = -1;
    int64_t dims[THAW_MAX_RANK], known = 1;
    bool zero_copies = thaw_node_int(node, "allowzero", 0) == 0;
    for (int i = 0; i < rank; i++) {
        dims[i] = want[i];
        if (want[i] == 0 && zero_copies && i < x->rank) dims[i] = x->dims[i];
        /* A batch that the file fixed, written into the shape, means the batch. */
        if (i == 0 && graph->fixed_batch && want[0] == graph->fixed_batch &&
            x->dims[0] == THAW_BATCH)
            dims[0] = THAW_BATCH;
        bool batch = i == 0 && !x->data && dims[0] == THAW_BATCH;
        if (dims[i] == -1 && open < 0)
            open = i;
        else if (!batch && (dims[i] <= 0 || __builtin_mul_overflow(known, dims[i], &known)))
            return misfit(graph, node, err);
    }
    if (open == 0 && !x->data && x->rank && x->dims[0] == THAW_BATCH &&
        known == thaw_value_elements(x))
        dims[0] = THAW_BATCH;
    else if (open >= 0)
        dims[open] = thaw_value_elements(x) / known;
    return reshape_to(graph, node, rank, dims, err);
}

static thaw_status infer_flatten(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *x = thaw_node_in(graph, node, 0);
    if (!begin(graph, node, err)) return THAW_ERR_SHAPE;
    int64_t axis = thaw_node_int(node, "axis", 1);
    if (x->data || x->rank < 1 || (axis != 1 && axis != 1 - x->rank))
        return refuse(node, err, "only axis = 1 of a feature map is flattened");
    int64_t dims[2] = {x->dims[0], thaw_value_elements(x)};
    return reshape_to(graph, node, 2, dims, err);
}

static thaw_status infer_squeeze(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *x = thaw_node_in(graph, node, 0);
    if (!begin(graph, node, err)) return THAW_ERR_SHAPE;
    int axes[THAW_MAX_RANK], n = thaw_op_axes(graph, node, x->rank, axes), rank = 0;
    if (n < 0) return refuse(node, err, "its axes are not constant");
    int64_t dims[THAW_MAX_RANK];
    for (int i = 0; i < x->rank; i++) {
        bool squeezed = n == 0 && x->dims[i] == 1;
        for (int k = 0; k < n; k++)
            squeezed |= axes[k] == i;
        if (squeezed && x->dims[i] != 1) return misfit(graph, node, err);
        if (!squeezed) dims[rank++] = x->dims[i];
    }
    return reshape_to(graph, node, rank, dims, err);
}

static thaw_status infer_unsqueeze(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *x = thaw_node_in(graph, node, 0);
    if (!begin(graph, node, err)) return THAW_ERR_SHAPE;
    const thaw_attr *attr = thaw_node_attr(node, "axes");
    const thaw_value *in = thaw_node_in(graph, node, 1);
    int added = attr ? (int)attr->n : is_ints(in) ? (int)thaw_value_elements(in) : -1;
    int rank = x->rank + added;
    if (added < 1 || rank > THAW_MAX_RANK) return refuse(node, err, "its axes are not constant");
    int axes[THAW_MAX_RANK];
    if (thaw_op_axes(graph, node, rank, axes) != added) return misfit(graph, node, err);
    int64_t dims[THAW_MAX_RANK];
    for (int i = 0, from = 0, k = 0; i < rank; i++) {
        if (k < added && axes[k] == i) {
            dims[i] = 1;
            k++;
        } else if (from < x->rank) {
            dims[i] = x->dims[from++];
        } else {
            return misfit(graph, node, err);
        }
    }
    return reshape_to(graph, node, rank, dims, err);
}

/* The one transpose that is understood: a TensorFlow picture, N,H,W,C -> N,C,H,W. Pixels are NHWC
 * in memory here anyway, so it costs nothing. */
static thaw_status infer_transpose(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = begin(graph, node, err), *x = thaw_node_in(graph, node, 0);
    if (!y) return THAW_ERR_SHAPE;
    static const int64_t to_nchw[] = {0, 3, 1, 2}, to_nhwc[] = {0, 2, 3, 1};
    const int64_t *wanted = x->nhwc ? to_nchw : to_nhwc;
    const thaw_attr *perm = thaw_node_attr(node, "perm");
    if (x->rank != 4 || x->data || !perm || perm->n != 4 || !perm->ints ||
        memcmp(perm->ints, wanted, sizeof to_nchw) != 0)
        return refuse(node, err,
                      "only N,H,W,C -> N,C,H,W and back are supported, of what is laid out so");
    int64_t dims[4];
    for (int i = 0; i < 4; i++)
        dims[i] = x->dims[wanted[i]];
    y->nhwc = !x->nhwc;
    set_shape(y, x->dtype, 4, dims);
    node->alias = true;
    return THAW_OK;
}

static thaw_status infer_pad(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = begin_layer(graph, node, 1u << 4, err), *x = thaw_node_in(graph, node, 0);
    if (!y) return THAW_ERR_SHAPE;
    thaw_window w = {0};
    THAW_TRY(thaw_op_pads(graph, node, &w, err));
    int64_t dims[4] = {x->dims[0], x->dims[1], x->dims[2] + w.pad_top + w.pad_bottom,
                       x->dims[3] + w.pad_left + w.pad_right};
    set_shape(y, x->dtype, 4, dims);
    node->alias = !(w.pad_top | w.pad_bottom | w.pad_left | w.pad_right);
    return THAW_OK;
}

/* ---- windows ------------------------------------------------------------------------------- */

static thaw_status infer_conv(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = begin_layer(graph, node, 1u << 4, err), *x = thaw_node_in(graph, node, 0);
    thaw_value *w = thaw_node_in(graph, node, 1), *b = thaw_node_in(graph, node, 2);
    if (!y) return THAW_ERR_SHAPE;
    if (!w || !w->data || w->rank != 4 || w->dtype != THAW_F32)
        return refuse(node, err, "its weights must be a constant K x C x R x S tensor");
    int64_t G = thaw_node_int(node, "group", 1), C = x->dims[1], K = w->dims[0];
    if (G < 1 || K < 1 || C % G || K % G || w->dims[1] != C / G) return misfit(graph, node, err);
    if (b && !thaw_value_floats(graph, node, 2, K, err)) return THAW_ERR_SHAPE;
    thaw_window window;
    int64_t dims[4] = {x->dims[0], K};
    THAW_TRY(thaw_op_window(graph, node, &window, &dims[2], &dims[3], err));
    set_shape(y, THAW_F32, 4, dims);
    return THAW_OK;
}

/* 2 n each, or the largest number. */
static int64_t multiply_adds(int64_t n, int64_t each) {
    int64_t flop;
    if (__builtin_mul_overflow(n, each, &flop) || flop > INT64_MAX / 2) return INT64_MAX;
    return 2 * flop;
}

static int64_t flop_conv(const thaw_graph *graph, const thaw_node *node) {
    const thaw_value *y = thaw_node_out(graph, node, 0), *w = thaw_node_in(graph, node, 1);
    return multiply_adds(thaw_value_elements(y), thaw_value_elements(w) / w->dims[0]);
}

/* Whether each window along an axis of `in` pixels holds one of them. A window that starts in the
 * near pad has a tap among the first `dilation` pixels. */
static bool sees_picture(int64_t R, int64_t dilation, int64_t before, int64_t after, int64_t in) {
    int64_t reach = (R - 1) * dilation + 1;
    return before < reach && after < reach && (before == 0 || in >= dilation);
}

static thaw_status infer_pool(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = begin_layer(graph, node, 1u << 4, err), *x = thaw_node_in(graph, node, 0);
    if (!y) return THAW_ERR_SHAPE;
    thaw_window w;
    int64_t dims[4] = {x->dims[0], x->dims[1]};
    THAW_TRY(thaw_op_window(graph, node, &w, &dims[2], &dims[3], err));
    if (!sees_picture(w.R, w.dilation_h, w.pad_top, w.pad_bottom, x->dims[2]) ||
        !sees_picture(w.S, w.dilation_w, w.pad_left, w.pad_right, x->dims[3]))
        return refuse(node, err, "a window lies in the padding alone");
    set_shape(y, THAW_F32, 4, dims);
    node->alias = w.R == 1 && w.S == 1 && w.stride_h == 1 && w.stride_w == 1 &&
                  dims[2] == x->dims[2] && dims[3] == x->dims[3];
    return THAW_OK;
}

static int64_t flop_pool(const thaw_graph *graph, const thaw_node *node) {
    thaw_window w;
    int64_t P, Q;
    if (thaw_op_window(graph, node, &w, &P, &Q, NULL) != THAW_OK) return 0;
    return multiply_adds(thaw_value_elements(thaw_node_out(graph, node, 0)), w.R * w.S) / 2;
}

static thaw_status infer_global_pool(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = begin_layer(graph, node, 1u << 4, err), *x = thaw_node_in(graph, node, 0);
    if (!y) return THAW_ERR_SHAPE;
    int64_t dims[4] = {x->dims[0], x->dims[1], 1, 1};
    set_shape(y, THAW_F32, 4, dims);
    node->alias = x->dims[2] == 1 && x->dims[3] == 1;
    return THAW_OK;
}

static thaw_status infer_reduce_mean(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = begin_layer(graph, node, 1u << 4, err), *x = thaw_node_in(graph, node, 0);
    if (!y) return THAW_ERR_SHAPE;
    int axes[THAW_MAX_RANK];
    if (thaw_op_axes(graph, node, 4, axes) != 2 || axes[0] != 2 || axes[1] != 3)
        return refuse(node, err, "only the mean over height and width is supported");
    int64_t dims[4] = {x->dims[0], x->dims[1], 1, 1};
    set_shape(y, THAW_F32, thaw_node_int(node, "keepdims", 1) ? 4 : 2, dims);
    node->alias = x->dims[2] == 1 && x->dims[3] == 1;
    return THAW_OK;
}

static int64_t flop_input(const thaw_graph *graph, const thaw_node *node) {
    return thaw_value_elements(thaw_node_in(graph, node, 0));
}

/* ---- matrices ------------------------------------------------------------------------------ */

static thaw_status infer_gemm(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    bool gemm = strcmp(node->type, "Gemm") == 0;
    thaw_value *x = thaw_node_in(graph, node, 0), *w = thaw_node_in(graph, node, 1);
    bool map = !gemm && x && x->nhwc; /* A product for each pixel: a 1x1 convolution. */
    thaw_value *y =
        map ? begin_pixelwise(graph, node, err) : begin_layer(graph, node, 1u << 2, err);
    if (!y) return THAW_ERR_SHAPE;
    int64_t transposed = gemm ? thaw_node_int(node, "transB", 0) : 0;
    if (!w || !w->data || w->rank != 2 || w->dtype != THAW_F32)
        return refuse(node, err, "its weights must be a constant matrix");
    if (gemm && thaw_node_int(node, "transA", 0))
        return refuse(node, err, "transA is not supported");
    if (w->dims[transposed ? 1 : 0] != x->dims[x->rank - 1]) return misfit(graph, node, err);
    int64_t K = w->dims[transposed ? 0 : 1];
    const thaw_value *b = thaw_node_in(graph, node, 2);
    int64_t n_bias = b ? thaw_value_elements(b) : 1;
    if (b && (!b->data || b->dtype != THAW_F32 || (n_bias != K && n_bias != 1)))
        return refuse(node, err, "its bias must be a constant vector");
    int64_t dims[4] = {x->dims[0], x->dims[1], x->dims[2]};
    dims[x->rank - 1] = K;
    set_shape(y, THAW_F32, x->rank, dims);
    return THAW_OK;
}

static int64_t flop_gemm(const thaw_graph *graph, const thaw_node *node) {
    const thaw_value *y = thaw_node_out(graph, node, 0);
    int64_t pixels = y->rank == 4 ? y->dims[1] * y->dims[2] : 1;
    return 2 * pixels * thaw_value_elements(thaw_node_in(graph, node, 1));
}

/* ---- elementwise --------------------------------------------------------------------------- */

static thaw_status infer_unary(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = begin_pixelwise(graph, node, err), *x = thaw_node_in(graph, node, 0);
    if (!y) return THAW_ERR_SHAPE;
    set_shape(y, THAW_F32, x->rank, x->dims);
    return THAW_OK;
}

/* Over the channels; over more, there is no kernel. */
static thaw_status infer_layer_norm(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    THAW_TRY(infer_unary(graph, node, err));
    const thaw_value *x = thaw_node_in(graph, node, 0);
    int64_t axis = thaw_node_int(node, "axis", -1);
    if ((axis != -1 && axis != x->rank - 1) || (x->rank == 4 && !x->nhwc))
        return refuse(node, err,
                      "only the channels can be normalised, as the last axis: of a vector, or of a "
                      "map after a Transpose to N,H,W,C");
    for (int i = 1; i <= 2; i++)
        if (thaw_node_in(graph, node, i) &&
            !thaw_value_floats(graph, node, i, x->dims[x->rank - 1], err))
            return THAW_ERR_SHAPE;
    return THAW_OK;
}

static thaw_status infer_gelu(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    const thaw_attr *approximate = thaw_node_attr(node, "approximate");
    if (approximate && approximate->s && strcmp(approximate->s, "none") != 0)
        return refuse(node, err, "only approximate = none is supported");
    return infer_unary(graph, node, err);
}

static thaw_status infer_clip(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    THAW_TRY(infer_unary(graph, node, err));
    float low, high;
    if (!thaw_op_clip(graph, node, &low, &high)) return refuse(node, err, "bounds not constant");
    node->alias = isinf(low) && isinf(high) && low < high;
    return THAW_OK;
}

static thaw_status infer_batch_norm(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    THAW_TRY(infer_unary(graph, node, err));
    int64_t C = thaw_node_in(graph, node, 0)->dims[1];
    if (thaw_node_int(node, "spatial", 1) != 1) return refuse(node, err, "spatial = 0");
    if (thaw_node_in(graph, node, 0)->nhwc) return refuse(node, err, "its input is N,H,W,C");
    for (int i = 1; i <= 4; i++)
        if (!thaw_value_floats(graph, node, i, C, err)) return THAW_ERR_SHAPE;
    return THAW_OK;
}

/* Numpy's broadcast of two shapes, aligned at the right. */
static bool broadcast(const thaw_value *a, const thaw_value *b, thaw_value *y) {
    int rank = a->rank > b->rank ? a->rank : b->rank;
    int64_t dims[THAW_MAX_RANK];
    for (int i = 0; i < rank; i++) {
        int ia = i - (rank - a->rank), ib = i - (rank - b->rank);
        int64_t da = ia >= 0 ? a->dims[ia] : 1, db = ib >= 0 ? b->dims[ib] : 1;
        if (da != db && da != 1 && db != 1) return false;
        dims[i] = da == 1 ? db : da;
    }
    set_shape(y, THAW_F32, rank, dims);
    return true;
}

static thaw_status infer_binary(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = begin(graph, node, err), *a = thaw_node_in(graph, node, 0);
    thaw_value *b = thaw_node_in(graph, node, 1);
    if (!y || !b || b->rank < 0) return misfit(graph, node, err);
    if (a->data && b->data) return refuse(node, err, "computes with constants only");
    if (a->dtype != THAW_F32 || b->dtype != THAW_F32 || !broadcast(a, b, y))
        return misfit(graph, node, err);
    const thaw_value *runtime = a->data ? b : a;
    y->nhwc = runtime->nhwc;
    if (!a->data && !b->data && a->nhwc != b->nhwc) return misfit(graph, node, err);
    if (y->rank != runtime->rank || (y->rank != 4 && y->rank != 2))
        return refuse(node, err, "is no feature map plus something that fits into it");
    if ((a->data || b->data) && memcmp(y->dims, runtime->dims, (size_t)y->rank * sizeof *y->dims))
        return refuse(node, err, "the constant is larger than what it is combined with");
    return THAW_OK;
}

static thaw_status infer_concat(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = begin(graph, node, err), *x = thaw_node_in(graph, node, 0);
    if (!y) return THAW_ERR_SHAPE;
    int64_t axis = thaw_node_int(node, "axis", 1), sum = 0;
    bool constant = is_ints(x) && x->rank == 1;
    if (axis < 0) axis += x->rank;
    if (axis < 0 || axis >= x->rank) return misfit(graph, node, err);
    for (int i = 0; i < node->n_in; i++) {
        const thaw_value *in = thaw_node_in(graph, node, i);
        if (!in || in->rank != x->rank || constant != is_ints(in) || (!constant && in->data))
            return misfit(graph, node, err);
        for (int k = 0; k < x->rank; k++)
            if (k != axis && in->dims[k] != x->dims[k]) return misfit(graph, node, err);
        if (__builtin_add_overflow(sum, in->dims[axis], &sum)) return misfit(graph, node, err);
    }
    if (constant) {
        int64_t *out;
        THAW_TRY(make_ints(graph, node, 1, sum, &out, err));
        for (int i = 0; i < node->n_in; i++) {
            const thaw_value *in = thaw_node_in(graph, node, i);
            memcpy(out, in->data, (size_t)in->dims[0] * sizeof *out);
            out += in->dims[0];
        }
        return THAW_OK;
    }
    if (axis != 1 || (x->rank != 4 && x->rank != 2) || x->nhwc)
        return refuse(node, err, "only feature maps are joined, along their channels");
    int64_t dims[4] = {x->dims[0], sum, x->dims[2], x->dims[3]};
    set_shape(y, THAW_F32, x->rank, dims);
    node->alias = node->n_in == 1;
    return THAW_OK;
}

/* ---- what several of the above ask --------------------------------------------------------- */

int thaw_op_axes(const thaw_graph *graph, const thaw_node *node, int rank,
                 int axes[THAW_MAX_RANK]) {
    const thaw_attr *attr = thaw_node_attr(node, "axes");
    const thaw_value *in = thaw_node_in(graph, node, 1);
    const int64_t *list = attr ? attr->ints : is_ints(in) ? in->data : NULL;
    int64_t n = attr ? (int64_t)attr->n : is_ints(in) ? thaw_value_elements(in) : 0;
    if ((in && !is_ints(in)) || n > rank || n > THAW_MAX_RANK || (n && !list)) return -1;
    for (int i = 0; i < n; i++) {
        int64_t axis = list[i] < 0 ? list[i] + rank : list[i];
        if (axis < 0 || axis >= rank) return -1;
        int k = i;
        for (; k > 0 && axes[k - 1] > axis; k--)
            axes[k] = axes[k - 1];
        if (k > 0 && axes[k - 1] == axis) return -1;
        axes[k] = (int)axis;
    }
    return (int)n;
}

bool thaw_op_clip(const thaw_graph *graph, const thaw_node *node, float *low, float *high) {
    *low = thaw_node_float(node, "min", -INFINITY);
    *high = thaw_node_float(node, "max", INFINITY);
    if (strcmp(node->type, "Relu") == 0) *low = 0;
    for (int i = 1; i <= 2; i++) {
        const thaw_value *bound = thaw_node_in(graph, node, i);
        if (!bound) continue;
        if (!bound->data || bound->dtype != THAW_F32 || thaw_value_elements(bound) != 1)
            return false;
        *(i == 1 ? low : high) = *(const float *)bound->data;
    }
    /* Exporters write the type's largest number for "no bound". */
    if (*low <= -3.4e38f) *low = -INFINITY;
    if (*high >= 3.4e38f) *high = INFINITY;
    return !isnan(*low) && !isnan(*high);
}

thaw_status thaw_op_pads(const thaw_graph *graph, const thaw_node *node, thaw_window *window,
                         thaw_error *err) {
    const thaw_attr *attr = thaw_node_attr(node, "pads"), *mode = thaw_node_attr(node, "mode");
    const thaw_value *in = thaw_node_in(graph, node, 1), *fill = thaw_node_in(graph, node, 2);
    const int64_t *list = attr ? attr->ints : is_ints(in) ? in->data : NULL;
    int64_t n = attr ? (int64_t)attr->n : list ? thaw_value_elements(in) : 0, p[8] = {0};
    const thaw_value *axes = thaw_node_in(graph, node, 3); /* Opset 18: the axes that p is for. */
    int64_t n_axes = is_ints(axes) ? thaw_value_elements(axes) : 4;
    if (!list || (axes && !is_ints(axes)) || n_axes > 4 || n != 2 * n_axes)
        return refuse(node, err, "its pads must be constants, two for each axis");
    for (int i = 0; i < n_axes; i++) {
        int64_t axis = is_ints(axes) ? ((const int64_t *)axes->data)[i] : i;
        if (axis < 0) axis += 4;
        if (axis < 0 || axis > 3) return misfit(graph, node, err);
        p[axis] = list[i];
        p[axis + 4] = list[i + n_axes];
    }
    for (int i = 0; i < 8; i++)
        if (p[i] < 0 || p[i] > INT32_MAX || (i % 4 < 2 && p[i]))
            return refuse(node, err, "only height and width can be padded");
    *window =
        (thaw_window){.pad_top = p[2], .pad_left = p[3], .pad_bottom = p[6], .pad_right = p[7]};
    if (!(p[2] | p[3] | p[6] | p[7])) return THAW_OK;
    bool zero = thaw_node_float(node, "value", 0) == 0 &&
                (!fill || (fill->data && fill->dtype == THAW_F32 &&
                           thaw_value_elements(fill) == 1 && *(const float *)fill->data == 0));
    if (!zero || (mode && mode->s && strcmp(mode->s, "constant") != 0))
        return refuse(node, err, "only a border of zeros is supported");
    return THAW_OK;
}

/* Reads a two-number attribute; absent: both `absent`. False when it has another length or a value
 * out of low..2^20. */
static bool read_pair(const thaw_node *node, const char *name, int64_t absent, int64_t low,
                      int64_t *h, int64_t *w) {
    const thaw_attr *attr = thaw_node_attr(node, name);
    *h = *w = absent;
    if (!attr) return true;
    if (attr->n != 2 || !attr->ints) return false;
    *h = attr->ints[0];
    *w = attr->ints[1];
    return *h >= low && *w >= low && *h <= 1 << 20 && *w <= 1 << 20;
}

/* Pads and output size along one axis. */
static bool slide(const thaw_node *node, const char *auto_pad, int64_t in, int64_t reach,
                  int64_t stride, int64_t *before, int64_t *after, int64_t *out) {
    if (strncmp(auto_pad, "SAME", 4) == 0) {
        *out = (in + stride - 1) / stride;
        int64_t total = (*out - 1) * stride + reach - in;
        if (total < 0) total = 0;
        *before = strcmp(auto_pad, "SAME_LOWER") == 0 ? total - total / 2 : total / 2;
        *after = total - *before;
        return true;
    }
    int64_t room = in + *before + *after - reach;
    if (room < 0) return false;
    *out = room / stride + 1;
    /* ceil_mode: a last, partial window counts if it starts inside the picture or its near pad. */
    if (thaw_node_int(node, "ceil_mode", 0) && room % stride && *out * stride < in + *before)
        ++*out;
    return true;
}

thaw_status thaw_op_window(const thaw_graph *graph, const thaw_node *node, thaw_window *window,
                           int64_t *P, int64_t *Q, thaw_error *err) {
    const thaw_value *x = thaw_node_in(graph, node, 0), *w = thaw_node_in(graph, node, 1);
    const thaw_attr *pads = thaw_node_attr(node, "pads"), *mode = thaw_node_attr(node, "auto_pad");
    thaw_window o = {0};
    if (!read_pair(node, "kernel_shape", 0, 1, &o.R, &o.S) ||
        !read_pair(node, "strides", 1, 1, &o.stride_h, &o.stride_w) ||
        !read_pair(node, "dilations", 1, 1, &o.dilation_h, &o.dilation_w) ||
        (pads && (pads->n != 4 || !pads->ints)))
        return refuse(node, err, "its window is not a 2-D one within 2^20");
    if (strcmp(node->type, "Conv") == 0) {
        if ((o.R && o.R != w->dims[2]) || (o.S && o.S != w->dims[3]))
            return misfit(graph, node, err);
        o.R = w->dims[2];
        o.S = w->dims[3];
    }
    for (size_t i = 0; pads && i < 4; i++)
        if (pads->ints[i] < 0 || pads->ints[i] > 1 << 20)
            return refuse(node, err, "its pads are negative or larger than 2^20");
    if (pads) {
        o.pad_top = pads->ints[0];
        o.pad_left = pads->ints[1];
        o.pad_bottom = pads->ints[2];
        o.pad_right = pads->ints[3];
    }
    if (o.R < 1 || o.S < 1) return refuse(node, err, "it has no kernel_shape");
    const char *auto_pad = mode && mode->s ? mode->s : "NOTSET";
    if (strcmp(auto_pad, "VALID") == 0) o.pad_top = o.pad_left = o.pad_bottom = o.pad_right = 0;
    int64_t reach_h = (o.R - 1) * o.dilation_h + 1, reach_w = (o.S - 1) * o.dilation_w + 1;
    if (!slide(node, auto_pad, x->dims[2], reach_h, o.stride_h, &o.pad_top, &o.pad_bottom, P) ||
        !slide(node, auto_pad, x->dims[3], reach_w, o.stride_w, &o.pad_left, &o.pad_right, Q))
        return thaw_fail(err, THAW_ERR_SHAPE,
                         "%s (%s): the window of %lld x %lld is larger than the %lld x %lld input; "
                         "image.size is too small for this model",
                         node->name, node->type, (long long)o.R, (long long)o.S,
                         (long long)x->dims[2], (long long)x->dims[3]);
    *window = o;
    return THAW_OK;
}

/* ---- the table ----------------------------------------------------------------------------- */

/* To add an operator: a row here, an infer function above if none fits, and a lower function in
 * lower.c if none fits. test_ops runs every row against ONNX Runtime. */
static const thaw_op table[] = {
    /* type, infer, lower, backward, params, flop */
    {"Add", infer_binary, thaw_lower_add, NULL, 0x3, NULL},
    {"AveragePool", infer_pool, thaw_lower_pool, NULL, 0, flop_pool},
    {"BatchNormalization", infer_batch_norm, thaw_lower_batch_norm, NULL, 0x6, NULL},
    {"Cast", infer_cast, NULL, NULL, 0, NULL},
    {"Clip", infer_clip, thaw_lower_act, NULL, 0, NULL},
    {"Concat", infer_concat, thaw_lower_concat, NULL, 0, NULL},
    {"Constant", infer_constant, NULL, NULL, 0, NULL},
    {"Conv", infer_conv, thaw_lower_conv, NULL, 0x6, flop_conv},
    {"Div", infer_binary, thaw_lower_div, NULL, 0x2, NULL},
    {"Dropout", infer_same, NULL, NULL, 0, NULL},
    {"Erf", infer_unary, thaw_lower_erf, NULL, 0, NULL},
    {"Flatten", infer_flatten, thaw_lower_flatten, NULL, 0, NULL},
    {"Gather", infer_gather, NULL, NULL, 0, NULL},
    {"Gelu", infer_gelu, thaw_lower_act, NULL, 0, NULL},
    {"Gemm", infer_gemm, thaw_lower_dense, NULL, 0x6, flop_gemm},
    {"GlobalAveragePool", infer_global_pool, thaw_lower_global_mean, NULL, 0, flop_input},
    {"HardSigmoid", infer_unary, thaw_lower_act, NULL, 0, NULL},
    {"HardSwish", infer_unary, thaw_lower_act, NULL, 0, NULL},
    {"Identity", infer_same, NULL, NULL, 0, NULL},
    {"LayerNormalization", infer_layer_norm, thaw_lower_layer_norm, NULL, 0x6, NULL},
    {"LeakyRelu", infer_unary, thaw_lower_act, NULL, 0, NULL},
    {"MatMul", infer_gemm, thaw_lower_dense, NULL, 0x2, flop_gemm},
    {"MaxPool", infer_pool, thaw_lower_pool, NULL, 0, flop_pool},
    {"Mul", infer_binary, thaw_lower_mul, NULL, 0x3, NULL},
    {"Pad", infer_pad, thaw_lower_pad, NULL, 0, NULL},
    {"ReduceMean", infer_reduce_mean, thaw_lower_global_mean, NULL, 0, flop_input},
    {"Relu", infer_unary, thaw_lower_act, NULL, 0, NULL},
    {"Reshape", infer_reshape, thaw_lower_flatten, NULL, 0, NULL},
    {"Shape", infer_shape, NULL, NULL, 0, NULL},
    {"Sigmoid", infer_unary, thaw_lower_act, NULL, 0, NULL},
    {"Slice", infer_slice, NULL, NULL, 0, NULL},
    {"Softmax", infer_unary, NULL, NULL, 0, NULL},
    {"Squeeze", infer_squeeze, thaw_lower_flatten, NULL, 0, NULL},
    {"Sub", infer_binary, thaw_lower_sub, NULL, 0x2, NULL},
    {"Tanh", infer_unary, thaw_lower_act, NULL, 0, NULL},
    {"Transpose", infer_transpose, NULL, NULL, 0, NULL},
    {"Unsqueeze", infer_unsqueeze, NULL, NULL, 0, NULL},
};

const thaw_op *thaw_op_table(int *n) {
    *n = (int)(sizeof table / sizeof table[0]);
    return table;
}

const thaw_op *thaw_op_find(const char *domain, const char *type) {
    if (domain[0] && strcmp(domain, "ai.onnx") != 0) return NULL;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(table[i].type, type) == 0) return &table[i];
    return NULL;
}
