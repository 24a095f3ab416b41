#include "beside.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive.h"
#include "json.h"
#include "text.h"

enum { LARGEST = 1 << 20, LONGEST_SIDE = 16384 };

/* Of scale, mean and std, as image.scale and so on have them. */
#define LEAST 1e-6
#define MOST 1e3

/* A record that is being read. */
typedef struct reading {
    const json_t *json;
    const char *where;
    thaw_beside *to;
    thaw_error *err;
} reading;

static thaw_status fail(const reading *r, const char *key, const char *expected) {
    return thaw_fail(r->err, THAW_ERR_FORMAT,
                     "%s: \"%s\" is not %s; mend it, or give preprocess = NAME, and the file is "
                     "not read",
                     r->where, key, expected);
}

/* NULL where it is absent or null. */
static const json_t *get(const reading *r, const char *key) {
    const json_t *value = json_object_get(r->json, key);
    return json_is_null(value) ? NULL : value;
}

/* ---- numbers -------------------------------------------------------------------------------- */

/* One number for all channels, or three; each within the range that options have. False: neither. */
static bool read_channels(const json_t *value, double least, double channels[3]) {
    size_t n = json_is_array(value) ? json_array_size(value) : 0;
    for (size_t c = 0; c < 3; c++) {
        const json_t *one = n ? json_array_get(value, n == 1 ? 0 : c) : value;
        channels[c] = json_number_value(one);
        if (!json_is_number(one) || !(channels[c] >= least && channels[c] <= MOST)) return false;
    }
    return n == 0 || n == 1 || n == 3;
}

static thaw_status read_switch(const reading *r, const char *key, bool absent, bool *value) {
    const json_t *json = get(r, key);
    *value = json ? json_is_true(json) : absent;
    return !json || json_is_boolean(json) ? THAW_OK : fail(r, key, "true or false");
}

static thaw_status read_mean_and_std(const reading *r, const char *mean_key, const char *std_key) {
    const json_t *mean = get(r, mean_key), *std = get(r, std_key);
    thaw_beside *to = r->to;
    if (!mean && !std) return THAW_OK;
    if (!mean || !read_channels(mean, -MOST, to->mean))
        return fail(r, mean_key, "one number, or three, beside its counterpart");
    if (!std || !read_channels(std, LEAST, to->std))
        return fail(r, std_key, "one number above 0, or three, beside its counterpart");
    to->numbers = true;
    to->scale = 1 / 255.0;
    return THAW_OK;
}

/* Hugging Face's steps can be left out one by one. */
static thaw_status read_steps(const reading *r) {
    thaw_beside *to = r->to;
    bool rescales, normalises, flips;
    THAW_TRY(read_mean_and_std(r, "image_mean", "image_std"));
    THAW_TRY(read_switch(r, "do_rescale", true, &rescales));
    THAW_TRY(read_switch(r, "do_normalize", true, &normalises));
    THAW_TRY(read_switch(r, "do_flip_channel_order", false, &flips));
    const json_t *factor = get(r, "rescale_factor");
    double value = factor ? json_number_value(factor) : 1 / 255.0;
    if (factor && (!json_is_number(factor) || !(value >= LEAST && value <= MOST)))
        return fail(r, "rescale_factor", "a number above 0");
    /* As people write 1/255; one in so many digits is meant to be it. */
    if (fabs(value * 255 - 1) < 1e-6) value = 1 / 255.0;
    if (!normalises || (!to->numbers && factor)) {
        to->numbers = true;
        for (int c = 0; c < 3; c++)
            to->mean[c] = 0, to->std[c] = 1;
    }
    if (to->numbers) to->scale = rescales ? value : 1;
    if (flips) to->order = THAW_ORDER_BGR;
    return THAW_OK;
}

/* ---- geometry ------------------------------------------------------------------------------- */

static bool read_side(const json_t *json, int *side) {
    json_int_t value = json_integer_value(json);
    if (!json_is_integer(json) || value < 1 || value > LONGEST_SIDE) return false;
    *side = (int)value;
    return true;
}

/* timm's [channels, height, width]. */
static thaw_status read_input_size(const reading *r) {
    const json_t *size = get(r, "input_size");
    if (!size) return THAW_OK;
    if (json_array_size(size) != 3 || !read_side(json_array_get(size, 1), &r->to->height) ||
        !read_side(json_array_get(size, 2), &r->to->width))
        return fail(r, "input_size", "three sizes, as [3, 224, 224]");
    return THAW_OK;
}

