/* The program as a user meets it: train, eval, predict and cache on drawn pictures, from the
 * command line to the files. What a run leaves, that it can be repeated bit for bit, that the cache
 * is used whenever it may be and never when it may not, and that neither a signal nor damage costs
 * more than it must. Refusals are in test_refusals.c.
 *
 * The tests run in the order of the list at the end and share one folder: run1 and its cache are
 * the first test's. */
#include <dirent.h>

#include "options/options.h"
#include "page_testing.h"
#include "program.h"

enum { CLASSES = 8, TRAIN = 7, TEST = 2, ALL = CLASSES * (TRAIN + TEST) };

static tempdir place;

#define TRAIN_LINE "train --data.train=pics --model=m.onnx "

/* ---- reading what the program wrote -------------------------------------------------------- */

static off_t shard_bytes(const char *root) {
    char path[PATH_MAX];
    struct stat info;
    return find_shard(root, path) && stat(path, &info) == 0 ? info.st_size : 0;
}

/* Flips a bit of the byte at offset. */
static void flip(const char *path, size_t offset) {
    size_t n;
    uint8_t *bytes = test_read(path, &n);
    assert_true(offset < n);
    bytes[offset] ^= 0x10;
    write_bytes(path, bytes, n);
    free(bytes);
}

/* ---- a run and its files ------------------------------------------------------------------- */

static void expect_share(const json_t *json, const char *key) {
    double value = number_at(json, key);
    if (!(value >= 0 && value <= 1)) fail_msg("%s is %g", key, value);
}

static void check_confusion(const json_t *metrics) {
    const json_t *pairs = json_object_get(metrics, "confusion"), *pair;
    double right = 0, all = 0;
    size_t i;
    json_array_foreach((json_t *)pairs, i, pair) {
        const char *truth = json_string_value(json_object_get(pair, "truth"));
        const char *answer = json_string_value(json_object_get(pair, "answer"));
        assert_true(truth && answer && number_at(pair, "n") > 0);
        all += number_at(pair, "n");
        right += strcmp(truth, answer) ? 0 : number_at(pair, "n");
    }
    assert_int_equal(all, CLASSES * TEST);
    assert_float_equal(number_at(metrics, "top1"), right / all, 1e-6);
}

static void check_metrics(const json_t *m) {
    static const char *const shares[] = {"top1", "top5", "balanced_accuracy"};
    static const char *const times[] = {"seconds.extract", "seconds.train", "seconds.total",
                                        "seconds.without_cache"};
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++)
        expect_share(m, shares[i]);
    for (size_t i = 0; i < sizeof times / sizeof *times; i++)
        assert_true(number_at(m, times[i]) > 0);
    assert_true(number_at(m, "seconds.total") >=
                number_at(m, "seconds.extract") + number_at(m, "seconds.train"));
    assert_true(number_at(m, "top1") > 0.5);
    assert_true(number_at(m, "top5") >= number_at(m, "top1"));
    assert_int_equal(number_at(m, "images.train") + number_at(m, "images.validation"),
                     CLASSES * TRAIN);
    assert_true(number_at(m, "images.validation") >= CLASSES);
    assert_int_equal(number_at(m, "images.test"), CLASSES * TEST);
    assert_int_equal(number_at(m, "images.rejected"), 0);
    assert_int_equal(number_at(m, "cache.hits"), 0);
    assert_int_equal(number_at(m, "cache.misses"), ALL);
    assert_true(number_at(m, "cache.bytes") > ALL * 96 * 4);
    const json_t *classes = json_object_get(m, "classes");
    assert_int_equal(json_array_size(classes), CLASSES);
    for (size_t k = 0; k < CLASSES; k++) {
        const json_t *c = json_array_get(classes, k);
        assert_true(json_is_string(json_object_get(c, "name")));
        expect_share(c, "precision");
        expect_share(c, "recall");
        expect_share(c, "f1");
        assert_int_equal(number_at(c, "support"), TEST);
    }
    check_confusion(m);
}

static void check_epochs(const char *path, int n_epochs) {
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char line[1024];
    int n = 0;
    while (fgets(line, sizeof line, file)) {
        json_t *e = json_loads(line, 0, NULL);
        if (!e) fail_msg("%s:%d is not JSON: %s", path, n + 1, line);
        assert_int_equal(number_at(e, "epoch"), ++n);
        assert_true(number_at(e, "train_loss") > 0 && number_at(e, "validation_loss") > 0);
        expect_share(e, "train_top1");
        expect_share(e, "validation_top1");
        assert_true(number_at(e, "lr") >= 0 && number_at(e, "seconds") >= 0);
        json_decref(e);
    }
    fclose(file);
    assert_int_equal(n, n_epochs);
}

