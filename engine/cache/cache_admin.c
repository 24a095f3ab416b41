/* Looking after a cache: what is in it, is it whole, why does something miss, and making room. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "arena.h"
#include "cache.h"
#include "cache_facts.h"
#include "cache_format.h"
#include "file.h"

enum { KEY_DIGITS = THAW_HASH_TEXT - 1 };

/* An entry with what it points to. */
typedef struct trunk {
    thaw_cache_entry entry;
    thaw_hash hash;
    cache_facts facts;
    thaw_arena arena;
    char *folder;
} trunk;

/* ---- one shard ------------------------------------------------------------------------------- */

/* How the records of a shard lie. Its header tells, or else trunk.json, if any record agrees.
 * False: the file is none of this trunk's shards. *header_good: the header tells. */
static bool shard_layout(const trunk *t, int fd, record_layout *layout, bool *header_good) {
    *header_good = thaw__cache_read_header(fd, t->hash, layout);
    return *header_good || (thaw__facts_layout(&t->facts, t->hash, layout) &&
                            thaw__cache_any_record_fits(fd, layout));
}

static void note_damage(thaw_cache_entry *e, const char *name, uint64_t offset) {
    if (e->damaged < THAW_CACHE_SPOTS) {
        thaw_cache_spot *spot = &e->spots[e->damaged];
        snprintf(spot->shard, sizeof spot->shard, "%.63s", name);
        spot->offset = offset;
    }
    e->damaged++;
}

/* Whether the record agrees with its checks; buffer: layout->payload bytes. */
static bool is_whole(int fd, const record_layout *layout, size_t record, void *buffer) {
    record_header h;
    return thaw__cache_read_record(fd, layout, record, &h, buffer);
}

static void check_shard(thaw_cache_entry *e, int fd, const char *name, const record_layout *layout,
                        size_t n) {
    /* A record that lies in the file is no larger than it; what a header claims may be anything. */
    void *buffer = n > 0 ? malloc(layout->payload) : NULL;
    for (size_t i = 0; buffer && i < n; i++)
        if (!is_whole(fd, layout, i, buffer))
            note_damage(e, name, (uint64_t)thaw__cache_offset(layout, i));
    free(buffer);
}

/* Copies a record over another one. Both must be on disk before the first may go. */
static bool move_record(int fd, const record_layout *layout, size_t from, size_t to) {
    uint8_t *bytes = malloc(layout->stride);
    bool good = bytes &&
                thaw_file_read_at(fd, bytes, layout->stride, thaw__cache_offset(layout, from)) &&
                thaw_file_write_at(fd, bytes, layout->stride, thaw__cache_offset(layout, to)) &&
                fdatasync(fd) == 0;
    free(bytes);
    return good;
}

/* Removes damaged records: the last one takes the place of each. Whenever this is killed, a record
 * is there once or twice. Returns how many are gone. The shard's trunk must be locked. */
static size_t mend_shard(int fd, const record_layout *layout) {
    size_t n = thaw__cache_whole_records(fd, layout), before = n;
    void *buffer = n > 0 ? malloc(layout->payload) : NULL;
    bool good = buffer != NULL;
    for (size_t i = 0; good && i < n;) {
        if (is_whole(fd, layout, i, buffer)) {
            i++;
            continue;
        }
        bool replace = i < n - 1 && is_whole(fd, layout, n - 1, buffer);
        good = (!replace || move_record(fd, layout, n - 1, i)) &&
               ftruncate(fd, thaw__cache_offset(layout, n - 1)) == 0;
        n -= good;
    }
    free(buffer);
    return before - n;
}

/* ---- reading one trunk ----------------------------------------------------------------------- */

