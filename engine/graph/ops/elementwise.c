/* Activations.
 *
 * Exporters spell some out, and a step computes them in one pass: x sigmoid(x) and x hard_sigmoid(x) are
 * gates of their own input, GELU is five nodes. Others are rare, and a chain of steps.
 */
#include "elementwise.h"

#include <math.h>
#include <string.h>

#include "graph/fold.h"
#include "graph/lowering.h"
#include "rules.h"

/* ---- activations ---------------------------------------------------------------------------- */

static bool read_clip(const thaw_graph *graph, const thaw_node *node, float *low, float *high) {
    *low = thaw_node_float(node, "min", -INFINITY);
    *high = thaw_node_float(node, "max", INFINITY);
    for (int i = 1; i <= 2; i++) {
        const thaw_value *bound = thaw_node_in(graph, node, i);
        if (!bound) continue;
        if (!bound->data || bound->dtype != THAW_F32 || thaw_value_elements(bound) != 1)
            return false;
        *(i == 1 ? low : high) = *(const float *)bound->data;
    }
    /* Exporters write the type's largest number for "no bound". */
    if (*low <= -3.4e38f) *low = -INFINITY;
    if (*high >= 3.4e38f) *high = INFINITY;
    return !isnan(*low) && !isnan(*high);
}

/* What the row says, with the node's own parameters. */
static thaw_epilogue read_act(const thaw_node *node) {
    const thaw_epilogue *row = &node->op->act;
    return (thaw_epilogue){.act = row->act,
                           .a = thaw_node_float(node, "alpha", row->a),
                           .b = thaw_node_float(node, "beta", row->b)};
}

/* In training only what the gradient can be told from without the sum. */
static bool takes_act(const thaw_lowering *l, const thaw_step *step, const thaw_epilogue *e) {
    if (l->training && thaw_act_needs_input(e)) return false;
    if (step->epilogue.act != THAW_ACT_NONE) return false;
    /* Zero stays zero: so does the padding of its layout. */
    if (step->kind == THAW_STEP_batch_norm)
        return e->act == THAW_ACT_CLIP && e->a <= 0 && e->b >= 0;
    return (step->kind == THAW_STEP_conv || step->kind == THAW_STEP_dense ||
            step->kind == THAW_STEP_add || step->kind == THAW_STEP_mul ||
            step->kind == THAW_STEP_affine);
}

/* In the epilogue of the step that makes x, where that has room and nothing else reads x. */
thaw_status thaw__op_put_act(thaw_lowering *l, const thaw_node *node, thaw_epilogue e,
                             thaw_error *err) {
    thaw_step *made_by = thaw__lower_producer(l, node, 0);
    if (made_by && takes_act(l, made_by, &e)) {
        e.residual = made_by->epilogue.residual;
        made_by->epilogue = e;
        thaw__lower_melt(l, node, 0);
        return THAW_OK;
    }
    thaw_step *step = thaw__lower_step_for(l, THAW_STEP_act, node, 1);
    if (!step) return thaw__lower_no_memory(node, err);
    step->epilogue = e;
    return THAW_OK;
}

static thaw_status lower_act(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    return thaw__op_put_act(l, node, read_act(node), err);
}

const thaw_op thaw_op_Relu = {.type = "Relu",
                              .infer = thaw__op_infer_unary,
                              .lower = lower_act,
                              .act = {THAW_ACT_CLIP, .a = 0, .b = INFINITY}};
const thaw_op thaw_op_LeakyRelu = {.type = "LeakyRelu",
                                   .infer = thaw__op_infer_unary,
                                   .lower = lower_act,
                                   .act = {THAW_ACT_LEAKY_RELU, .a = 0.01f}};
const thaw_op thaw_op_Sigmoid = {.type = "Sigmoid",
                                 .infer = thaw__op_infer_unary,
                                 .lower = lower_act,
                                 .act = {THAW_ACT_SIGMOID}};
const thaw_op thaw_op_HardSigmoid = {.type = "HardSigmoid",
                                     .infer = thaw__op_infer_unary,
                                     .lower = lower_act,
                                     .act = {THAW_ACT_HARD_SIGMOID, .a = 0.2f, .b = 0.5f}};
