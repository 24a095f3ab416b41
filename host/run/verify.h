/* A network's numbers held against what another program made of the same input. */
#ifndef THAW_VERIFY_H
#define THAW_VERIFY_H

#include "npy.h"
#include "onnx/onnx_read.h"
#include "trunk/backend.h"

/* How far two tensors of one shape are from each other. */
typedef struct thaw_distance {
    double
        nmse; /* sum (got - want)^2 / sum want^2; infinite where only one of the two is not finite. */
    double largest; /* Of |got - want|. */
    int64_t at;     /* Which number that is, counted from 0. */
    int64_t
        n_apart; /* Numbers of which only one of the two is finite, or which are other infinities. */
} thaw_distance;

/* want, got: n numbers. */
thaw_distance thaw_distance_of(int64_t n, const float *want, const float *got);

/* Reads the model at path for an input of this shape, [N, C, H, W] or [N, H, W, C] as the model takes it:
 * where the file leaves height and width open, the input's count. at: NULL, or what is wanted in place of
 * the model's output: an output, any tensor or node, a stage or the index of a cut. Free the model also after
 * an error. ERR_SHAPE: the model takes another shape; ERR_USAGE: there is no `at`; what thaw_model_open and
 * thaw_graph_set_output say. */
thaw_status thaw_verify_open(thaw_model *model, const char *path, const char *at,
                             const thaw_npy *input, thaw_error *err);

/* What the model makes of the input, in fp32 on the CPU: *numbers in the arena, in the order of the
 * output's ONNX shape, [N, ...]. ERR_UNSUPPORTED, ERR_NOMEM, ERR_BACKEND. */
thaw_status thaw_verify_run(thaw_model *model, const thaw_npy *input, thaw_backend *cpu,
                            thaw_arena *arena, float **numbers, thaw_error *err);

#endif
