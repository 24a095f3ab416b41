#include "onnx_write.h"

#include <string.h>

#include "onnx_build.h"
#include "onnx_names.h"
#include "onnx_tensor.h"
#include "text.h"

/* What comes from the model is only pointed to. */
typedef struct writer {
    thaw_onnx_builder file;
    const thaw_model *model;
    thaw__names names;  /* Of all tensors and nodes, the model's and those made here. */
    int input_type;     /* The type of the input's elements in the model's file. */
    const char *floats; /* The input as floats: itself, or what a Cast makes of it. */
} writer;

/* A name that no tensor or node has; base must live as long as the writer. */
static const char *fresh(writer *w, const char *base) {
    const char *name = base;
    for (int attempt = 1; name && !thaw__names_add(&w->names, name, 0); attempt++)
        name = thaw_arena_printf(&w->file.arena, "%s_%d", base, attempt);
    if (!name) w->file.short_of_memory = true;
    return name ? name : base;
}

/* ---- what stays of the old network ---------------------------------------------------------- */

/* What it was read as: float or int64, in the file itself. */
static void add_constant(writer *w, const thaw_value *value) {
    if (value->dtype == THAW_F32)
        thaw_onnx_tensor(&w->file, value->name, value->rank, value->dims, value->data);
    else
        thaw_onnx_int64_tensor(&w->file, value->name, value->rank, value->dims, value->data);
}

/* Dropout passes on what it gets, and so do Cast and CastLike where everything is float. */
static void become_identity(Onnx__NodeProto *node) {
    node->op_type = "Identity";
    node->n_input = node->n_output = 1;
    node->n_attribute = 0;
}

/* The sizes that a Reshape makes, whatever its file computed them from: 0, "as it is", for the
 * batch, which stays free; where it is a part of an axis, -1, what is left, for that. */
static void reshape_anew(writer *w, int index, Onnx__NodeProto *node) {
    const thaw_graph *g = &w->model->graph;
    const thaw_value *y = thaw_node_out(g, &g->nodes[index], 0);
    bool merged = y->merged || thaw_node_in(g, &g->nodes[index], 0)->merged;
    int axis = y->merged ? y->merged - 1 : 0, first = y->merged ? 1 : 0;
    int64_t *sizes = thaw_onnx_take(&w->file, sizeof y->dims), n = y->rank - first;
    char **in = thaw_onnx_take(&w->file, 2 * sizeof *in);
    char *name = thaw_arena_printf(&w->file.arena, "thaw_shape_%d", index);
    if (!name) w->file.short_of_memory = true;
    if (w->file.short_of_memory) return;
    for (int i = 0; i < n; i++)
        sizes[i] = i != axis ? y->dims[i + first] : merged ? -1 : 0;
    in[0] = node->input[0];
    in[1] = (char *)fresh(w, name);
    thaw_onnx_int64_tensor(&w->file, in[1], 1, &n, sizes);
    node->op_type = "Reshape";
    node->n_attribute = 0;
    node->input = in;
    node->n_input = 2;
}

/* A Gather of each picture's own numbers is one, too. */
static bool is_reshape(const thaw_graph *g, const thaw_node *node) {
    const thaw_value *in = thaw_node_in(g, node, 1);
    return strcmp(node->type, "Reshape") == 0 ||
           (strcmp(node->type, "Gather") == 0 && in && in->step);
}

/* The batch among the sizes that input i is; -1: it is not there. */
static int find_batch(const thaw_graph *g, const thaw_node *node, int i) {
    const thaw_value *v = thaw_node_in(g, node, i);
    if (!v || !v->data || v->dtype != THAW_I64) return -1;
    for (int k = 0; k < thaw_value_elements(v); k++)
        if (thaw_batch_times(((const int64_t *)v->data)[k])) return k;
    return -1;
}

/* A copy of the node's inputs, to be changed. NULL: out of memory. */
static char **own_inputs(writer *w, Onnx__NodeProto *node) {
    char **in = thaw_onnx_take(&w->file, (node->n_input + 1) * sizeof *in);
    if (!in) return NULL;
    memcpy(in, node->input, node->n_input * sizeof *in);
    return node->input = in;
}

