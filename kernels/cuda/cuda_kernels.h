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

/* ---- depthwise convolution ------------------------------------------------------------------ */

struct thaw_cuda_depthwise {
    thaw_conv_shape shape; /* G = C = K */
    thaw_dtype dtype;
    thaw_act act;
    float a, b;
    thaw_cuda_residual residual_place;
    const void *x;        /* [N,H,W,Cp] */
    const float *w;       /* [R S][Cp]: cuda_depthwise_weight_count of them, packed. */
    const float *bias;    /* [Cp] */
    const void *residual; /* [N,P,Q,Cp] or NULL; may be y. */
    void *y;              /* [N,P,Q,Cp] */
};

const char *cuda_depthwise_refuses(const thaw_conv_shape *shape, thaw_cuda_reason *reason);
size_t cuda_depthwise_weight_count(const thaw_conv_shape *shape);

/* Host to host: w[C,1,R,S], b[C] (NULL: zeros); packed_b holds Cp floats. */
void cuda_depthwise_pack(const thaw_conv_shape *shape, const float *w, const float *b,
                         float *packed_w, float *packed_b);

int cuda_depthwise(thaw_cuda_launch *launch, const thaw_cuda_depthwise *depthwise);

/* ---- the rest of the trunk ------------------------------------------------------------------ */

/* NULL when the launchers below can count a tensor: at most 2^31 - 1 vectors of 8 channels. */
const char *cuda_tensor_refuses(int64_t N, int64_t H, int64_t W, int64_t C,
                                thaw_cuda_reason *reason);

/* x: [N,H,W,Cp], y: [N,P,Q,Cp]. */
int cuda_pool(thaw_cuda_launch *launch, const thaw_pool_shape *shape, thaw_dtype dtype,
              const void *x, void *y);

/* x: [N,H,W,Cp], y: [N,Cp]. */
int cuda_global_mean(thaw_cuda_launch *launch, int64_t N, int64_t H, int64_t W, int64_t C,
                     thaw_dtype dtype, const void *x, void *y);

struct thaw_cuda_elementwise {
    int64_t N, H, W, C;
    thaw_dtype dtype;
    thaw_act act;
    float a, b;
    bool x1_one_pixel, x1_one_channel; /* x1 is [N,1,1,.], [.,.,.,1] (padded to 8, too). */
    const void *x0;                    /* [N,H,W,Cp] */
    const void *x1;                    /* add, mul */
    const float *scale, *shift;        /* affine: [Cp] */
    void *y;                           /* [N,H,W,Cp]; may be x0, or x1 of the same shape. */
};

int cuda_act(thaw_cuda_launch *launch, const thaw_cuda_elementwise *e);
int cuda_add(thaw_cuda_launch *launch, const thaw_cuda_elementwise *e);
int cuda_mul(thaw_cuda_launch *launch, const thaw_cuda_elementwise *e);
int cuda_affine(thaw_cuda_launch *launch, const thaw_cuda_elementwise *e);

/* pixels: u8 [N,H,W,C]; scale, shift: [C]; y: [N,H,W,Cp]. */
int cuda_import(thaw_cuda_launch *launch, int64_t N, int64_t H, int64_t W, int64_t C,
                thaw_dtype dtype, const uint8_t *pixels, const float *scale, const float *shift,
                void *y);

/* x: [N,H,W,Cp]; y: float [N,H,W,C]. */
int cuda_export(thaw_cuda_launch *launch, int64_t N, int64_t H, int64_t W, int64_t C,
                thaw_dtype dtype, const void *x, float *y);

/* y[m, to + i] = x[m, from + i] for i < count; x: [pixels, x_Cp], y: [pixels, y_Cp]. When the range
 * ends y's channels, y's padding is written as well. */
int cuda_channels(thaw_cuda_launch *launch, int64_t pixels, int64_t x_C, int64_t from, int64_t y_C,
                  int64_t to, int64_t count, thaw_dtype dtype, const void *x, void *y);

