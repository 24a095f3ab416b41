/* What folds away at import, and what only renames memory: constants, shapes, reshapes. */
#include <string.h>

#include "graph/lowering.h"
#include "rules.h"

/* ---- constants and shapes ------------------------------------------------------------------ */

static thaw_status infer_constant(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = thaw_node_out(graph, node, 0);
    const thaw_attr *attr = NULL;
    for (int i = 0; i < node->n_attrs && !attr; i++)
        if (strncmp(node->attrs[i].name, "value", 5) == 0) attr = &node->attrs[i];
    if (!y || !attr) return thaw__op_refuse(node, err, "has no value");
    if (attr->tensor >= 0) {
        const thaw_value *t = &graph->values[attr->tensor];
        thaw__op_set_shape(y, t->dtype, t->rank, t->dims);
        y->data = t->data;
        return THAW_OK;
    }
    bool floating = strncmp(attr->name, "value_float", 11) == 0;
    bool list = attr->name[0] && attr->name[strlen(attr->name) - 1] == 's';
    int64_t n = list ? (int64_t)attr->n : 1;
    if (strncmp(attr->name, "value_int", 9) != 0 && !floating)
        return thaw__op_refuse(node, err, "holds a value that is neither numbers nor a tensor");
    thaw__op_set_shape(y, floating ? THAW_F32 : THAW_I64, list ? 1 : 0, &n);
    if (list)
        y->data = floating ? (const void *)attr->floats : attr->ints;
    else
        y->data = floating ? (const void *)&attr->f : &attr->i;
    if (!y->data) return thaw__op_refuse(node, err, "holds an empty list");
    return THAW_OK;
}

const thaw_op thaw_op_Constant = {.type = "Constant", .infer = infer_constant};

static thaw_status infer_shape(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = thaw__op_begin(graph, node, err), *x = thaw_node_in(graph, node, 0);
    if (!y) return THAW_ERR_SHAPE;
    int64_t start = thaw_node_int(node, "start", 0), end = thaw_node_int(node, "end", x->rank);
    if (start < 0) start += x->rank;
    if (end < 0) end += x->rank;
    if (end > x->rank) end = x->rank;
    if (start < 0 || start > end) return thaw__op_misfit(graph, node, err);
    int64_t *out;
    THAW_TRY(thaw__op_make_ints(graph, node, 1, end - start, &out, err));
    memcpy(out, x->dims + start, (size_t)(end - start) * sizeof *out);
    return THAW_OK;
}

const thaw_op thaw_op_Shape = {.type = "Shape", .infer = infer_shape};

/* The output is the input under another name. */
static thaw_status infer_same(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = thaw__op_begin(graph, node, err), *x = thaw_node_in(graph, node, 0);
    if (!y) return THAW_ERR_SHAPE;
    thaw__op_set_shape(y, x->dtype, x->rank, x->dims);
    y->nhwc = x->nhwc;
    y->data = x->data;
    node->alias = !x->data;
    return THAW_OK;
}

const thaw_op thaw_op_Identity = {.type = "Identity", .infer = infer_same};
const thaw_op thaw_op_Dropout = {.type = "Dropout", .infer = infer_same};

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
    return ok ? THAW_OK : thaw__op_refuse(node, err, "casts between integers and floats");
}

const thaw_op thaw_op_Cast = {.type = "Cast", .infer = infer_cast};

/* ---- other dimensions ----------------------------------------------------------------------- */

/* N,C and as many ones as the file likes. */
static bool is_vector(const thaw_value *v) {
    for (int i = 2; i < v->rank; i++)
        if (v->dims[v->nhwc ? i - 1 : i] != 1) return false;
    return v->rank >= 2;
}

/* Whether `groups`, N,G,C/G,H,W, is the map N,C,H,W: the first step of a channel shuffle. */
static bool is_grouping(const thaw_value *map, const thaw_value *groups) {
    const int64_t *a = map->dims, *b = groups->dims;
    return map->rank == 4 && groups->rank == 5 && !map->nhwc && a[0] == THAW_BATCH &&
           b[0] == THAW_BATCH && b[1] * b[2] == a[1] && b[3] == a[2] && b[4] == a[3];
}

/* Whether `map`, N,1,H,W, is the one channel N,H,W that a Gather took. */
static bool is_plane(const thaw_value *plane, const thaw_value *map) {
    const int64_t *a = plane->dims, *b = map->dims;
    return plane->rank == 3 && map->rank == 4 && !plane->nhwc && a[0] == THAW_BATCH &&
           b[0] == THAW_BATCH && b[1] == 1 && b[2] == a[1] && b[3] == a[2];
}

