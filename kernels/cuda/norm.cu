/* Batch normalisation in training, and other sums over the pixels of each channel.
 *
 *     norm:   y = act((x - mean[c]) / sqrt(var[c] + epsilon) scale[c] + shift[c])
 *             mean, var: of all pixels, var without Bessel's correction; or the running ones
 *     norm's gradient, with z = (x - mean) / sqrt(var + epsilon) and n pixels:
 *             dshift = sum dy;  dscale = sum dy z
 *             dx = scale / sqrt(var + epsilon) (dy - (dshift + z dscale) / n)
 *     affine's: dshift = sum dy;  dscale = sum dy x, or of layer norm's normalised x
 *     image sums: y[n,c] = sum over a picture's pixels of a[n,h,w,c] b[n,h,w,c]
 *     pixel sums: y[n,h,w,0] = the same over a pixel's channels
 *
 * x, y, dx, dy: NHWC in float or bf16, channels padded to 8. Sums over all pixels are in double, as on the
 * CPU: of blocks of pixels first, then of these in their order, which depends on the shape alone.
 * Three launches: sums, one number or two of each channel, and a pass over the tensor (Ioffe &
 * Szegedy 2015; ONNX BatchNormalization 15 with training_mode). Measured: not yet.
 */
#include <cuda_runtime.h>

#include "common.cuh"
#include "cuda_kernels.h"
#include "index.h"

