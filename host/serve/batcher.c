#include "batcher.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "clock.h"
#include "picture/image.h"
#include "rng.h"

enum { MOST_THREADS = 256, MOST_LANES = 8 };

/* Of the queue's length: requests that come faster than they are answered wait so long at most. */
static const double QUEUE_S = 0.5;

static const char stopping[] = "the server is stopping";

/* A decoded picture in the ring. */
typedef struct slot {
    thaw_job *job;
    size_t picture; /* Of the job's body. */
    bool filled;
} slot;

/* Slots are counted without end: decoders take them from `taken` on, the runner submits from `submitted`
 * on and empties from `emptied` on. */
struct thaw_batcher {
    thaw_batcher_spec spec;
    thaw_trunk *trunk;
    /* The same for one picture at a time, for those that come alone: the trunk computes whole groups. NULL
     * where it would not make the very same bits. */
    thaw_trunk *lone;
    float *lone_features; /* [batch, D] */
    size_t batch, group, lanes, capacity, image_bytes;
    thaw_image_budget *budget;
    volatile int stop; /* Becomes 1: decoders end soon. */
    pthread_t runner, decoders[MOST_THREADS];
    int n_decoders;
    bool has_runner;

    pthread_mutex_t mutex; /* Guards all that follows, and the jobs' own fields. */
    pthread_cond_t has_work, has_room, has_batch;
    thaw_job *first, *last;
    size_t waiting; /* Jobs of which not every picture is in a decoder's hands yet. */
    size_t coming;  /* Pictures that are on their way to a slot; a job not yet parsed is one. */
    size_t taken, submitted, emptied;
    double since_s;   /* Since when the trunk could have begun with what is filled. */
    double picture_s; /* That a picture takes in the trunk, among whole groups; */
    double lone_s;    /* and alone. */
    uint8_t *pixels;  /* [capacity] pictures. */
    slot *slots;      /* [capacity] */
    bool failed;
    thaw_error error;
};

/* ---- jobs ----------------------------------------------------------------------------------- */

void thaw_job_free(thaw_job *job) {
    thaw_body_free(&job->body);
    job->problem = NULL;
    job->scores = NULL;
    job->old = NULL;
    job->unknown = NULL;
    job->distance = NULL;
}

static void push_last(thaw_batcher *b, thaw_job *job) {
    job->behind = NULL;
    *(b->first ? &b->last->behind : &b->first) = job;
    b->last = job;
}

static void push_first(thaw_batcher *b, thaw_job *job) {
    job->behind = b->first;
    if (!b->first) b->last = job;
    b->first = job;
}

static void count_waiting(thaw_batcher *b, int n) {
    b->waiting += (size_t)n;
    atomic_fetch_add(&b->spec.meters->waiting, n);
}

static thaw_job *pop(thaw_batcher *b) {
    thaw_job *job = b->first;
    b->first = job->behind;
    return job;
}

/* Counts n of the job's pictures as done; true: it is the caller's to end, outside of the lock. */
static bool settle(thaw_job *job, size_t n) {
    job->left -= n;
    return job->left == 0;
}

/* The same, and puts it before a list of those to end. */
static void settle_into(thaw_job **list, thaw_job *job, size_t n) {
    if (!settle(job, n)) return;
    job->behind = *list;
    *list = job;
}

static void end_list(thaw_job *list) {
    for (thaw_job *next; list; list = next) {
        next = list->behind; /* Gone once it is done. */
        list->done(list->ctx);
    }
}

static void fail_job(thaw_job *job, thaw_status status, const thaw_error *why) {
    if (job->status != THAW_OK) return;
    job->status = status;
    job->error = *why;
}

/* ---- the queue ------------------------------------------------------------------------------ */

static bool has_ended(const thaw_batcher *b) {
    return b->stop || b->failed;
}

static size_t most_waiting(const thaw_batcher *b) {
    if (b->spec.queue) return (size_t)b->spec.queue;
    size_t batches = 2 * b->batch, soon = (size_t)(QUEUE_S / b->picture_s);
    return soon > batches ? soon : batches;
}

