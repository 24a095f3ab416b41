/* Loss, gradient and score of rows of logits against the definition in kernels.h, in double.
 *
 * The storage type is that of the gradient. Per element, since a loss that is right on the whole
 * can be wrong in one row: losses within 1e-5 of themselves plus 1, gradients within 4e-6 of
 * weight / norm (a float sum of K terms, expf, 1 / sum) and the rounding of their type. Outliers,
 * infinities, NaN, rows that are none, labels that are none; strides; in place (float alone); two
 * runs bit-equal.
 */
#include "cuda_testing.h"

using namespace thaw;

enum logit_kind {
    NORMAL,
    OUTLIERS,
    FAR_OFF,
    FAR_BELOW,
    TEN_THOUSANDS,
    EXTREMES,
    MINUS_INF,
    ALL_MINUS_INF,
    NOT_A_NUMBER
};

struct loss_case {
    const char *name;
    int64_t M, K;
    int pad, dpad; /* Elements between rows. */
    float smoothing;
    bool weighted, in_place;
    logit_kind kind;
};

/* clang-format off */
static const loss_case cases[] = {
    {"1 class", 3, 1, 0, 0, 0, false, false, NORMAL},
    {"2 classes", 1, 2, 0, 0, 0.1f, true, false, NORMAL},
    {"12 classes", 33, 12, 0, 0, 0, false, false, NORMAL},
    {"12 classes, smoothed, weighted, in place", 9, 12, 0, 0, 0.1f, true, true, NORMAL},
    {"102 classes", 17, 102, 2, 6, 0.1f, true, false, NORMAL},
    {"128 classes, in place", 5, 128, 0, 0, 0, false, true, NORMAL},
    {"129 classes", 5, 129, 0, 0, 0.1f, false, false, NORMAL},
    {"1000 classes, in place", 5, 1000, 24, 24, 0.1f, true, true, NORMAL},
    {"1001 classes", 3, 1001, 0, 1, 0, true, false, NORMAL},
    {"1024 classes", 3, 1024, 0, 0, 0.1f, false, false, NORMAL},
    {"1025 classes", 3, 1025, 0, 0, 0.1f, true, false, NORMAL},
    {"1025 classes, aligned, in place", 3, 1025, 3, 3, 0.1f, true, true, NORMAL},
    {"1028 classes, gradient unaligned", 3, 1028, 0, 1, 0.1f, false, false, NORMAL},
    {"5000 classes", 3, 5000, 0, 0, 0.1f, false, false, NORMAL},
    {"5000 classes, in place", 2, 5000, 0, 0, 0, true, true, NORMAL},
    {"5001 classes, in place", 2, 5001, 0, 0, 0.1f, true, true, NORMAL},
    {"outliers", 7, 40, 0, 0, 0.1f, true, true, OUTLIERS},
    {"outliers, 1200 classes", 5, 1200, 0, 0, 0.1f, false, false, OUTLIERS},
    {"all of 10000", 7, 12, 0, 0, 0, true, false, TEN_THOUSANDS},
    {"all of 10000, smoothed, 1201 classes", 3, 1201, 0, 0, 0.2f, false, false, TEN_THOUSANDS},
    {"far off", 7, 10, 0, 0, 0.1f, false, false, FAR_OFF},
    {"far off, 1300 classes", 3, 1300, 0, 0, 0.1f, false, false, FAR_OFF},
    {"far below", 7, 10, 0, 0, 0.1f, false, false, FAR_BELOW},
    {"far below, 1300 classes", 3, 1300, 0, 0, 0, false, false, FAR_BELOW},
    {"largest and smallest", 6, 9, 0, 0, 0, false, false, EXTREMES},
    {"largest and smallest, 1028 classes", 6, 1028, 0, 0, 0, false, false, EXTREMES},
    {"-inf", 9, 33, 0, 0, 0, false, false, MINUS_INF},
    {"-inf, smoothed", 9, 33, 0, 0, 0.1f, false, true, MINUS_INF},
    {"-inf, 1100 classes", 9, 1100, 0, 0, 0, false, false, MINUS_INF},
    {"nothing but -inf", 3, 33, 0, 0, 0, false, false, ALL_MINUS_INF},
    {"nothing but -inf, 1100 classes", 3, 1100, 0, 0, 0, false, false, ALL_MINUS_INF},
    {"NaN, 1 class", 9, 1, 0, 0, 0, false, false, NOT_A_NUMBER},
    {"NaN", 9, 40, 0, 0, 0.1f, false, false, NOT_A_NUMBER},
    {"NaN, in place", 9, 1000, 0, 0, 0, true, true, NOT_A_NUMBER},
    {"NaN, 1200 classes", 9, 1200, 0, 0, 0.1f, false, true, NOT_A_NUMBER},
};
/* clang-format on */

