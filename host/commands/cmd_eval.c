/* thaw eval RUN FOLDER: how good a trained run is on a folder of pictures. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "model/bundle.h"
#include "run/results.h"
#include "run/session.h"

/* Scores all rows of a split, in order, with the layers that serving uses. */
static thaw_status score_rows(const thaw_bundle *b, const thaw_rows *rows, thaw_metrics *metrics,
                              thaw_arena *arena, thaw_error *err) {
    enum { BATCH = 256 };
    size_t widest = (size_t)thaw_dense_widest(b->layers, b->n_layers), K = b->n_labels;
    float *x = thaw_arena_array(arena, BATCH * (size_t)rows->D, sizeof *x);
    float *scratch = thaw_arena_array(arena, 2 * BATCH * widest, sizeof *scratch);
    float *scores = thaw_arena_array(arena, BATCH * K, sizeof *scores);
    if (!x || !scratch || !scores) return thaw_fail_memory(err, "for the scores");
    THAW_TRY(thaw_metrics_init(metrics, (int64_t)K, arena, err));
    for (int64_t begin = 0; begin < rows->n; begin += BATCH) {
        int64_t index[BATCH], M = rows->n - begin < BATCH ? rows->n - begin : BATCH;
        for (int64_t m = 0; m < M; m++)
            index[m] = begin + m;
        THAW_TRY(rows->gather(rows->ctx, index, M, x, err));
        THAW_TRY(thaw_dense_scores(b->backend, b->layers, b->n_layers, M, x, scratch, scores, err));
        /* Log-probabilities are logits, too; a score of 0 stays finite. */
        for (size_t i = 0; i < (size_t)M * K; i++)
            scores[i] = logf(fmaxf(scores[i], 1e-38f));
        thaw_metrics_add(metrics, M, scores, rows->label + begin);
    }
    thaw_metrics_finish(metrics);
    return THAW_OK;
}

/* What of FOLDER is to be measured: its test folder where it is laid out as data.train may be. */
static thaw_status choose_folder(const char *folder, const char **chosen, thaw_arena *arena,
                                 thaw_error *err) {
    thaw_dataset_spec spec = {.stop = thaw_session_stop()};
    THAW_TRY(thaw_dataset_find_splits(folder, &spec, arena, err));
    *chosen = spec.folder[THAW_SPLIT_TEST]         ? spec.folder[THAW_SPLIT_TEST]
              : spec.folder[THAW_SPLIT_VALIDATION] ? spec.folder[THAW_SPLIT_VALIDATION]
                                                   : spec.folder[THAW_SPLIT_TRAIN];
    return THAW_OK;
}

static thaw_status evaluate(thaw_session *s, const thaw_bundle *b, const char *folder,
                            thaw_error *err) {
    thaw_dataset_spec spec = {
        .classes = b->labels, .n_classes = b->n_labels, .stop = thaw_session_stop()};
    THAW_TRY(choose_folder(folder, &spec.folder[THAW_SPLIT_TEST], &s->arena, err));
    THAW_TRY(thaw_session_extract(s, &b->network, &spec, NULL, err));
    thaw_split_rows rows;
    thaw_metrics metrics;
    thaw_status status = thaw_session_rows(s, &b->network, THAW_SPLIT_TEST, &rows, err);
    if (status == THAW_OK) status = score_rows(b, &rows.rows, &metrics, &s->arena, err);
    thaw_split_close(&rows);
    THAW_TRY(status);
    if (!s->options->predict.json) {
        thaw_results_print(stdout, &metrics, b->labels);
        return THAW_OK;
    }
    enum { DIGITS = 9 };
    thaw_json json = thaw_json_begin();
    char *text;
    thaw_results_json(&json, json.root, &metrics, b->labels);
    status = thaw_json_print(&json, THAW_JSON_INDENTED, DIGITS, "the results", &text, err);
    thaw_json_free(&json);
    THAW_TRY(status);
    puts(text);
    free(text);
    return THAW_OK;
}

thaw_status thaw_cmd_eval(const thaw_cli *cli, const thaw_options *options, thaw_error *err) {
    thaw_session session;
    thaw_bundle bundle = {0};
    thaw_status status = thaw_session_open(&session, options, err);
    if (status == THAW_OK) status = thaw_bundle_open(&bundle, cli->args[0], &session.backend, err);
    if (status == THAW_OK) status = evaluate(&session, &bundle, cli->args[1], err);
    thaw_bundle_close(&bundle); /* Before the device that it computes on. */
    thaw_session_close(&session);
    return status;
}
