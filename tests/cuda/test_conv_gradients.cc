/* Gradients of convolutions by kernels of our own, against double: grouped ones of any window
 * (plain_conv.cu), and depthwise ones (depthwise_gradient.cu). Filters' sums are those of chunks of pixels.
 *
 * Small integers must come out exactly, which shows each product to be taken once; random numbers at
 * an NMSE of 1e-10, since sums are in float and have up to some thousands of terms. What is stored as bf16
 * is rounded, to an NMSE of 1e-5; filters' gradients are not. Two runs give the same bits. Depthwise ones,
 * forwards too, from filters packed on the device. Filters packed for the libraries lie where they should,
 * with zeros for padding, and come back.
 */
#include "cuda_testing.h"
#include "top_index.h"

using namespace thaw;

struct gradient_case {
    const char *name;
    int64_t N, H, W, C, K, G;
    thaw_window window; /* R S, strides, dilations, pads: top, left, bottom, right. */
    int least_chunks;   /* Of the filters' gradient. */
};

/* clang-format off */
static const gradient_case cases[] = {
    {"one pixel", 1, 1, 1, 1, 1, 1, {3, 3, 1, 1, 1, 1, 1, 1, 1, 1}, 1},
    {"depthwise 3x3", 2, 7, 6, 8, 8, 8, {3, 3, 1, 1, 1, 1, 1, 1, 1, 1}, 1},
    {"depthwise 3x3, chunks", 3, 19, 21, 32, 32, 32, {3, 3, 1, 1, 1, 1, 1, 1, 1, 1}, 4},
    {"depthwise 3x3 s2, TensorFlow's pads", 2, 14, 12, 35, 35, 35, {3, 3, 2, 2, 1, 1, 0, 0, 1, 1}, 1},
    {"depthwise 3x3 s2, odd", 2, 33, 29, 13, 13, 13, {3, 3, 2, 2, 1, 1, 1, 1, 1, 1}, 2},
    {"depthwise 3x3 dilated", 2, 9, 11, 9, 9, 9, {3, 3, 1, 1, 2, 3, 2, 3, 2, 3}, 1},
    {"depthwise 3x3 s23 dilated", 2, 17, 15, 5, 5, 5, {3, 3, 2, 3, 2, 2, 3, 1, 2, 2}, 1},
    {"depthwise 3x3 s12", 1, 8, 9, 6, 6, 6, {3, 3, 1, 2, 1, 1, 1, 0, 1, 1}, 1},
    {"depthwise 3x3, wide pads", 1, 4, 5, 4, 4, 4, {3, 3, 1, 1, 1, 1, 3, 4, 3, 4}, 1},
    {"depthwise 3x3, 100 channels", 1, 5, 5, 100, 100, 100, {3, 3, 1, 1, 1, 1, 1, 1, 1, 1}, 1},
    {"depthwise 5x5", 2, 13, 12, 17, 17, 17, {5, 5, 1, 1, 1, 1, 2, 2, 2, 2}, 2},
    {"depthwise 5x5 s2", 2, 14, 14, 40, 40, 40, {5, 5, 2, 2, 1, 1, 1, 1, 2, 2}, 1},
    {"depthwise 5x5 dilated", 1, 12, 12, 3, 3, 3, {5, 5, 1, 1, 2, 1, 4, 2, 4, 2}, 1},
    {"depthwise 7x7", 2, 14, 12, 33, 33, 33, {7, 7, 1, 1, 1, 1, 3, 3, 3, 3}, 2},
    {"depthwise 7x7 s2", 1, 15, 13, 10, 10, 10, {7, 7, 2, 2, 1, 1, 2, 2, 3, 3}, 1},
    {"depthwise 1x7", 2, 6, 9, 12, 12, 12, {1, 7, 1, 1, 1, 1, 0, 3, 0, 3}, 1},
    {"depthwise 2x4 s31", 2, 24, 20, 11, 11, 11, {2, 4, 3, 1, 1, 1, 1, 1, 0, 2}, 2},
    {"dense", 2, 7, 6, 5, 9, 1, {3, 3, 1, 1, 1, 1, 1, 1, 1, 1}, 1},
    {"dense 1x1", 2, 5, 4, 16, 9, 1, {1, 1, 1, 1, 1, 1, 0, 0, 0, 0}, 1},
    {"dense 1x1, odd channels", 1, 5, 4, 11, 3, 1, {1, 1, 1, 1, 1, 1, 0, 0, 0, 0}, 1},
    {"dense 11x11, two tiles of filters", 1, 12, 11, 43, 5, 1, {11, 11, 1, 1, 1, 1, 0, 0, 0, 0}, 1},
    {"dense 25x25, tiles of 8 channels", 1, 25, 25, 19, 3, 1, {25, 25, 1, 1, 1, 1, 0, 0, 0, 0}, 1},
    {"stem s2, TensorFlow's pads", 2, 32, 30, 3, 16, 1, {3, 3, 2, 2, 1, 1, 0, 0, 1, 1}, 2},
    {"dense, uneven pads", 1, 9, 8, 6, 10, 1, {5, 2, 1, 3, 1, 1, 0, 1, 2, 3}, 1},
    {"groups of 3", 2, 18, 17, 12, 20, 4, {3, 3, 1, 1, 1, 1, 1, 1, 1, 1}, 3},
    {"groups, dilated", 2, 9, 9, 4, 6, 2, {3, 3, 2, 1, 2, 2, 2, 2, 1, 3}, 1},
    {"two filters a channel", 2, 9, 7, 12, 24, 12, {5, 5, 1, 1, 1, 1, 2, 2, 2, 2}, 1},
};
/* clang-format on */

