/* Training a head: it learns, its gradient is right, its options do what they say, and every run
 * of the same job gives the same bits, from memory or not, with any number of threads. */
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "top/steps.h"

static const thaw_top_slots *const top = &thaw_cpu_kernels.top;

/* ---- toy data ------------------------------------------------------------------------------- */

typedef struct toy {
    thaw_arena arena;
    float *x;
    int32_t *label;
    thaw_row_array array;
    thaw_rows rows;
} toy;

/* n rows around K random centres; noise: their standard deviation (the centres' is 1). Feature 0
 * is constant and feature 1 ten times as large as the others. The class of row i is i % K,
 * or, skewed, 0 for all but every tenth. */
static void make_toy(toy *t, int64_t n, int64_t D, int K, float noise, bool skewed,
                     uint64_t stream) {
    *t = (toy){0};
    t->x = thaw_arena_array(&t->arena, (size_t)(n * D), sizeof *t->x);
    t->label = thaw_arena_array(&t->arena, (size_t)n, sizeof *t->label);
    for (int64_t i = 0; i < n; i++) {
        t->label[i] = (int32_t)(skewed ? (i % 10 == 0) : i % K);
        thaw_rng centre = thaw_rng_open(5, THAW_RNG_INIT, 100 + (uint64_t)t->label[i]);
        thaw_rng spread = thaw_rng_open(5, THAW_RNG_INIT, 1000 * stream + 1000 + (uint64_t)i);
        for (int64_t d = 0; d < D; d++)
            t->x[i * D + d] = 2 + thaw_rng_normal(&centre) + noise * thaw_rng_normal(&spread);
        t->x[i * D] = 0.1f;
        if (D > 1) t->x[i * D + 1] *= 10;
    }
    t->array = (thaw_row_array){top, t->x, D};
    t->rows = thaw_rows_of_array(&t->array, n, t->label);
}

static thaw_train_job job_on(const toy *t, int64_t K) {
    thaw_train_job job = {.top = top, .K = K, .train = &t->rows};
    job.options = thaw_train_defaults(THAW_HEAD_LINEAR, THAW_OPTIMIZER_SGD, t->rows.n);
    return job;
}

static thaw_metrics score(const thaw_head *head, const thaw_rows *rows, thaw_arena *arena) {
    thaw_metrics metrics;
    assert_int_equal(thaw_evaluate(head, top, rows, 17, arena, &metrics, NULL), THAW_OK);
    return metrics;
}

static void same_head(const thaw_head *a, const thaw_head *b) {
    assert_int_equal(a->n_params, b->n_params);
    assert_memory_equal(a->params, b->params, (size_t)a->n_params * sizeof(float));
}

/* ---- views ---------------------------------------------------------------------------------- */

/* Each row twice or more: the same, or with one number added to every second one. */
static void make_views(toy *views, const toy *t, int64_t n_views, float added) {
    int64_t n = t->rows.n, D = t->rows.D;
    *views = (toy){0};
    views->x = thaw_arena_array(&views->arena, (size_t)(n * n_views * D), sizeof *views->x);
    views->label = thaw_arena_array(&views->arena, (size_t)(n * n_views), sizeof *views->label);
    for (int64_t i = 0; i < n * n_views; i++) {
        views->label[i] = t->label[i / n_views];
        for (int64_t d = 0; d < D; d++)
            views->x[i * D + d] = t->x[i / n_views * D + d] + (i % n_views % 2 ? added : 0);
    }
    views->array = (thaw_row_array){top, views->x, D};
    views->rows = thaw_rows_of_array(&views->array, n * n_views, views->label);
}

/* An epoch looks at one view of each row: where they are the same, nothing else happens than without
 * views. */
