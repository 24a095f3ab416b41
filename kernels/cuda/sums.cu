/* Sums over rows: of each column of a gradient, which is a bias's gradient; of a batch's weights;
 * of an epoch's losses.
 *
 *     db[k] = sum over m of dy[m,k]        norm[s] = sum over the rows of step s of W[label]
 *     epoch = (sum of loss, sum of norm, number of correct)
 *
 * dy: [M,K] in any storage type with any row stride, summed in float; the others in double. The
 * order depends on the number of rows alone. Many rows are split among blocks, whose parts the last
 * one of them adds up in the order of the splits, whichever that is. Measured: as part of a whole
 * only. Rejected: float atomics, whose sums differ from run to run; a second kernel for the parts.
 */
#include <cuda_runtime.h>

#include <assert.h>

#include "common.cuh"
#include "cuda_kernels.h"
#include "order.cuh"
#include "reduce.cuh"
#include "top_index.h"

namespace thaw {

/* A warp reads 32 columns of a row: 128 bytes of float. */
enum {
    COLUMN_WARPS = 16,
    COLUMN_THREADS = COLUMN_WARPS * 32,
    COLUMNS = 32,
    WIDE_LANES = 8, /* Of a row. */
    WIDE_COLUMNS = WIDE_LANES * 8,
};
enum { EPOCH_WARPS = 32, EPOCH_THREADS = EPOCH_WARPS * 32, WEIGHT_WARPS = 8 };

struct column_params {
    const void *dy;
    float *db;
    int64_t M, K, ld;
    float *parts; /* [splits,K] */
    uint32_t *counters;
    int tiles, splits;
};

/* Whether this block is the last of its tile to come here. The counter is left as it was found:
 * zero, for the next launch. */
__device__ inline bool is_last_block(const column_params &p, int tile, uint32_t *shared) {
    volatile uint32_t *arrived = shared;
    __threadfence(); /* The part is visible before its arrival is, */
    __syncthreads(); /* that of every thread; and shared memory is free. */
    if (threadIdx.x == 0) *arrived = atomicAdd(p.counters + tile, 1u);
    __syncthreads();
    if (*arrived + 1 != (uint32_t)p.splits) return false;
    __threadfence(); /* No part is read before the last arrival was seen. */
    if (threadIdx.x == 0) p.counters[tile] = 0;
    return true;
}

/* A split's sum of column k: to db, or among the parts, which the tile's last block adds up. */
__device__ inline void hand_in(const column_params &p, int tile, int split, int64_t k, bool adds,
                               float sum, float *shared) {
    if (adds && p.splits == 1) p.db[k] = sum;
    if (adds && p.splits > 1) p.parts[split * p.K + k] = sum;
    if (p.splits == 1 || !is_last_block(p, tile, (uint32_t *)shared) || !adds) return;
    sum = 0;
#pragma unroll 8
    for (int i = 0; i < p.splits; i++)
        sum += p.parts[i * p.K + k];
    p.db[k] = sum;
}

/* Grid: splits x tiles of 32 columns, tiles fastest. Block: a split's rows of a tile. Warp: every
 * 16th of the rows. Lane: a column. */
template <class T>
__global__ void __launch_bounds__(COLUMN_THREADS) column_sum_kernel(const column_params p) {
    begin_kernel();
    float *shared = (float *)shared_memory(); /* [COLUMN_WARPS][32] */
    int tile = (int)blockIdx.x % p.tiles, split = (int)blockIdx.x / p.tiles;
    int64_t k = (int64_t)tile * COLUMNS + threadIdx.x % 32;
    bool adds = threadIdx.x < 32 && k < p.K;
    row_range rows = rows_of_split(p.M, p.splits, split);
    float sum = 0;
    if (k < p.K) {
#pragma unroll 8
        for (int64_t m = rows.begin + threadIdx.x / 32; m < rows.end; m += COLUMN_WARPS)
            sum += value(((const T *)p.dy)[m * p.ld + k]);
    }
    shared[threadIdx.x] = sum;
    __syncthreads(); /* All warps' sums are there. */
    if (adds) {
        for (int i = 1; i < COLUMN_WARPS; i++)
            sum += shared[i * 32 + threadIdx.x];
    }
    hand_in(p, tile, split, k, adds, sum, shared);
}

/* The same of tensors, whose rows are whole vectors of 8 channels, where there are many. Grid: splits x
 * tiles of 64 columns. Warp: every 64th of the rows, four at once. Thread: 8 columns. */
template <class T>
__global__ void __launch_bounds__(COLUMN_THREADS) column_sum_wide_kernel(const column_params p) {
    begin_kernel();
    float *shared = (float *)shared_memory(); /* [COLUMN_WARPS][WIDE_COLUMNS] */
    const int tile = (int)blockIdx.x % p.tiles, split = (int)blockIdx.x / p.tiles;
    const int thread = (int)threadIdx.x, c = thread % WIDE_LANES * 8;
    const int64_t first = (int64_t)tile * WIDE_COLUMNS;
    row_range rows = rows_of_split(p.M, p.splits, split);
    float8 sums = {};
    if (first + c < p.K) {
        const T *dy = (const T *)p.dy + first + c;
#pragma unroll 4
        for (int64_t m = rows.begin + thread / WIDE_LANES; m < rows.end;
             m += COLUMN_THREADS / WIDE_LANES)
            add8(sums, load8(dy + m * p.ld));
    }
#pragma unroll
    for (int e = 0; e < 8; e++) {
#pragma unroll
        for (int with = 16; with >= WIDE_LANES; with /= 2)
            sums.v[e] += __shfl_xor_sync(0xffffffffu, sums.v[e], with);
        if (thread % 32 < WIDE_LANES) shared[thread / 32 * WIDE_COLUMNS + c + e] = sums.v[e];
    }
    __syncthreads(); /* All warps' sums are there. */
    const int64_t k = first + thread;
    const bool adds = thread < WIDE_COLUMNS && k < p.K;
    float sum = 0;
    for (int i = 0; adds && i < COLUMN_WARPS; i++)
        sum += shared[i * WIDE_COLUMNS + thread];
    hand_in(p, tile, split, k, adds, sum, shared);
}

struct epoch_params {
    int64_t n, steps;
    const float *loss, *norm;
    const uint8_t *correct;
    thaw_cuda_epoch *epoch;
};

/* One block. Thread: every 1024th loss. */
__global__ void __launch_bounds__(EPOCH_THREADS) epoch_sum_kernel(const epoch_params p) {
    begin_kernel();
    double *shared = (double *)shared_memory();
    double loss = 0, weight = 0, correct = 0;
    for (int64_t i = threadIdx.x; i < p.n; i += EPOCH_THREADS) {
        loss += p.loss[i];
        correct += p.correct ? p.correct[i] : 0;
    }
    for (int64_t i = threadIdx.x; i < p.steps; i += EPOCH_THREADS)
        weight += p.norm[i];
    loss = block_sum<EPOCH_WARPS>(loss, shared);
    weight = block_sum<EPOCH_WARPS>(weight, shared);
    correct = block_sum<EPOCH_WARPS>(correct, shared);
    if (threadIdx.x == 0) *p.epoch = {loss, weight, (int64_t)correct};
}

struct weight_params {
    int64_t M;
    thaw_cuda_order order;
    const int32_t *label;
    const float *class_weight;
    float *norm;
};

/* Grid: steps. Block: a step. Thread: every 256th of its rows. In double, as the trainer does. */
__global__ void __launch_bounds__(WEIGHT_WARPS * 32) batch_weights_kernel(const weight_params p) {
    begin_kernel();
    double *shared = (double *)shared_memory(), sum = 0;
    int64_t first = (int64_t)blockIdx.x * p.M;
    int64_t end = first + p.M < p.order.n ? first + p.M : p.order.n;
    for (int64_t at = first + threadIdx.x; at < end; at += WEIGHT_WARPS * 32) {
        int64_t row = row_at(p.order, at);
        sum += p.class_weight ? p.class_weight[p.label[row]] : 1;
    }
    sum = block_sum<WEIGHT_WARPS>(sum, shared);
    if (threadIdx.x == 0) p.norm[blockIdx.x] = (float)sum;
}

}  // namespace thaw

