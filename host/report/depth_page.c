#include "depth_page.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "chart.h"
#include "curves.h"
#include "fields.h"
#include "file.h"
#include "page.h"
#include "utf8.h"

/* The document, and its depths as columns: what charts and tables have in common. */
typedef struct depths {
    const json_t *doc, *list; /* list: its "depths". */
    size_t n;
    const char **names;        /* [n] of the cuts, */
    const char **shorts;       /* [n] and what of them a chart has room for: of paths, the ends. */
    double *x;                 /* [n] 0, 1, ... */
    double *top1, *low, *high; /* [n] the ends are a standard error away. */
    double *seconds, *peak, *cost;
    const char **titles; /* [n] what a pointer shows. */
    size_t recommended;  /* n: none of them. */
    size_t n_frozen;     /* The first ones; what follows is trained from scratch. */
    bool priced;
    thaw_arena arena;
} depths;

/* ---- columns ---------------------------------------------------------------------------------- */

static const json_t *depth_at(const depths *d, size_t i) {
    return json_array_get(d->list, i);
}

static bool is_scratch(const json_t *depth) {
    return json_is_true(json_object_get(depth, "scratch"));
}

static const char *name_of(const json_t *depth) {
    return is_scratch(depth) ? "from scratch" : thaw_field_text(depth, "cut");
}

static const char *title_of(depths *d, size_t i) {
    char top1[THAW_UNIT_TEXT], error[THAW_UNIT_TEXT], seconds[THAW_UNIT_TEXT];
    thaw_unit_text(top1, THAW_UNIT_SHARE, d->top1[i]);
    thaw_unit_text(error, THAW_UNIT_SHARE, d->high[i] - d->top1[i]);
    thaw_unit_text(seconds, THAW_UNIT_SECONDS, d->seconds[i]);
    return thaw_arena_printf(&d->arena, "%.80s\ntop-1 %s \u00b1 %s\n%s in all", d->names[i], top1,
                             error, seconds);
}

/* Where the last letters of a name begin, which are what tells nodes apart. */
static const char *last_letters(const char *name, size_t letters) {
    for (size_t n = thaw_utf8_letters(name); n > letters; n--)
        name += thaw_utf8_bytes(name, 1);
    return name;
}

static const char *end_of(depths *d, const char *name) {
    enum { LETTERS = 10 };
    if (thaw_utf8_letters(name) <= LETTERS) return name;
    return thaw_arena_printf(&d->arena, "\u2026%s", last_letters(name, LETTERS - 1));
}

static bool allocate(depths *d) {
    d->names = thaw_arena_array(&d->arena, d->n, sizeof *d->names);
    d->shorts = thaw_arena_array(&d->arena, d->n, sizeof *d->shorts);
    d->titles = thaw_arena_array(&d->arena, d->n, sizeof *d->titles);
    d->x = thaw_arena_array(&d->arena, d->n, sizeof *d->x);
    d->top1 = thaw_field_column(d->list, "top1", &d->arena);
    d->low = thaw_field_column(d->list, "top1_error", &d->arena);
    d->high = thaw_field_column(d->list, "top1_error", &d->arena);
    d->seconds = thaw_field_column(d->list, "seconds.total", &d->arena);
    d->peak = thaw_field_column(d->list, "peak_bytes", &d->arena);
    d->cost = thaw_field_column(d->list, "cost", &d->arena);
    return d->names && d->shorts && d->titles && d->x && d->top1 && d->low && d->high &&
           d->seconds && d->peak && d->cost;
}

