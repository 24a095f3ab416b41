/* Looking after a cache: what is in it, is it whole, why does something miss, and making room. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arena.h"
#include "cache.h"
#include "cache_format.h"
#include "file.h"

enum { LARGEST_JSON = 1 << 20, KEY_DIGITS = THAW_HASH_TEXT - 1 };

/* An entry with what it points to. */
typedef struct trunk {
    thaw_cache_entry entry;
    thaw_arena arena;
    char *folder;
} trunk;

/* ---- reading one trunk --------------------------------------------------------------------- */

static bool is_trunk_name(const char *name) {
    return strlen(name) == KEY_DIGITS && strspn(name, "0123456789abcdef") == KEY_DIGITS;
}

/* Facts of trunk.json. A damaged one gives none: the rest of the cache must still be listed. */
static void read_facts(trunk *t) {
    thaw_cache_entry *e = &t->entry;
    e->about = "";
    char *path = thaw_file_join(&t->arena, t->folder, "trunk.json"), *text;
    size_t n;
    if (!path || thaw_file_read(path, LARGEST_JSON, &t->arena, &text, &n, NULL) != THAW_OK) return;
    json_t *json = json_loadb(text, n, 0, NULL);
    const json_t *facts = json_object_get(json, "facts");
    thaw_fact *list = thaw_arena_array(&t->arena, json_array_size(facts), sizeof *list);
    for (size_t i = 0; list && i < json_array_size(facts); i++) {
        const json_t *pair = json_array_get(facts, i);
        const char *name = json_string_value(json_array_get(pair, 0));
        const char *value = json_string_value(json_array_get(pair, 1));
        if (!name || !value) continue;
        thaw_fact *fact = &list[e->n_facts];
        fact->name = thaw_arena_string(&t->arena, name, strlen(name));
        fact->value = thaw_arena_string(&t->arena, value, strlen(value));
        if (fact->name && fact->value) e->n_facts++;
    }
    e->facts = list;
    const char *about = json_string_value(json_object_get(json, "about"));
    if (about) about = thaw_arena_string(&t->arena, about, strlen(about));
    if (about) e->about = about;
    json_decref(json);
}

/* Compares every checksum; the shard's header is known to be good. */
static void check_shard(trunk *t, int fd, const shard_header *h, size_t n) {
    size_t stride = cache_stride(h->D, h->dtype);
    size_t payload = (size_t)h->D * thaw_dtype_bytes((thaw_dtype)h->dtype);
    uint8_t *record = malloc(stride);
    for (size_t i = 0; record && i < n; i++) {
        const record_header *r = (const record_header *)record;
        if (!cache_read_at(fd, record, stride, cache_offset(stride, i)) ||
            r->header_check != cache_header_check(h->trunk, r) ||
            r->payload_check != thaw_hash_bytes((thaw_hash){0}, record + sizeof *r, payload).lo)
            t->entry.damaged++;
    }
    free(record);
}

