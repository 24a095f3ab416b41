#include "try.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "data/dataset.h"
#include "disks.h"
#include "file.h"
#include "json.h"
#include "request_parts.h"
#include "run/stop.h"
#include "trial.h"
#include "utf8.h"

enum { DIGITS = 9 }; /* Of the request's numbers. */

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "to try a training job");
}

/* ---- the child ------------------------------------------------------------------------------ */

const char *thaw__trial_path(thaw__trial *t, const char *base, const char *name, thaw_error *err) {
    const char *path = thaw_file_join(&t->arena, base, name);
    if (!path) no_memory(err);
    return path;
}

thaw_status thaw__trial_start(thaw__trial *t, const char *word, const char *base, const char *more,
                              const char *log, thaw_error *err) {
    const char *name = json_string_value(json_object_get(t->request, "TrainingJobName"));
    const char *own[] = {
        thaw_arena_printf(&t->arena, "SAGEMAKER_BASE_DIR=%s", base),
        thaw_arena_printf(&t->arena, "TMPDIR=%s", t->scratch),
        thaw_arena_printf(&t->arena, "TRAINING_JOB_NAME=%s", name),
        thaw_arena_printf(&t->arena,
                          "TRAINING_JOB_ARN=arn:aws:sagemaker:us-east-1:111122223333:"
                          "training-job/%s",
                          name),
        "THAW_SERVE_ADDRESS=127.0.0.1", /* In a container it is everybody who may connect. */
        more,
        NULL};
    char **environment;
    for (int i = 0; i < 4; i++)
        if (!own[i]) return no_memory(err);
    THAW_TRY(thaw_layout_environment(t->request, own, &t->arena, &environment, err));
    return thaw_child_start(&t->child, word, environment, log, err);
}

static bool begins(const char *line, const char *with) {
    return strncmp(line, with, strlen(with)) == 0;
}

static bool ends(const char *line, const char *with) {
    size_t n = strlen(line), m = strlen(with);
    return n >= m && strcmp(line + n - m, with) == 0;
}

/* Shows a line, unless it is for programs (metrics, which there are many of) or says nothing. */
static void show_line(void *ctx, const char *line) {
    thaw__shown *shown = ctx;
    bool metric = begins(line, "epoch="), kept = begins(line, "kept: epoch=");
    shown->measured |= metric;
    shown->kept |= kept;
    shown->resumed |= strstr(line, "resumed after step") != NULL;
    if (metric || begins(line, "Epoch") || ends(line, "(default)")) return;
    fputs("  | ", stdout);
    thaw_utf8_put(stdout, line, 0);
    putchar('\n');
}

thaw_status thaw__trial_pause(thaw__trial *t, thaw_error *err) {
    const struct timespec moment = {.tv_nsec = 2000000};
    nanosleep(&moment, NULL);
    thaw_child_lines(&t->child, show_line, &t->shown);
    fflush(stdout);
    return *t->stop ? thaw_fail(err, THAW_ERR_INTERRUPTED, "stopped by a signal") : THAW_OK;
}

thaw_status thaw__trial_await_end(thaw__trial *t, double seconds, thaw_error *err) {
    double until = thaw_now_s() + seconds;
    while (thaw_child_runs(&t->child)) {
        THAW_TRY(thaw__trial_pause(t, err));
        if (thaw_now_s() < until) continue;
        thaw_child_close(&t->child);
        return thaw_fail(err, THAW_ERR_MISMATCH,
                         "it has not ended within %.0f s after SIGTERM, and was killed", seconds);
    }
    return thaw__trial_pause(t, err); /* Its last lines. */
}

/* ---- the request ---------------------------------------------------------------------------- */

/* What a request must have and a try has no use for. */
static const char *const placeholders[][2] = {
    {"sagemaker.role", "arn:aws:iam::111122223333:role/thaw"},
    {"sagemaker.image", "111122223333.dkr.ecr.us-east-1.amazonaws.com/thaw:cuda"},
    {"sagemaker.instance", "ml.g5.xlarge"},
    {"sagemaker.checkpoints", "s3://your-bucket/checkpoints/"},
};
enum { N_PLACEHOLDERS = sizeof placeholders / sizeof *placeholders };

