/* Constants: numbers that only change their places. */
#include <string.h>

#include "graph/fold.h"
#include "rules.h"

/* Copies n elements of x's type, walk.offset[0] after the other, to y. */
static void copy_walk(const thaw_value *x, thaw_fold_walk *walk, int64_t n, void *y) {
    size_t each = thaw_dtype_bytes(x->dtype);
    for (int64_t i = 0; i < n; i++) {
        memcpy((char *)y + (size_t)i * each, (const char *)x->data + (size_t)walk->offset[0] * each,
               each);
        thaw__fold_next(walk);
    }
}

/* Elements before, along and behind an axis. */
typedef struct axis_split {
    int64_t outer, along, inner;
} axis_split;

static axis_split split_at(const thaw_value *x, int axis) {
    axis_split s = {1, x->dims[axis], 1};
    for (int i = 0; i < axis; i++)
        s.outer *= x->dims[i];
    for (int i = axis + 1; i < x->rank; i++)
        s.inner *= x->dims[i];
    return s;
}

/* ---- the same numbers in another shape -------------------------------------------------------- */

thaw_status thaw__fold_flatten(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    const thaw_value *x = thaw_node_in(graph, node, 0);
    thaw_value *y = thaw_node_out(graph, node, 0);
    int64_t axis = thaw_node_int(node, "axis", 1), dims[2] = {1, 1};
    if (axis < 0) axis += x->rank;
    if (axis < 0 || axis > x->rank) return thaw__op_misfit(graph, node, err);
    for (int i = 0; i < x->rank; i++)
        dims[i >= axis] *= x->dims[i];
    thaw__op_set_shape(y, x->dtype, 2, dims);
    y->data = x->data;
    return THAW_OK;
}

thaw_status thaw__fold_size(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    int64_t *y;
    THAW_TRY(thaw__fold_make(graph, node, 0, THAW_I64, 0, NULL, (void **)&y, err));
    *y = thaw_value_elements(thaw_node_in(graph, node, 0));
    return THAW_OK;
}

/* ---- other places ------------------------------------------------------------------------------ */

thaw_status thaw__fold_transpose(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    const thaw_value *x = thaw_node_in(graph, node, 0);
    const thaw_attr *perm = thaw_node_attr(node, "perm");
    int64_t strides[THAW_MAX_RANK], dims[THAW_MAX_RANK];
    unsigned seen = 0;
    void *y;
    if (perm && (!perm->ints || (int)perm->n != x->rank)) return thaw__op_misfit(graph, node, err);
    thaw_fold_walk w = {.rank = x->rank, .dims = dims};
    thaw__fold_strides(x, x->rank, strides);
    for (int i = 0; i < x->rank; i++) {
        int from = perm ? thaw__fold_axis(perm->ints[i], x->rank) : x->rank - 1 - i;
        if (from < 0 || seen >> from & 1) return thaw__op_misfit(graph, node, err);
        seen |= 1u << from;
        dims[i] = x->dims[from];
        w.strides[0][i] = strides[from];
    }
    THAW_TRY(thaw__fold_make(graph, node, 0, x->dtype, x->rank, dims, &y, err));
    copy_walk(x, &w, thaw_value_elements(x), y);
    return THAW_OK;
}

/* Whether what reads the node's output takes it for one that is there for each picture: it is joined to maps, or asked
 * for its shape. */
static bool meets_maps(const thaw_graph *graph, const thaw_node *node) {
    for (int i = 0; i < graph->n_nodes; i++) {
        const thaw_node *reader = &graph->nodes[i];
        bool fits = strcmp(reader->type, "Concat") == 0 || strcmp(reader->type, "Shape") == 0;
        for (int k = 0; k < reader->n_in && !fits; k++)
            if (reader->in[k] == node->out[0]) return false;
    }
    return true;
}

