/* Constants: each element on its own. */
#include <math.h>
#include <string.h>

#include "graph/fold.h"
#include "rules.h"

static thaw_status no_result(const thaw_node *node, thaw_error *err) {
    return thaw__op_refuse(node, err,
                           "its numbers have no result: a division by zero, one that is too large, "
                           "or arithmetic with the size of the batch");
}

static thaw_status wrong_type(const thaw_node *node, thaw_error *err) {
    return thaw__op_refuse(node, err, "does not take numbers of this type");
}

/* ---- one input ------------------------------------------------------------------------------ */

thaw_status thaw__fold_unary(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    const thaw_fold *row = thaw__fold_find(node->type);
    const thaw_value *x = thaw_node_in(graph, node, 0);
    bool real = x->dtype == THAW_F32;
    int64_t n = thaw_value_elements(x);
    void *y;
    if (real ? !row->real1 : !row->whole1) return wrong_type(node, err);
    THAW_TRY(thaw__fold_make(graph, node, 0, x->dtype, x->rank, x->dims, &y, err));
    for (int64_t i = 0; i < n; i++) {
        if (real)
            ((float *)y)[i] = (float)row->real1(((const float *)x->data)[i]);
        else if (!row->whole1(((const int64_t *)x->data)[i], (int64_t *)y + i))
            return no_result(node, err);
    }
    return THAW_OK;
}

/* The same constant under another name. */
thaw_status thaw__fold_same(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    const thaw_value *x = thaw_node_in(graph, node, 0);
    thaw_value *y = thaw_node_out(graph, node, 0);
    (void)err;
    thaw__op_set_shape(y, x->dtype, x->rank, x->dims);
    y->data = x->data;
    return THAW_OK;
}

/* Every floating type is float here, every integer int64; a bool is 0 or 1. */
thaw_status thaw__fold_cast(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    enum { FLOAT = 1, BOOL = 9, FLOAT16 = 10, DOUBLE = 11, BFLOAT16 = 16 };
    const thaw_value *x = thaw_node_in(graph, node, 0), *like = thaw_node_in(graph, node, 1);
    int64_t to = thaw_node_int(node, "to", FLOAT), n = thaw_value_elements(x);
    bool real = to == FLOAT || to == FLOAT16 || to == DOUBLE || to == BFLOAT16;
    if (like) real = like->dtype == THAW_F32;
    bool truth = !like && to == BOOL, was_real = x->dtype == THAW_F32;
    if (real == was_real && !truth) return thaw__fold_same(graph, node, err);
    void *y;
    THAW_TRY(
        thaw__fold_make(graph, node, 0, real ? THAW_F32 : THAW_I64, x->rank, x->dims, &y, err));
    for (int64_t i = 0; i < n; i++) {
        double f = was_real ? ((const float *)x->data)[i] : 0;
        int64_t w = was_real ? 0 : ((const int64_t *)x->data)[i];
        if (truth)
            ((int64_t *)y)[i] = was_real ? f != 0 : w != 0;
        else if (thaw_batch_times(w) || !(fabs(f) < 0x1p63))
            return no_result(node, err);
        else if (real)
            ((float *)y)[i] = (float)w;
        else
            ((int64_t *)y)[i] = (int64_t)f;
    }
    return THAW_OK;
}

/* (x - zero) scale, of one scale or one for each place along an axis. */
thaw_status thaw__fold_dequantize(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    const thaw_value *x = thaw_node_in(graph, node, 0), *scale = thaw_node_in(graph, node, 1);
    const thaw_value *zero = thaw_node_in(graph, node, 2);
    int64_t n_scales = scale ? thaw_value_elements(scale) : 0, inner = 1;
    int axis = n_scales == 1 ? 0 : thaw__fold_axis(thaw_node_int(node, "axis", 1), x->rank);
    bool fits = n_scales > 0 && scale->dtype == THAW_F32 && x->dtype == THAW_I64 && axis >= 0 &&
                (n_scales == 1 || (scale->rank == 1 && x->dims[axis] == n_scales)) &&
                (!zero || (zero->dtype == THAW_I64 && thaw_value_elements(zero) == n_scales));
    if (!fits) return thaw__op_misfit(graph, node, err);
    for (int i = axis + 1; i < x->rank; i++)
        inner *= x->dims[i];
    float *y;
    THAW_TRY(thaw__fold_make(graph, node, 0, THAW_F32, x->rank, x->dims, (void **)&y, err));
    for (int64_t i = 0, n = thaw_value_elements(x); i < n; i++) {
        int64_t k = n_scales == 1 ? 0 : i / inner % n_scales;
        double from = zero ? (double)((const int64_t *)zero->data)[k] : 0;
        y[i] = (float)(((double)((const int64_t *)x->data)[i] - from) *
                       ((const float *)scale->data)[k]);
    }
    return THAW_OK;
}

