#include "asking.h"

#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "clock.h"
#include "csv.h"
#include "file.h"
#include "json.h"
#include "picture/picture_file.h"

static const double PATIENCE_S = 60; /* What SageMaker gives an endpoint. */

typedef struct row {
    const char *path, *truth, *answer;
    double seconds;
    bool answered, right;
} row;

/* What the connections share. */
typedef struct work {
    const thaw_asking *asking;
    row *rows;
    size_t n;
    pthread_mutex_t mutex; /* Guards what follows. */
    size_t next, n_other;
    thaw_error failure; /* The first one ends all. */
    thaw_error other;   /* The first answer that is another one. */
} work;

/* ---- the table ------------------------------------------------------------------------------ */

static thaw_status read_rows(work *w, thaw_arena *arena, thaw_error *err) {
    enum { PATH, TRUTH, ANSWER, FIELDS };
    char *bytes, *fields[FIELDS];
    size_t size, n_fields, n_lines = 0;
    THAW_TRY(thaw_file_read(w->asking->predictions, SIZE_MAX, arena, &bytes, &size, err));
    for (const char *c = bytes; (c = strchr(c, '\n')); c++)
        n_lines++;
    w->rows = thaw_arena_array(arena, n_lines, sizeof *w->rows);
    if (!w->rows) return thaw_fail_memory(err, "for what the training has answered");
    for (bool head = true; thaw_csv_next(&bytes, fields, FIELDS, &n_fields); head = false)
        if (!head && n_fields >= FIELDS && w->n < n_lines)
            w->rows[w->n++] =
                (row){.path = fields[PATH], .truth = fields[TRUTH], .answer = fields[ANSWER]};
    if (w->n > 0) return THAW_OK;
    return thaw_fail(err, THAW_ERR_DATA, "%s: there is no picture in it", w->asking->predictions);
}

/* ---- one picture ---------------------------------------------------------------------------- */

static void compare(work *w, row *r, const char *label) {
    r->answered = true;
    r->right = strcmp(label, r->truth) == 0;
    if (strcmp(label, r->answer) == 0) return;
    pthread_mutex_lock(&w->mutex);
    if (w->n_other++ == 0)
        thaw_fail(&w->other, THAW_ERR_MISMATCH,
                  "%.300s is '%.80s' for the endpoint, '%.80s' for the training", r->path, label,
                  r->answer);
    pthread_mutex_unlock(&w->mutex);
}

/* A picture without an answer, in training, has a sentence in its place here. */
static thaw_status take_reply(work *w, row *r, const thaw_reply *reply, thaw_error *err) {
    json_t *json = NULL;
    if (reply->code != 200 && *r->answer)
        return thaw_fail(err, THAW_ERR_BACKEND, "%.300s: the endpoint says %d: %.300s", r->path,
                         reply->code, reply->body);
    if (reply->code == 200)
        THAW_TRY(thaw_json_parse(reply->body, reply->n, "an answer", &json, err));
    const char *label = json_string_value(json_object_get(json, "predicted_label"));
    compare(w, r, label ? label : "");
    json_decref(json);
    return THAW_OK;
}

static thaw_status ask(work *w, thaw_client *client, row *r, thaw_arena *arena, thaw_error *err) {
    char *bytes;
    thaw_reply reply;
    thaw_question question = {
        .method = "POST",
        .path = "/invocations",
        .headers = "Content-Type: application/x-image\r\nAccept: application/json;verbose\r\n",
        .patience_s = PATIENCE_S};
    THAW_TRY(thaw_picture_read(r->path, arena, &bytes, &question.n, err));
    question.body = bytes;
    double begin = thaw_now_s();
    THAW_TRY(thaw_client_ask(client, &question, &reply, err));
    r->seconds = thaw_now_s() - begin;
    return take_reply(w, r, &reply, err);
}

/* ---- all of them ---------------------------------------------------------------------------- */

