#include "onnx_read.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "graph/cuts.h"
#include "graph/ops.h"
#include "graph/problems.h"
#include "onnx_functions.h"
#include "onnx_names.h"
#include "onnx_tensor.h"
#include "text.h"
#include "utf8.h"

typedef struct reader {
    thaw_model *model;
    thaw_graph *graph;
    thaw__names names; /* Of values. */
    int capacity;      /* Of graph->values. */
    thaw_error *err;
} reader;

static thaw_status no_memory(const reader *r) {
    return thaw_fail_memory(r->err, "to read the model %s", r->model->path);
}

/* ---- the file's messages ------------------------------------------------------------------- */

enum {
    MOST_NODES = 1 << 16, /* Some analyses take time quadratic in them. */
    MOST_TENSORS = 1 << 20,
};

/* Memory for messages. An empty node takes 2 bytes of a file and 150 here, so what a file may take
 * is bounded by its size before its nodes can be counted. */
typedef struct allowance {
    size_t left;
    bool spent, failed; /* More was wanted than allowed, or than there is. */
} allowance;

static void *take_allowed(void *data, size_t n) {
    allowance *a = data;
    a->spent |= n > a->left;
    void *memory = a->spent ? NULL : malloc(n);
    a->failed |= !a->spent && !memory;
    size_t taken = memory ? malloc_usable_size(memory) : 0;
    a->left -= taken < a->left ? taken : a->left;
    return memory;
}

static void give_back(void *data, void *memory) {
    ((allowance *)data)->left += malloc_usable_size(memory);
    free(memory);
}

/* Weights take what they take in the file, and four times that when they are varints; the rest is
 * what MOST_NODES nodes with their attributes, names and weights can want. */
static thaw_status unpack(reader *r, const void *bytes, size_t n) {
    enum { VARINT = 4, STRUCTURE = 128 << 20 };
    allowance a = {.left = n < SIZE_MAX / VARINT / 2 ? VARINT * n + STRUCTURE : SIZE_MAX};
    ProtobufCAllocator allocator = {take_allowed, give_back, &a};
    Onnx__ModelProto *m = onnx__model_proto__unpack(&allocator, n, bytes);
    r->model->proto = m; /* Freed with the system's allocator, which is the same. */
    bool whole = m && m->graph && m->n_opset_import;
    thaw_status status =
        whole ? thaw__onnx_inline(m, r->model->path, MOST_NODES, &allocator, r->err) : THAW_OK;
    if (a.spent)
        return thaw_fail(r->err, THAW_ERR_UNSUPPORTED,
                         "%s: %zu bytes of so many small parts that they would take more than %d "
                         "MB; Thaw reads networks of up to %d nodes",
                         r->model->path, n, (int)((VARINT * n + STRUCTURE) >> 20), MOST_NODES);
    if (a.failed) return no_memory(r);
    if (whole) return status;
    return thaw_fail(r->err, THAW_ERR_FORMAT,
                     "%s is not an ONNX model, or only a part of one (%zu bytes)", r->model->path,
                     n);
}

/* ---- values -------------------------------------------------------------------------------- */

static thaw_status make_tables(reader *r, const Onnx__GraphProto *g) {
    size_t n = 1 + g->n_initializer + g->n_input;
    for (size_t i = 0; i < g->n_node; i++) {
        n += g->node[i]->n_output;
        for (size_t k = 0; k < g->node[i]->n_attribute; k++)
            n += g->node[i]->attribute[k]->t != NULL;
    }
    if (g->n_node > MOST_NODES || n > MOST_TENSORS)
        return thaw_fail(r->err, THAW_ERR_UNSUPPORTED,
                         "%s: %zu nodes and %zu tensors; Thaw reads networks of up to %d and %d",
                         r->model->path, g->n_node, n, MOST_NODES, MOST_TENSORS);
    thaw_graph *graph = r->graph;
    graph->values = thaw_arena_array(graph->arena, n, sizeof *graph->values);
    graph->nodes = thaw_arena_array(graph->arena, g->n_node, sizeof *graph->nodes);
    if (!graph->values || !graph->nodes || !thaw__names_init(&r->names, n, graph->arena))
        return no_memory(r);
    r->capacity = (int)n;
    return THAW_OK;
}

