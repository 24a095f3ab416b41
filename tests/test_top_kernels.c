/* The top's kernels against naive references in double.
 *
 * For each case: outputs start as NaN between guard words, the result is compared so that NaN
 * fails, a second run and a run with other threads must give the same bits, and a dense row must
 * not depend on the rows beside it. Tolerances follow from the length of the sums.
 */
#include <float.h>
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arena.h"
#include "kernels.h"
#include "rng.h"

static const thaw_top_slots *const top = &thaw_cpu_kernels.top;

/* ---- guarded buffers ------------------------------------------------------------------------ */

enum { GUARD = 16 };
static const uint32_t GUARD_WORD = 0xDEADBEEF;

/* n floats of NaN between guard words. */
static float *guarded(thaw_arena *arena, int64_t n) {
    float *p = thaw_arena_array(arena, (size_t)n + 2 * GUARD, sizeof *p);
    assert_non_null(p);
    for (int64_t i = 0; i < n + 2 * GUARD; i++) {
        p[i] = NAN;
        if (i < GUARD || i >= n + GUARD) memcpy(p + i, &GUARD_WORD, sizeof GUARD_WORD);
    }
    return p + GUARD;
}

static void check_guards(const float *p, int64_t n) {
    for (int64_t i = 0; i < GUARD; i++) {
        assert_memory_equal(p - 1 - i, &GUARD_WORD, sizeof GUARD_WORD);
        assert_memory_equal(p + n + i, &GUARD_WORD, sizeof GUARD_WORD);
    }
}

/* n numbers in -1 .. 1. */
static float *random_floats(thaw_arena *arena, int64_t n, uint64_t stream) {
    float *p = guarded(arena, n);
    thaw_rng rng = thaw_rng_open(7, THAW_RNG_INIT, stream);
    for (int64_t i = 0; i < n; i++)
        p[i] = 2 * thaw_rng_uniform(&rng) - 1;
    return p;
}

static void check_close(const char *name, const float *got, const double *want, int64_t n,
                        double tolerance) {
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(got[i] - want[i]) <= tolerance * (1 + fabs(want[i]))))
            fail_msg("%s: element %lld is %.9g, expected %.9g", name, (long long)i, got[i],
                     want[i]);
}

/* ---- dense ---------------------------------------------------------------------------------- */

typedef struct dense_case {
    const char *name;
    int64_t M, D, K;
} dense_case;

static const dense_case dense_cases[] = {
    {"one by one", 1, 1, 1},    {"one row", 1, 1280, 12},  {"one class", 64, 33, 1},
    {"two classes", 5, 7, 2},   {"odd sizes", 13, 101, 5}, {"lanes and tail", 4, 24, 3},
    {"below a lane", 9, 7, 4},  {"oxford", 64, 1280, 12},  {"last batch", 16, 1280, 12},
    {"imagenet", 6, 515, 1000}, {"hidden", 64, 1280, 256}, {"threads", 65, 700, 1001},
};

/* a[m,d] b[d,k] with any strides, plus bias[k], in double. */
static double *product(thaw_arena *arena, int64_t M, int64_t D, int64_t K, const float *a,
                       int64_t am, int64_t ad, const float *b, int64_t bd, int64_t bk,
                       const float *bias) {
    double *y = thaw_arena_array(arena, (size_t)(M * K), sizeof *y);
    for (int64_t m = 0; m < M; m++)
        for (int64_t k = 0; k < K; k++) {
            double sum = bias ? bias[k] : 0;
            for (int64_t d = 0; d < D; d++)
                sum += (double)a[m * am + d * ad] * b[d * bd + k * bk];
            y[m * K + k] = sum;
        }
    return y;
}

/* Partial sums of n products grow as sqrt(n), and n roundings of that add up as sqrt(n) too. */
static double tolerance(int64_t length) {
    return FLT_EPSILON * (4 + (double)length / 3);
}

