#include "cuts.h"

#include <stdlib.h>
#include <string.h>

#include "ops.h"
#include "text.h"

/* ---- finding ------------------------------------------------------------------------------- */

static bool runs(const thaw_node *node) {
    return node->live && !node->alias;
}

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "to analyse the network");
}

static void add_cut(thaw_graph *graph, thaw_cuts *cuts, int value, int shape, int node) {
    thaw_cut *cut = &cuts->cuts[cuts->n];
    *cut = (thaw_cut){.index = cuts->n++, .value = value, .shape = shape, .node = node};
    cut->name = node < 0 ? "input" : graph->nodes[node].name;
    cut->elements = thaw_value_elements(&graph->values[value]);
}

/* A new head stands on maps and vectors. What a channel shuffle makes has five dimensions and is a map by
 * its next name, which is another value of the same numbers. -1: it is neither by any. */
static int find_shape(const thaw_graph *graph, int made) {
    int found = -1;
    for (int v = graph->n_values - 1; v >= 0; v--) {
        const thaw_value *name = &graph->values[v];
        bool usual = name->rank == 4 || name->rank == 2;
        if (usual && (v == made || (found < 0 && name->root == made))) found = v;
    }
    return found;
}

/* One pass in topological order. A tensor is pending from its producer to its last reader; where
 * just one is pending, everything passes through it. (Every node is needed by the output, so a
 * tensor through which all paths go is alone right after its producer, in any order.) */
static thaw_status find_places(thaw_graph *graph, thaw_cuts *cuts, thaw_error *err) {
    int *left = thaw_arena_array(graph->arena, (size_t)graph->n_values, sizeof *left);
    cuts->cuts = thaw_arena_array(graph->arena, (size_t)graph->n_nodes + 1, sizeof *cuts->cuts);
    if (!left || !cuts->cuts) return no_memory(err);
    for (int i = 0; i < graph->n_values; i++)
        left[i] = graph->values[i].n_uses;
    int input = graph->values[graph->input].root;
    add_cut(graph, cuts, input, input, -1);
    int pending = 1;
    for (int i = 0; i < graph->n_nodes; i++) {
        const thaw_node *node = &graph->nodes[i];
        if (!runs(node)) continue;
        for (int k = 0; k < node->n_in; k++) {
            const thaw_value *in = thaw_node_in(graph, node, k);
            if (in && !in->data && --left[in->root] == 0) pending--;
        }
        int made = node->out[0];
        for (int k = 0; k < node->n_out; k++) {
            if (node->out[k] < 0 || graph->values[node->out[k]].n_uses == 0) continue;
            pending++;
            made = node->out[k];
        }
        int shape = pending == 1 ? find_shape(graph, made) : -1;
        if (shape >= 0) add_cut(graph, cuts, made, shape, i);
    }
    return THAW_OK;
}

static void count_costs(const thaw_graph *graph, thaw_cuts *cuts) {
    int64_t params = 0, flop = 0;
    int c = 0;
    for (int i = -1; i < graph->n_nodes; i++) {
        if (i >= 0 && runs(&graph->nodes[i])) {
            params += thaw_node_params(graph, &graph->nodes[i]);
            if (__builtin_add_overflow(flop, thaw_node_flop(graph, &graph->nodes[i]), &flop))
                flop = INT64_MAX;
        }
        if (c < cuts->n && cuts->cuts[c].node == i) {
            cuts->cuts[c].params_below = params;
            cuts->cuts[c++].flop_below = flop;
        }
    }
    for (c = 0; c < cuts->n; c++) {
        cuts->cuts[c].params_above = params - cuts->cuts[c].params_below;
        cuts->cuts[c].flop_above = flop - cuts->cuts[c].flop_below;
    }
}

/* ---- stage names --------------------------------------------------------------------------- */

static int64_t resolution(const thaw_graph *graph, const thaw_cut *cut) {
    int64_t size[3];
    thaw_value_picture(&graph->values[cut->value], size);
    return size[THAW_IN_H] * size[THAW_IN_W];
}

