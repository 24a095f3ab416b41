/* This very program as a container starts it: a child process with one word, an environment of its own, and
 * all that it prints in one log. */
#ifndef THAW_CHILD_H
#define THAW_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

#include "arena.h"
#include "status.h"

typedef struct thaw_child {
    pid_t pid; /* 0: none runs. */
    int code;  /* Of one that has ended: its exit code, or 128 and the signal that ended it. */
    double start_s, end_s; /* Of thaw_now_s. */
    int log;               /* Descriptor of the log, which lines are read from; -1: none. */
    off_t seen;            /* Of the log: what lines were made of. */
} thaw_child;

/* All zero but for log = -1. */
thaw_child thaw_child_none(void);

/* Starts `thaw WORD` with exactly this environment (NULL at its end). Behind what the log at that path holds
 * comes what it prints. It ends when this process does. ERR_IO: no log; ERR_SYSTEM: no process. */
thaw_status thaw_child_start(thaw_child *child, const char *word, char *const *environment,
                             const char *log, thaw_error *err);

/* Whether it runs. Once it does not, code and end_s are known. */
bool thaw_child_runs(thaw_child *child);

/* Sends a signal, or nothing to one that has ended. */
void thaw_child_signal(const thaw_child *child, int number);

/* Calls visit for each line that has been ended since the last call, without its end. */
void thaw_child_lines(thaw_child *child, void (*visit)(void *ctx, const char *line), void *ctx);

/* Ends it: asks, and after some seconds makes it. For whoever gives up; again: nothing. */
void thaw_child_close(thaw_child *child);

#endif