static void check_dense_forward(const dense_case *c) {
    thaw_arena arena = {0};
    int64_t M = c->M, D = c->D, K = c->K;
    float *x = random_floats(&arena, M * D, 1), *w = random_floats(&arena, K * D, 2);
    float *b = random_floats(&arena, K, 3), *y = guarded(&arena, M * K);
    assert_int_equal(top->dense_forward(M, D, K, x, w, b, y), 0);
    check_guards(y, M * K);
    check_close(c->name, y, product(&arena, M, D, K, x, D, 1, w, 1, D, b), M * K, tolerance(D));
    float *again = guarded(&arena, M * K);
    for (int threads = 1; threads <= 3; threads++) {
        omp_set_num_threads(threads);
        top->dense_forward(M, D, K, x, w, b, again);
        assert_memory_equal(again, y, (size_t)(M * K) * sizeof *y);
    }
    for (int64_t m = 0; m < M; m++) { /* Alone, a row scores as it does among others. */
        top->dense_forward(1, D, K, x + m * D, w, b, again);
        assert_memory_equal(again, y + m * K, (size_t)K * sizeof *y);
    }
    top->dense_forward(M, D, K, x, w, NULL, y);
    check_close(c->name, y, product(&arena, M, D, K, x, D, 1, w, 1, D, NULL), M * K, tolerance(D));
    thaw_arena_free(&arena);
}

static void check_dense_backward(const dense_case *c) {
    thaw_arena arena = {0};
    int64_t M = c->M, D = c->D, K = c->K, sizes[] = {M * D, K * D, K};
    float *x = random_floats(&arena, M * D, 1), *w = random_floats(&arena, K * D, 2);
    float *dy = random_floats(&arena, M * K, 3), *ones = guarded(&arena, M), *out[2][3];
    for (int64_t m = 0; m < M; m++)
        ones[m] = 1;
    for (int run = 0; run < 2; run++) {
        omp_set_num_threads(1 + 2 * run);
        for (int i = 0; i < 3; i++)
            out[run][i] = guarded(&arena, sizes[i]);
        assert_int_equal(
            top->dense_backward(M, D, K, x, w, dy, out[run][0], out[run][1], out[run][2]), 0);
    }
    for (int i = 0; i < 3; i++) {
        check_guards(out[0][i], sizes[i]);
        assert_memory_equal(out[0][i], out[1][i], (size_t)sizes[i] * sizeof(float));
    }
    check_close(c->name, out[0][0], product(&arena, M, K, D, dy, K, 1, w, D, 1, NULL), M * D,
                tolerance(K));
    check_close(c->name, out[0][1], product(&arena, K, M, D, dy, 1, K, x, D, 1, NULL), K * D,
                tolerance(M));
    check_close(c->name, out[0][2], product(&arena, K, M, 1, dy, 1, K, ones, 1, 1, NULL), K,
                tolerance(M));
    float *dw = guarded(&arena, K * D);
    top->dense_backward(M, D, K, x, w, dy, NULL, dw, out[1][2]);
    assert_memory_equal(dw, out[0][1], (size_t)(K * D) * sizeof *dw);
    thaw_arena_free(&arena);
}

static double *in_double(thaw_arena *arena, const float *p, int64_t n) {
    double *copy = thaw_arena_array(arena, (size_t)n, sizeof *copy);
    for (int64_t i = 0; i < n; i++)
        copy[i] = p[i] + 1e-9 * (double)i; /* Digits that a float would lose. */
    return copy;
}

static void check_equal64(const char *name, const double *got, const double *want, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(got[i] - want[i]) <= 1e-13 * (1 + fabs(want[i]))))
            fail_msg("%s: element %lld is %.17g, expected %.17g", name, (long long)i, got[i],
                     want[i]);
}

