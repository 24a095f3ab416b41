#include "many.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "steps.h"

enum {
    TILE_COLUMNS = 48,     /* Weights, gradient and moment of a tile stay near a core's L2 cache. */
    BLOCK_BYTES = 4 << 20, /* Rows that all tiles go through, one after the other, from L3. */
};

/* A head, and which place its numbers have. */
typedef struct member {
    const thaw_train_options *options;
    thaw_schedule schedule;
    const float *class_weight; /* NULL: ones. */
    int64_t place, step, target;
    double lr;           /* Of its last step. */
    double loss, weight; /* Of the epoch. */
    thaw_metrics validation;
    thaw_many_state state;
} member;

/* What a worker computes in. */
typedef struct scratch {
    float *y;    /* batch, columns of the widest tile; turns into its gradient */
    float *z;    /* batch, K: one head's columns of y */
    float *loss; /* batch */
    float *dw, *db;
} scratch;

struct thaw_many {
    const thaw_train_job *job;
    const thaw_backend *backend;
    int n, n_active, n_tiles, n_workers;
    member *members; /* n, in the caller's order */
    int *at;         /* n: whose numbers stand at a place; the first n_active are trained */
    /* By place: K, D weights and K biases of each head, and what belongs to each of them. */
    float *w, *b, *velocity_w, *velocity_b, *second_w, *second_b, *best_w, *best_b;
    thaw_head scale; /* Of the rows. */
    int64_t *order, *index;
    float *class_weight;
    int64_t block; /* Rows of it, whole batches. */
    float *x;      /* block, D; scaled */
    int32_t *label;
    scratch *scratches;
    /* Of what runs side by side. */
    int64_t n_loaded;
    bool training;
    atomic_int next_tile, code;
    thaw_arena arena;
};

/* ---- setting up ----------------------------------------------------------------------------- */

static bool has_validation(const thaw_many *m) {
    return m->job->validation && m->job->validation->n > 0;
}

static thaw_status check(const thaw_train_job *job, const thaw_train_options *options, int n,
                         thaw_error *err) {
    for (int i = 0; i < n; i++) {
        thaw_train_job one = *job;
        one.options = options[i];
        THAW_TRY(thaw__train_check(&one, err));
        if (one.options.kind != THAW_HEAD_LINEAR || one.options.solver != THAW_SOLVER_STEPS ||
            one.options.batch != options[0].batch || one.options.seed != options[0].seed)
            return thaw_fail(
                err, THAW_ERR_USAGE,
                "heads that are trained at once are linear, trained in steps, and have "
                "one batch and one seed: head %d is not so",
                i);
    }
    return THAW_OK;
}

/* Memory for n heads. */
static float *take(thaw_many *m, bool wanted, size_t numbers, bool *good) {
    float *p = wanted ? thaw_arena_array(&m->arena, (size_t)m->n, numbers * sizeof *p) : NULL;
    *good &= p || !wanted;
    return p;
}

static bool take_heads(thaw_many *m, const thaw_train_options *options) {
    size_t K = (size_t)m->job->K, D = (size_t)m->job->train->D;
    bool good = true, adamw = false, patient = false;
    for (int i = 0; i < m->n; i++) {
        adamw |= options[i].optimizer == THAW_OPTIMIZER_ADAMW;
        patient |= options[i].patience > 0;
    }
    m->w = take(m, true, K * D, &good);
    m->b = take(m, true, K, &good);
    m->velocity_w = take(m, true, K * D, &good);
    m->velocity_b = take(m, true, K, &good);
    m->second_w = take(m, adamw, K * D, &good);
    m->second_b = take(m, adamw, K, &good);
    m->best_w = take(m, patient, K * D, &good);
    m->best_b = take(m, patient, K, &good);
    return good;
}

size_t thaw_many_head_bytes(int64_t K, int64_t D) {
    enum { COPIES = 4 }; /* Weights, two moments, the best. */
    return COPIES * sizeof(float) * (size_t)(K * (D + 1));
}

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Heads of a tile at most. */
static int64_t tile_heads(const thaw_many *m) {
    int64_t heads = TILE_COLUMNS / m->job->K;
    return heads < 1 ? 1 : smaller(heads, m->n);
}

