#include "sweep_page.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "chart.h"
#include "fields.h"
#include "file.h"
#include "page.h"
#include "text.h"
#include "utf8.h"

/* The document, and what charts and tables of it have in common. */
typedef struct sweep {
    const json_t *doc, *axes, *trials;
    size_t n_axes, n;
    thaw_axis *axis;     /* [n_axes] */
    double *values;      /* [n, n_axes] of a choice its number; NaN: it has none. */
    double *loss, *top1; /* [n] */
    size_t *order;       /* [n] the best first. */
    double *share;       /* [n_axes] of the variance of the loss that an axis explains alone. */
    thaw_arena arena;
} sweep;

/* ---- values ------------------------------------------------------------------------------------ */

static const json_t *axis_at(const sweep *s, size_t k) {
    return json_array_get(s->axes, k);
}

static const json_t *trial_at(const sweep *s, size_t i) {
    return json_array_get(s->trials, i);
}

static const char *key_of(const sweep *s, size_t k) {
    return thaw_field_text(axis_at(s, k), "key");
}

/* The text of a value: keys have points, so that no path leads there. */
static const char *text_of(const json_t *trial, const char *key) {
    const char *text = json_string_value(json_object_get(json_object_get(trial, "values"), key));
    return text ? text : "";
}

static double value_of(const thaw_axis *a, const char *text) {
    double value;
    for (size_t i = 0; i < a->n_names; i++)
        if (strcmp(a->names[i], text) == 0) return (double)i;
    return !a->names && thaw_text_number(text, &value) ? value : NAN;
}

/* The choices of an axis that has them. */
static bool read_names(sweep *s, thaw_axis *a, const json_t *choices) {
    size_t n = json_array_size(choices);
    const char **names = thaw_arena_array(&s->arena, n, sizeof *names);
    for (size_t i = 0; names && i < n; i++) {
        const char *text = json_string_value(json_array_get(choices, i));
        names[i] = text ? text : "";
    }
    a->names = names;
    a->n_names = n;
    return names;
}

static bool read_axis(sweep *s, size_t k) {
    const json_t *given = axis_at(s, k);
    const char *kind = thaw_field_text(given, "kind");
    thaw_axis *a = &s->axis[k];
    *a = (thaw_axis){.label = key_of(s, k),
                     .low = thaw_field_number(given, "low"),
                     .high = thaw_field_number(given, "high"),
                     .log = strcmp(kind, "log") == 0,
                     .exact = true};
    return strcmp(kind, "choice") != 0 || read_names(s, a, json_object_get(given, "choices"));
}

/* More right answers first, then the lower loss, as a sweep chooses. */
static int by_rank(const void *a, const void *b, void *ctx) {
    const sweep *s = ctx;
    size_t i = *(const size_t *)a, k = *(const size_t *)b;
    double x = s->loss[i], y = s->loss[k], right = s->top1[i], other = s->top1[k];
    if (isnan(x) != isnan(y)) return isnan(x) ? 1 : -1; /* What diverged comes last. */
    if (right > other || right < other) return right > other ? -1 : 1;
    if (x != y && !isnan(x)) return x < y ? -1 : 1;
    return i < k ? -1 : i > k;
}

/* ---- which axes matter ------------------------------------------------------------------------- */

enum { BINS = 6 };

/* Which part of an axis a value is in: its choice, or one of BINS of equal width. BINS or more: none. */
static size_t bin_of(const thaw_axis *a, double value) {
    if (!isfinite(value)) return SIZE_MAX;
    if (a->names) return (size_t)value;
    double low = a->log ? log(a->low) : a->low, high = a->log ? log(a->high) : a->high;
    double at = ((a->log ? log(value) : value) - low) / (high - low);
    if (!(at >= -1e-9 && at <= 1 + 1e-9)) return high > low ? SIZE_MAX : 0;
    size_t bin = (size_t)(fmax(at, 0) * BINS);
    return bin < BINS ? bin : BINS - 1;
}

