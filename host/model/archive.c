#include "archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"

enum { BLOCK = 1 << 16, MOST_FILES = 100000 };

bool thaw_archive_is(const char *path) {
    static const char *const ends[] = {".tar.gz", ".tgz", ".tar"};
    size_t n = strlen(path);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t end = strlen(ends[i]);
        if (n > end && strcasecmp(path + n - end, ends[i]) == 0) return true;
    }
    return false;
}

/* libarchive's own words; it has none where the system's are meant. */
static const char *reason(struct archive *a) {
    const char *text = archive_error_string(a);
    return text ? text : strerror(archive_errno(a));
}

/* ---- packing --------------------------------------------------------------------------------- */

typedef struct packing {
    const char *folder, *file;
    struct archive *archive;
    const char **names; /* [n], relative to the folder. */
    size_t n, capacity;
    thaw_arena arena;
    char block[BLOCK];
    thaw_error *err;
} packing;

static thaw_status no_memory(const packing *p) {
    return thaw_fail_memory(p->err, "to pack '%.600s'", p->folder);
}

static thaw_status add_name(packing *p, const char *name) {
    if (p->n == p->capacity) {
        size_t capacity = p->capacity ? 2 * p->capacity : 64;
        const char **names = realloc(p->names, capacity * sizeof *names);
        if (!names) return no_memory(p);
        p->names = names;
        p->capacity = capacity;
    }
    p->names[p->n] = thaw_arena_pack(&p->arena, name, strlen(name));
    return p->names[p->n++] ? THAW_OK : no_memory(p);
}

static thaw_status take_entry(packing *p, const FTSENT *entry) {
    switch (entry->fts_info) {
        case FTS_D:
        case FTS_DP:
            return THAW_OK;
        case FTS_F: {
            size_t n = strlen(p->folder);
            return add_name(p, entry->fts_path + n + strspn(entry->fts_path + n, "/"));
        }
        case FTS_DNR:
        case FTS_ERR:
        case FTS_NS:
            return thaw_fail(p->err, THAW_ERR_IO, "cannot pack '%.600s': %s", entry->fts_path,
                             strerror(entry->fts_errno));
        default:
            return thaw_fail(p->err, THAW_ERR_IO,
                             "cannot pack '%.600s': it is neither a file nor a folder",
                             entry->fts_path);
    }
}