void thaw_batcher_submit(thaw_batcher *b, thaw_job *job) {
    thaw_error why = {0};
    job->status = THAW_OK;
    job->left = 1;
    pthread_mutex_lock(&b->mutex);
    size_t most = most_waiting(b);
    if (b->failed)
        fail_job(job, b->error.code, &b->error);
    else if (b->stop)
        fail_job(job, thaw_fail(&why, THAW_ERR_INTERRUPTED, "%s", stopping), &why);
    else if (b->waiting >= most)
        fail_job(
            job,
            thaw_fail(&why, THAW_ERR_SYSTEM, "%zu requests wait already, which is the limit", most),
            &why);
    bool accepted = job->status == THAW_OK;
    if (accepted) {
        push_last(b, job);
        b->coming++;
        pthread_cond_signal(&b->has_work);
        count_waiting(b, 1);
    }
    pthread_mutex_unlock(&b->mutex);
    if (!accepted) job->done(job->ctx);
}

bool thaw_batcher_has_failed(thaw_batcher *b, thaw_error *err) {
    pthread_mutex_lock(&b->mutex);
    bool failed = b->failed;
    if (failed) *err = b->error;
    pthread_mutex_unlock(&b->mutex);
    return failed;
}

/* ---- decoders ------------------------------------------------------------------------------- */

/* What a decoding thread owns. */
typedef struct decoding {
    thaw_decoder *decoder;
    uint8_t *pixels; /* Of a picture. */
} decoding;

/* Waits for a job and takes it off the queue; NULL: stop. Returns with the lock. */
static thaw_job *take_job(thaw_batcher *b) {
    pthread_mutex_lock(&b->mutex);
    while (!b->first && !b->stop)
        pthread_cond_wait(&b->has_work, &b->mutex);
    return b->stop ? NULL : pop(b);
}

static thaw_status make_room(thaw_job *job, thaw_error *err) {
    thaw_arena *arena = &job->body.arena;
    const thaw_bundle *bundle = job->scorer->bundle;
    size_t n = job->body.n;
    job->problem = thaw_arena_array(arena, n, sizeof *job->problem);
    job->scores = thaw_arena_array(arena, n, bundle->n_labels * sizeof *job->scores);
    job->old = job->scorer->old ? thaw_arena_array(arena, n, sizeof *job->old) : NULL;
    bool complete = job->problem && job->scores && (job->old || !job->scorer->old);
    if (job->scorer->distance) {
        job->unknown = thaw_arena_array(arena, n, sizeof *job->unknown);
        job->distance = thaw_arena_array(arena, n, sizeof *job->distance);
        complete = complete && job->unknown && job->distance;
    }
    return complete ? THAW_OK : thaw_fail_memory(err, "for an answer");
}

/* What a job asks for, before its first picture: once, outside of the lock. */
static void parse(thaw_batcher *b, thaw_job *job) {
    thaw_error why = {0};
    job->dropped = job->gone(job->ctx);
    thaw_status status = THAW_OK;
    if (!job->dropped) {
        status = thaw_body_parse(&job->body, &job->type, job->bytes, job->n_bytes, &why);
        if (status == THAW_OK) status = make_room(job, &why);
    }
    if (status != THAW_OK) fail_job(job, status, &why);
    bool useless = job->dropped || status != THAW_OK;
    job->parsed = true;
    pthread_mutex_lock(&b->mutex);
    if (useless) {
        b->coming--;
        count_waiting(b, -1);
        pthread_cond_signal(&b->has_batch);
    } else {
        job->left = job->body.n;
        b->coming += job->body.n - 1;
        push_first(b, job);
        pthread_cond_broadcast(&b->has_work);
    }
    pthread_mutex_unlock(&b->mutex);
    if (useless) job->done(job->ctx);
}

