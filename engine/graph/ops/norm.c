/* Normalisations. */
#include <math.h>

#include "graph/lowering.h"
#include "rules.h"

static thaw_status infer_batch_norm(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    THAW_TRY(thaw__op_infer_unary(graph, node, err));
    int64_t C = thaw_node_in(graph, node, 0)->dims[1];
    if (thaw_node_int(node, "spatial", 1) != 1) return thaw__op_refuse(node, err, "spatial = 0");
    if (thaw_node_in(graph, node, 0)->nhwc)
        return thaw__op_refuse(node, err, "its input is N,H,W,C");
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

static thaw_status lower_batch_norm(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    int64_t C = thaw__lower_port(l, node, 0)->C;
    const float *p[5];
    for (int i = 1; i <= 4; i++) {
        p[i] = thaw_value_floats(l->graph, node, i, C, err);
        if (!p[i]) return THAW_ERR_SHAPE;
    }
    if (l->training) return lower_trained(l, node, p, err);
    double epsilon = thaw_node_float(node, "epsilon", 1e-5f);
    double *scale = thaw_arena_array(l->arena, (size_t)C, sizeof *scale);
    double *shift = thaw_arena_array(l->arena, (size_t)C, sizeof *shift);
    if (!scale || !shift) return thaw__lower_no_memory(node, err);
    for (int64_t c = 0; c < C; c++) {
        scale[c] = p[1][c] / sqrt(p[4][c] + epsilon);
        shift[c] = p[2][c] - p[3][c] * scale[c];
    }
    return thaw__lower_affine(l, node, 0, scale, shift, err);
}

const thaw_op thaw_op_BatchNormalization = {.type = "BatchNormalization",
                                            .infer = infer_batch_norm,
                                            .lower = lower_batch_norm,
                                            .params = 0x6};

/* Over the channels; over more, there is no kernel. */
static thaw_status infer_layer_norm(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    THAW_TRY(thaw__op_infer_unary(graph, node, err));
    const thaw_value *x = thaw_node_in(graph, node, 0);
    int64_t axis = thaw_node_int(node, "axis", -1);
    if ((axis != -1 && axis != x->rank - 1) || (x->rank == 4 && !x->nhwc))
        return thaw__op_refuse(
            node, err,
            "only the channels can be normalised, as the last axis: of a vector, or of a "
            "map after a Transpose to N,H,W,C");
    for (int i = 1; i <= 2; i++)
        if (thaw_node_in(graph, node, i) &&
            !thaw_value_floats(graph, node, i, x->dims[x->rank - 1], err))
            return THAW_ERR_SHAPE;
    return THAW_OK;
}

static thaw_status lower_layer_norm(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    thaw_step *step = thaw__lower_step_for(l, THAW_STEP_layer_norm, node, 1);
    if (!step) return thaw__lower_no_memory(node, err);
    int64_t C = step->out->C;
    const thaw_value *scale = thaw__lower_value(l, node, 1), *shift = thaw__lower_value(l, node, 2);
    float *ones = thaw__lower_floats(l->arena, scale ? scale->data : NULL, C);
    float *zeros = thaw__lower_floats(l->arena, shift ? shift->data : NULL, C);
    if (!ones || !zeros) return thaw__lower_no_memory(node, err);
    for (int64_t c = 0; c < C && !scale; c++)
        ones[c] = 1;
    step->scale = ones;
    step->shift = zeros;
    step->epsilon = thaw_node_float(node, "epsilon", 1e-5f);
    if (!l->training) return THAW_OK;
    int index = (int)(node - l->graph->nodes);
    if (scale) thaw__lower_origins(l, step)->scale = (thaw_origin){true, .node = index, .input = 1};
    if (shift) thaw__lower_origins(l, step)->shift = (thaw_origin){true, .node = index, .input = 2};
    return THAW_OK;
}

const thaw_op thaw_op_LayerNormalization = {.type = "LayerNormalization",
                                            .infer = infer_layer_norm,
                                            .lower = lower_layer_norm,
                                            .params = 0x6};
