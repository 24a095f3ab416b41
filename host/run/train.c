#include "train.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "model/bundle.h"
#include "report/report.h"
#include "results.h"
#include "run_folder.h"
#include "session.h"
#include "text.h"

/* Everything that a run holds; close_run frees it in one place. */
typedef struct run {
    const thaw_options *options;
    const char *title;
    thaw_run_folder folder;
    thaw_session session;
    thaw_network network;
    thaw_split_rows splits[THAW_SPLIT_COUNT];
    thaw_head head;
    thaw_train_result result;
    thaw_metrics metrics[THAW_SPLIT_COUNT];
    thaw_epoch *epochs; /* [wanted_epochs] */
    int64_t n_epochs, wanted_epochs;
    FILE *epoch_lines;
    bool written; /* All of them, so far. */
    double start, train_seconds;
    thaw_arena arena;
} run;

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "for the run's results");
}

static char *in_folder(run *r, const char *name) {
    return thaw_file_join(&r->arena, r->folder.partial, name);
}

/* ---- to features --------------------------------------------------------------------------- */

static void say_network(run *r) {
    thaw_log *log = &r->session.log;
    const thaw_network *n = &r->network;
    thaw_log_write(log, THAW_LOG_INFO, "model: %s, %s", n->model.path, n->model.producer);
    thaw_log_write(log, THAW_LOG_INFO, "preprocess: %s", n->preprocess_reason);
    thaw_log_write(log, THAW_LOG_INFO,
                   "frozen: cut %d of %d, %s: %lld features, %.2f GFLOP an image", n->cut->index,
                   n->cuts.n - 1, n->cut->name, (long long)n->n_features,
                   (double)n->cut->flop_below / 1e9);
}

/* A class whose pictures were all rejected cannot be learnt. */
static thaw_status check_classes(const run *r, thaw_error *err) {
    const thaw_rows *rows = &r->splits[THAW_SPLIT_TRAIN].rows;
    for (size_t k = 0; k < r->session.dataset.n_classes; k++) {
        bool any = false;
        for (int64_t i = 0; i < rows->n && !any; i++)
            any = rows->label[i] == (int32_t)k;
        if (!any)
            return thaw_fail(err, THAW_ERR_DATA,
                             "class %s has no readable picture left for training; %s/rejected.csv "
                             "says why",
                             r->session.dataset.class_name[k], r->folder.partial);
    }
    return THAW_OK;
}

static thaw_status make_features(run *r, thaw_error *err) {
    THAW_TRY(thaw_options_require(r->options, "model", err));
    THAW_TRY(thaw_options_require(r->options, "out", err));
    THAW_TRY(thaw_network_open(&r->network, r->options, err));
    say_network(r);
    thaw_dataset_spec spec = {0};
    THAW_TRY(thaw_dataset_spec_from_options(r->options, &spec, &r->arena, err));
    THAW_TRY(thaw_run_begin(r->options->out, &r->arena, &r->folder, err));
    char *rejected = in_folder(r, "rejected.csv");
    if (!rejected) return no_memory(err);
    THAW_TRY(thaw_session_extract(&r->session, &r->network, &spec, rejected, err));
    for (int s = 0; s < THAW_SPLIT_COUNT; s++)
        THAW_TRY(thaw_session_rows(&r->session, &r->network, (thaw_split)s, &r->splits[s], err));
    return check_classes(r, err);
}

/* ---- to a head ----------------------------------------------------------------------------- */

