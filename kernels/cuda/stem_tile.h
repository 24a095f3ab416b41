/* The first convolution's tiles and its index arithmetic: small, pure, the same on host and device.
 *
 * tests/cuda/test_stem.cc runs through it exhaustively, bank conflicts included.
 *
 * A block computes a tile of outputs, or of the pool's outputs where a max pool follows, for 32 or
 * 64 channels. The tile's conv outputs are numbered row by row; a warp multiplies 32 of them. The
 * pixels under them, the patch, lie in shared memory, four channels each ("a pixel" below), rows
 * `pitch` pixels apart. The filter's taps are numbered r * S + s; a step multiplies four of them.
 */
#ifndef THAW_CUDA_STEM_TILE_H
#define THAW_CUDA_STEM_TILE_H

#include "cuda_kernels.h"
#include "index.h"
#include "kernels.h"
#include "types.h"

namespace thaw {

constexpr int STEM_THREADS = 256;
constexpr int STEM_GROUP = 32;                               /* Conv outputs of a warp. */
constexpr int STEM_OUTPUTS = STEM_THREADS / 32 * STEM_GROUP; /* Of a block, at most. */
constexpr int STEM_CHUNK = 32;                               /* Filters staged at a time. */
constexpr int STEM_CHANNELS = 4;                             /* Of a pixel. */
constexpr int STEM_STEP = 4;                                 /* Taps of a step. */
constexpr int STEM_MAX_FILTER = 11;                          /* R and S: AlexNet's. */
constexpr int STEM_MAX_STRIDE = 4;
constexpr int STEM_MAX_POOL = 3; /* The pool's R, S and strides. */

template <class T>
constexpr int STEM_PIXEL_BYTES = STEM_CHANNELS *(int)sizeof(T);

/* ---- sizes ---------------------------------------------------------------------------------- */

struct stem_geometry {
    int H, W, C, stride_h, stride_w, pad_top, pad_left;
    int P, Q; /* The convolution's output. */
    int taps, steps;
    bool pooled;
    int pool_R, pool_S, pool_stride_h, pool_stride_w, pool_top, pool_left;
    int out_H, out_W, K, Kp; /* y. */
    int out_h, out_w;        /* A tile's outputs. */
    int conv_h, conv_w;      /* The conv outputs that they are made of. */
    int patch_h, patch_w;    /* The pixels that those are made of. */
    int pitch;
    int chunks, blocks_k; /* Chunks of 32 channels; blocks that share a tile's channels. */
    int tiles;            /* Of an image. */
    divisor by_tiles_w, by_tiles, by_blocks_k, by_S, by_conv_w, by_out_w, by_patch_w;
};

/* A block takes two chunks where they come in pairs: fewer loads of pixels for each product. */
THAW_PURE int stem_chunks_of_block(int chunks) {
    return chunks % 2 == 0 ? 2 : 1;
}

/* out_h, out_w, pitch: the choice. Shapes are what cuda_stem_refuses lets pass. */
THAW_PURE stem_geometry make_stem_geometry(const thaw_conv_shape &s, const thaw_pool_shape *pool,
                                           int out_h, int out_w, int pitch) {
    const thaw_window &win = s.window;
    stem_geometry g = {};
    g.H = (int)s.H, g.W = (int)s.W, g.C = (int)s.C;
    g.stride_h = (int)win.stride_h, g.stride_w = (int)win.stride_w;
    g.pad_top = (int)win.pad_top, g.pad_left = (int)win.pad_left;
    g.P = (int)s.P, g.Q = (int)s.Q;
    g.taps = (int)(win.R * win.S);
    g.steps = (int)ceil_div(g.taps, STEM_STEP);
    g.pooled = pool != nullptr;
    g.pool_R = pool ? (int)pool->window.R : 1;
    g.pool_S = pool ? (int)pool->window.S : 1;
    g.pool_stride_h = pool ? (int)pool->window.stride_h : 1;
    g.pool_stride_w = pool ? (int)pool->window.stride_w : 1;
    g.pool_top = pool ? (int)pool->window.pad_top : 0;
    g.pool_left = pool ? (int)pool->window.pad_left : 0;
    g.out_H = pool ? (int)pool->P : g.P;
    g.out_W = pool ? (int)pool->Q : g.Q;
    g.K = (int)s.K, g.Kp = (int)padded_channels(s.K);
    g.out_h = out_h, g.out_w = out_w;
    g.conv_h = (out_h - 1) * g.pool_stride_h + g.pool_R;
    g.conv_w = (out_w - 1) * g.pool_stride_w + g.pool_S;
    g.patch_h = (g.conv_h - 1) * g.stride_h + (int)win.R;
    g.patch_w = (g.conv_w - 1) * g.stride_w + (int)win.S;
    g.pitch = pitch;
    g.chunks = (int)ceil_div(s.K, STEM_CHUNK);
    g.blocks_k = g.chunks / stem_chunks_of_block(g.chunks);
    int tiles_w = (int)ceil_div(g.out_W, out_w);
    g.tiles = tiles_w * (int)ceil_div(g.out_H, out_h);
    g.by_tiles_w = make_divisor((uint32_t)tiles_w);
    g.by_tiles = make_divisor((uint32_t)g.tiles);
    g.by_blocks_k = make_divisor((uint32_t)g.blocks_k);
    g.by_S = make_divisor((uint32_t)win.S);
    g.by_conv_w = make_divisor((uint32_t)g.conv_w);
    g.by_out_w = make_divisor((uint32_t)out_w);
    g.by_patch_w = make_divisor((uint32_t)g.patch_w);
    return g;
}

/* The patch; after the products the staged outputs of a chunk, in the same memory. */
THAW_PURE int stem_shared_bytes(const stem_geometry &g, int element_bytes) {
    int patch = g.patch_h * g.pitch * STEM_CHANNELS * element_bytes;
    int groups = (int)ceil_div(g.conv_h * g.conv_w, STEM_GROUP);
    int staged = groups * STEM_GROUP * STEM_CHUNK * element_bytes;
    return patch > staged ? patch : staged;
}

/* ---- places --------------------------------------------------------------------------------- */

/* Blocks that share a patch follow each other: its pixels are still in L2. */
struct stem_block {
    int n, block_k;
    int out_p, out_q;   /* The tile's first output. */
    int conv_p, conv_q; /* Its first conv output; negative inside the pool's padding. */
    int h, w;           /* Its first pixel; negative inside the padding. */
};

THAW_PURE stem_block place_of_stem_block(const stem_geometry &g, uint32_t block) {
    uint32_t all = divide(block, g.by_blocks_k), n = divide(all, g.by_tiles);
    uint32_t tile = all - n * g.by_tiles.d, row = divide(tile, g.by_tiles_w);
    stem_block at = {};
    at.n = (int)n;
    at.block_k = (int)(block - all * g.by_blocks_k.d);
    at.out_p = (int)row * g.out_h;
    at.out_q = (int)(tile - row * g.by_tiles_w.d) * g.out_w;
    at.conv_p = at.out_p * g.pool_stride_h - g.pool_top;
    at.conv_q = at.out_q * g.pool_stride_w - g.pool_left;
    at.h = at.conv_p * g.stride_h - g.pad_top;
    at.w = at.conv_q * g.stride_w - g.pad_left;
    return at;
}

/* The pixel under tap 0 of conv output m. What lies beyond the tile reads the last one's. */
THAW_PURE int stem_pixel_of_output(const stem_geometry &g, int m) {
    int last = g.conv_h * g.conv_w - 1;
    uint32_t in = (uint32_t)(m < last ? m : last), i = divide(in, g.by_conv_w);
    return (int)i * g.stride_h * g.pitch + (int)(in - i * g.by_conv_w.d) * g.stride_w;
}

/* How many pixels behind tap 0 a tap is. Taps beyond the last have zeros for weights; they read the
 * last one's pixel, which is a number. */
THAW_PURE int stem_pixel_of_tap(const stem_geometry &g, int tap) {
    uint32_t t = (uint32_t)(tap < g.taps ? tap : g.taps - 1), r = divide(t, g.by_S);
    return (int)r * g.pitch + (int)(t - r * g.by_S.d);
}

/* Where, in bytes, channel c of conv output m is staged; c is the first of its vector of 16 bytes
 * or anything in it. Three accesses meet no bank twice: a warp's fragments on their way in (8
 * outputs in a row, 16 or 32 bytes of each), whole outputs in a row, and every other output. Half,
 * bf16: two outputs share 128 bytes; which is first alternates, so that every other output does,
 * too. */
template <class T>
THAW_PURE int stem_staged(int m, int c) {
    int v = c / VECTOR<T>, rest = c % VECTOR<T> * (int)sizeof(T);
    if (sizeof(T) == 4) return m * 128 + (v ^ (m & 3) << 1) * 16 + rest;
    int pair = m >> 1;
    return pair * 128 + ((m ^ pair) & 1) * 64 + (v ^ (pair & 3)) * 16 + rest;
}

/* Where, in elements, the weight of channel c, tap 4 step + t and filter k is: each lane reads its
 * part of a step as vectors of 16 bytes, two tiles of 8 filters in each (float: one). */
template <class T>
THAW_PURE int64_t stem_packed(int64_t steps, int64_t k, int64_t step, int64_t t, int64_t c) {
    int64_t chunk = k / STEM_CHUNK, tile = k % STEM_CHUNK / 8, lane = k % 8 * 4 + t;
    int64_t each = VECTOR<T> / STEM_CHANNELS;
    int64_t vector = (chunk * steps + step) * (4 / each) + tile / each;
    return ((vector * 32 + lane) * each + tile % each) * STEM_CHANNELS + c;
}

/* Vectors of 16 bytes that a lane reads of a chunk's weights in a step. */
template <class T>
constexpr int STEM_LOADS = 4 * STEM_CHANNELS / VECTOR<T>;

/* ---- bank conflicts ------------------------------------------------------------------------- */

/* How often the loads of pixels meet a bank again, summed over a block's loads; ideal: 0. A lane
 * loads the pixel of output lane / 4 (+ 8, 16, 24) of its group and of tap lane % 4. Shared memory
 * serves 128 bytes at a time: 16 or 8 lanes, whose pixels must differ modulo 16 or 8 or be equal.
 */
THAW_PURE int stem_conflicts(const stem_geometry &g, int pixel_bytes) {
    const int LANES = 128 / pixel_bytes;
    int conflicts = 0;
    for (int m = 0; m < g.conv_h * g.conv_w; m += LANES / STEM_STEP) {
        for (int step = 0; step < g.steps; step++) {
            int pixels[16] = {}, in_bank[16] = {}, most = 1;
            for (int lane = 0; lane < LANES; lane++) {
                pixels[lane] = stem_pixel_of_output(g, m + lane / STEM_STEP) +
                               stem_pixel_of_tap(g, step * STEM_STEP + lane % STEM_STEP);
                bool again = false; /* The same pixel is served to all who want it. */
                for (int other = 0; other < lane; other++)
                    again = again || pixels[other] == pixels[lane];
                int bank = pixels[lane] % LANES;
                if (!again && ++in_bank[bank] > most) most = in_bank[bank];
            }
            conflicts += most - 1;
        }
    }
    return conflicts;
}

}  // namespace thaw

#endif
