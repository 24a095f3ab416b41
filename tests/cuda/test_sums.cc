/* Sums over rows against double: columns in every storage type, with strides, with one block a
 * column and with up to 128 that share one; weights of batches; totals of an epoch. Small integers
 * must come out exactly; random columns at a relative 1e-6 of the sum of magnitudes. The counters
 * are zero again after each launch, and two runs give the same bits.
 */
#include "cuda_testing.h"

using namespace thaw;

enum sum_kind { COLUMNS, WEIGHTS, EPOCH };

struct sum_case {
    const char *name;
    sum_kind kind;
    int64_t M, K; /* Weights: batches of M, K rows in all. Epoch: M losses, K steps. */
    int64_t pad;  /* Columns: elements between rows. */
    bool index32, weighted;
};

/* clang-format off */
static const sum_case cases[] = {
    {"one number", COLUMNS, 1, 1, 0, false, false},
    {"one column", COLUMNS, 37, 1, 0, false, false},
    {"one row", COLUMNS, 1, 102, 0, false, false},
    {"12 columns of a batch", COLUMNS, 64, 12, 4, false, false},
    {"102 columns", COLUMNS, 255, 102, 2, false, false},
    {"a block's most rows", COLUMNS, 512, 33, 0, false, false},
    {"two blocks a column", COLUMNS, 513, 33, 0, false, false},
    {"1001 columns, two blocks each", COLUMNS, 517, 1001, 0, false, false},
    {"20 blocks a column", COLUMNS, 9999, 5, 3, false, false},
    {"128 blocks a column", COLUMNS, 70001, 1, 0, false, false},
    {"vectors of columns", COLUMNS, 513, 37, 3, false, false},
    {"vectors of columns, several tiles", COLUMNS, 1500, 200, 0, false, false},
    {"vectors of columns, 128 blocks", COLUMNS, 66001, 8, 0, false, false},
    {"weights, one batch", WEIGHTS, 64, 1, 0, false, false},
    {"weights, last batch short", WEIGHTS, 300, 700, 0, false, true},
    {"weights, index of int32", WEIGHTS, 33, 99, 0, true, true},
    {"counts of rows", WEIGHTS, 64, 130, 0, true, false},
    {"epoch of one row", EPOCH, 1, 1, 0, false, false},
    {"epoch", EPOCH, 5003, 79, 0, false, false},
};
/* clang-format on */

template <class T>
static void columns(const sum_case &c, bool integers) {
    random_source random = {(uint64_t)(c.K * 31 + c.M)};
    int64_t ld = c.K + c.pad;
    std::vector<T> dy((size_t)(c.M * ld));
    std::vector<double> want((size_t)c.K), magnitude((size_t)c.K);
    for (size_t i = 0; i < dy.size(); i++) {
        store(&dy[i], integers ? random.integer(9) : random.normal());
        size_t k = i % (size_t)ld;
        if (k >= want.size()) continue;
        want[k] += value(dy[i]);
        magnitude[k] += fabs(value(dy[i]));
    }
    device_array<T> from(dy);
    device_array<float> db((size_t)c.K), workspace(cuda_column_sum_workspace(c.M, c.K));
    device_array<uint32_t> counters(cuda_column_sum_counters(c.M, c.K));
    counters.clear();
    thaw_cuda_column_sum p = {
        c.M, c.K, ld, DTYPE<T>, from.data(), db.data(), workspace.data(), counters.data()};
    std::vector<float> runs[2];
    thaw_cuda_launch launch = {};
    for (auto &got : runs) {
        db.poison();
        workspace.poison();
        if (!finish(cuda_column_sum(&launch, &p), launch)) return;
        got = db.download("db");
    }
    check_equal_bits("db", runs[0], runs[1]);
    for (uint32_t count : counters.download("counters")) {
        if (count) return fail("a counter is left at %u", count);
    }
    for (size_t k = 0; k < want.size(); k++) {
        if (!(fabs(runs[0][k] - want[k]) <= (integers ? 0 : 1e-6 * magnitude[k])))
            return fail("column %zu is %.9g, expected %.9g", k, runs[0][k], want[k]);
    }
}

