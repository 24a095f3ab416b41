/* Properties: what is built comes back; no text and no number makes JSON that cannot be read; what
 * could not be added makes the whole fail; damaged files are refused with their place. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "testing.h"

static char *print(const thaw_json *json) {
    char *text = NULL;
    thaw_error err;
    assert_int_equal(thaw_json_print(json, THAW_JSON_LINE, 9, "a test", &text, &err), THAW_OK);
    return text;
}

static void what_is_built_comes_back(void **state) {
    (void)state;
    thaw_json json = thaw_json_begin();
    thaw_json_integer(&json, json.root, "n", INT64_MIN);
    json_t *list = thaw_json_array(&json, json.root, "list");
    thaw_json_text(&json, list, NULL, "a\n\"b\"");
    thaw_json_boolean(&json, list, NULL, true);
    json_t *inner = thaw_json_object(&json, list, NULL);
    thaw_json_real(&json, inner, "x", 0.1f);
    thaw_json_share(&json, json.root, "again", list);
    char *text = print(&json);
    assert_string_equal(
        text,
        "{\"n\":-9223372036854775808,\"list\":[\"a\\n\\\"b\\\"\",true,{\"x\":0.100000001}],"
        "\"again\":[\"a\\n\\\"b\\\"\",true,{\"x\":0.100000001}]}");
    free(text);
    thaw_json_free(&json);
}

static void numbers_that_json_lacks_are_null(void **state) {
    (void)state;
    thaw_json json = thaw_json_begin();
    thaw_json_real(&json, json.root, "nan", NAN);
    thaw_json_real(&json, json.root, "infinity", -INFINITY);
    char *text = print(&json);
    assert_string_equal(text, "{\"nan\":null,\"infinity\":null}");
    free(text);
    thaw_json_free(&json);
}

static void bytes_that_are_no_text_become_question_marks(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"gr\xc3\xbcn", "gr\xc3\xbcn"},
        {"\xe2\x82\xac \xf0\x9f\x8c\xbb", "\xe2\x82\xac \xf0\x9f\x8c\xbb"},
        {"gr\xfcn", "gr?n"},
        {"\xc3", "?"},                /* Cut. */
        {"\xc0\xaf", "??"},           /* Overlong. */
        {"\xed\xa0\x80", "???"},      /* A surrogate. */
        {"\xf4\x90\x80\x80", "????"}, /* Beyond Unicode. */
        {"a\xff\xc3\xa9", "a?\xc3\xa9"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        thaw_json json = thaw_json_begin();
        thaw_json_text(&json, json.root, "t", cases[i][0]);
        assert_string_equal(json_string_value(json_object_get(json.root, "t")), cases[i][1]);
        assert_int_equal(thaw_json_holds(cases[i][0]), strcmp(cases[i][0], cases[i][1]) == 0);
        assert_false(json.failed);
        thaw_json_free(&json);
    }
}

/* jansson's allocations, of which number `fails` is not made. */
static int fails, made;

static void *counted_malloc(size_t n) {
    return ++made == fails ? NULL : malloc(n);
}

static void build(thaw_json *json) {
    json_t *list = thaw_json_array(json, json->root, "list");
    for (int i = 0; i < 20; i++) {
        json_t *one = thaw_json_object(json, list, NULL);
        thaw_json_text(json, one, "name", i % 2 ? "\xff" : "a");
        thaw_json_real(json, one, "x", i);
    }
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    thaw_json whole = thaw_json_begin();
    build(&whole);
    char *expected = print(&whole);
    thaw_json_free(&whole);
    json_set_alloc_funcs(counted_malloc, free);
    int n_refused = 0;
    for (fails = 1; fails < 1000; fails++) {
        char *text = NULL;
        thaw_error err;
        made = 0;
        thaw_json json = thaw_json_begin();
        build(&json);
        thaw_status status = thaw_json_print(&json, THAW_JSON_LINE, 9, "a test", &text, &err);
        thaw_json_free(&json);
        if (status == THAW_OK) {
            assert_string_equal(text, expected);
            free(text);
        } else {
            n_refused++;
            assert_int_equal(status, THAW_ERR_NOMEM);
            assert_string_equal(err.text, "not enough memory for a test");
        }
        if (made < fails) break;
    }
    json_set_alloc_funcs(malloc, free);
    free(expected);
    assert_in_range(fails, 50, 999); /* All were tried, and most are needed. */
    assert_in_range(n_refused, 50, fails);
}

static void damage_is_refused_with_its_place(void **state) {
    (void)state;
    thaw_error err;
    json_t *json;
    static const char text[] = "{\"a\": 1,\n \"b\": }";
    assert_int_equal(thaw_json_parse(text, strlen(text), "x.json", &json, &err), THAW_ERR_FORMAT);
    assert_non_null(strstr(err.text, "x.json: line 2, column 7"));
    assert_null(json);
    assert_int_equal(thaw_json_read("no-such.json", 100, &json, &err), THAW_ERR_IO);
    assert_null(json);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_built_comes_back),
        cmocka_unit_test(numbers_that_json_lacks_are_null),
        cmocka_unit_test(bytes_that_are_no_text_become_question_marks),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(damage_is_refused_with_its_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
