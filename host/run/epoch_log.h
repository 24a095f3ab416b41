/* The epochs of a training: all of them in a file, those that matter for a person. */
#ifndef THAW_EPOCH_LOG_H
#define THAW_EPOCH_LOG_H

#include <stdio.h>

#include "log.h"
#include "top/trainer.h"

typedef struct thaw_epoch_log {
    thaw_epoch *epochs;     /* [n] */
    int64_t n, wanted;      /* So far; at most. */
    int64_t said;           /* The last that was shown. */
    char kept_because[240]; /* After finish: why that epoch is kept, as the end of a sentence. */
    FILE *lines;            /* NULL: closed. */
    const char *path;
    bool written; /* All of them, so far. */
    thaw_log *log;
} thaw_epoch_log;

/* Opens the file at path (borrowed), which gets a line of JSON for each epoch. ERR_IO, ERR_NOMEM. */
thaw_status thaw_epoch_log_open(thaw_epoch_log *epochs, const char *path, int64_t wanted,
                                thaw_log *log, thaw_arena *arena, thaw_error *err);

/* Takes the next epoch. Shows the first, each tenth part and the last at log level info, all at debug;
 * a terminal has a progress line. */
void thaw_epoch_log_add(thaw_epoch_log *epochs, const thaw_epoch *epoch);

/* Closes the file, shows the last epoch, and says which one is kept and why. ERR_IO: not all could be
 * written. */
thaw_status thaw_epoch_log_finish(thaw_epoch_log *epochs, const thaw_epoch *kept,
                                  const thaw_train_options *options, thaw_error *err);

void thaw_epoch_log_close(thaw_epoch_log *epochs); /* After finish: nothing. */

#endif
