#include "lowering.h"

#include <math.h>
#include <string.h>

/* ---- ports and steps ------------------------------------------------------------------------ */

thaw_status thaw__lower_no_memory(const thaw_node *node, thaw_error *err) {
    return thaw_fail_memory(err, "to plan %s (%s)", node->name, node->type);
}

const thaw_value *thaw__lower_value(const thaw_lowering *l, const thaw_node *node, int i) {
    return thaw_node_in(l->graph, node, i);
}

int thaw__lower_root(const thaw_lowering *l, int value) {
    return l->graph->values[value].root;
}

thaw_port *thaw__lower_port(const thaw_lowering *l, const thaw_node *node, int i) {
    return l->port[thaw__lower_root(l, node->in[i])];
}

const thaw_node *thaw__lower_only_reader(const thaw_lowering *l, const thaw_node *node,
                                         const struct thaw_op *op) {
    int root = thaw__lower_root(l, node->out[0]), reader = l->reader[root];
    if (l->uses[root] != 1 || reader < 0 || l->graph->nodes[reader].op != op) return NULL;
    return &l->graph->nodes[reader];
}

thaw_step *thaw__lower_producer(const thaw_lowering *l, const thaw_node *node, int i) {
    int root = thaw__lower_root(l, node->in[i]);
    if (l->uses[root] != 1 || l->step[root] < 0) return NULL;
    return &l->program.steps[l->step[root]];
}

bool thaw__lower_is_plain(const thaw_step *step) {
    return step->epilogue.act == THAW_ACT_NONE && !step->epilogue.residual;
}

int thaw__lower_number(const thaw_lowering *l, const thaw_step *step) {
    return (int)(step - l->program.steps);
}

bool thaw__lower_read_after(const thaw_lowering *l, const thaw_port *port, int step) {
    return l->last_read[port - l->program.ports] > step;
}

bool thaw__lower_is_taken(const thaw_lowering *l, const thaw_port *port) {
    return l->taken[port - l->program.ports];
}

/* ---- making steps -------------------------------------------------------------------------- */

thaw_port thaw__lower_shape(const thaw_lowering *l, const thaw_value *v) {
    int64_t size[3];
    thaw_value_picture(v, size);
    return (thaw_port){
        .N = l->batch, .C = size[THAW_IN_C], .H = size[THAW_IN_H], .W = size[THAW_IN_W]};
}

thaw_step *thaw__lower_step(thaw_lowering *l, thaw_step_kind kind, const char *name, int out,
                            int n_in) {
    thaw_program *p = &l->program;
    if (p->n_steps == l->most) return NULL;
    thaw_step *step = &p->steps[p->n_steps];
    thaw_port *port = &p->ports[p->n_ports];
    *step = (thaw_step){.kind = kind, .name = name, .n_in = n_in, .out = port};
    step->in = thaw_arena_array(l->arena, (size_t)n_in + 1, sizeof *step->in); /* + a residual */
    if (!step->in) return NULL;
    if (p->origins) p->origins[p->n_steps] = (thaw_step_origins){.norm = -1};
    l->last_read[p->n_ports++] = -1;
    p->n_steps++;
    if (out < 0) return step;
    *port = thaw__lower_shape(l, &l->graph->values[out]);
    thaw__lower_place(l, out, p->n_steps - 1);
    return step;
}

thaw_step *thaw__lower_step_for(thaw_lowering *l, thaw_step_kind kind, const thaw_node *node,
                                int n_in) {
    thaw_step *step = thaw__lower_step(l, kind, node->name, node->out[0], n_in);
    for (int i = 0; step && i < n_in; i++)
        thaw__lower_read(l, step, i, thaw__lower_port(l, node, i));
    return step;
}

void thaw__lower_read(thaw_lowering *l, thaw_step *step, int i, thaw_port *port) {
    int *last = &l->last_read[port - l->program.ports], number = thaw__lower_number(l, step);
    step->in[i] = port;
    if (*last < number) *last = number;
}