/* What a row has on the host. Row 1 of each case is none, and row 2's label is too large, where
 * there are as many rows. */
struct loss_rows {
    int64_t ld;
    std::vector<float> z, weight;
    std::vector<int32_t> label;

    loss_rows(const loss_case &c)
        : ld(c.K + c.pad), z((size_t)(c.M * ld), NAN), weight((size_t)c.K) {
        random_source random = {(uint64_t)(c.K * 7 + c.M)};
        for (int64_t k = 0; k < c.K; k++)
            weight[(size_t)k] = 1.5f + random.uniform();
        for (int64_t m = 0; m < c.M; m++) {
            float *row = &z[(size_t)(m * ld)];
            label.push_back((int32_t)(random.next() % (uint64_t)c.K));
            for (int64_t k = 0; k < c.K; k++)
                row[k] = logit(c.kind, random);
            spoil(c, m, row, random);
        }
        if (c.M > 4) label[1] = -1;
        if (c.M > 4) label[2] = (int32_t)c.K + 1;
    }

    static float logit(logit_kind kind, random_source &random) {
        float f = random.normal() * 3;
        switch (kind) {
            case FAR_OFF:
                return 1e6f + f;
            case FAR_BELOW:
                return -1e6f + f;
            case TEN_THOUSANDS:
                return f < 0 ? -1e4f : 1e4f;
            case EXTREMES:
                return f < 0 ? -3e38f : f;
            case ALL_MINUS_INF:
                return -INFINITY;
            default:
                return f;
        }
    }

    void spoil(const loss_case &c, int64_t m, float *row, random_source &random) {
        int64_t a = (int64_t)(random.next() % (uint64_t)c.K), own = label[(size_t)m];
        if (c.kind == OUTLIERS) {
            row[a] = 1e4f;
            row[(a + 1 + m) % c.K] = -1e4f;
        }
        if (c.kind == EXTREMES && m % 2) row[own] = 3e38f;
        if (c.kind == MINUS_INF && m % 3) row[m % 3 == 1 ? (own + 1) % c.K : own] = -INFINITY;
        if (c.kind == NOT_A_NUMBER) row[own] = 20; /* Right, were it not for the NaN. */
        if (c.kind == NOT_A_NUMBER && m % 3) row[m % 3 == 1 ? a : own] = NAN;
        if (c.kind == NOT_A_NUMBER) return;
        if (m % 2 == 0 && c.K > 1) row[(own + 1) % c.K] = row[own]; /* A tie. */
    }
};

/* The definition, read literally. A share of nothing is no part of the loss. */
struct loss_reference {
    double loss;
    bool correct;
    std::vector<double> dz;
};

static loss_reference reference(const loss_case &c, const float *z, int64_t label, double weight,
                                double norm) {
    loss_reference r = {0, true, std::vector<double>((size_t)c.K)};
    if (label < 0) return {0, false, r.dz};
    double max = -INFINITY, sum = 0;
    for (int64_t k = 0; k < c.K; k++)
        max = z[k] > max ? z[k] : max;
    for (int64_t k = 0; k < c.K; k++)
        sum += exp(z[k] - max);
    for (int64_t k = 0; k < c.K; k++) {
        double t = (k == label ? 1 - (double)c.smoothing : 0) + (double)c.smoothing / (double)c.K;
        double log_p = z[k] - max - log(sum);
        if (t > 0) r.loss -= weight * t * log_p;
        r.dz[(size_t)k] = weight * (exp(log_p) - t) / norm;
        /* As thaw_metrics_rank. */
        if (z[k] != z[k] || label >= c.K || z[k] > z[label] || (z[k] == z[label] && k < label))
            r.correct = false;
    }
    if (label >= c.K) r.loss = NAN;
    return r;
}

static bool near(double got, double want, double most) {
    if (isnan(want)) return isnan(got);
    if (isinf(want)) return got == want;
    return fabs(got - want) <= most;
}

struct loss_run {
    std::vector<float> loss;
    std::vector<uint8_t> correct;
};

