#include "others.h"

#include <string.h>
#include <time.h>

#include "clock.h"

static void pause_briefly(void) {
    nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
}

/* Sorts out what has become of the waiting pictures. Returns how many are kept. */
static size_t settle(thaw_others *o, thaw_cache *cache, const thaw_hash *keys) {
    size_t n_left = 0, n_kept = 0;
    for (size_t k = 0; k < o->n_waiting; k++) {
        size_t picture = o->waiting[k];
        thaw_cache_claim claim = thaw_cache_claim_record(cache, keys[picture]);
        if (claim == THAW_CLAIM_KEPT)
            n_kept++;
        else if (claim == THAW_CLAIM_MINE)
            o->mine[o->n_mine++] = picture;
        else
            o->waiting[n_left++] = picture;
    }
    o->n_waiting = n_left;
    return n_kept;
}

static void lose_patience(thaw_others *o) {
    memcpy(o->mine, o->waiting, o->n_waiting * sizeof *o->mine);
    o->n_mine = o->n_waiting;
    o->n_waiting = 0;
    o->impatient = true;
}

size_t thaw_others_wait(thaw_others *o, thaw_cache *cache, const thaw_hash *keys,
                        const volatile int *stop, thaw_log *log) {
    double since = thaw_now_s();
    size_t n_kept = 0;
    o->n_mine = 0;
    thaw_log_write(log, THAW_LOG_INFO, "waiting for %zu pictures that another process computes",
                   o->n_waiting);
    while (o->n_waiting && !o->n_mine && !(stop && *stop)) {
        size_t before = o->n_waiting;
        n_kept += settle(o, cache, keys);
        if (o->n_waiting < before)
            since = thaw_now_s();
        else if (thaw_now_s() - since > o->patience_s)
            lose_patience(o);
        else
            pause_briefly();
    }
    return n_kept;
}
