/* Activations, sums, products and affine maps against double, with every shape that is broadcast.
 * Integers must come out exactly where the activation is exact; random numbers at an NMSE of 1e-6
 * beyond the rounding of the result.
 */
#include "cuda_testing.h"

using namespace thaw;

enum element_kind { ACT, ADD, MUL, AFFINE };

struct element_case {
    const char *name;
    element_kind kind;
    int64_t N, H, W, C;
    thaw_act act;
    float a, b;
    bool one_pixel, one_channel, in_place;
};

#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define RELU THAW_ACT_CLIP, 0, INFINITY

/* clang-format off */
static const element_case cases[] = {
    {"clip", ACT, 1, 5, 3, 17, THAW_ACT_CLIP, -1, 2},
    {"clip above zero leaves padding zero", ACT, 1, 2, 2, 3, THAW_ACT_CLIP, 1, 2},
    {"leaky relu", ACT, 1, 5, 3, 3, THAW_ACT_LEAKY_RELU, 0.25f, 0},
    {"sigmoid", ACT, 1, 5, 3, 17, THAW_ACT_SIGMOID},
    {"silu", ACT, 2, 5, 3, 24, THAW_ACT_SILU},
    {"hard sigmoid", ACT, 1, 5, 3, 17, THAW_ACT_HARD_SIGMOID, 0.3f, 0.4f},
    {"hard swish", ACT, 1, 5, 3, 17, THAW_ACT_HARD_SWISH},
    {"tanh", ACT, 1, 5, 3, 17, THAW_ACT_TANH},
    {"gelu", ACT, 1, 5, 3, 17, THAW_ACT_GELU},
    {"gelu tanh", ACT, 1, 5, 3, 17, THAW_ACT_GELU_TANH},
    {"elu", ACT, 1, 5, 3, 17, THAW_ACT_ELU, 1.5f, 0},
    {"softplus", ACT, 1, 5, 3, 17, THAW_ACT_SOFTPLUS},
    {"square", ACT, 1, 5, 3, 17, THAW_ACT_POWER, 2, 0},
    {"cube", ACT, 1, 5, 3, 17, THAW_ACT_POWER, 3, 0},
    {"act in place", ACT, 1, 5, 3, 17, RELU, false, false, true},
    {"add", ADD, 2, 5, 3, 17, RELU},
    {"add one", ADD, 1, 1, 1, 1},
    {"add in place", ADD, 2, 5, 3, 24, RELU, false, false, true},
    {"add N11C", ADD, 3, 5, 3, 17, RELU, true, false},
    {"add NHW1", ADD, 2, 5, 3, 17, THAW_ACT_NONE, 0, 0, false, true},
    {"mul", MUL, 2, 5, 3, 17},
    {"mul N11C, a gate", MUL, 3, 7, 5, 40, THAW_ACT_NONE, 0, 0, true, false},
    {"mul NHW1", MUL, 2, 5, 3, 17, THAW_ACT_NONE, 0, 0, false, true},
    {"mul N111", MUL, 3, 5, 3, 17, THAW_ACT_NONE, 0, 0, true, true},
    {"mul many", MUL, 2, 40, 33, 96, RELU, true, false},
    {"affine", AFFINE, 2, 5, 3, 17},
    {"affine relu", AFFINE, 1, 9, 7, 64, RELU},
};
/* clang-format on */

template <class T>
static void run(const element_case &c, T) {
    bool exact = c.act == THAW_ACT_NONE || c.act == THAW_ACT_CLIP || c.act == THAW_ACT_LEAKY_RELU;
    for (int integers = 0; integers < 1 + exact; integers++) {
        random_source random = {(uint64_t)(c.H * 31 + c.C)};
        auto number = [&] { return integers ? random.integer(9) : random.normal() * 2; };
        device_tensor<T> x0(c.N, c.H, c.W, c.C), y(c.N, c.H, c.W, c.C);
        device_tensor<T> x1(c.N, c.one_pixel ? 1 : c.H, c.one_pixel ? 1 : c.W,
                            c.one_channel ? 1 : c.C);
        x0.fill(number);
        x1.fill(number);
        std::vector<float> scale((size_t)padded_channels(c.C)), shift(scale.size());
        for (int64_t k = 0; k < c.C; k++) {
            scale[(size_t)k] = number();
            shift[(size_t)k] = number();
        }
        device_array<float> device_scale(scale), device_shift(shift);
        host_tensor want(c.N, c.H, c.W, c.C);
        if (c.kind == ACT) want.values = x0.values;
        want.ref.v = want.values.data();
        if (c.kind == ADD) ref_add(&x0.ref, &x1.ref, &want.ref);
        if (c.kind == MUL) ref_mul(&x0.ref, &x1.ref, &want.ref);
        if (c.kind == AFFINE) ref_affine(&x0.ref, scale.data(), shift.data(), &want.ref);
        thaw_epilogue act = {c.act, c.a, c.b, false};
        ref_epilogue(&act, NULL, &want.ref);

        thaw_cuda_elementwise e = {c.N,   c.H, c.W, c.C,         DTYPE<T>,
                                   c.act, c.a, c.b, c.one_pixel, c.one_channel};
        e.x0 = x0.data();
        e.x1 = x1.data();
        e.scale = device_scale.data();
        e.shift = device_shift.data();
        e.y = y.data();
        run_twice(integers ? "integers" : "random", y, want.ref,
                  {integers ? 0 : 1e-6 + rounding_nmse<T>()}, [&](thaw_cuda_launch *launch) {
                      if (c.in_place) {
                          y.array.upload(x0.array.download("x0"));
                          e.x0 = y.data();
                      }
                      return c.kind == ACT   ? cuda_act(launch, &e)
                             : c.kind == ADD ? cuda_add(launch, &e)
                             : c.kind == MUL ? cuda_mul(launch, &e)
                                             : cuda_affine(launch, &e);
                  });
    }
}

int main(int argc, char **argv) {
    return test_main(
        argc, argv, cases, [](const element_case &c, auto type) { run(c, type); }, every_type);
}
