#include "extract.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "file.h"
#include "rng.h"

enum {
    RING_BATCHES = 3,         /* Decoded ahead of the trunk. */
    LARGEST_FILE = 512 << 20, /* No picture is larger; a wrong file must not fill the memory. */
};

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- one picture --------------------------------------------------------------------------- */

/* What a decoding thread owns. */
typedef struct reader {
    thaw_decoder *decoder;
    thaw_arena arena; /* The file's bytes; emptied for each picture. */
    uint8_t *pixels;  /* One decoded picture. */
} reader;

static size_t image_bytes(const thaw_network *network) {
    const thaw_geometry *g = &network->preprocess.geometry;
    return (size_t)g->width * (size_t)g->height * (size_t)g->channels;
}

static thaw_status reader_open(reader *r, const thaw_network *network, thaw_error *err) {
    *r = (reader){.pixels = malloc(image_bytes(network))};
    if (!r->pixels) return thaw_fail(err, THAW_ERR_NOMEM, "not enough memory to decode pictures");
    return thaw_decoder_create(&r->decoder, err);
}

static void reader_close(reader *r) {
    thaw_decoder_free(r->decoder);
    thaw_arena_free(&r->arena);
    free(r->pixels);
}

/* Reads picture i and computes its record key; the bytes live until the next call. */
static thaw_status read_picture(reader *r, const thaw_dataset *dataset, size_t i, char **bytes,
                                size_t *n, thaw_hash *key, thaw_error *err) {
    char path[PATH_MAX];
    thaw_dataset_path(dataset, i, path);
    thaw_arena_free(&r->arena);
    THAW_TRY(thaw_file_read(path, LARGEST_FILE, &r->arena, bytes, n, err));
    *key = thaw_hash_bytes((thaw_hash){0}, *bytes, *n);
    return THAW_OK;
}

/* ---- decoding ahead of the trunk ----------------------------------------------------------- */

/* Decoded pictures wait in a ring of slots, in the order in which they were finished. Producers
 * fill from `filled` on, the consumer empties from `emptied` on, both counted without end; the ring
 * holds filled - emptied of them. A batch starts at a multiple of the batch size, so its slots lie
 * side by side. */
typedef struct pipeline {
    const thaw_network *network;
    const thaw_dataset *dataset;
    const thaw_extract_options *options;
    thaw_cache *cache;
    thaw_log *log;
    thaw_extraction *result;

    pthread_mutex_t mutex; /* Guards all that follows. */
    pthread_cond_t has_batch, has_room;
    size_t next; /* Picture that the next free thread takes. */
    size_t filled, emptied, capacity;
    int n_running; /* Producers that have not ended. */
    bool failed;   /* The consumer gave up, or a producer hit something other than a bad picture. */
    thaw_error error;
    uint8_t *pixels;     /* [capacity] pictures. */
    size_t *picture;     /* [capacity] which picture of the dataset lies there. */
    const char **reason; /* [dataset->n] in the result's arena. */
} pipeline;

static bool stopping(const pipeline *p) {
    return p->failed || (p->options->stop && *p->options->stop);
}

static bool take_picture(pipeline *p, size_t *i) {
    pthread_mutex_lock(&p->mutex);
    bool any = p->next < p->dataset->n && !stopping(p);
    if (any) *i = p->next++;
    pthread_mutex_unlock(&p->mutex);
    return any;
}

static void reject(pipeline *p, size_t i, const char *reason) {
    pthread_mutex_lock(&p->mutex);
    p->result->rejected[i] = true;
    p->result->n_rejected++;
    p->reason[i] = thaw_arena_string(&p->result->arena, reason, strlen(reason));
    pthread_mutex_unlock(&p->mutex);
    thaw_log_progress_add(p->log, 1);
}

static void count_hit(pipeline *p) {
    pthread_mutex_lock(&p->mutex);
    p->result->hits++;
    pthread_mutex_unlock(&p->mutex);
    thaw_log_progress_add(p->log, 1);
}

