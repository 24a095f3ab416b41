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

static void launch_in_child(bad_kernel which) {
    size_t n = which == BAD_outside_global ? 64 : 65;
    unsigned *global;
    cudaMalloc((void **)&global, n * sizeof *global);
    cudaMemset(global, 0, n * sizeof *global);
    if (which == BAD_freed_global) cudaFree(global);
    launch_bad(which, global);
    _exit(0);
}

/* What the child printed; its exit status in *status. */
static std::string words_of_child(bad_kernel which, int *status) {
    int ends[2];
    if (pipe(ends) != 0) return "";
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 2);
        close(ends[0]);
        launch_in_child(which);
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

static void expect_caught(bad_kernel which, const char *name, const char *words, char by) {
    bool by_emulation = CHECKED || by == 'E';
    if (by == 'C' && !CHECKED) return;
    bool copies = which == BAD_missing_wait || which == BAD_copy_never_waited_for;
    if (copies && device_sm() < 80) return; /* There is no cp.async. */
    int status = 0;
    std::string said = words_of_child(which, &status);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return fail("%s is not caught", name);
    if (by_emulation && said.find(words) == std::string::npos)
        return fail("%s: '%s' lacks '%s'", name, said.c_str(), words);
    for (int line : marked_lines(name)) {
        if (said.find("bad_kernels.cu:" + std::to_string(line)) != std::string::npos) return;
    }
    fail("%s: none of its lines is named in '%s'", name, said.c_str());
}

static void mistakes() {
#define X(name, words, by) expect_caught(BAD_##name, #name, words, by);
    BAD_KERNELS(X)
#undef X
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
    if (!ok(launch_ldmatrix(from.data(), to.data()), "ldmatrix")) return;
    std::vector<unsigned> got = to.download("r");
    for (unsigned lane = 0; lane < 32; lane++) {
        for (unsigned i = 0; i < 4; i++) {
            unsigned row = 8 * i + lane / 4, want = rows[row * 4 + lane % 4];
            if (got[lane * 4 + i] != want) return fail("lane %u register %u", lane, i);
        }
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
    if (code(1, 1025, 0) != BAD) fail("1025 threads are taken");
    if (code(dim3(1, 65536), 1, 0) != BAD) fail("65536 rows of blocks are taken");
    if (code(1, 1, 49153) != BAD) fail("more than 48 KiB are given without being asked for");
    if (cudaFuncSetAttribute(nothing, cudaFuncAttributeMaxDynamicSharedMemorySize, 60000) ||
        code(1, 1, 60000) != cudaSuccess)
        fail("60000 bytes are refused after they were asked for");
    if (!cudaFuncSetAttribute(nothing, cudaFuncAttributeMaxDynamicSharedMemorySize, 200000))
        fail("200000 bytes are promised");
    cudaFree(global);
}

static const simt_case cases[] = {
    {"mistakes", mistakes}, {"products", products}, {"matrices", matrices}, {"votes", votes},
    {"sums", sums},         {"seeds", seeds},       {"copies", copies},     {"refusals", refusals},
};

int main(int argc, char **argv) {
    auto once = [](thaw_dtype type, int) { return type == THAW_F32; };
    return test_main(
        argc, argv, cases, [](const simt_case &c, auto) { c.run(); }, once);
}
