#include "lower.h"

#include <math.h>
#include <string.h>

#include "cuts.h"
#include "ops.h"

static thaw_status no_memory(const thaw_node *node, thaw_error *err) {
    return thaw_fail_memory(err, "to plan %s (%s)", node->name, node->type);
}

/* ---- ports and steps ----------------------------------------------------------------------- */

static const thaw_value *in_value(const thaw_lowering *l, const thaw_node *node, int i) {
    return thaw_node_in(l->graph, node, i);
}

static int root_of(const thaw_lowering *l, int value) {
    return l->graph->values[value].root;
}

static thaw_port *in_port(const thaw_lowering *l, const thaw_node *node, int i) {
    return l->port[root_of(l, node->in[i])];
}

/* The step that makes input i, if this node is its only reader. */
static thaw_step *sole_producer(const thaw_lowering *l, const thaw_node *node, int i) {
    int root = root_of(l, node->in[i]);
    if (l->uses[root] != 1 || l->step[root] < 0) return NULL;
    return &l->program.steps[l->step[root]];
}

static void port_from_value(const thaw_lowering *l, const thaw_value *v, thaw_port *port) {
    const int64_t *d = v->dims;
    *port = (thaw_port){.N = l->batch, .H = 1, .W = 1, .C = d[1]};
    if (v->rank == 4 && v->nhwc)
        *port = (thaw_port){.N = l->batch, .H = d[1], .W = d[2], .C = d[3]};
    if (v->rank == 4 && !v->nhwc)
        *port = (thaw_port){.N = l->batch, .C = d[1], .H = d[2], .W = d[3]};
}

/* The value now lies in the port that step made. */
static void place(thaw_lowering *l, int value, int step) {
    int root = root_of(l, value);
    l->port[root] = l->program.steps[step].out;
    l->step[root] = step;
}

/* A new step with room for n_in inputs whose output is the node's. NULL: out of memory. */
static thaw_step *new_step(thaw_lowering *l, thaw_step_kind kind, const char *name, int out,
                           int n_in) {
    thaw_program *p = &l->program;
    thaw_step *step = &p->steps[p->n_steps];
    thaw_port *port = &p->ports[p->n_ports];
    *step = (thaw_step){.kind = kind, .name = name, .n_in = n_in, .out = port};
    step->in = thaw_arena_array(l->arena, (size_t)n_in + 1, sizeof *step->in); /* + a residual */
    if (!step->in) return NULL;
    port_from_value(l, &l->graph->values[out], port);
    p->n_ports++;
    place(l, out, p->n_steps++);
    return step;
}

static thaw_step *step_for(thaw_lowering *l, thaw_step_kind kind, const thaw_node *node, int n_in) {
    thaw_step *step = new_step(l, kind, node->name, node->out[0], n_in);
    for (int i = 0; step && i < n_in; i++)
        step->in[i] = in_port(l, node, i);
    return step;
}

/* The node's output is what input i's step makes: the node melted into that step. */
static void melt(thaw_lowering *l, const thaw_node *node, int i) {
    place(l, node->out[0], l->step[root_of(l, node->in[i])]);
}

/* The step melted into another one; it is left out at the end. */
static void drop(thaw_step *step) {
    step->out = NULL;
}

static bool is_plain(const thaw_step *step) {
    return step->epilogue.act == THAW_ACT_NONE && !step->epilogue.residual;
}

/* ---- constants: scales and shifts ---------------------------------------------------------- */

static float *copy_floats(thaw_arena *arena, const float *from, int64_t n) {
    float *to = thaw_arena_array(arena, (size_t)n, sizeof *to);
    if (to && from) memcpy(to, from, (size_t)n * sizeof *to);
    return to;
}

/* Melts y = x * scale[k] + shift[k] into the weights that make x. In double: folding must not cost
 * more than the last bit. */
