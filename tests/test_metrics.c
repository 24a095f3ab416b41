/* Metrics against cases that were worked out by hand: ties, NaN, few classes, classes without rows,
 * and that the cut into batches does not matter. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "top/metrics.h"

static thaw_metrics scored(thaw_arena *arena, int64_t K, int64_t M, const float *logits,
                           const int32_t *label) {
    thaw_metrics metrics;
    assert_int_equal(thaw_metrics_init(&metrics, K, M, arena, NULL), THAW_OK);
    thaw_metrics_add(&metrics, M, logits, label);
    thaw_metrics_finish(&metrics);
    return metrics;
}

/* Three classes; true 0 0 0 1 1 2, predicted 0 0 1 1 0 2. */
static void test_by_hand(void **state) {
    (void)state;
    thaw_arena arena = {0};
    static const float z[] = {2, 1, 0, 5, 0, 0, 0, 1, 0, 0, 3, 1, 3, 1, 2, 0, 0, 9};
    static const int32_t label[] = {0, 0, 0, 1, 1, 2};
    static const thaw_confusion pairs[] = {{0, 0, 2}, {0, 1, 1}, {1, 0, 1}, {1, 1, 1}, {2, 2, 1}};
    thaw_metrics m = scored(&arena, 3, 6, z, label);
    thaw_confusion *found;
    size_t n;
    assert_int_equal(thaw_metrics_confusion(&m, &arena, &found, &n, NULL), THAW_OK);
    assert_int_equal(n, 5);
    assert_memory_equal(found, pairs, sizeof pairs);
    assert_int_equal(m.n, 6);
    assert_true(fabs(m.top1 - 4.0 / 6) < 1e-15);
    assert_true(m.top5 == 1);
    assert_true(fabs(m.balanced - (2.0 / 3 + 1.0 / 2 + 1) / 3) < 1e-15);
    assert_true(fabs(m.precision[0] - 2.0 / 3) < 1e-15 && fabs(m.recall[0] - 2.0 / 3) < 1e-15);
    assert_true(fabs(m.f1[0] - 2.0 / 3) < 1e-15);
    assert_true(m.precision[1] == 0.5 && m.recall[1] == 0.5 && m.f1[1] == 0.5);
    assert_true(m.precision[2] == 1 && m.f1[2] == 1);
    assert_int_equal(m.support[0], 3);
    assert_int_equal(m.support[1], 2);
    assert_int_equal(m.support[2], 1);
    static const int32_t answers[] = {0, 0, 1, 1, 0, 2};
    for (int i = 0; i < 6; i++) {
        double sum = 0, score, next = 0;
        for (int k = 0; k < 3; k++)
            sum += exp(z[3 * i + k]);
        score = exp(z[3 * i + answers[i]]) / sum;
        for (int k = 0; k < 3; k++)
            if (k != answers[i]) next = fmax(next, exp(z[3 * i + k]) / sum);
        assert_int_equal(m.answers[i].label, label[i]);
        assert_int_equal(m.answers[i].answer, answers[i]);
        assert_true(fabs(m.answers[i].score - score) < 1e-6);
        assert_true(fabs(m.answers[i].margin - (score - next)) < 1e-6);
        assert_true(fabs(m.answers[i].own - exp(z[3 * i + label[i]]) / sum) < 1e-6);
    }
    thaw_arena_free(&arena);
}

/* Uniform logits: the loss is ln K, the lowest class wins. */
static void test_ties(void **state) {
    (void)state;
    thaw_arena arena = {0};
    static const float z[16] = {0};
    static const int32_t label[] = {0, 4, 5, 7}, first[] = {0, 1};
    thaw_metrics m = scored(&arena, 4, 2, z, first);
    assert_true(fabs(m.loss - log(4)) < 1e-12);
    assert_true(m.top1 == 0.5 && m.recall[0] == 1 && m.recall[1] == 0 && m.f1[1] == 0);
    assert_true(m.balanced == 0.5); /* Classes 2 and 3 have no rows. */
    float wide[4 * 8] = {0};
    m = scored(&arena, 8, 4, wide, label);
    assert_true(m.top1 == 0.25 && m.top5 == 0.5); /* Ranks 0, 4, 5, 7. */
    assert_int_equal(thaw_metrics_rank(8, wide, 5), 5);
    thaw_arena_free(&arena);
}

