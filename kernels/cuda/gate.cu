/* The two dense layers of a squeeze-excite gate (Hu et al. 2018) as one kernel.
 *
 *     h[n,m] = act1(b1[m] + sum over c of x[n,c] w1[m,c])
 *     y[n,c] = act2(b2[c] + sum over m of h[n,m] w2[c,m])
 *
 * x: the mean over pixels [N,Cp], y: the gate [N,Cp], both in the storage type and padded to 8; the
 * hidden layer never leaves shared memory. Weights in float, packed as w1 [M][Cp], b1 [M rounded up
 * to 4], w2 transposed [M][Cp], b2 [Cp], zeros in the padding: both layers read along channels.
 * Sums in float, in a fixed order.
 *
 * Apart, the layers are two launches of a few microseconds for next to no work; here a block reads
 * all weights (8 C M bytes, from L2) for 1 or 4 images. Measured: as part of a whole only.
 * Rejected: a warp an output in the second layer (M is 4 to 64: most lanes would idle); a grid over
 * outputs (the hidden layer would be computed again in each block, or go through memory and a
 * second launch).
 */
#include <assert.h>
#include <cuda_runtime.h>
#include <stdio.h>

#include "common.cuh"
#include "cuda_kernels.h"
#include "index.h"
#include "reduce.cuh"

namespace thaw {

enum {
    GATE_THREADS = 512, /* Enough loads under way to draw on L2 with few blocks. */
    GATE_IMAGES = 4, /* Of a block, where images are many: weights are read a quarter as often. */
    GATE_MANY = 128, /* Images that still get a block each: about one a multiprocessor. */
    GATE_SHARED = 48 * 1024,
    /* C M up to which a block reads its weights, at some 64 bytes a clock, in the time of a launch
     * or two: 512 KiB take 5 us. */
    GATE_WEIGHTS = 1 << 16,
};

/* Where the parts of the packed weights begin. */
struct gate_places {
    int64_t b1, w2, b2, count;
};

THAW_PURE gate_places places_of_gate(int64_t C, int64_t M) {
    int64_t Cp = padded_channels(C), b1 = M * Cp, w2 = b1 + ceil_div(M, 4) * 4;
    return {b1, w2, w2 + M * Cp, w2 + M * Cp + Cp};
}

struct gate_params {
    const void *x;
    const float *w;
    void *y;
    int64_t N;
    int C, Cp, M;
    gate_places at;
    thaw_act act1, act2;
    float act1_a, act1_b, act2_a, act2_b;
};

__device__ inline float4 multiply_add(float4 sum, float4 x, float4 w) {
    return make_float4(sum.x + x.x * w.x, sum.y + x.y * w.y, sum.z + x.z * w.z, sum.w + x.w * w.w);
}

/* hidden[i][m] = act1(...) for the block's images, a warp for each m. */
template <int IMAGES>
__device__ inline void first_layer(const gate_params &p, const float *mean, float *hidden) {
    const int lane = (int)threadIdx.x % 32;
    for (int m = (int)threadIdx.x / 32; m < p.M; m += GATE_THREADS / 32) {
        const float *w = p.w + (int64_t)m * p.Cp;
        float4 sums[IMAGES] = {};
#pragma unroll 4
        for (int c = lane * 4; c < p.Cp; c += 32 * 4) {
            float4 one = *(const float4 *)(w + c);
#pragma unroll
            for (int i = 0; i < IMAGES; i++)
                sums[i] = multiply_add(sums[i], *(const float4 *)(mean + i * p.Cp + c), one);
        }
#pragma unroll
        for (int i = 0; i < IMAGES; i++) {
            float sum = warp_sum((sums[i].x + sums[i].y) + (sums[i].z + sums[i].w));
            sum = activate(p.act1, p.act1_a, p.act1_b, sum + p.w[p.at.b1 + m]);
            if (lane == 0) hidden[i * p.M + m] = sum;
        }
    }
}

/* y of the block's images, a thread for each 8 channels of an image. */
template <class T>
__device__ inline void second_layer(const gate_params &p, int64_t n0, int images,
                                    const float *hidden) {
    const int vectors = p.Cp / 8;
    for (int at = (int)threadIdx.x; at < vectors * images; at += GATE_THREADS) {
        int i = at / vectors, c = (at - i * vectors) * 8;
        const float *w = p.w + p.at.w2 + c;
        float8 sum = load8(p.w + p.at.b2 + c);
#pragma unroll 4
        for (int m = 0; m < p.M; m++) {
            float8 one = load8(w + (int64_t)m * p.Cp);
            float h = hidden[i * p.M + m];
#pragma unroll
            for (int e = 0; e < 8; e++)
                sum.v[e] += one.v[e] * h;
        }
        activate8(p.act2, p.act2_a, p.act2_b, sum);
        zero_padding(sum, (int)p.C - c);
        store8((T *)p.y + (n0 + i) * p.Cp + c, sum);
    }
}

/* Grid: IMAGES images a block; shared: their means [IMAGES][Cp] and hidden layers [IMAGES][M]. */
template <class T, int IMAGES>
__global__ void __launch_bounds__(GATE_THREADS, 1) gate_kernel(const gate_params p) {
    begin_kernel();
    float *mean = (float *)shared_memory(), *hidden = mean + IMAGES * p.Cp;
    const int64_t n0 = (int64_t)blockIdx.x * IMAGES;
    const int images = p.N - n0 < IMAGES ? (int)(p.N - n0) : IMAGES;
    for (int at = (int)threadIdx.x * 8; at < IMAGES * p.Cp; at += GATE_THREADS * 8) {
        float8 x = {}; /* Images behind the last one are zeros. */
        if (at < images * p.Cp) x = load8((const T *)p.x + n0 * p.Cp + at);
        store8_shared(mean + at, x);
    }
    __syncthreads(); /* All means are there. */
    first_layer<IMAGES>(p, mean, hidden);
    __syncthreads(); /* All hidden units are there. */
    second_layer<T>(p, n0, images, hidden);
}

}  // namespace thaw