static void check_html(const char *path) {
    char *text = program_stream(path);
    page_check(text);
    assert_non_null(strstr(text, "<svg"));
    assert_non_null(strstr(text, "sunflower"));
    free(text);
}

/* What predict says of a golden picture is what the bundle says. */
static void check_golden(const json_t *bundle) {
    const json_t *golden = json_object_get(bundle, "golden"), *entry;
    const json_t *labels = json_object_get(bundle, "labels");
    size_t i;
    assert_int_equal(json_array_size(golden), 3);
    json_array_foreach((json_t *)golden, i, entry) {
        program p = {0};
        program_expect_ok(&p, "predict run1 run1/%s --json --top=8",
                          json_string_value(json_object_get(entry, "file")));
        json_t *line = json_loads(p.out, 0, NULL);
        const json_t *all = json_object_get(line, "predictions");
        assert_int_equal(json_array_size(all), CLASSES);
        double sum = 0, before = 1;
        for (size_t k = 0; k < CLASSES; k++) {
            const json_t *one = json_array_get(all, k);
            const char *class = json_string_value(json_object_get(one, "class"));
            double score = number_at(one, "score"), want = -1;
            for (size_t c = 0; c < CLASSES; c++)
                if (!strcmp(json_string_value(json_array_get(labels, c)), class))
                    want = json_number_value(json_array_get(json_object_get(entry, "scores"), c));
            assert_float_equal(score, want, 1e-6);
            assert_true(score <= before);
            before = score;
            sum += score;
        }
        assert_float_equal(sum, 1, 1e-5);
        json_decref(line);
        program_free(&p);
    }
}

static void a_run_leaves_what_it_should(void **state) {
    (void)state;
    program p = {0};
    program_expect_ok(&p, TRAIN_LINE "--out=run1 --epochs=12 --cache.dir=cache");
    program_expect_text(&p, p.err, "sunflower");
    program_expect_text(&p, p.err, "epoch  12/12");
    program_expect_text(&p, p.out, "top-1");
    program_expect_text(&p, p.out, "run1/report.html");
    program_expect_text(&p, p.out, "without the cache");
    expect_counts(&p, 0, ALL);
    program_free(&p);
    static const char *const files[] = {"model.onnx",      "bundle.json",  "metrics.json",
                                        "train.ini",       "epochs.jsonl", "report.html",
                                        "predictions.csv", "map.csv"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[64];
        snprintf(path, sizeof path, "run1/%s", files[i]);
        if (!is_there(path)) fail_msg("%s is missing", path);
    }
    assert_false(is_there("run1.partial"));
    assert_false(is_there("run1/rejected.csv"));
    json_t *metrics = load("run1/metrics.json"), *bundle = load("run1/bundle.json");
    check_metrics(metrics);
    check_epochs("run1/epochs.jsonl", 12);
    copy_file("run1/report.html", "report.html");
    check_html("report.html");
    assert_string_equal(json_string_value(json_array_get(json_object_get(bundle, "labels"), 0)),
                        "bellflower");
    assert_int_equal(number_at(bundle, "preprocess.width"), 96);
    assert_true(json_is_string(json_object_get(bundle, "model_hash")));
    const json_t *options = json_object_get(bundle, "options");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(options, "epochs"), "value")), "12");
    const json_t *provenance = json_object_get(bundle, "provenance");
    static const char *const provenances[] = {"model",      "producer", "opset", "cut",
                                              "trunk_hash", "decoder",  "thaw"};
    for (size_t i = 0; i < sizeof provenances / sizeof *provenances; i++)
        if (!json_object_get(provenance, provenances[i])) fail_msg("no %s", provenances[i]);
    assert_non_null(json_object_get(json_object_get(bundle, "metrics"), "classes"));
    assert_null(json_object_get(json_object_get(bundle, "metrics"), "confusion"));
    check_golden(bundle);
    json_decref(metrics);
    json_decref(bundle);
}

