/* The lines that tuners and dashboards read: each metric's own expression finds its value and no other's,
 * in the lines as the program prints them; so do the expressions that users of SageMaker's algorithms have
 * in their jobs; the last value of each is that of what is kept.
 */
#include "run/metric_lines.h"

#include <math.h>
#include <regex.h>

#include "program.h"

enum { TRAIN = 9, TEST = 2 };

static tempdir place;

/* The number in the last match of the expression, NaN: there is none. *n: how many there are. */
static double last_match(const char *text, const char *expression, int *n) {
    regex_t regex;
    regmatch_t match[2];
    double value = NAN;
    assert_int_equal(regcomp(&regex, expression, REG_EXTENDED), 0);
    assert_int_equal(regex.re_nsub, 1);
    for (*n = 0; regexec(&regex, text, 2, match, 0) == 0; text += match[0].rm_eo, ++*n) {
        char *end;
        value = strtod(text + match[1].rm_so, &end);
        assert_ptr_equal(end, text + match[1].rm_eo); /* All that was captured is a number. */
    }
    regfree(&regex);
    return value;
}

static char *printed(const thaw_metric_values *values) {
    char *text = NULL;
    size_t n;
    FILE *out = open_memstream(&text, &n);
    assert_non_null(out);
    thaw_metric_lines_epoch(out, values);
    assert_int_equal(fclose(out), 0);
    return text;
}

/* Values with exponents, each another. */
static void each_expression_finds_its_own(void **state) {
    (void)state;
    static const double value[] = {1.25e-7, 2.5e11, 3.5e-5, 0.25,   0.125, 2e-3,
                                   1e-9,    6,      0.375,  7.5e20, 8.125};
    thaw_metric_values values = {.epoch = 12,
                                 .lr = 1e-6,
                                 .train_loss = value[0],
                                 .train_accuracy = value[1],
                                 .validation_loss = value[2],
                                 .validation_accuracy = value[3],
                                 .validation_map = value[4],
                                 .validation_f1 = value[5],
                                 .test_loss = value[6],
                                 .test_accuracy = value[7],
                                 .test_map = value[8],
                                 .epoch_seconds = value[9],
                                 .total_seconds = value[10]};
    char *text = printed(&values);
    size_t n;
    const thaw_metric_definition *all = thaw_metric_definitions(&n);
    assert_int_equal(n, sizeof value / sizeof *value);
    for (size_t i = 0; i < n; i++) {
        int found;
        assert_true(last_match(text, all[i].regex, &found) == value[i]);
        assert_int_equal(found, 1);
        assert_in_range(strlen(all[i].regex), 1, 500); /* SageMaker's limits. */
        assert_in_range(strlen(all[i].name), 1, 255);
    }
    free(text);
}

static void what_is_not_known_is_left_out(void **state) {
    (void)state;
    thaw_epoch epoch = {
        .epoch = 1, .train_loss = 1, .validation_loss = NAN, .validation_top1 = NAN};
    thaw_metric_values values = thaw_metric_values_of(&epoch);
    char *text = printed(&values);
    assert_null(strstr(text, "nan"));
    assert_null(strstr(text, "alidation"));
    assert_null(strstr(text, "val_"));
    assert_non_null(strstr(text, "train_loss=1;"));
    free(text);
}

/* What users have in their jobs: from AWS's blog, its examples and JumpStart's specifications. */
static void a_training_prints_them(void **state) {
    (void)state;
    program p = {0};
    program_expect_ok(
        &p,
        "train --data.train=pics --model=m.onnx --cache.dir=cache --epochs=6 --metrics "
        "--out=run");
    static const struct {
        const char *regex, *at;
        int n;
    } rows[] = {
        {"Validation-accuracy=([0-9.]+)", "splits.validation.top1", 7},
        {"val_accuracy: ([0-9.]+)", "splits.validation.top1", 7},
        {"validation_accuracy=([0-9.eE+-]+);", "splits.validation.top1", 7},
        {"test_accuracy=([0-9.eE+-]+);", "splits.test.top1", 1},
        {"- loss: ([0-9.]+)", NULL, 7},
        {"Train-accuracy=([0-9.]+)", NULL, 7},
        {"Time cost=([0-9.]+)", NULL, 6},
        {"epoch=([0-9]+);", "epochs.kept", 7},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int found;
        double last = last_match(p.out, rows[i].regex, &found);
        if (found != rows[i].n) fail_msg("%s: %d times in\n%s", rows[i].regex, found, p.out);
        if (rows[i].at) assert_float_equal(last, number_in("run/metrics.json", rows[i].at), 1e-6);
    }
    size_t n;
    const thaw_metric_definition *all = thaw_metric_definitions(&n);
    for (size_t i = 0; i < n; i++) {
        int found;
        bool of_several = strstr(all[i].name, ":mAP") || strstr(all[i].name, ":f1");
        last_match(p.out, all[i].regex, &found);
        if (of_several == (found > 0))
            fail_msg("%s is %sin\n%s", all[i].regex, found ? "" : "not ", p.out);
    }
    program_free(&p);
}

/* The head's own epochs are not among those of everything. */
static void above_a_cut_only_everything_counts(void **state) {
    (void)state;
    program p = {0};
    int found;
    program_expect_ok(
        &p,
        "train --data.train=pics --model=m.onnx --cache.dir=cache --epochs=6 --metrics "
        "--freeze=stage2 --top.epochs=2 --out=top");
    last_match(p.out, "validation_accuracy=([0-9.eE+-]+);", &found);
    assert_int_equal(found, 2 + 1);
    program_free(&p);
    program_expect_ok(
        &p, "train --data.train=pics --model=m.onnx --cache.dir=cache --epochs=6 --out=run");
    assert_null(strstr(p.out, "accuracy"));
    program_free(&p);
}

static int open_place(void **state) {
    *state = &place;
    place = program_place(TRAIN, TEST);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_expression_finds_its_own),
        cmocka_unit_test(what_is_not_known_is_left_out),
        cmocka_unit_test(a_training_prints_them),
        cmocka_unit_test(above_a_cut_only_everything_counts),
    };
    return cmocka_run_group_tests(tests, open_place, program_close);
}