static thaw_status fold_into_weights(thaw_lowering *l, thaw_step *step, const double *scale,
                                     const double *shift, const thaw_node *node, thaw_error *err) {
    int64_t K = step->conv.K;
    int64_t each = step->conv.C / step->conv.G * step->conv.window.R * step->conv.window.S;
    float *w = copy_floats(l->arena, step->w, K * each), *b = copy_floats(l->arena, step->b, K);
    if (!w || !b) return no_memory(node, err);
    for (int64_t k = 0; k < K; k++) {
        for (int64_t i = 0; i < each; i++)
            w[k * each + i] = (float)(w[k * each + i] * scale[k]);
        b[k] = (float)(b[k] * scale[k] + shift[k]);
    }
    step->w = w;
    step->b = b;
    return THAW_OK;
}

static thaw_status fold_into_scale(thaw_lowering *l, thaw_step *step, int64_t C,
                                   const double *scale, const double *shift, const thaw_node *node,
                                   thaw_error *err) {
    float *s = copy_floats(l->arena, step->scale, C), *t = copy_floats(l->arena, step->shift, C);
    if (!s || !t) return no_memory(node, err);
    for (int64_t c = 0; c < C; c++) {
        t[c] = (float)(t[c] * scale[c] + shift[c]);
        s[c] = (float)(s[c] * scale[c]);
    }
    step->scale = s;
    step->shift = t;
    return THAW_OK;
}

/* y = x * scale[c] + shift[c] for input i: melted into what makes x, or a step of its own. */
static thaw_status affine(thaw_lowering *l, const thaw_node *node, int i, const double *scale,
                          const double *shift, thaw_error *err) {
    thaw_step *made_by = sole_producer(l, node, i);
    int64_t C = in_port(l, node, i)->C;
    if (made_by && is_plain(made_by)) {
        if (made_by->kind == THAW_STEP_conv || made_by->kind == THAW_STEP_dense) {
            melt(l, node, i);
            return fold_into_weights(l, made_by, scale, shift, node, err);
        }
        if (made_by->kind == THAW_STEP_affine || made_by->kind == THAW_STEP_import) {
            melt(l, node, i);
            return fold_into_scale(l, made_by, C, scale, shift, node, err);
        }
    }
    thaw_step *step = new_step(l, THAW_STEP_affine, node->name, node->out[0], 1);
    float *s = thaw_arena_array(l->arena, (size_t)C, sizeof *s);
    float *t = thaw_arena_array(l->arena, (size_t)C, sizeof *t);
    if (!step || !s || !t) return no_memory(node, err);
    step->in[0] = in_port(l, node, i);
    for (int64_t c = 0; c < C; c++) {
        s[c] = (float)scale[c];
        t[c] = (float)shift[c];
    }
    step->scale = s;
    step->shift = t;
    return THAW_OK;
}

/* Whether a constant is one number, or one for each of the C channels that are `axis` of y. */
static bool is_channel_vector(const thaw_value *v, int64_t C, const thaw_value *y, int axis) {
    int64_t n = thaw_value_elements(v);
    if (n == 1) return true;
    axis += v->rank - y->rank; /* Broadcasting aligns at the right. */
    return n == C && axis >= 0 && axis < v->rank && v->dims[axis] == C;
}

typedef enum arithmetic { PLUS, MINUS, TIMES, OVER } arithmetic;

/* x op constant, or constant op x, as an affine. */
static thaw_status with_constant(thaw_lowering *l, const thaw_node *node, arithmetic op,
                                 thaw_error *err) {
    int runtime = in_value(l, node, 0)->data ? 1 : 0;
    const thaw_value *k = in_value(l, node, 1 - runtime);
    const thaw_value *y = thaw_node_out(l->graph, node, 0);
    int axis = y->nhwc ? 3 : 1;
    int64_t C = y->dims[axis];
    bool scalar = thaw_value_elements(k) == 1;
    if (!is_channel_vector(k, C, y, axis) || (op == OVER && runtime == 1))
        return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                         "%s (%s): the constant must be one number, or one for each channel",
                         node->name, node->type);
    double *scale = thaw_arena_array(l->arena, (size_t)C, sizeof *scale);
    double *shift = thaw_arena_array(l->arena, (size_t)C, sizeof *shift);
    if (!scale || !shift) return no_memory(node, err);
    for (int64_t c = 0; c < C; c++) {
        double value = ((const float *)k->data)[scalar ? 0 : c];
        scale[c] = op == TIMES ? value : op == OVER ? 1 / value : 1;
        shift[c] = op == PLUS ? value : op == MINUS ? -value : 0;
        if (op == MINUS && runtime == 1) { /* constant - x */
            scale[c] = -1;
            shift[c] = value;
        }
    }
    return affine(l, node, runtime, scale, shift, err);
}