/* The options, with what was measured to be good for n rows where they say auto. */
static thaw_train_options train_options(const thaw_options *o, int64_t n) {
    thaw_train_options t = thaw_train_defaults(
        o->head.kind == THAW_OPT_HEAD_HIDDEN ? THAW_HEAD_HIDDEN : THAW_HEAD_LINEAR,
        o->head.optimizer == THAW_OPT_OPTIMIZER_SGD ? THAW_OPTIMIZER_SGD : THAW_OPTIMIZER_ADAMW, n);
    if (!thaw_options_is_auto(o, "epochs")) t.epochs = o->epochs;
    if (!thaw_options_is_auto(o, "head.lr")) t.lr = o->head.lr;
    if (!thaw_options_is_auto(o, "head.weight_decay")) t.weight_decay = o->head.weight_decay;
    t.hidden = o->head.hidden;
    t.dropout = o->head.dropout;
    t.momentum = o->head.momentum;
    t.schedule = o->head.schedule == THAW_OPT_SCHEDULE_STEP     ? THAW_SCHEDULE_STEP
                 : o->head.schedule == THAW_OPT_SCHEDULE_COSINE ? THAW_SCHEDULE_COSINE
                                                                : THAW_SCHEDULE_CONSTANT;
    t.warmup = o->head.warmup;
    t.label_smoothing = o->head.label_smoothing;
    t.class_weights = o->head.class_weights == THAW_OPT_CLASS_WEIGHTS_AUTO
                          ? THAW_CLASS_WEIGHTS_AUTO
                          : THAW_CLASS_WEIGHTS_NONE;
    t.batch = o->head.batch;
    t.patience = o->head.patience;
    t.seed = (uint64_t)o->seed;
    return t;
}

static bool write_epoch(FILE *out, const thaw_epoch *e) {
    enum { DIGITS = 9 };
    thaw_json json = thaw_json_begin();
    thaw_json_integer(&json, json.root, "epoch", e->epoch);
    thaw_json_real(&json, json.root, "lr", e->lr);
    thaw_json_real(&json, json.root, "train_loss", e->train_loss);
    thaw_json_real(&json, json.root, "train_top1", e->train_top1);
    thaw_json_real(&json, json.root, "seconds", e->seconds);
    if (!isnan(e->validation_loss)) {
        thaw_json_real(&json, json.root, "validation_loss", e->validation_loss);
        thaw_json_real(&json, json.root, "validation_top1", e->validation_top1);
    }
    char *text = NULL;
    bool good =
        thaw_json_print(&json, THAW_JSON_LINE, DIGITS, "an epoch", &text, NULL) == THAW_OK &&
        fprintf(out, "%s\n", text) > 0;
    free(text);
    thaw_json_free(&json);
    return good;
}

/* One line for a person, one for a machine. */
static int on_epoch(void *ctx, const thaw_epoch *e) {
    run *r = ctx;
    char validation[80] = "";
    if (!isnan(e->validation_loss))
        snprintf(validation, sizeof validation, "   validation loss %.4f top-1 %.4f",
                 e->validation_loss, e->validation_top1);
    thaw_log_write(&r->session.log, THAW_LOG_INFO,
                   "epoch %3lld/%lld  loss %.4f top-1 %.4f%s   %.0f ms", (long long)e->epoch,
                   (long long)r->wanted_epochs, e->train_loss, e->train_top1, validation,
                   e->seconds * 1e3);
    r->epochs[r->n_epochs++] = *e;
    r->written &= write_epoch(r->epoch_lines, e);
    return *thaw_session_stop();
}

static thaw_status train_head(run *r, thaw_error *err) {
    thaw_train_options options = train_options(r->options, r->splits[THAW_SPLIT_TRAIN].rows.n);
    r->wanted_epochs = options.epochs;
    r->epochs = thaw_arena_array(&r->arena, (size_t)options.epochs, sizeof *r->epochs);
    char *path = in_folder(r, "epochs.jsonl");
    if (!r->epochs || !path) return no_memory(err);
    r->epoch_lines = fopen(path, "we");
    if (!r->epoch_lines)
        return thaw_fail(err, THAW_ERR_IO, "cannot write %s: %s", path, strerror(errno));
    r->written = true;
    thaw_train_job job = {.top = &r->session.backend.kernels->top,
                          .backend = &r->session.backend,
                          .device_bytes = (size_t)r->options->cache.device_bytes,
                          .pinned_bytes = r->options->cache.pinned_bytes
                                              ? (size_t)r->options->cache.pinned_bytes
                                              : r->session.memory.left,
                          .tf32 = r->options->head.tf32,
                          .options = options,
                          .K = (int64_t)r->session.dataset.n_classes,
                          .train = &r->splits[THAW_SPLIT_TRAIN].rows,
                          .validation = &r->splits[THAW_SPLIT_VALIDATION].rows,
                          .on_epoch = on_epoch,
                          .ctx = r};
    double start = thaw_now_s();
    THAW_TRY(thaw_train(&job, &r->arena, &r->head, &r->result, err));
    r->train_seconds = thaw_now_s() - start;
    if (r->result.note[0]) thaw_log_write(&r->session.log, THAW_LOG_INFO, "%s", r->result.note);
    const thaw_head_tiers *tiers = &r->result.tiers;
    if (tiers->on_device + tiers->pinned > 0)
        thaw_log_write(&r->session.log, THAW_LOG_INFO,
                       "the head was trained on the GPU: %lld rows in its memory, %lld in "
                       "page-locked memory",
                       (long long)tiers->on_device, (long long)tiers->pinned);
    bool failed = !r->written || fflush(r->epoch_lines) != 0 || fsync(fileno(r->epoch_lines)) != 0;
    failed |= fclose(r->epoch_lines) != 0;
    r->epoch_lines = NULL;
    if (failed) return thaw_fail(err, THAW_ERR_IO, "cannot write %s: the disk may be full", path);
    return THAW_OK;
}

