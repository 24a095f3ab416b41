/* The checks of the checked build: the shadow of shared memory, and the answers to the calls that
 * GCC puts before each access when it compiles for ThreadSanitizer (whose own library is not
 * linked).
 *
 * Two accesses are ordered when they are by one thread, when a barrier of the block lies between
 * them, or, within a warp, a __syncwarp. The shadow keeps of each byte its last write and its last
 * read, and whether others read at the same time: enough to catch a conflict, not to name both
 * sides of it.
 */
#include <sys/mman.h>

#include "block.h"

namespace simt {

#ifdef THAW_SIMT_CHECKED

static bool ordered(const moment &before, const moment &now) {
    if (before.thread == now.thread || before.block_time != now.block_time) return true;
    return before.thread / WARP == now.thread / WARP && before.warp_time != now.warp_time;
}

void shadow::reset(size_t n) {
    bytes.assign(n, {});
}

void shadow::read(size_t offset, size_t n, const moment &now, const site &at) {
    for (size_t i = offset; i < offset + n; i++) {
        shadow_byte &b = bytes[i];
        if (b.under_way)
            error_at(at, "shared memory at byte %zu is read while its cp.async is under way", i);
        if (!b.written) error_at(at, "shared memory at byte %zu is read, but nothing wrote it", i);
        if (!ordered(b.write, now)) {
            error_at(at,
                     "shared memory at byte %zu is read, but thread %u wrote it without a barrier "
                     "between",
                     i, b.write.thread);
        }
        bool same_time = b.is_read && b.read.block_time == now.block_time;
        bool same_warp = b.read.thread / WARP == now.thread / WARP;
        b.more_warps = same_time && (b.more_warps || !same_warp);
        b.more_readers = same_time && same_warp && b.read.warp_time == now.warp_time &&
                         (b.more_readers || b.read.thread != now.thread);
        b.read = now;
        b.is_read = true;
    }
}

void shadow::write(size_t offset, size_t n, const moment &now, const site &at) {
    for (size_t i = offset; i < offset + n; i++) {
        shadow_byte &b = bytes[i];
        if (b.under_way)
            error_at(at, "shared memory at byte %zu is written while a cp.async to it is under way",
                     i);
        if (b.written && !ordered(b.write, now)) {
            error_at(at,
                     "shared memory at byte %zu is written, but thread %u wrote it without a "
                     "barrier between",
                     i, b.write.thread);
        }
        bool same_time = b.is_read && b.read.block_time == now.block_time;
        bool others =
            same_time && (b.more_warps || (b.more_readers && b.read.warp_time == now.warp_time));
        if (b.is_read && (others || !ordered(b.read, now))) {
            error_at(at,
                     "shared memory at byte %zu is written, but thread %u or its neighbours read "
                     "it without a barrier between",
                     i, b.read.thread);
        }
        b.write = now;
        b.written = true;
        b.is_read = b.more_readers = b.more_warps = false;
    }
}

void shadow::issue(size_t offset, size_t n, const moment &now, const site &at) {
    write(offset, n, now, at); /* It may land at once. */
    for (size_t i = offset; i < offset + n; i++)
        bytes[i].under_way = true;
}

void shadow::land(size_t offset, size_t n, const moment &now) {
    for (size_t i = offset; i < offset + n; i++) {
        bytes[i].under_way = false;
        bytes[i].write = now;
    }
}

/* Shared memory lies at the end of its room, so that the first byte behind it is seen, too. */
enum : size_t { ROOM_BYTES = 1 << 20, MARGIN_BYTES = 64 << 10 };
static thread_local uint8_t *room;

uint8_t *map_shared(size_t bytes) {
    if (!room) {
        room = (uint8_t *)mmap(nullptr, ROOM_BYTES, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (room == MAP_FAILED) abort();
    }
    memset(room + MARGIN_BYTES, 0xff, bytes);
    return room + MARGIN_BYTES;
}

bool is_near_shared(const void *memory) {
    return room && (const uint8_t *)memory >= room && (const uint8_t *)memory < room + ROOM_BYTES;
}

void access(const void *memory, size_t n, bool is_write, const site &at) {
    block *b = current_block;
    if (b && is_near_shared(memory)) {
        ptrdiff_t offset = (const uint8_t *)memory - b->shared;
        if (offset < 0 || (size_t)offset + n > b->shared_bytes) {
            error_at(at, "%s of bytes %td to %td of shared memory, which has %zu",
                     is_write ? "write" : "read", offset, offset + (ptrdiff_t)n - 1,
                     b->shared_bytes);
        }
        moment now = b->now(*current_thread);
        if (is_write) {
            b->shadow.write((size_t)offset, n, now, at);
        } else {
            b->shadow.read((size_t)offset, n, now, at);
        }
        return;
    }
    const char *fault = device_memory_fault(memory, n);
    if (!fault) return;
    if (*fault) error_at(at, "%s of %zu bytes %s", is_write ? "write" : "read", n, fault);
    if (!b) error_at(at, "host code touches device memory");
}

static void access_aligned(const void *memory, size_t n, bool is_write, const void *pc) {
    bool watched = is_near_shared(memory) || device_memory_fault(memory, 1);
    if (!watched) return;
    site at = {place::current(), pc};
    if ((uintptr_t)memory % n)
        error_at(at, "an access of %zu bytes at an address that is not aligned to them", n);
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

struct exact_memory {
    void *memory = nullptr;
    ~exact_memory() {
        free(memory);
    }
};

uint8_t *map_shared(size_t bytes) {
    static thread_local exact_memory mine;
    free(mine.memory);
    if (posix_memalign(&mine.memory, 128, std::max<size_t>(bytes, 1)) != 0) abort();
    memset(mine.memory, 0xff, bytes);
    return (uint8_t *)mine.memory;
}

bool is_near_shared(const void *) {
    return false;
}

void access(const void *, size_t, bool, const site &) {
}

#endif

}  // namespace simt

#ifdef THAW_SIMT_CHECKED
/* GCC's interface to ThreadSanitizer's library: gcc/sanitizer.def, 12.2. */
#define ANSWER(n)                                                       \
    extern "C" void __tsan_read##n(void *p) {                           \
        simt::access_aligned(p, n, false, __builtin_return_address(0)); \
    }                                                                   \
    extern "C" void __tsan_write##n(void *p) {                          \
        simt::access_aligned(p, n, true, __builtin_return_address(0));  \
    }
#define ANSWER_UNALIGNED(n)                                                               \
    extern "C" void __tsan_unaligned_read##n(void *p) {                                   \
        simt::access(p, n, false, {simt::place::current(), __builtin_return_address(0)}); \
    }                                                                                     \
    extern "C" void __tsan_unaligned_write##n(void *p) {                                  \
        simt::access(p, n, true, {simt::place::current(), __builtin_return_address(0)});  \
    }
ANSWER(1)
ANSWER(2)
ANSWER(4)
ANSWER(8)
ANSWER(16)
ANSWER_UNALIGNED(2)
ANSWER_UNALIGNED(4)
ANSWER_UNALIGNED(8)
ANSWER_UNALIGNED(16)
extern "C" void __tsan_read_range(void *p, size_t n) {
    simt::access(p, n, false, {simt::place::current(), __builtin_return_address(0)});
}
extern "C" void __tsan_write_range(void *p, size_t n) {
    simt::access(p, n, true, {simt::place::current(), __builtin_return_address(0)});
}
extern "C" void __tsan_init() {
}
extern "C" void __tsan_func_entry(void *) {
}
extern "C" void __tsan_func_exit() {
}
extern "C" void __tsan_vptr_update(void *, void *) {
}
#endif
