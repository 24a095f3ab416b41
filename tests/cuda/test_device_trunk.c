/* Whole trunks on the CUDA backend, against what ONNX Runtime made of the same files and pixels.
 *
 * Every small model of tests/data/onnx, at each of its cuts that is recorded, in every precision
 * that the device multiplies. The emulated GPU runs the same code as a real one: prepare, one graph
 * of all launches, staging.
 *
 * Tolerance, as NMSE against float: 1e-4 in half precision and tf32 (10 and 10 bits of mantissa:
 * each rounding adds up to 2^-22, and a trunk has tens of them; the design's bound for features),
 * 2e-3 in bf16 (7 bits). A few models end in activations where rounding is magnified; none needs
 * more.
 */
#include <dirent.h>

#include "graph/cuts.h"
#include "onnx/onnx_read.h"
#include "testing.h"
#include "trunk/trunk.h"

static const float scale[3] = {1 / 64.0f, 1 / 64.0f, 1 / 64.0f}, shift[3] = {-2, -2, -2};

#ifdef __SANITIZE_ADDRESS__
enum { EACH = 4 }; /* Models: slow, and looks for other things. */
#else
enum { EACH = 1 };
#endif

static thaw_backend backend;

/* A model some of whose sums of squares are beyond 65504, fp16's largest number: there, infinity is right. */
static bool overflows(const char *file, thaw_dtype type) {
    return type == THAW_F16 && strcmp(file, "reductions_nhwc") == 0;
}

/* Image by image, so that the last ones do not fill a group; NaN before. */
static thaw_status run_trunk(thaw_trunk *trunk, const test_expect *expect, size_t n_features,
                             float *got, thaw_error *err) {
    for (size_t i = 0; i < (size_t)expect->n * n_features; i++)
        got[i] = NAN;
    return thaw_trunk_run(trunk, expect->n, expect->pixels, got, err);
}

static int check_tap(const char *file, const thaw_graph *graph, const thaw_cut *cut,
                     const test_expect *expect, const test_tap *tap, thaw_dtype type) {
    double most = type == THAW_BF16 ? 2e-3 : 1e-4;
    thaw_trunk_options options = {.batch = expect->n > 1 ? expect->n - 1 : 1,
                                  .compute = type,
                                  .scale = scale,
                                  .shift = shift};
    thaw_trunk *trunk;
    thaw_error err = {0};
    if (thaw_trunk_create(&trunk, graph, cut, &options, &backend, &err) != THAW_OK) {
        print_error("%s at %s, %s: %s\n", file, tap->name, thaw_dtype_name(type), err.text);
        return 1;
    }
    thaw_trunk_size size = thaw_trunk_measure(trunk);
    assert_int_equal(size.H * size.W * size.C, (int64_t)tap->h * tap->w * tap->c);
    size_t each = (size_t)(size.H * size.W * size.C), n = (size_t)expect->n * each;
    float *got = malloc(n * sizeof *got), *again = malloc(n * sizeof *again);
    assert_non_null(got);
    assert_non_null(again);
    int failures = 0;
    if (run_trunk(trunk, expect, each, got, &err) != THAW_OK ||
        run_trunk(trunk, expect, each, again, &err) != THAW_OK) {
        print_error("%s at %s, %s: %s\n", file, tap->name, thaw_dtype_name(type), err.text);
        failures++;
    } else {
        double nmse = test_nmse(n, tap->values, got);
        bool same = memcmp(got, again, n * sizeof *got) == 0;
        bool right = nmse <= most || (overflows(file, type) && isinf(nmse));
        if (!right || !same) {
            print_error("%s at %s, %s: NMSE %.3g%s\n", file, tap->name, thaw_dtype_name(type), nmse,
                        same ? "" : ", and two runs differ");
            failures++;
        }
    }
    free(got);
    free(again);
    thaw_trunk_free(trunk);
    return failures;
}

static int check_file(const char *file, thaw_dtype type, int *n_checked) {
    thaw_model model;
    thaw_cuts cuts;
    thaw_error err = {0};
    char path[512];
    snprintf(path, sizeof path, TEST_MODELS "%s.onnx", file);
    if (thaw_model_read(&model, path, 0, 0, &err) != THAW_OK ||
        thaw_cuts_find(&model.graph, &cuts, &err) != THAW_OK) {
        print_error("%s\n", err.text);
        return 1;
    }
    test_expect expect = test_expect_read(file);
    const thaw_graph *graph = &model.graph;
    int failures = 0;
    for (int i = 0; i < expect.n_taps; i++) {
        for (int v = 0; v < graph->n_values; v++) {
            for (int c = 0; c < cuts.n; c++) {
                if (strcmp(graph->values[v].name, expect.taps[i].name) != 0 ||
                    cuts.cuts[c].value != graph->values[v].root)
                    continue;
                failures += check_tap(file, graph, &cuts.cuts[c], &expect, &expect.taps[i], type);
                ++*n_checked;
                v = graph->n_values - 1;
                break;
            }
        }
    }
    test_expect_free(&expect);
    thaw_model_free(&model);
    return failures;
}

static void every_model(thaw_dtype type) {
    if (!backend.kernels->computes(backend.device, type)) skip();
    DIR *folder = opendir(TEST_MODELS);
    assert_non_null(folder);
    int failures = 0, n_checked = 0, n_seen = 0;
    for (struct dirent *entry; (entry = readdir(folder));) {
        char *dot = strrchr(entry->d_name, '.');
        if (!dot || strcmp(dot, ".expect") != 0) continue;
        *dot = 0;
        if (n_seen++ % EACH != 0) continue;
        failures += check_file(entry->d_name, type, &n_checked);
    }
    closedir(folder);
    print_message("%d cuts in %s, %d wrong\n", n_checked, thaw_dtype_name(type), failures);
    assert_int_equal(failures, 0);
    assert_true(n_checked > 60 / EACH);
}

static void every_model_in_fp16(void **state) {
    (void)state;
    every_model(THAW_F16);
}

static void every_model_in_bf16(void **state) {
    (void)state;
    every_model(THAW_BF16);
}

static void every_model_in_tf32(void **state) {
    (void)state;
    every_model(THAW_F32);
}

int main(void) {
    thaw_error err = {0};
    if (thaw_backend_open(&backend, "cuda", 0, &err) != THAW_OK) {
        printf("SKIPPED: whole trunks on a GPU: %s\n", err.text);
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_model_in_fp16),
        cmocka_unit_test(every_model_in_bf16),
        cmocka_unit_test(every_model_in_tf32),
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    thaw_backend_close(&backend);
    return failures;
}