static void test_views(void **state) {
    (void)state;
    thaw_arena arena = {0};
    toy t, same, other;
    make_toy(&t, 90, 12, 3, 0.8f, false, 1);
    make_views(&same, &t, 3, 0);
    make_views(&other, &t, 3, 0.7f);
    thaw_train_job job = job_on(&t, 3);
    thaw_head plain, head, again;
    thaw_train_result result;
    assert_int_equal(thaw_train(&job, &arena, &plain, &result, NULL), THAW_OK);
    job.views = &same.rows;
    job.n_views = 3;
    assert_int_equal(thaw_train(&job, &arena, &head, &result, NULL), THAW_OK);
    same_head(&plain, &head);
    job.views = &other.rows;
    assert_int_equal(thaw_train(&job, &arena, &head, &result, NULL), THAW_OK);
    assert_int_equal(thaw_train(&job, &arena, &again, &result, NULL), THAW_OK);
    same_head(&head, &again);
    assert_memory_not_equal(plain.params, head.params, (size_t)plain.n_params * sizeof(float));
    job.options.solver = THAW_SOLVER_LBFGS;
    assert_int_equal(thaw_train(&job, &arena, &head, &result, NULL), THAW_OK);
    job.views = &same.rows; /* Three times the same sum, over three times the rows. */
    assert_int_equal(thaw_train(&job, &arena, &again, &result, NULL), THAW_OK);
    assert_memory_not_equal(again.params, head.params, (size_t)head.n_params * sizeof(float));
    job.views = NULL;
    assert_int_equal(thaw_train(&job, &arena, &plain, &result, NULL), THAW_OK);
    for (int64_t i = 0; i < plain.n_params; i++)
        assert_true(fabsf(plain.params[i] - again.params[i]) <=
                    1e-4f * (1 + fabsf(plain.params[i])));
    thaw_arena_free(&t.arena);
    thaw_arena_free(&same.arena);
    thaw_arena_free(&other.arena);
    thaw_arena_free(&arena);
}

/* ---- learning ------------------------------------------------------------------------------- */

typedef struct learn_case {
    const char *name;
    thaw_head_kind kind;
    thaw_optimizer optimizer;
    int64_t n, D;
    int K;
} learn_case;

static const learn_case learn_cases[] = {
    {"linear sgd", THAW_HEAD_LINEAR, THAW_OPTIMIZER_SGD, 120, 20, 4},
    {"linear adamw", THAW_HEAD_LINEAR, THAW_OPTIMIZER_ADAMW, 120, 20, 4},
    {"hidden sgd", THAW_HEAD_HIDDEN, THAW_OPTIMIZER_SGD, 120, 20, 4},
    {"hidden adamw", THAW_HEAD_HIDDEN, THAW_OPTIMIZER_ADAMW, 120, 20, 4},
    {"one row a class", THAW_HEAD_LINEAR, THAW_OPTIMIZER_SGD, 3, 50, 3},
    {"one class", THAW_HEAD_LINEAR, THAW_OPTIMIZER_SGD, 5, 6, 1},
    {"last batch of one", THAW_HEAD_HIDDEN, THAW_OPTIMIZER_SGD, 65, 9, 2},
};

static void test_learns_separable_data(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof learn_cases / sizeof *learn_cases; i++) {
        const learn_case *c = &learn_cases[i];
        toy train, test;
        make_toy(&train, c->n, c->D, c->K, 0.1f, false, 1);
        make_toy(&test, 50, c->D, c->K, 0.1f, false, 2);
        thaw_train_job job = job_on(&train, c->K);
        job.options = thaw_train_defaults(c->kind, c->optimizer, c->n);
        thaw_head head;
        thaw_train_result result;
        thaw_error err;
        if (thaw_train(&job, &train.arena, &head, &result, &err)) fail_msg("%s", err.text);
        double top1 = score(&head, &train.rows, &train.arena).top1;
        double test1 = score(&head, &test.rows, &test.arena).top1;
        if (!(top1 == 1 && test1 == 1)) fail_msg("%s: top-1 is %g, %g", c->name, top1, test1);
        assert_int_equal(result.kept.epoch, job.options.epochs);
        assert_int_equal(result.n_constant, 1); /* Feature 0. */
        thaw_arena_free(&train.arena);
        thaw_arena_free(&test.arena);
    }
}

/* All features constant, or rows from a single point: nothing to learn, nothing to blow up. */
static void test_constant_features(void **state) {
    (void)state;
    toy t;
    make_toy(&t, 10, 1, 2, 0, false, 1);
    thaw_train_job job = job_on(&t, 2);
    thaw_head head;
    thaw_train_result result;
    assert_int_equal(thaw_train(&job, &t.arena, &head, &result, NULL), THAW_OK);
    for (int64_t i = 0; i < head.n_params; i++)
        assert_true(isfinite(head.params[i]) && fabsf(head.params[i]) < 1e-2f);
    assert_int_equal(result.n_constant, 1); /* The only one: the caller can say so. */
    thaw_arena_free(&t.arena);
}

