#include "pipeline.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "clock.h"
#include "picture/picture_file.h"

enum {
    RING_BATCHES = 4, /* Two on their way through the trunk, two that are being decoded. */
    MOST_THREADS = 256,
};

/* Decoded pictures wait in a ring of slots. Producers take slots from `taken` on and decode into
 * them, the consumer submits batches from `submitted` on and empties slots from `emptied` on, all
 * counted without end. A batch starts at a multiple of the batch size, so its slots lie side by
 * side; it is ready when all of them are decoded, or have turned out to hold no picture.
 *
 * Where nothing may be skipped, a slot is taken together with its picture, so that slots stand in
 * the source's order. Otherwise it is taken once the picture is known to need one. */
typedef struct pipeline {
    const thaw_pipeline *spec;
    thaw_pipeline_result *result;
    double start_s;
    size_t image_bytes;
    thaw_image_budget *budget; /* Of the decoders together. */

    pthread_mutex_t asking; /* Guards the source, and: */
    bool ended;             /* The source has no more. */
    size_t asked;           /* Pictures that it gave. */

    pthread_mutex_t mutex; /* Guards all that follows. */
    pthread_cond_t has_batch, has_room;
    size_t taken, submitted, emptied, capacity;
    size_t decoded[RING_BATCHES]; /* Slots of each of the ring's batches that are done. */
    int n_running;                /* Producers that have not ended. */
    bool failed;                  /* The error says why. */
    thaw_error error;
    uint8_t *pixels;      /* [capacity] pictures. Page-locked where a device reads them. */
    thaw_piped *pictures; /* [capacity] what lies there; path and problem are malloc's. */
} pipeline;

static bool stopping(const pipeline *p) {
    return p->failed || (p->spec->stop && *p->spec->stop);
}

static bool may_go_on(pipeline *p) {
    pthread_mutex_lock(&p->mutex);
    bool go_on = !stopping(p);
    pthread_mutex_unlock(&p->mutex);
    return go_on;
}

static void fail(pipeline *p, const thaw_error *err) {
    pthread_mutex_lock(&p->mutex);
    if (!p->failed) p->error = *err;
    p->failed = true;
    pthread_cond_broadcast(&p->has_room);
    pthread_cond_broadcast(&p->has_batch);
    pthread_mutex_unlock(&p->mutex);
}

/* ---- slots --------------------------------------------------------------------------------- */

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

/* The last one that was taken stays empty. */
static void give_slot_back(pipeline *p) {
    pthread_mutex_lock(&p->mutex);
    p->taken--;
    pthread_mutex_unlock(&p->mutex);
}

static void finish_slot(pipeline *p, size_t slot, const thaw_piped *picture) {
    size_t batch = (size_t)p->spec->batch;
    pthread_mutex_lock(&p->mutex);
    p->pictures[slot] = *picture;
    if (++p->decoded[slot / batch] == batch) pthread_cond_signal(&p->has_batch);
    pthread_mutex_unlock(&p->mutex);
}

static void forget(thaw_piped *picture) {
    free((char *)picture->path);
    free((char *)picture->problem);
    *picture = (thaw_piped){0};
}

/* ---- decoding ahead of the trunk ----------------------------------------------------------- */

/* What a decoding thread owns. */
typedef struct reader {
    thaw_decoder *decoder;
    thaw_arena arena; /* The file's bytes; emptied for each picture. */
    char path[PATH_MAX];
} reader;

/* The next picture, and its slot where all pictures get one. False: there is none, or stop. */
static bool take_picture(pipeline *p, reader *r, size_t *i, size_t *slot) {
    const thaw_picture_source *source = &p->spec->source;
    thaw_error err = {0};
    bool any = false, ordered = !source->skip;
    pthread_mutex_lock(&p->asking);
    if (!p->ended && (ordered ? take_slot(p, slot) : may_go_on(p))) {
        if (source->next(source->ctx, r->path, &err) != THAW_OK)
            fail(p, &err);
        else if (r->path[0])
            any = true;
        else
            p->ended = may_go_on(p); /* A source that waits for more ends early to stop. */
        if (any) *i = p->asked++;
        if (p->asked == source->most) p->ended = true; /* A stop from now on stops nothing. */
        if (!any && ordered) give_slot_back(p);
    }
    pthread_mutex_unlock(&p->asking);
    return any;
}

static void count_skipped(pipeline *p) {
    pthread_mutex_lock(&p->mutex);
    p->result->n++;
    p->result->n_skipped++;
    pthread_mutex_unlock(&p->mutex);
}

/* Ends the run for a reason that is not the picture's. */
static bool give_up(pipeline *p, const char *path, thaw_status status, thaw_error *why) {
    thaw_fail_within(why, status, "picture %.600s", path);
    fail(p, why);
    return false;
}

/* Puts into the slot what became of the picture: status OK: it is decoded, otherwise why says more.
 * False: stop. */