static void the_configuration_of_a_run_repeats_it(void **state) {
    (void)state;
    program p = {0};
    program_expect_ok(&p, "train run1/train.ini --out=by_ini --log=warn");
    assert_string_equal(p.err, "");
    expect_equal_files("run1/model.onnx", "by_ini/model.onnx");
    program_free(&p);
}

static void eval_says_what_the_run_said(void **state) {
    (void)state;
    program p = {0};
    program_expect_ok(&p, "eval run1 pics/test --cache.dir=cache --json");
    expect_counts(&p, CLASSES * TEST, 0);
    json_t *json = json_loads(p.out, 0, NULL), *metrics = load("run1/metrics.json");
    assert_non_null(json);
    assert_float_equal(number_at(json, "top1"), number_at(metrics, "top1"), 1e-9);
    assert_float_equal(number_at(json, "loss"), number_at(metrics, "loss"), 1e-4);
    assert_true(
        json_equal(json_object_get(json, "confusion"), json_object_get(metrics, "confusion")));
    json_decref(json);
    program_free(&p);
    program_expect_ok(&p, "eval run1 pics --cache.dir=none");
    char line[64];
    snprintf(line, sizeof line, "top-1 %.4f", number_at(metrics, "top1"));
    program_expect_text(&p, p.out, line);
    json_decref(metrics);
    program_free(&p);
}

/* ---- again --------------------------------------------------------------------------------- */

static void the_same_run_gives_the_same_bits(void **state) {
    (void)state;
    program p = {0};
    program_expect_ok(&p, TRAIN_LINE "--out=run2 --epochs=12 --cache.dir=cache");
    expect_counts(&p, ALL, 0);
    program_expect_text(&p, p.err, "self-test");
    program_free(&p);
    expect_equal_files("run1/model.onnx", "run2/model.onnx");
    expect_equal_files("run1/golden/0.jpg", "run2/golden/0.jpg");
    /* Computed anew, in other batches: still the same. */
    program_expect_ok(&p, TRAIN_LINE "--out=run3 --epochs=12 --cache.dir=none --batch=5");
    expect_counts(&p, 0, ALL);
    program_free(&p);
    expect_equal_files("run1/model.onnx", "run3/model.onnx");
    program_expect_ok(&p, TRAIN_LINE "--out=run4 --epochs=12 --cache.dir=cache --threads=1");
    program_free(&p);
    expect_equal_files("run1/model.onnx", "run4/model.onnx");
    program_expect_ok(&p, TRAIN_LINE "--out=run5 --epochs=12 --cache.dir=cache --seed=2");
    program_free(&p);
    size_t n_1, n_5;
    uint8_t *bytes_1 = test_read("run1/model.onnx", &n_1);
    uint8_t *bytes_5 = test_read("run5/model.onnx", &n_5);
    assert_true(n_1 != n_5 || memcmp(bytes_1, bytes_5, n_1) != 0);
    free(bytes_1);
    free(bytes_5);
}

/* Whatever is auto by default may be written so, in any case, and the run is the same. */
static void auto_is_the_default_however_it_is_written(void **state) {
    (void)state;
    char line[PROGRAM_LINE / 2] = "";
    thaw_options defaults;
    thaw_error err;
    assert_int_equal(thaw_options_init(&defaults, &err), THAW_OK);
    for (size_t i = 0; i < thaw_options_count(); i++) {
        const char *key = thaw_options_key(i);
        bool wanted = !strcmp(key, "epochs") || !strcmp(key, "cache.dir");
        thaw_option_facts facts;
        assert_int_equal(thaw_options_look_up(key, THAW_FOR_ALL, "test", &facts, &err), THAW_OK);
        if (wanted || !(facts.used_by & THAW_FOR_TRAIN) ||
            strcmp(defaults.origin[i].text, "auto") != 0)
            continue;
        size_t n = strlen(line);
        snprintf(line + n, sizeof line - n, " --%s=%s", key, i % 2 ? "AUTO" : "Auto");
    }
    thaw_options_free(&defaults);
    program p = {0};
    program_expect_ok(&p, TRAIN_LINE "--out=autos --epochs=12 --cache.dir=cache%s", line);
    expect_counts(&p, ALL, 0);
    expect_equal_files("run1/model.onnx", "autos/model.onnx");
    program_free(&p);
}

