/* Pools: the maximum or mean over a window, and the mean over a whole picture.
 *
 *     pool:         y[n,p,q,c] = max or mean of x[n, p stride + r dilation - pad, ..., c] inside x
 *     global_mean:  y[n,0,0,c] = mean over h,w of x[n,h,w,c]
 *
 * x, y: NHWC, channels padded to 8. Sums in float; the order of a sum depends on the shape alone.
 * Memory-bound: windows overlap in L1 and L2. ONNX MaxPool, AveragePool (opset 22) and
 * GlobalAveragePool (opset 1). Measured: on no GPU yet.
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
    thaw_pool_shape s;
    int vectors;
    int64_t total; /* Vectors of 8 channels in y. */
    divisor by_vectors, by_Q, by_P;
};

/* Where an element of the window lies, and whether inside x. */
__device__ inline bool in_window(int64_t at, int64_t i, int64_t stride, int64_t dilation,
                                 int64_t pad, int64_t size, int64_t &place) {
    place = at * stride + i * dilation - pad;
    return place >= 0 && place < size;
}

/* Grid and block: all vectors of y in a row. Thread: 8 channels of one output. */
template <class T, bool MAX>
__global__ void __launch_bounds__(POOL_THREADS) pool_kernel(const pool_params p) {
    int64_t i = (int64_t)blockIdx.x * POOL_THREADS + threadIdx.x;
    if (i >= p.total) return;
    const thaw_window &win = p.s.window;
    uint32_t pixel = divide((uint32_t)i, p.by_vectors), row = divide(pixel, p.by_Q);
    uint32_t n = divide(row, p.by_P), q = pixel - row * p.by_Q.d, at = row - n * p.by_P.d;
    int64_t c = ((int64_t)i - (int64_t)pixel * p.vectors) * 8;
    float8 sum;
    for (float &v : sum.v)
        v = MAX ? -INFINITY : 0;
    int inside = 0;
    for (int64_t r = 0; r < win.R; r++) {
        int64_t h, w;
        if (!in_window(at, r, win.stride_h, win.dilation_h, win.pad_top, p.s.H, h)) continue;
        for (int64_t s = 0; s < win.S; s++) {
            if (!in_window(q, s, win.stride_w, win.dilation_w, win.pad_left, p.s.W, w)) continue;
            int64_t from = (((int64_t)n * p.s.H + h) * p.s.W + w) * p.vectors * 8 + c;
            float8 x = load8((const T *)p.x + from);
            inside++;
            for (int e = 0; e < 8; e++)
                sum.v[e] = MAX ? fmaxf(sum.v[e], x.v[e]) : sum.v[e] + x.v[e];
        }
    }
    if (!MAX) {
        float divisor = p.s.count_include_pad ? (float)(win.R * win.S) : (float)inside;
        for (float &v : sum.v)
            v /= divisor;
    }
    store8((T *)p.y + i * 8, sum); /* Padding: zeros of x stay zeros. */
}

/* ---- the mean of whole pictures ------------------------------------------------------------- */

enum { MEAN_VECTORS = 8, MEAN_PIXELS = 32 };

/* Grid: images x 8 vectors of channels. Block: those vectors x 32 pixels at a time, which are then
 * added up in a tree of fixed shape. */
template <class T>
__global__ void __launch_bounds__(MEAN_VECTORS *MEAN_PIXELS)
    global_mean_kernel(const T *x, T *y, int64_t pixels, int vectors) {
    float8 *sums = (float8 *)shared_memory(); /* [MEAN_PIXELS][MEAN_VECTORS] */
    unsigned chunks = (unsigned)ceil_div(vectors, MEAN_VECTORS);
    int64_t n = blockIdx.x / chunks;
    int v = (int)(blockIdx.x % chunks * MEAN_VECTORS + threadIdx.x % MEAN_VECTORS);
    int first = (int)(threadIdx.x / MEAN_VECTORS);
    float8 sum = {};
    for (int64_t i = first; i < pixels && v < vectors; i += MEAN_PIXELS) {
        float8 one = load8(x + ((n * pixels + i) * vectors + v) * 8);
        for (int e = 0; e < 8; e++)
            sum.v[e] += one.v[e];
    }
    sums[threadIdx.x] = sum;
    for (int half = MEAN_PIXELS / 2; half > 0; half /= 2) {
        __syncthreads(); /* The sums that are added here have been written. */
        if (first < half) {
            float8 &mine = sums[threadIdx.x], other = sums[threadIdx.x + half * MEAN_VECTORS];
            for (int e = 0; e < 8; e++)
                mine.v[e] += other.v[e];
        }
    }
    if (first > 0 || v >= vectors) return;
    float8 mean = sums[threadIdx.x];
    for (float &e : mean.v)
        e /= (float)pixels;
    store8(y + (n * vectors + v) * 8, mean);
}

/* ---- launchers ------------------------------------------------------------------------------ */

template <class T>
static int launch_pool(thaw_cuda_launch *launch, const pool_params &p) {
    dim3 grid((unsigned)ceil_div(p.total, POOL_THREADS));
    return launch_kernel(launch, p.s.max ? "pool_max" : "pool_mean",
                         p.s.max ? pool_kernel<T, true> : pool_kernel<T, false>, grid, POOL_THREADS,
                         0, p);
}

}  // namespace thaw

using namespace thaw;

int cuda_pool(thaw_cuda_launch *launch, const thaw_pool_shape *shape, thaw_dtype dtype,
              const void *x, void *y) {
    pool_params p = {};
    p.x = x;
    p.y = y;
    p.s = *shape;
    p.vectors = (int)(padded_channels(shape->C) / 8);
    p.total = shape->N * shape->P * shape->Q * p.vectors;
    p.by_vectors = make_divisor((uint32_t)p.vectors);
    p.by_Q = make_divisor((uint32_t)shape->Q);
    p.by_P = make_divisor((uint32_t)shape->P);
    return with_type(dtype, [&](auto type) { return launch_pool<decltype(type)>(launch, p); });
}

int cuda_global_mean(thaw_cuda_launch *launch, int64_t N, int64_t H, int64_t W, int64_t C,
                     thaw_dtype dtype, const void *x, void *y) {
    int vectors = (int)(padded_channels(C) / 8);
    dim3 grid((unsigned)(N * ceil_div(vectors, MEAN_VECTORS)));
    return with_type(dtype, [&](auto type) {
        using T = decltype(type);
        return launch_kernel(
            launch, "global_mean", global_mean_kernel<T>, grid, MEAN_VECTORS * MEAN_PIXELS,
            MEAN_VECTORS * MEAN_PIXELS * sizeof(float8), (const T *)x, (T *)y, H * W, vectors);
    });
}
