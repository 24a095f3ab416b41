#include "cache_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache.h"
#include "file.h"

enum { ATTEMPTS = 1000 }; /* Others may spoil a few in a row, but not for ever. */

/* ---- whose it is ----------------------------------------------------------------------------- */

/* Who may write to the cache decides what is in it, and through planted links which files this user
 * writes. Root may anyway; in a folder like /tmp nobody can replace what is another's. */
static thaw_status check_owner(const char *path, const struct stat *info, bool shared,
                               thaw_error *err) {
    bool foreign = info->st_uid != geteuid() && info->st_uid != 0;
    bool open = (info->st_mode & (S_IWGRP | S_IWOTH)) && !(info->st_mode & S_ISVTX);
    if (shared || (!foreign && !open)) return THAW_OK;
    if (foreign)
        return thaw_fail(err, THAW_ERR_USAGE,
                         "the cache folder %.600s belongs to another user, who can put anything "
                         "into it: choose another cache.dir, or trust it with cache.shared = true",
                         path);
    return thaw_fail(
        err, THAW_ERR_USAGE,
        "others may write to the cache folder %.600s (mode %04o) and put anything into "
        "it: take that from them with chmod go-w, choose another cache.dir, or trust "
        "them with cache.shared = true",
        path, info->st_mode & 07777u);
}

thaw_status thaw_cache_check_root(const char *root, bool shared, thaw_error *err) {
    struct stat info;
    return stat(root, &info) == 0 ? check_owner(root, &info, shared, err) : THAW_OK;
}

static mode_t folder_mode(bool shared) {
    return shared ? 0777 : 0755;
}

thaw_status thaw_cache_make_root(const char *root, bool shared, thaw_error *err) {
    char copy[THAW__CACHE_PATH];
    snprintf(copy, sizeof copy, "%s", root);
    if (mkdir(root, folder_mode(shared)) != 0 && errno == ENOENT &&
        thaw_file_make_folders(dirname(copy), NULL) == THAW_OK)
        mkdir(root, folder_mode(shared));
    THAW_TRY(thaw_file_make_folders(root, err)); /* It is there, or this says why not. */
    return thaw_cache_check_root(root, shared, err);
}

/* ---- its files ------------------------------------------------------------------------------- */

int thaw__folder_open_file(int dir, const char *name, int flags, bool shared) {
    struct stat info;
    int fd = openat(dir, name, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, shared ? 0666 : 0644);
    if (fd < 0) return -1;
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) return fd;
    close(fd);
    errno = EINVAL;
    return -1;
}

bool thaw__folder_cannot_write(int code) {
    return code == EROFS || code == EACCES || code == EPERM;
}

/* Whether name in the folder still is the file that is open as fd. */
static bool same_file(int dir, const char *name, int fd) {
    struct stat opened, named;
    return fstat(fd, &opened) == 0 && fstatat(dir, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           opened.st_ino == named.st_ino && opened.st_dev == named.st_dev;
}

/* ---- entering -------------------------------------------------------------------------------- */

static thaw_status fail_folder(const char *verb, const char *path, const char *name, int code,
                               thaw_error *err) {
    thaw_status status = thaw_file_is_to_blame(code) ? THAW_ERR_IO : THAW_ERR_SYSTEM;
    return thaw_fail(err, status, "cannot %s %.600s%s: %s", verb, path, name, strerror(code));
}

/* Opens the folder, which is made where it is missing. *gone: it was removed meanwhile. */
static thaw_status open_folder(const char *path, thaw__cache_folder *f, bool *gone,
                               thaw_error *err) {
    struct stat info;
    if (mkdir(path, folder_mode(f->shared)) == 0) thaw_file_sync_entry(path);
    int reason = errno;
    f->dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    *gone = f->dir < 0 && errno == ENOENT && (reason == EEXIST || reason == ENOENT);
    if (*gone) return THAW_OK;
    if (f->dir < 0 && errno == ENOENT) return fail_folder("make the folder", path, "", reason, err);
    if (f->dir < 0 || fstat(f->dir, &info) != 0)
        return fail_folder("open the folder", path, "", errno, err);
    return check_owner(path, &info, f->shared, err);
}

/* Locks the open folder. thaw_cache_collect may remove it between any two of these steps; the lock
 * counts only if its file is in the folder once it is held. */
static thaw_status lock_folder(const char *path, thaw__cache_folder *f, bool *gone,
                               thaw_error *err) {
    f->lock = thaw__folder_open_file(f->dir, "lock", O_RDWR | O_CREAT, f->shared);
    f->read_only = f->lock < 0 && thaw__folder_cannot_write(errno);
    if (f->read_only) f->lock = thaw__folder_open_file(f->dir, "lock", O_RDONLY, f->shared);
    *gone = f->lock < 0 && errno == ENOENT && !f->read_only;
    if (*gone || (f->lock < 0 && f->read_only)) return THAW_OK;
    if (f->lock < 0 && (errno == ELOOP || errno == EINVAL))
        return thaw_fail(err, THAW_ERR_IO, "%.600s/lock is a link or no regular file: remove it",
                         path);
    if (f->lock < 0) return fail_folder("write", path, "/lock", errno, err);
    while (flock(f->lock, LOCK_SH) != 0 && errno == EINTR)
        continue;
    *gone = !same_file(f->dir, "lock", f->lock);
    if (!*gone) futimens(f->lock, NULL);
    return THAW_OK;
}

thaw_status thaw__folder_enter(const char *root, bool shared, const char *path,
                               thaw__cache_folder *folder, thaw_error *err) {
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        bool gone = false;
        *folder = (thaw__cache_folder){.dir = -1, .lock = -1, .shared = shared};
        thaw_status status = thaw_cache_make_root(root, shared, err);
        if (status == THAW_OK) status = open_folder(path, folder, &gone, err);
        if (status == THAW_OK && !gone) status = lock_folder(path, folder, &gone, err);
        if (status == THAW_OK && !gone) return THAW_OK;
        thaw__folder_leave(folder);
        THAW_TRY(status);
    }
    return thaw_fail(err, THAW_ERR_IO, "cannot lock %.600s: others remove it all the time", path);
}

void thaw__folder_leave(thaw__cache_folder *folder) {
    if (folder->dir >= 0) close(folder->dir);
    if (folder->lock >= 0) close(folder->lock);
    folder->dir = folder->lock = -1;
}
