#include "hyperparameters.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

static const char SOURCE[] = "hyperparameters.json";

/* What the platform and its Python packages put beside a user's own. */
static bool is_of_the_platform(const char *key) {
    return !strncmp(key, "sagemaker_", 10) || !strncmp(key, "_tuning", 7) ||
           !strcmp(key, "default_user_module_name");
}

static const char *trimmed(thaw_arena *arena, const char *text) {
    while (isspace((unsigned char)*text))
        text++;
    size_t n = strlen(text);
    while (n > 0 && isspace((unsigned char)text[n - 1]))
        n--;
    return thaw_arena_string(arena, text, n);
}

/* A number or a switch as text; NULL: it is neither, or memory is short. */
static const char *text_of_scalar(thaw_arena *arena, const json_t *value) {
    if (json_is_string(value)) return trimmed(arena, json_string_value(value));
    if (json_is_boolean(value)) return json_is_true(value) ? "true" : "false";
    if (json_is_integer(value))
        return thaw_arena_printf(arena, "%lld", (long long)json_integer_value(value));
    if (json_is_real(value)) return thaw_arena_printf(arena, "%.15g", json_real_value(value));
    return NULL;
}

/* A list is its values with commas between, as options that take several have them. */
static const char *text_of(thaw_arena *arena, const json_t *value) {
    if (!json_is_array(value)) return text_of_scalar(arena, value);
    const char *list = "";
    for (size_t i = 0; i < json_array_size(value) && list; i++) {
        const char *one = text_of_scalar(arena, json_array_get(value, i));
        list = one ? thaw_arena_printf(arena, "%s%s%s", list, i ? "," : "", one) : NULL;
    }
    return list;
}

/* A string is JSON where it parses as such; a number in it stays as it was written. */
static const char *decode(thaw_arena *arena, const json_t *value) {
    if (!json_is_string(value)) return text_of(arena, value);
    json_t *inner = json_loads(json_string_value(value), JSON_DECODE_ANY, NULL);
    bool coded = json_is_string(inner) || json_is_array(inner) || json_is_object(inner);
    const char *text = text_of(arena, coded ? inner : value);
    json_decref(inner);
    return text;
}

/* ---- setting -------------------------------------------------------------------------------- */

static thaw_status set_one(thaw_options *options, const char *key, const char *text,
                           thaw_error *err) {
    thaw_option_facts facts;
    THAW_TRY(thaw_options_look_up(key, THAW_FOR_TRAIN, SOURCE, &facts, err));
    if (!(facts.used_by & THAW_FOR_TRAIN))
        return thaw_fail(err, THAW_ERR_USAGE, "%s: %.80s does nothing in a training job", SOURCE,
                         key);
    if (!strcmp(facts.key, "out"))
        return thaw_fail(err, THAW_ERR_USAGE,
                         "%s: %.80s cannot be set: the model goes to the job's model folder",
                         SOURCE, key);
    /* There the word is for all of a training; Thaw's own is for the head's alone. */
    if (!strcmp(key, "epochs")) key = "num_epochs";
    return thaw_options_set_foreign(options, key, text, SOURCE, err);
}

static int compare_keys(const void *a, const void *b) {
    const char *first = *(const char *const *)a, *second = *(const char *const *)b;
    size_t x = thaw_options_foreign_order(first), y = thaw_options_foreign_order(second);
    return x != y ? (x > y) - (x < y) : strcmp(first, second);
}

static thaw_status set_all(const json_t *object, const char **keys, thaw_arena *arena,
                           thaw_options *options, thaw_error *err) {
    size_t n = 0;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value) if (!is_of_the_platform(key)) keys[n++] = key;
    qsort(keys, n, sizeof *keys, compare_keys);
    for (size_t i = 0; i < n; i++) {
        const char *text = decode(arena, json_object_get(object, keys[i]));
        if (!text)
            return thaw_fail(err, THAW_ERR_USAGE,
                             "%s: %.80s is no text, number, switch or list of such", SOURCE,
                             keys[i]);
        THAW_TRY(set_one(options, keys[i], text, err));
    }
    return THAW_OK;
}

thaw_status thaw_hyperparameters_set(const json_t *object, thaw_options *options, thaw_error *err) {
    thaw_arena arena = {0};
    const char **keys = thaw_arena_array(&arena, json_object_size(object), sizeof *keys);
    thaw_status status = keys ? set_all(object, keys, &arena, options, err)
                              : thaw_fail_memory(err, "for the hyperparameters");
    thaw_arena_free(&arena);
    return status;
}
