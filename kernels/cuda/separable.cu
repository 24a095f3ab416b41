/* A depthwise convolution and the 1x1 convolution behind it as one kernel.
 *
 *     z = act1(depthwise(x) + b1), rounded to the storage type        y = act2(1x1(z) + b2 +
 * residual)
 *
 * z is the widest tensor of a MobileNet's block, and here it is never written: a block computes z
 * for its tile of pixels, 4 (or 8) vectors of channels at a time, straight into the swizzled tile
 * from which the tensor cores read. Everything else is the implicit GEMM's: tiles, packed weights
 * (of cuda_conv_pack), products, epilogue; and since sums run in the same order, y has the same
 * bits as from the two kernels apart. x, residual, y: NHWC, channels padded to 8.
 *
 * It pays where one column of tiles holds all output channels, or z would be computed again for
 * each column, and where memory is the limit: see cuda_separable_pays. Qararyah et al. 2024 (arXiv
 * 2404.19331) measured up to 3.7 times cuDNN's speed for such pairs. Measured: not apart from the
 * rest. Rejected: taps as template parameters (six kernels more a type; the loop waits for memory
 * anyhow).
 */
#include <cuda_runtime.h>
#include <stdio.h>

#include <algorithm>
#include <type_traits>

#include "common.cuh"
#include "conv_block.cuh"
#include "conv_tile.h"
#include "cuda_kernels.h"
#include "index.h"

namespace thaw {

enum {
    SEPARABLE_STAGES = 2, /* One is filled while the other is multiplied. */
    SEPARABLE_AHEAD = 3,  /* Loads of a row of taps that are under way at once: a 3x3's. */
};

struct separable_params {
    const void *x;
    const float *w1, *b1; /* The depthwise part's, as cuda_depthwise_pack makes them. */
    const uint4 *w2;      /* The 1x1's, as cuda_conv_pack makes them. */
    const float *b2;
    thaw_act act1;
    float act1_a, act1_b;
    output_params out;
    divisor by_q, by_p;
    int H, W, R, S, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    int64_t C, Cp;
    int m_tiles, iterations;
};

/* Eight channels of z at one pixel, whose first tap is at row h, column w of image n. */
template <class T>
__device__ inline float8 depthwise8(const separable_params &p, int n, int h, int w, int64_t c) {
    float8 sum = load8(p.b1 + c);
    for (int r = 0; r < p.R; r++) {
        int row = h + r * p.dilation_h;
        if (row < 0 || row >= p.H) continue;
        const T *x = (const T *)p.x + ((int64_t)n * p.H + row) * p.W * p.Cp + c;
        const float *taps = p.w1 + (int64_t)r * p.S * p.Cp + c;
        for (int s = 0; s < p.S; s += SEPARABLE_AHEAD) {
            packed8<T> f[SEPARABLE_AHEAD];
            packed8<float> tap[SEPARABLE_AHEAD];
#pragma unroll
            for (int j = 0; j < SEPARABLE_AHEAD; j++) {
                int column = w + (s + j) * p.dilation_w;
                bool valid = s + j < p.S, inside = column >= 0 && column < p.W;
                f[j] = load_packed8(x + (int64_t)column * p.Cp, valid && inside);
                tap[j] = load_packed8(taps + (int64_t)(s + j) * p.Cp, valid);
            }
#pragma unroll
            for (int j = 0; j < SEPARABLE_AHEAD; j++)
                add_products8(sum, unpack8(T{}, f[j]), unpack8(0.0f, tap[j]));
        }
    }
    activate8(p.act1, p.act1_a, p.act1_b, sum);
    zero_padding(sum, (int)(p.C - c));
    return sum;
}

/* Puts eight channels into the tile: one vector of half precision, two of float. */
template <class B>
__device__ inline void put8(uint4 *tile, int row, int first, half_t, const float8 &z) {
    store8_shared((half_t *)(tile + row * B::TILE.vectors + swizzle(row, first, B::TILE.vectors)),
                  z);
}

template <class B>
__device__ inline void put8(uint4 *tile, int row, int first, bf16_t, const float8 &z) {
    store8_shared((bf16_t *)(tile + row * B::TILE.vectors + swizzle(row, first, B::TILE.vectors)),
                  z);
}

template <class B>
__device__ inline void put8(uint4 *tile, int row, int first, float, const float8 &z) {
    float4 *to = (float4 *)(tile + row * B::TILE.vectors);
    to[swizzle(row, first, B::TILE.vectors)] = make_float4(z.v[0], z.v[1], z.v[2], z.v[3]);
    to[swizzle(row, first + 1, B::TILE.vectors)] = make_float4(z.v[4], z.v[5], z.v[6], z.v[7]);
}

/* This thread's part of z for one slice of channels. */
template <class T, class B>
__device__ inline void fill_z(const separable_params &p, int m_tile, int slice, int thread,
                              uint4 *tile) {
    constexpr int EACH = 8 / VECTOR<T>, GROUPS = B::TILE.vectors / EACH; /* Of 8 channels, a row. */
    for (int i = thread; i < B::TILE.m * GROUPS; i += B::THREADS) {
        int row = i / GROUPS, group = i % GROUPS;
        uint32_t m = (uint32_t)(m_tile * B::TILE.m + row);
        int64_t c = (int64_t)(slice * GROUPS + group) * 8;
        float8 z = {};
        if (m < (uint32_t)p.out.M && c < p.Cp) {
            uint32_t line = divide(m, p.by_q), q = m - line * p.by_q.d, n = divide(line, p.by_p);
            int h = (int)(line - n * p.by_p.d) * p.stride_h - p.pad_top;
            z = depthwise8<T>(p, (int)n, h, (int)q * p.stride_w - p.pad_left, c);
        }
        put8<B>(tile, row, group * EACH, T{}, z);
    }
}

/* The 1x1's weights of one slice. */
template <class B>
__device__ inline void copy_w(const uint4 *from, uint4 *tile, int thread) {
    constexpr int COUNT = B::TILE.n * B::TILE.vectors / B::THREADS;
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
        int at = i * B::THREADS + thread;
        if constexpr (ARCH >= 80) {
            cp_async_16_once(tile + at, from + at);
        } else {
            tile[at] = load_once(from + at);
        }
    }
    if constexpr (ARCH >= 80) cp_async_commit();
}

