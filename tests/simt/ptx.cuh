/* The twin of kernels/cuda/ptx.cuh for the emulation: the same prototypes, one by one. */
#ifndef THAW_CUDA_PTX_CUH
#define THAW_CUDA_PTX_CUH

#include <cuda_runtime.h>
#include <stdint.h>

#include "arch.cuh"
#include "types.h"

namespace thaw {

inline uint8_t *shared_memory() {
    return simt::shared_memory();
}

/* What an architecture lacks must not be reached. */
inline void needs(int sm, const char *what, simt::place where) {
    if (ARCH < sm) simt::error(where, "%s needs sm_%d, this is sm_%d", what, sm, ARCH);
}

inline void cp_async_16(void *shared, const void *global, bool valid, SIMT_HERE) {
    needs(80, "cp.async", where);
    simt::cp_async_16(shared, global, valid, where);
}

inline void cp_async_16_once(void *shared, const void *global, SIMT_HERE) {
    needs(80, "cp.async", where);
    simt::cp_async_16(shared, global, true, where);
}

inline void cp_async_commit(SIMT_HERE) {
    needs(80, "cp.async", where);
    simt::cp_async_commit();
}

template <int N>
void cp_async_wait(SIMT_HERE) {
    needs(80, "cp.async", where);
    simt::cp_async_wait(N, where);
}

inline void ldmatrix_x4(uint32_t (&r)[4], const void *shared_row, SIMT_HERE) {
    simt::ldmatrix_x4(1, r, shared_row, 0, where);
}

template <int N>
void ldmatrix_x4(uint32_t (&r)[N][4], const uint4 *shared_row, int stride, SIMT_HERE) {
    simt::ldmatrix_x4(N, r[0], shared_row, stride * (ptrdiff_t)sizeof *shared_row, where);
}

inline simt::factor factor_of(half_t, simt::place) {
    return simt::HALF;
}

inline simt::factor factor_of(bf16_t, simt::place where) {
    needs(80, "mma of bf16", where);
    return simt::BF16;
}

inline simt::factor factor_of(float, simt::place where) {
    needs(80, "mma of tf32", where);
    return simt::TF32;
}

template <class T>
void mma(T type, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], SIMT_HERE) {
    simt::mma(factor_of(type, where), 1, 1, d, a, b, where);
}

template <class T, int M, int N>
void mma(T type, float (&d)[M][N][4], const uint32_t (&a)[M][4], const uint32_t (&b)[N][2],
         SIMT_HERE) {
    simt::mma(factor_of(type, where), M, N, d[0][0], a[0], b[0], where);
}

inline uint32_t to_tf32(uint32_t bits) {
    if constexpr (ARCH < 80) return bits;
    return float_bits(tf32_round(bits_float(bits)));
}

inline float2 to_float2(half_t, uint32_t pair) {
    return make_float2(half_float((uint16_t)pair), half_float((uint16_t)(pair >> 16)));
}

inline float2 to_float2(bf16_t, uint32_t pair) {
    return make_float2(bits_float(pair << 16), bits_float(pair & 0xffff0000u));
}

inline uint32_t from_float2(half_t, float lo, float hi) {
    return (uint32_t)half_bits(lo) | (uint32_t)half_bits(hi) << 16;
}

inline uint32_t from_float2(bf16_t, float lo, float hi) {
    return (uint32_t)bf16_bits(lo) | (uint32_t)bf16_bits(hi) << 16;
}

template <class T>
uint32_t max2(T type, uint32_t a, uint32_t b) {
    float2 x = to_float2(type, a), y = to_float2(type, b);
    return from_float2(type, fmaxf(x.x, y.x), fmaxf(x.y, y.y));
}

inline uint32_t max2(float, uint32_t a, uint32_t b) {
    return __float_as_uint(fmaxf(__uint_as_float(a), __uint_as_float(b)));
}

/* Here a kernel begins when the one before has ended. */
inline void begin_kernel() {
}

inline uint4 load_once(const void *global) {
    return *(const uint4 *)global;
}

inline uint4 load_16(const void *global) {
    return *(const uint4 *)global;
}

inline void store_16(void *global, uint4 v) {
    *(uint4 *)global = v;
}

/* What was not loaded is no number, in each type. */
inline uint4 load_16_if(const void *global, bool valid) {
    constexpr uint32_t NOTHING = 0x7fff7fff;
    return valid ? load_16(global) : make_uint4(NOTHING, NOTHING, NOTHING, NOTHING);
}

inline void store_16_if(void *global, uint4 v, bool valid) {
    if (valid) store_16(global, v);
}

}  // namespace thaw

#endif