/* ---- gradient ------------------------------------------------------------------------------- */

/* The objective of a head with one hidden layer on one batch, in double: the reference. */
static double objective(const double *p, int64_t M, int64_t D, int64_t H, int64_t K, const float *x,
                        const int32_t *label, double smoothing) {
    const double *w1 = p, *b1 = w1 + H * D, *w2 = b1 + H, *b2 = w2 + K * H;
    double loss = 0, h[16], z[16];
    for (int64_t m = 0; m < M; m++) {
        double sum = 0;
        for (int64_t j = 0; j < H; j++) {
            h[j] = b1[j];
            for (int64_t d = 0; d < D; d++)
                h[j] += w1[j * D + d] * x[m * D + d];
            h[j] = fmax(h[j], 0);
        }
        for (int64_t k = 0; k < K; k++) {
            z[k] = b2[k];
            for (int64_t j = 0; j < H; j++)
                z[k] += w2[k * H + j] * h[j];
            sum += exp(z[k]);
        }
        for (int64_t k = 0; k < K; k++)
            loss -=
                (smoothing / (double)K + (k == label[m] ? 1 - smoothing : 0)) * (z[k] - log(sum));
    }
    return loss / (double)M;
}

/* SGD without momentum at rate 1 moves a parameter by minus its gradient: one epoch of one batch
 * shows what the trainer's gradient was. Two epochs, so that the last layer is not zero. */
static void test_gradient(void **state) {
    (void)state;
    enum { M = 12, D = 5, H = 6, K = 3, P = H * D + H + K * H + K };
    toy t;
    make_toy(&t, M, D, K, 1, false, 1);
    for (int m = 0; m < M; m++)
        t.x[m * D] += 0.1f * (float)m; /* A constant feature's weight folds to 0. */
    thaw_train_job job = job_on(&t, K);
    job.options.kind = THAW_HEAD_HIDDEN;
    job.options.hidden = H;
    job.options.schedule = THAW_SCHEDULE_CONSTANT;
    job.options.lr = 0.05;
    job.options.dropout = job.options.momentum = job.options.warmup = 0;
    job.options.weight_decay = 0;
    job.options.label_smoothing = 0.1;
    job.options.batch = M;
    thaw_head before, after, scaled;
    thaw_train_result result;
    job.options.epochs = 2;
    assert_int_equal(thaw_train(&job, &t.arena, &before, &result, NULL), THAW_OK);
    job.options.epochs = 3;
    assert_int_equal(thaw_train(&job, &t.arena, &after, &result, NULL), THAW_OK);

    /* Folding hides the scaled parameters: w_folded = w scale, b_folded = b - w_folded . mean. */
    int64_t index[M];
    float z[M * D];
    assert_int_equal(thaw_head_init(&scaled, D, H, K, 1, &t.arena, NULL), THAW_OK);
    assert_int_equal(thaw_head_fit_scale(&scaled, &t.rows, M, index, z, &t.arena, NULL), THAW_OK);
    double p[2][P];
    for (int i = 0; i < 2; i++) {
        const thaw_head *head = i ? &after : &before;
        for (int j = 0; j < P; j++)
            p[i][j] = head->params[j];
        for (int h = 0; h < H; h++)
            for (int d = 0; d < D; d++) {
                p[i][H * D + h] += p[i][h * D + d] * scaled.mean[d];
                p[i][h * D + d] /= scaled.scale[d];
            }
    }
    memcpy(z, t.x, sizeof z);
    thaw_head_scale(&scaled, M, z);
    for (int j = 0; j < P; j++) {
        const double step = 1e-5;
        double kept = p[0][j];
        p[0][j] = kept + step;
        double above = objective(p[0], M, D, H, K, z, t.label, 0.1);
        p[0][j] = kept - step;
        double below = objective(p[0], M, D, H, K, z, t.label, 0.1);
        p[0][j] = kept;
        double want = (above - below) / (2 * step), got = (kept - p[1][j]) / 0.05;
        if (!(fabs(got - want) <= 2e-3 * (1 + fabs(want))))
            fail_msg("parameter %d: gradient %g, finite difference %g", j, got, want);
    }
    thaw_arena_free(&t.arena);
}

