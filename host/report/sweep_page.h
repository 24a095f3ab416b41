/* A sweep over options, for people: one page, and one table for a terminal, of what its JSON document says
 * and of nothing else.
 *
 *   {"title", "model", "data", "cut",
 *    "axes": [{"key", "kind": "log" | "linear" | "choice", "low", "high", "choices": [text]}],
 *    "trials": [{"id", "values": {key: text}, "validation_loss", "validation_top1", "epochs",
 *                "stopped"}],
 *    "best": id, "seconds"}
 *
 * What is missing or null is shown as a dash.
 */
#ifndef THAW_SWEEP_PAGE_H
#define THAW_SWEEP_PAGE_H

#include <jansson.h>
#include <stdio.h>

#include "status.h"

/* Writes the page by rename. ERR_IO, ERR_NOMEM. */
thaw_status thaw_sweep_page_write(const json_t *sweep, const char *path, thaw_error *err);

/* The best ten trials, a line each, with a bar for its top-1, at most 100 columns wide. */
void thaw_sweep_table_print(FILE *out, const json_t *sweep);

#endif
