/* cuBLAS for the emulation: the same function, one loop for each letter, kept by a stream that is
 * being captured. */
#include "blas.h"

#include "block.h"
#include "types.h"

namespace thaw {

struct blas {
    cudaStream_t stream;
    bool tf32;
};

int blas_open(cudaStream_t stream, bool tf32, blas **handle, thaw_error *err) {
    *handle = nullptr;
    if (cudaError_t failure = simt::injected_failure()) {
        thaw_fail(err, THAW_ERR_UNSUPPORTED, "cuBLAS did not start: code %d", (int)failure);
        return (int)failure;
    }
    *handle = new blas{stream, tf32 && THAW_SIMT_ARCH >= 800};
    return 0;
}

void blas_close(blas *handle) {
    delete handle;
}

int blas_gemm(blas *handle, bool a_transposed, bool b_transposed, int64_t m, int64_t n, int64_t k,
              const float *A, int64_t lda, const float *B, int64_t ldb, float *C, int64_t ldc) {
    if (simt::injected_failure()) return 13;
    bool tf32 = handle->tf32;
    auto factor = [tf32](float x) { return tf32 ? tf32_round(x) : x; };
    auto work = [=] {
        for (int64_t j = 0; j < n; j++) {
            for (int64_t i = 0; i < m; i++) {
                float sum = 0;
                for (int64_t l = 0; l < k; l++)
                    sum += factor(a_transposed ? A[i * lda + l] : A[l * lda + i]) *
                           factor(b_transposed ? B[l * ldb + j] : B[j * ldb + l]);
                C[j * ldc + i] = sum;
            }
            simt::mark_written(C + j * ldc, nullptr, (size_t)m * sizeof *C);
        }
        return cudaSuccess;
    };
    return simt::queue(handle->stream, work) == cudaSuccess ? 0 : 13;
}

const char *blas_explain(int) {
    return "cuBLAS: execution failed";
}

}  // namespace thaw
