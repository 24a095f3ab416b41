#include "whiten.h"

#include <math.h>
#include <string.h>

#include "clones.h"

enum { BLOCK = 64, LANES = 4 };

/* What the fit works with. */
typedef struct fit {
    int64_t n, D, K;
    const float *x;
    const int32_t *label;
    double *mean;   /* [K, D] */
    int64_t *count; /* [K] */
    double *S;      /* [D, D] the covariance, then its factor, */
    double *W;      /* [D, D] and that one's inverse. */
    double fourth;  /* Mean over the rows of |x - mean|^4. */
    double *wide;   /* [BLOCK, D] rows without their class's mean, */
    float *narrow;  /* [BLOCK, D] and the same rounded. */
    double *unused; /* [D] */
} fit;

static void take_means(fit *f) {
    for (int64_t i = 0; i < f->n; i++) {
        double *mean = f->mean + f->label[i] * f->D;
        f->count[f->label[i]]++;
        for (int64_t d = 0; d < f->D; d++)
            mean[d] += f->x[i * f->D + d];
    }
    for (int64_t k = 0; k < f->K; k++)
        for (int64_t d = 0; d < f->D && f->count[k]; d++)
            f->mean[k * f->D + d] /= (double)f->count[k];
}

/* A row without its class's mean: its square length. */
static double centre_row(fit *f, int64_t i, int64_t at) {
    const double *mean = f->mean + f->label[i] * f->D;
    double sum = 0;
    for (int64_t d = 0; d < f->D; d++) {
        f->narrow[at * f->D + d] = (float)(f->x[i * f->D + d] - mean[d]);
        double r = f->wide[at * f->D + d] = f->narrow[at * f->D + d];
        sum += r * r;
    }
    return sum;
}

static int take_covariance(fit *f, const thaw_top_slots *top) {
    for (int64_t begin = 0; begin < f->n; begin += BLOCK) {
        int64_t M = f->n - begin < BLOCK ? f->n - begin : BLOCK;
        for (int64_t m = 0; m < M; m++) {
            double square = centre_row(f, begin + m, m);
            f->fourth += square * square;
        }
        int code = top->dense64_backward(M, f->D, f->D, f->narrow, f->wide, f->S, f->unused);
        if (code) return code;
    }
    f->fourth /= (double)f->n;
    for (int64_t i = 0; i < f->D * f->D; i++)
        f->S[i] /= (double)f->n;
    return 0;
}

/* S = (1 - share) S + share m I with m the mean variance. False: nothing varies. */
static bool shrink(fit *f) {
    double m = 0, square = 0;
    for (int64_t d = 0; d < f->D; d++)
        m += f->S[d * f->D + d] / (double)f->D;
    for (int64_t i = 0; i < f->D * f->D; i++)
        square += f->S[i] * f->S[i];
    if (!(m > 0) || !isfinite(square)) return false;
    double apart = square - (double)f->D * m * m; /* |S - m I|^2 */
    double noise = (f->fourth - square) / (double)f->n;
    double share = noise >= apart ? 1 : fmax(noise, 0) / apart;
    for (int64_t i = 0; i < f->D * f->D; i++)
        f->S[i] *= 1 - share;
    for (int64_t d = 0; d < f->D; d++)
        f->S[d * f->D + d] += share * m;
    return true;
}

/* Sums lane by lane, so that a compiler may use vectors and the order stays. */
THAW_CLONES static double dot(int64_t n, const double *a, const double *b) {
    double lane[LANES] = {0}, rest = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++)
            lane[l] += a[i + l] * b[i + l];
    for (; i < n; i++)
        rest += a[i] * b[i];
    return ((lane[0] + lane[2]) + (lane[1] + lane[3])) + rest;
}

