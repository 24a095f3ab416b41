#include "train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "epoch_log.h"
#include "insight.h"
#include "metric_lines.h"
#include "model/bundle.h"
#include "model/export_onnx.h"
#include "predictions.h"
#include "report/sheet.h"
#include "run_folder.h"
#include "session.h"
#include "train_top.h"
#include "trust.h"

/* Everything that a run holds; close_run frees it in one place. */
struct thaw_training {
    const thaw_options *options;
    const char *title; /* NULL: nothing is written but the table of rejected pictures. */
    thaw_run_folder folder;
    thaw_session session;
    thaw_network network;
    thaw_split_rows splits[THAW_SPLIT_COUNT];
    thaw_head head;
    thaw_train_options training;
    thaw_train_result result; /* Of the head; with a top, of all. */
    thaw_top_run top;
    thaw_metrics metrics[THAW_SPLIT_COUNT];
    thaw_kept_head kept;
    thaw_trust trust;
    thaw_old_answers old;  /* Of the kept head, on the split of the headline figures. */
    thaw_results measured; /* On the split of the headline figures. */
    thaw_epoch_log epochs, head_epochs; /* The second: of a head that is trained before the rest. */
    bool stopped;   /* By a signal: the run goes on to its bundle with what it has. */
    thaw_error why; /* Then. */
    double start, train_seconds;
    thaw_arena arena, features; /* Where several heads are trained: of the last, of all. */
};
typedef struct thaw_training run;

/* Whether more than the head is trained. */
static bool has_top(const run *r) {
    return r->network.recipe != THAW_RECIPE_HEAD;
}

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "for the run's results");
}

static char *in_folder(run *r, const char *name) {
    return thaw_file_join(&r->arena, r->folder.partial, name);
}

/* Where many are tried, nobody could tell whose lines are whose. */
static bool prints_metrics(const run *r) {
    return r->title && r->options->metrics;
}

/* Where epochs are written; *path NULL: nowhere. */
static thaw_status name_epochs(run *r, const char *name, const char **path, thaw_error *err) {
    *path = r->title ? in_folder(r, name) : NULL;
    return *path || !r->title ? THAW_OK : no_memory(err);
}

/* ---- to features --------------------------------------------------------------------------- */

static void say_network(run *r) {
    thaw_log *log = &r->session.log;
    const thaw_network *n = &r->network;
    thaw_log_write(log, THAW_LOG_INFO, "model: %s, %s", n->model.path, n->model.producer);
    for (int i = 0; i < n->n_notes; i++)
        thaw_log_write(log, THAW_LOG_WARN, "%s", n->notes[i]);
    thaw_log_write(log, THAW_LOG_INFO, "preprocess: %s", n->preprocess_choice.why);
    thaw_log_write(log, THAW_LOG_INFO, "old head: %s", n->head);
    thaw_log_write(log, THAW_LOG_INFO,
                   "frozen: cut %d of %d, %s: %lld features, %.2f GFLOP an image", n->cut->index,
                   n->cuts.n - 1, n->cut->name, (long long)n->n_features,
                   (double)n->cut->flop_below / 1e9);
}

/* A class whose pictures were all rejected cannot be learnt. */
static thaw_status check_classes(run *r, thaw_error *err) {
    const thaw_rows *rows = &r->splits[THAW_SPLIT_TRAIN].rows;
    const thaw_dataset *d = &r->session.dataset;
    size_t *any = thaw_arena_array(&r->arena, d->n_classes, sizeof *any);
    if (!any) return no_memory(err);
    for (int64_t i = 0; i < rows->n; i++)
        thaw_dataset_tally(d, (uint32_t)rows->label[i], 1, any);
    for (size_t k = 0; k < d->n_classes; k++)
        if (!any[k])
            return thaw_fail(err, THAW_ERR_DATA,
                             "class %s has no readable picture left for training; %s/rejected.csv "
                             "says why",
                             d->class_name[k], r->folder.partial);
    return THAW_OK;
}

/* What moves weights step by step is nothing that L-BFGS could heed. */
static thaw_status check_solver(const thaw_options *o, thaw_error *err) {
    static const char *const steps[] = {"epochs",        "head.kind",     "head.optimizer",
                                        "head.lr",       "head.momentum", "head.batch",
                                        "head.schedule", "head.warmup",   "head.patience"};
    for (size_t i = 0; o->head.solver == THAW_SOLVER_LBFGS && i < sizeof steps / sizeof *steps; i++)
        if (!thaw_options_has_default(o, steps[i]))
            return thaw_fail(err, THAW_ERR_USAGE,
                             "%s has no part in head.solver = lbfgs, which solves a linear head at "
                             "once: leave it out, or take head.solver = steps",
                             steps[i]);
    return THAW_OK;
}

