/* The files that the records of a cache lie in: finding, scanning, taking, growing. cache.h tells
 * why this survives crashes and company. */
#include "cache_shards.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "file.h"
#include "machine.h"

enum {
    MAX_SHARDS = 65535,
    /* Of one read of a scan, and how many records make it worth while. */
    SCAN_BYTES = 64 << 10,
    SCAN_RECORDS = 16,
    NAMES = 1000, /* Tried for a new shard; the second is free already, as a rule. */
};

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "for the cache's index");
}

const char *thaw__cache_where(const thaw_cache *c) {
    return c->path[0] ? c->path : "memory";
}

/* ---- reading --------------------------------------------------------------------------------- */

/* The cache owns fd from here on, also after a failure. */
static thaw_status add_shard(thaw_cache *c, int fd, bool memory, bool writable, thaw_error *err) {
    struct stat info;
    thaw__cache_shard *more = realloc(c->shards, (c->n_shards + 1) * sizeof *more);
    if (more) c->shards = more;
    if (!more || c->n_shards == MAX_SHARDS || fstat(fd, &info) != 0) {
        close(fd);
        return no_memory(err);
    }
    c->shards[c->n_shards++] = (thaw__cache_shard){.fd = fd,
                                                   .memory = memory,
                                                   .writable = writable,
                                                   .device = info.st_dev,
                                                   .inode = info.st_ino};
    return THAW_OK;
}

static thaw_status fail_read(const thaw_cache *c, const char *name, thaw_error *err) {
    return thaw_fail(err, THAW_ERR_SYSTEM, "cannot read the cache in %s%s%s: %s", c->path,
                     name[0] ? "/" : "", name, strerror(errno));
}

static bool knows_shard(const thaw_cache *c, int fd) {
    struct stat info;
    if (fstat(fd, &info) != 0) return true;
    for (size_t i = 0; i < c->n_shards; i++)
        if (c->shards[i].inode == info.st_ino && c->shards[i].device == info.st_dev) return true;
    return false;
}

/* Indexes what `record` of shard i says it is. */
static bool index_record(thaw_cache *c, size_t i, size_t record, const thaw__record_header *h) {
    if (h->header_check == thaw__cache_header_check(&c->layout, h))
        return thaw__index_add(&c->index, h->key, (uint32_t)i, record);
    c->n_damaged++;
    return true;
}

/* Indexes the records that a shard has got since it was indexed last. Large records are scanned a
 * header at a time, which costs a page for each, not its payload; small ones by the block, since
 * there a call costs more than reading over the payload. */
static thaw_status index_shard(thaw_cache *c, size_t i, thaw_error *err) {
    thaw__cache_shard *s = &c->shards[i];
    const thaw__record_layout *l = &c->layout;
    _Alignas(thaw__record_header) uint8_t block[SCAN_BYTES];
    size_t n = thaw__cache_whole_records(s->fd, l), step = sizeof block / l->stride;
    if (step < SCAN_RECORDS) step = 1;
    if (n > s->n) thaw__index_reserve(&c->index, n - s->n); /* Failing here is no failure yet. */
    while (s->n < n) {
        size_t some = n - s->n < step ? n - s->n : step;
        size_t bytes = (some - 1) * l->stride + sizeof(thaw__record_header);
        bool good = thaw_file_read_at(s->fd, block, bytes, thaw__cache_offset(l, s->n));
        /* What cannot be read is damaged, and zeros are no record. */
        if (!good) memset(block, 0, bytes);
        for (size_t k = 0; k < some; k++, s->n++)
            if (!index_record(c, i, s->n, (const thaw__record_header *)(block + k * l->stride)))
                return no_memory(err);
    }
    return THAW_OK;
}

/* Takes the file in when it is a shard of this trunk. What is not, empty since a crash, of another
 * format or planted, is left to thaw_cache_collect. */
