/* A dense layer, forward and backward, on plain row-major float matrices.
 *
 *   y[M,K]  = x[M,D] w[K,D]^T + b[K]      rows times rows: `dot_tile`
 *   dw[K,D] = dy[M,K]^T x[M,D]            mixtures of rows: `mix_tile`, coefficients dy[m,k] by k
 *   dx[M,D] = dy[M,K] w[K,D]              mixtures of rows: coefficients dy[m,k] by m
 *   db[K]   = column sums of dy           in double
 *
 * A head has few classes: K = 12 leaves one side of a general matrix product too thin for its
 * packing to pay. Both tiles keep 4 x 3 vectors of 8 floats in registers (12 accumulators, 3 + 1
 * operands: AVX2's sixteen) and read the operands where they lie.
 *
 * Determinism: an element of y is eight running sums over d, added pairwise; an element of dw or dx
 * is one sum over m or k in ascending order. Neither depends on the tile's size, on M or on the
 * threads, so that a row's scores do not depend on which rows stand beside it. That is what
 * dnnl_sgemm, the alternative, does not promise: it splits the long side over threads. It also takes
 * that a product and its sum are fused, or not, everywhere alike. So a tail is a vector with zeros
 * (a scalar loop might be vectorised here and not there), and CMakeLists.txt tells GCC not to leave
 * some of the chains unfused, as it does from version 13 on.
 */
#include "cpu.h"
#include "lanes.h"

enum {
    ROWS = 4,
    COLUMNS = 3,
    SERIAL_FLOP =
        64 << 20, /* About a millisecond. Below, waking threads costs more than they save. */
};

INLINE float sum_lanes(const lanes *v) {
    const lanes s = *v;
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

/* y[i,k] = bias[k] + x[i] . w[k] for rows x columns elements, both constants where this is inlined. */
INLINE void dot_tile(int rows, int columns, int64_t D, int64_t K, const float *x, const float *w,
                     const float *bias, float *y) {
    lanes sum[ROWS][COLUMNS] = {{{0}}};
    int64_t d = 0;
    for (; d + LANES <= D; d += LANES)
        for (int i = 0; i < rows; i++)
            for (int k = 0; k < columns; k++)
                sum[i][k] += *at(x + i * D + d) * *at(w + k * D + d);
    for (int i = 0; d < D && i < rows; i++)
        for (int k = 0; k < columns; k++) {
            lanes a, b;
            some(x + i * D + d, D - d, &a);
            some(w + k * D + d, D - d, &b);
            sum[i][k] += a * b;
        }
    for (int i = 0; i < rows; i++)
        for (int k = 0; k < columns; k++) {
            float total = sum_lanes(&sum[i][k]);
            y[i * K + k] = bias ? total + bias[k] : total;
        }
}

/* Three or fewer columns of y, all rows. */
INLINE void dot_columns(int columns, int64_t M, int64_t D, int64_t K, const float *x,
                        const float *w, const float *b, float *y) {
    int64_t m = 0;
    for (; m + ROWS <= M; m += ROWS)
        dot_tile(ROWS, columns, D, K, x + m * D, w, b, y + m * K);
    for (; m < M; m++)
        dot_tile(1, columns, D, K, x + m * D, w, b, y + m * K);
}

THAW_CLONES static void dot_block(int64_t M, int64_t D, int64_t K, int64_t k, const float *x,
                                  const float *w, const float *b, float *y) {
    const float *bias = b ? b + k : NULL;
    if (k + COLUMNS <= K) {
        dot_columns(COLUMNS, M, D, K, x, w + k * D, bias, y + k);
        return;
    }
    for (; k < K; k++)
        dot_columns(1, M, D, K, x, w + k * D, b ? b + k : NULL, y + k);
}

int cpu_dense_forward(int64_t M, int64_t D, int64_t K, const float *x, const float *w,
                      const float *b, float *y) {
#pragma omp parallel for schedule(static) if (2 * M * D * K > SERIAL_FLOP)
    for (int64_t k = 0; k < K; k += COLUMNS)
        dot_block(M, D, K, k, x, w, b, y);
    return 0;
}

/* Coefficients of a mixture: a[i,j] stands at a[i * by_row + j * by_depth]. */
typedef struct mixture {
    int64_t rows, depth, D;
    const float *a;
    int64_t by_row, by_depth;
    const float *x; /* depth, D */
    float *y;       /* rows, D: y[i] = sum over j of a[i,j] x[j] */
} mixture;

/* rows x n elements of y, fewer than a vector holds, from row i and column d on. */
INLINE void mix_tail(int rows, int64_t n, const mixture *mix, int64_t i, int64_t d) {
    lanes sum[ROWS] = {{0}};
    const float *a = mix->a + i * mix->by_row, *x = mix->x + d;
    for (int64_t j = 0; j < mix->depth; j++, a += mix->by_depth, x += mix->D)
        for (int r = 0; r < rows; r++) {
            lanes v;
            some(x, n, &v);
            sum[r] += a[r * mix->by_row] * v;
        }
    for (int r = 0; r < rows; r++)
        memcpy(mix->y + (i + r) * mix->D + d, &sum[r], (size_t)n * sizeof(float));
}

/* rows x (columns * LANES) elements of y from row i and column d on. */
INLINE void mix_tile(int rows, int columns, const mixture *mix, int64_t i, int64_t d) {
    lanes sum[ROWS][COLUMNS] = {{{0}}};
    const float *a = mix->a + i * mix->by_row, *x = mix->x + d;
    for (int64_t j = 0; j < mix->depth; j++, a += mix->by_depth, x += mix->D)
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < columns; c++)
                sum[r][c] += a[r * mix->by_row] * *at(x + c * LANES);
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++)
            *at(mix->y + (i + r) * mix->D + d + c * LANES) = sum[r][c];
}

