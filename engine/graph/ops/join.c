/* What puts tensors together along their channels, and what takes them apart. */
#include <string.h>

#include "graph/fold.h"
#include "graph/lowering.h"
#include "resample.h"
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
    /* Of more than four dimensions the first is the slowest of the channels. */
    int channels = x->nhwc && x->rank == 4 ? 3 : 1;
    if (axis != channels || x->rank == 3)
        return thaw__op_refuse(node, err, "only feature maps are joined, along their channels");
    for (int i = 1; i < node->n_in; i++)
        if (thaw_node_in(graph, node, i)->nhwc != x->nhwc) return thaw__op_misfit(graph, node, err);
    thaw__op_set_shape(y, THAW_F32, x->rank, x->dims);
    y->dims[axis] = sum;
    y->nhwc = x->nhwc;
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

/* y is `count` of x's places along an axis. */
static void set_part(thaw_value *y, const thaw_value *x, int axis, int64_t count) {
    thaw__op_set_shape(y, THAW_F32, x->rank, x->dims);
    y->dims[axis] = count;
    y->nhwc = x->nhwc;
}

/* How many channels one place along the channels' axis is: of more than four dimensions several. */
static int64_t channels_each(const thaw_value *x) {
    int64_t each = 1;
    for (int i = 2; i < x->rank && x->rank != 4; i++)
        if (thaw_value_place(x, i) == THAW_IN_C) each *= x->dims[i];
    return each;
}

/* The channels from `first` on that make output k. */
static thaw_status take_part(thaw_lowering *l, const thaw_node *node, int k, int64_t first,
                             thaw_error *err) {
    thaw_step *step = thaw__lower_step(l, THAW_STEP_slice, node->name, node->out[k], 1);
    if (!step) return thaw__lower_no_memory(node, err);
    thaw__lower_read(l, step, 0, thaw__lower_port(l, node, 0));
    step->first = first * channels_each(thaw__lower_value(l, node, 0));
    return THAW_OK;
}

/* Along which axis a Split goes; -1: none that it can. */
static int split_axis(const thaw_node *node, const thaw_value *x) {
    int axis = thaw__fold_axis(thaw_node_int(node, "axis", 0), x->rank);
    bool channels = axis > 0 && thaw_value_place(x, axis) == THAW_IN_C;
    return axis > 0 && (!channels || axis == channel_axis(x)) ? axis : -1;
}

/* How many places along it output k has. Sizes: attribute until opset 12, input since; without them equal
 * parts, of which the last may be smaller. -1: that is not constant. */
static int64_t size_of_part(const thaw_graph *graph, const thaw_node *node, int k) {
    const thaw_value *x = thaw_node_in(graph, node, 0);
    int64_t n, C = x->dims[split_axis(node, x)];
    const int64_t *sizes = thaw__fold_ints(graph, node, "split", 1, &n);
    if (sizes) return n == node->n_out ? sizes[k] : -1;
    if (node->n_in > 1 && thaw_node_in(graph, node, 1)) return -1;
    int64_t even = (C + node->n_out - 1) / node->n_out, left = C - k * even;
    return left < even ? left : even;
}

static thaw_status infer_split(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    if (!thaw__op_begin_pixelwise(graph, node, err)) return THAW_ERR_SHAPE;
    const thaw_value *x = thaw_node_in(graph, node, 0);
    int axis = split_axis(node, x);
    if (axis < 0)
        return thaw__op_refuse(node, err,
                               "splits along the batch, or some of several axes that "
                               "are channels together");
    int64_t sum = 0;
    for (int k = 0; k < node->n_out; k++) {
        int64_t size = size_of_part(graph, node, k);
        if (size < 1 || size > x->dims[axis] - sum) return thaw__op_misfit(graph, node, err);
        sum += size;
        if (thaw_node_out(graph, node, k)) set_part(thaw_node_out(graph, node, k), x, axis, size);
    }
    return sum == x->dims[axis] ? THAW_OK : thaw__op_misfit(graph, node, err);
}

/* The rows or columns from `first` on that make output k. */
static thaw_status take_pixels(thaw_lowering *l, const thaw_node *node, int k, int64_t first,
                               thaw_error *err) {
    const thaw_value *x = thaw__lower_value(l, node, 0), *y = thaw_node_out(l->graph, node, k);
    int axis = split_axis(node, x);
    bool rows = thaw_value_place(x, axis) == THAW_IN_H;
    thaw_port *port = thaw__lower_port(l, node, 0);
    thaw_taps part = thaw__op_take_part(l, first, 1, y->dims[axis]);
    thaw_taps whole = thaw__op_take_part(l, 0, 1, rows ? port->W : port->H);
    port = thaw__lower_resampled(l, node, port, rows ? y->dims[axis] : port->H,
                                 rows ? port->W : y->dims[axis], rows ? part : whole,
                                 rows ? whole : part);
    return thaw__lower_finish_output(l, node, k, port, err);
}

/* What nobody reads is not taken. */
static thaw_status lower_split(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    const thaw_value *x = thaw__lower_value(l, node, 0);
    bool channels = thaw_value_place(x, split_axis(node, x)) == THAW_IN_C;
    int64_t first = 0;
    for (int k = 0; k < node->n_out; k++) {
        if (node->out[k] >= 0 && l->uses[thaw__lower_root(l, node->out[k])] > 0)
            THAW_TRY(channels ? take_part(l, node, k, first, err)
                              : take_pixels(l, node, k, first, err));
        first += size_of_part(l->graph, node, k);
    }
    return THAW_OK;
}

