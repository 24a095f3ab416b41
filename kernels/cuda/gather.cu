/* The rows that an index names: y[m,:] = x[index[*first + m],:].
 *
 * x: [n,D] in any storage type, dense, in device or mapped host memory; y: float [M,D], or x's
 * type. index: int64; *first is in device memory, so that a captured graph of a step can be
 * replayed: an epoch's shuffle is an index, not a copy. first NULL: 0. Memory-bound; rows of whole
 * 16-byte vectors move as vectors. Measured: on no GPU yet.
 *
 * Here, too: the sums of columns, db[k] = sum over m of dy[m,k], a bias's gradient, and the sum of
 * a batch's losses, both in an order that depends on the shape alone.
 */
#include <cuda_runtime.h>

#include "common.cuh"
#include "cuda_kernels.h"
#include "index.h"
#include "reduce.cuh"

namespace thaw {

enum { GATHER_THREADS = 128, COLUMN_ROWS = 32, SUM_WARPS = 8 };

/* Grid: rows. Block: a row. Thread: every 128th piece of it: 8 elements, or 1 where the row's
 * length is not a multiple of 8. */
template <class T, class U, int EACH>
__global__ void __launch_bounds__(GATHER_THREADS)
    gather_kernel(const T *x, const int64_t *index, const uint32_t *first, U *y, int64_t D) {
    int64_t m = blockIdx.x, row = index[(first ? (int64_t)*first : 0) + m];
    const T *from = x + row * D;
    U *to = y + m * D;
    for (int64_t i = threadIdx.x * EACH; i < D; i += GATHER_THREADS * EACH) {
        if constexpr (EACH == 8) {
            store8(to + i, load8(from + i));
        } else {
            store(to + i, value(from[i]));
        }
    }
}

/* Grid: 32 columns a block. Block: 32 columns x 32 rows at a time; the rows' sums are then added in
 * their order. */
__global__ void __launch_bounds__(COLUMN_ROWS * 32)
    column_sum_kernel(const float *dy, float *db, int64_t M, int64_t K) {
    float *shared = (float *)shared_memory(); /* [COLUMN_ROWS][32] */
    int64_t k = (int64_t)blockIdx.x * 32 + threadIdx.x % 32;
    int first = (int)threadIdx.x / 32;
    float sum = 0;
    for (int64_t m = first; m < M && k < K; m += COLUMN_ROWS)
        sum += dy[m * K + k];
    shared[threadIdx.x] = sum;
    __syncthreads(); /* All rows' sums are there. */
    if (first > 0 || k >= K) return;
    for (int i = 1; i < COLUMN_ROWS; i++)
        sum += shared[i * 32 + threadIdx.x];
    db[k] = sum;
}

/* One block. Thread: every 256th loss. sums[0] += sum of loss, sums[1] += count of correct. */
__global__ void __launch_bounds__(SUM_WARPS * 32)
    epoch_sum_kernel(const float *loss, const uint8_t *correct, double *sums, int64_t M) {
    float *shared = (float *)shared_memory();
    float total = 0, right = 0;
    for (int64_t m = threadIdx.x; m < M; m += SUM_WARPS * 32) {
        total += loss[m];
        right += correct[m];
    }
    total = block_sum<SUM_WARPS>(total, shared);
    right = block_sum<SUM_WARPS>(right, shared);
    if (threadIdx.x > 0) return;
    sums[0] += total;
    sums[1] += right;
}

template <class T, class U>
static int launch_gather(thaw_cuda_launch *launch, int64_t M, int64_t D, const void *x,
                         const int64_t *index, const uint32_t *first, void *y) {
    return launch_kernel(
        launch, "gather", D % 8 == 0 ? gather_kernel<T, U, 8> : gather_kernel<T, U, 1>,
        dim3((unsigned)M), GATHER_THREADS, 0, (const T *)x, index, first, (U *)y, D);
}

}  // namespace thaw

using namespace thaw;

int cuda_gather(thaw_cuda_launch *launch, int64_t M, int64_t D, thaw_dtype dtype, const void *x,
                const int64_t *index, const uint32_t *first, thaw_dtype y_dtype, void *y) {
    return with_type(dtype, [&](auto type) {
        using T = decltype(type);
        return y_dtype == dtype ? launch_gather<T, T>(launch, M, D, x, index, first, y)
                                : launch_gather<T, float>(launch, M, D, x, index, first, y);
    });
}

int cuda_column_sum(thaw_cuda_launch *launch, int64_t M, int64_t K, const float *dy, float *db) {
    return launch_kernel(launch, "column_sum", column_sum_kernel, dim3((unsigned)ceil_div(K, 32)),
                         COLUMN_ROWS * 32, COLUMN_ROWS * 32 * sizeof(float), dy, db, M, K);
}

int cuda_epoch_sum(thaw_cuda_launch *launch, int64_t M, const float *loss, const uint8_t *correct,
                   double *sums) {
    return launch_kernel(launch, "epoch_sum", epoch_sum_kernel, dim3(1), SUM_WARPS * 32,
                         SUM_WARPS * sizeof(float), loss, correct, sums, M);
}
