/* Depthwise convolutions that are trained: their gradients, and their filters' way there.
 *
 *     data:     dx[n,h,w,c] = sum over r,s of dy[n,p,q,c] w[c,r,s],  h = p stride + r dilation - pad
 *     filter:   dw[c,r,s] = sum over n,p,q of dy[n,p,q,c] x[n,h,w,c]
 *     pack:     [C,1,R,S] -> [R S][Cp], the same with the taps backwards, and Cp zeros
 *
 * x, y and their gradients: NHWC in float or bf16, channels padded to 8; filters in float. Forwards they are depthwise.cu's, and
 * so is dx at stride 1: a convolution of dy by the filters backwards. At other strides a thread goes
 * through the taps that hit an output: every stride-th.
 *
 * Filters of 3x3, 5x5 and 7x7 at stride 1 and 2 without dilation: a thread keeps the sums of all taps of a
 * few channels in registers and walks along strips of dy's rows, which it reads once, with the window of x
 * in registers, too: a pixel further it reads R or 2 R numbers of a channel, not R R. Strips are cut into
 * chunks, a block each, whose sums cuda_column_sum adds in the order of the chunks. How many depends on the
 * shape alone, and so do the bits. Others: plain_conv.cu. ONNX Conv, opset 22. Measured as part of a
 * whole (tests/bench/results/2026-11-28-training-gpu.md): a fifth of a step of MobileNetV2 on an H200, four
 * times what its bytes do, before windows were kept; with them a step is 4 % shorter, less than was hoped for.
 */
#include <cuda_runtime.h>

#include <numeric>
#include <utility>

#include "common.cuh"
#include "cuda_kernels.h"
#include "index.h"
#include "top_index.h"

