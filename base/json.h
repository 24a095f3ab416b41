/* JSON in and out, on jansson.
 *
 * Building never fails on the way: what could not be added is remembered, every function takes the
 * NULL that an earlier one gave, and writing says that memory was short. So no JSON file ever lacks
 * a part in silence.
 */
#ifndef THAW_JSON_H
#define THAW_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "status.h"

/* A tree under construction. */
typedef struct thaw_json {
    json_t *root; /* An object. Owned until thaw_json_free. */
    bool failed;  /* Something is missing. */
} thaw_json;

thaw_json thaw_json_begin(void);
void thaw_json_free(thaw_json *json);

/* Adds to parent (an object under key, or, with key NULL, an array at its end) a new object or
 * array, and returns it, borrowed; NULL when memory is short. */
json_t *thaw_json_object(thaw_json *json, json_t *parent, const char *key);
json_t *thaw_json_array(thaw_json *json, json_t *parent, const char *key);

/* The same for values. JSON holds UTF-8 and finite numbers only: other bytes of a text become '?',
 * other numbers null. */
void thaw_json_text(thaw_json *json, json_t *parent, const char *key, const char *text);
void thaw_json_real(thaw_json *json, json_t *parent, const char *key, double value);
void thaw_json_integer(thaw_json *json, json_t *parent, const char *key, int64_t value);
void thaw_json_boolean(thaw_json *json, json_t *parent, const char *key, bool value);

/* A value that belongs to another tree, too; NULL counts as a failure. */
void thaw_json_share(thaw_json *json, json_t *parent, const char *key, json_t *value);

/* Whether the bytes are UTF-8, so that JSON holds them as they are. */
bool thaw_json_holds(const char *text);

/* The tree as one line, or indented by a blank a level; numbers have `digits` digits. To be freed.
 * ERR_NOMEM: also when something could not be added; what for stands in the sentence. */
typedef enum thaw_json_form { THAW_JSON_LINE, THAW_JSON_INDENTED } thaw_json_form;
thaw_status thaw_json_print(const thaw_json *json, thaw_json_form form, int digits,
                            const char *what, char **text, thaw_error *err);

/* The same to a file, as thaw_file_write does. */
thaw_status thaw_json_write(const thaw_json *json, const char *path, thaw_error *err);

/* Reads a file of at most limit_bytes. The caller frees with json_decref.
 * ERR_IO; ERR_FORMAT with line and column; ERR_NOMEM. */
thaw_status thaw_json_read(const char *path, size_t limit_bytes, json_t **json, thaw_error *err);

/* Parses n bytes; where stands for them in sentences. ERR_FORMAT, ERR_NOMEM. */
thaw_status thaw_json_parse(const char *bytes, size_t n, const char *where, json_t **json,
                            thaw_error *err);

#endif