/* A constant of n numbers that the file does not have, for the node of this index. */
static const char *add_sizes(writer *w, int index, const char *what, int64_t n,
                             const int64_t *numbers) {
    int64_t *own = thaw_onnx_take(&w->file, (size_t)(n + 1) * sizeof *own);
    char *base = thaw_arena_printf(&w->file.arena, "thaw_%s_%d", what, index);
    if (!own || !base) {
        w->file.short_of_memory = true;
        return "";
    }
    memcpy(own, numbers, (size_t)n * sizeof *own);
    const char *name = fresh(w, base);
    thaw_onnx_int64_tensor(&w->file, name, 1, &n, own);
    return name;
}

/* An Expand leaves as it is what it is told to make 1 of: the batch. */
static void expand_anew(writer *w, int index, Onnx__NodeProto *node) {
    const thaw_graph *g = &w->model->graph;
    const thaw_value *shape = thaw_node_in(g, &g->nodes[index], 1);
    char **in = own_inputs(w, node);
    int64_t sizes[THAW_MAX_RANK], n = thaw_value_elements(shape);
    if (!in) return;
    for (int64_t i = 0; i < n; i++)
        sizes[i] = ((const int64_t *)shape->data)[i];
    sizes[find_batch(g, &g->nodes[index], 1)] = 1;
    in[1] = (char *)add_sizes(w, index, "shape", n, sizes);
}

/* A Resize to sizes gets its batch from its input: Concat(Slice(Shape(x), 0, 1), the other sizes). */
static void resize_anew(writer *w, int index, Onnx__NodeProto *node) {
    const thaw_graph *g = &w->model->graph;
    const thaw_value *sizes = thaw_node_in(g, &g->nodes[index], 3);
    char **in = own_inputs(w, node);
    if (!in) return;
    const int64_t zero = 0, one = 1;
    const char *shape = fresh(w, "thaw_shape"), *batch = fresh(w, "thaw_batch");
    const char *all = fresh(w, "thaw_sizes");
    const char *from = add_sizes(w, index, "from", 1, &zero),
               *to = add_sizes(w, index, "to", 1, &one);
    const char *rest = add_sizes(w, index, "rest", thaw_value_elements(sizes) - 1,
                                 (const int64_t *)sizes->data + 1);
    thaw_onnx_node(&w->file, "Shape", shape, (const char *[]){in[0], NULL}, shape);
    thaw_onnx_node(&w->file, "Slice", batch, (const char *[]){shape, from, to, NULL}, batch);
    Onnx__NodeProto *joined =
        thaw_onnx_node(&w->file, "Concat", all, (const char *[]){batch, rest, NULL}, all);
    thaw_onnx_int(&w->file, joined, "axis", 0);
    in[3] = (char *)all;
}

/* How many of a node's inputs are there once for each picture. */
static int count_repeated(const thaw_graph *g, const thaw_node *node) {
    int n = 0;
    for (int k = 0; k < node->n_in; k++) {
        const thaw_value *v = thaw_node_in(g, node, k);
        n += v && v->data && v->repeats;
    }
    return n;
}

/* They get the batch from a map that they are joined to: Tile(one, Concat(Gather(Shape(map), 0), ones)), which every
 * opset has. */
static void join_anew(writer *w, int index, Onnx__NodeProto *node) {
    const thaw_graph *g = &w->model->graph;
    char **in = own_inputs(w, node);
    const char *map = NULL;
    const int64_t zero = 0;
    if (!in) return;
    for (size_t k = 0; k < node->n_input && !map; k++)
        if (!thaw_node_in(g, &g->nodes[index], (int)k)->data) map = in[k];
    const char *shape = fresh(w, "thaw_shape"), *batch = fresh(w, "thaw_batch");
    const char *first = add_sizes(w, index, "first", 1, &zero);
    thaw_onnx_node(&w->file, "Shape", shape, (const char *[]){map, NULL}, shape);
    thaw_onnx_node(&w->file, "Gather", batch, (const char *[]){shape, first, NULL}, batch);
    for (size_t k = 0; k < node->n_input; k++) {
        const thaw_value *v = thaw_node_in(g, &g->nodes[index], (int)k);
        int64_t ones[THAW_MAX_RANK];
        if (!v->data) continue;
        for (int i = 0; i < v->rank; i++)
            ones[i] = 1;
        const char *rest = add_sizes(w, index, "ones", v->rank - 1, ones);
        const char *times = fresh(w, "thaw_times"), *each = fresh(w, "thaw_each");
        Onnx__NodeProto *joined =
            thaw_onnx_node(&w->file, "Concat", times, (const char *[]){batch, rest, NULL}, times);
        thaw_onnx_int(&w->file, joined, "axis", 0);
        thaw_onnx_node(&w->file, "Tile", each, (const char *[]){in[k], times, NULL}, each);
        in[k] = (char *)each;
    }
}

