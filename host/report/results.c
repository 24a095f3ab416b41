#include "results.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "utf8.h"

static int compare_f1(const void *a, const void *b, void *ctx) {
    const thaw_metrics *m = ctx;
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    if (!m->support[x] != !m->support[y]) return m->support[x] ? -1 : 1;
    if (m->f1[x] != m->f1[y]) return m->f1[x] < m->f1[y] ? -1 : 1;
    return x < y ? -1 : x > y;
}

thaw_status thaw_results_finish(thaw_results *r, thaw_arena *arena, thaw_error *err) {
    size_t K = (size_t)r->metrics.K;
    r->by_f1 = thaw_arena_array(arena, K, sizeof *r->by_f1);
    if (!r->by_f1) return thaw_fail_memory(err, "for the results of %zu classes", K);
    for (size_t k = 0; k < K; k++)
        r->by_f1[k] = (int64_t)k;
    qsort_r(r->by_f1, K, sizeof *r->by_f1, compare_f1, &r->metrics);
    r->calibration.ece = r->plain.ece = NAN;
    if (r->metrics.sets) return THAW_OK;
    thaw_metrics_calibrate(&r->metrics, false, &r->calibration);
    thaw_metrics_calibrate(&r->metrics, true, &r->plain);
    return thaw_metrics_confusion(&r->metrics, arena, &r->pairs, &r->n_pairs, err);
}

void thaw_results_totals_json(thaw_json *json, json_t *into, const thaw_metrics *m) {
    if (m->sets) {
        thaw_json_real(json, into, "map", m->map);
        thaw_json_real(json, into, "f1_micro", m->f1_micro);
        thaw_json_real(json, into, "f1_macro", m->f1_macro);
        thaw_json_real(json, into, "exact", m->top1);
    } else {
        thaw_json_real(json, into, "top1", m->top1);
        thaw_json_real(json, into, "top5", m->top5);
        thaw_json_real(json, into, "balanced_accuracy", m->balanced);
    }
    thaw_json_real(json, into, "loss", m->loss);
}

void thaw_results_json(thaw_json *json, json_t *into, const thaw_results *r) {
    const thaw_metrics *m = &r->metrics;
    thaw_results_totals_json(json, into, m);
    if (!m->sets) thaw_json_real(json, into, "ece", r->calibration.ece);
    if (m->temperature != 1) thaw_json_real(json, into, "ece_uncalibrated", r->plain.ece);
    thaw_json_integer(json, into, "n", m->n);
    if (m->n_nan) thaw_json_integer(json, into, "n_without_scores", m->n_nan);
}

void thaw_results_classes_json(thaw_json *json, json_t *into, const thaw_results *r) {
    const thaw_metrics *m = &r->metrics;
    json_t *all = thaw_json_array(json, into, "classes");
    for (int64_t k = 0; k < m->K; k++) {
        json_t *one = thaw_json_object(json, all, NULL);
        thaw_json_text(json, one, "name", r->classes[k]);
        thaw_json_real(json, one, "precision", m->precision[k]);
        thaw_json_real(json, one, "recall", m->recall[k]);
        thaw_json_real(json, one, "f1", m->f1[k]);
        if (m->sets) thaw_json_real(json, one, "average_precision", m->average_precision[k]);
        thaw_json_integer(json, one, "support", m->support[k]);
    }
}

void thaw_results_calibration_json(thaw_json *json, json_t *into, const thaw_results *r) {
    const thaw_calibration *c = &r->calibration;
    json_t *bins = thaw_json_array(json, into, "calibration");
    for (int b = 0; b < THAW_CALIBRATION_BINS; b++) {
        if (!c->n[b]) continue;
        json_t *one = thaw_json_object(json, bins, NULL);
        thaw_json_integer(json, one, "n", c->n[b]);
        thaw_json_real(json, one, "score", c->score[b]);
        thaw_json_real(json, one, "right", c->right[b]);
    }
}

void thaw_results_confusion_json(thaw_json *json, json_t *into, const thaw_results *r) {
    json_t *pairs = thaw_json_array(json, into, "confusion");
    for (size_t i = 0; i < r->n_pairs; i++) {
        json_t *one = thaw_json_object(json, pairs, NULL);
        thaw_json_text(json, one, "truth", r->classes[r->pairs[i].label]);
        thaw_json_text(json, one, "answer", r->classes[r->pairs[i].answer]);
        thaw_json_integer(json, one, "n", r->pairs[i].n);
    }
}

/* ---- labels that are sets ------------------------------------------------------------------ */

