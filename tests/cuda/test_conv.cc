/* The implicit GEMM against the formula in double, in each variant and storage type:
 * - integer factors, small enough that every sum is exact: results must be the reference's, rounded
 *   to the storage type once;
 * - random factors: NMSE at most 1e-6 beyond that rounding;
 * - y starts as NaN, the workspace too; padding channels must come out as zeros, counters as zero;
 * - two runs give equal bits, splits included.
 * Layer shapes of real networks have their channels, taps, strides and pads; height and width are
 * shrunk, so that a CPU can emulate them.
 */
#include "conv_tile.h"
#include "cuda_testing.h"

using namespace thaw;

struct conv_case {
    const char *name;
    int64_t N, H, W, C, K, G;
    thaw_window window;
    thaw_act act;
    float a, b;
    thaw_cuda_residual residual;
    int splits;  /* More than 1: also with so many. */
    int variant; /* 1 + the one to run; 0: all of them. */
    bool half_only;
};

#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define SQUARE(r, stride, pad) \
    { r, r, stride, stride, 1, 1, pad, pad, pad, pad }
#define POINT SQUARE(1, 1, 0)
#define RELU THAW_ACT_CLIP, 0, INFINITY
#define RELU6 THAW_ACT_CLIP, 0, 6
#define LINEAR THAW_ACT_NONE, 0, 0
#define BEFORE THAW_RESIDUAL_BEFORE_ACT
#define AFTER THAW_RESIDUAL_AFTER_ACT
#define ONLY(variant) 1 + CONV_##variant
/* A layer of a real network, C->K, R x R at a stride, on 4 x 4 outputs: its channels and taps are
 * what indices depend on, so one type is enough. */
#define LAYER(net, C, K, R, stride)                                                        \
    {                                                                                      \
        net " " #C "->" #K " " #R "x" #R " s" #stride, 1, 4 * stride, 4 * stride, C, K, 1, \
            SQUARE(R, stride, (R - 1) / 2), RELU, THAW_NO_RESIDUAL, 0, ONLY(SMALL), true   \
    }
#define GATE(C, K)                                                                             \
    {                                                                                          \
        "gate " #C "->" #K, 5, 1, 1, C, K, 1, POINT, THAW_ACT_SILU, 0, 0, THAW_NO_RESIDUAL, 0, \
            ONLY(SMALL), true                                                                  \
    }

