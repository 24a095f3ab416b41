#include "onnx_functions.h"

#include <stdio.h>
#include <string.h>

#include "graph/ops.h"
#include "utf8.h"

enum {
    DEEPEST = 32, /* Functions that call functions. */
    /* Each is looked for in lists, so that long ones would take forever. */
    MOST_FUNCTIONS = 4096,
    MOST_NAMES = 1024, /* Of a function's inputs, outputs or attributes. */
};

/* A model whose calls are being replaced. */
typedef struct inliner {
    Onnx__ModelProto *model;
    const char *path;
    size_t most_nodes;
    ProtobufCAllocator *allocator;
    Onnx__NodeProto **nodes; /* [n], of which the graph becomes. */
    size_t n, capacity;
    size_t calls; /* That were replaced. */
    thaw_error *err;
} inliner;

/* A call that is being replaced. */
typedef struct call {
    const Onnx__NodeProto *node;
    const Onnx__FunctionProto *function;
    size_t number;
} call;

static thaw_status no_memory(const inliner *in) {
    return thaw_fail_memory(in->err, "to read the model %s", in->path);
}

/* ---- which function ------------------------------------------------------------------------- */

static const char *text(const char *s) {
    return s ? s : "";
}

static bool is_default(const char *domain) {
    return !*text(domain) || strcmp(domain, "ai.onnx") == 0;
}

static bool same_domain(const char *a, const char *b) {
    return is_default(a) ? is_default(b) : strcmp(a, text(b)) == 0;
}

static const Onnx__FunctionProto *find(const inliner *in, const Onnx__NodeProto *node) {
    for (size_t i = 0; i < in->model->n_functions; i++) {
        const Onnx__FunctionProto *f = in->model->functions[i];
        if (strcmp(text(f->name), text(node->op_type)) == 0 &&
            same_domain(f->domain, node->domain) &&
            strcmp(text(f->overload), text(node->overload)) == 0)
            return thaw_op_find(text(node->domain), text(node->op_type)) ? NULL : f;
    }
    return NULL;
}

static int64_t default_opset(size_t n, Onnx__OperatorSetIdProto *const *imports) {
    int64_t version = 0;
    for (size_t i = 0; i < n; i++)
        if (is_default(imports[i]->domain)) version = imports[i]->version;
    return version;
}

static thaw_status check(const inliner *in, const call *c) {
    const Onnx__FunctionProto *f = c->function;
    int64_t own = default_opset(f->n_opset_import, f->opset_import);
    int64_t file = default_opset(in->model->n_opset_import, in->model->opset_import);
    const char *name = text(f->name);
    if (f->n_input + f->n_output > MOST_NAMES || f->n_attribute_proto > MOST_NAMES ||
        c->node->n_attribute > MOST_NAMES)
        return thaw_fail(in->err, THAW_ERR_UNSUPPORTED,
                         "%s: its function %.*s has more than %d inputs and outputs, or attributes",
                         in->path, thaw_utf8_prefix(name, 80), name, MOST_NAMES);
    if (own && own != file)
        return thaw_fail(in->err, THAW_ERR_UNSUPPORTED,
                         "%s: its function %.*s is of opset %lld, and the file of %lld; export the "
                         "model with functions inlined (onnx.inliner)",
                         in->path, thaw_utf8_prefix(name, 80), name, (long long)own,
                         (long long)file);
    if (c->node->n_input <= f->n_input && c->node->n_output <= f->n_output) return THAW_OK;
    return thaw_fail(
        in->err, THAW_ERR_FORMAT,
        "%s: a node calls the function %.*s with %zu inputs for %zu outputs, and it has "
        "%zu and %zu",
        in->path, thaw_utf8_prefix(name, 80), name, c->node->n_input, c->node->n_output, f->n_input,
        f->n_output);
}

/* ---- copies --------------------------------------------------------------------------------- */

static void *take(const inliner *in, size_t n) {
    return in->allocator->alloc(in->allocator->allocator_data, n);
}

static void give(const inliner *in, void *memory) {
    if (memory) in->allocator->free(in->allocator->allocator_data, memory);
}

/* A message as another of its own; NULL: no memory. */
static ProtobufCMessage *copy(const inliner *in, const ProtobufCMessage *from) {
    size_t n = protobuf_c_message_get_packed_size(from);
    uint8_t *packed = take(in, n + 1);
    if (packed) protobuf_c_message_pack(from, packed);
    ProtobufCMessage *to =
        packed ? protobuf_c_message_unpack(from->descriptor, in->allocator, n, packed) : NULL;
    give(in, packed);
    return to;
}

/* The text takes the place of another, which is freed. False: no memory. */
static bool replace(const inliner *in, char **place, const char *with) {
    size_t n = strlen(with) + 1;
    char *copied = take(in, n);
    if (!copied) return false;
    memcpy(copied, with, n);
    give(in, *place);
    *place = copied;
    return true;
}

/* A name inside of a function: that of the call, or one that only this call has. */
static bool rename_value(const inliner *in, const call *c, char **name) {
    const Onnx__FunctionProto *f = c->function;
    char own[1024];
    if (!**name) return true; /* Absent. */
    for (size_t i = 0; i < f->n_input; i++)
        if (strcmp(*name, f->input[i]) == 0)
            return replace(in, name, i < c->node->n_input ? c->node->input[i] : "");
    for (size_t i = 0; i < f->n_output && i < c->node->n_output; i++)
        if (strcmp(*name, f->output[i]) == 0 && *c->node->output[i])
            return replace(in, name, c->node->output[i]);
    snprintf(own, sizeof own, "%.200s#%zu/%.700s", text(f->name), c->number, *name);
    return replace(in, name, own);
}

