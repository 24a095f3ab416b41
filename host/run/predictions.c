#include "predictions.h"

#include <string.h>

#include "csv.h"
#include "file.h"

static void path_of(const thaw_predictions *p, int64_t row, char path[PATH_MAX]) {
    thaw_dataset_path(p->dataset, p->rows->picture[row], path);
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
    fputs("\r\n", out);
}

thaw_status thaw_predictions_write(const thaw_predictions *p, const char *path, thaw_error *err) {
    thaw_new_file file;
    THAW_TRY(thaw_file_begin(&file, path, err));
    fprintf(file.stream, "path,truth,answer,score,margin%s\r\n",
            p->old->kept ? ",old_answer,old_score" : "");
    for (int64_t row = 0; row < p->results->metrics.n; row++)
        write_row(file.stream, p, row);
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

static bool is_wrong(const thaw_answer *a) {
    return a->answer >= 0 && a->answer != a->label;
}

/* Puts a row among the rows with the highest scores so far; equal scores stay in their order. */
static void insert(const thaw_answer *answers, int64_t *rows, size_t *n, int64_t row) {
    size_t at = *n;
    while (at > 0 && answers[rows[at - 1]].score < answers[row].score)
        at--;
    if (at == THAW_REPORT_MISTAKES) return;
    if (*n < THAW_REPORT_MISTAKES) ++*n;
    memmove(rows + at + 1, rows + at, (*n - at - 1) * sizeof *rows);
    rows[at] = row;
}

thaw_status thaw_predictions_mistakes(const thaw_predictions *p, thaw_arena *arena,
                                      thaw_mistake **mistakes, size_t *n, thaw_error *err) {
    const thaw_answer *answers = p->results->metrics.answers;
    int64_t rows[THAW_REPORT_MISTAKES];
    *n = 0;
    for (int64_t row = 0; row < p->results->metrics.n; row++)
        if (is_wrong(&answers[row])) insert(answers, rows, n, row);
    thaw_mistake *list = thaw_arena_array(arena, *n, sizeof *list);
    for (size_t i = 0; list && i < *n; i++) {
        const thaw_answer *a = &answers[rows[i]];
        char path[PATH_MAX];
        path_of(p, rows[i], path);
        list[i] = (thaw_mistake){.path = thaw_arena_string(arena, path, strlen(path)),
                                 .truth = p->results->classes[a->label],
                                 .answer = p->results->classes[a->answer],
                                 .score = a->score,
                                 .row = rows[i]};
        if (p->old->kept) list[i].old = p->old->kept->labels[p->old->answers[rows[i]].answer];
        if (!list[i].path) list = NULL;
    }
    *mistakes = list;
    return list ? THAW_OK : thaw_fail_memory(err, "to list mistakes");
}
