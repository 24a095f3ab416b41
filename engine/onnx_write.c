#include "onnx_write.h"

#include <string.h>

#include "file.h"
#include "onnx.pb-c.h"

enum { ONNX_FLOAT = 1, ONNX_INT64 = 7 };

/* Everything that is built lives in an arena; what comes from the model is only pointed to. */
typedef struct writer {
    thaw_arena arena;
    const thaw_model *model;
    Onnx__GraphProto graph;
    bool short_of_memory;
} writer;

static void *take(writer *w, size_t n) {
    void *memory = thaw_arena_alloc(&w->arena, n);
    if (!memory) w->short_of_memory = true;
    return memory;
}

static char *copy_text(writer *w, const char *text) {
    char *copy = thaw_arena_string(&w->arena, text, strlen(text));
    if (!copy) w->short_of_memory = true;
    return copy;
}

/* ---- the old network below the cut --------------------------------------------------------- */

/* External data and odd types are written as plain float or int64 raw data. */
static Onnx__TensorProto *inline_tensor(writer *w, Onnx__TensorProto *t, const thaw_value *value) {
    if (t->data_location != ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL) return t;
    Onnx__TensorProto *copy = take(w, sizeof *copy);
    if (!copy) return NULL;
    onnx__tensor_proto__init(copy);
    copy->name = t->name;
    copy->n_dims = t->n_dims;
    copy->dims = t->dims;
    copy->has_data_type = 1;
    copy->data_type = value->dtype == THAW_F32 ? ONNX_FLOAT : ONNX_INT64;
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
    Onnx__NodeProto *copy = take(w, sizeof *copy);
    Onnx__TensorProto *t = take(w, sizeof *t);
    char **in = take(w, old->n_input * sizeof *in);
    int64_t *values = take(w, n * sizeof *values), *dims = take(w, sizeof *dims);
    char *name = thaw_arena_printf(&w->arena, "thaw_shape_%d", index);
    if (!name) w->short_of_memory = true;
    if (w->short_of_memory) return old;
    memcpy(values, shape->data, n * sizeof *values);
    values[0] = 0;
    dims[0] = (int64_t)n;
    onnx__tensor_proto__init(t);
    t->name = name;
    t->n_dims = 1;
    t->dims = dims;
    t->has_data_type = t->has_raw_data = 1;
    t->data_type = ONNX_INT64;
    t->raw_data.data = (uint8_t *)values;
    t->raw_data.len = n * sizeof *values;
    w->graph.initializer[w->graph.n_initializer++] = t;
    *copy = *old;
    memcpy(in, old->input, old->n_input * sizeof *in);
    in[1] = name;
    copy->input = in;
    return copy;
}

static void copy_trunk(writer *w, const thaw_cut *cut, size_t n_new_nodes, size_t n_new_tensors) {
    const thaw_graph *g = &w->model->graph;
    const Onnx__GraphProto *old = w->model->proto->graph;
    uint8_t *marks = take(w, (size_t)g->n_nodes + 1);
    uint8_t *used = take(w, (size_t)g->n_values + 1);
    w->graph.node = take(w, (old->n_node + n_new_nodes) * sizeof *w->graph.node);
    w->graph.initializer =
        take(w, (old->n_initializer + old->n_node + n_new_tensors) * sizeof *w->graph.initializer);
    if (w->short_of_memory) return;
    thaw_graph_mark_below(g, cut->value, marks);
    for (int i = 0; i < g->n_nodes; i++) {
        if (!marks[i]) continue;
        w->graph.node[w->graph.n_node++] = free_batch(w, i);
        for (int k = 0; k < g->nodes[i].n_in; k++)
            if (g->nodes[i].in[k] >= 0) used[g->nodes[i].in[k]] = 1;
    }
    /* The reader made the initializers the first values, in the file's order. */
    for (size_t i = 0; i < old->n_initializer; i++)
        if (used[i])
            w->graph.initializer[w->graph.n_initializer++] =
                inline_tensor(w, old->initializer[i], &g->values[i]);
}

/* ---- the new head -------------------------------------------------------------------------- */