/* What says how views differ is for nothing where there are none, and views for nothing where they do
 * not differ. */
static thaw_status check_views(const thaw_options *o, thaw_error *err) {
    static const char *const ranges[] = {"views.crop", "views.flip", "views.rotate", "views.colour",
                                         "views.show"};
    for (size_t i = 0; o->views.n == 1 && i < sizeof ranges / sizeof *ranges; i++)
        if (!thaw_options_has_default(o, ranges[i]))
            return thaw_fail(err, THAW_ERR_USAGE,
                             "%s has no part where views = 1: give more views, or leave it out",
                             ranges[i]);
    if (o->views.n > 1 && thaw_views_are_still(&o->views.ranges))
        return thaw_fail(err, THAW_ERR_USAGE,
                         "views = %lld, and nothing in which they differ: give views.crop, "
                         "views.flip, views.rotate or views.colour",
                         (long long)o->views.n);
    return THAW_OK;
}

/* Training pictures from all over the dataset, with their views. */
static thaw_status show_views(run *r, thaw_error *err) {
    const thaw_split_rows *train = &r->splits[THAW_SPLIT_TRAIN];
    size_t n = (size_t)train->rows.n, shown = n < THAW_SHEET_ROWS ? n : THAW_SHEET_ROWS;
    const char *paths[THAW_SHEET_ROWS];
    for (size_t k = 0; k < shown; k++) {
        char path[PATH_MAX];
        thaw_dataset_path(&r->session.dataset, train->picture[k * n / shown], path);
        paths[k] = thaw_arena_string(&r->arena, path, strlen(path));
        if (!paths[k]) return no_memory(err);
    }
    thaw_sheet sheet = {.paths = paths,
                        .n_pictures = shown,
                        .n_views = r->options->views.n,
                        .ranges = &r->options->views.ranges,
                        .seen = &r->network.preprocess.geometry};
    return thaw_sheet_write(&sheet, r->options->views.show, err);
}

/* Before anything is computed, so that what cannot be kept is said at once. */
static thaw_status keep_old(run *r, thaw_error *err) {
    const char *labels = r->options->head.old_labels;
    if (!r->options->head.keep_old && *labels)
        return thaw_fail(err, THAW_ERR_USAGE,
                         "head.old_labels has no part where the old head goes: give head.keep_old, "
                         "or leave it out");
    if (!r->options->head.keep_old) return THAW_OK;
    THAW_TRY(thaw_kept_head_open(&r->kept, &r->network, &r->session.backend, &r->arena, err));
    r->kept.exact = !has_top(r);
    if (has_top(r))
        thaw_log_write(&r->session.log, THAW_LOG_WARN,
                       "head.keep_old: layers below the old head are trained, so that its answers "
                       "will change; freeze = last keeps them as they are");
    return thaw_kept_head_label(&r->kept, &r->network, labels, &r->arena, err);
}

/* What asks for one class of each picture, where there may be several. */
static thaw_status check_several(const run *r, thaw_error *err) {
    if (!r->session.dataset.sets || !r->kept.output) return THAW_OK;
    return thaw_fail(
        err, THAW_ERR_UNSUPPORTED,
        "head.keep_old counts each old answer beside the one class of a picture, and these "
        "may have several: leave it out");
}

static thaw_status make_features(run *r, thaw_error *err) {
    THAW_TRY(thaw_options_require(r->options, "model", err));
    THAW_TRY(thaw_options_require(r->options, "out", err));
    THAW_TRY(thaw_trust_check(r->options, err));
    THAW_TRY(check_solver(r->options, err));
    THAW_TRY(check_views(r->options, err));
    THAW_TRY(thaw_network_open(&r->network, r->options, err));
    if (!has_top(r)) THAW_TRY(thaw_train_top_check(r->options, err));
    THAW_TRY(keep_old(r, err));
    say_network(r);
    thaw_dataset_spec spec = {.stop = r->session.stop};
    THAW_TRY(thaw_dataset_spec_from_options(r->options, &spec, &r->session.lists, err));
    if (r->title) THAW_TRY(thaw_run_begin(r->options->out, &r->arena, &r->folder, err));
    char *rejected = in_folder(r, "rejected.csv");
    if (!rejected) return no_memory(err);
    THAW_TRY(thaw_session_extract(&r->session, &r->network, &spec, rejected, err));
    for (int s = 0; s < THAW_SPLIT_COUNT; s++)
        THAW_TRY(thaw_split_rows_open(&r->splits[s], &r->session, &r->network, (thaw_split)s, err));
    THAW_TRY(check_several(r, err));
    THAW_TRY(check_classes(r, err));
    thaw_log *log = &r->session.log;
    r->trust = thaw_trust_begin(r->options, &r->session.dataset, log);
    THAW_TRY(thaw_trust_check_validation(&r->trust, r->options,
                                         r->splits[THAW_SPLIT_VALIDATION].rows.n, log, err));
    return *r->options->views.show ? show_views(r, err) : THAW_OK;
}

