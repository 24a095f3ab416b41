#include "kernels.h"

const thaw_kernels *const thaw_gpu_kernels = NULL;
const thaw_kernels *const thaw_gpu_model_kernels = NULL;
