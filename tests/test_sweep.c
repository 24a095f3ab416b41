/* A sweep: its axes, its points, what it writes, that its best trial is what thaw train makes of best.ini,
 * and the sentence that each mistake gets. */
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
//
#include <cmocka.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "options/options.h"
#include "program.h"
#include "run/points.h"
#include "text.h"

#define DATA "--model=m.onnx --data.train=pics "
#define QUICK DATA "--epochs=9 --threads=2 "

/* ---- axes ----------------------------------------------------------------------------------- */

static thaw_options options;
static thaw_arena arena;

static int open_options(void **state) {
    (void)state;
    assert_int_equal(thaw_options_init(&options, NULL), THAW_OK);
    options.axes.allowed = true;
    return 0;
}

static int close_options(void **state) {
    (void)state;
    thaw_options_free(&options);
    thaw_arena_free(&arena);
    return 0;
}

static void set(const char *key, const char *text, const char *source) {
    thaw_error err;
    if (thaw_options_set(&options, key, text, source, &err) != THAW_OK) fail_msg("%s", err.text);
}

static void reads_axes(void **state) {
    (void)state;
    set("lr", "1e-4..1e-1", "train.ini:3"); /* By its alias. */
    set("head.weight_decay", "0..0.5", "train.ini:4");
    set("head.dropout", "0.1..0.5", "train.ini:5");
    set("epochs", "10..40", "train.ini:6");
    set("head.optimizer", "sgd, adamw", "train.ini:7");
    set("data.train", "../a,b", "train.ini:8"); /* A path, whatever is in it. */
    assert_int_equal(options.axes.n, 5);
    const thaw_sweep_axis *a = options.axes.axis;
    assert_string_equal(a[0].key, "head.lr");
    assert_int_equal(a[0].kind, THAW_AXIS_LOG);
    assert_true(a[0].low == 1e-4 && a[0].high == 0.1 && !a[0].integer);
    assert_int_equal(a[1].kind, THAW_AXIS_LINEAR); /* From 0 on nothing is a factor. */
    assert_int_equal(a[2].kind, THAW_AXIS_LINEAR); /* A share. */
    assert_true(a[3].kind == THAW_AXIS_LOG && a[3].integer);
    assert_true(a[4].kind == THAW_AXIS_CHOICE && a[4].n_choices == 2);
    assert_string_equal(a[4].choices[1], "adamw");
    assert_true(thaw_is_auto(options.head.lr)); /* The option itself is as it was. */
    set("head.lr", "0.5", "command line");      /* The command line wins, both ways. */
    set("epochs", "5,6", "command line");
    assert_int_equal(options.axes.n, 4);
    assert_true(options.head.lr == 0.5 && a[3].kind == THAW_AXIS_CHOICE);
}