/* ---- determinism ---------------------------------------------------------------------------- */

/* Rows that are not in one piece of memory: read one by one through another function. */
static thaw_status gather_slowly(void *ctx, const int64_t *index, int64_t M, float *out,
                                 thaw_error *err) {
    (void)err;
    const thaw_row_array *array = ctx;
    for (int64_t m = 0; m < M; m++)
        for (int64_t d = 0; d < array->D; d++)
            out[m * array->D + d] = array->x[index[m] * array->D + d];
    return THAW_OK;
}

static void test_same_bits(void **state) {
    (void)state;
    toy t;
    /* Big enough that the dense kernels use threads. */
    make_toy(&t, 300, 600, 3, 2, false, 1);
    thaw_rows other = t.rows;
    other.gather = gather_slowly;
    thaw_train_job job = job_on(&t, 3);
    job.options = thaw_train_defaults(THAW_HEAD_HIDDEN, THAW_OPTIMIZER_ADAMW, 300);
    job.options.hidden = 400;
    job.options.batch = 150;
    job.options.epochs = 2;
    thaw_head heads[4];
    for (int i = 0; i < 4; i++) {
        thaw_train_result result;
        omp_set_num_threads(1 + i);
        job.train = i == 2 ? &other : &t.rows;
        assert_int_equal(thaw_train(&job, &t.arena, &heads[i], &result, NULL), THAW_OK);
        same_head(&heads[0], &heads[i]);
    }
    job.options.seed = 2;
    thaw_train_result result;
    assert_int_equal(thaw_train(&job, &t.arena, &heads[1], &result, NULL), THAW_OK);
    assert_memory_not_equal(heads[0].params, heads[1].params, 100 * sizeof(float));
    thaw_arena_free(&t.arena);
}

/* ---- early stopping, stopping --------------------------------------------------------------- */

typedef struct history {
    int n, stop_after;
    size_t bytes; /* Of the arena after the first epoch. */
    const thaw_arena *arena;
    thaw_epoch epochs[300];
} history;

static int record(void *ctx, const thaw_epoch *epoch) {
    history *l = ctx;
    if (l->n == 0) l->bytes = l->arena->used_bytes;
    assert_int_equal(l->arena->used_bytes, l->bytes);
    l->epochs[l->n++] = *epoch;
    return l->n == l->stop_after;
}

static void test_early_stopping_restores_the_best(void **state) {
    (void)state;
    toy train, validation;
    make_toy(&train, 24, 60, 3, 4, false, 1); /* Too few and too noisy: it overfits. */
    make_toy(&validation, 90, 60, 3, 4, false, 2);
    history l = {.arena = &train.arena};
    thaw_train_job job = job_on(&train, 3);
    job.validation = &validation.rows;
    job.on_epoch = record;
    job.ctx = &l;
    job.options.epochs = 60;
    job.options.patience = 4;
    job.options.weight_decay = 0;
    job.options.warmup = 0;
    job.options.schedule = THAW_SCHEDULE_CONSTANT;
    thaw_head head, reference;
    thaw_train_result result;
    assert_int_equal(thaw_train(&job, &train.arena, &head, &result, NULL), THAW_OK);
    int64_t best = result.kept.epoch;
    assert_int_equal(result.epochs_run, best + 4);
    assert_int_equal(l.n, result.epochs_run);
    for (int i = 0; i < l.n; i++)
        assert_true(l.epochs[i].validation_loss >= result.kept.validation_loss);
    double loss = score(&head, &validation.rows, &train.arena).loss;
    assert_true(fabs(loss - result.kept.validation_loss) < 1e-5);

    /* The same weights as a run that ends there. */
    job.options.epochs = best;
    job.options.patience = 0;
    job.on_epoch = NULL;
    assert_int_equal(thaw_train(&job, &train.arena, &reference, &result, NULL), THAW_OK);
    same_head(&head, &reference);
    thaw_arena_free(&train.arena);
    thaw_arena_free(&validation.arena);
}

