#include "words.h"

#include <stdlib.h>
#include <string.h>

#include "hash.h"

static uint32_t *find_slot(const thaw_words *w, const char *text) {
    size_t at = (size_t)thaw_hash_bytes((thaw_hash){0}, text, strlen(text)).lo;
    for (;; at++) {
        uint32_t *slot = &w->slots[at & (w->n_slots - 1)];
        if (!*slot || strcmp(w->text[*slot - 1], text) == 0) return slot;
    }
}

static bool grow_words(thaw_words *w) {
    if (w->n == UINT32_MAX - 1) return false;
    if (w->n == w->capacity) {
        size_t capacity = w->capacity ? 2 * w->capacity : 256;
        const char **text = realloc(w->text, capacity * sizeof *text);
        if (!text) return false;
        w->text = text;
        w->capacity = capacity;
    }
    if (2 * (w->n + 1) <= w->n_slots) return true;
    size_t n_slots = w->n_slots ? 2 * w->n_slots : 512;
    uint32_t *slots = calloc(n_slots, sizeof *slots);
    if (!slots) return false;
    free(w->slots);
    w->slots = slots;
    w->n_slots = n_slots;
    for (size_t i = 0; i < w->n; i++)
        *find_slot(w, w->text[i]) = (uint32_t)i + 1;
    return true;
}

bool thaw_words_place(thaw_words *w, thaw_arena *arena, const char *text, size_t *place) {
    if (!grow_words(w)) return false;
    uint32_t *slot = find_slot(w, text);
    if (!*slot) {
        w->text[w->n] = thaw_arena_pack(arena, text, strlen(text));
        if (!w->text[w->n]) return false;
        *slot = (uint32_t)++w->n;
    }
    *place = *slot - 1;
    return true;
}

void thaw_words_free(thaw_words *w) {
    free(w->text);
    free(w->slots);
}
