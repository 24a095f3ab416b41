/* What was measured, as people and machines read it. */
#ifndef THAW_RESULTS_H
#define THAW_RESULTS_H

#include <stdio.h>

#include "json.h"
#include "top/metrics.h"

typedef struct thaw_results {
    thaw_metrics metrics;       /* With their answers. */
    const char *const *classes; /* [metrics.K] names, in the order of the labels. */
    thaw_confusion *pairs;      /* [n_pairs] as thaw_metrics_confusion has them. */
    size_t n_pairs;
    thaw_calibration calibration, plain; /* plain: as it was without the head's temperature. */
    int64_t *by_f1; /* [K] classes by rising F1; those without rows come last. */
} thaw_results;

/* Fills in what follows from metrics and classes, in the arena. ERR_NOMEM. */
thaw_status thaw_results_finish(thaw_results *results, thaw_arena *arena, thaw_error *err);

/* Add to the object `into`: "top1", "top5", "balanced_accuracy" and "loss", or, where labels are sets, "map",
 * "f1_micro", "f1_macro", "exact" (what metrics.h calls top1) and "loss"; */
void thaw_results_totals_json(thaw_json *json, json_t *into, const thaw_metrics *metrics);

/* these, "ece" where labels are classes, "ece_uncalibrated" where the head has a temperature, "n", and
 * "n_without_scores" where there are such pictures; */
void thaw_results_json(thaw_json *json, json_t *into, const thaw_results *results);

/* "classes": [{"name", "precision", "recall", "f1", "support"}], with "average_precision" where labels are sets; */
void thaw_results_classes_json(thaw_json *json, json_t *into, const thaw_results *results);

/* "calibration": [{"n", "score", "right"}], the bins that have answers, from low to high; */
void thaw_results_calibration_json(thaw_json *json, json_t *into, const thaw_results *results);

/* "confusion": [{"truth", "answer", "n"}], the pairs of class names that occur, right answers included.
 */
void thaw_results_confusion_json(thaw_json *json, json_t *into, const thaw_results *results);

/* A label as a text: its class; or its set's classes with THAW_LABEL_SEPARATOR between, "" for none, in the
 * arena. NULL without memory. */
const char *thaw_results_label(const thaw_results *results, int32_t label, thaw_arena *arena);

/* The same for the classes that are answered to a row, where labels are sets. */
const char *thaw_results_said(const thaw_results *results, int64_t row, thaw_arena *arena);

/* A table: a line a class, or, of many, those with the lowest F1; the confusion matrix where it fits
 * 100 columns; the totals, top-5 only among more than five classes. Where labels are sets no matrix. */
void thaw_results_print(FILE *out, const thaw_results *results);

#endif
