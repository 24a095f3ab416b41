/* `thaw verify`: what ONNX Runtime has made of networks (tests/data/onnx/NAME.expect) is the same, at the
 * output and inside; one number that is another is found, with its place; and files that do not fit are
 * refused. */
#include "program.h"

static tempdir place;

static int open_place(void **state) {
    *state = &place;
    place = tempdir_make();
    tempdir_check(chdir(place.root) == 0, place.root);
    return 0;
}

/* Writes floats as np.save does. */
static void put_npy(const char *path, int rank, const int64_t *dims, const float *values) {
    char head[256];
    size_t n = 1, lead = 10;
    int used = snprintf(head + lead, sizeof head - lead,
                        "{'descr': '<f4', 'fortran_order': False, 'shape': (");
    for (int i = 0; i < rank; i++) {
        n *= (size_t)dims[i];
        used +=
            snprintf(head + lead + used, sizeof head - lead - (size_t)used, "%d,", (int)dims[i]);
    }
    used += snprintf(head + lead + used, sizeof head - lead - (size_t)used, "), }\n");
    memcpy(head, "\x93NUMPY\x01\x00", 8);
    head[8] = (char)used;
    head[9] = 0;
    FILE *file = fopen(path, "wb");
    tempdir_check(file && fwrite(head, 1, lead + (size_t)used, file) == lead + (size_t)used &&
                      fwrite(values, sizeof *values, n, file) == n && fclose(file) == 0,
                  path);
}

/* N,H,W,C as N,C,H,W, to be freed. */
static float *channels_first(int n, int h, int w, int c, const float *from) {
    float *to = malloc((size_t)(n * h * w * c) * sizeof *to);
    assert_non_null(to);
    for (int i = 0; i < n; i++)
        for (int p = 0; p < h * w; p++)
            for (int k = 0; k < c; k++)
                to[(i * c + k) * h * w + p] = from[(i * h * w + p) * c + k];
    return to;
}

/* The pixels as the expectations' networks got them, in x.npy; those of n pictures. */
static void put_input(const test_expect *e, bool nhwc) {
    int n = e->n * e->h * e->w * e->c;
    float *x = malloc((size_t)n * sizeof *x);
    assert_non_null(x);
    for (int i = 0; i < n; i++)
        x[i] = (float)e->pixels[i] / 64 - 2;
    float *y = channels_first(e->n, e->h, e->w, e->c, x);
    if (nhwc)
        put_npy("x.npy", 4, (int64_t[]){e->n, e->h, e->w, e->c}, x);
    else
        put_npy("x.npy", 4, (int64_t[]){e->n, e->c, e->h, e->w}, y);
    free(x);
    free(y);
}

/* A tap as y.npy; with number `at` another, unless that is below 0. */
static void put_output(const test_expect *e, const test_tap *tap, int at, float value) {
    int n = e->n * tap->h * tap->w * tap->c;
    float *y = channels_first(e->n, tap->h, tap->w, tap->c, tap->values);
    assert_true(at < n);
    if (at >= 0) y[at] = value;
    bool map = tap->h * tap->w > 1;
    put_npy("y.npy", map ? 4 : 2, (int64_t[]){e->n, tap->c, tap->h, tap->w}, y);
    free(y);
}

/* A tensor of one number a feature: the first, which the old head reads. */
static const test_tap *vector_of(const test_expect *e) {
    assert_int_equal(e->taps[0].h * e->taps[0].w, 1);
    return &e->taps[0];
}

static const char *model_of(const char *name) {
    static char path[512];
    snprintf(path, sizeof path, TEST_MODELS "%s.onnx", name);
    return path;
}

static void every_tap_is_the_same(void **state) {
    (void)state;
    static const char *const names[] = {"resnet_17", "vgg_9", "mobilenetv2_17_bn", "squeezenet_13",
                                        "conv_grey"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        test_expect e = test_expect_read(names[i]);
        put_input(&e, false);
        for (int t = 0; t < e.n_taps; t++) {
            program p = {0};
            put_output(&e, &e.taps[t], -1, 0);
            program_run(&p, "verify %s --input x.npy --output y.npy --at=%s", model_of(names[i]),
                        e.taps[t].name);
            if (p.code != 0 && e.taps[t].h * e.taps[t].w == 1) { /* A map of one pixel is one. */
                program_free(&p);
                float *y = channels_first(e.n, 1, 1, e.taps[t].c, e.taps[t].values);
                put_npy("y.npy", 4, (int64_t[]){e.n, e.taps[t].c, 1, 1}, y);
                free(y);
                program_run(&p, "verify %s --input x.npy --output y.npy --at=%s",
                            model_of(names[i]), e.taps[t].name);
            }
            if (p.code != 0) fail_msg("thaw %s: %s%s", p.line, p.out, p.err);
            program_expect_text(&p, p.out, "\nverdict     the same\n");
            program_free(&p);
        }
        test_expect_free(&e);
    }
}

