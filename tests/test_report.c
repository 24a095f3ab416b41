/* Pages of made-up documents: whole whatever is missing, null or hostile in them, with every value that
 * they are given, and drawn where it belongs. With a folder as its argument it only writes pages there,
 * for tests/peer/test_pages.py to open them. */
#include "json.h"
#include "page_testing.h"
#include "report/confusion.h"
#include "report/depth_page.h"
#include "report/report.h"
#include "report/suspects.h"
#include "report/sweep_page.h"
#include "tempdir.h"
#include "top/trainer.h"

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
        "{\"depths\":[{}],\"price\":{}}",
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

/* As many depths as a large network has, whose names are paths of nodes. */
static json_t *many_depths(int n) {
    uint64_t random = 7;
    json_t *doc = parse(freeze_text), *list = json_object_get(doc, "depths");
    json_t *first = json_deep_copy(json_array_get(list, 0));
    json_array_clear(list);
    for (int i = 0; i < n; i++) {
        json_t *depth = json_deep_copy(first);
        char name[80];
        snprintf(name, sizeof name, "/features/features.%d/conv/conv.2/Conv_output", n - i);
        json_object_set_new(depth, "cut", json_string(name));
        json_object_set_new(depth, "top1", json_real(0.9 + 0.05 * test_uniform(&random)));
        json_object_set_new(depth, "peak_bytes", json_real(1e7 * pow(1.3, i)));
        json_object_set_new(json_object_get(depth, "seconds"), "total", json_real(pow(1.4, i)));
        json_object_set_new(depth, "cost", json_real(1e-4 * pow(1.4, i)));
        json_array_append_new(list, depth);
    }
    json_decref(first);
    return doc;
}

static void many_depths_have_room(void **state) {
    (void)state;
    json_t *doc = many_depths(30);
    char *page = page_of(thaw_depth_page_write, doc);
    expect_part(page, "\u2026nv_output</text>");
    free(page);
    char *text = printed(thaw_depth_table_print, doc);
    expect_part(text, "\u2026/conv.2/Conv_output ");
    expect_columns(text, 100);
    free(text);
    json_decref(doc);
}

/* ---- sweeps ------------------------------------------------------------------------------------ */

static const char sweep_text[] =
    "{\"title\":\"S <1>\",\"model\":\"m\",\"data\":\"d\",\"cut\":\"c\",\"seconds\":61,\"best\":2,"
    "\"axes\":[{\"key\":\"head.lr\",\"kind\":\"log\",\"low\":0.001,\"high\":1},"
    "{\"key\":\"head.<k>\",\"kind\":\"choice\",\"choices\":[\"a&b\",\"c\"]}],"
    "\"trials\":[{\"id\":1,\"values\":{\"head.lr\":\"0.002\",\"head.<k>\":\"a&b\"},"
    "\"validation_loss\":0.75,\"validation_top1\":0.8125,\"epochs\":30,\"stopped\":false},"
    "{\"id\":2,\"values\":{\"head.lr\":\"0.5\",\"head.<k>\":\"a&b\"},\"validation_loss\":0.25,"
    "\"validation_top1\":0.9375,\"epochs\":30,\"stopped\":false},"
    "{\"id\":3,\"values\":{\"head.lr\":\"0.5\",\"head.<k>\":\"c\"},\"validation_loss\":0.35,"
    "\"validation_top1\":0.9,\"epochs\":4,\"stopped\":true},"
    "{\"id\":4,\"values\":{\"head.lr\":\"0.9\",\"head.<k>\":\"c\"},\"validation_loss\":null,"
    "\"validation_top1\":null,\"epochs\":1,\"stopped\":true}]}";

/* Losses 0.75, 0.25, 0.35, of mean 0.45: squares 0.14. head.lr has 0.75 in its first part and the others,
 * of mean 0.3, in its last: 0.09 + 2 * 0.0225 = 0.135, 96.4 %. Of head.<k> the means are 0.5 and 0.35:
 * 2 * 0.0025 + 0.01 = 0.015, 10.7 %. */
