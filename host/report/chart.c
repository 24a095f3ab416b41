#include "chart.h"

#include <math.h>

#include "page.h"
#include "svg.h"

enum {
    WIDTH = 360,
    SLOPING = 76, /* Pixels at most of a name that slopes below an axis. */
};

/* ---- a plot: its frame ------------------------------------------------------------------------ */

typedef struct plot {
    FILE *out;
    thaw_axis x, y;
    double left, top, width, height; /* Of the inside. */
    double right;                    /* What is beside it. */
} plot;

static double px(const plot *p, double value) {
    return p->left + p->width * thaw_axis_place(&p->x, value);
}

static double py(const plot *p, double value) {
    return p->top + p->height * (1 - thaw_axis_place(&p->y, value));
}

static void put_y_axis(const plot *p) {
    double at[THAW_AXIS_MOST_TICKS];
    size_t n = thaw_axis_ticks(&p->y, at);
    for (size_t i = 0; i < n; i++) {
        char text[THAW_UNIT_TEXT];
        thaw_axis_tick_text(text, &p->y, at[i]);
        fprintf(p->out,
                "<line class=grid x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>"
                "<text x=\"%.1f\" y=\"%.1f\" text-anchor=end>%s</text>\n",
                p->left, p->left + p->width, py(p, at[i]), py(p, at[i]), p->left - 5,
                py(p, at[i]) + 4, text);
    }
}

/* Names slope, so that there can be many. */
static void put_x_names(const plot *p) {
    size_t n = p->x.n_names, every = 1;
    while ((double)(n / every) * THAW_SVG_LINE > p->width)
        every++;
    for (size_t i = 0; i < n; i += every) {
        double x = px(p, (double)i) + 3, y = p->top + p->height + 11;
        fprintf(p->out,
                "<text x=\"%.1f\" y=\"%.1f\" text-anchor=end transform=\"rotate(-45 %.1f %.1f)\">",
                x, y, x, y);
        thaw_svg_short(p->out, p->x.names[i], SLOPING);
        fputs("</text>\n", p->out);
    }
}

static void put_x_figures(const plot *p) {
    double at[THAW_AXIS_MOST_TICKS], free_from = p->left - 20;
    size_t n = thaw_axis_ticks(&p->x, at);
    for (size_t i = 0; i < n; i++) {
        char text[THAW_UNIT_TEXT];
        thaw_axis_tick_text(text, &p->x, at[i]);
        double x = px(p, at[i]), half = thaw_svg_width(text) / 2;
        x = fmin(x, p->left + p->width + p->right - half);
        if (x - half < free_from) continue;
        free_from = x + half + THAW_SVG_LETTER;
        fprintf(p->out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=middle>%s</text>\n", x,
                p->top + p->height + THAW_SVG_LINE + 3, text);
    }
}

static void put_frame(const plot *p, double height) {
    put_y_axis(p);
    fprintf(p->out, "<path class=grid d=\"M%.1f %.1fV%.1fH%.1f\"/>\n", p->left, p->top,
            p->top + p->height, p->left + p->width);
    if (p->x.names)
        put_x_names(p);
    else
        put_x_figures(p);
    if (!p->x.label) return;
    fprintf(p->out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=middle>", p->left + p->width / 2,
            height - 4);
    thaw_page_text(p->out, p->x.label);
    fputs("</text>\n", p->out);
}

/* ---- a plot: its series ----------------------------------------------------------------------- */

static bool is_shown(const plot *p, const thaw_series *s, size_t i) {
    return isfinite(px(p, s->x[i])) && isfinite(py(p, s->y[i]));
}

static void put_line(const plot *p, const thaw_series *s) {
    fputs("<polyline", p->out);
    thaw_svg_colour(p->out, s->colour, s->dash ? "line dash" : "line");
    fputs(" points=\"", p->out);
    for (size_t i = 0; i < s->n; i++)
        if (is_shown(p, s, i)) fprintf(p->out, "%.1f,%.1f ", px(p, s->x[i]), py(p, s->y[i]));
    fputs("\"/>\n", p->out);
}

static double within(double value, double low, double high) {
    return fmin(fmax(value, low), high);
}

