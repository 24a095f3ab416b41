#include "tune.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "held.h"
#include "optimize.h"
#include "rng.h"
#include "steps.h"

static const float BETA1 = 0.9f, BETA2 = 0.999f, EPSILON = 1e-8f, RUNNING = 0.1f;

/* How far a training is: with the arrays beside it, all that a checkpoint has. */
typedef struct progress {
    int64_t phase, epoch; /* From 1, under way. */
    int64_t row;          /* Of the epoch's order: the next batch begins there. */
    int64_t step;         /* Made so far, of all phases. */
    int64_t right, rows;  /* Of the epoch's steps so far. */
    double loss, weight;
    thaw_epoch kept, before; /* In this phase; in the one before. */
    int64_t epochs_run;      /* Ended: so many are in the history. */
} progress;

/* One phase of a training, or all of it. */
typedef struct tuner {
    const thaw_tune_job *job;
    thaw_head *head;
    thaw_arena *arena; /* The phase's. */
    thaw_top *top;
    thaw_params *params;
    thaw_schedule schedule;
    progress at;
    thaw_epoch *history; /* [epochs] */
    bool restoring;      /* The phase under way goes on from the checkpoint. */
    double saved_s;      /* When the checkpoint was written. */
    int64_t made[2];     /* Where the last two steps' rows begin in the order, by step % 2. */

    int64_t *order, *index; /* [n] of an epoch; [batch] */
    int64_t *class_start;   /* [K + 1] balanced: where each class's rows begin in by_class. */
    int64_t *by_class;      /* [n] */
    float *x, *mixed;       /* [batch in whole lanes, D] */
    /* On a device, where they fit: what is trained on, rows or views, and what validates. */
    thaw_held *held, *held_validation;
    float *logits, *share;
    int32_t *label, *other;
    float *target, *mixed_target; /* [batch, K] where labels are sets; the second with mixup. */
    float *class_weight;          /* [K] NULL: ones. */
    float *velocity, *second, *average, *best, *best_running;

    double train_seconds;
    int64_t rows_trained; /* In that time. */
    thaw_metrics validation;
} tuner;

/* ---- options -------------------------------------------------------------------------------- */

const thaw_tune_ranges thaw_tune_legal = {
#define X(field, least, most) .field = {least, most},
    THAW_TUNE_RANGE_LIST(X)
#undef X
};

const char *thaw_recipe_name(thaw_recipe recipe) {
    static const char *const names[] = {THAW_RECIPE_LIST(THAW_ENUM_NAME)};
    return names[recipe];
}

/* What was measured is lp_ft with sgd and BN frozen, as it stands here: MobileNetV2 on flowers5, steel6 and
 * Oxford-12 (tests/bench/results/2026-11-26-training.md). Other values were not compared; those of adamw
 * and of random weights are the usual ones. */
thaw_tune_options thaw_tune_defaults(thaw_recipe recipe, thaw_optimizer optimizer, bool random,
                                     int64_t n) {
    enum { BATCH = 64 };
    bool sgd = optimizer == THAW_OPTIMIZER_SGD;
    int64_t steps = (n + BATCH - 1) / BATCH, min_steps = random ? 600 : 150;
    int64_t epochs = steps > 0 ? (min_steps + steps - 1) / steps : 1, least = random ? 40 : 15;
    return (thaw_tune_options){
        .recipe = recipe,
        .norm = random ? THAW_NORM_FULL : THAW_NORM_FROZEN,
        .optimizer = optimizer,
        .lr = random ? (sgd ? 0.05 : 0.001) : (sgd ? 0.001 : 0.0001),
        .momentum = 0.9,
        .weight_decay = sgd ? (random ? 5e-4 : 1e-4) : 0.01,
        .stage_factor = recipe == THAW_RECIPE_GRADUAL ? 1 / 2.6 : 1,
        .schedule = THAW_SCHEDULE_COSINE,
        .warmup = 1,
        .class_weights = THAW_CLASS_WEIGHTS_NONE,
        .sampling = THAW_SAMPLING_ALL,
        .epochs = epochs > least ? epochs : least,
        .batch = BATCH,
        .seed = 1,
    };
}

/* Few enough that a lane's activations stay near the processor, many enough that eight processors have
 * one each; a batch's own statistics need more. */
int64_t thaw_tune_lane(const thaw_backend *backend, thaw_norm norm, int64_t batch) {
    enum { LANES = 8, LEAST = 16 };
    if (norm != THAW_NORM_FULL && backend->kernels->memory) return batch;
    if (norm != THAW_NORM_FULL) return (batch + LANES - 1) / LANES;
    int64_t lanes = batch / LEAST > LANES ? LANES : batch / LEAST;
    while (lanes > 1 &&
           batch % lanes) /* A lane that is not full would count rows that are not there. */
        lanes--;
    return lanes > 1 ? batch / lanes : batch;
}

static thaw_status check_number(const char *name, double value, const thaw_range *legal,
                                thaw_error *err) {
    if (thaw_range_holds(legal, value)) return THAW_OK;
    return thaw_fail(err, THAW_ERR_USAGE, "%s is %g, it must be from %g to %g", name, value,
                     legal->least, legal->most);
}

