#include "bundle.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "archive.h"
#include "file.h"
#include "model_file.h"
#include "novelty_file.h"
#include "onnx/onnx_write.h"
#include "picture/picture_file.h"

enum {
    LARGEST_JSON = 64 << 20,
    ALL_DIGITS = 17, /* What is read back makes the very same features, which the cache shares. */
};
static const double golden_tolerance = 1e-3;

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "for the bundle");
}

/* ---- scoring ------------------------------------------------------------------------------- */

typedef struct golden_file {
    const char *path;
    const void *bytes;
    size_t n;
} golden_file;

thaw_dtype thaw_bundle_precision(const thaw_backend *backend) {
    return backend->kernels->computes(backend->device, THAW_F32) ? THAW_F32 : THAW_F16;
}

/* Into pixels, one after the other. */
static thaw_status decode_golden(const thaw_geometry *g, size_t n, const golden_file *files,
                                 uint8_t *pixels, thaw_error *err) {
    size_t size = (size_t)g->width * (size_t)g->height * (size_t)g->channels;
    thaw_decoder *decoder;
    THAW_TRY(thaw_decoder_create(&decoder, err));
    thaw_status status = THAW_OK;
    for (size_t i = 0; i < n && status == THAW_OK; i++) {
        status = thaw_image_decode(decoder, files[i].bytes, files[i].n, g, pixels + i * size, err);
        if (status != THAW_OK) thaw_fail_within(err, status, "%s", files[i].path);
    }
    thaw_decoder_free(decoder);
    return status;
}

/* scores [n, labels] of up to THAW_GOLDEN pictures, in one batch. */
static thaw_status score_golden(const thaw_bundle *b, size_t n, const golden_file *files,
                                float *scores, thaw_arena *arena, thaw_error *err) {
    const thaw_geometry *g = &b->network.preprocess.geometry;
    size_t size = (size_t)g->width * (size_t)g->height * (size_t)g->channels;
    size_t widest = (size_t)thaw_dense_widest(b->layers, b->n_layers);
    size_t D = (size_t)b->network.n_features;
    uint8_t *pixels = thaw_arena_array(arena, THAW_GOLDEN, size);
    float *features = thaw_arena_array(arena, THAW_GOLDEN, D * sizeof *features);
    float *scratch = thaw_arena_array(arena, 2 * THAW_GOLDEN, widest * sizeof *scratch);
    if (!pixels || !features || !scratch) return no_memory(err);
    THAW_TRY(decode_golden(g, n, files, pixels, err));
    thaw_trunk *trunk;
    THAW_TRY(thaw_network_plan(&b->network, NULL, THAW_GOLDEN, thaw_bundle_precision(b->backend),
                               b->backend, &trunk, err));
    thaw_status status = thaw_trunk_run(trunk, (int64_t)n, pixels, features, err);
    thaw_trunk_free(trunk);
    THAW_TRY(status);
    return thaw_dense_scores(b->backend, b->layers, b->n_layers, (int64_t)n, features, scratch,
                             scores, err);
}

bool thaw_bundle_several(const thaw_bundle *b) {
    return b->n_layers > 0 && b->layers[b->n_layers - 1].sigmoid;
}

/* ---- opening ------------------------------------------------------------------------------- */

