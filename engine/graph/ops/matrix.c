/* Products with a constant matrix: dense layers, and on N,H,W,C a 1x1 convolution; products of two maps. */
#include <string.h>

#include "graph/lowering.h"
#include "rules.h"

/* What both have in front of their matrices. */
static int64_t matrices_of(const thaw_value *v) {
    int64_t n = 1;
    for (int i = 1; i < v->rank - 2; i++)
        n *= v->dims[i];
    return n;
}

/* Of two maps: as many matrices each, or one of either for all of the other's. */
static thaw_status infer_product(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    const thaw_value *a = thaw_node_in(graph, node, 0), *b = thaw_node_in(graph, node, 1);
    thaw_value *y = thaw_node_out(graph, node, 0);
    int rank = a->rank;
    bool fits = rank == b->rank && rank > 2 && thaw__op_merged_alike(a, b) &&
                a->dtype == THAW_F32 && b->dtype == THAW_F32 &&
                a->dims[rank - 1] == b->dims[rank - 2];
    bool same = fits && memcmp(a->dims, b->dims, (size_t)(rank - 2) * sizeof *a->dims) == 0;
    if (!fits || !(same || matrices_of(a) == 1 || matrices_of(b) == 1))
        return thaw__op_misfit(graph, node, err);
    thaw__op_set_shape(y, THAW_F32, rank, matrices_of(a) == 1 ? b->dims : a->dims);
    y->dims[rank - 2] = a->dims[rank - 2];
    y->dims[rank - 1] = b->dims[rank - 1];
    return THAW_OK;
}

static thaw_status infer_gemm(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    bool gemm = node->op == &thaw_op_Gemm;
    thaw_value *x = thaw_node_in(graph, node, 0), *w = thaw_node_in(graph, node, 1);
    /* A product for each pixel, or for each row of whatever has more dimensions. */
    bool rows = x && x->merged == 1 && x->rank == 3;
    thaw_value *y = gemm && !rows ? thaw__op_begin_layer(graph, node, 1u << 2, err)
                                  : thaw__op_begin_pixelwise(graph, node, err);
    if (!y) return THAW_ERR_SHAPE;
    if (!gemm && w && !w->data && w->rank >= 0) {
        y->nhwc = false;
        return infer_product(graph, node, err);
    }
    int64_t transposed = gemm ? thaw_node_int(node, "transB", 0) : 0;
    if (!w || !w->data || w->rank != 2 || w->dtype != THAW_F32)
        return thaw__op_refuse(node, err, "its weights must be a constant matrix");
    if (gemm && thaw_node_int(node, "transA", 0))
        return thaw__op_refuse(node, err, "transA is not supported");
    int64_t K = w->dims[transposed ? 0 : 1], J = x->dims[x->rank - 1];
    const thaw_value *b = thaw_node_in(graph, node, 2);
    int64_t n_bias = b ? thaw_value_elements(b) : 1;
    thaw__op_set_shape(y, THAW_F32, x->rank, x->dims); /* Known, whatever is wrong with the rest. */
    y->dims[x->rank - 1] = K;
    if (w->dims[transposed ? 1 : 0] != J) return thaw__op_misfit(graph, node, err);
    if (b && (!b->data || b->dtype != THAW_F32))
        return thaw__op_refuse(node, err, "its bias must be a constant vector");
    if (n_bias != K && n_bias != 1)
        return thaw_fail(err, THAW_ERR_SHAPE,
                         "%s (%s): its bias must be a constant vector of %lld values, the file has "
                         "%lld",
                         node->name, node->type, (long long)K, (long long)n_bias);
    return THAW_OK;
}

static int64_t flop_gemm(const thaw_graph *graph, const thaw_node *node) {
    const thaw_value *y = thaw_node_out(graph, node, 0), *x = thaw_node_in(graph, node, 0);
    return thaw__op_multiply_adds(thaw_value_elements(y), x->dims[x->rank - 1]);
}

