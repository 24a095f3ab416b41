/* MATLAB's files: numbers of every type, packed and not, come out; whatever is done to the bytes ends
 * with a sentence and not in memory that belongs to nobody. tests/peer/test_fetch.py has SciPy's files. */
#include <zlib.h>

#include "fetch/mat5.h"
#include "testing.h"

enum { MOST = 4096 };

static thaw_arena arena;
static thaw_error err;

static int teardown(void **state) {
    (void)state;
    thaw_arena_free(&arena);
    return 0;
}

/* ---- files ------------------------------------------------------------------------------------- */

typedef struct file {
    uint8_t bytes[MOST];
    size_t n;
} file;

static void put(file *f, const void *bytes, size_t n) {
    assert_true(f->n + n <= MOST);
    memcpy(f->bytes + f->n, bytes, n);
    f->n += n;
}

static void put_u32(file *f, uint32_t value) {
    uint8_t bytes[] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16),
                       (uint8_t)(value >> 24)};
    put(f, bytes, sizeof bytes);
}

static void put_element(file *f, uint32_t type, const void *data, size_t n) {
    static const uint8_t zeros[8];
    if (n <= 4) { /* The small form. */
        put_u32(f, (uint32_t)n << 16 | type);
        put(f, data, n);
        put(f, zeros, 4 - n);
        return;
    }
    put_u32(f, type);
    put_u32(f, (uint32_t)n);
    put(f, data, n);
    put(f, zeros, (8 - n % 8) % 8);
}

static file begin(void) {
    file f = {.n = 128};
    memset(f.bytes, ' ', 124);
    memcpy(f.bytes + 124, "\0\1IM", 4);
    return f;
}

static void put_array(file *f, const char *name, uint32_t class, uint32_t type, const void *data,
                      size_t n, size_t count, bool packed) {
    file inside = {0}, array = {0};
    uint32_t flags[] = {class, 0}, dimensions[] = {1, (uint32_t)count};
    put_element(&inside, 6, flags, sizeof flags);
    put_element(&inside, 5, dimensions, sizeof dimensions);
    put_element(&inside, 1, name, strlen(name));
    put_element(&inside, type, data, n);
    put_element(&array, 14, inside.bytes, inside.n);
    if (!packed) {
        put(f, array.bytes, array.n);
        return;
    }
    uint8_t small[MOST];
    uLongf n_small = sizeof small;
    assert_int_equal(compress(small, &n_small, array.bytes, array.n), Z_OK);
    put_u32(f, 15);
    put_u32(f, (uint32_t)n_small);
    put(f, small, n_small);
}

static thaw_status read_file(const file *f, const char *name, int64_t **values, size_t *n) {
    return thaw_mat5_read(f->bytes, f->n, "some.mat", name, &arena, values, n, &err);
}

/* ---- tests ------------------------------------------------------------------------------------- */

static void numbers_come_out(void **state) {
    (void)state;
    static const uint8_t u8[] = {1, 200, 3, 4, 5};
    static const int16_t i16[] = {-1, 200, 3};
    static const uint16_t u16[] = {65535, 200, 3};
    static const int32_t i32[] = {-70000, 2};
    static const double f64[] = {-3, 8189, 1e9};
    for (int packed = 0; packed < 2; packed++) {
        file f = begin();
        put_array(&f, "before", 9, 2, u8, sizeof u8, 5, packed);
        put_array(&f, "u8", 9, 2, u8, sizeof u8, 5, packed);
        put_array(&f, "i16", 10, 3, i16, sizeof i16, 3, packed);
        put_array(&f, "u16", 11, 4, u16, sizeof u16, 3, packed);
        put_array(&f, "i32", 12, 5, i32, sizeof i32, 2, packed);
        put_array(&f, "f64", 6, 9, f64, sizeof f64, 3, packed);
        put_array(&f, "short", 6, 2, u8, 2, 2, packed); /* Doubles, stored as bytes. */
        static const struct {
            const char *name;
            size_t n;
            int64_t first, last;
        } cases[] = {{"u8", 5, 1, 5},       {"i16", 3, -1, 3},          {"u16", 3, 65535, 3},
                     {"i32", 2, -70000, 2}, {"f64", 3, -3, 1000000000}, {"short", 2, 1, 200},
                     {"before", 5, 1, 5}};
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            int64_t *values;
            size_t n;
            if (read_file(&f, cases[i].name, &values, &n) != THAW_OK) fail_msg("%s", err.text);
            assert_int_equal(n, cases[i].n);
            assert_true(values[0] == cases[i].first && values[n - 1] == cases[i].last);
        }
    }
}

