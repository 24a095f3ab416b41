/* A dataset as a table that people read. */
#include <stdlib.h>

#include "dataset.h"
#include "utf8.h"

enum {
    WIDEST = 40,    /* Letters of a class's name; what is longer is cut. */
    ROWS_MAX = 60,  /* With more classes, only the first are listed. */
    ROWS_FIRST = 20 /* So many. */
};

typedef struct counts {
    size_t of[THAW_SPLIT_COUNT];
} counts;

static void write_row(FILE *out, const char *name, size_t width, const counts *row,
                      const counts *shown) {
    thaw_utf8_put(out, name, width);
    for (int s = 0; s < THAW_SPLIT_COUNT; s++)
        if (shown->of[s]) fprintf(out, "  %10zu", row->of[s]);
    fputc('\n', out);
}

static void write_table(FILE *out, const thaw_dataset *d, const counts *rows) {
    const counts *total = &rows[d->n_classes];
    size_t n_listed = d->n_classes > ROWS_MAX ? ROWS_FIRST : d->n_classes;
    size_t width = thaw_utf8_letters("class");
    for (size_t i = 0; i < n_listed; i++) {
        size_t letters = thaw_utf8_letters(d->class_name[i]);
        if (letters > width) width = letters < WIDEST ? letters : WIDEST;
    }
    fprintf(out, "%-*s", (int)width, "class");
    for (int s = 0; s < THAW_SPLIT_COUNT; s++)
        if (total->of[s]) fprintf(out, "  %10s", thaw_split_name(s));
    fputc('\n', out);
    for (size_t i = 0; i < n_listed; i++)
        write_row(out, d->class_name[i], width, &rows[i], total);
    if (n_listed < d->n_classes)
        fprintf(out, "... and %zu more classes\n", d->n_classes - n_listed);
    write_row(out, "all", width, total, total);
}

/* How many pictures have other than one class. */
static void write_several(FILE *out, const thaw_dataset *d) {
    size_t n_several = 0, n_none = 0;
    for (size_t i = 0; i < d->n; i++) {
        size_t n = 0;
        for (size_t k = 0; k < d->n_classes && n < 2; k++)
            n += thaw_label_has(d->sets, d->label[i], (int64_t)k);
        n_several += n > 1;
        n_none += n == 0;
    }
    fprintf(out, "several     %zu pictures have more than one class, %zu have none\n", n_several,
            n_none);
}

static void write_sources(FILE *out, const thaw_dataset *d) {
    for (int s = 0; s < THAW_SPLIT_COUNT; s++) {
        if (d->folder[s]) {
            fprintf(out, "%-10s  ", thaw_split_name(s));
            thaw_utf8_put(out, d->list[s] ? d->list[s] : d->folder[s], 0);
            fputc('\n', out);
        } else if (s == THAW_SPLIT_VALIDATION && d->validation_fraction > 0) {
            fprintf(out, "%-10s  %g of the training pictures, chosen by their names\n",
                    thaw_split_name(s), d->validation_fraction);
        }
    }
}

thaw_status thaw_dataset_print(const thaw_dataset *d, FILE *out, thaw_error *err) {
    counts *rows = calloc(d->n_classes + 1, sizeof *rows);
    if (!rows) return thaw_fail_memory(err, "to count pictures");
    for (size_t i = 0; i < d->n; i++) {
        if (!d->sets) rows[d->label[i]].of[d->split[i]]++;
        for (size_t k = 0; d->sets && k < d->n_classes; k++)
            rows[k].of[d->split[i]] += thaw_label_has(d->sets, d->label[i], (int64_t)k);
        rows[d->n_classes].of[d->split[i]]++;
    }
    write_table(out, d, rows);
    if (d->sets) write_several(out, d);
    write_sources(out, d);
    if (d->n_folds)
        fprintf(out, "fold        %d of %d: all these pictures were dealt anew, by their names\n",
                d->fold + 1, d->n_folds);
    free(rows);
    return THAW_OK;
}
