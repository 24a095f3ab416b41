/* How fast the CUDA kernels are, layer by layer, beside cuDNN and beside what the device can do.
 *
 * usage: bench_kernels [--json=FILE] [--batch=64] [--large=256] [--seconds=N] [--device=N]
 *                      [--only=TEXT] [--no-peers]
 *
 * Every distinct convolution of ResNet-50 and MobileNetV2 in half precision, summed in float, at
 * --batch; then again at --large those that the memory's bandwidth bounds: depthwise and 1x1 layers
 * which move more than twice the L2 cache (0: none). Of our implicit GEMM the cost model's first
 * ten candidates are timed; the best one counts, and the model's own choice is shown. Each result
 * is compared with the formula before it is timed, cuDNN's as well. Times are medians of nine
 * samples, in which the contenders take turns; see timing.h. --only: layers whose line begins so.
 * --seconds: what is not begun by then is left out, and said to be.
 *
 * Exit status: 0; 1 when a kernel failed or gave a wrong result; 2 for a wrong argument; 77 without
 * a CUDA device. Goals that are missed do not change it.
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <chrono>

#include "device.h"
#include "measure.h"
#include "on_device.h"
#include "peers.h"

struct arguments {
    const char *json = nullptr, *only = "";
    long batch = 64, large = 256, seconds = 0, device = 0;
    bool peers = true;
};

/* What the device does at its best; 0: not measured. */
struct peaks {
    double mma_tflops, matmul_tflops, copy_gbytes;
    std::string matmul_trouble;
};

/* What the goals are judged by. */
struct line {
    layer l;
    long batch;
    double ratio, mma_share, copy_share;
    bool memory_bound;
};

struct bench {
    arguments args;
    bench_device device;
    thaw::open_device *opened;
    peaks peak;
    std::string cudnn_trouble;
    std::vector<line> lines;
    std::string json, table;
    int failed = 0, left_out = 0;
    std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();

    double seconds() const {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
};

/* ---- text ----------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static void add(std::string *to, const char *format, ...) {
    char text[1024];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    *to += text;
}

static std::string quoted(const std::string &text) {
    std::string to = "\"";
    for (char c : text) {
        if (c == '"' || c == '\\') to += '\\';
        to += (unsigned char)c < ' ' ? ' ' : c;
    }
    return to + "\"";
}

/* "conv 3x3 s2 128->128 28x28 + residual + relu": what --only is compared with. */
static std::string layer_name(const layer &l) {
    static const char *const kinds[] = {"stem", "conv", "depthwise"};
    static const char *const acts[] = {"", " + relu", " + relu6"};
    std::string name;
    add(&name, "%s %s %dx%d s%d %d->%d %dx%d%s%s", l.network, kinds[l.kind], l.R, l.R, l.stride,
        l.C, l.K, l.H, l.H, l.residual ? " + residual" : "", acts[l.act]);
    return name;
}

/* ---- arguments ------------------------------------------------------------------------------ */

static bool number_after(const char *arg, const char *name, long least, long *value) {
    size_t n = strlen(name);
    if (strncmp(arg, name, n) != 0) return false;
    char *end;
    long parsed = strtol(arg + n, &end, 10);
    if (*end || end == arg + n || parsed < least || parsed > 65536) {
        fprintf(stderr, "bench_kernels: %s must be a number from %ld to 65536\n", arg, least);
        exit(2);
    }
    *value = parsed;
    return true;
}

static arguments parse(int argc, char **argv) {
    arguments a;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        if (strncmp(arg, "--json=", 7) == 0) {
            a.json = arg + 7;
        } else if (strcmp(arg, "--json") == 0 && i + 1 < argc) {
            a.json = argv[++i];
        } else if (strncmp(arg, "--only=", 7) == 0) {
            a.only = arg + 7;
        } else if (strcmp(arg, "--no-peers") == 0) {
            a.peers = false;
        } else if (!number_after(arg, "--batch=", 1, &a.batch) &&
                   !number_after(arg, "--large=", 0, &a.large) &&
                   !number_after(arg, "--seconds=", 0, &a.seconds) &&
                   !number_after(arg, "--device=", 0, &a.device)) {
            fprintf(stderr,
                    "bench_kernels: unknown argument '%.120s'; usage: bench_kernels [--json=FILE] "
                    "[--batch=64] [--large=256] [--seconds=N] [--device=N] [--only=TEXT] "
                    "[--no-peers]\n",
                    arg);
            exit(2);
        }
    }
    return a;
}

/* ---- peaks ---------------------------------------------------------------------------------- */

