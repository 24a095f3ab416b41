#include "curves.h"

#include <math.h>

/* One figure of training and of validation over the epochs. */
typedef struct figures {
    double *x, *train, *validation;
} figures;

static double train_loss(const thaw_epoch *e) {
    return e->train_loss;
}

static double validation_loss(const thaw_epoch *e) {
    return e->validation_loss;
}

static double train_top1(const thaw_epoch *e) {
    return e->train_top1;
}

static double validation_map(const thaw_epoch *e) {
    return isnan(e->validation_loss) ? NAN : e->validation_map;
}

static double validation_top1(const thaw_epoch *e) {
    return e->validation_top1;
}

static double number_of(const thaw_epoch *e) {
    return (double)e->epoch;
}

static double penalty_of(const thaw_epoch *e) {
    return e->l2;
}

static double *gather(const thaw_curves *c, double (*figure)(const thaw_epoch *),
                      thaw_arena *arena) {
    double *values = thaw_arena_array(arena, (size_t)c->n, sizeof *values);
    for (int64_t i = 0; values && i < c->n; i++)
        values[i] = figure(&c->epochs[i]);
    return values;
}

double thaw_curves_least_top1(const thaw_epoch *epochs, int64_t n) {
    double least = NAN;
    for (int64_t i = 0; i < n; i++)
        least = fmin(least, fmin(epochs[i].train_top1, epochs[i].validation_top1));
    return least;
}

static int64_t place_of_kept(const thaw_curves *c) {
    for (int64_t i = 0; i < c->n; i++)
        if (c->epochs[i].epoch == c->kept) return i;
    return -1;
}

static bool any(const double *values, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (isfinite(values[i])) return true;
    return false;
}

static void put(FILE *out, const thaw_curves *c, const figures *f, const char *what, thaw_axis *y) {
    enum { FEW = 30 };
    char title[160];
    size_t n = (size_t)c->n;
    bool validates = any(f->validation, c->n);
    int64_t kept = place_of_kept(c);
    thaw_series lines[] = {
        {"training", THAW_COLOUR_GREY, f->x, f->train, .n = n, .marked = validates ? -1 : kept,
         .line = true, .dash = true, .dots = n <= FEW},
        {"validation", THAW_COLOUR_ACCENT, f->x, f->validation, .n = n, .marked = kept,
         .line = true, .dots = n <= FEW}};
    snprintf(title, sizeof title, "%s%s%s", c->title ? c->title : "", c->title ? ": " : "", what);
    thaw_axis_hold(y, f->train, n);
    thaw_axis_hold(y, f->validation, n);
    thaw_chart chart = {.title = title,
                        .x = {.label = c->penalties ? "penalty (l2)" : "epoch",
                              .low = NAN,
                              .high = NAN,
                              .log = c->penalties,
                              .whole = !c->penalties,
                              .exact = true},
                        .y = *y,
                        .series = lines,
                        .n_series = validates ? 2 : 1};
    thaw_axis_hold(&chart.x, f->x, n);
    thaw_chart_put(out, &chart);
}

static thaw_status put_pair(FILE *out, const thaw_curves *c, double (*train)(const thaw_epoch *),
                            double (*validation)(const thaw_epoch *), const char *what, thaw_axis y,
                            thaw_error *err) {
    thaw_arena arena = {0};
    figures f = {gather(c, c->penalties ? penalty_of : number_of, &arena), gather(c, train, &arena),
                 gather(c, validation, &arena)};
    bool enough = f.x && f.train && f.validation;
    if (enough) put(out, c, &f, what, &y);
    thaw_arena_free(&arena);
    return enough ? THAW_OK
                  : thaw_fail_memory(err, "for the chart of %lld epochs", (long long)c->n);
}

thaw_status thaw_curves_put_loss(FILE *out, const thaw_curves *c, thaw_error *err) {
    thaw_axis y = {.low = NAN, .high = NAN};
    return put_pair(out, c, train_loss, validation_loss, "loss", y, err);
}

thaw_status thaw_curves_put_top1(FILE *out, const thaw_curves *c, thaw_error *err) {
    thaw_axis y = {.low = 1 - c->top1_span, .high = 1, .unit = THAW_UNIT_SHARE};
    if (c->n > 0 && c->epochs[0].several)
        return put_pair(out, c, train_top1, validation_map,
                        "all classes right in training, mAP of validation", y, err);
    return put_pair(out, c, train_top1, validation_top1, "top-1", y, err);
}
