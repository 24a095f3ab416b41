/* What takes each place of its output from some of its input's: borders, resizing, one for all. Zeros
 * around a picture are a step of their own, which convolutions take over.
 */
#include "resample.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph/fold.h"

/* ---- taps ----------------------------------------------------------------------------------- */

bool thaw__op_take_taps(thaw_lowering *l, int64_t n, int64_t out, int32_t **from, float **weight,
                        thaw_taps *taps) {
    *from = thaw_arena_array(l->arena, (size_t)(n * out), sizeof **from);
    *weight = thaw_arena_array(l->arena, (size_t)(n * out), sizeof **weight);
    *taps = (thaw_taps){n, *from, *weight};
    return *from && *weight;
}

thaw_taps thaw__op_take_part(thaw_lowering *l, int64_t first, int64_t step, int64_t out) {
    int32_t *from;
    float *weight;
    thaw_taps taps;
    if (!thaw__op_take_taps(l, 1, out, &from, &weight, &taps)) return (thaw_taps){0};
    for (int64_t i = 0; i < out; i++) {
        from[i] = (int32_t)(first + i * step);
        weight[i] = 1;
    }
    return taps;
}

/* ---- borders -------------------------------------------------------------------------------- */

typedef enum border { ZEROS, NUMBER, MIRROR, LAST, LOWEST } border;

/* By axis of the input. */
typedef struct pads {
    int64_t before[THAW_MAX_RANK], after[THAW_MAX_RANK];
    border border;
    float number;
} pads;

static const char *text_of(const thaw_node *node, const char *name, const char *absent) {
    const thaw_attr *attr = thaw_node_attr(node, name);
    return attr && attr->s ? attr->s : absent;
}

/* False: a border that is not known, or not a finite number. */
static bool read_border(const thaw_graph *graph, const thaw_node *node, pads *p) {
    const char *mode = text_of(node, "mode", "constant");
    const thaw_value *fill = thaw_node_in(graph, node, 2);
    p->border = strcmp(mode, "reflect") == 0 ? MIRROR : strcmp(mode, "edge") == 0 ? LAST : NUMBER;
    if (p->border != NUMBER) return true;
    if (strcmp(mode, "constant") != 0) return false;
    p->number = thaw_node_float(node, "value", 0);
    if (fill) {
        if (!fill->data || fill->dtype != THAW_F32 || thaw_value_elements(fill) != 1) return false;
        p->number = *(const float *)fill->data;
    }
    if (p->number == 0) p->border = ZEROS;
    if (p->number <= -FLT_MAX) p->border = LOWEST;
    return p->number < INFINITY;
}

/* Whether pools of the largest alone read it: then the border is one of theirs. */
static bool feeds_max_pools(const thaw_graph *graph, const thaw_node *node) {
    bool any = false;
    for (int i = 0; i < graph->n_nodes; i++) {
        const thaw_node *reader = &graph->nodes[i];
        for (int k = 0; k < reader->n_in; k++) {
            if (reader->in[k] != node->out[0]) continue;
            if (k > 0 || strcmp(reader->type, "MaxPool") != 0) return false;
            any = true;
        }
    }
    return any && graph->output != node->out[0];
}

/* Only around height and width of a map, and to the outside. */
static bool is_pools_border(const thaw_value *x, const pads *p) {
    bool map = x->rank == 4 && !x->nhwc;
    for (int i = 1; map && i < 4; i++)
        map = p->before[i] >= 0 && p->after[i] >= 0 && (i > 1 || !(p->before[i] || p->after[i]));
    return map;
}

