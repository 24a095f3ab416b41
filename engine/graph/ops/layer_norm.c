/* Layer normalisation: the operator, and as exporters spell it out before opset 17. */
#include "layer_norm.h"

#include "graph/lowering.h"
#include "rules.h"

/* Over the last axis; over more, there is no kernel. */
static thaw_status infer_layer_norm(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    THAW_TRY(thaw__op_infer_unary(graph, node, err));
    const thaw_value *x = thaw_node_in(graph, node, 0);
    if (thaw__op_axis(x, thaw_node_int(node, "axis", -1)) != x->rank - 1)
        return thaw__op_refuse(node, err, "only the last axis can be normalised");
    for (int i = 1; i <= 2; i++)
        if (thaw_node_in(graph, node, i) &&
            !thaw_value_floats(graph, node, i, x->dims[x->rank - 1], err))
            return THAW_ERR_SHAPE;
    return THAW_OK;
}

/* What a step normalises, and with what. An origin that is not known is not trained. */
typedef struct layer_norm {
    const thaw_value *x;
    int axis;
    float epsilon;
    const float *scale, *shift; /* NULL: ones, zeros. */
    thaw_origin scale_from, shift_from;
} layer_norm;

/* C numbers, those or C times `absent`. */
static float *numbers_or(thaw_lowering *l, const float *from, int64_t C, float absent) {
    float *to = thaw__lower_floats(l->arena, from, C);
    for (int64_t c = 0; to && c < C && !from; c++)
        to[c] = absent;
    return to;
}

/* What lies with other axes behind its channels is turned, and back. x: where it lies; the result is
 * the output of `last`. */
static thaw_status put(thaw_lowering *l, const thaw_node *node, thaw_port *x, const layer_norm *n,
                       const thaw_node *last, thaw_error *err) {
    const thaw_value *v = n->x;
    int64_t C = v->dims[n->axis], rows = thaw_value_elements(v) / C;
    bool as_channels = v->rank == 4 && n->axis == (v->nhwc ? 3 : 1);
    bool turned = x->C != C || (!as_channels && x->H * x->W > 1);
    if (turned)
        x = thaw__lower_transposed(l, node, x, &(thaw_permutation){2, {rows, C}, {1, 0}}, C, 1,
                                   rows);
    thaw_step *step = x ? thaw__lower_step(l, THAW_STEP_layer_norm, node->name, -1, 1) : NULL;
    float *scale = numbers_or(l, n->scale, C, 1), *shift = numbers_or(l, n->shift, C, 0);
    if (!step || !scale || !shift) return thaw__lower_no_memory(node, err);
    thaw__lower_read(l, step, 0, x);
    *step->out = (thaw_port){.N = l->batch, .C = C, .H = x->H, .W = x->W};
    step->scale = scale;
    step->shift = shift;
    step->epsilon = n->epsilon;
    thaw_step_origins *origins = thaw__lower_origins(l, step);
    if (origins) {
        origins->scale = n->scale_from;
        origins->shift = n->shift_from;
    }
    x = step->out;
    thaw_port want = thaw__lower_shape(l, thaw_node_out(l->graph, last, 0));
    if (turned)
        x = thaw__lower_transposed(l, node, x, &(thaw_permutation){2, {C, rows}, {1, 0}}, want.C,
                                   want.H, want.W);
    return thaw__lower_finish(l, last, x, err);
}

static thaw_status lower_layer_norm(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    const thaw_value *v = thaw__lower_value(l, node, 0);
    const thaw_value *scale = thaw__lower_value(l, node, 1), *shift = thaw__lower_value(l, node, 2);
    int index = (int)(node - l->graph->nodes);
    const layer_norm n = {.x = v,
                          .axis = v->rank - 1,
                          .epsilon = thaw_node_float(node, "epsilon", 1e-5f),
                          .scale = scale ? scale->data : NULL,
                          .shift = shift ? shift->data : NULL,
                          .scale_from = {scale != NULL, false, index, 1},
                          .shift_from = {shift != NULL, false, index, 2}};
    return put(l, node, thaw__lower_port(l, node, 0), &n, node, err);
}

const thaw_op thaw_op_LayerNormalization = {.type = "LayerNormalization",
                                            .infer = infer_layer_norm,
                                            .lower = lower_layer_norm,
                                            .params = 0x6};

/* ---- spelled out: d = x - mean(x);  d / sqrt(mean(d^2) + epsilon) [* scale] [+ shift] -------------- */

enum { LONGEST = 8 };
typedef struct spelling {
    const thaw_node *nodes[LONGEST]; /* Behind the first mean. */
    int n;
} spelling;

/* The node that makes input i, which nothing else reads, if it is of this operator; else NULL. */
static const thaw_node *made_by(const thaw_lowering *l, const thaw_node *node, int i,
                                const thaw_op *op) {
    int root = thaw__lower_root(l, node->in[i]), maker = l->graph->values[root].producer;
    bool own = maker >= 0 && l->marks[maker] && l->uses[root] == 1;
    return own && l->graph->nodes[maker].op == op ? &l->graph->nodes[maker] : NULL;
}

