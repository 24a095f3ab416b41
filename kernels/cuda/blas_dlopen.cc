#include <dlfcn.h>
#include <stdlib.h>

#include "blas.h"
#include "library.h"

namespace thaw {

/* cublas_api.h, 12 and 13: C functions, and numbers that have not changed since 2.0. */
enum { OP_N = 0, OP_T = 1, TF32_TENSOR_OP_MATH = 3, WORKSPACE_BYTES = 32 << 20 };
enum {
    R_32F = 0,
    R_16BF = 14,
    COMPUTE_32F = 68,
    GEMM_DEFAULT = -1
}; /* library_types.h and above. */

struct blas {
    void *library, *handle, *workspace;
    int (*create)(void **handle);
    int (*destroy)(void *handle);
    int (*set_stream)(void *handle, cudaStream_t stream);
    int (*set_workspace)(void *handle, void *workspace, size_t bytes);
    int (*set_math_mode)(void *handle, int mode);
    int (*gemm)(void *handle, int a, int b, int m, int n, int k, const void *alpha, const void *A,
                int a_type, int lda, const void *B, int b_type, int ldb, const void *beta, void *C,
                int c_type, int ldc, int compute_type, int algorithm);
};

static bool find(blas *b) {
    static const char *const names[] = {"libcublas.so.13", "libcublas.so.12", "libcublas.so", NULL};
    b->library = open_library(names);
    if (!b->library) return false;
    *(void **)&b->create = dlsym(b->library, "cublasCreate_v2");
    *(void **)&b->destroy = dlsym(b->library, "cublasDestroy_v2");
    *(void **)&b->set_stream = dlsym(b->library, "cublasSetStream_v2");
    *(void **)&b->set_workspace = dlsym(b->library, "cublasSetWorkspace_v2");
    *(void **)&b->set_math_mode = dlsym(b->library, "cublasSetMathMode");
    *(void **)&b->gemm = dlsym(b->library, "cublasGemmEx");
    return b->create && b->destroy && b->set_stream && b->set_workspace && b->set_math_mode &&
           b->gemm;
}

int blas_open(cudaStream_t stream, bool tf32, blas **handle, thaw_error *err) {
    *handle = nullptr;
    blas *b = (blas *)calloc(1, sizeof *b);
    if (!b || !find(b)) {
        blas_close(b);
        thaw_fail(err, THAW_ERR_UNSUPPORTED,
                  "cuBLAS (libcublas.so.13 or .12) was not found: neither by the loader "
                  "(LD_LIBRARY_PATH) nor beside the program, in /usr/local/cuda or in a Python's "
                  "package nvidia-cublas");
        return (int)cudaErrorInvalidValue;
    }
    int code = (int)cudaMalloc(&b->workspace, WORKSPACE_BYTES);
    if (!code) code = b->create(&b->handle);
    if (!code) code = b->set_stream(b->handle, stream);
    if (!code) code = b->set_workspace(b->handle, b->workspace, WORKSPACE_BYTES);
    if (!code && tf32) code = b->set_math_mode(b->handle, TF32_TENSOR_OP_MATH);
    if (code) {
        blas_close(b);
        thaw_fail(err, THAW_ERR_UNSUPPORTED, "cuBLAS did not start: code %d", code);
        return code;
    }
    *handle = b;
    return 0;
}

void blas_close(blas *b) {
    if (b && b->handle) b->destroy(b->handle);
    if (b) cudaFree(b->workspace);
    free(b);
}

static int type_of(thaw_dtype dtype) {
    return dtype == THAW_BF16 ? R_16BF : R_32F;
}

int blas_gemm(blas *b, int64_t m, int64_t n, int64_t k, const blas_factor &A, const blas_factor &B,
              const blas_product &C) {
    const float one = 1, zero = 0;
    return b->gemm(b->handle, A.transposed ? OP_T : OP_N, B.transposed ? OP_T : OP_N, (int)m,
                   (int)n, (int)k, &one, A.at, type_of(A.dtype), (int)A.ld, B.at, type_of(B.dtype),
                   (int)B.ld, &zero, C.at, type_of(C.dtype), (int)C.ld, COMPUTE_32F, GEMM_DEFAULT);
}

const char *blas_explain(int status) {
    switch (status) { /* cublasStatus_t */
        case 3:
            return "cuBLAS: out of memory";
        case 7:
            return "cuBLAS: invalid value";
        case 13:
            return "cuBLAS: execution failed";
        default:
            return "cuBLAS failed";
    }
}

}  // namespace thaw
