#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "csv.h"

static const char *advice(int code) {
    if (code == ENOSPC || code == EDQUOT)
        return "; free some space or choose a folder on another disk";
    if (code == EMFILE) return "; allow the program more open files (ulimit -n)";
    return "";
}

/* Fails with "cannot VERB 'path': reason" for the errno in code. */
static thaw_status fail_errno(thaw_error *err, const char *verb, const char *path, int code) {
    return thaw_fail(err, THAW_ERR_IO, "cannot %s '%.600s': %s%s", verb, path, strerror(code),
                     advice(code));
}

bool thaw_file_is_to_blame(int code) {
    static const int reasons[] = {ENOENT,       EACCES, EPERM,  ENOTDIR, EISDIR, ELOOP,
                                  ENAMETOOLONG, ENXIO,  ENODEV, EILSEQ,  EINVAL};
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (code == reasons[i]) return true;
    return false;
}

/* The same for reading, where it matters whether another file would fare better. */
static thaw_status fail_reading(thaw_error *err, const char *verb, const char *path, int code) {
    thaw_status status = fail_errno(err, verb, path, code);
    if (thaw_file_is_to_blame(code)) return status;
    if (err) err->code = THAW_ERR_SYSTEM;
    return THAW_ERR_SYSTEM;
}

/* Reads up to n bytes, over short reads and signals. Returns the count or -1 with errno. */
static ssize_t read_all(int fd, char *bytes, size_t n) {
    size_t done = 0;
    while (done < n) {
        ssize_t got = read(fd, bytes + done, n - done);
        if (got == 0) break;
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -1;
        done += (size_t)got;
    }
    return (ssize_t)done;
}

thaw_status thaw_file_fail_reading(const char *path, int code, thaw_error *err) {
    return fail_reading(err, "read", path, code);
}

thaw_status thaw_file_open(const char *path, int *fd, uint64_t *size, thaw_error *err) {
    /* Without O_NONBLOCK a pipe that nobody writes to would block here for ever. */
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0) return fail_reading(err, "open", path, errno);
    struct stat info;
    int code = fstat(*fd, &info) != 0 ? errno : S_ISDIR(info.st_mode) ? EISDIR : 0;
    *size = code ? 0 : (uint64_t)info.st_size;
    if (!code && S_ISREG(info.st_mode)) return THAW_OK;
    close(*fd);
    if (code) return fail_reading(err, "read", path, code);
    return thaw_fail(err, THAW_ERR_IO, "cannot read '%.600s': it is not a regular file", path);
}

static thaw_status read_open(int fd, uint64_t size, const char *path, size_t limit_bytes,
                             thaw_arena *arena, char **bytes, size_t *n, thaw_error *err) {
    if (size > limit_bytes)
        return thaw_fail(err, THAW_ERR_FORMAT,
                         "'%.600s' has %" PRIu64 " bytes; at most %zu are read", path, size,
                         limit_bytes);
    char *buffer = thaw_arena_alloc(arena, (size_t)size + 1);
    if (!buffer) return thaw_fail_memory(err, "for the %" PRIu64 " bytes of '%.600s'", size, path);
    ssize_t got = read_all(fd, buffer, (size_t)size);
    if (got < 0) return fail_reading(err, "read", path, errno);
    *bytes = buffer;
    *n = (size_t)got;
    return THAW_OK;
}

/* What a clone holds in the place of a large file that was not fetched. */
static bool is_lfs_pointer(const char *bytes) {
    static const char begin[] = "version https://git-lfs.github.com/spec/";
    return strncmp(bytes, begin, sizeof begin - 1) == 0;
}

thaw_status thaw_file_read(const char *path, size_t limit_bytes, thaw_arena *arena, char **bytes,
                           size_t *n, thaw_error *err) {
    int fd;
    uint64_t size;
    THAW_TRY(thaw_file_open(path, &fd, &size, err));
    thaw_status status = read_open(fd, size, path, limit_bytes, arena, bytes, n, err);
    close(fd);
    if (status == THAW_OK && is_lfs_pointer(*bytes))
        return thaw_fail(err, THAW_ERR_FORMAT,
                         "'%.600s' is not the file but Git LFS's pointer to it: fetch it with `git "
                         "lfs pull`",
                         path);
    return status;
}

