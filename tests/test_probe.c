/* The linear probe ends at the optimum of its objective, which is worked out again in double here; the
 * penalty that validation likes best is kept; and it says what it cannot do. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
//
#include <cmocka.h>

#include "rng.h"
#include "top/lbfgs.h"
#include "top/probe.h"
#include "top/steps.h"

enum { K = 4, D = 12, ROWS = 1100, OTHERS = 60, W = K * D, P = W + K }; /* Of two chunks. */

static const thaw_top_slots *const top = &thaw_cpu_kernels.top;
static thaw_error err;

/* ---- rows ----------------------------------------------------------------------------------- */

/* Around K centres, near enough to each other that no penalty of zero tells them all apart. */
typedef struct toy {
    float x[ROWS + OTHERS][D];
    int32_t label[ROWS + OTHERS];
    thaw_row_array arrays[2];
    thaw_rows rows[2]; /* To train on, to validate. */
} toy;

static void make_toy(toy *t) {
    thaw_rng rng = thaw_rng_open(7, THAW_RNG_INIT, 1);
    float centre[K][D];
    for (int i = 0; i < W; i++)
        centre[i / D][i % D] = thaw_rng_normal(&rng);
    for (int i = 0; i < ROWS + OTHERS; i++) {
        t->label[i] = i % 9 == 0 ? 0 : i % K;
        for (int d = 0; d < D; d++)
            t->x[i][d] = 3 + centre[t->label[i]][d] + 2 * thaw_rng_normal(&rng);
        t->x[i][1] *= 20;
        t->x[i][2] = 5; /* Constant. */
    }
    for (int k = 0; k < 2; k++) {
        int first = k ? ROWS : 0;
        t->arrays[k] = (thaw_row_array){top, t->x[first], D};
        t->rows[k] = thaw_rows_of_array(&t->arrays[k], k ? OTHERS : ROWS, t->label + first);
    }
}

static thaw_train_job job_on(const toy *t, double l2) {
    thaw_train_job job = {.top = top,
                          .K = K,
                          .train = &t->rows[0],
                          .validation = &t->rows[1],
                          .memory_bytes = SIZE_MAX};
    job.options = thaw_train_defaults(THAW_HEAD_LINEAR, THAW_OPTIMIZER_SGD, ROWS);
    job.options.solver = THAW_SOLVER_LBFGS;
    job.options.weight_decay = l2;
    return job;
}

static void train(const thaw_train_job *job, thaw_head *head, thaw_train_result *result,
                  thaw_arena *arena) {
    if (thaw_train(job, arena, head, result, &err) != THAW_OK) fail_msg("%s", err.text);
}

/* ---- the objective, again ------------------------------------------------------------------- */

typedef struct objective {
    double z[ROWS][D], weight[ROWS], l2, smoothing;
    double mean[D], scale[D];
    const int32_t *label;
} objective;

static void make_objective(objective *o, const toy *t, const thaw_train_options *options) {
    thaw_arena arena = {0};
    thaw_head head;
    int64_t index[ROWS], count[K];
    float x[ROWS * D], weight[K] = {1, 1, 1, 1};
    assert_int_equal(thaw_head_init(&head, D, 0, K, 1, &arena, &err), THAW_OK);
    assert_int_equal(thaw_head_fit_scale(&head, &t->rows[0], ROWS, index, x, &arena, &err),
                     THAW_OK);
    if (options->class_weights == THAW_CLASS_WEIGHTS_BALANCED)
        thaw_steps_class_weights(t->label, ROWS, K, count, weight);
    for (int i = 0; i < ROWS; i++)
        for (int d = 0; d < D; d++)
            o->z[i][d] = ((double)t->x[i][d] - head.mean[d]) * head.scale[d];
    for (int i = 0; i < ROWS; i++)
        o->weight[i] = weight[t->label[i]];
    for (int d = 0; d < D; d++) {
        o->mean[d] = head.mean[d];
        o->scale[d] = head.scale[d];
    }
    o->label = t->label;
    o->l2 = options->weight_decay;
    o->smoothing = options->label_smoothing;
    thaw_arena_free(&arena);
}

