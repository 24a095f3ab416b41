/* The emulation: what its collectives compute, against the lane maps written out once more as plain
 * loops; and that each mistake in bad_kernels.cu is caught, with its file and line.
 *
 * A mistake ends the process, so each runs in a child of its own, whose words are read.
 */
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "bad_kernels.h"
#include "block.h"
#include "cuda_testing.h"

using namespace thaw;

struct simt_case {
    const char *name;
    void (*run)();
};

/* Without the checked build's shadow, sanitizers see some of the mistakes instead. */
#ifdef THAW_SIMT_CHECKED
constexpr bool CHECKED = true;
#else
constexpr bool CHECKED = false;
#endif

/* ---- mistakes ------------------------------------------------------------------------------- */

/* Lines of bad_kernels.cu that bear "name: caught here" or "or caught here". */
static std::vector<int> marked_lines(const char *name) {
    std::vector<int> lines;
    FILE *file = fopen(BAD_KERNELS_FILE, "r");
    char text[512];
    std::string mark = std::string("/* ") + name + ": ";
    for (int line = 1; file && fgets(text, sizeof text, file); line++) {
        if (strstr(text, mark.c_str()) && strstr(text, "caught here")) lines.push_back(line);
    }
    if (file) fclose(file);
    return lines;
}

static void launch(bad_kernel which) {
    size_t n = which == BAD_outside_global || which == BAD_copy_from_outside ? 64 : 65;
    unsigned *global;
    cudaMalloc((void **)&global, n * sizeof *global);
    if (which != BAD_uninitialised_global) cudaMemset(global, 0, n * sizeof *global);
    if (which == BAD_freed_global) cudaFree(global);
    if (which == BAD_host_memory) global = (unsigned *)calloc(n, sizeof *global);
    launch_bad(which, global);
}

/* What act() prints in a child of this process, which it may end; the exit status in *status. */
template <class F>
static std::string words_of_child(int *status, F act) {
    int ends[2];
    if (pipe(ends) != 0) return "";
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 2);
        close(ends[0]);
        act();
        _exit(0);
    }
    close(ends[1]);
    std::string words;
    char buffer[4096];
    for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;)
        words.append(buffer, (size_t)n);
    close(ends[0]);
    waitpid(child, status, 0);
    return words;
}

enum architecture { ANY, NEW, OLD };

static void expect_caught(bad_kernel which, const char *name, const char *words, char by) {
    int status = 0;
    std::string said = words_of_child(&status, [=] { launch(which); });
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return fail("%s is not caught", name);
    bool by_emulation = CHECKED || by == 'E';
    if (by_emulation && said.find(words) == std::string::npos)
        return fail("%s: '%s' lacks '%s'", name, said.c_str(), words);
    for (int line : marked_lines(name)) {
        if (said.find("bad_kernels.cu:" + std::to_string(line)) != std::string::npos) return;
    }
    fail("%s: none of its lines is named in '%s'", name, said.c_str());
}

/* In whatever order the threads run. */
static void mistakes() {
    bool is_new = device_sm() >= 80;
    auto expect = [&](bad_kernel which, const char *name, const char *words, char by,
                      architecture where) {
        if (by == 'C' && !CHECKED) return;
        if ((where == NEW && !is_new) || (where == OLD && is_new)) return;
        for (const char *seed : {"1", "2", "3"}) {
            setenv("THAW_SIMT_SEED", seed, 1);
            expect_caught(which, name, words, by);
        }
    };
#define X(name, words, by, where) expect(BAD_##name, #name, words, by, where);
    BAD_KERNELS(X)
#undef X
    unsetenv("THAW_SIMT_SEED");
}

/* ---- the shadow, access by access ----------------------------------------------------------- */

/* Threads 0 and 1 are of one warp, 40 of another. r read, w write, a atomic, i a cp.async issued,
 * l landed. */
struct access_step {
    char what;
    unsigned thread;
    size_t byte, n;
    uint32_t block_time, warp_time;
};

struct shadow_case {
    const char *name;
    std::vector<access_step> steps;
    const char *words; /* Of the message after the last step; NULL: all is well. */
};

static const char *const RACE = "without a barrier between", *const UNDER_WAY = "is under way";

