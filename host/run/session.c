#include "session.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json.h"

/* A signal handler can reach nothing but a global. */
static volatile int stop_asked;

static void ask_stop(int signal_number) {
    (void)signal_number;
    if (stop_asked) _exit(130); /* Asked twice: at once. The cache survives that, too. */
    stop_asked = 1;
}

const volatile int *thaw_session_stop(void) {
    return &stop_asked;
}

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "to prepare the run");
}

thaw_status thaw_session_backend(const thaw_options *options, thaw_backend *backend,
                                 thaw_error *err) {
    static const char *const devices[] = {[THAW_OPT_DEVICE_AUTO] = "auto",
                                          [THAW_OPT_DEVICE_CPU] = "cpu",
                                          [THAW_OPT_DEVICE_CUDA] = "cuda"};
    char text[32];
    snprintf(text, sizeof text, options->device.index > 0 ? "%s:%d" : "%s",
             devices[options->device.kind], options->device.index);
    return thaw_backend_open(backend, text, (int)options->threads, err);
}

thaw_status thaw_session_tune(const thaw_options *options, thaw_backend *backend, thaw_arena *arena,
                              thaw_error *err) {
    const char *root;
    if (!options->tune || !backend->kernels->tune) return THAW_OK;
    THAW_TRY(thaw_session_cache_root(options, arena, &root, err));
    if (!root)
        return thaw_fail(err, THAW_ERR_USAGE,
                         "tune = on remembers what it measured in cache.dir, which is none: give a "
                         "folder, or leave tune off");
    THAW_TRY(thaw_cache_make_root(root, options->cache.shared, err));
    const char *path = thaw_file_join(arena, root, "tuning.txt");
    if (!path) return no_memory(err);
    thaw_error why = {0};
    if (backend->kernels->tune(backend->device, path, &why) == 0) return THAW_OK;
    return thaw_fail(err, why.code ? why.code : THAW_ERR_BACKEND, "tune = on: %.900s", why.text);
}

thaw_status thaw_session_open(thaw_session *s, const thaw_options *options, thaw_error *err) {
    *s = (thaw_session){.options = options,
                        .compute = THAW_F32,
                        .stored = THAW_F32,
                        .memory = thaw_storage_budget_of(options)};
    thaw_log_open(&s->log, stderr, options->log);
    if (options->log >= THAW_LOG_DEBUG) thaw_options_write_effective(stderr, options);
    struct sigaction action = {.sa_handler = ask_stop};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    THAW_TRY(thaw_session_backend(options, &s->backend, err));
    if (s->backend.note[0]) thaw_log_write(&s->log, THAW_LOG_INFO, "%s", s->backend.note);
    if (s->backend.kernels->describe)
        thaw_log_write(&s->log, THAW_LOG_INFO, "computing on %s",
                       s->backend.kernels->describe(s->backend.device));
    return thaw_session_tune(options, &s->backend, &s->arena, err);
}

void thaw_session_close(thaw_session *s) {
    thaw_extraction_free(&s->extraction);
    thaw_cache_close(s->cache);
    thaw_dataset_close(&s->dataset);
    thaw_backend_close(&s->backend);
    thaw_log_close(&s->log);
    thaw_arena_free(&s->arena);
}

/* ---- precision ----------------------------------------------------------------------------- */

/* What `auto` would rather have than fp32 on this device; THAW_F32: nothing. */
static thaw_dtype narrow_type(const thaw_backend *backend) {
    static const thaw_dtype types[] = {THAW_F16, THAW_BF16};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (backend->kernels->computes(backend->device, types[i])) return types[i];
    return THAW_F32;
}

static const double still_good = 1e-3; /* NMSE above which features are no longer the same. */

/* Half precision ends at 65504. What passes it need not show in the end, since relu turns NaN into
 * zero, so that a few pictures' features are compared with the CPU's before all go through. */
static thaw_status check_half_precision(thaw_session *s, const thaw_network *network,
                                        thaw_error *err) {
    enum { SAMPLE = 8 };
    const thaw_kernels *kernels = s->backend.kernels;
    if (s->compute != THAW_F16 || !kernels->memory) return THAW_OK;
    thaw_backend cpu;
    THAW_TRY(thaw_backend_cpu_open(&cpu, (int)s->options->threads, err));
    thaw_way_test test;
    thaw_extract_way trusted = {&cpu, THAW_F32}, way = {&s->backend, THAW_F16};
    thaw_status status = thaw_extract_compare(network, &s->dataset, s->options->batch, &trusted,
                                              &way, SAMPLE, &test, err);
    bool wide = kernels->computes(s->backend.device, THAW_F32);
    if (status == THAW_OK && !(test.nmse <= still_good)) {
        thaw_log_write(&s->log, THAW_LOG_WARN,
                       "activations of this network do not fit into half precision (the features' "
                       "error is NMSE %.1e on %d pictures): computing in %s",
                       test.nmse, SAMPLE, wide ? kernels->precision(THAW_F32) : "fp32 on the CPU");
        s->compute = THAW_F32;
        if (!wide) {
            thaw_backend_close(&s->backend);
            s->backend = cpu;
            return THAW_OK;
        }
    }
    thaw_backend_close(&cpu);
    return status;
}

