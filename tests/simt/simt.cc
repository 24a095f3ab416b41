/* Fibers, rendezvous and launches; the tensor cores' arithmetic. See simt.h. */
#include "simt.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <boost/context/fiber.hpp>
#include <map>
#include <mutex>
#include <thread>

#include "block.h"
#include "types.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define SWITCH_START(fake, bottom, size) __sanitizer_start_switch_fiber(fake, bottom, size)
#define SWITCH_END(fake, bottom, size) __sanitizer_finish_switch_fiber(fake, bottom, size)
#else
#define SWITCH_START(fake, bottom, size) (void)(fake), (void)(bottom), (void)(size)
#define SWITCH_END(fake, bottom, size) (void)(fake), (void)(bottom), (void)(size)
#endif

constinit thread_local uint3 threadIdx, blockIdx;
constinit thread_local dim3 blockDim, gridDim;

namespace simt {

thread_local block *current_block;
thread_local thread *current_thread;

/* ---- errors --------------------------------------------------------------------------------- */

/* "file:line" of a place in the program, by addr2line; the address itself where there is none. */
static std::string words_of(const site &at) {
    if (!at.pc) {
        const char *slash = strrchr(at.where.file_name(), '/');
        return std::string(slash ? slash + 1 : at.where.file_name()) + ":" +
               std::to_string(at.where.line());
    }
    extern const char start_of_program __asm__("__executable_start");
    char program[512], command[1024], line[512] = "";
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n < 0) return "?";
    program[n] = 0;
    /* The address that a call returns to is behind it. */
    snprintf(command, sizeof command, "addr2line -s -e '%s' %zx 2>/dev/null", program,
             (size_t)((const char *)at.pc - &start_of_program) - 1);
    FILE *pipe = popen(command, "r");
    if (pipe && fgets(line, sizeof line, pipe)) line[strcspn(line, " \n")] = 0;
    if (pipe) pclose(pipe);
    return line[0] ? line : "?";
}

[[noreturn]] static void end_process(const site &at, const char *format, va_list list) {
    static std::mutex one;
    one.lock(); /* For good: the first error is the one that is told. */
    fflush(stdout);
    fprintf(stderr, "simt: %s: ", words_of(at).c_str());
    vfprintf(stderr, format, list);
    if (current_thread) {
        const uint3 &b = current_block->index;
        fprintf(stderr, " (block %u,%u,%u thread %u)", b.x, b.y, b.z, current_thread->number);
    }
    fprintf(stderr, "\n");
    _exit(3);
}

void error(place where, const char *format, ...) {
    va_list list;
    va_start(list, format);
    end_process({where, nullptr}, format, list);
}

void error_at(const site &at, const char *format, ...) {
    va_list list;
    va_start(list, format);
    end_process(at, format, list);
}

/* ---- fibers --------------------------------------------------------------------------------- */

enum : size_t { STACK_BYTES = 256 << 10 };

/* One stack a fiber, kept for the next block that runs in this OS thread. */
struct stack_pool {
    std::vector<void *> stacks;
    void *get(unsigned i) {
        while (stacks.size() <= i) {
            void *memory = mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            if (memory == MAP_FAILED) abort();
            stacks.push_back(memory);
        }
        return stacks[i];
    }
    ~stack_pool() {
        for (void *memory : stacks)
            munmap(memory, STACK_BYTES);
    }
};

struct pooled_stack {
    void *memory;
    boost::context::stack_context allocate() {
        boost::context::stack_context context;
        context.size = STACK_BYTES;
        context.sp = (char *)memory + STACK_BYTES;
        return context;
    }
    void deallocate(boost::context::stack_context &) {
    }
};

struct fiber {
    boost::context::fiber inside, scheduler;
    void *memory;
};

/* What AddressSanitizer wants to know when stacks are switched. */
static thread_local const void *scheduler_stack;
static thread_local size_t scheduler_size;

static void yield() {
    void *fake = nullptr;
    SWITCH_START(&fake, scheduler_stack, scheduler_size);
    fiber *context = current_thread->context;
    context->scheduler = std::move(context->scheduler).resume();
    SWITCH_END(fake, &scheduler_stack, &scheduler_size);
}