/* clang-format off */
static const conv_case cases[] = {
    /* name, N, H, W, C, K, G, window, act, a, b, residual, splits, variant */
    {"one of each", 1, 1, 1, 1, 1, 1, POINT},
    {"odd everything", 3, 5, 7, 9, 11, 1, {3, 2, 1, 2, 1, 1, 1, 0, 2, 1}, RELU, BEFORE},
    {"1x1", 2, 7, 5, 24, 144, 1, POINT, RELU6},
    {"1x1 channel tails", 1, 9, 15, 33, 130, 1, POINT, RELU, BEFORE},
    {"1x1 s2", 2, 9, 7, 64, 72, 1, SQUARE(1, 2, 0)},
    {"1x1 with pads", 1, 4, 4, 8, 8, 1, SQUARE(1, 1, 1)},
    {"3x3", 1, 12, 11, 40, 64, 1, SQUARE(3, 1, 1), RELU},
    {"3x3 s2 pads 0011", 1, 13, 12, 16, 32, 1, {3, 3, 2, 2, 1, 1, 0, 0, 1, 1}},
    {"3x3 pads 2013", 2, 6, 7, 8, 24, 1, {3, 3, 1, 1, 1, 1, 2, 0, 1, 3}},
    {"3x3 dilation 2", 1, 11, 9, 16, 16, 1, {3, 3, 1, 1, 2, 2, 2, 2, 2, 2}},
    {"3x2 dilation 2,3 s1,2", 1, 12, 13, 3, 5, 1, {3, 2, 1, 2, 2, 3, 1, 0, 2, 1}},
    {"1x7", 1, 5, 12, 17, 24, 1, {1, 7, 1, 1, 1, 1, 0, 3, 0, 3}},
    {"7x1", 1, 12, 5, 17, 24, 1, {7, 1, 1, 1, 1, 1, 3, 0, 3, 0}},
    {"5x5 s2", 1, 11, 11, 12, 20, 1, SQUARE(5, 2, 2), THAW_ACT_LEAKY_RELU, 0.25f, 0},
    {"7x7 s2 3 channels", 1, 17, 17, 3, 16, 1, SQUARE(7, 2, 3), RELU},
    {"11x11 s4", 1, 23, 23, 3, 8, 1, SQUARE(11, 4, 2)},
    {"16x16 filter", 1, 17, 18, 2, 3, 1, SQUARE(16, 1, 0), LINEAR, THAW_NO_RESIDUAL, 0, ONLY(SMALL)},
    {"all taps outside", 1, 2, 2, 8, 8, 1, SQUARE(3, 1, 4), LINEAR, THAW_NO_RESIDUAL, 0, ONLY(SMALL)},

    {"groups 3", 1, 6, 6, 24, 24, 3, SQUARE(3, 1, 1)},
    {"groups 3 of odd size", 1, 4, 4, 6, 9, 3, POINT},
    {"groups 32 of 4, ResNeXt", 1, 5, 5, 128, 128, 32, SQUARE(3, 1, 1), RELU, THAW_NO_RESIDUAL, 0, ONLY(NARROW)},
    {"groups 29 of 8, RegNet", 1, 4, 4, 232, 232, 29, SQUARE(3, 2, 1), RELU, THAW_NO_RESIDUAL, 0, ONLY(SMALL)},
    {"groups 2 of 48", 1, 6, 6, 96, 256, 2, SQUARE(5, 1, 2), RELU, THAW_NO_RESIDUAL, 0, ONLY(WIDE)},
    {"depthwise", 1, 5, 5, 24, 24, 24, SQUARE(3, 1, 1)},
    {"depthwise multiplier 2", 1, 5, 5, 12, 24, 12, SQUARE(3, 1, 1)},

    {"residual before", 1, 7, 7, 32, 40, 1, POINT, RELU, BEFORE},
    {"residual after", 1, 7, 7, 32, 40, 1, POINT, RELU, AFTER},
    {"residual alone", 1, 7, 7, 32, 24, 1, POINT, LINEAR, BEFORE},
    {"clip above zero", 1, 3, 3, 8, 5, 1, POINT, THAW_ACT_CLIP, 1, 4},
    {"sigmoid", 1, 3, 5, 16, 17, 1, POINT, THAW_ACT_SIGMOID},
    {"silu", 1, 3, 5, 16, 17, 1, POINT, THAW_ACT_SILU},
    {"hard sigmoid", 1, 3, 5, 16, 17, 1, POINT, THAW_ACT_HARD_SIGMOID, 0.25f, 0.5f},
    {"hard swish", 1, 3, 5, 16, 17, 1, POINT, THAW_ACT_HARD_SWISH},
    {"tanh", 1, 3, 5, 16, 17, 1, POINT, THAW_ACT_TANH},
    {"gelu", 1, 3, 5, 16, 17, 1, POINT, THAW_ACT_GELU},

    {"splits 2", 1, 5, 5, 64, 24, 1, SQUARE(3, 1, 1), RELU, BEFORE, 2},
    {"splits 5 of a tail", 1, 3, 3, 72, 8, 1, SQUARE(3, 1, 1), LINEAR, THAW_NO_RESIDUAL, 5, ONLY(SMALL)},
    {"splits 16", 2, 9, 7, 256, 80, 1, SQUARE(3, 2, 1), RELU, AFTER, 16, ONLY(SMALL)},
    {"splits, two tiles", 1, 13, 13, 96, 72, 1, POINT, RELU, THAW_NO_RESIDUAL, 3, ONLY(SMALL)},

    {"dense 2048->1001", 3, 1, 1, 2048, 1001, 1, POINT, LINEAR, THAW_NO_RESIDUAL, 4, ONLY(SMALL)},
    {"dense 25->7", 130, 1, 1, 25, 7, 1, POINT, LINEAR, THAW_NO_RESIDUAL, 0, ONLY(NARROW)},

    {"resnet 64->64 3x3", 1, 8, 8, 64, 64, 1, SQUARE(3, 1, 1), RELU, THAW_NO_RESIDUAL, 0, ONLY(NARROW)},
    {"resnet 64->256", 1, 8, 8, 64, 256, 1, POINT, RELU, BEFORE, 0, ONLY(WIDE)},
    {"resnet 256->64", 1, 8, 8, 256, 64, 1, POINT, RELU, THAW_NO_RESIDUAL, 0, ONLY(NARROW)},
    {"resnet 256->128 3x3 s2", 1, 9, 9, 128, 128, 1, SQUARE(3, 2, 1), RELU, THAW_NO_RESIDUAL, 0, ONLY(WIDE)},
    {"resnet 256->512 s2", 1, 8, 8, 256, 512, 1, SQUARE(1, 2, 0), LINEAR, THAW_NO_RESIDUAL, 0, ONLY(SMALL)},
    {"resnet 256->256 3x3", 1, 4, 4, 256, 256, 1, SQUARE(3, 1, 1), RELU, THAW_NO_RESIDUAL, 4, ONLY(SMALL)},
    {"resnet 1024->256", 1, 4, 4, 1024, 256, 1, POINT, RELU, THAW_NO_RESIDUAL, 2, ONLY(SMALL)},
    {"resnet 512->512 3x3", 1, 3, 3, 512, 512, 1, SQUARE(3, 1, 1), RELU, THAW_NO_RESIDUAL, 8, ONLY(SMALL)},
    {"resnet 512->2048", 1, 3, 3, 512, 2048, 1, POINT, RELU, BEFORE, 0, ONLY(SMALL)},
    {"mobilenet 32->16", 1, 9, 9, 32, 16, 1, POINT, LINEAR, THAW_NO_RESIDUAL, 0, ONLY(NARROW)},
    {"mobilenet 16->96", 1, 9, 9, 16, 96, 1, POINT, RELU6, THAW_NO_RESIDUAL, 0, ONLY(NARROW)},
    {"mobilenet 144->24 sum", 1, 9, 9, 144, 24, 1, POINT, LINEAR, BEFORE, 0, ONLY(NARROW)},
    {"mobilenet 192->32", 1, 7, 7, 192, 32, 1, POINT, LINEAR, BEFORE, 0, ONLY(SMALL)},
    {"mobilenet 384->96", 1, 5, 5, 384, 96, 1, POINT, LINEAR, THAW_NO_RESIDUAL, 0, ONLY(NARROW)},
    {"mobilenet 960->320", 1, 4, 4, 960, 320, 1, POINT, LINEAR, THAW_NO_RESIDUAL, 4, ONLY(SMALL)},
    {"mobilenet 320->1280", 1, 4, 4, 320, 1280, 1, POINT, RELU6, THAW_NO_RESIDUAL, 0, ONLY(WIDE)},
    {"efficientnet 40->240", 1, 6, 6, 40, 240, 1, POINT, THAW_ACT_SILU, 0, 0, THAW_NO_RESIDUAL, 0, ONLY(WIDE)},
    {"efficientnet 672->112", 1, 5, 5, 672, 112, 1, POINT, LINEAR, BEFORE, 0, ONLY(NARROW)},
    {"efficientnet 1152->192", 1, 4, 4, 1152, 192, 1, POINT, LINEAR, BEFORE, 0, ONLY(SMALL)},
    {"efficientnet gate 6->144", 3, 1, 1, 6, 144, 1, POINT, THAW_ACT_SIGMOID, 0, 0, THAW_NO_RESIDUAL, 0, ONLY(SMALL)},
    {"convnext 96->192 2x2 s2", 1, 8, 8, 96, 192, 1, SQUARE(2, 2, 0), LINEAR, THAW_NO_RESIDUAL, 0, ONLY(WIDE)},
    {"convnext 96->384", 1, 7, 7, 96, 384, 1, POINT, THAW_ACT_GELU, 0, 0, THAW_NO_RESIDUAL, 0, ONLY(WIDE)},
    {"convnext 768->192 sum", 1, 5, 5, 768, 192, 1, POINT, LINEAR, BEFORE, 0, ONLY(NARROW)},
    {"googlenet 528->32", 1, 6, 6, 528, 32, 1, POINT, RELU, THAW_NO_RESIDUAL, 0, ONLY(NARROW)},
    {"inception 80->192 3x3", 1, 6, 6, 80, 192, 1, SQUARE(3, 1, 0), RELU, THAW_NO_RESIDUAL, 0, ONLY(SMALL)},

    /* All distinct layers of four networks; what EfficientNet-B0 shares with MobileNetV2 stands once. */
    LAYER("resnet50", 64, 64, 1, 1), LAYER("resnet50", 64, 64, 3, 1),
    LAYER("resnet50", 64, 256, 1, 1), LAYER("resnet50", 256, 64, 1, 1),
    LAYER("resnet50", 256, 128, 1, 1), LAYER("resnet50", 128, 128, 3, 2),
    LAYER("resnet50", 128, 128, 3, 1), LAYER("resnet50", 128, 512, 1, 1),
    LAYER("resnet50", 256, 512, 1, 2), LAYER("resnet50", 512, 128, 1, 1),
    LAYER("resnet50", 512, 256, 1, 1), LAYER("resnet50", 256, 256, 3, 2),
    LAYER("resnet50", 256, 256, 3, 1), LAYER("resnet50", 256, 1024, 1, 1),
    LAYER("resnet50", 512, 1024, 1, 2), LAYER("resnet50", 1024, 256, 1, 1),
    LAYER("resnet50", 1024, 512, 1, 1), LAYER("resnet50", 512, 512, 3, 2),
    LAYER("resnet50", 512, 512, 3, 1), LAYER("resnet50", 512, 2048, 1, 1),
    LAYER("resnet50", 1024, 2048, 1, 2), LAYER("resnet50", 2048, 512, 1, 1),
    LAYER("mobilenetv2", 32, 16, 1, 1), LAYER("mobilenetv2", 16, 96, 1, 1),
    LAYER("mobilenetv2", 96, 24, 1, 1), LAYER("mobilenetv2", 24, 144, 1, 1),
    LAYER("mobilenetv2", 144, 24, 1, 1), LAYER("mobilenetv2", 144, 32, 1, 1),
    LAYER("mobilenetv2", 32, 192, 1, 1), LAYER("mobilenetv2", 192, 32, 1, 1),
    LAYER("mobilenetv2", 192, 64, 1, 1), LAYER("mobilenetv2", 64, 384, 1, 1),
    LAYER("mobilenetv2", 384, 64, 1, 1), LAYER("mobilenetv2", 384, 96, 1, 1),
    LAYER("mobilenetv2", 96, 576, 1, 1), LAYER("mobilenetv2", 576, 96, 1, 1),
    LAYER("mobilenetv2", 576, 160, 1, 1), LAYER("mobilenetv2", 160, 960, 1, 1),
    LAYER("mobilenetv2", 960, 160, 1, 1), LAYER("mobilenetv2", 960, 320, 1, 1),
    LAYER("mobilenetv2", 320, 1280, 1, 1),
    LAYER("efficientnet_b0", 144, 40, 1, 1), LAYER("efficientnet_b0", 40, 240, 1, 1),
    LAYER("efficientnet_b0", 240, 40, 1, 1), LAYER("efficientnet_b0", 240, 80, 1, 1),
    LAYER("efficientnet_b0", 80, 480, 1, 1), LAYER("efficientnet_b0", 480, 80, 1, 1),
    LAYER("efficientnet_b0", 480, 112, 1, 1), LAYER("efficientnet_b0", 112, 672, 1, 1),
    LAYER("efficientnet_b0", 672, 112, 1, 1), LAYER("efficientnet_b0", 672, 192, 1, 1),
    LAYER("efficientnet_b0", 192, 1152, 1, 1), LAYER("efficientnet_b0", 1152, 192, 1, 1),
    LAYER("efficientnet_b0", 1152, 320, 1, 1),
    LAYER("convnext_t", 96, 384, 1, 1), LAYER("convnext_t", 384, 96, 1, 1),
    LAYER("convnext_t", 96, 192, 2, 2), LAYER("convnext_t", 192, 768, 1, 1),
    LAYER("convnext_t", 768, 192, 1, 1), LAYER("convnext_t", 192, 384, 2, 2),
    LAYER("convnext_t", 384, 1536, 1, 1), LAYER("convnext_t", 1536, 384, 1, 1),
    LAYER("convnext_t", 384, 768, 2, 2), LAYER("convnext_t", 768, 3072, 1, 1),
    LAYER("convnext_t", 3072, 768, 1, 1),
    GATE(32, 8), GATE(8, 32), GATE(96, 4), GATE(4, 96), GATE(144, 6), GATE(6, 144), GATE(240, 10),
    GATE(10, 240), GATE(480, 20), GATE(20, 480), GATE(672, 28), GATE(28, 672), GATE(1152, 48),
    GATE(48, 1152),
};
/* clang-format on */

