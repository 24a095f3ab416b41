/* The hidden units of a head, between its two products.
 *
 *     y = relu(y) dropped out        dy = dy scale where y > 0, else 0
 *
 * In place. Dropout draws from Philox4x32-10 by counters, as base/rng.c does (and its source is named there), so that a
 * head that is trained here leaves out the units that the CPU's would. Measured: not yet.
 */
#include <cuda_runtime.h>

#include <assert.h>

#include "common.cuh"
#include "cuda_kernels.h"
#include "index.h"

namespace thaw {

enum { HIDDEN_THREADS = 256, HIDDEN_EACH = 4 }; /* Philox gives four numbers a counter. */

struct hidden_params {
    thaw_cuda_hidden h;
    divisor by_row; /* Forward of H units, backward of ld numbers. */
};

/* As thaw_philox. */
__device__ inline void philox(uint64_t seed, uint64_t stream, uint64_t counter, uint32_t (&c)[4]) {
    uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
    c[0] = (uint32_t)counter;
    c[1] = (uint32_t)(counter >> 32);
    c[2] = (uint32_t)stream;
    c[3] = (uint32_t)(stream >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++) {
        uint64_t a = UINT64_C(0xD2511F53) * c[0], b = UINT64_C(0xCD9E8D57) * c[2];
        uint32_t next0 = (uint32_t)(b >> 32) ^ c[1] ^ key0;
        uint32_t next2 = (uint32_t)(a >> 32) ^ c[3] ^ key1;
        c[0] = next0;
        c[1] = (uint32_t)b;
        c[2] = next2;
        c[3] = (uint32_t)a;
        key0 += 0x9E3779B9;
        key1 += 0xBB67AE85;
    }
}

/* Grid and block: all units of all rows, in a row. Thread: four of them, those of one counter. */
__global__ void __launch_bounds__(HIDDEN_THREADS) hidden_forward_kernel(const hidden_params p) {
    begin_kernel();
    const thaw_cuda_hidden &h = p.h;
    const int64_t thread = (int64_t)blockIdx.x * HIDDEN_THREADS + threadIdx.x;
    uint32_t drawn[4] = {};
    if (h.rate > 0)
        philox(h.seed, h.stream + (uint64_t)(*h.first_step + h.cursor->step), (uint64_t)thread,
               drawn);
#pragma unroll
    for (int e = 0; e < HIDDEN_EACH; e++) {
        int64_t i = thread * HIDDEN_EACH + e;
        if (i >= h.M * h.H) return;
        uint32_t m = divide((uint32_t)i, p.by_row), k = (uint32_t)i - m * p.by_row.d;
        float *y = h.y + m * h.ld + k, x = *y < 0 ? 0 : *y; /* A NaN stays one. */
        bool out = h.rate > 0 && (float)(drawn[e] >> 8) * 0x1p-24f < h.rate;
        *y = out ? 0 : x * h.scale;
        if (k + 1 == h.H) y[1] = 1;
    }
}

/* Grid and block: all of dy in a row. */
__global__ void __launch_bounds__(HIDDEN_THREADS)
    hidden_backward_kernel(const hidden_params p, float *dy) {
    begin_kernel();
    const int64_t i = (int64_t)blockIdx.x * HIDDEN_THREADS + threadIdx.x;
    if (i >= p.h.M * p.h.ld) return;
    uint32_t k = (uint32_t)i - divide((uint32_t)i, p.by_row) * p.by_row.d;
    bool passes = k < p.h.H && p.h.y[i] > 0;
    dy[i] = passes ? dy[i] * p.h.scale : 0;
}

static hidden_params make_params(const thaw_cuda_hidden &h, int64_t row) {
    assert(h.M > 0 && h.H > 0 && h.ld > h.H && h.M * h.ld <= INT32_MAX);
    return {h, make_divisor((uint32_t)row)};
}

}  // namespace thaw

using namespace thaw;

int cuda_hidden_forward(thaw_cuda_launch *launch, const thaw_cuda_hidden *h) {
    dim3 grid((unsigned)ceil_div(h->M * h->H, HIDDEN_THREADS * HIDDEN_EACH));
    return launch_kernel(launch, "hidden_forward", hidden_forward_kernel, grid, HIDDEN_THREADS, 0,
                         make_params(*h, h->H));
}

int cuda_hidden_backward(thaw_cuda_launch *launch, const thaw_cuda_hidden *h, float *dy) {
    dim3 grid((unsigned)ceil_div(h->M * h->ld, HIDDEN_THREADS));
    return launch_kernel(launch, "hidden_backward", hidden_backward_kernel, grid, HIDDEN_THREADS, 0,
                         make_params(*h, h->ld), dy);
}