static void an_older_run_is_kept(void **state) {
    (void)state;
    program p = {0};
    program_expect_ok(&p, TRAIN_LINE "--out=again/ --epochs=2 --cache.dir=cache --seed=1");
    assert_null(strstr(p.out, "older run"));
    program_free(&p);
    copy_file("again/model.onnx", "first.onnx");
    for (int seed = 2; seed <= 3; seed++) {
        program_expect_ok(&p, TRAIN_LINE "--out=again --epochs=2 --cache.dir=cache --seed=%d",
                          seed);
        program_expect_text(&p, p.out, "older run");
        program_free(&p);
        expect_equal_files("again~/model.onnx", "first.onnx");
        copy_file("again/model.onnx", "first.onnx");
    }
    assert_false(is_there("again.partial"));
}

/* What a user puts into a run's folder stays there through any number of trainings; and where it would
 * have to go, nothing is done at all. */
static void what_others_wrote_survives(void **state) {
    (void)state;
    program p = {0};
    tempdir_file(&place, "again/notes.txt", "the best so far");
    tempdir_file(&place, "again/thesis/chapter.tex", "years of work");
    for (int times = 0; times < 3; times++) {
        program_expect_ok(&p, TRAIN_LINE "--out=again --epochs=1 --cache.dir=cache");
        program_free(&p);
        assert_true(is_there("again/notes.txt") && is_there("again/thesis/chapter.tex"));
        assert_false(is_there("again~/notes.txt") || is_there("again~/thesis"));
    }
    copy_file("again/model.onnx", "first.onnx");
    static const char *const places[] = {"again~/notes.txt", "again~/golden/my.jpg",
                                         "again.partial/notes.txt", "again~/model.onnx.old"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        tempdir_file(&place, places[i], "mine");
        program_run(&p, TRAIN_LINE "--out=again --epochs=1 --cache.dir=cache --seed=9");
        const char *said = program_refusal(&p, 2);
        program_expect_text(&p, said, places[i]);
        program_expect_text(&p, said, "is not Thaw's");
        program_free(&p);
        assert_true(is_there(places[i]) && is_there("again~/model.onnx"));
        expect_equal_files("again/model.onnx", "first.onnx");
        unlink(places[i]);
    }
    program_expect_ok(&p, TRAIN_LINE "--out=again --epochs=1 --cache.dir=cache");
    program_free(&p);
}

/* ---- what the cache is asked for ----------------------------------------------------------- */

static void relabelling_computes_nothing(void **state) {
    (void)state;
    program p = {0};
    rename_or_fail("pics/train/rose/rose-0003.jpg", "pics/train/tulip/was-rose.jpg");
    rename_or_fail("pics/train/rose", "pics/train/dog_rose");
    rename_or_fail("pics/test/rose", "pics/test/dog_rose");
    program_expect_ok(&p, TRAIN_LINE "--out=relabelled --epochs=2 --cache.dir=cache");
    expect_counts(&p, ALL, 0);
    rename_or_fail("pics/train/dog_rose", "pics/train/rose");
    rename_or_fail("pics/test/dog_rose", "pics/test/rose");
    rename_or_fail("pics/train/tulip/was-rose.jpg", "pics/train/rose/rose-0003.jpg");
    program_free(&p);
}

static void ten_more_pictures_compute_ten(void **state) {
    (void)state;
    program p = {0};
    thaw_error err = {0};
    thaw_draw_options draw = {.root = "more",
                              .set = THAW_DRAW_SET_DEMO8,
                              .n_train = 2,
                              .n_test = 1,
                              .size = 64,
                              .seed = 8};
    assert_int_equal(thaw_draw_dataset(&draw, &err), THAW_OK);
    for (int i = 0; i < 10; i++) {
        static const char *const names[] = {"bellflower", "lily", "lupin", "pansy", "sunflower"};
        char from[64], to[64];
        const char *name = names[i / 2];
        snprintf(from, sizeof from, "more/train/%s/%s-%04d.jpg", name, name, i % 2);
        snprintf(to, sizeof to, "pics/train/%s/new-%d.jpg", name, i);
        rename_or_fail(from, to);
    }
    program_expect_ok(&p, TRAIN_LINE "--out=ten --epochs=2 --cache.dir=cache");
    expect_counts(&p, ALL, 10);
    assert_int_equal(number_in("ten/metrics.json", "cache.misses"), 10);
    program_free(&p);
    program_expect_ok(&p, TRAIN_LINE "--out=ten --epochs=2 --cache.dir=cache");
    expect_counts(&p, ALL + 10, 0);
    program_free(&p);
}