static size_t n_bins(const thaw_axis *a) {
    return a->names ? a->n_names : BINS;
}

static double total_variance(const sweep *s, double *mean) {
    double sum = 0, squares = 0;
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (!isfinite(s->loss[i])) continue;
        sum += s->loss[i];
        n++;
    }
    *mean = n ? sum / (double)n : 0;
    for (size_t i = 0; i < s->n; i++)
        if (isfinite(s->loss[i])) squares += (s->loss[i] - *mean) * (s->loss[i] - *mean);
    return squares;
}

/* The variance between the means of an axis' parts, of all (eta squared). */
static bool explain(sweep *s, size_t k) {
    const thaw_axis *a = &s->axis[k];
    size_t n = n_bins(a);
    double mean, total = total_variance(s, &mean), between = 0;
    double *sum = thaw_arena_array(&s->arena, n, sizeof *sum);
    size_t *count = thaw_arena_array(&s->arena, n, sizeof *count);
    if (!sum || !count) return false;
    for (size_t i = 0; i < s->n; i++) {
        size_t bin = bin_of(a, s->values[i * s->n_axes + k]);
        if (bin >= n || !isfinite(s->loss[i])) continue;
        sum[bin] += s->loss[i];
        count[bin]++;
    }
    for (size_t b = 0; b < n; b++)
        if (count[b]) between += pow(sum[b] / (double)count[b] - mean, 2) * (double)count[b];
    s->share[k] = total > 0 ? between / total : 0;
    return true;
}

static bool allocate(sweep *s) {
    s->axis = thaw_arena_array(&s->arena, s->n_axes, sizeof *s->axis);
    s->share = thaw_arena_array(&s->arena, s->n_axes, sizeof *s->share);
    s->values = thaw_arena_array(&s->arena, s->n * s->n_axes, sizeof *s->values);
    s->order = thaw_arena_array(&s->arena, s->n, sizeof *s->order);
    s->loss = thaw_field_column(s->trials, "validation_loss", &s->arena);
    s->top1 = thaw_field_column(s->trials, "validation_top1", &s->arena);
    return s->axis && s->share && s->values && s->order && s->loss && s->top1;
}

static bool fill(sweep *s) {
    for (size_t k = 0; k < s->n_axes; k++) {
        if (!read_axis(s, k)) return false;
        for (size_t i = 0; i < s->n; i++)
            s->values[i * s->n_axes + k] =
                value_of(&s->axis[k], text_of(trial_at(s, i), key_of(s, k)));
    }
    for (size_t i = 0; i < s->n; i++)
        s->order[i] = i;
    qsort_r(s->order, s->n, sizeof *s->order, by_rank, s);
    for (size_t k = 0; k < s->n_axes; k++)
        if (!explain(s, k)) return false;
    return true;
}

static thaw_status open_sweep(sweep *s, const json_t *doc, thaw_error *err) {
    *s = (sweep){
        .doc = doc, .axes = json_object_get(doc, "axes"), .trials = json_object_get(doc, "trials")};
    s->n_axes = json_array_size(s->axes);
    s->n = json_array_size(s->trials);
    return allocate(s) && fill(s) ? THAW_OK : thaw_fail_memory(err, "for %zu trials", s->n);
}

static long long id_of(const sweep *s, size_t i) {
    return (long long)json_integer_value(json_object_get(trial_at(s, i), "id"));
}

static bool is_best(const sweep *s, size_t i) {
    const json_t *best = json_object_get(s->doc, "best");
    return best && json_equal(best, json_object_get(trial_at(s, i), "id"));
}

/* ---- the page: parallel coordinates -------------------------------------------------------------- */

