/* The first convolution: u8 pixels in, activation out; normalisation, bias, activation and, where
 * it follows, the max pool in the same kernel.
 *
 *     z[n,p,q,k] = act(b[k] + sum over r,s,c of x[n, p stride + r - pad, ..., c] w[k,c,r,s])
 *     x[n,h,w,c] = u8[n,h,w,c] * scale[c] + shift[c], 0 outside of the image
 *     y = z, or the maximum of z over a window (R, S up to 3), what is outside of z left out
 *
 * u8: [N,H,W,C] as decoded, C up to 4. y: [N,P,Q,Kp]. R, S up to 11, strides up to 4, any pads.
 * Scale and shift are folded into weights and bias (stem_plan.cu says how). Products of half, bf16
 * or tf32, summed in float tap after tap, so results are bit-equal from run to run.
 *
 * An implicit GEMM whose sum runs over single taps: the tensor cores take 16 factors of a pixel row
 * at a time in any order that the weights share, so lane t of four reads all channels of tap
 * 4 step + t, one pixel padded to 4 channels, in one aligned load, at any stride and from any row.
 * The sum is padded to 4 taps in all (7x7: 52 of 49) and not to 4 in each row (56), and a patch of
 * pixels with a border is all there is in shared memory: no masks, no division in the loop but one
 * by S. Weights lie in the order in which lanes read them and come through L1, where all blocks of
 * a multiprocessor find them; 11x11 in float would not fit in shared memory.
 *
 * Measured on an H200: ResNet-50's first layer 141 us for 64 pictures in fp16, cuDNN 314. Rejected:
 * rows padded to whole steps and read by ldmatrix (aligned for even strides only); wider loads of
 * pixels (rows of 3-byte pixels start anywhere; a warp reads 96 bytes in a row with three byte
 * loads, which meet as many cache lines as words would); 2 channels for grey images (one more
 * instance of everything).
 */
#include <assert.h>
#include <cuda_runtime.h>

#include <type_traits>

#include "common.cuh"
#include "cuda_kernels.h"
#include "stem_tile.h"

namespace thaw {

struct stem_params {
    stem_geometry g;
    const uint8_t *pixels;
    const uint4 *w;
    const float *multiplier, *bias; /* Of each filter's sum. */
    const float *centre, *border;   /* Of each channel: STEM_CHANNELS of them. */
    void *y;
    thaw_act act;
    float a, b;
};

/* ---- pixels --------------------------------------------------------------------------------- */

/* One tap's factors: four channels. */
template <class T>
struct stem_pixel {
    using bits = uint2;
};
template <>
struct stem_pixel<float> {
    using bits = uint4;
};

template <class T>
__device__ inline uint2 pixel_bits(T type, const float (&x)[STEM_CHANNELS]) {
    return make_uint2(from_float2(type, x[0], x[1]), from_float2(type, x[2], x[3]));
}

/* Whole numbers and the rounded border: tf32 already. */
__device__ inline uint4 pixel_bits(float, const float (&x)[STEM_CHANNELS]) {
    return make_uint4(__float_as_uint(x[0]), __float_as_uint(x[1]), __float_as_uint(x[2]),
                      __float_as_uint(x[3]));
}

/* Fills the patch. Four pixels' loads of a thread are on their way together. */
template <class T>
__device__ inline void load_patch(const stem_params &p, const stem_block &at,
                                  typename stem_pixel<T>::bits *patch) {
    const int AHEAD = 4;
    /* 2^23 + u has u in its last bits, and subtracting is cheaper than converting u. */
    const uint32_t MAGIC = 0x4b000000;
    const stem_geometry &g = p.g;
    const uint8_t *image = p.pixels + (int64_t)at.n * g.H * g.W * g.C;
    float from[STEM_CHANNELS], border[STEM_CHANNELS];
#pragma unroll
    for (int c = 0; c < STEM_CHANNELS; c++) {
        from[c] = __uint_as_float(MAGIC) + p.centre[c];
        border[c] = p.border[c];
    }
    const auto outside = pixel_bits(T{}, border);
    const int count = g.patch_h * g.patch_w;
    for (int first = (int)threadIdx.x; first < count; first += AHEAD * STEM_THREADS) {
        uint32_t u[AHEAD][STEM_CHANNELS] = {};
        int place[AHEAD];
        bool inside[AHEAD];
#pragma unroll
        for (int i = 0; i < AHEAD; i++) {
            int pixel = first + i * STEM_THREADS, row = (int)divide((uint32_t)pixel, g.by_patch_w);
            int column = pixel - row * g.patch_w, h = at.h + row, w = at.w + column;
            place[i] = pixel < count ? row * g.pitch + column : -1;
            inside[i] = pixel < count && (uint32_t)h < (uint32_t)g.H && (uint32_t)w < (uint32_t)g.W;
            const uint8_t *x = image + (h * g.W + w) * g.C;
#pragma unroll
            for (int c = 0; c < STEM_CHANNELS; c++) {
                if (inside[i] && c < g.C) u[i][c] = x[c];
            }
        }
#pragma unroll
        for (int i = 0; i < AHEAD; i++) {
            float x[STEM_CHANNELS];
#pragma unroll
            for (int c = 0; c < STEM_CHANNELS; c++)
                x[c] = __uint_as_float(MAGIC | u[i][c]) - from[c];
            if (place[i] >= 0) patch[place[i]] = inside[i] ? pixel_bits(T{}, x) : outside;
        }
    }
}

/* ---- products ------------------------------------------------------------------------------- */

/* A warp's sums for one chunk: [8 filters][16 outputs][fragment]. */
struct stem_sums {
    float v[STEM_CHUNK / 8][STEM_GROUP / 16][4];
};

/* Adds a step for vector `load` of the weights. x: the pixels of outputs lane / 4 + 0, 8, 16, 24.
 */
template <class T>
__device__ inline void multiply_step(T type, const uint2 (&x)[4], const uint4 &w, int load,
                                     stem_sums &sums) {
    const uint32_t lo[2] = {w.x, w.y}, hi[2] = {w.z, w.w};
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const uint32_t a[4] = {x[2 * i].x, x[2 * i + 1].x, x[2 * i].y, x[2 * i + 1].y};
        mma(type, sums.v[2 * load][i], a, lo);
        mma(type, sums.v[2 * load + 1][i], a, hi);
    }
}