/* A class token and its like, the same for every picture of the batch, stays one. */
static void keep_one(thaw_graph *graph, const thaw_node *node, int rank, int64_t *dims) {
    bool repeats = rank > 1 && thaw_batch_times(dims[0]) == 1 && meets_maps(graph, node);
    if (repeats) dims[0] = 1;
    thaw_node_out(graph, node, 0)->repeats = repeats;
}

thaw_status thaw__fold_expand(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    const thaw_value *x = thaw_node_in(graph, node, 0), *shape = thaw_node_in(graph, node, 1);
    int64_t dims[THAW_MAX_RANK];
    void *y;
    if (!thaw__op_is_ints(shape) || shape->rank != 1 || shape->dims[0] > THAW_MAX_RANK)
        return thaw__op_misfit(graph, node, err);
    thaw_fold_walk w = {.dims = dims};
    w.rank = thaw__fold_broadcast(x->rank, x->dims, (int)shape->dims[0], shape->data, dims);
    if (w.rank < 0) return thaw__op_misfit(graph, node, err);
    keep_one(graph, node, w.rank, dims);
    thaw__fold_strides(x, w.rank, w.strides[0]);
    THAW_TRY(thaw__fold_make(graph, node, 0, x->dtype, w.rank, dims, &y, err));
    copy_walk(x, &w, thaw_value_elements(thaw_node_out(graph, node, 0)), y);
    return THAW_OK;
}

thaw_status thaw__fold_tile(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    const thaw_value *x = thaw_node_in(graph, node, 0), *repeats = thaw_node_in(graph, node, 1);
    int64_t dims[THAW_MAX_RANK], strides[THAW_MAX_RANK];
    void *y;
    if (!thaw__op_is_ints(repeats) || repeats->rank != 1 || repeats->dims[0] != x->rank)
        return thaw__op_misfit(graph, node, err);
    for (int i = 0; i < x->rank; i++) {
        int64_t times = ((const int64_t *)repeats->data)[i];
        if (thaw_batch_times(times) && x->dims[i] == 1)
            dims[i] = times;
        else if (__builtin_mul_overflow(x->dims[i], times, &dims[i]))
            return thaw__op_misfit(graph, node, err);
    }
    keep_one(graph, node, x->rank, dims);
    THAW_TRY(thaw__fold_make(graph, node, 0, x->dtype, x->rank, dims, &y, err));
    thaw_fold_walk w = {.rank = x->rank, .dims = dims};
    thaw__fold_strides(x, x->rank, strides);
    size_t each = thaw_dtype_bytes(x->dtype);
    for (int64_t i = 0, n = thaw_value_elements(thaw_node_out(graph, node, 0)); i < n; i++) {
        int64_t from = 0;
        for (int k = 0; k < x->rank; k++)
            from += w.at[k] % x->dims[k] * strides[k];
        memcpy((char *)y + (size_t)i * each, (const char *)x->data + (size_t)from * each, each);
        thaw__fold_next(&w);
    }
    return THAW_OK;
}

/* ---- parts ------------------------------------------------------------------------------------- */

