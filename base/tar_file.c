#include "tar_file.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "file.h"

/* What is read at once: little where a header is expected, and twice as much each time that more is wanted
 * behind it. */
enum { FIRST = 1 << 12, BLOCK = 1 << 16 };

struct thaw_tar {
    struct archive *archive;
    const char *file; /* path, for sentences. */
    int fd;
    uint64_t size, begin, at;
    size_t next; /* Bytes to be read. */
    int code;    /* errno of a failed read. */
    thaw_tar_member member;
    char block[BLOCK];
    char path[];
};

/* ---- names ----------------------------------------------------------------------------------- */

static bool ends_so(const char *name, const char *const *ends) {
    size_t n = strlen(name);
    for (; *ends; ends++) {
        size_t end = strlen(*ends);
        if (n > end && strcasecmp(name + n - end, *ends) == 0) return true;
    }
    return false;
}

bool thaw_tar_is(const char *name) {
    return ends_so(name, (const char *const[]){".tar", NULL});
}

bool thaw_tar_is_compressed(const char *name) {
    static const char *const ends[] = {".tar.gz", ".tgz",     ".tar.zst", ".tar.bz2",
                                       ".tar.xz", ".tar.lz4", NULL};
    return ends_so(name, ends);
}

/* ---- reading --------------------------------------------------------------------------------- */

static la_ssize_t read_block(struct archive *a, void *ctx, const void **block) {
    thaw_tar *t = ctx;
    uint64_t left = t->size - t->at;
    size_t n = left < t->next ? (size_t)left : t->next;
    *block = t->block;
    if (n > 0 && !thaw_file_read_at(t->fd, t->block, n, (off_t)t->at)) {
        t->code = errno;
        archive_set_error(a, errno, "%s", strerror(errno));
        return ARCHIVE_FATAL;
    }
    t->at += n;
    if (t->next < BLOCK) t->next *= 2;
    return (la_ssize_t)n;
}

static la_int64_t skip_bytes(struct archive *a, void *ctx, la_int64_t wanted) {
    thaw_tar *t = ctx;
    uint64_t left = t->size - t->at, n = (uint64_t)wanted < left ? (uint64_t)wanted : left;
    (void)a;
    t->at += n;
    if (n > 0) t->next = FIRST;
    return (la_int64_t)n;
}

/* What libarchive could not read, at the byte where its header begins. */
static thaw_status fail_damaged(const thaw_tar *t, uint64_t at, thaw_error *err) {
    const char *reason = archive_error_string(t->archive);
    if (t->code) return thaw_file_fail_reading(t->file, t->code, err);
    if (archive_errno(t->archive) == ENOMEM) return thaw_fail_memory(err, "for '%.600s'", t->file);
    unsigned char head[2] = {0};
    bool packed = t->size >= 2 && thaw_file_read_at(t->fd, head, sizeof head, 0) &&
                  head[0] == 0x1f && head[1] == 0x8b;
    if (packed)
        return thaw_fail(
            err, THAW_ERR_FORMAT,
            "'%.600s' is compressed by gzip, whatever its name: no picture in it can be "
            "read in place; unpack it with gunzip",
            t->file);
    return thaw_fail(err, THAW_ERR_FORMAT,
                     "'%.600s' is damaged, or no tar file: at byte %" PRIu64
                     " a header was expected (%.100s)",
                     t->file, at, reason ? reason : "it is none");
}

static thaw_status fail_cut(const thaw_tar *t, thaw_error *err) {
    if (t->code) return thaw_file_fail_reading(t->file, t->code, err);
    return thaw_fail(err, THAW_ERR_FORMAT,
                     "'%.600s' is cut off: it ends at byte %" PRIu64
                     ", within '%.200s', which begins at byte %" PRIu64,
                     t->file, t->size, t->member.name, t->member.begin);
}

static thaw_status open_archive(thaw_tar *t, thaw_error *err) {
    struct archive *a = t->archive = archive_read_new();
    if (!a || archive_read_support_format_tar(a) != ARCHIVE_OK ||
        archive_read_set_format_option(a, "tar", "read_concatenated_archives", "1") != ARCHIVE_OK)
        return thaw_fail_memory(err, "for '%.600s'", t->file);
    archive_read_set_callback_data(a, t);
    archive_read_set_read_callback(a, read_block);
    archive_read_set_skip_callback(a, skip_bytes);
    if (archive_read_open1(a) == ARCHIVE_OK) return THAW_OK;
    return fail_damaged(t, t->begin, err);
}