namespace thaw {

enum { DEPTHWISE_GRADIENT_THREADS = 256, TILE = 32 /* Channels of a block: 128 bytes. */ };

/* ---- filter --------------------------------------------------------------------------------- */

/* Channels of a thread: their taps' sums take 36 to 50 registers. */
template <int R>
constexpr int VECTOR_OF = R == 3   ? 4
                          : R == 5 ? 2
                                   : 1;

template <class T, int V>
struct alignas(sizeof(T) * V) channels_of {
    T v[V];
};

struct depthwise_filter_params {
    const void *x, *dy;
    float *parts;            /* [chunks][numbers] */
    int64_t strips, numbers; /* Of dy's rows; of dw. */
    int H, W, Q, C, Cp, chunks;
    int length; /* Of a strip but the last of a row. */
    int pad_top, pad_left;
    divisor by_strips, by_P; /* Strips of a row. */
};

/* Calls f with 0, 1, ... as constants, until it returns false. */
template <int... I, class F>
__device__ inline bool each_of(std::integer_sequence<int, I...>, F f) {
    return (f(std::integral_constant<int, I>{}) && ...);
}

/* The window of x under each pixel of a strip of dy, times dy. A column of the window stays where it was
 * loaded: what is number s of it now is at (s + STRIDE * pixels gone) % R. */
template <class T, int R, int STRIDE, int V>
__device__ inline void add_strip(const depthwise_filter_params &p, int64_t strip, int c,
                                 float (&sum)[R][R][V]) {
    using channels = channels_of<T, V>;
    uint32_t line = divide((uint32_t)strip, p.by_strips), n = divide(line, p.by_P);
    int q = (int)((uint32_t)strip - line * p.by_strips.d) * p.length;
    const int end = min(q + p.length, p.Q);
    const int h0 = (int)(line - n * p.by_P.d) * STRIDE - p.pad_top;
    int w0 = q * STRIDE - p.pad_left;
    const T *dy = (const T *)p.dy + ((int64_t)line * p.Q + q) * p.Cp + c;
    const T *x = (const T *)p.x + ((int64_t)n * p.H + h0) * p.W * p.Cp + c;
    float window[R][R][V];
    auto load_column = [&](int at, int w) {
#pragma unroll
        for (int r = 0; r < R; r++) {
            bool inside = h0 + r >= 0 && h0 + r < p.H && w >= 0 && w < p.W;
            channels from =
                inside ? *(const channels *)(x + ((int64_t)r * p.W + w) * p.Cp) : channels{};
#pragma unroll
            for (int i = 0; i < V; i++)
                window[r][at][i] = value(from.v[i]);
        }
    };
#pragma unroll
    for (int s = 0; s < R - STRIDE; s++)
        load_column(s, w0 + s);
    auto add_pixel = [&](auto pixels_gone) {
        constexpr int GONE = decltype(pixels_gone)::value;
        if (q >= end) return false;
        channels g = *(const channels *)dy;
#pragma unroll
        for (int s = R - STRIDE; s < R; s++)
            load_column((s + STRIDE * GONE) % R, w0 + s);
#pragma unroll
        for (int r = 0; r < R; r++)
#pragma unroll
            for (int s = 0; s < R; s++)
#pragma unroll
                for (int i = 0; i < V; i++)
                    sum[r][s][i] += value(g.v[i]) * window[r][(s + STRIDE * GONE) % R][i];
        q++;
        w0 += STRIDE;
        dy += p.Cp;
        return true;
    };
    while (each_of(std::make_integer_sequence<int, R>{}, add_pixel)) {
    }
}

/* Grid: tiles of 32 channels x chunks of strips. Block: a chunk. Thread: V channels of some of the
 * chunk's strips, as many as the block has lanes apart. */
template <class T, int R, int STRIDE>
__global__ void __launch_bounds__(DEPTHWISE_GRADIENT_THREADS, R == 3 ? 2 : 1)
    depthwise_filter_kernel(const depthwise_filter_params p) {
    begin_kernel();
    constexpr int V = VECTOR_OF<R>, VECTORS = TILE / V;
    constexpr int LANES = DEPTHWISE_GRADIENT_THREADS / VECTORS;
    constexpr int WARPS = DEPTHWISE_GRADIENT_THREADS / 32;
    float *shared = (float *)shared_memory(); /* [WARPS][R][TILE] */
    const int thread = (int)threadIdx.x, vector = thread % VECTORS, warp = thread / 32;
    const int first = (int)blockIdx.x * TILE, c = first + vector * V;
    row_range strips = rows_of_split(p.strips, p.chunks, (int)blockIdx.y);
    float sum[R][R][V] = {};
    if (c < p.Cp)
        for (int64_t i = strips.begin + thread / VECTORS; i < strips.end; i += LANES)
            add_strip<T, R, STRIDE, V>(p, i, c, sum);
#pragma unroll
    for (int r = 0; r < R; r++) {
#pragma unroll
        for (int s = 0; s < R; s++)
#pragma unroll
            for (int i = 0; i < V; i++) {
                float one = sum[r][s][i];
#pragma unroll
                for (int with = 16; with >= VECTORS; with /= 2)
                    one += __shfl_xor_sync(0xffffffffu, one, with);
                if (thread % 32 < VECTORS) shared[(warp * R + s) * TILE + vector * V + i] = one;
            }
        __syncthreads(); /* The row's sums of all warps are there. */
        int s = thread / TILE, channel = thread % TILE;
        if (s < R && first + channel < p.C) {
            float total = 0;
#pragma unroll
            for (int i = 0; i < WARPS; i++)
                total += shared[(i * R + s) * TILE + channel];
            p.parts[blockIdx.y * p.numbers + (int64_t)(first + channel) * (R * R) + r * R + s] =
                total;
        }
        __syncthreads(); /* They were read before the next row's come. */
    }
}

/* ---- data, at strides ----------------------------------------------------------------------- */

struct depthwise_data_params {
    const void *dy;
    const float *w;
    void *dx;
    int64_t total; /* Vectors of 8 channels in dx. */
    int P, Q, R, S, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    int period_h, period_w; /* Taps from one that hits an output to the next. */
    divisor by_vectors, by_W, by_H;
};

/* The first tap that hits an output from `at`, which has the pad in it; `period`: none does. */
__device__ inline int first_tap(int at, int stride, int dilation, int period) {
    int tap = 0;
    while (tap < period && (at - tap * dilation) % stride != 0)
        tap++;
    return tap;
}

/* Thread: 8 channels of a pixel of dx. */
template <class T>
__global__ void __launch_bounds__(DEPTHWISE_GRADIENT_THREADS)
    depthwise_data_kernel(const depthwise_data_params p) {
    begin_kernel();
    int64_t i = (int64_t)blockIdx.x * DEPTHWISE_GRADIENT_THREADS + threadIdx.x;
    if (i >= p.total) return;
    uint32_t pixel = divide((uint32_t)i, p.by_vectors), line = divide(pixel, p.by_W);
    uint32_t n = divide(line, p.by_H);
    const int h = (int)(line - n * p.by_H.d) + p.pad_top;
    const int w = (int)(pixel - line * p.by_W.d) + p.pad_left;
    const int c = (int)(i - (int64_t)pixel * p.by_vectors.d) * 8, Cp = (int)p.by_vectors.d * 8;
    const int r0 = first_tap(h, p.stride_h, p.dilation_h, p.period_h);
    const int s0 = first_tap(w, p.stride_w, p.dilation_w, p.period_w);
    float8 sum = {};
    for (int r = r0; r0 < p.period_h && r < p.R; r += p.period_h) {
        int row = (h - r * p.dilation_h) / p.stride_h;
        if (h < r * p.dilation_h || row >= p.P) continue;
        const T *dy = (const T *)p.dy + ((int64_t)n * p.P + row) * p.Q * Cp + c;
        for (int s = s0; s0 < p.period_w && s < p.S; s += p.period_w) {
            int column = (w - s * p.dilation_w) / p.stride_w;
            if (w < s * p.dilation_w || column >= p.Q) continue;
            add_products8(sum, load8(dy + (int64_t)column * Cp),
                          load8(p.w + (int64_t)(r * p.S + s) * Cp + c));
        }
    }
    store8((T *)p.dx + i * 8, sum);
}

/* Thread: one number of [2 taps + 1][Cp]. */
__global__ void __launch_bounds__(DEPTHWISE_GRADIENT_THREADS)
    pack_depthwise_kernel(const float *from, float *to, int C, int taps, int Cp) {
    begin_kernel();
    int i = (int)(blockIdx.x * DEPTHWISE_GRADIENT_THREADS + threadIdx.x);
    if (i >= (2 * taps + 1) * Cp) return;
    int line = i / Cp, c = i - line * Cp;
    int tap = line < taps ? line : 2 * taps - 1 - line;
    to[i] = tap >= 0 && c < C ? from[(int64_t)c * taps + tap] : 0;
}

/* ---- launchers ------------------------------------------------------------------------------ */

static int64_t taps_of(const thaw_conv_shape &s) {
    return s.window.R * s.window.S;
}

/* Of dx from dy at stride 1. */
static thaw_conv_shape backwards(const thaw_conv_shape &s) {
    const thaw_window &w = s.window;
    int64_t reach_h = w.dilation_h * (w.R - 1), reach_w = w.dilation_w * (w.S - 1);
    thaw_conv_shape back = s;
    back.H = s.P;
    back.W = s.Q;
    back.P = s.H;
    back.Q = s.W;
    back.window.pad_top = reach_h - w.pad_top;
    back.window.pad_left = reach_w - w.pad_left;
    back.window.pad_bottom = reach_h - w.pad_bottom;
    back.window.pad_right = reach_w - w.pad_right;
    return back;
}

static dim3 threads_for(int64_t total) {
    return dim3((unsigned)ceil_div(total, DEPTHWISE_GRADIENT_THREADS));
}

static bool is_unrolled(const thaw_window &w) {
    return w.R == w.S && (w.R == 3 || w.R == 5 || w.R == 7) && w.stride_h == w.stride_w &&
           w.stride_h <= 2 && w.dilation_h == 1 && w.dilation_w == 1;
}

/* A row of Q pixels in equal strips of 16 at most: their first windows are loaded whole. */
static int64_t strips_of_row(int64_t Q) {
    return ceil_div(Q, 16);
}

static int64_t tiles_of(const thaw_conv_shape &s) {
    return ceil_div(s.C, TILE);
}

static int chunks_of(const thaw_conv_shape &s) {
    return chunks_of_filter(s.N * s.P * strips_of_row(s.Q) * 8, tiles_of(s));
}

template <class T, int R>
static void (*filter_kernel(int64_t stride))(depthwise_filter_params) {
    return stride == 1 ? depthwise_filter_kernel<T, R, 1> : depthwise_filter_kernel<T, R, 2>;
}

static int launch_filter(thaw_cuda_launch *launch, const thaw_conv_shape &s, thaw_dtype dtype,
                         const void *x, const void *dy, float *parts) {
    const thaw_window &w = s.window;
    depthwise_filter_params p = {};
    p.x = x;
    p.dy = dy;
    p.parts = parts;
    p.strips = s.N * s.P * strips_of_row(s.Q);
    p.length = (int)ceil_div(s.Q, strips_of_row(s.Q));
    p.numbers = s.C * taps_of(s);
    p.H = (int)s.H;
    p.W = (int)s.W;
    p.Q = (int)s.Q;
    p.C = (int)s.C;
    p.Cp = (int)padded_channels(s.C);
    p.chunks = chunks_of(s);
    p.pad_top = (int)w.pad_top;
    p.pad_left = (int)w.pad_left;
    p.by_strips = make_divisor((uint32_t)strips_of_row(s.Q));
    p.by_P = make_divisor((uint32_t)s.P);
    size_t shared = (size_t)(DEPTHWISE_GRADIENT_THREADS / 32 * w.R * TILE) * sizeof(float);
    return with_training_type(dtype, [&](auto type) {
        using T = decltype(type);
        auto kernel = w.R == 3   ? filter_kernel<T, 3>(w.stride_h)
                      : w.R == 5 ? filter_kernel<T, 5>(w.stride_h)
                                 : filter_kernel<T, 7>(w.stride_h);
        return launch_kernel(launch, "depthwise_filter", kernel,
                             dim3((unsigned)tiles_of(s), (unsigned)p.chunks),
                             DEPTHWISE_GRADIENT_THREADS, shared, p);
    });
}

static int launch_data(thaw_cuda_launch *launch, const thaw_conv_shape &s, thaw_dtype dtype,
                       const void *dy, const float *w, void *dx) {
    const thaw_window &win = s.window;
    depthwise_data_params p = {};
    p.dy = dy;
    p.w = w;
    p.dx = dx;
    p.by_vectors = make_divisor((uint32_t)(padded_channels(s.C) / 8));
    p.by_W = make_divisor((uint32_t)s.W);
    p.by_H = make_divisor((uint32_t)s.H);
    p.stride_h = (int)win.stride_h;
    p.stride_w = (int)win.stride_w;
    p.period_h = p.stride_h / std::gcd(p.stride_h, (int)win.dilation_h);
    p.period_w = p.stride_w / std::gcd(p.stride_w, (int)win.dilation_w);
    p.total = s.N * s.H * s.W * p.by_vectors.d;
    p.P = (int)s.P;
    p.Q = (int)s.Q;
    p.R = (int)win.R;
    p.S = (int)win.S;
    p.dilation_h = (int)win.dilation_h;
    p.dilation_w = (int)win.dilation_w;
    p.pad_top = (int)win.pad_top;
    p.pad_left = (int)win.pad_left;
    return with_training_type(dtype, [&](auto type) {
        return launch_kernel(launch, "depthwise_data", depthwise_data_kernel<decltype(type)>,
                             threads_for(p.total), DEPTHWISE_GRADIENT_THREADS, 0, p);
    });
}

}  // namespace thaw

