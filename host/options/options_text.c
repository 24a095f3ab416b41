/* Options as text: ini files in and out, --help, the configuration in force. */
#include <ini.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "file.h"
#include "option_types.h"
#include "options.h"
#include "utf8.h"

enum {
    INI_BYTES_MAX = 1 << 20, /* A configuration is no larger. */
    INI_LINE_MAX = 180,      /* What we write: inih, as distributed, reads 200 bytes a line. */
    LINE_WIDTH = 98,         /* Of the lines of a help text. */
    VALUE_WIDTH = 16,        /* Of the column of values. */
    NAME_BYTES = 128,        /* Of a section and a key with a point between. */
    SOURCE_BYTES = 256,      /* Of "train.ini:12". */
};

/* ---- reading -------------------------------------------------------------------------------- */

typedef struct ini_reading {
    thaw_options *options;
    const char *name;           /* Of the file. */
    const char *text, *next;    /* The content, and what inih has not seen of it. */
    int line;                   /* That inih has, from 1. */
    int seen[THAW_OPTIONS_MAX]; /* Line that set an option, by row; 0 for none. */
    thaw_status status;         /* Of the first failure. */
    thaw_error *err;
} ini_reading;

/* Hands inih one line, as fgets would. White space in front is dropped, because inih would take
 * such a line for the continuation of the value above. */
static char *read_line(char *line, int size, void *stream) {
    ini_reading *r = stream;
    if (r->status != THAW_OK || !*r->next) return NULL;
    r->line++;
    const char *start = r->next + strspn(r->next, " \t");
    size_t n = strcspn(start, "\n");
    r->next = start + n + (start[n] == '\n');
    if (n + 2 > (size_t)size) {
        r->status = thaw_fail(r->err, THAW_ERR_USAGE,
                              "%s:%d: '%.60s...' is too long: a line has at most %d bytes; long "
                              "paths can be given on the command line",
                              r->name, r->line, start, size - 2);
        return NULL;
    }
    memcpy(line, start, n);
    strcpy(line + n, "\n");
    return line;
}

/* What is taken for a comment behind a value: inih cuts one with ';', one with '#' is refused. */
static const char *find_comment(const char *text, const char *marks) {
    for (const char *c = text; *c; c++)
        if (strchr(marks, *c) && (c == text || strchr(" \t", c[-1]))) return c;
    return NULL;
}

/* Takes one pair over. Returns what inih wants: 1, or 0 for an error in this line. */
static int take_pair(void *user, const char *section, const char *key, const char *value) {
    ini_reading *r = user;
    char name[NAME_BYTES], source[SOURCE_BYTES];
    if (r->status != THAW_OK) return 0;
    snprintf(name, sizeof name, "%s%s%s", section, *section ? "." : "", key);
    snprintf(source, sizeof source, "%.200s:%d", r->name, r->line);
    const thaw__option *row = thaw__options_find(name, THAW_FOR_ALL);
    int *seen = row ? &r->seen[row - thaw__options_table] : NULL;
    if (seen && *seen)
        r->status = thaw_fail(r->err, THAW_ERR_USAGE,
                              "%s: %s = '%.120s': line %d sets it already; keep one of the two",
                              source, row->key, value, *seen);
    else if (*value == '"' || *value == '\'')
        r->status =
            thaw_fail(r->err, THAW_ERR_USAGE, "%s: %s = %.120s: values are written without quotes",
                      source, name, value);
    else if (find_comment(value, "#"))
        r->status =
            thaw_fail(r->err, THAW_ERR_USAGE,
                      "%s: %s = '%.120s': a comment needs a line of its own", source, name, value);
    else
        r->status = thaw_options_set(r->options, name, value, source, r->err);
    if (seen) *seen = r->line;
    return r->status == THAW_OK;
}

/* Fails for a line that is neither a pair nor a section. */
static thaw_status fail_syntax(const ini_reading *r, int line) {
    const char *start = r->text;
    for (int i = 1; i < line; i++)
        start += strcspn(start, "\n") + 1;
    size_t n = strcspn(start, "\r\n");
    return thaw_fail(r->err, THAW_ERR_USAGE,
                     "%s:%d: '%.*s': expected 'key = value', '[section]' or '# comment'", r->name,
                     line, (int)(n < 120 ? n : 120), start);
}

thaw_status thaw_options_parse_ini(thaw_options *options, const char *name, const char *text,
                                   thaw_error *err) {
    ini_reading r = {.options = options, .name = name, .text = text, .next = text, .err = err};
    int line = ini_parse_stream(read_line, &r, take_pair, &r);
    if (line < 0) return thaw_fail_memory(err, "to read '%s'", name);
    /* inih goes on after a line that it does not understand, so that one may have come first. */
    bool syntax = line > 0 && (r.status == THAW_OK || line < r.line);
    return syntax ? fail_syntax(&r, line) : r.status;
}

