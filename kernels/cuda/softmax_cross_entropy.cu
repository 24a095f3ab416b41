/* Softmax, cross-entropy against a smoothed label, the gradient and the score, row by row.
 *
 *     p = softmax(z), t[k] = (1 - s) [k = label] + s / K, W = class_weight[label]
 *     loss = W (log sum e^(z - max) - sum t (z - max))        dz[k] = W (p[k] - t[k]) / norm
 *     correct = no class before the label has a logit as large, none behind it a larger one
 *
 * z: float [M][K]; dz: the same, or half or bf16 for a product of them; both with any row stride.
 * dz may be z. Sums in float, in an order that depends on K and on whether rows are aligned. A NaN
 * among the logits makes loss and gradient NaN, and the row not correct; -inf is a probability of
 * zero. As the CPU's twin of the same name.
 *
 * Up to 1024 classes: a warp a row, which stays in registers: one read, one write. More: a block a
 * row and two walks; the first keeps maximum and sum at once (Milakov and Gimelshein 2018), the
 * second hits L1 or L2. It moves 16 bytes at a time where all rows are aligned. Rejected: a scalar
 * head and tail for rows that are not, since a row's bits would depend on its place; the caller
 * rounds ld up. Measured: as part of a whole only.
 */
#include <cuda_runtime.h>

#include <assert.h>
#include <float.h>

#include "common.cuh"
#include "cuda_kernels.h"
#include "reduce.cuh"
#include "top_index.h"

namespace thaw {

enum { ROW_WARPS = 4, WIDE_WARPS = 8, WIDE_THREADS = WIDE_WARPS * 32, MOST_IN_REGISTERS = 1024 };

/* What a row is multiplied by and compared with. */
struct row_target {
    int label;
    int64_t at; /* The row's place among the epoch's. */
    float weight, norm;
};

/* A label that is none: the row is one, but its loss is NaN. */
__device__ inline row_target target_of(const thaw_cuda_loss &p, int64_t m) {
    int label = p.label[m];
    int64_t step = p.cursor ? p.cursor->step : 0;
    row_target t = {label, step * p.M + m, 1, p.norm[step]};
    if (label >= p.K) t.weight = NAN;
    if (label >= 0 && label < p.K && p.class_weight) t.weight = p.class_weight[label];
    return t;
}

/* Whether class k is chosen rather than the label, whose logit is own. NaN always is. */
__device__ inline bool is_chosen(float z, int k, float own, int label) {
    return k != label && !(z < own || (z == own && k > label));
}

/* linear: the sum of z - max. It can be infinite, so it is not multiplied by zero. */
__device__ inline float loss_of(const thaw_cuda_loss &p, const row_target &t, float max, float sum,
                                float own, float linear) {
    float share = p.smoothing / (float)p.K, loss = logf(sum) - (1 - p.smoothing) * (own - max);
    return t.weight * (share > 0 ? loss - share * linear : loss);
}

/* dz[k] from e^(z[k] - max) and 1 / sum of these. */
__device__ inline float gradient(const thaw_cuda_loss &p, const row_target &t, float e,
                                 float inverse, int k) {
    float scale = t.weight / t.norm, d = e * inverse - p.smoothing / (float)p.K;
    return scale * (k == t.label ? d - (1 - p.smoothing) : d);
}

/* For one thread of the row. */
__device__ inline void write_row(const thaw_cuda_loss &p, const row_target &t, float loss,
                                 bool correct) {
    p.loss[t.at] = loss;
    if (p.correct) p.correct[t.at] = correct;
}

/* ---- a row in a warp's registers ------------------------------------------------------------ */

/* Grid: 4 rows a block. Warp: a row. Lane: every 32nd class, EACH of them in registers. */
template <class U, int EACH>
__global__ void __launch_bounds__(ROW_WARPS * 32) loss_kernel(const thaw_cuda_loss p) {
    begin_kernel();
    int64_t m = (int64_t)blockIdx.x * ROW_WARPS + threadIdx.x / 32;
    int lane = (int)threadIdx.x % 32, K = (int)p.K;
    if (m >= p.M) return;
    /* From pointers with the lane in them the 32 addresses are constants: 60 registers fewer. */
    const float *row = p.logits + m * p.logits_ld + lane;
    float z[EACH], max = -FLT_MAX;
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        int k = lane + 32 * i;
        z[i] = k < K ? row[32 * i] : -INFINITY;
        max = fmaxf(max, z[i]);
    }
    row_target t = target_of(p, m);
    bool is_row = t.label >= 0;
    max = warp_max(max);
    float own = -INFINITY; /* Sent by the lane that has it: dz may overwrite its place. */
#pragma unroll
    for (int i = 0; i < EACH; i++)
        own = lane + 32 * i == t.label ? z[i] : own;
    own = __shfl_sync(0xffffffffu, own, t.label & 31);
    float sum = 0, linear = 0;
    bool beaten = own != own || t.label >= K; /* NaN may be the one class. */
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        int k = lane + 32 * i;
        if (k >= K) continue;
        beaten |= is_chosen(z[i], k, own, t.label);
        linear += z[i] - max;
        z[i] = expf(z[i] - max);
        sum += z[i];
    }
    sum = warp_sum(sum);
    linear = warp_sum(linear);
    beaten = __any_sync(0xffffffffu, beaten) != 0;
    if (lane == 0)
        write_row(p, t, is_row ? loss_of(p, t, max, sum, own, linear) : 0, is_row && !beaten);
    if (!p.dlogits) return;
    U *dz = (U *)p.dlogits + m * p.dlogits_ld + lane;
    float inverse = 1 / sum;
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        int k = lane + 32 * i;
        if (k < K) store(dz + 32 * i, is_row ? gradient(p, t, z[i], inverse, k) : 0);
    }
}