static bool fill(depths *d) {
    const char *best = thaw_field_text(d->doc, "recommendation.cut");
    for (size_t i = 0; i < d->n; i++) {
        double error = d->high[i];
        d->names[i] = name_of(depth_at(d, i));
        d->x[i] = (double)i;
        d->low[i] = d->top1[i] - error;
        d->high[i] = d->top1[i] + error;
        d->priced |= isfinite(d->cost[i]);
        if (d->n_frozen == i && !is_scratch(depth_at(d, i))) d->n_frozen++;
        d->titles[i] = title_of(d, i);
        d->shorts[i] = end_of(d, d->names[i]);
        if (!d->titles[i] || !d->shorts[i]) return false;
        if (d->recommended == d->n && *best && strcmp(d->names[i], best) == 0) d->recommended = i;
    }
    return true;
}

static thaw_status open_depths(depths *d, const json_t *doc, thaw_error *err) {
    *d = (depths){.doc = doc, .list = json_object_get(doc, "depths")};
    d->n = d->recommended = json_array_size(d->list);
    return allocate(d) && fill(d) ? THAW_OK : thaw_fail_memory(err, "for %zu freeze depths", d->n);
}

/* ---- the head --------------------------------------------------------------------------------- */

/* "seeds 1, 2, 3". */
static void put_seeds(FILE *out, const json_t *seeds) {
    fprintf(out, "; %s", json_array_size(seeds) == 1 ? "seed" : "seeds");
    for (size_t i = 0; i < json_array_size(seeds); i++)
        fprintf(out, "%s %.0f", i ? "," : "", json_number_value(json_array_get(seeds, i)));
}

static void put_subject(FILE *out, const char *before, const char *text) {
    if (!*text) return;
    fputs(before, out);
    thaw_page_text(out, text);
}

static void put_setting(FILE *out, const json_t *doc) {
    double folds = thaw_field_number(doc, "folds"), threads = thaw_field_number(doc, "threads");
    fputs("<p class=sub>", out);
    put_subject(out, "", thaw_field_text(doc, "model"));
    put_subject(out, " on ", thaw_field_text(doc, "data"));
    put_subject(out, "; recipe ", thaw_field_text(doc, "recipe"));
    if (json_array_size(json_object_get(doc, "seeds")) > 0)
        put_seeds(out, json_object_get(doc, "seeds"));
    if (folds > 1) fprintf(out, "; %.0f folds", folds);
    put_subject(out, "; measured on ", thaw_field_text(doc, "measured_on"));
    if (threads > 0) fprintf(out, "; %.0f thread%s", threads, threads == 1 ? "" : "s");
    fputs("</p>\n", out);
}

static void put_recommendation(FILE *out, const depths *d) {
    const char *text = thaw_field_text(d->doc, "recommendation.text");
    if (*text) {
        fputs("<p class=advice>", out);
        thaw_page_text(out, text);
        fputs("</p>\n", out);
    }
    if (d->recommended == d->n) return;
    const json_t *depth = depth_at(d, d->recommended);
    thaw_page_cards_begin(out);
    thaw_page_card(out, "top-1", THAW_UNIT_SHARE, thaw_field_number(depth, "top1"));
    thaw_page_card(out, "whole run", THAW_UNIT_SECONDS, thaw_field_number(depth, "seconds.total"));
    thaw_page_card(out, "memory at most", THAW_UNIT_BYTES, thaw_field_number(depth, "peak_bytes"));
    thaw_page_card(out, "trained numbers", THAW_UNIT_COUNT,
                   thaw_field_number(depth, "trained_parameters"));
    thaw_page_cards_end(out);
}

/* ---- charts over the depths -------------------------------------------------------------------- */

/* The depths from first to last - 1 of one chart; a line joins those that are frozen. */
static thaw_series over_depth(const depths *d, size_t first, size_t last, const double *values,
                              const double *low, const double *high) {
    bool holds = d->recommended >= first && d->recommended < last;
    return (thaw_series){.colour = first == 0 ? THAW_COLOUR_ACCENT : THAW_COLOUR_GREY,
                         .x = d->x + first,
                         .y = values + first,
                         .low = low ? low + first : NULL,
                         .high = high ? high + first : NULL,
                         .titles = d->titles + first,
                         .n = last - first,
                         .marked = holds ? (int64_t)(d->recommended - first) : -1,
                         .line = first == 0,
                         .dots = true};
}

