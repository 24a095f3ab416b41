/* The kernels of the training side against double: loss and gradient, optimizer steps, gather, sums
 * of columns, scores. float throughout, but for gather. Losses and gradients at a relative 1e-5 of
 * the largest in their row (expf and a float sum of K terms); optimizers at 1e-6 of the value after
 * several steps; everything that only moves or counts is exact.
 */
#include "cuda_testing.h"

using namespace thaw;

enum training_kind { LOSS, ADAMW, SGD, GATHER, COLUMNS, SCORES };

struct training_case {
    const char *name;
    training_kind kind;
    int64_t M, K; /* gather: M rows of K; optimizer: K values. */
    float smoothing;
    bool weights, in_place, outliers, not_a_number;
};

#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

/* clang-format off */
static const training_case cases[] = {
    {"loss 1 class", LOSS, 1, 1},
    {"loss 2", LOSS, 5, 2, 0.1f},
    {"loss 12", LOSS, 33, 12, 0.1f, true},
    {"loss 33 in place", LOSS, 9, 33, 0, true, true},
    {"loss 102", LOSS, 7, 102, 0.1f, false, true},
    {"loss 1000", LOSS, 5, 1000, 0.1f, true, true},
    {"loss 1001 outliers", LOSS, 3, 1001, 0.2f, false, false, true},
    {"loss 1025 in place", LOSS, 3, 1025, 0.1f, true, true},
    {"loss 5000", LOSS, 2, 5000, 0, false, true, true},
    {"loss outliers", LOSS, 6, 40, 0.1f, false, true, true},
    {"loss NaN", LOSS, 6, 40, 0.1f, false, false, false, true},
    {"loss NaN, wide", LOSS, 6, 1200, 0.1f, false, false, false, true},
    {"adamw 1", ADAMW, 1, 1},
    {"adamw 1000", ADAMW, 1, 1000},
    {"sgd 777", SGD, 1, 777},
    {"gather 8", GATHER, 5, 8},
    {"gather 17", GATHER, 9, 17},
    {"gather 1280", GATHER, 33, 1280},
    {"columns 1", COLUMNS, 1, 1},
    {"columns 102", COLUMNS, 67, 102},
    {"columns 33 of many rows", COLUMNS, 1031, 33},
    {"scores 1", SCORES, 3, 1},
    {"scores 12", SCORES, 67, 12},
    {"scores 1001", SCORES, 9, 1001},
    {"scores NaN", SCORES, 20, 12, 0, false, false, false, true},
};
/* clang-format on */

/* Logits as a case wants them, and a label for each row; ties are frequent in small integers. */
struct logit_rows {
    std::vector<float> z;
    std::vector<int32_t> label;
    logit_rows(const training_case &c, bool integers) : z((size_t)(c.M * c.K)), label((size_t)c.M) {
        random_source random = {(uint64_t)(c.K + c.M)};
        for (float &v : z)
            v = integers ? random.integer(4) : random.normal() * 3;
        for (size_t m = 0; m < label.size(); m++) {
            label[m] = (int32_t)(random.next() % (uint64_t)c.K);
            float *row = &z[m * (size_t)c.K];
            if (c.outliers) {
                row[random.next() % (uint64_t)c.K] = 1e4f;
                row[random.next() % (uint64_t)c.K] = -1e4f;
            }
            if (c.not_a_number && m % 2) row[random.next() % (uint64_t)c.K] = NAN;
            if (c.not_a_number && m % 4 == 1) row[label[m]] = NAN;
        }
    }
};

static bool near(double got, double want, double scale) {
    if (isnan(want)) return isnan(got);
    return fabs(got - want) <= 1e-5 * scale + 1e-7;
}

/* Whether argmax, the lowest of equal ones, is the label; NaN never counts as right. */
static bool is_right(const float *row, int64_t K, int64_t label, int64_t k) {
    int64_t ahead = 0;
    for (int64_t i = 0; i < K; i++)
        ahead += row[i] > row[label] || (row[i] == row[label] && i < label);
    return row[label] == row[label] && ahead < k;
}

