#include "report.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "thumbnail.h"

static const char style[] =
    "body{font:15px/1.5 system-ui,sans-serif;color:#1d2733;max-width:60rem;margin:2rem auto;"
    "padding:0 1rem}"
    "h1{font-size:1.6rem;margin-bottom:0}h2{font-size:1.1rem;margin-top:2.2rem}"
    ".sub,figcaption span{color:#5b6b7c}h1,.sub,figcaption,td:first-child{overflow-wrap:anywhere}"
    ".cards{display:flex;gap:1rem;flex-wrap:wrap;margin-top:1.2rem}"
    ".card{border:1px solid #d8e0e8;border-radius:8px;padding:.7rem 1.1rem;min-width:8rem}"
    ".card b{display:block;font-size:1.6rem}"
    "table{border-collapse:collapse}.wide{overflow-x:auto}"
    "td,th{padding:.15rem .6rem;text-align:right;white-space:nowrap}"
    "th{font-weight:600;color:#5b6b7c;border-bottom:1px solid #d8e0e8}"
    "td:first-child,th:first-child{text-align:left;white-space:normal;min-width:5rem}"
    ".cost{width:100%;max-width:44rem}.cost td:nth-child(2){width:60%}"
    ".bar{background:#2f7dd1;height:1.1rem;border-radius:3px}.bar.slow{background:#c9d3dd}"
    "svg{max-width:100%;height:auto}svg text{font-size:11px;fill:#5b6b7c}"
    ".m td{min-width:2.1rem;text-align:center;padding:.15rem .2rem}"
    ".m td:first-child{text-align:left;padding-right:.8rem;white-space:nowrap}"
    ".m th{writing-mode:vertical-rl;transform:rotate(180deg);text-align:left;border:0;"
    "padding:.3rem 0}"
    ".mistakes{display:flex;flex-wrap:wrap;gap:1rem}"
    "figure{margin:0;width:7rem;font-size:.8rem;line-height:1.3}"
    "figure img{display:block;border-radius:4px}figcaption{margin-top:.3rem}"
    "figcaption b{color:#b0432c}figcaption span{display:block}";

/* Text that a file name or label may hold, as text. */
static void put_text(FILE *out, const char *text) {
    for (; *text; text++) {
        switch (*text) {
            case '&':
                fputs("&amp;", out);
                break;
            case '<':
                fputs("&lt;", out);
                break;
            case '>':
                fputs("&gt;", out);
                break;
            case '"':
                fputs("&quot;", out);
                break;
            default:
                fputc(*text, out);
        }
    }
}

static double number(const json_t *object, const char *key) {
    return json_number_value(json_object_get(object, key));
}

static void put_card(FILE *out, const char *what, const char *format, double value) {
    fputs("<div class=card>", out);
    fputs(what, out);
    fputs("<b>", out);
    fprintf(out, format, value);
    fputs("</b></div>\n", out);
}

static void put_head(FILE *out, const thaw_report *r) {
    enum { TOP = 5 }; /* Among so few classes all are in it. */
    fputs(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport "
        "content=\"width=device-width\"><title>",
        out);
    put_text(out, r->title);
    fprintf(out, "</title><style>%s</style>\n<h1>", style);
    put_text(out, r->title);
    fputs("</h1><p class=sub>", out);
    put_text(out, r->model);
    fputs(", frozen up to ", out);
    put_text(out, r->cut);
    const json_t *images = json_object_get(r->metrics, "images");
    fprintf(out, "; %.0f pictures for training, %.0f for validation, %.0f for the test</p>\n",
            number(images, "train"), number(images, "validation"), number(images, "test"));
    fputs("<div class=cards>\n", out);
    char what[64];
    snprintf(what, sizeof what, "top-1, %s", r->measured_on);
    put_card(out, what, "%.1f %%", 100 * number(r->metrics, "top1"));
    if (r->results->metrics.K > TOP)
        put_card(out, "top-5", "%.1f %%", 100 * number(r->metrics, "top5"));
    put_card(out, "balanced", "%.1f %%", 100 * number(r->metrics, "balanced_accuracy"));
    put_card(out, "whole run", "%.1f s", number(json_object_get(r->metrics, "seconds"), "total"));
    fputs("</div>\n", out);
}

static void put_bar(FILE *out, const char *what, double seconds, double most, const char *kind) {
    enum { LONG = 100 };
    fprintf(out, "<tr><td>%s<td><div class=\"bar %s\" style=\"width:%.2f%%\"></div><td>%.*f s\n",
            what, kind, most > 0 ? fmax(100 * seconds / most, 0.4) : 0, seconds < LONG ? 2 : 0,
            seconds);
}

