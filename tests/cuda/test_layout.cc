/* What moves elements: import, export, concat, slice, shuffle, pad, rearrange, constant. All of it is exact but
 * import's scaling, which is rounded once; LayerNorm stands here, too, at an NMSE of 1e-6 beyond
 * the rounding of its result.
 */
#include "cuda_testing.h"

using namespace thaw;

enum layout_kind { IMPORT, EXPORT, CONCAT, SLICE, SHUFFLE, PAD, TURN, CONSTANT, NORM };

struct layout_case {
    const char *name;
    layout_kind kind;
    int64_t N, H, W, C;
    int64_t more[3]; /* concat: channels of the other inputs; slice: from, count; shuffle: groups;
                        pad: top, left, bottom (right is left + 1); turn: H, W, C of y. */
    thaw_permutation axes;
};

#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

/* clang-format off */
static const layout_case cases[] = {
    {"import", IMPORT, 2, 5, 7, 3},
    {"import 1", IMPORT, 1, 3, 1, 1},
    {"import 17", IMPORT, 2, 4, 3, 17},
    {"export", EXPORT, 2, 5, 7, 17},
    {"export 1", EXPORT, 1, 1, 1, 1},
    {"export 1280", EXPORT, 3, 1, 1, 1280},
    {"export 48", EXPORT, 5, 9, 17, 48},
    {"export 12", EXPORT, 2, 3, 5, 12},
    {"concat aligned", CONCAT, 2, 3, 5, 16, {24, 8}},
    {"concat aligned, odd end", CONCAT, 2, 3, 5, 16, {8, 5}},
    {"concat odd", CONCAT, 2, 3, 5, 3, {7, 9}},
    {"concat two", CONCAT, 1, 4, 4, 64, {32}},
    {"concat one channel each", CONCAT, 1, 2, 2, 1, {1, 1}},
    {"slice", SLICE, 2, 3, 5, 17, {4, 9}},
    {"slice aligned", SLICE, 2, 3, 5, 32, {8, 16}},
    {"slice aligned tail", SLICE, 2, 3, 5, 29, {16, 13}},
    {"slice of an aligned start", SLICE, 1, 3, 5, 29, {8, 5}},
    {"shuffle 2", SHUFFLE, 2, 3, 4, 116, {2}},
    {"shuffle 3", SHUFFLE, 1, 3, 4, 15, {3}},
    {"pad", PAD, 2, 3, 4, 17, {1, 2, 0}},
    {"pad of zero", PAD, 1, 3, 4, 8, {0, 0, 0}},
    {"flatten", TURN, 2, 3, 4, 17, {1, 1, 204}, {1, {204}, {0}}},
    {"flatten 7x7", TURN, 2, 7, 7, 12, {1, 1, 588}, {1, {588}, {0}}},
    {"reshape", TURN, 2, 3, 4, 10, {5, 6, 4}, {1, {120}, {0}}},
    {"reshape to one channel", TURN, 1, 2, 3, 17, {17, 6, 1}, {1, {102}, {0}}},
    {"turn the picture", TURN, 2, 3, 5, 17, {5, 3, 17}, {3, {17, 3, 5}, {0, 2, 1}}},
    {"channels become rows", TURN, 2, 3, 5, 17, {3, 17, 5}, {3, {17, 3, 5}, {2, 1, 0}}},
    {"blocks", TURN, 2, 4, 6, 8, {2, 3, 32}, {5, {8, 2, 2, 3, 2}, {2, 4, 0, 1, 3}}},
    {"heads", TURN, 1, 1, 9, 24, {9, 6, 4}, {3, {4, 6, 9}, {0, 2, 1}}},
    {"constant", CONSTANT, 3, 4, 5, 17},
    {"constant pixel", CONSTANT, 2, 1, 1, 8},
    {"norm 96", NORM, 2, 5, 3, 96},
    {"norm 1", NORM, 1, 2, 2, 1},
    {"norm 17", NORM, 1, 3, 3, 17},
    {"norm 768", NORM, 1, 3, 2, 768},
};
/* clang-format on */

