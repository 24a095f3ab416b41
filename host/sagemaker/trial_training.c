/* The steps of a try that train. */
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "file.h"
#include "json.h"
#include "observed.h"
#include "trial.h"

enum {
    STOPPED = 143,  /* What a job that was told to stop ends with, see thaw_job_end. */
    KILLED_S = 120, /* Between SageMaker's SIGTERM and its SIGKILL. */
    LARGEST_JSON = 64 << 20,
};

/* Whether there is such a file in the job's folder. */
static bool has(const thaw__trial *t, const char *name) {
    char path[PATH_MAX];
    return snprintf(path, sizeof path, "%s/%s", t->base, name) < (int)sizeof path &&
           access(path, F_OK) == 0;
}

/* The job's FailureReason; "" without one. In the arena. */
static const char *failure_of(thaw__trial *t) {
    const char *path = thaw__trial_path(t, t->base, "output/failure", NULL);
    char *text = NULL;
    size_t n;
    if (!path || thaw_file_read(path, 1 << 16, &t->arena, &text, &n, NULL) != THAW_OK) return "";
    text[strcspn(text, "\n")] = '\0';
    return text;
}

/* Whether a life ended as it should: with one of two codes, and without a failure. */
static thaw_status check_end(thaw__trial *t, int code, int other, thaw_error *err) {
    const char *failure = failure_of(t);
    int got = t->child.code;
    if (got != code && got != other)
        return thaw_fail(err, THAW_ERR_MISMATCH, "exit code %d%s%.900s", got,
                         *failure ? ": " : ", and no output/failure that says why", failure);
    if (!*failure) return THAW_OK;
    return thaw_fail(err, THAW_ERR_MISMATCH, "exit code %d, and output/failure says: %.900s", got,
                     failure);
}

static thaw_status check_model(const thaw__trial *t, bool wanted, thaw_error *err) {
    bool whole = has(t, "model/bundle.json") && has(t, "model/model.onnx");
    if (wanted && !whole)
        return thaw_fail(err, THAW_ERR_MISMATCH,
                         "the log says that a model is kept, and model/ has no whole one");
    if (!wanted && has(t, "model/bundle.json"))
        return thaw_fail(err, THAW_ERR_MISMATCH,
                         "model/ has a bundle, of which the log says nothing");
    return THAW_OK;
}

static thaw_status start_training(thaw__trial *t, const char *checkpoints, thaw_error *err) {
    t->shown = (thaw__shown){0};
    THAW_TRY(thaw_layout_make(t->base, t->request, t->channels, t->n_channels, checkpoints, err));
    return thaw__trial_start(t, "train", t->base, NULL, t->training_log, err);
}

/* ---- the first life ------------------------------------------------------------------------- */

/* Until there is something worth going on with, or it has ended: a network of which more than the head is
 * trained has trained an epoch; otherwise, some pictures' features are kept. */
static thaw_status await_middle(thaw__trial *t, thaw_error *err) {
    const char *cache = thaw__trial_path(t, t->base, "checkpoints/cache", err);
    bool by_features = strcmp(t->options->freeze, "last") == 0;
    uint64_t first = 0;
    if (!cache) return THAW_ERR_NOMEM;
    while (thaw_child_runs(&t->child) && !t->shown.measured) {
        uint64_t bytes = by_features ? thaw__tree_measure(cache, ".shard").bytes : 0;
        if (!first) first = bytes;
        if (bytes > first) return THAW_OK;
        THAW_TRY(thaw__trial_pause(t, err));
    }
    return THAW_OK;
}

static void say_first_life(thaw__trial *t, double asked_s) {
    const char *checkpoints = thaw__trial_path(t, t->base, "checkpoints", NULL);
    thaw__tree kept = checkpoints ? thaw__tree_measure(checkpoints, "") : (thaw__tree){0};
    if (t->was_stopped)
        thaw_text_add(&t->said, "SIGTERM after %.2f s, exit code %d %.2f s later, no failure, %s",
                      asked_s - t->child.start_s, t->child.code, t->child.end_s - asked_s,
                      t->shown.kept ? "with the best model so far" : "without a model yet");
    else
        thaw_text_add(&t->said,
                      "too quick to be stopped: exit code 0 after %.2f s, no failure, a model",
                      t->child.end_s - t->child.start_s);
    thaw_text_add(&t->said, "; checkpoints: %.2f MB in %zu files", (double)kept.bytes / 1e6,
                  kept.n);
}

thaw_status thaw__trial_train(thaw__trial *t, thaw_error *err) {
    THAW_TRY(start_training(t, NULL, err));
    THAW_TRY(await_middle(t, err));
    double asked_s = thaw_now_s();
    thaw_child_signal(&t->child, SIGTERM);
    THAW_TRY(thaw__trial_await_end(t, KILLED_S, err));
    THAW_TRY(check_end(t, STOPPED, 0, err));
    t->was_stopped = t->child.code == STOPPED;
    say_first_life(t, asked_s);
    return check_model(t, t->shown.kept, err);
}