static void put_over_depth(FILE *out, const depths *d, const char *title, thaw_axis y,
                           const double *values, const double *low, const double *high) {
    thaw_series series[] = {over_depth(d, 0, d->n_frozen, values, low, high),
                            over_depth(d, d->n_frozen, d->n, values, low, high)};
    thaw_axis_hold(&y, values, d->n);
    if (low) thaw_axis_hold(&y, low, d->n);
    if (high) thaw_axis_hold(&y, high, d->n);
    if (!low) thaw_axis_choose_log(&y);
    if (!low && !y.log) y.low = 0; /* Twice as high is twice as much. */
    thaw_chart chart = {.title = title,
                        .x = {.label = "frozen up to", .names = d->shorts, .n_names = d->n},
                        .y = y,
                        .series = series,
                        .n_series = 2};
    thaw_chart_put(out, &chart);
}

static const char *currency_of(const depths *d) {
    const char *currency = thaw_field_text(d->doc, "price.currency");
    return *currency ? currency : "money";
}

static void put_depth_charts(FILE *out, const depths *d) {
    const thaw_axis any = {.low = NAN, .high = NAN};
    thaw_axis share = any, seconds = any, bytes = any;
    share.unit = THAW_UNIT_SHARE;
    seconds.unit = THAW_UNIT_SECONDS;
    bytes.unit = THAW_UNIT_BYTES;
    thaw_page_heading(out, "Accuracy, time and memory by freeze depth");
    thaw_page_note(out,
                   "To the left only the head is trained, to the right more and more of the "
                   "network. Bars are one standard error up and down; the large point is the "
                   "recommended depth.");
    thaw_page_charts_begin(out);
    put_over_depth(out, d, "Top-1", share, d->top1, d->low, d->high);
    put_over_depth(out, d, "Time for features and training", seconds, d->seconds, NULL, NULL);
    put_over_depth(out, d, "Memory at most", bytes, d->peak, NULL, NULL);
    thaw_page_charts_end(out);
}

/* ---- what accuracy costs ----------------------------------------------------------------------- */

typedef struct front {
    double *x, *y;
    size_t n;
} front;

static bool is_beaten(const double *x, const double *y, size_t n, size_t i) {
    for (size_t k = 0; k < n; k++) {
        bool as_good = x[k] <= x[i] && y[k] >= y[i];
        if (as_good && (x[k] < x[i] || y[k] > y[i] || k < i)) return true;
    }
    return false;
}

/* What no other depth beats in both, by rising cost. */
static bool find_front(depths *d, const double *x, front *f) {
    f->x = thaw_arena_array(&d->arena, d->n, sizeof *f->x);
    f->y = thaw_arena_array(&d->arena, d->n, sizeof *f->y);
    if (!f->x || !f->y) return false;
    for (size_t i = 0; i < d->n; i++) {
        if (!isfinite(x[i]) || !isfinite(d->top1[i]) || is_beaten(x, d->top1, d->n, i)) continue;
        size_t at = f->n++;
        for (; at > 0 && f->x[at - 1] > x[i]; at--)
            f->x[at] = f->x[at - 1], f->y[at] = f->y[at - 1];
        f->x[at] = x[i];
        f->y[at] = d->top1[i];
    }
    return true;
}

