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

/* Names that file managers and systems leave behind, and what tells whose pictures they are. */
static bool is_ignored(const char *name) {
    static const char *const names[] = {"__MACOSX",    "Thumbs.db",    "ehthumbs.db",
                                        "desktop.ini", "$RECYCLE.BIN", "lost+found",
                                        "@eaDir",      "LICENSE",      "LICENSE.txt"};
    return name[0] == '.' || in_list(name, names, sizeof names / sizeof *names);
}

/* By its extension; what stands beside pictures in shards for WebDataset is no picture, either. */
static bool is_no_picture(const char *name) {
    static const char *const extensions[] = {
        "txt", "csv", "tsv", "json", "jsonl", "xml",  "yaml", "yml",   "md",   "html", "htm",
        "css", "js",  "ini", "cfg",  "toml",  "log",  "py",   "ipynb", "sh",   "npy",  "npz",
        "pkl", "mat", "h5",  "pt",   "pth",   "onnx", "lst",  "rec",   "idx",  "db",   "zip",
        "tar", "gz",  "bz2", "xz",   "7z",    "rar",  "pdf",  "doc",   "docx", "xls",  "xlsx",
        "mp4", "mov", "avi", "mp3",  "wav",   "cls",  "id",   "pyd",   "tgz",  "zst",  "manifest"};
    const char *point = strrchr(name, '.');
    return point && in_list(point + 1, extensions, sizeof extensions / sizeof *extensions);
}

bool thaw_scan_takes(const char *path) {
    const char *part = path;
    for (const char *slash; *part != '.' && (slash = strchr(part, '/'));)
        part = slash + 1;
    return !is_ignored(part) && !is_no_picture(part);
}

static thaw_status fail_read(const walk *w, int code) {
    if (code == ENOTDIR)
        return thaw_fail(
            w->err, THAW_ERR_IO,
            "'%.600s' is a file: expected a folder with one sub-folder of pictures for "
            "each class",
            w->path);
    if (code == ENOENT)
        return thaw_fail(
            w->err, THAW_ERR_IO,
            "there is no '%.600s': expected a folder with one sub-folder of pictures "
            "for each class, a list of pictures, or a .rec or .tar file%s",
            w->path,
            strchr(w->path, '\\') ? "; here the parts of a path have / between them, not \\" : "");
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

/* ---- folders that were seen ----------------------------------------------------------------- */

/* Where id stands in the table, or the free place where it belongs. */
static thaw_folder_id *find_seen(const thaw_scan *scan, thaw_folder_id id) {
    size_t at = (size_t)((id.inode ^ id.device << 32) * 0x9e3779b97f4a7c15);
    for (;; at++) {
        thaw_folder_id *place = &scan->seen[at & (scan->seen_size - 1)];
        if (!place->inode || (place->inode == id.inode && place->device == id.device)) return place;
    }
}

/* Makes room for one more: the table is at most half full, its size a power of two. */
static bool grow_seen(thaw_scan *scan) {
    if (2 * (scan->n_seen + 1) <= scan->seen_size) return true;
    thaw_scan bigger = {.seen_size = scan->seen_size ? 2 * scan->seen_size : 64};
    bigger.seen = calloc(bigger.seen_size, sizeof *bigger.seen);
    if (!bigger.seen) return false;
    for (size_t i = 0; i < scan->seen_size; i++)
        if (scan->seen[i].inode) *find_seen(&bigger, scan->seen[i]) = scan->seen[i];
    free(scan->seen);
    scan->seen = bigger.seen;
    scan->seen_size = bigger.seen_size;
    return true;
}

static void forget_seen(thaw_scan *scan) {
    scan->n_seen = 0;
    if (scan->seen) memset(scan->seen, 0, scan->seen_size * sizeof *scan->seen);
}

/* Adds the folder of info to those seen; *is_new tells whether it was not among them. */
static thaw_status see(const walk *w, const struct stat *info, bool *is_new) {
    thaw_scan *scan = w->scan;
    thaw_folder_id id = {.device = info->st_dev, .inode = info->st_ino};
    if (!grow_seen(scan)) return thaw_fail_memory(w->err, "for the list of folders");
    thaw_folder_id *place = find_seen(scan, id);
    *is_new = !place->inode;
    scan->n_seen += *is_new;
    *place = id;
    return THAW_OK;
}

/* ---- reading -------------------------------------------------------------------------------- */

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
    if (has_room(scan))
        name = thaw_arena_pack(scan->arena, w->path + w->root_bytes, w->bytes - w->root_bytes);
    if (!name) return thaw_fail_memory(w->err, "for the names of the files");
    scan->names[scan->n++] = name;
    return THAW_OK;
}

static thaw_status fail_stopped(const walk *w) {
    return thaw_fail(w->err, THAW_ERR_INTERRUPTED, "stopped by a signal while reading '%.600s'",
                     w->path);
}

