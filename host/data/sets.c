#include "sets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "list.h"
#include "text.h"

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "for the classes of the pictures");
}

/* The next name of a text, in the arena; NULL in *name at its end. */
static thaw_status next_name(const char *text, const char **at, thaw_arena *arena,
                             const char **name, thaw_error *err) {
    *name = NULL;
    if (!*at || !*text) return THAW_OK;
    const char *end = strchr(*at, THAW_LIST_SEPARATOR);
    size_t n = end ? (size_t)(end - *at) : strlen(*at);
    if (n == 0)
        return thaw_fail(
            err, THAW_ERR_DATA,
            "the label '%.300s' has an empty name: expected classes with one %c between", text,
            THAW_LIST_SEPARATOR);
    *name = thaw_arena_pack(arena, *at, n);
    *at = end ? end + 1 : NULL;
    return *name ? THAW_OK : no_memory(err);
}

static int compare_names(const void *a, const void *b) {
    return thaw_text_natural(*(const char *const *)a, *(const char *const *)b);
}

thaw_status thaw_sets_classes(const char *const *texts, size_t n, thaw_arena *arena,
                              const char *const **names, size_t *n_names, thaw_error *err) {
    thaw_words words = {0};
    thaw_status status = THAW_OK;
    for (size_t i = 0; i < n && status == THAW_OK; i++) {
        const char *at = texts[i], *name = "";
        while (status == THAW_OK && name) {
            size_t place;
            status = next_name(texts[i], &at, arena, &name, err);
            if (status == THAW_OK && name && !thaw_words_place(&words, arena, name, &place))
                status = no_memory(err);
        }
    }
    const char **all = thaw_arena_array(arena, words.n, sizeof *all);
    if (status == THAW_OK && !all) status = no_memory(err);
    if (status == THAW_OK && words.n) memcpy(all, words.text, words.n * sizeof *all);
    if (status == THAW_OK) qsort(all, words.n, sizeof *all, compare_names);
    *names = all;
    *n_names = words.n;
    thaw_words_free(&words);
    return status;
}

/* Takes the classes of a text into row. */
static thaw_status read_set(const thaw_classes *classes, const char *text, uint64_t *row,
                            char unknown[THAW_SETS_NAME], thaw_arena *arena, thaw_error *err) {
    const char *at = text, *name = "";
    for (size_t k; !*unknown;) {
        THAW_TRY(next_name(text, &at, arena, &name, err));
        if (!name) return THAW_OK;
        if (!thaw_classes_find(classes, name, &k)) {
            snprintf(unknown, THAW_SETS_NAME, "%s", name);
            return THAW_OK;
        }
        if (row[k / 64] >> (k % 64) & 1)
            return thaw_fail(err, THAW_ERR_DATA, "the label '%.300s' names '%.200s' twice", text,
                             name);
        row[k / 64] |= (uint64_t)1 << (k % 64);
    }
    return THAW_OK;
}

/* The row's bits as a text that a table of words holds. */
static char *key_of(const uint64_t *row, size_t words, thaw_arena *arena) {
    enum { DIGITS = 16 };
    char *key = thaw_arena_alloc(arena, words * DIGITS + 1);
    for (size_t w = 0; key && w < words; w++)
        snprintf(key + w * DIGITS, DIGITS + 1, "%016llx", (unsigned long long)row[w]);
    return key;
}

thaw_status thaw_sets_find(thaw_sets *s, const thaw_classes *classes, const char *text, size_t *set,
                           char unknown[THAW_SETS_NAME], thaw_arena *arena, thaw_error *err) {
    s->K = classes->n;
    size_t words = (size_t)thaw_label_words((int64_t)s->K), n = s->keys.n;
    uint64_t *row = thaw_arena_array(arena, words, sizeof *row);
    *set = SIZE_MAX;
    *unknown = '\0';
    if (!row) return no_memory(err);
    THAW_TRY(read_set(classes, text, row, unknown, arena, err));
    if (*unknown) return THAW_OK;
    char *key = key_of(row, words, arena);
    if (!key || !thaw_words_place(&s->keys, arena, key, set)) return no_memory(err);
    if (s->capacity < s->keys.capacity) {
        uint64_t *bits = realloc(s->bits, s->keys.capacity * words * sizeof *bits);
        if (!bits) return no_memory(err);
        s->bits = bits;
        s->capacity = s->keys.capacity;
    }
    if (*set == n) memcpy(s->bits + n * words, row, words * sizeof *row);
    return THAW_OK;
}

bool thaw_sets_has(const thaw_sets *s, size_t set, size_t k) {
    const thaw_label_sets sets = {.n = (int64_t)s->keys.n, .K = (int64_t)s->K, .bits = s->bits};
    return thaw_label_has(&sets, (int64_t)set, (int64_t)k);
}

thaw_status thaw_sets_finish(const thaw_sets *s, thaw_arena *arena, const thaw_label_sets **out,
                             thaw_error *err) {
    size_t bytes = (size_t)thaw_label_words((int64_t)s->K) * s->keys.n * sizeof *s->bits;
    thaw_label_sets *sets = thaw_arena_alloc(arena, sizeof *sets);
    uint64_t *bits = thaw_arena_alloc(arena, bytes);
    if (!sets || !bits) return no_memory(err);
    if (bytes) memcpy(bits, s->bits, bytes);
    *sets = (thaw_label_sets){.n = (int64_t)s->keys.n, .K = (int64_t)s->K, .bits = bits};
    *out = sets;
    return THAW_OK;
}

void thaw_sets_free(thaw_sets *s) {
    thaw_words_free(&s->keys);
    free(s->bits);
}