static void put_in_ring(pipeline *p, size_t i, const uint8_t *pixels) {
    size_t size = image_bytes(p->network);
    pthread_mutex_lock(&p->mutex);
    while (p->filled - p->emptied == p->capacity && !stopping(p))
        pthread_cond_wait(&p->has_room, &p->mutex);
    if (!stopping(p)) {
        size_t slot = p->filled % p->capacity;
        memcpy(p->pixels + slot * size, pixels, size);
        p->picture[slot] = i;
        p->filled++;
        if (p->filled % (size_t)p->options->batch == 0) pthread_cond_signal(&p->has_batch);
    }
    pthread_mutex_unlock(&p->mutex);
}

static void produce(pipeline *p, reader *r) {
    size_t i, n;
    char *bytes;
    thaw_error err;
    while (take_picture(p, &i)) {
        thaw_hash *key = &p->result->keys[i];
        if (read_picture(r, p->dataset, i, &bytes, &n, key, &err) != THAW_OK) {
            reject(p, i, err.text);
        } else if (thaw_cache_has(p->cache, *key)) {
            count_hit(p);
        } else if (thaw_image_decode(r->decoder, bytes, n, &p->network->preprocess.geometry,
                                     r->pixels, &err) != THAW_OK) {
            reject(p, i, err.text);
        } else {
            put_in_ring(p, i, r->pixels);
        }
    }
}

static void fail(pipeline *p, const thaw_error *err) {
    pthread_mutex_lock(&p->mutex);
    if (!p->failed) p->error = *err;
    p->failed = true;
    pthread_cond_broadcast(&p->has_room);
    pthread_cond_broadcast(&p->has_batch);
    pthread_mutex_unlock(&p->mutex);
}

static void *producer(void *argument) {
    pipeline *p = argument;
    /* The trunk first: with a lower priority here, its threads never wait at a barrier for a core
     * that decodes; decoding fills what the trunk leaves free. */
    setpriority(PRIO_PROCESS, 0, 10);
    reader r;
    thaw_error err;
    if (reader_open(&r, p->network, &err) == THAW_OK)
        produce(p, &r);
    else
        fail(p, &err);
    reader_close(&r);
    pthread_mutex_lock(&p->mutex);
    p->n_running--;
    pthread_cond_signal(&p->has_batch);
    pthread_mutex_unlock(&p->mutex);
    return NULL;
}

/* ---- the trunk's side ---------------------------------------------------------------------- */

/* Waits for a full batch, or for the rest when nothing more comes. Returns how many slots, 0 at the
 * end. */
static size_t wait_for_batch(pipeline *p, size_t *slot) {
    size_t batch = (size_t)p->options->batch;
    pthread_mutex_lock(&p->mutex);
    while (p->filled - p->emptied < batch && p->n_running > 0 && !stopping(p)) {
        /* A wake-up now and then sees a stop that came from a signal. */
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec++;
        pthread_cond_timedwait(&p->has_batch, &p->mutex, &until);
    }
    size_t n = p->filled - p->emptied;
    if (n > batch) n = batch;
    if (stopping(p)) n = 0;
    *slot = p->emptied % p->capacity;
    pthread_mutex_unlock(&p->mutex);
    return n;
}

static void release_batch(pipeline *p, size_t n) {
    pthread_mutex_lock(&p->mutex);
    p->emptied += n;
    p->result->misses += n;
    pthread_cond_broadcast(&p->has_room);
    pthread_mutex_unlock(&p->mutex);
    thaw_log_progress_add(p->log, n);
}

static thaw_status consume(pipeline *p, thaw_trunk **trunk, thaw_backend *backend, float *features,
                           thaw_hash *keys, thaw_error *err) {
    size_t slot, n, size = image_bytes(p->network);
    while ((n = wait_for_batch(p, &slot)) > 0) {
        /* Planned only when something is to be computed: all hits must cost nothing. */
        if (!*trunk) {
            double start = now_s();
            THAW_TRY(thaw_network_plan(p->network, p->options->batch, p->options->compute, backend,
                                       trunk, err));
            p->result->plan_seconds = now_s() - start;
        }
        THAW_TRY(thaw_trunk_run(*trunk, (int64_t)n, p->pixels + slot * size, features, err));
        for (size_t k = 0; k < n; k++)
            keys[k] = p->result->keys[p->picture[slot + k]];
        THAW_TRY(thaw_cache_append(p->cache, keys, n, features, err));
        release_batch(p, n);
    }
    return THAW_OK;
}

