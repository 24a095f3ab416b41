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
    *count = 1;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device) {
    *device = 0;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
    return device == 0 ? cudaSuccess : cudaErrorInvalidDevice;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device) {
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
    *free_bytes = *total_bytes = (size_t)1 << 30;
    return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **memory, size_t bytes) {
    *memory = bytes ? simt::device_alloc(bytes) : nullptr;
    return bytes && !*memory ? cudaErrorMemoryAllocation : cudaSuccess;
}

cudaError_t cudaFree(void *memory) {
    return !memory || simt::device_free(memory) ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t cudaMallocHost(void **memory, size_t bytes) {
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
    if (!bytes) return cudaSuccess;
    if (!is_good(memory, bytes, true)) return cudaErrorInvalidValue;
    memset(memory, value, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t) {
    return cudaMemset(memory, value, bytes);
}

cudaError_t cudaStreamCreate(cudaStream_t *stream) {
    *stream = (cudaStream_t)malloc(1);
    return *stream ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    free(stream);
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t) {
    return cudaSuccess;
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
