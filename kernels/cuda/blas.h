/* The one function of cuBLAS that training needs. blas_dlopen.cc finds the library when the program
 * runs, since a machine that only serves has none; tests/simt/blas.cc computes it on the CPU. */
#ifndef THAW_CUDA_BLAS_H
#define THAW_CUDA_BLAS_H

#include <cuda_runtime.h>
#include <stdint.h>

extern "C" {
#include "status.h"
}

namespace thaw {

struct blas;

/* Opens cuBLAS for one stream, with a workspace of its own, so that calls can be captured. tf32:
 * factors may be rounded to 10 bits of mantissa, for tensor cores, where the device has them.
 * Returns 0 or a code with a sentence in err; the caller closes. NULL closes nothing. */
int blas_open(cudaStream_t stream, bool tf32, blas **handle, thaw_error *err);
void blas_close(blas *handle);

/* C[m,n] = A[m,k] B[k,n], with A^T of A[k,m] or B^T of B[n,k] in their place; float, column-major, as
 * cuBLAS has it: lda, ldb and ldc are elements from a column to the next. Sums in float. Returns
 * cuBLAS's status. */
int blas_gemm(blas *handle, bool a_transposed, bool b_transposed, int64_t m, int64_t n, int64_t k,
              const float *A, int64_t lda, const float *B, int64_t ldb, float *C, int64_t ldc);

/* A sentence for a status that blas_gemm returned. */
const char *blas_explain(int status);

}  // namespace thaw

#endif
