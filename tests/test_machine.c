/* What a process may use of a machine, in containers of every kind: /proc and /sys are folders of the
 * test, written as kernels and container programs leave them. */
#include "testing.h"
//
#include <sched.h>

#include "machine.h"
#include "tempdir.h"

enum { FILES = 10 };

typedef struct machine {
    const char *name;
    int cpus;         /* Expected, of 8 that the affinity allows. */
    size_t megabytes; /* Expected, of 1000 that are available. */
    const char *files[FILES][2];
} machine;

#define MB "000000" /* Megabytes of a million bytes, in digits. */
#define GROUP "sys/fs/cgroup"

static const machine machines[] = {
    {"no cgroups", 8, 1000, {{NULL}}},
    {"version 2 without limits",
     8,
     1000,
     {{"proc/self/cgroup", "0::/\n"},
      {GROUP "/cpu.max", "max 100000\n"},
      {GROUP "/memory.max", "max\n"}}},
    {"version 2 in a container",
     2,
     300,
     {{"proc/self/cgroup", "0::/\n"},
      {GROUP "/cpu.max", "150000 100000\n"},
      {GROUP "/memory.max", "500" MB "\n"},
      {GROUP "/memory.current", "200" MB "\n"}}},
    {"files that can be dropped are free",
     8,
     450,
     {{"proc/self/cgroup", "0::/\n"},
      {GROUP "/memory.max", "500" MB "\n"},
      {GROUP "/memory.current", "200" MB "\n"},
      {GROUP "/memory.stat", "anon 1\nfile 170" MB "\ninactive_file 150" MB "\n"}}},
    {"version 2, memory.high below memory.max",
     8,
     150,
     {{"proc/self/cgroup", "0::/\n"},
      {GROUP "/memory.max", "500" MB "\n"},
      {GROUP "/memory.high", "200" MB "\n"},
      {GROUP "/memory.current", "50" MB "\n"}}},
    {"version 2, the limit two groups above",
     1,
     100,
     {{"proc/self/cgroup", "0::/a.slice/b.slice/c.scope\n"},
      {GROUP "/a.slice/memory.max", "400" MB "\n"},
      {GROUP "/a.slice/memory.current", "300" MB "\n"},
      {GROUP "/a.slice/cpu.max", "50000 100000\n"},
      {GROUP "/a.slice/b.slice/memory.max", "max\n"},
      {GROUP "/a.slice/b.slice/c.scope/memory.max", "900" MB "\n"},
      {GROUP "/a.slice/b.slice/c.scope/cpu.max", "400000 100000\n"}}},
    {"more used than is allowed",
     8,
     0,
     {{"proc/self/cgroup", "0::/\n"},
      {GROUP "/memory.max", "100" MB "\n"},
      {GROUP "/memory.current", "200" MB "\n"}}},
    {"version 1",
     3,
     300,
     {{"proc/self/cgroup", "9:name=systemd:/x\n4:memory:/x\n3:cpu,cpuacct:/x\n0::/x\n"},
      {GROUP "/memory/x/memory.limit_in_bytes", "500" MB "\n"},
      {GROUP "/memory/x/memory.usage_in_bytes", "250" MB "\n"},
      {GROUP "/memory/x/memory.stat", "inactive_file 1\ntotal_inactive_file 50" MB "\n"},
      {GROUP "/cpu,cpuacct/x/cpu.cfs_quota_us", "300000\n"},
      {GROUP "/cpu,cpuacct/x/cpu.cfs_period_us", "100000\n"}}},
    {"version 1 without limits",
     8,
     1000,
     {{"proc/self/cgroup", "4:memory:/\n3:cpu:/\n"},
      {GROUP "/memory/memory.limit_in_bytes", "9223372036854771712\n"},
      {GROUP "/memory/memory.usage_in_bytes", "250" MB "\n"},
      {GROUP "/cpu/cpu.cfs_quota_us", "-1\n"},
      {GROUP "/cpu/cpu.cfs_period_us", "100000\n"}}},
    {"version 1 in a container that sees the host's path",
     1,
     200,
     {{"proc/self/cgroup", "4:memory:/docker/0123\n3:cpuacct,cpu:/docker/0123\n"},
      {GROUP "/memory/memory.limit_in_bytes", "200" MB "\n"},
      {GROUP "/cpu/cpu.cfs_quota_us", "1000\n"},
      {GROUP "/cpu/cpu.cfs_period_us", "100000\n"}}},
    {"both versions",
     8,
     200,
     {{"proc/self/cgroup", "3:cpuset:/\n1:name=systemd:/u\n0::/u\n"},
      {GROUP "/unified/u/memory.max", "200" MB "\n"}}},
    {"a group outside of this process's view",
     8,
     1000,
     {{"proc/self/cgroup", "0::/../../other\n"}, {"sys/other/memory.max", "1\n"}}},
    {"a controller whose name begins alike",
     8,
     1000,
     {{"proc/self/cgroup", "3:cpuset,cpuacct:/\n"},
      {GROUP "/cpu/cpu.cfs_quota_us", "100000\n"},
      {GROUP "/cpu/cpu.cfs_period_us", "100000\n"}}},
    {"damaged files",
     8,
     1000,
     {{"proc/self/cgroup", "0::/\nnonsense\n4:memory\n:::\n"},
      {GROUP "/memory.max", "lots\n"},
      {GROUP "/cpu.max", "100000\n"}}},
};

static void limits_of_every_kind(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof machines / sizeof *machines; k++) {
        const machine *m = &machines[k];
        tempdir t = tempdir_make();
        tempdir_file(&t, "proc/meminfo",
                     "MemTotal: 9 kB\nMemFree: 1 kB\nMemAvailable:     976563 kB\n");
        for (int i = 0; i < FILES && m->files[i][0]; i++)
            tempdir_file(&t, m->files[i][0], m->files[i][1]);
        int cpus = thaw__usable_cpus(t.root, 8);
        size_t megabytes = thaw__usable_memory(t.root) / 1000000;
        if (cpus != m->cpus) fail_msg("%s: %d CPUs, expected %d", m->name, cpus, m->cpus);
        if (megabytes != m->megabytes)
            fail_msg("%s: %zu MB, expected %zu", m->name, megabytes, m->megabytes);
        tempdir_remove(&t);
    }
}

static void a_machine_that_says_nothing(void **state) {
    (void)state;
    tempdir t = tempdir_make();
    assert_int_equal(thaw__usable_cpus(t.root, 5), 5);
    assert_int_equal(thaw__usable_memory(t.root), (size_t)256 << 20);
    tempdir_remove(&t);
}

/* This one, whatever it is: no more CPUs than the affinity says, which is obeyed. */
static void this_machine(void **state) {
    (void)state;
    cpu_set_t all, one;
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    assert_in_range(thaw_usable_cpus(), 1, CPU_COUNT(&all));
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &all)) CPU_SET(i, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(thaw_usable_cpus(), 1);
    assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
    assert_true(thaw_usable_memory() > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_of_every_kind),
        cmocka_unit_test(a_machine_that_says_nothing),
        cmocka_unit_test(this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
