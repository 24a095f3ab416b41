#include "checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file.h"

enum { MOST_PIECES = 16 };

/* What a file begins with; its checksum covers all behind it. */
typedef struct head {
    char magic[8];
    thaw_hash checksum;
    thaw_checkpoint_key key;
    uint64_t n, bytes[MOST_PIECES];
} head;

static const char MAGIC[8] = "THAWCKP1";

static thaw_hash sum_of(const head *h, const thaw_piece *pieces, int n) {
    thaw_hash sum = thaw_hash_bytes((thaw_hash){0}, &h->key, sizeof *h - offsetof(head, key));
    for (int i = 0; i < n; i++)
        sum = thaw_hash_bytes(sum, pieces[i].data, pieces[i].bytes);
    return sum;
}

/* The one before: NAME~. */
static bool older(const char *path, char to[PATH_MAX]) {
    return snprintf(to, PATH_MAX, "%s~", path) < PATH_MAX;
}

thaw_status thaw_checkpoint_write(const char *path, const thaw_checkpoint_key *key,
                                  const thaw_piece *pieces, int n, thaw_error *err) {
    head h = {.key = *key, .n = (uint64_t)n};
    char before[PATH_MAX];
    thaw_new_file file;
    memcpy(h.magic, MAGIC, sizeof MAGIC);
    for (int i = 0; i < n; i++)
        h.bytes[i] = pieces[i].bytes;
    h.checksum = sum_of(&h, pieces, n);
    if (!older(path, before))
        return thaw_fail(err, THAW_ERR_IO, "checkpoint.dir: the path %s is too long", path);
    THAW_TRY(thaw_file_begin(&file, path, err));
    bool good = fwrite(&h, sizeof h, 1, file.stream) == 1;
    for (int i = 0; i < n && good; i++)
        good = !pieces[i].bytes || fwrite(pieces[i].data, pieces[i].bytes, 1, file.stream) == 1;
    if (!good) {
        int code = errno;
        thaw_file_abandon(&file);
        return thaw_fail(err, THAW_ERR_IO, "cannot write the checkpoint %s: %s", path,
                         strerror(code));
    }
    if (access(path, F_OK) == 0 && rename(path, before) != 0) {
        int code = errno;
        thaw_file_abandon(&file);
        return thaw_fail(err, THAW_ERR_IO, "cannot keep the checkpoint %s as %s: %s", path, before,
                         strerror(code));
    }
    return thaw_file_finish(&file, err);
}

static thaw_status check_key(const char *path, const thaw_checkpoint_key *have,
                             const thaw_checkpoint_key *want, thaw_error *err) {
    const char *what = !thaw_hash_equal(have->model, want->model)       ? "model or cut"
                       : !thaw_hash_equal(have->data, want->data)       ? "set of pictures"
                       : !thaw_hash_equal(have->options, want->options) ? "set of options"
                                                                        : NULL;
    if (!what) return THAW_OK;
    return thaw_fail(
        err, THAW_ERR_MISMATCH,
        "%s is a checkpoint of another %s than this run's: give what it was made with, or "
        "leave --resume out",
        path, what);
}

/* Reads the file whole; false when it is not there or damaged. n pieces, of sizes that it must have; more
 * than it has been asked for are read over. */
static bool read_file(const char *path, head *h, const thaw_piece *pieces, int n) {
    FILE *file = fopen(path, "rbe");
    if (!file) return false;
    bool good = fread(h, sizeof *h, 1, file) == 1 && memcmp(h->magic, MAGIC, sizeof MAGIC) == 0 &&
                h->n <= MOST_PIECES && (uint64_t)n <= h->n;
    thaw_hash sum = {0};
    if (good) sum = thaw_hash_bytes(sum, &h->key, sizeof *h - offsetof(head, key));
    for (uint64_t i = 0; i < h->n && good; i++) {
        bool wanted = i < (uint64_t)n;
        if (wanted && h->bytes[i] != pieces[i].bytes) good = false;
        /* A damaged size would ask for any amount of memory. */
        long at = ftell(file);
        good = good && fseek(file, 0, SEEK_END) == 0 && at >= 0 &&
               h->bytes[i] <= (uint64_t)(ftell(file) - at) && fseek(file, at, SEEK_SET) == 0;
        void *to = !good ? NULL : wanted ? pieces[i].data : malloc((size_t)h->bytes[i] + 1);
        good = good && to && (!h->bytes[i] || fread(to, (size_t)h->bytes[i], 1, file) == 1);
        if (good) sum = thaw_hash_bytes(sum, to, (size_t)h->bytes[i]);
        if (!wanted) free(to);
    }
    fclose(file);
    return good && thaw_hash_equal(sum, h->checksum);
}

/* From the newest whole file; *found: there is one. */
static thaw_status read_newest(const char *path, const thaw_checkpoint_key *key,
                               const thaw_piece *pieces, int n, bool *found, thaw_error *err) {
    char before[PATH_MAX];
    const char *paths[] = {path, older(path, before) ? before : path};
    *found = false;
    for (int i = 0; i < 2; i++) {
        head h;
        if (!read_file(paths[i], &h, pieces, n)) continue;
        *found = true;
        return check_key(paths[i], &h.key, key, err);
    }
    return THAW_OK;
}

thaw_status thaw_checkpoint_peek(const char *path, const thaw_checkpoint_key *key, thaw_piece first,
                                 bool *found, thaw_error *err) {
    return read_newest(path, key, &first, 1, found, err);
}

thaw_status thaw_checkpoint_read(const char *path, const thaw_checkpoint_key *key,
                                 const thaw_piece *pieces, int n, thaw_error *err) {
    bool found;
    THAW_TRY(read_newest(path, key, pieces, n, &found, err));
    if (found) return THAW_OK;
    return thaw_fail(err, THAW_ERR_FORMAT,
                     "%s is damaged, and so is the one before it: leave --resume out", path);
}

/* What a killed run was writing; all: the two checkpoints, too. */
static void tidy(const char *path, bool all) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    size_t n = strlen(name);
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        const char *rest = entry->d_name + n;
        if (strncmp(entry->d_name, name, n) != 0) continue;
        bool whole = !*rest || strcmp(rest, "~") == 0;
        if ((whole && all) || strncmp(rest, ".tmp", 4) == 0) unlinkat(dirfd(dir), entry->d_name, 0);
    }
    if (dir) closedir(dir);
}

bool thaw_checkpoint_exists(const char *path) {
    char before[PATH_MAX];
    return access(path, F_OK) == 0 || (older(path, before) && access(before, F_OK) == 0);
}

void thaw_checkpoint_tidy(const char *path) {
    tidy(path, false);
}

void thaw_checkpoint_remove(const char *path) {
    tidy(path, true);
}
