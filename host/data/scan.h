/* Reads a tree of folders for the dataset: which names count, in which order. */
#ifndef THAW_SCAN_H
#define THAW_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "status.h"

/* A folder as the system knows it, by whatever path. */
typedef struct thaw_folder_id {
    uint64_t device, inode;
} thaw_folder_id;

/* One scan after the other. Start: {.arena = where the names go}. Only the lists are the scan's
 * own.
 *
 * A folder is read once, however many links lead to it: what stands in it belongs to the first that
 * gets there, and the folders that thaw_scan_folders lists belong to nobody but themselves. */
typedef struct thaw_scan {
    thaw_arena *arena;
    const volatile int *stop; /* Becomes non-zero: a scan ends with ERR_INTERRUPTED. NULL: never. */
    const char **names;       /* [n], in natural order, until the next scan; the strings stay. */
    size_t n, capacity;
    size_t n_skipped;     /* Files that are no pictures, by their extension or by their kind. */
    size_t n_again;       /* Links to a folder that is read elsewhere. */
    thaw_folder_id *seen; /* [seen_size], a hash table; a place with inode 0 is free. */
    size_t n_seen, seen_size;
} thaw_scan;

/* Lists the folders in folder, and forgets which folders were read before. Files beside them count
 * as skipped. THAW_ERR_IO with the system's reason; THAW_ERR_DATA when two are one folder;
 * THAW_ERR_INTERRUPTED. */
thaw_status thaw_scan_folders(thaw_scan *scan, const char *folder, thaw_error *err);

/* Lists the files below folder at any depth, as paths relative to it, but for folders that are read
 * already. A file whose kind cannot be found out is listed: reading it will say why. THAW_ERR_IO;
 * THAW_ERR_INTERRUPTED. */
thaw_status thaw_scan_files(thaw_scan *scan, const char *folder, thaw_error *err);

/* Whether a file that is called so may be a picture: by its extension, and none whose name or whose folder's
 * begins with a point. */
bool thaw_scan_takes(const char *path);

/* Frees the lists. */
void thaw_scan_free(thaw_scan *scan);

#endif