static int write_all(int fd, const char *bytes, size_t n) {
    while (n > 0) {
        ssize_t put = write(fd, bytes, n);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return -1;
        bytes += put;
        n -= (size_t)put;
    }
    return 0;
}

bool thaw_file_read_at(int fd, void *bytes, size_t n, off_t offset) {
    for (size_t done = 0; done < n;) {
        ssize_t got = pread(fd, (char *)bytes + done, n - done, offset + (off_t)done);
        if (got == 0) errno = ENODATA;
        if (got <= 0 && !(got < 0 && errno == EINTR)) return false;
        if (got > 0) done += (size_t)got;
    }
    return true;
}

bool thaw_file_write_at(int fd, const void *bytes, size_t n, off_t offset) {
    for (size_t done = 0; done < n;) {
        ssize_t put = pwrite(fd, (const char *)bytes + done, n - done, offset + (off_t)done);
        if (put <= 0 && !(put < 0 && errno == EINTR)) return false;
        if (put > 0) done += (size_t)put;
    }
    return true;
}

/* Opens one part of a path below the folder `at`, which is closed; a link is not followed. */
static int open_part(int at, const char *part, bool last) {
    int flags = last ? O_RDONLY | O_NONBLOCK : O_PATH | O_DIRECTORY;
    int fd = openat(at, part, flags | O_NOFOLLOW | O_CLOEXEC), code = errno;
    struct stat info;
    /* A link to a folder "is not a directory". */
    if (fd < 0 && code == ENOTDIR && fstatat(at, part, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISLNK(info.st_mode))
        code = ELOOP;
    close(at);
    errno = code;
    return fd;
}

bool thaw_file_leads_out(const char *name) {
    if (!name[0] || name[0] == '/') return true;
    for (; *name; name += strspn(name, "/")) {
        size_t n = strcspn(name, "/");
        if (n == 2 && strncmp(name, "..", 2) == 0) return true;
        name += n;
    }
    return false;
}

/* Part by part: what was opened stays what it is, whoever renames or links meanwhile. */
int thaw_file_open_inside(const char *folder, const char *name) {
    if (thaw_file_leads_out(name)) return errno = EXDEV, -1;
    int at = open(folder[0] ? folder : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    while (at >= 0) {
        char part[NAME_MAX + 1];
        size_t n = strcspn(name, "/");
        if (n > NAME_MAX) {
            close(at);
            return errno = ENAMETOOLONG, -1;
        }
        snprintf(part, sizeof part, "%.*s", n ? (int)n : 1, n ? name : "."); /* "a//b" is "a/b". */
        bool last = !name[n];
        at = open_part(at, part, last);
        if (last) return at;
        name += n + 1;
    }
    return -1;
}

/* Cuts the last part off; "." when there is none left. */
static void cut_last(char *path) {
    char *slash = strrchr(path, '/');
    if (!slash)
        strcpy(path, ".");
    else
        slash[slash == path] = '\0';
}

/* A new file beside path, under a name that nobody can have made before or linked somewhere.
 * Returns its descriptor, or -1 with errno. */
static int create_beside(const char *path, char temporary[PATH_MAX]) {
    enum { ATTEMPTS = 100 };
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        uint64_t number;
        if (getrandom(&number, sizeof number, 0) != sizeof number) return -1;
        int n = snprintf(temporary, PATH_MAX, "%s.tmp%016" PRIx64, path, number);
        if (n >= PATH_MAX) return errno = ENAMETOOLONG, -1;
        int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST) return fd;
    }
    return -1;
}

void thaw_file_sync_entry(const char *path) {
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", path);
    cut_last(folder);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    fsync(fd);
    close(fd);
}

/* Gives the new file its name, or removes it when code, an errno, is not 0. Returns code, or the errno
 * of what fails here. */
static int name_file(int code, const char *temporary, const char *path) {
    if (!code && rename(temporary, path) != 0) code = errno;
    if (code)
        unlink(temporary);
    else
        thaw_file_sync_entry(path);
    return code;
}

thaw_status thaw_file_write(const char *path, const void *bytes, size_t n, thaw_error *err) {
    char temporary[PATH_MAX];
    int fd = create_beside(path, temporary);
    if (fd < 0) return fail_errno(err, "write", path, errno);
    int code = write_all(fd, bytes, n) != 0 || fsync(fd) != 0 ? errno : 0;
    if (close(fd) != 0 && !code) code = errno;
    code = name_file(code, temporary, path);
    return code ? fail_errno(err, "write", path, code) : THAW_OK;
}

