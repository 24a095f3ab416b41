/* Natural order is a total order that people expect; the nearest word is one; numbers are strict.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
//
#include <cmocka.h>

#include "status.h"
#include "text.h"

static void natural_order(void **state) {
    (void)state;
    static const char *const sorted[] = {"",
                                         "01",
                                         "1",
                                         "1a",
                                         "2",
                                         "007",
                                         "8",
                                         "10",
                                         "10.1",
                                         "10.2",
                                         "10.10",
                                         "100",
                                         "18446744073709551616",
                                         "18446744073709551617",
                                         "A1",
                                         "B",
                                         "a",
                                         "a 1",
                                         "a 02",
                                         "a 2",
                                         "img",
                                         "img1.jpg",
                                         "img2.jpg",
                                         "img10.jpg",
                                         "img10.png",
                                         "rose",
                                         "rose-2",
                                         "rose2",
                                         "\xc3\xa4pfel",
                                         "\xe6\xa1\x9c"};
    enum { N = sizeof sorted / sizeof *sorted };
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            int order = thaw_text_natural(sorted[i], sorted[j]);
            int sign = (order > 0) - (order < 0), expected = (i > j) - (i < j);
            if (sign != expected) fail_msg("'%s' and '%s': %d", sorted[i], sorted[j], order);
        }
}

static void nearest(void **state) {
    (void)state;
    static const char *const words[] = {"train", "eval", "predict", "inspect", "head.lr"};
    static const struct {
        const char *typed, *expected;
    } cases[] = {
        {"trian", "train"},
        {"TRAIN", "train"},
        {"evl", "eval"},
        {"inspct", "inspect"},
        {"prediction", "predict"},
        {"head.rl", "head.lr"},
        {"zzzzzz", NULL},
        {"x", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        thaw_nearest n = {.word = cases[i].typed};
        for (size_t j = 0; j < sizeof words / sizeof *words; j++)
            thaw_nearest_offer(&n, words[j]);
        if (!cases[i].expected)
            assert_null(n.best);
        else
            assert_string_equal(n.best ? n.best : "(none)", cases[i].expected);
    }
    char longest[1000];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    thaw_nearest n = {.word = longest};
    thaw_nearest_offer(&n, "train");
    assert_null(n.best);
}

static void integers(void **state) {
    (void)state;
    int64_t value = 0;
    assert_true(thaw_text_integer("9223372036854775807", &value));
    assert_int_equal(value, INT64_MAX);
    assert_true(thaw_text_integer("-12", &value));
    assert_int_equal(value, -12);
    static const char *const bad[] = {
        "", "-", "+1", " 1", "1 ", "1.0", "1e3", "0x1", "1,0", "--1", "9223372036854775808", "one"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (thaw_text_integer(bad[i], &value)) fail_msg("'%s' passed", bad[i]);
}

static void numbers(void **state) {
    (void)state;
    double value = 0;
    assert_true(thaw_text_number("1e-3", &value));
    assert_true(value == 1e-3);
    assert_true(thaw_text_number(".5", &value));
    assert_true(value == 0.5);
    static const char *const bad[] = {"",    " 1",   "1 ", "nan", "inf", "-inf", "0x1p3", "1e999",
                                      "1,5", "1.5.", "1e", "e",   ".",   "-",    "1-2"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (thaw_text_number(bad[i], &value)) fail_msg("'%s' passed", bad[i]);
}

static void a_cut_leaves_whole_letters(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int most, n;
    } rows[] = {{"abc", 3, 3},
                {"abc", 2, 2},
                {"", 0, 0},
                {"a\xc3\xa9", 3, 3},
                {"a\xc3\xa9", 2, 1},
                {"\xe2\x82\xac", 3, 3},
                {"\xe2\x82\xac", 2, 0},
                {"\xe2\x82\xac", 1, 0},
                {"\xf0\x9f\x8c\xbb!", 4, 4},
                {"\xf0\x9f\x8c\xbb", 3, 0},
                {"x\xe9x", 2, 2},
                {"\xa9\xa9\xa9\xa9\xa9\xa9", 5, 5}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (thaw_text_prefix(rows[i].text, rows[i].most) != rows[i].n)
            fail_msg("row %zu: %d", i, thaw_text_prefix(rows[i].text, rows[i].most));
    /* Lists and errors, filled with letters of three bytes at every offset. */
    for (int offset = 0; offset < 3; offset++) {
        thaw_text list = {0};
        thaw_error err;
        char letters[1500] = "abc";
        for (int i = 0; i < 1200; i++)
            letters[offset + i] = "\xe2\x82\xac"[i % 3];
        thaw_text_add(&list, "%.*s", offset, letters);
        for (int i = 0; i < 400; i++)
            thaw_text_add(&list, "\xe2\x82\xac");
        assert_int_equal(list.n, THAW_TEXT_SIZE - 1 - (THAW_TEXT_SIZE - 1 - offset) % 3);
        assert_int_equal(strlen(list.text), list.n);
        thaw_fail(&err, THAW_ERR_DATA, "%s", letters);
        assert_int_equal(strlen(err.text),
                         THAW_ERROR_TEXT - 1 - (THAW_ERROR_TEXT - 1 - offset) % 3);
        thaw_fail_within(&err, THAW_ERR_DATA, "in");
        assert_int_equal((strlen(err.text) - strlen("in: ") - (size_t)offset) % 3, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(natural_order),
        cmocka_unit_test(nearest),
        cmocka_unit_test(integers),
        cmocka_unit_test(numbers),
        cmocka_unit_test(a_cut_leaves_whole_letters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
