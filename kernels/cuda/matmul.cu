/* Products of two maps, channel by channel: each channel of a picture is a matrix.
 *
 *     y[n,i,k,c] = sum over j of a[n,i,j,c] b[n,j,k,c]
 *     da[n,i,j,c] = sum over k of dy[n,i,k,c] b[n,j,k,c],  db[n,j,k,c] = sum over i of a[n,i,j,c] dy[n,i,k,c]
 *
 * a: [N,H,J,Cp], b: [N,J,W,Cp], y: [N,H,W,Cp], channels padded to 8. One kernel: how far apart in either factor
 * the terms of a sum are, and what a row or column further is. ONNX MatMul 13 of four dimensions. The
 * channels, an attention's heads, lie innermost, so these are as many small products side by side: no tensor
 * cores, a thread sums 8 of them and walks along j; its neighbours share a and read b's neighbours. In the
 * networks that have it this is a hundredth of the arithmetic. Sums in float, j ascending. Measured: not yet.
 */
#include <cuda_runtime.h>

#include "common.cuh"
#include "cuda_kernels.h"
#include "index.h"

namespace thaw {

enum { MATMUL_THREADS = 128 };

/* A factor: in pixels, from one picture of the product to the next, from a row, a column, a term of the sum. */
struct matmul_factor {
    const void *at;
    int64_t picture, row, column, term;
};

/* Thread: 8 channels of one number of y. */
template <class T>
__global__ void __launch_bounds__(MATMUL_THREADS)
    matmul_kernel(const matmul_factor a, const matmul_factor b, T *y, int64_t total, int64_t terms,
                  divisor by_vectors, divisor by_columns, divisor by_rows) {
    begin_kernel();
    int64_t t = (int64_t)blockIdx.x * MATMUL_THREADS + threadIdx.x;
    if (t >= total) return;
    uint32_t pixel = divide((uint32_t)t, by_vectors), line = divide(pixel, by_columns);
    uint32_t n = divide(line, by_rows);
    int64_t Cp = (int64_t)by_vectors.d * 8, c = t * 8 - (int64_t)pixel * Cp;
    int64_t row = line - n * by_rows.d, column = pixel - line * by_columns.d;
    const T *left = (const T *)a.at + (n * a.picture + row * a.row + column * a.column) * Cp + c;
    const T *right = (const T *)b.at + (n * b.picture + row * b.row + column * b.column) * Cp + c;
    float8 sum = {};
    for (int64_t j = 0; j < terms; j++)
        add_products8(sum, load8(left + j * a.term * Cp), load8(right + j * b.term * Cp));
    store8(y + t * 8, sum);
}

template <class T>
static int launch_matmul(thaw_cuda_launch *launch, int64_t N, int64_t rows, int64_t columns,
                         int64_t terms, int64_t C, const matmul_factor &a, const matmul_factor &b,
                         void *y) {
    int64_t vectors = padded_channels(C) / 8, total = N * rows * columns * vectors;
    return launch_kernel(launch, "matmul", matmul_kernel<T>,
                         dim3((unsigned)ceil_div(total, MATMUL_THREADS)), MATMUL_THREADS, 0, a, b,
                         (T *)y, total, terms, make_divisor((uint32_t)vectors),
                         make_divisor((uint32_t)columns), make_divisor((uint32_t)rows));
}

}  // namespace thaw

using namespace thaw;

int cuda_matmul(thaw_cuda_launch *launch, int64_t N, int64_t H, int64_t J, int64_t W, int64_t C,
                thaw_dtype dtype, const void *a, const void *b, void *y) {
    return with_type(dtype, [&](auto type) {
        return launch_matmul<decltype(type)>(launch, N, H, W, J, C, {a, H * J, J, 0, 1},
                                             {b, J * W, 0, 1, W}, y);
    });
}

int cuda_matmul_gradient(thaw_cuda_launch *launch, int64_t N, int64_t H, int64_t J, int64_t W,
                         int64_t C, thaw_dtype dtype, const void *a, const void *b, const void *dy,
                         void *da, void *db) {
    return with_training_type(dtype, [&](auto type) {
        using T = decltype(type);
        int code = 0;
        if (da)
            code = launch_matmul<T>(launch, N, H, J, W, C, {dy, H * W, W, 0, 1},
                                    {b, J * W, 0, W, 1}, da);
        if (code || !db) return code;
        return launch_matmul<T>(launch, N, J, W, H, C, {a, H * J, 1, 0, J}, {dy, H * W, 0, 1, W},
                                db);
    });
}