static thaw_status put_against(FILE *out, depths *d, const char *title, const char *label,
                               thaw_unit unit, const double *x, thaw_error *err) {
    front f = {.n = 0};
    if (!find_front(d, x, &f)) return thaw_fail_memory(err, "for the Pareto front");
    thaw_series series[] = {{.colour = THAW_COLOUR_GREY,
                             .x = f.x,
                             .y = f.y,
                             .n = f.n,
                             .marked = -1,
                             .line = true,
                             .dash = true},
                            {.colour = THAW_COLOUR_ACCENT,
                             .x = x,
                             .y = d->top1,
                             .titles = d->titles,
                             .labels = d->shorts,
                             .n = d->n,
                             .marked = d->recommended < d->n ? (int64_t)d->recommended : -1,
                             .dots = true}};
    thaw_chart chart = {.title = title,
                        .x = {.label = label, .low = NAN, .high = NAN, .unit = unit},
                        .y = {.low = NAN, .high = NAN, .unit = THAW_UNIT_SHARE},
                        .series = series,
                        .n_series = 2,
                        .height = 230};
    thaw_axis_hold(&chart.x, x, d->n);
    thaw_axis_choose_log(&chart.x);
    thaw_axis_hold(&chart.y, d->top1, d->n);
    thaw_chart_put(out, &chart);
    return THAW_OK;
}

static thaw_status put_prices(FILE *out, depths *d, thaw_error *err) {
    char label[80];
    snprintf(label, sizeof label, "cost, %.40s", currency_of(d));
    thaw_page_heading(out, "What accuracy costs");
    thaw_page_note(out, "Along a dashed line no other depth is both better and cheaper.");
    thaw_page_charts_begin(out);
    if (d->priced)
        THAW_TRY(put_against(out, d, "Top-1 by cost", label, THAW_UNIT_PLAIN, d->cost, err));
    THAW_TRY(put_against(out, d, "Top-1 by time", "features and training", THAW_UNIT_SECONDS,
                         d->seconds, err));
    THAW_TRY(
        put_against(out, d, "Top-1 by memory", "memory at most", THAW_UNIT_BYTES, d->peak, err));
    thaw_page_charts_end(out);
    return THAW_OK;
}

/* ---- learning curves --------------------------------------------------------------------------- */

static thaw_epoch epoch_of(const json_t *e) {
    return (thaw_epoch){.epoch = (int64_t)json_integer_value(json_object_get(e, "epoch")),
                        .train_loss = thaw_field_number(e, "train_loss"),
                        .train_top1 = thaw_field_number(e, "train_top1"),
                        .validation_loss = thaw_field_number(e, "validation_loss"),
                        .validation_top1 = thaw_field_number(e, "validation_top1")};
}

/* Reads a depth's epochs into the arena; NULL when memory is short. */
static thaw_epoch *epochs_of(const json_t *depth, thaw_arena *arena, int64_t *n) {
    const json_t *list = json_object_get(depth, "epochs");
    *n = (int64_t)json_array_size(list);
    thaw_epoch *epochs = thaw_arena_array(arena, (size_t)*n, sizeof *epochs);
    for (int64_t i = 0; epochs && i < *n; i++)
        epochs[i] = epoch_of(json_array_get(list, (size_t)i));
    return epochs;
}

static thaw_status read_curves(depths *d, thaw_curves *curves, double *least, thaw_error *err) {
    *least = NAN;
    for (size_t i = 0; i < d->n; i++) {
        const json_t *depth = depth_at(d, i);
        curves[i] =
            (thaw_curves){.title = d->names[i],
                          .kept = (int64_t)json_integer_value(json_object_get(depth, "kept"))};
        curves[i].epochs = epochs_of(depth, &d->arena, &curves[i].n);
        if (!curves[i].epochs) return thaw_fail_memory(err, "for learning curves");
        *least = fmin(*least, thaw_curves_least_top1(curves[i].epochs, curves[i].n));
    }
    return THAW_OK;
}

