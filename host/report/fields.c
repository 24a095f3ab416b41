#include "fields.h"

#include <math.h>
#include <string.h>

const json_t *thaw_field(const json_t *object, const char *path) {
    for (const char *point; object && (point = strchr(path, '.')); path = point + 1)
        object = json_object_getn(object, path, (size_t)(point - path));
    return json_object_get(object, path);
}

double thaw_field_number(const json_t *object, const char *path) {
    const json_t *field = thaw_field(object, path);
    return json_is_number(field) ? json_number_value(field) : NAN;
}

const char *thaw_field_text(const json_t *object, const char *path) {
    const char *text = json_string_value(thaw_field(object, path));
    return text ? text : "";
}

double *thaw_field_column(const json_t *list, const char *path, thaw_arena *arena) {
    size_t n = json_array_size(list);
    double *values = thaw_arena_array(arena, n, sizeof *values);
    for (size_t i = 0; values && i < n; i++)
        values[i] = thaw_field_number(json_array_get(list, i), path);
    return values;
}
