/* cuBLAS's product of two large matrices: what a good library reaches on this device. */
#include "peers.h"

#include <algorithm>

#if __has_include(<cublas_v2.h>)
#include <cublas_v2.h>
#include <dlfcn.h>

#include "library.h"
#include "on_device.h"

typedef cublasStatus_t (*create_function)(cublasHandle_t *);
typedef cublasStatus_t (*destroy_function)(cublasHandle_t);
typedef cublasStatus_t (*stream_function)(cublasHandle_t, cudaStream_t);
typedef cublasStatus_t (*product_function)(cublasHandle_t, cublasOperation_t, cublasOperation_t,
                                           int, int, int, const void *, const void *,
                                           cudaDataType_t, int, const void *, cudaDataType_t, int,
                                           const void *, void *, cudaDataType_t, int,
                                           cublasComputeType_t, cublasGemmAlgo_t);

static void *open_library() {
    const char *const names[] = {"libcublas.so.13", "libcublas.so.12", "libcublas.so.11", nullptr};
    return thaw::open_library(names);
}

/* Median of 7 groups of products; 0 when a call fails. */
static double time_products(cudaStream_t stream, cublasHandle_t handle, product_function product,
                            int n, void *const (&matrix)[3]) {
    const int GROUPS = 7, PRODUCTS = 4;
    float one = 1, zero = 0, ms[GROUPS];
    cudaEvent_t start, end;
    if (cudaEventCreate(&start) || cudaEventCreate(&end)) return 0;
    bool good = true;
    for (int group = -1; good && group < GROUPS; group++) {
        cudaEventRecord(start, stream);
        for (int i = 0; good && i < PRODUCTS; i++) {
            good = product(handle, CUBLAS_OP_T, CUBLAS_OP_N, n, n, n, &one, matrix[0], CUDA_R_16F,
                           n, matrix[1], CUDA_R_16F, n, &zero, matrix[2], CUDA_R_16F, n,
                           CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT) == CUBLAS_STATUS_SUCCESS;
        }
        cudaEventRecord(end, stream);
        good = good && cudaEventSynchronize(end) == cudaSuccess;
        if (group >= 0) cudaEventElapsedTime(&ms[group], start, end);
    }
    cudaEventDestroy(start);
    cudaEventDestroy(end);
    if (!good) return 0;
    std::sort(ms, ms + GROUPS);
    return ms[GROUPS / 2] / PRODUCTS;
}

double cublas_product_ms(cudaStream_t stream, int n, std::string *trouble) {
    void *library = open_library();
    if (!library) {
        *trouble = "cuBLAS is not installed";
        return 0;
    }
    create_function create = (create_function)dlsym(library, "cublasCreate_v2");
    destroy_function destroy = (destroy_function)dlsym(library, "cublasDestroy_v2");
    stream_function set_stream = (stream_function)dlsym(library, "cublasSetStream_v2");
    product_function product = (product_function)dlsym(library, "cublasGemmEx");
    cublasHandle_t handle;
    if (!create || !destroy || !set_stream || !product ||
        create(&handle) != CUBLAS_STATUS_SUCCESS) {
        *trouble = "cuBLAS did not start";
        return 0;
    }
    void *matrix[3] = {};
    int64_t count = (int64_t)n * n;
    bool good = set_stream(handle, stream) == CUBLAS_STATUS_SUCCESS;
    for (int i = 0; good && i < 3; i++) {
        good = cudaMalloc(&matrix[i], (size_t)count * 2) == cudaSuccess &&
               fill_halves(stream, matrix[i], count, (uint32_t)i + 1) == 0;
    }
    double ms = good ? time_products(stream, handle, product, n, matrix) : 0;
    if (ms == 0) *trouble = "cuBLAS's product failed";
    for (void *m : matrix)
        cudaFree(m);
    destroy(handle);
    return ms;
}

#else

double cublas_product_ms(cudaStream_t, int, std::string *trouble) {
    *trouble = "the benchmark was built without cuBLAS's header";
    return 0;
}

#endif
