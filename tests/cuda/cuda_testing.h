/* What the tests of the CUDA kernels share. The same test source runs on a GPU and, over the
 * emulation in tests/simt, on a CPU: it sees only <cuda_runtime.h> and the launchers of
 * cuda_kernels.h.
 *
 * A test is a table of named cases and one function that runs a case in one storage type and calls
 * fail() for what is wrong. test_main runs all of it, prints one line for each failure with the
 * command that repeats it, and a closing line with the numbers.
 *
 *     test_conv_cuda                     all cases
 *     test_conv_cuda "3x3 s2" f16        those whose name begins so, in that type
 */
#ifndef THAW_CUDA_TESTING_H
#define THAW_CUDA_TESTING_H

#include <cuda_runtime.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <string>
#include <type_traits>
#include <vector>

#include "cuda_kernels.h"
#include "reference.h"
#include "types.h"

namespace thaw {

/* ---- what runs ------------------------------------------------------------------------------ */

struct test_state {
    const char *program, *name, *type; /* The case that runs. */
    int ran, failed, refused;
    bool this_failed;
};

inline test_state &state() {
    static test_state s;
    return s;
}

/* One sentence; the case counts as failed once, and its first five sentences are shown. */
__attribute__((format(printf, 1, 2))) inline void fail(const char *format, ...) {
    test_state &s = state();
    if (!s.this_failed) {
        s.failed++;
        printf("FAILED, to repeat: %s '%s' %s\n", s.program, s.name, s.type);
    }
    s.this_failed = true;
    va_list list;
    va_start(list, format);
    printf("    ");
    vprintf(format, list);
    printf("\n");
    va_end(list);
}

/* A runtime call or a launch that must work. */
inline bool ok(int code, const char *what) {
    if (code) fail("%s: %s", what, cudaGetErrorString((cudaError_t)code));
    return code == 0;
}

/* ---- deterministic numbers ------------------------------------------------------------------ */

/* splitmix64 (Vigna 2015). */
struct random_source {
    uint64_t s;
    uint64_t next() {
        uint64_t z = s += 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return z ^ (z >> 31);
    }
    /* Uniform in [-1, 1). */
    float uniform() {
        return (float)(int32_t)(next() >> 32) * 0x1p-31f;
    }
    /* A whole number in [-most, most]. */
    float integer(int most) {
        return (float)(int)(next() % (uint64_t)(2 * most + 1)) - (float)most;
    }
    /* A sum of three uniforms: near normal, variance 1. */
    float normal() {
        return uniform() + uniform() + uniform();
    }
};

/* ---- device memory -------------------------------------------------------------------------- */

/* Guard words on both sides; in the emulation buffers are exactly as large as asked for instead,
 * and its own checks see each access. */
#ifdef THAW_SIMT
constexpr size_t GUARD_BYTES = 0;
#else
constexpr size_t GUARD_BYTES = 256;
#endif

/* n elements on the device, all bits set (NaN in every floating type). */
template <class T>
struct device_array {
    uint8_t *base = nullptr;
    size_t n;