thaw_status thaw_lower_batch_norm(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    int64_t C = in_port(l, node, 0)->C;
    const float *p[5];
    for (int i = 1; i <= 4; i++) {
        p[i] = thaw_value_floats(l->graph, node, i, C, err);
        if (!p[i]) return THAW_ERR_SHAPE;
    }
    double epsilon = thaw_node_float(node, "epsilon", 1e-5f);
    double *scale = thaw_arena_array(l->arena, (size_t)C, sizeof *scale);
    double *shift = thaw_arena_array(l->arena, (size_t)C, sizeof *shift);
    if (!scale || !shift) return no_memory(node, err);
    for (int64_t c = 0; c < C; c++) {
        scale[c] = p[1][c] / sqrt(p[4][c] + epsilon);
        shift[c] = p[2][c] - p[3][c] * scale[c];
    }
    return affine(l, node, 0, scale, shift, err);
}

thaw_status thaw_lower_layer_norm(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    thaw_step *step = step_for(l, THAW_STEP_layer_norm, node, 1);
    if (!step) return no_memory(node, err);
    int64_t C = step->out->C;
    const thaw_value *scale = in_value(l, node, 1), *shift = in_value(l, node, 2);
    float *ones = copy_floats(l->arena, scale ? scale->data : NULL, C);
    float *zeros = copy_floats(l->arena, shift ? shift->data : NULL, C);
    if (!ones || !zeros) return no_memory(node, err);
    for (int64_t c = 0; c < C && !scale; c++)
        ones[c] = 1;
    step->scale = ones;
    step->shift = zeros;
    step->epsilon = thaw_node_float(node, "epsilon", 1e-5f);
    return THAW_OK;
}

/* Whether a step from number `first` on writes a sum over the port's memory. */
static bool taken_over(const thaw_lowering *l, const thaw_port *port, int first) {
    for (int s = first; s < l->program.n_steps; s++) {
        const thaw_step *step = &l->program.steps[s];
        if (step->out && step->epilogue.residual && step->in[step->n_in - 1] == port) return true;
    }
    return false;
}

/* ---- layers -------------------------------------------------------------------------------- */

thaw_status thaw_lower_conv(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    thaw_step *before = sole_producer(l, node, 0);
    thaw_step *step = new_step(l, THAW_STEP_conv, node->name, node->out[0], 1);
    if (!step) return no_memory(node, err);
    const thaw_value *w = in_value(l, node, 1), *b = in_value(l, node, 2);
    step->in[0] = in_port(l, node, 0);
    thaw_window window;
    int64_t P, Q;
    THAW_TRY(thaw_op_window(l->graph, node, &window, &P, &Q, err));
    /* A border of zeros is the window's own. */
    if (before && before->kind == THAW_STEP_pad &&
        !taken_over(l, before->in[0], (int)(before - l->program.steps))) {
        const thaw_window *border = &before->conv.window;
        step->in[0] = before->in[0];
        window.pad_top += border->pad_top;
        window.pad_left += border->pad_left;
        window.pad_bottom += border->pad_bottom;
        window.pad_right += border->pad_right;
        drop(before);
    }
    const thaw_port *x = step->in[0];
    step->w = w->data;
    step->b = b ? b->data : NULL;
    step->conv = (thaw_conv_shape){.N = l->batch,
                                   .H = x->H,
                                   .W = x->W,
                                   .C = x->C,
                                   .P = P,
                                   .Q = Q,
                                   .K = w->dims[0],
                                   .G = thaw_node_int(node, "group", 1),
                                   .window = window};
    return THAW_OK;
}

