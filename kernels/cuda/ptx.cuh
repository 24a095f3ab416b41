/* Every inline PTX of the project, each as a function of one instruction.
 *
 * tests/simt/ptx.cuh is this file's twin: the same prototypes, emulated on the host from the lane
 * maps of the PTX ISA. The include path decides which of the two a kernel meets, so a kernel file
 * compiles unchanged for a GPU and for the emulation. Source: PTX ISA 8.0, sections 9.7.13
 * (mma, ldmatrix), 9.7.8.25 (cp.async) and 9.7.8.20 (cvt).
 *
 * What an architecture lacks is chosen by `if constexpr (ARCH ...)`: sm_75 has neither cp.async nor
 * the types bf16 and tf32 in its tensor cores, and its half precision mma is half as deep.
 */
#ifndef THAW_CUDA_PTX_CUH
#define THAW_CUDA_PTX_CUH

#include <cuda_runtime.h>
#include <stdint.h>

#include "arch.cuh"
#include "types.h"

namespace thaw {

/* The block's dynamic shared memory, aligned to 128 bytes. Kernels use no other shared memory. */
__device__ inline uint8_t *shared_memory() {
    extern __shared__ __align__(128) uint8_t dynamic_shared_memory[];
    return dynamic_shared_memory;
}

__device__ inline uint32_t shared_address(const void *shared) {
    return (uint32_t)__cvta_generic_to_shared(shared);
}

/* ---- kernels that are launched while the one before them still runs: sm_90 and newer --------- */

/* The first statement of every kernel: the next kernel of the stream may be launched, and this one
 * goes on when those before it have ended and their results can be read. So launches, and what a
 * block does before, overlap; that all threads wait makes it safe for the kernels behind them, too.
 * PTX ISA 7.8, griddepcontrol. */
template <int A = ARCH>
__device__ inline void begin_kernel() {
    if constexpr (A >= 90) {
        asm volatile("griddepcontrol.launch_dependents;\n" ::: "memory");
        asm volatile("griddepcontrol.wait;\n" ::: "memory");
    }
}

/* ---- copies from global to shared memory that go on in the background: sm_80 and newer ----- */

/* 16 bytes, or zeros when !valid; then `global` is not read. Both are aligned to 16 bytes. Lands
 * at the latest at cp_async_wait; allocates in L1, since neighbouring taps read the same bytes. */
template <int A = ARCH>
__device__ inline void cp_async_16(void *shared, const void *global, bool valid) {
    if constexpr (A >= 80) {
        asm volatile(
            "cp.async.ca.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_address(shared)),
            "l"(global), "r"(valid ? 16 : 0)
            : "memory");
    }
}

/* The same past L1, for what a block reads once: packed weights. */
template <int A = ARCH>
__device__ inline void cp_async_16_once(void *shared, const void *global) {
    if constexpr (A >= 80) {
        asm volatile(
            "cp.async.cg.shared.global.L2::128B [%0], [%1], 16;\n" ::"r"(shared_address(shared)),
            "l"(global)
            : "memory");
    }
}

/* Closes a group of this thread's copies. An empty group is a group. */
template <int A = ARCH>
__device__ inline void cp_async_commit() {
    if constexpr (A >= 80) asm volatile("cp.async.commit_group;\n" ::: "memory");
}

/* Waits until at most N of this thread's newest groups are under way. Other threads see the bytes
 * only after a barrier. */
template <int N, int A = ARCH>
__device__ inline void cp_async_wait() {
    if constexpr (A >= 80) asm volatile("cp.async.wait_group %0;\n" ::"n"(N) : "memory");
}

/* ---- tensor cores: collectives of a whole warp ---------------------------------------------- */

/* Four 8x8 matrices of 16-bit elements (or 8x4 of 32-bit ones). Lane l gives the address of row
 * l % 8 of matrix l / 8, aligned to 16 bytes, and gets in r[i] bytes 4 (l % 4) ... + 3 of row l / 4
 * of matrix i. */
__device__ inline void ldmatrix_x4(uint32_t (&r)[4], const void *shared_row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(shared_row))
                 : "memory");
}