/* Two for each axis, or, since opset 18, for each of some. */
static thaw_status read_sizes(const thaw_graph *graph, const thaw_node *node, pads *p,
                              thaw_error *err) {
    const thaw_value *x = thaw_node_in(graph, node, 0), *axes = thaw_node_in(graph, node, 3);
    int64_t n, n_axes = thaw__op_rank(x);
    const int64_t *list = thaw__fold_ints(graph, node, "pads", 1, &n);
    if (thaw__op_is_ints(axes)) n_axes = thaw_value_elements(axes);
    if (!list || (axes && !thaw__op_is_ints(axes)) || n_axes > thaw__op_rank(x) || n != 2 * n_axes)
        return thaw__op_refuse(node, err, "its pads must be constants, two for each axis");
    for (int64_t i = 0; i < n_axes; i++) {
        int axis = thaw__op_axis(x, axes ? ((const int64_t *)axes->data)[i] : i);
        if (axis < 0) return thaw__op_misfit(graph, node, err);
        p->before[axis] = list[i];
        p->after[axis] = list[i + n_axes];
    }
    return THAW_OK;
}

static bool is_padded(const pads *p, int axis) {
    return p->before[axis] || p->after[axis];
}

/* Whether height and width alone are padded: then it is a map, however it lies. */
static bool pads_pixels(const thaw_value *x, const pads *p) {
    for (int i = 1; i < x->rank; i++)
        if (is_padded(p, i) && thaw_value_place(x, i) == THAW_IN_C) return false;
    return x->rank == 4;
}

static thaw_status read_pads(const thaw_graph *graph, const thaw_node *node, pads *p,
                             thaw_error *err) {
    const thaw_value *x = thaw_node_in(graph, node, 0);
    THAW_TRY(read_sizes(graph, node, p, err));
    if (is_padded(p, 0) || (x->nhwc && !pads_pixels(x, p)))
        return thaw__op_refuse(node, err, "the batch cannot be padded, nor channels that are last");
    bool any = false, leaves = true;
    for (int i = 1; i < x->rank; i++)
        any |= is_padded(p, i);
    bool known = read_border(graph, node, p);
    if (p->border == LOWEST) known = is_pools_border(x, p) && feeds_max_pools(graph, node);
    if (!known && any)
        return thaw__op_refuse(node, err,
                               "the border must be a finite number, or of mode reflect or edge, or "
                               "-inf around what MaxPool alone reads");
    for (int i = 1; i < x->rank; i++) {
        int64_t n = x->dims[i], before = p->before[i], after = p->after[i];
        bool sane = llabs(before) <= INT32_MAX && llabs(after) <= INT32_MAX;
        leaves &= sane && n + before > 0 && n + after > 0 && n + before + after > 0;
        /* A mirror shows no more than there is. */
        leaves &= p->border != MIRROR || (before < n && after < n);
    }
    return leaves ? THAW_OK
                  : thaw__op_refuse(node, err,
                                    "its pads leave nothing of the picture, or mirror more of it "
                                    "than there is");
}

static thaw_status infer_pad(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = thaw__op_begin_pixelwise(graph, node, err), *x = thaw_node_in(graph, node, 0);
    if (!y) return THAW_ERR_SHAPE;
    pads p = {0};
    THAW_TRY(read_pads(graph, node, &p, err));
    thaw__op_set_shape(y, x->dtype, x->rank, x->dims);
    node->alias = true;
    for (int i = 1; i < x->rank; i++) {
        y->dims[i] += p.before[i] + p.after[i];
        node->alias &= !is_padded(&p, i) || p.border == LOWEST;
    }
    return THAW_OK;
}

bool thaw__op_lowest_border(const thaw_graph *graph, const thaw_value *x, thaw_window *border) {
    const thaw_node *node = x->producer >= 0 ? &graph->nodes[x->producer] : NULL;
    thaw_error err;
    pads p = {0};
    if (!node || strcmp(node->type, "Pad") != 0 || read_pads(graph, node, &p, &err) != THAW_OK ||
        p.border != LOWEST)
        return false;
    *border = (thaw_window){.pad_top = p.before[2],
                            .pad_left = p.before[3],
                            .pad_bottom = p.after[2],
                            .pad_right = p.after[3]};
    return true;
}