static const char *title_of(sweep *s, size_t i) {
    thaw_text text = {.n = 0};
    char loss[THAW_UNIT_TEXT], top1[THAW_UNIT_TEXT];
    thaw_unit_text(loss, THAW_UNIT_PLAIN, s->loss[i]);
    thaw_unit_text(top1, THAW_UNIT_SHARE, s->top1[i]);
    thaw_text_add(&text, "trial %lld: loss %s, top-1 %s", id_of(s, i), loss, top1);
    for (size_t k = 0; k < s->n_axes; k++)
        thaw_text_add(&text, "\n%.60s = %.60s", key_of(s, k),
                      text_of(trial_at(s, i), key_of(s, k)));
    return thaw_arena_string(&s->arena, text.text, text.n);
}

/* The axes, and behind them the loss. */
static bool make_axes(sweep *s, thaw_axis **axes) {
    *axes = thaw_arena_array(&s->arena, s->n_axes + 1, sizeof **axes);
    if (!*axes) return false;
    for (size_t k = 0; k < s->n_axes; k++)
        (*axes)[k] = s->axis[k];
    thaw_axis *last = &(*axes)[s->n_axes];
    *last = (thaw_axis){.label = "validation loss", .low = NAN, .high = NAN, .exact = true};
    thaw_axis_hold(last, s->loss, s->n);
    thaw_axis_choose_log(last);
    return true;
}

/* Place i of the order: the better, the stronger. */
static bool make_path(sweep *s, size_t place, thaw_path *path) {
    size_t i = s->order[place];
    double *values = thaw_arena_array(&s->arena, s->n_axes + 1, sizeof *values);
    if (!values) return false;
    memcpy(values, s->values + i * s->n_axes, s->n_axes * sizeof *values);
    values[s->n_axes] = s->loss[i];
    *path = (thaw_path){.values = values,
                        .shade = pow(1 - (double)place / (double)s->n, 2),
                        .best = is_best(s, i),
                        .title = title_of(s, i)};
    return path->title;
}

static thaw_status put_parallel(FILE *out, sweep *s, thaw_error *err) {
    enum { MOST = 500 };
    size_t n = s->n < MOST ? s->n : MOST;
    thaw_axis *axes;
    thaw_path *paths = thaw_arena_array(&s->arena, n, sizeof *paths);
    bool enough = paths && make_axes(s, &axes);
    for (size_t i = 0; enough && i < n; i++) /* The best is drawn last. */
        enough = make_path(s, n - 1 - i, &paths[i]);
    if (!enough) return thaw_fail_memory(err, "for the lines of %zu trials", n);
    thaw_page_heading(out, "Every trial");
    thaw_page_note(out, "A line for each trial, the stronger the better; the best one in red.%s",
                   n < s->n ? " Only the best 500 are drawn." : "");
    thaw_chart_parallel(out, "Values of each trial, and its loss", axes, s->n_axes + 1, paths, n);
    return THAW_OK;
}

/* ---- the page: the two axes that matter most ------------------------------------------------------ */

/* The two with the highest shares, the first ones of equals. */
static void find_strongest(const sweep *s, size_t strongest[2]) {
    for (int j = 0; j < 2; j++) {
        size_t found = SIZE_MAX;
        for (size_t k = 0; k < s->n_axes; k++) {
            if (j == 1 && k == strongest[0]) continue;
            if (found == SIZE_MAX || s->share[k] > s->share[found]) found = k;
        }
        strongest[j] = found;
    }
}

/* What the parts of an axis are called. */
static const char **bin_names(sweep *s, const thaw_axis *a) {
    size_t n = n_bins(a);
    const char **names = thaw_arena_array(&s->arena, n, sizeof *names);
    for (size_t b = 0; names && b < n; b++) {
        double from = (double)b / BINS, to = (double)(b + 1) / BINS;
        if (a->names)
            names[b] = a->names[b];
        else if (a->log)
            names[b] =
                thaw_arena_printf(&s->arena, "%.2g\u2013%.2g", a->low * pow(a->high / a->low, from),
                                  a->low * pow(a->high / a->low, to));
        else
            names[b] =
                thaw_arena_printf(&s->arena, "%.3g\u2013%.3g", a->low + (a->high - a->low) * from,
                                  a->low + (a->high - a->low) * to);
        if (!names[b]) return NULL;
    }
    return names;
}

