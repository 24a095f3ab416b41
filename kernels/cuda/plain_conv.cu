/* Convolutions that are trained: what no library takes, and the filters' way to those that do.
 *
 *     forward:  y[n,p,q,k] = sum over r,s,c of x[n,h,w,c] w[k,c,r,s],  h = p stride + r dilation - pad
 *     data:     dx[n,h,w,c] = sum over the same r,s,k of dy[n,p,q,k] w[k,c,r,s]
 *     filter:   dw[k,c,r,s] = sum over n,p,q of dy[n,p,q,k] x[n,h,w,c]
 *     pack:     [K,C,R,S] -> [Kp,R,S,Cp] with zeros for padding; unpack: back
 *
 * x, y and their gradients: NHWC in float or bf16, channels padded to 8. w, dw: float in ONNX's order,
 * C being that of a group; packed, of the tensors' type. Any groups, strides, dilations and pads: grouped layers, and what neither cuDNN nor
 * depthwise_gradient.cu takes, which are right and slow. Sums in float, their order depends on the
 * shape alone. The filters' pixels are cut into chunks, as many as fill a GPU's multiprocessors, each
 * of which eight threads walk through; cuda_column_sum adds the chunks in their order. ONNX Conv,
 * opset 22. Measured: as part of a whole only, and by no network with groups.
 */
#include <assert.h>
#include <cuda_runtime.h>

#include "common.cuh"
#include "cuda_kernels.h"
#include "index.h"
#include "top_index.h"