static bool is_op(const thaw_graph *graph, int node, const char *type) {
    return node >= 0 && strcmp(graph->nodes[node].type, type) == 0;
}

/* The cut right behind a residual sum: behind the sum's activation if that is all that reads it. */
static bool ends_block(const thaw_graph *graph, const thaw_cuts *cuts, int c) {
    const thaw_cut *cut = &cuts->cuts[c];
    if (is_op(graph, cut->node, "Add")) {
        const thaw_cut *next = c + 1 < cuts->n ? &cuts->cuts[c + 1] : NULL;
        return !next || !(is_op(graph, next->node, "Relu") || is_op(graph, next->node, "Clip"));
    }
    bool act = is_op(graph, cut->node, "Relu") || is_op(graph, cut->node, "Clip");
    return act && c > 0 && is_op(graph, cuts->cuts[c - 1].node, "Add");
}

static thaw_status name_stages(thaw_graph *graph, thaw_cuts *cuts, thaw_error *err) {
    int stage = 0, block = 0;
    int64_t size = resolution(graph, &cuts->cuts[0]);
    for (int c = 1; c < cuts->n; c++) {
        thaw_cut *cut = &cuts->cuts[c];
        int64_t here = resolution(graph, cut);
        if (here <= 1) break;
        if (here != size) {
            stage++;
            block = 0;
            size = here;
        }
        bool last = c + 1 == cuts->n || resolution(graph, &cuts->cuts[c + 1]) != size;
        bool ends = ends_block(graph, cuts, c);
        if (ends) block++;
        if (last)
            cut->stage = thaw_arena_printf(graph->arena, "stage%d", stage);
        else if (ends)
            cut->stage = thaw_arena_printf(graph->arena, "stage%d.%d", stage, block);
        if ((last || ends) && !cut->stage) return no_memory(err);
    }
    return THAW_OK;
}

/* ---- the head ------------------------------------------------------------------------------ */

static bool is_layer(const thaw_node *node) {
    return node->op->params && node->op->flop;
}

static bool is_one_of(const thaw_node *node, const char *const *types) {
    for (; *types; types++)
        if (strcmp(node->type, *types) == 0) return true;
    return false;
}

/* A temperature, or the bias of a product. */
static bool has_number(const thaw_graph *graph, const thaw_node *node) {
    static const char *const arithmetic[] = {"Add", "Sub", "Mul", "Div", NULL};
    for (int k = 0; k < node->n_in && is_one_of(node, arithmetic); k++)
        if (graph->values[node->in[k]].data) return true;
    return false;
}

/* What stands behind a layer. */
typedef struct tail {
    bool plain; /* Only what can stand behind a classifier: pools, shapes, what follows. */
    bool activated, softmax;
} tail;

static tail look_behind(const thaw_graph *graph, int layer) {
    static const char *const shapes[] = {
        "GlobalAveragePool", "AveragePool", "MaxPool",   "ReduceMean", "Flatten", "Reshape",
        "Squeeze",           "Unsqueeze",   "Transpose", "Sigmoid",    NULL};
    static const char *const acts[] = {"Relu", "Clip", "LeakyRelu", "HardSwish",
                                       "Tanh", "Gelu", NULL};
    tail t = {.plain = true};
    for (int i = layer + 1; i < graph->n_nodes; i++) {
        const thaw_node *node = &graph->nodes[i];
        if (!runs(node)) continue;
        bool act = is_one_of(node, acts), softmax = strcmp(node->type, "Softmax") == 0;
        t.activated |= act;
        t.softmax |= softmax;
        t.plain &= act || softmax || is_one_of(node, shapes) || has_number(graph, node);
    }
    return t;
}

/* Whether the last weighted node is a classifier rather than the last layer of a feature extractor
 * that was exported without its head. A dense layer on vectors always is. On a map, it is one if
 * nothing but pools and the like make its map the network's scores. Features end with an
 * activation: behind one it is a head only if a softmax follows, or it saw one pixel, or it narrows
 * to few scores (SqueezeNet) or to ImageNet's classes. */
