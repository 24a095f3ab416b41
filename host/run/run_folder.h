/* The folder of a run while it is written: it appears whole, by rename, or not at all. */
#ifndef THAW_RUN_FOLDER_H
#define THAW_RUN_FOLDER_H

#include <stdbool.h>

#include "arena.h"
#include "status.h"

/* A run that is being written. All zero: none. */
typedef struct thaw_run_folder {
    const char *partial;      /* RUN.partial, in which it is written; NULL: none. */
    const char *base, *older; /* RUN and RUN~. */
    int lock;                 /* On RUN.partial: two programs must not write into one. */
} thaw_run_folder;

/* Makes RUN.partial, empty. Its texts live in the arena.
 * ERR_IO: no permission, or another program is writing this run. ERR_USAGE: RUN is something else than a
 * run, or RUN~ or RUN.partial, which will be emptied, hold something that Thaw did not write; nothing
 * is touched then. */
thaw_status thaw_run_begin(const char *run, thaw_arena *arena, thaw_run_folder *folder,
                           thaw_error *err);

/* Removes RUN.partial, if there is one; keep_rejected: but for its table of rejected pictures. */
void thaw_run_abandon(thaw_run_folder *folder, bool keep_rejected);

/* RUN.partial becomes RUN. An older RUN becomes RUN~, in place of an older one that is removed, and
 * `older` its path (otherwise NULL); what the user has put into it moves on into the new RUN. On an
 * error it can still be abandoned. */
thaw_status thaw_run_finish(thaw_run_folder *folder, const char **older, thaw_error *err);

#endif
