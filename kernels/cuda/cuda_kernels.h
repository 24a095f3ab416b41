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
    cudaStream_t stream; /* Set by the caller, */
    bool overlap;        /* as this: kernels may be launched while the one before them runs. */
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
    const void *w;          /* Packed by cuda_stem_pack. */
    const float *constants; /* Packed by cuda_stem_pack, too. */
    void *y;                /* [N,P,Q,Kp] of the convolution or of the pool. */
};

/* NULL when the stem kernel takes this; otherwise why not. pool NULL: none. act: those that first
 * layers have. scale, shift: C of each, which must have a level of the pixel that stands for zero.
 */
const char *cuda_stem_refuses(const thaw_conv_shape *shape, const thaw_pool_shape *pool,
                              thaw_act act, thaw_dtype dtype, const float *scale,
                              const float *shift, const thaw_cuda_device *device,
                              thaw_cuda_reason *reason);

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

/* ---- depthwise and 1x1 together ------------------------------------------------------------- */

/* pointwise's x is depthwise's y, which is not written: both are ignored, and so is depthwise's
 * residual. pointwise is packed for cuda_separable_choice. */
struct thaw_cuda_separable {
    thaw_cuda_depthwise depthwise;
    thaw_cuda_conv pointwise;
};

const char *cuda_separable_refuses(const thaw_conv_shape *depthwise,
                                   const thaw_conv_shape *pointwise, thaw_dtype dtype,
                                   const thaw_cuda_device *device, thaw_cuda_reason *reason);

/* Whether one kernel is expected to be faster than two. */
bool cuda_separable_pays(const thaw_conv_shape *depthwise, const thaw_conv_shape *pointwise,
                         thaw_dtype dtype, const thaw_cuda_device *device);

thaw_cuda_conv_choice cuda_separable_choice(const thaw_conv_shape *pointwise);

int cuda_separable(thaw_cuda_launch *launch, const thaw_cuda_separable *separable, int sm);

/* ---- the gate of squeeze and excite --------------------------------------------------------- */

/* y = act2(w2 act1(w1 x + b1) + b2), per image; C -> M -> C channels. */
struct thaw_cuda_gate {
    int64_t N, C, M;
    thaw_dtype dtype;
    thaw_act act1, act2;
    float a1, b1, a2, b2; /* Of the activations. */
    const void *x;        /* [N,Cp]: the means. */
    const float *w;       /* cuda_gate_weight_count of them, packed; aligned to 16 bytes. */
    void *y;              /* [N,Cp] */
};

/* NULL when one kernel takes both layers, and does so in the time of their two launches. */
const char *cuda_gate_refuses(int64_t C, int64_t M, thaw_cuda_reason *reason);
size_t cuda_gate_weight_count(int64_t C, int64_t M);

/* Host to host: w1[M,C], b1[M], w2[C,M], b2[C]; biases may be NULL: zeros. */
void cuda_gate_pack(int64_t C, int64_t M, const float *w1, const float *b1, const float *w2,
                    const float *b2, float *packed);

int cuda_gate(thaw_cuda_launch *launch, const thaw_cuda_gate *gate);

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
    const void *x1;                    /* add, mul: the second operand. */
    const float *scale, *shift;        /* affine: [Cp]. */
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

/* Both tensors' numbers in ONNX's order: y's axes are x's, permuted; a reshape is one axis of them all. */
struct thaw_cuda_rearrange {
    int64_t N, H, W, C, P, Q, K; /* x: [N,H,W,Cp], y: [N,P,Q,Kp]; H W C = P Q K below 2^31. */
    thaw_permutation axes;
    thaw_dtype dtype;
    const void *x;
    void *y;
};
int cuda_rearrange(thaw_cuda_launch *launch, const thaw_cuda_rearrange *rearrange);

/* w: float [pixels, Cp]; y: [N, pixels, Cp]. */
int cuda_constant(thaw_cuda_launch *launch, int64_t N, int64_t pixels, int64_t C, thaw_dtype dtype,
                  const float *w, void *y);

/* A place that a row or column of y takes from, and its weight. */
struct thaw_cuda_tap {
    int32_t from;
    float weight;
};

struct thaw_cuda_resample {
    int64_t N, H, W, C, P, Q; /* x: [N,H,W,Cp], y: [N,P,Q,Cp] */
    thaw_dtype dtype;
    const thaw_cuda_tap *rows, *columns; /* [P][n_rows], [Q][n_columns] */
    int64_t n_rows, n_columns;
    const void *x;
    void *y;
};
int cuda_resample(thaw_cuda_launch *launch, const thaw_cuda_resample *resample);

