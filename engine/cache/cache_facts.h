/* The facts that name a trunk: hashed into its key, kept in its trunk.json for people. */
#ifndef THAW_CACHE_FACTS_H
#define THAW_CACHE_FACTS_H

#include "arena.h"
#include "cache.h"
#include "cache_format.h"

typedef struct thaw__cache_facts {
    const thaw_fact *list;
    size_t n;
    const char *about; /* Never NULL. */
} thaw__cache_facts;

/* The caller's facts and those of the cache itself: how many values, how they are stored, in which
 * format. In the arena. ERR_NOMEM. */
thaw_status thaw__facts_of(const thaw_cache_spec *spec, thaw_arena *arena, thaw__cache_facts *facts,
                           thaw_error *err);

thaw_hash thaw__facts_key(const thaw__cache_facts *facts);

/* Makes FOLDER/trunk.json hold the facts, by rename; an equal file is left alone. False when that
 * failed. */
bool thaw__facts_write(const char *folder, const thaw__cache_facts *facts);

/* What FOLDER/trunk.json tells, in the arena; n is 0 when it is missing, or does not tell the facts
 * that this trunk has its key from. ERR_NOMEM, ERR_SYSTEM. */
thaw_status thaw__facts_read(const char *folder, thaw_hash trunk, thaw_arena *arena,
                             thaw__cache_facts *facts, thaw_error *err);

/* The layout of a trunk's records by its facts. False when they do not tell. */
bool thaw__facts_layout(const thaw__cache_facts *facts, thaw_hash trunk,
                        thaw__record_layout *layout);

bool thaw__facts_has(const thaw__cache_facts *facts, const char *name);

/* The value of a fact; "(none)" when there is no such fact. */
const char *thaw__facts_value(const thaw__cache_facts *facts, const char *name);

#endif
