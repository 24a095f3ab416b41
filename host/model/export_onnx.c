#include "export_onnx.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "file.h"
#include "model_file.h"
#include "onnx/onnx_write.h"
#include "preprocess.h"

enum { LARGEST_JSON = 64 << 20 };

/* A file that would be written over while it is read. */
static bool is_same_file(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static thaw_status read_record(const char *run, const char *model, thaw_arena *arena,
                               thaw_preprocess *preprocess, thaw_error *err) {
    json_t *json = NULL;
    const char *path = thaw_file_join(arena, run, "bundle.json");
    if (!path) return thaw_fail_memory(err, "for the bundle's name");
    THAW_TRY(thaw_json_read(path, LARGEST_JSON, &json, err));
    thaw_status status = thaw_model_check_hash(model, json, err);
    if (status == THAW_OK)
        status = thaw_preprocess_parse(json_object_get(json, "preprocess"), path, preprocess, err);
    json_decref(json);
    return status;
}

/* What the file itself says afterwards: pixels as they are. */
static thaw_status raw_line(const thaw_preprocess *from, char **line, thaw_error *err) {
    thaw_preprocess raw = *from;
    thaw_preprocess_take(THAW_PRESET_RAW, &raw);
    return thaw_preprocess_line(&raw, line, err);
}

static thaw_status write_network(const thaw_model *model, const thaw_preprocess *record,
                                 bool preprocess, size_t most_bytes, const char *to,
                                 thaw_error *err) {
    thaw_onnx_front front = {.flips = record->geometry.order == THAW_ORDER_BGR};
    char *line = NULL;
    thaw_preprocess_affine(record, front.scale, front.shift);
    if (!preprocess) return thaw_onnx_write_front(model, NULL, NULL, 0, most_bytes, to, err);
    THAW_TRY(raw_line(record, &line, err));
    thaw_metadata metadata = {"thaw.preprocess", line};
    thaw_status status = thaw_onnx_write_front(model, &front, &metadata, 1, most_bytes, to, err);
    free(line);
    return status;
}

thaw_status thaw_export_onnx(const char *run, const char *to, bool preprocess, size_t most_bytes,
                             thaw_error *err) {
    thaw_arena arena = {0};
    thaw_model model = {0};
    thaw_preprocess record = {0};
    const char *path = thaw_file_join(&arena, run, "model.onnx");
    thaw_status status = path ? THAW_OK : thaw_fail_memory(err, "for the model's name");
    if (status == THAW_OK && is_same_file(path, to))
        status =
            thaw_fail(err, THAW_ERR_USAGE,
                      "export.onnx = %.600s: that is the run's own model; give another name", to);
    if (status == THAW_OK) status = read_record(run, path, &arena, &record, err);
    if (status == THAW_OK)
        status = thaw_model_read(&model, path, record.geometry.height, record.geometry.width, err);
    if (status == THAW_OK) status = write_network(&model, &record, preprocess, most_bytes, to, err);
    thaw_model_free(&model);
    thaw_arena_free(&arena);
    return status;
}
