/* Normalisations. */
#include <math.h>

#include "graph/fold.h"
#include "graph/lowering.h"
#include "rules.h"

/* Vectors, several of each picture. */
static bool is_of_rows(const thaw_value *x) {
    return x->merged == 1 && x->rank == 3;
}

static thaw_status infer_batch_norm(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    THAW_TRY(thaw__op_infer_unary(graph, node, err));
    const thaw_value *x = thaw_node_in(graph, node, 0);
    int64_t C = x->dims[is_of_rows(x) ? 2 : 1];
    if (!is_of_rows(x) && (x->merged || (x->rank != 2 && x->rank != 4)))
        return thaw__op_misfit(graph, node, err);
    if (thaw_node_int(node, "spatial", 1) != 1) return thaw__op_refuse(node, err, "spatial = 0");
    if (x->nhwc) return thaw__op_refuse(node, err, "its input is N,H,W,C");
    for (int i = 1; i <= 4; i++)
        if (!thaw_value_floats(graph, node, i, C, err)) return THAW_ERR_SHAPE;
    return THAW_OK;
}

/* A part of the layer before it, or, alone, a scale and a shift, or a step. */
static thaw_status lower_trained(thaw_lowering *l, const thaw_node *node, const float *const p[5],
                                 thaw_error *err) {
    int index = (int)(node - l->graph->nodes);
    thaw_step *layer = thaw__lower_producer(l, node, 0);
    bool part = layer && thaw__lower_is_plain(layer) && thaw__lower_origins(l, layer)->norm < 0 &&
                (layer->kind == THAW_STEP_conv || layer->kind == THAW_STEP_dense);
    bool batch = index >= l->batch_norms_from;
    if (part && !batch) {
        thaw__lower_origins(l, layer)->norm = index;
        thaw__lower_melt(l, node, 0);
        return THAW_OK;
    }
    thaw_step *step =
        thaw__lower_step_for(l, batch ? THAW_STEP_batch_norm : THAW_STEP_affine, node, 1);
    if (!step) return thaw__lower_no_memory(node, err);
    step->scale = p[1];
    step->shift = p[2];
    step->mean = p[3];
    step->var = p[4];
    step->epsilon = thaw_node_float(node, "epsilon", 1e-5f);
    *thaw__lower_origins(l, step) = (thaw_step_origins){.scale = {true, .node = index, .input = 1},
                                                        .shift = {true, .node = index, .input = 2},
                                                        .norm = index};
    return THAW_OK;
}

/* Of rows: turned, so that channels are channels, and back. Its numbers are not trained. */
static thaw_status lower_rows(thaw_lowering *l, const thaw_node *node, int64_t C,
                              const double *scale, const double *shift, thaw_error *err) {
    const thaw_value *v = thaw__lower_value(l, node, 0);
    int64_t rows = v->dims[1];
    float *s = thaw__lower_floats(l->arena, NULL, C), *t = thaw__lower_floats(l->arena, NULL, C);
    for (int64_t c = 0; s && t && c < C; c++) {
        s[c] = (float)scale[c];
        t[c] = (float)shift[c];
    }
    thaw_port *x = thaw__lower_port(l, node, 0);
    x = thaw__lower_transposed(l, node, x, &(thaw_permutation){2, {rows, C}, {1, 0}}, C, 1, rows);
    x = thaw__lower_scaled(l, node, x, s, t);
    thaw_port want = thaw__lower_shape(l, v);
    x = thaw__lower_transposed(l, node, x, &(thaw_permutation){2, {C, rows}, {1, 0}}, want.C,
                               want.H, want.W);
    return thaw__lower_finish(l, node, x, err);
}

