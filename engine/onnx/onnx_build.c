#include "onnx_build.h"

#include <stdio.h>
#include <string.h>

#include "file.h"
#include "onnx_tensor.h"
#include "onnx_write.h"

enum { MAX_ATTRIBUTES = 4 };

void thaw_onnx_start(thaw_onnx_builder *b, size_t n_nodes, size_t n_tensors) {
    onnx__graph_proto__init(&b->graph);
    b->graph.node = thaw_onnx_take(b, (n_nodes + 1) * sizeof *b->graph.node);
    b->graph.initializer = thaw_onnx_take(b, (n_tensors + 1) * sizeof *b->graph.initializer);
}

void *thaw_onnx_take(thaw_onnx_builder *b, size_t n) {
    void *memory = thaw_arena_alloc(&b->arena, n);
    if (!memory) b->short_of_memory = true;
    return memory;
}

char *thaw_onnx_text(thaw_onnx_builder *b, const char *text) {
    char *copy = thaw_arena_string(&b->arena, text, strlen(text));
    if (!copy) b->short_of_memory = true;
    return copy;
}

/* ---- nodes --------------------------------------------------------------------------------- */

Onnx__NodeProto *thaw_onnx_node(thaw_onnx_builder *b, const char *type, const char *name,
                                const char *const *inputs, const char *output) {
    size_t n = 0;
    while (inputs[n])
        n++;
    Onnx__NodeProto *node = thaw_onnx_take(b, sizeof *node);
    char **in = thaw_onnx_take(b, (n + 1) * sizeof *in), **out = thaw_onnx_take(b, sizeof *out);
    Onnx__AttributeProto **attributes = thaw_onnx_take(b, MAX_ATTRIBUTES * sizeof *attributes);
    if (b->short_of_memory) return NULL;
    onnx__node_proto__init(node);
    node->op_type = thaw_onnx_text(b, type);
    node->name = thaw_onnx_text(b, name);
    for (size_t i = 0; i < n; i++)
        in[i] = thaw_onnx_text(b, inputs[i]);
    out[0] = thaw_onnx_text(b, output);
    node->n_input = n;
    node->input = in;
    node->n_output = 1;
    node->output = out;
    node->attribute = attributes;
    b->graph.node[b->graph.n_node++] = node;
    return node;
}

static Onnx__AttributeProto *add_attribute(thaw_onnx_builder *b, Onnx__NodeProto *node,
                                           const char *name, int type) {
    Onnx__AttributeProto *attribute = thaw_onnx_take(b, sizeof *attribute);
    if (!attribute || !node) return NULL;
    onnx__attribute_proto__init(attribute);
    attribute->name = thaw_onnx_text(b, name);
    attribute->has_type = 1;
    attribute->type = (Onnx__AttributeProto__AttributeType)type;
    node->attribute[node->n_attribute++] = attribute;
    return attribute;
}

