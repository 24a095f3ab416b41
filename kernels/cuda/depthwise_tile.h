/* How a depthwise convolution is cut into blocks. */
#ifndef THAW_CUDA_DEPTHWISE_TILE_H
#define THAW_CUDA_DEPTHWISE_TILE_H

#include "index.h"
#include "types.h"

namespace thaw {

enum { DEPTHWISE_THREADS = 256, DEPTHWISE_STRIP = 4 };

/* Outputs side by side that a thread computes: 4 in the unrolled kernels, 1 in the general one. */
THAW_PURE int depthwise_strip(const thaw_window &w) {
    bool square = w.R == w.S && (w.R == 3 || w.R == 5 || w.R == 7);
    bool stride = w.stride_h == w.stride_w && (w.stride_h == 1 || w.stride_h == 2);
    return square && stride && w.dilation_h == 1 && w.dilation_w == 1 ? DEPTHWISE_STRIP : 1;
}

/* A block: vectors of 8 channels x strips x rows = DEPTHWISE_THREADS. */
struct depthwise_block {
    int vectors, strips, rows;
};

/* Eight vectors are 128 bytes of half precision, what a warp's quarter should read in one go; fewer
 * channels leave more threads for pixels. Four strips (16 columns) by eight rows overlap their
 * neighbours by a third. */
THAW_PURE depthwise_block block_of_depthwise(int vectors, int strips, int rows) {
    depthwise_block b = {1, 1, 1};
    while (b.vectors < 8 && b.vectors < vectors)
        b.vectors *= 2;
    while (b.strips < 4 && b.strips < strips)
        b.strips *= 2;
    while (b.rows < 8 && b.rows < rows)
        b.rows *= 2;
    /* What is left over goes where there is work. */
    while (b.vectors * b.strips * b.rows < DEPTHWISE_THREADS && b.vectors < vectors)
        b.vectors *= 2;
    while (b.vectors * b.strips * b.rows < DEPTHWISE_THREADS && b.strips < strips)
        b.strips *= 2;
    while (b.vectors * b.strips * b.rows < DEPTHWISE_THREADS)
        b.rows *= 2;
    return b;
}

/* Blocks in all. */
THAW_PURE int64_t depthwise_tiles(const thaw_conv_shape &s) {
    int strip = depthwise_strip(s.window);
    int64_t vectors = padded_channels(s.C) / 8, strips = ceil_div(s.Q, strip);
    depthwise_block b = block_of_depthwise((int)vectors, (int)strips, (int)s.P);
    return s.N * ceil_div(vectors, b.vectors) * ceil_div(strips, b.strips) * ceil_div(s.P, b.rows);
}

}  // namespace thaw

#endif