/* Each place of a padded axis takes one of the `in` that there are, or none. */
static thaw_taps pad_axis(thaw_lowering *l, border border, int64_t in, int64_t before,
                          int64_t after) {
    int32_t *from;
    float *weight;
    thaw_taps taps;
    int64_t out = in + before + after, last = in - 1;
    if (!thaw__op_take_taps(l, 1, out, &from, &weight, &taps)) return (thaw_taps){0};
    for (int64_t i = 0; i < out; i++) {
        int64_t at = i - before;
        bool outside = at < 0 || at > last;
        if (outside && border == MIRROR) at = at < 0 ? -at : 2 * last - at;
        from[i] = (int32_t)(at < 0 ? 0 : at > last ? last : at);
        weight[i] = outside && (border == ZEROS || border == NUMBER) ? 0 : 1;
    }
    return taps;
}

/* A border of zeros around height and width, which convolutions take over. */
static thaw_status pad_with_zeros(thaw_lowering *l, const thaw_node *node, const pads *p, int H,
                                  thaw_error *err) {
    thaw_step *step = thaw__lower_step_for(l, THAW_STEP_pad, node, 1);
    if (!step) return thaw__lower_no_memory(node, err);
    step->conv.window = (thaw_window){.pad_top = p->before[H],
                                      .pad_left = p->before[H + 1],
                                      .pad_bottom = p->after[H],
                                      .pad_right = p->after[H + 1]};
    return THAW_OK;
}

static thaw_port *pad_pixels(thaw_lowering *l, const thaw_node *node, thaw_port *x, const pads *p,
                             int H) {
    int64_t h = p->before[H] + p->after[H], w = p->before[H + 1] + p->after[H + 1];
    return thaw__lower_resampled(l, node, x, x->H + h, x->W + w,
                                 pad_axis(l, p->border, x->H, p->before[H], p->after[H]),
                                 pad_axis(l, p->border, x->W, p->before[H + 1], p->after[H + 1]));
}

/* Any axes, one after the other, each as the height of a map. */
static thaw_port *pad_axes(thaw_lowering *l, const thaw_node *node, thaw_port *x, const pads *p) {
    thaw_value v = *thaw__lower_value(l, node, 0);
    for (int i = 1; x && i < v.rank; i++) {
        if (!is_padded(p, i)) continue;
        int64_t size[3] = {1, 1, 1};
        for (int k = 1; k < v.rank; k++)
            size[k < i ? 0 : k == i ? 1 : 2] *= v.dims[k];
        v.dims[i] += p->before[i] + p->after[i];
        x = thaw__lower_reshaped(l, node, x, size[0], size[1], size[2]);
        x = thaw__lower_resampled(l, node, x, v.dims[i], size[2],
                                  pad_axis(l, p->border, size[1], p->before[i], p->after[i]),
                                  thaw__op_take_part(l, 0, 1, size[2]));
    }
    return x;
}

/* A border of some number is one of zeros around what is less by that. */
static thaw_status lower_pad(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    pads p = {0};
    THAW_TRY(read_pads(l->graph, node, &p, err));
    const thaw_value *v = thaw__lower_value(l, node, 0);
    int H = v->nhwc ? 1 : 2;
    bool map = pads_pixels(v, &p), grows = map;
    for (int i = 1; i < v->rank; i++)
        grows &= p.before[i] >= 0 && p.after[i] >= 0;
    if (p.border == ZEROS && grows) return pad_with_zeros(l, node, &p, H, err);
    thaw_port *x = thaw__lower_line(l, node, thaw__lower_port(l, node, 0), 1, -p.number);
    if (!x) return thaw__lower_no_memory(node, err);
    x = map ? pad_pixels(l, node, x, &p, H) : pad_axes(l, node, x, &p);
    return thaw__lower_finish(l, node, thaw__lower_line(l, node, x, 1, p.number), err);
}

const thaw_op thaw_op_Pad = {.type = "Pad", .infer = infer_pad, .lower = lower_pad};

/* ---- resizing ------------------------------------------------------------------------------- */

/* Upsample, and the Resize of opset 10. */
static bool is_early(const thaw_graph *graph, const thaw_node *node) {
    return strcmp(node->type, "Upsample") == 0 || graph->opset < 11;
}

/* The scales, an attribute or input 1 or 2, or the sizes, input 3: n of them. False: none are there, or
 * they are not constant. */