static thaw_status put_curves(FILE *out, depths *d, thaw_error *err) {
    double least;
    thaw_curves *curves = thaw_arena_array(&d->arena, d->n, sizeof *curves);
    if (!curves) return thaw_fail_memory(err, "for learning curves");
    THAW_TRY(read_curves(d, curves, &least, err));
    if (isnan(least)) return THAW_OK; /* No epochs are told. */
    thaw_page_heading(out, "Learning curves");
    thaw_page_note(out,
                   "Of the first run of each depth, all on one scale. The large point is the "
                   "epoch whose weights are kept.");
    thaw_page_charts_begin(out);
    for (size_t i = 0; i < d->n; i++) {
        curves[i].top1_span = 1 - least;
        if (curves[i].n > 0) THAW_TRY(thaw_curves_put_top1(out, &curves[i], err));
    }
    thaw_page_charts_end(out);
    return THAW_OK;
}

/* ---- tables ------------------------------------------------------------------------------------ */

static void put_figure(FILE *out, const json_t *object, const char *path, thaw_unit unit) {
    thaw_page_figure(out, unit, thaw_field_number(object, path));
}

static void put_depth_row(FILE *out, const depths *d, size_t i) {
    const json_t *depth = depth_at(d, i);
    thaw_page_row(out);
    thaw_page_cell(out, d->names[i]);
    put_figure(out, depth, "index", THAW_UNIT_PLAIN);
    put_figure(out, depth, "top1", THAW_UNIT_SHARE);
    put_figure(out, depth, "top1_error", THAW_UNIT_SHARE);
    put_figure(out, depth, "balanced_accuracy", THAW_UNIT_SHARE);
    put_figure(out, depth, "balanced_error", THAW_UNIT_SHARE);
    put_figure(out, depth, "trained_parameters", THAW_UNIT_COUNT);
    put_figure(out, depth, "cache_bytes", THAW_UNIT_BYTES);
    put_figure(out, depth, "peak_bytes", THAW_UNIT_BYTES);
    put_figure(out, depth, "images_per_second", THAW_UNIT_COUNT);
    put_figure(out, depth, "seconds.extract", THAW_UNIT_SECONDS);
    put_figure(out, depth, "seconds.train", THAW_UNIT_SECONDS);
    put_figure(out, depth, "seconds.total", THAW_UNIT_SECONDS);
    if (d->priced) put_figure(out, depth, "cost", THAW_UNIT_PLAIN);
}

static void put_depth_table(FILE *out, const depths *d) {
    char cost[64];
    snprintf(cost, sizeof cost, "cost, %.40s", currency_of(d));
    const char *columns[] = {"frozen up to", "cut",      "top-1",    "\u00b1", "balanced",
                             "\u00b1",       "trained",  "an image", "memory", "images/s",
                             "features",     "training", "in all",   cost};
    size_t n = sizeof columns / sizeof *columns;
    thaw_page_heading(out, "All figures");
    thaw_page_table_begin(out, columns, 1, d->priced ? n : n - 1);
    for (size_t i = 0; i < d->n; i++)
        put_depth_row(out, d, i);
    thaw_page_table_end(out);
    thaw_page_note(out,
                   "\u00b1 is one standard error over the runs; \"an image\" is what the cache "
                   "holds of one.");
}

static void put_run_row(FILE *out, const char *name, const json_t *run) {
    thaw_page_row(out);
    thaw_page_cell(out, name);
    put_figure(out, run, "seed", THAW_UNIT_PLAIN);
    put_figure(out, run, "fold", THAW_UNIT_PLAIN);
    put_figure(out, run, "top1", THAW_UNIT_SHARE);
    put_figure(out, run, "balanced_accuracy", THAW_UNIT_SHARE);
    put_figure(out, run, "train_seconds", THAW_UNIT_SECONDS);
}

static void put_runs(FILE *out, const depths *d) {
    static const char *const columns[] = {"frozen up to", "seed",     "fold",
                                          "top-1",        "balanced", "training"};
    const json_t *run;
    size_t k;
    thaw_page_details_begin(out, "Every run");
    thaw_page_table_begin(out, columns, 1, sizeof columns / sizeof *columns);
    for (size_t i = 0; i < d->n; i++) {
        json_array_foreach(json_object_get(depth_at(d, i), "runs"), k, run)
            put_run_row(out, d->names[i], run);
    }
    thaw_page_table_end(out);
    thaw_page_details_end(out);
}