const thaw_op thaw_op_HardSwish = {.type = "HardSwish",
                                   .infer = thaw__op_infer_unary,
                                   .lower = lower_act,
                                   .act = {THAW_ACT_HARD_SWISH}};
const thaw_op thaw_op_Tanh = {
    .type = "Tanh", .infer = thaw__op_infer_unary, .lower = lower_act, .act = {THAW_ACT_TANH}};

const thaw_op thaw_op_Elu = {.type = "Elu",
                             .infer = thaw__op_infer_unary,
                             .lower = lower_act,
                             .act = {THAW_ACT_ELU, .a = 1}};
const thaw_op thaw_op_Softplus = {.type = "Softplus",
                                  .infer = thaw__op_infer_unary,
                                  .lower = lower_act,
                                  .act = {THAW_ACT_SOFTPLUS}};
/* The absolute value: below 0 it is -x. */
const thaw_op thaw_op_Abs = {.type = "Abs",
                             .infer = thaw__op_infer_unary,
                             .lower = lower_act,
                             .act = {THAW_ACT_LEAKY_RELU, .a = -1}};
const thaw_op thaw_op_Sqrt = {.type = "Sqrt",
                              .infer = thaw__op_infer_unary,
                              .lower = lower_act,
                              .act = {THAW_ACT_POWER, .a = 0.5f}};
const thaw_op thaw_op_Reciprocal = {.type = "Reciprocal",
                                    .infer = thaw__op_infer_unary,
                                    .lower = lower_act,
                                    .act = {THAW_ACT_POWER, .a = -1}};

static thaw_status infer_clip(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    THAW_TRY(thaw__op_infer_unary(graph, node, err));
    float low, high;
    if (!read_clip(graph, node, &low, &high))
        return thaw__op_refuse(node, err, "bounds not constant");
    node->alias = isinf(low) && isinf(high) && low < high;
    return THAW_OK;
}

static thaw_status lower_clip(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    thaw_epilogue e = {.act = THAW_ACT_CLIP};
    read_clip(l->graph, node, &e.a, &e.b);
    return thaw__op_put_act(l, node, e, err);
}

const thaw_op thaw_op_Clip = {.type = "Clip", .infer = infer_clip, .lower = lower_clip};

static thaw_status lower_gelu(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    const thaw_attr *approximate = thaw_node_attr(node, "approximate");
    bool tanh = approximate && approximate->s && strcmp(approximate->s, "tanh") == 0;
    return thaw__op_put_act(l, node,
                            (thaw_epilogue){.act = tanh ? THAW_ACT_GELU_TANH : THAW_ACT_GELU}, err);
}

const thaw_op thaw_op_Gelu = {
    .type = "Gelu", .infer = thaw__op_infer_unary, .lower = lower_gelu, .act = {THAW_ACT_GELU}};

/* ---- chains of steps ------------------------------------------------------------------------- */

static const thaw_epilogue above_0 = {.act = THAW_ACT_CLIP, .a = 0, .b = INFINITY};
static const thaw_epilogue below_0 = {.act = THAW_ACT_CLIP, .a = -INFINITY, .b = 0};

/* gamma elu(x) */
static thaw_status lower_selu(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    float alpha = thaw_node_float(node, "alpha", 1.67326319217681884765625f);
    float gamma = thaw_node_float(node, "gamma", 1.05070102214813232421875f);
    thaw_epilogue elu = {.act = THAW_ACT_ELU, .a = alpha};
    thaw_port *y = thaw__lower_act(l, node, thaw__lower_port(l, node, 0), elu);
    return thaw__lower_finish(l, node, thaw__lower_line(l, node, y, gamma, 0), err);
}

const thaw_op thaw_op_Selu = {.type = "Selu", .infer = thaw__op_infer_unary, .lower = lower_selu};