/* ---- the whole ----------------------------------------------------------------------------- */

static thaw_status allocate(pipeline *p, thaw_error *err) {
    thaw_extraction *x = p->result;
    size_t n = p->dataset->n;
    p->capacity = RING_BATCHES * (size_t)p->options->batch;
    if (p->capacity > n + (size_t)p->options->batch)
        p->capacity = (n / (size_t)p->options->batch + 1) * (size_t)p->options->batch;
    x->n = n;
    x->keys = thaw_arena_array(&x->arena, n, sizeof *x->keys);
    x->rejected = thaw_arena_array(&x->arena, n, sizeof *x->rejected);
    p->reason = calloc(n + 1, sizeof *p->reason);
    p->picture = calloc(p->capacity, sizeof *p->picture);
    p->pixels = malloc(p->capacity * image_bytes(p->network));
    if (x->keys && x->rejected && p->reason && p->picture && p->pixels) return THAW_OK;
    return thaw_fail(err, THAW_ERR_NOMEM, "not enough memory for %zu pictures and %zu decoded ones",
                     n, p->capacity);
}

static thaw_status run_threads(pipeline *p, thaw_backend *backend, thaw_error *err) {
    pthread_t threads[256];
    int wanted = backend->threads < 256 ? backend->threads : 256, started = 0;
    p->n_running = wanted;
    while (started < wanted && pthread_create(&threads[started], NULL, producer, p) == 0)
        started++;
    pthread_mutex_lock(&p->mutex);
    p->n_running -= wanted - started;
    pthread_mutex_unlock(&p->mutex);
    thaw_status status = THAW_OK;
    thaw_trunk *trunk = NULL;
    float *features =
        calloc((size_t)(p->options->batch * p->network->n_features), sizeof *features);
    thaw_hash *keys = calloc((size_t)p->options->batch, sizeof *keys);
    if (!started || !features || !keys)
        status = thaw_fail(err, THAW_ERR_NOMEM, "not enough memory or threads to decode pictures");
    else
        status = consume(p, &trunk, backend, features, keys, err);
    if (status != THAW_OK) fail(p, err);
    pthread_mutex_lock(&p->mutex);
    pthread_cond_broadcast(&p->has_room);
    pthread_mutex_unlock(&p->mutex);
    for (int t = 0; t < started; t++)
        pthread_join(threads[t], NULL);
    thaw_trunk_free(trunk);
    free(features);
    free(keys);
    if (p->failed) {
        if (err) *err = p->error;
        return p->error.code;
    }
    if (p->options->stop && *p->options->stop)
        return thaw_fail(err, THAW_ERR_INTERRUPTED,
                         "stopped by a signal after %zu of %zu pictures; what was computed is in "
                         "the cache and the next run goes on from there",
                         p->result->hits + p->result->misses, p->dataset->n);
    return status;
}

