#include "epoch_log.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json.h"

thaw_status thaw_epoch_log_open(thaw_epoch_log *l, const char *path, int64_t wanted, thaw_log *log,
                                thaw_arena *arena, thaw_error *err) {
    *l = (thaw_epoch_log){.wanted = wanted, .path = path, .written = true, .log = log};
    l->epochs = thaw_arena_array(arena, (size_t)wanted, sizeof *l->epochs);
    if (!l->epochs) return thaw_fail_memory(err, "for %lld epochs", (long long)wanted);
    l->lines = fopen(path, "we");
    if (!l->lines) return thaw_fail(err, THAW_ERR_IO, "cannot write %s: %s", path, strerror(errno));
    /* Elsewhere the epochs that are shown will do. */
    if (log->terminal) thaw_log_progress_begin(log, "training", "epochs", (uint64_t)wanted);
    return THAW_OK;
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

static void say(thaw_epoch_log *l, const thaw_epoch *e, thaw_log_level level) {
    char validation[80] = "";
    if (!isnan(e->validation_loss))
        snprintf(validation, sizeof validation, "   validation loss %.4f top-1 %.4f",
                 e->validation_loss, e->validation_top1);
    thaw_log_write(l->log, level, "epoch %3lld/%lld  loss %.4f top-1 %.4f%s", (long long)e->epoch,
                   (long long)l->wanted, e->train_loss, e->train_top1, validation);
    if (level == THAW_LOG_INFO) l->said = e->epoch;
}

/* Whether a tenth of the epochs, or some more, ends with this one. */
static bool ends_a_tenth(int64_t epoch, int64_t wanted) {
    return epoch * 10 / wanted > (epoch - 1) * 10 / wanted;
}

void thaw_epoch_log_add(thaw_epoch_log *l, const thaw_epoch *e) {
    bool matters = e->epoch == 1 || ends_a_tenth(e->epoch, l->wanted);
    say(l, e, matters ? THAW_LOG_INFO : THAW_LOG_DEBUG);
    l->epochs[l->n++] = *e;
    l->written &= write_epoch(l->lines, e);
    thaw_log_progress_add(l->log, 1);
}

static const thaw_epoch *lowest_validation(const thaw_epoch_log *l) {
    const thaw_epoch *best = &l->epochs[0];
    for (int64_t i = 1; i < l->n; i++)
        if (l->epochs[i].validation_loss < best->validation_loss) best = &l->epochs[i];
    return best;
}

static void explain_choice(thaw_epoch_log *l, const thaw_epoch *kept,
                           const thaw_train_options *options) {
    const thaw_epoch *best = lowest_validation(l);
    char *text = l->kept_because;
    size_t size = sizeof l->kept_because;
    if (isnan(kept->validation_loss))
        snprintf(text, size, "the last one, since nothing validates");
    else if (options->patience > 0)
        snprintf(text, size, "its validation loss, %.4f, is the lowest", kept->validation_loss);
    else if (best->epoch == kept->epoch)
        snprintf(text, size, "the last one, whose validation loss, %.4f, is the lowest, too",
                 kept->validation_loss);
    else
        snprintf(text, size,
                 "the last one, since late epochs answer best where that was measured; validation "
                 "loss was lowest in epoch %lld, %.4f against %.4f (head.patience keeps that one)",
                 (long long)best->epoch, best->validation_loss, kept->validation_loss);
}

thaw_status thaw_epoch_log_finish(thaw_epoch_log *l, const thaw_epoch *kept,
                                  const thaw_train_options *options, thaw_error *err) {
    thaw_log_progress_end(l->log);
    const thaw_epoch *last = &l->epochs[l->n - 1];
    if (l->said != last->epoch) say(l, last, THAW_LOG_INFO);
    explain_choice(l, kept, options);
    thaw_log_write(l->log, THAW_LOG_INFO, "epoch %lld is kept: %s", (long long)kept->epoch,
                   l->kept_because);
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