/* Calls visit for every entry that is not ignored, with w->path set to it. */
static thaw_status each_entry(walk *w, DIR *folder, thaw_status (*visit)(walk *, entry_kind)) {
    size_t folder_bytes = w->bytes;
    for (;;) {
        if (w->scan->stop && *w->scan->stop) return fail_stopped(w);
        errno = 0;
        const struct dirent *entry = readdir(folder);
        if (!entry && errno) {
            w->path[folder_bytes] = '\0';
            return fail_read(w, errno);
        }
        if (!entry) return THAW_OK;
        if (is_ignored(entry->d_name)) continue;
        THAW_TRY(step_into(w, folder_bytes, entry->d_name));
        THAW_TRY(visit(w, find_kind(dirfd(folder), entry)));
    }
}

/* Reads the folder at w->path; one that was seen before only if it is the first of the scan, which
 * thaw_scan_folders has listed. */
static thaw_status read_folder(walk *w, bool is_first, thaw_status (*visit)(walk *, entry_kind)) {
    DIR *folder = opendir(w->path);
    if (!folder) return fail_read(w, errno);
    struct stat info;
    bool is_new = false;
    thaw_status status = THAW_OK;
    if (fstat(dirfd(folder), &info) != 0)
        status = fail_read(w, errno);
    else
        status = see(w, &info, &is_new);
    if (status == THAW_OK) {
        if (is_new || is_first)
            status = each_entry(w, folder, visit);
        else
            w->scan->n_again++;
    }
    closedir(folder);
    return status;
}

static thaw_status visit_for_folders(walk *w, entry_kind kind) {
    if (kind == ENTRY_FOLDER) return list_path(w);
    w->scan->n_skipped++;
    return THAW_OK;
}

static thaw_status visit_for_files(walk *w, entry_kind kind) {
    if (kind == ENTRY_FOLDER) return read_folder(w, false, visit_for_files);
    if (kind == ENTRY_FILE && !is_no_picture(strrchr(w->path, '/') + 1)) return list_path(w);
    w->scan->n_skipped++;
    return THAW_OK;
}

static int compare_names(const void *a, const void *b) {
    return thaw_text_natural(*(const char *const *)a, *(const char *const *)b);
}

static thaw_status scan_folder(thaw_scan *scan, walk *w, const char *folder,
                               thaw_status (*visit)(walk *, entry_kind)) {
    scan->n = scan->n_skipped = scan->n_again = 0;
    w->scan = scan;
    w->bytes = strlen(folder);
    if (w->bytes >= sizeof w->path)
        return thaw_fail(w->err, THAW_ERR_IO, "cannot read the folder '%.600s': %s", folder,
                         strerror(ENAMETOOLONG));
    memcpy(w->path, folder, w->bytes + 1);
    w->root_bytes = w->bytes + 1;
    THAW_TRY(read_folder(w, true, visit));
    if (scan->n) qsort(scan->names, scan->n, sizeof *scan->names, compare_names);
    return THAW_OK;
}

/* Finds the one of the first n names that is the same folder as w->path, called name. */
static thaw_status fail_same(walk *w, size_t n, const char *name) {
    const thaw_scan *scan = w->scan;
    struct stat one, other;
    if (stat(w->path, &one) != 0) return fail_read(w, errno);
    for (size_t i = 0; i < n; i++) {
        THAW_TRY(step_into(w, w->root_bytes - 1, scan->names[i]));
        if (stat(w->path, &other) != 0 || one.st_dev != other.st_dev || one.st_ino != other.st_ino)
            continue;
        w->path[w->root_bytes - 1] = '\0';
        return thaw_fail(
            w->err, THAW_ERR_DATA,
            "'%.200s' and '%.200s' in '%.400s' are one folder, and a picture cannot be "
            "of two classes: remove the link",
            scan->names[i], name, w->path);
    }
    return THAW_OK; /* It changed meanwhile. */
}

/* Drops links to the scanned folder itself; what stays belongs to nobody else. */
static thaw_status reserve_folders(walk *w) {
    thaw_scan *scan = w->scan;
    struct stat root, info;
    size_t n = 0;
    w->path[w->root_bytes - 1] = '\0';
    if (stat(w->path, &root) != 0) return fail_read(w, errno);
    for (size_t i = 0; i < scan->n; i++) {
        bool is_new;
        THAW_TRY(step_into(w, w->root_bytes - 1, scan->names[i]));
        if (stat(w->path, &info) != 0) return fail_read(w, errno);
        bool is_root = info.st_dev == root.st_dev && info.st_ino == root.st_ino;
        THAW_TRY(see(w, &info, &is_new));
        if (is_root)
            scan->n_again++;
        else if (!is_new)
            THAW_TRY(fail_same(w, n, scan->names[i]));
        else
            scan->names[n++] = scan->names[i];
    }
    scan->n = n;
    return THAW_OK;
}

thaw_status thaw_scan_folders(thaw_scan *scan, const char *folder, thaw_error *err) {
    walk w = {.err = err};
    forget_seen(scan);
    THAW_TRY(scan_folder(scan, &w, folder, visit_for_folders));
    return reserve_folders(&w);
}

thaw_status thaw_scan_files(thaw_scan *scan, const char *folder, thaw_error *err) {
    walk w = {.err = err};
    return scan_folder(scan, &w, folder, visit_for_files);
}

void thaw_scan_free(thaw_scan *scan) {
    free(scan->names);
    free(scan->seen);
    scan->names = NULL;
    scan->seen = NULL;
    scan->n = scan->capacity = scan->n_seen = scan->seen_size = 0;
}
