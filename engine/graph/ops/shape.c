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

/* The size of the file's axis i. */
static int64_t size_of_axis(const thaw_value *x, int i) {
    if (x->repeats && i == 0) return THAW_BATCH;
    if (!x->merged) return x->dims[i];
    return i + 1 == x->merged ? thaw_batches(x->dims[i + 1]) : x->dims[i + 1];
}

static thaw_status infer_shape(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = thaw__op_begin(graph, node, err), *x = thaw_node_in(graph, node, 0);
    if (!y) return THAW_ERR_SHAPE;
    int rank = thaw__op_rank(x);
    int64_t start = thaw_node_int(node, "start", 0), end = thaw_node_int(node, "end", rank);
    if (start < 0) start += rank;
    if (end < 0) end += rank;
    if (end > rank) end = rank;
    if (start < 0 || start > end) return thaw__op_misfit(graph, node, err);
    int64_t *out;
    THAW_TRY(thaw__op_make_ints(graph, node, 1, end - start, &out, err));
    for (int64_t i = start; i < end; i++)
        out[i - start] = size_of_axis(x, (int)i);
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

/* Whole numbers of the file that are to be floats like something that depends on the picture. */
static thaw_status make_floats(thaw_graph *graph, thaw_node *node, const thaw_value *x,
                               thaw_error *err) {
    thaw_value *y = thaw_node_out(graph, node, 0);
    int64_t n = thaw_value_elements(x);
    float *floats = thaw_arena_array(graph->arena, (size_t)n, sizeof *floats);
    if (!floats) return thaw_fail_memory(err, "for %s (%s)", node->name, node->type);
    for (int64_t i = 0; i < n; i++)
        floats[i] = (float)((const int64_t *)x->data)[i];
    y->dtype = THAW_F32;
    y->data = floats;
    return THAW_OK;
}

static thaw_status infer_cast_like(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    THAW_TRY(infer_same(graph, node, err));
    const thaw_value *x = thaw_node_in(graph, node, 0), *like = thaw_node_in(graph, node, 1);
    if (!like || like->dtype == x->dtype) return THAW_OK;
    if (x->data && x->dtype == THAW_I64 && like->dtype == THAW_F32)
        return make_floats(graph, node, x, err);
    return thaw__op_refuse(node, err, "casts between integers and floats");
}

const thaw_op thaw_op_CastLike = {.type = "CastLike", .infer = infer_cast_like};

/* ---- other dimensions ----------------------------------------------------------------------- */

/* Same elements, other dimensions, as an opened value has them (thaw__op_open). It is an alias where they
 * lie as they did. A map N,H,W,C keeps its order where only its name changes. */
static thaw_status reshape_to(thaw_graph *graph, thaw_node *node, const thaw_value *opened,
                              thaw_error *err) {
    thaw_value *x = thaw_node_in(graph, node, 0), *y = thaw_node_out(graph, node, 0);
    y->dtype = x->dtype;
    y->data = x->data;
    if (x->data)
        thaw__op_set_shape(y, x->dtype, opened->rank - 1, opened->dims + 1);
    else if (!thaw__op_close(y, opened) || y->rank < 2)
        return thaw__op_refuse(node, err,
                               "makes something of more than seven dimensions, or of one");
    if (thaw_value_elements(y) != thaw_value_elements(x)) return thaw__op_misfit(graph, node, err);
    if (x->data) return THAW_OK;
    bool same = y->rank == x->rank && y->merged == x->merged &&
                memcmp(x->dims, y->dims, (size_t)y->rank * sizeof *y->dims) == 0;
    y->nhwc = same && x->nhwc;
    node->alias = thaw_value_lies_as(x, y);
    return THAW_OK;
}

static thaw_status too_many(const thaw_node *node, thaw_error *err) {
    return thaw__op_refuse(node, err, "reads something of more than seven dimensions");
}

/* The picture's axes as they lie, N,C,H,W, of a value whose own order is N,H,W,C; otherwise its own.
 * place[i]: which of them axis i + 1 of the opened value is. */
static int axes_of(const thaw_value *x, int64_t dims[THAW_MAX_RANK], int place[THAW_MAX_RANK]) {
    thaw_value v;
    thaw__op_open(x, &v); /* As it was possible at first. */
    bool turned = x->rank == 4 && x->nhwc;
    for (int i = 0; i < v.rank - 1; i++) {
        place[i] = turned && i ? 1 + i % 3 : i;
        dims[place[i]] = v.dims[i + 1];
    }
    return v.rank - 1;
}

/* The permutation without axes of one place, and with those together that stay so. False: more than
 * THAW_MAX_AXES are left. */
static bool simplify(int n, const int64_t *dims, const int *perm, thaw_permutation *axes) {
    int first[THAW_MAX_RANK], from[THAW_MAX_RANK], runs = 0, last = -1; /* By run of the result. */
    int64_t size[THAW_MAX_RANK];
    for (int i = 0; i < n; i++) {
        if (dims[perm[i]] == 1) continue;
        bool follows = last >= 0 && perm[i] > last;
        for (int k = last + 1; follows && k < perm[i]; k++)
            follows = dims[k] == 1;
        if (!follows) {
            first[runs] = perm[i];
            size[runs++] = 1;
        }
        size[runs - 1] *= dims[perm[i]];
        last = perm[i];
    }
    if (runs > THAW_MAX_AXES) return false;
    axes->n = runs;
    for (int i = 0; i < runs; i++) { /* Where the run stands in x. */
        from[i] = 0;
        for (int k = 0; k < runs; k++)
            from[i] += first[k] < first[i];
        axes->perm[i] = from[i];
        axes->dims[from[i]] = size[i];
    }
    return true;
}

/* y's axis i + 1 is x's axis order[i] + 1, of opened values. */
static thaw_status lower_permuted(thaw_lowering *l, const thaw_node *node, const int *order,
                                  thaw_error *err) {
    const thaw_value *x = thaw__lower_value(l, node, 0);
    int place[THAW_MAX_RANK], perm[THAW_MAX_RANK];
    int64_t dims[THAW_MAX_RANK];
    int n = axes_of(x, dims, place);
    for (int i = 0; i < n; i++)
        perm[i] = place[order[i]];
    thaw_permutation axes = {0};
    if (!simplify(n, dims, perm, &axes))
        return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                         "%s (%s): puts more than five groups of axes in another order", node->name,
                         node->type);
    thaw_port want = thaw__lower_shape(l, thaw_node_out(l->graph, node, 0));
    thaw_port *made = thaw__lower_port(l, node, 0);
    bool moves = false;
    for (int i = 0; i < axes.n; i++)
        moves |= axes.perm[i] != i;
    made = moves ? thaw__lower_transposed(l, node, made, &axes, want.C, want.H, want.W)
                 : thaw__lower_reshaped(l, node, made, want.C, want.H, want.W);
    return thaw__lower_finish(l, node, made, err);
}

