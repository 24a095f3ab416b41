/* Preprocessing: the numbers of each preset, each rule by which `auto` guesses one, what goes before
 * a guess, and the record's way to JSON and back. */
#include "model/preprocess.h"
#include "onnx_testing.h"
#include "options_testing.h"

static thaw_preprocess record;
static thaw_choice choice;
static thaw_error err;
static thaw_beside nothing_beside;
#define why choice.why

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
    thaw_status status =
        thaw_preprocess_choose(&model, &nothing_beside, &options, &record, &choice, &err);
    thaw_model_free(&model);
    return status;
}

/* ---- presets ------------------------------------------------------------------------------- */

typedef struct preset_row {
    const char *name;
    bool bgr;
    double black[3], white[3]; /* What the network gets for 0 and 255, by its own channels. */
} preset_row;

/* imagenet: torchvision; inception: timm's IMAGENET_INCEPTION_MEAN; keras, caffe: keras.applications, whose
 * "tf" is the former; tf: what TensorFlow-Slim's first models have. */
static const preset_row presets[] = {
    {"imagenet", false, {-2.117904, -2.035714, -1.804444}, {2.248908, 2.428571, 2.64}},
    {"tf", false, {-1, -1, -1}, {0.9921875, 0.9921875, 0.9921875}},
    {"inception", false, {-1, -1, -1}, {1, 1, 1}},
    {"keras", false, {-1, -1, -1}, {1, 1, 1}},
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

static bool window_is(thaw_pixel_window_kind kind, double low, double high) {
    const thaw_pixel_window *w = &record.geometry.window;
    return w->kind == kind && w->low == low && w->high == high;
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
        assert_true(g->decode == THAW_DECODE_FAST && window_is(THAW_WINDOW_FILE, 0, 0));
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
        {"resnet_17", NULL, "imagenet", "comes from PyTorch; a guess"},
        {"resnet_17", by_tf2onnx, "tf", "comes from TensorFlow"},
        {"resnet_17", by_keras, "tf", "comes from TensorFlow"},
        {"resnet_17", by_tflite, "tf", "comes from TensorFlow"},
        {"resnet_17", by_caffe, "caffe", "comes from Caffe"},
        {"resnet_17", by_thaw, "imagenet", "thaw new has made the file"},
        {"resnet_17", by_nobody, "imagenet", "nothing in the file speaks for another one; a guess"},
        {"pad_attr", NULL, "imagenet", "nothing in the file"}, /* A pad is no arithmetic. */
        {"nhwc", NULL, "tf", "comes from TensorFlow"},
        {"normalise", NULL, "unit", "begins with arithmetic on its input"},
        {"normalise", by_caffe, "unit", "begins with arithmetic on its input"},
        {"bn_alone", NULL, "raw", "begins with arithmetic on its input"},
        {"uint8_nhwc", NULL, "raw", "takes whole numbers, so it scales pixels itself; likely"},
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
    assert_int_equal(
        thaw_preprocess_choose(&model, &nothing_beside, &options, &record, &choice, &err), THAW_OK);
    assert_true(record_is(preset_named("tf")));
    assert_non_null(strstr(why, "1001 outputs"));
    thaw_model_free(&model);
}

/* ---- arithmetic at the input ----------------------------------------------------------------- */

/* normalise.onnx begins with (x - a) / b: gives it other numbers. */
static float subtracted, divided_by;

static void with_numbers(Onnx__ModelProto *m) {
    Onnx__GraphProto *g = m->graph;
    assert_string_equal(g->node[0]->op_type, "Sub");
    assert_string_equal(g->node[1]->op_type, "Div");
    for (size_t k = 0; k < g->n_initializer; k++) {
        bool sub = strcmp(g->initializer[k]->name, g->node[0]->input[1]) == 0;
        bool div = strcmp(g->initializer[k]->name, g->node[1]->input[1]) == 0;
        float *values = (float *)g->initializer[k]->raw_data.data;
        for (size_t i = 0; (sub || div) && i < g->initializer[k]->raw_data.len / 4; i++)
            values[i] = sub ? subtracted : divided_by;
    }
}

static void what_the_network_does_itself_tells_what_it_wants(void **state) {
    (void)state;
    static const struct {
        float subtracted, divided_by;
        const char *preset, *reason;
    } rows[] = {
        {0.45f, 0.22f, "unit", "fits pixels from 0 to 1; likely"},
        {0.5f, 0.5f, "unit", "fits pixels from 0 to 1; likely"},
        {0, 1 / 255.0f, "unit", "fits pixels from 0 to 1; likely"},
        {123, 58, "raw", "fits pixels from 0 to 255; likely"},
        {127.5f, 127.5f, "raw", "fits pixels from 0 to 255; likely"},
        {0, 255, "raw", "fits pixels from 0 to 255; likely"},
        {-3, 2, "raw", "so it scales pixels itself; a guess"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        subtracted = rows[i].subtracted;
        divided_by = rows[i].divided_by;
        assert_int_equal(choose("normalise", with_numbers), THAW_OK);
        if (!record_is(preset_named(rows[i].preset)) || !strstr(why, rows[i].reason))
            fail_msg("(x - %g) / %g: %s", subtracted, divided_by, why);
    }
}

/* ---- a file beside the model ------------------------------------------------------------------ */

static thaw_status beside(const char *text, thaw_beside *b) {
    json_t *json;
    err = (thaw_error){0};
    assert_int_equal(thaw_json_parse(text, strlen(text), "m.json", &json, &err), THAW_OK);
    thaw_status status = thaw_beside_parse(json, "m.json", b, &err);
    json_decref(json);
    return status;
}

/* The record for resnet_17, of 32 x 32 pixels, by this file beside it. */
static void choose_beside(const char *text) {
    thaw_model model;
    thaw_beside b;
    if (beside(text, &b) != THAW_OK) fail_msg("%s: %s", text, err.text);
    open_model("resnet_17", NULL, &model);
    if (thaw_preprocess_choose(&model, &b, &options, &record, &choice, &err) != THAW_OK)
        fail_msg("%s: %s", text, err.text);
    thaw_model_free(&model);
}

#define MEAN "\"mean\": [0.5, 0.5, 0.5], \"std\": [0.5, 0.5, 0.5]"
#define IMAGE_MEAN "\"image_mean\": [0.5, 0.5, 0.5], \"image_std\": [0.5, 0.5, 0.5]"

static void a_file_beside_the_model_counts(void **state) {
    (void)state;
    static const struct {
        const char *text, *preset;
        thaw_fit fit;
        int shorter;
        thaw_filter filter;
        const char *said;
    } rows[] = {
        /* timm: the file, as part of Hugging Face's config.json, and as an old default_cfg. */
        {"{" MEAN
         ", \"interpolation\": \"bicubic\", \"crop_pct\": 0.875, \"input_size\": [3, 32, 32]}",
         "inception", THAW_FIT_CROP, 36, THAW_FILTER_BICUBIC,
         "m.json beside the model says so; certain"},
        {"{\"architecture\": \"resnet18\", \"mean\": 7, \"pretrained_cfg\": {" MEAN
         ", \"crop_pct\": 0.95, \"interpolation\": \"bilinear\"}}",
         "inception", THAW_FIT_CROP, 33, THAW_FILTER_BILINEAR, "certain"},
        {"{\"default_cfg\": {\"mean\": [0.485, 0.456, 0.406], \"std\": [0.229, 0.224, 0.225], "
         "\"crop_pct\": 1.0, \"crop_mode\": \"squash\", \"interpolation\": \"lanczos\"}}",
         "imagenet", THAW_FIT_SQUASH, 32, THAW_FILTER_BICUBIC,
         "but it resizes by lanczos; here bicubic"},
        /* Hugging Face: MobileNetV2, ViT, ConvNeXt, EfficientNet, MobileViT; a model that rescales alone. */
        {"{" IMAGE_MEAN ", \"size\": {\"shortest_edge\": 40}, \"crop_size\": {\"height\": 32, "
         "\"width\": 32}, \"do_center_crop\": true, \"resample\": 2, \"rescale_factor\": "
         "0.00392156862745098}",
         "inception", THAW_FIT_CROP, 40, THAW_FILTER_BILINEAR, "certain"},
        {"{" IMAGE_MEAN ", \"size\": {\"height\": 32, \"width\": 32}, \"resample\": 3}",
         "inception", THAW_FIT_SQUASH, 32, THAW_FILTER_BICUBIC, "certain"},
        {"{" IMAGE_MEAN ", \"size\": 32, \"crop_pct\": 0.875}", "inception", THAW_FIT_CROP, 36,
         THAW_FILTER_BILINEAR, "certain"},
        {"{" IMAGE_MEAN ", \"size\": {\"height\": 36, \"width\": 36}, \"crop_size\": 32, "
         "\"do_center_crop\": true}",
         "inception", THAW_FIT_CROP, 36, THAW_FILTER_BILINEAR,
         "it squashes to 36 x 36 before the crop"},
        {"{\"do_normalize\": false, \"do_rescale\": false, \"size\": 40, \"crop_size\": 32}", "raw",
         THAW_FIT_CROP, 40, THAW_FILTER_BILINEAR, "certain"},
        {"{\"rescale_factor\": 0.00392156862745098}", "unit", THAW_FIT_CROP, 32,
         THAW_FILTER_BILINEAR, "certain"},
        /* Numbers that are nobody else's, and a file without any. */
        {"{\"interpolation\": \"bicubic\", \"crop_pct\": 0.8}", "imagenet", THAW_FIT_CROP, 40,
         THAW_FILTER_BICUBIC, "comes from PyTorch; a guess. How pictures become so large, m.json"},
        {"{\"hidden_size\": 96, \"architectures\": [\"A\"]}", "imagenet", THAW_FIT_CROP, 32,
         THAW_FILTER_BILINEAR, "comes from PyTorch; a guess"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        choose_beside(rows[i].text);
        const thaw_geometry *g = &record.geometry;
        if (!record_is(preset_named(rows[i].preset)) || g->fit != rows[i].fit ||
            g->shorter != rows[i].shorter || g->filter != rows[i].filter ||
            !strstr(why, rows[i].said))
            fail_msg("%s: fit %d, shorter %d, filter %d: %s", rows[i].text, g->fit, g->shorter,
                     g->filter, why);
    }
    choose_beside(
        "{\"image_mean\": [0, 0, 0], \"image_std\": [1, 1, 1], \"do_flip_channel_order\": true}");
    assert_true(record.geometry.order == THAW_ORDER_BGR && record.scale == 1 / 255.0);
    choose_beside("{\"mean\": 0.4, \"std\": [0.3]}");
    assert_non_null(strstr(why, "numbers of its own (no preset's)"));
    assert_true(record.mean[2] == 0.4 && record.std[1] == 0.3);
    options_put("image.crop_pct", "0.5"); /* What was asked for goes before it. */
    options_put("image.filter", "bilinear");
    choose_beside(rows[0].text);
    assert_true(record.geometry.shorter == 64 && record.geometry.filter == THAW_FILTER_BILINEAR);
    options_put("image.shorter", "40");
    assert_int_equal(choose("resnet_17", NULL), THAW_ERR_USAGE);
    assert_non_null(strstr(err.text, "say the same"));
}

static void what_a_file_beside_the_model_may_not_say(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"{\"mean\": [0.5, 0.5], \"std\": [1, 1, 1]}", "\"mean\" is not one number, or three"},
        {"{\"mean\": [0.5, 0.5, 0.5]}", "\"std\" is not one number above 0"},
        {"{\"mean\": 0, \"std\": 0}", "\"std\""},
        {"{\"mean\": \"0.5\", \"std\": 1}", "\"mean\""},
        {"{\"mean\": {}, \"std\": 1}", "\"mean\""},
        {"{\"crop_pct\": 2}", "\"crop_pct\" is not a number from 0.05 to 1"},
        {"{\"crop_pct\": 1, \"crop_mode\": \"round\"}", "\"crop_mode\""},
        {"{\"interpolation\": \"cubic\"}", "\"interpolation\" is not bilinear, bicubic or another"},
        {"{\"interpolation\": []}", "\"interpolation\""},
        {"{\"resample\": 6}", "\"resample\""},
        {"{\"resample\": -1}", "\"resample\""},
        {"{\"input_size\": [3, 224]}", "\"input_size\""},
        {"{\"input_size\": [3, 224, 1e9]}", "\"input_size\""},
        {"{\"image_mean\": 0, \"image_std\": 1, \"size\": \"large\"}", "\"size\""},
        {"{\"crop_size\": {\"height\": 3}}", "\"crop_size\""},
        {"{\"rescale_factor\": 0}", "\"rescale_factor\""},
        {"{\"do_rescale\": 1}", "\"do_rescale\" is not true or false"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        thaw_beside b;
        thaw_status status = beside(rows[i][0], &b);
        if (status != THAW_ERR_FORMAT || !strstr(err.text, rows[i][1]) ||
            !strstr(err.text, "m.json: ") || !strstr(err.text, "or give preprocess = NAME"))
            fail_msg("%s: status %d, \"%s\"", rows[i][0], status, err.text);
    }
    thaw_beside b;
    static const char *const others[] = {"[1, 2]", "{}", "3", "{\"mean\": null, \"std\": null}"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        json_t *json = json_loads(others[i], JSON_DECODE_ANY, NULL);
        assert_int_equal(thaw_beside_parse(json, "m.json", &b, &err), THAW_OK);
        assert_string_equal(b.file, "");
        json_decref(json);
    }
}

/* Each key of a full record with each odd value: a sentence, or a record that can be. */
static void no_odd_value_makes_an_odd_record(void **state) {
    (void)state;
    static const char *const keys[] = {
        "mean",       "std",          "interpolation",  "crop_pct",
        "crop_mode",  "input_size",   "image_mean",     "image_std",
        "resample",   "size",         "crop_size",      "rescale_factor",
        "do_rescale", "do_normalize", "do_center_crop", "do_flip_channel_order"};
    static const char *const values[] = {"null",
                                         "true",
                                         "0",
                                         "-1",
                                         "1",
                                         "7",
                                         "1e300",
                                         "-1e300",
                                         "1e-300",
                                         "16385",
                                         "\"\"",
                                         "\"x\"",
                                         "[]",
                                         "[0,0,0]",
                                         "{}",
                                         "[1,2,3]",
                                         "[1,2,3,4]",
                                         "[1e300,1,1]",
                                         "\"bicubic\"",
                                         "{\"height\": 1}",
                                         "{\"height\": 9, \"width\": 5}",
                                         "{\"shortest_edge\": 8}",
                                         "{\"shortest_edge\": -8}",
                                         "[3, 1, 1]",
                                         "[3, -1, 1e9]"};
    int n_taken = 0, n_refused = 0;
    thaw_model model;
    open_model("resnet_17", NULL, &model);
    for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++)
        for (size_t v = 0; v < sizeof values / sizeof values[0]; v++) {
            char text[512];
            thaw_beside b;
            snprintf(text, sizeof text,
                     "{\"mean\": 0, \"std\": 1, \"size\": 40, \"crop_size\": 32, \"resample\": 2, "
                     "\"%s\": %s}",
                     keys[k], values[v]);
            thaw_status status = beside(text, &b);
            n_taken += status == THAW_OK;
            n_refused += status == THAW_ERR_FORMAT;
            if (status != THAW_OK) continue;
            status = thaw_preprocess_choose(&model, &b, &options, &record, &choice, &err);
            const thaw_geometry *g = &record.geometry;
            bool sound = g->shorter >= 32 && g->shorter <= 65536 && g->fit <= THAW_FIT_SQUASH &&
                         g->filter <= THAW_FILTER_BICUBIC && g->order <= THAW_ORDER_BGR &&
                         record.scale >= 1e-6 && record.scale <= 1e3 && record.std[0] >= 1e-6 &&
                         fabs(record.mean[2]) <= 1e3;
            if (status != THAW_OK || !sound) fail_msg("%s: status %d, %s", text, status, why);
        }
    thaw_model_free(&model);
    if (n_taken < 40 || n_refused < 100) fail_msg("%d taken, %d refused", n_taken, n_refused);
    assert_int_equal(n_taken + n_refused,
                     sizeof keys / sizeof keys[0] * (sizeof values / sizeof values[0]));
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
                 "\"background\": 17, \"decode\": \"fast\", \"window\": \"-1000..400\", "
                 "\"scale\": 1, \"mean\": [1, 2, 3], \"std\": [4, 5, 6]}");
}