static const char PLACEHOLDER[] = "placeholder";

static thaw_status set_placeholder(thaw_options *options, const char *key, const char *text,
                                   thaw_error *err) {
    if (thaw_options_is_set(options, key)) return THAW_OK;
    return thaw_options_set(options, key, text, PLACEHOLDER, err);
}

/* A channel of this machine, and an address for it. */
static thaw_status add_channel(thaw__trial *t, thaw_options *options, const char *name,
                               const char *path, const char *address, thaw_error *err) {
    char key[80];
    char *whole = realpath(path, NULL);
    if (!whole) return thaw_fail(err, THAW_ERR_IO, "cannot find %.600s: %s", path, strerror(errno));
    const char *copy = thaw_arena_string(&t->arena, whole, strlen(whole));
    free(whole);
    if (!copy) return no_memory(err);
    t->channels[t->n_channels++] = (thaw_local_channel){name, copy};
    snprintf(key, sizeof key, "sagemaker.%s", name);
    return set_placeholder(options, key, address, err);
}

/* The folders of the splits, as training would find them. */
static thaw_status add_pictures(thaw__trial *t, thaw_options *options, const char *pictures,
                                thaw_error *err) {
    struct stat info;
    thaw_dataset_spec spec = {.stop = t->stop};
    if (stat(pictures, &info) == 0 && !S_ISDIR(info.st_mode))
        return thaw_fail(err, THAW_ERR_USAGE,
                         "%.600s is no folder: SageMaker brings folders; give the one with the "
                         "pictures",
                         pictures);
    THAW_TRY(thaw_dataset_find_splits(pictures, &spec, &t->arena, err));
    if (spec.list[THAW_SPLIT_TRAIN]) spec.folder[THAW_SPLIT_TRAIN] = pictures; /* RecordIO. */
    for (int s = 0; s < THAW_SPLIT_COUNT; s++) {
        const char *name = thaw_split_name((thaw_split)s);
        char address[64];
        snprintf(address, sizeof address, "s3://your-bucket/%s/", name);
        if (spec.folder[s]) THAW_TRY(add_channel(t, options, name, spec.folder[s], address, err));
    }
    return THAW_OK;
}

static thaw_status add_model(thaw__trial *t, thaw_options *options, thaw_error *err) {
    struct stat info;
    char address[PATH_MAX];
    THAW_TRY(thaw_options_require(options, "model", err));
    if (thaw__model_is_in_image(options->sagemaker.model))
        return thaw_fail(err, THAW_ERR_USAGE,
                         "sagemaker.model = %.200s is in the image, which is not looked into here: "
                         "leave it out, and the job gets %.300s as a channel",
                         options->sagemaker.model, options->model);
    if (stat(options->model, &info) == 0 && !S_ISREG(info.st_mode))
        return thaw_fail(err, THAW_ERR_USAGE,
                         "model = %.600s is no file: a job gets an ONNX file, or a run that `thaw "
                         "export RUN --tar FILE.tar.gz` has packed",
                         options->model);
    const char *slash = strrchr(options->model, '/');
    snprintf(address, sizeof address, "s3://your-bucket/%.200s",
             slash ? slash + 1 : options->model);
    return add_channel(t, options, "model", options->model, address, err);
}

static thaw_status make_request(thaw__trial *t, thaw_error *err) {
    thaw_json json = thaw_json_begin();
    thaw_status status =
        thaw_request_build(thaw_request_find("job"), t->options, t->log, &json, err);
    if (status == THAW_OK) t->request = json_incref(json.root);
    thaw_json_free(&json);
    return status;
}