static thaw_status check_job(const thaw_tune_job *job, thaw_error *err) {
    const thaw_tune_options *o = &job->options;
#define X(field, least, most) \
    THAW_TRY(check_number(#field, (double)o->field, &thaw_tune_legal.field, err));
    THAW_TUNE_RANGE_LIST(X)
#undef X
    if (job->train->sets && o->sampling == THAW_SAMPLING_BALANCED)
        return thaw_fail(
            err, THAW_ERR_USAGE,
            "top.sampling = balanced draws pictures by their class, and these have several: "
            "take all, perhaps with head.class_weights = balanced");
    if (o->norm == THAW_NORM_FULL && (o->batch < 2 || job->train->n < o->batch))
        return thaw_fail(err, THAW_ERR_USAGE,
                         "with BN of the batch's own statistics a batch has at least two pictures "
                         "and at most all of them: it has %lld, of %lld",
                         (long long)o->batch, (long long)job->train->n);
    return THAW_OK;
}

/* ---- buffers -------------------------------------------------------------------------------- */

static bool has_validation(const thaw_tune_job *job) {
    return job->validation && job->validation->n > 0;
}

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "to train above the cut");
}

static float *floats(tuner *t, int64_t n) {
    return thaw_arena_array(t->arena, (size_t)n, sizeof(float));
}

static thaw_status take_buffers(tuner *t, thaw_error *err) {
    const thaw_tune_job *job = t->job;
    const thaw_tune_options *o = &job->options;
    int64_t lane = thaw_tune_lane(job->backend, o->norm, o->batch), n = job->train->n,
            K = job->head.K;
    int64_t rows = (o->batch + lane - 1) / lane * lane, D = job->train->D, P = t->params->n;
    size_t B = (size_t)rows;
    t->order = thaw_arena_array(t->arena, (size_t)n, sizeof *t->order);
    t->by_class = thaw_arena_array(t->arena, (size_t)n, sizeof *t->by_class);
    t->class_start = thaw_arena_array(t->arena, (size_t)K + 1, sizeof *t->class_start);
    t->index = thaw_arena_array(t->arena, B, sizeof *t->index);
    t->label = thaw_arena_array(t->arena, B, sizeof *t->label);
    t->other = thaw_arena_array(t->arena, B, sizeof *t->other);
    t->x = floats(t, rows * D);
    t->mixed = floats(t, o->mixup > 0 ? rows * D : 0);
    t->logits = floats(t, rows * K);
    t->share = floats(t, rows);
    t->target = floats(t, job->train->sets ? rows * K : 0);
    t->mixed_target = floats(t, job->train->sets && o->mixup > 0 ? rows * K : 0);
    t->velocity = floats(t, P);
    t->second = floats(t, o->optimizer == THAW_OPTIMIZER_ADAMW ? P : 0);
    t->average = floats(t, o->ema > 0 ? P : 0);
    t->best = floats(t, P);
    t->best_running = floats(t, t->params->n_running);
    bool weighted = o->class_weights == THAW_CLASS_WEIGHTS_BALANCED;
    if (weighted) t->class_weight = floats(t, K);
    if (!t->order || !t->by_class || !t->class_start || !t->index || !t->label || !t->other ||
        !t->x || !t->target || !t->mixed_target || !t->mixed || !t->logits || !t->share ||
        !t->velocity || !t->second || !t->average || !t->best || !t->best_running ||
        (weighted && !t->class_weight))
        return no_memory(err);
    const thaw_label_sets *sets = job->train->sets;
    if (weighted && sets)
        thaw_steps_positive_weights(sets, job->train->label, n, t->class_start, t->class_weight);
    else if (weighted)
        thaw_steps_class_weights(job->train->label, n, K, t->class_start, t->class_weight);
    THAW_TRY(thaw_metrics_init(&t->validation, K, 0, t->arena, err));
    if (!has_validation(job)) return THAW_OK;
    return thaw_metrics_take_sets(&t->validation, job->validation->sets, job->validation->n,
                                  t->arena, err);
}

/* Rows of each class one after the other, each class's in their order. */
static void sort_by_class(tuner *t) {
    const thaw_rows *rows = t->job->train;
    int64_t K = t->job->head.K, *start = t->class_start;
    for (int64_t k = 0; k <= K; k++)
        start[k] = 0;
    for (int64_t i = 0; i < rows->n; i++)
        start[rows->label[i]]++;
    /* Each begins where the one before ends, and is filled from its end. */
    for (int64_t k = 1; k <= K; k++)
        start[k] += start[k - 1];
    for (int64_t i = rows->n - 1; i >= 0; i--)
        t->by_class[--start[rows->label[i]]] = i;
}

/* ---- an epoch's rows ------------------------------------------------------------------------ */

static void draw_order(tuner *t, int64_t epoch) {
    const thaw_tune_job *job = t->job;
    int64_t n = job->train->n, K = job->head.K;
    thaw_rng rng = thaw_rng_open(job->options.seed, THAW_RNG_SHUFFLE, (uint64_t)epoch);
    if (job->options.sampling == THAW_SAMPLING_ALL) {
        thaw_rng_permutation(&rng, n, t->order);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t k, many;
        do {
            k = thaw_rng_below(&rng, (uint32_t)K);
            many = t->class_start[k + 1] - t->class_start[k];
        } while (many == 0);
        t->order[i] = t->by_class[t->class_start[k] + thaw_rng_below(&rng, (uint32_t)many)];
    }
}