/* A picture that does not come to a slot, since it has a problem or since its job ends. */
static void give_up_picture(thaw_batcher *b, thaw_job *job) {
    pthread_mutex_lock(&b->mutex);
    b->coming--;
    pthread_cond_signal(&b->has_batch); /* Which may have waited for it. */
    bool ended = settle(job, 1);
    pthread_mutex_unlock(&b->mutex);
    if (ended) job->done(job->ctx);
}

/* Into the ring; false: nothing is computed any more. */
static bool fill_slot(thaw_batcher *b, thaw_job *job, size_t picture, const uint8_t *pixels) {
    pthread_mutex_lock(&b->mutex);
    while (b->taken - b->emptied == b->capacity && !has_ended(b))
        pthread_cond_wait(&b->has_room, &b->mutex);
    bool go_on = !has_ended(b);
    size_t number = b->taken, at = number % b->capacity;
    if (go_on) b->taken++;
    pthread_mutex_unlock(&b->mutex);
    if (!go_on) return false;
    memcpy(b->pixels + at * b->image_bytes, pixels, b->image_bytes);
    pthread_mutex_lock(&b->mutex);
    go_on = !has_ended(b);
    if (go_on) {
        b->slots[at] = (slot){job, picture, true};
        b->coming--;
        if (number == b->submitted) b->since_s = thaw_now_s();
        pthread_cond_signal(&b->has_batch);
    }
    pthread_mutex_unlock(&b->mutex);
    return go_on;
}

/* Remembers why a picture has no answer. Of what is not its fault its request fails. */
static void reject(thaw_batcher *b, thaw_job *job, size_t i, thaw_status status, thaw_error *why) {
    pthread_mutex_lock(&b->mutex); /* Other pictures of the job may be decoded now. */
    if (thaw_status_rejects(status))
        job->problem[i] = thaw_arena_string(&job->body.arena, why->text, strlen(why->text));
    if (!job->problem[i]) fail_job(job, status, why);
    pthread_mutex_unlock(&b->mutex);
    atomic_fetch_add(&b->spec.meters->bad, 1);
}

static void stop_job(thaw_batcher *b, thaw_job *job) {
    thaw_error why = {0};
    thaw_fail(&why, THAW_ERR_INTERRUPTED, "%s", stopping);
    pthread_mutex_lock(&b->mutex);
    if (b->failed) why = b->error;
    fail_job(job, why.code, &why);
    pthread_mutex_unlock(&b->mutex);
}

static void decode(thaw_batcher *b, decoding *d, thaw_job *job, size_t i) {
    const thaw_body_picture *picture = &job->body.pictures[i];
    const thaw_geometry *g = &b->spec.network->preprocess.geometry;
    thaw_error why = {0};
    double start = thaw_now_s();
    thaw_status status = THAW_OK;
    if (picture->problem)
        status = thaw_fail(&why, THAW_ERR_FORMAT, "%s", picture->problem);
    else
        status = thaw_image_decode(d->decoder, picture->bytes, picture->n, g, d->pixels, &why);
    atomic_fetch_add(&b->spec.meters->decode_ns, (uint64_t)(1e9 * (thaw_now_s() - start)));
    if (status == THAW_OK && fill_slot(b, job, i, d->pixels)) return;
    if (status == THAW_OK || status == THAW_ERR_INTERRUPTED)
        stop_job(b, job);
    else
        reject(b, job, i, status, &why);
    give_up_picture(b, job);
}

static bool open_decoding(thaw_batcher *b, decoding *d) {
    d->pixels = malloc(b->image_bytes);
    if (!d->pixels || thaw_decoder_create(&d->decoder, NULL) != THAW_OK) return false;
    thaw_decoder_share(d->decoder, b->budget, &b->stop);
    return true;
}

