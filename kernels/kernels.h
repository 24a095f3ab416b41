/* The contract between the engine and the kernels of a backend.
 *
 * Dimensions, everywhere:
 *   N batch   H W input height, width    C input channels
 *             P Q output height, width   K output channels
 *             R S filter height, width   G groups
 * Activations are logically NHWC. Filters arrive as K,C/G,R,S (as ONNX stores them) in float and
 * are packed by prepare. A backend may keep activations inside the trunk in any physical layout;
 * only the steps `import` and `export` see plain NHWC memory.
 *
 * A trunk operation has two halves. `prepare` runs once, at plan time: it packs weights, picks a
 * variant, says how many bytes the output and the workspace take, or refuses with a reason. `run`
 * runs for each batch: it never allocates, synchronises or reads a global. A slot whose prepare is
 * NULL is an operation that the backend lacks; the planner names the node.
 *
 * Kernel functions return 0 or the native library's code. The backend makes the sentence.
 */
#ifndef THAW_KERNELS_H
#define THAW_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "enum.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Value, what options and messages call it, bytes. */
#define THAW_DTYPE_LIST(X)  \
    X(THAW_F32, "fp32", 4)  \
    X(THAW_F16, "fp16", 2)  \
    X(THAW_BF16, "bf16", 2) \
    X(THAW_U8, "u8", 1)     \
    X(THAW_I64, "i64", 8)
typedef enum thaw_dtype { THAW_DTYPE_LIST(THAW_ENUM_VALUE) } thaw_dtype;

static inline size_t thaw_dtype_bytes(thaw_dtype dtype) {
#define X(value, name, bytes) bytes,
    static const uint8_t bytes[] = {THAW_DTYPE_LIST(X)};
#undef X
    return bytes[dtype];
}

static inline const char *thaw_dtype_name(thaw_dtype dtype) {
    static const char *const names[] = {THAW_DTYPE_LIST(THAW_ENUM_NAME)};
    return names[dtype];
}

/* ---- activations --------------------------------------------------------------------------- */

/* name, what options and plans call it; the formula, with the epilogue's a and b. Every backend has
 * one switch over them without a default, so that a new one does not compile until all know it. */
#define THAW_ACT_LIST(X)                                                         \
    X(NONE, "", "x")                                                             \
    X(CLIP, "clip", "min(max(x, a), b); Relu is a = 0, b = infinity")            \
    X(LEAKY_RELU, "leaky_relu", "x < 0 ? a x : x")                               \
    X(SIGMOID, "sigmoid", "1 / (1 + exp(-x))")                                   \
    X(SILU, "silu", "x sigmoid(x)")                                              \
    X(HARD_SIGMOID, "hard_sigmoid", "min(max(a x + b, 0), 1)")                   \
    X(HARD_SWISH, "hard_swish", "x hard_sigmoid(x) with a = 1/6, b = 1/2")       \
    X(TANH, "tanh", "tanh(x)")                                                   \
    X(GELU, "gelu", "x (1 + erf(x / sqrt(2))) / 2")                              \
    X(GELU_TANH, "gelu_tanh", "x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2") \
    X(ELU, "elu", "x < 0 ? a (exp(x) - 1) : x")                                  \
    X(SOFTPLUS, "softplus", "log(1 + exp(x))")                                   \
    X(POWER, "power", "x ^ a: the square, its root, the reciprocal")

typedef enum thaw_act {
#define X(name, text, formula) THAW_ACT_##name,
    THAW_ACT_LIST(X)
#undef X
} thaw_act;

#define X(name, text, formula) +1
enum { THAW_N_ACTS = 0 THAW_ACT_LIST(X) };
#undef X

/* As plans call it; "" for none. */
static inline const char *thaw_act_name(thaw_act act) {
    static const char *const names[] = {
#define X(name, text, formula) text,
        THAW_ACT_LIST(X)
#undef X
    };
    return names[act];
}

/* What follows a step in the same pass over its output: + residual, then the activation. */
typedef struct thaw_epilogue {
    thaw_act act;
    float a, b;    /* The activation's parameters, as above. */
    bool residual; /* in[n_in - 1] has the output's shape and is added before the activation. */
} thaw_epilogue;

