#include "cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cache_facts.h"
#include "cache_format.h"
#include "cache_index.h"
#include "file.h"
#include "half.h"

enum {
    MAX_SHARDS = 65535,
    PATH_SIZE = 4096,
    /* Of one write: enough to make the call's cost vanish, little enough to encode in a cache. */
    WRITE_RECORDS = 256,
    WRITE_BYTES = 4 << 20,
    /* Of one read of a scan, and how many records make it worth while. */
    SCAN_BYTES = 64 << 10,
    SCAN_RECORDS = 16,
    ATTEMPTS = 1000, /* At what another process may spoil a few times in a row, but not for ever. */
};
static const size_t usual_shard_bytes = (size_t)1 << 30;

/* One file of records, or a memory file. */
typedef struct shard {
    int fd;
    bool memory;
    dev_t device;
    ino_t inode;
    size_t n; /* Records that are indexed, or damaged. */
} shard;

struct thaw_cache {
    pthread_mutex_t mutex;  /* Guards all but the constants. */
    char folder[PATH_SIZE]; /* Constant; "": memory only. */
    record_layout layout;   /* Constant. */
    size_t shard_bytes;     /* Constant; size at which a shard is full. */
    size_t memory_bytes;    /* 0: not decided yet. */
    int lock;               /* Shared lock on the trunk's folder: it is in use. */
    shard *shards;
    size_t n_shards;
    int writing; /* Shard that this process appends to; -1: none yet. */
    cache_index index;
    size_t n_damaged, n_memory;
};

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail(err, THAW_ERR_NOMEM, "not enough memory for the cache's index");
}

static const char *where(const thaw_cache *c) {
    return c->folder[0] ? c->folder : "memory";
}

/* ---- records ------------------------------------------------------------------------------- */

static void encode(const thaw_cache *c, thaw_hash key, const float *row, uint8_t *record) {
    const record_layout *l = &c->layout;
    record_header *h = (record_header *)record;
    uint8_t *payload = record + sizeof *h;
    memset(record, 0, l->stride);
    if (l->dtype == THAW_F16)
        thaw_half_from_float(row, (size_t)l->D, (uint16_t *)payload);
    else
        memcpy(payload, row, l->payload);
    h->key = key;
    h->payload_check = thaw__cache_payload_check(l, payload);
    h->header_check = thaw__cache_header_check(l, h);
}

/* Reads and checks the record at place; row may be NULL. ERR_MISMATCH: damaged. */
static thaw_status decode(const thaw_cache *c, int fd, const cache_place *place, float *row) {
    const record_layout *l = &c->layout;
    bool direct = row && l->dtype == THAW_F32;
    void *payload = direct ? (void *)row : malloc(l->payload);
    if (!payload) return THAW_ERR_NOMEM;
    record_header h;
    bool whole = thaw__cache_read_record(fd, l, place->record - 1, &h, payload) &&
                 thaw_hash_equal(h.key, place->key);
    if (whole && row && !direct) thaw_float_from_half(payload, (size_t)l->D, row);
    if (!direct) free(payload);
    return whole ? THAW_OK : THAW_ERR_MISMATCH;
}

/* ---- shards: reading ------------------------------------------------------------------------- */

/* The cache owns fd from here on, also after a failure. */
static thaw_status add_shard(thaw_cache *c, int fd, bool memory, thaw_error *err) {
    struct stat info;
    shard *more = realloc(c->shards, (c->n_shards + 1) * sizeof *more);
    if (more) c->shards = more;
    if (!more || c->n_shards == MAX_SHARDS || fstat(fd, &info) != 0) {
        close(fd);
        return no_memory(err);
    }
    c->shards[c->n_shards++] =
        (shard){.fd = fd, .memory = memory, .device = info.st_dev, .inode = info.st_ino};
    return THAW_OK;
}

static bool knows_shard(const thaw_cache *c, int fd) {
    struct stat info;
    if (fstat(fd, &info) != 0) return true;
    for (size_t i = 0; i < c->n_shards; i++)
        if (c->shards[i].inode == info.st_ino && c->shards[i].device == info.st_dev) return true;
    return false;
}

/* Indexes what `record` of shard i says it is. */
static bool index_record(thaw_cache *c, size_t i, size_t record, const record_header *h) {
    if (h->header_check == thaw__cache_header_check(&c->layout, h))
        return thaw__index_add(&c->index, h->key, (uint32_t)i, record);
    c->n_damaged++;
    return true;
}