/* Gemm: alpha x w^T + beta b; MatMul: x w, where x may be a map N,H,W,C. */
thaw_status thaw_lower_dense(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    const thaw_value *w = in_value(l, node, 1), *b = in_value(l, node, 2);
    bool transposed = thaw_node_int(node, "transB", 0) != 0;
    float alpha = thaw_node_float(node, "alpha", 1), beta = thaw_node_float(node, "beta", 1);
    int64_t K = w->dims[transposed ? 0 : 1], C = w->dims[transposed ? 1 : 0];
    float *kc = thaw_arena_array(l->arena, (size_t)(K * C), sizeof *kc);
    float *bias = thaw_arena_array(l->arena, (size_t)K, sizeof *bias);
    const thaw_port *x = in_port(l, node, 0);
    bool map = x->H * x->W > 1;
    thaw_step *step =
        new_step(l, map ? THAW_STEP_conv : THAW_STEP_dense, node->name, node->out[0], 1);
    if (!kc || !bias || !step) return no_memory(node, err);
    const float *from = w->data;
    for (int64_t k = 0; k < K; k++)
        for (int64_t c = 0; c < C; c++)
            kc[k * C + c] = alpha * (transposed ? from[k * C + c] : from[c * K + k]);
    bool scalar = b && thaw_value_elements(b) == 1;
    for (int64_t k = 0; b && k < K; k++)
        bias[k] = beta * ((const float *)b->data)[scalar ? 0 : k];
    step->in[0] = in_port(l, node, 0);
    step->w = kc;
    step->b = bias;
    step->conv = (thaw_conv_shape){
        .N = l->batch,
        .H = x->H,
        .W = x->W,
        .C = C,
        .P = x->H,
        .Q = x->W,
        .K = K,
        .G = 1,
        .window = {.R = 1, .S = 1, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1}};
    return THAW_OK;
}

/* A step that pads `x` as the window says; the padded port is not the node's output. */
static thaw_port *pad_before(thaw_lowering *l, const thaw_node *node, thaw_port *x,
                             const thaw_window *w) {
    thaw_program *p = &l->program;
    thaw_step *step = &p->steps[p->n_steps++];
    thaw_port *out = &p->ports[p->n_ports++];
    *step = (thaw_step){.kind = THAW_STEP_pad, .name = node->name, .n_in = 1, .out = out};
    step->in = thaw_arena_array(l->arena, 1, sizeof *step->in);
    if (!step->in) return NULL;
    step->in[0] = x;
    step->conv.window = *w;
    *out = (thaw_port){.N = x->N,
                       .C = x->C,
                       .H = x->H + w->pad_top + w->pad_bottom,
                       .W = x->W + w->pad_left + w->pad_right};
    return out;
}

thaw_status thaw_lower_pool(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    thaw_pool_shape pool = {.N = l->batch, .max = strcmp(node->type, "MaxPool") == 0};
    THAW_TRY(thaw_op_window(l->graph, node, &pool.window, &pool.P, &pool.Q, err));
    thaw_port *x = in_port(l, node, 0);
    pool.count_include_pad = !pool.max && thaw_node_int(node, "count_include_pad", 0) != 0;
    thaw_window *w = &pool.window;
    int64_t reach_h = (w->R - 1) * w->dilation_h + 1, reach_w = (w->S - 1) * w->dilation_w + 1;
    bool past_pad = (pool.P - 1) * w->stride_h + reach_h > w->pad_top + x->H + w->pad_bottom ||
                    (pool.Q - 1) * w->stride_w + reach_w > w->pad_left + x->W + w->pad_right;
    if (pool.count_include_pad && past_pad) {
        /* The pads count in the mean, what ceil_mode adds beyond them does not: so the pads become
         * pixels. */
        x = pad_before(l, node, x, w);
        if (!x) return no_memory(node, err);
        w->pad_top = w->pad_left = w->pad_bottom = w->pad_right = 0;
        pool.count_include_pad = false;
    }
    thaw_step *step = new_step(l, THAW_STEP_pool, node->name, node->out[0], 1);
    if (!step) return no_memory(node, err);
    step->in[0] = x;
    pool.H = x->H;
    pool.W = x->W;
    pool.C = x->C;
    step->pool = pool;
    return THAW_OK;
}

thaw_status thaw_lower_global_mean(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    return step_for(l, THAW_STEP_global_mean, node, 1) ? THAW_OK : no_memory(node, err);
}

