/* The pictures that other processes are computing into the same cache, and what becomes of them: as a
 * rule they are kept soon; those of a process that ended are this one's. */
#ifndef THAW_OTHERS_H
#define THAW_OTHERS_H

#include "cache/cache.h"
#include "log.h"

/* Numbers of pictures, with room for all of a dataset. */
typedef struct thaw_others {
    size_t *waiting, n_waiting; /* Claimed by others. */
    size_t *mine, n_mine;       /* To be computed by this process after all. */
    double patience_s;          /* For how long nothing may happen. */
    bool impatient;             /* Nothing is waited for any more. */
} thaw_others;

/* Waits until some of the waiting pictures, whose keys are keys[number], are mine, or none is left, or
 * *stop (NULL: never). When nothing happens for too long, because another process was stopped, say,
 * all are mine: then they may be computed twice, which harms nobody. Returns how many turned out to be
 * in the cache. */
size_t thaw_others_wait(thaw_others *others, thaw_cache *cache, const thaw_hash *keys,
                        const volatile int *stop, thaw_log *log);

#endif
