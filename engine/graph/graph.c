#include "graph.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "fold.h"
#include "ops.h"
#include "problems.h"
#include "text.h"
#include "utf8.h"

void thaw_graph_mark_below(const thaw_graph *graph, int value, uint8_t *marks) {
    int producer = graph->values[value].producer;
    if (producer < 0) return;
    marks[producer] = 1;
    for (int i = producer; i >= 0; i--) {
        if (!marks[i]) continue;
        const thaw_node *node = &graph->nodes[i];
        for (int k = 0; k < node->n_in; k++) {
            const thaw_value *in = thaw_node_in(graph, node, k);
            if (in && in->producer >= 0) marks[in->producer] = 1;
        }
    }
}

const thaw_attr *thaw_node_attr(const thaw_node *node, const char *name) {
    for (int i = 0; i < node->n_attrs; i++)
        if (strcmp(node->attrs[i].name, name) == 0) return &node->attrs[i];
    return NULL;
}

int64_t thaw_node_int(const thaw_node *node, const char *name, int64_t absent) {
    const thaw_attr *attr = thaw_node_attr(node, name);
    return attr ? attr->i : absent;
}

float thaw_node_float(const thaw_node *node, const char *name, float absent) {
    const thaw_attr *attr = thaw_node_attr(node, name);
    return attr ? attr->f : absent;
}

thaw_value *thaw_node_in(const thaw_graph *graph, const thaw_node *node, int i) {
    return i < node->n_in && node->in[i] >= 0 ? &graph->values[node->in[i]] : NULL;
}

thaw_value *thaw_node_out(const thaw_graph *graph, const thaw_node *node, int i) {
    return i < node->n_out && node->out[i] >= 0 ? &graph->values[node->out[i]] : NULL;
}

int64_t thaw_value_elements(const thaw_value *value) {
    int64_t n = 1;
    for (int i = 0; i < value->rank; i++) {
        int64_t d = value->dims[i] == THAW_BATCH ? 1 : value->dims[i];
        if (d < 0 || __builtin_mul_overflow(n, d, &n)) return -1;
    }
    return n;
}

int64_t thaw_value_channels(const thaw_value *value) {
    return value->dims[value->rank == 4 && value->nhwc ? 3 : 1];
}

thaw_place thaw_value_place(const thaw_value *v, int axis) {
    if (v->rank == 4 && v->nhwc) axis = axis == 3 ? 1 : axis + 1;
    bool vector = v->rank < 3 || (v->rank == 3 && v->dims[2] == 1);
    if (vector || axis < v->rank - 2) return THAW_IN_C;
    return axis == v->rank - 2 ? THAW_IN_H : THAW_IN_W;
}

void thaw_value_picture_beside(const thaw_value *v, const thaw_value *y, int64_t size[3]) {
    size[0] = size[1] = size[2] = 1;
    for (int i = 1; i < v->rank; i++)
        size[thaw_value_place(y, i + y->rank - v->rank)] *= v->dims[i];
}

void thaw_value_picture(const thaw_value *v, int64_t size[3]) {
    thaw_value_picture_beside(v, v, size);
}

bool thaw_value_lies_as(const thaw_value *a, const thaw_value *b) {
    int64_t x[3], y[3];
    thaw_value_picture(a, x);
    thaw_value_picture(b, y);
    bool pixels = x[THAW_IN_H] * x[THAW_IN_W] > 1, channels = x[THAW_IN_C] > 1;
    bool ordered = (a->rank == 4 && a->nhwc) == (b->rank == 4 && b->nhwc) || !pixels || !channels;
    return memcmp(x, y, sizeof x) == 0 && ordered;
}

const float *thaw_value_floats(const thaw_graph *graph, const thaw_node *node, int i, int64_t n,
                               thaw_error *err) {
    const thaw_value *value = thaw_node_in(graph, node, i);
    if (value && value->data && value->dtype == THAW_F32 && thaw_value_elements(value) == n)
        return value->data;
    char shape[128] = "absent";
    if (value) thaw_value_shape_text(value, shape, sizeof shape);
    thaw_fail(err, THAW_ERR_SHAPE,
              "%s (%s): input %d must be a constant float tensor of %lld values, the file has %s%s",
              node->name, node->type, i, (long long)n, shape,
              value && !value->data ? ", computed from the image" : "");
    return NULL;
}

