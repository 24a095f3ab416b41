#include "safetensors.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "json.h"

static size_t bytes_of(const thaw_value *v) {
    return (size_t)thaw_value_elements(v) * sizeof(float);
}

/* Calls visit for each tensor, in the graph's order. */
static void each_tensor(const thaw_model *model, int first, uint8_t *seen,
                        void (*visit)(void *ctx, const thaw_value *v), void *ctx) {
    const thaw_graph *graph = &model->graph;
    memset(seen, 0, (size_t)graph->n_values);
    for (int i = first + 1; i < graph->n_nodes; i++) {
        const thaw_node *node = &graph->nodes[i];
        for (int k = 0; node->live && k < node->n_in; k++) {
            const thaw_value *v = thaw_node_in(graph, node, k);
            bool wanted = v && v->data && v->dtype == THAW_F32 && v->name[0];
            if (!wanted || seen[node->in[k]]) continue;
            seen[node->in[k]] = 1;
            visit(ctx, v);
        }
    }
}

typedef struct description {
    thaw_json json;
    size_t at;
    int n;
} description;

static void describe(void *ctx, const thaw_value *v) {
    description *d = ctx;
    json_t *one = thaw_json_object(&d->json, d->json.root, v->name);
    thaw_json_text(&d->json, one, "dtype", "F32");
    json_t *shape = thaw_json_array(&d->json, one, "shape");
    for (int i = 0; i < v->rank; i++)
        thaw_json_integer(&d->json, shape, NULL, v->dims[i]);
    json_t *offsets = thaw_json_array(&d->json, one, "data_offsets");
    thaw_json_integer(&d->json, offsets, NULL, (int64_t)d->at);
    d->at += bytes_of(v);
    thaw_json_integer(&d->json, offsets, NULL, (int64_t)d->at);
    d->n++;
}

typedef struct output {
    FILE *stream;
    bool failed;
} output;

static void put(void *ctx, const thaw_value *v) {
    output *o = ctx;
    size_t n = bytes_of(v);
    o->failed |= n && fwrite(v->data, n, 1, o->stream) != 1;
}

thaw_status thaw_safetensors_write(const thaw_model *model, int first, const char *path, int *n,
                                   thaw_error *err) {
    uint8_t *seen = malloc((size_t)model->graph.n_values + 1);
    if (!seen) return thaw_fail_memory(err, "for the tensors' names");
    description d = {.json = thaw_json_begin()};
    each_tensor(model, first, seen, describe, &d);
    char *text = NULL;
    thaw_status status = thaw_json_print(&d.json, THAW_JSON_LINE, 17, path, &text, err);
    thaw_json_free(&d.json);
    thaw_new_file file = {0};
    if (status == THAW_OK) status = thaw_file_begin(&file, path, err);
    if (status == THAW_OK) {
        /* Blanks behind the JSON, so that the numbers are aligned. */
        size_t length = strlen(text), padded = (length + 7) / 8 * 8;
        uint64_t little = htole64(padded);
        output o = {.stream = file.stream};
        o.failed = fwrite(&little, sizeof little, 1, file.stream) != 1 ||
                   fprintf(file.stream, "%-*s", (int)padded, text) != (int)padded;
        each_tensor(model, first, seen, put, &o);
        if (o.failed) {
            thaw_file_abandon(&file);
            status = thaw_fail(err, THAW_ERR_IO, "cannot write %s: the disk may be full", path);
        } else {
            status = thaw_file_finish(&file, err);
        }
    }
    *n = d.n;
    free(text);
    free(seen);
    return status;
}