static void check_dense64(const dense_case *c) {
    thaw_arena arena = {0};
    int64_t M = c->M, D = c->D, K = c->K;
    float *x = random_floats(&arena, M * D, 1);
    double *w = in_double(&arena, random_floats(&arena, K * D, 2), K * D);
    double *b = in_double(&arena, random_floats(&arena, K, 3), K);
    double *dy = in_double(&arena, random_floats(&arena, M * K, 4), M * K);
    double *want_y = thaw_arena_array(&arena, (size_t)(M * K), sizeof *want_y);
    double *want_dw = in_double(&arena, random_floats(&arena, K * D, 5), K * D);
    double *want_db = in_double(&arena, random_floats(&arena, K, 6), K);
    double *y[2], *dw[2], *db[2];
    for (int run = 0; run < 2; run++) {
        y[run] = thaw_arena_array(&arena, (size_t)(M * K) + 1, sizeof *y[run]);
        dw[run] = thaw_arena_array(&arena, (size_t)(K * D) + 1, sizeof *dw[run]);
        db[run] = thaw_arena_array(&arena, (size_t)K + 1, sizeof *db[run]);
        y[run][M * K] = dw[run][K * D] = db[run][K] = 77;
        memcpy(dw[run], want_dw, (size_t)(K * D) * sizeof *want_dw);
        memcpy(db[run], want_db, (size_t)K * sizeof *want_db);
        omp_set_num_threads(1 + 2 * run);
        assert_int_equal(top->dense64_forward(M, D, K, x, w, b, y[run]), 0);
        assert_int_equal(top->dense64_backward(M, D, K, x, dy, dw[run], db[run]), 0);
        assert_true(y[run][M * K] == 77 && dw[run][K * D] == 77 && db[run][K] == 77);
    }
    for (int64_t m = 0; m < M; m++)
        for (int64_t k = 0; k < K; k++) {
            want_y[m * K + k] = b[k];
            want_db[k] += dy[m * K + k];
            for (int64_t d = 0; d < D; d++) {
                want_y[m * K + k] += (double)x[m * D + d] * w[k * D + d];
                want_dw[k * D + d] += dy[m * K + k] * (double)x[m * D + d];
            }
        }
    check_equal64(c->name, y[0], want_y, M * K);
    check_equal64(c->name, dw[0], want_dw, K * D);
    check_equal64(c->name, db[0], want_db, K);
    assert_memory_equal(y[0], y[1], (size_t)(M * K) * sizeof(double));
    assert_memory_equal(dw[0], dw[1], (size_t)(K * D) * sizeof(double));
    thaw_arena_free(&arena);
}

static void test_dense(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof dense_cases / sizeof *dense_cases; i++) {
        check_dense_forward(&dense_cases[i]);
        check_dense_backward(&dense_cases[i]);
        check_dense64(&dense_cases[i]);
    }
}

/* ---- softmax and cross-entropy -------------------------------------------------------------- */

typedef struct loss_case {
    const char *name;
    int64_t M, K;
    float spread, offset; /* Logits lie in offset +- spread. */
    float smoothing;
    bool weighted;
} loss_case;

static const loss_case loss_cases[] = {
    {"one class", 3, 1, 1, 0, 0, false},      {"two classes", 1, 2, 1, 0, 0, true},
    {"oxford", 64, 12, 5, 0, 0.1f, false},    {"oxford weighted", 16, 12, 5, 0, 0.1f, true},
    {"imagenet", 5, 1000, 10, 0, 0.1f, true}, {"all smoothed away", 4, 5, 3, 0, 1, false},
    {"huge", 8, 10, 1e4f, 0, 0, true},        {"huge smoothed", 8, 10, 1e4f, 0, 0.2f, false},
    {"far off", 8, 10, 4, 1e6f, 0.1f, false},
};

/* The definition in kernels.h, read literally: log p in double, the target as a distribution. */
static double reference_loss(const loss_case *c, const float *z, int32_t label, double weight,
                             double norm, double *dz) {
    double max = -INFINITY, sum = 0, loss = 0;
    for (int64_t k = 0; k < c->K; k++)
        max = fmax(max, z[k]);
    for (int64_t k = 0; k < c->K; k++)
        sum += exp(z[k] - max);
    for (int64_t k = 0; k < c->K; k++) {
        double t =
            (k == label ? 1 - (double)c->smoothing : 0) + (double)c->smoothing / (double)c->K;
        double log_p = z[k] - max - log(sum);
        if (t > 0) loss -= t * log_p;
        dz[k] = weight * (exp(log_p) - t) / norm;
    }
    return weight * loss;
}

