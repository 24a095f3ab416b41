#include "params.h"

#include <math.h>
#include <string.h>

#include "graph/cuts.h"
#include "graph/ops.h"

typedef thaw_numbers_source source;
typedef thaw_derivation rule;

/* Params in the making. */
typedef struct maker {
    thaw_params *p;
    const thaw_graph *graph;
    const thaw_program *program;
    thaw_norm norm;
    int first_trained, first_head;
    int head_layers; /* That have had their rules. */
    int *segment_of; /* For each value of the graph; -1: none. */
    int *trained;    /* How often each value is read to be trained. */
    thaw_arena *arena;
    thaw_error *err;
} maker;

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "for what is trained");
}

/* ---- segments ------------------------------------------------------------------------------- */

static thaw_segment *new_segment(maker *m, const char *name, int64_t n) {
    thaw_segment *s = &m->p->segments[m->p->n_segments++];
    *s = (thaw_segment){.name = name, .value = -1, .n = n, .offset = m->p->n, .factor = 1};
    m->p->n += (n + 15) / 16 * 16; /* Each begins a line of the processor's cache. */
    return s;
}

/* Whether numbers of this origin are trained here. */
static bool is_trained(const maker *m, const thaw_origin *origin) {
    if (!origin->known || origin->node < m->first_trained) return false;
    const thaw_node *node = &m->graph->nodes[origin->node];
    if (!(node->op->params >> origin->input & 1)) return false;
    return strcmp(node->type, "BatchNormalization") != 0 || m->norm != THAW_NORM_FROZEN;
}

/* The numbers of this origin, of which there are n, or `constant` where they are not trained. */
static source source_of(maker *m, const thaw_origin *origin, int64_t n, const float *constant,
                        bool decays) {
    if (!is_trained(m, origin)) return (source){-1, constant};
    int value = m->graph->nodes[origin->node].in[origin->input];
    int known = m->segment_of[value];
    /* Two layers that want it in two orders: then it is read where it is not trained. */
    if (known >= 0 && (m->p->segments[known].rows != 0) != origin->transposed)
        return (source){-1, constant};
    m->trained[value]++;
    if (known >= 0) return (source){m->p->segments[known].offset, NULL};
    const thaw_value *v = &m->graph->values[value];
    thaw_segment *s = new_segment(m, v->name, n);
    s->value = value;
    s->node = origin->node;
    s->decays = decays;
    if (origin->transposed) {
        s->rows = v->dims[1];
        s->columns = v->dims[0];
    }
    m->segment_of[value] = (int)(s - m->p->segments);
    return (source){s->offset, NULL};
}

/* From the head's own layer, which has no place in the file yet. */
static source head_source(maker *m, const char *what, int64_t n, const float *from, bool decays) {
    const char *name = thaw_arena_printf(m->arena, "head.%d.%s", m->head_layers, what);
    thaw_segment *s = new_segment(m, name ? name : what, n);
    s->node = m->graph->n_nodes;
    s->decays = decays;
    return (source){s->offset, from};
}

/* ---- rules ---------------------------------------------------------------------------------- */

static int64_t take_place(maker *m, int64_t n) {
    int64_t place = m->p->n_steps;
    m->p->n_steps += (n + 15) / 16 * 16;
    return place;
}

static rule *new_rule(maker *m, thaw_derivation_kind kind) {
    rule *r = &m->p->rules[m->p->n_rules++];
    *r = (rule){.kind = kind,
                .w.offset = -1,
                .b.offset = -1,
                .from.offset = -1,
                .gamma.offset = -1,
                .beta.offset = -1,
                .to = -1,
                .to_b = -1};
    return r;
}

static void copy_rule(maker *m, source from, int64_t K, int64_t each, int64_t *place) {
    rule *r = new_rule(m, THAW_DERIVE_COPY);
    r->K = K;
    r->each = each;
    r->from = from;
    r->to = *place = take_place(m, K * each);
}

/* K x each numbers, and K. Where a step has either it needs room for both: kernels write both
 * gradients. */
static void pair_rules(maker *m, source first, source second, int64_t K, int64_t each,
                       int64_t *place_first, int64_t *place_second) {
    if (first.offset < 0 && second.offset < 0) return;
    if (first.offset >= 0 || first.constant) copy_rule(m, first, K, each, place_first);
    if (second.offset >= 0 || second.constant) copy_rule(m, second, K, 1, place_second);
}