/* ---- to a head ----------------------------------------------------------------------------- */

/* The options, with what was measured to be good for n rows where they say auto. */
static thaw_train_options train_options(const thaw_options *o, int64_t n, bool validates) {
    thaw_train_options t = thaw_train_defaults(o->head.kind, o->head.optimizer, n);
    if (!thaw_is_auto(o->epochs)) t.epochs = o->epochs;
    if (!thaw_is_auto(o->head.lr)) t.lr = o->head.lr;
    if (!thaw_is_auto(o->head.weight_decay)) t.weight_decay = o->head.weight_decay;
    t.solver = o->head.solver;
    t.l2_path = thaw_is_auto(o->head.weight_decay) && validates;
    t.hidden = o->head.hidden;
    t.dropout = o->head.dropout;
    t.momentum = o->head.momentum;
    t.schedule = o->head.schedule;
    t.warmup = o->head.warmup;
    t.label_smoothing = o->head.label_smoothing;
    t.class_weights =
        thaw_is_auto(o->head.class_weights) ? THAW_CLASS_WEIGHTS_BALANCED : o->head.class_weights;
    t.batch = o->head.batch;
    t.patience = o->head.patience;
    t.seed = (uint64_t)o->seed;
    return t;
}

/* Where the head's epochs go. */
static thaw_epoch_log *head_log(run *r) {
    return has_top(r) ? &r->head_epochs : &r->epochs;
}

static int on_epoch(void *ctx, const thaw_epoch *e) {
    run *r = ctx;
    thaw_epoch_log_add(head_log(r), e);
    return *r->session.stop;
}

/* A few features that never move are usual; when most are, something is wrong before them. */
static void say_constant(run *r) {
    long long n = (long long)r->result.n_constant, D = (long long)r->network.n_features;
    if (n > 0)
        thaw_log_write(
            &r->session.log, 2 * n >= D ? THAW_LOG_WARN : THAW_LOG_INFO,
            "%lld of %lld features are the same for every training picture%s", n, D,
            n == D ? ": nothing can be learnt from them; look at preprocess and freeze" : "");
}

/* Whether a training that ended so has something that can be written: THAW_OK then. */
static thaw_status go_on(run *r, thaw_status status, const thaw_error *err) {
    bool asked = status == THAW_ERR_INTERRUPTED && r->title && r->options->checkpoint.bundle;
    if (!asked || r->result.epochs_run == 0) return status;
    r->stopped = true;
    if (err) r->why = *err;
    return THAW_OK;
}

static thaw_status train_head_first(run *r, thaw_error *err) {
    thaw_status status = thaw_tune_head(&r->top.job, &r->arena, &r->head, &r->result, err);
    THAW_TRY(go_on(r, status, err));
    if (r->stopped) thaw_head_fold(&r->head);
    r->head_epochs.stopped = r->stopped;
    if (r->head_epochs.n > 0) /* joint: it has no training of its own. */
        THAW_TRY(thaw_epoch_log_finish(&r->head_epochs, &r->result.kept, err));
    thaw_epoch_log_close(&r->head_epochs);
    return THAW_OK;
}

static thaw_status train_rest(run *r, thaw_error *err) {
    const char *path;
    THAW_TRY(name_epochs(r, "epochs.jsonl", &path, err));
    thaw_status status = thaw_train_top(&r->top, &r->epochs, path, &r->arena, &r->head, err);
    const thaw_tune_result *top = &r->top.result;
    r->result.passes += top->epochs_run;
    if (top->kept.epoch > 0 && !top->before) { /* Otherwise the head's training is what there is. */
        r->result.epochs_run = top->epochs_run;
        r->result.kept = top->kept;
    }
    return go_on(r, status, err);
}

