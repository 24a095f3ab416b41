#include "trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "probe.h"
#include "rng.h"
#include "steps.h"

enum { MIN_EPOCHS = 30, MIN_STEPS = 300 };

/* Everything that training needs, taken from the arena up front. */
typedef struct trainer {
    const thaw_train_job *job;
    thaw_head *head;
    thaw_schedule schedule;
    int64_t step; /* Done so far. */

    int64_t *order, *index;  /* n: the epoch's permutation; batch: rows in order. */
    float *x;                /* batch, D */
    float *hidden, *dhidden; /* batch, hidden */
    float *logits;           /* batch, K; turns into its gradient */
    float *loss;             /* batch */
    int32_t *label;          /* batch */
    float *target;           /* batch, K; where labels are sets */
    float *class_weight;     /* K; NULL: ones */
    int64_t *class_rows;     /* K; with class_weight */

    float *grad, *velocity, *second, *best; /* Laid out as head->params. */
    double epoch_loss, epoch_weight;
    int64_t epoch_right;
    thaw_metrics validation;

    void *on_device; /* The head, where a device trains it; NULL: here. */
    float *rates;    /* Of an epoch's steps, for it. */
    thaw_head_tiers tiers;
    char note[THAW_BACKEND_TEXT];
} trainer;

/* ---- options -------------------------------------------------------------------------------- */

/* Where the numbers come from: MobileNetV2's pooled features of Oxford-12 (720 rows), flowers5
 * (300) and the digits of scikit-learn (1797), five-fold cross-validation, twice; then 5 and 15
 * rows a class of the first two.
 * - With scaled features and an L2 penalty the linear head is a convex problem that SGD solves: the
 *   seed moves the top-1 by half a point at most, and late epochs do not overfit.
 * - What is kept and how long: means of five seeds, each with another tenth held out, top-1 on test
 *   folders that had no say (tests/bench/defaults.py; flowers5: five folds):
 *
 *                            drawn    flowers5   Oxford-12, 10 a class   Oxford-12
 *     last of auto's epochs  0.9342   0.8667     0.9150                  0.9625
 *     best validation loss   0.9317   0.8567     0.9125                  0.9458
 *     best validation top-1  0.9358   0.8733     0.9150                  0.9625   (the last such)
 *     patience 10            0.9317   0.8567     0.9125                  0.9458
 *     last of 15 epochs      0.9333   0.8733     0.9117                  0.9592
 *     last of 60             0.9325   0.8667     0.9150                  0.9633
 *     last of 100            0.9333   0.8667     0.9133                  0.9625
 *     the probe (probe.h)    0.9292   0.8667     0.9233                  0.9692
 *
 *   So the last epoch is kept, and patience is off. The validation loss rises all the same: the
 *   penalty makes probabilities less sure late (on Oxford-12 0.171 after 15 epochs, 0.190 after
 *   100), which costs no answers.
 * - The best penalty falls with n as a Gaussian prior of fixed width would have it: 0.1 to 0.3 at
 *   150 rows, 0.03 to 0.3 at 576, 0.03 to 0.1 at 1437. Hence c / n.
 * - Rates from 0.007 to 0.1 score the same here. Momentum 0.9 is stable below 3.8 / curvature, and
 *   the curvature is at most half the variance along one direction, of THAW_HEAD_NORM2 in all:
 *   0.01 is too high only where one direction holds three quarters of the variance.
 * - Few rows need as many steps as many rows do: 5 rows a class gain a point by MIN_STEPS.
 * - Smoothing 0.1 gains half a point in one cross-validation and loses as much in another. It is
 *   off, which keeps the probabilities honest. */
thaw_train_options thaw_train_defaults(thaw_head_kind kind, thaw_optimizer optimizer, int64_t n) {
    bool sgd = optimizer == THAW_OPTIMIZER_SGD, linear = kind == THAW_HEAD_LINEAR;
    int64_t batch = 64, steps = (n + batch - 1) / batch;
    int64_t epochs = steps > 0 ? (MIN_STEPS + steps - 1) / steps : 0;
    return (thaw_train_options){
        .kind = kind,
        .hidden = 256,
        .dropout = 0.2,
        .optimizer = optimizer,
        .lr = sgd ? (linear ? 0.01 : 0.02) : (linear ? 0.002 : 0.001),
        .momentum = 0.9,
        .weight_decay = sgd ? fmin((linear ? 64.0 : 20.0) / (double)n, 1) : 0.5,
        .schedule = THAW_SCHEDULE_COSINE,
        .warmup = 1,
        .label_smoothing = 0,
        .class_weights = THAW_CLASS_WEIGHTS_NONE,
        .epochs = epochs > MIN_EPOCHS ? epochs : MIN_EPOCHS,
        .batch = batch,
        .patience = 0,
        .solver = THAW_SOLVER_STEPS,
        .seed = 1,
    };
}