static thaw_status lower_batch_norm(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    const thaw_value *v = thaw__lower_value(l, node, 0);
    int64_t C = v->dims[is_of_rows(v) ? 2 : 1];
    const float *p[5];
    for (int i = 1; i <= 4; i++) {
        p[i] = thaw_value_floats(l->graph, node, i, C, err);
        if (!p[i]) return THAW_ERR_SHAPE;
    }
    if (l->training && !is_of_rows(v)) return lower_trained(l, node, p, err);
    double epsilon = thaw_node_float(node, "epsilon", 1e-5f);
    double *scale = thaw_arena_array(l->arena, (size_t)C, sizeof *scale);
    double *shift = thaw_arena_array(l->arena, (size_t)C, sizeof *shift);
    if (!scale || !shift) return thaw__lower_no_memory(node, err);
    for (int64_t c = 0; c < C; c++) {
        scale[c] = p[1][c] / sqrt(p[4][c] + epsilon);
        shift[c] = p[2][c] - p[3][c] * scale[c];
    }
    if (is_of_rows(v)) return lower_rows(l, node, C, scale, shift, err);
    return thaw__lower_affine(l, node, 0, scale, shift, err);
}

const thaw_op thaw_op_BatchNormalization = {.type = "BatchNormalization",
                                            .infer = infer_batch_norm,
                                            .lower = lower_batch_norm,
                                            .params = 0x6};

/* Training: what the step's scale and shift are. */
static void note_scale(thaw_lowering *l, const thaw_node *node, const thaw_step *step) {
    if (!l->training) return;
    int index = (int)(node - l->graph->nodes);
    thaw_step_origins *origins = thaw__lower_origins(l, step);
    if (thaw__lower_value(l, node, 1)) origins->scale = (thaw_origin){true, false, index, 1};
    if (thaw__lower_value(l, node, 2)) origins->shift = (thaw_origin){true, false, index, 2};
}

/* ---- groups of channels ---------------------------------------------------------------------- */

/* How many groups, and how many scales there are: of channels, or, in opset 18, of groups. */
static int64_t groups_of(const thaw_graph *graph, const thaw_node *node, int64_t *scales) {
    int64_t C = thaw_node_in(graph, node, 0)->dims[1];
    bool instances = node->op == &thaw_op_InstanceNormalization;
    int64_t G = instances ? C : thaw_node_int(node, "num_groups", 0);
    *scales = instances || graph->opset > 20 ? C : G;
    return G > 0 && C % G == 0 ? G : 0;
}

static thaw_status infer_group_norm(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    THAW_TRY(thaw__op_infer_unary(graph, node, err));
    const thaw_value *x = thaw_node_in(graph, node, 0);
    int64_t n;
    if (x->nhwc || x->merged || !groups_of(graph, node, &n))
        return thaw__op_misfit(graph, node, err);
    for (int i = 1; i <= 2; i++)
        if (!thaw_value_floats(graph, node, i, n, err)) return THAW_ERR_SHAPE;
    return THAW_OK;
}

/* The map whose groups of channels a Reshape has made the channels of one with fewer, if another one makes
 * that map of what comes out: so exporters spell group normalisation. NULL: it is not that. */
static const thaw_node *ends_grouping(const thaw_lowering *l, const thaw_node *node,
                                      thaw_port **map) {
    int x = thaw__lower_root(l, node->in[0]), out = thaw__lower_root(l, node->out[0]);
    const thaw_step *made_by = l->step[x] >= 0 ? &l->program.steps[l->step[x]] : NULL;
    int reader = l->reader[out];
    if (!made_by || made_by->kind != THAW_STEP_reshape || !made_by->out || l->uses[x] != 1 ||
        l->uses[out] != 1 || reader < 0)
        return NULL;
    const thaw_node *back = &l->graph->nodes[reader];
    *map = made_by->in[0];
    if (back->op != &thaw_op_Reshape) return NULL;
    thaw_port want = thaw__lower_shape(l, thaw_node_out(l->graph, back, 0));
    bool same = want.C == (*map)->C && want.H == (*map)->H && want.W == (*map)->W;
    int64_t G = thaw__lower_value(l, node, 0)->dims[1];
    return same && want.C % G == 0 ? back : NULL;
}

