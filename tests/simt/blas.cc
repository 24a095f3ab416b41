/* cuBLAS for the emulation: the same function, one loop for each letter, kept by a stream that is
 * being captured. Of types it refuses what cuBLAS does. */
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

int blas_gemm(blas *handle, int64_t m, int64_t n, int64_t k, const blas_factor &A,
              const blas_factor &B, const blas_product &C) {
    if (simt::injected_failure()) return 13;
    if (A.dtype != B.dtype || (C.dtype != A.dtype && C.dtype != THAW_F32)) return 15;
    bool tf32 = handle->tf32;
    auto factor = [tf32](const blas_factor &f, int64_t row, int64_t column) {
        int64_t i = f.transposed ? row * f.ld + column : column * f.ld + row;
        if (f.dtype == THAW_BF16) return value(((const bf16_t *)f.at)[i]);
        float x = ((const float *)f.at)[i];
        return tf32 ? tf32_round(x) : x;
    };
    auto work = [=] {
        size_t bytes = thaw_dtype_bytes(C.dtype);
        for (int64_t j = 0; j < n; j++) {
            for (int64_t i = 0; i < m; i++) {
                float sum = 0;
                for (int64_t l = 0; l < k; l++)
                    sum += factor(A, i, l) * factor(B, l, j);
                if (C.dtype == THAW_BF16)
                    store((bf16_t *)C.at + j * C.ld + i, sum);
                else
                    ((float *)C.at)[j * C.ld + i] = sum;
            }
            simt::mark_written((char *)C.at + (size_t)(j * C.ld) * bytes, nullptr,
                               (size_t)m * bytes);
        }
        return cudaSuccess;
    };
    return simt::queue(handle->stream, work) == cudaSuccess ? 0 : 13;
}

const char *blas_explain(int) {
    return "cuBLAS: execution failed";
}

}  // namespace thaw
