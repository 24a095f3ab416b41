/* What is decided about the first convolution before it runs, all of it on the host: whether the
 * stem kernel takes it, its tile, and the packing of its weights.
 *
 * Pixels become whole numbers u - centre[c], which every storage type holds exactly. So
 *
 *     sum of w (scale u + shift) = sum of (w scale) (u - centre) + sum of w (shift + centre scale)
 *
 * where the first sum is the kernel's and the second joins the bias, in double, before it is
 * rounded. It runs over all taps: a tap in the padding, where the network sees 0, must cancel its
 * part, and does, since there the kernel sees border[c] = -shift / scale - centre. The centre is
 * the whole number nearest to the level that stands for zero, so the border is below 1/2 and its
 * rounding harmless; but it stays near the middle of the levels, lest rounded weights carry a large
 * mean.
 *
 * Each filter is multiplied by a power of two that brings its largest weight to 1/2 ... 1, and its
 * sum divided by it: w scale is often below what half precision holds with full precision.
 */
#include <math.h>
#include <stdio.h>

#include <algorithm>
#include <vector>

#include "cuda_kernels.h"
#include "stem_tile.h"
#include "types.h"

namespace thaw {

/* ---- whether -------------------------------------------------------------------------------- */

template <class... Arguments>
static const char *because(thaw_cuda_reason *reason, const char *format, Arguments... arguments) {
    snprintf(reason->text, sizeof reason->text, format, arguments...);
    return reason->text;
}

static const char *refuses_window(const thaw_conv_shape &s, thaw_cuda_reason *reason) {
    const thaw_window &win = s.window;
    if (s.G != 1 || s.C < 1 || s.C > STEM_CHANNELS) {
        return because(reason,
                       "it has %lld groups of %lld input channels in all, 1 of 1 to %d is "
                       "possible",
                       (long long)s.G, (long long)s.C, STEM_CHANNELS);
    }
    if (win.R > STEM_MAX_FILTER || win.S > STEM_MAX_FILTER) {
        return because(reason, "its filter is %lld x %lld, at most %d x %d is possible",
                       (long long)win.R, (long long)win.S, STEM_MAX_FILTER, STEM_MAX_FILTER);
    }
    if (win.stride_h > STEM_MAX_STRIDE || win.stride_w > STEM_MAX_STRIDE) {
        return because(reason, "its strides are %lld x %lld, at most %d is possible",
                       (long long)win.stride_h, (long long)win.stride_w, STEM_MAX_STRIDE);
    }
    if (win.dilation_h != 1 || win.dilation_w != 1) {
        return because(reason, "its dilations are %lld x %lld, only 1 is possible",
                       (long long)win.dilation_h, (long long)win.dilation_w);
    }
    return NULL;
}

static const char *refuses_pool(const thaw_conv_shape &s, const thaw_pool_shape &pool,
                                thaw_cuda_reason *reason) {
    const thaw_window &win = pool.window;
    if (!pool.max) return because(reason, "the pool behind it takes the mean, not the maximum");
    if (pool.H != s.P || pool.W != s.Q || pool.C != s.K) {
        return because(reason,
                       "the pool behind it is for %lld x %lld x %lld, it gives %lld x %lld "
                       "x %lld",
                       (long long)pool.H, (long long)pool.W, (long long)pool.C, (long long)s.P,
                       (long long)s.Q, (long long)s.K);
    }
    if (std::max({win.R, win.S, win.stride_h, win.stride_w}) > STEM_MAX_POOL) {
        return because(reason,
                       "the pool's window is %lld x %lld, its strides %lld x %lld, at most "
                       "%d is possible",
                       (long long)win.R, (long long)win.S, (long long)win.stride_h,
                       (long long)win.stride_w, STEM_MAX_POOL);
    }
    if (win.dilation_h != 1 || win.dilation_w != 1) {
        return because(reason, "the pool's dilations are %lld x %lld, only 1 is possible",
                       (long long)win.dilation_h, (long long)win.dilation_w);
    }
    return NULL;
}

/* The level of a pixel's channel, not rounded, at which scale u + shift is zero. */
static double zero_level(float scale, float shift) {
    return -(double)shift / scale;
}

static const char *refuses_scale(const thaw_conv_shape &s, const float *scale, const float *shift,
                                 thaw_cuda_reason *reason) {
    const double MOST = 32768; /* Half precision ends at 65504. */
    for (int64_t c = 0; c < s.C; c++) {
        if (isfinite(scale[c]) && fabs(zero_level(scale[c], shift[c])) <= MOST) continue;
        return because(reason,
                       "channel %lld of the pixels is u * %g + %g, which is zero for no u "
                       "from %g to %g",
                       (long long)c, scale[c], shift[c], -MOST, MOST);
    }
    return NULL;
}

/* Everything that the kernel counts in 32 bits. */
static const char *refuses_size(const thaw_conv_shape &s, const thaw_pool_shape *pool,
                                thaw_cuda_reason *reason) {
    const int64_t MOST = (1ll << 31) - 1;
    if (s.H > MOST || s.W > MOST || s.H * s.W > MOST / s.C) {
        return because(reason,
                       "an image has %lld x %lld x %lld bytes, at most %lld in all are "
                       "possible",
                       (long long)s.H, (long long)s.W, (long long)s.C, (long long)MOST);
    }
    int64_t P = pool ? pool->P : s.P, Q = pool ? pool->Q : s.Q, chunks = ceil_div(s.K, STEM_CHUNK);
    /* Each output may become a block. */
    if (P > MOST / Q || P * Q > MOST / s.N || P * Q * s.N > MOST / chunks) {
        return because(reason,
                       "%lld images of %lld x %lld outputs x %lld channels are too many: "
                       "outputs x channels / %d may be %lld",
                       (long long)s.N, (long long)P, (long long)Q, (long long)s.K, STEM_CHUNK,
                       (long long)MOST);
    }
    return NULL;
}

/* ---- which tile ----------------------------------------------------------------------------- */

/* Shared memory that a block may take, and a multiprocessor has. */
static int shared_of_block(int sm) {
    return (sm >= 80 ? 99 : 64) * 1024;
}

static int shared_of_sm(int sm) {
    return (sm >= 90 ? 228 : sm >= 86 ? 100 : sm >= 80 ? 164 : 64) * 1024;
}

/* Microseconds. Each multiprocessor works through its share of the blocks; what a block does is its
 * products, its pixels and its outputs, one after the other; while it waits, others that fit beside
 * it work. Constants are counts of instructions at 1.5 GHz, not measurements: it needs to rank. */
static double expected_us(const stem_geometry &g, int64_t N, thaw_dtype dtype,
                          const thaw_cuda_device &device) {
    const double LAUNCH_US = 2.5, WAIT_NS = 1200, PIXEL_NS = 0.1, OUTPUT_NS = 0.03;
    const double RATE = 0.7;  /* Of the tensor cores' peak. */
    const double SHOWN = 0.2; /* Of the shorter of the two: they overlap, but not wholly. */
    int bytes = (int)thaw_dtype_bytes(dtype), chunks = stem_chunks_of_block(g.chunks);
    int room = shared_of_sm(device.sm) / (stem_shared_bytes(g, bytes) + 1024);
    int beside = std::max(1, std::min(room, chunks == 2 ? 2 : 3));
    double product_ns = 2 * 16 * 8 * 16 * device.n_sm / (device.tflops * 1e3 * RATE);
    if (dtype == THAW_F32) product_ns *= 2;
    double groups = (double)ceil_div(g.conv_h * g.conv_w, STEM_GROUP);
    double work_ns = groups * 2 * 4 * chunks * g.steps * product_ns +
                     g.patch_h * g.patch_w * PIXEL_NS +
                     groups * STEM_GROUP * STEM_CHUNK * chunks * OUTPUT_NS;
    double blocks = (double)N * g.tiles * g.blocks_k;
    double rounds = ceil(blocks / device.n_sm);
    double products = (rounds * (work_ns + WAIT_NS / beside) + WAIT_NS) * 1e-3;
    double moved = (double)N * ((double)g.H * g.W * g.C + (double)g.out_H * g.out_W * g.Kp * bytes);
    double memory = moved / (device.gbytes * 0.85e3);
    return LAUNCH_US + std::max(products, memory) + SHOWN * std::min(products, memory);
}

/* The pitch with the fewest bank conflicts, the smallest among equals. */
static int best_pitch(const thaw_conv_shape &shape, const thaw_pool_shape *pool, int out_h,
                      int out_w, int pixel_bytes) {
    int best = 0, fewest = 0, patch_w = make_stem_geometry(shape, pool, out_h, out_w, 1).patch_w;
    for (int pitch = patch_w; pitch < patch_w + 128 / pixel_bytes; pitch++) {
        int conflicts =
            stem_conflicts(make_stem_geometry(shape, pool, out_h, out_w, pitch), pixel_bytes);
        if (best == 0 || conflicts < fewest) best = pitch, fewest = conflicts;
        if (fewest == 0) break;
    }
    return best;
}

/* ---- packing -------------------------------------------------------------------------------- */

/* What the tensor cores will read. */
static void store_factor(half_t *to, float f) {
    store(to, f);
}
static void store_factor(bf16_t *to, float f) {
    store(to, f);
}
static void store_factor(float *to, float f) {
    *to = tf32_round(f);
}

static int centre_of(float scale, float shift) {
    const double LEAST = 64, MOST = 192;
    return (int)std::min(std::max(nearbyint(zero_level(scale, shift)), LEAST), MOST);
}

/* 2^e with the filter's largest |w scale| in [2^(e-1), 2^e). */
static int exponent_of(const thaw_conv_shape &s, const float *filter, const float *scale) {
    double largest = 0;
    int64_t taps = s.window.R * s.window.S;
    for (int64_t i = 0; i < s.C * taps; i++)
        largest = std::max(largest, fabs((double)filter[i] * scale[i / taps]));
    int e = 0;
    if (largest > 0 && isfinite(largest)) frexp(largest, &e);
    return e;
}

template <class T>
static void pack(const thaw_conv_shape &s, const float *w, const float *b, const float *scale,
                 const float *shift, T *packed_w, float *constants) {
    int64_t taps = s.window.R * s.window.S, steps = ceil_div(taps, STEM_STEP);
    int64_t K = ceil_div(s.K, STEM_CHUNK) * STEM_CHUNK;
    float *multiplier = constants, *bias = constants + K, *ends = constants + 2 * K;
    std::fill(packed_w, packed_w + K * steps * STEM_STEP * STEM_CHANNELS, T{});
    std::fill(constants, constants + 2 * K + 2 * STEM_CHANNELS, 0.0f);
    for (int64_t k = 0; k < s.K; k++) {
        const float *filter = w + k * s.C * taps;
        int e = exponent_of(s, filter, scale);
        double sum = b ? b[k] : 0;
        for (int64_t c = 0; c < s.C; c++) {
            double middle = shift[c] + (double)centre_of(scale[c], shift[c]) * scale[c];
            for (int64_t tap = 0; tap < taps; tap++) {
                double weight = filter[c * taps + tap];
                store_factor(
                    &packed_w[stem_packed<T>(steps, k, tap / STEM_STEP, tap % STEM_STEP, c)],
                    (float)ldexp(weight * scale[c], -e));
                sum += weight * middle;
            }
        }
        multiplier[k] = (float)ldexp(1, e);
        bias[k] = (float)sum;
    }
    for (int64_t c = 0; c < s.C; c++) {
        int centre = centre_of(scale[c], shift[c]);
        T border;
        store_factor(&border, (float)(zero_level(scale[c], shift[c]) - centre));
        ends[c] = (float)centre;
        ends[STEM_CHANNELS + c] = value(border);
    }
}

}  // namespace thaw