void thaw_value_shape_text(const thaw_value *value, char *text, size_t size) {
    size_t used = 0;
    text[0] = 0;
    if (value->rank <= 0) snprintf(text, size, value->rank ? "unknown shape" : "scalar");
    for (int i = 0; i < value->rank && used < size; i++) {
        const char *times = i ? " x " : "";
        int n = value->dims[i] == THAW_BATCH ? snprintf(text + used, size - used, "%sN", times)
                                             : snprintf(text + used, size - used, "%s%lld", times,
                                                        (long long)value->dims[i]);
        used += n > 0 ? (size_t)n : 0;
    }
}

int64_t thaw_node_flop(const thaw_graph *graph, const thaw_node *node) {
    if (node->alias) return 0;
    if (node->op->flop) return node->op->flop(graph, node);
    const thaw_value *out = thaw_node_out(graph, node, 0);
    return out ? thaw_value_elements(out) : 0;
}

int64_t thaw_node_params(const thaw_graph *graph, const thaw_node *node) {
    int64_t n = 0;
    for (int i = 0; i < node->n_in && i < 32; i++) {
        const thaw_value *value = thaw_node_in(graph, node, i);
        /* A number on its own is arithmetic: GELU's one half. */
        if (node->op->params >> i & 1 && value && value->data && value->rank > 0)
            n += thaw_value_elements(value);
    }
    return n;
}

/* For each value whether it is a constant, or will be: made of constants, or of a shape alone. */
static thaw_status find_constants(const thaw_graph *graph, bool **constant, thaw_error *err) {
    bool *is = *constant = thaw_arena_array(graph->arena, (size_t)graph->n_values, sizeof *is);
    if (!is) return thaw_fail_memory(err, "for the graph");
    for (int i = 0; i < graph->n_values; i++)
        is[i] = graph->values[i].data != NULL;
    for (int i = 0; i < graph->n_nodes; i++) {
        const thaw_node *node = &graph->nodes[i];
        bool all = true;
        for (int k = 0; k < node->n_in; k++)
            all &= node->in[k] < 0 || is[node->in[k]];
        all |= node->op == &thaw_op_Shape;
        for (int k = 0; k < node->n_out; k++)
            if (node->out[k] >= 0) is[node->out[k]] = all;
    }
    return THAW_OK;
}

/* Whether a constant is, or may be, several floats: those that are computed are not known yet. */
static bool is_weight(const thaw_graph *graph, const thaw_value *v) {
    if (v->data) return v->dtype == THAW_F32 && thaw_value_elements(v) > 1;
    const thaw_node *maker = &graph->nodes[v->producer];
    if (maker->op != &thaw_op_Constant) return true;
    for (int i = 0; i < maker->n_attrs; i++) {
        const thaw_attr *a = &maker->attrs[i];
        if (a->tensor >= 0) return is_weight(graph, &graph->values[a->tensor]);
        if (a->floats && a->n > 1) return true;
    }
    return false;
}

/* For each node whether the output may depend on weights that it or a node behind it reads. The others
 * are a tail, or lead nowhere. */
static thaw_status find_needed(const thaw_graph *graph, const bool *constant, bool **needed,
                               thaw_error *err) {
    uint8_t *below = thaw_arena_alloc(graph->arena, (size_t)graph->n_nodes + 1);
    bool *behind = thaw_arena_array(graph->arena, (size_t)graph->n_values, sizeof *behind);
    bool *is = *needed = thaw_arena_array(graph->arena, (size_t)graph->n_nodes + 1, sizeof *is);
    if (!below || !behind || !is) return thaw_fail_memory(err, "for the graph");
    thaw_graph_mark_below(graph, graph->output, below);
    for (int i = graph->n_nodes - 1; i >= 0; i--) {
        const thaw_node *node = &graph->nodes[i];
        for (int k = 0; k < node->n_out; k++)
            is[i] |= below[i] && node->out[k] >= 0 && behind[node->out[k]];
        for (int k = 0; k < node->n_in; k++) {
            const thaw_value *in = thaw_node_in(graph, node, k);
            is[i] |= below[i] && in && constant[node->in[k]] && is_weight(graph, in);
        }
        for (int k = 0; k < node->n_in; k++)
            if (node->in[k] >= 0) behind[node->in[k]] |= is[i];
    }
    return THAW_OK;
}

