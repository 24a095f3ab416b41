/* What CloudWatch makes of a job's log: the metrics that the request's expressions find in it. */
#ifndef THAW_OBSERVED_H
#define THAW_OBSERVED_H

#include <jansson.h>

#include "arena.h"
#include "status.h"

typedef struct thaw_observed {
    const char *name;   /* "validation:accuracy", the request's. */
    size_t n;           /* So many values; with none there is no first and no last. */
    double first, last; /* The last is what a job is judged by. */
} thaw_observed;

/* Looks for each of MetricDefinitions in each line of the log at path. list [*n] is the arena's.
 * ERR_FORMAT: an expression is none, or finds what is no number; ERR_IO; ERR_NOMEM. */
thaw_status thaw_observed_read(const char *path, const json_t *definitions, thaw_arena *arena,
                               thaw_observed **list, size_t *n, thaw_error *err);

/* The metric of this name; NULL: there is none. */
const thaw_observed *thaw_observed_find(const thaw_observed *list, size_t n, const char *name);

#endif