thaw_status thaw_file_begin(thaw_new_file *file, const char *path, thaw_error *err) {
    file->stream = NULL;
    if (snprintf(file->path, sizeof file->path, "%s", path) >= (int)sizeof file->path)
        return fail_errno(err, "write", path, ENAMETOOLONG);
    int fd = create_beside(path, file->temporary);
    if (fd < 0) return fail_errno(err, "write", path, errno);
    file->stream = fdopen(fd, "w");
    if (file->stream) return THAW_OK;
    int code = errno;
    close(fd);
    unlink(file->temporary);
    return fail_errno(err, "write", path, code);
}

/* Ends the file; a code other than 0 is why it must not appear. Returns the code, or an errno. */
static int end_file(thaw_new_file *file, int code) {
    if (!code && (fflush(file->stream) != 0 || fsync(fileno(file->stream)) != 0)) code = errno;
    if (!code && ferror(file->stream)) code = EIO; /* Of an earlier write, whose errno is gone. */
    if (fclose(file->stream) != 0 && !code) code = errno;
    file->stream = NULL;
    return name_file(code, file->temporary, file->path);
}

thaw_status thaw_file_finish(thaw_new_file *file, thaw_error *err) {
    int code = end_file(file, 0);
    return code ? fail_errno(err, "write", file->path, code) : THAW_OK;
}

void thaw_file_abandon(thaw_new_file *file) {
    if (file->stream) end_file(file, ECANCELED);
}

/* As mkdir, but a folder that is there already is no error. */
static int make_folder(const char *path) {
    struct stat info;
    if (mkdir(path, 0777) == 0) return 0;
    int code = errno;
    if (stat(path, &info) == 0) return S_ISDIR(info.st_mode) ? 0 : ENOTDIR;
    return code;
}

thaw_status thaw_file_make_folders(const char *path, thaw_error *err) {
    char part[PATH_MAX];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof part)
        return fail_errno(err, "make the folder", path, n ? ENAMETOOLONG : ENOENT);
    memcpy(part, path, n + 1);
    for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int code = make_folder(part);
        if (code) return fail_errno(err, "make the folder", part, code);
        *slash = '/';
    }
    int code = make_folder(part);
    return code ? fail_errno(err, "make the folder", path, code) : THAW_OK;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk) {
    (void)info, (void)kind, (void)walk;
    remove(path);
    return 0;
}

void thaw_file_remove_tree(const char *path) {
    enum { DESCRIPTORS = 16 };
    nftw(path, remove_one, DESCRIPTORS, FTW_DEPTH | FTW_PHYS);
}

char *thaw_file_join(thaw_arena *arena, const char *folder, const char *name) {
    size_t n = strlen(folder);
    if (n == 0 || name[0] == '/') return thaw_arena_string(arena, name, strlen(name));
    return thaw_arena_printf(arena, "%s%s%s", folder, folder[n - 1] == '/' ? "" : "/", name);
}

thaw_status thaw_file_free_bytes(const char *path, uint64_t *bytes, thaw_error *err) {
    char existing[PATH_MAX];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof existing)
        return fail_errno(err, "look at the disk of", path, n ? ENAMETOOLONG : ENOENT);
    memcpy(existing, path, n + 1);
    struct statvfs disk;
    while (statvfs(existing, &disk) != 0) {
        if (errno != ENOENT || !strcmp(existing, ".") || !strcmp(existing, "/"))
            return fail_errno(err, "look at the disk of", existing, errno);
        cut_last(existing);
    }
    *bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    return THAW_OK;
}

thaw_status thaw_rejected_write(const char *path, const thaw_rejected *rows, size_t n,
                                thaw_error *err) {
    thaw_new_file file;
    THAW_TRY(thaw_file_begin(&file, path, err));
    fputs("path,reason\r\n", file.stream);
    for (size_t i = 0; i < n; i++) {
        thaw_csv_put(file.stream, rows[i].path);
        fputc(',', file.stream);
        thaw_csv_put(file.stream, rows[i].reason);
        fputs("\r\n", file.stream);
    }
    return thaw_file_finish(&file, err);
}
