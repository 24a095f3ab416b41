/* The index arithmetic of the convolution kernels: small, pure, the same on host and device.
 *
 * tests/cuda/test_index.cc runs through all of it exhaustively, bank conflicts included.
 */
#ifndef THAW_CUDA_INDEX_H
#define THAW_CUDA_INDEX_H

#include <cuda_runtime.h>
#include <stdint.h>

namespace thaw {

#define THAW_PURE __host__ __device__ constexpr

THAW_PURE int64_t ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

/* ---- division by a number known beforehand -------------------------------------------------- */

/* n / d = (hi(n * magic) + n) >> shift for 0 <= n < 2^31 (Granlund and Montgomery 1994). */
struct divisor {
    uint32_t d, magic, shift;
};

/* 1 <= d < 2^31. */
THAW_PURE divisor make_divisor(uint32_t d) {
    uint32_t shift = 0;
    while ((1u << shift) < d)
        shift++;
    return {d, (uint32_t)(((1ull << 32) * ((1ull << shift) - d)) / d + 1), shift};
}

THAW_PURE uint32_t divide(uint32_t n, divisor by) {
    return ((uint32_t)((uint64_t)n * by.magic >> 32) + n) >> by.shift;
}

/* ---- tiles in shared memory ----------------------------------------------------------------- */

/* Rows of 4 or 8 vectors of 16 bytes. The vector's place in its row is XORed with the row, so that
 * the eight rows that one phase of ldmatrix reads lie in eight different groups of four banks, and
 * so do the eight vectors that one phase of a 16-byte store writes. Rows of 4 vectors fill the
 * banks in pairs, hence row / 2. */
THAW_PURE int swizzle(int row, int vector, int row_vectors) {
    return vector ^ (row_vectors == 8 ? row & 7 : row >> 1 & 3);
}

/* ---- the order of blocks -------------------------------------------------------------------- */

struct tile_place {
    int m, n;
};

/* Blocks that run at the same time share tiles of x in L2: all columns (output channels) of a row
 * of tiles come one after the other, eight columns at a time when there are more: a band. The last
 * band has fewer. m_tiles * n_tiles < 2^31, and so is a band. */
struct block_order {
    int bands; /* Whole ones. */
    divisor by_band, by_last;
};

constexpr uint32_t BAND = 8;

THAW_PURE block_order make_block_order(int m_tiles, int n_tiles) {
    return {n_tiles / (int)BAND, make_divisor(n_tiles >= (int)BAND ? BAND * (uint32_t)m_tiles : 1),
            make_divisor((uint32_t)n_tiles % BAND ? (uint32_t)n_tiles % BAND : BAND)};
}

THAW_PURE tile_place place_of_block(uint32_t block, const block_order &order) {
    int band = order.bands ? (int)divide(block, order.by_band) : 0;
    if (band > order.bands) band = order.bands;
    uint32_t rest = block - (uint32_t)band * order.by_band.d;
    uint32_t width = band < order.bands ? BAND : order.by_last.d;
    uint32_t m = band < order.bands ? rest / BAND : divide(rest, order.by_last);
    return {(int)m, band * (int)BAND + (int)(rest - m * width)};
}

/* The share of block `split` of `splits` in `n` iterations: balanced, in order, none left out. */
struct iteration_range {
    int begin, end;
};

THAW_PURE iteration_range split_range(int n, int splits, int split) {
    if (splits == 1) return {0, n};
    return {(int)((int64_t)n * split / splits), (int)((int64_t)n * (split + 1) / splits)};
}

/* ---- taps ----------------------------------------------------------------------------------- */

enum { MAX_TAPS = 16 }; /* R and S at most: the two masks of a row share 32 bits. */

/* Bit i is set when first + i * dilation lies in [0, size), for i < taps. */
THAW_PURE uint32_t tap_mask(int first, int dilation, int taps, int size) {
    uint32_t mask = 0;
    for (int i = 0; i < taps; i++) {
        int at = first + i * dilation;
        if (at >= 0 && at < size) mask |= 1u << i;
    }
    return mask;
}

/* Backwards: the output whose window has `at` under a tap; -1: none of n has. */
THAW_PURE int output_of(int at, int tap, int stride, int dilation, int pad, int n) {
    int from = at + pad - tap * dilation;
    if (from < 0 || from % stride != 0) return -1;
    return from / stride < n ? from / stride : -1;
}

/* An iteration is one tap (r,s) and one slice of channels. s runs fastest, then r, then the slice,
 * so that the taps re-read a slice while it is in L1. */
struct tap_place {
    int slice, r, s;
};

THAW_PURE tap_place place_of_iteration(int iteration, int R, int S) {
    if (iteration == 0) return {0, 0, 0};
    return {iteration / (R * S), iteration / S % R, iteration % S};
}

/* By how many vectors a row's address moves from one iteration to the next. The position is
 * slice * slice_vectors + (r * dilation_h * W + s * dilation_w) * pixel_vectors. */
struct tap_steps {
    int64_t next_s, next_r, next_slice;
};

THAW_PURE tap_steps make_tap_steps(int R, int S, int64_t W, int64_t dilation_h, int64_t dilation_w,
                                   int64_t pixel_vectors, int64_t slice_vectors) {
    int64_t s = dilation_w * pixel_vectors, r = dilation_h * W * pixel_vectors;
    return {s, r - (S - 1) * s, slice_vectors - (R - 1) * r - (S - 1) * s};
}

/* ---- groups --------------------------------------------------------------------------------- */

/* The channels that the filters of one column of tiles see: a contiguous range, since filters are
 * in the order of their groups. It starts at a whole vector. Filters have zeros for what belongs to
 * a neighbour's group. Without groups the range is all of C. */
struct channel_range {
    int64_t begin, end; /* [begin, end) */
};

THAW_PURE channel_range channels_of_tile(int64_t n_tile, int64_t tile_n, int64_t C, int64_t K,
                                         int64_t G, int64_t vector) {
    int64_t each_k = K / G, each_c = C / G;
    int64_t last = (n_tile + 1) * tile_n < K ? (n_tile + 1) * tile_n : K;
    int64_t begin = n_tile * tile_n / each_k * each_c;
    int64_t end = ((last - 1) / each_k + 1) * each_c;
    return {begin / vector * vector, end};
}

/* Slices of slice_channels that the widest range of all tiles needs. */
THAW_PURE int64_t slices_of_conv(int64_t tile_n, int64_t slice_channels, int64_t C, int64_t K,
                                 int64_t G, int64_t vector) {
    int64_t most = 0;
    /* The ranges repeat once the groups line up with the tiles again; K bounds the walk. */
    for (int64_t n_tile = 0; n_tile * tile_n < K; n_tile++) {
        channel_range range = channels_of_tile(n_tile, tile_n, C, K, G, vector);
        int64_t slices = ceil_div(range.end - range.begin, slice_channels);
        if (slices > most) most = slices;
    }
    return most;
}

}  // namespace thaw

#endif