    explicit device_array(size_t count) : n(count) {
        ok(cudaMalloc((void **)&base, bytes() + 2 * GUARD_BYTES), "cudaMalloc");
        poison();
    }
    device_array(const std::vector<T> &from) : device_array(from.size()) {
        upload(from);
    }
    device_array(const device_array &) = delete;
    ~device_array() {
        cudaFree(base);
    }
    size_t bytes() const {
        return n * sizeof(T);
    }
    T *data() const {
        return (T *)(base + GUARD_BYTES);
    }
    void poison() {
        ok(cudaMemset(base, 0xff, bytes() + 2 * GUARD_BYTES), "cudaMemset");
    }
    void clear() {
        ok(cudaMemset(data(), 0, bytes()), "cudaMemset");
    }
    void upload(const std::vector<T> &from) {
        ok(cudaMemcpy(data(), from.data(), bytes(), cudaMemcpyHostToDevice), "cudaMemcpy");
    }
    /* The content; fails the case when a guard word has changed. */
    std::vector<T> download(const char *what) const {
        std::vector<uint8_t> all(bytes() + 2 * GUARD_BYTES);
        ok(cudaMemcpy(all.data(), base, all.size(), cudaMemcpyDeviceToHost), "cudaMemcpy");
        for (size_t i = 0; i < GUARD_BYTES; i++) {
            if (all[i] != 0xff || all[GUARD_BYTES + bytes() + i] != 0xff) {
                fail("%s: written outside its memory, %zu bytes %s it", what,
                     all[i] != 0xff ? GUARD_BYTES - i : i + 1,
                     all[i] != 0xff ? "before" : "behind");
                break;
            }
        }
        std::vector<T> to(n);
        if (n > 0) memcpy((void *)to.data(), all.data() + GUARD_BYTES, bytes());
        return to;
    }
};

/* An activation N,H,W,Cp on the device, with its values on the host in double. */
template <class T>
struct device_tensor {
    std::vector<double> values; /* N,H,W,C; what the storage type can hold. */
    ref_tensor ref;             /* The same memory, for reference.h. */
    device_array<T> array;