/* The head, then everything above the cut. */
static thaw_status train_above(run *r, const thaw_train_job *head, thaw_error *err) {
    double start = thaw_now_s();
    THAW_TRY(
        thaw_train_top_begin(&r->top, &r->session, &r->network, r->splits, head, &r->arena, err));
    THAW_TRY(train_head_first(r, err));
    r->top.job.before = r->result.kept;
    if (!r->stopped) THAW_TRY(train_rest(r, err));
    r->train_seconds = thaw_now_s() - start;
    return r->kept.output ? thaw_kept_head_renew(&r->kept, &r->network, &r->arena, err) : THAW_OK;
}

/* The training of the head that these options ask for. */
static thaw_train_job head_job(run *r, const thaw_options *o) {
    int64_t device_bytes = o->cache.device_bytes, pinned_bytes = o->cache.pinned_bytes;
    int64_t n = r->splits[THAW_SPLIT_TRAIN].rows.n;
    bool validates = r->splits[THAW_SPLIT_VALIDATION].rows.n > 0;
    return (thaw_train_job){
        .top = &r->session.backend.kernels->top,
        .backend = &r->session.backend,
        .device_bytes = thaw_is_auto(device_bytes) ? 0 : (size_t)device_bytes,
        .pinned_bytes = thaw_is_auto(pinned_bytes) ? r->session.memory.left : (size_t)pinned_bytes,
        .tf32 = o->head.tf32,
        .options = train_options(o, n, validates),
        .K = (int64_t)r->session.dataset.n_classes,
        .train = &r->splits[THAW_SPLIT_TRAIN].rows,
        .views = o->views.n > 1 ? &r->splits[THAW_SPLIT_TRAIN].views : NULL,
        .n_views = o->views.n,
        .validation = &r->splits[THAW_SPLIT_VALIDATION].rows,
        .memory_bytes = r->session.memory.left,
        .on_epoch = on_epoch,
        .ctx = r,
        .stop = r->session.stop};
}

static thaw_status train_head(run *r, thaw_error *err) {
    thaw_train_job job = head_job(r, r->options);
    const char *path;
    r->training = job.options;
    THAW_TRY(name_epochs(r, has_top(r) ? "head_epochs.jsonl" : "epochs.jsonl", &path, err));
    THAW_TRY(thaw_epoch_log_open(head_log(r), path, &r->training, &r->session.log, &r->arena, err));
    /* Before a top, the head's epochs are another count of other things: nobody should compare them
     * with those that follow. */
    r->epochs.metrics = !has_top(r) && prints_metrics(r);
    double start = thaw_now_s();
    if (has_top(r)) return train_above(r, &job, err);
    THAW_TRY(go_on(r, thaw_train(&job, &r->arena, &r->head, &r->result, err), err));
    r->epochs.stopped = r->stopped;
    r->train_seconds = thaw_now_s() - start;
    say_constant(r);
    if (r->result.note[0]) thaw_log_write(&r->session.log, THAW_LOG_INFO, "%s", r->result.note);
    const thaw_head_tiers *tiers = &r->result.tiers;
    if (tiers->on_device + tiers->pinned > 0)
        thaw_log_write(&r->session.log, THAW_LOG_INFO,
                       "the head was trained on the GPU: %lld rows in its memory, %lld in "
                       "page-locked memory",
                       (long long)tiers->on_device, (long long)tiers->pinned);
    return thaw_epoch_log_finish(&r->epochs, &r->result.kept, err);
}

/* ---- to results ---------------------------------------------------------------------------- */

/* The split that the headline figures are measured on: the most independent one that there is. */
static thaw_split measured_on(const run *r) {
    if (r->splits[THAW_SPLIT_TEST].rows.n) return THAW_SPLIT_TEST;
    return r->splits[THAW_SPLIT_VALIDATION].rows.n ? THAW_SPLIT_VALIDATION : THAW_SPLIT_TRAIN;
}

static thaw_predictions predictions(const run *r) {
    return (thaw_predictions){&r->session.dataset, &r->splits[measured_on(r)], &r->measured,
                              &r->old, &r->trust.unknown};
}

/* The rows of a split as the head reads them, until the next call. */
static thaw_status rows_of_head(void *ctx, thaw_split split, thaw_rows *rows, thaw_error *err) {
    run *r = ctx;
    *rows = r->splits[split].rows;
    return has_top(r) ? thaw_train_top_rows(&r->top, &r->splits[split].rows, &r->arena, rows, err)
                      : THAW_OK;
}