thaw_status thaw_session_precision(const thaw_options *options, const thaw_backend *backend,
                                   thaw_dtype *compute, thaw_error *err) {
    static const thaw_dtype asked[] = {[THAW_OPT_PRECISION_FP32] = THAW_F32,
                                       [THAW_OPT_PRECISION_BF16] = THAW_BF16,
                                       [THAW_OPT_PRECISION_FP16] = THAW_F16};
    *compute = options->precision == THAW_OPT_PRECISION_AUTO ? narrow_type(backend)
                                                             : asked[options->precision];
    if (backend->kernels->computes(backend->device, *compute)) return THAW_OK;
    const char *name = thaw_dtype_name(*compute);
    bool gpu = backend->kernels->memory != NULL;
    if (*compute != THAW_F32)
        return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                         "precision = %s: this %s has no %s instructions; use %s", name,
                         gpu ? "GPU" : "processor", name, gpu ? "fp16" : "fp32");
    *compute = THAW_F16; /* The default must not keep a T4 from working. */
    return THAW_OK;
}

static thaw_status take_precision(thaw_session *s, thaw_error *err) {
    THAW_TRY(thaw_session_precision(s->options, &s->backend, &s->compute, err));
    if (s->options->precision == THAW_OPT_PRECISION_FP32 && s->compute == THAW_F16)
        thaw_log_write(&s->log, THAW_LOG_INFO,
                       "precision fp16: this GPU's tensor cores have neither fp32 nor tf32");
    return THAW_OK;
}

/* precision = auto. */
static thaw_status find_precision(thaw_session *s, const thaw_network *network, thaw_error *err) {
    enum { SAMPLE = 64 };
    thaw_dtype narrow;
    bool kept;
    THAW_TRY(thaw_storage_precision(s->options, network, &s->backend, &narrow, &kept, err));
    if (narrow == THAW_F32) {
        thaw_log_write(&s->log, THAW_LOG_INFO,
                       kept ? "precision fp32: its features are in the cache"
                            : "precision fp32: this processor has no bf16 instructions");
        return THAW_OK;
    }
    if (!s->backend.kernels->computes(s->backend.device, THAW_F32)) {
        s->compute = narrow; /* Nothing to choose from. */
        return THAW_OK;
    }
    thaw_way_test test;
    thaw_extract_way trusted = {&s->backend, THAW_F32}, way = {&s->backend, narrow};
    THAW_TRY(thaw_extract_compare(network, &s->dataset, s->options->batch, &trusted, &way, SAMPLE,
                                  &test, err));
    bool good = test.nmse <= still_good;
    bool take = good && thaw_storage_takes_narrow(kept, test.rate, test.trusted_rate);
    if (take) s->compute = narrow;
    thaw_log_write(&s->log, THAW_LOG_INFO,
                   "precision %s: %s makes %.0f images/s, fp32 %.0f; the features' error is NMSE "
                   "%.1e on %d pictures%s",
                   take ? thaw_dtype_name(narrow) : "fp32", thaw_dtype_name(narrow), test.rate,
                   test.trusted_rate, test.nmse, SAMPLE,
                   good ? "" : ", too much: its numbers do not reach far enough");
    return THAW_OK;
}

static thaw_status choose_precision(thaw_session *s, const thaw_network *network, thaw_error *err) {
    bool find = s->options->precision == THAW_OPT_PRECISION_AUTO;
    THAW_TRY(find ? find_precision(s, network, err) : take_precision(s, err));
    return check_half_precision(s, network, err);
}

/* ---- cache --------------------------------------------------------------------------------- */

const thaw_fact *thaw_session_facts(const thaw_network *network, const thaw_kernels *kernels,
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

thaw_status thaw_session_cache_root(const thaw_options *options, thaw_arena *arena,
                                    const char **root, thaw_error *err) {
    *root = NULL;
    if (strcmp(options->cache.dir, "none") == 0) return THAW_OK;
    if (strcmp(options->cache.dir, "auto") != 0) return *root = options->cache.dir, THAW_OK;
    char path[4096];
    if (!thaw_cache_default_root(path, sizeof path))
        return thaw_fail(err, THAW_ERR_USAGE,
                         "cache.dir = auto: neither XDG_CACHE_HOME nor HOME is set; give a folder, "
                         "or none");
    *root = thaw_arena_string(arena, path, strlen(path));
    return *root ? THAW_OK : no_memory(err);
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

static thaw_status open_cache(thaw_session *s, const thaw_network *network, thaw_error *err) {
    const char *root;
    THAW_TRY(thaw_session_cache_root(s->options, &s->arena, &root, err));
    thaw_cache_spec spec;
    THAW_TRY(thaw_storage_spec(s->options, network, &s->backend, s->compute, root, &s->arena, &spec,
                               err));
    s->stored = spec.dtype;
    spec.memory_bytes = s->memory.all;
    char why[1024];
    int n_differences = 0;
    if (root) THAW_TRY(say_foreign(s, root, err));
    if (root) THAW_TRY(thaw_cache_explain(&spec, why, sizeof why, &n_differences, err));
    THAW_TRY(thaw_cache_open(&s->cache, &spec, err));
    thaw_storage_say(s->options, s->cache, root, s->dataset.n, &s->log);
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
                             "the name of the class folder '%.120s' is not UTF-8; rename it",
                             d->class_name[k]);
    }
    return THAW_OK;
}

