/* The runtime's calls: errors, devices, memory. Those of streams are in streams.cc. */
#include <atomic>

#include "block.h"

namespace simt {

/* ---- failures on demand --------------------------------------------------------------------- */

cudaError_t injected_failure() {
    static std::atomic<long> calls{0};
    static const char *const at = getenv("THAW_SIMT_FAIL_AT");
    static const char *const code = getenv("THAW_SIMT_FAIL_CODE");
    if (!at) return cudaSuccess;
    int failure = code ? atoi(code) : cudaErrorMemoryAllocation;
    long call = ++calls, wanted = atol(at);
    bool now = call == wanted || (failure >= 700 && call > wanted);
    return now ? (cudaError_t)failure : cudaSuccess;
}

}  // namespace simt

const char *cudaGetErrorString(cudaError_t error) {
    switch (error) {
#define X(name, number, text) \
    case name:                \
        return text;
        SIMT_ERRORS(X)
#undef X
    }
    return "unrecognized error code";
}

const char *cudaGetErrorName(cudaError_t error) {
    switch (error) {
#define X(name, number, text) \
    case name:                \
        return #name;
        SIMT_ERRORS(X)
#undef X
    }
    return "unrecognized error code";
}

cudaError_t cudaGetLastError() {
    return cudaSuccess;
}
cudaError_t cudaPeekAtLastError() {
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count) {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    *count = 1;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device) {
    *device = 0;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    return device == 0 ? cudaSuccess : cudaErrorInvalidDevice;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device) {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    if (device != 0) return cudaErrorInvalidDevice;
    *properties = {};
    strcpy(properties->name, "emulated on a CPU");
    properties->major = THAW_SIMT_ARCH / 100;
    properties->minor = THAW_SIMT_ARCH / 10 % 10;
    properties->multiProcessorCount = 4;
    properties->l2CacheSize = 1 << 20;
    properties->totalGlobalMem = simt::device_bytes();
    properties->sharedMemPerBlockOptin = simt::most_shared();
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version) {
    *version = 13000;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version) {
    *version = 13000;
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes) {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    *free_bytes = simt::free_device_bytes();
    *total_bytes = simt::device_bytes();
    return cudaSuccess;
}

/* ---- attributes ------------------------------------------------------------------------------ */

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device) {
    if (device != 0) return cudaErrorInvalidDevice;
    switch (attribute) { /* A small GPU's. */
        case cudaDevAttrClockRate:
            *value = 1500000;
            return cudaSuccess;
        case cudaDevAttrMemoryClockRate:
            *value = 5000000;
            return cudaSuccess;
        case cudaDevAttrGlobalMemoryBusWidth:
            *value = 256;
            return cudaSuccess;
        case cudaDevAttrL2CacheSize:
            *value = 1 << 20;
            return cudaSuccess;
    }
    return cudaErrorInvalidValue;
}

cudaError_t cudaDeviceSynchronize() {
    if (cudaError_t failure = simt::immediate_failure()) return failure;
    return simt::finish_all();
}

/* ---- memory --------------------------------------------------------------------------------- */

cudaError_t cudaMalloc(void **memory, size_t bytes) {
    if (cudaError_t failure = simt::immediate_failure()) return failure;
    *memory = bytes ? simt::device_alloc(bytes) : nullptr;
    return bytes && !*memory ? cudaErrorMemoryAllocation : cudaSuccess;
}

cudaError_t cudaFree(void *memory) {
    if (cudaError_t failure = simt::refused_while_capturing()) return failure;
    if (memory) simt::finish_all();
    return !memory || simt::device_free(memory) ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t cudaMallocHost(void **memory, size_t bytes) {
    if (cudaError_t failure = simt::immediate_failure()) return failure;
    *memory = simt::pinned_alloc(bytes);
    return *memory ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFreeHost(void *memory) {
    if (memory) simt::finish_all();
    return !memory || simt::pinned_free(memory) ? cudaSuccess : cudaErrorInvalidValue;
}

/* Memory on the side that the kind says, all of it live. */
static bool is_good(const void *memory, size_t bytes, bool on_device) {
    return simt::is_live(memory, bytes) == on_device && (on_device || !simt::is_device(memory));
}

static cudaError_t copy_now(void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
    bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (kind != cudaMemcpyDefault &&
        (!is_good(to, bytes, to_device) || !is_good(from, bytes, from_device)))
        return cudaErrorInvalidValue;
    memmove(to, from, bytes);
    simt::mark_written(to, from, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
    if (cudaError_t failure = simt::immediate_failure()) return failure;
    if (cudaError_t failure = simt::finish_blocking()) return failure;
    return bytes ? copy_now(to, from, bytes, kind) : cudaSuccess;
}

/* Overlaps with the host only where the host's side is pinned: then it lands when it must. */
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    if (!bytes) return cudaSuccess;
    const void *host = kind == cudaMemcpyHostToDevice   ? from
                       : kind == cudaMemcpyDeviceToHost ? to
                                                        : nullptr;
    cudaError_t code = simt::queue(stream, [=] { return copy_now(to, from, bytes, kind); });
    bool waits = host && !simt::is_pinned(host, bytes);
    return code || !waits ? code : simt::finish(stream);
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width, size_t height, cudaMemcpyKind kind,
                              cudaStream_t stream) {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    if (width > to_pitch || width > from_pitch) return cudaErrorInvalidValue;
    cudaError_t code = simt::queue(stream, [=] {
        cudaError_t first = cudaSuccess;
        for (size_t i = 0; i < height && first == cudaSuccess; i++)
            first = copy_now((char *)to + i * to_pitch, (const char *)from + i * from_pitch, width,
                             kind);
        return first;
    });
    const void *host = kind == cudaMemcpyHostToDevice ? from : to;
    size_t bytes = kind == cudaMemcpyHostToDevice ? height * from_pitch : height * to_pitch;
    bool waits = kind != cudaMemcpyDeviceToDevice && !simt::is_pinned(host, bytes);
    return code || !waits ? code : simt::finish(stream);
}

static cudaError_t set_now(void *memory, int value, size_t bytes) {
    if (!is_good(memory, bytes, true)) return cudaErrorInvalidValue;
    memset(memory, value, bytes);
    simt::mark_written(memory, nullptr, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemset(void *memory, int value, size_t bytes) {
    if (cudaError_t failure = simt::immediate_failure()) return failure;
    if (cudaError_t failure = simt::finish_blocking()) return failure;
    return bytes ? set_now(memory, value, bytes) : cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t stream) {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    if (!bytes) return cudaSuccess;
    return simt::queue(stream, [=] { return set_now(memory, value, bytes); });
}
