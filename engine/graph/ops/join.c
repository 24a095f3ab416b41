/* What puts tensors together. */
#include <string.h>

#include "graph/lowering.h"
#include "rules.h"

static thaw_status infer_concat(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    thaw_value *y = thaw__op_begin(graph, node, err), *x = thaw_node_in(graph, node, 0);
    if (!y) return THAW_ERR_SHAPE;
    int64_t axis = thaw_node_int(node, "axis", 1), sum = 0;
    if (axis < 0) axis += x->rank;
    if (axis < 0 || axis >= x->rank) return thaw__op_misfit(graph, node, err);
    for (int i = 0; i < node->n_in; i++) {
        const thaw_value *in = thaw_node_in(graph, node, i);
        if (!in || in->rank != x->rank || in->data) return thaw__op_misfit(graph, node, err);
        for (int k = 0; k < x->rank; k++)
            if (k != axis && in->dims[k] != x->dims[k]) return thaw__op_misfit(graph, node, err);
        if (__builtin_add_overflow(sum, in->dims[axis], &sum))
            return thaw__op_misfit(graph, node, err);
    }
    if (axis != 1 || (x->rank != 4 && x->rank != 2) || x->nhwc)
        return thaw__op_refuse(node, err, "only feature maps are joined, along their channels");
    int64_t dims[4] = {x->dims[0], sum, x->dims[2], x->dims[3]};
    thaw__op_set_shape(y, THAW_F32, x->rank, dims);
    node->alias = node->n_in == 1;
    return THAW_OK;
}

static thaw_status lower_concat(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    thaw_step *step = thaw__lower_step_for(l, THAW_STEP_concat, node, node->n_in);
    return step ? THAW_OK : thaw__lower_no_memory(node, err);
}

const thaw_op thaw_op_Concat = {.type = "Concat", .infer = infer_concat, .lower = lower_concat};
