/* The pieces that a block of an implicit GEMM is made of: fragments, products, the epilogue.
 *
 * A tile in shared memory is rows of `vectors` vectors of 16 bytes, swizzled: first the m rows of x
 * (pixels), then the n rows of w (filters). Everything here is in vectors and thus the same for
 * half, bf16 (8 elements) and tf32 (4): one product of the tensor cores takes two vectors of a row.
 */
#ifndef THAW_CUDA_CONV_BLOCK_CUH
#define THAW_CUDA_CONV_BLOCK_CUH

#include "common.cuh"
#include "conv_tile.h"
#include "epilogue.cuh"

namespace thaw {

/* The block's 2 x 2 warps, each with mi x ni products of 16 x 8. */
template <int VARIANT>
struct block_shape {
    static constexpr conv_tile TILE = tile_of(VARIANT, ARCH);
    static constexpr int MI = TILE.warp_m() / 16, NI = TILE.warp_n() / 8;
    static constexpr int STEPS = TILE.vectors / 2;
    static constexpr int EPILOGUE_ROW = epilogue_row(TILE.warp_n());
    static_assert(4 * 16 * EPILOGUE_ROW * 4 <= TILE.shared_bytes(),
                  "the epilogue reuses the tiles");
};

/* Where this thread stands in its block. */
struct thread_place {
    int thread, lane, warp_m, warp_n;
};

__device__ inline thread_place place_of_thread() {
    int thread = (int)threadIdx.x, warp = thread / 32;
    return {thread, thread % 32, warp / 2, warp % 2};
}

/* One step's factors in registers. */
template <class B>
struct fragments {
    uint32_t a[B::MI][4], b[B::NI][2];
};

/* Loads the factors of one step out of a stage. Rows differ by multiples of 16 between the loads of
 * a lane, so its swizzle is the same for all of them. */
template <class T, class B>
__device__ inline void load_fragments(const uint4 *stage, int step, const thread_place &at,
                                      fragments<B> &f) {
    constexpr int V = B::TILE.vectors;
    int row = at.lane % 16, v = swizzle(row, 2 * step + at.lane / 16, V);
    const uint4 *x = stage + (at.warp_m * B::TILE.warp_m() + row) * V + v;
#pragma unroll
    for (int i = 0; i < B::MI; i++) {
        ldmatrix_x4(f.a[i], x + i * 16 * V);
        if constexpr (std::is_same<T, float>::value) {
#pragma unroll
            for (int j = 0; j < 4; j++)
                f.a[i][j] = to_tf32(f.a[i][j]);
        }
    }
    int filter = at.lane % 8 + at.lane / 16 * 8;
    v = swizzle(filter, 2 * step + at.lane / 8 % 2, V);
    const uint4 *w = stage + (B::TILE.m + at.warp_n * B::TILE.warp_n() + filter) * V + v;
#pragma unroll
    for (int i = 0; i < B::NI; i += 2) {
        uint32_t both[4];
        ldmatrix_x4(both, w + i * 8 * V);
        f.b[i][0] = both[0];
        f.b[i][1] = both[1];
        f.b[i + 1][0] = both[2];
        f.b[i + 1][1] = both[3];
    }
}

template <class T, class B>
__device__ inline void multiply(const fragments<B> &f, float (&sum)[B::MI][B::NI][4]) {
#pragma unroll
    for (int i = 0; i < B::MI; i++) {
#pragma unroll
        for (int j = 0; j < B::NI; j++)
            mma(T{}, sum[i][j], f.a[i], f.b[j]);
    }
}

/* The bias is where the sum starts. bias: of the tile's first filter. */
template <class B>
__device__ inline void start_sum(const float *bias, const thread_place &at,
                                 float (&sum)[B::MI][B::NI][4]) {
#pragma unroll
    for (int j = 0; j < B::NI; j++) {
        int k = at.warp_n * B::TILE.warp_n() + j * 8 + at.lane % 4 * 2;
        float2 pair = bias ? *(const float2 *)(bias + k) : make_float2(0, 0);
#pragma unroll
        for (int i = 0; i < B::MI; i++) {
            sum[i][j][0] = sum[i][j][2] = pair.x;
            sum[i][j][1] = sum[i][j][3] = pair.y;
        }
    }
}

/* ---- sums to memory ------------------------------------------------------------------------- */

/* Reads eight floats, aligned to 16 bytes, in two halves. Lanes 4 to 7 of eight take the upper half
 * first: eight lanes then read 128 different bytes of 32 banks in each of the two loads. */
__device__ inline float8 load8_staggered(const float *row, int lane) {
    int first = lane / 4 % 2;
    float4 one = *(const float4 *)(row + 4 * first);
    float4 two = *(const float4 *)(row + 4 * (1 - first));
    float4 lo = first ? two : one, hi = first ? one : two;
    return {{lo.x, lo.y, lo.z, lo.w, hi.x, hi.y, hi.z, hi.w}};
}

/* Writes the block's tile, whose first pixel and filter are m0 and k0. The sums of a warp go
 * through its own part of shared memory, 16 pixels at a time, so that each lane gets 8 channels of
 * a pixel and writes them in whole vectors. All of the block must be done with shared memory
 * before. */
template <class T, class B>
__device__ inline void write_tile(const output_params &p, int64_t m0, int64_t k0,
                                  const thread_place &at, uint8_t *shared,
                                  const float (&sum)[B::MI][B::NI][4]) {
    constexpr int ROW = B::EPILOGUE_ROW, GROUPS = B::TILE.warp_n() / 8, ROWS = 32 / GROUPS;
    float *mine = (float *)shared + at.thread / 32 * 16 * ROW;
    m0 += at.warp_m * B::TILE.warp_m();
    k0 += at.warp_n * B::TILE.warp_n() + at.lane % GROUPS * 8;
#pragma unroll
    for (int i = 0; i < B::MI; i++) {
        float *row = mine + at.lane / 4 * ROW + at.lane % 4 * 2;
#pragma unroll
        for (int j = 0; j < B::NI; j++) {
            *(float2 *)(row + j * 8) = make_float2(sum[i][j][0], sum[i][j][1]);
            *(float2 *)(row + 8 * ROW + j * 8) = make_float2(sum[i][j][2], sum[i][j][3]);
        }
        __syncwarp(); /* The other lanes' sums are there. */
#pragma unroll
        for (int r = at.lane / GROUPS; r < 16; r += ROWS) {
            int64_t m = m0 + i * 16 + r;
            float8 x = load8_staggered(mine + r * ROW + at.lane % GROUPS * 8, at.lane);
            if (m < p.M && k0 < p.Kp) write8<T>(p, m, k0, x);
        }
        __syncwarp(); /* All have read before the next 16 rows overwrite. */
    }
}

}  // namespace thaw

#endif
