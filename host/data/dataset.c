#include "dataset.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "scan.h"
#include "text.h"

enum {
    NOTES_MAX = 4 * THAW_SPLIT_COUNT + 1, /* add_folder and note_order write no more. */
    LISTED_MAX = 5,                       /* Names that a sentence lists before it only counts. */
};

typedef struct class_entry {
    const char *name;
    size_t label;
} class_entry;

/* A dataset under construction. The arrays grow outside the arena and are copied to it at the end,
 * at their size. */
typedef struct builder {
    thaw_dataset *dataset;
    thaw_error *err;
    thaw_scan scan;
    class_entry *by_name; /* [n_classes], sorted by strcmp. */
    const char **notes;   /* [NOTES_MAX] */
    size_t n, capacity;
    uint32_t *label;
    uint8_t *split, *source;
    const char **name;
} builder;

static thaw_status fail_memory(thaw_error *err) {
    return thaw_fail_memory(err, "for the index of the dataset");
}

const char *thaw_split_name(thaw_split split) {
    static const char *const names[] = {[THAW_SPLIT_TRAIN] = "train",
                                        [THAW_SPLIT_VALIDATION] = "validation",
                                        [THAW_SPLIT_TEST] = "test"};
    return names[split];
}

/* ---- growing -------------------------------------------------------------------------------- */

static bool grow(void *array, size_t capacity, size_t size) {
    void *bigger = realloc(*(void **)array, capacity * size);
    if (bigger) *(void **)array = bigger;
    return bigger != NULL;
}

static bool reserve(builder *b, size_t n) {
    if (n <= b->capacity) return true;
    size_t capacity = n > 2 * b->capacity ? n : 2 * b->capacity;
    if (!grow(&b->label, capacity, sizeof *b->label)) return false;
    if (!grow(&b->split, capacity, sizeof *b->split)) return false;
    if (!grow(&b->source, capacity, sizeof *b->source)) return false;
    if (!grow(&b->name, capacity, sizeof *b->name)) return false;
    b->capacity = capacity;
    return true;
}

/* Appends the scanned files as pictures of one class. */
static thaw_status append_scanned(builder *b, size_t label, thaw_split split) {
    if (!reserve(b, b->n + b->scan.n)) return fail_memory(b->err);
    for (size_t i = 0; i < b->scan.n; i++, b->n++) {
        b->label[b->n] = (uint32_t)label;
        b->split[b->n] = b->source[b->n] = (uint8_t)split;
        b->name[b->n] = b->scan.names[i];
    }
    return THAW_OK;
}

static void *copy_array(thaw_arena *arena, const void *array, size_t n, size_t size) {
    void *copy = thaw_arena_array(arena, n, size);
    return copy && n ? memcpy(copy, array, n * size) : copy;
}

static thaw_status finish(builder *b) {
    thaw_dataset *d = b->dataset;
    d->n = b->n;
    d->notes = b->notes;
    d->label = copy_array(&d->arena, b->label, b->n, sizeof *b->label);
    d->split = copy_array(&d->arena, b->split, b->n, sizeof *b->split);
    d->source = copy_array(&d->arena, b->source, b->n, sizeof *b->source);
    d->name = copy_array(&d->arena, b->name, b->n, sizeof *b->name);
    return d->label && d->split && d->source && d->name ? THAW_OK : fail_memory(b->err);
}

static void free_builder(builder *b) {
    thaw_scan_free(&b->scan);
    free(b->by_name);
    free(b->label);
    free(b->split);
    free(b->source);
    free(b->name);
}

/* ---- notes ---------------------------------------------------------------------------------- */

/* Keeps a sentence from thaw_arena_printf, NULL when there was no memory for it. */
static thaw_status add_note(builder *b, const char *note) {
    if (!note) return fail_memory(b->err);
    assert(b->dataset->n_notes < NOTES_MAX);
    b->notes[b->dataset->n_notes++] = note;
    return THAW_OK;
}

/* "'a', 'b' and 3 more" for the classes that missing marks; NULL without memory. */
static const char *list_missing(builder *b, const bool *missing, size_t n_missing) {
    thaw_dataset *d = b->dataset;
    const char *text = "";
    size_t listed = 0;
    for (size_t i = 0; i < d->n_classes && listed < LISTED_MAX && text; i++)
        if (missing[i])
            text = thaw_arena_printf(&d->arena, "%s%s'%s'", text, listed++ ? ", " : "",
                                     d->class_name[i]);
    if (text && n_missing > listed)
        text = thaw_arena_printf(&d->arena, "%s and %zu more", text, n_missing - listed);
    return text;
}