/* Where a constant stands beside the axis that has the windows of all pictures, and has numbers for each of one
 * picture's: its axis for them. -1: it does not, or is none. */
static int axis_of_windows(const thaw_value *y, const thaw_value *v) {
    if (!y->merged || !v || !v->data || v->dtype != THAW_F32) return -1;
    int axis = y->merged - 1 - (y->rank - 1 - v->rank);
    return axis >= 0 && v->dims[axis] > 1 ? axis : -1;
}

/* Whether it does arithmetic with such a constant, which a file for one picture can have. */
static bool parts_windows(const thaw_graph *g, const thaw_node *node) {
    static const char *const types[] = {"Add", "Sub", "Mul", "Div",  "Pow",
                                        "Max", "Min", "Sum", "Mean", NULL};
    for (int i = 0; thaw_text_find(types, node->type) >= 0 && i < node->n_in; i++)
        if (axis_of_windows(thaw_node_out(g, node, 0), thaw_node_in(g, node, i)) >= 0) return true;
    return false;
}

/* Sizes of a value whose axis of windows is parted into pictures and windows, or is joined again. */
static const char *window_sizes(writer *w, int index, const thaw_value *v, bool part) {
    int64_t sizes[THAW_MAX_RANK + 1], n = 0;
    for (int i = 1; i < v->rank; i++) {
        if (i == v->merged) sizes[n++] = -1;
        if (part || i != v->merged) sizes[n++] = v->dims[i];
    }
    return add_sizes(w, index, part ? "parted" : "joined", n, sizes);
}

static const char *reshape(writer *w, const char *from, const char *sizes, const char *to) {
    thaw_onnx_node(&w->file, "Reshape", to, (const char *[]){from, sizes, NULL}, to);
    return to;
}

/* Around such a node pictures have an axis of their own, by which the constant spreads. */
static void part_pictures(writer *w, int index, Onnx__NodeProto *node) {
    const thaw_graph *g = &w->model->graph;
    const thaw_node *read = &g->nodes[index];
    const thaw_value *y = thaw_node_out(g, read, 0);
    char **in = own_inputs(w, node), **out = thaw_onnx_take(&w->file, sizeof *out);
    for (int i = 0; in && out && i < read->n_in; i++) {
        const thaw_value *v = thaw_node_in(g, read, i);
        int axis = axis_of_windows(y, v), n = 0;
        int64_t dims[THAW_MAX_RANK + 1];
        if (axis < 0 && v && v->merged == y->merged && !v->data)
            in[i] =
                (char *)reshape(w, in[i], window_sizes(w, index, v, true), fresh(w, "thaw_parted"));
        for (int k = 0; axis >= 0 && k < v->rank; k++) {
            if (k == axis) dims[n++] = 1;
            dims[n++] = v->dims[k];
        }
        if (axis < 0) continue;
        in[i] = (char *)fresh(w, "thaw_windows");
        thaw_onnx_tensor(&w->file, in[i], n, dims, v->data);
    }
    if (!in || !out) return;
    out[0] = (char *)fresh(w, "thaw_by_window");
    node->output = out;
}

/* ONNX's condition is a bool, which is a whole number here. */
static void read_bools(writer *w, Onnx__NodeProto *node) {
    char **in = own_inputs(w, node);
    if (!in) return;
    const char *name = fresh(w, "thaw_condition");
    enum { TO_BOOL = 9 };
    thaw_onnx_int(&w->file,
                  thaw_onnx_node(&w->file, "Cast", name, (const char *[]){in[0], NULL}, name), "to",
                  TO_BOOL);
    in[0] = (char *)name;
}

