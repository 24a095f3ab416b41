#include "json.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"

enum { FILE_DIGITS = 9 }; /* A float comes back the same. */

/* ---- building ------------------------------------------------------------------------------- */

thaw_json thaw_json_begin(void) {
    json_t *root = json_object();
    return (thaw_json){.root = root, .failed = !root};
}

void thaw_json_free(thaw_json *json) {
    json_decref(json->root);
    *json = (thaw_json){0};
}

/* Adds a new value, whose reference it takes; returns it. */
static json_t *add(thaw_json *json, json_t *parent, const char *key, json_t *value) {
    int code = key ? json_object_set_new(parent, key, value) : json_array_append_new(parent, value);
    if (code != 0) json->failed = true;
    return code == 0 ? value : NULL;
}

json_t *thaw_json_object(thaw_json *json, json_t *parent, const char *key) {
    return add(json, parent, key, json_object());
}

json_t *thaw_json_array(thaw_json *json, json_t *parent, const char *key) {
    return add(json, parent, key, json_array());
}

/* Bytes of the UTF-8 sequence at text, RFC 3629; 0: it is none. */
static size_t sequence_length(const unsigned char *text) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char first = text[0];
    size_t n = first < 0x80             ? 1
               : (first & 0xe0) == 0xc0 ? 2
               : (first & 0xf0) == 0xe0 ? 3
               : (first & 0xf8) == 0xf0 ? 4
                                        : 0;
    uint32_t value = n == 1 ? first : first & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((text[i] & 0xc0) != 0x80) return 0;
        value = value << 6 | (text[i] & 0x3fu);
    }
    if (n < 2) return n;
    bool surrogate = value >= 0xd800 && value <= 0xdfff;
    return value < least[n] || surrogate || value > 0x10ffff ? 0 : n;
}

bool thaw_json_holds(const char *text) {
    const unsigned char *at = (const unsigned char *)text;
    while (*at) {
        size_t n = sequence_length(at);
        if (!n) return false;
        at += n;
    }
    return true;
}

/* A copy in which each byte that is part of no UTF-8 sequence is '?'. */
static char *repair(const char *text) {
    char *copy = strdup(text);
    for (unsigned char *at = (unsigned char *)copy; at && *at;) {
        size_t n = sequence_length(at);
        if (!n) *at = '?';
        at += n ? n : 1;
    }
    return copy;
}

void thaw_json_text(thaw_json *json, json_t *parent, const char *key, const char *text) {
    if (thaw_json_holds(text)) {
        add(json, parent, key, json_string(text));
        return;
    }
    char *copy = repair(text);
    add(json, parent, key, copy ? json_string(copy) : NULL);
    free(copy);
}

void thaw_json_real(thaw_json *json, json_t *parent, const char *key, double value) {
    add(json, parent, key, isfinite(value) ? json_real(value) : json_null());
}

void thaw_json_integer(thaw_json *json, json_t *parent, const char *key, int64_t value) {
    add(json, parent, key, json_integer(value));
}

void thaw_json_boolean(thaw_json *json, json_t *parent, const char *key, bool value) {
    add(json, parent, key, json_boolean(value));
}

void thaw_json_share(thaw_json *json, json_t *parent, const char *key, json_t *value) {
    add(json, parent, key, json_incref(value));
}

/* ---- writing -------------------------------------------------------------------------------- */

/* A text that grows. */
typedef struct growing {
    char *text;
    size_t n, size;
    bool failed;
} growing;

static int append(const char *bytes, size_t n, void *context) {
    growing *g = context;
    if (g->failed) return -1;
    if (g->n + n + 1 > g->size) {
        size_t size = 2 * (g->n + n + 1);
        char *bigger = realloc(g->text, size);
        g->failed = !bigger;
        if (!bigger) return -1;
        g->text = bigger;
        g->size = size;
    }
    memcpy(g->text + g->n, bytes, n);
    g->text[g->n += n] = 0;
    return 0;
}

/* json_dumps of jansson 2.14 goes on when a key did not fit, and returns what is then no JSON: so
 * the text grows here, and remembers. */
static char *dump(const json_t *json, size_t flags) {
    growing g = {0};
    if (json_dump_callback(json, append, &g, flags) == 0 && !g.failed) return g.text;
    free(g.text);
    return NULL;
}

thaw_status thaw_json_print(const thaw_json *json, thaw_json_form form, int digits,
                            const char *what, char **text, thaw_error *err) {
    size_t flags = JSON_REAL_PRECISION(digits);
    flags |= form == THAW_JSON_LINE ? JSON_COMPACT : JSON_INDENT(1);
    *text = json->failed ? NULL : dump(json->root, flags);
    return *text ? THAW_OK : thaw_fail_memory(err, "for %s", what);
}

thaw_status thaw_json_write(const thaw_json *json, const char *path, thaw_error *err) {
    char *text;
    THAW_TRY(thaw_json_print(json, THAW_JSON_INDENTED, FILE_DIGITS, path, &text, err));
    thaw_status status = thaw_file_write(path, text, strlen(text), err);
    free(text);
    return status;
}

/* ---- reading -------------------------------------------------------------------------------- */

/* The reader of jansson 2.14 goes on when a letter of a number or a text did not fit, and returns
 * what is then another value: so whoever allocates for it remembers. */
static _Thread_local bool ran_out;

static void *allocate(size_t n) {
    void *memory = malloc(n);
    ran_out |= !memory;
    return memory;
}

static void remember_failures(void) {
    json_set_alloc_funcs(allocate, free);
}

thaw_status thaw_json_parse(const char *bytes, size_t n, const char *where, json_t **json,
                            thaw_error *err) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    json_error_t problem;
    pthread_once(&once, remember_failures);
    ran_out = false;
    *json = json_loadb(bytes, n, 0, &problem);
    if (ran_out) {
        json_decref(*json);
        *json = NULL;
        return thaw_fail_memory(err, "to read %s", where);
    }
    if (*json) return THAW_OK;
    return thaw_fail(err, THAW_ERR_FORMAT, "%s: line %d, column %d: %s", where, problem.line,
                     problem.column, problem.text);
}

thaw_status thaw_json_read(const char *path, size_t limit_bytes, json_t **json, thaw_error *err) {
    thaw_arena arena = {0};
    char *bytes;
    size_t n;
    *json = NULL;
    thaw_status status = thaw_file_read(path, limit_bytes, &arena, &bytes, &n, err);
    if (status == THAW_OK) status = thaw_json_parse(bytes, n, path, json, err);
    thaw_arena_free(&arena);
    return status;
}