/* Grid: tiles of pixels, x columns of tiles. Block: its warps, on one tile. */
template <class T, int VARIANT>
__global__ void __launch_bounds__(block_shape<VARIANT>::THREADS,
                                  256 / block_shape<VARIANT>::THREADS)
    separable_kernel(const separable_params p) {
    begin_kernel();
    if constexpr (ARCH >= 80 || std::is_same<T, half_t>::value) {
        using B = block_shape<VARIANT>;
        uint8_t *shared = shared_memory();
        thread_place at = place_of_thread<B>();
        int m_tile = (int)blockIdx.x, n_tile = (int)blockIdx.y;
        constexpr int W_VECTORS = B::TILE.n * B::TILE.vectors;
        const uint4 *w = p.w2 + (int64_t)n_tile * p.iterations * W_VECTORS;
        float sum[B::MI][B::NI][4];
        start_sum<B>(p.b2 + n_tile * B::TILE.n, at, sum);
        for (int i = 0; i < p.iterations; i++) {
            uint4 *stage = (uint4 *)shared + i % SEPARABLE_STAGES * B::TILE.stage_vectors();
            copy_w<B>(w + (int64_t)i * W_VECTORS, stage + B::TILE.m * B::TILE.vectors, at.thread);
            fill_z<T, B>(p, m_tile, i, at.thread, stage);
            if constexpr (ARCH >= 80) cp_async_wait<0>();
            __syncthreads(); /* The stage is full; and all are done with the other one. */
#pragma unroll
            for (int step = 0; step < B::STEPS; step++) {
                fragments<B> f;
                load_fragments<T, B>(stage, step, at, f);
                mma(T{}, sum, f.a, f.b);
            }
        }
        __syncthreads(); /* All are done with the tiles: their memory is the epilogue's. */
        write_tile<T, B>(p.out, (int64_t)m_tile * B::TILE.m, n_tile * B::TILE.n, at, shared, sum);
    }
}

/* ---- launcher ------------------------------------------------------------------------------- */

static separable_params make_params(const thaw_cuda_separable &s, conv_tile tile, int64_t vector) {
    const thaw_cuda_depthwise &d = s.depthwise;
    const thaw_cuda_conv &c = s.pointwise;
    const thaw_window &win = d.shape.window;
    separable_params p = {};
    p.x = d.x;
    p.w1 = d.w;
    p.b1 = d.bias;
    p.w2 = (const uint4 *)c.w;
    p.b2 = c.bias;
    p.act1 = d.act;
    p.act1_a = d.a;
    p.act1_b = d.b;
    conv_size size = size_of_conv(c.shape, tile, vector);
    p.out = output_of(c, size.M);
    p.by_q = make_divisor((uint32_t)d.shape.Q);
    p.by_p = make_divisor((uint32_t)d.shape.P);
    p.H = (int)d.shape.H;
    p.W = (int)d.shape.W;
    p.R = (int)win.R;
    p.S = (int)win.S;
    p.stride_h = (int)win.stride_h;
    p.stride_w = (int)win.stride_w;
    p.dilation_h = (int)win.dilation_h;
    p.dilation_w = (int)win.dilation_w;
    p.pad_top = (int)win.pad_top;
    p.pad_left = (int)win.pad_left;
    p.C = d.shape.C;
    p.Cp = padded_channels(d.shape.C);
    p.m_tiles = size.m_tiles;
    p.iterations = size.iterations;
    return p;
}

