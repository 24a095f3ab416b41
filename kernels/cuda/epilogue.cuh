/* What follows a sum in the same pass over the output: residual, activation, padding. */
#ifndef THAW_CUDA_EPILOGUE_CUH
#define THAW_CUDA_EPILOGUE_CUH

#include "common.cuh"

namespace thaw {

/* What is done to a sum on its way to y. */
struct output_params {
    void *y;              /* [M,Kp] */
    const void *residual; /* [M,Kp]; may be y. */
    int64_t M, K, Kp;
    thaw_cuda_residual residual_place;
    thaw_act act;
    float a, b;
};

/* Eight sums become eight channels of one pixel. Padding channels become zero. */
template <class T>
__device__ inline void write8(const output_params &p, int64_t m, int64_t k, float8 x) {
    T *y = (T *)p.y + m * p.Kp + k;
    float8 residual = {};
    if (p.residual_place != THAW_NO_RESIDUAL)
        residual = load8((const T *)p.residual + m * p.Kp + k);
    if (p.residual_place == THAW_RESIDUAL_BEFORE_ACT) add8(x, residual);
    activate8(p.act, p.a, p.b, x);
    if (p.residual_place == THAW_RESIDUAL_AFTER_ACT) add8(x, residual);
    zero_padding(x, k, p.K);
    store8(y, x);
}

}  // namespace thaw

#endif
