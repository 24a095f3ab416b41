#include "onnx_write.h"

#include <string.h>

#include "onnx_build.h"
#include "onnx_names.h"

/* What comes from the model is only pointed to. */
typedef struct writer {
    thaw_onnx_builder file;
    const thaw_model *model;
    thaw__names names; /* Of all tensors and nodes, the model's and those made here. */
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

/* Dropout passes on what it gets, and so does a Cast where everything is float. */
static void become_identity(Onnx__NodeProto *node) {
    node->op_type = "Identity";
    node->n_input = node->n_output = 1;
    node->n_attribute = 0;
}

/* The sizes that a Reshape makes, whatever its file computed them from: 0, "as it is", for the
 * batch, which stays free. */
static void reshape_anew(writer *w, int index, Onnx__NodeProto *node) {
    const thaw_graph *g = &w->model->graph;
    const thaw_value *y = thaw_node_out(g, &g->nodes[index], 0);
    int64_t *sizes = thaw_onnx_take(&w->file, sizeof y->dims), n = y->rank;
    char **in = thaw_onnx_take(&w->file, 2 * sizeof *in);
    char *name = thaw_arena_printf(&w->file.arena, "thaw_shape_%d", index);
    if (!name) w->file.short_of_memory = true;
    if (w->file.short_of_memory) return;
    for (int i = 0; i < y->rank; i++)
        sizes[i] = y->dims[i] == THAW_BATCH ? 0 : y->dims[i];
    in[0] = node->input[0];
    in[1] = (char *)fresh(w, name);
    thaw_onnx_int64_tensor(&w->file, in[1], 1, &n, sizes);
    node->input = in;
    node->n_input = 2;
}

/* The batch among the sizes that input i is; -1: it is not there. */
static int find_batch(const thaw_graph *g, const thaw_node *node, int i) {
    const thaw_value *v = thaw_node_in(g, node, i);
    if (!v || !v->data || v->dtype != THAW_I64) return -1;
    for (int k = 0; k < thaw_value_elements(v); k++)
        if (((const int64_t *)v->data)[k] == THAW_BATCH) return k;
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

/* Attributes of training, and one that gives a 0 of reshape_anew another meaning. */
static bool is_left_out(const Onnx__AttributeProto *attribute) {
    const char *name = attribute->name ? attribute->name : "";
    return strcmp(name, "training_mode") == 0 || strcmp(name, "allowzero") == 0;
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
    if (strcmp(type, "Dropout") == 0 || strcmp(type, "Cast") == 0) become_identity(node);
    if (strcmp(type, "BatchNormalization") == 0) node->n_output = 1; /* More are of training. */
    if (strcmp(type, "Reshape") == 0) reshape_anew(w, index, node);
    const thaw_node *read = &w->model->graph.nodes[index];
    if (strcmp(type, "Expand") == 0 && find_batch(&w->model->graph, read, 1) >= 0)
        expand_anew(w, index, node);
    if (strcmp(type, "Resize") == 0 && find_batch(&w->model->graph, read, 3) == 0)
        resize_anew(w, index, node);
    w->file.graph.node[w->file.graph.n_node++] = node;
}

/* The nodes that run, and what they read. Those that computed constants have done so. */
static void copy_marked(writer *w, const uint8_t *marks, uint8_t *used) {
    const thaw_graph *g = &w->model->graph;
    for (int i = 0; i < g->n_nodes; i++) {
        const thaw_node *node = &g->nodes[i];
        if (!marks[i] || !node->live) continue;
        copy_node(w, i);
        int n_in = strcmp(node->type, "Dropout") == 0 || strcmp(node->type, "Reshape") == 0
                       ? 1
                       : node->n_in;
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

/* Room for the nodes, tensors and names of both networks. */
static void start(writer *w, int highest, size_t n_layers) {
    const thaw_graph *g = &w->model->graph;
    size_t nodes = (size_t)g->n_nodes, values = (size_t)g->n_values;
    for (int i = 0; i < g->n_nodes; i++) /* See resize_anew: nodes, and sizes. */
        if (strcmp(g->nodes[i].type, "Resize") == 0) nodes += 3, values += 3;
    size_t head_nodes = 4 + 2 * n_layers, head_tensors = 2 * n_layers;
    thaw_onnx_start(&w->file, nodes + head_nodes, values + nodes + head_tensors);
    uint8_t *marks = thaw_onnx_take(&w->file, nodes + 1), *used = thaw_onnx_take(&w->file, values);
    size_t names = values + 2 * nodes + head_nodes + head_tensors;
    if (!thaw__names_init(&w->names, names, &w->file.arena)) w->file.short_of_memory = true;
    if (w->file.short_of_memory) return;
    thaw_graph_mark_below(g, highest, marks);
    keep_names(w, marks);
    copy_marked(w, marks, used);
}

/* ---- the new head -------------------------------------------------------------------------- */

/* Returns the name of the output. */
static const char *add_head(writer *w, const thaw_cut *cut, const thaw_new_head *head) {
    const thaw_value *at = &w->model->graph.values[cut->shape];
    const char *x = at->name;
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
}

static void add_old_output(writer *w) {
    const thaw_value *old = &w->model->graph.values[w->model->graph.output];
    thaw_onnx_second_output(&w->file, old->name, old->rank, old->dims);
}

static void add_metadata(writer *w, Onnx__ModelProto *m, const thaw_new_head *head) {
    const Onnx__ModelProto *old = w->model->proto;
    size_t most = old->n_metadata_props + (size_t)head->n_metadata;
    m->metadata_props = thaw_onnx_take(&w->file, most * sizeof *m->metadata_props);
    if (w->file.short_of_memory) return;
    for (size_t i = 0; i < old->n_metadata_props; i++) {
        bool replaced = false;
        for (int k = 0; k < head->n_metadata && old->metadata_props[i]->key; k++)
            replaced |= strcmp(old->metadata_props[i]->key, head->metadata[k].key) == 0;
        if (!replaced) m->metadata_props[m->n_metadata_props++] = old->metadata_props[i];
    }
    for (int k = 0; k < head->n_metadata; k++)
        thaw_onnx_metadata(&w->file, m, head->metadata[k].key, head->metadata[k].value);
}

/* ---- the file ------------------------------------------------------------------------------ */

static thaw_status write_with(writer *w, const thaw_cut *cut, const thaw_new_head *head,
                              const char *path, thaw_error *err) {
    enum { OLDEST_IR = 4 }; /* From 4 on, initializers need not be inputs as well. */
    const Onnx__ModelProto *old = w->model->proto;
    size_t n_layers = (size_t)head->n_layers;
    start(w, head->keep_old ? w->model->graph.output : cut->shape, n_layers);
    Onnx__ModelProto m;
    onnx__model_proto__init(&m);
    if (!w->file.short_of_memory) {
        const char *scores = add_head(w, cut, head);
        add_ends(w, scores, head->layers[n_layers - 1].K);
        if (head->keep_old) add_old_output(w);
        add_metadata(w, &m, head);
    }
    m.has_ir_version = 1;
    m.ir_version = old->ir_version < OLDEST_IR ? OLDEST_IR : old->ir_version;
    m.n_opset_import = old->n_opset_import;
    m.opset_import = old->opset_import;
    return thaw_onnx_save(&w->file, &m, path, err);
}

thaw_status thaw_onnx_write(const thaw_model *model, const thaw_cut *cut, const thaw_new_head *head,
                            const char *path, thaw_error *err) {
    writer w = {.model = model};
    thaw_status status = write_with(&w, cut, head, path, err);
    thaw_arena_free(&w.file.arena);
    return status;
}
