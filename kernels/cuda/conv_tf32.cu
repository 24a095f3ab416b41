/* Convolution of float, whose products are of tf32. */
#include "conv_kernel.cuh"

template int thaw::launch_conv<float>(thaw_cuda_launch *, const thaw_cuda_conv &, int);