static thaw_status evaluate_split(run *r, thaw_split s, thaw_error *err) {
    enum { BATCH = 256 };
    thaw_rows rows;
    if (!r->splits[s].rows.n) return THAW_OK;
    THAW_TRY(rows_of_head(r, s, &rows, err));
    const thaw_top_slots *top = &r->session.backend.kernels->top;
    THAW_TRY(thaw_evaluate(&r->head, top, &rows, BATCH, &r->arena, &r->metrics[s], err));
    if (s != measured_on(r)) return THAW_OK;
    THAW_TRY(thaw_unknown_measure_known(&r->trust.unknown, &r->trust.fit.novelty, top, &rows,
                                        &r->metrics[s], &r->arena, err));
    if (!r->kept.output) return THAW_OK;
    return thaw_old_answers_of(&r->kept, &rows, &r->metrics[s], &r->arena, &r->old, err);
}

static thaw_trust_job trust_job(run *r) {
    return (thaw_trust_job){.options = r->options,
                            .top = &r->session.backend.kernels->top,
                            .K = (int64_t)r->session.dataset.n_classes,
                            .head = &r->head,
                            .rows = rows_of_head,
                            .ctx = r,
                            .stopped = r->stopped,
                            .log = &r->session.log};
}

/* Of the head as it is trained: how sure its scores may be, and what it does not know. */
static thaw_status learn_trust(run *r, thaw_error *err) {
    thaw_trust_job job = trust_job(r);
    THAW_TRY(thaw_trust_calibrate(&r->trust, &job, err));
    return thaw_trust_learn(&r->trust, &job, &r->arena, err);
}

static thaw_status evaluate(run *r, thaw_error *err) {
    for (int s = 0; s < THAW_SPLIT_COUNT; s++)
        if (!r->stopped || s == (int)measured_on(r)) /* Whoever stops it does not wait long. */
            THAW_TRY(evaluate_split(r, (thaw_split)s, err));
    r->measured = (thaw_results){.metrics = r->metrics[measured_on(r)],
                                 .classes = r->session.dataset.class_name};
    THAW_TRY(thaw_results_finish(&r->measured, &r->arena, err));
    thaw_predictions answered = predictions(r);
    thaw_predictions_warn(&answered, &r->session.log);
    return THAW_OK;
}

/* What the same passes would have cost with every picture going through the network each time. */
static double without_cache(const run *r) {
    int64_t n = r->splits[THAW_SPLIT_TRAIN].rows.n + r->splits[THAW_SPLIT_VALIDATION].rows.n;
    double rate = r->session.images_per_second;
    double once = rate > 0 ? (double)r->splits[THAW_SPLIT_TEST].rows.n / rate : 0;
    return rate > 0 ? (double)n * (double)r->result.passes / rate + once + r->train_seconds : 0;
}

/* Whether it has come as far as training more than the head. */
static bool has_run_top(const run *r) {
    return r->top.result.kept.epoch > 0 && !r->top.result.before;
}

static void put_splits(const run *r, thaw_json *json, json_t *into) {
    for (int s = 0; s < THAW_SPLIT_COUNT; s++) {
        const thaw_metrics *m = &r->metrics[s];
        if (!m->n) continue;
        json_t *one = thaw_json_object(json, into, thaw_split_name(s));
        thaw_results_totals_json(json, one, m);
    }
}

static void put_metrics(const run *r, thaw_json *json) {
    const thaw_extraction *x = &r->session.extraction;
    thaw_results_json(json, json->root, &r->measured);
    thaw_old_answers_json(&r->old, json, json->root);
    thaw_trust_json(&r->trust, json, json->root);
    thaw_json_text(json, json->root, "measured_on", thaw_split_name(measured_on(r)));
    put_splits(r, json, thaw_json_object(json, json->root, "splits"));
    thaw_lint_json(&r->session.lint, json, json->root);
    json_t *epochs = thaw_json_object(json, json->root, "epochs");
    thaw_json_integer(json, epochs, "run", r->result.epochs_run);
    thaw_json_integer(json, epochs, "kept", r->result.kept.epoch);
    if (r->stopped) thaw_json_boolean(json, epochs, "stopped", true);
    thaw_json_integer(json, json->root, "trained_parameters",
                      has_run_top(r) ? r->top.result.n_params : r->head.n_params);
    if (has_run_top(r)) {
        const thaw_tune_result *top = &r->top.result;
        thaw_json_real(json, json->root, "trained_images_per_second", top->rows_per_second);
        thaw_json_integer(json, json->root, "training_bytes", (int64_t)top->bytes);
    }
    json_t *seconds = thaw_json_object(json, json->root, "seconds");
    thaw_json_real(json, seconds, "extract", x->seconds);
    /* Of one picture, from its file to features; null where none was decoded. */
    thaw_json_real(json, seconds, "image", 1 / r->session.images_per_second);
    thaw_json_real(json, seconds, "train", r->train_seconds);
    thaw_json_real(json, seconds, "total", thaw_now_s() - r->start);
    thaw_json_real(json, seconds, "without_cache", without_cache(r));
    json_t *images = thaw_json_object(json, json->root, "images");
    for (int s = 0; s < THAW_SPLIT_COUNT; s++)
        thaw_json_integer(json, images, thaw_split_name(s), r->splits[s].rows.n);
    thaw_json_integer(json, images, "rejected", (int64_t)x->n_rejected);
    json_t *cache = thaw_json_object(json, json->root, "cache");
    thaw_json_integer(json, cache, "hits", (int64_t)x->hits);
    thaw_json_integer(json, cache, "misses", (int64_t)x->misses);
    thaw_json_integer(json, cache, "derived", (int64_t)x->derived);
    thaw_json_integer(json, cache, "bytes", (int64_t)thaw_cache_measure(r->session.cache).bytes);
}

