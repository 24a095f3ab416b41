/* Knowing what is not known: the area under the ROC curve and the temperature by hand and by brute force,
 * both distances beside plain ones in double, the choice between them where each is the better one, the
 * threshold's rank, and which rows are kept. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rng.h"
#include "top/auroc.h"
#include "top/novelty_fit.h"
#include "top/temperature.h"
#include "top/trainer.h"
#include "top/whiten.h"

static const thaw_top_slots *top = &thaw_cpu_kernels.top;

/* ---- plain ones ------------------------------------------------------------------------------- */

static double plain_loss(int64_t K, int64_t n, const float *z, const int32_t *label, double T) {
    double wrong = 0.5 / ((double)n + 1), loss = 0;
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        for (int64_t k = 0; k < K; k++)
            sum += exp(z[i * K + k] / T);
        for (int64_t k = 0; k < K; k++) {
            double t = k == label[i] ? 1 - wrong : wrong / (double)(K - 1);
            loss -= t * (z[i * K + k] / T - log(sum));
        }
    }
    return loss;
}

static double cosine(int64_t D, const float *a, const float *b) {
    double ab = 0, aa = 0, bb = 0;
    for (int64_t d = 0; d < D; d++) {
        ab += (double)a[d] * b[d];
        aa += (double)a[d] * a[d];
        bb += (double)b[d] * b[d];
    }
    return ab / sqrt(aa * bb);
}

static int compare_falling(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x > y ? -1 : x < y;
}

/* Solves C y = b by Gauss and Jordan, without pivots: C is positive definite. */
static void solve(int64_t D, const double *C, const double *b, double *y) {
    double A[16 * 17];
    for (int64_t i = 0; i < D; i++) {
        memcpy(A + i * (D + 1), C + i * D, (size_t)D * sizeof *A);
        A[i * (D + 1) + D] = b[i];
    }
    for (int64_t p = 0; p < D; p++)
        for (int64_t i = 0; i < D; i++) {
            if (i == p) continue;
            double times = A[i * (D + 1) + p] / A[p * (D + 1) + p];
            for (int64_t j = 0; j <= D; j++)
                A[i * (D + 1) + j] -= times * A[p * (D + 1) + j];
        }
    for (int64_t i = 0; i < D; i++)
        y[i] = A[i * (D + 1) + D] / A[i * (D + 1) + i];
}

static void fill_normal(thaw_rng *rng, float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        x[i] = thaw_rng_normal(rng);
}

/* ---- numbers ---------------------------------------------------------------------------------- */

static void auroc_by_hand(void **state) {
    (void)state;
    static const float below[] = {1, 2, 2, 3}, above[] = {2, 4, 0};
    double auroc;
    /* 2 is above one and beside two, 4 above all, 0 above none: 2 + 4 + 0 of 12. */
    assert_int_equal(thaw_auroc(below, 4, above, 3, &auroc, NULL), THAW_OK);
    assert_true(fabs(auroc - 6.0 / 12) < 1e-15);
    assert_int_equal(thaw_auroc(below, 2, above + 1, 1, &auroc, NULL), THAW_OK);
    assert_true(auroc == 1);
    assert_int_equal(thaw_auroc(below, 4, above, 0, &auroc, NULL), THAW_OK);
    assert_true(isnan(auroc));
    static const float infinite[] = {INFINITY, INFINITY};
    assert_int_equal(thaw_auroc(infinite, 1, infinite, 2, &auroc, NULL), THAW_OK);
    assert_true(auroc == 0.5);
}

enum { ROWS = 60, CLASSES = 4 };

/* Rows whose highest logit is the label in three of four cases. */
static void make_logits(float z[ROWS * CLASSES], int32_t label[ROWS], float scale) {
    thaw_rng rng = thaw_rng_open(7, THAW_RNG_POINTS, 0);
    for (int i = 0; i < ROWS; i++) {
        label[i] = i % CLASSES;
        for (int k = 0; k < CLASSES; k++)
            z[i * CLASSES + k] = scale * thaw_rng_normal(&rng);
        z[i * CLASSES + (i % 4 ? label[i] : (label[i] + 1) % CLASSES)] += 3 * scale;
    }
}

