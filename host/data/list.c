#include "list.h"

#include <dirent.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "csv.h"
#include "file.h"
#include "hash.h"
#include "recordio.h"
#include "text.h"

enum { QUOTED = 160 }; /* Bytes of a row that a sentence shows. */

typedef enum form { CSV, LST, REC, NO_LIST } form;

/* ---- texts that are there once ---------------------------------------------------------------- */

/* Texts by the order in which they came: a hash table, at most half full, of places in text. */
typedef struct words {
    const char **text; /* [n], packed in the arena. */
    size_t n, capacity;
    uint32_t *slots; /* [n_slots], a power of two: place + 1, 0 is free. */
    size_t n_slots;
} words;

static uint32_t *find_slot(const words *w, const char *text) {
    size_t at = (size_t)thaw_hash_bytes((thaw_hash){0}, text, strlen(text)).lo;
    for (;; at++) {
        uint32_t *slot = &w->slots[at & (w->n_slots - 1)];
        if (!*slot || strcmp(w->text[*slot - 1], text) == 0) return slot;
    }
}

static bool grow_words(words *w) {
    if (w->n == UINT32_MAX - 1) return false;
    if (w->n == w->capacity) {
        size_t capacity = w->capacity ? 2 * w->capacity : 256;
        const char **text = realloc(w->text, capacity * sizeof *text);
        if (!text) return false;
        w->text = text;
        w->capacity = capacity;
    }
    if (2 * (w->n + 1) <= w->n_slots) return true;
    size_t n_slots = w->n_slots ? 2 * w->n_slots : 512;
    uint32_t *slots = calloc(n_slots, sizeof *slots);
    if (!slots) return false;
    free(w->slots);
    w->slots = slots;
    w->n_slots = n_slots;
    for (size_t i = 0; i < w->n; i++)
        *find_slot(w, w->text[i]) = (uint32_t)i + 1;
    return true;
}

/* Finds the place of a text, the next one when it is new; false: no memory. */
static bool place_of(words *w, thaw_arena *arena, const char *text, size_t *place) {
    if (!grow_words(w)) return false;
    uint32_t *slot = find_slot(w, text);
    if (!*slot) {
        w->text[w->n] = thaw_arena_pack(arena, text, strlen(text));
        if (!w->text[w->n]) return false;
        *slot = (uint32_t)++w->n;
    }
    *place = *slot - 1;
    return true;
}

static int compare_names(const void *a, const void *b) {
    return thaw_text_natural(*(const char *const *)a, *(const char *const *)b);
}