static void values_of_axes(void **state) {
    (void)state;
    static const struct {
        const char *key, *text;
        double u;
        const char *value;
    } cases[] = {
        {"head.lr", "1e-4..1e-2", 0, "0.0001"},
        {"head.lr", "1e-4..1e-2", 0.5, "0.001"},
        {"head.weight_decay", "0..0.5", 0.5, "0.25"},
        {"head.patience", "1..3", 0.3, "1"},
        {"head.patience", "1..3", 0.4, "2"},
        {"head.patience", "1..3", 0.999, "3"},
        {"epochs", "10..1000", 0.5, "100"},
        {"head.schedule", "step,cosine,constant", 0.34, "cosine"},
        {"head.schedule", "step,cosine,constant", 0.999, "constant"},
        {"head.dropout", "0.123456..0.123457", 0.5, "0.1234565"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        set(cases[i].key, cases[i].text, "here");
        const thaw_sweep_axis *axis = &options.axes.axis[options.axes.n - 1];
        assert_string_equal(thaw_axis_at(axis, cases[i].u, &arena), cases[i].value);
        thaw__axes_drop(&options.axes, cases[i].key);
    }
}

static thaw_points draw(size_t n, uint64_t seed) {
    thaw_points points;
    thaw_error err;
    if (thaw_points_draw(&options.axes, n, seed, &arena, &points, &err)) fail_msg("%s", err.text);
    return points;
}

/* 64 points: in each of 8 shares of each axis, and in each quarter of each pair, about as many. */
static void points_fill_the_box(void **state) {
    (void)state;
    set("head.lr", "1e-4..1", "here");
    set("head.dropout", "0..0.8", "here");
    set("head.label_smoothing", "0..0.8", "here");
    for (uint64_t seed = 1; seed <= 5; seed++) {
        thaw_points points = draw(0, seed);
        int share[3][8] = {{0}}, quarter[3][4] = {{0}};
        assert_int_equal(points.n, 64);
        for (size_t i = 0; i < points.n; i++) {
            double v[3];
            for (int a = 0; a < 3; a++)
                assert_true(thaw_text_number(points.values[3 * i + a], &v[a]));
            v[0] = log10(v[0]) / 4 + 1;
            v[1] /= 0.8, v[2] /= 0.8;
            for (int a = 0; a < 3; a++) {
                share[a][(int)fmin(v[a] * 8, 7)]++;
                quarter[a][(v[a] >= 0.5) + 2 * (v[(a + 1) % 3] >= 0.5)]++;
            }
        }
        for (int a = 0; a < 3; a++)
            for (int k = 0; k < 8; k++) {
                assert_in_range(share[a][k], 5, 11);
                assert_in_range(quarter[a][k % 4], 10, 22);
            }
    }
    thaw_points one = draw(5, 1), same = draw(5, 1), other = draw(5, 2);
    assert_string_equal(one.values[0], same.values[0]);
    assert_string_not_equal(one.values[0], other.values[0]);
}

/* Lists alone: all points in order, or some of them; never one twice. */
static void points_of_lists(void **state) {
    (void)state;
    set("head.optimizer", "sgd,adamw", "here");
    set("head.weight_decay", "0,1e-4,1e-2", "here");
    thaw_points all = draw(0, 1);
    assert_int_equal(all.n, 6);
    assert_string_equal(all.values[0], "sgd");
    assert_string_equal(all.values[3], "1e-4");
    assert_string_equal(all.values[10], "adamw");
    assert_string_equal(all.values[11], "1e-2");
    thaw_points some = draw(4, 1);
    for (size_t i = 0; i < 4; i++)
        for (size_t j = 0; j < i; j++)
            assert_true(strcmp(some.values[2 * i], some.values[2 * j]) ||
                        strcmp(some.values[2 * i + 1], some.values[2 * j + 1]));
    set("head.patience", "1..3", "here"); /* A range of integers has an end, too. */
    assert_int_equal(draw(18, 1).n, 18);
    thaw_points points;
    thaw_error err;
    assert_int_equal(thaw_points_draw(&options.axes, 19, 1, &arena, &points, &err), THAW_ERR_USAGE);
    assert_non_null(strstr(err.text, "18 different points"));
}

/* ---- the program ---------------------------------------------------------------------------- */

static json_t *trial_at(const json_t *json, size_t id) {
    return json_array_get(json_object_get(json, "trials"), id - 1);
}

/* The best is the best of those that came to their end. */
static size_t check_best(const json_t *json) {
    const json_t *trials = json_object_get(json, "trials");
    size_t best = (size_t)number_at(json, "best");
    for (size_t id = 1; id <= json_array_size(trials); id++) {
        const json_t *one = trial_at(json, id), *chosen = trial_at(json, best);
        bool ended = json_is_number(json_object_get(one, "validation_loss")) &&
                     json_is_false(json_object_get(one, "stopped"));
        if (!ended) continue;
        double top1 = number_at(one, "validation_top1"),
               most = number_at(chosen, "validation_top1");
        assert_true(top1 <= most);
        if (top1 == most)
            assert_true(number_at(one, "validation_loss") >= number_at(chosen, "validation_loss"));
    }
    assert_false(json_is_true(json_object_get(trial_at(json, best), "stopped")));
    return best;
}

/* The figures of the best trial are those of thaw train with best.ini, to the last digit. */
static void check_repeats(const char *sweep, const char *run) {
    char path[128];
    program p = {0};
    snprintf(path, sizeof path, "%s/sweep.json", sweep);
    json_t *json = load(path);
    const json_t *best = trial_at(json, check_best(json));
    program_expect_ok(&p, "train %s/best.ini", sweep);
    program_free(&p);
    snprintf(path, sizeof path, "%s/metrics.json", run);
    assert_true(number_in(path, "splits.test.loss") == number_at(json, "test.loss"));
    assert_true(number_in(path, "splits.test.top1") == number_at(json, "test.top1"));
    snprintf(path, sizeof path, "%s/epochs.jsonl", run);
    size_t n;
    char *lines = (char *)test_read(path, &n), expected[64];
    snprintf(expected, sizeof expected, "\"validation_loss\":%.9g",
             number_at(best, "validation_loss"));
    assert_non_null(strstr(lines, expected));
    free(lines);
    json_decref(json);
}

static void heads_at_once(void **state) {
    (void)state;
    program p = {0};
    program_expect_ok(&p, "sweep " QUICK
                          "--out=a --head.lr=1e-4..1e-1 --head.weight_decay=0,1e-4,1e-2 "
                          "--head.optimizer=sgd,adamw --trials=20 --seed=3");
    program_expect_text(&p, p.err, "20 heads are trained at once");
    program_expect_text(&p, p.out, "thaw train a.sweep/best.ini");
    program_free(&p);
    json_t *json = load("a.sweep/sweep.json");
    assert_int_equal(json_array_size(json_object_get(json, "trials")), 20);
    assert_true(json_is_true(json_object_get(json, "complete")));
    int epochs[10] = {0}, stopped = 0;
    for (size_t id = 1; id <= 20; id++) {
        epochs[(int)number_at(trial_at(json, id), "epochs")]++;
        stopped += json_is_true(json_object_get(trial_at(json, id), "stopped"));
    }
    assert_true(epochs[1] == 13 && epochs[3] == 4 && epochs[9] == 3 && stopped == 17);
    json_decref(json);
    check_repeats("a.sweep", "a");
    /* Again, and with other threads: the same but for the time. */
    program_expect_ok(&p, "sweep " DATA
                          "--epochs=9 --threads=1 --out=b --head.lr=1e-4..1e-1 "
                          "--head.weight_decay=0,1e-4,1e-2 --head.optimizer=sgd,adamw --trials=20 "
                          "--seed=3");
    program_free(&p);
    expect_equal_files("a.sweep/sweep.csv", "b.sweep/sweep.csv");
}

/* All of it from the ini file, to the end, into a folder of its own, which holds an older sweep. */
static void from_a_file(void **state) {
    (void)state;
    static const char ini[] =
        "model = m.onnx\nout = c\nepochs = 4\n[data]\ntrain = pics\n[head]\nlr = 0.001, 0.01, 0.1\n"
        "weight_decay = 0.5\n[sweep]\nhalving = 1\nout = mine\n";
    program p = {0};
    write_bytes("sweep.ini", ini, sizeof ini - 1);
    for (int again = 0; again < 2; again++) {
        program_expect_ok(&p, "sweep sweep.ini --head.weight_decay=0.25");
        program_free(&p);
    }
    assert_true(is_there("mine/best.ini") && is_there("mine~/best.ini"));
    json_t *json = load("mine/sweep.json");
    assert_int_equal(json_array_size(json_object_get(json, "trials")), 3);
    for (size_t id = 1; id <= 3; id++)
        assert_true(number_at(trial_at(json, id), "epochs") == 4);
    json_decref(json);
    check_repeats("mine", "c");
    program_run(&p, "train sweep.ini"); /* Elsewhere a value stays one value. */
    program_expect_text(&p, program_refusal(&p, 2), "sweep.ini:7: head.lr = '0.001, 0.01, 0.1'");
    program_free(&p);
}

/* Groups by batch, kinds that are trained alone, and cuts with what lies above them. */
static void one_after_another(void **state) {
    (void)state;
    program p = {0};
    program_expect_ok(
        &p, "sweep " QUICK "--out=d --head.kind=linear,hidden --head.hidden=8 --head.batch=16,64");
    program_expect_text(&p, p.err, "1 heads are trained at once");
    program_free(&p);
    check_repeats("d.sweep", "d");
    program_expect_ok(
        &p, "sweep " DATA "--epochs=3 --out=e --freeze=last,stage3 --recipe=auto --seed=1,2");
    program_free(&p);
    json_t *json = load("e.sweep/sweep.json");
    for (size_t id = 1; id <= 4; id++)
        assert_true(number_at(trial_at(json, id), "epochs") > 0);
    json_decref(json);
    check_repeats("e.sweep", "e");
}

/* A rate that is far too high is a bad trial; when all are bad, there is nothing to choose. */
static void bad_trials(void **state) {
    (void)state;
    program p = {0};
    program_expect_ok(&p, "sweep " QUICK
                          "--out=f --head.lr=0.01,100 --head.weight_decay=100 "
                          "--head.kind=linear,hidden --head.schedule=constant");
    program_free(&p);
    json_t *json = load("f.sweep/sweep.json");
    int failed = 0;
    for (size_t id = 1; id <= 4; id++)
        failed += json_object_get(trial_at(json, id), "error") != NULL;
    assert_in_range(failed, 1, 3);
    json_decref(json);
    program_run(&p, "sweep " QUICK "--out=g --head.lr=99,100 --head.weight_decay=100");
    program_expect_text(&p, program_refusal(&p, 2), "no trial came to a result");
    program_free(&p);
    assert_true(!is_there("g.sweep") && !is_there("g.sweep.partial"));
}

static void stop_when(program *p, const char *said) {
    for (int ms = 0; ms < 60000 && program_is_running(p); ms += 20) {
        size_t n;
        char *text = (char *)test_read(p->err_path, &n);
        text[n] = '\0';
        bool there = strstr(text, said);
        free(text);
        if (there) break;
        pause_ms(20);
    }
    kill(p->pid, SIGINT);
    program_wait(p);
}

/* Ctrl-C: what came to an end is written; without any of that, nothing is. */
static void is_stopped(void **state) {
    (void)state;
    program p = {0};
    program_start(&p, "sweep " DATA "--out=h --head.lr=0.01,0.02 --epochs=100000");
    stop_when(&p, "trained at once");
    program_expect_text(&p, program_refusal(&p, 1), "stopped");
    program_free(&p);
    assert_true(!is_there("h.sweep") && !is_there("h.sweep.partial"));
    program_start(&p, "sweep " DATA "--out=h --head.kind=hidden --epochs=2,100000");
    stop_when(&p, "is kept");
    program_expect_text(&p, program_refusal(&p, 1), "stopped");
    program_expect_text(&p, p.out, "stopped before the end");
    program_free(&p);
    json_t *json = load("h.sweep/sweep.json");
    assert_true(json_is_false(json_object_get(json, "complete")));
    assert_true(number_at(json, "best") == 1);
    assert_true(json_is_null(json_object_get(trial_at(json, 2), "validation_loss")));
    json_decref(json);
    check_repeats("h.sweep", "h");
}

/* A setting that cannot be: what was tried before it is there. */
static void fails_late(void **state) {
    (void)state;
    program p = {0};
    program_run(&p, "sweep " DATA "--epochs=2 --out=k --freeze=last,nowhere --head.lr=0.01,0.02");
    program_expect_text(&p, program_refusal(&p, 2), "nowhere");
    program_free(&p);
    json_t *json = load("k.sweep/sweep.json");
    assert_true(json_is_false(json_object_get(json, "complete")));
    assert_in_range(number_at(json, "best"), 1, 2);
    json_decref(json);
    check_repeats("k.sweep", "k");
}

static void refusals(void **state) {
    (void)state;
    static const struct {
        const char *flags;
        int code;
        const char *said;
    } cases[] = {
        {"", 2, "nothing to sweep"},
        {"--head.optimizer=sgd..adamw", 2, "has no order"},
        {"--freeze=1..3", 2, "has no order"},
        {"--head.lr=0.1..0.1", 2, "the range is empty"},
        {"--head.lr=0.1..0.01", 2, "the range is empty"},
        {"--head.lr=0.1..", 2, "'' is not legal: expected auto or a number"},
        {"--head.lr=auto..1", 2, "the ends of a range are numbers"},
        {"--head.lr=0.1..1000", 2, "'1000' is not legal"},
        {"--epochs=1.5..3", 2, "'1.5' is not legal: expected auto or an integer"},
        {"--head.lr=0.1,fast", 2, "'fast' is not legal"},
        {"--head.lr=0.1,,0.2", 2, "a value of the list is missing"},
        {"--head.lr=0.1,0.2,0.1", 2, "stands in the list twice"},
        {"--head.lr=0.1,0.2 --lr=0.3,0.4", 2, "the axis is given twice"},
        {"--threads=1,2", 2, "cannot be swept"},
        {"--device=cpu,cuda", 2, "cannot be swept"},
        {"--head.tf32=true,false", 2, "cannot be swept"},
        {"--cache.memory=1G,2G", 2, "cannot be swept"},
        {"--head.keep_old=true,false", 2, "cannot be swept"},
        {"--head.lr=0.1,0.2 --trials=3", 2, "the axes have 2 different points"},
        {"--head.lr=0.1,0.2 --trials=0", 2, "expected auto or an integer from 1"},
        {"--head.lr=0.1,0.2 --data.validation=0", 1, "chooses by validation pictures"},
        {"--head.lr=0.1,0.2 --head.solver=lbfgs", 2, "has no part in head.solver = lbfgs"},
        {"--top.lr=0.1,0.2", 2, "top.lr has no part where only the head is trained"},
        {"--head.lr=0.1,0.2 --sweep.out=pics", 2, "something else than a run of Thaw"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        program p = {0};
        program_run(&p, "sweep " QUICK "--out=r%s%s", *cases[i].flags ? " " : "", cases[i].flags);
        program_expect_text(&p, program_refusal(&p, cases[i].code), cases[i].said);
        program_free(&p);
        assert_true(!is_there("r.sweep") && !is_there("r.sweep.partial"));
    }
    program p = {0};
    program_run(&p, "train " QUICK "--trials=3");
    program_expect_text(&p, program_refusal(&p, 2), "does nothing in thaw train, but in sweep");
    program_free(&p);
}

static int open_place(void **state) {
    static tempdir place;
    place = program_place(12, 4);
    *state = &place;
    return 0;
}

int main(void) {
#define AXES(test) cmocka_unit_test_setup_teardown(test, open_options, close_options)
    const struct CMUnitTest units[] = {AXES(reads_axes), AXES(values_of_axes),
                                       AXES(points_fill_the_box), AXES(points_of_lists)};
    const struct CMUnitTest runs[] = {
        cmocka_unit_test(heads_at_once),     cmocka_unit_test(from_a_file),
        cmocka_unit_test(one_after_another), cmocka_unit_test(bad_trials),
        cmocka_unit_test(is_stopped),        cmocka_unit_test(fails_late),
        cmocka_unit_test(refusals),
    };
    int failed = cmocka_run_group_tests_name("axes", units, NULL, NULL);
    return failed + cmocka_run_group_tests_name("runs", runs, open_place, program_close);
}