static thaw_conv_shape shape_of(const conv_case &c) {
    const thaw_window &win = c.window;
    int64_t P =
        (c.H + win.pad_top + win.pad_bottom - win.dilation_h * (win.R - 1) - 1) / win.stride_h + 1;
    int64_t Q =
        (c.W + win.pad_left + win.pad_right - win.dilation_w * (win.S - 1) - 1) / win.stride_w + 1;
    return {c.N, c.H, c.W, c.C, P, Q, c.K, c.G, win};
}

/* The operands of one problem, on the host in double and on the device. */
template <class T>
struct problem {
    thaw_conv_shape shape;
    std::vector<float> w, b;
    device_tensor<T> x, residual, y;
    std::vector<double> want_values;
    ref_tensor want;

    problem(const conv_case &c, bool integers)
        : shape(shape_of(c)),
          w((size_t)(c.K * (c.C / c.G) * c.window.R * c.window.S)),
          b((size_t)c.K),
          x(c.N, c.H, c.W, c.C),
          residual(c.N, shape.P, shape.Q, c.K),
          y(c.N, shape.P, shape.Q, c.K),
          want_values(residual.values.size()),
          want{c.N, shape.P, shape.Q, c.K, want_values.data()} {
        random_source random = {(uint64_t)(c.H * 31 + c.C * 7 + c.K)};
        float scale = 1 / sqrtf((float)(w.size() / (size_t)c.K));
        for (float &v : w) {
            T rounded;
            store(&rounded, integers ? random.integer(2) : random.normal() * scale);
            v = value(rounded);
        }
        for (float &v : b)
            v = integers ? random.integer(8) : random.normal();
        x.fill([&] { return integers ? random.integer(3) : random.normal(); });
        residual.fill([&] { return integers ? random.integer(9) : random.normal(); });
        ref_conv(&shape, &x.ref, w.data(), b.data(), &want);
        thaw_epilogue e = {c.act, c.a, c.b, c.residual == BEFORE};
        ref_epilogue(&e, e.residual ? &residual.ref : NULL, &want);
        for (size_t i = 0; c.residual == AFTER && i < want_values.size(); i++)
            want_values[i] += residual.values[i];
    }
};