/* Median of a few samples, in microseconds. */
static double time_loop(bench *b, const char *name, const std::function<int(int)> &launch) {
    contender c(name, b->device.stream, 1, launch);
    for (int i = 0; i < 9; i++)
        c.sample();
    return c.median();
}

static double measure_copy(bench *b) {
    size_t n = std::max(4 * b->device.l2_bytes, (size_t)256 << 20) / 16 * 16;
    void *from = nullptr, *to = nullptr;
    double us = 0;
    if (cudaMalloc(&from, n) == cudaSuccess && cudaMalloc(&to, n) == cudaSuccess) {
        cudaStream_t stream = b->device.stream;
        must(fill_halves(stream, from, (int64_t)(n / 2), 7), "fill_halves");
        int n_sm = b->device.facts.n_sm;
        us = time_loop(b, "copy", [=](int) { return copy_pass(stream, to, from, n, n_sm); });
        double other = time_loop(b, "cudaMemcpyAsync", [=](int) {
            return (int)cudaMemcpyAsync(to, from, n, cudaMemcpyDeviceToDevice, stream);
        });
        us = std::min(us, other);
    }
    cudaFree(from);
    cudaFree(to);
    return us > 0 ? 2 * (double)n / us * 1e-3 : 0;
}

static double measure_mma(bench *b) {
    float *sink = nullptr;
    must(cudaMalloc((void **)&sink, sizeof *sink), "cudaMalloc");
    double flops = 0;
    double us = time_loop(b, "mma.sync", [&](int) {
        return mma_loop(b->device.stream, b->device.facts.n_sm, sink, &flops);
    });
    cudaFree(sink);
    return flops / us * 1e-6;
}

static void measure_peaks(bench *b) {
    const int N = 8192;
    try {
        b->peak.copy_gbytes = measure_copy(b);
        b->peak.mma_tflops = measure_mma(b);
    } catch (const trouble &t) {
        fprintf(stderr, "bench_kernels: peaks: %s\n", t.text.c_str());
        b->failed++;
    }
    b->peak.matmul_trouble = "not asked for";
    if (!b->args.peers) return;
    b->peak.matmul_trouble.clear();
    double ms = cublas_product_ms(b->device.stream, N, &b->peak.matmul_trouble);
    b->peak.matmul_tflops = ms > 0 ? 2.0 * N * N * N / ms * 1e-9 : 0;
    cudaGetLastError();
}

/* ---- a layer's line ------------------------------------------------------------------------- */

static std::string time_json(const std::unique_ptr<contender> &c, const std::string &why_none) {
    std::string to;
    if (!c) return why_none.empty() ? "null" : "{\"missing\": " + quoted(why_none) + "}";
    add(&to,
        "{\"us\": {\"median\": %.4g, \"min\": %.4g, \"max\": %.4g}, \"nmse\": %.3g, \"kernel\": ",
        c->median(), c->least(), c->most(), c->nmse);
    return to + quoted(c->name) + "}";
}

static double share(double part, double whole) {
    return whole > 0 ? part / whole : 0;
}

static void keep(bench *b, const layer &l, long N, const layer_result &r) {
    double us = r.ours->median(), tflops = r.flops / us * 1e-6, gbytes = r.bytes / us * 1e-3;
    line x = {l,
              N,
              r.ratio(),
              share(tflops, b->peak.mma_tflops),
              share(gbytes, b->peak.copy_gbytes),
              r.bytes > 2.0 * (double)b->device.l2_bytes &&
                  (l.kind == LAYER_DEPTHWISE || (l.kind == LAYER_CONV && l.R == 1))};
    b->lines.push_back(x);
    std::string *to = &b->json;
    add(to, "%s\n  {\"layer\": %s, \"batch\": %ld, \"count\": %d, ", b->lines.size() > 1 ? "," : "",
        quoted(layer_name(l)).c_str(), N, l.count);
    add(to, "\"gflop\": %.4g, \"mbytes\": %.4g, \"tflops\": %.4g, \"gbytes\": %.4g, ",
        r.flops * 1e-9, r.bytes * 1e-6, tflops, gbytes);
    add(to, "\"of_mma\": %.4g, \"of_matmul\": %.4g, \"of_copy\": %.4g, ", x.mma_share,
        share(tflops, b->peak.matmul_tflops), x.copy_share);
    *to += "\"ours\": " + time_json(r.ours, "");
    *to += ", \"model_choice\": " + time_json(r.model ? r.model : r.ours, "");
    std::string none = b->device.cudnn ? "" : b->cudnn_trouble;
    *to += ", \"cudnn_apart\": " + time_json(r.apart, none.empty() ? r.apart_trouble : none);
    *to += ", \"cudnn_fused\": " + time_json(r.fused, none.empty() ? r.fused_trouble : none);
    add(to, ", \"cudnn_over_ours\": %.4g, \"candidates\": [", x.ratio);
    for (const candidate &c : r.candidates) {
        add(to, "%s{\"kernel\": %s, \"expected_us\": %.4g, \"us\": %.4g}",
            &c == &r.candidates[0] ? "" : ", ", quoted(c.kernel).c_str(), c.expected_us, c.us);
    }
    *to += "]";
    if (!r.failure.empty()) *to += ", \"failure\": " + quoted(r.failure);
    *to += "}";

    auto number = [](const std::unique_ptr<contender> &c) {
        std::string text = "-";
        if (c) {
            text.clear();
            add(&text, "%.1f", c->median());
        }
        return text;
    };
    std::string row;
    add(&row, "| %s | %ld | %.1f | %s | %s | %s | %.2f | %.1f | %.0f | %.0f %% | %.0f %% |\n",
        layer_name(l).c_str(), N, us, number(r.model ? r.model : r.ours).c_str(),
        number(r.apart).c_str(), number(r.fused).c_str(), x.ratio, tflops, gbytes,
        100 * x.mma_share, 100 * x.copy_share);
    b->table += row;
    fputs(row.c_str(), stdout);
    fflush(stdout);
}

