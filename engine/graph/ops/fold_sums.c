/* Constants: sums over axes, products of matrices, normalisation. Sums in double, rounded once. */
#include <math.h>

#include "graph/fold.h"
#include "rules.h"

/* ---- reductions ------------------------------------------------------------------------------ */

typedef enum reduction { MAX, MIN, MEAN, SUM, PROD, L1, L2, SUM_SQUARE } reduction;

/* Axes: attribute, or second input since opset 13 or 18; none: all of them, or with
 * noop_with_empty_axes nothing. False: out of range. */
static bool read_axes(const thaw_graph *graph, const thaw_node *node, int rank,
                      bool reduced[THAW_MAX_RANK]) {
    int64_t n;
    const int64_t *axes = thaw__fold_ints(graph, node, "axes", 1, &n);
    bool all = !n && !thaw_node_int(node, "noop_with_empty_axes", 0);
    for (int i = 0; i < rank; i++)
        reduced[i] = all;
    for (int64_t i = 0; i < n; i++) {
        int axis = thaw__fold_axis(axes[i], rank);
        if (axis < 0) return false;
        reduced[axis] = true;
    }
    return true;
}

static double step(reduction r, double sum, double x) {
    switch (r) {
        case MAX:
            return isnan(sum) || sum > x ? sum : x;
        case MIN:
            return isnan(sum) || sum < x ? sum : x;
        case PROD:
            return sum * x;
        case L1:
            return sum + fabs(x);
        case L2:
        case SUM_SQUARE:
            return sum + x * x;
        case MEAN:
        case SUM:
            break;
    }
    return sum + x;
}

static double start_of(reduction r) {
    return r == MAX ? -INFINITY : r == MIN ? INFINITY : r == PROD ? 1 : 0;
}

/* What every element of x adds to: y with ones where axes are reduced. */
static thaw_status reduce(thaw_graph *graph, thaw_node *node, reduction r, thaw_error *err) {
    const thaw_value *x = thaw_node_in(graph, node, 0);
    bool reduced[THAW_MAX_RANK], keep = thaw_node_int(node, "keepdims", 1) != 0;
    if (!read_axes(graph, node, x->rank, reduced)) return thaw__op_misfit(graph, node, err);
    int64_t dims[THAW_MAX_RANK], n = thaw_value_elements(x), each = 1;
    thaw_value kept = {.rank = x->rank};
    int rank = 0;
    for (int i = 0; i < x->rank; i++) {
        kept.dims[i] = reduced[i] ? 1 : x->dims[i];
        if (reduced[i]) each *= x->dims[i];
        if (keep || !reduced[i]) dims[rank++] = kept.dims[i];
    }
    int64_t n_out = thaw_value_elements(&kept);
    double *sum = thaw_arena_array(graph->arena, (size_t)n_out + 1, sizeof *sum);
    void *y;
    if (!sum) return thaw_fail_memory(err, "for %s (%s)", node->name, node->type);
    THAW_TRY(thaw__fold_make(graph, node, 0, x->dtype, rank, dims, &y, err));
    for (int64_t i = 0; i < n_out; i++)
        sum[i] = start_of(r);
    thaw_fold_walk w = {.rank = x->rank, .dims = x->dims};
    thaw__fold_strides(&kept, x->rank, w.strides[0]);
    for (int64_t i = 0; i < n; i++, thaw__fold_next(&w)) {
        bool batch = x->dtype == THAW_I64 && thaw_batch_times(((const int64_t *)x->data)[i]) > 0;
        if (batch) return thaw__op_refuse(node, err, "computes with the size of the batch");
        double f = x->dtype == THAW_F32 ? ((const float *)x->data)[i]
                                        : (double)((const int64_t *)x->data)[i];
        sum[w.offset[0]] = step(r, sum[w.offset[0]], f);
    }
    for (int64_t i = 0; i < n_out; i++) {
        double f = r == MEAN ? sum[i] / (double)each : r == L2 ? sqrt(sum[i]) : sum[i];
        if (x->dtype == THAW_F32)
            ((float *)y)[i] = (float)f;
        else if (fabs(f) < 0x1p53)
            ((int64_t *)y)[i] = (int64_t)f;
        else
            return thaw__op_refuse(node, err, "its sum is too large");
    }
    return THAW_OK;
}

#define REDUCTION(name, which)                                                                  \
    thaw_status thaw__fold_reduce_##name(thaw_graph *graph, thaw_node *node, thaw_error *err) { \
        return reduce(graph, node, which, err);                                                 \
    }
