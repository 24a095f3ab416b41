/* What a network makes of options and of what its file leaves open: output, head, cut, size, types;
 * and what it says of them. */
#include "model/network.h"
#include "onnx_testing.h"
#include "options_testing.h"
#include "program.h"

static thaw_network network;
static thaw_error err;

/* Opens tests/data/onnx/FILE.onnx; close_network closes it. */
static thaw_status try_open(const char *file) {
    char path[512];
    snprintf(path, sizeof path, TEST_MODELS "%s.onnx", file);
    options_put("model", path);
    err = (thaw_error){0};
    return thaw_network_open(&network, &options, &err);
}

static void open_network(const char *file) {
    if (try_open(file) != THAW_OK) fail_msg("%s: %s", file, err.text);
}

static void close_network(void) {
    thaw_network_close(&network);
}

/* The file must be refused with a sentence that says all this. */
static void expect_refusal(const char *file, thaw_status status, const char *one,
                           const char *other) {
    thaw_status got = try_open(file);
    close_network();
    if (got != status || !strstr(err.text, one) || !strstr(err.text, other))
        fail_msg("%s: status %d, \"%s\"", file, got, got ? err.text : "");
}

/* ---- features ------------------------------------------------------------------------------ */

static void features_are_channels_wherever_they_stand(void **state) {
    (void)state;
    static const struct {
        const char *file;
        int64_t n_features;
        bool pooled;
    } rows[] = {{"headless_nhwc", 10, true},   {"head_conv", 14, true},
                {"headless", 40, false},       {"uint8_nhwc", 6, false},
                {"flatten_map", 54, false},    {"nhwc_normalise", 6, true},
                {"headless_matmul", 14, false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        open_network(rows[i].file);
        if (network.n_features != rows[i].n_features || network.pooled != rows[i].pooled)
            fail_msg("%s: %lld features", rows[i].file, (long long)network.n_features);
        close_network();
    }
}

/* ---- the head ------------------------------------------------------------------------------ */

static void what_was_taken_for_the_head_is_said(void **state) {
    (void)state;
    static const struct {
        const char *file, *head;
    } rows[] = {
        {"head_conv", "Conv_5 (Conv) and what follows it, 5 numbers, is replaced"},
        {"head_conv_relu", "Conv_5 (Conv) and what follows it, 5 numbers, is replaced"},
        {"head_conv_3x3", "Conv_5 (Conv) and what follows it, 4 numbers, is replaced"},
        {"half", "Gemm_6 (Gemm) and what follows it, 5 numbers, is replaced"},
        {"headless",
         "none: the new head stands on the network's output; head.at = NODE if it has one"},
        {"headless_matmul",
         "none: the new head stands on the network's output; head.at = NODE if it has one"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        open_network(rows[i].file);
        assert_string_equal(network.head, rows[i].head);
        close_network();
    }
}

static void the_head_is_where_the_option_says(void **state) {
    (void)state;
    options_put("head.at", "Conv_5");
    open_network("headless"); /* It is the layer that widens. */
    assert_int_equal(network.n_features, 14);
    assert_non_null(strstr(network.head, "Conv_5 (Conv) and what follows it"));
    close_network();
    options_put("head.at", "none");
    open_network("head_conv");
    assert_int_equal(network.n_features, 5);
    assert_ptr_equal(network.cut, &network.cuts.cuts[network.cuts.n - 1]);
    close_network();
    options_put("head.at", "Conv_3");
    open_network("head_conv");
    assert_int_equal(network.n_features, 10);
    close_network();
    options_put("head.at", "Conv_33");
    expect_refusal("head_conv", THAW_ERR_USAGE, "head.at = Conv_33", "did you mean \"Conv_3\"");
    /* A cut above the head keeps it, on the user's own word. */
    options_put("head.at", "auto");
    options_put("freeze", "6");
    open_network("head_conv");
    assert_int_equal(network.n_features, 5);
    assert_non_null(strstr(network.head, "lies below the cut"));
    close_network();
}

/* ---- outputs ------------------------------------------------------------------------------- */

static void of_several_outputs_the_deepest_is_taken_with_a_word(void **state) {
    (void)state;
    open_network("two_outputs");
    assert_string_equal(network.model.graph.values[network.model.graph.output].name, "t10");
    assert_int_equal(network.n_features, 9);
    assert_int_equal(network.n_notes, 1);
    assert_string_equal(network.notes[0],
                        "the model has 2 outputs, t5, t10: t10 is taken, which most of it lies "
                        "below; output = NAME takes another");
    close_network();
    options_put("output", "t5");
    open_network("two_outputs");
    assert_int_equal(network.n_features, 8);
    assert_int_equal(network.n_notes, 0);
    assert_string_equal(network.head, "Gemm_5 (Gemm) and what follows it, 3 numbers, is replaced");
    close_network();
    options_put("output", "logits");
    expect_refusal("two_outputs", THAW_ERR_USAGE, "output = logits", "it has t5, t10");
}

/* ---- what the file leaves open ------------------------------------------------------------- */

static void an_open_size_is_said_and_set(void **state) {
    (void)state;
    open_network("open_size");
    assert_int_equal(network.preprocess.geometry.width, 224);
    assert_int_equal(network.n_notes, 1);
    assert_string_equal(network.notes[0],
                        "the model leaves the size of its pictures open: 224 x 224 "
                        "is taken; image.size sets it");
    close_network();
    options_put("image.size", "60");
    open_network("open_size");
    assert_int_equal(network.preprocess.geometry.width, 60);
    assert_int_equal(network.n_notes, 0);
    close_network();
    expect_refusal("half", THAW_ERR_USAGE, "image.size = 60", "12 x 12 and no others");
}

static void whole_numbers_are_said(void **state) {
    (void)state;
    open_network("uint8_nhwc");
    assert_int_equal(network.n_notes, 1);
    assert_string_equal(
        network.notes[0],
        "the model takes pixels as whole numbers, and so will the bundle's model.onnx");
    close_network();
    open_network("half");
    assert_int_equal(network.n_notes, 0);
    close_network();
}

/* ---- in the log of a training -------------------------------------------------------------- */

/* Half of the features, or all of them, no longer depend on the picture. */
static void stop_features(Onnx__ModelProto *m, size_t share) {
    Onnx__TensorProto *w = NULL;
    for (size_t i = 0; i < m->graph->n_initializer; i++)
        if (strcmp(m->graph->initializer[i]->name, m->graph->node[5]->input[1]) == 0)
            w = m->graph->initializer[i];
    assert_true(w && strcmp(m->graph->node[5]->op_type, "Conv") == 0);
    memset(w->raw_data.data, 0, w->raw_data.len / 9 * share);
}

static void stop_all(Onnx__ModelProto *m) {
    stop_features(m, 9);
}

static void stop_five(Onnx__ModelProto *m) {
    stop_features(m, 5);
}

static void train_says(test_edit *change, const char *level, const char *sentence) {
    size_t n;
    program p = {0};
    uint8_t *bytes = test_edited("two_outputs", change, &n);
    write_bytes("model.onnx", bytes, n);
    free(bytes);
    program_expect_ok(&p,
                      "train --model=model.onnx --data.train=pics --out=run --epochs=1 "
                      "--cache.dir=none --log=%s",
                      level);
    program_expect_text(&p, p.err, sentence);
    program_free(&p);
    remove_tree("run");
}

static void a_training_says_it(void **state) {
    (void)state;
    tempdir place = program_place(2, 1);
    train_says(NULL, "warn", "the model has 2 outputs, t5, t10: t10 is taken");
    train_says(NULL, "info",
               "old head: Gemm_10 (Gemm) and what follows it, 5 numbers, is replaced");
    train_says(stop_five, "warn", "5 of 9 features are the same for every training picture\n");
    train_says(stop_all, "warn",
               "9 of 9 features are the same for every training picture: nothing can "
               "be learnt from them");
    program_leave(&place);
}

/* ---- the device ------------------------------------------------------------------------------ */

static void release_nothing(void *memory) {
    assert_null(memory);
}

/* A device that lacks a kernel which the network needs, and one that has what it needs. */
static void auto_takes_the_cpu_for_what_a_device_lacks(void **state) {
    (void)state;
    /* What is refused has taken no memory. */
    static const thaw_memory nowhere = {.release = release_nothing,
                                        .release_pinned = release_nothing,
                                        .close_stream = release_nothing,
                                        .release_event = release_nothing,
                                        .release_graph = release_nothing};
    thaw_kernels kernels = thaw_cpu_kernels;
    kernels.name = "test";
    kernels.memory = &nowhere;
    kernels.trunk[THAW_STEP_resample].prepare = NULL;
    thaw_backend backend;
    open_network("borders");
    assert_int_equal(thaw_backend_open(&backend, "cpu", 1, &err), THAW_OK);
    backend.kernels = &kernels;
    assert_int_equal(thaw_network_settle(&network, &backend, &err), THAW_OK);
    assert_ptr_equal(backend.kernels, &kernels); /* It was asked for. */
    backend.automatic = true;
    assert_int_equal(thaw_network_settle(&network, &backend, &err), THAW_OK);
    assert_ptr_equal(backend.kernels, &thaw_cpu_kernels);
    if (!strstr(backend.note, "computing on the CPU: Pad_2: the test backend has no resample") ||
        strstr(backend.note, "use device"))
        fail_msg("%s", backend.note);
    thaw_backend_close(&backend);
    close_network();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        OPTIONS_TEST(features_are_channels_wherever_they_stand),
        OPTIONS_TEST(what_was_taken_for_the_head_is_said),
        OPTIONS_TEST(the_head_is_where_the_option_says),
        OPTIONS_TEST(of_several_outputs_the_deepest_is_taken_with_a_word),
        OPTIONS_TEST(an_open_size_is_said_and_set),
        OPTIONS_TEST(whole_numbers_are_said),
        OPTIONS_TEST(a_training_says_it),
        OPTIONS_TEST(auto_takes_the_cpu_for_what_a_device_lacks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