/* Packs, uploads and launches twice; fails unless both runs give the same bits. */
template <class T>
static void run_twice(const conv_case &c, problem<T> &p, int sm, thaw_cuda_conv_choice choice) {
    device_array<uint8_t> w(cuda_conv_weight_bytes(&p.shape, DTYPE<T>, sm, &choice));
    device_array<float> b(cuda_conv_bias_count(&p.shape, sm, &choice));
    std::vector<uint8_t> packed_w(w.n);
    std::vector<float> packed_b(b.n);
    cuda_conv_pack(&p.shape, DTYPE<T>, sm, &choice, p.w.data(), p.b.data(), packed_w.data(),
                   packed_b.data());
    w.upload(packed_w);
    b.upload(packed_b);
    device_array<uint8_t> workspace(cuda_conv_workspace_bytes(&p.shape, sm, &choice));
    device_array<uint32_t> counters(cuda_conv_counters(&p.shape, sm, &choice));
    counters.clear();
    thaw_cuda_conv conv = {};
    conv.shape = p.shape;
    conv.dtype = DTYPE<T>;
    conv.act = c.act;
    conv.a = c.a;
    conv.b = c.b;
    conv.residual_place = c.residual;
    conv.choice = choice;
    conv.x = p.x.data();
    conv.w = w.data();
    conv.bias = b.data();
    conv.residual = c.residual == THAW_NO_RESIDUAL ? NULL : p.residual.data();
    conv.y = p.y.data();
    conv.workspace = workspace.data();
    conv.counters = counters.data();
    thaw_cuda_launch launch = {};
    std::vector<T> runs[2];
    for (auto &bits : runs) {
        p.y.array.poison();
        workspace.poison();
        if (!finish(cuda_conv(&launch, &conv, sm), launch)) return;
        bits = p.y.array.download("y");
    }
    check_equal_bits("y", runs[0], runs[1]);
    for (uint32_t count : counters.download("counters")) {
        if (count != 0) return fail("a counter is left at %u", count);
    }
}

