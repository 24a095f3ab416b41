#include "pictures.h"

#include <string.h>

#include "fields.h"
#include "page.h"
#include "thumbnail.h"

enum { NEAR_SIDE = 56, TWIN_SIDE = 56 }; /* Pixels of small pictures. */

typedef struct writer {
    FILE *out;
    thaw_decoder *decoder;
    const thaw_pictures *p;
} writer;

static void put_attribute(FILE *out, const char *text) {
    fputs(" title=\"", out);
    thaw_page_text(out, text);
    fputc('"', out);
}

/* ---- mistakes ---------------------------------------------------------------------------------- */

/* "2 buttercup, 1 iris". */
static void put_near_labels(FILE *out, const thaw_mistake *m) {
    for (int k = 0; k < m->n_near; k++) {
        int before = 0, all = 0;
        for (int i = 0; i < m->n_near; i++) {
            bool same = strcmp(m->near[i].label, m->near[k].label) == 0;
            all += same;
            before += same && i < k;
        }
        if (before) continue;
        fprintf(out, "%s%d ", k ? ", " : "", all);
        thaw_page_text(out, m->near[k].label);
    }
}

static thaw_status put_near(const writer *w, const thaw_mistake *m, thaw_error *err) {
    if (m->n_near == 0) return THAW_OK;
    fputs("<div class=near>", w->out);
    for (int k = 0; k < m->n_near; k++) {
        fputs("<span title=\"", w->out);
        thaw_page_text(w->out, m->near[k].label);
        fprintf(w->out, ", cosine %.3f: ", m->near[k].cosine);
        thaw_page_text(w->out, m->near[k].path);
        fputs("\">", w->out);
        THAW_TRY(
            thaw_thumbnail_put(w->out, w->decoder, m->near[k].path, w->p->seen, NEAR_SIDE, err));
        fputs("</span>", w->out);
    }
    fputs("</div><span>near: ", w->out);
    put_near_labels(w->out, m);
    fputs("</span>", w->out);
    return THAW_OK;
}

static thaw_status put_mistake(const writer *w, const thaw_mistake *m, thaw_error *err) {
    fputs("<figure class=mistake", w->out);
    put_attribute(w->out, m->path);
    fputc('>', w->out);
    THAW_TRY(thaw_thumbnail_put(w->out, w->decoder, m->path, w->p->seen, THAW_THUMBNAIL_SIDE, err));
    fputs("<figcaption><b>", w->out);
    thaw_page_text(w->out, m->answer);
    fprintf(w->out, "</b> %.0f&nbsp;%%<span>", 100 * m->score);
    thaw_page_text(w->out, m->truth);
    fputs(m->doubtful ? "</span><span>label in doubt</span>" : "</span>", w->out);
    if (m->old) {
        fputs("<span>old head: ", w->out);
        thaw_page_text(w->out, m->old);
        fputs("</span>", w->out);
    }
    THAW_TRY(put_near(w, m, err));
    fputs("</figcaption></figure>\n", w->out);
    return THAW_OK;
}

static thaw_status put_mistakes(const writer *w, thaw_error *err) {
    const thaw_pictures *p = w->p;
    if (p->n_mistakes == 0) return THAW_OK;
    thaw_page_heading(w->out, "The most confident mistakes");
    thaw_page_note(w->out,
                   "In red what the model says, below it what the picture's label says. %s "
                   "predictions.csv has every picture.",
                   p->no_neighbours ? p->no_neighbours
                                    : "The small ones are the training pictures that look most "
                                      "alike to the head.");
    fputs("<div class=pictures>\n", w->out);
    for (size_t i = 0; i < p->n_mistakes; i++)
        THAW_TRY(put_mistake(w, &p->mistakes[i], err));
    fputs("</div>\n", w->out);
    return THAW_OK;
}

/* ---- doubtful labels --------------------------------------------------------------------------- */