static void test_nan_is_wrong(void **state) {
    (void)state;
    thaw_arena arena = {0};
    static const float z[] = {NAN, 1, 3, NAN, 0, 1};
    static const int32_t label[] = {0, 0, 1};
    thaw_metrics m = scored(&arena, 2, 3, z, label);
    assert_int_equal(m.n, 3);
    assert_int_equal(m.n_nan, 2);
    assert_true(fabs(m.top1 - 1.0 / 3) < 1e-15 && m.top1 == m.top5);
    assert_int_equal(m.answers[0].answer, -1);
    assert_int_equal(m.answers[2].answer, 1);
    assert_true(m.answers[0].score == 0 && m.answers[0].margin == 0);
    thaw_confusion *pairs;
    size_t n;
    assert_int_equal(thaw_metrics_confusion(&m, &arena, &pairs, &n, NULL), THAW_OK);
    assert_int_equal(n, 1);
    assert_int_equal(pairs[0].label, 1);
    assert_int_equal(m.support[0], 2);
    assert_true(fabs(m.loss - log1p(exp(-1))) < 1e-12); /* Of the row that has one. */
    assert_int_equal(thaw_metrics_rank(2, z, 0), 2);
    thaw_arena_free(&arena);
}

static void test_loss(void **state) {
    (void)state;
    thaw_arena arena = {0};
    static const float z[] = {1, 0, 1000, -1000};
    static const int32_t label[] = {0, 1};
    thaw_metrics m = scored(&arena, 2, 2, z, label);
    assert_true(fabs(m.loss - (log1p(exp(-1)) + 2000) / 2) < 1e-9);
    float p[] = {logf(0.25f), logf(0.75f)}; /* Log-probabilities are logits. */
    m = scored(&arena, 2, 1, p, label);
    assert_true(fabs(m.loss - log(4)) < 1e-6);
    thaw_arena_free(&arena);
}

static void test_nothing(void **state) {
    (void)state;
    thaw_arena arena = {0};
    thaw_metrics m = scored(&arena, 3, 0, NULL, NULL);
    assert_true(m.loss == 0 && m.top1 == 0 && m.top5 == 0 && m.balanced == 0);
    float one = 3;
    int32_t label = 0;
    m = scored(&arena, 1, 1, &one, &label);
    assert_true(m.top1 == 1 && m.loss == 0 && m.balanced == 1);
    thaw_arena_free(&arena);
}

/* Reset forgets; one row at a time gives the bits of all at once. */
static void test_batches(void **state) {
    (void)state;
    thaw_arena arena = {0};
    enum { K = 7, M = 50 };
    float z[M * K];
    int32_t label[M];
    for (int i = 0; i < M * K; i++)
        z[i] = (float)((i * 7919) % 101) / 10;
    for (int i = 0; i < M; i++)
        label[i] = i % K;
    thaw_metrics whole = scored(&arena, K, M, z, label), parts = scored(&arena, K, M, z, label);
    thaw_metrics_reset(&parts);
    for (int i = 0; i < M; i++)
        thaw_metrics_add(&parts, 1, z + i * K, label + i);
    thaw_metrics_finish(&parts);
    assert_memory_equal(&whole.loss, &parts.loss, sizeof(double));
    assert_true(whole.top1 == parts.top1 && whole.top5 == parts.top5);
    assert_true(whole.balanced == parts.balanced);
    assert_memory_equal(whole.answers, parts.answers, M * sizeof *whole.answers);
    assert_memory_equal(whole.answered, parts.answered, K * sizeof *whole.answered);
    thaw_arena_free(&arena);
}