static void *decode_all(void *argument) {
    thaw_batcher *b = argument;
    decoding d = {0};
    /* As in the pipeline of training: the trunk's threads never wait for a core that decodes. */
    setpriority(PRIO_PROCESS, 0, 10);
    thaw_job *job;
    bool able = open_decoding(b, &d);
    while ((job = take_job(b))) {
        if (!job->parsed) {
            pthread_mutex_unlock(&b->mutex);
            parse(b, job);
            continue;
        }
        size_t i = job->next++;
        bool useless = job->status != THAW_OK || job->dropped;
        if (job->next < job->body.n)
            push_last(b, job);
        else
            count_waiting(b, -1);
        pthread_mutex_unlock(&b->mutex);
        if (!useless && able && !job->gone(job->ctx)) {
            decode(b, &d, job, i);
            continue;
        }
        thaw_error why = {0};
        pthread_mutex_lock(&b->mutex);
        if (!able) fail_job(job, thaw_fail_memory(&why, "to decode pictures"), &why);
        job->dropped |= able && !useless;
        pthread_mutex_unlock(&b->mutex);
        give_up_picture(b, job);
    }
    pthread_mutex_unlock(&b->mutex);
    thaw_decoder_free(d.decoder);
    free(d.pixels);
    return NULL;
}

/* ---- the runner ----------------------------------------------------------------------------- */

/* A batch on its way through the trunk. */
typedef struct submission {
    size_t slot, n;
} submission;

typedef struct running {
    submission under_way[MOST_LANES];
    size_t submitted, collected;
} running;

/* What n pictures take in the trunk: a part of a group as long as all of it. */
static double grouped_s(const thaw_batcher *b, size_t n) {
    return b->picture_s * (double)((n + b->group - 1) / b->group * b->group);
}

static bool is_faster_alone(const thaw_batcher *b, size_t n) {
    return b->lone && b->lone_s * (double)n < grouped_s(b, n);
}

/* How many slots go through the trunk now; 0: none. *until: when to look again; 0: once something has
 * changed. busy: a batch is under way. */
static size_t ready_slots(const thaw_batcher *b, bool busy, double *until) {
    size_t at = b->submitted % b->capacity, most = b->capacity - at, n = 0;
    if (most > b->batch) most = b->batch;
    while (n < most && b->submitted + n < b->taken && b->slots[at + n].filled)
        n++;
    *until = 0;
    if (n == 0 || n == most || b->coming == 0) return n;
    if (busy) return 0;
    double worth = is_faster_alone(b, n) ? b->lone_s * (double)n : grouped_s(b, n);
    *until = b->since_s + (worth < b->spec.wait_s ? worth : b->spec.wait_s);
    if (thaw_now_s() < *until) return 0;
    return n < b->group ? n : n - n % b->group;
}

static void wait_until(thaw_batcher *b, double until) {
    if (until == 0) {
        pthread_cond_wait(&b->has_batch, &b->mutex);
        return;
    }
    struct timespec t = {(time_t)until, (long)(1e9 * (until - (double)(time_t)until))};
    pthread_cond_timedwait(&b->has_batch, &b->mutex, &t);
}

/* The next batch, waiting for it unless one is under way. Returns its slots; 0: there is none. */
static size_t next_batch(thaw_batcher *b, bool busy, size_t *at) {
    size_t n = 0;
    double until;
    pthread_mutex_lock(&b->mutex);
    while (!b->stop && (n = ready_slots(b, busy, &until)) == 0 && !busy)
        wait_until(b, until);
    *at = b->submitted % b->capacity;
    b->submitted += n;
    pthread_mutex_unlock(&b->mutex);
    return n;
}

/* Scores n slots of one scorer, and copies what it says to their jobs. */
static thaw_status score(thaw_batcher *b, size_t n, const slot *slots, const float *features,
                         thaw_error *err) {
    thaw_scorer *s = slots[0].job->scorer;
    size_t n_labels = s->bundle->n_labels;
    THAW_TRY(thaw_scorer_run(s, n, features, err));
    for (size_t k = 0; k < n; k++) {
        thaw_job *job = slots[k].job;
        size_t i = slots[k].picture;
        job->problem[i] = thaw_scorer_problem(s, k);
        memcpy(job->scores + i * n_labels, s->scores + k * n_labels, n_labels * sizeof *s->scores);
        if (job->old) job->old[i] = s->old[k];
        if (!job->distance) continue;
        job->unknown[i] = thaw_scorer_is_unknown(s, k);
        job->distance[i] = s->distance[k];
    }
    atomic_fetch_add(&b->spec.meters->pictures, n);
    return THAW_OK;
}