static const std::vector<shadow_case> shadow_cases = {
    {"written, read by the same", {{'w', 0, 0, 4, 0, 0}, {'r', 0, 0, 4, 0, 0}}, nullptr},
    {"written, read by another", {{'w', 0, 0, 4, 0, 0}, {'r', 1, 0, 4, 0, 0}}, RACE},
    {"a barrier between", {{'w', 0, 0, 4, 0, 0}, {'r', 40, 0, 4, 1, 0}}, nullptr},
    {"__syncwarp between", {{'w', 0, 0, 4, 0, 0}, {'r', 1, 0, 4, 0, 1}}, nullptr},
    {"another warp's", {{'w', 0, 0, 4, 0, 0}, {'r', 40, 0, 4, 0, 1}}, RACE},
    {"written twice", {{'w', 0, 0, 4, 0, 0}, {'w', 1, 0, 4, 0, 0}}, RACE},
    {"read, written by another",
     {{'w', 0, 0, 4, 0, 0}, {'r', 0, 0, 4, 1, 0}, {'w', 1, 0, 4, 1, 0}},
     RACE},
    {"read by two, written by the later",
     {{'w', 0, 0, 4, 0, 0}, {'r', 0, 0, 4, 1, 0}, {'r', 1, 0, 4, 1, 0}, {'w', 1, 0, 4, 1, 0}},
     RACE},
    {"read by two warps, written by the later",
     {{'w', 0, 0, 4, 0, 0}, {'r', 0, 0, 4, 1, 0}, {'r', 40, 0, 4, 1, 0}, {'w', 40, 0, 4, 1, 0}},
     RACE},
    {"read by two, then __syncwarp",
     {{'w', 0, 0, 4, 0, 0}, {'r', 0, 0, 4, 1, 0}, {'r', 1, 0, 4, 1, 0}, {'w', 1, 0, 4, 1, 1}},
     nullptr},
    {"read by two warps, then __syncwarp",
     {{'w', 0, 0, 4, 0, 0}, {'r', 40, 0, 4, 1, 0}, {'r', 0, 0, 4, 1, 0}, {'w', 1, 0, 4, 1, 1}},
     RACE},
    {"neighbours", {{'w', 0, 0, 1, 0, 0}, {'w', 1, 1, 1, 0, 0}}, nullptr},
    {"half a word", {{'w', 0, 0, 2, 0, 0}, {'r', 0, 0, 4, 0, 0}}, "nothing wrote it"},
    {"a word, then one of its bytes",
     {{'w', 0, 0, 4, 0, 0}, {'w', 1, 1, 1, 1, 0}, {'r', 40, 0, 4, 2, 0}},
     nullptr},
    {"a word, one of its bytes raced for",
     {{'w', 0, 0, 4, 0, 0}, {'w', 1, 1, 1, 1, 0}, {'r', 40, 0, 4, 1, 0}},
     RACE},
    {"a byte, then its word",
     {{'w', 0, 1, 1, 0, 0}, {'w', 1, 0, 4, 1, 0}, {'r', 40, 3, 1, 2, 0}, {'r', 0, 0, 4, 2, 0}},
     nullptr},
    {"across words", {{'w', 0, 2, 4, 0, 0}, {'w', 0, 6, 2, 0, 0}, {'r', 1, 3, 5, 1, 0}}, nullptr},
    {"atomics meet",
     {{'w', 0, 0, 4, 0, 0}, {'a', 0, 0, 4, 1, 0}, {'a', 40, 0, 4, 1, 0}, {'a', 1, 0, 4, 1, 0}},
     nullptr},
    {"an atomic on nothing", {{'a', 0, 0, 4, 0, 0}}, "nothing wrote it"},
    {"written, then an atomic", {{'w', 0, 0, 4, 0, 0}, {'a', 1, 0, 4, 0, 0}}, RACE},
    {"written, an atomic by the same, one by another",
     {{'w', 0, 0, 4, 0, 0}, {'a', 0, 0, 4, 0, 0}, {'a', 1, 0, 4, 0, 0}},
     RACE},
    {"read, an atomic by the same, one by another",
     {{'w', 0, 0, 4, 0, 0}, {'r', 0, 0, 4, 1, 0}, {'a', 0, 0, 4, 1, 0}, {'a', 1, 0, 4, 1, 0}},
     RACE},
    {"atomics, then read",
     {{'w', 0, 0, 4, 0, 0}, {'a', 0, 0, 4, 1, 0}, {'a', 1, 0, 4, 1, 0}, {'r', 1, 0, 4, 1, 0}},
     RACE},
    {"atomics, a barrier, read",
     {{'w', 0, 0, 4, 0, 0}, {'a', 0, 0, 4, 1, 0}, {'a', 40, 0, 4, 1, 0}, {'r', 1, 0, 4, 2, 0}},
     nullptr},
    {"an atomic, then written",
     {{'w', 0, 0, 4, 0, 0}, {'a', 0, 0, 4, 1, 0}, {'w', 1, 0, 4, 1, 0}},
     RACE},
    {"read while a copy is under way", {{'i', 0, 0, 16, 0, 0}, {'r', 0, 4, 4, 0, 0}}, UNDER_WAY},
    {"read while a copy is under way, after a barrier",
     {{'i', 0, 0, 16, 0, 0}, {'r', 1, 4, 4, 1, 0}},
     UNDER_WAY},
    {"written while a copy is under way", {{'i', 0, 0, 16, 0, 0}, {'w', 0, 4, 1, 1, 0}}, UNDER_WAY},
    {"an atomic while a copy is under way",
     {{'i', 0, 0, 16, 0, 0}, {'a', 0, 4, 4, 1, 0}},
     UNDER_WAY},
    {"two copies", {{'i', 0, 0, 16, 0, 0}, {'i', 0, 0, 16, 1, 0}}, UNDER_WAY},
    {"a copy to where others read",
     {{'w', 0, 0, 4, 0, 0}, {'r', 0, 0, 4, 1, 0}, {'i', 1, 0, 16, 1, 0}},
     RACE},
    {"landed, read by its thread",
     {{'i', 0, 0, 16, 0, 0}, {'l', 0, 0, 16, 1, 0}, {'r', 0, 0, 16, 1, 0}},
     nullptr},
    {"landed, read by another",
     {{'i', 0, 0, 16, 0, 0}, {'l', 0, 0, 16, 1, 0}, {'r', 1, 0, 16, 1, 0}},
     RACE},
    {"landed, a barrier, read",
     {{'i', 0, 0, 16, 0, 0}, {'l', 0, 0, 16, 1, 0}, {'r', 1, 0, 16, 2, 0}},
     nullptr},
};