/* A new value; its name must be new, too, unless it has none. */
static thaw_status add_value(reader *r, const char *name, int producer, int *index) {
    thaw_graph *graph = r->graph;
    if (graph->n_values == r->capacity) return no_memory(r);
    *index = graph->n_values;
    if (name[0] && !thaw__names_add(&r->names, name, *index))
        return thaw_fail(r->err, THAW_ERR_FORMAT, "%s: two tensors are called %s", r->model->path,
                         name);
    graph->n_values++;
    graph->values[*index] =
        (thaw_value){.name = name, .rank = -1, .producer = producer, .root = *index};
    return THAW_OK;
}

static thaw_status read_tensor(reader *r, const Onnx__TensorProto *t, int index) {
    return thaw__onnx_tensor_read(t, r->model->path, r->graph->arena, &r->graph->values[index],
                                  r->err);
}

/* ---- nodes --------------------------------------------------------------------------------- */

static thaw_status read_attribute(reader *r, const Onnx__AttributeProto *a, int producer,
                                  thaw_attr *attr) {
    thaw_graph *graph = r->graph;
    *attr = (thaw_attr){.name = a->name ? a->name : "", .i = a->i, .f = a->f, .tensor = -1};
    if (a->has_s) {
        attr->s = thaw_arena_string(graph->arena, (const char *)a->s.data, a->s.len);
        if (!attr->s) return no_memory(r);
    }
    attr->ints = a->ints; /* NULL when there are none; a file that has both kinds has ints. */
    attr->floats = a->n_ints ? NULL : a->floats;
    attr->n = a->n_ints ? a->n_ints : a->n_floats;
    if (!a->t) return THAW_OK;
    THAW_TRY(add_value(r, "", producer, &attr->tensor));
    graph->values[attr->tensor].name = graph->nodes[producer].name; /* For errors only. */
    return read_tensor(r, a->t, attr->tensor);
}

static thaw_status read_node(reader *r, const Onnx__NodeProto *n, int index) {
    thaw_node *node = &r->graph->nodes[index];
    thaw_arena *arena = r->graph->arena;
    node->type = n->op_type ? n->op_type : "";
    node->name = n->name && n->name[0] ? n->name : n->n_output ? n->output[0] : node->type;
    node->op = thaw_op_find(n->domain ? n->domain : "", node->type);
    node->n_in = (int)n->n_input;
    node->n_out = (int)n->n_output;
    node->n_attrs = (int)n->n_attribute;
    node->in = thaw_arena_array(arena, n->n_input, sizeof(int));
    node->out = thaw_arena_array(arena, n->n_output, sizeof(int));
    node->attrs = thaw_arena_array(arena, n->n_attribute, sizeof *node->attrs);
    if (!node->in || !node->out || !node->attrs) return no_memory(r);
    for (size_t i = 0; i < n->n_input; i++) {
        const char *name = n->input[i];
        node->in[i] = name[0] ? thaw__names_find(&r->names, name) : -1;
        if (name[0] && node->in[i] < 0)
            return thaw_fail(r->err, THAW_ERR_FORMAT,
                             "%s: node %s (%s) reads tensor %s, which nothing before it makes",
                             r->model->path, node->name, node->type, name);
    }
    for (size_t i = 0; i < n->n_attribute; i++)
        THAW_TRY(read_attribute(r, n->attribute[i], index, &node->attrs[i]));
    for (size_t i = 0; i < n->n_output; i++) {
        node->out[i] = -1;
        if (n->output[i][0]) THAW_TRY(add_value(r, n->output[i], index, &node->out[i]));
    }
    return THAW_OK;
}

/* ---- input and output ---------------------------------------------------------------------- */

static int64_t declared_dim(const Onnx__TensorShapeProto *shape, size_t i) {
    const Onnx__TensorShapeProto__Dimension *dim = shape->dim[i];
    if (dim->value_case != ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE) return 0;
    return dim->dim_value > 0 ? dim->dim_value : 0;
}