/* The next row that nobody has; NULL: there is none, or no sense in it. */
static row *next_row(work *w) {
    row *r = NULL;
    pthread_mutex_lock(&w->mutex);
    if (w->failure.code == THAW_OK && w->next < w->n && !*w->asking->stop) r = &w->rows[w->next++];
    pthread_mutex_unlock(&w->mutex);
    return r;
}

static void note_failure(work *w, const thaw_error *err) {
    pthread_mutex_lock(&w->mutex);
    if (w->failure.code == THAW_OK) w->failure = *err;
    pthread_mutex_unlock(&w->mutex);
}

static void *run_connection(void *ctx) {
    work *w = ctx;
    thaw_client client = thaw_client_open(w->asking->port);
    for (row *r; (r = next_row(w));) {
        thaw_arena arena = {0};
        thaw_error err = {0};
        if (ask(w, &client, r, &arena, &err) != THAW_OK) note_failure(w, &err);
        thaw_arena_free(&arena);
    }
    thaw_client_close(&client);
    return NULL;
}

static thaw_status run_connections(work *w, thaw_error *err) {
    size_t wanted = (size_t)w->asking->connections, n = 0;
    if (wanted > w->n) wanted = w->n;
    pthread_t *threads = calloc(wanted, sizeof *threads);
    if (!threads) return thaw_fail_memory(err, "to ask the endpoint");
    while (n < wanted && pthread_create(&threads[n], NULL, run_connection, w) == 0)
        n++;
    for (size_t i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    free(threads);
    return n ? THAW_OK : thaw_fail(err, THAW_ERR_SYSTEM, "no thread to ask the endpoint with");
}

static int compare_seconds(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The value that a share of n sorted ones does not exceed: that of the nearest rank. */
static double quantile(const double *sorted, size_t n, double share) {
    return n ? sorted[(size_t)ceil(share * (double)n) - 1] : NAN;
}

static thaw_status measure(const work *w, thaw_asked *asked, thaw_arena *arena, thaw_error *err) {
    double *seconds = thaw_arena_array(arena, w->n, sizeof *seconds);
    if (!seconds) return thaw_fail_memory(err, "for the endpoint's times");
    for (size_t i = 0; i < w->n; i++) {
        if (!w->rows[i].answered) continue;
        seconds[asked->n++] = w->rows[i].seconds;
        asked->n_right += w->rows[i].right;
    }
    qsort(seconds, asked->n, sizeof *seconds, compare_seconds);
    asked->p50 = quantile(seconds, asked->n, 0.5);
    asked->p90 = quantile(seconds, asked->n, 0.9);
    asked->p99 = quantile(seconds, asked->n, 0.99);
    return THAW_OK;
}

static thaw_status conclude(const work *w, const thaw_asked *asked, thaw_error *err) {
    if (*w->asking->stop)
        return thaw_fail(err, THAW_ERR_INTERRUPTED, "stopped by a signal after %zu of %zu pictures",
                         asked->n, w->n);
    if (w->failure.code != THAW_OK) return thaw_fail(err, w->failure.code, "%s", w->failure.text);
    if (!w->n_other) return THAW_OK;
    return thaw_fail(err, THAW_ERR_MISMATCH,
                     "%zu of %zu pictures are answered otherwise than in training; %.700s",
                     w->n_other, w->n, w->other.text);
}

thaw_status thaw_asking_run(const thaw_asking *asking, thaw_asked *asked, thaw_error *err) {
    thaw_arena arena = {0};
    work w = {.asking = asking};
    *asked = (thaw_asked){0};
    pthread_mutex_init(&w.mutex, NULL);
    thaw_status status = read_rows(&w, &arena, err);
    double begin = thaw_now_s();
    if (status == THAW_OK) status = run_connections(&w, err);
    asked->seconds = thaw_now_s() - begin;
    if (status == THAW_OK) status = measure(&w, asked, &arena, err);
    if (status == THAW_OK) status = conclude(&w, asked, err);
    pthread_mutex_destroy(&w.mutex);
    thaw_arena_free(&arena);
    return status;
}