static void put_errors(const plot *p, const thaw_series *s) {
    enum { HALF = 4 };
    for (size_t i = 0; i < s->n; i++) {
        if (!is_shown(p, s, i) || !isfinite(s->low[i]) || !isfinite(s->high[i])) continue;
        double x = px(p, s->x[i]), bottom = p->top + p->height;
        double low = within(py(p, s->low[i]), p->top, bottom);
        double high = within(py(p, s->high[i]), p->top, bottom);
        fputs("<path", p->out);
        thaw_svg_colour(p->out, s->colour, "line");
        fprintf(p->out, " d=\"M%.1f %.1fH%.1fM%.1f %.1fV%.1fM%.1f %.1fH%.1f\"/>\n", x - HALF, low,
                x + HALF, x, low, high, x - HALF, high, x + HALF);
    }
}

static void put_point_title(const plot *p, const thaw_series *s, size_t i) {
    char x[THAW_UNIT_TEXT], y[THAW_UNIT_TEXT];
    fputs("<title>", p->out);
    if (s->titles) {
        thaw_page_text(p->out, s->titles[i]);
    } else {
        thaw_unit_text(x, p->x.unit, s->x[i]);
        thaw_unit_text(y, p->y.unit, s->y[i]);
        if (s->name) {
            thaw_page_text(p->out, s->name);
            fputs(": ", p->out);
        }
        fprintf(p->out, "%s at %s", y, x);
    }
    fputs("</title>", p->out);
}

/* A circle, a square or a diamond. */
static void put_mark(const plot *p, const thaw_series *s, double x, double y, double r) {
    int mark = thaw_svg_mark(s->colour);
    fputs(mark == 0 ? "<circle" : "<path", p->out);
    thaw_svg_colour(p->out, s->colour, s->rings ? "ring" : "");
    if (mark == 0)
        fprintf(p->out, " cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\">", x, y, r);
    else if (mark == 1)
        fprintf(p->out, " d=\"M%.1f %.1fH%.1fV%.1fH%.1fz\">", x - r, y - r, x + r, y + r, x - r);
    else
        fprintf(p->out, " d=\"M%.1f %.1fL%.1f %.1fL%.1f %.1fL%.1f %.1fz\">", x, y - r - 1,
                x + r + 1, y, x, y + r + 1, x - r - 1, y);
}

static void put_dots(const plot *p, const thaw_series *s) {
    const double usual = 3, large = 6;
    for (size_t i = 0; i < s->n; i++) {
        bool marked = (int64_t)i == s->marked;
        if (!is_shown(p, s, i) || !(s->dots || marked)) continue;
        put_mark(p, s, px(p, s->x[i]), py(p, s->y[i]),
                 marked     ? large
                 : s->rings ? usual + 2
                            : usual);
        put_point_title(p, s, i);
        fputs(thaw_svg_mark(s->colour) == 0 ? "</circle>\n" : "</path>\n", p->out);
    }
}

/* ---- a plot: labels beside points ------------------------------------------------------------- */

typedef struct box {
    double x0, y0, x1, y1;
} box;

enum { MOST_BOXES = 128 };

typedef struct boxes {
    box all[MOST_BOXES];
    size_t n;
} boxes;

static bool is_free(const boxes *b, const plot *p, box at) {
    if (at.x0 < p->left || at.x1 > p->left + p->width || at.y0 < p->top - 4 ||
        at.y1 > p->top + p->height)
        return false;
    for (size_t i = 0; i < b->n; i++)
        if (at.x0 < b->all[i].x1 && b->all[i].x0 < at.x1 && at.y0 < b->all[i].y1 &&
            b->all[i].y0 < at.y1)
            return false;
    return true;
}

static void take(boxes *b, box at) {
    if (b->n < MOST_BOXES) b->all[b->n++] = at;
}

/* Right, left, above or below of the point, wherever it first hides nothing; or nowhere: the point's
 * title has it, too. */
static void put_label(const plot *p, boxes *b, double x, double y, const char *text) {
    enum { LONGEST = 100, GAP = 8 };
    double w = fmin(thaw_svg_width(text), LONGEST) + 2, h = THAW_SVG_LINE - 2;
    const box tries[] = {{x + GAP, y - h / 2, x + GAP + w, y + h / 2},
                         {x - GAP - w, y - h / 2, x - GAP, y + h / 2},
                         {x - w / 2, y - GAP - h, x + w / 2, y - GAP},
                         {x - w / 2, y + GAP, x + w / 2, y + GAP + h}};
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
        if (!is_free(b, p, tries[i])) continue;
        take(b, tries[i]);
        fprintf(p->out, "<text class=\"strong halo\" x=\"%.1f\" y=\"%.1f\">", tries[i].x0,
                tries[i].y1 - 2);
        thaw_svg_short(p->out, text, LONGEST);
        fputs("</text>\n", p->out);
        return;
    }
}

