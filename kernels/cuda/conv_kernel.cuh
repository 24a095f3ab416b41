/* Convolution and dense layers as an implicit GEMM on tensor cores.
 *
 *     y[n,p,q,k] = act(b[k] + residual
 *                      + sum over r,s,c of x[n, p stride + r dilation - pad, ..., c] w[k,c,r,s])
 *                                                           or the residual after act
 *
 * The matrix product has M = N P Q rows (pixels), K columns (filters) and sums over taps and
 * channels; x's matrix is never formed. x, residual, y: NHWC, channels padded to 8; w: packed by
 * cuda_conv_pack, tile by tile, each iteration's part as the image of what lies in shared memory.
 * Any R, S up to 16, stride, pads on four sides, dilation, groups; a dense layer is 1x1 on H = W =
 * 1. Products of half, bf16 or tf32, summed in float in an order that the shape alone decides, so
 * results are bit-equal from run to run, also when blocks share a sum (splits): each writes its
 * part, the last to arrive adds all parts in order.
 *
 * Method: CUTLASS's "optimized" iterators (implicit_gemm_convolution.md, 7107b05): the address of a
 * row moves by three precomputed steps; two bit masks a row tell which taps lie in the picture, and
 * cp.async fills with zeros what does not. 1x1 without pads is the same kernel with one tap.
 * sm_75 has no cp.async: its loads go through registers, two buffers in turn.
 *
 * Measured on an H200, fp16, 64 pictures: MobileNetV2's layers together (depthwise and stem, too)
 * 1.04 ms, cuDNN's best 1.18; ResNet-50's 2.72 and 1.84: cuDNN uses wgmma there. Rejected: a kernel
 * for each shape with taps as template parameters (one instance for each shape, minutes of
 * compiling; the steps are three additions); stream-K (gains only where tiles are few and the sum
 * is long, which splits cover).
 *
 * Its many instances are compiled a type of number a file, side by side: conv_f16.cu and its like.
 */
#ifndef THAW_CONV_KERNEL_CUH
#define THAW_CONV_KERNEL_CUH

#include <cuda_runtime.h>

#include <type_traits>

#include "common.cuh"
#include "conv_block.cuh"
#include "conv_tile.h"
#include "cuda_kernels.h"
#include "index.h"