static void temperature_has_the_lowest_loss(void **state) {
    (void)state;
    float z[ROWS * CLASSES];
    int32_t label[ROWS];
    double before = 0;
    for (float scale = 0.25F; scale <= 16; scale *= 4) {
        make_logits(z, label, scale);
        double T = thaw_temperature_fit(CLASSES, ROWS, z, label);
        double least = plain_loss(CLASSES, ROWS, z, label, T);
        for (double other = T / 2; other < 2 * T; other *= 1.01)
            assert_true(least <= plain_loss(CLASSES, ROWS, z, label, other) + 1e-9);
        if (before > 0) assert_true(fabs(T / before - 4) < 1e-4); /* It follows the scale. */
        before = T;
    }
    assert_true(before > 10); /* Logits of 16 times the size are much too sure. */
}

static void temperature_of_odd_rows(void **state) {
    (void)state;
    static const float same[] = {1, 1, 1, 1}, two[] = {3, 0, 0, 3};
    static const int32_t label[] = {0, 1};
    assert_true(thaw_temperature_fit(2, 0, same, label) == 1);
    assert_true(thaw_temperature_fit(2, 2, same, label) == 1);
    /* All are right: of one row more a half would be wrong, of three a sixth. */
    double T = thaw_temperature_fit(2, 2, two, label), wrong = 1 / (1 + exp(3 / T));
    assert_true(fabs(wrong - 1.0 / 6) < 1e-6);
    static const float odd[] = {3, 0, NAN, 3, 0, 3};
    static const int32_t of_odd[] = {0, 1, 1};
    T = thaw_temperature_fit(2, 3, odd, of_odd);
    wrong = 1 / (1 + exp(3 / T)); /* The other two; a half of four. */
    assert_true(fabs(wrong - 1.0 / 8) < 1e-6);
    static const int32_t never[] = {1, 0};
    T = thaw_temperature_fit(2, 2, two, never);
    assert_true(T >= 64 * 0.999); /* All are wrong: as unsure as may be. */
}

static void temperature_goes_into_the_last_layer(void **state) {
    (void)state;
    thaw_arena arena = {0};
    thaw_head head;
    enum { D = 3, HIDDEN = 5, K = 2 };
    float x[D] = {1, -2, 0.5F}, hidden[HIDDEN], before[K], after[K];
    assert_int_equal(thaw_head_init(&head, D, HIDDEN, K, 3, &arena, NULL), THAW_OK);
    thaw_rng rng = thaw_rng_open(3, THAW_RNG_POINTS, 0);
    fill_normal(&rng, head.params, head.n_params);
    thaw_head_fold(&head);
    assert_int_equal(thaw_head_forward(&head, top, 1, x, NULL, hidden, before), 0);
    thaw_temperature_apply(&head, 2.5);
    assert_int_equal(thaw_head_forward(&head, top, 1, x, NULL, hidden, after), 0);
    for (int k = 0; k < K; k++)
        assert_true(fabsf(after[k] - before[k] / 2.5F) <= 1e-6F * fabsf(before[k]));
    thaw_arena_free(&arena);
}

/* ---- distances -------------------------------------------------------------------------------- */

static void knn_is_the_kth_cosine(void **state) {
    (void)state;
    enum { M = 35, N = 23, D = 19 };
    float x[M * D], rows[N * D], distance[M], alone;
    thaw_rng rng = thaw_rng_open(11, THAW_RNG_POINTS, 0);
    fill_normal(&rng, x, M * D);
    fill_normal(&rng, rows, N * D);
    for (int i = 0; i < N; i++)
        thaw_novelty_normalise(D, rows + i * D);
    for (int64_t k = 1; k <= THAW_NOVELTY_MOST_K; k += 3) {
        thaw_novelty v = {.method = THAW_NOVELTY_KNN, .D = D, .n = N, .k = k, .rows = rows};
        float *scratch = calloc(thaw_novelty_scratch(&v), sizeof *scratch);
        assert_int_equal(thaw_novelty_measure(&v, top, M, x, scratch, distance, NULL), THAW_OK);
        for (int m = 0; m < M; m++) {
            double all[N];
            for (int i = 0; i < N; i++)
                all[i] = cosine(D, x + m * D, rows + i * D);
            qsort(all, N, sizeof *all, compare_falling);
            assert_true(fabs(distance[m] - (1 - all[k - 1])) < 1e-6);
            assert_int_equal(thaw_novelty_measure(&v, top, 1, x + m * D, scratch, &alone, NULL),
                             THAW_OK);
            assert_memory_equal(&alone, &distance[m], sizeof alone);
        }
        /* Of fewer rows than k the last. */
        v.n = 2;
        v.k = 5;
        assert_int_equal(thaw_novelty_measure(&v, top, 1, x, scratch, &alone, NULL), THAW_OK);
        double least = fmin(cosine(D, x, rows), cosine(D, x, rows + D));
        assert_true(fabs(alone - (1 - least)) < 1e-6);
        free(scratch);
    }
}

