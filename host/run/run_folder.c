#include "run_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "model/bundle.h"
#include "model/export_onnx.h"
#include "model/model_file.h"
#include "model/novelty_file.h"

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "for the names of folders");
}

static bool is_there(const char *path) {
    struct stat info;
    return lstat(path, &info) == 0;
}

static bool is_dot(const char *name) {
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Whether name is this file of Thaw's, or one that was being written to become it. */
static bool is_file(const char *name, const char *file) {
    size_t n = strlen(file);
    return strncmp(name, file, n) == 0 && (!name[n] || strncmp(name + n, ".tmp", 4) == 0);
}

/* Whether Thaw writes such an entry into a run's folder. */
static bool is_of_a_run(const char *name) {
    static const char *const names[] = {
        "model.onnx",      "bundle.json",       "golden",         "metrics.json",
        "epochs.jsonl",    "head_epochs.jsonl", "report.html",    "predictions.csv",
        "rejected.csv",    "train.ini",         "neighbours.csv", "suspects.csv",
        "map.csv",         "sweep.json",        "sweep.csv",      "best.ini",
        THAW_NOVELTY_FILE, THAW_MODEL_DATA,     THAW_PIXELS_FILE, THAW_PIXELS_FILE THAW_ONNX_DATA};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (is_file(name, names[i])) return true;
    return is_dot(name);
}

/* The same for its folder of golden pictures, which are called by their numbers. */
static bool is_golden(const char *name) {
    return is_dot(name) ||
           (name[0] >= '0' && name[0] < '0' + THAW_GOLDEN && (!name[1] || name[1] == '.'));
}

/* Calls visit for each entry of a folder that passes, or for each that does not; stops when it
 * returns false. Returns false then, and when the folder cannot be read. */
static bool each_entry(const char *path, bool (*passes)(const char *name), bool passing,
                       bool (*visit)(void *ctx, const char *folder, const char *name), void *ctx) {
    DIR *dir = opendir(path);
    bool good = dir != NULL;
    const struct dirent *entry;
    while (good && (entry = readdir(dir)))
        if (!is_dot(entry->d_name) && passes(entry->d_name) == passing)
            good = visit(ctx, path, entry->d_name);
    if (dir) closedir(dir);
    return good;
}

static bool remove_one(void *ctx, const char *folder, const char *name) {
    (void)ctx;
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) return true;
    if (strcmp(name, "golden") == 0) each_entry(path, is_golden, true, remove_one, NULL);
    remove(path); /* A folder that still holds something stays. */
    return true;
}

/* Removes what Thaw wrote into a run's folder, and then the folder if nothing is left. Links are
 * removed, not followed. */
static void remove_run(const char *path) {
    if (rmdir(path) == 0)
        return; /* An empty one needs no descriptor, of which there may be none. */
    each_entry(path, is_of_a_run, true, remove_one, NULL);
    remove(path);
}

/* Notes what Thaw did not write, with its folder. */
static bool note_foreign(void *ctx, const char *folder, const char *name) {
    snprintf(ctx, PATH_MAX, "%.2000s/%.2000s", folder, name);
    return false;
}

/* Whether a folder, if there is one, holds nothing but a run; otherwise `foreign` is what else it
 * holds, or what is in the folder's place. */
static bool holds_only_a_run(const char *path, char foreign[PATH_MAX]) {
    char golden[PATH_MAX];
    snprintf(foreign, PATH_MAX, "%s", path);
    snprintf(golden, sizeof golden, "%.4000s/golden", path);
    return each_entry(path, is_of_a_run, false, note_foreign, foreign) &&
           (!is_there(golden) || each_entry(golden, is_golden, false, note_foreign, foreign));
}

static bool stop_at_once(void *ctx, const char *folder, const char *name) {
    (void)ctx, (void)folder, (void)name;
    return false;
}

static bool is_empty(const char *path) {
    return each_entry(path, is_dot, false, stop_at_once, NULL);
}

/* A folder that a new run may take the place of: a run or a sweep, whatever else is in it, or nothing. */
static bool is_a_run(const char *path, thaw_arena *arena) {
    const char *bundle = thaw_file_join(arena, path, "bundle.json");
    const char *sweep = thaw_file_join(arena, path, "sweep.json");
    return !is_there(path) || is_empty(path) || (bundle && is_there(bundle)) ||
           (sweep && is_there(sweep));
}

static thaw_status refuse_foreign(const char *run, const char *path, thaw_error *err) {
    return thaw_fail(err, THAW_ERR_USAGE,
                     "out = %s: %s exists and holds something else than a run of Thaw; choose "
                     "another folder",
                     run, path);
}

/* RUN~ and RUN.partial are emptied, so that nothing else may be in them. */
static thaw_status check_emptied(const char *run, const char *path, thaw_error *err) {
    char foreign[PATH_MAX];
    if (!is_there(path) || holds_only_a_run(path, foreign)) return THAW_OK;
    return thaw_fail(err, THAW_ERR_USAGE,
                     "out = %s: %s is not Thaw's, and %s makes room for this run; move it away, or "
                     "choose another folder",
                     run, foreign, path);
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

thaw_status thaw_run_begin(const char *run, thaw_arena *arena, thaw_run_folder *folder,
                           thaw_error *err) {
    thaw_run_folder f = {0};
    *folder = f;
    THAW_TRY(name_folders(run, arena, &f, err));
    if (!is_a_run(f.base, arena)) return refuse_foreign(run, f.base, err);
    THAW_TRY(check_emptied(run, f.older, err));
    THAW_TRY(check_emptied(run, f.partial, err));
    THAW_TRY(thaw_file_make_folders(f.partial, err));
    THAW_TRY(lock_partial(run, &f, err));
    each_entry(f.partial, is_of_a_run, true, remove_one, NULL); /* What a killed run left. */
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
    remove_run(folder->partial);
    if (keep && thaw_file_make_folders(folder->partial, NULL) == THAW_OK)
        thaw_file_write(table, bytes, n, NULL);
    thaw_arena_free(&arena);
    release(folder);
}

static thaw_status move_folder(const char *from, const char *to, thaw_error *err) {
    if (rename(from, to) == 0) return THAW_OK;
    return thaw_fail(err, THAW_ERR_IO, "cannot move %s to %s: %s", from, to, strerror(errno));
}

/* ctx is the folder that it goes to. */
static bool move_entry(void *ctx, const char *folder, const char *name) {
    char from[PATH_MAX], to[PATH_MAX];
    if (snprintf(from, sizeof from, "%s/%s", folder, name) < (int)sizeof from &&
        snprintf(to, sizeof to, "%s/%s", (const char *)ctx, name) < (int)sizeof to)
        rename(from, to); /* What cannot be moved stays where it is, and is safe there, too. */
    return true;
}

thaw_status thaw_run_finish(thaw_run_folder *folder, const char **older, thaw_error *err) {
    *older = NULL;
    if (is_there(folder->base) && !is_empty(folder->base)) {
        remove_run(folder->older);
        THAW_TRY(move_folder(folder->base, folder->older, err));
        *older = folder->older;
    }
    THAW_TRY(move_folder(folder->partial, folder->base, err)); /* It replaces an empty folder. */
    thaw_file_sync_entry(folder->base);
    if (*older) each_entry(*older, is_of_a_run, false, move_entry, (void *)folder->base);
    release(folder);
    return THAW_OK;
}
