/* CUDA on a CPU, in place of the toolkit's <cuda_runtime.h>: what the kernels and their host code
 * use of the language and of the runtime, so that the files of kernels/cuda/ compile unchanged as
 * C++20. See simt.h for how a launch runs and for what it watches.
 */
#ifndef THAW_SIMT_CUDA_RUNTIME_H
#define THAW_SIMT_CUDA_RUNTIME_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <source_location>
#include <tuple>
#include <type_traits>
#include <vector>

/* ---- the language --------------------------------------------------------------------------- */

#define THAW_SIMT 1
#define __CUDA_ARCH__ THAW_SIMT_ARCH /* 750, 860: given by the build. */
#define __global__
#define __device__
#define __noinline__ __attribute__((noinline))
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {
    }
};

struct uint3 {
    unsigned x, y, z;
};

/* Aligned as on the GPU: an access to a misaligned one is an error. */
#define SIMT_VECTOR_2(name, type)             \
    struct alignas(2 * sizeof(type)) name {   \
        type x, y;                            \
    };                                        \
    inline name make_##name(type x, type y) { \
        return {x, y};                        \
    }
#define SIMT_VECTOR_4(name, type)                             \
    struct alignas(4 * sizeof(type)) name {                   \
        type x, y, z, w;                                      \
    };                                                        \
    inline name make_##name(type x, type y, type z, type w) { \
        return {x, y, z, w};                                  \
    }
SIMT_VECTOR_2(float2, float)
SIMT_VECTOR_2(int2, int)
SIMT_VECTOR_2(uint2, unsigned)
SIMT_VECTOR_2(ushort2, unsigned short)
SIMT_VECTOR_4(float4, float)
SIMT_VECTOR_4(int4, int)
SIMT_VECTOR_4(uint4, unsigned)
SIMT_VECTOR_4(uchar4, unsigned char)

#include "simt.h"

/* Of the thread that runs. */
extern constinit thread_local uint3 threadIdx, blockIdx;
extern constinit thread_local dim3 blockDim, gridDim;

using std::max;
using std::min;

/* Each call knows the line that it stands on: errors name it. */
#define SIMT_HERE std::source_location where = std::source_location::current()

inline void __syncthreads(SIMT_HERE) {
    simt::block_barrier(where);
}
inline void __syncwarp(unsigned mask = 0xffffffffu, SIMT_HERE) {
    simt::warp_barrier(mask, where);
}
inline void __threadfence() {
    simt::memory_fence();
}

/* Any type of 4 or 8 bytes. */
template <class T>
T simt_shuffle(unsigned mask, T value, int from, SIMT_HERE) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8);
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    bits = simt::shuffle(mask, bits, from, where);
    memcpy(&value, &bits, sizeof value);
    return value;
}
/* The lane that gives, within segments of `width` lanes; a lane outside gives its own. */
template <class T>
T __shfl_sync(unsigned mask, T value, int from, int width = 32, SIMT_HERE) {
    int lane = simt::lane();
    return simt_shuffle(mask, value, lane / width * width + (from & (width - 1)), where);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int with, int width = 32, SIMT_HERE) {
    int lane = simt::lane(), from = lane ^ with;
    return simt_shuffle(mask, value, from / width == lane / width ? from : lane, where);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, SIMT_HERE) {
    int lane = simt::lane(), from = lane + (int)by;
    return simt_shuffle(mask, value, from / width == lane / width ? from : lane, where);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, SIMT_HERE) {
    int lane = simt::lane(), from = lane - (int)by;
    bool in = from >= 0 && from / width == lane / width;
    return simt_shuffle(mask, value, in ? from : lane, where);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, SIMT_HERE) {
    return simt::ballot(mask, predicate != 0, where);
}
inline int __any_sync(unsigned mask, int predicate, SIMT_HERE) {
    return simt::ballot(mask, predicate != 0, where) != 0;
}
inline int __all_sync(unsigned mask, int predicate, SIMT_HERE) {
    return simt::ballot(mask, predicate == 0, where) == 0;
}

