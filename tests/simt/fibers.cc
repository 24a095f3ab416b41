/* A block's threads as fibers in one OS thread. A thread that waits hands over to another one drawn
 * from those that can go on; no system call, and no detour by the OS thread's own stack. */
#include <sys/mman.h>

#include <boost/context/detail/fcontext.hpp>

#include "block.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define SWITCH_START(fake, bottom, size) __sanitizer_start_switch_fiber(fake, bottom, size)
#define SWITCH_END(fake, bottom, size) __sanitizer_finish_switch_fiber(fake, bottom, size)
#define CLEAN(memory, n) ASAN_UNPOISON_MEMORY_REGION(memory, n)
#else
#define SWITCH_START(fake, bottom, size) (void)(fake), (void)(bottom), (void)(size)
#define SWITCH_END(fake, bottom, size) (void)(fake), (void)(bottom), (void)(size)
#define CLEAN(memory, n) (void)(memory), (void)(n)
#endif

constinit thread_local uint3 threadIdx, blockIdx;
constinit thread_local dim3 blockDim, gridDim;

namespace simt {

using boost::context::detail::jump_fcontext;
using boost::context::detail::make_fcontext;
using boost::context::detail::transfer_t;

constinit thread_local block *current_block;
constinit thread_local thread *current_thread;

/* ---- stacks --------------------------------------------------------------------------------- */

constexpr size_t GUARD_BYTES = 4096;

/* Behind a page that nobody may touch: too much on the stack crashes instead of spoiling others. */
static uint8_t *new_stack() {
    uint8_t *memory = (uint8_t *)mmap(nullptr, GUARD_BYTES + STACK_BYTES, PROT_READ | PROT_WRITE,
                                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, GUARD_BYTES, PROT_NONE) != 0) abort();
    return memory + GUARD_BYTES;
}

/* Where thread i begins on its stack. All at the same offset in their pages would share a few lines
 * of the cache, and each switch would find them gone. */
static uint8_t *top_of_stack(const thread &t) {
    return (uint8_t *)t.context.stack + STACK_BYTES - t.number * 7 % 64 * 64;
}

/* What a thread that has ended leaves there: the frames that it never returned from, in which
 * AddressSanitizer has forbidden what lies between variables. */
constexpr size_t ABANDONED_BYTES = 8 << 10;

/* ---- switching ------------------------------------------------------------------------------ */

/* `here` goes on. The one who left for it said who it is. */
static void arrive_here(context &here, transfer_t from) {
    context &left = *(context *)from.data;
    left.at = from.fctx;
    SWITCH_END(here.fake_stack, &left.stack, &left.stack_bytes);
}

static void go(context &here, context &to, bool for_good) {
    SWITCH_START(for_good ? nullptr : &here.fake_stack, to.stack, to.stack_bytes);
    arrive_here(here, jump_fcontext(to.at, &here));
}

uint64_t draw(uint64_t &state) {
    uint64_t z = state += 0x9e3779b97f4a7c15u; /* splitmix64 (Vigna 2015). */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* To a thread that can go on; to the scheduler when there is none. */
static void leave(context &here, bool for_good) {
    block &b = *current_block;
    if (b.runnable.empty()) {
        current_thread = nullptr;
        return go(here, b.scheduler, for_good);
    }
    size_t i = (size_t)((unsigned __int128)draw(b.random) * b.runnable.size() >> 64);
    thread &next = b.threads[b.runnable[i]];
    b.runnable[i] = b.runnable.back();
    b.runnable.pop_back();
    current_thread = &next;
    threadIdx = next.index;
    go(here, next.context, for_good);
}

void wait_for(const char *what, place where) {
    thread &t = *current_thread;
    t.waiting = true;
    t.waits_for = what;
    t.waits_at = where;
    leave(t.context, false);
}

void wake(unsigned number) {
    block &b = *current_block;
    b.threads[number].waiting = false;
    b.runnable.push_back(number);
}

/* ---- a block -------------------------------------------------------------------------------- */

static void run_thread(transfer_t from) {
    thread &self = *current_thread;
    arrive_here(self.context, from);
    block &b = *current_block;
    b.call->run(b.call->arguments.data());
    const copy_queue &q = self.queue;
    if (q.landed < q.copies.size()) {
        const char *lacks = q.groups() > 0 ? "wait" : "commit";
        error(q.copies[q.landed].where, "cp.async: its thread ended without a %s", lacks);
    }
    b.n_done++;
    give_up_place();
    leave(self.context, true);
}

/* Nobody can go on, and not all have ended. */
[[noreturn]] static void deadlock(block &b) {
    for (unsigned i = 0; i < b.n_threads; i++) {
        thread &t = b.threads[i];
        if (!t.waiting) continue;
        current_thread = &t;
        error(t.waits_at,
              "this %s is never reached by all its threads: %u of %u have ended, %u wait at the "
              "block's barrier",
              t.waits_for, b.n_done, b.n_threads, b.at_barrier);
    }
    abort();
}

void run_threads(block &b) {
    current_block = &b;
    blockIdx = b.index;
    blockDim = b.size;
    gridDim = b.grid;
    for (unsigned i = 0; i < b.n_threads; i++) {
        thread &t = b.threads[i];
        if (!t.context.stack) t.context = {nullptr, new_stack(), STACK_BYTES, nullptr};
        uint8_t *top = top_of_stack(t);
        CLEAN(top - ABANDONED_BYTES, ABANDONED_BYTES);
        t.context.at = make_fcontext(top, (size_t)(top - (uint8_t *)t.context.stack), run_thread);
        b.runnable.push_back(i);
    }
    leave(b.scheduler, false);
    if (b.n_done != b.n_threads) deadlock(b);
    current_block = nullptr;
}

}  // namespace simt