/* Attributes of training. */
static bool is_left_out(const Onnx__AttributeProto *attribute) {
    const char *name = attribute->name ? attribute->name : "";
    return strcmp(name, "training_mode") == 0;
}

/* Whoever reads the input reads it as floats. */
static void read_floats(writer *w, Onnx__NodeProto *node) {
    const char *input = w->model->graph.values[w->model->graph.input].name;
    if (w->input_type == THAW_ONNX_FLOAT) return;
    for (size_t i = 0; i < node->n_input; i++)
        if (strcmp(node->input[i], input) == 0) {
            char **in = own_inputs(w, node);
            if (!in) return;
            in[i] = (char *)w->floats;
        }
}

/* In the form for inference. */
static void copy_node(writer *w, int index) {
    const Onnx__NodeProto *old = w->model->proto->graph->node[index];
    const char *type = w->model->graph.nodes[index].type;
    Onnx__NodeProto *node = thaw_onnx_take(&w->file, sizeof *node);
    Onnx__AttributeProto **kept = thaw_onnx_take(&w->file, old->n_attribute * sizeof *kept);
    if (w->file.short_of_memory) return;
    *node = *old;
    node->attribute = kept;
    node->n_attribute = 0;
    for (size_t i = 0; i < old->n_attribute; i++)
        if (!is_left_out(old->attribute[i])) kept[node->n_attribute++] = old->attribute[i];
    if (strcmp(type, "Dropout") == 0 || strcmp(type, "Cast") == 0 || strcmp(type, "CastLike") == 0)
        become_identity(node);
    if (strcmp(type, "BatchNormalization") == 0) node->n_output = 1; /* More are of training. */
    const thaw_node *read = &w->model->graph.nodes[index];
    if (is_reshape(&w->model->graph, read)) reshape_anew(w, index, node);
    if (strcmp(type, "Expand") == 0 && find_batch(&w->model->graph, read, 1) >= 0)
        expand_anew(w, index, node);
    if (strcmp(type, "Resize") == 0 && find_batch(&w->model->graph, read, 3) == 0)
        resize_anew(w, index, node);
    if (count_repeated(&w->model->graph, read) > 0) join_anew(w, index, node);
    read_floats(w, node);
    if (strcmp(type, "Where") == 0 && thaw_node_in(&w->model->graph, read, 0)->data)
        read_bools(w, node);
    bool parts = parts_windows(&w->model->graph, read);
    const char *made = node->output[0];
    if (parts) part_pictures(w, index, node);
    if (w->file.short_of_memory) return;
    w->file.graph.node[w->file.graph.n_node++] = node;
    const thaw_value *y = thaw_node_out(&w->model->graph, read, 0);
    if (parts) reshape(w, node->output[0], window_sizes(w, index, y, false), made);
}

/* The nodes that run, and what they read. Those that computed constants have done so. */
static void copy_marked(writer *w, const uint8_t *marks, uint8_t *used) {
    const thaw_graph *g = &w->model->graph;
    for (int i = 0; i < g->n_nodes; i++) {
        const thaw_node *node = &g->nodes[i];
        if (!marks[i] || !node->live) continue;
        copy_node(w, i);
        int n_in = strcmp(node->type, "Dropout") == 0 || is_reshape(g, node) ? 1 : node->n_in;
        for (int k = 0; k < n_in; k++) /* Sizes with the batch among them were written anew. */
            if (node->in[k] >= 0 && g->values[node->in[k]].data && find_batch(g, node, k) < 0)
                used[node->in[k]] = 1;
    }
    for (int i = 0; i < g->n_values; i++)
        if (used[i]) add_constant(w, &g->values[i]);
}

