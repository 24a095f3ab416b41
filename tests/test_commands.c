/* The commands and layouts that no other test runs: options, demo and bench; whose option is whose;
 * how folders may be laid out, what is said of them, and that a run can be repeated from its own
 * train.ini, from anywhere. */
#include <jansson.h>

#include "program.h"

enum { CLASSES = 8, TRAIN = 7, TEST = 2, VALIDATION = 3 };

static tempdir place;

#define TRAIN_ON(folder) \
    "train --data.train=" folder " --model=m.onnx --epochs=2 --cache.dir=cache --out="

static void text_file(const char *path, const char *text) {
    write_bytes(path, text, strlen(text));
}

/* Runs and fails the test unless it is refused with words in its sentence. */
static void expect_refusal(int code, const char *words, const char *line) {
    program p = {0};
    program_run(&p, "%s", line);
    program_expect_text(&p, program_refusal(&p, code), words);
    program_free(&p);
}

static void copy_from(const char *folder, const char *name, const char *to) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    copy_file(path, to);
}

/* ---- thaw options --------------------------------------------------------------------------- */

static void options_are_train_ini(void **state) {
    (void)state;
    program p = {0};
    program_expect_ok(&p, "options");
    write_bytes("printed.ini", p.out, strlen(p.out));
    expect_equal_files("printed.ini", THAW_SOURCE_DIR "/train.ini");
    assert_string_equal(p.err, "");
    program_free(&p);
    program_expect_ok(&p, "options --epochs=7 --data.train=some/where --size=64");
    program_expect_text(&p, p.out, "\nepochs = 7\n");
    program_expect_text(&p, p.out, "\ntrain = some/where\n");
    program_expect_text(&p, p.out, "\nsize = 64\n");
    write_bytes("printed.ini", p.out, strlen(p.out));
    program_free(&p);
    /* What it prints can be read: the run gets as far as its folder. */
    expect_refusal(1, "there is no 'some/where': expected a folder",
                   "train printed.ini --model=m.onnx");
    expect_refusal(2, "options: too many arguments", "options train.ini");
}

static void an_option_belongs_to_its_commands(void **state) {
    (void)state;
    expect_refusal(2,
                   "--size, which is new.size, does nothing in thaw train, but in new; did you "
                   "mean --image.size?",
                   "train --size=128");
    expect_refusal(
        2, "--preprocess does nothing in thaw predict, but in inspect, train, sweep, cache, demo",
        "predict run a.jpg --preprocess=caffe");
    expect_refusal(2, "--freeze does nothing in thaw eval", "eval run pics --freeze=3");
    expect_refusal(2, "--epochs does nothing in thaw cache, but in train, sweep, demo",
                   "cache ls --epochs=3");
    program p = {0};
    program_expect_ok(&p, "eval --help");
    program_expect_text(&p, p.out, "--cache.dir=auto");
    assert_null(strstr(p.out, "--epochs="));
    assert_null(strstr(p.out, "--cache.keep="));
    program_free(&p);
    program_expect_ok(&p, "bench --help");
    assert_null(strstr(p.out, "--seed="));
    program_free(&p);
    expect_refusal(2, "multi_label = '1' is refused: a picture has one class",
                   "train --multi_label=1");
}

/* ---- thaw bench, thaw demo ------------------------------------------------------------------ */

