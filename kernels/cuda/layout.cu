/* Moving elements: into the trunk, out of it, and from channels to channels.
 *
 *     import:    u8 pixels N,H,W,C -> y = x scale[c] + shift[c], padded to 8 channels
 *     export:    x -> float N,H,W,C without padding
 *     channels:  y[..., to + i] = x[..., from + i]: concat, one input a launch, and slice
 *     shuffle:   y[..., i groups + g] = x[..., g each + i]: ShuffleNet's, `each` channels a group
 *     pad:       x inside a border of zeros
 *     rearrange: y's axes are x's, permuted, both in ONNX's order; without a permutation a reshape
 *     constant:  y[n] = w: the same numbers for each picture
 *
 * All but the first two take x and y NHWC with channels padded to 8, of one type. Memory-bound: a
 * thread moves 16 bytes where offsets are multiples of 8 channels, single elements elsewhere.
 * Measured: as part of a whole only.
 */
#include <cuda_runtime.h>
#include <stdio.h>

#include "common.cuh"
#include "cuda_kernels.h"
#include "index.h"

namespace thaw {

enum { LAYOUT_THREADS = 256 };

static dim3 grid_for(int64_t threads) {
    return dim3((unsigned)ceil_div(threads, LAYOUT_THREADS));
}

__device__ inline int64_t thread_number() {
    return (int64_t)blockIdx.x * LAYOUT_THREADS + threadIdx.x;
}

/* Thread: 8 channels of a pixel. */
template <class T>
__global__ void __launch_bounds__(LAYOUT_THREADS)
    import_kernel(const uint8_t *pixels, const float *scale, const float *shift, T *y,
                  int64_t total, int64_t C, divisor by_vectors) {
    begin_kernel();
    int64_t i = thread_number();
    if (i >= total) return;
    uint32_t pixel = divide((uint32_t)i, by_vectors);
    int64_t c = ((int64_t)i - (int64_t)pixel * by_vectors.d) * 8;
    float8 x = {};
    for (int e = 0; e < 8; e++) {
        if (c + e < C)
            x.v[e] = (float)pixels[(int64_t)pixel * C + c + e] * scale[c + e] + shift[c + e];
    }
    store8(y + i * 8, x);
}

/* Thread: 8 channels. There is no padding to leave out, so pixels do not matter. */
template <class T>
__global__ void __launch_bounds__(LAYOUT_THREADS)
    export_vectors_kernel(const T *x, float *y, int64_t total) {
    begin_kernel();
    int64_t i = thread_number();
    if (i < total) store8(y + i * 8, load8(x + i * 8));
}

/* Thread: one element, so that a warp writes 128 bytes in a row. */
template <class T>
__global__ void __launch_bounds__(LAYOUT_THREADS)
    export_kernel(const T *x, float *y, int64_t total, int64_t C, int64_t Cp) {
    begin_kernel();
    for (int64_t i = thread_number(); i < total; i += (int64_t)gridDim.x * LAYOUT_THREADS) {
        int64_t pixel = i / C;
        y[i] = value(x[pixel * Cp + i - pixel * C]);
    }
}

/* Thread: 8 channels. All offsets and counts are multiples of 8. */
template <class T>
__global__ void __launch_bounds__(LAYOUT_THREADS)
    channel_vectors_kernel(const T *x, T *y, int64_t total, int64_t x_row, int64_t y_row,
                           divisor by_count) {
    begin_kernel();
    int64_t i = thread_number();
    if (i >= total) return;
    int64_t pixel = divide((uint32_t)i, by_count), v = i - pixel * by_count.d;
    store8(y + pixel * y_row + v * 8, load8(x + pixel * x_row + v * 8));
}

/* Thread: one channel of y, `count` of each pixel; those from `real` on are padding. Channel i
 * comes from channel i % groups * each + i / groups: with one group, from i. */
template <class T>
__global__ void __launch_bounds__(LAYOUT_THREADS)
    channel_kernel(const T *x, T *y, int64_t total, int64_t x_row, int64_t y_row, int64_t count,
                   int64_t real, int64_t groups, int64_t each) {
    begin_kernel();
    int64_t n = (int64_t)gridDim.x * LAYOUT_THREADS;
    for (int64_t i = thread_number(); i < total; i += n) {
        int64_t pixel = i / count, c = i - pixel * count;
        T v = {};
        if (c < real) v = x[pixel * x_row + c % groups * each + c / groups];
        y[pixel * y_row + c] = v;
    }
}

/* Thread: 8 channels of a pixel of y. */
template <class T>
__global__ void __launch_bounds__(LAYOUT_THREADS)
    pad_kernel(const T *x, T *y, int64_t total, int H, int W, int top, int left, divisor by_vectors,
               divisor by_W, divisor by_H) {
    begin_kernel();
    int64_t i = thread_number();
    if (i >= total) return;
    uint32_t pixel = divide((uint32_t)i, by_vectors), row = divide(pixel, by_W);
    uint32_t n = divide(row, by_H);
    int h = (int)(row - n * by_H.d) - top, w = (int)(pixel - row * by_W.d) - left;
    int64_t v = i - (int64_t)pixel * by_vectors.d;
    float8 zeros = {};
    bool inside = h >= 0 && h < H && w >= 0 && w < W;
    store8(y + i * 8,
           inside ? load8(x + ((((int64_t)n * H + h) * W + w) * by_vectors.d + v) * 8) : zeros);
}

/* A tensor N,H,W,Cp of which an element is found by its number in ONNX's order, and the other way. */
struct ordered_map {
    int64_t pixels, Cp;
    divisor by_pixels, by_Cp;
};

/* y's axes, in ONNX's order: how many there are of each, and how far apart in x. */
struct axis_walk {
    int n;
    divisor by[THAW_MAX_AXES];
    uint32_t apart[THAW_MAX_AXES];
};

/* Thread: one element of y, padding included. */
template <class T>
__global__ void __launch_bounds__(LAYOUT_THREADS)
    rearrange_kernel(const T *x, T *y, int64_t total, ordered_map from, ordered_map to,
                     int64_t to_C, axis_walk axes) {
    begin_kernel();
    for (int64_t i = thread_number(); i < total; i += (int64_t)gridDim.x * LAYOUT_THREADS) {
        int64_t n = i / (to.pixels * to.Cp);
        uint32_t at = (uint32_t)(i - n * to.pixels * to.Cp), pixel = divide(at, to.by_Cp);
        uint32_t c = at - pixel * to.by_Cp.d;
        T v = {};
        if (c < to_C) {
            uint32_t left = c * to.by_pixels.d + pixel, place = 0;
#pragma unroll
            for (int k = THAW_MAX_AXES - 1; k >= 0; k--) {
                if (k >= axes.n) continue;
                uint32_t outer = divide(left, axes.by[k]);
                place += (left - outer * axes.by[k].d) * axes.apart[k];
                left = outer;
            }
            uint32_t channel = divide(place, from.by_pixels);
            v = x[(n * from.pixels + place - channel * from.by_pixels.d) * from.Cp + channel];
        }
        y[i] = v;
    }
}

/* Thread: 8 channels. each: vectors of a picture. */
template <class T>
__global__ void __launch_bounds__(LAYOUT_THREADS)
    constant_kernel(const float *w, T *y, int64_t total, divisor each) {
    begin_kernel();
    int64_t i = thread_number();
    if (i >= total) return;
    int64_t at = i - (int64_t)divide((uint32_t)i, each) * each.d;
    store8(y + i * 8, load8(w + at * 8));
}

/* Blocks that are enough to fill any GPU; the kernels walk on from there. */
static dim3 walking_grid(int64_t total) {
    int64_t blocks = ceil_div(total, LAYOUT_THREADS), most = 1 << 16;
    return dim3((unsigned)(blocks < most ? blocks : most));
}

}  // namespace thaw