thaw_status thaw_lower_flatten(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    return step_for(l, THAW_STEP_flatten, node, 1) ? THAW_OK : no_memory(node, err);
}

thaw_status thaw_lower_concat(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    thaw_step *step = step_for(l, THAW_STEP_concat, node, node->n_in);
    return step ? THAW_OK : no_memory(node, err);
}

thaw_status thaw_lower_pad(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    thaw_step *step = step_for(l, THAW_STEP_pad, node, 1);
    if (!step) return no_memory(node, err);
    return thaw_op_pads(l->graph, node, &step->conv.window, err);
}

/* ---- activations --------------------------------------------------------------------------- */

static bool read_act(const thaw_lowering *l, const thaw_node *node, thaw_epilogue *e) {
    const char *type = node->type;
    if (strcmp(type, "Relu") == 0 || strcmp(type, "Clip") == 0) {
        e->act = THAW_ACT_CLIP;
        return thaw_op_clip(l->graph, node, &e->a, &e->b);
    }
    if (strcmp(type, "Gelu") == 0) {
        e->act = THAW_ACT_GELU;
    } else if (strcmp(type, "LeakyRelu") == 0) {
        e->act = THAW_ACT_LEAKY_RELU;
        e->a = thaw_node_float(node, "alpha", 0.01f);
    } else if (strcmp(type, "HardSigmoid") == 0) {
        e->act = THAW_ACT_HARD_SIGMOID;
        e->a = thaw_node_float(node, "alpha", 0.2f);
        e->b = thaw_node_float(node, "beta", 0.5f);
    } else {
        e->act = strcmp(type, "Sigmoid") == 0 ? THAW_ACT_SIGMOID
                 : strcmp(type, "Tanh") == 0  ? THAW_ACT_TANH
                                              : THAW_ACT_HARD_SWISH;
    }
    return true;
}

static bool takes_act(const thaw_step *step) {
    return step->epilogue.act == THAW_ACT_NONE &&
           (step->kind == THAW_STEP_conv || step->kind == THAW_STEP_dense ||
            step->kind == THAW_STEP_add || step->kind == THAW_STEP_mul ||
            step->kind == THAW_STEP_affine);
}

/* ---- GELU, which exporters write as x (1 + erf(x / sqrt 2)) / 2 ------------------------------ */

/* The only node that reads what `node` makes; NULL when there are more, or it is not below the cut.
 */
static const thaw_node *only_reader(const thaw_lowering *l, const thaw_node *node,
                                    const char *type) {
    int root = root_of(l, node->out[0]);
    if (l->uses[root] != 1) return NULL;
    for (int i = (int)(node - l->graph->nodes) + 1; i < l->graph->n_nodes; i++) {
        const thaw_node *reader = &l->graph->nodes[i];
        for (int k = 0; k < reader->n_in && l->marks[i] && reader->live && !reader->alias; k++)
            if (reader->in[k] >= 0 && root_of(l, reader->in[k]) == root)
                return strcmp(reader->type, type) == 0 ? reader : NULL;
    }
    return NULL;
}

/* Whether one of the node's two inputs is this number. */
static bool takes_number(const thaw_lowering *l, const thaw_node *node, float number) {
    for (int i = 0; node && i < 2; i++) {
        const thaw_value *v = in_value(l, node, i);
        if (v && v->data && thaw_value_elements(v) == 1 &&
            fabsf(*(const float *)v->data - number) < 1e-4f)
            return true;
    }
    return false;
}

static bool takes_value(const thaw_lowering *l, const thaw_node *node, int root) {
    return node && (root_of(l, node->in[0]) == root || root_of(l, node->in[1]) == root);
}