/* S = L L^T in place, the lower triangle (Cholesky, row by row). False: it has a direction without variance. */
static bool factor(fit *f) {
    for (int64_t i = 0; i < f->D; i++) {
        double *row = f->S + i * f->D;
        for (int64_t j = 0; j < i; j++)
            row[j] = (row[j] - dot(j, row, f->S + j * f->D)) / f->S[j * f->D + j];
        double left = row[i] - dot(i, row, row);
        if (!(left > 0)) return false;
        row[i] = sqrt(left);
    }
    return true;
}

THAW_CLONES static void subtract(int64_t n, double times, const double *x, double *from) {
    for (int64_t i = 0; i < n; i++)
        from[i] -= times * x[i];
}

/* W = L^-1, row by row. */
static void invert(fit *f) {
    for (int64_t i = 0; i < f->D; i++) {
        double *row = f->W + i * f->D, own = f->S[i * f->D + i];
        for (int64_t j = 0; j < i; j++)
            subtract(j + 1, f->S[i * f->D + j], f->W + j * f->D, row);
        row[i] = 1;
        for (int64_t j = 0; j <= i; j++)
            row[j] /= own;
    }
}

static void put_results(const fit *f, float *centre, float *whiten, float *means, int64_t *n) {
    int64_t D = f->D;
    double *middle = f->unused, *apart = f->wide;
    memset(middle, 0, (size_t)D * sizeof *middle);
    for (int64_t k = 0; k < f->K; k++)
        *n += f->count[k] > 0;
    for (int64_t k = 0; k < f->K; k++)
        for (int64_t d = 0; d < D && f->count[k]; d++)
            middle[d] += f->mean[k * D + d] / (double)*n;
    for (int64_t d = 0; d < D; d++)
        centre[d] = (float)middle[d];
    for (int64_t i = 0; i < D * D; i++)
        whiten[i] = (float)f->W[i];
    for (int64_t k = 0; k < f->K; k++) {
        if (!f->count[k]) continue;
        for (int64_t d = 0; d < D; d++)
            apart[d] = f->mean[k * D + d] - centre[d];
        for (int64_t d = 0; d < D; d++)
            *means++ = (float)dot(d + 1, f->W + d * D, apart);
    }
}

static bool make_room(fit *f, thaw_arena *arena) {
    size_t D = (size_t)f->D, K = (size_t)f->K;
    f->mean = thaw_arena_array(arena, K, D * sizeof *f->mean);
    f->count = thaw_arena_array(arena, K, sizeof *f->count);
    f->S = thaw_arena_array(arena, D, D * sizeof *f->S);
    f->W = thaw_arena_array(arena, D, D * sizeof *f->W);
    f->wide = thaw_arena_array(arena, BLOCK, D * sizeof *f->wide);
    f->narrow = thaw_arena_array(arena, BLOCK, D * sizeof *f->narrow);
    f->unused = thaw_arena_array(arena, D, sizeof *f->unused);
    return f->mean && f->count && f->S && f->W && f->wide && f->narrow && f->unused;
}

thaw_status thaw_whiten_fit(const thaw_top_slots *top, int64_t n, int64_t D, const float *x,
                            const int32_t *label, int64_t K, float *centre, float *whiten,
                            float *means, int64_t *n_means, thaw_error *err) {
    thaw_arena arena = {0};
    fit f = {.n = n, .D = D, .K = K, .x = x, .label = label};
    *n_means = 0;
    if (n == 0 || D > THAW_WHITEN_MOST_D) return THAW_OK;
    thaw_status status = THAW_OK;
    int code = 0;
    if (!make_room(&f, &arena)) {
        status = thaw_fail_memory(err, "for the covariance of %lld features", (long long)D);
    } else {
        take_means(&f);
        code = take_covariance(&f, top);
        if (code == 0 && shrink(&f) && factor(&f)) {
            invert(&f);
            put_results(&f, centre, whiten, means, n_means);
        }
    }
    thaw_arena_free(&arena);
    if (code) status = thaw_fail(err, THAW_ERR_BACKEND, "a matrix product failed: code %d", code);
    return status;
}