/* "N x ? x H x 224" for an error. */
static void declared_text(const Onnx__TensorShapeProto *shape, thaw_text *text) {
    for (size_t i = 0; i < shape->n_dim; i++) {
        const Onnx__TensorShapeProto__Dimension *dim = shape->dim[i];
        bool named = dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM &&
                     dim->dim_param && dim->dim_param[0];
        if (i) thaw_text_add(text, " x ");
        if (declared_dim(shape, i))
            thaw_text_add(text, "%lld", (long long)declared_dim(shape, i));
        else
            thaw_text_add(text, "%.*s", named ? thaw_utf8_prefix(dim->dim_param, 40) : 1,
                          named ? dim->dim_param : "?");
    }
}

static thaw_status check_channels(const reader *r, const Onnx__ValueInfoProto *info,
                                  const Onnx__TensorShapeProto *shape) {
    int64_t channels = r->model->channels;
    if (channels == 1 || channels == 3) return THAW_OK;
    if (channels)
        return thaw_fail(r->err, THAW_ERR_UNSUPPORTED,
                         "%s: input %s has %lld channels; Thaw feeds pictures of 1 or 3",
                         r->model->path, info->name, (long long)channels);
    thaw_text text = {0};
    declared_text(shape, &text);
    return thaw_fail(r->err, THAW_ERR_UNSUPPORTED,
                     "%s: input %s takes %s and does not say how many channels these are; export "
                     "the model with 3 (or 1) written there",
                     r->model->path, info->name, text.text);
}

/* The picture's sizes: the file's, else those that were asked for, else 224. */
static thaw_status read_sizes(reader *r, const Onnx__ValueInfoProto *info,
                              const Onnx__TensorShapeProto *shape, int64_t height, int64_t width) {
    enum { USUAL = 224, LARGEST = 16384 };
    thaw_model *model = r->model;
    int64_t d[4];
    for (size_t i = 0; i < 4; i++)
        d[i] = declared_dim(shape, i);
    bool nhwc = (d[3] == 3 || d[3] == 1) && d[1] != 3 && d[1] != 1;
    r->graph->fixed_batch = d[0];
    r->graph->input_nhwc = nhwc;
    model->channels = nhwc ? d[3] : d[1];
    model->height = nhwc ? d[1] : d[2];
    model->width = nhwc ? d[2] : d[3];
    model->open_size = !model->height || !model->width;
    if (!model->height) model->height = height ? height : USUAL;
    if (!model->width) model->width = width ? width : USUAL;
    THAW_TRY(check_channels(r, info, shape));
    if (model->height <= LARGEST && model->width <= LARGEST) return THAW_OK;
    return thaw_fail(r->err, THAW_ERR_UNSUPPORTED, "%s: input %s is larger than %d pixels",
                     model->path, info->name, LARGEST);
}

/* The one graph input that is no initializer becomes an N,C,H,W (or N,H,W,C) picture. */
static thaw_status read_input(reader *r, const Onnx__ValueInfoProto *info, int64_t height,
                              int64_t width) {
    thaw_model *model = r->model;
    bool tensor = info->type && info->type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE &&
                  info->type->tensor_type;
    const Onnx__TensorShapeProto *shape = tensor ? info->type->tensor_type->shape : NULL;
    if (!shape || shape->n_dim != 4)
        return thaw_fail(r->err, THAW_ERR_UNSUPPORTED,
                         "%s: input %s is not a batch of pictures (four dimensions)", model->path,
                         info->name);
    THAW_TRY(read_sizes(r, info, shape, height, width));
    model->integer_input = thaw__onnx_is_integer(info->type->tensor_type->elem_type);
    bool nhwc = r->graph->input_nhwc;
    THAW_TRY(add_value(r, info->name, -1, &r->graph->input));
    thaw_value *value = &r->graph->values[r->graph->input];
    value->dtype = THAW_F32;
    value->nhwc = nhwc;
    value->rank = 4;
    int64_t nchw[4] = {THAW_BATCH, model->channels, model->height, model->width};
    int64_t as_file[4] = {THAW_BATCH, model->height, model->width, model->channels};
    memcpy(value->dims, nhwc ? as_file : nchw, sizeof nchw);
    return THAW_OK;
}

static bool is_initializer(const reader *r, const char *name) {
    int index = name ? thaw__names_find(&r->names, name) : -1;
    return index >= 0 && r->graph->values[index].data;
}