/* Whether there is a row for the node, or one for its kind on constants, which all its inputs are. */
static bool is_known(const thaw_node *node, const bool *constant) {
    if (node->op) return true;
    for (int k = 0; k < node->n_in; k++)
        if (node->in[k] >= 0 && !constant[node->in[k]]) return false;
    return thaw__fold_find(node->type) != NULL;
}

/* Lists the operators that are needed and have no row, each with its count and one node's name; what these
 * make is not known. */
static void check_operators(const thaw_graph *graph, const bool *constant, const bool *needed,
                            thaw_problems *problems) {
    enum { MOST = 12 };
    struct {
        const thaw_node *first;
        int count;
    } missing[MOST];
    int n = 0, others = 0;
    for (int i = 0; i < graph->n_nodes; i++) {
        thaw_node *node = &graph->nodes[i];
        if (!needed[i] || is_known(node, constant)) continue;
        node->unknown = true;
        int k = 0;
        while (k < n && strcmp(missing[k].first->type, node->type) != 0)
            k++;
        if (k < n)
            missing[k].count++;
        else if (n < MOST)
            missing[n].first = node, missing[n++].count = 1;
        else
            others++;
    }
    if (!n) return;
    thaw_text list = {0};
    thaw_error why = {0};
    for (int k = 0; k < n; k++)
        thaw_text_add(&list, "%s%.*s (%d, first at node %.*s)", k ? ", " : "",
                      thaw_utf8_prefix(missing[k].first->type, 40), missing[k].first->type,
                      missing[k].count, thaw_utf8_prefix(missing[k].first->name, 60),
                      missing[k].first->name);
    if (others) thaw_text_add(&list, ", and %d nodes of other kinds", others);
    bool quantised = false;
    for (int k = 0; k < n; k++)
        quantised |= strstr(missing[k].first->type, "QuantizeLinear") ||
                     strncmp(missing[k].first->type, "QLinear", 7) == 0;
    thaw_fail(&why, THAW_ERR_UNSUPPORTED,
              "the model uses operators that Thaw does not have: %s; %s", list.text,
              quantised ? "it computes with quantised features, and can neither be trained nor "
                          "cached in float: export the model that it was made from"
                        : "export it without them, or cut the file before them");
    thaw_problems_add(problems, "operators", "", &why);
}

/* What is computed from the picture is a batch of something, of a size that can exist: so no
 * arithmetic on sizes further on overflows. */
static bool is_computable(const thaw_value *value) {
    if (value->rank < 2 || value->dims[0] != THAW_BATCH) return false;
    for (int i = 1; i < value->rank; i++)
        if (value->dims[i] < 1) return false;
    int64_t n = thaw_value_elements(value);
    return n > 0 && n <= INT32_MAX;
}

/* Walks back from the output and keeps what it needs. */
static void mark_live(thaw_graph *graph) {
    for (int i = 0; i < graph->n_values; i++)
        graph->values[i].n_uses = 0;
    graph->values[graph->values[graph->output].root].n_uses = 1;
    for (int i = graph->n_nodes - 1; i >= 0; i--) {
        thaw_node *node = &graph->nodes[i];
        bool needed = false;
        for (int k = 0; k < node->n_out; k++) {
            thaw_value *out = thaw_node_out(graph, node, k);
            if (out && !out->data && graph->values[out->root].n_uses > 0) needed = true;
        }
        /* An alias's root is produced earlier, so it has its count from the alias's users. */
        node->live = needed;
        if (!needed || node->alias) continue;
        for (int k = 0; k < node->n_in; k++) {
            thaw_value *in = thaw_node_in(graph, node, k);
            if (in && !in->data) graph->values[in->root].n_uses++;
        }
    }
}

/* The first of n numbers that is not finite, or as a variance leaves no square root; -1: none. */
static int64_t find_bad(int64_t n, const float *x, double least) {
    for (int64_t i = 0; i < n; i++)
        if (!(x[i] > least) || isinf(x[i])) return i;
    return -1;
}

