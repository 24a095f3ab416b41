/* L-BFGS on functions whose minimum is known, on what has none, and on what fails. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
//
#include <cmocka.h>

#include "top/lbfgs.h"

enum { N = 60 };

static thaw_error err;

static thaw_lbfgs_result minimise(thaw_lbfgs problem, double *x) {
    thaw_arena arena = {0};
    thaw_lbfgs_result result;
    if (thaw_lbfgs_minimise(&problem, x, &arena, &result, &err) != THAW_OK)
        fail_msg("%s", err.text);
    thaw_arena_free(&arena);
    return result;
}

/* Rosenbrock's valley, chained: 0 at (1, ..., 1). */
static thaw_status valley(void *ctx, const double *x, double *f, double *g, thaw_error *e) {
    (void)ctx, (void)e;
    *f = 0;
    memset(g, 0, N * sizeof *g);
    for (int i = 0; i + 1 < N; i++) {
        double a = x[i + 1] - x[i] * x[i], b = 1 - x[i];
        *f += 100 * a * a + b * b;
        g[i] += -400 * a * x[i] - 2 * b;
        g[i + 1] += 200 * a;
    }
    return THAW_OK;
}

static void a_curved_valley_is_followed(void **state) {
    (void)state;
    double x[N], again[N];
    for (int i = 0; i < N; i++)
        x[i] = again[i] = i % 2 ? 1 : -1.2;
    thaw_lbfgs problem = {.n = N, .evaluate = valley, .tolerance = 1e-9, .most_iterations = 1000};
    thaw_lbfgs_result r = minimise(problem, x);
    assert_true(r.converged && r.gradient <= 1e-9 && r.f < 1e-15);
    assert_in_range(r.iterations, 20, 400);
    assert_true(r.evaluations <= 2 * r.iterations);
    for (int i = 0; i < N; i++)
        assert_true(fabs(x[i] - 1) < 1e-8);
    minimise(problem, again);
    assert_memory_equal(x, again, sizeof x);
    /* So many steps and no more. */
    for (int i = 0; i < N; i++)
        x[i] = -1.2;
    problem.most_iterations = 7;
    r = minimise(problem, x);
    assert_true(!r.converged && r.iterations == 7);
}

/* sum of c_i (x_i - i)^2 / 2, the c_i from 1 to *ctx. */
static thaw_status bowl(void *ctx, const double *x, double *f, double *g, thaw_error *e) {
    (void)e;
    *f = 0;
    for (int i = 0; i < N; i++) {
        double c = pow(*(double *)ctx, (double)i / (N - 1)), d = x[i] - i;
        *f += c * d * d / 2;
        g[i] = c * d;
    }
    return THAW_OK;
}

static void an_uneven_bowl(void **state) {
    (void)state;
    double condition = 1e3, x[N] = {0};
    thaw_lbfgs problem = {
        .n = N, .evaluate = bowl, .ctx = &condition, .tolerance = 1e-8, .most_iterations = 2000};
    assert_true(minimise(problem, x).converged);
    for (int i = 0; i < N; i++)
        assert_true(fabs(x[i] - i) < 1e-7);
    /* Where it is already, nothing moves. */
    thaw_lbfgs_result r = minimise(problem, x);
    assert_true(r.converged && r.iterations == 0 && r.evaluations == 1);
}

/* The same, to six digits only: the search ends where it cannot see further. */
static thaw_status coarse(void *ctx, const double *x, double *f, double *g, thaw_error *e) {
    bowl(ctx, x, f, g, e);
    *f = (double)(float)(*f + 1000);
    for (int i = 0; i < N; i++)
        g[i] = (double)(float)g[i];
    return THAW_OK;
}

static void rounding_ends_the_search(void **state) {
    (void)state;
    double condition = 100, x[N] = {0};
    thaw_lbfgs problem = {
        .n = N, .evaluate = coarse, .ctx = &condition, .tolerance = 0, .most_iterations = 100000};
    thaw_lbfgs_result r = minimise(problem, x);
    assert_true(r.iterations < 1000 && r.evaluations < 5000);
    assert_true(r.f <= 1000 * (1 + 1e-6));
}

static thaw_status fails_at_third(void *ctx, const double *x, double *f, double *g, thaw_error *e) {
    double condition = 10;
    if (++*(int *)ctx == 3) return thaw_fail(e, THAW_ERR_INTERRUPTED, "the third");
    return bowl(&condition, x, f, g, e);
}

static thaw_status nowhere(void *ctx, const double *x, double *f, double *g, thaw_error *e) {
    (void)ctx, (void)x, (void)e;
    *f = 1;
    for (int i = 0; i < N; i++)
        g[i] = i == 3 ? NAN : 0;
    return THAW_OK;
}

static void failures_have_words(void **state) {
    (void)state;
    int calls = 0;
    double x[N] = {0};
    thaw_arena arena = {0};
    thaw_lbfgs_result r;
    thaw_lbfgs problem = {.n = N, .evaluate = fails_at_third, .ctx = &calls, .most_iterations = 9};
    assert_int_equal(thaw_lbfgs_minimise(&problem, x, &arena, &r, &err), THAW_ERR_INTERRUPTED);
    assert_string_equal(err.text, "the third");
    problem.evaluate = nowhere;
    assert_int_equal(thaw_lbfgs_minimise(&problem, x, &arena, &r, &err), THAW_ERR_DATA);
    problem.n = INT64_MAX;
    assert_int_equal(thaw_lbfgs_minimise(&problem, x, &arena, &r, &err), THAW_ERR_NOMEM);
    thaw_arena_free(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_curved_valley_is_followed),
        cmocka_unit_test(an_uneven_bowl),
        cmocka_unit_test(rounding_ends_the_search),
        cmocka_unit_test(failures_have_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
