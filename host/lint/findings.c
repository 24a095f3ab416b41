#include "findings.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "text.h"

enum {
    FEW = 10,        /* Pictures to train on: a class that has fewer is learnt by heart. */
    MOST_ASPECT = 3, /* The centre of a longer picture is less than a third of it. */
    MUCH_RARER = 5,  /* As thaw_lint_say has it. */
    MOST_NAMED = 6,  /* Classes in a sentence. */
    WHY = 128,       /* Bytes of a few words. */
};

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "for what was found");
}

thaw_status thaw_findings_add(thaw_findings *f, const thaw_finding *finding, thaw_error *err) {
    if (!finding->text || (finding->n && !finding->found) || f->n == THAW_FINDINGS_MOST)
        return no_memory(err);
    size_t at = f->n++;
    for (; at && f->list[at - 1].level > finding->level; at--)
        f->list[at] = f->list[at - 1];
    f->list[at] = *finding;
    return THAW_OK;
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

static const thaw_surveyed *of(const thaw_findings *f, size_t i) {
    return &f->survey->of[i];
}

static bool is_read(const thaw_findings *f, size_t i) {
    return !f->survey->unread[i];
}

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
    if (!all) return no_memory(err);
    for (size_t i = 0; i < most; i++)
        if (is_read(f, i)) all[n++] = (thaw_sides){of(f, i)->width, of(f, i)->height};
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
    if (!f->counts || !f->unread) return no_memory(err);
    for (size_t i = 0; i < d->n; i++) {
        f->bytes += of(f, i)->bytes;
        if (!is_read(f, i)) {
            f->unread[d->label[i]]++;
            continue;
        }
        f->counts[d->label[i]][d->split[i]]++;
        f->n_turned += of(f, i)->orientation > 1;
        f->n_grey += f->survey->looks[i].grey;
        count_format(f, of(f, i)->format);
    }
    return measure_sizes(f, err);
}

/* ---- pictures with something in common --------------------------------------------------------- */

/* What is looked for: fills in `like`, which is the picture itself, where there is another one, and why. */
typedef struct collector {
    thaw_findings *f;
    const thaw_findings_limits *limits;
    bool (*is)(const struct collector *c, size_t i, thaw_found *found, char why[WHY]);
    const thaw_twins *const *twin; /* [n] for those that look for pairs: that of each picture. */
    thaw_found *list;
    size_t n;
} collector;

/* Two passes, so that the list is as long as it has to be. */
static thaw_status collect(collector *c, thaw_error *err) {
    size_t n_pictures = c->f->survey->dataset->n, n = 0;
    c->list = NULL;
    c->n = 0;
    for (int pass = 0; pass < 2; pass++) {
        n = 0;
        for (size_t i = 0; i < n_pictures; i++) {
            char why[WHY] = "";
            thaw_found found = {i, i, NULL};
            if (!c->is(c, i, &found, why)) continue;
            if (pass && *why) {
                found.why = thaw_arena_pack(&c->f->arena, why, strlen(why));
                if (!found.why) return no_memory(err);
            }
            if (pass) c->list[n] = found;
            n++;
        }
        if (!n) return THAW_OK;
        if (!pass) c->list = thaw_arena_array(&c->f->arena, n, sizeof *c->list);
        if (!c->list) return no_memory(err);
    }
    c->n = n;
    return THAW_OK;
}

/* Adds what was collected, if anything was. text has a %zu for how many. */
static thaw_status add_collected(const collector *c, const char *kind, thaw_finding_level level,
                                 const char *text, const char *advice, thaw_error *err) {
    if (!c->n) return THAW_OK;
    thaw_finding finding = {.kind = kind,
                            .level = level,
                            .text = thaw_arena_printf(&c->f->arena, "%zu %s%s", c->n,
                                                      c->n == 1 ? "picture " : "pictures ", text),
                            .advice = advice,
                            .found = c->list,
                            .n = c->n};
    return thaw_findings_add(c->f, &finding, err);
}

