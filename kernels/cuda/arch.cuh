/* The architecture that device code is being compiled for, as a constant: 75, 80, 86, 90. */
#ifndef THAW_CUDA_ARCH_CUH
#define THAW_CUDA_ARCH_CUH

namespace thaw {

#ifdef __CUDA_ARCH__
constexpr int ARCH = __CUDA_ARCH__ / 10;
#else
constexpr int ARCH = 80; /* nvcc's host pass, which emits no device code. */
#endif

}  // namespace thaw

#endif
