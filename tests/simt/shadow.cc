/* The checks of the checked build: the shadow of shared memory, and the answers to the calls that
 * GCC puts before each access when it compiles for ThreadSanitizer (whose own library is not
 * linked).
 *
 * Two accesses are ordered when they are by one thread, when a barrier of the block lies between
 * them, or, within a warp, a __syncwarp. The shadow keeps of each byte its last write and the reads
 * since, of each the newest and whether others were at the same time: enough to catch a conflict,
 * not to name both sides of it.
 */
#include <sys/mman.h>

#include "block.h"

namespace simt {

#ifdef THAW_SIMT_CHECKED

/* ---- the shadow ----------------------------------------------------------------------------- */

__attribute__((always_inline)) inline void crowd::join(const moment &now) {
    bool same_time = any && block_time == now.block_time;
    bool same_warp = thread / WARP == now.thread / WARP;
    more_warps = same_time && (more_warps || !same_warp);
    more_threads = same_time && same_warp && warp_time == now.warp_time &&
                   (more_threads || thread != now.thread);
    block_time = now.block_time;
    warp_time = now.warp_time;
    thread = now.thread & 0xfff;
    any = 1;
}

__attribute__((always_inline)) inline bool crowd::is_before(const moment &now) const {
    if (!any || block_time != now.block_time) return true;
    if (more_warps || thread / WARP != now.thread / WARP) return false;
    if (warp_time != now.warp_time) return true;
    return thread == now.thread && !more_threads;
}

constexpr size_t WORD = 4;

void shadow::reset(size_t n) {
    words.assign((n + WORD - 1) / WORD, {});
    bytes.resize(words.size() * WORD);
}

/* f(state, offset) for each state of these bytes. It may change the state, to the same for all of a
 * word's bytes if the word `rejoins`. */
template <class F>
void shadow::visit(size_t offset, size_t n, bool rejoins, F f) {
    for (size_t end = offset + n; offset < end;) {
        word &w = words[offset / WORD];
        bool all = offset % WORD == 0 && end - offset >= WORD;
        if (all && !w.split) {
            f(w.whole, offset);
            offset += WORD;
            continue;
        }
        shadow_state *first = &bytes[offset / WORD * WORD];
        if (!w.split) std::fill(first, first + WORD, w.whole);
        w.split = true;
        for (size_t stop = std::min(end, (offset / WORD + 1) * WORD); offset < stop; offset++)
            f(bytes[offset], offset);
        if (all && rejoins) {
            w.split = false;
            w.whole = *first;
        }
    }
}

/* An access: what is done, to which byte, when and where; and what must not be so. */
struct doing {
    const char *what;
    size_t byte;
    const moment &now;
    const site &at;