using namespace thaw;

size_t cuda_column_sum_workspace(int64_t M, int64_t K) {
    int splits = splits_of_column(M);
    return splits == 1 ? 0 : (size_t)splits * (size_t)K;
}

size_t cuda_column_sum_counters(int64_t M, int64_t K) {
    return splits_of_column(M) == 1 ? 0 : (size_t)ceil_div(K, COLUMNS);
}

int cuda_column_sum(thaw_cuda_launch *launch, const thaw_cuda_column_sum *c) {
    assert(c->M > 0 && c->K > 0 && c->ld >= c->K);
    int splits = splits_of_column(c->M);
    bool wide = splits > 1 && c->ld % 8 == 0;
    int64_t tiles = ceil_div(c->K, wide ? WIDE_COLUMNS : COLUMNS);
    assert(splits == 1 || (c->workspace && c->counters));
    assert(tiles * splits <= INT32_MAX);
    column_params p = {c->dy,        c->db,       c->M,       c->K,  c->ld,
                       c->workspace, c->counters, (int)tiles, splits};
    dim3 grid((unsigned)(tiles * splits));
    return with_type(c->dtype, [&](auto type) {
        using T = decltype(type);
        if (wide)
            return launch_kernel(launch, "column_sum_wide", column_sum_wide_kernel<T>, grid,
                                 COLUMN_THREADS, COLUMN_WARPS * WIDE_COLUMNS * sizeof(float), p);
        return launch_kernel(launch, "column_sum", column_sum_kernel<T>, grid, COLUMN_THREADS,
                             COLUMN_THREADS * sizeof(float), p);
    });
}

int cuda_epoch_sum(thaw_cuda_launch *launch, int64_t n, const float *loss, const uint8_t *correct,
                   int64_t steps, const float *norm, thaw_cuda_epoch *epoch) {
    epoch_params p = {n, steps, loss, norm, correct, epoch};
    return launch_kernel(launch, "epoch_sum", epoch_sum_kernel, dim3(1), EPOCH_THREADS,
                         EPOCH_WARPS * sizeof(double), p);
}

int cuda_batch_weights(thaw_cuda_launch *launch, int64_t M, const thaw_cuda_order *order,
                       const int32_t *label, const float *class_weight, float *norm) {
    assert(M > 0 && order->n > 0);
    weight_params p = {M, *order, label, class_weight, norm};
    return launch_kernel(launch, "batch_weights", batch_weights_kernel,
                         dim3((unsigned)ceil_div(order->n, M)), WEIGHT_WARPS * 32,
                         WEIGHT_WARPS * sizeof(double), p);
}
