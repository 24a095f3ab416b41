/* The index arithmetic of the training side's kernels, run through exhaustively on the host:
 * - an access is as wide as every address and stride allows, and no wider;
 * - a row's threads are a power of two that fits the block, and as many as it has pieces;
 * - splits reach each row once, in order, and balanced;
 * - chunks of a filter's gradient: enough to fill a GPU where there are pixels, and few enough for
 *   one block a column to add them up;
 * - segments: each value is in the one that contains it.
 */
#include "cuda_testing.h"
#include "top_index.h"

using namespace thaw;

struct index_case {
    const char *name;
    void (*run)();
};

static void accesses() {
    for (uint64_t joined = 0; joined < 4096; joined++) {
        int want = 16;
        for (int bytes : {8, 4, 2, 1}) {
            if (joined % (uint64_t)(2 * bytes) != 0) want = bytes;
        }
        if (widest_access(joined) != want)
            return fail("%llu: %d bytes, expected %d", (unsigned long long)joined,
                        widest_access(joined), want);
    }
    if (widest_access(UINT64_C(0x7f0000000002)) != 2) fail("a high address is misjudged");
}

static void threads_of_rows() {
    for (int64_t rows : {INT64_C(1), INT64_C(3), INT64_C(256), INT64_C(65536), INT64_C(1) << 40}) {
        for (int64_t pieces = 1; pieces < 3000; pieces++) {
            int threads = 1 << row_shift(rows, pieces, 256);
            bool many = rows * pieces >= 1 << 20;
            int64_t each = many ? 4 : 1;
            if (threads > 256) return fail("%d threads for a block of 256", threads);
            if (threads < 256 && threads * each < pieces)
                return fail("%d threads for %lld pieces", threads, (long long)pieces);
            if (threads > 1 && threads / 2 * each >= pieces)
                return fail("%d threads idle on %lld pieces", threads, (long long)pieces);
        }
    }
}

static void splits() {
    for (int64_t rows = 1; rows < 80000; rows += rows < 1300 ? 1 : 997) {
        int n = splits_of_column(rows);
        int64_t next = 0, least = rows, most = 0;
        for (int i = 0; i < n; i++) {
            row_range range = rows_of_split(rows, n, i);
            if (range.begin != next)
                return fail("%lld rows: split %d begins at %lld, expected %lld", (long long)rows, i,
                            (long long)range.begin, (long long)next);
            next = range.end;
            int64_t size = range.end - range.begin;
            least = size < least ? size : least;
            most = size > most ? size : most;
        }
        if (next != rows)
            return fail("%lld rows: splits end at %lld", (long long)rows, (long long)next);
        if (most - least > 1 || n < 1 || n > 128 || (n > 1 && rows <= 512))
            return fail("%lld rows: %d splits of %lld to %lld", (long long)rows, n,
                        (long long)least, (long long)most);
    }
    row_range last = rows_of_split(INT64_C(1) << 40, 128, 127);
    if (last.end != INT64_C(1) << 40) fail("splits of many rows overflow");
}

static void chunks() {
    for (int64_t pixels = 1; pixels < 500000; pixels += 1 + pixels / 7)
        for (int64_t blocks = 1; blocks < 3000; blocks += 1 + blocks / 5) {
            int n = chunks_of_filter(pixels, blocks);
            if (n < 1 || splits_of_column(n) != 1 || (n > 1 && pixels / n < 128))
                return fail("%lld pixels, %lld blocks: %d chunks", (long long)pixels,
                            (long long)blocks, n);
            if (n * blocks < 512 && (n + 1) * 256 <= pixels)
                return fail("%lld pixels in %d chunks leave a GPU idle", (long long)pixels, n);
        }
}

static void segments() {
    for (int n = 1; n < 9; n++) {
        std::vector<thaw_cuda_segment> table;
        std::vector<int> want;
        for (int s = 0; s < n; s++) {
            for (int i = 0; i < 1 + s * 3 % 5; i++)
                want.push_back(s);
            table.push_back({(int64_t)want.size(), 0, 0});
        }
        for (int64_t i = 0; i < (int64_t)want.size() + 3; i++) {
            int found = segment_of(table.data(), n, i);
            int expected = i < (int64_t)want.size() ? want[(size_t)i] : n - 1;
            if (found != expected)
                return fail("value %lld of %d segments is in %d, expected %d", (long long)i, n,
                            found, expected);
        }
    }
    /* An empty segment holds nothing. */
    const thaw_cuda_segment empty[] = {{2, 0, 0}, {2, 0, 0}, {5, 0, 0}};
    if (segment_of(empty, 3, 1) != 0 || segment_of(empty, 3, 2) != 2) fail("an empty segment");
}

static const index_case cases[] = {
    {"accesses", accesses}, {"threads of rows", threads_of_rows},
    {"splits", splits},     {"chunks", chunks},
    {"segments", segments},
};

int main(int argc, char **argv) {
    return test_main(
        argc, argv, cases, [](const index_case &c, auto) { c.run(); },
        [](thaw_dtype dtype, int) { return dtype == THAW_F32; });
}
