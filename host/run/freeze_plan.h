/* Which depths the benchmark compares. */
#ifndef THAW_FREEZE_PLAN_H
#define THAW_FREEZE_PLAN_H

#include "model/network.h"

/* One depth. */
typedef struct thaw_depth {
    const char *name;    /* For people: the stage, or the node. */
    const char *freeze;  /* For the option. */
    char folder[32];     /* Of its runs, without the number. */
    int index;           /* Of the cut. */
    bool scratch, head;  /* From random weights; only the head is trained. */
    size_t record_bytes; /* Of an image in the cache. */
    int64_t flop_above;
    const char *left_out; /* Why it is not measured; NULL: it is. */
} thaw_depth;

typedef struct thaw_depths {
    thaw_depth *list; /* From the head alone to everything, then from scratch; in the arena. */
    int n;
} thaw_depths;

/* The depths that options->bench asks for. Those that cannot be trained, or whose records of n_images would
 * not fit into `room` bytes beside those of deeper ones, are left out with the reason. ERR_USAGE: a list with
 * a cut that there is not; ERR_NOMEM. */
thaw_status thaw_depths_choose(const thaw_network *network, const thaw_options *options,
                               size_t n_images, uint64_t room, thaw_arena *arena,
                               thaw_depths *depths, thaw_error *err);

#endif
