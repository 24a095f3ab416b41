/* thaw predict RUN PICTURE|FOLDER...: what a trained run sees in pictures. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "csv.h"
#include "file.h"
#include "json.h"
#include "label_sets.h"
#include "run/picture_list.h"
#include "run/predict.h"
#include "run/session.h"
#include "utf8.h"

enum {
    SCORE_BYTES = 16
}; /* Of a score between 0 and 1, as a text, and what parts it from the next. */

typedef struct ranked {
    size_t class;
    float score;
} ranked;

typedef struct output {
    thaw_bundle *bundle;
    const thaw_options *options;
    size_t top;
    ranked *order; /* [n_labels] */
    char *joined;  /* Room for all classes or scores. */
    thaw_new_file csv;
} output;

/* By falling score; equal scores by rising number. */
static int compare_ranked(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->class < y->class ? -1 : 1;
}

static void rank(const output *o, const float *scores) {
    size_t n = o->bundle->n_labels;
    for (size_t k = 0; k < n; k++)
        o->order[k] = (ranked){k, scores[k]};
    qsort(o->order, n, sizeof *o->order, compare_ranked);
}

/* How many of the ranked classes are told: so many, or where there may be several those above 0.5. */
static size_t count_told(const output *o) {
    size_t n = 0;
    if (!thaw_bundle_several(o->bundle)) return o->top;
    while (n < o->bundle->n_labels && o->order[n].score > 0.5f)
        n++;
    return n < o->top ? n : o->top;
}

/* Whether the run tells what it does not know. */
static bool rejects(const output *o) {
    return o->bundle->novelty.method != THAW_NOVELTY_NONE;
}

/* ---- one picture --------------------------------------------------------------------------- */