static void a_sweep_is_shown(void **state) {
    (void)state;
    json_t *doc = parse(sweep_text);
    char *page = page_of(thaw_sweep_page_write, doc);
    static const char *const parts[] = {
        "Best: trial 2, with head.lr = 0.5, head.&lt;k&gt; = a&amp;b.",
        "validation top-1<b>93.8 %</b>",
        "trial 1: loss 0.75, top-1 81.2 %\nhead.lr = 0.002\nhead.&lt;k&gt; = a&amp;b",
        "head.lr: 96.4 %",
        "head.&lt;k&gt;: 10.7 %",
        "0.32\u20131 \u2192 c: 0.35",
        "<td>best<td data-v=\"0.5\">0.5",
        "<td>stopped",
        ">61 s"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        expect_part(page, parts[i]);
    /* 0.5 is log(500)/log(1000) = 0.89966 of 200 upwards, from 226 on; of two choices the first stands
     * a quarter above; 0.25 is the lowest loss. */
    expect_part(page, "stroke-opacity=\"1.00\" points=\"66.0,46.1 198.0,176.0 330.0,226.0 \"");
    free(page);
    char *text = printed(thaw_sweep_table_print, doc);
    expect_part(text, "*     2      0.25   93.75 ");
    expect_part(text, "lr=0.5 <k>=a&b");
    assert_true(strstr(text, "0.25") < strstr(text, "0.35"));
    assert_true(strstr(text, "0.75") < strstr(text, "\n      4         \u2013"));
    expect_columns(text, 100);
    free(text);
    json_decref(doc);
}

static const char *const odd_sweeps[] = {
    "{}", "{\"trials\":[],\"axes\":[]}", "{\"trials\":[{}],\"axes\":[{}]}",
    "{\"trials\":[{\"id\":1,\"validation_loss\":0.5,\"values\":{\"a\":\"7\"}}],\"best\":1,"
    "\"axes\":[{\"key\":\"a\",\"kind\":\"log\",\"low\":0,\"high\":0}]}",
    "{\"trials\":[{\"id\":1,\"validation_loss\":1e308,\"values\":{\"a\":\"none\",\"b\":\"q\"}},3,"
    "{\"id\":2,\"validation_loss\":-1e308,\"values\":{\"a\":\"1e300\",\"b\":\"\"}}],"
    "\"axes\":[{\"key\":\"a\",\"kind\":\"linear\",\"low\":5,\"high\":-5},{\"key\":\"b\","
    "\"kind\":\"choice\",\"choices\":[]},{\"key\":\"b\",\"kind\":\"choice\",\"choices\":[1,\"q\"]}]"
    "}"};

static void odd_sweeps_do_no_harm(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof odd_sweeps / sizeof *odd_sweeps; i++) {
        json_t *doc = parse(odd_sweeps[i]);
        free(page_of(thaw_sweep_page_write, doc));
        free(printed(thaw_sweep_table_print, doc));
        json_decref(doc);
    }
}

static json_t *many_trials(int n) {
    uint64_t random = 3;
    json_t *doc = parse(sweep_text), *list = json_object_get(doc, "trials");
    json_t *first = json_deep_copy(json_array_get(list, 0));
    json_array_clear(list);
    for (int i = 0; i < n; i++) {
        json_t *trial = json_deep_copy(first), *values = json_object_get(trial, "values");
        char text[32];
        double lr = pow(10, -1.5 + 1.5 * test_uniform(&random));
        snprintf(text, sizeof text, "%.3g", lr);
        json_object_set_new(values, "head.lr", json_string(text));
        json_object_set_new(values, "head.<k>", json_string(i % 3 ? "a&b" : "c"));
        json_object_set_new(trial, "id", json_integer(i + 1));
        json_object_set_new(trial, "validation_loss", json_real(0.2 + pow(log10(lr) + 1.5, 2)));
        json_array_append_new(list, trial);
    }
    json_decref(first);
    return doc;
}

/* ---- trainings ---------------------------------------------------------------------------------- */

enum { MOST_CLASSES = 200, TESTED = 10 };

/* A training of K classes with hostile names, each of which is taken for the class that is K/2 away in
 * three of ten pictures. */
typedef struct training {
    thaw_arena arena;
    int64_t K, n;
    float *z;
    int32_t *label;
    const char **names;
    thaw_results results;
    thaw_json json;
    thaw_epoch epochs[12];
    thaw_mistake mistake;
    thaw_doubt doubt;
    thaw_geometry seen;
    thaw_report report;
} training;