static void bench_runs_the_program_beside(void **state) {
    (void)state;
    program p = {0};
    program_expect_ok(&p, "bench head 3 40 6 2 8 1 2");
    json_t *json = json_loads(p.out, 0, NULL);
    if (!json) fail_msg("no JSON: %s", p.out);
    assert_string_equal(json_string_value(json_object_get(json, "bench")), "head");
    assert_int_equal(json_integer_value(json_object_get(json, "rows")), 40);
    assert_true(json_number_value(json_object_get(json, "median_s")) > 0);
    json_decref(json);
    program_free(&p);
    /* Its exit code is the benchmark's. */
    program_run(&p, "bench head 0");
    assert_int_equal(p.code, 2);
    program_expect_text(&p, p.err, "bench_head: argument 0 must be positive");
    program_free(&p);
    program_run(&p, "bench head 3 40 6 2 8 1 1 gpu");
    assert_int_equal(p.code, 1);
    program_expect_text(&p, p.err, "device = gpu: expected auto, cpu, cuda or cuda:N");
    program_free(&p);
    expect_refusal(2, "bench: there is no 'heads'; expected kernels, trunk, head", "bench heads");
    expect_refusal(2, "bench: too few arguments", "bench");
}

static void the_demo_tells_species_apart(void **state) {
    (void)state;
    program p = {0};
    program_expect_ok(&p, "demo --epochs=20 --cache.dir=demo_cache");
    program_expect_text(&p, p.out, "Here are pictures of 8 species");
    const char *line = strstr(p.out, "tell the eight species apart in ");
    double percent = 0;
    if (!line || sscanf(line, "tell the eight species apart in %lf %% of the test", &percent) != 1)
        fail_msg("no result in\n%s", p.out);
    assert_true(percent > 60 && percent <= 100);
    assert_true(is_there("thaw-demo/run/report.html") && is_there("thaw-demo/run/model.onnx"));
    program_free(&p);
    program_expect_ok(&p, "predict thaw-demo/run thaw-demo/pictures/test/rose/rose-0000.jpg");
    program_free(&p);
    remove_tree("thaw-demo");
    remove_tree("demo_cache");
}

/* ---- splits --------------------------------------------------------------------------------- */

/* full: train, Val and testing folders, by names that are not ours. */
static void make_full(void) {
    thaw_error err = {0};
    thaw_draw_options draw = {.root = "more",
                              .set = THAW_DRAW_SET_DEMO8,
                              .n_train = VALIDATION,
                              .n_test = 1,
                              .size = 64,
                              .seed = 8};
    tempdir_folder(&place, "full");
    if (thaw_draw_dataset(&draw, &err) != THAW_OK) fail_msg("%s", err.text);
    tempdir_check(symlink("../pics/train", "full/train") == 0, "symlink");
    tempdir_check(rename("more/train", "full/Val") == 0, "rename");
    tempdir_check(symlink("../pics/test", "full/testing") == 0, "symlink");
}

static void expect_sources(const program *p) {
    program_expect_text(p, p->err, "\nall                 56          24          16\n");
    program_expect_text(p, p->err, "\nvalidation  full/Val\n");
    program_expect_text(p, p->err, "\ntest        full/testing\n");
}

/* Our own train.ini has every default written out; it must not count as given. */
static void the_shipped_train_ini_changes_nothing(void **state) {
    (void)state;
    program p = {0};
    program_expect_ok(&p, TRAIN_ON("full") "plain --log=info");
    expect_sources(&p);
    program_free(&p);
    program_expect_ok(&p, "train " THAW_SOURCE_DIR
                          "/train.ini --data.train=full --model=m.onnx "
                          "--epochs=2 --cache.dir=cache --out=by_ini");
    expect_sources(&p);
    program_free(&p);
    expect_equal_files("plain/model.onnx", "by_ini/model.onnx");
    /* And where nothing is there to find, a tenth of the training pictures. */
    program_expect_ok(&p, "train " THAW_SOURCE_DIR
                          "/train.ini --data.train=pics/train "
                          "--model=m.onnx --epochs=2 --cache.dir=cache --out=alone");
    program_expect_text(&p, p.err, "\nvalidation  0.1 of the training pictures");
    program_free(&p);
}

