#include "preprocess.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "graph/ops.h"
#include "own_scaling.h"
#include "text.h"
#include "utf8.h"

/* ---- presets ------------------------------------------------------------------------------- */

typedef struct preset {
    const char *name, *meaning;
    thaw_order order;
    double scale, mean[3], std[3];
} preset;

#define THREE(a, b, c) \
    { a, b, c }
#define X(value, name, meaning, order, scale, mean, std) \
    {name, meaning, order, scale, THREE mean, THREE std},
static const preset presets[] = {THAW_PRESET_LIST(X)};
#undef X
#undef THREE
enum { N_PRESETS = sizeof presets / sizeof presets[0] };

/* The operator that reads the picture first. */
static const char *first_operator(const thaw_graph *graph) {
    for (int i = 0; i < graph->n_nodes; i++) {
        const thaw_node *node = &graph->nodes[i];
        if (node->live && !node->alias) return node->type;
    }
    return "";
}

static int64_t n_outputs(const thaw_graph *graph) {
    return thaw_value_elements(&graph->values[graph->output]);
}

/* What the network's own arithmetic on its input says of what it wants: the input that it maps to
 * zero is the middle of what comes in. */
static thaw_preset guess_from_scaling(const thaw_graph *graph, thaw_choice *choice) {
    thaw_own_scaling own = thaw_own_scaling_of(graph);
    double zero = own.scale != 0 ? -own.shift / own.scale : 0, factor = fabs(own.scale);
    choice->certainty = THAW_LIKELY;
    if (own.any && own.picks && zero > 0 && zero < 0.3 && factor > 0.3 && factor < 0.6) {
        choice->reason =
            "the network takes channels apart and scales them, as torchvision's "
            "transform_input makes of such pixels those of inception";
        return THAW_PRESET_IMAGENET;
    }
    bool fits = own.any && (zero > 10 || (fabs(zero) <= 5 && factor <= 0.02));
    if (own.any && !fits && ((zero > 0.1 && zero <= 1) || (fabs(zero) <= 0.1 && factor >= 50))) {
        choice->reason =
            "the network begins with arithmetic on its input that fits pixels from 0 to 1";
        return THAW_PRESET_UNIT;
    }
    if (!fits) choice->certainty = THAW_GUESS;
    choice->reason =
        fits ? "the network begins with arithmetic on its input that fits pixels from 0 to 255"
             : "the network begins with arithmetic on its input, so it scales pixels itself";
    return THAW_PRESET_RAW;
}

/* What models of this look were trained with. The first rule that fits counts. */
static thaw_preset guess(const thaw_model *model, thaw_choice *choice) {
    const char *first = first_operator(&model->graph), *producer = model->producer;
    bool keras = strstr(producer, "tf2onnx") || strstr(producer, "keras");
    choice->certainty = THAW_LIKELY;
    if (model->integer_input) {
        choice->reason = "the network takes whole numbers, so it scales pixels itself";
        return THAW_PRESET_RAW;
    }
    if (strcmp(first, "Conv") != 0 && strcmp(first, "Pad") != 0)
        return guess_from_scaling(&model->graph, choice);
    if (n_outputs(&model->graph) == 1001) {
        choice->reason = "1001 outputs are TensorFlow's ImageNet classes";
        return THAW_PRESET_TF;
    }
    choice->certainty = THAW_GUESS;
    if (keras || strstr(producer, "tflite") || model->graph.input_nhwc) {
        choice->reason = "the file comes from TensorFlow";
        return THAW_PRESET_TF;
    }
    if (strstr(producer, "caffe")) {
        choice->reason = "the file comes from Caffe";
        return THAW_PRESET_CAFFE;
    }
    choice->reason = strstr(producer, "pytorch")         ? "the file comes from PyTorch"
                     : strncmp(producer, "thaw", 4) == 0 ? "thaw new has made the file"
                                                         : "nothing in the file speaks for another "
                                                           "one";
    return THAW_PRESET_IMAGENET;
}

/* ---- choosing ------------------------------------------------------------------------------ */

void thaw_preprocess_take(thaw_preset name, thaw_preprocess *p) {
    const preset *from = &presets[name];
    p->geometry.order = from->order;
    p->scale = from->scale;
    memcpy(p->mean, from->mean, sizeof p->mean);
    memcpy(p->std, from->std, sizeof p->std);
}

