/* Metrics against cases that were worked out by hand: ties, NaN, few classes, classes without rows,
 * and that the cut into batches does not matter. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "top/metrics.h"

static thaw_metrics scored(thaw_arena *arena, int64_t K, int64_t M, const float *logits,
                           const int32_t *label) {
    thaw_metrics metrics;
    assert_int_equal(thaw_metrics_init(&metrics, K, arena, NULL), THAW_OK);
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
    static const int64_t confusion[] = {2, 1, 0, 1, 1, 0, 0, 0, 1};
    thaw_metrics m = scored(&arena, 3, 6, z, label);
    assert_memory_equal(m.confusion, confusion, sizeof confusion);
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
    assert_int_equal(m.confusion[0] + m.confusion[1], 0);
    assert_int_equal(m.support[0], 2);
    assert_true(isnan(m.loss));
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
    assert_memory_equal(whole.confusion, parts.confusion, K * K * sizeof(int64_t));
    thaw_arena_free(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),      cmocka_unit_test(test_ties),
        cmocka_unit_test(test_nan_is_wrong), cmocka_unit_test(test_loss),
        cmocka_unit_test(test_nothing),      cmocka_unit_test(test_batches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
