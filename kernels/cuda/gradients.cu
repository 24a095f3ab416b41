/* Gradients of what has no weights, in float or bf16, computed in float.
 *
 *     act:      dx = dy act'(x), told by y where that is enough
 *     pool:     dx[n,h,w,c] = sum over the windows that hold it: of dy / their size, or of dy where it
 *               is the window's first maximum
 *     crop:     dx = dy inside a border: of pad
 *     add:      to += x
 *
 * All NHWC, channels padded to 8, whose gradients are zero. A pool's windows are gone through for
 * each pixel of x, and a maximum looked for again: no atomics, one order of sums. Memory-bound.
 * Measured: not yet.
 */
#include <cuda_runtime.h>
#include <math.h>

#include "common.cuh"
#include "cuda_kernels.h"
#include "index.h"

namespace thaw {

enum { GRADIENT_THREADS = 256 };

static dim3 grid_for(int64_t threads) {
    return dim3((unsigned)ceil_div(threads, GRADIENT_THREADS));
}

__device__ inline int64_t thread_number() {
    return (int64_t)blockIdx.x * GRADIENT_THREADS + threadIdx.x;
}

/* ---- activations ---------------------------------------------------------------------------- */

/* The derivative where the output is y: of those that thaw_act_needs_input leaves to it. At a corner
 * it is 0, as PyTorch has it. */
__device__ inline float slope_at_output(thaw_act act, float a, float b, float y) {
    switch (act) {
        case THAW_ACT_CLIP:
            return y > a && y < b ? 1.0f : 0.0f;
        case THAW_ACT_LEAKY_RELU:
            return y > 0 ? 1.0f : a;
        case THAW_ACT_SIGMOID:
            return y * (1 - y);
        case THAW_ACT_HARD_SIGMOID:
            return y > 0 && y < 1 ? a : 0.0f;
        case THAW_ACT_TANH:
            return 1 - y * y;
        case THAW_ACT_ELU:
            return y > 0 ? 1.0f : y + a;
        default:
            return 1;
    }
}

__device__ inline float slope_of_gelu_tanh(float x) {
    float inner = 0.79788456f * (x + 0.044715f * x * x * x), t = tanhf(inner);
    float slope = 0.79788456f * (1 + 3 * 0.044715f * x * x);
    return 0.5f * (1 + t) + 0.5f * x * (1 - t * t) * slope;
}

/* The derivative at the input x: of the others. */
__device__ inline float slope_at_input(thaw_act act, float a, float x) {
    float s = sigmoid(x);
    switch (act) {
        case THAW_ACT_LEAKY_RELU:
            return x > 0 ? 1.0f : a;
        case THAW_ACT_ELU:
            return x > 0 ? 1.0f : a * __expf(x);
        case THAW_ACT_SILU:
            return s + x * s * (1 - s);
        case THAW_ACT_HARD_SWISH:
            return x <= -3 ? 0.0f : x >= 3 ? 1.0f : x * (1.0f / 3) + 0.5f;
        case THAW_ACT_GELU:
            return 0.5f * (1 + erff(x * 0.70710678f)) + x * 0.39894228f * __expf(-0.5f * x * x);
        case THAW_ACT_GELU_TANH:
            return slope_of_gelu_tanh(x);
        case THAW_ACT_SOFTPLUS:
            return s;
        case THAW_ACT_POWER:
            return a * power(x, a - 1);
        default:
            return 1;
    }
}

/* Thread: 8 channels of a pixel. dx may be dy. A zero gradient stays zero, whatever the slope is. */
template <class T>
__global__ void __launch_bounds__(GRADIENT_THREADS)
    act_gradient_kernel(thaw_act act, float a, float b, bool by_input, const T *v, const T *dy,
                        T *dx, int64_t total) {
    begin_kernel();
    int64_t i = thread_number();
    if (i >= total) return;
    float8 at = load8(v + i * 8), g = load8(dy + i * 8);
    for (int e = 0; e < 8; e++) {
        float slope =
            by_input ? slope_at_input(act, a, at.v[e]) : slope_at_output(act, a, b, at.v[e]);
        g.v[e] = g.v[e] == 0 ? 0 : g.v[e] * slope;
    }
    store8(dx + i * 8, g);
}

/* ---- pools ---------------------------------------------------------------------------------- */

struct pool_gradient_params {
    const void *x, *y, *dy;
    void *dx;
    int64_t total; /* Vectors of 8 channels in x. */
    divisor by_vectors, by_W, by_H;
    int H, W, P, Q, R, S, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    bool max, count_include_pad;
};

/* How many taps of a window lie inside. */
__device__ inline int taps_inside(int out, int taps, int stride, int dilation, int pad, int size) {
    int n = 0;
    for (int i = 0; i < taps; i++) {
        int at = out * stride + i * dilation - pad;
        n += at >= 0 && at < size;
    }
    return n;
}

/* Clears the channels of `mine` whose window has its maximum at a tap before (r, s). */
template <class T>
__device__ inline void keep_first_maxima(const pool_gradient_params &p, int64_t n, int out_h,
                                         int out_w, int r, int s, int64_t v, const float8 &most,
                                         float8 *mine) {
#pragma unroll 1
    for (int tap = 0; tap < r * p.S + s; tap++) {
        int h = out_h * p.stride_h + tap / p.S * p.dilation_h - p.pad_top;
        int w = out_w * p.stride_w + tap % p.S * p.dilation_w - p.pad_left;
        if (h < 0 || h >= p.H || w < 0 || w >= p.W) continue;
        float8 x = load8((const T *)p.x + (((n * p.H + h) * p.W + w) * p.by_vectors.d + v) * 8);
        for (int e = 0; e < 8; e++)
            if (x.v[e] == most.v[e]) mine->v[e] = 0;
    }
}

/* Windows that have a row or column: from the first that reaches it to the last that begins before it. Not
 * all taps are asked, since the window of a global mean is the whole map. */
__device__ inline int first_window(int at, int taps, int stride, int dilation, int pad) {
    int reach = at + pad - (taps - 1) * dilation;
    return reach > 0 ? (reach + stride - 1) / stride : 0;
}

__device__ inline int last_window(int at, int stride, int pad, int windows) {
    int last = (at + pad) / stride;
    return last < windows ? last : windows - 1;
}

/* Which of the window's taps it is; -1: it lies between two. */
__device__ inline int tap_of(int at, int window, int stride, int dilation, int pad) {
    int from_start = at + pad - window * stride;
    return from_start % dilation == 0 ? from_start / dilation : -1;
}

/* Thread: 8 channels of a pixel of x. */
template <class T>
__global__ void __launch_bounds__(GRADIENT_THREADS)
    pool_gradient_kernel(const pool_gradient_params p) {
    begin_kernel();
    int64_t i = thread_number();
    if (i >= p.total) return;
    uint32_t pixel = divide((uint32_t)i, p.by_vectors), row = divide(pixel, p.by_W);
    uint32_t n = divide(row, p.by_H);
    int h = (int)(row - n * p.by_H.d), w = (int)(pixel - row * p.by_W.d);
    int64_t v = i - (int64_t)pixel * p.by_vectors.d;
    float8 sum = {}, x = {};
    if (p.max) x = load8((const T *)p.x + i * 8);
    int last_h = last_window(h, p.stride_h, p.pad_top, p.P);
    int last_w = last_window(w, p.stride_w, p.pad_left, p.Q);
    int first_w = first_window(w, p.S, p.stride_w, p.dilation_w, p.pad_left);
    int out_h = first_window(h, p.R, p.stride_h, p.dilation_h, p.pad_top);
    for (; out_h <= last_h; out_h++) {
        int r = tap_of(h, out_h, p.stride_h, p.dilation_h, p.pad_top);
        for (int out_w = first_w; r >= 0 && out_w <= last_w; out_w++) {
            int s = tap_of(w, out_w, p.stride_w, p.dilation_w, p.pad_left);
            if (s < 0) continue;
            int64_t at = ((((int64_t)n * p.P + out_h) * p.Q + out_w) * p.by_vectors.d + v) * 8;
            float8 g = load8((const T *)p.dy + at);
            if (p.max) {
                float8 most = load8((const T *)p.y + at);
                for (int e = 0; e < 8; e++)
                    if (x.v[e] != most.v[e]) g.v[e] = 0;
                keep_first_maxima<T>(p, n, out_h, out_w, r, s, v, most, &g);
            } else {
                int inside = taps_inside(out_h, p.R, p.stride_h, p.dilation_h, p.pad_top, p.H) *
                             taps_inside(out_w, p.S, p.stride_w, p.dilation_w, p.pad_left, p.W);
                float scale = 1 / (float)(p.count_include_pad ? p.R * p.S : inside);
                for (float &f : g.v)
                    f *= scale;
            }
            add8(sum, g);
        }
    }
    store8((T *)p.dx + i * 8, sum);
}

/* ---- layouts -------------------------------------------------------------------------------- */

/* Thread: 8 channels of a pixel of dx. */
template <class T>
__global__ void __launch_bounds__(GRADIENT_THREADS)
    crop_kernel(const T *dy, T *dx, int64_t total, int64_t P, int64_t Q, int top, int left,
                divisor by_vectors, divisor by_W, divisor by_H) {
    begin_kernel();
    int64_t i = thread_number();
    if (i >= total) return;
    uint32_t pixel = divide((uint32_t)i, by_vectors), row = divide(pixel, by_W);
    uint32_t n = divide(row, by_H);
    int64_t h = row - n * by_H.d + top, w = pixel - row * by_W.d + left;
    int64_t v = i - (int64_t)pixel * by_vectors.d;
    store8(dx + i * 8, load8(dy + ((((int64_t)n * P + h) * Q + w) * by_vectors.d + v) * 8));
}

/* Thread: 8 numbers, of which n may leave less at the end. */
template <class T>
__global__ void __launch_bounds__(GRADIENT_THREADS) add_to_kernel(const T *x, T *to, int64_t n) {
    begin_kernel();
    int64_t i = thread_number() * 8;
    if (i + 8 <= n) {
        float8 sum = load8(to + i);
        add8(sum, load8(x + i));
        store8(to + i, sum);
        return;
    }
    for (; i < n; i++)
        store(to + i, value(to[i]) + value(x[i]));
}

}  // namespace thaw