static thaw_status note_missing(builder *b, thaw_split split, const bool *missing) {
    size_t n_missing = 0;
    for (size_t i = 0; i < b->dataset->n_classes; i++)
        n_missing += missing[i];
    if (!n_missing) return THAW_OK;
    const char *list = list_missing(b, missing, n_missing);
    if (!list) return fail_memory(b->err);
    return add_note(b,
                    thaw_arena_printf(&b->dataset->arena, "the %s folder '%s' has no picture of %s",
                                      thaw_split_name(split), b->dataset->folder[split], list));
}

/* Says how many of something there are, unless there are none. */
static thaw_status note_count(builder *b, thaw_split split, const char *what, size_t n) {
    if (!n) return THAW_OK;
    return add_note(b, thaw_arena_printf(&b->dataset->arena, "%s in '%s': %zu", what,
                                         b->dataset->folder[split], n));
}

/* Says so where the order is not that of tools which sort by bytes. */
static thaw_status note_order(builder *b) {
    const thaw_dataset *d = b->dataset;
    for (size_t i = 0; i + 1 < d->n_classes; i++)
        if (strcmp(d->class_name[i], d->class_name[i + 1]) > 0)
            return add_note(
                b, thaw_arena_printf(&b->dataset->arena,
                                     "classes with numbers in their names are in the order "
                                     "of the numbers: '%s' comes before '%s'",
                                     d->class_name[i], d->class_name[i + 1]));
    return THAW_OK;
}

/* ---- classes -------------------------------------------------------------------------------- */

static int compare_entries(const void *a, const void *b) {
    return strcmp(((const class_entry *)a)->name, ((const class_entry *)b)->name);
}

/* Takes the class names over and prepares their look-up. */
static thaw_status take_classes(builder *b, const char *const *names, size_t n) {
    thaw_dataset *d = b->dataset;
    const char **copy = thaw_arena_array(&d->arena, n, sizeof *copy);
    b->by_name = calloc(n ? n : 1, sizeof *b->by_name);
    if (!copy || !b->by_name) return fail_memory(b->err);
    for (size_t i = 0; i < n; i++) {
        copy[i] = thaw_arena_string(&d->arena, names[i], strlen(names[i]));
        if (!copy[i]) return fail_memory(b->err);
        b->by_name[i] = (class_entry){copy[i], i};
    }
    qsort(b->by_name, n, sizeof *b->by_name, compare_entries);
    d->class_name = copy;
    d->n_classes = n;
    return THAW_OK;
}

/* Lists the class folders of a folder; there has to be one. */
static thaw_status scan_classes(builder *b, const char *folder) {
    THAW_TRY(thaw_scan_folders(&b->scan, folder, b->err));
    if (b->scan.n) return THAW_OK;
    if (b->scan.n_skipped)
        return thaw_fail(b->err, THAW_ERR_DATA,
                         "'%.600s' holds %zu files but no folder: expected one folder of pictures "
                         "for each class",
                         folder, b->scan.n_skipped);
    return thaw_fail(b->err, THAW_ERR_DATA,
                     "'%.600s' is empty: expected one folder of pictures for each class", folder);
}

static thaw_status find_classes(builder *b, const thaw_dataset_spec *spec) {
    if (spec->classes) return take_classes(b, spec->classes, spec->n_classes);
    const char *folder = b->dataset->folder[THAW_SPLIT_TRAIN];
    THAW_TRY(scan_classes(b, folder));
    if (b->scan.n == 1)
        return thaw_fail(b->err, THAW_ERR_DATA,
                         "'%.600s' has only one class, '%.120s': expected at least two folders",
                         folder, b->scan.names[0]);
    THAW_TRY(take_classes(b, b->scan.names, b->scan.n));
    return note_order(b);
}

static thaw_status fail_class(builder *b, const char *folder, const char *name) {
    const thaw_dataset *d = b->dataset;
    thaw_nearest nearest = {.word = name};
    for (size_t i = 0; i < d->n_classes; i++)
        thaw_nearest_offer(&nearest, d->class_name[i]);
    if (nearest.best)
        return thaw_fail(
            b->err, THAW_ERR_DATA,
            "class '%.120s' of '%.400s' is not one of the %zu classes of the training; "
            "did you mean '%.120s'?",
            name, folder, d->n_classes, nearest.best);
    return thaw_fail(b->err, THAW_ERR_DATA,
                     "class '%.120s' of '%.400s' is not one of the %zu classes of the training; "
                     "remove the folder or train with it",
                     name, folder, d->n_classes);
}