/* A product of tf32 takes half as many bytes' worth of channels: two of them, two products. */
__device__ inline void multiply_step(float type, const uint4 (&x)[4], const uint4 &w, int load,
                                     stem_sums &sums) {
    const uint32_t lo[2] = {w.x, w.y}, hi[2] = {w.z, w.w};
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const uint32_t a_lo[4] = {x[2 * i].x, x[2 * i + 1].x, x[2 * i].y, x[2 * i + 1].y};
        const uint32_t a_hi[4] = {x[2 * i].z, x[2 * i + 1].z, x[2 * i].w, x[2 * i + 1].w};
        mma(type, sums.v[load][i], a_lo, lo);
        mma(type, sums.v[load][i], a_hi, hi);
    }
}

/* All taps for the warp's 32 outputs. w: this lane's first vector of the block's chunks. */
template <class T, int CHUNKS>
__device__ inline void multiply_patch(const stem_geometry &g, const uint4 *w,
                                      const typename stem_pixel<T>::bits *patch,
                                      stem_sums (&sums)[CHUNKS]) {
    constexpr int LOADS = STEM_LOADS<T>;
    const int lane = (int)threadIdx.x % 32, first = (int)threadIdx.x / 32 * STEM_GROUP + lane / 4;
    int output[4];
#pragma unroll
    for (int i = 0; i < 4; i++)
        output[i] = stem_pixel_of_output(g, first + 8 * i);
#pragma unroll 1
    for (int step = 0; step < g.steps; step++) {
        const int tap = stem_pixel_of_tap(g, step * STEM_STEP + lane % 4);
        typename stem_pixel<T>::bits x[4];
#pragma unroll
        for (int i = 0; i < 4; i++)
            x[i] = patch[output[i] + tap];
#pragma unroll
        for (int chunk = 0; chunk < CHUNKS; chunk++) {
#pragma unroll
            for (int load = 0; load < LOADS; load++) {
                const uint4 factors = w[((chunk * g.steps + step) * LOADS + load) * 32];
                multiply_step(T{}, x, factors, load, sums[chunk]);
            }
        }
    }
}

/* ---- outputs -------------------------------------------------------------------------------- */

__device__ inline void stage_pair(half_t type, uint8_t *to, float lo, float hi) {
    *(uint32_t *)to = from_float2(type, lo, hi);
}
__device__ inline void stage_pair(bf16_t type, uint8_t *to, float lo, float hi) {
    *(uint32_t *)to = from_float2(type, lo, hi);
}
__device__ inline void stage_pair(float, uint8_t *to, float lo, float hi) {
    *(float2 *)to = make_float2(lo, hi);
}