static thaw_status prepare(thaw__trial *t, thaw_options *options, const char *pictures,
                           thaw_error *err) {
    THAW_TRY(add_pictures(t, options, pictures, err));
    THAW_TRY(add_model(t, options, err));
    for (size_t i = 0; i < N_PLACEHOLDERS; i++)
        THAW_TRY(set_placeholder(options, placeholders[i][0], placeholders[i][1], err));
    t->options = options;
    return make_request(t, err);
}

static thaw_status print_request(const thaw__trial *t, thaw_error *err) {
    const thaw_json json = {.root = t->request};
    char *text;
    bool first = true;
    THAW_TRY(thaw_json_print(&json, THAW_JSON_INDENTED, DIGITS, "the request", &text, err));
    printf("\nThe request, as `thaw sagemaker job` makes it%s:\n\n%s\n",
           thaw_options_is_set(t->options, "sagemaker.name") ? "" : " (the name is that of now)",
           text);
    free(text);
    for (size_t i = 0; i < thaw_options_count(); i++) {
        if (strcmp(t->options->origin[i].source, PLACEHOLDER) != 0) continue;
        printf("%s%s",
               first ? "\nPlaceholders are in it until `thaw sagemaker job` is given: " : ", ",
               thaw_options_key(i));
        first = false;
    }
    if (!first) putchar('\n');
    return THAW_OK;
}

/* ---- places --------------------------------------------------------------------------------- */

static thaw_status make_places(thaw__trial *t, thaw_error *err) {
    THAW_TRY(thaw_disks_temporary(&t->arena, &t->root, err));
    const struct {
        const char **path, *name;
    } places[] = {{&t->base, "ml"},
                  {&t->checkpoints, "checkpoints"},
                  {&t->training_log, "training.log"},
                  {&t->packed, "model.tar.gz"},
                  {&t->endpoint, "endpoint"},
                  {&t->serving_log, "endpoint.log"},
                  {&t->scratch, "tmp"}};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (!(*places[i].path = thaw__trial_path(t, t->root, places[i].name, err)))
            return THAW_ERR_NOMEM;
    return thaw_file_make_folders(t->scratch, err);
}

static void leave_places(thaw__trial *t) {
    if (!t->root) return;
    if (t->options && t->options->sagemaker.keep) {
        printf("Everything is kept in %s\n", t->root);
        return;
    }
    if (t->endpoint) thaw__tree_set_writable(t->endpoint, true);
    thaw_file_remove_tree(t->root);
}

/* ---- the steps ------------------------------------------------------------------------------ */

static const struct {
    const char *name, *what;
    thaw_status (*run)(thaw__trial *t, thaw_error *err);
    bool needed; /* Without it what follows makes no sense. */
} steps[] = {
    {"train", "as SageMaker starts it, and SIGTERM in the middle", thaw__trial_train, true},
    {"go on", "another machine, with the checkpoints", thaw__trial_go_on, true},
    {"metrics", "what CloudWatch finds in the log", thaw__trial_metrics, false},
    {"pack", "the model, as S3 keeps it and an endpoint gets it", thaw__trial_pack, true},
    {"serve", "an endpoint, from its start until it is ready", thaw__trial_serve, true},
    {"answers", "every picture that the training was measured on", thaw__trial_answers, false},
    {"stop", "the endpoint is told to end", thaw__trial_stop, false},
};
enum { N_STEPS = sizeof steps / sizeof *steps };

typedef struct outcome {
    bool was_run;
    thaw_status status;
    double seconds;
    char said[THAW_TEXT_SIZE], wrong[THAW_ERROR_TEXT];
} outcome;

static thaw_status run_step(thaw__trial *t, size_t i, outcome *o, thaw_error *err) {
    thaw_error why = {0};
    double begin = thaw_now_s();
    printf("\n%s: %s\n", steps[i].name, steps[i].what);
    fflush(stdout);
    t->said = (thaw_text){0};
    o->status = steps[i].run(t, &why);
    o->seconds = thaw_now_s() - begin;
    o->was_run = true;
    snprintf(o->said, sizeof o->said, "%s", t->said.text);
    snprintf(o->wrong, sizeof o->wrong, "%s", why.text);
    /* Whoever stops a program from a terminal stops its children, too. */
    if (*t->stop) return thaw_fail(err, THAW_ERR_INTERRUPTED, "stopped by a signal");
    if (o->status == THAW_ERR_USAGE) return thaw_fail(err, o->status, "%s", why.text);
    if (o->status == THAW_OK) printf("  %s\n", o->said);
    if (o->status != THAW_OK) printf("  wrong: %s\n", o->wrong);
    return THAW_OK;
}