static void free_words(words *w) {
    free(w->text);
    free(w->slots);
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* A list that is being read. Row i is that of the i-th path. */
typedef struct reader {
    const thaw_list_spec *spec;
    thaw_list *list;
    form form;
    thaw_arena *arena;
    thaw_error *err;
    words paths, classes;
    thaw_listed *rows; /* [paths.capacity] */
    size_t capacity;
    size_t at; /* The row that is being read, from 1. */
} reader;

static thaw_status no_memory(const reader *r) {
    return thaw_fail_memory(r->err, "for the list '%.600s'", r->spec->file);
}

static thaw_status check_stop(const reader *r) {
    if (r->at % 1024 || !r->spec->stop || !*r->spec->stop) return THAW_OK;
    return thaw_fail(r->err, THAW_ERR_INTERRUPTED, "stopped by a signal while reading '%.600s'",
                     r->spec->file);
}

/* Makes *path relative to the root. */
static thaw_status enter_root(const reader *r, const char **path) {
    const char *root = r->list->root, *p = *path;
    size_t n = strlen(root);
    while (n > 0 && root[n - 1] == '/')
        n--;
    bool below = *root && strncmp(p, root, n) == 0 && p[n] == '/';
    if (*p == '/' && !below)
        return thaw_fail(r->err, THAW_ERR_DATA,
                         "row %zu of '%.300s': '%.200s' does not lie in '%.200s', which paths are "
                         "relative to; data.root = / allows all",
                         r->at, r->spec->file, p, *root ? root : ".");
    if (*p == '/') p += n;
    p += strspn(p, "/");
    while (p[0] == '.' && p[1] == '/')
        p += 1 + strspn(p + 1, "/");
    if (thaw_file_leads_out(p))
        return thaw_fail(r->err, THAW_ERR_DATA,
                         "row %zu of '%.300s': '%.300s' leads out of the folder that paths are "
                         "relative to; list them without .., relative to a data.root above it",
                         r->at, r->spec->file, *path);
    if (strlen(root) + 1 + strlen(p) >= PATH_MAX)
        return thaw_fail(r->err, THAW_ERR_DATA, "row %zu of '%.600s' has a path that is too long",
                         r->at, r->spec->file);
    *path = p;
    return THAW_OK;
}

/* What is said of a picture that is listed twice. */
static thaw_status compare_rows(const reader *r, const thaw_listed *one, const thaw_listed *other) {
    const char *what = NULL, *a = one->group ? one->group : "",
               *b = other->group ? other->group : "";
    if (strcmp(a, b) != 0) what = "group";
    if (one->split != other->split) {
        what = "split";
        a = thaw_split_name(one->split);
        b = thaw_split_name(other->split);
    }
    if (one->label != other->label) {
        what = "class";
        a = r->classes.text[one->label];
        b = r->classes.text[other->label];
    }
    if (!what) return THAW_OK;
    return thaw_fail(r->err, THAW_ERR_DATA,
                     "rows %zu and %zu of '%.300s' disagree on the %s of '%.300s': it is '%.100s' "
                     "and '%.100s'",
                     (size_t)one->row, (size_t)other->row, r->spec->file, what, one->path, a, b);
}

/* Adds the picture at path; group NULL: none. */
static thaw_status add_row(reader *r, const char *path, const char *class_name, thaw_split split,
                           const char *group) {
    size_t place, label, n = r->paths.n;
    THAW_TRY(enter_root(r, &path));
    if (!place_of(&r->classes, r->arena, class_name, &label) ||
        !place_of(&r->paths, r->arena, path, &place))
        return no_memory(r);
    if (r->capacity < r->paths.capacity) {
        thaw_listed *rows = realloc(r->rows, r->paths.capacity * sizeof *rows);
        if (!rows) return no_memory(r);
        r->rows = rows;
        r->capacity = r->paths.capacity;
    }
    thaw_listed row = {.path = r->paths.text[place],
                       .label = (uint32_t)label,
                       .row = (uint32_t)r->at,
                       .split = split};
    if (group) row.group = thaw_arena_pack(r->arena, group, strlen(group));
    if (group && !row.group) return no_memory(r);
    if (place < n) {
        r->list->n_again++;
        return compare_rows(r, &r->rows[place], &row);
    }
    r->rows[place] = row;
    return THAW_OK;
}

/* ---- CSV ------------------------------------------------------------------------------------- */

enum { PATH, LABEL, SPLIT, GROUP, KNOWN, MOST_COLUMNS = 256 };

typedef struct columns {
    size_t n;      /* Of the header. */
    int at[KNOWN]; /* -1: there is none. */
} columns;

static thaw_status read_header(reader *r, char **at, columns *c) {
    static const char *const names[] = {"path", "label", "split", "group", NULL};
    char *fields[MOST_COLUMNS], header[QUOTED];
    snprintf(header, sizeof header, "%.*s", (int)strcspn(*at, "\r\n"), *at);
    *c = (columns){.at = {-1, -1, -1, -1}};
    if (!thaw_csv_next(at, fields, MOST_COLUMNS, &c->n)) c->n = 0;
    for (size_t i = 0; i < c->n && i < MOST_COLUMNS; i++) {
        int known = thaw_text_find(names, fields[i]);
        if (known >= 0 && c->at[known] >= 0)
            return thaw_fail(r->err, THAW_ERR_FORMAT, "'%.600s' has two columns called %s",
                             r->spec->file, names[known]);
        if (known >= 0) c->at[known] = (int)i;
    }
    for (int known = PATH; known <= LABEL; known++)
        if (c->at[known] < 0)
            return thaw_fail(
                r->err, THAW_ERR_FORMAT,
                "'%.500s' has no column called %s: expected path,label, and split and "
                "group if you like, with commas between, in its first row, which is '%s'",
                r->spec->file, names[known], header);
    return THAW_OK;
}

static thaw_status read_split(const reader *r, const char *path, const char *word,
                              thaw_split *split) {
    *split = *word ? thaw_split_of_name(word) : THAW_SPLIT_TRAIN;
    if (*split != THAW_SPLIT_COUNT) return THAW_OK;
    return thaw_fail(r->err, THAW_ERR_FORMAT,
                     "row %zu of '%.300s', '%.200s': its split is '%.100s'; expected train, "
                     "validation or test",
                     r->at, r->spec->file, path, word);
}

static thaw_status take_fields(reader *r, const columns *c, char *const *fields) {
    const char *path = fields[c->at[PATH]], *label = fields[c->at[LABEL]];
    const char *group = c->at[GROUP] >= 0 ? fields[c->at[GROUP]] : "";
    thaw_split split = THAW_SPLIT_TRAIN;
    if (c->at[SPLIT] >= 0) THAW_TRY(read_split(r, path, fields[c->at[SPLIT]], &split));
    if (!*path || !*label)
        return thaw_fail(r->err, THAW_ERR_FORMAT, "row %zu of '%.300s', '%.200s', has no %s", r->at,
                         r->spec->file, *path ? path : label, *path ? "label" : "path");
    return add_row(r, path, label, split, *group ? group : NULL);
}

static thaw_status read_csv(reader *r, char *text, size_t n) {
    char *fields[MOST_COLUMNS], *end = text + n;
    columns c;
    size_t n_fields;
    if (strncmp(text, "\xef\xbb\xbf", 3) == 0) text += 3; /* As spreadsheets begin UTF-8. */
    THAW_TRY(read_header(r, &text, &c));
    r->list->has_splits = c.at[SPLIT] >= 0;
    r->list->has_groups = c.at[GROUP] >= 0;
    for (r->at = 2; thaw_csv_next(&text, fields, MOST_COLUMNS, &n_fields); r->at++) {
        if (n_fields == 1 && !*fields[0]) continue;
        if (n_fields != c.n)
            return thaw_fail(r->err, THAW_ERR_FORMAT,
                             "row %zu of '%.300s', which begins with '%.200s', has %zu fields; its "
                             "header has %zu",
                             r->at, r->spec->file, fields[0], n_fields, c.n);
        THAW_TRY(take_fields(r, &c, fields));
        THAW_TRY(check_stop(r));
    }
    if (text == end) return THAW_OK;
    return thaw_fail(r->err, THAW_ERR_FORMAT,
                     "row %zu of '%.600s': a field that begins with a quote does not end with one",
                     r->at, r->spec->file);
}

/* ---- .lst ------------------------------------------------------------------------------------ */

/* Adds a picture of a class that has a number, as MXNet's tools write it: "3", "3.0", "3.000000".
 * False in *good: it is none. */
static thaw_status add_numbered(reader *r, const char *path, double id, bool *good) {
    enum { MOST = 1 << 24 }; /* The floats that a RecordIO file has are exact up to there. */
    char text[32];
    *good = id >= 0 && id <= MOST && id == (double)(int64_t)id;
    if (!*good) return THAW_OK;
    snprintf(text, sizeof text, "%lld", (long long)id);
    return add_row(r, path, text, THAW_SPLIT_TRAIN, NULL);
}

static thaw_status fail_line(const reader *r, const char *line) {
    return thaw_fail(r->err, THAW_ERR_FORMAT,
                     "row %zu of '%.300s', '%.160s': expected a number, a class id from 0 on and a "
                     "path, with tabs between",
                     r->at, r->spec->file, line);
}

static thaw_status take_line(reader *r, char *line) {
    enum { FIELDS = 3 };
    char *fields[FIELDS] = {0}, shown[QUOTED];
    size_t n = 0;
    double index, id;
    bool good;
    snprintf(shown, sizeof shown, "%s", line);
    for (char *field; (field = strsep(&line, "\t")); n++)
        fields[n < FIELDS ? n : FIELDS - 1] = field; /* The path is the last. */
    if (n < FIELDS || !*fields[FIELDS - 1] || !thaw_text_number(fields[0], &index))
        return fail_line(r, shown);
    if (n > FIELDS)
        return thaw_fail(r->err, THAW_ERR_UNSUPPORTED,
                         "row %zu of '%.300s', '%.160s', has %zu labels: Thaw learns one class a "
                         "picture",
                         r->at, r->spec->file, shown, n - 2);
    if (!thaw_text_number(fields[1], &id)) return fail_line(r, shown);
    THAW_TRY(add_numbered(r, fields[2], id, &good));
    return good ? THAW_OK : fail_line(r, shown);
}

static thaw_status read_lst(reader *r, char *text) {
    r->at = 1;
    for (char *line; (line = strsep(&text, "\n")); r->at++) {
        size_t n = strlen(line);
        if (n > 0 && line[n - 1] == '\r') line[--n] = '\0';
        if (n > 0) THAW_TRY(take_line(r, line));
        THAW_TRY(check_stop(r));
    }
    return THAW_OK;
}

/* ---- RecordIO -------------------------------------------------------------------------------- */

static thaw_status take_record(reader *r, const char *file, const char *name,
                               const thaw_record *record) {
    char path[PATH_MAX];
    bool good = true;
    if (record->n_labels > 1)
        return thaw_fail(r->err, THAW_ERR_UNSUPPORTED,
                         "'%.600s': the record at byte %" PRIu64 " has %" PRIu32
                         " labels: Thaw "
                         "learns one class a picture",
                         file, record->begin, record->n_labels);
    snprintf(path, sizeof path, "%.4000s/%" PRIu64, name, record->begin);
    THAW_TRY(add_numbered(r, path, (double)record->label, &good));
    if (good) return THAW_OK;
    return thaw_fail(r->err, THAW_ERR_FORMAT,
                     "'%.600s': the record at byte %" PRIu64
                     " has the label %g: expected a class id, "
                     "a whole number from 0 on",
                     file, record->begin, (double)record->label);
}

/* Reads the heads of all records: the pictures stay where they are. */
static thaw_status read_records(reader *r, const char *name) {
    int fd;
    uint64_t size;
    thaw_record record = {0};
    const char *file = thaw_file_join(r->arena, r->list->root, name);
    if (!file) return no_memory(r);
    THAW_TRY(thaw_file_open(file, &fd, &size, r->err));
    thaw_status status = THAW_OK;
    for (; record.end < size && status == THAW_OK; r->at++) {
        status = thaw_record_look(fd, file, size, record.end, &record, r->err);
        if (status == THAW_OK) status = take_record(r, file, name, &record);
        if (status == THAW_OK) status = check_stop(r);
    }
    close(fd);
    return status;
}

/* ---- classes --------------------------------------------------------------------------------- */

/* The folder that a path's file lies in, without those above it; n receives its length, 0: in none. */
static const char *find_folder(const char *path, size_t *n) {
    const char *end = strrchr(path, '/'), *begin = end ? end : path;
    while (begin > path && begin[-1] != '/')
        begin--;
    *n = end ? (size_t)(end - begin) : 0;
    return begin;
}

/* The folders' names differ. */
static thaw_status compare_folders(reader *r, const char *const *names, bool *differ) {
    words seen = {0};
    bool memory = true;
    for (size_t k = 0, place; k < r->classes.n && memory && *differ; k++) {
        memory = place_of(&seen, r->arena, names[k], &place);
        *differ = place == k;
    }
    free_words(&seen);
    return memory ? THAW_OK : no_memory(r);
}

/* names [classes.n] receive the folder of each class, where each has one of its own; else NULLs. */
static thaw_status find_folders(reader *r, const char **names) {
    bool all = true;
    for (size_t i = 0; i < r->paths.n && all; i++) {
        size_t n;
        const char **name = &names[r->rows[i].label], *folder = find_folder(r->rows[i].path, &n);
        if (n > 0 && !*name) *name = thaw_arena_pack(r->arena, folder, n);
        if (n > 0 && !*name) return no_memory(r);
        all = n > 0 && strlen(*name) == n && strncmp(*name, folder, n) == 0;
    }
    if (all) THAW_TRY(compare_folders(r, names, &all));
    if (!all) memset(names, 0, r->classes.n * sizeof *names);
    return THAW_OK;
}

/* The class of the list that is trained on with this id, or with this name; -1: none. */
static ptrdiff_t find_trained(const thaw_list *trained, int64_t id, const char *name) {
    for (size_t k = 0; k < trained->n_classes; k++)
        if (name ? strcmp(trained->classes[k], name) == 0 : trained->ids[k] == id)
            return (ptrdiff_t)k;
    return -1;
}

/* A list that is not trained on calls a class as the one that is. */
static thaw_status name_as_trained(const reader *r, const thaw_list *trained, int64_t id,
                                   const char *folder, const char **name) {
    ptrdiff_t same = find_trained(trained, id, NULL);
    ptrdiff_t other = folder ? find_trained(trained, 0, folder) : -1;
    if (same < 0) return THAW_OK;
    *name = trained->classes[same];
    if (other < 0 || other == same) return THAW_OK;
    return thaw_fail(r->err, THAW_ERR_DATA,
                     "'%.300s' has pictures of class %lld in the folder '%.100s', which is class "
                     "%lld in '%.300s': the two lists number the classes differently",
                     r->spec->file, (long long)id, folder, (long long)trained->ids[other],
                     trained->file);
}

/* A class with its place among classes as they came. */
typedef struct named {
    const char *name;
    int64_t id; /* -1: none. */
    size_t place;
} named;

static int compare_named(const void *a, const void *b) {
    const named *x = a, *y = b;
    if (x->id != y->id) return x->id < y->id ? -1 : 1;
    return thaw_text_natural(x->name, y->name);
}

/* Sets name and id of all classes, as they came. */
static thaw_status name_classes(reader *r, named *all) {
    const thaw_list *trained = r->spec->trained;
    const char **folders = thaw_arena_array(r->arena, r->classes.n, sizeof *folders);
    if (!folders) return no_memory(r);
    if (r->form == LST) THAW_TRY(find_folders(r, folders));
    for (size_t k = 0; k < r->classes.n; k++) {
        all[k] = (named){.name = r->classes.text[k], .id = -1, .place = k};
        if (r->form == CSV) continue;
        if (!thaw_text_integer(all[k].name, &all[k].id)) return no_memory(r); /* It was one. */
        if (trained && trained->ids)
            THAW_TRY(name_as_trained(r, trained, all[k].id, folders[k], &all[k].name));
        else if (folders[k])
            all[k].name = folders[k];
    }
    return THAW_OK;
}

static int compare_listed(const void *a, const void *b) {
    return thaw_text_natural(((const thaw_listed *)a)->path, ((const thaw_listed *)b)->path);
}

/* Copies the n rows into the list by class; false: no memory. */
static bool put_rows(thaw_list *list, thaw_arena *arena, const thaw_listed *rows, size_t n) {
    thaw_listed *to = thaw_arena_array(arena, n, sizeof *to);
    size_t *first = thaw_arena_array(arena, list->n_classes + 1, sizeof *first);
    if (!to || !first) return false;
    for (size_t i = 0; i < n; i++)
        first[rows[i].label + 1]++;
    for (size_t k = 0; k < list->n_classes; k++)
        first[k + 1] += first[k];
    for (size_t i = 0; i < n; i++)
        to[first[rows[i].label]++] = rows[i];
    for (size_t k = list->n_classes; k > 0; k--)
        first[k] = first[k - 1]; /* Each has moved to where the next begins. */
    first[0] = 0;
    list->rows = to;
    list->n = n;
    list->first = first;
    return true;
}

/* Brings classes and rows into their order. */
static thaw_status finish(reader *r) {
    thaw_list *list = r->list;
    size_t K = r->classes.n, n = r->paths.n;
    named *all = thaw_arena_array(r->arena, K, sizeof *all);
    const char **classes = thaw_arena_array(r->arena, K, sizeof *classes);
    int64_t *ids = thaw_arena_array(r->arena, K, sizeof *ids);
    uint32_t *label = thaw_arena_array(r->arena, K, sizeof *label);
    if (!all || !classes || !ids || !label) return no_memory(r);
    THAW_TRY(name_classes(r, all));
    qsort(all, K, sizeof *all, compare_named);
    for (size_t k = 0; k < K; k++) {
        classes[k] = all[k].name;
        ids[k] = all[k].id;
        label[all[k].place] = (uint32_t)k;
    }
    for (size_t i = 0; i < n; i++)
        r->rows[i].label = label[r->rows[i].label];
    list->classes = classes;
    list->n_classes = K;
    list->ids = r->form == CSV ? NULL : ids;
    if (!put_rows(list, r->arena, r->rows, n)) return no_memory(r);
    for (size_t k = 0; k < K; k++)
        qsort(list->rows + list->first[k], list->first[k + 1] - list->first[k], sizeof *list->rows,
              compare_listed);
    return THAW_OK;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* The folder that a list lies in, "" for the working folder. NULL: no memory. */
static char *own_folder(const char *file, thaw_arena *arena) {
    const char *slash = strrchr(file, '/');
    size_t n = !slash ? 0 : slash == file ? 1 : (size_t)(slash - file);
    return thaw_arena_string(arena, file, n);
}

/* What paths are relative to where nobody says so: see thaw_list_spec. */
static const char *choose_root(const char *file, thaw_arena *arena) {
    static const char suffix[] = "_lst";
    struct stat info;
    const char *own = own_folder(file, arena);
    size_t n = own ? strlen(own) : 0, end = sizeof suffix - 1;
    if (n <= end || strcmp(own + n - end, suffix) != 0 || own[n - end - 1] == '/') return own;
    const char *beside = thaw_arena_string(arena, own, n - end);
    return !beside || (stat(beside, &info) == 0 && S_ISDIR(info.st_mode)) ? beside : own;
}

static form form_of(const char *file) {
    static const char *const ends[] = {".csv", ".lst", ".rec", NULL};
    const char *dot = strrchr(file, '.');
    int found = dot ? thaw_text_find(ends, dot) : -1;
    return found < 0 ? NO_LIST : (form)found;
}

/* RecordIO files in a folder that holds no folder, in natural order; *n is 0 where it does. Sizes and all
 * else that is wrong with them are for who reads them. */
static thaw_status find_shards(const char *folder, thaw_arena *arena, words *shards,
                               thaw_error *err) {
    DIR *dir = opendir(folder);
    thaw_status status = THAW_OK;
    size_t place;
    bool folders = false;
    for (const struct dirent *entry;
         dir && !folders && status == THAW_OK && (entry = readdir(dir));) {
        struct stat info;
        if (entry->d_name[0] == '.' || fstatat(dirfd(dir), entry->d_name, &info, 0) != 0) continue;
        folders |= S_ISDIR(info.st_mode);
        if (S_ISREG(info.st_mode) && form_of(entry->d_name) == REC &&
            !place_of(shards, arena, entry->d_name, &place))
            status = thaw_fail_memory(err, "for the files in '%.600s'", folder);
    }
    if (dir) closedir(dir);
    if (folders) shards->n = 0;
    if (shards->n) qsort(shards->text, shards->n, sizeof *shards->text, compare_names);
    return status;
}

thaw_status thaw_list_is(const char *path, bool *is, thaw_error *err) {
    struct stat info;
    words shards = {0};
    thaw_arena arena = {0};
    thaw_status status = THAW_OK;
    *is = stat(path, &info) == 0 && S_ISREG(info.st_mode);
    if (!*is) status = find_shards(path, &arena, &shards, err);
    *is |= shards.n > 0;
    free_words(&shards);
    thaw_arena_free(&arena);
    return status;
}

static thaw_status read_text(reader *r) {
    thaw_arena arena = {0};
    char *text;
    size_t n;
    thaw_status status = thaw_file_read(r->spec->file, SIZE_MAX, &arena, &text, &n, r->err);
    if (status == THAW_OK && memchr(text, '\0', n))
        status = thaw_fail(r->err, THAW_ERR_FORMAT, "'%.600s' is no text: it has a byte of 0",
                           r->spec->file);
    if (status == THAW_OK) status = r->form == LST ? read_lst(r, text) : read_csv(r, text, n);
    thaw_arena_free(&arena);
    return status;
}

static thaw_status read_shards(reader *r) {
    words shards = {0};
    thaw_status status = find_shards(r->spec->file, r->arena, &shards, r->err);
    r->list->root = r->list->file;
    for (size_t i = 0; i < shards.n && status == THAW_OK; i++)
        status = read_records(r, shards.text[i]);
    free_words(&shards);
    return status;
}

static thaw_status read_all(reader *r) {
    const char *file = r->spec->file, *slash = strrchr(file, '/');
    thaw_list *list = r->list;
    struct stat info;
    list->file = thaw_arena_string(r->arena, file, strlen(file));
    list->root = r->form == REC  ? own_folder(file, r->arena)
                 : r->spec->root ? thaw_arena_string(r->arena, r->spec->root, strlen(r->spec->root))
                                 : choose_root(file, r->arena);
    if (!list->file || !list->root) return no_memory(r);
    if (stat(file, &info) == 0 && S_ISDIR(info.st_mode)) {
        r->form = REC;
        THAW_TRY(read_shards(r));
    } else if (r->form == REC) {
        THAW_TRY(read_records(r, slash ? slash + 1 : file));
    } else if (r->form == NO_LIST) {
        return thaw_fail(
            r->err, THAW_ERR_UNSUPPORTED,
            "'%.600s' is a file: expected a folder with one sub-folder of pictures for "
            "each class, or a list of pictures called NAME.csv, NAME.lst or NAME.rec",
            file);
    } else {
        THAW_TRY(read_text(r));
    }
    if (r->paths.n == 0) return thaw_fail(r->err, THAW_ERR_DATA, "'%.600s' lists no picture", file);
    return finish(r);
}

thaw_status thaw_list_read(thaw_list *list, const thaw_list_spec *spec, thaw_arena *arena,
                           thaw_error *err) {
    reader r = {
        .spec = spec, .list = list, .form = form_of(spec->file), .arena = arena, .err = err};
    *list = (thaw_list){0};
    thaw_status status = read_all(&r);
    free_words(&r.paths);
    free_words(&r.classes);
    free(r.rows);
    return status;
}

thaw_status thaw_list_select(const thaw_list *list, thaw_split split, thaw_arena *arena,
                             thaw_list *selected, thaw_error *err) {
    size_t n = 0;
    thaw_listed *rows = malloc((list->n + 1) * sizeof *rows);
    for (size_t i = 0; rows && i < list->n; i++)
        if (list->rows[i].split == split) rows[n++] = list->rows[i];
    *selected = *list;
    if (split != THAW_SPLIT_TRAIN) selected->n_again = 0; /* Said once. */
    bool memory = rows && put_rows(selected, arena, rows, n);
    free(rows);
    return memory ? THAW_OK : thaw_fail_memory(err, "for the list '%.600s'", list->file);
}

const char *thaw_list_name(const thaw_list *list, const thaw_listed *row) {
    const char *class_name = list->classes[row->label];
    size_t n = strlen(class_name);
    for (const char *part = row->path, *slash; part; part = slash ? slash + 1 : NULL) {
        if (strncmp(part, class_name, n) == 0 && part[n] == '/') return part + n + 1;
        slash = strchr(part, '/');
    }
    return row->path;
}
