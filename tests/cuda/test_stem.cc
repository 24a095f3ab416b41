/* The first convolution against the formula in double, in each storage type, with the tile that is
 * chosen for a large GPU (small tiles, many blocks) and for a small one (large tiles):
 * - whole numbers for weights and shifts, scale 1, so that every sum is exact: results must be the
 *   reference's, rounded to the storage type once;
 * - random weights, the shifts and scales of real networks: NMSE at most 1e-6 beyond the rounding
 * of the folded weights and of the result;
 * - pixels are in memory that ends with them; y starts as NaN, its padding channels end as zeros;
 * - two runs give equal bits;
 * - what the kernel does not take is refused with the numbers.
 */
#include "cuda_testing.h"
#include "stem_tile.h"

using namespace thaw;

/* What x is made of u8 by. */
enum scaling { IMAGENET, SIGNED, UNIT, CAFFE, MNIST };

struct stem_case {
    const char *name;
    int64_t N, H, W, C, K;
    thaw_window window;
    thaw_act act;
    float a, b;
    scaling scale;
    bool pooled, ceil;
    thaw_window pool;
};

#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define SQUARE(r, stride, pad) \
    { r, r, stride, stride, 1, 1, pad, pad, pad, pad }
#define TOP_LEFT_BOTTOM_RIGHT(r, stride, top, left, bottom, right) \
    { r, r, stride, stride, 1, 1, top, left, bottom, right }
#define POOL(r, stride, pad) true, false, SQUARE(r, stride, pad)
#define CEIL_POOL(r, stride, pad) true, true, SQUARE(r, stride, pad)
#define RELU THAW_ACT_CLIP, 0, INFINITY
#define RELU6 THAW_ACT_CLIP, 0, 6
#define LINEAR THAW_ACT_NONE, 0, 0
#define ACT(name) THAW_ACT_##name, 0.25f, 0.5f

