#include "bad_kernels.h"

#include <ptx.cuh>

using namespace thaw;

__attribute__((noinline)) static unsigned read_far(const unsigned *shared) {
    return shared[40];
}

template <class T>
__device__ void mma_of(T type) {
    const uint32_t a[4] = {}, b[2] = {};
    float d[4] = {};
    mma(type, d, a, b); /* _on_sm_75: called by the lines that are caught */
}

/* The line that must be named bears the words "caught here". Where two lines conflict, and chance
 * decides which comes second, both are one line. Thread 64 and up does not exist. */
template <int WHICH>
__global__ void bad(unsigned *global) {
    unsigned *shared = (unsigned *)shared_memory();
    unsigned t = threadIdx.x;
    // clang-format off
    if constexpr (WHICH == BAD_missing_barrier) {
        if (t < 32) shared[t] = 0;
        __syncthreads();
        if (t < 32) shared[t] = t; else global[t] = shared[t - 32]; /* missing_barrier: caught here */
    } else if constexpr (WHICH == BAD_missing_barrier_before_reuse) {
        if (t < 32) shared[t] = t;
        __syncthreads();
        global[t] = shared[t % 32]; if (t < 32) shared[31 - t] = 0; /* missing_barrier_before_reuse: caught here */
    } else if constexpr (WHICH == BAD_syncwarp_is_no_barrier) {
        if (t < 32) shared[t] = 0;
        __syncthreads();
        __syncwarp(); if (t < 32) shared[t] = t; __syncwarp(); if (t >= 32) global[t] = shared[t - 32]; /* syncwarp_is_no_barrier: caught here */
    } else if constexpr (WHICH == BAD_missing_syncwarp) {
        if (t < 32) shared[t] = 0;
        __syncthreads();
        if (t < 32) { shared[t] = t; global[t] = shared[t ^ 1]; } /* missing_syncwarp: caught here */
    } else if constexpr (WHICH == BAD_atomic_and_write) {
        if (t < 32) shared[t] = 0;
        __syncthreads();
        if (t == 5) shared[0] = 7; else atomicAdd(shared, 1u); /* atomic_and_write: caught here */
    } else if constexpr (WHICH == BAD_missing_wait) {
        if (t < 8) cp_async_16(shared + 4 * t, global + 4 * t, true);
        cp_async_commit();
        __syncthreads(); /* The place of a cp_async_wait<0>() before it. */
        global[t] = shared[t % 32]; /* missing_wait: caught here */
        cp_async_wait<0>();
    } else if constexpr (WHICH == BAD_wait_for_too_few) {
        for (int i = 0; i < 2; i++) {
            if (t < 4) cp_async_16(shared + 16 * i + 4 * t, global + 4 * t, true);
            cp_async_commit();
        }
        cp_async_wait<1>();
        __syncthreads();
        global[t] = shared[t % 16] + shared[16 + t % 16]; /* wait_for_too_few: caught here */
        cp_async_wait<0>();
    } else if constexpr (WHICH == BAD_wait_without_barrier) {
        if (t < 32) shared[t] = 0;
        __syncthreads();
        if (t < 8) { cp_async_16(shared + 4 * t, global + 4 * t, true); } cp_async_commit(); cp_async_wait<0>(); global[t] = shared[t % 32]; /* wait_without_barrier: caught here */
    } else if constexpr (WHICH == BAD_copy_never_committed) {
        if (t < 8) cp_async_16(shared + 4 * t, global + 4 * t, true); /* copy_never_committed: caught here */
        cp_async_wait<0>();
    } else if constexpr (WHICH == BAD_copy_never_waited_for) {
        if (t < 8) cp_async_16(shared + 4 * t, global + 4 * t, true); /* copy_never_waited_for: caught here */
        cp_async_commit();
    } else if constexpr (WHICH == BAD_uninitialised_shared) {
        global[t] = shared[t % 32]; /* uninitialised_shared: caught here */
    } else if constexpr (WHICH == BAD_uninitialised_global) {
        global[t] += 1; /* uninitialised_global: caught here */
    } else if constexpr (WHICH == BAD_atomic_outside_shared) {
        atomicAdd(shared + 32, 1u); /* atomic_outside_shared: caught here */
    } else if constexpr (WHICH == BAD_copy_from_outside) {
        if (t == 0) { cp_async_16(shared, global + 64, true); cp_async_commit(); cp_async_wait<0>(); } /* copy_from_outside: caught here */
    } else if constexpr (WHICH == BAD_host_memory) {
        global[t] = t; /* host_memory: caught here */
    } else if constexpr (WHICH == BAD_in_a_helper) {
        global[t] = read_far(shared); /* in_a_helper: caught here */
    } else if constexpr (WHICH == BAD_misaligned_ldmatrix) {
        uint32_t r[4];
        ldmatrix_x4(r, shared + 1); /* misaligned_ldmatrix: caught here */
    } else if constexpr (WHICH == BAD_missing_lane_of_mma) {
        if (t % 32) mma_of(half_t{}); else __syncthreads(); /* missing_lane_of_mma: caught here */
    } else if constexpr (WHICH == BAD_shuffle_from_nobody) {
        if (t < 16) global[t] = __shfl_sync(0xffffu, t, 20); /* shuffle_from_nobody: caught here */
    } else if constexpr (WHICH == BAD_copy_on_sm_75) {
        cp_async_16(shared, global, true); /* copy_on_sm_75: caught here */
    } else if constexpr (WHICH == BAD_bf16_on_sm_75) {
        mma_of(bf16_t{}); /* bf16_on_sm_75: caught here */
    } else if constexpr (WHICH == BAD_tf32_on_sm_75) {
        mma_of(float{}); /* tf32_on_sm_75: caught here */
    } else if constexpr (WHICH == BAD_outside_shared) {
        if (t == 0) shared[32] = 0; /* outside_shared: caught here */
    } else if constexpr (WHICH == BAD_outside_global) {
        global[t + 1] = 0; /* outside_global: caught here */
    } else if constexpr (WHICH == BAD_freed_global) {
        global[t] = 0; /* freed_global: caught here */
    } else if constexpr (WHICH == BAD_misaligned) {
        if (t < 15) *(uint4 *)(global + 4 * t + 1) = make_uint4(0, 0, 0, 0); /* misaligned: caught here */
    } else if constexpr (WHICH == BAD_diverged_barrier) {
        if (t < 40) __syncthreads(); /* diverged_barrier: caught here */
    } else if constexpr (WHICH == BAD_two_barriers) {
        if (t < 32)
            __syncthreads(); /* two_barriers: caught here */
        else
            __syncthreads(); /* two_barriers: or caught here */
    } else if constexpr (WHICH == BAD_missing_lane) {
        if (t % 32 != 5) global[t] = __shfl_xor_sync(0xffffffffu, t, 1); else if (t == 5) __syncthreads(); /* missing_lane: caught here */
    } else if constexpr (WHICH == BAD_different_collectives) {
        if (t % 2) global[t] = __shfl_xor_sync(0xffffffffu, t, 1); else global[t] = __ballot_sync(0xffffffffu, 1); /* different_collectives: caught here */
    }
    // clang-format on
}

