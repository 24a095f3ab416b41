/* What puts tensors together along their channels, and what takes them apart. */
#include <string.h>

#include "graph/fold.h"
#include "graph/lowering.h"
#include "rules.h"

static thaw_status infer_concat(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = thaw__op_begin(graph, node, err), *x = thaw_node_in(graph, node, 0);
    if (!y) return THAW_ERR_SHAPE;
    int64_t axis = thaw_node_int(node, "axis", 1), sum = 0;
    if (axis < 0) axis += x->rank;
    if (axis < 0 || axis >= x->rank) return thaw__op_misfit(graph, node, err);
    for (int i = 0; i < node->n_in; i++) {
        const thaw_value *in = thaw_node_in(graph, node, i);
        if (!in || in->rank != x->rank || in->data) return thaw__op_misfit(graph, node, err);
        for (int k = 0; k < x->rank; k++)
            if (k != axis && in->dims[k] != x->dims[k]) return thaw__op_misfit(graph, node, err);
        if (__builtin_add_overflow(sum, in->dims[axis], &sum))
            return thaw__op_misfit(graph, node, err);
    }
    if (axis != 1 || (x->rank != 4 && x->rank != 2) || x->nhwc)
        return thaw__op_refuse(node, err, "only feature maps are joined, along their channels");
    int64_t dims[4] = {x->dims[0], sum, x->dims[2], x->dims[3]};
    thaw__op_set_shape(y, THAW_F32, x->rank, dims);
    node->alias = node->n_in == 1;
    return THAW_OK;
}

static thaw_status lower_concat(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    thaw_step *step = thaw__lower_step_for(l, THAW_STEP_concat, node, node->n_in);
    return step ? THAW_OK : thaw__lower_no_memory(node, err);
}

const thaw_op thaw_op_Concat = {.type = "Concat", .infer = infer_concat, .lower = lower_concat};

/* ---- parts ---------------------------------------------------------------------------------- */

/* Which axis of a map or a vector its channels are. */
static int channel_axis(const thaw_value *x) {
    return x->nhwc && x->rank == 4 ? 3 : 1;
}

/* y is `count` of x's channels. */
static void set_part(thaw_value *y, const thaw_value *x, int64_t count) {
    thaw__op_set_shape(y, THAW_F32, x->rank, x->dims);
    y->dims[channel_axis(x)] = count;
    y->nhwc = x->nhwc;
}

/* The channels from `first` on that make output k. */
static thaw_status take_part(thaw_lowering *l, const thaw_node *node, int k, int64_t first,
                             thaw_error *err) {
    thaw_step *step = thaw__lower_step(l, THAW_STEP_slice, node->name, node->out[k], 1);
    if (!step) return thaw__lower_no_memory(node, err);
    thaw__lower_read(l, step, 0, thaw__lower_port(l, node, 0));
    step->first = first;
    return THAW_OK;
}

/* How many channels output k has. Sizes: attribute until opset 12, input since; without them equal
 * parts, of which the last may be smaller. -1: that is not constant. */
static int64_t size_of_part(const thaw_graph *graph, const thaw_node *node, int k) {
    const thaw_value *x = thaw_node_in(graph, node, 0);
    int64_t n, C = x->dims[channel_axis(x)];
    const int64_t *sizes = thaw__fold_ints(graph, node, "split", 1, &n);
    if (sizes) return n == node->n_out ? sizes[k] : -1;
    if (node->n_in > 1 && thaw_node_in(graph, node, 1)) return -1;
    int64_t even = (C + node->n_out - 1) / node->n_out, left = C - k * even;
    return left < even ? left : even;
}

static thaw_status infer_split(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    if (!thaw__op_begin_pixelwise(graph, node, err)) return THAW_ERR_SHAPE;
    const thaw_value *x = thaw_node_in(graph, node, 0);
    int axis = thaw__fold_axis(thaw_node_int(node, "axis", 0), x->rank);
    if (axis != channel_axis(x))
        return thaw__op_refuse(node, err, "splits along another axis than the channels");
    int64_t sum = 0;
    for (int k = 0; k < node->n_out; k++) {
        int64_t size = size_of_part(graph, node, k);
        if (size < 1 || size > x->dims[axis] - sum) return thaw__op_misfit(graph, node, err);
        sum += size;
        if (thaw_node_out(graph, node, k)) set_part(thaw_node_out(graph, node, k), x, size);
    }
    return sum == x->dims[axis] ? THAW_OK : thaw__op_misfit(graph, node, err);
}

