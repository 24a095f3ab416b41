/* Depthwise convolution against the formula in double, in each storage type. Small integers must
 * come out exactly; random factors at an NMSE of 1e-6 beyond the rounding of the result. How it is
 * cut into blocks is test_index's.
 */
#include "cuda_testing.h"

using namespace thaw;

struct depthwise_case {
    const char *name;
    int64_t N, H, W, C;
    thaw_window window;
    thaw_act act;
    float a, b;
    thaw_cuda_residual residual;
};

#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define SQUARE(r, stride, pad) \
    { r, r, stride, stride, 1, 1, pad, pad, pad, pad }
#define RELU6 THAW_ACT_CLIP, 0, 6

/* clang-format off */
static const depthwise_case cases[] = {
    {"one of each", 1, 1, 1, 1, SQUARE(3, 1, 1)},
    {"3x3", 2, 7, 9, 17, SQUARE(3, 1, 1)},
    {"3x3 no pads", 1, 5, 6, 24, SQUARE(3, 1, 0)},
    {"3x3 s2", 1, 9, 7, 40, SQUARE(3, 2, 1)},
    {"3x3 s2 pads 0011", 2, 8, 8, 24, {3, 3, 2, 2, 1, 1, 0, 0, 1, 1}},
    {"3x3 pads 2013", 1, 6, 7, 8, {3, 3, 1, 1, 1, 1, 2, 0, 1, 3}},
    {"3x3 wide row", 1, 3, 70, 8, SQUARE(3, 1, 1)},
    {"3x3 tall", 1, 70, 3, 8, SQUARE(3, 1, 1)},
    {"5x5", 1, 9, 7, 24, SQUARE(5, 1, 2), THAW_ACT_HARD_SWISH},
    {"5x5 s2", 1, 11, 12, 16, SQUARE(5, 2, 2)},
    {"7x7", 1, 9, 10, 16, SQUARE(7, 1, 3)},
    {"7x7 s2", 1, 13, 11, 9, SQUARE(7, 2, 3)},
    {"3x3 blocks that walk", 2048, 17, 1, 64, SQUARE(3, 1, 1), THAW_ACT_SILU},
    {"1x1 blocks that walk", 2048, 17, 1, 64, SQUARE(1, 1, 0), THAW_ACT_SILU},
    {"1x1", 1, 4, 5, 12, SQUARE(1, 1, 0)},
    {"9x9", 1, 10, 11, 8, SQUARE(9, 1, 4)},
    {"3x3 s3", 1, 10, 11, 8, SQUARE(3, 3, 1)},
    {"3x3 s1,2", 1, 10, 11, 8, {3, 3, 1, 2, 1, 1, 1, 1, 1, 1}},
    {"3x3 dilation 2", 1, 11, 9, 16, {3, 3, 1, 1, 2, 2, 2, 2, 2, 2}},
    {"1x5", 1, 5, 12, 17, {1, 5, 1, 1, 1, 1, 0, 2, 0, 2}},
    {"residual before", 1, 6, 5, 24, SQUARE(3, 1, 1), RELU6, THAW_RESIDUAL_BEFORE_ACT},
    {"residual after", 1, 6, 5, 24, SQUARE(3, 1, 1), RELU6, THAW_RESIDUAL_AFTER_ACT},
    {"sigmoid leaves padding zero", 1, 4, 4, 3, SQUARE(3, 1, 1), THAW_ACT_SIGMOID},
    {"mobilenet 32", 1, 10, 10, 32, SQUARE(3, 1, 1), RELU6},
    {"mobilenet 96 s2", 1, 10, 10, 96, {3, 3, 2, 2, 1, 1, 0, 0, 1, 1}, RELU6},
    {"mobilenet 144", 1, 8, 8, 144, SQUARE(3, 1, 1), RELU6},
    {"mobilenet 576 s2", 1, 6, 6, 576, {3, 3, 2, 2, 1, 1, 0, 0, 1, 1}, RELU6},
    {"mobilenet 960", 2, 7, 7, 960, SQUARE(3, 1, 1), RELU6},
    {"efficientnet 240 5x5", 1, 8, 8, 240, SQUARE(5, 1, 2), THAW_ACT_SILU},
    {"efficientnet 672 5x5 s2", 1, 7, 7, 672, SQUARE(5, 2, 2), THAW_ACT_SILU},
    {"convnext 96 7x7", 1, 8, 8, 96, SQUARE(7, 1, 3)},
    {"convnext 768 7x7", 1, 7, 7, 768, SQUARE(7, 1, 3)},
    {"convnext 192 7x7", 1, 7, 7, 192, SQUARE(7, 1, 3)},
    {"convnext 384 7x7", 1, 7, 7, 384, SQUARE(7, 1, 3)},
    {"mobilenet 144 s2", 1, 8, 8, 144, SQUARE(3, 2, 1), RELU6},
    {"mobilenet 192", 1, 7, 7, 192, SQUARE(3, 1, 1), RELU6},
    {"mobilenet 192 s2", 1, 8, 8, 192, SQUARE(3, 2, 1), RELU6},
    {"mobilenet 384", 1, 7, 7, 384, SQUARE(3, 1, 1), RELU6},
    {"mobilenet 576", 1, 7, 7, 576, SQUARE(3, 1, 1), RELU6},
    {"efficientnet 144 5x5 s2", 1, 8, 8, 144, SQUARE(5, 2, 2), THAW_ACT_SILU},
    {"efficientnet 240 s2", 1, 8, 8, 240, SQUARE(3, 2, 1), THAW_ACT_SILU},
    {"efficientnet 480", 1, 7, 7, 480, SQUARE(3, 1, 1), THAW_ACT_SILU},
    {"efficientnet 480 5x5", 1, 7, 7, 480, SQUARE(5, 1, 2), THAW_ACT_SILU},
    {"efficientnet 672 5x5", 1, 7, 7, 672, SQUARE(5, 1, 2), THAW_ACT_SILU},
    {"efficientnet 1152 5x5", 1, 7, 7, 1152, SQUARE(5, 1, 2), THAW_ACT_SILU},
    {"efficientnet 1152", 1, 7, 7, 1152, SQUARE(3, 1, 1), THAW_ACT_SILU},
};
/* clang-format on */