static void do_step(simt::shadow &shadow, const access_step &s) {
    simt::moment now = {s.block_time, s.warp_time, s.thread};
    simt::site at = {simt::place::current(), nullptr};
    switch (s.what) {
        case 'r':
            return shadow.read(s.byte, s.n, now, at);
        case 'w':
            return shadow.write(s.byte, s.n, now, at);
        case 'a':
            return shadow.atomic(s.byte, s.n, now, at);
        case 'i':
            return shadow.issue(s.byte, s.n, now, at);
        case 'l':
            return shadow.land(s.byte, s.n, now);
    }
}

/* All steps but the last are well, too: their child prints nothing. */
static void shadows() {
    if (!CHECKED) return;
    for (const shadow_case &c : shadow_cases) {
        int status = 0;
        std::string said = words_of_child(&status, [&] {
            simt::shadow shadow;
            shadow.reset(16);
            for (const access_step &s : c.steps) {
                if (&s == &c.steps.back()) fputs("last: ", stderr);
                do_step(shadow, s);
            }
        });
        bool good = c.words ? said.find(c.words) != std::string::npos : said == "last: ";
        if (!good || said.rfind("last: ", 0) != 0) fail("%s: '%s'", c.name, said.c_str());
    }
}

/* ---- what is computed ----------------------------------------------------------------------- */

/* Every lane and register has its own small integers: a wrong lane map gives another product. */
template <class T>
static void product_of(product type) {
    const int depth = 32 / (int)sizeof(T);
    std::vector<T> a((size_t)(16 * depth)), b((size_t)(8 * depth));
    random_source random = {7};
    for (T &v : a)
        store(&v, random.integer(15));
    for (T &v : b)
        store(&v, random.integer(15));
    device_array<T> da(a), db(b);
    device_array<float> d(16 * 8);
    if (!ok(launch_product(type, da.data(), db.data(), d.data()), "product")) return;
    std::vector<float> got = d.download("d");
    for (int row = 0; row < 16; row++) {
        for (int col = 0; col < 8; col++) {
            double want = 0;
            for (int k = 0; k < depth; k++)
                want += (double)value(a[(size_t)(row * depth + k)]) *
                        value(b[(size_t)(col * depth + k)]);
            float is = got[(size_t)(row * 8 + col)];
            if (is != want) return fail("type %d at %d,%d: %g, not %g", type, row, col, is, want);
        }
    }
}