/* The table of bad pictures, in the dataset's order, and the limit on their number. */
static thaw_status report_rejected(pipeline *p, thaw_error *err) {
    thaw_extraction *x = p->result;
    const thaw_extract_options *options = p->options;
    x->reasons = thaw_arena_array(&x->arena, x->n_rejected, sizeof *x->reasons);
    if (!x->reasons) return thaw_fail(err, THAW_ERR_NOMEM, "not enough memory for a table");
    size_t row = 0;
    for (size_t i = 0; i < x->n; i++) {
        if (!x->rejected[i]) continue;
        char path[PATH_MAX];
        thaw_dataset_path(p->dataset, i, path);
        char *copy = thaw_arena_string(&x->arena, path, strlen(path));
        if (!copy) return thaw_fail(err, THAW_ERR_NOMEM, "not enough memory for a table");
        x->reasons[row++] =
            (thaw_rejected){.path = copy, .reason = p->reason[i] ? p->reason[i] : "unreadable"};
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
    pipeline p = {.network = network,
                  .dataset = dataset,
                  .options = options,
                  .cache = cache,
                  .log = log,
                  .result = extraction};
    pthread_mutex_init(&p.mutex, NULL);
    pthread_cond_init(&p.has_batch, NULL);
    pthread_cond_init(&p.has_room, NULL);
    double start = now_s();
    thaw_status status = allocate(&p, err);
    if (status == THAW_OK) {
        thaw_log_progress_begin(log, "pictures to features", "images", dataset->n);
        status = run_threads(&p, backend, err);
        thaw_log_progress_end(log);
    }
    extraction->seconds = now_s() - start;
    if (status == THAW_OK) status = report_rejected(&p, err);
    free(p.reason);
    free(p.picture);
    free(p.pixels);
    pthread_cond_destroy(&p.has_batch);
    pthread_cond_destroy(&p.has_room);
    pthread_mutex_destroy(&p.mutex);
    return status;
}

/* ---- self-test ----------------------------------------------------------------------------- */

/* A dataset of random pictures of another one; its arrays are in the arena. */
static bool sample(const thaw_dataset *all, const thaw_extraction *extraction, size_t most,
                   thaw_dataset *some, thaw_arena *arena) {
    uint32_t *label = thaw_arena_array(arena, most, sizeof *label);
    uint8_t *split = thaw_arena_array(arena, most, sizeof *split);
    uint8_t *source = thaw_arena_array(arena, most, sizeof *source);
    const char **name = thaw_arena_array(arena, most, sizeof *name);
    if (!label || !split || !source || !name) return false;
    *some = *all;
    some->label = label;
    some->split = split;
    some->source = source;
    some->name = name;
    some->n = 0;
    /* Another seed each time: run after run, all records get their turn. */
    thaw_rng rng = thaw_rng_open((uint64_t)time(NULL), THAW_RNG_SAMPLE, 0);
    for (size_t k = 0; k < most; k++) {
        size_t i = thaw_rng_below(&rng, (uint32_t)all->n);
        if (extraction && extraction->rejected[i]) continue;
        label[some->n] = all->label[i];
        split[some->n] = all->split[i];
        source[some->n] = all->source[i];
        name[some->n++] = all->name[i];
    }
    return true;
}

static double nmse(const float *x, const float *reference, int64_t n) {
    double difference = 0, power = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)x[i] - reference[i];
        difference += d * d;
        power += (double)reference[i] * reference[i];
    }
    return power > 0 ? difference / power : difference;
}

/* Extracts into a cache in memory. */
static thaw_status extract_anew(const thaw_network *network, const thaw_dataset *some,
                                int64_t batch, thaw_dtype compute, thaw_backend *backend,
                                thaw_cache **cache, thaw_extraction *extraction, double *rate,
                                thaw_error *err) {
    thaw_cache_spec in_memory = {.D = network->n_features, .dtype = THAW_F32};
    thaw_extract_options options = {
        .batch = batch, .compute = compute, .max_bad = {.number = 100, .percent = true}};
    THAW_TRY(thaw_cache_open(cache, &in_memory, err));
    THAW_TRY(thaw_extract(network, some, &options, backend, *cache, NULL, extraction, err));
    double seconds = extraction->seconds - extraction->plan_seconds;
    *rate = seconds > 0 ? (double)some->n / seconds : 0;
    return THAW_OK;
}

/* What another run on another machine may differ by: rounding of storage and of computation. */
static double tolerance(thaw_dtype compute, thaw_dtype stored) {
    return compute == THAW_BF16 ? 1e-3 : stored == THAW_F16 ? 1e-5 : 1e-8;
}

static thaw_status compare(const thaw_network *network, const thaw_dataset *some, thaw_cache *fresh,
                           thaw_cache *cache, const thaw_extraction *again, double limit,
                           thaw_self_test *result, thaw_arena *arena, thaw_error *err) {
    int64_t D = network->n_features;
    float *x = thaw_arena_array(arena, (size_t)D, sizeof *x);
    float *reference = thaw_arena_array(arena, (size_t)D, sizeof *reference);
    if (!x || !reference)
        return thaw_fail(err, THAW_ERR_NOMEM, "not enough memory for a self-test");
    for (size_t i = 0; i < some->n; i++) {
        if (again->rejected[i]) continue;
        THAW_TRY(thaw_cache_read(fresh, again->keys[i], reference, err));
        /* A picture that changed between the two passes has another key; that is no lie. */
        if (!thaw_cache_has(cache, again->keys[i])) continue;
        THAW_TRY(thaw_cache_read(cache, again->keys[i], x, err));
        double difference = nmse(x, reference, D);
        result->n++;
        if (difference > result->worst || isnan(difference)) result->worst = difference;
        if (difference <= limit) continue;
        char path[PATH_MAX];
        thaw_dataset_path(some, i, path);
        return thaw_fail(err, THAW_ERR_MISMATCH,
                         "the cache's record for %s differs from what this program computes (NMSE "
                         "%.1e, %.0e is allowed): remove the cache folder, or choose another "
                         "cache.dir",
                         path, difference, limit);
    }
    return THAW_OK;
}

