/* What a run says to the person in front of it: lines with a level, and one progress line.
 *
 * All of it goes to one stream (stderr). Nothing here is global: whoever may speak gets the log.
 * Every function may be called from any thread, and with a NULL log, which says nothing.
 */
#ifndef THAW_LOG_H
#define THAW_LOG_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "enum.h"

/* Value, name, and what a line of this level begins with. */
#define THAW_LOG_LEVEL_LIST(X)            \
    X(THAW_LOG_ERROR, "error", "error: ") \
    X(THAW_LOG_WARN, "warn", "warning: ") \
    X(THAW_LOG_INFO, "info", "")          \
    X(THAW_LOG_DEBUG, "debug", "debug: ")
typedef enum thaw_log_level { THAW_LOG_LEVEL_LIST(THAW_ENUM_VALUE) } thaw_log_level;

/* The work that the progress line counts. */
typedef struct thaw_log_progress {
    bool active;
    char label[64], unit[16];
    uint64_t count, total;
    double start_s, mark_s; /* Begin of the work; when the line was last shown. */
    uint64_t mark_count;    /* Count at mark_s. */
    double per_s;           /* Smoothed rate; 0 while unknown. */
} thaw_log_progress;

typedef struct thaw_log {
    FILE *stream;
    thaw_log_level level;
    bool terminal;         /* Redraw one line; otherwise print plain ones. */
    double (*now_s)(void); /* Monotonic seconds; a test puts its own clock here. */
    pthread_mutex_t mutex; /* Guards the stream and all below. */
    thaw_log_progress progress;
} thaw_log;

/* Starts a log that writes to stream (borrowed) what is not above level. */
void thaw_log_open(thaw_log *log, FILE *stream, thaw_log_level level);

/* Ends a running progress line and frees what the log holds. */
void thaw_log_close(thaw_log *log);

/* Writes one line; a newline is added and control characters are replaced. At level debug every
 * line carries the time. A progress line on the terminal makes room and is drawn again below. */
void thaw_log_write(thaw_log *log, thaw_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Starts the progress line "label  0/total"; it is shown at level info and above. unit is what is
 * counted ("images"). total 0 is a total that is not known. One line at a time: a running one is
 * ended first. */
void thaw_log_progress_begin(thaw_log *log, const char *label, const char *unit, uint64_t total);

/* Adds n to the count. Cheap enough for every picture: a terminal is redrawn at most ten times a
 * second, a pipe gets a line at most every five seconds. */
void thaw_log_progress_add(thaw_log *log, uint64_t n);

/* Shows the final count with the mean rate and the seconds it took, and leaves the line. */
void thaw_log_progress_end(thaw_log *log);

#endif
