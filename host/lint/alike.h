/* Which pictures of a dataset are one picture: the same bytes, or the same look.
 *
 * Each picture that is like none before it leads a group; others join the leader that is nearest, so that
 * a chain of small changes is no group. Leaders are found by multi-index hashing (Norouzi, Punjani & Fleet
 * 2012): the hash is cut into four words of 16 bits, and where two hashes differ by at most 7 bits, one of
 * the words differs by at most one. So a picture looks at 4 * 17 of 4 * 65,536 buckets, and not at all
 * leaders. It looks at no more than THAW_ALIKE_MOST candidates, and compares the tiny copies of few of
 * them, so that a set whose pictures are all much alike ends as well. The result is a matter of the pictures and their order alone.
 */
#ifndef THAW_ALIKE_H
#define THAW_ALIKE_H

#include <stddef.h>

#include "arena.h"
#include "hash.h"
#include "look.h"
#include "status.h"

enum { THAW_ALIKE_MOST = 1 << 14, THAW_ALIKE_MOST_COMPARED = 256 };

/* Of a picture. */
typedef struct thaw_alike {
    size_t first;  /* The first picture with these bytes: itself where there is none before it. */
    size_t leader; /* Of its group, which has the look of `first`: itself where it leads. */
    int bits;      /* By which its hash differs from the leader's, */
    float correlation; /* and how alike the tiny copies are. */
    bool mirrored;     /* It is the leader the other way round. */
} thaw_alike;

typedef struct thaw_alike_result {
    thaw_alike *of;     /* [n]; one that is left out leads itself. */
    size_t n_looked_at; /* Candidates in all, */
    size_t n_cut_short; /* and pictures that had more than they may have. */
} thaw_alike_result;

/* keys, looks [n]; left_out[n]: was not read. Uniform pictures have copies, but no look. What it finds
 * lies in the arena. ERR_NOMEM. */
thaw_status thaw_alike_find(const thaw_hash *keys, const thaw_look *looks, const bool *left_out,
                            size_t n, thaw_arena *arena, thaw_alike_result *result,
                            thaw_error *err);

#endif