namespace thaw {

enum { LANES = 32, PIXELS = 8, CONV_THREADS = LANES * PIXELS, PACK_THREADS = 256 };

struct plain_params {
    const void *x, *dy;
    const float *w;
    void *to;       /* filter: of floats. */
    int64_t pixels; /* Of `to`; filter: of dy. */
    int H, W, P, Q, R, S, Cp, Kp;
    int C, K, each_c, each_k; /* Of a group. */
    int stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    divisor by_row, by_column; /* Of those pixels: W or Q, H or P. */
    int chunks;                /* filter: of pixels; `to` holds the sums of each. */
};

struct pixel_place {
    int64_t n;
    int row, column;
};

__device__ inline pixel_place place_of(const plain_params &p, int64_t pixel) {
    uint32_t line = divide((uint32_t)pixel, p.by_row), n = divide(line, p.by_column);
    return {(int64_t)n, (int)(line - n * p.by_column.d),
            (int)((uint32_t)pixel - line * p.by_row.d)};
}

/* Grid: 8 pixels of y x 32 channels. Thread: a channel of a pixel. */
template <class T>
__global__ void __launch_bounds__(CONV_THREADS) plain_forward_kernel(const plain_params p) {
    begin_kernel();
    int k = (int)(blockIdx.y * LANES + threadIdx.x % LANES);
    int64_t pixel = (int64_t)blockIdx.x * PIXELS + threadIdx.x / LANES;
    if (pixel >= p.pixels || k >= p.Kp) return;
    pixel_place at = place_of(p, pixel);
    int first = k < p.K ? k / p.each_k * p.each_c : 0;
    float sum = 0;
    for (int r = 0; r < p.R && k < p.K; r++) {
        int h = at.row * p.stride_h + r * p.dilation_h - p.pad_top;
        if (h < 0 || h >= p.H) continue;
        for (int s = 0; s < p.S; s++) {
            int w = at.column * p.stride_w + s * p.dilation_w - p.pad_left;
            if (w < 0 || w >= p.W) continue;
            const T *x = (const T *)p.x + ((at.n * p.H + h) * p.W + w) * p.Cp + first;
            const float *f = p.w + ((int64_t)k * p.each_c * p.R + r) * p.S + s;
            for (int c = 0; c < p.each_c; c++)
                sum += value(x[c]) * f[(int64_t)c * p.R * p.S];
        }
    }
    store((T *)p.to + pixel * p.Kp + k, sum);
}

/* Grid: 8 pixels of dx x 32 channels. Thread: a channel of a pixel. */
template <class T>
__global__ void __launch_bounds__(CONV_THREADS) plain_data_kernel(const plain_params p) {
    begin_kernel();
    int c = (int)(blockIdx.y * LANES + threadIdx.x % LANES);
    int64_t pixel = (int64_t)blockIdx.x * PIXELS + threadIdx.x / LANES;
    if (pixel >= p.pixels || c >= p.Cp) return;
    pixel_place at = place_of(p, pixel);
    int group = c < p.C ? c / p.each_c : 0, first = group * p.each_k;
    float sum = 0;
    for (int r = 0; r < p.R && c < p.C; r++) {
        int row = output_of(at.row, r, p.stride_h, p.dilation_h, p.pad_top, p.P);
        if (row < 0) continue;
        for (int s = 0; s < p.S; s++) {
            int column = output_of(at.column, s, p.stride_w, p.dilation_w, p.pad_left, p.Q);
            if (column < 0) continue;
            const T *dy = (const T *)p.dy + ((at.n * p.P + row) * p.Q + column) * p.Kp + first;
            const float *f =
                p.w + (((int64_t)first * p.each_c + c - group * p.each_c) * p.R + r) * p.S + s;
            for (int k = 0; k < p.each_k; k++)
                sum += value(dy[k]) * f[(int64_t)k * p.each_c * p.R * p.S];
        }
    }
    store((T *)p.to + pixel * p.Cp + c, sum);
}

/* Grid: (c,r,s) of a filter x 32 filters x chunks. Thread: every 8th pixel of a chunk for one filter.
 * Loads do not hang on branches, so that several pixels' are under way. */
template <class T>
__global__ void __launch_bounds__(CONV_THREADS) plain_filter_kernel(const plain_params p) {
    begin_kernel();
    float *shared = (float *)shared_memory(); /* [PIXELS][LANES] */
    int k = (int)(blockIdx.y * LANES + threadIdx.x % LANES), tap = (int)blockIdx.x;
    int s = tap % p.S, r = tap / p.S % p.R, c = tap / (p.S * p.R);
    int from = k < p.K ? k / p.each_k * p.each_c + c : 0;
    row_range chunk = rows_of_split(p.pixels, p.chunks, (int)blockIdx.z);
    if (k >= p.K) chunk.end = chunk.begin;
    float sum = 0;
#pragma unroll 4
    for (int64_t m = chunk.begin + threadIdx.x / LANES; m < chunk.end; m += PIXELS) {
        pixel_place at = place_of(p, m);
        int h = at.row * p.stride_h + r * p.dilation_h - p.pad_top;
        int w = at.column * p.stride_w + s * p.dilation_w - p.pad_left;
        bool inside = h >= 0 && h < p.H && w >= 0 && w < p.W;
        T x = inside ? ((const T *)p.x)[((at.n * p.H + h) * p.W + w) * p.Cp + from] : T{};
        sum += value(((const T *)p.dy)[m * p.Kp + k]) * value(x);
    }
    shared[threadIdx.x] = sum;
    __syncthreads(); /* All eight sums are there. */
    if (threadIdx.x >= LANES || k >= p.K) return;
    for (int i = 1; i < PIXELS; i++)
        sum += shared[i * LANES + threadIdx.x];
    int64_t numbers = (int64_t)p.K * p.each_c * p.R * p.S;
    ((float *)p.to)[blockIdx.z * numbers + (((int64_t)k * p.each_c + c) * p.R + r) * p.S + s] = sum;
}

static plain_params params_of(const thaw_conv_shape &c) {
    plain_params p = {};
    p.H = (int)c.H;
    p.W = (int)c.W;
    p.P = (int)c.P;
    p.Q = (int)c.Q;
    p.R = (int)c.window.R;
    p.S = (int)c.window.S;
    p.C = (int)c.C;
    p.K = (int)c.K;
    p.Cp = (int)padded_channels(c.C);
    p.Kp = (int)padded_channels(c.K);
    p.each_c = (int)(c.C / c.G);
    p.each_k = (int)(c.K / c.G);
    p.stride_h = (int)c.window.stride_h;
    p.stride_w = (int)c.window.stride_w;
    p.dilation_h = (int)c.window.dilation_h;
    p.dilation_w = (int)c.window.dilation_w;
    p.pad_top = (int)c.window.pad_top;
    p.pad_left = (int)c.window.pad_left;
    return p;
}

static void set_pixels(plain_params *p, int64_t N, int64_t H, int64_t W) {
    p->pixels = N * H * W;
    p->by_row = make_divisor((uint32_t)W);
    p->by_column = make_divisor((uint32_t)H);
}

static dim3 grid_of(int64_t pixels, int channels) {
    return dim3((unsigned)ceil_div(pixels, PIXELS), (unsigned)ceil_div(channels, LANES));
}

static dim3 filter_blocks(const thaw_conv_shape &s) {
    return dim3((unsigned)(s.C / s.G * s.window.R * s.window.S), (unsigned)ceil_div(s.K, LANES));
}

static int chunks_of(const thaw_conv_shape &s) {
    dim3 blocks = filter_blocks(s);
    return chunks_of_filter(s.N * s.P * s.Q, (int64_t)blocks.x * blocks.y);
}

static int64_t numbers_of(const thaw_conv_shape &s) {
    return s.K * (s.C / s.G) * s.window.R * s.window.S;
}

/* ---- filters -------------------------------------------------------------------------------- */

struct pack_params {
    const void *from;
    void *to;
    int K, C, taps, Cp;
    int tile; /* Channels of a block. */
};

/* Grid: filters x tiles of channels. A filter's part of the tile lies in shared memory as in the file, so
 * that both sides are read and written side by side. */
template <class T>
__global__ void __launch_bounds__(PACK_THREADS) pack_filter_kernel(const pack_params p) {
    begin_kernel();
    float *shared = (float *)shared_memory(); /* [tile][taps] */
    const int k = (int)blockIdx.x, first = (int)blockIdx.y * p.tile;
    const int vectors = min(p.tile, p.Cp - first) / 8;
    const int there = k < p.K ? min(8 * vectors, p.C - first) * p.taps : 0;
    const float *from = (const float *)p.from + ((int64_t)k * p.C + first) * p.taps;
    for (int i = (int)threadIdx.x; i < 8 * vectors * p.taps; i += PACK_THREADS)
        shared[i] = i < there ? from[i] : 0;
    __syncthreads(); /* The filter is there. */
    T *to = (T *)p.to + (int64_t)k * p.taps * p.Cp + first;
    for (int i = (int)threadIdx.x; i < vectors * p.taps; i += PACK_THREADS) {
        int tap = i / vectors, c = (i - tap * vectors) * 8;
        float8 x;
#pragma unroll
        for (int e = 0; e < 8; e++)
            x.v[e] = shared[(c + e) * p.taps + tap];
        store8(to + (int64_t)tap * p.Cp + c, x);
    }
}

/* The same of one tap, which has nothing to turn. Thread: 8 channels of a filter. */
template <class T>
__global__ void __launch_bounds__(PACK_THREADS) pack_rows_kernel(const pack_params p, int64_t Kp) {
    begin_kernel();
    const int64_t i = (int64_t)blockIdx.x * PACK_THREADS + threadIdx.x, vectors = p.Cp / 8;
    const int64_t k = i / vectors;
    const int c = (int)(i - k * vectors) * 8;
    if (i >= Kp * vectors) return;
    const float *from = (const float *)p.from + k * p.C + c;
    float8 x = {};
    if (k < p.K && p.C % 8 == 0)
        x = load8(from);
    else
        for (int e = 0; e < 8 && k < p.K && c + e < p.C; e++)
            x.v[e] = from[e];
    store8((T *)p.to + i * 8, x);
}

/* As pack_filter_kernel, the other way. */
template <class T>
__global__ void __launch_bounds__(PACK_THREADS) unpack_filter_kernel(const pack_params p) {
    begin_kernel();
    float *shared = (float *)shared_memory(); /* [tile][taps] */
    const int k = (int)blockIdx.x, first = (int)blockIdx.y * p.tile;
    const int vectors = min(p.tile, p.Cp - first) / 8;
    const T *from = (const T *)p.from + (int64_t)k * p.taps * p.Cp + first;
    for (int i = (int)threadIdx.x; i < vectors * p.taps; i += PACK_THREADS) {
        int tap = i / vectors, c = (i - tap * vectors) * 8;
        float8 x = load8(from + (int64_t)tap * p.Cp + c);
#pragma unroll
        for (int e = 0; e < 8; e++)
            shared[(c + e) * p.taps + tap] = x.v[e];
    }
    __syncthreads(); /* The filter is there. */
    float *to = (float *)p.to + ((int64_t)k * p.C + first) * p.taps;
    for (int i = (int)threadIdx.x; i < min(8 * vectors, p.C - first) * p.taps; i += PACK_THREADS)
        to[i] = shared[i];
}

/* Thread: one of Cp. */
__global__ void __launch_bounds__(PACK_THREADS)
    pad_channels_kernel(const float *from, float *to, int64_t C, int64_t Cp) {
    begin_kernel();
    int64_t i = (int64_t)blockIdx.x * PACK_THREADS + threadIdx.x;
    if (i < Cp) to[i] = from && i < C ? from[i] : 0;
}

static dim3 threads_for(int64_t total) {
    return dim3((unsigned)ceil_div(total, PACK_THREADS));
}

/* As many channels as 16 KiB of shared memory have of a filter's taps, eight at least. */
static pack_params pack_of(const thaw_conv_shape &c, const void *from, void *to) {
    const int64_t NUMBERS = 4096, taps = c.window.R * c.window.S, Cp = padded_channels(c.C);
    const int64_t most = NUMBERS / taps / 8 * 8, tile = most < 8 ? 8 : most < Cp ? most : Cp;
    return {from, to, (int)c.K, (int)c.C, (int)taps, (int)Cp, (int)tile};
}

static size_t tile_bytes(const pack_params &p) {
    return (size_t)(p.tile * p.taps) * sizeof(float);
}

static dim3 tiles_of(const pack_params &p, int64_t filters) {
    return dim3((unsigned)filters, (unsigned)ceil_div(p.Cp, p.tile));
}

}  // namespace thaw