static void what_is_no_number_is_unknown(void **state) {
    (void)state;
    enum { D = 3 };
    static const float rows[D] = {1, 0, 0};
    static const float x[][D] = {
        {NAN, 0, 0}, {INFINITY, 1, 1}, {0, 0, 0}, {5, 0, 0}, {3e38F, 3e38F, 0}};
    thaw_novelty v = {
        .method = THAW_NOVELTY_KNN, .D = D, .n = 1, .k = 1, .rows = rows, .threshold = 0.1};
    float scratch[16 * (D + D)], distance[5];
    assert_int_equal(thaw_novelty_measure(&v, top, 5, x[0], scratch, distance, NULL), THAW_OK);
    assert_true(isinf(distance[0]) && isinf(distance[1]));
    assert_true(distance[2] == 1 && distance[3] == 0);
    assert_true(fabsf(distance[4] - (1 - sqrtf(0.5F))) < 1e-6F); /* Its square has no float. */
    for (int i = 0; i < 5; i++)
        assert_true(thaw_novelty_is_unknown(&v, distance[i]) == (i != 3));
    v.method = THAW_NOVELTY_NONE;
    assert_false(thaw_novelty_is_unknown(&v, INFINITY));
}

enum { WIDE = 5, MANY = 40 };

/* The covariance within classes as Ledoit and Wolf shrink it, element by element. */
static void plain_covariance(const float *x, const int32_t *label, int64_t n, int64_t K,
                             double mean[][WIDE], double C[WIDE * WIDE]) {
    double count[CLASSES] = {0}, fourth = 0, m = 0, square = 0;
    memset(C, 0, WIDE * WIDE * sizeof *C);
    memset(mean, 0, (size_t)K * sizeof *mean);
    for (int64_t i = 0; i < n; i++)
        count[label[i]]++;
    for (int64_t i = 0; i < n; i++)
        for (int d = 0; d < WIDE; d++)
            mean[label[i]][d] += x[i * WIDE + d] / count[label[i]];
    for (int64_t i = 0; i < n; i++) {
        double r[WIDE], length = 0;
        for (int d = 0; d < WIDE; d++) {
            r[d] = x[i * WIDE + d] - mean[label[i]][d];
            length += r[d] * r[d];
        }
        fourth += length * length / (double)n;
        for (int a = 0; a < WIDE; a++)
            for (int b = 0; b < WIDE; b++)
                C[a * WIDE + b] += r[a] * r[b] / (double)n;
    }
    for (int a = 0; a < WIDE * WIDE; a++)
        square += C[a] * C[a];
    for (int d = 0; d < WIDE; d++)
        m += C[d * WIDE + d] / WIDE;
    double share = fmin(1, (fourth - square) / (double)n / (square - WIDE * m * m));
    for (int a = 0; a < WIDE * WIDE; a++)
        C[a] = (1 - share) * C[a] + (a % (WIDE + 1) ? 0 : share * m);
    assert_true(share > 0.01 && share < 0.99); /* Else nothing of it is looked at. */
}

static void mahalanobis_is_what_the_covariance_says(void **state) {
    (void)state;
    float x[MANY * WIDE], centre[WIDE], whiten[WIDE * WIDE], means[CLASSES * WIDE], distance;
    int32_t label[MANY];
    thaw_rng rng = thaw_rng_open(5, THAW_RNG_POINTS, 0);
    for (int i = 0; i < MANY; i++) {
        label[i] = i % (CLASSES - 1); /* The last class has no row. */
        for (int d = 0; d < WIDE; d++)
            x[i * WIDE + d] =
                (d == label[i] ? 4 : 0) + (float)(d + 1) * 0.4F * thaw_rng_normal(&rng);
        thaw_novelty_normalise(WIDE, x + i * WIDE);
    }
    int64_t n;
    assert_int_equal(
        thaw_whiten_fit(top, MANY, WIDE, x, label, CLASSES, centre, whiten, means, &n, NULL),
        THAW_OK);
    assert_int_equal(n, CLASSES - 1);
    double mean[CLASSES][WIDE], C[WIDE * WIDE];
    plain_covariance(x, label, MANY, CLASSES, mean, C);
    thaw_novelty v = {.method = THAW_NOVELTY_MAHALANOBIS,
                      .D = WIDE,
                      .n = n,
                      .rows = means,
                      .centre = centre,
                      .whiten = whiten};
    float *scratch = calloc(thaw_novelty_scratch(&v), sizeof *scratch);
    for (int i = 0; i < 20; i++) {
        float row[WIDE];
        fill_normal(&rng, row, WIDE);
        assert_int_equal(thaw_novelty_measure(&v, top, 1, row, scratch, &distance, NULL), THAW_OK);
        thaw_novelty_normalise(WIDE, row);
        double least = INFINITY;
        for (int k = 0; k < CLASSES - 1; k++) {
            double apart[WIDE], solved[WIDE], sum = 0;
            for (int d = 0; d < WIDE; d++)
                apart[d] = row[d] - mean[k][d];
            solve(WIDE, C, apart, solved);
            for (int d = 0; d < WIDE; d++)
                sum += apart[d] * solved[d];
            least = fmin(least, sum);
        }
        assert_true(fabs(distance - sqrt(least)) < 1e-4 * sqrt(least));
    }
    free(scratch);
    /* One row a class varies in no direction. */
    static const int32_t apart[] = {0, 1, 2};
    assert_int_equal(
        thaw_whiten_fit(top, 3, WIDE, x, apart, CLASSES, centre, whiten, means, &n, NULL), THAW_OK);
    assert_int_equal(n, 0);
}

