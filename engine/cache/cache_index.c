#include "cache_index.h"

#include <stdlib.h>

/* A dropped copy keeps its place, since a search for what lies behind it must not end there. */
static const uint32_t free_place = 0, dropped = UINT32_MAX;

enum { SMALLEST = 256 };

static size_t next(const thaw__cache_index *index, size_t at) {
    return (at + 1) & (index->size - 1);
}

/* Keys are hashes, so their low bits are as good as any. */
static size_t home(const thaw__cache_index *index, thaw_hash key) {
    return (size_t)key.lo & (index->size - 1);
}

static bool resize(thaw__cache_index *index, size_t size) {
    thaw__cache_index bigger = {.size = size, .n_keys = index->n_keys};
    bigger.table = calloc(size, sizeof *bigger.table);
    if (!bigger.table) return false;
    for (size_t i = 0; i < index->size; i++) {
        const thaw__cache_place *old = &index->table[i];
        if (old->record == free_place || old->record == dropped) continue;
        size_t at = home(&bigger, old->key);
        while (bigger.table[at].record != free_place)
            at = next(&bigger, at);
        bigger.table[at] = *old;
        bigger.n_used++;
    }
    free(index->table);
    *index = bigger;
    return true;
}

bool thaw__index_reserve(thaw__cache_index *index, size_t more) {
    size_t size = index->size ? index->size : SMALLEST;
    while (8 * (index->n_used + more) > 7 * size)
        size *= 2;
    return size == index->size || resize(index, size);
}

bool thaw__index_add(thaw__cache_index *index, thaw_hash key, uint32_t shard, size_t record) {
    if (record >= dropped - 1) return false;
    if (!thaw__index_reserve(index, 1)) return false;
    thaw__cache_place other;
    index->n_keys += !thaw__index_find(index, key, &other);
    size_t at = home(index, key);
    while (index->table[at].record != free_place &&
           !(index->table[at].record == dropped && thaw_hash_equal(index->table[at].key, key)))
        at = next(index, at);
    index->n_used += index->table[at].record == free_place;
    index->table[at] = (thaw__cache_place){key, shard, (uint32_t)record + 1};
    return true;
}

bool thaw__index_find(const thaw__cache_index *index, thaw_hash key, thaw__cache_place *place) {
    if (!index->size) return false;
    for (size_t at = home(index, key); index->table[at].record != free_place;
         at = next(index, at)) {
        const thaw__cache_place *p = &index->table[at];
        if (p->record == dropped || !thaw_hash_equal(p->key, key)) continue;
        *place = *p;
        return true;
    }
    return false;
}

bool thaw__index_drop(thaw__cache_index *index, const thaw__cache_place *place) {
    if (!index->size) return false;
    thaw__cache_place other;
    for (size_t at = home(index, place->key); index->table[at].record != free_place;
         at = next(index, at)) {
        thaw__cache_place *p = &index->table[at];
        if (p->record != place->record || p->shard != place->shard ||
            !thaw_hash_equal(p->key, place->key))
            continue;
        p->record = dropped;
        index->n_keys -= !thaw__index_find(index, place->key, &other);
        return true;
    }
    return false;
}

void thaw__index_free(thaw__cache_index *index) {
    free(index->table);
    *index = (thaw__cache_index){0};
}