void thaw__lower_take(thaw_lowering *l, thaw_step *step, thaw_port *residual) {
    thaw__lower_read(l, step, step->n_in++, residual);
    step->epilogue.residual = true;
    l->taken[residual - l->program.ports] = true;
}

void thaw__lower_place(thaw_lowering *l, int value, int step) {
    int root = thaw__lower_root(l, value);
    l->port[root] = l->program.steps[step].out;
    l->step[root] = step;
}

void thaw__lower_melt(thaw_lowering *l, const thaw_node *node, int i) {
    thaw__lower_place(l, node->out[0], l->step[thaw__lower_root(l, node->in[i])]);
}

void thaw__lower_drop(thaw_step *step) {
    step->out = NULL;
}

void thaw__lower_done(thaw_lowering *l, const thaw_node *node) {
    for (int k = 0; k < node->n_in; k++) {
        const thaw_value *in = thaw_node_in(l->graph, node, k);
        if (in && !in->data) l->lowered[in->root]++;
    }
}

thaw_step_origins *thaw__lower_origins(thaw_lowering *l, const thaw_step *step) {
    return l->program.origins ? &l->program.origins[thaw__lower_number(l, step)] : NULL;
}

/* ---- a node as several steps ------------------------------------------------------------------ */

/* A step that reads x and makes C x H x W. */
static thaw_step *append(thaw_lowering *l, thaw_step_kind kind, const thaw_node *node, thaw_port *x,
                         int64_t C, int64_t H, int64_t W) {
    thaw_step *step = x ? thaw__lower_step(l, kind, node->name, -1, 1) : NULL;
    if (!step) return NULL;
    thaw__lower_read(l, step, 0, x);
    *step->out = (thaw_port){.N = x->N, .C = C, .H = H, .W = W};
    return step;
}

thaw_port *thaw__lower_act(thaw_lowering *l, const thaw_node *node, thaw_port *x, thaw_epilogue e) {
    thaw_step *step = x ? append(l, THAW_STEP_act, node, x, x->C, x->H, x->W) : NULL;
    if (!step) return NULL;
    step->epilogue = e;
    return step->out;
}

thaw_port *thaw__lower_scaled(thaw_lowering *l, const thaw_node *node, thaw_port *x,
                              const float *scale, const float *shift) {
    thaw_step *step =
        x && scale && shift ? append(l, THAW_STEP_affine, node, x, x->C, x->H, x->W) : NULL;
    if (!step) return NULL;
    step->scale = scale;
    step->shift = shift;
    return step->out;
}

static float *repeated(thaw_lowering *l, float value, int64_t n) {
    float *to = thaw__lower_floats(l->arena, NULL, n);
    for (int64_t i = 0; to && i < n; i++)
        to[i] = value;
    return to;
}

thaw_port *thaw__lower_line(thaw_lowering *l, const thaw_node *node, thaw_port *x, float a,
                            float b) {
    if (!x || (a == 1 && b == 0)) return x;
    return thaw__lower_scaled(l, node, x, repeated(l, a, x->C), repeated(l, b, x->C));
}

static bool is_as_large(const thaw_port *x, int64_t C, int64_t H, int64_t W) {
    return x->C == C && x->H == H && x->W == W;
}

/* Which of v's channels y's channel k is. */
static int64_t channel_of(const thaw_value *v, const thaw_value *y, int64_t k) {
    int64_t channel = 0, step = 1;
    for (int i = y->rank - 1; i >= 1; i--) {
        int own = i - y->rank + v->rank;
        if (thaw_value_place(y, i) != THAW_IN_C) continue;
        bool there = own >= 1 && v->dims[own] != 1;
        if (there) channel += k % y->dims[i] * step;
        if (there) step *= v->dims[own];
        k /= y->dims[i];
    }
    return channel;
}

thaw_port *thaw__lower_widened(thaw_lowering *l, const thaw_node *node, thaw_port *x,
                               const thaw_value *v, const thaw_value *y) {
    int64_t K = thaw__lower_shape(l, y).C;
    float *w = x ? thaw__lower_floats(l->arena, NULL, K * x->C) : NULL;
    for (int64_t k = 0; w && k < K; k++)
        w[k * x->C + channel_of(v, y, k)] = 1;
    return thaw__lower_mixed(l, node, x, K, w, NULL);
}

