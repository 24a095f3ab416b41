#include "results.h"

#include <string.h>

void thaw_results_json(thaw_json *json, json_t *into, const thaw_metrics *m,
                       const char *const *classes) {
    thaw_json_real(json, into, "top1", m->top1);
    thaw_json_real(json, into, "top5", m->top5);
    thaw_json_real(json, into, "balanced_accuracy", m->balanced);
    thaw_json_real(json, into, "loss", m->loss);
    thaw_json_integer(json, into, "n", m->n);
    json_t *all = thaw_json_array(json, into, "classes");
    for (int64_t k = 0; k < m->K; k++) {
        json_t *one = thaw_json_object(json, all, NULL);
        thaw_json_text(json, one, "name", classes[k]);
        thaw_json_real(json, one, "precision", m->precision[k]);
        thaw_json_real(json, one, "recall", m->recall[k]);
        thaw_json_real(json, one, "f1", m->f1[k]);
        thaw_json_integer(json, one, "support", m->support[k]);
    }
    json_t *confusion = thaw_json_array(json, into, "confusion");
    for (int64_t t = 0; t < m->K; t++) {
        json_t *row = thaw_json_array(json, confusion, NULL);
        for (int64_t p = 0; p < m->K; p++)
            thaw_json_integer(json, row, NULL, m->confusion[t * m->K + p]);
    }
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