static void check_row(const training_case &c, const float *z, int64_t label, float weight,
                      float norm, float loss, const float *dz, int correct, int64_t m) {
    double max = -INFINITY, sum = 0, linear = 0;
    bool bad = false;
    for (int64_t k = 0; k < c.K; k++) {
        bad |= z[k] != z[k];
        if (z[k] > max) max = z[k];
    }
    for (int64_t k = 0; k < c.K; k++) {
        sum += exp(z[k] - max);
        linear += z[k] - max;
    }
    double share = (double)c.smoothing / (double)c.K, s = c.smoothing;
    double want =
        weight * (log(sum) - (1 - s) * (z[label] - max) - (share > 0 ? share * linear : 0));
    if (bad) want = NAN;
    if (!near(loss, want, fabs(want) + fabs(weight)))
        return fail("row %lld: loss %g, expected %g", (long long)m, loss, want);
    if (correct != (!bad && is_right(z, c.K, label, 1)))
        return fail("row %lld: correct is %d", (long long)m, correct);
    for (int64_t k = 0; k < c.K; k++) {
        double t = (k == label ? 1 - s : 0) + share;
        double d = bad ? NAN : weight * (exp(z[k] - max) / sum - t) / norm;
        if (!near(dz[k], d, weight / norm))
            return fail("row %lld class %lld: gradient %g, expected %g", (long long)m, (long long)k,
                        dz[k], d);
    }
}

static void loss(const training_case &c) {
    logit_rows rows(c, false);
    random_source random = {5};
    std::vector<float> weights((size_t)c.K);
    for (float &w : weights)
        w = 0.5f + fabsf(random.uniform());
    const float norm = 3.25f;
    device_array<float> device_norm(std::vector<float>(1, norm)), device_weights(weights);
    device_array<float> logits(rows.z), gradient(rows.z.size()), losses((size_t)c.M);
    device_array<int32_t> label(rows.label);
    device_array<uint8_t> correct((size_t)c.M);
    thaw_cuda_loss p = {c.M,
                        c.K,
                        logits.data(),
                        label.data(),
                        c.weights ? device_weights.data() : NULL,
                        device_norm.data(),
                        c.smoothing,
                        losses.data(),
                        c.in_place ? logits.data() : gradient.data(),
                        correct.data()};
    std::vector<float> runs[2], values;
    for (auto &bits : runs) {
        logits.upload(rows.z);
        losses.poison();
        correct.poison();
        thaw_cuda_launch launch = {};
        if (!finish(cuda_loss(&launch, &p), launch)) return;
        values = losses.download("loss");
        bits = c.in_place ? logits.download("dlogits") : gradient.download("dlogits");
    }
    check_equal_bits("dlogits", runs[0], runs[1]);
    std::vector<uint8_t> right = correct.download("correct");
    for (int64_t m = 0; m < c.M; m++) {
        int64_t k = rows.label[(size_t)m];
        check_row(c, &rows.z[(size_t)(m * c.K)], k, c.weights ? weights[(size_t)k] : 1, norm,
                  values[(size_t)m], &runs[0][(size_t)(m * c.K)], right[(size_t)m], m);
    }
    /* Without a gradient the losses are the same. */
    p.dlogits = NULL;
    logits.upload(rows.z);
    thaw_cuda_launch launch = {};
    if (finish(cuda_loss(&launch, &p), launch))
        check_equal_bits("loss without gradient", values, losses.download("loss"));
}

