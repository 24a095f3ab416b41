#include "onnx_read.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "graph/ops.h"
#include "half.h"
#include "onnx.pb-c.h"

/* ONNX's TensorProto.DataType. */
enum {
    ONNX_FLOAT = 1,
    ONNX_UINT8 = 2,
    ONNX_INT32 = 6,
    ONNX_INT64 = 7,
    ONNX_BOOL = 9,
    ONNX_FLOAT16 = 10,
    ONNX_DOUBLE = 11,
    ONNX_BFLOAT16 = 16,
};

/* ---- names --------------------------------------------------------------------------------- */

/* Value names to indices: open addressing, twice as many slots as names. */
typedef struct names {
    int *slots; /* Value index, -1: free. */
    size_t mask;
} names;

typedef struct reader {
    thaw_model *model;
    thaw_graph *graph;
    names names;
    int capacity; /* Of graph->values. */
    thaw_error *err;
} reader;

static thaw_status no_memory(const reader *r) {
    return thaw_fail_memory(r->err, "to read the model %s", r->model->path);
}

static int *name_slot(const reader *r, const char *name) {
    size_t at = (size_t)thaw_hash_bytes((thaw_hash){0}, name, strlen(name)).lo & r->names.mask;
    while (r->names.slots[at] >= 0 && strcmp(r->graph->values[r->names.slots[at]].name, name) != 0)
        at = (at + 1) & r->names.mask;
    return &r->names.slots[at];
}

static thaw_status make_tables(reader *r, const Onnx__GraphProto *g) {
    size_t n = 1 + g->n_initializer + g->n_input;
    for (size_t i = 0; i < g->n_node; i++) {
        n += g->node[i]->n_output;
        n += g->node[i]->n_attribute; /* Each may hold a tensor. */
    }
    enum { MOST_NODES = 1 << 16 }; /* Some analyses take time quadratic in them. */
    if (g->n_node > MOST_NODES || n > (size_t)INT32_MAX / 4)
        return thaw_fail(r->err, THAW_ERR_UNSUPPORTED,
                         "%s: %zu nodes; Thaw reads networks of up to %d", r->model->path,
                         g->n_node, MOST_NODES);
    size_t slots = 16;
    while (slots < 2 * n)
        slots *= 2;
    thaw_graph *graph = r->graph;
    graph->values = thaw_arena_array(graph->arena, n, sizeof *graph->values);
    r->names.slots = thaw_arena_array(graph->arena, slots, sizeof(int));
    graph->nodes = thaw_arena_array(graph->arena, g->n_node, sizeof *graph->nodes);
    if (!graph->values || !r->names.slots || !graph->nodes) return no_memory(r);
    r->capacity = (int)n;
    r->names.mask = slots - 1;
    memset(r->names.slots, -1, slots * sizeof(int));
    return THAW_OK;
}

/* A new value; its name must be new, too. */
static thaw_status add_value(reader *r, const char *name, int producer, int *index) {
    thaw_graph *graph = r->graph;
    if (graph->n_values == r->capacity) return no_memory(r);
    int *slot = name[0] ? name_slot(r, name) : NULL;
    if (slot && *slot >= 0)
        return thaw_fail(r->err, THAW_ERR_FORMAT, "%s: two tensors are called %s", r->model->path,
                         name);
    *index = graph->n_values++;
    graph->values[*index] =
        (thaw_value){.name = name, .rank = -1, .producer = producer, .root = *index};
    if (slot) *slot = *index;
    return THAW_OK;
}

/* ---- tensors ------------------------------------------------------------------------------- */

static const char *entry(size_t n, Onnx__StringStringEntryProto **entries, const char *key) {
    for (size_t i = 0; i < n; i++)
        if (entries[i]->key && entries[i]->value && strcmp(entries[i]->key, key) == 0)
            return entries[i]->value;
    return NULL;
}

/* External data may only lie in the model's own folder or below it. */
static bool location_is_safe(const char *location) {
    if (!location[0] || location[0] == '/' || strchr(location, '\\')) return false;
    for (const char *part = location; part; part = strchr(part, '/')) {
        if (*part == '/') part++;
        if (strncmp(part, "..", 2) == 0 && (part[2] == '/' || part[2] == 0)) return false;
    }
    return true;
}

static bool parse_size(const char *text, uint64_t absent, uint64_t *value) {
    if (!text) return *value = absent, true;
    char *end;
    errno = 0;
    *value = strtoull(text, &end, 10);
    return end != text && !*end && !errno && text[0] != '-';
}