static void put_cost(FILE *out, const thaw_report *r) {
    const json_t *seconds = json_object_get(r->metrics, "seconds");
    const json_t *cache = json_object_get(r->metrics, "cache");
    double extract = number(seconds, "extract"), train = number(seconds, "train");
    double without = number(seconds, "without_cache"), most = fmax(without, extract + train);
    fputs("<h2>What it cost</h2><table class=cost>\n", out);
    put_bar(out, "features, once", extract, most, "");
    put_bar(out, "training the head", train, most, "");
    put_bar(out, "the same without the cache", without, most, "slow");
    fprintf(
        out,
        "</table><p class=sub>%.0f features came from the cache, %.0f were computed. The last "
        "line is %lld passes through the whole network at the speed measured in this run.</p>\n",
        number(cache, "hits"), number(cache, "misses"), (long long)r->passes);
}

/* A polyline of one figure over the epochs; high is the value at the top. */
static void put_curve(FILE *out, const thaw_report *r, double (*figure)(const thaw_epoch *),
                      double low, double high, const char *colour) {
    enum { LEFT = 40, TOP = 12, WIDTH = 560, HEIGHT = 180 };
    fprintf(out, "<polyline fill=none stroke=\"%s\" stroke-width=2 points=\"", colour);
    for (int64_t i = 0; i < r->n_epochs; i++) {
        double y = figure(&r->epochs[i]);
        if (isnan(y)) continue;
        double x = r->n_epochs > 1 ? (double)i / (double)(r->n_epochs - 1) : 0;
        fprintf(out, "%.1f,%.1f ", LEFT + WIDTH * x,
                TOP + HEIGHT * (1 - (y - low) / fmax(high - low, 1e-9)));
    }
    fputs("\"/>\n", out);
}

static double train_top1(const thaw_epoch *e) {
    return e->train_top1;
}

static double validation_top1(const thaw_epoch *e) {
    return e->validation_top1;
}

static void put_epochs(FILE *out, const thaw_report *r) {
    double low = 1;
    for (int64_t i = 0; i < r->n_epochs; i++) {
        low = fmin(low, r->epochs[i].train_top1);
        if (!isnan(r->epochs[i].validation_top1)) low = fmin(low, r->epochs[i].validation_top1);
    }
    low = floor(low * 10) / 10;
    fprintf(out,
            "<h2>%s</h2><svg viewBox=\"0 0 640 230\" width=640 role=img "
            "aria-label=\"accuracy by %s\">\n",
            r->penalties ? "Penalties" : "Epochs", r->penalties ? "penalty" : "epoch");
    for (int i = 0; i <= 4; i++) {
        double value = low + (1 - low) * i / 4, y = 12 + 180 * (1 - i / 4.0);
        fprintf(out,
                "<line x1=40 x2=600 y1=%.1f y2=%.1f stroke=\"#e4eaf0\"/><text x=34 y=%.1f "
                "text-anchor=end>%.3g%%</text>\n",
                y, y, y + 4, 100 * value);
    }
    put_curve(out, r, train_top1, low, 1, "#9db8d4");
    put_curve(out, r, validation_top1, low, 1, "#2f7dd1");
    if (r->penalties)
        fprintf(out,
                "<text x=40 y=212>l2 %.0e</text><text x=600 y=212 text-anchor=end>%.0e</text>\n",
                r->epochs[0].l2, r->epochs[r->n_epochs - 1].l2);
    else
        fprintf(out,
                "<text x=40 y=212>epoch 1</text><text x=600 y=212 text-anchor=end>%lld</text>\n",
                (long long)r->n_epochs);
    fprintf(out,
            "<text x=320 y=212 text-anchor=middle>top-1 in training (light) and validation "
            "(dark)</text></svg><p class=sub>%c%s.</p>\n",
            toupper((unsigned char)r->kept[0]), r->kept + 1);
}

static void put_class(FILE *out, const thaw_results *r, int64_t k) {
    const thaw_metrics *m = &r->metrics;
    fputs("<tr><td>", out);
    put_text(out, r->classes[k]);
    fprintf(out, "<td>%.3f<td>%.3f<td>%.3f<td>%lld\n", m->precision[k], m->recall[k], m->f1[k],
            (long long)m->support[k]);
}