using namespace thaw;

static size_t shared_bytes(int64_t images, int64_t C, int64_t M) {
    return (size_t)(images * (padded_channels(C) + M)) * sizeof(float);
}

const char *cuda_gate_refuses(int64_t C, int64_t M, thaw_cuda_reason *reason) {
    if (C > 0 && M > 0 && C <= GATE_WEIGHTS && M <= GATE_WEIGHTS / C &&
        shared_bytes(1, C, M) <= GATE_SHARED)
        return NULL;
    snprintf(reason->text, sizeof reason->text,
             "a gate of %lld channels and %lld hidden units: at most %d weights a layer and %d "
             "bytes of both in float are taken",
             (long long)C, (long long)M, (int)GATE_WEIGHTS, (int)GATE_SHARED);
    return reason->text;
}

size_t cuda_gate_weight_count(int64_t C, int64_t M) {
    return (size_t)places_of_gate(C, M).count;
}

void cuda_gate_pack(int64_t C, int64_t M, const float *w1, const float *b1, const float *w2,
                    const float *b2, float *packed) {
    gate_places at = places_of_gate(C, M);
    int64_t Cp = padded_channels(C);
    for (int64_t i = 0; i < at.count; i++)
        packed[i] = 0;
    for (int64_t m = 0; m < M; m++) {
        packed[at.b1 + m] = b1 ? b1[m] : 0;
        for (int64_t c = 0; c < C; c++) {
            packed[m * Cp + c] = w1[m * C + c];
            packed[at.w2 + m * Cp + c] = w2[c * M + m];
        }
    }
    for (int64_t c = 0; c < C; c++)
        packed[at.b2 + c] = b2 ? b2[c] : 0;
}

int cuda_gate(thaw_cuda_launch *launch, const thaw_cuda_gate *g) {
    gate_params p = {};
    p.x = g->x;
    p.w = g->w;
    p.y = g->y;
    p.N = g->N;
    p.C = (int)g->C;
    p.Cp = (int)padded_channels(g->C);
    p.M = (int)g->M;
    p.at = places_of_gate(g->C, g->M);
    p.act1 = g->act1;
    p.act1_a = g->a1;
    p.act1_b = g->b1;
    p.act2 = g->act2;
    p.act2_a = g->a2;
    p.act2_b = g->b2;
    bool many = g->N > GATE_MANY && shared_bytes(GATE_IMAGES, g->C, g->M) <= GATE_SHARED;
    int images = many ? GATE_IMAGES : 1;
    size_t bytes = shared_bytes(images, g->C, g->M);
    assert(g->N > 0 && bytes <= GATE_SHARED);
    return with_type(g->dtype, [&](auto type) {
        using T = decltype(type);
        return launch_kernel(launch, "gate", many ? gate_kernel<T, GATE_IMAGES> : gate_kernel<T, 1>,
                             dim3((unsigned)ceil_div(g->N, images)), GATE_THREADS, bytes, p);
    });
}