static void check_loss(const loss_case *c) {
    thaw_arena arena = {0};
    int64_t M = c->M, K = c->K, n = M * K;
    float *z = random_floats(&arena, n, 1), *weight = random_floats(&arena, K, 2);
    int32_t *label = thaw_arena_array(&arena, (size_t)M, sizeof *label);
    double *dz = thaw_arena_array(&arena, (size_t)n, sizeof *dz);
    double *loss = thaw_arena_array(&arena, (size_t)M, sizeof *loss), norm = 0;
    for (int64_t i = 0; i < n; i++)
        z[i] = c->offset + c->spread * z[i];
    for (int64_t k = 0; k < K; k++)
        weight[k] = 1.5f + weight[k];
    for (int64_t m = 0; m < M; m++) {
        label[m] = (int32_t)((m * 5 + 1) % K);
        norm += c->weighted ? weight[label[m]] : 1;
    }
    for (int64_t m = 0; m < M; m++)
        loss[m] = reference_loss(c, z + m * K, label[m], c->weighted ? weight[label[m]] : 1, norm,
                                 dz + m * K);
    const float *given = c->weighted ? weight : NULL;
    float *got = guarded(&arena, M), *dgot = guarded(&arena, n), *got2 = guarded(&arena, M);
    assert_int_equal(
        top->softmax_cross_entropy(M, K, z, label, given, c->smoothing, (float)norm, got, dgot), 0);
    check_guards(got, M);
    check_guards(dgot, n);
    check_close(c->name, got, loss, M, 4e-6);
    check_close(c->name, dgot, dz, n, 2e-6);
    top->softmax_cross_entropy(M, K, z, label, given, c->smoothing, (float)norm, got2, NULL);
    assert_memory_equal(got, got2, (size_t)M * sizeof *got);
    top->softmax_cross_entropy(M, K, z, label, given, c->smoothing, (float)norm, got2, z);
    assert_memory_equal(got, got2, (size_t)M * sizeof *got);
    assert_memory_equal(z, dgot, (size_t)n * sizeof *z); /* In place. */
    thaw_arena_free(&arena);
}

static void test_softmax_cross_entropy(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof loss_cases / sizeof *loss_cases; i++)
        check_loss(&loss_cases[i]);
}

static void test_softmax_of_extremes(void **state) {
    (void)state;
    const float z[] = {3e38f, -3e38f, 0, 1, NAN, 2};
    const int32_t label[] = {0, 0};
    float loss[2], dz[6];
    top->softmax_cross_entropy(2, 3, z, label, NULL, 0, 2, loss, dz);
    assert_true(loss[0] == 0 && dz[0] == 0 && dz[1] == 0 && dz[2] == 0);
    assert_true(isnan(loss[1]) && isnan(dz[3]));
}

/* ---- sigmoid and cross-entropy ------------------------------------------------------------- */

/* The definition in kernels.h, read literally, of one class. */
static double reference_sigmoid(double z, double t, double weight) {
    double loss = 0;
    if (t > 0) loss += weight * t * (z > 0 ? log1p(exp(-z)) : log1p(exp(z)) - z);
    if (t < 1) loss += (1 - t) * (z > 0 ? log1p(exp(-z)) + z : log1p(exp(z)));
    return loss;
}

