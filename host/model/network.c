#include "network.h"

#include <stdio.h>
#include <string.h>

#include "model_file.h"
#include "text.h"
#include "utf8.h"

/* ---- the cut ------------------------------------------------------------------------------- */

/* The lowest cut above this one from which everything can be trained. */
static const thaw_cut *nearest_trainable(const thaw_network *n) {
    const thaw_cuts *cuts = &n->cuts;
    for (int i = n->cut->index + 1; i < cuts->last; i++)
        if (thaw_cut_trains(&n->model.graph, cuts, &cuts->cuts[i]) &&
            thaw_top_check(&n->model.graph, cuts->cuts[i].value, n->head_cut->value,
                           &thaw_cpu_kernels, NULL) == THAW_OK)
            return &cuts->cuts[i];
    return n->head_cut;
}

/* What is trained above the cut, and how. */
static thaw_status choose_recipe(thaw_network *n, const char *freeze, int recipe, bool random,
                                 thaw_error *err) {
    bool between =
        n->cut->index < n->cuts.last && thaw_cut_trains(&n->model.graph, &n->cuts, n->cut);
    n->head_cut = n->cut->index > n->cuts.last ? n->cut : &n->cuts.cuts[n->cuts.last];
    n->recipe = !between ? THAW_RECIPE_HEAD : random ? THAW_RECIPE_JOINT : THAW_RECIPE_LP_FT;
    if (!thaw_is_auto((unsigned)recipe)) {
        if (between && recipe == THAW_RECIPE_HEAD)
            return thaw_fail(err, THAW_ERR_USAGE,
                             "recipe = head trains nothing but the head, and freeze = %s leaves "
                             "layers below it to be trained: take freeze = last, or another recipe",
                             freeze);
        if (!between && recipe != THAW_RECIPE_HEAD)
            return thaw_fail(err, THAW_ERR_USAGE,
                             "freeze = %s leaves nothing but the head to be trained, which recipe "
                             "= head does: freeze less (thaw inspect lists the cuts), or leave "
                             "recipe out",
                             freeze);
        n->recipe = (thaw_recipe)recipe;
    }
    if (n->recipe == THAW_RECIPE_HEAD) return THAW_OK;
    thaw_error why = {0};
    if (thaw_top_check(&n->model.graph, n->cut->value, n->head_cut->value, &thaw_cpu_kernels,
                       &why) == THAW_OK)
        return THAW_OK;
    const thaw_cut *nearest = nearest_trainable(n);
    return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                     "freeze = %s: %.600s; the nearest cut above which everything can be trained "
                     "is %d (%s)",
                     freeze, why.text, nearest->index, nearest->name);
}

static thaw_status choose_cut(thaw_network *network, const char *head, const char *freeze,
                              int recipe, bool random, thaw_error *err) {
    thaw_graph *graph = &network->model.graph;
    THAW_TRY(thaw_cuts_find(graph, &network->cuts, err));
    THAW_TRY(thaw_cuts_set_head(graph, &network->cuts, head, err));
    THAW_TRY(thaw_cuts_select(graph, &network->cuts, freeze, &network->cut, err));
    THAW_TRY(choose_recipe(network, freeze, recipe, random, err));
    /* What lies between the named cut and the head has no weights then, and less is left to keep. */
    if (network->recipe == THAW_RECIPE_HEAD) network->cut = network->head_cut;
    network->head_pooled = thaw_cut_is_map(graph, network->head_cut);
    network->pooled = network->recipe == THAW_RECIPE_HEAD && network->head_pooled;
    const thaw_value *value = &graph->values[network->cut->shape];
    network->n_features = network->pooled ? thaw_value_channels(value) : network->cut->elements;
    return thaw_cut_hash(graph, network->cut, network->pooled, &network->trunk_hash, err);
}

/* ---- what is worth a word ------------------------------------------------------------------ */

static const char *describe_head(thaw_network *network) {
    const thaw_graph *graph = &network->model.graph;
    int at = network->cuts.head;
    if (at < 0)
        return "none: the new head stands on the network's output; head.at = NODE if it has one";
    bool kept = network->cut->node >= at;
    return thaw_arena_printf(
        &network->model.arena, "%s (%s) and what follows it, %lld numbers, %s",
        graph->nodes[at].name, graph->nodes[at].type,
        (long long)thaw_value_elements(&graph->values[graph->output]),
        kept ? "lies below the cut: the new head is trained on its scores" : "is replaced");
}