template <class T>
static void check_row(const loss_case &c, const loss_rows &rows, int64_t m, double norm,
                      const loss_run &got, const T *dz) {
    const float *z = &rows.z[(size_t)(m * rows.ld)];
    int64_t label = rows.label[(size_t)m];
    double weight = label >= c.K ? NAN : c.weighted && label >= 0 ? rows.weight[(size_t)label] : 1;
    loss_reference want = reference(c, z, label, weight, norm);
    if (!near(got.loss[(size_t)m], want.loss, 1e-5 * (1 + fabs(want.loss))))
        return fail("row %lld: loss %.9g, expected %.9g", (long long)m, got.loss[(size_t)m],
                    want.loss);
    if (got.correct[(size_t)m] != want.correct)
        return fail("row %lld: correct is %d", (long long)m, got.correct[(size_t)m]);
    double rounding = std::is_same<T, float>::value    ? 0
                      : std::is_same<T, half_t>::value ? 0x1p-11
                                                       : 0x1p-8;
    for (int64_t k = 0; k < c.K; k++) {
        double g = value(dz[k]), w = want.dz[(size_t)k];
        if (!near(g, w, 4e-6 * 2.5 / norm + rounding * fabs(w)))
            return fail("row %lld class %lld: gradient %.9g, expected %.9g", (long long)m,
                        (long long)k, g, w);
    }
}

template <class T>
static void run(const loss_case &c, T) {
    bool in_place = c.in_place && std::is_same<T, float>::value;
    loss_rows rows(c);
    const float norm = 1.75f;
    int64_t dld = c.K + c.dpad;
    device_array<float> logits(rows.z), weight(rows.weight), norms(std::vector<float>{NAN, norm});
    device_array<T> gradient((size_t)(c.M * dld));
    device_array<int32_t> label(rows.label);
    /* Step 1: the numbers of step 0 are left alone. */
    device_array<thaw_cuda_cursor> cursor(std::vector<thaw_cuda_cursor>{{0, 1}});
    device_array<float> loss((size_t)(2 * c.M));
    device_array<uint8_t> correct((size_t)(2 * c.M));
    thaw_cuda_loss p = {};
    p.M = c.M;
    p.K = c.K;
    p.logits_ld = rows.ld;
    p.dlogits_ld = in_place ? rows.ld : dld;
    p.dlogits_dtype = DTYPE<T>;
    p.smoothing = c.smoothing;
    p.logits = logits.data();
    p.label = label.data();
    p.class_weight = c.weighted ? weight.data() : NULL;
    p.norm = norms.data();
    p.loss = loss.data();
    p.correct = correct.data();
    p.dlogits = in_place ? (void *)logits.data() : (void *)gradient.data();
    p.cursor = cursor.data();
    std::vector<T> runs[2];
    std::vector<float> losses[2];
    thaw_cuda_launch launch = {};
    for (int i = 0; i < 2; i++) {
        logits.upload(rows.z);
        gradient.poison();
        loss.poison();
        correct.poison();
        if (!finish(cuda_loss(&launch, &p), launch)) return;
        losses[i] = loss.download("loss");
        if (!in_place) runs[i] = gradient.download("dlogits");
        std::vector<float> z = logits.download("logits");
        if (in_place)
            memcpy((void *)(runs[i] = std::vector<T>(z.size())).data(), z.data(), z.size() * 4);
        if (!in_place) check_equal_bits("logits", z, rows.z);
    }
    check_equal_bits("dlogits", runs[0], runs[1]);
    check_equal_bits("loss", losses[0], losses[1]);
    std::vector<uint8_t> right = correct.download("correct");
    loss_run got = {{losses[0].begin() + c.M, losses[0].end()}, {right.begin() + c.M, right.end()}};
    for (int64_t m = 0; m < c.M; m++) {
        check_row(c, rows, m, norm, got, &runs[0][(size_t)(m * p.dlogits_ld)]);
        if (state().this_failed) return;
        if (right[(size_t)m] != 0xff || losses[0][(size_t)m] == losses[0][(size_t)m])
            fail("row %lld of another step was written", (long long)m);
    }
    /* Between rows nothing was written. */
    for (int64_t i = 0; !in_place && i < c.M * dld; i++) {
        float f = value(runs[0][(size_t)i]);
        if (i % dld >= c.K && f == f) return fail("element %lld behind a row's end", (long long)i);
    }
    /* Without a gradient the losses are the same. */
    p.dlogits = NULL;
    p.correct = NULL;
    logits.upload(rows.z);
    loss.poison();
    if (finish(cuda_loss(&launch, &p), launch))
        check_equal_bits("loss without gradient", losses[0], loss.download("loss"));
}

int main(int argc, char **argv) {
    return test_main(
        argc, argv, cases, [](const loss_case &c, auto type) { run(c, type); }, every_type);
}
