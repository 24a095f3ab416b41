/* A dense layer on float rows with weights, sums and results in double: for whoever looks for an
 * optimum to more digits than a float has.
 *
 *   y[M,K]   = x[M,D] w[K,D]^T + b[K]
 *   dw[K,D] += dy[M,K]^T x[M,D];  db[K] += column sums of dy
 *
 * Four classes share the conversion of a row's eight floats. Threads share rows forwards and features
 * backwards, and every element is summed in one order, whatever their number.
 */
#include <string.h>

#include "cpu.h"

enum { LANES = 8, COLUMNS = 4, ROWS = 16, SERIAL_FLOP = 8 << 20 };

typedef float floats __attribute__((vector_size(LANES * sizeof(float))));
typedef double doubles __attribute__((vector_size(LANES * sizeof(double))));

#define INLINE static inline __attribute__((always_inline))

/* The first n of eight numbers, and zeros. */
INLINE void load_floats(const float *p, int64_t n, doubles *v) {
    floats narrow = {0};
    memcpy(&narrow, p, (size_t)n * sizeof *p);
    *v = __builtin_convertvector(narrow, doubles);
}

INLINE void load_doubles(const double *p, int64_t n, doubles *v) {
    *v = (doubles){0};
    memcpy(v, p, (size_t)n * sizeof *p);
}

INLINE double sum_lanes(const doubles *v) {
    const doubles s = *v;
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

/* y of one row and `columns` classes from k on. */
INLINE void dot(int columns, int64_t D, const float *x, const double *w, const double *b,
                double *y) {
    doubles sum[COLUMNS] = {{0}};
    for (int64_t d = 0; d < D; d += LANES) {
        int64_t n = D - d < LANES ? D - d : LANES;
        doubles a, c;
        if (n == LANES) {
            load_floats(x + d, LANES, &a);
            for (int k = 0; k < columns; k++) {
                load_doubles(w + k * D + d, LANES, &c);
                sum[k] += a * c;
            }
        } else {
            load_floats(x + d, n, &a);
            for (int k = 0; k < columns; k++) {
                load_doubles(w + k * D + d, n, &c);
                sum[k] += a * c;
            }
        }
    }
    for (int k = 0; k < columns; k++)
        y[k] = sum_lanes(&sum[k]) + b[k];
}

THAW_CLONES static void forward_row(int64_t D, int64_t K, const float *x, const double *w,
                                    const double *b, double *y) {
    int64_t k = 0;
    for (; k + COLUMNS <= K; k += COLUMNS)
        dot(COLUMNS, D, x, w + k * D, b + k, y + k);
    for (; k < K; k++)
        dot(1, D, x, w + k * D, b + k, y + k);
}

int cpu_dense64_forward(int64_t M, int64_t D, int64_t K, const float *x, const double *w,
                        const double *b, double *y) {
#pragma omp parallel for schedule(static, ROWS) if (2 * M * D * K > SERIAL_FLOP)
    for (int64_t m = 0; m < M; m++)
        forward_row(D, K, x + m * D, w, b, y + m * K);
    return 0;
}

/* Adds to n <= LANES columns of dw, `rows` classes of it. */
INLINE void mix(int rows, int64_t n, int64_t M, int64_t D, int64_t K, const float *x,
                const double *dy, double *dw) {
    doubles sum[COLUMNS] = {{0}};
    for (int64_t m = 0; m < M; m++) {
        doubles a;
        load_floats(x + m * D, n, &a);
        for (int k = 0; k < rows; k++)
            sum[k] += dy[m * K + k] * a;
    }
    for (int k = 0; k < rows; k++)
        for (int64_t d = 0; d < n; d++)
            dw[k * D + d] += sum[k][d];
}

THAW_CLONES static void backward_columns(int64_t M, int64_t D, int64_t K, int64_t d, const float *x,
                                         const double *dy, double *dw) {
    int64_t n = D - d < LANES ? D - d : LANES;
    for (int64_t k = 0; k < K; k += COLUMNS) {
        bool whole = n == LANES && k + COLUMNS <= K;
        if (whole) mix(COLUMNS, LANES, M, D, K, x + d, dy + k, dw + k * D + d);
        for (int64_t i = k; i < k + COLUMNS && i < K && !whole; i++)
            mix(1, n, M, D, K, x + d, dy + i, dw + i * D + d);
    }
}

int cpu_dense64_backward(int64_t M, int64_t D, int64_t K, const float *x, const double *dy,
                         double *dw, double *db) {
#pragma omp parallel for schedule(static) if (2 * M * D * K > SERIAL_FLOP)
    for (int64_t d = 0; d < D; d += LANES)
        backward_columns(M, D, K, d, x, dy, dw);
    for (int64_t m = 0; m < M; m++)
        for (int64_t k = 0; k < K; k++)
            db[k] += dy[m * K + k];
    return 0;
}
