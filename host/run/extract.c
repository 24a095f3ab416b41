#include "extract.h"

#include <pthread.h>
#include <string.h>

#include "clock.h"
#include "others.h"
#include "pipeline.h"

/* What the pipeline's ends need. An item is a view of a picture: view * dataset->n + picture, as keys
 * has them. */
typedef struct extractor {
    const thaw_dataset *dataset;
    const thaw_view_ranges *views;
    /* Items that are wanted: all pictures as they are, and behind them these. */
    size_t *views_of; /* [n_items - dataset->n] */
    size_t n_items;
    thaw_cache *cache;
    thaw_log *log;
    size_t D;
    thaw_derive *below;
    size_t *derivable, n_derivable; /* Items that go on from a cut below; the mutex guards them. */
    thaw_extraction *result;
    thaw_hash *keys;     /* [batch] */
    const char **reason; /* [dataset->n] NULL: none. */
    bool again;          /* Items of others.mine go in, and not all. */
    size_t next;         /* Which of all, or entry of others.mine, goes in next. */
    thaw_arena arena;

    pthread_mutex_t mutex; /* Guards what others wait for, and the result's hits. */
    thaw_others others;
} extractor;

static thaw_status no_memory(const extractor *e, thaw_error *err) {
    return thaw_fail_memory(err, "to list %zu pictures", e->dataset->n);
}

/* ---- the pipeline's ends ------------------------------------------------------------------- */

/* What went in as the i-th. */
static size_t item_of(const extractor *e, size_t i) {
    if (e->again) return e->others.mine[i];
    return i < e->dataset->n ? i : e->views_of[i - e->dataset->n];
}

static size_t picture_of(const extractor *e, size_t item) {
    return item % e->dataset->n;
}

static thaw_status next_path(void *ctx, char path[PATH_MAX], thaw_error *err) {
    (void)err;
    extractor *e = ctx;
    path[0] = '\0';
    if (e->next < (e->again ? e->others.n_mine : e->n_items))
        thaw_dataset_path(e->dataset, picture_of(e, item_of(e, e->next++)), path);
    return THAW_OK;
}

static void count_hits(extractor *e, size_t n) {
    pthread_mutex_lock(&e->mutex);
    e->result->hits += n;
    pthread_mutex_unlock(&e->mutex);
    thaw_log_progress_add(e->log, n);
}

static void put_off(extractor *e, size_t item) {
    pthread_mutex_lock(&e->mutex);
    e->others.waiting[e->others.n_waiting++] = item;
    pthread_mutex_unlock(&e->mutex);
}

static void derive_later(extractor *e, size_t item) {
    pthread_mutex_lock(&e->mutex);
    e->derivable[e->n_derivable++] = item;
    pthread_mutex_unlock(&e->mutex);
}

/* Whether the item is in the cache, or will be soon without its pixels. */
static bool need_not_go(void *ctx, size_t i, thaw_hash hash) {
    extractor *e = ctx;
    size_t item = item_of(e, i);
    thaw_hash *key = &e->result->keys[item];
    *key = thaw_view_key(e->views, hash, (int64_t)(item / e->dataset->n));
    thaw_cache_claim claim = thaw_cache_claim_record(e->cache, *key);
    if (claim == THAW_CLAIM_KEPT)
        count_hits(e, 1);
    else if (claim == THAW_CLAIM_OTHERS && !e->others.impatient)
        put_off(e, item);
    else if (thaw_derive_has(e->below, *key))
        derive_later(e, item);
    else
        return false;
    return true;
}

static bool choose_view(void *ctx, size_t i, thaw_hash hash, thaw_view *view) {
    const extractor *e = ctx;
    int64_t k = (int64_t)(item_of(e, i) / e->dataset->n);
    if (k > 0) *view = thaw_view_draw(e->views, hash, k);
    return k > 0;
}

static thaw_status reject(extractor *e, const thaw_piped *piped, thaw_error *err) {
    size_t item = item_of(e, piped->i), picture = picture_of(e, item);
    const char *reason = piped->problem;
    thaw_cache_release(e->cache, e->result->keys[item]);
    if (e->result->rejected[picture]) return THAW_OK; /* In another view. */
    e->result->rejected[picture] = true;
    e->result->n_rejected++;
    e->reason[picture] = thaw_arena_string(&e->result->arena, reason, strlen(reason));
    return e->reason[picture] ? THAW_OK : no_memory(e, err);
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
        e->keys[good++] = e->result->keys[item_of(e, pictures[k].i)];
    }
    THAW_TRY(thaw_cache_append(e->cache, e->keys, good, features, err));
    e->result->misses += good;
    thaw_log_progress_add(e->log, n);
    return THAW_OK;
}

/* ---- the whole ----------------------------------------------------------------------------- */