thaw_status thaw_extract_self_test(const thaw_network *network, const thaw_dataset *dataset,
                                   const thaw_extract_options *options, thaw_backend *backend,
                                   thaw_cache *cache, thaw_dtype stored,
                                   const thaw_extraction *extraction, size_t most,
                                   thaw_self_test *result, thaw_error *err) {
    *result = (thaw_self_test){0};
    thaw_arena arena = {0};
    thaw_dataset some;
    thaw_extraction again = {0};
    thaw_cache *fresh = NULL;
    thaw_status status = THAW_OK;
    if (!sample(dataset, extraction, most, &some, &arena))
        status = thaw_fail(err, THAW_ERR_NOMEM, "not enough memory for a self-test");
    if (status == THAW_OK)
        status = extract_anew(network, &some, options->batch, options->compute, backend, &fresh,
                              &again, &result->images_per_second, err);
    if (status == THAW_OK)
        status = compare(network, &some, fresh, cache, &again, tolerance(options->compute, stored),
                         result, &arena, err);
    thaw_extraction_free(&again);
    thaw_cache_close(fresh);
    thaw_arena_free(&arena);
    return status;
}

static thaw_status mean_nmse(const thaw_network *network, thaw_cache *caches[2],
                             const thaw_extraction *extraction, double *result, thaw_arena *arena,
                             thaw_error *err) {
    int64_t D = network->n_features;
    float *row[2] = {thaw_arena_array(arena, (size_t)D, sizeof(float)),
                     thaw_arena_array(arena, (size_t)D, sizeof(float))};
    if (!row[0] || !row[1]) return thaw_fail(err, THAW_ERR_NOMEM, "not enough memory for a test");
    double sum = 0;
    size_t n = 0;
    for (size_t i = 0; i < extraction->n; i++) {
        if (extraction->rejected[i]) continue;
        for (int k = 0; k < 2; k++)
            THAW_TRY(thaw_cache_read(caches[k], extraction->keys[i], row[k], err));
        sum += nmse(row[1], row[0], D);
        n++;
    }
    *result = n ? sum / (double)n : 0;
    return THAW_OK;
}

thaw_status thaw_extract_compare_precisions(const thaw_network *network,
                                            const thaw_dataset *dataset, int64_t batch,
                                            thaw_dtype narrow, thaw_backend *backend, size_t most,
                                            thaw_precision_test *result, thaw_error *err) {
    *result = (thaw_precision_test){0};
    thaw_arena arena = {0};
    thaw_dataset some;
    thaw_cache *caches[2] = {NULL, NULL};
    thaw_extraction extractions[2] = {{0}, {0}};
    const thaw_dtype types[2] = {THAW_F32, narrow};
    double rates[2] = {0, 0};
    thaw_status status = THAW_OK;
    if (!sample(dataset, NULL, most, &some, &arena))
        status = thaw_fail(err, THAW_ERR_NOMEM, "not enough memory for a test");
    for (int k = 0; k < 2 && status == THAW_OK; k++)
        status = extract_anew(network, &some, batch, types[k], backend, &caches[k], &extractions[k],
                              &rates[k], err);
    if (status == THAW_OK)
        status = mean_nmse(network, caches, &extractions[0], &result->nmse, &arena, err);
    result->fp32_rate = rates[0];
    result->narrow_rate = rates[1];
    for (int k = 0; k < 2; k++) {
        thaw_extraction_free(&extractions[k]);
        thaw_cache_close(caches[k]);
    }
    thaw_arena_free(&arena);
    return status;
}

void thaw_extraction_free(thaw_extraction *extraction) {
    thaw_arena_free(&extraction->arena);
    *extraction = (thaw_extraction){0};
}