/* Neighbours that want the same scorer's answers are scored together. */
static thaw_status score_all(thaw_batcher *b, const submission *s, const float *features,
                             thaw_error *err) {
    int64_t D = b->spec.network->n_features;
    const slot *slots = b->slots + s->slot;
    for (size_t i = 0, n; i < s->n; i += n) {
        for (n = 1; i + n < s->n && slots[i + n].job->scorer == slots[i].job->scorer;)
            n++;
        THAW_TRY(score(b, n, slots + i, features + (int64_t)i * D, err));
    }
    return THAW_OK;
}

/* Empties the slots and ends the jobs that have nothing else under way. */
static void release(thaw_batcher *b, const submission *s) {
    thaw_job *done = NULL;
    pthread_mutex_lock(&b->mutex);
    for (size_t k = s->slot; k < s->slot + s->n; k++) {
        thaw_job *job = b->slots[k].job;
        b->slots[k] = (slot){0};
        settle_into(&done, job, 1);
    }
    b->emptied += s->n;
    b->since_s = thaw_now_s();
    pthread_cond_broadcast(&b->has_room);
    pthread_mutex_unlock(&b->mutex);
    end_list(done);
}

/* A mean that forgets. */
static void learn(thaw_batcher *b, double *mean, double value) {
    pthread_mutex_lock(&b->mutex);
    *mean += 0.2 * (value - *mean);
    pthread_mutex_unlock(&b->mutex);
}

/* What was computed: to those who asked for it. */
static thaw_status deliver(thaw_batcher *b, const submission *s, const float *features,
                           double seconds, thaw_error *err) {
    THAW_TRY(score_all(b, s, features, err));
    thaw_histogram_add(&b->spec.meters->batch_pictures, (double)s->n);
    atomic_fetch_add(&b->spec.meters->device_ns, (uint64_t)(1e9 * seconds));
    thaw_log_write(b->spec.log, THAW_LOG_DEBUG, "batch of %zu pictures: %.1f ms", s->n,
                   1e3 * seconds);
    release(b, s);
    return THAW_OK;
}

static thaw_status run_alone(thaw_batcher *b, const submission *s, thaw_error *err) {
    double start = thaw_now_s();
    THAW_TRY(thaw_trunk_run(b->lone, (int64_t)s->n, b->pixels + s->slot * b->image_bytes,
                            b->lone_features, err));
    double seconds = thaw_now_s() - start;
    learn(b, &b->lone_s, seconds / (double)s->n);
    return deliver(b, s, b->lone_features, seconds, err);
}

static thaw_status submit(thaw_batcher *b, running *r, const submission *s, thaw_error *err) {
    r->under_way[r->submitted++ % MOST_LANES] = *s;
    return thaw_trunk_submit(b->trunk, (int64_t)s->n, b->pixels + s->slot * b->image_bytes, err);
}

static thaw_status collect(thaw_batcher *b, running *r, thaw_error *err) {
    const submission *s = &r->under_way[r->collected++ % MOST_LANES];
    float *features;
    thaw_trunk_times t;
    THAW_TRY(thaw_trunk_collect(b->trunk, &features, &t, err));
    double seconds = t.compute[1] - t.compute[0];
    learn(b, &b->picture_s, b->picture_s * seconds / grouped_s(b, s->n));
    return deliver(b, s, features, seconds, err);
}

