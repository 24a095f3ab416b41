/* thaw lint FOLDER: what is wrong or odd about pictures, before anything is trained on them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "file.h"
#include "lint/doubts.h"
#include "lint/findings.h"
#include "run/stop.h"

typedef struct linting {
    thaw_options options; /* With FOLDER as data.train. */
    const char *data;
    bool has_model;
    thaw_log log;
    const volatile int *stop;
    thaw_network network; /* Where there is a model. */
    thaw_dataset dataset;
    thaw_survey survey;
    thaw_findings findings;
    double top1; /* Of the head that doubts; NaN: there was none. */
    thaw_arena arena;
} linting;

/* What of a path is there already, its links followed. */
static bool find_real(const char *path, char real[PATH_MAX]) {
    char part[PATH_MAX];
    if (snprintf(part, sizeof part, "%s", path) >= (int)sizeof part) return false;
    while (!realpath(part, real)) {
        char *slash = strrchr(part, '/');
        if (slash == part) return realpath("/", real);
        if (!slash) return realpath(".", real);
        *slash = '\0';
    }
    return true;
}

/* Writing into the folder that is looked at would change what the next look finds. */
static thaw_status check_out(const linting *l, thaw_error *err) {
    char data[PATH_MAX], out[PATH_MAX];
    if (!realpath(l->data, data) || !find_real(l->options.lint.out, out)) return THAW_OK;
    size_t n = strlen(data);
    if (strncmp(out, data, n) != 0 || (out[n] != '/' && out[n] != '\0')) return THAW_OK;
    return thaw_fail(err, THAW_ERR_USAGE,
                     "--out=%.300s lies in the pictures' own folder, in which nothing is changed: "
                     "choose another",
                     l->options.lint.out);
}

static thaw_status survey(linting *l, thaw_error *err) {
    thaw_dataset_spec spec = {.stop = l->stop};
    THAW_TRY(thaw_dataset_spec_from_options(&l->options, &spec, &l->arena, err));
    THAW_TRY(thaw_dataset_open(&l->dataset, &spec, err));
    if (l->dataset.sets)
        return thaw_fail(
            err, THAW_ERR_UNSUPPORTED,
            "'%.600s': thaw lint looks at pictures that have one class each, and these may "
            "have several",
            l->data);
    return thaw_survey_make(&l->survey, &l->dataset, l->stop, &l->log, err);
}

static thaw_status judge(linting *l, thaw_error *err) {
    enum { THUMBNAIL = 32 };
    thaw_findings_limits limits = {.max_bad = l->options.data.max_bad, .least_side = THUMBNAIL};
    const thaw_geometry *g = &l->network.preprocess.geometry;
    if (l->has_model) {
        limits.least_side = (g->width < g->height ? g->width : g->height) / 2;
        limits.of_network = true;
    }
    return thaw_findings_make(&l->findings, &l->survey, &limits, err);
}

/* What a session says of the dataset stands in the findings already. */
static thaw_status doubt(linting *l, thaw_error *err) {
    thaw_session session;
    thaw_dataset_spec spec = {.stop = l->stop};
    if (thaw_findings_fail(&l->findings)) return THAW_OK; /* As the training would. */
    thaw_log_write(&l->log, THAW_LOG_INFO,
                   "features of %zu pictures, from the cache or computed, "
                   "for the look at labels",
                   l->dataset.n);
    THAW_TRY(thaw_dataset_spec_from_options(&l->options, &spec, &l->arena, err));
    l->options.log = THAW_LOG_ERROR;
    thaw_status status = thaw_session_open(&session, &l->options, err);
    if (status == THAW_OK)
        status = thaw_doubts_find(&session, &l->network, &spec, &l->findings, &l->top1, err);
    thaw_session_close(&session);
    return status;
}

static thaw_status print_json(thaw_json *json, thaw_error *err) {
    enum { DIGITS = 6 };
    char *text;
    THAW_TRY(thaw_json_print(json, THAW_JSON_INDENTED, DIGITS, "the findings", &text, err));
    puts(text);
    free(text);
    return THAW_OK;
}

/* As which part of a picture the page shows it: as the network sees it, or the middle. */
static thaw_status write_page(const linting *l, thaw_error *err) {
    static const thaw_geometry middle = {.width = 224,
                                         .height = 224,
                                         .fit = THAW_FIT_CROP,
                                         .shorter = 224,
                                         .filter = THAW_FILTER_BILINEAR,
                                         .channels = 3,
                                         .background = 255};
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/lint.html", l->options.lint.out) >= (int)sizeof path)
        return thaw_fail(err, THAW_ERR_IO, "the path %.200s is too long", l->options.lint.out);
    return thaw_findings_page(&l->findings, l->data,
                              l->has_model ? &l->network.preprocess.geometry : &middle, path, err);
}

static thaw_status write_files(const linting *l, thaw_json *json, thaw_error *err) {
    char path[PATH_MAX];
    THAW_TRY(thaw_file_make_folders(l->options.lint.out, err));
    THAW_TRY(write_page(l, err));
    if (snprintf(path, sizeof path, "%s/lint.json", l->options.lint.out) >= (int)sizeof path)
        return thaw_fail(err, THAW_ERR_IO, "the path %.200s is too long", l->options.lint.out);
    return thaw_json_write(json, path, err);
}

static thaw_status put_out(const linting *l, thaw_error *err) {
    thaw_json json = thaw_json_begin();
    thaw_json_text(&json, json.root, "data", l->data);
    thaw_findings_json(&l->findings, &json, json.root);
    if (l->has_model) thaw_json_real(&json, json.root, "cross_validated_top1", l->top1);
    thaw_status status = THAW_OK;
    if (l->options.predict.json) {
        status = print_json(&json, err);
    } else {
        status = thaw_dataset_print(&l->dataset, stdout, err);
        if (status == THAW_OK) thaw_findings_print(&l->findings, stdout);
    }
    if (status == THAW_OK && *l->options.lint.out) status = write_files(l, &json, err);
    thaw_json_free(&json);
    return status;
}

static thaw_status run(linting *l, thaw_error *err) {
    THAW_TRY(thaw_options_set(&l->options, "data.train", l->data, "command line", err));
    if (*l->options.lint.out) THAW_TRY(check_out(l, err));
    if (l->has_model) THAW_TRY(thaw_network_open(&l->network, &l->options, err));
    THAW_TRY(survey(l, err));
    THAW_TRY(judge(l, err));
    if (l->has_model) THAW_TRY(doubt(l, err));
    THAW_TRY(put_out(l, err));
    size_t fails = thaw_findings_fail(&l->findings);
    if (!fails) return THAW_OK;
    return thaw_fail(err, THAW_ERR_DATA, "a training would fail: %s%s", l->findings.list[0].text,
                     fails > 1 ? "; and so on, see above" : "");
}

thaw_status thaw_cmd_lint(const thaw_cli *cli, const thaw_options *options, thaw_error *err) {
    linting l = {
        .data = cli->args[0], .has_model = *options->model, .stop = thaw_stop_catch(), .top1 = NAN};
    thaw_log_open(&l.log, stderr, options->log);
    thaw_status status = thaw_options_copy(&l.options, options, err);
    if (status == THAW_OK) status = run(&l, err);
    thaw_findings_free(&l.findings);
    thaw_survey_free(&l.survey);
    thaw_dataset_close(&l.dataset);
    if (l.has_model) thaw_network_close(&l.network);
    thaw_options_free(&l.options);
    thaw_arena_free(&l.arena);
    thaw_log_close(&l.log);
    return status;
}
