/* Texts that are there once: each has a place, by the order in which they came. */
#ifndef THAW_WORDS_H
#define THAW_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"

/* All zero is empty. A hash table of places in text, at most half full. */
typedef struct thaw_words {
    const char **text; /* [n], packed in the arenas that they were given. */
    size_t n, capacity;
    uint32_t *slots; /* [n_slots], a power of two: place + 1, 0 is free. */
    size_t n_slots;
} thaw_words;

/* Finds the place of a text; a new one is copied into the arena and gets the next. False: no memory. */
bool thaw_words_place(thaw_words *words, thaw_arena *arena, const char *text, size_t *place);

/* Frees the table; the texts stay with their arenas. */
void thaw_words_free(thaw_words *words);

#endif