/* ---- shapes -------------------------------------------------------------------------------- */

/* A window that slides over H x W. Pads may differ on all four sides. */
typedef struct thaw_window {
    int64_t R, S;
    int64_t stride_h, stride_w;
    int64_t dilation_h, dilation_w;
    int64_t pad_top, pad_left, pad_bottom, pad_right;
} thaw_window;

/* y[n,p,q,k] = b[k] + sum over r,s,c of x[n, p*stride+r*dilation-pad, ..., c] * w[k,c,r,s]. */
typedef struct thaw_conv_shape {
    int64_t N, H, W, C, P, Q, K, G;
    thaw_window window;
} thaw_conv_shape;

typedef struct thaw_pool_shape {
    int64_t N, H, W, C, P, Q;
    thaw_window window;
    bool max;               /* Maximum; otherwise the mean. */
    bool count_include_pad; /* Mean only: padding counts in the divisor. */
} thaw_pool_shape;

/* ---- the trunk ----------------------------------------------------------------------------- */

/* An activation between two steps. Logical shape N,H,W,C; a matrix N,C has H = W = 1. */
typedef struct thaw_port {
    int64_t N, H, W, C;
    thaw_dtype dtype;   /* THAW_F32, THAW_F16 or THAW_BF16; set by the engine. */
    size_t bytes;       /* Set by the producer's prepare: what the backend's layout needs. */
    const void *layout; /* The backend's own, set by the producer's prepare; lives until release. */
    size_t offset;      /* Set by the planner: where in the activations' memory. */
    void *data;         /* Set before run. */
} thaw_port;

/* What every slot of the trunk means. x, y are ports; "+ epilogue" is thaw_epilogue. */
#define THAW_STEP_LIST(X)                                                                         \
    X(import, "u8 NHWC pixels (caller's memory) -> y = x * scale[c] + shift[c]")                  \
    X(load, "y = float NHWC, plain, which the caller has put there")                              \
    X(export, "y (caller's memory, float NHWC, plain) = x")                                       \
    X(conv, "convolution, + epilogue; w[K,C/G,R,S], b[K] or NULL")                                \
    X(dense, "y[n,k] = b[k] + sum over c of x[n,c] w[k,c], + epilogue; w as for conv, R = S = 1") \
    X(pool, "maximum or mean over a window")                                                      \
    X(global_mean, "y[n,0,0,c] = mean over h,w of x")                                             \
    X(act, "an activation alone")                                                                 \
    X(add, "y = x0 + x1, + activation; x1 may be [N,1,1,C] or [N,H,W,1] or [N,1,1,1]")            \
    X(mul, "y = x0 * x1, + activation; shapes as for add")                                        \
    X(affine, "y = x * scale[c] + shift[c], + activation: a BN that no conv precedes")            \
    X(batch_norm, "affine of each channel at mean 0 and variance 1 over the batch; trained only") \
    X(layer_norm, "each pixel's channels at mean 0 and variance 1, * scale[c] + shift[c]")        \
    X(concat, "inputs one after the other along C")                                               \
    X(slice, "y = C of x's channels, from `first` on")                                            \
    X(shuffle, "channel i of y is channel i % groups * (C / groups) + i / groups of x")           \
    X(pad, "x inside a border of zeros: the pads of conv.window")                                 \
    X(constant, "y[n,h,w,c] = w[h,w,c]: what the file has for each place")                        \
    X(group_norm, "as layer_norm, of `groups` of channels, each over all pixels of a picture")    \
    X(softmax, "exp(x) / its sum over channels c, c + groups, c + 2 groups ..., of each pixel")   \
    X(matmul, "y[n,c] = x0[n,c] x1[n,c]: each channel of a picture is a matrix of H x W")         \
    X(resample, "each row and column of y is a weighted sum of x's: see thaw_taps")               \
    X(transpose, "x, in N,C,H,W order a tensor N, axes.dims, with its axes permuted, makes y")    \
    X(reshape, "y's numbers are x's, both in ONNX's order: N,C,H,W")

/* What each place of y along H or W takes of x: n places, each with its weight. */
typedef struct thaw_taps {
    int64_t n;
    const int32_t *from; /* [size of y][n] */
    const float *weight; /* [size of y][n] */
} thaw_taps;