static void put_labels(const plot *p, const thaw_series *s) {
    enum { RADIUS = 4 };
    boxes b = {.n = 0};
    for (size_t i = 0; i < s->n; i++) {
        double x = px(p, s->x[i]), y = py(p, s->y[i]);
        if (is_shown(p, s, i)) take(&b, (box){x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS});
    }
    for (size_t i = 0; i < s->n; i++)
        if (is_shown(p, s, i)) put_label(p, &b, px(p, s->x[i]), py(p, s->y[i]), s->labels[i]);
}

static void put_series(const plot *p, const thaw_series *s) {
    if (s->line) put_line(p, s);
    if (s->low) put_errors(p, s);
    put_dots(p, s);
    if (s->labels) put_labels(p, s);
}

static void put_key(FILE *out, const thaw_series *s) {
    static const char *const marks[THAW_SVG_MARKS] = {"\u25cf", "\u25a0", "\u25c6"};
    fputs("<span><i", out);
    thaw_svg_colour(out, s->colour, s->dash ? "dash" : s->line ? "" : "mark");
    fprintf(out, ">%s</i>", s->line ? "" : s->rings ? "\u25cb" : marks[thaw_svg_mark(s->colour)]);
}

static void put_legend(FILE *out, const thaw_series *series, size_t n) {
    size_t named = 0;
    for (size_t i = 0; i < n; i++)
        named += series[i].name != NULL;
    if (named < 2) return; /* The title says it. */
    fputs("<p class=legend>", out);
    for (size_t i = 0; i < n; i++) {
        if (!series[i].name) continue;
        put_key(out, &series[i]);
        thaw_page_text(out, series[i].name);
        fputs("</span> ", out);
    }
    fputs("</p>", out);
}

static double sloping_height(const thaw_axis *a) {
    return 18 + 0.71 * fmin(thaw_svg_longest(a->names, a->n_names), SLOPING);
}

void thaw_chart_put(FILE *out, const thaw_chart *c) {
    enum { LEFT = 52, TOP = 10, RIGHT = 14, USUAL = 170, FIGURES = 25 };
    double whole = c->width > 0 ? c->width : WIDTH;
    plot p = {.out = out,
              .x = thaw_axis_settle(&c->x),
              .y = thaw_axis_settle(&c->y),
              .left = LEFT,
              .top = TOP,
              .width = whole - LEFT - RIGHT,
              .right = RIGHT,
              .height = c->height > 0 ? c->height : USUAL};
    double height = p.top + p.height + (c->x.names ? sloping_height(&c->x) : FIGURES) +
                    (c->x.label ? THAW_SVG_LINE : 0);
    thaw_svg_begin_box(out, c->title, whole > WIDTH);
    thaw_svg_begin(out, c->title, whole, height);
    put_frame(&p, height);
    for (size_t i = 0; i < c->n_series; i++)
        put_series(&p, &c->series[i]);
    fputs(whole > WIDTH ? "</svg></div>" : "</svg>", out);
    put_legend(out, c->series, c->n_series);
    fputs("</div>\n", out);
}

/* ---- bars ------------------------------------------------------------------------------------- */

static double largest(const thaw_bar *bars, size_t n) {
    double most = 0;
    for (size_t i = 0; i < n; i++)
        if (isfinite(bars[i].value)) most = fmax(most, bars[i].value);
    return most > 0 ? most : 1;
}

static void put_bar(FILE *out, const thaw_bar *bar, thaw_unit unit, double most, double y) {
    enum { NAME = 124, FIGURE = 58, SPACE = WIDTH - NAME - FIGURE };
    char text[THAW_UNIT_TEXT];
    double length = isfinite(bar->value) ? SPACE * within(bar->value / most, 0, 1) : 0;
    thaw_unit_text(text, unit, bar->value);
    fprintf(out, "<g><text class=strong x=\"%d\" y=\"%.1f\" text-anchor=end>", NAME - 6, y + 12);
    thaw_svg_short(out, bar->name, NAME - 10);
    fputs("</text><rect", out);
    thaw_svg_colour(out, bar->colour, "");
    fprintf(out,
            " x=\"%d\" y=\"%.1f\" width=\"%.1f\" height=\"12\" rx=\"2\"/>"
            "<text x=\"%.1f\" y=\"%.1f\">%s</text><title>",
            NAME, y + 2, fmax(length, 1), NAME + length + 5, y + 12, text);
    thaw_page_text(out, bar->name);
    fprintf(out, ": %s</title></g>\n", text);
}