thaw_status thaw_tar_open(thaw_tar **tar, const char *file, uint64_t begin, thaw_error *err) {
    size_t n = strlen(file) + 1;
    thaw_tar *t = malloc(sizeof *t + n);
    if (!t) return thaw_fail_memory(err, "for '%.600s'", file);
    memset(t, 0, offsetof(thaw_tar, block));
    t->file = memcpy(t->path, file, n);
    t->next = FIRST;
    thaw_status status = thaw_file_open(file, &t->fd, &t->size, err);
    if (status != THAW_OK) {
        free(t);
        return status;
    }
    t->begin = t->at = begin < t->size ? begin : t->size;
    status = open_archive(t, err);
    if (status == THAW_OK)
        *tar = t;
    else
        thaw_tar_close(t);
    return status;
}

void thaw_tar_close(thaw_tar *t) {
    archive_read_free(t->archive);
    close(t->fd);
    free(t);
}

thaw_status thaw_tar_next(thaw_tar *t, thaw_tar_member *member, bool *end, thaw_error *err) {
    struct archive_entry *entry;
    if (t->member.name && archive_read_data_skip(t->archive) != ARCHIVE_OK) return fail_cut(t, err);
    /* Where libarchive stands; it does not tell any more once it has failed. */
    uint64_t at = t->begin + (uint64_t)archive_filter_bytes(t->archive, 0);
    int code = archive_read_next_header(t->archive, &entry);
    *end = code == ARCHIVE_EOF;
    if (*end) return THAW_OK;
    if (code != ARCHIVE_OK && code != ARCHIVE_WARN) return fail_damaged(t, at, err);
    const char *name = archive_entry_pathname(entry);
    if (!name) name = archive_entry_pathname_utf8(entry);
    if (!name) name = "";
    while (name[0] == '.' && name[1] == '/')
        name += 1 + strspn(name + 1, "/");
    t->member = (thaw_tar_member){
        .begin = at,
        .n_bytes = (uint64_t)archive_entry_size(entry),
        .name = name,
        .is_file = archive_entry_filetype(entry) == AE_IFREG && !archive_entry_hardlink(entry)};
    *member = t->member;
    return THAW_OK;
}

thaw_status thaw_tar_take(thaw_tar *t, size_t limit_bytes, thaw_arena *arena, char **bytes,
                          size_t *n, thaw_error *err) {
    const thaw_tar_member *m = &t->member;
    if (m->n_bytes > limit_bytes)
        return thaw_fail(err, THAW_ERR_FORMAT,
                         "'%.300s' in '%.300s', at byte %" PRIu64 ", has %" PRIu64
                         " bytes; at most %zu are read",
                         m->name, t->file, m->begin, m->n_bytes, limit_bytes);
    *n = (size_t)m->n_bytes;
    *bytes = thaw_arena_alloc(arena, *n + 1);
    if (!*bytes) return thaw_fail_memory(err, "for '%.300s' in '%.300s'", m->name, t->file);
    for (size_t done = 0; done < *n;) {
        la_ssize_t got = archive_read_data(t->archive, *bytes + done, *n - done);
        if (got <= 0) return fail_cut(t, err);
        done += (size_t)got;
    }
    return THAW_OK;
}

static thaw_status read_member(thaw_tar *t, const char *name, size_t limit_bytes, thaw_arena *arena,
                               char **bytes, size_t *n, thaw_error *err) {
    thaw_tar_member m;
    bool end;
    THAW_TRY(thaw_tar_next(t, &m, &end, err));
    if (!end && m.is_file && (!name || strcmp(name, m.name) == 0))
        return thaw_tar_take(t, limit_bytes, arena, bytes, n, err);
    return thaw_fail(err, THAW_ERR_FORMAT,
                     "'%.300s' holds %s%.200s%s at byte %" PRIu64 ", and not '%.200s'", t->file,
                     end ? "nothing" : "'", end ? "" : m.name, end ? "" : "'", t->begin,
                     name ? name : "a file");
}

thaw_status thaw_tar_read(const char *file, uint64_t begin, const char *name, size_t limit_bytes,
                          thaw_arena *arena, char **bytes, size_t *n, thaw_error *err) {
    thaw_tar *tar;
    THAW_TRY(thaw_tar_open(&tar, file, begin, err));
    thaw_status status = read_member(tar, name, limit_bytes, arena, bytes, n, err);
    thaw_tar_close(tar);
    return status;
}