static void another_filter_computes_all_and_says_why(void **state) {
    (void)state;
    program p = {0};
    program_expect_ok(&p, "cache explain --model=m.onnx --image.filter=bicubic --cache.dir=cache");
    program_expect_text(&p, p.out, "filter: bilinear -> bicubic");
    program_free(&p);
    program_expect_ok(&p, TRAIN_LINE
                      "--out=filter --epochs=2 --cache.dir=cache "
                      "--image.filter=bicubic");
    expect_counts(&p, 0, ALL + 10);
    program_expect_text(&p, p.err, "filter: bilinear -> bicubic");
    program_free(&p);
    program_expect_ok(&p, "cache explain --model=m.onnx --image.filter=bicubic --cache.dir=cache");
    program_expect_text(&p, p.out, "these settings have a trunk in the cache");
    program_free(&p);
}

static void cache_commands(void **state) {
    (void)state;
    program p = {0};
    program_expect_ok(&p, "cache ls --cache.dir=cache");
    program_expect_text(&p, p.out, "m.onnx");
    program_expect_text(&p, p.out, "bicubic");
    program_expect_text(&p, p.out, "82");
    program_free(&p);
    program_expect_ok(&p, "cache verify --cache.dir=cache");
    program_expect_text(&p, p.out, "164 records of 2 trunks");
    program_free(&p);
    program_expect_ok(&p, "cache gc --cache.dir=cache");
    program_expect_text(&p, p.out, "0 trunks");
    program_free(&p);
    program_expect_ok(&p, "cache gc --cache.dir=cache --cache.keep=60K");
    program_expect_text(&p, p.out, "1 trunks");
    program_free(&p);
    program_expect_ok(&p, "cache gc --cache.dir=cache --cache.keep=0");
    program_expect_text(&p, p.out, "1 trunks");
    program_free(&p);
    assert_false(find_shard("cache", (char[PATH_MAX]){0}));
    program_expect_ok(&p, "cache ls --cache.dir=nowhere");
    program_expect_text(&p, p.out, "0.0 MB");
    program_free(&p);
}

static void two_runs_share_a_cache(void **state) {
    (void)state;
    program both[2] = {{0}, {0}};
    for (int i = 0; i < 2; i++)
        program_start(&both[i], TRAIN_LINE "--out=pair%d --epochs=2 --cache.dir=shared --batch=4",
                      i);
    for (int i = 0; i < 2; i++)
        program_wait(&both[i]);
    for (int i = 0; i < 2; i++) {
        if (both[i].code) fail_msg("run %d of two at once failed\n%s", i, both[i].err);
        program_free(&both[i]);
    }
    expect_equal_files("pair0/model.onnx", "pair1/model.onnx");
    program p = {0};
    program_expect_ok(&p, TRAIN_LINE "--out=pair2 --epochs=2 --cache.dir=shared");
    expect_counts(&p, ALL + 10, 0);
    program_free(&p);
    program_expect_ok(&p, "cache verify --cache.dir=shared");
    program_free(&p);
    expect_equal_files("pair0/model.onnx", "pair2/model.onnx");
}

/* ---- signals ------------------------------------------------------------------------------- */

/* Sends the signal once the cache holds this much; false when the program was faster. */
static bool signal_at(program *p, const char *cache, off_t bytes, int number) {
    for (int i = 0; i < 60000; i++) {
        if (!program_is_running(p)) return false;
        if (shard_bytes(cache) >= bytes) break;
        pause_ms(1);
    }
    kill(p->pid, number);
    return true;
}

static void kill_costs_one_record_at_most(void **state) {
    (void)state;
    static const off_t moments[] = {0, 64, 5000, 20000};
    unsigned hits, misses;
    for (size_t i = 0; i < sizeof moments / sizeof *moments; i++) {
        program p = {0};
        remove_tree("killed_cache");
        program_start(&p, TRAIN_LINE "--out=killed --epochs=2 --cache.dir=killed_cache --batch=2");
        bool killed = signal_at(&p, "killed_cache", moments[i], SIGKILL);
        program_wait(&p);
        if (killed) assert_int_equal(p.code, PROGRAM_KILLED + SIGKILL);
        assert_false(is_there("killed"));
        program_free(&p);
        off_t left = shard_bytes("killed_cache");
        program_expect_ok(&p, TRAIN_LINE "--out=killed --epochs=2 --cache.dir=killed_cache");
        counts_of(&p, &hits, &misses);
        /* A record has 64 bytes of header and 96 floats. */
        assert_int_equal(hits, left > 64 ? (left - 64) / (64 + 96 * 4) : 0);
        assert_int_equal(hits + misses, ALL + 10);
        if (moments[i] > 64) assert_true(hits > 0);
        assert_false(is_there("killed.partial"));
        program_free(&p);
        expect_equal_files("killed/model.onnx", "pair0/model.onnx");
        remove_tree("killed");
    }
}