/* ---- to the bundle ------------------------------------------------------------------------- */

static bool is_golden(const size_t *picked, size_t n, size_t i) {
    for (size_t k = 0; k < n; k++)
        if (picked[k] == i) return true;
    return false;
}

/* The first readable training pictures: each of another class as far as there are classes. */
static thaw_status pick_golden(run *r, const char *golden[THAW_GOLDEN], thaw_error *err) {
    const thaw_dataset *d = &r->session.dataset;
    size_t picked[THAW_GOLDEN], n = 0;
    for (int any_class = 0; any_class < 2; any_class++)
        for (size_t i = 0; i < d->n && n < THAW_GOLDEN; i++) {
            if (d->split[i] != THAW_SPLIT_TRAIN || r->session.extraction.rejected[i]) continue;
            /* The pictures stand by class, so a class that was picked from is the last one's. */
            bool again = n > 0 && d->label[i] == d->label[picked[n - 1]];
            if (any_class ? !is_golden(picked, n, i) : !again) picked[n++] = i;
        }
    for (size_t k = 0; k < n; k++) {
        char path[PATH_MAX];
        thaw_dataset_path(d, picked[k], path);
        golden[k] = thaw_arena_string(&r->arena, path, strlen(path));
        if (!golden[k]) return no_memory(err);
    }
    return THAW_OK;
}

/* With absolute paths: the run can be repeated from anywhere. */
static thaw_status write_config(run *r, thaw_error *err) {
    const char *path = in_folder(r, "train.ini");
    char here[PATH_MAX];
    thaw_new_file file;
    if (!path) return no_memory(err);
    THAW_TRY(thaw_file_begin(&file, path, err));
    thaw_status status =
        thaw_options_write_ini(file.stream, r->options, getcwd(here, sizeof here), err);
    if (status == THAW_OK) return thaw_file_finish(&file, err);
    thaw_file_abandon(&file);
    return status;
}

static thaw_status write_bundle(run *r, thaw_json *json, thaw_error *err) {
    enum { MANY = 1000 }; /* Whoever serves that many classes does not read figures of each. */
    thaw_dense layers[THAW_HEAD_MAX_LAYERS];
    thaw_bundle_spec spec = {.network = &r->network,
                             .layers = layers,
                             .n_layers = thaw_head_layers(&r->head, layers),
                             .labels = r->session.dataset.class_name,
                             .n_labels = r->session.dataset.n_classes,
                             .old = &r->kept,
                             .temperature = r->trust.temperature,
                             .novelty = &r->trust.fit.novelty,
                             .options = r->options,
                             .metrics = json->root,
                             .backend = &r->session.backend};
    THAW_TRY(pick_golden(r, spec.golden, err));
    if (spec.n_labels <= MANY) thaw_results_classes_json(json, json->root, &r->measured);
    THAW_TRY(thaw_bundle_write(&spec, r->folder.partial, err));
    if (r->options->export_to.preprocess) {
        char *path = in_folder(r, THAW_PIXELS_FILE);
        if (!path) return no_memory(err);
        THAW_TRY(thaw_export_onnx(r->folder.partial, path, true, 0, err));
    }
    if (spec.n_labels > MANY) thaw_results_classes_json(json, json->root, &r->measured);
    return THAW_OK;
}

/* With the bundle as it was written, which is what will say so. */
static thaw_status measure_unknown(run *r, thaw_error *err) {
    thaw_bundle bundle;
    if (!thaw_trust_has_unknown(&r->trust) || r->stopped) return THAW_OK;
    thaw_status status = thaw_bundle_open(&bundle, r->folder.partial, &r->session.backend, err);
    if (status == THAW_OK)
        status = thaw_unknown_measure(&r->trust.unknown, &bundle, &r->trust.source,
                                      &r->measured.metrics, r->options->batch, r->session.stop,
                                      &r->session.log, &r->arena, err);
    thaw_bundle_close(&bundle);
    return status;
}

