/* What most kernels share: launching, activations, eight channels at a time. */
#ifndef THAW_CUDA_COMMON_CUH
#define THAW_CUDA_COMMON_CUH

#include <cuda_runtime.h>
#include <stdint.h>
#include <ptx.cuh>

#include "arch.cuh"
#include "cuda_kernels.h"
#include "types.h"

namespace thaw {

/* ---- launching ------------------------------------------------------------------------------ */

/* Launches on launch->stream; notes kernel and grid for the message of a failure. Returns the
 * runtime's code. More than 48 KiB of shared memory must be asked for, kernel by kernel. */
template <class... Parameters, class... Arguments>
int launch_kernel(thaw_cuda_launch *launch, const char *name, void (*kernel)(Parameters...),
                  dim3 grid, unsigned threads, size_t shared_bytes, Arguments... arguments) {
    launch->kernel = name;
    launch->grid[0] = grid.x;
    launch->grid[1] = grid.y;
    launch->grid[2] = grid.z;
    launch->threads = threads;
    launch->shared_bytes = shared_bytes;
    if (shared_bytes > 48 * 1024) {
        cudaError_t code = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                (int)shared_bytes);
        if (code != cudaSuccess) return (int)code;
    }
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = dim3(threads, 1, 1);
    config.dynamicSmemBytes = shared_bytes;
    config.stream = launch->stream;
    cudaLaunchAttribute beside = {};
    beside.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    beside.val.programmaticStreamSerializationAllowed = 1;
    config.attrs = &beside;
    config.numAttrs = launch->overlap ? 1 : 0;
    return (int)cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...);
}

/* Whether steps change nothing any more. */
__device__ inline bool is_stopped(const int64_t *stopped) {
    return stopped && *stopped != 0;
}

/* Calls f with a value of the storage type that dtype names. f is a generic lambda. */
template <class F>
int with_type(thaw_dtype dtype, F f) {
    switch (dtype) {
        case THAW_F16:
            return f(half_t{});
        case THAW_BF16:
            return f(bf16_t{});
        case THAW_F32:
            return f(float{});
        default:
            return (int)cudaErrorInvalidValue;
    }
}

/* The same of the types that layers are trained in. Halves are not among them: small gradients are zero
 * there. */
template <class F>
int with_training_type(thaw_dtype dtype, F f) {
    if (dtype == THAW_F32) return f(float{});
    return dtype == THAW_BF16 ? f(bf16_t{}) : (int)cudaErrorInvalidValue;
}

/* ---- activations ---------------------------------------------------------------------------- */

/* Sigmoid by the hardware's exponential: relative error below 2^-20 (CUDA C++ Programming Guide,
 * __expf), far below the rounding of any storage type here but float's. */
__device__ inline float sigmoid(float x) {
    return __fdividef(1.0f, 1.0f + __expf(-x));
}

/* x ^ a, in a few instructions where powf takes a hundred; NaN of a negative number unless a is whole. */
__device__ inline float power(float x, float a) {
    float y = exp2f(a * log2f(fabsf(x)));
    float half = 0.5f * a;
    if (x < 0 && a != floorf(a)) return NAN;
    return x < 0 && half != floorf(half) ? -y : y;
}

/* Calls f with the activation as a function of one float. The branch is the same for all threads;
 * f should apply what it gets to many values, since compilers do not hoist it out of loops. */