static void an_interrupt_is_clean(void **state) {
    (void)state;
    program p = {0};
    unsigned hits, misses;
    program_start(&p, TRAIN_LINE "--out=stopped --cache.dir=stopped_cache --batch=2");
    assert_true(signal_at(&p, "stopped_cache", 1000, SIGINT));
    program_wait(&p);
    program_expect_text(&p, program_refusal(&p, 1), "stopped by a signal");
    program_free(&p);
    assert_false(is_there("stopped") || is_there("stopped.partial"));
    program_expect_ok(&p, TRAIN_LINE "--out=stopped --epochs=2 --cache.dir=stopped_cache");
    counts_of(&p, &hits, &misses);
    assert_true(hits > 0 && hits + misses == ALL + 10);
    program_free(&p);

    /* And while it trains. */
    program_start(&p, TRAIN_LINE "--out=long --epochs=100000 --cache.dir=stopped_cache");
    while (program_is_running(&p) && !is_there("long.partial/epochs.jsonl"))
        pause_ms(2);
    pause_ms(20);
    kill(p.pid, SIGTERM);
    program_wait(&p);
    program_expect_text(&p, program_refusal(&p, 1), "stopped");
    assert_false(is_there("long") || is_there("long.partial"));
    program_free(&p);
}

/* ---- damage -------------------------------------------------------------------------------- */

static void a_damaged_shard_is_healed_and_said(void **state) {
    (void)state;
    enum { STRIDE = 64 + 96 * 4 };
    char shard[PATH_MAX];
    program p = {0};
    program_expect_ok(&p, TRAIN_LINE "--out=whole --epochs=2 --cache.dir=hurt");
    program_free(&p);
    assert_true(find_shard("hurt", shard));
    flip(shard, 64 + 64 + 17);          /* A value of record 0. */
    flip(shard, 64 + 3 * STRIDE + 5);   /* The key of record 3. */
    flip(shard, 64 + 9 * STRIDE + 100); /* A value of record 9. */
    program_run(&p, "cache verify --cache.dir=hurt");
    program_expect_text(&p, program_refusal(&p, 1), "3 records are damaged");
    program_free(&p);
    program_expect_ok(&p, TRAIN_LINE "--out=healed --epochs=2 --cache.dir=hurt");
    expect_counts(&p, ALL + 10 - 3, 3);
    program_expect_text(&p, p.err, "3 damaged records");
    program_free(&p);
    expect_equal_files("whole/model.onnx", "healed/model.onnx");
    program_expect_ok(&p, TRAIN_LINE "--out=healed --epochs=2 --cache.dir=hurt");
    expect_counts(&p, ALL + 10, 0);
    program_free(&p);

    /* Ten bytes cut out of the middle shift all that follows; a cut end is a killed writer's. */
    size_t n;
    uint8_t *bytes = test_read(shard, &n);
    memmove(bytes + 30 * STRIDE, bytes + 30 * STRIDE + 10, n - 30 * STRIDE - 10);
    write_bytes(shard, bytes, n - 10 - 5 * STRIDE);
    free(bytes);
    program_expect_ok(&p, TRAIN_LINE "--out=healed --epochs=2 --cache.dir=hurt");
    unsigned hits, misses;
    counts_of(&p, &hits, &misses);
    assert_true(hits >= 25 && misses > 40 && hits + misses == ALL + 10);
    program_expect_text(&p, p.err, "damaged records");
    program_free(&p);
    expect_equal_files("whole/model.onnx", "healed/model.onnx");
    program_expect_ok(&p, TRAIN_LINE "--out=healed --epochs=2 --cache.dir=hurt");
    expect_counts(&p, ALL + 10, 0);
    program_free(&p);
}