/* A side, or {"height", "width"}, or {"shortest_edge"}. */
static thaw_status read_size(const reading *r, const char *key, int *height, int *width,
                             int *shortest) {
    static const char expected[] =
        "a size: a number, {\"height\", \"width\"} or {\"shortest_edge\"}";
    const json_t *size = get(r, key), *edge = json_object_get(size, "shortest_edge");
    *height = *width = *shortest = 0;
    if (!size) return THAW_OK;
    if (edge) return read_side(edge, shortest) ? THAW_OK : fail(r, key, expected);
    bool object = json_is_object(size);
    if (!read_side(object ? json_object_get(size, "height") : size, height) ||
        !read_side(object ? json_object_get(size, "width") : size, width))
        return fail(r, key, expected);
    return THAW_OK;
}

/* Hugging Face's resize and crop. A number alone is the shorter side where a crop follows. */
static thaw_status read_resize(const reading *r) {
    enum { SQUASHED_FROM = 384 }; /* ConvNeXt's processor crops smaller ones only. */
    thaw_beside *to = r->to;
    int height, width, shortest, crop_height, crop_width, none;
    bool crops;
    THAW_TRY(read_size(r, "size", &height, &width, &shortest));
    THAW_TRY(read_size(r, "crop_size", &crop_height, &crop_width, &none));
    THAW_TRY(read_switch(r, "do_center_crop", crop_height > 0, &crops));
    if (json_is_integer(get(r, "size")) && (crops || to->crop > 0)) shortest = height;
    if (!height && !shortest) return THAW_OK;
    to->height = crops && crop_height ? crop_height : shortest ? shortest : height;
    to->width = crops && crop_height ? crop_width : shortest ? shortest : width;
    bool squashes = to->crop > 0 ? shortest >= SQUASHED_FROM : !crops && !shortest;
    if (squashes) to->crop = 0;
    to->fit = squashes ? THAW_FIT_SQUASH : THAW_FIT_CROP;
    if (!squashes && to->crop == 0)
        to->shorter = shortest ? shortest : height < width ? height : width;
    if (crops && !shortest && to->crop == 0)
        snprintf(to->note, sizeof to->note,
                 "it squashes to %d x %d before the crop; here the shorter side becomes %d", height,
                 width, to->shorter);
    return THAW_OK;
}

static thaw_status read_crop(const reading *r) {
    static const char *const modes[] = {"center", "squash", "border", NULL};
    const json_t *share = get(r, "crop_pct"), *mode = get(r, "crop_mode");
    thaw_beside *to = r->to;
    if (share) {
        to->crop = json_number_value(share);
        if (!json_is_number(share) || !(to->crop >= 0.05 && to->crop <= 1))
            return fail(r, "crop_pct", "a number from 0.05 to 1");
        to->fit = THAW_FIT_CROP;
    }
    int which = mode && json_is_string(mode) ? thaw_text_find(modes, json_string_value(mode)) : -1;
    if (mode && which < 0) return fail(r, "crop_mode", "center, squash or border");
    if (mode && which == 1) to->fit = THAW_FIT_SQUASH;
    if (mode && which == 2)
        snprintf(to->note, sizeof to->note,
                 "it fills up a square's borders; here the centre is "
                 "cropped");
    return THAW_OK;
}

/* timm's words; "random" is what training draws, and evaluation then takes bilinear. Hugging Face's
 * numbers are Pillow's. */
static thaw_status read_filter(const reading *r, const char *key) {
    static const char *const names[] = {"nearest", "lanczos", "bilinear", "bicubic",
                                        "box",     "hamming", "random",   NULL};
    const json_t *json = get(r, key);
    if (!json) return THAW_OK;
    int which = json_is_string(json)    ? thaw_text_find(names, json_string_value(json))
                : json_is_integer(json) ? (int)json_integer_value(json)
                                        : -1;
    if (which < 0 || which > 6 || (json_is_integer(json) && which > 5))
        return fail(r, key, "bilinear, bicubic or another of Pillow's filters");
    r->to->filter = which == 3 || which == 1 ? THAW_FILTER_BICUBIC : THAW_FILTER_BILINEAR;
    if (which != 2 && which != 3 && which != 6)
        snprintf(r->to->note, sizeof r->to->note, "it resizes by %s; here %s is the nearest",
                 names[which], which == 1 ? "bicubic" : "bilinear");
    return THAW_OK;
}