/* Rows of a batch, or one view of each. */
static thaw_status load_batch(tuner *t, const int64_t *rows, int64_t M, thaw_rng *choice,
                              thaw_error *err) {
    const thaw_tune_job *job = t->job;
    const thaw_rows *from = job->views ? job->views : job->train;
    for (int64_t m = 0; m < M; m++) {
        t->label[m] = job->train->label[rows[m]];
        t->index[m] = rows[m];
        if (job->views)
            t->index[m] = rows[m] * job->n_views + thaw_rng_below(choice, (uint32_t)job->n_views);
    }
    return t->held ? THAW_OK : from->gather(from->ctx, t->index, M, t->x, err);
}

/* A Gamma(shape) number (Marsaglia & Tsang 2000), below 1 by its own power of a uniform one. */
static double draw_gamma(thaw_rng *rng, double shape) {
    double boost = 1;
    if (shape < 1) {
        boost = pow(1 - (double)thaw_rng_uniform(rng), 1 / shape);
        shape += 1;
    }
    double d = shape - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (;;) {
        double x = thaw_rng_normal(rng), v = 1 + c * x;
        if (v <= 0) continue;
        v = v * v * v;
        double u = 1 - (double)thaw_rng_uniform(rng);
        if (log(u) < 0.5 * x * x + d - d * v + d * log(v)) return boost * d * v;
    }
}

/* Each row with another one of the batch, one share for all: x = share x + (1 - share) x'. */
static float *mix_rows(tuner *t, int64_t M, thaw_rng *rng) {
    double a = t->job->options.mixup, first = draw_gamma(rng, a), second = draw_gamma(rng, a);
    float share = first + second > 0 ? (float)(first / (first + second)) : 1;
    int64_t D = t->job->train->D;
    thaw_rng_permutation(rng, M, t->index);
    for (int64_t m = 0; m < M; m++) {
        const float *x = t->x + m * D, *y = t->x + t->index[m] * D;
        float *to = t->mixed + m * D;
        t->other[m] = t->label[t->index[m]];
        t->share[m] = share;
        for (int64_t d = 0; d < D; d++)
            to[d] = share * x[d] + (1 - share) * y[d];
    }
    return t->mixed;
}

/* ---- one step ------------------------------------------------------------------------------- */

static double weigh_batch(const tuner *t, int64_t M) {
    if (t->job->train->sets) return (double)M;
    return thaw_steps_weight(t->class_weight, t->label, M);
}

/* The first tensor, seen from the cut, without a finite gradient; NULL: all have one. What fails here is no news
 * beside that. */
static const char *first_bad(const tuner *t) {
    float *gradient = thaw_arena_array(t->arena, (size_t)t->params->n, sizeof *gradient);
    thaw_error err = {0};
    if (!gradient || thaw_top_read_gradient(t->top, gradient, &err) != THAW_OK) return NULL;
    for (int s = 0; s < t->params->n_segments; s++) {
        const thaw_segment *g = &t->params->segments[s];
        for (int64_t i = 0; i < g->n; i++)
            if (!isfinite(gradient[g->offset + i])) return g->name;
    }
    return NULL;
}

/* The running average starts at the weights, and follows slowly once it has seen some. */
static float average_keeps(const tuner *t) {
    double keep = t->job->options.ema;
    double step = (double)(t->at.step + 1);
    double early = (1 + step) / (10 + step);
    return (float)(keep < early ? keep : early);
}

/* Targets are linear, too: those of pairs are mixed as the pairs are. */
static const float *make_targets(tuner *t, int64_t M) {
    const thaw_label_sets *sets = t->job->train->sets;
    const thaw_tune_options *o = &t->job->options;
    if (!sets) return NULL;
    thaw_steps_targets(sets, t->label, M, (float)o->label_smoothing, t->target);
    if (o->mixup <= 0) return t->target;
    thaw_steps_targets(sets, t->other, M, (float)o->label_smoothing, t->mixed_target);
    for (int64_t i = 0; i < M * sets->K; i++) {
        float share = t->share[i / sets->K];
        t->mixed_target[i] = share * t->target[i] + (1 - share) * t->mixed_target[i];
    }
    return t->mixed_target;
}

/* The batch of step number `step`, from 1: M rows of the order, from `start` on. Its arrays are the tuner's, until
 * the next is made. */
static thaw_status make_batch(tuner *t, int64_t step, int64_t start, int64_t M,
                              thaw_top_batch *batch, thaw_error *err) {
    const thaw_tune_options *o = &t->job->options;
    thaw_rng choice = thaw_rng_open(o->seed, THAW_RNG_CHOICE, (uint64_t)(step - 1));
    thaw_rng rng = thaw_rng_open(o->seed, THAW_RNG_DROPOUT, (uint64_t)(step - 1));
    THAW_TRY(load_batch(t, t->order + start, M, &choice, err));
    float *x = o->mixup > 0 ? mix_rows(t, M, &rng) : t->x;
    *batch = (thaw_top_batch){.M = M,
                              .x = x,
                              .held = t->held,
                              .row = t->index,
                              .label = t->label,
                              .target = make_targets(t, M),
                              .own = t->target,
                              .other = o->mixup > 0 ? t->other : NULL,
                              .share = t->share,
                              .class_weight = t->class_weight,
                              .smoothing = (float)o->label_smoothing,
                              .norm = (float)weigh_batch(t, M),
                              .dropout = rng};
    return THAW_OK;
}

