/* The rows that an index names: y[m,:] = x[row,:], row = index[step M + m].
 *
 * x: [rows,D] in any storage type; y: [M,D] in the same or in float, optionally scaled as the head
 * wants its features, (x - mean[d]) * scale[d] in float. The labels of the rows come along. An
 * epoch's shuffle is an index, not a copy; the step is in device memory, so that a graph of a step
 * can be replayed. Without scaling and conversion the bits are copied. Memory-bound: 16-byte
 * accesses where the rows are aligned, else the widest that fit. Rows that device memory does not
 * hold lie in page-locked memory of the host, which the same loads reach over the bus: an epoch
 * needs each once, so nothing is gained by copying them first. Measured: as part of a whole only.
 */
#include <cuda_runtime.h>

#include <assert.h>

#include "common.cuh"
#include "cuda_kernels.h"
#include "order.cuh"
#include "top_index.h"

namespace thaw {

enum { GATHER_THREADS = 256 };

/* x and y in pieces: what one access moves. */
struct gather_params {
    const void *x, *x_far;
    void *y;
    int64_t n_near;
    int64_t M, pieces;
    int64_t x_stride, y_stride; /* Pieces from a row to the next. */
    int shift;                  /* 1 << shift threads work on a row. */
    const float *mean, *scale;
    thaw_cuda_order order;
    const int32_t *label;
    int32_t *y_label;
    thaw_cuda_cursor *cursor;
};

/* The row that belongs to m in this step; -1: none. */
__device__ inline int64_t row_of(const gather_params &p, int64_t m) {
    int64_t step = p.cursor ? p.cursor->next : 0, at = step * p.M + m;
    if (blockIdx.x == 0 && threadIdx.x == 0 && p.cursor) p.cursor->step = step;
    return m < p.M && at < p.order.n ? row_at(p.order, at) : -1;
}

/* Where a row begins; a stride of its elements. No row: the first, which is not read. */
template <class T>
__device__ inline const T *place_of(const gather_params &p, int64_t row, int64_t stride) {
    return row < p.n_near ? (const T *)p.x + (row < 0 ? 0 : row) * stride
                          : (const T *)p.x_far + (row - p.n_near) * stride;
}

__device__ inline void gather_label(const gather_params &p, int64_t m, int64_t row, int lane) {
    if (p.label && lane == 0 && m < p.M) p.y_label[m] = row < 0 ? -1 : p.label[row];
}

__device__ inline uint4 load_piece(const uint4 *from) {
    return load_once(from);
}

template <class V>
__device__ inline V load_piece(const V *from) {
    return *from;
}

/* Grid: 256 >> shift rows a block. Thread: every (1 << shift)-th piece of a row, four at a time, so
 * that their loads wait together. */
template <class V>
__global__ void __launch_bounds__(GATHER_THREADS) gather_copy_kernel(const gather_params p) {
    begin_kernel();
    int64_t m = (int64_t)blockIdx.x * (GATHER_THREADS >> p.shift) + (threadIdx.x >> p.shift);
    int lanes = 1 << p.shift, lane = (int)threadIdx.x & (lanes - 1);
    int64_t row = row_of(p, m);
    gather_label(p, m, row, lane);
    if (m >= p.M) return;
    const V *from = place_of<V>(p, row, p.x_stride);
    V *to = (V *)p.y + m * p.y_stride;
    for (int64_t first = lane; first < p.pieces; first += 4 * lanes) {
        V piece[4] = {};
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int64_t at = first + i * lanes;
            if (at < p.pieces && row >= 0) piece[i] = load_piece(from + at);
        }
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int64_t at = first + i * lanes;
            if (at < p.pieces) to[at] = piece[i];
        }
    }
}

/* The same with conversion and scaling; a piece is EACH elements: 8, or 1 where rows of 8 are not
 * aligned. */
