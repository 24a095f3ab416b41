/* The cache of activations: what a trunk put out for a picture, kept for ever, never wrong.
 *
 * A record is named by content: (trunk key, picture key) -> D floats. The trunk key is a hash of
 * everything that the values depend on (network and weights up to the cut, preprocessing, decoder,
 * type, this format); the picture key is a hash of the file's bytes. Labels, heads and epochs are
 * in neither, so relabelling, sweeps and added pictures cost nothing.
 *
 * On disk: ROOT/<trunk key>/ holds trunk.json (the facts behind the key, for people), `lock`, and
 * shards that only grow:
 *
 *   shard   = header, record, record, ...            all records of a shard have one size
 *   header  = "THAWSHRD", u32 version, u32 dtype, u64 D, trunk key, zeros       64 bytes
 *   record  = picture key, u64 check of the payload, u64 check of these 24 bytes and the trunk key,
 *             zeros to 64; D values; zeros to a multiple of 64
 *
 * Why it survives kill -9: a batch of records goes out in one write(), which leaves a prefix of it
 * at worst. Whole records of the prefix count, what is torn behind them is cut off by the next
 * writer and overlooked by readers. Why two processes can share it: a shard has one writer, which
 * holds its lock; another writer takes another shard. Why damage cannot pass: every read compares
 * the checksum; a record that fails it is a miss and is computed again.
 *
 * A cache may be used by several threads at once.
 */
#ifndef THAW_CACHE_H
#define THAW_CACHE_H

#include <stdbool.h>

#include "hash.h"
#include "kernels.h"
#include "status.h"

typedef struct thaw_cache thaw_cache;

/* One thing that the values depend on. */
typedef struct thaw_fact {
    const char *name, *value;
} thaw_fact;

typedef struct thaw_cache_spec {
    const char *root;       /* Folder of all trunks; NULL: memory only, gone at close. */
    const thaw_fact *facts; /* In a fixed order; hashed into the trunk key. */
    size_t n_facts;
    const char *about;  /* For people: where the trunk comes from. Not hashed. NULL: nothing. */
    int64_t D;          /* Values of a record. */
    thaw_dtype dtype;   /* THAW_F32 or THAW_F16: how they are stored. */
    size_t shard_bytes; /* A shard that is larger gets no more records; 0: 1 GiB. */
} thaw_cache_spec;

/* Opens or makes the trunk's folder and indexes what is there (headers only).
 * ERR_IO: not writable, with the reason. Shards of another format are left alone and not read. */
thaw_status thaw_cache_open(thaw_cache **cache, const thaw_cache_spec *spec, thaw_error *err);

void thaw_cache_close(thaw_cache *cache); /* NULL: nothing. */

/* Whether the record is there and whole; its payload is read and checked. */
bool thaw_cache_has(thaw_cache *cache, thaw_hash key);

/* Appends n records, rows [n, D]. Keys that are already there are skipped. A disk that is full does
 * not end the run: the records are kept in memory until close, and thaw_cache_stats says how many.
 * ERR_IO: the memory is full, too, or the disk fails. */
thaw_status thaw_cache_append(thaw_cache *cache, const thaw_hash *keys, size_t n, const float *rows,
                              thaw_error *err);

/* Reads a record into row [D]. ERR_MISMATCH: absent, or damaged since thaw_cache_has. */
thaw_status thaw_cache_read(thaw_cache *cache, thaw_hash key, float *row, thaw_error *err);

typedef struct thaw_cache_stats {
    size_t records, damaged, in_memory; /* in_memory: of records, those that are not on disk. */
    uint64_t bytes;                     /* Of all records. */
    size_t record_bytes;
} thaw_cache_stats;
thaw_cache_stats thaw_cache_measure(thaw_cache *cache);

/* ---- all trunks of a root ------------------------------------------------------------------ */

typedef struct thaw_cache_entry {
    const char *key; /* 32 digits: the folder's name. */
    const thaw_fact *facts;
    size_t n_facts;                  /* 0: trunk.json is missing or damaged. */
    const char *about;               /* Never NULL. */
    size_t records, shards, damaged; /* damaged: counted by verify only. */
    size_t foreign;                  /* Shards of another format version. */
    uint64_t bytes;
    int64_t last_used; /* Seconds since 1970. */
    bool in_use;
} thaw_cache_entry;

/* Calls visit for each trunk folder of root, most recently used first. check: every record's
 * checksum is compared. A root that does not exist is empty. Stops when visit fails. */
typedef thaw_status (*thaw_cache_visit)(void *context, const thaw_cache_entry *entry,
                                        thaw_error *err);
thaw_status thaw_cache_walk(const char *root, bool check, thaw_cache_visit visit, void *context,
                            thaw_error *err);

/* Removes whole trunks, least recently used first, until at most keep_bytes remain; and, of the
 * others, shards of another format. What is in use stays. Sets how much was freed. */
thaw_status thaw_cache_collect(const char *root, uint64_t keep_bytes, uint64_t *freed_bytes,
                               size_t *removed, thaw_error *err);

/* Why is there nothing for these facts? The trunk in root that differs in the fewest of them, as
 * "filter: bilinear -> bicubic" lines (kept -> wanted). n_differences 0: it is there itself; -1:
 * there is no other trunk. text is cut when it does not fit. */
thaw_status thaw_cache_explain(const char *root, const thaw_fact *facts, size_t n_facts, char *text,
                               size_t text_size, int *n_differences, thaw_error *err);

/* $XDG_CACHE_HOME/thaw, or ~/.cache/thaw. False when neither variable is set. */
bool thaw_cache_default_root(char *path, size_t size);

#endif