static void say_dataset(thaw_session *s) {
    const char *table = thaw_dataset_describe(&s->dataset, &s->arena);
    if (table && s->log.level >= THAW_LOG_INFO) fputs(table, stderr);
    for (size_t i = 0; i < s->dataset.n_notes; i++)
        thaw_log_write(&s->log, THAW_LOG_WARN, "%s", s->dataset.notes[i]);
}

static void say_extraction(thaw_session *s) {
    const thaw_extraction *x = &s->extraction;
    thaw_cache_stats stats = thaw_cache_measure(s->cache);
    thaw_log_write(&s->log, THAW_LOG_INFO,
                   "features: %zu from the cache, %zu computed in %.1f s, %zu pictures rejected",
                   x->hits, x->misses, x->seconds, x->n_rejected);
    if (stats.damaged)
        thaw_log_write(&s->log, THAW_LOG_WARN,
                       "%zu damaged records of the cache were passed over and computed anew where "
                       "nothing else held them; thaw cache gc removes them",
                       stats.damaged);
    if (stats.in_memory && strcmp(s->options->cache.dir, "none") != 0)
        thaw_log_write(&s->log, THAW_LOG_WARN,
                       "%s: %zu records are in memory and will be computed again next time",
                       stats.read_only ? "the cache cannot be written" : "the disk is full",
                       stats.in_memory);
}

/* How fast the line is without the cache: from this run if it computed enough, else from the
 * self-test, which also proves that old records still are what this program would compute. */
static thaw_status measure_rate(thaw_session *s, const thaw_network *network,
                                const thaw_extract_options *options, thaw_error *err) {
    enum { ENOUGH = 256, SAMPLE = 64 };
    const thaw_extraction *x = &s->extraction;
    double seconds = x->seconds - x->plan_seconds;
    if (seconds > 0) s->images_per_second = (double)x->misses / seconds;
    if (x->hits == 0 || x->n == x->n_rejected) return THAW_OK;
    thaw_self_test test;
    THAW_TRY(thaw_extract_self_test(network, &s->dataset, options, &s->backend, s->cache, s->stored,
                                    x, SAMPLE, &test, err));
    if (x->misses < ENOUGH) s->images_per_second = test.images_per_second;
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
    THAW_TRY(check_names(&s->dataset, err));
    say_dataset(s);
    THAW_TRY(choose_precision(s, network, err));
    THAW_TRY(open_cache(s, network, err));
    thaw_extract_options options = {.batch = s->options->batch,
                                    .compute = s->compute,
                                    .max_bad = s->options->data.max_bad,
                                    .rejected_path = rejected_path,
                                    .stop = &stop_asked};
    THAW_TRY(thaw_extract(network, &s->dataset, &options, &s->backend, s->cache, &s->log,
                          &s->extraction, err));
    say_extraction(s);
    thaw_storage_count_records(&s->memory, s->cache);
    return measure_rate(s, network, &options, err);
}

/* ---- rows ---------------------------------------------------------------------------------- */

thaw_status thaw_session_rows(thaw_session *s, const thaw_network *network, thaw_split split,
                              thaw_split_rows *out, thaw_error *err) {
    *out = (thaw_split_rows){0};
    size_t most = thaw_dataset_count(&s->dataset, split), n = 0;
    thaw_hash *keys = thaw_arena_array(&s->arena, most, sizeof *keys);
    int32_t *labels = thaw_arena_array(&s->arena, most, sizeof *labels);
    if (!keys || !labels) return no_memory(err);
    for (size_t i = 0; i < s->dataset.n; i++) {
        if (s->dataset.split[i] != split) continue;
        if (s->extraction.rejected[i]) {
            out->n_rejected++;
            continue;
        }
        keys[n] = s->extraction.keys[i];
        labels[n++] = (int32_t)s->dataset.label[i];
    }
    out->rows = (thaw_rows){.n = (int64_t)n,
                            .D = network->n_features,
                            .gather = thaw_features_gather,
                            .label = labels,
                            .stored = s->stored};
    if (!n) return THAW_OK;
    THAW_TRY(thaw_storage_rows(&s->memory, s->cache, keys, (int64_t)n, network->n_features,
                               &out->features, err));
    out->rows.ctx = out->features;
    return THAW_OK;
}

void thaw_split_close(thaw_split_rows *rows) {
    thaw_features_close(rows->features);
    rows->features = NULL;
}
