/* The references against cases small enough to compute on paper. */
#include "reference.h"

#include "testing.h"

static void expect(const ref_tensor *y, const double *want) {
    for (int64_t i = 0; i < ref_size(y); i++)
        if (!(fabs(y->v[i] - want[i]) < 1e-12))
            fail_msg("element %lld is %g and should be %g", (long long)i, y->v[i], want[i]);
    free(y->v);
}

/* 2 x 3 pixels of one channel: 1 2 3 / 4 5 6. */
static ref_tensor six(double *values) {
    for (int i = 0; i < 6; i++)
        values[i] = i + 1;
    return (ref_tensor){1, 2, 3, 1, values};
}

static void conv(void **state) {
    (void)state;
    double v[6];
    ref_tensor x = six(v), y = ref_new(1, 2, 2, 1);
    thaw_conv_shape s = {1, 2, 3, 1, 2, 2, 1, 1, {2, 2, 1, 2, 1, 1, 1, 0, 0, 1}};
    /* Windows of rows (-1,0) and (0,1), columns (0,1) and (2,3); weights 1 10 / 100 1000. */
    ref_conv(&s, &x, (float[]){1, 10, 100, 1000}, (float[]){0.5}, &y);
    expect(&y, (double[]){2100.5, 300.5, 1 + 20 + 400 + 5000 + 0.5, 3 + 600 + 0.5});
}

static void grouped_dilated_conv(void **state) {
    (void)state;
    double v[] = {1, 10, 2, 20, 3, 30}; /* 1 x 3 pixels, two channels. */
    ref_tensor x = {1, 1, 3, 2, v}, y = ref_new(1, 1, 1, 4);
    thaw_conv_shape s = {1, 1, 3, 2, 1, 1, 4, 2, {1, 2, 1, 1, 1, 2, 0, 0, 0, 0}};
    /* Taps at columns 0 and 2; filters 0, 1 see channel 0, filters 2, 3 channel 1. */
    ref_conv(&s, &x, (float[]){1, 1, 1, 2, 1, 1, -1, 1}, NULL, &y);
    expect(&y, (double[]){4, 7, 40, 20});
}

static void dense(void **state) {
    (void)state;
    double v[] = {2, 3};
    ref_tensor x = {1, 1, 1, 2, v}, y = ref_new(1, 1, 1, 2);
    ref_dense(&x, (float[]){10, 1, -1, 2}, (float[]){100, 0}, &y);
    expect(&y, (double[]){123, 4});
}

static void pool(void **state) {
    (void)state;
    double v[6];
    ref_tensor x = six(v), y = ref_new(1, 1, 2, 1);
    thaw_pool_shape s = {1, 2, 3, 1, 1, 2, {2, 2, 2, 2, 1, 1, 0, 0, 0, 1}, true, false};
    ref_pool(&s, &x, &y);
    assert_true(y.v[0] == 5 && y.v[1] == 6);
    s.max = false;
    ref_pool(&s, &x, &y);
    assert_true(y.v[0] == 3 && y.v[1] == 4.5); /* (3 + 6) / 2 */
    s.count_include_pad = true;
    ref_pool(&s, &x, &y);
    expect(&y, (double[]){3, 2.25});
}

static void global_mean(void **state) {
    (void)state;
    double v[6];
    ref_tensor x = six(v), y = ref_new(1, 1, 1, 1);
    ref_global_mean(&x, &y);
    expect(&y, (double[]){3.5});
}