/* Of a program that did not know them. */
static void with_old_record(Onnx__ModelProto *m) {
    put_metadata(m,
                 "{\"width\": 9, \"height\": 9, \"fit\": \"squash\", \"shorter\": 40, "
                 "\"filter\": \"bicubic\", \"order\": \"bgr\", "
                 "\"scale\": 1, \"mean\": [1, 2, 3], \"std\": [4, 5, 6]}");
}

static void with_unknown_window(Onnx__ModelProto *m) {
    put_metadata(m,
                 "{\"width\": 9, \"height\": 9, \"fit\": \"squash\", \"shorter\": 40, "
                 "\"filter\": \"bicubic\", \"order\": \"bgr\", \"window\": \"all\", "
                 "\"scale\": 1, \"mean\": [1, 2, 3], \"std\": [4, 5, 6]}");
}

static void with_damaged_record(Onnx__ModelProto *m) {
    put_metadata(m, "{\"width\": 9}");
}

static void the_files_own_record_counts(void **state) {
    (void)state;
    assert_int_equal(choose("resnet_17", with_record), THAW_OK);
    assert_string_equal(why, "from the model's own metadata; certain");
    const thaw_geometry *g = &record.geometry;
    assert_true(g->width == 32 && g->height == 32); /* The network's, not the record's. */
    assert_true(g->fit == THAW_FIT_SQUASH && g->filter == THAW_FILTER_BICUBIC &&
                g->order == THAW_ORDER_BGR);
    assert_true(g->shorter == 40 && g->background == 17 && record.scale == 1);
    assert_true(record.mean[2] == 3 && record.std[2] == 6);
    assert_true(g->decode == THAW_DECODE_FAST && window_is(THAW_WINDOW_FIXED, -1000, 400));
    assert_int_equal(choose("resnet_17", with_old_record), THAW_OK);
    assert_true(g->decode == THAW_DECODE_EXACT && window_is(THAW_WINDOW_FILE, 0, 0));
    assert_int_equal(choose("resnet_17", with_unknown_window), THAW_ERR_FORMAT);
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
    options_put("image.decode", "exact");
    options_put("image.window", "percentile(0.5,99.5)");
    assert_int_equal(choose("resnet_17", NULL), THAW_OK);
    const thaw_geometry *g = &record.geometry;
    assert_true(g->fit == THAW_FIT_SQUASH && g->filter == THAW_FILTER_BICUBIC &&
                g->order == THAW_ORDER_BGR);
    assert_true(g->shorter == 50 && record.scale == 0.5);
    assert_true(g->decode == THAW_DECODE_EXACT && window_is(THAW_WINDOW_PERCENTILE, 0.5, 99.5));
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
                a->background == b->background && a->decode == b->decode);
    assert_true(window_is(a->window.kind, a->window.low, a->window.high));
}

