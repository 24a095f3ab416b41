/* LayerNorm over the channels of each pixel, as in ConvNeXt.
 *
 *     y[m,c] = (x[m,c] - mean) / sqrt(variance + eps) * gamma[c] + beta[c]
 *     gradient, with z the normalised x and g = dy gamma, means over a pixel's channels:
 *     dx = (g - mean of g - z mean of g z) / sqrt(variance + eps);  z's mean and scale for norm.cu
 *
 * x, y: NHWC, channels padded to 8; gamma, beta: float [Cp]. Mean and variance (the biased one) in
 * float, the variance from the differences to the mean, not from squares. ONNX LayerNormalization
 * (opset 17), axis = -1. A warp a pixel: three walks over its channels, of which the second and
 * third hit L1. Sums in a fixed order. Measured: as part of a whole only.
 */
#include <cuda_runtime.h>

#include "common.cuh"
#include "cuda_kernels.h"
#include "index.h"
#include "reduce.cuh"

namespace thaw {

enum { NORM_WARPS = 8 };

/* Sum over the pixel's channels of f(x). */
template <class T, class F>
__device__ inline float sum_channels(const T *row, int64_t C, int lane, F f) {
    float sum = 0;
    for (int64_t c = lane * 8; c < C; c += 32 * 8) {
        float8 x = load8(row + c);
        for (int e = 0; e < 8; e++)
            sum += c + e < C ? f(x.v[e]) : 0;
    }
    return warp_sum(sum);
}

/* Grid: 8 pixels a block. Warp: a pixel. Lane: every 32nd vector of 8 channels. */
template <class T>
__global__ void __launch_bounds__(NORM_WARPS * 32)
    layer_norm_kernel(const T *x, const float *gamma, const float *beta, T *y, int64_t pixels,
                      int64_t C, int64_t Cp, float eps) {
    begin_kernel();
    int64_t m = (int64_t)blockIdx.x * NORM_WARPS + threadIdx.x / 32;
    int lane = (int)threadIdx.x % 32;
    if (m >= pixels) return;
    const T *row = x + m * Cp;
    float mean = sum_channels(row, C, lane, [](float f) { return f; }) / (float)C;
    float variance =
        sum_channels(row, C, lane, [&](float f) { return (f - mean) * (f - mean); }) / (float)C;
    float scale = rsqrtf(variance + eps);
    for (int64_t c = lane * 8; c < Cp; c += 32 * 8) {
        float8 f = load8(row + c), g = load8(gamma + c), b = load8(beta + c);
        for (int e = 0; e < 8; e++)
            f.v[e] = (f.v[e] - mean) * scale * g.v[e] + b.v[e];
        zero_padding(f, (int)(C - c));
        store8(y + m * Cp + c, f);
    }
}

/* As above. dx may be missing: then only the pixel's mean and scale are told. */
template <class T>
__global__ void __launch_bounds__(NORM_WARPS * 32)
    layer_norm_gradient_kernel(const T *x, const T *dy, const float *gamma, T *dx, float2 *stats,
                               int64_t pixels, int64_t C, int64_t Cp, float eps) {
    begin_kernel();
    int64_t m = (int64_t)blockIdx.x * NORM_WARPS + threadIdx.x / 32;
    int lane = (int)threadIdx.x % 32;
    if (m >= pixels) return;
    const T *row = x + m * Cp;
    float mean = sum_channels(row, C, lane, [](float f) { return f; }) / (float)C;
    float variance =
        sum_channels(row, C, lane, [&](float f) { return (f - mean) * (f - mean); }) / (float)C;
    float scale = rsqrtf(variance + eps), first = 0, second = 0;
    if (lane == 0) stats[m] = make_float2(mean, scale);
    if (!dx) return;
    /* gamma and dy are zero in the padding. */
    for (int64_t c = lane * 8; c < Cp; c += 32 * 8) {
        float8 f = load8(row + c), g = load8(gamma + c), d = load8(dy + m * Cp + c);
        for (int e = 0; e < 8; e++) {
            first += d.v[e] * g.v[e];
            second += d.v[e] * g.v[e] * (f.v[e] - mean) * scale;
        }
    }
    first = warp_sum(first) / (float)C;
    second = warp_sum(second) / (float)C;
    for (int64_t c = lane * 8; c < Cp; c += 32 * 8) {
        float8 f = load8(row + c), g = load8(gamma + c), d = load8(dy + m * Cp + c);
        for (int e = 0; e < 8; e++)
            f.v[e] = scale * (d.v[e] * g.v[e] - first - (f.v[e] - mean) * scale * second);
        zero_padding(f, (int)(C - c));
        store8(dx + m * Cp + c, f);
    }
}

}  // namespace thaw

using namespace thaw;

int cuda_layer_norm_gradient(thaw_cuda_launch *launch, int64_t pixels, int64_t C, float eps,
                             thaw_dtype dtype, const void *x, const void *dy, const float *gamma,
                             void *dx, float2 *stats) {
    return with_training_type(dtype, [&](auto type) {
        using T = decltype(type);
        return launch_kernel(launch, "layer_norm_gradient", layer_norm_gradient_kernel<T>,
                             dim3((unsigned)ceil_div(pixels, NORM_WARPS)), NORM_WARPS * 32, 0,
                             (const T *)x, (const T *)dy, gamma, (T *)dx, stats, pixels, C,
                             padded_channels(C), eps);
    });
}

int cuda_layer_norm(thaw_cuda_launch *launch, int64_t pixels, int64_t C, float eps,
                    thaw_dtype dtype, const void *x, const float *gamma, const float *beta,
                    void *y) {
    return with_type(dtype, [&](auto type) {
        using T = decltype(type);
        return launch_kernel(launch, "layer_norm", layer_norm_kernel<T>,
                             dim3((unsigned)ceil_div(pixels, NORM_WARPS)), NORM_WARPS * 32, 0,
                             (const T *)x, gamma, beta, (T *)y, pixels, C, padded_channels(C), eps);
    });
}