static const float *constant_in(const maker *m, int node, int input) {
    return thaw_node_in(m->graph, &m->graph->nodes[node], input)->data;
}

/* The BN's own part of a rule. */
static void read_norm(maker *m, rule *r, int norm, int64_t K) {
    thaw_origin gamma = {true, .node = norm, .input = 1}, beta = {true, .node = norm, .input = 2};
    r->K = K;
    r->gamma = source_of(m, &gamma, K, constant_in(m, norm, 1), false);
    r->beta = source_of(m, &beta, K, constant_in(m, norm, 2), false);
    r->mean = constant_in(m, norm, 3);
    r->var = constant_in(m, norm, 4);
    r->epsilon = thaw_node_float(&m->graph->nodes[norm], "epsilon", 1e-5f);
}

static void add_layer(maker *m, int index) {
    const thaw_step *step = &m->program->steps[index];
    const thaw_step_origins *o = &m->program->origins[index];
    thaw_step_place *place = &m->p->places[index];
    const thaw_conv_shape *c = &step->conv;
    int64_t each = c->C / c->G * c->window.R * c->window.S, n = c->K * each;
    if (index >= m->first_head) {
        copy_rule(m, head_source(m, "weight", n, step->w, true), c->K, each, &place->w);
        copy_rule(m, head_source(m, "bias", c->K, step->b, false), c->K, 1, &place->b);
        m->head_layers++;
        return;
    }
    source w = source_of(m, &o->w, n, step->w, true);
    source b = source_of(m, &o->b, c->K, step->b, false);
    if (o->norm < 0) {
        pair_rules(m, w, b, c->K, each, &place->w, &place->b);
        return;
    }
    rule *r = new_rule(m, THAW_DERIVE_FOLD);
    r->w = w;
    r->b = b;
    r->each = each;
    read_norm(m, r, o->norm, c->K);
    r->to = place->w = take_place(m, n);
    r->to_b = place->b = take_place(m, c->K);
}

static void add_scale(maker *m, int index) {
    const thaw_step *step = &m->program->steps[index];
    const thaw_step_origins *o = &m->program->origins[index];
    thaw_step_place *place = &m->p->places[index];
    int64_t C = step->out->C;
    if (o->norm < 0 || step->kind == THAW_STEP_batch_norm) {
        source scale = source_of(m, &o->scale, C, step->scale, false);
        source shift = source_of(m, &o->shift, C, step->shift, false);
        pair_rules(m, scale, shift, C, 1, &place->scale, &place->shift);
    } else {
        rule *r = new_rule(m, THAW_DERIVE_NORM);
        read_norm(m, r, o->norm, C);
        r->to = place->scale = take_place(m, C);
        r->to_b = place->shift = take_place(m, C);
    }
    if (step->kind != THAW_STEP_batch_norm) return;
    rule *r = new_rule(m, THAW_DERIVE_TEST);
    r->K = C;
    r->n = step->out->H * step->out->W;
    r->mean = step->mean;
    r->var = step->var;
    int *statistics = m->p->statistics[r - m->p->rules];
    statistics[0] = m->graph->nodes[o->norm].in[3];
    statistics[1] = m->graph->nodes[o->norm].in[4];
    r->running = m->p->n_running;
    m->p->n_running += 2 * C;
    r->to = place->mean = take_place(m, C);
    r->to_b = place->var = take_place(m, C);
}

/* ---- making --------------------------------------------------------------------------------- */

/* A tensor that is trained in one place and read in another would have to be two. */
static thaw_status check_shared(const maker *m, int to) {
    const thaw_graph *g = m->graph;
    uint8_t *marks = thaw_arena_alloc(m->arena, (size_t)g->n_nodes + 1);
    int *reads = thaw_arena_array(m->arena, (size_t)g->n_values, sizeof *reads);
    if (!marks || !reads) return no_memory(m->err);
    thaw_graph_mark_below(g, to, marks);
    for (int i = 0; i < g->n_nodes; i++) {
        if (!marks[i] || !g->nodes[i].live) continue;
        for (int k = 0; k < g->nodes[i].n_in; k++)
            if (g->nodes[i].in[k] >= 0) reads[g->nodes[i].in[k]]++;
    }
    for (int s = 0; s < m->p->n_segments; s++) {
        int value = m->p->segments[s].value;
        if (value >= 0 && reads[value] != m->trained[value])
            return thaw_fail(m->err, THAW_ERR_UNSUPPORTED,
                             "the weights %s belong to %s, which is trained, and to another layer, "
                             "which is not: export the model with weights of their own for both, "
                             "or freeze above them",
                             g->values[value].name, g->nodes[m->p->segments[s].node].name);
    }
    return THAW_OK;
}

