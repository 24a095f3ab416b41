/* Means, sums, maxima and lengths over height, width, channels or all of them.
 *
 * There are steps for means and maxima over windows. A sum is a mean times its number of terms, a length
 * the root of a sum of squares. Over channels, a mean is a mixture of them; anything else, and what has
 * other dimensions than a map, is seen as a map whose height is what is reduced.
 */
#include <math.h>
#include <string.h>

#include "graph/lowering.h"
#include "layer_norm.h"
#include "rules.h"

/* What is done to each element before, how they come together, and what is done to the result. */
typedef struct reduction {
    float power; /* 1, or 2: squares. */
    bool absolute, negative, max, sum, root;
} reduction;

static reduction find_reduction(const thaw_node *node) {
    static const struct {
        const char *type;
        reduction r;
    } rows[] = {
        {"ReduceMean", {.power = 1}},
        {"ReduceSum", {.power = 1, .sum = true}},
        {"ReduceMax", {.power = 1, .max = true}},
        {"ReduceMin", {.power = 1, .max = true, .negative = true}},
        {"ReduceL1", {.power = 1, .absolute = true, .sum = true}},
        {"ReduceL2", {.power = 2, .sum = true, .root = true}},
        {"ReduceSumSquare", {.power = 2, .sum = true}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].type, node->type) == 0) return rows[i].r;
    return (reduction){.power = 1, .max = true}; /* GlobalMaxPool */
}

/* Which axes are reduced, by bits; 0: that is not known, or the batch is among them. None given are all,
 * or none with noop_with_empty_axes. */
static unsigned find_axes(const thaw_graph *graph, const thaw_node *node) {
    const thaw_value *x = thaw_node_in(graph, node, 0);
    if (strncmp(node->type, "Global", 6) == 0) return (1u << x->rank) - (1u << 2);
    int axes[THAW_MAX_RANK], n = thaw__op_axes(graph, node, thaw__op_rank(x), axes);
    unsigned bits = 0;
    for (int i = 0; i < n; i++)
        bits |= 1u << thaw__op_axis(x, axes[i]);
    return bits & 1 ? 0 : bits;
}

static thaw_status infer_reduce(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = thaw__op_begin_pixelwise(graph, node, err), *x = thaw_node_in(graph, node, 0);
    if (!y) return THAW_ERR_SHAPE;
    unsigned axes = find_axes(graph, node);
    if (!axes)
        return thaw__op_refuse(node, err,
                               "the axes that it reduces are not constant, or the batch is one");
    bool keep = strncmp(node->type, "Global", 6) == 0 || thaw_node_int(node, "keepdims", 1) != 0;
    int64_t dims[THAW_MAX_RANK];
    int rank = 0;
    bool alone = true;
    for (int i = 0; i < x->rank; i++) {
        bool reduced = axes >> i & 1;
        alone &= !reduced || x->dims[i] == 1;
        if (i == x->merged && i) y->merged = rank;
        if (!reduced || keep) dims[rank++] = reduced ? 1 : x->dims[i];
    }
    thaw__op_set_shape(y, THAW_F32, rank, dims);
    y->nhwc = x->nhwc && rank == 4;
    thaw_value merged = *y; /* Perhaps nothing but the batch itself any more. */
    if (y->merged) thaw__op_close(y, &merged);
    reduction r = find_reduction(node);
    node->alias = alone && r.power == 1 && !r.absolute && thaw_value_lies_as(x, y);
    return rank > 1 ? THAW_OK : thaw__op_refuse(node, err, "leaves a number for each picture");
}

/* The mean or maximum over any axes: in ONNX's order, a run of neighbours after the other, the last first. */
static thaw_port *reduce_runs(thaw_lowering *l, const thaw_node *node, thaw_port *x, unsigned axes,
                              bool max) {
    const thaw_value *v = thaw__lower_value(l, node, 0);
    int64_t behind = 1;
    for (int last = v->rank - 1; last >= 1; last--) {
        if (!(axes >> last & 1)) behind *= v->dims[last];
        if (!(axes >> last & 1)) continue;
        int first = last;
        int64_t along = v->dims[last], before = 1;
        while (axes >> (first - 1) & 1)
            along *= v->dims[--first];
        for (int i = 1; i < first; i++)
            before *= v->dims[i];
        x = thaw__lower_reshaped(l, node, x, before, along, behind);
        x = thaw__lower_pooled(l, node, x, max, along, 1);
        last = first;
    }
    return x;
}