static bool is_unreadable(const collector *c, size_t i, thaw_found *found, char why[WHY]) {
    (void)why;
    found->why = of(c->f, i)->problem;
    return found->why;
}

/* A file's extension, without its point; "": it has none. */
static const char *extension_of(const thaw_dataset *d, size_t i) {
    const char *slash = strrchr(d->name[i], '/'), *file = slash ? slash + 1 : d->name[i];
    const char *point = strrchr(file, '.');
    return point ? point + 1 : "";
}

/* The format that an extension stands for; NULL: none that is known here. */
static const char *format_of(const char *extension) {
    static const char *const names[][2] = {
        {"jpg", "JPEG"}, {"jpeg", "JPEG"}, {"jpe", "JPEG"}, {"jfif", "JPEG"}, {"png", "PNG"},
        {"bmp", "BMP"},  {"dib", "BMP"},   {"gif", "GIF"},  {"psd", "PSD"},   {"pbm", "PNM"},
        {"pgm", "PNM"},  {"ppm", "PNM"},   {"pnm", "PNM"},  {"webp", "WebP"}, {"avif", "AVIF"},
        {"tif", "TIFF"}, {"tiff", "TIFF"}};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        if (strcasecmp(extension, names[k][0]) == 0) return names[k][1];
    return NULL;
}

static bool is_misnamed(const collector *c, size_t i, thaw_found *found, char why[WHY]) {
    (void)found;
    const char *extension = extension_of(c->f->survey->dataset, i), *says = format_of(extension);
    if (!is_read(c->f, i) || !says || strcmp(says, of(c->f, i)->format) == 0) return false;
    snprintf(why, WHY, "it is a %s", of(c->f, i)->format);
    return true;
}

static bool is_uniform(const collector *c, size_t i, thaw_found *found, char why[WHY]) {
    (void)found;
    (void)why;
    return is_read(c->f, i) && c->f->survey->looks[i].uniform;
}

static int shorter_side(const thaw_surveyed *s) {
    return s->width < s->height ? s->width : s->height;
}

static int longer_side(const thaw_surveyed *s) {
    return s->width > s->height ? s->width : s->height;
}

static void say_sides(const thaw_surveyed *s, char why[WHY]) {
    snprintf(why, WHY, "%d x %d", s->width, s->height);
}

static bool is_tiny(const collector *c, size_t i, thaw_found *found, char why[WHY]) {
    (void)found;
    if (!is_read(c->f, i) || shorter_side(of(c->f, i)) >= c->limits->least_side) return false;
    say_sides(of(c->f, i), why);
    return true;
}

static bool is_narrow(const collector *c, size_t i, thaw_found *found, char why[WHY]) {
    (void)found;
    if (!is_read(c->f, i) || longer_side(of(c->f, i)) <= MOST_ASPECT * shorter_side(of(c->f, i)))
        return false;
    say_sides(of(c->f, i), why);
    return true;
}

static thaw_status find_unreadable(collector *c, thaw_error *err) {
    size_t n = c->f->survey->dataset->n;
    c->is = is_unreadable;
    THAW_TRY(collect(c, err));
    bool fails = thaw_opt_limit_exceeded(c->limits->max_bad, c->n, n);
    return add_collected(c, "unreadable", fails ? THAW_FINDING_FAILS : THAW_FINDING_WARN,
                         fails ? "unreadable, more than data.max_bad allows"
                               : "which a training sets aside: unreadable",
                         "repair or remove them; what is no picture can also lie elsewhere, or "
                         "raise data.max_bad",
                         err);
}