REDUCTION(max, MAX)
REDUCTION(min, MIN)
REDUCTION(mean, MEAN)
REDUCTION(sum, SUM)
REDUCTION(prod, PROD)
REDUCTION(l1, L1)
REDUCTION(l2, L2)
REDUCTION(sum_square, SUM_SQUARE)

/* ---- matrices --------------------------------------------------------------------------------- */

/* All rows of the first with one matrix: a dense layer over a table of positions, as well. */
thaw_status thaw__fold_matmul(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    const thaw_value *a = thaw_node_in(graph, node, 0), *b = thaw_node_in(graph, node, 1);
    if (!b || a->rank < 2 || b->rank != 2 || a->dims[a->rank - 1] != b->dims[0])
        return thaw__op_misfit(graph, node, err);
    if (a->dtype != THAW_F32 || b->dtype != THAW_F32)
        return thaw__op_refuse(node, err, "multiplies matrices of whole numbers");
    int64_t M = 1, D = b->dims[0], K = b->dims[1], work = D, dims[THAW_MAX_RANK];
    bool endless = __builtin_mul_overflow(work, K, &work);
    for (int i = 0; i + 1 < a->rank; i++) {
        dims[i] = a->dims[i];
        endless |= __builtin_mul_overflow(M, dims[i], &M);
    }
    dims[a->rank - 1] = K;
    if (endless || __builtin_mul_overflow(work, M, &work) || work > INT64_C(1) << 32)
        return thaw__op_refuse(node, err, "multiplies constants for minutes");
    const float *x = a->data, *w = b->data;
    float *y;
    THAW_TRY(thaw__fold_make(graph, node, 0, THAW_F32, a->rank, dims, (void **)&y, err));
    for (int64_t m = 0; m < M; m++) {
        for (int64_t k = 0; k < K; k++) {
            double sum = 0;
            for (int64_t d = 0; d < D; d++)
                sum += (double)x[m * D + d] * w[d * K + k];
            y[m * K + k] = (float)sum;
        }
    }
    return THAW_OK;
}

/* ---- normalisation ---------------------------------------------------------------------------- */

/* x as [N][C][inner]. */
typedef struct channels {
    const float *x;
    int64_t N, C, inner;
} channels;

static void moments_of(const channels *v, int64_t c, double *mean, double *variance) {
    double sum = 0, squares = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t n = 0; n < v->N; n++) {
            for (int64_t i = 0; i < v->inner; i++) {
                double f = v->x[(n * v->C + c) * v->inner + i];
                if (pass)
                    squares += (f - *mean) * (f - *mean);
                else
                    sum += f;
            }
        }
        *mean = sum / (double)(v->N * v->inner);
    }
    *variance = squares / (double)(v->N * v->inner);
}

/* Standardised weights are often written as a batch norm over them in training: with the moments of
 * its input. Until opset 13 that is one with more than one output, since 14 training_mode. */
thaw_status thaw__fold_batch_norm(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    const thaw_value *x = thaw_node_in(graph, node, 0);
    int64_t C = x->rank >= 2 ? x->dims[1] : 1, n = thaw_value_elements(x);
    const float *p[5] = {NULL};
    for (int i = 1; i < 5; i++) {
        p[i] = thaw_value_floats(graph, node, i, C, err);
        if (!p[i]) return THAW_ERR_SHAPE;
    }
    if (x->dtype != THAW_F32 || x->rank < 2 || n < 1) return thaw__op_misfit(graph, node, err);
    bool training =
        thaw_node_int(node, "training_mode", 0) != 0 || (graph->opset < 14 && node->n_out > 1);
    double epsilon = thaw_node_float(node, "epsilon", 1e-5f);
    channels v = {x->data, x->dims[0], C, n / (x->dims[0] * C)};
    float *y;
    THAW_TRY(thaw__fold_make(graph, node, 0, THAW_F32, x->rank, x->dims, (void **)&y, err));
    for (int64_t c = 0; c < C; c++) {
        double mean = p[3][c], variance = p[4][c];
        if (training) moments_of(&v, c, &mean, &variance);
        double scale = p[1][c] / sqrt(variance + epsilon);
        for (int64_t k = 0; k < v.N; k++) {
            for (int64_t i = 0; i < v.inner; i++) {
                int64_t at = (k * C + c) * v.inner + i;
                y[at] = (float)((v.x[at] - mean) * scale + p[2][c]);
            }
        }
    }
    return THAW_OK;
}
