/* Optimizer steps against double, over several steps whose scalars a cursor finds. Each value is
 * within 2e-6 of itself plus 1 (float rounds at each step, and w is of the size 1). Segments with
 * rates and decays of their own that end anywhere; tails; the copy of the weights in half
 * precision, which is w rounded; what the cursor becomes; two runs bit-equal.
 */
#include "cuda_testing.h"

using namespace thaw;

enum optimizer_of { ADAMW_STEPS, SGD_STEPS };

struct optimizer_case {
    const char *name;
    optimizer_of kind;
    int64_t n;
    int n_segments;
    int64_t ends[4];
    bool cursor; /* Else: one step, the first. */
};

/* clang-format off */
static const optimizer_case cases[] = {
    {"adamw, one value", ADAMW_STEPS, 1, 1, {1}, true},
    {"adamw, a vector", ADAMW_STEPS, 4, 1, {4}, true},
    {"adamw, tails", ADAMW_STEPS, 7, 2, {5, 7}, true},
    {"adamw, without a cursor", ADAMW_STEPS, 7, 2, {5, 7}, false},
    {"adamw, oxford", ADAMW_STEPS, 15372, 2, {15360, 15372}, true},
    {"adamw, segments in one vector", ADAMW_STEPS, 1030, 4, {1, 2, 3, 1030}, true},
    {"adamw, an empty segment", ADAMW_STEPS, 2051, 4, {1026, 1026, 2047, 2051}, true},
    {"sgd, one value", SGD_STEPS, 1, 1, {1}, true},
    {"sgd, tails", SGD_STEPS, 1026, 2, {1021, 1026}, true},
    {"sgd, without a cursor", SGD_STEPS, 6, 1, {6}, false},
    {"sgd, two heads", SGD_STEPS, 3099, 4, {1500, 1512, 3081, 3099}, true},
};
/* clang-format on */

static const float beta1 = 0.9f, beta2 = 0.999f, eps = 1e-8f, momentum = 0.9f;
static const thaw_cuda_segment rates[] = {{0, 1, 0.1f}, {0, 0.5f, 0}, {0, 2, 0.01f}, {0, 0, 0.3f}};

static float rate_of_step(int step) {
    return 0.01f * (float)(step + 1);
}

/* One step of one value in double. */
struct reference_value {
    double w, m, v;

    void adamw(double g, double lr, double decay, int step) {
        w -= lr * decay * w;
        m = beta1 * m + (1 - (double)beta1) * g;
        v = beta2 * v + (1 - (double)beta2) * g * g;
        w -= lr * (m / (1 - pow(beta1, step))) / (sqrt(v / (1 - pow(beta2, step))) + eps);
    }
    void sgd(double g, double lr, double decay) {
        v = momentum * v + g + decay * w;
        w -= lr * v;
    }
};

/* Values and gradients of all steps, and what w becomes. */
struct optimizer_run {
    int steps;
    std::vector<float> w, g;
    std::vector<double> want;

    optimizer_run(const optimizer_case &c) : steps(c.cursor ? 5 : 1) {
        random_source random = {(uint64_t)c.n};
        for (int64_t i = 0; i < c.n; i++)
            w.push_back(random.normal());
        for (int64_t i = 0; i < c.n * steps; i++)
            g.push_back(i % 11 ? random.normal() : 0);
        for (int64_t i = 0; i < c.n; i++) {
            int s = 0;
            while (i >= c.ends[s])
                s++;
            reference_value value = {w[(size_t)i], 0, 0};
            for (int step = 0; step < steps; step++) {
                double lr = (double)rate_of_step(step) * rates[s].lr_factor;
                double gradient = g[(size_t)(step * c.n + i)];
                if (c.kind == SGD_STEPS) {
                    value.sgd(gradient, lr, rates[s].weight_decay);
                } else {
                    value.adamw(gradient, lr, rates[s].weight_decay, step + 1);
                }
            }
            want.push_back(value.w);
        }
    }
};

/* All steps of a case on the device; C: of the copy, float: none. */
template <class C>
static bool make_steps(const optimizer_case &c, const optimizer_run &r, std::vector<float> *w,
                       std::vector<C> *copy) {
    size_t n = (size_t)c.n;
    std::vector<thaw_cuda_segment> table(rates, rates + c.n_segments);
    std::vector<thaw_cuda_step> scalars;
    for (int s = 0; s < c.n_segments; s++)
        table[(size_t)s].end = c.ends[s];
    for (int step = 0; step < r.steps; step++)
        scalars.push_back(cuda_step_scalars(rate_of_step(step), beta1, beta2, step + 1));
    device_array<float> dev_w(r.w), dw(n), m(n), v(n);
    device_array<C> dev_copy(n);
    device_array<thaw_cuda_segment> segments(table);
    device_array<thaw_cuda_step> steps(scalars);
    device_array<thaw_cuda_cursor> cursor(1);
    m.clear();
    v.clear();
    thaw_cuda_optimizer p = {};
    p.n = c.n;
    p.w = dev_w.data();
    p.m = c.kind == SGD_STEPS ? NULL : m.data();
    p.v = v.data();
    p.dw = dw.data();
    p.w_copy = std::is_same<C, float>::value ? NULL : dev_copy.data();
    p.copy_dtype = DTYPE<C>;
    p.beta1 = beta1;
    p.beta2 = beta2;
    p.eps = eps;
    p.momentum = momentum;
    p.segments = segments.data();
    p.n_segments = c.n_segments;
    p.steps = steps.data();
    p.cursor = c.cursor ? cursor.data() : NULL;
    for (int step = 0; step < r.steps; step++) {
        auto gradients = r.g.begin() + step * c.n;
        dw.upload({gradients, gradients + c.n});
        cursor.upload({{-1, step}}); /* As the gather leaves it. */
        thaw_cuda_launch launch = {};
        if (!finish((c.kind == SGD_STEPS ? cuda_sgd : cuda_adamw)(&launch, &p), launch))
            return false;
        thaw_cuda_cursor after = cursor.download("cursor")[0];
        if (after.step != step || after.next != (c.cursor ? step + 1 : -1))
            fail("after step %d the cursor is %lld, %lld", step, (long long)after.next,
                 (long long)after.step);
    }
    m.download("m"); /* Their guards. */
    v.download("v");
    *w = dev_w.download("w");
    *copy = dev_copy.download("copy");
    return true;
}

template <class C>
static void run(const optimizer_case &c, C) {
    optimizer_run r(c);
    std::vector<float> w[2];
    std::vector<C> copy[2];
    for (int i = 0; i < 2; i++) {
        if (!make_steps(c, r, &w[i], &copy[i])) return;
    }
    check_equal_bits("w", w[0], w[1]);
    for (size_t i = 0; i < r.want.size(); i++) {
        if (!(fabs(w[0][i] - r.want[i]) <= 2e-6 * (1 + fabs(r.want[i]))))
            return fail("value %zu is %.9g, expected %.9g", i, w[0][i], r.want[i]);
        C rounded;
        store(&rounded, w[0][i]);
        if (!std::is_same<C, float>::value && value(copy[0][i]) != value(rounded))
            return fail("copy %zu of %.9g is %.9g", i, w[0][i], value(copy[0][i]));
    }
}

int main(int argc, char **argv) {
    return test_main(
        argc, argv, cases, [](const optimizer_case &c, auto type) { run(c, type); }, every_type);
}
