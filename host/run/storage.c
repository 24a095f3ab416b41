#include "storage.h"

#include <string.h>

#include "file.h"
#include "machine.h"
#include "precision.h"

/* ---- which cache ----------------------------------------------------------------------------- */

thaw_status thaw_storage_root(const thaw_options *options, thaw_arena *arena, const char **root,
                              thaw_error *err) {
    *root = NULL;
    if (!thaw_is_auto(options->cache.dir)) {
        if (*options->cache.dir) *root = options->cache.dir;
        return THAW_OK;
    }
    char path[4096];
    if (!thaw_cache_default_root(path, sizeof path))
        return thaw_fail(err, THAW_ERR_USAGE,
                         "cache.dir = auto: neither XDG_CACHE_HOME nor HOME is set; give a folder, "
                         "or none");
    *root = thaw_arena_string(arena, path, strlen(path));
    return *root ? THAW_OK : thaw_fail_memory(err, "for the path of the cache");
}

/* What identifies a trunk's records; n receives the count. NULL: there is no memory. */
static const thaw_fact *list_facts(const thaw_network *network, const thaw_kernels *kernels,
                                   thaw_dtype compute, thaw_arena *arena, size_t *n) {
    enum { OTHERS = 3 };
    *n = OTHERS + THAW_PREPROCESS_FACTS;
    thaw_fact *facts = thaw_arena_array(arena, *n, sizeof *facts);
    const char *names[THAW_PREPROCESS_FACTS];
    char(*texts)[THAW_PREPROCESS_FACT_TEXT] =
        thaw_arena_array(arena, THAW_PREPROCESS_FACTS, sizeof *texts);
    char *hash = thaw_arena_alloc(arena, THAW_HASH_TEXT);
    if (!facts || !texts || !hash) return NULL;
    thaw_hash_text(network->trunk_hash, hash);
    facts[0] = (thaw_fact){"network", hash};
    facts[1] = (thaw_fact){"precision", kernels->precision(compute)};
    facts[2] = (thaw_fact){"decoder", thaw_image_decoder_id()};
    thaw_preprocess_facts(&network->preprocess, names, texts);
    for (int i = 0; i < THAW_PREPROCESS_FACTS; i++)
        facts[OTHERS + i] = (thaw_fact){names[i], texts[i]};
    return facts;
}

thaw_status thaw_storage_spec(const thaw_options *options, const thaw_network *network,
                              const thaw_backend *backend, thaw_dtype compute, const char *root,
                              thaw_arena *arena, thaw_cache_spec *spec, thaw_error *err) {
    const char *slash = strrchr(network->model.path, '/');
    *spec = (thaw_cache_spec){
        .root = root,
        .D = network->n_features,
        .dtype = thaw_is_auto(options->cache.dtype) ? THAW_F32 : options->cache.dtype,
        .shared = options->cache.shared,
        .about = thaw_arena_printf(arena, "%s at %s", slash ? slash + 1 : network->model.path,
                                   network->cut->name)};
    spec->facts = list_facts(network, backend->kernels, compute, arena, &spec->n_facts);
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
    thaw_status status = thaw_storage_root(options, &arena, &root, err);
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
    THAW_TRY(thaw_precision_asked(options, backend, compute, err));
    if (!thaw_is_auto(options->precision) || *compute == THAW_F32) return THAW_OK;
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
    bool wide = options->cache.dtype != THAW_F16;
    thaw_log_write(log, THAW_LOG_WARN,
                   "the disk may become too small: what does not fit stays in memory for this run "
                   "only%s",
                   wide ? "; cache.dtype = fp16 takes half the room and makes another model" : "");
}

/* ---- in memory ------------------------------------------------------------------------------- */

thaw_storage_budget thaw_storage_budget_of(const thaw_options *options) {
    size_t half = thaw_usable_memory() / 2;
    bool automatic = thaw_is_auto(options->cache.memory_bytes);
    return (thaw_storage_budget){
        .all = half,
        .left = half,
        .rows = automatic ? SIZE_MAX : (size_t)options->cache.memory_bytes};
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
