/* Activations, sums, products and their like: each element on its own.
 *
 * Exporters spell some activations out, and a step computes them in one pass: x sigmoid(x) and
 * x hard_sigmoid(x) are gates of their own input, GELU is five nodes.
 */
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
static thaw_status put_act(thaw_lowering *l, const thaw_node *node, thaw_epilogue e,
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
    return put_act(l, node, read_act(node), err);
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

/* A head's last layer: above any cut. */
const thaw_op thaw_op_Softmax = {.type = "Softmax", .infer = thaw__op_infer_unary};

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
    return put_act(l, node, e, err);
}

const thaw_op thaw_op_Clip = {.type = "Clip", .infer = infer_clip, .lower = lower_clip};

static thaw_status infer_gelu(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    const thaw_attr *approximate = thaw_node_attr(node, "approximate");
    if (approximate && approximate->s && strcmp(approximate->s, "none") != 0)
        return thaw__op_refuse(node, err, "only approximate = none is supported");
    return thaw__op_infer_unary(graph, node, err);
}

const thaw_op thaw_op_Gelu = {
    .type = "Gelu", .infer = infer_gelu, .lower = lower_act, .act = {THAW_ACT_GELU}};

/* ---- GELU, spelled out: x (1 + erf(x / sqrt 2)) / 2 ------------------------------------------ */

/* The only node that reads what `node` makes, if it is below the cut and of this operator; else NULL.
 */
