/* Reads a tree of folders for the dataset: which names count, in which order. */
#ifndef THAW_SCAN_H
#define THAW_SCAN_H

#include <stddef.h>

#include "arena.h"
#include "status.h"

/* One scan after the other. Start: {.arena = where the names go}. Names are packed, since there may
 * be millions; only the list of them is the scan's own. */
typedef struct thaw_scan {
    thaw_arena *arena;
    const char **names; /* [n], in natural order, until the next scan; the strings stay. */
    size_t n, capacity;
    size_t n_skipped; /* Files that are no pictures, by their extension or by their kind. */
    size_t n_loops;   /* Links to a folder that they stand in. */
    char *chunk;      /* Room for the next names. */
    size_t chunk_left;
} thaw_scan;

/* Lists the folders in folder. Files beside them count as skipped. THAW_ERR_IO with the system's
 * reason. */
thaw_status thaw_scan_folders(thaw_scan *scan, const char *folder, thaw_error *err);

/* Lists the files below folder at any depth, as paths relative to it. A file whose kind cannot be
 * found out is listed: reading it will say why. THAW_ERR_IO. */
thaw_status thaw_scan_files(thaw_scan *scan, const char *folder, thaw_error *err);

/* Frees the list. */
void thaw_scan_free(thaw_scan *scan);

#endif
