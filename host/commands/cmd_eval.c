/* thaw eval RUN FOLDER: how good a trained run is on a folder of pictures. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "model/bundle.h"
#include "run/predictions.h"

/* Scores all rows of a split, in order, with the layers that serving uses. */
static thaw_status score_rows(const thaw_bundle *b, const thaw_rows *rows, thaw_metrics *metrics,
                              thaw_arena *arena, thaw_error *err) {
    enum { BATCH = 256 };
    size_t widest = (size_t)thaw_dense_widest(b->layers, b->n_layers), K = b->n_labels;
    float *x = thaw_arena_array(arena, BATCH * (size_t)rows->D, sizeof *x);
    float *scratch = thaw_arena_array(arena, 2 * BATCH * widest, sizeof *scratch);
    float *scores = thaw_arena_array(arena, BATCH * K, sizeof *scores);
    if (!x || !scratch || !scores) return thaw_fail_memory(err, "for the scores");
    THAW_TRY(thaw_metrics_init(metrics, (int64_t)K, rows->n, arena, err));
    THAW_TRY(thaw_metrics_take_sets(metrics, rows->sets, rows->n, arena, err));
    for (int64_t begin = 0; begin < rows->n; begin += BATCH) {
        int64_t index[BATCH], M = rows->n - begin < BATCH ? rows->n - begin : BATCH;
        for (int64_t m = 0; m < M; m++)
            index[m] = begin + m;
        THAW_TRY(rows->gather(rows->ctx, index, M, x, err));
        THAW_TRY((rows->sets ? thaw_dense_logits : thaw_dense_scores)(
            b->backend, b->layers, b->n_layers, M, x, scratch, scores, err));
        /* Log-probabilities are logits, too; a score of 0 stays finite, and a NaN one. */
        for (size_t i = 0; i < (size_t)M * K && !rows->sets; i++)
            scores[i] = logf(scores[i] < 1e-38f ? 1e-38f : scores[i]);
        thaw_metrics_add(metrics, M, scores, rows->label + begin);
    }
    thaw_metrics_finish(metrics);
    return THAW_OK;
}

/* What of FOLDER is to be measured: its test pictures where it is laid out as data.train may be. */
static thaw_status choose_pictures(thaw_session *s, const char *folder, thaw_dataset_spec *spec,
                                   thaw_error *err) {
    thaw_dataset_spec found = {.root = s->options->data.root, .stop = s->stop};
    THAW_TRY(thaw_dataset_find_splits(folder, &found, &s->lists, err));
    if (found.root && found.folder[THAW_SPLIT_TRAIN])
        return thaw_fail(err, THAW_ERR_USAGE,
                         "data.root = %.300s has no part where '%.300s' is no list: leave it out",
                         found.root, folder);
    int split = THAW_SPLIT_TEST;
    while (split > THAW_SPLIT_TRAIN && !found.folder[split] && !found.list[split])
        split--;
    spec->folder[THAW_SPLIT_TEST] = found.folder[split];
    spec->list[THAW_SPLIT_TEST] = found.list[split];
    return THAW_OK;
}

static thaw_status print_json(const thaw_results *results, const thaw_old_answers *old,
                              const thaw_unknown *unknown, thaw_error *err) {
    enum { DIGITS = 9 };
    thaw_json json = thaw_json_begin();
    char *text;
    thaw_results_json(&json, json.root, results);
    thaw_results_classes_json(&json, json.root, results);
    if (!results->metrics.sets) thaw_results_confusion_json(&json, json.root, results);
    thaw_old_answers_json(old, &json, json.root);
    thaw_unknown_json(unknown, &json, json.root);
    thaw_status status =
        thaw_json_print(&json, THAW_JSON_INDENTED, DIGITS, "the results", &text, err);
    thaw_json_free(&json);
    THAW_TRY(status);
    puts(text);
    free(text);
    return THAW_OK;
}

/* What the run makes of the folder's pictures, known ones and those of classes that it was not trained on. */
static thaw_status measure_unknown(thaw_session *s, thaw_bundle *b, const thaw_rows *rows,
                                   const thaw_metrics *metrics, thaw_unknown *unknown,
                                   thaw_error *err) {
    thaw_unknown_source source = {"", s->dataset.strangers, s->dataset.n_strangers};
    THAW_TRY(thaw_unknown_measure_known(unknown, &b->novelty, &b->backend->kernels->top, rows,
                                        metrics, &s->arena, err));
    if (source.n_strangers == 0) return THAW_OK;
    return thaw_unknown_measure(unknown, b, &source, metrics, s->options->batch, s->stop, &s->log,
                                &s->arena, err);
}

static thaw_status evaluate(thaw_session *s, thaw_bundle *b, const char *folder, thaw_error *err) {
    thaw_dataset_spec spec = {
        .classes = b->labels,
        .n_classes = b->n_labels,
        .several = thaw_bundle_several(b) ? THAW_SEVERAL_YES : THAW_SEVERAL_NO,
        .stop = s->stop};
    THAW_TRY(choose_pictures(s, folder, &spec, err));
    THAW_TRY(thaw_session_extract(s, &b->network, &spec, NULL, err));
    thaw_split_rows rows;
    thaw_results results = {.classes = b->labels};
    thaw_status status = thaw_split_rows_open(&rows, s, &b->network, THAW_SPLIT_TEST, err);
    if (status == THAW_OK) status = score_rows(b, &rows.rows, &results.metrics, &s->arena, err);
    if (status == THAW_OK) status = thaw_results_finish(&results, &s->arena, err);
    thaw_old_answers old = {0};
    if (status == THAW_OK && b->old.output)
        status = thaw_old_answers_of(&b->old, &rows.rows, &results.metrics, &s->arena, &old, err);
    thaw_unknown unknown = {0};
    if (status == THAW_OK)
        status = measure_unknown(s, b, &rows.rows, &results.metrics, &unknown, err);
    thaw_predictions answered = {&s->dataset, &rows, &results, &old, &unknown};
    if (status == THAW_OK) thaw_predictions_warn(&answered, &s->log);
    if (status == THAW_OK && *s->options->predict.csv)
        status = thaw_predictions_write(&answered, s->options->predict.csv, err);
    thaw_split_rows_close(&rows);
    THAW_TRY(status);
    if (s->options->predict.json) return print_json(&results, &old, &unknown, err);
    thaw_results_print(stdout, &results);
    thaw_old_answers_print(stdout, &old);
    thaw_unknown_print(stdout, &unknown);
    return THAW_OK;
}

thaw_status thaw_cmd_eval(const thaw_cli *cli, const thaw_options *options, thaw_error *err) {
    thaw_session session;
    thaw_bundle bundle = {0};
    thaw_status status = thaw_session_open(&session, options, err);
    if (status == THAW_OK) status = thaw_bundle_open(&bundle, cli->args[0], &session.backend, err);
    if (status == THAW_OK) thaw_session_say_device(&session);
    if (status == THAW_OK) status = evaluate(&session, &bundle, cli->args[1], err);
    thaw_bundle_close(&bundle); /* Before the device that it computes on. */
    thaw_session_close(&session);
    return status;
}
