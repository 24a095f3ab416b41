/* What follows a sum in the same pass over the output: residual, activation, padding. */
#ifndef THAW_CUDA_EPILOGUE_CUH
#define THAW_CUDA_EPILOGUE_CUH

#include <type_traits>

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

/* Eight sums become eight channels of a pixel, of which some are left, at y, unless !valid. */
template <class T, class F>
__device__ inline void finish8(const output_params &p, F act, T *y, bool valid,
                               const left8<T> &left, float8 x, const packed8<T> &residual) {
    if (p.residual_place == THAW_RESIDUAL_BEFORE_ACT) add8(x, unpack8(T{}, residual));
    apply8(act, x);
    if (std::is_same<F, any_activation>::value && p.residual_place == THAW_RESIDUAL_AFTER_ACT)
        add8(x, unpack8(T{}, residual));
    packed8<T> packed = pack8(T{}, x);
    left.keep(packed);
#pragma unroll
    for (unsigned i = 0; i < sizeof(T) / 2; i++)
        store_16_if((uint4 *)y + i, packed.bits[i], valid);
}

/* Calls f with the activation, for finish8. Few networks add a residual behind it: those go the longer way. */
template <class F>
__device__ inline void with_finish(const output_params &p, F f) {
    if (p.residual_place == THAW_RESIDUAL_AFTER_ACT)
        f(any_activation{p.act, p.a, p.b});
    else
        with_usual_activation(p.act, p.a, p.b, f);
}

/* What finish8 adds, or anything where nothing is added or !valid. */
template <class T>
__device__ inline packed8<T> residual8(const output_params &p, const T *residual, bool valid) {
    packed8<T> x;
#pragma unroll
    for (unsigned i = 0; i < sizeof(T) / 2; i++)
        x.bits[i] =
            load_16_if((const uint4 *)residual + i, valid && p.residual_place != THAW_NO_RESIDUAL);
    return x;
}

/* Eight sums of pixel m, channels k to k + 7. */
template <class T>
__device__ inline void write8(const output_params &p, int64_t m, int k, const float8 &x) {
    int64_t at = m * p.Kp + k;
    const packed8<T> residual = residual8(p, (const T *)p.residual + at, true);
    const left8<T> left(p.K - k);
    with_finish(p, [&](auto act) { finish8(p, act, (T *)p.y + at, true, left, x, residual); });
}

/* Neighbouring outputs, eight sums each, the first at the element `at` of y and channel k; those
 * from `count` on are left out. */
template <class T, int N>
__device__ inline void write_strip(const output_params &p, int64_t at, int k, int count,
                                   const float8 (&sum)[N]) {
    T *y = (T *)p.y + at;
    const T *add = (const T *)p.residual + at;
    packed8<T> residual[N];
#pragma unroll
    for (int j = 0; j < N; j++)
        residual[j] = residual8(p, add + j * p.Kp, j < count);
    with_finish(p, [&](auto act) {
        const left8<T> left(p.K - k);
#pragma unroll
        for (int j = 0; j < N; j++)
            finish8(p, act, y + j * p.Kp, j < count, left, sum[j], residual[j]);
    });
}

}  // namespace thaw

#endif