static thaw_conv_shape shape_of_case(const gradient_case &c) {
    thaw_conv_shape s = {c.N, c.H, c.W, c.C, 0, 0, c.K, c.G, c.window};
    const thaw_window &w = c.window;
    s.P = (c.H + w.pad_top + w.pad_bottom - w.dilation_h * (w.R - 1) - 1) / w.stride_h + 1;
    s.Q = (c.W + w.pad_left + w.pad_right - w.dilation_w * (w.S - 1) - 1) / w.stride_w + 1;
    return s;
}

/* dx and dw, each product of the convolution once. */
static void reference(const thaw_conv_shape &s, const ref_tensor &x, const ref_tensor &dy,
                      const std::vector<float> &w, ref_tensor dx, std::vector<double> *dw) {
    const thaw_window &win = s.window;
    int64_t each = s.C / s.G;
    REF_EACH(&dy) {
        for (int64_t i = 0; i < each * win.R * win.S; i++) {
            int64_t t = i % win.S, r = i / win.S % win.R, c = i / (win.S * win.R);
            int64_t h = p * win.stride_h + r * win.dilation_h - win.pad_top;
            int64_t v = q * win.stride_w + t * win.dilation_w - win.pad_left;
            if (h < 0 || h >= s.H || v < 0 || v >= s.W) continue;
            int64_t from = k / (s.K / s.G) * each + c;
            size_t at = (size_t)(k * each * win.R * win.S + i);
            double d = *ref_at(&dy, n, p, q, k);
            *ref_at(&dx, n, h, v, from) += d * w[at];
            (*dw)[at] += d * *ref_at(&x, n, h, v, from);
        }
    }
}

static void check_filter(const std::vector<float> &got, const std::vector<double> &want,
                         bool integers) {
    double error = 0, power = 0;
    for (size_t i = 0; i < want.size(); i++) {
        if (integers && got[i] != (float)want[i])
            return fail("dw[%zu] is %g, expected %g", i, got[i], want[i]);
        error += (got[i] - want[i]) * (got[i] - want[i]);
        power += want[i] * want[i];
    }
    if (!(error <= 1e-10 * power) || power == 0) fail("dw: NMSE %.3g", error / power);
}

/* Runs launch(dw, workspace) twice. */
template <class F>
static void filter_twice(const std::vector<double> &want, size_t floats, bool integers, F launch) {
    std::vector<float> runs[2];
    thaw_cuda_launch context = {};
    device_array<float> dw(want.size()), workspace(floats);
    for (auto &got : runs) {
        dw.poison();
        workspace.poison();
        if (!finish(launch(&context, dw.data(), workspace.data()), context)) return;
        workspace.download("workspace");
        got = dw.download("dw");
    }
    check_equal_bits("dw", runs[0], runs[1]);
    check_filter(runs[0], want, integers);
}

/* [K,C,R,S] to [Kp,R,S,Cp], and back, rounded to T. */
template <class T>
static void check_packing(const thaw_conv_shape &s, const std::vector<float> &w) {
    const int64_t taps = s.window.R * s.window.S;
    const int64_t Cp = padded_channels(s.C), Kp = padded_channels(s.K);
    device_array<float> filters(w), unpacked(w.size());
    device_array<T> packed((size_t)(Kp * taps * Cp));
    thaw_cuda_launch launch = {};
    packed.poison();
    unpacked.poison();
    if (!finish(cuda_pack_filter(&launch, &s, DTYPE<T>, filters.data(), packed.data()), launch) ||
        !finish(cuda_unpack_filter(&launch, &s, DTYPE<T>, packed.data(), unpacked.data()), launch))
        return;
    std::vector<T> got = packed.download("packed");
    std::vector<float> back = unpacked.download("unpacked");
    for (int64_t i = 0; i < Kp * taps * Cp; i++) {
        int64_t c = i % Cp, tap = i / Cp % taps, k = i / Cp / taps;
        bool real = k < s.K && c < s.C;
        size_t at = real ? (size_t)((k * s.C + c) * taps + tap) : 0;
        T want;
        store(&want, real ? w[at] : 0);
        if (value(got[(size_t)i]) != value(want))
            return fail("filter %lld, tap %lld, channel %lld is packed as %g, expected %g",
                        (long long)k, (long long)tap, (long long)c, value(got[(size_t)i]),
                        value(want));
        if (real && back[at] != value(want))
            return fail("dw[%zu] is unpacked as %g, expected %g", at, back[at], value(want));
    }
}

