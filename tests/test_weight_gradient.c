/* The gradient of a convolution's weights against plain sums in double, for each of its ways: as one
 * product, tap by tap and by tiles; with passes that are not full, channels that fill no panel and
 * borders on all sides. The workspace begins as NaN and two runs must give equal bits.
 */
#include "cpu/weight_gradient.h"
#include "testing.h"

enum { MATRIX, TAPS, TILES, GUARDS = 16 };
static const float GUARD = 12345;

/* name, way, passes (0: not counted), the shape's N, H, W, C, K, window */
static const struct {
    const char *name;
    int way, passes;
    int64_t N, H, W, C, K;
    thaw_window window;
} cases[] = {
    {"1x1", MATRIX, 0, 3, 5, 7, 17, 5, {1, 1, 1, 1, 1, 1, 0, 0, 0, 0}},
    {"1x1 of one pixel", MATRIX, 0, 1, 1, 1, 1, 1, {1, 1, 1, 1, 1, 1, 0, 0, 0, 0}},
    {"1x1 s2", TAPS, 1, 2, 9, 8, 24, 31, {1, 1, 2, 2, 1, 1, 0, 0, 0, 0}},
    {"1x1 padded", TAPS, 1, 2, 4, 4, 16, 16, {1, 1, 1, 1, 1, 1, 1, 0, 0, 2}},
    {"3x3 s2 in two passes", TAPS, 2, 2, 27, 25, 20, 23, {3, 3, 2, 2, 1, 1, 1, 1, 1, 1}},
    {"3x3 of few pixels", TAPS, 1, 2, 5, 5, 16, 16, {3, 3, 1, 1, 1, 1, 1, 1, 1, 1}},
    {"3x3 dilated", TAPS, 1, 1, 9, 10, 33, 16, {3, 3, 1, 1, 2, 2, 2, 2, 2, 2}},
    {"5x2 dilated s1,2", TAPS, 2, 1, 19, 31, 16, 18, {5, 2, 1, 2, 1, 3, 0, 2, 3, 1}},
    {"3x3 at 7x7", TILES, 1, 4, 7, 7, 48, 36, {3, 3, 1, 1, 1, 1, 1, 1, 1, 1}},
    {"3x3 at 8x8, odd channels", TILES, 1, 1, 8, 8, 17, 19, {3, 3, 1, 1, 1, 1, 1, 1, 1, 1}},
    {"3x3 without a border", TILES, 1, 2, 14, 9, 25, 32, {3, 3, 1, 1, 1, 1, 0, 0, 0, 0}},
    {"3x3 pads 2013", TILES, 1, 1, 11, 12, 16, 24, {3, 3, 1, 1, 1, 1, 2, 0, 1, 3}},
    {"3x3 in three passes", TILES, 3, 3, 26, 27, 18, 22, {3, 3, 1, 1, 1, 1, 1, 1, 1, 1}},
};

static int64_t size_of_output(int64_t n, int64_t pads, int64_t filter, int64_t dilation,
                              int64_t stride) {
    return (n + pads - (filter - 1) * dilation - 1) / stride + 1;
}

static thaw_conv_shape shape_of(size_t i) {
    const thaw_window *w = &cases[i].window;
    thaw_conv_shape c = {.N = cases[i].N,
                         .H = cases[i].H,
                         .W = cases[i].W,
                         .C = cases[i].C,
                         .K = cases[i].K,
                         .G = 1,
                         .window = *w};
    c.P = size_of_output(c.H, w->pad_top + w->pad_bottom, w->R, w->dilation_h, w->stride_h);
    c.Q = size_of_output(c.W, w->pad_left + w->pad_right, w->S, w->dilation_w, w->stride_w);
    return c;
}

static double sum_of(const thaw_conv_shape *c, const float *x, const float *dy, int64_t k,
                     int64_t channel, int64_t r, int64_t s) {
    const thaw_window *w = &c->window;
    double sum = 0;
    for (int64_t n = 0; n < c->N; n++)
        for (int64_t p = 0; p < c->P; p++)
            for (int64_t q = 0; q < c->Q; q++) {
                int64_t h = p * w->stride_h + r * w->dilation_h - w->pad_top;
                int64_t v = q * w->stride_w + s * w->dilation_w - w->pad_left;
                if (h < 0 || h >= c->H || v < 0 || v >= c->W) continue;
                sum += (double)x[((n * c->H + h) * c->W + v) * c->C + channel] *
                       dy[((n * c->P + p) * c->Q + q) * c->K + k];
            }
    return sum;
}