/* The names of the classes that has says so of, joined. */
static const char *join(const thaw_results *r, bool (*has)(const thaw_metrics *, int64_t, int64_t),
                        int64_t of, thaw_arena *arena) {
    size_t bytes = 1, at = 0;
    for (int64_t k = 0; k < r->metrics.K; k++)
        if (has(&r->metrics, of, k)) bytes += strlen(r->classes[k]) + 1;
    char *text = thaw_arena_alloc(arena, bytes);
    for (int64_t k = 0; text && k < r->metrics.K; k++)
        if (has(&r->metrics, of, k))
            at += (size_t)snprintf(text + at, bytes - at, "%s%s", at ? THAW_LABEL_SEPARATOR : "",
                                   r->classes[k]);
    return text;
}

static bool label_has(const thaw_metrics *m, int64_t label, int64_t k) {
    return thaw_label_has(m->sets, label, k);
}

static bool row_has(const thaw_metrics *m, int64_t row, int64_t k) {
    return m->logits[row * m->K + k] > 0;
}

const char *thaw_results_label(const thaw_results *r, int32_t label, thaw_arena *arena) {
    return r->metrics.sets ? join(r, label_has, label, arena) : r->classes[label];
}

const char *thaw_results_said(const thaw_results *r, int64_t row, thaw_arena *arena) {
    return join(r, row_has, row, arena);
}

/* ---- for people ---------------------------------------------------------------------------- */

enum { MANY = 60, OF_MANY = 20 }; /* Of more classes than a person reads, so many are listed. */

static size_t longest_name(const thaw_results *r) {
    enum { LEAST = 5, MOST = 32 };
    size_t longest = LEAST;
    for (int64_t k = 0; k < r->metrics.K; k++) {
        size_t n = thaw_utf8_letters(r->classes[k]);
        if (n > longest) longest = n;
    }
    return longest < MOST ? longest : MOST;
}

static void print_class(FILE *out, const thaw_results *r, int64_t k, size_t width) {
    const thaw_metrics *m = &r->metrics;
    thaw_utf8_put(out, r->classes[k], width);
    fprintf(out, "  %9.3f %7.3f %7.3f", m->precision[k], m->recall[k], m->f1[k]);
    if (m->sets) fprintf(out, " %7.3f", m->average_precision[k]);
    fprintf(out, " %9lld\n", (long long)m->support[k]);
}

static void print_classes(FILE *out, const thaw_results *r, size_t width) {
    int64_t K = r->metrics.K;
    fprintf(out, "%-*s  precision  recall      f1%s  pictures\n", (int)width, "class",
            r->metrics.sets ? "      ap" : "");
    for (int64_t k = 0; k < K && K <= MANY; k++)
        print_class(out, r, k, width);
    for (int64_t i = 0; i < OF_MANY && K > MANY; i++)
        print_class(out, r, r->by_f1[i], width);
    if (K > MANY)
        fprintf(out, "... the lowest F1 of %lld classes; metrics.json and eval --json have all\n",
                (long long)K);
}

static void print_confusion(FILE *out, const thaw_results *r, size_t width) {
    enum { COLUMNS = 100, CELL = 5 };
    int64_t K = r->metrics.K;
    if ((int64_t)width + 2 + CELL * K > COLUMNS) return;
    fprintf(out, "\n%-*s  predicted (columns in the order of the rows)\n", (int)width, "true");
    const thaw_confusion *pair = r->pairs, *end = pair + r->n_pairs;
    for (int64_t t = 0; t < K; t++) {
        thaw_utf8_put(out, r->classes[t], width);
        fputs("  ", out);
        for (int64_t p = 0; p < K; p++) {
            if (pair < end && pair->label == t && pair->answer == p)
                fprintf(out, "%*lld", CELL, (long long)pair++->n);
            else
                fprintf(out, "%*s", CELL, "."); /* Zeros would hide the mistakes. */
        }
        fputc('\n', out);
    }
}

void thaw_results_print(FILE *out, const thaw_results *r) {
    enum { TOP = 5 };
    const thaw_metrics *m = &r->metrics;
    size_t width = longest_name(r);
    print_classes(out, r, width);
    if (m->sets) {
        fprintf(
            out,
            "\nmAP %.4f   F1 micro %.4f, macro %.4f   all classes right %.4f   on %lld pictures\n",
            m->map, m->f1_micro, m->f1_macro, m->top1, (long long)m->n);
        return;
    }
    print_confusion(out, r, width);
    fprintf(out, "\ntop-1 %.4f   ", m->top1);
    if (m->K > TOP) fprintf(out, "top-5 %.4f   ", m->top5);
    fprintf(out, "balanced %.4f   on %lld pictures\n", m->balanced, (long long)m->n);
}
