#include "derive.h"

#include "graph/lower.h"

/* ---- where to begin ------------------------------------------------------------------------- */

static thaw_status look_at(thaw_derive *d, const thaw_options *options, const thaw_network *network,
                           const thaw_backend *backend, thaw_dtype compute, const thaw_cut *cut,
                           const char *root, thaw_error *err) {
    thaw_cache_spec spec;
    bool apart, kept;
    THAW_TRY(thaw_network_at(network, cut, &d->below, err));
    THAW_TRY(thaw_storage_spec(options, &d->below, backend, compute, root, &d->arena, &spec, err));
    THAW_TRY(thaw_cache_kept(&spec, &kept, err));
    if (!kept) return THAW_OK;
    THAW_TRY(thaw_lowers_apart(&network->model.graph, cut->value, network->cut->value,
                               network->pooled, &apart, err));
    if (!apart) return THAW_OK;
    THAW_TRY(thaw_cache_open(&d->cache, &spec, err));
    if (thaw_cache_measure(d->cache).records > 0) {
        d->from = cut;
        return THAW_OK;
    }
    thaw_cache_close(d->cache);
    d->cache = NULL;
    return THAW_OK;
}

thaw_status thaw_derive_find(thaw_derive *d, const thaw_options *options,
                             const thaw_network *network, const thaw_backend *backend,
                             thaw_dtype compute, const thaw_cache_spec *spec, thaw_error *err) {
    *d = (thaw_derive){0};
    if (!spec->root || spec->dtype != THAW_F32 || backend->kernels->memory) return THAW_OK;
    for (int i = network->cut->index - 1; i >= 0 && !d->from; i--) {
        const thaw_cut *cut = &network->cuts.cuts[i];
        if (cut->stage || i == 0)
            THAW_TRY(look_at(d, options, network, backend, compute, cut, spec->root, err));
    }
    return THAW_OK;
}

void thaw_derive_close(thaw_derive *d) {
    thaw_trunk_free(d->trunk);
    thaw_cache_close(d->cache);
    thaw_arena_free(&d->arena);
    *d = (thaw_derive){0};
}

bool thaw_derive_has(const thaw_derive *d, thaw_hash key) {
    return d && d->from && thaw_cache_has(d->cache, key);
}

/* ---- from there ----------------------------------------------------------------------------- */

thaw_status thaw_derive_begin(thaw_derive *d, const thaw_network *network, int64_t batch,
                              thaw_dtype compute, thaw_backend *backend, thaw_error *err) {
    if (d->trunk) return THAW_OK;
    d->x = thaw_arena_array(&d->arena, (size_t)batch, (size_t)d->below.n_features * sizeof *d->x);
    d->y = thaw_arena_array(&d->arena, (size_t)batch, (size_t)network->n_features * sizeof *d->y);
    if (!d->x || !d->y) return thaw_fail_memory(err, "for a batch of features");
    return thaw_network_plan(network, d->from, batch, compute, backend, &d->trunk, err);
}

thaw_status thaw_derive_rows(thaw_derive *d, const thaw_hash *keys, size_t n, float **rows,
                             thaw_error *err) {
    for (size_t i = 0; i < n; i++)
        THAW_TRY(thaw_cache_read(d->cache, keys[i], d->x + i * (size_t)d->below.n_features, err));
    *rows = d->y;
    return thaw_trunk_run_from(d->trunk, (int64_t)n, d->x, d->y, err);
}
