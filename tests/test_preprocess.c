/* Preprocessing: the numbers of each preset, each rule by which `auto` guesses one, what goes before
 * a guess, and the record's way to JSON and back. */
#include "model/preprocess.h"
#include "onnx_testing.h"
#include "options_testing.h"

static thaw_preprocess record;
static char why[256];
static thaw_error err;

static void open_model(const char *file, test_edit *change, thaw_model *model) {
    size_t n;
    uint8_t *bytes = test_edited(file, change, &n);
    if (thaw_model_parse(model, bytes, n, "x.onnx", 0, 0, &err) != THAW_OK)
        fail_msg("%s", err.text);
    free(bytes);
}

static thaw_status choose(const char *file, test_edit *change) {
    thaw_model model;
    open_model(file, change, &model);
    thaw_status status = thaw_preprocess_choose(&model, &options, &record, why, sizeof why, &err);
    thaw_model_free(&model);
    return status;
}

/* ---- presets ------------------------------------------------------------------------------- */

typedef struct preset_row {
    const char *name;
    bool bgr;
    double black[3], white[3]; /* What the network gets for 0 and 255, by its own channels. */
} preset_row;

/* imagenet: torchvision; tf, caffe: keras.applications, where tf is what TensorFlow-Slim has. */
static const preset_row presets[] = {
    {"imagenet", false, {-2.117904, -2.035714, -1.804444}, {2.248908, 2.428571, 2.64}},
    {"tf", false, {-1, -1, -1}, {0.9921875, 0.9921875, 0.9921875}},
    {"caffe", true, {-103.939, -116.779, -123.68}, {151.061, 138.221, 131.32}},
    {"unit", false, {0, 0, 0}, {1, 1, 1}},
    {"raw", false, {0, 0, 0}, {255, 255, 255}},
};

static const preset_row *preset_named(const char *name) {
    for (size_t i = 0; i < sizeof presets / sizeof presets[0]; i++)
        if (strcmp(presets[i].name, name) == 0) return &presets[i];
    fail_msg("there is no preset %s", name);
    return NULL;
}

static bool record_is(const preset_row *row) {
    float scale[3], shift[3];
    thaw_preprocess_affine(&record, scale, shift);
    bool same = (record.geometry.order == THAW_ORDER_BGR) == row->bgr;
    for (int c = 0; c < 3; c++) {
        same &= fabs(shift[c] - row->black[c]) <= 1e-5 * fmax(1, fabs(row->black[c]));
        same &= fabs(255 * scale[c] + shift[c] - row->white[c]) <= 1e-5 * fmax(1, row->white[c]);
    }
    return same;
}

static void presets_have_their_numbers(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof presets / sizeof presets[0]; i++) {
        options_put("preprocess", presets[i].name);
        assert_int_equal(choose("resnet_17", NULL), THAW_OK);
        if (!record_is(&presets[i])) fail_msg("%s has other numbers", presets[i].name);
        assert_true(strncmp(why, presets[i].name, strlen(presets[i].name)) == 0);
        assert_non_null(strstr(why, ": given"));
        const thaw_geometry *g = &record.geometry;
        assert_int_equal(g->fit, THAW_FIT_CROP);
        assert_int_equal(g->filter, THAW_FILTER_BILINEAR);
        assert_true(g->width == 32 && g->height == 32 && g->shorter == 32 && g->channels == 3);
    }
}

/* ---- the guess ----------------------------------------------------------------------------- */

static void made_by(Onnx__ModelProto *m, const char *name) {
    test_replace(&m->producer_name, name);
}

static void by_tf2onnx(Onnx__ModelProto *m) {
    made_by(m, "tf2onnx");
}

static void by_keras(Onnx__ModelProto *m) {
    made_by(m, "keras2onnx");
}

static void by_tflite(Onnx__ModelProto *m) {
    made_by(m, "tflite2onnx");
}

static void by_caffe(Onnx__ModelProto *m) {
    made_by(m, "caffe-to-onnx");
}

static void by_thaw(Onnx__ModelProto *m) {
    made_by(m, "thaw");
}

static void by_nobody(Onnx__ModelProto *m) {
    free(m->producer_name);
    m->producer_name = NULL;
}