/* ---- the second life ------------------------------------------------------------------------ */

/* What is left of a machine that was taken away: what was in checkpoints, in S3. */
static thaw_status lose_machine(thaw__trial *t, bool *half_trained, thaw_error *err) {
    const char *checkpoints = thaw__trial_path(t, t->base, "checkpoints", err);
    if (!checkpoints) return THAW_ERR_NOMEM;
    *half_trained = has(t, "checkpoints/training") || has(t, "checkpoints/training~");
    if (rename(checkpoints, t->checkpoints) != 0)
        return thaw_fail(err, THAW_ERR_MISMATCH, "the job has removed its folder of checkpoints");
    thaw_file_remove_tree(t->base);
    return THAW_OK;
}

static int64_t count(const thaw__trial *t, const char *object, const char *key) {
    return json_integer_value(json_object_get(json_object_get(t->metrics, object), key));
}

/* Whether it went on. */
static thaw_status check_continuation(thaw__trial *t, bool half_trained, thaw_error *err) {
    long long hits = count(t, "cache", "hits"), misses = count(t, "cache", "misses");
    thaw_text_add(
        &t->said,
        "exit code 0, no failure, a model; went on: features of %lld of %lld pictures were there",
        hits, hits + misses);
    if (t->shown.resumed) thaw_text_add(&t->said, ", and a half-trained network");
    if (hits == 0 || (!t->was_stopped && misses > 0))
        return thaw_fail(err, THAW_ERR_MISMATCH,
                         "it began again: of %lld pictures the checkpoints had %s features",
                         hits + misses, hits ? "not all" : "no");
    if (half_trained && !t->shown.resumed)
        return thaw_fail(err, THAW_ERR_MISMATCH,
                         "it began again: the checkpoints had a half-trained network, and the log "
                         "does not say that it was resumed");
    return THAW_OK;
}

thaw_status thaw__trial_go_on(thaw__trial *t, thaw_error *err) {
    bool half_trained;
    const char *metrics = thaw__trial_path(t, t->base, "output/data/metrics.json", err);
    if (!metrics) return THAW_ERR_NOMEM;
    THAW_TRY(lose_machine(t, &half_trained, err));
    THAW_TRY(start_training(t, t->checkpoints, err));
    THAW_TRY(thaw__trial_await_end(t, INFINITY, err));
    THAW_TRY(check_end(t, 0, 0, err));
    THAW_TRY(check_model(t, true, err));
    THAW_TRY(thaw_json_read(metrics, LARGEST_JSON, &t->metrics, err));
    return check_continuation(t, half_trained, err);
}

/* ---- metrics -------------------------------------------------------------------------------- */

static void print_observed(const thaw_observed *list, size_t n) {
    printf("  %-22s %7s %12s %12s\n", "metric", "values", "first", "last");
    for (size_t i = 0; i < n; i++)
        if (list[i].n)
            printf("  %-22s %7zu %12.6g %12.6g\n", list[i].name, list[i].n, list[i].first,
                   list[i].last);
        else
            printf("  %-22s %7s\n", list[i].name, "none");
}

/* The log must have what the training was measured by, with the value of its own table. */
static thaw_status check_accuracy(thaw__trial *t, const thaw_observed *list, size_t n,
                                  thaw_error *err) {
    static const double ROUNDING = 1e-6; /* The log has 9 digits. */
    const char *split = json_string_value(json_object_get(t->metrics, "measured_on"));
    const json_t *splits = json_object_get(t->metrics, "splits");
    const char *name = thaw_arena_printf(&t->arena, "%s:accuracy", split);
    const thaw_observed *o = name ? thaw_observed_find(list, n, name) : NULL;
    const json_t *measured = json_object_get(splits, split ? split : "");
    const json_t *right = json_object_get(measured, "top1");
    double top1 = json_number_value(right ? right : json_object_get(measured, "exact"));
    if (!o || !o->n)
        return thaw_fail(err, THAW_ERR_MISMATCH, "no line of the log has %s",
                         name ? name : "its accuracy");
    if (fabs(o->last - top1) > ROUNDING)
        return thaw_fail(err, THAW_ERR_MISMATCH, "%s is %.6f in the log and %.6f in metrics.json",
                         name, o->last, top1);
    thaw_text_add(&t->said, "%s is %.4f, as in metrics.json", name, top1);
    return THAW_OK;
}

thaw_status thaw__trial_metrics(thaw__trial *t, thaw_error *err) {
    const json_t *algorithm = json_object_get(t->request, "AlgorithmSpecification");
    thaw_observed *list;
    size_t n, n_found = 0;
    THAW_TRY(thaw_observed_read(t->training_log, json_object_get(algorithm, "MetricDefinitions"),
                                &t->arena, &list, &n, err));
    for (size_t i = 0; i < n; i++)
        n_found += list[i].n > 0;
    print_observed(list, n);
    thaw_text_add(&t->said, "%zu of %zu metrics are in the log; ", n_found, n);
    return check_accuracy(t, list, n, err);
}