namespace thaw {

enum { NORM_LANES = 32, NORM_ROWS = 8, NORM_THREADS = NORM_LANES * NORM_ROWS };
enum { NORM_SPLIT_PIXELS = 1024, NORM_MOST_SPLITS = 64, NORM_TABLES = 4 };

static int splits_of(int64_t pixels) {
    int64_t splits = ceil_div(pixels, NORM_SPLIT_PIXELS), most = NORM_MOST_SPLITS;
    return (int)(splits < most ? splits : most);
}

/* Grid: 32 channels x splits of the pixels. Thread: every 8th pixel of its split, for a channel.
 * parts[split][0][c] = sum of a, parts[split][1][c] = sum of a b. stats: NULL, or of each pixel what is
 * taken off b first, and what that is multiplied by. */
template <class T>
__global__ void __launch_bounds__(NORM_THREADS)
    channel_sums_kernel(const T *a, const T *b, const float2 *stats, double *parts, int64_t pixels,
                        int Cp, int splits) {
    begin_kernel();
    double *shared = (double *)shared_memory(); /* [2][NORM_ROWS][NORM_LANES] */
    int c = (int)(blockIdx.x * NORM_LANES + threadIdx.x % NORM_LANES), split = (int)blockIdx.y;
    int64_t begin = pixels * split / splits, end = pixels * (split + 1) / splits;
    double sum = 0, second = 0;
    for (int64_t m = begin + threadIdx.x / NORM_LANES; m < end && c < Cp; m += NORM_ROWS) {
        double v = value(a[m * Cp + c]);
        float other = value(b[m * Cp + c]);
        if (stats) other = (other - stats[m].x) * stats[m].y;
        sum += v;
        second += v * other;
    }
    shared[threadIdx.x] = sum;
    shared[NORM_THREADS + threadIdx.x] = second;
    __syncthreads(); /* All eight rows' sums are there. */
    if (threadIdx.x >= NORM_LANES || c >= Cp) return;
    for (int i = 1; i < NORM_ROWS; i++) {
        sum += shared[i * NORM_LANES + threadIdx.x];
        second += shared[NORM_THREADS + i * NORM_LANES + threadIdx.x];
    }
    parts[((int64_t)split * 2 + 0) * Cp + c] = sum;
    parts[((int64_t)split * 2 + 1) * Cp + c] = second;
}

struct finish_params {
    const double *parts; /* NULL: running statistics. */
    int splits, C, Cp;
    double n, epsilon;
    const float *scale, *shift, *mean, *var;
    float *batch_mean, *batch_var, *dscale, *dshift;
    float *tables; /* [NORM_TABLES][Cp]: what the pass over the tensor reads; padding: zeros. */
};

struct two_sums {
    double first, second;
};

__device__ inline two_sums add_parts(const finish_params &p, int c) {
    two_sums sum = {0, 0};
    for (int i = 0; i < p.splits; i++) {
        sum.first += p.parts[((int64_t)i * 2 + 0) * p.Cp + c];
        sum.second += p.parts[((int64_t)i * 2 + 1) * p.Cp + c];
    }
    return sum;
}

/* Thread: a channel. Tables: mean, scale, shift. */
__global__ void __launch_bounds__(NORM_THREADS) norm_finish_kernel(const finish_params p) {
    begin_kernel();
    int c = (int)(blockIdx.x * NORM_THREADS + threadIdx.x);
    if (c >= p.Cp) return;
    double mean = 0, var = 0, scale = 0;
    bool real = c < p.C;
    if (real && p.parts) {
        two_sums sum = add_parts(p, c);
        mean = sum.first / p.n;
        var = sum.second / p.n - mean * mean;
        if (var < 0) var = 0;
        p.batch_mean[c] = (float)mean;
        p.batch_var[c] = (float)var;
    } else if (real) {
        mean = p.mean[c];
        var = p.var[c];
    }
    if (real) scale = p.scale[c] / sqrt(var + p.epsilon);
    p.tables[c] = (float)mean;
    p.tables[p.Cp + c] = (float)scale;
    p.tables[2 * p.Cp + c] = real ? p.shift[c] : 0;
}

/* Thread: a channel. Tables: mean, and what dy, x - mean and 1 are multiplied by. */
__global__ void __launch_bounds__(NORM_THREADS) norm_gradient_finish_kernel(const finish_params p) {
    begin_kernel();
    int c = (int)(blockIdx.x * NORM_THREADS + threadIdx.x);
    if (c >= p.Cp) return;
    double mean = 0, by_dy = 0, by_x = 0, constant = 0;
    if (c < p.C) {
        two_sums sum = add_parts(p, c);
        mean = p.mean[c];
        double r = 1 / sqrt(p.var[c] + p.epsilon);
        double dshift = sum.first, dscale = (sum.second - mean * dshift) * r;
        if (p.dshift) p.dshift[c] = (float)dshift;
        if (p.dscale) p.dscale[c] = (float)dscale;
        by_dy = p.scale[c] * r;
        by_x = -by_dy * dscale * r / p.n;
        constant = -by_dy * dshift / p.n;
    }
    p.tables[c] = (float)mean;
    p.tables[p.Cp + c] = (float)by_dy;
    p.tables[2 * p.Cp + c] = (float)by_x;
    p.tables[3 * p.Cp + c] = (float)constant;
}

/* Thread: a channel. */
__global__ void __launch_bounds__(NORM_THREADS)
    affine_gradient_finish_kernel(const finish_params p) {
    begin_kernel();
    int c = (int)(blockIdx.x * NORM_THREADS + threadIdx.x);
    if (c >= p.C) return;
    two_sums sum = add_parts(p, c);
    if (p.dshift) p.dshift[c] = (float)sum.first;
    if (p.dscale) p.dscale[c] = (float)sum.second;
}

struct norm_pass_params {
    const void *x, *dy;
    const float *tables;
    void *to;
    int64_t total; /* Vectors of 8 channels. */
    divisor by_vectors;
    thaw_act act;
    float a, b;
};

/* Thread: 8 channels of a pixel. The mean goes off first: it may be far larger than what is left.
 * Padding stays zero: its mean, scale and shift are, and so is what an activation may make of it. */
template <class T>
__global__ void __launch_bounds__(NORM_THREADS) normalise_kernel(const norm_pass_params p, int C) {
    begin_kernel();
    int64_t i = (int64_t)blockIdx.x * NORM_THREADS + threadIdx.x;
    if (i >= p.total) return;
    int v = (int)((uint32_t)i - divide((uint32_t)i, p.by_vectors) * p.by_vectors.d);
    int Cp = (int)p.by_vectors.d * 8;
    float8 x = load8((const T *)p.x + i * 8), mean = load8(p.tables + v * 8);
    float8 scale = load8(p.tables + Cp + v * 8), shift = load8(p.tables + 2 * Cp + v * 8);
    for (int e = 0; e < 8; e++)
        x.v[e] = (x.v[e] - mean.v[e]) * scale.v[e] + shift.v[e];
    activate8(p.act, p.a, p.b, x);
    zero_padding(x, C - v * 8);
    store8((T *)p.to + i * 8, x);
}

/* Thread: 8 channels of a pixel. */
template <class T>
__global__ void __launch_bounds__(NORM_THREADS) norm_gradient_kernel(const norm_pass_params p) {
    begin_kernel();
    int64_t i = (int64_t)blockIdx.x * NORM_THREADS + threadIdx.x;
    if (i >= p.total) return;
    int v = (int)((uint32_t)i - divide((uint32_t)i, p.by_vectors) * p.by_vectors.d);
    int Cp = (int)p.by_vectors.d * 8;
    float8 x = load8((const T *)p.x + i * 8), dy = load8((const T *)p.dy + i * 8);
    float8 mean = load8(p.tables + v * 8);
    float8 by_dy = load8(p.tables + Cp + v * 8), by_x = load8(p.tables + 2 * Cp + v * 8);
    float8 constant = load8(p.tables + 3 * Cp + v * 8);
    for (int e = 0; e < 8; e++)
        x.v[e] = dy.v[e] * by_dy.v[e] + (x.v[e] - mean.v[e]) * by_x.v[e] + constant.v[e];
    store8((T *)p.to + i * 8, x);
}

/* Grid: 32 channels x pictures. Thread: every 8th pixel of its picture, for a channel. */
template <class T>
__global__ void __launch_bounds__(NORM_THREADS)
    image_sums_kernel(const T *a, const T *b, T *y, int64_t pixels, int Cp) {
    begin_kernel();
    float *shared = (float *)shared_memory(); /* [NORM_ROWS][NORM_LANES] */
    int c = (int)(blockIdx.x * NORM_LANES + threadIdx.x % NORM_LANES);
    int64_t first = (int64_t)blockIdx.y * pixels;
    float sum = 0;
    for (int64_t m = threadIdx.x / NORM_LANES; m < pixels && c < Cp; m += NORM_ROWS) {
        int64_t at = (first + m) * Cp + c;
        sum += b ? value(a[at]) * value(b[at]) : value(a[at]);
    }
    shared[threadIdx.x] = sum;
    __syncthreads(); /* All eight rows' sums are there. */
    if (threadIdx.x >= NORM_LANES || c >= Cp) return;
    for (int i = 1; i < NORM_ROWS; i++)
        sum += shared[i * NORM_LANES + threadIdx.x];
    store(y + (int64_t)blockIdx.y * Cp + c, sum);
}

/* Thread: a pixel. y[pixel, 0] is its sum over channels, the other seven are padding. */
template <class T>
__global__ void __launch_bounds__(NORM_THREADS)
    pixel_sums_kernel(const T *a, const T *b, T *y, int64_t pixels, int Cp) {
    begin_kernel();
    int64_t pixel = (int64_t)blockIdx.x * NORM_THREADS + threadIdx.x;
    if (pixel >= pixels) return;
    float8 sum = {};
    for (int c = 0; c < Cp; c += 8) {
        float8 one = load8(a + pixel * Cp + c), other;
        for (float &f : other.v)
            f = 1;
        if (b) other = load8(b + pixel * Cp + c);
        add_products8(sum, one, other);
    }
    float8 all = {};
    for (float f : sum.v)
        all.v[0] += f;
    store8(y + pixel * 8, all);
}

/* ---- launchers ------------------------------------------------------------------------------ */

static int launch_sums(thaw_cuda_launch *launch, int64_t pixels, int64_t C, thaw_dtype dtype,
                       const void *a, const void *b, const float2 *stats, double *parts) {
    int Cp = (int)padded_channels(C), splits = splits_of(pixels);
    dim3 grid((unsigned)ceil_div(Cp, NORM_LANES), (unsigned)splits);
    return with_training_type(dtype, [&](auto type) {
        using T = decltype(type);
        return launch_kernel(launch, "channel_sums", channel_sums_kernel<T>, grid, NORM_THREADS,
                             2 * NORM_THREADS * sizeof(double), (const T *)a, (const T *)b, stats,
                             parts, pixels, Cp, splits);
    });
}

static finish_params finish_of(int64_t pixels, int64_t C, void *workspace) {
    finish_params p = {};
    p.parts = (const double *)workspace;
    p.splits = splits_of(pixels);
    p.C = (int)C;
    p.Cp = (int)padded_channels(C);
    p.n = (double)pixels;
    p.tables = (float *)((double *)workspace + (int64_t)p.splits * 2 * p.Cp);
    return p;
}

static dim3 channel_grid(int64_t C) {
    return dim3((unsigned)ceil_div(padded_channels(C), NORM_THREADS));
}

static norm_pass_params pass_of(int64_t pixels, int64_t C, const void *x, const float *tables,
                                void *to) {
    norm_pass_params p = {};
    p.x = x;
    p.tables = tables;
    p.to = to;
    p.by_vectors = make_divisor((uint32_t)(padded_channels(C) / 8));
    p.total = pixels * p.by_vectors.d;
    return p;
}

}  // namespace thaw