/* `first` is x / sqrt 2, or x * sqrt(1/2). The last two products come in either order. */
static bool melt_gelu(thaw_lowering *l, const thaw_node *first) {
    bool over = strcmp(first->type, "Div") == 0;
    int at = !over && in_value(l, first, 0)->data ? 1 : 0; /* sqrt(1/2) * x */
    if (in_value(l, first, at)->data || !takes_number(l, first, over ? 1.41421356f : 0.70710678f))
        return false;
    int x = root_of(l, first->in[at]);
    const thaw_node *chain[4], *node = first;
    static const char *const types[] = {"Erf", "Add", "Mul", "Mul"};
    for (int i = 0; i < 4; i++) {
        node = chain[i] = only_reader(l, node, types[i]);
        if (!node) return false;
    }
    bool half_last = takes_value(l, chain[2], x) && takes_number(l, chain[3], 0.5f);
    bool half_first = takes_number(l, chain[2], 0.5f) && takes_value(l, chain[3], x);
    if (!takes_number(l, chain[1], 1) || (!half_last && !half_first)) return false;
    int out = chain[3]->out[0];
    thaw_step *made_by = l->step[x] >= 0 ? &l->program.steps[l->step[x]] : NULL;
    thaw_epilogue e = {.act = THAW_ACT_GELU};
    if (made_by && takes_act(made_by) && l->uses[x] == 2) {
        e.residual = made_by->epilogue.residual;
        made_by->epilogue = e;
        place(l, out, l->step[x]);
    } else {
        thaw_step *step = new_step(l, THAW_STEP_act, first->name, out, 1);
        if (!step) return false;
        step->in[0] = l->port[x];
        step->epilogue = e;
    }
    for (int i = 0; i < 4; i++)
        l->marks[chain[i] - l->graph->nodes] = 0;
    return true;
}

thaw_status thaw_lower_erf(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    (void)l;
    return thaw_fail(
        err, THAW_ERR_UNSUPPORTED,
        "%s (Erf): it is supported as a part of GELU only, x (1 + erf(x / sqrt 2)) / 2",
        node->name);
}

thaw_status thaw_lower_act(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    thaw_epilogue e = {0};
    read_act(l, node, &e);
    thaw_step *made_by = sole_producer(l, node, 0);
    if (made_by && takes_act(made_by)) {
        e.residual = made_by->epilogue.residual;
        made_by->epilogue = e;
        melt(l, node, 0);
        return THAW_OK;
    }
    thaw_step *step = step_for(l, THAW_STEP_act, node, 1);
    if (!step) return no_memory(node, err);
    step->epilogue = e;
    return THAW_OK;
}

/* ---- two tensors --------------------------------------------------------------------------- */

static bool has_constant(const thaw_lowering *l, const thaw_node *node) {
    return in_value(l, node, 0)->data || in_value(l, node, 1)->data;
}

static bool same_shape(const thaw_port *a, const thaw_port *b) {
    return a->H == b->H && a->W == b->W && a->C == b->C;
}

/* A step of its own, the larger operand first. */
static thaw_status two_tensors(thaw_lowering *l, const thaw_node *node, thaw_step_kind kind,
                               thaw_error *err) {
    thaw_step *step = step_for(l, kind, node, 2);
    if (!step) return no_memory(node, err);
    if (!same_shape(step->in[0], step->out)) {
        thaw_port *first = step->in[0];
        step->in[0] = step->in[1];
        step->in[1] = first;
    }
    if (same_shape(step->in[0], step->out)) return THAW_OK;
    return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                     "%s (%s): neither tensor has the shape of the result", node->name, node->type);
}

/* Whether the port is read by a step after number `step`, or is the picture. */
static bool read_after(const thaw_lowering *l, const thaw_port *port, int step) {
    for (int s = step + 1; s < l->program.n_steps; s++)
        for (int i = 0; i < l->program.steps[s].n_in; i++)
            if (l->program.steps[s].out && l->program.steps[s].in[i] == port) return true;
    return false;
}

/* Melts conv + residual: input i comes from a convolution that nothing else reads, made after the
 * other input, whose memory it takes over: nothing may read that one later. */