/* Clears missing[label] for each class that has a folder. */
static thaw_status match_classes(builder *b, const char *folder, bool *missing) {
    memset(missing, true, b->dataset->n_classes * sizeof *missing);
    for (size_t i = 0; i < b->scan.n; i++) {
        class_entry wanted = {.name = b->scan.names[i]};
        const class_entry *found = bsearch(&wanted, b->by_name, b->dataset->n_classes,
                                           sizeof *b->by_name, compare_entries);
        if (!found) return fail_class(b, folder, wanted.name);
        missing[found->label] = false;
    }
    return THAW_OK;
}

/* ---- pictures ------------------------------------------------------------------------------- */

static thaw_status add_class(builder *b, thaw_split split, size_t label, bool needed) {
    char path[PATH_MAX];
    const char *folder = b->dataset->folder[split], *name = b->dataset->class_name[label];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return thaw_fail(b->err, THAW_ERR_IO, "the path '%.600s' is too long", path);
    THAW_TRY(thaw_scan_files(&b->scan, path, b->err));
    if (needed && b->scan.n == 0)
        return thaw_fail(b->err, THAW_ERR_DATA,
                         "no image in class '%.120s' ('%.600s', other files: %zu): add some or "
                         "remove the folder",
                         name, path, b->scan.n_skipped);
    return append_scanned(b, label, split);
}

/* Adds the pictures of one folder; missing has room for a flag a class. */
static thaw_status add_folder(builder *b, thaw_split split, bool defines_classes, bool *missing) {
    thaw_dataset *d = b->dataset;
    size_t n_before = b->n, n_skipped = 0, n_loops = 0;
    THAW_TRY(scan_classes(b, d->folder[split]));
    size_t n_outside = b->scan.n_skipped;
    THAW_TRY(match_classes(b, d->folder[split], missing));
    for (size_t label = 0; label < d->n_classes; label++) {
        if (missing[label]) continue;
        THAW_TRY(add_class(b, split, label, defines_classes));
        missing[label] = b->scan.n == 0;
        n_skipped += b->scan.n_skipped;
        n_loops += b->scan.n_loops;
    }
    if (b->n == n_before)
        return thaw_fail(b->err, THAW_ERR_DATA, "no image in any class of the %s folder '%.600s'",
                         thaw_split_name(split), d->folder[split]);
    THAW_TRY(note_missing(b, split, missing));
    THAW_TRY(note_count(b, split, "files outside of the class folders, ignored,", n_outside));
    THAW_TRY(note_count(b, split, "files that are no pictures, skipped,", n_skipped));
    return note_count(b, split, "links to a folder above them, not followed,", n_loops);
}

double thaw_dataset_position(const char *name) {
    const char *slash = strrchr(name, '/');
    if (slash) name = slash + 1;
    const char *variant = strstr(name, "_nohash_");
    size_t n = variant ? (size_t)(variant - name) : strlen(name);
    thaw_hash hash = thaw_hash_bytes((thaw_hash){0, 0}, name, n);
    return (double)(hash.lo >> 11) * 0x1p-53;
}

/* Moves pictures of one class, first to end - 1, to validation. When chance leaves one side empty,
 * the outermost goes there, so that it is decided by names again. */
static void hold_out(builder *b, size_t first, size_t end, double fraction) {
    double least = 1, most = 0;
    for (size_t i = first; i < end; i++) {
        double position = thaw_dataset_position(b->name[i]);
        if (position < least) least = position;
        if (position > most) most = position;
    }
    if (least >= most) return; /* One picture, or variants of one. */
    for (size_t i = first; i < end; i++) {
        double position = thaw_dataset_position(b->name[i]);
        bool held_out = (position < fraction || position == least) && position != most;
        if (held_out) b->split[i] = THAW_SPLIT_VALIDATION;
    }
}

/* Splits the train folder, whose pictures come first and stand by class. */
static void hold_out_classes(builder *b, double fraction) {
    for (size_t first = 0, end; first < b->n && b->source[first] == THAW_SPLIT_TRAIN; first = end) {
        for (end = first + 1; end < b->n && b->label[end] == b->label[first]; end++)
            if (b->source[end] != THAW_SPLIT_TRAIN) break;
        hold_out(b, first, end, fraction);
    }
}