static thaw_status lower_reshape(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    static const int as_it_is[] = {0, 1, 2, 3, 4, 5, 6, 7};
    const thaw_value *x = thaw__lower_value(l, node, 0), *y = thaw_node_out(l->graph, node, 0);
    bool turned = x->rank == 4 && x->nhwc && !y->nhwc && thaw__lower_port(l, node, 0)->C > 1;
    if (turned) return lower_permuted(l, node, as_it_is, err);
    return thaw__lower_step_for(l, THAW_STEP_reshape, node, 1) ? THAW_OK
                                                               : thaw__lower_no_memory(node, err);
}

/* The sizes that a Reshape asks for; open: the axis of -1, that is what is left; -1: none. False: they
 * make no sense. */
static bool read_sizes(const thaw_node *node, const thaw_value *x, const thaw_value *target,
                       int64_t dims[THAW_MAX_RANK], int *open) {
    const int64_t *want = target->data;
    bool zero_copies = thaw_node_int(node, "allowzero", 0) == 0;
    *open = -1;
    for (int i = 0; i < target->dims[0]; i++) {
        dims[i] = want[i];
        if (want[i] == 0 && zero_copies && i < thaw__op_rank(x)) dims[i] = size_of_axis(x, i);
        if (dims[i] == -1 && *open < 0)
            *open = i;
        else if (dims[i] <= 0 && !thaw_batch_times(dims[i]))
            return false;
    }
    return true;
}

static bool multiply(int64_t *product, int64_t by) {
    return !__builtin_mul_overflow(*product, by, product);
}

/* Which of the new axes the batch goes into: the first in front of which stands what stood in front of
 * it, and that is known to be a multiple of it, may be, or is a multiple of the file's fixed batch.
 * -1: none. */