static bool take_buffers(thaw_many *m, int64_t batch) {
    const thaw_rows *train = m->job->train;
    size_t K = (size_t)m->job->K, D = (size_t)train->D, B = (size_t)batch;
    size_t C = (size_t)tile_heads(m) * K;
    int64_t fit = BLOCK_BYTES / (batch * train->D * (int64_t)sizeof(float));
    m->block = batch * smaller(fit < 1 ? 1 : fit, (train->n + batch - 1) / batch);
    m->order = thaw_arena_array(&m->arena, (size_t)train->n, sizeof *m->order);
    m->index = thaw_arena_array(&m->arena, (size_t)m->block, sizeof *m->index);
    m->x = thaw_arena_array(&m->arena, (size_t)m->block, D * sizeof(float));
    m->label = thaw_arena_array(&m->arena, (size_t)m->block, sizeof *m->label);
    m->class_weight = thaw_arena_array(&m->arena, K, sizeof(float));
    m->scratches = thaw_arena_array(&m->arena, (size_t)m->n_workers, sizeof *m->scratches);
    if (!m->order || !m->index || !m->x || !m->label || !m->class_weight || !m->scratches)
        return false;
    for (int i = 0; i < m->n_workers; i++) {
        scratch *s = &m->scratches[i];
        s->y = thaw_arena_array(&m->arena, B, C * sizeof(float));
        s->z = thaw_arena_array(&m->arena, B, K * sizeof(float));
        s->loss = thaw_arena_array(&m->arena, B, sizeof(float));
        s->dw = thaw_arena_array(&m->arena, C, D * sizeof(float));
        s->db = thaw_arena_array(&m->arena, C, sizeof(float));
        if (!s->y || !s->z || !s->loss || !s->dw || !s->db) return false;
    }
    return true;
}

static thaw_status set_up(thaw_many *m, const thaw_train_options *options, thaw_error *err) {
    const thaw_train_job *job = m->job;
    m->members = thaw_arena_array(&m->arena, (size_t)m->n, sizeof *m->members);
    m->at = thaw_arena_array(&m->arena, (size_t)m->n, sizeof *m->at);
    int64_t *count = thaw_arena_array(&m->arena, (size_t)job->K, sizeof *count);
    if (!m->members || !m->at || !count || !take_heads(m, options) ||
        !take_buffers(m, options[0].batch))
        return thaw_fail_memory(err, "to train %d heads of %lld numbers at once", m->n,
                                (long long)(job->K * (job->train->D + 1)));
    thaw_steps_class_weights(job->train->label, job->train->n, job->K, count, m->class_weight);
    for (int i = 0; i < m->n; i++) {
        member *one = &m->members[i];
        bool weighted = options[i].class_weights == THAW_CLASS_WEIGHTS_BALANCED;
        *one = (member){.options = &options[i],
                        .schedule = thaw_steps_schedule(&options[i], job->train->n),
                        .class_weight = weighted ? m->class_weight : NULL,
                        .place = i};
        m->at[i] = i;
        THAW_TRY(thaw_metrics_init(&one->validation, job->K, 0, &m->arena, err));
    }
    THAW_TRY(thaw_head_init(&m->scale, job->train->D, 0, job->K, options[0].seed, &m->arena, err));
    return thaw_head_fit_scale(&m->scale, job->train, m->block, m->index, m->x, &m->arena, err);
}

thaw_status thaw_many_open(thaw_many **many, const thaw_train_job *job,
                           const thaw_train_options *options, int n, const thaw_backend *backend,
                           thaw_error *err) {
    *many = NULL;
    if (job->train->sets)
        return thaw_fail(err, THAW_ERR_USAGE,
                         "many heads at once are heads of softmax, and these rows may have several "
                         "classes");
    THAW_TRY(check(job, options, n, err));
    thaw_many *m = *many = calloc(1, sizeof *m);
    if (!m) return thaw_fail_memory(err, "to train heads at once");
    m->job = job;
    m->backend = backend;
    m->n = n;
    m->n_workers = backend->threads < 1 ? 1 : (int)smaller(backend->threads, n);
    return set_up(m, options, err);
}

void thaw_many_close(thaw_many *m) {
    if (m) thaw_arena_free(&m->arena);
    free(m);
}

/* ---- places --------------------------------------------------------------------------------- */

static void swap_numbers(float *numbers, int64_t n, int64_t i, int64_t j) {
    for (int64_t k = 0; numbers && k < n; k++) {
        float kept = numbers[i * n + k];
        numbers[i * n + k] = numbers[j * n + k];
        numbers[j * n + k] = kept;
    }
}