/* starts, ends, axes, steps: attributes until opset 9, inputs 1 to 4 since. */
thaw_status thaw__fold_slice(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    const thaw_value *x = thaw_node_in(graph, node, 0);
    static const char *const names[] = {"starts", "ends", "axes", "steps"};
    const int64_t *given[4];
    int64_t n[4], dims[THAW_MAX_RANK];
    for (int i = 0; i < 4; i++)
        given[i] = thaw__fold_ints(graph, node, names[i], 1 + i, &n[i]);
    bool fits = given[0] && given[1] && n[0] == n[1] && n[0] <= x->rank &&
                (!given[2] || n[2] == n[0]) && (!given[3] || n[3] == n[0]);
    if (!fits) return thaw__op_misfit(graph, node, err);
    thaw_fold_walk w = {.rank = x->rank, .dims = dims};
    memcpy(dims, x->dims, sizeof dims);
    thaw__fold_strides(x, x->rank, w.strides[0]);
    for (int64_t i = 0; i < n[0]; i++) {
        int axis = thaw__fold_axis(given[2] ? given[2][i] : i, x->rank);
        int64_t step = given[3] ? given[3][i] : 1, from = given[0][i], to = given[1][i];
        if (axis < 0 || step == 0 || step == INT64_MIN) return thaw__op_misfit(graph, node, err);
        if (thaw_batch_times(from) || thaw_batch_times(to))
            return thaw__op_refuse(node, err, "takes a part that depends on the size of the batch");
        int64_t d = x->dims[axis], low = step < 0 ? -1 : 0, high = step < 0 ? d - 1 : d;
        from = from < 0 ? from + d : from;
        to = to < 0 ? (to < -d ? low : to + d) : to;
        from = from < 0 ? 0 : from > high ? high : from;
        to = to < low ? low : to > high ? high : to;
        int64_t length = step > 0 ? to - from : from - to, size = step > 0 ? step : -step;
        dims[axis] = length > 0 ? (length - 1) / size + 1 : 0;
        w.offset[0] += from > 0 ? from * w.strides[0][axis] : 0;
        w.strides[0][axis] *= dims[axis] > 1 ? step : 0;
    }
    void *y;
    THAW_TRY(thaw__fold_make(graph, node, 0, x->dtype, x->rank, dims, &y, err));
    copy_walk(x, &w, thaw_value_elements(thaw_node_out(graph, node, 0)), y);
    return THAW_OK;
}

thaw_status thaw__fold_gather(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    const thaw_value *x = thaw_node_in(graph, node, 0), *index = thaw_node_in(graph, node, 1);
    int axis = thaw__fold_axis(thaw_node_int(node, "axis", 0), x->rank);
    if (!thaw__op_is_ints(index) || axis < 0 || x->rank - 1 + index->rank > THAW_MAX_RANK)
        return thaw__op_misfit(graph, node, err);
    int64_t dims[THAW_MAX_RANK], m = thaw_value_elements(index);
    int rank = 0;
    for (int i = 0; i < axis; i++)
        dims[rank++] = x->dims[i];
    for (int i = 0; i < index->rank; i++)
        dims[rank++] = index->dims[i];
    for (int i = axis + 1; i < x->rank; i++)
        dims[rank++] = x->dims[i];
    axis_split s = split_at(x, axis);
    size_t row = (size_t)s.inner * thaw_dtype_bytes(x->dtype);
    void *y;
    THAW_TRY(thaw__fold_make(graph, node, 0, x->dtype, rank, dims, &y, err));
    for (int64_t o = 0; o < s.outer; o++) {
        for (int64_t i = 0; i < m; i++) {
            int64_t at = ((const int64_t *)index->data)[i];
            if (at < 0) at += s.along;
            if (at < 0 || at >= s.along) return thaw__op_misfit(graph, node, err);
            memcpy((char *)y + (size_t)(o * m + i) * row,
                   (const char *)x->data + (size_t)(o * s.along + at) * row, row);
        }
    }
    return THAW_OK;
}

/* Sizes: attribute until opset 12, input since; else equal parts, the last one what is left. */
thaw_status thaw__fold_split(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    const thaw_value *x = thaw_node_in(graph, node, 0);
    int axis = thaw__fold_axis(thaw_node_int(node, "axis", 0), x->rank);
    int64_t n_sizes, start = 0, dims[THAW_MAX_RANK];
    const int64_t *sizes = thaw__fold_ints(graph, node, "split", 1, &n_sizes);
    if (axis < 0 || (sizes && n_sizes != node->n_out)) return thaw__op_misfit(graph, node, err);
    axis_split s = split_at(x, axis);
    int64_t even = (s.along + node->n_out - 1) / node->n_out;
    size_t each = (size_t)s.inner * thaw_dtype_bytes(x->dtype);
    memcpy(dims, x->dims, sizeof dims);
    for (int i = 0; i < node->n_out; i++) {
        int64_t size = sizes ? sizes[i] : s.along - start < even ? s.along - start : even;
        if (size < 0 || size > s.along - start) return thaw__op_misfit(graph, node, err);
        dims[axis] = size;
        void *y;
        if (thaw_node_out(graph, node, i)) {
            THAW_TRY(thaw__fold_make(graph, node, i, x->dtype, x->rank, dims, &y, err));
            for (int64_t o = 0; o < s.outer; o++)
                memcpy((char *)y + (size_t)(o * size) * each,
                       (const char *)x->data + (size_t)(o * s.along + start) * each,
                       (size_t)size * each);
        }
        start += size;
    }
    return THAW_OK;
}