static bool put_picture(pipeline *p, size_t slot, const char *path, thaw_piped picture,
                        thaw_status status, thaw_error *why) {
    if (status == THAW_ERR_INTERRUPTED) return false;
    if (status != THAW_OK && !thaw_status_rejects(status)) return give_up(p, path, status, why);
    picture.path = strdup(path);
    picture.problem = status == THAW_OK ? NULL : strdup(why->text);
    if (picture.path && (picture.problem || status == THAW_OK)) {
        finish_slot(p, slot, &picture);
        return true;
    }
    forget(&picture);
    return give_up(p, path, thaw_fail_memory(why, "for its name"), why);
}

/* Brings picture i, at r->path, into the ring, unless it is skipped. False: stop. */
static bool produce_one(pipeline *p, reader *r, size_t i, size_t slot) {
    const thaw_picture_source *source = &p->spec->source;
    size_t n;
    char *bytes;
    thaw_error why;
    thaw_piped picture = {.i = i};
    thaw_arena_free(&r->arena);
    thaw_status status = thaw_picture_read(r->path, &r->arena, &bytes, &n, &why);
    if (status == THAW_OK) picture.hash = thaw_hash_bytes((thaw_hash){0}, bytes, n);
    if (status == THAW_OK && source->skip && source->skip(source->ctx, i, picture.hash)) {
        count_skipped(p);
        return true;
    }
    if (source->skip && !take_slot(p, &slot)) return false;
    thaw_view view;
    bool changed =
        status == THAW_OK && source->view && source->view(source->ctx, i, picture.hash, &view);
    if (status == THAW_OK)
        status =
            thaw_image_decode_view(r->decoder, bytes, n, &p->spec->network->preprocess.geometry,
                                   changed ? &view : NULL, p->pixels + slot * p->image_bytes, &why);
    return put_picture(p, slot, r->path, picture, status, &why);
}

static void *producer(void *argument) {
    pipeline *p = argument;
    /* The trunk first: with a lower priority here, its threads never wait at a barrier for a core
     * that decodes; decoding fills what the trunk leaves free. */
    setpriority(PRIO_PROCESS, 0, 10);
    reader r = {0};
    thaw_error err;
    size_t i, slot = 0;
    if (thaw_decoder_create(&r.decoder, &err) == THAW_OK) {
        thaw_decoder_share(r.decoder, p->budget, p->spec->stop);
        while (take_picture(p, &r, &i, &slot) && produce_one(p, &r, i, slot))
            continue;
    } else {
        fail(p, &err);
    }
    thaw_decoder_free(r.decoder);
    thaw_arena_free(&r.arena);
    pthread_mutex_lock(&p->mutex);
    p->n_running--;
    pthread_cond_signal(&p->has_batch);
    pthread_mutex_unlock(&p->mutex);
    return NULL;
}

/* ---- the trunk's side ---------------------------------------------------------------------- */

