/* Depthwise convolution: each channel with a filter of its own.
 *
 *     y[n,p,q,c] = act(b[c] + sum over r,s of x[n, p stride + r dilation - pad, ..., c] w[c,r,s]
 *                      + residual)                          residual before or after act
 *
 * x, residual, y: NHWC, channels padded to 8, in the storage type; w packed as float [R S][Cp], b
 * as float [Cp]. Sums in float, taps in order: bit-equal from run to run.
 *
 * The kernel moves 4 bytes for every 9 products or so: memory is the limit, and each x should come
 * from DRAM once. A thread keeps 8 channels (16 bytes) of 4 neighbouring outputs in registers (2 in
 * float) and reads a row of x at a time, all of its loads under way at once, for all of them.
 * 3x3, 5x5 and 7x7 at strides 1 and 2 are compiled with a row's taps unrolled; one general kernel
 * takes every other size, stride and dilation.
 *
 * On an H200 instructions are the limit, not bytes (half to 0.9 of a copy's rate): 4 output vectors
 * of a 3x3 take 288 products, 144 conversions, 152 instructions on their way out and 36 loads. A
 * 7x7 costs 672 bytes a vector from L1, below what an A10G's DRAM share leaves time for (900),
 * above an H100's (270). Rejected: testing columns only where a strip touches the edge (warps that
 * have such a strip run both: 54 -> 70 us at 32 channels of 112 x 112); blocks as patches of
 * vectors, strips and rows, powers of two (a third of the lanes idle at 144 channels: 89 us instead
 * of 55); all rows unrolled (code of 5 times the size, registers spill); strips of 8 (spill at 5x5
 * and 7x7, and 3x3 does not need them); weights in half precision (unpacking them costs as much as
 * the products); two rows of outputs a thread (spills at 5x5).
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
    depthwise_cut cut;
    int H, W, P, Q, R, S, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    int vectors; /* Of 8 channels. */
};

/* One row of taps: x from column w0 of an image's row on, w the taps. */
template <class T, int R, int STRIDE, int STRIP>
__device__ inline void add_row(const depthwise_params &p, const T *row, const float *taps, int w0,
                               float8 (&sum)[STRIP]) {
    constexpr int COLUMNS = (STRIP - 1) * STRIDE + R;
    packed8<T> x[COLUMNS];
#pragma unroll
    for (int j = 0; j < COLUMNS; j++)
        x[j] = load_packed8(row + j * p.vectors * 8, w0 + j >= 0 && w0 + j < p.W);
    float8 w[R];
#pragma unroll
    for (int s = 0; s < R; s++)
        w[s] = load8(taps + s * p.vectors * 8);
#pragma unroll
    for (int j = 0; j < COLUMNS; j++) {
        float8 one = unpack8(T{}, x[j]);
#pragma unroll
        for (int i = 0; i < STRIP; i++) {
            int s = j - i * STRIDE;
            if (s >= 0 && s < R) add_products8(sum[i], one, w[s]);
        }
    }
}

/* Blocks that share a multiprocessor: more where a row of taps needs fewer registers. */
constexpr int depthwise_blocks_of(int R, int stride) {
    return R == 3 ? 4 : R == 7 && stride == 2 ? 2 : 3;
}

/* Grid and block: all threads in a row. Thread: 8 channels of STRIP outputs side by side, in `walk`
 * rows. */
template <class T, int R, int STRIDE, int STRIP>
__global__ void __launch_bounds__(DEPTHWISE_THREADS, depthwise_blocks_of(R, STRIDE))
    depthwise_kernel(const depthwise_params p) {
    begin_kernel();
    int64_t thread = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (thread >= p.cut.threads) return;
    depthwise_place at = place_of_depthwise(p.cut, (uint32_t)thread);
    const int c = at.vector * 8, q0 = at.strip * STRIP, w0 = q0 * STRIDE - p.pad_left;
    const int end = min(at.p + p.cut.walk, p.P), Cp = p.vectors * 8;
    for (int row = at.p; row < end; row++) {
        float8 sum[STRIP], bias = load8(p.bias + c);
#pragma unroll
        for (int j = 0; j < STRIP; j++)
            sum[j] = bias;
#pragma unroll 1
        for (int r = 0; r < R; r++) {
            int h = row * STRIDE - p.pad_top + r;
            if (h < 0 || h >= p.H) continue;
            const T *x = (const T *)p.x + (((int64_t)at.n * p.H + h) * p.W + w0) * Cp + c;
            add_row<T, R, STRIDE>(p, x, p.w + r * R * Cp + c, w0, sum);
        }
        write_strip<T>(p.out, (((int64_t)at.n * p.P + row) * p.Q + q0) * Cp + c, c, p.Q - q0, sum);
    }
}

