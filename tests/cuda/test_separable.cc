/* A depthwise convolution and the 1x1 behind it as one kernel: the same bits as from the two
 * kernels apart, which are tested on their own; and against the formula in double, z rounded to the
 * storage type between, NMSE 1e-6 beyond the rounding of the result. And the rule that decides.
 */
#include "cuda_testing.h"

using namespace thaw;

struct separable_case {
    const char *name;
    int64_t N, H, W, C, K;
    thaw_window window;
    thaw_act act1;
    float a1, b1;
    thaw_act act2;
    float a2, b2;
    thaw_cuda_residual residual;
};

#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define SQUARE(r, stride, pad) \
    { r, r, stride, stride, 1, 1, pad, pad, pad, pad }
#define RELU6 THAW_ACT_CLIP, 0, 6
#define LINEAR THAW_ACT_NONE, 0, 0

/* clang-format off */
static const separable_case cases[] = {
    {"one of each", 1, 1, 1, 1, 1, SQUARE(3, 1, 1)},
    {"odd everything", 2, 7, 5, 17, 11, {3, 2, 1, 2, 1, 1, 1, 0, 2, 1}, RELU6, LINEAR},
    {"sigmoid leaves padding zero", 1, 4, 5, 9, 20, SQUARE(3, 1, 1), THAW_ACT_SIGMOID, 0, 0, THAW_ACT_SIGMOID},
    {"residual before", 1, 6, 7, 24, 24, SQUARE(3, 1, 1), RELU6, RELU6, THAW_RESIDUAL_BEFORE_ACT},
    {"residual after", 1, 6, 7, 24, 24, SQUARE(3, 1, 1), RELU6, RELU6, THAW_RESIDUAL_AFTER_ACT},
    {"two columns of tiles", 1, 6, 6, 32, 200, SQUARE(3, 1, 1), RELU6, LINEAR},
    {"two rows of tiles", 1, 13, 13, 16, 8, SQUARE(3, 1, 1), RELU6, LINEAR},
    {"dilation 2", 1, 9, 9, 16, 16, {3, 3, 1, 1, 2, 2, 2, 2, 2, 2}, RELU6, LINEAR},
    {"mobilenet 32->16", 1, 8, 8, 32, 16, SQUARE(3, 1, 1), RELU6, LINEAR},
    {"mobilenet 96->24 s2", 1, 9, 9, 96, 24, {3, 3, 2, 2, 1, 1, 0, 0, 1, 1}, RELU6, LINEAR},
    {"mobilenet 384->96", 1, 5, 5, 384, 96, SQUARE(3, 1, 1), RELU6, LINEAR, THAW_RESIDUAL_BEFORE_ACT},
    {"efficientnet 240->40 5x5 s2", 1, 8, 8, 240, 40, SQUARE(5, 2, 2), THAW_ACT_SILU, 0, 0, LINEAR},
};
/* clang-format on */

static thaw_conv_shape depthwise_of(const separable_case &c) {
    const thaw_window &w = c.window;
    int64_t P = (c.H + w.pad_top + w.pad_bottom - w.dilation_h * (w.R - 1) - 1) / w.stride_h + 1;
    int64_t Q = (c.W + w.pad_left + w.pad_right - w.dilation_w * (w.S - 1) - 1) / w.stride_w + 1;
    return {c.N, c.H, c.W, c.C, P, Q, c.C, c.C, w};
}

