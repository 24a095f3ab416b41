#include "failure.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "file.h"

/* A signal handler can reach nothing but globals. */
static char watched_path[PATH_MAX];

static const struct {
    int number;
    const char *sentence; /* Whole, since a handler cannot format. */
} faults[] = {
#define FAULT(name, what)                                                 \
    {                                                                     \
        name, "thaw ended by " #name ", " what                            \
              ": a fault of the program, not of the job. The log's last " \
              "lines say what it was doing.\n"                            \
    }
    FAULT(SIGSEGV, "a wrong address in memory"),
    FAULT(SIGILL, "an instruction that this processor does not have"),
    FAULT(SIGABRT, "an assertion or a corrupt heap"),
    FAULT(SIGBUS, "memory whose file or device went away, or a full disk below it"),
    FAULT(SIGFPE, "an impossible division"),
#undef FAULT
};
enum { N_FAULTS = sizeof faults / sizeof *faults };

/* Only what is safe in a handler: open, write, raise, _exit. */
static void note_fault(int number) {
    for (size_t i = 0; i < N_FAULTS; i++) {
        if (faults[i].number != number) continue;
        size_t n = strlen(faults[i].sentence);
        int fd = open(watched_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        bool written = fd >= 0 && write(fd, faults[i].sentence, n) == (ssize_t)n;
        written &= write(STDERR_FILENO, faults[i].sentence, n) == (ssize_t)n;
        (void)written;
    }
    raise(number);       /* As it would have ended; with a core, where there is one to be had. */
    _exit(128 + number); /* The first process of a container survives its own signals. */
}

void thaw_failure_watch(const char *path) {
    static char stack[1 << 16]; /* The fault may be that there is no stack left. */
    stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
    snprintf(watched_path, sizeof watched_path, "%s", path);
    sigaltstack(&other, NULL);
    for (size_t i = 0; i < N_FAULTS; i++) {
        struct sigaction action = {.sa_handler = note_fault,
                                   .sa_flags = (int)(SA_ONSTACK | SA_NODEFER | SA_RESETHAND)};
        sigaction(faults[i].number, &action, NULL);
    }
}

void thaw_failure_write(const char *path, const char *cause, const char *details) {
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash) *slash = '\0';
    if (slash && thaw_file_make_folders(folder, NULL) != THAW_OK) return;
    /* Not by rename: a full disk may still have room for a line, and nobody reads it before the end. */
    FILE *file = fopen(path, "we");
    if (!file) return;
    fprintf(file, "%s\n%s", cause, details);
    fclose(file);
}
