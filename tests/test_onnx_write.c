/* Networks with a new head, written: every file in tests/data/onnx, whatever form and types it has,
 * becomes one in float and in the form for inference, of which Thaw reads the same trunk, to the
 * bit; all names are different. (That ONNX Runtime computes the same is tests/peer/test_bundles.py's.)
 */
#include <dirent.h>
#include <unistd.h>

#include "file.h"
#include "onnx/onnx_write.h"
#include "onnx_testing.h"
#include "tempdir.h"
#include "trunk/trunk.h"

enum { IMAGES = 2, SCORES = 3, WIDEST = 4000, LAYERS = 3, HIDDEN = 5 };

static thaw_backend backend;
static tempdir place;
static char written[PATH_MAX];

static int open_all(void **state) {
    (void)state;
    place = tempdir_make();
    tempdir_path(&place, "written.onnx", written);
    return thaw_backend_open(&backend, "cpu", 2, NULL);
}

static int close_all(void **state) {
    (void)state;
    thaw_backend_close(&backend);
    tempdir_remove(&place);
    return 0;
}

/* A model at its last cut. */
typedef struct opened {
    thaw_model model;
    thaw_cuts cuts;
    const thaw_cut *cut;
    bool pooled;
    int64_t D;
} opened;

static void find_cut(opened *o) {
    thaw_error err = {0};
    if (thaw_cuts_find(&o->model.graph, &o->cuts, &err) != THAW_OK) fail_msg("%s", err.text);
    o->cut = &o->cuts.cuts[o->cuts.last];
    o->pooled = thaw_cut_is_map(&o->model.graph, o->cut);
    const thaw_value *v = &o->model.graph.values[o->cut->shape];
    o->D = o->pooled ? thaw_value_channels(v) : o->cut->elements;
}

static void read_model(const char *path, opened *o) {
    thaw_error err = {0};
    if (thaw_model_read(&o->model, path, 0, 0, &err) != THAW_OK) fail_msg("%s", err.text);
    find_cut(o);
}

/* The features of two pictures, to be freed. */
static float *features_of(const opened *o) {
    static const float scale[3] = {1 / 64.0f, 1 / 64.0f, 1 / 64.0f}, shift[3] = {-2, -2, -2};
    thaw_trunk_options options = {
        .batch = IMAGES, .compute = THAW_F32, .scale = scale, .shift = shift, .pooled = o->pooled};
    thaw_trunk *trunk;
    thaw_error err = {0};
    size_t n_pixels = (size_t)(IMAGES * o->model.height * o->model.width * o->model.channels);
    uint8_t *pixels = malloc(n_pixels);
    float *features = calloc((size_t)(IMAGES * o->D), sizeof *features);
    assert_true(pixels && features);
    uint64_t random = 3;
    for (size_t i = 0; i < n_pixels; i++)
        pixels[i] = (uint8_t)test_random(&random);
    if (thaw_trunk_create(&trunk, &o->model.graph, o->cut, &options, &backend, &err) != THAW_OK ||
        thaw_trunk_run(trunk, IMAGES, pixels, features, &err) != THAW_OK)
        fail_msg("%s: %s", o->model.path, err.text);
    thaw_trunk_free(trunk);
    free(pixels);
    return features;
}

/* Writes it with n layers of ones. */
static thaw_status write_with_layers(const opened *o, int n) {
    static float numbers[SCORES * WIDEST];
    assert_in_range(o->D, 1, WIDEST);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        numbers[i] = 1;
    thaw_dense layers[LAYERS];
    for (int i = 0; i < n; i++)
        layers[i] = (thaw_dense){.w = numbers,
                                 .b = numbers,
                                 .K = i + 1 < n ? HIDDEN : SCORES,
                                 .D = i ? HIDDEN : o->D,
                                 .relu = i + 1 < n};
    thaw_new_head head = {.pooled = o->pooled, .layers = layers, .n_layers = n};
    return thaw_onnx_write(&o->model, o->cut, &head, written, NULL);
}

/* ---- the file ------------------------------------------------------------------------------ */

static Onnx__ModelProto *messages(void) {
    size_t n;
    uint8_t *bytes = test_read(written, &n);
    Onnx__ModelProto *m = onnx__model_proto__unpack(NULL, n, bytes);
    assert_non_null(m);
    free(bytes);
    return m;
}

static const char *node_problem(const Onnx__NodeProto *node) {
    static const char *const gone[] = {"Constant", "Dropout", "Cast", "Unknown"};
    for (size_t i = 0; i < sizeof gone / sizeof gone[0]; i++)
        if (strcmp(node->op_type, gone[i]) == 0) return gone[i];
    if (strcmp(node->op_type, "BatchNormalization") == 0 && node->n_output != 1)
        return "batch normalisation of training";
    for (size_t i = 0; i < node->n_attribute; i++) {
        if (strcmp(node->attribute[i]->name, "training_mode") == 0) return "training_mode";
        if (node->attribute[i]->t) return "a tensor in an attribute";
    }
    return NULL;
}

