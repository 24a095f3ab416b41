/* Softmax, cross-entropy against a smoothed label, the gradient and the score, row by row.
 *
 *     p = softmax(z), t[k] = (1 - s) [k = label] + s / K, W = class_weight[label]
 *     loss = W (log sum e^(z - max) - sum t (z - max))        dz[k] = W (p[k] - t[k]) / norm
 *     correct = no class before the label has a logit as large, none behind it a larger one
 *
 * z, dz: float [M][K], row-major and dense; dz may be z. Sums in float, in a fixed order. A NaN
 * among the logits makes loss and gradient NaN, and the row not correct. As the CPU's twin of the
 * same name.
 *
 * Up to 1024 classes: a warp a row, which stays in registers: one read, one write. More: a block a
 * row and three walks, of which the later ones hit L1 or L2. Rejected: the online maximum (Milakov
 * and Gimelshein 2018), since a row of 40 KB or less is cached anyhow. Measured: on no GPU yet.
 */
#include <cuda_runtime.h>

#include "common.cuh"
#include "cuda_kernels.h"
#include "index.h"
#include "reduce.cuh"

namespace thaw {

enum { ROW_WARPS = 4, WIDE_WARPS = 8, MOST_IN_REGISTERS = 1024 };

/* What a row's walk finds out. */
struct row_sums {
    float max, sum, linear; /* Of e^(z - max) and of z - max. */
    float own;              /* label's z - max */
    int before;             /* Classes that are chosen rather than the label. */
};

__device__ inline bool is_chosen(float z, int64_t k, float own, int64_t label) {
    return !(z < own || (z == own && k >= label)); /* NaN is chosen, and so the row is wrong. */
}

__device__ inline void finish_row(const thaw_cuda_loss &p, int64_t m, const row_sums &r,
                                  float weight) {
    float share = p.smoothing / (float)p.K;
    float loss = logf(r.sum) - (1 - p.smoothing) * r.own;
    if (share > 0) loss -= share * r.linear; /* linear can be infinite: not times zero. */
    p.loss[m] = weight * loss;
    if (p.correct) p.correct[m] = r.before == 0 ? 1 : 0;
}

/* dz[k] from e^(z[k] - max). */
__device__ inline float gradient(float e, float inverse, float share, float scale, float smoothing,
                                 bool own) {
    float d = scale * (e * inverse - share);
    return own ? d - scale * (1 - smoothing) : d;
}

/* Grid: 4 rows a block. Warp: a row. Lane: every 32nd class, EACH of them in registers. */
template <int EACH>
__global__ void __launch_bounds__(ROW_WARPS * 32) loss_kernel(const thaw_cuda_loss p) {
    int64_t m = (int64_t)blockIdx.x * ROW_WARPS + threadIdx.x / 32;
    int lane = (int)threadIdx.x % 32;
    if (m >= p.M) return;
    const float *row = p.logits + m * p.K;
    int64_t label = p.label[m];
    float weight = p.class_weight ? p.class_weight[label] : 1, own = row[label];
    float z[EACH], max = -INFINITY;
    int before = 0;
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        int64_t k = lane + 32 * i;
        z[i] = k < p.K ? row[k] : -INFINITY;
        max = fmaxf(max, z[i]);
        if (k < p.K && k != label) before += is_chosen(z[i], k, own, label);
    }
    max = warp_max(max);
    float sum = 0, linear = 0;
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        if (lane + 32 * i >= p.K) continue;
        linear += z[i] - max;
        z[i] = expf(z[i] - max);
        sum += z[i];
    }
    row_sums r = {max, warp_sum(sum), warp_sum(linear), own - max,
                  (int)warp_sum((float)before) + (own != own)};
    float scale = weight / *p.norm;
    if (lane == 0) finish_row(p, m, r, weight);
    if (!p.dlogits) return;
    float share = p.smoothing / (float)p.K, inverse = 1 / r.sum;
    __syncwarp(); /* All have read the label's logit, which dz may overwrite. */
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        int64_t k = lane + 32 * i;
        if (k < p.K)
            p.dlogits[m * p.K + k] = gradient(z[i], inverse, share, scale, p.smoothing, k == label);
    }
}

/* Grid: rows. Block: a row. Thread: every 256th class. */
__global__ void __launch_bounds__(WIDE_WARPS * 32) loss_wide_kernel(const thaw_cuda_loss p) {
    const int STEP = WIDE_WARPS * 32;
    float *shared = (float *)shared_memory();
    int64_t m = blockIdx.x, first = threadIdx.x;
    const float *row = p.logits + m * p.K;
    int64_t label = p.label[m];
    float weight = p.class_weight ? p.class_weight[label] : 1, own = row[label];
    float max = -INFINITY;
    int before = 0;
    for (int64_t k = first; k < p.K; k += STEP) {
        float z = row[k];
        max = fmaxf(max, z);
        if (k != label) before += is_chosen(z, k, own, label);
    }
    max = block_max<WIDE_WARPS>(max, shared);
    float sum = 0, linear = 0;
    for (int64_t k = first; k < p.K; k += STEP) {
        linear += row[k] - max;
        sum += expf(row[k] - max);
    }
    /* The barriers in here also order the read of `own` before the label's gradient. */
    row_sums r = {max, block_sum<WIDE_WARPS>(sum, shared), block_sum<WIDE_WARPS>(linear, shared),
                  own - max, (int)block_sum<WIDE_WARPS>((float)before, shared) + (own != own)};
    float scale = weight / *p.norm, share = p.smoothing / (float)p.K, inverse = 1 / r.sum;
    if (first == 0) finish_row(p, m, r, weight);
    for (int64_t k = first; p.dlogits && k < p.K; k += STEP) {
        p.dlogits[m * p.K + k] =
            gradient(expf(row[k] - max), inverse, share, scale, p.smoothing, k == label);
    }
}

/* ---- launcher ------------------------------------------------------------------------------- */

template <int EACH>
static int launch_rows(thaw_cuda_launch *launch, const thaw_cuda_loss &p) {
    return launch_kernel(launch, "loss", loss_kernel<EACH>,
                         dim3((unsigned)ceil_div(p.M, ROW_WARPS)), ROW_WARPS * 32, 0, p);
}

}  // namespace thaw

using namespace thaw;

int cuda_loss(thaw_cuda_launch *launch, const thaw_cuda_loss *p) {
    if (p->K <= 32) return launch_rows<1>(launch, *p);
    if (p->K <= 128) return launch_rows<4>(launch, *p);
    if (p->K <= MOST_IN_REGISTERS) return launch_rows<MOST_IN_REGISTERS / 32>(launch, *p);
    return launch_kernel(launch, "loss_wide", loss_wide_kernel, dim3((unsigned)p->M),
                         WIDE_WARPS * 32, WIDE_WARPS * sizeof(float), *p);
}