static bool add_residual(thaw_lowering *l, const thaw_node *node, int i) {
    thaw_step *conv = sole_producer(l, node, i);
    int other = root_of(l, node->in[1 - i]), own = root_of(l, node->in[i]);
    if (!conv || conv->kind != THAW_STEP_conv || !is_plain(conv) || own == other) return false;
    thaw_port *residual = l->port[other];
    int readers = 0; /* Nodes that are already lowered, this one aside. */
    for (int k = 0; k < l->graph->n_nodes && &l->graph->nodes[k] != node; k++)
        for (int j = 0; j < l->graph->nodes[k].n_in; j++) {
            const thaw_node *n = &l->graph->nodes[k];
            if (n->live && !n->alias && n->in[j] >= 0 && root_of(l, n->in[j]) == other) readers++;
        }
    if (readers + 1 != l->uses[other]) return false;
    /* x + conv(x): what the convolution still reads cannot be written over. */
    if (residual == conv->in[0]) return false;
    if (!same_shape(residual, conv->out) || l->step[other] >= l->step[own] || l->step[other] == 0 ||
        read_after(l, residual, l->step[own]))
        return false;
    conv->in[conv->n_in++] = residual;
    conv->epilogue.residual = true;
    melt(l, node, i);
    return true;
}

thaw_status thaw_lower_add(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    if (has_constant(l, node)) return with_constant(l, node, PLUS, err);
    if (add_residual(l, node, 0) || add_residual(l, node, 1)) return THAW_OK;
    return two_tensors(l, node, THAW_STEP_add, err);
}

thaw_status thaw_lower_sub(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    if (has_constant(l, node)) return with_constant(l, node, MINUS, err);
    return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                     "%s (Sub): the difference of two feature maps is not supported", node->name);
}

thaw_status thaw_lower_div(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    if (melt_gelu(l, node)) return THAW_OK;
    if (has_constant(l, node)) return with_constant(l, node, OVER, err);
    return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                     "%s (Div): the quotient of two feature maps is not supported", node->name);
}

/* x * sigmoid(x) and x * hard_sigmoid(x) with 1/6, 1/2 are one activation; exporters write two
 * nodes. */
static bool melt_gate(thaw_lowering *l, const thaw_node *node, int i) {
    thaw_step *gate = sole_producer(l, node, i);
    if (!gate || gate->kind != THAW_STEP_act || gate->in[0] != in_port(l, node, 1 - i))
        return false;
    thaw_epilogue *e = &gate->epilogue;
    bool silu = e->act == THAW_ACT_SIGMOID;
    bool swish = e->act == THAW_ACT_HARD_SIGMOID && fabsf(e->a - 1.0f / 6) < 1e-6f && e->b == 0.5f;
    if (!silu && !swish) return false;
    *e = (thaw_epilogue){.act = silu ? THAW_ACT_SILU : THAW_ACT_HARD_SWISH};
    int x = root_of(l, node->in[1 - i]);
    thaw_step *made_by = l->step[x] >= 0 ? &l->program.steps[l->step[x]] : NULL;
    if (made_by && takes_act(made_by) && l->uses[x] == 2) { /* The gate and this product. */
        e->residual = made_by->epilogue.residual;
        made_by->epilogue = *e;
        drop(gate);
        melt(l, node, 1 - i);
    } else {
        melt(l, node, i);
    }
    return true;
}

thaw_status thaw_lower_mul(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    if (melt_gelu(l, node)) return THAW_OK;
    if (has_constant(l, node)) return with_constant(l, node, TIMES, err);
    if (melt_gate(l, node, 1) || melt_gate(l, node, 0)) return THAW_OK;
    return two_tensors(l, node, THAW_STEP_mul, err);
}

/* ---- the whole ----------------------------------------------------------------------------- */

static thaw_status start(thaw_lowering *l, const float *scale, const float *shift, int value,
                         thaw_error *err) {
    const thaw_graph *g = l->graph;
    size_t n = (size_t)g->n_values, most = 2 * (size_t)g->n_nodes + 4;
    l->uses = thaw_arena_array(l->arena, n, sizeof *l->uses);
    l->port = thaw_arena_array(l->arena, n, sizeof(thaw_port *));
    l->step = thaw_arena_array(l->arena, n, sizeof *l->step);
    l->program.steps = thaw_arena_array(l->arena, most, sizeof *l->program.steps);
    l->program.ports = thaw_arena_array(l->arena, most, sizeof *l->program.ports);
    if (!l->uses || !l->port || !l->step || !l->program.steps || !l->program.ports)
        return thaw_fail_memory(err, "to plan the trunk");
    for (size_t i = 0; i < n; i++)
        l->step[i] = -1;
    l->uses[value] = 1; /* The tap. */
    for (int i = 0; i < g->n_nodes; i++) {
        const thaw_node *node = &g->nodes[i];
        if (!l->marks[i] || !node->live || node->alias) continue;
        for (int k = 0; k < node->n_in; k++)
            if (node->in[k] >= 0 && !g->values[node->in[k]].data)
                l->uses[root_of(l, node->in[k])]++;
    }
    thaw_step *import = new_step(l, THAW_STEP_import, "input", g->input, 0);
    if (!import) return thaw_fail_memory(err, "to plan the trunk");
    import->scale = scale;
    import->shift = shift;
    return THAW_OK;
}

