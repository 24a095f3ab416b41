/* The runtime's calls: memory, streams, events. Everything is done when its call returns. */
#include <sys/mman.h>

#include <atomic>
#include <map>
#include <mutex>

#include "block.h"

namespace simt {

#ifdef THAW_SIMT_CHECKED

/* Device memory comes from one range of addresses, each allocation from where none was before: an
 * address tells whether it is device memory, and what is freed stays forbidden. One byte of `live`
 * stands for each byte of it. */
enum : size_t { DEVICE_BYTES = (size_t)16 << 30, ALIGNMENT = 256, GAP = 256 };

struct device_range {
    uint8_t *memory, *live;
    std::mutex lock;
    size_t used = GAP;
    std::map<uint8_t *, size_t> blocks;

    device_range() {
        int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        memory = (uint8_t *)mmap(nullptr, DEVICE_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0);
        live = (uint8_t *)mmap(nullptr, DEVICE_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0);
        if (memory == MAP_FAILED || live == MAP_FAILED) abort();
    }
};

static device_range &device() {
    static device_range *range = new device_range; /* Outlives every destructor. */
    return *range;
}

const char *device_memory_fault(const void *memory, size_t n) {
    static device_range &range = device();
    size_t offset = (size_t)((const uint8_t *)memory - range.memory);
    if ((const uint8_t *)memory < range.memory || offset >= DEVICE_BYTES) return nullptr;
    for (size_t i = offset; i < offset + n; i++) {
        if (!range.live[i]) return "outside live device memory";
    }
    return "";
}

static void *device_alloc(size_t bytes) {
    device_range &range = device();
    std::lock_guard<std::mutex> hold(range.lock);
    if (bytes > DEVICE_BYTES - GAP - range.used - ALIGNMENT) return nullptr;
    uint8_t *memory = range.memory + range.used;
    memset(range.live + range.used, 1, bytes);
    range.used = (range.used + bytes + GAP + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    range.blocks[memory] = bytes;
    return memory;
}

static bool device_free(void *memory) {
    device_range &range = device();
    std::lock_guard<std::mutex> hold(range.lock);
    auto found = range.blocks.find((uint8_t *)memory);
    if (found == range.blocks.end()) return false;
    memset(range.live + (found->first - range.memory), 0, found->second);
    madvise(memory, found->second, MADV_DONTNEED); /* Whole pages of it; only a hint. */
    range.blocks.erase(found);
    return true;
}

#else

const char *device_memory_fault(const void *, size_t) {
    return nullptr;
}

static void *device_alloc(size_t bytes) {
    void *memory = nullptr;
    return posix_memalign(&memory, 256, std::max<size_t>(bytes, 1)) == 0 ? memory : nullptr;
}

static bool device_free(void *memory) {
    free(memory);
    return true;
}

#endif

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
    properties->totalGlobalMem = (size_t)1 << 30;
    properties->sharedMemPerBlockOptin = THAW_SIMT_ARCH == 750 ? 64 << 10 : 99 << 10;
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
    *free_bytes = *total_bytes = (size_t)1 << 30;
    return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **memory, size_t bytes) {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    *memory = bytes ? simt::device_alloc(bytes) : nullptr;
    return bytes && !*memory ? cudaErrorMemoryAllocation : cudaSuccess;
}

cudaError_t cudaFree(void *memory) {
    return !memory || simt::device_free(memory) ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t cudaMallocHost(void **memory, size_t bytes) {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    *memory = malloc(bytes ? bytes : 1);
    return *memory ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFreeHost(void *memory) {
    free(memory);
    return cudaSuccess;
}

/* Device memory on the side that the kind says, all of it live. */
static bool is_good(const void *memory, size_t bytes, bool on_device) {
    const char *fault = simt::device_memory_fault(memory, bytes);
#ifdef THAW_SIMT_CHECKED
    if (on_device) return fault && !*fault;
#endif
    return on_device || !fault;
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    if (!bytes) return cudaSuccess;
    bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (kind != cudaMemcpyDefault &&
        (!is_good(to, bytes, to_device) || !is_good(from, bytes, from_device)))
        return cudaErrorInvalidValue;
    memcpy(to, from, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t) {
    return cudaMemcpy(to, from, bytes, kind);
}

cudaError_t cudaMemset(void *memory, int value, size_t bytes) {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    if (!bytes) return cudaSuccess;
    if (!is_good(memory, bytes, true)) return cudaErrorInvalidValue;
    memset(memory, value, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t) {
    return cudaMemset(memory, value, bytes);
}

/* ---- streams and graphs --------------------------------------------------------------------- */

struct kept_launch {
    cudaLaunchConfig_t config;
    std::function<void()> body;
};

struct simt_graph {
    std::vector<kept_launch> launches;
};

struct simt_stream {
    simt_graph *capturing;
};

bool simt::keep_for_graph(cudaStream_t stream, const cudaLaunchConfig_t &config,
                          const std::function<void()> &body) {
    if (!stream->capturing) return false;
    stream->capturing->launches.push_back({config, body});
    return true;
}

cudaError_t cudaStreamCreate(cudaStream_t *stream) {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    *stream = new simt_stream{nullptr};
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    if (stream) delete stream->capturing;
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    return stream && stream->capturing ? cudaErrorInvalidValue : cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    if (stream->capturing) return cudaErrorInvalidValue;
    stream->capturing = new simt_graph;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    *graph = stream->capturing;
    stream->capturing = nullptr;
    if (cudaError_t failure = simt::injected_failure()) {
        delete *graph;
        *graph = nullptr;
        return failure;
    }
    return *graph ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph,
                                 unsigned long long) {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    *executable = new simt_graph(*graph);
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t) {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    for (const kept_launch &l : executable->launches) {
        if (cudaError_t code = simt::run_now(l.config, l.body)) return code;
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