template <class T>
static void import_pixels(const layout_case &c) {
    random_source random = {3};
    std::vector<uint8_t> pixels((size_t)(c.N * c.H * c.W * c.C));
    std::vector<float> scale((size_t)c.C), shift((size_t)c.C);
    for (auto &v : pixels)
        v = (uint8_t)random.next();
    for (auto &v : scale)
        v = random.uniform() / 64;
    for (auto &v : shift)
        v = random.uniform();
    device_array<uint8_t> from(pixels);
    device_array<float> device_scale(scale), device_shift(shift);
    device_tensor<T> y(c.N, c.H, c.W, c.C);
    host_tensor want(c.N, c.H, c.W, c.C);
    for (size_t i = 0; i < pixels.size(); i++) {
        size_t k = i % (size_t)c.C;
        want.values[i] = (double)pixels[i] * scale[k] + shift[k];
    }
    run_twice("y", y, want.ref, {1e-12 + rounding_nmse<T>()}, [&](thaw_cuda_launch *launch) {
        return cuda_import(launch, c.N, c.H, c.W, c.C, DTYPE<T>, from.data(), device_scale.data(),
                           device_shift.data(), y.data());
    });
}

template <class T>
static void export_floats(const layout_case &c, device_tensor<T> &x) {
    device_array<float> y(x.values.size());
    thaw_cuda_launch launch = {};
    if (!finish(cuda_export(&launch, c.N, c.H, c.W, c.C, DTYPE<T>, x.data(), y.data()), launch))
        return;
    std::vector<float> got = y.download("y");
    for (size_t i = 0; i < got.size(); i++) {
        if (got[i] != x.values[i]) return fail("element %zu is %g, not %g", i, got[i], x.values[i]);
    }
}

template <class T>
static void concat(const layout_case &c, device_tensor<T> &x, random_source &random) {
    int64_t C = c.C + c.more[0] + c.more[1] + c.more[2];
    device_tensor<T> y(c.N, c.H, c.W, C);
    device_tensor<T> a(c.N, c.H, c.W, c.more[0]), b(c.N, c.H, c.W, c.more[1]);
    host_tensor want(c.N, c.H, c.W, C);
    a.fill([&] { return random.normal(); });
    b.fill([&] { return random.normal(); });
    device_tensor<T> *inputs[] = {&x, &a, &b};
    int64_t at = 0;
    for (auto *one : inputs) {
        ref_concat(&one->ref, at, &want.ref);
        at += one->ref.C;
    }
    run_twice("y", y, want.ref, {0}, [&](thaw_cuda_launch *launch) {
        int64_t to = 0;
        int code = 0;
        for (auto *one : inputs) {
            if (one->ref.C == 0) continue;
            if (!code) {
                code = cuda_channels(launch, c.N * c.H * c.W, one->ref.C, 0, C, to, one->ref.C,
                                     DTYPE<T>, one->data(), y.data());
            }
            to += one->ref.C;
        }
        return code;
    });
}

/* y[pixel, c] = x[pixel, from(c)], by `launch`. */
template <class T, class From, class Launch>
static void channels(const layout_case &c, device_tensor<T> &x, int64_t C, From from,
                     Launch launch) {
    device_tensor<T> y(c.N, c.H, c.W, C);
    host_tensor want(c.N, c.H, c.W, C);
    for (int64_t i = 0; i < c.N * c.H * c.W * C; i++)
        want.values[(size_t)i] = x.values[(size_t)(i / C * c.C + from(i % C))];
    run_twice("y", y, want.ref, {0},
              [&](thaw_cuda_launch *context) { return launch(context, y.data()); });
}

template <class T>
static void pad(const layout_case &c, device_tensor<T> &x) {
    thaw_window win = {1, 1, 1, 1, 1, 1, c.more[0], c.more[1], c.more[2], c.more[1] + 1};
    int64_t P = c.H + win.pad_top + win.pad_bottom, Q = c.W + win.pad_left + win.pad_right;
    device_tensor<T> y(c.N, P, Q, c.C);
    host_tensor want(c.N, P, Q, c.C);
    ref_pad(&x.ref, &win, &want.ref);
    run_twice("y", y, want.ref, {0}, [&](thaw_cuda_launch *launch) {
        return cuda_pad(launch, c.N, c.H, c.W, c.C, &win, DTYPE<T>, x.data(), y.data());
    });
}

template <class T>
static void turn(const layout_case &c, device_tensor<T> &x) {
    device_tensor<T> y(c.N, c.more[0], c.more[1], c.more[2]);
    host_tensor want(c.N, c.more[0], c.more[1], c.more[2]);
    ref_transpose(&x.ref, &c.axes, &want.ref);
    thaw_cuda_rearrange r = {c.N,       c.H,    c.W,      c.C,      c.more[0], c.more[1],
                             c.more[2], c.axes, DTYPE<T>, x.data(), y.data()};
    run_twice("y", y, want.ref, {0},
              [&](thaw_cuda_launch *launch) { return cuda_rearrange(launch, &r); });
}

