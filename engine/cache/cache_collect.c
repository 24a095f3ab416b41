/* Making room in a cache, and mending it on the way. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cache_folder.h"
#include "cache_trunks.h"
#include "file.h"

/* ---- mending a shard ------------------------------------------------------------------------- */

/* Copies a record over another one; buffer: layout->stride bytes. Both must be on disk before the
 * first may go. */
static bool move_record(int fd, const thaw__record_layout *layout, size_t from, size_t to,
                        uint8_t *buffer) {
    return thaw_file_read_at(fd, buffer, layout->stride, thaw__cache_offset(layout, from)) &&
           thaw_file_write_at(fd, buffer, layout->stride, thaw__cache_offset(layout, to)) &&
           fdatasync(fd) == 0;
}

/* Whether record agrees with its checks. *unreadable: nobody knows, since the disk fails. */
static bool is_whole(int fd, const thaw__record_layout *layout, size_t record, void *buffer,
                     bool *unreadable) {
    thaw__record_header h;
    bool whole = thaw__cache_read_record(fd, layout, record, &h, buffer);
    *unreadable |= !whole && errno != 0 && errno != ENODATA;
    return whole;
}

/* Removes damaged records: the last one takes the place of each. Whenever this is killed, a record
 * is there once or twice. Where the disk fails, all that is left stays. *gone receives how many went.
 * The shard's trunk must be locked. ERR_NOMEM. */
static thaw_status mend_shard(int fd, const thaw__record_layout *layout, size_t *gone,
                              thaw_error *err) {
    size_t n = thaw__cache_whole_records(fd, layout), before = n;
    *gone = 0;
    if (!n) return THAW_OK;
    uint8_t *buffer = malloc(layout->stride);
    if (!buffer) return thaw_fail_memory(err, "to mend the cache");
    bool stop = false;
    for (size_t i = 0; i < n && !stop;) {
        if (is_whole(fd, layout, i, buffer, &stop)) {
            i++;
            continue;
        }
        bool replace = i < n - 1 && is_whole(fd, layout, n - 1, buffer, &stop);
        stop = stop || (replace && !move_record(fd, layout, n - 1, i, buffer)) ||
               ftruncate(fd, thaw__cache_offset(layout, n - 1)) != 0;
        if (!stop) n--;
    }
    free(buffer);
    *gone = before - n;
    return THAW_OK;
}

/* ---- one trunk ------------------------------------------------------------------------------- */

/* A trunk that nobody uses and, while its lock is held, nobody starts to use: thaw_cache_open
 * waits. */
typedef struct seized {
    DIR *dir; /* NULL: somebody uses it. */
    int lock;
} seized;

static thaw_status seize(const thaw__trunk_entry *t, seized *s, thaw_error *err) {
    *s = (seized){thaw__trunk_open(t), -1};
    if (s->dir) s->lock = thaw__folder_open_file(dirfd(s->dir), "lock", O_RDWR | O_CREAT, false);
    int reason = errno;
    if (s->lock >= 0 && flock(s->lock, LOCK_EX | LOCK_NB) == 0) return THAW_OK;
    bool failed = s->lock < 0 && reason != ENOENT; /* Another collector was faster. */
    if (s->lock >= 0) close(s->lock);
    if (s->dir) closedir(s->dir);
    s->dir = NULL;
    return failed ? thaw_fail(err, THAW_ERR_IO, "cannot write %.600s/lock: %s", t->folder,
                              strerror(reason))
                  : THAW_OK;
}

static void release(seized *s) {
    closedir(s->dir);
    close(s->lock);
}

static uint64_t remove_file(int folder, const char *name) {
    struct stat info;
    bool known = fstatat(folder, name, &info, AT_SYMLINK_NOFOLLOW) == 0;
    return unlinkat(folder, name, 0) == 0 && known ? (uint64_t)info.st_size : 0;
}

/* Removes what Thaw made, the lock last: up to then nobody can use the trunk. */
static void remove_trunk(const thaw__trunk_entry *t, const seized *s,
                         thaw_cache_collected *result) {
    static const char *const others[] = {"trunk.json", "claims", "lock"};
    int folder = dirfd(s->dir);
    const struct dirent *entry;
    while ((entry = readdir(s->dir)))
        if (thaw__cache_is_shard_name(entry->d_name))
            result->bytes += remove_file(folder, entry->d_name);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        remove_file(folder, others[i]);
    rmdir(t->folder);
    result->trunks++;
}

