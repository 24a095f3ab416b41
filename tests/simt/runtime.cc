/* The runtime's calls: errors, devices, memory, streams, graphs, events. Everything is done when
 * its call returns, but for what a capture keeps. */
#include <atomic>
#include <functional>
#include <memory>

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

/* ---- capture -------------------------------------------------------------------------------- */

using operation = std::function<cudaError_t()>;

struct simt_graph {
    std::vector<operation> operations;
};

struct simt_stream {
    std::unique_ptr<simt_graph> capturing;
    bool spoiled; /* By a call that a capture does not allow. */
};

/* The stream that this OS thread captures; NULL if none. */
static thread_local simt_stream *capture;

cudaError_t simt::run_or_keep(cudaStream_t stream, operation work) {
    if (!stream || !stream->capturing) return work();
    stream->capturing->operations.push_back(std::move(work));
    return cudaSuccess;
}

/* For calls that act at once: during a capture they fail, and the capture with them. */
static cudaError_t refused_while_capturing() {
    if (!capture) return cudaSuccess;
    capture->spoiled = true;
    return cudaErrorStreamCaptureUnsupported;
}

/* An injected failure, or that one. */
static cudaError_t immediate_failure() {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    return refused_while_capturing();
}

cudaError_t cudaDeviceSynchronize() {
    return immediate_failure();
}

/* ---- memory --------------------------------------------------------------------------------- */

cudaError_t cudaMalloc(void **memory, size_t bytes) {
    if (cudaError_t failure = immediate_failure()) return failure;
    *memory = bytes ? simt::device_alloc(bytes) : nullptr;
    return bytes && !*memory ? cudaErrorMemoryAllocation : cudaSuccess;
}

cudaError_t cudaFree(void *memory) {
    if (cudaError_t failure = refused_while_capturing()) return failure;
    return !memory || simt::device_free(memory) ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t cudaMallocHost(void **memory, size_t bytes) {
    if (cudaError_t failure = immediate_failure()) return failure;
    *memory = simt::pinned_alloc(bytes);
    return *memory ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFreeHost(void *memory) {
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
    if (cudaError_t failure = immediate_failure()) return failure;
    return bytes ? copy_now(to, from, bytes, kind) : cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    if (!bytes) return cudaSuccess;
    return simt::run_or_keep(stream, [=] { return copy_now(to, from, bytes, kind); });
}

static cudaError_t set_now(void *memory, int value, size_t bytes) {
    if (!is_good(memory, bytes, true)) return cudaErrorInvalidValue;
    memset(memory, value, bytes);
    simt::mark_written(memory, nullptr, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemset(void *memory, int value, size_t bytes) {
    if (cudaError_t failure = immediate_failure()) return failure;
    return bytes ? set_now(memory, value, bytes) : cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t stream) {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    if (!bytes) return cudaSuccess;
    return simt::run_or_keep(stream, [=] { return set_now(memory, value, bytes); });
}

/* ---- streams and graphs --------------------------------------------------------------------- */

cudaError_t cudaStreamCreate(cudaStream_t *stream) {
    if (cudaError_t failure = immediate_failure()) return failure;
    *stream = new simt_stream{nullptr, false};
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    if (stream && stream == capture) capture = nullptr;
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    return stream && stream->capturing ? refused_while_capturing() : cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    if (!stream || stream->capturing) return cudaErrorStreamCaptureUnsupported;
    stream->capturing = std::make_unique<simt_graph>();
    stream->spoiled = false;
    capture = stream;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    std::unique_ptr<simt_graph> captured = std::move(stream->capturing);
    capture = nullptr;
    *graph = nullptr;
    if (cudaError_t failure = simt::injected_failure()) return failure;
    if (!captured) return cudaErrorInvalidValue;
    if (stream->spoiled) return cudaErrorStreamCaptureInvalidated;
    *graph = captured.release();
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph,
                                 unsigned long long) {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    *executable = new simt_graph(*graph);
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t) {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    for (const operation &work : executable->operations) {
        if (cudaError_t code = work()) return code;
    }
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
    delete executable;
    return cudaSuccess;
}

/* ---- attributes and events ------------------------------------------------------------------ */

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

cudaError_t cudaEventCreate(cudaEvent_t *event) {
    *event = (cudaEvent_t)malloc(1);
    return *event ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    free(event);
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) {
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t) {
    return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t, cudaEvent_t) {
    *ms = 0; /* Time on an emulated device means nothing. */
    return cudaSuccess;
}
