/* Findings as a page: numbers first, then each finding with its pictures. */
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "findings.h"
#include "report/chart.h"
#include "report/page.h"
#include "report/thumbnail.h"

enum {
    MOST_SHOWN = 24,   /* Pictures, or pairs, of a finding: some 5 KB each. */
    MOST_LISTED = 200, /* Without their pictures. */
    MOST_BARS = 40,    /* Classes of a chart. */
};

typedef struct writer {
    const thaw_findings *f;
    FILE *out;
    thaw_decoder *decoder;
    const thaw_geometry *seen;
} writer;

static void put_classes(const writer *w) {
    const thaw_dataset *d = w->f->survey->dataset;
    thaw_bar bars[MOST_BARS];
    size_t n = d->n_classes < MOST_BARS ? d->n_classes : MOST_BARS;
    for (size_t k = 0; k < n; k++)
        bars[k] = (thaw_bar){d->class_name[k], (double)w->f->counts[k][THAW_SPLIT_TRAIN],
                             THAW_COLOUR_ACCENT};
    thaw_chart_bars(
        w->out,
        d->n_classes > n ? "Pictures to train on, of the first classes" : "Pictures to train on",
        THAW_UNIT_PLAIN, 0, bars, n);
}

/* How many pictures have a shorter side of so many pixels. */
static void put_sides(const writer *w) {
    static const int from[] = {0, 32, 64, 128, 224, 384, 512, 1024, 2048};
    static const char *const names[] = {"below 32",    "32 to 63",     "64 to 127",
                                        "128 to 223",  "224 to 383",   "384 to 511",
                                        "512 to 1023", "1024 to 2047", "2048 and more"};
    enum { N = sizeof from / sizeof *from };
    const thaw_survey *s = w->f->survey;
    thaw_bar bars[N];
    for (int b = 0; b < N; b++)
        bars[b] = (thaw_bar){names[b], 0, THAW_COLOUR_GREY};
    for (size_t i = 0; i < s->dataset->n; i++) {
        const thaw_surveyed *p = &s->of[i];
        int side = p->width < p->height ? p->width : p->height, b = N - 1;
        while (b > 0 && side < from[b])
            b--;
        if (!s->unread[i]) bars[b].value++;
    }
    thaw_chart_bars(w->out, "Pixels of the shorter side", THAW_UNIT_PLAIN, 0, bars, N);
}

static void put_formats(const writer *w) {
    const thaw_findings *f = w->f;
    thaw_bar bars[THAW_FINDINGS_FORMATS + 2];
    size_t n = 0;
    for (; n < f->n_formats; n++)
        bars[n] = (thaw_bar){f->formats[n].name, (double)f->formats[n].n, THAW_COLOUR_GREY};
    bars[n++] = (thaw_bar){"turned by EXIF", (double)f->n_turned, THAW_COLOUR_ACCENT};
    bars[n++] = (thaw_bar){"without colours", (double)f->n_grey, THAW_COLOUR_ACCENT};
    thaw_chart_bars(w->out, "Formats, and what is odd", THAW_UNIT_PLAIN,
                    (double)f->survey->dataset->n, bars, n);
}

static size_t count_findings(const thaw_findings *f, thaw_finding_level level) {
    size_t n = 0;
    for (size_t i = 0; i < f->n; i++)
        n += f->list[i].level == level;
    return n;
}

static void put_summary(const writer *w, const char *data) {
    const thaw_findings *f = w->f;
    const thaw_dataset *d = f->survey->dataset;
    size_t fails = count_findings(f, THAW_FINDING_FAILS);
    fputs("<p class=advice>", w->out);
    if (fails)
        fprintf(w->out, "A training would fail: see the first %s below.",
                fails == 1 ? "finding" : "findings");
    else if (count_findings(f, THAW_FINDING_WARN))
        fputs("A training would run; look at the warnings first.", w->out);
    else
        fputs("Nothing stands in the way of a training.", w->out);
    fputs("</p>\n", w->out);
    thaw_page_note(w->out, "%.1000s. Nothing in it was changed.", data);
    thaw_page_cards_begin(w->out);
    thaw_page_card(w->out, "pictures", THAW_UNIT_COUNT, (double)d->n);
    thaw_page_card(w->out, "classes", THAW_UNIT_COUNT, (double)d->n_classes);
    thaw_page_card(w->out, "all files", THAW_UNIT_BYTES, (double)f->bytes);
    thaw_page_card(w->out, "unreadable", THAW_UNIT_COUNT, (double)f->survey->n_unread);
    thaw_page_cards_end(w->out);
    if (f->largest.width)
        thaw_page_note(w->out,
                       "Sizes: %d x %d the smallest, %d x %d the median, %d x %d the largest.",
                       f->smallest.width, f->smallest.height, f->median.width, f->median.height,
                       f->largest.width, f->largest.height);
    thaw_page_charts_begin(w->out);
    put_classes(w);
    put_sides(w);
    put_formats(w);
    thaw_page_charts_end(w->out);
}

/* ---- pictures ---------------------------------------------------------------------------------- */