static const float *segment_start(const thaw_params *p, const thaw_graph *graph, int s) {
    return p->segments[s].value < 0 ? NULL : graph->values[p->segments[s].value].data;
}

static void transpose(const float *from, int64_t rows, int64_t columns, float *to) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++)
            to[r * columns + c] = from[c * rows + r];
}

static void read_values(const maker *m) {
    thaw_params *p = m->p;
    for (int i = 0; i < p->n_segments; i++) {
        const thaw_segment *s = &p->segments[i];
        const float *from = segment_start(p, m->graph, i);
        float *to = p->values + s->offset;
        if (from && s->rows) transpose(from, s->rows, s->columns, to);
        if (from && !s->rows) memcpy(to, from, (size_t)s->n * sizeof *to);
    }
    for (int i = 0; i < p->n_rules; i++) {
        const rule *r = &p->rules[i];
        if (r->kind == THAW_DERIVE_COPY && r->from.offset >= 0 &&
            r->from.constant) /* The head's. */
            memcpy(p->values + r->from.offset, r->from.constant,
                   (size_t)(r->K * r->each) * sizeof(float));
        if (r->kind != THAW_DERIVE_TEST) continue;
        memcpy(p->running + r->running, r->mean, (size_t)r->K * sizeof(float));
        memcpy(p->running + r->running + r->K, r->var, (size_t)r->K * sizeof(float));
    }
}

thaw_status thaw_params_init(thaw_params *params, const thaw_graph *graph, int to,
                             const thaw_program *program, thaw_norm norm, int first_trained,
                             int first_head, thaw_arena *arena, thaw_error *err) {
    maker m = {params, graph, program, norm, first_trained, first_head, 0, NULL, NULL, arena, err};
    size_t most = 4 * (size_t)program->n_steps + 4, n_values = (size_t)graph->n_values;
    *params = (thaw_params){.segments = thaw_arena_array(arena, most, sizeof(thaw_segment)),
                            .places = thaw_arena_array(arena, most, sizeof(thaw_step_place)),
                            .rules = thaw_arena_array(arena, most, sizeof(rule)),
                            .statistics = thaw_arena_array(arena, most, sizeof(int[2]))};
    m.segment_of = thaw_arena_array(arena, n_values, sizeof *m.segment_of);
    m.trained = thaw_arena_array(arena, n_values, sizeof *m.trained);
    if (!params->segments || !params->places || !params->rules || !params->statistics ||
        !m.segment_of || !m.trained)
        return no_memory(err);
    for (size_t i = 0; i < n_values; i++)
        m.segment_of[i] = -1;
    for (int i = 0; i < program->n_steps; i++) {
        params->places[i] = (thaw_step_place){-1, -1, -1, -1, -1, -1};
        switch (program->steps[i].kind) {
            case THAW_STEP_conv:
            case THAW_STEP_dense:
                add_layer(&m, i);
                break;
            case THAW_STEP_affine:
            case THAW_STEP_batch_norm:
            case THAW_STEP_layer_norm:
            case THAW_STEP_group_norm:
                add_scale(&m, i);
                break;
            default:
                break;
        }
    }
    THAW_TRY(check_shared(&m, to));
    params->values = thaw_arena_array(arena, (size_t)params->n, sizeof(float));
    params->running = thaw_arena_array(arena, (size_t)params->n_running, sizeof(float));
    params->steps = thaw_arena_array(arena, (size_t)params->n_steps, sizeof(float));
    if (!params->values || !params->running || !params->steps) return no_memory(err);
    read_values(&m);
    thaw_params_derive(params, (thaw_part){0, 1});
    return THAW_OK;
}

/* ---- binding -------------------------------------------------------------------------------- */

static void bind_one(float *block, float *gradient, int64_t place, const float **values,
                     float **d) {
    if (place < 0) return;
    *values = block + place;
    *d = gradient + place;
}

