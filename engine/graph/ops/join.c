/* What puts tensors together, and what takes them apart: channels as they lie, rows and columns by taps;
 * any other axis becomes one of these first. */
#include <string.h>

#include "graph/fold.h"
#include "graph/lowering.h"
#include "resample.h"
#include "rules.h"

/* The first that is no constant; NULL: all are. */
static thaw_value *first_map(const thaw_graph *graph, const thaw_node *node) {
    for (int i = 0; i < node->n_in; i++) {
        thaw_value *in = thaw_node_in(graph, node, i);
        if (in && !in->data) return in;
    }
    return NULL;
}

/* A part that is the same for every picture: a class token. */
static bool is_constant_part(const thaw_value *in, const thaw_value *x) {
    return in->data && in->repeats && in->dtype == THAW_F32 && !x->nhwc && !x->merged;
}

static thaw_status infer_concat(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = thaw__op_begin(graph, node, err), *x = first_map(graph, node);
    if (!y) return THAW_ERR_SHAPE;
    if (!x) return thaw__op_misfit(graph, node, err);
    int64_t sum = 0;
    int axis = thaw__op_axis(x, thaw_node_int(node, "axis", 1));
    if (axis < 0) return thaw__op_misfit(graph, node, err);
    if (axis == 0) return thaw__op_refuse(node, err, "joins batches of pictures to larger ones");
    for (int i = 0; i < node->n_in; i++) {
        const thaw_value *in = thaw_node_in(graph, node, i);
        bool constant = in && in->rank == x->rank && is_constant_part(in, x);
        if (!in || in->rank != x->rank || (in->data && !constant) || in->merged != x->merged)
            return thaw__op_misfit(graph, node, err);
        for (int k = constant; k < x->rank; k++)
            if (k != axis && in->dims[k] != x->dims[k]) return thaw__op_misfit(graph, node, err);
        if (__builtin_add_overflow(sum, in->dims[axis], &sum))
            return thaw__op_misfit(graph, node, err);
    }
    if (x->nhwc && axis != 3)
        return thaw__op_refuse(node, err,
                               "joins maps N,H,W,C along another axis than their channels");
    for (int i = 0; i < node->n_in; i++)
        if (thaw_node_in(graph, node, i)->nhwc != x->nhwc)
            return thaw__op_refuse(
                node, err, "joins a map that was turned to N,H,W,C and one that was made so");
    thaw__op_set_shape(y, THAW_F32, x->rank, x->dims);
    y->dims[axis] = sum;
    y->nhwc = x->nhwc;
    node->alias = node->n_in == 1;
    return THAW_OK;
}

/* What is in front of an axis, along it, and behind it. */
static void around(const thaw_value *v, int axis, int64_t size[3]) {
    size[0] = size[1] = size[2] = 1;
    for (int i = 1; i < v->rank; i++)
        size[i < axis ? 0 : i == axis ? 1 : 2] *= v->dims[i];
}

/* The same of a constant: from [n0][n1][n2] to n0 x n2 places of n1 channels. */
static thaw_port *constant_as_channels(thaw_lowering *l, const thaw_node *node, const float *from,
                                       const int64_t n[3]) {
    float *w = thaw__lower_floats(l->arena, NULL, n[0] * n[1] * n[2]);
    for (int64_t i = 0; w && i < n[0]; i++)
        for (int64_t k = 0; k < n[1]; k++)
            for (int64_t j = 0; j < n[2]; j++)
                w[(i * n[2] + j) * n[1] + k] = from[(i * n[1] + k) * n[2] + j];
    return thaw__lower_constant(l, node, n[0], n[2], n[1], w);
}

/* The axis becomes the channels', unless nothing is in front of it. */
static thaw_port *axis_as_channels(thaw_lowering *l, const thaw_node *node, int i, int axis) {
    int64_t n[3];
    const thaw_value *v = thaw__lower_value(l, node, i);
    around(v, axis, n);
    if (v->data) return constant_as_channels(l, node, v->data, n);
    thaw_port *x = thaw__lower_in_order(l, node, i, n[0] * n[1], 1, n[2]);
    const thaw_permutation turn = {3, {n[0], n[1], n[2]}, {1, 0, 2}};
    return n[0] == 1 || !x ? x : thaw__lower_transposed(l, node, x, &turn, n[1], n[0], n[2]);
}