using namespace thaw;

bool cuda_depthwise_trains(const thaw_conv_shape *shape) {
    thaw_cuda_reason reason;
    thaw_conv_shape back = backwards(*shape);
    /* dx at strides has a thread for each vector. */
    return !cuda_depthwise_refuses(shape, &reason) && !cuda_depthwise_refuses(&back, &reason) &&
           shape->N * shape->H * shape->W * (padded_channels(shape->C) / 8) < 1ll << 31;
}

size_t cuda_depthwise_packed_count(const thaw_conv_shape *shape) {
    return (size_t)((2 * taps_of(*shape) + 1) * padded_channels(shape->C));
}

const float *cuda_depthwise_zeros(const thaw_conv_shape *shape, const float *packed) {
    return packed + 2 * cuda_depthwise_weight_count(shape);
}

int cuda_pack_depthwise(thaw_cuda_launch *launch, const thaw_conv_shape *shape, const float *w,
                        float *packed) {
    return launch_kernel(launch, "pack_depthwise", pack_depthwise_kernel,
                         threads_for((int64_t)cuda_depthwise_packed_count(shape)),
                         DEPTHWISE_GRADIENT_THREADS, 0, w, packed, (int)shape->C,
                         (int)taps_of(*shape), (int)padded_channels(shape->C));
}

