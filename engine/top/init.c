#include "init.h"

#include <math.h>
#include <string.h>

#include "rng.h"

static float *new_numbers(thaw_value *v, thaw_arena *arena) {
    float *numbers = thaw_arena_array(arena, (size_t)thaw_value_elements(v), sizeof *numbers);
    if (numbers) v->data = numbers;
    return numbers;
}

static bool is(const thaw_node *node, const char *type) {
    return strcmp(node->type, type) == 0;
}

/* How many inputs each output sums over; 0: no layer. */
static int64_t fan_in(const thaw_graph *graph, const thaw_node *node) {
    const thaw_value *w = thaw_node_in(graph, node, 1);
    if (!w || !w->data || w->dtype != THAW_F32) return 0;
    if (is(node, "Conv")) return thaw_value_elements(w) / w->dims[0];
    if (is(node, "MatMul")) return w->dims[0];
    if (is(node, "Gemm")) return w->dims[thaw_node_int(node, "transB", 0) ? 1 : 0];
    return 0;
}

static bool draw_layer(thaw_graph *graph, const thaw_node *node, int64_t fan, thaw_rng *rng,
                       thaw_arena *arena) {
    float bound = 1 / sqrtf((float)fan);
    for (int k = 1; k <= 2; k++) {
        thaw_value *v = thaw_node_in(graph, node, k);
        if (!v || !v->data) continue;
        int64_t n = thaw_value_elements(v);
        float *to = new_numbers(v, arena);
        if (!to) return false;
        for (int64_t i = 0; i < n; i++)
            to[i] = bound * (2 * thaw_rng_uniform(rng) - 1);
    }
    return true;
}

/* scale, shift, mean, variance: 1, 0, 0, 1; a layer norm has the first two. */
static bool reset_norm(thaw_graph *graph, const thaw_node *node, thaw_arena *arena) {
    for (int k = 1; k < node->n_in; k++) {
        thaw_value *v = thaw_node_in(graph, node, k);
        if (!v || !v->data) continue;
        int64_t n = thaw_value_elements(v);
        float *to = new_numbers(v, arena);
        if (!to) return false;
        for (int64_t i = 0; i < n; i++)
            to[i] = k == 1 || k == 4;
    }
    return true;
}

thaw_status thaw_init_random(thaw_graph *graph, int first, int last, uint64_t seed,
                             thaw_arena *arena, thaw_error *err) {
    for (int i = first + 1; i <= last; i++) {
        const thaw_node *node = &graph->nodes[i];
        if (!node->live || node->alias) continue;
        thaw_rng rng = thaw_rng_open(seed, THAW_RNG_INIT, 1 + (uint64_t)i);
        int64_t fan = fan_in(graph, node);
        bool norm = is(node, "BatchNormalization") || is(node, "LayerNormalization");
        if ((fan > 0 && !draw_layer(graph, node, fan, &rng, arena)) ||
            (norm && !reset_norm(graph, node, arena)))
            return thaw_fail_memory(err, "for random weights");
    }
    return THAW_OK;
}
