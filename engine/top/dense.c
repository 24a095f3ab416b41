#include "dense.h"

#include <math.h>
#include <string.h>

#include "graph/ops.h"

static thaw_status refuse(const thaw_node *node, thaw_error *err) {
    return thaw_fail(
        err, THAW_ERR_UNSUPPORTED,
        "%s (%s): the head must be dense layers with ReLU between and a softmax or sigmoid last",
        node->name, node->type);
}

/* Gemm with transB = 1 and no scaling, which is what thaw_onnx_write makes, needs no copy. */
static thaw_status read_gemm(const thaw_graph *graph, const thaw_node *node, thaw_arena *arena,
                             thaw_dense *layer, thaw_error *err) {
    const thaw_value *w = thaw_node_in(graph, node, 1), *b = thaw_node_in(graph, node, 2);
    bool plain = thaw_node_int(node, "transB", 0) == 1 && thaw_node_float(node, "alpha", 1) == 1 &&
                 thaw_node_float(node, "beta", 1) == 1;
    if (!plain || (b && thaw_value_elements(b) != w->dims[0])) return refuse(node, err);
    *layer = (thaw_dense){.w = w->data, .b = b ? b->data : NULL, .K = w->dims[0], .D = w->dims[1]};
    if (!b) layer->b = thaw_arena_array(arena, (size_t)layer->K, sizeof *layer->b);
    return layer->b ? THAW_OK : thaw_fail_memory(err, "for the head");
}

thaw_status thaw_dense_read(const thaw_graph *graph, const thaw_cut *cut, thaw_arena *arena,
                            thaw_dense layers[THAW_MAX_DENSE], int *n, thaw_error *err) {
    *n = 0;
    bool ended = false;
    for (int i = cut->node + 1; i < graph->n_nodes; i++) {
        const thaw_node *node = &graph->nodes[i];
        if (!node->live || node->alias) continue;
        if (ended) return refuse(node, err);
        if (strcmp(node->type, "Gemm") == 0 && *n < THAW_MAX_DENSE) {
            THAW_TRY(read_gemm(graph, node, arena, &layers[*n], err));
            ++*n;
        } else if (strcmp(node->type, "Relu") == 0 && *n > 0 && !layers[*n - 1].relu) {
            layers[*n - 1].relu = true;
        } else if (strcmp(node->type, "Softmax") == 0 && *n > 0) {
            ended = true;
        } else if (strcmp(node->type, "Sigmoid") == 0 && *n > 0) {
            ended = layers[*n - 1].sigmoid = true;
        } else if (*n > 0 || strcmp(node->type, "GlobalAveragePool") != 0) {
            return refuse(node, err); /* A global mean before the layers belongs to the trunk. */
        }
    }
    if (*n > 0 && !layers[*n - 1].relu) return THAW_OK;
    return thaw_fail(err, THAW_ERR_UNSUPPORTED, "the network has no dense head above its last cut");
}

int64_t thaw_dense_widest(const thaw_dense *layers, int n) {
    int64_t widest = 0;
    for (int i = 0; i < n; i++)
        if (layers[i].K > widest) widest = layers[i].K;
    return widest;
}

/* In double, with the largest score subtracted: exact to the last bits of float. */
static void softmax(int64_t K, const float *logits, float *scores) {
    float largest = logits[0];
    for (int64_t k = 1; k < K; k++)
        largest = logits[k] > largest ? logits[k] : largest;
    double sum = 0;
    for (int64_t k = 0; k < K; k++)
        sum += exp((double)logits[k] - largest);
    for (int64_t k = 0; k < K; k++)
        scores[k] = (float)(exp((double)logits[k] - largest) / sum);
}

/* In double, as the other. */
static void sigmoid(int64_t K, const float *logits, float *scores) {
    for (int64_t k = 0; k < K; k++)
        scores[k] = (float)(1 / (1 + exp(-(double)logits[k])));
}

thaw_status thaw_dense_logits(const thaw_backend *backend, const thaw_dense *layers, int n,
                              int64_t M, const float *x, float *scratch, float *logits,
                              thaw_error *err) {
    float *halves[2] = {scratch, scratch + M * thaw_dense_widest(layers, n)};
    const thaw_top_slots *top = &backend->kernels->top;
    for (int i = 0; i < n; i++) {
        const thaw_dense *layer = &layers[i];
        float *y = i == n - 1 ? logits : halves[i % 2];
        int code = top->dense_forward(M, layer->D, layer->K, x, layer->w, layer->b, y);
        if (code != 0)
            return thaw_fail(err, THAW_ERR_BACKEND, "the head's layer %d failed: %s (%d)", i,
                             backend->kernels->explain(code), code);
        for (int64_t k = 0; layer->relu && k < M * layer->K; k++)
            y[k] = y[k] > 0 ? y[k] : 0;
        x = y;
    }
    return THAW_OK;
}

thaw_status thaw_dense_scores(const thaw_backend *backend, const thaw_dense *layers, int n,
                              int64_t M, const float *x, float *scratch, float *scores,
                              thaw_error *err) {
    const thaw_dense *last = &layers[n - 1];
    THAW_TRY(thaw_dense_logits(backend, layers, n, M, x, scratch, scores, err));
    for (int64_t m = 0; m < M; m++)
        (last->sigmoid ? sigmoid : softmax)(last->K, scores + m * last->K, scores + m * last->K);
    return THAW_OK;
}