static void make_epochs(training *t) {
    for (int i = 0; i < 12; i++)
        t->epochs[i] = (thaw_epoch){.epoch = i + 1,
                                    .l2 = pow(10, -i / 2.0),
                                    .train_loss = 2 * pow(0.7, i),
                                    .train_top1 = 1 - 0.8 * pow(0.6, i),
                                    .validation_loss = i == 4 ? NAN : 0.5 + pow(0.6, i),
                                    .validation_top1 = i == 4 ? NAN : 0.9 - 0.5 * pow(0.6, i)};
}

static void make_results(training *t) {
    for (int64_t i = 0; i < t->n; i++) {
        int64_t k = i / TESTED, other = (k + t->K / 2) % t->K;
        t->label[i] = (int32_t)k;
        t->z[i * t->K + k] = 3;
        if (i % TESTED < 3) t->z[i * t->K + other] = 5 + (float)(i % 7) / 8;
    }
    t->z[0] = NAN;
    for (int64_t k = 0; k < t->K; k++)
        t->names[k] = thaw_arena_printf(&t->arena, "<k%lld> & \"K\u00fc\u82b1\" of a longer name",
                                        (long long)k);
    t->results.classes = t->names;
    assert_int_equal(thaw_metrics_init(&t->results.metrics, t->K, t->n, &t->arena, NULL), THAW_OK);
    thaw_metrics_add(&t->results.metrics, t->n, t->z, t->label);
    thaw_metrics_finish(&t->results.metrics);
    assert_int_equal(thaw_results_finish(&t->results, &t->arena, NULL), THAW_OK);
}

static void make_map(training *t, thaw_map *map) {
    uint64_t random = 11;
    int64_t n = t->n < THAW_MAP_MOST ? t->n : THAW_MAP_MOST;
    int32_t *answer = thaw_arena_array(&t->arena, (size_t)n, sizeof *answer);
    *map = (thaw_map){.plane = {.share = {0.3, 0.2},
                                .x = thaw_arena_array(&t->arena, (size_t)n, sizeof(double)),
                                .y = thaw_arena_array(&t->arena, (size_t)n, sizeof(double))},
                      .names = thaw_arena_array(&t->arena, (size_t)n, sizeof(char *)),
                      .label = t->label,
                      .answer = answer,
                      .n = n,
                      .n_all = t->n};
    for (int64_t i = 0; i < n; i++) {
        map->plane.x[i] = (double)t->label[i] + test_uniform(&random);
        map->plane.y[i] = test_uniform(&random);
        ((const char **)map->names)[i] = "<file>.jpg";
        answer[i] = t->results.metrics.answers[i].answer;
    }
}

static void make_training(training *t, int64_t K) {
    *t = (training){.K = K, .n = K * TESTED, .seen = {.width = 8, .height = 8, .channels = 3}};
    t->z = thaw_arena_array(&t->arena, (size_t)(t->n * K), sizeof *t->z);
    t->label = thaw_arena_array(&t->arena, (size_t)t->n, sizeof *t->label);
    t->names = thaw_arena_array(&t->arena, (size_t)K, sizeof *t->names);
    make_epochs(t);
    make_results(t);
    t->json = thaw_json_begin();
    t->mistake = (thaw_mistake){.path = "/gone/<away>.jpg",
                                .truth = t->names[0],
                                .answer = t->names[1],
                                .score = 0.875,
                                .doubtful = true,
                                .near = {{"/gone/near.jpg", t->names[1], 0.75}},
                                .n_near = 1};
    t->doubt =
        (thaw_doubt){"/gone/\"doubt\".jpg", t->names[0], t->names[1], "train", 0.0625, 0.9, true};
    t->report = (thaw_report){.title = "A <title>",
                              .measured_on = "test",
                              .results = &t->results,
                              .metrics = t->json.root,
                              .head = {"head", t->epochs, 12, 7, false, 0},
                              .curves = {NULL, t->epochs, 12, 12, false, 0},
                              .passes = 2,
                              .kept = "epoch 12 is kept: of a reason",
                              .model = "m.onnx",
                              .cut = "here",
                              .pictures = {.seen = &t->seen,
                                           .mistakes = &t->mistake,
                                           .n_mistakes = 1,
                                           .doubts = &t->doubt,
                                           .n_doubts = 1,
                                           .n_doubts_out = 5,
                                           .n_doubts_in = 17}};
    make_map(t, &t->report.map);
}