static thaw_status read_labels(thaw_bundle *b, const char *path, thaw_error *err) {
    const json_t *labels = json_object_get(b->json, "labels");
    b->n_labels = json_array_size(labels);
    const char **names = thaw_arena_array(&b->arena, b->n_labels, sizeof *names);
    if (!names) return no_memory(err);
    for (size_t i = 0; i < b->n_labels; i++) {
        names[i] = json_string_value(json_array_get(labels, i));
        if (!names[i])
            return thaw_fail(err, THAW_ERR_FORMAT, "%s: label %zu is not a text", path, i);
    }
    b->labels = names;
    if (b->n_labels < 2 || (int64_t)b->n_labels != b->layers[b->n_layers - 1].K)
        return thaw_fail(err, THAW_ERR_FORMAT, "%s has %zu labels, but the model has %lld scores",
                         path, b->n_labels, (long long)b->layers[b->n_layers - 1].K);
    /* No score tells when two names have changed places; the model's own copy does. */
    const char *text = thaw_model_metadata(&b->network.model, "thaw.labels");
    json_t *own = NULL;
    if (text) THAW_TRY(thaw_json_parse(text, strlen(text), path, &own, err));
    bool same = json_equal(own, labels);
    json_decref(own);
    if (same) return THAW_OK;
    return thaw_fail(err, THAW_ERR_MISMATCH,
                     "%s: its labels are not those that the model was trained with; restore it",
                     path);
}

static thaw_status read_golden(const thaw_bundle *b, const char *run, const json_t *golden,
                               thaw_arena *arena, golden_file *files, size_t *n, thaw_error *err) {
    *n = 0;
    if (json_array_size(golden) == 0)
        return thaw_fail(err, THAW_ERR_FORMAT, "%s: bundle.json has no golden pictures", run);
    for (; *n < THAW_GOLDEN && *n < json_array_size(golden); ++*n) {
        const json_t *entry = json_array_get(golden, *n);
        const char *file = json_string_value(json_object_get(entry, "file"));
        if (!file || strstr(file, "..") || file[0] == '/' ||
            json_array_size(json_object_get(entry, "scores")) != b->n_labels)
            return thaw_fail(err, THAW_ERR_FORMAT,
                             "%s: golden picture %zu is damaged in bundle.json", run, *n);
        char *path = thaw_file_join(arena, run, file), *bytes;
        if (!path) return no_memory(err);
        THAW_TRY(thaw_file_read(path, THAW_PICTURE_MOST_BYTES, arena, &bytes, &files[*n].n, err));
        files[*n].path = path;
        files[*n].bytes = bytes;
    }
    return THAW_OK;
}

static thaw_status check_golden(thaw_bundle *b, const char *run, thaw_error *err) {
    const json_t *golden = json_object_get(b->json, "golden");
    thaw_arena arena = {0};
    golden_file files[THAW_GOLDEN];
    size_t n;
    thaw_status status = read_golden(b, run, golden, &arena, files, &n, err);
    float *scores = thaw_arena_array(&arena, THAW_GOLDEN * b->n_labels, sizeof *scores);
    if (status == THAW_OK && !scores) status = no_memory(err);
    if (status == THAW_OK) status = score_golden(b, n, files, scores, &arena, err);
    for (size_t i = 0; status == THAW_OK && i < n; i++) {
        const json_t *expected = json_object_get(json_array_get(golden, i), "scores");
        for (size_t k = 0; k < b->n_labels; k++) {
            double want = json_number_value(json_array_get(expected, k));
            double got = scores[i * b->n_labels + k];
            if (fabs(got - want) <= golden_tolerance) continue;
            status =
                thaw_fail(err, THAW_ERR_MISMATCH,
                          "%s: the golden picture %s scores %.4f for %s, but %.4f when the "
                          "bundle was made; the bundle was changed, or this program decodes or "
                          "computes differently",
                          run, files[i].path, got, b->labels[k], want);
            break;
        }
    }
    thaw_arena_free(&arena);
    return status;
}

/* The file's second output, if the bundle knows of it. */
static thaw_status open_old(thaw_bundle *b, thaw_error *err) {
    thaw_model *model = &b->network.model;
    if (!b->old.output) return THAW_OK;
    int scores = model->graph.output;
    THAW_TRY(thaw_model_choose_output(model, b->old.output, err));
    THAW_TRY(thaw_kept_head_open(&b->old, &b->network, b->backend, &b->arena, err));
    return thaw_graph_set_output(&model->graph, scores, err);
}

