/* thaw new: the networks that it writes have the numbers of parameters that the literature has, are
 * read, cut and frozen as foreign files are, and depend on the seed alone.
 */
#include "graph/cuts.h"
#include "onnx/architectures.h"
#include "onnx/onnx_read.h"
#include "program.h"
#include "trunk/trunk.h"

typedef struct known_network {
    const char *arch;
    /* With 1000 classes, as torchvision counts them; it has no resnet_tiny, whose nine 3x3 and three
     * 1x1 convolutions, 12 normalisations and head were counted by hand. */
    int64_t n_params;
    int64_t n_features;
} known_network;

static const known_network known[] = {
    {"resnet18", 11689512, 512},        {"resnet50", 25557032, 2048},
    {"resnet_tiny", 319352, 96},        {"mobilenet_v2", 3504872, 1280},
    {"efficientnet_b0", 5288548, 1280}, {"convnext_tiny", 28589128, 768},
};
enum { N_KNOWN = sizeof known / sizeof known[0] };

static void write_network(const char *arch, int64_t classes, int64_t size, uint64_t seed,
                          const char *path) {
    thaw_error err = {0};
    thaw_new_network network = {.arch = arch, .classes = classes, .size = size, .seed = seed};
    if (thaw_architecture_write(&network, path, &err) != THAW_OK) fail_msg("%s", err.text);
}

static void every_name_is_known(void **state) {
    (void)state;
    const char *const *names = thaw_architecture_names();
    for (int i = 0; i < N_KNOWN; i++)
        assert_string_equal(names[i], known[i].arch);
    assert_null(names[N_KNOWN]);
}

/* All features are finite and not all zero. (They may be tiny: in an untrained network batch
 * normalisation does not keep them up.) */
static void run_trunk(const thaw_model *model, const thaw_cut *cut, const known_network *k) {
    thaw_backend backend;
    thaw_error err = {0};
    assert_int_equal(thaw_backend_cpu_open(&backend, 2, &err), THAW_OK);
    const float scale[3] = {1 / 64.0f, 1 / 64.0f, 1 / 64.0f}, shift[3] = {-2, -2, -2};
    thaw_trunk_options options = {.batch = 1, .scale = scale, .shift = shift};
    thaw_trunk *trunk;
    if (thaw_trunk_create(&trunk, &model->graph, cut, &options, &backend, &err) != THAW_OK)
        fail_msg("%s: %s", k->arch, err.text);
    size_t n_pixels = (size_t)(model->height * model->width * 3);
    uint8_t *pixels = malloc(n_pixels);
    float *features = malloc((size_t)k->n_features * sizeof *features);
    assert_non_null(pixels);
    assert_non_null(features);
    uint64_t random = 5;
    for (size_t i = 0; i < n_pixels; i++)
        pixels[i] = (uint8_t)test_random(&random);
    assert_int_equal(thaw_trunk_run(trunk, 1, pixels, features, &err), THAW_OK);
    double power = 0;
    for (int64_t i = 0; i < k->n_features; i++) {
        if (!isfinite(features[i])) fail_msg("%s: feature %d is not finite", k->arch, (int)i);
        power += (double)features[i] * features[i] / (double)k->n_features;
    }
    if (!(power > 0)) fail_msg("%s: the features' power is %g", k->arch, power);
    free(pixels);
    free(features);
    thaw_trunk_free(trunk);
    thaw_backend_close(&backend);
}

static void networks_are_the_known_ones(void **state) {
    (void)state;
    tempdir t = program_place(1, 0);
    for (int i = 0; i < N_KNOWN; i++) {
        write_network(known[i].arch, 1000, 64, 1, "new.onnx");
        thaw_model model;
        thaw_cuts cuts;
        thaw_error err = {0};
        if (thaw_model_read(&model, "new.onnx", 0, 0, &err) != THAW_OK ||
            thaw_cuts_find(&model.graph, &cuts, &err) != THAW_OK)
            fail_msg("%s: %s", known[i].arch, err.text);
        const thaw_cut *last = &cuts.cuts[cuts.last];
        assert_int_equal(last->params_below + last->params_above, known[i].n_params);
        assert_int_equal(last->elements, known[i].n_features);
        run_trunk(&model, last, &known[i]);
        thaw_model_free(&model);
    }
    tempdir_remove(&t);
}

static void only_the_seed_counts(void **state) {
    (void)state;
    tempdir t = program_place(1, 0);
    write_network("mobilenet_v2", 3, 32, 7, "a.onnx");
    write_network("mobilenet_v2", 3, 32, 7, "b.onnx");
    write_network("mobilenet_v2", 3, 32, 8, "c.onnx");
    expect_equal_files("a.onnx", "b.onnx");
    size_t n_a, n_c;
    uint8_t *a = test_read("a.onnx", &n_a), *c = test_read("c.onnx", &n_c);
    assert_int_equal(n_a, n_c);
    assert_true(memcmp(a, c, n_a) != 0);
    free(a);
    free(c);
    tempdir_remove(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_name_is_known),
                                       cmocka_unit_test(networks_are_the_known_ones),
                                       cmocka_unit_test(only_the_seed_counts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