static void free_training(training *t) {
    thaw_json_free(&t->json);
    thaw_arena_free(&t->arena);
}

static void write_report(const training *t, const char *path) {
    thaw_error err = {0};
    if (thaw_report_write(&t->report, path, &err) != THAW_OK) fail_msg("%s", err.text);
}

static char *report_of(const training *t, size_t *n) {
    char path[PATH_MAX];
    tempdir_path(&place, "report.html", path);
    write_report(t, path);
    char *text = (char *)test_read(path, n);
    text[*n] = '\0';
    page_check(text);
    return text;
}

static void many_classes_fit_a_page(void **state) {
    (void)state;
    training t;
    size_t n;
    make_training(&t, MOST_CLASSES);
    char *page = report_of(&t, &n);
    static const char *const parts[] = {
        "<h2>Epochs</h2>",
        "Epoch 12 is kept: of a reason.",
        "<b>head: loss</b>",
        "<b>top-1</b>",
        "<h2>Confusion</h2>",
        "<h2>What a score is worth</h2>",
        "<figure class=mistake title=\"/gone/&lt;away&gt;.jpg\"><figcaption><b>&lt;k1&gt;",
        "label in doubt",
        "cosine 0.750: /gone/near.jpg",
        "near: 1 &lt;k1&gt;",
        "not trained on: 5.",
        "trained on: 17;",
        "<figure class=doubt title=\"/gone/&quot;doubt&quot;.jpg\">",
        "train, in-sample",
        "<h2>Which pictures look alike</h2>",
        "&lt;file&gt;.jpg</title>"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        expect_part(page, parts[i]);
    assert_null(strstr(page, "<k"));
    assert_true(n < 1500000);
    free(page);
    free_training(&t);
}

/* With and without pictures of other classes, at distances that may be infinite; and scores alone. */
static void what_is_unknown_is_shown(void **state) {
    (void)state;
    static const float known[] = {0.1f, 0.2f, 0.2f, INFINITY}, unknown[] = {0.9f, INFINITY, 0.5f};
    training t;
    size_t n;
    make_training(&t, 3);
    char *page = report_of(&t, &n);
    assert_null(strstr(page, "What it does not know"));
    assert_null(strstr(page, "without the temperature"));
    free(page);
    t.results.metrics.temperature = 0.5;
    thaw_results_json(&t.json, t.json.root, &t.results);
    json_t *reject = thaw_json_object(&t.json, t.json.root, "reject");
    thaw_json_text(&t.json, reject, "method", "knn");
    thaw_json_integer(&t.json, reject, "neighbours", 5);
    thaw_json_real(&t.json, reject, "rate", 0.05);
    json_t *trials = thaw_json_array(&t.json, reject, "trials");
    json_t *trial = thaw_json_object(&t.json, trials, NULL);
    thaw_json_text(&t.json, trial, "method", "mahalanobis");
    thaw_json_real(&t.json, trial, "auroc", 0.875);
    json_t *of_known = thaw_json_object(&t.json, t.json.root, "known");
    thaw_json_integer(&t.json, of_known, "n", 4);
    thaw_json_integer(&t.json, of_known, "rejected", 1);
    thaw_json_real(&t.json, of_known, "top1_kept", 1);
    t.report.novelty = (thaw_novelty_page){.threshold = 0.3, .known = known, .n_known = 4};
    page = report_of(&t, &n);
    expect_part(page, "<h2>What it does not know</h2>");
    expect_part(page, "than all but 5 % of the validation");
    expect_part(page, "number 5. That holds for 25.0 % of these 4");
    expect_part(page, "Mahalanobis distance");
    expect_part(page, "Share of pictures by distance");
    expect_part(page, "a temperature of 0.500");
    assert_null(strstr(page, "of other classes"));
    free(page);
    json_t *of_unknown = thaw_json_object(&t.json, t.json.root, "unknown");
    thaw_json_integer(&t.json, of_unknown, "n", 3);
    thaw_json_integer(&t.json, of_unknown, "rejected", 3);
    thaw_json_real(&t.json, of_unknown, "auroc", 0.9375);
    thaw_json_text(&t.json, of_unknown, "by", "distance");
    t.report.novelty.unknown = unknown;
    t.report.novelty.n_unknown = 3;
    page = report_of(&t, &n);
    expect_part(page, "Of 3 pictures of other classes 100.0 % are called unknown.");
    expect_part(page, "a larger distance than one of a known class with a probability of 93.8 %");
    free(page);
    json_object_del(t.json.root, "reject");
    json_object_del(t.json.root, "known");
    json_object_del(json_object_get(t.json.root, "unknown"), "rejected");
    thaw_json_text(&t.json, json_object_get(t.json.root, "unknown"), "by", "score");
    t.report.novelty = (thaw_novelty_page){0};
    page = report_of(&t, &n);
    expect_part(page, "has a lower score than one of a known class");
    assert_null(strstr(page, "Share of pictures by distance"));
    free(page);
    free_training(&t);
}

/* K/2 pairs are taken for one another: they stand side by side, and every class stands once. */
static void confused_classes_stand_together(void **state) {
    (void)state;
    training t;
    int64_t order[MOST_CLASSES], at[MOST_CLASSES];
    bool seen[MOST_CLASSES] = {false};
    make_training(&t, MOST_CLASSES);
    assert_int_equal(thaw_confusion_order(&t.results, order, NULL), THAW_OK);
    for (int64_t i = 0; i < t.K; i++) {
        assert_false(seen[order[i]]);
        seen[order[i]] = true;
        at[order[i]] = i;
    }
    for (int64_t k = 0; k < t.K / 2; k++)
        assert_int_equal(labs(at[k] - at[k + t.K / 2]), 1);
    free_training(&t);
}

/* A ring of confusions is cut where it is weakest. */
static void a_chain_is_cut_where_it_is_weakest(void **state) {
    (void)state;
    static thaw_confusion pairs[] = {{0, 0, 5}, {0, 2, 4}, {1, 0, 1}, {2, 3, 3}, {3, 1, 2}};
    static const int64_t want[] = {0, 2, 3, 1};
    static int64_t support[] = {10, 10, 10, 10};
    int64_t order[4];
    thaw_results r = {.metrics = {.K = 4, .support = support}, .pairs = pairs, .n_pairs = 5};
    assert_int_equal(thaw_confusion_order(&r, order, NULL), THAW_OK);
    if (order[0] == 1) /* From either end. */
        for (int i = 0; i < 4; i++)
            assert_int_equal(order[i], want[3 - i]);
    else
        assert_memory_equal(order, want, sizeof want);
}

/* Every class is taken for every other one: the page has the most frequent pairs, and says so. */
static void a_full_matrix_is_cut(void **state) {
    (void)state;
    enum { K = 120, SHOWN = 2500 };
    static thaw_confusion pairs[K * K];
    static int64_t support[K];
    const char *names[K];
    char *text;
    size_t n;
    for (int i = 0; i < K * K; i++) {
        pairs[i] = (thaw_confusion){i / K, i % K, i == 7 * K + 9 ? 1000 : 1 + i % 5};
        support[i / K] = 2000;
        names[i / K] = "a <class>";
    }
    thaw_results r = {.metrics = {.K = K, .support = support},
                      .classes = names,
                      .pairs = pairs,
                      .n_pairs = K * K};
    FILE *out = open_memstream(&text, &n);
    assert_int_equal(thaw_confusion_put(out, &r, NULL), THAW_OK);
    assert_int_equal(fclose(out), 0);
    page_check(text);
    assert_int_equal(count_of(text, "fill-opacity="), SHOWN);
    expect_part(text, "The 2500 most frequent of 14400 pairs");
    expect_part(text, ": 1000</title>");
    assert_int_equal(count_of(text, "\n<tr>"), 30);
    assert_true(n < 700000);
    free(text);
}

/* ---- what is found out about pictures ------------------------------------------------------------ */

/* Class 0 is answered with 0.6 in the mean, class 1 with 0.8. */
static void doubts_are_measured_by_class(void **state) {
    (void)state;
    thaw_arena arena = {0};
    static thaw_answer first[] = {
        {0, 0, 0.9f, 0.8f, 0.9f, 0},
        {0, 1, 0.7f, 0.4f, 0.3f, 0}, /* Less sure than usual of class 1. */
        {1, 1, 0.9f, 0.8f, 0.9f, 0},
        {1, -1, 0, 0, 0, 0}};
    static thaw_answer second[] = {
        {1, 1, 0.7f, 0.4f, 0.7f, 0}, {2, 0, 0.7f, 0.6f, 0.1f, 0}, {2, 0, 0.95f, 0.9f, 0.05f, 0}};
    const thaw_metrics sets[] = {{.K = 4, .n = 4, .answers = first},
                                 {.K = 4, .n = 3, .answers = second}};
    const thaw_metrics *both[] = {&sets[0], &sets[1]};
    thaw_suspect *found;
    size_t n;
    assert_int_equal(thaw_suspects_find(both, 2, &arena, &found, &n, NULL), THAW_OK);
    assert_int_equal(n, 2);
    assert_int_equal(found[0].set, 1);
    assert_int_equal(found[0].row, 2);
    assert_int_equal(found[1].row, 1);
    assert_int_equal(thaw_suspects_find(both, 0, &arena, &found, &n, NULL), THAW_OK);
    assert_int_equal(n, 0);
    thaw_arena_free(&arena);
}

static thaw_status gather_rows(void *ctx, const int64_t *index, int64_t M, float *out,
                               thaw_error *err) {
    (void)err;
    for (int64_t m = 0; m < M; m++)
        memcpy(out + 3 * m, (const float *)ctx + 3 * index[m], 3 * sizeof *out);
    return THAW_OK;
}

static int dense(int64_t M, int64_t D, int64_t K, const float *x, const float *w, const float *b,
                 float *y) {
    assert_null(b);
    for (int64_t m = 0; m < M; m++)
        for (int64_t k = 0; k < K; k++) {
            y[m * K + k] = 0;
            for (int64_t d = 0; d < D; d++)
                y[m * K + k] += x[m * D + d] * w[k * D + d];
        }
    return 0;
}

static void the_nearest_are_found(void **state) {
    (void)state;
    static float all[70][3];
    const thaw_top_slots top = {.dense_forward = dense};
    for (int i = 0; i < 70; i++)
        memcpy(all[i], (float[]){0, 0, -1}, sizeof all[i]);
    memcpy(all[3], (float[]){0, 0, 0}, sizeof all[3]);
    memcpy(all[5], (float[]){8, 6, 0}, sizeof all[5]);
    memcpy(all[66], (float[]){1, 0, 0}, sizeof all[66]); /* In the second block. */
    memcpy(all[67], (float[]){2, 0, 0}, sizeof all[67]);
    thaw_rows rows = {.n = 70, .D = 3, .gather = gather_rows, .ctx = all};
    float x[] = {5, 0, 0, 5, 0, 0};
    const int64_t self[] = {67, 0};
    thaw_near near[2][THAW_NEAREST];
    assert_int_equal(thaw_nearest_find(&top, x, self, 2, &rows, near, NULL), THAW_OK);
    static const int64_t want[2][THAW_NEAREST] = {{66, 5, 0}, {66, 67, 5}};
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < THAW_NEAREST; k++)
            assert_int_equal(near[i][k].row, want[i][k]);
    assert_float_equal(near[0][1].cosine, 0.8, 1e-6);
    rows.n = 1;
    assert_int_equal(thaw_nearest_find(&top, x, NULL, 1, &rows, near, NULL), THAW_OK);
    assert_true(near[0][0].row == 0 && near[0][1].row == -1);
}