static bool is_head(const thaw_graph *graph, int layer) {
    const thaw_node *node = &graph->nodes[layer];
    const thaw_value *x = thaw_node_in(graph, node, 0), *w = thaw_node_in(graph, node, 1);
    if (x->rank == 2) return true;
    bool conv = strcmp(node->type, "Conv") == 0;
    int64_t K = w->dims[conv ? 0 : 1], C = w->dims[conv ? 1 : 0];
    tail behind = look_behind(graph, layer);
    if (!behind.plain || thaw_value_elements(&graph->values[graph->output]) != K ||
        thaw_node_int(node, "group", 1) != 1)
        return false;
    if (!behind.activated) return true;
    bool pointwise = thaw_value_elements(w) == K * C, pixel = thaw_value_elements(x) == C;
    return pointwise && (behind.softmax || pixel || K < C || K == 1000 || K == 1001);
}

static int find_head(const thaw_graph *graph) {
    int layer = graph->n_nodes - 1;
    while (layer >= 0 && !(runs(&graph->nodes[layer]) && is_layer(&graph->nodes[layer])))
        layer--;
    return layer >= 0 && is_head(graph, layer) ? layer : -1;
}

/* The head begins at this node, or nowhere: -1. */
static void put_head(thaw_cuts *cuts, int node) {
    cuts->head = node;
    cuts->last = cuts->n - 1;
    while (node >= 0 && cuts->last > 0 && cuts->cuts[cuts->last].node >= node)
        cuts->last--;
}

thaw_status thaw_cuts_set_head(const thaw_graph *graph, thaw_cuts *cuts, const char *at,
                               thaw_error *err) {
    if (!at) return THAW_OK;
    if (strcmp(at, "none") == 0) return put_head(cuts, -1), THAW_OK;
    thaw_nearest nearest = {.word = at};
    for (int i = 0; i < graph->n_nodes; i++) {
        if (!runs(&graph->nodes[i])) continue;
        if (strcmp(graph->nodes[i].name, at) == 0) return put_head(cuts, i), THAW_OK;
        thaw_nearest_offer(&nearest, graph->nodes[i].name);
    }
    return thaw_fail(err, THAW_ERR_USAGE,
                     "head.at = %s: no node of that name runs in the model%s%s%s; give one, or "
                     "auto, or none",
                     at, nearest.best ? "; did you mean \"" : "", nearest.best ? nearest.best : "",
                     nearest.best ? "\"" : "");
}

thaw_status thaw_cuts_find(thaw_graph *graph, thaw_cuts *cuts, thaw_error *err) {
    *cuts = (thaw_cuts){0};
    THAW_TRY(find_places(graph, cuts, err));
    count_costs(graph, cuts);
    THAW_TRY(name_stages(graph, cuts, err));
    put_head(cuts, find_head(graph));
    return THAW_OK;
}

/* ---- selecting ----------------------------------------------------------------------------- */

static bool is_called(const thaw_graph *graph, const thaw_cut *cut, const char *name) {
    return strcmp(cut->name, name) == 0 || (cut->stage && strcmp(cut->stage, name) == 0) ||
           strcmp(graph->values[cut->value].name, name) == 0 ||
           strcmp(graph->values[cut->shape].name, name) == 0;
}

/* The most frozen cut that leaves half of the weights below the head to be trained. */
static const thaw_cut *find_half(const thaw_graph *graph, const thaw_cuts *cuts) {
    const thaw_cut *all = &cuts->cuts[0], *last = &cuts->cuts[cuts->last], *cut = last;
    int64_t weights = all->params_above - last->params_above;
    while (cut > all && (2 * (cut->params_above - last->params_above) < weights ||
                         !thaw_cut_trains(graph, cuts, cut)))
        cut--;
    return cut;
}

