/* Pools: the maximum or mean over a window, and the mean over a whole picture.
 *
 *     pool:         y[n,p,q,c] = max or mean of x[n, p stride + r dilation - pad, ..., c] inside x
 *     global_mean:  y[n,0,0,c] = mean over h,w of x[n,h,w,c]
 *
 * x, y: NHWC, channels padded to 8. Sums in float; the order of a sum depends on the shape alone.
 * Memory-bound: windows overlap in L1 and L2. ONNX MaxPool, AveragePool (opset 22) and
 * GlobalAveragePool (opset 1). Measured: as part of a whole only.
 */
#include <cuda_runtime.h>
#include <math.h>

#include "common.cuh"
#include "cuda_kernels.h"
#include "index.h"

namespace thaw {

enum { POOL_THREADS = 256 };

struct pool_params {
    const void *x;
    void *y;
    int64_t total; /* Vectors of 8 channels in y. */
    int64_t C;
    divisor by_vectors, by_Q, by_P;
    int H, W, R, S, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left, vectors;
    bool count_include_pad;
};

enum { POOL_AHEAD = 4 }; /* Loads of a row that are under way at once. */

/* Grid and block: all vectors of y in a row. Thread: 8 channels of one output, row by row of its
 * window. */
template <class T, bool MAX>
__global__ void __launch_bounds__(POOL_THREADS) pool_kernel(const pool_params p) {
    begin_kernel();
    int64_t i = (int64_t)blockIdx.x * POOL_THREADS + threadIdx.x;
    if (i >= p.total) return;
    uint32_t pixel = divide((uint32_t)i, p.by_vectors), row = divide(pixel, p.by_Q);
    uint32_t n = divide(row, p.by_P);
    int q = (int)(pixel - row * p.by_Q.d), at = (int)(row - n * p.by_P.d);
    int c = (int)((uint32_t)i - pixel * p.by_vectors.d) * 8;
    float8 sum;
    for (float &v : sum.v)
        v = MAX ? -INFINITY : 0;
    int inside = 0;
    for (int r = 0; r < p.R; r++) {
        int h = at * p.stride_h + r * p.dilation_h - p.pad_top;
        if (h < 0 || h >= p.H) continue;
        const T *x = (const T *)p.x + ((int64_t)n * p.H + h) * p.W * p.vectors * 8 + c;
        for (int s = 0; s < p.S; s += POOL_AHEAD) {
            packed8<T> one[POOL_AHEAD];
            bool valid[POOL_AHEAD];
#pragma unroll
            for (int j = 0; j < POOL_AHEAD; j++) {
                int w = q * p.stride_w + (s + j) * p.dilation_w - p.pad_left;
                valid[j] = s + j < p.S && w >= 0 && w < p.W;
                one[j] = load_packed8(x + (int64_t)w * p.vectors * 8, valid[j]);
            }
#pragma unroll
            for (int j = 0; j < POOL_AHEAD; j++) {
                float8 f = unpack8(T{}, one[j]);
                inside += valid[j];
                for (int e = 0; e < 8; e++)
                    sum.v[e] = !MAX       ? sum.v[e] + f.v[e]
                               : valid[j] ? fmaxf(sum.v[e], f.v[e])
                                          : sum.v[e];
            }
        }
    }
    if (!MAX) {
        float scale = 1 / (float)(p.count_include_pad ? p.R * p.S : inside);
        for (float &v : sum.v)
            v *= scale;
    }
    /* Zeros of x stay zeros, but for a window that lies outside of x. */
    zero_padding(sum, (int)(p.C - c));
    store8((T *)p.y + i * 8, sum);
}

/* ---- the mean of whole pictures ------------------------------------------------------------- */

enum { MEAN_THREADS = 256, MEAN_ENOUGH = 256, MEAN_AHEAD = 4 };

/* Vectors of 8 channels that a block adds up: a power of two, 8 where that makes a block for each
 * multiprocessor of any GPU; the fewer, the more threads share a channel's pixels. Two vectors are
 * 32 bytes of half precision, the least that DRAM gives. */
THAW_PURE int vectors_of_mean(int64_t N, int64_t vectors) {
    int each = 8;
    while (each > 2 && N * ceil_div(vectors, each) < MEAN_ENOUGH)
        each /= 2;
    return each;
}

/* Grid: images x `each` vectors of channels. Block: those vectors x as many pixels at a time as
 * there are threads left, which are then added up in a tree of fixed shape. */
template <class T>
__global__ void __launch_bounds__(MEAN_THREADS)
    global_mean_kernel(const T *x, T *y, int64_t pixels, int vectors, int each) {
    begin_kernel();
    float8 *sums = (float8 *)shared_memory(); /* [lanes][each] */
    const int chunks = (vectors + each - 1) / each, lanes = MEAN_THREADS / each;
    const int64_t n = blockIdx.x / (unsigned)chunks;
    const int thread = (int)threadIdx.x, lane = thread / each;
    const int v = (int)(blockIdx.x % (unsigned)chunks) * each + thread % each;
    const T *from = x + (n * pixels * vectors + v) * 8;
    float8 sum = {};
    for (int64_t i = lane; i < pixels && v < vectors; i += MEAN_AHEAD * lanes) {
        packed8<T> one[MEAN_AHEAD];
#pragma unroll
        for (int j = 0; j < MEAN_AHEAD; j++)
            one[j] = load_packed8(from + (i + j * lanes) * vectors * 8, i + j * lanes < pixels);
#pragma unroll
        for (int j = 0; j < MEAN_AHEAD; j++)
            add8(sum, unpack8(T{}, one[j]));
    }
    sums[thread] = sum;
    for (int half = lanes / 2; half > 0; half /= 2) {
        __syncthreads(); /* The sums that are added here have been written. */
        if (lane < half) add8(sums[thread], sums[thread + half * each]);
    }
    if (lane > 0 || v >= vectors) return;
    float8 mean = sums[thread];
    for (float &e : mean.v)
        e *= 1 / (float)pixels;
    store8(y + (n * vectors + v) * 8, mean);
}

/* ---- launchers ------------------------------------------------------------------------------ */

template <bool MAX>
static int launch_pool(thaw_cuda_launch *launch, thaw_dtype dtype, const pool_params &p) {
    dim3 grid((unsigned)ceil_div(p.total, POOL_THREADS));
    return with_type(dtype, [&](auto type) {
        return launch_kernel(launch, MAX ? "pool_max" : "pool_mean",
                             pool_kernel<decltype(type), MAX>, grid, POOL_THREADS, 0, p);
    });
}

}  // namespace thaw