using namespace thaw;

const char *cuda_stem_refuses(const thaw_conv_shape *shape, const thaw_pool_shape *pool,
                              thaw_act act, thaw_dtype dtype, const float *scale,
                              const float *shift, const thaw_cuda_device *device,
                              thaw_cuda_reason *reason) {
    if (dtype != THAW_F16 && dtype != THAW_BF16 && dtype != THAW_F32)
        return because(reason, "tensor cores are used for fp16, bf16 and fp32 only");
    if (dtype != THAW_F16 && device->sm < 80) {
        return because(reason, "sm_%d multiplies fp16 only; bf16 and tf32 need sm_80 or newer",
                       device->sm);
    }
    if (act != THAW_ACT_NONE && act != THAW_ACT_CLIP && act != THAW_ACT_LEAKY_RELU &&
        act != THAW_ACT_SILU && act != THAW_ACT_HARD_SWISH) {
        return because(reason,
                       "its activation is number %d; none, clip, leaky relu, silu and hard swish "
                       "are possible",
                       (int)act);
    }
    const char *why = refuses_window(*shape, reason);
    if (!why && pool) why = refuses_pool(*shape, *pool, reason);
    if (!why) why = refuses_scale(*shape, scale, shift, reason);
    if (!why) why = refuses_size(*shape, pool, reason);
    return why;
}