static float *numbers(int64_t n, uint64_t *random) {
    float *v = malloc((size_t)n * sizeof *v);
    assert_non_null(v);
    for (int64_t i = 0; i < n; i++)
        v[i] = test_uniform(random);
    return v;
}

/* n floats that are NaN, and guards behind them. */
static float *poisoned(int64_t n) {
    float *v = malloc((size_t)(n + GUARDS) * sizeof *v);
    assert_non_null(v);
    for (int64_t i = 0; i < n + GUARDS; i++)
        v[i] = i < n ? NAN : GUARD;
    return v;
}

static void expect_guards(const char *name, const float *v, int64_t n) {
    for (int64_t i = n; i < n + GUARDS; i++)
        if (v[i] != GUARD) fail_msg("%s writes behind its memory", name);
}

static void run(const cpu_weight_gradient *plan, const char *name, const float *x, const float *dy,
                float *dw, float *db) {
    size_t bytes = (cpu_weight_gradient_workspace(plan) + 63) / 64 * 64;
    float *workspace = aligned_alloc(64, bytes + 64);
    assert_non_null(workspace);
    int64_t n = (int64_t)(bytes / sizeof *workspace);
    for (int64_t i = 0; i < n + GUARDS; i++)
        workspace[i] = i < n ? NAN : GUARD;
    assert_int_equal(cpu_weight_gradient_run(plan, x, dy, dw, db, workspace), 0);
    expect_guards(name, workspace, n);
    free(workspace);
}

static void expect_sums(size_t i) {
    thaw_conv_shape c = shape_of(i);
    const char *name = cases[i].name;
    cpu_weight_gradient plan;
    assert_true(cpu_weight_gradient_plan(&c, &plan));
    int way = plan.matrix ? MATRIX : plan.tiles ? TILES : TAPS;
    if (way != cases[i].way) fail_msg("%s goes another way: %d", name, way);
    int64_t rows = c.N * plan.height * plan.width, each = c.C * c.window.R * c.window.S;
    if (way != MATRIX && (rows + plan.pass - 1) / plan.pass != cases[i].passes)
        fail_msg("%s does not take %d passes", name, cases[i].passes);
    uint64_t random = i;
    float *x = numbers(c.N * c.H * c.W * c.C, &random);
    float *dy = numbers(c.N * c.P * c.Q * c.K, &random);
    float *dw = poisoned(c.K * each), *db = poisoned(c.K), *again = poisoned(c.K * each);
    run(&plan, name, x, dy, dw, db);
    run(&plan, name, x, dy, again, NULL);
    expect_guards(name, dw, c.K * each);
    expect_guards(name, db, c.K);
    assert_memory_equal(dw, again, (size_t)(c.K * each) * sizeof *dw);
    double worst = 0, largest = 0;
    for (int64_t j = 0; j < c.K * each; j++) {
        int64_t tap = j % (c.window.R * c.window.S), channel = j % each;
        double want = sum_of(&c, x, dy, j / each, channel / (c.window.R * c.window.S),
                             tap / c.window.S, tap % c.window.S);
        double off = fabs(dw[j] - want);
        worst = off <= worst ? worst : off; /* NaN, too. */
        largest = fmax(largest, fabs(want));
    }
    if (!(worst <= 4e-6 * largest)) fail_msg("%s: off by %g of %g", name, worst, largest);
    for (int64_t k = 0; k < c.K; k++) {
        double sum = 0;
        for (int64_t m = 0; m < c.N * c.P * c.Q; m++)
            sum += dy[m * c.K + k];
        if (!(fabs(db[k] - sum) <= 1e-7 * (double)(c.N * c.P * c.Q)))
            fail_msg("%s: db is off by %g", name, db[k] - sum);
    }
    free(x), free(dy), free(dw), free(db), free(again);
}

static void every_way_gives_the_sums(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_sums(i);
}

/* Groups, and channels too few for its panels, are not its. */
static void others_are_left(void **state) {
    (void)state;
    cpu_weight_gradient plan;
    thaw_conv_shape c = shape_of(8);
    c.G = 2;
    assert_false(cpu_weight_gradient_plan(&c, &plan));
    c = shape_of(8);
    c.C = 3;
    assert_false(cpu_weight_gradient_plan(&c, &plan));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way_gives_the_sums),
        cmocka_unit_test(others_are_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