/* A tensor's axes behind the batch, and a permutation: axis i of y is axis perm[i] of x. */
enum { THAW_MAX_AXES = 5 };
typedef struct thaw_permutation {
    int n;
    int64_t dims[THAW_MAX_AXES]; /* Of x. */
    int perm[THAW_MAX_AXES];
} thaw_permutation;

typedef enum thaw_step_kind {
#define X(name, text) THAW_STEP_##name,
    THAW_STEP_LIST(X)
#undef X
        THAW_N_STEP_KINDS
} thaw_step_kind;

/* As plans and messages call it. */
static inline const char *thaw_step_kind_name(thaw_step_kind kind) {
    static const char *const names[] = {
#define X(name, text) #name,
        THAW_STEP_LIST(X)
#undef X
    };
    return names[kind];
}

/* One fused step of the trunk program. The engine fills the first part, prepare the second. */
typedef struct thaw_step {
    thaw_step_kind kind;
    const char *name; /* The ONNX node, for messages. */
    thaw_conv_shape conv;
    thaw_pool_shape pool;
    thaw_epilogue epilogue;
    thaw_dtype compute; /* conv, dense: type of the factors; products are summed in float. */
    int n_in;
    thaw_port **in; /* n_in of them. The residual, if any, is the last and dies in this step. */
    thaw_port *out;
    const float *w, *b;         /* conv, dense, constant: canonical order; b may be NULL. */
    const float *scale, *shift; /* import, affine, layer_norm, group_norm: C of each. */
    float epsilon;              /* layer_norm, group_norm: added to the variance. */
    int64_t first;              /* slice: its first channel. */
    int64_t groups;             /* shuffle: from so many groups of channels one each in turn. */
    thaw_taps rows, columns;    /* resample */
    thaw_permutation axes;      /* transpose */

    /* Training only; see thaw_backward_slot. */
    thaw_port *kept; /* What backward wants to know of run; bytes: set by prepare. */
    thaw_port *dy;   /* The gradient of what stands before the activation. */
    thaw_port **dx;  /* [n_in] NULL: not needed. */
    float *dw, *db, *dscale, *dshift; /* NULL: not trained. */
    const float *mean, *var;          /* batch_norm outside of training: C of each; */
    float *batch_mean, *batch_var;    /* in training: receive the batch's, which backward reads. */

    bool in_place;          /* Set by prepare: out must share the memory of the last input. */
    size_t workspace_bytes; /* Set by prepare: needed in run only, shared by all steps. */
    void *state;            /* The backend's own. */
    void *backward_state;
} thaw_step;

struct thaw_arena;
struct thaw_error;

/* What prepare is given. */
typedef struct thaw_plan_context {
    struct thaw_arena *arena; /* The plan's: states and packed weights live here. */
    void *device;             /* The backend's, from open. */
    /* w, b, scale and shift change where they lie: see pack. On a device all of a step's numbers lie in
     * its memory, and their gradients. */
    bool training;
    bool tf32; /* Products of training may round their factors to 10 bits of mantissa. */
    const thaw_step *leader; /* NULL, or the same step of another program, which packs for both. */
} thaw_plan_context;

/* What run is given. */
typedef struct thaw_run_context {
    void *stream;           /* The backend's; NULL on the CPU. */
    void *workspace;        /* max of workspace_bytes, aligned to 64. */
    const uint8_t *pixels;  /* import reads: N,H,W,C; on a device, in its memory. */
    float *features;        /* export writes: N,H,W,C; on a device, in its memory. */
    bool training;          /* batch_norm: the batch's own statistics; else the running ones. */
    struct thaw_error *err; /* NULL, or where run may say which kernel failed. */
} thaw_run_context;

typedef struct thaw_trunk_slot {
    /* Returns 0, or the native code with a sentence in err. */
    int (*prepare)(thaw_step *step, const thaw_plan_context *plan, struct thaw_error *err);
    int (*run)(const thaw_step *step, const thaw_run_context *context);
    void (*release)(thaw_step *step); /* May be NULL: nothing outside the arena is held. */
} thaw_trunk_slot;

/* ---- gradients ------------------------------------------------------------------------------ */