static void test_callback_stops(void **state) {
    (void)state;
    toy t;
    make_toy(&t, 40, 10, 2, 0.1f, false, 1);
    history l = {.stop_after = 3, .arena = &t.arena};
    thaw_train_job job = job_on(&t, 2);
    job.on_epoch = record;
    job.ctx = &l;
    thaw_head head;
    thaw_train_result result;
    thaw_error err;
    assert_int_equal(thaw_train(&job, &t.arena, &head, &result, &err), THAW_ERR_INTERRUPTED);
    assert_int_equal(result.epochs_run, 3);
    assert_true(head.mean == NULL);
    assert_true(score(&head, &t.rows, &t.arena).top1 == 1);
    assert_true(isnan(l.epochs[0].validation_loss) && l.epochs[0].train_loss > 0);
    thaw_arena_free(&t.arena);
}

/* ---- options -------------------------------------------------------------------------------- */

static void test_class_weights_help_the_rare_class(void **state) {
    (void)state;
    toy train, test;
    make_toy(&train, 200, 8, 2, 1.5f, true, 1); /* 1 of 10 rows is of class 1. */
    make_toy(&test, 600, 8, 2, 1.5f, false, 2);
    double balanced[2];
    for (int i = 0; i < 2; i++) {
        thaw_train_job job = job_on(&train, 2);
        job.options.class_weights = i ? THAW_CLASS_WEIGHTS_BALANCED : THAW_CLASS_WEIGHTS_NONE;
        thaw_head head;
        thaw_train_result result;
        assert_int_equal(thaw_train(&job, &train.arena, &head, &result, NULL), THAW_OK);
        balanced[i] = score(&head, &test.rows, &train.arena).balanced;
    }
    if (!(balanced[1] > balanced[0] + 0.05)) fail_msg("%g, then %g", balanced[0], balanced[1]);
    thaw_arena_free(&train.arena);
    thaw_arena_free(&test.arena);
}

static void near(double got, double want) {
    if (!(fabs(got - want) <= 1e-12)) fail_msg("%.15g, expected %.15g", got, want);
}

/* More rows of a class than a float counts to, which is 2^24. */
static void test_class_weights_of_many_rows(void **state) {
    (void)state;
    const int64_t rare = 1 << 20, common = 3 * ((int64_t)1 << 23), n = rare + common;
    int32_t *label = calloc((size_t)n, sizeof *label);
    assert_non_null(label);
    for (int64_t i = 0; i < rare; i++)
        label[i] = 2;
    int64_t count[3];
    float weight[3];
    thaw_steps_class_weights(label, n, 3, count, weight);
    free(label);
    assert_true(count[0] == common && count[1] == 0 && count[2] == rare);
    assert_true(weight[0] == (float)((double)n / (2.0 * (double)common)));
    assert_true(weight[1] == 1);
    assert_true(weight[2] == (float)((double)n / (2.0 * (double)rare)));
}

static void test_schedules(void **state) {
    (void)state;
    thaw_schedule s = {THAW_SCHEDULE_COSINE, 0.8, 4, 104};
    near(thaw_schedule_lr(&s, 0), 0.2);
    near(thaw_schedule_lr(&s, 3), 0.8);
    near(thaw_schedule_lr(&s, 4), 0.8);
    near(thaw_schedule_lr(&s, 4 + 25), 0.4 * (1 + sqrt(0.5)));
    near(thaw_schedule_lr(&s, 4 + 50), 0.4);
    near(thaw_schedule_lr(&s, 103), 0.4 * (1 - cos(3.14159265358979323846 / 100)));
    s.kind = THAW_SCHEDULE_STEP;
    near(thaw_schedule_lr(&s, 1), 0.4);
    near(thaw_schedule_lr(&s, 53), 0.8);
    near(thaw_schedule_lr(&s, 54), 0.08);
    near(thaw_schedule_lr(&s, 78), 0.08);
    near(thaw_schedule_lr(&s, 79), 0.008);
    s.kind = THAW_SCHEDULE_CONSTANT;
    near(thaw_schedule_lr(&s, 50), 0.8);
    s.warmup_steps = 1000; /* Longer than the training: never reaches the top. */
    near(thaw_schedule_lr(&s, 103), 0.8 * 104 / 1000);
}