static thaw_status read_inputs(reader *r, const Onnx__GraphProto *g, int64_t height,
                               int64_t width) {
    const Onnx__ValueInfoProto *picture = NULL;
    for (size_t i = 0; i < g->n_input; i++) {
        if (!g->input[i]->name || is_initializer(r, g->input[i]->name)) continue;
        if (picture)
            return thaw_fail(r->err, THAW_ERR_UNSUPPORTED,
                             "%s: the model has more than one input (%s, %s); Thaw feeds one "
                             "picture",
                             r->model->path, picture->name, g->input[i]->name);
        picture = g->input[i];
    }
    if (!picture)
        return thaw_fail(r->err, THAW_ERR_FORMAT, "%s: the model has no input", r->model->path);
    return read_input(r, picture, height, width);
}

static int count_below(const thaw_graph *graph, int value, uint8_t *marks) {
    int n = 0;
    memset(marks, 0, (size_t)graph->n_nodes);
    thaw_graph_mark_below(graph, value, marks);
    for (int i = 0; i < graph->n_nodes; i++)
        n += marks[i];
    return n;
}

/* What thaw_onnx_write made has the new head's output first. */
static bool is_own(const Onnx__ModelProto *m) {
    return m->producer_name && strcmp(m->producer_name, "thaw") == 0;
}

/* Of several outputs the one that most of the network lies below: auxiliary classifiers are not,
 * wherever they stand in the list. */
static thaw_status read_outputs(reader *r, const Onnx__GraphProto *g) {
    enum { MOST_OUTPUTS = 64 };
    thaw_model *model = r->model;
    thaw_graph *graph = r->graph;
    if (g->n_output > MOST_OUTPUTS)
        return thaw_fail(r->err, THAW_ERR_UNSUPPORTED,
                         "%s: %zu outputs; Thaw reads models of up to %d", model->path, g->n_output,
                         MOST_OUTPUTS);
    uint8_t *marks = thaw_arena_alloc(graph->arena, (size_t)graph->n_nodes + 1);
    model->outputs = thaw_arena_array(graph->arena, g->n_output, sizeof *model->outputs);
    if (!marks || !model->outputs) return no_memory(r);
    int most = -1;
    for (size_t i = 0; i < g->n_output; i++) {
        const char *name = g->output[i]->name ? g->output[i]->name : "";
        int index = name[0] ? thaw__names_find(&r->names, name) : -1;
        if (index < 0)
            return thaw_fail(r->err, THAW_ERR_FORMAT,
                             "%s: the model's output %s is made by no node", model->path,
                             name[0] ? name : "(without a name)");
        model->outputs[model->n_outputs++] = index;
        int below = count_below(graph, index, marks);
        if (below > most) graph->output = index;
        if (below > most) most = below;
    }
    model->own = is_own(model->proto);
    if (model->own && most >= 0) graph->output = model->outputs[0];
    if (most >= 0) return THAW_OK;
    return thaw_fail(r->err, THAW_ERR_FORMAT, "%s: the model has no output", model->path);
}

static thaw_status read_opset(reader *r, const Onnx__ModelProto *m) {
    /* 24 to 26 gave the operators that Thaw has more types of elements, and nothing else. */
    enum { OLDEST = 7, NEWEST = 26 };
    for (size_t i = 0; i < m->n_opset_import; i++) {
        const Onnx__OperatorSetIdProto *set = m->opset_import[i];
        if (!set->domain || !set->domain[0] || strcmp(set->domain, "ai.onnx") == 0)
            r->graph->opset = set->version;
    }
    if (r->graph->opset >= OLDEST && r->graph->opset <= NEWEST) return THAW_OK;
    return thaw_fail(r->err, THAW_ERR_UNSUPPORTED,
                     "%s: opset %lld; Thaw reads opsets %d to %d: convert it with "
                     "onnx.version_converter",
                     r->model->path, (long long)r->graph->opset, OLDEST, NEWEST);
}

/* ---- the whole ----------------------------------------------------------------------------- */

