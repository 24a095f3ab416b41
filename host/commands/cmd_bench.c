/* thaw bench NAME: becomes the benchmark that lies beside the program. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "kernels.h"

static const char *const names[] = {"kernels",  "trunk", "head",  "sweep",
                                    "pipeline", "cache", "decode"};
enum { N_NAMES = sizeof names / sizeof *names };

static thaw_status check_name(const char *name, thaw_error *err) {
    for (size_t i = 0; i < N_NAMES; i++)
        if (!strcmp(names[i], name)) return THAW_OK;
    return thaw_fail(
        err, THAW_ERR_USAGE,
        "bench: there is no '%.120s'; expected kernels, trunk, head, sweep, pipeline, cache "
        "or decode",
        name);
}

/* The path of bench_NAME in the folder of this program. */
static thaw_status find_beside(const char *name, char path[PATH_MAX], thaw_error *err) {
    char program[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    program[n > 0 ? n : 0] = 0;
    char *slash = strrchr(program, '/');
    if (slash) *slash = 0;
    int needed = snprintf(path, PATH_MAX, "%s/bench_%s", program, name);
    if (needed > 0 && needed < PATH_MAX && access(path, X_OK) == 0) return THAW_OK;
    return thaw_fail(
        err, THAW_ERR_IO,
        "bench: %.900s is not there; benchmarks lie in the build's folder, and are not "
        "installed",
        path);
}

thaw_status thaw_cmd_bench(const thaw_cli *cli, const thaw_options *options, thaw_error *err) {
    (void)options;
    const char *name = cli->args[0];
    THAW_TRY(check_name(name, err));
    if (!strcmp(name, "kernels") && !thaw_gpu_kernels)
        return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                         "bench kernels: this build has no CUDA kernels; build it where nvcc is "
                         "installed");
    char path[PATH_MAX];
    THAW_TRY(find_beside(name, path, err));
    char *argv[64] = {path};
    if (cli->n_args > sizeof argv / sizeof *argv - 1)
        return thaw_fail(err, THAW_ERR_USAGE, "bench: too many arguments (%zu)", cli->n_args);
    for (size_t i = 1; i < cli->n_args; i++)
        argv[i] = (char *)cli->args[i];
    fflush(stdout);
    execv(path, argv);
    return thaw_fail(err, THAW_ERR_IO, "bench: %.900s does not start: %s", path, strerror(errno));
}