static int find_batch_axis(const thaw_graph *graph, const thaw_value *opened, int rank,
                           const int64_t *dims) {
    int64_t before = 1, front = 1;
    for (int i = 1; i < opened->merged; i++)
        before *= opened->dims[i];
    for (int i = 0; i < rank; i++) {
        bool fixed = graph->fixed_batch && dims[i] > 0 && dims[i] % graph->fixed_batch == 0;
        if (front == before && (dims[i] == -1 || thaw_batch_times(dims[i]) || fixed)) return i;
        if (dims[i] < 1 || !multiply(&front, dims[i])) return -1;
    }
    return -1;
}

static thaw_status infer_reshape(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    if (!thaw__op_begin(graph, node, err)) return THAW_ERR_SHAPE;
    thaw_value *x = thaw_node_in(graph, node, 0), *target = thaw_node_in(graph, node, 1);
    if (!thaw__op_is_ints(target) || target->rank != 1 || target->dims[0] >= THAW_MAX_RANK)
        return thaw__op_refuse(node, err, "the new shape is not constant, or of more than seven");
    int rank = (int)target->dims[0], open, batch = -1;
    int64_t dims[THAW_MAX_RANK], known = 1;
    if (!read_sizes(node, x, target, dims, &open)) return thaw__op_misfit(graph, node, err);
    thaw_value y;
    if (!thaw__op_open(x, &y)) return too_many(node, err);
    if (!x->data) batch = find_batch_axis(graph, &y, rank, dims);
    if (!x->data && batch < 0)
        return thaw__op_refuse(node, err, "takes the pictures of a batch apart, or joins them");
    if (batch >= 0 && thaw_batch_times(dims[batch])) dims[batch] = thaw_batch_times(dims[batch]);
    /* A batch that the file fixed, written into the shape, means the batch. */
    else if (batch >= 0 && dims[batch] > 0)
        dims[batch] /= graph->fixed_batch;
    for (int i = 0; i < rank; i++)
        if (i != open && (dims[i] < 1 || !multiply(&known, dims[i])))
            return thaw__op_misfit(graph, node, err);
    if (open >= 0) dims[open] = thaw_value_elements(x) / known;
    y.rank = rank + 1;
    y.merged = batch + 1;
    memcpy(y.dims + 1, dims, (size_t)rank * sizeof *dims);
    return reshape_to(graph, node, &y, err);
}

const thaw_op thaw_op_Reshape = {.type = "Reshape", .infer = infer_reshape, .lower = lower_reshape};

static thaw_status infer_flatten(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *x = thaw_node_in(graph, node, 0);
    if (!thaw__op_begin(graph, node, err)) return THAW_ERR_SHAPE;
    int64_t axis = thaw_node_int(node, "axis", 1);
    int rank = thaw__op_rank(x);
    if (axis < 0) axis += rank;
    if (x->data || x->merged > 1 || axis < 1 || axis > rank)
        return thaw__op_refuse(node, err, "joins the pictures of a batch to one row");
    thaw_value from, y;
    if (!thaw__op_open(x, &from)) return too_many(node, err);
    y = from;
    for (int i = 2; i <= axis; i++)
        y.dims[1] *= from.dims[i];
    y.dims[2] = thaw_value_elements(x) / y.dims[1];
    y.rank = 3;
    return reshape_to(graph, node, &y, err);
}

const thaw_op thaw_op_Flatten = {.type = "Flatten", .infer = infer_flatten, .lower = lower_reshape};

/* The file's axes one after the other, with or without some; axis is the file's, place the opened value's. */
static thaw_status infer_squeeze(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *x = thaw_node_in(graph, node, 0);
    if (!thaw__op_begin(graph, node, err)) return THAW_ERR_SHAPE;
    thaw_value from, y;
    if (!thaw__op_open(x, &from)) return too_many(node, err);
    y = from;
    int axes[THAW_MAX_RANK], n = thaw__op_axes(graph, node, from.rank - 1, axes);
    if (n < 0) return thaw__op_refuse(node, err, "its axes are not constant");
    y.rank = 1;
    for (int i = 1; i < from.rank; i++) {
        bool squeezed = n == 0 && from.dims[i] == 1 && i != from.merged;
        for (int k = 0; k < n; k++)
            squeezed |= axes[k] + 1 == i;
        if (squeezed && (from.dims[i] != 1 || i == from.merged))
            return thaw__op_misfit(graph, node, err);
        if (i == from.merged) y.merged = y.rank;
        if (!squeezed) y.dims[y.rank++] = from.dims[i];
    }
    return reshape_to(graph, node, &y, err);
}

