#include "extract.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "clock.h"
#include "file.h"
#include "others.h"
#include "rng.h"

enum {
    RING_BATCHES = 4,         /* Two on their way through the trunk, two that are being decoded. */
    LARGEST_FILE = 512 << 20, /* No picture is larger; a wrong file must not fill the memory. */
};

/* ---- one picture --------------------------------------------------------------------------- */

/* What a decoding thread owns. */
typedef struct reader {
    thaw_decoder *decoder;
    thaw_arena arena; /* The file's bytes; emptied for each picture. */
    double busy_s;    /* Spent on reading and decoding. */
} reader;

static size_t image_bytes(const thaw_network *network) {
    const thaw_geometry *g = &network->preprocess.geometry;
    return (size_t)g->width * (size_t)g->height * (size_t)g->channels;
}

static void reader_close(reader *r) {
    thaw_decoder_free(r->decoder);
    thaw_arena_free(&r->arena);
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

/* Decoded pictures wait in a ring of slots. Producers take slots from `taken` on and decode into
 * them, the consumer submits batches from `submitted` on and empties slots from `emptied` on, all
 * counted without end. A batch starts at a multiple of the batch size, so its slots lie side by
 * side; it is ready when all of them are decoded, or have turned out to hold no picture. */
typedef struct pipeline {
    const thaw_network *network;
    const thaw_dataset *dataset;
    const thaw_extract_options *options;
    thaw_backend *backend;
    thaw_cache *cache;
    thaw_log *log;
    thaw_extraction *result;
    double start_s;

    pthread_mutex_t mutex; /* Guards all that follows. */
    pthread_cond_t has_batch, has_room;
    thaw_others others;
    bool again;  /* Those of others.mine are taken, and not all. */
    size_t next; /* Picture, or entry of others.mine, that the next free thread takes. */
    size_t taken, submitted, emptied, capacity;
    size_t decoded[RING_BATCHES]; /* Slots of each of the ring's batches that are done. */
    int n_running;                /* Producers that have not ended. */
    bool failed; /* The consumer gave up, or a producer hit something other than a bad picture. */
    thaw_error error;
    uint8_t *pixels;     /* [capacity] pictures. Page-locked where a device reads them. */
    size_t *picture;     /* [capacity] which picture of the dataset lies there, or NONE. */
    const char **reason; /* [dataset->n] in the result's arena. */
} pipeline;

static const size_t NONE = SIZE_MAX;

static bool stopping(const pipeline *p) {
    return p->failed || (p->options->stop && *p->options->stop);
}

static bool take_picture(pipeline *p, size_t *i) {
    pthread_mutex_lock(&p->mutex);
    bool any = p->next < (p->again ? p->others.n_mine : p->dataset->n) && !stopping(p);
    if (any) *i = p->again ? p->others.mine[p->next++] : p->next++;
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

static void fail(pipeline *p, const thaw_error *err) {
    pthread_mutex_lock(&p->mutex);
    if (!p->failed) p->error = *err;
    p->failed = true;
    pthread_cond_broadcast(&p->has_room);
    pthread_cond_broadcast(&p->has_batch);
    pthread_mutex_unlock(&p->mutex);
}

/* Rejects picture i, or ends the run when the picture is not to blame. Returns false to stop. */
static bool set_aside(pipeline *p, size_t i, thaw_status status, thaw_error *err) {
    if (thaw_status_rejects(status)) {
        reject(p, i, err->text);
        return true;
    }
    char path[PATH_MAX];
    thaw_dataset_path(p->dataset, i, path);
    thaw_fail_within(err, status, "picture %.600s", path);
    fail(p, err);
    return false;
}

static void count_hits(pipeline *p, size_t n) {
    pthread_mutex_lock(&p->mutex);
    p->result->hits += n;
    pthread_mutex_unlock(&p->mutex);
    thaw_log_progress_add(p->log, n);
}

static void put_off(pipeline *p, size_t i) {
    pthread_mutex_lock(&p->mutex);
    p->others.waiting[p->others.n_waiting++] = i;
    pthread_mutex_unlock(&p->mutex);
}

/* Waits for a free slot; false: stop. */
static bool take_slot(pipeline *p, size_t *slot) {
    pthread_mutex_lock(&p->mutex);
    while (p->taken - p->emptied == p->capacity && !stopping(p))
        pthread_cond_wait(&p->has_room, &p->mutex);
    bool go_on = !stopping(p);
    if (go_on) *slot = p->taken++ % p->capacity;
    pthread_mutex_unlock(&p->mutex);
    return go_on;
}

static void finish_slot(pipeline *p, size_t slot, size_t picture) {
    size_t batch = (size_t)p->options->batch;
    pthread_mutex_lock(&p->mutex);
    p->picture[slot] = picture;
    if (++p->decoded[slot / batch] == batch) pthread_cond_signal(&p->has_batch);
    pthread_mutex_unlock(&p->mutex);
}

/* Makes sure that picture i is in the cache, rejected, put off, or in the ring. Returns false to stop. */
static bool produce_one(pipeline *p, reader *r, size_t i) {
    size_t n, slot;
    char *bytes;
    thaw_error err;
    thaw_hash *key = &p->result->keys[i];
    double start = thaw_now_s();
    thaw_status status = read_picture(r, p->dataset, i, &bytes, &n, key, &err);
    r->busy_s += thaw_now_s() - start;
    if (status != THAW_OK) return set_aside(p, i, status, &err);
    thaw_cache_claim claim = thaw_cache_claim_record(p->cache, *key);
    if (claim == THAW_CLAIM_KEPT) {
        count_hits(p, 1);
        return true;
    }
    if (claim == THAW_CLAIM_OTHERS && !p->others.impatient) {
        put_off(p, i);
        return true;
    }
    if (!take_slot(p, &slot)) return false;
    start = thaw_now_s();
    status = thaw_image_decode(r->decoder, bytes, n, &p->network->preprocess.geometry,
                               p->pixels + slot * image_bytes(p->network), &err);
    r->busy_s += thaw_now_s() - start;
    if (status != THAW_OK) thaw_cache_release(p->cache, *key);
    finish_slot(p, slot, status == THAW_OK ? i : NONE);
    return status == THAW_OK || set_aside(p, i, status, &err);
}

static void *producer(void *argument) {
    pipeline *p = argument;
    /* The trunk first: with a lower priority here, its threads never wait at a barrier for a core
     * that decodes; decoding fills what the trunk leaves free. */
    setpriority(PRIO_PROCESS, 0, 10);
    reader r = {0};
    thaw_error err;
    size_t i;
    if (thaw_decoder_create(&r.decoder, &err) == THAW_OK) {
        while (take_picture(p, &i) && produce_one(p, &r, i))
            continue;
    } else {
        fail(p, &err);
    }
    reader_close(&r);
    pthread_mutex_lock(&p->mutex);
    p->result->decode_seconds += r.busy_s;
    p->n_running--;
    pthread_cond_signal(&p->has_batch);
    pthread_mutex_unlock(&p->mutex);
    return NULL;
}

/* ---- the trunk's side ---------------------------------------------------------------------- */

/* Slots of the next batch, if it is ready. */
static size_t ready_slots(const pipeline *p) {
    size_t batch = (size_t)p->options->batch, left = p->taken - p->submitted;
    if (left == 0 || stopping(p)) return 0;
    if (p->decoded[p->submitted % p->capacity / batch] == batch) return batch;
    return p->n_running == 0 ? left : 0;
}

/* The next batch, waiting for it if `wait`. Returns how many slots, 0: there is none, or none yet.
 */
static size_t next_batch(pipeline *p, bool wait, size_t *slot) {
    size_t n;
    pthread_mutex_lock(&p->mutex);
    while ((n = ready_slots(p)) == 0 && wait && p->n_running > 0 && !stopping(p)) {
        /* A wake-up now and then sees a stop that came from a signal. */
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec++;
        pthread_cond_timedwait(&p->has_batch, &p->mutex, &until);
    }
    *slot = p->submitted % p->capacity;
    p->submitted += n;
    pthread_mutex_unlock(&p->mutex);
    return n;
}

/* n slots: those of the oldest batch; n_pictures of them held one. */
static void release_batch(pipeline *p, size_t slot, size_t n, size_t n_pictures) {
    pthread_mutex_lock(&p->mutex);
    p->emptied += n;
    p->decoded[slot / (size_t)p->options->batch] = 0;
    p->result->misses += n_pictures;
    pthread_cond_broadcast(&p->has_room);
    pthread_mutex_unlock(&p->mutex);
    thaw_log_progress_add(p->log, n_pictures);
}

/* A batch on its way through the trunk. */
typedef struct submission {
    size_t slot, n;
    double ready_s;
} submission;

/* What lies in memory while batches go through. */
typedef struct consumer {
    thaw_trunk *trunk; /* NULL: not planned yet. */
    thaw_hash *keys;   /* [batch] */
    submission under_way[RING_BATCHES];
    size_t submitted, collected, lanes;
} consumer;

static thaw_status submit(pipeline *p, consumer *c, size_t slot, size_t n, thaw_error *err) {
    double start = thaw_now_s();
    /* Planned only when something is to be computed: all hits must cost nothing. */
    if (!c->trunk) {
        THAW_TRY(thaw_network_plan(p->network, p->options->batch, p->options->compute, p->backend,
                                   &c->trunk, err));
        c->lanes = (size_t)thaw_trunk_measure(c->trunk).lanes;
        p->result->plan_seconds = thaw_now_s() - start;
    }
    c->under_way[c->submitted++ % RING_BATCHES] = (submission){slot, n, start};
    return thaw_trunk_submit(c->trunk, (int64_t)n, p->pixels + slot * image_bytes(p->network), err);
}

/* Keys and features of the slots that hold a picture move to the front. Returns their number. */
static size_t drop_holes(const pipeline *p, const submission *s, thaw_hash *keys, float *features) {
    size_t D = (size_t)p->network->n_features, n = 0;
    for (size_t k = 0; k < s->n; k++) {
        size_t picture = p->picture[s->slot + k];
        if (picture == NONE) continue;
        if (n != k) memmove(features + n * D, features + k * D, D * sizeof *features);
        keys[n++] = p->result->keys[picture];
    }
    return n;
}

static void tell(const pipeline *p, size_t batch, const submission *s, const thaw_trunk_times *t,
                 double kept_s) {
    double o = p->start_s;
    thaw_log_write(
        p->log, THAW_LOG_DEBUG,
        "batch %zu, %zu pictures: decoded by %.4f, up %.4f to %.4f, trunk %.4f to %.4f, down to "
        "%.4f, kept %.4f s",
        batch, s->n, s->ready_s - o, t->upload[0] - o, t->upload[1] - o, t->compute[0] - o,
        t->compute[1] - o, t->download[1] - o, kept_s - o);
}

static thaw_status collect(pipeline *p, consumer *c, thaw_error *err) {
    const submission *s = &c->under_way[c->collected++ % RING_BATCHES];
    float *features;
    thaw_trunk_times times;
    THAW_TRY(thaw_trunk_collect(c->trunk, &features, &times, err));
    double start = thaw_now_s();
    size_t n = drop_holes(p, s, c->keys, features);
    THAW_TRY(thaw_cache_append(p->cache, c->keys, n, features, err));
    double end = thaw_now_s();
    p->result->trunk_seconds += times.compute[1] - times.compute[0];
    p->result->cache_seconds += end - start;
    tell(p, c->collected, s, &times, end);
    release_batch(p, s->slot, s->n, n);
    return THAW_OK;
}

static thaw_status consume(pipeline *p, consumer *c, thaw_error *err) {
    for (;;) {
        size_t under_way = c->submitted - c->collected, slot, n = 0;
        if (under_way == 0 || under_way < c->lanes) n = next_batch(p, under_way == 0, &slot);
        if (n > 0)
            THAW_TRY(submit(p, c, slot, n, err));
        else if (under_way > 0)
            THAW_TRY(collect(p, c, err));
        else
            return THAW_OK;
    }
}

/* ---- the whole ----------------------------------------------------------------------------- */

/* Zero: a slot may go through the trunk without a picture. */
static uint8_t *take_pixels(const thaw_backend *backend, size_t n) {
    const thaw_memory *memory = backend->kernels->memory;
    void *pixels = NULL;
    if (!memory) return calloc(n, 1);
    if (memory->alloc_pinned(n, &pixels) == 0) memset(pixels, 0, n);
    return pixels;
}

static void release_pixels(const thaw_backend *backend, uint8_t *pixels) {
    const thaw_memory *memory = backend->kernels->memory;
    if (memory)
        memory->release_pinned(pixels);
    else
        free(pixels);
}

static thaw_status allocate(pipeline *p, thaw_error *err) {
    thaw_extraction *x = p->result;
    size_t n = p->dataset->n;
    p->capacity = RING_BATCHES * (size_t)p->options->batch;
    if (p->capacity > n + (size_t)p->options->batch) /* Whole batches, for n pictures. */
        p->capacity = (n / (size_t)p->options->batch + 1) * (size_t)p->options->batch;
    x->n = n;
    x->keys = thaw_arena_array(&x->arena, n, sizeof *x->keys);
    x->rejected = thaw_arena_array(&x->arena, n, sizeof *x->rejected);
    p->others.waiting = thaw_arena_array(&x->arena, n, sizeof *p->others.waiting);
    p->others.mine = thaw_arena_array(&x->arena, n, sizeof *p->others.mine);
    p->reason = calloc(n + 1, sizeof *p->reason);
    p->picture = calloc(p->capacity, sizeof *p->picture);
    p->pixels = take_pixels(p->backend, p->capacity * image_bytes(p->network));
    if (x->keys && x->rejected && p->others.waiting && p->others.mine && p->reason && p->picture &&
        p->pixels)
        return THAW_OK;
    return thaw_fail_memory(err, "for %zu pictures and %zu decoded ones", n, p->capacity);
}

/* Starts as many threads as it can; returns how many. */
static int start_threads(pipeline *p, pthread_t *threads, int wanted) {
    int started = 0;
    p->n_running = wanted;
    while (started < wanted && pthread_create(&threads[started], NULL, producer, p) == 0)
        started++;
    pthread_mutex_lock(&p->mutex);
    p->n_running -= wanted - started;
    pthread_mutex_unlock(&p->mutex);
    return started;
}

/* All pictures that there are to take, through an empty ring. */
static thaw_status run_threads(pipeline *p, consumer *c, thaw_error *err) {
    pthread_t threads[256];
    int wanted = p->backend->threads < 256 ? p->backend->threads : 256;
    p->next = p->taken = p->submitted = p->emptied = 0;
    memset(p->decoded, 0, sizeof p->decoded);
    c->submitted = c->collected = 0;
    int started = start_threads(p, threads, wanted);
    thaw_error why;
    thaw_status status = THAW_OK;
    if (!started || !c->keys)
        status = thaw_fail_memory(&why, "or threads to decode pictures");
    else
        status = consume(p, c, &why);
    if (status != THAW_OK) fail(p, &why);
    pthread_mutex_lock(&p->mutex);
    pthread_cond_broadcast(&p->has_room);
    pthread_mutex_unlock(&p->mutex);
    for (int t = 0; t < started; t++)
        pthread_join(threads[t], NULL);
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

/* All pictures, and then those that other processes had claimed, until none is left. Whoever waits
 * has appended all that it claimed, so that nobody waits for one who waits. */
static thaw_status run_rounds(pipeline *p, thaw_error *err) {
    enum { PATIENCE_S = 60 }; /* A batch takes seconds where it takes long. */
    p->others.patience_s = PATIENCE_S;
    consumer c = {.keys = calloc((size_t)p->options->batch, sizeof *c.keys)};
    thaw_status status = run_threads(p, &c, err);
    while (status == THAW_OK && p->others.n_waiting) {
        p->again = true;
        count_hits(
            p, thaw_others_wait(&p->others, p->cache, p->result->keys, p->options->stop, p->log));
        status = run_threads(p, &c, err);
    }
    thaw_trunk_free(c.trunk);
    free(c.keys);
    return status;
}

/* The table of bad pictures, in the dataset's order, and the limit on their number. */
static thaw_status report_rejected(pipeline *p, thaw_error *err) {
    thaw_extraction *x = p->result;
    const thaw_extract_options *options = p->options;
    x->reasons = thaw_arena_array(&x->arena, x->n_rejected, sizeof *x->reasons);
    if (!x->reasons) return thaw_fail_memory(err, "for a table");
    size_t row = 0;
    for (size_t i = 0; i < x->n; i++) {
        if (!x->rejected[i]) continue;
        char path[PATH_MAX];
        thaw_dataset_path(p->dataset, i, path);
        char *copy = thaw_arena_string(&x->arena, path, strlen(path));
        if (!copy) return thaw_fail_memory(err, "for a table");
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
                  .backend = backend,
                  .cache = cache,
                  .log = log,
                  .result = extraction,
                  .start_s = thaw_now_s()};
    pthread_mutex_init(&p.mutex, NULL);
    pthread_cond_init(&p.has_batch, NULL);
    pthread_cond_init(&p.has_room, NULL);
    thaw_status status = allocate(&p, err);
    if (status == THAW_OK) {
        thaw_log_progress_begin(log, "pictures to features", "images", dataset->n);
        status = run_rounds(&p, err);
        thaw_log_progress_end(log);
    }
    extraction->seconds = thaw_now_s() - p.start_s;
    if (status == THAW_OK) status = report_rejected(&p, err);
    free(p.reason);
    free(p.picture);
    release_pixels(backend, p.pixels);
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

double thaw_self_test_tolerance(const thaw_kernels *kernels, thaw_dtype compute,
                                thaw_dtype stored) {
    if (compute == THAW_BF16) return 1e-3;
    if (strcmp(kernels->precision(compute), "fp32") != 0) return 1e-4;
    return stored == THAW_F16 ? 1e-5 : 1e-8;
}

static thaw_status compare(const thaw_network *network, const thaw_dataset *some, thaw_cache *fresh,
                           thaw_cache *cache, const thaw_extraction *again, double limit,
                           thaw_self_test *result, thaw_arena *arena, thaw_error *err) {
    int64_t D = network->n_features;
    float *x = thaw_arena_array(arena, (size_t)D, sizeof *x);
    float *reference = thaw_arena_array(arena, (size_t)D, sizeof *reference);
    if (!x || !reference) return thaw_fail_memory(err, "for a self-test");
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
        status = thaw_fail_memory(err, "for a self-test");
    if (status == THAW_OK)
        status = extract_anew(network, &some, options->batch, options->compute, backend, &fresh,
                              &again, &result->images_per_second, err);
    if (status == THAW_OK)
        status = compare(network, &some, fresh, cache, &again,
                         thaw_self_test_tolerance(backend->kernels, options->compute, stored),
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
    if (!row[0] || !row[1]) return thaw_fail_memory(err, "for a test");
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

thaw_status thaw_extract_compare(const thaw_network *network, const thaw_dataset *dataset,
                                 int64_t batch, const thaw_extract_way *trusted,
                                 const thaw_extract_way *way, size_t most, thaw_way_test *result,
                                 thaw_error *err) {
    *result = (thaw_way_test){0};
    thaw_arena arena = {0};
    thaw_dataset some;
    thaw_cache *caches[2] = {NULL, NULL};
    thaw_extraction extractions[2] = {{0}, {0}};
    const thaw_extract_way *ways[2] = {trusted, way};
    double rates[2] = {0, 0};
    thaw_status status = THAW_OK;
    if (!sample(dataset, NULL, most, &some, &arena)) status = thaw_fail_memory(err, "for a test");
    for (int k = 0; k < 2 && status == THAW_OK; k++)
        status = extract_anew(network, &some, batch, ways[k]->compute, ways[k]->backend, &caches[k],
                              &extractions[k], &rates[k], err);
    if (status == THAW_OK)
        status = mean_nmse(network, caches, &extractions[0], &result->nmse, &arena, err);
    result->trusted_rate = rates[0];
    result->rate = rates[1];
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