static int64_t rows_from(const tuner *t, int64_t start) {
    int64_t left = t->job->train->n - start, batch = t->job->options.batch;
    return left < batch ? left : batch;
}

/* The bad step, one of the last two, is gone through once more, for its gradient: weights are as it found them. */
static thaw_status report_bad(tuner *t, int64_t step, thaw_error *err) {
    int64_t start = t->made[step % 2];
    thaw_top_batch batch;
    THAW_TRY(make_batch(t, step, start, rows_from(t, start), &batch, err));
    THAW_TRY(thaw_top_backward(t->top, &batch, err));
    const char *bad = first_bad(t);
    return thaw_fail(err, THAW_ERR_USAGE,
                     "the training loss is not finite in step %lld, epoch %lld, at rate %g: the "
                     "first tensor above the cut without a finite gradient is %s; lower top.lr, or "
                     "set top.clip",
                     (long long)step, (long long)t->at.epoch,
                     thaw_schedule_lr(&t->schedule, step - 1), bad ? bad : "none");
}

/* The next step: M rows of the order, from `start` on. */
static thaw_status take_step(tuner *t, int64_t start, int64_t M, thaw_error *err) {
    int64_t step = t->at.step + 1, bad_step;
    double lr = thaw_schedule_lr(&t->schedule, t->at.step);
    thaw_top_batch batch;
    THAW_TRY(make_batch(t, step, start, M, &batch, err));
    t->made[step % 2] = start;
    THAW_TRY(thaw_top_train(t->top, &batch, lr, step, average_keeps(t), &bad_step, err));
    if (bad_step) return report_bad(t, bad_step, err);
    t->at.weight += weigh_batch(t, M);
    t->at.rows += M;
    t->rows_trained += M;
    t->at.step = step;
    return THAW_OK;
}

/* All steps so far have been made: what they came to is in t->at. */
static thaw_status settle(tuner *t, thaw_error *err) {
    thaw_loss_sums sums;
    THAW_TRY(thaw_top_settle(t->top, &sums, err));
    if (sums.bad_step) return report_bad(t, sums.bad_step, err);
    t->at.loss = sums.loss;
    t->at.right = sums.right;
    return THAW_OK;
}

/* ---- epochs --------------------------------------------------------------------------------- */

/* All that a training is, where it lies. */
static int list_pieces(tuner *t, thaw_piece pieces[]) {
    size_t P = (size_t)t->params->n * sizeof(float);
    size_t running = (size_t)t->params->n_running * sizeof(float);
    const thaw_tune_options *o = &t->job->options;
    const thaw_piece all[] = {
        {&t->at, sizeof t->at},
        {t->history, (size_t)o->epochs * sizeof *t->history},
        {t->params->values, P},
        {t->velocity, P},
        {t->second, o->optimizer == THAW_OPTIMIZER_ADAMW ? P : 0},
        {t->average, o->ema > 0 ? P : 0},
        {t->best, P},
        {t->params->running, running},
        {t->best_running, running},
    };
    memcpy(pieces, all, sizeof all);
    return (int)(sizeof all / sizeof *all);
}

static thaw_status save(tuner *t, thaw_error *err) {
    thaw_piece pieces[16];
    t->saved_s = thaw_now_s();
    if (t->at.row > 0) THAW_TRY(settle(t, err)); /* Between epochs all is settled. */
    if (!t->job->checkpoint) return THAW_OK;
    THAW_TRY(thaw_top_fetch(t->top, true, err));
    int n = list_pieces(t, pieces);
    return thaw_checkpoint_write(t->job->checkpoint, &t->job->key, pieces, n, err);
}

/* After a step: when it is time, or when the run is asked to stop. */
static thaw_status save_sometimes(tuner *t, thaw_error *err) {
    bool stop = t->job->stop && *t->job->stop;
    if (!stop && thaw_now_s() - t->saved_s < t->job->checkpoint_seconds) return THAW_OK;
    THAW_TRY(save(t, err));
    if (!stop) return THAW_OK;
    return thaw_fail(
        err, THAW_ERR_INTERRUPTED,
        "training was stopped after step %lld, in epoch %lld of %lld%s%s", (long long)t->at.step,
        (long long)t->at.epoch, (long long)t->job->options.epochs,
        t->job->checkpoint ? "; thaw train --resume with the same options goes on from " : "",
        t->job->checkpoint ? t->job->checkpoint : "");
}

static thaw_status restore(tuner *t, thaw_error *err) {
    thaw_piece pieces[16];
    int n = list_pieces(t, pieces);
    THAW_TRY(thaw_checkpoint_read(t->job->checkpoint, &t->job->key, pieces, n, err));
    t->restoring = false;
    const progress *at = &t->at;
    int64_t epochs = t->job->options.epochs;
    if (at->epoch < 1 || at->epoch > epochs + 1 || at->row < 0 || at->row > t->job->train->n ||
        at->epochs_run < 0 || at->epochs_run > epochs || at->step < 0)
        return thaw_fail(err, THAW_ERR_FORMAT,
                         "%s tells of a place that this training does not have: leave --resume out",
                         t->job->checkpoint);
    for (int64_t i = 0; t->job->on_epoch && i < t->at.epochs_run; i++)
        t->job->on_epoch(t->job->ctx, &t->history[i]);
    return thaw_top_send(t->top, err);
}

