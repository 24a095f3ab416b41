/* What mixes numbers of a map without weights that are multiplied in tensor cores: norms of groups, softmax,
 * products of two maps, weighted rows and columns, against double. Integers must come out exactly where sums of
 * them are; the rest at an NMSE of 1e-6 beyond the rounding of the result.
 */
#include "cuda_testing.h"

using namespace thaw;

enum map_kind { GROUP_NORM, SOFTMAX, MATMUL, RESAMPLE };

struct map_case {
    const char *name;
    map_kind kind;
    int64_t N, H, W, C;
    int64_t groups;     /* Of group_norm and softmax. */
    int64_t bW;         /* matmul: b is W x bW. */
    int64_t P, Q, taps; /* resample */
    float middle;       /* Added to all numbers: what cancels if a mean is not taken off first. */
};

#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

/* clang-format off */
static const map_case cases[] = {
    {"group norm 24 of 4", GROUP_NORM, 2, 5, 3, 24, 4},
    {"group norm 17 of 1", GROUP_NORM, 2, 4, 4, 17, 1},
    {"instance norm 17", GROUP_NORM, 2, 7, 7, 17, 17},
    {"group norm of a vector", GROUP_NORM, 3, 1, 1, 24, 3},
    {"group norm, more pixels than threads", GROUP_NORM, 1, 13, 17, 32, 8},
    {"group norm far from zero", GROUP_NORM, 2, 5, 5, 16, 2, 0, 0, 0, 0, 60},
    {"softmax 17", SOFTMAX, 2, 5, 3, 17, 1},
    {"softmax 1", SOFTMAX, 2, 3, 3, 1, 1},
    {"softmax 196", SOFTMAX, 1, 3, 3, 196, 1},
    {"softmax 2 of 24", SOFTMAX, 2, 1, 1, 24, 12},
    {"softmax 3 of 9", SOFTMAX, 1, 2, 2, 9, 3},
    {"softmax far from zero", SOFTMAX, 1, 3, 3, 40, 1, 0, 0, 0, 0, 90},
    {"matmul 5x3 3x7 of 17", MATMUL, 2, 5, 3, 17, 0, 7},
    {"matmul of a row", MATMUL, 1, 1, 40, 8, 0, 3},
    {"matmul to a column", MATMUL, 3, 16, 9, 1, 0, 1},
    {"resample 1 tap", RESAMPLE, 2, 5, 3, 17, 0, 0, 7, 6, 1},
    {"resample 2 taps", RESAMPLE, 1, 4, 6, 24, 0, 0, 9, 3, 2},
    {"resample 4 taps", RESAMPLE, 2, 7, 7, 3, 0, 0, 2, 11, 4},
};
/* clang-format on */

template <class T>
static std::vector<float> draw_vector(int64_t C, random_source &random) {
    std::vector<float> v((size_t)padded_channels(C));
    for (int64_t c = 0; c < C; c++)
        v[(size_t)c] = random.normal();
    return v;
}

template <class T>
static void group_norm(const map_case &c, device_tensor<T> &x, random_source &random) {
    const float eps = 1e-5f;
    std::vector<float> gamma = draw_vector<T>(c.C, random), beta = draw_vector<T>(c.C, random);
    device_array<float> device_gamma(gamma), device_beta(beta);
    device_array<float> workspace(cuda_group_norm_workspace(c.N, c.C) / sizeof(float));
    device_tensor<T> y(c.N, c.H, c.W, c.C);
    host_tensor want(c.N, c.H, c.W, c.C);
    ref_group_norm(&x.ref, c.groups, gamma.data(), beta.data(), eps, &want.ref);
    run_twice("y", y, want.ref, {1e-6 + rounding_nmse<T>()}, [&](thaw_cuda_launch *launch) {
        workspace.poison();
        return cuda_group_norm(launch, c.N, c.H * c.W, c.C, c.groups, eps, DTYPE<T>, x.data(),
                               device_gamma.data(), device_beta.data(), workspace.data(), y.data());
    });
}