/* Whether nobody takes of the gradient at a place, as of a bias into which a frozen BN is folded. */
static bool is_idle(const thaw_params *params, int64_t place) {
    for (int i = 0; i < params->n_rules; i++) {
        const rule *r = &params->rules[i];
        if (r->kind != THAW_DERIVE_FOLD && r->kind != THAW_DERIVE_NORM) continue;
        if (r->to == place) return r->w.offset < 0 && r->gamma.offset < 0;
        if (r->to_b == place) return r->b.offset < 0 && r->beta.offset < 0 && r->gamma.offset < 0;
    }
    return false;
}

static void bind_trained(const thaw_params *params, float *block, float *gradient, int64_t place,
                         const float **values, float **d) {
    bind_one(block, gradient, place, values, d);
    if (place >= 0 && is_idle(params, place)) *d = NULL;
}

void thaw_params_bind(const thaw_params *params, thaw_program *program, float *block,
                      float *gradient) {
    for (int i = 0; i < program->n_steps; i++) {
        thaw_step *step = &program->steps[i];
        const thaw_step_place *p = &params->places[i];
        bind_trained(params, block, gradient, p->w, &step->w, &step->dw);
        bind_trained(params, block, gradient, p->b, &step->b, &step->db);
        bind_trained(params, block, gradient, p->scale, &step->scale, &step->dscale);
        bind_trained(params, block, gradient, p->shift, &step->shift, &step->dshift);
        bind_one(block, gradient, p->mean, &step->mean, &step->batch_mean);
        bind_one(block, gradient, p->var, &step->var, &step->batch_var);
    }
}

static bool reaches(const rule *r, const thaw_step_place *p) {
    bool here =
        r->to >= 0 && (r->to == p->w || r->to == p->b || r->to == p->scale || r->to == p->shift);
    return here && (r->from.offset >= 0 || r->w.offset >= 0 || r->b.offset >= 0 ||
                    r->gamma.offset >= 0 || r->beta.offset >= 0);
}

bool thaw_params_trains(const thaw_params *params, int step) {
    for (int i = 0; i < params->n_rules; i++)
        if (reaches(&params->rules[i], &params->places[step])) return true;
    return false;
}

/* ---- to steps, and back --------------------------------------------------------------------- */

static const float *numbers(const thaw_params *p, source s) {
    return s.offset >= 0 ? p->values + s.offset : s.constant;
}

/* Where the gradient of a source goes; NULL: it is not trained. */
static float *gradient_of(source s, float *gradient) {
    return s.offset >= 0 ? gradient + s.offset : NULL;
}

/* A part of a rule's channels. Rules of one tensor have it in the same channels, so that a number of
 * it belongs to one part. */
typedef struct channels {
    int64_t first, end;
} channels;

static channels channels_of(const rule *r, thaw_part part) {
    return (channels){r->K * part.i / part.n, r->K * (part.i + 1) / part.n};
}

static void derive_norm(const thaw_params *p, const rule *r, channels c) {
    const float *gamma = numbers(p, r->gamma), *beta = numbers(p, r->beta);
    const float *w = numbers(p, r->w), *b = numbers(p, r->b);
    float *to = p->steps + r->to, *to_b = p->steps + r->to_b;
    for (int64_t k = c.first; k < c.end; k++) {
        double s = gamma[k] / sqrt(r->var[k] + r->epsilon);
        to_b[k] = (float)(beta[k] + ((b ? b[k] : 0.0) - r->mean[k]) * s);
        if (r->kind == THAW_DERIVE_NORM) to[k] = (float)s;
        for (int64_t i = 0; r->kind == THAW_DERIVE_FOLD && i < r->each; i++)
            to[k * r->each + i] = (float)(w[k * r->each + i] * s);
    }
}

static void copy_channels(float *to, const float *from, int64_t each, channels c) {
    memcpy(to + c.first * each, from + c.first * each,
           (size_t)((c.end - c.first) * each) * sizeof *to);
}

void thaw_params_derive(const thaw_params *p, thaw_part part) {
    for (int i = 0; i < p->n_rules; i++) {
        const rule *r = &p->rules[i];
        channels c = channels_of(r, part);
        switch (r->kind) {
            case THAW_DERIVE_COPY:
                copy_channels(p->steps + r->to, numbers(p, r->from), r->each, c);
                break;
            case THAW_DERIVE_FOLD:
            case THAW_DERIVE_NORM:
                derive_norm(p, r, c);
                break;
            case THAW_DERIVE_TEST:
                copy_channels(p->steps + r->to, p->running + r->running, 1, c);
                copy_channels(p->steps + r->to_b, p->running + r->running + r->K, 1, c);
                break;
        }
    }
}