/* cells [n]: those of the n parts of a plane that have a lowest loss. Returns how many. */
static size_t make_cells(const double *lowest, size_t n_all, size_t n_columns, thaw_cell *cells) {
    double best = INFINITY, worst = -INFINITY;
    size_t n = 0;
    for (size_t i = 0; i < n_all; i++) {
        if (!isfinite(lowest[i])) continue;
        best = fmin(best, lowest[i]);
        worst = fmax(worst, lowest[i]);
    }
    for (size_t i = 0; i < n_all; i++) {
        if (!isfinite(lowest[i])) continue;
        thaw_cell *cell = &cells[n++];
        *cell = (thaw_cell){.row = i / n_columns,
                            .column = i % n_columns,
                            .shade = worst > best ? (worst - lowest[i]) / (worst - best) : 1,
                            .colour = THAW_COLOUR_ACCENT};
        /* Three digits, or as many as a cell has room for. */
        snprintf(cell->text, sizeof cell->text, fabs(lowest[i]) < 0.1 ? "%.2g" : "%.3g", lowest[i]);
    }
    return n;
}

/* lowest [rows * columns] of the axes y and x: the lowest loss of the trials there. */
static void find_lowest(const sweep *s, size_t y, size_t x, double *lowest) {
    size_t rows = n_bins(&s->axis[y]), columns = n_bins(&s->axis[x]);
    for (size_t i = 0; i < rows * columns; i++)
        lowest[i] = INFINITY;
    for (size_t i = 0; i < s->n; i++) {
        size_t row = bin_of(&s->axis[y], s->values[i * s->n_axes + y]);
        size_t column = bin_of(&s->axis[x], s->values[i * s->n_axes + x]);
        if (row >= rows || column >= columns || !isfinite(s->loss[i])) continue;
        double *at = &lowest[row * columns + column];
        *at = fmin(*at, s->loss[i]);
    }
}

static thaw_status put_plane(FILE *out, sweep *s, thaw_error *err) {
    size_t strongest[2];
    find_strongest(s, strongest);
    const thaw_axis *y = &s->axis[strongest[0]], *x = &s->axis[strongest[1]];
    size_t rows = n_bins(y), columns = n_bins(x), n = rows * columns;
    double *lowest = thaw_arena_array(&s->arena, n, sizeof *lowest);
    thaw_cell *cells = thaw_arena_array(&s->arena, n, sizeof *cells);
    const char **row_names = bin_names(s, y), **column_names = bin_names(s, x);
    if (!lowest || !cells || !row_names || !column_names)
        return thaw_fail_memory(err, "for a heat map of %zu cells", n);
    find_lowest(s, strongest[0], strongest[1], lowest);
    thaw_heat heat = {.title = "Lowest validation loss",
                      .row_label = y->label,
                      .column_label = x->label,
                      .rows = row_names,
                      .columns = column_names,
                      .n_rows = rows,
                      .n_columns = columns,
                      .cells = cells,
                      .n_cells = make_cells(lowest, n, columns, cells)};
    thaw_chart_heat(out, &heat);
    return THAW_OK;
}

static thaw_status put_shares(FILE *out, sweep *s, thaw_error *err) {
    thaw_bar *bars = thaw_arena_array(&s->arena, s->n_axes, sizeof *bars);
    if (!bars) return thaw_fail_memory(err, "for %zu bars", s->n_axes);
    for (size_t k = 0; k < s->n_axes; k++)
        bars[k] = (thaw_bar){key_of(s, k), s->share[k], THAW_COLOUR_ACCENT};
    thaw_chart_bars(out, "Share of the variance of the loss", THAW_UNIT_SHARE, 1, bars, s->n_axes);
    return THAW_OK;
}

