/* Normalisation of groups of channels over each picture.
 *
 *     y[n,p,c] = (x[n,p,c] - mean) / sqrt(variance + eps) gamma[c] + beta[c]
 *     gradient, with z the normalised x and g = dy gamma, means over a group:
 *     dx = (g - mean of g - z mean of g z) / sqrt(variance + eps);  dgamma = sum of dy z, dbeta = sum of dy
 *
 * mean, variance (the biased one): over the pixels and channels of c's group in picture n. x, y: NHWC, channels
 * padded to 8; gamma, beta: float [Cp]. Wu & He 2018, ONNX GroupNormalization 21; one channel a group is
 * InstanceNormalization 6. Three kernels: the moments of each channel, in two walks over its pixels, so that
 * the mean is gone before anything is squared; those of its group from them (Chan, Golub & LeVeque 1983); the
 * map. A block of the first has 8 channels of a picture, whose vectors lie a pixel apart: half of each sector
 * that it reads is a neighbour's, whom L2 serves. All sums in an order that the shape alone decides. Measured:
 * not yet.
 */
#include <cuda_runtime.h>

#include "common.cuh"
#include "cuda_kernels.h"
#include "index.h"
#include "reduce.cuh"

namespace thaw {

enum { GROUP_WARPS = 4, GROUP_THREADS = GROUP_WARPS * 32 };

/* Sum over all threads' values, channel by channel. */
__device__ inline float8 block_sum8(float8 x, float *shared) {
    for (int e = 0; e < 8; e++)
        x.v[e] = block_sum<GROUP_WARPS>(x.v[e], shared);
    return x;
}

/* Block: the pixels of one vector of 8 channels of a picture. mean, m2 (the sum of squared differences from
 * it): [N,Cp]. */
template <class T>
__global__ void __launch_bounds__(GROUP_THREADS)
    channel_moments_kernel(const T *x, float *mean, float *m2, int64_t pixels, int64_t Cp) {
    begin_kernel();
    float *shared = (float *)shared_memory(); /* [GROUP_WARPS] */
    int64_t at = (int64_t)blockIdx.x * 8, n = at / Cp;
    const T *from = x + n * pixels * Cp + (at - n * Cp);
    float8 sum = {}, squares = {};
    for (int64_t p = threadIdx.x; p < pixels; p += GROUP_THREADS)
        add8(sum, load8(from + p * Cp));
    float8 middle = block_sum8(sum, shared);
    for (int e = 0; e < 8; e++)
        middle.v[e] /= (float)pixels;
    for (int64_t p = threadIdx.x; p < pixels; p += GROUP_THREADS) {
        float8 f = load8(from + p * Cp);
        for (int e = 0; e < 8; e++)
            f.v[e] -= middle.v[e];
        add_products8(squares, f, f);
    }
    squares = block_sum8(squares, shared);
    if (threadIdx.x != 0) return;
    store8(mean + at, middle);
    store8(m2 + at, squares);
}

/* Grid: threads for all channels of all pictures. Thread: a channel; its group's mean and 1 / deviation. */
__global__ void __launch_bounds__(GROUP_THREADS)
    group_moments_kernel(const float *mean, const float *m2, float *group_mean, float *group_scale,
                         int64_t total, int64_t pixels, int64_t C, int64_t Cp, int64_t each,
                         float eps) {
    begin_kernel();
    int64_t i = (int64_t)blockIdx.x * GROUP_THREADS + threadIdx.x;
    if (i >= total) return;
    int64_t row = i / Cp * Cp, c = i - row, first = row + c / each * each;
    float sum = 0, within = 0, between = 0;
    if (c < C) {
        for (int64_t k = 0; k < each; k++)
            sum += mean[first + k];
        float middle = sum / (float)each;
        for (int64_t k = 0; k < each; k++) {
            float d = mean[first + k] - middle;
            within += m2[first + k];
            between += d * d;
        }
        sum = middle;
    }
    float variance = within / (float)(each * pixels) + between / (float)each;
    group_mean[i] = sum;
    group_scale[i] = rsqrtf(variance + eps);
}

/* Thread: 8 channels of a pixel. */
template <class T>
__global__ void __launch_bounds__(GROUP_THREADS)
    group_scale_kernel(const T *x, const float *mean, const float *scale, const float *gamma,
                       const float *beta, T *y, int64_t total, int64_t C, divisor by_vectors,
                       divisor by_pixels) {
    begin_kernel();
    int64_t i = (int64_t)blockIdx.x * GROUP_THREADS + threadIdx.x;
    if (i >= total) return;
    uint32_t pixel = divide((uint32_t)i, by_vectors), n = divide(pixel, by_pixels);
    int64_t c = (i - (int64_t)pixel * by_vectors.d) * 8, at = (int64_t)n * by_vectors.d * 8 + c;
    float8 f = load8(x + i * 8), m = load8(mean + at), s = load8(scale + at);
    float8 g = load8(gamma + c), b = load8(beta + c);
    for (int e = 0; e < 8; e++)
        f.v[e] = (f.v[e] - m.v[e]) * s.v[e] * g.v[e] + b.v[e];
    zero_padding(f, (int)(C - c));
    store8(y + i * 8, f);
}

/* Block: as of channel_moments_kernel. The sums of dy and of dy z of a channel of a picture: [N,Cp]. */
template <class T>
__global__ void __launch_bounds__(GROUP_THREADS)
    group_sums_kernel(const T *x, const T *dy, const float *mean, const float *scale, float *sum,
                      float *by_z, int64_t pixels, int64_t Cp) {
    begin_kernel();
    float *shared = (float *)shared_memory(); /* [GROUP_WARPS] */
    int64_t at = (int64_t)blockIdx.x * 8, n = at / Cp, from = n * pixels * Cp + (at - n * Cp);
    float8 m = load8(mean + at), s = load8(scale + at), plain = {}, with_z = {};
    for (int64_t p = threadIdx.x; p < pixels; p += GROUP_THREADS) {
        float8 f = load8(x + from + p * Cp), d = load8(dy + from + p * Cp);
        for (int e = 0; e < 8; e++)
            f.v[e] = (f.v[e] - m.v[e]) * s.v[e];
        add8(plain, d);
        add_products8(with_z, d, f);
    }
    plain = block_sum8(plain, shared);
    with_z = block_sum8(with_z, shared);
    if (threadIdx.x != 0) return;
    store8(sum + at, plain);
    store8(by_z + at, with_z);
}

/* Thread: a channel of a picture; the means of g and of g z over its group. */
__global__ void __launch_bounds__(GROUP_THREADS)
    group_means_kernel(const float *sum, const float *by_z, const float *gamma, float *mean,
                       float *mean_z, int64_t total, int64_t pixels, int64_t C, int64_t Cp,
                       int64_t each) {
    begin_kernel();
    int64_t i = (int64_t)blockIdx.x * GROUP_THREADS + threadIdx.x;
    if (i >= total) return;
    int64_t row = i / Cp * Cp, c = i - row, first = c / each * each;
    float plain = 0, with_z = 0;
    for (int64_t k = first; c < C && k < first + each; k++) {
        plain += sum[row + k] * gamma[k];
        with_z += by_z[row + k] * gamma[k];
    }
    mean[i] = plain / (float)(each * pixels);
    mean_z[i] = with_z / (float)(each * pixels);
}

/* Thread: a channel, over all pictures. */
__global__ void __launch_bounds__(GROUP_THREADS)
    group_parameters_kernel(const float *sum, const float *by_z, float *dgamma, float *dbeta,
                            int64_t N, int64_t C, int64_t Cp) {
    begin_kernel();
    int64_t c = (int64_t)blockIdx.x * GROUP_THREADS + threadIdx.x;
    if (c >= C) return;
    double plain = 0, with_z = 0;
    for (int64_t n = 0; n < N; n++) {
        plain += sum[n * Cp + c];
        with_z += by_z[n * Cp + c];
    }
    if (dgamma) dgamma[c] = (float)with_z;
    if (dbeta) dbeta[c] = (float)plain;
}

/* What group_gradient_kernel reads of each channel of a picture, [N,Cp], and of each channel, [Cp]. */
struct group_gradient_params {
    const float *mean, *scale, *mean_g, *mean_gz, *gamma;
};

/* Thread: 8 channels of a pixel. */
template <class T>
__global__ void __launch_bounds__(GROUP_THREADS)
    group_gradient_kernel(const T *x, const T *dy, const group_gradient_params p, T *dx,
                          int64_t total, int64_t C, divisor by_vectors, divisor by_pixels) {
    begin_kernel();
    int64_t i = (int64_t)blockIdx.x * GROUP_THREADS + threadIdx.x;
    if (i >= total) return;
    uint32_t pixel = divide((uint32_t)i, by_vectors), n = divide(pixel, by_pixels);
    int64_t c = (i - (int64_t)pixel * by_vectors.d) * 8, at = (int64_t)n * by_vectors.d * 8 + c;
    float8 f = load8(x + i * 8), d = load8(dy + i * 8), m = load8(p.mean + at);
    float8 s = load8(p.scale + at), g = load8(p.gamma + c);
    float8 a = load8(p.mean_g + at), b = load8(p.mean_gz + at);
    for (int e = 0; e < 8; e++) {
        float z = (f.v[e] - m.v[e]) * s.v[e];
        f.v[e] = s.v[e] * (d.v[e] * g.v[e] - a.v[e] - z * b.v[e]);
    }
    zero_padding(f, (int)(C - c));
    store8(dx + i * 8, f);
}

/* The first two kernels. */
template <class T>
static int launch_moments(thaw_cuda_launch *launch, int64_t N, int64_t pixels, int64_t C,
                          int64_t groups, float eps, const T *x, float *mean, float *m2,
                          float *group_mean, float *scale) {
    int64_t Cp = padded_channels(C), rows = N * Cp;
    int code = launch_kernel(launch, "channel_moments", channel_moments_kernel<T>,
                             dim3((unsigned)(rows / 8)), GROUP_THREADS, GROUP_WARPS * sizeof(float),
                             x, mean, m2, pixels, Cp);
    if (code) return code;
    return launch_kernel(launch, "group_moments", group_moments_kernel,
                         dim3((unsigned)ceil_div(rows, GROUP_THREADS)), GROUP_THREADS, 0, mean, m2,
                         group_mean, scale, rows, pixels, C, Cp, C / groups, eps);
}

}  // namespace thaw