    device_tensor(int64_t N, int64_t H, int64_t W, int64_t C)
        : values((size_t)(N * H * W * C)), array((size_t)(N * H * W * padded_channels(C))) {
        ref = {N, H, W, C, values.data()};
    }
    T *data() const {
        return array.data();
    }
    /* f() for each element, rounded to T; uploads. */
    template <class F>
    void fill(F f) {
        int64_t pixels = ref.N * ref.H * ref.W, C = ref.C, Cp = padded_channels(C);
        std::vector<T> host((size_t)(pixels * Cp));
        for (auto &v : host)
            store(&v, 0);
        for (int64_t i = 0; i < pixels; i++) {
            for (int64_t c = 0; c < C; c++) {
                store(&host[(size_t)(i * Cp + c)], f());
                values[(size_t)(i * C + c)] = value(host[(size_t)(i * Cp + c)]);
            }
        }
        array.upload(host);
    }
};

/* How far a result may be from the reference. */
struct tolerance {
    double nmse; /* 0: every element must be the reference rounded to the storage type. */
};

/* What rounding to T alone costs, as NMSE: (u / sqrt(3))^2 at most, u the unit roundoff. */
template <class T>
constexpr double rounding_nmse() {
    return std::is_same<T, half_t>::value ? 0x1p-22 : std::is_same<T, bf16_t>::value ? 0x1p-16 : 0;
}

/* Compares y on the device with want (N,H,W,C in double). Padding channels must be zero; nothing
 * may be NaN that should not; a result of zeros alone is not trusted. */
template <class T>
void check(const char *what, const device_tensor<T> &y, const ref_tensor &want, tolerance most) {
    std::vector<T> got = y.array.download(what);
    int64_t C = want.C, Cp = padded_channels(C), pixels = want.N * want.H * want.W;
    double error = 0, power = 0;
    int64_t wrong = 0, zeros = 0;
    for (int64_t i = 0; i < pixels; i++) {
        for (int64_t c = 0; c < Cp; c++) {
            double g = value(got[(size_t)(i * Cp + c)]);
            double w = c < C ? want.v[i * C + c] : 0;
            T rounded;
            store(&rounded, (float)w);
            bool exact = most.nmse == 0 || c >= C;
            bool good = exact ? g == (double)value(rounded) : isfinite(g);
            if (!good && wrong++ < 3) {
                fail("%s: pixel %lld channel %lld%s is %g, expected %g", what, (long long)i,
                     (long long)c, c < C ? "" : " (padding)", g, w);
            }
            if (c < C) {
                error += (g - w) * (g - w);
                power += w * w;
                zeros += g == 0;
            }
        }
    }
    if (wrong > 3) fail("%s: %lld elements are wrong in all", what, (long long)wrong);
    if (most.nmse > 0 && !(error <= most.nmse * (power > 0 ? power : 1)))
        fail("%s: NMSE %.3g, at most %.3g expected", what, error / power, most.nmse);
    if (power > 0 && zeros == pixels * C) fail("%s: nothing but zeros", what);
}

/* Bits of y, to compare two runs. */
template <class T>
void check_equal_bits(const char *what, const std::vector<T> &a, const std::vector<T> &b) {
    if (memcmp(a.data(), b.data(), a.size() * sizeof(T)) != 0)
        fail("%s: two runs differ in their bits", what);
}

/* After a launch: its own code, then what went wrong on the device. */
inline bool finish(int code, const thaw_cuda_launch &launch) {
    if (!code) code = (int)cudaDeviceSynchronize();
    if (code) {
        fail("%s, grid %u,%u,%u of %u threads: %s", launch.kernel ? launch.kernel : "(none)",
             launch.grid[0], launch.grid[1], launch.grid[2], launch.threads,
             cudaGetErrorString((cudaError_t)code));
    }
    return code == 0;
}

/* A tensor of the host alone, for references. */
struct host_tensor {
    std::vector<double> values;
    ref_tensor ref;
    host_tensor(int64_t N, int64_t H, int64_t W, int64_t C) : values((size_t)(N * H * W * C)) {
        ref = {N, H, W, C, values.data()};
    }
};

/* Runs launch(&thaw_cuda_launch) twice into a poisoned y, wants equal bits and want's values. */
template <class T, class F>
void run_twice(const char *what, device_tensor<T> &y, const ref_tensor &want, tolerance most,
               F launch) {
    std::vector<T> runs[2];
    thaw_cuda_launch context = {};
    for (auto &bits : runs) {
        y.array.poison();
        if (!finish(launch(&context), context)) return;
        bits = y.array.download(what);
    }
    check_equal_bits(what, runs[0], runs[1]);
    check(what, y, want, most);
}

/* ---- running -------------------------------------------------------------------------------- */

/* The architecture whose kernels run. */
inline int device_sm() {
    cudaDeviceProp prop;
    cudaGetDeviceProperties(&prop, 0);
    return prop.major * 10 + prop.minor;
}

/* Runs run(case, half_t{} | bf16_t{} | float{}) for each row of cases. The type is left out where
 * supports(type, sm) says so: sm_75 has no bf16 and no tf32 in its tensor cores. Returns the exit
 * status: 0, 1 when a case failed, 77 without a device. */
template <class Case, size_t COUNT, class Run, class Supports>
int test_main(int argc, char **argv, const Case (&cases)[COUNT], Run run, Supports supports) {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
        printf("SKIPPED: %s needs a CUDA device, and there is none\n", argv[0]);
        return 77;
    }
    int sm = device_sm();
    test_state &s = state();
    s.program = argv[0];
    auto one = [&](const Case &c, auto type, const char *name) {
        if (argc > 1 && strncmp(c.name, argv[1], strlen(argv[1])) != 0) return;
        if (argc > 2 && strcmp(name, argv[2]) != 0) return;
        if (!supports(DTYPE<decltype(type)>, sm)) {
            s.refused++;
            return;
        }
        s.name = c.name;
        s.type = name;
        s.this_failed = false;
        s.ran++;
        run(c, type);
    };
    for (const Case &c : cases) {
        one(c, half_t{}, "f16");
        one(c, bf16_t{}, "bf16");
        one(c, float{}, "f32");
    }
    printf("%s, sm_%d: %d cases ran, %d failed, %d not for this architecture\n", argv[0], sm, s.ran,
           s.failed, s.refused);
    return s.failed || s.ran == 0 ? 1 : 0;
}

inline bool every_type(thaw_dtype, int) {
    return true;
}

}  // namespace thaw

#endif