static thaw_conv_shape shape_of(const depthwise_case &c) {
    const thaw_window &win = c.window;
    int64_t P =
        (c.H + win.pad_top + win.pad_bottom - win.dilation_h * (win.R - 1) - 1) / win.stride_h;
    int64_t Q =
        (c.W + win.pad_left + win.pad_right - win.dilation_w * (win.S - 1) - 1) / win.stride_w;
    return {c.N, c.H, c.W, c.C, P + 1, Q + 1, c.C, c.C, win};
}

template <class T>
static void run(const depthwise_case &c, T) {
    if (c.N > 1000 && DTYPE<T> != THAW_F16) return; /* A second in the emulation. */
    thaw_conv_shape shape = shape_of(c);
    thaw_cuda_reason reason;
    const char *why = cuda_depthwise_refuses(&shape, &reason);
    if (why) return fail("refused: %s", why);
    bool exact = c.act == THAW_ACT_NONE || c.act == THAW_ACT_CLIP;
    for (int integers = 0; integers < 1 + exact; integers++) {
        random_source random = {(uint64_t)(c.H * 31 + c.C)};
        auto number = [&] { return integers ? random.integer(3) : random.normal(); };
        std::vector<float> w((size_t)(c.C * c.window.R * c.window.S)), b((size_t)c.C);
        for (float &v : w)
            v = number();
        for (float &v : b)
            v = number();
        device_tensor<T> x(c.N, c.H, c.W, c.C), residual(c.N, shape.P, shape.Q, c.C);
        device_tensor<T> y(c.N, shape.P, shape.Q, c.C);
        x.fill(number);
        residual.fill(number);
        host_tensor want(c.N, shape.P, shape.Q, c.C);
        ref_conv(&shape, &x.ref, w.data(), b.data(), &want.ref);
        thaw_epilogue e = {c.act, c.a, c.b, c.residual == THAW_RESIDUAL_BEFORE_ACT};
        ref_epilogue(&e, e.residual ? &residual.ref : NULL, &want.ref);
        for (size_t i = 0; c.residual == THAW_RESIDUAL_AFTER_ACT && i < want.values.size(); i++)
            want.values[i] += residual.values[i];

        std::vector<float> packed_w(cuda_depthwise_weight_count(&shape));
        std::vector<float> packed_b((size_t)padded_channels(c.C));
        cuda_depthwise_pack(&shape, w.data(), b.data(), packed_w.data(), packed_b.data());
        device_array<float> device_w(packed_w), device_b(packed_b);
        thaw_cuda_depthwise d = {
            shape,           DTYPE<T>,        c.act,           c.a,     c.b, c.residual, x.data(),
            device_w.data(), device_b.data(), residual.data(), y.data()};
        run_twice(integers ? "integers" : "random", y, want.ref,
                  {integers ? 0 : 1e-6 + rounding_nmse<T>()},
                  [&](thaw_cuda_launch *launch) { return cuda_depthwise(launch, &d); });
    }
}

int main(int argc, char **argv) {
    return test_main(
        argc, argv, cases, [](const depthwise_case &c, auto type) { run(c, type); }, every_type);
}