static void put_difference(FILE *out, const char *name, const json_t *difference) {
    thaw_page_row(out);
    thaw_page_cell(out, name);
    thaw_page_cell(out, thaw_field_text(difference, "against"));
    put_figure(out, difference, "top1", THAW_UNIT_SHARE);
    put_figure(out, difference, "low", THAW_UNIT_SHARE);
    put_figure(out, difference, "high", THAW_UNIT_SHARE);
    put_figure(out, difference, "p", THAW_UNIT_PLAIN);
    put_figure(out, difference, "only_this", THAW_UNIT_COUNT);
    put_figure(out, difference, "only_other", THAW_UNIT_COUNT);
}

static void put_differences(FILE *out, const depths *d) {
    static const char *const columns[] = {
        "frozen up to", "against", "top-1", "from", "to", "p", "only this right", "only the other"};
    bool any = false;
    for (size_t i = 0; i < d->n; i++)
        any |= json_is_object(json_object_get(depth_at(d, i), "difference"));
    if (!any) return;
    thaw_page_heading(out, "Differences, picture by picture");
    thaw_page_table_begin(out, columns, 2, sizeof columns / sizeof *columns);
    for (size_t i = 0; i < d->n; i++) {
        const json_t *difference = json_object_get(depth_at(d, i), "difference");
        if (json_is_object(difference)) put_difference(out, d->names[i], difference);
    }
    thaw_page_table_end(out);
    thaw_page_note(out,
                   "How much better than the recommended depth, on the same pictures, with its "
                   "95 %% interval; the last two count pictures that one of the two alone "
                   "answers right.");
}

static void put_left_out(FILE *out, const json_t *doc) {
    static const char *const columns[] = {"cut", "why"};
    const json_t *list = json_object_get(doc, "left_out"), *one;
    size_t i;
    if (json_array_size(list) == 0) return;
    thaw_page_heading(out, "Left out");
    thaw_page_table_begin(out, columns, 2, sizeof columns / sizeof *columns);
    json_array_foreach((json_t *)list, i, one) {
        thaw_page_row(out);
        thaw_page_cell(out, thaw_field_text(one, "cut"));
        thaw_page_cell(out, thaw_field_text(one, "reason"));
    }
    thaw_page_table_end(out);
}

static void put_price_note(FILE *out, const json_t *doc) {
    const char *instance = thaw_field_text(doc, "price.instance");
    if (isnan(thaw_field_number(doc, "price.per_hour"))) return;
    thaw_page_note(out, "The cost is the time in all at %.4g %.40s an hour (%.80s, %.40s).",
                   thaw_field_number(doc, "price.per_hour"), thaw_field_text(doc, "price.currency"),
                   *instance ? instance : "no instance named", thaw_field_text(doc, "price.date"));
}

static thaw_status put_page(FILE *out, depths *d, thaw_error *err) {
    const char *title = thaw_field_text(d->doc, "title");
    thaw_page_begin(out, *title ? title : "Freeze depths");
    put_setting(out, d->doc);
    put_recommendation(out, d);
    if (d->n > 0) {
        put_depth_charts(out, d);
        THAW_TRY(put_prices(out, d, err));
        put_price_note(out, d->doc);
        THAW_TRY(put_curves(out, d, err));
        put_depth_table(out, d);
        put_runs(out, d);
        put_differences(out, d);
    } else {
        thaw_page_note(out, "No depth was measured.");
    }
    put_left_out(out, d->doc);
    thaw_page_end(out);
    return THAW_OK;
}