/* ---- the file ------------------------------------------------------------------------------- */

static bool says_anything(const json_t *json) {
    static const char *const keys[] = {"mean",       "std",        "interpolation",  "crop_pct",
                                       "input_size", "image_mean", "image_std",      "resample",
                                       "crop_size",  "do_rescale", "rescale_factor", NULL};
    for (int i = 0; keys[i]; i++)
        if (json_object_get(json, keys[i]) && !json_is_null(json_object_get(json, keys[i])))
            return true;
    return false;
}

thaw_status thaw_beside_parse(const json_t *json, const char *where, thaw_beside *beside,
                              thaw_error *err) {
    static const char *const nests[] = {"pretrained_cfg", "default_cfg", NULL};
    *beside = (thaw_beside){.fit = -1, .filter = -1, .order = -1};
    for (int i = 0; nests[i]; i++)
        if (says_anything(json_object_get(json, nests[i]))) json = json_object_get(json, nests[i]);
    if (!says_anything(json)) return THAW_OK;
    reading r = {json, where, beside, err};
    THAW_TRY(read_mean_and_std(&r, "mean", "std"));
    THAW_TRY(read_crop(&r));
    THAW_TRY(read_filter(&r, "interpolation"));
    THAW_TRY(read_filter(&r, "resample"));
    THAW_TRY(read_input_size(&r));
    THAW_TRY(read_steps(&r));
    THAW_TRY(read_resize(&r));
    snprintf(beside->file, sizeof beside->file, "%s", where);
    return THAW_OK;
}

static thaw_status read_file(const char *path, thaw_beside *beside, thaw_error *err) {
    json_t *json = NULL;
    if (access(path, F_OK) != 0) return THAW_OK;
    thaw_status status = thaw_json_read(path, LARGEST, &json, err);
    if (status == THAW_OK)
        status = thaw_beside_parse(json, path, beside, err);
    else if (status == THAW_ERR_FORMAT)
        status = thaw_fail_within(err, status,
                                  "%s stands beside the model (give preprocess = NAME, "
                                  "and it is not read)",
                                  path);
    json_decref(json);
    return status;
}

/* In a folder, which ends with a slash or is "". */
static thaw_status look_in(const char *folder, const char *own, thaw_arena *arena,
                           thaw_beside *beside, thaw_error *err) {
    const char *names[] = {own, "preprocessor_config.json", "config.json", NULL};
    for (int i = 0; names[i] && !beside->file[0]; i++) {
        const char *path = thaw_arena_printf(arena, "%s%s", folder, names[i]);
        if (!path) return thaw_fail_memory(err, "for names of files");
        THAW_TRY(read_file(path, beside, err));
    }
    return THAW_OK;
}

static thaw_status look(const char *path, bool is_folder, thaw_arena *arena, thaw_beside *beside,
                        thaw_error *err) {
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    const char *dot = is_folder ? NULL : strrchr(base, '.');
    int stem = dot ? (int)(dot - base) : (int)strlen(base);
    const char *folder = is_folder ? thaw_arena_printf(arena, "%s/", path)
                                   : thaw_arena_string(arena, path, (size_t)(base - path));
    const char *own =
        thaw_arena_printf(arena, "%.*s.json", is_folder ? 5 : stem, is_folder ? "model" : base);
    if (!folder || !own) return thaw_fail_memory(err, "for names of files");
    THAW_TRY(look_in(folder, own, arena, beside, err));
    size_t n = strlen(folder);
    bool onnx = n >= 5 && strcmp(folder + n - 5, "onnx/") == 0 && (n == 5 || folder[n - 6] == '/');
    const char *above = onnx ? thaw_arena_printf(arena, "%s../", folder) : "";
    if (!above) return thaw_fail_memory(err, "for names of files");
    return onnx ? look_in(above, own, arena, beside, err) : THAW_OK;
}

thaw_status thaw_beside_find(const char *path, thaw_beside *beside, thaw_error *err) {
    struct stat info;
    *beside = (thaw_beside){.fit = -1, .filter = -1, .order = -1};
    bool there = stat(path, &info) == 0; /* What is not is told of later. */
    if (!there || (!S_ISDIR(info.st_mode) && thaw_archive_is(path))) return THAW_OK;
    thaw_arena arena = {0};
    thaw_status status = look(path, S_ISDIR(info.st_mode), &arena, beside, err);
    thaw_arena_free(&arena);
    return status;
}