/* The backward pass of a step. With L the loss, g[p] = dL/dp of each number p, in the layout and
 * shape of p's port:
 *   dy    given, of the step's sum before its epilogue's activation; other steps may read it too
 *   dx[i] written, of in[i]; another port than dy. NULL: not needed
 *   dw, db, dscale, dshift  written, in the order of w, b, scale, shift. NULL: not trained
 * dx[i] lies as in[i] does. Sums have one order, whatever the threads. The activation is a step
 * `act` of its own here, which reads in[0] or out, as thaw_act_needs_input says, and whose dx[0] may
 * be dy.
 * add: dx[i] is needed only where in[i] is smaller than out, or lies otherwise; elsewhere it is dy.
 */
typedef struct thaw_backward_slot {
    bool reads_in, reads_out; /* Which values of the forward pass must still be there. */
    /* As thaw_trunk_slot's, once `in`, `out`, `dy` and `dx` have layouts. */
    int (*prepare)(thaw_step *step, const thaw_plan_context *plan, struct thaw_error *err);
    int (*run)(const thaw_step *step, const thaw_run_context *context);
} thaw_backward_slot;

/* Whether the derivative of the activation needs its input; otherwise its output tells it. */
static inline bool thaw_act_needs_input(const thaw_epilogue *e) {
    switch (e->act) {
        case THAW_ACT_NONE:
        case THAW_ACT_CLIP:
        case THAW_ACT_SIGMOID:
        case THAW_ACT_HARD_SIGMOID:
        case THAW_ACT_TANH:
            return false;
        case THAW_ACT_LEAKY_RELU:
        case THAW_ACT_ELU:
            return e->a < 0;
        case THAW_ACT_SILU:
        case THAW_ACT_HARD_SWISH:
        case THAW_ACT_GELU:
        case THAW_ACT_GELU_TANH:
        case THAW_ACT_SOFTPLUS:
        case THAW_ACT_POWER:
            return true;
    }
    return true;
}

/* What steps of a training sum up to, each before its update. */
typedef struct thaw_loss_sums {
    double loss;
    int64_t right;    /* Rows that were answered rightly. */
    int64_t bad_step; /* The number of the first whose loss is not finite, from 1; 0: none. */
} thaw_loss_sums;

/* A batch's loss where its scores are; all arrays lie in the table's memory. Rows whose label is negative are
 * none. Softmax, or with a target sigmoids, as thaw_top_slots have them. */
typedef struct thaw_loss_problem {
    int64_t rows, K;
    const int32_t *label; /* [rows] */
    const int32_t *other; /* [rows] NULL, or mixup's second labels, */
    const float *share;   /* with the first one's share of each. */
    const float *target;  /* [rows, K] NULL: softmax. */
    const float *own; /* [rows, K] Where a target is above 1/2, the picture itself has the class. */
    const float *class_weight; /* [K] NULL: ones. */
    float smoothing;
    const float *norm;    /* What the sum of losses is divided by. */
    const int64_t *step;  /* Number of the step; 0: it counts for no sum. */
    float *loss;          /* [rows] receives each one's; 0 where there is none. */
    uint8_t *right;       /* [rows] */
    float *other_loss;    /* [rows]; with other, room. */
    void *other_d;        /* As large as the scores' port; likewise. */
    thaw_loss_sums *sums; /* Takes the batch in. */
} thaw_loss_problem;

