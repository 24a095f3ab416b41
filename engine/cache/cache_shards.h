/* The cache from inside, for the two files that know it: cache.c (opening, records, what callers
 * see) and cache_shards.c (the files that records lie in). */
#ifndef THAW_CACHE_SHARDS_H
#define THAW_CACHE_SHARDS_H

#include <pthread.h>
#include <sys/types.h>

#include "cache.h"
#include "cache_format.h"
#include "cache_index.h"

enum { THAW__CACHE_PATH = 4096 };

/* One file of records, or a memory file. */
typedef struct thaw__cache_shard {
    int fd;
    bool memory;
    dev_t device;
    ino_t inode;
    size_t n; /* Records that are indexed, or damaged. */
} thaw__cache_shard;

struct thaw_cache {
    pthread_mutex_t mutex;         /* Guards all but the constants. */
    char folder[THAW__CACHE_PATH]; /* Constant; "": memory only. */
    thaw__record_layout layout;    /* Constant. */
    size_t shard_bytes;            /* Constant; size at which a shard is full. */
    size_t memory_bytes;           /* 0: not decided yet. */
    int lock;                      /* Shared lock on the trunk's folder: it is in use. */
    thaw__cache_shard *shards;
    size_t n_shards;
    int writing; /* Shard that this process appends to; -1: none yet. */
    thaw__cache_index index;
    size_t n_damaged, n_memory;
};

/* Where the cache is, for sentences. */
const char *thaw__cache_where(const thaw_cache *cache);

/* Both are called with the mutex held, or before anybody else knows the cache. */

/* Indexes what the folder's shards hold and is not indexed yet. ERR_IO, ERR_NOMEM. */
thaw_status thaw__shards_index(thaw_cache *cache, thaw_error *err);

/* Puts n encoded records of layout.stride bytes each behind the last one, on disk or in memory as
 * thaw_cache_append says, and indexes them. */
thaw_status thaw__shards_append(thaw_cache *cache, const uint8_t *records, size_t n,
                                thaw_error *err);

#endif
