/* One optimizer step over a flat arena: all weights, gradients and moments in one piece each.
 *
 *     adamw:  w -= lr decay w;  m = beta1 m + (1 - beta1) dw;  v = beta2 v + (1 - beta2) dw^2
 *             w -= lr (m / (1 - beta1^step)) / (sqrt(v / (1 - beta2^step)) + eps)
 *     sgd:    v = momentum v + dw + decay w;  w -= lr v
 *
 * float throughout; every value is on its own. Loshchilov and Hutter 2019; PyTorch's SGD. What
 * changes from step to step lies in device memory, so that a captured graph of a step can be
 * replayed: `steps` holds the scalars of each step, *step says which is next. decay holds for
 * values before n_decayed (weights), not behind (biases). Memory-bound: 28 bytes a value and step
 * (AdamW). Measured: on no GPU yet. Rejected: a launch for each tensor; moments in half precision.
 */
#include <cuda_runtime.h>

#include "common.cuh"
#include "cuda_kernels.h"
#include "index.h"

namespace thaw {

enum { OPTIMIZER_THREADS = 256 };

/* Grid and block: all values in a row. Thread: one value; neighbours share their sectors. */
__global__ void __launch_bounds__(OPTIMIZER_THREADS) adamw_kernel(const thaw_cuda_optimizer p) {
    int64_t i = (int64_t)blockIdx.x * OPTIMIZER_THREADS + threadIdx.x;
    if (i >= p.n) return;
    thaw_cuda_step s = p.steps[*p.step];
    float g = p.dw[i], w = p.w[i];
    float m = p.beta1 * p.m[i] + (1 - p.beta1) * g, v = p.beta2 * p.v[i] + (1 - p.beta2) * g * g;
    float keep = i < p.n_decayed ? 1 - s.lr * p.weight_decay : 1;
    p.m[i] = m;
    p.v[i] = v;
    p.w[i] = keep * w - s.rate * m / (sqrtf(v) * s.second + p.eps);
}

__global__ void __launch_bounds__(OPTIMIZER_THREADS) sgd_kernel(const thaw_cuda_optimizer p) {
    int64_t i = (int64_t)blockIdx.x * OPTIMIZER_THREADS + threadIdx.x;
    if (i >= p.n) return;
    float w = p.w[i], decay = i < p.n_decayed ? p.weight_decay : 0;
    float v = p.momentum * p.v[i] + p.dw[i] + decay * w;
    p.v[i] = v;
    p.w[i] = w - p.steps[*p.step].lr * v;
}

/* One thread: the next launch of a graph is the next step's. */
__global__ void next_step_kernel(uint32_t *step) {
    *step += 1;
}

}  // namespace thaw

using namespace thaw;

int cuda_adamw(thaw_cuda_launch *launch, const thaw_cuda_optimizer *p) {
    return launch_kernel(launch, "adamw", adamw_kernel,
                         dim3((unsigned)ceil_div(p->n, OPTIMIZER_THREADS)), OPTIMIZER_THREADS, 0,
                         *p);
}

int cuda_sgd(thaw_cuda_launch *launch, const thaw_cuda_optimizer *p) {
    return launch_kernel(launch, "sgd", sgd_kernel,
                         dim3((unsigned)ceil_div(p->n, OPTIMIZER_THREADS)), OPTIMIZER_THREADS, 0,
                         *p);
}

int cuda_next_step(thaw_cuda_launch *launch, uint32_t *step) {
    return launch_kernel(launch, "next_step", next_step_kernel, dim3(1), 1, 0, step);
}
