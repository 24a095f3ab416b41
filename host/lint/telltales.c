/* What tells classes apart, and should not: a network learns the first thing that does. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "findings_parts.h"

/* Something that has nothing to do with what a picture shows, as a number. */
typedef struct telltale {
    const char *kind, *advice;
    uint64_t (*value)(const thaw_findings *f, size_t i);
    void (*say)(const thaw_findings *f, size_t i, char why[THAW__WHY]);
} telltale;

static uint64_t value_of_format(const thaw_findings *f, size_t i) {
    size_t k = 0;
    while (k < f->n_formats && strcmp(f->formats[k].name, thaw__surveyed(f, i)->format) != 0)
        k++;
    return k;
}

static void say_format(const thaw_findings *f, size_t i, char why[THAW__WHY]) {
    snprintf(why, THAW__WHY, "of the format %s", thaw__surveyed(f, i)->format);
}

static uint64_t value_of_grey(const thaw_findings *f, size_t i) {
    return f->survey->looks[i].grey;
}

static void say_grey(const thaw_findings *f, size_t i, char why[THAW__WHY]) {
    snprintf(why, THAW__WHY, "%s", f->survey->looks[i].grey ? "without colours" : "coloured");
}

static uint64_t value_of_sides(const thaw_findings *f, size_t i) {
    return (uint64_t)thaw__surveyed(f, i)->width << 32 | (uint32_t)thaw__surveyed(f, i)->height;
}

static void say_size(const thaw_findings *f, size_t i, char why[THAW__WHY]) {
    snprintf(why, THAW__WHY, "of %d x %d pixels", thaw__surveyed(f, i)->width,
             thaw__surveyed(f, i)->height);
}

typedef struct valued {
    uint64_t value;
    uint32_t label;
    size_t picture;
} valued;

static int compare_valued(const void *a, const void *b) {
    const valued *x = a, *y = b;
    if (x->value != y->value) return x->value < y->value ? -1 : 1;
    return x->label < y->label ? -1 : x->label > y->label;
}

/* Of each class, the value that most of its pictures have. */
typedef struct usual {
    size_t n, n_all; /* Its pictures with the value, and everybody's. */
    size_t picture;  /* One of them. */
} usual;

/* all: sorted by value, then by label. */
static void find_usual(const valued *all, size_t n, usual *of_class) {
    for (size_t start = 0, end; start < n; start = end) {
        for (end = start; end < n && all[end].value == all[start].value; end++)
            continue;
        for (size_t i = start, next; i < end; i = next) {
            for (next = i; next < end && all[next].label == all[i].label; next++)
                continue;
            usual *u = &of_class[all[i].label];
            if (next - i > u->n) *u = (usual){next - i, end - start, all[i].picture};
        }
    }
}

static thaw_status find_telltale(thaw_findings *f, const telltale *t, valued *all, usual *of_class,
                                 thaw_error *err) {
    static const double mostly = 0.9, rarely = 0.1;
    const thaw_dataset *d = f->survey->dataset;
    size_t n = 0;
    memset(of_class, 0, d->n_classes * sizeof *of_class);
    for (size_t i = 0; i < d->n; i++)
        if (thaw__is_read(f, i) && d->split[i] == THAW_SPLIT_TRAIN)
            all[n++] = (valued){t->value(f, i), d->label[i], i};
    qsort(all, n, sizeof *all, compare_valued);
    find_usual(all, n, of_class);
    for (size_t k = 0; k < d->n_classes; k++) {
        const usual *u = &of_class[k];
        size_t own = thaw__to_train(f, k), others = n - own, theirs = u->n_all - u->n;
        if (own < THAW__FEW || others < THAW__FEW || (double)u->n < mostly * (double)own ||
            (double)theirs > rarely * (double)others)
            continue;
        char what[THAW__WHY];
        t->say(f, u->picture, what);
        return thaw__findings_say(
            f, t->kind, THAW_FINDING_WARN,
            thaw_arena_printf(&f->arena,
                              "%zu of %zu pictures of class '%.80s' to train on are "
                              "%s, and %zu of %zu others: a network can tell the "
                              "class by that alone",
                              u->n, own, d->class_name[k], what, theirs, others),
            t->advice, err);
    }
    return THAW_OK;
}

thaw_status thaw__find_telltales(thaw_findings *f, thaw_error *err) {
    static const telltale tales[] = {
        {"format_tells",
         "store all of them alike: the traces of a format are learnt before what a "
         "picture shows",
         value_of_format, say_format},
        {"colour_tells", "take coloured ones, or make all of them grey", value_of_grey, say_grey},
        {"size_tells", "bring all of them to one size: sharpness and proportions differ as well",
         value_of_sides, say_size}};
    const thaw_dataset *d = f->survey->dataset;
    valued *all = malloc((d->n + 1) * sizeof *all);
    usual *of_class = malloc((d->n_classes + 1) * sizeof *of_class);
    thaw_status status = all && of_class ? THAW_OK : thaw__findings_no_memory(err);
    for (size_t t = 0; status == THAW_OK && t < sizeof tales / sizeof *tales; t++)
        status = find_telltale(f, &tales[t], all, of_class, err);
    free(all);
    free(of_class);
    return status;
}