/* G numbers, each for all channels of its group. */
static float *spread_groups(thaw_lowering *l, const float *from, int64_t G, int64_t C) {
    float *to = thaw__lower_floats(l->arena, NULL, C);
    for (int64_t c = 0; to && c < C; c++)
        to[c] = from[c / (C / G)];
    return to;
}

static thaw_status lower_group_norm(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    int64_t scales, G = groups_of(l->graph, node, &scales);
    const thaw_value *v = thaw__lower_value(l, node, 0);
    thaw_port *x = thaw__lower_port(l, node, 0), *map = NULL;
    const thaw_node *back = ends_grouping(l, node, &map), *last = back ? back : node;
    if (back) {
        thaw__lower_drop(&l->program.steps[l->step[thaw__lower_root(l, node->in[0])]]);
        x = map;
    } else if (v->rank != 2) {
        x = thaw__lower_reshaped(l, node, x, v->dims[1], 1, thaw_value_elements(v) / v->dims[1]);
    }
    thaw_step *step = x ? thaw__lower_step(l, THAW_STEP_group_norm, node->name, -1, 1) : NULL;
    if (!step) return thaw__lower_no_memory(node, err);
    thaw__lower_read(l, step, 0, x);
    *step->out = (thaw_port){.N = l->batch, .C = x->C, .H = x->H, .W = x->W};
    step->groups = G;
    step->epsilon = thaw_node_float(node, "epsilon", 1e-5f);
    step->scale = spread_groups(l, thaw__lower_value(l, node, 1)->data, scales, x->C);
    step->shift = spread_groups(l, thaw__lower_value(l, node, 2)->data, scales, x->C);
    if (!step->scale || !step->shift) return thaw__lower_no_memory(node, err);
    if (scales == x->C) note_scale(l, node, step);
    if (back) {
        l->marks[back - l->graph->nodes] = 0;
        thaw__lower_done(l, back);
    }
    return thaw__lower_finish(l, last, step->out, err);
}

const thaw_op thaw_op_InstanceNormalization = {.type = "InstanceNormalization",
                                               .infer = infer_group_norm,
                                               .lower = lower_group_norm,
                                               .params = 0x6,
                                               .flop = thaw__op_flop_input};
const thaw_op thaw_op_GroupNormalization = {.type = "GroupNormalization",
                                            .infer = infer_group_norm,
                                            .lower = lower_group_norm,
                                            .params = 0x6,
                                            .flop = thaw__op_flop_input};

/* ---- over neighbouring channels --------------------------------------------------------------- */

static thaw_status infer_lrn(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    enum { MOST_CHANNELS = 4096 }; /* Their mixture is a matrix. */
    thaw_value *y = thaw__op_begin_layer(graph, node, 1u << 4, err);
    if (!y) return THAW_ERR_SHAPE;
    const thaw_value *x = thaw_node_in(graph, node, 0);
    if (thaw_node_int(node, "size", 0) < 1 || x->dims[1] > MOST_CHANNELS)
        return thaw__op_refuse(node, err, "it has no size, or more than 4096 channels");
    thaw__op_set_shape(y, THAW_F32, 4, x->dims);
    return THAW_OK;
}

/* x (bias + alpha / size * sum of x^2 over size channels around it) ^ -beta (Krizhevsky 2012): the sum
 * is a mixture of channels. */
