#include "storage.h"

#include <string.h>

#include "file.h"

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "to open the cache");
}

const thaw_fact *thaw_storage_facts(const thaw_network *network, const thaw_kernels *kernels,
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
    return *root ? THAW_OK : no_memory(err);
}

/* Says what the cache will hold, and gives way before the disk is full: half precision first. */
static void choose_type(thaw_session *s, const thaw_network *network, const char *root) {
    enum { HEADER = 64 };
    if (!thaw_is_auto(s->options->cache.dtype)) s->stored = s->options->cache.dtype;
    uint64_t row = (uint64_t)network->n_features * thaw_dtype_bytes(s->stored) + HEADER;
    uint64_t most = row * s->dataset.n, room = 0;
    if (!root || thaw_file_free_bytes(root, &room, NULL) != THAW_OK) {
        thaw_log_write(&s->log, THAW_LOG_INFO, "cache: in memory only, at most %.1f MB",
                       (double)most / 1e6);
        return;
    }
    thaw_log_write(&s->log, THAW_LOG_INFO,
                   "cache: %s, at most %.1f MB for %zu pictures (%.1f KB each); %.1f GB are free",
                   root, (double)most / 1e6, s->dataset.n, (double)row / 1e3, (double)room / 1e9);
    if (most < room) return;
    if (thaw_is_auto(s->options->cache.dtype)) {
        s->stored = THAW_F16;
        thaw_log_write(&s->log, THAW_LOG_WARN,
                       "the disk may become too small: features are kept in half precision");
    }
    thaw_log_write(&s->log, THAW_LOG_WARN,
                   "what does not fit on the disk stays in memory for this run only");
}

static thaw_status count_foreign(void *context, const thaw_cache_entry *entry, thaw_error *err) {
    (void)err;
    *(size_t *)context += entry->foreign;
    return THAW_OK;
}

/* What another version of Thaw has kept is of no use here, and should not take room unnoticed. */
static thaw_status say_foreign(thaw_session *s, const char *root, thaw_error *err) {
    size_t n = 0;
    thaw_status status = thaw_cache_walk(root, false, count_foreign, &n, err);
    if (status != THAW_OK)
        return thaw_fail_within(err, status, "cache.dir = %s (choose another, or none)", root);
    if (n)
        thaw_log_write(&s->log, THAW_LOG_WARN,
                       "%zu shards in %s have another format than this version of Thaw writes and "
                       "are not used; thaw cache gc removes them",
                       n, root);
    return THAW_OK;
}

thaw_status thaw_storage_open(thaw_session *s, const thaw_network *network, thaw_error *err) {
    const char *root;
    THAW_TRY(thaw_storage_root(s->options, &s->arena, &root, err));
    choose_type(s, network, root);
    thaw_cache_spec spec = {.root = root, .D = network->n_features, .dtype = s->stored};
    spec.facts =
        thaw_storage_facts(network, s->backend.kernels, s->compute, &s->arena, &spec.n_facts);
    const char *slash = strrchr(network->model.path, '/');
    spec.about = thaw_arena_printf(&s->arena, "%s at %s", slash ? slash + 1 : network->model.path,
                                   network->cut->name);
    if (!spec.facts || !spec.about) return no_memory(err);
    char why[1024];
    int n_differences = 0;
    if (root) THAW_TRY(say_foreign(s, root, err));
    if (root) THAW_TRY(thaw_cache_explain(&spec, why, sizeof why, &n_differences, err));
    THAW_TRY(thaw_cache_open(&s->cache, &spec, err));
    /* One changed setting is usually meant; that everything is computed again should not surprise.
     */
    if (n_differences > 0 && n_differences <= 3 && thaw_cache_measure(s->cache).records == 0) {
        for (char *c = why; *c; c++)
            if (*c == '\n') *c = ';';
        thaw_log_write(&s->log, THAW_LOG_INFO,
                       "cache: nothing kept for these settings yet; the nearest differs in %s",
                       why);
    }
    return THAW_OK;
}
