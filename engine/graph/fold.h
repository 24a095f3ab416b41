/* What does not depend on the picture is computed at import: operators on constants.
 *
 * A constant is float or int64; bool is int64, 0 or 1. Arithmetic on floats is ONNX's, each result
 * rounded to float; sums are in double, rounded once. The free batch, THAW_BATCH, goes through what
 * moves numbers, and through arithmetic that makes a multiple of it or only asks whether it is some
 * other number.
 */
#ifndef THAW_FOLD_H
#define THAW_FOLD_H

#include "graph.h"

/* Of a row: computes all outputs of a node whose inputs are constants. */
typedef thaw_status thaw_fold_function(thaw_graph *graph, thaw_node *node, thaw_error *err);

typedef struct thaw_fold {
    const char *type; /* ONNX's name, default domain, opsets 7 to 26. */
    thaw_fold_function *compute;
    /* Of the families: one element. Float gives double to be rounded; int false where it has no
     * result. Either may be NULL: not of this type. test: the result is a truth. */
    double (*real1)(double), (*real2)(double, double);
    bool (*whole1)(int64_t, int64_t *), (*whole2)(int64_t, int64_t, int64_t *);
    bool test;
} thaw_fold;

/* The row for an operator; NULL: it is not computed on constants. */
const thaw_fold *thaw__fold_find(const char *type);

/* Computes the node if it has a row and all its inputs are constants: *done. */
thaw_status thaw__fold_node(thaw_graph *graph, thaw_node *node, bool *done, thaw_error *err);

/* Constants that depend on a picture's number in the batch. done: the node makes such a one. */
thaw_status thaw__fold_places(thaw_graph *graph, thaw_node *node, bool *done, thaw_error *err);

/* ---- for the rows --------------------------------------------------------------------------- */

/* Makes output i a constant of this type and shape, for the caller to fill. ERR_UNSUPPORTED: there
 * is no room for so many bytes (thaw_graph.fold_room), or one is the batch's size; ERR_NOMEM. */
thaw_status thaw__fold_make(thaw_graph *graph, thaw_node *node, int i, thaw_dtype dtype, int rank,
                            const int64_t *dims, void **data, thaw_error *err);

/* An axis from -rank to rank - 1 made 0 to rank - 1; -1: it is neither. */
int thaw__fold_axis(int64_t axis, int rank);

/* The numbers of an attribute or of an int64 constant that has taken its place; NULL: absent. */
const int64_t *thaw__fold_ints(const thaw_graph *graph, const thaw_node *node, const char *name,
                               int input, int64_t *n);

/* Numpy's broadcast of two shapes: its rank; -1: they do not fit. */
int thaw__fold_broadcast(int rank_a, const int64_t *a, int rank_b, const int64_t *b,
                         int64_t dims[THAW_MAX_RANK]);

/* Elements of a dense tensor between two neighbours along each axis, seen as one of shape `dims`
 * that it is broadcast to: 0 where it has size 1. */
void thaw__fold_strides(const thaw_value *v, int rank, int64_t strides[THAW_MAX_RANK]);

/* A walk over all places of a shape, last axis fastest, and where each lies in up to three tensors. */
typedef struct thaw_fold_walk {
    int rank;
    const int64_t *dims;
    int64_t at[THAW_MAX_RANK];
    int64_t strides[3][THAW_MAX_RANK], offset[3];
} thaw_fold_walk;
void thaw__fold_next(thaw_fold_walk *walk);

/* ---- the families: ops/fold_*.c ------------------------------------------------------------- */

/* clang-format off */
#define THAW_FOLD_FUNCTIONS(X) \
    X(unary) X(binary) X(many) X(mean) X(where) X(clip) X(cast) X(same) X(dequantize) \
    X(concat) X(constant_of_shape) X(expand) X(flatten) X(gather) X(pad) X(range) X(size) \
    X(slice) X(split) X(tile) X(transpose) \
    X(reduce_max) X(reduce_min) X(reduce_mean) X(reduce_sum) X(reduce_prod) X(reduce_l1) \
    X(reduce_l2) X(reduce_sum_square) X(matmul) X(batch_norm)
/* clang-format on */
#define X(name) thaw_fold_function thaw__fold_##name;
THAW_FOLD_FUNCTIONS(X)
#undef X

#endif