void thaw_chart_bars(FILE *out, const char *title, thaw_unit unit, double most,
                     const thaw_bar *bars, size_t n) {
    enum { PITCH = 17 };
    if (most <= 0) most = largest(bars, n);
    thaw_svg_begin_box(out, title, false);
    thaw_svg_begin(out, title, WIDTH, PITCH * (double)n + 2);
    for (size_t i = 0; i < n; i++)
        put_bar(out, &bars[i], unit, most, PITCH * (double)i);
    fputs("</svg></div>\n", out);
}

void thaw_chart_blocks(FILE *out, double share, int columns) {
    static const char *const parts[] = {"",       "\u258f", "\u258e", "\u258d",
                                        "\u258c", "\u258b", "\u258a", "\u2589"};
    enum { EIGHTHS = 8 };
    int n = isfinite(share) ? (int)lround(within(share, 0, 1) * columns * EIGHTHS) : 0;
    for (int i = 0; i < n / EIGHTHS; i++)
        fputs("\u2588", out);
    fputs(parts[n % EIGHTHS], out);
    fprintf(out, "%*s", columns - (n + EIGHTHS - 1) / EIGHTHS, "");
}

/* ---- a heat map ------------------------------------------------------------------------------- */

enum { NAME_WIDTH = 110 };

/* Large where there is room; from a hundred on, an overview that still fits a screen. */
static double cell_side(const thaw_heat *h) {
    enum { LARGEST = 40, SMALLEST = 3, NAMED = 12, ROOM = 900 };
    size_t most = h->n_rows > h->n_columns ? h->n_rows : h->n_columns;
    double fits = ROOM / (double)(most ? most : 1);
    if (most <= 100) return within(floor(fits), NAMED, LARGEST);
    return within(floor(2 * fits) / 2, SMALLEST, NAMED);
}

/* Every so many names there is one, where there is no room for all. */
static size_t name_pitch(double side) {
    return side >= THAW_SVG_LINE - 2 ? 1 : (size_t)ceil((THAW_SVG_LINE - 2) / side);
}

static void put_row_names(FILE *out, const thaw_heat *h, double side, double left, double top) {
    for (size_t i = 0; i < h->n_rows; i += name_pitch(side)) {
        fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=end>", left - 5,
                top + side * ((double)i + 0.5) + 4);
        thaw_svg_short(out, h->rows[i], NAME_WIDTH);
        fputs("</text>\n", out);
    }
}

static void put_column_names(FILE *out, const thaw_heat *h, double side, double left, double top) {
    for (size_t i = 0; i < h->n_columns; i += name_pitch(side)) {
        double x = left + side * ((double)i + 0.5) + 4, y = top - 5;
        fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" transform=\"rotate(-90 %.1f %.1f)\">", x, y, x,
                y);
        thaw_svg_short(out, h->columns[i], NAME_WIDTH);
        fputs("</text>\n", out);
    }
}

static void put_cell_title(FILE *out, const thaw_heat *h, const thaw_cell *c) {
    fputs("<title>", out);
    thaw_page_text(out, h->rows[c->row]);
    fputs(" \u2192 ", out);
    thaw_page_text(out, h->columns[c->column]);
    fputs(": ", out);
    thaw_page_text(out, c->text);
    fputs("</title>", out);
}

static void put_cell(FILE *out, const thaw_heat *h, const thaw_cell *c, double side, double left,
                     double top) {
    const double faintest = 0.12, strongest = 0.68; /* The ink on it stays legible. */
    double shade = faintest + (strongest - faintest) * within(c->shade, 0, 1);
    double x = left + side * (double)c->column, y = top + side * (double)c->row;
    bool fits = side >= 22 && thaw_svg_width(c->text) < side;
    double gap = side >= THAW_SVG_LINE - 2 ? 1 : 0;
    fputs("<g><rect", out);
    thaw_svg_colour(out, c->colour, "");
    fprintf(out, " x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill-opacity=\"%.2f\"/>", x,
            y, side - gap, side - gap, side < THAW_SVG_LINE - 2 ? fmax(shade, 0.3) : shade);
    if (fits) {
        fprintf(out, "<text class=strong x=\"%.1f\" y=\"%.1f\" text-anchor=middle>", x + side / 2,
                y + side / 2 + 4);
        thaw_page_text(out, c->text);
        fputs("</text>", out);
    }
    put_cell_title(out, h, c);
    fputs("</g>\n", out);
}

