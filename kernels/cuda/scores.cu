/* What a classifier got right: counts of hits and the confusion matrix.
 *
 *     choice = the class with the largest logit, the lowest of equal ones
 *     before = classes with a larger logit than the label's, or as large and of a lower number
 *     n_top1 += before == 0    n_topk += before < k    confusion[label, choice] += 1
 *
 * logits: float [M][K] with any row stride. Integer atomics, so the counts do not depend on an
 * order. A row that holds a NaN is wrong, whatever else it holds, and chooses no class: as
 * thaw_metrics_add, whose twin this is. A warp a row. Measured: as part of a whole only.
 */
#include <cuda_runtime.h>

#include <assert.h>

#include "common.cuh"
#include "cuda_kernels.h"
#include "index.h"
#include "reduce.cuh"

namespace thaw {

enum { SCORE_WARPS = 4 };

/* The best class that a lane has seen. */
struct best_class {
    float z;
    int64_t k;
};

__device__ inline best_class better(const best_class &a, const best_class &b) {
    return b.z > a.z || (b.z == a.z && b.k < a.k) ? b : a;
}

/* For one lane of the row. */
__device__ inline void count_row(const thaw_cuda_scores &p, int64_t label, bool is_nan,
                                 int64_t before, int64_t choice) {
    atomicAdd(&p.counts->n, 1ull);
    if (p.support) atomicAdd(p.support + label, 1ull);
    if (is_nan) {
        atomicAdd(&p.counts->n_nan, 1ull);
        return;
    }
    if (before == 0) atomicAdd(&p.counts->n_top1, 1ull);
    if (before < p.k) atomicAdd(&p.counts->n_topk, 1ull);
    if (p.confusion) atomicAdd(p.confusion + label * p.K + choice, 1ull);
}

/* Grid: 4 rows a block. Warp: a row. Lane: every 32nd class. */
__global__ void __launch_bounds__(SCORE_WARPS * 32) scores_kernel(const thaw_cuda_scores p) {
    begin_kernel();
    int64_t m = (int64_t)blockIdx.x * SCORE_WARPS + threadIdx.x / 32;
    int lane = (int)threadIdx.x % 32;
    if (m >= p.M) return;
    int64_t label = p.label[m];
    if (label < 0 || label >= p.K) return;
    const float *row = p.logits + m * p.ld;
    float own = row[label];
    best_class best = {-INFINITY, p.K};
    int64_t before = 0;
    bool is_nan = false;
#pragma unroll 4
    for (int64_t k = lane; k < p.K; k += 32) {
        float z = row[k];
        best = better(best, {z, k});
        before += z > own || (z == own && k < label);
        is_nan |= z != z;
    }
    for (int with = 16; with > 0; with /= 2) {
        best_class other = {__shfl_xor_sync(0xffffffffu, best.z, with),
                            __shfl_xor_sync(0xffffffffu, best.k, with)};
        best = better(best, other);
    }
    before = warp_sum(before);
    is_nan = __any_sync(0xffffffffu, is_nan) != 0;
    if (lane == 0) count_row(p, label, is_nan, before, best.k);
}

}  // namespace thaw

using namespace thaw;

int cuda_scores(thaw_cuda_launch *launch, const thaw_cuda_scores *p) {
    assert(p->M > 0 && p->K > 0 && p->ld >= p->K);
    return launch_kernel(launch, "scores", scores_kernel,
                         dim3((unsigned)ceil_div(p->M, SCORE_WARPS)), SCORE_WARPS * 32, 0, *p);
}