/* What the metrics of very many classes take is linear in them, and in the rows. */
static void test_many_classes(void **state) {
    (void)state;
    enum { K = 20000, M = 300 };
    thaw_arena arena = {0};
    float *z = calloc(K, sizeof *z);
    assert_non_null(z);
    thaw_metrics m;
    assert_int_equal(thaw_metrics_init(&m, K, M, &arena, NULL), THAW_OK);
    for (int i = 0; i < M; i++) {
        int32_t label = i * 61;
        z[label + i % 2] = 1;
        thaw_metrics_add(&m, 1, z, &label);
        z[label + i % 2] = 0;
    }
    thaw_metrics_finish(&m);
    thaw_confusion *pairs;
    size_t n;
    assert_int_equal(thaw_metrics_confusion(&m, &arena, &pairs, &n, NULL), THAW_OK);
    assert_int_equal(n, M);
    assert_true(m.top1 == 0.5 && m.balanced == 0.5);
    assert_true(arena.used_bytes < (size_t)K * 64 + M * 64);
    free(z);
    thaw_arena_free(&arena);
}

/* Scores on either side of a bin's end, one of 0, one of 1, a NaN row: bin 0 has 0 and 0.06, wrong and
 * right; the second bin a wrong 0.1, the last a right 1 and a wrong 0.95. */
static void test_calibration(void **state) {
    (void)state;
    static thaw_answer answers[] = {{0, 1, 0, 0, 0, 0},     {1, 1, 0.06f, 0, 0.06f, 1},
                                    {1, 0, 0.1f, 0, 0, 0},  {2, 2, 1, 1, 1, 1},
                                    {2, 1, 0.95f, 0, 0, 0}, {2, -1, 0, 0, 0, 0}};
    thaw_metrics m = {.K = 3, .n = 6, .answers = answers};
    thaw_calibration c;
    thaw_metrics_calibrate(&m, false, &c);
    assert_int_equal(c.n[0], 2);
    assert_int_equal(c.n[1], 1);
    assert_int_equal(c.n[14], 2);
    assert_true(isnan(c.score[7]) && isnan(c.right[7]));
    assert_true(c.right[0] == 0.5 && c.right[1] == 0 && c.right[14] == 0.5);
    assert_true(fabs(c.score[14] - 0.975) < 1e-6);
    double want = (fabs(0.06 - 1) + 0.1 + fabs(1.95 - 1)) / 5;
    assert_true(fabs(c.ece - want) < 1e-6);
    thaw_metrics_calibrate(&m, true, &c); /* The plain ones are right. */
    assert_int_equal(c.n[0], 3);
    assert_true(c.ece == 0 && c.right[14] == 1);
    m.n = 0;
    thaw_metrics_calibrate(&m, false, &c);
    assert_true(isnan(c.ece));
}