thaw_status thaw_cuts_select(const thaw_graph *graph, const thaw_cuts *cuts, const char *freeze,
                             const thaw_cut **cut, thaw_error *err) {
    if (strcmp(freeze, "last") == 0) return *cut = &cuts->cuts[cuts->last], THAW_OK;
    if (strcmp(freeze, "none") == 0) return *cut = &cuts->cuts[0], THAW_OK;
    if (strcmp(freeze, "half") == 0) return *cut = find_half(graph, cuts), THAW_OK;
    char *end;
    long index = strtol(freeze, &end, 10);
    if (end != freeze && !*end) {
        if (index < 0 || index >= cuts->n)
            return thaw_fail(err, THAW_ERR_USAGE,
                             "freeze = %s: the model has cuts 0 to %d; thaw inspect lists them",
                             freeze, cuts->n - 1);
        return *cut = &cuts->cuts[index], THAW_OK;
    }
    thaw_nearest nearest = {.word = freeze};
    thaw_nearest_offer(&nearest, "last");
    thaw_nearest_offer(&nearest, "none");
    thaw_nearest_offer(&nearest, "half");
    for (int c = 0; c < cuts->n; c++) {
        if (is_called(graph, &cuts->cuts[c], freeze)) return *cut = &cuts->cuts[c], THAW_OK;
        thaw_nearest_offer(&nearest, cuts->cuts[c].name);
        if (cuts->cuts[c].stage) thaw_nearest_offer(&nearest, cuts->cuts[c].stage);
    }
    return thaw_fail(
        err, THAW_ERR_USAGE,
        "freeze = %s: the model has no cut of that name%s%s%s; thaw inspect lists all %d", freeze,
        nearest.best ? "; did you mean \"" : "", nearest.best ? nearest.best : "",
        nearest.best ? "\"" : "", cuts->n);
}

/* "stage3.1" and "stage3" are one stage. */
static bool same_stage(const thaw_cut *a, const thaw_cut *b) {
    size_t n = strcspn(a->stage, ".");
    return n == strcspn(b->stage, ".") && strncmp(a->stage, b->stage, n) == 0;
}

bool thaw_cut_is_narrowest(const thaw_cuts *cuts, const thaw_cut *cut) {
    if (!cut->stage) return false;
    for (int i = 0; i < cuts->last; i++) {
        const thaw_cut *c = &cuts->cuts[i];
        if (!c->stage || !same_stage(c, cut)) continue;
        if (c->elements < cut->elements || (c->elements == cut->elements && c->index > cut->index))
            return false;
    }
    return true;
}

bool thaw_cut_trains(const thaw_graph *graph, const thaw_cuts *cuts, const thaw_cut *cut) {
    int head = cuts->cuts[cuts->last].node;
    for (int i = cut->node + 1; i <= head; i++)
        if (runs(&graph->nodes[i]) && thaw_node_params(graph, &graph->nodes[i]) > 0) return true;
    return false;
}

bool thaw_cut_is_map(const thaw_graph *graph, const thaw_cut *cut) {
    return resolution(graph, cut) > 1;
}

/* ---- hashing ------------------------------------------------------------------------------- */

static thaw_hash mix_text(thaw_hash h, const char *text) {
    return thaw_hash_bytes(h, text, strlen(text) + 1);
}

static thaw_hash mix_attrs(thaw_hash h, const thaw_graph *graph, const thaw_node *node) {
    for (int i = 0; i < node->n_attrs; i++) {
        const thaw_attr *a = &node->attrs[i];
        if (strcmp(a->name, "training_mode") == 0) continue; /* Statistics are frozen anyway. */
        h = mix_text(h, a->name);
        h = thaw_hash_bytes(h, &a->i, sizeof a->i);
        h = thaw_hash_bytes(h, &a->f, sizeof a->f);
        if (a->s) h = mix_text(h, a->s);
        if (a->ints) h = thaw_hash_bytes(h, a->ints, a->n * sizeof *a->ints);
        if (a->floats) h = thaw_hash_bytes(h, a->floats, a->n * sizeof *a->floats);
        if (a->tensor >= 0) {
            const thaw_value *t = &graph->values[a->tensor];
            size_t size = (size_t)thaw_value_elements(t) * thaw_dtype_bytes(t->dtype);
            h = thaw_hash_bytes(h, t->data, size);
        }
    }
    return h;
}