/* Of what is unknown without classes: whoever takes the first of them shall not take a guess. */
static thaw_status print_json(const output *o, const thaw_prediction *p, thaw_error *err) {
    enum { DIGITS = 7 };
    thaw_json json = thaw_json_begin();
    thaw_json_text(&json, json.root, "file", p->path);
    if (p->problem) thaw_json_text(&json, json.root, "error", p->problem);
    if (!p->problem && rejects(o)) {
        thaw_json_boolean(&json, json.root, "unknown", p->unknown);
        thaw_json_real(&json, json.root, "distance", (double)p->distance);
    }
    json_t *list = p->problem ? NULL : thaw_json_array(&json, json.root, "predictions");
    for (size_t k = 0; !p->problem && !p->unknown && k < count_told(o); k++) {
        json_t *one = thaw_json_object(&json, list, NULL);
        thaw_json_text(&json, one, "class", o->bundle->labels[o->order[k].class]);
        thaw_json_real(&json, one, "score", (double)o->order[k].score);
    }
    if (!p->problem && p->old) {
        json_t *old = thaw_json_object(&json, json.root, "old");
        thaw_json_text(&json, old, "class", o->bundle->old.labels[p->old->answer]);
        thaw_json_real(&json, old, "score", (double)p->old->score);
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

/* "path TAB class TAB score TAB class TAB score ...", the old head's answer last; of what is unknown "path TAB
 * unknown TAB distance", and the old head's answer; without an answer: "path TAB TAB sentence". No name holds a
 * tab or ends the line, since what is not printable is replaced. */
static void print_text(const output *o, const thaw_prediction *p) {
    thaw_utf8_put(stdout, p->path, 0);
    if (p->problem) {
        fputs("\t\t", stdout);
        thaw_utf8_put(stdout, p->problem, 0);
    }
    if (!p->problem && p->unknown) printf("\t" THAW_UNKNOWN "\t%.4f", (double)p->distance);
    for (size_t k = 0; !p->problem && !p->unknown && k < count_told(o); k++) {
        putchar('\t');
        thaw_utf8_put(stdout, o->bundle->labels[o->order[k].class], 0);
        printf("\t%.4f", o->order[k].score);
    }
    if (!p->problem && p->old) {
        putchar('\t');
        thaw_utf8_put(stdout, o->bundle->old.labels[p->old->answer], 0);
        printf("\t%.4f", p->old->score);
    }
    putchar('\n');
}

/* The classes that are told, or their scores, with | between, as one field. */
static void put_told(const output *o, bool scores) {
    size_t at = 0;
    o->joined[0] = '\0';
    for (size_t k = 0; k < count_told(o); k++) {
        const ranked *one = &o->order[k];
        const char *before = k ? THAW_LABEL_SEPARATOR : "";
        char *to = o->joined + at;
        if (scores)
            at += (size_t)sprintf(to, "%s%.6f", before, (double)one->score);
        else
            at += (size_t)sprintf(to, "%s%s", before, o->bundle->labels[one->class]);
    }
    thaw_csv_put(o->csv.stream, o->joined);
}

/* How near to 0.5 the score is that is nearest. */
static double least_sure(const output *o) {
    double least = 0.5;
    for (size_t k = 0; k < o->bundle->n_labels; k++)
        least = fmin(least, fabs((double)o->order[k].score - 0.5));
    return least;
}

/* path,answer,score,margin,problem, the old head's old_answer,old_score, and the distance by which a run
 * tells that a picture is unknown; one that is has no score and no margin. Where there may be several classes,
 * answer and score are theirs, and the margin is the distance from 0.5 of the score that is nearest to it. */
static void write_row(const output *o, const thaw_prediction *p) {
    FILE *out = o->csv.stream;
    thaw_csv_put(out, p->path);
    fputc(',', out);
    if (p->problem) {
        fputs(",,,", out);
        thaw_csv_put(out, p->problem);
    } else if (p->unknown) {
        fputs(THAW_UNKNOWN ",,,", out);
    } else if (thaw_bundle_several(o->bundle)) {
        put_told(o, false);
        fputc(',', out);
        put_told(o, true);
        fprintf(out, ",%.6f,", least_sure(o));
    } else {
        thaw_csv_put(out, o->bundle->labels[o->order[0].class]);
        fprintf(out, ",%.6f,%.6f,", o->order[0].score, o->order[0].score - o->order[1].score);
    }
    if (p->old && p->problem) fputs(",,", out);
    if (p->old && !p->problem) {
        fputc(',', out);
        thaw_csv_put(out, o->bundle->old.labels[p->old->answer]);
        fprintf(out, ",%.6f", p->old->score);
    }
    if (rejects(o) && p->problem) fputc(',', out);
    if (rejects(o) && !p->problem) fprintf(out, ",%.6f", (double)p->distance);
    fputs("\r\n", out);
}

static thaw_status put_prediction(void *ctx, const thaw_prediction *p, thaw_error *err) {
    output *o = ctx;
    if (!p->problem) rank(o, p->scores);
    if (o->csv.stream) write_row(o, p);
    if (o->options->predict.json)
        THAW_TRY(print_json(o, p, err));
    else
        print_text(o, p);
    fflush(stdout); /* Whoever reads a pipe sees each picture when it is done. */
    return THAW_OK;
}

/* ---- all of them --------------------------------------------------------------------------- */

static thaw_status predict_all(output *o, thaw_session *s, thaw_picture_list *list,
                               thaw_error *err) {
    thaw_predict_job job = {
        .bundle = o->bundle,
        .batch = o->options->batch,
        .source = {.next = thaw_picture_list_next, .ctx = list, .most = SIZE_MAX},
        .take = put_prediction,
        .ctx = o,
        .stop = list->stop,
        .log = &s->log};
    thaw_pipeline_result done;
    /* On one terminal, lines and a progress line would be in each other's way; without one, the lines
     * show it. */
    if (s->log.terminal && !isatty(STDOUT_FILENO))
        thaw_log_progress_begin(&s->log, "pictures", "images", 0);
    thaw_status status = thaw_predict(&job, &done, err);
    thaw_log_progress_end(&s->log);
    THAW_TRY(status);
    if (o->csv.stream) THAW_TRY(thaw_file_finish(&o->csv, err));
    if (!done.n_bad) return THAW_OK;
    return thaw_fail(err, THAW_ERR_DATA, "%zu of %zu pictures have no answer", done.n_bad, done.n);
}

static thaw_status open_output(output *o, thaw_session *s, thaw_error *err) {
    o->top = (size_t)o->options->predict.top;
    bool all =
        thaw_bundle_several(o->bundle) && thaw_options_has_default(o->options, "predict.top");
    if (all || o->top > o->bundle->n_labels) o->top = o->bundle->n_labels;
    o->order = thaw_arena_array(&s->arena, o->bundle->n_labels, sizeof *o->order);
    size_t bytes = 1;
    for (size_t k = 0; k < o->bundle->n_labels; k++)
        bytes += SCORE_BYTES + strlen(o->bundle->labels[k]);
    o->joined = thaw_arena_alloc(&s->arena, bytes);
    if (!o->order || !o->joined) return thaw_fail_memory(err, "to predict");
    if (!*o->options->predict.csv) return THAW_OK;
    THAW_TRY(thaw_file_begin(&o->csv, o->options->predict.csv, err));
    fprintf(o->csv.stream, "path,answer,score,margin,problem%s%s\r\n",
            o->bundle->old.output ? ",old_answer,old_score" : "", rejects(o) ? ",distance" : "");
    return THAW_OK;
}

thaw_status thaw_cmd_predict(const thaw_cli *cli, const thaw_options *options, thaw_error *err) {
    const char *list_path = *options->predict.list ? options->predict.list : NULL;
    if (cli->n_args < 2 && !list_path)
        return thaw_fail(err, THAW_ERR_USAGE,
                         "predict: no pictures: name files or folders behind the run, or give "
                         "--list=FILE with one path a line (- is standard input)");
    thaw_session session;
    thaw_bundle bundle = {0};
    thaw_picture_list list = {0};
    output o = {.bundle = &bundle, .options = options};
    thaw_status status = thaw_session_open(&session, options, err);
    if (status == THAW_OK) status = thaw_bundle_open(&bundle, cli->args[0], &session.backend, err);
    if (status == THAW_OK) thaw_session_say_device(&session);
    if (status == THAW_OK)
        status = thaw_picture_list_open(&list, cli->args + 1, cli->n_args - 1, list_path,
                                        session.stop, err);
    if (status == THAW_OK) status = open_output(&o, &session, err);
    if (status == THAW_OK) status = predict_all(&o, &session, &list, err);
    thaw_file_abandon(&o.csv);
    thaw_picture_list_close(&list);
    thaw_bundle_close(&bundle);
    thaw_session_close(&session);
    return status;
}
