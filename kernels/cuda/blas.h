/* The one function of cuBLAS that training needs. blas_dlopen.cc finds the library when the program
 * runs, since a machine that only serves has none; tests/simt/blas.cc computes it on the CPU. */
#ifndef THAW_CUDA_BLAS_H
#define THAW_CUDA_BLAS_H

#include <cuda_runtime.h>
#include <stdint.h>

#include "kernels.h"

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

/* Of a matrix, column-major, as cuBLAS has it: `ld` elements from a column to the next, of THAW_F32 or
 * THAW_BF16. */
struct blas_factor {
    thaw_dtype dtype;
    const void *at;
    int64_t ld;
    bool transposed;
};

struct blas_product {
    thaw_dtype dtype;
    void *at;
    int64_t ld;
};

/* C[m,n] = A[m,k] B[k,n], with A^T of A[k,m] or B^T of B[n,k] in their place. A and B are of one type, C
 * is of theirs or float; sums in float. Returns cuBLAS's status. */
int blas_gemm(blas *handle, int64_t m, int64_t n, int64_t k, const blas_factor &A,
              const blas_factor &B, const blas_product &C);

/* A sentence for a status that blas_gemm returned. */
const char *blas_explain(int status);

}  // namespace thaw

#endif
