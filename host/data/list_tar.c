/* Tar files of pictures, as WebDataset has them: members that stand one behind the other and are called the same
 * up to the first point of their file's name are a sample, such as a/7.jpg and a/7.cls. */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "file.h"
#include "list_forms.h"
#include "scan.h"
#include "tar_file.h"

enum { CLASS_BYTES = 1 << 12, JSON_BYTES = 1 << 24 };

/* A picture of a sample. */
typedef struct picture {
    uint64_t begin;
    const char *name;
} picture;

typedef struct sample {
    const char *key;        /* NULL: none has begun. */
    const char *class_name; /* NULL: no member says so. */
    picture *pictures;      /* [n] */
    size_t n, capacity;
    thaw_arena arena; /* Of the names, while the sample is read. */
} sample;

/* A tar file that is being read. */
typedef struct shard {
    thaw__list_reader *r;
    const char *file, *name; /* name: below the list's root. */
    thaw_split split;
    thaw_tar *tar;
    sample s;
} shard;

static thaw_status no_memory(const shard *t) {
    return thaw__list_no_memory(t->r);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static thaw_status check_classes(const shard *t, const picture *p, thaw__list_classes from) {
    thaw__list_reader *r = t->r;
    if (r->classes_of == THAW__CLASSES_UNKNOWN) r->classes_of = from;
    if (r->classes_of == from) return THAW_OK;
    return thaw_fail(r->err, THAW_ERR_DATA,
                     "'%.300s': '%.200s', at byte %" PRIu64
                     ", has its class from %s, unlike those before it: "
                     "expected one or the other for all",
                     t->file, p->name, p->begin,
                     from == THAW__CLASSES_OF_FOLDERS ? "its folder, as no .cls or .json says it"
                                                      : "a .cls or .json beside it");
}

/* The row of a picture is called FILE.tar/BYTE/MEMBER. */
static thaw_status add_picture(shard *t, const picture *p, const char *class_name,
                               thaw__list_classes from) {
    thaw__list_reader *r = t->r;
    char path[PATH_MAX];
    THAW_TRY(check_classes(t, p, from));
    int n = snprintf(path, sizeof path, "%s/%" PRIu64 "/%s", t->name, p->begin, p->name);
    if (n >= (int)sizeof path)
        return thaw_fail(r->err, THAW_ERR_DATA,
                         "'%.600s': the member at byte %" PRIu64 " has a path that is too long",
                         t->file, p->begin);
    THAW_TRY(thaw__list_add_row(r, path, class_name, t->split, NULL));
    thaw_listed *row = &r->rows[r->paths.n - 1];
    row->name_at = (uint32_t)(strlen(row->path) - strlen(p->name));
    r->at++;
    return thaw__list_check_stop(r);
}

/* The class is the folder that the picture lies in. */
static thaw_status add_by_folder(shard *t, const picture *p) {
    const char *slash = strrchr(p->name, '/'), *begin = slash;
    while (begin && begin > p->name && begin[-1] != '/')
        begin--;
    if (!slash || begin == slash)
        return thaw_fail(t->r->err, THAW_ERR_DATA,
                         "'%.300s': '%.200s', at byte %" PRIu64
                         ", has no class: expected a member called %.*s.cls next to it, or "
                         "%.*s.json with a \"label\", or a folder that is called like the class",
                         t->file, p->name, p->begin, (int)strlen(t->s.key), t->s.key,
                         (int)strlen(t->s.key), t->s.key);
    const char *class_name = thaw_arena_pack(&t->s.arena, begin, (size_t)(slash - begin));
    if (!class_name) return no_memory(t);
    return add_picture(t, p, class_name, THAW__CLASSES_OF_FOLDERS);
}

/* 7.jpg, not 7.mask.png. */
static bool is_plain(const sample *s, const picture *p) {
    const char *point = strchr(p->name + strlen(s->key), '.');
    return !point || !strchr(point + 1, '.');
}

/* The picture of a sample that has a class, the plain one where there are others. */
static thaw_status add_labelled(shard *t) {
    const sample *s = &t->s;
    const picture *best = NULL, *rival = NULL;
    for (size_t i = 0; i < s->n; i++) {
        const picture *p = &s->pictures[i];
        if (!best || is_plain(s, p) > is_plain(s, best)) {
            best = p;
            rival = NULL;
        } else if (is_plain(s, p) == is_plain(s, best)) {
            rival = p;
        }
    }
    if (rival)
        return thaw_fail(t->r->err, THAW_ERR_DATA,
                         "'%.300s': '%.200s', at byte %" PRIu64 ", and '%.200s', at byte %" PRIu64
                         ", are two pictures of one sample, which has one class: keep one",
                         t->file, best->name, best->begin, rival->name, rival->begin);
    t->r->list->n_pictureless += !best;
    return best ? add_picture(t, best, s->class_name, THAW__CLASSES_OF_MEMBERS) : THAW_OK;
}

static thaw_status finish_sample(shard *t) {
    sample *s = &t->s;
    thaw_status status = s->class_name ? add_labelled(t) : THAW_OK;
    for (size_t i = 0; i < s->n && !s->class_name && status == THAW_OK; i++)
        status = add_by_folder(t, &s->pictures[i]);
    thaw_arena_free(&s->arena);
    s->key = s->class_name = NULL;
    s->n = 0;
    return status;
}

/* ---- members --------------------------------------------------------------------------------- */

static thaw_status fail_class(const shard *t, const thaw_tar_member *m, const char *why) {
    return thaw_fail(t->r->err, THAW_ERR_FORMAT, "'%.300s': '%.200s', at byte %" PRIu64 ", %s",
                     t->file, m->name, m->begin, why);
}

/* The text of a .cls: the number of a class, or its name. */
static thaw_status read_class(shard *t, const thaw_tar_member *m) {
    thaw_arena *arena = &t->s.arena;
    char *text;
    size_t n;
    THAW_TRY(thaw_tar_take(t->tar, CLASS_BYTES, arena, &text, &n, t->r->err));
    if (memchr(text, '\0', n)) return fail_class(t, m, "is no text: it has a byte of 0");
    while (n > 0 && strchr(" \t\r\n", text[n - 1]))
        text[--n] = '\0';
    text += strspn(text, " \t\r\n");
    if (!*text) return fail_class(t, m, "is empty: expected the number or the name of a class");
    json_t *value = json_string_nocheck(text);
    thaw_status status =
        value ? thaw__list_class_of(t->r, value, arena, &t->s.class_name) : no_memory(t);
    json_decref(value);
    return status;
}

static thaw_status find_class(shard *t, const thaw_tar_member *m, const json_t *json) {
    static const char *const keys[] = {"cls", "label", "class"};
    const json_t *value = NULL;
    for (size_t i = 0; i < sizeof keys / sizeof *keys && !value; i++)
        value = json_object_get(json, keys[i]);
    if (!value) return THAW_OK; /* It says other things. */
    THAW_TRY(thaw__list_class_of(t->r, value, &t->s.arena, &t->s.class_name));
    return t->s.class_name
               ? THAW_OK
               : fail_class(
                     t, m,
                     "has a label that is neither a whole number nor a name, nor a list of them");
}

static thaw_status read_json(shard *t, const thaw_tar_member *m) {
    thaw_arena arena = {0};
    json_t *json = NULL;
    char *text, where[PATH_MAX];
    size_t n;
    snprintf(where, sizeof where, "%.2000s/%" PRIu64 "/%.2000s", t->file, m->begin, m->name);
    thaw_status status = thaw_tar_take(t->tar, JSON_BYTES, &arena, &text, &n, t->r->err);
    if (status == THAW_OK) status = thaw_json_parse(text, n, where, &json, t->r->err);
    if (status == THAW_OK) status = find_class(t, m, json);
    json_decref(json);
    thaw_arena_free(&arena);
    return status;
}

static thaw_status keep_picture(shard *t, const thaw_tar_member *m) {
    sample *s = &t->s;
    if (s->n == s->capacity) {
        size_t capacity = s->capacity ? 2 * s->capacity : 16;
        picture *pictures = realloc(s->pictures, capacity * sizeof *pictures);
        if (!pictures) return no_memory(t);
        s->pictures = pictures;
        s->capacity = capacity;
    }
    const char *name = thaw_arena_pack(&s->arena, m->name, strlen(m->name));
    s->pictures[s->n++] = (picture){m->begin, name};
    return name ? THAW_OK : no_memory(t);
}

static thaw_status take_member(shard *t, const thaw_tar_member *m) {
    sample *s = &t->s;
    const char *slash = strrchr(m->name, '/'), *name = slash ? slash + 1 : m->name;
    size_t key = (size_t)(name - m->name) + strcspn(name, ".");
    if (!m->is_file) return THAW_OK;
    if (s->key && (strncmp(s->key, m->name, key) != 0 || s->key[key])) THAW_TRY(finish_sample(t));
    if (!s->key) s->key = thaw_arena_pack(&s->arena, m->name, key);
    if (!s->key) return no_memory(t);
    if (strcasecmp(m->name + key, ".cls") == 0) return read_class(t, m);
    if (strcasecmp(m->name + key, ".json") == 0 && !s->class_name) return read_json(t, m);
    return thaw_scan_takes(m->name) ? keep_picture(t, m) : THAW_OK;
}

static thaw_status take_members(shard *t) {
    thaw_tar_member m;
    for (bool end;;) {
        THAW_TRY(thaw_tar_next(t->tar, &m, &end, t->r->err));
        if (end) return t->s.key ? finish_sample(t) : THAW_OK;
        THAW_TRY(take_member(t, &m));
    }
}

thaw_status thaw__list_read_tar(thaw__list_reader *r, const char *name, thaw_split split) {
    shard t = {.r = r, .name = name, .split = split};
    t.file = thaw_file_join(r->arena, r->list->root, name);
    if (!t.file) return thaw__list_no_memory(r);
    THAW_TRY(thaw_tar_open(&t.tar, t.file, 0, r->err));
    thaw_status status = take_members(&t);
    thaw_tar_close(t.tar);
    thaw_arena_free(&t.s.arena);
    free(t.s.pictures);
    return status;
}
