#include "session.h"

#include <malloc.h>
#include <stdio.h>

#include "compare.h"
#include "device.h"
#include "json.h"
#include "precision.h"
#include "stop.h"
#include "text.h"

void thaw_session_say_device(thaw_session *s) {
    if (s->backend.note[0]) thaw_log_write(&s->log, THAW_LOG_INFO, "%s", s->backend.note);
    s->backend.note[0] = 0;
}

thaw_status thaw_session_open(thaw_session *s, const thaw_options *options, thaw_error *err) {
    *s = (thaw_session){.options = options,
                        .stop = thaw_stop_catch(),
                        .compute = THAW_F32,
                        .stored = THAW_F32,
                        .memory = thaw_storage_budget_of(options)};
    thaw_log_open(&s->log, stderr, options->log);
    if (options->log >= THAW_LOG_DEBUG) thaw_options_write_effective(stderr, options);
    THAW_TRY(thaw_device_open(options, &s->backend, err));
    for (size_t i = 0; i < options->n_notes; i++)
        thaw_log_write(&s->log, THAW_LOG_WARN, "%s", options->notes[i]);
    thaw_session_say_device(s);
    if (s->backend.kernels->describe)
        thaw_log_write(&s->log, THAW_LOG_INFO, "computing on %s",
                       s->backend.kernels->describe(s->backend.device));
    return thaw_device_tune(options, &s->backend, &s->arena, err);
}

void thaw_session_close(thaw_session *s) {
    thaw_extraction_free(&s->extraction);
    thaw_derive_close(&s->below);
    thaw_cache_close(s->cache);
    thaw_dataset_close(&s->dataset);
    thaw_backend_close(&s->backend);
    thaw_log_close(&s->log);
    thaw_arena_free(&s->lists);
    thaw_arena_free(&s->arena);
}

/* ---- cache --------------------------------------------------------------------------------- */

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