/* Labels that are sets: five rows of two classes, and a third class without rows. */
static void test_sets(void **state) {
    (void)state;
    thaw_arena arena = {0};
    static const uint64_t bits[] = {0, 1, 2, 3};
    const thaw_label_sets sets = {.n = 4, .K = 3, .bits = bits};
    static const float z[] = {3, -3, -1, 2, -2, -1, 2, 2, -1, 1, 0, 1, -1, 5, -1};
    static const int32_t label[] = {1, 3, 2, 0, 3}; /* Class 0: 1 1 0 0 1; class 1: 0 1 1 0 1. */
    thaw_metrics m, cut = {0};
    for (int batch = 1; batch <= 5; batch += 4) {
        assert_int_equal(thaw_metrics_init(&m, 3, 5, &arena, NULL), THAW_OK);
        assert_int_equal(thaw_metrics_take_sets(&m, &sets, 5, &arena, NULL), THAW_OK);
        for (int i = 0; i < 5; i += batch)
            thaw_metrics_add(&m, batch, z + (size_t)i * 3, label + i);
        thaw_metrics_finish(&m);
        /* By score 3 (right), 2 and 2 (one right), 1 (wrong), -1 (right). */
        assert_true(fabs(m.average_precision[0] - (1 + 2.0 / 3 + 3.0 / 5) / 3) < 1e-15);
        /* 5 (right), 2 (right), 0 (wrong), -2 (right), -3 (wrong). */
        assert_true(fabs(m.average_precision[1] - (1 + 1 + 3.0 / 4) / 3) < 1e-15);
        assert_true(m.average_precision[2] == 0);
        assert_true(m.map == (m.average_precision[0] + m.average_precision[1]) / 2);
        /* Above 0: class 0 rows 0 1 2 3, of which 0 and 1 are right; class 1 rows 2 and 4, which are;
         * class 2 row 3. */
        assert_int_equal(m.right[0], 2);
        assert_int_equal(m.answered[0], 4);
        assert_int_equal(m.answered[1], 2);
        assert_true(fabs(m.f1[0] - 4.0 / 7) < 1e-15 && fabs(m.f1[1] - 4.0 / 5) < 1e-15);
        assert_true(fabs(m.f1_micro - 2 * 4.0 / (7 + 6)) < 1e-15);
        assert_true(fabs(m.f1_macro - (4.0 / 7 + 4.0 / 5) / 2) < 1e-15);
        assert_true(m.top1 == 0.2); /* Row 0. */
        double loss = 0;
        for (int i = 0; i < 15; i++)
            loss += log(1 + exp(bits[label[i / 3]] >> i % 3 & 1 ? -z[i] : z[i])) / 5;
        assert_true(fabs(m.loss - loss) < 1e-12);
        assert_int_equal(m.answers[4].label, 3);
        assert_int_equal(m.answers[4].answer, 1);
        if (batch == 1) cut = m;
    }
    assert_true(cut.map == m.map && cut.loss == m.loss);
    /* A row with a NaN is right in nothing, and ranks last. */
    float bad[15];
    memcpy(bad, z, sizeof bad);
    bad[6] = NAN;
    thaw_metrics_reset(&m);
    thaw_metrics_add(&m, 5, bad, label);
    thaw_metrics_finish(&m);
    assert_int_equal(m.n_nan, 1);
    assert_int_equal(m.right[1], 1);
    assert_int_equal(m.support[1], 3);
    assert_true(fabs(m.average_precision[0] - (1 + 1 + 3.0 / 4) / 3) < 1e-15);
    assert_true(m.top1 == 0.2 && isfinite(m.loss));
    thaw_arena_free(&arena);
}

/* What a score would be without the temperature by which the logits were divided. */
static void test_temperature(void **state) {
    (void)state;
    thaw_arena arena = {0};
    static const float z[] = {1, 0, -1, 0, 0.5F, 0, NAN, 0, 0};
    static const int32_t label[] = {0, 0, 0};
    thaw_metrics m;
    assert_int_equal(thaw_metrics_init(&m, 3, 3, &arena, NULL), THAW_OK);
    m.temperature = 4;
    thaw_metrics_add(&m, 3, z, label);
    for (int i = 0; i < 2; i++) {
        double sum = 0, most = i ? 0.5 : 1;
        for (int k = 0; k < 3; k++)
            sum += exp(4 * z[3 * i + k]);
        assert_true(fabs(m.answers[i].plain - exp(4 * most) / sum) < 1e-6);
    }
    assert_int_equal(m.answers[2].answer, -1);
    thaw_arena_free(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calibration), cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_ties),        cmocka_unit_test(test_nan_is_wrong),
        cmocka_unit_test(test_loss),        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_batches),     cmocka_unit_test(test_many_classes),
        cmocka_unit_test(test_sets),        cmocka_unit_test(test_temperature),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