static thaw_status put_what_matters(FILE *out, sweep *s, thaw_error *err) {
    thaw_page_heading(out, "What matters");
    thaw_page_note(out,
                   "How much of the variance of the validation loss lies between the choices of an "
                   "option, or between %d equal parts of its range (eta squared); few trials make "
                   "it look larger than it is. The map has the two that explain most.",
                   BINS);
    thaw_page_charts_begin(out);
    THAW_TRY(put_shares(out, s, err));
    if (s->n_axes > 1) THAW_TRY(put_plane(out, s, err));
    thaw_page_charts_end(out);
    return THAW_OK;
}

/* ---- the page: tables ---------------------------------------------------------------------------- */

static void put_trial(FILE *out, const sweep *s, size_t i) {
    const json_t *trial = trial_at(s, i);
    const bool stopped = json_is_true(json_object_get(trial, "stopped"));
    thaw_page_row(out);
    thaw_page_figure(out, THAW_UNIT_PLAIN, thaw_field_number(trial, "id"));
    thaw_page_figure(out, THAW_UNIT_PLAIN, s->loss[i]);
    thaw_page_figure(out, THAW_UNIT_SHARE, s->top1[i]);
    thaw_page_figure(out, THAW_UNIT_PLAIN, thaw_field_number(trial, "epochs"));
    fputs(is_best(s, i) ? "<td>best" : stopped ? "<td>stopped" : "<td>", out);
    for (size_t k = 0; k < s->n_axes; k++) {
        double value = s->values[i * s->n_axes + k];
        fprintf(out, "<td data-v=\"%.9g\">", isfinite(value) ? value : -1);
        thaw_page_text(out, text_of(trial, key_of(s, k)));
    }
}

static thaw_status put_trials(FILE *out, sweep *s, thaw_error *err) {
    enum { FIXED = 5 };
    static const char *const fixed[FIXED] = {"trial", "loss", "top-1", "epochs", ""};
    const char **columns = thaw_arena_array(&s->arena, FIXED + s->n_axes, sizeof *columns);
    if (!columns) return thaw_fail_memory(err, "for a table of %zu trials", s->n);
    memcpy(columns, fixed, sizeof fixed);
    for (size_t k = 0; k < s->n_axes; k++)
        columns[FIXED + k] = key_of(s, k);
    thaw_page_heading(out, "All trials");
    thaw_page_table_begin(out, columns, 0, FIXED + s->n_axes);
    for (size_t i = 0; i < s->n; i++)
        put_trial(out, s, s->order[i]);
    thaw_page_table_end(out);
    return THAW_OK;
}

static void put_best(FILE *out, const sweep *s, size_t i) {
    const json_t *trial = trial_at(s, i);
    fputs("<p class=advice>", out);
    fprintf(out, "Best: trial %lld, with", id_of(s, i));
    for (size_t k = 0; k < s->n_axes; k++) {
        fprintf(out, "%s", k ? ", " : " ");
        thaw_page_text(out, key_of(s, k));
        fputs(" = ", out);
        thaw_page_text(out, text_of(trial, key_of(s, k)));
    }
    fputs(".</p>\n", out);
    thaw_page_cards_begin(out);
    thaw_page_card(out, "validation top-1", THAW_UNIT_SHARE, s->top1[i]);
    thaw_page_card(out, "validation loss", THAW_UNIT_PLAIN, s->loss[i]);
    thaw_page_card(out, "trials", THAW_UNIT_COUNT, (double)s->n);
    thaw_page_card(out, "in all", THAW_UNIT_SECONDS, thaw_field_number(s->doc, "seconds"));
    thaw_page_cards_end(out);
}