/* At zero weights every class has probability 1/K: the first loss is ln K however smooth. With one
 * class dominating, the smallest loss that smoothing allows is the target's entropy. */
static void test_label_smoothing(void **state) {
    (void)state;
    toy t;
    make_toy(&t, 60, 20, 3, 0.01f, false, 1);
    thaw_train_job job = job_on(&t, 3);
    history l = {.arena = &t.arena};
    job.on_epoch = record;
    job.ctx = &l;
    job.options.label_smoothing = 0.3;
    job.options.weight_decay = 0;
    job.options.epochs = 300;
    thaw_head head;
    thaw_train_result result;
    assert_int_equal(thaw_train(&job, &t.arena, &head, &result, NULL), THAW_OK);
    double entropy = -0.8 * log(0.8) - 2 * 0.1 * log(0.1);
    assert_true(fabs(l.epochs[0].train_loss - log(3)) < 1e-5); /* One batch, one step. */
    assert_true(l.epochs[299].train_loss > entropy - 1e-5);
    assert_true(l.epochs[299].train_loss < entropy + 1e-2);
    thaw_arena_free(&t.arena);
}

static void test_folded_equals_unfolded(void **state) {
    (void)state;
    enum { M = 64, D = 33, H = 10, K = 4 };
    toy t;
    make_toy(&t, M, D, K, 1, false, 1);
    for (int hidden = 0; hidden <= H; hidden += H) {
        thaw_head head;
        int64_t index[M];
        float z[M * D], h[M * H], scaled[M * K], folded[M * K];
        assert_int_equal(thaw_head_init(&head, D, hidden, K, 1, &t.arena, NULL), THAW_OK);
        thaw_rng rng = thaw_rng_open(9, THAW_RNG_INIT, 0);
        for (int64_t i = 0; i < head.n_params; i++)
            head.params[i] = 0.03f * thaw_rng_normal(&rng);
        assert_int_equal(thaw_head_fit_scale(&head, &t.rows, M, index, z, &t.arena, NULL), THAW_OK);
        memcpy(z, t.x, sizeof z);
        thaw_head_scale(&head, M, z);
        double norm2 = 0;
        for (int i = 0; i < M * D; i++)
            norm2 += (double)z[i] * z[i] / M;
        assert_true(fabs(norm2 - THAW_HEAD_NORM2) < 1e-2);
        assert_int_equal(thaw_head_forward(&head, top, M, z, NULL, h, scaled), 0);
        thaw_head_fold(&head);
        memcpy(z, t.x, sizeof z);
        thaw_head_scale(&head, M, z); /* Nothing. */
        assert_memory_equal(z, t.x, sizeof z);
        assert_int_equal(thaw_head_forward(&head, top, M, z, NULL, h, folded), 0);
        for (int i = 0; i < M * K; i++)
            assert_true(fabsf(folded[i] - scaled[i]) <= 1e-5f * (1 + fabsf(scaled[i])));
        thaw_dense layers[THAW_HEAD_MAX_LAYERS];
        assert_int_equal(thaw_head_layers(&head, layers), hidden ? 2 : 1);
        assert_true(layers[0].relu == (hidden > 0) && layers[0].D == D);
    }
    thaw_arena_free(&t.arena);
}

/* What is good without tuning follows from the number of rows; trainer.c has the measurements. */
static void test_defaults(void **state) {
    (void)state;
    static const struct {
        int64_t n, epochs;
        double weight_decay;
    } cases[] = {
        {34, 300, 1}, {64, 300, 1}, {65, 150, 64.0 / 65}, {640, 30, 0.1}, {64000, 30, 1e-3}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        thaw_train_options o =
            thaw_train_defaults(THAW_HEAD_LINEAR, THAW_OPTIMIZER_SGD, cases[i].n);
        assert_int_equal(o.epochs, cases[i].epochs);
        near(o.weight_decay, cases[i].weight_decay);
        assert_int_equal(o.patience, 0);
    }
}