static void an_old_cache_format_is_left_alone(void **state) {
    (void)state;
    char shard[PATH_MAX];
    program p = {0};
    remove_tree("hurt");
    program_expect_ok(&p, TRAIN_LINE "--out=old --epochs=2 --cache.dir=hurt");
    program_free(&p);
    assert_true(find_shard("hurt", shard));
    size_t n;
    uint8_t *bytes = test_read(shard, &n);
    bytes[8] = 0; /* The version. With any record of this version it would count as damage. */
    memset(bytes + 64, 0x55, n - 64);
    write_bytes(shard, bytes, n);
    free(bytes);
    program_expect_ok(&p, TRAIN_LINE "--out=old --epochs=2 --cache.dir=hurt");
    expect_counts(&p, 0, ALL + 10);
    program_expect_text(&p, p.err, "another format");
    program_expect_text(&p, p.err, "thaw cache gc");
    program_free(&p);
    assert_true(is_there(shard));
    expect_equal_files("whole/model.onnx", "old/model.onnx");
    program_run(&p, "cache verify --cache.dir=hurt");
    program_expect_text(&p, program_refusal(&p, 1), "1 shards have another format");
    program_free(&p);
    program_expect_ok(&p, "cache gc --cache.dir=hurt");
    program_free(&p);
    assert_false(is_there(shard));
    program_expect_ok(&p, "cache verify --cache.dir=hurt");
    program_free(&p);
    program_expect_ok(&p, TRAIN_LINE "--out=old --epochs=2 --cache.dir=hurt");
    expect_counts(&p, ALL + 10, 0);
    program_free(&p);
}

static void bytes_of_a_bundle_are_watched(void **state) {
    (void)state;
    program p = {0};
    copy_file("run1/model.onnx", "saved");
    flip("run1/model.onnx", 20000);
    program_run(&p, "predict run1 pics/test/rose/rose-0000.jpg");
    program_expect_text(&p, program_refusal(&p, 1), "run1/model.onnx");
    program_free(&p);
    unlink("run1/model.onnx");
    program_run(&p, "eval run1 pics/test --cache.dir=hurt");
    program_expect_text(&p, program_refusal(&p, 1), "run1/model.onnx");
    program_free(&p);
    rename_or_fail("saved", "run1/model.onnx");

    copy_file("run1/golden/1.jpg", "saved");
    copy_file("run1/golden/0.jpg", "run1/golden/1.jpg");
    program_run(&p, "predict run1 pics/test/rose/rose-0000.jpg");
    program_expect_text(&p, program_refusal(&p, 1), "golden/1.jpg");
    program_free(&p);
    rename_or_fail("saved", "run1/golden/1.jpg");

    program_expect_ok(&p, "predict run1 pics/test/rose/rose-0000.jpg");
    program_free(&p);
}

/* Replaces the first `from` in bundle.json, of the same length or not. */
static void edit_bundle(const char *from, const char *to) {
    size_t n;
    char *text = (char *)test_read("run1/bundle.json", &n), *at;
    text[n] = '\0';
    if (!(at = strstr(text, from))) fail_msg("bundle.json has no %s", from);
    FILE *file = fopen("run1/bundle.json", "wb");
    assert_non_null(file);
    fprintf(file, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    fclose(file);
    free(text);
}

static void edits_of_bundle_json_are_noticed(void **state) {
    (void)state;
    static const struct {
        const char *from, *to, *said;
    } edits[] = {
        {"\"width\": 96", "\"width\": 95", "run1"},
        {"\"width\": 96", "\"width\": -96", "preprocessing"},
        {"\"order\": \"rgb\"", "\"order\": \"bgr\"", "golden"},
        {"\"order\": \"rgb\"", "\"order\": \"xyz\"", "preprocessing"},
        {"\"filter\": \"bilinear\"", "\"filter\": 7", "preprocessing"},
        {"\"format\": 1", "\"format\": 2", "format"},
        {"\"bellflower\",", "", "7 labels"},
        {"\"bellflower\"", "\"lily\"", "labels"},
        {"\"bellflower\"", "7", "label 0"},
        {"golden/0.jpg", "../run1/golden/0.jpg", "golden picture 0"},
        {"golden/0.jpg", "/etc/passwd", "golden picture 0"},
        {"golden/0.jpg", "golden/9.jpg", "golden/9.jpg"},
        {"\"golden\": [", "\"gold\": [", "golden"},
        {"\"model_hash\": \"", "\"model_hash\": \"0", "run1/model.onnx"},
        {"{", "", "bundle.json"},
    };
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        program p = {0};
        copy_file("run1/bundle.json", "saved");
        edit_bundle(edits[i].from, edits[i].to);
        program_run(&p, "predict run1 pics/test/rose/rose-0000.jpg");
        if (p.code == 0) fail_msg("%s -> %s passed", edits[i].from, edits[i].to);
        program_expect_text(&p, program_refusal(&p, 1), edits[i].said);
        assert_string_equal(p.out, "");
        program_free(&p);
        rename_or_fail("saved", "run1/bundle.json");
    }
}