static thaw_status open_cache(thaw_session *s, const thaw_network *network, thaw_error *err) {
    const char *root;
    thaw_cache_spec spec;
    THAW_TRY(thaw_storage_root(s->options, &s->arena, &root, err));
    THAW_TRY(thaw_storage_spec(s->options, network, &s->backend, s->compute, root, &s->arena, &spec,
                               err));
    s->stored = spec.dtype;
    spec.memory_bytes = s->memory.all;
    char why[1024];
    int n_differences = 0;
    if (root) THAW_TRY(say_foreign(s, root, err));
    if (root) THAW_TRY(thaw_cache_explain(&spec, why, sizeof why, &n_differences, err));
    THAW_TRY(thaw_cache_open(&s->cache, &spec, err));
    size_t views = thaw_dataset_count(&s->dataset, THAW_SPLIT_TRAIN);
    views *= (size_t)s->options->views.n - 1;
    if (thaw_cache_measure(s->cache).records < s->dataset.n + views)
        THAW_TRY(
            thaw_derive_find(&s->below, s->options, network, &s->backend, s->compute, &spec, err));
    thaw_storage_say(s->options, s->cache, root, s->dataset.n + views, &s->log);
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

/* ---- extraction ---------------------------------------------------------------------------- */

/* Classes are matched by name, and the names go into the bundle: JSON holds UTF-8 only. */
static thaw_status check_names(const thaw_dataset *d, thaw_error *err) {
    for (size_t k = 0; k < d->n_classes; k++) {
        if (!thaw_json_holds(d->class_name[k]))
            return thaw_fail(err, THAW_ERR_DATA,
                             "the name of the class '%.120s' is not UTF-8; rename it",
                             d->class_name[k]);
    }
    return THAW_OK;
}

/* What the user expects of the pictures, where that was said. */
static thaw_status check_counts(thaw_session *s, thaw_error *err) {
    const thaw_dataset *d = &s->dataset;
    int64_t classes = s->options->data.classes, pictures = s->options->data.pictures;
    size_t train = thaw_dataset_count(d, THAW_SPLIT_TRAIN);
    size_t held_out = thaw_dataset_count(d, THAW_SPLIT_VALIDATION);
    if (!thaw_is_auto(classes) && (size_t)classes != d->n_classes) {
        thaw_text names = {0};
        for (size_t k = 0; k < d->n_classes && k < 12; k++)
            thaw_text_add(&names, "%s%.40s", k ? ", " : "", d->class_name[k]);
        return thaw_fail(err, THAW_ERR_DATA,
                         "data.classes (num_classes) = %lld, and the pictures have %zu classes: "
                         "%s%s; correct it, leave it out, or look for folders that are missing or "
                         "too many",
                         (long long)classes, d->n_classes, names.text,
                         d->n_classes > 12 ? ", ..." : "");
    }
    /* Those that validate may have been counted, too. */
    bool fits = (size_t)pictures == train || (size_t)pictures == train + held_out;
    if (!thaw_is_auto(pictures) && !fits)
        thaw_log_write(&s->log, THAW_LOG_WARN,
                       "data.pictures (num_training_samples) = %lld, and there are %zu to train on",
                       (long long)pictures, train);
    return THAW_OK;
}

static thaw_status say_dataset(thaw_session *s, thaw_error *err) {
    if (s->log.level >= THAW_LOG_INFO) THAW_TRY(thaw_dataset_print(&s->dataset, stderr, err));
    for (size_t i = 0; i < s->dataset.n_notes; i++)
        thaw_log_write(&s->log, THAW_LOG_WARN, "%s", s->dataset.notes[i]);
    return THAW_OK;
}

static void say_extraction(thaw_session *s) {
    const thaw_extraction *x = &s->extraction;
    thaw_cache_stats stats = thaw_cache_measure(s->cache);
    thaw_log_write(&s->log, THAW_LOG_INFO,
                   "features: %zu from the cache, %zu computed in %.1f s, %zu pictures rejected",
                   x->hits, x->misses, x->seconds, x->n_rejected);
    if (x->derived)
        thaw_log_write(&s->log, THAW_LOG_INFO,
                       "%zu of them were computed from what the cache has of cut %d, %s",
                       x->derived, s->below.from->index, s->below.from->name);
    if (stats.damaged)
        thaw_log_write(&s->log, THAW_LOG_WARN,
                       "%zu damaged records of the cache were passed over and computed anew where "
                       "nothing else held them; thaw cache gc removes them",
                       stats.damaged);
    if (stats.in_memory && (thaw_is_auto(s->options->cache.dir) || *s->options->cache.dir))
        thaw_log_write(&s->log, THAW_LOG_WARN,
                       "%s: %zu records are in memory and will be computed again next time",
                       stats.read_only ? "the cache cannot be written" : "the disk is full",
                       stats.in_memory);
}

/* How fast the line is without the cache: from this run if it computed enough, else from the
 * self-test, which also proves that old records still are what this program would compute. */
static thaw_status measure_rate(thaw_session *s, const thaw_network *network, thaw_error *err) {
    enum { ENOUGH = 256, SAMPLE = 64 };
    const thaw_extraction *x = &s->extraction;
    double seconds = x->seconds - x->plan_seconds;
    size_t decoded = x->misses - x->derived;
    if (seconds > 0) s->images_per_second = (double)decoded / seconds;
    if (x->hits + x->derived == 0 || x->n == x->n_rejected) return THAW_OK;
    thaw_cache_test test;
    thaw_way way = {&s->backend, s->compute, s->options->batch};
    THAW_TRY(
        thaw_compare_cache(network, &s->dataset, x, &way, s->cache, s->stored, SAMPLE, &test, err));
    if (decoded < ENOUGH || x->derived) s->images_per_second = test.images_per_second;
    thaw_log_write(&s->log, THAW_LOG_INFO,
                   "cache self-test: %zu random records computed anew, the largest difference is "
                   "NMSE %.1e",
                   test.n, test.worst);
    return THAW_OK;
}

thaw_status thaw_session_extract(thaw_session *s, const thaw_network *network,
                                 const thaw_dataset_spec *spec, const char *rejected_path,
                                 thaw_error *err) {
    THAW_TRY(thaw_dataset_open(&s->dataset, spec, err));
    thaw_arena_free(&s->lists);
    malloc_trim(0); /* Lists are long, and lie between what stays. */
    THAW_TRY(check_names(&s->dataset, err));
    THAW_TRY(say_dataset(s, err));
    THAW_TRY(check_counts(s, err));
    THAW_TRY(thaw_network_settle(network, &s->backend, err));
    thaw_session_say_device(s);
    THAW_TRY(thaw_precision_choose(s, network, err));
    THAW_TRY(open_cache(s, network, err));
    thaw_extract_options options = {.batch = s->options->batch,
                                    .compute = s->compute,
                                    .n_views = s->options->views.n,
                                    .views = s->options->views.ranges,
                                    .below = &s->below,
                                    .max_bad = s->options->data.max_bad,
                                    .rejected_path = rejected_path,
                                    .stop = s->stop};
    THAW_TRY(thaw_extract(network, &s->dataset, &options, &s->backend, s->cache, &s->log,
                          &s->extraction, err));
    say_extraction(s);
    thaw_storage_count_records(&s->memory, s->cache);
    THAW_TRY(thaw_lint_look(&s->lint, &s->dataset, s->extraction.keys, s->extraction.rejected,
                            &s->arena, err));
    thaw_lint_say(&s->lint, s->options->head.class_weights != THAW_CLASS_WEIGHTS_NONE, &s->log);
    return measure_rate(s, network, err);
}