static thaw_status put_thumbnail(const writer *w, size_t i, thaw_error *err) {
    char path[PATH_MAX];
    if (w->f->survey->unread[i]) return THAW_OK;
    thaw_dataset_path(w->f->survey->dataset, i, path);
    return thaw_thumbnail_put(w->out, w->decoder, path, w->seen, THAW_THUMBNAIL_SIDE, err);
}

/* Class, split and name. */
static void put_words(const writer *w, size_t i) {
    const thaw_dataset *d = w->f->survey->dataset;
    const char *slash = strrchr(d->name[i], '/');
    fputs("<span>", w->out);
    thaw_page_text(w->out, d->class_name[d->label[i]]);
    fprintf(w->out, ", %s</span><span>", thaw_split_name(d->split[i]));
    thaw_page_text(w->out, slash ? slash + 1 : d->name[i]);
    fputs("</span>", w->out);
}

static thaw_status put_figure(const writer *w, const thaw_found *found, thaw_error *err) {
    bool pair = found->like != found->picture;
    char path[PATH_MAX];
    thaw_dataset_path(w->f->survey->dataset, found->picture, path);
    fputs(pair ? "<figure class=pair title=\"" : "<figure title=\"", w->out);
    thaw_page_text(w->out, path);
    fputs("\"><div>", w->out);
    THAW_TRY(put_thumbnail(w, found->picture, err));
    if (pair) THAW_TRY(put_thumbnail(w, found->like, err));
    fputs("</div><figcaption>", w->out);
    put_words(w, found->picture);
    if (pair) put_words(w, found->like);
    if (found->why) {
        fputs("<span>", w->out);
        thaw_page_text(w->out, found->why);
        fputs("</span>", w->out);
    }
    fputs("</figcaption></figure>\n", w->out);
    return THAW_OK;
}

/* What has no picture to show, or is too many. What is wrong stands first, where a telephone shows it. */
static void put_table(const writer *w, const thaw_finding *finding, size_t from) {
    static const char *const columns[] = {"what", "picture", "like"};
    bool pairs = finding->found[from].like != finding->found[from].picture;
    size_t n = finding->n < MOST_LISTED ? finding->n : MOST_LISTED;
    char path[PATH_MAX];
    thaw_page_table_begin(w->out, columns, pairs ? 3 : 2, pairs ? 3 : 2);
    for (size_t i = from; i < n; i++) {
        const thaw_found *found = &finding->found[i];
        thaw_page_row(w->out);
        thaw_page_cell(w->out, found->why ? found->why : "");
        thaw_dataset_path(w->f->survey->dataset, found->picture, path);
        thaw_page_cell(w->out, path);
        if (pairs) {
            thaw_dataset_path(w->f->survey->dataset, found->like, path);
            thaw_page_cell(w->out, path);
        }
    }
    thaw_page_table_end(w->out);
    if (finding->n > n)
        thaw_page_note(w->out, "And %zu more, which lint.json has.", finding->n - n);
}

static thaw_status put_finding(const writer *w, const thaw_finding *finding, thaw_error *err) {
    static const char *const words[] = {"Fails", "Warning", "Note"};
    size_t shown = 0;
    fprintf(w->out, "<h2>%s: ", words[finding->level]);
    thaw_page_text(w->out, finding->text);
    fputs("</h2>\n", w->out);
    if (finding->advice) thaw_page_note(w->out, "To do: %s.", finding->advice);
    if (finding->n && !w->f->survey->unread[finding->found[0].picture]) {
        fputs("<div class=pictures>\n", w->out);
        for (; shown < finding->n && shown < MOST_SHOWN; shown++)
            THAW_TRY(put_figure(w, &finding->found[shown], err));
        fputs("</div>\n", w->out);
    }
    if (shown == finding->n) return THAW_OK;
    if (shown) thaw_page_details_begin(w->out, "The others");
    put_table(w, finding, shown);
    if (shown) thaw_page_details_end(w->out);
    return THAW_OK;
}

static thaw_status put_page(const writer *w, const char *data, thaw_error *err) {
    const char *slash = strrchr(data, '/');
    char title[256];
    snprintf(title, sizeof title, "Pictures of %s", slash && slash[1] ? slash + 1 : data);
    thaw_page_begin(w->out, title);
    put_summary(w, data);
    for (size_t i = 0; i < w->f->n; i++)
        THAW_TRY(put_finding(w, &w->f->list[i], err));
    thaw_page_end(w->out);
    return THAW_OK;
}

thaw_status thaw_findings_page(const thaw_findings *f, const char *data, const thaw_geometry *seen,
                               const char *path, thaw_error *err) {
    thaw_new_file file;
    writer w = {.f = f, .seen = seen};
    THAW_TRY(thaw_decoder_create(&w.decoder, err));
    thaw_status status = thaw_file_begin(&file, path, err);
    if (status == THAW_OK) {
        w.out = file.stream;
        status = put_page(&w, data, err);
        if (status == THAW_OK)
            status = thaw_file_finish(&file, err);
        else
            thaw_file_abandon(&file);
    }
    thaw_decoder_free(w.decoder);
    return status;
}