inline unsigned atomicAdd(unsigned *to, unsigned value, SIMT_HERE) {
    return simt::atomic_add(to, value, where);
}
inline int atomicAdd(int *to, int value, SIMT_HERE) {
    return (int)simt::atomic_add((unsigned *)to, (unsigned)value, where);
}
inline unsigned long long atomicAdd(unsigned long long *to, unsigned long long value, SIMT_HERE) {
    return simt::atomic_add(to, value, where);
}

inline float __expf(float x) {
    return expf(x);
}
inline float __logf(float x) {
    return logf(x);
}
inline float __fdividef(float x, float y) {
    return x / y;
}
inline float rsqrtf(float x) {
    return 1 / sqrtf(x);
}
inline unsigned __float_as_uint(float f) {
    unsigned bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}
inline float __uint_as_float(unsigned bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}
inline int __float_as_int(float f) {
    return (int)__float_as_uint(f);
}
inline float __int_as_float(int bits) {
    return __uint_as_float((unsigned)bits);
}
template <class T>
T __ldg(const T *from) {
    return *from;
}
inline int __popc(unsigned x) {
    return __builtin_popcount(x);
}
inline int __ffs(int x) {
    return __builtin_ffs(x);
}
inline int __clz(int x) {
    return x ? __builtin_clz((unsigned)x) : 32;
}

/* ---- the runtime ---------------------------------------------------------------------------- */

/* name, CUDA's number, CUDA's words */
#define SIMT_ERRORS(X)                                                                            \
    X(cudaSuccess, 0, "no error")                                                                 \
    X(cudaErrorInvalidValue, 1, "invalid argument")                                               \
    X(cudaErrorMemoryAllocation, 2, "out of memory")                                              \
    X(cudaErrorInvalidConfiguration, 9, "invalid configuration argument")                         \
    X(cudaErrorInsufficientDriver, 35,                                                            \
      "CUDA driver version is insufficient for CUDA runtime version")                             \
    X(cudaErrorNoDevice, 100, "no CUDA-capable device is detected")                               \
    X(cudaErrorInvalidDevice, 101, "invalid device ordinal")                                      \
    X(cudaErrorNoKernelImageForDevice, 209,                                                       \
      "no kernel image is available for execution on the device")                                 \
    X(cudaErrorNotReady, 600, "device not ready")                                                 \
    X(cudaErrorIllegalAddress, 700, "an illegal memory access was encountered")                   \
    X(cudaErrorLaunchOutOfResources, 701, "too many resources requested for launch")              \
    X(cudaErrorLaunchFailure, 719, "unspecified launch failure")                                  \
    X(cudaErrorStreamCaptureUnsupported, 900, "operation not permitted when stream is capturing") \
    X(cudaErrorStreamCaptureInvalidated, 901,                                                     \
      "operation failed due to a previous error during capture")

enum cudaError_t {
#define X(name, number, text) name = number,
    SIMT_ERRORS(X)
#undef X
};

enum cudaMemcpyKind {
    cudaMemcpyHostToHost,
    cudaMemcpyHostToDevice,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice,
    cudaMemcpyDefault
};
enum cudaDeviceAttr {
    cudaDevAttrClockRate = 13,
    cudaDevAttrMemoryClockRate = 36,
    cudaDevAttrGlobalMemoryBusWidth = 37,
    cudaDevAttrL2CacheSize = 38
};
enum cudaStreamCaptureMode { cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal };
enum { cudaStreamNonBlocking = 1, cudaEventBlockingSync = 1 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };

typedef struct simt_stream *cudaStream_t;
typedef struct simt_event *cudaEvent_t;
typedef struct simt_graph *cudaGraph_t, *cudaGraphExec_t;

struct cudaDeviceProp {
    char name[256];
    int major, minor, multiProcessorCount, l2CacheSize;
    size_t totalGlobalMem, sharedMemPerBlockOptin;
};

