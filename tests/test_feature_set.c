/* Rows come out the same whatever part of them lies in memory, also to several threads at once. */
#include "cache_testing.h"
//
#include <pthread.h>

#include "cache/feature_set.h"

enum { N = 200 };

static thaw_features *open_rows(cache_test *t, thaw_cache *cache, size_t budget) {
    thaw_hash keys[N];
    for (uint64_t i = 0; i < N; i++)
        keys[i] = test_key(i);
    thaw_features *f = NULL;
    assert_ok(t, thaw_features_open(&f, cache, keys, N, t->spec.D, budget, &t->err));
    return f;
}

static void check_gather(cache_test *t, thaw_features *f, uint64_t seed) {
    enum { M = 37 };
    int64_t index[M];
    float *out = malloc(M * (size_t)t->spec.D * sizeof *out);
    for (int m = 0; m < M; m++)
        index[m] = (int64_t)(test_random(&seed) % N);
    assert_ok(t, thaw_features_gather(f, index, M, out, &t->err));
    for (int m = 0; m < M; m++)
        for (int64_t j = 0; j < t->spec.D; j++)
            if (out[m * t->spec.D + j] != test_value((uint64_t)index[m], j)) fail();
    free(out);
}

static void every_budget(void **state) {
    cache_test *t = *state;
    t->spec.dtype = THAW_F16;
    thaw_cache *cache = test_open(t);
    test_append(t, cache, 0, N);
    size_t row = (size_t)t->spec.D * sizeof(float);
    const size_t budgets[] = {0, 1, row - 1, row, 50 * row + 3, N * row - 1, N * row, SIZE_MAX};
    for (size_t k = 0; k < sizeof budgets / sizeof *budgets; k++) {
        thaw_features *f = open_rows(t, cache, budgets[k]);
        size_t fits = budgets[k] / row;
        assert_int_equal(thaw_features_in_memory(f), fits < N ? fits : N);
        const float *block = thaw_features_block(f);
        assert_int_equal(block != NULL, fits >= N);
        for (uint64_t i = 0; block && i < N; i++)
            assert_true(block[(int64_t)i * t->spec.D + 5] == test_value(i, 5));
        for (uint64_t seed = 0; seed < 20; seed++)
            check_gather(t, f, seed);
        thaw_features_close(f);
    }
    thaw_cache_close(cache);
}

typedef struct job {
    cache_test test;
    thaw_features *features;
} job;

static void *gather_often(void *context) {
    job *j = context;
    for (uint64_t seed = 0; seed < 300; seed++)
        check_gather(&j->test, j->features, seed);
    return NULL;
}

static void threads(void **state) {
    cache_test *t = *state;
    thaw_cache *cache = test_open(t);
    test_append(t, cache, 0, N);
    thaw_features *f = open_rows(t, cache, N / 2 * (size_t)t->spec.D * sizeof(float));
    pthread_t thread[4];
    job jobs[4];
    for (int i = 0; i < 4; i++) {
        jobs[i] = (job){*t, f};
        assert_int_equal(pthread_create(&thread[i], NULL, gather_often, &jobs[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    thaw_features_close(f);
    thaw_cache_close(cache);
}

static void missing_record(void **state) {
    cache_test *t = *state;
    thaw_cache *cache = test_open(t);
    test_append(t, cache, 0, N - 1);
    thaw_hash keys[] = {test_key(0), test_key(N)};
    thaw_features *f;
    assert_int_equal(thaw_features_open(&f, cache, keys, 2, t->spec.D, SIZE_MAX, &t->err),
                     THAW_ERR_MISMATCH);
    assert_null(f);
    assert_ok(t, thaw_features_open(&f, cache, keys, 2, t->spec.D, 0, &t->err));
    float row[24];
    assert_ok(t, thaw_features_gather(f, (int64_t[]){0}, 1, row, &t->err));
    assert_int_equal(thaw_features_gather(f, (int64_t[]){1}, 1, row, &t->err), THAW_ERR_MISMATCH);
    thaw_features_close(f);
    thaw_features_close(NULL);
    thaw_cache_close(cache);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, cache_test_setup, cache_test_teardown)
    const struct CMUnitTest tests[] = {TEST(every_budget), TEST(threads), TEST(missing_record)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
