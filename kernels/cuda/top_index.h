/* The index arithmetic of the training side's kernels: small, pure, the same on host and device.
 *
 * tests/cuda/test_top_index.cc runs through all of it.
 */
#ifndef THAW_CUDA_TOP_INDEX_H
#define THAW_CUDA_TOP_INDEX_H

#include "index.h"

namespace thaw {

/* The widest access, 16 bytes at most, at which all of these (addresses, strides and lengths in
 * bytes, joined by |) are aligned. */
THAW_PURE int widest_access(uint64_t joined) {
    int bytes = 16;
    while (bytes > 1 && joined % (uint64_t)bytes != 0)
        bytes /= 2;
    return bytes;
}

/* Of the threads of a block, 1 << this many work on one row of `pieces`: a power of two, so that a
 * thread's row and lane come by shifting. Many pieces in all: four a thread, whose loads wait
 * together. Few: one a thread, so that all multiprocessors have some. */
THAW_PURE int row_shift(int64_t rows, int64_t pieces, int block_threads) {
    const int64_t MANY = 1 << 20; /* Four a thread still fill a hundred multiprocessors. */
    int64_t each = rows >= ceil_div(MANY, pieces) ? 4 : 1;
    int shift = 0;
    while ((2 << shift) <= block_threads && (each << shift) < pieces)
        shift++;
    return shift;
}

/* Rows [begin, end) of `split` of `splits`: balanced, in order, none left out. */
struct row_range {
    int64_t begin, end;
};

THAW_PURE row_range rows_of_split(int64_t rows, int splits, int split) {
    int64_t each = rows / splits, more = rows % splits; /* The first `more` have one more. */
    int64_t begin = split * each + (split < more ? split : more);
    return {begin, begin + each + (split < more ? 1 : 0)};
}

/* Blocks that share the sum of a column. Depends on the number of rows alone, and so do the sum's
 * bits. Up to 512 rows are one block's: 16 warps with 32 loads each take less time than a second
 * round of sums. */
THAW_PURE int splits_of_column(int64_t rows) {
    const int64_t ROWS = 512, MOST = 128;
    int64_t splits = ceil_div(rows, ROWS);
    return (int)(splits < 1 ? 1 : splits > MOST ? MOST : splits);
}

/* Chunks of pixels over which `blocks` blocks of a filter's gradient are split. Depends on the shape
 * alone, and so do the sum's bits. A chunk has work for its block's way in and out; the chunks' sums
 * are one block's of a column. */
THAW_PURE int chunks_of_filter(int64_t pixels, int64_t blocks) {
    const int64_t PIXELS = 256, MOST = 512;
    const int64_t ENOUGH = 1024; /* Blocks: several for each of some 130 multiprocessors. */
    int64_t chunks = ceil_div(ENOUGH, blocks);
    if (chunks > ceil_div(pixels, PIXELS)) chunks = ceil_div(pixels, PIXELS);
    return (int)(chunks < 1 ? 1 : chunks > MOST ? MOST : chunks);
}

/* Which of n segments value i lies in. Segment s begins where s - 1 ends; ends ascend; what lies
 * behind the last end is the last one's. */
template <class S>
THAW_PURE int segment_of(const S *segments, int n, int64_t i) {
    int low = 0, high = n - 1;
    while (low < high) {
        int middle = (low + high) / 2;
        if (i < segments[middle].end) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

}  // namespace thaw

#endif