static thaw_port *mix_channels(thaw_lowering *l, const thaw_node *node, thaw_port *x) {
    float *w = x ? thaw__lower_floats(l->arena, NULL, x->C) : NULL;
    for (int64_t c = 0; w && c < x->C; c++)
        w[c] = 1 / (float)x->C;
    return thaw__lower_mixed(l, node, x, 1, w, NULL);
}

/* Maximum over a map's channels: the map on its side. */
static thaw_port *most_of_channels(thaw_lowering *l, const thaw_node *node, thaw_port *x) {
    if (!x) return NULL;
    int64_t H = x->H, W = x->W, C = x->C;
    x = thaw__lower_reshaped(l, node, x, 1, C, H * W);
    return thaw__lower_reshaped(l, node, thaw__lower_pooled(l, node, x, true, C, 1), 1, H, W);
}

static thaw_port *reduce_axes(thaw_lowering *l, const thaw_node *node, thaw_port *x, unsigned axes,
                              bool max) {
    const thaw_value *v = thaw__lower_value(l, node, 0);
    if (v->rank != 4 && v->rank != 2) return reduce_runs(l, node, x, axes, max);
    bool reduced[3] = {false};
    for (int i = 1; i < v->rank; i++)
        if (axes >> i & 1) reduced[thaw_value_place(v, i)] = true;
    if (reduced[THAW_IN_H] || reduced[THAW_IN_W])
        x = thaw__lower_pooled(l, node, x, max, reduced[THAW_IN_H] ? x->H : 1,
                               reduced[THAW_IN_W] ? x->W : 1);
    if (!reduced[THAW_IN_C]) return x;
    return max ? most_of_channels(l, node, x) : mix_channels(l, node, x);
}

static thaw_status lower_reduce(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    bool done;
    thaw_status status = thaw__op_melt_layer_norm(l, node, &done, err);
    if (done) return status;
    const thaw_value *v = thaw__lower_value(l, node, 0);
    unsigned axes = find_axes(l->graph, node);
    reduction r = find_reduction(node);
    float terms = 1;
    for (int i = 1; i < v->rank; i++)
        if (axes >> i & 1) terms *= (float)v->dims[i];
    thaw_port *x = thaw__lower_port(l, node, 0);
    if (r.power != 1)
        x = thaw__lower_act(l, node, x, (thaw_epilogue){.act = THAW_ACT_POWER, .a = r.power});
    if (r.absolute)
        x = thaw__lower_act(l, node, x, (thaw_epilogue){.act = THAW_ACT_LEAKY_RELU, .a = -1});
    if (r.negative) x = thaw__lower_line(l, node, x, -1, 0);
    if (x) x = reduce_axes(l, node, x, axes, r.max);
    x = thaw__lower_line(l, node, x, r.sum ? terms : r.negative ? -1 : 1, 0);
    /* Channels that stood last are to do so still. */
    const thaw_value *y = thaw_node_out(l->graph, node, 0);
    if (x && v->nhwc && !y->nhwc && x->H * x->W > 1)
        x = thaw__lower_transposed(l, node, x, &(thaw_permutation){2, {x->C, x->H * x->W}, {1, 0}},
                                   1, x->H * x->W, x->C);
    if (r.root) x = thaw__lower_act(l, node, x, (thaw_epilogue){.act = THAW_ACT_POWER, .a = 0.5f});
    return thaw__lower_finish(l, node, x, err);
}

#define REDUCE(name)                 \
    const thaw_op thaw_op_##name = { \
        .type = #name, .infer = infer_reduce, .lower = lower_reduce, .flop = thaw__op_flop_input}
REDUCE(ReduceMean);
REDUCE(ReduceSum);
REDUCE(ReduceMax);
REDUCE(ReduceMin);
REDUCE(ReduceL1);
REDUCE(ReduceL2);
REDUCE(ReduceSumSquare);
REDUCE(GlobalMaxPool);

static thaw_status infer_global_mean(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = thaw__op_begin_layer(graph, node, 1u << 4, err),
               *x = thaw_node_in(graph, node, 0);
    if (!y) return THAW_ERR_SHAPE;
    int64_t dims[4] = {x->dims[0], x->dims[1], 1, 1};
    thaw__op_set_shape(y, THAW_F32, 4, dims);
    node->alias = x->dims[2] == 1 && x->dims[3] == 1;
    return THAW_OK;
}

static thaw_status lower_global_mean(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    return thaw__lower_step_for(l, THAW_STEP_global_mean, node, 1)
               ? THAW_OK
               : thaw__lower_no_memory(node, err);
}

const thaw_op thaw_op_GlobalAveragePool = {.type = "GlobalAveragePool",
                                           .infer = infer_global_mean,
                                           .lower = lower_global_mean,
                                           .flop = thaw__op_flop_input};
