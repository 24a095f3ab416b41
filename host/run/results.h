/* Metrics as people and machines read them. */
#ifndef THAW_RESULTS_H
#define THAW_RESULTS_H

#include <stdio.h>

#include "json.h"
#include "top/metrics.h"

/* Adds to the object `into` "top1", "top5", "balanced_accuracy", "loss", "n", "classes": [{"name",
 * "precision", "recall", "f1", "support"}], "confusion": [[true][predicted]]. */
void thaw_results_json(thaw_json *json, json_t *into, const thaw_metrics *metrics,
                       const char *const *classes);

/* A table: a line a class, the totals, and the confusion matrix where it fits 100 columns. */
void thaw_results_print(FILE *out, const thaw_metrics *metrics, const char *const *classes);

#endif