/* ---- together ---------------------------------------------------------------------------------- */

thaw_status thaw__fold_concat(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    const thaw_value *x = thaw_node_in(graph, node, 0);
    int axis = thaw__fold_axis(thaw_node_int(node, "axis", 1), x->rank);
    int64_t dims[THAW_MAX_RANK], sum = 0, start = 0;
    if (axis < 0) return thaw__op_misfit(graph, node, err);
    for (int i = 0; i < node->n_in; i++) {
        const thaw_value *in = thaw_node_in(graph, node, i);
        if (!in || in->rank != x->rank || in->dtype != x->dtype)
            return thaw__op_misfit(graph, node, err);
        if (in->repeats)
            return thaw__op_refuse(node, err, "makes a constant of the size of the batch");
        for (int k = 0; k < x->rank; k++)
            if (k != axis && in->dims[k] != x->dims[k]) return thaw__op_misfit(graph, node, err);
        if (__builtin_add_overflow(sum, in->dims[axis], &sum))
            return thaw__op_misfit(graph, node, err);
    }
    memcpy(dims, x->dims, sizeof dims);
    dims[axis] = sum;
    void *y;
    THAW_TRY(thaw__fold_make(graph, node, 0, x->dtype, x->rank, dims, &y, err));
    for (int i = 0; i < node->n_in; i++) {
        const thaw_value *in = thaw_node_in(graph, node, i);
        axis_split s = split_at(in, axis);
        size_t each = (size_t)s.inner * thaw_dtype_bytes(x->dtype);
        for (int64_t o = 0; o < s.outer; o++)
            memcpy((char *)y + (size_t)(o * sum + start) * each,
                   (const char *)in->data + (size_t)(o * s.along) * each, (size_t)s.along * each);
        start += s.along;
    }
    return THAW_OK;
}

/* Zeros, or the one number of `value`, all around: mode constant. pads: attribute until opset 10. */
thaw_status thaw__fold_pad(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    const thaw_value *x = thaw_node_in(graph, node, 0), *value = thaw_node_in(graph, node, 2);
    const thaw_attr *mode = thaw_node_attr(node, "mode");
    int64_t n, n_axes, before[THAW_MAX_RANK] = {0}, dims[THAW_MAX_RANK], strides[THAW_MAX_RANK];
    const int64_t *pads = thaw__fold_ints(graph, node, "pads", 1, &n);
    const int64_t *axes = thaw__fold_ints(graph, node, "axes", 3, &n_axes);
    if (mode && mode->s && strcmp(mode->s, "constant") != 0)
        return thaw__op_refuse(node, err, "pads a constant with parts of itself");
    if (!axes) n_axes = x->rank;
    if (!pads || n != 2 * n_axes) return thaw__op_misfit(graph, node, err);
    memcpy(dims, x->dims, sizeof dims);
    for (int64_t i = 0; i < n_axes; i++) {
        int axis = thaw__fold_axis(axes ? axes[i] : i, x->rank);
        if (axis < 0 || pads[i] < 0 || pads[n_axes + i] < 0)
            return thaw__op_refuse(node, err, "cuts a constant by pads below zero");
        before[axis] = pads[i];
        if (__builtin_add_overflow(dims[axis], pads[i], &dims[axis]) ||
            __builtin_add_overflow(dims[axis], pads[n_axes + i], &dims[axis]))
            return thaw__op_misfit(graph, node, err);
    }
    size_t each = thaw_dtype_bytes(x->dtype);
    union {
        float f;
        int64_t w;
    } fill = {.w = 0};
    if (x->dtype == THAW_F32) fill.f = thaw_node_float(node, "value", 0);
    if (value && (value->dtype != x->dtype || thaw_value_elements(value) != 1))
        return thaw__op_misfit(graph, node, err);
    if (value) memcpy(&fill, value->data, each);
    char *y;
    THAW_TRY(thaw__fold_make(graph, node, 0, x->dtype, x->rank, dims, (void **)&y, err));
    const thaw_value *out = thaw_node_out(graph, node, 0);
    for (int64_t i = 0, all = thaw_value_elements(out); i < all; i++)
        memcpy(y + (size_t)i * each, &fill, each);
    thaw__fold_strides(out, out->rank, strides);
    thaw_fold_walk w = {.rank = x->rank, .dims = x->dims};
    for (int i = 0; i < x->rank; i++) {
        w.strides[0][i] = strides[i];
        w.offset[0] += before[i] * strides[i];
    }
    for (int64_t i = 0, all = thaw_value_elements(x); i < all; i++) {
        memcpy(y + (size_t)w.offset[0] * each, (const char *)x->data + (size_t)i * each, each);
        thaw__fold_next(&w);
    }
    return THAW_OK;
}