static thaw_status put_doubt(const writer *w, const thaw_doubt *d, thaw_error *err) {
    fputs("<figure class=doubt", w->out);
    put_attribute(w->out, d->path);
    fputc('>', w->out);
    THAW_TRY(thaw_thumbnail_put(w->out, w->decoder, d->path, w->p->seen, THAW_THUMBNAIL_SIDE, err));
    fputs("<figcaption><b>", w->out);
    thaw_page_text(w->out, d->answer);
    fprintf(w->out, "</b> %.0f&nbsp;%%<span>", 100 * d->score);
    thaw_page_text(w->out, d->label);
    fprintf(w->out, " %.0f %%</span><span>%s%s</span></figcaption></figure>\n", 100 * d->own,
            d->split, d->in_sample ? ", in-sample" : "");
    return THAW_OK;
}

static thaw_status put_doubts(const writer *w, thaw_error *err) {
    const thaw_pictures *p = w->p;
    if (p->n_doubts_out + p->n_doubts_in == 0) return THAW_OK;
    thaw_page_heading(w->out, "Labels that may be wrong");
    thaw_page_note(
        w->out,
        "The model is at least as sure of another class as it usually is of that class's "
        "own pictures (confident learning). Pictures that it was not trained on: %zu. "
        "That it was trained on: %zu; these are in-sample, and a model that has learnt "
        "a wrong label by heart does not doubt it. suspects.csv has all; the mistakes "
        "above whose labels are in doubt say so, and are not shown again.",
        p->n_doubts_out, p->n_doubts_in);
    fputs("<div class=pictures>\n", w->out);
    for (size_t i = 0; i < p->n_doubts; i++)
        THAW_TRY(put_doubt(w, &p->doubts[i], err));
    fputs("</div>\n", w->out);
    return THAW_OK;
}

/* ---- duplicates -------------------------------------------------------------------------------- */

static thaw_status put_twins(const writer *w, const json_t *pair, bool shown, thaw_error *err) {
    const char *one = json_string_value(json_array_get(pair, 0));
    const char *other = json_string_value(json_array_get(pair, 1));
    thaw_page_row(w->out);
    thaw_page_cell(w->out, one ? one : "");
    thaw_page_cell(w->out, other ? other : "");
    fputs("<td>", w->out);
    return shown && one ? thaw_thumbnail_put(w->out, w->decoder, one, w->p->seen, TWIN_SIDE, err)
                        : THAW_OK;
}

/* Pictures that stand where they should not. */
static thaw_status put_duplicates(const writer *w, thaw_error *err) {
    enum { MOST_SHOWN = 24, MOST_ROWS = 200 };
    static const char *const columns[] = {"one", "the other", ""};
    const json_t *found = w->p->duplicates, *pairs = json_object_get(found, "pairs");
    if (!found) return THAW_OK;
    thaw_page_heading(w->out, "The same picture twice");
    thaw_page_note(w->out, "%.0f in two splits, %.0f in two classes; metrics.json lists them.",
                   thaw_field_number(found, "across_splits"),
                   thaw_field_number(found, "across_classes"));
    thaw_page_table_begin(w->out, columns, 2, sizeof columns / sizeof *columns);
    for (size_t i = 0; i < json_array_size(pairs) && i < MOST_ROWS; i++)
        THAW_TRY(put_twins(w, json_array_get(pairs, i), i < MOST_SHOWN, err));
    thaw_page_table_end(w->out);
    return THAW_OK;
}

thaw_status thaw_pictures_put(FILE *out, const thaw_pictures *pictures, thaw_error *err) {
    writer w = {.out = out, .p = pictures};
    THAW_TRY(thaw_decoder_create(&w.decoder, err));
    thaw_status status = put_mistakes(&w, err);
    if (status == THAW_OK) status = put_doubts(&w, err);
    if (status == THAW_OK) status = put_duplicates(&w, err);
    thaw_decoder_free(w.decoder);
    return status;
}
