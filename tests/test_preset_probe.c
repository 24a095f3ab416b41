/* Which preprocessing pictures speak for: the base CNN's own comes out ahead of what it was not trained with,
 * the same bits each time; presets with the same numbers are one; what cannot be read takes no part; and
 * too little is refused. */
#include "program.h"

static tempdir place;

static int open_place(void **state) {
    *state = &place;
    place = program_place(10, 2);
    return 0;
}

/* Of the row that begins with this name, behind a blank or the mark. */
static const char *row_of(const program *p, const char *name) {
    const char *table = strstr(p->out, "\n  preset ");
    if (!table) fail_msg("thaw %s prints no presets:\n%s", p->line, p->out);
    for (const char *at = strchr(table + 1, '\n'); at; at = strchr(at + 1, '\n'))
        if (strlen(at) > 3 && strncmp(at + 3, name, strlen(name)) == 0) return at + 1;
    fail_msg("thaw %s has no row %s:\n%s", p->line, name, p->out);
    return NULL;
}

static double top1_of(const program *p, const char *name) {
    double value = -1;
    if (sscanf(row_of(p, name) + 22, "%lf", &value) != 1)
        fail_msg("%s: no number:\n%s", name, p->out);
    return value;
}

static void the_networks_own_comes_out_ahead(void **state) {
    (void)state;
    program p = {0}, again = {0};
    program_expect_ok(&p, "inspect m.onnx pics/train --pictures=80 --threads=1");
    program_expect_text(&p, p.out, "\npreprocess  80 pictures of 8 classes; ");
    assert_int_equal(*row_of(&p, "imagenet"), '*');
    assert_true(top1_of(&p, "imagenet") > top1_of(&p, "raw") + 10);
    assert_true(top1_of(&p, "imagenet") > top1_of(&p, "caffe") + 10);
    row_of(&p, "inception, keras ");
    program_expect_text(&p, p.out, "preprocess = imagenet, which is what auto takes.\n");
    program_expect_ok(&again, "inspect m.onnx pics/train --pictures=80 --threads=2");
    assert_string_equal(p.out, again.out);
    program_free(&again);
    program_free(&p);
    /* What the pictures say does not depend on what was asked for; numbers of one's own take part. */
    program_expect_ok(&p, "inspect m.onnx pics --pictures=80 --preprocess=raw --image.mean=50");
    assert_int_equal(*row_of(&p, "imagenet"), '*');
    row_of(&p, "as it is");
    assert_null(strstr(p.out, "which is what auto takes"));
    program_free(&p);
}

static void pictures_are_balanced_and_readable(void **state) {
    (void)state;
    program p = {0};
    write_bytes("pics/train/lily/0000.jpg", "no picture", 10);
    program_expect_ok(&p, "inspect m.onnx pics/train");
    program_expect_text(&p, p.out, "\npreprocess  80 pictures of 8 classes, 1 could not be read; ");
    program_free(&p);
    remove("pics/train/lily/0000.jpg");
    /* Five of each class at least, or fewer classes. */
    program_expect_ok(&p, "inspect m.onnx pics/train --pictures=27");
    program_expect_text(&p, p.out, "\npreprocess  25 pictures of 5 classes (of 8); ");
    program_free(&p);
    program_run(&p, "inspect m.onnx pics/gone");
    program_expect_text(&p, program_refusal(&p, 1), "pics/gone");
    program_free(&p);
    program_run(&p, "inspect m.onnx pics/test");
    program_expect_text(&p, program_refusal(&p, 1),
                        "has 16 pictures: too few to tell presets apart");
    program_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_networks_own_comes_out_ahead),
        cmocka_unit_test(pictures_are_balanced_and_readable),
    };
    return cmocka_run_group_tests(tests, open_place, program_close);
}
