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

/* ---- the first convolution ------------------------------------------------------------------ */

/* y = max pool of act(b + conv(x * scale[c] + shift[c])), x being u8 pixels of 1 to 4 channels as
 * they come from the decoder, and the padding of the convolution zero behind scale and shift. The
 * pool may be missing. */

/* A block's tile of outputs (of the pool, where there is one), and how many pixels apart the rows
 * of its patch lie in shared memory. */
struct thaw_cuda_stem_choice {
    int out_h, out_w, pitch;
    double expected_us; /* The cost model's. */
};

struct thaw_cuda_stem {
    thaw_conv_shape shape;
    bool pooled;
    thaw_pool_shape pool; /* Of the convolution's output; only where pooled. */
    thaw_dtype dtype;     /* Of the factors and of y. */
    thaw_act act;
    float a, b; /* The activation's parameters. */
    thaw_cuda_stem_choice choice;
    const uint8_t *pixels;  /* [N,H,W,C], not padded, at any address. */
    const void *w;          /* Packed by cuda_stem_pack, */
    const float *constants; /* these, too. */
    void *y;                /* [N,P,Q,Kp] of the convolution or of the pool. */
};

/* NULL when the stem kernel takes this; otherwise why not. pool NULL: none. scale, shift: C of
 * each, which must have a level of the pixel that stands for zero. */
const char *cuda_stem_refuses(const thaw_conv_shape *shape, const thaw_pool_shape *pool,
                              thaw_dtype dtype, const float *scale, const float *shift,
                              const thaw_cuda_device *device, thaw_cuda_reason *reason);

thaw_cuda_stem_choice cuda_stem_choose(const thaw_conv_shape *shape, const thaw_pool_shape *pool,
                                       thaw_dtype dtype, const thaw_cuda_device *device);

/* Bytes of packed weights, number of constants. */
size_t cuda_stem_weight_bytes(const thaw_conv_shape *shape, thaw_dtype dtype);
size_t cuda_stem_constants(const thaw_conv_shape *shape);

/* Host memory to host memory: w[K,C,R,S], b[K] (NULL: zeros), scale[C], shift[C] become the weights
 * in the order in which the kernel consumes them, and its constants. */
void cuda_stem_pack(const thaw_conv_shape *shape, thaw_dtype dtype, const float *w, const float *b,
                    const float *scale, const float *shift, void *packed_w,
                    float *packed_constants);

int cuda_stem(thaw_cuda_launch *launch, const thaw_cuda_stem *stem);

#endif
