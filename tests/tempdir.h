/* A folder for the files of a test, under $TMPDIR or /tmp. Failures end the test. */
#ifndef TEMPDIR_H
#define TEMPDIR_H

#include <ftw.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct tempdir {
    char root[128];
} tempdir;

static inline void tempdir_check(int ok, const char *what) {
    if (ok) return;
    perror(what);
    abort();
}

static inline tempdir tempdir_make(void) {
    tempdir t;
    const char *base = getenv("TMPDIR");
    snprintf(t.root, sizeof t.root, "%s/thaw-test-XXXXXX", base ? base : "/tmp");
    tempdir_check(mkdtemp(t.root) != NULL, t.root);
    tempdir_check(chmod(t.root, 0755) == 0, t.root);
    return t;
}

static inline int tempdir_remove_one(const char *path, const struct stat *info, int kind,
                                     struct FTW *walk) {
    (void)info, (void)kind, (void)walk;
    return remove(path);
}

static inline void tempdir_remove(tempdir *t) {
    nftw(t->root, tempdir_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Writes the path of name inside the folder to path. */
static inline const char *tempdir_path(const tempdir *t, const char *name, char path[PATH_MAX]) {
    tempdir_check(snprintf(path, PATH_MAX, "%s/%s", t->root, name) < PATH_MAX, name);
    return path;
}

/* Makes a folder and those above it. */
static inline void tempdir_folder(const tempdir *t, const char *name) {
    char path[PATH_MAX];
    tempdir_path(t, name, path);
    for (char *slash = path + strlen(t->root) + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
        *slash = '\0';
        mkdir(path, 0755);
    }
    mkdir(path, 0755);
    tempdir_check(access(path, F_OK) == 0, path);
}

/* Makes a file with this text, and the folders above it. */
static inline void tempdir_file(const tempdir *t, const char *name, const char *text) {
    char path[PATH_MAX], above[PATH_MAX];
    snprintf(above, sizeof above, "%s", name);
    char *slash = strrchr(above, '/');
    if (slash) {
        *slash = '\0';
        tempdir_folder(t, above);
    }
    FILE *f = fopen(tempdir_path(t, name, path), "w");
    tempdir_check(f != NULL, path);
    fputs(text, f);
    tempdir_check(fclose(f) == 0, path);
}

#endif