/* Its paths are absolute: from another folder it is the same run, down to the cache. */
static void a_runs_own_train_ini_repeats_it(void **state) {
    (void)state;
    program p = {0};
    tempdir_folder(&place, "elsewhere");
    tempdir_check(chdir("elsewhere") == 0, "chdir");
    program_expect_ok(&p, "train ../plain/train.ini --out=again");
    tempdir_check(chdir("..") == 0, "chdir");
    program_expect_text(&p, p.err, "features: 96 from the cache, 0 computed");
    program_expect_text(&p, p.err, "/full/Val\n");
    program_free(&p);
    expect_equal_files("plain/model.onnx", "elsewhere/again/model.onnx");
}

static void strange_layouts_are_explained(void **state) {
    (void)state;
    tempdir_folder(&place, "mixed/annotations");
    tempdir_check(symlink("../pics/train", "mixed/train") == 0, "symlink");
    expect_refusal(1,
                   "'mixed' holds 'train', which looks like a split, and 'annotations', which does "
                   "not",
                   TRAIN_ON("mixed") "refused");
    tempdir_folder(&place, "high/other/a");
    tempdir_check(symlink("../pics", "high/pics") == 0, "symlink");
    expect_refusal(1, "'high' is one level too high", TRAIN_ON("high") "refused");
    text_file("labels.txt", "path,label\n");
    expect_refusal(1, "'labels.txt' is a file: expected a folder",
                   TRAIN_ON("labels.txt") "refused");
    expect_refusal(2,
                   "'pics' is a folder, and an ini file is expected here: pictures are given with "
                   "--data.train=pics",
                   "train pics --model=m.onnx");
    text_file("comment.ini", "epochs = 3 # three\n");
    expect_refusal(2, "comment.ini:1: epochs = '3 # three': a comment needs a line of its own",
                   "train comment.ini");
    assert_false(is_there("refused") || is_there("refused.partial"));
}

/* ---- pictures ------------------------------------------------------------------------------- */

static const char lfs[] =
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e"
    "2393\nsize 12345\n";

static void pointers_are_not_the_file(void **state) {
    (void)state;
    text_file("pointer.onnx", lfs);
    expect_refusal(1,
                   "'pointer.onnx' is not the file but Git LFS's pointer to it: fetch it with `git "
                   "lfs pull`",
                   "inspect pointer.onnx");
    text_file("pics/train/rose/pointer.jpg", lfs);
    program p = {0};
    program_expect_ok(&p, TRAIN_ON("pics") "pointed");
    program_expect_text(&p, p.err, "1 pictures rejected");
    program_free(&p);
    unlink("pics/train/rose/pointer.jpg");
    size_t n;
    char *table = (char *)test_read("pointed/rejected.csv", &n);
    table[n] = '\0';
    assert_non_null(strstr(table, "Git LFS's pointer"));
    free(table);
}

/* Of a few dozen pictures a few may be broken, by default. */
static void three_broken_pictures_are_tolerated(void **state) {
    (void)state;
    static const char *const broken[] = {"pics/train/rose/x1.jpg", "pics/train/lily/x2.jpg",
                                         "pics/test/rose/x3.jpg", "pics/test/rose/x4.jpg"};
    program p = {0};
    for (int i = 0; i < 3; i++)
        text_file(broken[i], "");
    program_expect_ok(&p, TRAIN_ON("pics") "broken");
    program_expect_text(&p, p.err, "3 pictures rejected");
    program_free(&p);
    text_file(broken[3], "");
    expect_refusal(1, "4 of 76 pictures cannot be used, more than data.max_bad allows",
                   TRAIN_ON("pics") "refused");
    for (int i = 0; i < 4; i++)
        unlink(broken[i]);
    remove_tree("refused.partial");
}