static thaw_status write_report(run *r, const thaw_json *json, thaw_error *err) {
    char *path = in_folder(r, "report.html");
    if (!path) return no_memory(err);
    thaw_report report = {
        .title = r->title,
        .measured_on = thaw_split_name(measured_on(r)),
        .results = &r->measured,
        .metrics = json->root,
        .head = {.title = "head",
                 .epochs = r->head_epochs.epochs,
                 .n = r->head_epochs.n,
                 .kept = r->head_epochs.kept_epoch,
                 .penalties = r->options->head.solver == THAW_SOLVER_LBFGS},
        .curves = {.title = has_top(r) ? "above the cut" : NULL,
                   .epochs = r->epochs.epochs,
                   .n = r->epochs.n,
                   .kept = r->epochs.kept_epoch,
                   .penalties = !has_top(r) && r->options->head.solver == THAW_SOLVER_LBFGS},
        .passes = r->result.passes,
        .kept = r->epochs.kept,
        .model = r->network.model.path,
        .cut = r->network.cut->name,
        .pictures = {.seen = &r->network.preprocess.geometry,
                     .duplicates = json_object_get(json->root, "duplicates")}};
    thaw_insight_job insight = {.dataset = &r->session.dataset,
                                .splits = r->splits,
                                .metrics = r->metrics,
                                .results = &r->measured,
                                .old = &r->old,
                                .measured = measured_on(r),
                                .top = &r->session.backend.kernels->top,
                                .rows = rows_of_head,
                                .ctx = r};
    THAW_TRY(thaw_trust_show(&r->trust, &r->arena, &report.novelty, err));
    THAW_TRY(thaw_insight_make(&insight, r->folder.partial, &r->arena, &report, err));
    return thaw_report_write(&report, path, err);
}

static thaw_status write_run(run *r, thaw_json *json, thaw_error *err) {
    char *metrics = in_folder(r, "metrics.json"), *table = in_folder(r, "predictions.csv");
    if (!metrics || !table) return no_memory(err);
    thaw_predictions answered = predictions(r);
    THAW_TRY(write_bundle(r, json, err));
    THAW_TRY(measure_unknown(r, err));
    thaw_unknown_json(&r->trust.unknown, json, json->root);
    if (!r->session.dataset.sets) {
        thaw_results_confusion_json(json, json->root, &r->measured);
        thaw_results_calibration_json(json, json->root, &r->measured);
    }
    /* The whole run counts, its bundle included. */
    thaw_json_real(json, json_object_get(json->root, "seconds"), "total", thaw_now_s() - r->start);
    THAW_TRY(thaw_json_write(json, metrics, err));
    THAW_TRY(thaw_predictions_write(&answered, table, err));
    if (!r->stopped) THAW_TRY(write_report(r, json, err));
    /* A configuration that no ini file can hold (a very long path) is in bundle.json all the same.
     */
    thaw_status status = write_config(r, err);
    return status == THAW_ERR_UNSUPPORTED ? THAW_OK : status;
}

static void print_summary(const run *r, const char *older) {
    const thaw_extraction *x = &r->session.extraction;
    double without = without_cache(r), with = thaw_now_s() - r->start;
    printf("\n%s\n", thaw_split_name(measured_on(r)));
    thaw_results_print(stdout, &r->measured);
    thaw_old_answers_print(stdout, &r->old);
    thaw_trust_print(stdout, &r->trust, &r->measured, measured_on(r) == THAW_SPLIT_VALIDATION);
    printf(
        "features %.2f s, training %.2f s, whole run %.2f s; without the cache about %.1f s "
        "(%lld passes at %.0f images/s)\n",
        x->seconds, r->train_seconds, with, without, (long long)r->result.passes,
        r->session.images_per_second);
    printf("run         %s\n", r->options->out);
    if (!r->stopped) printf("report      %s/report.html\n", r->options->out);
    if (older) printf("older run   %s\n", older);
}

static void print_kept(const run *r) {
    const thaw_metrics *test = &r->metrics[THAW_SPLIT_TEST];
    thaw_metric_values values = thaw_metric_values_of(&r->result.kept);
    if (test->n > 0) values.test_loss = test->loss, values.test_accuracy = test->top1;
    if (test->sets) values.test_map = test->map;
    values.epoch_seconds = NAN;
    values.total_seconds = thaw_now_s() - r->start;
    thaw_metric_lines_kept(stdout, &values);
}

