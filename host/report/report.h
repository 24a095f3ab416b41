/* The page that a training run leaves for people: one HTML file without anything from outside. */
#ifndef THAW_REPORT_H
#define THAW_REPORT_H

#include "picture/image.h"
#include "results.h"
#include "top/trainer.h"

/* A picture that was answered wrong. */
typedef struct thaw_mistake {
    const char *path, *truth, *answer;
    double score; /* Of the answer. */
} thaw_mistake;

enum { THAW_REPORT_MISTAKES = 24 }; /* That many are shown at most: some 150 KB. */

typedef struct thaw_report {
    const char *title;
    const char *measured_on; /* "test", "validation" or "train". */
    const thaw_results *results;
    const json_t *metrics;    /* As in metrics.json. */
    const thaw_epoch *epochs; /* [n_epochs] */
    int64_t n_epochs;
    bool penalties;   /* They are not epochs, but what a solver tried. */
    int64_t passes;   /* Over the training pictures, in all. */
    const char *kept; /* Which is kept and why, a sentence. */
    const char *model, *cut;
    const thaw_mistake *mistakes; /* [n_mistakes], the most confident first. */
    size_t n_mistakes;
    const thaw_geometry *seen; /* How the network sees pictures. */
} thaw_report;

/* Writes the page by rename. A picture of a mistake that cannot be read any more is left out. ERR_IO,
 * ERR_NOMEM. */
thaw_status thaw_report_write(const thaw_report *report, const char *path, thaw_error *err);

#endif