/* Along (3,4,0)/5 by 5 i, along (0,0,1) by 1 or -1: the variance is told, and each point's place. */
static void rows_lie_where_they_belong(void **state) {
    (void)state;
    enum { N = 8 };
    thaw_arena arena = {0};
    float x[N][3];
    int64_t index[N];
    for (int i = 0; i < N; i++) {
        double along = i - 3.5, up = i % 4 == 0 || i % 4 == 3 ? 1 : -1;
        memcpy(x[i], (float[]){(float)(7 + 3 * along), (float)(4 * along), (float)up}, sizeof x[i]);
        index[i] = i;
    }
    thaw_rows rows = {.n = N, .D = 3, .gather = gather_rows, .ctx = x};
    thaw_plane plane;
    assert_int_equal(thaw_project(&rows, index, N, &arena, &plane, NULL), THAW_OK);
    assert_float_equal(plane.share[0], 25 * 42.0 / (25 * 42 + 8), 1e-6);
    assert_float_equal(plane.share[1], 8.0 / (25 * 42 + 8), 1e-6);
    double sign = plane.x[0] > 0 ? -1 : 1;
    for (int i = 0; i < N; i++) {
        assert_float_equal(sign * plane.x[i], 5 * (i - 3.5), 1e-3);
        assert_float_equal(fabs(plane.y[i]), 1, 1e-3);
    }
    /* The farthest along the first axis is above zero, though others are farther from the mean. */
    static const float four[4][3] = {{-6, 0, 0}, {5, 4, 0}, {5, -4, 0}, {-4, 0, 0}};
    memcpy(x, four, sizeof four);
    assert_int_equal(thaw_project(&rows, index, 4, &arena, &plane, NULL), THAW_OK);
    assert_float_equal(plane.x[0], 6, 1e-3);
    assert_float_equal(plane.x[1], -5, 1e-3);
    memset(x, 0, sizeof x);
    assert_int_equal(thaw_project(&rows, index, N, &arena, &plane, NULL), THAW_OK);
    assert_true(plane.x[5] == 0 && plane.y[5] == 0 && plane.share[0] == 0);
    thaw_arena_free(&arena);
}

