/* Reading ONNX: every file in tests/data/onnx loads, is cut where a person would cut it, and
 * computes what ONNX Runtime computes; equal functions have equal hashes; what Thaw cannot read is
 * refused with one sentence.
 *
 * Tolerance: float against float, sums of at most a few thousand terms in another order: each
 * rounds by 2^-24 of its magnitude, so NMSE is near 1e-13; 1e-10 leaves room for cancellation and
 * still is 1e-5 of a feature.
 */
#include "cuts.h"
#include "onnx.pb-c.h"
#include "onnx_read.h"
#include "testing.h"
#include "trunk.h"

/* ---- every file ---------------------------------------------------------------------------- */

typedef struct model_row {
    const char *file;
    int n_cuts, last; /* Cuts in the network; index of the one below the head. */
} model_row;

static const model_row models[] = {
    {"activations", 30, 29},
    {"bn_after_conv", 4, 3},
    {"bn_alone", 10, 9},
    {"bn_training_14", 9, 7},
    {"bn_training_9", 9, 7},
    {"clip_attr_10", 5, 4},
    {"clip_attr_7", 5, 4},
    {"clip_input", 10, 9},
    {"concat", 4, 3},
    {"concat_49", 2, 1},
    {"conv_1x7", 2, 1},
    {"conv_5x2_s13", 2, 1},
    {"conv_asymmetric", 2, 1},
    {"conv_dilated", 2, 1},
    {"conv_grey", 3, 2},
    {"conv_grouped", 7, 6},
    {"conv_no_bias", 2, 1},
    {"conv_same_lower", 2, 1},
    {"conv_same_upper", 2, 1},
    {"conv_valid", 2, 1},
    {"densenet_13", 14, 12},
    {"densenet_17_bn", 15, 13},
    {"external", 7, 5},
    {"flatten_map", 6, 4},
    {"flatten_negative", 6, 4},
    {"gemm_forms", 8, 6},
    {"hardswish_pattern", 5, 4},
    {"ir3", 5, 3},
    {"matmul_add", 11, 7},
    {"mean_attr_11", 5, 3},
    {"mean_attr_13", 5, 3},
    {"mean_input", 5, 3},
    {"mobilenetv2_13", 18, 16},
    {"mobilenetv2_17_bn", 26, 24},
    {"mobilenetv2_9_bn", 26, 24},
    {"nhwc", 7, 3},
    {"nhwc_normalise", 6, 5},
    {"normalise", 6, 5},
    {"pad_attr", 4, 3},
    {"pad_axes", 3, 2},
    {"pad_input", 7, 6},
    {"pool_avg", 3, 2},
    {"pool_avg_ceil", 3, 2},
    {"pool_avg_ceil_pad", 3, 2},
    {"pool_avg_ceil_pad_include", 3, 2},
    {"pool_avg_include", 3, 2},
    {"pool_avg_pad", 3, 2},
    {"pool_max_ceil", 3, 2},
    {"pool_max_ceil_pad", 3, 2},
    {"pool_max_dilated", 3, 2},
    {"pool_max_pads_0022", 3, 2},
    {"pool_max_same", 3, 2},
    {"reshape_allowzero", 6, 4},
    {"reshape_batch_1", 6, 4},
    {"reshape_chain", 6, 4},
    {"reshape_slice", 6, 4},
    {"reshape_zero_copies", 6, 4},
    {"residual_pad", 4, 3},
    {"residuals", 9, 8},
    {"resnet_13_bn", 15, 13},
    {"resnet_17", 14, 12},
    {"resnet_9", 14, 12},
    {"se_gate", 5, 4},
    {"silu", 7, 6},
    {"squeeze_11", 6, 4},
    {"squeeze_13", 6, 4},
    {"squeezenet_13", 13, 9},
    {"typed_fields", 6, 4},
    {"types", 2, 1},
    {"vgg_17_bn", 13, 11},
    {"vgg_9", 11, 9},
};

static const float scale[3] = {1 / 64.0f, 1 / 64.0f, 1 / 64.0f}, shift[3] = {-2, -2, -2};

