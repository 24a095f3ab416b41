/* The emulation's own: a block with its threads, the shadow of its shared memory, device memory. */
#ifndef THAW_SIMT_BLOCK_H
#define THAW_SIMT_BLOCK_H

#include <cuda_runtime.h>

#include <functional>
#include <string>
#include <vector>

#include "simt.h"

namespace simt {

enum { WARP = 32 };

/* ---- errors: errors.cc ---------------------------------------------------------------------- */

/* Where in the source an access stands: in words, or as an address in the program. */
struct site {
    place where;
    const void *pc; /* NULL: where counts. */
};

[[noreturn]] void error_at(const site &at, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

std::string words_of(place where); /* "file:line" */

/* ---- the shadow: what is known of each byte of shared memory: shadow.cc --------------------- */

/* When an access was: between two accesses with equal block times there was no barrier. */
struct moment {
    uint32_t block_time, warp_time; /* Barriers of the block, of the thread's warp. */
    uint32_t thread;
};

/* Accesses of one kind: the newest, and whether others were made at the same time. */
struct crowd {
    uint32_t block_time, warp_time; /* The newest's moment. */
    uint16_t thread : 12, any : 1, more_threads : 1, more_warps : 1;

    void join(const moment &now);
    bool is_before(const moment &now) const; /* A barrier lies between; or it is one thread. */
};

struct shadow_state {
    crowd writes, atomics, reads; /* Atomics and reads since the last write. */
    bool under_way;               /* A cp.async to it. */
};

class shadow {
   public:
    void reset(size_t bytes);
    /* Each checks [offset, offset + n) and ends the process when something is wrong. */
    void read(size_t offset, size_t n, const moment &now, const site &at);
    void write(size_t offset, size_t n, const moment &now, const site &at);
    void atomic(size_t offset, size_t n, const moment &now, const site &at);
    void issue(size_t offset, size_t n, const moment &now, const site &at);
    void land(size_t offset, size_t n, const moment &now);

   private:
    /* Most accesses are of whole words: their bytes share a state until one is of less. */
    struct word {
        shadow_state whole;
        bool split;
    };
    std::vector<word> words;
    std::vector<shadow_state> bytes; /* Of words that are split. */

    template <class F>
    void visit(size_t offset, size_t n, bool rejoins, F f);
};

/* An access of n bytes by kernel or host code, seen by the instrumentation or by a collective. */
void access(const void *memory, size_t n, bool is_write, const site &at);
void atomic_access(const void *memory, size_t n, const site &at);

/* b.shared: b.shared_bytes, all bits set, with nothing around that may be touched. */
struct block;
void map_shared(block &b);
void unmap_shared(block &b);

/* ---- the block: fibers.cc, collectives.cc --------------------------------------------------- */

/* What is executed: a thread's fiber, or the OS thread that started it. */
struct context {
    void *at; /* While it is not executed. */
    const void *stack;
    size_t stack_bytes;
    void *fake_stack; /* AddressSanitizer's. */
};

struct copy {
    void *to;
    const void *from;
    bool valid;
    place where;
};

/* The cp.async of a thread, oldest first: copies [landed, ends[0]) are a group, and so on. */
struct copy_queue {
    std::vector<copy> copies;
    std::vector<size_t> ends;
    size_t landed, landed_groups;

    size_t groups() const {
        return ends.size() - landed_groups;
    }
    void clear() {
        copies.clear();
        ends.clear();
        landed = landed_groups = 0;
    }
};

struct thread {
    simt::context context;
    uint3 index;
    unsigned number;
    bool waiting;
    const char *waits_for; /* For the message of a deadlock. */
    place waits_at;
    copy_queue queue;
};

enum collective { SYNCWARP, SHUFFLE, VOTE, LDMATRIX, MMA };

/* A collective of which some lanes have arrived. */
struct rendezvous {
    collective kind;
    unsigned mask, arrived;
    place where;
};

struct warp {
    std::vector<rendezvous> pending;
    void *arguments[WARP]; /* Of the lanes that wait. */
    uint32_t time;
    unsigned live;
};

struct block {
    uint3 index;
    dim3 size, grid;
    const kernel_call *call;
    uint8_t *room, *shared; /* room: shadow.cc's. */
    size_t shared_bytes;
    uint64_t random;
    uint32_t time;
    unsigned n_threads, at_barrier, n_done;
    place barrier;
    std::vector<thread> threads; /* The first n_threads; kept for the blocks that follow. */
    std::vector<warp> warps;
    std::vector<unsigned> runnable;
    simt::shadow shadow;
    context scheduler;

    moment now(const thread &t) const {
        return {time, warps[t.number / WARP].time, t.number};
    }
};

/* What is executed in this OS thread; NULL in host code. */
extern constinit thread_local block *current_block;
extern constinit thread_local thread *current_thread;

constexpr size_t STACK_BYTES = 256 << 10;

/* Lets each thread of b begin, and goes on until all have ended. */
void run_threads(block &b);

/* The running thread waits, until wake() of its number. */
void wait_for(const char *what, place where);
void wake(unsigned number);

void give_up_place(); /* The running thread ends: what its warp's other lanes make of it. */

uint64_t draw(uint64_t &state);

/* Returns only when all have met: the rendezvous to the last to arrive, NULL to the others. */
rendezvous *arrive(collective kind, unsigned mask, void *argument, place where);
void part(rendezvous *meeting);

/* Lanes of `mask` meet; the last one calls perform(arguments by lane). */
template <class F>
void meet(collective kind, unsigned mask, void *argument, place where, F perform) {
    rendezvous *meeting = arrive(kind, mask, argument, where);
    if (!meeting) return;
    perform(current_block->warps[current_thread->number / WARP].arguments);
    part(meeting);
}

/* ---- launches and streams: simt.cc, streams.cc ---------------------------------------------- */

size_t most_shared(); /* Bytes that a block can have. */

/* The work waits in the stream, or in the graph when the stream is being captured; without a stream
 * it is done at once. */
cudaError_t queue(cudaStream_t stream, std::function<cudaError_t()> work);

/* Does what waits: in one stream; in all that synchronous calls wait for; in all. The first error
 * of these streams. */
cudaError_t finish(cudaStream_t stream);
cudaError_t finish_blocking();
cudaError_t finish_all();

/* For calls that act at once: during a capture they fail, and the capture with them. The other:
 * that, or an injected failure. */
cudaError_t refused_while_capturing();
cudaError_t immediate_failure();

/* ---- device memory: device_memory.cc -------------------------------------------------------- */

size_t device_bytes();      /* As large as THAW_SIMT_MEMORY says, else 1 GiB. */
size_t free_device_bytes(); /* Of these. */

uint8_t *device_alloc(size_t bytes); /* All bits set; NULL when there is not enough. */
bool device_free(void *memory);      /* Whether device_alloc gave it. */

/* Whether [memory, memory + n) lies inside one allocation. */
bool is_live(const void *memory, size_t n);

/* Of any state; only the checked build knows, by the range of addresses it takes all from. */
constexpr size_t DEVICE_RANGE_BYTES = (size_t)64 << 30;
extern constinit uintptr_t device_range;
inline bool is_device(const void *memory) {
    return (uintptr_t)memory - device_range < DEVICE_RANGE_BYTES;
}

/* What is wrong with an access, NULL if nothing. A write counts as made. */
const char *read_fault(const void *memory, size_t n);
const char *write_fault(const void *memory, size_t n);

/* As written as [from, from + n); from NULL: written. */
void mark_written(void *memory, const void *from, size_t n);

/* Of the host, pinned: kernels may read and write it. */
void *pinned_alloc(size_t bytes);
bool pinned_free(void *memory);
bool is_pinned(const void *memory, size_t n);

}  // namespace simt

#endif
