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

/* Same elements, other dimensions. It is an alias where they lie as they did. A map N,H,W,C keeps its
 * order where only its name changes. */
static thaw_status reshape_to(thaw_graph *graph, thaw_node *node, int rank, const int64_t *dims,
                              thaw_error *err) {
    thaw_value *x = thaw_node_in(graph, node, 0), *y = thaw_node_out(graph, node, 0);
    thaw__op_set_shape(y, x->dtype, rank, dims);
    if (thaw_value_elements(y) != thaw_value_elements(x)) return thaw__op_misfit(graph, node, err);
    if (x->data) {
        y->data = x->data;
        return THAW_OK;
    }
    if (rank < 2 || y->dims[0] != THAW_BATCH)
        return thaw__op_refuse(node, err, "takes the pictures of a batch apart");
    bool same = rank == x->rank && memcmp(x->dims, y->dims, (size_t)rank * sizeof *dims) == 0;
    y->nhwc = same && x->nhwc;
    node->alias = thaw_value_lies_as(x, y);
    return THAW_OK;
}

/* The axes of a map as they lie, N,C,H,W, of a value whose own order is N,H,W,C; otherwise its own.
 * place[i]: which of them the value's axis i + 1 is. */
static thaw_permutation axes_of(const thaw_value *x, int place[THAW_MAX_AXES]) {
    thaw_permutation axes = {.n = x->rank - 1};
    bool turned = x->rank == 4 && x->nhwc;
    for (int i = 0; i < axes.n; i++) {
        place[i] = turned ? (i + 1) % 3 : i;
        axes.dims[place[i]] = x->dims[i + 1];
    }
    return axes;
}

/* y's axis i + 1 is x's axis order[i] + 1. */
static thaw_status lower_permuted(thaw_lowering *l, const thaw_node *node, const int *order,
                                  thaw_error *err) {
    const thaw_value *x = thaw__lower_value(l, node, 0);
    int place[THAW_MAX_AXES];
    thaw_permutation axes = axes_of(x, place);
    for (int i = 0; i < axes.n; i++)
        axes.perm[i] = place[order[i]];
    thaw_port want = thaw__lower_shape(l, thaw_node_out(l->graph, node, 0));
    return thaw__lower_finish(l, node,
                              thaw__lower_transposed(l, node, thaw__lower_port(l, node, 0), &axes,
                                                     want.C, want.H, want.W),
                              err);
}

