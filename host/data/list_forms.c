#include "list_forms.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "csv.h"
#include "file.h"
#include "recordio.h"
#include "text.h"

enum { QUOTED = 160 }; /* Bytes of a row that a sentence shows. */

/* ---- rows ------------------------------------------------------------------------------------ */

thaw_status thaw__list_no_memory(const thaw__list_reader *r) {
    return thaw_fail_memory(r->err, "for the list '%.600s'", r->spec->file);
}

thaw_status thaw__list_check_stop(const thaw__list_reader *r) {
    if (r->at % 1024 || !r->spec->stop || !*r->spec->stop) return THAW_OK;
    return thaw_fail(r->err, THAW_ERR_INTERRUPTED, "stopped by a signal while reading '%.600s'",
                     r->spec->file);
}

/* Makes *path relative to the root. */
static thaw_status enter_root(const thaw__list_reader *r, const char **path) {
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
static thaw_status compare_rows(const thaw__list_reader *r, const thaw_listed *one,
                                const thaw_listed *other) {
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

thaw_status thaw__list_add_row(thaw__list_reader *r, const char *path, const char *class_name,
                               thaw_split split, const char *group) {
    size_t place, label, n = r->paths.n;
    THAW_TRY(enter_root(r, &path));
    if (!thaw_words_place(&r->classes, r->arena, class_name, &label) ||
        !thaw_words_place(&r->paths, r->arena, path, &place))
        return thaw__list_no_memory(r);
    if (r->capacity < r->paths.capacity) {
        thaw_listed *rows = realloc(r->rows, r->paths.capacity * sizeof *rows);
        if (!rows) return thaw__list_no_memory(r);
        r->rows = rows;
        r->capacity = r->paths.capacity;
    }
    thaw_listed row = {.path = r->paths.text[place],
                       .label = (uint32_t)label,
                       .row = (uint32_t)r->at,
                       .split = split};
    if (group) row.group = thaw_arena_pack(r->arena, group, strlen(group));
    if (group && !row.group) return thaw__list_no_memory(r);
    if (place < n) {
        r->list->n_again++;
        return compare_rows(r, &r->rows[place], &row);
    }
    r->rows[place] = row;
    return THAW_OK;
}

/* Several classes of a picture, as one text. */
static thaw_status join_classes(const thaw__list_reader *r, const json_t *list, thaw_arena *arena,
                                const char **joined) {
    const char *text = "", *one = NULL;
    const json_t *value;
    size_t i;
    *joined = NULL;
    json_array_foreach(list, i, value) {
        THAW_TRY(json_is_array(value) ? THAW_OK : thaw__list_class_of(r, value, arena, &one));
        if (json_is_array(value) || !one) return THAW_OK;
        text = thaw_arena_printf(arena, "%s%.*s%s", text, i > 0, THAW_LABEL_SEPARATOR, one);
        if (!text) return thaw__list_no_memory(r);
    }
    *joined = text;
    return THAW_OK;
}

thaw_status thaw__list_class_of(const thaw__list_reader *r, const json_t *value, thaw_arena *arena,
                                const char **class_name) {
    if (json_is_array(value)) return join_classes(r, value, arena, class_name);
    const char *text = json_string_value(value);
    double real = json_is_real(value) ? json_real_value(value) : 0.5;
    int64_t id = json_integer_value(value);
    bool number = text ? thaw_text_integer(text, &id) : json_is_integer(value);
    *class_name = NULL;
    if (fabs(real) < 1e15 && real == floor(real)) { /* 3.0, as some tools write it. */
        number = true;
        id = (int64_t)real;
    }
    if (!number && (!text || !*text)) return THAW_OK;
    *class_name = number ? thaw_arena_printf(arena, "%" PRId64, id)
                         : thaw_arena_pack(arena, text, strlen(text));
    return *class_name ? THAW_OK : thaw__list_no_memory(r);
}

/* ---- CSV ------------------------------------------------------------------------------------- */

enum { PATH, LABEL, SPLIT, GROUP, KNOWN, MOST_COLUMNS = 256 };

typedef struct columns {
    size_t n;      /* Of the header. */
    int at[KNOWN]; /* -1: there is none. */
} columns;

static thaw_status read_header(thaw__list_reader *r, char **at, columns *c) {
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

static thaw_status read_split(const thaw__list_reader *r, const char *path, const char *word,
                              thaw_split *split) {
    *split = *word ? thaw_split_of_name(word) : THAW_SPLIT_TRAIN;
    if (*split != THAW_SPLIT_COUNT) return THAW_OK;
    return thaw_fail(r->err, THAW_ERR_FORMAT,
                     "row %zu of '%.300s', '%.200s': its split is '%.100s'; expected train, "
                     "validation or test",
                     r->at, r->spec->file, path, word);
}

static thaw_status take_fields(thaw__list_reader *r, const columns *c, char *const *fields) {
    const char *path = fields[c->at[PATH]], *label = fields[c->at[LABEL]];
    const char *group = c->at[GROUP] >= 0 ? fields[c->at[GROUP]] : "";
    thaw_split split = THAW_SPLIT_TRAIN;
    if (c->at[SPLIT] >= 0) THAW_TRY(read_split(r, path, fields[c->at[SPLIT]], &split));
    if (!*path)
        return thaw_fail(r->err, THAW_ERR_FORMAT, "row %zu of '%.300s', '%.200s', has no path",
                         r->at, r->spec->file, label);
    if (!*label && !r->unlabelled) r->unlabelled = r->at;
    return thaw__list_add_row(r, path, label, split, *group ? group : NULL);
}

thaw_status thaw__list_read_csv(thaw__list_reader *r, char *text, size_t n) {
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
        THAW_TRY(thaw__list_check_stop(r));
    }
    if (text == end) return THAW_OK;
    return thaw_fail(r->err, THAW_ERR_FORMAT,
                     "row %zu of '%.600s': a field that begins with a quote does not end with one",
                     r->at, r->spec->file);
}

/* ---- .lst ------------------------------------------------------------------------------------ */

/* Adds a picture of a class that has a number, as MXNet's tools write it: "3", "3.0", "3.000000".
 * False in *good: it is none. */
static thaw_status add_numbered(thaw__list_reader *r, const char *path, double id, bool *good) {
    enum { MOST = 1 << 24 }; /* The floats that a RecordIO file has are exact up to there. */
    char text[32];
    *good = id >= 0 && id <= MOST && id == (double)(int64_t)id;
    if (!*good) return THAW_OK;
    snprintf(text, sizeof text, "%lld", (long long)id);
    return thaw__list_add_row(r, path, text, THAW_SPLIT_TRAIN, NULL);
}

static thaw_status fail_line(const thaw__list_reader *r, const char *line) {
    return thaw_fail(r->err, THAW_ERR_FORMAT,
                     "row %zu of '%.300s', '%.160s': expected a number, a class id from 0 on and a "
                     "path, with tabs between",
                     r->at, r->spec->file, line);
}

static thaw_status take_line(thaw__list_reader *r, char *line) {
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

thaw_status thaw__list_read_lst(thaw__list_reader *r, char *text) {
    r->at = 1;
    for (char *line; (line = strsep(&text, "\n")); r->at++) {
        size_t n = strlen(line);
        if (n > 0 && line[n - 1] == '\r') line[--n] = '\0';
        if (n > 0) THAW_TRY(take_line(r, line));
        THAW_TRY(thaw__list_check_stop(r));
    }
    return THAW_OK;
}

/* ---- RecordIO -------------------------------------------------------------------------------- */

static thaw_status take_record(thaw__list_reader *r, const char *file, const char *name,
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
thaw_status thaw__list_read_records(thaw__list_reader *r, const char *name) {
    int fd;
    uint64_t size;
    thaw_record record = {0};
    const char *file = thaw_file_join(r->arena, r->list->root, name);
    if (!file) return thaw__list_no_memory(r);
    THAW_TRY(thaw_file_open(file, &fd, &size, r->err));
    thaw_status status = THAW_OK;
    for (; record.end < size && status == THAW_OK; r->at++) {
        status = thaw_record_look(fd, file, size, record.end, &record, r->err);
        if (status == THAW_OK) status = take_record(r, file, name, &record);
        if (status == THAW_OK) status = thaw__list_check_stop(r);
    }
    close(fd);
    return status;
}
