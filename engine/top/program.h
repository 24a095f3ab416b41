/* The top as a program: the layers above a cut and the head, forwards and backwards.
 *
 * A batch goes through in lanes of a few pictures each, side by side, each with one thread and memory
 * of its own; gradients of lanes are added in the lanes' order. So a step's bits do not depend on the
 * number of threads, a lane's activations stay in the processor's cache, and memory does not grow
 * with the batch: at most as many lanes are under way as there are threads.
 *
 * On a device there is one lane after the other. Pictures, masks and labels go there, and nothing needs to come
 * back: the loss is computed there, too. What is done with the gradient is optimize.h's.
 *
 * Gradients stop at the lowest layer that is trained: what lies below it has a forward pass only.
 */
#ifndef THAW_TOP_PROGRAM_H
#define THAW_TOP_PROGRAM_H

#include "head.h"
#include "params.h"
#include "trunk/backend.h"

typedef struct thaw_top thaw_top;

typedef struct thaw_held thaw_held; /* Rows that a device has; held.h. */

/* What a step multiplies, and what activations and their gradients are stored as: floats, floats whose
 * factors a device rounds to 10 bits of mantissa, bfloat16. Weights, their gradients, sums and scores are
 * float. A processor has the first, a device the others if it computes THAW_BF16. */
#define THAW_TOP_PRECISION_LIST(X) \
    X(THAW_TOP_FP32, "fp32")       \
    X(THAW_TOP_TF32, "tf32")       \
    X(THAW_TOP_BF16, "bf16")
typedef enum thaw_top_precision { THAW_TOP_PRECISION_LIST(THAW_ENUM_VALUE) } thaw_top_precision;

typedef struct thaw_top_spec {
    const thaw_graph *graph;
    int from, to; /* Values: at the cut, and what the head reads. */
    bool pooled;  /* The head reads the mean over height and width of `to`. */
    thaw_norm norm;
    int first_trained; /* The first node of the graph that is trained; n_nodes: the head alone. */
    const thaw_head *head; /* Its scale, its layers and their values. */
    /* Share of what the head reads, and of its hidden units, that each step of training leaves out
     * (Srivastava et al. 2014); the rest is scaled up. 0: none. */
    float dropout, hidden_dropout;
    int64_t lane;   /* Pictures of a lane. */
    int most_lanes; /* Of a batch that is trained on: more instances are not made. */
    thaw_top_precision precision;
} thaw_top_spec;

typedef struct thaw_top_size {
    int64_t D, F, K;         /* Features of a picture at the cut and before the head, scores. */
    int instances;           /* Lanes that can be under way. */
    size_t activation_bytes; /* Of one: activations, gradients and workspace. */
    size_t gradient_bytes;   /* Of one: of the weights. */
    int64_t n_params;
    int n_steps, n_backward;
    int n_graphs; /* Ways through the program that a device has recorded so far, each as one graph. */
} thaw_top_size;

/* OK when all that lies between two values can be trained with these kernels; ERR_UNSUPPORTED with the
 * node that can not. */
thaw_status thaw_top_check(const thaw_graph *graph, int from, int to, const thaw_kernels *kernels,
                           thaw_error *err);

/* The backend's kernels have training slots. Graph and backend outlive the top, the head need not.
 * ERR_UNSUPPORTED: an operation without gradient, named with its node, or shared weights; ERR_NOMEM;
 * ERR_BACKEND. */
thaw_status thaw_top_create(thaw_top **top, const thaw_top_spec *spec, const thaw_backend *backend,
                            thaw_error *err);
void thaw_top_free(thaw_top *top); /* NULL: nothing. */

thaw_top_size thaw_top_measure(const thaw_top *top);

/* What is trained. Whoever changes the values calls thaw_top_update before the next pass. */
thaw_params *thaw_top_params(thaw_top *top);
thaw_status thaw_top_update(thaw_top *top, thaw_error *err);

/* A batch of M pictures. x[M, D] must have room for whole lanes; what is behind M is overwritten. */
typedef struct thaw_top_batch {
    int64_t M;
    float *x; /* Or, on a device, rows that it holds: */
    const thaw_held *held;
    const int64_t *row; /* [M] */
    const int32_t *label;
    const int32_t *other; /* NULL, or mixup's second labels, */
    const float *share;   /* with the first one's share of each picture. */
    /* [M, K]; then scores are sigmoids, and labels, others and smoothing have no part. NULL: softmax. */
    const float *target;
    const float *own; /* [M, K] Where `target` mixes two, the first one's; NULL: that is target. */
    const float *class_weight; /* NULL: ones. Beside targets, positive_weight. */
    float smoothing;
    float norm;       /* What the sum of losses is divided by. */
    thaw_rng dropout; /* Decides what is left out, each picture by its place in the batch. */
    float *logits; /* NULL, or [M, K] receives the scores; of thaw_top_train on the host alone. */
    float *loss;   /* NULL, or [M]; not of thaw_top_train. */
} thaw_top_batch;

/* gradient[n of params] = that of the sum of losses / norm, in the segments' layout. */
thaw_status thaw_top_gradient(thaw_top *top, const thaw_top_batch *batch, float *gradient,
                              thaw_error *err);

/* The same in two calls, the second of which may be left out: the gradient stays where it was computed. */
thaw_status thaw_top_backward(thaw_top *top, const thaw_top_batch *batch, thaw_error *err);
thaw_status thaw_top_read_gradient(thaw_top *top, float *gradient, thaw_error *err);

/* THAW_NORM_FULL: running statistics follow those of the batch that the last gradient was of. */
void thaw_top_follow(thaw_top *top, float momentum);

/* logits[M, K] alone, with running statistics. */
thaw_status thaw_top_forward(thaw_top *top, int64_t M, float *x, float *logits, thaw_error *err);

/* The same of rows that the device holds. */
thaw_status thaw_top_forward_held(thaw_top *top, int64_t M, const thaw_held *held,
                                  const int64_t *row, float *logits, thaw_error *err);

/* out[M, n_features]: what the head reads, before its scale. */
thaw_status thaw_top_features(thaw_top *top, int64_t M, float *x, float *out, thaw_error *err);

#endif