/* Indexes the records that a shard has got since it was indexed last. Large records are scanned a
 * header at a time, which costs a page for each, not its payload; small ones by the block, since
 * there a call costs more than reading over the payload. */
static thaw_status index_shard(thaw_cache *c, size_t i, thaw_error *err) {
    shard *s = &c->shards[i];
    const record_layout *l = &c->layout;
    _Alignas(record_header) uint8_t block[SCAN_BYTES];
    size_t n = thaw__cache_whole_records(s->fd, l), step = sizeof block / l->stride;
    if (step < SCAN_RECORDS) step = 1;
    if (n > s->n) thaw__index_reserve(&c->index, n - s->n); /* Failing here is no failure yet. */
    while (s->n < n) {
        size_t some = n - s->n < step ? n - s->n : step;
        size_t bytes = (some - 1) * l->stride + sizeof(record_header);
        bool good = thaw__cache_read_at(s->fd, block, bytes, thaw__cache_offset(l, s->n));
        /* What cannot be read is damaged, and zeros are no record. */
        if (!good) memset(block, 0, bytes);
        for (size_t k = 0; k < some; k++, s->n++)
            if (!index_record(c, i, s->n, (const record_header *)(block + k * l->stride)))
                return no_memory(err);
    }
    return THAW_OK;
}

/* Takes the file in when it is a shard of this trunk. What is not, empty since a crash or of
 * another format, is left to thaw_cache_collect. */
static thaw_status open_shard(thaw_cache *c, int folder, const char *name, thaw_error *err) {
    int fd = openat(folder, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return THAW_OK;
    record_layout l;
    bool fits = thaw__cache_read_header(fd, c->layout.trunk, &l) && l.stride == c->layout.stride;
    if (knows_shard(c, fd) || !(fits || thaw__cache_first_record_fits(fd, &c->layout))) {
        close(fd);
        return THAW_OK;
    }
    THAW_TRY(add_shard(c, fd, false, err));
    return index_shard(c, c->n_shards - 1, err);
}

static thaw_status index_folder(thaw_cache *c, thaw_error *err) {
    for (size_t i = 0; i < c->n_shards; i++)
        THAW_TRY(index_shard(c, i, err));
    DIR *dir = opendir(c->folder);
    if (!dir)
        return thaw_fail(err, THAW_ERR_IO, "cannot read the cache's folder %s: %s", c->folder,
                         strerror(errno));
    thaw_status status = THAW_OK;
    const struct dirent *entry;
    while (status == THAW_OK && (entry = readdir(dir)))
        if (thaw__cache_is_shard_name(entry->d_name))
            status = open_shard(c, dirfd(dir), entry->d_name, err);
    closedir(dir);
    return status;
}

/* ---- shards: writing ------------------------------------------------------------------------- */

static bool write_header(const thaw_cache *c, int fd) {
    shard_header h = thaw__cache_header(&c->layout);
    return thaw__cache_write_at(fd, &h, sizeof h, 0);
}

/* Makes a locked shard ready: what its last writer added is indexed, a torn tail is cut, a damaged
 * header replaced. False when it is full or fails. */
static bool prepare_shard(thaw_cache *c, size_t i) {
    shard *s = &c->shards[i];
    if (index_shard(c, i, NULL) != THAW_OK) return false;
    off_t end = thaw__cache_offset(&c->layout, s->n);
    return (size_t)end + c->layout.stride <= c->shard_bytes && ftruncate(s->fd, end) == 0 &&
           write_header(c, s->fd);
}

/* Locks a shard of this folder that has room and that nobody writes to. */
static bool take_shard(thaw_cache *c) {
    for (size_t i = 0; i < c->n_shards; i++) {
        shard *s = &c->shards[i];
        if (s->memory || flock(s->fd, LOCK_EX | LOCK_NB) != 0) continue;
        if (prepare_shard(c, i)) {
            c->writing = (int)i;
            return true;
        }
        flock(s->fd, LOCK_UN);
    }
    return false;
}

/* Some file systems have no locks. A new shard needs none: its name was nobody else's, and who
 * cannot lock it will not take it. */
static bool lock_new_shard(int fd) {
    return flock(fd, LOCK_EX | LOCK_NB) == 0 || errno == ENOSYS || errno == ENOLCK ||
           errno == EOPNOTSUPP;
}

/* A new shard, locked, under a name that nobody else has. Its descriptor, or -1 with errno. */
static int make_shard(const thaw_cache *c) {
    char path[PATH_SIZE + 64];
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        snprintf(path, sizeof path, "%s/%08lx-%05d-%03d.shard", c->folder, (long)time(NULL),
                 (int)getpid(), attempt);
        int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno == EEXIST) continue;
        if (fd < 0) return -1;
        if (lock_new_shard(fd) && write_header(c, fd)) return fd;
        int reason = errno;
        unlink(path);
        close(fd);
        errno = reason;
        return -1;
    }
    return -1;
}

