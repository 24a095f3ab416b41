/* Products of two maps, channel by channel: each channel of a picture is a matrix.
 *
 *     y[n,i,k,c] = sum over j of a[n,i,j,c] b[n,j,k,c]
 *
 * a: [N,H,J,Cp], b: [N,J,W,Cp], y: [N,H,W,Cp], channels padded to 8. ONNX MatMul 13 of four dimensions. The
 * channels, an attention's heads, lie innermost, so these are as many small products side by side: no tensor
 * cores, a thread sums 8 of them and walks along j; its neighbours share a and read b's neighbours. In the
 * networks that have it this is a hundredth of the arithmetic. Sums in float, j ascending. Measured: not yet.
 */
#include <cuda_runtime.h>

#include "common.cuh"
#include "cuda_kernels.h"
#include "index.h"

namespace thaw {

enum { MATMUL_THREADS = 128 };

/* Thread: 8 channels of one number of y. */
template <class T>
__global__ void __launch_bounds__(MATMUL_THREADS)
    matmul_kernel(const T *a, const T *b, T *y, int64_t total, int64_t J, int64_t W,
                  divisor by_vectors, divisor by_W, divisor by_H) {
    begin_kernel();
    int64_t t = (int64_t)blockIdx.x * MATMUL_THREADS + threadIdx.x;
    if (t >= total) return;
    uint32_t pixel = divide((uint32_t)t, by_vectors), row = divide(pixel, by_W);
    uint32_t n = divide(row, by_H);
    int64_t Cp = (int64_t)by_vectors.d * 8, c = t * 8 - (int64_t)pixel * Cp;
    int64_t k = pixel - row * by_W.d;
    const T *left = a + (int64_t)row * J * Cp + c;
    const T *right = b + ((int64_t)n * J * W + k) * Cp + c;
    float8 sum = {};
    for (int64_t j = 0; j < J; j++)
        add_products8(sum, load8(left + j * Cp), load8(right + j * W * Cp));
    store8(y + t * 8, sum);
}

}  // namespace thaw

using namespace thaw;

int cuda_matmul(thaw_cuda_launch *launch, int64_t N, int64_t H, int64_t J, int64_t W, int64_t C,
                thaw_dtype dtype, const void *a, const void *b, void *y) {
    int64_t vectors = padded_channels(C) / 8, total = N * H * W * vectors;
    return with_type(dtype, [&](auto type) {
        using T = decltype(type);
        return launch_kernel(
            launch, "matmul", matmul_kernel<T>, dim3((unsigned)ceil_div(total, MATMUL_THREADS)),
            MATMUL_THREADS, 0, (const T *)a, (const T *)b, (T *)y, total, J, W,
            make_divisor((uint32_t)vectors), make_divisor((uint32_t)W), make_divisor((uint32_t)H));
    });
}