static void test_sigmoid_cross_entropy(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int64_t M, K;
        float spread;
        bool soft, weighted;
    } cases[] = {
        {"one class", 3, 1, 1, false, false}, {"hard", 16, 12, 5, false, false},
        {"weighted", 16, 12, 5, false, true}, {"soft", 8, 5, 3, true, true},
        {"many", 4, 1000, 10, false, true},   {"huge", 8, 10, 1e4f, false, true},
    };
    const double norm = 7, step = 1e-4;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        thaw_arena arena = {0};
        int64_t M = cases[c].M, K = cases[c].K, n = M * K;
        float *z = random_floats(&arena, n, 1), *target = random_floats(&arena, n, 2);
        float *weight = random_floats(&arena, K, 3);
        double *dz = thaw_arena_array(&arena, (size_t)n, sizeof *dz);
        double *loss = thaw_arena_array(&arena, (size_t)M, sizeof *loss);
        for (int64_t k = 0; k < K; k++)
            weight[k] = cases[c].weighted ? 1.5f + weight[k] : 1;
        for (int64_t i = 0; i < n; i++) {
            double w = (double)weight[i % K], t;
            z[i] *= cases[c].spread;
            target[i] = cases[c].soft ? (target[i] + 1) / 2 : target[i] > 0.3f;
            t = (double)target[i];
            loss[i / K] += reference_sigmoid((double)z[i], t, w);
            /* Central differences of the reference, in double. */
            dz[i] = (reference_sigmoid((double)z[i] + step, t, w) -
                     reference_sigmoid((double)z[i] - step, t, w)) /
                    (2 * step) / norm;
        }
        const float *given = cases[c].weighted ? weight : NULL;
        float *got = guarded(&arena, M), *dgot = guarded(&arena, n), *again = guarded(&arena, M);
        assert_int_equal(top->sigmoid_cross_entropy(M, K, z, target, given, (float)norm, got, dgot),
                         0);
        check_guards(got, M);
        check_guards(dgot, n);
        check_close(cases[c].name, got, loss, M, 4e-6);
        check_close(cases[c].name, dgot, dz, n, 2e-6);
        top->sigmoid_cross_entropy(M, K, z, target, given, (float)norm, again, NULL);
        assert_memory_equal(got, again, (size_t)M * sizeof *got);
        top->sigmoid_cross_entropy(M, K, z, target, given, (float)norm, again, z);
        assert_memory_equal(z, dgot, (size_t)n * sizeof *z); /* In place. */
        thaw_arena_free(&arena);
    }
    const float extremes[] = {3e38f, -3e38f, NAN, 1}, there[] = {1, 0, 1, 0};
    float loss[2], dz[4];
    top->sigmoid_cross_entropy(2, 2, extremes, there, NULL, 1, loss, dz);
    assert_true(loss[0] == 0 && dz[0] == 0 && dz[1] == 0);
    assert_true(isnan(loss[1]) && isnan(dz[2]) && dz[3] > 0.7f);
}

/* ---- optimizers ----------------------------------------------------------------------------- */

static const int64_t lengths[] = {1, 7, 8, 33, 15360};

static void check_adamw(int64_t n) {
    enum { STEPS = 5 };
    const double lr = 0.01, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, decay = 0.1;
    thaw_arena arena = {0};
    float *w = random_floats(&arena, n, 1), *m = guarded(&arena, n), *v = guarded(&arena, n);
    double *ref = thaw_arena_array(&arena, (size_t)n * 3, sizeof *ref), *rm = ref + n, *rv = rm + n;
    for (int64_t i = 0; i < n; i++) {
        ref[i] = w[i];
        m[i] = v[i] = 0;
    }
    for (int64_t step = 1; step <= STEPS; step++) {
        float *g = random_floats(&arena, n, 10 + (uint64_t)step);
        top->adamw(n, w, g, m, v, (float)lr, (float)beta1, (float)beta2, (float)eps, (float)decay,
                   step);
        for (int64_t i = 0; i < n; i++) {
            ref[i] -= lr * decay * ref[i];
            rm[i] = beta1 * rm[i] + (1 - beta1) * g[i];
            rv[i] = beta2 * rv[i] + (1 - beta2) * g[i] * (double)g[i];
            ref[i] -= lr * rm[i] / (1 - pow(beta1, (double)step)) /
                      (sqrt(rv[i] / (1 - pow(beta2, (double)step))) + eps);
        }
    }
    check_guards(w, n);
    check_guards(m, n);
    check_guards(v, n);
    /* 1 - beta2 in float is off by 5e-5 of itself; the correction sees the exact power. */
    check_close("adamw", w, ref, n, 5e-6);
    thaw_arena_free(&arena);
}

static void check_sgd(int64_t n) {
    thaw_arena arena = {0};
    float *w = random_floats(&arena, n, 1), *v = guarded(&arena, n);
    double *ref = thaw_arena_array(&arena, (size_t)n * 2, sizeof *ref), *rv = ref + n;
    for (int64_t i = 0; i < n; i++) {
        ref[i] = w[i];
        v[i] = 0;
    }
    for (uint64_t step = 1; step <= 5; step++) {
        float *g = random_floats(&arena, n, 10 + step);
        top->sgd(n, w, g, v, 0.1f, 0.9f, 0.01f);
        for (int64_t i = 0; i < n; i++) {
            rv[i] = 0.9 * rv[i] + g[i] + 0.01 * ref[i];
            ref[i] -= 0.1 * rv[i];
        }
    }
    check_guards(w, n);
    check_guards(v, n);
    check_close("sgd", w, ref, n, 2e-6);
    thaw_arena_free(&arena);
}

