#include "picture_file.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "decoder.h"
#include "file.h"
#include "recordio.h"

/* Below a file lies nothing but records, so that no other picture is called so. */
static bool find_record(const char *path, char file[PATH_MAX], uint64_t *begin) {
    const char *slash = strrchr(path, '/');
    struct stat info;
    char *end;
    if (!slash || !slash[1] || slash[1 + strspn(slash + 1, "0123456789")]) return false;
    if (snprintf(file, PATH_MAX, "%.*s", (int)(slash - path), path) >= PATH_MAX) return false;
    errno = 0;
    *begin = strtoull(slash + 1, &end, 10);
    return errno == 0 && stat(file, &info) == 0 && S_ISREG(info.st_mode);
}

thaw_status thaw_picture_read(const char *path, thaw_arena *arena, char **bytes, size_t *n,
                              thaw_error *err) {
    char file[PATH_MAX];
    uint64_t begin;
    return find_record(path, file, &begin)
               ? thaw_record_read(file, begin, THAW_PICTURE_MOST_BYTES, arena, bytes, n, err)
               : thaw_file_read(path, THAW_PICTURE_MOST_BYTES, arena, bytes, n, err);
}