static void read_shard(trunk *t, int folder, const char *name, bool check) {
    thaw_cache_entry *e = &t->entry;
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat info;
    shard_header h;
    if (fd < 0) return;
    e->shards++;
    if (fstat(fd, &info) == 0) e->bytes += (uint64_t)info.st_size;
    if (cache_read_at(fd, &h, sizeof h, 0) && cache_header_fits(&h, NULL) &&
        cache_stride(h.D, h.dtype)) {
        size_t n = cache_whole_records(fd, cache_stride(h.D, h.dtype));
        e->records += n;
        if (check) check_shard(t, fd, &h, n);
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
    t->entry.key = thaw_arena_string(&t->arena, name, strlen(name));
    t->folder = thaw_file_join(&t->arena, root, name);
    DIR *dir = t->folder && t->entry.key ? opendir(t->folder) : NULL;
    if (!dir) {
        thaw_arena_free(&t->arena);
        return false;
    }
    read_facts(t);
    read_lock(t, dirfd(dir));
    const struct dirent *entry;
    while ((entry = readdir(dir)))
        if (cache_is_shard_name(entry->d_name)) read_shard(t, dirfd(dir), entry->d_name, check);
    closedir(dir);
    return true;
}

/* ---- all of them --------------------------------------------------------------------------- */

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
    while ((entry = readdir(dir))) {
        if (!is_trunk_name(entry->d_name)) continue;
        trunk *more = realloc(all->list, (all->n + 1) * sizeof *more);
        if (!more) break;
        all->list = more;
        if (read_trunk(&all->list[all->n], root, entry->d_name, check)) all->n++;
    }
    closedir(dir);
    if (all->n) qsort(all->list, all->n, sizeof *all->list, by_use);
    return THAW_OK;
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

/* ---- making room --------------------------------------------------------------------------- */

/* Removes files of the trunk's folder: all that Thaw made, or the shards of another format only.
 * Files of anybody else stay, and then the folder does. */
static uint64_t remove_files(const trunk *t, bool foreign_only) {
    DIR *dir = opendir(t->folder);
    uint64_t freed = 0;
    if (!dir) return 0;
    const struct dirent *entry;
    while ((entry = readdir(dir))) {
        const char *name = entry->d_name;
        bool is_shard = cache_is_shard_name(name);
        if (!is_shard &&
            (foreign_only || (strcmp(name, "trunk.json") != 0 && strcmp(name, "lock") != 0)))
            continue;
        int fd = openat(dirfd(dir), name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        struct stat info;
        shard_header h;
        bool good = fd >= 0 && cache_read_at(fd, &h, sizeof h, 0) && cache_header_fits(&h, NULL);
        if (fd >= 0 && fstat(fd, &info) == 0 && !(foreign_only && good) &&
            unlinkat(dirfd(dir), name, 0) == 0)
            freed += (uint64_t)info.st_size;
        if (fd >= 0) close(fd);
    }
    closedir(dir);
    if (!foreign_only) rmdir(t->folder);
    return freed;
}

thaw_status thaw_cache_collect(const char *root, uint64_t keep_bytes, uint64_t *freed_bytes,
                               size_t *removed, thaw_error *err) {
    trunks all;
    *freed_bytes = 0;
    *removed = 0;
    THAW_TRY(read_trunks(root, false, &all, err));
    uint64_t total = 0;
    for (size_t i = 0; i < all.n; i++) {
        trunk *t = &all.list[i];
        if (t->entry.foreign && !t->entry.in_use) {
            uint64_t freed = remove_files(t, true);
            t->entry.bytes -= freed < t->entry.bytes ? freed : t->entry.bytes;
            *freed_bytes += freed;
        }
        total += t->entry.bytes;
    }
    for (size_t i = all.n; i-- > 0 && total > keep_bytes;) {
        trunk *t = &all.list[i];
        if (t->entry.in_use) continue;
        *freed_bytes += remove_files(t, false);
        total -= t->entry.bytes;
        ++*removed;
    }
    free_trunks(&all);
    return THAW_OK;
}

/* ---- explaining ---------------------------------------------------------------------------- */

static const char *fact_value(const thaw_fact *facts, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(facts[i].name, name) == 0) return facts[i].value;
    return "(none)";
}

static int differences(const thaw_cache_entry *e, const thaw_fact *facts, size_t n) {
    int count = 0;
    for (size_t i = 0; i < n; i++)
        count += strcmp(fact_value(e->facts, e->n_facts, facts[i].name), facts[i].value) != 0;
    return count;
}

thaw_status thaw_cache_explain(const char *root, const thaw_fact *facts, size_t n_facts, char *text,
                               size_t text_size, int *n_differences, thaw_error *err) {
    trunks all;
    text[0] = 0;
    *n_differences = -1;
    THAW_TRY(read_trunks(root, false, &all, err));
    const thaw_cache_entry *best = NULL;
    for (size_t i = 0; i < all.n; i++) {
        const thaw_cache_entry *e = &all.list[i].entry;
        if (!e->n_facts || !e->records) continue;
        int count = differences(e, facts, n_facts);
        if (best && count >= *n_differences) continue;
        best = e;
        *n_differences = count;
    }
    size_t used = 0;
    for (size_t i = 0; best && i < n_facts && used < text_size; i++) {
        const char *kept = fact_value(best->facts, best->n_facts, facts[i].name);
        if (strcmp(kept, facts[i].value) == 0) continue;
        int n = snprintf(text + used, text_size - used, "%s%s: %s -> %s", used ? "\n" : "",
                         facts[i].name, kept, facts[i].value);
        used += n > 0 ? (size_t)n : 0;
    }
    free_trunks(&all);
    return THAW_OK;
}