void thaw_chart_heat(FILE *out, const thaw_heat *h) {
    double side = cell_side(h), left = 12 + fmin(thaw_svg_longest(h->rows, h->n_rows), NAME_WIDTH);
    double top = 12 + fmin(thaw_svg_longest(h->columns, h->n_columns), NAME_WIDTH);
    double width = side * (double)h->n_columns, height = side * (double)h->n_rows;
    thaw_svg_begin_box(out, h->title, true);
    thaw_svg_begin(out, h->title, left + width + 2, top + height + 2);
    put_row_names(out, h, side, left, top);
    put_column_names(out, h, side, left, top);
    fprintf(out, "<rect class=grid x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n",
            left - 1, top - 1, width + 1, height + 1);
    for (size_t i = 0; i < h->n_cells; i++)
        put_cell(out, h, &h->cells[i], side, left, top);
    fputs("</svg></div><p class=legend>Rows: ", out);
    thaw_page_text(out, h->row_label);
    fputs("; columns: ", out);
    thaw_page_text(out, h->column_label);
    fputs(".</p></div>\n", out);
}

/* ---- parallel coordinates ---------------------------------------------------------------------- */

enum { PITCH = 132, PATHS_LEFT = 66, PATHS_TOP = 26, PATHS_HEIGHT = 200 };

static double parallel_y(const thaw_axis *a, double value) {
    double at = thaw_axis_place(a, value);
    return PATHS_TOP + PATHS_HEIGHT * (1 - (isfinite(at) ? within(at, 0, 1) : NAN));
}

static void put_upright(FILE *out, const thaw_axis *a, double x) {
    enum { NAME = 120, TICK = 58 };
    double at[THAW_AXIS_MOST_TICKS];
    size_t n = a->names ? a->n_names : thaw_axis_ticks(a, at), every = 1;
    while ((double)(n / every) * THAW_SVG_LINE > PATHS_HEIGHT)
        every++;
    fprintf(out,
            "<line class=grid x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>"
            "<text class=strong x=\"%.1f\" y=\"12\" text-anchor=middle>",
            x, x, PATHS_TOP, PATHS_TOP + PATHS_HEIGHT, x);
    thaw_svg_short(out, a->label, NAME);
    fputs("</text>\n", out);
    for (size_t i = 0; i < n; i += every) {
        char text[THAW_UNIT_TEXT];
        double y = parallel_y(a, a->names ? (double)i : at[i]);
        if (!a->names) thaw_axis_tick_text(text, a, at[i]);
        fprintf(out, "<text class=halo x=\"%.1f\" y=\"%.1f\" text-anchor=end>", x - 5, y + 4);
        thaw_svg_short(out, a->names ? a->names[i] : text, TICK);
        fputs("</text>\n", out);
    }
}

static void put_path(FILE *out, const thaw_axis *axes, size_t n_axes, const thaw_path *path) {
    fputs("<polyline", out);
    thaw_svg_colour(out, path->best ? THAW_COLOUR_WARN : THAW_COLOUR_ACCENT, "line");
    fprintf(out, " stroke-opacity=\"%.2f\" points=\"",
            path->best ? 1 : 0.1 + 0.7 * within(path->shade, 0, 1));
    for (size_t k = 0; k < n_axes; k++) {
        double y = parallel_y(&axes[k], path->values[k]);
        if (isfinite(y)) fprintf(out, "%.1f,%.1f ", PATHS_LEFT + PITCH * (double)k, y);
    }
    fputs("\"><title>", out);
    thaw_page_text(out, path->title);
    fputs("</title></polyline>\n", out);
}

void thaw_chart_parallel(FILE *out, const char *title, const thaw_axis *axes, size_t n_axes,
                         const thaw_path *paths, size_t n_paths) {
    enum { MOST = 32, RIGHT = 62, BOTTOM = 10 };
    thaw_axis settled[MOST];
    if (n_axes > MOST) n_axes = MOST;
    for (size_t k = 0; k < n_axes; k++)
        settled[k] = thaw_axis_settle(&axes[k]);
    thaw_svg_begin_box(out, title, true);
    thaw_svg_begin(out, title, PATHS_LEFT + PITCH * (double)(n_axes - 1) + RIGHT,
                   PATHS_TOP + PATHS_HEIGHT + BOTTOM);
    for (int best = 0; best < 2; best++) /* The best one on top. */
        for (size_t i = 0; i < n_paths; i++)
            if (paths[i].best == best) put_path(out, settled, n_axes, &paths[i]);
    for (size_t k = 0; k < n_axes; k++)
        put_upright(out, &settled[k], PATHS_LEFT + PITCH * (double)k);
    fputs("</svg></div></div>\n", out);
}
