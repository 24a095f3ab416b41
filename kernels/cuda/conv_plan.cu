/* What is decided about a convolution before it runs, all of it on the host: whether the implicit
 * GEMM takes it, which variant and how many splits are expected to be fastest, and the packing of
 * its weights.
 *
 * The cost model, after CUTLASS's heuristics and the rules in conv_tile.h: a launch takes the
 * longer of its products and its bytes, and a constant. Products: whole rounds ("waves") of blocks,
 * as many at once as fit, padding computed like the rest. Bytes: x, w and y once. Splits add their
 * parts' way to memory and back. On the H200 that its constants come from it is 16 % off (root mean
 * square of 333 candidates), and what it likes best takes 1.02 times as long as what is best
 * (geometric mean of 61 layers).
 */
#include <stdio.h>

#include <algorithm>

#include "conv_tile.h"
#include "cuda_kernels.h"
#include "types.h"

namespace thaw {

/* ---- whether ---------------------------------------------------------------------------------*/

template <class... Arguments>
static const char *because(thaw_cuda_reason *reason, const char *format, Arguments... arguments) {
    snprintf(reason->text, sizeof reason->text, format, arguments...);
    return reason->text;
}

static const char *limits_exceeded(const thaw_conv_shape &s, thaw_cuda_reason *reason) {
    const long long MOST = (1ll << 31) - 1;
    long long pixels = s.N * s.P * s.Q;
    if (pixels > MOST)
        return because(reason, "it has %lld output pixels, at most %lld are possible", pixels,
                       MOST);
    long long blocks = ceil_div(pixels, 64) * ceil_div(s.K, 64); /* Of the smallest tiles. */
    if (blocks > MOST)
        return because(reason, "it has %lld tiles, at most %lld are possible", blocks, MOST);
    /* 16-byte vectors of float, the largest type; pads reach one picture's height beyond. */
    long long vectors = (s.N + 1) * (s.H + s.window.R * s.window.dilation_h) *
                        (s.W + s.window.S * s.window.dilation_w) * padded_channels(s.C) / 4;
    if (vectors > MOST) {
        return because(reason, "its input has %lld vectors of 16 bytes, at most %lld are possible",
                       vectors, MOST);
    }
    return NULL;
}

static const char *refuses(const thaw_conv_shape &s, thaw_dtype dtype,
                           const thaw_cuda_device &device, thaw_cuda_reason *reason) {
    const thaw_window &win = s.window;
    if (dtype != THAW_F16 && dtype != THAW_BF16 && dtype != THAW_F32)
        return because(reason, "tensor cores are used for fp16, bf16 and fp32 only");
    if (dtype != THAW_F16 && device.sm < 80) {
        return because(reason, "sm_%d multiplies fp16 only; bf16 and tf32 need sm_80 or newer",
                       device.sm);
    }
    if (win.R > MAX_TAPS || win.S > MAX_TAPS) {
        return because(reason, "its filter is %lld x %lld, at most %d x %d is possible",
                       (long long)win.R, (long long)win.S, MAX_TAPS, MAX_TAPS);
    }
    if (s.C % s.G != 0 || s.K % s.G != 0) {
        return because(reason, "%lld groups do not divide %lld input and %lld output channels",
                       (long long)s.G, (long long)s.C, (long long)s.K);
    }
    return limits_exceeded(s, reason);
}

/* ---- which ---------------------------------------------------------------------------------- */

/* The share of the tensor cores' rate that the main loop reaches when nothing else is missing. Of
 * sm_90 fitted to 333 measured candidates (H200, tests/bench/results); mma.sync gets 0.6 of that
 * rate there. The others' are from docs of CUTLASS and published profiler runs, measured by nobody
 * here. */
static double efficiency(int variant, int sm) {
    static const double sm90[] = {0.37, 0.27, 0.60}, sm80[] = {0.62, 0.45, 0.75},
                        others[] = {0.92, 0.90, 0.75};
    return sm >= 90 ? sm90[variant] : sm == 80 ? sm80[variant] : others[variant];
}

/* Blocks that a multiprocessor holds at once: by registers (tests/cuda/budgets.txt, and what the
 * compiler leaves of them), by shared memory, of which a block takes another KiB. */
static int blocks_at_once(int variant, int sm, int64_t iterations) {
    static const int by_registers[] = {2, 3, 4};
    int all = (sm >= 90 ? 228 : sm >= 86 ? 100 : sm >= 80 ? 164 : 64) * 1024;
    int by_memory = all / (tile_of(variant, sm).shared_bytes(iterations) + 1024);
    return std::max(1, std::min(by_registers[variant], by_memory));
}

/* On a multiprocessor, a round of blocks takes the longer of what they need of its tensor cores and
 * issue slots, and of one block's own way through: first loads, an iteration after the other, the
 * epilogue. The constants are of the same fit. */
static double round_us(conv_tile tile, int variant, const thaw_cuda_device &device, double flops,
                       double iterations, double blocks) {
    const double FIXED_US[] = {1.6, 0.9, 0.36}, WAY_US = 1.2, VECTOR_US = 0.1;
    double rate = device.tflops * 1e6 * efficiency(variant, device.sm) / device.n_sm;
    return std::max(blocks * (flops / rate + FIXED_US[variant]),
                    WAY_US + FIXED_US[variant] + VECTOR_US * tile.vectors * iterations);
}

static double expected_us(const thaw_conv_shape &s, thaw_dtype dtype,
                          const thaw_cuda_device &device, int variant, int splits) {
    const double LAUNCH_US = 2, SPLIT_US = 4, COPY = 0.58;
    conv_tile tile = tile_of(variant, device.sm);
    int64_t bytes_each = (int64_t)thaw_dtype_bytes(dtype), vector = 16 / bytes_each;
    conv_size size = size_of_conv(s, tile, vector);
    int64_t iterations = ceil_div(size.iterations, splits);
    int64_t blocks = (int64_t)size.m_tiles * size.n_tiles * splits;
    int64_t at_once = blocks_at_once(variant, device.sm, iterations);
    int64_t rounds = ceil_div(blocks, device.n_sm * at_once);
    /* tf32 has half the rate. */
    double flops = 2.0 * tile.m * tile.n * tile.vectors * (double)(vector * iterations) *
                   (dtype == THAW_F32 ? 2 : 1);
    double products =
        (double)rounds * round_us(tile, variant, device, flops, (double)iterations,
                                  (double)std::min(at_once, ceil_div(blocks, device.n_sm)));
    double bytes = ((double)(s.N * s.H * s.W * padded_channels(s.C)) +
                    (double)(size.M * padded_channels(s.K)) +
                    (double)(s.K * (s.C / s.G) * s.window.R * s.window.S)) *
                   (double)bytes_each;
    double memory = bytes / (device.gbytes * COPY * 1e3);
    double shares =
        splits == 1 ? 0
                    : SPLIT_US + 2 * (double)blocks * tile.m * tile.n * 4.0 / (device.gbytes * 1e3);
    return LAUNCH_US + std::max(products, memory) + shares;
}

/* ---- packing -------------------------------------------------------------------------------- */

/* What the tensor cores will read: tf32 is rounded here, once, instead of in every launch. */
static void store_factor(half_t *to, float f) {
    store(to, f);
}
static void store_factor(bf16_t *to, float f) {
    store(to, f);
}
static void store_factor(float *to, float f) {
    *to = tf32_round(f);
}

/* The weight that filter k has for channel c at tap r,s; zero in other groups and beyond the ends.
 */
static float weight_at(const thaw_conv_shape &s, const float *w, int64_t k, int64_t c, int64_t r,
                       int64_t t) {
    int64_t each_c = s.C / s.G, first = k / (s.K / s.G) * each_c;
    if (k >= s.K || c < first || c >= first + each_c) return 0;
    return w[((k * each_c + c - first) * s.window.R + r) * s.window.S + t];
}

template <class T>
static void pack(const thaw_conv_shape &s, conv_tile tile, const float *w, T *packed) {
    const int vector = VECTOR<T>;
    conv_size size = size_of_conv(s, tile, vector);
    for (int64_t n_tile = 0; n_tile < size.n_tiles; n_tile++) {
        int64_t begin = channels_of_tile(n_tile, tile.n, s.C, s.K, s.G, vector).begin;
        for (int i = 0; i < size.iterations; i++) {
            tap_place at = place_of_iteration(i, (int)s.window.R, (int)s.window.S);
            for (int k = 0; k < tile.n; k++) {
                for (int j = 0; j < tile.vectors * vector; j++) {
                    int64_t c = begin + (int64_t)at.slice * tile.vectors * vector + j;
                    store_factor(&packed[packed_place(n_tile, i, size.iterations, k, j / vector,
                                                      j % vector, tile, vector)],
                                 weight_at(s, w, n_tile * tile.n + k, c, at.r, at.s));
                }
            }
        }
    }
}

}  // namespace thaw

