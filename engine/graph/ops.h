/* One row an operator: everything that Thaw knows of it. */
#ifndef THAW_OPS_H
#define THAW_OPS_H

#include "graph.h"

struct thaw_lowering;

typedef struct thaw_op {
    const char *type; /* ONNX's name, default domain, opsets 7 to 22. */
    /* Sets the shapes of the outputs, or their data when it can be known without pixels. */
    thaw_status (*infer)(thaw_graph *graph, thaw_node *node, thaw_error *err);
    /* Appends the node to a trunk program. NULL: only constants and aliases go through here. */
    thaw_status (*lower)(struct thaw_lowering *lowering, const thaw_node *node, thaw_error *err);
    /* Gradient for training above a cut; NULL: the node can only be frozen. */
    thaw_status (*backward)(struct thaw_lowering *lowering, const thaw_node *node, thaw_error *err);
    uint32_t params; /* Bit i: input i is trained when it is constant. */
    int64_t (*flop)(const thaw_graph *graph, const thaw_node *node); /* NULL: one an output. */
} thaw_op;

/* The row for an operator, NULL when there is none. domain "" and "ai.onnx" are the default. */
const thaw_op *thaw_op_find(const char *domain, const char *type);

/* All rows, in order; n receives the count. */
const thaw_op *thaw_op_table(int *n);

/* Window of Conv, MaxPool and AveragePool with its pads resolved (auto_pad, SAME_*), and the output
 * size. R, S come from kernel_shape or from the weights (conv). */
thaw_status thaw_op_window(const thaw_graph *graph, const thaw_node *node, thaw_window *window,
                           int64_t *P, int64_t *Q, thaw_error *err);

/* Clip's bounds, Relu's included; false when they are not constants. */
bool thaw_op_clip(const thaw_graph *graph, const thaw_node *node, float *low, float *high);

/* Axes of a reduction, (un)squeeze: attribute or second input. Normalised to 0..rank-1, ascending.
 * Returns how many (at most THAW_MAX_RANK), -1 when they are not constant or out of range. */
int thaw_op_axes(const thaw_graph *graph, const thaw_node *node, int rank, int axes[THAW_MAX_RANK]);

/* Pad's eight numbers (top, left, bottom, right of the window); fails unless constant zeros. */
thaw_status thaw_op_pads(const thaw_graph *graph, const thaw_node *node, thaw_window *window,
                         thaw_error *err);

#endif