/* Slots of the next batch, if it is ready. */
static size_t ready_slots(const pipeline *p) {
    size_t batch = (size_t)p->spec->batch, left = p->taken - p->submitted;
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

/* A batch on its way through the trunk. */
typedef struct submission {
    size_t slot, n;
    double ready_s;
} submission;

typedef struct consumer {
    thaw_trunk *trunk; /* NULL: not planned yet. */
    submission under_way[RING_BATCHES];
    size_t submitted, collected, lanes;
} consumer;

static thaw_status submit(pipeline *p, consumer *c, size_t slot, size_t n, thaw_error *err) {
    const thaw_pipeline *spec = p->spec;
    double start = thaw_now_s();
    /* Planned only when something is to be computed: where all is skipped it must cost nothing. */
    if (!c->trunk) {
        THAW_TRY(thaw_network_plan(spec->network, NULL, spec->batch, spec->compute, spec->backend,
                                   &c->trunk, err));
        c->lanes = (size_t)thaw_trunk_measure(c->trunk).lanes;
        p->result->plan_seconds = thaw_now_s() - start;
    }
    c->under_way[c->submitted++ % RING_BATCHES] = (submission){slot, n, start};
    return thaw_trunk_submit(c->trunk, (int64_t)n, p->pixels + slot * p->image_bytes, err);
}

static void tell(const pipeline *p, size_t batch, const submission *s, const thaw_trunk_times *t,
                 double taken_s) {
    double o = p->start_s;
    thaw_log_write(
        p->spec->log, THAW_LOG_DEBUG,
        "batch %zu, %zu pictures: decoded by %.4f, up %.4f to %.4f, trunk %.4f to %.4f, down to "
        "%.4f, taken %.4f s",
        batch, s->n, s->ready_s - o, t->upload[0] - o, t->upload[1] - o, t->compute[0] - o,
        t->compute[1] - o, t->download[1] - o, taken_s - o);
}

/* Empties the slots of the oldest batch. */
static void release_batch(pipeline *p, const submission *s) {
    pthread_mutex_lock(&p->mutex);
    for (size_t k = 0; k < s->n; k++) {
        if (p->pictures[s->slot + k].problem) p->result->n_bad++;
        forget(&p->pictures[s->slot + k]);
    }
    p->emptied += s->n;
    p->decoded[s->slot / (size_t)p->spec->batch] = 0;
    p->result->n += s->n;
    pthread_cond_broadcast(&p->has_room);
    pthread_mutex_unlock(&p->mutex);
}

static thaw_status collect(pipeline *p, consumer *c, thaw_error *err) {
    const thaw_picture_sink *sink = &p->spec->sink;
    const submission *s = &c->under_way[c->collected++ % RING_BATCHES];
    float *features;
    thaw_trunk_times times;
    THAW_TRY(thaw_trunk_collect(c->trunk, &features, &times, err));
    THAW_TRY(sink->take(sink->ctx, s->n, p->pictures + s->slot, features, err));
    tell(p, c->collected, s, &times, thaw_now_s());
    release_batch(p, s);
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

static thaw_status allocate(pipeline *p, thaw_error *err) {
    const thaw_geometry *g = &p->spec->network->preprocess.geometry;
    size_t batch = (size_t)p->spec->batch, needed = p->spec->source.most / batch; /* And one. */
    p->capacity = (needed < RING_BATCHES ? needed + 1 : RING_BATCHES) * batch;
    p->image_bytes = (size_t)g->width * (size_t)g->height * (size_t)g->channels;
    p->pictures = calloc(p->capacity, sizeof *p->pictures);
    p->pixels = thaw_backend_take_pixels(p->spec->backend, p->capacity * p->image_bytes);
    if (!p->pictures || !p->pixels)
        return thaw_fail_memory(err, "for %zu decoded pictures", p->capacity);
    return thaw_image_budget_create(&p->budget, THAW_IMAGE_BUDGET_BYTES, err);
}

/* Starts as many producers as can be; returns how many. */
static int start_producers(pipeline *p, pthread_t threads[MOST_THREADS], thaw_error *err) {
    int wanted = p->spec->backend->threads, started = 0, code = 0;
    if (wanted > MOST_THREADS) wanted = MOST_THREADS;
    p->n_running = wanted;
    while (started < wanted && (code = pthread_create(&threads[started], NULL, producer, p)) == 0)
        started++;
    pthread_mutex_lock(&p->mutex);
    p->n_running -= wanted - started;
    pthread_mutex_unlock(&p->mutex);
    if (!started)
        thaw_fail(err, THAW_ERR_SYSTEM, "no thread can be started to decode pictures: %s",
                  strerror(code));
    return started;
}

/* Wakes producers that wait for room, now that nobody makes any, and waits until all have ended. */
static void join_producers(pipeline *p, const pthread_t *threads, int n) {
    pthread_mutex_lock(&p->mutex);
    pthread_cond_broadcast(&p->has_room);
    pthread_mutex_unlock(&p->mutex);
    for (int t = 0; t < n; t++)
        pthread_join(threads[t], NULL);
}

static thaw_status run_threads(pipeline *p, thaw_error *err) {
    pthread_t threads[MOST_THREADS];
    consumer c = {0};
    thaw_error why = {0};
    int started = start_producers(p, threads, &why);
    if (!started || consume(p, &c, &why) != THAW_OK) fail(p, &why);
    join_producers(p, threads, started);
    thaw_trunk_free(c.trunk);
    if (p->failed) {
        if (err) *err = p->error;
        return p->error.code;
    }
    if (p->ended && p->result->n == p->asked) return THAW_OK;
    return thaw_fail(err, THAW_ERR_INTERRUPTED, "stopped by a signal after %zu pictures",
                     p->result->n);
}

thaw_status thaw_pipeline_run(const thaw_pipeline *spec, thaw_pipeline_result *result,
                              thaw_error *err) {
    *result = (thaw_pipeline_result){0};
    pipeline p = {.spec = spec, .result = result, .start_s = thaw_now_s()};
    pthread_mutex_init(&p.asking, NULL);
    pthread_mutex_init(&p.mutex, NULL);
    pthread_cond_init(&p.has_batch, NULL);
    pthread_cond_init(&p.has_room, NULL);
    thaw_status status = allocate(&p, err);
    if (status == THAW_OK) status = run_threads(&p, err);
    for (size_t i = 0; p.pictures && i < p.capacity; i++)
        forget(&p.pictures[i]);
    free(p.pictures);
    thaw_backend_release_pixels(spec->backend, p.pixels);
    thaw_image_budget_free(p.budget);
    pthread_cond_destroy(&p.has_batch);
    pthread_cond_destroy(&p.has_room);
    pthread_mutex_destroy(&p.mutex);
    pthread_mutex_destroy(&p.asking);
    result->seconds = thaw_now_s() - p.start_s;
    return status;
}
