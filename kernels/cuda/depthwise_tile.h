/* How a depthwise convolution is cut into blocks and threads. */
#ifndef THAW_CUDA_DEPTHWISE_TILE_H
#define THAW_CUDA_DEPTHWISE_TILE_H

#include "index.h"
#include "types.h"

namespace thaw {

enum {
    DEPTHWISE_THREADS = 128, /* Of a block, at most. */
    /* Blocks from which on any GPU has work: four for each of 128 multiprocessors. */
    DEPTHWISE_ENOUGH = 512,
};

/* Outputs side by side that a thread computes: four vectors of 16 bytes where the taps are
 * unrolled, 1 in the general kernel. */
THAW_PURE int depthwise_strip(const thaw_window &w, thaw_dtype dtype) {
    bool square = w.R == w.S && (w.R == 3 || w.R == 5 || w.R == 7);
    bool stride = w.stride_h == w.stride_w && (w.stride_h == 1 || w.stride_h == 2);
    bool unrolled = square && stride && w.dilation_h == 1 && w.dilation_w == 1;
    return !unrolled ? 1 : dtype == THAW_F32 ? 2 : 4;
}

/* A block is vectors of 8 channels x strips x rows of threads; a thread computes its strip in
 * `walk` rows that lie `rows` apart. */
struct depthwise_block {
    int vectors, strips, rows, walk;
};

THAW_PURE int64_t depthwise_blocks(const depthwise_block &b, int64_t N, int64_t vectors,
                                   int64_t strips, int64_t P) {
    return N * ceil_div(vectors, b.vectors) * ceil_div(strips, b.strips) *
           ceil_div(P, (int64_t)b.rows * b.walk);
}

/* A block of so many threads, a power of two. Eight vectors are 128 bytes of half precision: what a
 * quarter of a warp should read in one go. Four strips are 16 columns. What is left over goes to
 * where there is work, at last to rows. */
THAW_PURE depthwise_block block_of_depthwise(int threads, int64_t vectors, int64_t strips) {
    depthwise_block b = {1, 1, 1, 1};
    while (b.vectors < 8 && b.vectors < vectors)
        b.vectors *= 2;
    while (b.strips < 4 && b.strips < strips && b.vectors * b.strips < threads)
        b.strips *= 2;
    b.rows = threads / (b.vectors * b.strips);
    return b;
}

/* A small tensor is cut into smaller blocks, down to a warp, so that more multiprocessors get one.
 * In a large one a block walks down up to 4 times its rows: then fewer rows of x are read by two
 * blocks, which are seldom on the same multiprocessor. */
THAW_PURE depthwise_block choose_depthwise_block(int64_t N, int64_t vectors, int64_t strips,
                                                 int64_t P) {
    int threads = DEPTHWISE_THREADS;
    depthwise_block b = block_of_depthwise(threads, vectors, strips);
    while (threads > 32 && depthwise_blocks(b, N, vectors, strips, P) < DEPTHWISE_ENOUGH) {
        threads /= 2;
        b = block_of_depthwise(threads, vectors, strips);
    }
    while (b.walk < 4 && b.rows * b.walk < P &&
           depthwise_blocks(b, N, vectors, strips, P) >= 8 * DEPTHWISE_ENOUGH)
        b.walk *= 2;
    return b;
}

/* Blocks are numbered along channels, columns, rows, images. */
struct depthwise_cut {
    depthwise_block block;
    divisor by_c, by_q, by_p; /* Blocks along channels, columns, rows. */
    int64_t blocks;
};

THAW_PURE depthwise_cut cut_depthwise(const thaw_conv_shape &s, thaw_dtype dtype) {
    int64_t vectors = padded_channels(s.C) / 8;
    int64_t strips = ceil_div(s.Q, depthwise_strip(s.window, dtype));
    depthwise_block b = choose_depthwise_block(s.N, vectors, strips, s.P);
    return {b, make_divisor((uint32_t)ceil_div(vectors, b.vectors)),
            make_divisor((uint32_t)ceil_div(strips, b.strips)),
            make_divisor((uint32_t)ceil_div(s.P, (int64_t)b.rows * b.walk)),
            depthwise_blocks(b, s.N, vectors, strips, s.P)};
}

/* Where a thread works: image, first row, strip, vector of channels. May lie outside. */
struct depthwise_place {
    int n, p, strip, vector;
};

THAW_PURE depthwise_place place_of_depthwise(const depthwise_cut &cut, uint32_t block, int thread) {
    uint32_t rest = divide(block, cut.by_c), rows = divide(rest, cut.by_q);
    uint32_t n = divide(rows, cut.by_p);
    const depthwise_block &b = cut.block;
    int c_tile = (int)(block - rest * cut.by_c.d), q_tile = (int)(rest - rows * cut.by_q.d);
    int p_tile = (int)(rows - n * cut.by_p.d), in_rows = thread / b.vectors;
    return {(int)n, p_tile * b.rows * b.walk + in_rows / b.strips,
            q_tile * b.strips + in_rows % b.strips, c_tile * b.vectors + thread % b.vectors};
}

}  // namespace thaw

#endif