static const thaw_node *only_reader(const thaw_lowering *l, const thaw_node *node,
                                    const thaw_op *op) {
    int root = thaw__lower_root(l, node->out[0]), reader = l->reader[root];
    if (l->uses[root] != 1 || reader < 0 || l->graph->nodes[reader].op != op) return NULL;
    return &l->graph->nodes[reader];
}

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
static bool melt_gelu(thaw_lowering *l, const thaw_node *first) {
    bool over = first->op == &thaw_op_Div;
    int at = !over && thaw__lower_value(l, first, 0)->data ? 1 : 0; /* sqrt(1/2) * x */
    if (thaw__lower_value(l, first, at)->data ||
        !takes_number(l, first, over ? 1.41421356f : 0.70710678f))
        return false;
    int x = thaw__lower_root(l, first->in[at]);
    const thaw_node *chain[4], *node = first;
    static const thaw_op *const ops[] = {&thaw_op_Erf, &thaw_op_Add, &thaw_op_Mul, &thaw_op_Mul};
    for (int i = 0; i < 4; i++) {
        node = chain[i] = only_reader(l, node, ops[i]);
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

/* ---- two operands --------------------------------------------------------------------------- */

static bool broadcast(const thaw_value *a, const thaw_value *b, thaw_value *y) {
    int64_t dims[THAW_MAX_RANK];
    int rank = thaw__fold_broadcast(a->rank, a->dims, b->rank, b->dims, dims);
    if (rank < 0) return false;
    thaw__op_set_shape(y, THAW_F32, rank, dims);
    return true;
}

static thaw_status infer_binary(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = thaw__op_begin(graph, node, err), *a = thaw_node_in(graph, node, 0);
    thaw_value *b = thaw_node_in(graph, node, 1);
    if (!y || !b || b->rank < 0) return thaw__op_misfit(graph, node, err);
    if (a->data && b->data) return thaw__op_refuse(node, err, "computes with constants only");
    if (a->dtype != THAW_F32 || b->dtype != THAW_F32 || !broadcast(a, b, y))
        return thaw__op_misfit(graph, node, err);
    const thaw_value *runtime = a->data ? b : a;
    y->nhwc = runtime->nhwc;
    if (!a->data && !b->data && a->nhwc != b->nhwc) return thaw__op_misfit(graph, node, err);
    if (y->rank != runtime->rank || (y->rank != 4 && y->rank != 2))
        return thaw__op_refuse(node, err, "is no feature map plus something that fits into it");
    if ((a->data || b->data) && memcmp(y->dims, runtime->dims, (size_t)y->rank * sizeof *y->dims))
        return thaw__op_refuse(node, err, "the constant is larger than what it is combined with");
    return THAW_OK;
}

static bool has_constant(const thaw_lowering *l, const thaw_node *node) {
    return thaw__lower_value(l, node, 0)->data || thaw__lower_value(l, node, 1)->data;
}

typedef enum arithmetic { PLUS, MINUS, TIMES, OVER } arithmetic;

/* Whether a constant is one number, or one for each of the C channels that are `axis` of y. */
static bool is_channel_vector(const thaw_value *v, int64_t C, const thaw_value *y, int axis) {
    int64_t n = thaw_value_elements(v);
    if (n == 1) return true;
    axis += v->rank - y->rank; /* Broadcasting aligns at the right. */
    return n == C && axis >= 0 && axis < v->rank && v->dims[axis] == C;
}

/* Training: what is added to a layer without bias, such as a MatMul's, is its bias. */
static bool become_bias(thaw_lowering *l, const thaw_node *node, int runtime, const float *values) {
    thaw_step *layer = thaw__lower_producer(l, node, runtime);
    if (!layer || !thaw__lower_is_plain(layer)) return false;
    thaw_step_origins *origins = thaw__lower_origins(l, layer);
    bool bare = origins && origins->norm < 0 && !layer->b;
    if (!bare || (layer->kind != THAW_STEP_conv && layer->kind != THAW_STEP_dense)) return false;
    layer->b = values;
    origins->b = (thaw_origin){true, .node = (int)(node - l->graph->nodes), .input = 1 - runtime};
    thaw__lower_melt(l, node, runtime);
    return true;
}

/* Training: the channels' numbers are the step's scale, or its shift. */
static void note_origin(thaw_lowering *l, const thaw_node *node, arithmetic op, int input) {
    thaw_step *step = &l->program.steps[l->step[thaw__lower_root(l, node->out[0])]];
    thaw_step_origins *origins = thaw__lower_origins(l, step);
    thaw_origin own = {true, .node = (int)(node - l->graph->nodes), .input = input};
    if (op == TIMES) origins->scale = own;
    if (op == PLUS) origins->shift = own;
}

/* x op constant, or constant op x, as an affine. */
static thaw_status with_constant(thaw_lowering *l, const thaw_node *node, arithmetic op,
                                 thaw_error *err) {
    int runtime = thaw__lower_value(l, node, 0)->data ? 1 : 0;
    const thaw_value *k = thaw__lower_value(l, node, 1 - runtime);
    const thaw_value *y = thaw_node_out(l->graph, node, 0);
    int axis = y->nhwc ? 3 : 1;
    int64_t C = y->dims[axis];
    bool scalar = thaw_value_elements(k) == 1;
    if (!is_channel_vector(k, C, y, axis) || (op == OVER && runtime == 1))
        return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                         "%s (%s): the constant must be one number, or one for each channel",
                         node->name, node->type);
    bool trained = l->training && !scalar && node->n_in == 2;
    if (trained && op == PLUS && become_bias(l, node, runtime, k->data)) return THAW_OK;
    double *scale = thaw_arena_array(l->arena, (size_t)C, sizeof *scale);
    double *shift = thaw_arena_array(l->arena, (size_t)C, sizeof *shift);
    if (!scale || !shift) return thaw__lower_no_memory(node, err);
    for (int64_t c = 0; c < C; c++) {
        double value = ((const float *)k->data)[scalar ? 0 : c];
        scale[c] = op == TIMES ? value : op == OVER ? 1 / value : 1;
        shift[c] = op == PLUS ? value : op == MINUS ? -value : 0;
        if (op == MINUS && runtime == 1) { /* constant - x */
            scale[c] = -1;
            shift[c] = value;
        }
    }
    THAW_TRY(thaw__lower_affine(l, node, runtime, scale, shift, err));
    if (trained) note_origin(l, node, op, 1 - runtime);
    return THAW_OK;
}

static bool same_shape(const thaw_port *a, const thaw_port *b) {
    return a->H == b->H && a->W == b->W && a->C == b->C;
}

/* A step of its own, the larger operand first. */
static thaw_status two_tensors(thaw_lowering *l, const thaw_node *node, thaw_step_kind kind,
                               thaw_error *err) {
    thaw_step *step = thaw__lower_step_for(l, kind, node, 2);
    if (!step) return thaw__lower_no_memory(node, err);
    if (!same_shape(step->in[0], step->out)) {
        thaw_port *first = step->in[0];
        step->in[0] = step->in[1]; /* Both are read by this step, in whatever order. */
        step->in[1] = first;
    }
    if (same_shape(step->in[0], step->out)) return THAW_OK;
    return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                     "%s (%s): neither tensor has the shape of the result", node->name, node->type);
}