int64_t thaw_train_epochs(const thaw_train_options *options) {
    if (options->solver == THAW_SOLVER_STEPS) return options->epochs;
    return options->l2_path ? THAW_PROBE_POINTS : 1;
}

const thaw_train_ranges thaw_train_legal = {
#define X(field, least, most) .field = {least, most},
    THAW_TRAIN_RANGE_LIST(X)
#undef X
};

static thaw_status check_number(const char *name, double value, const thaw_range *legal,
                                thaw_error *err) {
    if (thaw_range_holds(legal, value)) return THAW_OK;
    return thaw_fail(err, THAW_ERR_USAGE, "%s is %g, it must be from %g to %g", name, value,
                     legal->least, legal->most);
}

static thaw_status check_options(const thaw_train_options *o, thaw_error *err) {
#define X(field, least, most) \
    THAW_TRY(check_number(#field, (double)o->field, &thaw_train_legal.field, err));
    THAW_TRAIN_RANGE_LIST(X)
#undef X
    return THAW_OK;
}

static thaw_status check_rows(const char *what, const thaw_rows *rows, int64_t D, int64_t K,
                              thaw_error *err) {
    if (rows->D != D)
        return thaw_fail(err, THAW_ERR_SHAPE, "the %s rows have %lld features, expected %lld", what,
                         (long long)rows->D, (long long)D);
    if (rows->sets && rows->sets->K != K)
        return thaw_fail(err, THAW_ERR_SHAPE, "the %s rows have %lld classes, expected %lld", what,
                         (long long)rows->sets->K, (long long)K);
    int64_t n_labels = rows->sets ? rows->sets->n : K;
    for (int64_t i = 0; i < rows->n; i++)
        if (rows->label[i] < 0 || rows->label[i] >= n_labels)
            return thaw_fail(err, THAW_ERR_DATA, "%s row %lld has label %d, expected 0 to %lld",
                             what, (long long)i, (int)rows->label[i], (long long)n_labels - 1);
    return THAW_OK;
}

static bool has_validation(const thaw_train_job *job) {
    return job->validation && job->validation->n > 0;
}

thaw_status thaw__train_check(const thaw_train_job *job, thaw_error *err) {
    THAW_TRY(check_options(&job->options, err));
    if (job->options.solver == THAW_SOLVER_LBFGS && job->options.kind != THAW_HEAD_LINEAR)
        return thaw_fail(err, THAW_ERR_USAGE,
                         "L-BFGS solves a linear head, and this one has a hidden layer");
    if (job->options.solver == THAW_SOLVER_LBFGS && job->options.l2_path && !has_validation(job))
        return thaw_fail(err, THAW_ERR_USAGE,
                         "there are no validation rows that could choose the penalty: give one");
    if (job->options.solver == THAW_SOLVER_LBFGS && job->train->sets)
        return thaw_fail(
            err, THAW_ERR_USAGE,
            "L-BFGS solves a head of softmax, and pictures of several classes need one of "
            "sigmoids: take head.solver = steps");
    if (job->K < 1 || job->train->n < 1 || job->train->D < 1)
        return thaw_fail(err, THAW_ERR_DATA,
                         "there is nothing to train on: %lld rows, %lld classes",
                         (long long)job->train->n, (long long)job->K);
    THAW_TRY(check_rows("training", job->train, job->train->D, job->K, err));
    if (job->views) THAW_TRY(check_rows("views'", job->views, job->train->D, job->K, err));
    if (!has_validation(job)) return THAW_OK;
    return check_rows("validation", job->validation, job->train->D, job->K, err);
}

/* ---- setting up ----------------------------------------------------------------------------- */

static thaw_status take_buffers(trainer *t, thaw_arena *arena, thaw_error *err) {
    const thaw_train_job *job = t->job;
    size_t B = (size_t)job->options.batch, D = (size_t)job->train->D, K = (size_t)job->K;
    size_t H = t->head->n_layers > 1 ? (size_t)t->head->layers[0].K : 0;
    size_t P = (size_t)t->head->n_params;
    bool weighted = job->options.class_weights == THAW_CLASS_WEIGHTS_BALANCED;
    t->order = thaw_arena_array(arena, (size_t)job->train->n, sizeof *t->order);
    t->index = thaw_arena_array(arena, B, sizeof *t->index);
    t->rates = thaw_arena_array(arena, (size_t)job->train->n / B + 1, sizeof *t->rates);
    t->x = thaw_arena_array(arena, B * D, sizeof(float));
    t->hidden = thaw_arena_array(arena, B * H, sizeof(float));
    t->dhidden = thaw_arena_array(arena, B * H, sizeof(float));
    t->logits = thaw_arena_array(arena, B * K, sizeof(float));
    t->loss = thaw_arena_array(arena, B, sizeof(float));
    t->label = thaw_arena_array(arena, B, sizeof *t->label);
    t->grad = thaw_arena_array(arena, P, sizeof(float));
    t->velocity = thaw_arena_array(arena, P, sizeof(float));
    t->second = thaw_arena_array(arena, P, sizeof(float));
    t->best = thaw_arena_array(arena, P, sizeof(float));
    t->target = thaw_arena_array(arena, job->train->sets ? B * K : 0, sizeof *t->target);
    if (weighted) t->class_weight = thaw_arena_array(arena, K, sizeof(float));
    if (weighted) t->class_rows = thaw_arena_array(arena, K, sizeof *t->class_rows);
    if (!t->order || !t->index || !t->rates || !t->x || !t->hidden || !t->dhidden || !t->logits ||
        !t->loss || !t->label || !t->target || !t->grad || !t->velocity || !t->second || !t->best ||
        (weighted && (!t->class_weight || !t->class_rows)))
        return thaw_fail_memory(err, "to train a head of %zu parameters", P);
    THAW_TRY(thaw_metrics_init(&t->validation, job->K, 0, arena, err));
    if (!has_validation(job)) return THAW_OK;
    return thaw_metrics_take_sets(&t->validation, job->validation->sets, job->validation->n, arena,
                                  err);
}

static thaw_status set_up(trainer *t, thaw_arena *arena, thaw_error *err) {
    const thaw_train_job *job = t->job;
    const thaw_train_options *o = &job->options;
    int64_t hidden = o->kind == THAW_HEAD_HIDDEN ? o->hidden : 0;
    THAW_TRY(thaw_head_init(t->head, job->train->D, hidden, job->K, o->seed, arena, err));
    THAW_TRY(take_buffers(t, arena, err));
    t->head->sigmoid = job->train->sets != NULL;
    THAW_TRY(thaw_head_fit_scale(t->head, job->train, o->batch, t->index, t->x, arena, err));
    if (t->class_weight && job->train->sets)
        thaw_steps_positive_weights(job->train->sets, job->train->label, job->train->n,
                                    t->class_rows, t->class_weight);
    else if (t->class_weight)
        thaw_steps_class_weights(job->train->label, job->train->n, job->K, t->class_rows,
                                 t->class_weight);
    t->schedule = thaw_steps_schedule(o, job->train->n);
    return THAW_OK;
}

/* ---- on a device ---------------------------------------------------------------------------- */

/* All rows, a buffer at a time; the first of them is the device's row `first`. */
static thaw_status put_rows(trainer *t, const thaw_rows *rows, int64_t first, thaw_error *err) {
    const thaw_head_slots *slots = t->job->backend->kernels->head;
    int64_t batch = t->job->options.batch;
    for (int64_t start = 0; start < rows->n; start += batch) {
        int64_t M = rows->n - start < batch ? rows->n - start : batch;
        for (int64_t m = 0; m < M; m++)
            t->index[m] = start + m;
        THAW_TRY(rows->gather(rows->ctx, t->index, M, t->x, err));
        if (slots->put_rows(t->on_device, first + start, M, t->x, err) != 0)
            return THAW_ERR_BACKEND;
    }
    return THAW_OK;
}

static thaw_status put_all_rows(trainer *t, thaw_error *err) {
    const thaw_train_job *job = t->job;
    THAW_TRY(put_rows(t, job->train, 0, err));
    return t->tiers.validates ? put_rows(t, job->validation, job->train->n, err) : THAW_OK;
}

static thaw_head_weights weights_of(const thaw_head *head) {
    thaw_head_weights weights = {0};
    for (int i = 0; i < head->n_layers; i++) {
        weights.w[i] = head->layers[i].w;
        weights.b[i] = head->layers[i].b;
    }
    return weights;
}

/* The head moves to the device, if there is one and its memory holds the rows. Otherwise
 * everything is as it was, with the reason in the note. */
static thaw_status move_to_device(trainer *t, thaw_error *err) {
    const thaw_train_job *job = t->job;
    const thaw_backend *backend = job->backend;
    if (!backend || !backend->kernels->head) return THAW_OK;
    if (job->views || job->train->sets) {
        snprintf(t->note, sizeof t->note, "the head is trained on the CPU: its %s",
                 job->views ? "rows have views"
                            : "scores are sigmoids, which no kernel on a GPU trains");
        return THAW_OK;
    }
    const thaw_train_options *o = &job->options;
    thaw_head_problem problem = {
        .n = job->train->n,
        .D = job->train->D,
        .K = job->K,
        .batch = o->batch,
        .hidden = t->head->n_layers > 1 ? t->head->layers[0].K : 0,
        .dropout = (float)o->dropout,
        .seed = o->seed,
        .label = job->train->label,
        .n_validation = has_validation(job) ? job->validation->n : 0,
        .validation_label = has_validation(job) ? job->validation->label : NULL,
        .class_weight = t->class_weight,
        .mean = t->head->mean,
        .scale = t->head->scale,
        .smoothing = (float)o->label_smoothing,
        .sgd = o->optimizer == THAW_OPTIMIZER_SGD,
        .momentum = (float)o->momentum,
        .weight_decay = (float)o->weight_decay,
        .beta1 = THAW_STEPS_BETA1,
        .beta2 = THAW_STEPS_BETA2,
        .eps = THAW_STEPS_EPSILON,
        .tf32 = job->tf32,
        .stored = job->train->stored,
        .device_bytes = job->device_bytes,
        .pinned_bytes = job->pinned_bytes,
    };
    thaw_error why = {0};
    thaw_head_weights start = weights_of(t->head);
    if (backend->kernels->head->create(backend->stream, &problem, &start, &t->on_device, &t->tiers,
                                       &why) == 0)
        return put_all_rows(t, err);
    t->on_device = NULL;
    if (why.code == THAW_ERR_NOMEM || why.code == THAW_ERR_UNSUPPORTED) {
        snprintf(t->note, sizeof t->note, "the head is trained on the CPU: %.400s", why.text);
        return THAW_OK;
    }
    return thaw_fail(err, THAW_ERR_BACKEND, "%s", why.text);
}

/* ---- one step ------------------------------------------------------------------------------- */

static thaw_status kernel_status(int code, thaw_error *err) {
    if (code == 0) return THAW_OK;
    return thaw_fail(err, THAW_ERR_BACKEND, "a kernel of the head failed with code %d", code);
}

/* M rows, scaled, into x and label. */
static thaw_status load_batch(trainer *t, const int64_t *rows, int64_t M, thaw_rng *choice,
                              thaw_error *err) {
    THAW_TRY(thaw_steps_load(t->job, rows, M, choice, t->index, t->x, t->label, err));
    thaw_head_scale(t->head, M, t->x);
    if (t->job->train->sets)
        thaw_steps_targets(t->job->train->sets, t->label, M, (float)t->job->options.label_smoothing,
                           t->target);
    return THAW_OK;
}

/* Adds the batch's right answers and weights to the epoch's; returns its sum of weights. */
static double count_batch(trainer *t, int64_t M) {
    int64_t K = t->job->K;
    const thaw_label_sets *sets = t->job->train->sets;
    if (sets) {
        t->epoch_right += thaw_steps_exact(sets, M, t->logits, t->label);
        t->epoch_weight += (double)M;
        return (double)M;
    }
    for (int64_t m = 0; m < M; m++)
        t->epoch_right += thaw_metrics_rank(K, t->logits + m * K, t->label[m]) == 0;
    double weight = thaw_steps_weight(t->class_weight, t->label, M);
    t->epoch_weight += weight;
    return weight;
}

/* Where a parameter's gradient, moment, ... lies in a copy of head->params. */
static float *beside(const trainer *t, float *copy, const float *param) {
    return copy + (param - t->head->params);
}

/* logits hold their gradient: the gradients of all parameters into grad. */
static int backward(trainer *t, int64_t M) {
    const thaw_top_slots *top = t->job->top;
    const thaw_layer *first = &t->head->layers[0], *last = &t->head->layers[t->head->n_layers - 1];
    const float *dy = t->logits;
    if (first != last) {
        int code = top->dense_backward(M, last->D, last->K, t->hidden, last->w, dy, t->dhidden,
                                       beside(t, t->grad, last->w), beside(t, t->grad, last->b));
        if (code) return code;
        /* A unit that relu or dropout has zeroed is 0, one that passed was scaled up. */
        float scale = (float)(1 / (1 - t->job->options.dropout));
        for (int64_t i = 0; i < M * first->K; i++)
            t->dhidden[i] = t->hidden[i] > 0 ? t->dhidden[i] * scale : 0;
        dy = t->dhidden;
    }
    return top->dense_backward(M, first->D, first->K, t->x, first->w, dy, NULL,
                               beside(t, t->grad, first->w), beside(t, t->grad, first->b));
}

static int update(trainer *t, int64_t n, float *w, double lr, double decay) {
    return thaw_steps_update(t->job->top, &t->job->options, n, w, beside(t, t->grad, w),
                             beside(t, t->velocity, w), beside(t, t->second, w), lr, decay,
                             t->step);
}

static int update_all(trainer *t, double lr) {
    for (int i = 0; i < t->head->n_layers; i++) {
        thaw_layer *layer = &t->head->layers[i];
        int code = update(t, layer->K * layer->D, layer->w, lr, t->job->options.weight_decay);
        if (!code) code = update(t, layer->K, layer->b, lr, 0);
        if (code) return code;
    }
    return 0;
}

/* Forward, backward and update on the M rows that are loaded. */
static int step_batch(trainer *t, int64_t M, double lr) {
    const thaw_train_job *job = t->job;
    const thaw_train_options *o = &job->options;
    thaw_dropout dropout = {thaw_rng_open(o->seed, THAW_RNG_DROPOUT, (uint64_t)t->step),
                            (float)o->dropout};
    int code = thaw_head_forward(t->head, job->top, M, t->x, o->dropout > 0 ? &dropout : NULL,
                                 t->hidden, t->logits);
    if (code) return code;
    double weight = count_batch(t, M);
    if (job->train->sets)
        code = job->top->sigmoid_cross_entropy(M, job->K, t->logits, t->target, t->class_weight,
                                               (float)weight, t->loss, t->logits);
    else
        code = job->top->softmax_cross_entropy(M, job->K, t->logits, t->label, t->class_weight,
                                               (float)o->label_smoothing, (float)weight, t->loss,
                                               t->logits);
    if (!code) code = backward(t, M);
    if (code) return code;
    for (int64_t m = 0; m < M; m++)
        t->epoch_loss += t->loss[m];
    t->step++;
    return update_all(t, lr);
}

/* ---- epochs --------------------------------------------------------------------------------- */

/* All steps of an epoch without the host; then the weights are the head's, as from the host's. */
static thaw_status epoch_on_device(trainer *t, thaw_epoch *epoch, thaw_error *err) {
    const thaw_train_job *job = t->job;
    int64_t steps = (job->train->n + job->options.batch - 1) / job->options.batch;
    for (int64_t s = 0; s < steps; s++)
        t->rates[s] = (float)(epoch->lr = thaw_schedule_lr(&t->schedule, t->step + s));
    thaw_head_epoch sums;
    thaw_head_weights end = weights_of(t->head);
    if (job->backend->kernels->head->epoch(t->on_device, t->order, t->rates, t->step, &end, &sums,
                                           err) != 0)
        return THAW_ERR_BACKEND;
    t->step += steps;
    t->epoch_loss = sums.loss;
    t->epoch_weight = sums.weight;
    t->epoch_right = sums.n_right;
    return THAW_OK;
}

static thaw_status train_epoch(trainer *t, thaw_epoch *epoch, thaw_error *err) {
    int64_t n = t->job->train->n, batch = t->job->options.batch;
    thaw_rng choice = thaw_steps_order(&t->job->options, epoch->epoch, n, t->order);
    t->epoch_loss = t->epoch_weight = 0;
    t->epoch_right = 0;
    if (t->on_device) THAW_TRY(epoch_on_device(t, epoch, err));
    for (int64_t start = 0; start < n && !t->on_device; start += batch) {
        int64_t M = n - start < batch ? n - start : batch;
        THAW_TRY(load_batch(t, t->order + start, M, &choice, err));
        epoch->lr = thaw_schedule_lr(&t->schedule, t->step);
        THAW_TRY(kernel_status(step_batch(t, M, epoch->lr), err));
    }
    epoch->train_loss = t->epoch_loss / t->epoch_weight;
    epoch->train_top1 = (double)t->epoch_right / (double)n;
    if (isfinite(epoch->train_loss)) return THAW_OK;
    return thaw_fail(err, THAW_ERR_USAGE,
                     "the training loss is not finite in epoch %lld: the learning rate %g is too "
                     "high",
                     (long long)epoch->epoch, t->job->options.lr);
}

/* Buffers of M rows that scoring needs. */
typedef struct score_buffers {
    int64_t *index;
    float *x, *hidden, *logits;
} score_buffers;

static thaw_status score(const thaw_head *head, const thaw_top_slots *top, const thaw_rows *rows,
                         int64_t batch, const score_buffers *buffers, thaw_metrics *metrics,
                         thaw_error *err) {
    thaw_metrics_reset(metrics);
    for (int64_t start = 0; start < rows->n; start += batch) {
        int64_t M = rows->n - start < batch ? rows->n - start : batch;
        for (int64_t m = 0; m < M; m++)
            buffers->index[m] = start + m;
        THAW_TRY(rows->gather(rows->ctx, buffers->index, M, buffers->x, err));
        thaw_head_scale(head, M, buffers->x);
        THAW_TRY(kernel_status(
            thaw_head_forward(head, top, M, buffers->x, NULL, buffers->hidden, buffers->logits),
            err));
        thaw_metrics_add(metrics, M, buffers->logits, rows->label + start);
    }
    thaw_metrics_finish(metrics);
    return THAW_OK;
}

static thaw_status validate_on_device(trainer *t, thaw_epoch *epoch, thaw_error *err) {
    thaw_head_epoch sums;
    if (t->job->backend->kernels->head->validate(t->on_device, &sums, err) != 0)
        return THAW_ERR_BACKEND;
    epoch->validation_loss = sums.loss / sums.weight;
    epoch->validation_top1 = (double)sums.n_right / sums.weight;
    return THAW_OK;
}

static thaw_status validate(trainer *t, thaw_epoch *epoch, thaw_error *err) {
    const thaw_train_job *job = t->job;
    epoch->validation_loss = epoch->validation_top1 = NAN;
    epoch->validation_map = epoch->validation_f1_micro = epoch->validation_f1_macro = NAN;
    if (!has_validation(job)) return THAW_OK;
    if (t->on_device && t->tiers.validates) return validate_on_device(t, epoch, err);
    score_buffers buffers = {t->index, t->x, t->hidden, t->logits};
    THAW_TRY(score(t->head, job->top, job->validation, job->options.batch, &buffers, &t->validation,
                   err));
    thaw_steps_validated(&t->validation, epoch);
    return THAW_OK;
}

/* Keeps the epoch's weights when they are the best so far: what is left of a training that is stopped, and
 * with patience of one that is not. */
static void keep(trainer *t, const thaw_epoch *epoch, thaw_train_result *result) {
    bool best = !has_validation(t->job) || result->kept.epoch == 0 ||
                epoch->validation_loss < result->kept.validation_loss;
    if (!best) return;
    result->kept = *epoch;
    memcpy(t->best, t->head->params, (size_t)t->head->n_params * sizeof(float));
}

static thaw_status run_epochs(trainer *t, thaw_train_result *result, thaw_error *err) {
    const thaw_train_job *job = t->job;
    const thaw_train_options *o = &job->options;
    for (int64_t i = 1; i <= o->epochs; i++) {
        thaw_epoch epoch = {.epoch = i, .several = job->train->sets};
        double start = thaw_now_s();
        THAW_TRY(train_epoch(t, &epoch, err));
        THAW_TRY(validate(t, &epoch, err));
        epoch.seconds = thaw_now_s() - start;
        result->epochs_run = result->passes = i;
        keep(t, &epoch, result);
        if (job->on_epoch && job->on_epoch(job->ctx, &epoch) != 0)
            return thaw_fail(err, THAW_ERR_INTERRUPTED, "training was stopped after epoch %lld",
                             (long long)i);
        if (o->patience > 0 && i - result->kept.epoch >= o->patience) break;
        if (o->patience == 0 && i == o->epochs) { /* Then the last is kept. */
            result->kept = epoch;
            memcpy(t->best, t->head->params, (size_t)t->head->n_params * sizeof(float));
        }
    }
    return THAW_OK;
}

thaw_status thaw_train(const thaw_train_job *job, thaw_arena *arena, thaw_head *head,
                       thaw_train_result *result, thaw_error *err) {
    trainer t = {.job = job, .head = head};
    *result = (thaw_train_result){0};
    THAW_TRY(thaw__train_check(job, err));
    THAW_TRY(set_up(&t, arena, err));
    result->n_constant = head->n_constant;
    if (job->untrained) return THAW_OK;
    if (job->options.solver == THAW_SOLVER_LBFGS) {
        thaw_status status = thaw__probe(job, t.class_weight, head, result, err);
        if (status != THAW_OK && status != THAW_ERR_INTERRUPTED) return status;
        if (!job->unfolded) thaw_head_fold(head);
        return status;
    }
    thaw_status status = move_to_device(&t, err);
    if (status == THAW_OK) status = run_epochs(&t, result, err);
    if (t.on_device) job->backend->kernels->head->destroy(t.on_device);
    memcpy(result->note, t.note, sizeof result->note);
    result->tiers = t.tiers;
    if (status != THAW_OK && status != THAW_ERR_INTERRUPTED) return status;
    memcpy(head->params, t.best, (size_t)head->n_params * sizeof(float));
    if (!job->unfolded) thaw_head_fold(head);
    return status;
}

/* ---- scoring, rows -------------------------------------------------------------------------- */

thaw_status thaw_evaluate(const thaw_head *head, const thaw_top_slots *top, const thaw_rows *rows,
                          int64_t batch, thaw_arena *arena, thaw_metrics *metrics,
                          thaw_error *err) {
    int64_t K = head->layers[head->n_layers - 1].K;
    size_t B = (size_t)batch, D = (size_t)head->layers[0].D;
    size_t H = head->n_layers > 1 ? (size_t)head->layers[0].K : 0;
    THAW_TRY(check_rows("evaluated", rows, head->layers[0].D, K, err));
    score_buffers buffers = {
        .index = thaw_arena_array(arena, B, sizeof(int64_t)),
        .x = thaw_arena_array(arena, B * D, sizeof(float)),
        .hidden = thaw_arena_array(arena, B * H, sizeof(float)),
        .logits = thaw_arena_array(arena, B * (size_t)K, sizeof(float)),
    };
    if (!buffers.index || !buffers.x || !buffers.hidden || !buffers.logits)
        return thaw_fail_memory(err, "to score %lld rows", (long long)batch);
    THAW_TRY(thaw_metrics_init(metrics, K, rows->n, arena, err));
    THAW_TRY(thaw_metrics_take_sets(metrics, rows->sets, rows->n, arena, err));
    metrics->temperature = head->temperature;
    return score(head, top, rows, batch, &buffers, metrics, err);
}

static thaw_status gather_array(void *ctx, const int64_t *index, int64_t M, float *out,
                                thaw_error *err) {
    const thaw_row_array *array = ctx;
    return kernel_status(array->top->gather(M, array->D, array->x, index, out), err);
}

thaw_rows thaw_rows_of_array(thaw_row_array *array, int64_t n, const int32_t *label) {
    return (thaw_rows){.n = n, .D = array->D, .gather = gather_array, .ctx = array, .label = label};
}
