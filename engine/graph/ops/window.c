/* What slides a window over height and width: convolution, pools, borders of zeros. */
#include <string.h>

#include "graph/lowering.h"
#include "resample.h"
#include "rules.h"

/* ---- the window ----------------------------------------------------------------------------- */

/* Reads a two-number attribute; absent: both `absent`. A window over one axis is one row high. False
 * when it has another length or a value out of low..2^20. */
static bool read_pair(const thaw_node *node, const char *name, int axes, int64_t absent,
                      int64_t low, int64_t *h, int64_t *w) {
    const thaw_attr *attr = thaw_node_attr(node, name);
    *h = axes == 1 ? 1 : absent;
    *w = absent;
    if (!attr) return true;
    if (attr->n != (size_t)axes || !attr->ints) return false;
    if (axes == 2) *h = attr->ints[0];
    *w = attr->ints[axes - 1];
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

static thaw_status find_window(const thaw_graph *graph, const thaw_node *node, thaw_window *window,
                               int64_t *P, int64_t *Q, thaw_error *err) {
    const thaw_value *x = thaw_node_in(graph, node, 0), *w = thaw_node_in(graph, node, 1);
    const thaw_attr *pads = thaw_node_attr(node, "pads"), *mode = thaw_node_attr(node, "auto_pad");
    thaw_window o = {0};
    int axes = x->rank - 2;
    size_t n_pads = 2 * (size_t)axes;
    if (!read_pair(node, "kernel_shape", axes, 0, 1, &o.R, &o.S) ||
        !read_pair(node, "strides", axes, 1, 1, &o.stride_h, &o.stride_w) ||
        !read_pair(node, "dilations", axes, 1, 1, &o.dilation_h, &o.dilation_w) ||
        (pads && (pads->n != n_pads || !pads->ints)))
        return thaw__op_refuse(node, err, "its window is not one of its input's axes within 2^20");
    if (node->op == &thaw_op_Conv) {
        int64_t R = axes == 1 ? 1 : w->dims[2], S = w->dims[axes + 1];
        if ((o.R && o.R != R) || (o.S && o.S != S)) return thaw__op_misfit(graph, node, err);
        o.R = R;
        o.S = S;
    }
    for (size_t i = 0; pads && i < n_pads; i++)
        if (pads->ints[i] < 0 || pads->ints[i] > 1 << 20)
            return thaw__op_refuse(node, err, "its pads are negative or larger than 2^20");
    if (pads && axes == 2) {
        o.pad_top = pads->ints[0];
        o.pad_bottom = pads->ints[2];
    }
    if (pads) {
        o.pad_left = pads->ints[axes - 1];
        o.pad_right = pads->ints[2 * axes - 1];
    }
    if (o.R < 1 || o.S < 1) return thaw__op_refuse(node, err, "it has no kernel_shape");
    const char *auto_pad = mode && mode->s ? mode->s : "NOTSET";
    if (strcmp(auto_pad, "VALID") == 0) o.pad_top = o.pad_left = o.pad_bottom = o.pad_right = 0;
    int64_t reach_h = (o.R - 1) * o.dilation_h + 1, reach_w = (o.S - 1) * o.dilation_w + 1;
    int64_t H = axes == 1 ? 1 : x->dims[2], W = x->dims[axes + 1];
    if (!slide(node, auto_pad, H, reach_h, o.stride_h, &o.pad_top, &o.pad_bottom, P) ||
        !slide(node, auto_pad, W, reach_w, o.stride_w, &o.pad_left, &o.pad_right, Q))
        return thaw_fail(err, THAW_ERR_SHAPE,
                         "%s (%s): the window of %lld x %lld is larger than the %lld x %lld input; "
                         "image.size is too small for this model",
                         node->name, node->type, (long long)o.R, (long long)o.S, (long long)H,
                         (long long)W);
    *window = o;
    return THAW_OK;
}

/* ---- convolution ---------------------------------------------------------------------------- */

static thaw_status infer_conv(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = thaw__op_begin_layer(graph, node, 1u << 3 | 1u << 4, err),
               *x = thaw_node_in(graph, node, 0);
    thaw_value *w = thaw_node_in(graph, node, 1), *b = thaw_node_in(graph, node, 2);
    if (!y) return THAW_ERR_SHAPE;
    if (!w || !w->data || w->rank != x->rank || w->dtype != THAW_F32)
        return thaw__op_refuse(node, err, "its weights must be a constant K x C x R x S tensor");
    int64_t G = thaw_node_int(node, "group", 1), C = x->dims[1], K = w->dims[0];
    thaw_window window;
    int64_t P, Q;
    THAW_TRY(find_window(graph, node, &window, &P, &Q, err));
    int64_t dims[4] = {x->dims[0], K, x->rank == 3 ? Q : P, Q};
    thaw__op_set_shape(y, THAW_F32, x->rank, dims); /* Known, whatever is wrong with the rest. */
    if (G < 1 || K < 1 || C % G || K % G)
        return thaw_fail(err, THAW_ERR_SHAPE,
                         "%s (%s): group = %lld does not divide the %lld channels that come in and "
                         "the %lld that go out",
                         node->name, node->type, (long long)G, (long long)C, (long long)K);
    if (w->dims[1] != C / G) return thaw__op_misfit(graph, node, err);
    if (b && !thaw_value_floats(graph, node, 2, K, err)) return THAW_ERR_SHAPE;
    return THAW_OK;
}

static int64_t flop_conv(const thaw_graph *graph, const thaw_node *node) {
    const thaw_value *y = thaw_node_out(graph, node, 0), *w = thaw_node_in(graph, node, 1);
    return thaw__op_multiply_adds(thaw_value_elements(y), thaw_value_elements(w) / w->dims[0]);
}

static thaw_status lower_conv(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    thaw_step *before = thaw__lower_producer(l, node, 0);
    const thaw_value *w = thaw__lower_value(l, node, 1), *b = thaw__lower_value(l, node, 2);
    thaw_port *x = thaw__lower_port(l, node, 0);
    bool row = w->rank == 3; /* One axis: C x 1 x W, whose value is 1 x C x W. */
    if (row) x = thaw__lower_reshaped(l, node, x, x->C * x->H, 1, x->W);
    thaw_step *step =
        x ? thaw__lower_step(l, THAW_STEP_conv, node->name, row ? -1 : node->out[0], 1) : NULL;
    if (!step) return thaw__lower_no_memory(node, err);
    thaw_window window;
    int64_t P, Q;
    THAW_TRY(find_window(l->graph, node, &window, &P, &Q, err));
    if (row) *step->out = (thaw_port){.N = l->batch, .C = w->dims[0], .H = 1, .W = Q};
    /* A border of zeros is the window's own. */
    if (before && before->kind == THAW_STEP_pad && !thaw__lower_is_taken(l, before->in[0])) {
        const thaw_window *border = &before->conv.window;
        x = before->in[0];
        window.pad_top += border->pad_top;
        window.pad_left += border->pad_left;
        window.pad_bottom += border->pad_bottom;
        window.pad_right += border->pad_right;
        thaw__lower_drop(before);
    }
    thaw__lower_read(l, step, 0, x);
    step->w = w->data;
    step->b = b ? b->data : NULL;
    if (l->training) {
        int index = (int)(node - l->graph->nodes);
        thaw__lower_origins(l, step)->w = (thaw_origin){true, .node = index, .input = 1};
        if (b) thaw__lower_origins(l, step)->b = (thaw_origin){true, .node = index, .input = 2};
    }
    step->conv = (thaw_conv_shape){.N = l->batch,
                                   .H = x->H,
                                   .W = x->W,
                                   .C = x->C,
                                   .P = P,
                                   .Q = Q,
                                   .K = w->dims[0],
                                   .G = thaw_node_int(node, "group", 1),
                                   .window = window};
    return row ? thaw__lower_finish(l, node, step->out, err) : THAW_OK;
}

const thaw_op thaw_op_Conv = {
    .type = "Conv", .infer = infer_conv, .lower = lower_conv, .params = 0x6, .flop = flop_conv};

/* ---- pools ---------------------------------------------------------------------------------- */

/* Whether each window along an axis of `in` pixels holds one of them. A window that starts in the
 * near pad has a tap among the first `dilation` pixels. */
static bool sees_picture(int64_t R, int64_t dilation, int64_t before, int64_t after, int64_t in) {
    int64_t reach = (R - 1) * dilation + 1;
    return before < reach && after < reach && (before == 0 || in >= dilation);
}

/* A pool's window, which takes over what a Pad put around its input; and the size of that without it. */
static thaw_status find_pool(const thaw_graph *graph, const thaw_node *node, thaw_window *w,
                             int64_t size[2], int64_t *P, int64_t *Q, thaw_error *err) {
    const thaw_value *x = thaw_node_in(graph, node, 0);
    thaw_window border;
    THAW_TRY(find_window(graph, node, w, P, Q, err));
    size[0] = x->dims[2];
    size[1] = x->dims[3];
    if (!thaw__op_lowest_border(graph, x, &border)) return THAW_OK;
    w->pad_top += border.pad_top;
    w->pad_left += border.pad_left;
    w->pad_bottom += border.pad_bottom;
    w->pad_right += border.pad_right;
    size[0] -= border.pad_top + border.pad_bottom;
    size[1] -= border.pad_left + border.pad_right;
    return THAW_OK;
}

static thaw_status infer_pool(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = thaw__op_begin_layer(graph, node, 1u << 4, err),
               *x = thaw_node_in(graph, node, 0);
    if (!y) return THAW_ERR_SHAPE;
    thaw_window w;
    int64_t dims[4] = {x->dims[0], x->dims[1]}, size[2];
    THAW_TRY(find_pool(graph, node, &w, size, &dims[2], &dims[3], err));
    if (!sees_picture(w.R, w.dilation_h, w.pad_top, w.pad_bottom, size[0]) ||
        !sees_picture(w.S, w.dilation_w, w.pad_left, w.pad_right, size[1]))
        return thaw__op_refuse(node, err, "a window lies in the padding alone");
    thaw__op_set_shape(y, THAW_F32, 4, dims);
    node->alias = w.R == 1 && w.S == 1 && w.stride_h == 1 && w.stride_w == 1 &&
                  dims[2] == size[0] && dims[3] == size[1];
    return THAW_OK;
}

static int64_t flop_pool(const thaw_graph *graph, const thaw_node *node) {
    thaw_window w;
    int64_t P, Q;
    if (find_window(graph, node, &w, &P, &Q, NULL) != THAW_OK) return 0;
    return thaw__op_multiply_adds(thaw_value_elements(thaw_node_out(graph, node, 0)), w.R * w.S) /
           2;
}

/* A step that pads `x` as the window says; the padded port is not the node's output. */
static thaw_port *pad_before(thaw_lowering *l, const thaw_node *node, thaw_port *x,
                             const thaw_window *w) {
    thaw_step *step = thaw__lower_step(l, THAW_STEP_pad, node->name, -1, 1);
    if (!step) return NULL;
    thaw__lower_read(l, step, 0, x);
    step->conv.window = *w;
    *step->out = (thaw_port){.N = x->N,
                             .C = x->C,
                             .H = x->H + w->pad_top + w->pad_bottom,
                             .W = x->W + w->pad_left + w->pad_right};
    return step->out;
}

static thaw_status lower_pool(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    thaw_pool_shape pool = {.N = l->batch, .max = node->op == &thaw_op_MaxPool};
    int64_t size[2];
    THAW_TRY(find_pool(l->graph, node, &pool.window, size, &pool.P, &pool.Q, err));
    thaw_port *x = thaw__lower_port(l, node, 0);
    pool.count_include_pad = !pool.max && thaw_node_int(node, "count_include_pad", 0) != 0;
    thaw_window *w = &pool.window;
    int64_t reach_h = (w->R - 1) * w->dilation_h + 1, reach_w = (w->S - 1) * w->dilation_w + 1;
    bool past_pad = (pool.P - 1) * w->stride_h + reach_h > w->pad_top + x->H + w->pad_bottom ||
                    (pool.Q - 1) * w->stride_w + reach_w > w->pad_left + x->W + w->pad_right;
    if (pool.count_include_pad && past_pad) {
        /* The pads count in the mean, what ceil_mode adds beyond them does not: so the pads become
         * pixels. */
        x = pad_before(l, node, x, w);
        if (!x) return thaw__lower_no_memory(node, err);
        w->pad_top = w->pad_left = w->pad_bottom = w->pad_right = 0;
        pool.count_include_pad = false;
    }
    thaw_step *step = thaw__lower_step(l, THAW_STEP_pool, node->name, node->out[0], 1);
    if (!step) return thaw__lower_no_memory(node, err);
    thaw__lower_read(l, step, 0, x);
    pool.H = x->H;
    pool.W = x->W;
    pool.C = x->C;
    step->pool = pool;
    return THAW_OK;
}

const thaw_op thaw_op_MaxPool = {
    .type = "MaxPool", .infer = infer_pool, .lower = lower_pool, .flop = flop_pool};
const thaw_op thaw_op_AveragePool = {
    .type = "AveragePool", .infer = infer_pool, .lower = lower_pool, .flop = flop_pool};
