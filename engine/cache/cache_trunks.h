/* All trunks of a cache, for those who look after it: cache_admin.c reads and checks them,
 * cache_collect.c makes room, cache_explain.c tells why something misses. */
#ifndef THAW_CACHE_TRUNKS_H
#define THAW_CACHE_TRUNKS_H

#include <dirent.h>

#include "cache.h"
#include "cache_facts.h"

/* An entry with what it points to. */
typedef struct thaw__trunk_entry {
    thaw_cache_entry entry;
    thaw_hash hash;
    thaw__cache_facts facts; /* n is 0: not known. */
    thaw_arena arena;
    char *folder;
} thaw__trunk_entry;

typedef struct thaw__trunks {
    thaw__trunk_entry *list;
    size_t n;
} thaw__trunks;

/* Those of root, most recently used first; check: every record's checks are compared. Freed with
 * thaw__trunks_free. ERR_IO, ERR_SYSTEM, ERR_NOMEM. */
thaw_status thaw__trunks_read(const char *root, bool check, thaw__trunks *all, thaw_error *err);
void thaw__trunks_free(thaw__trunks *all);

/* Opens the trunk's folder, not through a link. NULL with errno. */
DIR *thaw__trunk_open(const thaw__trunk_entry *trunk);

/* How the records of a shard lie: trunk.json tells, or else its own header, if a whole record agrees.
 * False: it is none of this trunk's shards, or nobody can tell. *header_good: the header is right.
 * ERR_NOMEM. */
thaw_status thaw__trunk_layout(const thaw__trunk_entry *trunk, int fd, thaw__record_layout *layout,
                               bool *is_shard, bool *header_good, thaw_error *err);

#endif
