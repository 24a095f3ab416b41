/* Memory with three lifetimes: model (graph, weights), plan (steps, layouts), step (one batch).
 *
 * An arena hands out memory that is freed all at once. Objects never own their data; arenas do, so
 * an early return on an error leaks nothing.
 */
#ifndef THAW_ARENA_H
#define THAW_ARENA_H

#include <stddef.h>

typedef struct thaw_arena {
    struct thaw_arena_block *blocks; /* Newest first. */
    size_t used_bytes;               /* Handed out, padding included. */
    char *chunk;                     /* Where the next packed text goes. */
    size_t chunk_left;
} thaw_arena; /* All zero is an empty arena. */

/* n zeroed bytes aligned to 64, owned by the arena; NULL when memory is short or n overflows.
 * n = 0 gives a valid pointer to nothing. */
void *thaw_arena_alloc(thaw_arena *arena, size_t n);

/* count * size bytes as above; NULL also when the product overflows. */
void *thaw_arena_array(thaw_arena *arena, size_t count, size_t size);

/* A NUL-terminated copy of n bytes of text (embedded NULs stay). NULL when memory is short. */
char *thaw_arena_string(thaw_arena *arena, const char *text, size_t n);

/* The same without alignment, for short texts of which there may be millions. */
char *thaw_arena_pack(thaw_arena *arena, const char *text, size_t n);

/* Formats into the arena. NULL when memory is short. */
char *thaw_arena_printf(thaw_arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Frees everything; the arena is empty and usable again. */
void thaw_arena_free(thaw_arena *arena);

#endif
