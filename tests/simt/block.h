/* The emulation's own: a block with its fibers, and the shadow of its shared memory. */
#ifndef THAW_SIMT_BLOCK_H
#define THAW_SIMT_BLOCK_H

#include <cuda_runtime.h>

#include <deque>
#include <memory>
#include <vector>

#include "simt.h"

namespace simt {

enum { WARP = 32 };

/* Where in the source an access stands: in words, or as an address in the program. */
struct site {
    place where;
    const void *pc; /* NULL: where counts. */
};

/* ---- the shadow: what is known of each byte of shared memory -------------------------------- */

/* When an access was: between two accesses with equal block times there was no barrier. */
struct moment {
    uint32_t block_time, warp_time; /* Barriers of the block, of the thread's warp. */
    uint16_t thread;
};

struct shadow_byte {
    moment write, read;
    bool written, under_way, is_read, more_readers, more_warps;
};

class shadow {
   public:
    void reset(size_t bytes);
    /* Each checks [offset, offset + n) and ends the process when something is wrong. */
    void read(size_t offset, size_t n, const moment &now, const site &at);
    void write(size_t offset, size_t n, const moment &now, const site &at);
    void issue(size_t offset, size_t n, const moment &now, const site &at);
    void land(size_t offset, size_t n, const moment &now);

   private:
    std::vector<shadow_byte> bytes;
};

/* ---- the block ------------------------------------------------------------------------------ */

struct copy {
    void *to;
    const void *from;
    bool valid;
    place where;
};

struct fiber; /* simt.cc */

struct thread {
    fiber *context;
    uint3 index;
    unsigned number;
    bool waiting, done;
    const char *waits_for; /* For the message of a deadlock. */
    place waits_at;
    std::vector<copy> open_copies;
    std::deque<std::vector<copy>> groups;
};

/* A collective of which some lanes have arrived. */
struct rendezvous {
    const char *what;
    unsigned mask, arrived;
    place where;
    void *arguments[WARP];
};

struct warp {
    std::vector<rendezvous> pending;
    uint32_t time;
    unsigned live;
};

struct block {
    uint3 index;
    dim3 size, grid;
    uint8_t *shared;
    size_t shared_bytes;
    uint64_t random;
    uint32_t time;
    unsigned at_barrier, n_done;
    place barrier;
    std::vector<thread> threads;
    std::vector<warp> warps;
    std::vector<unsigned> runnable;
    simt::shadow shadow;

    moment now(const thread &t) const {
        return {time, warps[t.number / WARP].time, (uint16_t)t.number};
    }
};

/* What runs in this OS thread; NULL in host code. */
extern thread_local block *current_block;
extern thread_local thread *current_thread;

/* An access of n bytes by kernel or host code, seen by the instrumentation or by a collective. */
void access(const void *memory, size_t n, bool is_write, const site &at);

[[noreturn]] void error_at(const site &at, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Device memory: NULL when it is none, else what is wrong with [memory, memory + n), or "". */
const char *device_memory_fault(const void *memory, size_t n);

/* Whether the stream is being captured; then the launch has been kept. */
bool keep_for_graph(cudaStream_t stream, const cudaLaunchConfig_t &config,
                    const std::function<void()> &body);

/* Shared memory of this size lies alone, with room around it that nobody may touch. */
uint8_t *map_shared(size_t bytes);
bool is_near_shared(const void *memory); /* Inside, or in the room around. */

}  // namespace simt

#endif