template <class F>
__device__ inline void with_activation(thaw_act act, float a, float b, F f) {
    switch (act) {
        case THAW_ACT_NONE:
            return f([](float x) { return x; });
        case THAW_ACT_CLIP:
            return f([=](float x) { return fminf(fmaxf(x, a), b); });
        case THAW_ACT_LEAKY_RELU:
            return f([=](float x) { return x < 0 ? a * x : x; });
        case THAW_ACT_SIGMOID:
            return f([](float x) { return sigmoid(x); });
        case THAW_ACT_SILU:
            return f([](float x) { return x * sigmoid(x); });
        case THAW_ACT_HARD_SIGMOID:
            return f([=](float x) { return fminf(fmaxf(a * x + b, 0.0f), 1.0f); });
        case THAW_ACT_HARD_SWISH:
            return f([](float x) { return x * fminf(fmaxf(x * (1.0f / 6) + 0.5f, 0.0f), 1.0f); });
        case THAW_ACT_TANH:
            return f([](float x) { return tanhf(x); });
        case THAW_ACT_GELU:
            return f([](float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678f)); });
        case THAW_ACT_GELU_TANH:
            return f([](float x) {
                return 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
            });
        case THAW_ACT_ELU:
            return f([=](float x) { return x < 0 ? a * (__expf(x) - 1.0f) : x; });
        case THAW_ACT_SOFTPLUS:
            return f([](float x) { return fmaxf(x, 0.0f) + logf(1.0f + __expf(-fabsf(x))); });
        case THAW_ACT_POWER:
            return f([=](float x) { return power(x, a); });
    }
}

__device__ inline float activate(thaw_act act, float a, float b, float x) {
    with_activation(act, a, b, [&](auto function) { x = function(x); });
    return x;
}

/* ---- eight channels ------------------------------------------------------------------------- */

struct float8 {
    float v[8];
};

template <class T>
__device__ inline float8 unpack8(T type, const uint4 &bits) {
    float8 x;
    const uint32_t pairs[4] = {bits.x, bits.y, bits.z, bits.w};
    for (int i = 0; i < 4; i++) {
        float2 f = to_float2(type, pairs[i]);
        x.v[2 * i] = f.x;
        x.v[2 * i + 1] = f.y;
    }
    return x;
}

/* As they lie in memory: fewer registers than as floats, for what is loaded well before its use. */
template <class T>
struct packed8 {
    uint4 bits[sizeof(T) / 2];
};

/* Zeros where !valid, without a branch and without reading. */
template <class T>
__device__ inline packed8<T> load_packed8(const T *from, bool valid) {
    packed8<T> x;
#pragma unroll
    for (unsigned i = 0; i < sizeof(T) / 2; i++)
        x.bits[i] = valid ? load_16((const uint4 *)from + i) : make_uint4(0, 0, 0, 0);
    return x;
}

template <class T>
__device__ inline float8 unpack8(T type, const packed8<T> &x) {
    return unpack8(type, x.bits[0]);
}

__device__ inline float8 unpack8(float, const packed8<float> &x) {
    const uint4 lo = x.bits[0], hi = x.bits[1];
    return {{__uint_as_float(lo.x), __uint_as_float(lo.y), __uint_as_float(lo.z),
             __uint_as_float(lo.w), __uint_as_float(hi.x), __uint_as_float(hi.y),
             __uint_as_float(hi.z), __uint_as_float(hi.w)}};
}

template <class T>
__device__ inline packed8<T> pack8(T type, const float8 &x) {
    return {{make_uint4(from_float2(type, x.v[0], x.v[1]), from_float2(type, x.v[2], x.v[3]),
                        from_float2(type, x.v[4], x.v[5]), from_float2(type, x.v[6], x.v[7]))}};
}

__device__ inline packed8<float> pack8(float, const float8 &x) {
    return {{make_uint4(__float_as_uint(x.v[0]), __float_as_uint(x.v[1]), __float_as_uint(x.v[2]),
                        __float_as_uint(x.v[3])),
             make_uint4(__float_as_uint(x.v[4]), __float_as_uint(x.v[5]), __float_as_uint(x.v[6]),
                        __float_as_uint(x.v[7]))}};
}

/* Of eight packed channels `channels` are left; the others are padding, which is zero. */
template <class T>
struct left8 {
    uint4 mask;
    __device__ explicit left8(int channels) {
        uint32_t word[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int n = channels - 2 * i;
            word[i] = n >= 2 ? 0xffffffff : n == 1 ? 0xffff : 0;
        }
        mask = make_uint4(word[0], word[1], word[2], word[3]);
    }
    __device__ void keep(packed8<T> &x) const {
        uint4 &bits = x.bits[0];
        bits = make_uint4(bits.x & mask.x, bits.y & mask.y, bits.z & mask.z, bits.w & mask.w);
    }
};