template <class T, class U, int EACH>
__global__ void __launch_bounds__(GATHER_THREADS) gather_scale_kernel(const gather_params p) {
    begin_kernel();
    int64_t m = (int64_t)blockIdx.x * (GATHER_THREADS >> p.shift) + (threadIdx.x >> p.shift);
    int lanes = 1 << p.shift, lane = (int)threadIdx.x & (lanes - 1);
    int64_t row = row_of(p, m);
    gather_label(p, m, row, lane);
    if (m >= p.M) return;
    const T *from = place_of<T>(p, row, p.x_stride * EACH);
    U *to = (U *)p.y + m * p.y_stride * EACH;
    for (int64_t d = lane * EACH; d < p.pieces * EACH; d += lanes * EACH) {
        if constexpr (EACH == 8) {
            float8 x = {};
            if (row >= 0) x = load8(from + d);
            if (row >= 0 && p.mean) {
                float8 mean = load8(p.mean + d), scale = load8(p.scale + d);
                for (int e = 0; e < 8; e++)
                    x.v[e] = (x.v[e] - mean.v[e]) * scale.v[e];
            }
            store8(to + d, x);
        } else {
            float x = row >= 0 ? value(from[d]) : 0;
            if (row >= 0 && p.mean) x = (x - p.mean[d]) * p.scale[d];
            store(to + d, x);
        }
    }
}

/* ---- launcher ------------------------------------------------------------------------------- */

static int launch_gather(thaw_cuda_launch *launch, const char *name,
                         void (*kernel)(const gather_params), gather_params p, int64_t pieces,
                         int64_t x_stride, int64_t y_stride) {
    p.pieces = pieces;
    p.x_stride = x_stride;
    p.y_stride = y_stride;
    p.shift = row_shift(p.M, pieces, GATHER_THREADS);
    dim3 grid((unsigned)ceil_div(p.M, GATHER_THREADS >> p.shift));
    return launch_kernel(launch, name, kernel, grid, GATHER_THREADS, 0, p);
}

static int launch_copy(thaw_cuda_launch *launch, const thaw_cuda_gather &g, int element_bytes,
                       const gather_params &p) {
    int64_t row = g.D * element_bytes, x_row = g.x_ld * element_bytes,
            y_row = g.y_ld * element_bytes;
    int bytes = widest_access((uint64_t)((uintptr_t)g.x | (uintptr_t)g.x_far | (uintptr_t)g.y) |
                              (uint64_t)row | (uint64_t)x_row | (uint64_t)y_row);
    auto kernel = bytes == 16  ? gather_copy_kernel<uint4>
                  : bytes == 8 ? gather_copy_kernel<uint2>
                  : bytes == 4 ? gather_copy_kernel<uint32_t>
                               : gather_copy_kernel<uint16_t>;
    return launch_gather(launch, "gather_copy", kernel, p, row / bytes, x_row / bytes,
                         y_row / bytes);
}

template <class T, class U>
static int launch_scale(thaw_cuda_launch *launch, const thaw_cuda_gather &g,
                        const gather_params &p) {
    uint64_t addresses = (uintptr_t)g.x | (uintptr_t)g.x_far | (uintptr_t)g.y | (uintptr_t)g.mean |
                         (uintptr_t)g.scale;
    if (widest_access(addresses) == 16 && g.D % 8 == 0 && g.x_ld % 8 == 0 && g.y_ld % 8 == 0)
        return launch_gather(launch, "gather_scale", gather_scale_kernel<T, U, 8>, p, g.D / 8,
                             g.x_ld / 8, g.y_ld / 8);
    return launch_gather(launch, "gather_scale", gather_scale_kernel<T, U, 1>, p, g.D, g.x_ld,
                         g.y_ld);
}

/* ---- rows that become maps ------------------------------------------------------------------ */

struct row_maps_params {
    const void *rows;
    const int64_t *index;
    void *y;
    int64_t M, total, pixels; /* pixels: of a row. */
    int C;
    divisor by_vectors;
};