static int digit(char c) {
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

/* The hash that a folder's name tells; false when it is not a trunk's. */
static bool parse_name(const char *name, thaw_hash *hash) {
    if (strlen(name) != KEY_DIGITS || strspn(name, "0123456789abcdef") != KEY_DIGITS) return false;
    *hash = (thaw_hash){0};
    for (int i = 0; i < KEY_DIGITS; i++) {
        uint64_t *half = i < KEY_DIGITS / 2 ? &hash->hi : &hash->lo;
        *half = *half << 4 | (uint64_t)digit(name[i]);
    }
    return true;
}

static void read_shard(trunk *t, int folder, const char *name, bool check) {
    thaw_cache_entry *e = &t->entry;
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return;
    struct stat info;
    record_layout layout;
    bool header_good;
    e->shards++;
    if (fstat(fd, &info) == 0) e->bytes += (uint64_t)info.st_size;
    if (shard_layout(t, fd, &layout, &header_good)) {
        size_t n = thaw__cache_whole_records(fd, &layout);
        e->records += n;
        if (check && !header_good) note_damage(e, name, 0);
        if (check) check_shard(e, fd, name, &layout, n);
    } else {
        e->foreign++;
    }
    close(fd);
}

/* Whether a process uses the trunk, and when one last did. */
static void read_lock(trunk *t, int folder) {
    struct stat info;
    int fd = openat(folder, "lock", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return;
    if (fstat(fd, &info) == 0) t->entry.last_used = info.st_mtime;
    t->entry.in_use = flock(fd, LOCK_EX | LOCK_NB) != 0;
    close(fd);
}

static bool read_trunk(trunk *t, const char *root, const char *name, bool check) {
    *t = (trunk){0};
    if (!parse_name(name, &t->hash)) return false;
    t->entry.key = thaw_arena_string(&t->arena, name, strlen(name));
    t->folder = thaw_file_join(&t->arena, root, name);
    DIR *dir = t->folder && t->entry.key ? opendir(t->folder) : NULL;
    if (!dir) {
        thaw_arena_free(&t->arena);
        return false;
    }
    t->facts = thaw__facts_read(t->folder, &t->arena);
    t->entry.facts = t->facts.list;
    t->entry.n_facts = t->facts.n;
    t->entry.about = t->facts.about;
    read_lock(t, dirfd(dir));
    const struct dirent *entry;
    while ((entry = readdir(dir)))
        if (thaw__cache_is_shard_name(entry->d_name))
            read_shard(t, dirfd(dir), entry->d_name, check);
    closedir(dir);
    return true;
}

/* ---- all of them ----------------------------------------------------------------------------- */

typedef struct trunks {
    trunk *list;
    size_t n;
} trunks;

static int by_use(const void *a, const void *b) {
    const trunk *p = a, *q = b;
    if (p->entry.last_used != q->entry.last_used)
        return p->entry.last_used > q->entry.last_used ? -1 : 1;
    return strcmp(p->entry.key, q->entry.key);
}

static void free_trunks(trunks *all) {
    for (size_t i = 0; i < all->n; i++)
        thaw_arena_free(&all->list[i].arena);
    free(all->list);
}

/* Most recently used first. */
static thaw_status read_trunks(const char *root, bool check, trunks *all, thaw_error *err) {
    *all = (trunks){0};
    DIR *dir = opendir(root);
    if (!dir && errno == ENOENT) return THAW_OK;
    if (!dir)
        return thaw_fail(err, THAW_ERR_IO, "cannot read the cache %s: %s", root, strerror(errno));
    const struct dirent *entry;
    thaw_status status = THAW_OK;
    while (status == THAW_OK && (entry = readdir(dir))) {
        trunk *more = realloc(all->list, (all->n + 1) * sizeof *more);
        if (!more) {
            status = thaw_fail_memory(err, "to list the cache %s", root);
        } else {
            all->list = more;
            if (read_trunk(&all->list[all->n], root, entry->d_name, check)) all->n++;
        }
    }
    closedir(dir);
    if (status != THAW_OK) free_trunks(all);
    if (status == THAW_OK && all->n) qsort(all->list, all->n, sizeof *all->list, by_use);
    return status;
}

thaw_status thaw_cache_walk(const char *root, bool check, thaw_cache_visit visit, void *context,
                            thaw_error *err) {
    trunks all;
    THAW_TRY(read_trunks(root, check, &all, err));
    thaw_status status = THAW_OK;
    for (size_t i = 0; status == THAW_OK && i < all.n; i++)
        status = visit(context, &all.list[i].entry, err);
    free_trunks(&all);
    return status;
}

/* ---- making room ----------------------------------------------------------------------------- */

/* Locks the trunk for this process alone and opens its folder. While it is locked nobody starts to
 * use it: thaw_cache_open waits. NULL: somebody uses it. */
static DIR *seize(const trunk *t, int *lock) {
    DIR *dir = opendir(t->folder);
    if (!dir) return NULL;
    *lock = openat(dirfd(dir), "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (*lock >= 0 && flock(*lock, LOCK_EX | LOCK_NB) == 0) return dir;
    if (*lock >= 0) close(*lock);
    closedir(dir);
    return NULL;
}

static uint64_t remove_file(int folder, const char *name) {
    struct stat info;
    bool known = fstatat(folder, name, &info, AT_SYMLINK_NOFOLLOW) == 0;
    return unlinkat(folder, name, 0) == 0 && known ? (uint64_t)info.st_size : 0;
}

/* Removes what Thaw made, the lock last: up to then nobody can use the trunk. */
static void remove_trunk(const trunk *t, thaw_cache_collected *result) {
    int lock;
    DIR *dir = seize(t, &lock);
    if (!dir) {
        result->in_use++;
        result->remain += t->entry.bytes;
        return;
    }
    const struct dirent *entry;
    while ((entry = readdir(dir)))
        if (thaw__cache_is_shard_name(entry->d_name))
            result->bytes += remove_file(dirfd(dir), entry->d_name);
    remove_file(dirfd(dir), "trunk.json");
    remove_file(dirfd(dir), "lock");
    rmdir(t->folder);
    closedir(dir);
    close(lock);
    result->trunks++;
}

/* Removes from the shard what is damaged, and the file when nothing is left. */
static void clean_shard(const trunk *t, int folder, const char *name,
                        thaw_cache_collected *result) {
    int fd = openat(folder, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return;
    record_layout layout;
    bool header_good, is_shard = shard_layout(t, fd, &layout, &header_good);
    if (is_shard && !header_good) {
        shard_header h = thaw__cache_header(&layout);
        thaw_file_write_at(fd, &h, sizeof h, 0);
    }
    if (is_shard) {
        size_t gone = mend_shard(fd, &layout);
        result->records += gone;
        result->bytes += gone * layout.stride;
    }
    if (!is_shard || thaw__cache_whole_records(fd, &layout) == 0)
        result->bytes += remove_file(folder, name);
    close(fd);
}

static void clean_trunk(const trunk *t, thaw_cache_collected *result) {
    int lock;
    DIR *dir = seize(t, &lock);
    if (!dir) {
        result->in_use++;
        result->remain += t->entry.bytes;
        return;
    }
    uint64_t before = result->bytes;
    const struct dirent *entry;
    while ((entry = readdir(dir)))
        if (thaw__cache_is_shard_name(entry->d_name))
            clean_shard(t, dirfd(dir), entry->d_name, result);
    uint64_t freed = result->bytes - before;
    result->remain += t->entry.bytes > freed ? t->entry.bytes - freed : 0;
    closedir(dir);
    close(lock);
}

thaw_status thaw_cache_collect(const char *root, uint64_t keep_bytes, int64_t keep_days,
                               thaw_cache_collected *result, thaw_error *err) {
    enum { DAY_SECONDS = 24 * 60 * 60 };
    int64_t oldest = keep_days ? (int64_t)time(NULL) - keep_days * DAY_SECONDS : INT64_MIN;
    trunks all;
    *result = (thaw_cache_collected){0};
    THAW_TRY(read_trunks(root, false, &all, err));
    uint64_t total = 0;
    for (size_t i = 0; i < all.n; i++)
        total += all.list[i].entry.bytes;
    for (size_t i = all.n; i-- > 0;) {
        const trunk *t = &all.list[i];
        bool remove = total > keep_bytes || t->entry.last_used < oldest;
        size_t removed = result->trunks;
        if (remove)
            remove_trunk(t, result);
        else
            clean_trunk(t, result);
        if (result->trunks > removed) total -= t->entry.bytes;
    }
    free_trunks(&all);
    return THAW_OK;
}

/* ---- explaining ------------------------------------------------------------------------------ */

/* Calls for each fact that differs; a fact that only one of them has differs, too. */
typedef void (*difference_visit)(void *context, const char *name, const char *kept,
                                 const char *wanted);

static int compare_facts(const cache_facts *kept, const cache_facts *wanted, difference_visit visit,
                         void *context) {
    int count = 0;
    const cache_facts *sides[] = {wanted, kept};
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i < sides[side]->n; i++) {
            const char *name = sides[side]->list[i].name;
            const char *a = thaw__facts_value(kept, name), *b = thaw__facts_value(wanted, name);
            bool seen = side == 1 && thaw__facts_has(wanted, name);
            if (seen || strcmp(a, b) == 0) continue;
            count++;
            if (visit) visit(context, name, a, b);
        }
    }
    return count;
}

/* A text of bounded size that grows by lines. */
typedef struct lines {
    char *text;
    size_t used, size;
} lines;

static void add_line(void *context, const char *name, const char *kept, const char *wanted) {
    lines *l = context;
    if (l->used >= l->size) return;
    int n = snprintf(l->text + l->used, l->size - l->used, "%s%s: %s -> %s", l->used ? "\n" : "",
                     name, kept, wanted);
    l->used += n > 0 ? (size_t)n : 0;
}

static void explain(const trunks *all, const cache_facts *wanted, lines *text, int *n_differences) {
    const trunk *best = NULL;
    for (size_t i = 0; i < all->n; i++) {
        const trunk *t = &all->list[i];
        if (!t->facts.n || !t->entry.records) continue;
        int count = compare_facts(&t->facts, wanted, NULL, NULL);
        if (best && count >= *n_differences) continue;
        best = t;
        *n_differences = count;
    }
    if (best) compare_facts(&best->facts, wanted, add_line, text);
}

thaw_status thaw_cache_explain(const thaw_cache_spec *spec, char *text, size_t text_size,
                               int *n_differences, thaw_error *err) {
    trunks all;
    lines out = {text, 0, text_size};
    if (text_size) text[0] = 0;
    *n_differences = -1;
    THAW_TRY(read_trunks(spec->root, false, &all, err));
    thaw_arena arena = {0};
    cache_facts wanted;
    thaw_status status = thaw__facts_of(spec, &arena, &wanted, err);
    if (status == THAW_OK) explain(&all, &wanted, &out, n_differences);
    thaw_arena_free(&arena);
    free_trunks(&all);
    return status;
}
