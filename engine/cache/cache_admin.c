/* Looking at a cache: what is in it, and is it whole. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache_folder.h"
#include "cache_trunks.h"
#include "file.h"

enum { KEY_DIGITS = THAW_HASH_TEXT - 1 };

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "to look through the cache");
}

/* ---- one shard ------------------------------------------------------------------------------- */

/* Whether any record is whole by this layout: with another size of the values, none is. */
static thaw_status any_whole(int fd, const thaw__record_layout *layout, bool *any,
                             thaw_error *err) {
    size_t n = thaw__cache_whole_records(fd, layout);
    thaw__record_header h;
    *any = false;
    if (!n) return THAW_OK; /* A header may tell any size; the file bounds it. */
    void *buffer = malloc(layout->payload);
    if (!buffer) return no_memory(err);
    for (size_t i = 0; !*any && i < n; i++)
        *any = thaw__cache_read_record(fd, layout, i, &h, buffer);
    free(buffer);
    return THAW_OK;
}

thaw_status thaw__trunk_layout(const thaw__trunk_entry *t, int fd, thaw__record_layout *layout,
                               bool *is_shard, bool *header_good, thaw_error *err) {
    thaw__record_layout told;
    bool has_header = thaw__cache_read_header(fd, t->hash, &told);
    *header_good = has_header;
    if (thaw__facts_layout(&t->facts, t->hash, layout)) {
        *header_good = has_header && told.D == layout->D && told.dtype == layout->dtype;
        *is_shard = has_header || thaw__cache_any_record_fits(fd, layout);
        return THAW_OK;
    }
    *is_shard = false;
    if (!has_header) return THAW_OK;
    *layout = told;
    return any_whole(fd, layout, is_shard, err);
}

static void note_damage(thaw_cache_entry *e, const char *name, uint64_t offset) {
    if (e->damaged < THAW_CACHE_SPOTS) {
        thaw_cache_spot *spot = &e->spots[e->damaged];
        snprintf(spot->shard, sizeof spot->shard, "%.63s", name);
        spot->offset = offset;
    }
    e->damaged++;
}