static thaw_status allocate(extractor *e, const thaw_extract_options *options, thaw_error *err) {
    thaw_extraction *x = e->result;
    x->n = e->dataset->n;
    x->n_views = options->n_views > 1 ? (size_t)options->n_views : 1;
    size_t all = x->n * x->n_views; /* At most. */
    x->keys = thaw_arena_array(&x->arena, x->n, x->n_views * sizeof *x->keys);
    x->rejected = thaw_arena_array(&x->arena, x->n, sizeof *x->rejected);
    e->views_of = thaw_arena_array(&e->arena, all - x->n, sizeof *e->views_of);
    e->reason = thaw_arena_array(&e->arena, x->n, sizeof *e->reason);
    e->keys = thaw_arena_array(&e->arena, (size_t)options->batch, sizeof *e->keys);
    e->derivable = thaw_arena_array(&e->arena, all, sizeof *e->derivable);
    e->others.waiting = thaw_arena_array(&e->arena, all, sizeof *e->others.waiting);
    e->others.mine = thaw_arena_array(&e->arena, all, sizeof *e->others.mine);
    if (!x->keys || !x->rejected || !e->views_of || !e->reason || !e->keys || !e->derivable ||
        !e->others.waiting || !e->others.mine)
        return no_memory(e, err);
    e->n_items = x->n;
    for (size_t item = x->n; item < all; item++)
        if (e->dataset->split[item % x->n] == THAW_SPLIT_TRAIN)
            e->views_of[e->n_items++ - x->n] = item;
    return THAW_OK;
}

/* Those that were put aside, from the records at the cut below. */
static thaw_status derive_all(extractor *e, const thaw_pipeline *pipeline, thaw_error *err) {
    size_t batch = (size_t)pipeline->batch;
    THAW_TRY(thaw_derive_begin(e->below, pipeline->network, pipeline->batch, pipeline->compute,
                               pipeline->backend, err));
    for (size_t start = 0; start < e->n_derivable; start += batch) {
        size_t n = e->n_derivable - start < batch ? e->n_derivable - start : batch;
        float *rows;
        if (pipeline->stop && *pipeline->stop) return THAW_ERR_INTERRUPTED;
        for (size_t i = 0; i < n; i++)
            e->keys[i] = e->result->keys[e->derivable[start + i]];
        THAW_TRY(thaw_derive_rows(e->below, e->keys, n, &rows, err));
        THAW_TRY(thaw_cache_append(e->cache, e->keys, n, rows, err));
        e->result->misses += n;
        e->result->derived += n;
        thaw_log_progress_add(e->log, n);
    }
    e->n_derivable = 0;
    return THAW_OK;
}

static thaw_status run_once(extractor *e, const thaw_pipeline *pipeline, thaw_error *err) {
    thaw_pipeline_result done;
    e->next = 0;
    thaw_status status = thaw_pipeline_run(pipeline, &done, err);
    e->result->plan_seconds += done.plan_seconds;
    if (status == THAW_OK && e->n_derivable) status = derive_all(e, pipeline, err);
    return status;
}

/* All pictures, and then those that other processes had claimed, until none is left. Whoever waits
 * has appended all that it claimed, so that nobody waits for one who waits. */
static thaw_status run_rounds(extractor *e, thaw_pipeline *pipeline, thaw_error *err) {
    enum { PATIENCE_S = 60 }; /* A batch takes seconds where it takes long. */
    thaw_extraction *x = e->result;
    e->others.patience_s = PATIENCE_S;
    pipeline->source = (thaw_picture_source){
        .next = next_path, .skip = need_not_go, .view = choose_view, .ctx = e, .most = e->n_items};
    pipeline->sink = (thaw_picture_sink){keep, e};
    thaw_status status = run_once(e, pipeline, err);
    while (status == THAW_OK && e->others.n_waiting) {
        e->again = true;
        count_hits(e,
                   thaw_others_wait(&e->others, e->cache, x->keys, pipeline->stop, pipeline->log));
        status = run_once(e, pipeline, err);
    }
    if (status != THAW_ERR_INTERRUPTED) return status;
    return thaw_fail(err, status,
                     "stopped by a signal after %zu of %zu pictures; what was computed is in the "
                     "cache and the next run goes on from there",
                     x->hits + x->misses + x->n_rejected, e->n_items);
}

static thaw_status run(extractor *e, thaw_pipeline *pipeline, thaw_error *err) {
    double start = thaw_now_s();
    thaw_log_progress_begin(e->log, "pictures to features", "images", e->n_items);
    thaw_status status = run_rounds(e, pipeline, err);
    thaw_log_progress_end(e->log);
    e->result->seconds = thaw_now_s() - start;
    return status;
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
    extractor e = {.dataset = dataset,
                   .views = &options->views,
                   .cache = cache,
                   .log = log,
                   .D = (size_t)network->n_features,
                   .below = options->below,
                   .result = extraction};
    thaw_pipeline pipeline = {.network = network,
                              .backend = backend,
                              .batch = options->batch,
                              .compute = options->compute,
                              .stop = options->stop,
                              .log = log};
    pthread_mutex_init(&e.mutex, NULL);
    thaw_status status = allocate(&e, options, err);
    if (status == THAW_OK) status = run(&e, &pipeline, err);
    if (status == THAW_OK) status = report_rejected(&e, options, err);
    pthread_mutex_destroy(&e.mutex);
    thaw_arena_free(&e.arena);
    return status;
}

void thaw_extraction_free(thaw_extraction *extraction) {
    thaw_arena_free(&extraction->arena);
    *extraction = (thaw_extraction){0};
}
