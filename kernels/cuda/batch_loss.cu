/* The rest of a batch's loss above a cut, whose scores softmax_cross_entropy.cu turns into losses: labels
 * that are sets, second labels of mixup, and what steps sum up to.
 *
 *     sigmoid   p = 1 / (1 + e^-z), w = positive_weight[k]
 *               loss = sum over k of -(w t log p + (1 - t) log(1 - p)),  dz[k] = ((1 - t) p - w t (1 - p)) / norm
 *     mix       loss = share loss + (1 - share) other's, and dz likewise; a share of 1 leaves both alone
 *     sums      loss += sum of loss[m], right += sum of right[m], the first step whose loss is not finite
 *
 * As the CPU's sigmoid_cross_entropy, but in float within a row: log p = min(z, 0) - log(1 + e^-|z|), which no
 * logit is too large for; a NaN makes the row's loss and its own gradient NaN. Sums over a batch in double, by one
 * block, in an order that depends on the number of rows alone.
 *
 * A warp has a row: a batch has a few hundred, so these are launches, not work. Measured: as part of a whole
 * only.
 */
#include <cuda_runtime.h>

#include <assert.h>
#include <math.h>

#include "common.cuh"
#include "cuda_kernels.h"
#include "index.h"
#include "reduce.cuh"

namespace thaw {

enum { LOSS_WARPS = 4, SUM_WARPS = 8, SUM_THREADS = SUM_WARPS * 32 };

/* One class of a row. */
struct class_loss {
    float loss, dz;
};

__device__ inline class_loss sigmoid_loss(float z, float t, float weight, float norm) {
    float small = expf(-fabsf(z)), rest = log1pf(small), sum = 1 + small;
    float p = (z < 0 ? small : 1) / sum, q = (z < 0 ? 1 : small) / sum;
    class_loss c = {0, ((1 - t) * p - weight * t * q) / norm};
    /* An infinite term that does not count is not times zero. */
    if (t > 0) c.loss += weight * t * (rest - fminf(z, 0));
    if (t < 1) c.loss += (1 - t) * (rest + fmaxf(z, 0));
    if (z != z) c.loss = z;
    return c;
}

/* Grid: 4 rows a block. Warp: a row. */
__global__ void __launch_bounds__(LOSS_WARPS * 32)
    sigmoid_loss_kernel(const thaw_cuda_sigmoid_loss p) {
    begin_kernel();
    int64_t m = (int64_t)blockIdx.x * LOSS_WARPS + threadIdx.x / 32;
    if (m >= p.M) return;
    const bool is_row = p.label[m] >= 0;
    float loss = 0;
    bool right = is_row;
    for (int64_t k = threadIdx.x % 32; k < p.K; k += 32) {
        float z = p.logits[m * p.ld + k], t = p.target[m * p.K + k];
        class_loss c = sigmoid_loss(z, t, p.positive_weight ? p.positive_weight[k] : 1, *p.norm);
        loss += c.loss;
        p.dlogits[m * p.ld + k] = is_row ? c.dz : 0;
        right = right && z == z && (z > 0) == (p.own[m * p.K + k] > 0.5f);
    }
    loss = warp_sum(loss);
    right = __all_sync(0xffffffffu, right) != 0;
    if (threadIdx.x % 32 != 0) return;
    p.loss[m] = is_row ? loss : 0;
    p.correct[m] = right;
}

/* The same. */
__global__ void __launch_bounds__(LOSS_WARPS * 32) mix_loss_kernel(const thaw_cuda_mix_loss p) {
    begin_kernel();
    int64_t m = (int64_t)blockIdx.x * LOSS_WARPS + threadIdx.x / 32;
    if (m >= p.M || p.share[m] == 1) return;
    const float share = p.share[m];
    for (int64_t k = threadIdx.x % 32; k < p.K; k += 32) {
        float *dz = p.dlogits + m * p.ld + k;
        *dz = share * *dz + (1 - share) * p.other_dlogits[m * p.ld + k];
    }
    if (threadIdx.x % 32 == 0) p.loss[m] = share * p.loss[m] + (1 - share) * p.other_loss[m];
}

/* One block. Thread: every 256th row. */
__global__ void __launch_bounds__(SUM_THREADS)
    loss_sums_kernel(int64_t M, const float *loss, const uint8_t *correct, const int64_t *step,
                     thaw_loss_sums *sums) {
    begin_kernel();
    double *shared = (double *)shared_memory(); /* [SUM_WARPS] */
    double all = 0, right = 0;
    for (int64_t m = threadIdx.x; m < M; m += SUM_THREADS) {
        all += loss[m];
        right += correct[m];
    }
    all = block_sum<SUM_WARPS>(all, shared);
    right = block_sum<SUM_WARPS>(right, shared);
    if (threadIdx.x != 0 || *step == 0) return;
    sums->loss += all;
    sums->right += (int64_t)right;
    if (!isfinite(all) && sums->bad_step == 0) sums->bad_step = *step;
}

static dim3 grid_of_rows(int64_t M) {
    return dim3((unsigned)ceil_div(M, LOSS_WARPS));
}

}  // namespace thaw

using namespace thaw;

int cuda_sigmoid_loss(thaw_cuda_launch *launch, const thaw_cuda_sigmoid_loss *p) {
    assert(p->M > 0 && p->K > 0 && p->ld >= p->K);
    return launch_kernel(launch, "sigmoid_loss", sigmoid_loss_kernel, grid_of_rows(p->M),
                         LOSS_WARPS * 32, 0, *p);
}

int cuda_mix_loss(thaw_cuda_launch *launch, const thaw_cuda_mix_loss *p) {
    assert(p->M > 0 && p->K > 0 && p->ld >= p->K);
    return launch_kernel(launch, "mix_loss", mix_loss_kernel, grid_of_rows(p->M), LOSS_WARPS * 32,
                         0, *p);
}

int cuda_loss_sums(thaw_cuda_launch *launch, int64_t M, const float *loss, const uint8_t *correct,
                   const int64_t *step, thaw_loss_sums *sums) {
    return launch_kernel(launch, "loss_sums", loss_sums_kernel, dim3(1), SUM_THREADS,
                         SUM_WARPS * sizeof(double), M, loss, correct, step, sums);
}