/* The names of what stays, nodes and tensors alike; those of a head that goes are free again. */
static void keep_names(writer *w, const uint8_t *marks) {
    const thaw_graph *g = &w->model->graph;
    thaw__names_add(&w->names, g->values[g->input].name, g->input);
    for (int i = 0; i < g->n_nodes; i++) {
        const thaw_node *node = &g->nodes[i];
        if (marks[i]) thaw__names_add(&w->names, node->name, 0);
        for (int k = 0; marks[i] && k < node->n_in; k++)
            if (node->in[k] >= 0)
                thaw__names_add(&w->names, g->values[node->in[k]].name, node->in[k]);
        for (int k = 0; marks[i] && k < node->n_out; k++)
            if (node->out[k] >= 0)
                thaw__names_add(&w->names, g->values[node->out[k]].name, node->out[k]);
    }
}

static int input_type_of(const thaw_model *model) {
    const Onnx__GraphProto *g = model->proto->graph;
    const char *name = model->graph.values[model->graph.input].name;
    for (size_t i = 0; i < g->n_input; i++)
        if (g->input[i]->name && strcmp(g->input[i]->name, name) == 0)
            return g->input[i]->type->tensor_type->elem_type;
    return THAW_ONNX_FLOAT;
}

/* Whoever calls the file gives it what it gave the model. */
static void take_input(writer *w) {
    const char *input = w->model->graph.values[w->model->graph.input].name;
    w->input_type = input_type_of(w->model);
    w->floats = input;
    if (w->input_type == THAW_ONNX_FLOAT) return;
    w->floats = fresh(w, "thaw_float");
    thaw_onnx_int(
        &w->file,
        thaw_onnx_node(&w->file, "Cast", w->floats, (const char *[]){input, NULL}, w->floats), "to",
        THAW_ONNX_FLOAT);
}

/* Room for the nodes, tensors and names of both networks. */
static void start(writer *w, int highest, size_t n_layers) {
    const thaw_graph *g = &w->model->graph;
    size_t nodes = (size_t)g->n_nodes, values = (size_t)g->n_values;
    for (int i = 0; i < g->n_nodes; i++) /* See resize_anew: nodes, and sizes. */
        if (strcmp(g->nodes[i].type, "Resize") == 0) nodes += 3, values += 3;
    for (int i = 0; i < g->n_nodes; i++) { /* See join_anew. */
        size_t n = (size_t)count_repeated(g, &g->nodes[i]);
        if (n > 0) nodes += 2 + 2 * n, values += 1 + n;
    }
    for (int i = 0; i < g->n_nodes; i++) { /* See part_pictures and read_bools. */
        size_t n = 1 + (size_t)g->nodes[i].n_in;
        if (parts_windows(g, &g->nodes[i])) nodes += n, values += 2 * n;
        nodes += strcmp(g->nodes[i].type, "Where") == 0;
    }
    size_t head_nodes = 5 + 2 * n_layers, head_tensors = 2 * n_layers;
    thaw_onnx_start(&w->file, nodes + head_nodes, values + nodes + head_tensors);
    uint8_t *marks = thaw_onnx_take(&w->file, nodes + 1), *used = thaw_onnx_take(&w->file, values);
    size_t names = values + 2 * nodes + head_nodes + head_tensors;
    if (!thaw__names_init(&w->names, names, &w->file.arena)) w->file.short_of_memory = true;
    if (w->file.short_of_memory) return;
    thaw_graph_mark_below(g, highest, marks);
    keep_names(w, marks);
    take_input(w);
    copy_marked(w, marks, used);
}

/* ---- the new head -------------------------------------------------------------------------- */