/* x's first picture stands for the numbers. */
template <class T>
static void constant(const layout_case &c, device_tensor<T> &x) {
    int64_t pixels = c.H * c.W, Cp = padded_channels(c.C);
    std::vector<float> w((size_t)(pixels * c.C)), padded((size_t)(pixels * Cp));
    for (int64_t i = 0; i < pixels * c.C; i++)
        w[(size_t)i] = padded[(size_t)(i / c.C * Cp + i % c.C)] = (float)x.values[(size_t)i];
    device_array<float> from(padded);
    device_tensor<T> y(c.N, c.H, c.W, c.C);
    host_tensor want(c.N, c.H, c.W, c.C);
    ref_constant(w.data(), &want.ref);
    run_twice("y", y, want.ref, {0}, [&](thaw_cuda_launch *launch) {
        return cuda_constant(launch, c.N, pixels, c.C, DTYPE<T>, from.data(), y.data());
    });
}

template <class T>
static void norm(const layout_case &c, device_tensor<T> &x, random_source &random) {
    const float eps = 1e-6f;
    std::vector<float> gamma((size_t)padded_channels(c.C)), beta(gamma.size());
    for (int64_t k = 0; k < c.C; k++) {
        gamma[(size_t)k] = random.normal();
        beta[(size_t)k] = random.normal();
    }
    device_array<float> device_gamma(gamma), device_beta(beta);
    device_tensor<T> y(c.N, c.H, c.W, c.C);
    host_tensor want(c.N, c.H, c.W, c.C);
    for (int64_t m = 0; m < c.N * c.H * c.W; m++) {
        const double *row = &x.values[(size_t)(m * c.C)];
        double mean = 0, variance = 0;
        for (int64_t k = 0; k < c.C; k++)
            mean += row[k] / (double)c.C;
        for (int64_t k = 0; k < c.C; k++)
            variance += (row[k] - mean) * (row[k] - mean);
        double scale = 1 / sqrt(variance / (double)c.C + eps);
        for (int64_t k = 0; k < c.C; k++) {
            want.values[(size_t)(m * c.C + k)] =
                (row[k] - mean) * scale * gamma[(size_t)k] + beta[(size_t)k];
        }
    }
    run_twice("y", y, want.ref, {1e-6 + rounding_nmse<T>()}, [&](thaw_cuda_launch *launch) {
        return cuda_layer_norm(launch, c.N * c.H * c.W, c.C, eps, DTYPE<T>, x.data(),
                               device_gamma.data(), device_beta.data(), y.data());
    });
}

template <class T>
static void run(const layout_case &c, T) {
    if (c.kind == IMPORT) return import_pixels<T>(c);
    random_source random = {(uint64_t)(c.H * 31 + c.C)};
    device_tensor<T> x(c.N, c.H, c.W, c.C);
    x.fill([&] { return random.normal() + 1; });
    int64_t pixels = c.N * c.H * c.W, from = c.more[0], count = c.more[1], groups = c.more[0];
    switch (c.kind) {
        case IMPORT:
            break;
        case EXPORT:
            return export_floats(c, x);
        case CONCAT:
            return concat(c, x, random);
        case SLICE:
            return channels(
                c, x, count, [&](int64_t k) { return from + k; },
                [&](thaw_cuda_launch *launch, T *y) {
                    return cuda_channels(launch, pixels, c.C, from, count, 0, count, DTYPE<T>,
                                         x.data(), y);
                });
        case SHUFFLE:
            return channels(
                c, x, c.C, [&](int64_t k) { return k % groups * (c.C / groups) + k / groups; },
                [&](thaw_cuda_launch *launch, T *y) {
                    return cuda_shuffle(launch, pixels, c.C, groups, DTYPE<T>, x.data(), y);
                });
        case PAD:
            return pad(c, x);
        case TURN:
            return turn(c, x);
        case CONSTANT:
            return constant(c, x);
        case NORM:
            return norm(c, x, random);
    }
}

int main(int argc, char **argv) {
    return test_main(
        argc, argv, cases, [](const layout_case &c, auto type) { run(c, type); }, every_type);
}