static thaw_status find_odd(collector *c, thaw_error *err) {
    c->is = is_misnamed;
    THAW_TRY(collect(c, err));
    THAW_TRY(add_collected(c, "extension", THAW_FINDING_NOTE,
                           "of another format than the file's name says; the content decides, here "
                           "and in a training",
                           NULL, err));
    c->is = is_uniform;
    THAW_TRY(collect(c, err));
    THAW_TRY(add_collected(c, "uniform", THAW_FINDING_WARN,
                           "of one colour: there is nothing to learn from",
                           "remove them, unless the class means just that", err));
    c->is = is_tiny;
    THAW_TRY(collect(c, err));
    const char *tiny =
        thaw_arena_printf(&c->f->arena, "with a side below %d pixels%s", c->limits->least_side,
                          c->limits->of_network ? ", half of what the network takes" : "");
    if (!tiny) return no_memory(err);
    THAW_TRY(add_collected(c, "tiny", THAW_FINDING_WARN, tiny,
                           c->limits->of_network ? "take larger ones, or a smaller image.size"
                                                 : "look whether thumbnails lie among the pictures",
                           err));
    c->is = is_narrow;
    THAW_TRY(collect(c, err));
    return add_collected(c, "narrow", THAW_FINDING_WARN,
                         "more than three times as long as wide: most of each is cut off",
                         "cut them by hand, or image.fit = squash", err);
}

/* ---- pairs ------------------------------------------------------------------------------------- */

static bool shares_bytes(const thaw_findings *f, size_t i, size_t k) {
    const thaw_alike *all = f->survey->alike.of;
    return all[i].first == all[k].first;
}

/* How the two came to be in one group, by way of its leader. */
static void say_likeness(const thaw_findings *f, size_t i, size_t k, char why[WHY]) {
    const thaw_alike *all = f->survey->alike.of;
    if (shares_bytes(f, i, k)) {
        snprintf(why, WHY, "the same bytes");
        return;
    }
    int bits = __builtin_popcountll(f->survey->looks[i].bits ^ f->survey->looks[k].bits);
    bool mirrored = all[i].mirrored != all[k].mirrored;
    if (mirrored)
        bits = __builtin_popcountll(thaw_look_mirrored(f->survey->looks[i].bits) ^
                                    f->survey->looks[k].bits);
    double correlation = thaw_look_compare(&f->survey->looks[i], &f->survey->looks[k], mirrored);
    snprintf(why, WHY, "distance %d of 63, correlation %.3f%s", bits, correlation,
             mirrored ? ", mirrored" : "");
}

static bool is_across_splits(const collector *c, size_t i, thaw_found *found, char why[WHY]) {
    const thaw_twins *t = c->twin[i];
    if (!t || t->earlier == i) return false;
    found->like = t->earlier;
    say_likeness(c->f, i, found->like, why);
    return true;
}

static bool is_across_classes(const collector *c, size_t i, thaw_found *found, char why[WHY]) {
    const thaw_twins *t = c->twin[i];
    if (!t || t->stranger == i) return false;
    found->like = t->stranger;
    say_likeness(c->f, i, found->like, why);
    return true;
}

/* Twice in one class of one split; what is across them is said already. */
static bool is_again(const collector *c, size_t i, size_t k) {
    const thaw_dataset *d = c->f->survey->dataset;
    return is_read(c->f, i) && !c->twin[i] && k != i && d->split[i] == d->split[k] &&
           d->label[i] == d->label[k];
}

static bool is_copy(const collector *c, size_t i, thaw_found *found, char why[WHY]) {
    (void)why;
    found->like = c->f->survey->alike.of[i].first;
    return is_again(c, i, found->like);
}

static bool is_alike(const collector *c, size_t i, thaw_found *found, char why[WHY]) {
    found->like = c->f->survey->alike.of[i].leader;
    if (!is_again(c, i, found->like) || c->f->survey->alike.of[i].first != i) return false;
    say_likeness(c->f, i, found->like, why);
    return true;
}

static void note_twins(const thaw_lint *lint, const thaw_twins **twin) {
    for (size_t i = 0; i < lint->n_twins; i++)
        if (!twin[lint->twins[i].picture]) twin[lint->twins[i].picture] = &lint->twins[i];
}

