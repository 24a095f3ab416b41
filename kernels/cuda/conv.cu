/* Convolution and dense layers: the kernel of a type of number. */
#include "common.cuh"
#include "cuda_kernels.h"

namespace thaw {

/* conv_kernel.cuh; its instances are in conv_f16.cu, conv_bf16.cu and conv_tf32.cu. */
template <class T>
int launch_conv(thaw_cuda_launch *launch, const thaw_cuda_conv &conv, int sm);

}  // namespace thaw

int cuda_conv(thaw_cuda_launch *launch, const thaw_cuda_conv *conv, int sm) {
    return thaw::with_type(conv->dtype, [&](auto type) {
        return thaw::launch_conv<decltype(type)>(launch, *conv, sm);
    });
}