/* ---- a row in a block ----------------------------------------------------------------------- */

template <int N>
struct few {
    float v[N];
};

__device__ inline few<1> load_few(few<1>, const float *from) {
    return {{*from}};
}

__device__ inline few<4> load_few(few<4>, const float *from) {
    float4 x = *(const float4 *)from;
    return {{x.x, x.y, x.z, x.w}};
}

template <class U>
__device__ inline void store_few(U *to, const few<1> &x) {
    store(to, x.v[0]);
}

template <class U>
__device__ inline void store_few(U *to, const few<4> &x) {
    *(uint2 *)to = make_uint2(from_float2(U{}, x.v[0], x.v[1]), from_float2(U{}, x.v[2], x.v[3]));
}

__device__ inline void store_few(float *to, const few<4> &x) {
    *(float4 *)to = make_float4(x.v[0], x.v[1], x.v[2], x.v[3]);
}

/* f(few<N>{}, k) for the thread's classes k ... k + N - 1: N = EACH as long as that many are left,
 * then one by one. */
template <int EACH, class F>
__device__ inline void walk_classes(int64_t K, F f) {
    int64_t whole = K / EACH * EACH;
    for (int64_t k = (int64_t)threadIdx.x * EACH; k < whole; k += WIDE_THREADS * EACH)
        f(few<EACH>{}, k);
    if (EACH > 1 && whole + threadIdx.x < K) f(few<1>{}, whole + threadIdx.x);
}

/* What the first walk finds. */
struct row_sums {
    float max, sum, own;
    bool beaten;
};