/* at: w [K, D], b [K]. */
static thaw_status evaluate(void *ctx, const double *at, double *f, double *g, thaw_error *e) {
    (void)e;
    const objective *o = ctx;
    double sum = 0, norm = 0;
    memset(g, 0, P * sizeof *g);
    for (int i = 0; i < ROWS; i++) {
        double y[K], all = 0;
        for (int k = 0; k < K; k++) {
            y[k] = at[W + k];
            for (int d = 0; d < D; d++)
                y[k] += at[k * D + d] * o->z[i][d];
            all += exp(y[k]);
        }
        norm += o->weight[i];
        for (int k = 0; k < K; k++) {
            double target = o->smoothing / K + (k == o->label[i] ? 1 - o->smoothing : 0);
            double part = o->weight[i] * (exp(y[k]) / all - target);
            sum -= o->weight[i] * target * (y[k] - log(all));
            g[W + k] += part;
            for (int d = 0; d < D; d++)
                g[k * D + d] += part * o->z[i][d];
        }
    }
    *f = sum / norm;
    for (int i = 0; i < P; i++) {
        g[i] /= norm;
        if (i >= W) continue;
        *f += o->l2 / 2 * at[i] * at[i];
        g[i] += o->l2 * at[i];
    }
    return THAW_OK;
}

static double optimum(objective *o) {
    thaw_arena arena = {0};
    thaw_lbfgs_result r;
    double at[P] = {0};
    thaw_lbfgs problem = {
        .n = P, .evaluate = evaluate, .ctx = o, .tolerance = 1e-11, .most_iterations = 20000};
    assert_int_equal(thaw_lbfgs_minimise(&problem, at, &arena, &r, &err), THAW_OK);
    thaw_arena_free(&arena);
    assert_true(r.gradient < 1e-7); /* f is at most its square * P / (2 l2) above the optimum. */
    return r.f;
}