static bool is_number(const thaw_value *v, float *number) {
    if (!v || !v->data || v->dtype != THAW_F32 || thaw_value_elements(v) != 1) return false;
    *number = *(const float *)v->data;
    return true;
}

/* The one axis that a mean goes over, which stays; -1: it is another mean. */
static int mean_axis(const thaw_lowering *l, const thaw_node *node) {
    const thaw_value *x = thaw__lower_value(l, node, 0);
    int axes[THAW_MAX_RANK];
    if (!thaw_node_int(node, "keepdims", 1)) return -1;
    return thaw__op_axes(l->graph, node, thaw__op_rank(x), axes) == 1 ? thaw__op_axis(x, axes[0])
                                                                      : -1;
}

/* mean(d^2) + epsilon below `root`, its square root; d is read by it once or, as d d, twice. */
static bool find_variance(const thaw_lowering *l, const thaw_node *quotient, int d, int axis,
                          spelling *s, float *epsilon) {
    const thaw_node *root = made_by(l, quotient, 1, &thaw_op_Sqrt), *sum, *mean, *square;
    float exponent = 0;
    sum = root ? made_by(l, root, 0, &thaw_op_Add) : NULL;
    int at = sum && thaw__lower_value(l, sum, 0)->data ? 1 : 0;
    if (!sum || !is_number(thaw__lower_value(l, sum, 1 - at), epsilon)) return false;
    mean = made_by(l, sum, at, &thaw_op_ReduceMean);
    if (!mean || mean_axis(l, mean) != axis) return false;
    square = made_by(l, mean, 0, &thaw_op_Pow);
    bool power = square && is_number(thaw__lower_value(l, square, 1), &exponent) && exponent == 2;
    if (!square) square = made_by(l, mean, 0, &thaw_op_Mul);
    if (!square || thaw__lower_root(l, square->in[0]) != d) return false;
    if (!power && (square->op == &thaw_op_Pow || thaw__lower_root(l, square->in[1]) != d))
        return false;
    if (l->uses[d] != (power ? 2 : 3)) return false;
    const thaw_node *found[] = {square, mean, sum, root};
    for (int i = 0; i < 4; i++)
        s->nodes[s->n++] = found[i];
    return true;
}

/* Whether the constant has one number for each place along the axis of x. */
static bool lies_along(const thaw_value *k, const thaw_value *x, int axis) {
    int own = axis - x->rank + k->rank;
    return k->data && k->dtype == THAW_F32 && own >= 0 && k->dims[own] == x->dims[axis] &&
           thaw_value_elements(k) == x->dims[axis];
}

/* The product or sum that alone reads what `node` makes, with such a constant. */
static const thaw_node *followed_by(const thaw_lowering *l, const thaw_node *node,
                                    const thaw_op *op, const layer_norm *n, const float **numbers,
                                    thaw_origin *from) {
    const thaw_node *next = thaw__lower_only_reader(l, node, op);
    for (int i = 0; next && i < 2; i++) {
        const thaw_value *k = thaw__lower_value(l, next, i);
        if (!lies_along(k, n->x, n->axis)) continue;
        *numbers = k->data;
        *from = (thaw_origin){true, false, (int)(next - l->graph->nodes), i};
        return next;
    }
    return NULL;
}

thaw_status thaw__op_melt_layer_norm(thaw_lowering *l, const thaw_node *first, bool *done,
                                     thaw_error *err) {
    layer_norm n = {.x = thaw__lower_value(l, first, 0)};
    spelling s = {0};
    int x = thaw__lower_root(l, first->in[0]);
    *done = false;
    n.axis = first->op == &thaw_op_ReduceMean ? mean_axis(l, first) : -1;
    bool channels = n.axis == 1 && n.x->rank == 4 && !n.x->nhwc;
    if (n.axis < 1 || (n.axis != n.x->rank - 1 && !channels)) return THAW_OK;
    const thaw_node *minus = thaw__lower_only_reader(l, first, &thaw_op_Sub);
    if (!minus || thaw__lower_root(l, minus->in[0]) != x) return THAW_OK;
    int d = thaw__lower_root(l, minus->out[0]), reader = l->reader[d];
    const thaw_node *last = reader >= 0 ? &l->graph->nodes[reader] : NULL;
    if (!last || last->op != &thaw_op_Div || thaw__lower_root(l, last->in[0]) != d) return THAW_OK;
    s.nodes[s.n++] = minus;
    if (!find_variance(l, last, d, n.axis, &s, &n.epsilon)) return THAW_OK;
    s.nodes[s.n++] = last;
    const thaw_node *next = followed_by(l, last, &thaw_op_Mul, &n, &n.scale, &n.scale_from);
    if (next) s.nodes[s.n++] = last = next;
    next = followed_by(l, last, &thaw_op_Add, &n, &n.shift, &n.shift_from);
    if (next) s.nodes[s.n++] = last = next;
    *done = true;
    for (int i = 0; i < s.n; i++) {
        l->marks[s.nodes[i] - l->graph->nodes] = 0;
        thaw__lower_done(l, s.nodes[i]);
    }
    return put(l, first, l->port[x], &n, last, err);
}
