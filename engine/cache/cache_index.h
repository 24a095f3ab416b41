/* Record key -> where its copies lie: a hash table in memory with linear probing.
 *
 * A key may have several copies: two processes computed the same picture, or a damaged record was
 * computed again. Copies are tried until one is whole, so damage to one never hides another. 24
 * bytes a place, at most seven eighths of the places taken: 27 to 55 bytes a record.
 */
#ifndef THAW_CACHE_INDEX_H
#define THAW_CACHE_INDEX_H

#include <stdbool.h>

#include "hash.h"

typedef struct thaw__cache_place {
    thaw_hash key;
    uint32_t shard;
    uint32_t record; /* Plus one: 0 marks a free place. */
} thaw__cache_place;

typedef struct thaw__cache_index {
    thaw__cache_place *table;
    size_t size, n_used; /* Places, a power of two; those that are not free. */
    size_t n_keys;       /* Keys with at least one copy. */
} thaw__cache_index;     /* All zero is an empty index. */

/* Makes room for as many more copies at once, which spares growing step by step. False when memory
 * is short. */
bool thaw__index_reserve(thaw__cache_index *index, size_t more);

/* Adds a copy. False when memory is short or record has too many digits. */
bool thaw__index_add(thaw__cache_index *index, thaw_hash key, uint32_t shard, size_t record);

/* Sets *place to a copy that was not dropped. False when there is none. */
bool thaw__index_find(const thaw__cache_index *index, thaw_hash key, thaw__cache_place *place);

/* Drops the copy; when it is dropped already, nothing. True when it was there. */
bool thaw__index_drop(thaw__cache_index *index, const thaw__cache_place *place);

void thaw__index_free(thaw__cache_index *index);

#endif