template <class T, int VARIANT>
static int launch_separable(thaw_cuda_launch *launch, const thaw_cuda_separable &s, int sm) {
    static const char *const names[] = {"separable_wide", "separable_narrow", "separable_small"};
    conv_tile tile = tile_of(VARIANT, sm);
    separable_params p = make_params(s, tile, VECTOR<T>);
    conv_size size = size_of_conv(s.pointwise.shape, tile, VECTOR<T>);
    int bytes = tile.shared_bytes(SEPARABLE_STAGES);
    return launch_kernel(launch, names[VARIANT], separable_kernel<T, VARIANT>,
                         dim3((unsigned)size.m_tiles, (unsigned)size.n_tiles),
                         (unsigned)tile.threads(), (size_t)bytes, p);
}

}  // namespace thaw

using namespace thaw;

const char *cuda_separable_refuses(const thaw_conv_shape *depthwise,
                                   const thaw_conv_shape *pointwise, thaw_dtype dtype,
                                   const thaw_cuda_device *device, thaw_cuda_reason *reason) {
    const thaw_window &win = pointwise->window;
    bool point = win.R == 1 && win.S == 1 && win.stride_h == 1 && win.stride_w == 1 &&
                 win.pad_top == 0 && win.pad_left == 0 && win.pad_bottom == 0 &&
                 win.pad_right == 0 && pointwise->G == 1;
    if (!point || pointwise->C != depthwise->K || pointwise->H != depthwise->P ||
        pointwise->W != depthwise->Q || pointwise->N != depthwise->N) {
        snprintf(reason->text, sizeof reason->text,
                 "the second convolution is not a plain 1x1 on the first one's output");
        return reason->text;
    }
    const char *why = cuda_depthwise_refuses(depthwise, reason);
    return why ? why : cuda_conv_refuses(pointwise, dtype, device, reason);
}

/* Bytes decide: apart, z is written and read; together, x is read through L1 for each tap, which
 * reaches a smaller share of the memory's rate. */
bool cuda_separable_pays(const thaw_conv_shape *depthwise, const thaw_conv_shape *pointwise,
                         thaw_dtype dtype, const thaw_cuda_device *device) {
    const double APART = 0.85, TOGETHER = 0.7, LAUNCH_US = 2.5;
    const thaw_conv_shape &d = *depthwise, &c = *pointwise;
    /* Where memory is fast the loop over taps is the limit, by count 5 to 8 clocks a vector: twice
     * what depthwise.cu takes. */
    if (device->gbytes > 1000) return false;
    int n = tile_of(c.K > 64 ? CONV_WIDE : CONV_NARROW, device->sm).n;
    if (c.K > n || d.window.R * d.window.S > 25) return false;
    double each = (double)thaw_dtype_bytes(dtype), rate = device->gbytes * 1e3;
    double x = (double)(d.N * d.H * d.W * padded_channels(d.C)) * each;
    double z = (double)(d.N * d.P * d.Q * padded_channels(d.C)) * each;
    double y = (double)(d.N * d.P * d.Q * padded_channels(c.K)) * each;
    /* Few tiles leave multiprocessors idle, where the kernels apart have more and smaller blocks.
     */
    double tiles = (double)ceil_div(d.N * d.P * d.Q, 128),
           idle = std::max(1.0, device->n_sm / tiles);
    return (x + y) / (rate * TOGETHER) * idle < (x + 2 * z + y) / (rate * APART) + LAUNCH_US;
}

thaw_cuda_conv_choice cuda_separable_choice(const thaw_conv_shape *pointwise) {
    return {pointwise->K > 64 ? CONV_WIDE : CONV_NARROW, 1, 0};
}

int cuda_separable(thaw_cuda_launch *launch, const thaw_cuda_separable *s, int sm) {
    return with_type(s->pointwise.dtype, [&](auto type) {
        using T = decltype(type);
        return s->pointwise.choice.variant == CONV_WIDE
                   ? launch_separable<T, CONV_WIDE>(launch, *s, sm)
                   : launch_separable<T, CONV_NARROW>(launch, *s, sm);
    });
}