/* ---- pages for a browser -------------------------------------------------------------------------- */

static void write_document(write_page *write, json_t *doc, const char *folder, const char *name) {
    char path[PATH_MAX];
    thaw_error err = {0};
    snprintf(path, sizeof path, "%s/page-%s.html", folder, name);
    if (write(doc, path, &err) != THAW_OK) fprintf(stderr, "%s\n", err.text), exit(1);
    json_decref(doc);
}

static void write_training(const char *folder, const char *name, int64_t K) {
    char path[PATH_MAX];
    training t;
    snprintf(path, sizeof path, "%s/page-%s.html", folder, name);
    make_training(&t, K);
    write_report(&t, path);
    free_training(&t);
}

static int write_pages(const char *folder) {
    write_document(thaw_depth_page_write, parse(freeze_text), folder, "depths");
    write_document(thaw_depth_page_write, many_depths(30), folder, "depths-many");
    write_document(thaw_depth_page_write, many_depths(1), folder, "depths-one");
    write_document(thaw_depth_page_write, parse("{}"), folder, "depths-none");
    write_document(thaw_sweep_page_write, parse(sweep_text), folder, "sweep");
    write_document(thaw_sweep_page_write, many_trials(60), folder, "sweep-many");
    write_document(thaw_sweep_page_write, parse("{}"), folder, "sweep-none");
    write_training(folder, "training", 12);
    write_training(folder, "training-many", MOST_CLASSES);
    return 0;
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

int main(int argc, char **argv) {
    if (argc > 1) return write_pages(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(depths_are_shown),
        cmocka_unit_test(a_value_is_drawn_where_it_belongs),
        cmocka_unit_test(a_terminal_has_the_depths),
        cmocka_unit_test(little_is_enough),
        cmocka_unit_test(many_depths_have_room),
        cmocka_unit_test(a_sweep_is_shown),
        cmocka_unit_test(odd_sweeps_do_no_harm),
        cmocka_unit_test(many_classes_fit_a_page),
        cmocka_unit_test(what_is_unknown_is_shown),
        cmocka_unit_test(confused_classes_stand_together),
        cmocka_unit_test(a_full_matrix_is_cut),
        cmocka_unit_test(a_chain_is_cut_where_it_is_weakest),
        cmocka_unit_test(doubts_are_measured_by_class),
        cmocka_unit_test(the_nearest_are_found),
        cmocka_unit_test(rows_lie_where_they_belong),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