static cudaLaunchConfig_t one_block(unsigned threads, size_t shared_bytes) {
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(1);
    config.blockDim = dim3(threads);
    config.dynamicSmemBytes = shared_bytes;
    return config;
}

cudaError_t launch_bad(bad_kernel which, unsigned *global) {
    cudaLaunchConfig_t config = one_block(64, 128);
    switch (which) {
#define X(name, words, by, where) \
    case BAD_##name:              \
        return cudaLaunchKernelEx(&config, bad<BAD_##name>, global);
        BAD_KERNELS(X)
#undef X
        default:
            return cudaErrorInvalidValue;
    }
}

/* ---- kernels without a mistake -------------------------------------------------------------- */

template <class T>
__global__ void product_kernel(const uint32_t *a, const uint32_t *b, float *d) {
    int lane = (int)threadIdx.x, g = lane / 4, t = lane % 4;
    uint32_t fa[4], fb[2];
    float sum[4] = {};
    for (int i = 0; i < 4; i++)
        fa[i] = a[(g + i % 2 * 8) * 8 + i / 2 * 4 + t];
    for (int i = 0; i < 2; i++)
        fb[i] = b[g * 8 + i * 4 + t];
    mma(T{}, sum, fa, fb);
    for (int i = 0; i < 4; i++)
        d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sum[i];
}

cudaError_t launch_product(product type, const void *a, const void *b, float *d) {
    cudaLaunchConfig_t config = one_block(32, 0);
    auto *kernel = type == PRODUCT_HALF   ? product_kernel<half_t>
                   : type == PRODUCT_BF16 ? product_kernel<bf16_t>
                                          : product_kernel<float>;
    return cudaLaunchKernelEx(&config, kernel, (const uint32_t *)a, (const uint32_t *)b, d);
}

__global__ void ldmatrix_kernel(const uint4 *rows, unsigned *r, unsigned pitch, unsigned distinct) {
    uint8_t *shared = shared_memory();
    unsigned lane = threadIdx.x;
    if (lane < distinct) *(uint4 *)(shared + lane * pitch) = rows[lane];
    __syncthreads();
    uint32_t mine[4];
    ldmatrix_x4(mine, shared + lane % distinct * pitch);
    for (int i = 0; i < 4; i++)
        r[lane * 4 + i] = mine[i];
}

cudaError_t launch_ldmatrix(const void *rows, unsigned *r, unsigned pitch, unsigned distinct) {
    cudaLaunchConfig_t config = one_block(32, 32 * pitch);
    return cudaLaunchKernelEx(&config, ldmatrix_kernel, (const uint4 *)rows, r, pitch, distinct);
}

__global__ void votes_kernel(unsigned *out) {
    const unsigned ALL = 0xffffffffu;
    unsigned lane = threadIdx.x, *mine = out + lane * 8;
    mine[0] = __shfl_sync(ALL, lane * 3, 7);
    mine[1] = __shfl_xor_sync(ALL, lane * 3, 9);
    mine[2] = __shfl_down_sync(ALL, lane * 3, 4);
    mine[3] = __shfl_up_sync(ALL, lane * 3, 4);
    mine[4] = __ballot_sync(ALL, lane % 3 == 0);
    mine[5] = (unsigned)__any_sync(ALL, lane == 31) * 2 + (unsigned)__all_sync(ALL, lane < 31);
    mine[6] = __shfl_xor_sync(ALL, lane, 8, 8);
    mine[7] = lane < 16 ? __shfl_sync(0xffffu, lane, 3) : 0;
}

cudaError_t launch_votes(unsigned *out) {
    cudaLaunchConfig_t config = one_block(32, 0);
    return cudaLaunchKernelEx(&config, votes_kernel, out);
}

__global__ void sum_kernel(const unsigned *x, unsigned *total) {
    unsigned *shared = (unsigned *)shared_memory(), t = threadIdx.x;
    shared[t] = x[blockIdx.x * blockDim.x + t];
    for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if (t < half) shared[t] += shared[t + half];
    }
    if (t == 0) atomicAdd(total, shared[0]);
}

