/* From a graph to a trunk program: a list of fused steps. */
#ifndef THAW_LOWER_H
#define THAW_LOWER_H

#include "graph.h"

typedef struct thaw_program {
    thaw_step *steps; /* steps[0] is the import, the last is the export. */
    int n_steps;
    thaw_port *ports;
    int n_ports;
} thaw_program;

/* The program that computes `value` (pooled: its mean over the picture) for `batch` images, with
 * pixels imported as u8 * scale[c] + shift[c]. */
thaw_status thaw_lower(const thaw_graph *graph, int value, bool pooled, int64_t batch,
                       const float *scale, const float *shift, thaw_arena *arena,
                       thaw_program *program, thaw_error *err);

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
