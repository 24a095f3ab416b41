#include "report.h"

#include <ctype.h>
#include <math.h>

#include "chart.h"
#include "confusion.h"
#include "fields.h"
#include "file.h"
#include "page.h"

/* 0 where it is not there. */
static double count(const thaw_report *r, const char *path) {
    return fmax(thaw_field_number(r->metrics, path), 0);
}

/* The figures of labels that are sets, and the end of the cards. */
static void put_set_cards(FILE *out, const thaw_report *r) {
    const thaw_metrics *m = &r->results->metrics;
    char what[64];
    snprintf(what, sizeof what, "mAP, %s", r->measured_on);
    thaw_page_card(out, what, THAW_UNIT_SHARE, m->map);
    thaw_page_card(out, "F1, micro", THAW_UNIT_SHARE, m->f1_micro);
    thaw_page_card(out, "F1, macro", THAW_UNIT_SHARE, m->f1_macro);
    thaw_page_card(out, "all classes right", THAW_UNIT_SHARE, m->top1);
    thaw_page_card(out, "whole run", THAW_UNIT_SECONDS,
                   thaw_field_number(r->metrics, "seconds.total"));
    thaw_page_cards_end(out);
}

static void put_head(FILE *out, const thaw_report *r) {
    enum { TOP = 5 }; /* Among so few classes all are in it. */
    char what[64];
    thaw_page_begin(out, r->title);
    thaw_page_note(out,
                   "%s, frozen up to %s; %.0f pictures for training, %.0f for validation, %.0f for "
                   "the test",
                   r->model, r->cut, count(r, "images.train"), count(r, "images.validation"),
                   count(r, "images.test"));
    thaw_page_cards_begin(out);
    if (r->results->metrics.sets) {
        put_set_cards(out, r);
        return;
    }
    snprintf(what, sizeof what, "top-1, %s", r->measured_on);
    thaw_page_card(out, what, THAW_UNIT_SHARE, r->results->metrics.top1);
    if (r->results->metrics.K > TOP)
        thaw_page_card(out, "top-5", THAW_UNIT_SHARE, r->results->metrics.top5);
    thaw_page_card(out, "balanced", THAW_UNIT_SHARE, r->results->metrics.balanced);
    thaw_page_card(out, "calibration error", THAW_UNIT_SHARE, r->results->calibration.ece);
    thaw_page_card(out, "whole run", THAW_UNIT_SECONDS,
                   thaw_field_number(r->metrics, "seconds.total"));
    thaw_page_cards_end(out);
}

static void put_cost(FILE *out, const thaw_report *r) {
    const thaw_bar bars[] = {
        {"features, once", thaw_field_number(r->metrics, "seconds.extract"), THAW_COLOUR_ACCENT},
        {"training", thaw_field_number(r->metrics, "seconds.train"), THAW_COLOUR_ACCENT},
        {"without the cache", thaw_field_number(r->metrics, "seconds.without_cache"),
         THAW_COLOUR_GREY}};
    thaw_chart_bars(out, "What it cost", THAW_UNIT_SECONDS, 0, bars, sizeof bars / sizeof *bars);
}

static void put_cost_note(FILE *out, const thaw_report *r) {
    thaw_page_note(
        out,
        "%.0f features came from the cache, %.0f were computed. Without the cache it would "
        "be %lld passes through the whole network at the speed measured in this run.",
        count(r, "cache.hits"), count(r, "cache.misses"), (long long)r->passes);
}

/* ---- epochs ------------------------------------------------------------------------------------ */

static thaw_status put_curves(FILE *out, const thaw_curves *curves, thaw_error *err) {
    if (curves->n == 0) return THAW_OK;
    THAW_TRY(thaw_curves_put_loss(out, curves, err));
    return thaw_curves_put_top1(out, curves, err);
}

static thaw_status put_epochs(FILE *out, const thaw_report *r, thaw_error *err) {
    thaw_page_heading(out, r->curves.penalties ? "Penalties" : "Epochs");
    thaw_page_note(out, "%c%s. The large point is what is kept.",
                   toupper((unsigned char)r->kept[0]), *r->kept ? r->kept + 1 : "");
    thaw_page_charts_begin(out);
    THAW_TRY(put_curves(out, &r->head, err));
    THAW_TRY(put_curves(out, &r->curves, err));
    put_cost(out, r);
    thaw_page_charts_end(out);
    put_cost_note(out, r);
    return THAW_OK;
}

