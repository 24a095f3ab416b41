/* A launch: its blocks in random order, a few at a time, each in an OS thread. */
#include "simt.h"

#include <atomic>
#include <map>
#include <mutex>
#include <numeric>
#include <thread>

#include "block.h"

namespace simt {

/* ---- what is possible ----------------------------------------------------------------------- */

static std::map<const void *, int> shared_limits;
static std::mutex limits_lock;

constexpr size_t SHARED_UNASKED = 48 << 10;

size_t most_shared() {
    return (size_t)(THAW_SIMT_ARCH == 750 ? 64 : 99) << 10;
}

cudaError_t set_shared_limit(const void *kernel, cudaFuncAttribute, int bytes) {
    if (bytes < 0 || (size_t)bytes > most_shared()) return cudaErrorInvalidValue;
    std::lock_guard<std::mutex> hold(limits_lock);
    shared_limits[kernel] = bytes;
    return cudaSuccess;
}

cudaError_t get_attributes(cudaFuncAttributes *attributes) {
    *attributes = {THAW_SIMT_ARCH / 10, THAW_SIMT_ARCH / 10, 0, 0};
    return cudaSuccess;
}

/* As the runtime refuses: CUDA C++ Programming Guide, "Technical Specifications per Compute
 * Capability". */
static cudaError_t refusal(const cudaLaunchConfig_t &c, const void *kernel) {
    uint64_t threads = (uint64_t)c.blockDim.x * c.blockDim.y * c.blockDim.z;
    bool possible = threads >= 1 && c.blockDim.x <= 1024 && c.blockDim.y <= 1024 &&
                    c.blockDim.z <= 64 && threads <= 1024 && c.gridDim.x >= 1 &&
                    c.gridDim.x <= 0x7fffffffu && c.gridDim.y >= 1 && c.gridDim.y <= 65535 &&
                    c.gridDim.z >= 1 && c.gridDim.z <= 65535;
    if (!possible) return cudaErrorInvalidConfiguration;
    std::lock_guard<std::mutex> hold(limits_lock);
    auto limit = shared_limits.find(kernel);
    size_t asked = limit == shared_limits.end() ? 0 : (size_t)limit->second;
    bool fits = c.dynamicSmemBytes <= std::max<size_t>(asked, SHARED_UNASKED);
    return fits ? cudaSuccess : cudaErrorInvalidValue;
}

/* ---- a block -------------------------------------------------------------------------------- */

static void start_block(block &b, const cudaLaunchConfig_t &config, const kernel_call &call,
                        uint64_t number, uint64_t seed) {
    const dim3 &grid = config.gridDim, &size = config.blockDim;
    b.index = {(unsigned)(number % grid.x), (unsigned)(number / grid.x % grid.y),
               (unsigned)(number / grid.x / grid.y)};
    b.grid = grid;
    b.size = size;
    b.call = &call;
    b.random = seed ^ number << 20;
    b.n_threads = size.x * size.y * size.z;
    b.time = b.at_barrier = b.n_done = 0;
    b.shared_bytes = config.dynamicSmemBytes;
    map_shared(b);
    b.shadow.reset(b.shared_bytes);
    b.runnable.clear();
    b.warps.assign((b.n_threads + WARP - 1) / WARP, {});
    if (b.threads.size() < b.n_threads) b.threads.resize(b.n_threads);
    for (unsigned i = 0; i < b.n_threads; i++) {
        thread &t = b.threads[i];
        t.number = i;
        t.index = {i % size.x, i / size.x % size.y, i / size.x / size.y};
        t.waiting = false;
        t.queue.clear();
        b.warps[i / WARP].live |= 1u << i % WARP;
    }
}

/* Blocks with their stacks, for the next launch: most launches are short. */
static auto &spare_blocks = *new std::vector<block *>; /* Outlives every destructor. */
static std::mutex spare_lock;

static block *take_block() {
    std::lock_guard<std::mutex> hold(spare_lock);
    if (spare_blocks.empty()) return new block{};
    block *b = spare_blocks.back();
    spare_blocks.pop_back();
    return b;
}

static void keep_block(block *b) {
    std::lock_guard<std::mutex> hold(spare_lock);
    spare_blocks.push_back(b);
}

/* ---- a launch ------------------------------------------------------------------------------- */

cudaError_t launch(const cudaLaunchConfig_t *config, const void *kernel, const kernel_call &call) {
    if (cudaError_t code = refusal(*config, kernel)) return code;
    cudaLaunchConfig_t copy = *config;
    return queue(config->stream, [copy, call] { return run_now(copy, call); });
}

cudaError_t run_now(const cudaLaunchConfig_t &config, const kernel_call &call) {
    const char *text = getenv("THAW_SIMT_SEED");
    uint64_t seed = text ? strtoull(text, nullptr, 0) : 1;
    const dim3 &grid = config.gridDim;
    uint64_t blocks = (uint64_t)grid.x * grid.y * grid.z;
    /* Blocks start in any order: a step that shares no divisor with their number. */
    uint64_t step = 1 + draw(seed) % blocks;
    while (std::gcd(step, blocks) != 1)
        step++;
    std::atomic<uint64_t> next{0};
    auto work = [&] {
        block *b = take_block();
        for (uint64_t i; (i = next++) < blocks;) {
            start_block(*b, config, call, i * step % blocks, seed);
            run_threads(*b);
            unmap_shared(*b);
        }
        keep_block(b);
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