typedef struct thaw_training_slots {
    const thaw_trunk_slot *forward; /* [THAW_N_STEP_KINDS] Steps that are trained. */
    thaw_backward_slot backward[THAW_N_STEP_KINDS]; /* prepare NULL: no gradient. */
    /* Takes over the weights of the moment, for this step and those that it leads. */
    int (*pack)(const thaw_step *step, void *stream);
    /* Whether values lie the same way in both ports. */
    bool (*alike)(const thaw_port *a, const thaw_port *b);
    /* to += x: n numbers, which lie where steps' do, aligned to 16 bytes. */
    int (*add_to)(size_t n, thaw_dtype dtype, const void *x, void *to, void *stream);
    int (*copy)(size_t bytes, const void *x, void *to, void *stream); /* to = x */
    /* Calls work(context, i) for i = 0 .. n - 1, side by side where there are processors, each with
     * one thread: prepare of steps that are to run so must be called so. */
    void (*side_by_side)(int n, void (*work)(void *context, int i), void *context);
    /* to[m] = row index[m] of `rows`, which lie in the table's memory as `stored` (THAW_F16, THAW_F32), each
     * with the port's H W C numbers; index[M], or NULL for the first M, lies there, too. Behind M there are
     * zeros. NULL: ports lie in the host's memory, and those that `load` and the last step write are plain. */
    int (*gather)(const thaw_port *to, const void *rows, thaw_dtype stored, const int64_t *index,
                  int64_t M, void *stream);
    int (*spread)(const thaw_port *from, float *rows, void *stream); /* The other way, to floats. */
    /* d = the gradient of the loss of these scores. Where this is, so is gather. */
    int (*loss)(const thaw_port *scores, const thaw_port *d, const thaw_loss_problem *problem,
                void *stream);
    const struct thaw_weights_slots *weights; /* NULL: an optimizer works in the host's memory. */
} thaw_training_slots;

/* ---- the top ------------------------------------------------------------------------------- */

/* Rows are samples, D features, K classes; every matrix is row-major, dense, float. */
typedef struct thaw_top_slots {
    /* y[M,K] = x[M,D] w[K,D]^T + b[K]. No aliasing. b may be NULL. */
    int (*dense_forward)(int64_t M, int64_t D, int64_t K, const float *x, const float *w,
                         const float *b, float *y);
    /* dw[K,D] = dy[M,K]^T x[M,D];  db[K] = column sums of dy;  dx[M,D] = dy w, NULL: not needed. */
    int (*dense_backward)(int64_t M, int64_t D, int64_t K, const float *x, const float *w,
                          const float *dy, float *dx, float *dw, float *db);
    /* The same with weights, sums and results in double, to more digits than a float has.
     * y[M,K] = x[M,D] w[K,D]^T + b[K];  dw[K,D] += dy[M,K]^T x[M,D];  db[K] += column sums of dy. */
    int (*dense64_forward)(int64_t M, int64_t D, int64_t K, const float *x, const double *w,
                           const double *b, double *y);
    int (*dense64_backward)(int64_t M, int64_t D, int64_t K, const float *x, const double *dy,
                            double *dw, double *db);
    /* Softmax, cross-entropy and its gradient in one pass.
     * target distribution: (1 - smoothing) on label[m], smoothing / K everywhere.
     * loss[m] = weight[label] * -sum t log p; dlogits[M,K] = weight[label] * (p - t) / norm, where
     * norm is the caller's (the batch's sum of weights). class_weight NULL: ones. dlogits may be
     * logits itself, or NULL. */
    int (*softmax_cross_entropy)(int64_t M, int64_t K, const float *logits, const int32_t *label,
                                 const float *class_weight, float smoothing, float norm,
                                 float *loss, float *dlogits);
    /* The same for classes that each are there or not: p = 1 / (1 + e^-z), target[M,K] in 0 .. 1;
     * loss[m] = sum over k of -(w t log p + (1 - t) log(1 - p)) with w = positive_weight[k], NULL: ones;
     * dlogits[M,K] = its gradient / norm. dlogits may be logits itself, or NULL. */
    int (*sigmoid_cross_entropy)(int64_t M, int64_t K, const float *logits, const float *target,
                                 const float *positive_weight, float norm, float *loss,
                                 float *dlogits);
    /* Decoupled weight decay (Loshchilov & Hutter 2019), bias-corrected moments; step counts
     * from 1. decay applies to the n values given. */
    int (*adamw)(int64_t n, float *w, const float *dw, float *m, float *v, float lr, float beta1,
                 float beta2, float eps, float weight_decay, int64_t step);
    /* v = momentum v + dw + weight_decay w;  w -= lr v  (PyTorch's SGD, no dampening). */
    int (*sgd)(int64_t n, float *w, const float *dw, float *v, float lr, float momentum,
               float weight_decay);
    /* y[m] = x[index[m]], rows of D. */
    int (*gather)(int64_t M, int64_t D, const float *x, const int64_t *index, float *y);
} thaw_top_slots;

/* ---- a head on a device --------------------------------------------------------------------- */