/* x / (1 + |x|) */
static thaw_status lower_softsign(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    thaw_port *x = thaw__lower_port(l, node, 0);
    thaw_port *y =
        thaw__lower_act(l, node, x, (thaw_epilogue){.act = THAW_ACT_LEAKY_RELU, .a = -1});
    y = thaw__lower_line(l, node, y, 1, 1);
    y = thaw__lower_act(l, node, y, (thaw_epilogue){.act = THAW_ACT_POWER, .a = -1});
    return thaw__lower_finish(l, node, thaw__lower_pair(l, node, THAW_STEP_mul, x, y), err);
}

const thaw_op thaw_op_Softsign = {
    .type = "Softsign", .infer = thaw__op_infer_unary, .lower = lower_softsign};

/* x tanh(softplus(x)) */
static thaw_status lower_mish(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    thaw_port *x = thaw__lower_port(l, node, 0);
    thaw_port *y = thaw__lower_act(l, node, x, (thaw_epilogue){.act = THAW_ACT_SOFTPLUS});
    y = thaw__lower_act(l, node, y, (thaw_epilogue){.act = THAW_ACT_TANH});
    return thaw__lower_finish(l, node, thaw__lower_pair(l, node, THAW_STEP_mul, x, y), err);
}

const thaw_op thaw_op_Mish = {.type = "Mish", .infer = thaw__op_infer_unary, .lower = lower_mish};

/* One slope, or one for each channel. */
static thaw_status infer_prelu(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    THAW_TRY(thaw__op_infer_unary(graph, node, err));
    const thaw_value *x = thaw_node_in(graph, node, 0), *slope = thaw_node_in(graph, node, 1);
    if (!slope || !slope->data || slope->dtype != THAW_F32)
        return thaw__op_refuse(node, err, "its slopes are not constant");
    int64_t n = thaw_value_elements(slope), C = thaw_value_channels(x);
    int axis = slope->rank - x->rank + (x->nhwc && x->rank == 4 ? 3 : 1);
    bool channels = n == C && !x->merged && axis >= 0 && slope->dims[axis] == C;
    return n == 1 || ((x->rank == 2 || x->rank == 4) && channels)
               ? THAW_OK
               : thaw__op_refuse(node, err, "its slopes are neither one nor one a channel");
}

/* max(x, 0) + slope min(x, 0) */
static thaw_status lower_prelu(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    const thaw_value *slope = thaw__lower_value(l, node, 1);
    thaw_port *x = thaw__lower_port(l, node, 0);
    int64_t C = x->C;
    if (thaw_value_elements(slope) == 1) {
        thaw_epilogue e = {.act = THAW_ACT_LEAKY_RELU, .a = *(const float *)slope->data};
        return thaw__op_put_act(l, node, e, err);
    }
    thaw_port *high = thaw__lower_act(l, node, x, above_0);
    thaw_port *low = thaw__lower_act(l, node, x, below_0);
    low = thaw__lower_scaled(l, node, low, thaw__lower_floats(l->arena, slope->data, C),
                             thaw__lower_floats(l->arena, NULL, C));
    if (low && l->training)
        thaw__lower_origins(l, &l->program.steps[l->program.n_steps - 1])->scale =
            (thaw_origin){true, .node = (int)(node - l->graph->nodes), .input = 1};
    return thaw__lower_finish(l, node, thaw__lower_pair(l, node, THAW_STEP_add, high, low), err);
}

const thaw_op thaw_op_PRelu = {
    .type = "PRelu", .infer = infer_prelu, .lower = lower_prelu, .params = 0x2};

/* ---- GELU, spelled out: x (1 + erf(x / sqrt 2)) / 2 ------------------------------------------ */

/* Whether one of the node's two inputs is this number. */
static bool takes_number(const thaw_lowering *l, const thaw_node *node, float number) {
    for (int i = 0; node && i < 2; i++) {
        const thaw_value *v = thaw__lower_value(l, node, i);
        if (v && v->data && thaw_value_elements(v) == 1 &&
            fabsf(*(const float *)v->data - number) < 1e-4f)
            return true;
    }
    return false;
}

static bool takes_value(const thaw_lowering *l, const thaw_node *node, int root) {
    return node &&
           (thaw__lower_root(l, node->in[0]) == root || thaw__lower_root(l, node->in[1]) == root);
}