static thaw_status join_along(thaw_lowering *l, const thaw_node *node, int axis, thaw_error *err) {
    const thaw_value *y = thaw_node_out(l->graph, node, 0);
    int64_t n[3];
    around(y, axis, n);
    thaw_port **parts = thaw_arena_array(l->arena, (size_t)node->n_in, sizeof *parts);
    for (int i = 0; parts && i < node->n_in; i++) {
        parts[i] = axis_as_channels(l, node, i, axis);
        if (!parts[i]) return thaw__lower_no_memory(node, err);
    }
    thaw_step *step = thaw__lower_step(l, THAW_STEP_concat, node->name, -1, node->n_in);
    if (!parts || !step) return thaw__lower_no_memory(node, err);
    for (int i = 0; i < node->n_in; i++)
        thaw__lower_read(l, step, i, parts[i]);
    *step->out = (thaw_port){.N = l->batch, .C = n[1], .H = n[0], .W = n[2]};
    const thaw_permutation back = {3, {n[1], n[0], n[2]}, {1, 0, 2}};
    thaw_port *made = step->out;
    if (n[0] > 1) made = thaw__lower_transposed(l, node, made, &back, n[0], n[1], n[2]);
    return thaw__lower_finish(l, node, made, err);
}

/* Of more than four dimensions the first is the slowest of the channels. */
static thaw_status lower_concat(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    const thaw_value *x = first_map(l->graph, node);
    int axis = thaw__op_axis(x, thaw_node_int(node, "axis", 1));
    bool channels = axis == (x->nhwc && x->rank == 4 ? 3 : 1) && x->rank != 3;
    for (int i = 0; i < node->n_in; i++)
        channels &= !thaw__lower_value(l, node, i)->data;
    if (!channels) return join_along(l, node, axis, err);
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
    y->merged = x->merged;
}

/* How many channels one place along the channels' axis is: of more than four dimensions several. */
static int64_t channels_each(const thaw_value *x) {
    int64_t each = 1;
    for (int i = 2; i < x->rank && x->rank != 4; i++)
        if (thaw_value_place(x, i) == THAW_IN_C) each *= x->dims[i];
    return each;
}