/* What is not finite makes all scores NaN, and training would run to its end all the same. */
static void check_weights(const thaw_graph *graph, const thaw_node *node, thaw_problems *problems) {
    bool bounds = strcmp(node->type, "Clip") == 0; /* An infinite one is none. */
    bounds |= strcmp(node->type, "Pad") == 0;      /* Its own rules say which may be infinite. */
    bool norm = strcmp(node->type, "BatchNormalization") == 0;
    for (int k = 0; k < node->n_in && !bounds; k++) {
        const thaw_value *w = thaw_node_in(graph, node, k);
        if (!w || !w->data || w->dtype != THAW_F32) continue;
        bool variance = norm && k == 4;
        double least = variance ? -(double)thaw_node_float(node, "epsilon", 1e-5f) : -INFINITY;
        int64_t bad = find_bad(thaw_value_elements(w), w->data, least);
        if (bad < 0) continue;
        thaw_error why;
        thaw_fail(&why, THAW_ERR_FORMAT,
                  "tensor %s, which node %s (%s) reads, holds %g as its number %lld, where a %s is "
                  "needed: every score would be NaN; export the model again from a checkpoint that "
                  "works",
                  w->name, node->name, node->type, ((const float *)w->data)[bad], (long long)bad,
                  variance ? "variance" : "finite number");
        thaw_problems_add(problems, "weights", w->name, &why);
    }
}

thaw_status thaw_graph_set_output(thaw_graph *graph, int value, thaw_error *err) {
    graph->output = value;
    const thaw_value *output = &graph->values[value];
    if (output->producer >= 0 && graph->nodes[output->producer].unknown)
        return thaw_fail(
            err, THAW_ERR_UNSUPPORTED,
            "the output %s needs operators that Thaw does not have: it is made by %s (%s)",
            output->name, graph->nodes[output->producer].name, graph->nodes[output->producer].type);
    if (output->data || output->rank < 0)
        return thaw_fail(err, THAW_ERR_FORMAT, "the model's output %s does not depend on its input",
                         output->name);
    mark_live(graph);
    thaw_problems problems = {0};
    for (int i = 0; i < graph->n_nodes; i++)
        if (graph->nodes[i].live) check_weights(graph, &graph->nodes[i], &problems);
    return thaw_problems_end(&problems, err);
}

/* Standardised weights take four times theirs; a few bytes that tell to make more are an attack. */
static size_t room_for_constants(const thaw_graph *graph) {
    const size_t LEAST = (size_t)64 << 20, TIMES = 16;
    size_t bytes = 0;
    for (int i = 0; i < graph->n_values; i++) {
        const thaw_value *v = &graph->values[i];
        if (v->data) bytes += (size_t)thaw_value_elements(v) * thaw_dtype_bytes(v->dtype);
    }
    return LEAST + TIMES * bytes;
}

/* The shapes of a node's outputs, or their data where it depends on nothing but constants. */
static thaw_status infer_node(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    bool done;
    THAW_TRY(thaw__fold_node(graph, node, &done, err));
    if (done) return THAW_OK;
    for (int k = 0; k < node->n_in; k++) {
        const thaw_value *in = thaw_node_in(graph, node, k);
        if (in && !in->data && in->rank < 0)
            return thaw_fail(err, THAW_ERR_SHAPE, "%s (%s): reads %s, whose size is not known",
                             node->name, node->type, in->name);
    }
    if (node->op) return node->op->infer(graph, node, err);
    return thaw_fail(err, THAW_ERR_UNSUPPORTED, "%s (%s): Thaw computes this from constants only",
                     node->name, node->type);
}

static bool reads_unknown(const thaw_graph *graph, const thaw_node *node) {
    for (int k = 0; k < node->n_in; k++) {
        const thaw_value *in = thaw_node_in(graph, node, k);
        if (in && in->producer >= 0 && graph->nodes[in->producer].unknown) return true;
    }
    return false;
}

static void forget(const thaw_graph *graph, thaw_node *node) {
    node->unknown = true;
    node->alias = false;
    for (int k = 0; k < node->n_out; k++) {
        thaw_value *out = thaw_node_out(graph, node, k);
        if (!out) continue;
        out->rank = -1;
        out->data = NULL;
    }
}

