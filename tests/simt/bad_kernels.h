/* Kernels with one mistake each, and kernels that show what the collectives compute. */
#ifndef THAW_BAD_KERNELS_H
#define THAW_BAD_KERNELS_H

#include <cuda_runtime.h>

/* name, words of the message that catch it, what it is caught by:
 * E the emulation itself, C the checked build, S a sanitizer or the checked build */
#define BAD_KERNELS(X)                                                \
    X(missing_barrier, "without a barrier between", 'C')              \
    X(missing_barrier_before_reuse, "without a barrier between", 'C') \
    X(syncwarp_is_no_barrier, "without a barrier between", 'C')       \
    X(missing_wait, "cp.async is under way", 'C')                     \
    X(copy_never_waited_for, "ended without a wait", 'E')             \
    X(uninitialised_shared, "nothing wrote it", 'C')                  \
    X(outside_shared, "of shared memory, which has 128", 'S')         \
    X(outside_global, "outside live device memory", 'S')              \
    X(freed_global, "outside live device memory", 'S')                \
    X(misaligned, "misaligned", 'S')                                  \
    X(diverged_barrier, "never reached by all", 'E')                  \
    X(two_barriers, "different barriers", 'E')                        \
    X(missing_lane, "have ended or never were", 'E')                  \
    X(different_collectives, "different collectives", 'E')

enum bad_kernel {
#define X(name, words, by) BAD_##name,
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

/* r[lane][4] of ldmatrix over 32 rows of 16 bytes. */
cudaError_t launch_ldmatrix(const void *rows, unsigned *r);

/* Each of the shuffles and votes; out: 8 values for each of 32 lanes, as the test knows. */
cudaError_t launch_votes(unsigned *out);

/* Sums in shared memory through barriers, then adds to *total: blocks x 256 threads. */
cudaError_t launch_sum(const unsigned *x, unsigned *total, unsigned blocks);

/* The order in which the 64 threads of a block first ran: racy on purpose, by atomics. */
cudaError_t launch_order(unsigned *counter, unsigned *order);

/* copies[i] = valid ? x[i] : 0 for 32 vectors, by cp.async. */
cudaError_t launch_copies(const uint4 *x, uint4 *copies);

#endif