static void expect_refusal(const file *f, thaw_status status, const char *part) {
    int64_t *values;
    size_t n;
    assert_int_equal(read_file(f, "x", &values, &n), status);
    if (!strstr(err.text, part) || !strstr(err.text, "some.mat"))
        fail_msg("expected \"%s\" in \"%s\"", part, err.text);
}

static void others_are_refused(void **state) {
    (void)state;
    static const double halves[] = {1, 1.5};
    static const double huge[] = {1, 1e300};
    static const uint8_t u8[] = {1, 2, 3, 4, 5};
    file f = begin();
    expect_refusal(&f, THAW_ERR_FORMAT, "has no array 'x'");
    memcpy(f.bytes + 126, "MI", 2);
    expect_refusal(&f, THAW_ERR_UNSUPPORTED, "big-endian");
    f = begin();
    put_array(&f, "x", 6, 9, halves, sizeof halves, 2, false);
    expect_refusal(&f, THAW_ERR_UNSUPPORTED, "number 2 of the array 'x' is not a whole one");
    f = begin();
    put_array(&f, "x", 6, 9, huge, sizeof huge, 2, false);
    expect_refusal(&f, THAW_ERR_UNSUPPORTED, "not a whole one");
    f = begin();
    put_array(&f, "x", 4, 4, u8, 4, 2, false); /* Letters. */
    expect_refusal(&f, THAW_ERR_UNSUPPORTED, "not a plain array");
    f = begin();
    put_array(&f, "x", 6 | 1 << 11, 2, u8, 5, 5, false);
    expect_refusal(&f, THAW_ERR_UNSUPPORTED, "not a plain array");
    f = begin();
    put_array(&f, "x", 9, 7, u8, 4, 1, false); /* Single precision. */
    expect_refusal(&f, THAW_ERR_UNSUPPORTED, "does not hold whole numbers");
    f.n = 127;
    expect_refusal(&f, THAW_ERR_FORMAT, "too short");
}

/* Every byte of two small files is each of some values, and each file ends at each byte. */
static void damage_is_survived(void **state) {
    (void)state;
    static const uint8_t values[] = {0, 1, 2, 5, 9, 14, 15, 127, 128, 255};
    static const int32_t data[] = {4, 5, 6, 7, 8};
    size_t refused = 0;
    for (int packed = 0; packed < 2; packed++) {
        file whole = begin();
        put_array(&whole, "y", 12, 5, data, sizeof data, 5, packed);
        put_array(&whole, "x", 12, 5, data, sizeof data, 5, packed);
        for (size_t at = 0; at < 2 * whole.n; at++)
            for (size_t v = 0; v < sizeof values; v++) {
                bool cut = at >= whole.n;
                size_t n_bytes = cut ? at - whole.n : whole.n, n;
                uint8_t *bytes = malloc(n_bytes + 1); /* Exactly: for the sanitizer. */
                memcpy(bytes, whole.bytes, n_bytes);
                if (!cut) bytes[at] = values[v];
                int64_t *numbers;
                thaw_status status =
                    thaw_mat5_read(bytes, n_bytes, "some.mat", "x", &arena, &numbers, &n, &err);
                refused += status != THAW_OK;
                free(bytes);
                thaw_arena_free(&arena);
            }
    }
    assert_in_range(refused, 3000, 20000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_come_out),
        cmocka_unit_test(others_are_refused),
        cmocka_unit_test(damage_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
