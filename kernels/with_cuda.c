#include "kernels.h"

const thaw_kernels *const thaw_gpu_kernels = &thaw_cuda_kernels;
const thaw_kernels *const thaw_gpu_model_kernels = &thaw_cuda_model_kernels;