using namespace thaw;

int cuda_pool(thaw_cuda_launch *launch, const thaw_pool_shape *s, thaw_dtype dtype, const void *x,
              void *y) {
    const thaw_window &win = s->window;
    pool_params p = {};
    p.x = x;
    p.y = y;
    p.vectors = (int)(padded_channels(s->C) / 8);
    p.total = s->N * s->P * s->Q * p.vectors;
    p.C = s->C;
    p.by_vectors = make_divisor((uint32_t)p.vectors);
    p.by_Q = make_divisor((uint32_t)s->Q);
    p.by_P = make_divisor((uint32_t)s->P);
    p.H = (int)s->H;
    p.W = (int)s->W;
    p.R = (int)win.R;
    p.S = (int)win.S;
    p.stride_h = (int)win.stride_h;
    p.stride_w = (int)win.stride_w;
    p.dilation_h = (int)win.dilation_h;
    p.dilation_w = (int)win.dilation_w;
    p.pad_top = (int)win.pad_top;
    p.pad_left = (int)win.pad_left;
    p.count_include_pad = s->count_include_pad;
    return s->max ? launch_pool<true>(launch, dtype, p) : launch_pool<false>(launch, dtype, p);
}

int cuda_global_mean(thaw_cuda_launch *launch, int64_t N, int64_t H, int64_t W, int64_t C,
                     thaw_dtype dtype, const void *x, void *y) {
    int64_t vectors = padded_channels(C) / 8;
    int each = vectors_of_mean(N, vectors);
    dim3 grid((unsigned)(N * ceil_div(vectors, each)));
    return with_type(dtype, [&](auto type) {
        using T = decltype(type);
        return launch_kernel(launch, "global_mean", global_mean_kernel<T>, grid, MEAN_THREADS,
                             MEAN_THREADS * sizeof(float8), (const T *)x, (T *)y, H * W,
                             (int)vectors, each);
    });
}