/* clang-format off */
static const stem_case cases[] = {
    /* name, N, H, W, C, K, window, act, a, b, scale, pooled, ceil, pool */
    {"one of each", 1, 1, 1, 1, 1, SQUARE(1, 1, 0), LINEAR, UNIT},
    {"1x1, 4 channels", 2, 5, 7, 4, 17, SQUARE(1, 1, 0), RELU, IMAGENET},
    {"1x1 s3, 2 channels", 1, 8, 10, 2, 8, SQUARE(1, 3, 0), LINEAR, IMAGENET},
    {"smaller than its filter", 2, 2, 3, 3, 9, SQUARE(5, 1, 3), LINEAR, IMAGENET},
    {"nothing but padding at the ends", 1, 3, 4, 3, 8, SQUARE(3, 2, 4), LINEAR, CAFFE},
    {"3x3 pads 2013", 2, 6, 7, 3, 24, TOP_LEFT_BOTTOM_RIGHT(3, 1, 2, 0, 1, 3), RELU, IMAGENET},
    {"3x2 s1,2", 3, 9, 11, 3, 11, {3, 2, 1, 2, 1, 1, 1, 0, 2, 1}, RELU, SIGNED},
    {"2x5 s4,3 grey", 1, 14, 17, 1, 40, {2, 5, 4, 3, 1, 1, 0, 2, 1, 2}, LINEAR, MNIST},
    {"5x5 grey, LeNet", 2, 12, 12, 1, 6, SQUARE(5, 1, 2), ACT(HARD_SWISH), MNIST, POOL(2, 2, 0)},
    {"11x1", 1, 13, 6, 3, 16, {11, 1, 1, 1, 1, 1, 5, 0, 5, 0}, LINEAR, UNIT},
    {"1x11", 1, 6, 13, 3, 16, {1, 11, 1, 1, 1, 1, 0, 5, 0, 5}, LINEAR, UNIT},
    {"a wide picture", 1, 2, 300, 3, 8, SQUARE(3, 1, 1), RELU, IMAGENET},
    {"a high picture", 1, 300, 1, 3, 8, SQUARE(3, 1, 1), RELU, IMAGENET},
    {"129 filters", 1, 5, 5, 3, 129, SQUARE(3, 1, 1), RELU, IMAGENET},
    {"96 filters pooled", 1, 9, 9, 3, 96, SQUARE(3, 1, 1), RELU, CAFFE, POOL(2, 2, 0)},

    {"leaky relu", 1, 7, 9, 3, 17, SQUARE(3, 1, 1), THAW_ACT_LEAKY_RELU, 0.25f, 0, UNIT},
    {"clip above zero", 1, 7, 9, 3, 17, SQUARE(3, 1, 1), THAW_ACT_CLIP, 1, 4, IMAGENET},
    {"silu pooled", 1, 7, 9, 3, 17, SQUARE(3, 1, 1), ACT(SILU), IMAGENET, POOL(3, 2, 1)},
    {"silu, 64 filters", 1, 7, 9, 3, 64, SQUARE(3, 1, 1), ACT(SILU), IMAGENET},

    {"pool 3x3 s1", 1, 8, 9, 3, 16, SQUARE(3, 1, 1), LINEAR, IMAGENET, POOL(3, 1, 1)},
    {"pool 2x3 s1,2 pads 0112", 1, 9, 9, 3, 16, SQUARE(3, 1, 1), LINEAR, IMAGENET, true, false, {2, 3, 1, 2, 1, 1, 0, 1, 1, 2}},
    {"pool 2x2 s3", 1, 11, 9, 3, 16, SQUARE(3, 1, 1), RELU, IMAGENET, POOL(2, 3, 0)},
    {"pool 1x1 s2", 1, 9, 9, 3, 40, SQUARE(3, 1, 1), RELU, IMAGENET, POOL(1, 2, 0)},
    {"pool of all negative", 1, 9, 9, 3, 16, SQUARE(3, 2, 1), THAW_ACT_CLIP, -9, -1, IMAGENET, POOL(3, 2, 1)},
    {"pool ceil pads 1", 1, 12, 12, 3, 33, SQUARE(3, 1, 1), LINEAR, UNIT, CEIL_POOL(3, 2, 1)},

    {"resnet", 1, 45, 43, 3, 64, SQUARE(7, 2, 3), RELU, IMAGENET, POOL(3, 2, 1)},
    {"resnet, even", 2, 32, 40, 3, 64, SQUARE(7, 2, 3), RELU, IMAGENET, POOL(3, 2, 1)},
    {"resnet without pool", 1, 33, 37, 3, 64, SQUARE(7, 2, 3), RELU, IMAGENET},
    {"densenet", 1, 32, 31, 3, 64, SQUARE(7, 2, 3), RELU, UNIT, POOL(3, 2, 1)},
    {"googlenet", 1, 36, 36, 3, 64, SQUARE(7, 2, 3), RELU, SIGNED, CEIL_POOL(3, 2, 0)},
    {"mobilenet v1, tf pads", 2, 32, 34, 3, 32, TOP_LEFT_BOTTOM_RIGHT(3, 2, 0, 0, 1, 1), RELU6, SIGNED},
    {"mobilenet v2", 2, 33, 35, 3, 32, SQUARE(3, 2, 1), RELU6, IMAGENET},
    {"mobilenet v3", 1, 32, 32, 3, 16, SQUARE(3, 2, 1), ACT(HARD_SWISH), IMAGENET},
    {"efficientnet b0", 1, 32, 30, 3, 32, SQUARE(3, 2, 1), ACT(SILU), IMAGENET},
    {"efficientnet b4", 1, 19, 21, 3, 48, SQUARE(3, 2, 1), ACT(SILU), IMAGENET},
    {"shufflenet", 1, 32, 32, 3, 24, SQUARE(3, 2, 1), RELU, IMAGENET, POOL(3, 2, 1)},
    {"convnext", 1, 36, 32, 3, 96, SQUARE(4, 4, 0), LINEAR, IMAGENET},
    {"alexnet", 1, 63, 67, 3, 64, SQUARE(11, 4, 2), RELU, IMAGENET, POOL(3, 2, 0)},
    {"alexnet, caffe", 1, 47, 43, 3, 96, SQUARE(11, 4, 0), RELU, CAFFE},
    {"vgg", 1, 20, 19, 3, 64, SQUARE(3, 1, 1), RELU, CAFFE},
    {"squeezenet 1.1", 1, 30, 32, 3, 64, SQUARE(3, 2, 0), RELU, IMAGENET, CEIL_POOL(3, 2, 0)},
    {"squeezenet 1.0", 1, 35, 36, 3, 96, SQUARE(7, 2, 0), RELU, IMAGENET, CEIL_POOL(3, 2, 0)},
    {"inception", 1, 27, 29, 3, 32, SQUARE(3, 2, 0), RELU, SIGNED},
    {"darknet", 1, 16, 18, 3, 16, SQUARE(3, 1, 1), THAW_ACT_LEAKY_RELU, 0.125f, 0, UNIT, POOL(2, 2, 0)},
};
/* clang-format on */

