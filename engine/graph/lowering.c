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

static void port_from_value(const thaw_lowering *l, const thaw_value *v, thaw_port *port) {
    const int64_t *d = v->dims;
    *port = (thaw_port){.N = l->batch, .H = 1, .W = 1, .C = d[1]};
    if (v->rank == 3) /* One channel: see Gather. */
        *port = (thaw_port){.N = l->batch, .C = 1, .H = d[1], .W = d[2]};
    if (v->rank == 4 && v->nhwc)
        *port = (thaw_port){.N = l->batch, .H = d[1], .W = d[2], .C = d[3]};
    if (v->rank == 4 && !v->nhwc)
        *port = (thaw_port){.N = l->batch, .C = d[1], .H = d[2], .W = d[3]};
}

thaw_step *thaw__lower_step(thaw_lowering *l, thaw_step_kind kind, const char *name, int out,
                            int n_in) {
    thaw_program *p = &l->program;
    thaw_step *step = &p->steps[p->n_steps];
    thaw_port *port = &p->ports[p->n_ports];
    *step = (thaw_step){.kind = kind, .name = name, .n_in = n_in, .out = port};
    step->in = thaw_arena_array(l->arena, (size_t)n_in + 1, sizeof *step->in); /* + a residual */
    if (!step->in) return NULL;
    if (p->origins) p->origins[p->n_steps] = (thaw_step_origins){.norm = -1};
    l->last_read[p->n_ports++] = -1;
    p->n_steps++;
    if (out < 0) return step;
    port_from_value(l, &l->graph->values[out], port);
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