static void weights(const sum_case &c) {
    const int64_t ROWS = 900, CLASSES = 9;
    random_source random = {(uint64_t)c.K};
    std::vector<float> weight((size_t)CLASSES);
    std::vector<int32_t> label((size_t)ROWS), narrow((size_t)c.K);
    std::vector<int64_t> wide((size_t)c.K);
    size_t steps = (size_t)((c.K + c.M - 1) / c.M);
    std::vector<double> want(steps);
    for (float &w : weight)
        w = 1.5f + random.uniform();
    for (int32_t &k : label)
        k = (int32_t)(random.next() % CLASSES);
    for (size_t i = 0; i < wide.size(); i++) {
        wide[i] = (int64_t)(random.next() % ROWS);
        narrow[i] = (int32_t)wide[i];
        want[i / (size_t)c.M] += c.weighted ? weight[(size_t)label[(size_t)wide[i]]] : 1;
    }
    device_array<float> device_weight(weight), norm(steps);
    device_array<int32_t> device_label(label), device_narrow(narrow);
    device_array<int64_t> device_wide(wide);
    thaw_cuda_order order = {device_wide.data(), c.index32, c.K};
    if (c.index32) order.index = device_narrow.data();
    thaw_cuda_launch launch = {};
    if (!finish(cuda_batch_weights(&launch, c.M, &order, device_label.data(),
                                   c.weighted ? device_weight.data() : NULL, norm.data()),
                launch))
        return;
    std::vector<float> got = norm.download("norm");
    for (size_t s = 0; s < steps; s++) {
        if (got[s] != (float)want[s]) /* Summed in double: the float nearest to the sum. */
            fail("batch %zu weighs %.9g, expected %.9g", s, got[s], want[s]);
    }
}

static void epoch(const sum_case &c) {
    random_source random = {(uint64_t)c.M};
    std::vector<float> loss((size_t)c.M), norm((size_t)c.K);
    std::vector<uint8_t> correct((size_t)c.M);
    thaw_cuda_epoch want = {};
    for (size_t m = 0; m < loss.size(); m++) {
        want.loss += loss[m] = random.integer(5000) / 8;
        want.n_correct += correct[m] = (uint8_t)(random.next() & 1);
    }
    for (float &w : norm)
        want.weight += w = random.integer(5000) / 8;
    device_array<float> device_loss(loss), device_norm(norm);
    device_array<uint8_t> device_correct(correct);
    for (bool counted : {true, false}) {
        device_array<thaw_cuda_epoch> sums(1);
        thaw_cuda_launch launch = {};
        if (!finish(cuda_epoch_sum(&launch, c.M, device_loss.data(),
                                   counted ? device_correct.data() : NULL, c.K, device_norm.data(),
                                   sums.data()),
                    launch))
            return;
        thaw_cuda_epoch got = sums.download("epoch")[0];
        if (got.loss != want.loss || got.weight != want.weight ||
            got.n_correct != (counted ? want.n_correct : 0))
            fail("loss %g, weight %g, %lld correct, expected %g, %g, %lld", got.loss, got.weight,
                 (long long)got.n_correct, want.loss, want.weight, (long long)want.n_correct);
    }
}

template <class T>
static void run(const sum_case &c, T) {
    if (c.kind == COLUMNS) {
        columns<T>(c, true);
        columns<T>(c, false);
    }
    if (c.kind == WEIGHTS) weights(c); /* The type makes no difference here, */
    if (c.kind == EPOCH) epoch(c);     /* nor here. */
}

int main(int argc, char **argv) {
    return test_main(
        argc, argv, cases, [](const sum_case &c, auto type) { run(c, type); }, every_type);
}