/* Every finite half times one, eight columns of a 16x8 product at a time. */
static void halves() {
    std::vector<half_t> a(16 * 16), b(8 * 16);
    for (auto *zeros : {&a, &b}) {
        for (half_t &v : *zeros)
            store(&v, 0);
    }
    for (size_t col = 0; col < 8; col++)
        store(&b[col * 16 + col], 1);
    device_array<half_t> from(a), ones(b);
    device_array<float> d(16 * 8);
    for (unsigned first = 0; first < 65536; first += 128) {
        if ((first >> 10 & 31) == 31) continue; /* Infinities and NaN: below. */
        for (unsigned i = 0; i < 128; i++)
            a[i / 8 * 16 + i % 8].bits = (uint16_t)(first + i);
        from.upload(a);
        if (!ok(launch_product(PRODUCT_HALF, from.data(), ones.data(), d.data()), "product"))
            return;
        std::vector<float> got = d.download("d");
        for (unsigned i = 0; i < 128; i++) {
            float want = half_float((uint16_t)(first + i));
            if (got[i] != want) return fail("half %04x: %g, not %g", first + i, got[i], want);
        }
    }
    for (unsigned bits : {0x7c00u, 0xfc00u, 0x7c01u, 0x7fffu}) { /* Alone: times 0 they are NaN. */
        for (half_t &v : a)
            v.bits = 0;
        a[0].bits = (uint16_t)bits;
        from.upload(a);
        if (!ok(launch_product(PRODUCT_HALF, from.data(), ones.data(), d.data()), "product"))
            return;
        float got = d.download("d")[0], want = half_float((uint16_t)bits);
        if (isnan(want) ? !isnan(got) : got != want) fail("half %04x: %g", bits, got);
    }
}

/* The hardware reads 19 bits: what lies below 2^-10 of one is cut, not rounded. */
static void cut_of_tf32() {
    if (device_sm() < 80) return;
    std::vector<float> a(16 * 8, 0), b(8 * 8, 0);
    a[0] = 1 + 0x1p-10f + 0x1.8p-11f;
    b[0] = 3 + 0x1p-9f - 0x1p-22f;
    device_array<float> from(a), by(b), d(16 * 8);
    if (!ok(launch_product(PRODUCT_TF32, from.data(), by.data(), d.data()), "product")) return;
    float got = d.download("d")[0], want = (1 + 0x1p-10f) * 3;
    if (got != want) fail("%.9g, not %.9g", got, want);
}

static void products() {
    product_of<half_t>(PRODUCT_HALF);
    if (device_sm() < 80) return;
    product_of<bf16_t>(PRODUCT_BF16);
    product_of<float>(PRODUCT_TF32);
}

static void matrices() {
    std::vector<unsigned> rows(32 * 4);
    for (size_t i = 0; i < rows.size(); i++)
        rows[i] = (unsigned)i * 1000003u;
    device_array<unsigned> from(rows), to(32 * 4);
    if (!ok(launch_ldmatrix(from.data(), to.data(), 16, 32), "ldmatrix")) return;
    std::vector<unsigned> got = to.download("r");
    for (unsigned lane = 0; lane < 32; lane++) {
        for (unsigned i = 0; i < 4; i++) {
            unsigned row = 8 * i + lane / 4, want = rows[row * 4 + lane % 4];
            if (got[lane * 4 + i] != want) return fail("lane %u register %u", lane, i);
        }
    }
}

/* Rows next to each other meet in no bank; 32 bytes apart, two and two; 128 bytes apart, all; but
 * one row for all is read once. */
