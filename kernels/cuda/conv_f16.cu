/* Convolution of half precision. */
#include "conv_kernel.cuh"

template int thaw::launch_conv<thaw::half_t>(thaw_cuda_launch *, const thaw_cuda_conv &, int);