using namespace thaw;

size_t cuda_norm_workspace(int64_t pixels, int64_t C) {
    return (size_t)padded_channels(C) *
           ((size_t)splits_of(pixels) * 2 * sizeof(double) + NORM_TABLES * sizeof(float));
}

int cuda_norm(thaw_cuda_launch *launch, const thaw_cuda_norm *n) {
    finish_params p = finish_of(n->pixels, n->C, n->workspace);
    int code = 0;
    if (n->batch_mean)
        code = launch_sums(launch, n->pixels, n->C, n->dtype, n->x, n->x, nullptr,
                           (double *)n->workspace);
    else
        p.parts = nullptr;
    if (code) return code;
    p.epsilon = n->epsilon;
    p.scale = n->scale;
    p.shift = n->shift;
    p.mean = n->mean;
    p.var = n->var;
    p.batch_mean = n->batch_mean;
    p.batch_var = n->batch_var;
    code = launch_kernel(launch, "norm_finish", norm_finish_kernel, channel_grid(n->C),
                         NORM_THREADS, 0, p);
    if (code) return code;
    norm_pass_params pass = pass_of(n->pixels, n->C, n->x, p.tables, n->y);
    pass.act = n->act;
    pass.a = n->a;
    pass.b = n->b;
    return with_training_type(n->dtype, [&](auto type) {
        return launch_kernel(launch, "normalise", normalise_kernel<decltype(type)>,
                             dim3((unsigned)ceil_div(pass.total, NORM_THREADS)), NORM_THREADS, 0,
                             pass, (int)n->C);
    });
}