/* Removes from the shard what is damaged, and the file when nothing is left. What a file holds whose
 * layout trunk.json does not tell is not known well enough to remove it. */
static thaw_status clean_open_shard(const thaw__trunk_entry *t, int folder, const char *name,
                                    int fd, thaw_cache_collected *result, thaw_error *err) {
    thaw__record_layout layout;
    bool is_shard, header_good;
    size_t gone = 0;
    THAW_TRY(thaw__trunk_layout(t, fd, &layout, &is_shard, &header_good, err));
    if (is_shard && !header_good) {
        thaw__shard_header h = thaw__cache_header(&layout);
        thaw_file_write_at(fd, &h, sizeof h, 0);
    }
    if (is_shard) THAW_TRY(mend_shard(fd, &layout, &gone, err));
    result->records += gone;
    result->bytes += gone * (is_shard ? layout.stride : 0);
    if (t->facts.n && (!is_shard || thaw__cache_whole_records(fd, &layout) == 0))
        result->bytes += remove_file(folder, name);
    return THAW_OK;
}

static thaw_status clean_shard(const thaw__trunk_entry *t, int folder, const char *name,
                               thaw_cache_collected *result, thaw_error *err) {
    int fd = thaw__folder_open_file(folder, name, O_RDWR, false);
    if (fd < 0) return THAW_OK;
    thaw_status status = clean_open_shard(t, folder, name, fd, result, err);
    close(fd);
    return status;
}

static thaw_status clean_trunk(const thaw__trunk_entry *t, const seized *s,
                               thaw_cache_collected *result, thaw_error *err) {
    uint64_t before = result->bytes;
    const struct dirent *entry;
    while ((entry = readdir(s->dir)))
        if (thaw__cache_is_shard_name(entry->d_name))
            THAW_TRY(clean_shard(t, dirfd(s->dir), entry->d_name, result, err));
    uint64_t freed = result->bytes - before;
    result->remain += t->entry.bytes > freed ? t->entry.bytes - freed : 0;
    return THAW_OK;
}

/* Removes the trunk, or cleans it, unless it is in use. */
static thaw_status treat(const thaw__trunk_entry *t, bool remove, thaw_cache_collected *result,
                         thaw_error *err) {
    seized s;
    THAW_TRY(seize(t, &s, err));
    if (!s.dir) {
        result->in_use++;
        result->remain += t->entry.bytes;
        return THAW_OK;
    }
    thaw_status status = THAW_OK;
    if (remove)
        remove_trunk(t, &s, result);
    else
        status = clean_trunk(t, &s, result, err);
    release(&s);
    return status;
}

/* ---- all of them ----------------------------------------------------------------------------- */

static thaw_status collect(const thaw__trunks *all, uint64_t keep_bytes, int64_t oldest,
                           thaw_cache_collected *result, thaw_error *err) {
    uint64_t total = 0;
    for (size_t i = 0; i < all->n; i++)
        total += all->list[i].entry.bytes;
    for (size_t i = all->n; i-- > 0;) {
        const thaw__trunk_entry *t = &all->list[i];
        size_t removed = result->trunks;
        THAW_TRY(treat(t, total > keep_bytes || t->entry.last_used < oldest, result, err));
        if (result->trunks > removed) total -= t->entry.bytes;
    }
    return THAW_OK;
}

thaw_status thaw_cache_collect(const char *root, uint64_t keep_bytes, int64_t keep_days,
                               thaw_cache_collected *result, thaw_error *err) {
    enum { DAY_SECONDS = 24 * 60 * 60 };
    int64_t oldest = keep_days ? (int64_t)time(NULL) - keep_days * DAY_SECONDS : INT64_MIN;
    thaw__trunks all;
    *result = (thaw_cache_collected){0};
    THAW_TRY(thaw__trunks_read(root, false, &all, err));
    thaw_status status = collect(&all, keep_bytes, oldest, result, err);
    thaw__trunks_free(&all);
    return status;
}
