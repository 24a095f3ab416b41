/* The options of a sweep: those that were given several values.
 *
 *   a,b,c   each of them
 *   A..B    anything between, of a number: log-uniform where a change is a factor, as of a learning
 *           rate, and A is above 0; else uniform
 */
#ifndef THAW_AXES_H
#define THAW_AXES_H

#include <stdbool.h>
#include <stddef.h>

#include "arena.h"
#include "enum.h"
#include "status.h"

enum { THAW_AXES_MAX = 16 };

#define THAW_AXIS_KIND_LIST(X)    \
    X(THAW_AXIS_LOG, "log")       \
    X(THAW_AXIS_LINEAR, "linear") \
    X(THAW_AXIS_CHOICE, "choice")
typedef enum thaw_axis_kind { THAW_AXIS_KIND_LIST(THAW_ENUM_VALUE) } thaw_axis_kind;

typedef struct thaw_sweep_axis {
    const char *key, *source;
    thaw_axis_kind kind;
    bool integer;               /* Of a range. */
    double low, high;           /* Of a range, both included. */
    const char *const *choices; /* [n_choices] as they were written. */
    size_t n_choices;
} thaw_sweep_axis;

typedef struct thaw_axes {
    bool allowed;
    size_t n;
    thaw_sweep_axis axis[THAW_AXES_MAX]; /* In the order in which they were given. */
} thaw_axes;

/* The value at u of 0 to below 1, as text that the option takes; in the arena, or of the axis. NULL: no
 * memory. */
const char *thaw_axis_at(const thaw_sweep_axis *axis, double u, thaw_arena *arena);

/* For options.c. Whether the option says how a training goes, and so may be swept. */
struct thaw__option;
bool thaw__axes_may(const struct thaw__option *row);

/* Whether text gives an option several values. */
bool thaw__axes_wants(const struct thaw__option *row, const char *text);

/* Takes an axis over, in place of one of the same option from another source. ERR_USAGE: the option
 * cannot be swept, the text is no list or range of legal values, or the source has given it before;
 * ERR_NOMEM. */
thaw_status thaw__axes_take(thaw_axes *axes, const struct thaw__option *row, const char *text,
                            const char *source, thaw_arena *arena, thaw_error *err);

/* The option has one value from now on. */
void thaw__axes_drop(thaw_axes *axes, const char *key);

#endif
