/* What the benchmark of kernels runs on the device beside the kernels that it measures: fills, the
 * reference, comparison, a peer's epilogue, and the loops whose speed is the device's measured
 * peak. Each launches on the stream and returns the runtime's code. */
#ifndef THAW_BENCH_ON_DEVICE_H
#define THAW_BENCH_ON_DEVICE_H

#include "cuda_kernels.h"

/* n values of half precision, uniform in [-1, 1); n bytes, uniform. */
int fill_halves(cudaStream_t stream, void *to, int64_t n, uint32_t seed);
int fill_bytes(cudaStream_t stream, uint8_t *to, int64_t n, uint32_t seed);

struct reference_job {
    thaw_conv_shape shape;
    const void *x;         /* half [N,H,W,Cp], or NULL: */
    const uint8_t *pixels; /* [N,H,W,C], which become pixel * scale + shift. */
    float scale, shift;
    const float *w, *bias; /* [K,C/G,R,S], [K] on the device. */
    const void *residual;  /* half [N,P,Q,Kp] or NULL: added before the activation. */
    bool clipped;
    float lower, upper;
};

/* y[P,Q,K] = image n of the convolution, by the formula, in double. */
int reference_image(cudaStream_t stream, const reference_job &job, int64_t n, float *y);

/* What one image of a result in half precision differs by from want[pixels, K]. */
struct difference {
    double error, power; /* Sums of squares: of the difference, of want. */
    unsigned long long n_not_finite;
};
int compare_image(cudaStream_t stream, const void *y, const float *want, int64_t pixels, int64_t K,
                  difference *sum);

/* y = clip(y + bias[k] + residual), in place: half [pixels,Kp]; bias: float [Kp]; residual may be
 * NULL. What follows a convolution that has no epilogue of its own. */
int epilogue_pass(cudaStream_t stream, void *y, const float *bias, const void *residual,
                  int64_t pixels, int64_t Kp, bool clipped, float lower, float upper);

/* n_bytes, a multiple of 16, from one place to another. */
int copy_pass(cudaStream_t stream, void *to, const void *from, size_t n_bytes, int n_sm);

/* Nothing but mma.sync of half precision, summed in float, in registers. Returns in *flops what a
 * launch computes. sink: 4 bytes that are never written. */
int mma_loop(cudaStream_t stream, int n_sm, float *sink, double *flops);

#endif
