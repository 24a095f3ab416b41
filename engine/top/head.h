/* The head: one or two dense layers on feature rows, and the scaling of features before them.
 *
 *   linear: logits = W z + b          hidden: logits = W2 dropout(relu(W1 z + b1)) + b2
 *   z = (x - mean) * scale, folded into the first layer when training is over
 *
 * Scaling. Features of a pooled CNN differ in spread by a factor of ten, and how many there are
 * and how large depends on the network. Each is centred and divided by the square root of its
 * standard deviation: half way between leaving the spreads alone, where one huge feature would hide
 * the others, and making all the same, which blows up those that hardly vary and scores less. A
 * constant one becomes 0. Then all are multiplied by one number, so that the mean of |z|^2 over the
 * rows is THAW_HEAD_NORM2: curvature and regularisation mean the same for every network, and so do
 * the defaults of learning rate and weight decay.
 */
#ifndef THAW_HEAD_H
#define THAW_HEAD_H

#include "arena.h"
#include "dense.h"
#include "enum.h"
#include "kernels.h"
#include "label_sets.h"
#include "rng.h"
#include "status.h"

enum {
    THAW_HEAD_MAX_LAYERS = 2,
    THAW_HEAD_NORM2 = 1024, /* As if there were 1024 features of variance 1. */
};

#define THAW_HEAD_KIND_LIST(X)    \
    X(THAW_HEAD_LINEAR, "linear") \
    X(THAW_HEAD_HIDDEN, "hidden")
typedef enum thaw_head_kind { THAW_HEAD_KIND_LIST(THAW_ENUM_VALUE) } thaw_head_kind;

typedef struct thaw_layer {
    int64_t D, K; /* In, out. */
    float *w;     /* K, D */
    float *b;     /* K */
} thaw_layer;

/* Where training rows come from: memory or disk. */
typedef struct thaw_rows {
    int64_t n, D;
    /* Copies the M rows that index names to out[M,D]. Called from one thread; takes no memory. */
    thaw_status (*gather)(void *ctx, const int64_t *index, int64_t M, float *out, thaw_error *err);
    void *ctx;
    const int32_t *label;        /* n, the caller's. */
    const thaw_label_sets *sets; /* What labels stand for; NULL: for the class itself. */
    thaw_dtype stored; /* THAW_F16: every feature is a number of half precision; or THAW_F32. */
} thaw_rows;

typedef struct thaw_head {
    int n_layers; /* 1: linear, 2: hidden. */
    thaw_layer layers[THAW_HEAD_MAX_LAYERS];
    float *params; /* All weights and biases in one piece: w, b, w, b. */
    int64_t n_params;
    bool sigmoid;        /* Of its scores; otherwise softmax. */
    float *mean, *scale; /* D of layers[0]; NULL: folded, the head takes raw features. */
    double temperature;  /* By which the last layer was divided. */
    int64_t n_constant;  /* Features that are the same in every row that the scale was set from. */
} thaw_head;

/* A head of K classes on D features, in the arena; hidden = 0: linear. The hidden layer starts
 * uniform in +-1/sqrt(THAW_HEAD_NORM2), PyTorch's bound with |z|^2 in place of the fan-in, the last
 * layer at zero: every class is as likely as another, whatever the seed. mean = 0, scale = 1.
 * ERR_NOMEM. */
thaw_status thaw_head_init(thaw_head *head, int64_t D, int64_t hidden, int64_t K, uint64_t seed,
                           thaw_arena *arena, thaw_error *err);

/* Sets mean, scale and n_constant from the rows, in two passes in row order, in double. buffer holds
 * M rows, index M numbers. Fails as gather does, and with ERR_DATA when a feature is not finite. */
thaw_status thaw_head_fit_scale(thaw_head *head, const thaw_rows *rows, int64_t M, int64_t *index,
                                float *buffer, thaw_arena *arena, thaw_error *err);

/* x[M,D] from features to z in place; nothing when folded. */
void thaw_head_scale(const thaw_head *head, int64_t M, float *x);

/* Leaves out hidden units in training: rate of them, drawn from rng. */
typedef struct thaw_dropout {
    thaw_rng rng;
    float rate;
} thaw_dropout;

/* logits[M,K] from z[M,D], which thaw_head_scale has made, or from raw features when folded.
 * hidden[M,hidden]: receives the hidden layer after relu and dropout; NULL when linear.
 * dropout: NULL outside of training. Returns the kernels' code. */
int thaw_head_forward(const thaw_head *head, const thaw_top_slots *top, int64_t M, const float *z,
                      thaw_dropout *dropout, float *hidden, float *logits);

/* The layers of a folded head as serving and ONNX have them, pointing into the head; returns how
 * many. */
int thaw_head_layers(const thaw_head *head, thaw_dense layers[THAW_HEAD_MAX_LAYERS]);

/* Folds mean and scale into the first layer, in double: from then on it takes raw features. */
void thaw_head_fold(thaw_head *head);

#endif