/* Thread: 8 channels of a pixel of y. */
template <class T, class U>
__global__ void __launch_bounds__(GATHER_THREADS) row_maps_kernel(const row_maps_params p) {
    begin_kernel();
    int64_t i = (int64_t)blockIdx.x * GATHER_THREADS + threadIdx.x;
    if (i >= p.total) return;
    int64_t pixel = divide((uint32_t)i, p.by_vectors), m = pixel / p.pixels;
    int first = (int)(i - pixel * p.by_vectors.d) * 8;
    float8 y = {};
    if (m < p.M) {
        int64_t row = p.index ? p.index[m] : m;
        const T *x = (const T *)p.rows + (row * p.pixels + pixel - m * p.pixels) * p.C + first;
        if (p.C % 8 == 0)
            y = load8(x);
        else
            for (int e = 0; e < 8 && first + e < p.C; e++)
                y.v[e] = value(x[e]);
    }
    store8((U *)p.y + i * 8, y);
}

/* The other way. Thread: one number of the rows. */
template <class T>
__global__ void __launch_bounds__(GATHER_THREADS)
    map_rows_kernel(const T *x, float *rows, int64_t total, divisor by_C, int Cp) {
    begin_kernel();
    int64_t i = (int64_t)blockIdx.x * GATHER_THREADS + threadIdx.x;
    if (i >= total) return;
    int64_t pixel = divide((uint32_t)i, by_C);
    rows[i] = value(x[pixel * Cp + (i - pixel * by_C.d)]);
}

}  // namespace thaw

using namespace thaw;

int cuda_row_maps(thaw_cuda_launch *launch, int64_t N, int64_t pixels, int64_t C, thaw_dtype stored,
                  const void *rows, const int64_t *index, int64_t M, thaw_dtype dtype, void *y) {
    int64_t vectors = ceil_div(C, 8), total = N * pixels * vectors;
    row_maps_params p = {rows, index, y, M, total, pixels, (int)C, make_divisor((uint32_t)vectors)};
    dim3 grid((unsigned)ceil_div(total, GATHER_THREADS));
    return with_training_type(dtype, [&](auto to) {
        using U = decltype(to);
        return with_type(stored, [&](auto type) {
            return launch_kernel(launch, "row_maps", row_maps_kernel<decltype(type), U>, grid,
                                 GATHER_THREADS, 0, p);
        });
    });
}

int cuda_map_rows(thaw_cuda_launch *launch, int64_t pixels, int64_t C, thaw_dtype dtype,
                  const void *x, float *rows) {
    int64_t total = pixels * C;
    return with_training_type(dtype, [&](auto type) {
        using T = decltype(type);
        return launch_kernel(launch, "map_rows", map_rows_kernel<T>,
                             dim3((unsigned)ceil_div(total, GATHER_THREADS)), GATHER_THREADS, 0,
                             (const T *)x, rows, total, make_divisor((uint32_t)C),
                             (int)padded_channels(C));
    });
}

int cuda_gather(thaw_cuda_launch *launch, const thaw_cuda_gather *g) {
    assert(g->M > 0 && g->D > 0 && g->x_ld >= g->D && g->y_ld >= g->D);
    assert(!g->mean == !g->scale && !g->label == !g->y_label);
    assert(g->y_dtype == g->x_dtype || g->y_dtype == THAW_F32);
    gather_params p = {};
    p.x = g->x;
    p.x_far = g->x_far;
    p.n_near = g->x_far ? g->n_near : INT64_MAX;
    p.y = g->y;
    p.M = g->M;
    p.mean = g->mean;
    p.scale = g->scale;
    p.order = g->order;
    p.label = g->label;
    p.y_label = g->y_label;
    p.cursor = g->cursor;
    return with_type(g->x_dtype, [&](auto type) {
        using T = decltype(type);
        if (g->y_dtype != g->x_dtype) return launch_scale<T, float>(launch, *g, p);
        if (g->mean) return launch_scale<T, T>(launch, *g, p);
        return launch_copy(launch, *g, (int)sizeof(T), p);
    });
}
