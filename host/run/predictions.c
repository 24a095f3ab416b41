#include "predictions.h"

#include <math.h>
#include <string.h>

#include "csv.h"
#include "file.h"

static void path_of(const thaw_predictions *p, int64_t row, char path[PATH_MAX]) {
    thaw_dataset_path(p->dataset, p->rows->picture[row], path);
}

static bool rejects(const thaw_predictions *p) {
    return p->unknown->known != NULL;
}

static void put_distance(FILE *out, float distance, bool rejected) {
    fprintf(out, ",%.6f,%s", (double)distance, rejected ? "yes" : "no");
}

static void write_unknown(FILE *out, const thaw_predictions *p, const thaw_unknown_answer *a) {
    thaw_csv_put(out, a->path);
    fputc(',', out);
    thaw_csv_put(out, a->class_name);
    fputc(',', out);
    thaw_csv_put(out, p->results->classes[a->answer]);
    fprintf(out, ",%.6f,%.6f%s", (double)a->score, (double)a->margin, p->old->kept ? ",," : "");
    if (rejects(p)) put_distance(out, a->distance, a->rejected);
    fputs("\r\n", out);
}

static void write_row(FILE *out, const thaw_predictions *p, int64_t row) {
    const thaw_answer *a = &p->results->metrics.answers[row];
    char path[PATH_MAX];
    path_of(p, row, path);
    thaw_csv_put(out, path);
    fputc(',', out);
    thaw_csv_put(out, p->results->classes[a->label]);
    fputc(',', out);
    if (a->answer >= 0) {
        thaw_csv_put(out, p->results->classes[a->answer]);
        fprintf(out, ",%.6f,%.6f", a->score, a->margin);
    } else {
        fputs(",,", out);
    }
    if (p->old->kept) {
        fputc(',', out);
        thaw_csv_put(out, p->old->kept->labels[p->old->answers[row].answer]);
        fprintf(out, ",%.6f", (double)p->old->answers[row].score);
    }
    if (rejects(p)) {
        float distance = p->unknown->known[row];
        put_distance(out, distance, thaw_novelty_is_unknown(p->unknown->novelty, distance));
    }
    fputs("\r\n", out);
}

/* Where labels are sets: truth and answer are all their classes, and each class has its score. */
static thaw_status write_sets(FILE *out, const thaw_predictions *p, thaw_error *err) {
    const thaw_results *r = p->results;
    const thaw_metrics *m = &r->metrics;
    fputs("path,truth,answer", out);
    for (int64_t k = 0; k < m->K; k++) {
        fputc(',', out);
        thaw_csv_put(out, r->classes[k]);
    }
    fputs("\r\n", out);
    for (int64_t row = 0; row < m->n; row++) {
        thaw_arena arena = {0};
        char path[PATH_MAX];
        const char *truth = thaw_results_label(r, m->row_label[row], &arena);
        const char *answer = thaw_results_said(r, row, &arena);
        if (!truth || !answer) {
            thaw_arena_free(&arena);
            return thaw_fail_memory(err, "for the table of predictions");
        }
        path_of(p, row, path);
        thaw_csv_put(out, path);
        fputc(',', out);
        thaw_csv_put(out, truth);
        fputc(',', out);
        if (m->answers[row].answer >= 0) thaw_csv_put(out, answer);
        for (int64_t k = 0; k < m->K; k++) {
            double score = 1 / (1 + exp(-(double)m->logits[row * m->K + k]));
            fputc(',', out);
            if (m->answers[row].answer >= 0) fprintf(out, "%.6f", score);
        }
        fputs("\r\n", out);
        thaw_arena_free(&arena);
    }
    return THAW_OK;
}

static thaw_status finish_table(thaw_new_file *file, thaw_status status, thaw_error *err) {
    if (status == THAW_OK) return thaw_file_finish(file, err);
    thaw_file_abandon(file);
    return status;
}