using namespace thaw;

int cuda_act_gradient(thaw_cuda_launch *launch, const thaw_epilogue *e, int64_t n, thaw_dtype dtype,
                      const void *v, const void *dy, void *dx) {
    return with_training_type(dtype, [&](auto type) {
        using T = decltype(type);
        return launch_kernel(launch, "act_gradient", act_gradient_kernel<T>, grid_for(n / 8),
                             GRADIENT_THREADS, 0, e->act, e->a, e->b, thaw_act_needs_input(e),
                             (const T *)v, (const T *)dy, (T *)dx, n / 8);
    });
}

int cuda_pool_gradient(thaw_cuda_launch *launch, const thaw_pool_shape *s, thaw_dtype dtype,
                       const void *x, const void *y, const void *dy, void *dx) {
    pool_gradient_params p = {};
    p.x = x;
    p.y = y;
    p.dy = dy;
    p.dx = dx;
    p.by_vectors = make_divisor((uint32_t)(padded_channels(s->C) / 8));
    p.by_W = make_divisor((uint32_t)s->W);
    p.by_H = make_divisor((uint32_t)s->H);
    p.total = s->N * s->H * s->W * p.by_vectors.d;
    p.H = (int)s->H;
    p.W = (int)s->W;
    p.P = (int)s->P;
    p.Q = (int)s->Q;
    p.R = (int)s->window.R;
    p.S = (int)s->window.S;
    p.stride_h = (int)s->window.stride_h;
    p.stride_w = (int)s->window.stride_w;
    p.dilation_h = (int)s->window.dilation_h;
    p.dilation_w = (int)s->window.dilation_w;
    p.pad_top = (int)s->window.pad_top;
    p.pad_left = (int)s->window.pad_left;
    p.max = s->max;
    p.count_include_pad = s->count_include_pad;
    return with_training_type(dtype, [&](auto type) {
        return launch_kernel(launch, "pool_gradient", pool_gradient_kernel<decltype(type)>,
                             grid_for(p.total), GRADIENT_THREADS, 0, p);
    });
}

int cuda_crop(thaw_cuda_launch *launch, int64_t N, int64_t H, int64_t W, int64_t C,
              const thaw_window *win, thaw_dtype dtype, const void *dy, void *dx) {
    int64_t P = H + win->pad_top + win->pad_bottom, Q = W + win->pad_left + win->pad_right;
    int64_t vectors = padded_channels(C) / 8, total = N * H * W * vectors;
    return with_training_type(dtype, [&](auto type) {
        using T = decltype(type);
        return launch_kernel(launch, "crop", crop_kernel<T>, grid_for(total), GRADIENT_THREADS, 0,
                             (const T *)dy, (T *)dx, total, P, Q, (int)win->pad_top,
                             (int)win->pad_left, make_divisor((uint32_t)vectors),
                             make_divisor((uint32_t)W), make_divisor((uint32_t)H));
    });
}

int cuda_add_to(thaw_cuda_launch *launch, int64_t n, thaw_dtype dtype, const void *x, void *to) {
    return with_training_type(dtype, [&](auto type) {
        using T = decltype(type);
        return launch_kernel(launch, "add_to", add_to_kernel<T>, grid_for(ceil_div(n, 8)),
                             GRADIENT_THREADS, 0, (const T *)x, (T *)to, n);
    });
}