/* ---- the choice ------------------------------------------------------------------------------- */

enum { D = 8, K = 6, EACH = 30, N = K * EACH };

/* Classes that stand apart each in a feature of its own, while one that says nothing of them varies by `noise`:
 * neighbours drown in that, which a covariance knows of. Or, in a circle, classes with two places each, opposite
 * ones of a circle, whose means are all in its middle. */
static thaw_rows make_rows(float *x, int32_t *label, thaw_row_array *array, float noise,
                           bool circle, uint64_t seed) {
    thaw_rng rng = thaw_rng_open(seed, THAW_RNG_POINTS, 0);
    for (int i = 0; i < N; i++) {
        label[i] = i / EACH;
        float angle = (float)M_PI * ((float)label[i] / K + (float)(i % 2));
        float *row = x + i * D;
        for (int d = 0; d < D; d++)
            row[d] = (d == D - 1 ? noise : 0.3F) * thaw_rng_normal(&rng);
        row[circle ? 0 : label[i]] += circle ? 3 * cosf(angle) : 3;
        row[1] += circle ? 3 * sinf(angle) : 0;
        row[D - 2] = 4; /* Keeps the lengths alike. */
    }
    *array = (thaw_row_array){top, x, D};
    return thaw_rows_of_array(array, N, label);
}

static void choose(float noise, bool circle, double rate, thaw_arena *arena,
                   thaw_novelty_fit *fit) {
    static float x[2][N * D];
    static int32_t label[2][N];
    thaw_row_array arrays[2];
    thaw_novelty_sample samples[2];
    thaw_rows train = make_rows(x[0], label[0], &arrays[0], noise, circle, 1);
    thaw_rows validation = make_rows(x[1], label[1], &arrays[1], noise, circle, 2);
    assert_int_equal(thaw_novelty_sample_train(&samples[0], &train, K, arena, NULL), THAW_OK);
    assert_int_equal(thaw_novelty_sample_validation(&samples[1], &validation, arena, NULL),
                     THAW_OK);
    assert_int_equal(samples[0].n, N);
    assert_int_equal(thaw_novelty_choose(top, K, &samples[0], &samples[1], rate, arena, fit, NULL),
                     THAW_OK);
}

static void the_better_way_is_taken(void **state) {
    (void)state;
    thaw_arena arena = {0};
    thaw_novelty_fit fit, again;
    choose(8, false, 0.05, &arena, &fit);
    assert_int_equal(fit.novelty.method, THAW_NOVELTY_MAHALANOBIS);
    assert_true(fit.trials[2].auroc > fit.trials[0].auroc + 0.01);
    assert_true(fit.trials[2].auroc > fit.trials[1].auroc + 0.05);
    choose(8, false, 0.05, &arena, &again); /* To the bit. */
    assert_memory_equal(fit.distance, again.distance, (size_t)fit.n * sizeof *fit.distance);
    assert_memory_equal(fit.novelty.whiten, again.novelty.whiten, D * D * sizeof(float));
    choose(0.3F, true, 0.05, &arena, &fit);
    assert_int_equal(fit.novelty.method, THAW_NOVELTY_KNN);
    assert_true(fit.trials[0].auroc > fit.trials[2].auroc + 0.1);
    thaw_arena_free(&arena);
}

