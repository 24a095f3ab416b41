#include "kept_head.h"

#include <math.h>
#include <string.h>

#include "file.h"

enum { BATCH = 64 }; /* Pictures that the old head looks at together. */

/* ---- what is kept --------------------------------------------------------------------------- */

/* The node that makes a value; NULL: none does. */
static const thaw_node *maker(const thaw_graph *graph, int value) {
    for (int i = 0; i < graph->n_nodes; i++) {
        const thaw_node *node = &graph->nodes[i];
        for (int k = 0; k < node->n_out && !node->alias; k++)
            if (node->out[k] == value) return node;
    }
    return NULL;
}

/* The value whose numbers are computed, and what makes probabilities of them: what follows may be a
 * softmax, which no trunk has. */
static int choose_numbers(thaw_kept_head *kept, const thaw_network *n) {
    const thaw_graph *graph = &n->model.graph;
    int output = graph->values[graph->output].root;
    const thaw_node *last = maker(graph, output);
    bool single = thaw_value_elements(&graph->values[output]) == 1;
    bool softmax = last && strcmp(last->type, "Softmax") == 0;
    bool sigmoid = last && strcmp(last->type, "Sigmoid") == 0;
    kept->form = softmax || sigmoid ? THAW_KEPT_AS_IS
                 : single           ? THAW_KEPT_SIGMOID
                                    : THAW_KEPT_SOFTMAX;
    if (!softmax || output == n->head_cut->value) return output;
    kept->form = THAW_KEPT_SOFTMAX;
    return graph->values[last->in[0]].root;
}

static thaw_status refuse(const thaw_network *n, const char *why, thaw_error *err) {
    return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                     "head.keep_old: %s of %s; leave it out, or choose another old head by head.at "
                     "and output",
                     why, n->model.path);
}

static thaw_status check(const thaw_network *n, thaw_error *err) {
    const thaw_graph *graph = &n->model.graph;
    const thaw_value *output = &graph->values[graph->output];
    if (n->cuts.head < 0) return refuse(n, "there is no old head at the end", err);
    if (thaw_value_elements(output) != thaw_value_channels(output))
        return refuse(n, "a row of scores is needed, and a map is the output", err);
    if (n->head_pooled)
        return refuse(n,
                      "the old head reads every place of a feature map, of which only the mean is "
                      "cached for the new head: this cannot be done with the last layer",
                      err);
    return THAW_OK;
}

/* Kernels that run any layer: the device's, or the processor's beside it. */
static thaw_status choose_backend(thaw_kept_head *kept, const thaw_backend *device,
                                  thaw_error *err) {
    kept->backend = device;
    if (!device->kernels->memory) return THAW_OK;
    kept->backend = &kept->cpu;
    return thaw_backend_cpu_open(&kept->cpu, device->threads, err);
}

static thaw_status open_through(thaw_kept_head *kept, const thaw_network *n, thaw_arena *arena,
                                thaw_error *err) {
    thaw_tune_job job = {.backend = kept->backend,
                         .graph = (thaw_graph *)&n->model.graph, /* Read: nothing is trained. */
                         .from = n->head_cut->value,
                         .to = kept->numbers_at,
                         .options = {.batch = BATCH}};
    return thaw_through_open(&kept->through, &job, BATCH, arena, err);
}

thaw_status thaw_kept_head_open(thaw_kept_head *kept, const thaw_network *n,
                                const thaw_backend *device, thaw_arena *arena, thaw_error *err) {
    const thaw_graph *graph = &n->model.graph;
    THAW_TRY(check(n, err));
    THAW_TRY(choose_backend(kept, device, err));
    kept->output = graph->values[graph->output].name;
    kept->numbers_at = choose_numbers(kept, n);
    kept->width = thaw_value_elements(&graph->values[kept->numbers_at]);
    size_t n_labels = kept->width == 1 ? 2 : (size_t)kept->width;
    if (kept->labels && kept->n_labels != n_labels)
        return thaw_fail(err, THAW_ERR_FORMAT, "%s: the old head has %zu answers, but %zu labels",
                         n->model.path, n_labels, kept->n_labels);
    kept->n_labels = n_labels;
    kept->numbers = thaw_arena_array(arena, (size_t)(BATCH * kept->width), sizeof(float));
    if (!kept->numbers) return thaw_fail_memory(err, "for the old head");
    return open_through(kept, n, arena, err);
}

thaw_status thaw_kept_head_renew(thaw_kept_head *kept, const thaw_network *n, thaw_arena *arena,
                                 thaw_error *err) {
    thaw_through_close(&kept->through);
    return open_through(kept, n, arena, err);
}

void thaw_kept_head_close(thaw_kept_head *kept) {
    thaw_through_close(&kept->through);
    thaw_backend_close(&kept->cpu);
}

/* ---- labels --------------------------------------------------------------------------------- */

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "for the old head's labels");
}

static thaw_status number_labels(size_t n, const char **labels, thaw_arena *arena,
                                 thaw_error *err) {
    for (size_t i = 0; i < n; i++) {
        labels[i] = thaw_arena_printf(arena, "%zu", i);
        if (!labels[i]) return no_memory(err);
    }
    return THAW_OK;
}