using namespace thaw;

int cuda_plain_conv(thaw_cuda_launch *launch, const thaw_conv_shape *shape, thaw_dtype dtype,
                    const void *x, const float *w, void *y) {
    plain_params p = params_of(*shape);
    set_pixels(&p, shape->N, shape->P, shape->Q);
    p.x = x;
    p.w = w;
    p.to = y;
    return with_training_type(dtype, [&](auto type) {
        return launch_kernel(launch, "plain_forward", plain_forward_kernel<decltype(type)>,
                             grid_of(p.pixels, p.Kp), CONV_THREADS, 0, p);
    });
}

int cuda_plain_conv_data(thaw_cuda_launch *launch, const thaw_conv_shape *shape, thaw_dtype dtype,
                         const void *dy, const float *w, void *dx) {
    plain_params p = params_of(*shape);
    set_pixels(&p, shape->N, shape->H, shape->W);
    p.dy = dy;
    p.w = w;
    p.to = dx;
    return with_training_type(dtype, [&](auto type) {
        return launch_kernel(launch, "plain_data", plain_data_kernel<decltype(type)>,
                             grid_of(p.pixels, p.Cp), CONV_THREADS, 0, p);
    });
}

int cuda_sum_chunks(thaw_cuda_launch *launch, int chunks, int64_t n, const float *parts,
                    float *to) {
    thaw_cuda_column_sum sum = {chunks, n, n, THAW_F32, parts, to, nullptr, nullptr};
    assert(cuda_column_sum_workspace(chunks, n) == 0);
    return cuda_column_sum(launch, &sum);
}