/* x, y: [pixels, Cp], over channels c, c + groups, ... each. */
int cuda_softmax(thaw_cuda_launch *launch, int64_t pixels, int64_t C, int64_t groups,
                 thaw_dtype dtype, const void *x, void *y);

/* a: [N,H,J,Cp], b: [N,J,W,Cp], y: [N,H,W,Cp]. */
int cuda_matmul(thaw_cuda_launch *launch, int64_t N, int64_t H, int64_t J, int64_t W, int64_t C,
                thaw_dtype dtype, const void *a, const void *b, void *y);

/* x, y: [N, pixels, Cp]; gamma, beta: float [Cp]; workspace: cuda_group_norm_workspace bytes, any content. */
size_t cuda_group_norm_workspace(int64_t N, int64_t C);
int cuda_group_norm(thaw_cuda_launch *launch, int64_t N, int64_t pixels, int64_t C, int64_t groups,
                    float eps, thaw_dtype dtype, const void *x, const float *gamma,
                    const float *beta, float *workspace, void *y);

/* x, y: [pixels, Cp]; gamma, beta: float [Cp]. */
int cuda_layer_norm(thaw_cuda_launch *launch, int64_t pixels, int64_t C, float eps,
                    thaw_dtype dtype, const void *x, const float *gamma, const float *beta,
                    void *y);

/* ---- training ------------------------------------------------------------------------------- */

/* Matrices are row-major, in device memory; ld is the elements from a row to the next.
 *
 * A step's kernels can be captured once, as a CUDA graph, and replayed for a whole epoch: what
 * changes from step to step lies in device memory and is found by the cursor, the losses of all
 * steps lie one behind the other, and the last batch's missing rows are zeros. */

/* Where an epoch stands; in device memory, zero before its first step. A step's first kernel, the
 * gather, copies next to step; its last, the optimizer, sets next to step + 1; those between only
 * read step. So no kernel reads what it writes, and several gathers or optimizers in a step agree.
 */
struct thaw_cuda_cursor {
    int64_t next, step;
};

/* An epoch's order, which is its shuffle. Step s makes the rows at positions s M ... s M + M - 1;
 * at positions from n on there is no row. */
struct thaw_cuda_order {
    const void *index; /* [n]: the row at each position; NULL: the position itself. */
    bool index32;      /* index: int32, not int64. */
    int64_t n;
};

struct thaw_cuda_gather {
    int64_t M, D, x_ld, y_ld;
    thaw_dtype x_dtype, y_dtype; /* y_dtype: x_dtype or THAW_F32. */
    thaw_cuda_order order;
    const void *x;     /* [rows,D]; device or mapped host memory. */
    const void *x_far; /* Rows from n_near on, if not NULL; the same. */
    int64_t n_near;
    void *y;                   /* [M,D]; zeros where there is no row. */
    const float *mean, *scale; /* [D]: y = (x - mean) * scale; or both NULL: y = x. */
    const int32_t *label;      /* [rows] or NULL. */
    int32_t *y_label;          /* [M]; -1 where there is no row. */
    thaw_cuda_cursor *cursor;  /* NULL: step 0. */
};

/* y[m] = x[order of step, m] and y_label[m] = label of the same row. */
int cuda_gather(thaw_cuda_launch *launch, const thaw_cuda_gather *gather);

/* y[m] = row index[m] (NULL: m) of rows[.., pixels, C], as a map with its channels padded: zeros behind
 * the C, and from M on. y: [N,pixels,Cp] of a training type. */
int cuda_row_maps(thaw_cuda_launch *launch, int64_t N, int64_t pixels, int64_t C, thaw_dtype stored,
                  const void *rows, const int64_t *index, int64_t M, thaw_dtype dtype, void *y);

/* rows[pixels,C] = x[pixels,Cp] */
int cuda_map_rows(thaw_cuda_launch *launch, int64_t pixels, int64_t C, thaw_dtype dtype,
                  const void *x, float *rows);

/* norm[s] = sum of class_weight[label[row]] over the rows of step s, for each of the
 * ceil(order.n / M) steps. class_weight NULL: ones. Once an epoch. */
int cuda_batch_weights(thaw_cuda_launch *launch, int64_t M, const thaw_cuda_order *order,
                       const int32_t *label, const float *class_weight, float *norm);

