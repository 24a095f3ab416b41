/* The file that says why a job failed. The first 1024 characters become the job's FailureReason, which is
 * all that most people ever see of it. */
#ifndef THAW_FAILURE_H
#define THAW_FAILURE_H

/* From now on a signal that ends the program because of a fault of its own (SIGSEGV, SIGILL, SIGABRT,
 * SIGBUS, SIGFPE) is written to path first. path is copied. */
void thaw_failure_watch(const char *path);

/* Writes the cause as the first line, then details, to path, whose folder is made where it is missing.
 * Nothing can be done where that fails: the same stands in the log. */
void thaw_failure_write(const char *path, const char *cause, const char *details);

#endif
