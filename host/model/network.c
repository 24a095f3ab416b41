#include "network.h"

static thaw_status choose_cut(thaw_network *network, const char *freeze, thaw_error *err) {
    thaw_graph *graph = &network->model.graph;
    THAW_TRY(thaw_cuts_find(graph, &network->cuts, err));
    THAW_TRY(thaw_cuts_select(graph, &network->cuts, freeze, &network->cut, err));
    THAW_TRY(thaw_cut_trainable(graph, &network->cuts, network->cut, err));
    /* Only the head is trained, so everything below it is frozen, also what lies between the named
     * cut and the head: it has no weights, and less is left to keep. */
    if (network->cut->index < network->cuts.last)
        network->cut = &network->cuts.cuts[network->cuts.last];
    network->pooled = thaw_cut_is_map(graph, network->cut);
    network->n_features =
        network->pooled ? graph->values[network->cut->value].dims[1] : network->cut->elements;
    return thaw_cut_hash(graph, network->cut, network->pooled, &network->trunk_hash, err);
}

thaw_status thaw_network_open(thaw_network *network, const thaw_options *options, thaw_error *err) {
    *network = (thaw_network){0};
    int64_t size = thaw_is_auto(options->image.size) ? 0 : options->image.size;
    THAW_TRY(thaw_model_read(&network->model, options->model, size, size, err));
    if (size && (network->model.height != size || network->model.width != size))
        return thaw_fail(err, THAW_ERR_USAGE,
                         "image.size = %lld: %s takes pictures of %lld x %lld and no others; leave "
                         "image.size out, or export the model with open height and width",
                         (long long)size, options->model, (long long)network->model.width,
                         (long long)network->model.height);
    THAW_TRY(choose_cut(network, options->freeze, err));
    return thaw_preprocess_choose(&network->model, options, &network->preprocess,
                                  network->preprocess_reason, sizeof network->preprocess_reason,
                                  err);
}

thaw_status thaw_network_open_bundle(thaw_network *network, const char *path,
                                     const thaw_preprocess *preprocess, thaw_error *err) {
    *network = (thaw_network){.preprocess = *preprocess};
    const thaw_geometry *g = &preprocess->geometry;
    THAW_TRY(thaw_model_read(&network->model, path, g->height, g->width, err));
    if (network->model.height != g->height || network->model.width != g->width ||
        network->model.channels != g->channels)
        return thaw_fail(err, THAW_ERR_FORMAT,
                         "%s takes %lld x %lld x %lld pictures, but its preprocessing makes "
                         "%d x %d x %d",
                         path, (long long)network->model.width, (long long)network->model.height,
                         (long long)network->model.channels, g->width, g->height, g->channels);
    return choose_cut(network, "last", err);
}

void thaw_network_close(thaw_network *network) {
    thaw_model_free(&network->model);
}

thaw_status thaw_network_plan(const thaw_network *network, int64_t batch, thaw_dtype compute,
                              thaw_backend *backend, thaw_trunk **trunk, thaw_error *err) {
    float scale[3], shift[3];
    thaw_preprocess_affine(&network->preprocess, scale, shift);
    thaw_trunk_options options = {.batch = batch,
                                  .compute = compute,
                                  .scale = scale,
                                  .shift = shift,
                                  .pooled = network->pooled};
    return thaw_trunk_create(trunk, &network->model.graph, network->cut, &options, backend, err);
}
