#include "epoch_log.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json.h"
#include "metric_lines.h"

static bool is_solver(const thaw_epoch_log *l) {
    return l->options->solver == THAW_SOLVER_LBFGS;
}

thaw_status thaw_epoch_log_open(thaw_epoch_log *l, const char *path,
                                const thaw_train_options *options, thaw_log *log, thaw_arena *arena,
                                thaw_error *err) {
    int64_t wanted = thaw_train_epochs(options);
    *l = (thaw_epoch_log){.options = options,
                          .patience = "head.patience",
                          .wanted = wanted,
                          .path = path,
                          .written = true,
                          .log = log};
    l->epochs = thaw_arena_array(arena, (size_t)wanted, sizeof *l->epochs);
    if (!l->epochs) return thaw_fail_memory(err, "for %lld epochs", (long long)wanted);
    l->lines = path ? fopen(path, "we") : NULL;
    if (path && !l->lines)
        return thaw_fail(err, THAW_ERR_IO, "cannot write %s: %s", path, strerror(errno));
    /* Elsewhere the epochs that are shown will do. */
    if (log->terminal)
        thaw_log_progress_begin(log, "training", is_solver(l) ? "penalties" : "epochs",
                                (uint64_t)wanted);
    return THAW_OK;
}

static bool write_epoch(const thaw_epoch_log *l, const thaw_epoch *e) {
    enum { DIGITS = 9 };
    thaw_json json = thaw_json_begin();
    thaw_json_integer(&json, json.root, is_solver(l) ? "penalty" : "epoch", e->epoch);
    if (is_solver(l)) {
        thaw_json_real(&json, json.root, "l2", e->l2);
        thaw_json_integer(&json, json.root, "iterations", e->iterations);
    } else {
        thaw_json_real(&json, json.root, "lr", e->lr);
    }
    thaw_json_real(&json, json.root, "train_loss", e->train_loss);
    thaw_json_real(&json, json.root, e->several ? "train_exact" : "train_top1", e->train_top1);
    thaw_json_real(&json, json.root, "seconds", e->seconds);
    if (!isnan(e->validation_loss)) {
        thaw_json_real(&json, json.root, "validation_loss", e->validation_loss);
        thaw_json_real(&json, json.root, e->several ? "validation_exact" : "validation_top1",
                       e->validation_top1);
    }
    if (e->several && !isnan(e->validation_loss)) {
        thaw_json_real(&json, json.root, "validation_map", e->validation_map);
        thaw_json_real(&json, json.root, "validation_f1_micro", e->validation_f1_micro);
        thaw_json_real(&json, json.root, "validation_f1_macro", e->validation_f1_macro);
    }
    char *text = NULL;
    bool good =
        thaw_json_print(&json, THAW_JSON_LINE, DIGITS, "an epoch", &text, NULL) == THAW_OK &&
        fprintf(l->lines, "%s\n", text) > 0;
    free(text);
    thaw_json_free(&json);
    return good;
}

static void say(thaw_epoch_log *l, const thaw_epoch *e, thaw_log_level level) {
    char validation[80] = "";
    if (!isnan(e->validation_loss) && e->several)
        snprintf(validation, sizeof validation, "   validation loss %.4f mAP %.4f F1 %.4f",
                 e->validation_loss, e->validation_map, e->validation_f1_micro);
    else if (!isnan(e->validation_loss))
        snprintf(validation, sizeof validation, "   validation loss %.4f top-1 %.4f",
                 e->validation_loss, e->validation_top1);
    char what[80];
    if (is_solver(l))
        snprintf(what, sizeof what, "penalty %2lld/%lld  l2 %.1e, %3lld steps", (long long)e->epoch,
                 (long long)l->wanted, e->l2, (long long)e->iterations);
    else
        snprintf(what, sizeof what, "epoch %3lld/%lld", (long long)e->epoch, (long long)l->wanted);
    thaw_log_write(l->log, level, "%s  loss %.4f %s %.4f%s", what, e->train_loss,
                   e->several ? "all right" : "top-1", e->train_top1, validation);
    if (level == THAW_LOG_INFO) l->said = e->epoch;
}

