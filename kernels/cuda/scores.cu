/* What a classifier got right: the confusion matrix and hits among the k largest.
 *
 *     choice(m) = the class with the largest logit, the lowest of equal ones; NaN never wins
 *     confusion[label, choice] += 1        hits += 1 where fewer than k classes go before the label
 *
 * logits: float [M][K]; counts: uint32, integer atomics, so the order does not matter. A row whose
 * label's logit is NaN is a miss. A warp a row. Measured: on no GPU yet.
 */
#include <cuda_runtime.h>

#include "common.cuh"
#include "cuda_kernels.h"
#include "index.h"

namespace thaw {

enum { SCORE_WARPS = 4 };

/* Grid: 4 rows a block. Warp: a row. Lane: every 32nd class. */
__global__ void __launch_bounds__(SCORE_WARPS * 32) scores_kernel(const thaw_cuda_scores p) {
    int64_t m = (int64_t)blockIdx.x * SCORE_WARPS + threadIdx.x / 32;
    int lane = (int)threadIdx.x % 32;
    if (m >= p.M) return;
    const float *row = p.logits + m * p.K;
    int64_t label = p.label[m];
    float own = row[label], best = -INFINITY;
    int choice = 0x7fffffff, ahead = 0;
    for (int64_t k = lane; k < p.K; k += 32) {
        float z = row[k];
        if (z > best || (z == best && (int)k < choice)) {
            best = z;
            choice = (int)k;
        }
        ahead += z > own || (z == own && k < label);
    }
    for (int with = 16; with > 0; with /= 2) {
        float z = __shfl_xor_sync(0xffffffffu, best, with);
        int k = __shfl_xor_sync(0xffffffffu, choice, with);
        if (z > best || (z == best && k < choice)) {
            best = z;
            choice = k;
        }
        ahead += __shfl_xor_sync(0xffffffffu, ahead, with);
    }
    if (lane > 0) return;
    bool known = own == own;
    /* All NaN: no class was chosen; the first one stands for it, and for the label the next. */
    if (choice >= p.K) choice = 0;
    if (!known && choice == label) choice = label == 0 ? (int)p.K - 1 : 0;
    if (p.confusion) atomicAdd(p.confusion + label * p.K + choice, 1u);
    if (known && ahead < p.k) atomicAdd(p.hits, 1u);
}

}  // namespace thaw

using namespace thaw;

int cuda_scores(thaw_cuda_launch *launch, const thaw_cuda_scores *p) {
    return launch_kernel(launch, "scores", scores_kernel,
                         dim3((unsigned)ceil_div(p->M, SCORE_WARPS)), SCORE_WARPS * 32, 0, *p);
}