static thaw_status lower_reshape(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    static const int as_it_is[] = {0, 1, 2, 3, 4};
    const thaw_value *x = thaw__lower_value(l, node, 0), *y = thaw_node_out(l->graph, node, 0);
    bool turned = x->rank == 4 && x->nhwc && !y->nhwc && thaw__lower_port(l, node, 0)->C > 1;
    if (turned) return lower_permuted(l, node, as_it_is, err);
    return thaw__lower_step_for(l, THAW_STEP_reshape, node, 1) ? THAW_OK
                                                               : thaw__lower_no_memory(node, err);
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

const thaw_op thaw_op_Flatten = {.type = "Flatten", .infer = infer_flatten, .lower = lower_reshape};

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

const thaw_op thaw_op_Squeeze = {.type = "Squeeze", .infer = infer_squeeze, .lower = lower_reshape};

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

const thaw_op thaw_op_Unsqueeze = {
    .type = "Unsqueeze", .infer = infer_unsqueeze, .lower = lower_reshape};

/* Whether the node's axes are those of x in another order, the batch first. */
static const int64_t *read_perm(const thaw_value *x, const thaw_node *node) {
    const thaw_attr *perm = thaw_node_attr(node, "perm");
    unsigned seen = 0;
    if (!perm || !perm->ints || (int)perm->n != x->rank || perm->ints[0] != 0) return NULL;
    for (int i = 0; i < x->rank; i++) {
        if (perm->ints[i] < 0 || perm->ints[i] >= x->rank) return NULL;
        seen |= 1u << perm->ints[i];
    }
    return seen == (1u << x->rank) - 1 ? perm->ints : NULL;
}

/* A TensorFlow picture's, N,H,W,C -> N,C,H,W and back, costs nothing: pixels are NHWC in memory here
 * anyway. */
static thaw_status infer_transpose(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = thaw__op_begin(graph, node, err), *x = thaw_node_in(graph, node, 0);
    if (!y) return THAW_ERR_SHAPE;
    static const int64_t to_nchw[] = {0, 3, 1, 2}, to_nhwc[] = {0, 2, 3, 1};
    const int64_t *perm = read_perm(x, node);
    if (x->data || x->rank < 2 || !perm)
        return thaw__op_refuse(node, err, "its axes are not those of its input, the batch first");
    const int64_t *free = x->nhwc ? to_nchw : to_nhwc;
    bool turns = x->rank == 4 && memcmp(perm, free, sizeof to_nchw) == 0, stays = true;
    int64_t dims[THAW_MAX_RANK];
    for (int i = 0; i < x->rank; i++) {
        dims[i] = x->dims[perm[i]];
        stays &= perm[i] == i;
    }
    y->nhwc = x->rank == 4 && (turns ? !x->nhwc : stays && x->nhwc);
    thaw__op_set_shape(y, x->dtype, x->rank, dims);
    node->alias = turns || stays;
    return THAW_OK;
}

/* N,G,C/G,H,W -> N,C/G,G,H,W: a channel shuffle. */
static thaw_status lower_transpose(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    const thaw_value *x = thaw__lower_value(l, node, 0);
    const int64_t *perm = read_perm(x, node);
    int order[THAW_MAX_AXES];
    bool shuffle = x->rank == 5 && perm[1] == 2 && perm[2] == 1 && perm[3] == 3;
    for (int i = 1; i < x->rank; i++)
        order[i - 1] = (int)perm[i] - 1;
    if (!shuffle) return lower_permuted(l, node, order, err);
    thaw_step *step = thaw__lower_step_for(l, THAW_STEP_shuffle, node, 1);
    if (!step) return thaw__lower_no_memory(node, err);
    step->groups = x->dims[1];
    return THAW_OK;
}

const thaw_op thaw_op_Transpose = {
    .type = "Transpose", .infer = infer_transpose, .lower = lower_transpose};

/* ---- blocks of pixels ------------------------------------------------------------------------ */

static thaw_status infer_blocks(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = thaw__op_begin_layer(graph, node, 1u << 4, err),
               *x = thaw_node_in(graph, node, 0);
    if (!y) return THAW_ERR_SHAPE;
    int64_t b = thaw_node_int(node, "blocksize", 0);
    bool deeper = node->op == &thaw_op_SpaceToDepth;
    if (b < 1 || b > 1 << 10 || (deeper ? x->dims[2] % b || x->dims[3] % b : x->dims[1] % (b * b)))
        return thaw__op_misfit(graph, node, err);
    int64_t dims[] = {x->dims[0], deeper ? x->dims[1] * b * b : x->dims[1] / (b * b),
                      deeper ? x->dims[2] / b : x->dims[2] * b,
                      deeper ? x->dims[3] / b : x->dims[3] * b};
    thaw__op_set_shape(y, THAW_F32, 4, dims);
    return THAW_OK;
}

/* C,H,b,W,b -> b,b,C,H,W and, the other way, b,b,C,H,W -> C,H,b,W,b, or of C,b,b,H,W in the mode CRD. */
static thaw_status lower_blocks(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    const thaw_value *v = thaw__lower_value(l, node, 0);
    const thaw_attr *mode = thaw_node_attr(node, "mode");
    int64_t b = thaw_node_int(node, "blocksize", 1), C = v->dims[1], H = v->dims[2], W = v->dims[3];
    thaw_permutation axes = {5, {C, H / b, b, W / b, b}, {2, 4, 0, 1, 3}};
    if (node->op == &thaw_op_DepthToSpace)
        axes = (thaw_permutation){5, {b, b, C / b / b, H, W}, {2, 3, 0, 4, 1}};
    if (node->op == &thaw_op_DepthToSpace && mode && mode->s && strcmp(mode->s, "CRD") == 0)
        axes = (thaw_permutation){5, {C / b / b, b, b, H, W}, {0, 3, 1, 4, 2}};
    thaw_port want = thaw__lower_shape(l, thaw_node_out(l->graph, node, 0));
    return thaw__lower_finish(l, node,
                              thaw__lower_transposed(l, node, thaw__lower_port(l, node, 0), &axes,
                                                     want.C, want.H, want.W),
                              err);
}

const thaw_op thaw_op_SpaceToDepth = {
    .type = "SpaceToDepth", .infer = infer_blocks, .lower = lower_blocks};
const thaw_op thaw_op_DepthToSpace = {
    .type = "DepthToSpace", .infer = infer_blocks, .lower = lower_blocks};
