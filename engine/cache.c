#include "cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cache_format.h"
#include "file.h"
#include "half.h"

enum { MAX_SHARDS = 65535, PATH_SIZE = 4096 };
static const size_t usual_shard_bytes = (size_t)1 << 30;

/* One file of records, or a memory file. */
typedef struct shard {
    int fd;
    bool memory;
    size_t n; /* Whole records. */
} shard;

/* Where a record lies. record 0 marks a free place of the table, so it is stored plus one. */
typedef struct place {
    thaw_hash key;
    uint32_t shard, record;
} place;

struct thaw_cache {
    pthread_mutex_t mutex;  /* Guards all but the constants. */
    char folder[PATH_SIZE]; /* "": memory only. */
    thaw_hash trunk;
    int64_t D;
    thaw_dtype dtype;
    size_t stride, shard_bytes; /* Bytes from record to record; size at which a shard is full. */
    int lock;                   /* Shared lock on the trunk's folder: it is in use. */
    shard *shards;
    size_t n_shards;
    int writing; /* Shard that this process appends to; -1: none yet. */
    place *table;
    size_t mask, n_records, n_damaged, n_memory;
};

/* ---- the table ----------------------------------------------------------------------------- */

static place *find(const thaw_cache *c, thaw_hash key) {
    size_t at = (size_t)key.lo & c->mask;
    while (c->table[at].record && !thaw_hash_equal(c->table[at].key, key))
        at = (at + 1) & c->mask;
    return &c->table[at];
}

static bool grow_table(thaw_cache *c) {
    size_t old_size = c->table ? c->mask + 1 : 0, size = old_size ? 2 * old_size : 1024;
    place *old = c->table, *bigger = calloc(size, sizeof *bigger);
    if (!bigger) return false;
    c->table = bigger;
    c->mask = size - 1;
    for (size_t i = 0; i < old_size; i++)
        if (old[i].record) *find(c, old[i].key) = old[i];
    free(old);
    return true;
}

/* Later records of a key replace earlier ones: a damaged record is written again. */
static bool remember(thaw_cache *c, thaw_hash key, size_t shard_index, size_t record) {
    if ((!c->table || c->n_records * 2 > c->mask) && !grow_table(c)) return false;
    place *p = find(c, key);
    if (!p->record) c->n_records++;
    *p = (place){key, (uint32_t)shard_index, (uint32_t)record + 1};
    return true;
}

/* ---- records ------------------------------------------------------------------------------- */

static size_t payload_bytes(const thaw_cache *c) {
    return (size_t)c->D * thaw_dtype_bytes(c->dtype);
}

static void encode(const thaw_cache *c, thaw_hash key, const float *row, uint8_t *record) {
    record_header *h = (record_header *)record;
    uint8_t *payload = record + sizeof *h;
    memset(record, 0, c->stride);
    if (c->dtype == THAW_F16)
        thaw_half_from_float(row, (size_t)c->D, (uint16_t *)payload);
    else
        memcpy(payload, row, payload_bytes(c));
    h->key = key;
    h->payload_check = thaw_hash_bytes((thaw_hash){0}, payload, payload_bytes(c)).lo;
    h->header_check = cache_header_check(c->trunk, h);
}

/* Reads and checks a record; row may be NULL. buffer: stride bytes. */
static bool decode(const thaw_cache *c, int fd, size_t record, thaw_hash key, uint8_t *buffer,
                   float *row) {
    const record_header *h = (const record_header *)buffer;
    const uint8_t *payload = buffer + sizeof *h;
    if (!cache_read_at(fd, buffer, sizeof *h + payload_bytes(c), cache_offset(c->stride, record)) ||
        !thaw_hash_equal(h->key, key) || h->header_check != cache_header_check(c->trunk, h) ||
        h->payload_check != thaw_hash_bytes((thaw_hash){0}, payload, payload_bytes(c)).lo)
        return false;
    if (!row) return true;
    if (c->dtype == THAW_F16)
        thaw_float_from_half((const uint16_t *)payload, (size_t)c->D, row);
    else
        memcpy(row, payload, payload_bytes(c));
    return true;
}

/* ---- shards -------------------------------------------------------------------------------- */

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail(err, THAW_ERR_NOMEM, "not enough memory for the cache's index");
}

static thaw_status add_shard(thaw_cache *c, int fd, bool memory, thaw_error *err) {
    shard *more = realloc(c->shards, (c->n_shards + 1) * sizeof *more);
    if (!more || c->n_shards == MAX_SHARDS) {
        if (more) c->shards = more;
        close(fd);
        return no_memory(err);
    }
    c->shards = more;
    c->shards[c->n_shards++] = (shard){.fd = fd, .memory = memory};
    return THAW_OK;
}

