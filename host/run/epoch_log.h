/* The epochs of a training, or the penalties that a solver tried: all of them in a file, those that
 * matter for a person. */
#ifndef THAW_EPOCH_LOG_H
#define THAW_EPOCH_LOG_H

#include <stdio.h>

#include "log.h"
#include "top/trainer.h"

typedef struct thaw_epoch_log {
    const thaw_train_options *options;
    const char *patience; /* The option that keeps the best epoch. */
    thaw_epoch *epochs;   /* [n] */
    int64_t n, wanted;    /* So far; at most. */
    int64_t said;         /* The last that was shown. */
    char kept[320];       /* After finish: which is kept and why, a sentence; */
    int64_t kept_epoch;   /* and its number. */
    FILE *lines;          /* NULL: closed, or none. */
    const char *path;
    bool written; /* All of them, so far. */
    bool stopped; /* Before its end. The caller says so before finishing. */
    bool metrics; /* Each is printed in metric lines, too. The caller says so after opening. */
    thaw_log *log;
} thaw_epoch_log;

/* Opens the file at path, which gets a line of JSON for each epoch; NULL: there is none. path and options
 * are borrowed. ERR_IO, ERR_NOMEM. */
thaw_status thaw_epoch_log_open(thaw_epoch_log *epochs, const char *path,
                                const thaw_train_options *options, thaw_log *log, thaw_arena *arena,
                                thaw_error *err);

/* Takes the next epoch. Shows the first, each tenth part and the last at log level info, all at debug;
 * a terminal has a progress line. */
void thaw_epoch_log_add(thaw_epoch_log *epochs, const thaw_epoch *epoch);

/* Closes the file, shows the last epoch, and says which one is kept and why. ERR_IO: not all could be
 * written. */
thaw_status thaw_epoch_log_finish(thaw_epoch_log *epochs, const thaw_epoch *kept, thaw_error *err);

void thaw_epoch_log_close(thaw_epoch_log *epochs); /* After finish: nothing. */

#endif
