/* Kernels with one mistake each, and kernels that show what the collectives compute. */
#ifndef THAW_BAD_KERNELS_H
#define THAW_BAD_KERNELS_H

#include <cuda_runtime.h>

/* name, words of the message that catch it, what it is caught by, where:
 * E the emulation itself, C the checked build, S a sanitizer or the checked build;
 * ANY architecture, from sm_80 on (NEW), before it (OLD) */
#define BAD_KERNELS(X)                                                     \
    X(missing_barrier, "without a barrier between", 'C', ANY)              \
    X(missing_barrier_before_reuse, "without a barrier between", 'C', ANY) \
    X(syncwarp_is_no_barrier, "without a barrier between", 'C', ANY)       \
    X(missing_syncwarp, "without a barrier between", 'C', ANY)             \
    X(atomic_and_write, "without a barrier between", 'C', ANY)             \
    X(missing_wait, "cp.async is under way", 'C', NEW)                     \
    X(wait_for_too_few, "cp.async is under way", 'C', NEW)                 \
    X(wait_without_barrier, "without a barrier between", 'C', NEW)         \
    X(copy_never_waited_for, "ended without a wait", 'E', NEW)             \
    X(copy_never_committed, "ended without a commit", 'E', NEW)            \
    X(uninitialised_shared, "nothing wrote it", 'C', ANY)                  \
    X(uninitialised_global, "that nothing wrote", 'C', ANY)                \
    X(outside_shared, "of shared memory, which has 128", 'S', ANY)         \
    X(atomic_outside_shared, "of shared memory, which has 128", 'S', ANY)  \
    X(outside_global, "outside live device memory", 'S', ANY)              \
    X(freed_global, "outside live device memory", 'S', ANY)                \
    X(copy_from_outside, "outside live device memory", 'S', NEW)           \
    X(host_memory, "neither shared nor device memory", 'C', ANY)           \
    X(misaligned, "misaligned", 'S', ANY)                                  \
    X(misaligned_ldmatrix, "not aligned to 16", 'E', ANY)                  \
    X(in_a_helper, "called at bad_kernels.cu", 'C', ANY)                   \
    X(diverged_barrier, "never reached by all", 'E', ANY)                  \
    X(two_barriers, "different barriers", 'E', ANY)                        \
    X(missing_lane, "have ended or never were", 'E', ANY)                  \
    X(missing_lane_of_mma, "never reached by all", 'E', ANY)               \
    X(different_collectives, "different collectives", 'E', ANY)            \
    X(shuffle_from_nobody, "which takes no part", 'E', ANY)                \
    X(copy_on_sm_75, "cp.async needs sm_80", 'E', OLD)                     \
    X(bf16_on_sm_75, "mma of bf16 needs sm_80", 'E', OLD)                  \
    X(tf32_on_sm_75, "mma of tf32 needs sm_80", 'E', OLD)

enum bad_kernel {
#define X(name, words, by, where) BAD_##name,
    BAD_KERNELS(X)
#undef X
        N_BAD_KERNELS
};

/* Launches one block of 64 threads with 128 bytes of shared memory. global: 64 uints. */
cudaError_t launch_bad(bad_kernel which, unsigned *global);

/* ---- kernels without a mistake -------------------------------------------------------------- */

enum product { PRODUCT_HALF, PRODUCT_BF16, PRODUCT_TF32 };

/* d[16,8] = a[16,k] b[k,8]^T by one warp: a, b in the storage type, 32 bytes a row; b as [8,k]. */
cudaError_t launch_product(product type, const void *a, const void *b, float *d);

/* r[lane][4] of ldmatrix: lane l gives row l % distinct; rows of 16 bytes, which lie `pitch` bytes
 * apart in shared memory. */
cudaError_t launch_ldmatrix(const void *rows, unsigned *r, unsigned pitch, unsigned distinct);

/* Each of the shuffles and votes; out: 8 values for each of 32 lanes, as the test knows. */
cudaError_t launch_votes(unsigned *out);

/* Sums in shared memory through barriers, then adds to *total: blocks x 256 threads. */
cudaError_t launch_sum(const unsigned *x, unsigned *total, unsigned blocks);

/* counts[i] of the values i < 8 among x[256], by atomics in shared memory. */
cudaError_t launch_counts(const unsigned *x, unsigned *counts);

/* out[i] = i, i counted over all threads of a grid of 2,3,2 blocks of 4,2,3. */
enum { N_PLACES = 12 * 24 };
cudaError_t launch_places(unsigned *out);

/* Odd lanes end at once; the others swap by __syncwarp: out[lane] = lane ^ 2. */
cudaError_t launch_half_warp(unsigned *out);

/* The order in which the 64 threads of a block first ran: racy on purpose, by atomics. */
cudaError_t launch_order(unsigned *counter, unsigned *order);

/* copies[i] = valid ? x[i] : 0 for 32 vectors, by cp.async. */
cudaError_t launch_copies(const uint4 *x, uint4 *copies);

/* The same all valid, in two groups, of which one is waited for first. */
cudaError_t launch_groups(const uint4 *x, uint4 *copies);

/* *x += 1, on a stream. */
cudaError_t launch_increment(unsigned *x, cudaStream_t stream);

#endif
