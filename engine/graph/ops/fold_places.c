/* Constants that count on from picture to picture: which number of a whole batch, laid out in a row, each
 * place of a picture takes. So PyTorch's newer exporter spells as_strided, which it makes of a mean.
 *
 * Such a constant has the batch as its first axis and the numbers of the first picture; those of any other
 * are `step` more than those of the one before it.
 */
#include <string.h>

#include "graph/fold.h"
#include "rules.h"

static bool counts(const thaw_value *v) {
    return v && v->step != 0;
}

/* Range(0, batch, 1): the pictures' own numbers. */
static bool counts_pictures(const thaw_graph *graph, const thaw_node *node) {
    int64_t limit[3];
    if (strcmp(node->type, "Range") != 0 || node->n_in != 3) return false;
    for (int i = 0; i < 3; i++) {
        const thaw_value *v = thaw_node_in(graph, node, i);
        if (!thaw__op_is_ints(v) || thaw_value_elements(v) != 1) return false;
        limit[i] = *(const int64_t *)v->data;
    }
    return limit[0] == 0 && limit[1] == THAW_BATCH && limit[2] == 1;
}

static thaw_status make_count(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    static const int64_t none = 0, batch = THAW_BATCH;
    thaw_value *y = thaw_node_out(graph, node, 0);
    (void)err;
    thaw__op_set_shape(y, THAW_I64, 1, &batch);
    y->data = &none;
    y->step = 1;
    return THAW_OK;
}

/* What the step becomes: a number times it, or the same; 0: this operator does something else with it. */
static int64_t step_behind(const thaw_node *node, const thaw_value *x, const thaw_value *other) {
    bool adds = strcmp(node->type, "Add") == 0, times = strcmp(node->type, "Mul") == 0;
    int64_t step = 0;
    if (strcmp(node->type, "Unsqueeze") == 0) return x->step;
    if (!thaw__op_is_ints(other) || counts(other)) return 0;
    if (adds && other->rank <= x->rank) return x->step;
    bool number = times && thaw_value_elements(other) == 1;
    if (!number || __builtin_mul_overflow(x->step, *(const int64_t *)other->data, &step)) return 0;
    return step;
}

/* As if the batch were the one picture whose numbers there are. */
static thaw_status compute_first(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    const thaw_fold *row = thaw__fold_find(node->type);
    return row ? row->compute(graph, node, err) : node->op->infer(graph, node, err);
}

thaw_status thaw__fold_places(thaw_graph *graph, thaw_node *node, bool *done, thaw_error *err) {
    thaw_value *y = thaw_node_out(graph, node, 0);
    int at = counts(thaw_node_in(graph, node, 0)) ? 0 : 1;
    thaw_value *x = thaw_node_in(graph, node, at);
    *done = true;
    if (y && counts_pictures(graph, node)) return make_count(graph, node, err);
    *done = y && counts(x) && strcmp(node->type, "Gather") != 0;
    if (!*done) return THAW_OK;
    int64_t step = step_behind(node, x, thaw_node_in(graph, node, 1 - at));
    if (!step || x->dims[0] != THAW_BATCH)
        return thaw__op_refuse(node, err, "computes with the pictures' numbers in the batch");
    x->dims[0] = 1;
    thaw_status status = compute_first(graph, node, err);
    x->dims[0] = THAW_BATCH;
    if (status != THAW_OK) return status;
    if (y->rank < 1 || y->dims[0] != 1)
        return thaw__op_refuse(node, err, "puts something in front of the pictures of a batch");
    y->dims[0] = THAW_BATCH;
    y->step = step;
    return THAW_OK;
}