thaw_port *thaw__lower_repeated(thaw_lowering *l, const thaw_node *node, thaw_port *x, int64_t C) {
    return thaw__lower_mixed(l, node, x, C, repeated(l, 1, C), NULL);
}

/* Of two operands that are smaller than the result each. */
static thaw_port *spread_all(thaw_lowering *l, const thaw_node *node, thaw_port *x, int64_t C,
                             int64_t H, int64_t W) {
    x = thaw__lower_spread(l, node, x, H, W);
    return !x || x->C == C ? x : thaw__lower_repeated(l, node, x, C);
}

/* A smaller operand is spread by the step, but not along one of H and W alone. */
thaw_port *thaw__lower_pair(thaw_lowering *l, const thaw_node *node, thaw_step_kind kind,
                            thaw_port *x, thaw_port *y) {
    if (!x || !y) return NULL;
    int64_t C = x->C > y->C ? x->C : y->C, H = x->H > y->H ? x->H : y->H;
    int64_t W = x->W > y->W ? x->W : y->W;
    thaw_port *large = is_as_large(x, C, H, W) ? x : y, *small = large == x ? y : x;
    large = spread_all(l, node, large, C, H, W);
    if (small->H * small->W > 1) small = thaw__lower_spread(l, node, small, H, W);
    if (!large || !small) return NULL;
    thaw_step *step = thaw__lower_step(l, kind, node->name, -1, 2);
    if (!step) return NULL;
    thaw__lower_read(l, step, 0, large);
    thaw__lower_read(l, step, 1, small);
    *step->out = (thaw_port){.N = l->batch, .C = C, .H = H, .W = W};
    return step->out;
}

static thaw_window plain_window(int64_t R, int64_t S) {
    return (thaw_window){
        .R = R, .S = S, .stride_h = R, .stride_w = S, .dilation_h = 1, .dilation_w = 1};
}

thaw_port *thaw__lower_mixed(thaw_lowering *l, const thaw_node *node, thaw_port *x, int64_t K,
                             const float *w, const float *b) {
    bool vector = x && x->H * x->W == 1;
    thaw_step *step =
        x && w ? append(l, vector ? THAW_STEP_dense : THAW_STEP_conv, node, x, K, x->H, x->W)
               : NULL;
    if (!step) return NULL;
    step->w = w;
    step->b = b;
    step->conv = (thaw_conv_shape){.N = x->N,
                                   .H = x->H,
                                   .W = x->W,
                                   .C = x->C,
                                   .P = x->H,
                                   .Q = x->W,
                                   .K = K,
                                   .G = 1,
                                   .window = plain_window(1, 1)};
    return step->out;
}

thaw_port *thaw__lower_pooled(thaw_lowering *l, const thaw_node *node, thaw_port *x, bool max,
                              int64_t R, int64_t S) {
    if (!x || R * S == 1) return x;
    bool whole = !max && R == x->H && S == x->W;
    thaw_step *step = append(l, whole ? THAW_STEP_global_mean : THAW_STEP_pool, node, x, x->C,
                             x->H / R, x->W / S);
    if (!step) return NULL;
    if (!whole)
        step->pool = (thaw_pool_shape){.N = x->N,
                                       .H = x->H,
                                       .W = x->W,
                                       .C = x->C,
                                       .P = x->H / R,
                                       .Q = x->W / S,
                                       .window = plain_window(R, S),
                                       .max = max};
    return step->out;
}

thaw_port *thaw__lower_resampled(thaw_lowering *l, const thaw_node *node, thaw_port *x, int64_t H,
                                 int64_t W, thaw_taps rows, thaw_taps columns) {
    bool there = x && rows.from && rows.weight && columns.from && columns.weight;
    thaw_step *step = there ? append(l, THAW_STEP_resample, node, x, x->C, H, W) : NULL;
    if (!step) return NULL;
    step->rows = rows;
    step->columns = columns;
    return step->out;
}