/* x, which is v, with `count` of its places along an axis: the n-th of them is from[n], or first + n. */
static thaw_port *take_places(thaw_lowering *l, const thaw_node *node, thaw_port *x, thaw_value *v,
                              int axis, thaw_taps places, int64_t count) {
    int64_t n[3];
    around(v, axis, n);
    bool follow = places.from != NULL;
    for (int64_t i = 1; follow && i < count; i++)
        follow = places.from[i] == places.from[i - 1] + 1;
    v->dims[axis] = count;
    if (!x || !places.from) return NULL;
    if (n[0] == 1 && follow) { /* Each place is so many channels. */
        if (x->C % n[1] || x->C * x->H * x->W != n[1] * n[2] || x->C < n[1])
            x = thaw__lower_reshaped(l, node, x, n[1], 1, n[2]);
        int64_t each = x ? x->C / n[1] : 0;
        return thaw__lower_sliced(l, node, x, places.from[0] * each, count * each);
    }
    x = thaw__lower_reshaped(l, node, x, n[0], n[1], n[2]);
    return thaw__lower_resampled(l, node, x, count, n[2], places,
                                 thaw__op_take_part(l, 0, 1, n[2]));
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

/* Along which axis a Split goes; -1: none of a picture's. */
static int split_axis(const thaw_node *node, const thaw_value *x) {
    int axis = thaw__op_axis(x, thaw_node_int(node, "axis", 0));
    return axis > 0 ? axis : -1;
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
    if (axis < 0) return thaw__op_refuse(node, err, "splits along the batch");
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

/* The same along one of several axes that are channels together, but not the slowest. */
static thaw_status take_some_channels(thaw_lowering *l, const thaw_node *node, int k, int64_t first,
                                      thaw_error *err) {
    thaw_value x = *thaw__lower_value(l, node, 0);
    int axis = split_axis(node, &x);
    int64_t count = thaw_node_out(l->graph, node, k)->dims[axis];
    thaw_port *port = take_places(l, node, thaw__lower_port(l, node, 0), &x, axis,
                                  thaw__op_take_part(l, first, 1, count), count);
    return thaw__lower_finish_output(l, node, k, port, err);
}

/* What nobody reads is not taken. */
static thaw_status lower_split(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    const thaw_value *x = thaw__lower_value(l, node, 0);
    int axis = split_axis(node, x);
    bool channels = thaw_value_place(x, axis) == THAW_IN_C;
    thaw_status (*take)(thaw_lowering *, const thaw_node *, int, int64_t, thaw_error *) =
        !channels                 ? take_pixels
        : axis == channel_axis(x) ? take_part
                                  : take_some_channels;
    int64_t first = 0;
    for (int k = 0; k < node->n_out; k++) {
        if (node->out[k] >= 0 && l->uses[thaw__lower_root(l, node->out[k])] > 0)
            THAW_TRY(take(l, node, k, first, err));
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
        int axis = thaw__op_axis(x, given[2] ? given[2][i] : i);
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

/* Whether it takes channels one after the other, and rows and columns in any way. */
static bool is_plain(const thaw_value *x, const slice *s) {
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
    if (!read_slice(graph, node, &s) || (x->nhwc && !is_plain(x, &s)))
        return thaw__op_refuse(
            node, err,
            "takes a part that is not constant, is one of the batch, or, of a map "
            "N,H,W,C, channels that do not follow each other");
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

/* One axis after the other. */
static thaw_status take_axes(thaw_lowering *l, const thaw_node *node, const slice *s,
                             thaw_error *err) {
    thaw_value x = *thaw__lower_value(l, node, 0);
    thaw_port *port = thaw__lower_port(l, node, 0);
    for (int i = 1; i < x.rank; i++)
        if (s->count[i] != x.dims[i] || s->step[i] != 1)
            port = take_places(l, node, port, &x, i,
                               thaw__op_take_part(l, s->first[i], s->step[i], s->count[i]),
                               s->count[i]);
    return thaw__lower_finish(l, node, port, err);
}

static thaw_status lower_slice(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    const thaw_value *x = thaw__lower_value(l, node, 0);
    slice s;
    if (!read_slice(l->graph, node, &s))
        return thaw__op_refuse(node, err, "takes another part than it took at first");
    if (!is_plain(x, &s)) return take_axes(l, node, &s, err);
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

/* Whether it takes of each picture of a batch, which is a row of numbers, its own, in their order: they
 * get other dimensions, and nothing moves. */
static bool takes_own(const thaw_value *x, const thaw_value *index) {
    int64_t n = thaw_value_elements(index);
    bool own = x->rank == 2 && x->merged == 1 && x->dims[1] == n && index->step == n;
    for (int64_t i = 0; own && i < n; i++)
        own = ((const int64_t *)index->data)[i] == i;
    return own && index->rank > 1;
}

/* The axis that a Gather goes along; -1: the batch's, or what it takes is not a list of constants. */
static int gather_axis(const thaw_graph *graph, const thaw_node *node) {
    const thaw_value *x = thaw_node_in(graph, node, 0), *index = thaw_node_in(graph, node, 1);
    if (x->data || !thaw__op_is_ints(index)) return -1;
    if (index->step) return takes_own(x, index) ? 1 : -1;
    int axis = thaw__op_axis(x, thaw_node_int(node, "axis", 0));
    return axis > 0 && (!x->nhwc || x->rank != 4) ? axis : -1;
}

/* Which place number i of the list is; -1: there is none. */
static int64_t gathered(const thaw_graph *graph, const thaw_node *node, int64_t i) {
    int64_t n = thaw_node_in(graph, node, 0)->dims[gather_axis(graph, node)];
    int64_t at = ((const int64_t *)thaw_node_in(graph, node, 1)->data)[i];
    if (at < 0) at += n;
    return at >= 0 && at < n ? at : -1;
}

/* Places along an axis, which becomes those of the list: one number of none, a table of several. */
static thaw_status infer_gather(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = thaw__op_begin(graph, node, err);
    if (!y) return THAW_ERR_SHAPE;
    const thaw_value *x = thaw_node_in(graph, node, 0), *index = thaw_node_in(graph, node, 1);
    int axis = gather_axis(graph, node);
    if (axis < 0)
        return thaw__op_refuse(node, err,
                               "takes something else of a tensor than places along one axis that "
                               "are constants, or some of the batch");
    int64_t count = thaw_value_elements(index);
    for (int64_t i = 0; i < count; i++)
        if (gathered(graph, node, i) < 0) return thaw__op_misfit(graph, node, err);
    if (index->step) { /* The batch is the list's first axis. */
        thaw__op_set_shape(y, THAW_F32, index->rank, index->dims);
        y->merged = 0;
        node->alias = thaw_value_lies_as(x, y);
        return THAW_OK;
    }
    thaw_value part = *x;
    int behind = x->rank - axis - 1, more = index->rank - 1;
    if (x->rank + more > THAW_MAX_RANK || count < 1) return thaw__op_misfit(graph, node, err);
    part.rank += more;
    memmove(part.dims + axis + index->rank, x->dims + axis + 1, (size_t)behind * sizeof *x->dims);
    memcpy(part.dims + axis, index->dims, (size_t)index->rank * sizeof *index->dims);
    if (part.merged > axis) part.merged += more;
    thaw__op_set_shape(y, THAW_F32, part.rank, part.dims);
    y->merged = part.merged;
    if (part.merged) thaw__op_close(y, &part);
    return y->rank > 1 ? THAW_OK : thaw__op_refuse(node, err, "leaves a number for each picture");
}

static thaw_status lower_gather(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    thaw_value x = *thaw__lower_value(l, node, 0);
    int axis = gather_axis(l->graph, node);
    int64_t count = thaw_value_elements(thaw__lower_value(l, node, 1));
    bool map =
        x.rank == 4 && axis == 1 && count == 1; /* As transform_input of torchvision does it. */
    if (map && thaw__lower_value(l, node, 1)->rank == 0)
        return take_part(l, node, 0, gathered(l->graph, node, 0), err);
    if (thaw__lower_value(l, node, 1)->step)
        return thaw__lower_finish(l, node, thaw__lower_port(l, node, 0), err);
    thaw_taps places = thaw__op_take_part(l, 0, 1, count);
    for (int64_t i = 0; places.from && i < count; i++)
        ((int32_t *)places.from)[i] = (int32_t)gathered(l->graph, node, i);
    thaw_port *port = take_places(l, node, thaw__lower_port(l, node, 0), &x, axis, places, count);
    return thaw__lower_finish(l, node, port, err);
}

const thaw_op thaw_op_Gather = {.type = "Gather", .infer = infer_gather, .lower = lower_gather};

/* Of a table of places along the first axes of x, whose last axis has one number for each of these: which
 * place along all of them together number i is; -1: there is none. */
static int64_t gathered_place(const thaw_value *x, const thaw_value *table, int64_t i) {
    int64_t n = table->dims[table->rank - 1], place = 0;
    for (int64_t k = 0; k < n; k++) {
        int64_t at = ((const int64_t *)table->data)[i * n + k], size = x->dims[k + 1];
        if (at < 0) at += size;
        if (at < 0 || at >= size) return -1;
        place = place * size + at;
    }
    return place;
}

/* Places along axes in front of the batch: so PyTorch's newer exporter spells an adaptive pool. */
static thaw_status infer_gather_nd(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = thaw__op_begin(graph, node, err);
    if (!y) return THAW_ERR_SHAPE;
    const thaw_value *x = thaw_node_in(graph, node, 0), *table = thaw_node_in(graph, node, 1);
    int64_t n = thaw__op_is_ints(table) && table->rank > 0 ? table->dims[table->rank - 1] : 0;
    if (x->data || n < 1 || n >= x->merged || table->step || thaw_node_int(node, "batch_dims", 0))
        return thaw__op_refuse(node, err,
                               "takes something else than constant places along axes that stand in "
                               "front of the batch");
    int more = table->rank - 1 - (int)n;
    if (x->rank + more > THAW_MAX_RANK) return thaw__op_misfit(graph, node, err);
    for (int64_t i = 0; i < thaw_value_elements(table) / n; i++)
        if (gathered_place(x, table, i) < 0) return thaw__op_misfit(graph, node, err);
    thaw_value made = *x;
    made.rank += more;
    made.merged += more;
    memcpy(made.dims + 1, table->dims, (size_t)(table->rank - 1) * sizeof *made.dims);
    memcpy(made.dims + table->rank, x->dims + n + 1, (size_t)(x->rank - n - 1) * sizeof *made.dims);
    y->dtype = THAW_F32;
    return thaw__op_close(y, &made) ? THAW_OK : thaw__op_misfit(graph, node, err);
}

static thaw_status lower_gather_nd(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    const thaw_value *x = thaw__lower_value(l, node, 0), *table = thaw__lower_value(l, node, 1);
    int n = (int)table->dims[table->rank - 1];
    int64_t count = thaw_value_elements(table) / n;
    thaw_value rows = {.rank = 3,
                       .dims = {THAW_BATCH, 1, 1}}; /* Those axes together, and the rest. */
    for (int i = 1; i < x->rank; i++)
        rows.dims[i <= n ? 1 : 2] *= x->dims[i];
    thaw_taps places = thaw__op_take_part(l, 0, 1, count);
    for (int64_t i = 0; places.from && i < count; i++)
        ((int32_t *)places.from)[i] = (int32_t)gathered_place(x, table, i);
    thaw_port *port = take_places(l, node, thaw__lower_port(l, node, 0), &rows, 1, places, count);
    return thaw__lower_finish(l, node, port, err);
}

const thaw_op thaw_op_GatherND = {
    .type = "GatherND", .infer = infer_gather_nd, .lower = lower_gather_nd};
