/* Transposed convolution: zeros between the pixels and around them, then a convolution with the filter turned
 * round. Exact, at stride^2 times the cost of one that leaves the zeros out; decoders have few of them.
 */
#include <string.h>

#include "graph/fold.h"
#include "resample.h"

/* One axis: y's place i + before of a filter that reaches over x's places, stride apart. */
typedef struct axis {
    int64_t in, R, stride, dilation, before, out;
} axis;

static int64_t reach_of(const axis *a) {
    return (a->R - 1) * a->dilation + 1;
}

/* The i-th of an attribute's n numbers, or `absent`. False: they are others than n, or out of 0..2^20. */
static bool read_number(const thaw_node *node, const char *name, size_t n, size_t i, int64_t absent,
                        int64_t *number) {
    const thaw_attr *attr = thaw_node_attr(node, name);
    *number = absent;
    if (!attr) return true;
    if (attr->n != n || !attr->ints) return false;
    *number = attr->ints[i];
    return *number >= 0 && *number <= 1 << 20;
}

/* ONNX: out = stride (in - 1) + output_padding + reach - pads, or the pads are what makes it so. */
static bool read_axis(const thaw_graph *graph, const thaw_node *node, int i, axis *a) {
    const thaw_value *x = thaw_node_in(graph, node, 0), *w = thaw_node_in(graph, node, 1);
    const thaw_attr *mode = thaw_node_attr(node, "auto_pad");
    const char *same = mode && mode->s && strncmp(mode->s, "SAME", 4) == 0 ? mode->s : NULL;
    int64_t more, after, want, R;
    size_t k = (size_t)i;
    *a = (axis){.in = x->dims[i + 2], .R = w->dims[i + 2]};
    if (!read_number(node, "strides", 2, k, 1, &a->stride) || a->stride < 1 ||
        !read_number(node, "dilations", 2, k, 1, &a->dilation) || a->dilation < 1 ||
        !read_number(node, "kernel_shape", 2, k, a->R, &R) || R != a->R ||
        !read_number(node, "output_padding", 2, k, 0, &more) ||
        !read_number(node, "pads", 4, k, 0, &a->before) ||
        !read_number(node, "pads", 4, k + 2, 0, &after) ||
        !read_number(node, "output_shape", 2, k, 0, &want))
        return false;
    int64_t whole = a->stride * (a->in - 1) + more + reach_of(a);
    if (same && !want) want = a->in * a->stride;
    if (want) {
        int64_t total = whole > want ? whole - want : 0;
        a->before = same && strcmp(same, "SAME_UPPER") == 0 ? total / 2 : total - total / 2;
        after = total - a->before;
    }
    a->out = want ? want : whole - a->before - after;
    return a->out > 0 && a->out <= INT32_MAX;
}

static thaw_status infer_conv_transpose(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = thaw__op_begin_layer(graph, node, 1u << 4, err),
               *x = thaw_node_in(graph, node, 0);
    const thaw_value *w = thaw_node_in(graph, node, 1);
    if (!y) return THAW_ERR_SHAPE;
    if (!w || !w->data || w->rank != 4 || w->dtype != THAW_F32)
        return thaw__op_refuse(node, err, "its weights must be a constant C x K x R x S tensor");
    int64_t G = thaw_node_int(node, "group", 1), C = x->dims[1], K;
    if (G < 1 || C % G || w->dims[0] != C || w->dims[1] < 1 ||
        __builtin_mul_overflow(w->dims[1], G, &K))
        return thaw__op_misfit(graph, node, err);
    if (thaw_node_in(graph, node, 2) && !thaw_value_floats(graph, node, 2, K, err))
        return THAW_ERR_SHAPE;
    axis h, v;
    if (!read_axis(graph, node, 0, &h) || !read_axis(graph, node, 1, &v))
        return thaw__op_refuse(node, err, "its window is not one of two axes within 2^20");
    thaw__op_set_shape(y, THAW_F32, 4, (int64_t[]){x->dims[0], K, h.out, v.out});
    return THAW_OK;
}

