#include "novelty.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 16 }; /* Rows at a time. */

const char *thaw_novelty_name(thaw_novelty_method method) {
    static const char *const names[] = {THAW_NOVELTY_LIST(THAW_ENUM_NAME)};
    return names[method];
}

void thaw_novelty_normalise(int64_t D, float *x) {
    double sum = 0;
    for (int64_t d = 0; d < D; d++)
        sum += (double)x[d] * x[d];
    double length = sqrt(sum);
    bool good = length > 0 && isfinite(length);
    for (int64_t d = 0; d < D; d++)
        x[d] = good ? (float)(x[d] / length) : 0;
}

size_t thaw_novelty_scratch(const thaw_novelty *v) {
    int64_t made = v->method == THAW_NOVELTY_KNN ? v->n : v->D;
    return (size_t)BLOCK * (size_t)(v->D + made);
}

/* 1 - the k-th largest of n cosines; of fewer, the last. */
static float kth_nearest(int64_t n, int64_t k, const float *cosine) {
    float most[THAW_NOVELTY_MOST_K];
    int64_t found = 0;
    for (int64_t i = 0; i < n; i++) {
        if (found == k && cosine[i] <= most[k - 1]) continue;
        int64_t at = found < k ? found++ : k - 1;
        for (; at > 0 && most[at - 1] < cosine[i]; at--)
            most[at] = most[at - 1];
        most[at] = cosine[i];
    }
    return 1 - most[found - 1];
}

/* The least distance of y from n rows. */
static float nearest_mean(int64_t n, int64_t D, const float *rows, const float *y) {
    double least = INFINITY;
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        for (int64_t d = 0; d < D; d++) {
            double apart = (double)y[d] - rows[i * D + d];
            sum += apart * apart;
        }
        least = fmin(least, sum);
    }
    return (float)sqrt(least);
}

/* Up to BLOCK rows x, of length 1, which are overwritten. */
static int measure_block(const thaw_novelty *v, const thaw_top_slots *top, int64_t M, float *x,
                         float *made, float *distance) {
    int64_t D = v->D;
    if (v->method == THAW_NOVELTY_KNN) {
        int code = top->dense_forward(M, D, v->n, x, v->rows, NULL, made);
        for (int64_t m = 0; code == 0 && m < M; m++)
            distance[m] = kth_nearest(v->n, v->k, made + m * v->n);
        return code;
    }
    for (int64_t m = 0; m < M; m++)
        for (int64_t d = 0; d < D; d++)
            x[m * D + d] -= v->centre[d];
    int code = top->dense_forward(M, D, D, x, v->whiten, NULL, made);
    for (int64_t m = 0; code == 0 && m < M; m++)
        distance[m] = nearest_mean(v->n, D, v->rows, made + m * D);
    return code;
}

thaw_status thaw_novelty_measure(const thaw_novelty *v, const thaw_top_slots *top, int64_t M,
                                 const float *x, float *scratch, float *distance, thaw_error *err) {
    int64_t D = v->D;
    for (int64_t begin = 0; begin < M; begin += BLOCK) {
        int64_t n = M - begin < BLOCK ? M - begin : BLOCK;
        memcpy(scratch, x + begin * D, (size_t)(n * D) * sizeof *x);
        for (int64_t m = 0; m < n; m++)
            thaw_novelty_normalise(D, scratch + m * D);
        int code = measure_block(v, top, n, scratch, scratch + BLOCK * D, distance + begin);
        if (code) return thaw_fail(err, THAW_ERR_BACKEND, "a matrix product failed: code %d", code);
        for (int64_t m = begin; m < begin + n; m++) {
            double sum = 0;
            for (int64_t d = 0; d < D; d++)
                sum += x[m * D + d];
            if (!isfinite(sum)) distance[m] = INFINITY;
        }
    }
    return THAW_OK;
}