static thaw_status lower_lrn(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    thaw_port *x = thaw__lower_port(l, node, 0);
    int64_t C = x->C, size = thaw_node_int(node, "size", 1);
    float alpha = thaw_node_float(node, "alpha", 1e-4f), bias = thaw_node_float(node, "bias", 1);
    float *w = thaw__lower_floats(l->arena, NULL, C * C),
          *b = thaw__lower_floats(l->arena, NULL, C);
    if (!w || !b) return thaw__lower_no_memory(node, err);
    for (int64_t k = 0; k < C; k++) {
        b[k] = bias;
        for (int64_t c = 0; c < C; c++)
            if (c >= k - (size - 1) / 2 && c <= k + size / 2) w[k * C + c] = alpha / (float)size;
    }
    thaw_epilogue square = {.act = THAW_ACT_POWER, .a = 2};
    thaw_epilogue power = {.act = THAW_ACT_POWER, .a = -thaw_node_float(node, "beta", 0.75f)};
    thaw_port *y = thaw__lower_act(l, node, x, square);
    y = thaw__lower_act(l, node, thaw__lower_mixed(l, node, y, C, w, b), power);
    return thaw__lower_finish(l, node, thaw__lower_pair(l, node, THAW_STEP_mul, x, y), err);
}

const thaw_op thaw_op_LRN = {.type = "LRN", .infer = infer_lrn, .lower = lower_lrn};

/* ---- shares ----------------------------------------------------------------------------------- */

/* The axis whose numbers sum to 1, from -rank on; before opset 13 all from it on. */
static int softmax_axis(const thaw_graph *graph, const thaw_node *node, const thaw_value *x) {
    return thaw__op_axis(x, thaw_node_int(node, "axis", graph->opset < 13 ? 1 : -1));
}

static thaw_status infer_softmax(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    THAW_TRY(thaw__op_infer_unary(graph, node, err));
    const thaw_value *x = thaw_node_in(graph, node, 0);
    int axis = softmax_axis(graph, node, x);
    if (axis < 1)
        return thaw__op_refuse(node, err, "its axis is the batch, or none of its input's");
    if (graph->opset < 13 && x->nhwc && x->rank == 4 && axis != 3)
        return thaw__op_refuse(node, err, "its input is N,H,W,C");
    return THAW_OK;
}

/* Numbers in front of the axis, along it, and behind it: what is in front of it becomes rows. */
static thaw_status lower_softmax(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    const thaw_value *v = thaw__lower_value(l, node, 0);
    int axis = softmax_axis(l->graph, node, v);
    bool to_end = l->graph->opset < 13, nhwc = v->rank == 4 && v->nhwc;
    int64_t size[3] = {1, 1, 1};
    for (int i = 1; i < v->rank; i++)
        size[i < axis ? 0 : i == axis || to_end ? 1 : 2] *= v->dims[i];
    thaw_port *x = thaw__lower_port(l, node, 0), want = *x;
    int64_t inner = size[2] / (x->H * x->W); /* Behind the axis, but channels still. */
    bool whole = nhwc ? axis == 3 : size[0] == 1 && inner > 0 && size[1] * inner == x->C;
    if (nhwc && !whole)
        return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                         "%s (Softmax): of a map N,H,W,C it is supported along its channels only",
                         node->name);
    const thaw_permutation turn = {3, {size[0], size[1], size[2]}, {1, 0, 2}};
    const thaw_permutation back = {3, {size[1], size[0], size[2]}, {1, 0, 2}};
    if (!whole) x = thaw__lower_transposed(l, node, x, &turn, size[1], size[0], size[2]);
    thaw_step *step = x ? thaw__lower_step(l, THAW_STEP_softmax, node->name, -1, 1) : NULL;
    if (!step) return thaw__lower_no_memory(node, err);
    thaw__lower_read(l, step, 0, x);
    *step->out = (thaw_port){.N = l->batch, .C = x->C, .H = x->H, .W = x->W};
    step->groups = whole && !nhwc ? inner : 1;
    x = step->out;
    if (!whole) x = thaw__lower_transposed(l, node, x, &back, want.C, want.H, want.W);
    return thaw__lower_finish(l, node, x, err);
}

const thaw_op thaw_op_Softmax = {.type = "Softmax", .infer = infer_softmax, .lower = lower_softmax};