static thaw_status run_all(run *r, thaw_train_summary *summary, thaw_error *err) {
    THAW_TRY(thaw_session_open(&r->session, r->options, err));
    THAW_TRY(make_features(r, err));
    THAW_TRY(train_head(r, err));
    THAW_TRY(learn_trust(r, err));
    THAW_TRY(evaluate(r, err));
    thaw_json json = thaw_json_begin();
    put_metrics(r, &json);
    thaw_status status = write_run(r, &json, err);
    thaw_json_free(&json);
    THAW_TRY(status);
    const char *older;
    THAW_TRY(thaw_run_finish(&r->folder, &older, err));
    if (prints_metrics(r)) print_kept(r);
    print_summary(r, older);
    *summary = (thaw_train_summary){.written = true,
                                    .top1 = r->measured.metrics.top1,
                                    .seconds_total = thaw_now_s() - r->start,
                                    .seconds_without_cache = without_cache(r)};
    if (!r->stopped) return THAW_OK;
    return thaw_fail(err, THAW_ERR_INTERRUPTED, "%.700s; %s has the model of epoch %lld",
                     r->why.text, r->options->out, (long long)r->result.kept.epoch);
}

static void close_run(run *r) {
    thaw_epoch_log_close(&r->epochs);
    thaw_epoch_log_close(&r->head_epochs);
    thaw_train_top_close(&r->top);
    thaw_kept_head_close(&r->kept);
    if (!r->title) r->folder = (thaw_run_folder){0}; /* It is somebody else's. */
    bool any_rejected = r->session.extraction.n_rejected > 0;
    for (int s = 0; s < THAW_SPLIT_COUNT; s++)
        thaw_split_rows_close(&r->splits[s]);
    thaw_session_close(&r->session); /* Removing a folder needs descriptors. */
    /* Half a run helps nobody; the table of bad pictures does. */
    thaw_run_abandon(&r->folder, any_rejected);
    thaw_network_close(&r->network);
    thaw_arena_free(&r->arena);
    thaw_arena_free(&r->features);
}

thaw_status thaw_train_run(const thaw_options *options, const char *title,
                           thaw_train_summary *summary, thaw_error *err) {
    run r = {.options = options, .title = title, .start = thaw_now_s()};
    *summary = (thaw_train_summary){0};
    thaw_status status = run_all(&r, summary, err);
    close_run(&r);
    return status;
}

/* ---- without a folder ------------------------------------------------------------------------ */

thaw_status thaw_training_open(thaw_training **training, const thaw_options *options,
                               const char *folder, thaw_error *err) {
    run *r = *training = calloc(1, sizeof *r);
    if (!r) return no_memory(err);
    r->options = options;
    r->folder.partial = folder;
    THAW_TRY(thaw_session_open(&r->session, options, err));
    return make_features(r, err);
}

void thaw_training_close(thaw_training *training) {
    if (training) close_run(training);
    free(training);
}

thaw_training_facts thaw_training_look(const thaw_training *r) {
    return (thaw_training_facts){.has_top = has_top(r),
                                 .several = r->session.dataset.sets,
                                 .n_validation = r->splits[THAW_SPLIT_VALIDATION].rows.n,
                                 .model = r->network.model.path,
                                 .cut = r->network.cut->name,
                                 .backend = &r->session.backend};
}

thaw_log *thaw_training_log(thaw_training *training) {
    return &training->session.log;
}

thaw_train_job thaw_training_job(thaw_training *training, const thaw_options *options) {
    thaw_train_job job = head_job(training, options);
    job.on_epoch = NULL;
    return job;
}

thaw_status thaw_training_run(thaw_training *r, const thaw_options *options, thaw_epoch *kept,
                              thaw_error *err) {
    THAW_TRY(check_solver(options, err));
    if (r->features.blocks)
        thaw_arena_free(&r->arena); /* The head before. */
    else
        r->features = r->arena;
    r->arena = (thaw_arena){0};
    const thaw_options *of_all = r->options;
    r->options = options;
    thaw_status status = train_head(r, err);
    r->options = of_all;
    *kept = r->result.kept;
    return status;
}

thaw_status thaw_training_test(thaw_training *r, thaw_head *head, thaw_metrics *metrics,
                               thaw_error *err) {
    if (head) r->head = *head;
    thaw_trust_job job = trust_job(r);
    THAW_TRY(thaw_trust_calibrate(&r->trust, &job, err));
    THAW_TRY(evaluate_split(r, THAW_SPLIT_TEST, err));
    *metrics = r->metrics[THAW_SPLIT_TEST];
    return THAW_OK;
}