/* The same for any size, stride and dilation: strips of one output, taps in loops. */
template <class T>
__global__ void __launch_bounds__(DEPTHWISE_THREADS, 4) depthwise_any(const depthwise_params p) {
    begin_kernel();
    int64_t thread = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (thread >= p.cut.threads) return;
    depthwise_place at = place_of_depthwise(p.cut, (uint32_t)thread);
    const int c = at.vector * 8, w0 = at.strip * p.stride_w - p.pad_left;
    for (int row = at.p; row < min(at.p + p.cut.walk, p.P); row++) {
        float8 sum = load8(p.bias + c);
        for (int r = 0; r < p.R; r++) {
            int h = row * p.stride_h - p.pad_top + r * p.dilation_h;
            if (h < 0 || h >= p.H) continue;
            const T *x = (const T *)p.x + ((int64_t)at.n * p.H + h) * p.W * p.vectors * 8 + c;
            for (int s = 0; s < p.S; s++) {
                int w = w0 + s * p.dilation_w;
                packed8<T> one = load_packed8(x + (int64_t)w * p.vectors * 8, w >= 0 && w < p.W);
                add_products8(sum, unpack8(T{}, one),
                              load8(p.w + (int64_t)(r * p.S + s) * p.vectors * 8 + c));
            }
        }
        write8<T>(p.out, ((int64_t)at.n * p.P + row) * p.Q + at.strip, c, sum);
    }
}

/* ---- launcher ------------------------------------------------------------------------------- */

template <class T, int R>
static void (*kernel_of(int64_t stride))(depthwise_params) {
    constexpr int STRIP = sizeof(T) == 2 ? 4 : 2;
    return stride == 1 ? depthwise_kernel<T, R, 1, STRIP> : depthwise_kernel<T, R, 2, STRIP>;
}

template <class T>
static int launch_depthwise(thaw_cuda_launch *launch, const thaw_cuda_depthwise &d) {
    const thaw_conv_shape &s = d.shape;
    const thaw_window &win = s.window;
    bool any = depthwise_strip(win, DTYPE<T>) == 1;
    depthwise_params p = {};
    p.x = d.x;
    p.w = d.w;
    p.bias = d.bias;
    p.out = output_of(d, s.N * s.P * s.Q);
    p.cut = cut_depthwise(s, DTYPE<T>);
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
    auto kernel = any          ? depthwise_any<T>
                  : win.R == 3 ? kernel_of<T, 3>(win.stride_h)
                  : win.R == 5 ? kernel_of<T, 5>(win.stride_h)
                               : kernel_of<T, 7>(win.stride_h);
    int block = depthwise_block(p.cut);
    return launch_kernel(launch, any ? "depthwise_any" : "depthwise", kernel,
                         dim3((unsigned)ceil_div(p.cut.threads, block)), (unsigned)block, 0, p);
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
    /* Strips of float are the shortest; a row of x is reached by 32 bits from its first column. */
    long long threads = cut_depthwise(*s, THAW_F32).threads, most = (1ll << 31) - 1;
    long long row = (s->W + s->window.S * s->window.dilation_w) * padded_channels(s->C);
    long long taps = s->window.R * s->window.S * padded_channels(s->C);
    if (threads > most || s->N * s->P > most || s->H * s->W > most || row > most || taps > most) {
        snprintf(reason->text, sizeof reason->text,
                 "it needs %lld threads and %lld weights, at most %lld are possible", threads, taps,
                 most);
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
