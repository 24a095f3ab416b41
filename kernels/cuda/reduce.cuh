/* Sums and maxima over a warp and over a block, in an order that depends on nothing but its size.
 */
#ifndef THAW_CUDA_REDUCE_CUH
#define THAW_CUDA_REDUCE_CUH

#include "common.cuh"

namespace thaw {

/* The same in all lanes. */
template <class N>
__device__ inline N warp_sum(N x) {
#pragma unroll
    for (int with = 16; with > 0; with /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, with);
    return x;
}

__device__ inline float warp_max(float x) {
#pragma unroll
    for (int with = 16; with > 0; with /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, with));
    return x;
}

/* The same in all threads of a block of WARPS warps; shared: WARPS numbers, free before and after.
 */
template <int WARPS, class N>
__device__ inline N block_sum(N x, N *shared) {
    x = warp_sum(x);
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
    __syncthreads();
    N sum = 0;
#pragma unroll
    for (int i = 0; i < WARPS; i++)
        sum += shared[i];
    __syncthreads(); /* All have read before shared is used again. */
    return sum;
}

template <int WARPS>
__device__ inline float block_max(float x, float *shared) {
    x = warp_max(x);
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
    __syncthreads();
    float most = shared[0];
#pragma unroll
    for (int i = 1; i < WARPS; i++)
        most = fmaxf(most, shared[i]);
    __syncthreads();
    return most;
}

}  // namespace thaw

#endif
