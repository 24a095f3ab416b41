/* The page that a training run leaves for people: one HTML file without anything from outside. */
#ifndef THAW_REPORT_H
#define THAW_REPORT_H

#include <jansson.h>

#include "status.h"
#include "top/trainer.h"

typedef struct thaw_report {
    const char *title;
    const char *measured_on;  /* "test", "validation" or "train". */
    const json_t *metrics;    /* As in metrics.json. */
    const thaw_epoch *epochs; /* [n_epochs] */
    int64_t n_epochs, kept_epoch;
    const char *model, *cut;
} thaw_report;

/* Writes the page by rename. ERR_IO, ERR_NOMEM. */
thaw_status thaw_report_write(const thaw_report *report, const char *path, thaw_error *err);

#endif