/* A head of one layer, or of two with a layer of hidden units between, z[m,d] = (x[m,d] - mean[d]) scale[d]:
 *
 *     logits[m,k] = b[0][k] + sum over d of z[m,d] w[0][k,d]
 *     logits[m,k] = b[1][k] + sum over h of dropout(relu(b[0][h] + sum over d of z[m,d] w[0][h,d])) w[1][k,h]
 */
typedef struct thaw_head_problem {
    int64_t n, D, K, batch; /* Rows, features, classes, rows of a step. */
    int64_t hidden;         /* Units; 0: one layer. */
    float dropout; /* Rate, as thaw_rng_dropout has it, drawn from the seed's stream of the step. */
    uint64_t seed;
    const int32_t *label;                            /* [n] */
    int64_t n_validation;                            /* Rows that are scored after an epoch. */
    const int32_t *validation_label;                 /* [n_validation] */
    const float *class_weight;                       /* [K], or NULL: ones. */
    const float *mean, *scale;                       /* [D] */
    float smoothing;                                 /* As softmax_cross_entropy's. */
    bool sgd;                                        /* Otherwise AdamW. */
    float momentum, weight_decay, beta1, beta2, eps; /* Biases do not decay. */
    bool tf32;           /* Products may round their factors to 10 bits of mantissa. */
    thaw_dtype stored;   /* THAW_F16: every feature is one; or F32. */
    size_t device_bytes; /* What rows may take of the device's memory; 0: what is free. */
    size_t pinned_bytes; /* What they may take of page-locked memory; 0: none. */
} thaw_head_problem;

/* Those of a head, the host's: of each of its layers w[out,in], b[out]. */
typedef struct thaw_head_weights {
    float *w[2], *b[2];
} thaw_head_weights;

/* Where the rows went. */
typedef struct thaw_head_tiers {
    int64_t on_device, pinned; /* Rows. Those in page-locked memory cross the bus each epoch. */
    bool
        validates; /* Those of the validation are in the device's memory, too; or there was no room. */
} thaw_head_tiers;

/* What an epoch's steps summed up to, each before its update. */
typedef struct thaw_head_epoch {
    double loss, weight;
    int64_t n_right;
} thaw_head_epoch;

/* Training with the rows in the device's memory and, as far as it does not hold them, in the host's
 * page-locked memory. Functions return 0, or the native code with a sentence in err. */
typedef struct thaw_head_slots {
    /* start: the weights. The caller destroys. ERR_NOMEM: the rows do not fit. */
    int (*create)(void *stream, const thaw_head_problem *problem, const thaw_head_weights *start,
                  void **head, thaw_head_tiers *tiers, struct thaw_error *err);
    /* x[M,D] are rows first .. first + M - 1, of training rows and then, where it validates, those of the validation. */
    int (*put_rows)(void *head, int64_t first, int64_t M, const float *x, struct thaw_error *err);
    /* One pass over the rows in `order`, lr[step]; first_step: steps made before. end: receives the
     * weights. */
    int (*epoch)(void *head, const int64_t *order, const float *lr, int64_t first_step,
                 const thaw_head_weights *end, thaw_head_epoch *result, struct thaw_error *err);
    /* Scores the rows of the validation, where it validates: the sums over all. */
    int (*validate)(void *head, thaw_head_epoch *result, struct thaw_error *err);
    void (*destroy)(void *head); /* NULL: nothing. */
} thaw_head_slots;

/* ---- weights that are trained on a device --------------------------------------------------- */

/* Numbers that something is computed from: weights, from an offset of their block on, or constants. */
typedef struct thaw_numbers_source {
    int64_t offset; /* -1: constants. */
    /* The host's; with an offset, where the weights start. NULL: there is nothing. */
    const float *constant;
} thaw_numbers_source;

/* How numbers that steps read come from weights. With s[k] = gamma[k] / sqrt(var[k] + epsilon):
 *
 *     COPY   to[k,i] = from[k,i]
 *     FOLD   to[k,i] = w[k,i] s[k], to_b[k] = beta[k] + (b[k] - mean[k]) s[k]     a layer and its BN
 *     NORM   to[k] = s[k], to_b[k] = beta[k] - mean[k] s[k]                       a BN alone
 *     TEST   to[k] = running mean[k], to_b[k] = running variance[k]              outside of training
 *
 * k < K, i < each; gradients follow from those of to and to_b. Running statistics follow the batch's:
 * mean += momentum (batch's - mean), a variance of n numbers is multiplied by n / (n - 1) first. */