/* A mask would take eight registers, which kernels in float do not have. */
template <>
struct left8<float> {
    int channels;
    __device__ explicit left8(int channels_) : channels(channels_) {
    }
    __device__ void keep(packed8<float> &x) const {
        if (channels >= 8) return;
        uint4 &lo = x.bits[0], &hi = x.bits[1];
        lo = make_uint4(channels > 0 ? lo.x : 0, channels > 1 ? lo.y : 0, channels > 2 ? lo.z : 0,
                        channels > 3 ? lo.w : 0);
        hi = make_uint4(channels > 4 ? hi.x : 0, channels > 5 ? hi.y : 0, channels > 6 ? hi.z : 0,
                        channels > 7 ? hi.w : 0);
    }
};

/* Global memory, aligned to 16 bytes. */
template <class T>
__device__ inline float8 load8(const T *from) {
    return unpack8(T{}, load_packed8(from, true));
}

template <class T>
__device__ inline void store8(T *to, const float8 &x) {
    packed8<T> packed = pack8(T{}, x);
#pragma unroll
    for (unsigned i = 0; i < sizeof(T) / 2; i++)
        store_16((uint4 *)to + i, packed.bits[i]);
}

/* Shared memory, aligned to 16 bytes. */
template <class T>
__device__ inline void store8_shared(T *to, const float8 &x) {
    packed8<T> packed = pack8(T{}, x);
#pragma unroll
    for (unsigned i = 0; i < sizeof(T) / 2; i++)
        ((uint4 *)to)[i] = packed.bits[i];
}

__device__ inline void add8(float8 &x, const float8 &y) {
#pragma unroll
    for (int i = 0; i < 8; i++)
        x.v[i] += y.v[i];
}

/* sum += x * y, channel by channel. */
__device__ inline void add_products8(float8 &sum, const float8 &x, const float8 &y) {
#pragma unroll
    for (int i = 0; i < 8; i++)
        sum.v[i] += x.v[i] * y.v[i];
}

template <class F>
__device__ inline void apply8(F function, float8 &x) {
#pragma unroll
    for (int i = 0; i < 8; i++)
        x.v[i] = function(x.v[i]);
}

__device__ inline void activate8(thaw_act act, float a, float b, float8 &x) {
    with_activation(act, a, b, [&](auto function) { apply8(function, x); });
}

/* Once in a kernel and not at each of its stores: all activations, there, were longer than the rest of a convolution,
 * and half of what compiling it took. */
static __device__ __noinline__ float8 activate_by_call(thaw_act act, float a, float b, float8 x) {
    activate8(act, a, b, x);
    return x;
}

/* Any activation, chosen anew for each eight values. */
struct any_activation {
    thaw_act act;
    float a, b;
};

__device__ inline void apply8(any_activation any, float8 &x) {
    x = activate_by_call(any.act, any.a, any.b, x);
}

/* As with_activation, for what is large: code of its own for the usual ones alone, since each is a
 * copy of everything. */
template <class F>
__device__ inline void with_usual_activation(thaw_act act, float a, float b, F f) {
    if (act == THAW_ACT_NONE) return f([](float x) { return x; });
    if (act == THAW_ACT_CLIP && b == INFINITY) return f([=](float x) { return fmaxf(x, a); });
    if (act == THAW_ACT_CLIP) return f([=](float x) { return fminf(fmaxf(x, a), b); });
    if (act == THAW_ACT_SILU) return f([](float x) { return x * sigmoid(x); });
    f(any_activation{act, a, b});
}

/* Eight channels, of which `channels` are left; what is behind them is padding: zero. */
__device__ inline void zero_padding(float8 &x, int channels) {
    if (channels >= 8) return;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        if (i >= channels) x.v[i] = 0;
    }
}

}  // namespace thaw

#endif