/* What pixels come from identifies cached features: each part of it. */
static void each_part_is_a_fact(void **state) {
    (void)state;
    const char *names[THAW_PREPROCESS_FACTS];
    char before[THAW_PREPROCESS_FACTS][THAW_PREPROCESS_FACT_TEXT];
    char after[THAW_PREPROCESS_FACTS][THAW_PREPROCESS_FACT_TEXT];
    static const char *const options_of[] = {
        "image.fit=squash",    "image.shorter=60", "image.filter=bicubic", "image.order=bgr",
        "image.scale=0.5",     "image.mean=3",     "image.std=3",          "image.decode=exact",
        "image.window=minmax", "image.window=1..2"};
    static const char *const facts[] = {"fit",  "shorter", "filter", "order",  "scale",
                                        "mean", "std",     "decode", "window", "window"};
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) {
        char key[64];
        options_teardown(NULL);
        assert_int_equal(options_setup(NULL), 0);
        assert_int_equal(choose("resnet_17", NULL), THAW_OK);
        thaw_preprocess_facts(&record, names, before);
        snprintf(key, sizeof key, "%s", options_of[i]);
        char *value = strchr(key, '=');
        *value++ = 0;
        options_put(key, value);
        assert_int_equal(choose("resnet_17", NULL), THAW_OK);
        thaw_preprocess_facts(&record, names, after);
        for (int f = 0; f < THAW_PREPROCESS_FACTS; f++)
            if (strcmp(names[f], facts[i]) == 0 && strcmp(before[f], after[f]) == 0)
                fail_msg("%s leaves the fact %s as it was", options_of[i], facts[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        OPTIONS_TEST(presets_have_their_numbers),
        OPTIONS_TEST(guesses_follow_their_rules),
        OPTIONS_TEST(the_files_own_record_counts),
        OPTIONS_TEST(options_change_single_parts),
        OPTIONS_TEST(the_record_survives_json),
        OPTIONS_TEST(what_the_network_does_itself_tells_what_it_wants),
        OPTIONS_TEST(a_file_beside_the_model_counts),
        OPTIONS_TEST(what_a_file_beside_the_model_may_not_say),
        OPTIONS_TEST(no_odd_value_makes_an_odd_record),
        OPTIONS_TEST(each_part_is_a_fact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