/* What nobody reads is not taken. */
static thaw_status lower_split(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    int64_t first = 0;
    for (int k = 0; k < node->n_out; k++) {
        if (node->out[k] >= 0 && l->uses[thaw__lower_root(l, node->out[k])] > 0)
            THAW_TRY(take_part(l, node, k, first, err));
        first += size_of_part(l->graph, node, k);
    }
    return THAW_OK;
}

const thaw_op thaw_op_Split = {.type = "Split", .infer = infer_split, .lower = lower_split};

/* The first channel that a Slice takes, and how many. Along other axes it must take everything.
 * starts, ends, axes, steps: attributes until opset 9, inputs since. False: anything else. */
static bool read_slice(const thaw_graph *graph, const thaw_node *node, int64_t *first,
                       int64_t *count) {
    static const char *const names[] = {"starts", "ends", "axes", "steps"};
    const thaw_value *x = thaw_node_in(graph, node, 0);
    const int64_t *given[4];
    int64_t n[4];
    for (int i = 0; i < 4; i++) {
        given[i] = thaw__fold_ints(graph, node, names[i], 1 + i, &n[i]);
        if (!given[i] && thaw_node_in(graph, node, 1 + i)) return false;
    }
    *first = 0;
    *count = x->dims[channel_axis(x)];
    if (!given[0] || !given[1] || n[0] != n[1] || (given[2] && n[2] != n[0]) ||
        (given[3] && n[3] != n[0]))
        return false;
    for (int64_t i = 0; i < n[0]; i++) {
        int axis = thaw__fold_axis(given[2] ? given[2][i] : i, x->rank);
        int64_t from = given[0][i], to = given[1][i];
        if (axis < 0 || (given[3] && given[3][i] != 1)) return false;
        if (axis == 0 || axis != channel_axis(x)) {
            /* The whole batch ends beyond any size. */
            bool whole = from == 0 && to >= (axis == 0 ? INT32_MAX : x->dims[axis]);
            if (!whole) return false;
            continue;
        }
        int64_t C = x->dims[axis];
        from = from < 0 ? from + C : from;
        to = to < 0 ? to + C : to;
        from = from < 0 ? 0 : from;
        to = to > C ? C : to;
        *first = from;
        *count = to - from;
    }
    return true;
}

static thaw_status infer_slice(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    if (!thaw__op_begin_pixelwise(graph, node, err)) return THAW_ERR_SHAPE;
    const thaw_value *x = thaw_node_in(graph, node, 0);
    int64_t first, count;
    if (!read_slice(graph, node, &first, &count))
        return thaw__op_refuse(node, err,
                               "takes a part of a feature map that is not one of its channels, one "
                               "after the other, from a constant place on");
    if (count < 1) return thaw__op_misfit(graph, node, err);
    set_part(thaw_node_out(graph, node, 0), x, count);
    node->alias = count == x->dims[channel_axis(x)];
    return THAW_OK;
}

static thaw_status lower_slice(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    int64_t first, count;
    if (!read_slice(l->graph, node, &first, &count))
        return thaw__op_refuse(node, err, "takes another part than it took at first");
    return take_part(l, node, 0, first, err);
}

const thaw_op thaw_op_Slice = {.type = "Slice", .infer = infer_slice, .lower = lower_slice};

/* Which channel of a map the node takes; -1: anything else. */
static int64_t gathered_channel(const thaw_graph *graph, const thaw_node *node) {
    const thaw_value *x = thaw_node_in(graph, node, 0), *index = thaw_node_in(graph, node, 1);
    if (x->rank != 4 || x->nhwc || !thaw__op_is_ints(index) || index->rank != 0) return -1;
    if (thaw__fold_axis(thaw_node_int(node, "axis", 0), x->rank) != 1) return -1;
    int64_t at = *(const int64_t *)index->data, C = x->dims[1];
    if (at < 0) at += C;
    return at < C ? at : -1;
}

/* x[:, c], one channel of a map as N,H,W: what torchvision's transform_input is made of. */
static thaw_status infer_gather(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = thaw__op_begin(graph, node, err);
    if (!y) return THAW_ERR_SHAPE;
    const thaw_value *x = thaw_node_in(graph, node, 0);
    if (x->data || gathered_channel(graph, node) < 0)
        return thaw__op_refuse(node, err,
                               "takes something else of a feature map than one of its channels");
    const int64_t dims[] = {x->dims[0], x->dims[2], x->dims[3]};
    thaw__op_set_shape(y, THAW_F32, 3, dims);
    return THAW_OK;
}

static thaw_status lower_gather(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    return take_part(l, node, 0, gathered_channel(l->graph, node), err);
}

const thaw_op thaw_op_Gather = {.type = "Gather", .infer = infer_gather, .lower = lower_gather};