static thaw_status lower_product(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    const thaw_value *a = thaw__lower_value(l, node, 0), *b = thaw__lower_value(l, node, 1);
    int64_t na = matrices_of(a), nb = matrices_of(b), n = na > nb ? na : nb;
    int64_t M = a->dims[a->rank - 2], J = a->dims[a->rank - 1], K = b->dims[b->rank - 1];
    thaw_port *left = thaw__lower_in_order(l, node, 0, na, M, J);
    thaw_port *right = thaw__lower_in_order(l, node, 1, nb, J, K);
    if (na < n) left = thaw__lower_repeated(l, node, left, n);
    if (nb < n) right = thaw__lower_repeated(l, node, right, n);
    thaw_step *step =
        left && right ? thaw__lower_step(l, THAW_STEP_matmul, node->name, -1, 2) : NULL;
    if (!step) return thaw__lower_no_memory(node, err);
    thaw__lower_read(l, step, 0, left);
    thaw__lower_read(l, step, 1, right);
    *step->out = (thaw_port){.N = l->batch, .C = n, .H = M, .W = K};
    return thaw__lower_finish(l, node, step->out, err);
}

/* Gemm: alpha x w^T + beta b; MatMul: x w, where x may be a map N,H,W,C, or rows of more dimensions,
 * which become the pixels of one and are turned back. */
static thaw_status lower_dense(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    const thaw_value *w = thaw__lower_value(l, node, 1), *b = thaw__lower_value(l, node, 2);
    bool transposed = thaw_node_int(node, "transB", 0) != 0;
    float alpha = thaw_node_float(node, "alpha", 1), beta = thaw_node_float(node, "beta", 1);
    int64_t K = w->dims[transposed ? 0 : 1], C = w->dims[transposed ? 1 : 0];
    float *kc = thaw_arena_array(l->arena, (size_t)(K * C), sizeof *kc);
    float *bias = thaw_arena_array(l->arena, (size_t)K, sizeof *bias);
    const thaw_value *v = thaw__lower_value(l, node, 0);
    thaw_port *x = thaw__lower_port(l, node, 0);
    int64_t rows = thaw_value_elements(v) / C;
    bool turned = v->rank > 2 && !v->nhwc;
    if (turned)
        x = thaw__lower_transposed(l, node, x, &(thaw_permutation){2, {rows, C}, {1, 0}}, C, 1,
                                   rows);
    if (!x) return thaw__lower_no_memory(node, err);
    bool map = x->H * x->W > 1;
    thaw_step *step = thaw__lower_step(l, map ? THAW_STEP_conv : THAW_STEP_dense, node->name,
                                       turned ? -1 : node->out[0], 1);
    if (!kc || !bias || !step) return thaw__lower_no_memory(node, err);
    if (l->training && (alpha != 1 || beta != 1))
        return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                         "%s (Gemm): it is trained with alpha = beta = 1 only", node->name);
    const float *from = w->data;
    for (int64_t k = 0; k < K; k++)
        for (int64_t c = 0; c < C; c++)
            kc[k * C + c] = alpha * (transposed ? from[k * C + c] : from[c * K + k]);
    bool scalar = b && thaw_value_elements(b) == 1;
    for (int64_t k = 0; b && k < K; k++)
        bias[k] = beta * ((const float *)b->data)[scalar ? 0 : k];
    if (turned) *step->out = (thaw_port){.N = l->batch, .C = K, .H = 1, .W = rows};
    thaw__lower_read(l, step, 0, x);
    step->w = kc;
    step->b = bias;
    if (l->training) {
        int index = (int)(node - l->graph->nodes);
        thaw_step_origins *origins = thaw__lower_origins(l, step);
        origins->w = (thaw_origin){true, .node = index, .input = 1, .transposed = !transposed};
        if (b && !scalar) origins->b = (thaw_origin){true, .node = index, .input = 2};
        if (!b) step->b = NULL;
    }
    step->conv = (thaw_conv_shape){
        .N = l->batch,
        .H = x->H,
        .W = x->W,
        .C = C,
        .P = x->H,
        .Q = x->W,
        .K = K,
        .G = 1,
        .window = {.R = 1, .S = 1, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1}};
    if (!turned) return THAW_OK;
    thaw_port want = thaw__lower_shape(l, thaw_node_out(l->graph, node, 0));
    return thaw__lower_finish(
        l, node,
        thaw__lower_transposed(l, node, step->out, &(thaw_permutation){2, {K, rows}, {1, 0}},
                               want.C, want.H, want.W),
        err);
}

static thaw_status lower_matmul(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    return thaw__lower_value(l, node, 1)->data ? lower_dense(l, node, err)
                                               : lower_product(l, node, err);
}

const thaw_op thaw_op_Gemm = {
    .type = "Gemm", .infer = infer_gemm, .lower = lower_dense, .params = 0x6, .flop = flop_gemm};
const thaw_op thaw_op_MatMul = {
    .type = "MatMul", .infer = infer_gemm, .lower = lower_matmul, .params = 0x2, .flop = flop_gemm};