struct thaw_cuda_loss {
    int64_t M, K, logits_ld, dlogits_ld;
    thaw_dtype dlogits_dtype;
    float smoothing;
    const float *logits;       /* [M,K] */
    const int32_t *label;      /* [M]; negative: no row; K or more: loss and gradient are NaN. */
    const float *class_weight; /* [K] or NULL: ones. */
    const float *norm;         /* [steps]: each batch's sum of weights. */
    float *loss;               /* [steps,M]; 0 where there is no row. */
    uint8_t *correct;          /* [steps,M] or NULL: 1 where the label has the largest logit, the
                                * lowest class of equal ones; 0 where a logit is NaN. */
    void *dlogits; /* [M,K] or NULL; zeros where there is no row. May be logits, if float
                    * and with logits_ld. */
    const thaw_cuda_cursor *cursor; /* NULL: step 0. */
};

/* Softmax, cross-entropy and gradient, as thaw_top_slots' softmax_cross_entropy. */
int cuda_loss(thaw_cuda_launch *launch, const thaw_cuda_loss *loss);

/* A batch's labels that are sets, as thaw_top_slots' sigmoid_cross_entropy. */
struct thaw_cuda_sigmoid_loss {
    int64_t M, K, ld;             /* Of logits and dlogits. */
    const float *logits;          /* [M,K] */
    const int32_t *label;         /* [M]; negative: no row. */
    const float *target, *own;    /* [M,K]; own: above 1/2 where a class is there. */
    const float *positive_weight; /* [K] or NULL: ones. */
    const float *norm;            /* One number. */
    float *loss;                  /* [M]; 0 where there is no row. */
    uint8_t *correct; /* [M]; 1 where of each class it is said rightly whether it is there. */
    float *dlogits;   /* [M,K]; zeros where there is no row. */
};
int cuda_sigmoid_loss(thaw_cuda_launch *launch, const thaw_cuda_sigmoid_loss *loss);

/* loss and dlogits become the mean of theirs and the other's, by share[m]: theirs. */
struct thaw_cuda_mix_loss {
    int64_t M, K, ld;
    const float *share;                      /* [M] */
    const float *other_loss, *other_dlogits; /* [M]; [M,K] */
    float *loss, *dlogits;
};
int cuda_mix_loss(thaw_cuda_launch *launch, const thaw_cuda_mix_loss *mix);

/* *sums takes the batch in, which is of step number *step; nothing where that is 0. */
int cuda_loss_sums(thaw_cuda_launch *launch, int64_t M, const float *loss, const uint8_t *correct,
                   const int64_t *step, thaw_loss_sums *sums);

/* The numbers of an epoch. */
struct thaw_cuda_epoch {
    double loss, weight; /* Sums over loss[n] and norm[steps]. */
    int64_t n_correct;
};

/* *epoch = the sums; correct may be NULL. */
int cuda_epoch_sum(thaw_cuda_launch *launch, int64_t n, const float *loss, const uint8_t *correct,
                   int64_t steps, const float *norm, thaw_cuda_epoch *epoch);

struct thaw_cuda_column_sum {
    int64_t M, K, ld;
    thaw_dtype dtype;
    const void *dy;
    float *db;
    float *workspace;   /* cuda_column_sum_workspace floats; any content. */
    uint32_t *counters; /* cuda_column_sum_counters of them, zero before the first call; left zero.
                         */
};

/* db[k] = sum over m of dy[m,k]: a bias's gradient. Where ld is a multiple of 8, dy is aligned to 16
 * bytes. Few rows need neither workspace nor counters: these are 0 then. */
size_t cuda_column_sum_workspace(int64_t M, int64_t K);
size_t cuda_column_sum_counters(int64_t M, int64_t K);
int cuda_column_sum(thaw_cuda_launch *launch, const thaw_cuda_column_sum *sum);

/* What changes from step to step of an optimizer. */
struct thaw_cuda_step {
    float lr;
    float rate;   /* AdamW: lr / (1 - beta1^step) */
    float second; /* AdamW: 1 / sqrt(1 - beta2^step) */
};

/* Of a step that counts from 1; the factors of the CPU's adamw. */
thaw_cuda_step cuda_step_scalars(float lr, float beta1, float beta2, int64_t step);

/* A part of the parameters with its own rates. It begins where the one before it ends. */
struct thaw_cuda_segment {
    int64_t end;
    float lr_factor; /* On the step's rate. */
    float weight_decay;
};