/* `first` is x / sqrt 2, or x * sqrt(1/2). The last two products come in either order. */
bool thaw__op_melt_gelu(thaw_lowering *l, const thaw_node *first) {
    bool over = first->op == &thaw_op_Div;
    int at = !over && thaw__lower_value(l, first, 0)->data ? 1 : 0; /* sqrt(1/2) * x */
    if (thaw__lower_value(l, first, at)->data ||
        !takes_number(l, first, over ? 1.41421356f : 0.70710678f))
        return false;
    int x = thaw__lower_root(l, first->in[at]);
    const thaw_node *chain[4], *node = first;
    static const thaw_op *const ops[] = {&thaw_op_Erf, &thaw_op_Add, &thaw_op_Mul, &thaw_op_Mul};
    for (int i = 0; i < 4; i++) {
        node = chain[i] = thaw__lower_only_reader(l, node, ops[i]);
        if (!node) return false;
    }
    bool half_last = takes_value(l, chain[2], x) && takes_number(l, chain[3], 0.5f);
    bool half_first = takes_number(l, chain[2], 0.5f) && takes_value(l, chain[3], x);
    if (!takes_number(l, chain[1], 1) || (!half_last && !half_first)) return false;
    int out = chain[3]->out[0];
    thaw_step *made_by = l->step[x] >= 0 ? &l->program.steps[l->step[x]] : NULL;
    thaw_epilogue e = {.act = THAW_ACT_GELU};
    if (made_by && takes_act(l, made_by, &e) && l->uses[x] == 2) {
        e.residual = made_by->epilogue.residual;
        made_by->epilogue = e;
        thaw__lower_place(l, out, l->step[x]);
    } else {
        thaw_step *step = thaw__lower_step(l, THAW_STEP_act, first->name, out, 1);
        if (!step) return false;
        thaw__lower_read(l, step, 0, l->port[x]);
        step->epilogue = e;
    }
    for (int i = 0; i < 4; i++) {
        l->marks[chain[i] - l->graph->nodes] = 0;
        thaw__lower_done(l, chain[i]);
    }
    return true;
}

static thaw_status lower_erf(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    (void)l;
    return thaw_fail(
        err, THAW_ERR_UNSUPPORTED,
        "%s (Erf): it is supported as a part of GELU only, x (1 + erf(x / sqrt 2)) / 2",
        node->name);
}

const thaw_op thaw_op_Erf = {.type = "Erf", .infer = thaw__op_infer_unary, .lower = lower_erf};

/* ---- gates ---------------------------------------------------------------------------------- */

/* x * sigmoid(x) and x * hard_sigmoid(x) with 1/6, 1/2 are one activation; exporters write two
 * nodes. */
bool thaw__op_melt_gate(thaw_lowering *l, const thaw_node *node, int i) {
    thaw_step *gate = thaw__lower_producer(l, node, i);
    if (!gate || gate->kind != THAW_STEP_act || gate->in[0] != thaw__lower_port(l, node, 1 - i))
        return false;
    thaw_epilogue *e = &gate->epilogue;
    bool silu = e->act == THAW_ACT_SIGMOID;
    bool swish = e->act == THAW_ACT_HARD_SIGMOID && fabsf(e->a - 1.0f / 6) < 1e-6f && e->b == 0.5f;
    if (!silu && !swish) return false;
    *e = (thaw_epilogue){.act = silu ? THAW_ACT_SILU : THAW_ACT_HARD_SWISH};
    int x = thaw__lower_root(l, node->in[1 - i]);
    thaw_step *made_by = l->step[x] >= 0 ? &l->program.steps[l->step[x]] : NULL;
    if (made_by && takes_act(l, made_by, e) && l->uses[x] == 2) { /* The gate and this product. */
        e->residual = made_by->epilogue.residual;
        made_by->epilogue = *e;
        thaw__lower_drop(gate);
        thaw__lower_melt(l, node, 1 - i);
    } else {
        thaw__lower_melt(l, node, i);
    }
    return true;
}