namespace thaw {

struct conv_params {
    const uint4 *x, *w;
    const float *bias;
    float4 *partial;    /* [tile][split][fragment][thread]: sums of blocks that share a tile. */
    uint32_t *counters; /* For each tile: how many of its blocks have written theirs. */
    output_params out;
    divisor by_q, by_p;
    int H, W, R, S, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    int pixel_vectors, step_s, step_r, step_slice;
    block_order order;
    int n_tiles, iterations, splits;
    bool flat; /* 1x1 at stride 1 without pads: pixel m of y is made of pixel m of x. */
    /* By the filters of a group, and its channels; by_group.d = 0: without groups. */
    divisor by_group;
    int group_channels;
};

/* The first vector of a pixel that a column of tiles reads: channels_of_tile's begin. */
template <class T, class B>
__device__ inline int first_vector(const conv_params &p, int n_tile) {
    if (p.by_group.d == 0) return 0;
    uint32_t group = divide((uint32_t)(n_tile * B::TILE.n), p.by_group);
    return (int)group * p.group_channels / VECTOR<T>;
}

/* ---- x: which vectors a thread copies ------------------------------------------------------- */

/* The rows (pixels) of the tile of which this thread copies one vector in each iteration. */
template <class B>
struct x_rows {
    static constexpr int COUNT = B::TILE.m * B::TILE.vectors / B::THREADS;
    static constexpr int STEP = B::THREADS / B::TILE.vectors; /* Rows between two of them. */
    int base[COUNT];      /* Index of the vector at tap 0,0 and slice 0. */
    uint32_t mask[COUNT]; /* Bit r: row r of the filter is inside; bit 16 + s: column s. */
};

template <class T, class B>
__device__ inline void find_rows(const conv_params &p, int m_tile, int n_tile, int thread,
                                 x_rows<B> &rows) {
    constexpr int V = B::TILE.vectors;
    int begin = first_vector<T, B>(p, n_tile);
    int m0 = m_tile * B::TILE.m + thread / V;
    if (p.flat) {
#pragma unroll
        for (int i = 0; i < x_rows<B>::COUNT; i++) {
            int m = m0 + i * x_rows<B>::STEP;
            rows.base[i] = m * p.pixel_vectors + begin;
            rows.mask[i] = m < p.out.M;
        }
        return;
    }
#pragma unroll
    for (int i = 0; i < x_rows<B>::COUNT; i++) {
        uint32_t m = (uint32_t)(m0 + i * x_rows<B>::STEP);
        uint32_t row = divide(m, p.by_q), q = m - row * p.by_q.d;
        uint32_t n = divide(row, p.by_p), at = row - n * p.by_p.d;
        int h = (int)at * p.stride_h - p.pad_top, w = (int)q * p.stride_w - p.pad_left;
        rows.base[i] = (((int)n * p.H + h) * p.W + w) * p.pixel_vectors + begin;
        rows.mask[i] = tap_mask(h, p.dilation_h, p.R, p.H) | tap_mask(w, p.dilation_w, p.S, p.W)
                                                                 << MAX_TAPS;
        if (m >= (uint32_t)p.out.M) rows.mask[i] = 0;
    }
}

/* The iteration whose vectors are copied next. */
struct x_cursor {
    int r, s, channel; /* channel: this thread's vector within the pixel. */
    int offset;        /* From base: vectors. */
};

template <class T, class B>
__device__ inline x_cursor cursor_at(const conv_params &p, int iteration, int n_tile, int thread) {
    constexpr int V = B::TILE.vectors;
    tap_place at = place_of_iteration(iteration, p.R, p.S);
    int channel = at.slice * V + thread % V;
    int tap = (at.r * p.dilation_h * p.W + at.s * p.dilation_w) * p.pixel_vectors;
    return {at.r, at.s, first_vector<T, B>(p, n_tile) + channel, tap + channel};
}

template <class B, bool POINTWISE>
__device__ inline void advance(const conv_params &p, x_cursor &c) {
    if (POINTWISE) {
        c.channel += B::TILE.vectors;
        c.offset += B::TILE.vectors;
    } else if (++c.s < p.S) {
        c.offset += p.step_s;
    } else {
        c.s = 0;
        if (++c.r < p.R) {
            c.offset += p.step_r;
        } else {
            c.r = 0;
            c.offset += p.step_slice;
            c.channel += B::TILE.vectors;
        }
    }
}

/* Whether the vector of row i is in the picture and in the pixel. */
template <class B, bool POINTWISE>
__device__ inline bool inside(const conv_params &p, const x_rows<B> &rows, const x_cursor &c,
                              int i) {
    uint32_t tap = POINTWISE ? 1 : 1u << c.r | 1u << (MAX_TAPS + c.s);
    return (rows.mask[i] & tap) == tap && c.channel < p.pixel_vectors;
}

/* ---- the sum -------------------------------------------------------------------------------- */

template <class B>
struct block_work {
    uint4 *shared;
    const uint4 *w; /* The packed weights of the tile of filters, at this thread's vector. */
    thread_place at;
    x_rows<B> rows;
    x_cursor cursor;
    iteration_range range;