size_t cuda_plain_conv_filter_workspace(const thaw_conv_shape *shape) {
    int chunks = chunks_of(*shape);
    return chunks == 1 ? 0 : (size_t)(chunks * numbers_of(*shape));
}

int cuda_plain_conv_filter(thaw_cuda_launch *launch, const thaw_conv_shape *shape, thaw_dtype dtype,
                           const void *x, const void *dy, float *dw, float *workspace) {
    plain_params p = params_of(*shape);
    set_pixels(&p, shape->N, shape->P, shape->Q);
    p.x = x;
    p.dy = dy;
    p.chunks = chunks_of(*shape);
    p.to = p.chunks == 1 ? dw : workspace;
    dim3 grid = filter_blocks(*shape);
    grid.z = (unsigned)p.chunks;
    int code = with_training_type(dtype, [&](auto type) {
        return launch_kernel(launch, "plain_filter", plain_filter_kernel<decltype(type)>, grid,
                             CONV_THREADS, CONV_THREADS * sizeof(float), p);
    });
    return code || p.chunks == 1
               ? code
               : cuda_sum_chunks(launch, p.chunks, numbers_of(*shape), workspace, dw);
}

int cuda_pack_filter(thaw_cuda_launch *launch, const thaw_conv_shape *shape, thaw_dtype dtype,
                     const float *w, void *packed) {
    pack_params p = pack_of(*shape, w, packed);
    int64_t Kp = padded_channels(shape->K);
    return with_training_type(dtype, [&](auto type) {
        using T = decltype(type);
        if (p.taps == 1)
            return launch_kernel(launch, "pack_rows", pack_rows_kernel<T>,
                                 threads_for(Kp * (p.Cp / 8)), PACK_THREADS, 0, p, Kp);
        return launch_kernel(launch, "pack_filter", pack_filter_kernel<T>, tiles_of(p, Kp),
                             PACK_THREADS, tile_bytes(p), p);
    });
}

int cuda_unpack_filter(thaw_cuda_launch *launch, const thaw_conv_shape *shape, thaw_dtype dtype,
                       const void *packed, float *w) {
    pack_params p = pack_of(*shape, packed, w);
    return with_training_type(dtype, [&](auto type) {
        return launch_kernel(launch, "unpack_filter", unpack_filter_kernel<decltype(type)>,
                             tiles_of(p, shape->K), PACK_THREADS, tile_bytes(p), p);
    });
}

int cuda_pad_channels(thaw_cuda_launch *launch, int64_t C, const float *from, float *to) {
    int64_t Cp = padded_channels(C);
    return launch_kernel(launch, "pad_channels", pad_channels_kernel, threads_for(Cp), PACK_THREADS,
                         0, from, to, C, Cp);
}