using namespace thaw;

const char *cuda_tensor_refuses(int64_t N, int64_t H, int64_t W, int64_t C,
                                thaw_cuda_reason *reason) {
    const long long MOST = (1ll << 31) - 1;
    long long vectors = N * H * W * (padded_channels(C) / 8);
    if (vectors <= MOST) return NULL;
    snprintf(reason->text, sizeof reason->text,
             "a tensor of it has %lld vectors of 8 channels, at most %lld are possible", vectors,
             MOST);
    return reason->text;
}

int cuda_import(thaw_cuda_launch *launch, int64_t N, int64_t H, int64_t W, int64_t C,
                thaw_dtype dtype, const uint8_t *pixels, const float *scale, const float *shift,
                void *y) {
    int64_t vectors = padded_channels(C) / 8, total = N * H * W * vectors;
    return with_type(dtype, [&](auto type) {
        using T = decltype(type);
        return launch_kernel(launch, "import", import_kernel<T>, grid_for(total), LAYOUT_THREADS, 0,
                             pixels, scale, shift, (T *)y, total, C,
                             make_divisor((uint32_t)vectors));
    });
}

int cuda_export(thaw_cuda_launch *launch, int64_t N, int64_t H, int64_t W, int64_t C,
                thaw_dtype dtype, const void *x, float *y) {
    int64_t total = N * H * W * C;
    return with_type(dtype, [&](auto type) {
        using T = decltype(type);
        if (C % 8 == 0 && (uintptr_t)y % 16 == 0) {
            return launch_kernel(launch, "export_vectors", export_vectors_kernel<T>,
                                 grid_for(total / 8), LAYOUT_THREADS, 0, (const T *)x, y,
                                 total / 8);
        }
        return launch_kernel(launch, "export", export_kernel<T>, walking_grid(total),
                             LAYOUT_THREADS, 0, (const T *)x, y, total, C, padded_channels(C));
    });
}