/* The record that Thaw, or a training script, left in the file. False: there is none. */
static bool take_metadata(const thaw_model *model, thaw_preprocess *p, thaw_status *status,
                          thaw_error *err) {
    const char *text = thaw_model_metadata(model, "thaw.preprocess");
    if (!text) return false;
    json_t *json;
    *status = thaw_json_parse(text, strlen(text), model->path, &json, err);
    if (*status == THAW_OK) *status = thaw_preprocess_parse(json, model->path, p, err);
    json_decref(json);
    return true;
}

/* What the file beside the model says goes over what was there. */
static void take_beside(const thaw_model *model, const thaw_beside *from, thaw_preprocess *p) {
    thaw_geometry *g = &p->geometry;
    int64_t least = model->width > model->height ? model->width : model->height;
    if (from->fit >= 0) g->fit = (thaw_fit)from->fit;
    if (from->filter >= 0) g->filter = (thaw_filter)from->filter;
    if (from->order >= 0) g->order = (thaw_order)from->order;
    if (from->shorter > 0) g->shorter = from->shorter;
    if (from->crop > 0) g->shorter = thaw_preprocess_shorter(least, from->crop);
    if (!from->numbers) return;
    if (from->order < 0) g->order = THAW_ORDER_RGB; /* A guessed BGR came with other numbers. */
    p->scale = from->scale;
    memcpy(p->mean, from->mean, sizeof p->mean);
    memcpy(p->std, from->std, sizeof p->std);
}

int thaw_preprocess_shorter(int64_t side, double crop) {
    return (int)floor((double)side / crop + 1e-9);
}

static thaw_status take_options(const thaw_model *model, const thaw_options *options,
                                thaw_preprocess *p, thaw_error *err) {
    thaw_geometry *g = &p->geometry;
    /* The network's own size counts; where the file leaves it open, image.size has set it. */
    g->width = (int)model->width;
    g->height = (int)model->height;
    g->channels = (int)model->channels;
    int least = g->width > g->height ? g->width : g->height;
    if (!thaw_is_auto(options->image.fit)) g->fit = options->image.fit;
    if (!thaw_is_auto(options->image.shorter)) g->shorter = (int)options->image.shorter;
    if (!thaw_is_auto(options->image.crop_pct)) {
        if (!thaw_is_auto(options->image.shorter))
            return thaw_fail(err, THAW_ERR_USAGE,
                             "image.shorter and image.crop_pct say the same: give one of them");
        g->shorter = thaw_preprocess_shorter(least, options->image.crop_pct);
    }
    if (g->shorter < least) {
        if (!thaw_is_auto(options->image.shorter))
            return thaw_fail(
                err, THAW_ERR_USAGE,
                "image.shorter = %d: the model takes %d x %d, so the shorter side must "
                "be at least %d",
                g->shorter, g->width, g->height, least);
        g->shorter = least;
    }
    if (!thaw_is_auto(options->image.filter)) g->filter = options->image.filter;
    if (!thaw_is_auto(options->image.order)) g->order = options->image.order;
    if (!thaw_is_auto(options->image.decode)) g->decode = options->image.decode;
    if (!thaw_is_auto(options->image.window.kind)) g->window = options->image.window;
    if (!thaw_is_auto(options->image.scale)) p->scale = options->image.scale;
    for (int c = 0; c < 3; c++) {
        if (!thaw_is_auto(options->image.mean[c])) p->mean[c] = options->image.mean[c];
        if (!thaw_is_auto(options->image.std[c])) p->std[c] = options->image.std[c];
        if (!(p->std[c] > 0))
            return thaw_fail(err, THAW_ERR_USAGE, "image.std: must be above 0 in every channel");
    }
    return THAW_OK;
}

/* The preset with these numbers; -1: none has them. */
static int preset_of(const thaw_preprocess *p) {
    for (int i = 0; i < N_PRESETS; i++) {
        bool same = presets[i].order == p->geometry.order;
        for (int c = 0; c < 3; c++)
            same &=
                fabs(presets[i].scale / presets[i].std[c] / (p->scale / p->std[c]) - 1) < 1e-6 &&
                fabs(presets[i].mean[c] / presets[i].std[c] - p->mean[c] / p->std[c]) < 1e-6;
        if (same) return i;
    }
    return -1;
}

const char *thaw_preprocess_name(const thaw_preprocess *p) {
    int preset = preset_of(p);
    return preset < 0 ? NULL : presets[preset].name;
}

