/* Options of a training as SageMaker has them: hyperparameters, ranges, specifications; and what it can
 * measure of it. */
#include <string.h>

#include "request_parts.h"
#include "run/metric_lines.h"

enum {
    VALUE_BYTES = 2500, /* The API's limit for a value, */
    PROSE_BYTES = 256,  /* and the one that its own text has. */
    CATEGORIES = 30,
};

/* Whether a job can be given option i. */
static bool is_hyperparameter(const thaw_option_facts *facts) {
    return facts->used_by & THAW_FOR_TRAIN && facts->used_by & THAW_FOR_JOB;
}

static bool is_axis(const thaw_options *options, const char *key) {
    for (size_t i = 0; i < options->axes.n; i++)
        if (strcmp(options->axes.axis[i].key, key) == 0) return true;
    return false;
}

static thaw_status put_hyperparameter(thaw__request *r, json_t *map, size_t i, thaw_error *err) {
    const char *key = thaw_options_key(i), *text = r->options->origin[i].text;
    if (!*text || !thaw_options_is_set(r->options, key) || is_axis(r->options, key)) return THAW_OK;
    if (thaw_options_is_path(r->options, i)) {
        thaw_log_write(r->log, THAW_LOG_INFO,
                       "%s = %s is a path on this machine, and no part of the request", key, text);
        return THAW_OK;
    }
    if (strlen(text) > VALUE_BYTES)
        return thaw_fail(err, THAW_ERR_USAGE,
                         "%s has %zu bytes, and SageMaker's hyperparameters at most %d", key,
                         strlen(text), VALUE_BYTES);
    if (strlen(text) > PROSE_BYTES)
        thaw_log_write(
            r->log, THAW_LOG_WARN,
            "%s has %zu bytes: SageMaker's documentation says %d in one place, %d in another", key,
            strlen(text), PROSE_BYTES, VALUE_BYTES);
    thaw_json_text(r->json, map, key, text);
    return THAW_OK;
}

thaw_status thaw__put_hyperparameters(thaw__request *r, json_t *parent, const char *field,
                                      thaw_error *err) {
    json_t *map = thaw_json_object(r->json, parent, field);
    if (thaw__model_is_in_image(r->options->sagemaker.model))
        thaw_json_text(r->json, map, "model", r->options->sagemaker.model);
    for (size_t i = 0; i < thaw_options_count(); i++) {
        thaw_option_facts facts = thaw_options_facts(i);
        if (is_hyperparameter(&facts)) THAW_TRY(put_hyperparameter(r, map, i, err));
    }
    /* To a job `epochs` are those of all of a training (hyperparameters.c), here they are the head's. */
    if (json_object_get(map, "epochs") && !json_object_get(map, "top.epochs") &&
        strcmp(r->options->freeze, "last") != 0)
        thaw_json_text(r->json, map, "top.epochs", "auto");
    return THAW_OK;
}

/* ---- ranges --------------------------------------------------------------------------------- */

static void put_number(thaw__request *r, json_t *parent, const char *field, double value,
                       bool integer) {
    char text[32];
    snprintf(text, sizeof text, integer ? "%.0f" : "%.9g", value);
    thaw_json_text(r->json, parent, field, text);
}

static thaw_status put_categories(thaw__request *r, json_t *list, const thaw_sweep_axis *axis,
                                  thaw_error *err) {
    if (axis->n_choices > CATEGORIES)
        return thaw_fail(err, THAW_ERR_USAGE, "%s has %zu values to try, SageMaker takes %d",
                         axis->key, axis->n_choices, CATEGORIES);
    json_t *range = thaw_json_object(r->json, list, NULL);
    thaw_json_text(r->json, range, "Name", axis->key);
    json_t *values = thaw_json_array(r->json, range, "Values");
    for (size_t i = 0; i < axis->n_choices; i++)
        thaw_json_text(r->json, values, NULL, axis->choices[i]);
    return THAW_OK;
}

static void put_range(thaw__request *r, json_t *list, const thaw_sweep_axis *axis) {
    json_t *range = thaw_json_object(r->json, list, NULL);
    thaw_json_text(r->json, range, "Name", axis->key);
    put_number(r, range, "MinValue", axis->low, axis->integer);
    put_number(r, range, "MaxValue", axis->high, axis->integer);
    thaw_json_text(r->json, range, "ScalingType",
                   axis->kind == THAW_AXIS_LOG ? "Logarithmic" : "Linear");
}

thaw_status thaw__put_ranges(thaw__request *r, json_t *parent, const thaw_axes *axes,
                             thaw_error *err) {
    json_t *ranges = thaw_json_object(r->json, parent, "ParameterRanges");
    json_t *integers = thaw_json_array(r->json, ranges, "IntegerParameterRanges"),
           *numbers = thaw_json_array(r->json, ranges, "ContinuousParameterRanges"),
           *categories = thaw_json_array(r->json, ranges, "CategoricalParameterRanges");
    for (size_t i = 0; i < axes->n; i++) {
        const thaw_sweep_axis *axis = &axes->axis[i];
        if (axis->kind == THAW_AXIS_CHOICE)
            THAW_TRY(put_categories(r, categories, axis, err));
        else
            put_range(r, axis->integer ? integers : numbers, axis);
    }
    return THAW_OK;
}