int cuda_norm_gradient(thaw_cuda_launch *launch, const thaw_cuda_norm_gradient *g) {
    finish_params p = finish_of(g->pixels, g->C, g->workspace);
    int code = launch_sums(launch, g->pixels, g->C, g->dtype, g->dy, g->x, nullptr,
                           (double *)g->workspace);
    if (code) return code;
    p.epsilon = g->epsilon;
    p.scale = g->scale;
    p.mean = g->batch_mean;
    p.var = g->batch_var;
    p.dscale = g->dscale;
    p.dshift = g->dshift;
    code = launch_kernel(launch, "norm_gradient_finish", norm_gradient_finish_kernel,
                         channel_grid(g->C), NORM_THREADS, 0, p);
    if (code || !g->dx) return code;
    norm_pass_params pass = pass_of(g->pixels, g->C, g->x, p.tables, g->dx);
    pass.dy = g->dy;
    return with_training_type(g->dtype, [&](auto type) {
        return launch_kernel(launch, "norm_gradient", norm_gradient_kernel<decltype(type)>,
                             dim3((unsigned)ceil_div(pass.total, NORM_THREADS)), NORM_THREADS, 0,
                             pass);
    });
}

int cuda_affine_gradient(thaw_cuda_launch *launch, int64_t pixels, int64_t C, thaw_dtype dtype,
                         const void *x, const float2 *stats, const void *dy, float *dscale,
                         float *dshift, void *workspace) {
    finish_params p = finish_of(pixels, C, workspace);
    p.dscale = dscale;
    p.dshift = dshift;
    int code = launch_sums(launch, pixels, C, dtype, dy, x, stats, (double *)workspace);
    if (code) return code;
    return launch_kernel(launch, "affine_gradient_finish", affine_gradient_finish_kernel,
                         channel_grid(C), NORM_THREADS, 0, p);
}

int cuda_image_sums(thaw_cuda_launch *launch, int64_t N, int64_t pixels, int64_t C,
                    thaw_dtype dtype, const void *a, const void *b, void *y) {
    int Cp = (int)padded_channels(C);
    dim3 grid((unsigned)ceil_div(Cp, NORM_LANES), (unsigned)N);
    return with_training_type(dtype, [&](auto type) {
        using T = decltype(type);
        return launch_kernel(launch, "image_sums", image_sums_kernel<T>, grid, NORM_THREADS,
                             NORM_THREADS * sizeof(float), (const T *)a, (const T *)b, (T *)y,
                             pixels, Cp);
    });
}

int cuda_pixel_sums(thaw_cuda_launch *launch, int64_t pixels, int64_t C, thaw_dtype dtype,
                    const void *a, const void *b, void *y) {
    dim3 grid((unsigned)ceil_div(pixels, NORM_THREADS));
    return with_training_type(dtype, [&](auto type) {
        using T = decltype(type);
        return launch_kernel(launch, "pixel_sums", pixel_sums_kernel<T>, grid, NORM_THREADS, 0,
                             (const T *)a, (const T *)b, (T *)y, pixels, (int)padded_channels(C));
    });
}