/* The story of a garden that grew: one folder more than the run knows. */
static void classes_that_came_later_are_unknown(void **state) {
    (void)state;
    program p = {0};
    program_expect_ok(&p, "eval plain pics/test --cache.dir=cache --json");
    json_t *before = json_loads(p.out, 0, NULL);
    program_free(&p);
    tempdir_folder(&place, "pics/test/weed");
    copy_from("pics/test/rose", "rose-0000.jpg", "pics/test/weed/1.jpg");
    program_expect_ok(&p, "eval plain pics/test --cache.dir=cache --json");
    program_expect_text(
        &p, p.err,
        "warning: 1 pictures in 'pics/test' are of classes that the training did not "
        "know, and are measured as unknown: 'weed'");
    json_t *after = json_loads(p.out, 0, NULL); /* The same, and what it makes of the weed. */
    assert_true(number_at(after, "unknown.n") == 1);
    assert_int_equal(json_object_del(after, "unknown"), 0);
    assert_true(json_equal(before, after));
    json_decref(before);
    json_decref(after);
    program_free(&p);
    remove_tree("pics/test/weed");
}

static void duplicates_and_rare_classes_are_said(void **state) {
    (void)state;
    program p = {0};
    copy_from("pics/train/rose", "rose-0000.jpg", "pics/test/rose/copy.jpg");
    copy_from("pics/train/lily", "lily-0001.jpg", "pics/train/rose/lily.jpg");
    tempdir_check(rename("pics/train/tulip", "tulips") == 0, "rename");
    tempdir_folder(&place, "pics/train/tulip");
    copy_from("tulips", "tulip-0000.jpg", "pics/train/tulip/1.jpg");
    program_expect_ok(&p, TRAIN_ON("pics") "doubled");
    program_expect_text(&p, p.err, "same bytes as one of another split: 1, so that");
    program_expect_text(&p, p.err,
                        "warning: pictures with the same bytes as one of another class: 2, "
                        "so that one label is wrong; 'pics/train/lily/lily-0001.jpg' and "
                        "'pics/train/rose/lily.jpg' are one picture");
    program_expect_text(&p, p.err, "class 'tulip' has 1: head.class_weights = balanced");
    program_expect_text(&p, p.err,
                        "nothing is held out for validation where there is one picture, or "
                        "one group of them: 'tulip'");
    program_free(&p);
    json_t *metrics = json_load_file("doubled/metrics.json", 0, NULL);
    const json_t *found = json_object_get(metrics, "duplicates");
    assert_int_equal(json_integer_value(json_object_get(found, "across_splits")), 1);
    assert_int_equal(json_integer_value(json_object_get(found, "across_classes")), 2);
    json_decref(metrics);
    size_t n;
    char *report = (char *)test_read("doubled/report.html", &n);
    report[n] = '\0';
    assert_non_null(strstr(report, "<h2>The same picture twice</h2>"));
    assert_non_null(strstr(report, "<td class=t>pics/test/rose/copy.jpg"));
    free(report);
    program_expect_ok(&p, TRAIN_ON("pics") "weighted --head.class_weights=balanced");
    assert_null(strstr(p.err, "being forgotten"));
    program_free(&p);
    unlink("pics/test/rose/copy.jpg");
    unlink("pics/train/rose/lily.jpg");
    remove_tree("pics/train/tulip");
    rename("tulips", "pics/train/tulip");
}

static int open_place(void **state) {
    *state = &place;
    place = program_place(TRAIN, TEST);
    make_full();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_train_ini),
        cmocka_unit_test(an_option_belongs_to_its_commands),
        cmocka_unit_test(bench_runs_the_program_beside),
        cmocka_unit_test(the_demo_tells_species_apart),
        cmocka_unit_test(the_shipped_train_ini_changes_nothing),
        cmocka_unit_test(a_runs_own_train_ini_repeats_it),
        cmocka_unit_test(strange_layouts_are_explained),
        cmocka_unit_test(pointers_are_not_the_file),
        cmocka_unit_test(three_broken_pictures_are_tolerated),
        cmocka_unit_test(classes_that_came_later_are_unknown),
        cmocka_unit_test(duplicates_and_rare_classes_are_said),
    };
    return cmocka_run_group_tests(tests, open_place, program_close);
}