/* Returns the name of the output. */
static const char *add_head(writer *w, const thaw_cut *cut, const thaw_new_head *head) {
    const thaw_value *at = &w->model->graph.values[cut->shape];
    bool pixels = cut->shape == w->model->graph.input;
    const char *x = pixels ? w->floats : at->name;
    if (head->pooled && at->nhwc) {
        const char *y = fresh(w, "thaw_nchw");
        Onnx__NodeProto *transpose =
            thaw_onnx_node(&w->file, "Transpose", y, (const char *[]){x, NULL}, y);
        thaw_onnx_ints(&w->file, transpose, "perm", 4, (int64_t[]){0, 3, 1, 2});
        x = y;
    }
    if (head->pooled) {
        const char *y = fresh(w, "thaw_pool");
        thaw_onnx_node(&w->file, "GlobalAveragePool", y, (const char *[]){x, NULL}, y);
        x = y;
    }
    if (at->rank != 2) {
        const char *y = fresh(w, "thaw_flatten");
        Onnx__NodeProto *flatten =
            thaw_onnx_node(&w->file, "Flatten", y, (const char *[]){x, NULL}, y);
        thaw_onnx_int(&w->file, flatten, "axis", 1);
        x = y;
    }
    for (int i = 0; i < head->n_layers; i++) {
        const thaw_dense *layer = &head->layers[i];
        const char *y = fresh(w, i + 1 < head->n_layers ? "thaw_hidden" : "thaw_logits");
        char *weights = thaw_arena_printf(&w->file.arena, "%s_weight", y);
        char *bias = thaw_arena_printf(&w->file.arena, "%s_bias", y);
        if (!weights || !bias) {
            w->file.short_of_memory = true;
            return x;
        }
        const char *in[] = {x, fresh(w, weights), fresh(w, bias), NULL};
        thaw_onnx_tensor(&w->file, in[1], 2, (int64_t[]){layer->K, layer->D}, layer->w);
        thaw_onnx_tensor(&w->file, in[2], 1, &layer->K, layer->b);
        thaw_onnx_int(&w->file, thaw_onnx_node(&w->file, "Gemm", y, in, y), "transB", 1);
        x = y;
        if (layer->relu) {
            y = fresh(w, "thaw_relu");
            thaw_onnx_node(&w->file, "Relu", y, (const char *[]){x, NULL}, y);
            x = y;
        }
    }
    const char *scores = fresh(w, "scores");
    if (head->layers[head->n_layers - 1].sigmoid) {
        thaw_onnx_node(&w->file, "Sigmoid", fresh(w, "thaw_sigmoid"), (const char *[]){x, NULL},
                       scores);
        return scores;
    }
    Onnx__NodeProto *softmax = thaw_onnx_node(&w->file, "Softmax", fresh(w, "thaw_softmax"),
                                              (const char *[]){x, NULL}, scores);
    thaw_onnx_int(&w->file, softmax, "axis", 1);
    return scores;
}

static void add_ends(writer *w, const char *scores, int64_t K) {
    const thaw_graph *g = &w->model->graph;
    const thaw_value *input = &g->values[g->input];
    thaw_onnx_ends(&w->file, input->name, 4, input->dims, scores, 2, (int64_t[]){0, K});
    thaw_onnx_input_type(&w->file, w->input_type);
}

static void add_old_output(writer *w) {
    const thaw_value *old = &w->model->graph.values[w->model->graph.output];
    thaw_onnx_second_output(&w->file, old->name, old->rank, old->dims);
}

/* What the model says of itself, and metadata over it. */
static void add_metadata(writer *w, Onnx__ModelProto *m, const thaw_metadata *metadata,
                         int n_metadata) {
    const Onnx__ModelProto *old = w->model->proto;
    size_t most = old->n_metadata_props + (size_t)n_metadata;
    m->domain = old->domain;
    m->doc_string = old->doc_string;
    m->has_model_version = old->has_model_version;
    m->model_version = old->model_version;
    if (old->graph->name && old->graph->name[0]) w->file.graph.name = old->graph->name;
    w->file.graph.doc_string = old->graph->doc_string;
    m->metadata_props = thaw_onnx_take(&w->file, most * sizeof *m->metadata_props);
    if (w->file.short_of_memory) return;
    for (size_t i = 0; i < old->n_metadata_props; i++) {
        bool replaced = false;
        for (int k = 0; k < n_metadata && old->metadata_props[i]->key; k++)
            replaced |= strcmp(old->metadata_props[i]->key, metadata[k].key) == 0;
        if (!replaced) m->metadata_props[m->n_metadata_props++] = old->metadata_props[i];
    }
    for (int k = 0; k < n_metadata; k++)
        thaw_onnx_metadata(&w->file, m, metadata[k].key, metadata[k].value);
}

/* ---- the file ------------------------------------------------------------------------------ */