/* Indexes the records of the last shard by their headers, which are read one by one: the payload
 * pages stay out of this process, so its size does not grow with the cache's. */
static thaw_status index_shard(thaw_cache *c, thaw_error *err) {
    size_t index = c->n_shards - 1;
    shard *s = &c->shards[index];
    s->n = cache_whole_records(s->fd, c->stride);
    for (size_t i = 0; i < s->n; i++) {
        record_header h;
        if (!cache_read_at(s->fd, &h, sizeof h, cache_offset(c->stride, i)) ||
            h.header_check != cache_header_check(c->trunk, &h)) {
            c->n_damaged++;
            continue;
        }
        if (!remember(c, h.key, index, i)) return no_memory(err);
    }
    return THAW_OK;
}

static thaw_status index_folder(thaw_cache *c, thaw_error *err) {
    DIR *dir = opendir(c->folder);
    if (!dir)
        return thaw_fail(err, THAW_ERR_IO, "cannot read the cache's folder %s: %s", c->folder,
                         strerror(errno));
    thaw_status status = THAW_OK;
    const struct dirent *entry;
    while (status == THAW_OK && (entry = readdir(dir))) {
        if (!cache_is_shard_name(entry->d_name)) continue;
        int fd = openat(dirfd(dir), entry->d_name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        shard_header h;
        if (fd < 0) continue;
        if (!cache_read_at(fd, &h, sizeof h, 0) || !cache_header_fits(&h, &c->trunk) ||
            h.dtype != (uint32_t)c->dtype || h.D != (uint64_t)c->D) {
            close(fd); /* Empty after a crash, or of another format: thaw cache gc removes it. */
            continue;
        }
        status = add_shard(c, fd, false, err);
        if (status == THAW_OK) status = index_shard(c, err);
    }
    closedir(dir);
    return status;
}

static bool write_all(int fd, const void *bytes, size_t n) {
    for (size_t done = 0; done < n;) {
        ssize_t put = write(fd, (const char *)bytes + done, n - done);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return false;
        done += (size_t)put;
    }
    return true;
}

static bool write_header(const thaw_cache *c, int fd) {
    shard_header h = cache_header(c->trunk, c->dtype, c->D);
    return write_all(fd, &h, sizeof h);
}

/* A shard of this folder that has room and that nobody writes to: locked, its torn tail cut. */
static bool take_shard(thaw_cache *c) {
    for (size_t i = 0; i < c->n_shards; i++) {
        shard *s = &c->shards[i];
        if (s->memory || flock(s->fd, LOCK_EX | LOCK_NB) != 0) continue;
        /* Its last writer may have added records since it was indexed. */
        size_t n = cache_whole_records(s->fd, c->stride);
        off_t end = cache_offset(c->stride, n);
        if (n == s->n && (size_t)end + c->stride <= c->shard_bytes && ftruncate(s->fd, end) == 0 &&
            lseek(s->fd, end, SEEK_SET) == end) {
            c->writing = (int)i;
            return true;
        }
        flock(s->fd, LOCK_UN);
    }
    return false;
}

/* A new shard, locked before it has its name's content, under a name that nobody else takes. */
static int make_shard(const thaw_cache *c) {
    char path[PATH_SIZE + 64];
    for (int attempt = 0; attempt < 1000; attempt++) {
        snprintf(path, sizeof path, "%s/%08lx-%05d-%03d.shard", c->folder, (long)time(NULL),
                 (int)getpid(), attempt);
        int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno == EEXIST) continue;
        if (fd < 0) return -1;
        if (flock(fd, LOCK_EX | LOCK_NB) == 0 && write_header(c, fd)) return fd;
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

/* Makes c->writing a shard with room. memory: on no account the disk. */
static thaw_status open_writer(thaw_cache *c, bool memory, thaw_error *err) {
    memory |= !c->folder[0];
    if (!memory && take_shard(c)) return THAW_OK;
    int fd = memory ? make_memory_shard(c) : make_shard(c);
    if (fd < 0 && !memory && (errno == ENOSPC || errno == EDQUOT)) {
        memory = true;
        fd = make_memory_shard(c);
    }
    if (fd < 0)
        return thaw_fail(err, THAW_ERR_IO,
                         "cannot write the cache in %s: %s; choose another cache.dir, or make room "
                         "with thaw cache gc",
                         memory ? "memory" : c->folder, strerror(errno));
    THAW_TRY(add_shard(c, fd, memory, err));
    c->writing = (int)c->n_shards - 1;
    return THAW_OK;
}

/* ---- opening ------------------------------------------------------------------------------- */

static thaw_hash hash_facts(const thaw_cache_spec *spec) {
    thaw_hash h = {CACHE_FORMAT, CACHE_FORMAT};
    for (size_t i = 0; i < spec->n_facts; i++) {
        h = thaw_hash_bytes(h, spec->facts[i].name, strlen(spec->facts[i].name) + 1);
        h = thaw_hash_bytes(h, spec->facts[i].value, strlen(spec->facts[i].value) + 1);
    }
    int64_t shape[2] = {spec->D, spec->dtype};
    return thaw_hash_bytes(h, shape, sizeof shape);
}

static thaw_status write_facts(const thaw_cache *c, const thaw_cache_spec *spec, thaw_error *err) {
    char path[PATH_SIZE + 16];
    snprintf(path, sizeof path, "%s/trunk.json", c->folder);
    if (access(path, F_OK) == 0) return THAW_OK;
    json_t *facts = json_array(), *all;
    for (size_t i = 0; i < spec->n_facts; i++)
        json_array_append_new(facts, json_pack("[s,s]", spec->facts[i].name, spec->facts[i].value));
    all = json_pack("{s:i,s:s,s:I,s:o}", "format", CACHE_FORMAT, "about",
                    spec->about ? spec->about : "", "D", (json_int_t)spec->D, "facts", facts);
    char *text = all ? json_dumps(all, JSON_INDENT(1)) : NULL;
    json_decref(all);
    if (!text) return no_memory(err);
    thaw_status status = thaw_file_write(path, text, strlen(text), err);
    free(text);
    return status;
}

/* The folder's lock file says two things: somebody uses the trunk (its lock), and when somebody
 * last did (its time). */
static thaw_status lock_folder(thaw_cache *c, thaw_error *err) {
    char path[PATH_SIZE + 16];
    snprintf(path, sizeof path, "%s/lock", c->folder);
    c->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (c->lock < 0)
        return thaw_fail(err, THAW_ERR_IO,
                         "cannot write in the cache's folder %s: %s; choose another cache.dir",
                         c->folder, strerror(errno));
    flock(c->lock, LOCK_SH);
    futimens(c->lock, NULL);
    return THAW_OK;
}

static thaw_status open_folder(thaw_cache *c, const thaw_cache_spec *spec, thaw_error *err) {
    char name[THAW_HASH_TEXT];
    thaw_hash_text(c->trunk, name);
    if (snprintf(c->folder, sizeof c->folder, "%s/%s", spec->root, name) >= (int)sizeof c->folder)
        return thaw_fail(err, THAW_ERR_USAGE, "cache.dir = %s: the path is too long", spec->root);
    thaw_status status = thaw_file_make_folders(c->folder, err);
    if (status != THAW_OK)
        return thaw_fail_within(err, status, "cache.dir = %s (choose another, or none)",
                                spec->root);
    THAW_TRY(lock_folder(c, err));
    THAW_TRY(write_facts(c, spec, err));
    return index_folder(c, err);
}

thaw_status thaw_cache_open(thaw_cache **cache, const thaw_cache_spec *spec, thaw_error *err) {
    *cache = NULL;
    thaw_cache *c = calloc(1, sizeof *c);
    if (!c || !grow_table(c)) {
        free(c);
        return no_memory(err);
    }
    pthread_mutex_init(&c->mutex, NULL);
    c->lock = c->writing = -1;
    c->trunk = hash_facts(spec);
    c->D = spec->D;
    c->dtype = spec->dtype;
    c->stride = cache_stride((uint64_t)spec->D, spec->dtype);
    c->shard_bytes = spec->shard_bytes ? spec->shard_bytes : usual_shard_bytes;
    thaw_status status = spec->root ? open_folder(c, spec, err) : THAW_OK;
    if (status != THAW_OK) {
        thaw_cache_close(c);
        return status;
    }
    *cache = c;
    return THAW_OK;
}

void thaw_cache_close(thaw_cache *c) {
    if (!c) return;
    for (size_t i = 0; i < c->n_shards; i++) {
        if ((int)i == c->writing && !c->shards[i].memory) fdatasync(c->shards[i].fd);
        close(c->shards[i].fd);
    }
    if (c->lock >= 0) close(c->lock);
    free(c->shards);
    free(c->table);
    pthread_mutex_destroy(&c->mutex);
    free(c);
}

/* ---- reading and writing ------------------------------------------------------------------- */

/* Where the record lies now. The descriptor stays open until close, so it can be read unlocked. */
static bool locate(thaw_cache *c, thaw_hash key, int *fd, size_t *record) {
    pthread_mutex_lock(&c->mutex);
    const place *p = find(c, key);
    bool there = p->record != 0;
    if (there) {
        *fd = c->shards[p->shard].fd;
        *record = p->record - 1;
    }
    pthread_mutex_unlock(&c->mutex);
    return there;
}

static bool fetch(thaw_cache *c, thaw_hash key, float *row) {
    int fd;
    size_t record;
    uint8_t *buffer = locate(c, key, &fd, &record) ? malloc(c->stride) : NULL;
    if (!buffer) return false;
    bool whole = decode(c, fd, record, key, buffer, row);
    free(buffer);
    return whole;
}

/* Records before the shard that is written to were read and found whole, or are damaged: then the
 * caller computes the record again, and the new one takes the place of the old. */
bool thaw_cache_has(thaw_cache *c, thaw_hash key) {
    int fd;
    size_t record;
    if (!locate(c, key, &fd, &record)) return false;
    if (fetch(c, key, NULL)) return true;
    pthread_mutex_lock(&c->mutex);
    c->n_damaged++;
    pthread_mutex_unlock(&c->mutex);
    return false;
}

thaw_status thaw_cache_read(thaw_cache *c, thaw_hash key, float *row, thaw_error *err) {
    if (fetch(c, key, row)) return THAW_OK;
    return thaw_fail(err, THAW_ERR_MISMATCH,
                     "a record of the cache in %s was there and is now missing or damaged; run "
                     "again, it will be computed anew",
                     c->folder[0] ? c->folder : "memory");
}

/* Puts the first n records of buffer behind the shard's last. Cuts what was torn off on failure. */
static bool append_bytes(thaw_cache *c, const uint8_t *buffer, size_t n) {
    shard *s = &c->shards[c->writing];
    off_t end = cache_offset(c->stride, s->n);
    if (write_all(s->fd, buffer, n * c->stride)) return true;
    int reason = errno;
    if (ftruncate(s->fd, end) != 0 || lseek(s->fd, end, SEEK_SET) != end) c->writing = -1;
    errno = reason;
    return false;
}

static thaw_status append_encoded(thaw_cache *c, const uint8_t *buffer, size_t n, thaw_error *err) {
    shard *s = c->writing >= 0 ? &c->shards[c->writing] : NULL;
    bool full = s && !s->memory && (size_t)cache_offset(c->stride, s->n) >= c->shard_bytes;
    if (full) flock(s->fd, LOCK_UN);
    if (!s || full) {
        c->writing = -1;
        THAW_TRY(open_writer(c, false, err));
    }
    if (!append_bytes(c, buffer, n)) {
        bool no_room = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
        if (!no_room || (c->writing >= 0 && c->shards[c->writing].memory))
            return thaw_fail(err, THAW_ERR_IO, "cannot write the cache in %s: %s",
                             c->folder[0] ? c->folder : "memory", strerror(errno));
        THAW_TRY(open_writer(c, true, err));
        if (!append_bytes(c, buffer, n))
            return thaw_fail(err, THAW_ERR_IO,
                             "the disk of the cache in %s is full, and so is the memory; make room "
                             "with thaw cache gc or choose another cache.dir",
                             c->folder);
    }
    s = &c->shards[c->writing];
    for (size_t i = 0; i < n; i++) {
        const record_header *h = (const record_header *)(buffer + i * c->stride);
        if (!remember(c, h->key, (size_t)c->writing, s->n + i)) return no_memory(err);
    }
    s->n += n;
    if (s->memory) c->n_memory += n;
    return THAW_OK;
}

/* Whether keys[i] stands among the ones before it: one picture under two names. */
static bool repeats(const thaw_hash *keys, size_t i) {
    for (size_t k = 0; k < i; k++)
        if (thaw_hash_equal(keys[k], keys[i])) return true;
    return false;
}

thaw_status thaw_cache_append(thaw_cache *c, const thaw_hash *keys, size_t n, const float *rows,
                              thaw_error *err) {
    uint8_t *buffer = malloc(n * c->stride + 1);
    if (!buffer) return no_memory(err);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (!repeats(keys, i) && !fetch(c, keys[i], NULL))
            encode(c, keys[i], rows + (size_t)c->D * i, buffer + kept++ * c->stride);
    pthread_mutex_lock(&c->mutex);
    thaw_status status = kept ? append_encoded(c, buffer, kept, err) : THAW_OK;
    pthread_mutex_unlock(&c->mutex);
    free(buffer);
    return status;
}

thaw_cache_stats thaw_cache_measure(thaw_cache *c) {
    pthread_mutex_lock(&c->mutex);
    thaw_cache_stats stats = {.records = c->n_records,
                              .damaged = c->n_damaged,
                              .in_memory = c->n_memory,
                              .record_bytes = c->stride,
                              .bytes = (uint64_t)c->n_records * c->stride};
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
