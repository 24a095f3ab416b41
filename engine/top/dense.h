/* A trained head as the layers that an ONNX file holds: dense layers, ReLU between, softmax or sigmoid last.
 * What serving computes, whoever trained it. */
#ifndef THAW_DENSE_H
#define THAW_DENSE_H

#include "graph/cuts.h"
#include "trunk/backend.h"

/* y = x w^T + b, then max(y, 0) if relu. */
typedef struct thaw_dense {
    const float *w, *b; /* [K, D], [K]. */
    int64_t K, D;
    bool relu;
    bool sigmoid; /* The last layer's: what stands behind it is no softmax. */
} thaw_dense;

enum { THAW_MAX_DENSE = 8 };

/* The layers above a cut, in order. Weights point into the graph or are made in arena.
 * ERR_UNSUPPORTED: something else than dense layers, ReLU and softmax or sigmoid stands there, or more than
 * THAW_MAX_DENSE. */
thaw_status thaw_dense_read(const thaw_graph *graph, const thaw_cut *cut, thaw_arena *arena,
                            thaw_dense layers[THAW_MAX_DENSE], int *n, thaw_error *err);

/* scores[M, K of the last layer] = softmax, or sigmoid, of the layers over x[M, D of the first]. scratch holds
 * 2 * M * the widest K floats; nothing is allocated. The second one leaves out what is behind the layers. */
thaw_status thaw_dense_scores(const thaw_backend *backend, const thaw_dense *layers, int n,
                              int64_t M, const float *x, float *scratch, float *scores,
                              thaw_error *err);
thaw_status thaw_dense_logits(const thaw_backend *backend, const thaw_dense *layers, int n,
                              int64_t M, const float *x, float *scratch, float *logits,
                              thaw_error *err);

/* The widest layer's K. */
int64_t thaw_dense_widest(const thaw_dense *layers, int n);

#endif