static void put_classes(FILE *out, const thaw_results *r) {
    enum { MANY = 200, OF_MANY = 100 }; /* Of more than a page should hold, so many are shown. */
    int64_t K = r->metrics.K;
    fputs("<h2>Classes</h2>", out);
    if (K > MANY)
        fprintf(out,
                "<p class=sub>The %d with the lowest F1 of %lld; metrics.json has all of them.</p>",
                OF_MANY, (long long)K);
    fputs("<div class=wide><table><tr><th>class<th>precision<th>recall<th>F1<th>pictures\n", out);
    for (int64_t i = 0; i < (K > MANY ? OF_MANY : K); i++)
        put_class(out, r, K > MANY ? r->by_f1[i] : i);
    fputs("</table></div>\n", out);
}

static void put_count(FILE *out, const thaw_confusion *pair, double support) {
    double share = (double)pair->n / support;
    fprintf(out, "<td style=\"background:rgba(%s,%.2f)%s\">%lld",
            pair->label == pair->answer ? "47,125,209" : "214,84,61", 0.12 + 0.8 * share,
            share > 0.6 ? ";color:#fff" : "", (long long)pair->n);
}

static void put_confusion(FILE *out, const thaw_results *r) {
    enum { MOST = 60 }; /* A larger matrix is nothing that a person reads. */
    int64_t K = r->metrics.K;
    const thaw_confusion *pair = r->pairs, *end = pair + r->n_pairs;
    if (K > MOST) return;
    fputs(
        "<h2>Confusion</h2><p class=sub>Rows are what a picture shows, columns what the model "
        "says.</p><div class=wide><table class=m><tr><th>",
        out);
    for (int64_t k = 0; k < K; k++) {
        fputs("<th>", out);
        put_text(out, r->classes[k]);
    }
    for (int64_t t = 0; t < K; t++) {
        fputs("\n<tr><td>", out);
        put_text(out, r->classes[t]);
        for (int64_t p = 0; p < K; p++) {
            if (pair < end && pair->label == t && pair->answer == p)
                put_count(out, pair++, (double)r->metrics.support[t]);
            else
                fputs("<td>", out);
        }
    }
    fputs("</table></div>\n", out);
}

static thaw_status put_mistake(FILE *out, const thaw_mistake *m, thaw_decoder *decoder,
                               const thaw_geometry *seen, thaw_error *err) {
    fputs("<figure title=\"", out);
    put_text(out, m->path);
    fputs("\">", out);
    THAW_TRY(thaw_thumbnail_put(out, decoder, m->path, seen, err));
    fputs("<figcaption><b>", out);
    put_text(out, m->answer);
    fprintf(out, "</b> %.0f %%<span>", 100 * m->score);
    put_text(out, m->truth);
    fputs("</span></figcaption></figure>\n", out);
    return THAW_OK;
}

static thaw_status put_mistakes(FILE *out, const thaw_report *r, thaw_error *err) {
    if (r->n_mistakes == 0) return THAW_OK;
    thaw_decoder *decoder;
    THAW_TRY(thaw_decoder_create(&decoder, err));
    fputs(
        "<h2>The most confident mistakes</h2><p class=sub>In red what the model says, below it "
        "what the picture's folder says; predictions.csv has every picture.</p><div "
        "class=mistakes>\n",
        out);
    thaw_status status = THAW_OK;
    for (size_t i = 0; i < r->n_mistakes && status == THAW_OK; i++)
        status = put_mistake(out, &r->mistakes[i], decoder, r->seen, err);
    fputs("</div>\n", out);
    thaw_decoder_free(decoder);
    return status;
}

/* Pictures that stand where they should not. */
static void put_duplicates(FILE *out, const thaw_report *r) {
    const json_t *found = json_object_get(r->metrics, "duplicates"), *pair;
    size_t i;
    if (!found) return;
    fprintf(out,
            "<h2>The same picture twice</h2><p class=sub>%.0f in two splits, %.0f in two "
            "classes.</p><div class=wide><table>\n",
            number(found, "across_splits"), number(found, "across_classes"));
    json_array_foreach(json_object_get(found, "pairs"), i, pair) {
        for (size_t k = 0; k < 2; k++) {
            fputs(k ? "<td>" : "<tr><td>", out);
            put_text(out, json_string_value(json_array_get(pair, k)));
        }
        fputc('\n', out);
    }
    fputs("</table></div>\n", out);
}

thaw_status thaw_report_write(const thaw_report *report, const char *path, thaw_error *err) {
    thaw_new_file file;
    THAW_TRY(thaw_file_begin(&file, path, err));
    FILE *out = file.stream;
    put_head(out, report);
    put_cost(out, report);
    put_epochs(out, report);
    put_confusion(out, report->results);
    thaw_status status = put_mistakes(out, report, err);
    put_classes(out, report->results);
    put_duplicates(out, report);
    if (status == THAW_OK) return thaw_file_finish(&file, err);
    thaw_file_abandon(&file);
    return status;
}