/* Whether channels in groups have been transposed: then their memory is still as it was. */
static bool is_swapped(const thaw_graph *graph, const thaw_value *groups) {
    return groups->producer >= 0 && graph->nodes[groups->producer].op == &thaw_op_Transpose;
}

/* Same elements, other dimensions. What lies in N,C,H,W order stays there, so it is an alias if
 * there is no picture (H = W = 1), or if nothing changes. */
static thaw_status reshape_to(thaw_graph *graph, thaw_node *node, int rank, const int64_t *dims,
                              thaw_error *err) {
    thaw_value *x = thaw_node_in(graph, node, 0), *y = thaw_node_out(graph, node, 0);
    thaw__op_set_shape(y, x->dtype, rank, dims);
    if (thaw_value_elements(y) != thaw_value_elements(x)) return thaw__op_misfit(graph, node, err);
    if (x->data) {
        y->data = x->data;
        return THAW_OK;
    }
    if (is_grouping(x, y)) {
        node->alias = true;
        return THAW_OK;
    }
    if (is_plane(x, y)) {
        node->alias = true;
        return THAW_OK;
    }
    if (x->rank == 5) {
        node->alias = !is_swapped(graph, x);
        return is_grouping(y, x)
                   ? THAW_OK
                   : thaw__op_refuse(node, err, "makes another map of channels in groups");
    }
    bool vector_in = is_vector(x), vector_out = is_vector(y);
    bool keeps_batch = rank >= 1 && y->dims[0] == THAW_BATCH && (!x->nhwc || vector_in);
    bool same = rank == x->rank && memcmp(x->dims, y->dims, (size_t)rank * sizeof *dims) == 0;
    if (!keeps_batch || !(same || vector_out))
        return thaw__op_refuse(
            node, err,
            "reshapes a feature map into something that is neither itself nor a vector "
            "for each image");
    node->alias = same || (vector_in && vector_out);
    return THAW_OK;
}

static thaw_status lower_flatten(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    return thaw__lower_step_for(l, THAW_STEP_reshape, node, 1) ? THAW_OK
                                                               : thaw__lower_no_memory(node, err);
}

/* The last step of a channel shuffle is all of it: its groups are now the third dimension. */
static thaw_status lower_reshape(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    const thaw_value *x = thaw__lower_value(l, node, 0);
    if (x->rank != 5) return lower_flatten(l, node, err);
    thaw_step *step = thaw__lower_step_for(l, THAW_STEP_shuffle, node, 1);
    if (!step) return thaw__lower_no_memory(node, err);
    step->groups = x->dims[2];
    return THAW_OK;
}

static thaw_status infer_reshape(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    if (!thaw__op_begin(graph, node, err)) return THAW_ERR_SHAPE;
    thaw_value *x = thaw_node_in(graph, node, 0), *target = thaw_node_in(graph, node, 1);
    if (!thaw__op_is_ints(target) || target->rank != 1 || target->dims[0] > THAW_MAX_RANK)
        return thaw__op_refuse(node, err, "the new shape is not constant");
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
            return thaw__op_misfit(graph, node, err);
    }
    if (open == 0 && !x->data && x->rank && x->dims[0] == THAW_BATCH &&
        known == thaw_value_elements(x))
        dims[0] = THAW_BATCH;
    else if (open >= 0)
        dims[open] = thaw_value_elements(x) / known;
    return reshape_to(graph, node, rank, dims, err);
}

const thaw_op thaw_op_Reshape = {.type = "Reshape", .infer = infer_reshape, .lower = lower_reshape};

static thaw_status infer_flatten(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *x = thaw_node_in(graph, node, 0);
    if (!thaw__op_begin(graph, node, err)) return THAW_ERR_SHAPE;
    int64_t axis = thaw_node_int(node, "axis", 1);
    if (x->data || x->rank < 1 || (axis != 1 && axis != 1 - x->rank))
        return thaw__op_refuse(node, err, "only axis = 1 of a feature map is flattened");
    int64_t dims[2] = {x->dims[0], thaw_value_elements(x)};
    return reshape_to(graph, node, 2, dims, err);
}

const thaw_op thaw_op_Flatten = {.type = "Flatten", .infer = infer_flatten, .lower = lower_flatten};

