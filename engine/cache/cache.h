/* The cache of activations: what a trunk put out for a picture, kept for ever, never wrong.
 *
 * A record is named by content: (trunk key, picture key) -> D floats. The trunk key is a hash of
 * everything that the values depend on (network and weights up to the cut, preprocessing, decoder,
 * type, this format); the picture key is a hash of the file's bytes. Labels, heads and epochs are
 * in neither, so relabelling, sweeps and added pictures cost nothing.
 *
 * On disk: ROOT/<trunk key>/ holds trunk.json (the facts that the key is the hash of), `lock` (held
 * while the trunk is in use; its time is when it last was), `claims` (empty; see cache_claims.c), and
 * shards that only grow:
 *
 *   bytes of a shard                            bytes of a record
 *    0   8  "THAWSHRD"                           0  16  picture key
 *    8   4  format version                      16   8  check of the values
 *   12   4  type of the values                  24   8  check of bytes 0 to 23, seeded
 *   16   8  D                                           with the trunk key
 *   24  16  trunk key                           32  32  zeros
 *   40  24  zeros                               64      D values
 *   64      record, record, ...                         zeros to a multiple of 64
 *
 * Numbers are those of the machine; checks are XXH3. All records of a trunk have one size, so the
 * next record is found whatever the damage to this one.
 *
 * Why it survives kill -9: records go out in order at the end of a file, by write(), and a write
 * that was cut short leaves a prefix. Whole records of the prefix count; what is torn behind them
 * is overlooked by readers and covered by the next writer, which writes no byte before it. After a
 * power cut any byte may be wrong: then the checks fail.
 *
 * Why two processes can share it: a shard has one writer, which holds its flock(); another writer
 * takes another shard. Nobody removes a trunk while somebody holds its `lock`.
 *
 * Why damage cannot pass: every read compares both checks. A record that fails is passed over; when
 * no other copy is whole it is a miss and is computed again.
 *
 * Why memory stays flat: records are read by pread() into the caller's row. Mapped pages would
 * count as this process's memory until they are given back, and a file that another process cuts
 * would kill the reader. What grows is the index: 32 to 64 bytes a record.
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
    const char *about;   /* For people: where the trunk comes from. Not hashed. NULL: nothing. */
    int64_t D;           /* Values of a record. */
    thaw_dtype dtype;    /* THAW_F32 or THAW_F16: how they are stored. */
    bool shared;         /* Others may write to root: trust them. */
    size_t shard_bytes;  /* A shard that is larger gets no more records; 0: 1 GiB. */
    size_t memory_bytes; /* Most that records without disk take; 0: half of what is usable then. */
} thaw_cache_spec;

/* Makes the folder root where it is missing, for this user alone to write unless shared, and checks
 * it as thaw_cache_check_root does. ERR_IO, ERR_USAGE. */
thaw_status thaw_cache_make_root(const char *root, bool shared, thaw_error *err);

/* ERR_USAGE when somebody else than this user and root can put files into root, unless shared. A root
 * that is not there is none of theirs. */
thaw_status thaw_cache_check_root(const char *root, bool shared, thaw_error *err);

/* Opens or makes the trunk's folder and indexes what is there (headers only). All strings are
 * copied or not needed later. A folder that can be read but not written will do: what it lacks is
 * kept in memory. Shards of another format are left alone and not read.
 * ERR_IO: it cannot be made or read, with the reason. ERR_USAGE: others may write to it, and spec
 * does not trust them. ERR_UNSUPPORTED: D or dtype. ERR_NOMEM, ERR_SYSTEM. */
thaw_status thaw_cache_open(thaw_cache **cache, const thaw_cache_spec *spec, thaw_error *err);

/* Whether somebody has opened a cache for this spec before, in a root that is there. ERR_NOMEM. */
thaw_status thaw_cache_kept(const thaw_cache_spec *spec, bool *kept, thaw_error *err);

/* Brings what was written to disk and frees the cache. NULL: nothing. */
void thaw_cache_close(thaw_cache *cache);

/* Indexes what other processes have added since. ERR_SYSTEM, ERR_NOMEM. */
thaw_status thaw_cache_refresh(thaw_cache *cache, thaw_error *err);

/* Whether the record is there and whole; its values are read and checked. */
bool thaw_cache_has(thaw_cache *cache, thaw_hash key);

/* Who computes a record. */
typedef enum thaw_cache_claim {
    THAW_CLAIM_KEPT,   /* Nobody: it is there and whole. */
    THAW_CLAIM_MINE,   /* This process; it appends or releases the key. */
    THAW_CLAIM_OTHERS, /* Another process is about to. */
} thaw_cache_claim;

/* Looks for the record, also among what other processes have added since, and claims it when it is
 * not there: until this process appends it, releases it or ends, however it ends, no other process
 * gets it. So several that work on one dataset share the work. Where the file system has no locks,
 * everybody computes everything. */