static thaw_status check_shard(thaw_cache_entry *e, int fd, const char *name,
                               const thaw__record_layout *layout, size_t n, thaw_error *err) {
    if (!n) return THAW_OK;
    void *buffer = malloc(layout->payload);
    if (!buffer) return no_memory(err);
    thaw__record_header h;
    for (size_t i = 0; i < n; i++)
        if (!thaw__cache_read_record(fd, layout, i, &h, buffer))
            note_damage(e, name, (uint64_t)thaw__cache_offset(layout, i));
    free(buffer);
    return THAW_OK;
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

static thaw_status look_at_shard(thaw__trunk_entry *t, int fd, const char *name, bool check,
                                 thaw_error *err) {
    thaw_cache_entry *e = &t->entry;
    struct stat info;
    thaw__record_layout layout;
    bool is_shard, header_good;
    e->shards++;
    if (fstat(fd, &info) == 0) e->bytes += (uint64_t)info.st_size;
    THAW_TRY(thaw__trunk_layout(t, fd, &layout, &is_shard, &header_good, err));
    if (!is_shard) {
        e->foreign++;
        return THAW_OK;
    }
    size_t n = thaw__cache_whole_records(fd, &layout);
    e->records += n;
    if (check && !header_good) note_damage(e, name, 0);
    return check ? check_shard(e, fd, name, &layout, n, err) : THAW_OK;
}

static thaw_status fail_read(const char *folder, const char *name, thaw_error *err) {
    return thaw_fail(err, THAW_ERR_SYSTEM, "cannot read the cache in %s%s%s: %s", folder,
                     name[0] ? "/" : "", name, strerror(errno));
}

static thaw_status read_shard(thaw__trunk_entry *t, int folder, const char *name, bool check,
                              thaw_error *err) {
    int fd = thaw__folder_open_file(folder, name, O_RDONLY, false);
    if (fd < 0 && thaw_file_is_to_blame(errno)) return THAW_OK;
    if (fd < 0) return fail_read(t->folder, name, err);
    thaw_status status = look_at_shard(t, fd, name, check, err);
    close(fd);
    return status;
}

/* Whether a process uses the trunk, and when one last did. */
static void read_lock(thaw__trunk_entry *t, int folder) {
    struct stat info;
    int fd = thaw__folder_open_file(folder, "lock", O_RDONLY, false);
    if (fd < 0) return;
    if (fstat(fd, &info) == 0) t->entry.last_used = info.st_mtime;
    t->entry.in_use = flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    close(fd);
}

DIR *thaw__trunk_open(const thaw__trunk_entry *t) {
    int fd = open(t->folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (fd >= 0 && !dir) close(fd);
    return dir;
}

static thaw_status read_folder(thaw__trunk_entry *t, DIR *dir, bool check, thaw_error *err) {
    THAW_TRY(thaw__facts_read(t->folder, t->hash, &t->arena, &t->facts, err));
    t->entry.facts = t->facts.list;
    t->entry.n_facts = t->facts.n;
    t->entry.about = t->facts.about;
    read_lock(t, dirfd(dir));
    const struct dirent *entry;
    while ((entry = readdir(dir)))
        if (thaw__cache_is_shard_name(entry->d_name))
            THAW_TRY(read_shard(t, dirfd(dir), entry->d_name, check, err));
    return THAW_OK;
}

/* *is_trunk: name is a trunk's folder, which this user may read. */
static thaw_status read_trunk(thaw__trunk_entry *t, const char *root, const char *name, bool check,
                              bool *is_trunk, thaw_error *err) {
    *is_trunk = parse_name(name, &t->hash);
    if (!*is_trunk) return THAW_OK;
    t->entry.key = thaw_arena_string(&t->arena, name, strlen(name));
    t->folder = thaw_file_join(&t->arena, root, name);
    if (!t->folder || !t->entry.key) return no_memory(err);
    DIR *dir = thaw__trunk_open(t);
    *is_trunk = dir != NULL;
    if (!dir) return thaw_file_is_to_blame(errno) ? THAW_OK : fail_read(t->folder, "", err);
    thaw_status status = read_folder(t, dir, check, err);
    closedir(dir);
    return status;
}

/* ---- all of them ----------------------------------------------------------------------------- */

static int by_use(const void *a, const void *b) {
    const thaw__trunk_entry *p = a, *q = b;
    if (p->entry.last_used != q->entry.last_used)
        return p->entry.last_used > q->entry.last_used ? -1 : 1;
    return strcmp(p->entry.key, q->entry.key);
}

void thaw__trunks_free(thaw__trunks *all) {
    for (size_t i = 0; i < all->n; i++)
        thaw_arena_free(&all->list[i].arena);
    free(all->list);
}

static thaw_status add_trunk(thaw__trunks *all, const char *root, const char *name, bool check,
                             thaw_error *err) {
    thaw__trunk_entry *more = realloc(all->list, (all->n + 1) * sizeof *more);
    if (!more) return no_memory(err);
    all->list = more;
    thaw__trunk_entry *t = &more[all->n];
    *t = (thaw__trunk_entry){0};
    bool is_trunk;
    thaw_status status = read_trunk(t, root, name, check, &is_trunk, err);
    if (status == THAW_OK && is_trunk)
        all->n++;
    else
        thaw_arena_free(&t->arena);
    return status;
}

thaw_status thaw__trunks_read(const char *root, bool check, thaw__trunks *all, thaw_error *err) {
    *all = (thaw__trunks){0};
    DIR *dir = opendir(root);
    if (!dir && errno == ENOENT) return THAW_OK;
    if (!dir)
        return thaw_fail(err, THAW_ERR_IO, "cannot read the cache %s: %s", root, strerror(errno));
    const struct dirent *entry;
    thaw_status status = THAW_OK;
    while (status == THAW_OK && (entry = readdir(dir)))
        status = add_trunk(all, root, entry->d_name, check, err);
    closedir(dir);
    if (status != THAW_OK) thaw__trunks_free(all);
    if (status == THAW_OK && all->n) qsort(all->list, all->n, sizeof *all->list, by_use);
    return status;
}

thaw_status thaw_cache_walk(const char *root, bool check, thaw_cache_visit visit, void *context,
                            thaw_error *err) {
    thaw__trunks all;
    THAW_TRY(thaw__trunks_read(root, check, &all, err));
    thaw_status status = THAW_OK;
    for (size_t i = 0; status == THAW_OK && i < all.n; i++)
        status = visit(context, &all.list[i].entry, err);
    thaw__trunks_free(&all);
    return status;
}
