#include "scan.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "text.h"

enum { CHUNK_BYTES = 32 * 1024 };

/* A folder on the way down; a link back to one of them would never end. */
typedef struct level {
    const struct level *above;
    dev_t device;
    ino_t inode;
} level;

/* The path that a scan has reached. */
typedef struct walk {
    thaw_scan *scan;
    thaw_error *err;
    size_t root_bytes;   /* Of the first folder and its slash. */
    size_t bytes;        /* Of path. */
    char path[PATH_MAX]; /* The folder being read, or an entry of it. */
} walk;

typedef enum entry_kind { ENTRY_FILE, ENTRY_FOLDER, ENTRY_OTHER } entry_kind;

static bool in_list(const char *name, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!strcasecmp(name, list[i])) return true;
    return false;
}

/* Names that file managers and systems leave behind. */
static bool is_ignored(const char *name) {
    static const char *const names[] = {"__MACOSX",     "Thumbs.db",  "ehthumbs.db", "desktop.ini",
                                        "$RECYCLE.BIN", "lost+found", "@eaDir"};
    return name[0] == '.' || in_list(name, names, sizeof names / sizeof *names);
}

static bool is_no_picture(const char *name) {
    static const char *const extensions[] = {
        "txt", "csv",  "tsv", "json", "jsonl", "xml",  "yaml", "yml",  "md",    "html",
        "htm", "css",  "js",  "ini",  "cfg",   "toml", "log",  "py",   "ipynb", "sh",
        "npy", "npz",  "pkl", "mat",  "h5",    "pt",   "pth",  "onnx", "lst",   "rec",
        "idx", "db",   "zip", "tar",  "gz",    "bz2",  "xz",   "7z",   "rar",   "pdf",
        "doc", "docx", "xls", "xlsx", "mp4",   "mov",  "avi",  "mp3",  "wav"};
    const char *point = strrchr(name, '.');
    return point && in_list(point + 1, extensions, sizeof extensions / sizeof *extensions);
}

static thaw_status fail_read(const walk *w, int code) {
    return thaw_fail(w->err, THAW_ERR_IO, "cannot read the folder '%.600s': %s", w->path,
                     strerror(code));
}

/* Makes w->path the entry called name of the folder with that many bytes. */
static thaw_status step_into(walk *w, size_t folder_bytes, const char *name) {
    size_t n = strlen(name);
    w->path[w->bytes = folder_bytes] = '\0';
    if (folder_bytes + 1 + n >= sizeof w->path) return fail_read(w, ENAMETOOLONG);
    w->path[folder_bytes] = '/';
    memcpy(w->path + folder_bytes + 1, name, n + 1);
    w->bytes = folder_bytes + 1 + n;
    return THAW_OK;
}

static entry_kind find_kind(int folder, const struct dirent *entry) {
    if (entry->d_type == DT_REG) return ENTRY_FILE;
    if (entry->d_type == DT_DIR) return ENTRY_FOLDER;
    struct stat info;
    /* A dangling link: whoever reads the picture finds the words. */
    if (fstatat(folder, entry->d_name, &info, 0) != 0) return ENTRY_FILE;
    if (S_ISREG(info.st_mode)) return ENTRY_FILE;
    return S_ISDIR(info.st_mode) ? ENTRY_FOLDER : ENTRY_OTHER;
}

static bool is_loop(const level *here) {
    for (const level *l = here->above; l; l = l->above)
        if (l->device == here->device && l->inode == here->inode) return true;
    return false;
}

/* A packed copy of n bytes and a NUL; NULL when memory is short. */
static const char *pack(thaw_scan *scan, const char *text, size_t n) {
    if (n + 1 > scan->chunk_left) {
        size_t size = n + 1 > CHUNK_BYTES ? n + 1 : CHUNK_BYTES;
        scan->chunk = thaw_arena_alloc(scan->arena, size);
        scan->chunk_left = scan->chunk ? size : 0;
        if (!scan->chunk) return NULL;
    }
    char *copy = memcpy(scan->chunk, text, n + 1);
    scan->chunk += n + 1;
    scan->chunk_left -= n + 1;
    return copy;
}