static int make_memory_shard(const thaw_cache *c) {
    int fd = memfd_create("thaw-cache", MFD_CLOEXEC);
    if (fd >= 0 && write_header(c, fd)) return fd;
    if (fd >= 0) close(fd);
    return -1;
}

/* A disk without room; a file that may not grow is no different. */
static bool no_room(int reason) {
    return reason == ENOSPC || reason == EDQUOT || reason == EFBIG;
}

static thaw_status fail_write(const thaw_cache *c, int reason, thaw_error *err) {
    return thaw_fail(err, THAW_ERR_IO,
                     "cannot write the cache in %s: %s; choose another cache.dir, or make room "
                     "with thaw cache gc",
                     where(c), strerror(reason));
}

/* Makes c->writing a shard with room. memory: on no account the disk. */
static thaw_status open_writer(thaw_cache *c, bool memory, thaw_error *err) {
    memory |= !c->folder[0];
    if (!memory && take_shard(c)) return THAW_OK;
    int fd = memory ? -1 : make_shard(c);
    if (fd < 0 && !memory && !no_room(errno)) return fail_write(c, errno, err);
    if (fd < 0) {
        memory = true;
        fd = make_memory_shard(c);
    }
    if (fd < 0) return fail_write(c, errno, err);
    THAW_TRY(add_shard(c, fd, memory, err));
    c->writing = (int)c->n_shards - 1;
    return THAW_OK;
}

/* Ends a full shard: what is in it goes to disk, and its lock to whoever wants it. */
static void leave_full_shard(thaw_cache *c) {
    if (c->writing < 0 || c->shards[c->writing].memory) return;
    shard *s = &c->shards[c->writing];
    if ((size_t)thaw__cache_offset(&c->layout, s->n) < c->shard_bytes) return;
    fdatasync(s->fd);
    flock(s->fd, LOCK_UN);
    c->writing = -1;
}

static bool writes_to_memory(const thaw_cache *c) {
    return c->writing >= 0 && c->shards[c->writing].memory;
}

/* Whether n more records may go to memory. */
static thaw_status reserve_memory(thaw_cache *c, size_t n, thaw_error *err) {
    if (!c->memory_bytes) {
        long pages = sysconf(_SC_AVPHYS_PAGES), size = sysconf(_SC_PAGESIZE);
        c->memory_bytes = pages > 0 && size > 0 ? (size_t)pages / 2 * (size_t)size : SIZE_MAX;
    }
    if ((c->n_memory + n) * c->layout.stride <= c->memory_bytes) return THAW_OK;
    if (!c->folder[0])
        return thaw_fail(err, THAW_ERR_IO,
                         "the features need more than the %zu MB of memory that they may take; "
                         "give them a folder with cache.dir",
                         c->memory_bytes >> 20);
    return thaw_fail(err, THAW_ERR_IO,
                     "the disk of the cache in %s is full, and so are the %zu MB of memory that "
                     "stood in for it; make room with thaw cache gc or choose another cache.dir",
                     c->folder, c->memory_bytes >> 20);
}

/* Puts n records of buffer behind the shard's last. On failure, nothing: a torn record is cut. */
static bool write_records(thaw_cache *c, const uint8_t *buffer, size_t n) {
    const shard *s = &c->shards[c->writing];
    off_t end = thaw__cache_offset(&c->layout, s->n);
    if (thaw__cache_write_at(s->fd, buffer, n * c->layout.stride, end)) return true;
    int reason = errno;
    /* If even this fails, the next writer of the shard cuts. */
    if (ftruncate(s->fd, end) != 0) c->writing = -1;
    errno = reason;
    return false;
}