/* The heads at two places change them. */
static void swap_places(thaw_many *m, int i, int j) {
    int64_t K = m->job->K, KD = K * m->job->train->D;
    float *const wide[] = {m->w, m->velocity_w, m->second_w, m->best_w};
    float *const narrow[] = {m->b, m->velocity_b, m->second_b, m->best_b};
    for (int a = 0; a < 4; a++) {
        swap_numbers(wide[a], KD, i, j);
        swap_numbers(narrow[a], K, i, j);
    }
    int kept = m->at[i];
    m->at[i] = m->at[j];
    m->at[j] = kept;
    m->members[m->at[i]].place = i;
    m->members[m->at[j]].place = j;
}

/* Puts the heads that are to run this epoch first. */
static void choose_active(thaw_many *m, int64_t epoch) {
    m->n_active = 0;
    for (int i = 0; i < m->n; i++) {
        const member *one = &m->members[m->at[i]];
        bool active =
            !one->state.ended && one->state.epochs_run == epoch - 1 && one->target >= epoch;
        if (!active) continue;
        if (i != m->n_active) swap_places(m, i, m->n_active);
        m->n_active++;
    }
    int per_tile = (int)tile_heads(m), threads = m->n_workers;
    m->n_tiles = (m->n_active + per_tile - 1) / per_tile;
    m->n_tiles = (m->n_tiles + threads - 1) / threads * threads; /* None waits for the last. */
    if (m->n_tiles > m->n_active) m->n_tiles = m->n_active;
}

/* ---- a tile --------------------------------------------------------------------------------- */

/* Heads that stand side by side. */
typedef struct tile {
    int first, n;
} tile;

static tile tile_at(const thaw_many *m, int t) {
    int first = (int)((int64_t)m->n_active * t / m->n_tiles);
    return (tile){first, (int)((int64_t)m->n_active * (t + 1) / m->n_tiles) - first};
}

/* Copies K columns of each of M rows between matrices that are so many columns wide. */
static void copy_columns(int64_t M, int64_t K, const float *from, int64_t from_width, float *to,
                         int64_t to_width) {
    for (int64_t r = 0; r < M; r++)
        memcpy(to + r * to_width, from + r * from_width, (size_t)K * sizeof *to);
}

static int forward(const thaw_many *m, tile t, int64_t M, const float *x, scratch *s) {
    int64_t K = m->job->K, D = m->job->train->D;
    return m->job->top->dense_forward(M, D, t.n * K, x, m->w + t.first * K * D, m->b + t.first * K,
                                      s->y);
}

/* One head's columns of y become their gradient. */
static int lose(const thaw_many *m, member *one, int64_t M, int64_t width, float *y,
                const int32_t *label, scratch *s) {
    int64_t K = m->job->K;
    double weight = thaw_steps_weight(one->class_weight, label, M);
    copy_columns(M, K, y, width, s->z, K);
    int code = m->job->top->softmax_cross_entropy(M, K, s->z, label, one->class_weight,
                                                  (float)one->options->label_smoothing,
                                                  (float)weight, s->loss, s->z);
    copy_columns(M, K, s->z, K, y, width);
    one->weight += weight;
    for (int64_t r = 0; r < M; r++)
        one->loss += s->loss[r];
    return code;
}

/* NULL stays NULL. */
static float *from(float *numbers, int64_t i) {
    return numbers ? numbers + i : NULL;
}

static int update(const thaw_many *m, member *one, const float *dw, const float *db) {
    int64_t K = m->job->K, D = m->job->train->D, i = one->place * K;
    const thaw_top_slots *top = m->job->top;
    double lr = one->lr = thaw_schedule_lr(&one->schedule, one->step++);
    int code =
        thaw_steps_update(top, one->options, K * D, m->w + i * D, dw, m->velocity_w + i * D,
                          from(m->second_w, i * D), lr, one->options->weight_decay, one->step);
    if (code) return code;
    return thaw_steps_update(top, one->options, K, m->b + i, db, m->velocity_b + i,
                             from(m->second_b, i), lr, 0, one->step);
}