static const char *describe_outputs(thaw_network *network) {
    const thaw_model *m = &network->model;
    thaw_text list = {0};
    for (int i = 0; i < m->n_outputs; i++) {
        const char *name = m->graph.values[m->outputs[i]].name;
        thaw_text_add(&list, "%s%.*s", i ? ", " : "", thaw_utf8_prefix(name, 60), name);
    }
    return thaw_arena_printf(&network->model.arena,
                             "the model has %d outputs, %s: %s is taken, %s; output = NAME takes "
                             "another",
                             m->n_outputs, list.text, m->graph.values[m->graph.output].name,
                             m->own ? "the newest head's" : "which most of it lies below");
}

static const char *describe_tail(thaw_network *network) {
    thaw_model *m = &network->model;
    const thaw_node *tail = m->graph.tail;
    const char *output = m->graph.values[m->graph.output].name;
    return thaw_arena_printf(&m->arena,
                             "what the model does behind %.*s, from %.*s (%.*s) on, has no weights "
                             "and is left out",
                             thaw_utf8_prefix(output, 60), output, thaw_utf8_prefix(tail->name, 60),
                             tail->name, thaw_utf8_prefix(tail->type, 40), tail->type);
}

static thaw_status take_notes(thaw_network *network, const thaw_options *options,
                              const thaw_beside *beside, thaw_error *err) {
    thaw_model *m = &network->model;
    const char **note = network->notes;
    network->head = describe_head(network);
    if (m->n_outputs > 1 && thaw_is_auto(options->output)) *note++ = describe_outputs(network);
    if (m->graph.tail) *note++ = describe_tail(network);
    if (m->open_size && thaw_is_auto(options->image.size))
        *note++ = thaw_arena_printf(&m->arena,
                                    "the model leaves the size of its pictures open: %lld x %lld "
                                    "is taken%s; image.size sets it",
                                    (long long)m->width, (long long)m->height,
                                    beside->width ? ", as the file beside it says" : "");
    if (beside->width && (beside->width != m->width || beside->height != m->height))
        *note++ = thaw_arena_printf(
            &m->arena, "%s says %d x %d, and the network takes %lld x %lld: that counts",
            beside->file, beside->width, beside->height, (long long)m->width, (long long)m->height);
    if (m->integer_input)
        *note++ = "the model takes pixels as whole numbers, and so will the bundle's model.onnx";
    network->n_notes = (int)(note - network->notes);
    bool short_of_memory = !network->head;
    for (int i = 0; i < network->n_notes; i++)
        short_of_memory |= !network->notes[i];
    return short_of_memory ? thaw_fail_memory(err, "to describe the model") : THAW_OK;
}

/* ---- opening ------------------------------------------------------------------------------- */

thaw_status thaw_network_open(thaw_network *network, const thaw_options *options, thaw_error *err) {
    *network = (thaw_network){0};
    thaw_beside beside = {0};
    int64_t size = thaw_is_auto(options->image.size) ? 0 : options->image.size;
    if (thaw_is_auto(options->preprocess)) THAW_TRY(thaw_beside_find(options->model, &beside, err));
    THAW_TRY(thaw_model_open(&network->model, options->model, size ? size : beside.height,
                             size ? size : beside.width, err));
    if (size && (network->model.height != size || network->model.width != size))
        return thaw_fail(err, THAW_ERR_USAGE,
                         "image.size = %lld: %s takes pictures of %lld x %lld and no others; leave "
                         "image.size out, or export the model with open height and width",
                         (long long)size, options->model, (long long)network->model.width,
                         (long long)network->model.height);
    if (!thaw_is_auto(options->output))
        THAW_TRY(thaw_model_choose_output(&network->model, options->output, err));
    THAW_TRY(choose_cut(network, options->head.at, options->freeze, (int)options->recipe,
                        options->init == THAW_INIT_RANDOM, err));
    THAW_TRY(take_notes(network, options, &beside, err));
    return thaw_preprocess_choose(&network->model, &beside, options, &network->preprocess,
                                  &network->preprocess_choice, err);
}

