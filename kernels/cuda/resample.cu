/* Rows and columns of y as weighted sums of x's: resizing, borders that repeat or mirror the picture, every
 * other pixel, one pixel for all.
 *
 *     y[n,p,q,c] = sum over i, j of rows.weight[p,i] columns.weight[q,j] x[n, rows.from[p,i], columns.from[q,j], c]
 *
 * x: [N,H,W,Cp], y: [N,P,Q,Cp], channels padded to 8. Terms of weight 0 are not read: infinities that they
 * would meet are not there for the CPU either. Bound by memory where taps are few, as everywhere but in means
 * over whole rows. Sums in float, in the order of the taps. Measured: not yet.
 */
#include <cuda_runtime.h>

#include "common.cuh"
#include "cuda_kernels.h"
#include "index.h"

namespace thaw {

enum { RESAMPLE_THREADS = 128 };

/* Thread: 8 channels of a pixel of y. */
template <class T>
__global__ void __launch_bounds__(RESAMPLE_THREADS)
    resample_kernel(const T *x, T *y, int64_t total, int64_t H, int64_t W,
                    const thaw_cuda_tap *rows, int n_rows, const thaw_cuda_tap *columns,
                    int n_columns, divisor by_vectors, divisor by_Q, divisor by_P) {
    begin_kernel();
    int64_t t = (int64_t)blockIdx.x * RESAMPLE_THREADS + threadIdx.x;
    if (t >= total) return;
    uint32_t pixel = divide((uint32_t)t, by_vectors), row = divide(pixel, by_Q);
    uint32_t n = divide(row, by_P);
    int64_t Cp = (int64_t)by_vectors.d * 8, c = t * 8 - (int64_t)pixel * Cp;
    const T *from = x + (int64_t)n * H * W * Cp + c;
    const thaw_cuda_tap *r = rows + (int64_t)(row - n * by_P.d) * n_rows;
    const thaw_cuda_tap *s = columns + (int64_t)(pixel - row * by_Q.d) * n_columns;
    float8 sum = {};
    for (int i = 0; i < n_rows; i++) {
        const T *line = from + r[i].from * W * Cp;
#pragma unroll 1
        for (int j = 0; j < n_columns; j++) {
            float weight = r[i].weight * s[j].weight;
            if (weight == 0) continue;
            float8 f = load8(line + s[j].from * Cp);
            for (int e = 0; e < 8; e++)
                sum.v[e] += weight * f.v[e];
        }
    }
    store8(y + t * 8, sum);
}

}  // namespace thaw

using namespace thaw;

int cuda_resample(thaw_cuda_launch *launch, const thaw_cuda_resample *r) {
    int64_t vectors = padded_channels(r->C) / 8, total = r->N * r->P * r->Q * vectors;
    return with_type(r->dtype, [&](auto type) {
        using T = decltype(type);
        return launch_kernel(launch, "resample", resample_kernel<T>,
                             dim3((unsigned)ceil_div(total, RESAMPLE_THREADS)), RESAMPLE_THREADS, 0,
                             (const T *)r->x, (T *)r->y, total, r->H, r->W, r->rows, (int)r->n_rows,
                             r->columns, (int)r->n_columns, make_divisor((uint32_t)vectors),
                             make_divisor((uint32_t)r->Q), make_divisor((uint32_t)r->P));
    });
}