cudaError_t launch_sum(const unsigned *x, unsigned *total, unsigned blocks) {
    cudaLaunchConfig_t config = one_block(256, 1024);
    config.gridDim = dim3(blocks);
    return cudaLaunchKernelEx(&config, sum_kernel, x, total);
}

__global__ void counts_kernel(const unsigned *x, unsigned *counts) {
    unsigned *shared = (unsigned *)shared_memory(), t = threadIdx.x;
    if (t < 8) shared[t] = 0;
    __syncthreads();
    if (x[t] < 8) atomicAdd(shared + x[t], 1u);
    __syncthreads();
    if (t < 8) counts[t] = shared[t];
}

cudaError_t launch_counts(const unsigned *x, unsigned *counts) {
    cudaLaunchConfig_t config = one_block(256, 32);
    return cudaLaunchKernelEx(&config, counts_kernel, x, counts);
}

__global__ void places_kernel(unsigned *out) {
    unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    unsigned i = block * (blockDim.x * blockDim.y * blockDim.z) + thread;
    out[i] = i;
}

cudaError_t launch_places(unsigned *out) {
    cudaLaunchConfig_t config = one_block(1, 0);
    config.gridDim = dim3(2, 3, 2);
    config.blockDim = dim3(4, 2, 3);
    return cudaLaunchKernelEx(&config, places_kernel, out);
}

__global__ void half_warp_kernel(unsigned *out) {
    unsigned *shared = (unsigned *)shared_memory(), lane = threadIdx.x;
    if (lane % 2) return;
    shared[lane] = lane;
    __syncwarp();
    out[lane] = shared[lane ^ 2];
}

cudaError_t launch_half_warp(unsigned *out) {
    cudaLaunchConfig_t config = one_block(32, 128);
    return cudaLaunchKernelEx(&config, half_warp_kernel, out);
}

__global__ void order_kernel(unsigned *counter, unsigned *order) {
    order[threadIdx.x] = atomicAdd(counter, 1u);
}

cudaError_t launch_order(unsigned *counter, unsigned *order) {
    cudaLaunchConfig_t config = one_block(64, 0);
    return cudaLaunchKernelEx(&config, order_kernel, counter, order);
}

__global__ void copies_kernel(const uint4 *x, uint4 *copies) {
    uint4 *shared = (uint4 *)shared_memory();
    unsigned lane = threadIdx.x;
    cp_async_16(shared + lane, x + lane, lane % 2 == 0);
    cp_async_commit();
    cp_async_wait<0>();
    copies[lane] = shared[lane];
}

cudaError_t launch_copies(const uint4 *x, uint4 *copies) {
    cudaLaunchConfig_t config = one_block(32, 512);
    return cudaLaunchKernelEx(&config, copies_kernel, x, copies);
}

__global__ void groups_kernel(const uint4 *x, uint4 *copies) {
    uint4 *shared = (uint4 *)shared_memory();
    unsigned lane = threadIdx.x;
    for (unsigned group = 0; group < 2; group++) {
        unsigned i = 16 * group + lane;
        cp_async_16(shared + i, x + i, true);
        cp_async_commit();
    }
    cp_async_wait<1>();
    copies[lane] = shared[lane];
    cp_async_wait<0>();
    copies[16 + lane] = shared[16 + lane];
}

cudaError_t launch_groups(const uint4 *x, uint4 *copies) {
    cudaLaunchConfig_t config = one_block(16, 512);
    return cudaLaunchKernelEx(&config, groups_kernel, x, copies);
}

__global__ void increment_kernel(unsigned *x) {
    *x += 1;
}

cudaError_t launch_increment(unsigned *x, cudaStream_t stream) {
    cudaLaunchConfig_t config = one_block(1, 0);
    config.stream = stream;
    return cudaLaunchKernelEx(&config, increment_kernel, x);
}
