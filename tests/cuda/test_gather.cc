/* Rows by index: bits are copied where nothing is converted; conversion and scaling are those of
 * the same formula in float, bit by bit. Every width of access, both widths of index, rows behind
 * the index's end, a cursor that is read and copied, labels, what lies between rows, rows in two
 * places.
 */
#include "cuda_testing.h"

using namespace thaw;

struct gather_case {
    const char *name;
    int64_t M, D, n;          /* n: positions in the index. */
    int64_t x_pad, y_pad;     /* Elements between rows. */
    int64_t x_first, y_first; /* Elements before the first row: misaligned. */
    int64_t step;             /* -1: no cursor. */
    bool index, index32, labels;
};

/* clang-format off */
static const gather_case cases[] = {
    {"one number", 1, 1, 1, 0, 0, 0, 0, -1, true, false, false},
    {"no index", 5, 24, 5, 0, 0, 0, 0, -1, false, false, true},
    {"no index, step 2, last batch", 5, 8, 12, 0, 0, 0, 0, 2, false, false, true},
    {"MobileNetV2", 33, 1280, 99, 0, 0, 0, 0, 1, true, false, true},
    {"ResNet-50", 9, 2048, 40, 0, 0, 0, 0, 3, true, true, true},
    {"EfficientNet-B0, last batch", 16, 1280, 37, 0, 0, 0, 0, 2, true, true, true},
    {"ConvNeXt-T, all behind the end", 4, 768, 8, 0, 0, 0, 0, 2, true, false, true},
    {"odd length, last batch", 9, 17, 20, 0, 0, 0, 0, 2, true, false, true},
    {"two bytes at a time", 7, 33, 20, 0, 0, 1, 0, 0, true, false, false},
    {"four bytes at a time", 7, 18, 20, 2, 4, 0, 2, 0, true, false, false},
    {"eight bytes at a time", 7, 20, 20, 4, 12, 4, 0, 0, true, true, false},
    {"stride of x", 5, 24, 20, 8, 0, 0, 0, 0, true, false, false},
    {"stride of y", 5, 24, 20, 0, 16, 0, 0, 0, true, false, false},
    {"odd stride of x", 5, 24, 20, 3, 0, 0, 0, 0, true, false, false},
    {"odd stride of y", 5, 24, 20, 0, 1, 0, 0, 0, true, false, false},
    {"aligned rows of odd length", 5, 20, 20, 4, 4, 0, 0, 0, true, false, false},
    {"x misaligned", 5, 24, 20, 0, 0, 1, 0, 0, true, false, false},
    {"y misaligned", 5, 24, 20, 0, 0, 0, 1, 0, true, false, false},
    {"many short rows", 1000, 2, 1001, 0, 0, 0, 0, 0, true, true, true},
    {"more pieces than threads", 3, 10504, 9, 0, 0, 0, 0, 0, true, false, false},
};
/* clang-format on */

enum { ROWS = 50 };

/* What a case gathers from. */
template <class T>
struct gather_source {
    int64_t ld;
    std::vector<T> x;
    std::vector<int32_t> label, narrow;
    std::vector<int64_t> wide;
    std::vector<float> mean, scale;

    gather_source(const gather_case &c)
        : ld(c.D + c.x_pad), x((size_t)(c.x_first + ROWS * ld)), label(ROWS) {
        random_source random = {(uint64_t)(c.D * 3 + c.M)};
        for (T &v : x)
            store(&v, random.normal());
        for (int32_t &k : label)
            k = (int32_t)(random.next() % 1000);
        for (int64_t i = 0; i < c.n; i++) {
            wide.push_back(c.index ? (int64_t)(random.next() % ROWS) : i);
            narrow.push_back((int32_t)wide.back());
        }
        for (int64_t d = 0; d < c.D; d++) {
            mean.push_back(random.normal());
            scale.push_back(1.5f + random.uniform());
        }
    }

    /* The row at m of the case's step; -1: none. */
    int64_t row(const gather_case &c, int64_t m) const {
        int64_t at = (c.step < 0 ? 0 : c.step) * c.M + m;
        return at < c.n ? wide[(size_t)at] : -1;
    }
};