/* Where no feature tells the classes apart, the biases say how rare each is, whatever the decay. */
static void test_biases_do_not_decay(void **state) {
    (void)state;
    enum { N = 200, D = 8 };
    toy t;
    make_toy(&t, N, D, 2, 1, true, 1); /* 1 of 10 rows is of class 1. */
    for (int i = 0; i < N * D; i++)
        t.x[i] = 1;
    thaw_train_job job = job_on(&t, 2);
    job.options.weight_decay = 10;
    job.options.epochs = 300;
    thaw_head head;
    thaw_train_result result;
    assert_int_equal(thaw_train(&job, &t.arena, &head, &result, NULL), THAW_OK);
    double least = -(0.9 * log(0.9) + 0.1 * log(0.1));
    assert_true(fabs(score(&head, &t.rows, &t.arena).loss - least) < 0.01);
    thaw_arena_free(&t.arena);
}

static void test_dropout_changes_what_is_learnt(void **state) {
    (void)state;
    toy t;
    make_toy(&t, 60, 10, 3, 1, false, 1);
    thaw_head heads[2];
    for (int i = 0; i < 2; i++) {
        thaw_train_job job = job_on(&t, 3);
        job.options = thaw_train_defaults(THAW_HEAD_HIDDEN, THAW_OPTIMIZER_SGD, t.rows.n);
        job.options.hidden = 16;
        job.options.epochs = 3;
        job.options.dropout = i ? 0.5 : 0;
        thaw_train_result result;
        assert_int_equal(thaw_train(&job, &t.arena, &heads[i], &result, NULL), THAW_OK);
    }
    assert_memory_not_equal(heads[0].params, heads[1].params,
                            (size_t)heads[0].n_params * sizeof(float));
    thaw_arena_free(&t.arena);
}

/* ---- refusals ------------------------------------------------------------------------------- */

static void expect(const thaw_train_job *job, toy *t, thaw_status want, const char *words) {
    thaw_head head;
    thaw_train_result result;
    thaw_error err = {0};
    assert_int_equal(thaw_train(job, &t->arena, &head, &result, &err), want);
    if (!strstr(err.text, words)) fail_msg("\"%s\" lacks \"%s\"", err.text, words);
}

static void test_refusals(void **state) {
    (void)state;
    toy t, narrow;
    make_toy(&t, 10, 4, 2, 0.1f, false, 1);
    make_toy(&narrow, 10, 3, 2, 0.1f, false, 1);
    thaw_train_job job = job_on(&t, 2);
    job.options.lr = NAN;
    expect(&job, &t, THAW_ERR_USAGE, "lr is nan");
    job = job_on(&t, 2);
    job.options.batch = 0;
    expect(&job, &t, THAW_ERR_USAGE, "batch is 0");
    job = job_on(&t, 2);
    job.validation = &narrow.rows;
    expect(&job, &t, THAW_ERR_SHAPE, "3 features, expected 4");
    job = job_on(&t, 1);
    expect(&job, &t, THAW_ERR_DATA, "row 1 has label 1");
    job = job_on(&t, 2);
    t.rows.n = 0;
    expect(&job, &t, THAW_ERR_DATA, "nothing to train on");
    t.rows.n = 10;
    job.options.lr = thaw_train_legal.lr.most;
    job.options.weight_decay = thaw_train_legal.weight_decay.most;
    job.options.epochs = 100;
    expect(&job, &t, THAW_ERR_USAGE, "learning rate");
    t.x[7] = INFINITY;
    job = job_on(&t, 2);
    expect(&job, &t, THAW_ERR_DATA, "feature 3 is not a finite number");
    thaw_arena_free(&t.arena);
    thaw_arena_free(&narrow.arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_views),
        cmocka_unit_test(test_learns_separable_data),
        cmocka_unit_test(test_constant_features),
        cmocka_unit_test(test_gradient),
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_early_stopping_restores_the_best),
        cmocka_unit_test(test_callback_stops),
        cmocka_unit_test(test_class_weights_help_the_rare_class),
        cmocka_unit_test(test_class_weights_of_many_rows),
        cmocka_unit_test(test_schedules),
        cmocka_unit_test(test_label_smoothing),
        cmocka_unit_test(test_folded_equals_unfolded),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_biases_do_not_decay),
        cmocka_unit_test(test_dropout_changes_what_is_learnt),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