/* Values that may be worth a try, to be cut down by who tunes. */
static thaw_status suggest_axes(thaw_options *options, thaw_error *err) {
    static const char *const axes[][2] = {
        {"recipe", "lp_ft,gradual,joint"},
        {"head.hidden", "64..1024"},
        {"head.dropout", "0..0.5"},
        {"head.optimizer", "sgd,adamw"},
        {"head.lr", "1e-4..1"},
        {"head.weight_decay", "1e-6..0.1"},
        {"head.batch", "16..256"},
        {"head.label_smoothing", "0..0.2"},
        {"top.norm", "frozen,affine"},
        {"top.lr", "1e-5..0.01"},
        {"top.weight_decay", "1e-6..0.01"},
        {"top.batch", "16..128"},
        {"top.mixup", "0..0.4"},
        {"top.dropout", "0..0.5"},
    };
    options->axes.allowed = true;
    for (size_t i = 0; i < sizeof axes / sizeof *axes; i++)
        THAW_TRY(thaw_options_set(options, axes[i][0], axes[i][1], "suggestion", err));
    return THAW_OK;
}

thaw_status thaw__request_tuning(thaw__request *r, thaw_error *err) {
    if (r->options->axes.n) return thaw__put_ranges(r, r->json->root, &r->options->axes, err);
    thaw_options options;
    thaw_status status = thaw_options_init(&options, err);
    if (status == THAW_OK) status = suggest_axes(&options, err);
    if (status == THAW_OK) status = thaw__put_ranges(r, r->json->root, &options.axes, err);
    thaw_options_free(&options);
    return status;
}

/* ---- specifications ------------------------------------------------------------------------- */

static void put_legal_range(thaw__request *r, json_t *one, const thaw_option_facts *facts) {
    bool integer = facts->kind == THAW_OPTION_INTEGER;
    json_t *range = thaw_json_object(r->json, one, "Range");
    json_t *ends = thaw_json_object(
        r->json, range,
        integer ? "IntegerParameterRangeSpecification" : "ContinuousParameterRangeSpecification");
    put_number(r, ends, "MinValue", facts->range.least, integer);
    put_number(r, ends, "MaxValue", facts->range.most, integer);
}

static void put_legal_values(thaw__request *r, json_t *one, const thaw_option_facts *facts) {
    static const char *const switch_names[] = {"false", "true", NULL};
    const char *const *names = facts->is_switch ? switch_names : facts->names;
    json_t *range = thaw_json_object(r->json, one, "Range");
    json_t *kind = thaw_json_object(r->json, range, "CategoricalParameterRangeSpecification");
    json_t *values = thaw_json_array(r->json, kind, "Values");
    if (facts->automatic) thaw_json_text(r->json, values, NULL, "auto");
    for (unsigned i = 0; names[i]; i++)
        if (!facts->values || facts->values >> i & 1)
            thaw_json_text(r->json, values, NULL, names[i]);
}

static void put_specification(thaw__request *r, json_t *list, const thaw_option_facts *facts) {
    static const char *const types[] = {"FreeText", "Integer", "Continuous", "Categorical",
                                        "Categorical"};
    bool number = facts->kind == THAW_OPTION_INTEGER || facts->kind == THAW_OPTION_NUMBER;
    json_t *one = thaw_json_object(r->json, list, NULL);
    thaw_json_text(r->json, one, "Name", facts->key);
    thaw_json_text(r->json, one, "Description", facts->help);
    thaw_json_text(r->json, one, "Type", types[facts->kind]);
    if (number) put_legal_range(r, one, facts);
    if (!number && facts->kind != THAW_OPTION_TEXT) put_legal_values(r, one, facts);
    thaw_json_boolean(r->json, one, "IsTunable",
                      facts->is_swept && facts->kind != THAW_OPTION_TEXT);
    thaw_json_boolean(r->json, one, "IsRequired", false);
    /* A number that is not given is auto: the word itself is no number. */
    if (*facts->fallback && !(number && strcmp(facts->fallback, "auto") == 0))
        thaw_json_text(r->json, one, "DefaultValue", facts->fallback);
}

void thaw__put_specifications(thaw__request *r, json_t *parent) {
    json_t *list = thaw_json_array(r->json, parent, "SupportedHyperParameters");
    const thaw_option_facts model = {
        .key = "model",
        .help =
            "The network to start from: the name or path of one in the image, where no channel "
            "brings one.",
        .fallback = ""};
    put_specification(r, list, &model);
    for (size_t i = 0; i < thaw_options_count(); i++) {
        thaw_option_facts facts = thaw_options_facts(i);
        if (is_hyperparameter(&facts)) put_specification(r, list, &facts);
    }
}

/* ---- metrics -------------------------------------------------------------------------------- */

void thaw__put_metrics(thaw__request *r, json_t *parent) {
    size_t n;
    const thaw_metric_definition *metrics = thaw_metric_definitions(&n);
    json_t *list = thaw_json_array(r->json, parent, "MetricDefinitions");
    for (size_t i = 0; i < n; i++) {
        json_t *one = thaw_json_object(r->json, list, NULL);
        thaw_json_text(r->json, one, "Name", metrics[i].name);
        thaw_json_text(r->json, one, "Regex", metrics[i].regex);
    }
}

thaw_status thaw__request_metrics(thaw__request *r, thaw_error *err) {
    (void)err;
    thaw__put_metrics(r, r->json->root);
    return THAW_OK;
}
