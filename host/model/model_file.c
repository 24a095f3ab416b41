#include "model_file.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive.h"
#include "file.h"
#include "json.h"

enum { LARGEST_JSON = 64 << 20 };
static const char name[] = "model.onnx";

/* ---- the file is the bundle's --------------------------------------------------------------- */

static thaw_status hash_file(const char *path, thaw_hash *hash, thaw_error *err) {
    thaw_arena arena = {0};
    char *bytes;
    size_t n;
    thaw_status status = thaw_file_read(path, SIZE_MAX, &arena, &bytes, &n, err);
    if (status == THAW_OK) *hash = thaw_hash_bytes(*hash, bytes, n);
    thaw_arena_free(&arena);
    return status;
}

thaw_status thaw_model_hash(const char *path, char text[THAW_HASH_TEXT], thaw_error *err) {
    char data[PATH_MAX];
    thaw_hash hash = {0};
    int n = snprintf(data, sizeof data, "%s" THAW_ONNX_DATA, path);
    THAW_TRY(hash_file(path, &hash, err));
    if (n < (int)sizeof data && access(data, F_OK) == 0) THAW_TRY(hash_file(data, &hash, err));
    thaw_hash_text(hash, text);
    return THAW_OK;
}

thaw_status thaw_model_check_hash(const char *path, const json_t *bundle, thaw_error *err) {
    char text[THAW_HASH_TEXT];
    THAW_TRY(thaw_model_hash(path, text, err));
    const char *want = json_string_value(json_object_get(bundle, "model_hash"));
    if (want && strcmp(want, text) == 0) return THAW_OK;
    return thaw_fail(err, THAW_ERR_MISMATCH,
                     "%s is not the model that its bundle.json was written for; restore it", path);
}

static thaw_status check_bundle(const char *folder, const char *model, thaw_error *err) {
    char path[PATH_MAX];
    json_t *bundle = NULL;
    int n = snprintf(path, sizeof path, "%s/bundle.json", folder);
    if (n >= (int)sizeof path || access(path, F_OK) != 0) return THAW_OK;
    THAW_TRY(thaw_json_read(path, LARGEST_JSON, &bundle, err));
    thaw_status status = thaw_model_check_hash(model, bundle, err);
    json_decref(bundle);
    return status;
}

/* ---- opening -------------------------------------------------------------------------------- */

/* Reads the model in a folder; `said` is what the user has called it. */
static thaw_status open_in(thaw_model *model, const char *folder, const char *said, int64_t height,
                           int64_t width, thaw_error *err) {
    char path[PATH_MAX];
    *model = (thaw_model){0};
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return thaw_fail(err, THAW_ERR_IO, "'%.600s' has too long a path", folder);
    if (access(path, F_OK) != 0)
        return thaw_fail(
            err, THAW_ERR_IO,
            "'%.600s' holds no %s: expected an ONNX file, the folder of a trained run, "
            "or one packed as .tar.gz",
            said, name);
    THAW_TRY(check_bundle(folder, path, err));
    return thaw_model_read(model, path, height, width, err);
}

static thaw_status open_packed(thaw_model *model, const char *file, int64_t height, int64_t width,
                               thaw_error *err) {
    thaw_unpacked u;
    *model = (thaw_model){0};
    thaw_status status = thaw_unpacked_open(&u, file, err);
    if (status == THAW_OK) status = open_in(model, u.folder, file, height, width, err);
    thaw_unpacked_close(&u);
    if (status != THAW_OK) return status;
    model->path = thaw_arena_string(&model->arena, file, strlen(file));
    return model->path ? THAW_OK : thaw_fail_memory(err, "to read the model %s", file);
}

thaw_status thaw_model_open(thaw_model *model, const char *path, int64_t height, int64_t width,
                            thaw_error *err) {
    struct stat info;
    bool there = stat(path, &info) == 0;
    if (there && S_ISDIR(info.st_mode)) return open_in(model, path, path, height, width, err);
    if (there && thaw_archive_is(path)) return open_packed(model, path, height, width, err);
    return thaw_model_read(model, path, height, width, err);
}