static thaw_status train_epoch(tuner *t, thaw_epoch *epoch, thaw_error *err) {
    const thaw_tune_job *job = t->job;
    int64_t n = job->train->n, batch = job->options.batch;
    bool whole =
        job->options.norm == THAW_NORM_FULL; /* Batches of one size, statistics of one kind. */
    thaw_loss_sums sums = {t->at.loss, t->at.right, 0};
    draw_order(t, epoch->epoch);
    THAW_TRY(thaw_top_count_from(t->top, &sums, err));
    while (t->at.row < n) {
        int64_t start = t->at.row, M = rows_from(t, start);
        if (whole && M < batch) start = n - batch, M = batch;
        THAW_TRY(take_step(t, start, M, err));
        t->at.row = start + M;
        THAW_TRY(save_sometimes(t, err));
    }
    THAW_TRY(settle(t, err));
    epoch->lr = thaw_schedule_lr(&t->schedule, t->at.step - 1);
    epoch->train_loss = t->at.loss / t->at.weight;
    epoch->train_top1 = (double)t->at.right / (double)t->at.rows;
    return thaw_top_fetch(t->top, false, err);
}

static void swap(float **a, float **b) {
    float *c = *a;
    *a = *b;
    *b = c;
}

/* The average takes the weights' place, and back. */
static thaw_status show_average(tuner *t, thaw_error *err) {
    if (t->job->options.ema <= 0) return THAW_OK;
    swap(&t->average, &t->params->values);
    return thaw_top_update(t->top, err);
}

/* The validation rows of t->index. */
static thaw_status score(tuner *t, int64_t M, thaw_error *err) {
    const thaw_rows *rows = t->job->validation;
    if (t->held_validation)
        return thaw_top_forward_held(t->top, M, t->held_validation, t->index, t->logits, err);
    THAW_TRY(rows->gather(rows->ctx, t->index, M, t->x, err));
    return thaw_top_forward(t->top, M, t->x, t->logits, err);
}

static thaw_status validate(tuner *t, thaw_epoch *epoch, thaw_error *err) {
    const thaw_rows *rows = t->job->validation;
    epoch->validation_loss = epoch->validation_top1 = NAN;
    epoch->validation_map = epoch->validation_f1_micro = epoch->validation_f1_macro = NAN;
    if (!has_validation(t->job)) return THAW_OK;
    thaw_metrics_reset(&t->validation);
    for (int64_t start = 0; start < rows->n; start += t->job->options.batch) {
        int64_t left = rows->n - start,
                M = left < t->job->options.batch ? left : t->job->options.batch;
        for (int64_t m = 0; m < M; m++)
            t->index[m] = start + m;
        THAW_TRY(score(t, M, err));
        thaw_metrics_add(&t->validation, M, t->logits, rows->label + start);
    }
    thaw_metrics_finish(&t->validation);
    thaw_steps_validated(&t->validation, epoch);
    return THAW_OK;
}

static void keep_weights(tuner *t) {
    memcpy(t->best, t->params->values, (size_t)t->params->n * sizeof(float));
    memcpy(t->best_running, t->params->running, (size_t)t->params->n_running * sizeof(float));
}

/* Keeps the weights of the moment when they are the best so far, or the last of all where there is no
 * patience for the best: then the best are only for a training that is stopped. */
static void keep(tuner *t, const thaw_epoch *epoch, bool last) {
    bool best = !has_validation(t->job) || t->at.kept.epoch == 0 ||
                epoch->validation_loss < t->at.kept.validation_loss;
    if (!best && !(last && t->job->options.patience == 0)) return;
    t->at.kept = *epoch;
    keep_weights(t);
}

/* What an epoch adds up begins again. */
static void begin_epoch(tuner *t, int64_t epoch) {
    t->at.epoch = epoch;
    t->at.row = t->at.right = t->at.rows = 0;
    t->at.loss = t->at.weight = 0;
}

/* From the epoch under way to the last. */
static thaw_status run_epochs(tuner *t, int64_t last, thaw_error *err) {
    const thaw_tune_job *job = t->job;
    while (t->at.epoch <= last) {
        thaw_epoch epoch = {.epoch = t->at.epoch, .several = job->train->sets};
        double start = thaw_now_s();
        THAW_TRY(train_epoch(t, &epoch, err));
        t->train_seconds += thaw_now_s() - start;
        THAW_TRY(show_average(t, err));
        THAW_TRY(validate(t, &epoch, err));
        epoch.seconds = thaw_now_s() - start;
        keep(t, &epoch, epoch.epoch == last);
        THAW_TRY(show_average(t, err));
        t->history[t->at.epochs_run++] = epoch;
        begin_epoch(t, t->at.epoch + 1);
        if (job->on_epoch) job->on_epoch(job->ctx, &epoch);
        THAW_TRY(save_sometimes(t, err));
        int64_t patience = job->options.patience;
        if (patience > 0 && epoch.epoch - t->at.kept.epoch >= patience) break;
    }
    return THAW_OK;
}

/* ---- phases --------------------------------------------------------------------------------- */

static thaw_top_spec top_spec(const thaw_tune_job *job, const thaw_head *head, int first_trained) {
    const thaw_tune_options *o = &job->options;
    int64_t lane = thaw_tune_lane(job->backend, o->norm, o->batch);
    return (thaw_top_spec){.graph = job->graph,
                           .from = job->from,
                           .to = job->to,
                           .pooled = job->pooled,
                           .norm = o->norm,
                           .first_trained = first_trained,
                           .head = head,
                           .dropout = (float)o->dropout,
                           .hidden_dropout = (float)job->head.options.dropout,
                           .lane = lane,
                           .precision = o->precision,
                           .most_lanes = (int)((o->batch + lane - 1) / lane)};
}