/* y[m, i groups + g] = x[m, g C/groups + i]; groups divides C. */
int cuda_shuffle(thaw_cuda_launch *launch, int64_t pixels, int64_t C, int64_t groups,
                 thaw_dtype dtype, const void *x, void *y);

/* y: x inside the window's pads of zeros. */
int cuda_pad(thaw_cuda_launch *launch, int64_t N, int64_t H, int64_t W, int64_t C,
             const thaw_window *window, thaw_dtype dtype, const void *x, void *y);

/* y: [N, C H W padded to 8], in ONNX's order. */
int cuda_flatten(thaw_cuda_launch *launch, int64_t N, int64_t H, int64_t W, int64_t C,
                 thaw_dtype dtype, const void *x, void *y);

/* x, y: [pixels, Cp]; gamma, beta: float [Cp]. */
int cuda_layer_norm(thaw_cuda_launch *launch, int64_t pixels, int64_t C, float eps,
                    thaw_dtype dtype, const void *x, const float *gamma, const float *beta,
                    void *y);

/* ---- training ------------------------------------------------------------------------------- */

/* Matrices are float, row-major, dense, in device memory. */
struct thaw_cuda_loss {
    int64_t M, K;
    const float *logits;       /* [M,K] */
    const int32_t *label;      /* [M], each in 0 .. K-1. */
    const float *class_weight; /* [K] or NULL: ones. */
    const float *norm;         /* One number: the batch's sum of weights. */
    float smoothing;
    float *loss;      /* [M] */
    float *dlogits;   /* [M,K] or NULL; may be logits. */
    uint8_t *correct; /* [M] or NULL: 1 where the label has the largest logit. */
};

/* Softmax, cross-entropy and gradient, as thaw_top_slots' softmax_cross_entropy. */
int cuda_loss(thaw_cuda_launch *launch, const thaw_cuda_loss *loss);

/* The scalars of one step. */
struct thaw_cuda_step {
    float lr;
    float rate;   /* AdamW: lr / (1 - beta1^step) */
    float second; /* AdamW: 1 / sqrt(1 - beta2^step) */
};

struct thaw_cuda_optimizer {
    int64_t n, n_decayed; /* Values; those before n_decayed are subject to weight_decay. */
    float *w, *m, *v;     /* [n] each; m: AdamW only. */
    const float *dw;
    float beta1, beta2, eps, momentum, weight_decay;
    const thaw_cuda_step *steps; /* Device memory. */
    const uint32_t *step;        /* Device memory: index of the step to make. */
};

int cuda_adamw(thaw_cuda_launch *launch, const thaw_cuda_optimizer *optimizer);
int cuda_sgd(thaw_cuda_launch *launch, const thaw_cuda_optimizer *optimizer);

/* *step += 1. */
int cuda_next_step(thaw_cuda_launch *launch, uint32_t *step);

/* y[m,:] = x[index[*first + m],:]; first NULL: 0. y_dtype: dtype or THAW_F32. */
int cuda_gather(thaw_cuda_launch *launch, int64_t M, int64_t D, thaw_dtype dtype, const void *x,
                const int64_t *index, const uint32_t *first, thaw_dtype y_dtype, void *y);

/* db[k] = sum over m of dy[m,k]. */
int cuda_column_sum(thaw_cuda_launch *launch, int64_t M, int64_t K, const float *dy, float *db);

/* sums[0] += sum of loss[m]; sums[1] += number of correct rows. */
int cuda_epoch_sum(thaw_cuda_launch *launch, int64_t M, const float *loss, const uint8_t *correct,
                   double *sums);

struct thaw_cuda_scores {
    int64_t M, K, k;
    const float *logits;  /* [M,K] */
    const int32_t *label; /* [M] */
    uint32_t *confusion;  /* [K,K]: label, choice; or NULL. */
    uint32_t *hits;       /* One number: rows whose label is among the k largest. */
};

/* Adds to confusion and hits. */
int cuda_scores(thaw_cuda_launch *launch, const thaw_cuda_scores *scores);

#endif