static thaw_status put_page(FILE *out, sweep *s, thaw_error *err) {
    const char *title = thaw_field_text(s->doc, "title");
    thaw_page_begin(out, *title ? title : "Sweep");
    thaw_page_note(out, "%.800s on %.800s, frozen up to %.400s", thaw_field_text(s->doc, "model"),
                   thaw_field_text(s->doc, "data"), thaw_field_text(s->doc, "cut"));
    for (size_t i = 0; i < s->n; i++)
        if (is_best(s, i)) put_best(out, s, i);
    if (s->n > 0 && s->n_axes > 0) {
        THAW_TRY(put_parallel(out, s, err));
        THAW_TRY(put_what_matters(out, s, err));
    }
    if (s->n == 0) thaw_page_note(out, "No trial was made.");
    THAW_TRY(put_trials(out, s, err));
    thaw_page_end(out);
    return THAW_OK;
}

thaw_status thaw_sweep_page_write(const json_t *doc, const char *path, thaw_error *err) {
    sweep s;
    thaw_new_file file = {0};
    thaw_status status = open_sweep(&s, doc, err);
    if (status == THAW_OK) status = thaw_file_begin(&file, path, err);
    if (status == THAW_OK) status = put_page(file.stream, &s, err);
    thaw_arena_free(&s.arena);
    if (status == THAW_OK) return thaw_file_finish(&file, err);
    thaw_file_abandon(&file);
    return status;
}

/* ---- for a terminal ------------------------------------------------------------------------------ */

/* The last part of a key, where no other axis has the same; else all of it. */
static const char *short_key(const sweep *s, size_t k) {
    const char *key = key_of(s, k), *point = strrchr(key, '.'), *last = point ? point + 1 : key;
    for (size_t j = 0; j < s->n_axes; j++) {
        const char *other = key_of(s, j), *end = strrchr(other, '.');
        if (j != k && strcmp(end ? end + 1 : other, last) == 0) return key;
    }
    return last;
}

static void print_trial(FILE *out, const sweep *s, size_t i, double from) {
    enum { BAR = 14, VALUES = 46 };
    thaw_text text = {.n = 0};
    char loss[THAW_UNIT_TEXT];
    const json_t *trial = trial_at(s, i);
    thaw_unit_text(loss, THAW_UNIT_PLAIN, s->loss[i]);
    for (size_t k = 0; k < s->n_axes; k++)
        thaw_text_add(&text, "%s%.40s=%.40s", k ? " " : "", short_key(s, k),
                      text_of(trial, key_of(s, k)));
    fprintf(out, "%c %5lld %*s%s", is_best(s, i) ? '*' : ' ', id_of(s, i),
            9 - (int)thaw_utf8_letters(loss), "", loss);
    if (isfinite(s->top1[i]))
        fprintf(out, " %7.2f ", 100 * s->top1[i]);
    else
        fprintf(out, " %6s\u2013 ", "");
    thaw_chart_blocks(out, (s->top1[i] - from) / (1 - from), BAR);
    fputc(' ', out);
    thaw_utf8_put(out, text.text, VALUES);
    fputc('\n', out);
}

static void print_best(FILE *out, const sweep *s) {
    enum { SHOWN = 10 };
    double from = 1;
    size_t n = s->n < SHOWN ? s->n : SHOWN;
    for (size_t i = 0; i < n; i++)
        from = fmin(from, s->top1[s->order[i]]);
    from = fmax(0, floor(20 * from - 0.5) / 20);
    fprintf(out, "  trial      loss top-1, %% %3.0f to 100\n", 100 * from);
    for (size_t i = 0; i < n; i++)
        print_trial(out, s, s->order[i], from);
    if (n < s->n) fprintf(out, "... the best %zu of %zu trials\n", n, s->n);
}

void thaw_sweep_table_print(FILE *out, const json_t *doc) {
    sweep s;
    if (open_sweep(&s, doc, NULL) == THAW_OK)
        print_best(out, &s);
    else
        fputs("there is too little memory for a table of the trials\n", out);
    thaw_arena_free(&s.arena);
}
