/* Softmax over some of each pixel's channels, and its gradient.
 *
 *     y[m,c] = exp(x[m,c] - most) / sum of exp(x[m,k] - most),  k = c % groups, c % groups + groups, ...
 *     dx[m,c] = y[m,c] (dy[m,c] - sum of dy[m,k] y[m,k])
 *
 * x, y: [pixels, Cp], channels padded to 8. ONNX Softmax 13: with groups = 1 over all channels, as attention
 * weighs the places that it looks at; channels k, k + groups, ... are the entries of an axis in front of
 * `groups` others, as of branches that a network weighs against each other. One group: a warp a pixel. More: a
 * thread an entry of these others, whose neighbours read neighbours. Sums in a fixed order. Measured: not yet.
 */
#include <cuda_runtime.h>

#include "common.cuh"
#include "cuda_kernels.h"
#include "index.h"
#include "reduce.cuh"

namespace thaw {

enum { SOFTMAX_THREADS = 256 };

/* LANES: 32, a warp a row; or 1, a thread. Row: channels g, g + groups, ... of a pixel; those who have the
 * pixel's first row write its padding, too. */
template <class T, int LANES>
__global__ void __launch_bounds__(SOFTMAX_THREADS)
    softmax_kernel(const T *x, T *y, int64_t rows, int64_t C, int64_t Cp, int64_t groups) {
    begin_kernel();
    int64_t i = ((int64_t)blockIdx.x * SOFTMAX_THREADS + threadIdx.x) / LANES;
    int lane = (int)threadIdx.x % LANES;
    if (i >= rows) return;
    if (LANES == 32) groups = 1; /* A warp has a pixel: no division. */
    int64_t pixel = LANES == 32 ? i : i / groups, g = i - pixel * groups;
    const T *from = x + pixel * Cp;
    T *to = y + pixel * Cp;
    float most = -INFINITY, sum = 0;
    for (int64_t c = g + lane * groups; c < C; c += LANES * groups)
        most = fmaxf(most, value(from[c]));
    if (LANES == 32) most = warp_max(most);
    for (int64_t c = g + lane * groups; c < C; c += LANES * groups)
        sum += __expf(value(from[c]) - most);
    if (LANES == 32) sum = warp_sum(sum);
    for (int64_t c = g + lane * groups; c < C; c += LANES * groups)
        store(to + c, __expf(value(from[c]) - most) / sum);
    for (int64_t c = C + lane; g == 0 && c < Cp; c += LANES)
        store(to + c, 0);
}

/* Rows and lanes as above. */
template <class T, int LANES>
__global__ void __launch_bounds__(SOFTMAX_THREADS)
    softmax_gradient_kernel(const T *y, const T *dy, T *dx, int64_t rows, int64_t C, int64_t Cp,
                            int64_t groups) {
    begin_kernel();
    int64_t i = ((int64_t)blockIdx.x * SOFTMAX_THREADS + threadIdx.x) / LANES;
    int lane = (int)threadIdx.x % LANES;
    if (i >= rows) return;
    if (LANES == 32) groups = 1;
    int64_t pixel = LANES == 32 ? i : i / groups, g = i - pixel * groups, at = pixel * Cp;
    float sum = 0;
    for (int64_t c = g + lane * groups; c < C; c += LANES * groups)
        sum += value(dy[at + c]) * value(y[at + c]);
    if (LANES == 32) sum = warp_sum(sum);
    for (int64_t c = g + lane * groups; c < C; c += LANES * groups)
        store(dx + at + c, value(y[at + c]) * (value(dy[at + c]) - sum));
    for (int64_t c = C + lane; g == 0 && c < Cp; c += LANES)
        store(dx + at + c, 0);
}

}  // namespace thaw

using namespace thaw;

int cuda_softmax_gradient(thaw_cuda_launch *launch, int64_t pixels, int64_t C, int64_t groups,
                          thaw_dtype dtype, const void *y, const void *dy, void *dx) {
    int64_t rows = pixels * groups, lanes = groups == 1 ? 32 : 1;
    dim3 grid((unsigned)ceil_div(rows * lanes, SOFTMAX_THREADS));
    return with_training_type(dtype, [&](auto type) {
        using T = decltype(type);
        auto kernel = lanes == 32 ? softmax_gradient_kernel<T, 32> : softmax_gradient_kernel<T, 1>;
        return launch_kernel(launch, "softmax_gradient", kernel, grid, SOFTMAX_THREADS, 0,
                             (const T *)y, (const T *)dy, (T *)dx, rows, C, padded_channels(C),
                             groups);
    });
}

int cuda_softmax(thaw_cuda_launch *launch, int64_t pixels, int64_t C, int64_t groups,
                 thaw_dtype dtype, const void *x, void *y) {
    int64_t rows = pixels * groups, lanes = groups == 1 ? 32 : 1;
    dim3 grid((unsigned)ceil_div(rows * lanes, SOFTMAX_THREADS));
    return with_type(dtype, [&](auto type) {
        using T = decltype(type);
        return launch_kernel(
            launch, "softmax", lanes == 32 ? softmax_kernel<T, 32> : softmax_kernel<T, 1>, grid,
            SOFTMAX_THREADS, 0, (const T *)x, (T *)y, rows, C, padded_channels(C), groups);
    });
}
