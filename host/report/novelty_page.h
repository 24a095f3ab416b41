/* The report's part on what the network does not know: how far pictures are from those it was trained on. */
#ifndef THAW_NOVELTY_PAGE_H
#define THAW_NOVELTY_PAGE_H

#include <jansson.h>
#include <stdio.h>

typedef struct thaw_novelty_page {
    double threshold;
    const float *known; /* [n_known] distances; none: nothing is rejected. */
    size_t n_known;
    const float *unknown; /* [n_unknown] */
    size_t n_unknown;
} thaw_novelty_page;

/* metrics: as in metrics.json. Nothing where they have neither "reject" nor "unknown". */
void thaw_novelty_page_put(FILE *out, const thaw_novelty_page *page, const json_t *metrics);

#endif