static void add_node(writer *w, const char *type, const char *name, const char **inputs,
                     size_t n_inputs, const char *output, const char *attribute, int64_t value) {
    Onnx__NodeProto *node = take(w, sizeof *node);
    char **in = take(w, n_inputs * sizeof *in), **out = take(w, sizeof *out);
    Onnx__AttributeProto *attr = take(w, sizeof *attr), **attrs = take(w, sizeof *attrs);
    if (w->short_of_memory) return;
    onnx__node_proto__init(node);
    node->op_type = copy_text(w, type);
    node->name = copy_text(w, name);
    for (size_t i = 0; i < n_inputs; i++)
        in[i] = copy_text(w, inputs[i]);
    out[0] = copy_text(w, output);
    node->n_input = n_inputs;
    node->input = in;
    node->n_output = 1;
    node->output = out;
    if (attribute) {
        onnx__attribute_proto__init(attr);
        attr->name = copy_text(w, attribute);
        attr->has_i = attr->has_type = 1;
        attr->i = value;
        attr->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT;
        attrs[0] = attr;
        node->n_attribute = 1;
        node->attribute = attrs;
    }
    w->graph.node[w->graph.n_node++] = node;
}

static void add_tensor(writer *w, const char *name, const float *values, int64_t rows,
                       int64_t columns) {
    Onnx__TensorProto *t = take(w, sizeof *t);
    int64_t *dims = take(w, 2 * sizeof *dims);
    if (w->short_of_memory) return;
    onnx__tensor_proto__init(t);
    dims[0] = rows;
    dims[1] = columns;
    t->name = copy_text(w, name);
    t->n_dims = columns ? 2 : 1;
    t->dims = dims;
    t->has_data_type = t->has_raw_data = 1;
    t->data_type = ONNX_FLOAT;
    t->raw_data.data = (uint8_t *)values;
    t->raw_data.len = (size_t)rows * (size_t)(columns ? columns : 1) * sizeof *values;
    w->graph.initializer[w->graph.n_initializer++] = t;
}

/* A name that no tensor of the old network has. */
static const char *fresh(writer *w, const char *base) {
    const char *name = base;
    for (int attempt = 1; name; attempt++) {
        bool taken = false;
        for (int i = 0; i < w->model->graph.n_values; i++)
            taken |= strcmp(w->model->graph.values[i].name, name) == 0;
        if (!taken) return name;
        name = thaw_arena_printf(&w->arena, "%s_%d", base, attempt);
    }
    w->short_of_memory = true;
    return base;
}

/* Returns the name of the output. */
static const char *add_head(writer *w, const thaw_cut *cut, const thaw_new_head *head) {
    const thaw_value *at = &w->model->graph.values[cut->value];
    const char *x = at->name;
    if (head->pooled) {
        const char *y = fresh(w, "thaw_pool");
        add_node(w, "GlobalAveragePool", y, &x, 1, y, NULL, 0);
        x = y;
    }
    if (at->rank != 2) {
        const char *y = fresh(w, "thaw_flatten");
        add_node(w, "Flatten", y, &x, 1, y, "axis", 1);
        x = y;
    }
    for (int i = 0; i < head->n_layers; i++) {
        const thaw_dense *layer = &head->layers[i];
        const char *y = fresh(w, i + 1 < head->n_layers ? "thaw_hidden" : "thaw_logits");
        char *weights = thaw_arena_printf(&w->arena, "%s_weight", y);
        char *bias = thaw_arena_printf(&w->arena, "%s_bias", y);
        if (!weights || !bias) {
            w->short_of_memory = true;
            return x;
        }
        const char *in[] = {x, fresh(w, weights), fresh(w, bias)};
        add_tensor(w, in[1], layer->w, layer->K, layer->D);
        add_tensor(w, in[2], layer->b, layer->K, 0);
        add_node(w, "Gemm", y, in, 3, y, "transB", 1);
        x = y;
        if (layer->relu) {
            y = fresh(w, "thaw_relu");
            add_node(w, "Relu", y, &x, 1, y, NULL, 0);
            x = y;
        }
    }
    const char *scores = fresh(w, "scores");
    add_node(w, "Softmax", "thaw_softmax", &x, 1, scores, "axis", 1);
    return scores;
}

/* A float tensor N x dims. */
static Onnx__ValueInfoProto *describe(writer *w, const char *name, int n_dims,
                                      const int64_t *sizes) {
    Onnx__ValueInfoProto *info = take(w, sizeof *info);
    Onnx__TypeProto *type = take(w, sizeof *type);
    Onnx__TypeProto__Tensor *tensor = take(w, sizeof *tensor);
    Onnx__TensorShapeProto *shape = take(w, sizeof *shape);
    Onnx__TensorShapeProto__Dimension **dims = take(w, 4 * sizeof *dims);
    if (w->short_of_memory) return NULL;
    onnx__value_info_proto__init(info);
    onnx__type_proto__init(type);
    onnx__type_proto__tensor__init(tensor);
    onnx__tensor_shape_proto__init(shape);
    for (int i = 0; i < n_dims; i++) {
        dims[i] = take(w, sizeof *dims[i]);
        if (!dims[i]) return NULL;
        onnx__tensor_shape_proto__dimension__init(dims[i]);
        if (i == 0) {
            dims[i]->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
            dims[i]->dim_param = copy_text(w, "N");
        } else {
            dims[i]->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
            dims[i]->dim_value = sizes[i];
        }
    }
    shape->n_dim = (size_t)n_dims;
    shape->dim = dims;
    tensor->has_elem_type = 1;
    tensor->elem_type = ONNX_FLOAT;
    tensor->shape = shape;
    type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    type->tensor_type = tensor;
    info->name = copy_text(w, name);
    info->type = type;
    return info;
}