/* By little, and not in every group of classes: it could be chance, and the first way stays. */
static void what_is_better_by_chance_is_not_taken(void **state) {
    (void)state;
    thaw_arena arena = {0};
    thaw_novelty_fit fit;
    int n_near = 0;
    for (float noise = 3.6F; noise < 5.5F; noise += 0.1F) {
        choose(noise, false, 0.05, &arena, &fit);
        double behind = fit.trials[2].auroc - fit.trials[0].auroc;
        if (behind > 0 && fit.novelty.method == THAW_NOVELTY_KNN) n_near++;
        assert_true(behind < 0.01 || fit.novelty.method == THAW_NOVELTY_MAHALANOBIS);
    }
    assert_true(n_near > 0);
    thaw_arena_free(&arena);
}

static void the_threshold_has_its_rank(void **state) {
    (void)state;
    thaw_arena arena = {0};
    thaw_novelty_fit fit;
    static const struct {
        double rate;
        int rank; /* ceil(181 (1 - rate)), at most 180. */
    } cases[] = {{0.05, 172}, {0.5, 91}, {0.001, 180}, {0.2, 145}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        choose(0.3F, false, cases[i].rate, &arena, &fit);
        assert_int_equal(fit.n, N);
        for (int64_t k = 1; k < N; k++)
            assert_true(fit.distance[k - 1] <= fit.distance[k]);
        assert_true(fit.novelty.threshold == fit.distance[cases[i].rank - 1]);
        assert_true(fit.novelty.rate == cases[i].rate);
    }
    thaw_novelty_sample none = {.D = D};
    thaw_error err;
    assert_int_equal(thaw_novelty_choose(top, K, &none, &none, 0.05, &arena, &fit, &err),
                     THAW_ERR_DATA);
    thaw_arena_free(&arena);
}

/* Rows of one number each, the row's own. */
static thaw_status gather_numbers(void *ctx, const int64_t *index, int64_t M, float *out,
                                  thaw_error *err) {
    (void)err;
    int64_t wide = *(const int64_t *)ctx;
    memset(out, 0, (size_t)(M * wide) * sizeof *out);
    for (int64_t m = 0; m < M; m++) {
        out[m * wide] = 1;
        out[m * wide + 1] = (float)index[m] / 4096;
    }
    return THAW_OK;
}

static void of_too_many_rows_each_class_keeps_its_share(void **state) {
    (void)state;
    enum { ALL = 3000, RARE = 10, WIDEST = 8192 };
    thaw_arena arena = {0};
    int64_t wide = WIDEST;
    static int32_t label[ALL];
    for (int i = 0; i < ALL; i++)
        label[i] = i < RARE ? 0 : i < ALL / 2 ? 1 : 2;
    thaw_rows rows = {
        .n = ALL, .D = WIDEST, .gather = gather_numbers, .ctx = &wide, .label = label};
    thaw_novelty_sample sample;
    assert_int_equal(thaw_novelty_sample_train(&sample, &rows, 3, &arena, NULL), THAW_OK);
    int64_t most = THAW_NOVELTY_MOST_NUMBERS / WIDEST, count[3] = {0};
    for (int64_t i = 0; i < sample.n; i++)
        count[sample.label[i]]++;
    assert_int_equal(count[0], RARE);
    assert_int_equal(count[1], (most - RARE) / 2);
    assert_int_equal(count[2], (most - RARE) / 2);
    /* From all over the class: the last is near its end. */
    const float *last = sample.x + (sample.n - 1) * WIDEST;
    assert_true(last[1] / last[0] * 4096 > ALL - 10);
    assert_int_equal(thaw_novelty_sample_validation(&sample, &rows, &arena, NULL), THAW_OK);
    assert_int_equal(sample.n, most);
    assert_int_equal(sample.n_all, ALL);
    thaw_arena_free(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(auroc_by_hand),
        cmocka_unit_test(temperature_has_the_lowest_loss),
        cmocka_unit_test(temperature_of_odd_rows),
        cmocka_unit_test(temperature_goes_into_the_last_layer),
        cmocka_unit_test(knn_is_the_kth_cosine),
        cmocka_unit_test(what_is_no_number_is_unknown),
        cmocka_unit_test(mahalanobis_is_what_the_covariance_says),
        cmocka_unit_test(the_better_way_is_taken),
        cmocka_unit_test(what_is_better_by_chance_is_not_taken),
        cmocka_unit_test(the_threshold_has_its_rank),
        cmocka_unit_test(of_too_many_rows_each_class_keeps_its_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
