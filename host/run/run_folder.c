#include "run_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "for the names of folders");
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *where) {
    (void)info, (void)type, (void)where;
    return remove(path);
}

/* Removes a folder that Thaw itself made. Links in it are removed, not followed. */
static void remove_folder(const char *path) {
    if (rmdir(path) != 0) /* An empty one needs no descriptor, of which there may be none. */
        nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static bool is_dot(const char *name) {
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Whether a run's folder may hold this: a file of it, or one that was being written. */
static bool is_of_a_run(const char *name) {
    static const char *const names[] = {"model.onnx",   "bundle.json",  "golden",
                                        "metrics.json", "epochs.jsonl", "report.html",
                                        "rejected.csv", "train.ini"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t n = strlen(names[i]);
        if (strncmp(name, names[i], n) == 0 && (!name[n] || strncmp(name + n, ".tmp", 4) == 0))
            return true;
    }
    return is_dot(name);
}

/* Whether everything in the folder passes; false for what cannot be read as a folder. */
static bool folder_holds_only(const char *path, bool (*passes)(const char *name)) {
    DIR *dir = opendir(path);
    if (!dir) return false;
    bool all = true;
    const struct dirent *entry;
    while (all && (entry = readdir(dir)))
        all = passes(entry->d_name);
    closedir(dir);
    return all;
}

static bool is_there(const char *path) {
    struct stat info;
    return lstat(path, &info) == 0;
}

/* A folder that a new run may take the place of: a run, or nothing. */
static bool may_replace(const char *path, thaw_arena *arena) {
    const char *json = thaw_file_join(arena, path, "bundle.json");
    return !is_there(path) || folder_holds_only(path, is_dot) || (json && is_there(json));
}

static thaw_status refuse_foreign(const char *run, const char *path, thaw_error *err) {
    return thaw_fail(err, THAW_ERR_USAGE,
                     "out = %s: %s exists and holds something else than a run of Thaw; choose "
                     "another folder",
                     run, path);
}

/* RUN, RUN~ and RUN.partial. Links are followed and slashes cut: a name follows. */
static thaw_status name_folders(const char *run, thaw_arena *arena, thaw_run_folder *folder,
                                thaw_error *err) {
    char *real = realpath(run, NULL);
    size_t n = strlen(run);
    while (n > 1 && run[n - 1] == '/')
        n--;
    folder->base =
        real ? thaw_arena_string(arena, real, strlen(real)) : thaw_arena_string(arena, run, n);
    free(real);
    if (!folder->base) return no_memory(err);
    folder->older = thaw_arena_printf(arena, "%s~", folder->base);
    folder->partial = thaw_arena_printf(arena, "%s.partial", folder->base);
    return folder->older && folder->partial ? THAW_OK : no_memory(err);
}

/* Holds RUN.partial, unless another program does. It may have become RUN between the opening and
 * the lock, which the look at its name tells. */
static thaw_status lock_partial(const char *run, thaw_run_folder *folder, thaw_error *err) {
    struct stat held, named;
    folder->lock = open(folder->partial, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    bool busy = folder->lock >= 0 && flock(folder->lock, LOCK_EX | LOCK_NB) != 0 &&
                (errno == EWOULDBLOCK || errno == EINTR);
    if (folder->lock >= 0 && !busy && fstat(folder->lock, &held) == 0 &&
        lstat(folder->partial, &named) == 0 && held.st_ino == named.st_ino)
        return THAW_OK;
    if (folder->lock >= 0) close(folder->lock);
    return thaw_fail(err, THAW_ERR_IO,
                     "out = %s: another program is writing this run; wait for it, or choose "
                     "another folder",
                     run);
}

static void empty_folder(const char *path) {
    thaw_arena arena = {0};
    DIR *dir = opendir(path);
    const struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        const char *inside = thaw_file_join(&arena, path, entry->d_name);
        if (inside && !is_dot(entry->d_name)) remove_folder(inside);
    }
    if (dir) closedir(dir);
    thaw_arena_free(&arena);
}

thaw_status thaw_run_begin(const char *run, thaw_arena *arena, thaw_run_folder *folder,
                           thaw_error *err) {
    thaw_run_folder f = {0};
    *folder = f;
    THAW_TRY(name_folders(run, arena, &f, err));
    if (!may_replace(f.base, arena)) return refuse_foreign(run, f.base, err);
    if (!may_replace(f.older, arena)) return refuse_foreign(run, f.older, err);
    if (is_there(f.partial) && !folder_holds_only(f.partial, is_of_a_run))
        return refuse_foreign(run, f.partial, err);
    THAW_TRY(thaw_file_make_folders(f.partial, err));
    THAW_TRY(lock_partial(run, &f, err));
    empty_folder(f.partial); /* What a killed run left. */
    *folder = f;
    return THAW_OK;
}

static void release(thaw_run_folder *folder) {
    close(folder->lock);
    *folder = (thaw_run_folder){0};
}

void thaw_run_abandon(thaw_run_folder *folder, bool keep_rejected) {
    if (!folder->partial) return;
    thaw_arena arena = {0};
    char *table = thaw_file_join(&arena, folder->partial, "rejected.csv"), *bytes = NULL;
    size_t n = 0;
    bool keep = keep_rejected && table &&
                thaw_file_read(table, (size_t)INT32_MAX, &arena, &bytes, &n, NULL) == THAW_OK;
    remove_folder(folder->partial);
    if (keep && thaw_file_make_folders(folder->partial, NULL) == THAW_OK)
        thaw_file_write(table, bytes, n, NULL);
    thaw_arena_free(&arena);
    release(folder);
}

static thaw_status move_folder(const char *from, const char *to, thaw_error *err) {
    if (rename(from, to) == 0) return THAW_OK;
    return thaw_fail(err, THAW_ERR_IO, "cannot move %s to %s: %s", from, to, strerror(errno));
}

thaw_status thaw_run_finish(thaw_run_folder *folder, thaw_error *err) {
    if (is_there(folder->base) && !folder_holds_only(folder->base, is_dot)) {
        remove_folder(folder->older);
        THAW_TRY(move_folder(folder->base, folder->older, err));
    }
    THAW_TRY(move_folder(folder->partial, folder->base, err)); /* It replaces an empty folder. */
    thaw_file_sync_entry(folder->base);
    release(folder);
    return THAW_OK;
}
