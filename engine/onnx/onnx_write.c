#include "onnx_write.h"

#include <string.h>

#include "onnx_build.h"
#include "onnx_tensor.h"

/* What comes from the model is only pointed to. */
typedef struct writer {
    thaw_onnx_builder file;
    const thaw_model *model;
} writer;

/* ---- the old network below the cut --------------------------------------------------------- */

/* External data and odd types are written as plain float or int64 raw data. */
static Onnx__TensorProto *inline_tensor(writer *w, Onnx__TensorProto *t, const thaw_value *value) {
    if (t->data_location != ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL) return t;
    Onnx__TensorProto *copy = thaw_onnx_take(&w->file, sizeof *copy);
    if (!copy) return NULL;
    onnx__tensor_proto__init(copy);
    copy->name = t->name;
    copy->n_dims = t->n_dims;
    copy->dims = t->dims;
    copy->has_data_type = 1;
    copy->data_type = value->dtype == THAW_F32 ? THAW_ONNX_FLOAT : THAW_ONNX_INT64;
    copy->has_raw_data = 1;
    copy->raw_data.data = (uint8_t *)value->data;
    copy->raw_data.len = (size_t)thaw_value_elements(value) * thaw_dtype_bytes(value->dtype);
    return copy;
}

/* A Reshape into a batch of the size that the file fixed would refuse every other one: its shape is
 * written anew with 0, "as it is", for the batch. Other nodes are returned as they are. */
static Onnx__NodeProto *free_batch(writer *w, int index) {
    const thaw_graph *g = &w->model->graph;
    const thaw_node *node = &g->nodes[index];
    Onnx__NodeProto *old = w->model->proto->graph->node[index];
    const thaw_value *shape = thaw_node_in(g, node, 1);
    if (strcmp(node->type, "Reshape") != 0 || !g->fixed_batch || !shape || !shape->data ||
        shape->dims[0] < 1 || *(const int64_t *)shape->data != g->fixed_batch ||
        thaw_node_int(node, "allowzero", 0))
        return old;
    size_t n = (size_t)shape->dims[0];
    Onnx__NodeProto *copy = thaw_onnx_take(&w->file, sizeof *copy);
    Onnx__TensorProto *t = thaw_onnx_take(&w->file, sizeof *t);
    char **in = thaw_onnx_take(&w->file, old->n_input * sizeof *in);
    int64_t *values = thaw_onnx_take(&w->file, n * sizeof *values),
            *dims = thaw_onnx_take(&w->file, sizeof *dims);
    char *name = thaw_arena_printf(&w->file.arena, "thaw_shape_%d", index);
    if (!name) w->file.short_of_memory = true;
    if (w->file.short_of_memory) return old;
    memcpy(values, shape->data, n * sizeof *values);
    values[0] = 0;
    dims[0] = (int64_t)n;
    onnx__tensor_proto__init(t);
    t->name = name;
    t->n_dims = 1;
    t->dims = dims;
    t->has_data_type = t->has_raw_data = 1;
    t->data_type = THAW_ONNX_INT64;
    t->raw_data.data = (uint8_t *)values;
    t->raw_data.len = n * sizeof *values;
    w->file.graph.initializer[w->file.graph.n_initializer++] = t;
    *copy = *old;
    memcpy(in, old->input, old->n_input * sizeof *in);
    in[1] = name;
    copy->input = in;
    return copy;
}

static void copy_trunk(writer *w, const thaw_cut *cut, size_t n_new_nodes, size_t n_new_tensors) {
    const thaw_graph *g = &w->model->graph;
    const Onnx__GraphProto *old = w->model->proto->graph;
    uint8_t *marks = thaw_onnx_take(&w->file, (size_t)g->n_nodes + 1);
    uint8_t *used = thaw_onnx_take(&w->file, (size_t)g->n_values + 1);
    thaw_onnx_start(&w->file, old->n_node + n_new_nodes,
                    old->n_initializer + old->n_node + n_new_tensors);
    if (w->file.short_of_memory) return;
    thaw_graph_mark_below(g, cut->value, marks);
    for (int i = 0; i < g->n_nodes; i++) {
        if (!marks[i]) continue;
        w->file.graph.node[w->file.graph.n_node++] = free_batch(w, i);
        for (int k = 0; k < g->nodes[i].n_in; k++)
            if (g->nodes[i].in[k] >= 0) used[g->nodes[i].in[k]] = 1;
    }
    /* The reader made the initializers the first values, in the file's order. */
    for (size_t i = 0; i < old->n_initializer; i++)
        if (used[i])
            w->file.graph.initializer[w->file.graph.n_initializer++] =
                inline_tensor(w, old->initializer[i], &g->values[i]);
}

/* ---- the new head -------------------------------------------------------------------------- */

/* A name that no tensor of the old network has. */
static const char *fresh(writer *w, const char *base) {
    const char *name = base;
    for (int attempt = 1; name; attempt++) {
        bool taken = false;
        for (int i = 0; i < w->model->graph.n_values; i++)
            taken |= strcmp(w->model->graph.values[i].name, name) == 0;
        if (!taken) return name;
        name = thaw_arena_printf(&w->file.arena, "%s_%d", base, attempt);
    }
    w->file.short_of_memory = true;
    return base;
}

/* Returns the name of the output. */
static const char *add_head(writer *w, const thaw_cut *cut, const thaw_new_head *head) {
    const thaw_value *at = &w->model->graph.values[cut->value];
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
    Onnx__NodeProto *softmax =
        thaw_onnx_node(&w->file, "Softmax", "thaw_softmax", (const char *[]){x, NULL}, scores);
    thaw_onnx_int(&w->file, softmax, "axis", 1);
    return scores;
}

static void add_ends(writer *w, const char *scores, int64_t K) {
    const thaw_graph *g = &w->model->graph;
    const thaw_value *input = &g->values[g->input];
    thaw_onnx_ends(&w->file, input->name, 4, input->dims, scores, 2, (int64_t[]){0, K});
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
    copy_trunk(w, cut, 4 + 2 * n_layers, 2 * n_layers);
    Onnx__ModelProto m;
    onnx__model_proto__init(&m);
    if (!w->file.short_of_memory) {
        const char *scores = add_head(w, cut, head);
        add_ends(w, scores, head->layers[n_layers - 1].K);
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
