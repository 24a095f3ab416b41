/* Pools and the global mean against the formula in double. Maxima must be exact; so must means of
 * integers by powers of two; other means at an NMSE of 1e-6 beyond the rounding of the result.
 */
#include "cuda_testing.h"

using namespace thaw;

struct pool_case {
    const char *name;
    int64_t N, H, W, C, P, Q;
    thaw_window window; /* R = 0: the global mean. */
    bool max, count_include_pad;
};

#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define SQUARE(r, stride, pad) \
    { r, r, stride, stride, 1, 1, pad, pad, pad, pad }

/* clang-format off */
static const pool_case cases[] = {
    {"max of one", 1, 1, 1, 1, 1, 1, SQUARE(1, 1, 0), true},
    {"max 3x3 s2, ResNet", 2, 12, 10, 64, 6, 5, SQUARE(3, 2, 1), true},
    {"max 2x2 s2", 1, 9, 8, 17, 4, 4, SQUARE(2, 2, 0), true},
    {"max 3x3 s2 ceil", 1, 8, 8, 24, 4, 4, {3, 3, 2, 2, 1, 1, 0, 0, 0, 0}, true},
    {"max pads 0011", 1, 7, 6, 9, 4, 3, {3, 3, 2, 2, 1, 1, 0, 0, 1, 1}, true},
    {"max dilation 2", 1, 9, 9, 8, 5, 5, {3, 3, 1, 1, 2, 2, 0, 0, 0, 0}, true},
    {"max 1x7", 1, 3, 9, 8, 3, 9, {1, 7, 1, 1, 1, 1, 0, 3, 0, 3}, true},
    {"mean 2x2 s2, DenseNet", 1, 8, 6, 40, 4, 3, SQUARE(2, 2, 0)},
    {"mean 3x3 pad", 2, 7, 5, 12, 7, 5, SQUARE(3, 1, 1)},
    {"mean 3x3 with pads", 2, 7, 5, 12, 7, 5, SQUARE(3, 1, 1), false, true},
    {"mean 4x4", 3, 4, 4, 20, 1, 1, SQUARE(4, 1, 0)},
    {"global of one", 1, 1, 1, 1},
    {"global 7x7", 3, 7, 7, 96},
    {"global 8x8", 2, 8, 8, 17},
    {"global many pixels", 1, 40, 33, 8},
    {"global of many images", 70, 2, 3, 100},
    {"global of some images", 40, 3, 3, 130},
    {"global many channels", 2, 3, 5, 1280},
};
/* clang-format on */

template <class T>
static void run(const pool_case &c, T) {
    bool global = c.window.R == 0;
    for (int integers = 0; integers < 2; integers++) {
        random_source random = {(uint64_t)(c.H * 31 + c.C)};
        device_tensor<T> x(c.N, c.H, c.W, c.C);
        device_tensor<T> y(c.N, global ? 1 : c.P, global ? 1 : c.Q, c.C);
        x.fill([&] { return integers ? random.integer(40) - 20 : random.normal(); });
        host_tensor want(y.ref.N, y.ref.H, y.ref.W, c.C);
        thaw_pool_shape shape = {
            c.N, c.H, c.W, c.C, c.P, c.Q, c.window, c.max, c.count_include_pad};
        if (global) {
            ref_global_mean(&x.ref, &want.ref);
        } else {
            ref_pool(&shape, &x.ref, &want.ref);
        }
        bool exact = c.max || (integers && c.H == 8 && c.W == 8);
        run_twice(integers ? "integers" : "random", y, want.ref,
                  {exact ? 0 : 1e-6 + rounding_nmse<T>()}, [&](thaw_cuda_launch *launch) {
                      return global ? cuda_global_mean(launch, c.N, c.H, c.W, c.C, DTYPE<T>,
                                                       x.data(), y.data())
                                    : cuda_pool(launch, &shape, DTYPE<T>, x.data(), y.data());
                  });
    }
}

int main(int argc, char **argv) {
    return test_main(
        argc, argv, cases, [](const pool_case &c, auto type) { run(c, type); }, every_type);
}