/* The warp's sums of a chunk become z in shared memory. k: the chunk's first filter. */
template <class T, thaw_act ACT>
__device__ inline void stage_sums(const stem_params &p, int k, const stem_sums &sums,
                                  uint8_t *staged) {
    const int lane = (int)threadIdx.x % 32, first = (int)threadIdx.x / 32 * STEM_GROUP + lane / 4;
#pragma unroll
    for (int tile = 0; tile < STEM_CHUNK / 8; tile++) {
        const int c = tile * 8 + lane % 4 * 2;
        const float2 m = *(const float2 *)(p.multiplier + k + c);
        const float2 b = *(const float2 *)(p.bias + k + c);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const float *pair = &sums.v[tile][i / 2][i % 2 * 2];
            stage_pair(T{}, staged + stem_staged<T>(first + 8 * i, c),
                       activate(ACT, p.a, p.b, fmaf(pair[0], m.x, b.x)),
                       activate(ACT, p.a, p.b, fmaf(pair[1], m.y, b.y)));
        }
    }
}

/* What the activation is is asked once for the chunk, not at each sum. */
template <class T>
__device__ inline void stage_chunk(const stem_params &p, int k, const stem_sums &sums,
                                   uint8_t *staged) {
    switch (p.act) {
        case THAW_ACT_NONE:
            return stage_sums<T, THAW_ACT_NONE>(p, k, sums, staged);
        case THAW_ACT_CLIP:
            return stage_sums<T, THAW_ACT_CLIP>(p, k, sums, staged);
        case THAW_ACT_LEAKY_RELU:
            return stage_sums<T, THAW_ACT_LEAKY_RELU>(p, k, sums, staged);
        case THAW_ACT_SILU:
            return stage_sums<T, THAW_ACT_SILU>(p, k, sums, staged);
        case THAW_ACT_HARD_SWISH:
            return stage_sums<T, THAW_ACT_HARD_SWISH>(p, k, sums, staged);
        default: /* cuda_stem_refuses says so at plan time. */
            return;
    }
}

__device__ constexpr uint32_t minus_infinity(half_t) {
    return 0xfc00fc00;
}
__device__ constexpr uint32_t minus_infinity(bf16_t) {
    return 0xff80ff80;
}
__device__ constexpr uint32_t minus_infinity(float) {
    return 0xff800000;
}

/* The maximum over the window of output (i, j) of the tile, for the vector of channels at c. */
template <class T>
__device__ inline uint4 pool_staged(const stem_geometry &g, const stem_block &at,
                                    const uint8_t *staged, int i, int j, int c) {
    const uint32_t least = minus_infinity(T{});
    uint4 most = make_uint4(least, least, least, least);
#pragma unroll
    for (int r = 0; r < STEM_MAX_POOL; r++) {
#pragma unroll
        for (int s = 0; s < STEM_MAX_POOL; s++) {
            const int row = i * g.pool_stride_h + r, column = j * g.pool_stride_w + s;
            if (r < g.pool_R && s < g.pool_S && (uint32_t)(at.conv_p + row) < (uint32_t)g.P &&
                (uint32_t)(at.conv_q + column) < (uint32_t)g.Q) {
                const uint4 z =
                    *(const uint4 *)(staged + stem_staged<T>(row * g.conv_w + column, c));
                most.x = max2(T{}, most.x, z.x);
                most.y = max2(T{}, most.y, z.y);
                most.z = max2(T{}, most.z, z.z);
                most.w = max2(T{}, most.w, z.w);
            }
        }
    }
    return most;
}

/* Zeros for the padding among the channels of a vector, of which the first n are no padding. */
template <class T>
__device__ inline uint4 keep_channels(const uint4 &v, int n) {
    uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        constexpr int EACH = 4 / (int)sizeof(T);
        if (i * EACH >= n)
            words[i] = 0;
        else if (i * EACH + 1 == n)
            words[i] &= 0xffffffffu >> (32 - 8 * (int)sizeof(T));
    }
    return make_uint4(words[0], words[1], words[2], words[3]);
}

/* Writes the tile's outputs of the staged chunk whose first filter is k, 16 bytes a thread. */
template <class T>
__device__ inline void write_chunk(const stem_params &p, const stem_block &at, int k,
                                   const uint8_t *staged) {
    constexpr int VECTORS = STEM_CHUNK / VECTOR<T>;
    const stem_geometry &g = p.g;
    for (int item = (int)threadIdx.x; item < g.out_h * g.out_w * VECTORS; item += STEM_THREADS) {
        const int output = item / VECTORS, c = item % VECTORS * VECTOR<T>;
        const int i = (int)divide((uint32_t)output, g.by_out_w), j = output - i * g.out_w;
        const int row = at.out_p + i, column = at.out_q + j;
        if (row >= g.out_H || column >= g.out_W || k + c >= g.Kp) continue;
        uint4 y = g.pooled ? pool_staged<T>(g, at, staged, i, j, c)
                           : *(const uint4 *)(staged + stem_staged<T>(output, c));
        if (k + c + VECTOR < T >> g.K) y = keep_channels<T>(y, g.K - k - c);
        const int64_t pixel = ((int64_t)at.n * g.out_H + row) * g.out_W + column;
        *(uint4 *)((T *)p.y + pixel * g.Kp + k + c) = y;
    }
}