static void test_optimizers(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        check_adamw(lengths[i]);
        check_sgd(lengths[i]);
    }
}

static void test_gather(void **state) {
    (void)state;
    thaw_arena arena = {0};
    enum { N = 9, D = 13, M = 5 };
    static const int64_t index[M] = {8, 0, 3, 3, 7};
    float *x = random_floats(&arena, N * D, 1), *y = guarded(&arena, M * D);
    assert_int_equal(top->gather(M, D, x, index, y), 0);
    check_guards(y, M * D);
    for (int m = 0; m < M; m++)
        assert_memory_equal(y + m * D, x + index[m] * D, D * sizeof *y);
    thaw_arena_free(&arena);
}

/* ---- random numbers ------------------------------------------------------------------------- */

/* The known answers that come with Random123. */
static void test_philox(void **state) {
    (void)state;
    static const uint32_t zeros[] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    static const uint32_t ones[] = {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd};
    static const uint32_t pi[] = {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1};
    uint32_t out[4];
    thaw_philox(0, 0, 0, out);
    assert_memory_equal(out, zeros, sizeof out);
    thaw_philox(UINT64_MAX, UINT64_MAX, UINT64_MAX, out);
    assert_memory_equal(out, ones, sizeof out);
    thaw_philox(UINT64_C(0x299f31d0a4093822), UINT64_C(0x0370734413198a2e),
                UINT64_C(0x85a308d3243f6a88), out);
    assert_memory_equal(out, pi, sizeof out);
}

static void test_distributions(void **state) {
    (void)state;
    enum { N = 100000 };
    thaw_rng rng = thaw_rng_open(3, THAW_RNG_INIT, 0);
    double sum = 0, square = 0, uniform = 0;
    int64_t counts[7] = {0};
    for (int i = 0; i < N; i++) {
        double z = thaw_rng_normal(&rng), u = thaw_rng_uniform(&rng);
        assert_true(u >= 0 && u < 1);
        sum += z;
        square += z * z;
        uniform += u;
        counts[thaw_rng_below(&rng, 7)]++;
    }
    /* Five standard deviations. */
    assert_true(fabs(sum / N) < 5 / sqrt(N) && fabs(square / N - 1) < 5 * sqrt(2.0 / N));
    assert_true(fabs(uniform / N - 0.5) < 5 / sqrt(12.0 * N));
    for (int i = 0; i < 7; i++)
        assert_true(fabs((double)counts[i] - N / 7.0) < 5 * sqrt(N / 7.0));
}

static void test_permutation_and_dropout(void **state) {
    (void)state;
    enum { N = 1000 };
    int64_t index[N], seen[N] = {0}, dropped = 0;
    thaw_rng rng = thaw_rng_open(3, THAW_RNG_SHUFFLE, 1);
    thaw_rng_permutation(&rng, N, index);
    for (int i = 0; i < N; i++)
        seen[index[i]]++;
    for (int i = 0; i < N; i++)
        assert_int_equal(seen[i], 1);
    assert_int_not_equal(index[0] + index[1] + index[2], 3);
    float x[N];
    for (int i = 0; i < N; i++)
        x[i] = 3;
    thaw_rng_dropout(&rng, N, 0.25f, x);
    for (int i = 0; i < N; i++) {
        assert_true(x[i] == 0 || x[i] == 4);
        dropped += x[i] == 0;
    }
    assert_true(dropped > 180 && dropped < 320);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dense),
        cmocka_unit_test(test_softmax_cross_entropy),
        cmocka_unit_test(test_softmax_of_extremes),
        cmocka_unit_test(test_sigmoid_cross_entropy),
        cmocka_unit_test(test_optimizers),
        cmocka_unit_test(test_gather),
        cmocka_unit_test(test_philox),
        cmocka_unit_test(test_distributions),
        cmocka_unit_test(test_permutation_and_dropout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