/* ---- out of nothing ---------------------------------------------------------------------------- */

thaw_status thaw__fold_constant_of_shape(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    const thaw_value *shape = thaw_node_in(graph, node, 0);
    const thaw_attr *attr = thaw_node_attr(node, "value");
    const thaw_value *value = attr && attr->tensor >= 0 ? &graph->values[attr->tensor] : NULL;
    if (!thaw__op_is_ints(shape) || shape->rank != 1 || shape->dims[0] > THAW_MAX_RANK ||
        (value && (!value->data || thaw_value_elements(value) != 1)))
        return thaw__op_misfit(graph, node, err);
    thaw_dtype type = value ? value->dtype : THAW_F32;
    size_t each = thaw_dtype_bytes(type);
    char *y;
    THAW_TRY(
        thaw__fold_make(graph, node, 0, type, (int)shape->dims[0], shape->data, (void **)&y, err));
    for (int64_t i = 0, n = thaw_value_elements(thaw_node_out(graph, node, 0)); i < n && value; i++)
        memcpy(y + (size_t)i * each, value->data, each);
    return THAW_OK;
}

thaw_status thaw__fold_range(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    const thaw_value *v[3];
    double limit[3];
    for (int i = 0; i < 3; i++) {
        v[i] = thaw_node_in(graph, node, i);
        if (!v[i] || v[i]->dtype != v[0]->dtype || thaw_value_elements(v[i]) != 1)
            return thaw__op_misfit(graph, node, err);
        if (v[0]->dtype == THAW_I64 && thaw_batch_times(*(const int64_t *)v[i]->data))
            return thaw__op_refuse(node, err, "counts to the size of the batch");
        limit[i] = v[0]->dtype == THAW_F32 ? *(const float *)v[i]->data
                                           : (double)*(const int64_t *)v[i]->data;
    }
    double steps = (limit[1] - limit[0]) / limit[2];
    if (!(steps < 0x1p30)) return thaw__op_refuse(node, err, "counts to more than 2^30");
    int64_t n = steps > 0 ? (int64_t)steps + (steps > (double)(int64_t)steps) : 0;
    void *y;
    THAW_TRY(thaw__fold_make(graph, node, 0, v[0]->dtype, 1, &n, &y, err));
    for (int64_t i = 0; i < n; i++) {
        if (v[0]->dtype == THAW_F32)
            ((float *)y)[i] = (float)(limit[0] + (double)i * limit[2]);
        else
            ((int64_t *)y)[i] = (int64_t)(*(const uint64_t *)v[0]->data +
                                          (uint64_t)i * *(const uint64_t *)v[2]->data);
    }
    return THAW_OK;
}
