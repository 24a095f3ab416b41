/* What follows a sum in the same pass over the output: residual, activation, padding. */
#ifndef THAW_CUDA_EPILOGUE_CUH
#define THAW_CUDA_EPILOGUE_CUH

#include "common.cuh"

namespace thaw {

/* What is done to a sum on its way to y. */
struct output_params {
    void *y;              /* [M,Kp] */
    const void *residual; /* [M,Kp]; may be y. */
    int64_t M;
    int K, Kp;
    thaw_cuda_residual residual_place;
    thaw_act act;
    float a, b;
};

/* Of a thaw_cuda_conv or a thaw_cuda_depthwise with so many output pixels. */
template <class C>
output_params output_of(const C &c, int64_t pixels) {
    int64_t K = c.shape.K;
    return {c.y,   c.residual, pixels, (int)K, (int)padded_channels(K), c.residual_place,
            c.act, c.a,        c.b};
}

/* Eight sums become eight channels of a pixel, the element `at` of y on, of which `channels` are
 * left: padding channels become zero. */
template <class T, class F>
__device__ inline void finish8(const output_params &p, F act, int64_t at, int channels, float8 x,
                               const packed8<T> &residual) {
    if (p.residual_place == THAW_RESIDUAL_BEFORE_ACT) add8(x, unpack8(T{}, residual));
    apply8(act, x);
    if (p.residual_place == THAW_RESIDUAL_AFTER_ACT) add8(x, unpack8(T{}, residual));
    zero_padding(x, channels);
    store8((T *)p.y + at, x);
}

/* What finish8 adds, or anything where nothing is added or !valid. */
template <class T>
__device__ inline packed8<T> residual8(const output_params &p, int64_t at, bool valid) {
    return load_packed8((const T *)p.residual + at, valid && p.residual_place != THAW_NO_RESIDUAL);
}

/* Eight sums of pixel m, channels k to k + 7. */
template <class T>
__device__ inline void write8(const output_params &p, int64_t m, int k, const float8 &x) {
    int64_t at = m * p.Kp + k;
    packed8<T> residual = residual8<T>(p, at, true);
    with_usual_activation(p.act, p.a, p.b,
                          [&](auto act) { finish8<T>(p, act, at, p.K - k, x, residual); });
}

/* Neighbouring outputs, eight sums each, the first at the element `at` of y and channel k; those
 * from `count` on are left out. */
template <class T, int N>
__device__ inline void write_strip(const output_params &p, int64_t at, int k, int count,
                                   const float8 (&sum)[N]) {
    packed8<T> residual[N];
#pragma unroll
    for (int j = 0; j < N; j++)
        residual[j] = residual8<T>(p, at + j * p.Kp, j < count);
    with_usual_activation(p.act, p.a, p.b, [&](auto act) {
#pragma unroll
        for (int j = 0; j < N; j++)
            if (j < count) finish8<T>(p, act, at + j * p.Kp, p.K - k, sum[j], residual[j]);
    });
}

}  // namespace thaw

#endif
