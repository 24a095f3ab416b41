/* Counts of what rows scored, against the same counts one by one: all exact. Ties, which go to the
 * lowest class; NaN in the label's place and elsewhere; rows of -inf alone; rows without a label;
 * strides; counts that are added to; counts that nobody wants.
 */
#include "cuda_testing.h"

using namespace thaw;

struct score_case {
    const char *name;
    int64_t M, K, pad, k;
    bool odd_rows; /* NaN, infinities, rows without a label. */
    bool tables;   /* support and confusion */
};

/* clang-format off */
static const score_case cases[] = {
    {"one class", 3, 1, 0, 1, false, true},
    {"two classes", 33, 2, 0, 1, false, true},
    {"12 classes", 67, 12, 0, 5, false, true},
    {"12 classes, odd rows", 201, 12, 4, 5, true, true},
    {"counts alone", 67, 12, 0, 3, true, false},
    {"102 classes", 129, 102, 2, 5, true, true},
    {"1000 classes", 17, 1000, 0, 5, true, true},
    {"1001 classes", 17, 1001, 3, 5, true, true},
    {"5000 classes", 7, 5000, 0, 5, true, false},
    {"fewer classes than k", 9, 3, 0, 5, true, true},
};
/* clang-format on */

struct score_rows {
    int64_t ld;
    std::vector<float> z;
    std::vector<int32_t> label;

    score_rows(const score_case &c) : ld(c.K + c.pad), z((size_t)(c.M * ld), NAN) {
        random_source random = {(uint64_t)(c.K * 13 + c.M)};
        for (int64_t m = 0; m < c.M; m++) {
            float *row = &z[(size_t)(m * ld)];
            label.push_back((int32_t)(random.next() % (uint64_t)c.K));
            /* Few values, so that ties are frequent. */
            for (int64_t k = 0; k < c.K; k++)
                row[k] = random.integer(4);
            if (m % 3 == 0) row[label.back()] = 4;
            if (!c.odd_rows) continue;
            if (m % 7 == 1) row[random.next() % (uint64_t)c.K] = NAN;
            if (m % 7 == 2) row[label.back()] = NAN;
            if (m % 7 == 3) row[random.next() % (uint64_t)c.K] = INFINITY;
            if (m % 7 == 4) row[label.back()] = -INFINITY;
            for (int64_t k = 0; m % 7 == 5 && k < c.K; k++)
                row[k] = -INFINITY;
            if (m % 7 == 6) label.back() = m % 2 ? -1 : (int32_t)c.K;
        }
    }
};

struct score_counts {
    thaw_cuda_counts counts;
    std::vector<unsigned long long> support, confusion;

    void add(const score_case &c, const float *z, int32_t label) {
        if (label < 0 || label >= c.K) return;
        int64_t before = 0, best = 0;
        bool is_nan = false;
        for (int64_t k = 0; k < c.K; k++) {
            is_nan |= isnan(z[k]);
            before += z[k] > z[label] || (z[k] == z[label] && k < label);
            if (z[k] > z[best]) best = k;
        }
        counts.n++;
        support[(size_t)label]++;
        counts.n_nan += is_nan;
        if (is_nan) return;
        counts.n_top1 += before == 0;
        counts.n_topk += before < c.k;
        if (c.tables) confusion[(size_t)(label * c.K + best)]++;
    }
};

static void run(const score_case &c, float) {
    score_rows rows(c);
    size_t K = (size_t)c.K, cells = c.tables ? K * K : 0;
    score_counts want = {
        {}, std::vector<unsigned long long>(K), std::vector<unsigned long long>(cells)};
    device_array<float> logits(rows.z);
    device_array<int32_t> label(rows.label);
    device_array<thaw_cuda_counts> counts(1);
    device_array<unsigned long long> support(K), confusion(cells);
    counts.clear();
    support.clear();
    confusion.clear();
    thaw_cuda_scores p = {c.M,
                          c.K,
                          rows.ld,
                          c.k,
                          logits.data(),
                          label.data(),
                          counts.data(),
                          c.tables ? support.data() : NULL,
                          c.tables ? confusion.data() : NULL};
    for (int batch = 0; batch < 2; batch++) { /* The second is added to the first. */
        thaw_cuda_launch launch = {};
        if (!finish(cuda_scores(&launch, &p), launch)) return;
        for (int64_t m = 0; m < c.M; m++)
            want.add(c, &rows.z[(size_t)(m * rows.ld)], rows.label[(size_t)m]);
    }
    thaw_cuda_counts got = counts.download("counts")[0];
    if (memcmp(&got, &want.counts, sizeof got) != 0)
        fail(
            "%llu rows, %llu NaN, %llu right, %llu among the first, expected %llu, %llu, %llu, "
            "%llu",
            got.n, got.n_nan, got.n_top1, got.n_topk, want.counts.n, want.counts.n_nan,
            want.counts.n_top1, want.counts.n_topk);
    std::vector<unsigned long long> rows_of = support.download("support");
    std::vector<unsigned long long> chosen = confusion.download("confusion");
    for (size_t i = 0; i < cells; i++) {
        if (chosen[i] != want.confusion[i])
            return fail("class %zu is taken for %zu %llu times, expected %llu", i / K, i % K,
                        chosen[i], want.confusion[i]);
    }
    for (size_t k = 0; k < K; k++) {
        unsigned long long n = c.tables ? want.support[k] : 0;
        if (rows_of[k] != n)
            return fail("class %zu has %llu rows, expected %llu", k, rows_of[k], n);
    }
}

/* Logits are float. */
template <class T>
static void run(const score_case &, T) {
}

int main(int argc, char **argv) {
    return test_main(
        argc, argv, cases, [](const score_case &c, auto type) { run(c, type); },
        [](thaw_dtype dtype, int) { return dtype == THAW_F32; });
}