using namespace thaw;

size_t cuda_group_norm_workspace(int64_t N, int64_t C) {
    return (size_t)(4 * N * padded_channels(C)) * sizeof(float);
}

int cuda_group_norm(thaw_cuda_launch *launch, int64_t N, int64_t pixels, int64_t C, int64_t groups,
                    float eps, thaw_dtype dtype, const void *x, const float *gamma,
                    const float *beta, float *workspace, void *y) {
    int64_t Cp = padded_channels(C), rows = N * Cp, total = N * pixels * (Cp / 8);
    float *mean = workspace, *m2 = mean + rows, *group_mean = m2 + rows, *scale = group_mean + rows;
    return with_type(dtype, [&](auto type) {
        using T = decltype(type);
        int code = launch_moments(launch, N, pixels, C, groups, eps, (const T *)x, mean, m2,
                                  group_mean, scale);
        if (code) return code;
        return launch_kernel(launch, "group_scale", group_scale_kernel<T>,
                             dim3((unsigned)ceil_div(total, GROUP_THREADS)), GROUP_THREADS, 0,
                             (const T *)x, group_mean, scale, gamma, beta, (T *)y, total, C,
                             make_divisor((uint32_t)(Cp / 8)), make_divisor((uint32_t)pixels));
    });
}

size_t cuda_group_norm_gradient_workspace(int64_t N, int64_t C) {
    return (size_t)(6 * N * padded_channels(C)) * sizeof(float);
}