static bool is_exact(thaw_act act) {
    return act == THAW_ACT_NONE || act == THAW_ACT_CLIP || act == THAW_ACT_LEAKY_RELU;
}

template <class T>
static void run(const conv_case &c, T) {
    if (c.half_only && DTYPE<T> != THAW_F16) {
        state().ran--;
        return;
    }
    static const thaw_cuda_device a10g = {86, 80, 70, 600, 6};
    int sm = device_sm();
    thaw_cuda_device device = a10g;
    device.sm = sm;
    thaw_conv_shape shape = shape_of(c);
    thaw_cuda_reason reason;
    const char *why = cuda_conv_refuses(&shape, DTYPE<T>, &device, &reason);
    if (why) return fail("refused: %s", why);
    for (int integers = 0; integers < 2; integers++) {
        if (integers && !is_exact(c.act)) continue;
        if (!integers && c.half_only && is_exact(c.act)) continue; /* Exactness says it all. */
        problem<T> p(c, integers);
        tolerance most = {integers ? 0 : 1e-6 + rounding_nmse<T>()};
        for (int variant = 0; variant < CONV_VARIANTS; variant++) {
            if (c.variant && variant != c.variant - 1) continue;
            for (int splits : {1, c.splits}) {
                if (splits == 0 || (splits == 1 && integers && c.splits > 1)) continue;
                run_twice(c, p, sm, {variant, splits, 0});
                char what[64];
                snprintf(what, sizeof what, "variant %d, %d splits, %s", variant, splits,
                         integers ? "integers" : "random");
                check(what, p.y, p.want, most);
            }
        }
    }
}

static bool supports(thaw_dtype dtype, int sm) {
    return sm >= 80 || dtype == THAW_F16;
}

int main(int argc, char **argv) {
    return test_main(
        argc, argv, cases, [](const conv_case &c, auto type) { run(c, type); }, supports);
}