/* Four or fewer rows of y, all columns. */
INLINE void mix_rows(int rows, const mixture *mix, int64_t i) {
    int64_t d = 0;
    for (; d + COLUMNS * LANES <= mix->D; d += COLUMNS * LANES)
        mix_tile(rows, COLUMNS, mix, i, d);
    for (; d + LANES <= mix->D; d += LANES)
        mix_tile(rows, 1, mix, i, d);
    if (d < mix->D) mix_tail(rows, mix->D - d, mix, i, d);
}

THAW_CLONES static void mix_block(const mixture *mix, int64_t i) {
    if (i + ROWS <= mix->rows) {
        mix_rows(ROWS, mix, i);
        return;
    }
    for (; i < mix->rows; i++)
        mix_rows(1, mix, i);
}

static void mix_all(const mixture *mix) {
#pragma omp parallel for schedule(static) if (2 * mix->rows * mix->depth * mix->D > SERIAL_FLOP)
    for (int64_t i = 0; i < mix->rows; i += ROWS)
        mix_block(mix, i);
}

static void column_sums(int64_t M, int64_t K, const float *dy, float *db) {
    for (int64_t k = 0; k < K; k++) {
        double sum = 0;
        for (int64_t m = 0; m < M; m++)
            sum += dy[m * K + k];
        db[k] = (float)sum;
    }
}

int cpu_dense_backward(int64_t M, int64_t D, int64_t K, const float *x, const float *w,
                       const float *dy, float *dx, float *dw, float *db) {
    mix_all(&(mixture){
        .rows = K, .depth = M, .D = D, .a = dy, .by_row = 1, .by_depth = K, .x = x, .y = dw});
    if (dx)
        mix_all(&(mixture){
            .rows = M, .depth = K, .D = D, .a = dy, .by_row = K, .by_depth = 1, .x = w, .y = dx});
    column_sums(M, K, dy, db);
    return 0;
}