static void act(void **state) {
    (void)state;
    static const struct {
        thaw_epilogue e;
        double x, y;
    } rows[] = {
        {{THAW_ACT_NONE, 0, 0, false}, -3, -3},
        {{THAW_ACT_CLIP, 0, 6, false}, 7, 6},
        {{THAW_ACT_CLIP, 0, INFINITY, false}, -7, 0},
        {{THAW_ACT_LEAKY_RELU, 0.5f, 0, false}, -4, -2},
        {{THAW_ACT_SIGMOID, 0, 0, false}, 0, 0.5},
        {{THAW_ACT_SILU, 0, 0, false}, 0, 0},
        {{THAW_ACT_HARD_SIGMOID, 0.25f, 0.5f, false}, 1, 0.75},
        {{THAW_ACT_HARD_SWISH, 0, 0, false}, 1.5, 1.5 * 0.75},
        {{THAW_ACT_TANH, 0, 0, false}, 0, 0},
        {{THAW_ACT_GELU, 0, 0, false}, 0, 0},
        {{THAW_ACT_GELU_TANH, 0, 0, false}, 0, 0},
        {{THAW_ACT_ELU, 2, 0, false}, -INFINITY, -2},
        {{THAW_ACT_ELU, 2, 0, false}, 3, 3},
        {{THAW_ACT_SOFTPLUS, 0, 0, false}, -INFINITY, 0},
        {{THAW_ACT_POWER, -0.5f, 0, false}, 4, 0.5},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_true(ref_act(&rows[i].e, rows[i].x) == rows[i].y);
    double y[] = {-5, 5}, r[] = {1, 2};
    ref_tensor ty = {1, 1, 1, 2, y}, tr = {1, 1, 1, 2, r};
    ref_epilogue(&rows[1].e, &tr, &ty);
    assert_true(y[0] == 0 && y[1] == 6); /* The sum comes before the clip. */
}

static void two_tensors(void **state) {
    (void)state;
    double a[] = {1, 2, 3, 4}, gate[] = {10, 100}, map[] = {1, 2}; /* 1 x 2 pixels, 2 channels. */
    ref_tensor x = {1, 1, 2, 2, a}, g = {1, 1, 1, 2, gate}, m = {1, 1, 2, 1, map};
    ref_tensor y = ref_new(1, 1, 2, 2), z = ref_new(1, 1, 2, 2), u = ref_new(1, 1, 2, 2);
    ref_add(&x, &g, &y);
    expect(&y, (double[]){11, 102, 13, 104});
    ref_mul(&x, &m, &z);
    expect(&z, (double[]){1, 2, 6, 8});
    ref_affine(&x, (float[]){2, 3}, (float[]){0, 1}, &u);
    expect(&u, (double[]){2, 7, 6, 13});
}

static void moves(void **state) {
    (void)state;
    double a[] = {1, 2, 3, 4}, b[] = {8, 9};
    ref_tensor x = {1, 1, 2, 2, a}, z = {1, 1, 2, 1, b};
    ref_tensor joined = ref_new(1, 1, 2, 3), flat = ref_new(1, 1, 1, 4);
    ref_tensor padded = ref_new(1, 2, 3, 1);
    ref_concat(&z, 0, &joined);
    ref_concat(&x, 1, &joined);
    expect(&joined, (double[]){8, 1, 2, 9, 3, 4});
    ref_reshape(&x, &flat);
    expect(&flat, (double[]){1, 3, 2, 4});
    ref_pad(&z, &(thaw_window){.pad_top = 1, .pad_right = 1}, &padded);
    expect(&padded, (double[]){0, 0, 0, 8, 9, 0});
}

static void reshaped(void **state) {
    (void)state;
    double a[] = {1, 2, 3, 4, 5, 6}; /* 1 x 3 pixels, 2 channels: 1 3 5, 2 4 6 in ONNX's order. */
    ref_tensor x = {1, 1, 3, 2, a}, other = ref_new(1, 3, 2, 1), turned = ref_new(1, 1, 2, 3);
    ref_reshape(&x, &other);
    expect(&other, (double[]){1, 3, 5, 2, 4, 6});
    ref_transpose(&x, &(thaw_permutation){2, {2, 3}, {1, 0}}, &turned); /* 1 2, 3 4, 5 6 */
    expect(&turned, (double[]){1, 3, 5, 2, 4, 6});
}

static void resampled(void **state) {
    (void)state;
    double a[] = {1, 2, 3, 4}; /* 2 x 2 */
    static const int32_t mirrored[] = {1, 0, 1}, middle[] = {0, 1};
    static const float ones[] = {1, 1, 0}, thirds[] = {0.25f, 0.75f};
    ref_tensor x = {1, 2, 2, 1, a}, y = ref_new(1, 3, 1, 1), z = ref_new(1, 1, 2, 1);
    ref_resample(&x, &(thaw_taps){1, mirrored, ones}, &(thaw_taps){2, middle, thirds}, &y);
    expect(&y, (double[]){3.75, 1.75, 0});
    ref_tensor product = ref_new(1, 2, 2, 1);
    ref_matmul(&x, &x, &product);
    expect(&product, (double[]){7, 10, 15, 22});
    ref_constant((float[]){7, 8}, &z);
    expect(&z, (double[]){7, 8});
}

static void normalised(void **state) {
    (void)state;
    double a[] = {1, 10, 3, 30}; /* Two pixels of two channels. */
    ref_tensor x = {1, 1, 2, 2, a}, y = ref_new(1, 1, 2, 2), z = ref_new(1, 1, 2, 2);
    ref_group_norm(&x, 2, (float[]){1, 2}, (float[]){0, 5}, 0, &y);
    expect(&y, (double[]){-1, 3, 1, 7});
    double b[] = {0, log(3), 0, 0};
    ref_tensor v = {1, 1, 1, 4, b}, w = ref_new(1, 1, 1, 4);
    ref_softmax(&v, 2, &w);
    expect(&w, (double[]){0.5, 0.75, 0.5, 0.25});
    ref_softmax(&x, 2, &z);
    expect(&z, (double[]){1, 1, 1, 1});
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conv),        cmocka_unit_test(grouped_dilated_conv),
        cmocka_unit_test(dense),       cmocka_unit_test(pool),
        cmocka_unit_test(global_mean), cmocka_unit_test(act),
        cmocka_unit_test(two_tensors), cmocka_unit_test(moves),
        cmocka_unit_test(reshaped),    cmocka_unit_test(resampled),
        cmocka_unit_test(normalised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
