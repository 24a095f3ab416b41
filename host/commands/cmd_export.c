/* thaw export RUN --onnx FILE: the network, with its preprocessing in front if that is asked for.
 * thaw export RUN --safetensors FILE: the trained weights, for PyTorch and its like.
 * thaw export RUN --tar FILE: what serves the run, packed. */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "commands.h"
#include "file.h"
#include "json.h"
#include "model/archive.h"
#include "model/export_onnx.h"
#include "model/model_file.h"
#include "model/novelty_file.h"
#include "model/safetensors.h"
#include "utf8.h"

enum { LARGEST_JSON = 64 << 20 };

/* The node behind which everything was trained: -1 for all. */
static thaw_status find_cut(const char *run, const thaw_model *model, thaw_arena *arena, int *node,
                            thaw_error *err) {
    json_t *json = NULL;
    char *path = thaw_file_join(arena, run, "bundle.json");
    if (!path) return thaw_fail_memory(err, "for the bundle's name");
    THAW_TRY(thaw_json_read(path, LARGEST_JSON, &json, err));
    const json_t *cut = json_object_get(json_object_get(json, "provenance"), "cut");
    const char *name = json_string_value(json_object_get(cut, "name"));
    bool input = name && json_integer_value(json_object_get(cut, "index")) == 0;
    bool found = input;
    *node = -1;
    for (int i = 0; name && !found && i < model->graph.n_nodes; i++)
        if (strcmp(model->graph.nodes[i].name, name) == 0) *node = i, found = true;
    thaw_status status = THAW_OK;
    if (!found)
        status = thaw_fail(err, THAW_ERR_FORMAT, "%s: its cut, %.200s, is not in the run's model",
                           path, name ? name : "unnamed");
    json_decref(json);
    return status;
}

static thaw_status export_weights(const char *run, const char *to, thaw_model *model,
                                  thaw_arena *arena, thaw_error *err) {
    char *path = thaw_file_join(arena, run, "model.onnx");
    int node, n;
    if (!path) return thaw_fail_memory(err, "for the model's name");
    THAW_TRY(thaw_model_read(model, path, 0, 0, err));
    THAW_TRY(find_cut(run, model, arena, &node, err));
    THAW_TRY(thaw_safetensors_write(model, node, to, &n, err));
    thaw_utf8_put(stdout, to, 0);
    printf(": %d tensors that were trained, under their names in model.onnx\n", n);
    return THAW_OK;
}

static thaw_status export_network(const char *run, const char *to, bool preprocess,
                                  thaw_error *err) {
    THAW_TRY(thaw_export_onnx(run, to, preprocess, 0, err));
    thaw_utf8_put(stdout, to, 0);
    printf(preprocess ? ": takes decoded pixels, u8 [N, H, W, 3] in the order R, G, B, of the "
                        "network's size\n"
                      : ": the run's model.onnx\n");
    return THAW_OK;
}

/* Whether the run says `unknown`, for which it has one file more. */
static thaw_status find_rejects(const char *run, bool *rejects, thaw_error *err) {
    thaw_arena arena = {0};
    json_t *json = NULL;
    char *path = thaw_file_join(&arena, run, "bundle.json");
    thaw_status status = path ? thaw_json_read(path, LARGEST_JSON, &json, err)
                              : thaw_fail_memory(err, "for the bundle's name");
    *rejects = json_object_get(json, "reject") != NULL;
    json_decref(json);
    thaw_arena_free(&arena);
    return status;
}

/* What an endpoint unpacks must lie at the archive's root. */
static thaw_status export_bundle(const char *run, const char *to, thaw_arena *arena,
                                 thaw_error *err) {
    const char *names[] = {"model.onnx", "bundle.json", "golden", NULL, NULL, NULL};
    const char *data = thaw_file_join(arena, run, THAW_MODEL_DATA);
    bool rejects;
    if (!data) return thaw_fail_memory(err, "for the model's name");
    if (!thaw_archive_is(to) || strcasecmp(to + strlen(to) - 2, "gz") != 0)
        return thaw_fail(err, THAW_ERR_USAGE, "export.tar = %.600s: expected the name of a .tar.gz",
                         to);
    THAW_TRY(find_rejects(run, &rejects, err));
    int n = 3;
    if (rejects) names[n++] = THAW_NOVELTY_FILE;
    if (access(data, F_OK) == 0) names[n] = THAW_MODEL_DATA;
    THAW_TRY(thaw_archive_pack(run, names, to, err));
    thaw_utf8_put(stdout, to, 0);
    printf(": the run's model.onnx, bundle.json and golden pictures%s\n",
           rejects ? ", and what it knows" : "");
    return THAW_OK;
}

static thaw_status export_all(const char *run, const thaw_options *options, thaw_error *err) {
    const char *weights = options->export_to.safetensors;
    const char *tar = options->export_to.tar, *onnx = options->export_to.onnx;
    thaw_model model = {0};
    thaw_arena arena = {0};
    if (!*weights && !*tar && !*onnx)
        return thaw_fail(err, THAW_ERR_USAGE,
                         "export needs --onnx FILE, --safetensors FILE or --tar FILE.tar.gz");
    thaw_status status = THAW_OK;
    if (*onnx) status = export_network(run, onnx, options->export_to.preprocess, err);
    if (status == THAW_OK && *weights) status = export_weights(run, weights, &model, &arena, err);
    if (status == THAW_OK && *tar) status = export_bundle(run, tar, &arena, err);
    thaw_model_free(&model);
    thaw_arena_free(&arena);
    return status;
}

thaw_status thaw_cmd_export(const thaw_cli *cli, const thaw_options *options, thaw_error *err) {
    thaw_unpacked run;
    thaw_status status = thaw_unpacked_open(&run, cli->args[0], err);
    if (status == THAW_OK) status = export_all(run.folder, options, err);
    thaw_unpacked_close(&run);
    return status;
}