static void resume(thread &t) {
    void *fake = nullptr;
    current_thread = &t;
    threadIdx = t.index;
    SWITCH_START(&fake, t.context->memory, STACK_BYTES);
    t.context->inside = std::move(t.context->inside).resume();
    SWITCH_END(fake, nullptr, nullptr);
    current_thread = nullptr;
}

static uint64_t draw(uint64_t &state) {
    uint64_t z = state += 0x9e3779b97f4a7c15u; /* splitmix64 (Vigna 2015). */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* ---- rendezvous ----------------------------------------------------------------------------- */

static bool same_place(const place &a, const place &b) {
    return a.line() == b.line() && strcmp(a.file_name(), b.file_name()) == 0;
}

static void wait_for(const char *what, place where) {
    thread &t = *current_thread;
    t.waiting = true;
    t.waits_for = what;
    t.waits_at = where;
    yield();
}

static void wake(unsigned number) {
    block &b = *current_block;
    b.threads[number].waiting = false;
    b.runnable.push_back(number);
}

void block_barrier(place where) {
    block &b = *current_block;
    if (b.at_barrier > 0 && !same_place(b.barrier, where)) {
        error(where, "the block's threads are at different barriers: here and at %s",
              words_of({b.barrier, nullptr}).c_str());
    }
    b.barrier = where;
    if (++b.at_barrier < b.threads.size()) return wait_for("barrier", where);
    b.at_barrier = 0;
    b.time++;
    for (thread &t : b.threads) {
        if (&t != current_thread) wake(t.number);
    }
}

/* Lanes of `mask` meet; the last calls perform(arguments by lane). */
template <class F>
static void meet(const char *what, unsigned mask, void *argument, place where, F perform) {
    block &b = *current_block;
    thread &self = *current_thread;
    warp &w = b.warps[self.number / WARP];
    unsigned bit = 1u << self.number % WARP;
    if (!(mask & bit)) error(where, "%s with mask %08x, which leaves out its own lane", what, mask);
    if (mask & ~w.live) {
        error(where, "%s with mask %08x, but lanes %08x have ended or never were", what, mask,
              mask & ~w.live);
    }
    rendezvous *meeting = nullptr;
    for (rendezvous &r : w.pending) {
        if (!(r.mask & mask)) continue;
        if (r.mask != mask || strcmp(r.what, what) != 0 || !same_place(r.where, where)) {
            error(where, "lanes of a warp are at different collectives: %s here, %s at %s", what,
                  r.what, words_of({r.where, nullptr}).c_str());
        }
        meeting = &r;
    }
    if (!meeting) {
        w.pending.push_back({what, mask, 0, where, {}});
        meeting = &w.pending.back();
    }
    meeting->arguments[self.number % WARP] = argument;
    meeting->arrived |= bit;
    if (meeting->arrived != mask) return wait_for(what, where);
    perform(meeting->arguments);
    w.pending.erase(w.pending.begin() + (meeting - w.pending.data()));
    for (unsigned lane = 0; lane < WARP; lane++) {
        if (mask >> lane & 1 && !(bit >> lane & 1)) wake(self.number / WARP * WARP + lane);
    }
}

void warp_barrier(unsigned mask, place where) {
    block &b = *current_block;
    warp &w = b.warps[current_thread->number / WARP];
    if (mask == 0xffffffffu) mask = w.live;
    meet("__syncwarp", mask, nullptr, where, [&](void **) {
        if (mask == w.live) w.time++; /* Part of a warp orders nothing for the shadow. */
    });
}

struct shuffle_argument {
    uint64_t bits, result;
    int from;
};

uint64_t shuffle(unsigned mask, uint64_t bits, int from, place where) {
    shuffle_argument mine = {bits, 0, from};
    meet("shuffle", mask, &mine, where, [&](void **all) {
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
    meet("vote", mask, &mine, where, [&](void **all) {
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

void memory_fence() {
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* Atomics race with nothing, but their address must be good. */
template <class T>
static T add(T *to, T value, place where) {
    if ((uintptr_t)to % sizeof(T)) error(where, "an atomic on a misaligned address");
    const char *fault = device_memory_fault(to, sizeof(T));
    if (fault && *fault) error(where, "an atomic on %s", fault);
    return __atomic_fetch_add(to, value, __ATOMIC_SEQ_CST);
}

unsigned atomic_add(unsigned *to, unsigned value, place where) {
    return add(to, value, where);
}

unsigned long long atomic_add(unsigned long long *to, unsigned long long value, place where) {
    return add(to, value, where);
}

/* ---- ptx.cuh -------------------------------------------------------------------------------- */

uint8_t *shared_memory() {
    return current_block->shared;
}

static size_t shared_offset(const void *memory, size_t n, place where) {
    block &b = *current_block;
    size_t offset = (size_t)((const uint8_t *)memory - b.shared);
    if ((const uint8_t *)memory < b.shared || offset + n > b.shared_bytes) {
        error(where, "bytes %td to %td of shared memory, which has %zu",
              (const uint8_t *)memory - b.shared, (const uint8_t *)memory - b.shared + n - 1,
              b.shared_bytes);
    }
    if (offset % n)
        error(where, "shared memory at byte %zu, which is not aligned to %zu", offset, n);
    return offset;
}

void cp_async_16(void *shared, const void *global, bool valid, place where) {
    block &b = *current_block;
    thread &t = *current_thread;
    size_t offset = shared_offset(shared, 16, where);
    if (valid) {
        if ((uintptr_t)global % 16) error(where, "cp.async from a misaligned address");
        access(global, 16, false, {where, nullptr});
    }
    b.shadow.issue(offset, 16, b.now(t), {where, nullptr});
    t.open_copies.push_back({shared, global, valid, where});
}

void cp_async_commit() {
    current_thread->groups.push_back(std::move(current_thread->open_copies));
    current_thread->open_copies.clear();
}

void cp_async_wait(int newest, place) {
    block &b = *current_block;
    thread &t = *current_thread;
    for (; t.groups.size() > (size_t)newest; t.groups.pop_front()) {
        for (const copy &c : t.groups.front()) {
            static const uint8_t zeros[16] = {};
            memcpy(c.to, c.valid ? c.from : zeros, 16);
            b.shadow.land((size_t)((uint8_t *)c.to - b.shared), 16, b.now(t));
        }
    }
}

struct ldmatrix_argument {
    uint32_t *r;
    const void *row;
};

void ldmatrix_x4(uint32_t *r, const void *shared_row, place where) {
    block &b = *current_block;
    size_t offset = shared_offset(shared_row, 16, where);
    b.shadow.read(offset, 16, b.now(*current_thread), {where, nullptr});
    ldmatrix_argument mine = {r, shared_row};
    meet("ldmatrix", 0xffffffffu, &mine, where, [](void **all) {
        for (int lane = 0; lane < WARP; lane++) {
            for (int i = 0; i < 4; i++) {
                auto *from = (ldmatrix_argument *)all[8 * i + lane / 4];
                memcpy(&((ldmatrix_argument *)all[lane])->r[i],
                       (const uint8_t *)from->row + lane % 4 * 4, 4);
            }
        }
    });
}

struct mma_argument {
    float *d;
    const uint32_t *a, *b;
};

/* Half to float, for all halves. */
static const float *half_table() {
    static const std::vector<float> table = [] {
        std::vector<float> t(65536);
        for (unsigned i = 0; i < t.size(); i++)
            t[i] = thaw::half_float((uint16_t)i);
        return t;
    }();
    return table.data();
}

/* The factors in a register: two for 16-bit types, one for tf32, whose lower 13 bits are cut. */
static void factors(factor type, uint32_t bits, float *to) {
    static const float *half = half_table();
    if (type == HALF) {
        to[0] = half[bits & 0xffff];
        to[1] = half[bits >> 16];
    } else if (type == BF16) {
        to[0] = thaw::bits_float(bits << 16);
        to[1] = thaw::bits_float(bits & 0xffff0000u);
    } else {
        to[0] = thaw::bits_float(bits & 0xffffe000u);
    }
}

/* PTX ISA, "Matrix Fragments for mma.m16n8k16" and m16n8k8 of .tf32. */
static void multiply(factor type, void **all) {
    float a[16][16], b[16][8], d[16][8];
    const int each = type == TF32 ? 1 : 2, depth = 8 * each;
    for (int lane = 0; lane < WARP; lane++) {
        auto *m = (mma_argument *)all[lane];
        int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; i++) {
            float f[2];
            factors(type, m->a[i], f);
            for (int e = 0; e < each; e++)
                a[g + i % 2 * 8][i / 2 * 4 * each + t * each + e] = f[e];
            d[g + i / 2 * 8][2 * t + i % 2] = m->d[i];
        }
        for (int i = 0; i < 2; i++) {
            float f[2];
            factors(type, m->b[i], f);
            for (int e = 0; e < each; e++)
                b[i * 4 * each + t * each + e][g] = f[e];
        }
    }
    for (int row = 0; row < 16; row++) {
        for (int k = 0; k < depth; k++) {
            for (int col = 0; col < 8; col++)
                d[row][col] += a[row][k] * b[k][col];
        }
    }
    for (int lane = 0; lane < WARP; lane++) {
        for (int i = 0; i < 4; i++)
            ((mma_argument *)all[lane])->d[i] = d[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
    }
}

void mma(factor type, float *d, const uint32_t *a, const uint32_t *b, place where) {
    mma_argument mine = {d, a, b};
    meet("mma", 0xffffffffu, &mine, where, [type](void **all) { multiply(type, all); });
}

/* ---- a block -------------------------------------------------------------------------------- */

int lane() {
    return (int)current_thread->number % WARP;
}

static void start_threads(block &b, const std::function<void()> &body, std::vector<fiber> &fibers,
                          stack_pool &stacks) {
    for (thread &t : b.threads) {
        unsigned i = t.number;
        fibers[i].memory = stacks.get(i);
        t.context = &fibers[i];
        fibers[i].inside = boost::context::fiber(
            std::allocator_arg, pooled_stack{fibers[i].memory},
            [&t, &b, &body](boost::context::fiber &&scheduler) {
                SWITCH_END(nullptr, &scheduler_stack, &scheduler_size);
                t.context->scheduler = std::move(scheduler);
                body();
                if (!t.groups.empty() && !t.groups.back().empty())
                    error(t.groups.back()[0].where, "cp.async: its thread ended without a wait");
                if (!t.open_copies.empty())
                    error(t.open_copies[0].where, "cp.async: its thread ended without a commit");
                t.done = true;
                b.n_done++;
                b.warps[t.number / WARP].live &= ~(1u << t.number % WARP);
                SWITCH_START(nullptr, scheduler_stack, scheduler_size);
                return std::move(t.context->scheduler);
            });
        b.runnable.push_back(i);
    }
}

/* Nobody can run, and not all are done. */
[[noreturn]] static void deadlock(block &b) {
    for (thread &t : b.threads) {
        if (!t.waiting) continue;
        current_thread = &t;
        error(t.waits_at,
              "this %s is never reached by all its threads: %u of %zu have ended, %u wait at the "
              "block's barrier",
              t.waits_for, b.n_done, b.threads.size(), b.at_barrier);
    }
    abort();
}

static void run_block(block &b, const std::function<void()> &body) {
    static thread_local stack_pool stacks;
    std::vector<fiber> fibers(b.threads.size());
    current_block = &b;
    blockIdx = b.index;
    blockDim = b.size;
    gridDim = b.grid;
    start_threads(b, body, fibers, stacks);
    while (!b.runnable.empty()) {
        size_t i = draw(b.random) % b.runnable.size();
        unsigned number = b.runnable[i];
        b.runnable[i] = b.runnable.back();
        b.runnable.pop_back();
        resume(b.threads[number]);
    }
    if (b.n_done != b.threads.size()) deadlock(b);
    current_block = nullptr;
}

static void make_block(block &b, const cudaLaunchConfig_t &config, uint64_t number, uint64_t seed) {
    const dim3 &grid = config.gridDim, &size = config.blockDim;
    b.index = {(unsigned)(number % grid.x), (unsigned)(number / grid.x % grid.y),
               (unsigned)(number / grid.x / grid.y)};
    b.grid = grid;
    b.size = size;
    b.random = seed ^ number << 20;
    b.time = b.at_barrier = b.n_done = 0;
    b.shared_bytes = config.dynamicSmemBytes;
    b.shared = map_shared(b.shared_bytes);
    b.shadow.reset(b.shared_bytes);
    b.runnable.clear();
    b.threads.assign(size.x * size.y * size.z, {});
    b.warps.assign((b.threads.size() + WARP - 1) / WARP, {});
    for (unsigned i = 0; i < b.threads.size(); i++) {
        b.threads[i].number = i;
        b.threads[i].index = {i % size.x, i / size.x % size.y, i / size.x / size.y};
        b.warps[i / WARP].live |= 1u << i % WARP;
    }
}

/* ---- a launch ------------------------------------------------------------------------------- */

static std::map<const void *, int> shared_limits;
static std::mutex limits_lock;

static int most_shared() {
    return THAW_SIMT_ARCH == 750 ? 64 << 10 : 99 << 10;
}

cudaError_t set_shared_limit(const void *kernel, cudaFuncAttribute, int bytes) {
    if (bytes < 0 || bytes > most_shared()) return cudaErrorInvalidValue;
    std::lock_guard<std::mutex> hold(limits_lock);
    shared_limits[kernel] = bytes;
    return cudaSuccess;
}

cudaError_t get_attributes(cudaFuncAttributes *attributes) {
    *attributes = {THAW_SIMT_ARCH / 10, THAW_SIMT_ARCH / 10, 0, 0};
    return cudaSuccess;
}

static bool is_possible(const cudaLaunchConfig_t &c, const void *kernel) {
    std::lock_guard<std::mutex> hold(limits_lock);
    auto limit = shared_limits.find(kernel);
    size_t most = limit == shared_limits.end() ? 48 << 10 : (size_t)limit->second;
    uint64_t threads = (uint64_t)c.blockDim.x * c.blockDim.y * c.blockDim.z;
    return threads >= 1 && threads <= 1024 && c.blockDim.z <= 64 && c.gridDim.x >= 1 &&
           c.gridDim.x <= 0x7fffffffu && c.gridDim.y >= 1 && c.gridDim.y <= 65535 &&
           c.gridDim.z >= 1 && c.gridDim.z <= 65535 &&
           c.dynamicSmemBytes <= std::max<size_t>(most, 48 << 10);
}

cudaError_t launch(const cudaLaunchConfig_t *config, const void *kernel,
                   const std::function<void()> &body) {
    if (!is_possible(*config, kernel)) return cudaErrorInvalidConfiguration;
    if (config->stream && keep_for_graph(config->stream, *config, body)) return cudaSuccess;
    return run_now(*config, body);
}

cudaError_t run_now(const cudaLaunchConfig_t &config, const std::function<void()> &body) {
    const char *text = getenv("THAW_SIMT_SEED");
    uint64_t seed = text ? strtoull(text, nullptr, 0) : 1;
    const dim3 &grid = config.gridDim;
    uint64_t blocks = (uint64_t)grid.x * grid.y * grid.z;
    /* Blocks start in any order: a step that shares no divisor with their number. */
    uint64_t step = 1 + draw(seed) % blocks;
    while (std::__gcd(step, blocks) != 1)
        step++;
    std::atomic<uint64_t> next{0};
    auto work = [&] {
        block b;
        for (uint64_t i; (i = next++) < blocks;) {
            make_block(b, config, i * step % blocks, seed);
            run_block(b, body);
        }
    };
    uint64_t n = std::min<uint64_t>(std::max(1u, std::thread::hardware_concurrency()), blocks);
    std::vector<std::thread> others;
    for (uint64_t i = 1; i < n; i++)
        others.emplace_back(work);
    work();
    for (std::thread &t : others)
        t.join();
    return cudaSuccess;
}

}  // namespace simt