/* A line each; blanks at a line's end are no part of a name. */
static thaw_status read_labels(size_t n, const char *path, const char **labels, thaw_arena *arena,
                               thaw_error *err) {
    enum { MOST = 16 << 20 };
    char *bytes, *rest;
    size_t size, lines = 0;
    THAW_TRY(thaw_file_read(path, MOST, arena, &bytes, &size, err));
    for (char *line = strtok_r(bytes, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        size_t length = strlen(line);
        while (length > 0 && strchr(" \t\r", line[length - 1]))
            line[--length] = 0;
        if (length == 0) continue;
        if (!thaw_json_holds(line))
            return thaw_fail(err, THAW_ERR_DATA, "head.old_labels: %s: line %zu is not UTF-8", path,
                             lines + 1);
        if (lines < n) labels[lines] = line;
        lines++;
    }
    if (lines == n) return THAW_OK;
    return thaw_fail(err, THAW_ERR_DATA,
                     "head.old_labels: %s has %zu lines, but the old head has %zu answers; a line "
                     "each is expected, in their order",
                     path, lines, n);
}

/* The file's own, which are those of its first output. False: it has none, or other ones. */
static bool own_labels(size_t n, const thaw_model *model, const char **labels, thaw_arena *arena) {
    const char *text = thaw_model_metadata(model, "thaw.labels");
    if (!text || model->graph.output != model->outputs[0]) return false;
    json_t *list = json_loads(text, 0, NULL);
    bool fit = json_array_size(list) == n;
    for (size_t i = 0; fit && i < n; i++) {
        const char *label = json_string_value(json_array_get(list, i));
        labels[i] = label ? thaw_arena_string(arena, label, strlen(label)) : NULL;
        fit = labels[i] != NULL;
    }
    json_decref(list);
    return fit;
}

thaw_status thaw_kept_head_label(thaw_kept_head *kept, const thaw_network *n, const char *path,
                                 thaw_arena *arena, thaw_error *err) {
    const char **labels = thaw_arena_array(arena, kept->n_labels, sizeof *labels);
    if (!labels) return no_memory(err);
    kept->labels = labels;
    if (*path) return read_labels(kept->n_labels, path, labels, arena, err);
    if (own_labels(kept->n_labels, &n->model, labels, arena)) return THAW_OK;
    return number_labels(kept->n_labels, labels, arena, err);
}

/* ---- answers -------------------------------------------------------------------------------- */

static thaw_kept_answer answer(const thaw_kept_head *kept, const float *numbers) {
    if (kept->width == 1) {
        float yes = kept->form == THAW_KEPT_SIGMOID ? 1 / (1 + expf(-numbers[0])) : numbers[0];
        return (thaw_kept_answer){yes >= 0.5f, yes >= 0.5f ? yes : 1 - yes};
    }
    int64_t best = 0;
    for (int64_t k = 1; k < kept->width; k++)
        if (numbers[k] > numbers[best]) best = k;
    if (kept->form == THAW_KEPT_AS_IS) return (thaw_kept_answer){best, numbers[best]};
    double sum = 0;
    for (int64_t k = 0; k < kept->width; k++)
        sum += exp((double)numbers[k] - numbers[best]);
    return (thaw_kept_answer){best, (float)(1 / sum)};
}

thaw_status thaw_kept_head_answer(thaw_kept_head *kept, const thaw_rows *rows, int64_t begin,
                                  int64_t n, thaw_kept_answer *answers, thaw_error *err) {
    thaw_rows numbers = thaw_through_rows(&kept->through, rows);
    for (int64_t start = 0; start < n; start += BATCH) {
        int64_t index[BATCH], M = n - start < BATCH ? n - start : BATCH;
        for (int64_t m = 0; m < M; m++)
            index[m] = begin + start + m;
        THAW_TRY(numbers.gather(numbers.ctx, index, M, kept->numbers, err));
        for (int64_t m = 0; m < M; m++)
            answers[start + m] = answer(kept, kept->numbers + m * kept->width);
    }
    return THAW_OK;
}

/* ---- in files ------------------------------------------------------------------------------- */

void thaw_kept_head_json(thaw_json *json, json_t *into, const thaw_kept_head *kept) {
    thaw_json_text(json, into, "output", kept->output);
    thaw_json_boolean(json, into, "exact", kept->exact);
    json_t *labels = thaw_json_array(json, into, "labels");
    for (size_t i = 0; i < kept->n_labels; i++)
        thaw_json_text(json, labels, NULL, kept->labels[i]);
}

thaw_status thaw_kept_head_parse(thaw_kept_head *kept, const json_t *json, const char *where,
                                 thaw_arena *arena, thaw_error *err) {
    const json_t *list = json_object_get(json, "labels");
    kept->output = json_string_value(json_object_get(json, "output"));
    kept->exact = json_is_true(json_object_get(json, "exact"));
    kept->n_labels = json_array_size(list);
    const char **labels = thaw_arena_array(arena, kept->n_labels, sizeof *labels);
    if (!labels) return no_memory(err);
    bool good = kept->output != NULL && kept->n_labels > 0;
    for (size_t i = 0; i < kept->n_labels; i++)
        good &= (labels[i] = json_string_value(json_array_get(list, i))) != NULL;
    kept->labels = labels;
    return good ? THAW_OK
                : thaw_fail(err, THAW_ERR_FORMAT, "%s: what it says of the old head is damaged",
                            where);
}