typedef enum thaw_derivation_kind {
    THAW_DERIVE_COPY,
    THAW_DERIVE_FOLD,
    THAW_DERIVE_NORM,
    THAW_DERIVE_TEST,
} thaw_derivation_kind;

typedef struct thaw_derivation {
    thaw_derivation_kind kind;
    int64_t K, each;
    thaw_numbers_source from;              /* COPY */
    thaw_numbers_source w, b, gamma, beta; /* FOLD, NORM; b may be nothing. */
    const float *mean, *var;               /* FOLD, NORM: [K], the host's. */
    double epsilon;
    int64_t to, to_b;   /* Places in the block that steps read. */
    int64_t running, n; /* TEST: place in the running block, means first; pixels of a picture. */
} thaw_derivation;

/* Weights from `offset` on, up to the next segment. */
typedef struct thaw_weights_segment {
    int64_t offset;
    float factor, weight_decay; /* Of the step's rate. */
} thaw_weights_segment;

typedef struct thaw_weights_problem {
    int64_t n, n_running;                 /* Weights, running statistics. */
    const thaw_weights_segment *segments; /* From offset 0 on, ascending. */
    int n_segments;
    const thaw_derivation *rules;
    int n_rules;
    /* Device memory, the caller's: receives what steps read, and has its gradient, for running
     * statistics sums over lanes of the batch's. */
    float *steps;
    const float *steps_gradient;
    bool sgd, average; /* Otherwise AdamW; whether a running average of the weights is kept. */
    float momentum, beta1, beta2, eps;
    float running_momentum;
    double clip;  /* The longest gradient; 0: any. */
    int64_t lane; /* Pictures of a lane. */
    /* In its memory: once it is not 0, steps change nothing any more. NULL: they always do. */
    const int64_t *stopped;
} thaw_weights_problem;

typedef enum thaw_weights_block {
    THAW_WEIGHTS_VALUES,
    THAW_WEIGHTS_FIRST,  /* AdamW's first moment. */
    THAW_WEIGHTS_SECOND, /* Its second, or SGD's velocity. */
    THAW_WEIGHTS_AVERAGE,
    THAW_WEIGHTS_RUNNING,
} thaw_weights_block;

/* Trained weights, their gradient and their optimizer in the device's memory. Functions return 0, or the
 * native code with a sentence in err; what they are given to do is queued on the stream. */
typedef struct thaw_weights_slots {
    /* The problem's arrays are not used afterwards, its blocks are; moments are zero. The caller
     * destroys. */
    int (*create)(void *stream, const thaw_weights_problem *problem, void **weights,
                  struct thaw_error *err);
    /* A block, from and to the host's memory; done when they return. A block that the problem has not
     * is left alone. */
    int (*put)(void *weights, thaw_weights_block block, const float *from, struct thaw_error *err);
    int (*get)(void *weights, thaw_weights_block block, float *to, struct thaw_error *err);
    /* What the next step needs besides the gradient: its rate, its number from 1, how much the average
     * keeps of itself, lanes of the batch. */
    int (*begin)(void *weights, float lr, int64_t step, float keep, int lanes,
                 struct thaw_error *err);
    /* A step: gradient, optimizer, average, running statistics. Always the same, so that it can be
     * recorded. */
    int (*step)(void *weights, struct thaw_error *err);
    /* What steps read, from the weights of the moment; likewise. */
    int (*derive)(void *weights, struct thaw_error *err);
    void (*destroy)(void *weights); /* NULL: nothing. */
} thaw_weights_slots;

/* ---- what a plan says ------------------------------------------------------------------------ */

/* What a step that was prepared runs. */
typedef struct thaw_step_plan {
    char kernel[64];    /* "": nothing. */
    char why[64];       /* Why this one. */
    double expected_us; /* The cost model's guess, or measured. */
    double products_us; /* At the device's peak rate for them, */
    double bytes_us;    /* at that of its memory, each once. The longer is the limit. */
} thaw_step_plan;