static int64_t flop_conv_transpose(const thaw_graph *graph, const thaw_node *node) {
    const thaw_value *y = thaw_node_out(graph, node, 0), *w = thaw_node_in(graph, node, 1);
    int64_t G = thaw_node_int(node, "group", 1);
    return thaw__op_multiply_adds(thaw_value_elements(y), w->dims[0] / G * w->dims[2] * w->dims[3]);
}

/* What the convolution slides over: x's places, stride apart, zeros elsewhere. */
static thaw_taps spread_axis(thaw_lowering *l, const axis *a) {
    int32_t *from;
    float *weight;
    thaw_taps taps;
    int64_t n = a->out + reach_of(a) - 1, first = a->before - (reach_of(a) - 1);
    if (!thaw__op_take_taps(l, 1, n, &from, &weight, &taps)) return (thaw_taps){0};
    for (int64_t i = 0; i < n; i++) {
        int64_t at = first + i;
        bool pixel = at >= 0 && at % a->stride == 0 && at / a->stride < a->in;
        from[i] = pixel ? (int32_t)(at / a->stride) : 0;
        weight[i] = pixel ? 1 : 0;
    }
    return taps;
}

/* w[C,K/G,R,S] as the K,C/G,R,S of a convolution, turned round. */
static float *turn_round(thaw_lowering *l, const thaw_value *w, int64_t G) {
    int64_t C = w->dims[0] / G, K = w->dims[1], R = w->dims[2], S = w->dims[3];
    const float *from = w->data;
    float *to = thaw__lower_floats(l->arena, NULL, G * C * K * R * S);
    for (int64_t i = 0; to && i < G * C * K * R * S; i++) {
        int64_t s = i % S, r = i / S % R, k = i / (S * R) % K, c = i / (S * R * K) % C;
        int64_t g = i / (S * R * K * C);
        to[(((g * K + k) * C + c) * R + R - 1 - r) * S + S - 1 - s] = from[i];
    }
    return to;
}

static thaw_status lower_conv_transpose(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    const thaw_value *w = thaw__lower_value(l, node, 1), *b = thaw__lower_value(l, node, 2);
    int64_t G = thaw_node_int(node, "group", 1);
    axis h, v;
    if (!read_axis(l->graph, node, 0, &h) || !read_axis(l->graph, node, 1, &v))
        return thaw__op_refuse(node, err, "has another window than at first");
    thaw_port *x = thaw__lower_port(l, node, 0);
    int64_t H = h.out + reach_of(&h) - 1, W = v.out + reach_of(&v) - 1;
    x = thaw__lower_resampled(l, node, x, H, W, spread_axis(l, &h), spread_axis(l, &v));
    thaw_step *step = x ? thaw__lower_step(l, THAW_STEP_conv, node->name, node->out[0], 1) : NULL;
    float *turned = turn_round(l, w, G);
    if (!step || !turned) return thaw__lower_no_memory(node, err);
    thaw__lower_read(l, step, 0, x);
    step->w = turned;
    step->b = b ? b->data : NULL;
    step->conv = (thaw_conv_shape){.N = l->batch,
                                   .H = H,
                                   .W = W,
                                   .C = x->C,
                                   .P = h.out,
                                   .Q = v.out,
                                   .K = w->dims[1] * G,
                                   .G = G,
                                   .window = {.R = h.R,
                                              .S = v.R,
                                              .stride_h = 1,
                                              .stride_w = 1,
                                              .dilation_h = h.dilation,
                                              .dilation_w = v.dilation}};
    if (l->training && b)
        thaw__lower_origins(l, step)->b =
            (thaw_origin){true, .node = (int)(node - l->graph->nodes), .input = 2};
    return THAW_OK;
}

/* Its filter stays as it is in training. */
const thaw_op thaw_op_ConvTranspose = {.type = "ConvTranspose",
                                       .infer = infer_conv_transpose,
                                       .lower = lower_conv_transpose,
                                       .params = 0x4,
                                       .flop = flop_conv_transpose};