const thaw_op thaw_op_Split = {.type = "Split", .infer = infer_split, .lower = lower_split};

/* What a Slice takes along each axis: `count` places from `first` on, `step` apart. */
typedef struct slice {
    int64_t first[THAW_MAX_RANK], count[THAW_MAX_RANK], step[THAW_MAX_RANK];
} slice;

/* One axis of n places. ONNX's ends may lie beyond either side. */
static bool read_range(int64_t from, int64_t to, int64_t step, int64_t n, int64_t *first,
                       int64_t *count) {
    if (step == 0 || step < -INT32_MAX || step > INT32_MAX) return false;
    int64_t low = step > 0 ? 0 : -1, high = step > 0 ? n : n - 1;
    from = from < 0 ? from + n : from;
    to = to < 0 ? (to < -n ? -1 - (step > 0) : to + n) : to;
    from = from < 0 ? 0 : from > high ? high : from;
    to = to < low ? low : to > n ? n : to;
    int64_t way = step > 0 ? to - from : from - to, each = step > 0 ? step : -step;
    *first = from;
    *count = way > 0 ? (way + each - 1) / each : 0;
    return true;
}

/* starts, ends, axes, steps: attributes until opset 9, inputs since. False: they are not constant, or
 * take a part of the batch. */
static bool read_slice(const thaw_graph *graph, const thaw_node *node, slice *s) {
    static const char *const names[] = {"starts", "ends", "axes", "steps"};
    const thaw_value *x = thaw_node_in(graph, node, 0);
    const int64_t *given[4];
    int64_t n[4];
    for (int i = 0; i < 4; i++) {
        given[i] = thaw__fold_ints(graph, node, names[i], 1 + i, &n[i]);
        if (!given[i] && thaw_node_in(graph, node, 1 + i)) return false;
    }
    for (int i = 1; i < x->rank; i++) {
        s->first[i] = 0;
        s->count[i] = x->dims[i];
        s->step[i] = 1;
    }
    if (!given[0] || !given[1] || n[0] != n[1] || (given[2] && n[2] != n[0]) ||
        (given[3] && n[3] != n[0]))
        return false;
    for (int64_t i = 0; i < n[0]; i++) {
        int axis = thaw__fold_axis(given[2] ? given[2][i] : i, x->rank);
        int64_t from = given[0][i], to = given[1][i], step = given[3] ? given[3][i] : 1;
        if (axis < 0) return false;
        if (axis == 0) { /* The whole batch ends beyond any size. */
            if (from != 0 || to < INT32_MAX || step != 1) return false;
            continue;
        }
        s->step[axis] = step;
        if (!read_range(from, to, step, x->dims[axis], &s->first[axis], &s->count[axis]))
            return false;
    }
    return true;
}

/* Channels one after the other; rows and columns in any way. */
static bool is_taken(const thaw_value *x, const slice *s) {
    for (int i = 1; i < x->rank; i++) {
        bool whole = s->count[i] == x->dims[i] && s->step[i] == 1;
        bool channels = thaw_value_place(x, i) == THAW_IN_C;
        if (!whole && channels && (i != channel_axis(x) || s->step[i] != 1)) return false;
    }
    return true;
}

static thaw_status infer_slice(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = thaw__op_begin_pixelwise(graph, node, err);
    if (!y) return THAW_ERR_SHAPE;
    const thaw_value *x = thaw_node_in(graph, node, 0);
    slice s;
    if (!read_slice(graph, node, &s) || !is_taken(x, &s))
        return thaw__op_refuse(node, err,
                               "takes a part of a feature map that is not constant, or of its "
                               "channels some that do not follow each other");
    thaw__op_set_shape(y, THAW_F32, x->rank, x->dims);
    y->nhwc = x->nhwc;
    node->alias = true;
    for (int i = 1; i < x->rank; i++) {
        if (s.count[i] < 1) return thaw__op_misfit(graph, node, err);
        y->dims[i] = s.count[i];
        node->alias &= s.count[i] == x->dims[i] && s.step[i] == 1;
    }
    return THAW_OK;
}

static thaw_status lower_slice(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    const thaw_value *x = thaw__lower_value(l, node, 0);
    slice s;
    if (!read_slice(l->graph, node, &s))
        return thaw__op_refuse(node, err, "takes another part than it took at first");
    thaw_port *port = thaw__lower_port(l, node, 0);
    thaw_port want = thaw__lower_shape(l, thaw_node_out(l->graph, node, 0));
    thaw_taps taps[3]; /* By place; of the channels none. */
    bool pixels = false;
    taps[THAW_IN_H] = thaw__op_take_part(l, 0, 1, port->H);
    taps[THAW_IN_W] = thaw__op_take_part(l, 0, 1, port->W);
    for (int i = 1; i < x->rank; i++) {
        thaw_place place = thaw_value_place(x, i);
        if (place == THAW_IN_C || (s.count[i] == x->dims[i] && s.step[i] == 1)) continue;
        taps[place] = thaw__op_take_part(l, s.first[i], s.step[i], s.count[i]);
        pixels = true;
    }
    if (!pixels) return take_part(l, node, 0, s.first[channel_axis(x)], err);
    port = thaw__lower_resampled(l, node, port, want.H, want.W, taps[THAW_IN_H], taps[THAW_IN_W]);
    if (port && port->C != want.C)
        port =
            thaw__lower_sliced(l, node, port, s.first[channel_axis(x)] * channels_each(x), want.C);
    return thaw__lower_finish(l, node, port, err);
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