/* A few steps, replayed from the step counter, against double. */
static void optimizer(const training_case &c) {
    const int STEPS = 5;
    const float beta1 = 0.9f, beta2 = 0.999f, eps = 1e-8f, momentum = 0.9f, decay = 0.01f;
    random_source random = {(uint64_t)c.K};
    std::vector<float> w((size_t)c.K), dw(w.size());
    for (float &v : w)
        v = random.normal();
    for (float &v : dw)
        v = random.normal();
    std::vector<double> W(w.begin(), w.end()), M(w.size()), V(w.size());
    std::vector<thaw_cuda_step> steps(STEPS);
    int64_t decayed = c.K * 2 / 3;
    for (int i = 0; i < STEPS; i++) {
        double lr = 0.01 * (i + 1);
        steps[(size_t)i] = {(float)lr, (float)(lr / (1 - pow(beta1, i + 1))),
                            (float)(1 / sqrt(1 - pow(beta2, i + 1)))};
        for (size_t k = 0; k < W.size(); k++) {
            double g = dw[k], d = (int64_t)k < decayed ? decay : 0;
            if (c.kind == SGD) {
                V[k] = momentum * V[k] + g + d * W[k];
                W[k] -= lr * V[k];
                continue;
            }
            M[k] = beta1 * M[k] + (1 - (double)beta1) * g;
            V[k] = beta2 * V[k] + (1 - (double)beta2) * g * g;
            W[k] -= lr * d * W[k];
            W[k] -=
                lr / (1 - pow(beta1, i + 1)) * M[k] / (sqrt(V[k] / (1 - pow(beta2, i + 1))) + eps);
        }
    }
    device_array<float> dev_w(w), dev_dw(dw), m(w.size()), v(w.size());
    device_array<thaw_cuda_step> dev_steps(steps);
    device_array<uint32_t> step(1);
    m.clear();
    v.clear();
    step.clear();
    thaw_cuda_optimizer p = {
        c.K,   decayed, dev_w.data(), m.data(), v.data(),         dev_dw.data(), beta1,
        beta2, eps,     momentum,     decay,    dev_steps.data(), step.data()};
    for (int i = 0; i < STEPS; i++) {
        thaw_cuda_launch launch = {};
        int code = c.kind == SGD ? cuda_sgd(&launch, &p) : cuda_adamw(&launch, &p);
        if (!finish(code, launch) || !finish(cuda_next_step(&launch, step.data()), launch)) return;
    }
    std::vector<float> got = dev_w.download("w");
    for (size_t k = 0; k < got.size(); k++) {
        if (!(fabs(got[k] - W[k]) <= 1e-6 * (fabs(W[k]) + 1)))
            return fail("value %zu is %.9g, expected %.9g", k, got[k], W[k]);
    }
    if (step.download("step")[0] != STEPS) fail("the step was not counted");
}

template <class T>
static void gather(const training_case &c) {
    const int64_t ROWS = 50;
    const uint32_t FIRST = 7;
    random_source random = {(uint64_t)c.K};
    std::vector<T> x((size_t)(ROWS * c.K));
    for (T &v : x)
        store(&v, random.normal());
    std::vector<int64_t> index((size_t)(c.M + FIRST));
    for (auto &i : index)
        i = (int64_t)(random.next() % ROWS);
    device_array<T> from(x), same((size_t)(c.M * c.K));
    device_array<float> to((size_t)(c.M * c.K));
    device_array<int64_t> device_index(index);
    device_array<uint32_t> first(std::vector<uint32_t>(1, FIRST));
    thaw_cuda_launch launch = {};
    if (!finish(cuda_gather(&launch, c.M, c.K, DTYPE<T>, from.data(), device_index.data(),
                            first.data(), THAW_F32, to.data()),
                launch) ||
        !finish(cuda_gather(&launch, c.M, c.K, DTYPE<T>, from.data(), device_index.data() + FIRST,
                            NULL, DTYPE<T>, same.data()),
                launch))
        return;
    std::vector<float> got = to.download("y");
    std::vector<T> bits = same.download("y of x's type");
    for (int64_t i = 0; i < c.M * c.K; i++) {
        T want = x[(size_t)(index[(size_t)(FIRST + i / c.K)] * c.K + i % c.K)];
        if (got[(size_t)i] != value(want) || value(bits[(size_t)i]) != value(want))
            return fail("element %lld is %g, not %g", (long long)i, got[(size_t)i], value(want));
    }
}

