/* Sums, differences, products, quotients, powers, the larger and the smaller: each element on its own.
 *
 * There are steps for sums and products. What a constant adds to channels or multiplies them with melts
 * into what makes them; x - y is x + (-1) y, x / y is x y^-1, and the larger of x and y is x + max(y - x, 0).
 */
#include <math.h>
#include <string.h>

#include "elementwise.h"
#include "graph/fold.h"
#include "rules.h"

/* ---- shapes --------------------------------------------------------------------------------- */

/* Whether an operand that is smaller than y in some axes is so in all or none of those that are channels
 * together (see thaw_value_place): otherwise it is no C x H x W of its own. */
static bool fits_in(const thaw_value *v, const thaw_value *y) {
    bool some = false, all = true;
    for (int i = 1; i < y->rank; i++) {
        int own = i - y->rank + v->rank;
        if (thaw_value_place(y, i) != THAW_IN_C || y->dims[i] == 1) continue;
        bool there = own >= 0 && v->dims[own] != 1;
        some |= there;
        all &= there;
    }
    return !some || all;
}

/* A map that lies N,C,H,W, as one whose axes are N,H,W,C lies, or the other way: what is made of windows has
 * only the sizes of the map that it is added to. */
static thaw_port *turned(thaw_lowering *l, const thaw_node *node, thaw_port *x, bool to_nhwc) {
    thaw_permutation axes = {3, {x->C, x->H, x->W}, {2, 0, 1}};
    if (x->C * x->H * x->W == 1) return x;
    if (to_nhwc) return thaw__lower_transposed(l, node, x, &axes, x->W, x->C, x->H);
    memcpy(axes.perm, (int[3]){1, 2, 0}, 3 * sizeof *axes.perm);
    return thaw__lower_transposed(l, node, x, &axes, x->H, x->W, x->C);
}

/* An operand with its axes at y's places; where it has only some of those that are y's channels, with all. */
static thaw_port *operand(thaw_lowering *l, const thaw_node *node, int i) {
    const thaw_value *v = thaw__lower_value(l, node, i), *y = thaw_node_out(l->graph, node, 0);
    thaw_port *x = thaw__lower_port(l, node, i);
    int64_t size[3];
    if (v->nhwc != y->nhwc) x = turned(l, node, x, y->nhwc);
    if (!x) return NULL;
    if (!fits_in(v, y)) return thaw__lower_widened(l, node, x, v, y);
    if (x->C * x->H * x->W != thaw_value_elements(v))
        return x; /* An Expand that melted: see there. */
    thaw_value_picture_beside(v, y, size);
    return thaw__lower_reshaped(l, node, x, size[THAW_IN_C], size[THAW_IN_H], size[THAW_IN_W]);
}

static thaw_status infer_pair(thaw_graph *graph, thaw_node *node, int i, int k, thaw_error *err) {
    thaw_value *y = thaw_node_out(graph, node, 0);
    const thaw_value *a = thaw_node_in(graph, node, i), *b = thaw_node_in(graph, node, k);
    int64_t dims[THAW_MAX_RANK];
    if (!a || !b || a->rank < 0 || b->rank < 0) return thaw__op_misfit(graph, node, err);
    if (a->data && b->data) return thaw__op_refuse(node, err, "computes with constants only");
    int rank = thaw__fold_broadcast(a->rank, a->dims, b->rank, b->dims, dims);
    if (a->dtype != THAW_F32 || b->dtype != THAW_F32 || rank < 0)
        return thaw__op_misfit(graph, node, err);
    const thaw_value *runtime = a->data ? b : a;
    if (!a->data && !b->data && !thaw__op_merged_alike(a, b))
        return thaw__op_misfit(graph, node, err);
    if (rank != runtime->rank || rank < 2)
        return thaw__op_refuse(node, err, "is no feature map plus something that fits into it");
    if ((a->data || b->data) && memcmp(dims, runtime->dims, (size_t)rank * sizeof *dims) != 0)
        return thaw__op_refuse(node, err, "the constant is larger than what it is combined with");
    thaw__op_set_shape(y, THAW_F32, rank, dims);
    y->nhwc = a->nhwc || b->nhwc;
    y->merged = runtime->merged;
    int64_t picture[3];
    thaw_value_picture(y, picture);
    bool fits = (a->data || fits_in(a, y)) && (b->data || fits_in(b, y));
    return fits || picture[THAW_IN_C] <= THAW_MOST_WIDENED
               ? THAW_OK
               : thaw__op_refuse(node, err, "one operand is spread over more than 4096 channels");
}