static void a_difference_is_found_with_its_place(void **state) {
    (void)state;
    program p = {0};
    test_expect e = test_expect_read("resnet_17");
    const test_tap *last = vector_of(&e);
    put_input(&e, false);
    put_output(&e, last, last->c + 2, 1e-1f);
    program_run(&p, "verify %s --input=x.npy --output=y.npy --at=%s", model_of("resnet_17"),
                last->name);
    program_expect_text(&p, program_refusal(&p, 1), "is not what y.npy holds, NMSE ");
    program_expect_text(&p, p.out, " at [1, 2]: ");
    program_expect_text(&p, p.out, " here, 0.100000001 there\nverdict     they differ\n");
    program_free(&p);
    program_expect_ok(&p, "verify %s --input=x.npy --output=y.npy --at=%s --tolerance=1",
                      model_of("resnet_17"), last->name);
    program_free(&p);
    put_output(&e, last, 3, NAN);
    program_run(&p, "verify %s --input=x.npy --output=y.npy --at=%s --tolerance=1",
                model_of("resnet_17"), last->name);
    program_expect_text(&p, program_refusal(&p, 1), "NMSE inf");
    program_expect_text(&p, p.out,
                        "not finite  1 numbers on one side alone\nlargest     inf at [0, 3]");
    program_free(&p);
    test_expect_free(&e);
}

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    program p = {0};
    test_expect e = test_expect_read("resnet_17");
    put_input(&e, true);
    put_output(&e, vector_of(&e), -1, 0);
    program_run(&p, "verify %s --input=x.npy --output=y.npy", model_of("resnet_17"));
    program_expect_text(&p, program_refusal(&p, 1), "the model takes N x 3 x 32 x 32");
    program_free(&p);
    put_input(&e, false);
    program_run(&p, "verify %s --input=x.npy --output=x.npy", model_of("resnet_17"));
    program_expect_text(&p, program_refusal(&p, 1), "and the model makes N x 5 at scores");
    program_free(&p);
    program_run(&p, "verify %s --input=y.npy --output=x.npy", model_of("resnet_17"));
    program_expect_text(&p, program_refusal(&p, 1), "the input has 2 dimensions");
    program_free(&p);
    program_run(&p, "verify %s --input=x.npy --output=y.npy --at=stge2", model_of("resnet_17"));
    program_expect_text(&p, program_refusal(&p, 2), "did you mean \"stage2\"");
    program_free(&p);
    program_run(&p, "verify %s --input=x.npy", model_of("resnet_17"));
    program_expect_text(&p, program_refusal(&p, 2), "verify.output");
    program_free(&p);
    write_bytes("bad.npy", "\x93NUMPY\x01\x00", 8);
    program_run(&p, "verify %s --input=bad.npy --output=y.npy", model_of("resnet_17"));
    program_expect_text(&p, program_refusal(&p, 1), "bad.npy is no .npy file");
    program_free(&p);
    test_expect_free(&e);
}

/* The batch's statistics are not what Thaw takes, and that is said. */
static void a_file_in_training_mode_is_told_of(void **state) {
    (void)state;
    program p = {0};
    test_expect e = test_expect_read("bn_training_14");
    const test_tap *last = &e.taps[e.n_taps - 1];
    put_input(&e, false);
    put_output(&e, last, 0, 1e6f);
    program_run(&p, "verify %s --input=x.npy --output=y.npy --at=%s", model_of("bn_training_14"),
                last->name);
    program_expect_text(&p, program_refusal(&p, 1), "exported in training mode");
    program_free(&p);
    test_expect_free(&e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_tap_is_the_same),
        cmocka_unit_test(a_difference_is_found_with_its_place),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(a_file_in_training_mode_is_told_of),
    };
    return cmocka_run_group_tests(tests, open_place, program_close);
}