thaw_status thaw_depth_page_write(const json_t *freeze, const char *path, thaw_error *err) {
    depths d;
    thaw_new_file file = {0};
    thaw_status status = open_depths(&d, freeze, err);
    if (status == THAW_OK) status = thaw_file_begin(&file, path, err);
    if (status == THAW_OK) status = put_page(file.stream, &d, err);
    thaw_arena_free(&d.arena);
    if (status == THAW_OK) return thaw_file_finish(&file, err);
    thaw_file_abandon(&file);
    return status;
}

/* ---- for a terminal ---------------------------------------------------------------------------- */

enum { NAME_COLUMNS = 20, BAR_COLUMNS = 14 };

/* Where bars begin, so that differences are seen: a multiple of 5 % below the lowest. */
static double bars_from(const json_t *list) {
    double least = 1;
    for (size_t i = 0; i < json_array_size(list); i++)
        least = fmin(least, thaw_field_number(json_array_get(list, i), "top1"));
    return fmax(0, floor(20 * least - 0.5) / 20);
}

static void print_figure(FILE *out, const json_t *depth, const char *path, thaw_unit unit) {
    enum { COLUMNS = 9 };
    char text[THAW_UNIT_TEXT];
    thaw_unit_text(text, unit, thaw_field_number(depth, path));
    fprintf(out, " %*s%s", COLUMNS - (int)thaw_utf8_letters(text), "", text);
}

static void print_name(FILE *out, const char *name) {
    bool whole = thaw_utf8_letters(name) <= NAME_COLUMNS;
    if (!whole) fputs("\u2026", out);
    thaw_utf8_put(out, whole ? name : last_letters(name, NAME_COLUMNS - 1), NAME_COLUMNS - !whole);
}

static void print_depth(FILE *out, const json_t *depth, bool recommended, bool priced,
                        double from) {
    double top1 = thaw_field_number(depth, "top1"), error = thaw_field_number(depth, "top1_error");
    fputs(recommended ? "* " : "  ", out);
    print_name(out, name_of(depth));
    if (isfinite(top1))
        fprintf(out, " %6.2f", 100 * top1);
    else
        fprintf(out, " %*s\u2013", 5, "");
    if (isfinite(error))
        fprintf(out, " \u00b1%5.2f ", 100 * error);
    else
        fprintf(out, " %*s", 7, "");
    thaw_chart_blocks(out, (top1 - from) / (1 - from), BAR_COLUMNS);
    print_figure(out, depth, "seconds.total", THAW_UNIT_SECONDS);
    print_figure(out, depth, "peak_bytes", THAW_UNIT_BYTES);
    print_figure(out, depth, "trained_parameters", THAW_UNIT_COUNT);
    if (priced) print_figure(out, depth, "cost", THAW_UNIT_PLAIN);
    fputc('\n', out);
}

static bool is_recommended(const json_t *freeze, const json_t *depth) {
    const char *best = thaw_field_text(freeze, "recommendation.cut");
    return *best && strcmp(best, name_of(depth)) == 0;
}

void thaw_depth_table_print(FILE *out, const json_t *freeze) {
    const json_t *list = json_object_get(freeze, "depths"), *depth;
    bool priced = json_is_object(json_object_get(freeze, "price"));
    double from = bars_from(list);
    size_t i;
    char bars[40];
    snprintf(bars, sizeof bars, "%.0f to 100", 100 * from);
    fprintf(out, "  %-*s%-15s%-*s %9s %9s %9s %9s\n", NAME_COLUMNS, "frozen up to", "  top-1, %",
            BAR_COLUMNS, bars, "in all", "memory", "trained", priced ? "cost" : "");
    json_array_foreach((json_t *)list, i, depth)
        print_depth(out, depth, is_recommended(freeze, depth), priced, from);
    const char *text = thaw_field_text(freeze, "recommendation.text");
    if (*text) {
        fputs("\n* ", out);
        thaw_utf8_put(out, text, 0);
        fputc('\n', out);
    }
}