int cuda_depthwise_data(thaw_cuda_launch *launch, const thaw_conv_shape *shape, thaw_dtype dtype,
                        const void *dy, const float *packed, void *dx) {
    if (shape->window.stride_h != 1 || shape->window.stride_w != 1)
        return launch_data(launch, *shape, dtype, dy, packed, dx);
    thaw_cuda_depthwise d = {};
    d.shape = backwards(*shape);
    d.dtype = dtype;
    d.x = dy;
    d.w = packed + cuda_depthwise_weight_count(shape);
    d.bias = cuda_depthwise_zeros(shape, packed);
    d.y = dx;
    return cuda_depthwise(launch, &d);
}

size_t cuda_depthwise_filter_workspace(const thaw_conv_shape *shape) {
    if (!is_unrolled(shape->window)) return cuda_plain_conv_filter_workspace(shape);
    int chunks = chunks_of(*shape);
    return chunks == 1 ? 0 : (size_t)(chunks * shape->C * taps_of(*shape));
}

int cuda_depthwise_filter(thaw_cuda_launch *launch, const thaw_conv_shape *shape, thaw_dtype dtype,
                          const void *x, const void *dy, float *dw, float *workspace) {
    if (!is_unrolled(shape->window))
        return cuda_plain_conv_filter(launch, shape, dtype, x, dy, dw, workspace);
    int chunks = chunks_of(*shape);
    int code = launch_filter(launch, *shape, dtype, x, dy, chunks == 1 ? dw : workspace);
    return code || chunks == 1
               ? code
               : cuda_sum_chunks(launch, chunks, shape->C * taps_of(*shape), workspace, dw);
}
