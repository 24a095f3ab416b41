/* What was measured, as it is printed, as JSON, and as the report's page: which way round the confusion
 * is, which classes of many are shown, and what names may hold. */
#include "json.h"
#include "report/report.h"
#include "tempdir.h"
#include "testing.h"

/* True 0 0 0 1 1 2, answered 0 0 1 1 1 2. */
static const float few_logits[] = {2, 1, 0, 5, 0, 0, 0, 1, 0, 0, 3, 1, 1, 3, 2, 0, 0, 9};
static const int32_t few_labels[] = {0, 0, 0, 1, 1, 2};
static const char *const few_names[] = {"G\u00e4nsebl\u00fcmchen", "a\tb", "<rose>"};

static thaw_results results_of(thaw_arena *arena, int64_t K, int64_t n, const float *logits,
                               const int32_t *labels, const char *const *names) {
    thaw_results r = {.classes = names};
    assert_int_equal(thaw_metrics_init(&r.metrics, K, n, arena, NULL), THAW_OK);
    thaw_metrics_add(&r.metrics, n, logits, labels);
    thaw_metrics_finish(&r.metrics);
    assert_int_equal(thaw_results_finish(&r, arena, NULL), THAW_OK);
    return r;
}

static void print_to(char *text, size_t size, const thaw_results *r) {
    FILE *out = fmemopen(text, size, "w");
    assert_non_null(out);
    thaw_results_print(out, r);
    assert_int_equal(fclose(out), 0);
}

static void expect_part(const char *text, const char *part) {
    if (!strstr(text, part)) fail_msg("expected \"%s\" in\n%s", part, text);
}

static void a_table_is_aligned(void **state) {
    (void)state;
    thaw_arena arena = {0};
    thaw_results r = results_of(&arena, 3, 6, few_logits, few_labels, few_names);
    char text[4096];
    print_to(text, sizeof text, &r);
    assert_string_equal(text,
                        "class          precision  recall      f1  pictures\n"
                        "G\u00e4nsebl\u00fcmchen      1.000   0.667   0.800         3\n"
                        "a?b                0.667   1.000   0.800         2\n"
                        "<rose>             1.000   1.000   1.000         1\n"
                        "\n"
                        "true           predicted (columns in the order of the rows)\n"
                        "G\u00e4nsebl\u00fcmchen      2    1    .\n"
                        "a?b                .    2    .\n"
                        "<rose>             .    .    1\n"
                        "\n"
                        "top-1 0.8333   balanced 0.8889   on 6 pictures\n");
    thaw_arena_free(&arena);
}

/* Class k of 100 has k pictures, one of which is answered with class 0, which has none: the larger a
 * class, the better it is. The names are longer than a column. */
static void of_many_classes_the_worst_are_shown(void **state) {
    (void)state;
    enum { K = 100, N = K * (K - 1) / 2 };
    thaw_arena arena = {0};
    float *z = calloc((size_t)N * K, sizeof *z);
    int32_t labels[N];
    char names[K][64];
    const char *list[K];
    int row = 0;
    for (int k = 0; k < K; k++) {
        snprintf(names[k], sizeof names[k], "class-%02d-%s", k,
                 "a-name-that-is-longer-than-a-column");
        list[k] = names[k];
        for (int i = 0; i < k; i++, row++) {
            labels[row] = k;
            z[row * K + (i ? k : 0)] = 1;
        }
    }
    thaw_results r = results_of(&arena, K, N, z, labels, list);
    char text[8192];
    print_to(text, sizeof text, &r);
    const char *at = strchr(text, '\n') + 1;
    for (int k = 1; k <= 20; k++, at = strchr(at, '\n') + 1) {
        char start[64];
        snprintf(start, sizeof start, "class-%02d-a-name-that-is-longer-\u2026  ", k);
        if (strncmp(at, start, strlen(start)) != 0) fail_msg("row %d is %.60s", k, at);
    }
    expect_part(at, "... the lowest F1 of 100 classes");
    expect_part(at, "top-5 ");
    assert_null(strstr(text, "predicted")); /* No matrix of a hundred columns. */
    free(z);
    thaw_arena_free(&arena);
}