static thaw_conv_shape shape_of(const stem_case &c) {
    const thaw_window &w = c.window;
    return {c.N,
            c.H,
            c.W,
            c.C,
            (c.H + w.pad_top + w.pad_bottom - w.R) / w.stride_h + 1,
            (c.W + w.pad_left + w.pad_right - w.S) / w.stride_w + 1,
            c.K,
            1,
            w};
}

/* A ceil window must start inside of the input or its first padding, as in PyTorch. */
static int64_t pooled_size(int64_t size, int64_t begin, int64_t end, int64_t taps, int64_t stride,
                           bool ceil) {
    int64_t n = (size + begin + end - taps + (ceil ? stride - 1 : 0)) / stride + 1;
    return (n - 1) * stride >= size + begin ? n - 1 : n;
}

static thaw_pool_shape pool_of(const stem_case &c, const thaw_conv_shape &s) {
    const thaw_window &w = c.pool;
    if (!c.pooled) return {};
    return {s.N,
            s.P,
            s.Q,
            s.K,
            pooled_size(s.P, w.pad_top, w.pad_bottom, w.R, w.stride_h, c.ceil),
            pooled_size(s.Q, w.pad_left, w.pad_right, w.S, w.stride_w, c.ceil),
            w,
            true,
            false};
}

/* scale and shift of each channel. */
struct normalisation {
    float scale[4], shift[4];
};

static normalisation normalisation_of(scaling kind) {
    static const float mean[4] = {0.485f, 0.456f, 0.406f, 0.5f};
    static const float std_dev[4] = {0.229f, 0.224f, 0.225f, 0.25f};
    static const float caffe[4] = {104, 117, 123, 0};
    normalisation n;
    for (int c = 0; c < 4; c++) {
        switch (kind) {
            case IMAGENET:
                n.scale[c] = 1 / (255 * std_dev[c]), n.shift[c] = -mean[c] / std_dev[c];
                break;
            case SIGNED:
                n.scale[c] = 1 / 127.5f, n.shift[c] = -1;
                break;
            case UNIT:
                n.scale[c] = 1 / 255.0f, n.shift[c] = 0;
                break;
            case CAFFE:
                n.scale[c] = 1, n.shift[c] = -caffe[c];
                break;
            case MNIST:
                n.scale[c] = 1 / (255 * 0.3081f), n.shift[c] = -0.1307f / 0.3081f;
                break;
        }
    }
    return n;
}

/* The operands of one problem, on the host in double and on the device. */
template <class T>
struct problem {
    thaw_conv_shape shape;
    thaw_pool_shape pool;
    normalisation to_x;
    std::vector<float> w, b;
    std::vector<uint8_t> host_pixels;
    device_array<uint8_t> pixels;
    device_tensor<T> y;
    std::vector<double> want_values;
    ref_tensor want;

