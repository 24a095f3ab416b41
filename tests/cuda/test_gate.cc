/* The gate of squeeze and excite against two dense layers in double: small integers exactly, random
 * factors at an NMSE of 1e-6 beyond the rounding of the result. Weights stay in float.
 */
#include "cuda_testing.h"

using namespace thaw;

struct gate_case {
    const char *name;
    int64_t N, C, M;
    thaw_act act1, act2;
    float a2, b2; /* Of act2; act1's are 0 and infinity. */
    bool no_bias;
};

#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define RELU THAW_ACT_CLIP

/* clang-format off */
static const gate_case cases[] = {
    {"one of each", 1, 1, 1},
    {"integers", 2, 24, 6, RELU, THAW_ACT_CLIP, 1, 100},
    {"no bias", 2, 17, 5, RELU, THAW_ACT_NONE, 0, 0, true},
    {"more units than a round of warps", 3, 40, 19, RELU, THAW_ACT_NONE},
    {"many images", 131, 9, 3, RELU, THAW_ACT_NONE},
    {"many images, all channels", 130, 264, 17, RELU, THAW_ACT_NONE},
    {"many images that do not fit together", 129, 5000, 2, RELU, THAW_ACT_NONE},
    {"sigmoid leaves padding zero", 2, 3, 2, RELU, THAW_ACT_SIGMOID},
    {"efficientnet 32", 2, 32, 8, THAW_ACT_SILU, THAW_ACT_SIGMOID},
    {"efficientnet 96", 2, 96, 4, THAW_ACT_SILU, THAW_ACT_SIGMOID},
    {"efficientnet 144", 2, 144, 6, THAW_ACT_SILU, THAW_ACT_SIGMOID},
    {"efficientnet 240", 2, 240, 10, THAW_ACT_SILU, THAW_ACT_SIGMOID},
    {"efficientnet 480", 2, 480, 20, THAW_ACT_SILU, THAW_ACT_SIGMOID},
    {"efficientnet 672", 2, 672, 28, THAW_ACT_SILU, THAW_ACT_SIGMOID},
    {"efficientnet 1152", 2, 1152, 48, THAW_ACT_SILU, THAW_ACT_SIGMOID},
    {"mobilenet v3 72", 1, 72, 24, RELU, THAW_ACT_HARD_SIGMOID, 1.0f / 6, 0.5f},
    {"mobilenet v3 960", 1, 960, 68, RELU, THAW_ACT_HARD_SIGMOID, 1.0f / 6, 0.5f},
};
/* clang-format on */

static std::vector<float> numbers(size_t n, random_source &random, bool integers) {
    std::vector<float> v(n);
    for (float &f : v)
        f = integers ? random.integer(2) : random.normal() * 0.5f;
    return v;
}

template <class T>
static void run(const gate_case &c, T) {
    thaw_cuda_reason reason;
    const char *why = cuda_gate_refuses(c.C, c.M, &reason);
    if (why) return fail("refused: %s", why);
    bool exact = c.act1 != THAW_ACT_SILU && (c.act2 == THAW_ACT_NONE || c.act2 == THAW_ACT_CLIP);
    for (int integers = 0; integers < 1 + exact; integers++) {
        random_source random = {(uint64_t)(c.N * 31 + c.C)};
        std::vector<float> w1 = numbers((size_t)(c.M * c.C), random, integers);
        std::vector<float> w2 = numbers((size_t)(c.M * c.C), random, integers);
        std::vector<float> b1 = numbers((size_t)c.M, random, integers);
        std::vector<float> b2 = numbers((size_t)c.C, random, integers);
        device_tensor<T> x(c.N, 1, 1, c.C), y(c.N, 1, 1, c.C);
        x.fill([&] { return integers ? random.integer(2) : random.normal(); });
        const float *first = c.no_bias ? NULL : b1.data(), *second = c.no_bias ? NULL : b2.data();

        host_tensor hidden(c.N, 1, 1, c.M), want(c.N, 1, 1, c.C);
        thaw_epilogue act1 = {c.act1, 0, INFINITY, false}, act2 = {c.act2, c.a2, c.b2, false};
        ref_dense(&x.ref, w1.data(), first, &hidden.ref);
        ref_epilogue(&act1, NULL, &hidden.ref);
        ref_dense(&hidden.ref, w2.data(), second, &want.ref);
        ref_epilogue(&act2, NULL, &want.ref);

        std::vector<float> packed(cuda_gate_weight_count(c.C, c.M));
        cuda_gate_pack(c.C, c.M, w1.data(), first, w2.data(), second, packed.data());
        device_array<float> w(packed);
        thaw_cuda_gate g = {c.N,      c.C,  c.M,  DTYPE<T>, c.act1,   c.act2,  0,
                            INFINITY, c.a2, c.b2, x.data(), w.data(), y.data()};
        run_twice(integers ? "integers" : "random", y, want.ref,
                  {integers ? 0 : 1e-6 + rounding_nmse<T>()},
                  [&](thaw_cuda_launch *launch) { return cuda_gate(launch, &g); });
    }
}

/* What one kernel does not take, in words. */
static void refusals() {
    thaw_cuda_reason reason;
    const int64_t none[][2] = {{2048, 128}, {12282, 1}, {0, 4}, {4, 0}, {1ll << 40, 1ll << 40}};
    for (auto &size : none) {
        if (!cuda_gate_refuses(size[0], size[1], &reason))
            fail("%lld channels, %lld units: taken", (long long)size[0], (long long)size[1]);
    }
    const char *why = cuda_gate_refuses(2048, 128, &reason);
    if (why && !strstr(why, "2048 channels and 128 hidden units")) fail("says: %s", why);
}

int main(int argc, char **argv) {
    return test_main(
        argc, argv, cases,
        [](const gate_case &c, auto type) {
            if (&c == cases) refusals();
            run(c, type);
        },
        every_type);
}
