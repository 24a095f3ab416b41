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
static float scale[3] = {1 / 64.0f, 1 / 64.0f, 1 / 64.0f}, shift[3] = {-2, -2, -2};

static float *features_of(const opened *o) {
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
static size_t most_bytes;

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
    thaw_new_head head = {
        .pooled = o->pooled, .layers = layers, .n_layers = n, .most_bytes = most_bytes};
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

static const char *node_problem(const Onnx__NodeProto *node, bool first, int input_type) {
    static const char *const gone[] = {"Constant", "Dropout", "Cast", "Unknown"};
    /* Only what makes floats of an input that has none. */
    if (first && input_type != 1 && strcmp(node->op_type, "Cast") == 0) return NULL;
    if (strncmp(node->name, "thaw_condition", 14) == 0) return NULL; /* Or a Where's bools. */
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

/* was: the file that it was made of. */
static const char *file_problem(const Onnx__ModelProto *m, const Onnx__ModelProto *was) {
    const Onnx__GraphProto *g = m->graph;
    int type = 1;
    for (size_t i = 0; i < was->graph->n_input; i++)
        if (strcmp(was->graph->input[i]->name, g->input[0]->name) == 0)
            type = was->graph->input[i]->type->tensor_type->elem_type;
    for (size_t i = 0; i < g->n_initializer; i++) {
        const Onnx__TensorProto *t = g->initializer[i];
        if (t->data_location || t->n_external_data || !t->has_raw_data) return t->name;
        if (t->data_type != 1 && t->data_type != 7) return t->name; /* Float, int64. */
    }
    for (size_t i = 0; i < g->n_node; i++)
        if (node_problem(g->node[i], i == 0, type)) return node_problem(g->node[i], i == 0, type);
    if (g->n_input != 1 || g->n_output != 1) return "inputs and outputs";
    if (g->input[0]->type->tensor_type->elem_type != type) return "another type of input";
    if ((type != 1) != (strcmp(g->node[0]->op_type, "Cast") == 0)) return "no Cast of its input";
    if (m->opset_import[0]->version != was->opset_import[0]->version) return "another opset";
    if (was->graph->name && strcmp(g->name, was->graph->name) != 0) return "another name";
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

static int check_file(const char *what, const Onnx__ModelProto *was) {
    Onnx__ModelProto *m = messages();
    const char *problem = file_problem(m, was), *twice = name_twice(m->graph);
    if (problem) print_error("%s: holds %s\n", what, problem);
    if (twice) print_error("%s: two tensors are called %s\n", what, twice);
    onnx__model_proto__free_unpacked(m, NULL);
    return problem || twice;
}

/* ---- every file ---------------------------------------------------------------------------- */

/* What is not the same in two trunks, NULL when nothing is. parted: a file for one picture whose constants have
 * numbers for each window was written with more nodes. */
static const char *trunk_problem(const opened *before, const opened *after, bool parted) {
    thaw_hash a, b;
    assert_int_equal(thaw_cut_hash(&before->model.graph, before->cut, before->pooled, &a, NULL),
                     THAW_OK);
    assert_int_equal(thaw_cut_hash(&after->model.graph, after->cut, after->pooled, &b, NULL),
                     THAW_OK);
    if (thaw_hash_equal(a, b) == parted) return parted ? "the same hash" : "another hash";
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
    int failures = check_file(file, before.model.proto);
    read_model(written, &after);
    const char *problem = trunk_problem(&before, &after, strcmp(file, "windows_1.onnx") == 0);
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
        failures += check_file(files[i], o.model.proto);
        thaw_model_free(&o.model);
    }
    assert_int_equal(failures, 0);
}

/* ---- what goes along ------------------------------------------------------------------------ */

static void say_much(Onnx__ModelProto *m) {
    m->domain = strdup("org.example");
    m->doc_string = strdup("how it was made");
    m->has_model_version = 1;
    m->model_version = 7;
    m->graph->doc_string = strdup("the graph's own");
    test_replace(&m->graph->name, "main_graph");
}

static void what_a_file_says_of_itself_stays(void **state) {
    (void)state;
    size_t n;
    opened o;
    uint8_t *bytes = test_edited("resnet_17", say_much, &n);
    assert_int_equal(thaw_model_parse(&o.model, bytes, n, "x.onnx", 0, 0, NULL), THAW_OK);
    free(bytes);
    find_cut(&o);
    assert_int_equal(write_with_layers(&o, 1), THAW_OK);
    Onnx__ModelProto *m = messages();
    assert_string_equal(m->domain, "org.example");
    assert_string_equal(m->doc_string, "how it was made");
    assert_int_equal(m->model_version, 7);
    assert_string_equal(m->graph->name, "main_graph");
    assert_string_equal(m->graph->doc_string, "the graph's own");
    assert_string_equal(m->graph->input[0]->name, "x");
    onnx__model_proto__free_unpacked(m, NULL);
    thaw_model_free(&o.model);
}

static void weights_get_a_file_where_one_is_too_small(void **state) {
    (void)state;
    opened before, after;
    char data[PATH_MAX + 8];
    struct stat model, weights;
    snprintf(data, sizeof data, "%s" THAW_ONNX_DATA, written);
    read_model(TEST_MODELS "resnet_17.onnx", &before);
    assert_int_equal(write_with_layers(&before, 1), THAW_OK);
    assert_int_not_equal(access(data, F_OK), 0);
    assert_int_equal(stat(written, &model), 0);
    size_t whole = (size_t)model.st_size;
    most_bytes = whole + 1; /* As many as there may be. */
    assert_int_equal(write_with_layers(&before, 1), THAW_OK);
    assert_int_not_equal(access(data, F_OK), 0);
    most_bytes = whole;
    assert_int_equal(write_with_layers(&before, 1), THAW_OK);
    most_bytes = 0;
    assert_int_equal(stat(data, &weights), 0);
    assert_int_equal(stat(written, &model), 0);
    assert_true((size_t)model.st_size < whole / 2 && (size_t)weights.st_size > whole / 2);
    read_model(written, &after);
    assert_null(trunk_problem(&before, &after, false));
    thaw_model_free(&after.model);
    thaw_model_free(&before.model);
    remove(data);
    thaw_error err = {0};
    assert_int_equal(thaw_model_read(&after.model, written, 0, 0, &err), THAW_ERR_IO);
    assert_non_null(strstr(err.text, "written.onnx.data, which cannot be read"));
    thaw_model_free(&after.model);
}

/* ---- pixels in front ------------------------------------------------------------------------ */

/* The features of pixels as they are, of what the front makes; those of pixels that it was told of, of
 * the file without. Where channels are flipped, of numbers that are the same in all. */
static void pixels_in_front_are_the_same_function(void **state) {
    (void)state;
    static const char *const files[] = {"resnet_17", "nhwc",   "conv_grey",
                                        "half",      "double", "mobilenetv2_17_bn"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        for (int flips = 0; flips < 2; flips++) {
            opened plain, front;
            char path[PATH_MAX];
            thaw_error err = {0};
            snprintf(path, sizeof path, TEST_MODELS "%s.onnx", files[i]);
            read_model(path, &plain);
            assert_int_equal(write_with_layers(&plain, 1), THAW_OK);
            thaw_model_free(&plain.model);
            read_model(written, &plain);
            thaw_onnx_front f = {.flips = flips};
            for (int c = 0; c < 3; c++) {
                f.scale[c] = scale[c] = (float)(c + 1) / 128;
                f.shift[c] = shift[c] = (float)c - 2;
            }
            float *want = features_of(&plain);
            if (thaw_onnx_write_front(&plain.model, &f, NULL, 0, 0, written, &err) != THAW_OK)
                fail_msg("%s", err.text);
            read_model(written, &front);
            assert_true(front.model.integer_input && front.model.graph.input_nhwc);
            assert_string_equal(front.model.graph.values[front.model.graph.input].name, "pixels");
            for (int c = 0; c < 3; c++)
                scale[c] = 1, shift[c] = 0;
            float *got = features_of(&front);
            double error = test_nmse((size_t)(IMAGES * plain.D), want, got);
            bool same = error < 1e-10, grey = plain.model.channels == 1;
            if (same != (!flips || grey)) fail_msg("%s, flips %d: NMSE %g", files[i], flips, error);
            free(want);
            free(got);
            thaw_model_free(&plain.model);
            thaw_model_free(&front.model);
        }
    }
    /* As it is, it stays as it is. */
    opened o, again;
    read_model(TEST_MODELS "resnet_17.onnx", &o);
    assert_int_equal(write_with_layers(&o, 1), THAW_OK);
    thaw_model_free(&o.model);
    read_model(written, &o);
    assert_int_equal(thaw_onnx_write_front(&o.model, NULL, NULL, 0, 0, written, NULL), THAW_OK);
    read_model(written, &again);
    assert_null(trunk_problem(&o, &again, false));
    thaw_model_free(&o.model);
    thaw_model_free(&again.model);
}

/* What takes whole numbers gets them, or nothing. */
static void whole_numbers_stay_whole(void **state) {
    (void)state;
    opened o, front;
    thaw_error err = {0};
    read_model(TEST_MODELS "uint8_nhwc.onnx", &o);
    assert_int_equal(write_with_layers(&o, 1), THAW_OK);
    thaw_model_free(&o.model);
    read_model(written, &o);
    assert_true(o.model.integer_input);
    thaw_onnx_front half = {.scale = {0.5f, 0.5f, 0.5f}}, same = {.scale = {1, 1, 1}};
    assert_int_equal(thaw_onnx_write_front(&o.model, &half, NULL, 0, 0, written, &err),
                     THAW_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "takes whole numbers"));
    assert_int_equal(thaw_onnx_write_front(&o.model, &same, NULL, 0, 0, written, &err), THAW_OK);
    read_model(written, &front);
    float *want = features_of(&o), *got = features_of(&front);
    assert_memory_equal(want, got, (size_t)(IMAGES * o.D) * sizeof *want);
    free(want);
    free(got);
    thaw_model_free(&o.model);
    thaw_model_free(&front.model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_file_says_of_itself_stays),
        cmocka_unit_test(weights_get_a_file_where_one_is_too_small),
        cmocka_unit_test(pixels_in_front_are_the_same_function),
        cmocka_unit_test(whole_numbers_stay_whole),
        cmocka_unit_test(every_file_keeps_its_trunk_in_inference_form),
        cmocka_unit_test(names_are_all_different),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