/* said: what the user has called the run. */
static thaw_status open_parts(thaw_bundle *b, const char *run, const char *said, thaw_error *err) {
    char *json_path = thaw_file_join(&b->arena, run, "bundle.json");
    char *model_path = thaw_file_join(&b->arena, run, "model.onnx");
    if (!json_path || !model_path) return no_memory(err);
    if (access(json_path, F_OK) != 0)
        return thaw_fail(err, THAW_ERR_IO,
                         "%s is not a trained run: it has no bundle.json; give the folder that "
                         "thaw train wrote with --out, or that folder packed as .tar.gz",
                         said);
    THAW_TRY(thaw_json_read(json_path, LARGEST_JSON, &b->json, err));
    if (json_integer_value(json_object_get(b->json, "format")) != THAW_BUNDLE_FORMAT)
        return thaw_fail(err, THAW_ERR_FORMAT,
                         "%s: the bundle has another format than this version of Thaw reads",
                         json_path);
    thaw_preprocess preprocess = {0};
    THAW_TRY(
        thaw_preprocess_parse(json_object_get(b->json, "preprocess"), json_path, &preprocess, err));
    THAW_TRY(thaw_model_check_hash(model_path, b->json, err));
    const json_t *old = json_object_get(b->json, "old");
    if (old) THAW_TRY(thaw_kept_head_parse(&b->old, old, json_path, &b->arena, err));
    THAW_TRY(thaw_network_open_bundle(&b->network, model_path, b->old.output, &preprocess, err));
    THAW_TRY(thaw_network_settle(&b->network, b->backend, err));
    THAW_TRY(thaw_dense_read(&b->network.model.graph, b->network.cut, &b->arena, b->layers,
                             &b->n_layers, err));
    THAW_TRY(read_labels(b, json_path, err));
    THAW_TRY(open_old(b, err));
    THAW_TRY(thaw_novelty_read(&b->novelty, b->json, run, b->network.n_features, &b->arena, err));
    return check_golden(b, run, err);
}

thaw_status thaw_bundle_open(thaw_bundle *bundle, const char *run, thaw_backend *backend,
                             thaw_error *err) {
    thaw_unpacked u;
    *bundle = (thaw_bundle){.backend = backend};
    thaw_status status = thaw_unpacked_open(&u, run, err);
    if (status == THAW_OK) status = open_parts(bundle, u.folder, run, err);
    thaw_unpacked_close(&u);
    return status;
}

void thaw_bundle_close(thaw_bundle *bundle) {
    thaw_kept_head_close(&bundle->old);
    thaw_network_close(&bundle->network);
    json_decref(bundle->json);
    thaw_arena_free(&bundle->arena);
    *bundle = (thaw_bundle){0};
}

static float *keep_floats(thaw_arena *arena, const float *x, int64_t n) {
    float *copy = thaw_arena_array(arena, (size_t)n, sizeof *copy);
    if (copy) memcpy(copy, x, (size_t)n * sizeof *copy);
    return copy;
}

thaw_status thaw_bundle_shed(thaw_bundle *b, thaw_error *err) {
    if (b->old.output) return THAW_OK;
    for (int i = 0; i < b->n_layers; i++) {
        thaw_dense *layer = &b->layers[i];
        layer->w = keep_floats(&b->arena, layer->w, layer->K * layer->D);
        layer->b = keep_floats(&b->arena, layer->b, layer->K);
        if (!layer->w || !layer->b) return no_memory(err);
    }
    thaw_network_close(&b->network);
    return THAW_OK;
}

/* ---- writing ------------------------------------------------------------------------------- */

static void put_labels(thaw_json *json, json_t *list, const thaw_bundle_spec *spec) {
    for (size_t i = 0; i < spec->n_labels; i++)
        thaw_json_text(json, list, NULL, spec->labels[i]);
}

static void put_options(thaw_json *json, json_t *into, const thaw_options *options) {
    for (size_t i = 0; i < thaw_options_count(); i++) {
        json_t *one = thaw_json_object(json, into, thaw_options_key(i));
        thaw_json_text(json, one, "value", options->origin[i].text);
        thaw_json_text(json, one, "source", options->origin[i].source);
    }
}

