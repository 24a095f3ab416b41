/* Fields of a JSON document as pages need them: whatever is not there, or of another kind, is NaN, "" or
 * an empty list, and nothing fails. */
#ifndef THAW_FIELDS_H
#define THAW_FIELDS_H

#include <jansson.h>

#include "arena.h"

/* `path` is a key, or keys of nested objects with points between. */
double thaw_field_number(const json_t *object, const char *path);
const char *thaw_field_text(const json_t *object, const char *path); /* The document's. */
const json_t *thaw_field(const json_t *object, const char *path);    /* NULL: it is not there. */

/* thaw_field_number(element, path) of each element of a list, in the arena; NULL when memory is short. */
double *thaw_field_column(const json_t *list, const char *path, thaw_arena *arena);

#endif