static bool find_factors(const thaw_graph *graph, const thaw_node *node, const float **scales,
                         const int64_t **sizes, int64_t *n) {
    bool early = is_early(graph, node);
    const thaw_attr *attr = thaw_node_attr(node, "scales");
    const thaw_value *in = thaw_node_in(graph, node, early ? 1 : 2);
    const thaw_value *given = early ? NULL : thaw_node_in(graph, node, 3);
    *scales = NULL;
    *sizes = NULL;
    if (in && (!in->data || in->dtype != THAW_F32)) return false;
    *n = attr ? (int64_t)attr->n : in ? thaw_value_elements(in) : 0;
    if (*n > 0) *scales = attr ? attr->floats : in->data;
    if (*scales) return true;
    if (!thaw__op_is_ints(given)) return false;
    *n = thaw_value_elements(given);
    *sizes = given->data;
    return true;
}

/* The size along each axis, and how many times that of the input it is. */
static bool read_factors(const thaw_graph *graph, const thaw_node *node, double factor[4],
                         int64_t size[4]) {
    const thaw_value *x = thaw_node_in(graph, node, 0);
    const thaw_attr *axes = thaw_node_attr(node, "axes");
    const float *scales;
    const int64_t *sizes;
    int64_t n;
    if (!find_factors(graph, node, &scales, &sizes, &n) || n != (axes ? (int64_t)axes->n : 4))
        return false;
    for (int i = 0; i < 4; i++) {
        factor[i] = 1;
        size[i] = x->dims[i];
    }
    for (int64_t i = 0; i < n; i++) {
        int axis = axes && axes->ints ? thaw__fold_axis(axes->ints[i], 4) : (int)i;
        if (axis < 0) return false;
        if (axis == 0) {
            bool same = sizes ? sizes[i] == x->dims[0] ||
                                    (graph->fixed_batch && sizes[i] == graph->fixed_batch)
                              : scales[i] == 1;
            if (!same) return false;
            continue;
        }
        factor[axis] = scales ? (double)scales[i] : (double)sizes[i] / (double)x->dims[axis];
        if (!(factor[axis] > 0 && factor[axis] < 1 << 20)) return false;
        size[axis] = scales ? (int64_t)floor((double)x->dims[axis] * factor[axis]) : sizes[i];
        if (size[axis] < 1 || size[axis] > 1 << 20) return false;
    }
    return true;
}

/* What the attributes say. */
typedef struct resizing {
    const char *place; /* coordinate_transformation_mode */
    const char *round; /* nearest_mode */
    int taps;          /* 1: nearest, 2: linear, 4: cubic */
    double cubic;
    bool exclude; /* What lies outside has no weight. */
} resizing;

static bool is_one_of(const char *word, const char *const *words) {
    for (; *words; words++)
        if (strcmp(word, *words) == 0) return true;
    return false;
}

static bool read_resizing(const thaw_graph *graph, const thaw_node *node, resizing *r) {
    static const char *const places[] = {
        "half_pixel", "pytorch_half_pixel",   "align_corners",
        "asymmetric", "tf_half_pixel_for_nn", "half_pixel_symmetric",
        NULL};
    static const char *const rounds[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil",
                                         NULL};
    const char *mode = text_of(node, "mode", "nearest");
    bool early = is_early(graph, node);
    r->place = text_of(node, "coordinate_transformation_mode", early ? "asymmetric" : places[0]);
    r->round = text_of(node, "nearest_mode", early ? "floor" : rounds[0]);
    r->taps = strcmp(mode, "nearest") == 0                                   ? 1
              : strcmp(mode, "linear") == 0 || strcmp(mode, "bilinear") == 0 ? 2
              : strcmp(mode, "cubic") == 0                                   ? 4
                                                                             : 0;
    r->cubic = (double)thaw_node_float(node, "cubic_coeff_a", -0.75f);
    r->exclude = thaw_node_int(node, "exclude_outside", 0) != 0;
    return r->taps && is_one_of(r->place, places) && is_one_of(r->round, rounds) &&
           !thaw_node_int(node, "antialias", 0) &&
           strcmp(text_of(node, "keep_aspect_ratio_policy", "stretch"), "stretch") == 0;
}

