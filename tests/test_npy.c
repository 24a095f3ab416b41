/* .npy files: what np.save writes is read, of every type that is taken; what is not taken says what to
 * do; and no damage is read as numbers, or crashes. */
#include "half.h"
#include "npy.h"
#include "testing.h"

static thaw_arena arena;
static thaw_error err;

static int teardown(void **state) {
    (void)state;
    thaw_arena_free(&arena);
    return 0;
}

/* A file under construction: its header as np.save pads it, and data behind it. */
typedef struct file {
    uint8_t of[1024];
    size_t n, header_end;
} file;

static file make(int version, const char *dictionary, const void *data, size_t n) {
    file f = {0};
    size_t lead = version == 1 ? 10 : 12, length = strlen(dictionary) + 1;
    length += (64 - (lead + length) % 64) % 64;
    assert_true(lead + length + n <= sizeof f.of);
    memset(f.of, ' ', lead + length);
    memcpy(f.of, "\x93NUMPY", 6);
    f.of[6] = (uint8_t)version;
    f.of[7] = 0;
    for (size_t i = 8; i < lead; i++)
        f.of[i] = (uint8_t)(length >> 8 * (i - 8));
    memcpy(f.of + lead, dictionary, strlen(dictionary));
    f.of[lead + length - 1] = '\n';
    memcpy(f.of + lead + length, data, n);
    f.header_end = lead + length;
    f.n = lead + length + n;
    return f;
}

/* In memory of its exact size, so that a sanitizer sees what is read behind it. */
static thaw_status parse_bytes(const void *bytes, size_t n, thaw_npy *npy) {
    void *exact = malloc(n ? n : 1);
    assert_non_null(exact);
    memcpy(exact, bytes, n);
    err = (thaw_error){0};
    thaw_status status = thaw_npy_parse(exact, n, "x.npy", &arena, npy, &err);
    free(exact);
    return status;
}

static const float numbers[6] = {0, 1, 2, 3.5f, -4, 255};

static void check_numbers(const file *f, const char *what) {
    thaw_npy npy;
    if (parse_bytes(f->of, f->n, &npy) != THAW_OK) fail_msg("%s: %s", what, err.text);
    assert_int_equal(npy.rank, 2);
    assert_true(npy.dims[0] == 2 && npy.dims[1] == 3 && npy.n == 6);
    for (int i = 0; i < 6; i++)
        if (npy.values[i] != numbers[i]) fail_msg("%s: number %d is %g", what, i, npy.values[i]);
}

static void every_type_is_read(void **state) {
    (void)state;
    double wide[6];
    uint16_t half[6];
    for (int i = 0; i < 6; i++)
        wide[i] = numbers[i];
    thaw_half_from_float(numbers, 6, half);
    for (int version = 1; version <= 3; version++) {
        file f = make(version, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }",
                      numbers, sizeof numbers);
        check_numbers(&f, "float32");
    }
    file f =
        make(1, "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }", wide, sizeof wide);
    check_numbers(&f, "float64");
    f = make(1, "{'descr': '<f2', 'fortran_order': False, 'shape': (2, 3), }", half, sizeof half);
    check_numbers(&f, "float16");
    f = make(1, "{\"shape\":(2,3,),\"fortran_order\":False,\"descr\":\"<f4\"}", numbers,
             sizeof numbers);
    check_numbers(&f, "other order, other quotes");
    thaw_npy npy;
    f = make(1, "{'descr': '|u1', 'fortran_order': True, 'shape': (3,), }", "\0\x07\xff", 3);
    assert_int_equal(parse_bytes(f.of, f.n, &npy), THAW_OK); /* Of a vector both orders are one. */
    assert_true(npy.rank == 1 && npy.values[0] == 0 && npy.values[1] == 7 && npy.values[2] == 255);
    f = make(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (), }", numbers + 3, 4);
    assert_int_equal(parse_bytes(f.of, f.n, &npy), THAW_OK);
    assert_true(npy.rank == 0 && npy.n == 1 && npy.values[0] == 3.5f);
    f = make(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 3), }", numbers, 0);
    assert_int_equal(parse_bytes(f.of, f.n, &npy), THAW_OK);
    assert_int_equal(npy.n, 0);
}

static void what_is_not_taken_says_what_to_do(void **state) {
    (void)state;
    static const struct {
        const char *dictionary, *said;
        thaw_status status;
    } rows[] = {
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3), }", ".astype('<f4')",
         THAW_ERR_UNSUPPORTED},
        {"{'descr': '<i8', 'fortran_order': False, 'shape': (3,), }", "type '<i8'",
         THAW_ERR_UNSUPPORTED},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", "ascontiguousarray",
         THAW_ERR_UNSUPPORTED},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,2,3), }",
         "9 dimensions; expected at most 8", THAW_ERR_UNSUPPORTED},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4), }", "2 x 4 numbers of 4 bytes",
         THAW_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }", "2 x 2 numbers of 4 bytes",
         THAW_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 99999999999), }",
         "the file is damaged", THAW_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 1), }",
         "damaged at byte", THAW_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -3), }", "damaged at byte",
         THAW_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2 3), }", "damaged at byte",
         THAW_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, }", "damaged at byte", THAW_ERR_FORMAT},
        {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }",
         "damaged at byte", THAW_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } x", "damaged at byte",
         THAW_ERR_FORMAT},
        {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 3), }", "damaged at byte",
         THAW_ERR_FORMAT},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        thaw_npy npy;
        file f = make(1, rows[i].dictionary, numbers, sizeof numbers);
        thaw_status status = parse_bytes(f.of, f.n, &npy);
        if (status != rows[i].status || !strstr(err.text, rows[i].said))
            fail_msg("%s: status %d, \"%s\"", rows[i].dictionary, status, err.text);
    }
    thaw_npy npy;
    assert_int_equal(parse_bytes("", 0, &npy), THAW_ERR_FORMAT);
    assert_non_null(strstr(err.text, "np.save"));
    assert_int_equal(thaw_npy_read("/nowhere/x.npy", &arena, &npy, &err), THAW_ERR_IO);
}

/* Each length, and each byte of the head and the header with every value: what still reads has as many
 * numbers as its shape says, and what is cut off never reads. */
static void no_damage_is_read(void **state) {
    (void)state;
    file whole = make(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", numbers,
                      sizeof numbers);
    thaw_npy npy;
    for (size_t n = 0; n < whole.n; n++)
        if (parse_bytes(whole.of, n, &npy) == THAW_OK)
            fail_msg("%zu of %zu bytes are read", n, whole.n);
    int read = 0;
    for (size_t at = 0; at < whole.header_end; at++) {
        for (int value = 0; value < 256; value++) {
            file f = whole;
            f.of[at] = (uint8_t)value;
            thaw_status status = parse_bytes(f.of, f.n, &npy);
            assert_true(status == THAW_OK || err.text[0]);
            if (status != THAW_OK) continue;
            read++;
            int64_t n = 1;
            for (int i = 0; i < npy.rank; i++)
                n *= npy.dims[i];
            assert_true(npy.n == n && npy.values);
        }
    }
    assert_true(read > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(every_type_is_read, teardown),
        cmocka_unit_test_teardown(what_is_not_taken_says_what_to_do, teardown),
        cmocka_unit_test_teardown(no_damage_is_read, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
