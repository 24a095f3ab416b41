/* Depthwise convolution: each channel with a filter of its own.
 *
 *     y[n,p,q,c] = act(b[c] + sum over r,s of x[n, p stride + r dilation - pad, ..., c] w[c,r,s]
 *                      + residual)                          residual before or after act
 *
 * x, residual, y: NHWC, channels padded to 8, in the storage type; w packed as float [R S][Cp], b
 * as float [Cp]. Sums in float, taps in order: bit-equal from run to run.
 *
 * The kernel moves 4 bytes for every 9 products or so: memory is the limit, and each x should come
 * from DRAM once. A thread keeps 8 channels (16 bytes) of 4 neighbouring outputs in registers, so a
 * row of x is read once for all of them; the block is a patch of rows and columns whose overlaps
 * are in L1. 3x3, 5x5 and 7x7 at strides 1 and 2 are compiled with their taps unrolled; one general
 * kernel takes every other size, stride and dilation.
 *
 * Measured: on no GPU yet. Rejected: weights in half precision (unpacking them costs as much as the
 * products); two rows of outputs a thread (spills at 5x5).
 */
#include <cuda_runtime.h>
#include <stdio.h>

#include "common.cuh"
#include "cuda_kernels.h"
#include "depthwise_tile.h"
#include "epilogue.cuh"
#include "index.h"

namespace thaw {

struct depthwise_params {
    const void *x;
    const float *w, *bias;
    output_params out; /* Its M and K: pixels of y and channels. */
    int N, H, W, P, Q, R, S, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    int vectors; /* Of 8 channels. */
    depthwise_block block;
    divisor by_c_tiles, by_q_tiles, by_p_tiles;
};

/* The outputs of this thread: 8 channels from c on, of pixels q .. q + STRIP - 1 in row p. */
struct depthwise_place {
    int n, p, q, c;
    bool inside;
};

template <int STRIP>
__device__ inline depthwise_place place_of_depthwise(const depthwise_params &p) {
    uint32_t tile = blockIdx.x, rest = divide(tile, p.by_c_tiles);
    int c_tile = (int)(tile - rest * p.by_c_tiles.d);
    uint32_t rows = divide(rest, p.by_q_tiles);
    int q_tile = (int)(rest - rows * p.by_q_tiles.d);
    uint32_t n = divide(rows, p.by_p_tiles);
    int p_tile = (int)(rows - n * p.by_p_tiles.d), t = (int)threadIdx.x;
    int vector = c_tile * p.block.vectors + t % p.block.vectors;
    t /= p.block.vectors;
    int q = (q_tile * p.block.strips + t % p.block.strips) * STRIP;
    int row = p_tile * p.block.rows + t / p.block.strips;
    return {(int)n, row, q, vector * 8, vector < p.vectors && q < p.Q && row < p.P};
}

/* Eight channels' products. */
__device__ inline void add_products(float8 &sum, const float8 &x, const float8 &w) {
#pragma unroll
    for (int i = 0; i < 8; i++)
        sum.v[i] += x.v[i] * w.v[i];
}

/* Grid: tiles of channels, columns, rows and images. Block: a patch of them. Thread: 8 channels of
 * STRIP outputs side by side; x goes by column by column, each used for all outputs it is in. */
template <class T, int R, int STRIDE, int STRIP>
__global__ void __launch_bounds__(DEPTHWISE_THREADS, 2) depthwise_kernel(const depthwise_params p) {
    depthwise_place at = place_of_depthwise<STRIP>(p);
    if (!at.inside) return;
    float8 sum[STRIP];
#pragma unroll
    for (int i = 0; i < STRIP; i++)
        sum[i] = load8(p.bias + at.c);
    int h0 = at.p * STRIDE - p.pad_top, w0 = at.q * STRIDE - p.pad_left;
#pragma unroll
    for (int r = 0; r < R; r++) {
        int h = h0 + r;
        if (h < 0 || h >= p.H) continue;
        float8 w[R];
#pragma unroll
        for (int s = 0; s < R; s++)
            w[s] = load8(p.w + (int64_t)((r * R + s) * p.vectors) * 8 + at.c);
        const T *row = (const T *)p.x + ((int64_t)at.n * p.H + h) * p.W * p.vectors * 8 + at.c;
#pragma unroll
        for (int j = 0; j < (STRIP - 1) * STRIDE + R; j++) {
            if (w0 + j < 0 || w0 + j >= p.W) continue;
            float8 x = load8(row + (int64_t)(w0 + j) * p.vectors * 8);
#pragma unroll
            for (int i = 0; i < STRIP; i++) {
                int s = j - i * STRIDE;
                if (s >= 0 && s < R) add_products(sum[i], x, w[s]);
            }
        }
    }
    int64_t m = ((int64_t)at.n * p.P + at.p) * p.Q + at.q;
#pragma unroll
    for (int i = 0; i < STRIP; i++) {
        if (at.q + i < p.Q) write8<T>(p.out, m + i, at.c, sum[i]);
    }
}

/* The same for any size, stride and dilation: one output a thread, taps in loops. */
template <class T>
__global__ void __launch_bounds__(DEPTHWISE_THREADS, 2) depthwise_any(const depthwise_params p) {
    depthwise_place at = place_of_depthwise<1>(p);
    if (!at.inside) return;
    float8 sum = load8(p.bias + at.c);
    for (int r = 0; r < p.R; r++) {
        int h = at.p * p.stride_h - p.pad_top + r * p.dilation_h;
        if (h < 0 || h >= p.H) continue;
        const T *row = (const T *)p.x + ((int64_t)at.n * p.H + h) * p.W * p.vectors * 8 + at.c;
        for (int s = 0; s < p.S; s++) {
            int w = at.q * p.stride_w - p.pad_left + s * p.dilation_w;
            if (w < 0 || w >= p.W) continue;
            add_products(sum, load8(row + (int64_t)w * p.vectors * 8),
                         load8(p.w + (int64_t)(r * p.S + s) * p.vectors * 8 + at.c));
        }
    }
    write8<T>(p.out, ((int64_t)at.n * p.P + at.p) * p.Q + at.q, at.c, sum);
}

/* ---- launcher ------------------------------------------------------------------------------- */

template <class T, int R>
static void (*kernel_of(int stride))(depthwise_params) {
    return stride == 1 ? depthwise_kernel<T, R, 1, DEPTHWISE_STRIP>
                       : depthwise_kernel<T, R, 2, DEPTHWISE_STRIP>;
}

template <class T>
static int launch_depthwise(thaw_cuda_launch *launch, const thaw_cuda_depthwise &d) {
    const thaw_conv_shape &s = d.shape;
    const thaw_window &win = s.window;
    int strip = depthwise_strip(win);
    depthwise_params p = {};
    p.x = d.x;
    p.w = d.w;
    p.bias = d.bias;
    p.out = {d.y, d.residual, s.N * s.P * s.Q, s.C, padded_channels(s.C), d.residual_place, d.act,
             d.a, d.b};
    p.N = (int)s.N;
    p.H = (int)s.H;
    p.W = (int)s.W;
    p.P = (int)s.P;
    p.Q = (int)s.Q;
    p.R = (int)win.R;
    p.S = (int)win.S;
    p.stride_h = (int)win.stride_h;
    p.stride_w = (int)win.stride_w;
    p.dilation_h = (int)win.dilation_h;
    p.dilation_w = (int)win.dilation_w;
    p.pad_top = (int)win.pad_top;
    p.pad_left = (int)win.pad_left;
    p.vectors = (int)(padded_channels(s.C) / 8);
    p.block = block_of_depthwise(p.vectors, (int)ceil_div(s.Q, strip), p.P);
    p.by_c_tiles = make_divisor((uint32_t)ceil_div(p.vectors, p.block.vectors));
    p.by_q_tiles = make_divisor((uint32_t)ceil_div(ceil_div(s.Q, strip), p.block.strips));
    p.by_p_tiles = make_divisor((uint32_t)ceil_div(s.P, p.block.rows));
    dim3 grid((unsigned)depthwise_tiles(s));
    auto kernel = strip == 1   ? depthwise_any<T>
                  : win.R == 3 ? kernel_of<T, 3>((int)win.stride_h)
                  : win.R == 5 ? kernel_of<T, 5>((int)win.stride_h)
                               : kernel_of<T, 7>((int)win.stride_h);
    return launch_kernel(launch, strip == 1 ? "depthwise_any" : "depthwise", kernel, grid,
                         DEPTHWISE_THREADS, 0, p);
}

}  // namespace thaw