int cuda_group_norm_gradient(thaw_cuda_launch *launch, const thaw_cuda_group_norm_gradient *g) {
    int64_t C = g->C, Cp = padded_channels(C), rows = g->N * Cp,
            total = g->N * g->pixels * (Cp / 8);
    float *sum = g->workspace, *by_z = sum + rows, *mean = by_z + rows, *scale = mean + rows;
    float *mean_g = scale + rows, *mean_gz = mean_g + rows;
    dim3 for_rows((unsigned)ceil_div(rows, GROUP_THREADS));
    return with_training_type(g->dtype, [&](auto type) {
        using T = decltype(type);
        const T *x = (const T *)g->x, *dy = (const T *)g->dy;
        /* The channels' own moments lie where their sums do afterwards. */
        int code = launch_moments(launch, g->N, g->pixels, C, g->groups, g->epsilon, x, sum, by_z,
                                  mean, scale);
        if (!code)
            code = launch_kernel(launch, "group_sums", group_sums_kernel<T>,
                                 dim3((unsigned)(rows / 8)), GROUP_THREADS,
                                 GROUP_WARPS * sizeof(float), x, dy, mean, scale, sum, by_z,
                                 g->pixels, Cp);
        if (!code && (g->dgamma || g->dbeta))
            code = launch_kernel(launch, "group_parameters", group_parameters_kernel,
                                 dim3((unsigned)ceil_div(C, GROUP_THREADS)), GROUP_THREADS, 0, sum,
                                 by_z, g->dgamma, g->dbeta, g->N, C, Cp);
        if (!code && g->dx)
            code = launch_kernel(launch, "group_means", group_means_kernel, for_rows, GROUP_THREADS,
                                 0, sum, by_z, g->gamma, mean_g, mean_gz, rows, g->pixels, C, Cp,
                                 C / g->groups);
        if (code || !g->dx) return code;
        group_gradient_params p = {mean, scale, mean_g, mean_gz, g->gamma};
        return launch_kernel(launch, "group_gradient", group_gradient_kernel<T>,
                             dim3((unsigned)ceil_div(total, GROUP_THREADS)), GROUP_THREADS, 0, x,
                             dy, p, (T *)g->dx, total, C, make_divisor((uint32_t)(Cp / 8)),
                             make_divisor((uint32_t)g->pixels));
    });
}