/* How many stages lie between a node and the head. */
static int stages_above(const thaw_tune_job *job, int node) {
    int n = 0;
    for (int i = 0; i < job->n_stages; i++)
        n += node <= job->stage_ends[i];
    return n;
}

static void set_factors(tuner *t) {
    for (int s = 0; s < t->params->n_segments; s++) {
        thaw_segment *g = &t->params->segments[s];
        int above = stages_above(t->job, g->node);
        g->factor = (float)pow(t->job->options.stage_factor, above);
    }
}

/* The head's layers, from what was trained. */
static void take_head(const tuner *t) {
    int layer = 0;
    const thaw_params *p = t->params;
    for (int s = 0; s < p->n_segments; s++) {
        if (p->segments[s].value >= 0) continue;
        thaw_layer *l = &t->head->layers[layer / 2];
        memcpy(layer % 2 ? l->b : l->w, p->values + p->segments[s].offset,
               (size_t)p->segments[s].n * sizeof(float));
        layer++;
    }
}

static thaw_status begin(tuner *t, thaw_error *err) {
    const thaw_tune_options *o = &t->job->options;
    bool sgd = o->optimizer == THAW_OPTIMIZER_SGD;
    const thaw_top_optimizer optimizer = {.sgd = sgd,
                                          .momentum = (float)o->momentum,
                                          .beta1 = BETA1,
                                          .beta2 = BETA2,
                                          .epsilon = EPSILON,
                                          .weight_decay = (float)o->weight_decay,
                                          .clip = o->clip,
                                          .running = RUNNING,
                                          .moment = t->velocity,
                                          .average = o->ema > 0 ? t->average : NULL,
                                          .second = sgd ? NULL : t->second};
    return thaw_top_begin(t->top, &optimizer, err);
}

/* Mixup mixes on the host, and needs its rows there. */
static thaw_status hold_rows(tuner *t, thaw_error *err) {
    const thaw_tune_job *job = t->job;
    const thaw_rows *rows = job->views ? job->views : job->train;
    size_t most = job->head.device_bytes;
    int64_t batch = job->options.batch;
    if (job->options.mixup > 0) return THAW_OK;
    THAW_TRY(thaw_held_create(&t->held, job->backend, rows, batch, most, err));
    if (!t->held || !has_validation(job)) return THAW_OK;
    if (most) most = most > t->held->bytes ? most - t->held->bytes : 1;
    return thaw_held_create(&t->held_validation, job->backend, job->validation, batch, most, err);
}

/* Whether the graph still has something better than any epoch of the phase. An earlier phase of another run
 * is in no graph. */
static bool was_better_before(const tuner *t, bool resumed) {
    const thaw_epoch *kept = &t->at.kept, *before = &t->at.before;
    if (!before->epoch || (resumed && t->at.phase > 1)) return false;
    return kept->epoch == 0 || before->validation_loss <= kept->validation_loss;
}

/* Trains from a node on, for some epochs; then graph and head have the weights that are kept. */
static thaw_status run_phase(tuner *t, int first_trained, int64_t first, int64_t last,
                             thaw_arena *arena, thaw_tune_result *result, thaw_error *err) {
    const thaw_tune_job *job = t->job;
    thaw_top_spec spec = top_spec(job, t->head, first_trained);
    THAW_TRY(thaw_top_create(&t->top, &spec, job->backend, err));
    t->params = thaw_top_params(t->top);
    thaw_top_size size = thaw_top_measure(t->top);
    result->n_params = size.n_params;
    result->bytes = (size_t)size.instances * (size.activation_bytes + size.gradient_bytes) +
                    THAW_TUNE_COPIES * (size_t)size.n_params * sizeof(float);
    set_factors(t);
    THAW_TRY(take_buffers(t, err));
    if (job->options.sampling == THAW_SAMPLING_BALANCED) sort_by_class(t);
    if (job->options.ema > 0)
        memcpy(t->average, t->params->values, (size_t)t->params->n * sizeof(float));
    THAW_TRY(begin(t, err));
    THAW_TRY(hold_rows(t, err));
    if (t->restoring) {
        THAW_TRY(restore(t, err));
        result->resumed = t->at.step;
    } else {
        /* What an earlier phase kept is where this one starts, and the best until an epoch ends. */
        if (t->at.kept.epoch) t->at.before = t->at.kept;
        t->at.kept = (thaw_epoch){0};
        keep_weights(t);
        begin_epoch(t, first);
    }
    thaw_status status = run_epochs(t, last, err);
    if (status != THAW_OK && status != THAW_ERR_INTERRUPTED) return status;
    bool earlier = status != THAW_OK && was_better_before(t, result->resumed > 0);
    if (earlier || t->at.kept.epoch == 0) t->at.kept = t->at.before;
    result->before = earlier && t->at.phase == 1;
    if (earlier) return status;
    memcpy(t->params->values, t->best, (size_t)t->params->n * sizeof(float));
    memcpy(t->params->running, t->best_running, (size_t)t->params->n_running * sizeof(float));
    THAW_TRY(thaw_params_store(t->params, job->graph, arena, err));
    take_head(t);
    return status;
}