static thaw_status store(thaw_cache *c, const uint8_t *buffer, size_t n, thaw_error *err) {
    leave_full_shard(c);
    if (c->writing < 0) THAW_TRY(open_writer(c, false, err));
    if (writes_to_memory(c)) THAW_TRY(reserve_memory(c, n, err));
    if (!write_records(c, buffer, n)) {
        if (!no_room(errno) || writes_to_memory(c)) return fail_write(c, errno, err);
        THAW_TRY(reserve_memory(c, n, err));
        THAW_TRY(open_writer(c, true, err));
        if (!write_records(c, buffer, n)) return fail_write(c, errno, err);
    }
    shard *s = &c->shards[c->writing];
    if (s->memory) c->n_memory += n;
    for (size_t i = 0; i < n; i++, s->n++) {
        const record_header *h = (const record_header *)(buffer + i * c->layout.stride);
        if (!thaw__index_add(&c->index, h->key, (uint32_t)c->writing, s->n)) return no_memory(err);
    }
    return THAW_OK;
}

/* ---- opening and closing --------------------------------------------------------------------- */

/* Whether path still names the file that is open as fd. */
static bool same_file(int fd, const char *path) {
    struct stat opened, named;
    return fstat(fd, &opened) == 0 && stat(path, &named) == 0 && opened.st_ino == named.st_ino &&
           opened.st_dev == named.st_dev;
}

/* Makes the folder and locks it as in use. thaw_cache_collect may remove the folder between any two
 * of these steps; the lock counts only if its file is in the folder once it is held. */
static thaw_status lock_folder(thaw_cache *c, thaw_error *err) {
    char path[PATH_SIZE + 16];
    snprintf(path, sizeof path, "%s/lock", c->folder);
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        THAW_TRY(thaw_file_make_folders(c->folder, err));
        c->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (c->lock < 0 && errno == ENOENT) continue;
        if (c->lock < 0) break;
        while (flock(c->lock, LOCK_SH) != 0 && errno == EINTR)
            continue;
        if (same_file(c->lock, path)) {
            futimens(c->lock, NULL);
            return THAW_OK;
        }
        close(c->lock);
        c->lock = -1;
    }
    return thaw_fail(err, THAW_ERR_IO, "cannot write %s: %s", path, strerror(errno));
}

static thaw_status open_folder(thaw_cache *c, const thaw_cache_spec *spec, const cache_facts *facts,
                               thaw_error *err) {
    char name[THAW_HASH_TEXT];
    thaw_hash_text(c->layout.trunk, name);
    if (snprintf(c->folder, sizeof c->folder, "%s/%s", spec->root, name) >= (int)sizeof c->folder)
        return thaw_fail(err, THAW_ERR_USAGE, "cache.dir = %s: the path is too long", spec->root);
    thaw_status status = lock_folder(c, err);
    if (status != THAW_OK)
        return thaw_fail_within(err, status, "cache.dir = %s (choose another, or none)",
                                spec->root);
    /* For people only: a full disk, on which it fails, is no reason to end the run. */
    thaw__facts_write(c->folder, facts);
    return index_folder(c, err);
}

static thaw_status fill(thaw_cache *c, const thaw_cache_spec *spec, thaw_arena *arena,
                        thaw_error *err) {
    if (!thaw__cache_layout(&c->layout, (thaw_hash){0}, spec->D, spec->dtype))
        return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                         "the cache keeps records of 1 to 2^32 values in fp32 or fp16, not %lld",
                         (long long)spec->D);
    cache_facts facts;
    THAW_TRY(thaw__facts_of(spec, arena, &facts, err));
    c->layout.trunk = thaw__facts_key(&facts);
    c->shard_bytes = spec->shard_bytes ? spec->shard_bytes : usual_shard_bytes;
    c->memory_bytes = spec->memory_bytes;
    return spec->root ? open_folder(c, spec, &facts, err) : THAW_OK;
}

thaw_status thaw_cache_open(thaw_cache **cache, const thaw_cache_spec *spec, thaw_error *err) {
    *cache = NULL;
    thaw_cache *c = calloc(1, sizeof *c);
    if (!c) return no_memory(err);
    pthread_mutex_init(&c->mutex, NULL);
    c->lock = c->writing = -1;
    thaw_arena arena = {0};
    thaw_status status = fill(c, spec, &arena, err);
    thaw_arena_free(&arena);
    if (status != THAW_OK) {
        thaw_cache_close(c);
        return status;
    }
    *cache = c;
    return THAW_OK;
}

void thaw_cache_close(thaw_cache *c) {
    if (!c) return;
    if (c->writing >= 0 && !c->shards[c->writing].memory) fdatasync(c->shards[c->writing].fd);
    for (size_t i = 0; i < c->n_shards; i++)
        close(c->shards[i].fd);
    if (c->lock >= 0) close(c->lock);
    free(c->shards);
    thaw__index_free(&c->index);
    pthread_mutex_destroy(&c->mutex);
    free(c);
}

