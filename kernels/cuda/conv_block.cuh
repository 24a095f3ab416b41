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

/* The block's warps, each with MI x NI products of 16 x 8. BUFFERS: fragments are loaded a step
 * ahead, where few warps share a scheduler; with four of them another has its own meanwhile. */
template <int VARIANT>
struct block_shape {
    static constexpr conv_tile TILE = tile_of(VARIANT, ARCH);
    static constexpr int MI = TILE.warp_m() / 16, NI = TILE.warp_n() / 8;
    static constexpr int STEPS = TILE.vectors / 2, THREADS = TILE.threads();
    static constexpr int BUFFERS = TILE.warps() == 4 ? 2 : 1;
};

/* Where this thread stands in its block. */
struct thread_place {
    int thread, lane, warp_m, warp_n;
};

template <class B>
__device__ inline thread_place place_of_thread() {
    int thread = (int)threadIdx.x, warp = thread / 32;
    return {thread, thread % 32, warp / B::TILE.warps_n, warp % B::TILE.warps_n};
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
    ldmatrix_x4(f.a, x, 16 * V);
    if constexpr (std::is_same<T, float>::value) {
#pragma unroll
        for (int i = 0; i < B::MI * 4; i++)
            f.a[i / 4][i % 4] = to_tf32(f.a[i / 4][i % 4]);
    }
    int filter = at.lane % 8 + at.lane / 16 * 8;
    v = swizzle(filter, 2 * step + at.lane / 8 % 2, V);
    const uint4 *w = stage + (B::TILE.m + at.warp_n * B::TILE.warp_n() + filter) * V + v;
    uint32_t both[B::NI / 2][4];
    ldmatrix_x4(both, w, 16 * V);
#pragma unroll
    for (int i = 0; i < B::NI * 2; i++)
        f.b[i / 2][i % 2] = both[i / 4][i % 4];
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

/* 16 rows of a warp's sums on their way through shared memory, so that each lane gets 8 channels of
 * a pixel. */
template <class B>
struct warp_rows {
    static constexpr int ROW = B::TILE.epilogue_row(), GROUPS = B::TILE.warp_n() / 8,
                         EACH = 32 / GROUPS;
    static_assert(GROUPS == 4 || GROUPS == 8, "epilogue_swap is made for these");
    float *put_at, *get_at; /* This lane's row to write, and its group to read. */
    int lane, get_swap;

    __device__ warp_rows(float *rows, int lane_number) : lane(lane_number) {
        int row = lane / GROUPS, group = lane % GROUPS;
        put_at = rows + lane / 4 * ROW;
        get_at = rows + row * ROW + group * 8;
        get_swap = epilogue_swap(row, group, GROUPS);
    }
    __device__ void put(const float (&sum)[B::NI][4]) const {
#pragma unroll
        for (int j = 0; j < B::NI; j++) {
            float *to = put_at + j * 8 + (lane % 4 * 2 ^ epilogue_swap(lane / 4, j, GROUPS));
            *(float2 *)to = make_float2(sum[j][0], sum[j][1]);
            *(float2 *)(to + 8 * ROW) = make_float2(sum[j][2], sum[j][3]);
        }
    }
    /* Of row lane / GROUPS + r EACH, which is odd where the first is. */
    __device__ float8 get(int r) const {
        const float *row = get_at + r * EACH * ROW;
        float4 lo = *(const float4 *)(row + get_swap), hi = *(const float4 *)(row + (4 ^ get_swap));
        return {{lo.x, lo.y, lo.z, lo.w, hi.x, hi.y, hi.z, hi.w}};
    }
};

/* Writes the block's tile, whose first pixel and filter are m0 and k0, 16 pixels of each warp at a
 * time; what is added to them is on its way meanwhile. All of the block must be done with shared
 * memory before. */
template <class T, class B>
__device__ inline void write_tile(const output_params &p, int64_t m0, int k0,
                                  const thread_place &at, uint8_t *shared,
                                  const float (&sum)[B::MI][B::NI][4]) {
    using R = warp_rows<B>;
    constexpr int N = 16 / R::EACH;
    const R rows((float *)shared + at.thread / 32 * 16 * R::ROW, at.lane);
    m0 += at.warp_m * B::TILE.warp_m() + at.lane / R::GROUPS;
    k0 += at.warp_n * B::TILE.warp_n() + at.lane % R::GROUPS * 8;
    const int left = k0 < p.Kp ? (int)min((int64_t)B::TILE.m, p.M - m0) : 0; /* Pixels, from m0. */
    T *const y = (T *)p.y + m0 * p.Kp + k0;
    const T *const add = (const T *)p.residual + m0 * p.Kp + k0;
    const left8<T> channels(p.K - k0);
    with_finish(p, [&](auto act) {
#pragma unroll
        for (int i = 0; i < B::MI; i++) {
            packed8<T> residual[N];
#pragma unroll
            for (int r = 0; r < N; r++) {
                int m = i * 16 + r * R::EACH;
                residual[r] = residual8(p, add + m * p.Kp, m < left);
            }
            rows.put(sum[i]);
            __syncwarp(); /* The other lanes' sums are there. */
#pragma unroll
            for (int r = 0; r < N; r++) {
                int m = i * 16 + r * R::EACH;
                finish8(p, act, y + m * p.Kp, m < left, channels, rows.get(r), residual[r]);
            }
            __syncwarp(); /* All have read before the next 16 rows overwrite. */
        }
    });
}

}  // namespace thaw

#endif