/* Melts conv + residual: input i comes from a convolution that nothing else reads, made after the
 * other input, whose memory it takes over: nothing may read that one later. */
static bool add_residual(thaw_lowering *l, const thaw_node *node, int i) {
    thaw_step *conv = thaw__lower_producer(l, node, i);
    int other = thaw__lower_root(l, node->in[1 - i]), own = thaw__lower_root(l, node->in[i]);
    if (l->training || !conv || conv->kind != THAW_STEP_conv || !thaw__lower_is_plain(conv) ||
        own == other)
        return false;
    thaw_port *residual = l->port[other];
    if (l->lowered[other] + 1 != l->uses[other]) return false;
    /* x + conv(x): what the convolution still reads cannot be written over. */
    if (residual == conv->in[0]) return false;
    bool pixels = l->program.steps[l->step[other]].kind == THAW_STEP_import;
    if (!same_shape(residual, conv->out) || l->step[other] >= l->step[own] || pixels ||
        thaw__lower_read_after(l, residual, l->step[own]))
        return false;
    thaw__lower_take(l, conv, residual);
    thaw__lower_melt(l, node, i);
    return true;
}

static thaw_status lower_add(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    if (has_constant(l, node)) return with_constant(l, node, PLUS, err);
    if (add_residual(l, node, 0) || add_residual(l, node, 1)) return THAW_OK;
    return two_tensors(l, node, THAW_STEP_add, err);
}

const thaw_op thaw_op_Add = {
    .type = "Add", .infer = infer_binary, .lower = lower_add, .params = 0x3};

static thaw_status lower_sub(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    if (has_constant(l, node)) return with_constant(l, node, MINUS, err);
    return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                     "%s (Sub): the difference of two feature maps is not supported", node->name);
}

const thaw_op thaw_op_Sub = {
    .type = "Sub", .infer = infer_binary, .lower = lower_sub, .params = 0x2};

static thaw_status lower_div(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    if (melt_gelu(l, node)) return THAW_OK;
    if (has_constant(l, node)) return with_constant(l, node, OVER, err);
    return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                     "%s (Div): the quotient of two feature maps is not supported", node->name);
}

const thaw_op thaw_op_Div = {
    .type = "Div", .infer = infer_binary, .lower = lower_div, .params = 0x2};

/* x * sigmoid(x) and x * hard_sigmoid(x) with 1/6, 1/2 are one activation; exporters write two
 * nodes. */
static bool melt_gate(thaw_lowering *l, const thaw_node *node, int i) {
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

static thaw_status lower_mul(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    if (melt_gelu(l, node)) return THAW_OK;
    if (has_constant(l, node)) return with_constant(l, node, TIMES, err);
    if (melt_gate(l, node, 1) || melt_gate(l, node, 0)) return THAW_OK;
    return two_tensors(l, node, THAW_STEP_mul, err);
}

const thaw_op thaw_op_Mul = {
    .type = "Mul", .infer = infer_binary, .lower = lower_mul, .params = 0x3};
