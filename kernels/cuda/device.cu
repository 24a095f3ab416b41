/* Opening a CUDA device, its memory, copies and graphs. Every failure becomes a sentence or a code.
 */
#include "device.h"

#include <cuda_runtime.h>
#include <stdio.h>
#include <stdlib.h>

#include "arch.cuh"
#include "blas.h"
#include "dnn.h"
#include "tuning.h"

namespace thaw {

/* ---- opening -------------------------------------------------------------------------------- */

/* Only to ask what this file was compiled for on the device at hand. */
__global__ void probe_kernel(int *sm) {
    *sm = ARCH;
}

static int no_device(cudaError_t code, thaw_error *err) {
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (driver == 0) {
        thaw_fail(err, THAW_ERR_BACKEND, "no CUDA driver is installed on this machine");
    } else if (code == cudaErrorInsufficientDriver || driver / 1000 < runtime / 1000) {
        thaw_fail(err, THAW_ERR_BACKEND,
                  "the CUDA driver is too old: it supports CUDA %d.%d, this build needs %d.%d; "
                  "update the driver",
                  driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    } else {
        thaw_fail(err, THAW_ERR_BACKEND, "this machine has no CUDA device (%s)",
                  cudaGetErrorString(code));
    }
    return code == cudaSuccess ? (int)cudaErrorNoDevice : (int)code;
}

/* Peaks for the cost model: products a clock and multiprocessor (docs of the architectures; sm_86
 * and consumer parts sum half precision at half the rate), and bytes by bus and clock. */
static void find_peaks(int index, int sm, thaw_cuda_device *facts) {
    int clock_khz = 0, memory_khz = 0, bus_bits = 0, l2_bytes = 0;
    cudaDeviceGetAttribute(&clock_khz, cudaDevAttrClockRate, index);
    cudaDeviceGetAttribute(&memory_khz, cudaDevAttrMemoryClockRate, index);
    cudaDeviceGetAttribute(&bus_bits, cudaDevAttrGlobalMemoryBusWidth, index);
    cudaDeviceGetAttribute(&l2_bytes, cudaDevAttrL2CacheSize, index);
    int products = sm >= 90 ? 2048 : sm >= 89 ? 512 : sm >= 86 ? 256 : sm >= 80 ? 1024 : 512;
    facts->tflops = (float)(2.0 * products * facts->n_sm * clock_khz * 1e-9);
    facts->gbytes = (float)(2.0 * memory_khz * (bus_bits / 8) * 1e-6);
    facts->l2_mbytes = (float)l2_bytes / (1 << 20);
    /* Where the driver does not tell clocks any more: an A10G's, since only ranks depend on them.
     */
    if (!(facts->tflops > 0)) facts->tflops = 70;
    if (!(facts->gbytes > 0)) facts->gbytes = 600;
}

static int describe(int index, open_device *device, thaw_error *err) {
    cudaDeviceProp properties;
    cudaError_t code = cudaGetDeviceProperties(&properties, index);
    cudaFuncAttributes attributes = {};
    if (code == cudaSuccess) code = cudaFuncGetAttributes(&attributes, probe_kernel);
    if (code == cudaErrorNoKernelImageForDevice) {
        thaw_fail(err, THAW_ERR_BACKEND,
                  "%s is sm_%d%d; this build holds kernels for sm_75, 80, 86, 90 and newer",
                  properties.name, properties.major, properties.minor);
        return (int)code;
    }
    if (code != cudaSuccess) {
        thaw_fail(err, THAW_ERR_BACKEND, "CUDA device %d does not answer: %s", index,
                  cudaGetErrorString(code));
        return (int)code;
    }
    device->index = index;
    snprintf(device->name, sizeof device->name, "%.63s", properties.name);
    snprintf(device->described, sizeof device->described, "%.63s (cuda:%d)", properties.name,
             index);
    device->facts.sm = attributes.ptxVersion;
    device->facts.n_sm = properties.multiProcessorCount;
    find_peaks(index, properties.major * 10 + properties.minor, &device->facts);
    return 0;
}

int device_open(int index, int threads, void **device, void **stream, thaw_error *err) {
    (void)threads; /* The host's. */
    int count = 0;
    cudaError_t code = cudaGetDeviceCount(&count);
    if (code != cudaSuccess || count == 0) return no_device(code, err);
    if (index >= count) {
        thaw_fail(err, THAW_ERR_USAGE, "device = cuda:%d: this machine has %d CUDA device%s, %s%d",
                  index, count, count == 1 ? "" : "s",
                  count == 1 ? "cuda:" : "cuda:0 to cuda:", count - 1);
        return (int)cudaErrorInvalidDevice;
    }
    code = cudaSetDevice(index);
    open_device *opened = (open_device *)calloc(1, sizeof *opened);
    cudaStream_t queue = nullptr;
    if (code == cudaSuccess && opened) code = cudaStreamCreate(&queue);
    if (opened) opened->stream = queue;
    if (code != cudaSuccess || !opened) {
        thaw_fail(err, THAW_ERR_BACKEND, "CUDA device %d did not open: %s", index,
                  opened ? cudaGetErrorString(code) : "out of host memory");
        free(opened);
        return opened ? (int)code : (int)cudaErrorMemoryAllocation;
    }
    int refused = describe(index, opened, err);
    if (refused) {
        device_close(opened, queue);
        return refused;
    }
    *device = opened;
    *stream = queue;
    return 0;
}

void device_close(void *device, void *stream) {
    open_device *opened = (open_device *)device;
    if (opened) {
        dnn_close(opened->convolutions);
        for (blas *products : opened->products)
            blas_close(products);
        tuning_close(opened->tuning);
    }
    if (stream) cudaStreamDestroy((cudaStream_t)stream);
    free(opened);
}

/* ---- memory --------------------------------------------------------------------------------- */

static int alloc(size_t n, void **memory) {
    *memory = nullptr;
    cudaError_t code = n ? cudaMalloc(memory, n) : cudaSuccess;
    /* Out of memory is not sticky, but it stays to be asked for by the next launch otherwise. */
    if (code != cudaSuccess) cudaGetLastError();
    return (int)code;
}

static void release(void *memory) {
    cudaFree(memory);
}

static int alloc_pinned(size_t n, void **memory) {
    *memory = nullptr;
    cudaError_t code = n ? cudaMallocHost(memory, n) : cudaSuccess;
    if (code != cudaSuccess) cudaGetLastError();
    return (int)code;
}

static void release_pinned(void *memory) {
    cudaFreeHost(memory);
}

static int upload(void *stream, void *to, const void *from, size_t n) {
    return (int)cudaMemcpyAsync(to, from, n, cudaMemcpyHostToDevice, (cudaStream_t)stream);
}

static int download(void *stream, void *to, const void *from, size_t n) {
    return (int)cudaMemcpyAsync(to, from, n, cudaMemcpyDeviceToHost, (cudaStream_t)stream);
}

static int wait(void *stream) {
    return (int)cudaStreamSynchronize((cudaStream_t)stream);
}

/* ---- graphs --------------------------------------------------------------------------------- */

static int record(void *stream) {
    return (int)cudaStreamBeginCapture((cudaStream_t)stream, cudaStreamCaptureModeThreadLocal);
}

static int end_record(void *stream, void **graph) {
    *graph = nullptr;
    cudaGraph_t captured = nullptr;
    cudaError_t code = cudaStreamEndCapture((cudaStream_t)stream, &captured);
    cudaGraphExec_t executable = nullptr;
    if (code == cudaSuccess) code = cudaGraphInstantiate(&executable, captured, 0);
    if (captured) cudaGraphDestroy(captured);
    *graph = executable;
    return (int)code;
}

static int replay(void *stream, void *graph) {
    return (int)cudaGraphLaunch((cudaGraphExec_t)graph, (cudaStream_t)stream);
}

static void release_graph(void *graph) {
    if (graph) cudaGraphExecDestroy((cudaGraphExec_t)graph);
}

/* ---- streams and events --------------------------------------------------------------------- */

/* Behind what the default stream was given before, as are weights and counters: copies from
 * pageable memory and fills may still be on their way there when their call returns. */
static int open_stream(void **stream) {
    cudaStream_t opened = nullptr;
    cudaError_t code = cudaStreamCreate(&opened);
    *stream = opened;
    return (int)code;
}

static void close_stream(void *stream) {
    if (stream) cudaStreamDestroy((cudaStream_t)stream);
}

/* A host that waits long for one sleeps: its cores decode pictures meanwhile. */
static int create_event(void **event) {
    cudaEvent_t created = nullptr;
    cudaError_t code = cudaEventCreateWithFlags(&created, cudaEventBlockingSync);
    *event = created;
    return (int)code;
}

static void release_event(void *event) {
    if (event) cudaEventDestroy((cudaEvent_t)event);
}

static int mark(void *stream, void *event) {
    return (int)cudaEventRecord((cudaEvent_t)event, (cudaStream_t)stream);
}

static int follow(void *stream, void *event) {
    return (int)cudaStreamWaitEvent((cudaStream_t)stream, (cudaEvent_t)event, 0);
}

/* Waking up takes tens of microseconds, as long as a small batch: so it asks for a while before it
 * sleeps. A question takes about a microsecond. */
static int reach(void *event) {
    const int QUESTIONS = 200;
    for (int i = 0; i < QUESTIONS; i++) {
        cudaError_t code = cudaEventQuery((cudaEvent_t)event);
        if (code != cudaErrorNotReady) return (int)code;
        cudaGetLastError(); /* That is no error, but would be found as one later. */
    }
    return (int)cudaEventSynchronize((cudaEvent_t)event);
}

static int between(void *from, void *to, float *ms) {
    return (int)cudaEventElapsedTime(ms, (cudaEvent_t)from, (cudaEvent_t)to);
}

const thaw_memory device_memory = {alloc,        release,      alloc_pinned,  release_pinned,
                                   upload,       download,     wait,          record,
                                   end_record,   replay,       release_graph, open_stream,
                                   close_stream, create_event, release_event, mark,
                                   follow,       reach,        between};

}  // namespace thaw
