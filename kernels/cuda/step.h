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
    void *constants[3];    /* Device memory: what the pointers above point to. */
    const thaw_step *step; /* The step itself. */
};

/* A dense layer is a 1x1 convolution of one pixel. */
thaw_conv_shape shape_of(const thaw_step *step);

/* As thaw_kernels has it; explain.cu. */
void explain_step(const thaw_step *step, const void *device, thaw_step_plan *plan);

}  // namespace thaw

#endif
