/* The storage types of activations and packed weights, for host and device.
 *
 * An activation is N,H,W,Cp in memory: Cp is C rounded up to 8, the padding channels are zero, and
 * the base is aligned to 16 bytes. So every pixel is a whole number of 16-byte vectors, and no
 * kernel has a tail to treat. Whoever writes an activation writes its padding, too.
 */
#ifndef THAW_CUDA_TYPES_H
#define THAW_CUDA_TYPES_H

#include <cuda_runtime.h>
#include <stdint.h>
#include <string.h>

#include "kernels.h"

namespace thaw {

/* float stands for itself in memory and for tf32 in the tensor cores. */
struct half_t {
    uint16_t bits;
};

struct bf16_t {
    uint16_t bits;
};

template <class T>
constexpr thaw_dtype DTYPE = THAW_F32;
template <>
constexpr thaw_dtype DTYPE<half_t> = THAW_F16;
template <>
constexpr thaw_dtype DTYPE<bf16_t> = THAW_BF16;

/* Elements in a vector of 16 bytes. */
template <class T>
constexpr int VECTOR = 16 / (int)sizeof(T);

/* Channels are padded to a multiple of this, whatever the type. */
constexpr int CHANNELS = 8;

__host__ __device__ constexpr int64_t padded_channels(int64_t C) {
    return (C + CHANNELS - 1) / CHANNELS * CHANNELS;
}

/* ---- conversions in plain integer arithmetic: what the host packs weights with ------------- */

__host__ __device__ inline uint32_t float_bits(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

__host__ __device__ inline float bits_float(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Rounds to nearest, ties to even; NaN stays NaN. */
__host__ __device__ inline uint16_t bf16_bits(float f) {
    uint32_t bits = float_bits(f);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Rounds to nearest, ties to even; too large is infinity; NaN stays NaN. */
__host__ __device__ inline uint16_t half_bits(float f) {
    uint32_t bits = float_bits(f), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00);
    if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000u) {
        /* Subnormal: adding 2^-1 puts the half's last bit at the float's last, and rounds. */
        return (uint16_t)(sign | (float_bits(bits_float(magnitude) + 0.5f) - 0x3f000000u));
    }
    return (uint16_t)(sign | (magnitude - 0x38000000u + 0xfff + (magnitude >> 13 & 1)) >> 13);
}

__host__ __device__ inline float half_float(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, magnitude = half & 0x7fffu;
    if (magnitude >= 0x7c00) return bits_float(sign | 0x7f800000u | (magnitude & 0x3ff) << 13);
    if (magnitude < 0x400) return bits_float(sign | float_bits((float)magnitude * 0x1p-24f));
    return bits_float(sign | ((magnitude << 13) + 0x38000000u));
}

/* Nearest, ties away from zero: as cvt.rna.tf32.f32. */
__host__ __device__ inline float tf32_round(float f) {
    uint32_t bits = float_bits(f);
    if ((bits & 0x7f800000u) == 0x7f800000u) return f;
    return bits_float((bits + 0x1000) & 0xffffe000u);
}

__host__ __device__ inline void store(half_t *to, float f) {
    to->bits = half_bits(f);
}
__host__ __device__ inline void store(bf16_t *to, float f) {
    to->bits = bf16_bits(f);
}
__host__ __device__ inline void store(float *to, float f) {
    *to = f;
}
__host__ __device__ inline float value(half_t x) {
    return half_float(x.bits);
}
__host__ __device__ inline float value(bf16_t x) {
    return bits_float((uint32_t)x.bits << 16);
}
__host__ __device__ inline float value(float x) {
    return x;
}

}  // namespace thaw

#endif
