/* What a step of a trunk keeps between prepare and run: table.cu fills it, explain.cu tells it. */
#ifndef THAW_CUDA_STEP_H
#define THAW_CUDA_STEP_H

#include "cuda_kernels.h"
#include "device.h"

namespace thaw {

/* In the plan's arena. */
struct step_state {
    int sm;
    bool modelled; /* As the device is. */
    bool needed;   /* Somebody reads the output as a tensor. */
    size_t bytes;  /* What the output takes if it is needed. */
    bool is_import, is_stem, is_depthwise, is_separable, is_dense, is_gate, is_gemm;
    thaw_cuda_conv conv;
    thaw_cuda_gate gate;
    thaw_cuda_depthwise depthwise;
    thaw_cuda_stem stem;
    double measured_us;    /* Of conv's choice, where it was timed; 0: the cost model's. */
    void *constants[4];    /* Device memory: what the pointers above point to. */
    void *layer;           /* Of one that is trained: training.cu's. */
    const thaw_step *step; /* The step itself. */
};

/* A dense layer is a 1x1 convolution of one pixel. */
thaw_conv_shape shape_of(const thaw_step *step);

/* Starts a step that reads its inputs as tensors: its state, and its output's bytes. */
int begin_reading(thaw_step *step, const thaw_plan_context *plan, thaw_error *err);

/* Says that and why the step cannot be computed; returns a code. */
int refuse(const thaw_step *step, thaw_error *err, const char *why);

/* bytes of the host's memory, or zeros where that is NULL, as the step's i-th constant. */
int keep(const thaw_step *step, int i, const void *from, size_t bytes, thaw_error *err);

/* Lets go of the constants. */
void step_release(thaw_step *step);

/* The runtime's code, with kernel and grid in the context's error. */
int finish(int code, const thaw_cuda_launch &launch, const thaw_run_context *context);

/* As thaw_kernels has it; explain.cu. */
void explain_step(const thaw_step *step, const void *device, thaw_step_plan *plan);

}  // namespace thaw

#endif