/* ---- to results ---------------------------------------------------------------------------- */

/* The split that the headline figures are measured on: the most independent one that there is. */
static thaw_split measured_on(const run *r) {
    if (r->splits[THAW_SPLIT_TEST].rows.n) return THAW_SPLIT_TEST;
    return r->splits[THAW_SPLIT_VALIDATION].rows.n ? THAW_SPLIT_VALIDATION : THAW_SPLIT_TRAIN;
}

static thaw_status evaluate(run *r, thaw_error *err) {
    enum { BATCH = 256 };
    for (int s = 0; s < THAW_SPLIT_COUNT; s++)
        if (r->splits[s].rows.n)
            THAW_TRY(thaw_evaluate(&r->head, &r->session.backend.kernels->top, &r->splits[s].rows,
                                   BATCH, &r->arena, &r->metrics[s], err));
    return THAW_OK;
}

/* What the same epochs would have cost with every picture going through the network each time. */
static double without_cache(const run *r) {
    int64_t n = r->splits[THAW_SPLIT_TRAIN].rows.n + r->splits[THAW_SPLIT_VALIDATION].rows.n;
    double rate = r->session.images_per_second;
    double once = rate > 0 ? (double)r->splits[THAW_SPLIT_TEST].rows.n / rate : 0;
    return rate > 0 ? (double)n * (double)r->n_epochs / rate + once + r->train_seconds : 0;
}

static void put_splits(const run *r, thaw_json *json, json_t *into) {
    for (int s = 0; s < THAW_SPLIT_COUNT; s++) {
        const thaw_metrics *m = &r->metrics[s];
        if (!r->splits[s].rows.n) continue;
        json_t *one = thaw_json_object(json, into, thaw_split_name(s));
        thaw_json_real(json, one, "top1", m->top1);
        thaw_json_real(json, one, "top5", m->top5);
        thaw_json_real(json, one, "balanced_accuracy", m->balanced);
        thaw_json_real(json, one, "loss", m->loss);
    }
}