/* Reads a tensor's bytes from its file into the arena. */
static thaw_status read_external(reader *r, const Onnx__TensorProto *t, size_t expected,
                                 const void **data, const char *name) {
    const char *location = entry(t->n_external_data, t->external_data, "location");
    if (!location || !location_is_safe(location))
        return thaw_fail(r->err, THAW_ERR_FORMAT,
                         "%s: tensor %s keeps its data in \"%s\"; only files in the model's own "
                         "folder are read",
                         r->model->path, name, location ? location : "");
    uint64_t offset, length;
    if (!parse_size(entry(t->n_external_data, t->external_data, "offset"), 0, &offset) ||
        !parse_size(entry(t->n_external_data, t->external_data, "length"), expected, &length) ||
        length < expected || offset > INT64_MAX - expected)
        return thaw_fail(r->err, THAW_ERR_FORMAT,
                         "%s: tensor %s has an external offset or length that does not fit its "
                         "%zu bytes",
                         r->model->path, name, expected);
    const char *slash = strrchr(r->model->path, '/');
    int folder = slash ? (int)(slash - r->model->path) + 1 : 0;
    char *path = thaw_arena_printf(r->graph->arena, "%.*s%s", folder, r->model->path, location);
    if (!path) return no_memory(r);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* A FIFO must not hang it. */
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        if (fd >= 0) close(fd);
        return thaw_fail(r->err, THAW_ERR_IO,
                         "%s: tensor %s lies in %s, which cannot be read (%s); copy that file "
                         "beside the model",
                         r->model->path, name, path, fd < 0 ? strerror(errno) : "not a file");
    }
    bool fits = (uint64_t)info.st_size >= offset + expected;
    void *bytes = fits ? thaw_arena_alloc(r->graph->arena, expected) : NULL;
    bool whole = bytes && thaw_file_read_at(fd, bytes, expected, (off_t)offset);
    close(fd);
    if (fits && !bytes) return no_memory(r);
    if (!whole)
        return thaw_fail(r->err, THAW_ERR_FORMAT,
                         "%s: %s ends before tensor %s (%zu bytes at %llu)", r->model->path, path,
                         name, expected, (unsigned long long)offset);
    *data = bytes;
    return THAW_OK;
}

static float float_from_half(uint16_t h) {
    float f;
    thaw_float_from_half(&h, 1, &f);
    return f;
}