static void conflicts() {
    device_array<unsigned> from(32 * 4), to(32 * 4);
    from.clear();
    const unsigned pitch[] = {16, 32, 128, 144, 128}, distinct[] = {32, 32, 32, 32, 1};
    const uint64_t want[] = {0, 4 * 1, 4 * 7, 0, 0};
    for (int i = 0; i < 5; i++) {
        uint64_t before = simt::bank_conflicts();
        int code = launch_ldmatrix(from.data(), to.data(), pitch[i], distinct[i]);
        if (!ok(code, "ldmatrix")) return;
        uint64_t got = simt::bank_conflicts() - before;
        if (got != want[i]) fail("pitch %u: %llu", pitch[i], (unsigned long long)got);
    }
}

static void votes() {
    device_array<unsigned> out(32 * 8);
    if (!ok(launch_votes(out.data()), "votes")) return;
    std::vector<unsigned> got = out.download("out");
    for (unsigned lane = 0; lane < 32; lane++) {
        const unsigned want[8] = {21,
                                  (lane ^ 9) * 3,
                                  (lane + 4 < 32 ? lane + 4 : lane) * 3,
                                  (lane >= 4 ? lane - 4 : lane) * 3,
                                  0x49249249u,
                                  2,
                                  lane, /* 8 lanes away is another segment of 8: its own. */
                                  lane < 16 ? 3u : 0u};
        for (unsigned i = 0; i < 8; i++) {
            if (got[lane * 8 + i] != want[i])
                return fail("lane %u result %u: %u, not %u", lane, i, got[lane * 8 + i], want[i]);
        }
    }
}

static void sums() {
    const unsigned blocks = 37;
    std::vector<unsigned> x(256 * blocks);
    unsigned want = 0;
    for (size_t i = 0; i < x.size(); i++)
        want += x[i] = (unsigned)(i * i);
    device_array<unsigned> from(x), total(1);
    total.clear();
    if (!ok(launch_sum(from.data(), total.data(), blocks), "sum")) return;
    if (total.download("total")[0] != want) fail("sums through barriers and atomics are wrong");
}

static void counts() {
    std::vector<unsigned> x(256), want(8);
    for (unsigned i = 0; i < 256; i++) {
        x[i] = i * i % 11;
        if (x[i] < 8) want[x[i]]++;
    }
    device_array<unsigned> from(x), to(8);
    if (!ok(launch_counts(from.data(), to.data()), "counts")) return;
    if (to.download("counts") != want) fail("atomics in shared memory count wrong");
}

static void places() {
    device_array<unsigned> out(N_PLACES);
    if (!ok(launch_places(out.data()), "places")) return;
    std::vector<unsigned> got = out.download("out");
    for (unsigned i = 0; i < N_PLACES; i++) {
        if (got[i] != i) return fail("thread %u of the grid says %u", i, got[i]);
    }
}

/* Lanes that have ended are not waited for by __syncwarp, in any order. */
static void half_warps() {
    for (const char *seed : {"1", "2", "3", "4", "5"}) {
        setenv("THAW_SIMT_SEED", seed, 1);
        device_array<unsigned> out(32);
        if (!ok(launch_half_warp(out.data()), "half warp")) return;
        std::vector<unsigned> got = out.download("out");
        for (unsigned lane = 0; lane < 32; lane += 2) {
            if (got[lane] != (lane ^ 2)) return fail("lane %u: %u", lane, got[lane]);
        }
    }
    unsetenv("THAW_SIMT_SEED");
}

static std::vector<unsigned> order_with(const char *seed) {
    setenv("THAW_SIMT_SEED", seed, 1);
    device_array<unsigned> counter(1), order(64);
    counter.clear();
    ok(launch_order(counter.data(), order.data()), "order");
    unsetenv("THAW_SIMT_SEED");
    return order.download("order");
}

static void seeds() {
    std::vector<unsigned> in_order(64);
    for (unsigned i = 0; i < 64; i++)
        in_order[i] = i;
    if (order_with("5") != order_with("5")) fail("one seed gives two orders");
    if (order_with("5") == order_with("6")) fail("two seeds give one order");
    if (order_with("5") == in_order) fail("threads run in their order");
}