struct thaw_cuda_optimizer {
    int64_t n;
    float *w, *m, *v; /* [n] each, aligned to 16 bytes; m: AdamW only. */
    const float *dw;
    void *w_copy;          /* [n], aligned to 16 bytes: w rounded to copy_dtype; or NULL. */
    thaw_dtype copy_dtype; /* THAW_F16, THAW_BF16 */
    float beta1, beta2, eps, momentum;
    const thaw_cuda_segment *segments; /* [n_segments], ends ascending, the last one is n. */
    int n_segments;
    const thaw_cuda_step *steps; /* [steps of the epoch] */
    thaw_cuda_cursor *cursor;    /* NULL: step 0. */
    const int64_t *stopped;      /* Where it is not 0, nothing changes; NULL: it always does. */
};

int cuda_adamw(thaw_cuda_launch *launch, const thaw_cuda_optimizer *optimizer);
int cuda_sgd(thaw_cuda_launch *launch, const thaw_cuda_optimizer *optimizer);

/* A layer of hidden units, y[M,ld] with ld > H: relu, then dropout, each unit left out or multiplied by `scale`, by the
 * numbers that thaw_rng_dropout draws for y[M,H] in stream `stream` + first_step + the cursor's step. Column H becomes 1,
 * the feature whose weight the next layer's bias is. Backward: of the gradient dy of what forward has made, the gradient
 * of what it was made from, and 0 from column H on. */
struct thaw_cuda_hidden {
    int64_t M, H, ld;
    float *y;
    float rate, scale; /* rate 0: no dropout, and scale is 1. */
    uint64_t seed, stream;
    const int64_t *first_step;
    const thaw_cuda_cursor *cursor;
};

int cuda_hidden_forward(thaw_cuda_launch *launch, const thaw_cuda_hidden *hidden);
int cuda_hidden_backward(thaw_cuda_launch *launch, const thaw_cuda_hidden *hidden, float *dy);

/* Layers and their gradients. Tensors, void, are of `dtype`, THAW_F32 or THAW_BF16, [N,H,W,Cp] with zeros
 * for padding; w and dw are [K,C/G,R,S] as in the file. All that is not a tensor is float.
 *
 * Convolutions of any groups, pads and dilations, right rather than fast. workspace: floats, as many as
 * the function above says. */
int cuda_plain_conv(thaw_cuda_launch *launch, const thaw_conv_shape *shape, thaw_dtype dtype,
                    const void *x, const float *w, void *y);
int cuda_plain_conv_data(thaw_cuda_launch *launch, const thaw_conv_shape *shape, thaw_dtype dtype,
                         const void *dy, const float *w, void *dx);
size_t cuda_plain_conv_filter_workspace(const thaw_conv_shape *shape);
int cuda_plain_conv_filter(thaw_cuda_launch *launch, const thaw_conv_shape *shape, thaw_dtype dtype,
                           const void *x, const void *dy, float *dw, float *workspace);

/* to[n] = the sum over 512 chunks at most of parts[chunks,n], in their order. */
int cuda_sum_chunks(thaw_cuda_launch *launch, int chunks, int64_t n, const float *parts, float *to);

/* Depthwise ones that these take: G = C = K. Packed filters hold w as cuda_depthwise wants it, and
 * behind it what dx does; zeros: of them, a bias for cuda_depthwise. */
bool cuda_depthwise_trains(const thaw_conv_shape *shape);
size_t cuda_depthwise_packed_count(const thaw_conv_shape *shape);
int cuda_pack_depthwise(thaw_cuda_launch *launch, const thaw_conv_shape *shape, const float *w,
                        float *packed);
const float *cuda_depthwise_zeros(const thaw_conv_shape *shape, const float *packed);
int cuda_depthwise_data(thaw_cuda_launch *launch, const thaw_conv_shape *shape, thaw_dtype dtype,
                        const void *dy, const float *packed, void *dx);
size_t cuda_depthwise_filter_workspace(const thaw_conv_shape *shape);
int cuda_depthwise_filter(thaw_cuda_launch *launch, const thaw_conv_shape *shape, thaw_dtype dtype,
                          const void *x, const void *dy, float *dw, float *workspace);

/* Without groups: w to [Kp,R,S,Cp] of `dtype` with zeros for padding, and back without it. */
int cuda_pack_filter(thaw_cuda_launch *launch, const thaw_conv_shape *shape, thaw_dtype dtype,
                     const float *w, void *packed);
int cuda_unpack_filter(thaw_cuda_launch *launch, const thaw_conv_shape *shape, thaw_dtype dtype,
                       const void *packed, float *w);

/* to[Cp] = from[C] and zeros; from NULL: zeros. */
int cuda_pad_channels(thaw_cuda_launch *launch, int64_t C, const float *from, float *to);

/* dx = dy act'; v: the activation's input where thaw_act_needs_input, else its output. n: a multiple of
 * 8. dx may be dy. */