/* named: a preset; -1: none has the numbers. */
static void describe(const thaw_beside *beside, thaw_choice *choice, int named, char *why,
                     size_t size) {
    static const char *const certainty[] = {THAW_CERTAINTY_LIST(THAW_ENUM_NAME)};
    const char *slash = strrchr(beside->file, '/'), *file = slash ? slash + 1 : beside->file;
    int shown = thaw_utf8_prefix(file, 60);
    const char *name = named < 0 ? "numbers of its own" : presets[named].name;
    const char *meaning = named < 0 ? "no preset's" : presets[named].meaning;
    if (beside->numbers)
        snprintf(why, size, "%s (%s): %.*s beside the model says so%s%s; %s", name, meaning, shown,
                 file, beside->note[0] ? ", but " : "", beside->note, certainty[choice->certainty]);
    else
        snprintf(why, size, "%s (%s): %s; %s", name, meaning, choice->reason,
                 certainty[choice->certainty]);
    if (beside->file[0] && !beside->numbers)
        snprintf(why, size,
                 "%s (%s): %s; %s. How pictures become so large, %.*s beside it says%s%s", name,
                 meaning, choice->reason, certainty[choice->certainty], shown, file,
                 beside->note[0] ? ": " : "", beside->note);
}

thaw_status thaw_preprocess_choose(const thaw_model *model, const thaw_beside *beside,
                                   const thaw_options *options, thaw_preprocess *p,
                                   thaw_choice *choice, thaw_error *err) {
    static const thaw_beside nothing = {0};
    *p = (thaw_preprocess){.geometry = {.fit = THAW_FIT_CROP,
                                        .filter = THAW_FILTER_BILINEAR,
                                        .background = 255,
                                        .decode = THAW_DECODE_FAST}};
    *choice = (thaw_choice){.reason = "given", .certainty = THAW_CERTAIN};
    thaw_status status = THAW_OK;
    char *why = choice->why;
    bool automatic = thaw_is_auto(options->preprocess);
    if (automatic && take_metadata(model, p, &status, err)) {
        THAW_TRY(status);
        snprintf(why, sizeof choice->why, "from the model's own metadata; certain");
        return take_options(model, options, p, err);
    }
    if (!automatic || !beside) beside = &nothing;
    int named = automatic ? (int)guess(model, choice) : (int)options->preprocess;
    thaw_preprocess_take((thaw_preset)named, p);
    if (beside->file[0]) take_beside(model, beside, p);
    if (beside->numbers) choice->certainty = THAW_CERTAIN, named = preset_of(p);
    describe(beside, choice, named, why, sizeof choice->why);
    return take_options(model, options, p, err);
}

void thaw_preprocess_affine(const thaw_preprocess *p, float scale[3], float shift[3]) {
    for (int c = 0; c < 3; c++) {
        scale[c] = (float)(p->scale / p->std[c]);
        shift[c] = (float)(-p->mean[c] / p->std[c]);
    }
}

/* ---- JSON ---------------------------------------------------------------------------------- */

static const char *const fit_names[] = {THAW_FIT_LIST(THAW_ENUM_NAME) NULL};
static const char *const filter_names[] = {THAW_FILTER_LIST(THAW_ENUM_NAME) NULL};
static const char *const order_names[] = {THAW_ORDER_LIST(THAW_ENUM_NAME) NULL};
static const char *const decode_names[] = {THAW_DECODE_LIST(THAW_ENUM_NAME) NULL};

static void put_channels(thaw_json *json, json_t *into, const char *key, const double value[3]) {
    json_t *list = thaw_json_array(json, into, key);
    for (int c = 0; c < 3; c++)
        thaw_json_real(json, list, NULL, value[c]);
}

void thaw_preprocess_json(thaw_json *json, json_t *into, const thaw_preprocess *p) {
    const thaw_geometry *g = &p->geometry;
    char window[THAW_WINDOW_TEXT];
    thaw_pixel_window_text(&g->window, window);
    thaw_json_integer(json, into, "width", g->width);
    thaw_json_integer(json, into, "height", g->height);
    thaw_json_text(json, into, "fit", fit_names[g->fit]);
    thaw_json_integer(json, into, "shorter", g->shorter);
    thaw_json_text(json, into, "filter", filter_names[g->filter]);
    thaw_json_integer(json, into, "channels", g->channels);
    thaw_json_text(json, into, "order", order_names[g->order]);
    thaw_json_integer(json, into, "background", g->background);
    thaw_json_text(json, into, "decode", decode_names[g->decode]);
    thaw_json_text(json, into, "window", window);
    thaw_json_real(json, into, "scale", p->scale);
    put_channels(json, into, "mean", p->mean);
    put_channels(json, into, "std", p->std);
}