/* The same in all threads. The maximum starts at the lowest finite float: -inf - -inf is NaN. */
template <int EACH>
__device__ inline row_sums sum_row(const thaw_cuda_loss &p, const row_target &t, const float *z,
                                   float *shared) {
    bool has_own = t.label >= 0 && t.label < p.K;
    row_sums r = {-FLT_MAX, 0, has_own ? z[t.label] : -INFINITY, false};
    float beaten = has_own ? 0 : 1;
    walk_classes<EACH>(p.K, [&](auto type, int64_t k) {
        auto some = load_few(type, z + k);
        for (float f : some.v) {
            if (f > r.max) {
                r.sum *= expf(r.max - f);
                r.max = f;
            }
            r.sum += expf(f - r.max);
            if (is_chosen(f, (int)k++, r.own, t.label)) beaten = 1;
        }
    });
    float max = block_max<WIDE_WARPS>(r.max, shared);
    /* Only sums are exchanged, which come out the same in all lanes. */
    r.sum = block_sum<WIDE_WARPS>(r.sum * expf(r.max - max), shared);
    r.max = max;
    r.beaten = block_sum<WIDE_WARPS>(beaten, shared) > 0;
    return r;
}

/* Grid: rows. Block: a row. Thread: every 256th EACH classes. */
template <class U, int EACH>
__global__ void __launch_bounds__(WIDE_THREADS) loss_wide_kernel(const thaw_cuda_loss p) {
    begin_kernel();
    float *shared = (float *)shared_memory();
    int64_t m = blockIdx.x;
    const float *z = p.logits + m * p.logits_ld;
    row_target t = target_of(p, m);
    bool is_row = t.label >= 0;
    /* The barriers in here also order the read of the label's logit before its gradient. */
    row_sums r = sum_row<EACH>(p, t, z, shared);
    float inverse = 1 / r.sum, linear = 0;
    if (p.dlogits || p.smoothing > 0) {
        U *dz = p.dlogits ? (U *)p.dlogits + m * p.dlogits_ld : NULL;
        walk_classes<EACH>(p.K, [&](auto type, int64_t k) {
            auto some = load_few(type, z + k);
            int at = (int)k;
            for (float &f : some.v) {
                linear += f - r.max;
                f = is_row ? gradient(p, t, expf(f - r.max), inverse, at) : 0;
                at++;
            }
            if (dz) store_few(dz + k, some);
        });
        linear = block_sum<WIDE_WARPS>(linear, shared);
    }
    if (threadIdx.x == 0) {
        write_row(p, t, is_row ? loss_of(p, t, r.max, r.sum, r.own, linear) : 0,
                  is_row && !r.beaten);
    }
}

/* ---- launcher ------------------------------------------------------------------------------- */

template <class U>
static int launch_loss(thaw_cuda_launch *launch, const thaw_cuda_loss &p) {
    if (p.K <= MOST_IN_REGISTERS) {
        auto kernel = p.K <= 128 ? loss_kernel<U, 4> : loss_kernel<U, MOST_IN_REGISTERS / 32>;
        return launch_kernel(launch, "loss", kernel, dim3((unsigned)ceil_div(p.M, ROW_WARPS)),
                             ROW_WARPS * 32, 0, p);
    }
    bool aligned = widest_access((uint64_t)((uintptr_t)p.logits | (uintptr_t)p.dlogits)) == 16 &&
                   p.logits_ld % 4 == 0 && p.dlogits_ld % 4 == 0;
    return launch_kernel(launch, "loss_wide",
                         aligned ? loss_wide_kernel<U, 4> : loss_wide_kernel<U, 1>,
                         dim3((unsigned)p.M), WIDE_THREADS, WIDE_WARPS * sizeof(float), p);
}

}  // namespace thaw

using namespace thaw;

int cuda_loss(thaw_cuda_launch *launch, const thaw_cuda_loss *p) {
    assert(p->M > 0 && p->K > 0 && p->K <= INT32_MAX && p->logits_ld >= p->K);
    assert(!p->dlogits || p->dlogits_ld >= p->K);
    assert(p->dlogits != p->logits ||
           (p->dlogits_dtype == THAW_F32 && p->dlogits_ld == p->logits_ld));
    return with_type(p->dlogits_dtype,
                     [&](auto type) { return launch_loss<decltype(type)>(launch, *p); });
}
