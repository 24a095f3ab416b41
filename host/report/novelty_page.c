#include "novelty_page.h"

#include <math.h>
#include <string.h>

#include "chart.h"
#include "fields.h"
#include "page.h"

enum { BINS = 24 };

/* ---- distances -------------------------------------------------------------------------------- */

/* The largest of those that are finite. */
static double largest(double most, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (isfinite(x[i])) most = fmax(most, x[i]);
    return most;
}

/* The share of n values in each of the bins from 0 to most; what is infinite counts as the most. */
static void count_bins(const float *x, size_t n, double most, double share[BINS]) {
    memset(share, 0, BINS * sizeof *share);
    for (size_t i = 0; i < n; i++) {
        double at = x[i] < most ? x[i] / most * BINS : BINS - 1;
        int bin = at > 0 ? (int)at : 0;
        share[bin < BINS ? bin : BINS - 1] += 1 / (double)n;
    }
}

static void put_distances(FILE *out, const thaw_novelty_page *p) {
    double most = largest(p->threshold, p->known, p->n_known), top = 0;
    double middle[BINS], known[BINS], unknown[BINS];
    most = largest(most, p->unknown, p->n_unknown);
    if (!(most > 0)) return;
    count_bins(p->known, p->n_known, most, known);
    count_bins(p->unknown, p->n_unknown, most, unknown);
    for (int b = 0; b < BINS; b++) {
        middle[b] = (b + 0.5) * most / BINS;
        top = fmax(top, fmax(known[b], unknown[b]));
    }
    double at[] = {p->threshold, p->threshold}, ends[] = {0, top};
    const thaw_series series[] = {{.name = "known",
                                   .colour = THAW_COLOUR_ACCENT,
                                   .x = middle,
                                   .y = known,
                                   .n = p->n_known ? BINS : 0,
                                   .marked = -1,
                                   .line = true,
                                   .dots = true},
                                  {.name = p->n_unknown ? "of other classes" : NULL,
                                   .colour = THAW_COLOUR_WARN,
                                   .x = middle,
                                   .y = unknown,
                                   .n = p->n_unknown ? BINS : 0,
                                   .marked = -1,
                                   .line = true,
                                   .rings = true},
                                  {.name = "the threshold",
                                   .colour = THAW_COLOUR_GREY,
                                   .x = at,
                                   .y = ends,
                                   .n = 2,
                                   .marked = -1,
                                   .line = true,
                                   .dash = true}};
    thaw_chart chart = {.title = "Share of pictures by distance",
                        .x = {.label = "distance from what was trained on", .low = 0, .high = most},
                        .y = {.low = 0, .high = top, .unit = THAW_UNIT_SHARE},
                        .series = series,
                        .n_series = sizeof series / sizeof *series};
    thaw_chart_put(out, &chart);
}

/* ---- ways ------------------------------------------------------------------------------------- */

static void put_way(char text[64], const json_t *way) {
    double k = thaw_field_number(way, "neighbours");
    const char *method = thaw_field_text(way, "method");
    if (k > 0)
        snprintf(text, 64, "cosine of the nearest training pictures, number %.0f", k);
    else
        snprintf(text, 64, "%s distance", strcmp(method, "mahalanobis") ? method : "Mahalanobis");
}

static void put_ways(FILE *out, const json_t *trials) {
    static const char *const columns[] = {"told by", "AUROC of classes that are left out"};
    const json_t *trial;
    size_t i;
    thaw_page_table_begin(out, columns, 1, sizeof columns / sizeof *columns);
    json_array_foreach(trials, i, trial) {
        char name[64];
        put_way(name, trial);
        thaw_page_row(out);
        thaw_page_cell(out, name);
        thaw_page_figure(out, THAW_UNIT_PLAIN, thaw_field_number(trial, "auroc"));
    }
    thaw_page_table_end(out);
}

/* ---- the whole -------------------------------------------------------------------------------- */

static void put_known(FILE *out, const json_t *metrics) {
    char way[64];
    put_way(way, thaw_field(metrics, "reject"));
    double n = thaw_field_number(metrics, "known.n");
    thaw_page_note(
        out,
        "What is further from the training pictures than all but %.3g %% of the validation "
        "pictures is called unknown, by this: %s. That holds for %.1f %% of these %.0f "
        "pictures of known classes; top-1 of the others is %.1f %%.",
        100 * thaw_field_number(metrics, "reject.rate"), way,
        100 * thaw_field_number(metrics, "known.rejected") / n, n,
        100 * thaw_field_number(metrics, "known.top1_kept"));
}

static void put_unknown(FILE *out, const json_t *metrics) {
    double n = thaw_field_number(metrics, "unknown.n");
    double rejected = thaw_field_number(metrics, "unknown.rejected");
    bool by_score = strcmp(thaw_field_text(metrics, "unknown.by"), "score") == 0;
    if (isfinite(rejected))
        thaw_page_note(out, "Of %.0f pictures of other classes %.1f %% are called unknown.", n,
                       100 * rejected / n);
    thaw_page_note(out,
                   "One of %.0f pictures of other classes has %s than one of a known class with a "
                   "probability of %.1f %%, which is the AUROC: 50 %% would tell nothing.",
                   n, by_score ? "a lower score" : "a larger distance",
                   100 * thaw_field_number(metrics, "unknown.auroc"));
}

void thaw_novelty_page_put(FILE *out, const thaw_novelty_page *p, const json_t *metrics) {
    bool rejects = thaw_field(metrics, "reject"), unknown = thaw_field(metrics, "unknown");
    if (!rejects && !unknown) return;
    thaw_page_heading(out, "What it does not know");
    if (rejects) put_known(out, metrics);
    if (unknown) put_unknown(out, metrics);
    if (!rejects) return;
    thaw_page_charts_begin(out);
    put_distances(out, p);
    put_ways(out, thaw_field(metrics, "reject.trials"));
    thaw_page_charts_end(out);
}
