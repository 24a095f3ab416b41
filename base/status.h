/* Errors with words.
 *
 * Every function that can fail returns a thaw_status (0 or negative) and takes a thaw_error * last,
 * which may be NULL. On failure the error holds the code and one English sentence that says what,
 * where, what was expected and what to do. Only host/commands/main.c prints it.
 */
#ifndef THAW_STATUS_H
#define THAW_STATUS_H

#include <stdbool.h>

/* name, value, what kind of thing went wrong */
#define THAW_STATUS_LIST(X)                                                 \
    X(OK, 0, "ok")                                                          \
    X(ERR_USAGE, -1, "the command line or the configuration is wrong")      \
    X(ERR_IO, -2, "a file or a folder could not be read or written")        \
    X(ERR_FORMAT, -3, "a file's content is not what its format demands")    \
    X(ERR_SHAPE, -4, "tensor shapes do not fit")                            \
    X(ERR_UNSUPPORTED, -5, "an operator, type or feature is not supported") \
    X(ERR_NOMEM, -6, "out of memory")                                       \
    X(ERR_DATA, -7, "the dataset cannot be used as it is")                  \
    X(ERR_BACKEND, -8, "the compute library reported an error")             \
    X(ERR_MISMATCH, -9, "two results that should agree do not")             \
    X(ERR_INTERRUPTED, -10, "stopped by a signal")                          \
    X(ERR_SYSTEM, -11, "the system ran out of something, or a disk fails")

typedef enum thaw_status {
#define X(name, value, text) THAW_##name = value,
    THAW_STATUS_LIST(X)
#undef X
} thaw_status;

enum { THAW_ERROR_TEXT = 1024 };

typedef struct thaw_error {
    thaw_status code;
    char text[THAW_ERROR_TEXT]; /* One sentence, NUL-terminated, cut when too long. */
} thaw_error;

/* Fills err (NULL: nothing) with code and the formatted sentence; returns code. Control characters
 * in the result are replaced, so that a file name or a model cannot write to a terminal. */
thaw_status thaw_fail(thaw_error *err, thaw_status code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ERR_NOMEM: "not enough memory" and what it was for, which the format begins with "for" or "to". */
thaw_status thaw_fail_memory(thaw_error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Puts "prefix: " before err's sentence (NULL: nothing); returns err's code, or code when NULL. */
thaw_status thaw_fail_within(thaw_error *err, thaw_status code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Whether the code says that one input cannot be used (it is missing, forbidden, damaged, or of a
 * kind that Thaw does not read), so that the others may be all right. Of any other failure, want of
 * memory or of descriptors say, the input is not to blame. */
bool thaw_status_rejects(thaw_status code);

/* The list's text for a code; "unknown" for a number that is not in it. */
const char *thaw_status_text(thaw_status code);

/* Returns from the calling function when expr is not THAW_OK. Safe everywhere that arenas own. */
#define THAW_TRY(expr)                                \
    do {                                              \
        thaw_status try_status = (expr);              \
        if (try_status != THAW_OK) return try_status; \
    } while (0)

#endif