struct cudaFuncAttributes {
    int ptxVersion, binaryVersion, numRegs;
    size_t localSizeBytes;
};

enum { cudaLaunchAttributeProgrammaticStreamSerialization = 6 };

struct cudaLaunchAttribute {
    int id;
    struct {
        int programmaticStreamSerializationAllowed;
    } val;
};

struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
    cudaLaunchAttribute *attrs;
    unsigned numAttrs;
};

const char *cudaGetErrorString(cudaError_t error);
const char *cudaGetErrorName(cudaError_t error);
cudaError_t cudaGetLastError();
cudaError_t cudaPeekAtLastError();
cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaGetDevice(int *device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device);
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device);
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaRuntimeGetVersion(int *version);
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes);
cudaError_t cudaDeviceSynchronize();
cudaError_t cudaMalloc(void **memory, size_t bytes);
cudaError_t cudaFree(void *memory);
cudaError_t cudaMallocHost(void **memory, size_t bytes);
cudaError_t cudaFreeHost(void *memory);
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream = nullptr);
cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width, size_t height, cudaMemcpyKind kind,
                              cudaStream_t stream = nullptr);
cudaError_t cudaMemset(void *memory, int value, size_t bytes);
cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t stream = nullptr);
cudaError_t cudaStreamCreate(cudaStream_t *stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags = 0);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph,
                                 unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable);
cudaError_t cudaEventCreate(cudaEvent_t *event);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream = nullptr);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to);

namespace simt {
cudaError_t set_shared_limit(const void *kernel, cudaFuncAttribute attribute, int bytes);
cudaError_t get_attributes(cudaFuncAttributes *attributes);

/* A kernel with its arguments: what each thread runs. */
struct kernel_call {
    void (*run)(const void *arguments);
    std::vector<uint8_t> arguments;
};

/* Runs the call in each thread; or, when the stream is being captured, keeps it for later. */
cudaError_t launch(const cudaLaunchConfig_t *config, const void *kernel, const kernel_call &call);
cudaError_t run_now(const cudaLaunchConfig_t &config, const kernel_call &call);

/* THAW_SIMT_FAIL_AT=N lets the N-th call of the runtime fail with THAW_SIMT_FAIL_CODE (2, out of
 * memory, if not given); a code from 700 on stays, as a GPU's sticky errors do. */
cudaError_t injected_failure();
}  // namespace simt

template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel *kernel, cudaFuncAttribute attribute, int bytes) {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    return simt::set_shared_limit((const void *)kernel, attribute, bytes);
}

template <class Kernel>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *attributes, Kernel *) {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    return simt::get_attributes(attributes);
}

template <class... Parameters>
struct simt_packed {
    void (*kernel)(Parameters...);
    std::tuple<Parameters...> arguments;
};

/* Copies to the thread's own stack first: the host's memory is none that a kernel may read. */
template <class... Parameters>
__attribute__((no_sanitize("thread"))) void simt_run(const void *from) {
    using packed = simt_packed<Parameters...>;
    alignas(packed) uint8_t copy[sizeof(packed)];
    memcpy(copy, from, sizeof copy);
    packed *mine = (packed *)copy;
    std::apply(mine->kernel, mine->arguments);
}

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *config, void (*kernel)(Parameters...),
                               Arguments &&...arguments) {
    static_assert((std::is_trivially_copyable_v<Parameters> && ...));
    if (cudaError_t failure = simt::injected_failure()) return failure;
    /* Copies, as a launch makes them: a captured one runs later. */
    simt_packed<Parameters...> packed = {kernel, {Parameters(arguments)...}};
    const uint8_t *bytes = (const uint8_t *)&packed;
    simt::kernel_call call = {simt_run<Parameters...>, {bytes, bytes + sizeof packed}};
    return simt::launch(config, (const void *)kernel, call);
}

#endif
