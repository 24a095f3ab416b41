/* Findings about pictures: those that have something in common, and pairs of them. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "findings_parts.h"

enum { MOST_ASPECT = 3 }; /* The centre of a longer picture is less than a third of it. */

/* ---- pictures with something in common --------------------------------------------------------- */

/* What is looked for: fills in `like`, which is the picture itself, where there is another one, and why. */
typedef struct collector {
    thaw_findings *f;
    const thaw_findings_limits *limits;
    bool (*is)(const struct collector *c, size_t i, thaw_found *found, char why[THAW__WHY]);
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
            char why[THAW__WHY] = "";
            thaw_found found = {i, i, NULL};
            if (!c->is(c, i, &found, why)) continue;
            if (pass && *why) {
                found.why = thaw_arena_pack(&c->f->arena, why, strlen(why));
                if (!found.why) return thaw__findings_no_memory(err);
            }
            if (pass) c->list[n] = found;
            n++;
        }
        if (!n) return THAW_OK;
        if (!pass) c->list = thaw_arena_array(&c->f->arena, n, sizeof *c->list);
        if (!c->list) return thaw__findings_no_memory(err);
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

static bool is_unreadable(const collector *c, size_t i, thaw_found *found, char why[THAW__WHY]) {
    (void)why;
    found->why = thaw__surveyed(c->f, i)->problem;
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

static bool is_misnamed(const collector *c, size_t i, thaw_found *found, char why[THAW__WHY]) {
    (void)found;
    const char *extension = extension_of(c->f->survey->dataset, i), *says = format_of(extension);
    if (!thaw__is_read(c->f, i) || !says || strcmp(says, thaw__surveyed(c->f, i)->format) == 0)
        return false;
    snprintf(why, THAW__WHY, "it is a %s", thaw__surveyed(c->f, i)->format);
    return true;
}

static bool is_uniform(const collector *c, size_t i, thaw_found *found, char why[THAW__WHY]) {
    (void)found;
    (void)why;
    return thaw__is_read(c->f, i) && c->f->survey->looks[i].uniform;
}

static int shorter_side(const thaw_surveyed *s) {
    return s->width < s->height ? s->width : s->height;
}

static int longer_side(const thaw_surveyed *s) {
    return s->width > s->height ? s->width : s->height;
}

static void say_sides(const thaw_surveyed *s, char why[THAW__WHY]) {
    snprintf(why, THAW__WHY, "%d x %d", s->width, s->height);
}

static bool is_tiny(const collector *c, size_t i, thaw_found *found, char why[THAW__WHY]) {
    (void)found;
    if (!thaw__is_read(c->f, i) || shorter_side(thaw__surveyed(c->f, i)) >= c->limits->least_side)
        return false;
    say_sides(thaw__surveyed(c->f, i), why);
    return true;
}

static bool is_narrow(const collector *c, size_t i, thaw_found *found, char why[THAW__WHY]) {
    (void)found;
    if (!thaw__is_read(c->f, i) ||
        longer_side(thaw__surveyed(c->f, i)) <= MOST_ASPECT * shorter_side(thaw__surveyed(c->f, i)))
        return false;
    say_sides(thaw__surveyed(c->f, i), why);
    return true;
}

thaw_status thaw__find_unreadable(thaw_findings *f, const thaw_findings_limits *limits,
                                  thaw_error *err) {
    collector picked = {.f = f, .limits = limits}, *c = &picked;
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

thaw_status thaw__find_odd(thaw_findings *f, const thaw_findings_limits *limits, thaw_error *err) {
    collector picked = {.f = f, .limits = limits}, *c = &picked;
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
    if (!tiny) return thaw__findings_no_memory(err);
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
static void say_likeness(const thaw_findings *f, size_t i, size_t k, char why[THAW__WHY]) {
    const thaw_alike *all = f->survey->alike.of;
    if (shares_bytes(f, i, k)) {
        snprintf(why, THAW__WHY, "the same bytes");
        return;
    }
    int bits = __builtin_popcountll(f->survey->looks[i].bits ^ f->survey->looks[k].bits);
    bool mirrored = all[i].mirrored != all[k].mirrored;
    if (mirrored)
        bits = __builtin_popcountll(thaw_look_mirrored(f->survey->looks[i].bits) ^
                                    f->survey->looks[k].bits);
    double correlation = thaw_look_compare(&f->survey->looks[i], &f->survey->looks[k], mirrored);
    snprintf(why, THAW__WHY, "distance %d of 63, correlation %.3f%s", bits, correlation,
             mirrored ? ", mirrored" : "");
}

static bool is_across_splits(const collector *c, size_t i, thaw_found *found, char why[THAW__WHY]) {
    const thaw_twins *t = c->twin[i];
    if (!t || t->earlier == i) return false;
    found->like = t->earlier;
    say_likeness(c->f, i, found->like, why);
    return true;
}

static bool is_across_classes(const collector *c, size_t i, thaw_found *found,
                              char why[THAW__WHY]) {
    const thaw_twins *t = c->twin[i];
    if (!t || t->stranger == i) return false;
    found->like = t->stranger;
    say_likeness(c->f, i, found->like, why);
    return true;
}

/* Twice in one class of one split; what is across them is said already. */
static bool is_again(const collector *c, size_t i, size_t k) {
    const thaw_dataset *d = c->f->survey->dataset;
    return thaw__is_read(c->f, i) && !c->twin[i] && k != i && d->split[i] == d->split[k] &&
           d->label[i] == d->label[k];
}

static bool is_copy(const collector *c, size_t i, thaw_found *found, char why[THAW__WHY]) {
    (void)why;
    found->like = c->f->survey->alike.of[i].first;
    return is_again(c, i, found->like);
}

static bool is_alike(const collector *c, size_t i, thaw_found *found, char why[THAW__WHY]) {
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

/* Where so many pictures are nearly one that the search gave up on some. */
static thaw_status find_cut_short(thaw_findings *f, thaw_error *err) {
    size_t n = f->survey->alike.n_cut_short;
    if (!n) return THAW_OK;
    return thaw__findings_say(
        f, "alike_cut_short", THAW_FINDING_NOTE,
        thaw_arena_printf(&f->arena,
                          "%zu %s so much like others that they were compared with "
                          "some of them only: there may be more copies",
                          n, n == 1 ? "picture looks" : "pictures look"),
        NULL, err);
}

thaw_status thaw__find_pairs(thaw_findings *f, thaw_error *err) {
    collector picked = {.f = f}, *c = &picked;
    const thaw_survey *s = c->f->survey;
    size_t n = s->dataset->n;
    thaw_arena *arena = &c->f->arena;
    thaw_lint same, alike;
    const thaw_twins **by_bytes = thaw_arena_array(arena, n, sizeof *by_bytes);
    const thaw_twins **by_look = thaw_arena_array(arena, n, sizeof *by_look);
    thaw_hash *groups = thaw_arena_array(arena, n, sizeof *groups);
    if (!by_bytes || !by_look || !groups) return thaw__findings_no_memory(err);
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
    THAW_TRY(add_collected(c, "alike", THAW_FINDING_NOTE,
                           "with the look of another one of their class and split", NULL, err));
    return find_cut_short(f, err);
}
