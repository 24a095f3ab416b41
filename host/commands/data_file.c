#include "data_file.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void thaw_data_file(const char *name, char *path, size_t size) {
    char program[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    program[n > 0 ? n : 0] = 0;
    char *slash = strrchr(program, '/');
    if (slash) *slash = 0;
    int needed = snprintf(path, size, "%s/../share/thaw/%s", program, name);
    if (needed < 0 || (size_t)needed >= size || access(path, R_OK) != 0)
        snprintf(path, size, "%s/%s", THAW_DATA_DIR, name);
}