    void needs_landed(const shadow_state &s) const {
        if (s.under_way)
            error_at(at, "shared memory at byte %zu is %s while its cp.async is under way", byte,
                     what);
    }
    void needs_written(const shadow_state &s) const {
        if (!s.writes.any)
            error_at(at, "shared memory at byte %zu is %s, but nothing wrote it", byte, what);
    }
    void needs_before(const crowd &others, const char *did) const {
        if (others.is_before(now)) return;
        bool more = others.more_threads || others.more_warps;
        error_at(at,
                 "shared memory at byte %zu is %s, but thread %u%s %s it without a barrier between",
                 byte, what, others.thread, more ? " and others" : "", did);
    }
};

void shadow::read(size_t offset, size_t n, const moment &now, const site &at) {
    visit(offset, n, false, [&](shadow_state &s, size_t i) {
        doing d = {"read", i, now, at};
        d.needs_landed(s);
        d.needs_written(s);
        d.needs_before(s.writes, "wrote");
        d.needs_before(s.atomics, "changed");
        s.reads.join(now);
    });
}

void shadow::write(size_t offset, size_t n, const moment &now, const site &at) {
    visit(offset, n, true, [&](shadow_state &s, size_t i) {
        doing d = {"written", i, now, at};
        d.needs_landed(s);
        d.needs_before(s.writes, "wrote");
        d.needs_before(s.atomics, "changed");
        d.needs_before(s.reads, "read");
        s = {};
        s.writes.join(now);
    });
}

/* Atomics may meet each other, but nothing else. */
void shadow::atomic(size_t offset, size_t n, const moment &now, const site &at) {
    visit(offset, n, false, [&](shadow_state &s, size_t i) {
        doing d = {"changed by an atomic", i, now, at};
        d.needs_landed(s);
        d.needs_written(s);
        d.needs_before(s.writes, "wrote");
        d.needs_before(s.reads, "read");
        s.atomics.join(now);
    });
}

void shadow::issue(size_t offset, size_t n, const moment &now, const site &at) {
    write(offset, n, now, at); /* It may land at once. */
    visit(offset, n, true, [](shadow_state &s, size_t) { s.under_way = true; });
}

void shadow::land(size_t offset, size_t n, const moment &now) {
    visit(offset, n, true, [&](shadow_state &s, size_t) {
        s = {};
        s.writes.join(now);
    });
}

/* ---- where an access goes ------------------------------------------------------------------- */

/* A block's room, kept for the blocks that follow; shared memory lies at a fixed place in it. */
constexpr size_t ROOM_BYTES = 1 << 20, MARGIN_BYTES = 64 << 10;

void map_shared(block &b) {
    if (!b.room) {
        b.room = (uint8_t *)mmap(nullptr, ROOM_BYTES, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (b.room == MAP_FAILED) abort();
    }
    b.shared = b.room + MARGIN_BYTES;
    memset(b.shared, 0xff, b.shared_bytes);
}

void unmap_shared(block &) {
}

static bool is_near_shared(const void *memory) {
    return current_block && (uintptr_t)memory - (uintptr_t)current_block->room < ROOM_BYTES;
}

static bool is_on_stack(const void *memory) {
    return (uintptr_t)memory - (uintptr_t)current_thread->context.stack < STACK_BYTES;
}

/* What kernels may touch beside: their indices, and tables that the program holds. */
static bool is_kernels_own(const void *memory) {
    extern const char start_of_program __asm__("__executable_start");
    extern const char end_of_program __asm__("_end");
    auto is_of = [&](const void *from, size_t n) {
        return (uintptr_t)memory - (uintptr_t)from < n;
    };
    return is_of(&threadIdx, sizeof threadIdx) || is_of(&blockIdx, sizeof blockIdx) ||
           is_of(&blockDim, sizeof blockDim) || is_of(&gridDim, sizeof gridDim) ||
           is_of(&start_of_program, (size_t)(&end_of_program - &start_of_program));
}

static const char *name_of(bool is_write) {
    return is_write ? "write" : "read";
}

/* Its offset in shared memory. */
static size_t place_in_shared(const void *memory, size_t n, const char *what, const site &at) {
    const block &b = *current_block;
    ptrdiff_t offset = (const uint8_t *)memory - b.shared;
    if (offset < 0 || (size_t)offset + n > b.shared_bytes) {
        error_at(at, "%s of bytes %td to %td of shared memory, which has %zu", what, offset,
                 offset + (ptrdiff_t)n - 1, b.shared_bytes);
    }
    return (size_t)offset;
}

static void access_device(const void *memory, size_t n, bool is_write, const site &at) {
    const char *fault = is_write ? write_fault(memory, n) : read_fault(memory, n);
    if (fault) error_at(at, "%s of %zu bytes %s", name_of(is_write), n, fault);
    if (!current_thread) error_at(at, "host code touches device memory");
}

void access(const void *memory, size_t n, bool is_write, const site &at) {
    block *b = current_block;
    if (is_near_shared(memory)) {
        size_t offset = place_in_shared(memory, n, name_of(is_write), at);
        moment now = b->now(*current_thread);
        if (is_write) {
            b->shadow.write(offset, n, now, at);
        } else {
            b->shadow.read(offset, n, now, at);
        }
    } else if (is_device(memory)) {
        access_device(memory, n, is_write, at);
    } else if (current_thread && !is_kernels_own(memory) && !is_pinned(memory, n)) {
        error_at(at, "%s of %zu bytes at %p, which is neither shared nor device memory",
                 name_of(is_write), n, memory);
    }
}

void atomic_access(const void *memory, size_t n, const site &at) {
    block *b = current_block;
    if (is_near_shared(memory)) {
        size_t offset = place_in_shared(memory, n, "atomic", at);
        return b->shadow.atomic(offset, n, b->now(*current_thread), at);
    }
    access(memory, n, false, at);
}

/* Before an access of compiled code to memory aligned to `alignment`, as its type says. */
static void see(const void *memory, size_t n, bool is_write, size_t alignment, const void *pc) {
    if (current_thread && is_on_stack(memory)) return; /* Most are. */
    site at = {place::current(), pc};
    bool watched = is_near_shared(memory) || is_device(memory);
    if (watched && (uintptr_t)memory % alignment)
        error_at(at, "an access of %zu bytes at an address that is misaligned for them", n);
    access(memory, n, is_write, at);
}

#else /* Under AddressSanitizer: exact allocations, which it watches. */

void shadow::reset(size_t) {
}
void shadow::read(size_t, size_t, const moment &, const site &) {
}
void shadow::write(size_t, size_t, const moment &, const site &) {
}
void shadow::issue(size_t, size_t, const moment &, const site &) {
}
void shadow::land(size_t, size_t, const moment &) {
}

void map_shared(block &b) {
    if (posix_memalign((void **)&b.shared, 128, std::max<size_t>(b.shared_bytes, 1)) != 0) abort();
    memset(b.shared, 0xff, b.shared_bytes);
}

void unmap_shared(block &b) {
    free(b.shared);
}

void access(const void *, size_t, bool, const site &) {
}
void atomic_access(const void *, size_t, const site &) {
}

#endif

}  // namespace simt

/* ---- GCC's interface to ThreadSanitizer's library: gcc/sanitizer.def, 12.2 ------------------ */

#ifdef THAW_SIMT_CHECKED
#define ANSWER(n)                                               \
    extern "C" void __tsan_read##n(void *p) {                   \
        simt::see(p, n, false, n, __builtin_return_address(0)); \
    }                                                           \
    extern "C" void __tsan_write##n(void *p) {                  \
        simt::see(p, n, true, n, __builtin_return_address(0));  \
    }                                                           \
    extern "C" void __tsan_unaligned_read##n(void *p) {         \
        simt::see(p, n, false, 1, __builtin_return_address(0)); \
    }                                                           \
    extern "C" void __tsan_unaligned_write##n(void *p) {        \
        simt::see(p, n, true, 1, __builtin_return_address(0));  \
    }