/* Whether a tenth of the epochs, or some more, ends with this one. */
static bool ends_a_tenth(int64_t epoch, int64_t wanted) {
    return epoch * 10 / wanted > (epoch - 1) * 10 / wanted;
}

static void print_metrics(const thaw_epoch *e) {
    thaw_metric_values values = thaw_metric_values_of(e);
    thaw_metric_lines_epoch(stdout, &values);
}

void thaw_epoch_log_add(thaw_epoch_log *l, const thaw_epoch *e) {
    bool matters = e->epoch == 1 || ends_a_tenth(e->epoch, l->wanted);
    say(l, e, matters ? THAW_LOG_INFO : THAW_LOG_DEBUG);
    l->epochs[l->n++] = *e;
    if (l->lines) l->written &= write_epoch(l, e);
    if (l->metrics) print_metrics(e);
    thaw_log_progress_add(l->log, 1);
}

static const thaw_epoch *lowest_validation(const thaw_epoch_log *l) {
    const thaw_epoch *best = &l->epochs[0];
    for (int64_t i = 1; i < l->n; i++)
        if (l->epochs[i].validation_loss < best->validation_loss) best = &l->epochs[i];
    return best;
}

/* Why the epoch is kept, as the end of a sentence. */
static void explain_epoch(const thaw_epoch_log *l, const thaw_epoch *kept, char *text,
                          size_t size) {
    const thaw_epoch *best = lowest_validation(l);
    if (isnan(kept->validation_loss))
        snprintf(text, size, "the last one, since nothing validates");
    else if (l->stopped)
        snprintf(text, size,
                 "training was stopped, and its validation loss, %.4f, is the lowest so far",
                 kept->validation_loss);
    else if (l->options->patience > 0)
        snprintf(text, size, "its validation loss, %.4f, is the lowest", kept->validation_loss);
    else if (best->epoch == kept->epoch)
        snprintf(text, size, "the last one, whose validation loss, %.4f, is the lowest, too",
                 kept->validation_loss);
    else
        snprintf(text, size,
                 "the last one, since late epochs answer best where that was measured; validation "
                 "loss was lowest in epoch %lld, %.4f against %.4f (%s keeps that one)",
                 (long long)best->epoch, best->validation_loss, kept->validation_loss, l->patience);
}

static void explain_penalty(const thaw_epoch_log *l, const thaw_epoch *kept, char *text,
                            size_t size) {
    if (l->options->l2_path)
        snprintf(text, size, "its validation loss, %.4f, is the lowest", kept->validation_loss);
    else
        snprintf(text, size,
                 "no other was tried; with head.weight_decay = auto, validation chooses");
}

static void explain_choice(thaw_epoch_log *l, const thaw_epoch *kept) {
    char why[240];
    (is_solver(l) ? explain_penalty : explain_epoch)(l, kept, why, sizeof why);
    if (is_solver(l))
        snprintf(l->kept, sizeof l->kept, "penalty %lld, l2 %.1e, is kept: %s",
                 (long long)kept->epoch, kept->l2, why);
    else
        snprintf(l->kept, sizeof l->kept, "epoch %lld is kept: %s", (long long)kept->epoch, why);
}

thaw_status thaw_epoch_log_finish(thaw_epoch_log *l, const thaw_epoch *kept, thaw_error *err) {
    thaw_log_progress_end(l->log);
    const thaw_epoch *last = &l->epochs[l->n - 1];
    if (l->said != last->epoch) say(l, last, THAW_LOG_INFO);
    explain_choice(l, kept);
    l->kept_epoch = kept->epoch;
    thaw_log_write(l->log, THAW_LOG_INFO, "%s", l->kept);
    if (!l->lines) return THAW_OK;
    bool failed = !l->written || fflush(l->lines) != 0 || fsync(fileno(l->lines)) != 0;
    failed |= fclose(l->lines) != 0;
    l->lines = NULL;
    if (!failed) return THAW_OK;
    return thaw_fail(err, THAW_ERR_IO, "cannot write %s: the disk may be full", l->path);
}

void thaw_epoch_log_close(thaw_epoch_log *l) {
    if (!l->lines) return;
    thaw_log_progress_end(l->log);
    fclose(l->lines);
    l->lines = NULL;
}