template <class T>
static void run(const separable_case &c, T) {
    int sm = device_sm();
    thaw_cuda_device device = {sm, 80, 70, 600, 6};
    thaw_conv_shape d_shape = depthwise_of(c);
    thaw_conv_shape p_shape = {c.N, d_shape.P, d_shape.Q,
                               c.C, d_shape.P, d_shape.Q,
                               c.K, 1,         {1, 1, 1, 1, 1, 1, 0, 0, 0, 0}};
    thaw_cuda_reason reason;
    const char *why = cuda_separable_refuses(&d_shape, &p_shape, DTYPE<T>, &device, &reason);
    if (why) return fail("refused: %s", why);

    random_source random = {(uint64_t)(c.C * 7 + c.K)};
    std::vector<float> w1((size_t)(c.C * c.window.R * c.window.S)), b1((size_t)c.C);
    std::vector<float> w2((size_t)(c.C * c.K)), b2((size_t)c.K);
    for (float &v : w1)
        v = random.normal() / 3;
    for (float &v : b1)
        v = random.normal();
    for (float &v : b2)
        v = random.normal();
    for (float &v : w2) {
        T rounded;
        store(&rounded, random.normal() / sqrtf((float)c.C));
        v = value(rounded);
    }
    auto number = [&] { return random.normal(); };
    device_tensor<T> x(c.N, c.H, c.W, c.C), z(c.N, d_shape.P, d_shape.Q, c.C);
    device_tensor<T> residual(c.N, d_shape.P, d_shape.Q, c.K), y(c.N, d_shape.P, d_shape.Q, c.K);
    x.fill(number);
    residual.fill(number);

    thaw_cuda_conv_choice choice = cuda_separable_choice(&p_shape);
    std::vector<float> packed_w1(cuda_depthwise_weight_count(&d_shape));
    std::vector<float> packed_b1((size_t)padded_channels(c.C));
    std::vector<uint8_t> packed_w2(cuda_conv_weight_bytes(&p_shape, DTYPE<T>, sm, &choice));
    std::vector<float> packed_b2(cuda_conv_bias_count(&p_shape, sm, &choice));
    cuda_depthwise_pack(&d_shape, w1.data(), b1.data(), packed_w1.data(), packed_b1.data());
    cuda_conv_pack(&p_shape, DTYPE<T>, sm, &choice, w2.data(), b2.data(), packed_w2.data(),
                   packed_b2.data());
    device_array<float> dev_w1(packed_w1), dev_b1(packed_b1), dev_b2(packed_b2);
    device_array<uint8_t> dev_w2(packed_w2);
    thaw_cuda_separable s = {};
    s.depthwise = {d_shape,  DTYPE<T>,      c.act1,        c.a1,    c.b1,    THAW_NO_RESIDUAL,
                   x.data(), dev_w1.data(), dev_b1.data(), nullptr, z.data()};
    s.pointwise = {p_shape,         DTYPE<T>, c.act2,   c.a2,          c.b2,
                   c.residual,      choice,   z.data(), dev_w2.data(), dev_b2.data(),
                   residual.data(), y.data(), nullptr,  nullptr};

    /* Apart. */
    thaw_cuda_launch launch = {};
    if (!finish(cuda_depthwise(&launch, &s.depthwise), launch) ||
        !finish(cuda_conv(&launch, &s.pointwise, sm), launch))
        return;
    std::vector<T> apart = y.array.download("y of two kernels");

    /* The formula. */
    host_tensor between(c.N, d_shape.P, d_shape.Q, c.C), want(c.N, d_shape.P, d_shape.Q, c.K);
    thaw_epilogue e1 = {c.act1, c.a1, c.b1, false};
    thaw_epilogue e2 = {c.act2, c.a2, c.b2, c.residual == THAW_RESIDUAL_BEFORE_ACT};
    ref_conv(&d_shape, &x.ref, w1.data(), b1.data(), &between.ref);
    ref_epilogue(&e1, NULL, &between.ref);
    for (double &v : between.values) {
        T rounded;
        store(&rounded, (float)v);
        v = value(rounded);
    }
    ref_conv(&p_shape, &between.ref, w2.data(), b2.data(), &want.ref);
    ref_epilogue(&e2, e2.residual ? &residual.ref : NULL, &want.ref);
    for (size_t i = 0; c.residual == THAW_RESIDUAL_AFTER_ACT && i < want.values.size(); i++)
        want.values[i] += residual.values[i];

    s.pointwise.x = nullptr; /* Neither is looked at. */
    s.depthwise.y = nullptr;
    run_twice("y", y, want.ref, {1e-6 + 2 * rounding_nmse<T>()},
              [&](thaw_cuda_launch *one) { return cuda_separable(one, &s, sm); });
    check_equal_bits("one kernel and two", apart, y.array.download("y"));
}

/* Once: MobileNetV2's early blocks pay at a large batch on an A10G, wide outputs never do. */
static void check_rule() {
    const thaw_cuda_device a10g = {86, 80, 70, 600, 6};
    const thaw_window three = {3, 3, 1, 1, 1, 1, 1, 1, 1, 1}, one = {1, 1, 1, 1, 1, 1, 0, 0, 0, 0};
    thaw_conv_shape d = {64, 56, 56, 144, 56, 56, 144, 144, three};
    thaw_conv_shape p = {64, 56, 56, 144, 56, 56, 24, 1, one};
    if (!cuda_separable_pays(&d, &p, THAW_F16, &a10g)) fail("144->24 at 56x56 should pay");
    p.K = 320;
    if (cuda_separable_pays(&d, &p, THAW_F16, &a10g)) fail("320 channels compute z three times");
    thaw_cuda_reason reason;
    p.window.stride_h = 2;
    if (!cuda_separable_refuses(&d, &p, THAW_F16, &a10g, &reason)) fail("a strided 1x1 is taken");
}

static bool supports(thaw_dtype dtype, int sm) {
    return sm >= 80 || dtype == THAW_F16;
}

int main(int argc, char **argv) {
    bool checked = false;
    return test_main(
        argc, argv, cases,
        [&](const separable_case &c, auto type) {
            if (!checked) check_rule();
            checked = true;
            run(c, type);
        },
        supports);
}
