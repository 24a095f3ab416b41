#include "picture_file.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "decoder.h"
#include "file.h"
#include "recordio.h"
#include "tar_file.h"

/* Below a file lies nothing but what is in it, so that no other picture is called so: FILE, the slash behind it
 * and a number. */
static bool find_begin(const char *path, const char *slash, char file[PATH_MAX], uint64_t *begin) {
    struct stat info;
    char *end;
    if (slash[1] < '0' || slash[1] > '9') return false;
    if (snprintf(file, PATH_MAX, "%.*s", (int)(slash - path), path) >= PATH_MAX) return false;
    errno = 0;
    *begin = strtoull(slash + 1, &end, 10);
    return (!*end || *end == '/') && errno == 0 && stat(file, &info) == 0 && S_ISREG(info.st_mode);
}

static bool find_record(const char *path, char file[PATH_MAX], uint64_t *begin) {
    const char *slash = strrchr(path, '/');
    return slash && find_begin(path, slash, file, begin);
}

/* Finds FILE.tar/BYTE or FILE.tar/BYTE/MEMBER; *member NULL: it has no name. */
static bool find_member(const char *path, char file[PATH_MAX], uint64_t *begin,
                        const char **member) {
    for (const char *slash = path; (slash = strchr(slash, '/')); slash++) {
        if (slash - path < 4 || strncasecmp(slash - 4, ".tar", 4) != 0) continue;
        if (!find_begin(path, slash, file, begin)) continue;
        *member = strchr(slash + 1, '/');
        *member = *member ? *member + 1 : NULL;
        return true;
    }
    return false;
}

thaw_status thaw_picture_read(const char *path, thaw_arena *arena, char **bytes, size_t *n,
                              thaw_error *err) {
    char file[PATH_MAX];
    const char *member;
    uint64_t begin;
    if (find_member(path, file, &begin, &member))
        return thaw_tar_read(file, begin, member, THAW_PICTURE_MOST_BYTES, arena, bytes, n, err);
    return find_record(path, file, &begin)
               ? thaw_record_read(file, begin, THAW_PICTURE_MOST_BYTES, arena, bytes, n, err)
               : thaw_file_read(path, THAW_PICTURE_MOST_BYTES, arena, bytes, n, err);
}