/* Where place i of the result lies in the input; in float, as ONNX Runtime has it: which of two
 * neighbours is the nearest hangs on the last bit. */
static float place_in(const resizing *r, int64_t i, float factor, int64_t in, int64_t out) {
    float x = (float)i, length = (float)in, whole = (float)out / (factor * length);
    if (strcmp(r->place, "asymmetric") == 0) return x / factor;
    if (strcmp(r->place, "align_corners") == 0)
        return out == 1 ? 0 : x * (length - 1) / ((float)out - 1);
    if (strcmp(r->place, "tf_half_pixel_for_nn") == 0) return (x + 0.5f) / factor;
    if (strcmp(r->place, "pytorch_half_pixel") == 0 && out == 1) return 0;
    float offset = strcmp(r->place, "half_pixel_symmetric") == 0 ? length / 2 * (1 - whole) : 0;
    return offset + (x + 0.5f) / factor - 0.5f;
}

static double round_place(const resizing *r, double x) {
    if (strcmp(r->round, "floor") == 0) return floor(x);
    if (strcmp(r->round, "ceil") == 0) return ceil(x);
    return strcmp(r->round, "round_prefer_ceil") == 0 ? floor(x + 0.5) : ceil(x - 0.5);
}

/* Keys' kernel at 1 + t, t, 1 - t and 2 - t. */
static void cubic_weights(double a, double t, double w[4]) {
    double u = 1 - t;
    w[0] = ((a * (t + 1) - 5 * a) * (t + 1) + 8 * a) * (t + 1) - 4 * a;
    w[1] = ((a + 2) * t - (a + 3)) * t * t + 1;
    w[2] = ((a + 2) * u - (a + 3)) * u * u + 1;
    w[3] = ((a * (u + 1) - 5 * a) * (u + 1) + 8 * a) * (u + 1) - 4 * a;
}

static void resize_place(const resizing *r, double x, int64_t in, int32_t *from, float *weight) {
    double w[4] = {1, 0, 0, 0}, first = r->taps == 1 ? round_place(r, x) : floor(x), sum = 0;
    double t = x - first, last = (double)(in - 1);
    if (r->taps == 2) {
        w[0] = 1 - t;
        w[1] = t;
    }
    if (r->taps == 4) {
        cubic_weights(r->cubic, t, w);
        first--;
    }
    for (int k = 0; k < r->taps; k++) {
        double at = first + k;
        if (r->exclude && r->taps == 4 && (at < 0 || at > last)) w[k] = 0;
        sum += w[k];
        from[k] = (int32_t)(at < 0 ? 0 : at > last ? last : at);
    }
    for (int k = 0; k < r->taps; k++)
        weight[k] = (float)(w[k] / sum);
}

static thaw_taps resize_axis(thaw_lowering *l, const resizing *r, double factor, int64_t in,
                             int64_t out) {
    int32_t *from;
    float *weight;
    thaw_taps taps;
    if (in == out && factor == 1) return thaw__op_take_part(l, 0, 1, out);
    if (!thaw__op_take_taps(l, r->taps, out, &from, &weight, &taps)) return (thaw_taps){0};
    for (int64_t i = 0; i < out; i++)
        resize_place(r, (double)place_in(r, i, (float)factor, in, out), in, from + i * r->taps,
                     weight + i * r->taps);
    return taps;
}

static thaw_status infer_resize(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = thaw__op_begin_pixelwise(graph, node, err), *x = thaw_node_in(graph, node, 0);
    if (!y) return THAW_ERR_SHAPE;
    if (x->rank != 4) return thaw__op_misfit(graph, node, err);
    double factor[4];
    int64_t size[4];
    resizing r;
    int C = x->nhwc ? 3 : 1;
    if (!read_factors(graph, node, factor, size) || size[C] != x->dims[C])
        return thaw__op_refuse(
            node, err, "its scales or sizes are not constants that change height and width alone");
    if (!read_resizing(graph, node, &r))
        return thaw__op_refuse(node, err,
                               "its mode, its coordinates or its rounding are not supported");
    thaw__op_set_shape(y, THAW_F32, 4, size);
    node->alias = memcmp(size, x->dims, sizeof size) == 0;
    return THAW_OK;
}

