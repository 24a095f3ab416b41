#include "results.h"

#include <stdlib.h>
#include <string.h>

#include "file.h"

static json_t *class_json(const thaw_metrics *m, const char *const *classes) {
    json_t *all = json_array();
    for (int64_t k = 0; k < m->K; k++)
        json_array_append_new(all, json_pack("{s:s,s:f,s:f,s:f,s:I}", "name", classes[k],
                                             "precision", m->precision[k], "recall", m->recall[k],
                                             "f1", m->f1[k], "support", (json_int_t)m->support[k]));
    return all;
}

static json_t *confusion_json(const thaw_metrics *m) {
    json_t *all = json_array();
    for (int64_t t = 0; t < m->K; t++) {
        json_t *row = json_array();
        for (int64_t p = 0; p < m->K; p++)
            json_array_append_new(row, json_integer(m->confusion[t * m->K + p]));
        json_array_append_new(all, row);
    }
    return all;
}

json_t *thaw_results_json(const thaw_metrics *m, const char *const *classes) {
    return json_pack("{s:f,s:f,s:f,s:f,s:I,s:o,s:o}", "top1", m->top1, "top5", m->top5,
                     "balanced_accuracy", m->balanced, "loss", m->loss, "n", (json_int_t)m->n,
                     "classes", class_json(m, classes), "confusion", confusion_json(m));
}

static int longest_name(const thaw_metrics *m, const char *const *classes) {
    enum { LEAST = 5, MOST = 32 };
    int longest = LEAST;
    for (int64_t k = 0; k < m->K; k++) {
        int n = (int)strlen(classes[k]);
        if (n > longest) longest = n;
    }
    return longest < MOST ? longest : MOST;
}

static void print_confusion(FILE *out, const thaw_metrics *m, const char *const *classes,
                            int name) {
    enum { COLUMNS = 100, CELL = 5 };
    if (name + 2 + CELL * m->K > COLUMNS) return;
    fprintf(out, "\n%-*s  predicted (columns in the order of the rows)\n", name, "true");
    for (int64_t t = 0; t < m->K; t++) {
        fprintf(out, "%-*.*s  ", name, name, classes[t]);
        for (int64_t p = 0; p < m->K; p++) {
            int64_t count = m->confusion[t * m->K + p];
            if (count)
                fprintf(out, "%*lld", CELL, (long long)count);
            else
                fprintf(out, "%*s", CELL, "."); /* Zeros would hide the mistakes. */
        }
        fputc('\n', out);
    }
}

void thaw_results_print(FILE *out, const thaw_metrics *m, const char *const *classes) {
    enum { MANY = 60 };
    int name = longest_name(m, classes);
    fprintf(out, "%-*s  precision  recall      f1  pictures\n", name, "class");
    for (int64_t k = 0; k < m->K && k < MANY; k++)
        fprintf(out, "%-*.*s  %9.3f %7.3f %7.3f %9lld\n", name, name, classes[k], m->precision[k],
                m->recall[k], m->f1[k], (long long)m->support[k]);
    if (m->K > MANY) fprintf(out, "... %lld more in metrics.json\n", (long long)m->K - MANY);
    print_confusion(out, m, classes, name);
    fprintf(out, "\ntop-1 %.4f   top-5 %.4f   balanced %.4f   on %lld pictures\n", m->top1, m->top5,
            m->balanced, (long long)m->n);
}

thaw_status thaw_results_write(const json_t *json, const char *path, thaw_error *err) {
    char *text = json ? json_dumps(json, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) : NULL;
    if (!text) return thaw_fail(err, THAW_ERR_NOMEM, "not enough memory to write %s", path);
    thaw_status status = thaw_file_write(path, text, strlen(text), err);
    free(text);
    return status;
}

json_t *thaw_json_text(const char *text) {
    json_t *json = json_string(text);
    char *copy = json ? NULL : strdup(text);
    if (!copy) return json;
    for (char *c = copy; *c; c++)
        if (*c & 0x80) *c = '?';
    json = json_string(copy);
    free(copy);
    return json;
}