static void put_provenance(thaw_json *json, json_t *into, const thaw_network *net) {
    char trunk[THAW_HASH_TEXT];
    thaw_hash_text(net->trunk_hash, trunk);
    thaw_json_text(json, into, "model", net->model.path);
    thaw_json_text(json, into, "producer", net->model.producer);
    thaw_json_integer(json, into, "opset", net->model.graph.opset);
    json_t *cut = thaw_json_object(json, into, "cut");
    thaw_json_integer(json, cut, "index", net->cut->index);
    thaw_json_text(json, cut, "name", net->cut->name);
    thaw_json_boolean(json, cut, "pooled", net->pooled);
    thaw_json_text(json, into, "trunk_hash", trunk);
    thaw_json_text(json, into, "decoder", thaw_image_decoder_id());
    thaw_json_text(json, into, "thaw", THAW_VERSION);
}

static thaw_status labels_line(const thaw_bundle_spec *spec, char **line, thaw_error *err) {
    thaw_json json = {.root = json_array()};
    json.failed = !json.root;
    put_labels(&json, json.root, spec);
    thaw_status status =
        thaw_json_print(&json, THAW_JSON_LINE, ALL_DIGITS, "the bundle", line, err);
    thaw_json_free(&json);
    return status;
}

static thaw_status write_model(const thaw_bundle_spec *spec, const char *path, thaw_error *err) {
    char *preprocess = NULL, *labels = NULL;
    thaw_status status = thaw_preprocess_line(&spec->network->preprocess, &preprocess, err);
    if (status == THAW_OK) status = labels_line(spec, &labels, err);
    thaw_metadata metadata[] = {{"thaw.preprocess", preprocess}, {"thaw.labels", labels}};
    thaw_new_head head = {.pooled = spec->network->head_pooled,
                          .layers = spec->layers,
                          .n_layers = spec->n_layers,
                          .metadata = metadata,
                          .n_metadata = 2,
                          .keep_old = spec->old->output != NULL,
                          .most_bytes = spec->most_bytes};
    if (status == THAW_OK)
        status = thaw_onnx_write(&spec->network->model, spec->network->head_cut, &head, path, err);
    free(preprocess);
    free(labels);
    return status;
}

static bool is_plain(const char *text) {
    return !text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")];
}

static thaw_status copy_golden(const thaw_bundle_spec *spec, const char *folder, thaw_arena *arena,
                               golden_file *files, size_t *n, thaw_error *err) {
    char *golden = thaw_file_join(arena, folder, "golden");
    if (!golden) return no_memory(err);
    THAW_TRY(thaw_file_make_folders(golden, err));
    for (*n = 0; *n < THAW_GOLDEN && spec->golden[*n]; ++*n) {
        const char *dot = strrchr(spec->golden[*n], '.');
        char *bytes;
        if (!dot || strchr(dot, '/') || strlen(dot) > 8 || !is_plain(dot + 1)) dot = "";
        files[*n].path = thaw_arena_printf(arena, "golden/%zu%s", *n, dot);
        char *path = files[*n].path ? thaw_file_join(arena, folder, files[*n].path) : NULL;
        if (!path) return no_memory(err);
        THAW_TRY(thaw_picture_read(spec->golden[*n], arena, &bytes, &files[*n].n, err));
        files[*n].bytes = bytes;
        THAW_TRY(thaw_file_write(path, bytes, files[*n].n, err));
    }
    return THAW_OK;
}

static void put_golden(thaw_json *json, const thaw_bundle_spec *spec, size_t n,
                       const golden_file *files, const float *scores) {
    json_t *golden = thaw_json_array(json, json->root, "golden");
    for (size_t i = 0; i < n; i++) {
        json_t *one = thaw_json_object(json, golden, NULL);
        thaw_json_text(json, one, "file", files[i].path);
        json_t *row = thaw_json_array(json, one, "scores");
        for (size_t k = 0; k < spec->n_labels; k++)
            thaw_json_real(json, row, NULL, (double)scores[i * spec->n_labels + k]);
    }
}

