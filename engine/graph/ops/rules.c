#include "rules.h"

#include <string.h>

thaw_status thaw__op_refuse(const thaw_node *node, thaw_error *err, const char *why) {
    return thaw_fail(err, THAW_ERR_UNSUPPORTED, "%s (%s): %s", node->name, node->type, why);
}

thaw_status thaw__op_misfit(const thaw_graph *graph, const thaw_node *node, thaw_error *err) {
    char a[96] = "nothing", b[96] = "nothing";
    if (thaw_node_in(graph, node, 0))
        thaw_value_shape_text(thaw_node_in(graph, node, 0), a, sizeof a);
    if (thaw_node_in(graph, node, 1))
        thaw_value_shape_text(thaw_node_in(graph, node, 1), b, sizeof b);
    return thaw_fail(err, THAW_ERR_SHAPE, "%s (%s): shapes do not fit: %s and %s", node->name,
                     node->type, a, b);
}

thaw_value *thaw__op_begin(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *x = thaw_node_in(graph, node, 0), *y = thaw_node_out(graph, node, 0);
    if (x && y && x->rank >= 0) {
        y->merged = x->merged;
        return y;
    }
    thaw__op_misfit(graph, node, err);
    return NULL;
}

thaw_value *thaw__op_begin_layer(thaw_graph *graph, thaw_node *node, unsigned ranks,
                                 thaw_error *err) {
    thaw_value *y = thaw__op_begin(graph, node, err), *x = thaw_node_in(graph, node, 0);
    if (!y) return NULL;
    const char *why = x->data ? "its input is a constant"
                      : x->merged
                          ? "its input has windows or heads of all pictures in a row with the "
                            "batch; that goes through arithmetic, products and "
                            "normalisations of rows only"
                      : x->nhwc ? "its input is N,H,W,C: it needs a Transpose to N,C,H,W before it"
                                : NULL;
    if (!why && ranks >> x->rank & 1) return y;
    if (why)
        thaw_fail(err, THAW_ERR_SHAPE, "%s (%s): %s", node->name, node->type, why);
    else
        thaw__op_misfit(graph, node, err);
    return NULL;
}

thaw_value *thaw__op_begin_pixelwise(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *x = thaw_node_in(graph, node, 0), *y = thaw__op_begin(graph, node, err);
    enum { TWO_AND_MORE = (2u << THAW_MAX_RANK) - (1u << 2) };
    if (y && x->merged && !x->data) return y;
    if (!y || !x->nhwc) return thaw__op_begin_layer(graph, node, TWO_AND_MORE, err);
    if (x->rank == 4 && !x->data) {
        y->nhwc = true;
        return y;
    }
    thaw__op_misfit(graph, node, err);
    return NULL;
}

bool thaw__op_open(const thaw_value *x, thaw_value *opened) {
    *opened = *x;
    if (x->merged) return true;
    if (x->rank == THAW_MAX_RANK) return false;
    memmove(opened->dims + 1, x->dims, (size_t)x->rank * sizeof *x->dims);
    opened->rank++;
    opened->dims[0] = THAW_BATCH;
    if (x->data) return true;
    opened->dims[1] = 1;
    opened->merged = 1;
    return true;
}

bool thaw__op_close(thaw_value *y, const thaw_value *opened) {
    bool plain = opened->merged == 1 && opened->dims[1] == 1;
    if (!plain && opened->rank > THAW_MAX_RANK) return false;
    y->merged = plain ? 0 : opened->merged;
    y->rank = opened->rank - plain;
    y->dims[0] = THAW_BATCH;
    memmove(y->dims + 1, opened->dims + 1 + plain, (size_t)(y->rank - 1) * sizeof *y->dims);
    return true;
}

int thaw__op_rank(const thaw_value *x) {
    return x->merged ? x->rank - 1 : x->rank;
}

int thaw__op_axis(const thaw_value *x, int64_t axis) {
    int rank = thaw__op_rank(x), own = (int)(axis < 0 ? axis + rank : axis);
    if (axis < -rank || axis >= rank) return -1;
    return !x->merged ? own : own + 1 == x->merged ? 0 : own + 1;
}

bool thaw__op_merged_alike(const thaw_value *a, const thaw_value *b) {
    if (!a->merged && !b->merged) return true;
    return a->rank == b->rank && a->merged == b->merged && a->dims[a->merged] == b->dims[b->merged];
}

void thaw__op_set_shape(thaw_value *y, thaw_dtype dtype, int rank, const int64_t *dims) {
    y->dtype = dtype;
    y->rank = rank;
    if (rank > 0) memmove(y->dims, dims, (size_t)rank * sizeof *dims); /* A scalar has none. */
}

bool thaw__op_is_ints(const thaw_value *v) {
    return v && v->data && v->dtype == THAW_I64;
}

thaw_status thaw__op_make_ints(thaw_graph *graph, thaw_node *node, int rank, int64_t n,
                               int64_t **out, thaw_error *err) {
    enum { LONGEST = 256 };
    if (n > LONGEST) return thaw__op_refuse(node, err, "makes a shape of more than 256 numbers");
    thaw_value *y = thaw_node_out(graph, node, 0);
    *out = thaw_arena_array(graph->arena, (size_t)n, sizeof **out);
    if (!*out) return thaw_fail_memory(err, "for %s (%s)", node->name, node->type);
    thaw__op_set_shape(y, THAW_I64, rank, &n);
    y->data = *out;
    return THAW_OK;
}

int thaw__op_axes(const thaw_graph *graph, const thaw_node *node, int rank,
                  int axes[THAW_MAX_RANK]) {
    const thaw_attr *attr = thaw_node_attr(node, "axes");
    const thaw_value *in = thaw_node_in(graph, node, 1);
    const int64_t *list = attr ? attr->ints : thaw__op_is_ints(in) ? in->data : NULL;
    int64_t n = attr ? (int64_t)attr->n : thaw__op_is_ints(in) ? thaw_value_elements(in) : 0;
    if ((in && !thaw__op_is_ints(in)) || n > rank || n > THAW_MAX_RANK || (n && !list)) return -1;
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

thaw_status thaw__op_infer_unary(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = thaw__op_begin_pixelwise(graph, node, err), *x = thaw_node_in(graph, node, 0);
    if (!y) return THAW_ERR_SHAPE;
    thaw__op_set_shape(y, THAW_F32, x->rank, x->dims);
    return THAW_OK;
}

int64_t thaw__op_multiply_adds(int64_t n, int64_t each) {
    int64_t flop;
    if (__builtin_mul_overflow(n, each, &flop) || flop > INT64_MAX / 2) return INT64_MAX;
    return 2 * flop;
}

int64_t thaw__op_flop_input(const thaw_graph *graph, const thaw_node *node) {
    return thaw_value_elements(thaw_node_in(graph, node, 0));
}
