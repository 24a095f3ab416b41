/* The implicit GEMM's tiles on each architecture, and the sizes that follow from them. */
#ifndef THAW_CUDA_CONV_TILE_H
#define THAW_CUDA_CONV_TILE_H

#include "index.h"
#include "kernels.h"
#include "types.h"

namespace thaw {

/* A block computes m pixels x n output channels with 2 x warps_n warps; an iteration adds `vectors`
 * of 16 bytes for each pixel and filter, out of `stages` buffers. */
struct conv_tile {
    int m, n, vectors, stages, warps_n;

    THAW_PURE int warps() const {
        return 2 * warps_n;
    }
    THAW_PURE int threads() const {
        return 32 * warps();
    }
    THAW_PURE int warp_m() const {
        return m / 2;
    }
    THAW_PURE int warp_n() const {
        return n / warps_n;
    }
    THAW_PURE int stage_vectors() const {
        return (m + n) * vectors;
    }
    /* A warp hands 16 rows of sums at a time through shared memory, each row this many floats: the
     * eight more put the rows that a quarter of the warp writes into different banks. */
    THAW_PURE int epilogue_row() const {
        return warp_n() + 8;
    }
    /* As many stages as a sum of so many iterations fills: a short one leaves room for more blocks.
     * After the sum the warps' epilogues use the same memory. */
    THAW_PURE int shared_bytes(int64_t iterations) const {
        int used = (int)(iterations < stages ? iterations : stages) * stage_vectors() * 16;
        int epilogue = warps() * 16 * epilogue_row() * 4;
        return used > epilogue ? used : epilogue;
    }
};

/* The epilogue's rows in shared memory are groups of 8 floats. Eight lanes read a half of 8 groups
 * at once: 4 groups' first halves are in 16 different banks, and so that the other 4 are in the
 * other 16 (the next row's, where a row has 4 groups), theirs are swapped: places differ by this
 * bit. */
THAW_PURE int epilogue_swap(int row, int group, int groups) {
    return (groups == 4 ? row : group / 4) % 2 * 4;
}

enum { CONV_WIDE, CONV_NARROW, CONV_SMALL, CONV_VARIANTS };

/* Wide: the most products for each byte of shared memory. Narrow: 64 output channels, where wide
 * would compute on padding (1.8 times slower there, docs of CUTLASS's profiler runs on sm_86).
 * Small: four times as many blocks, for late layers and small batches.
 *
 * Two blocks must fit in a multiprocessor: 48 KiB each on sm_86 and 89 (a fourth stage costs 8 to
 * 12 % there, since it leaves room for one block only), 32 KiB on sm_75, 80 KiB on sm_80, 110 KiB
 * on sm_90. There wide tiles have eight warps of 64 x 32: four of 64 x 64 (230 registers) left two
 * warps to a scheduler, which found one ready in 27 % of its cycles (H200, 64->256 channels). */
THAW_PURE conv_tile tile_of(int variant, int sm) {
    constexpr conv_tile sm75[] = {{128, 128, 4, 2, 2}, {128, 64, 4, 2, 2}, {64, 64, 4, 2, 2}};
    constexpr conv_tile sm80[] = {{128, 128, 4, 4, 2}, {128, 64, 8, 3, 2}, {64, 64, 8, 4, 2}};
    constexpr conv_tile sm86[] = {{128, 128, 4, 3, 2}, {128, 64, 4, 3, 2}, {64, 64, 4, 4, 2}};
    constexpr conv_tile sm90[] = {{128, 128, 4, 5, 4}, {128, 64, 8, 4, 2}, {64, 64, 8, 4, 2}};
    return sm >= 90   ? sm90[variant]
           : sm >= 86 ? sm86[variant]
           : sm >= 80 ? sm80[variant]
                      : sm75[variant];
}

/* The problem as the kernel sees it. */
struct conv_size {
    int64_t M;              /* Output pixels, N P Q. */
    int m_tiles, n_tiles;   /* Tiles of pixels and of output channels. */
    int slices, iterations; /* Slices of channels; taps x slices. */
};

THAW_PURE conv_size size_of_conv(const thaw_conv_shape &s, conv_tile tile, int64_t vector) {
    conv_size size = {};
    size.M = s.N * s.P * s.Q;
    size.m_tiles = (int)ceil_div(size.M, tile.m);
    size.n_tiles = (int)ceil_div(s.K, tile.n);
    size.slices = (int)slices_of_conv(tile.n, tile.vectors * vector, s.C, s.K, s.G, vector);
    size.iterations = size.slices * (int)(s.window.R * s.window.S);
    return size;
}

/* Where, in packed weights, element e of vector v of filter k of its tile is, for one iteration:
 * each stage's part is the image of what it will be in shared memory. */
THAW_PURE int64_t packed_place(int64_t n_tile, int64_t iteration, int64_t iterations, int k, int v,
                               int e, conv_tile tile, int vector) {
    int64_t row = (n_tile * iterations + iteration) * tile.n + k;
    return (row * tile.vectors + swizzle(k, v, tile.vectors)) * vector + e;
}

}  // namespace thaw

#endif