/* ---- classes ----------------------------------------------------------------------------------- */

static void put_class(FILE *out, const thaw_results *r, int64_t k) {
    const thaw_metrics *m = &r->metrics;
    thaw_page_row(out);
    thaw_page_cell(out, r->classes[k]);
    fprintf(out, "<td>%.3f<td>%.3f<td>%.3f", m->precision[k], m->recall[k], m->f1[k]);
    if (m->sets) fprintf(out, "<td>%.3f", m->average_precision[k]);
    fprintf(out, "<td>%lld", (long long)m->support[k]);
}

static void put_class_bars(FILE *out, const thaw_results *r) {
    enum { MOST = 40 };
    thaw_bar bars[MOST];
    int64_t K = r->metrics.K, n = K < MOST ? K : MOST;
    for (int64_t i = 0; i < n; i++) {
        int64_t k = r->by_f1[i];
        bool there = r->metrics.support[k] > 0;
        bars[i] = (thaw_bar){r->classes[k], there ? r->metrics.f1[k] : NAN, THAW_COLOUR_ACCENT};
    }
    thaw_chart_bars(out, n < K ? "The lowest F1" : "F1 of each class", THAW_UNIT_SHARE, 1, bars,
                    (size_t)n);
}

static void put_class_table(FILE *out, const thaw_results *r) {
    enum { MANY = 200, OF_MANY = 100 }; /* Of more than a page should hold, so many are shown. */
    static const char *const of_classes[] = {"class", "precision", "recall", "F1", "pictures"};
    static const char *const of_sets[] = {"class", "precision", "recall", "F1", "AP", "pictures"};
    bool sets = r->metrics.sets;
    size_t n_columns = sizeof of_classes / sizeof *of_classes + sets;
    int64_t K = r->metrics.K;
    if (K > MANY)
        thaw_page_note(out, "The %d with the lowest F1 of %lld; metrics.json has all of them.",
                       OF_MANY, (long long)K);
    thaw_page_table_begin(out, sets ? of_sets : of_classes, 1, n_columns);
    for (int64_t i = 0; i < (K > MANY ? OF_MANY : K); i++)
        put_class(out, r, K > MANY ? r->by_f1[i] : i);
    thaw_page_table_end(out);
}

static void put_classes(FILE *out, const thaw_results *r) {
    enum { LONG = 40 }; /* A longer table waits until somebody wants it. */
    bool is_long = r->metrics.K > LONG;
    thaw_page_heading(out, "Classes");
    thaw_page_charts_begin(out);
    put_class_bars(out, r);
    if (!is_long) put_class_table(out, r);
    thaw_page_charts_end(out);
    if (!is_long) return;
    thaw_page_details_begin(out, "Every class");
    put_class_table(out, r);
    thaw_page_details_end(out);
}

/* ---- calibration ------------------------------------------------------------------------------- */

static void put_reliability(FILE *out, const thaw_results *r) {
    const thaw_calibration *c = &r->calibration, *plain = &r->plain;
    bool changed = r->metrics.temperature != 1;
    static const double ends[] = {0, 1};
    const thaw_series series[] = {{.name = "as it should be",
                                   .colour = THAW_COLOUR_GREY,
                                   .x = ends,
                                   .y = ends,
                                   .n = 2,
                                   .marked = -1,
                                   .line = true,
                                   .dash = true},
                                  {.name = changed ? "without the temperature" : NULL,
                                   .colour = THAW_COLOUR_WARN,
                                   .x = plain->score,
                                   .y = plain->right,
                                   .n = changed ? THAW_CALIBRATION_BINS : 0,
                                   .marked = -1,
                                   .line = true,
                                   .rings = true},
                                  {.name = "as it is",
                                   .colour = THAW_COLOUR_ACCENT,
                                   .x = c->score,
                                   .y = c->right,
                                   .n = THAW_CALIBRATION_BINS,
                                   .marked = -1,
                                   .line = true,
                                   .dots = true}};
    const thaw_axis share = {.low = 0, .high = 1, .exact = true, .unit = THAW_UNIT_SHARE};
    thaw_chart chart = {.title = "Share of right answers by score",
                        .x = share,
                        .y = share,
                        .series = series,
                        .n_series = sizeof series / sizeof *series};
    chart.x.label = "score of the answer";
    thaw_chart_put(out, &chart);
}