template <class T, class U>
static void check_rows(const gather_case &c, const gather_source<T> &source, bool scaled,
                       const std::vector<U> &y) {
    int64_t ld = c.D + c.y_pad;
    for (int64_t i = 0; i < (int64_t)y.size(); i++) {
        int64_t m = (i - c.y_first) / ld, d = (i - c.y_first) % ld;
        U want;
        memset((void *)&want, 0xff, sizeof want); /* Between rows: untouched. */
        if (i >= c.y_first && d < c.D) {
            int64_t row = source.row(c, m);
            store(&want, 0);
            if (row >= 0) {
                float f = value(source.x[(size_t)(c.x_first + row * source.ld + d)]);
                if (scaled) f = (f - source.mean[(size_t)d]) * source.scale[(size_t)d];
                store(&want, f);
            }
        }
        if (memcmp(&want, &y[(size_t)i], sizeof want) != 0)
            return fail("%s row %lld element %lld is %g, expected %g", scaled ? "scaled" : "plain",
                        (long long)m, (long long)d, value(y[(size_t)i]), value(want));
    }
}

template <class T, class U>
static void gather(const gather_case &c, const gather_source<T> &source, bool scaled,
                   int64_t near) {
    device_array<T> x(source.x);
    device_array<U> y((size_t)(c.y_first + c.M * (c.D + c.y_pad)));
    device_array<int64_t> wide(source.wide);
    device_array<int32_t> narrow(source.narrow), label(source.label), y_label((size_t)c.M);
    device_array<float> mean(source.mean), scale(source.scale);
    device_array<thaw_cuda_cursor> cursor(std::vector<thaw_cuda_cursor>{{c.step, -7}});
    thaw_cuda_gather p = {};
    p.M = c.M;
    p.D = c.D;
    p.x_ld = source.ld;
    p.y_ld = c.D + c.y_pad;
    p.x_dtype = DTYPE<T>;
    p.y_dtype = DTYPE<U>;
    p.order = {NULL, c.index32, c.n};
    if (c.index) p.order.index = c.index32 ? (void *)narrow.data() : (void *)wide.data();
    p.x = x.data() + c.x_first;
    device_array<T> far(
        std::vector<T>(source.x.begin() + c.x_first + near * source.ld, source.x.end()));
    if (near < ROWS) {
        p.x_far = far.data();
        p.n_near = near;
    }
    p.y = y.data() + c.y_first;
    p.mean = scaled ? mean.data() : NULL;
    p.scale = scaled ? scale.data() : NULL;
    p.label = c.labels ? label.data() : NULL;
    p.y_label = c.labels ? y_label.data() : NULL;
    p.cursor = c.step < 0 ? NULL : cursor.data();
    thaw_cuda_launch launch = {};
    if (!finish(cuda_gather(&launch, &p), launch)) return;
    check_rows(c, source, scaled, y.download("y"));
    thaw_cuda_cursor after = cursor.download("cursor")[0];
    if (after.next != c.step || after.step != (c.step < 0 ? -7 : c.step))
        fail("the cursor is %lld, %lld", (long long)after.next, (long long)after.step);
    std::vector<int32_t> labels = y_label.download("labels");
    for (int64_t m = 0; c.labels && m < c.M; m++) {
        int64_t row = source.row(c, m);
        int32_t want = row < 0 ? -1 : source.label[(size_t)row];
        if (labels[(size_t)m] != want)
            return fail("row %lld has label %d, expected %d", (long long)m, labels[(size_t)m],
                        want);
    }
}

template <class T>
static void run(const gather_case &c, T) {
    gather_source<T> source(c);
    for (int64_t near : {(int64_t)ROWS, (int64_t)ROWS / 3}) {
        for (bool scaled : {false, true}) {
            gather<T, T>(c, source, scaled, near);
            if (!std::is_same<T, float>::value) gather<T, float>(c, source, scaled, near);
        }
    }
}

int main(int argc, char **argv) {
    return test_main(
        argc, argv, cases, [](const gather_case &c, auto type) { run(c, type); }, every_type);
}
