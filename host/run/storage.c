#include "storage.h"

#include <string.h>

#include "file.h"
#include "machine.h"
#include "session.h"

/* ---- which cache ----------------------------------------------------------------------------- */

thaw_status thaw_storage_spec(const thaw_options *options, const thaw_network *network,
                              const thaw_backend *backend, thaw_dtype compute, const char *root,
                              thaw_arena *arena, thaw_cache_spec *spec, thaw_error *err) {
    const char *slash = strrchr(network->model.path, '/');
    *spec = (thaw_cache_spec){
        .root = root,
        .D = network->n_features,
        .dtype = options->cache.dtype == THAW_OPT_CACHE_DTYPE_FP16 ? THAW_F16 : THAW_F32,
        .shared = options->cache.shared,
        .about = thaw_arena_printf(arena, "%s at %s", slash ? slash + 1 : network->model.path,
                                   network->cut->name)};
    spec->facts = thaw_session_facts(network, backend->kernels, compute, arena, &spec->n_facts);
    return spec->facts && spec->about ? THAW_OK : thaw_fail_memory(err, "for the facts of a cache");
}

/* Whether features computed in this type are in the cache. */
static thaw_status keeps(const thaw_options *options, const thaw_network *network,
                         const thaw_backend *backend, thaw_dtype compute, bool *kept,
                         thaw_error *err) {
    thaw_arena arena = {0};
    thaw_cache_spec spec;
    const char *root = NULL;
    int n_differences = -1;
    thaw_status status = thaw_session_cache_root(options, &arena, &root, err);
    if (status == THAW_OK)
        status = thaw_storage_spec(options, network, backend, compute, root, &arena, &spec, err);
    if (status == THAW_OK && root) status = thaw_cache_explain(&spec, NULL, 0, &n_differences, err);
    thaw_arena_free(&arena);
    *kept = n_differences == 0;
    return status;
}

thaw_status thaw_storage_precision(const thaw_options *options, const thaw_network *network,
                                   const thaw_backend *backend, thaw_dtype *compute, bool *kept,
                                   thaw_error *err) {
    *kept = false;
    THAW_TRY(thaw_session_precision(options, backend, compute, err));
    if (options->precision != THAW_OPT_PRECISION_AUTO || *compute == THAW_F32) return THAW_OK;
    THAW_TRY(keeps(options, network, backend, *compute, kept, err));
    if (*kept || !backend->kernels->computes(backend->device, THAW_F32)) return THAW_OK;
    THAW_TRY(keeps(options, network, backend, THAW_F32, kept, err));
    if (*kept) *compute = THAW_F32;
    return THAW_OK;
}

bool thaw_storage_takes_narrow(bool kept, double rate, double fp32_rate) {
    return kept || rate > 1.15 * fp32_rate;
}

/* ---- on disk --------------------------------------------------------------------------------- */

void thaw_storage_say(const thaw_options *options, thaw_cache *cache, const char *root, size_t n,
                      thaw_log *log) {
    thaw_cache_stats stats = thaw_cache_measure(cache);
    double row = (double)stats.record_bytes, all = row * (double)n;
    uint64_t room = 0;
    if (!root || thaw_file_free_bytes(root, &room, NULL) != THAW_OK) {
        thaw_log_write(log, THAW_LOG_INFO, "cache: in memory only, at most %.1f MB", all / 1e6);
        return;
    }
    thaw_log_write(log, THAW_LOG_INFO,
                   "cache: %s, at most %.1f MB for %zu pictures (%.1f KB each), %zu records are "
                   "there; %.1f GB are free",
                   root, all / 1e6, n, row / 1e3, stats.records, (double)room / 1e9);
    /* Records of other pictures may be among them: then memory takes the rest unannounced. */
    double missing = n > stats.records ? row * (double)(n - stats.records) : 0;
    if (missing <= (double)room || stats.read_only) return;
    bool wide = options->cache.dtype != THAW_OPT_CACHE_DTYPE_FP16;
    thaw_log_write(log, THAW_LOG_WARN,
                   "the disk may become too small: what does not fit stays in memory for this run "
                   "only%s",
                   wide ? "; cache.dtype = fp16 takes half the room and makes another model" : "");
}

/* ---- in memory ------------------------------------------------------------------------------- */

thaw_storage_budget thaw_storage_budget_of(const thaw_options *options) {
    size_t half = thaw_usable_memory() / 2, wanted = (size_t)options->cache.memory_bytes;
    return (thaw_storage_budget){.all = half, .left = half, .rows = wanted ? wanted : SIZE_MAX};
}

static size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

void thaw_storage_count_records(thaw_storage_budget *budget, thaw_cache *cache) {
    thaw_cache_stats stats = thaw_cache_measure(cache);
    budget->left -= smaller(budget->left, stats.in_memory * stats.record_bytes);
}

thaw_status thaw_storage_rows(thaw_storage_budget *budget, thaw_cache *cache, const thaw_hash *keys,
                              int64_t n, int64_t D, thaw_features **features, thaw_error *err) {
    bool automatic = budget->rows == SIZE_MAX;
    THAW_TRY(thaw_features_open(features, cache, keys, n, D,
                                automatic ? budget->left : budget->rows, err));
    size_t taken = (size_t)thaw_features_in_memory(*features) * (size_t)D * sizeof(float);
    budget->left -= smaller(budget->left, taken);
    if (!automatic) budget->rows -= taken;
    return THAW_OK;
}
