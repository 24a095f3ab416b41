#include "catalogue.h"

#include <string.h>

#include "file.h"
#include "json.h"
#include "text.h"

typedef struct reader {
    const char *path;
    const char *set; /* The name of the one being read. */
    thaw_arena *arena;
    thaw_error *err;
} reader;

static thaw_status fail(const reader *r, const char *what, const char *expected) {
    return thaw_fail(r->err, THAW_ERR_FORMAT, "%.300s: set '%.100s': \"%s\": expected %s", r->path,
                     r->set, what, expected);
}

static thaw_status read_text(const reader *r, const json_t *from, const char *key,
                             const char **text) {
    const char *value = json_string_value(json_object_get(from, key));
    if (!value || !*value) return fail(r, key, "a text");
    *text = thaw_arena_string(r->arena, value, strlen(value));
    return *text ? THAW_OK : thaw_fail_memory(r->err, "for the table of sets");
}

static int digit_of(char c) {
    static const char digits[] = "0123456789abcdef";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

static thaw_status read_sha256(const reader *r, const json_t *from, uint8_t *sha256) {
    const char *text = json_string_value(json_object_get(from, "sha256"));
    bool right = text && strlen(text) == 2 * THAW_SHA256_BYTES;
    for (int i = 0; right && i < THAW_SHA256_BYTES; i++) {
        int high = digit_of(text[2 * i]), low = digit_of(text[2 * i + 1]);
        right = high >= 0 && low >= 0;
        sha256[i] = (uint8_t)(16 * high + low);
    }
    return right ? THAW_OK : fail(r, "sha256", "64 digits, 0 to 9 and a to f");
}

static bool starts(const char *text, const char *with) {
    return strncmp(text, with, strlen(with)) == 0;
}

static thaw_status read_file(const reader *r, const json_t *from, thaw_set_file *file) {
    THAW_TRY(read_text(r, from, "url", &file->url));
    if (!starts(file->url, "http://") && !starts(file->url, "https://"))
        return fail(r, "url", "an address that begins with https:// or http://");
    file->name = strrchr(file->url, '/') + 1;
    if (file->name[0] == '\0' || file->name[0] == '.' || strpbrk(file->name, "?#%"))
        return fail(r, "url", "an address that ends with the name of a file");
    json_int_t bytes = json_integer_value(json_object_get(from, "bytes"));
    if (bytes < 1) return fail(r, "bytes", "the size of the file");
    file->bytes = (uint64_t)bytes;
    const char *split = json_string_value(json_object_get(from, "split"));
    file->split = split ? thaw_split_of_name(split) : THAW_SPLIT_COUNT;
    if (split && file->split == THAW_SPLIT_COUNT)
        return fail(r, "split", "train, validation or test");
    return read_sha256(r, from, file->sha256);
}

static thaw_status read_set(reader *r, const json_t *from, thaw_set *set) {
    static const char *const layouts[] = {THAW_SET_LAYOUT_LIST(THAW_ENUM_NAME) NULL};
    const char *layout;
    r->set = "?";
    THAW_TRY(read_text(r, from, "name", &set->name));
    r->set = set->name;
    if (thaw_file_leads_out(set->name) || strchr(set->name, '/'))
        return fail(r, "name", "one that a folder may have");
    THAW_TRY(read_text(r, from, "title", &set->title));
    THAW_TRY(read_text(r, from, "page", &set->page));
    THAW_TRY(read_text(r, from, "licence", &set->licence));
    THAW_TRY(read_text(r, from, "checksums", &set->checksums));
    THAW_TRY(read_text(r, from, "layout", &layout));
    int place = thaw_text_find(layouts, layout);
    if (place < 0) return fail(r, "layout", "folders, flowers102, oxford_pets or dtd");
    set->layout = (thaw_set_layout)place;
    const json_t *files = json_object_get(from, "files"),
                 *pictures = json_object_get(from, "pictures");
    set->n_files = json_array_size(files);
    if (set->n_files < 1 || set->n_files > THAW_SET_MOST_FILES)
        return fail(r, "files", "a list of one to 16 files");
    for (size_t i = 0; i < set->n_files; i++) {
        THAW_TRY(read_file(r, json_array_get(files, i), &set->files[i]));
        set->bytes += set->files[i].bytes;
        for (size_t k = 0; k < i; k++)
            if (strcmp(set->files[i].name, set->files[k].name) == 0)
                return fail(r, "url", "files with names of their own");
    }
    for (int s = 0; s < THAW_SPLIT_COUNT; s++)
        set->pictures[s] =
            (uint64_t)json_integer_value(json_object_get(pictures, thaw_split_name((thaw_split)s)));
    return THAW_OK;
}

thaw_status thaw_catalogue_read(const char *path, thaw_arena *arena, thaw_set **sets, size_t *n,
                                thaw_error *err) {
    enum { MOST_BYTES = 4 << 20 };
    reader r = {.path = path, .arena = arena, .err = err};
    json_t *json;
    THAW_TRY(thaw_json_read(path, MOST_BYTES, &json, err));
    *n = json_array_size(json);
    *sets = thaw_arena_array(arena, *n, sizeof **sets);
    thaw_status status = *sets ? THAW_OK : thaw_fail_memory(err, "for the table of sets");
    if (!json_is_array(json))
        status = thaw_fail(err, THAW_ERR_FORMAT, "%.600s: expected a list of sets", path);
    for (size_t i = 0; status == THAW_OK && i < *n; i++)
        status = read_set(&r, json_array_get(json, i), &(*sets)[i]);
    json_decref(json);
    return status;
}

thaw_status thaw_catalogue_find(const thaw_set *sets, size_t n, const char *name,
                                const thaw_set **set, thaw_error *err) {
    thaw_nearest nearest = {.word = name};
    thaw_text all = {0};
    for (size_t i = 0; i < n; i++) {
        *set = &sets[i];
        if (strcmp(sets[i].name, name) == 0) return THAW_OK;
        thaw_nearest_offer(&nearest, sets[i].name);
        thaw_text_add(&all, "%s%.60s", i ? ", " : "", sets[i].name);
    }
    if (nearest.best)
        return thaw_fail(err, THAW_ERR_USAGE, "there is no set '%.100s'; did you mean '%s'?", name,
                         nearest.best);
    return thaw_fail(err, THAW_ERR_USAGE, "there is no set '%.100s': expected one of %s", name,
                     all.text);
}