thaw_status thaw_predictions_write(const thaw_predictions *p, const char *path, thaw_error *err) {
    thaw_new_file file;
    THAW_TRY(thaw_file_begin(&file, path, err));
    if (p->results->metrics.sets) return finish_table(&file, write_sets(file.stream, p, err), err);
    fprintf(file.stream, "path,truth,answer,score,margin%s%s\r\n",
            p->old->kept ? ",old_answer,old_score" : "", rejects(p) ? ",distance,rejected" : "");
    for (int64_t row = 0; row < p->results->metrics.n; row++)
        write_row(file.stream, p, row);
    for (int64_t i = 0; i < p->unknown->n; i++)
        write_unknown(file.stream, p, &p->unknown->answers[i]);
    return thaw_file_finish(&file, err);
}

void thaw_predictions_warn(const thaw_predictions *p, thaw_log *log) {
    const thaw_metrics *m = &p->results->metrics;
    char path[PATH_MAX];
    if (!m->n_nan) return;
    int64_t first = 0;
    while (m->answers[first].answer >= 0)
        first++;
    path_of(p, first, path);
    thaw_log_write(
        log, THAW_LOG_WARN,
        "the scores of %lld of %lld pictures are not numbers, which counts as wrong; the "
        "first is %s",
        (long long)m->n_nan, (long long)m->n, path);
}

/* A row that was answered wrong. */
typedef struct wrong {
    int64_t row;
    float score; /* How sure the answer was; of a set, that about the class where it was surest. */
} wrong;

/* False: it was answered right, or not at all. */
static bool find_wrong(const thaw_metrics *m, int64_t row, wrong *w) {
    const thaw_answer *a = &m->answers[row];
    *w = (wrong){row, m->sets ? 0 : a->score};
    if (a->answer < 0) return false;
    if (!m->sets) return a->answer != a->label;
    for (int64_t k = 0; k < m->K; k++) {
        float z = m->logits[row * m->K + k], sure = (float)(1 / (1 + exp(-fabs((double)z))));
        bool is = thaw_label_has(m->sets, a->label, k);
        if ((z > 0) != is && sure > w->score) w->score = sure;
    }
    return w->score > 0;
}

/* Puts a row among those with the highest scores so far; equal scores stay in their order. */
static void insert(wrong *rows, size_t *n, wrong w) {
    size_t at = *n;
    while (at > 0 && rows[at - 1].score < w.score)
        at--;
    if (at == THAW_REPORT_MISTAKES) return;
    if (*n < THAW_REPORT_MISTAKES) ++*n;
    memmove(rows + at + 1, rows + at, (*n - at - 1) * sizeof *rows);
    rows[at] = w;
}

thaw_status thaw_predictions_mistakes(const thaw_predictions *p, thaw_arena *arena,
                                      thaw_mistake **mistakes, size_t *n, thaw_error *err) {
    const thaw_results *r = p->results;
    wrong rows[THAW_REPORT_MISTAKES], w;
    *n = 0;
    for (int64_t row = 0; row < r->metrics.n; row++)
        if (find_wrong(&r->metrics, row, &w)) insert(rows, n, w);
    thaw_mistake *list = thaw_arena_array(arena, *n, sizeof *list);
    for (size_t i = 0; list && i < *n; i++) {
        int64_t row = rows[i].row;
        const thaw_answer *a = &r->metrics.answers[row];
        char path[PATH_MAX];
        path_of(p, row, path);
        list[i] = (thaw_mistake){
            .path = thaw_arena_string(arena, path, strlen(path)),
            .truth = thaw_results_label(r, a->label, arena),
            .answer = r->metrics.sets ? thaw_results_said(r, row, arena) : r->classes[a->answer],
            .score = rows[i].score,
            .row = row};
        if (p->old->kept) list[i].old = p->old->kept->labels[p->old->answers[row].answer];
        if (!list[i].path || !list[i].truth || !list[i].answer) list = NULL;
    }
    *mistakes = list;
    return list ? THAW_OK : thaw_fail_memory(err, "to list mistakes");
}