/* Lists the file, or the files in the folder, called name. */
static thaw_status list_files(packing *p, const char *name) {
    char *path = thaw_file_join(&p->arena, p->folder, name);
    if (!path) return no_memory(p);
    FTS *walk = fts_open((char *const[]){path, NULL}, FTS_LOGICAL | FTS_NOCHDIR, NULL);
    if (!walk) return no_memory(p);
    thaw_status status = THAW_OK;
    for (FTSENT *entry; status == THAW_OK && (entry = fts_read(walk));)
        status = take_entry(p, entry);
    fts_close(walk);
    return status;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static thaw_status fail_packing(const packing *p, const char *name, const char *why) {
    return thaw_fail(p->err, THAW_ERR_IO, "cannot pack '%.300s' into '%.300s': %.200s", name,
                     p->file, why);
}

static thaw_status put_bytes(packing *p, const char *name, int fd, int64_t left) {
    while (left > 0) {
        ssize_t n = read(fd, p->block, left < BLOCK ? (size_t)left : BLOCK);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_packing(p, name, strerror(errno));
        if (n == 0) return fail_packing(p, name, "it got shorter meanwhile");
        if (archive_write_data(p->archive, p->block, (size_t)n) != n)
            return fail_packing(p, name, reason(p->archive));
        left -= n;
    }
    return THAW_OK;
}

static thaw_status put_file(packing *p, const char *name) {
    struct stat info;
    char *path = thaw_file_join(&p->arena, p->folder, name);
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    if (!path) return no_memory(p);
    if (fd < 0) return fail_packing(p, name, strerror(errno));
    thaw_status status = fstat(fd, &info) ? fail_packing(p, name, strerror(errno)) : THAW_OK;
    struct archive_entry *entry = archive_entry_new();
    if (status == THAW_OK && !entry) status = no_memory(p);
    if (status == THAW_OK) {
        archive_entry_set_pathname(entry, name);
        archive_entry_set_filetype(entry, AE_IFREG);
        archive_entry_set_perm(entry, 0644);
        archive_entry_set_size(entry, info.st_size);
        archive_entry_set_mtime(entry, 0, 0);
        if (archive_write_header(p->archive, entry) != ARCHIVE_OK)
            status = fail_packing(p, name, reason(p->archive));
    }
    if (status == THAW_OK) status = put_bytes(p, name, fd, info.st_size);
    archive_entry_free(entry);
    close(fd);
    return status;
}

/* GNU's format: names are bytes of any length, whatever the locale. */
static thaw_status open_archive(packing *p, FILE *stream) {
    struct archive *a = p->archive = archive_write_new();
    if (!a) return no_memory(p);
    if (archive_write_add_filter_gzip(a) == ARCHIVE_OK &&
        archive_write_set_format_gnutar(a) == ARCHIVE_OK &&
        archive_write_set_options(a, "gzip:!timestamp") == ARCHIVE_OK &&
        archive_write_open_FILE(a, stream) == ARCHIVE_OK)
        return THAW_OK;
    return fail_packing(p, p->folder, reason(a));
}

static thaw_status put_all(packing *p, FILE *stream) {
    thaw_status status = open_archive(p, stream);
    for (size_t i = 0; status == THAW_OK && i < p->n; i++)
        status = put_file(p, p->names[i]);
    if (status == THAW_OK && archive_write_close(p->archive) != ARCHIVE_OK)
        status = fail_packing(p, p->folder, reason(p->archive));
    archive_write_free(p->archive);
    return status;
}

static thaw_status pack(packing *p, const char *const *names) {
    for (; *names; names++)
        THAW_TRY(list_files(p, *names));
    qsort(p->names, p->n, sizeof *p->names, compare_names);
    thaw_new_file file;
    THAW_TRY(thaw_file_begin(&file, p->file, p->err));
    thaw_status status = put_all(p, file.stream);
    if (status == THAW_OK) return thaw_file_finish(&file, p->err);
    thaw_file_abandon(&file);
    return status;
}

thaw_status thaw_archive_pack(const char *folder, const char *const *names, const char *file,
                              thaw_error *err) {
    packing p = {.folder = folder, .file = file, .err = err};
    thaw_status status = pack(&p, names);
    free(p.names);
    thaw_arena_free(&p.arena);
    return status;
}

/* ---- unpacking ------------------------------------------------------------------------------- */

typedef struct unpacking {
    const char *file, *folder;
    struct archive *archive;
    uint64_t room, written; /* Bytes. */
    size_t n;               /* Files and folders. */
    bool any_file;
    char block[BLOCK];
    thaw_error *err;
} unpacking;

static thaw_status fail_damaged(const unpacking *u) {
    return thaw_fail(u->err, THAW_ERR_FORMAT,
                     "'%.600s' cannot be unpacked after %zu entries: %.200s; it is damaged, or no "
                     ".tar.gz or .zip",
                     u->file, u->n, reason(u->archive));
}

static thaw_status fail_entry(const unpacking *u, const char *name, const char *why) {
    return thaw_fail(u->err, THAW_ERR_FORMAT, "'%.300s' is not unpacked: '%.300s' in it %s",
                     u->file, name, why);
}

static thaw_status fail_writing(const unpacking *u, const char *path) {
    return thaw_fail(u->err, THAW_ERR_IO, "cannot unpack '%.300s' to '%.300s': %s", u->file, path,
                     strerror(errno));
}

static thaw_status fail_full(const unpacking *u) {
    return thaw_fail(u->err, THAW_ERR_IO,
                     "'%.300s' unpacks to more than the %" PRIu64
                     " MB that are free for it in "
                     "'%.300s'; free some space, or take a folder on another disk (TMPDIR, --out)",
                     u->file, u->room >> 20, u->folder);
}

static thaw_status write_bytes(unpacking *u, int fd, const char *path) {
    for (;;) {
        ssize_t n = archive_read_data(u->archive, u->block, BLOCK);
        if (n == 0) return THAW_OK;
        if (n < 0) return fail_damaged(u);
        u->written += (uint64_t)n;
        if (u->written > u->room) return fail_full(u);
        for (ssize_t done = 0, put; done < n; done += put) {
            put = write(fd, u->block + done, (size_t)(n - done));
            if (put < 0 && errno == EINTR) put = 0;
            if (put < 0) return fail_writing(u, path);
        }
    }
}

static thaw_status write_file(unpacking *u, const char *name, char *path) {
    char *slash = strrchr(path, '/');
    *slash = '\0';
    THAW_TRY(thaw_file_make_folders(path, u->err));
    *slash = '/';
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0 && errno == EEXIST) return fail_entry(u, name, "is there twice");
    if (fd < 0) return fail_writing(u, path);
    thaw_status status = write_bytes(u, fd, path);
    if (close(fd) != 0 && status == THAW_OK) status = fail_writing(u, path);
    u->any_file = true;
    return status;
}