thaw_cache_claim thaw_cache_claim_record(thaw_cache *cache, thaw_hash key);

/* Gives up a claim; a key that is not claimed: nothing. */
void thaw_cache_release(thaw_cache *cache, thaw_hash key);

/* Appends n records, rows [n, D], and releases their keys. Keys that are already there are skipped.
 * A disk that is full or cannot be written does not end the run: the records are kept in memory
 * until close, and thaw_cache_measure says how many. The shard then still ends with a whole record.
 * ERR_IO: memory_bytes are used up, too, or the disk fails. */
thaw_status thaw_cache_append(thaw_cache *cache, const thaw_hash *keys, size_t n, const float *rows,
                              thaw_error *err);

/* Reads a record into row [D], which holds anything after a failure. ERR_MISMATCH: absent, or
 * damaged since thaw_cache_has. ERR_NOMEM. */
thaw_status thaw_cache_read(thaw_cache *cache, thaw_hash key, float *row, thaw_error *err);

typedef struct thaw_cache_stats {
    size_t records;      /* Different keys. */
    size_t damaged;      /* Records that this process found damaged and passed over. */
    size_t in_memory;    /* Of records, those that are not on disk. */
    bool read_only;      /* The folder cannot be written: that is why they are not. */
    size_t record_bytes; /* Of one, with its header and what fills it up. */
    uint64_t bytes;      /* Of all different keys, one copy each. */
} thaw_cache_stats;

/* What this process knows of the trunk at this moment: what it found when it opened the cache or
 * refreshed it last, and what it appended. Reads no file; never fails. */
thaw_cache_stats thaw_cache_measure(thaw_cache *cache);

/* ---- all trunks of a root ------------------------------------------------------------------ */

/* Where something is damaged. */
typedef struct thaw_cache_spot {
    char shard[64];  /* The file's name, cut. */
    uint64_t offset; /* Of the record; 0: the shard's header, which is replaced by itself. */
} thaw_cache_spot;

enum { THAW_CACHE_SPOTS = 16 };

typedef struct thaw_cache_entry {
    const char *key; /* 32 digits: the folder's name. */
    const thaw_fact *facts;
    size_t n_facts;    /* 0: trunk.json is missing or damaged. */
    const char *about; /* Never NULL. */
    size_t records, shards;
    size_t damaged; /* Records and headers. Counted only when checks are compared. */
    size_t foreign; /* Files that are called shards but hold none of this trunk and format. */
    thaw_cache_spot spots[THAW_CACHE_SPOTS]; /* The first of the damaged. */
    uint64_t bytes;
    int64_t last_used; /* Seconds since 1970. */
    bool in_use;       /* Or looked at by another process this very moment. */
} thaw_cache_entry;

/* Calls visit for each trunk folder of root, most recently used first. check: every record's
 * checks are compared. A root that does not exist is empty. Stops when visit fails.
 * ERR_IO, ERR_SYSTEM, ERR_NOMEM. */
typedef thaw_status (*thaw_cache_visit)(void *context, const thaw_cache_entry *entry,
                                        thaw_error *err);
thaw_status thaw_cache_walk(const char *root, bool check, thaw_cache_visit visit, void *context,
                            thaw_error *err);

typedef struct thaw_cache_collected {
    size_t trunks;   /* Removed whole. */
    size_t records;  /* Damaged ones, removed from trunks that stay. */
    size_t in_use;   /* Trunks that were left alone because somebody uses them. */
    uint64_t bytes;  /* Freed. */
    uint64_t remain; /* Bytes that are left. */
} thaw_cache_collected;

/* Makes room. Removes whole trunks: those not used for keep_days (0: however old) and then, least
 * recently used first, until at most keep_bytes remain. From the others it removes foreign shards
 * and damaged records, for which it reads all that remains. What is in use stays as it is, and so
 * does what may hold records but is not known well enough: where neither trunk.json nor a shard's
 * header can be believed, or the disk fails. Files that Thaw did not make stay, and then their
 * folder does. ERR_IO, ERR_SYSTEM, ERR_NOMEM. */
thaw_status thaw_cache_collect(const char *root, uint64_t keep_bytes, int64_t keep_days,
                               thaw_cache_collected *result, thaw_error *err);

/* Why is there nothing for this spec? The trunk with records in spec->root that differs from it in
 * the fewest facts, as "filter: bilinear -> bicubic" lines (kept -> wanted). The cache adds facts
 * of its own: values, stored, format. n_differences 0: it is there itself; -1: there is no trunk.
 * text is cut when it does not fit. */
thaw_status thaw_cache_explain(const thaw_cache_spec *spec, char *text, size_t text_size,
                               int *n_differences, thaw_error *err);

/* $XDG_CACHE_HOME/thaw, or ~/.cache/thaw. False when neither variable is set. */
bool thaw_cache_default_root(char *path, size_t size);

#endif