/* twin: pairs by their bytes, or without; of the pictures of `bytes` what is there is known already. */
/* by_bytes: the pairs that c->twin has are those of the same bytes, otherwise they only look alike. */
static thaw_status find_across(collector *c, bool by_bytes, thaw_error *err) {
    c->is = is_across_splits;
    THAW_TRY(collect(c, err));
    THAW_TRY(add_collected(
        c, by_bytes ? "copies_across_splits" : "alike_across_splits", THAW_FINDING_WARN,
        by_bytes
            ? "of the validation or the test with the same bytes as one of another split: what "
              "is measured there is too good"
            : "of the validation or the test with the look of one of another split "
              "(re-encoded, scaled, brighter, mirrored): what is measured there is too good",
        by_bytes ? "remove one of each two, or give data.group, so that both stay on one side"
                 : "of each two that are one picture remove one, or give data.group, so that both "
                   "stay on one side",
        err));
    c->is = is_across_classes;
    THAW_TRY(collect(c, err));
    return add_collected(
        c, by_bytes ? "copies_across_classes" : "alike_across_classes", THAW_FINDING_WARN,
        by_bytes ? "with the same bytes as one of another class: one label is wrong"
                 : "with the look of one of another class: one label may be wrong",
        "keep the one whose class is right", err);
}

static thaw_status find_pairs(collector *c, thaw_error *err) {
    const thaw_survey *s = c->f->survey;
    size_t n = s->dataset->n;
    thaw_arena *arena = &c->f->arena;
    thaw_lint same, alike;
    const thaw_twins **by_bytes = thaw_arena_array(arena, n, sizeof *by_bytes);
    const thaw_twins **by_look = thaw_arena_array(arena, n, sizeof *by_look);
    thaw_hash *groups = thaw_arena_array(arena, n, sizeof *groups);
    if (!by_bytes || !by_look || !groups) return no_memory(err);
    for (size_t i = 0; i < n; i++)
        groups[i] = (thaw_hash){s->alike.of[i].leader, 0};
    THAW_TRY(thaw_lint_look(&same, s->dataset, s->keys, s->unread, arena, err));
    THAW_TRY(thaw_lint_look(&alike, s->dataset, groups, s->unread, arena, err));
    note_twins(&same, by_bytes);
    c->twin = by_bytes;
    THAW_TRY(find_across(c, true, err));
    note_twins(&alike, by_look);
    for (size_t i = 0; i < n; i++)
        if (by_bytes[i]) by_look[i] = NULL;
    c->twin = by_look;
    THAW_TRY(find_across(c, false, err));
    for (size_t i = 0; i < n; i++)
        if (by_bytes[i]) by_look[i] = by_bytes[i];
    c->is = is_copy;
    THAW_TRY(collect(c, err));
    THAW_TRY(add_collected(c, "copies", THAW_FINDING_NOTE,
                           "with the same bytes as another one of their class and split: each copy "
                           "counts once more",
                           "remove them, unless they are meant to", err));
    c->is = is_alike;
    THAW_TRY(collect(c, err));
    return add_collected(c, "alike", THAW_FINDING_NOTE,
                         "with the look of another one of their class and split", NULL, err);
}

/* ---- classes ----------------------------------------------------------------------------------- */

/* A finding about classes, whose names stand in it already. */
static thaw_status add_classes(thaw_findings *f, const char *kind, thaw_finding_level level,
                               const char *text, const char *advice, thaw_error *err) {
    thaw_finding finding = {.kind = kind, .level = level, .text = text, .advice = advice};
    return thaw_findings_add(f, &finding, err);
}

static size_t to_train(const thaw_findings *f, size_t k) {
    return f->counts[k][THAW_SPLIT_TRAIN];
}

