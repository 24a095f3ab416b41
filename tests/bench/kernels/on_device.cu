#include "on_device.h"

#include <cuda_fp16.h>
#include <ptx.cuh>

#include "types.h"

using thaw::half_t;

constexpr int THREADS = 256;

static unsigned blocks_for(int64_t n) {
    int64_t blocks = (n + THREADS - 1) / THREADS;
    return (unsigned)(blocks < (1 << 20) ? blocks
                                         : 1 << 20); /* The kernels stride over the rest. */
}

/* ---- numbers -------------------------------------------------------------------------------- */

/* A 32-bit mix (Wellons, "lowbias32", 2018). */
__device__ uint32_t mix(uint32_t x) {
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x ^ x >> 16;
}

__global__ void fill_halves_kernel(half_t *to, int64_t n, uint32_t seed) {
    for (int64_t i = blockIdx.x * (int64_t)THREADS + threadIdx.x; i < n;
         i += gridDim.x * (int64_t)THREADS)
        thaw::store(&to[i], (float)(int32_t)mix((uint32_t)i ^ seed) * 0x1p-31f);
}

__global__ void fill_bytes_kernel(uint8_t *to, int64_t n, uint32_t seed) {
    for (int64_t i = blockIdx.x * (int64_t)THREADS + threadIdx.x; i < n;
         i += gridDim.x * (int64_t)THREADS)
        to[i] = (uint8_t)mix((uint32_t)i ^ seed);
}

int fill_halves(cudaStream_t stream, void *to, int64_t n, uint32_t seed) {
    fill_halves_kernel<<<blocks_for(n), THREADS, 0, stream>>>((half_t *)to, n, seed * 0x9e3779b9u);
    return (int)cudaGetLastError();
}

int fill_bytes(cudaStream_t stream, uint8_t *to, int64_t n, uint32_t seed) {
    fill_bytes_kernel<<<blocks_for(n), THREADS, 0, stream>>>(to, n, seed * 0x9e3779b9u);
    return (int)cudaGetLastError();
}

/* ---- reference ------------------------------------------------------------------------------ */

__device__ double input_at(const reference_job &job, int64_t n, int64_t h, int64_t w, int64_t c) {
    const thaw_conv_shape &s = job.shape;
    int64_t pixel = (n * s.H + h) * s.W + w;
    if (job.x) return thaw::value(((const half_t *)job.x)[pixel * thaw::padded_channels(s.C) + c]);
    return (double)job.pixels[pixel * s.C + c] * job.scale + job.shift;
}

/* A thread for each output. */
__global__ void reference_kernel(reference_job job, int64_t n, float *y) {
    const thaw_conv_shape &s = job.shape;
    const thaw_window &win = s.window;
    int64_t i = blockIdx.x * (int64_t)THREADS + threadIdx.x;
    if (i >= s.P * s.Q * s.K) return;
    int64_t k = i % s.K, q = i / s.K % s.Q, p = i / s.K / s.Q;
    int64_t channels = s.C / s.G, first = k / (s.K / s.G) * channels;
    double sum = job.bias[k];
    for (int64_t r = 0; r < win.R; r++) {
        int64_t h = p * win.stride_h + r * win.dilation_h - win.pad_top;
        if (h < 0 || h >= s.H) continue;
        for (int64_t t = 0; t < win.S; t++) {
            int64_t w = q * win.stride_w + t * win.dilation_w - win.pad_left;
            if (w < 0 || w >= s.W) continue;
            for (int64_t c = 0; c < channels; c++)
                sum += input_at(job, n, h, w, first + c) *
                       job.w[((k * channels + c) * win.R + r) * win.S + t];
        }
    }
    if (job.residual) {
        int64_t pixel = (n * s.P + p) * s.Q + q;
        sum += thaw::value(((const half_t *)job.residual)[pixel * thaw::padded_channels(s.K) + k]);
    }
    if (job.clipped) sum = fmin(fmax(sum, (double)job.lower), (double)job.upper);
    y[i] = (float)sum;
}

int reference_image(cudaStream_t stream, const reference_job &job, int64_t n, float *y) {
    const thaw_conv_shape &s = job.shape;
    unsigned blocks = (unsigned)((s.P * s.Q * s.K + THREADS - 1) / THREADS);
    reference_kernel<<<blocks, THREADS, 0, stream>>>(job, n, y);
    return (int)cudaGetLastError();
}

__global__ void compare_kernel(const half_t *y, const float *want, int64_t pixels, int64_t K,
                               difference *sum) {
    int64_t Kp = thaw::padded_channels(K);
    double error = 0, power = 0;
    unsigned long long n_not_finite = 0;
    for (int64_t i = blockIdx.x * (int64_t)THREADS + threadIdx.x; i < pixels * K;
         i += gridDim.x * (int64_t)THREADS) {
        double w = want[i], g = thaw::value(y[i / K * Kp + i % K]);
        if (!isfinite(g)) {
            n_not_finite++;
            g = 0;
        }
        error += (g - w) * (g - w);
        power += w * w;
    }
    atomicAdd(&sum->error, error);
    atomicAdd(&sum->power, power);
    if (n_not_finite > 0) atomicAdd(&sum->n_not_finite, n_not_finite);
}