static thaw_backend backend;

static int open_backend(void **state) {
    (void)state;
    return thaw_backend_open(&backend, "cpu", 2, NULL);
}

static int close_backend(void **state) {
    (void)state;
    thaw_backend_close(&backend);
    return 0;
}

/* The cut where the named tensor, or what it is another name of, passes; NULL: none. */
static const thaw_cut *cut_at(const thaw_graph *graph, const thaw_cuts *cuts, const char *tensor) {
    for (int v = 0; v < graph->n_values; v++)
        for (int c = 0; c < cuts->n && strcmp(graph->values[v].name, tensor) == 0; c++)
            if (cuts->cuts[c].value == graph->values[v].root) return &cuts->cuts[c];
    return NULL;
}

static double distance_at(const char *file, const thaw_graph *graph, const thaw_cut *cut,
                          const test_expect *expect, const test_tap *tap) {
    thaw_trunk_options options = {
        .batch = expect->n, .compute = THAW_F32, .scale = scale, .shift = shift};
    thaw_trunk *trunk;
    thaw_error err = {0};
    if (thaw_trunk_create(&trunk, graph, cut, &options, &backend, &err) != THAW_OK) {
        print_error("%s at %s: %s\n", file, tap->name, err.text);
        return INFINITY;
    }
    thaw_trunk_size size = thaw_trunk_measure(trunk);
    bool fits = size.H * size.W * size.C == (int64_t)tap->h * tap->w * tap->c;
    size_t n = (size_t)(expect->n * size.H * size.W * size.C);
    float *got = malloc(n * sizeof *got);
    assert_non_null(got);
    for (size_t i = 0; i < n; i++)
        got[i] = NAN;
    double nmse = INFINITY;
    if (fits && thaw_trunk_run(trunk, expect->n, expect->pixels, got, &err) == THAW_OK)
        nmse = test_nmse(n, tap->values, got);
    else
        print_error("%s at %s: %s\n", file, tap->name, fits ? err.text : "has another shape");
    free(got);
    thaw_trunk_free(trunk);
    return nmse;
}

static int check_model(const model_row *row) {
    thaw_model model;
    thaw_cuts cuts;
    thaw_error err = {0};
    char path[512];
    snprintf(path, sizeof path, TEST_MODELS "%s.onnx", row->file);
    int failures = 0;
    if (thaw_model_read(&model, path, 0, 0, &err) != THAW_OK ||
        thaw_cuts_find(&model.graph, &cuts, &err) != THAW_OK) {
        print_error("%s\n", err.text);
        thaw_model_free(&model);
        return 1;
    }
    if (cuts.n != row->n_cuts || cuts.last != row->last) {
        print_error("    {\"%s\", %d, %d},\n", row->file, cuts.n, cuts.last);
        failures++;
    }
    test_expect expect = test_expect_read(row->file);
    for (int i = 0; i < expect.n_taps; i++) {
        const test_tap *tap = &expect.taps[i];
        const thaw_cut *cut = cut_at(&model.graph, &cuts, tap->name);
        if (!cut || (i == 0 && cut->index != cuts.last)) {
            print_error("%s: %s is %s; the last is %d (%s)\n", row->file, tap->name,
                        cut ? "not the last cut" : "no cut", cuts.last, cuts.cuts[cuts.last].name);
            failures++;
            continue;
        }
        double nmse = distance_at(row->file, &model.graph, cut, &expect, tap);
        if (nmse > 1e-10) {
            print_error("%s at %s: NMSE %g against ONNX Runtime\n", row->file, tap->name, nmse);
            failures++;
        }
    }
    test_expect_free(&expect);
    thaw_model_free(&model);
    return failures;
}

static void every_file_computes_what_onnx_runtime_computes(void **state) {
    (void)state;
    int failures = 0;
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++)
        failures += check_model(&models[i]);
    assert_int_equal(failures, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_file_computes_what_onnx_runtime_computes),
    };
    return cmocka_run_group_tests(tests, open_backend, close_backend);
}