int cuda_channels(thaw_cuda_launch *launch, int64_t pixels, int64_t x_C, int64_t from, int64_t y_C,
                  int64_t to, int64_t count, thaw_dtype dtype, const void *x, void *y) {
    int64_t x_row = padded_channels(x_C), y_row = padded_channels(y_C);
    /* The last channels of y bring y's padding with them. */
    int64_t all = to + count == y_C ? y_row - to : count;
    bool vectors =
        from % 8 == 0 && to % 8 == 0 && (count % 8 == 0 || (all % 8 == 0 && from + count == x_C));
    return with_type(dtype, [&](auto type) {
        using T = decltype(type);
        const T *source = (const T *)x + from;
        T *target = (T *)y + to;
        if (vectors) {
            int64_t total = pixels * (all / 8);
            return launch_kernel(launch, "channel_vectors", channel_vectors_kernel<T>,
                                 grid_for(total), LAYOUT_THREADS, 0, source, target, total, x_row,
                                 y_row, make_divisor((uint32_t)(all / 8)));
        }
        return launch_kernel(launch, "channels", channel_kernel<T>, walking_grid(pixels * all),
                             LAYOUT_THREADS, 0, source, target, pixels * all, x_row, y_row, all,
                             count, (int64_t)1, count);
    });
}

int cuda_shuffle(thaw_cuda_launch *launch, int64_t pixels, int64_t C, int64_t groups,
                 thaw_dtype dtype, const void *x, void *y) {
    int64_t row = padded_channels(C);
    return with_type(dtype, [&](auto type) {
        using T = decltype(type);
        return launch_kernel(launch, "shuffle", channel_kernel<T>, walking_grid(pixels * row),
                             LAYOUT_THREADS, 0, (const T *)x, (T *)y, pixels * row, row, row, row,
                             C, groups, C / groups);
    });
}

int cuda_pad(thaw_cuda_launch *launch, int64_t N, int64_t H, int64_t W, int64_t C,
             const thaw_window *win, thaw_dtype dtype, const void *x, void *y) {
    int64_t P = H + win->pad_top + win->pad_bottom, Q = W + win->pad_left + win->pad_right;
    int64_t vectors = padded_channels(C) / 8, total = N * P * Q * vectors;
    return with_type(dtype, [&](auto type) {
        using T = decltype(type);
        return launch_kernel(launch, "pad", pad_kernel<T>, grid_for(total), LAYOUT_THREADS, 0,
                             (const T *)x, (T *)y, total, (int)H, (int)W, (int)win->pad_top,
                             (int)win->pad_left, make_divisor((uint32_t)vectors),
                             make_divisor((uint32_t)Q), make_divisor((uint32_t)P));
    });
}

static ordered_map map_of(int64_t H, int64_t W, int64_t C) {
    int64_t Cp = padded_channels(C);
    return {H * W, Cp, make_divisor((uint32_t)(H * W)), make_divisor((uint32_t)Cp)};
}

int cuda_rearrange(thaw_cuda_launch *launch, const thaw_cuda_rearrange *r) {
    const thaw_permutation &p = r->axes;
    int64_t apart[THAW_MAX_AXES], step = 1, total = r->N * r->P * r->Q * padded_channels(r->K);
    axis_walk axes = {};
    for (int k = p.n - 1; k >= 0; step *= p.dims[k--])
        apart[k] = step;
    axes.n = p.n;
    for (int k = 0; k < p.n; k++) {
        axes.by[k] = make_divisor((uint32_t)p.dims[p.perm[k]]);
        axes.apart[k] = (uint32_t)apart[p.perm[k]];
    }
    return with_type(r->dtype, [&](auto type) {
        using T = decltype(type);
        return launch_kernel(launch, "rearrange", rearrange_kernel<T>, walking_grid(total),
                             LAYOUT_THREADS, 0, (const T *)r->x, (T *)r->y, total,
                             map_of(r->H, r->W, r->C), map_of(r->P, r->Q, r->K), r->K, axes);
    });
}

int cuda_constant(thaw_cuda_launch *launch, int64_t N, int64_t pixels, int64_t C, thaw_dtype dtype,
                  const float *w, void *y) {
    int64_t each = pixels * (padded_channels(C) / 8), total = N * each;
    return with_type(dtype, [&](auto type) {
        using T = decltype(type);
        return launch_kernel(launch, "constant", constant_kernel<T>, grid_for(total),
                             LAYOUT_THREADS, 0, w, (T *)y, total, make_divisor((uint32_t)each));
    });
}