static void pull_norm(const thaw_params *p, const rule *r, const float *from, float *gradient,
                      channels c) {
    const float *gamma = numbers(p, r->gamma), *w = numbers(p, r->w), *b = numbers(p, r->b);
    const float *d = from + r->to, *db = from + r->to_b;
    float *dw = gradient_of(r->w, gradient), *own_db = gradient_of(r->b, gradient);
    float *dgamma = gradient_of(r->gamma, gradient), *dbeta = gradient_of(r->beta, gradient);
    for (int64_t k = c.first; k < c.end; k++) {
        double root = 1 / sqrt(r->var[k] + r->epsilon), s = gamma[k] * root;
        /* dL/ds: what s multiplies, times the gradients of the products. */
        double ds = ((b ? b[k] : 0.0) - r->mean[k]) * db[k];
        if (r->kind == THAW_DERIVE_NORM) ds += d[k];
        for (int64_t i = 0; r->kind == THAW_DERIVE_FOLD && i < r->each; i++) {
            int64_t at = k * r->each + i;
            ds += (double)w[at] * d[at];
            if (dw) dw[at] += (float)(s * d[at]);
        }
        if (own_db) own_db[k] += (float)(s * db[k]);
        if (dgamma) dgamma[k] += (float)(root * ds);
        if (dbeta) dbeta[k] += db[k];
    }
}

void thaw_params_pull(const thaw_params *p, const float *from, float *gradient, thaw_part part) {
    for (int i = 0; i < p->n_rules; i++) {
        const rule *r = &p->rules[i];
        channels c = channels_of(r, part);
        float *to = gradient_of(r->from, gradient);
        if (r->kind == THAW_DERIVE_FOLD || r->kind == THAW_DERIVE_NORM)
            pull_norm(p, r, from, gradient, c);
        for (int64_t k = c.first * r->each;
             r->kind == THAW_DERIVE_COPY && to && k < c.end * r->each; k++)
            to[k] += from[r->to + k];
    }
}

void thaw_params_follow(const thaw_params *p, const float *from, int lanes, int64_t lane,
                        float momentum) {
    for (int i = 0; i < p->n_rules; i++) {
        const rule *r = &p->rules[i];
        float *mean = p->running + r->running, *var = mean + r->K;
        double n = (double)(lane * r->n), correction = n > 1 ? n / (n - 1) : 1;
        for (int64_t k = 0; r->kind == THAW_DERIVE_TEST && k < r->K; k++) {
            mean[k] += momentum * (from[r->to + k] / (float)lanes - mean[k]);
            var[k] += momentum * ((float)correction * from[r->to_b + k] / (float)lanes - var[k]);
        }
    }
}

/* ---- back to the graph ---------------------------------------------------------------------- */

static thaw_status store_floats(thaw_graph *graph, int value, const float *from, int64_t n,
                                thaw_arena *arena, thaw_error *err) {
    float *copy = thaw_arena_array(arena, (size_t)n, sizeof *copy);
    if (!copy) return no_memory(err);
    memcpy(copy, from, (size_t)n * sizeof *copy);
    graph->values[value].data = copy;
    return THAW_OK;
}

thaw_status thaw_params_store(const thaw_params *p, thaw_graph *graph, thaw_arena *arena,
                              thaw_error *err) {
    for (int i = 0; i < p->n_segments; i++) {
        const thaw_segment *s = &p->segments[i];
        if (s->value < 0) continue;
        THAW_TRY(store_floats(graph, s->value, p->values + s->offset, s->n, arena, err));
        if (s->rows)
            transpose(p->values + s->offset, s->columns, s->rows,
                      (float *)graph->values[s->value].data);
    }
    for (int i = 0; i < p->n_rules; i++) {
        const rule *r = &p->rules[i];
        if (r->kind != THAW_DERIVE_TEST) continue;
        const float *mean = p->running + r->running;
        THAW_TRY(store_floats(graph, p->statistics[i][0], mean, r->K, arena, err));
        THAW_TRY(store_floats(graph, p->statistics[i][1], mean + r->K, r->K, arena, err));
    }
    return THAW_OK;
}