/* [global mean and] export. */
static thaw_status finish(thaw_lowering *l, int value, bool pooled, thaw_error *err) {
    thaw_program *p = &l->program;
    thaw_port *from = l->port[value];
    for (int pass = pooled ? 0 : 1; pass < 2; pass++) {
        thaw_step *step = &p->steps[p->n_steps++];
        thaw_port *out = &p->ports[p->n_ports++];
        *out = (thaw_port){
            .N = from->N, .C = from->C, .H = pass ? from->H : 1, .W = pass ? from->W : 1};
        *step = (thaw_step){.kind = pass ? THAW_STEP_export : THAW_STEP_global_mean,
                            .name = pass ? "export" : "pool",
                            .n_in = 1,
                            .out = out};
        step->in = thaw_arena_array(l->arena, 1, sizeof *step->in);
        if (!step->in) return thaw_fail_memory(err, "to plan the trunk");
        step->in[0] = from;
        from = out;
    }
    int kept = 0;
    for (int i = 0; i < p->n_steps; i++)
        if (p->steps[i].out) p->steps[kept++] = p->steps[i];
    p->n_steps = kept;
    return THAW_OK;
}

static bool tolerates_bf16(const thaw_step *step) {
    enum { FEW_CHANNELS = 16 };
    bool layer = step->kind == THAW_STEP_conv || step->kind == THAW_STEP_dense;
    return layer && step->conv.C / step->conv.G >= FEW_CHANNELS &&
           step->epilogue.act != THAW_ACT_NONE;
}

void thaw_program_set_types(thaw_program *p, thaw_dtype compute, bool one_type) {
    for (int i = 0; i < p->n_steps; i++) {
        thaw_step *step = &p->steps[i];
        if (one_type) {
            step->compute = step->out->dtype = compute;
            continue;
        }
        step->compute = compute == THAW_BF16 && tolerates_bf16(step) ? THAW_BF16 : THAW_F32;
        step->out->dtype = step->epilogue.residual ? THAW_F32 : step->compute;
        /* Readers come after their producer: each may still veto. */
        for (int k = 0; k < step->n_in; k++)
            if (step->compute == THAW_F32 || k > 0) step->in[k]->dtype = THAW_F32;
    }
}

thaw_status thaw_lower(const thaw_graph *graph, int value, bool pooled, int64_t batch,
                       const float *scale, const float *shift, thaw_arena *arena,
                       thaw_program *program, thaw_error *err) {
    thaw_lowering l = {.graph = graph, .arena = arena, .batch = batch};
    uint8_t *marks = thaw_arena_alloc(arena, (size_t)graph->n_nodes + 1);
    if (!marks) return thaw_fail_memory(err, "to plan the trunk");
    thaw_graph_mark_below(graph, value, marks);
    l.marks = marks;
    THAW_TRY(start(&l, scale, shift, value, err));
    for (int i = 0; i < graph->n_nodes; i++) {
        const thaw_node *node = &graph->nodes[i];
        if (!marks[i] || !node->live || node->alias) continue;
        if (!node->op->lower)
            return thaw_fail(
                err, THAW_ERR_UNSUPPORTED,
                "%s (%s): Thaw cannot run this operator inside the frozen part; freeze "
                "below it",
                node->name, node->type);
        THAW_TRY(node->op->lower(&l, node, err));
    }
    THAW_TRY(finish(&l, value, pooled, err));
    *program = l.program;
    return THAW_OK;
}