static thaw_status open_shard(thaw_cache *c, const char *name, thaw_error *err) {
    int fd = thaw__folder_open_file(c->folder.dir, name, O_RDWR, false);
    bool writable = fd >= 0;
    if (!writable && thaw__folder_cannot_write(errno))
        fd = thaw__folder_open_file(c->folder.dir, name, O_RDONLY, false);
    if (fd < 0 && thaw_file_is_to_blame(errno)) return THAW_OK;
    if (fd < 0) return fail_read(c, name, err);
    thaw__record_layout l;
    bool fits = thaw__cache_read_header(fd, c->layout.trunk, &l) && l.stride == c->layout.stride;
    if (knows_shard(c, fd) || !(fits || thaw__cache_any_record_fits(fd, &c->layout))) {
        close(fd);
        return THAW_OK;
    }
    THAW_TRY(add_shard(c, fd, false, writable, err));
    return index_shard(c, c->n_shards - 1, err);
}

/* The folder's entries; NULL with errno. */
static DIR *list_folder(const thaw_cache *c) {
    int fd = openat(c->folder.dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (fd >= 0 && !dir) close(fd);
    return dir;
}

/* Remembers when the folder changed last, so that nobody need list it again before it changes. A
 * clock's tick is long, and what happens in the same one after the listing leaves no mark: a change
 * that is as fresh as that is not remembered. */
static void note_change(thaw_cache *c) {
    struct stat info;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    bool settled = fstat(c->folder.dir, &info) == 0 && now.tv_sec - info.st_mtim.tv_sec > 1;
    c->listed = settled ? info.st_mtim : (struct timespec){0};
}

thaw_status thaw__shards_index(thaw_cache *c, thaw_error *err) {
    for (size_t i = 0; i < c->n_shards; i++)
        THAW_TRY(index_shard(c, i, err));
    note_change(c);
    DIR *dir = list_folder(c);
    if (!dir) return fail_read(c, "", err);
    thaw_status status = THAW_OK;
    const struct dirent *entry;
    while (status == THAW_OK && (entry = readdir(dir)))
        if (thaw__cache_is_shard_name(entry->d_name)) status = open_shard(c, entry->d_name, err);
    closedir(dir);
    return status;
}

void thaw__shards_look(thaw_cache *c) {
    struct stat info;
    if (c->folder.dir < 0 || fstat(c->folder.dir, &info) != 0) return;
    bool listed =
        info.st_mtim.tv_sec == c->listed.tv_sec && info.st_mtim.tv_nsec == c->listed.tv_nsec;
    if (!listed) thaw__shards_index(c, NULL);
    for (size_t i = 0; listed && i < c->n_shards; i++)
        index_shard(c, i, NULL);
}

/* ---- writing --------------------------------------------------------------------------------- */

static bool write_header(const thaw_cache *c, int fd) {
    thaw__shard_header h = thaw__cache_header(&c->layout);
    return thaw_file_write_at(fd, &h, sizeof h, 0);
}

/* Makes a locked shard ready: what its last writer added is indexed, a damaged header replaced. A
 * torn tail is shorter than a record, so the next one covers it. False when it is full or fails. */
static bool prepare_shard(thaw_cache *c, size_t i) {
    const thaw__cache_shard *s = &c->shards[i];
    return index_shard(c, i, NULL) == THAW_OK &&
           (size_t)thaw__cache_offset(&c->layout, s->n + 1) <= c->shard_bytes &&
           write_header(c, s->fd);
}

/* Locks a shard of this folder that has room and that nobody writes to. */
static bool take_shard(thaw_cache *c) {
    for (size_t i = 0; i < c->n_shards; i++) {
        thaw__cache_shard *s = &c->shards[i];
        if (s->memory || !s->writable || flock(s->fd, LOCK_EX | LOCK_NB) != 0) continue;
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
    char name[64];
    int dir = c->folder.dir;
    for (int attempt = 0; attempt < NAMES; attempt++) {
        snprintf(name, sizeof name, "%08lx-%05d-%03d.shard", (long)time(NULL), (int)getpid(),
                 attempt);
        int fd = thaw__folder_open_file(dir, name, O_RDWR | O_CREAT | O_EXCL, c->folder.shared);
        if (fd < 0 && errno == EEXIST) continue;
        if (fd < 0) return -1;
        if (lock_new_shard(fd) && write_header(c, fd)) {
            fsync(dir); /* After a power cut, the file is there. */
            return fd;
        }
        int reason = errno;
        unlinkat(dir, name, 0);
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
                     thaw__cache_where(c), strerror(reason));
}

/* Makes c->writing a shard with room. memory: on no account the disk. */
static thaw_status open_writer(thaw_cache *c, bool memory, thaw_error *err) {
    memory |= c->folder.dir < 0 || c->folder.read_only;
    if (!memory && take_shard(c)) return THAW_OK;
    int fd = memory ? -1 : make_shard(c);
    if (fd < 0 && !memory) {
        c->folder.read_only = thaw__folder_cannot_write(errno);
        if (!c->folder.read_only && !no_room(errno)) return fail_write(c, errno, err);
    }
    if (fd < 0) {
        memory = true;
        fd = make_memory_shard(c);
    }
    if (fd < 0) return fail_write(c, errno, err);
    THAW_TRY(add_shard(c, fd, memory, true, err));
    c->writing = (int)c->n_shards - 1;
    return THAW_OK;
}

/* Ends a full shard: what is in it goes to disk, and its lock to whoever wants it. */
static void leave_full_shard(thaw_cache *c) {
    if (c->writing < 0 || c->shards[c->writing].memory) return;
    thaw__cache_shard *s = &c->shards[c->writing];
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
    if (!c->memory_bytes) c->memory_bytes = thaw_usable_memory() / 2;
    if ((c->n_memory + n) * c->layout.stride <= c->memory_bytes) return THAW_OK;
    if (c->folder.dir < 0)
        return thaw_fail(err, THAW_ERR_IO,
                         "the features need more than the %zu MB of memory that they may take; "
                         "give them a folder with cache.dir",
                         c->memory_bytes >> 20);
    if (c->folder.read_only)
        return thaw_fail(
            err, THAW_ERR_IO,
            "the cache in %s cannot be written, and the %zu MB of memory that stood in "
            "for it are full; choose another cache.dir",
            c->path, c->memory_bytes >> 20);
    return thaw_fail(
        err, THAW_ERR_IO,
        "the disk of the cache in %s is full, and so are the %zu MB of memory that "
        "stood in for it; make room with thaw cache gc or choose another cache.dir, or "
        "take half the room with cache.dtype = fp16",
        c->path, c->memory_bytes >> 20);
}

/* Puts n records of buffer behind the shard's last. On failure, nothing: a torn record is cut. */
static bool write_records(thaw_cache *c, const uint8_t *buffer, size_t n) {
    const thaw__cache_shard *s = &c->shards[c->writing];
    off_t end = thaw__cache_offset(&c->layout, s->n);
    if (thaw_file_write_at(s->fd, buffer, n * c->layout.stride, end)) return true;
    int reason = errno;
    /* If even this fails, the next writer of the shard cuts. */
    if (ftruncate(s->fd, end) != 0) c->writing = -1;
    errno = reason;
    return false;
}

thaw_status thaw__shards_append(thaw_cache *c, const uint8_t *buffer, size_t n, thaw_error *err) {
    leave_full_shard(c);
    if (c->writing < 0) THAW_TRY(open_writer(c, false, err));
    if (writes_to_memory(c)) THAW_TRY(reserve_memory(c, n, err));
    if (!write_records(c, buffer, n)) {
        if (!no_room(errno) || writes_to_memory(c)) return fail_write(c, errno, err);
        THAW_TRY(reserve_memory(c, n, err));
        THAW_TRY(open_writer(c, true, err));
        if (!write_records(c, buffer, n)) return fail_write(c, errno, err);
    }
    thaw__cache_shard *s = &c->shards[c->writing];
    if (s->memory) c->n_memory += n;
    for (size_t i = 0; i < n; i++, s->n++) {
        const thaw__record_header *h = (const thaw__record_header *)(buffer + i * c->layout.stride);
        if (!thaw__index_add(&c->index, h->key, (uint32_t)c->writing, s->n)) return no_memory(err);
    }
    return THAW_OK;
}
