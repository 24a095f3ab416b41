/* Findings for a terminal, and for programs. */
#include <stdlib.h>

#include "findings.h"
#include "utf8.h"

static const char *const level_names[] = {THAW_FINDING_LEVEL_LIST(THAW_ENUM_NAME)};

static void put_path(const thaw_findings *f, size_t i, FILE *out) {
    char path[PATH_MAX];
    thaw_dataset_path(f->survey->dataset, i, path);
    thaw_utf8_put(out, path, 0);
}

/* ---- a terminal -------------------------------------------------------------------------------- */

static void print_sizes(const thaw_findings *f, FILE *out) {
    if (!f->largest.width) return;
    fprintf(out,
            "sizes       %d x %d the smallest, %d x %d the median, %d x %d the largest; %.1f MB\n",
            f->smallest.width, f->smallest.height, f->median.width, f->median.height,
            f->largest.width, f->largest.height, (double)f->bytes / 1e6);
    fprintf(out, "formats     ");
    for (size_t k = 0; k < f->n_formats; k++)
        fprintf(out, "%s%s %zu", k ? ", " : "", f->formats[k].name, f->formats[k].n);
    fprintf(out, "; %zu turned by EXIF, %zu without colours\n", f->n_turned, f->n_grey);
}

static void print_found(const thaw_findings *f, const thaw_found *found, FILE *out) {
    fputs("    ", out);
    put_path(f, found->picture, out);
    if (found->like != found->picture) {
        fputs("  =  ", out);
        put_path(f, found->like, out);
    }
    if (found->why) {
        fputs(found->like != found->picture ? "  (" : ": ", out);
        thaw_utf8_put(out, found->why, 0);
        if (found->like != found->picture) fputc(')', out);
    }
    fputc('\n', out);
}

static void print_finding(const thaw_findings *f, const thaw_finding *finding, FILE *out) {
    enum { MOST = 5 };
    fprintf(out, "\n%s: ", level_names[finding->level]);
    thaw_utf8_put(out, finding->text, 0);
    fputc('\n', out);
    if (finding->advice) fprintf(out, "    To do: %s.\n", finding->advice);
    for (size_t i = 0; i < finding->n && i < MOST; i++)
        print_found(f, &finding->found[i], out);
    if (finding->n > MOST) fprintf(out, "    and %zu more\n", finding->n - MOST);
}

void thaw_findings_print(const thaw_findings *f, FILE *out) {
    print_sizes(f, out);
    for (size_t i = 0; i < f->n; i++)
        print_finding(f, &f->list[i], out);
    if (!f->n) fputs("\nnothing is odd about these pictures\n", out);
}

/* ---- JSON -------------------------------------------------------------------------------------- */

static void put_json_path(const thaw_findings *f, size_t i, thaw_json *json, json_t *into,
                          const char *key) {
    char path[PATH_MAX];
    thaw_dataset_path(f->survey->dataset, i, path);
    thaw_json_text(json, into, key, path);
}

static void put_json_found(const thaw_findings *f, const thaw_found *found, thaw_json *json,
                           json_t *list) {
    const thaw_dataset *d = f->survey->dataset;
    size_t i = found->picture, k = found->like;
    json_t *row = thaw_json_object(json, list, NULL);
    put_json_path(f, i, json, row, "path");
    thaw_json_text(json, row, "class", d->class_name[d->label[i]]);
    thaw_json_text(json, row, "split", thaw_split_name(d->split[i]));
    if (k != i) {
        put_json_path(f, k, json, row, "like");
        thaw_json_text(json, row, "like_class", d->class_name[d->label[k]]);
        thaw_json_text(json, row, "like_split", thaw_split_name(d->split[k]));
    }
    if (found->why) thaw_json_text(json, row, "why", found->why);
}

static void put_sides(thaw_json *json, json_t *into, const char *key, thaw_sides sides) {
    json_t *pair = thaw_json_array(json, into, key);
    thaw_json_integer(json, pair, NULL, sides.width);
    thaw_json_integer(json, pair, NULL, sides.height);
}

static void put_json_facts(const thaw_findings *f, thaw_json *json, json_t *into) {
    const thaw_dataset *d = f->survey->dataset;
    thaw_json_integer(json, into, "pictures", (int64_t)d->n);
    thaw_json_integer(json, into, "bytes", (int64_t)f->bytes);
    json_t *sizes = thaw_json_object(json, into, "sizes");
    put_sides(json, sizes, "smallest", f->smallest);
    put_sides(json, sizes, "median", f->median);
    put_sides(json, sizes, "largest", f->largest);
    json_t *formats = thaw_json_object(json, into, "formats");
    for (size_t k = 0; k < f->n_formats; k++)
        thaw_json_integer(json, formats, f->formats[k].name, (int64_t)f->formats[k].n);
    thaw_json_integer(json, into, "turned", (int64_t)f->n_turned);
    thaw_json_integer(json, into, "grey", (int64_t)f->n_grey);
    json_t *classes = thaw_json_array(json, into, "classes");
    for (size_t k = 0; k < d->n_classes; k++) {
        json_t *row = thaw_json_object(json, classes, NULL);
        thaw_json_text(json, row, "name", d->class_name[k]);
        for (int s = 0; s < THAW_SPLIT_COUNT; s++)
            thaw_json_integer(json, row, thaw_split_name((thaw_split)s), (int64_t)f->counts[k][s]);
        thaw_json_integer(json, row, "unreadable", (int64_t)f->unread[k]);
    }
}

void thaw_findings_json(const thaw_findings *f, thaw_json *json, json_t *into) {
    put_json_facts(f, json, into);
    thaw_json_boolean(json, into, "fails", thaw_findings_fail(f) > 0);
    json_t *list = thaw_json_array(json, into, "findings");
    for (size_t i = 0; i < f->n; i++) {
        const thaw_finding *finding = &f->list[i];
        json_t *row = thaw_json_object(json, list, NULL);
        thaw_json_text(json, row, "kind", finding->kind);
        thaw_json_text(json, row, "level", level_names[finding->level]);
        thaw_json_text(json, row, "text", finding->text);
        if (finding->advice) thaw_json_text(json, row, "advice", finding->advice);
        thaw_json_integer(json, row, "n", (int64_t)finding->n);
        json_t *pictures = thaw_json_array(json, row, "pictures");
        for (size_t k = 0; k < finding->n; k++)
            put_json_found(f, &finding->found[k], json, pictures);
    }
}