static void put_metrics(const run *r, thaw_json *json) {
    const thaw_extraction *x = &r->session.extraction;
    thaw_split on = measured_on(r);
    thaw_results_json(json, json->root, &r->metrics[on], r->session.dataset.class_name);
    thaw_json_text(json, json->root, "measured_on", thaw_split_name(on));
    put_splits(r, json, thaw_json_object(json, json->root, "splits"));
    json_t *epochs = thaw_json_object(json, json->root, "epochs");
    thaw_json_integer(json, epochs, "run", r->result.epochs_run);
    thaw_json_integer(json, epochs, "kept", r->result.kept.epoch);
    json_t *seconds = thaw_json_object(json, json->root, "seconds");
    thaw_json_real(json, seconds, "extract", x->seconds);
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

static thaw_status write_config(run *r, thaw_error *err) {
    char *path = in_folder(r, "train.ini"), *text = NULL;
    size_t n = 0;
    FILE *out = path ? open_memstream(&text, &n) : NULL;
    if (!out) return no_memory(err);
    thaw_status status = thaw_options_write_ini(out, r->options, err);
    if (!thaw_text_close(out, &text) && status == THAW_OK) status = no_memory(err);
    if (status == THAW_OK) status = thaw_file_write(path, text, n, err);
    free(text);
    return status;
}

static thaw_status write_run(run *r, thaw_json *json, thaw_error *err) {
    char *metrics_path = in_folder(r, "metrics.json"), *report_path = in_folder(r, "report.html");
    if (!metrics_path || !report_path) return no_memory(err);
    thaw_dense layers[THAW_HEAD_MAX_LAYERS];
    thaw_bundle_spec spec = {.network = &r->network,
                             .layers = layers,
                             .n_layers = thaw_head_layers(&r->head, layers),
                             .labels = r->session.dataset.class_name,
                             .n_labels = r->session.dataset.n_classes,
                             .options = r->options,
                             .metrics = json->root,
                             .backend = &r->session.backend};
    thaw_report report = {.title = r->title,
                          .measured_on = thaw_split_name(measured_on(r)),
                          .metrics = json->root,
                          .epochs = r->epochs,
                          .n_epochs = r->n_epochs,
                          .kept_epoch = r->result.kept.epoch,
                          .model = r->network.model.path,
                          .cut = r->network.cut->name};
    THAW_TRY(pick_golden(r, spec.golden, err));
    THAW_TRY(thaw_bundle_write(&spec, r->folder.partial, err));
    /* The whole run counts, its bundle included. */
    thaw_json_real(json, json_object_get(json->root, "seconds"), "total", thaw_now_s() - r->start);
    THAW_TRY(thaw_json_write(json, metrics_path, err));
    THAW_TRY(thaw_report_write(&report, report_path, err));
    /* A configuration that no ini file can hold (a very long path) is in bundle.json all the same.
     */
    thaw_status status = write_config(r, err);
    return status == THAW_ERR_UNSUPPORTED ? THAW_OK : status;
}

static void print_summary(run *r) {
    thaw_split on = measured_on(r);
    const thaw_extraction *x = &r->session.extraction;
    double without = without_cache(r), with = thaw_now_s() - r->start;
    printf("\n%s\n", thaw_split_name(on));
    thaw_results_print(stdout, &r->metrics[on], r->session.dataset.class_name);
    printf(
        "features %.2f s, training %.2f s, whole run %.2f s; without the cache about %.1f s "
        "(%lld epochs at %.0f images/s)\n",
        x->seconds, r->train_seconds, with, without, (long long)r->n_epochs,
        r->session.images_per_second);
    printf("run         %s\nreport      %s/report.html\n", r->options->out, r->options->out);
}

static thaw_status run_all(run *r, thaw_train_summary *summary, thaw_error *err) {
    THAW_TRY(thaw_session_open(&r->session, r->options, err));
    THAW_TRY(make_features(r, err));
    THAW_TRY(train_head(r, err));
    THAW_TRY(evaluate(r, err));
    thaw_json json = thaw_json_begin();
    put_metrics(r, &json);
    thaw_status status = write_run(r, &json, err);
    thaw_json_free(&json);
    THAW_TRY(status);
    THAW_TRY(thaw_run_finish(&r->folder, err));
    print_summary(r);
    *summary = (thaw_train_summary){.top1 = r->metrics[measured_on(r)].top1,
                                    .seconds_total = thaw_now_s() - r->start,
                                    .seconds_without_cache = without_cache(r)};
    return THAW_OK;
}

static void close_run(run *r) {
    if (r->epoch_lines) fclose(r->epoch_lines);
    bool any_rejected = r->session.extraction.n_rejected > 0;
    for (int s = 0; s < THAW_SPLIT_COUNT; s++)
        thaw_split_close(&r->splits[s]);
    thaw_session_close(&r->session); /* Removing a folder needs descriptors. */
    /* Half a run helps nobody; the table of bad pictures does. */
    thaw_run_abandon(&r->folder, any_rejected);
    thaw_network_close(&r->network);
    thaw_arena_free(&r->arena);
}

thaw_status thaw_train_run(const thaw_options *options, const char *title,
                           thaw_train_summary *summary, thaw_error *err) {
    run r = {.options = options, .title = title, .start = thaw_now_s()};
    *summary = (thaw_train_summary){0};
    thaw_status status = run_all(&r, summary, err);
    close_run(&r);
    return status;
}