/* A step of all heads of the tile on M rows. */
static int step_tile(thaw_many *m, tile t, int64_t M, const float *x, const int32_t *label,
                     scratch *s) {
    int64_t K = m->job->K, D = m->job->train->D, width = t.n * K;
    int code = forward(m, t, M, x, s);
    for (int i = 0; i < t.n && !code; i++)
        code = lose(m, &m->members[m->at[t.first + i]], M, width, s->y + i * K, label, s);
    if (!code)
        code = m->job->top->dense_backward(M, D, width, x, m->w + t.first * K * D, s->y, NULL,
                                           s->dw, s->db);
    for (int i = 0; i < t.n && !code; i++)
        code = update(m, &m->members[m->at[t.first + i]], s->dw + i * K * D, s->db + i * K);
    return code;
}

/* Adds the M rows to the metrics of the tile's heads. */
static int score_tile(thaw_many *m, tile t, int64_t M, const float *x, const int32_t *label,
                      scratch *s) {
    int64_t K = m->job->K;
    int code = forward(m, t, M, x, s);
    for (int i = 0; i < t.n && !code; i++) {
        copy_columns(M, K, s->y + i * K, t.n * K, s->z, K);
        thaw_metrics_add(&m->members[m->at[t.first + i]].validation, M, s->z, label);
    }
    return code;
}

/* All batches of the rows that are loaded. */
static int run_tile(thaw_many *m, tile t, scratch *s) {
    int64_t batch = m->members[0].options->batch, D = m->job->train->D;
    int code = 0;
    for (int64_t start = 0; start < m->n_loaded && !code; start += batch) {
        int64_t M = smaller(batch, m->n_loaded - start);
        const float *x = m->x + start * D;
        code = m->training ? step_tile(m, t, M, x, m->label + start, s)
                           : score_tile(m, t, M, x, m->label + start, s);
    }
    return code;
}

/* Takes tiles until none is left. */
static void work(void *context, int worker) {
    thaw_many *m = context;
    for (int t; (t = atomic_fetch_add(&m->next_tile, 1)) < m->n_tiles;) {
        int code = run_tile(m, tile_at(m, t), &m->scratches[worker]);
        if (code) atomic_store(&m->code, code);
    }
}

/* All active heads over the rows that are loaded. */
static thaw_status run_tiles(thaw_many *m, bool training, int64_t n_loaded, thaw_error *err) {
    m->training = training;
    m->n_loaded = n_loaded;
    atomic_store(&m->next_tile, 0);
    atomic_store(&m->code, 0);
    int workers = (int)smaller(m->n_workers, m->n_tiles);
    if (workers == 1) /* Then its products may use all threads. */
        work(m, 0);
    else
        m->backend->kernels->training->side_by_side(workers, work, m);
    int code = atomic_load(&m->code);
    if (code == 0) return THAW_OK;
    return thaw_fail(err, THAW_ERR_BACKEND, "a kernel of the heads failed with code %d", code);
}

/* ---- epochs --------------------------------------------------------------------------------- */

static thaw_status check_stop(const thaw_many *m, thaw_error *err) {
    if (!m->job->stop || !*m->job->stop) return THAW_OK;
    return thaw_fail(err, THAW_ERR_INTERRUPTED, "the training of %d heads was stopped", m->n);
}

static thaw_status train_epoch(thaw_many *m, int64_t epoch, thaw_error *err) {
    const thaw_train_job *job = m->job;
    int64_t n = job->train->n;
    thaw_rng choice = thaw_steps_order(m->members[0].options, epoch, n, m->order);
    for (int i = 0; i < m->n_active; i++) {
        member *one = &m->members[m->at[i]];
        one->loss = one->weight = 0;
    }
    for (int64_t start = 0; start < n; start += m->block) {
        int64_t M = smaller(m->block, n - start);
        THAW_TRY(check_stop(m, err));
        THAW_TRY(thaw_steps_load(job, m->order + start, M, &choice, m->index, m->x, m->label, err));
        thaw_head_scale(&m->scale, M, m->x);
        THAW_TRY(run_tiles(m, true, M, err));
    }
    return THAW_OK;
}

/* Whether an active head has to know its validation figures now. */
static bool must_validate(const thaw_many *m, int64_t epoch) {
    for (int i = 0; has_validation(m) && i < m->n_active; i++) {
        const member *one = &m->members[m->at[i]];
        if (one->options->patience > 0 || one->target == epoch) return true;
    }
    return false;
}