const thaw_op thaw_op_Squeeze = {.type = "Squeeze", .infer = infer_squeeze, .lower = lower_reshape};

static thaw_status infer_unsqueeze(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *x = thaw_node_in(graph, node, 0);
    if (!thaw__op_begin(graph, node, err)) return THAW_ERR_SHAPE;
    const thaw_attr *attr = thaw_node_attr(node, "axes");
    const thaw_value *in = thaw_node_in(graph, node, 1);
    int added = attr ? (int)attr->n : thaw__op_is_ints(in) ? (int)thaw_value_elements(in) : -1;
    thaw_value from, y;
    if (!thaw__op_open(x, &from)) return too_many(node, err);
    y = from;
    int rank = from.rank - 1 + added;
    if (added < 1 || rank >= THAW_MAX_RANK)
        return thaw__op_refuse(node, err, "its axes are not constant, or more than seven");
    int axes[THAW_MAX_RANK];
    if (thaw__op_axes(graph, node, rank, axes) != added) return thaw__op_misfit(graph, node, err);
    y.rank = rank + 1;
    for (int i = 1, at = 1, k = 0; i <= rank; i++) {
        bool is_new = k < added && axes[k] + 1 == i;
        if (!is_new && at == from.merged) y.merged = i;
        y.dims[i] = is_new ? 1 : from.dims[at++];
        k += is_new;
    }
    return reshape_to(graph, node, &y, err);
}

const thaw_op thaw_op_Unsqueeze = {
    .type = "Unsqueeze", .infer = infer_unsqueeze, .lower = lower_reshape};

/* The file's axes of x in another order; NULL: they are not that. */
static const int64_t *read_perm(const thaw_value *x, const thaw_node *node) {
    const thaw_attr *perm = thaw_node_attr(node, "perm");
    unsigned seen = 0;
    int rank = thaw__op_rank(x);
    if (!perm || !perm->ints || (int)perm->n != rank) return NULL;
    for (int i = 0; i < rank; i++) {
        if (perm->ints[i] < 0 || perm->ints[i] >= rank) return NULL;
        seen |= 1u << perm->ints[i];
    }
    return seen == (1u << rank) - 1 ? perm->ints : NULL;
}

/* The batch stays in front; what the file has it stand behind is moved alone. */
static thaw_status infer_moved(thaw_graph *graph, thaw_node *node, const int64_t *perm,
                               thaw_error *err) {
    thaw_value *x = thaw_node_in(graph, node, 0), *y = thaw_node_out(graph, node, 0);
    thaw_value from, to;
    if (!thaw__op_open(x, &from)) return too_many(node, err);
    to = from;
    for (int i = 1; i < from.rank; i++) {
        to.dims[i] = from.dims[perm[i - 1] + 1];
        if (perm[i - 1] + 1 == from.merged) to.merged = i;
    }
    y->dtype = x->dtype;
    return thaw__op_close(y, &to) ? THAW_OK : too_many(node, err);
}

/* A TensorFlow picture's, N,H,W,C -> N,C,H,W and back, costs nothing: pixels are NHWC in memory here
 * anyway. */
static thaw_status infer_transpose(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = thaw__op_begin(graph, node, err), *x = thaw_node_in(graph, node, 0);
    if (!y) return THAW_ERR_SHAPE;
    static const int64_t to_nchw[] = {0, 3, 1, 2}, to_nhwc[] = {0, 2, 3, 1};
    const int64_t *perm = read_perm(x, node);
    if (x->data || x->rank < 2 || !perm)
        return thaw__op_refuse(node, err, "its axes are not those of its input");
    if (x->merged || perm[0] != 0) return infer_moved(graph, node, perm, err);
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
    int order[THAW_MAX_RANK];
    bool shuffle =
        x->rank == 5 && !x->merged && perm[0] == 0 && perm[1] == 2 && perm[2] == 1 && perm[3] == 3;
    for (int i = 0; i < thaw__op_rank(x); i++)
        order[i] = (int)perm[i];
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
