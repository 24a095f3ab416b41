/* Natural order is a total order that people expect; the nearest word is one; numbers are strict.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
//
#include <cmocka.h>

#include "status.h"
#include "text.h"
#include "utf8.h"

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
                {"x\xe9x", 2, 1},
                {"\xa9\xa9\xa9\xa9\xa9\xa9", 5, 5}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (thaw_utf8_prefix(rows[i].text, rows[i].most) != rows[i].n)
            fail_msg("row %zu: %d", i, thaw_utf8_prefix(rows[i].text, rows[i].most));
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

/* What thaw_utf8_put makes of a text, to be freed. */
static char *put(const char *text, size_t columns) {
    char *written = NULL;
    size_t n;
    FILE *out = open_memstream(&written, &n);
    assert_non_null(out);
    thaw_utf8_put(out, text, columns);
    assert_int_equal(fclose(out), 0);
    return written;
}

static void letters_stay_whole(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t columns;
        const char *put;
    } cases[] = {
        {"rose", 4, "rose"},
        {"rose", 6, "rose  "},
        {"roses", 4, "ros\u2026"},
        {"G\u00e4nsebl\u00fcmchen", 3, "G\u00e4\u2026"},
        {"G\u00e4nsebl\u00fcmchen", 2, "G\u2026"},
        {"\u83ca\u83ca\u83ca", 1, "\u2026"},
        {"\u83ca", 3, "\u83ca  "},
        {"a\tb\nc", 5, "a?b?c"},
        {"", 2, "  "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *written = put(cases[i].text, cases[i].columns);
        assert_string_equal(written, cases[i].put);
        free(written);
    }
    char *written = put("as long\x1b[2J as it is", 0);
    assert_string_equal(written, "as long?[2J as it is");
    free(written);
    assert_int_equal(thaw_utf8_letters("G\u00e4nse"), 5);
}

/* What a Mac writes, what the rest of the world does, and what is another name. */
static void unicode_in_two_forms(void **state) {
    (void)state;
    static const char *const pairs[][2] = {
        {"Bl\u00fcte", "Blu\u0308te"},  {"\u00c5ngstr\u00f6m", "A\u030angstro\u0308m"},
        {"\u0439od", "\u0438\u0306od"}, /* Cyrillic. */
        {"\u1ea1", "a\u0323"},          {"rose", "rose"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        for (int k = 0; k < 2; k++)
            if (!thaw_utf8_looks_like(pairs[i][k], pairs[i][1 - k]))
                fail_msg("%s and %s", pairs[i][k], pairs[i][1 - k]);
    static const char *const others[][2] = {
        {"Bl\u00fcte", "Blute"},     {"Bl\u00fcte", "Blo\u0308te"}, {"Bl\u00fcte", "Blu\u0308ten"},
        {"rose", "roses"},           {"u\u0308", "v\u0308"},        {"", "\u00fc"},
        {"Bl\u00fcte", "Blu\u0308"}, {"\u00d7", "x\u0308"},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        for (int k = 0; k < 2; k++)
            if (thaw_utf8_looks_like(others[i][k], others[i][1 - k]))
                fail_msg("%s and %s", others[i][k], others[i][1 - k]);
    assert_true(thaw_utf8_has_marks("Blu\u0308te"));
    assert_false(thaw_utf8_has_marks("Bl\u00fcte\u0370"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(natural_order),
        cmocka_unit_test(nearest),
        cmocka_unit_test(integers),
        cmocka_unit_test(numbers),
        cmocka_unit_test(a_cut_leaves_whole_letters),
        cmocka_unit_test(letters_stay_whole),
        cmocka_unit_test(unicode_in_two_forms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