static thaw_status infer_binary(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    if (!thaw__op_begin(graph, node, err)) return THAW_ERR_SHAPE;
    return infer_pair(graph, node, 0, 1, err);
}

/* ---- a constant ----------------------------------------------------------------------------- */

static bool has_constant(const thaw_lowering *l, const thaw_node *node) {
    return thaw__lower_value(l, node, 0)->data || thaw__lower_value(l, node, 1)->data;
}

/* Whether its two maps lie in different orders: what looks alike is then not what it looks like. */
static bool is_mixed(const thaw_lowering *l, const thaw_node *node) {
    return thaw__lower_value(l, node, 0)->nhwc != thaw__lower_value(l, node, 1)->nhwc;
}

typedef enum arithmetic { PLUS, MINUS, TIMES, OVER } arithmetic;

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

/* A constant as H x W x C numbers of a picture; channels alone, or one number for all, have H = W = 1. */
typedef struct map_constant {
    int64_t C, H, W;
    float *values;
} map_constant;

/* Reads the constant at each place of y that it differs in. */
static bool place_constant(thaw_lowering *l, const thaw_value *k, const thaw_value *y,
                           map_constant *m) {
    int64_t size[3] = {1, 1, 1}, stride[THAW_MAX_RANK] = {0}, step = 1; /* Of C, H, W. */
    int n = y->rank, shift = n - k->rank;
    for (int i = n - 1; i >= 1; i--)
        if (i - shift >= 0 && k->dims[i - shift] != 1) {
            stride[i] = step;
            step *= k->dims[i - shift];
            size[thaw_value_place(y, i)] = 0; /* All of y's. */
        }
    for (int place = 0; place < 3; place++) {
        bool all = size[place] == 0;
        size[place] = 1;
        for (int i = 1; i < n && all; i++)
            if ((int)thaw_value_place(y, i) == place) size[place] *= y->dims[i];
    }
    *m = (map_constant){.C = size[THAW_IN_C], .H = size[THAW_IN_H], .W = size[THAW_IN_W]};
    m->values = thaw__lower_floats(l->arena, NULL, m->C * m->H * m->W);
    if (!m->values) return false;
    for (int64_t at = 0; at < m->C * m->H * m->W; at++) {
        int64_t left[3] = {at % m->C, at / m->C / m->W, at / m->C % m->W}, from = 0;
        for (int i = n - 1; i >= 1; i--) {
            int64_t *rest = &left[thaw_value_place(y, i)];
            if (size[thaw_value_place(y, i)] == 1) continue;
            from += *rest % y->dims[i] * stride[i];
            *rest /= y->dims[i];
        }
        m->values[at] = ((const float *)k->data)[from];
    }
    return true;
}

/* x op constant, where x is input `runtime`, for a constant that differs from pixel to pixel. */
static thaw_status with_map(thaw_lowering *l, const thaw_node *node, arithmetic op, int runtime,
                            map_constant *m, thaw_error *err) {
    thaw_port *x = thaw__lower_port(l, node, runtime);
    bool inverted = op == OVER && runtime == 0, negated = op == MINUS && runtime == 0;
    for (int64_t i = 0; i < m->C * m->H * m->W; i++) {
        if (inverted) m->values[i] = 1 / m->values[i];
        if (negated) m->values[i] = -m->values[i];
    }
    if (op == MINUS && runtime == 1) x = thaw__lower_line(l, node, x, -1, 0);
    if (op == OVER && runtime == 1)
        x = thaw__lower_act(l, node, x, (thaw_epilogue){.act = THAW_ACT_POWER, .a = -1});
    thaw_port *k = thaw__lower_constant(l, node, m->H, m->W, m->C, m->values);
    bool product = op == TIMES || op == OVER;
    thaw_step_kind kind = product ? THAW_STEP_mul : THAW_STEP_add;
    return thaw__lower_finish(l, node, thaw__lower_pair(l, node, kind, x, k), err);
}

/* constant / x, a constant for each channel. */
static thaw_status over_x(thaw_lowering *l, const thaw_node *node, const map_constant *m,
                          thaw_error *err) {
    thaw_port *x = thaw__lower_port(l, node, 1);
    float *scale = thaw__lower_floats(l->arena, NULL, x->C);
    for (int64_t c = 0; scale && c < x->C; c++)
        scale[c] = m->values[m->C == 1 ? 0 : c];
    x = thaw__lower_act(l, node, x, (thaw_epilogue){.act = THAW_ACT_POWER, .a = -1});
    x = thaw__lower_scaled(l, node, x, scale, thaw__lower_floats(l->arena, NULL, x ? x->C : 1));
    return thaw__lower_finish(l, node, x, err);
}