template <class T>
static void softmax(const map_case &c, device_tensor<T> &x) {
    device_tensor<T> y(c.N, c.H, c.W, c.C);
    host_tensor want(c.N, c.H, c.W, c.C);
    ref_softmax(&x.ref, c.groups, &want.ref);
    run_twice("y", y, want.ref, {1e-6 + rounding_nmse<T>()}, [&](thaw_cuda_launch *launch) {
        return cuda_softmax(launch, c.N * c.H * c.W, c.C, c.groups, DTYPE<T>, x.data(), y.data());
    });
}

template <class T>
static void matmul(const map_case &c, device_tensor<T> &a, random_source &random) {
    for (int integers = 0; integers < 2; integers++) {
        device_tensor<T> b(c.N, c.W, c.bW, c.C), y(c.N, c.H, c.bW, c.C);
        host_tensor want(c.N, c.H, c.bW, c.C);
        auto number = [&] { return integers ? random.integer(2) : random.normal(); };
        a.fill(number);
        b.fill(number);
        ref_matmul(&a.ref, &b.ref, &want.ref);
        run_twice(integers ? "integers" : "random", y, want.ref,
                  {integers ? 0 : 1e-6 + rounding_nmse<T>()}, [&](thaw_cuda_launch *launch) {
                      return cuda_matmul(launch, c.N, c.H, c.W, c.bW, c.C, DTYPE<T>, a.data(),
                                         b.data(), y.data());
                  });
    }
}

/* Taps for each of so many places, some of weight 0, as they are where a border ends. */
struct drawn_taps {
    std::vector<int32_t> from;
    std::vector<float> weight;
    std::vector<thaw_cuda_tap> all;
    thaw_taps taps;

    drawn_taps(int64_t places, int64_t n, int64_t size, random_source &random) {
        for (int64_t i = 0; i < places * n; i++) {
            from.push_back((int32_t)(random.next() % (uint64_t)size));
            weight.push_back(i % 5 == 4 ? 0 : random.integer(2));
            all.push_back({from.back(), weight.back()});
        }
        taps = {n, from.data(), weight.data()};
    }
};

template <class T>
static void resample(const map_case &c, device_tensor<T> &x, random_source &random) {
    drawn_taps rows(c.P, c.taps, c.H, random), columns(c.Q, c.taps, c.W, random);
    device_array<thaw_cuda_tap> device_rows(rows.all), device_columns(columns.all);
    x.fill([&] { return random.integer(3); });
    device_tensor<T> y(c.N, c.P, c.Q, c.C);
    host_tensor want(c.N, c.P, c.Q, c.C);
    ref_resample(&x.ref, &rows.taps, &columns.taps, &want.ref);
    thaw_cuda_resample r = {c.N, c.H, c.W, c.C, c.P, c.Q, DTYPE<T>};
    r.rows = device_rows.data();
    r.columns = device_columns.data();
    r.n_rows = r.n_columns = c.taps;
    r.x = x.data();
    r.y = y.data();
    run_twice("y", y, want.ref, {0},
              [&](thaw_cuda_launch *launch) { return cuda_resample(launch, &r); });
}

template <class T>
static void run(const map_case &c, T) {
    random_source random = {(uint64_t)(c.H * 31 + c.C)};
    device_tensor<T> x(c.N, c.H, c.W, c.C);
    x.fill([&] { return random.normal() + c.middle; });
    switch (c.kind) {
        case GROUP_NORM:
            return group_norm(c, x, random);
        case SOFTMAX:
            return softmax(c, x);
        case MATMUL:
            return matmul(c, x, random);
        case RESAMPLE:
            return resample(c, x, random);
    }
}

int main(int argc, char **argv) {
    return test_main(
        argc, argv, cases, [](const map_case &c, auto type) { run(c, type); }, every_type);
}