static const Onnx__AttributeProto *find_attribute(size_t n, Onnx__AttributeProto *const *all,
                                                  const char *name) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(text(all[i]->name), name) == 0) return all[i];
    return NULL;
}

/* An attribute that stands for one of the call's becomes that, or the function's default; where there is neither, it
 * is absent. */
static thaw_status resolve(inliner *in, const call *c, Onnx__AttributeProto **attribute) {
    const char *name = (*attribute)->ref_attr_name;
    if (!*text(name)) return THAW_OK;
    const Onnx__AttributeProto *given =
        find_attribute(c->node->n_attribute, c->node->attribute, name);
    if (!given)
        given = find_attribute(c->function->n_attribute_proto, c->function->attribute_proto, name);
    Onnx__AttributeProto *taken = NULL;
    if (given) {
        taken = (Onnx__AttributeProto *)copy(in, &given->base);
        if (!taken || !replace(in, &taken->name, text((*attribute)->name))) {
            onnx__attribute_proto__free_unpacked(taken, in->allocator);
            return no_memory(in);
        }
    }
    onnx__attribute_proto__free_unpacked(*attribute, in->allocator);
    *attribute = taken;
    return THAW_OK;
}

static thaw_status adapt(inliner *in, const call *c, Onnx__NodeProto *node) {
    char name[512];
    bool good = true;
    size_t kept = 0;
    for (size_t i = 0; i < node->n_input; i++)
        good = good && rename_value(in, c, &node->input[i]);
    for (size_t i = 0; i < node->n_output; i++)
        good = good && rename_value(in, c, &node->output[i]);
    const char *own = *text(node->name) ? node->name : text(node->op_type);
    const char *caller = *text(c->node->name) ? c->node->name : text(c->function->name);
    snprintf(name, sizeof name, "%.240s/%.240s", caller, own);
    if (!good || !replace(in, &node->name, name)) return no_memory(in);
    thaw_status status = THAW_OK;
    for (size_t i = 0; i < node->n_attribute; i++) {
        if (status == THAW_OK) status = resolve(in, c, &node->attribute[i]);
        if (node->attribute[i]) node->attribute[kept++] = node->attribute[i];
    }
    node->n_attribute = kept;
    return status;
}

/* ---- the graph ------------------------------------------------------------------------------ */

/* Takes the node over, also when it fails. */
static thaw_status append(inliner *in, Onnx__NodeProto *node) {
    thaw_status status = THAW_OK;
    if (in->n == in->capacity) {
        size_t capacity = 2 * in->capacity + 16;
        Onnx__NodeProto **nodes = take(in, capacity * sizeof(Onnx__NodeProto *));
        if (nodes && in->n) memcpy(nodes, in->nodes, in->n * sizeof(Onnx__NodeProto *));
        if (nodes) give(in, in->nodes);
        if (nodes) in->nodes = nodes;
        if (nodes) in->capacity = capacity;
        if (!nodes) status = no_memory(in);
    }
    if (status == THAW_OK && in->n >= in->most_nodes)
        status =
            thaw_fail(in->err, THAW_ERR_UNSUPPORTED,
                      "%s: with its functions in the place of their calls it has more than %zu "
                      "nodes, and Thaw reads networks of up to that",
                      in->path, in->most_nodes);
    if (status == THAW_OK)
        in->nodes[in->n++] = node;
    else
        onnx__node_proto__free_unpacked(node, in->allocator);
    return status;
}

static thaw_status append_body(inliner *in, const call *c) {
    THAW_TRY(check(in, c));
    for (size_t i = 0; i < c->function->n_node; i++) {
        Onnx__NodeProto *node = (Onnx__NodeProto *)copy(in, &c->function->node[i]->base);
        if (!node) return no_memory(in);
        thaw_status status = adapt(in, c, node);
        if (status != THAW_OK) onnx__node_proto__free_unpacked(node, in->allocator);
        THAW_TRY(status);
        THAW_TRY(append(in, node));
    }
    return THAW_OK;
}

/* Replaces the calls that there are, whose bodies may have others. What was there before is always in one of
 * both lists. */
static thaw_status replace_calls(inliner *in, bool *any) {
    Onnx__GraphProto *g = in->model->graph;
    thaw_status status = THAW_OK;
    size_t i = 0;
    *any = false;
    for (; i < g->n_node && status == THAW_OK; i++) {
        Onnx__NodeProto *node = g->node[i];
        call c = {node, find(in, node), in->calls};
        g->node[i] = NULL;
        if (!c.function) {
            status = append(in, node);
            continue;
        }
        *any = true;
        in->calls++;
        status = append_body(in, &c);
        onnx__node_proto__free_unpacked(node, in->allocator);
    }
    for (; i < g->n_node; i++)
        onnx__node_proto__free_unpacked(g->node[i], in->allocator);
    give(in, g->node);
    g->node = in->nodes;
    g->n_node = in->n;
    in->nodes = NULL;
    in->n = in->capacity = 0;
    return status;
}

thaw_status thaw__onnx_inline(Onnx__ModelProto *model, const char *path, size_t most_nodes,
                              ProtobufCAllocator *allocator, thaw_error *err) {
    inliner in = {
        .model = model, .path = path, .most_nodes = most_nodes, .allocator = allocator, .err = err};
    bool any = model->n_functions > 0;
    if (model->n_functions > MOST_FUNCTIONS)
        return thaw_fail(err, THAW_ERR_UNSUPPORTED, "%s: %zu functions; Thaw reads up to %d", path,
                         model->n_functions, MOST_FUNCTIONS);
    for (int depth = 0; any && depth < DEEPEST; depth++)
        THAW_TRY(replace_calls(&in, &any));
    if (!any) return THAW_OK;
    return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                     "%s: its functions call one another without an end, or more than %d deep",
                     path, DEEPEST);
}
