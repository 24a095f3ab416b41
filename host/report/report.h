/* The page that a training run leaves for people: one HTML file without anything from outside. */
#ifndef THAW_REPORT_H
#define THAW_REPORT_H

#include "curves.h"
#include "map.h"
#include "novelty_page.h"
#include "pictures.h"
#include "results.h"

typedef struct thaw_report {
    const char *title;
    const char *measured_on; /* "test", "validation" or "train". */
    const thaw_results *results;
    const json_t *metrics; /* As in metrics.json. */
    thaw_curves head;      /* Of a head that was trained before the rest; n = 0: there was none. */
    thaw_curves curves;    /* Of the training itself. */
    int64_t passes;        /* Over the training pictures, in all. */
    const char *kept;      /* Which epoch is kept and why, a sentence. */
    const char *model, *cut;
    thaw_pictures pictures;
    thaw_map map;
    thaw_novelty_page novelty;
} thaw_report;

/* Writes the page by rename. ERR_IO, ERR_NOMEM. */
thaw_status thaw_report_write(const thaw_report *report, const char *path, thaw_error *err);

#endif