static void guesses_follow_their_rules(void **state) {
    (void)state;
    static const struct {
        const char *file;
        test_edit *change;
        const char *preset, *reason;
    } rows[] = {
        {"resnet_17", NULL, "imagenet", "comes from PyTorch"},
        {"resnet_17", by_tf2onnx, "tf", "comes from TensorFlow"},
        {"resnet_17", by_keras, "tf", "comes from TensorFlow"},
        {"resnet_17", by_tflite, "tf", "comes from TensorFlow"},
        {"resnet_17", by_caffe, "caffe", "comes from Caffe"},
        {"resnet_17", by_thaw, "imagenet", "thaw new has made the file"},
        {"resnet_17", by_nobody, "imagenet", "nothing in the file speaks for another one; a guess"},
        {"pad_attr", NULL, "imagenet", "nothing in the file"}, /* A pad is no arithmetic. */
        {"nhwc", NULL, "tf", "comes from TensorFlow"},
        {"normalise", NULL, "raw", "begins with arithmetic on its input"},
        {"normalise", by_caffe, "raw", "begins with arithmetic on its input"},
        {"bn_alone", NULL, "raw", "begins with arithmetic on its input"},
        {"uint8_nhwc", NULL, "raw", "takes whole numbers"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(choose(rows[i].file, rows[i].change), THAW_OK);
        if (!record_is(preset_named(rows[i].preset)) || !strstr(why, rows[i].reason))
            fail_msg("row %zu, %s: %s", i, rows[i].file, why);
    }
    /* ImageNet with a class for the background. */
    thaw_model model;
    open_model("resnet_17", NULL, &model);
    model.graph.values[model.graph.output].dims[1] = 1001;
    assert_int_equal(thaw_preprocess_choose(&model, &options, &record, why, sizeof why, &err),
                     THAW_OK);
    assert_true(record_is(preset_named("tf")));
    assert_non_null(strstr(why, "1001 outputs"));
    thaw_model_free(&model);
}

/* ---- what goes before a guess -------------------------------------------------------------- */

static void put_metadata(Onnx__ModelProto *m, const char *value) {
    Onnx__StringStringEntryProto *entry = malloc(sizeof *entry);
    m->metadata_props =
        realloc(m->metadata_props, (m->n_metadata_props + 1) * sizeof *m->metadata_props);
    assert_true(entry && m->metadata_props);
    onnx__string_string_entry_proto__init(entry);
    entry->key = strdup("thaw.preprocess");
    entry->value = strdup(value);
    m->metadata_props[m->n_metadata_props++] = entry;
}

static void with_record(Onnx__ModelProto *m) {
    put_metadata(m,
                 "{\"width\": 9, \"height\": 9, \"fit\": \"squash\", \"shorter\": 40, "
                 "\"filter\": \"bicubic\", \"channels\": 3, \"order\": \"bgr\", "
                 "\"background\": 17, \"scale\": 1, \"mean\": [1, 2, 3], \"std\": [4, 5, 6]}");
}

static void with_damaged_record(Onnx__ModelProto *m) {
    put_metadata(m, "{\"width\": 9}");
}

static void the_files_own_record_counts(void **state) {
    (void)state;
    assert_int_equal(choose("resnet_17", with_record), THAW_OK);
    assert_string_equal(why, "from the model's own metadata");
    const thaw_geometry *g = &record.geometry;
    assert_true(g->width == 32 && g->height == 32); /* The network's, not the record's. */
    assert_true(g->fit == THAW_FIT_SQUASH && g->filter == THAW_FILTER_BICUBIC &&
                g->order == THAW_ORDER_BGR);
    assert_true(g->shorter == 40 && g->background == 17 && record.scale == 1);
    assert_true(record.mean[2] == 3 && record.std[2] == 6);
    assert_int_equal(choose("resnet_17", with_damaged_record), THAW_ERR_FORMAT);
    assert_non_null(strstr(err.text, "the preprocessing record is damaged"));
    options_put("preprocess", "unit"); /* What was asked for goes before it. */
    assert_int_equal(choose("resnet_17", with_record), THAW_OK);
    assert_true(record_is(preset_named("unit")));
}

static void options_change_single_parts(void **state) {
    (void)state;
    options_put("image.fit", "squash");
    options_put("image.filter", "bicubic");
    options_put("image.order", "bgr");
    options_put("image.scale", "0.5");
    options_put("image.mean", "1,2,3");
    options_put("image.std", "4");
    options_put("image.shorter", "50");
    assert_int_equal(choose("resnet_17", NULL), THAW_OK);
    const thaw_geometry *g = &record.geometry;
    assert_true(g->fit == THAW_FIT_SQUASH && g->filter == THAW_FILTER_BICUBIC &&
                g->order == THAW_ORDER_BGR);
    assert_true(g->shorter == 50 && record.scale == 0.5);
    for (int c = 0; c < 3; c++)
        assert_true(record.mean[c] == c + 1 && record.std[c] == 4);
    options_put("image.shorter", "20");
    assert_int_equal(choose("resnet_17", NULL), THAW_ERR_USAGE);
    assert_non_null(strstr(err.text, "image.shorter = 20: the model takes 32 x 32"));
}

/* ---- JSON ---------------------------------------------------------------------------------- */

static void the_record_survives_json(void **state) {
    (void)state;
    assert_int_equal(choose("resnet_17", with_record), THAW_OK);
    thaw_preprocess again = {0};
    thaw_json json = thaw_json_begin();
    thaw_preprocess_json(&json, json.root, &record);
    assert_false(json.failed);
    assert_int_equal(thaw_preprocess_parse(json.root, "it", &again, &err), THAW_OK);
    thaw_json_free(&json);
    assert_memory_equal(again.mean, record.mean, sizeof again.mean);
    assert_memory_equal(again.std, record.std, sizeof again.std);
    const thaw_geometry *a = &again.geometry, *b = &record.geometry;
    assert_true(again.scale == record.scale && a->width == b->width && a->height == b->height &&
                a->fit == b->fit && a->shorter == b->shorter && a->filter == b->filter &&
                a->channels == b->channels && a->order == b->order &&
                a->background == b->background);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        OPTIONS_TEST(presets_have_their_numbers),  OPTIONS_TEST(guesses_follow_their_rules),
        OPTIONS_TEST(the_files_own_record_counts), OPTIONS_TEST(options_change_single_parts),
        OPTIONS_TEST(the_record_survives_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