    problem(const stem_case &c, bool integers)
        : shape(shape_of(c)),
          pool(pool_of(c, shape)),
          to_x(normalisation_of(integers ? CAFFE : c.scale)),
          w((size_t)(c.K * c.C * c.window.R * c.window.S)),
          b((size_t)c.K),
          host_pixels((size_t)(c.N * c.H * c.W * c.C)),
          pixels(host_pixels.size()),
          y(c.N, c.pooled ? pool.P : shape.P, c.pooled ? pool.Q : shape.Q, c.K),
          want_values(y.values.size()),
          want{c.N, y.ref.H, y.ref.W, c.K, want_values.data()} {
        random_source random = {(uint64_t)(c.H * 31 + c.C * 7 + c.K)};
        float spread = 1 / sqrtf((float)(w.size() / (size_t)c.K)) / (c.scale == CAFFE ? 64 : 1);
        for (float &v : w)
            v = integers ? random.integer(2) : random.normal() * spread;
        for (float &v : b)
            v = integers ? random.integer(8) : random.normal();
        for (uint8_t &u : host_pixels)
            u = (uint8_t)random.next();
        pixels.upload(host_pixels);
        std::vector<double> x(host_pixels.size()), z((size_t)(c.N * shape.P * shape.Q * c.K));
        for (size_t i = 0; i < x.size(); i++) {
            size_t channel = i % (size_t)c.C;
            x[i] = host_pixels[i] * (double)to_x.scale[channel] + to_x.shift[channel];
        }
        ref_tensor x_ref = {c.N, c.H, c.W, c.C, x.data()};
        ref_tensor z_ref = {c.N, shape.P, shape.Q, c.K, z.data()};
        ref_conv(&shape, &x_ref, w.data(), b.data(), &z_ref);
        thaw_epilogue e = {c.act, c.a, c.b, false};
        ref_epilogue(&e, NULL, &z_ref);
        if (c.pooled) {
            ref_pool(&pool, &z_ref, &want);
        } else {
            want_values = z;
            want.v = want_values.data();
        }
    }
};

/* Packs, uploads and launches twice; fails unless both runs give the same bits. */
template <class T>
static void run_twice(const stem_case &c, problem<T> &p, thaw_cuda_stem_choice choice) {
    device_array<uint8_t> w(cuda_stem_weight_bytes(&p.shape, DTYPE<T>));
    device_array<float> constants(cuda_stem_constants(&p.shape));
    std::vector<uint8_t> packed_w(w.n, 0xff);
    std::vector<float> packed_constants(constants.n, NAN);
    cuda_stem_pack(&p.shape, DTYPE<T>, p.w.data(), p.b.data(), p.to_x.scale, p.to_x.shift,
                   packed_w.data(), packed_constants.data());
    w.upload(packed_w);
    constants.upload(packed_constants);
    thaw_cuda_stem stem = {};
    stem.shape = p.shape;
    stem.pooled = c.pooled;
    stem.pool = p.pool;
    stem.dtype = DTYPE<T>;
    stem.act = c.act;
    stem.a = c.a;
    stem.b = c.b;
    stem.choice = choice;
    stem.pixels = p.pixels.data();
    stem.w = w.data();
    stem.constants = constants.data();
    stem.y = p.y.data();
    thaw_cuda_launch launch = {};
    std::vector<T> runs[2];
    for (auto &bits : runs) {
        p.y.array.poison();
        if (!finish(cuda_stem(&launch, &stem), launch)) return;
        bits = p.y.array.download("y");
    }
    check_equal_bits("y", runs[0], runs[1]);
}

static bool is_exact(thaw_act act) {
    return act == THAW_ACT_NONE || act == THAW_ACT_CLIP || act == THAW_ACT_LEAKY_RELU;
}

static const thaw_cuda_device LARGE = {86, 80, 70, 600, 6}, SMALL = {86, 1, 1, 8, 6};

template <class T>
static void run(const stem_case &c, T) {
    for (int integers = 0; integers < 2; integers++) {
        if (integers && !is_exact(c.act)) continue;
        problem<T> p(c, integers);
        const thaw_pool_shape *pool = c.pooled ? &p.pool : NULL;
        tolerance most = {integers ? 0 : 1e-6 + 2 * rounding_nmse<T>()};
        for (thaw_cuda_device device : {LARGE, SMALL}) {
            device.sm = device_sm();
            thaw_cuda_reason reason;
            const char *why = cuda_stem_refuses(&p.shape, pool, c.act, DTYPE<T>, p.to_x.scale,
                                                p.to_x.shift, &device, &reason);
            if (why) return fail("refused: %s", why);
            thaw_cuda_stem_choice choice = cuda_stem_choose(&p.shape, pool, DTYPE<T>, &device);
            run_twice(c, p, choice);
            char what[64];
            snprintf(what, sizeof what, "tile %d x %d, %s", choice.out_h, choice.out_w,
                     integers ? "integers" : "random");
            check(what, p.y, p.want, most);
        }
    }
}