/* The i-th bound of a Clip: an attribute until opset 10, an input since; either may be absent. */
static bool read_bound(const thaw_graph *graph, const thaw_node *node, int i, double *real,
                       int64_t *whole) {
    const thaw_value *x = thaw_node_in(graph, node, 0), *in = thaw_node_in(graph, node, 1 + i);
    *real = thaw_node_float(node, i ? "max" : "min", i ? INFINITY : -INFINITY);
    *whole = i ? INT64_MAX : INT64_MIN;
    if (!in) return true;
    if (in->dtype != x->dtype || thaw_value_elements(in) != 1) return false;
    if (x->dtype == THAW_F32)
        *real = *(const float *)in->data;
    else
        *whole = *(const int64_t *)in->data;
    return !thaw_batch_times(*whole);
}

thaw_status thaw__fold_clip(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    const thaw_value *x = thaw_node_in(graph, node, 0);
    double real[2];
    int64_t whole[2];
    void *y;
    for (int i = 0; i < 2; i++) {
        if (!read_bound(graph, node, i, &real[i], &whole[i]))
            return thaw__op_misfit(graph, node, err);
    }
    THAW_TRY(thaw__fold_make(graph, node, 0, x->dtype, x->rank, x->dims, &y, err));
    for (int64_t i = 0, n = thaw_value_elements(x); i < n; i++) {
        if (x->dtype == THAW_F32) {
            double f = ((const float *)x->data)[i];
            f = f < real[0] ? real[0] : f;
            ((float *)y)[i] = (float)(f > real[1] ? real[1] : f);
            continue;
        }
        int64_t w = ((const int64_t *)x->data)[i];
        if (thaw_batch_times(w)) return no_result(node, err);
        w = w < whole[0] ? whole[0] : w;
        ((int64_t *)y)[i] = w > whole[1] ? whole[1] : w;
    }
    return THAW_OK;
}

/* ---- several inputs, broadcast --------------------------------------------------------------- */

/* The walk over what a, b and c are broadcast to; c may be NULL. */
static bool walk_over(const thaw_value *a, const thaw_value *b, const thaw_value *c,
                      thaw_fold_walk *walk, int64_t dims[THAW_MAX_RANK]) {
    int64_t both[THAW_MAX_RANK], none[1] = {1};
    *walk = (thaw_fold_walk){.dims = dims};
    walk->rank = thaw__fold_broadcast(a->rank, a->dims, b->rank, b->dims, both);
    if (walk->rank >= 0)
        walk->rank =
            thaw__fold_broadcast(walk->rank, both, c ? c->rank : 0, c ? c->dims : none, dims);
    if (walk->rank < 0) return false;
    thaw__fold_strides(a, walk->rank, walk->strides[0]);
    thaw__fold_strides(b, walk->rank, walk->strides[1]);
    if (c) thaw__fold_strides(c, walk->rank, walk->strides[2]);
    return true;
}

/* y = row(a, b) as the node's output. */
static thaw_status combine(thaw_graph *graph, thaw_node *node, const thaw_value *a,
                           const thaw_value *b, thaw_error *err) {
    const thaw_fold *row = thaw__fold_find(node->type);
    bool real = a->dtype == THAW_F32;
    thaw_fold_walk w;
    int64_t dims[THAW_MAX_RANK];
    void *y;
    if (a->dtype != b->dtype || (real ? !row->real2 : !row->whole2)) return wrong_type(node, err);
    if (!walk_over(a, b, NULL, &w, dims)) return thaw__op_misfit(graph, node, err);
    thaw_dtype type = row->test ? THAW_I64 : a->dtype;
    THAW_TRY(thaw__fold_make(graph, node, 0, type, w.rank, dims, &y, err));
    for (int64_t i = 0, n = thaw_value_elements(thaw_node_out(graph, node, 0)); i < n; i++) {
        const float *fa = a->data, *fb = b->data;
        const int64_t *wa = a->data, *wb = b->data;
        if (!real) {
            if (!row->whole2(wa[w.offset[0]], wb[w.offset[1]], (int64_t *)y + i))
                return no_result(node, err);
        } else if (row->test) {
            ((int64_t *)y)[i] = row->real2(fa[w.offset[0]], fb[w.offset[1]]) != 0;
        } else {
            ((float *)y)[i] = (float)row->real2(fa[w.offset[0]], fb[w.offset[1]]);
        }
        thaw__fold_next(&w);
    }
    return THAW_OK;
}

