/* The cache from inside, for the files that know it: cache.c (opening, records, what callers see),
 * cache_shards.c (the files that records lie in) and cache_claims.c (who computes what). */
#ifndef THAW_CACHE_SHARDS_H
#define THAW_CACHE_SHARDS_H

#include <pthread.h>
#include <sys/types.h>

#include "cache.h"
#include "cache_folder.h"
#include "cache_format.h"
#include "cache_index.h"

/* One file of records, or a memory file. */
typedef struct thaw__cache_shard {
    int fd;
    bool memory, writable;
    dev_t device;
    ino_t inode;
    size_t n; /* Records that are indexed, or damaged. */
} thaw__cache_shard;

struct thaw_cache {
    pthread_mutex_t mutex;       /* Guards all but the constants. */
    char path[THAW__CACHE_PATH]; /* Constant; "": memory only. */
    thaw__cache_folder folder;   /* Constant, but for read_only. */
    int claims;             /* Constant; the file that claims are locks of, -1: there are none. */
    struct timespec listed; /* When the folder had last changed, as its shards were listed. */
    thaw__record_layout layout; /* Constant. */
    size_t shard_bytes;         /* Constant; size at which a shard is full. */
    size_t memory_bytes;        /* 0: not decided yet. */
    thaw__cache_shard *shards;
    size_t n_shards;
    int writing; /* Shard that this process appends to; -1: none yet. */
    thaw__cache_index index;
    size_t n_damaged, n_memory;
};

/* Where the cache is, for sentences. */
const char *thaw__cache_where(const thaw_cache *cache);

/* Both are called with the mutex held, or before anybody else knows the cache. */

/* Indexes what the folder's shards hold and is not indexed yet. ERR_SYSTEM, ERR_NOMEM. */
thaw_status thaw__shards_index(thaw_cache *cache, thaw_error *err);

/* The same at the price of a few calls when nothing has changed. What cannot be read is not found. */
void thaw__shards_look(thaw_cache *cache);

/* Puts n encoded records of layout.stride bytes each behind the last one, on disk or in memory as
 * thaw_cache_append says, and indexes them. */
thaw_status thaw__shards_append(thaw_cache *cache, const uint8_t *records, size_t n,
                                thaw_error *err);

/* Opens the file that claims are locks of; where that fails, everything is everybody's. */
void thaw__claims_open(thaw_cache *cache);

#endif