/* All that are wrong are told of at once. */
static thaw_status read_initializers(reader *r, const Onnx__GraphProto *g) {
    thaw_problems problems = {0};
    for (size_t i = 0; i < g->n_initializer; i++) {
        const Onnx__TensorProto *t = g->initializer[i];
        const char *name = t->name ? t->name : "";
        thaw_error why = {0};
        int index = 0;
        THAW_TRY(add_value(r, name, -1, &index));
        thaw_status status = thaw__onnx_tensor_read(t, r->model->path, r->graph->arena,
                                                    &r->graph->values[index], &why);
        if (status == THAW_OK) continue;
        if (!thaw_status_rejects(status)) {
            if (r->err) *r->err = why;
            return status;
        }
        thaw_problems_add(&problems, NULL, name, &why);
    }
    return thaw_problems_end(&problems, r->err);
}

static thaw_status read_graph(reader *r, const Onnx__ModelProto *m, int64_t height, int64_t width) {
    const Onnx__GraphProto *g = m->graph;
    THAW_TRY(read_opset(r, m));
    THAW_TRY(make_tables(r, g));
    THAW_TRY(read_initializers(r, g));
    THAW_TRY(read_inputs(r, g, height, width));
    r->graph->n_nodes = (int)g->n_node;
    for (size_t i = 0; i < g->n_node; i++)
        THAW_TRY(read_node(r, g->node[i], (int)i));
    THAW_TRY(read_outputs(r, g));
    return thaw_graph_infer(r->graph, r->err);
}

thaw_status thaw_model_parse(thaw_model *model, const void *bytes, size_t n, const char *path,
                             int64_t height, int64_t width, thaw_error *err) {
    *model = (thaw_model){.file_bytes = n};
    model->graph.arena = &model->arena;
    reader r = {.model = model, .graph = &model->graph, .err = err};
    model->path = thaw_arena_printf(&model->arena, "%s", path);
    if (!model->path) return thaw_fail_memory(err, "to read the model %s", path);
    THAW_TRY(unpack(&r, bytes, n));
    const Onnx__ModelProto *m = model->proto;
    model->producer = thaw_arena_printf(
        &model->arena, "%s%s%s", m->producer_name ? m->producer_name : "unknown",
        m->producer_version ? " " : "", m->producer_version ? m->producer_version : "");
    if (!model->producer) return no_memory(&r);
    thaw_status status = read_graph(&r, m, height, width);
    if (status == THAW_OK || !err || strstr(err->text, path)) return status;
    return thaw_fail_within(err, status, "%s", path);
}

thaw_status thaw_model_read(thaw_model *model, const char *path, int64_t height, int64_t width,
                            thaw_error *err) {
    *model = (thaw_model){0};
    thaw_arena arena = {0};
    char *bytes;
    size_t n;
    thaw_status status = thaw_file_read(path, SIZE_MAX, &arena, &bytes, &n, err);
    status = status == THAW_OK ? thaw_model_parse(model, bytes, n, path, height, width, err)
                               : thaw_fail_within(err, status, "cannot read the model %s", path);
    thaw_arena_free(&arena);
    return status;
}

thaw_status thaw_model_choose_output(thaw_model *model, const char *name, thaw_error *err) {
    thaw_graph *graph = &model->graph;
    thaw_text list = {0};
    for (int i = 0; i < model->n_outputs; i++) {
        const thaw_value *value = &graph->values[model->outputs[i]];
        if (strcmp(value->name, name) == 0)
            return thaw_graph_set_output(graph, model->outputs[i], err);
        thaw_text_add(&list, "%s%.*s", i ? ", " : "", thaw_utf8_prefix(value->name, 60),
                      value->name);
    }
    return thaw_fail(err, THAW_ERR_USAGE, "output = %s: %s has no output of that name; it has %s",
                     name, model->path, list.text);
}

const char *thaw_model_metadata(const thaw_model *model, const char *key) {
    const Onnx__ModelProto *m = model->proto;
    return m ? thaw__onnx_entry(m->n_metadata_props, m->metadata_props, key) : NULL;
}

void thaw_model_free(thaw_model *model) {
    if (model->proto) onnx__model_proto__free_unpacked(model->proto, NULL);
    thaw_arena_free(&model->arena);
    *model = (thaw_model){0};
}
