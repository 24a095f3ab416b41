#include "cache_facts.h"

#include <string.h>

#include "file.h"
#include "json.h"
#include "text.h"

enum { LARGEST_JSON = 1 << 20, OWN_FACTS = 3 };

static const char *const stored_names[] = {[THAW_F32] = "fp32", [THAW_F16] = "fp16"};

thaw_status thaw__facts_of(const thaw_cache_spec *spec, thaw_arena *arena, thaw__cache_facts *facts,
                           thaw_error *err) {
    size_t n = spec->n_facts;
    thaw_fact *list = thaw_arena_array(arena, n + OWN_FACTS, sizeof *list);
    char *values = thaw_arena_printf(arena, "%lld", (long long)spec->D);
    char *format = thaw_arena_printf(arena, "%d", THAW__CACHE_FORMAT);
    if (!list || !values || !format) return thaw_fail_memory(err, "for the facts of a cache");
    if (n) memcpy(list, spec->facts, n * sizeof *list);
    list[n] = (thaw_fact){"values", values};
    list[n + 1] = (thaw_fact){"stored", stored_names[spec->dtype]};
    list[n + 2] = (thaw_fact){"format", format};
    *facts = (thaw__cache_facts){list, n + OWN_FACTS, spec->about ? spec->about : ""};
    return THAW_OK;
}

thaw_hash thaw__facts_key(const thaw__cache_facts *facts) {
    thaw_hash h = {0};
    for (size_t i = 0; i < facts->n; i++) {
        h = thaw_hash_bytes(h, facts->list[i].name, strlen(facts->list[i].name) + 1);
        h = thaw_hash_bytes(h, facts->list[i].value, strlen(facts->list[i].value) + 1);
    }
    return h;
}

/* ---- trunk.json ------------------------------------------------------------------------------ */

bool thaw__facts_write(const char *folder, const thaw__cache_facts *facts) {
    thaw_arena arena = {0};
    thaw_json json = thaw_json_begin();
    thaw_json_text(&json, json.root, "about", facts->about);
    json_t *list = thaw_json_array(&json, json.root, "facts");
    for (size_t i = 0; i < facts->n; i++) {
        json_t *pair = thaw_json_array(&json, list, NULL);
        thaw_json_text(&json, pair, NULL, facts->list[i].name);
        thaw_json_text(&json, pair, NULL, facts->list[i].value);
    }
    char *path = thaw_file_join(&arena, folder, "trunk.json");
    json_t *old = NULL;
    bool good = path && !json.failed;
    bool same = good && thaw_json_read(path, LARGEST_JSON, &old, NULL) == THAW_OK &&
                json_equal(old, json.root);
    if (good && !same) good = thaw_json_write(&json, path, NULL) == THAW_OK;
    json_decref(old);
    thaw_json_free(&json);
    thaw_arena_free(&arena);
    return good;
}

/* A copy of a JSON text; NULL for another value. *short_of_memory: there was none for the copy. */
static const char *keep_text(thaw_arena *arena, const json_t *json, bool *short_of_memory) {
    const char *text = json_string_value(json);
    const char *copy = text ? thaw_arena_string(arena, text, strlen(text)) : NULL;
    *short_of_memory |= text && !copy;
    return copy;
}

static thaw_status from_json(const json_t *json, thaw_arena *arena, thaw__cache_facts *facts,
                             thaw_error *err) {
    const json_t *pairs = json_object_get(json, "facts");
    size_t n = json_array_size(pairs);
    thaw_fact *list = thaw_arena_array(arena, n, sizeof *list);
    bool failed = !list;
    for (size_t i = 0; list && i < n; i++) {
        const json_t *pair = json_array_get(pairs, i);
        thaw_fact fact = {keep_text(arena, json_array_get(pair, 0), &failed),
                          keep_text(arena, json_array_get(pair, 1), &failed)};
        if (fact.name && fact.value) list[facts->n++] = fact;
    }
    facts->list = list;
    const char *about = keep_text(arena, json_object_get(json, "about"), &failed);
    if (about) facts->about = about;
    return failed ? thaw_fail_memory(err, "for the facts of a cache") : THAW_OK;
}

thaw_status thaw__facts_read(const char *folder, thaw_hash trunk, thaw_arena *arena,
                             thaw__cache_facts *facts, thaw_error *err) {
    *facts = (thaw__cache_facts){.about = ""};
    char *path = thaw_file_join(arena, folder, "trunk.json");
    if (!path) return thaw_fail_memory(err, "for the facts of a cache");
    json_t *json;
    thaw_status status = thaw_json_read(path, LARGEST_JSON, &json, err);
    if (thaw_status_rejects(status)) return THAW_OK;
    if (status == THAW_OK) status = from_json(json, arena, facts, err);
    json_decref(json);
    /* The key is their hash: what somebody or something changed is not believed. */
    if (!thaw_hash_equal(thaw__facts_key(facts), trunk)) facts->n = 0;
    return status;
}

/* ---- looking at them ------------------------------------------------------------------------- */

bool thaw__facts_layout(const thaw__cache_facts *facts, thaw_hash trunk,
                        thaw__record_layout *layout) {
    int64_t D;
    const char *stored = thaw__facts_value(facts, "stored");
    uint32_t dtype = strcmp(stored, stored_names[THAW_F16]) == 0 ? THAW_F16 : THAW_F32;
    return thaw_text_integer(thaw__facts_value(facts, "values"), &D) &&
           thaw__cache_layout(layout, trunk, D, dtype);
}

static const thaw_fact *find(const thaw__cache_facts *facts, const char *name) {
    for (size_t i = 0; i < facts->n; i++)
        if (strcmp(facts->list[i].name, name) == 0) return &facts->list[i];
    return NULL;
}

bool thaw__facts_has(const thaw__cache_facts *facts, const char *name) {
    return find(facts, name) != NULL;
}

const char *thaw__facts_value(const thaw__cache_facts *facts, const char *name) {
    const thaw_fact *fact = find(facts, name);
    return fact ? fact->value : "(none)";
}
