/* Tables are read as they are written, whatever stands in their fields. */
#include <stdlib.h>
#include <string.h>

#include "csv.h"
#include "testing.h"

enum { MOST = 4 };

static void what_was_put_is_read(void **state) {
    (void)state;
    static const char *const texts[] = {"a", "", "a,b", "a\"b", "\"", "\"\"", "a\r\nb", ",", "x y"};
    enum { N = sizeof texts / sizeof *texts };
    char *table = NULL, *fields[MOST];
    size_t size = 0, n;
    FILE *out = open_memstream(&table, &size);
    assert_non_null(out);
    for (int i = 0; i < N; i++) {
        thaw_csv_put(out, texts[i]);
        fputc(',', out);
        thaw_csv_put(out, texts[N - 1 - i]);
        fputs(i % 2 ? "\n" : "\r\n", out);
    }
    fclose(out);
    char *at = table;
    for (int i = 0; i < N; i++) {
        assert_true(thaw_csv_next(&at, fields, MOST, &n));
        assert_int_equal(n, 2);
        assert_string_equal(fields[0], texts[i]);
        assert_string_equal(fields[1], texts[N - 1 - i]);
    }
    assert_false(thaw_csv_next(&at, fields, MOST, &n));
    free(table);
}

static void damaged_tables_end(void **state) {
    (void)state;
    char open[] = "\"a,b\nc", many[] = "1,2,3,4,5,6", empty[] = "", *fields[MOST], *at = open;
    size_t n;
    assert_false(thaw_csv_next(&at, fields, MOST, &n));
    at = many;
    assert_true(thaw_csv_next(&at, fields, MOST, &n));
    assert_int_equal(n, 6);
    assert_string_equal(fields[3], "4");
    assert_false(thaw_csv_next(&at, fields, MOST, &n));
    at = empty;
    assert_false(thaw_csv_next(&at, fields, MOST, &n));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_is_read),
        cmocka_unit_test(damaged_tables_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