/* A node that is told the sizes it makes is what it makes, in whatever way its file says so. */
static bool is_told_sizes(const thaw_node *node) {
    static const char *const types[] = {"Reshape", "Expand", "Resize", NULL};
    return is_one_of(node, types);
}

static thaw_hash mix_sizes(thaw_hash h, const thaw_graph *graph, const thaw_node *node) {
    const thaw_value *y = thaw_node_out(graph, node, 0);
    if (y->merged) h = thaw_hash_bytes(h, &y->merged, sizeof y->merged);
    return thaw_hash_bytes(h, y->dims, (size_t)y->rank * sizeof *y->dims);
}

/* What a node's axes mean where they are not those of N,C,H,W or N,C: other names of the same memory, of
 * which the hash knows nothing else. */
static thaw_hash mix_axes(thaw_hash h, const thaw_value *v) {
    if (!v->nhwc && !v->merged && (v->rank == 4 || v->rank == 2)) return h;
    h = thaw_hash_bytes(h, &v->nhwc, sizeof v->nhwc);
    if (v->merged) h = thaw_hash_bytes(h, &v->merged, sizeof v->merged);
    return thaw_hash_bytes(h, v->dims, (size_t)v->rank * sizeof *v->dims);
}

static thaw_hash mix_constant(thaw_hash h, const thaw_value *v) {
    h = thaw_hash_bytes(h, &v->dtype, sizeof v->dtype);
    h = thaw_hash_bytes(h, v->dims, (size_t)v->rank * sizeof *v->dims);
    size_t size = (size_t)thaw_value_elements(v) * thaw_dtype_bytes(v->dtype);
    return thaw_hash_bytes(h, v->data, size);
}

thaw_status thaw_cut_hash(const thaw_graph *graph, const thaw_cut *cut, bool pooled,
                          thaw_hash *hash, thaw_error *err) {
    uint8_t *marks = calloc((size_t)graph->n_nodes + 1, 1);
    int *number = calloc((size_t)graph->n_values, sizeof *number); /* Local names of tensors. */
    if (!marks || !number) {
        free(marks);
        free(number);
        return no_memory(err);
    }
    thaw_graph_mark_below(graph, cut->value, marks);
    thaw_hash h = {1, 1};
    int next = 1;
    const thaw_value *input = &graph->values[graph->input];
    enum { HASHED = 6 }; /* As many as a value had once: what caches hold is found by these. */
    h = thaw_hash_bytes(h, input->dims, HASHED * sizeof *input->dims);
    for (int i = 0; i < graph->n_nodes; i++) {
        const thaw_node *node = &graph->nodes[i];
        if (!marks[i] || !runs(node)) continue;
        h = mix_text(h, node->type);
        bool reshape = is_op(graph, i, "Reshape"), told = is_told_sizes(node);
        h = reshape ? h : mix_attrs(h, graph, node);
        h = told ? mix_sizes(h, graph, node) : h;
        for (int k = 0; k < (reshape ? 1 : node->n_in); k++) {
            const thaw_value *in = thaw_node_in(graph, node, k);
            int id = in ? number[in->root] : -1;
            if (told && in && in->data && in->dtype == THAW_I64) continue;
            if (in && in->data)
                h = mix_constant(h, in);
            else
                h = thaw_hash_bytes(h, &id, sizeof id);
            if (in && !in->data) h = mix_axes(h, in);
        }
        number[node->out[0]] = next++;
        for (int k = 1; k < node->n_out; k++)
            if (node->out[k] >= 0 && graph->values[node->out[k]].n_uses > 0)
                number[node->out[k]] = next++;
    }
    if (pooled) {
        h = mix_text(h, "GlobalAveragePool");
        h = thaw_hash_bytes(h, &number[cut->value], sizeof(int));
    }
    free(marks);
    free(number);
    *hash = h;
    return THAW_OK;
}
