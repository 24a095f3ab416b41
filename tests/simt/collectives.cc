/* What threads do together: barriers, shuffles, votes; and atomics. A collective is a rendezvous:
 * the last lane to arrive does the work for all. */
#include <string>

#include "block.h"

namespace simt {

static const char *const NAMES[] = {"__syncwarp", "shuffle", "vote", "ldmatrix", "mma"};

static bool same_place(const place &a, const place &b) {
    if (a.line() != b.line() || a.column() != b.column()) return false;
    return a.file_name() == b.file_name() || strcmp(a.file_name(), b.file_name()) == 0;
}

void block_barrier(place where) {
    block &b = *current_block;
    if (b.at_barrier > 0 && !same_place(b.barrier, where)) {
        error(where, "the block's threads are at different barriers: here and at %s",
              words_of(b.barrier).c_str());
    }
    b.barrier = where;
    if (++b.at_barrier < b.n_threads) return wait_for("barrier", where);
    b.at_barrier = 0;
    b.time++;
    for (unsigned i = 0; i < b.n_threads; i++) {
        if (i != current_thread->number) wake(i);
    }
}

/* ---- rendezvous of a warp ------------------------------------------------------------------- */

[[noreturn]] static void absent(const rendezvous &r, unsigned lanes) {
    error(r.where, "%s with mask %08x, but lanes %08x have ended or never were", NAMES[r.kind],
          r.mask, lanes);
}

/* All that can come. __syncwarp alone does not wait for lanes that have ended. */
static bool is_complete(const rendezvous &r, const warp &w) {
    return r.arrived == (r.kind == SYNCWARP ? r.mask & w.live : r.mask);
}

rendezvous *arrive(collective kind, unsigned mask, void *argument, place where) {
    thread &self = *current_thread;
    warp &w = current_block->warps[self.number / WARP];
    unsigned lane = self.number % WARP;
    rendezvous mine = {kind, mask, 0, where}, *meeting = nullptr;
    if (!(mask >> lane & 1))
        error(where, "%s with mask %08x, which leaves out its own lane", NAMES[kind], mask);
    if (kind != SYNCWARP && mask & ~w.live) absent(mine, mask & ~w.live);
    for (rendezvous &r : w.pending) {
        if (!(r.mask & mask)) continue;
        if (r.mask != mask || r.kind != kind || !same_place(r.where, where)) {
            error(where, "lanes of a warp are at different collectives: %s here, %s at %s",
                  NAMES[kind], NAMES[r.kind], words_of(r.where).c_str());
        }
        meeting = &r;
    }
    if (!meeting) {
        w.pending.push_back(mine);
        meeting = &w.pending.back();
    }
    w.arguments[lane] = argument;
    meeting->arrived |= 1u << lane;
    if (is_complete(*meeting, w)) return meeting;
    wait_for(NAMES[kind], where);
    return nullptr;
}

void part(rendezvous *meeting) {
    unsigned first = current_thread->number / WARP * WARP;
    warp &w = current_block->warps[first / WARP];
    for (unsigned lane = 0; lane < WARP; lane++) {
        bool waits = meeting->arrived >> lane & 1 && first + lane != current_thread->number;
        if (waits) wake(first + lane);
    }
    *meeting = w.pending.back();
    w.pending.pop_back();
}

/* Part of a warp orders nothing for the shadow. */
static void pass_time(warp &w, unsigned mask) {
    if ((mask & w.live) == w.live) w.time++;
}

void give_up_place() {
    unsigned lane = current_thread->number % WARP;
    warp &w = current_block->warps[current_thread->number / WARP];
    w.live &= ~(1u << lane);
    for (size_t i = 0; i < w.pending.size(); i++) {
        rendezvous &r = w.pending[i];
        if (!(r.mask >> lane & 1)) continue;
        if (r.kind != SYNCWARP) absent(r, 1u << lane);
        if (!is_complete(r, w)) continue;
        pass_time(w, r.mask);
        return part(&r); /* A lane is expected at one place only. */
    }
}

void warp_barrier(unsigned mask, place where) {
    warp &w = current_block->warps[current_thread->number / WARP];
    meet(SYNCWARP, mask, nullptr, where, [&](void **) { pass_time(w, mask); });
}

struct shuffle_argument {
    uint64_t bits, result;
    int from;
};

uint64_t shuffle(unsigned mask, uint64_t bits, int from, place where) {
    shuffle_argument mine = {bits, 0, from};
    meet(SHUFFLE, mask, &mine, where, [&](void **all) {
        for (int lane = 0; lane < WARP; lane++) {
            if (!(mask >> lane & 1)) continue;
            auto *a = (shuffle_argument *)all[lane];
            if (a->from < 0 || a->from >= WARP || !(mask >> a->from & 1))
                error(where, "lane %d shuffles from lane %d, which takes no part", lane, a->from);
            a->result = ((shuffle_argument *)all[a->from])->bits;
        }
    });
    return mine.result;
}

struct ballot_argument {
    bool predicate;
    unsigned result;
};

unsigned ballot(unsigned mask, bool predicate, place where) {
    ballot_argument mine = {predicate, 0};
    meet(VOTE, mask, &mine, where, [&](void **all) {
        unsigned votes = 0;
        for (int lane = 0; lane < WARP; lane++) {
            if (mask >> lane & 1 && ((ballot_argument *)all[lane])->predicate) votes |= 1u << lane;
        }
        for (int lane = 0; lane < WARP; lane++) {
            if (mask >> lane & 1) ((ballot_argument *)all[lane])->result = votes;
        }
    });
    return mine.result;
}

int lane() {
    return (int)current_thread->number % WARP;
}

/* ---- memory --------------------------------------------------------------------------------- */

void memory_fence() {
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

template <class T>
static T add(T *to, T value, place where) {
    if ((uintptr_t)to % sizeof(T)) error(where, "an atomic on a misaligned address");
    atomic_access(to, sizeof(T), {where, nullptr});
    return __atomic_fetch_add(to, value, __ATOMIC_SEQ_CST);
}

unsigned atomic_add(unsigned *to, unsigned value, place where) {
    return add(to, value, where);
}

unsigned long long atomic_add(unsigned long long *to, unsigned long long value, place where) {
    return add(to, value, where);
}

}  // namespace simt