int compare_image(cudaStream_t stream, const void *y, const float *want, int64_t pixels, int64_t K,
                  difference *sum) {
    compare_kernel<<<256, THREADS, 0, stream>>>((const half_t *)y, want, pixels, K, sum);
    return (int)cudaGetLastError();
}

/* ---- a peer's epilogue ---------------------------------------------------------------------- */

/* A thread for 8 channels of a pixel: 16 bytes at a time. */
__global__ void epilogue_kernel(uint4 *y, const float *bias, const uint4 *residual, int64_t n,
                                int vectors, bool clipped, float lower, float upper) {
    for (int64_t i = blockIdx.x * (int64_t)THREADS + threadIdx.x; i < n;
         i += gridDim.x * (int64_t)THREADS) {
        union {
            uint4 vector;
            __half2_raw pair[4];
        } v, r;
        v.vector = y[i];
        r.vector = residual ? residual[i] : make_uint4(0, 0, 0, 0);
        const float *b = bias + i % vectors * 8;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            float2 sum = __half22float2(v.pair[j]), more = __half22float2(r.pair[j]);
            sum.x += b[2 * j] + more.x;
            sum.y += b[2 * j + 1] + more.y;
            if (clipped) {
                sum.x = fminf(fmaxf(sum.x, lower), upper);
                sum.y = fminf(fmaxf(sum.y, lower), upper);
            }
            v.pair[j] = __floats2half2_rn(sum.x, sum.y);
        }
        y[i] = v.vector;
    }
}

int epilogue_pass(cudaStream_t stream, void *y, const float *bias, const void *residual,
                  int64_t pixels, int64_t Kp, bool clipped, float lower, float upper) {
    int64_t n = pixels * (Kp / 8);
    epilogue_kernel<<<blocks_for(n), THREADS, 0, stream>>>(
        (uint4 *)y, bias, (const uint4 *)residual, n, (int)(Kp / 8), clipped, lower, upper);
    return (int)cudaGetLastError();
}

/* ---- peaks ---------------------------------------------------------------------------------- */

/* Four vectors in flight for each thread. */
__global__ void copy_kernel(uint4 *__restrict__ to, const uint4 *__restrict__ from, int64_t n) {
    int64_t step = gridDim.x * (int64_t)THREADS;
    int64_t i = blockIdx.x * (int64_t)THREADS + threadIdx.x;
    for (; i + 3 * step < n; i += 4 * step) {
        uint4 v[4];
#pragma unroll
        for (int j = 0; j < 4; j++)
            v[j] = from[i + j * step];
#pragma unroll
        for (int j = 0; j < 4; j++)
            to[i + j * step] = v[j];
    }
    for (; i < n; i += step)
        to[i] = from[i];
}

int copy_pass(cudaStream_t stream, void *to, const void *from, size_t n_bytes, int n_sm) {
    copy_kernel<<<(unsigned)(n_sm * 8), THREADS, 0, stream>>>((uint4 *)to, (const uint4 *)from,
                                                              (int64_t)(n_bytes / 16));
    return (int)cudaGetLastError();
}

constexpr int MMA_SUMS = 8, MMA_ROUNDS = 2048, MMA_BLOCKS = 2;

/* Independent sums hide the latency. The factors are not zero, since zeros draw less power and so
 * run at higher clocks; they are tiny, so that no sum grows to infinity. */
__global__ void __launch_bounds__(THREADS, MMA_BLOCKS) mma_kernel(float *sink) {
    uint32_t a[4], b[2];
    for (int i = 0; i < 4; i++)
        a[i] = (mix(threadIdx.x * 4 + i) & 0x83ff83ffu) | 0x10001000u;
    for (int i = 0; i < 2; i++)
        b[i] = (mix(threadIdx.x * 2 + i + 4096) & 0x83ff83ffu) | 0x10001000u;
    float sums[MMA_SUMS][4] = {};
    for (int round = 0; round < MMA_ROUNDS; round++) {
#pragma unroll
        for (int i = 0; i < MMA_SUMS; i++)
            thaw::mma(half_t{}, sums[i], a, b);
    }
    float total = 0;
    for (int i = 0; i < MMA_SUMS; i++)
        total += sums[i][0] + sums[i][1] + sums[i][2] + sums[i][3];
    if (total == 12345.0f) *sink = total; /* Never, which the compiler cannot know. */
}

int mma_loop(cudaStream_t stream, int n_sm, float *sink, double *flops) {
    constexpr double EACH = 2.0 * 16 * 8 * 16;
    *flops = EACH * MMA_SUMS * MMA_ROUNDS * (THREADS / 32) * MMA_BLOCKS * n_sm;
    mma_kernel<<<(unsigned)(MMA_BLOCKS * n_sm), THREADS, 0, stream>>>(sink);
    return (int)cudaGetLastError();
}