int cuda_act_gradient(thaw_cuda_launch *launch, const thaw_epilogue *e, int64_t n, thaw_dtype dtype,
                      const void *v, const void *dy, void *dx);

/* x, y: only of maxima, whose gradient goes to the first of equal ones. */
int cuda_pool_gradient(thaw_cuda_launch *launch, const thaw_pool_shape *shape, thaw_dtype dtype,
                       const void *x, const void *y, const void *dy, void *dx);

/* dx[N,H,W,Cp]: dy without the window's pads. */
int cuda_crop(thaw_cuda_launch *launch, int64_t N, int64_t H, int64_t W, int64_t C,
              const thaw_window *window, thaw_dtype dtype, const void *dy, void *dx);

/* to += x; n > 0 numbers, aligned to 16 bytes. */
int cuda_add_to(thaw_cuda_launch *launch, int64_t n, thaw_dtype dtype, const void *x, void *to);

struct thaw_cuda_norm {
    int64_t pixels, C; /* Of all pictures. */
    float epsilon;
    thaw_act act;
    float a, b;
    thaw_dtype dtype;
    const void *x;
    const float *scale, *shift, *mean, *var; /* [C]; mean, var: running ones. */
    float *batch_mean, *batch_var; /* [C] receive the batch's, which count; NULL: running. */
    void *y;
    void *workspace; /* cuda_norm_workspace bytes. */
};

struct thaw_cuda_norm_gradient {
    int64_t pixels, C;
    float epsilon;
    thaw_dtype dtype;
    const void *x, *dy;
    const float *scale, *batch_mean, *batch_var; /* [C] */
    float *dscale, *dshift;                      /* [C] or NULL. */
    void *dx;                                    /* NULL: not needed. */
    void *workspace;
};

size_t cuda_norm_workspace(int64_t pixels, int64_t C);
int cuda_norm(thaw_cuda_launch *launch, const thaw_cuda_norm *norm);
int cuda_norm_gradient(thaw_cuda_launch *launch, const thaw_cuda_norm_gradient *gradient);

/* Of y = x scale[c] + shift[c]; either may be NULL. stats: NULL, or what layer norm's gradient tells of
 * each pixel, whose normalised x takes x's place. workspace as above. */
int cuda_affine_gradient(thaw_cuda_launch *launch, int64_t pixels, int64_t C, thaw_dtype dtype,
                         const void *x, const float2 *stats, const void *dy, float *dscale,
                         float *dshift, void *workspace);

/* dx[pixels,Cp], or NULL: not needed; gamma: [Cp]; stats[pixels]: mean and 1 / sqrt(variance + eps). */
int cuda_layer_norm_gradient(thaw_cuda_launch *launch, int64_t pixels, int64_t C, float eps,
                             thaw_dtype dtype, const void *x, const void *dy, const float *gamma,
                             void *dx, float2 *stats);

/* y[N,Cp] = sum over a picture's pixels of a b, or of a where b is NULL. */
int cuda_image_sums(thaw_cuda_launch *launch, int64_t N, int64_t pixels, int64_t C,
                    thaw_dtype dtype, const void *a, const void *b, void *y);

/* y[pixels,8] = the same over a pixel's channels, padded. */
int cuda_pixel_sums(thaw_cuda_launch *launch, int64_t pixels, int64_t C, thaw_dtype dtype,
                    const void *a, const void *b, void *y);

/* Of softmax, whose y it reads. */
int cuda_softmax_gradient(thaw_cuda_launch *launch, int64_t pixels, int64_t C, int64_t groups,
                          thaw_dtype dtype, const void *y, const void *dy, void *dx);

/* Of matmul. da, db: NULL: not needed. */
int cuda_matmul_gradient(thaw_cuda_launch *launch, int64_t N, int64_t H, int64_t J, int64_t W,
                         int64_t C, thaw_dtype dtype, const void *a, const void *b, const void *dy,
                         void *da, void *db);

struct thaw_cuda_group_norm_gradient {
    int64_t N, pixels, C, groups;
    float epsilon;
    thaw_dtype dtype;
    const void *x, *dy;
    const float *gamma;    /* [Cp] */
    float *dgamma, *dbeta; /* [C] or NULL. */
    void *dx;              /* NULL: not needed. */
    float *workspace;      /* cuda_group_norm_gradient_workspace bytes, any content. */
};
size_t cuda_group_norm_gradient_workspace(int64_t N, int64_t C);
int cuda_group_norm_gradient(thaw_cuda_launch *launch,
                             const thaw_cuda_group_norm_gradient *gradient);

#endif