/* One of x's places for each of y's: the same, or the only one. */
static thaw_taps one_each(thaw_lowering *l, int64_t in, int64_t out) {
    int32_t *from = thaw_arena_array(l->arena, (size_t)out, sizeof *from);
    for (int64_t i = 0; from && i < out && in > 1; i++)
        from[i] = (int32_t)i;
    return (thaw_taps){1, from, repeated(l, 1, out)};
}

thaw_port *thaw__lower_spread(thaw_lowering *l, const thaw_node *node, thaw_port *x, int64_t H,
                              int64_t W) {
    if (!x || (x->H == H && x->W == W)) return x;
    return thaw__lower_resampled(l, node, x, H, W, one_each(l, x->H, H), one_each(l, x->W, W));
}

thaw_port *thaw__lower_reshaped(thaw_lowering *l, const thaw_node *node, thaw_port *x, int64_t C,
                                int64_t H, int64_t W) {
    if (!x || is_as_large(x, C, H, W)) return x;
    thaw_step *step = append(l, THAW_STEP_reshape, node, x, C, H, W);
    return step ? step->out : NULL;
}

thaw_port *thaw__lower_sliced(thaw_lowering *l, const thaw_node *node, thaw_port *x, int64_t first,
                              int64_t C) {
    thaw_step *step = x ? append(l, THAW_STEP_slice, node, x, C, x->H, x->W) : NULL;
    if (!step) return NULL;
    step->first = first;
    return step->out;
}

thaw_port *thaw__lower_transposed(thaw_lowering *l, const thaw_node *node, thaw_port *x,
                                  const thaw_permutation *axes, int64_t C, int64_t H, int64_t W) {
    thaw_step *step = append(l, THAW_STEP_transpose, node, x, C, H, W);
    if (!step) return NULL;
    step->axes = *axes;
    return step->out;
}

thaw_port *thaw__lower_in_order(thaw_lowering *l, const thaw_node *node, int i, int64_t C,
                                int64_t H, int64_t W) {
    const thaw_value *v = thaw__lower_value(l, node, i);
    thaw_port *x = thaw__lower_port(l, node, i);
    bool turned = v->rank == 4 && v->nhwc && x->C > 1 && x->H * x->W > 1;
    if (!turned) return thaw__lower_reshaped(l, node, x, C, H, W);
    return thaw__lower_transposed(l, node, x, &(thaw_permutation){2, {x->C, x->H * x->W}, {1, 0}},
                                  C, H, W);
}

thaw_port *thaw__lower_constant(thaw_lowering *l, const thaw_node *node, int64_t H, int64_t W,
                                int64_t C, const float *w) {
    thaw_step *step = w ? thaw__lower_step(l, THAW_STEP_constant, node->name, -1, 0) : NULL;
    if (!step) return NULL;
    *step->out = (thaw_port){.N = l->batch, .C = C, .H = H, .W = W};
    step->w = w;
    return step->out;
}

thaw_status thaw__lower_finish(thaw_lowering *l, const thaw_node *node, thaw_port *made,
                               thaw_error *err) {
    return thaw__lower_finish_output(l, node, 0, made, err);
}

thaw_status thaw__lower_finish_output(thaw_lowering *l, const thaw_node *node, int k,
                                      thaw_port *made, thaw_error *err) {
    thaw_port want = thaw__lower_shape(l, &l->graph->values[node->out[k]]);
    if (made && made->C * made->H * made->W != want.C * want.H * want.W)
        return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                         "%s (%s): Thaw does not lay out operands of these dimensions", node->name,
                         node->type);
    made = thaw__lower_reshaped(l, node, made, want.C, want.H, want.W);
    for (int i = 0; made && i < node->n_in; i++) { /* Two values never share their memory. */
        const thaw_value *in = thaw__lower_value(l, node, i);
        if (!in || in->data || made != l->port[in->root]) continue;
        thaw_step *copy = append(l, THAW_STEP_reshape, node, made, want.C, want.H, want.W);
        made = copy ? copy->out : NULL;
    }
    if (!made) return thaw__lower_no_memory(node, err);
    int step = l->program.n_steps - 1;
    while (step > 0 && l->program.steps[step].out != made)
        step--;
    thaw__lower_place(l, node->out[k], step);
    return THAW_OK;
}