static void json_names_the_pairs(void **state) {
    (void)state;
    thaw_arena arena = {0};
    thaw_results r = results_of(&arena, 3, 6, few_logits, few_labels, few_names);
    thaw_json json = thaw_json_begin();
    thaw_results_json(&json, json.root, &r);
    thaw_results_classes_json(&json, json.root, &r);
    thaw_results_confusion_json(&json, json.root, &r);
    char *text;
    assert_int_equal(thaw_json_print(&json, THAW_JSON_LINE, 4, "a test", &text, NULL), THAW_OK);
    expect_part(text,
                "\"confusion\":[{\"truth\":\"G\u00e4nsebl\u00fcmchen\",\"answer\":"
                "\"G\u00e4nsebl\u00fcmchen\",\"n\":2},{\"truth\":\"G\u00e4nsebl\u00fcmchen\","
                "\"answer\":\"a\\tb\",\"n\":1},{\"truth\":\"a\\tb\"");
    expect_part(text, "\"name\":\"<rose>\",\"precision\":1.0");
    expect_part(text, "\"ece\":");
    assert_null(strstr(text, "n_without_scores"));
    free(text);
    thaw_json_free(&json);
    thaw_arena_free(&arena);
}

/* Rows are what a picture shows, columns what the model says. */
static void a_page_shows_the_same(void **state) {
    (void)state;
    thaw_arena arena = {0};
    thaw_error err = {0};
    tempdir place = tempdir_make();
    char path[PATH_MAX];
    thaw_results r = results_of(&arena, 3, 6, few_logits, few_labels, few_names);
    thaw_json json = thaw_json_begin();
    static const thaw_epoch epochs[] = {
        {.epoch = 1, .train_top1 = 0.5, .validation_top1 = 0.28, .validation_loss = 1},
        {.epoch = 2, .train_top1 = 1, .validation_top1 = 0.76, .validation_loss = 0.5}};
    thaw_geometry seen = {.width = 8, .height = 8, .channels = 3};
    thaw_mistake gone = {
        .path = "/gone/away.jpg", .truth = few_names[0], .answer = few_names[1], .score = 0.875};
    thaw_report report = {.title = "A <title>",
                          .measured_on = "test",
                          .results = &r,
                          .metrics = json.root,
                          .curves = {.epochs = epochs, .n = 2, .kept = 2},
                          .passes = 2,
                          .kept = "epoch 2 is kept: of a reason",
                          .model = "m.onnx",
                          .cut = "here",
                          .pictures = {.seen = &seen, .mistakes = &gone, .n_mistakes = 1}};
    tempdir_path(&place, "report.html", path);
    if (thaw_report_write(&report, path, &err) != THAW_OK) fail_msg("%s", err.text);
    size_t n;
    char *page = (char *)test_read(path, &n);
    page[n] = '\0';
    expect_part(page, "<title>A &lt;title&gt;</title>");
    expect_part(page, "Epoch 2 is kept: of a reason.");
    /* 0.28 and 0.76 between 20 % and 100 %, 170 high from 10 on. */
    expect_part(page, "<polyline class=\"accent line\" points=\"52.0,163.0 346.0,61.0 \"");
    expect_part(page, "<polyline class=\"grey line dash\" points=\"52.0,116.2 346.0,10.0 \"");
    /* Two of three pictures and one of three, in the first row. */
    expect_part(page,
                "<rect class=\"accent \" x=\"103.0\" y=\"103.0\" width=\"39.0\" height=\"39.0\" "
                "fill-opacity=\"0.49\"/>");
    expect_part(page,
                "<rect class=\"warn \" x=\"143.0\" y=\"103.0\" width=\"39.0\" height=\"39.0\" "
                "fill-opacity=\"0.31\"/>");
    expect_part(page, "<title>G\u00e4nsebl\u00fcmchen \u2192 a\tb: 1</title>");
    expect_part(page,
                "<td class=t>G\u00e4nsebl\u00fcmchen<td class=t>a\tb<td data-v=\"1\">1"
                "<td data-v=\"0.333333333\">33.3 %");
    expect_part(page, "<td class=t>&lt;rose&gt;<td>1.000<td>1.000<td>1.000<td>1\n");
    expect_part(page,
                "<figure class=mistake title=\"/gone/away.jpg\"><figcaption><b>a\tb</b> "
                "88&nbsp;%<span>G");
    free(page);
    thaw_json_free(&json);
    tempdir_remove(&place);
    thaw_arena_free(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_is_aligned),
        cmocka_unit_test(of_many_classes_the_worst_are_shown),
        cmocka_unit_test(json_names_the_pairs),
        cmocka_unit_test(a_page_shows_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
