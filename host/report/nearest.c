#include "nearest.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 64 }; /* Rows at a time. */

typedef struct finder {
    float *queries;  /* [n, D] of length 1. */
    float *x;        /* [BLOCK, D] */
    float *products; /* [BLOCK, n] */
    int64_t index[BLOCK];
} finder;

static float length_of(const float *x, int64_t D) {
    double sum = 0;
    for (int64_t d = 0; d < D; d++)
        sum += (double)x[d] * x[d];
    return (float)sqrt(sum);
}

static void normalise(float *x, int64_t D) {
    float length = length_of(x, D);
    for (int64_t d = 0; length > 0 && d < D; d++)
        x[d] /= length;
}

static void insert(thaw_near near[THAW_NEAREST], thaw_near found) {
    int at = THAW_NEAREST;
    while (at > 0 && (near[at - 1].row < 0 || near[at - 1].cosine < found.cosine))
        at--;
    if (at == THAW_NEAREST) return;
    memmove(near + at + 1, near + at, (size_t)(THAW_NEAREST - at - 1) * sizeof *near);
    near[at] = found;
}

/* Rows first .. first + M - 1, which lie in f->x, against all queries. */
static void look_at(const finder *f, int64_t first, int64_t M, int64_t D, int64_t n,
                    const int64_t *self, thaw_near (*near)[THAW_NEAREST]) {
    for (int64_t m = 0; m < M; m++) {
        float length = length_of(f->x + m * D, D);
        for (int64_t i = 0; i < n; i++) {
            if (self && self[i] == first + m) continue;
            float cosine = length > 0 ? f->products[m * n + i] / length : 0;
            if (isnan(cosine)) cosine = 0; /* Features may be anything. */
            insert(near[i], (thaw_near){first + m, cosine});
        }
    }
}

static thaw_status find(finder *f, const thaw_top_slots *top, const thaw_rows *among, int64_t n,
                        const int64_t *self, thaw_near (*near)[THAW_NEAREST], thaw_error *err) {
    for (int64_t start = 0; start < among->n; start += BLOCK) {
        int64_t M = among->n - start < BLOCK ? among->n - start : BLOCK;
        for (int64_t m = 0; m < M; m++)
            f->index[m] = start + m;
        THAW_TRY(among->gather(among->ctx, f->index, M, f->x, err));
        int code = top->dense_forward(M, among->D, n, f->x, f->queries, NULL, f->products);
        if (code) return thaw_fail(err, THAW_ERR_BACKEND, "a matrix product failed: code %d", code);
        look_at(f, start, M, among->D, n, self, near);
    }
    return THAW_OK;
}

thaw_status thaw_nearest_find(const thaw_top_slots *top, float *x, const int64_t *self, int64_t n,
                              const thaw_rows *among, thaw_near (*near)[THAW_NEAREST],
                              thaw_error *err) {
    thaw_arena arena = {0};
    finder f = {.queries = x,
                .x = thaw_arena_array(&arena, BLOCK * (size_t)among->D, sizeof(float)),
                .products = thaw_arena_array(&arena, BLOCK * (size_t)n, sizeof(float))};
    for (int64_t i = 0; i < n; i++) {
        normalise(x + i * among->D, among->D);
        for (int k = 0; k < THAW_NEAREST; k++)
            near[i][k] = (thaw_near){.row = -1};
    }
    thaw_status status = f.x && f.products
                             ? find(&f, top, among, n, self, near, err)
                             : thaw_fail_memory(err, "to look for rows like %lld", (long long)n);
    thaw_arena_free(&arena);
    return status;
}
