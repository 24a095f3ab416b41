/* From a graph to a trunk program: a list of fused steps. */
#ifndef THAW_LOWER_H
#define THAW_LOWER_H

#include "graph.h"

/* Where numbers of a step come from: an input of a node, as the step has them or, for the K x C
 * weights of a dense layer, transposed. */
typedef struct thaw_origin {
    bool known; /* Otherwise: from nowhere that could be trained. */
    bool transposed;
    int node, input;
} thaw_origin;

/* Of one step, for training. norm: the BatchNormalization that is part of it; -1: none. A
 * convolution's weights and bias are then those before it. */
typedef struct thaw_step_origins {
    thaw_origin w, b, scale, shift;
    int norm;
} thaw_step_origins;

typedef struct thaw_program {
    thaw_step *steps; /* steps[0] is the import, the last is the export; of a top see below. */
    int n_steps;
    thaw_port *ports;
    int n_ports;
    thaw_step_origins *origins; /* [n_steps] NULL: of a trunk. */
} thaw_program;

/* The program that computes `value` (pooled: its mean over the picture) for `batch` images, with
 * pixels imported as u8 * scale[c] + shift[c]. */
thaw_status thaw_lower(const thaw_graph *graph, int value, bool pooled, int64_t batch,
                       const float *scale, const float *shift, thaw_arena *arena,
                       thaw_program *program, thaw_error *err);

/* The same from what was kept of `from`, a value below: steps[0] is a load, whose output gets float
 * [N, H, W, C]. The other steps are those of thaw_lower above `from` where thaw_lowers_apart says so. */
thaw_status thaw_lower_from(const thaw_graph *graph, int from, int value, bool pooled,
                            int64_t batch, thaw_arena *arena, thaw_program *program,
                            thaw_error *err);

/* Whether no step of the program for `value` does what stands on both sides of `from`: then what is computed
 * from there has the same bits. */
thaw_status thaw_lowers_apart(const thaw_graph *graph, int from, int value, bool pooled,
                              bool *apart, thaw_error *err);

/* The program of what lies between two values, to be trained: steps[0] loads `from`, the last makes
 * `to`, and there is room for THAW_TOP_MORE steps and ports behind it. Nothing melts whose gradient
 * needs what melting hides: activations that can be told from their output stay in epilogues, sums
 * are steps. A BN behind a convolution stays a part of it (origins.norm, the step's own w and b are
 * as before it), but for those from node batch_norms_from on, which are steps. to == from: the load
 * alone. */
enum { THAW_TOP_MORE = 8 };
thaw_status thaw_lower_top(const thaw_graph *graph, int from, int to, int batch_norms_from,
                           int64_t batch, thaw_arena *arena, thaw_program *program,
                           thaw_error *err);

/* Sets the types of all factors and ports for a trunk of precision `compute`.
 *
 * one_type: all of them are `compute`. Otherwise THAW_F32: everything. THAW_BF16: layers multiply
 * in bf16 where its 8 bits do no harm, which is where each output sums over at least 16 channels,
 * so that roundings average out, and an activation follows, so that the result is not the linear
 * stream that all later blocks add to. Tensors stay float, but for those that one such layer hands
 * to others, which would round them anyway. MobileNetV2 on photographs: features' NMSE 4e-5, where
 * bf16 everywhere makes 8e-4, of which the weights of depthwise and of linear 1x1 layers cause
 * 6e-4. */
void thaw_program_set_types(thaw_program *program, thaw_dtype compute, bool one_type);

#endif
