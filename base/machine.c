#include "machine.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { TEXT = 256 };

/* Where the system does not say. */
static const uint64_t usual_memory = (uint64_t)256 << 20, unlimited = UINT64_MAX;

static uint64_t smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static FILE *open_in(const char *folder, const char *name) {
    char path[PATH_MAX];
    bool fits = snprintf(path, sizeof path, "%s/%s", folder, name) < (int)sizeof path;
    return fits ? fopen(path, "re") : NULL;
}

/* The first line of a small file; "" when it cannot be read. */
static void read_line(const char *folder, const char *name, char line[TEXT]) {
    FILE *file = open_in(folder, name);
    if (!file || !fgets(line, TEXT, file)) line[0] = '\0';
    if (file) fclose(file);
}

/* The number that a file starts with; otherwise, also when it is "max" or -1, the fallback. */
static uint64_t read_number(const char *folder, const char *name, uint64_t fallback) {
    char line[TEXT];
    uint64_t value;
    read_line(folder, name, line);
    return line[0] != '-' && sscanf(line, "%" SCNu64, &value) == 1 ? value : fallback;
}

/* The number behind key in a file of "key number" or "key: number" lines; 0: it is not there. */
static uint64_t read_entry(const char *folder, const char *name, const char *key) {
    char line[TEXT];
    uint64_t value = 0;
    FILE *file = open_in(folder, name);
    size_t n = strlen(key);
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, key, n) && sscanf(line + n, "%*[: ]%" SCNu64, &value) == 1) break;
    if (file) fclose(file);
    return value;
}

/* ---- cgroups -------------------------------------------------------------------------------- */

/* What a controller leaves to the group in this folder, of version 1 or 2. */
typedef uint64_t (*group_limit)(const char *folder, bool v2);

static uint64_t memory_left(const char *folder, bool v2) {
    uint64_t most = v2 ? smaller(read_number(folder, "memory.max", unlimited),
                                 read_number(folder, "memory.high", unlimited))
                       : read_number(folder, "memory.limit_in_bytes", unlimited);
    if (most == unlimited) return unlimited;
    uint64_t used = read_number(folder, v2 ? "memory.current" : "memory.usage_in_bytes", 0);
    uint64_t files =
        read_entry(folder, "memory.stat", v2 ? "inactive_file" : "total_inactive_file");
    used -= smaller(files, used);
    return most - smaller(used, most);
}

/* In CPUs, rounded up. */
static uint64_t cpu_quota(const char *folder, bool v2) {
    char line[TEXT];
    uint64_t quota = unlimited, period = 0;
    if (v2) {
        read_line(folder, "cpu.max", line); /* "150000 100000", or "max 100000". */
        if (sscanf(line, "%" SCNu64 " %" SCNu64, &quota, &period) != 2) return unlimited;
    } else {
        quota = read_number(folder, "cpu.cfs_quota_us", unlimited);
        period = read_number(folder, "cpu.cfs_period_us", 0);
    }
    return quota == unlimited || period == 0 ? unlimited : (quota + period - 1) / period;
}

/* The least over a group and those above it. In a container the path may be the host's, and its
 * folders missing here: then the mount itself is the container's group. */
static uint64_t least_above(const char *mount, const char *path, group_limit limit, bool v2) {
    char folder[PATH_MAX];
    bool outside = strstr(path, "/..") != NULL; /* Of this process's view: nothing to look at. */
    int n = snprintf(folder, sizeof folder, "%s%s", mount, outside ? "" : path);
    if (n >= (int)sizeof folder) return unlimited;
    uint64_t least = limit(folder, v2);
    while (strlen(folder) > strlen(mount)) {
        *strrchr(folder, '/') = '\0';
        least = smaller(least, limit(folder, v2));
    }
    return least;
}

/* Whether the list "cpu,cpuacct" has this controller. */
static bool lists(const char *list, const char *controller) {
    size_t n = strlen(controller);
    for (const char *at = list; (at = strstr(at, controller)); at += n)
        if ((at == list || at[-1] == ',') && (!at[n] || at[n] == ',')) return true;
    return false;
}

/* What the groups of /proc/self/cgroup leave: a line is NUMBER:CONTROLLERS:PATH, without controllers
 * for version 2. A hierarchy of version 1 is mounted under the name of its list or of a controller
 * in it, the one of version 2 at the top, or below it where both are in use. */
static uint64_t least_of_groups(const char *root, const char *controller, group_limit limit) {
    char line[PATH_MAX], mount[2 * PATH_MAX];
    uint64_t least = unlimited;
    FILE *file = open_in(root, "proc/self/cgroup");
    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        char *list = strchr(line, ':'), *group = list ? strchr(list + 1, ':') : NULL;
        if (!group || group[1] != '/') continue;
        *group++ = '\0';
        bool v2 = *++list == '\0';
        if (!v2 && !lists(list, controller)) continue;
        const char *names[] = {v2 ? "" : list, v2 ? "/unified" : controller};
        for (int i = 0; i < 2; i++) {
            snprintf(mount, sizeof mount, "%s/sys/fs/cgroup%s%s", root, v2 ? "" : "/", names[i]);
            least = smaller(least, least_above(mount, strcmp(group, "/") ? group : "", limit, v2));
        }
    }
    if (file) fclose(file);
    return least;
}

/* ---- the machine ---------------------------------------------------------------------------- */

int thaw__usable_cpus(const char *root, int affinity) {
    uint64_t quota = least_of_groups(root, "cpu", cpu_quota);
    return quota < (uint64_t)affinity ? (quota ? (int)quota : 1) : affinity;
}

size_t thaw__usable_memory(const char *root) {
    uint64_t available = read_entry(root, "proc/meminfo", "MemAvailable") << 10;
    if (!available) available = usual_memory;
    return (size_t)smaller(available, least_of_groups(root, "memory", memory_left));
}

static int affinity(void) {
    enum { MOST = 1 << 16 };
    for (int n = CPU_SETSIZE; n <= MOST; n *= 2) {
        cpu_set_t *set = CPU_ALLOC(n);
        if (!set) return 1;
        int failed = sched_getaffinity(0, CPU_ALLOC_SIZE(n), set);
        int count = failed ? 1 : CPU_COUNT_S(CPU_ALLOC_SIZE(n), set), reason = errno;
        CPU_FREE(set);
        if (!failed || reason != EINVAL) return count;
    }
    return 1;
}

int thaw_usable_cpus(void) {
    return thaw__usable_cpus("", affinity());
}

size_t thaw_usable_memory(void) {
    return thaw__usable_memory("");
}