/* N of them, the rows of each `stride` vectors of 16 bytes behind those of the one before. */
template <int N>
__device__ inline void ldmatrix_x4(uint32_t (&r)[N][4], const uint4 *shared_row, int stride) {
#pragma unroll
    for (int i = 0; i < N; i++)
        ldmatrix_x4(r[i], shared_row + i * stride);
}

/* d[16,8] += a[16,32 bytes] b[32 bytes,8], summed in float. With g = lane / 4, t = lane % 4, a
 * register is 4 bytes of a row (half, bf16: columns 2t, 2t+1; tf32: column t) in:
 *     a: rows g, g+8 of the first 16 bytes, then of the second    b: column g, first and second
 *     d: (g, 2t), (g, 2t+1), (g+8, 2t), (g+8, 2t+1) */
template <int A = ARCH>
__device__ inline void mma(half_t, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    if constexpr (A >= 80) {
        asm volatile(
            "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
            "{%8,%9}, {%0,%1,%2,%3};\n"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    } else {
        asm volatile(
            "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, "
            "{%0,%1,%2,%3};\n"
            "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%7,%8}, {%9}, "
            "{%0,%1,%2,%3};\n"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
            : "r"(a[0]), "r"(a[1]), "r"(b[0]), "r"(a[2]), "r"(a[3]), "r"(b[1]));
    }
}

template <int A = ARCH>
__device__ inline void mma(bf16_t, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    if constexpr (A >= 80) {
        asm volatile(
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
            "{%8,%9}, {%0,%1,%2,%3};\n"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    }
}

/* tf32: reads the upper 19 bits of each float; round them with to_tf32 first. */
template <int A = ARCH>
__device__ inline void mma(float, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    if constexpr (A >= 80) {
        asm volatile(
            "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
            "{%8,%9}, {%0,%1,%2,%3};\n"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    }
}

/* All products of a warp's factors: d[i][j] += a[i] b[j]. */
template <class T, int M, int N>
__device__ inline void mma(T type, float (&d)[M][N][4], const uint32_t (&a)[M][4],
                           const uint32_t (&b)[N][2]) {
#pragma unroll
    for (int i = 0; i < M; i++) {
#pragma unroll
        for (int j = 0; j < N; j++)
            mma(type, d[i][j], a[i], b[j]);
    }
}

/* The bits of a float rounded to tf32: nearest, ties away from zero. */
template <int A = ARCH>
__device__ inline uint32_t to_tf32(uint32_t bits) {
    if constexpr (A >= 80) {
        uint32_t rounded;
        asm("cvt.rna.tf32.f32 %0, %1;\n" : "=r"(rounded) : "f"(__uint_as_float(bits)));
        return rounded;
    }
    return bits;
}

/* ---- conversions: two 16-bit values in a register, the first in the lower half -------------- */

/* Exact. */
__device__ inline float2 to_float2(half_t, uint32_t pair) {
    float2 f;
    asm("{.reg .b16 lo, hi;\n mov.b32 {lo, hi}, %2;\n cvt.f32.f16 %0, lo;\n cvt.f32.f16 %1, hi;}\n"
        : "=f"(f.x), "=f"(f.y)
        : "r"(pair));
    return f;
}

__device__ inline float2 to_float2(bf16_t, uint32_t pair) {
    return make_float2(__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u));
}

/* Rounds to nearest, ties to even. Half: what is too large becomes infinity. */
template <int A = ARCH>
__device__ inline uint32_t from_float2(half_t, float lo, float hi) {
    uint32_t pair;
    if constexpr (A >= 80) {
        asm("cvt.rn.f16x2.f32 %0, %1, %2;\n" : "=r"(pair) : "f"(hi), "f"(lo));
        return pair;
    }
    asm("{.reg .b16 lo, hi;\n cvt.rn.f16.f32 lo, %1;\n cvt.rn.f16.f32 hi, %2;\n"
        " mov.b32 %0, {lo, hi};}\n"
        : "=r"(pair)
        : "f"(lo), "f"(hi));
    return pair;
}

template <int A = ARCH>
__device__ inline uint32_t from_float2(bf16_t, float lo, float hi) {
    if constexpr (A >= 80) {
        uint32_t pair;
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;\n" : "=r"(pair) : "f"(hi), "f"(lo));
        return pair;
    } else {
        return (uint32_t)bf16_bits(lo) | (uint32_t)bf16_bits(hi) << 16;
    }
}

/* ---- maxima of pairs of 16-bit values, or of one float --------------------------------------- */

/* A number wins against NaN. sm_75 compares as float, which gives the same. */
template <int A = ARCH>
__device__ inline uint32_t max2(half_t type, uint32_t a, uint32_t b) {
    if constexpr (A >= 80) {
        uint32_t most;
        asm("max.f16x2 %0, %1, %2;\n" : "=r"(most) : "r"(a), "r"(b));
        return most;
    } else {
        float2 x = to_float2(type, a), y = to_float2(type, b);
        return from_float2(type, fmaxf(x.x, y.x), fmaxf(x.y, y.y));
    }
}

template <int A = ARCH>
__device__ inline uint32_t max2(bf16_t type, uint32_t a, uint32_t b) {
    if constexpr (A >= 80) {
        uint32_t most;
        asm("max.bf16x2 %0, %1, %2;\n" : "=r"(most) : "r"(a), "r"(b));
        return most;
    } else {
        float2 x = to_float2(type, a), y = to_float2(type, b);
        return from_float2(type, fmaxf(x.x, y.x), fmaxf(x.y, y.y));
    }
}

__device__ inline uint32_t max2(float, uint32_t a, uint32_t b) {
    return __float_as_uint(fmaxf(__uint_as_float(a), __uint_as_float(b)));
}

/* ---- loads and stores of global memory: 16 bytes, aligned to 16 ------------------------------ */

/* Left alone, the compiler splits such accesses where it finds use for the parts. What is loaded is
 * not written by this kernel before, but by what depends on the load. */
__device__ inline uint4 load_16(const void *global) {
    uint4 v;
    asm("ld.global.v4.u32 {%0,%1,%2,%3}, [%4];\n"
        : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
        : "l"(global));
    return v;
}

__device__ inline void store_16(void *global, uint4 v) {
    asm volatile("st.global.v4.u32 [%0], {%1,%2,%3,%4};\n" ::"l"(global), "r"(v.x), "r"(v.y),
                 "r"(v.z), "r"(v.w)
                 : "memory");
}

/* The same where valid; else nothing is read, and v is anything. A predicate each: the compiler would branch around a
 * store, where warps meet again at a price, and fill with zeros what is not loaded. */
__device__ inline uint4 load_16_if(const void *global, bool valid) {
    uint4 v;
    asm("{.reg .pred p; setp.ne.b32 p, %5, 0; @p ld.global.v4.u32 {%0,%1,%2,%3}, [%4];}\n"
        : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
        : "l"(global), "r"((int)valid));
    return v;
}

__device__ inline void store_16_if(void *global, uint4 v, bool valid) {
    asm volatile(
        "{.reg .pred p; setp.ne.b32 p, %5, 0; @p st.global.v4.u32 [%0], {%1,%2,%3,%4};}\n" ::"l"(
            global),
        "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w), "r"((int)valid)
        : "memory");
}

/* 16 bytes that this kernel reads once and nothing writes meanwhile: they pass by L1. */
__device__ inline uint4 load_once(const void *global) {
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(global));
    return v;
}

}  // namespace thaw

#endif
