#include "findings_parts.h"

#include <stdlib.h>
#include <string.h>

#include "text.h"

enum {
    MUCH_RARER = 5, /* As thaw_lint_say has it. */
    MOST_NAMED = 6, /* Classes in a sentence. */
};

thaw_status thaw_findings_add(thaw_findings *f, const thaw_finding *finding, thaw_error *err) {
    if (!finding->text || (finding->n && !finding->found) || f->n == THAW_FINDINGS_MOST)
        return thaw__findings_no_memory(err);
    size_t at = f->n++;
    for (; at && f->list[at - 1].level > finding->level; at--)
        f->list[at] = f->list[at - 1];
    f->list[at] = *finding;
    return THAW_OK;
}

thaw_status thaw__findings_say(thaw_findings *f, const char *kind, thaw_finding_level level,
                               const char *text, const char *advice, thaw_error *err) {
    thaw_finding finding = {.kind = kind, .level = level, .text = text, .advice = advice};
    return thaw_findings_add(f, &finding, err);
}

void thaw_findings_free(thaw_findings *f) {
    thaw_arena_free(&f->arena);
}

size_t thaw_findings_fail(const thaw_findings *f) {
    size_t n = 0;
    for (size_t i = 0; i < f->n; i++)
        n += f->list[i].level == THAW_FINDING_FAILS;
    return n;
}

/* ---- what there is ----------------------------------------------------------------------------- */

/* Formats stand by how many there are, and then as they came. */
static void count_format(thaw_findings *f, const char *name) {
    size_t k = 0;
    while (k < f->n_formats && strcmp(f->formats[k].name, name) != 0)
        k++;
    if (k == THAW_FINDINGS_FORMATS) return;
    if (k == f->n_formats) f->formats[f->n_formats++].name = name;
    f->formats[k].n++;
    for (; k && f->formats[k - 1].n < f->formats[k].n; k--) {
        thaw_format_count moved = f->formats[k];
        f->formats[k] = f->formats[k - 1];
        f->formats[k - 1] = moved;
    }
}

static int compare_areas(const void *a, const void *b) {
    const thaw_sides *x = a, *y = b;
    int64_t p = (int64_t)x->width * x->height, q = (int64_t)y->width * y->height;
    if (p != q) return p < q ? -1 : 1;
    return (x->width > y->width) - (x->width < y->width);
}

static thaw_status measure_sizes(thaw_findings *f, thaw_error *err) {
    size_t n = 0, most = f->survey->dataset->n;
    thaw_sides *all = malloc((most + 1) * sizeof *all);
    if (!all) return thaw__findings_no_memory(err);
    for (size_t i = 0; i < most; i++)
        if (thaw__is_read(f, i))
            all[n++] = (thaw_sides){thaw__surveyed(f, i)->width, thaw__surveyed(f, i)->height};
    qsort(all, n, sizeof *all, compare_areas);
    if (n) {
        f->smallest = all[0];
        f->median = all[(n - 1) / 2];
        f->largest = all[n - 1];
    }
    free(all);
    return THAW_OK;
}

static thaw_status count(thaw_findings *f, thaw_error *err) {
    const thaw_dataset *d = f->survey->dataset;
    f->counts = thaw_arena_array(&f->arena, d->n_classes, sizeof *f->counts);
    f->unread = thaw_arena_array(&f->arena, d->n_classes, sizeof *f->unread);
    if (!f->counts || !f->unread) return thaw__findings_no_memory(err);
    for (size_t i = 0; i < d->n; i++) {
        f->bytes += thaw__surveyed(f, i)->bytes;
        if (!thaw__is_read(f, i)) {
            f->unread[d->label[i]]++;
            continue;
        }
        f->counts[d->label[i]][d->split[i]]++;
        f->n_turned += thaw__surveyed(f, i)->orientation > 1;
        f->n_grey += f->survey->looks[i].grey;
        count_format(f, thaw__surveyed(f, i)->format);
    }
    return measure_sizes(f, err);
}

/* ---- classes ----------------------------------------------------------------------------------- */

/* Adds a class to a list in a sentence, of which only the first are named. */
static void name_class(const thaw_findings *f, thaw_text *names, size_t n, size_t k) {
    if (n < MOST_NAMED)
        thaw_text_add(names, "%s'%.80s' (%zu)", n ? ", " : "", f->survey->dataset->class_name[k],
                      thaw__to_train(f, k));
}