/* Adds a class to a list in a sentence, of which only the first are named. */
static void name_class(const thaw_findings *f, thaw_text *names, size_t n, size_t k) {
    if (n < MOST_NAMED)
        thaw_text_add(names, "%s'%.80s' (%zu)", n ? ", " : "", f->survey->dataset->class_name[k],
                      to_train(f, k));
}

static thaw_status find_small(thaw_findings *f, thaw_error *err) {
    size_t n_none = 0, n_few = 0;
    thaw_text none = {0}, few = {0};
    for (size_t k = 0; k < f->survey->dataset->n_classes; k++) {
        if (to_train(f, k) == 0)
            name_class(f, &none, n_none++, k);
        else if (to_train(f, k) < FEW)
            name_class(f, &few, n_few++, k);
    }
    if (n_none)
        THAW_TRY(
            add_classes(f, "no_pictures", THAW_FINDING_FAILS,
                        thaw_arena_printf(&f->arena, "%zu %s no readable picture to train on: %s%s",
                                          n_none, n_none == 1 ? "class has" : "classes have",
                                          none.text, n_none > MOST_NAMED ? " and more" : ""),
                        "add pictures, or remove the class", err));
    if (!n_few) return THAW_OK;
    return add_classes(
        f, "few_pictures", THAW_FINDING_WARN,
        thaw_arena_printf(&f->arena, "%zu %s fewer than %d pictures to train on: %s%s", n_few,
                          n_few == 1 ? "class has" : "classes have", FEW, few.text,
                          n_few > MOST_NAMED ? " and more" : ""),
        "add pictures, or put classes together; views = 4 makes a little more of them", err);
}

static thaw_status find_imbalance(thaw_findings *f, thaw_error *err) {
    size_t fewest = 0, most = 0;
    for (size_t k = 0; k < f->survey->dataset->n_classes; k++) {
        if (to_train(f, k) < to_train(f, fewest)) fewest = k;
        if (to_train(f, k) > to_train(f, most)) most = k;
    }
    if (!to_train(f, fewest) || to_train(f, most) < MUCH_RARER * to_train(f, fewest))
        return THAW_OK;
    return add_classes(
        f, "imbalance", THAW_FINDING_WARN,
        thaw_arena_printf(&f->arena,
                          "class '%.80s' has %zu pictures to train on, and class '%.80s' %zu",
                          f->survey->dataset->class_name[most], to_train(f, most),
                          f->survey->dataset->class_name[fewest], to_train(f, fewest)),
        "head.class_weights = balanced keeps rare classes from being forgotten, and, where layers "
        "below the head are trained, top.sampling = balanced; look at the balanced accuracy",
        err);
}

static thaw_status find_names(thaw_findings *f, thaw_error *err) {
    const thaw_dataset *d = f->survey->dataset;
    for (size_t k = 0; k < d->n_classes; k++)
        if (!thaw_json_holds(d->class_name[k]))
            return add_classes(
                f, "class_name", THAW_FINDING_FAILS,
                thaw_arena_printf(&f->arena, "the name of the class '%.120s' is not UTF-8",
                                  d->class_name[k]),
                "rename it", err);
    return THAW_OK;
}

/* ---- what tells classes apart, and should not -------------------------------------------------- */

/* Something that has nothing to do with what a picture shows, as a number. */
typedef struct telltale {
    const char *kind, *advice;
    uint64_t (*value)(const thaw_findings *f, size_t i);
    void (*say)(const thaw_findings *f, size_t i, char why[WHY]);
} telltale;

static uint64_t value_of_format(const thaw_findings *f, size_t i) {
    size_t k = 0;
    while (k < f->n_formats && strcmp(f->formats[k].name, of(f, i)->format) != 0)
        k++;
    return k;
}

static void say_format(const thaw_findings *f, size_t i, char why[WHY]) {
    snprintf(why, WHY, "of the format %s", of(f, i)->format);
}

static uint64_t value_of_grey(const thaw_findings *f, size_t i) {
    return f->survey->looks[i].grey;
}