/* Returns whether the device is fit for more. */
static bool run_layer(bench *b, const layer &l, long N) {
    std::string name = layer_name(l);
    if (strncmp(name.c_str(), b->args.only, strlen(b->args.only)) != 0) return true;
    if (b->args.seconds > 0 && b->seconds() > (double)b->args.seconds) {
        b->left_out++;
        return true;
    }
    try {
        layer_result r = measure_layer(b->device, l, N);
        keep(b, l, N, r);
        if (!r.failure.empty()) {
            printf("FAILED: %s, batch %ld: %s\n", name.c_str(), N, r.failure.c_str());
            b->failed++;
        }
    } catch (const trouble &t) {
        printf("FAILED: %s, batch %ld: %s\n", name.c_str(), N, t.text.c_str());
        b->failed++;
        if (cudaDeviceSynchronize() != cudaSuccess) {
            printf("FAILED: the device no longer answers; the rest is left out\n");
            return false;
        }
    }
    return true;
}

static void run_layers(bench *b) {
    printf(
        "| layer | batch | us | model's choice | cuDNN + epilogue | cuDNN fused | cuDNN / ours | "
        "TFLOP/s | GB/s | of mma | of copy |\n|---|---|---|---|---|---|---|---|---|---|---|\n");
    for (const layer &l : layers)
        if (!run_layer(b, l, b->args.batch)) return;
    for (const layer &l : layers) {
        bool kind = l.kind == LAYER_DEPTHWISE || (l.kind == LAYER_CONV && l.R == 1);
        bool big = layer_bytes(l, b->args.large) > 2.0 * (double)b->device.l2_bytes;
        if (b->args.large > 0 && b->args.large != b->args.batch && kind && big &&
            !run_layer(b, l, b->args.large))
            return;
    }
}

/* ---- goals ---------------------------------------------------------------------------------- */

struct goal {
    const char *what;
    double value, wanted;
    int n; /* Layers that it was judged by; 0: not judged. */
};

static std::vector<goal> judge(const bench &b) {
    double logs = 0, least_ratio = INFINITY, least_copy = INFINITY, least_mma = INFINITY;
    int ratios = 0, copies = 0, mmas = 0;
    long memory_batch = b.args.large > 0 ? b.args.large : b.args.batch;
    for (const line &x : b.lines) {
        if (x.batch == b.args.batch && x.ratio > 0) {
            logs += log(x.ratio);
            least_ratio = std::min(least_ratio, x.ratio);
            ratios++;
        }
        if (x.batch == memory_batch && x.memory_bound && x.copy_share > 0) {
            least_copy = std::min(least_copy, x.copy_share);
            copies++;
        }
        if (x.batch == b.args.batch && x.l.kind == LAYER_CONV && x.l.R == 3 && x.l.C >= 128 &&
            x.mma_share > 0) {
            least_mma = std::min(least_mma, x.mma_share);
            mmas++;
        }
    }
    return {
        {"geometric mean of cuDNN's better time / ours", ratios ? exp(logs / ratios) : 0, 1.1,
         ratios},
        {"least cuDNN's better time / ours", ratios ? least_ratio : 0, 0.8, ratios},
        {"depthwise and 1x1 beyond twice the L2, least share of the copy", copies ? least_copy : 0,
         0.8, copies},
        {"3x3 of 128 channels or more, least share of mma.sync", mmas ? least_mma : 0, 0.6, mmas},
    };
}

