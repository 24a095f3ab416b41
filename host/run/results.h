/* Metrics as people and machines read them. */
#ifndef THAW_RESULTS_H
#define THAW_RESULTS_H

#include <jansson.h>
#include <stdio.h>

#include "data/dataset.h"
#include "top/metrics.h"

/* {"top1", "top5", "balanced_accuracy", "loss", "n", "classes": [{"name", "precision", "recall",
 * "f1", "support"}], "confusion": [[true][predicted]]}. A new reference; NULL without memory. */
json_t *thaw_results_json(const thaw_metrics *metrics, const char *const *classes);

/* A table: a line a class, the totals, and the confusion matrix where it fits 100 columns. */
void thaw_results_print(FILE *out, const thaw_metrics *metrics, const char *const *classes);

/* json as indented text by rename. */
thaw_status thaw_results_write(const json_t *json, const char *path, thaw_error *err);

/* A JSON text; bytes that are no UTF-8, which JSON cannot hold, become question marks (names of
 * files and of nodes may have any bytes). NULL when memory is short. */
json_t *thaw_json_text(const char *text);

#endif