thaw_status thaw_options_read_ini(thaw_options *options, const char *path, thaw_error *err) {
    thaw_arena arena = {0};
    char *text;
    size_t n;
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode))
        return thaw_fail(
            err, THAW_ERR_USAGE,
            "'%.400s' is a folder, and an ini file is expected here: pictures are given "
            "with --data.train=%.400s",
            path, path);
    thaw_status status = thaw_file_read(path, INI_BYTES_MAX, &arena, &text, &n, err);
    if (status == THAW_OK && strlen(text) != n)
        status = thaw_fail(err, THAW_ERR_FORMAT, "'%s' is not a text: byte %zu is 0", path,
                           strlen(text) + 1);
    if (status == THAW_OK) status = thaw_options_parse_ini(options, path, text, err);
    thaw_arena_free(&arena);
    return status;
}

/* ---- writing -------------------------------------------------------------------------------- */

/* Bytes of the section in a key: 4 for "head.lr", 0 for "epochs". */
static size_t section_length(const char *key) {
    const char *point = strchr(key, '.');
    return point ? (size_t)(point - key) : 0;
}

static bool same_section(const thaw__option *a, const thaw__option *b) {
    size_t n = section_length(a->key);
    return n == section_length(b->key) && !strncmp(a->key, b->key, n);
}

/* True when reading "key = text" gives text back. */
static bool fits_ini(const char *key, const char *text) {
    size_t n = strlen(text);
    if (n == 0) return true;
    if (strlen(key) + n > INI_LINE_MAX || find_comment(text, ";#")) return false;
    for (const char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) return false;
    return !strchr(" \"'", text[0]) && text[n - 1] != ' ';
}

/* The value as the file is to have it; NULL without memory. */
static const char *text_of(const thaw_options *options, const thaw__option *row, const char *folder,
                           thaw_arena *arena) {
    if (!options) return row->fallback;
    const char *text = options->origin[row - thaw__options_table].text;
    const char *path = NULL;
    if (folder && row->type->path) path = row->type->path((const char *)options + row->offset);
    if (!path || !*path) return text;
    const char *absolute = thaw_file_join(arena, folder, path);
    return !absolute || fits_ini(row->key, absolute) ? absolute : text;
}

/* Writes a sentence as lines of at most LINE_WIDTH bytes that all start with prefix. */
static void write_wrapped(FILE *out, const char *prefix, const char *text) {
    size_t column = 0;
    while (*text) {
        size_t n = strcspn(text, " ");
        if (column && column + 1 + n > LINE_WIDTH) {
            fputc('\n', out);
            column = 0;
        }
        column += (size_t)fprintf(out, "%s%.*s", column ? " " : prefix, (int)n, text);
        text += n + strspn(text + n, " ");
    }
    fputc('\n', out);
}

static thaw_status write_ini(FILE *out, const thaw_options *options, const char *folder,
                             thaw_arena *arena, thaw_error *err) {
    fputs("# Options of thaw, written by `thaw options`. The command line wins: --head.lr=0.01\n",
          out);
    for (size_t i = 0; i < thaw_options_count(); i++) {
        const thaw__option *row = &thaw__options_table[i];
        const char *text = text_of(options, row, folder, arena);
        size_t section = section_length(row->key);
        char expected[THAW__EXPECTED_TEXT];
        if (!text) return thaw_fail_memory(err, "to write the options");
        if (!fits_ini(row->key, text))
            return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                             "%s = '%.120s' cannot be written as a line of an ini file", row->key,
                             text);
        if (section && !same_section(row, row - 1))
            fprintf(out, "\n[%.*s]\n", (int)section, row->key);
        row->type->describe(row, expected);
        fputc('\n', out);
        write_wrapped(out, "# ", row->help);
        fprintf(out, "# Expected: %s.\n%s =%s%s\n", expected, row->key + section + (section > 0),
                *text ? " " : "", text);
    }
    if (fflush(out) != 0 || ferror(out))
        return thaw_fail(err, THAW_ERR_IO, "cannot write the options");
    return THAW_OK;
}

thaw_status thaw_options_write_ini(FILE *out, const thaw_options *options, const char *folder,
                                   thaw_error *err) {
    thaw_arena arena = {0};
    thaw_status status = write_ini(out, options, folder, &arena, err);
    thaw_arena_free(&arena);
    return status;
}

void thaw_options_write_help(FILE *out, unsigned commands) {
    const thaw__option *before = NULL;
    for (size_t i = 0; i < thaw_options_count(); i++) {
        const thaw__option *row = &thaw__options_table[i];
        if (!(row->used_by & commands)) continue;
        if (before && !same_section(row, before)) fputc('\n', out);
        before = row;
        char expected[THAW__EXPECTED_TEXT];
        row->type->describe(row, expected);
        fprintf(out, "  --%s=%s\n", row->key, row->fallback);
        write_wrapped(out, "      ", row->help);
        fprintf(out, "      Expected: %s.", expected);
        if (row->aliases) fprintf(out, " Also called: %s.", row->aliases);
        fputc('\n', out);
    }
}

void thaw_options_write_effective(FILE *out, const thaw_options *options) {
    for (size_t i = 0; i < thaw_options_count(); i++) {
        const thaw_opt_origin *origin = &options->origin[i];
        size_t letters = thaw_utf8_letters(origin->text);
        fprintf(out, "%-22s = ", thaw_options_key(i));
        thaw_utf8_put(out, origin->text, letters < VALUE_WIDTH ? VALUE_WIDTH : 0);
        fputs(" (", out);
        thaw_utf8_put(out, origin->source, 0);
        fputs(")\n", out);
    }
}