ANSWER(1)
ANSWER(2)
ANSWER(4)
ANSWER(8)
ANSWER(16)
extern "C" void __tsan_read_range(void *p, size_t n) {
    simt::see(p, n, false, 1, __builtin_return_address(0));
}
extern "C" void __tsan_write_range(void *p, size_t n) {
    simt::see(p, n, true, 1, __builtin_return_address(0));
}
extern "C" void __tsan_init() {
}
extern "C" void __tsan_func_entry(void *) {
}
extern "C" void __tsan_func_exit() {
}
extern "C" void __tsan_vptr_update(void *, void *) {
}
extern "C" void __tsan_vptr_read(void *) {
}

/* Atomics of host code (statics and reference counts of the C++ library): made, and not watched. */
#define ANSWER_ATOMICS(bits, type)                                                              \
    extern "C" type __tsan_atomic##bits##_load(const volatile type *p, int) {                   \
        return __atomic_load_n(p, __ATOMIC_SEQ_CST);                                            \
    }                                                                                           \
    extern "C" void __tsan_atomic##bits##_store(volatile type *p, type v, int) {                \
        __atomic_store_n(p, v, __ATOMIC_SEQ_CST);                                               \
    }                                                                                           \
    extern "C" type __tsan_atomic##bits##_exchange(volatile type *p, type v, int) {             \
        return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST);                                     \
    }                                                                                           \
    extern "C" type __tsan_atomic##bits##_fetch_add(volatile type *p, type v, int) {            \
        return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST);                                      \
    }                                                                                           \
    extern "C" type __tsan_atomic##bits##_fetch_sub(volatile type *p, type v, int) {            \
        return __atomic_fetch_sub(p, v, __ATOMIC_SEQ_CST);                                      \
    }                                                                                           \
    extern "C" int __tsan_atomic##bits##_compare_exchange_strong(volatile type *p, type *v,     \
                                                                 type w, int, int) {            \
        return __atomic_compare_exchange_n(p, v, w, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
    }
ANSWER_ATOMICS(8, uint8_t)
ANSWER_ATOMICS(32, uint32_t)
ANSWER_ATOMICS(64, uint64_t)
#endif