/* With the model's opset, which has all that is added. */
static thaw_status save(writer *w, Onnx__ModelProto *m, const char *path, thaw_error *err) {
    enum { OLDEST_IR = 4 }; /* From 4 on, initializers need not be inputs as well. */
    const Onnx__ModelProto *old = w->model->proto;
    m->has_ir_version = 1;
    m->ir_version = old->ir_version < OLDEST_IR ? OLDEST_IR : old->ir_version;
    m->n_opset_import = old->n_opset_import;
    m->opset_import = old->opset_import;
    return thaw_onnx_save(&w->file, m, path, err);
}

static thaw_status write_with(writer *w, const thaw_cut *cut, const thaw_new_head *head,
                              const char *path, thaw_error *err) {
    size_t n_layers = (size_t)head->n_layers;
    w->file.most_bytes = head->most_bytes;
    start(w, head->keep_old ? w->model->graph.output : cut->shape, n_layers);
    Onnx__ModelProto m;
    onnx__model_proto__init(&m);
    if (!w->file.short_of_memory) {
        const char *scores = add_head(w, cut, head);
        add_ends(w, scores, head->layers[n_layers - 1].K);
        if (head->keep_old) add_old_output(w);
        add_metadata(w, &m, head->metadata, head->n_metadata);
    }
    return save(w, &m, path, err);
}

thaw_status thaw_onnx_write(const thaw_model *model, const thaw_cut *cut, const thaw_new_head *head,
                            const char *path, thaw_error *err) {
    writer w = {.model = model};
    thaw_status status = write_with(&w, cut, head, path, err);
    thaw_arena_free(&w.file.arena);
    return status;
}

/* ---- pixels in front ------------------------------------------------------------------------ */

/* A node with one input more than x, and the name of what it makes. */
static const char *follow(writer *w, const char *type, const char *x, const char *second,
                          const char *last, Onnx__NodeProto **node) {
    char *base = thaw_arena_printf(&w->file.arena, "thaw_pixels_%s", type);
    const char *y = fresh(w, base ? base : "thaw_pixels");
    *node = thaw_onnx_node(&w->file, type, y, (const char *[]){x, second, NULL}, last ? last : y);
    return last ? last : y;
}

/* One number a channel, as broadcasting wants it. */
static const char *channels(writer *w, const char *name, const float *values, int64_t C) {
    const char *unique = fresh(w, name);
    bool nhwc = w->model->graph.input_nhwc;
    thaw_onnx_tensor(&w->file, unique, 3, nhwc ? (int64_t[]){1, 1, C} : (int64_t[]){C, 1, 1},
                     values);
    return unique;
}

/* x with dimensions in another order. */
static const char *transpose(writer *w, const char *x, const int64_t perm[4]) {
    Onnx__NodeProto *node;
    const char *y = follow(w, "Transpose", x, NULL, NULL, &node);
    thaw_onnx_ints(&w->file, node, "perm", 4, perm);
    return y;
}

/* N,C,H,W with the channels in reverse: a convolution, which adds zeros, because nothing else that does so
 * is the same in all opsets and read by Thaw. */
static const char *flip(writer *w, const char *x) {
    static const float swap[9] = {0, 0, 1, 0, 1, 0, 1, 0, 0};
    Onnx__NodeProto *node;
    const char *weights = fresh(w, "thaw_pixels_order");
    thaw_onnx_tensor(&w->file, weights, 4, (int64_t[]){3, 3, 1, 1}, swap);
    return follow(w, "Conv", x, weights, NULL, &node);
}

/* Cast, Transpose, Conv, Mul, Add, as far as they change anything; the last makes the model's input. */
static void add_front(writer *w, const thaw_onnx_front *front, const char *pixels, bool changes) {
    static const int64_t to_nchw[4] = {0, 3, 1, 2}, to_nhwc[4] = {0, 2, 3, 1};
    const thaw_graph *g = &w->model->graph;
    int64_t C = w->model->channels;
    const char *x = pixels, *input = g->values[g->input].name;
    bool flips = front->flips && C == 3;
    bool floats = changes || flips || w->input_type != THAW_ONNX_UINT8;
    Onnx__NodeProto *node;
    if (floats) {
        x = follow(w, "Cast", x, NULL, NULL, &node);
        thaw_onnx_int(&w->file, node, "to", THAW_ONNX_FLOAT);
    }
    if (!g->input_nhwc || flips) x = transpose(w, x, to_nchw);
    if (flips) x = flip(w, x);
    if (g->input_nhwc && flips) x = transpose(w, x, to_nhwc);
    if (changes) {
        x = follow(w, "Mul", x, channels(w, "thaw_pixels_scale", front->scale, C), NULL, &node);
        x = follow(w, "Add", x, channels(w, "thaw_pixels_shift", front->shift, C), NULL, &node);
    }
    bool casts = floats && w->input_type != THAW_ONNX_FLOAT;
    follow(w, casts ? "Cast" : "Identity", x, NULL, input, &node);
    if (casts) thaw_onnx_int(&w->file, node, "to", w->input_type);
}

