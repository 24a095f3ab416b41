#include "project.h"

#include <math.h>
#include <string.h>

/* Centred rows and the directions that were found in them, by power iteration: what has the largest
 * variance of all survives it. */
typedef struct projector {
    int64_t n, D;
    float *x;        /* [n, D] */
    double *mean;    /* [D] */
    double *axis[2]; /* [D] of length 1. */
    double *next;    /* [D] */
    double *score;   /* [n] */
} projector;

static double dot(const double *a, const double *b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* Four sums, so that they need not wait for each other. */
static double dot_row(const float *x, const double *v, int64_t D) {
    double sum[4] = {0};
    int64_t d = 0;
    for (; d + 4 <= D; d += 4)
        for (int k = 0; k < 4; k++)
            sum[k] += x[d + k] * v[d + k];
    for (; d < D; d++)
        sum[0] += x[d] * v[d];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

static void centre(projector *p) {
    for (int64_t i = 0; i < p->n; i++)
        for (int64_t d = 0; d < p->D; d++)
            p->mean[d] += p->x[i * p->D + d];
    for (int64_t i = 0; i < p->n; i++)
        for (int64_t d = 0; d < p->D; d++)
            p->x[i * p->D + d] -= (float)(p->mean[d] / (double)p->n);
}

static double squares(const projector *p, int64_t row) {
    const float *x = p->x + row * p->D;
    double sum = 0;
    for (int64_t d = 0; d < p->D; d++)
        sum += (double)x[d] * x[d];
    return sum;
}

/* Takes out what lies along the axes before the k-th, and makes the length 1; false: nothing is left. */
static bool make_unit(const projector *p, double *v, int k) {
    for (int j = 0; j < k; j++) {
        double along = dot(v, p->axis[j], p->D);
        for (int64_t d = 0; d < p->D; d++)
            v[d] -= along * p->axis[j][d];
    }
    double length = sqrt(dot(v, v, p->D));
    bool good = length > 1e-12 && isfinite(length);
    for (int64_t d = 0; d < p->D; d++)
        v[d] = good ? v[d] / length : 0;
    return good;
}

static void score_rows(projector *p, const double *v) {
    for (int64_t i = 0; i < p->n; i++)
        p->score[i] = dot_row(p->x + i * p->D, v, p->D);
}

/* v becomes X^T X v; how much that is longer is the variance along it. */
static void step(projector *p, const double *v) {
    score_rows(p, v);
    memset(p->next, 0, (size_t)p->D * sizeof *p->next);
    for (int64_t i = 0; i < p->n; i++)
        for (int64_t d = 0; d < p->D; d++)
            p->next[d] += p->score[i] * p->x[i * p->D + d];
}

/* A start that no component can be at right angles to for long: the row farthest from the others'. */
static void begin(projector *p, double *v, int k) {
    double most = -1;
    for (int64_t i = 0; i < p->n; i++) {
        double along = 0;
        for (int j = 0; j < k; j++)
            along += pow(dot_row(p->x + i * p->D, p->axis[j], p->D), 2);
        double rest = squares(p, i) - along;
        if (!(rest > most)) continue;
        most = rest;
        for (int64_t d = 0; d < p->D; d++)
            v[d] = p->x[i * p->D + d];
    }
}

static void find_axis(projector *p, int k) {
    enum { MOST_STEPS = 100 };
    const double still = 1e-8;
    double *v = p->axis[k];
    begin(p, v, k);
    bool good = make_unit(p, v, k);
    for (int i = 0; good && i < MOST_STEPS; i++) {
        step(p, v);
        good = make_unit(p, p->next, k);
        double turned = 1 - fabs(dot(v, p->next, p->D));
        memcpy(v, p->next, (size_t)p->D * sizeof *v);
        if (turned < still) break;
    }
}

static void take_axis(projector *p, int k, double total, double *out, double *share) {
    int64_t farthest = 0;
    score_rows(p, p->axis[k]);
    for (int64_t i = 0; i < p->n; i++)
        if (fabs(p->score[i]) > fabs(p->score[farthest])) farthest = i;
    double sign = p->score[farthest] < 0 ? -1 : 1;
    for (int64_t i = 0; i < p->n; i++)
        out[i] = sign * p->score[i];
    *share = total > 0 ? dot(out, out, p->n) / total : 0;
}

static thaw_status gather(projector *p, const thaw_rows *rows, const int64_t *index,
                          thaw_error *err) {
    enum { BLOCK = 64 };
    for (int64_t start = 0; start < p->n; start += BLOCK) {
        int64_t M = p->n - start < BLOCK ? p->n - start : BLOCK;
        THAW_TRY(rows->gather(rows->ctx, index + start, M, p->x + start * p->D, err));
    }
    return THAW_OK;
}

static void project(projector *p, thaw_plane *plane) {
    double total = 0;
    centre(p);
    for (int64_t i = 0; i < p->n; i++)
        total += squares(p, i);
    double *out[] = {plane->x, plane->y};
    for (int k = 0; k < 2; k++) {
        find_axis(p, k);
        take_axis(p, k, total, out[k], &plane->share[k]);
    }
}

thaw_status thaw_project(const thaw_rows *rows, const int64_t *index, int64_t n, thaw_arena *arena,
                         thaw_plane *plane, thaw_error *err) {
    thaw_arena room = {0};
    size_t D = (size_t)rows->D, N = (size_t)n;
    *plane = (thaw_plane){.x = thaw_arena_array(arena, N, sizeof(double)),
                          .y = thaw_arena_array(arena, N, sizeof(double))};
    projector p = {.n = n,
                   .D = rows->D,
                   .x = thaw_arena_array(&room, N * D, sizeof(float)),
                   .mean = thaw_arena_array(&room, D, sizeof(double)),
                   .axis = {thaw_arena_array(&room, D, sizeof(double)),
                            thaw_arena_array(&room, D, sizeof(double))},
                   .next = thaw_arena_array(&room, D, sizeof(double)),
                   .score = thaw_arena_array(&room, N, sizeof(double))};
    bool enough =
        plane->x && plane->y && p.x && p.mean && p.axis[0] && p.axis[1] && p.next && p.score;
    thaw_status status = enough
                             ? gather(&p, rows, index, err)
                             : thaw_fail_memory(err, "for the map of %lld pictures", (long long)n);
    if (status == THAW_OK) project(&p, plane);
    thaw_arena_free(&room);
    return status;
}