static thaw_status run_and_free(tuner *t, int first_trained, int64_t first, int64_t last,
                                thaw_arena *arena, thaw_tune_result *result, thaw_error *err) {
    thaw_arena buffers = {0};
    t->arena = &buffers;
    thaw_status status = run_phase(t, first_trained, first, last, arena, result, err);
    thaw_held_free(t->held);
    thaw_held_free(t->held_validation);
    t->held = t->held_validation = NULL;
    thaw_top_free(t->top);
    t->top = NULL;
    thaw_arena_free(&buffers);
    return status;
}

/* A stage more in each phase, the lowest last, in equal shares of the epochs. */
static thaw_status run_gradual(tuner *t, thaw_arena *arena, thaw_tune_result *result,
                               thaw_error *err) {
    const thaw_tune_job *job = t->job;
    int phases = job->n_stages + 1;
    int64_t epochs = job->options.epochs, done = 0;
    for (int p = 1; p <= phases; p++) {
        int64_t until = epochs * p / phases;
        int from = p == phases ? 0 : job->stage_ends[job->n_stages - p] + 1;
        bool passed = t->restoring && p < t->at.phase;
        if (until > done && !passed) {
            t->at.phase = p;
            THAW_TRY(run_and_free(t, from, done + 1, until, arena, result, err));
        }
        done = until;
    }
    return THAW_OK;
}

/* How many numbers the head reads. */
static int64_t head_inputs(const thaw_tune_job *job) {
    const thaw_value *to = &job->graph->values[job->to];
    return job->pooled ? thaw_value_channels(to) : thaw_value_elements(to);
}

/* ---- the head first ------------------------------------------------------------------------- */

/* All rows as the head sees them, in memory. */
static thaw_status gather_all(thaw_through *through, const thaw_top_slots *kernels,
                              const thaw_rows *rows, int64_t D, const volatile int *stop,
                              thaw_arena *arena, thaw_row_array *array, thaw_rows *out,
                              thaw_error *err) {
    thaw_rows seen = thaw_through_rows(through, rows);
    float *x = thaw_arena_array(arena, (size_t)(rows->n * D), sizeof *x);
    int64_t *index = thaw_arena_array(arena, (size_t)through->batch, sizeof *index);
    if (!x || !index)
        return thaw_fail_memory(err, "for what the head sees of %lld rows", (long long)rows->n);
    for (int64_t start = 0; start < rows->n; start += through->batch) {
        int64_t M = rows->n - start < through->batch ? rows->n - start : through->batch;
        if (stop && *stop)
            return thaw_fail(err, THAW_ERR_INTERRUPTED,
                             "stopped by a signal before the head was trained");
        for (int64_t m = 0; m < M; m++)
            index[m] = start + m;
        THAW_TRY(seen.gather(seen.ctx, index, M, x + start * D, err));
    }
    *array = (thaw_row_array){.top = kernels, .x = x, .D = D};
    *out = thaw_rows_of_array(array, rows->n, rows->label);
    out->sets = rows->sets;
    return THAW_OK;
}

/* A head's training needs its rows many times, so in memory. ERR_NOMEM: that is more than they may take. */
static thaw_status check_room(const thaw_tune_job *job, int64_t D, thaw_error *err) {
    int64_t n = job->train->n + (job->views ? job->views->n : 0);
    if (has_validation(job)) n += job->validation->n;
    double bytes = (double)n * (double)D * sizeof(float);
    if (!job->head.memory_bytes || bytes <= (double)job->head.memory_bytes) return THAW_OK;
    return thaw_fail(
        err, THAW_ERR_NOMEM,
        "the head is trained first, on %lld rows of %lld numbers, which take %.0f MB, "
        "more than the %zu MB that there are: raise cache.memory, or take recipe = joint",
        (long long)n, (long long)D, bytes / 0x1p20, job->head.memory_bytes >> 20);
}

/* Trains the head on what it sees of all rows. */
static thaw_status train_head(const thaw_tune_job *job, thaw_train_job *h, thaw_through *through,
                              thaw_arena *arena, thaw_arena *rows_arena, thaw_head *head,
                              thaw_train_result *result, thaw_error *err) {
    thaw_rows train, views, validation;
    thaw_row_array arrays[3];
    const thaw_top_slots *kernels = &job->backend->kernels->top;
    int64_t D = head_inputs(job);
    THAW_TRY(check_room(job, D, err));
    THAW_TRY(gather_all(through, kernels, job->train, D, job->stop, rows_arena, &arrays[0], &train,
                        err));
    h->train = &train;
    if (job->views) {
        THAW_TRY(gather_all(through, kernels, job->views, D, job->stop, rows_arena, &arrays[1],
                            &views, err));
        h->views = &views;
    }
    if (has_validation(job)) {
        THAW_TRY(gather_all(through, kernels, job->validation, D, job->stop, rows_arena, &arrays[2],
                            &validation, err));
        h->validation = &validation;
    }
    return thaw_train(h, arena, head, result, err);
}