static void say_grey(const thaw_findings *f, size_t i, char why[WHY]) {
    snprintf(why, WHY, "%s", f->survey->looks[i].grey ? "without colours" : "coloured");
}

static uint64_t value_of_sides(const thaw_findings *f, size_t i) {
    return (uint64_t)of(f, i)->width << 32 | (uint32_t)of(f, i)->height;
}

static void say_size(const thaw_findings *f, size_t i, char why[WHY]) {
    snprintf(why, WHY, "of %d x %d pixels", of(f, i)->width, of(f, i)->height);
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
        if (is_read(f, i) && d->split[i] == THAW_SPLIT_TRAIN)
            all[n++] = (valued){t->value(f, i), d->label[i], i};
    qsort(all, n, sizeof *all, compare_valued);
    find_usual(all, n, of_class);
    for (size_t k = 0; k < d->n_classes; k++) {
        const usual *u = &of_class[k];
        size_t own = to_train(f, k), others = n - own, theirs = u->n_all - u->n;
        if (own < FEW || others < FEW || (double)u->n < mostly * (double)own ||
            (double)theirs > rarely * (double)others)
            continue;
        char what[WHY];
        t->say(f, u->picture, what);
        return add_classes(f, t->kind, THAW_FINDING_WARN,
                           thaw_arena_printf(&f->arena,
                                             "%zu of %zu pictures of class '%.80s' to train on are "
                                             "%s, and %zu of %zu others: a network can tell the "
                                             "class by that alone",
                                             u->n, own, d->class_name[k], what, theirs, others),
                           t->advice, err);
    }
    return THAW_OK;
}

static thaw_status find_telltales(thaw_findings *f, thaw_error *err) {
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
    thaw_status status = all && of_class ? THAW_OK : no_memory(err);
    for (size_t t = 0; status == THAW_OK && t < sizeof tales / sizeof *tales; t++)
        status = find_telltale(f, &tales[t], all, of_class, err);
    free(all);
    free(of_class);
    return status;
}

/* Where so many pictures are nearly one that the search gave up on some. */
static thaw_status find_cut_short(thaw_findings *f, thaw_error *err) {
    size_t n = f->survey->alike.n_cut_short;
    if (!n) return THAW_OK;
    return add_classes(f, "alike_cut_short", THAW_FINDING_NOTE,
                       thaw_arena_printf(&f->arena,
                                         "%zu %s so much like others that they were compared with "
                                         "some of them only: there may be more copies",
                                         n, n == 1 ? "picture looks" : "pictures look"),
                       NULL, err);
}

/* ---- the whole --------------------------------------------------------------------------------- */

/* What the dataset has to say: what was skipped, which classes lack pictures of a split. */
static thaw_status take_notes(thaw_findings *f, thaw_error *err) {
    enum { MOST_NOTES = 24 };
    const thaw_dataset *d = f->survey->dataset;
    for (size_t i = 0; i < d->n_notes && i < MOST_NOTES; i++)
        THAW_TRY(add_classes(f, "folder", THAW_FINDING_NOTE, d->notes[i], NULL, err));
    return THAW_OK;
}

thaw_status thaw_findings_make(thaw_findings *f, const thaw_survey *survey,
                               const thaw_findings_limits *limits, thaw_error *err) {
    *f = (thaw_findings){.survey = survey};
    collector c = {.f = f, .limits = limits};
    THAW_TRY(count(f, err));
    THAW_TRY(find_names(f, err));
    THAW_TRY(find_small(f, err));
    THAW_TRY(find_unreadable(&c, err));
    THAW_TRY(find_pairs(&c, err));
    THAW_TRY(find_cut_short(f, err));
    THAW_TRY(find_imbalance(f, err));
    THAW_TRY(find_telltales(f, err));
    THAW_TRY(find_odd(&c, err));
    return take_notes(f, err);
}