static void put_scores(FILE *out, const thaw_calibration *c) {
    enum { BINS = THAW_CALIBRATION_BINS };
    char names[BINS][32];
    thaw_bar bars[BINS];
    for (int b = 0; b < BINS; b++) {
        snprintf(names[b], sizeof names[b], "%.0f to %.0f %%", 100.0 * b / BINS,
                 100.0 * (b + 1) / BINS);
        bars[b] = (thaw_bar){names[b], (double)c->n[b], THAW_COLOUR_GREY};
    }
    thaw_chart_bars(out, "Pictures by score", THAW_UNIT_COUNT, 0, bars, BINS);
}

static void put_calibration(FILE *out, const thaw_results *r) {
    if (isnan(r->calibration.ece)) return;
    thaw_page_heading(out, "What a score is worth");
    thaw_page_note(
        out,
        "Below the dashed line the model is too sure of itself, above it not sure enough. "
        "The expected calibration error, the mean distance, is %.1f %%.",
        100 * r->calibration.ece);
    if (r->metrics.temperature != 1)
        thaw_page_note(
            out,
            "What the head puts out is divided by a temperature of %.3f, which was found on "
            "the validation pictures; without it that distance would be %.1f %%.",
            r->metrics.temperature, 100 * r->plain.ece);
    thaw_page_charts_begin(out);
    put_reliability(out, r);
    put_scores(out, &r->calibration);
    thaw_page_charts_end(out);
}

/* ---- the old head ------------------------------------------------------------------------------ */

static void put_old(FILE *out, const thaw_report *r) {
    enum { MOST = 20 };
    static const char *const columns[] = {"the old head says", "pictures", "share",
                                          "right by the new head"};
    const json_t *old = json_object_get(r->metrics, "old"), *answer;
    const json_t *answers = json_object_get(old, "answers");
    size_t i;
    if (!old) return;
    thaw_page_heading(out, "The old head");
    thaw_page_note(out, "It was kept, and %s.%s",
                   json_is_true(json_object_get(old, "exact"))
                       ? "says what it always said: all below it is frozen"
                       : "what lies below it was trained: its answers have changed",
                   json_array_size(answers) > MOST ? " Its most frequent answers; metrics.json has "
                                                     "all of them."
                                                   : "");
    thaw_page_table_begin(out, columns, 1, sizeof columns / sizeof *columns);
    json_array_foreach(answers, i, answer) {
        double n = thaw_field_number(answer, "n");
        if (i == MOST) break;
        thaw_page_row(out);
        thaw_page_cell(out, thaw_field_text(answer, "answer"));
        thaw_page_figure(out, THAW_UNIT_COUNT, n);
        thaw_page_figure(out, THAW_UNIT_SHARE, n / (double)r->results->metrics.n);
        thaw_page_figure(out, THAW_UNIT_SHARE, thaw_field_number(answer, "top1"));
    }
    thaw_page_table_end(out);
}

static thaw_status put_page(FILE *out, const thaw_report *r, thaw_error *err) {
    put_head(out, r);
    put_old(out, r);
    THAW_TRY(put_epochs(out, r, err));
    if (!r->results->metrics.sets) THAW_TRY(thaw_confusion_put(out, r->results, err));
    put_classes(out, r->results);
    put_calibration(out, r->results);
    thaw_novelty_page_put(out, &r->novelty, r->metrics);
    THAW_TRY(thaw_pictures_put(out, &r->pictures, err));
    THAW_TRY(thaw_map_put(out, &r->map, r->results->classes, r->results->metrics.K, err));
    thaw_page_end(out);
    return THAW_OK;
}

thaw_status thaw_report_write(const thaw_report *report, const char *path, thaw_error *err) {
    thaw_new_file file;
    THAW_TRY(thaw_file_begin(&file, path, err));
    thaw_status status = put_page(file.stream, report, err);
    if (status == THAW_OK) return thaw_file_finish(&file, err);
    thaw_file_abandon(&file);
    return status;
}
