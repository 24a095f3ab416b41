/* The benchmark of freeze depths, for people: one page, and one table for a terminal, of what its JSON
 * document says and of nothing else.
 *
 *   {"title", "model", "data", "recipe", "seeds": [n], "folds": n, "measured_on", "threads",
 *    "price": {"instance", "per_hour", "currency", "date"},               absent without a price
 *    "depths": [{"cut", "index", "scratch",
 *                "runs": [{"seed", "fold", "top1", "balanced_accuracy", "train_seconds"}],
 *                "top1", "top1_error", "balanced_accuracy", "balanced_error",  means, standard errors
 *                "trained_parameters", "cache_bytes" (of an image), "peak_bytes", "images_per_second",
 *                "seconds": {"extract", "train", "total"}, "cost",             absent without a price
 *                "epochs": [{"epoch", "train_loss", "train_top1", "validation_loss",
 *                            "validation_top1"}], "kept",
 *                "difference": {"against", "top1", "low", "high", "p", "only_this", "only_other"}}],
 *    "left_out": [{"cut", "reason"}], "recommendation": {"cut", "text"}}
 *
 * The depths stand from the head alone to everything, then from scratch. What is missing or null is
 * shown as a dash.
 */
#ifndef THAW_DEPTH_PAGE_H
#define THAW_DEPTH_PAGE_H

#include <jansson.h>
#include <stdio.h>

#include "status.h"

/* Writes the page by rename. ERR_IO, ERR_NOMEM. */
thaw_status thaw_depth_page_write(const json_t *freeze, const char *path, thaw_error *err);

/* A line a depth with a bar for its top-1, at most 100 columns wide, then the recommendation. */
void thaw_depth_table_print(FILE *out, const json_t *freeze);

#endif
