/* One optimizer step over a flat arena: all weights, gradients and moments in one piece each.
 *
 *     adamw:  w -= lr decay w;  m = beta1 m + (1 - beta1) dw;  v = beta2 v + (1 - beta2) dw^2
 *             w -= lr (m / (1 - beta1^step)) / (sqrt(v / (1 - beta2^step)) + eps)
 *     sgd:    v = momentum v + dw + decay w;  w -= lr v
 *
 * float throughout; every value is on its own. Loshchilov and Hutter 2019; PyTorch's SGD. What
 * changes from step to step lies in device memory and is found by the cursor, so that a captured
 * graph of a step can be replayed. Rates and decay may differ from segment to segment of the arena:
 * biases without decay, heads that are trained side by side. A copy of the weights in half
 * precision is written along for the next step's product. Memory-bound: 28 bytes a value and step
 * (AdamW), in accesses of 16. Measured: as part of a whole only. Rejected: a launch for each
 * tensor; moments in half precision.
 */
#include <cuda_runtime.h>

#include <assert.h>
#include <math.h>

#include "common.cuh"
#include "cuda_kernels.h"
#include "top_index.h"

namespace thaw {

enum { OPTIMIZER_THREADS = 256, OPTIMIZER_EACH = 4 };

enum optimizer_kind { ADAMW, SGD };

/* The factors of one value. */
struct update_factors {
    float keep, rate, second, decay; /* adamw; sgd: rate and decay. */
};

template <optimizer_kind KIND>
__device__ inline update_factors factors_of(const thaw_cuda_segment &segment,
                                            const thaw_cuda_step &step) {
    float lr = step.lr * segment.lr_factor;
    if (KIND == SGD) return {1, lr, 1, segment.weight_decay};
    return {1 - lr * segment.weight_decay, step.rate * segment.lr_factor, step.second, 0};
}

/* One value's step. */
template <optimizer_kind KIND>
__device__ inline void update(const thaw_cuda_optimizer &p, const update_factors &f, float g,
                              float &w, float &m, float &v) {
    if (KIND == ADAMW) {
        m = p.beta1 * m + (1 - p.beta1) * g;
        v = p.beta2 * v + (1 - p.beta2) * g * g;
        w = f.keep * w - f.rate * m / (sqrtf(v) * f.second + p.eps);
    } else {
        v = p.momentum * v + g + f.decay * w;
        w -= f.rate * v;
    }
}

/* Four of p's values from i on; those behind the end are zero. */
__device__ inline float4 load4(const float *from, int64_t i, int64_t n) {
    if (i + 4 <= n) return *(const float4 *)(from + i);
    float4 x = make_float4(from[i], 0, 0, 0);
    if (i + 1 < n) x.y = from[i + 1];
    if (i + 2 < n) x.z = from[i + 2];
    return x;
}

template <class T>
__device__ inline void store4(T *to, int64_t i, int64_t n, const float (&x)[4]) {
    if (i + 4 <= n) {
        if constexpr (sizeof(T) == 4) {
            *(float4 *)(to + i) = make_float4(x[0], x[1], x[2], x[3]);
        } else {
            *(uint2 *)(to + i) =
                make_uint2(from_float2(T{}, x[0], x[1]), from_float2(T{}, x[2], x[3]));
        }
        return;
    }
    for (int e = 0; e < 3; e++) {
        if (i + e < n) store(to + i + e, x[e]);
    }
}

/* Grid and block: all values in a row. Thread: four values. C: of the copy; float: there is none.
 */
template <optimizer_kind KIND, class C>
__global__ void __launch_bounds__(OPTIMIZER_THREADS) optimizer_kernel(const thaw_cuda_optimizer p) {
    begin_kernel();
    int64_t step = p.cursor ? p.cursor->step : 0;
    if (blockIdx.x == 0 && threadIdx.x == 0 && p.cursor) p.cursor->next = step + 1;
    int64_t i = ((int64_t)blockIdx.x * OPTIMIZER_THREADS + threadIdx.x) * OPTIMIZER_EACH;
    if (i >= p.n || is_stopped(p.stopped)) return;
    float4 w4 = load4(p.w, i, p.n), g4 = load4(p.dw, i, p.n), v4 = load4(p.v, i, p.n), m4 = {};
    if (KIND == ADAMW) m4 = load4(p.m, i, p.n);
    float w[4] = {w4.x, w4.y, w4.z, w4.w}, g[4] = {g4.x, g4.y, g4.z, g4.w};
    float v[4] = {v4.x, v4.y, v4.z, v4.w}, m[4] = {m4.x, m4.y, m4.z, m4.w};
    thaw_cuda_step scalars = p.steps[step];
    int at = segment_of(p.segments, p.n_segments, i);
    thaw_cuda_segment segment = p.segments[at];
    update_factors f = factors_of<KIND>(segment, scalars);
#pragma unroll
    for (int e = 0; e < 4; e++) {
        if (i + e >= segment.end && i + e < p.n) { /* Segments end anywhere. */
            segment = p.segments[segment_of(p.segments, p.n_segments, i + e)];
            f = factors_of<KIND>(segment, scalars);
        }
        update<KIND>(p, f, g[e], w[e], m[e], v[e]);
    }
    store4(p.w, i, p.n, w);
    store4(p.v, i, p.n, v);
    if (KIND == ADAMW) store4(p.m, i, p.n, m);
    if (!std::is_same<C, float>::value) store4((C *)p.w_copy, i, p.n, w);
}

template <optimizer_kind KIND>
static int launch_optimizer(thaw_cuda_launch *launch, const char *name,
                            const thaw_cuda_optimizer &p) {
    uint64_t addresses = (uintptr_t)p.w | (uintptr_t)p.dw | (uintptr_t)p.v | (uintptr_t)p.w_copy |
                         (KIND == ADAMW ? (uintptr_t)p.m : 0);
    assert(p.n > 0 && p.n_segments > 0 && widest_access(addresses) == 16);
    (void)addresses;
    dim3 grid((unsigned)ceil_div(p.n, OPTIMIZER_THREADS * OPTIMIZER_EACH));
    return with_type(p.w_copy ? p.copy_dtype : THAW_F32, [&](auto type) {
        return launch_kernel(launch, name, optimizer_kernel<KIND, decltype(type)>, grid,
                             OPTIMIZER_THREADS, 0, p);
    });
}

}  // namespace thaw

using namespace thaw;

thaw_cuda_step cuda_step_scalars(float lr, float beta1, float beta2, int64_t step) {
    return {lr, (float)(lr / (1 - pow(beta1, (double)step))),
            (float)(1 / sqrt(1 - pow(beta2, (double)step)))};
}

int cuda_adamw(thaw_cuda_launch *launch, const thaw_cuda_optimizer *p) {
    return launch_optimizer<ADAMW>(launch, "adamw", *p);
}

int cuda_sgd(thaw_cuda_launch *launch, const thaw_cuda_optimizer *p) {
    return launch_optimizer<SGD>(launch, "sgd", *p);
}