static void columns(const training_case &c) {
    random_source random = {(uint64_t)c.K};
    std::vector<float> dy((size_t)(c.M * c.K)), losses((size_t)c.M);
    std::vector<uint8_t> correct((size_t)c.M);
    double want_sums[2] = {1, 2};
    for (float &v : dy)
        v = random.integer(99);
    for (size_t m = 0; m < losses.size(); m++) {
        want_sums[0] += losses[m] = random.integer(50);
        want_sums[1] += correct[m] = (uint8_t)(random.next() & 1);
    }
    device_array<float> from(dy), db((size_t)c.K), device_losses(losses);
    device_array<uint8_t> device_correct(correct);
    device_array<double> sums(std::vector<double>{1, 2});
    thaw_cuda_launch launch = {};
    if (!finish(cuda_column_sum(&launch, c.M, c.K, from.data(), db.data()), launch) ||
        !finish(
            cuda_epoch_sum(&launch, c.M, device_losses.data(), device_correct.data(), sums.data()),
            launch))
        return;
    std::vector<float> got = db.download("db");
    for (int64_t k = 0; k < c.K; k++) {
        double want = 0;
        for (int64_t m = 0; m < c.M; m++)
            want += dy[(size_t)(m * c.K + k)];
        if (got[(size_t)k] != want)
            return fail("column %lld is %g, not %g", (long long)k, got[(size_t)k], want);
    }
    std::vector<double> got_sums = sums.download("sums");
    if (got_sums[0] != want_sums[0] || got_sums[1] != want_sums[1])
        fail("sums are %g, %g, not %g, %g", got_sums[0], got_sums[1], want_sums[0], want_sums[1]);
}

static void scores(const training_case &c) {
    logit_rows rows(c, true);
    for (int64_t k : {(int64_t)1, (int64_t)5}) {
        std::vector<uint32_t> want((size_t)(c.K * c.K));
        uint32_t want_hits = 0, right = 0, diagonal = 0;
        for (int64_t m = 0; m < c.M; m++) {
            const float *row = &rows.z[(size_t)(m * c.K)];
            want_hits += is_right(row, c.K, rows.label[(size_t)m], k);
            right += is_right(row, c.K, rows.label[(size_t)m], 1);
        }
        device_array<float> logits(rows.z);
        device_array<int32_t> label(rows.label);
        device_array<uint32_t> confusion(want.size()), hits(1);
        confusion.clear();
        hits.clear();
        thaw_cuda_scores p = {c.M,        c.K, k, logits.data(), label.data(), confusion.data(),
                              hits.data()};
        thaw_cuda_launch launch = {};
        if (!finish(cuda_scores(&launch, &p), launch)) return;
        if (hits.download("hits")[0] != want_hits)
            return fail("%u hits among %lld, not %u", hits.download("hits")[0], (long long)k,
                        want_hits);
        std::vector<uint32_t> got = confusion.download("confusion");
        uint64_t total = 0;
        for (int64_t i = 0; i < c.K * c.K; i++) {
            total += got[(size_t)i];
            if (i / c.K == i % c.K) diagonal += got[(size_t)i];
        }
        if (total != (uint64_t)c.M) return fail("%llu rows counted", (unsigned long long)total);
        if (diagonal != right) return fail("%u on the diagonal, %u are right", diagonal, right);
    }
}

template <class T>
static void run(const training_case &c, T) {
    if (c.kind == GATHER) return gather<T>(c);
    if (!std::is_same<T, float>::value) { /* Only gather has other types. */
        state().ran--;
        state().refused++;
        return;
    }
    switch (c.kind) {
        case LOSS:
            return loss(c);
        case ADAMW:
        case SGD:
            return optimizer(c);
        case COLUMNS:
            return columns(c);
        default:
            return scores(c);
    }
}

int main(int argc, char **argv) {
    return test_main(
        argc, argv, cases, [](const training_case &c, auto type) { run(c, type); }, every_type);
}