/* The node that the new head begins with, which no other output reads. */
static thaw_status find_parting(const thaw_model *m, const char *path, const char *old,
                                const char **node, thaw_error *err) {
    const thaw_graph *graph = &m->graph;
    int value = -1;
    for (int i = 1; i < m->n_outputs; i++)
        if (strcmp(graph->values[m->outputs[i]].name, old) == 0) value = m->outputs[i];
    if (value < 0)
        return thaw_fail(err, THAW_ERR_FORMAT,
                         "%s has no second output %s, which its bundle.json tells of", path, old);
    thaw_arena arena = {0};
    uint8_t *below = thaw_arena_alloc(&arena, (size_t)graph->n_nodes + 1);
    if (!below) return thaw_fail_memory(err, "for the model's two heads");
    thaw_graph_mark_below(graph, value, below);
    int first = 0;
    while (first < graph->n_nodes - 1 &&
           (below[first] || !graph->nodes[first].live || graph->nodes[first].alias))
        first++;
    *node = graph->nodes[first].name;
    thaw_arena_free(&arena);
    return THAW_OK;
}

thaw_status thaw_network_open_bundle(thaw_network *network, const char *path, const char *old,
                                     const thaw_preprocess *preprocess, thaw_error *err) {
    *network = (thaw_network){.preprocess = *preprocess};
    const thaw_geometry *g = &preprocess->geometry;
    thaw_model *model = &network->model;
    THAW_TRY(thaw_model_read(model, path, g->height, g->width, err));
    if (network->model.height != g->height || network->model.width != g->width ||
        network->model.channels != g->channels)
        return thaw_fail(err, THAW_ERR_FORMAT,
                         "%s takes %lld x %lld x %lld pictures, but its preprocessing makes "
                         "%d x %d x %d",
                         path, (long long)network->model.width, (long long)network->model.height,
                         (long long)network->model.channels, g->width, g->height, g->channels);
    const char *head = NULL;
    if (old) THAW_TRY(find_parting(model, path, old, &head, err));
    return choose_cut(network, head, "last", THAW_AUTO_CHOICE, false, err);
}

void thaw_network_close(thaw_network *network) {
    thaw_model_free(&network->model);
}

thaw_status thaw_network_at(const thaw_network *network, const thaw_cut *cut, thaw_network *at,
                            thaw_error *err) {
    *at = *network;
    at->cut = cut;
    at->pooled = false;
    at->n_features = cut->elements;
    return thaw_cut_hash(&network->model.graph, cut, false, &at->trunk_hash, err);
}

thaw_status thaw_network_settle(const thaw_network *network, thaw_backend *backend,
                                thaw_error *err) {
    const thaw_kernels *kernels = backend->kernels;
    if (!backend->automatic || !kernels->memory) return THAW_OK;
    thaw_dtype compute = kernels->computes(backend->device, THAW_F32) ? THAW_F32 : THAW_F16;
    thaw_trunk *trunk = NULL;
    thaw_error why = {0};
    thaw_status status = thaw_network_plan(network, NULL, 1, compute, backend, &trunk, &why);
    thaw_trunk_free(trunk);
    if (status != THAW_ERR_UNSUPPORTED) {
        if (status != THAW_OK && err) *err = why;
        return status;
    }
    thaw_backend cpu;
    THAW_TRY(thaw_backend_cpu_open(&cpu, backend->threads, err));
    thaw_backend_close(backend);
    *backend = cpu;
    char *advice = strstr(why.text, "; use device = cpu");
    if (advice) *advice = 0;
    snprintf(backend->note, sizeof backend->note, "computing on the CPU: %.400s", why.text);
    return THAW_OK;
}

thaw_status thaw_network_plan(const thaw_network *network, const thaw_cut *from, int64_t batch,
                              thaw_dtype compute, thaw_backend *backend, thaw_trunk **trunk,
                              thaw_error *err) {
    float scale[3], shift[3];
    thaw_preprocess_affine(&network->preprocess, scale, shift);
    thaw_trunk_options options = {.batch = batch,
                                  .compute = compute,
                                  .scale = scale,
                                  .shift = shift,
                                  .pooled = network->pooled,
                                  .from = from};
    return thaw_trunk_create(trunk, &network->model.graph, network->cut, &options, backend, err);
}
