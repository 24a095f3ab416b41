/* Convolution of bfloat16. */
#include "conv_kernel.cuh"

template int thaw::launch_conv<thaw::bf16_t>(thaw_cuda_launch *, const thaw_cuda_conv &, int);
