/* Pages of made-up documents: whole whatever is missing, null or hostile in them, with every value that
 * they are given, and drawn where it belongs. */
#include "json.h"
#include "page_testing.h"
#include "report/depth_page.h"
#include "tempdir.h"

static tempdir place;

typedef thaw_status write_page(const json_t *doc, const char *path, thaw_error *err);

/* The page of a document, checked; to be freed. */
static char *page_of(write_page *write, const json_t *doc) {
    char path[PATH_MAX];
    thaw_error err = {0};
    size_t n;
    tempdir_path(&place, "page.html", path);
    if (write(doc, path, &err) != THAW_OK) fail_msg("%s", err.text);
    char *text = (char *)test_read(path, &n);
    text[n] = '\0';
    page_check(text);
    return text;
}

static json_t *parse(const char *text) {
    json_error_t error;
    json_t *doc = json_loads(text, 0, &error);
    if (!doc) fail_msg("%s at %d of %s", error.text, error.position, text);
    return doc;
}

static void expect_part(const char *text, const char *part) {
    if (!strstr(text, part)) fail_msg("expected \"%s\" in\n%.20000s", part, text);
}

static int count_of(const char *text, const char *part) {
    int n = 0;
    for (const char *at = text; (at = strstr(at, part)); at++)
        n++;
    return n;
}

static char *printed(void (*print)(FILE *, const json_t *), const json_t *doc) {
    char *text;
    size_t n;
    FILE *out = open_memstream(&text, &n);
    print(out, doc);
    assert_int_equal(fclose(out), 0);
    return text;
}

/* No line of a terminal's table is longer than it. */
static void expect_columns(const char *text, size_t most) {
    size_t column = 0;
    for (; *text; text++) {
        if (((unsigned char)*text & 0xc0) != 0x80) column++;
        if (*text == '\n') column = 0;
        if (column > most) fail_msg("more than %zu columns at %.40s", most, text);
    }
}

/* ---- freeze depths ----------------------------------------------------------------------------- */

#define EPOCHS                                                                                \
    "\"epochs\":[{\"epoch\":1,\"train_loss\":1.5,\"train_top1\":0.4,\"validation_loss\":1.2," \
    "\"validation_top1\":0.5},{\"epoch\":2,\"train_loss\":0.5,\"train_top1\":0.9,"            \
    "\"validation_loss\":0.6,\"validation_top1\":0.8}],\"kept\":2"

static const char freeze_text[] =
    "{\"title\":\"Depths of <m> & \\\"co\\\"\",\"model\":\"m.onnx\",\"data\":\"pics\","
    "\"recipe\":\"lp_ft\",\"seeds\":[1,2,3],\"folds\":5,\"measured_on\":\"test\",\"threads\":2,"
    "\"price\":{\"instance\":\"ml.x\",\"per_hour\":1.5,\"currency\":\"USD\",\"date\":\"2026-01-"
    "02\"},"
    "\"depths\":[{\"cut\":\"head\",\"index\":9,\"scratch\":false,\"runs\":[{\"seed\":7,\"fold\":4,"
    "\"top1\":0.801,\"balanced_accuracy\":0.8,\"train_seconds\":1.25}],\"top1\":0.8,"
    "\"top1_error\":0.05,\"balanced_accuracy\":0.7891,\"balanced_error\":0.011,"
    "\"trained_parameters\":7688,\"cache_bytes\":2560,\"peak_bytes\":104857600,"
    "\"images_per_second\":1234,\"seconds\":{\"extract\":0.5,\"train\":1.5,\"total\":2},"
    "\"cost\":0.00083," EPOCHS
    ",\"difference\":{\"against\":\"st<age>5\",\"top1\":-0.1,\"low\":-0.15,\"high\":-0.051,"
    "\"p\":0.0123,\"only_this\":3,\"only_other\":17}},"
    "{\"cut\":\"st<age>5\",\"index\":8,\"scratch\":false,\"runs\":[],\"top1\":0.9,"
    "\"top1_error\":0.025,\"balanced_accuracy\":0.9,\"balanced_error\":0.02,"
    "\"trained_parameters\":1500000,\"cache_bytes\":12544,\"peak_bytes\":209715200,"
    "\"images_per_second\":110,\"seconds\":{\"extract\":0.5,\"train\":19.5,\"total\":20},"
    "\"cost\":0.0083," EPOCHS
    "},{\"cut\":\"none\",\"index\":0,\"scratch\":true,\"runs\":[],\"top1\":null,"
    "\"top1_error\":null,\"balanced_accuracy\":null,\"peak_bytes\":null,\"seconds\":{}}],"
    "\"left_out\":[{\"cut\":\"stage\\u00e9\",\"reason\":\"a <reason>\"}],"
    "\"recommendation\":{\"cut\":\"st<age>5\",\"text\":\"Freeze up to st<age>5.\"}}";