/* Pow's exponent may be a whole number where its base is real. */
static thaw_status real_exponent(thaw_graph *graph, const thaw_node *node, thaw_value *exponent,
                                 thaw_error *err) {
    int64_t n = thaw_value_elements(exponent);
    float *y = thaw_arena_array(graph->arena, (size_t)n + 1, sizeof *y);
    if (!y) return thaw_fail_memory(err, "for %s (Pow)", node->name);
    for (int64_t i = 0; i < n; i++)
        y[i] = (float)((const int64_t *)exponent->data)[i];
    exponent->data = y;
    exponent->dtype = THAW_F32;
    return THAW_OK;
}

thaw_status thaw__fold_binary(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    const thaw_value *a = thaw_node_in(graph, node, 0), *in = thaw_node_in(graph, node, 1);
    if (!in) return thaw__op_misfit(graph, node, err);
    thaw_value b = *in;
    if (strcmp(node->type, "Pow") == 0 && a->dtype == THAW_F32 && b.dtype == THAW_I64)
        THAW_TRY(real_exponent(graph, node, &b, err));
    return combine(graph, node, a, &b, err);
}

/* Max, Min, Sum: of one input or more, from the left. */
thaw_status thaw__fold_many(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    THAW_TRY(thaw__fold_same(graph, node, err));
    for (int i = 1; i < node->n_in; i++) {
        thaw_value so_far = *thaw_node_out(graph, node, 0);
        const thaw_value *in = thaw_node_in(graph, node, i);
        if (!in) return thaw__op_misfit(graph, node, err);
        THAW_TRY(combine(graph, node, &so_far, in, err));
    }
    return THAW_OK;
}

thaw_status thaw__fold_mean(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = thaw_node_out(graph, node, 0);
    thaw_node sum = *node;
    sum.type = "Sum";
    THAW_TRY(thaw__fold_many(graph, &sum, err));
    if (y->dtype != THAW_F32) return wrong_type(node, err);
    thaw_value all = *y;
    void *mean;
    THAW_TRY(thaw__fold_make(graph, node, 0, THAW_F32, all.rank, all.dims, &mean, err));
    for (int64_t i = 0, n = thaw_value_elements(&all); i < n; i++)
        ((float *)mean)[i] = ((const float *)all.data)[i] / (float)node->n_in;
    return THAW_OK;
}

thaw_status thaw__fold_where(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    const thaw_value *test = thaw_node_in(graph, node, 0), *a = thaw_node_in(graph, node, 1),
                     *b = thaw_node_in(graph, node, 2);
    thaw_fold_walk w;
    int64_t dims[THAW_MAX_RANK];
    void *y;
    if (!a || !b) return thaw__op_misfit(graph, node, err);
    if (test->dtype != THAW_I64 || a->dtype != b->dtype) return wrong_type(node, err);
    if (!walk_over(a, b, test, &w, dims)) return thaw__op_misfit(graph, node, err);
    THAW_TRY(thaw__fold_make(graph, node, 0, a->dtype, w.rank, dims, &y, err));
    size_t each = thaw_dtype_bytes(a->dtype);
    for (int64_t i = 0, n = thaw_value_elements(thaw_node_out(graph, node, 0)); i < n; i++) {
        bool first = ((const int64_t *)test->data)[w.offset[2]] != 0;
        const char *from = first ? a->data : b->data;
        memcpy((char *)y + (size_t)i * each, from + (size_t)w.offset[first ? 0 : 1] * each, each);
        thaw__fold_next(&w);
    }
    return THAW_OK;
}