/* x op constant, or constant op x: an affine where the constant is that of channels. */
static thaw_status with_constant(thaw_lowering *l, const thaw_node *node, arithmetic op,
                                 thaw_error *err) {
    int runtime = thaw__lower_value(l, node, 0)->data ? 1 : 0;
    const thaw_value *k = thaw__lower_value(l, node, 1 - runtime);
    int64_t C = thaw__lower_port(l, node, runtime)->C;
    map_constant m;
    if (!place_constant(l, k, thaw_node_out(l->graph, node, 0), &m))
        return thaw__lower_no_memory(node, err);
    if (m.H * m.W > 1) return with_map(l, node, op, runtime, &m, err);
    if (op == OVER && runtime == 1) return over_x(l, node, &m, err);
    bool trained = l->training && thaw_value_elements(k) == C && C > 1 && node->n_in == 2;
    if (trained && op == PLUS && become_bias(l, node, runtime, k->data)) return THAW_OK;
    double *scale = thaw_arena_array(l->arena, (size_t)C, sizeof *scale);
    double *shift = thaw_arena_array(l->arena, (size_t)C, sizeof *shift);
    if (!scale || !shift) return thaw__lower_no_memory(node, err);
    for (int64_t c = 0; c < C; c++) {
        double value = m.values[m.C == 1 ? 0 : c];
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

/* ---- sums and products ---------------------------------------------------------------------- */

static bool same_shape(const thaw_port *a, const thaw_port *b) {
    return a->H == b->H && a->W == b->W && a->C == b->C;
}

static thaw_status two_tensors(thaw_lowering *l, const thaw_node *node, thaw_step_kind kind,
                               thaw_error *err) {
    thaw_port *x = operand(l, node, 0), *y = operand(l, node, 1);
    return thaw__lower_finish(l, node, thaw__lower_pair(l, node, kind, x, y), err);
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
    if (is_mixed(l, node)) return two_tensors(l, node, THAW_STEP_add, err);
    if (add_residual(l, node, 0) || add_residual(l, node, 1)) return THAW_OK;
    return two_tensors(l, node, THAW_STEP_add, err);
}

const thaw_op thaw_op_Add = {
    .type = "Add", .infer = infer_binary, .lower = lower_add, .params = 0x3};

static thaw_status lower_sub(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    if (has_constant(l, node)) return with_constant(l, node, MINUS, err);
    thaw_port *x = operand(l, node, 0);
    thaw_port *y = thaw__lower_line(l, node, operand(l, node, 1), -1, 0);
    return thaw__lower_finish(l, node, thaw__lower_pair(l, node, THAW_STEP_add, x, y), err);
}

const thaw_op thaw_op_Sub = {
    .type = "Sub", .infer = infer_binary, .lower = lower_sub, .params = 0x2};

static thaw_status lower_div(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    if (thaw__op_melt_gelu(l, node)) return THAW_OK;
    if (has_constant(l, node)) return with_constant(l, node, OVER, err);
    thaw_port *x = operand(l, node, 0), *y = operand(l, node, 1);
    y = thaw__lower_act(l, node, y, (thaw_epilogue){.act = THAW_ACT_POWER, .a = -1});
    return thaw__lower_finish(l, node, thaw__lower_pair(l, node, THAW_STEP_mul, x, y), err);
}

const thaw_op thaw_op_Div = {
    .type = "Div", .infer = infer_binary, .lower = lower_div, .params = 0x2};

static thaw_status lower_mul(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    if (!has_constant(l, node) && is_mixed(l, node))
        return two_tensors(l, node, THAW_STEP_mul, err);
    if (thaw__op_melt_gelu(l, node)) return THAW_OK;
    if (has_constant(l, node)) return with_constant(l, node, TIMES, err);
    if (thaw__op_melt_gate(l, node, 1) || thaw__op_melt_gate(l, node, 0)) return THAW_OK;
    return two_tensors(l, node, THAW_STEP_mul, err);
}

const thaw_op thaw_op_Mul = {
    .type = "Mul", .infer = infer_binary, .lower = lower_mul, .params = 0x3};

static thaw_status lower_neg(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    thaw_port *x = thaw__lower_port(l, node, 0);
    return thaw__lower_finish(l, node, thaw__lower_line(l, node, x, -1, 0), err);
}

const thaw_op thaw_op_Neg = {.type = "Neg", .infer = thaw__op_infer_unary, .lower = lower_neg};

/* ---- powers --------------------------------------------------------------------------------- */

static thaw_status infer_pow(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    const thaw_value *exponent = thaw_node_in(graph, node, 1);
    if (!exponent || !exponent->data || thaw_value_elements(exponent) != 1)
        return thaw__op_refuse(node, err, "its exponent is not one constant number");
    return thaw__op_infer_unary(graph, node, err);
}

static thaw_status lower_pow(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    const thaw_value *v = thaw__lower_value(l, node, 1);
    float a = v->dtype == THAW_I64 ? (float)*(const int64_t *)v->data : *(const float *)v->data;
    return thaw__op_put_act(l, node, (thaw_epilogue){.act = THAW_ACT_POWER, .a = a}, err);
}

const thaw_op thaw_op_Pow = {.type = "Pow", .infer = infer_pow, .lower = lower_pow};

/* ---- of several ----------------------------------------------------------------------------- */

/* Operands of the shape that all of them make, or smaller ones. */
static thaw_status infer_many(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    if (!thaw__op_begin(graph, node, err)) return THAW_ERR_SHAPE;
    thaw_value *y = thaw_node_out(graph, node, 0);
    const thaw_value *large = NULL;
    for (int i = 0; i < node->n_in; i++) {
        const thaw_value *x = thaw_node_in(graph, node, i);
        if (!x || x->rank < 0 || x->dtype != THAW_F32) return thaw__op_misfit(graph, node, err);
        if (!x->data && (!large || thaw_value_elements(x) > thaw_value_elements(large))) large = x;
    }
    if (!large || large->rank < 2) return thaw__op_misfit(graph, node, err);
    for (int i = 0; i < node->n_in; i++) {
        const thaw_value *x = thaw_node_in(graph, node, i);
        int64_t dims[THAW_MAX_RANK];
        int rank = thaw__fold_broadcast(large->rank, large->dims, x->rank, x->dims, dims);
        bool same =
            rank == large->rank && memcmp(dims, large->dims, (size_t)rank * sizeof *dims) == 0;
        if (!same || (!x->data && (!fits_in(x, large) || !thaw__op_merged_alike(x, large))))
            return thaw__op_misfit(graph, node, err);
    }
    thaw__op_set_shape(y, THAW_F32, large->rank, large->dims);
    y->nhwc = large->nhwc;
    y->merged = large->merged;
    node->alias = node->n_in == 1;
    return THAW_OK;
}

static bool is_number(const thaw_value *v) {
    return v->data && thaw_value_elements(v) == 1;
}

static float number_of(const thaw_value *v) {
    return *(const float *)v->data;
}

/* A constant of several numbers is a step as any other. */
static thaw_port *any_operand(thaw_lowering *l, const thaw_node *node, int i) {
    const thaw_value *v = thaw__lower_value(l, node, i), *y = thaw_node_out(l->graph, node, 0);
    map_constant m;
    if (!v->data) return operand(l, node, i);
    if (!place_constant(l, v, y, &m)) return NULL;
    return thaw__lower_constant(l, node, m.H, m.W, m.C, m.values);
}

static thaw_status lower_sum(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    thaw_port *sum = NULL;
    float constant = 0;
    for (int i = 0; i < node->n_in; i++) {
        const thaw_value *v = thaw__lower_value(l, node, i);
        if (is_number(v)) {
            constant += number_of(v);
            continue;
        }
        thaw_port *x = any_operand(l, node, i);
        sum = sum ? thaw__lower_pair(l, node, THAW_STEP_add, sum, x) : x;
        if (!sum) return thaw__lower_no_memory(node, err);
    }
    float scale = strcmp(node->type, "Mean") == 0 ? 1 / (float)node->n_in : 1;
    sum = thaw__lower_line(l, node, sum, scale, constant * scale);
    return thaw__lower_finish(l, node, sum, err);
}

const thaw_op thaw_op_Sum = {.type = "Sum", .infer = infer_many, .lower = lower_sum};
const thaw_op thaw_op_Mean = {.type = "Mean", .infer = infer_many, .lower = lower_sum};

/* x + max(y - x, 0), or, for the smaller, x + min(y - x, 0). */
static thaw_port *choose(thaw_lowering *l, const thaw_node *node, thaw_port *x, thaw_port *y,
                         thaw_epilogue sign) {
    thaw_port *difference =
        thaw__lower_pair(l, node, THAW_STEP_add, y, thaw__lower_line(l, node, x, -1, 0));
    return thaw__lower_pair(l, node, THAW_STEP_add, x, thaw__lower_act(l, node, difference, sign));
}

/* Against a number it is a clip. */
static thaw_status lower_choice(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    bool largest = strcmp(node->type, "Max") == 0;
    thaw_epilogue clip = {.act = THAW_ACT_CLIP, .a = -INFINITY, .b = INFINITY};
    thaw_epilogue sign = clip;
    *(largest ? &sign.a : &sign.b) = 0;
    int n = 0, one = 0;
    for (int i = 0; i < node->n_in; i++) {
        const thaw_value *v = thaw__lower_value(l, node, i);
        if (!is_number(v)) n++, one = i;
        if (is_number(v) && largest) clip.a = fmaxf(clip.a, number_of(v));
        if (is_number(v) && !largest) clip.b = fminf(clip.b, number_of(v));
    }
    if (n == 1 && one == 0) return thaw__op_put_act(l, node, clip, err);
    thaw_port *y = NULL;
    for (int i = 0; i < node->n_in; i++) {
        if (is_number(thaw__lower_value(l, node, i))) continue;
        thaw_port *x = any_operand(l, node, i);
        y = y ? choose(l, node, y, x, sign) : x;
        if (!y) return thaw__lower_no_memory(node, err);
    }
    if (n < node->n_in) y = thaw__lower_act(l, node, y, clip);
    return thaw__lower_finish(l, node, y, err);
}

const thaw_op thaw_op_Max = {.type = "Max", .infer = infer_many, .lower = lower_choice};
const thaw_op thaw_op_Min = {.type = "Min", .infer = infer_many, .lower = lower_choice};

/* ---- one or the other ----------------------------------------------------------------------- */

/* Which input is a feature map where the other one is a number; 0: neither. */
static int chosen_from(const thaw_graph *graph, const thaw_node *node) {
    for (int i = 1; i <= 2; i++) {
        const thaw_value *x = thaw_node_in(graph, node, i), *k = thaw_node_in(graph, node, 3 - i);
        if (x && k && !x->data && k->data && k->dtype == THAW_F32 && is_number(k)) return i;
    }
    return 0;
}

static thaw_status infer_where(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = thaw_node_out(graph, node, 0);
    const thaw_value *test = thaw_node_in(graph, node, 0);
    int i = chosen_from(graph, node);
    if (!y || !i || !test || !test->data || test->dtype != THAW_I64 || test->step)
        return thaw__op_refuse(node, err,
                               "chooses otherwise than by constants between a map and a number");
    const thaw_value *x = thaw_node_in(graph, node, i);
    int64_t dims[THAW_MAX_RANK];
    int rank = thaw__fold_broadcast(x->rank, x->dims, test->rank, test->dims, dims);
    if (x->dtype != THAW_F32 || x->rank < 2 || rank != x->rank ||
        memcmp(dims, x->dims, (size_t)rank * sizeof *dims) != 0)
        return thaw__op_misfit(graph, node, err);
    thaw__op_set_shape(y, THAW_F32, x->rank, x->dims);
    y->nhwc = x->nhwc;
    y->merged = x->merged;
    return THAW_OK;
}

/* x times ones and zeros, plus zeros and the number. */
static thaw_status lower_where(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    int i = chosen_from(l->graph, node);
    const thaw_value *test = thaw__lower_value(l, node, 0), *y = thaw_node_out(l->graph, node, 0);
    float number = number_of(thaw__lower_value(l, node, 3 - i));
    int64_t n = thaw_value_elements(test);
    thaw_value factor = *test, term = *test;
    float *factors = thaw__lower_floats(l->arena, NULL, n);
    float *terms = thaw__lower_floats(l->arena, NULL, n);
    for (int64_t k = 0; factors && terms && k < n; k++) {
        bool kept = (((const int64_t *)test->data)[k] != 0) == (i == 1);
        factors[k] = kept ? 1 : 0;
        terms[k] = kept ? 0 : number;
    }
    factor.data = factors;
    term.data = terms;
    map_constant a, b;
    if (!factors || !terms || !place_constant(l, &factor, y, &a) ||
        !place_constant(l, &term, y, &b))
        return thaw__lower_no_memory(node, err);
    thaw_port *x = thaw__lower_port(l, node, i);
    x = thaw__lower_pair(l, node, THAW_STEP_mul, x,
                         thaw__lower_constant(l, node, a.H, a.W, a.C, a.values));
    if (number != 0)
        x = thaw__lower_pair(l, node, THAW_STEP_add, x,
                             thaw__lower_constant(l, node, b.H, b.W, b.C, b.values));
    return thaw__lower_finish(l, node, x, err);
}

const thaw_op thaw_op_Where = {.type = "Where", .infer = infer_where, .lower = lower_where};
