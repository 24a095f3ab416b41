/* What this process may use of the machine: a container or a batch system may allow it less than
 * there is, and ends what takes more. */
#ifndef THAW_MACHINE_H
#define THAW_MACHINE_H

#include <stddef.h>

/* CPUs that the process may keep busy, at least 1: those of its affinity, and no more than its cgroup
 * or one above it has time for (a quota of one and a half is 2). */
int thaw_usable_cpus(void);

/* Bytes of memory that the process may still take without harm: what the system says is available,
 * and no more than what its cgroup or one above it has left. Files that were read and can be dropped
 * count as free. It changes all the time; a budget is made from it once. */
size_t thaw_usable_memory(void);

/* The same where /proc and /sys lie below root, for tests; affinity: what the process may run on. */
int thaw__usable_cpus(const char *root, int affinity);
size_t thaw__usable_memory(const char *root);

#endif