/* What stands between semicolons stays on one line, behind others if there is room. */
static void print_parts(const char *text, int indent) {
    enum { WIDTH = 100 };
    int column = indent;
    while (*text) {
        const char *end = strstr(text, "; ");
        int n = end ? (int)(end - text) + 1 : (int)strlen(text);
        bool fits = column == indent || column + 1 + n <= WIDTH;
        column = fits ? column : indent;
        if (!fits) printf("\n%*s", indent, "");
        printf("%s%.*s", column > indent ? " " : "", n, text);
        column += n + (column > indent);
        text += n + (end != NULL);
    }
    putchar('\n');
}

static void print_table(const outcome *outcomes) {
    enum { BEFORE = 26 };
    printf("\n%-8s %8s         %s\n", "step", "seconds", "what was checked");
    for (size_t i = 0; i < N_STEPS; i++) {
        const outcome *o = &outcomes[i];
        bool good = o->status == THAW_OK;
        if (!o->was_run) {
            printf("%-8s %8s  -\n", steps[i].name, "");
            continue;
        }
        printf("%-8s %8.2f  %-5s  ", steps[i].name, o->seconds, good ? "ok" : "WRONG");
        if (!good) print_parts(o->wrong, BEFORE);
        if (!good && *o->said) printf("%*s", BEFORE, "");
        if (good || *o->said) print_parts(o->said, BEFORE);
    }
    fflush(stdout);
}

static thaw_status conclude(const outcome *outcomes, thaw_error *err) {
    size_t n_wrong = 0, n_left = 0, first = N_STEPS;
    for (size_t i = 0; i < N_STEPS; i++) {
        n_left += !outcomes[i].was_run;
        n_wrong += outcomes[i].status != THAW_OK;
        if (outcomes[i].status != THAW_OK && first == N_STEPS) first = i;
    }
    if (first == N_STEPS) return THAW_OK;
    thaw_text left = {0};
    if (n_left) thaw_text_add(&left, ", and %zu could not be tried", n_left);
    return thaw_fail(err, THAW_ERR_MISMATCH, "%zu of %d steps went wrong%s: %s: %.800s", n_wrong,
                     N_STEPS, left.text, steps[first].name, outcomes[first].wrong);
}

static thaw_status run_steps(thaw__trial *t, thaw_error *err) {
    outcome outcomes[N_STEPS] = {0};
    for (size_t i = 0; i < N_STEPS; i++) {
        THAW_TRY(run_step(t, i, &outcomes[i], err));
        if (steps[i].needed && outcomes[i].status != THAW_OK) break;
    }
    thaw_child_close(&t->child);
    THAW_TRY(print_request(t, err));
    print_table(outcomes);
    return conclude(outcomes, err);
}

thaw_status thaw_try_run(const thaw_options *options, const char *pictures, thaw_error *err) {
    thaw_log log;
    thaw_options own;
    thaw__trial t = {.stop = thaw_stop_catch(), .log = &log, .child = thaw_child_none()};
    thaw_log_open(&log, stderr, options->log);
    thaw_status status = thaw_options_copy(&own, options, err);
    if (status == THAW_OK) status = prepare(&t, &own, pictures, err);
    if (status == THAW_OK) status = make_places(&t, err);
    if (status == THAW_OK) status = run_steps(&t, err);
    thaw_child_close(&t.child);
    leave_places(&t);
    json_decref(t.metrics);
    json_decref(t.request);
    thaw_options_free(&own);
    thaw_log_close(&log);
    thaw_arena_free(&t.arena);
    return status;
}
