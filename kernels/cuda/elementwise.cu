/* Operations on each element: an activation alone, sums, products, and a scale and shift.
 *
 *     act:     y = act(x0)                  add:  y = act(x0 + x1)        mul:  y = act(x0 * x1)
 *     affine:  y = act(x0 * scale[c] + shift[c])
 *
 * x0, y: NHWC, channels padded to 8. x1: the same shape, or [N,1,1,C] (a squeeze-excite gate),
 * [N,H,W,1] or [N,1,1,1], each padded to 8 channels. scale, shift: float [Cp]. Arithmetic in float.
 * Memory-bound: a thread moves 16 bytes an operand. ONNX Add, Mul (opset 14), with broadcasting.
 * Measured: as part of a whole only.
 */
#include <cuda_runtime.h>

#include "common.cuh"
#include "cuda_kernels.h"
#include "index.h"

namespace thaw {

enum { ELEMENT_THREADS = 256 };

enum element_op { OP_ACT, OP_ADD, OP_MUL, OP_AFFINE };

struct element_params {
    const void *x0, *x1;
    const float *scale, *shift;
    void *y;
    int64_t total; /* Vectors of 8 channels. */
    int64_t C;
    int vectors;                 /* Of a pixel. */
    bool one_pixel, one_channel; /* x1 has H = W = 1; C = 1. */
    divisor by_vectors, by_pixels;
    thaw_act act;
    float a, b;
};

/* x1 for vector i, which is vector v of pixel `pixel`. */
template <class T>
__device__ inline float8 operand8(const element_params &p, uint32_t i, uint32_t pixel, uint32_t v) {
    const T *x1 = (const T *)p.x1;
    if (!p.one_pixel && !p.one_channel) return load8(x1 + (int64_t)i * 8);
    int64_t row = p.one_pixel ? divide(pixel, p.by_pixels) : pixel;
    if (!p.one_channel) return load8(x1 + (row * p.vectors + v) * 8);
    float8 one = load8(x1 + row * CHANNELS);
    for (int e = 1; e < 8; e++)
        one.v[e] = one.v[0];
    return one;
}

/* Grid and block: all vectors of y in a row. Thread: 8 channels of one pixel. */
template <class T, element_op OP>
__global__ void __launch_bounds__(ELEMENT_THREADS) element_kernel(const element_params p) {
    begin_kernel();
    int64_t at = (int64_t)blockIdx.x * ELEMENT_THREADS + threadIdx.x;
    if (at >= p.total) return;
    uint32_t i = (uint32_t)at, pixel = divide(i, p.by_vectors), v = i - pixel * p.by_vectors.d;
    float8 x = load8((const T *)p.x0 + at * 8), other, shift;
    if (OP == OP_ADD || OP == OP_MUL) other = operand8<T>(p, i, pixel, v);
    if (OP == OP_AFFINE) {
        other = load8(p.scale + v * 8);
        shift = load8(p.shift + v * 8);
    }
#pragma unroll
    for (int e = 0; e < 8; e++) {
        float f = x.v[e];
        if (OP == OP_ADD) f += other.v[e];
        if (OP == OP_MUL) f *= other.v[e];
        if (OP == OP_AFFINE) f = f * other.v[e] + shift.v[e];
        x.v[e] = f;
    }
    activate8(p.act, p.a, p.b, x);
    zero_padding(x, (int)p.C - (int)v * 8);
    store8((T *)p.y + at * 8, x);
}

template <element_op OP>
static int launch_element(thaw_cuda_launch *launch, const char *name,
                          const thaw_cuda_elementwise &e) {
    element_params p = {};
    p.x0 = e.x0;
    p.x1 = e.x1;
    p.scale = e.scale;
    p.shift = e.shift;
    p.y = e.y;
    p.C = e.C;
    p.vectors = (int)(padded_channels(e.C) / 8);
    p.total = e.N * e.H * e.W * p.vectors;
    p.one_pixel = e.x1_one_pixel && e.H * e.W > 1;
    p.one_channel = e.x1_one_channel && e.C > 1;
    p.by_vectors = make_divisor((uint32_t)p.vectors);
    p.by_pixels = make_divisor((uint32_t)(e.H * e.W));
    p.act = e.act;
    p.a = e.a;
    p.b = e.b;
    dim3 grid((unsigned)ceil_div(p.total, ELEMENT_THREADS));
    return with_type(e.dtype, [&](auto type) {
        return launch_kernel(launch, name, element_kernel<decltype(type), OP>, grid,
                             ELEMENT_THREADS, 0, p);
    });
}

}  // namespace thaw

using namespace thaw;

int cuda_act(thaw_cuda_launch *launch, const thaw_cuda_elementwise *e) {
    return launch_element<OP_ACT>(launch, "act", *e);
}

int cuda_add(thaw_cuda_launch *launch, const thaw_cuda_elementwise *e) {
    return launch_element<OP_ADD>(launch, "add", *e);
}

int cuda_mul(thaw_cuda_launch *launch, const thaw_cuda_elementwise *e) {
    return launch_element<OP_MUL>(launch, "mul", *e);
}

int cuda_affine(thaw_cuda_launch *launch, const thaw_cuda_elementwise *e) {
    return launch_element<OP_AFFINE>(launch, "affine", *e);
}
