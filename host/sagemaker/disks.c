#include "disks.h"

#include <errno.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "file.h"

void thaw_disks_say(const char *base, thaw_log *log) {
    static const char *const places[] = {"%s/input/data", "%s/model", "%s/output", "%s/checkpoints",
                                         "/tmp"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char path[PATH_MAX];
        struct statvfs disk;
        snprintf(path, sizeof path, places[i], base);
        if (statvfs(path, &disk) != 0) continue;
        double unit = (double)disk.f_frsize / 1e9;
        thaw_log_write(log, THAW_LOG_INFO, "disk: %s has %.1f of %.1f GB free%s", path,
                       (double)disk.f_bavail * unit, (double)disk.f_blocks * unit,
                       disk.f_flag & ST_RDONLY ? ", read-only" : "");
    }
}

typedef struct place {
    const char *path;
    bool good, root; /* Files can be made in it, and are on a disk; it is the root's. */
    dev_t device;
    uint64_t free_bytes;
} place;

static place look_at(const char *path, dev_t root) {
    place p = {.path = path};
    struct stat info;
    struct statfs kind;
    if (stat(path, &info) != 0 || access(path, W_OK | X_OK) != 0 || statfs(path, &kind) != 0)
        return p;
    p.good =
        kind.f_type != TMPFS_MAGIC && thaw_file_free_bytes(path, &p.free_bytes, NULL) == THAW_OK;
    p.device = info.st_dev;
    p.root = info.st_dev == root;
    return p;
}

/* Whether a is the better place than b, which comes first. */
static bool is_better(const place *a, const place *b) {
    if (!a->good || !b->good) return a->good;
    if (a->root != b->root) return b->root;
    return a->device != b->device && a->free_bytes > b->free_bytes;
}

/* Where the user wants what is temporary. */
static const char *temporary_folder(void) {
    const char *folder = getenv("TMPDIR");
    return folder && *folder ? folder : NULL;
}

thaw_status thaw_disks_choose(const char *base, thaw_arena *arena, const char **folder,
                              thaw_error *err) {
    struct stat root;
    const char *temporary = temporary_folder();
    if (!temporary) temporary = "/tmp";
    if (stat("/", &root) != 0)
        return thaw_fail(err, THAW_ERR_IO, "cannot look at /: %s", strerror(errno));
    place first = look_at(base, root.st_dev), second = look_at(temporary, root.st_dev);
    const place *best = is_better(&second, &first) ? &second : &first;
    /* Memory is the last resort; what is made there says so when it is full. */
    *folder = thaw_file_join(arena, best->good ? best->path : temporary, "thaw.work");
    if (!*folder) return thaw_fail_memory(err, "for the path of the job's own files");
    return thaw_file_make_folders(*folder, err);
}

thaw_status thaw_disks_temporary(thaw_arena *arena, const char **folder, thaw_error *err) {
    const char *parent = temporary_folder();
    if (!parent) {
        place first = look_at("/tmp", 0), second = look_at("/var/tmp", 0);
        parent = is_better(&second, &first) ? second.path : first.path;
    }
    char *name = thaw_arena_printf(arena, "%s/thaw-try-XXXXXX", parent);
    if (!name) return thaw_fail_memory(err, "for a path");
    if (!mkdtemp(name))
        return thaw_fail(err, THAW_ERR_IO,
                         "cannot make a folder in %s: %s; set TMPDIR to one with room", parent,
                         strerror(errno));
    *folder = name;
    return THAW_OK;
}