static bool has_room(thaw_scan *scan) {
    if (scan->n < scan->capacity) return true;
    size_t capacity = scan->capacity ? 2 * scan->capacity : 256;
    const char **names = realloc(scan->names, capacity * sizeof *names);
    if (!names) return false;
    scan->names = names;
    scan->capacity = capacity;
    return true;
}

/* Lists w->path, without the first folder. */
static thaw_status list_path(walk *w) {
    thaw_scan *scan = w->scan;
    const char *name = NULL;
    if (has_room(scan)) name = pack(scan, w->path + w->root_bytes, w->bytes - w->root_bytes);
    if (!name) return thaw_fail_memory(w->err, "for the names of the files");
    scan->names[scan->n++] = name;
    return THAW_OK;
}

/* Calls visit for every entry that is not ignored, with w->path set to it. */
static thaw_status each_entry(walk *w, DIR *folder, const level *here,
                              thaw_status (*visit)(walk *, entry_kind, const level *)) {
    size_t folder_bytes = w->bytes;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(folder);
        if (!entry && errno) {
            w->path[folder_bytes] = '\0';
            return fail_read(w, errno);
        }
        if (!entry) return THAW_OK;
        if (is_ignored(entry->d_name)) continue;
        THAW_TRY(step_into(w, folder_bytes, entry->d_name));
        THAW_TRY(visit(w, find_kind(dirfd(folder), entry), here));
    }
}

/* Reads the folder at w->path, unless it is one of those above. */
static thaw_status read_folder(walk *w, const level *above,
                               thaw_status (*visit)(walk *, entry_kind, const level *)) {
    DIR *folder = opendir(w->path);
    if (!folder) return fail_read(w, errno);
    struct stat info;
    thaw_status status = THAW_OK;
    if (fstat(dirfd(folder), &info) != 0) {
        status = fail_read(w, errno);
    } else {
        level here = {above, info.st_dev, info.st_ino};
        if (is_loop(&here))
            w->scan->n_loops++;
        else
            status = each_entry(w, folder, &here, visit);
    }
    closedir(folder);
    return status;
}

static thaw_status visit_for_folders(walk *w, entry_kind kind, const level *here) {
    (void)here;
    if (kind == ENTRY_FOLDER) return list_path(w);
    w->scan->n_skipped++;
    return THAW_OK;
}

static thaw_status visit_for_files(walk *w, entry_kind kind, const level *here) {
    if (kind == ENTRY_FOLDER) return read_folder(w, here, visit_for_files);
    if (kind == ENTRY_FILE && !is_no_picture(strrchr(w->path, '/') + 1)) return list_path(w);
    w->scan->n_skipped++;
    return THAW_OK;
}

static int compare_names(const void *a, const void *b) {
    return thaw_text_natural(*(const char *const *)a, *(const char *const *)b);
}

static thaw_status scan_folder(thaw_scan *scan, const char *folder, thaw_error *err,
                               thaw_status (*visit)(walk *, entry_kind, const level *)) {
    walk w = {.scan = scan, .err = err, .bytes = strlen(folder)};
    scan->n = scan->n_skipped = scan->n_loops = 0;
    if (w.bytes >= sizeof w.path)
        return thaw_fail(err, THAW_ERR_IO, "cannot read the folder '%.600s': %s", folder,
                         strerror(ENAMETOOLONG));
    memcpy(w.path, folder, w.bytes + 1);
    w.root_bytes = w.bytes + 1;
    THAW_TRY(read_folder(&w, NULL, visit));
    if (scan->n) qsort(scan->names, scan->n, sizeof *scan->names, compare_names);
    return THAW_OK;
}

thaw_status thaw_scan_folders(thaw_scan *scan, const char *folder, thaw_error *err) {
    return scan_folder(scan, folder, err, visit_for_folders);
}

thaw_status thaw_scan_files(thaw_scan *scan, const char *folder, thaw_error *err) {
    return scan_folder(scan, folder, err, visit_for_files);
}

void thaw_scan_free(thaw_scan *scan) {
    free(scan->names);
    scan->names = NULL;
    scan->n = scan->capacity = 0;
}