static thaw_status run(thaw_batcher *b, thaw_error *err) {
    running r = {0};
    for (;;) {
        size_t under_way = r.submitted - r.collected;
        submission s = {0};
        if (under_way < b->lanes) s.n = next_batch(b, under_way > 0, &s.slot);
        if (s.n > 0 && under_way == 0 && is_faster_alone(b, s.n))
            THAW_TRY(run_alone(b, &s, err));
        else if (s.n > 0)
            THAW_TRY(submit(b, &r, &s, err));
        else if (under_way > 0)
            THAW_TRY(collect(b, &r, err));
        else
            return THAW_OK;
    }
}

/* Ends all jobs that are in the queue or in the ring, which nobody fills any more; decoders end what they
 * hold. */
static void end_jobs(thaw_batcher *b, const thaw_error *why) {
    thaw_job *done = NULL;
    pthread_mutex_lock(&b->mutex);
    while (b->first) {
        thaw_job *job = pop(b);
        count_waiting(b, -1);
        fail_job(job, why->code, why);
        size_t unseen = job->parsed ? job->body.n - job->next : 1;
        b->coming -= unseen;
        settle_into(&done, job, unseen);
    }
    for (; b->emptied < b->taken; b->emptied++) {
        slot *s = &b->slots[b->emptied % b->capacity];
        if (!s->filled) continue;
        thaw_job *job = s->job;
        *s = (slot){0};
        fail_job(job, why->code, why);
        settle_into(&done, job, 1);
    }
    pthread_mutex_unlock(&b->mutex);
    end_list(done);
}

static void *run_all(void *argument) {
    thaw_batcher *b = argument;
    thaw_error why = {0};
    if (run(b, &why) == THAW_OK) return NULL;
    pthread_mutex_lock(&b->mutex);
    b->failed = true;
    b->error = why;
    pthread_cond_broadcast(&b->has_room);
    pthread_mutex_unlock(&b->mutex);
    end_jobs(b, &why);
    return NULL;
}

/* ---- the whole ------------------------------------------------------------------------------ */

/* Plans the trunk for lone pictures, and keeps it if it puts out the bits of the other one: other sizes may
 * be computed by other kernels, which add in another order. Noise shows that. */
static thaw_status plan_lone(thaw_batcher *b, thaw_error *err) {
    enum { TESTED = 2 };
    size_t D = (size_t)b->spec.network->n_features, n = b->batch < TESTED ? b->batch : TESTED;
    float *features;
    thaw_rng noise = thaw_rng_open(0, THAW_RNG_SAMPLE, 0);
    for (size_t i = 0; i < n * b->image_bytes; i++)
        b->pixels[i] = (uint8_t)thaw_rng_bits(&noise);
    double start = thaw_now_s();
    THAW_TRY(thaw_trunk_submit(b->trunk, (int64_t)n, b->pixels, err));
    THAW_TRY(thaw_trunk_collect(b->trunk, &features, NULL, err));
    b->picture_s = (thaw_now_s() - start) / (double)((n + b->group - 1) / b->group * b->group);
    if (b->group == 1) return THAW_OK;
    THAW_TRY(thaw_network_plan(b->spec.network, NULL, 1, thaw_bundle_precision(b->spec.backend),
                               b->spec.backend, &b->lone, err));
    b->lone_features = calloc(b->batch, D * sizeof *b->lone_features);
    if (!b->lone_features) return thaw_fail_memory(err, "for the features of a batch");
    start = thaw_now_s();
    THAW_TRY(thaw_trunk_run(b->lone, (int64_t)n, b->pixels, b->lone_features, err));
    b->lone_s = (thaw_now_s() - start) / (double)n;
    if (memcmp(features, b->lone_features, n * D * sizeof *features) == 0) return THAW_OK;
    thaw_trunk_free(b->lone);
    b->lone = NULL;
    thaw_log_write(
        b->spec.log, THAW_LOG_INFO,
        "a picture that comes alone takes as long as %zu: computed alone it would have other "
        "last bits",
        b->group);
    return THAW_OK;
}

