/* Augmented manifests, as SageMaker's Ground Truth writes them: a JSON object a line, such as
 *   {"source-ref": "s3://bucket/roses/1.jpg", "class": 0, "class-metadata": {"class-name": "rose"}}
 * The class is the only attribute that is neither source-ref nor metadata; where the metadata have a name for
 * it, that counts. Of several classes, a list of numbers, "class-map" has the names. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "file.h"
#include "list_forms.h"
#include "split.h"
#include "text.h"

static const char source[] = "source-ref", metadata[] = "-metadata", s3[] = "s3://";

/* What is read of a line. */
typedef struct line {
    const char *path, *attribute;
    const json_t *value, *name; /* name: of the class in the metadata, NULL: none. */
    json_t *names;              /* Of several classes: what name is then. */
} line;

typedef struct manifest {
    thaw__list_reader *r;
    thaw_arena arena; /* Of the line. */
    size_t n_dropped; /* Folders of S3's keys that the root stands for. */
    bool entered;     /* n_dropped is known. */
    bool named;       /* Classes of the first line, and so of all, have names. */
} manifest;

static thaw_status fail_line(const manifest *m, const char *why) {
    return thaw_fail(m->r->err, THAW_ERR_FORMAT, "row %zu of '%.300s' %.300s", m->r->at,
                     m->r->spec->file, why);
}

/* ---- paths ----------------------------------------------------------------------------------- */

/* What of an S3 key stands behind its first n folders. */
static const char *drop(const char *key, size_t n) {
    for (const char *slash; n > 0 && (slash = strchr(key, '/')); n--)
        key = slash + 1;
    return key;
}

/* Pictures that were fetched from s3://bucket/a/b/ lie below the root as a/b/1.jpg, b/1.jpg or 1.jpg: the first
 * line's picture tells which. */
static thaw_status enter(manifest *m, const char *key) {
    const char *rest = key;
    for (size_t n = 0; !m->entered && rest; n++) {
        const char *path = thaw_file_join(&m->arena, m->r->list->root, drop(key, n));
        if (!path) return thaw__list_no_memory(m->r);
        m->entered = access(path, F_OK) == 0;
        if (m->entered) m->n_dropped = n;
        rest = strchr(rest, '/');
        if (rest) rest++;
    }
    m->entered = true;
    return THAW_OK;
}

/* The path of a picture by its source-ref. */
static thaw_status find_path(manifest *m, const char *ref, const char **path) {
    *path = ref;
    if (strncmp(ref, s3, sizeof s3 - 1) != 0) return THAW_OK;
    const char *key = strchr(ref + sizeof s3 - 1, '/');
    if (!key || !key[1]) return fail_line(m, "has a source-ref without a key behind its bucket");
    if (!m->entered) THAW_TRY(enter(m, key + 1));
    *path = drop(key + 1, m->n_dropped);
    return THAW_OK;
}

/* ---- lines ----------------------------------------------------------------------------------- */

static bool is_metadata(const char *key) {
    size_t n = strlen(key), end = sizeof metadata - 1;
    return n > end && strcmp(key + n - end, metadata) == 0;
}

/* The names of several classes, by their numbers. */
static thaw_status name_all(const manifest *m, const json_t *map, line *l) {
    const json_t *value;
    size_t i;
    l->name = l->names = json_array();
    if (!l->names) return thaw__list_no_memory(m->r);
    json_array_foreach(l->value, i, value) {
        char number[32];
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(value));
        json_t *name = json_object_get(map, number);
        if (!json_is_string(name))
            return fail_line(m, "has a class that its class-map has no name for");
        if (json_array_append(l->names, name) != 0) return thaw__list_no_memory(m->r);
    }
    return THAW_OK;
}

static thaw_status find_parts(const manifest *m, json_t *json, line *l) {
    const char *key;
    json_t *value;
    char why[256];
    *l = (line){.path = json_string_value(json_object_get(json, source))};
    json_object_foreach(json, key, value) {
        if (strcmp(key, source) == 0 || is_metadata(key)) continue;
        if (l->attribute) {
            snprintf(
                why, sizeof why,
                "has two attributes beside source-ref, '%.60s' and '%.60s': expected the class "
                "alone",
                l->attribute, key);
            return fail_line(m, why);
        }
        l->attribute = key;
        l->value = value;
    }
    if (!l->path || !*l->path) return fail_line(m, "has no source-ref");
    if (!l->attribute)
        return fail_line(m, "has no attribute beside source-ref: expected the class");
    snprintf(why, sizeof why, "%.200s%s", l->attribute, metadata);
    const json_t *about = json_object_get(json, why), *map = json_object_get(about, "class-map");
    l->name = json_object_get(about, "class-name");
    return json_is_array(l->value) && json_is_object(map) ? name_all(m, map, l) : THAW_OK;
}

static thaw_status take_parts(manifest *m, const line *l) {
    thaw__list_reader *r = m->r;
    const char *class_name, *path;
    if (r->paths.n == 0) m->named = l->name;
    if (m->named != (l->name != NULL))
        return fail_line(m, m->named ? "has no class-name in its metadata, unlike the first"
                                     : "has a class-name in its metadata, unlike the first");
    THAW_TRY(thaw__list_class_of(r, m->named ? l->name : l->value, &m->arena, &class_name));
    if (!class_name)
        return fail_line(
            m, "has a label that is neither a whole number nor a name, nor a list of them");
    THAW_TRY(find_path(m, l->path, &path));
    return thaw__list_add_row(r, path, class_name, THAW_SPLIT_TRAIN, NULL);
}

static thaw_status take_line(manifest *m, const char *text) {
    char where[600];
    json_t *json;
    line l = {0};
    snprintf(where, sizeof where, "row %zu of '%.500s'", m->r->at, m->r->spec->file);
    THAW_TRY(thaw_json_parse(text, strlen(text), where, &json, m->r->err));
    thaw_status status =
        json_is_object(json) ? find_parts(m, json, &l) : fail_line(m, "is no object of JSON");
    if (status == THAW_OK) status = take_parts(m, &l);
    json_decref(l.names);
    json_decref(json);
    return status;
}

thaw_status thaw__list_read_manifest(thaw__list_reader *r, char *text) {
    manifest m = {.r = r};
    thaw_status status = THAW_OK;
    r->at = 1;
    for (char *line; status == THAW_OK && (line = strsep(&text, "\n")); r->at++) {
        if (line[strspn(line, " \t\r")]) status = take_line(&m, line);
        if (status == THAW_OK) status = thaw__list_check_stop(r);
        thaw_arena_free(&m.arena);
    }
    return status;
}