static thaw_status make_head(const thaw_tune_job *job, thaw_arena *arena, thaw_arena *rows_arena,
                             thaw_head *head, thaw_train_result *result, thaw_error *err) {
    thaw_through through;
    thaw_train_job h = job->head;
    h.top = &job->backend->kernels->top;
    h.backend = NULL;
    h.views = h.validation = NULL;
    h.unfolded = true;
    h.untrained = job->options.recipe == THAW_RECIPE_JOINT;
    THAW_TRY(thaw_through_open(&through, job, job->options.batch, rows_arena, err));
    thaw_rows seen = thaw_through_rows(&through, job->train);
    h.train = &seen; /* Its scale alone takes two passes. */
    thaw_status status = h.untrained
                             ? thaw_train(&h, arena, head, result, err)
                             : train_head(job, &h, &through, arena, rows_arena, head, result, err);
    thaw_through_close(&through);
    return status;
}

thaw_status thaw_tune_head(const thaw_tune_job *job, thaw_arena *arena, thaw_head *head,
                           thaw_train_result *result, thaw_error *err) {
    thaw_arena rows = {0};
    *result = (thaw_train_result){0};
    THAW_TRY(check_job(job, err));
    if (job->random) {
        const thaw_train_options *o = &job->head.options;
        int64_t hidden = o->kind == THAW_HEAD_HIDDEN ? o->hidden : 0;
        THAW_TRY(thaw_head_init(head, head_inputs(job), hidden, job->head.K, o->seed, arena, err));
        head->sigmoid = job->train->sets != NULL;
        return THAW_OK;
    }
    thaw_status status = make_head(job, arena, &rows, head, result, err);
    thaw_arena_free(&rows);
    return status;
}

thaw_status thaw_tune(const thaw_tune_job *job, thaw_arena *arena, thaw_head *head,
                      thaw_tune_result *result, thaw_error *err) {
    tuner t = {.job = job, .head = head, .at = {.phase = 1, .before = job->before}};
    thaw_status status;
    *result = (thaw_tune_result){0};
    THAW_TRY(check_job(job, err));
    int64_t steps = (job->train->n + job->options.batch - 1) / job->options.batch;
    t.schedule = (thaw_schedule){.kind = job->options.schedule,
                                 .lr = job->options.lr,
                                 .warmup_steps = (int64_t)(job->options.warmup * (double)steps),
                                 .total_steps = steps * job->options.epochs};
    t.history = thaw_arena_array(arena, (size_t)job->options.epochs, sizeof *t.history);
    if (!t.history) return no_memory(err);
    t.saved_s = thaw_now_s();
    if (job->resume && job->checkpoint)
        THAW_TRY(thaw_checkpoint_peek(job->checkpoint, &job->key, (thaw_piece){&t.at, sizeof t.at},
                                      &t.restoring, err));
    if (job->options.recipe == THAW_RECIPE_GRADUAL)
        status = run_gradual(&t, arena, result, err);
    else
        status = run_and_free(&t, 0, 1, job->options.epochs, arena, result, err);
    if (status != THAW_OK && status != THAW_ERR_INTERRUPTED) return status;
    if (t.train_seconds > 0) result->rows_per_second = (double)t.rows_trained / t.train_seconds;
    result->epochs_run = t.at.epochs_run;
    result->kept = t.at.kept;
    if (status == THAW_OK && job->checkpoint) thaw_checkpoint_remove(job->checkpoint);
    thaw_head_fold(head);
    return status;
}

/* ---- rows through the top ------------------------------------------------------------------- */

static thaw_status gather_through(void *ctx, const int64_t *index, int64_t M, float *out,
                                  thaw_error *err) {
    thaw_through *t = ctx;
    thaw_top_size size = thaw_top_measure(t->top);
    for (int64_t start = 0; start < M; start += t->batch) {
        int64_t n = M - start < t->batch ? M - start : t->batch;
        THAW_TRY(t->rows->gather(t->rows->ctx, index + start, n, t->x, err));
        THAW_TRY(thaw_top_features(t->top, n, t->x, out + start * size.F, err));
    }
    return THAW_OK;
}

thaw_status thaw_through_open(thaw_through *through, const thaw_tune_job *job, int64_t batch,
                              thaw_arena *arena, thaw_error *err) {
    *through = (thaw_through){.batch = batch};
    thaw_head head; /* Nobody looks at it: features end before it. */
    THAW_TRY(thaw_head_init(&head, head_inputs(job), 0, 1, 0, arena, err));
    thaw_top_spec spec = top_spec(job, &head, job->graph->n_nodes);
    spec.precision = THAW_TOP_FP32; /* As whoever runs the exported model computes it. */
    spec.lane = thaw_tune_lane(job->backend, THAW_NORM_FROZEN, batch);
    spec.most_lanes = (int)((batch + spec.lane - 1) / spec.lane);
    THAW_TRY(thaw_top_create(&through->top, &spec, job->backend, err));
    thaw_top_size size = thaw_top_measure(through->top);
    through->x = thaw_arena_array(arena, (size_t)(spec.most_lanes * spec.lane),
                                  (size_t)size.D * sizeof(float));
    if (through->x) return THAW_OK;
    thaw_through_close(through);
    return no_memory(err);
}

thaw_rows thaw_through_rows(thaw_through *through, const thaw_rows *rows) {
    through->rows = rows;
    return (thaw_rows){.n = rows->n,
                       .D = thaw_top_measure(through->top).F,
                       .gather = gather_through,
                       .ctx = through,
                       .label = rows->label,
                       .sets = rows->sets,
                       .stored = THAW_F32};
}

void thaw_through_close(thaw_through *through) {
    thaw_top_free(through->top);
    *through = (thaw_through){0};
}