/* ---- a device's memory ---------------------------------------------------------------------- */

/* Of a device that does not work on the host's memory. Functions return 0 or the native code. */
typedef struct thaw_memory {
    int (*alloc)(size_t n, void **memory); /* Aligned to 256; n = 0 gives NULL. */
    void (*release)(void *memory);
    int (*alloc_pinned)(size_t n, void **memory); /* The host's, page-locked: copies overlap. */
    void (*release_pinned)(void *memory);
    /* Queued on the stream; done after wait. */
    int (*upload)(void *stream, void *to, const void *from, size_t n);
    int (*download)(void *stream, void *to, const void *from, size_t n);
    int (*wait)(void *stream);
    /* What is queued between record and end_record becomes a graph, which replay queues again. */
    int (*record)(void *stream);
    int (*end_record)(void *stream, void **graph);
    int (*replay)(void *stream, void *graph);
    void (*release_graph)(void *graph);
    /* Streams beside the one that open gave: their copies and kernels overlap. NULL closes nothing.
     */
    int (*open_stream)(void **stream);
    void (*close_stream)(void *stream);
    /* An event is a place in a stream's queue. mark: behind all that is queued by now; follow: what
     * is queued from now on starts after it; reach: the host waits for it; between: milliseconds
     * from one that was reached to another. An event that was never marked is long past. */
    int (*create_event)(void **event);
    void (*release_event)(void *event);
    int (*mark)(void *stream, void *event);
    int (*follow)(void *stream, void *event);
    int (*reach)(void *event);
    int (*between)(void *from, void *to, float *ms);
} thaw_memory;

/* ---- the table ----------------------------------------------------------------------------- */

typedef struct thaw_kernels {
    const char *name; /* "cpu", "cuda" */
    /* Opens device number `index` with `threads` CPU threads (0: all). Returns 0 or the native code
     * with a sentence in err; on success the caller closes. */
    int (*open)(int index, int threads, void **device, void **stream, struct thaw_error *err);
    void (*close)(void *device, void *stream);
    /* Which device it is: "NVIDIA A10G (cuda:0)". NULL: there is one, and nothing to say. */
    const char *(*describe)(const void *device);
    /* Whether factors of this type are multiplied natively on the device (NULL: the first). */
    bool (*computes)(const void *device, thaw_dtype dtype);
    /* What a trunk of this type is called where it matters which bits it makes: "fp32", "tf32". */
    const char *(*precision)(thaw_dtype dtype);
    /* All tensors and factors of a trunk are of its type; otherwise thaw_program_set_types mixes.
     */
    bool one_type;
    const thaw_memory *memory;   /* NULL: kernels work on the host's memory. */
    const thaw_head_slots *head; /* NULL: heads are trained by `top`, on the host. */
    /* The library's sentence for a code that run returned; static. */
    const char *(*explain)(int code);
    /* NULL: the library that computes does not tell. Once all steps are prepared. */
    void (*explain_step)(const thaw_step *step, const void *device, thaw_step_plan *plan);
    /* From now on, prepare times the best few kernels of a layer and remembers them in the file at
     * path, whose folder exists. NULL: there is nothing to choose from. Returns 0, or a code with a
     * sentence in err. */
    int (*tune)(void *device, const char *path, struct thaw_error *err);
    const thaw_training_slots *training; /* NULL: only heads are trained. */
    thaw_trunk_slot trunk[THAW_N_STEP_KINDS];
    thaw_top_slots top;
} thaw_kernels;

/* oneDNN and short C loops. Uses as many threads as OpenMP is set to. */
extern const thaw_kernels thaw_cpu_kernels;

/* Our own CUDA kernels. Linked where thaw_gpu_kernels points to it. */
extern const thaw_kernels thaw_cuda_kernels;

/* The same for the GPUs of gpu_models.h, by their number there: plans are made, nothing is run. */
extern const thaw_kernels thaw_cuda_model_kernels;

/* The GPU's tables, or NULL in a build without one: with_cuda.c or without_cuda.c. */
extern const thaw_kernels *const thaw_gpu_kernels;
extern const thaw_kernels *const thaw_gpu_model_kernels;

#ifdef __cplusplus
}
#endif

#endif