/* ---- constants: scales and shifts ---------------------------------------------------------- */

float *thaw__lower_floats(thaw_arena *arena, const float *from, int64_t n) {
    float *to = thaw_arena_array(arena, (size_t)n, sizeof *to);
    if (to && from) memcpy(to, from, (size_t)n * sizeof *to);
    return to;
}

/* A copy that may be written to: made once a step, however many scales follow it. */
static bool own_floats(thaw_lowering *l, bool owned, const float **values, int64_t n) {
    if (!owned) *values = thaw__lower_floats(l->arena, *values, n);
    return *values != NULL;
}

/* Melts y = x * scale[k] + shift[k] into the weights that make x. In double: folding must not cost
 * more than the last bit. */
static thaw_status fold_into_weights(thaw_lowering *l, thaw_step *step, const double *scale,
                                     const double *shift, const thaw_node *node, thaw_error *err) {
    int64_t K = step->conv.K;
    int64_t each = step->conv.C / step->conv.G * step->conv.window.R * step->conv.window.S;
    bool *owned = &l->folded[thaw__lower_number(l, step)];
    if (!own_floats(l, *owned, &step->w, K * each) || !own_floats(l, *owned, &step->b, K))
        return thaw__lower_no_memory(node, err);
    *owned = true;
    float *w = (float *)step->w, *b = (float *)step->b;
    for (int64_t k = 0; k < K; k++) {
        for (int64_t i = 0; i < each; i++)
            w[k * each + i] = (float)(w[k * each + i] * scale[k]);
        b[k] = (float)(b[k] * scale[k] + shift[k]);
    }
    return THAW_OK;
}

static thaw_status fold_into_scale(thaw_lowering *l, thaw_step *step, int64_t C,
                                   const double *scale, const double *shift, const thaw_node *node,
                                   thaw_error *err) {
    bool *owned = &l->folded[thaw__lower_number(l, step)];
    if (!own_floats(l, *owned, &step->scale, C) || !own_floats(l, *owned, &step->shift, C))
        return thaw__lower_no_memory(node, err);
    *owned = true;
    float *s = (float *)step->scale, *t = (float *)step->shift;
    for (int64_t c = 0; c < C; c++) {
        t[c] = (float)(t[c] * scale[c] + shift[c]);
        s[c] = (float)(s[c] * scale[c]);
    }
    return THAW_OK;
}

thaw_status thaw__lower_affine(thaw_lowering *l, const thaw_node *node, int i, const double *scale,
                               const double *shift, thaw_error *err) {
    thaw_step *made_by = thaw__lower_producer(l, node, i);
    int64_t C = thaw__lower_port(l, node, i)->C;
    if (made_by && thaw__lower_is_plain(made_by) && !l->training) {
        if (made_by->kind == THAW_STEP_conv || made_by->kind == THAW_STEP_dense) {
            thaw__lower_melt(l, node, i);
            return fold_into_weights(l, made_by, scale, shift, node, err);
        }
        if (made_by->kind == THAW_STEP_affine || made_by->kind == THAW_STEP_import) {
            thaw__lower_melt(l, node, i);
            return fold_into_scale(l, made_by, C, scale, shift, node, err);
        }
    }
    thaw_step *step = thaw__lower_step(l, THAW_STEP_affine, node->name, node->out[0], 1);
    float *s = thaw_arena_array(l->arena, (size_t)C, sizeof *s);
    float *t = thaw_arena_array(l->arena, (size_t)C, sizeof *t);
    if (!step || !s || !t) return thaw__lower_no_memory(node, err);
    thaw__lower_read(l, step, 0, thaw__lower_port(l, node, i));
    for (int64_t c = 0; c < C; c++) {
        s[c] = (float)scale[c];
        t[c] = (float)shift[c];
    }
    step->scale = s;
    step->shift = t;
    return THAW_OK;
}