static thaw_status lower_resize(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    double factor[4];
    int64_t size[4];
    resizing r;
    if (!read_factors(l->graph, node, factor, size) || !read_resizing(l->graph, node, &r))
        return thaw__op_refuse(node, err, "resizes otherwise than at first");
    thaw_port *x = thaw__lower_port(l, node, 0);
    int H = thaw__lower_value(l, node, 0)->nhwc ? 1 : 2;
    x = thaw__lower_resampled(l, node, x, size[H], size[H + 1],
                              resize_axis(l, &r, factor[H], x->H, size[H]),
                              resize_axis(l, &r, factor[H + 1], x->W, size[H + 1]));
    return thaw__lower_finish(l, node, x, err);
}

const thaw_op thaw_op_Resize = {.type = "Resize", .infer = infer_resize, .lower = lower_resize};
const thaw_op thaw_op_Upsample = {.type = "Upsample", .infer = infer_resize, .lower = lower_resize};

/* ---- one for all ---------------------------------------------------------------------------- */

static thaw_status infer_expand(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = thaw__op_begin_pixelwise(graph, node, err), *x = thaw_node_in(graph, node, 0);
    if (!y) return THAW_ERR_SHAPE;
    int64_t dims[THAW_MAX_RANK], n, want[THAW_MAX_RANK];
    const int64_t *given = thaw__fold_ints(graph, node, "shape", 1, &n);
    if (!given || n > THAW_MAX_RANK) return thaw__op_refuse(node, err, "the shape is not constant");
    int file_rank = thaw__op_rank(x),
        own = 0; /* In x's dimensions, from the first that is given on. */
    for (int64_t i = 0; i < n && n <= file_rank; i++) {
        int axis = thaw__op_axis(x, i - n);
        bool fixed = graph->fixed_batch && given[i] > 0 && given[i] % graph->fixed_batch == 0;
        int64_t times = thaw_batch_times(given[i]);
        if (axis == 0 && !times && fixed) times = given[i] / graph->fixed_batch;
        want[own++] = axis || !times ? given[i] : x->merged ? times : thaw_batches(times);
    }
    int rank = thaw__fold_broadcast(x->rank, x->dims, own, want, dims);
    if (n > file_rank || rank != x->rank) return thaw__op_misfit(graph, node, err);
    thaw__op_set_shape(y, THAW_F32, rank, dims);
    node->alias = memcmp(dims, x->dims, (size_t)rank * sizeof *dims) == 0;
    int64_t from[3], to[3];
    thaw_value_picture(x, from);
    thaw_value_picture(y, to);
    bool whole = from[THAW_IN_C] == to[THAW_IN_C] || from[THAW_IN_C] == 1;
    return whole || to[THAW_IN_C] <= THAW_MOST_WIDENED
               ? THAW_OK
               : thaw__op_refuse(node, err, "spreads a part of more than 4096 channels");
}

/* Sums and products spread a smaller operand themselves. */
static bool melt_expand(thaw_lowering *l, const thaw_node *node) {
    static const char *const spreading[] = {"Add", "Sub", "Mul", "Div", NULL};
    const thaw_value *y = thaw_node_out(l->graph, node, 0);
    int x = thaw__lower_root(l, node->in[0]), out = y->root, reader = l->reader[out];
    if (l->uses[out] != 1 || l->uses[x] != 1 || reader < 0) return false;
    const thaw_node *next = &l->graph->nodes[reader];
    if (!is_one_of(next->type, spreading)) return false;
    int other = thaw__lower_root(l, next->in[0]) == out ? 1 : 0;
    int64_t from[3], to[3]; /* Of channels all, or one. */
    thaw_value_picture(thaw__lower_value(l, node, 0), from);
    thaw_value_picture(y, to);
    if (from[THAW_IN_C] != 1 && from[THAW_IN_C] != to[THAW_IN_C]) return false;
    const thaw_value *large = thaw__lower_value(l, next, other);
    if (!large || large->data || !thaw_value_lies_as(large, y)) return false;
    thaw__lower_melt(l, node, 0);
    return true;
}