static void depths_are_shown(void **state) {
    (void)state;
    json_t *doc = parse(freeze_text);
    char *page = page_of(thaw_depth_page_write, doc);
    static const char *const parts[] = {
        "<title>Depths of &lt;m&gt; &amp; &quot;co&quot;</title>",
        "m.onnx on pics; recipe lp_ft; seeds 1, 2, 3; 5 folds; measured on test; 2 threads",
        "<p class=advice>Freeze up to st&lt;age&gt;5.</p>",
        "top-1<b>90.0 %</b>",
        "from scratch",
        ">7.69 k",
        ">1.5 M",
        ">100 MB",
        ">78.9 %",
        ">-5.1 %",
        ">0.0123",
        "<td data-v=\"17\">17",
        "ml.x",
        "stage\u00e9<td class=t>a &lt;reason&gt;",
        ">80.1 %",
        "cost, USD",
        "top-1 80.0 % \u00b1 5.0 %"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        expect_part(page, parts[i]);
    free(page);
    json_decref(doc);
}

/* Top-1 of 80 and 90 % with bars from 75 to 92.5 % on an axis from 75 to 95 %, 170 high from 10 on:
 * 75 % is at 180, 80 % at 137.5, 85 % at 95, 90 % at 52.5, 92.5 % at 31.2. */
static void a_value_is_drawn_where_it_belongs(void **state) {
    (void)state;
    json_t *doc = parse(freeze_text);
    char *page = page_of(thaw_depth_page_write, doc);
    expect_part(page, "points=\"101.0,137.5 199.0,52.5 \"");
    expect_part(page, "d=\"M97.0 180.0H105.0M101.0 180.0V95.0M97.0 95.0H105.0\"");
    expect_part(page, "cx=\"199.0\" cy=\"52.5\" r=\"6.0\""); /* The recommended one is larger. */
    assert_int_equal(count_of(page, "cy=\"52.5\" r=\"3.0\""), 0);
    free(page);
    json_decref(doc);
}

static void a_terminal_has_the_depths(void **state) {
    (void)state;
    json_t *doc = parse(freeze_text);
    char *text = printed(thaw_depth_table_print, doc);
    assert_string_equal(
        text,
        "  frozen up to          top-1, %     75 to 100         in all    memory   trained      "
        "cost\n"
        "  head                  80.00 \u00b1 5.00 \u2588\u2588\u258a                  2 s    100 "
        "MB   "
        " 7.69 k   0.00083\n"
        "* st<age>5              90.00 \u00b1 2.50 \u2588\u2588\u2588\u2588\u2588\u2588\u2588\u2588"
        "\u258d           20 s    200 MB     1.5 M    0.0083\n"
        "  from scratch              \u2013                               \u2013         \u2013    "
        " "
        "    "
        "\u2013         \u2013\n"
        "\n* Freeze up to st<age>5.\n");
    expect_columns(text, 100);
    free(text);
    json_decref(doc);
}

/* Nothing of what a document may lack is needed. */
static void little_is_enough(void **state) {
    (void)state;
    static const char *const texts[] = {
        "{}",
        "{\"depths\":[]}",
        "{\"depths\":[{}]}",
        "{\"depths\":[{\"cut\":\"a\",\"top1\":0.5}]}",
        "{\"depths\":[{\"cut\":\"a\",\"top1\":1e300,\"seconds\":{\"total\":-1e300},\"epochs\":[{}]}"
        "]}",
        "{\"depths\":[{\"cut\":\"a\",\"top1\":0,\"top1_error\":0,\"seconds\":{\"total\":0},"
        "\"peak_bytes\":0,\"epochs\":[{\"epoch\":1,\"train_top1\":0}]},3,null,\"x\"],\"seeds\":3,"
        "\"price\":[],\"left_out\":{},\"recommendation\":\"a\",\"title\":7}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        json_t *doc = parse(texts[i]);
        free(page_of(thaw_depth_page_write, doc));
        free(printed(thaw_depth_table_print, doc));
        json_decref(doc);
    }
}

static int setup(void **state) {
    (void)state;
    place = tempdir_make();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    tempdir_remove(&place);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(depths_are_shown),
        cmocka_unit_test(a_value_is_drawn_where_it_belongs),
        cmocka_unit_test(a_terminal_has_the_depths),
        cmocka_unit_test(little_is_enough),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
