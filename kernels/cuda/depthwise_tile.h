/* How a depthwise convolution is cut into blocks and threads. */
#ifndef THAW_CUDA_DEPTHWISE_TILE_H
#define THAW_CUDA_DEPTHWISE_TILE_H

#include "index.h"
#include "types.h"

namespace thaw {

enum {
    DEPTHWISE_THREADS = 128, /* Of a block, at most. */
    /* Threads from which on any GPU has work for long: several thousand for each multiprocessor. */
    DEPTHWISE_ENOUGH = 1 << 19,
};

/* Outputs side by side that a thread computes: four vectors of 16 bytes where the taps are
 * unrolled, 1 in the general kernel. */
THAW_PURE int depthwise_strip(const thaw_window &w, thaw_dtype dtype) {
    bool square = w.R == w.S && (w.R == 3 || w.R == 5 || w.R == 7);
    bool stride = w.stride_h == w.stride_w && (w.stride_h == 1 || w.stride_h == 2);
    bool unrolled = square && stride && w.dilation_h == 1 && w.dilation_w == 1;
    return !unrolled ? 1 : dtype == THAW_F32 ? 2 : 4;
}

/* Threads are numbered along vectors of 8 channels, strips, walks of rows and images, whatever
 * blocks they fall into: no lane is idle but in the last block. Neighbours read neighbouring bytes,
 * and a thread its walk from top to bottom: the rows of x that two outputs share are in L1 then. */
struct depthwise_cut {
    int walk; /* Rows of outputs a thread. */
    divisor by_vectors, by_strips, by_walks;
    int64_t threads; /* In all. */
};

THAW_PURE int64_t depthwise_threads(const thaw_conv_shape &s, thaw_dtype dtype, int walk) {
    return s.N * ceil_div(s.P, walk) * ceil_div(s.Q, depthwise_strip(s.window, dtype)) *
           (padded_channels(s.C) / 8);
}

/* The longest walk, of at most 4 rows, that leaves work for everybody. */
THAW_PURE depthwise_cut cut_depthwise(const thaw_conv_shape &s, thaw_dtype dtype) {
    int walk = 4;
    while (walk > 1 && (walk / 2 >= s.P || depthwise_threads(s, dtype, walk) < DEPTHWISE_ENOUGH))
        walk /= 2;
    return {walk, make_divisor((uint32_t)(padded_channels(s.C) / 8)),
            make_divisor((uint32_t)ceil_div(s.Q, depthwise_strip(s.window, dtype))),
            make_divisor((uint32_t)ceil_div(s.P, walk)), depthwise_threads(s, dtype, walk)};
}

/* Of a block: a small tensor is cut into smaller ones, down to a warp, so that more multiprocessors
 * get one. */
THAW_PURE int depthwise_block(const depthwise_cut &cut) {
    int threads = DEPTHWISE_THREADS;
    while (threads > 32 && cut.threads / threads < 512)
        threads /= 2;
    return threads;
}

/* Where a thread works: image, first row, strip, vector of channels. */
struct depthwise_place {
    int n, p, strip, vector;
};

THAW_PURE depthwise_place place_of_depthwise(const depthwise_cut &cut, uint32_t thread) {
    uint32_t strips = divide(thread, cut.by_vectors), walks = divide(strips, cut.by_strips);
    uint32_t n = divide(walks, cut.by_walks);
    return {(int)n, (int)(walks - n * cut.by_walks.d) * cut.walk,
            (int)(strips - walks * cut.by_strips.d), (int)(thread - strips * cut.by_vectors.d)};
}

}  // namespace thaw

#endif