thaw_cuda_stem_choice cuda_stem_choose(const thaw_conv_shape *shape, const thaw_pool_shape *pool,
                                       thaw_dtype dtype, const thaw_cuda_device *device) {
    const int bytes = (int)thaw_dtype_bytes(dtype), pixel_bytes = STEM_CHANNELS * bytes;
    thaw_cuda_stem_choice best = {};
    int64_t P = pool ? pool->P : shape->P, Q = pool ? pool->Q : shape->Q;
    for (int h = 1; h <= std::min<int64_t>(P, STEM_OUTPUTS); h++) {
        for (int w = 1; w <= std::min<int64_t>(Q, STEM_OUTPUTS); w++) {
            stem_geometry g = make_stem_geometry(*shape, pool, h, w, 1);
            if (g.conv_h * g.conv_w > STEM_OUTPUTS) break;
            g.pitch = g.patch_w + 128 / pixel_bytes - 1; /* best_pitch's largest. */
            if (stem_shared_bytes(g, bytes) > shared_of_block(device->sm)) continue;
            double us = expected_us(g, shape->N, dtype, *device);
            if (best.out_h == 0 || us < best.expected_us) best = {h, w, 0, us};
        }
    }
    best.pitch = best_pitch(*shape, pool, best.out_h, best.out_w, pixel_bytes);
    return best;
}

size_t cuda_stem_weight_bytes(const thaw_conv_shape *shape, thaw_dtype dtype) {
    int64_t steps = ceil_div(shape->window.R * shape->window.S, STEM_STEP);
    return (size_t)(ceil_div(shape->K, STEM_CHUNK) * STEM_CHUNK * steps * STEM_STEP *
                    STEM_CHANNELS) *
           thaw_dtype_bytes(dtype);
}

size_t cuda_stem_constants(const thaw_conv_shape *shape) {
    return (size_t)(ceil_div(shape->K, STEM_CHUNK) * STEM_CHUNK * 2 + 2 * STEM_CHANNELS);
}

void cuda_stem_pack(const thaw_conv_shape *shape, thaw_dtype dtype, const float *w, const float *b,
                    const float *scale, const float *shift, void *packed_w,
                    float *packed_constants) {
    if (dtype == THAW_F16) pack(*shape, w, b, scale, shift, (half_t *)packed_w, packed_constants);
    if (dtype == THAW_BF16) pack(*shape, w, b, scale, shift, (bf16_t *)packed_w, packed_constants);
    if (dtype == THAW_F32) pack(*shape, w, b, scale, shift, (float *)packed_w, packed_constants);
}