    /* This thread's first vectors of x and of w in a stage; the others are constants apart. */
    __device__ uint4 *x_place(int stage) const {
        constexpr int V = B::TILE.vectors;
        int row = at.thread / V;
        return shared + stage * B::TILE.stage_vectors() + row * V + swizzle(row, at.thread % V, V);
    }
    __device__ uint4 *w_place(int stage) const {
        return shared + stage * B::TILE.stage_vectors() + B::TILE.m * B::TILE.vectors + at.thread;
    }
    __device__ const uint4 *stage(int index) const {
        return shared + index * B::TILE.stage_vectors();
    }
};

/* Vectors of w that a thread copies in each iteration. */
template <class B>
constexpr int W_COUNT = B::TILE.n *B::TILE.vectors / B::THREADS;

template <class B, bool POINTWISE>
__device__ inline void copy_stage(const conv_params &p, block_work<B> &work, int iteration,
                                  int stage) {
    constexpr int STEP = x_rows<B>::STEP * B::TILE.vectors;
    uint4 *x = work.x_place(stage), *w = work.w_place(stage);
#pragma unroll
    for (int i = 0; i < x_rows<B>::COUNT; i++) {
        cp_async_16(x + i * STEP, p.x + work.rows.base[i] + work.cursor.offset,
                    inside<B, POINTWISE>(p, work.rows, work.cursor, i));
    }
    const uint4 *from = work.w + (int64_t)iteration * B::TILE.n * B::TILE.vectors;
#pragma unroll
    for (int i = 0; i < W_COUNT<B>; i++)
        cp_async_16_once(w + i * B::THREADS, from + i * B::THREADS);
    advance<B, POINTWISE>(p, work.cursor);
}

/* Copies run STAGES - 1 iterations ahead; with two buffers, the factors of a step are loaded while
 * the step before is multiplied. */
template <class T, class B, bool POINTWISE>
__device__ inline void sum_async(const conv_params &p, block_work<B> &work,
                                 float (&sum)[B::MI][B::NI][4]) {
    constexpr int AHEAD = B::TILE.stages - 1;
    if (work.range.begin == work.range.end) return; /* A split without a share. */
    int copied = work.range.begin;
    for (int i = 0; i < AHEAD; i++, copied++) {
        if (copied < work.range.end) copy_stage<B, POINTWISE>(p, work, copied, i);
        cp_async_commit(); /* Also when empty: waiting counts groups. */
    }
    cp_async_wait<AHEAD - 1>();
    __syncthreads();
    fragments<B> f[B::BUFFERS];
    if (B::BUFFERS == 2) load_fragments<T, B>(work.stage(0), 0, work.at, f[0]);
    int stage = 0, free_stage = AHEAD;
    for (int iteration = work.range.begin; iteration < work.range.end; iteration++, copied++) {
        int next = stage + 1 == B::TILE.stages ? 0 : stage + 1;
        /* The free stage was read last in the iteration before, ahead of its barrier. */
        if (copied < work.range.end) copy_stage<B, POINTWISE>(p, work, copied, free_stage);
        cp_async_commit();
#pragma unroll
        for (int step = 0; step < B::STEPS; step++) {
            if (B::BUFFERS == 1) load_fragments<T, B>(work.stage(stage), step, work.at, f[0]);
            if (B::BUFFERS == 2 && step + 1 < B::STEPS)
                load_fragments<T, B>(work.stage(stage), step + 1, work.at, f[(step + 1) % 2]);
            if (step + 1 == B::STEPS && iteration + 1 < work.range.end) {
                cp_async_wait<AHEAD - 1>(); /* This thread's part of the next stage has landed, */
                __syncthreads();            /* and everybody's; all are done with this stage. */
                if (B::BUFFERS == 2) load_fragments<T, B>(work.stage(next), 0, work.at, f[0]);
            }
            mma(T{}, sum, f[step % B::BUFFERS].a, f[step % B::BUFFERS].b);
        }
        free_stage = stage;
        stage = next;
    }
    cp_async_wait<0>();
}

/* One iteration's vectors on their way from global to shared memory. */
template <class B>
struct vectors_in_registers {
    uint4 x[x_rows<B>::COUNT], w[W_COUNT<B>];
};

template <class B, bool POINTWISE>
__device__ inline void fetch(const conv_params &p, block_work<B> &work, int iteration,
                             vectors_in_registers<B> &v) {
#pragma unroll
    for (int i = 0; i < x_rows<B>::COUNT; i++) {
        v.x[i] = make_uint4(0, 0, 0, 0);
        if (inside<B, POINTWISE>(p, work.rows, work.cursor, i))
            v.x[i] = p.x[work.rows.base[i] + work.cursor.offset];
    }
    const uint4 *from = work.w + (int64_t)iteration * B::TILE.n * B::TILE.vectors;
#pragma unroll
    for (int i = 0; i < W_COUNT<B>; i++)
        v.w[i] = load_once(from + i * B::THREADS);
    advance<B, POINTWISE>(p, work.cursor);
}

template <class B>
__device__ inline void put(const block_work<B> &work, int stage, const vectors_in_registers<B> &v) {
    uint4 *x = work.x_place(stage), *w = work.w_place(stage);
#pragma unroll
    for (int i = 0; i < x_rows<B>::COUNT; i++)
        x[i * x_rows<B>::STEP * B::TILE.vectors] = v.x[i];
#pragma unroll
    for (int i = 0; i < W_COUNT<B>; i++)
        w[i * B::THREADS] = v.w[i];
}

/* sm_75: the next iteration's vectors wait in registers while this one is multiplied. */
template <class T, class B, bool POINTWISE>
__device__ inline void sum_registers(const conv_params &p, block_work<B> &work,
                                     float (&sum)[B::MI][B::NI][4]) {
    if (work.range.begin == work.range.end) return; /* A split without a share. */
    vectors_in_registers<B> v;
    fetch<B, POINTWISE>(p, work, work.range.begin, v);
    put(work, 0, v);
    __syncthreads();
    int stage = 0;
    for (int next = work.range.begin + 1; next <= work.range.end; next++, stage ^= 1) {
        if (next < work.range.end) fetch<B, POINTWISE>(p, work, next, v);
#pragma unroll
        for (int step = 0; step < B::STEPS; step++) {
            fragments<B> f;
            load_fragments<T, B>(work.stage(stage), step, work.at, f);
            mma(T{}, sum, f.a, f.b);
        }
        /* The other stage was read an iteration ago, ahead of the barrier at its end. */
        if (next < work.range.end) put(work, stage ^ 1, v);
        __syncthreads();
    }
}

/* ---- sums that blocks share ----------------------------------------------------------------- */

/* Writes this block's part. In the last block of the tile to arrive, sum becomes the sum of all
 * parts in the order of the splits, and the result is true. The counter is left as it was found:
 * zero, for the next launch. */
template <class B>
__device__ inline bool add_shares(const conv_params &p, int tile, int split, const thread_place &at,
                                  uint8_t *shared, float (&sum)[B::MI][B::NI][4]) {
    constexpr int EACH = B::MI * B::NI * B::THREADS;
    float4 *parts = p.partial + (int64_t)tile * p.splits * EACH + at.thread;
#pragma unroll
    for (int i = 0; i < B::MI; i++) {
#pragma unroll
        for (int j = 0; j < B::NI; j++) {
            parts[(int64_t)split * EACH + (i * B::NI + j) * B::THREADS] =
                make_float4(sum[i][j][0], sum[i][j][1], sum[i][j][2], sum[i][j][3]);
        }
    }
    __threadfence(); /* The part is visible before its arrival is, */
    __syncthreads(); /* that of every thread; and shared memory is free. */
    volatile uint32_t *arrived = (volatile uint32_t *)shared;
    if (at.thread == 0) *arrived = atomicAdd(p.counters + tile, 1u);
    __syncthreads();
    bool last = *arrived + 1 == (uint32_t)p.splits;
    __syncthreads(); /* All know before the epilogue overwrites the number. */
    if (!last) return false;
    __threadfence(); /* No part is read before the last arrival was seen. */
    if (at.thread == 0) p.counters[tile] = 0;
#pragma unroll
    for (int i = 0; i < B::MI; i++) {
#pragma unroll
        for (int j = 0; j < B::NI; j++)
            sum[i][j][0] = sum[i][j][1] = sum[i][j][2] = sum[i][j][3] = 0;
    }
#pragma unroll 1 /* A split's loads are on their way together. */
    for (int s = 0; s < p.splits; s++) {
#pragma unroll
        for (int i = 0; i < B::MI; i++) {
#pragma unroll
            for (int j = 0; j < B::NI; j++) {
                float4 part = parts[(int64_t)s * EACH + (i * B::NI + j) * B::THREADS];
                sum[i][j][0] += part.x;
                sum[i][j][1] += part.y;
                sum[i][j][2] += part.z;
                sum[i][j][3] += part.w;
            }
        }
    }
    return true;
}

/* ---- the kernel ----------------------------------------------------------------------------- */

/* Grid: tiles of y, eight columns at a time, x splits. Block: its warps, on one tile (or one share
 * of its sum). Thread: its lane's part of the warp's products. */
template <class T, int VARIANT, bool POINTWISE>
__global__ void __launch_bounds__(block_shape<VARIANT>::THREADS, 2)
    conv_kernel(const conv_params p) {
    begin_kernel();
    /* sm_75 multiplies half precision only; cuda_conv_refuses says so at plan time. */
    if constexpr (ARCH >= 80 || std::is_same<T, half_t>::value) {
        using B = block_shape<VARIANT>;
        uint8_t *shared = shared_memory();
        tile_place tile = place_of_block(blockIdx.x, p.order);
        int split = (int)blockIdx.y;
        block_work<B> work;
        work.shared = (uint4 *)shared;
        work.at = place_of_thread<B>();
        work.range = split_range(p.iterations, p.splits, split);
        work.w =
            p.w + (int64_t)tile.n * p.iterations * B::TILE.n * B::TILE.vectors + work.at.thread;
        find_rows<T, B>(p, tile.m, tile.n, work.at.thread, work.rows);
        work.cursor = cursor_at<T, B>(p, work.range.begin, tile.n, work.at.thread);

        float sum[B::MI][B::NI][4];
        int k0 = tile.n * B::TILE.n;
        start_sum<B>(split == 0 ? p.bias + k0 : nullptr, work.at, sum);
        if constexpr (ARCH >= 80) {
            sum_async<T, B, POINTWISE>(p, work, sum);
        } else {
            sum_registers<T, B, POINTWISE>(p, work, sum);
        }
        __syncthreads(); /* All are done with the tiles: their memory is the epilogue's. */
        if (p.splits > 1 &&
            !add_shares<B>(p, tile.m * p.n_tiles + tile.n, split, work.at, shared, sum))
            return;
        write_tile<T, B>(p.out, (int64_t)tile.m * B::TILE.m, k0, work.at, shared, sum);
    }
}

/* ---- launcher ------------------------------------------------------------------------------- */

static inline bool is_pointwise(const thaw_window &w) {
    return w.R == 1 && w.S == 1 && w.pad_top == 0 && w.pad_left == 0 && w.pad_bottom == 0 &&
           w.pad_right == 0;
}

static inline conv_params make_params(const thaw_cuda_conv &c, conv_tile tile,
                                      const conv_size &size, int64_t vector) {
    const thaw_conv_shape &s = c.shape;
    const thaw_window &win = s.window;
    conv_params p = {};
    p.x = (const uint4 *)c.x;
    p.w = (const uint4 *)c.w;
    p.bias = c.bias;
    p.partial = (float4 *)c.workspace;
    p.counters = c.counters;
    p.out = output_of(c, size.M);
    p.by_q = make_divisor((uint32_t)s.Q);
    p.by_p = make_divisor((uint32_t)s.P);
    p.H = (int)s.H;
    p.W = (int)s.W;
    p.R = (int)win.R;
    p.S = (int)win.S;
    p.stride_h = (int)win.stride_h;
    p.stride_w = (int)win.stride_w;
    p.dilation_h = (int)win.dilation_h;
    p.dilation_w = (int)win.dilation_w;
    p.pad_top = (int)win.pad_top;
    p.pad_left = (int)win.pad_left;
    p.pixel_vectors = (int)(padded_channels(s.C) / vector);
    tap_steps steps = make_tap_steps(p.R, p.S, s.W, win.dilation_h, win.dilation_w, p.pixel_vectors,
                                     tile.vectors);
    p.step_s = (int)steps.next_s;
    p.step_r = (int)steps.next_r;
    p.step_slice = (int)steps.next_slice;
    p.order = make_block_order(size.m_tiles, size.n_tiles);
    p.n_tiles = size.n_tiles;
    p.iterations = size.iterations;
    p.splits = c.choice.splits;
    p.flat = is_pointwise(win) && win.stride_h == 1 && win.stride_w == 1;
    if (s.G > 1) p.by_group = make_divisor((uint32_t)(s.K / s.G));
    p.group_channels = (int)(s.C / s.G);
    return p;
}

template <class T, int VARIANT>
int launch_variant(thaw_cuda_launch *launch, const thaw_cuda_conv &c, int sm) {
    static const char *const names[] = {"conv_wide", "conv_narrow", "conv_small"};
    conv_tile tile = tile_of(VARIANT, sm);
    conv_size size = size_of_conv(c.shape, tile, VECTOR<T>);
    conv_params p = make_params(c, tile, size, VECTOR<T>);
    dim3 grid((unsigned)((int64_t)size.m_tiles * size.n_tiles), (unsigned)p.splits);
    int64_t longest = ceil_div(size.iterations, p.splits);
    return launch_kernel(launch, names[VARIANT],
                         is_pointwise(c.shape.window) ? conv_kernel<T, VARIANT, true>
                                                      : conv_kernel<T, VARIANT, false>,
                         grid, (unsigned)tile.threads(), (size_t)tile.shared_bytes(longest), p);
}

template <class T>
int launch_conv(thaw_cuda_launch *launch, const thaw_cuda_conv &conv, int sm) {
    switch (conv.choice.variant) {
        case CONV_WIDE:
            return launch_variant<T, CONV_WIDE>(launch, conv, sm);
        case CONV_NARROW:
            return launch_variant<T, CONV_NARROW>(launch, conv, sm);
        case CONV_SMALL:
            return launch_variant<T, CONV_SMALL>(launch, conv, sm);
        default:
            return (int)cudaErrorInvalidValue;
    }
}

}  // namespace thaw

#endif