static float float_from_bf16(uint16_t h) {
    uint32_t bits = (uint32_t)h << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static size_t onnx_type_bytes(int type) {
    switch (type) {
        case ONNX_FLOAT:
        case ONNX_INT32:
            return 4;
        case ONNX_INT64:
        case ONNX_DOUBLE:
            return 8;
        case ONNX_FLOAT16:
        case ONNX_BFLOAT16:
            return 2;
        case ONNX_UINT8:
        case ONNX_BOOL:
            return 1;
        default:
            return 0;
    }
}

/* One element of raw little-endian data as a double: exact for every type here but large int64. */
static double raw_element(const void *raw, int type, int64_t i) {
    switch (type) {
        case ONNX_DOUBLE: {
            double d;
            memcpy(&d, (const char *)raw + 8 * i, sizeof d);
            return d;
        }
        case ONNX_FLOAT16:
        case ONNX_BFLOAT16: {
            uint16_t h;
            memcpy(&h, (const char *)raw + 2 * i, sizeof h);
            return type == ONNX_FLOAT16 ? float_from_half(h) : float_from_bf16(h);
        }
        case ONNX_INT32: {
            int32_t v;
            memcpy(&v, (const char *)raw + 4 * i, sizeof v);
            return v;
        }
        default:
            return ((const uint8_t *)raw)[i];
    }
}

/* The i-th element of a tensor that keeps its values in a typed field instead of raw bytes. */
static double typed_element(const Onnx__TensorProto *t, int64_t i) {
    switch (t->data_type) {
        case ONNX_FLOAT:
            return t->float_data[i];
        case ONNX_DOUBLE:
            return t->double_data[i];
        case ONNX_FLOAT16:
            return float_from_half((uint16_t)t->int32_data[i]);
        case ONNX_BFLOAT16:
            return float_from_bf16((uint16_t)t->int32_data[i]);
        default:
            return t->int32_data[i];
    }
}

static size_t typed_count(const Onnx__TensorProto *t) {
    switch (t->data_type) {
        case ONNX_FLOAT:
            return t->n_float_data;
        case ONNX_DOUBLE:
            return t->n_double_data;
        case ONNX_INT64:
            return t->n_int64_data;
        default:
            return t->n_int32_data;
    }
}

/* Elements as float or int64, whatever the file's type; raw data of these two is used in place. */
static thaw_status convert_elements(reader *r, const Onnx__TensorProto *t, const void *raw,
                                    int64_t n, thaw_value *value) {
    bool integer = value->dtype == THAW_I64;
    if (raw && (t->data_type == ONNX_FLOAT || t->data_type == ONNX_INT64) &&
        (uintptr_t)raw % 8 == 0) {
        value->data = raw;
        return THAW_OK;
    }
    void *data = thaw_arena_array(r->graph->arena, (size_t)n, integer ? 8 : 4);
    if (!data) return no_memory(r);
    value->data = data;
    if (raw && (t->data_type == ONNX_FLOAT || t->data_type == ONNX_INT64)) {
        memcpy(data, raw, (size_t)n * onnx_type_bytes(t->data_type));
    } else if (!raw && t->data_type == ONNX_INT64) {
        for (int64_t i = 0; i < n; i++)
            ((int64_t *)data)[i] = t->int64_data[i];
    } else {
        for (int64_t i = 0; i < n; i++) {
            double d = raw ? raw_element(raw, t->data_type, i) : typed_element(t, i);
            if (integer)
                ((int64_t *)data)[i] = (int64_t)d;
            else
                ((float *)data)[i] = (float)d;
        }
    }
    return THAW_OK;
}

static thaw_status read_tensor(reader *r, const Onnx__TensorProto *t, thaw_value *value) {
    size_t size = onnx_type_bytes(t->data_type);
    if (!size)
        return thaw_fail(r->err, THAW_ERR_UNSUPPORTED,
                         "%s: tensor %s has element type %d (quantised, string or complex), which "
                         "Thaw does not read; export a float model",
                         r->model->path, value->name, t->data_type);
    if (t->n_dims > THAW_MAX_RANK)
        return thaw_fail(r->err, THAW_ERR_UNSUPPORTED, "%s: tensor %s has %zu dimensions",
                         r->model->path, value->name, t->n_dims);
    value->rank = (int)t->n_dims;
    bool negative = false; /* THAW_BATCH is, too: no constant has it. */
    for (size_t i = 0; i < t->n_dims; i++) {
        value->dims[i] = t->dims[i];
        negative |= t->dims[i] < 0;
    }
    int64_t n = thaw_value_elements(value);
    if (negative || n < 0 || n > INT64_MAX / 16)
        return thaw_fail(r->err, THAW_ERR_FORMAT, "%s: tensor %s has an impossible size",
                         r->model->path, value->name);
    bool floating = t->data_type == ONNX_FLOAT || t->data_type == ONNX_DOUBLE ||
                    t->data_type == ONNX_FLOAT16 || t->data_type == ONNX_BFLOAT16;
    value->dtype = floating ? THAW_F32 : THAW_I64;
    const void *raw = NULL;
    size_t expected = (size_t)n * size;
    if (t->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL) {
        THAW_TRY(read_external(r, t, expected, &raw, value->name));
    } else if (t->has_raw_data) {
        raw = t->raw_data.data ? (const void *)t->raw_data.data : "";
        if (t->raw_data.len != expected) raw = NULL;
    }
    if (!raw && typed_count(t) != (size_t)n)
        return thaw_fail(r->err, THAW_ERR_FORMAT,
                         "%s: tensor %s should hold %lld values and holds another number; the file "
                         "is damaged",
                         r->model->path, value->name, (long long)n);
    return convert_elements(r, t, raw, n, value);
}

/* ---- nodes --------------------------------------------------------------------------------- */

static thaw_status read_attribute(reader *r, const Onnx__AttributeProto *a, int producer,
                                  thaw_attr *attr) {
    *attr = (thaw_attr){.name = a->name ? a->name : "", .i = a->i, .f = a->f, .tensor = -1};
    if (a->has_s) {
        attr->s = thaw_arena_string(r->graph->arena, (const char *)a->s.data, a->s.len);
        if (!attr->s) return no_memory(r);
    }
    attr->ints = a->ints; /* NULL when there are none; a file that has both kinds has ints. */
    attr->floats = a->n_ints ? NULL : a->floats;
    attr->n = a->n_ints ? a->n_ints : a->n_floats;
    if (!a->t) return THAW_OK;
    THAW_TRY(add_value(r, "", producer, &attr->tensor));
    return read_tensor(r, a->t, &r->graph->values[attr->tensor]);
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
        node->in[i] = name[0] ? *name_slot(r, name) : -1;
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

/* The one graph input that is no initializer becomes an N,C,H,W (or N,H,W,C) picture. */
static thaw_status read_input(reader *r, const Onnx__ValueInfoProto *info, int64_t height,
                              int64_t width) {
    thaw_model *model = r->model;
    const Onnx__TensorShapeProto *shape =
        info->type && info->type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE &&
                info->type->tensor_type
            ? info->type->tensor_type->shape
            : NULL;
    if (!shape || shape->n_dim != 4)
        return thaw_fail(r->err, THAW_ERR_UNSUPPORTED,
                         "%s: input %s is not a batch of pictures (four dimensions)", model->path,
                         info->name);
    int64_t d[4];
    for (size_t i = 0; i < 4; i++)
        d[i] = declared_dim(shape, i);
    bool nhwc = (d[3] == 3 || d[3] == 1) && d[1] != 3 && d[1] != 1;
    model->channels = nhwc ? d[3] : d[1];
    if (model->channels != 1 && model->channels != 3)
        return thaw_fail(r->err, THAW_ERR_UNSUPPORTED,
                         "%s: input %s has %lld channels; Thaw feeds pictures of 1 or 3",
                         model->path, info->name, (long long)model->channels);
    model->height = nhwc ? d[1] : d[2];
    model->width = nhwc ? d[2] : d[3];
    if (!model->height) model->height = height ? height : 224;
    if (!model->width) model->width = width ? width : 224;
    if (model->height > 16384 || model->width > 16384)
        return thaw_fail(r->err, THAW_ERR_UNSUPPORTED, "%s: input %s is larger than 16384 pixels",
                         model->path, info->name);
    r->graph->fixed_batch = d[0];
    r->graph->input_nhwc = nhwc;
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
    int index = name ? *name_slot(r, name) : -1;
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

static thaw_status read_output(reader *r, const Onnx__GraphProto *g) {
    /* Of several outputs (auxiliary classifiers) the first is the one that counts. */
    const char *name = g->n_output ? g->output[0]->name : NULL;
    int index = name && name[0] ? *name_slot(r, name) : -1;
    if (index < 0)
        return thaw_fail(r->err, THAW_ERR_FORMAT, "%s: the model's output %s is made by no node",
                         r->model->path, name ? name : "(none)");
    r->graph->output = index;
    return THAW_OK;
}

static thaw_status read_opset(reader *r, const Onnx__ModelProto *m) {
    enum { OLDEST = 7, NEWEST = 22 };
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

static thaw_status read_graph(reader *r, const Onnx__ModelProto *m, int64_t height, int64_t width) {
    const Onnx__GraphProto *g = m->graph;
    THAW_TRY(read_opset(r, m));
    THAW_TRY(make_tables(r, g));
    for (size_t i = 0; i < g->n_initializer; i++) {
        const Onnx__TensorProto *t = g->initializer[i];
        int index;
        THAW_TRY(add_value(r, t->name ? t->name : "", -1, &index));
        THAW_TRY(read_tensor(r, t, &r->graph->values[index]));
    }
    THAW_TRY(read_inputs(r, g, height, width));
    r->graph->n_nodes = (int)g->n_node;
    for (size_t i = 0; i < g->n_node; i++)
        THAW_TRY(read_node(r, g->node[i], (int)i));
    THAW_TRY(read_output(r, g));
    return thaw_graph_infer(r->graph, r->err);
}

thaw_status thaw_model_parse(thaw_model *model, const void *bytes, size_t n, const char *path,
                             int64_t height, int64_t width, thaw_error *err) {
    *model = (thaw_model){.file_bytes = n};
    model->graph.arena = &model->arena;
    reader r = {.model = model, .graph = &model->graph, .err = err};
    model->path = thaw_arena_printf(&model->arena, "%s", path);
    if (!model->path) return thaw_fail_memory(err, "to read the model %s", path);
    model->proto = onnx__model_proto__unpack(NULL, n, bytes);
    if (!model->proto || !model->proto->graph || !model->proto->n_opset_import)
        return thaw_fail(err, THAW_ERR_FORMAT,
                         "%s is not an ONNX model, or only a part of one (%zu bytes)", path, n);
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

const char *thaw_model_metadata(const thaw_model *model, const char *key) {
    return model->proto ? entry(model->proto->n_metadata_props, model->proto->metadata_props, key)
                        : NULL;
}

void thaw_model_free(thaw_model *model) {
    if (model->proto) onnx__model_proto__free_unpacked(model->proto, NULL);
    thaw_arena_free(&model->arena);
    *model = (thaw_model){0};
}