static void copies() {
    if (device_sm() < 80) return;
    std::vector<uint4> x(32);
    for (unsigned i = 0; i < 32; i++)
        x[i] = make_uint4(i, i + 1, i + 2, i + 3);
    device_array<uint4> from(x), to(32);
    if (!ok(launch_copies(from.data(), to.data()), "copies")) return;
    std::vector<uint4> got = to.download("copies");
    for (unsigned i = 0; i < 32; i++) {
        uint4 want = i % 2 ? make_uint4(0, 0, 0, 0) : x[i];
        if (memcmp(&got[i], &want, sizeof want) != 0) return fail("vector %u", i);
    }
}

static void groups() {
    if (device_sm() < 80) return;
    std::vector<uint4> x(32);
    for (unsigned i = 0; i < 32; i++)
        x[i] = make_uint4(i, 2 * i, 3 * i, 4 * i);
    device_array<uint4> from(x), to(32);
    if (!ok(launch_groups(from.data(), to.data()), "groups")) return;
    std::vector<uint4> got = to.download("copies");
    if (memcmp(got.data(), x.data(), 32 * sizeof x[0]) != 0) fail("copies differ");
}

/* ---- the runtime ---------------------------------------------------------------------------- */

static void refusals() {
    unsigned *global;
    cudaMalloc((void **)&global, 256);
    cudaLaunchConfig_t config = {};
    void (*nothing)(unsigned *) = [](unsigned *) {};
    auto code = [&](dim3 grid, dim3 block, size_t shared) {
        config.gridDim = grid;
        config.blockDim = block;
        config.dynamicSmemBytes = shared;
        return cudaLaunchKernelEx(&config, nothing, global);
    };
    const cudaError_t BAD = cudaErrorInvalidConfiguration;
    if (code(1, 1, 0) != cudaSuccess) fail("a possible launch is refused");
    if (code(0, 1, 0) != BAD || code(1, 0, 0) != BAD) fail("an empty launch is taken");
    if (code(1, 1025, 0) != BAD || code(1, dim3(64, 32), 0) != BAD) fail("1025 threads are taken");
    if (code(1, dim3(1, 1, 65), 0) != BAD) fail("65 layers of threads are taken");
    if (code(dim3(1, 65536), 1, 0) != BAD) fail("65536 rows of blocks are taken");
    if (code(dim3(1, 1, 65536), 1, 0) != BAD) fail("65536 layers of blocks are taken");
    if (code(1, 1, 49153) != cudaErrorInvalidValue)
        fail("more than 48 KiB are given without being asked for");
    if (cudaFuncSetAttribute(nothing, cudaFuncAttributeMaxDynamicSharedMemorySize, 60000) ||
        code(1, 1, 60000) != cudaSuccess)
        fail("60000 bytes are refused after they were asked for");
    if (code(1, 1, 60001) != cudaErrorInvalidValue) fail("more is given than was asked for");
    int too_much = (device_sm() < 80 ? 64 : 99) * 1024 + 1;
    if (!cudaFuncSetAttribute(nothing, cudaFuncAttributeMaxDynamicSharedMemorySize, too_much))
        fail("%d bytes are promised", too_much);
    cudaFree(global);
}

/* A device has an end; what is freed can be had again; copies know the two sides. */
static void memory() {
    size_t free_bytes = 0, total = 0, less = 0;
    cudaMemGetInfo(&free_bytes, &total);
    uint8_t *some, *more, host[16] = {};
    if (!ok(cudaMalloc((void **)&some, 4096), "cudaMalloc")) return;
    cudaMemGetInfo(&less, &total);
    ok(cudaMemcpy(host, some + 4080, 16, cudaMemcpyDeviceToHost), "cudaMemcpy");
    for (uint8_t byte : host) {
        if (byte != 0xff) fail("fresh memory is not NaN");
    }
    if (less != free_bytes - 4096) fail("4096 bytes are taken, and %zu less", free_bytes - less);
    if (cudaMalloc((void **)&more, free_bytes) != cudaErrorMemoryAllocation)
        fail("there is more memory than there is");
    const cudaError_t BAD = cudaErrorInvalidValue;
    if (cudaMemcpy(some + 4081, host, 16, cudaMemcpyHostToDevice) != BAD)
        fail("a copy goes beyond its memory");
    if (cudaMemcpy(host, some, 16, cudaMemcpyHostToDevice) != BAD ||
        cudaMemcpy(host, host, 16, cudaMemcpyDeviceToHost) != BAD)
        fail("a copy takes one side for the other");
    if (cudaMemset(host, 0, 16) != BAD) fail("the host's memory is set");
    if (cudaFree(some + 1) != BAD) fail("what was not given is freed");
    ok(cudaFree(some), "cudaFree");
    if (cudaFree(some) != BAD) fail("memory is freed twice");
    cudaMemGetInfo(&less, &total);
    if (less != free_bytes) fail("what was freed is not free");
}