static thaw_status infer_squeeze(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *x = thaw_node_in(graph, node, 0);
    if (!thaw__op_begin(graph, node, err)) return THAW_ERR_SHAPE;
    int axes[THAW_MAX_RANK], n = thaw__op_axes(graph, node, x->rank, axes), rank = 0;
    if (n < 0) return thaw__op_refuse(node, err, "its axes are not constant");
    int64_t dims[THAW_MAX_RANK];
    for (int i = 0; i < x->rank; i++) {
        bool squeezed = n == 0 && x->dims[i] == 1;
        for (int k = 0; k < n; k++)
            squeezed |= axes[k] == i;
        if (squeezed && x->dims[i] != 1) return thaw__op_misfit(graph, node, err);
        if (!squeezed) dims[rank++] = x->dims[i];
    }
    return reshape_to(graph, node, rank, dims, err);
}

const thaw_op thaw_op_Squeeze = {.type = "Squeeze", .infer = infer_squeeze, .lower = lower_flatten};

static thaw_status infer_unsqueeze(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *x = thaw_node_in(graph, node, 0);
    if (!thaw__op_begin(graph, node, err)) return THAW_ERR_SHAPE;
    const thaw_attr *attr = thaw_node_attr(node, "axes");
    const thaw_value *in = thaw_node_in(graph, node, 1);
    int added = attr ? (int)attr->n : thaw__op_is_ints(in) ? (int)thaw_value_elements(in) : -1;
    int rank = x->rank + added;
    if (added < 1 || rank > THAW_MAX_RANK)
        return thaw__op_refuse(node, err, "its axes are not constant");
    int axes[THAW_MAX_RANK];
    if (thaw__op_axes(graph, node, rank, axes) != added) return thaw__op_misfit(graph, node, err);
    int64_t dims[THAW_MAX_RANK];
    for (int i = 0, from = 0, k = 0; i < rank; i++) {
        if (k < added && axes[k] == i) {
            dims[i] = 1;
            k++;
        } else if (from < x->rank) {
            dims[i] = x->dims[from++];
        } else {
            return thaw__op_misfit(graph, node, err);
        }
    }
    return reshape_to(graph, node, rank, dims, err);
}

const thaw_op thaw_op_Unsqueeze = {.type = "Unsqueeze", .infer = infer_unsqueeze};

/* The heart of a channel shuffle, which the Reshape behind it makes: N,G,C/G,H,W -> N,C/G,G,H,W. */
static bool is_shuffle(const thaw_value *x, const thaw_attr *perm) {
    static const int64_t swap[] = {0, 2, 1, 3, 4};
    return x->rank == 5 && !x->data && perm && perm->n == 5 && perm->ints &&
           memcmp(perm->ints, swap, sizeof swap) == 0;
}

/* Two transposes are understood. One is a TensorFlow picture's, N,H,W,C -> N,C,H,W: pixels are NHWC
 * in memory here anyway, so it costs nothing. The other is a shuffle. */
static thaw_status infer_transpose(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = thaw__op_begin(graph, node, err), *x = thaw_node_in(graph, node, 0);
    if (!y) return THAW_ERR_SHAPE;
    static const int64_t to_nchw[] = {0, 3, 1, 2}, to_nhwc[] = {0, 2, 3, 1};
    const int64_t *wanted = x->nhwc ? to_nchw : to_nhwc;
    const thaw_attr *perm = thaw_node_attr(node, "perm");
    if (is_shuffle(x, perm)) {
        const int64_t swapped[] = {x->dims[0], x->dims[2], x->dims[1], x->dims[3], x->dims[4]};
        thaw__op_set_shape(y, THAW_F32, 5, swapped);
        node->alias = true;
        return !is_swapped(graph, x)
                   ? THAW_OK
                   : thaw__op_refuse(node, err, "transposes channels in groups once more");
    }
    if (x->rank != 4 || x->data || !perm || perm->n != 4 || !perm->ints ||
        memcmp(perm->ints, wanted, sizeof to_nchw) != 0)
        return thaw__op_refuse(
            node, err, "only N,H,W,C -> N,C,H,W and back are supported, of what is laid out so");
    int64_t dims[4];
    for (int i = 0; i < 4; i++)
        dims[i] = x->dims[wanted[i]];
    y->nhwc = !x->nhwc;
    thaw__op_set_shape(y, x->dtype, 4, dims);
    node->alias = true;
    return THAW_OK;
}

const thaw_op thaw_op_Transpose = {.type = "Transpose", .infer = infer_transpose};