static thaw_status validate(thaw_many *m, thaw_error *err) {
    const thaw_rows *rows = m->job->validation;
    for (int i = 0; i < m->n_active; i++)
        thaw_metrics_reset(&m->members[m->at[i]].validation);
    for (int64_t start = 0; start < rows->n; start += m->block) {
        int64_t M = smaller(m->block, rows->n - start);
        for (int64_t r = 0; r < M; r++) {
            m->index[r] = start + r;
            m->label[r] = rows->label[start + r];
        }
        THAW_TRY(rows->gather(rows->ctx, m->index, M, m->x, err));
        thaw_head_scale(&m->scale, M, m->x);
        THAW_TRY(run_tiles(m, false, M, err));
    }
    for (int i = 0; i < m->n_active; i++)
        thaw_metrics_finish(&m->members[m->at[i]].validation);
    return THAW_OK;
}

static void keep_best(thaw_many *m, int64_t place) {
    int64_t K = m->job->K, D = m->job->train->D, i = place * K;
    memcpy(m->best_w + i * D, m->w + i * D, (size_t)(K * D) * sizeof(float));
    memcpy(m->best_b + i, m->b + i, (size_t)K * sizeof(float));
}

/* What the epoch has made of a head. */
static void close_epoch(thaw_many *m, member *one, int64_t epoch, bool validated, double seconds) {
    thaw_many_state *state = &one->state;
    thaw_epoch now = {.epoch = epoch,
                      .lr = one->lr,
                      .train_loss = one->loss / one->weight,
                      .train_top1 = NAN,
                      .validation_loss = validated ? one->validation.loss : NAN,
                      .validation_top1 = validated ? one->validation.top1 : NAN,
                      .seconds = seconds};
    int64_t patience = one->options->patience;
    state->epochs_run = epoch;
    state->diverged = !isfinite(now.train_loss);
    if (thaw_steps_keeps(one->options, has_validation(m), &now, &state->kept)) {
        state->kept = now;
        if (patience > 0) keep_best(m, one->place);
    }
    state->ended = state->diverged || epoch == one->options->epochs ||
                   (patience > 0 && epoch - state->kept.epoch >= patience);
}

static thaw_status run_epoch(thaw_many *m, int64_t epoch, thaw_error *err) {
    double start = thaw_now_s();
    THAW_TRY(train_epoch(m, epoch, err));
    bool validates = must_validate(m, epoch);
    if (validates) THAW_TRY(validate(m, err));
    double seconds = thaw_now_s() - start;
    for (int i = 0; i < m->n_active; i++)
        close_epoch(m, &m->members[m->at[i]], epoch, validates, seconds);
    return THAW_OK;
}

thaw_status thaw_many_train(thaw_many *m, double share, void (*on_epoch)(void *ctx, int n_heads),
                            void *ctx, thaw_error *err) {
    int64_t last = 0;
    for (int i = 0; i < m->n; i++) {
        member *one = &m->members[i];
        one->target = (int64_t)ceil(share * (double)one->options->epochs - 1e-9);
        if (!one->state.ended && one->target > last) last = one->target;
    }
    for (int64_t epoch = 1; epoch <= last; epoch++) {
        choose_active(m, epoch);
        if (m->n_active == 0) continue;
        THAW_TRY(run_epoch(m, epoch, err));
        if (on_epoch) on_epoch(ctx, m->n_active);
    }
    return THAW_OK;
}

/* ---- heads ---------------------------------------------------------------------------------- */

void thaw_many_drop(thaw_many *m, int i) {
    m->members[i].state.ended = true;
}

thaw_many_state thaw_many_look(const thaw_many *m, int i) {
    return m->members[i].state;
}

thaw_status thaw_many_head(const thaw_many *m, int i, thaw_arena *arena, thaw_head *head,
                           thaw_error *err) {
    const member *one = &m->members[i];
    int64_t K = m->job->K, D = m->job->train->D, at = one->place * K;
    bool best = one->options->patience > 0;
    THAW_TRY(thaw_head_init(head, D, 0, K, one->options->seed, arena, err));
    memcpy(head->layers[0].w, (best ? m->best_w : m->w) + at * D, (size_t)(K * D) * sizeof(float));
    memcpy(head->layers[0].b, (best ? m->best_b : m->b) + at, (size_t)K * sizeof(float));
    memcpy(head->mean, m->scale.mean, (size_t)D * sizeof(float));
    memcpy(head->scale, m->scale.scale, (size_t)D * sizeof(float));
    head->n_constant = m->scale.n_constant;
    thaw_head_fold(head);
    return THAW_OK;
}