/* Kernels, copies and fills are kept in their order, and done at each launch of the graph. */
static void graphs() {
    cudaStream_t stream;
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    device_array<unsigned> x(std::vector<unsigned>{7}), y(std::vector<unsigned>{0});
    cudaStreamCreate(&stream);
    cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
    cudaMemsetAsync(x.data(), 0, 4, stream);
    launch_increment(x.data(), stream);
    launch_increment(y.data(), stream);
    cudaMemcpyAsync(y.data(), y.data(), 4, cudaMemcpyDeviceToDevice, stream);
    if (!ok(cudaStreamEndCapture(stream, &graph), "end of capture")) return;
    if (x.download("x")[0] != 7 || y.download("y")[0] != 0) fail("a capture acts at once");
    ok(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate");
    cudaGraphDestroy(graph);
    for (int i = 0; i < 3; i++)
        ok(cudaGraphLaunch(executable, stream), "cudaGraphLaunch");
    ok(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
    if (x.download("x")[0] != 1 || y.download("y")[0] != 3) fail("three launches gave another sum");
    cudaGraphExecDestroy(executable);
    /* What acts at once has no place in a graph. */
    void *memory;
    cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
    if (cudaMalloc(&memory, 16) != cudaErrorStreamCaptureUnsupported) fail("memory in a capture");
    if (cudaStreamEndCapture(stream, &graph) != cudaErrorStreamCaptureInvalidated)
        fail("a spoiled capture gives a graph");
    cudaStreamDestroy(stream);
}

/* What is queued is done when it must be, and streams are in order only by their events. */
static void streams() {
    cudaStream_t a, b;
    cudaEvent_t event;
    uint32_t *landed;
    device_array<unsigned> x(std::vector<unsigned>{7});
    cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking);
    cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking);
    cudaEventCreate(&event);
    cudaMallocHost((void **)&landed, 4);
    *landed = 0;
    cudaMemcpyAsync(landed, x.data(), 4, cudaMemcpyDeviceToHost, a);
    if (*landed != 0) fail("a copy has landed that nobody waited for");
    ok(cudaStreamSynchronize(a), "cudaStreamSynchronize");
    if (*landed != 7) fail("a copy has not landed at its wait");
    int others_first = 0;
    for (int i = 0; i < 64; i++) {
        bool in_order = i % 2;
        cudaMemsetAsync(x.data(), 0, 4, a);
        launch_increment(x.data(), a);
        cudaEventRecord(event, a);
        if (in_order) cudaStreamWaitEvent(b, event);
        cudaMemcpyAsync(landed, x.data(), 4, cudaMemcpyDeviceToHost, b);
        ok(cudaStreamSynchronize(b), "cudaStreamSynchronize");
        ok(cudaEventSynchronize(event), "cudaEventSynchronize");
        if (in_order && *landed != 1) fail("a stream did not wait for an event");
        others_first += *landed != 1;
    }
    if (others_first == 0) fail("streams are in order without an event");
    cudaEventDestroy(event);
    cudaStreamDestroy(a);
    cudaStreamDestroy(b);
    cudaFreeHost(landed);
}

static const simt_case cases[] = {
    {"streams", streams},       {"mistakes", mistakes},
    {"shadows", shadows},       {"products", products},
    {"halves", halves},         {"cut of tf32", cut_of_tf32},
    {"matrices", matrices},     {"conflicts", conflicts},
    {"votes", votes},           {"sums", sums},
    {"counts", counts},         {"places", places},
    {"half warps", half_warps}, {"seeds", seeds},
    {"copies", copies},         {"groups", groups},
    {"refusals", refusals},     {"memory", memory},
    {"graphs", graphs},
};

int main(int argc, char **argv) {
    auto once = [](thaw_dtype type, int) { return type == THAW_F32; };
    return test_main(
        argc, argv, cases, [](const simt_case &c, auto) { c.run(); }, once);
}