/* ---- refusals ------------------------------------------------------------------------------- */

/* One thing that is wrong, and the numbers that the sentence must have. */
struct refusal_case {
    const char *name;
    void (*spoil)(thaw_conv_shape &, thaw_pool_shape &, thaw_act &, thaw_dtype &, normalisation &,
                  thaw_cuda_device &);
    const char *words;
};

#define SPOIL(what)                                                                                \
    [](thaw_conv_shape &s, thaw_pool_shape &p, thaw_act &act, thaw_dtype &dtype, normalisation &n, \
       thaw_cuda_device &d) {                                                                      \
        (void)s, (void)p, (void)act, (void)dtype, (void)n, (void)d;                                \
        what;                                                                                      \
    }

static const refusal_case refusals[] = {
    {"refuses nothing", SPOIL((void)0), NULL},
    {"refuses 5 channels", SPOIL(s.C = 5), "5 input channels"},
    {"refuses groups", SPOIL(s.G = 3), "3 groups"},
    {"refuses a wide filter", SPOIL(s.window.S = 12), "7 x 12"},
    {"refuses a stride", SPOIL(s.window.stride_h = 5), "5 x 2"},
    {"refuses a dilation", SPOIL(s.window.dilation_w = 2), "1 x 2"},
    {"refuses a mean", SPOIL(p.max = false), "mean"},
    {"refuses a pool of something else", SPOIL(p.H = 111), "111 x 112 x 64"},
    {"refuses a wide pool", SPOIL(p.window.R = 5), "5 x 3"},
    {"refuses a pool's dilation", SPOIL(p.window.dilation_h = 2), "2 x 1"},
    {"refuses a gelu", SPOIL(act = THAW_ACT_GELU), "activation"},
    {"refuses u8", SPOIL(dtype = THAW_U8), "fp16, bf16 and fp32"},
    {"refuses bf16 on sm_75", SPOIL(dtype = THAW_BF16; d.sm = 75), "sm_75"},
    {"refuses a scale of 0", SPOIL(n.scale[1] = 0), "channel 1"},
    {"refuses a scale that is no number", SPOIL(n.scale[2] = NAN), "channel 2"},
    {"refuses a zero far away", SPOIL(n.shift[0] = -1000), "-1000"},
    {"refuses a huge image", SPOIL(s.H = s.W = 40000), "40000 x 40000 x 3"},
    {"refuses huge batches", SPOIL(s.N = 1 << 30), "1073741824 images"},
};

static void refuse(const refusal_case &c) {
    thaw_conv_shape shape = {64, 224, 224, 3, 112, 112, 64, 1, SQUARE(7, 2, 3)};
    thaw_pool_shape pool = {64, 112, 112, 64, 56, 56, SQUARE(3, 2, 1), true, false};
    thaw_act act = THAW_ACT_CLIP;
    thaw_dtype dtype = THAW_F16;
    normalisation n = normalisation_of(IMAGENET);
    thaw_cuda_device device = LARGE;
    c.spoil(shape, pool, act, dtype, n, device);
    thaw_cuda_reason reason;
    const char *why =
        cuda_stem_refuses(&shape, &pool, act, dtype, n.scale, n.shift, &device, &reason);
    if (!c.words) {
        if (why) fail("refused: %s", why);
    } else if (!why || !strstr(why, c.words)) {
        fail("expected a sentence with '%s', got '%s'", c.words, why ? why : "(none)");
    }
}

static bool supports(thaw_dtype dtype, int sm) {
    return sm >= 80 || dtype == THAW_F16;
}

int main(int argc, char **argv) {
    auto once = [](thaw_dtype dtype, int) { return dtype == THAW_F16; };
    int skipped = test_main(
        argc, argv, refusals, [](const refusal_case &c, auto) { refuse(c); }, once);
    if (skipped == 77) return skipped;
    return test_main(
        argc, argv, cases, [](const stem_case &c, auto type) { run(c, type); }, supports);
}