static thaw_status plan(thaw_batcher *b, thaw_error *err) {
    const thaw_geometry *g = &b->spec.network->preprocess.geometry;
    THAW_TRY(thaw_network_plan(b->spec.network, NULL, b->spec.batch,
                               thaw_bundle_precision(b->spec.backend), b->spec.backend, &b->trunk,
                               err));
    thaw_trunk_size size = thaw_trunk_measure(b->trunk);
    b->batch = (size_t)size.batch;
    b->group = (size_t)size.N;
    b->lanes = (size_t)size.lanes;
    b->capacity = (b->lanes + 1) * b->batch;
    b->image_bytes = (size_t)g->width * (size_t)g->height * (size_t)g->channels;
    b->slots = calloc(b->capacity, sizeof *b->slots);
    b->pixels = thaw_backend_take_pixels(b->spec.backend, b->capacity * b->image_bytes);
    if (!b->slots || !b->pixels)
        return thaw_fail_memory(err, "for %zu decoded pictures", b->capacity);
    THAW_TRY(thaw_image_budget_create(&b->budget, THAW_IMAGE_BUDGET_BYTES, err));
    return plan_lone(b, err);
}

static thaw_status start_threads(thaw_batcher *b, thaw_error *err) {
    int wanted = b->spec.backend->threads, code = 0;
    if (wanted > MOST_THREADS) wanted = MOST_THREADS;
    while (b->n_decoders < wanted &&
           (code = pthread_create(&b->decoders[b->n_decoders], NULL, decode_all, b)) == 0)
        b->n_decoders++;
    if (b->n_decoders) code = pthread_create(&b->runner, NULL, run_all, b);
    b->has_runner = b->n_decoders && code == 0;
    if (b->has_runner) return THAW_OK;
    return thaw_fail(err, THAW_ERR_SYSTEM, "no thread can be started to answer requests: %s",
                     strerror(code));
}

thaw_status thaw_batcher_open(thaw_batcher **out, const thaw_batcher_spec *spec, thaw_error *err) {
    pthread_condattr_t clock;
    thaw_batcher *b = calloc(1, sizeof *b);
    *out = NULL;
    if (!b) return thaw_fail_memory(err, "to answer requests");
    b->spec = *spec;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_mutex_init(&b->mutex, NULL);
    pthread_cond_init(&b->has_work, NULL);
    pthread_cond_init(&b->has_room, NULL);
    pthread_cond_init(&b->has_batch, &clock);
    pthread_condattr_destroy(&clock);
    thaw_status status = plan(b, err);
    if (status == THAW_OK) status = start_threads(b, err);
    if (status == THAW_OK)
        *out = b;
    else
        thaw_batcher_close(b);
    return status;
}

void thaw_batcher_stop(thaw_batcher *b) {
    thaw_error why = {0};
    pthread_mutex_lock(&b->mutex);
    b->stop = 1;
    pthread_cond_broadcast(&b->has_work);
    pthread_cond_broadcast(&b->has_room);
    pthread_cond_broadcast(&b->has_batch);
    pthread_mutex_unlock(&b->mutex);
    for (int i = 0; i < b->n_decoders; i++)
        pthread_join(b->decoders[i], NULL);
    if (b->has_runner) pthread_join(b->runner, NULL);
    b->n_decoders = 0;
    b->has_runner = false;
    thaw_fail(&why, THAW_ERR_INTERRUPTED, "%s", stopping);
    end_jobs(b, &why);
}

void thaw_batcher_close(thaw_batcher *b) {
    if (!b) return;
    thaw_batcher_stop(b);
    thaw_trunk_free(b->trunk);
    thaw_trunk_free(b->lone);
    free(b->lone_features);
    free(b->slots);
    thaw_backend_release_pixels(b->spec.backend, b->pixels);
    thaw_image_budget_free(b->budget);
    pthread_cond_destroy(&b->has_work);
    pthread_cond_destroy(&b->has_room);
    pthread_cond_destroy(&b->has_batch);
    pthread_mutex_destroy(&b->mutex);
    free(b);
}