using namespace thaw;

const char *cuda_conv_refuses(const thaw_conv_shape *shape, thaw_dtype dtype,
                              const thaw_cuda_device *device, thaw_cuda_reason *reason) {
    return refuses(*shape, dtype, *device, reason);
}

int cuda_conv_rank(const thaw_conv_shape *shape, thaw_dtype dtype, const thaw_cuda_device *device,
                   int n, thaw_cuda_conv_choice *choices) {
    const int MIN_ITERATIONS = 4; /* A share shorter than the pipeline is all prologue. */
    thaw_cuda_conv_choice all[CONV_VARIANTS * 5];
    int count = 0;
    for (int variant = 0; variant < CONV_VARIANTS; variant++) {
        conv_size size = size_of_conv(*shape, tile_of(variant, device->sm),
                                      16 / (int64_t)thaw_dtype_bytes(dtype));
        for (int splits = 1; splits <= 16; splits *= 2) {
            if (splits > 1 && size.iterations / splits < MIN_ITERATIONS) break;
            all[count++] = {variant, splits, expected_us(*shape, dtype, *device, variant, splits)};
        }
    }
    std::stable_sort(all, all + count,
                     [](const thaw_cuda_conv_choice &a, const thaw_cuda_conv_choice &b) {
                         return a.expected_us < b.expected_us;
                     });
    count = std::min(count, n);
    std::copy(all, all + count, choices);
    return count;
}

