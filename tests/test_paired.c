/* Comparing two ways of answering: exact figures where they are known, and none where there is nothing to
 * find. */
#include <math.h>
#include <string.h>

#include "run/paired.h"
#include "testing.h"

enum { N = 60, RUNS = 3 };

static thaw_paired compare(const thaw_trials *a, const thaw_trials *b) {
    thaw_paired p;
    thaw_error err = {0};
    if (thaw_paired_compare(a, b, &p, &err) != THAW_OK) fail_msg("%s", err.text);
    return p;
}

/* Two runs of which one alone is right about only_a pictures, the other alone about only_b. */
static thaw_paired discordant(int only_a, int only_b) {
    static uint8_t a[N], b[N];
    for (int i = 0; i < N; i++) {
        a[i] = i < only_a || i >= only_a + only_b + 10;
        b[i] = i >= only_a && (i < only_a + only_b || i >= only_a + only_b + 10);
    }
    thaw_trials of_a = {N, 1, a}, of_b = {N, 1, b};
    thaw_paired p = compare(&of_a, &of_b);
    assert_int_equal(p.only_a, only_a);
    assert_int_equal(p.only_b, only_b);
    assert_float_equal(p.difference, (double)(only_a - only_b) / N, 1e-12);
    return p;
}

static void mcnemar_is_exact(void **state) {
    (void)state;
    assert_float_equal(discordant(9, 0).p, 2 / 512.0, 1e-12);
    assert_float_equal(discordant(2, 0).p, 0.5, 1e-12);
    assert_float_equal(discordant(5, 1).p, 2 * 7 / 64.0, 1e-12);
    assert_float_equal(discordant(1, 5).p, 2 * 7 / 64.0, 1e-12);
    assert_float_equal(discordant(3, 3).p, 1, 1e-12);
    assert_float_equal(discordant(0, 0).p, 1, 1e-12);
}

/* The interval is that of a binomial, about, and holds the difference. */
static void the_interval_is_as_wide_as_it_should_be(void **state) {
    (void)state;
    thaw_paired p = discordant(20, 0);
    double sd = sqrt(20.0 / N * 40 / N / N);
    assert_true(p.low < p.difference && p.difference < p.high);
    assert_float_equal(p.high - p.low, 2 * 1.96 * sd, 0.04);
    assert_true(p.low > 0);
    p = discordant(6, 5);
    assert_true(p.low < 0 && p.high > 0);
}

static void trials_of_noise(uint64_t seed, double rate, uint8_t *right) {
    for (int i = 0; i < RUNS * N; i++)
        right[i] = (double)(test_random(&seed) % 1000) < 1000 * rate;
}

/* Several runs: noise is none, a difference in all runs is one, and the same input gives the same bits. */
static void several_runs_are_compared_by_pictures(void **state) {
    (void)state;
    uint8_t a[RUNS * N], b[RUNS * N];
    int n_small = 0;
    thaw_trials of_a = {N, RUNS, a}, of_b = {N, RUNS, b};
    for (uint64_t seed = 1; seed <= 20; seed++) {
        trials_of_noise(2 * seed, 0.7, a);
        trials_of_noise(2 * seed + 1, 0.7, b);
        thaw_paired p = compare(&of_a, &of_b), again = compare(&of_a, &of_b);
        assert_memory_equal(&p, &again, sizeof p);
        n_small += p.p < 0.05;
    }
    assert_in_range(n_small, 0, 4);
    trials_of_noise(3, 0.5, b);
    memcpy(a, b, sizeof a);
    for (int r = 0; r < RUNS; r++)
        for (int i = 0; i < 12; i++)
            a[r * N + i] = 1, b[r * N + i] = 0;
    thaw_paired p = compare(&of_a, &of_b);
    assert_true(p.p < 0.005); /* 2 of 2^12 signs. */
    assert_true(p.low > 0);
    assert_int_equal(p.only_a, 12);
    assert_float_equal(p.difference, 0.2, 1e-12);
}

static void errors_have_two_parts(void **state) {
    (void)state;
    uint8_t right[2 * N];
    for (int i = 0; i < 2 * N; i++)
        right[i] = i % N < N / 2; /* Both runs alike: pictures alone differ. */
    thaw_trials t = {N, 2, right};
    thaw_accuracy acc = thaw_trials_accuracy(&t);
    assert_float_equal(acc.mean, 0.5, 1e-12);
    assert_float_equal(acc.error, sqrt(0.25 / (N - 1)), 1e-9);
    for (int i = 0; i < 2 * N; i++)
        right[i] = i < N; /* One run right everywhere, one nowhere: runs alone differ. */
    acc = thaw_trials_accuracy(&t);
    assert_float_equal(acc.mean, 0.5, 1e-12);
    assert_float_equal(acc.error, 0.5, 1e-9);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mcnemar_is_exact),
        cmocka_unit_test(the_interval_is_as_wide_as_it_should_be),
        cmocka_unit_test(several_runs_are_compared_by_pictures),
        cmocka_unit_test(errors_have_two_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
