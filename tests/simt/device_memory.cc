/* Device memory, and the host's pinned memory: what is allocated, and what of it was written.
 *
 * The checked build takes all from one range of addresses, each allocation from where none was
 * before: an address tells whether it is device memory, and what is freed stays forbidden. Under
 * AddressSanitizer each is a malloc of its own, exactly as large as asked for. */
#include <stdlib.h>
#include <sys/mman.h>

#include <map>
#include <mutex>

#include "block.h"

namespace simt {

struct registry {
    std::mutex lock;
    std::map<uintptr_t, size_t> bytes_at;
    size_t in_use = 0;
};

static registry &allocations() {
    static registry *all = new registry; /* Outlives every destructor. */
    return *all;
}

size_t device_bytes() {
    static const char *const text = getenv("THAW_SIMT_MEMORY");
    return text ? strtoull(text, nullptr, 0) : (size_t)1 << 30;
}

size_t free_device_bytes() {
    registry &r = allocations();
    std::lock_guard<std::mutex> hold(r.lock);
    return device_bytes() - r.in_use;
}

/* Whether [memory, memory + n) lies inside one of them. */
static bool holds(registry &r, const void *memory, size_t n) {
    std::lock_guard<std::mutex> hold(r.lock);
    auto next = r.bytes_at.upper_bound((uintptr_t)memory);
    if (next == r.bytes_at.begin()) return false;
    auto [start, bytes] = *--next;
    size_t offset = (uintptr_t)memory - start;
    return offset <= bytes && n <= bytes - offset;
}

bool is_live(const void *memory, size_t n) {
    return holds(allocations(), memory, n);
}

#ifdef THAW_SIMT_CHECKED

constexpr size_t ALIGNMENT = 256, GAP = 256, PAGE = 4096;
enum : uint8_t { FREE, ALLOCATED, WRITTEN };

constinit uintptr_t device_range = (uintptr_t)1 << 62; /* No address, until the first allocation. */
static uint8_t *states;                                /* One byte for each byte of the range. */
static size_t used = GAP;

static uint8_t *map_range() {
    void *memory = mmap(nullptr, DEVICE_RANGE_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) abort();
    return (uint8_t *)memory;
}

static uint8_t *states_of(const void *memory) {
    return states + ((uintptr_t)memory - device_range);
}

/* Zeroes; whole pages of it are given back. */
static void forget(uint8_t *from, size_t n) {
    uintptr_t first = ((uintptr_t)from + PAGE - 1) / PAGE * PAGE;
    uintptr_t end = ((uintptr_t)from + n) / PAGE * PAGE;
    memset(from, 0, n < PAGE ? n : first - (uintptr_t)from);
    if (n < PAGE) return;
    memset((void *)end, 0, (uintptr_t)from + n - end);
    if (end > first) madvise((void *)first, end - first, MADV_DONTNEED);
}

static uint8_t *take(size_t bytes) {
    if (!states) {
        states = map_range();
        device_range = (uintptr_t)map_range();
    }
    if (bytes > DEVICE_RANGE_BYTES - GAP - ALIGNMENT - used) return nullptr;
    uint8_t *memory = (uint8_t *)device_range + used;
    used = (used + bytes + GAP + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    memset(states_of(memory), ALLOCATED, bytes);
    return memory;
}

static void give_back(void *memory, size_t bytes) {
    forget(states_of(memory), bytes);
    forget((uint8_t *)memory, bytes);
}

static bool all_written(const uint8_t *states, size_t n) {
    const uint64_t eight = 0x0202020202020202u;
    for (uint64_t some; n >= 8; states += 8, n -= 8) {
        memcpy(&some, states, 8);
        if (some != eight) return false;
    }
    for (; n > 0; states++, n--) {
        if (*states != WRITTEN) return false;
    }
    return true;
}

static const char *const OUTSIDE = "outside live device memory";

const char *read_fault(const void *memory, size_t n) {
    const uint8_t *states = states_of(memory);
    if (all_written(states, n)) return nullptr;
    bool live = !memchr(states, FREE, n);
    return live ? "of device memory that nothing wrote" : OUTSIDE;
}

const char *write_fault(const void *memory, size_t n) {
    uint8_t *states = states_of(memory);
    if (all_written(states, n)) return nullptr;
    if (memchr(states, FREE, n)) return OUTSIDE;
    memset(states, WRITTEN, n);
    return nullptr;
}

void mark_written(void *memory, const void *from, size_t n) {
    if (!is_device(memory)) return;
    if (from && is_device(from)) {
        memmove(states_of(memory), states_of(from), n);
    } else {
        memset(states_of(memory), WRITTEN, n);
    }
}

#else

constinit uintptr_t device_range = (uintptr_t)1 << 62; /* No address. */

static uint8_t *take(size_t bytes) {
    void *memory = nullptr;
    return posix_memalign(&memory, 256, bytes) == 0 ? (uint8_t *)memory : nullptr;
}

static void give_back(void *memory, size_t) {
    free(memory);
}

const char *read_fault(const void *, size_t) {
    return nullptr;
}

const char *write_fault(const void *, size_t) {
    return nullptr;
}

void mark_written(void *, const void *, size_t) {
}

#endif

uint8_t *device_alloc(size_t bytes) {
    registry &r = allocations();
    std::lock_guard<std::mutex> hold(r.lock);
    if (bytes > device_bytes() - r.in_use) return nullptr;
    uint8_t *memory = take(bytes);
    if (!memory) return nullptr;
    memset(memory, 0xff, bytes); /* NaN in every floating type. */
    r.bytes_at[(uintptr_t)memory] = bytes;
    r.in_use += bytes;
    return memory;
}

bool device_free(void *memory) {
    registry &r = allocations();
    std::lock_guard<std::mutex> hold(r.lock);
    auto found = r.bytes_at.find((uintptr_t)memory);
    if (found == r.bytes_at.end()) return false;
    give_back(memory, found->second);
    r.in_use -= found->second;
    r.bytes_at.erase(found);
    return true;
}

/* ---- pinned memory of the host, which kernels may read -------------------------------------- */

static registry &pinned() {
    static registry *all = new registry;
    return *all;
}

void *pinned_alloc(size_t bytes) {
    registry &r = pinned();
    void *memory = malloc(std::max<size_t>(bytes, 1));
    std::lock_guard<std::mutex> hold(r.lock);
    if (memory) r.bytes_at[(uintptr_t)memory] = bytes;
    return memory;
}

bool pinned_free(void *memory) {
    registry &r = pinned();
    std::lock_guard<std::mutex> hold(r.lock);
    if (r.bytes_at.erase((uintptr_t)memory) == 0) return false;
    free(memory);
    return true;
}

bool is_pinned(const void *memory, size_t n) {
    return holds(pinned(), memory, n);
}

}  // namespace simt