/* The input with its axes at the output's places. */
static thaw_port *placed(thaw_lowering *l, const thaw_node *node, const thaw_port *want) {
    const thaw_value *v = thaw__lower_value(l, node, 0), *y = thaw_node_out(l->graph, node, 0);
    thaw_port *x = thaw__lower_port(l, node, 0);
    int64_t size[3];
    thaw_value_picture_beside(v, y, size);
    bool parts = size[THAW_IN_C] != 1 && size[THAW_IN_C] != want->C; /* See widened. */
    return parts ? x
                 : thaw__lower_reshaped(l, node, x, size[THAW_IN_C], size[THAW_IN_H],
                                        size[THAW_IN_W]);
}

static thaw_status lower_expand(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    if (melt_expand(l, node)) return THAW_OK;
    thaw_port want = thaw__lower_shape(l, thaw_node_out(l->graph, node, 0));
    thaw_port *x = placed(l, node, &want);
    if (!x) return thaw__lower_no_memory(node, err);
    x = thaw__lower_spread(l, node, x, want.H, want.W);
    if (x && x->C != want.C)
        x = thaw__lower_widened(l, node, x, thaw__lower_value(l, node, 0),
                                thaw_node_out(l->graph, node, 0));
    return thaw__lower_finish(l, node, x, err);
}

const thaw_op thaw_op_Expand = {.type = "Expand", .infer = infer_expand, .lower = lower_expand};

/* ---- sums from one end on -------------------------------------------------------------------- */

static int sum_axis(const thaw_graph *graph, const thaw_node *node) {
    const thaw_value *axis = thaw_node_in(graph, node, 1);
    if (!thaw__op_is_ints(axis) || thaw_value_elements(axis) != 1) return -1;
    return thaw__op_axis(thaw_node_in(graph, node, 0), *(const int64_t *)axis->data);
}

static thaw_status infer_cumsum(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    enum { LONGEST = 4096 }; /* As many taps at each place. */
    THAW_TRY(thaw__op_infer_unary(graph, node, err));
    const thaw_value *x = thaw_node_in(graph, node, 0);
    int axis = sum_axis(graph, node);
    if (axis < 1 || x->nhwc || x->dims[axis] > LONGEST)
        return thaw__op_refuse(node, err,
                               "its axis is the batch, not constant, longer than 4096, or of a map "
                               "N,H,W,C");
    return THAW_OK;
}

/* Each place is the sum of all before it, itself or not, from either end. */
static thaw_status lower_cumsum(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    const thaw_value *x = thaw__lower_value(l, node, 0);
    int axis = sum_axis(l->graph, node);
    bool reverse = thaw_node_int(node, "reverse", 0) != 0;
    bool exclusive = thaw_node_int(node, "exclusive", 0) != 0;
    int64_t n = x->dims[axis], before = 1, behind = 1;
    for (int i = 1; i < x->rank; i++)
        *(i < axis ? &before : &behind) *= i == axis ? 1 : x->dims[i];
    int32_t *from;
    float *weight;
    thaw_taps taps;
    if (!thaw__op_take_taps(l, n, n, &from, &weight, &taps))
        return thaw__lower_no_memory(node, err);
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < n; k++) {
            from[i * n + k] = (int32_t)k;
            weight[i * n + k] = (reverse ? k > i : k < i) || (k == i && !exclusive) ? 1 : 0;
        }
    thaw_port *y = thaw__lower_reshaped(l, node, thaw__lower_port(l, node, 0), before, n, behind);
    y = thaw__lower_resampled(l, node, y, n, behind, taps, thaw__op_take_part(l, 0, 1, behind));
    return thaw__lower_finish(l, node, y, err);
}

const thaw_op thaw_op_CumSum = {.type = "CumSum", .infer = infer_cumsum, .lower = lower_cumsum};