static void summarize(bench *b) {
    std::string summary = "\n| goal | measured | wanted | met |\n|---|---|---|---|\n";
    b->json += "],\n \"goals\": [";
    const char *comma = "";
    for (const goal &g : judge(*b)) {
        const char *met = g.n == 0 ? "not measured" : g.value >= g.wanted ? "yes" : "**no**";
        add(&summary, "| %s (%d layers) | %.3f | >= %.2f | %s |\n", g.what, g.n, g.value, g.wanted,
            met);
        add(&b->json,
            "%s\n  {\"goal\": %s, \"layers\": %d, \"measured\": %.4g, \"wanted\": %.2f, "
            "\"met\": %s}",
            comma, quoted(g.what).c_str(), g.n, g.value, g.wanted,
            g.n == 0              ? "null"
            : g.value >= g.wanted ? "true"
                                  : "false");
        comma = ",";
    }
    add(&b->json, "],\n \"failed\": %d, \"left_out\": %d, \"seconds\": %.1f}\n", b->failed,
        b->left_out, b->seconds());
    add(&summary, "\n%s; mma.sync %.1f TFLOP/s, 8192^3 matmul %.1f TFLOP/s%s%s%s, copy %.0f GB/s; ",
        b->opened->name, b->peak.mma_tflops, b->peak.matmul_tflops,
        b->peak.matmul_trouble.empty() ? "" : " (", b->peak.matmul_trouble.c_str(),
        b->peak.matmul_trouble.empty() ? "" : ")", b->peak.copy_gbytes);
    summary += b->device.cudnn ? "cuDNN " + cudnn_version() : b->cudnn_trouble;
    add(&summary, "; %d failed, %d left out for lack of time.\n", b->failed, b->left_out);
    b->table += summary;
    fputs(summary.c_str(), stdout);
}

/* ---- the whole ------------------------------------------------------------------------------ */

/* Returns 0 or the exit status. */
static int open_bench(bench *b) {
    thaw_error err = {};
    void *device = nullptr, *stream = nullptr;
    if (thaw::device_open((int)b->args.device, 0, &device, &stream, &err) != 0) {
        printf("SKIPPED: bench_kernels: %s\n", err.text);
        return err.code == THAW_ERR_USAGE ? 2 : 77;
    }
    b->opened = (thaw::open_device *)device;
    int l2 = 0;
    cudaDeviceGetAttribute(&l2, cudaDevAttrL2CacheSize, (int)b->args.device);
    b->device.facts = b->opened->facts;
    b->device.stream = (cudaStream_t)stream;
    b->device.l2_bytes = l2 > 0 ? (size_t)l2 : (size_t)64 << 20;
    b->cudnn_trouble = b->args.peers ? cudnn_open(b->device.stream) : "not asked for";
    b->device.cudnn = b->cudnn_trouble.empty();
    return 0;
}

static bool write_json(const bench &b) {
    if (!b.args.json) return true;
    FILE *file = fopen(b.args.json, "w");
    bool good = file && fputs(b.json.c_str(), file) >= 0;
    if (file) good = fclose(file) == 0 && good;
    if (!good) fprintf(stderr, "bench_kernels: %s could not be written\n", b.args.json);
    return good;
}

int main(int argc, char **argv) {
    bench b = {};
    b.args = parse(argc, argv);
    int refused = open_bench(&b);
    if (refused) return refused;
    measure_peaks(&b);
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    add(&b.json, "{\"bench\": \"kernels\", \"gpu\": %s, \"kernels_for_sm\": %d, \"n_sm\": %d, ",
        quoted(b.opened->name).c_str(), b.device.facts.sm, b.device.facts.n_sm);
    add(&b.json, "\"l2_mbytes\": %.4g, \"driver\": %d, \"runtime\": %d, \"cudnn\": %s,\n ",
        (double)b.device.l2_bytes / (1 << 20), driver, runtime,
        quoted(b.device.cudnn ? cudnn_version() : b.cudnn_trouble).c_str());
    add(&b.json, "\"peaks\": {\"mma_sync_tflops\": %.4g, \"copy_gbytes\": %.4g, ",
        b.peak.mma_tflops, b.peak.copy_gbytes);
    add(&b.json, "\"matmul_tflops\": %.4g, \"matmul_trouble\": %s},\n \"layers\": [",
        b.peak.matmul_tflops, quoted(b.peak.matmul_trouble).c_str());
    run_layers(&b);
    summarize(&b);
    bool written = write_json(b);
    cudnn_close();
    thaw::device_close(b.opened, b.device.stream);
    return b.failed > 0 || !written ? 1 : 0;
}