using namespace thaw;

const char *cuda_depthwise_refuses(const thaw_conv_shape *s, thaw_cuda_reason *reason) {
    if (s->G != s->C || s->K != s->C) {
        snprintf(
            reason->text, sizeof reason->text,
            "depthwise means as many groups and filters as channels; it has %lld channels, %lld "
            "groups and %lld filters",
            (long long)s->C, (long long)s->G, (long long)s->K);
        return reason->text;
    }
    long long tiles = depthwise_tiles(*s), most = (1ll << 31) - 1;
    if (tiles > most || s->N * s->P > most || s->H * s->W > most) {
        snprintf(reason->text, sizeof reason->text,
                 "it needs %lld blocks, at most %lld are possible", tiles, most);
        return reason->text;
    }
    return NULL;
}

size_t cuda_depthwise_weight_count(const thaw_conv_shape *s) {
    return (size_t)(s->window.R * s->window.S * padded_channels(s->C));
}

void cuda_depthwise_pack(const thaw_conv_shape *s, const float *w, const float *b, float *packed_w,
                         float *packed_b) {
    int64_t taps = s->window.R * s->window.S, Cp = padded_channels(s->C);
    for (int64_t c = 0; c < Cp; c++) {
        packed_b[c] = b && c < s->C ? b[c] : 0;
        for (int64_t i = 0; i < taps; i++)
            packed_w[i * Cp + c] = c < s->C ? w[c * taps + i] : 0;
    }
}

int cuda_depthwise(thaw_cuda_launch *launch, const thaw_cuda_depthwise *d) {
    return with_type(d->dtype,
                     [&](auto type) { return launch_depthwise<decltype(type)>(launch, *d); });
}