thaw_cuda_conv_choice cuda_conv_choose(const thaw_conv_shape *shape, thaw_dtype dtype,
                                       const thaw_cuda_device *device) {
    thaw_cuda_conv_choice best;
    cuda_conv_rank(shape, dtype, device, 1, &best);
    return best;
}

size_t cuda_conv_weight_bytes(const thaw_conv_shape *shape, thaw_dtype dtype, int sm,
                              const thaw_cuda_conv_choice *choice) {
    conv_tile tile = tile_of(choice->variant, sm);
    conv_size size = size_of_conv(*shape, tile, 16 / (int64_t)thaw_dtype_bytes(dtype));
    return (size_t)size.n_tiles * (size_t)size.iterations * (size_t)(tile.n * tile.vectors) * 16;
}

size_t cuda_conv_bias_count(const thaw_conv_shape *shape, int sm,
                            const thaw_cuda_conv_choice *choice) {
    int n = tile_of(choice->variant, sm).n;
    return (size_t)(ceil_div(shape->K, n) * n);
}

size_t cuda_conv_counters(const thaw_conv_shape *shape, int sm,
                          const thaw_cuda_conv_choice *choice) {
    conv_tile tile = tile_of(choice->variant, sm);
    if (choice->splits == 1) return 0;
    return (size_t)(ceil_div(shape->N * shape->P * shape->Q, tile.m) * ceil_div(shape->K, tile.n));
}

size_t cuda_conv_workspace_bytes(const thaw_conv_shape *shape, int sm,
                                 const thaw_cuda_conv_choice *choice) {
    conv_tile tile = tile_of(choice->variant, sm);
    return cuda_conv_counters(shape, sm, choice) * (size_t)choice->splits *
           (size_t)(tile.m * tile.n) * sizeof(float);
}

void cuda_conv_pack(const thaw_conv_shape *shape, thaw_dtype dtype, int sm,
                    const thaw_cuda_conv_choice *choice, const float *w, const float *b,
                    void *packed_w, float *packed_b) {
    conv_tile tile = tile_of(choice->variant, sm);
    if (dtype == THAW_F16) pack(*shape, tile, w, (half_t *)packed_w);
    if (dtype == THAW_BF16) pack(*shape, tile, w, (bf16_t *)packed_w);
    if (dtype == THAW_F32) pack(*shape, tile, w, (float *)packed_w);
    int64_t n = (int64_t)cuda_conv_bias_count(shape, sm, choice);
    for (int64_t k = 0; k < n; k++)
        packed_b[k] = b && k < shape->K ? b[k] : 0;
}