/* Of a folded head: its weights for raw features become those for z. */
static double objective_of(objective *o, const thaw_head *head) {
    double at[P], g[P], f;
    for (int k = 0; k < K; k++) {
        at[W + k] = head->layers[0].b[k];
        for (int d = 0; d < D; d++) {
            double w = head->layers[0].w[k * D + d];
            at[k * D + d] = o->scale[d] != 0 ? w / o->scale[d] : 0;
            at[W + k] += w * o->mean[d];
        }
    }
    evaluate(o, at, &f, g, NULL);
    return f;
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void it_ends_at_the_optimum(void **state) {
    (void)state;
    static toy t;
    static objective o;
    make_toy(&t);
    static const double penalties[] = {10, 0.3, 1e-2, 1e-4, 1e-6};
    for (int variant = 0; variant < 3; variant++)
        for (size_t i = 0; i < sizeof penalties / sizeof *penalties; i++) {
            thaw_arena arena = {0};
            thaw_head head;
            thaw_train_result result;
            thaw_train_job job = job_on(&t, penalties[i]);
            job.options.label_smoothing = variant == 1 ? 0.1 : 0;
            job.options.class_weights =
                variant == 2 ? THAW_CLASS_WEIGHTS_BALANCED : THAW_CLASS_WEIGHTS_NONE;
            make_objective(&o, &t, &job.options);
            train(&job, &head, &result, &arena);
            double best = optimum(&o), got = objective_of(&o, &head);
            if (!(got <= best * (1 + 1e-6)))
                fail_msg("l2 %g, variant %d: %.9g, and %.9g is possible", penalties[i], variant,
                         got, best);
            assert_int_equal(result.epochs_run, 1);
            assert_true(result.kept.l2 == penalties[i] && result.kept.iterations > 0);
            assert_true(result.passes > result.kept.iterations);
            thaw_arena_free(&arena);
        }
}

typedef struct seen {
    thaw_epoch epochs[THAW_PROBE_POINTS];
    int64_t n, most;
} seen;

static int on_epoch(void *ctx, const thaw_epoch *epoch) {
    seen *s = ctx;
    s->epochs[s->n++] = *epoch;
    return s->n == s->most;
}

static void validation_chooses(void **state) {
    (void)state;
    static toy t;
    make_toy(&t);
    thaw_arena arena = {0};
    thaw_head head, again;
    thaw_train_result result;
    thaw_metrics metrics;
    seen s = {0};
    thaw_train_job job = job_on(&t, 0);
    job.options.l2_path = true;
    job.on_epoch = on_epoch;
    job.ctx = &s;
    train(&job, &head, &result, &arena);
    const thaw_epoch *kept = &result.kept;
    assert_true(s.n == result.epochs_run && s.n == kept->epoch + 10);
    assert_int_equal(thaw_train_epochs(&job.options), THAW_PROBE_POINTS);
    assert_true(fabs(s.epochs[0].l2 * ROWS / 1e5 - 1) < 1e-9);
    assert_true(fabs(thaw_probe_l2(THAW_PROBE_POINTS - 1, ROWS) * ROWS / 1e-6 - 1) < 1e-9);
    for (int64_t i = 1; i < s.n; i++) { /* Less penalty, less loss. */
        assert_true(s.epochs[i].l2 < s.epochs[i - 1].l2);
        assert_true(s.epochs[i].train_loss <= s.epochs[i - 1].train_loss * (1 + 1e-6));
    }
    for (int64_t i = 0; i < s.n; i++)
        assert_true(s.epochs[i].validation_loss >= s.epochs[kept->epoch - 1].validation_loss);
    assert_in_range(kept->epoch, 2, THAW_PROBE_POINTS - 11);
    /* The head is the one that was kept, not the last. */
    assert_int_equal(thaw_evaluate(&head, top, &t.rows[1], 13, &arena, &metrics, &err), THAW_OK);
    assert_true(fabs(metrics.loss - kept->validation_loss) < 1e-5);
    assert_true(metrics.top1 == kept->validation_top1);
    /* Rows that are fetched again and again are the same rows. */
    job.memory_bytes = 0;
    s.n = 0;
    train(&job, &again, &result, &arena);
    assert_memory_equal(head.params, again.params, P * sizeof(float));
    thaw_arena_free(&arena);
}

static void it_stops_and_refuses_in_words(void **state) {
    (void)state;
    static toy t;
    make_toy(&t);
    thaw_arena arena = {0};
    thaw_head head;
    thaw_train_result result;
    seen s = {.most = 3};
    thaw_train_job job = job_on(&t, 0.1);
    job.options.l2_path = true;
    job.on_epoch = on_epoch;
    job.ctx = &s;
    assert_int_equal(thaw_train(&job, &arena, &head, &result, &err), THAW_ERR_INTERRUPTED);
    assert_int_equal(result.epochs_run, 3);
    /* With the best of the three. */
    thaw_metrics metrics;
    assert_int_equal(thaw_evaluate(&head, top, &t.rows[1], 13, &arena, &metrics, &err), THAW_OK);
    assert_true(fabs(metrics.loss - result.kept.validation_loss) < 1e-5);
    volatile int stop = 1;
    job.stop = &stop;
    assert_int_equal(thaw_train(&job, &arena, &head, &result, &err), THAW_ERR_INTERRUPTED);
    assert_int_equal(result.epochs_run, 0);
    job.validation = NULL;
    assert_int_equal(thaw_train(&job, &arena, &head, &result, &err), THAW_ERR_USAGE);
    assert_non_null(strstr(err.text, "validation rows"));
    job.options.l2_path = false;
    job.options.kind = THAW_HEAD_HIDDEN;
    assert_int_equal(thaw_train(&job, &arena, &head, &result, &err), THAW_ERR_USAGE);
    assert_non_null(strstr(err.text, "hidden layer"));
    thaw_arena_free(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_ends_at_the_optimum),
        cmocka_unit_test(validation_chooses),
        cmocka_unit_test(it_stops_and_refuses_in_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