/* Scores the golden pictures with the file as written, read back: what serving will do. */
static thaw_status golden_json(const thaw_bundle_spec *spec, const char *model_path, size_t n,
                               const golden_file *files, thaw_arena *arena, thaw_json *json,
                               thaw_error *err) {
    thaw_bundle b = {.backend = spec->backend, .n_labels = spec->n_labels, .labels = spec->labels};
    float *scores = thaw_arena_array(arena, THAW_GOLDEN * spec->n_labels, sizeof *scores);
    thaw_status status = scores ? THAW_OK : no_memory(err);
    if (status == THAW_OK)
        status = thaw_network_open_bundle(&b.network, model_path, spec->old->output,
                                          &spec->network->preprocess, err);
    if (status == THAW_OK)
        status = thaw_dense_read(&b.network.model.graph, b.network.cut, arena, b.layers,
                                 &b.n_layers, err);
    if (status == THAW_OK) status = score_golden(&b, n, files, scores, arena, err);
    if (status == THAW_OK) put_golden(json, spec, n, files, scores);
    thaw_network_close(&b.network);
    thaw_arena_free(&b.arena);
    return status;
}

static thaw_status write_parts(const thaw_bundle_spec *spec, const char *folder, thaw_json *json,
                               thaw_arena *arena, thaw_error *err) {
    char *model_path = thaw_file_join(arena, folder, "model.onnx");
    char *json_path = thaw_file_join(arena, folder, "bundle.json"), *text;
    if (!model_path || !json_path) return no_memory(err);
    THAW_TRY(write_model(spec, model_path, err));
    golden_file files[THAW_GOLDEN];
    size_t n = 0;
    char model_hash[THAW_HASH_TEXT], created[32];
    THAW_TRY(copy_golden(spec, folder, arena, files, &n, err));
    THAW_TRY(thaw_model_hash(model_path, model_hash, err));
    time_t now = time(NULL);
    struct tm utc;
    strftime(created, sizeof created, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    thaw_json_integer(json, json->root, "format", THAW_BUNDLE_FORMAT);
    thaw_json_text(json, json->root, "created", created);
    thaw_json_text(json, json->root, "model_hash", model_hash);
    put_labels(json, thaw_json_array(json, json->root, "labels"), spec);
    thaw_json_text(json, json->root, "scores",
                   spec->layers[spec->n_layers - 1].sigmoid ? "sigmoid" : "softmax");
    if (spec->old->output)
        thaw_kept_head_json(json, thaw_json_object(json, json->root, "old"), spec->old);
    thaw_json_real(json, json->root, "temperature", spec->temperature);
    THAW_TRY(thaw_novelty_write(spec->novelty, folder, json, json->root, err));
    thaw_preprocess_json(json, thaw_json_object(json, json->root, "preprocess"),
                         &spec->network->preprocess);
    THAW_TRY(golden_json(spec, model_path, n, files, arena, json, err));
    put_provenance(json, thaw_json_object(json, json->root, "provenance"), spec->network);
    put_options(json, thaw_json_object(json, json->root, "options"), spec->options);
    thaw_json_share(json, json->root, "metrics", spec->metrics);
    THAW_TRY(thaw_json_print(json, THAW_JSON_INDENTED, ALL_DIGITS, json_path, &text, err));
    thaw_status status = thaw_file_write(json_path, text, strlen(text), err);
    free(text);
    return status;
}

thaw_status thaw_bundle_write(const thaw_bundle_spec *spec, const char *folder, thaw_error *err) {
    thaw_arena arena = {0};
    thaw_json json = thaw_json_begin();
    thaw_status status = write_parts(spec, folder, &json, &arena, err);
    thaw_json_free(&json);
    thaw_arena_free(&arena);
    return status;
}
