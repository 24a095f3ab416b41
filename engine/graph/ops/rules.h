/* What the shape rules of several families ask and say. */
#ifndef THAW_RULES_H
#define THAW_RULES_H

#include "graph/ops.h"

/* "NODE (TYPE): why", ERR_UNSUPPORTED. */
thaw_status thaw__op_refuse(const thaw_node *node, thaw_error *err, const char *why);

/* "NODE (TYPE): shapes do not fit: A and B", ERR_SHAPE. */
thaw_status thaw__op_misfit(const thaw_graph *graph, const thaw_node *node, thaw_error *err);

/* The output, once input 0 is known to have a shape, merged as that; NULL: refused. */
thaw_value *thaw__op_begin(thaw_graph *graph, thaw_node *node, thaw_error *err);

/* The same for an operator that computes from the picture: input 0 is not a constant, has one of
 * the given ranks (bit mask) and its channels are axis 1. */
thaw_value *thaw__op_begin_layer(thaw_graph *graph, thaw_node *node, unsigned ranks,
                                 thaw_error *err);

/* For what treats every channel of every pixel alike, so that their order is no matter. */
thaw_value *thaw__op_begin_pixelwise(thaw_graph *graph, thaw_node *node, thaw_error *err);

/* What has merged dimensions, or none, with an axis for what the batch is multiplied with in its place,
 * 1 where it is not: the file's axis i is i + 1, also of a constant. False: that is one axis too many. */
bool thaw__op_open(const thaw_value *x, thaw_value *opened);
/* y's dimensions and what is merged from such a value, whose axes may have been moved about. False: they
 * are too many. */
bool thaw__op_close(thaw_value *y, const thaw_value *opened);

/* How many axes the file's value has; which of x's one of them is, from -rank on: 0 the batch's, -1: none. */
int thaw__op_rank(const thaw_value *x);
int thaw__op_axis(const thaw_value *x, int64_t axis);

/* Whether the batch of two values of equally many dimensions stands at the same place, with the same. */
bool thaw__op_merged_alike(const thaw_value *a, const thaw_value *b);

/* rank dims to y; they may be y's own. */
void thaw__op_set_shape(thaw_value *y, thaw_dtype dtype, int rank, const int64_t *dims);

/* Whether v (NULL: no) is an int64 constant. */
bool thaw__op_is_ints(const thaw_value *v);

/* Makes the node's output a constant int64 vector (rank 1) or scalar (rank 0) of n numbers, for the
 * caller to fill. These are shapes, which are short; a file that joins them to themselves over and
 * over wants the machine's memory. ERR_UNSUPPORTED: more than 256; ERR_NOMEM. */
thaw_status thaw__op_make_ints(thaw_graph *graph, thaw_node *node, int rank, int64_t n,
                               int64_t **out, thaw_error *err);

/* Axes of a reduction, (un)squeeze: attribute or second input, as the file counts them. Normalised to
 * 0..rank-1, ascending.
 * Returns how many (at most THAW_MAX_RANK), -1 when they are not constant or out of range. */
int thaw__op_axes(const thaw_graph *graph, const thaw_node *node, int rank,
                  int axes[THAW_MAX_RANK]);

/* The rule of what leaves the shape of input 0, a float map or vector, as it is. */
thaw_status thaw__op_infer_unary(thaw_graph *graph, thaw_node *node, thaw_error *err);

/* 2 n each, or the largest number. */
int64_t thaw__op_multiply_adds(int64_t n, int64_t each);

/* The cost of what looks once at each element of its input. */
int64_t thaw__op_flop_input(const thaw_graph *graph, const thaw_node *node);

#endif