template <class T>
static void run_numbers(const gradient_case &c, bool integers) {
    const thaw_dtype dtype = DTYPE<T>;
    thaw_conv_shape s = shape_of_case(c);
    random_source random = {(uint64_t)(s.C * 77 + s.H)};
    auto number = [&] { return integers ? random.integer(3) : random.normal(); };
    device_tensor<T> x(s.N, s.H, s.W, s.C), dx(s.N, s.H, s.W, s.C), dy(s.N, s.P, s.Q, s.K),
        y(s.N, s.P, s.Q, s.K);
    host_tensor want_dx(s.N, s.H, s.W, s.C), want_y(s.N, s.P, s.Q, s.K);
    std::vector<float> w((size_t)(s.K * (s.C / s.G) * s.window.R * s.window.S));
    std::vector<double> want_dw(w.size());
    x.fill(number);
    dy.fill(number);
    for (float &f : w)
        f = number();
    reference(s, x.ref, dy.ref, w, want_dx.ref, &want_dw);
    ref_conv(&s, &x.ref, w.data(), nullptr, &want_y.ref);
    tolerance most = {sizeof(T) == 2 ? 1e-5 : integers ? 0 : 1e-10};
    device_array<float> filters(w);
    run_twice("y", y, want_y.ref, most, [&](thaw_cuda_launch *launch) {
        return cuda_plain_conv(launch, &s, dtype, x.data(), filters.data(), y.data());
    });
    run_twice("dx", dx, want_dx.ref, most, [&](thaw_cuda_launch *launch) {
        return cuda_plain_conv_data(launch, &s, dtype, dy.data(), filters.data(), dx.data());
    });
    filter_twice(want_dw, cuda_plain_conv_filter_workspace(&s), integers,
                 [&](thaw_cuda_launch *launch, float *dw, float *workspace) {
                     return cuda_plain_conv_filter(launch, &s, dtype, x.data(), dy.data(), dw,
                                                   workspace);
                 });
    if (s.G == 1) check_packing<T>(s, w);
    size_t chunks = cuda_plain_conv_filter_workspace(&s) / w.size();
    if ((int)(chunks ? chunks : 1) < c.least_chunks) fail("only %zu chunks of pixels", chunks);
    if (cuda_depthwise_trains(&s) != (c.G == c.C && c.K == c.C)) return fail("depthwise or not?");
    if (!cuda_depthwise_trains(&s)) return;

    device_array<float> packed(cuda_depthwise_packed_count(&s));
    thaw_cuda_launch launch = {};
    if (!finish(cuda_pack_depthwise(&launch, &s, filters.data(), packed.data()), launch)) return;
    run_twice("depthwise y", y, want_y.ref, most, [&](thaw_cuda_launch *l) {
        thaw_cuda_depthwise d = {};
        d.shape = s;
        d.dtype = dtype;
        d.x = x.data();
        d.w = packed.data();
        d.bias = cuda_depthwise_zeros(&s, packed.data());
        d.y = y.data();
        return cuda_depthwise(l, &d);
    });
    run_twice("depthwise dx", dx, want_dx.ref, most, [&](thaw_cuda_launch *l) {
        return cuda_depthwise_data(l, &s, dtype, dy.data(), packed.data(), dx.data());
    });
    filter_twice(want_dw, cuda_depthwise_filter_workspace(&s), integers,
                 [&](thaw_cuda_launch *l, float *dw, float *workspace) {
                     return cuda_depthwise_filter(l, &s, dtype, x.data(), dy.data(), dw, workspace);
                 });
}

template <class T>
static void run_case(const gradient_case &c, T) {
    run_numbers<T>(c, true);
    run_numbers<T>(c, false);
}

int main(int argc, char **argv) {
    return test_main(
        argc, argv, cases, [](const gradient_case &c, auto type) { run_case(c, type); },
        [](thaw_dtype type, int) { return type != THAW_F16; });
}