void thaw_onnx_int(thaw_onnx_builder *b, Onnx__NodeProto *node, const char *name, int64_t value) {
    Onnx__AttributeProto *a =
        add_attribute(b, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
    if (!a) return;
    a->has_i = 1;
    a->i = value;
}

void thaw_onnx_float(thaw_onnx_builder *b, Onnx__NodeProto *node, const char *name, float value) {
    Onnx__AttributeProto *a =
        add_attribute(b, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
    if (!a) return;
    a->has_f = 1;
    a->f = value;
}

void thaw_onnx_ints(thaw_onnx_builder *b, Onnx__NodeProto *node, const char *name, int n,
                    const int64_t *values) {
    Onnx__AttributeProto *a =
        add_attribute(b, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    int64_t *copy = thaw_onnx_take(b, (size_t)n * sizeof *copy);
    if (!a || !copy) return;
    memcpy(copy, values, (size_t)n * sizeof *copy);
    a->n_ints = (size_t)n;
    a->ints = copy;
}

/* ---- tensors ------------------------------------------------------------------------------- */

static void add_tensor(thaw_onnx_builder *b, const char *name, int type, size_t size, int n_dims,
                       const int64_t *dims, const void *values) {
    Onnx__TensorProto *t = thaw_onnx_take(b, sizeof *t);
    int64_t *copy = thaw_onnx_take(b, ((size_t)n_dims + 1) * sizeof *copy);
    if (b->short_of_memory) return;
    onnx__tensor_proto__init(t);
    size_t n = 1;
    for (int i = 0; i < n_dims; i++)
        n *= (size_t)(copy[i] = dims[i]);
    t->name = thaw_onnx_text(b, name);
    t->n_dims = (size_t)n_dims;
    t->dims = copy;
    t->has_data_type = t->has_raw_data = 1;
    t->data_type = type;
    t->raw_data.data = (uint8_t *)values;
    t->raw_data.len = n * size;
    b->graph.initializer[b->graph.n_initializer++] = t;
}

void thaw_onnx_tensor(thaw_onnx_builder *b, const char *name, int n_dims, const int64_t *dims,
                      const float *values) {
    add_tensor(b, name, THAW_ONNX_FLOAT, sizeof *values, n_dims, dims, values);
}

void thaw_onnx_int64_tensor(thaw_onnx_builder *b, const char *name, int n_dims, const int64_t *dims,
                            const int64_t *values) {
    add_tensor(b, name, THAW_ONNX_INT64, sizeof *values, n_dims, dims, values);
}

/* A float tensor N x dims[1] ... */
static Onnx__ValueInfoProto *describe(thaw_onnx_builder *b, const char *name, int n_dims,
                                      const int64_t *sizes) {
    Onnx__ValueInfoProto *info = thaw_onnx_take(b, sizeof *info);
    Onnx__TypeProto *type = thaw_onnx_take(b, sizeof *type);
    Onnx__TypeProto__Tensor *tensor = thaw_onnx_take(b, sizeof *tensor);
    Onnx__TensorShapeProto *shape = thaw_onnx_take(b, sizeof *shape);
    Onnx__TensorShapeProto__Dimension **dims = thaw_onnx_take(b, (size_t)n_dims * sizeof *dims);
    if (b->short_of_memory) return NULL;
    onnx__value_info_proto__init(info);
    onnx__type_proto__init(type);
    onnx__type_proto__tensor__init(tensor);
    onnx__tensor_shape_proto__init(shape);
    for (int i = 0; i < n_dims; i++) {
        dims[i] = thaw_onnx_take(b, sizeof *dims[i]);
        if (!dims[i]) return NULL;
        onnx__tensor_shape_proto__dimension__init(dims[i]);
        if (i == 0) {
            dims[i]->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
            dims[i]->dim_param = thaw_onnx_text(b, "N");
        } else {
            dims[i]->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
            dims[i]->dim_value = sizes[i];
        }
    }
    shape->n_dim = (size_t)n_dims;
    shape->dim = dims;
    tensor->has_elem_type = 1;
    tensor->elem_type = THAW_ONNX_FLOAT;
    tensor->shape = shape;
    type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    type->tensor_type = tensor;
    info->name = thaw_onnx_text(b, name);
    info->type = type;
    return info;
}

void thaw_onnx_ends(thaw_onnx_builder *b, const char *input, int n_input_dims,
                    const int64_t *input_dims, const char *output, int n_output_dims,
                    const int64_t *output_dims) {
    b->graph.input = thaw_onnx_take(b, sizeof *b->graph.input);
    b->graph.output = thaw_onnx_take(b, 2 * sizeof *b->graph.output);
    if (b->short_of_memory) return;
    b->graph.input[0] = describe(b, input, n_input_dims, input_dims);
    b->graph.output[0] = describe(b, output, n_output_dims, output_dims);
    b->graph.n_input = b->graph.n_output = 1;
    b->graph.name = thaw_onnx_text(b, "thaw");
}

void thaw_onnx_input_type(thaw_onnx_builder *b, int type) {
    if (!b->short_of_memory) b->graph.input[0]->type->tensor_type->elem_type = type;
}

void thaw_onnx_second_output(thaw_onnx_builder *b, const char *output, int n_dims,
                             const int64_t *dims) {
    if (b->short_of_memory) return;
    b->graph.output[1] = describe(b, output, n_dims, dims);
    b->graph.n_output = 2;
}

/* ---- the file ------------------------------------------------------------------------------ */

void thaw_onnx_metadata(thaw_onnx_builder *b, Onnx__ModelProto *m, const char *key,
                        const char *value) {
    Onnx__StringStringEntryProto *entry = thaw_onnx_take(b, sizeof *entry);
    if (!entry) return;
    onnx__string_string_entry_proto__init(entry);
    entry->key = thaw_onnx_text(b, key);
    entry->value = thaw_onnx_text(b, value);
    m->metadata_props[m->n_metadata_props++] = entry;
}

/* Tensors that are worth it lie at multiples of this. */
enum { ALIGNED = 64, LEAST_OUTSIDE = 1024 };

static Onnx__StringStringEntryProto *entry(thaw_onnx_builder *b, const char *key,
                                           const char *value) {
    Onnx__StringStringEntryProto *e = thaw_onnx_take(b, sizeof *e);
    if (!e) return NULL;
    onnx__string_string_entry_proto__init(e);
    e->key = thaw_onnx_text(b, key);
    e->value = thaw_onnx_text(b, value);
    return e;
}

/* The tensor's values are n bytes at `offset` of the file called name. */
static void put_outside(thaw_onnx_builder *b, Onnx__TensorProto *t, const char *name,
                        size_t offset) {
    char begin[32], length[32];
    snprintf(begin, sizeof begin, "%zu", offset);
    snprintf(length, sizeof length, "%zu", t->raw_data.len);
    t->external_data = thaw_onnx_take(b, 3 * sizeof *t->external_data);
    if (b->short_of_memory) return;
    t->external_data[0] = entry(b, "location", name);
    t->external_data[1] = entry(b, "offset", begin);
    t->external_data[2] = entry(b, "length", length);
    t->n_external_data = 3;
    t->has_data_location = 1;
    t->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
    t->has_raw_data = 0;
    t->raw_data = (ProtobufCBinaryData){0};
}

/* Moves all but the small tensors into PATH.data. */
static thaw_status save_outside(thaw_onnx_builder *b, const char *path, thaw_error *err) {
    static const char zeros[ALIGNED];
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    char *name = thaw_arena_printf(&b->arena, "%s" THAW_ONNX_DATA, base);
    char *data = thaw_arena_printf(&b->arena, "%s" THAW_ONNX_DATA, path);
    if (!name || !data) return thaw_fail_memory(err, "to write %s", path);
    thaw_new_file file = {0};
    size_t offset = 0;
    THAW_TRY(thaw_file_begin(&file, data, err));
    for (size_t i = 0; i < b->graph.n_initializer; i++) {
        Onnx__TensorProto *t = b->graph.initializer[i];
        size_t n = t->raw_data.len, fill = (ALIGNED - n % ALIGNED) % ALIGNED;
        if (n < LEAST_OUTSIDE) continue;
        /* What fails here is told by the end. */
        fwrite(t->raw_data.data, 1, n, file.stream);
        fwrite(zeros, 1, fill, file.stream);
        put_outside(b, t, name, offset);
        offset += n + fill;
    }
    return thaw_file_finish(&file, err);
}

thaw_status thaw_onnx_save(thaw_onnx_builder *b, Onnx__ModelProto *m, const char *path,
                           thaw_error *err) {
    size_t most = b->most_bytes ? b->most_bytes : INT32_MAX;
    m->producer_name = "thaw";
    m->producer_version = THAW_VERSION;
    m->graph = &b->graph;
    size_t n = b->short_of_memory ? 0 : onnx__model_proto__get_packed_size(m);
    if (n >= most) {
        THAW_TRY(save_outside(b, path, err));
        n = b->short_of_memory ? 0 : onnx__model_proto__get_packed_size(m);
    }
    if (n >= INT32_MAX)
        return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                         "%s would have %zu MB without its weights; one ONNX file holds at most "
                         "2 GB",
                         path, n >> 20);
    uint8_t *bytes = thaw_onnx_take(b, n + 1);
    if (b->short_of_memory) return thaw_fail_memory(err, "to write %s", path);
    onnx__model_proto__pack(m, bytes);
    return thaw_file_write(path, bytes, n, err);
}