/* ---- the kernel ----------------------------------------------------------------------------- */

/* Grid: images x tiles of y x blocks of CHUNKS * 32 filters, these fastest. Block: a tile. Warp: 32
 * conv outputs of the tile, all of the block's filters; then a thread 16 bytes of an output. */
template <class T, int CHUNKS>
__global__ void __launch_bounds__(STEM_THREADS, CHUNKS == 1 && sizeof(T) == 2 ? 3 : 2)
    stem_kernel(const stem_params p) {
    begin_kernel();
    /* sm_75 multiplies half precision only; cuda_stem_refuses says so at plan time. */
    if constexpr (ARCH >= 80 || std::is_same<T, half_t>::value) {
        uint8_t *shared = shared_memory();
        const stem_block at = place_of_stem_block(p.g, blockIdx.x);
        const auto patch = (typename stem_pixel<T>::bits *)shared;
        load_patch<T>(p, at, patch);
        __syncthreads(); /* The patch is whole. */
        const bool needed =
            (int)threadIdx.x / 32 * STEM_GROUP < p.g.conv_h * p.g.conv_w; /* For a whole warp. */
        const int first_chunk = at.block_k * CHUNKS;
        stem_sums sums[CHUNKS] = {};
        if (needed) {
            const uint4 *w = p.w + (int64_t)first_chunk * p.g.steps * STEM_LOADS<T> * 32;
            multiply_patch<T, CHUNKS>(p.g, w + threadIdx.x % 32, patch, sums);
        }
#pragma unroll 1 /* Every activation's code once, not for each chunk. */
        for (int chunk = 0; chunk < CHUNKS; chunk++) {
            const int k = (first_chunk + chunk) * STEM_CHUNK;
            __syncthreads(); /* All have read what was in shared memory. */
            if (needed) stage_chunk<T>(p, k, sums[0], shared);
            __syncthreads(); /* All outputs of the chunk are there. */
            write_chunk<T>(p, at, k, shared);
            sums[0] = sums[CHUNKS - 1];
        }
    }
}

/* ---- launcher ------------------------------------------------------------------------------- */

template <class T>
static int launch_stem(thaw_cuda_launch *launch, const thaw_cuda_stem &stem) {
    const thaw_cuda_stem_choice &choice = stem.choice;
    stem_params p = {};
    p.g = make_stem_geometry(stem.shape, stem.pooled ? &stem.pool : nullptr, choice.out_h,
                             choice.out_w, choice.pitch);
    p.pixels = stem.pixels;
    p.w = (const uint4 *)stem.w;
    p.multiplier = stem.constants;
    p.bias = p.multiplier + p.g.chunks * STEM_CHUNK;
    p.centre = p.bias + p.g.chunks * STEM_CHUNK;
    p.border = p.centre + STEM_CHANNELS;
    p.y = stem.y;
    p.act = stem.act;
    p.a = stem.a;
    p.b = stem.b;
    assert(p.g.conv_h * p.g.conv_w <= STEM_OUTPUTS && p.g.pitch >= p.g.patch_w);
    assert((uintptr_t)stem.w % 16 == 0 && (uintptr_t)stem.y % 16 == 0);
    assert((uintptr_t)stem.constants % 8 == 0);
    const unsigned blocks = (unsigned)(stem.shape.N * p.g.tiles * p.g.blocks_k);
    const size_t shared = (size_t)stem_shared_bytes(p.g, (int)sizeof(T));
    return stem_chunks_of_block(p.g.chunks) == 2
               ? launch_kernel(launch, "stem_64", stem_kernel<T, 2>, dim3(blocks), STEM_THREADS,
                               shared, p)
               : launch_kernel(launch, "stem_32", stem_kernel<T, 1>, dim3(blocks), STEM_THREADS,
                               shared, p);
}

}  // namespace thaw

int cuda_stem(thaw_cuda_launch *launch, const thaw_cuda_stem *stem) {
    return thaw::with_type(
        stem->dtype, [&](auto type) { return thaw::launch_stem<decltype(type)>(launch, *stem); });
}