static const char *file_problem(const Onnx__ModelProto *m) {
    const Onnx__GraphProto *g = m->graph;
    for (size_t i = 0; i < g->n_initializer; i++) {
        const Onnx__TensorProto *t = g->initializer[i];
        if (t->data_location || t->n_external_data || !t->has_raw_data) return t->name;
        if (t->data_type != 1 && t->data_type != 7) return t->name; /* Float, int64. */
    }
    for (size_t i = 0; i < g->n_node; i++)
        if (node_problem(g->node[i])) return node_problem(g->node[i]);
    if (g->n_input != 1 || g->n_output != 1) return "inputs and outputs";
    if (g->input[0]->type->tensor_type->elem_type != 1) return "the input's type";
    return NULL;
}

/* A name that two tensors have, NULL when there is none. */
static const char *name_twice(const Onnx__GraphProto *g) {
    const char *names[1024];
    size_t n = 0;
    names[n++] = g->input[0]->name;
    for (size_t i = 0; i < g->n_initializer; i++)
        names[n++] = g->initializer[i]->name;
    for (size_t i = 0; i < g->n_node; i++)
        for (size_t k = 0; k < g->node[i]->n_output; k++)
            if (g->node[i]->output[k][0]) names[n++] = g->node[i]->output[k];
    assert_in_range(n, 1, 1024);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(names[i], names[k]) == 0) return names[i];
    return NULL;
}

static int check_file(const char *what) {
    Onnx__ModelProto *m = messages();
    const char *problem = file_problem(m), *twice = name_twice(m->graph);
    if (problem) print_error("%s: holds %s\n", what, problem);
    if (twice) print_error("%s: two tensors are called %s\n", what, twice);
    onnx__model_proto__free_unpacked(m, NULL);
    return problem || twice;
}

/* ---- every file ---------------------------------------------------------------------------- */

/* What is not the same in two trunks, NULL when nothing is. */
static const char *trunk_problem(const opened *before, const opened *after) {
    thaw_hash a, b;
    assert_int_equal(thaw_cut_hash(&before->model.graph, before->cut, before->pooled, &a, NULL),
                     THAW_OK);
    assert_int_equal(thaw_cut_hash(&after->model.graph, after->cut, after->pooled, &b, NULL),
                     THAW_OK);
    if (!thaw_hash_equal(a, b)) return "another hash";
    if (before->D != after->D) return "another number of features";
    float *x = features_of(before), *y = features_of(after);
    bool equal = memcmp(x, y, (size_t)(IMAGES * before->D) * sizeof *x) == 0;
    free(x);
    free(y);
    return equal ? NULL : "other features";
}

static int check_model(const char *file) {
    opened before, after;
    char path[512];
    snprintf(path, sizeof path, TEST_MODELS "%s", file);
    read_model(path, &before);
    assert_int_equal(write_with_layers(&before, 1), THAW_OK);
    int failures = check_file(file);
    read_model(written, &after);
    const char *problem = trunk_problem(&before, &after);
    if (problem) print_error("%s: the trunk has %s\n", file, problem);
    failures += problem != NULL;
    thaw_model_free(&before.model);
    thaw_model_free(&after.model);
    return failures;
}

static void every_file_keeps_its_trunk_in_inference_form(void **state) {
    (void)state;
    int failures = 0, n = 0;
    DIR *folder = opendir(TEST_MODELS);
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder));) {
        size_t length = strlen(entry->d_name);
        if (length < 5 || strcmp(entry->d_name + length - 5, ".onnx") != 0) continue;
        failures += check_model(entry->d_name);
        n++;
    }
    closedir(folder);
    assert_true(n > 80);
    assert_int_equal(failures, 0);
}

/* ---- names --------------------------------------------------------------------------------- */

/* Names that the writer would give; "scores" is the name of these networks' own output. */
static void take_the_writers_names(Onnx__ModelProto *m) {
    static const char *const taken[] = {"thaw_hidden",   "thaw_hidden_1",        "thaw_logits",
                                        "thaw_logits_1", "thaw_logits_1_weight", "thaw_shape_3",
                                        "thaw_relu_1",   "thaw_flatten"};
    Onnx__GraphProto *g = m->graph;
    size_t n = sizeof taken / sizeof taken[0], next = 0;
    for (size_t i = 0; i < g->n_initializer && next < n; i++, next++) {
        for (size_t k = 0; k < g->n_node; k++)
            for (size_t j = 0; j < g->node[k]->n_input; j++)
                if (strcmp(g->node[k]->input[j], g->initializer[i]->name) == 0)
                    test_replace(&g->node[k]->input[j], taken[next]);
        test_replace(&g->initializer[i]->name, taken[next]);
    }
    assert_int_equal(next, n);
}

static void names_are_all_different(void **state) {
    (void)state;
    static const char *const files[] = {"resnet_17", "vgg_17_bn", "reshape_zero_copies"};
    int failures = 0;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        size_t n;
        opened o;
        bool enough = i < 2; /* The last has few tensors, and a Reshape. */
        uint8_t *bytes = test_edited(files[i], enough ? take_the_writers_names : NULL, &n);
        thaw_error err = {0};
        if (thaw_model_parse(&o.model, bytes, n, "x.onnx", 0, 0, &err) != THAW_OK)
            fail_msg("%s: %s", files[i], err.text);
        free(bytes);
        find_cut(&o);
        assert_int_equal(write_with_layers(&o, LAYERS), THAW_OK);
        failures += check_file(files[i]);
        thaw_model_free(&o.model);
    }
    assert_int_equal(failures, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_file_keeps_its_trunk_in_inference_form),
        cmocka_unit_test(names_are_all_different),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