/* The output is not known, but what its tail reads is: the last that was made. */
static void put_output_before_tail(thaw_graph *graph, uint8_t *below) {
    int output = graph->output, last = -1;
    thaw_graph_mark_below(graph, output, below);
    for (int i = 0; i < graph->n_nodes; i++)
        for (int k = 0; below[i] && graph->nodes[i].unknown && k < graph->nodes[i].n_in; k++) {
            const thaw_value *in = thaw_node_in(graph, &graph->nodes[i], k);
            bool known = in && in->rank >= 0 && !in->data && in->producer >= 0;
            if (known && in->producer > last) {
                last = in->producer;
                graph->output = graph->nodes[i].in[k];
                graph->tail = &graph->nodes[i];
            }
        }
}

/* An output that the rule left without a shape is one that nobody may read. */
static thaw_status check_output(const thaw_node *node, const thaw_value *out, thaw_error *err) {
    if (!out || out->data || out->rank < 0 || is_computable(out)) return THAW_OK;
    char shape[128];
    thaw_value_shape_text(out, shape, sizeof shape);
    return thaw_fail(err, THAW_ERR_SHAPE,
                     "%s (%s): makes a tensor of %s, which is empty or too large", node->name,
                     node->type, shape);
}

static thaw_status infer_outputs(thaw_graph *graph, thaw_node *node, thaw_error *err) {
    THAW_TRY(infer_node(graph, node, err));
    const thaw_value *out = thaw_node_out(graph, node, 0);
    if (out && out->rank < 0)
        return thaw_fail(err, THAW_ERR_SHAPE, "%s (%s): the output's size is not known", node->name,
                         node->type);
    for (int k = 0; k < node->n_out; k++)
        THAW_TRY(check_output(node, thaw_node_out(graph, node, k), err));
    return THAW_OK;
}

/* A node that is needed and fails. Where its output's shape is known all the same, what stands behind it is
 * looked at, too. */
static void take_problem(thaw_graph *graph, thaw_node *node, const thaw_error *why,
                         thaw_problems *problems) {
    thaw_problems_add(problems, NULL, node->name, why);
    const thaw_value *out = thaw_node_out(graph, node, 0);
    if (!out || out->data || out->rank < 0 || !is_computable(out)) forget(graph, node);
}

static thaw_status infer_all(thaw_graph *graph, const bool *needed, thaw_problems *problems,
                             thaw_error *err) {
    for (int i = 0; i < graph->n_nodes; i++) {
        thaw_node *node = &graph->nodes[i];
        thaw_error why = {0};
        bool skipped = node->unknown || reads_unknown(graph, node);
        thaw_status status = skipped ? THAW_ERR_UNSUPPORTED : infer_outputs(graph, node, &why);
        bool bearable = status == THAW_ERR_UNSUPPORTED || status == THAW_ERR_SHAPE;
        bool against = needed[i] && (bearable || status == THAW_ERR_FORMAT);
        if (status != THAW_OK && !bearable && !against) {
            if (err) *err = why;
            return status;
        }
        if (status != THAW_OK && against && !skipped)
            take_problem(graph, node, &why, problems);
        else if (status != THAW_OK)
            forget(graph, node);
        else if (node->alias)
            thaw_node_out(graph, node, 0)->root = graph->values[node->in[0]].root;
    }
    return THAW_OK;
}

thaw_status thaw_graph_infer(thaw_graph *graph, thaw_error *err) {
    bool *constant, *needed;
    thaw_problems problems = {0};
    THAW_TRY(find_constants(graph, &constant, err));
    THAW_TRY(find_needed(graph, constant, &needed, err));
    check_operators(graph, constant, needed, &problems);
    graph->fold_room = room_for_constants(graph);
    THAW_TRY(infer_all(graph, needed, &problems, err));
    for (int i = 0; i < graph->n_nodes && problems.n; i++)
        if (needed[i]) check_weights(graph, &graph->nodes[i], &problems);
    THAW_TRY(thaw_problems_end(&problems, err));
    uint8_t *below = thaw_arena_alloc(graph->arena, (size_t)graph->n_nodes + 1);
    if (!below) return thaw_fail_memory(err, "for the graph");
    int maker = graph->values[graph->output].producer;
    if (maker >= 0 && graph->nodes[maker].unknown) put_output_before_tail(graph, below);
    return thaw_graph_set_output(graph, graph->output, err);
}
