/* The benchmark of freeze depths: its figures are those of its trainings, it goes on where it was stopped,
 * says the same twice, and compares nothing that cannot be compared. */
#include <math.h>
#include <string.h>

#include "program.h"

enum { CLASSES = 8, TRAIN = 6, TEST = 3, ALL = CLASSES * (TRAIN + TEST) };

static tempdir place;

#define FREEZE_LINE                                                               \
    "bench freeze --data.train=pics --model=m.onnx --cache.dir=cache --epochs=3 " \
    "--top.epochs=1 --top.batch=16 "

static const json_t *depth_at(const json_t *freeze, size_t i) {
    return json_array_get(json_object_get(freeze, "depths"), i);
}

static const char *text_at(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* The mean over a depth's runs of a figure that their own metrics have. */
static double mean_of(const char *out, const char *runs, int n, const char *figure) {
    double sum = 0;
    for (int i = 1; i <= n; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/runs/%s%d/metrics.json", out, runs, i);
        sum += number_in(path, figure);
    }
    return sum / n;
}

/* Without what depends on the machine and the hour. */
static char *without_times(const char *path) {
    json_t *json = load(path), *depth;
    size_t i;
    json_array_foreach(json_object_get(json, "depths"), i, depth) {
        static const char *const times[] = {"seconds", "images_per_second", "peak_bytes"};
        for (size_t k = 0; k < sizeof times / sizeof *times; k++)
            json_object_del(depth, times[k]);
        size_t r;
        json_t *one;
        json_array_foreach(json_object_get(depth, "runs"), r, one)
            json_object_del(one, "train_seconds");
        json_array_foreach(json_object_get(depth, "epochs"), r, one)
            json_object_del(one, "seconds");
    }
    json_object_del(json_object_get(json, "recommendation"), "text");
    char *text = json_dumps(json, JSON_INDENT(1));
    json_decref(json);
    return text;
}

static void depths_are_measured(void **state) {
    (void)state;
    program p = {0};
    program_expect_ok(&p, FREEZE_LINE
                      "--out=fz --seeds=2 --cuts=stage3 --report.instance=ml.g5.xlarge --freeze=4");
    program_expect_text(&p, p.out, "frozen up to");
    program_expect_text(&p, p.err, "freeze has no part in bench freeze");
    program_expect_text(&p, p.err, "stage3, training 2 of 2");
    program_free(&p);
    json_t *json = load("fz/freeze.json");
    assert_int_equal(json_array_size(json_object_get(json, "depths")), 2);
    static const char *const names[] = {"last", "stage3"}, *const runs[] = {"cut12-seed",
                                                                            "cut9-seed"};
    for (size_t i = 0; i < 2; i++) {
        const json_t *depth = depth_at(json, i);
        assert_string_equal(text_at(depth, "cut"), names[i]);
        assert_float_equal(number_at(depth, "top1"), mean_of("fz", runs[i], 2, "top1"), 1e-9);
        assert_float_equal(number_at(depth, "balanced_accuracy"),
                           mean_of("fz", runs[i], 2, "balanced_accuracy"), 1e-9);
        assert_true(number_at(depth, "seconds.train") > 0 &&
                    number_at(depth, "seconds.extract") > 0);
        double hours = number_at(depth, "seconds.total") / 3600;
        assert_float_equal(number_at(depth, "cost"), hours * 1.408, 1e-9);
        assert_true(number_at(depth, "peak_bytes") > 1 << 20);
    }
    /* 96 features to 8 classes; above stage3 the last two convolutions and their shortcut besides. */
    assert_true(number_at(depth_at(json, 0), "trained_parameters") == 97 * CLASSES);
    assert_true(number_at(depth_at(json, 1), "trained_parameters") > 100000);
    assert_true(number_at(depth_at(json, 0), "cache_bytes") == 64 + 96 * 4);
    const char *chosen = text_at(json_object_get(json, "recommendation"), "cut");
    const json_t *other = depth_at(json, strcmp(chosen, "last") == 0);
    assert_string_equal(text_at(json_object_get(other, "difference"), "against"), chosen);
    assert_float_equal(
        number_at(other, "difference.top1"),
        number_at(other, "top1") - number_at(depth_at(json, strcmp(chosen, "last") != 0), "top1"),
        1e-9);
    json_decref(json);
    assert_true(is_there("fz/report.html") && is_there("fz/freeze.csv"));
    assert_true(is_there("fz/runs/cut9-seed1/model.onnx"));
    assert_false(is_there("fz/runs/cut9-seed2/model.onnx"));

    /* What a deeper cut needs came from the shallower one, not from pixels. */
    assert_true(number_in("fz/runs/cut12-seed1/metrics.json", "cache.derived") == ALL);
    assert_true(number_in("fz/runs/cut9-seed1/metrics.json", "cache.hits") == ALL);

    /* A depth is what thaw train makes of it. */
    program_expect_ok(&p,
                      "train --data.train=pics --model=m.onnx --cache.dir=cache --epochs=3 "
                      "--top.epochs=1 --top.batch=16 --freeze=stage3 --out=alone");
    program_free(&p);
    size_t n, m;
    uint8_t *a = test_read("alone/model.onnx", &n),
            *b = test_read("fz/runs/cut9-seed1/model.onnx", &m);
    assert_int_equal(n, m);
    assert_memory_equal(a, b, n);
    free(a);
    free(b);
}

/* What is finished is not done again, and what comes out is the same. */
static void it_goes_on(void **state) {
    (void)state;
    program p = {0};
    char *before = without_times("fz/freeze.json");
    assert_int_equal(system("rm -r fz/runs/cut9-seed2"), 0);
    program_expect_ok(
        &p, FREEZE_LINE "--out=fz --seeds=2 --cuts=stage3 --report.instance=ml.g5.xlarge");
    program_expect_text(&p, p.err, "stage3, training 2 of 2");
    assert_null(strstr(p.err, "training 1 of 2"));
    assert_null(strstr(p.err, "last, training"));
    program_free(&p);
    char *after = without_times("fz/freeze.json");
    if (!strstr(before, "\"cost\"")) fail_msg("no cost");
    /* Costs go by the seconds. */
    for (char *text = before; (text = strstr(text, "\"cost\"")); text++)
        memset(text, ' ', strcspn(text, "\n"));
    for (char *text = after; (text = strstr(text, "\"cost\"")); text++)
        memset(text, ' ', strcspn(text, "\n"));
    const char *a = before, *b = after;
    for (; *a || *b; a += *a != 0, b += *b != 0) {
        a += strspn(a, " \n");
        b += strspn(b, " \n");
        if (*a != *b) fail_msg("%.60s | %.60s", a, b);
    }
    free(before);
    free(after);

    program_run(&p, FREEZE_LINE "--out=fz --seeds=2 --cuts=stage3 --top.lr=0.5");
    program_expect_text(&p, program_refusal(&p, 2), "holds a benchmark with other options");
    program_expect_text(&p, p.err, "lr = 0.5");
    program_free(&p);
}

/* Time that is over leaves depths out, with words; those that are there stay. */
static void minutes_are_kept(void **state) {
    (void)state;
    program p = {0};
    program_expect_ok(&p, FREEZE_LINE "--out=fz --seeds=2 --cuts=stage3,stage2 --minutes=0.0001");
    program_expect_text(&p, p.err, "stage2 is left out");
    program_free(&p);
    json_t *json = load("fz/freeze.json"), *out = json_object_get(json, "left_out");
    assert_int_equal(json_array_size(json_object_get(json, "depths")), 2);
    assert_int_equal(json_array_size(out), 1);
    assert_string_equal(text_at(json_array_get(out, 0), "cut"), "stage2");
    assert_non_null(strstr(text_at(json_array_get(out, 0), "reason"), "bench.minutes"));
    json_decref(json);
}

/* Each picture is tested on once. */
static void folds_cross_validate(void **state) {
    (void)state;
    program p = {0};
    program_expect_ok(&p, FREEZE_LINE "--out=folds --folds=3 --cuts=stage3");
    program_free(&p);
    json_t *json = load("folds/freeze.json");
    assert_true(number_at(json, "folds") == 3);
    double right = 0, n = 0;
    for (int fold = 1; fold <= 3; fold++) {
        char path[128];
        snprintf(path, sizeof path, "folds/runs/cut9-fold%d/metrics.json", fold);
        double some = number_in(path, "images.test");
        right += some * number_in(path, "top1");
        n += some;
    }
    assert_true(n == ALL);
    assert_float_equal(number_at(depth_at(json, 1), "top1"), right / ALL, 1e-9);
    json_decref(json);
}

/* Stopped in a training: it and the benchmark go on. */
static void a_signal_loses_nothing(void **state) {
    (void)state;
    program p = {0};
    program_start(&p, FREEZE_LINE "--out=stopped --seeds=1 --cuts=stage1 --top.epochs=400");
    for (int i = 0; i < 6000 && !is_there("stopped/runs/cut5-seed1.log"); i++)
        usleep(10000);
    usleep(300000);
    kill(p.pid, SIGTERM);
    program_wait(&p);
    program_expect_text(&p, program_refusal(&p, 1), "what is finished stays in stopped");
    assert_true(is_there("stopped/runs/cut12-seed1/process.json"));
    assert_false(is_there("stopped/runs/cut5-seed1/process.json"));
    program_free(&p);
}

static void what_cannot_be_compared(void **state) {
    (void)state;
    static const struct {
        const char *words, *said;
    } cases[] = {
        {"--folds=1", "two at least"},
        {"--cuts=stag3", "did you mean"},
        {"--report.instance=ml.g5.xlarg", "did you mean ml.g5.xlarge?"},
        {"--recipe=head", "trains nothing above a cut"},
        {"--init=random", "bench.scratch adds"},
        {"--cache.dir=none", "the depths share"},
        {"--data.fold=2/5", "bench.folds = 5 takes each fold"},
        {"--json", "does nothing in thaw bench freeze"},
    };
    program p = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        program_run(&p, FREEZE_LINE "--out=no %s", cases[i].words);
        program_expect_text(&p, program_refusal(&p, 2), cases[i].said);
        program_free(&p);
    }
    assert_false(is_there("no/freeze.json"));
    program_expect_ok(&p, "bench freeze --help");
    program_expect_text(&p, p.out, "bench.cuts");
    program_free(&p);
}

static int open_place(void **state) {
    *state = &place;
    place = program_place(TRAIN, TEST);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(depths_are_measured),    cmocka_unit_test(it_goes_on),
        cmocka_unit_test(minutes_are_kept),       cmocka_unit_test(folds_cross_validate),
        cmocka_unit_test(a_signal_loses_nothing), cmocka_unit_test(what_cannot_be_compared),
    };
    return cmocka_run_group_tests(tests, open_place, program_close);
}