static thaw_status find_small(thaw_findings *f, thaw_error *err) {
    size_t n_none = 0, n_few = 0;
    thaw_text none = {0}, few = {0};
    for (size_t k = 0; k < f->survey->dataset->n_classes; k++) {
        if (thaw__to_train(f, k) == 0)
            name_class(f, &none, n_none++, k);
        else if (thaw__to_train(f, k) < THAW__FEW)
            name_class(f, &few, n_few++, k);
    }
    if (n_none)
        THAW_TRY(thaw__findings_say(
            f, "no_pictures", THAW_FINDING_FAILS,
            thaw_arena_printf(&f->arena, "%zu %s no readable picture to train on: %s%s", n_none,
                              n_none == 1 ? "class has" : "classes have", none.text,
                              n_none > MOST_NAMED ? " and more" : ""),
            "add pictures, or remove the class", err));
    if (!n_few) return THAW_OK;
    return thaw__findings_say(
        f, "few_pictures", THAW_FINDING_WARN,
        thaw_arena_printf(&f->arena, "%zu %s fewer than %d pictures to train on: %s%s", n_few,
                          n_few == 1 ? "class has" : "classes have", THAW__FEW, few.text,
                          n_few > MOST_NAMED ? " and more" : ""),
        "add pictures, or put classes together; views = 4 makes a little more of them", err);
}

static thaw_status find_imbalance(thaw_findings *f, thaw_error *err) {
    size_t fewest = 0, most = 0;
    for (size_t k = 0; k < f->survey->dataset->n_classes; k++) {
        if (thaw__to_train(f, k) < thaw__to_train(f, fewest)) fewest = k;
        if (thaw__to_train(f, k) > thaw__to_train(f, most)) most = k;
    }
    if (!thaw__to_train(f, fewest) ||
        thaw__to_train(f, most) < MUCH_RARER * thaw__to_train(f, fewest))
        return THAW_OK;
    return thaw__findings_say(
        f, "imbalance", THAW_FINDING_WARN,
        thaw_arena_printf(&f->arena,
                          "class '%.80s' has %zu pictures to train on, and class '%.80s' %zu",
                          f->survey->dataset->class_name[most], thaw__to_train(f, most),
                          f->survey->dataset->class_name[fewest], thaw__to_train(f, fewest)),
        "head.class_weights = balanced keeps rare classes from being forgotten, and, where layers "
        "below the head are trained, top.sampling = balanced; look at the balanced accuracy",
        err);
}

static thaw_status find_names(thaw_findings *f, thaw_error *err) {
    const thaw_dataset *d = f->survey->dataset;
    for (size_t k = 0; k < d->n_classes; k++)
        if (!thaw_json_holds(d->class_name[k]))
            return thaw__findings_say(
                f, "class_name", THAW_FINDING_FAILS,
                thaw_arena_printf(&f->arena, "the name of the class '%.120s' is not UTF-8",
                                  d->class_name[k]),
                "rename it", err);
    return THAW_OK;
}

/* ---- the whole --------------------------------------------------------------------------------- */

/* What the dataset has to say: what was skipped, which classes lack pictures of a split. */
static thaw_status take_notes(thaw_findings *f, thaw_error *err) {
    enum { MOST_NOTES = 24 };
    const thaw_dataset *d = f->survey->dataset;
    for (size_t i = 0; i < d->n_notes && i < MOST_NOTES; i++)
        THAW_TRY(thaw__findings_say(f, "folder", THAW_FINDING_NOTE, d->notes[i], NULL, err));
    return THAW_OK;
}

thaw_status thaw_findings_make(thaw_findings *f, const thaw_survey *survey,
                               const thaw_findings_limits *limits, thaw_error *err) {
    *f = (thaw_findings){.survey = survey};
    THAW_TRY(count(f, err));
    THAW_TRY(find_names(f, err));
    THAW_TRY(find_small(f, err));
    THAW_TRY(thaw__find_unreadable(f, limits, err));
    THAW_TRY(thaw__find_pairs(f, err));
    THAW_TRY(find_imbalance(f, err));
    THAW_TRY(thaw__find_telltales(f, err));
    THAW_TRY(thaw__find_odd(f, limits, err));
    return take_notes(f, err);
}
