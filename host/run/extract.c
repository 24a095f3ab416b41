#include "extract.h"

#include <string.h>

#include "pipeline.h"

/* What the pipeline's ends need. */
typedef struct extractor {
    const thaw_dataset *dataset;
    thaw_cache *cache;
    size_t D;
    thaw_extraction *result;
    size_t next;         /* Picture that goes in next. */
    thaw_hash *keys;     /* [batch] */
    const char **reason; /* [dataset->n] NULL: none. */
    thaw_arena arena;
} extractor;

static thaw_status no_memory(const extractor *e, thaw_error *err) {
    return thaw_fail_memory(err, "to list %zu pictures", e->dataset->n);
}

/* ---- the pipeline's ends ------------------------------------------------------------------- */

static thaw_status next_path(void *ctx, char path[PATH_MAX], thaw_error *err) {
    (void)err;
    extractor *e = ctx;
    path[0] = '\0';
    if (e->next < e->dataset->n) thaw_dataset_path(e->dataset, e->next++, path);
    return THAW_OK;
}

static bool is_kept(void *ctx, size_t i, thaw_hash hash) {
    extractor *e = ctx;
    e->result->keys[i] = hash;
    return thaw_cache_has(e->cache, hash);
}

static thaw_status reject(extractor *e, const thaw_piped *picture, thaw_error *err) {
    const char *reason = picture->problem;
    e->result->rejected[picture->i] = true;
    e->reason[picture->i] = thaw_arena_string(&e->result->arena, reason, strlen(reason));
    return e->reason[picture->i] ? THAW_OK : no_memory(e, err);
}

/* Features of pictures without a problem move to the front, and into the cache. */
static thaw_status keep(void *ctx, size_t n, const thaw_piped *pictures, float *features,
                        thaw_error *err) {
    extractor *e = ctx;
    size_t D = e->D, good = 0;
    for (size_t k = 0; k < n; k++) {
        if (pictures[k].problem) {
            THAW_TRY(reject(e, &pictures[k], err));
            continue;
        }
        if (good != k) memmove(features + good * D, features + k * D, D * sizeof *features);
        e->keys[good++] = pictures[k].hash;
    }
    return thaw_cache_append(e->cache, e->keys, good, features, err);
}

/* ---- the whole ----------------------------------------------------------------------------- */

static thaw_status allocate(extractor *e, size_t batch, thaw_error *err) {
    thaw_extraction *x = e->result;
    x->n = e->dataset->n;
    x->keys = thaw_arena_array(&x->arena, x->n, sizeof *x->keys);
    x->rejected = thaw_arena_array(&x->arena, x->n, sizeof *x->rejected);
    e->reason = thaw_arena_array(&e->arena, x->n, sizeof *e->reason);
    e->keys = thaw_arena_array(&e->arena, batch, sizeof *e->keys);
    return x->keys && x->rejected && e->reason && e->keys ? THAW_OK : no_memory(e, err);
}

static thaw_status run(extractor *e, thaw_pipeline *pipeline, thaw_error *err) {
    thaw_extraction *x = e->result;
    thaw_pipeline_result done;
    pipeline->source = (thaw_picture_source){next_path, is_kept, e, x->n};
    pipeline->sink = (thaw_picture_sink){keep, e};
    thaw_log_progress_begin(pipeline->log, "pictures to features", "images", x->n);
    thaw_status status = thaw_pipeline_run(pipeline, &done, err);
    thaw_log_progress_end(pipeline->log);
    x->hits = done.n_skipped;
    x->n_rejected = done.n_bad;
    x->misses = done.n - done.n_skipped - done.n_bad;
    x->seconds = done.seconds;
    x->plan_seconds = done.plan_seconds;
    if (status != THAW_ERR_INTERRUPTED) return status;
    return thaw_fail(err, status,
                     "stopped by a signal after %zu of %zu pictures; what was computed is in the "
                     "cache and the next run goes on from there",
                     done.n, x->n);
}

/* The table of bad pictures, in the dataset's order, and the limit on their number. */
static thaw_status report_rejected(extractor *e, const thaw_extract_options *options,
                                   thaw_error *err) {
    thaw_extraction *x = e->result;
    x->reasons = thaw_arena_array(&x->arena, x->n_rejected, sizeof *x->reasons);
    if (!x->reasons) return no_memory(e, err);
    size_t row = 0;
    for (size_t i = 0; i < x->n; i++) {
        if (!x->rejected[i]) continue;
        char path[PATH_MAX];
        thaw_dataset_path(e->dataset, i, path);
        char *copy = thaw_arena_string(&x->arena, path, strlen(path));
        if (!copy) return no_memory(e, err);
        x->reasons[row++] = (thaw_rejected){.path = copy, .reason = e->reason[i]};
    }
    if (options->rejected_path && x->n_rejected)
        THAW_TRY(thaw_rejected_write(options->rejected_path, x->reasons, x->n_rejected, err));
    if (!thaw_opt_limit_exceeded(options->max_bad, x->n_rejected, x->n)) return THAW_OK;
    return thaw_fail(err, THAW_ERR_DATA,
                     "%zu of %zu pictures cannot be used, more than data.max_bad allows%s%s; the "
                     "first is %s: %s",
                     x->n_rejected, x->n, options->rejected_path ? "; they are listed in " : "",
                     options->rejected_path ? options->rejected_path : "", x->reasons[0].path,
                     x->reasons[0].reason);
}

thaw_status thaw_extract(const thaw_network *network, const thaw_dataset *dataset,
                         const thaw_extract_options *options, thaw_backend *backend,
                         thaw_cache *cache, thaw_log *log, thaw_extraction *extraction,
                         thaw_error *err) {
    *extraction = (thaw_extraction){0};
    extractor e = {
        .dataset = dataset, .cache = cache, .D = (size_t)network->n_features, .result = extraction};
    thaw_pipeline pipeline = {.network = network,
                              .backend = backend,
                              .batch = options->batch,
                              .compute = options->compute,
                              .stop = options->stop,
                              .log = log};
    thaw_status status = allocate(&e, (size_t)options->batch, err);
    if (status == THAW_OK) status = run(&e, &pipeline, err);
    if (status == THAW_OK) status = report_rejected(&e, options, err);
    thaw_arena_free(&e.arena);
    return status;
}

void thaw_extraction_free(thaw_extraction *extraction) {
    thaw_arena_free(&extraction->arena);
    *extraction = (thaw_extraction){0};
}