thaw_status thaw_preprocess_line(const thaw_preprocess *p, char **line, thaw_error *err) {
    enum { ALL_DIGITS = 17 };
    thaw_json json = thaw_json_begin();
    thaw_preprocess_json(&json, json.root, p);
    thaw_status status =
        thaw_json_print(&json, THAW_JSON_LINE, ALL_DIGITS, "the bundle", line, err);
    thaw_json_free(&json);
    return status;
}

thaw_status thaw_preprocess_parse(const json_t *json, const char *where, thaw_preprocess *p,
                                  thaw_error *err) {
    thaw_geometry *g = &p->geometry;
    const char *fit, *filter, *order, *decode = decode_names[THAW_DECODE_EXACT], *window = "file";
    int background = 255;
    g->channels = 3;
    json_error_t problem = {0};
    /* "F" takes integers, too: people write 1 for 1.0. */
    int code = json_unpack_ex((json_t *)json, &problem, 0,
                              "{s:i,s:i,s:s,s:i,s:s,s?i,s:s,s?i,s?s,s?s,s:F,s:[F,F,F],s:[F,F,F]}",
                              "width", &g->width, "height", &g->height, "fit", &fit, "shorter",
                              &g->shorter, "filter", &filter, "channels", &g->channels, "order",
                              &order, "background", &background, "decode", &decode, "window",
                              &window, "scale", &p->scale, "mean", &p->mean[0], &p->mean[1],
                              &p->mean[2], "std", &p->std[0], &p->std[1], &p->std[2]);
    bool good = json && code == 0;
    int fit_value = good ? thaw_text_find(fit_names, fit) : -1;
    int filter_value = good ? thaw_text_find(filter_names, filter) : -1;
    int order_value = good ? thaw_text_find(order_names, order) : -1;
    int decode_value = good ? thaw_text_find(decode_names, decode) : -1;
    bool has_window = good && thaw_pixel_window_parse(window, &g->window);
    if (fit_value < 0 || filter_value < 0 || order_value < 0 || decode_value < 0 || !has_window ||
        background < 0 || background > 255 || g->width < 1 || g->height < 1 || g->width > 16384 ||
        g->height > 16384 || g->shorter < 0 || g->shorter > 65536 ||
        (g->channels != 1 && g->channels != 3))
        return thaw_fail(err, THAW_ERR_FORMAT, "%s: the preprocessing record is damaged%s%s", where,
                         problem.text[0] ? ": " : "", problem.text);
    g->fit = (thaw_fit)fit_value;
    g->filter = (thaw_filter)filter_value;
    g->order = (thaw_order)order_value;
    g->decode = (thaw_decode)decode_value;
    g->background = (uint8_t)background;
    return THAW_OK;
}

void thaw_preprocess_facts(const thaw_preprocess *p, const char *names[THAW_PREPROCESS_FACTS],
                           char texts[THAW_PREPROCESS_FACTS][THAW_PREPROCESS_FACT_TEXT]) {
    enum { SIZE = THAW_PREPROCESS_FACT_TEXT };
    static const char *const all[THAW_PREPROCESS_FACTS] = {
        "size",  "fit",  "shorter", "filter", "order", "background",
        "scale", "mean", "std",     "decode", "window"};
    const thaw_geometry *g = &p->geometry;
    memcpy(names, all, sizeof all);
    snprintf(texts[0], SIZE, "%d x %d x %d", g->width, g->height, g->channels);
    snprintf(texts[1], SIZE, "%s", fit_names[g->fit]);
    snprintf(texts[2], SIZE, "%d", g->fit == THAW_FIT_CROP ? g->shorter : 0);
    snprintf(texts[3], SIZE, "%s", filter_names[g->filter]);
    snprintf(texts[4], SIZE, "%s", order_names[g->order]);
    snprintf(texts[5], SIZE, "%d", g->background);
    snprintf(texts[6], SIZE, "%.9g", p->scale);
    snprintf(texts[7], SIZE, "%.9g %.9g %.9g", p->mean[0], p->mean[1], p->mean[2]);
    snprintf(texts[8], SIZE, "%.9g %.9g %.9g", p->std[0], p->std[1], p->std[2]);
    snprintf(texts[9], SIZE, "%s", decode_names[g->decode]);
    thaw_pixel_window_text(&g->window, texts[10]);
}