static void add_ends(writer *w, const char *scores, int64_t K) {
    const thaw_graph *g = &w->model->graph;
    const thaw_value *input = &g->values[g->input];
    w->graph.input = take(w, sizeof *w->graph.input);
    w->graph.output = take(w, sizeof *w->graph.output);
    if (w->short_of_memory) return;
    w->graph.input[0] = describe(w, input->name, 4, input->dims);
    w->graph.output[0] = describe(w, scores, 2, (int64_t[]){0, K});
    w->graph.n_input = w->graph.n_output = 1;
    w->graph.name = copy_text(w, "thaw");
}

static void add_metadata(writer *w, Onnx__ModelProto *m, const thaw_new_head *head) {
    const Onnx__ModelProto *old = w->model->proto;
    size_t most = old->n_metadata_props + (size_t)head->n_metadata;
    m->metadata_props = take(w, most * sizeof *m->metadata_props);
    if (w->short_of_memory) return;
    for (size_t i = 0; i < old->n_metadata_props; i++) {
        bool replaced = false;
        for (int k = 0; k < head->n_metadata && old->metadata_props[i]->key; k++)
            replaced |= strcmp(old->metadata_props[i]->key, head->metadata[k].key) == 0;
        if (!replaced) m->metadata_props[m->n_metadata_props++] = old->metadata_props[i];
    }
    for (int k = 0; k < head->n_metadata; k++) {
        Onnx__StringStringEntryProto *entry = take(w, sizeof *entry);
        if (!entry) return;
        onnx__string_string_entry_proto__init(entry);
        entry->key = copy_text(w, head->metadata[k].key);
        entry->value = copy_text(w, head->metadata[k].value);
        m->metadata_props[m->n_metadata_props++] = entry;
    }
}

/* ---- the file ------------------------------------------------------------------------------ */

static thaw_status pack(writer *w, const Onnx__ModelProto *m, const char *path, thaw_error *err) {
    size_t n = onnx__model_proto__get_packed_size(m);
    if (n >= INT32_MAX)
        return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                         "%s would have %zu MB; one ONNX file holds at most 2 GB", path, n >> 20);
    uint8_t *bytes = take(w, n);
    if (!bytes) return thaw_fail(err, THAW_ERR_NOMEM, "not enough memory to write %s", path);
    onnx__model_proto__pack(m, bytes);
    return thaw_file_write(path, bytes, n, err);
}

static thaw_status write_with(writer *w, const thaw_cut *cut, const thaw_new_head *head,
                              const char *path, thaw_error *err) {
    enum { OLDEST_IR = 4 }; /* From 4 on, initializers need not be inputs as well. */
    const Onnx__ModelProto *old = w->model->proto;
    onnx__graph_proto__init(&w->graph);
    size_t n_layers = (size_t)head->n_layers;
    copy_trunk(w, cut, 3 + 2 * n_layers, 2 * n_layers);
    Onnx__ModelProto m;
    onnx__model_proto__init(&m);
    if (!w->short_of_memory) {
        const char *scores = add_head(w, cut, head);
        add_ends(w, scores, head->layers[n_layers - 1].K);
        add_metadata(w, &m, head);
    }
    if (w->short_of_memory)
        return thaw_fail(err, THAW_ERR_NOMEM, "not enough memory to write %s", path);
    m.has_ir_version = 1;
    m.ir_version = old->ir_version < OLDEST_IR ? OLDEST_IR : old->ir_version;
    m.producer_name = "thaw";
    m.producer_version = THAW_VERSION;
    m.n_opset_import = old->n_opset_import;
    m.opset_import = old->opset_import;
    m.graph = &w->graph;
    return pack(w, &m, path, err);
}

thaw_status thaw_onnx_write(const thaw_model *model, const thaw_cut *cut, const thaw_new_head *head,
                            const char *path, thaw_error *err) {
    writer w = {.model = model};
    thaw_status status = write_with(&w, cut, head, path, err);
    thaw_arena_free(&w.arena);
    return status;
}