static bool changes_numbers(const thaw_model *model, const thaw_onnx_front *front) {
    for (int64_t c = 0; c < model->channels; c++)
        if (front->scale[c] != 1 || front->shift[c] != 0) return true;
    return false;
}

/* All nodes and weights as they are: initializers are a graph's first values. */
static void copy_all(writer *w) {
    const Onnx__GraphProto *g = w->model->proto->graph;
    for (size_t i = 0; i < g->n_initializer; i++)
        add_constant(w, &w->model->graph.values[i]);
    for (size_t i = 0; i < g->n_node; i++)
        w->file.graph.node[w->file.graph.n_node++] = g->node[i];
}

/* pixels: the input's name; NULL: it is the model's. */
static void add_front_ends(writer *w, const char *pixels) {
    const thaw_model *m = w->model;
    const thaw_value *scores = &m->graph.values[m->outputs[0]],
                     *own = &m->graph.values[m->graph.input];
    int64_t dims[4] = {0, m->height, m->width, m->channels};
    thaw_onnx_ends(&w->file, pixels ? pixels : own->name, 4, pixels ? dims : own->dims,
                   scores->name, scores->rank, scores->dims);
    thaw_onnx_input_type(&w->file, pixels ? THAW_ONNX_UINT8 : w->input_type);
    if (m->n_outputs < 2) return;
    const thaw_value *old = &m->graph.values[m->outputs[1]];
    thaw_onnx_second_output(&w->file, old->name, old->rank, old->dims);
}

static thaw_status write_front(writer *w, const thaw_onnx_front *front,
                               const thaw_metadata *metadata, int n_metadata, const char *path,
                               thaw_error *err) {
    enum { NODES = 7, TENSORS = 3 };
    const thaw_graph *g = &w->model->graph;
    bool changes = front && changes_numbers(w->model, front);
    w->input_type = input_type_of(w->model);
    /* It takes such pixels already. */
    if (front && !changes && !front->flips && g->input_nhwc && w->input_type == THAW_ONNX_UINT8)
        front = NULL;
    if (changes && thaw__onnx_is_integer(w->input_type))
        return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                         "%s takes whole numbers, and its preprocessing makes others of pixels",
                         w->model->path);
    size_t nodes = (size_t)g->n_nodes + NODES, values = (size_t)g->n_values + TENSORS;
    uint8_t *marks = thaw_onnx_take(&w->file, nodes);
    thaw_onnx_start(&w->file, nodes, values);
    if (!thaw__names_init(&w->names, 2 * (nodes + values), &w->file.arena))
        w->file.short_of_memory = true;
    Onnx__ModelProto m;
    onnx__model_proto__init(&m);
    if (!w->file.short_of_memory) {
        memset(marks, 1, (size_t)g->n_nodes);
        keep_names(w, marks);
        const char *pixels = front ? fresh(w, "pixels") : NULL;
        if (front) add_front(w, front, pixels, changes);
        copy_all(w);
        add_front_ends(w, pixels);
        add_metadata(w, &m, metadata, n_metadata);
    }
    return save(w, &m, path, err);
}

thaw_status thaw_onnx_write_front(const thaw_model *model, const thaw_onnx_front *front,
                                  const thaw_metadata *metadata, int n_metadata, size_t most_bytes,
                                  const char *path, thaw_error *err) {
    writer w = {.model = model, .file = {.most_bytes = most_bytes}};
    thaw_status status = write_front(&w, front, metadata, n_metadata, path, err);
    thaw_arena_free(&w.file.arena);
    return status;
}