thaw_status thaw_cache_refresh(thaw_cache *c, thaw_error *err) {
    if (!c->folder[0]) return THAW_OK;
    pthread_mutex_lock(&c->mutex);
    thaw_status status = index_folder(c, err);
    pthread_mutex_unlock(&c->mutex);
    return status;
}

/* ---- reading and writing --------------------------------------------------------------------- */

/* Where a copy of the record lies. The descriptor stays open until close: it can be read unlocked.
 */
static bool locate(thaw_cache *c, thaw_hash key, int *fd, cache_place *place) {
    pthread_mutex_lock(&c->mutex);
    bool there = thaw__index_find(&c->index, key, place);
    if (there) *fd = c->shards[place->shard].fd;
    pthread_mutex_unlock(&c->mutex);
    return there;
}

static void drop(thaw_cache *c, const cache_place *place) {
    pthread_mutex_lock(&c->mutex);
    if (thaw__index_drop(&c->index, place)) c->n_damaged++;
    pthread_mutex_unlock(&c->mutex);
}

/* Reads the first copy that is whole; those before it are damaged and will not be tried again. */
static thaw_status fetch(thaw_cache *c, thaw_hash key, float *row) {
    int fd;
    cache_place place;
    while (locate(c, key, &fd, &place)) {
        thaw_status status = decode(c, fd, &place, row);
        if (status != THAW_ERR_MISMATCH) return status;
        drop(c, &place);
    }
    return THAW_ERR_MISMATCH;
}

bool thaw_cache_has(thaw_cache *c, thaw_hash key) {
    return fetch(c, key, NULL) == THAW_OK;
}

thaw_status thaw_cache_read(thaw_cache *c, thaw_hash key, float *row, thaw_error *err) {
    thaw_status status = fetch(c, key, row);
    if (status == THAW_OK) return THAW_OK;
    if (status == THAW_ERR_NOMEM)
        return thaw_fail(err, status, "not enough memory for the %zu bytes of a record",
                         c->layout.payload);
    return thaw_fail(err, status,
                     "a record of the cache in %s was there and is now missing or damaged; run "
                     "again, it will be computed anew",
                     where(c));
}

/* Whether keys[i] stands among the ones before it: one picture under two names. */
static bool repeats(const thaw_hash *keys, size_t i) {
    for (size_t k = 0; k < i; k++)
        if (thaw_hash_equal(keys[k], keys[i])) return true;
    return false;
}

thaw_status thaw_cache_append(thaw_cache *c, const thaw_hash *keys, size_t n, const float *rows,
                              thaw_error *err) {
    const record_layout *l = &c->layout;
    size_t most = WRITE_BYTES / l->stride;
    most = most < 1 ? 1 : most > WRITE_RECORDS ? WRITE_RECORDS : most;
    if (most > n) most = n;
    uint8_t *buffer = malloc(most * l->stride + 1);
    if (!buffer) return no_memory(err);
    thaw_status status = THAW_OK;
    for (size_t begin = 0; begin < n && status == THAW_OK; begin += most) {
        size_t end = begin + most < n ? begin + most : n, kept = 0;
        for (size_t i = begin; i < end; i++)
            if (!repeats(keys + begin, i - begin) && !thaw_cache_has(c, keys[i]))
                encode(c, keys[i], rows + (size_t)l->D * i, buffer + kept++ * l->stride);
        pthread_mutex_lock(&c->mutex);
        if (kept) status = store(c, buffer, kept, err);
        pthread_mutex_unlock(&c->mutex);
    }
    free(buffer);
    return status;
}

thaw_cache_stats thaw_cache_measure(thaw_cache *c) {
    pthread_mutex_lock(&c->mutex);
    thaw_cache_stats stats = {.records = c->index.n_keys,
                              .damaged = c->n_damaged,
                              .in_memory = c->n_memory,
                              .record_bytes = c->layout.stride,
                              .bytes = (uint64_t)c->index.n_keys * c->layout.stride};
    pthread_mutex_unlock(&c->mutex);
    return stats;
}

bool thaw_cache_default_root(char *path, size_t size) {
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = -1;
    if (xdg && xdg[0] == '/')
        n = snprintf(path, size, "%s/thaw", xdg);
    else if (home && home[0])
        n = snprintf(path, size, "%s/.cache/thaw", home);
    return n > 0 && (size_t)n < size;
}
