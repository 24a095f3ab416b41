#include "cache_facts.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "text.h"

enum { LARGEST_JSON = 1 << 20, OWN_FACTS = 3 };

static const char *const stored_names[] = {[THAW_F32] = "fp32", [THAW_F16] = "fp16"};

thaw_status thaw__facts_of(const thaw_cache_spec *spec, thaw_arena *arena, cache_facts *facts,
                           thaw_error *err) {
    size_t n = spec->n_facts;
    thaw_fact *list = thaw_arena_array(arena, n + OWN_FACTS, sizeof *list);
    char *values = thaw_arena_printf(arena, "%lld", (long long)spec->D);
    char *format = thaw_arena_printf(arena, "%d", CACHE_FORMAT);
    if (!list || !values || !format)
        return thaw_fail(err, THAW_ERR_NOMEM, "not enough memory for the facts of a cache");
    if (n) memcpy(list, spec->facts, n * sizeof *list);
    list[n] = (thaw_fact){"values", values};
    list[n + 1] = (thaw_fact){"stored", stored_names[spec->dtype]};
    list[n + 2] = (thaw_fact){"format", format};
    *facts = (cache_facts){list, n + OWN_FACTS, spec->about ? spec->about : ""};
    return THAW_OK;
}

thaw_hash thaw__facts_key(const cache_facts *facts) {
    thaw_hash h = {0};
    for (size_t i = 0; i < facts->n; i++) {
        h = thaw_hash_bytes(h, facts->list[i].name, strlen(facts->list[i].name) + 1);
        h = thaw_hash_bytes(h, facts->list[i].value, strlen(facts->list[i].value) + 1);
    }
    return h;
}

/* ---- trunk.json ------------------------------------------------------------------------------ */

/* JSON holds UTF-8 only, file names hold anything: bytes that do not fit become '?'. */
static json_t *json_text(const char *text) {
    json_t *string = json_string(text);
    char *copy = string ? NULL : strdup(text);
    if (!copy) return string;
    for (char *c = copy; *c; c++)
        if (*c & 0x80) *c = '?';
    string = json_string(copy);
    free(copy);
    return string;
}

/* The file's text, to be freed; NULL when memory is short. */
static char *to_json(const cache_facts *facts) {
    json_t *all = json_object(), *list = json_array();
    bool good = json_object_set_new(all, "about", json_text(facts->about)) == 0;
    for (size_t i = 0; i < facts->n; i++) {
        json_t *pair = json_array();
        good &= json_array_append_new(pair, json_text(facts->list[i].name)) == 0;
        good &= json_array_append_new(pair, json_text(facts->list[i].value)) == 0;
        good &= json_array_append_new(list, pair) == 0;
    }
    good &= json_object_set_new(all, "facts", list) == 0;
    char *text = good ? json_dumps(all, JSON_INDENT(1)) : NULL;
    json_decref(all);
    return text;
}

bool thaw__facts_write(const char *folder, const cache_facts *facts) {
    thaw_arena arena = {0};
    char *path = thaw_file_join(&arena, folder, "trunk.json"), *text = to_json(facts), *old;
    size_t n = text ? strlen(text) : 0, n_old;
    bool good = path && text;
    if (good && (thaw_file_read(path, LARGEST_JSON, &arena, &old, &n_old, NULL) != THAW_OK ||
                 n_old != n || memcmp(old, text, n) != 0))
        good = thaw_file_write(path, text, n, NULL) == THAW_OK;
    free(text);
    thaw_arena_free(&arena);
    return good;
}

static const char *keep_text(thaw_arena *arena, const json_t *json) {
    const char *text = json_string_value(json);
    return text ? thaw_arena_string(arena, text, strlen(text)) : NULL;
}

static void from_json(const json_t *json, thaw_arena *arena, cache_facts *facts) {
    const json_t *pairs = json_object_get(json, "facts");
    thaw_fact *list = thaw_arena_array(arena, json_array_size(pairs), sizeof *list);
    for (size_t i = 0; list && i < json_array_size(pairs); i++) {
        const json_t *pair = json_array_get(pairs, i);
        thaw_fact fact = {keep_text(arena, json_array_get(pair, 0)),
                          keep_text(arena, json_array_get(pair, 1))};
        if (fact.name && fact.value) list[facts->n++] = fact;
    }
    facts->list = list;
    const char *about = keep_text(arena, json_object_get(json, "about"));
    if (about) facts->about = about;
}

cache_facts thaw__facts_read(const char *folder, thaw_arena *arena) {
    cache_facts facts = {.about = ""};
    char *path = thaw_file_join(arena, folder, "trunk.json"), *text;
    size_t n;
    if (!path || thaw_file_read(path, LARGEST_JSON, arena, &text, &n, NULL) != THAW_OK)
        return facts;
    json_t *json = json_loadb(text, n, 0, NULL);
    from_json(json, arena, &facts);
    json_decref(json);
    return facts;
}

/* ---- looking at them ------------------------------------------------------------------------- */

bool thaw__facts_layout(const cache_facts *facts, thaw_hash trunk, record_layout *layout) {
    int64_t D;
    const char *stored = thaw__facts_value(facts, "stored");
    uint32_t dtype = strcmp(stored, stored_names[THAW_F16]) == 0 ? THAW_F16 : THAW_F32;
    return thaw_text_integer(thaw__facts_value(facts, "values"), &D) &&
           thaw__cache_layout(layout, trunk, D, dtype);
}

static const thaw_fact *find(const cache_facts *facts, const char *name) {
    for (size_t i = 0; i < facts->n; i++)
        if (strcmp(facts->list[i].name, name) == 0) return &facts->list[i];
    return NULL;
}

bool thaw__facts_has(const cache_facts *facts, const char *name) {
    return find(facts, name) != NULL;
}

const char *thaw__facts_value(const cache_facts *facts, const char *name) {
    const thaw_fact *fact = find(facts, name);
    return fact ? fact->value : "(none)";
}
