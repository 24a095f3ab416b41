/* thaw predict RUN PICTURE...: what a trained run sees in pictures. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "file.h"
#include "json.h"
#include "model/bundle.h"
#include "run/session.h"

enum { GROUP = 32 };

/* Class numbers by falling score; equal scores by rising number. */
static void rank(const float *scores, size_t n, size_t *order) {
    for (size_t i = 0; i < n; i++) {
        size_t k = i;
        for (; k > 0 && scores[order[k - 1]] < scores[i]; k--)
            order[k] = order[k - 1];
        order[k] = i;
    }
}

static thaw_status print_json(const thaw_bundle *b, const char *path, const char *reason,
                              const float *scores, const size_t *order, size_t top,
                              thaw_error *err) {
    enum { DIGITS = 7 };
    thaw_json json = thaw_json_begin();
    thaw_json_text(&json, json.root, "file", path);
    if (reason) thaw_json_text(&json, json.root, "error", reason);
    json_t *list = reason ? NULL : thaw_json_array(&json, json.root, "predictions");
    for (size_t k = 0; !reason && k < top; k++) {
        json_t *one = thaw_json_object(&json, list, NULL);
        thaw_json_text(&json, one, "class", b->labels[order[k]]);
        thaw_json_real(&json, one, "score", (double)scores[order[k]]);
    }
    char *text;
    thaw_status status =
        thaw_json_print(&json, THAW_JSON_LINE, DIGITS, "a line of JSON", &text, err);
    thaw_json_free(&json);
    THAW_TRY(status);
    puts(text);
    free(text);
    return THAW_OK;
}

static thaw_status print_text(const thaw_bundle *b, const char *path, const char *reason,
                              const float *scores, const size_t *order, size_t top,
                              thaw_error *err) {
    (void)err;
    printf("%s", path);
    if (reason) printf("  %s", reason);
    for (size_t k = 0; !reason && k < top; k++)
        printf("%s%s %.4f", k ? ", " : "  ", b->labels[order[k]], scores[order[k]]);
    putchar('\n');
    return THAW_OK;
}

/* Reads, scores and prints a group; bad counts the pictures without an answer. */
static thaw_status predict_group(thaw_bundle *b, const thaw_options *options, size_t n,
                                 const char *const *paths, size_t *bad, thaw_arena *arena,
                                 thaw_error *err) {
    thaw_file_bytes files[GROUP];
    const char *reasons[GROUP], *unread[GROUP] = {NULL};
    float *scores = thaw_arena_array(arena, n * b->n_labels, sizeof *scores);
    size_t *order = thaw_arena_array(arena, b->n_labels, sizeof *order);
    if (!scores || !order) return thaw_fail_memory(err, "to predict");
    for (size_t i = 0; i < n; i++) {
        thaw_error why = {0};
        char *bytes = "";
        files[i] = (thaw_file_bytes){.path = paths[i]};
        if (thaw_file_read(paths[i], THAW_PICTURE_MOST_BYTES, arena, &bytes, &files[i].n, &why) !=
            THAW_OK)
            unread[i] = thaw_arena_string(arena, why.text, strlen(why.text));
        files[i].bytes = bytes;
        if (unread[i]) files[i].n = 0;
    }
    THAW_TRY(thaw_bundle_score(b, n, files, scores, reasons, arena, err));
    size_t top = (size_t)options->predict.top;
    if (top > b->n_labels) top = b->n_labels;
    for (size_t i = 0; i < n; i++) {
        const float *row = scores + i * b->n_labels;
        const char *reason = unread[i] ? unread[i] : reasons[i];
        if (reason) ++*bad;
        rank(row, b->n_labels, order);
        THAW_TRY((options->predict.json ? print_json : print_text)(b, paths[i], reason, row, order,
                                                                   top, err));
    }
    return THAW_OK;
}

thaw_status thaw_cmd_predict(const thaw_cli *cli, const thaw_options *options, thaw_error *err) {
    thaw_session session;
    thaw_bundle bundle = {0};
    size_t n = cli->n_args - 1, bad = 0;
    thaw_status status = thaw_session_open(&session, options, err);
    if (status == THAW_OK) status = thaw_bundle_open(&bundle, cli->args[0], &session.backend, err);
    for (size_t i = 0; status == THAW_OK && i < n; i += GROUP) {
        thaw_arena arena = {0};
        size_t group = n - i < GROUP ? n - i : GROUP;
        status = predict_group(&bundle, options, group, cli->args + 1 + i, &bad, &arena, err);
        thaw_arena_free(&arena);
        if (status == THAW_OK && *thaw_session_stop())
            status = thaw_fail(err, THAW_ERR_INTERRUPTED,
                               "stopped by a signal after %zu of %zu pictures", i + group, n);
    }
    if (status == THAW_OK && bad)
        status = thaw_fail(err, THAW_ERR_DATA, "%zu of %zu pictures could not be read", bad, n);
    thaw_bundle_close(&bundle);
    thaw_session_close(&session);
    return status;
}