/* ---- bad pictures among good ones ---------------------------------------------------------- */

static void bad_pictures_are_set_aside(void **state) {
    (void)state;
    program p = {0};
    size_t n;
    uint8_t *bytes = test_read("pics/train/rose/rose-0000.jpg", &n);
    write_bytes("pics/train/rose/cut, in half.jpg", bytes, n / 2);
    free(bytes);
    write_bytes("pics/train/lily/garbage.png", "this is no picture", 18);
    write_bytes("pics/test/lily/empty.jpg", "", 0);
    program_expect_ok(&p, TRAIN_LINE "--out=bad --epochs=2 --cache.dir=hurt --data.max_bad=3");
    expect_counts(&p, ALL + 10, 0);
    program_expect_text(&p, p.err, "3 pictures rejected");
    program_free(&p);
    assert_int_equal(number_in("bad/metrics.json", "images.rejected"), 3);
    copy_file("bad/rejected.csv", "rejected.csv");
    char *table = program_stream("rejected.csv"), *rows[4] = {NULL};
    int n_rows = 0;
    for (char *row = table; *row && n_rows < 4; n_rows++) {
        rows[n_rows] = row;
        char *end = strstr(row, "\r\n");
        assert_non_null(end);
        *end = '\0';
        row = end + 2;
    }
    assert_int_equal(n_rows, 4);
    assert_string_equal(rows[0], "path,reason");
    static const char *const names[] = {"pics/train/lily/garbage.png,",
                                        "\"pics/train/rose/cut, in half.jpg\",",
                                        "pics/test/lily/empty.jpg,"};
    for (int i = 0; i < 3; i++) {
        if (strncmp(rows[i + 1], names[i], strlen(names[i])) != 0)
            fail_msg("row %d: %s, expected %s...", i, rows[i + 1], names[i]);
        assert_true(strlen(rows[i + 1]) > strlen(names[i]) + 5);
    }
    free(table);

    program_run(&p, TRAIN_LINE "--out=bad2 --epochs=2 --cache.dir=hurt --data.max_bad=2");
    const char *said = program_refusal(&p, 1);
    program_expect_text(&p, said, "3 of 85 pictures");
    program_expect_text(&p, said, "data.max_bad");
    program_expect_text(&p, said, "bad2.partial/rejected.csv");
    assert_false(is_there("bad2") || is_there("bad2.partial/bundle.json"));
    assert_true(is_there("bad2.partial/rejected.csv"));
    program_free(&p);
}

static int open_place(void **state) {
    *state = &place;
    place = program_place(TRAIN, TEST);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_leaves_what_it_should),
        cmocka_unit_test(the_configuration_of_a_run_repeats_it),
        cmocka_unit_test(eval_says_what_the_run_said),
        cmocka_unit_test(the_same_run_gives_the_same_bits),
        cmocka_unit_test(auto_is_the_default_however_it_is_written),
        cmocka_unit_test(an_older_run_is_kept),
        cmocka_unit_test(what_others_wrote_survives),
        cmocka_unit_test(relabelling_computes_nothing),
        cmocka_unit_test(ten_more_pictures_compute_ten),
        cmocka_unit_test(another_filter_computes_all_and_says_why),
        cmocka_unit_test(cache_commands),
        cmocka_unit_test(two_runs_share_a_cache),
        cmocka_unit_test(kill_costs_one_record_at_most),
        cmocka_unit_test(an_interrupt_is_clean),
        cmocka_unit_test(a_damaged_shard_is_healed_and_said),
        cmocka_unit_test(an_old_cache_format_is_left_alone),
        cmocka_unit_test(bytes_of_a_bundle_are_watched),
        cmocka_unit_test(edits_of_bundle_json_are_noticed),
        cmocka_unit_test(bad_pictures_are_set_aside),
    };
    return cmocka_run_group_tests(tests, open_place, program_close);
}