static thaw_status build(builder *b, const thaw_dataset_spec *spec) {
    thaw_dataset *d = b->dataset;
    for (int s = 0; s < THAW_SPLIT_COUNT; s++) {
        if (!spec->folder[s]) continue;
        size_t n = strlen(spec->folder[s]);
        while (n > 1 && spec->folder[s][n - 1] == '/')
            n--;
        d->folder[s] = thaw_arena_string(&d->arena, spec->folder[s], n);
        if (!d->folder[s]) return fail_memory(b->err);
    }
    b->notes = thaw_arena_array(&d->arena, NOTES_MAX, sizeof *b->notes);
    if (!b->notes) return fail_memory(b->err);
    THAW_TRY(find_classes(b, spec));
    bool *missing = thaw_arena_array(&d->arena, d->n_classes, sizeof *missing);
    if (!missing) return fail_memory(b->err);
    for (int s = 0; s < THAW_SPLIT_COUNT; s++)
        if (d->folder[s])
            THAW_TRY(add_folder(b, s, s == THAW_SPLIT_TRAIN && !spec->classes, missing));
    if (spec->validation_fraction > 0) hold_out_classes(b, spec->validation_fraction);
    return finish(b);
}

thaw_status thaw_dataset_open(thaw_dataset *dataset, const thaw_dataset_spec *spec,
                              thaw_error *err) {
    assert(spec->classes || spec->folder[THAW_SPLIT_TRAIN]);
    *dataset = (thaw_dataset){0};
    builder b = {.dataset = dataset, .err = err, .scan = {.arena = &dataset->arena}};
    thaw_status status = build(&b, spec);
    free_builder(&b);
    return status;
}

void thaw_dataset_close(thaw_dataset *dataset) {
    thaw_arena_free(&dataset->arena);
}

void thaw_dataset_path(const thaw_dataset *dataset, size_t i, char path[PATH_MAX]) {
    /* It fits: the scan has opened the file's folder by a path of this length. */
    snprintf(path, PATH_MAX, "%s/%s/%s", dataset->folder[dataset->source[i]],
             dataset->class_name[dataset->label[i]], dataset->name[i]);
}

size_t thaw_dataset_count(const thaw_dataset *dataset, thaw_split split) {
    size_t n = 0;
    for (size_t i = 0; i < dataset->n; i++)
        n += dataset->split[i] == split;
    return n;
}

/* ---- table ---------------------------------------------------------------------------------- */

/* Letters of a UTF-8 text, which is near enough to columns. */
static int count_letters(const char *text) {
    int n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static void write_row(FILE *out, const char *name, int width, const size_t *counts,
                      const size_t *shown) {
    for (const char *c = name; *c; c++)
        fputc((unsigned char)*c < 0x20 || *c == 0x7f ? '?' : *c, out);
    fprintf(out, "%*s", width - count_letters(name), "");
    for (int s = 0; s < THAW_SPLIT_COUNT; s++)
        if (shown[s]) fprintf(out, "  %10zu", counts[s]);
    fputc('\n', out);
}

static void write_table(FILE *out, const thaw_dataset *d, size_t (*counts)[THAW_SPLIT_COUNT]) {
    const size_t *total = counts[d->n_classes];
    int width = count_letters("class");
    for (size_t i = 0; i < d->n_classes; i++) {
        int letters = count_letters(d->class_name[i]);
        if (letters > width) width = letters;
    }
    fprintf(out, "%-*s", width, "class");
    for (int s = 0; s < THAW_SPLIT_COUNT; s++)
        if (total[s]) fprintf(out, "  %10s", thaw_split_name(s));
    fputc('\n', out);
    for (size_t i = 0; i < d->n_classes; i++)
        write_row(out, d->class_name[i], width, counts[i], total);
    write_row(out, "all", width, total, total);
}

const char *thaw_dataset_describe(const thaw_dataset *d, thaw_arena *arena) {
    size_t(*counts)[THAW_SPLIT_COUNT] = calloc(d->n_classes + 1, sizeof *counts);
    char *table = NULL;
    size_t n = 0;
    FILE *out = counts ? open_memstream(&table, &n) : NULL;
    const char *text = NULL;
    if (out) {
        for (size_t i = 0; i < d->n; i++) {
            counts[d->label[i]][d->split[i]]++;
            counts[d->n_classes][d->split[i]]++;
        }
        write_table(out, d, counts);
        if (thaw_text_close(out, &table)) text = thaw_arena_string(arena, table, n);
    }
    free(table);
    free(counts);
    return text;
}
