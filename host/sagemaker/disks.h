/* Which disk a job's own files go to. The one of the container's root is small on every instance type,
 * what SageMaker mounts is not, and /dev/shm is no disk at all. */
#ifndef THAW_DISKS_H
#define THAW_DISKS_H

#include "arena.h"
#include "log.h"
#include "status.h"

/* Says what is free at each place that a job writes to or reads from. */
void thaw_disks_say(const char *base, thaw_log *log);

/* The folder for the job's own files, on the largest disk that can be written to, of BASE and $TMPDIR or
 * /tmp; that of the root only if there is no other. It is made. Lives in the arena. ERR_IO: none can be
 * written to. */
thaw_status thaw_disks_choose(const char *base, thaw_arena *arena, const char **folder,
                              thaw_error *err);

/* Makes a new folder for what is gone afterwards, in $TMPDIR, or else in /tmp or /var/tmp, on the larger disk
 * and not in memory. Lives in the arena. ERR_IO. */
thaw_status thaw_disks_temporary(thaw_arena *arena, const char **folder, thaw_error *err);

#endif