/* The folder holds nothing but what comes from here: no link that could lead elsewhere. */
static thaw_status unpack_entry(unpacking *u, struct archive_entry *entry) {
    const char *name = archive_entry_pathname(entry);
    if (!name) name = archive_entry_pathname_utf8(entry);
    if (!name) return fail_entry(u, "an entry", "has no name");
    if (archive_entry_hardlink(entry)) return fail_entry(u, name, "is a link");
    mode_t type = archive_entry_filetype(entry);
    if (type == AE_IFLNK) return fail_entry(u, name, "is a link");
    if (type != AE_IFREG && type != AE_IFDIR)
        return fail_entry(u, name, "is neither a file nor a folder");
    if (thaw_file_leads_out(name)) return fail_entry(u, name, "leads out of the folder");
    if (++u->n > MOST_FILES) return fail_entry(u, name, "is one of more than 100,000");
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", u->folder, name);
    if (n >= (int)sizeof path) return fail_entry(u, name, "has too long a path");
    if (type == AE_IFDIR) return thaw_file_make_folders(path, u->err);
    if (path[n - 1] == '/') return fail_entry(u, name, "is a file with the name of a folder");
    return write_file(u, name, path);
}

static thaw_status unpack_all(unpacking *u, int fd) {
    struct archive_entry *entry;
    struct archive *a = u->archive;
    if (archive_read_support_format_tar(a) != ARCHIVE_OK ||
        archive_read_support_format_zip(a) != ARCHIVE_OK ||
        archive_read_support_filter_gzip(a) != ARCHIVE_OK ||
        archive_read_open_fd(a, fd, BLOCK) != ARCHIVE_OK)
        return fail_damaged(u);
    for (int code; (code = archive_read_next_header(a, &entry)) != ARCHIVE_EOF;) {
        if (code != ARCHIVE_OK && code != ARCHIVE_WARN) return fail_damaged(u);
        THAW_TRY(unpack_entry(u, entry));
    }
    if (u->any_file) return THAW_OK;
    return thaw_fail(u->err, THAW_ERR_FORMAT, "'%.600s' is an archive without a file", u->file);
}

static thaw_status unpack_from(unpacking *u, int fd) {
    if (mkdir(u->folder, 0777) != 0) return fail_writing(u, u->folder);
    u->archive = archive_read_new();
    thaw_status status =
        u->archive ? unpack_all(u, fd) : thaw_fail_memory(u->err, "to unpack '%.600s'", u->file);
    archive_read_free(u->archive);
    if (status != THAW_OK) thaw_file_remove_tree(u->folder);
    return status;
}

thaw_status thaw_archive_unpack(const char *file, const char *folder, thaw_error *err) {
    unpacking u = {.file = file, .folder = folder, .err = err};
    THAW_TRY(thaw_file_free_bytes(folder, &u.room, err));
    u.room -= u.room / 16; /* A disk that is full to the last byte helps nobody. */
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return thaw_fail(err, THAW_ERR_IO, "cannot open '%.600s': %s", file, strerror(errno));
    thaw_status status = unpack_from(&u, fd);
    close(fd);
    return status;
}

/* ---- a folder, packed or not ---------------------------------------------------------------- */

thaw_status thaw_unpacked_open(thaw_unpacked *u, const char *path, thaw_error *err) {
    enum { NAME = 8 }; /* Of the folder in its place. */
    const char *set = getenv("TMPDIR"), *base = set && *set ? set : "/tmp";
    struct stat info;
    *u->place = 0;
    if (strlen(path) >= sizeof u->folder)
        return thaw_fail(err, THAW_ERR_IO, "'%.600s' has too long a path", path);
    strcpy(u->folder, path);
    if (stat(path, &info) != 0 || S_ISDIR(info.st_mode) || !thaw_archive_is(path)) return THAW_OK;
    int n = snprintf(u->place, sizeof u->place, "%s/thaw-model-XXXXXX", base);
    if (n >= (int)sizeof u->place - NAME || !mkdtemp(u->place)) {
        *u->place = 0;
        return thaw_fail(err, THAW_ERR_IO, "cannot make a folder for '%.300s' in '%.300s': %s",
                         path, base, strerror(errno));
    }
    memcpy(u->folder, u->place, (size_t)n);
    strcpy(u->folder + n, "/model");
    return thaw_archive_unpack(path, u->folder, err);
}

void thaw_unpacked_close(thaw_unpacked *u) {
    if (*u->place) thaw_file_remove_tree(u->place);
    *u->place = 0;
}
