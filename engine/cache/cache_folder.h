/* The folder of a trunk, and who may write to it. */
#ifndef THAW_CACHE_FOLDER_H
#define THAW_CACHE_FOLDER_H

#include <stdbool.h>

#include "status.h"

/* A folder that this process uses. */
typedef struct thaw__cache_folder {
    int dir;        /* -1: there is none. */
    int lock;       /* Held while the folder is in use; -1: it cannot be, see read_only. */
    bool shared;    /* Others may write to it, on purpose. */
    bool read_only; /* Nothing can be written, so that nobody need be kept out. */
} thaw__cache_folder;

enum { THAW__CACHE_PATH = 4096 };

/* Makes ROOT and the trunk's folder path in it where they are missing, checks whose they are, and
 * locks the trunk's as in use. ERR_IO, ERR_USAGE, ERR_SYSTEM. */
thaw_status thaw__folder_enter(const char *root, bool shared, const char *path,
                               thaw__cache_folder *folder, thaw_error *err);
void thaw__folder_leave(thaw__cache_folder *folder);

/* Opens name in the folder dir, a regular file: what somebody planted there, a link or a pipe, is
 * not followed and does not block. flags as for open; a new file is for this user alone to write,
 * unless shared. -1 with errno. */
int thaw__folder_open_file(int dir, const char *name, int flags, bool shared);

/* Whether errno says that the place can be read but not written. */
bool thaw__folder_cannot_write(int code);

#endif
