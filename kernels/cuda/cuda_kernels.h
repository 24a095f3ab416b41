/* The custom CUDA kernels' launchers: what prepare and run of the CUDA table are made of.
 *
 * Activations are N,H,W,Cp as types.h says, of one storage type a call: THAW_F16, THAW_BF16 or
 * THAW_F32. Sums are in float, in an order that depends on the shape alone: two runs give the same
 * bits. A launcher never allocates, synchronises or reads a global. It returns 0 or the runtime's
 * code; `launch` then holds the kernel's name and its grid. Shapes that a launcher does not take
 * are found beforehand, by the `refuses` function beside it: NULL, or the reason with the numbers.
 */
#ifndef THAW_CUDA_KERNELS_H
#define THAW_CUDA_KERNELS_H

#include <cuda_runtime.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels.h"

struct thaw_cuda_launch {
    cudaStream_t stream; /* Set by the caller. */
    const char *kernel;  /* The rest: the last launch, for messages. */
    unsigned grid[3], threads;
    size_t shared_bytes;
};

/* What the choice of a kernel depends on, beside the shape. */
struct thaw_cuda_device {
    int sm;       /* What the program's kernels were compiled for on this device: 75 ... 90. */
    int n_sm;     /* Streaming multiprocessors. */
    float tflops; /* Dense fp16 products, summed in float, at sustained clocks. */
    float gbytes; /* DRAM, GB/s. */
    float l2_mbytes;
};

/* Room for a refusal. */
struct thaw_cuda_reason {
    char text[256];
};

/* ---- convolution and dense layers ----------------------------------------------------------- */

/* Which variant of the implicit GEMM: see conv_tile.h for its tiles on each architecture. */
struct thaw_cuda_conv_choice {
    int variant;        /* Index into the architecture's tiles. */
    int splits;         /* Blocks that share the sum of one output tile; 1: none. */
    double expected_us; /* The cost model's. */
};

/* Where the residual is added. */
enum thaw_cuda_residual { THAW_NO_RESIDUAL, THAW_RESIDUAL_BEFORE_ACT, THAW_RESIDUAL_AFTER_ACT };

struct thaw_cuda_conv {
    thaw_conv_shape shape;
    thaw_dtype dtype;
    thaw_act act;
    float a, b; /* The activation's parameters. */
    thaw_cuda_residual residual_place;
    thaw_cuda_conv_choice choice;
    const void *x;        /* [N,H,W,Cp] */
    const void *w;        /* Packed by cuda_conv_pack for this choice. */
    const float *bias;    /* Packed, too. */
    const void *residual; /* [N,P,Q,Kp] or NULL; may be y. */
    void *y;              /* [N,P,Q,Kp] */
    void *workspace;      /* cuda_conv_workspace_bytes of it; any content. */
    uint32_t *counters;   /* cuda_conv_counters of them, zero before the first call; left zero. */
};

/* NULL when the implicit GEMM takes this shape, type and device; otherwise why not. */
const char *cuda_conv_refuses(const thaw_conv_shape *shape, thaw_dtype dtype,
                              const thaw_cuda_device *device, thaw_cuda_reason *reason);

/* The cheapest variant by the cost model; cuda_conv_rank lists all candidates, cheapest first, at
 * most n of them, and returns how many. */
thaw_cuda_conv_choice cuda_conv_choose(const thaw_conv_shape *shape, thaw_dtype dtype,
                                       const thaw_cuda_device *device);
int cuda_conv_rank(const thaw_conv_shape *shape, thaw_dtype dtype, const thaw_cuda_device *device,
                   int n, thaw_cuda_conv_choice *choices);

/* Bytes of packed weights, floats of packed bias, bytes of workspace, number of counters. */
size_t cuda_conv_weight_bytes(const thaw_conv_shape *shape, thaw_dtype dtype, int sm,
                              const thaw_cuda_conv_choice *choice);
size_t cuda_conv_bias_count(const thaw_conv_shape *shape, int sm,
                            const thaw_cuda_conv_choice *choice);
size_t cuda_conv_workspace_bytes(const thaw_conv_shape *shape, int sm,
                                 const thaw_cuda_conv_choice *choice);
size_t cuda_conv_counters(const thaw_conv_shape *shape, int sm,
                          const thaw_cuda_conv_choice *choice);

/* Host memory to host memory: w[K,C/G,R,S] and b[K] (NULL: zeros) in the order in which the kernel
 * consumes them. */
void cuda_conv_pack(const thaw_conv_shape *shape, thaw_dtype dtype, int sm,
                    const thaw_cuda_conv_choice *choice, const float *w, const float *b,
                    void *packed_w, float *packed_b);

int cuda_conv(thaw_cuda_launch *launch, const thaw_cuda_conv *conv, int sm);

#endif
