#include "dataset.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "classes.h"
#include "file.h"
#include "hold_out.h"
#include "scan.h"
#include "sets.h"
#include "text.h"

enum {
    NOTES_MAX = 7 * THAW_SPLIT_COUNT + 6, /* add_source, find_classes, hold_out write no more. */
    LISTED_MAX = 5,                       /* Names that a sentence lists before it only counts. */
};
#define NOWHERE SIZE_MAX

/* What is read for one split: a folder of classes, or a list. */
typedef struct source {
    const char *path;           /* For sentences. */
    const thaw_list *list;      /* NULL: a folder. */
    const char *const *classes; /* [n_classes] */
    size_t n_classes;
} source;

/* A dataset under construction. The arrays grow outside the arena and are copied to it at the end,
 * at their size. */
typedef struct builder {
    thaw_dataset *dataset;
    thaw_error *err;
    thaw_scan scan;
    thaw_classes classes;
    source from;     /* That is being read. */
    size_t *place;   /* [classes.n], of each class among those of `from`; NOWHERE: not there. */
    size_t *unknown; /* [n_unknown], classes of `from` that are none. */
    size_t n_unknown;
    thaw_stranger *strangers; /* [n_strangers] */
    size_t n_strangers, strangers_capacity;
    const char **notes; /* [NOTES_MAX] */
    bool has_groups;    /* A list's column says what stays together. */
    bool several;       /* Labels are sets. */
    thaw_sets sets;     /* Then. */
    size_t *set; /* [classes of `from`], of each its set; NOWHERE: it has a class that is none. */
    size_t n, capacity;
    uint32_t *label;
    uint8_t *split, *source;
    const char **name, **key; /* key: what decides on which side a picture falls. */
} builder;

static thaw_status fail_memory(thaw_error *err) {
    return thaw_fail_memory(err, "for the index of the dataset");
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
    if (!grow(&b->key, capacity, sizeof *b->key)) return false;
    b->capacity = capacity;
    return true;
}

/* Appends the scanned files as pictures of one class. */
static thaw_status append_scanned(builder *b, size_t label, thaw_split split) {
    if (!reserve(b, b->n + b->scan.n)) return fail_memory(b->err);
    for (size_t i = 0; i < b->scan.n; i++, b->n++) {
        b->label[b->n] = (uint32_t)label;
        b->split[b->n] = b->source[b->n] = (uint8_t)split;
        b->name[b->n] = b->key[b->n] = b->scan.names[i];
    }
    return THAW_OK;
}

/* Appends class k of the list that is being read. */
static thaw_status append_listed(builder *b, size_t k, size_t label, thaw_split split) {
    const thaw_list *list = b->from.list;
    size_t begin = b->from.list->first[k], end = b->from.list->first[k + 1];
    if (!reserve(b, b->n + end - begin)) return fail_memory(b->err);
    for (size_t i = begin; i < end; i++, b->n++) {
        const thaw_listed *row = &list->rows[i];
        const char *name = thaw_arena_pack(&b->dataset->arena, row->path, strlen(row->path));
        if (!name) return fail_memory(b->err);
        b->label[b->n] = (uint32_t)label;
        b->split[b->n] = b->source[b->n] = (uint8_t)split;
        b->name[b->n] = name;
        b->key[b->n] = row->group ? row->group : name + (thaw_list_name(list, row) - row->path);
    }
    return THAW_OK;
}

/* Appends the pictures of class k of what is being read, which is none of the dataset's; they are n, and, of a folder,
 * scanned. */
static thaw_status append_strangers(builder *b, size_t k, size_t n) {
    thaw_arena *arena = &b->dataset->arena;
    const source *from = &b->from;
    const char *root =
        from->list ? from->list->root : thaw_file_join(arena, from->path, from->classes[k]);
    const char *class_name = thaw_arena_string(arena, from->classes[k], strlen(from->classes[k]));
    size_t needed = b->n_strangers + n;
    if (needed > b->strangers_capacity) {
        if (!grow(&b->strangers, 2 * needed, sizeof *b->strangers)) return fail_memory(b->err);
        b->strangers_capacity = 2 * needed;
    }
    for (size_t i = 0; root && class_name && i < n; i++) {
        const char *name =
            from->list ? from->list->rows[from->list->first[k] + i].path : b->scan.names[i];
        const char *path = thaw_file_join(arena, root, name);
        if (!path) return fail_memory(b->err);
        b->strangers[b->n_strangers++] = (thaw_stranger){path, class_name};
    }
    return root && class_name ? THAW_OK : fail_memory(b->err);
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
    if (b->several) THAW_TRY(thaw_sets_finish(&b->sets, &d->arena, &d->sets, b->err));
    d->n_strangers = b->n_strangers;
    d->strangers = copy_array(&d->arena, b->strangers, b->n_strangers, sizeof *b->strangers);
    bool complete = d->label && d->split && d->source && d->name && d->strangers;
    return complete ? THAW_OK : fail_memory(b->err);
}

static void free_builder(builder *b) {
    thaw_scan_free(&b->scan);
    thaw_sets_free(&b->sets);
    free(b->label);
    free(b->split);
    free(b->source);
    free(b->name);
    free(b->key);
    free(b->strangers);
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

/* Says what the classes that missing marks lack; which ends with "of" or its like. */
static thaw_status note_missing(builder *b, const bool *missing, const char *what) {
    size_t n_missing = 0;
    for (size_t i = 0; i < b->dataset->n_classes; i++)
        n_missing += missing[i];
    if (!n_missing) return THAW_OK;
    const char *list = list_missing(b, missing, n_missing);
    if (!list || !what) return fail_memory(b->err);
    return add_note(b, thaw_arena_printf(&b->dataset->arena, "%s %s", what, list));
}

/* Says how many of something there are, unless there are none. */
static thaw_status note_count(builder *b, const char *what, size_t n) {
    if (!n) return THAW_OK;
    return add_note(
        b, thaw_arena_printf(&b->dataset->arena, "%s in '%s': %zu", what, b->from.path, n));
}

/* Says so where the order is not that of tools which sort by bytes. */
static thaw_status note_order(builder *b) {
    const thaw_dataset *d = b->dataset;
    if (b->from.list && b->from.list->ids) return THAW_OK; /* It is that of the ids. */
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

/* A folder of files: where an archive of another system was unpacked, their names say so. */
static thaw_status fail_files(builder *b, const char *folder) {
    size_t n_files = b->scan.n_skipped;
    THAW_TRY(thaw_scan_files(&b->scan, folder, b->err));
    for (size_t i = 0; i < b->scan.n; i++)
        if (strchr(b->scan.names[i], '\\'))
            return thaw_fail(b->err, THAW_ERR_DATA,
                             "'%.400s' holds %zu files but no folder, and names with \\ such as "
                             "'%.200s': the archive was packed on Windows; unpack it so that the "
                             "parts of these names become folders",
                             folder, n_files, b->scan.names[i]);
    return thaw_fail(b->err, THAW_ERR_DATA,
                     "'%.600s' holds %zu files but no folder: expected one folder of pictures for "
                     "each class",
                     folder, n_files);
}

/* Lists the class folders of a folder; there has to be one. */
static thaw_status scan_classes(builder *b, const char *folder) {
    THAW_TRY(thaw_scan_folders(&b->scan, folder, b->err));
    if (b->scan.n) return THAW_OK;
    if (b->scan.n_skipped) return fail_files(b, folder);
    return thaw_fail(b->err, THAW_ERR_DATA,
                     "'%.600s' is empty: expected one folder of pictures for each class", folder);
}

/* Finds out which classes the folder or list of a split has. */
static thaw_status open_source(builder *b, const thaw_dataset_spec *spec, thaw_split split) {
    thaw_dataset *d = b->dataset;
    const thaw_list *list = spec->list[split];
    b->from = (source){.path = list ? d->list[split] : d->folder[split], .list = list};
    if (list) {
        b->from.classes = list->classes;
        b->from.n_classes = list->n_classes;
        return THAW_OK;
    }
    THAW_TRY(scan_classes(b, d->folder[split]));
    const char **classes = thaw_arena_array(&d->arena, b->scan.n, sizeof *classes);
    if (!classes) return fail_memory(b->err);
    memcpy(classes, b->scan.names, b->scan.n * sizeof *classes);
    b->from.classes = classes;
    b->from.n_classes = b->scan.n;
    return THAW_OK;
}

static thaw_status fail_single(builder *b, const char *name) {
    const char *folder = b->from.path;
    if (b->from.list)
        return thaw_fail(b->err, THAW_ERR_DATA,
                         "'%.600s' has only one class, '%.120s': expected at least two", folder,
                         name);
    const char *path = thaw_file_join(&b->dataset->arena, folder, name);
    if (!path) return fail_memory(b->err);
    THAW_TRY(thaw_scan_folders(&b->scan, path, b->err));
    if (b->scan.n >= 2)
        return thaw_fail(b->err, THAW_ERR_DATA,
                         "'%.400s' has only one class, '%.120s': expected at least two folders; "
                         "there are %zu in '%.400s', is that the one?",
                         folder, name, b->scan.n, path);
    return thaw_fail(b->err, THAW_ERR_DATA,
                     "'%.600s' has only one class, '%.120s': expected at least two folders", folder,
                     name);
}

static thaw_status take_classes(builder *b, const char *const *names, size_t n) {
    thaw_dataset *d = b->dataset;
    THAW_TRY(thaw_classes_take(&b->classes, names, n, &d->arena, b->err));
    d->class_name = b->classes.name;
    d->n_classes = n;
    return THAW_OK;
}

static thaw_status note_alike(builder *b) {
    size_t pair[2];
    if (!thaw_classes_alike(&b->classes, pair)) return THAW_OK;
    return add_note(b,
                    thaw_arena_printf(&b->dataset->arena,
                                      "two classes look the same, '%s' and '%s': their names "
                                      "differ in Unicode normalisation; are they meant to be one?",
                                      b->classes.name[pair[0]], b->classes.name[pair[1]]));
}

static thaw_status find_classes(builder *b, const thaw_dataset_spec *spec) {
    if (spec->classes) return take_classes(b, spec->classes, spec->n_classes);
    THAW_TRY(open_source(b, spec, THAW_SPLIT_TRAIN));
    const char *const *names = b->from.classes;
    size_t n = b->from.n_classes;
    if (b->several)
        THAW_TRY(thaw_sets_classes(b->from.classes, b->from.n_classes, &b->dataset->arena, &names,
                                   &n, b->err));
    if (n == 0)
        return thaw_fail(b->err, THAW_ERR_DATA, "'%.600s' names no class of any picture",
                         b->from.path);
    if (n == 1) return fail_single(b, names[0]);
    THAW_TRY(take_classes(b, names, n));
    THAW_TRY(note_order(b));
    return note_alike(b);
}

static thaw_status fail_class(builder *b, const char *name) {
    thaw_text advice = {0};
    thaw_classes_advise(&b->classes, name, &advice);
    return thaw_fail(b->err, THAW_ERR_DATA,
                     "class '%.120s' of '%.400s' is not one of the %zu classes of the training%s",
                     name, b->from.path, b->classes.n,
                     advice.n ? advice.text : "; remove it or train with it");
}

/* Finds the place of each class in what is being read. Others there are a mistake, unless strangers may come. */
static thaw_status match_classes(builder *b, bool strangers) {
    const source *from = &b->from;
    b->unknown = thaw_arena_array(&b->dataset->arena, from->n_classes, sizeof *b->unknown);
    b->n_unknown = 0;
    if (!b->unknown) return fail_memory(b->err);
    for (size_t label = 0; label < b->classes.n; label++)
        b->place[label] = NOWHERE;
    for (size_t k = 0; k < from->n_classes; k++) {
        size_t label;
        if (thaw_classes_find(&b->classes, from->classes[k], &label))
            b->place[label] = k;
        else if (from->list && from->list->first[k] == from->list->first[k + 1])
            continue; /* Its rows are in another split. */
        else if (strangers)
            b->unknown[b->n_unknown++] = k;
        else
            return fail_class(b, from->classes[k]);
    }
    return THAW_OK;
}

/* ---- several classes ------------------------------------------------------------------------ */

/* A text of a list that names other than one class; NULL: each names one. */
static const char *find_several(const thaw_dataset_spec *spec, const thaw_list **list) {
    for (int s = 0; s < THAW_SPLIT_COUNT; s++) {
        *list = spec->list[s];
        for (size_t k = 0; *list && k < (*list)->n_classes; k++) {
            const char *name = (*list)->classes[k];
            if (!*name || strchr(name, THAW_LIST_SEPARATOR)) return name;
        }
    }
    return NULL;
}

/* A list that parts classes by another sign names one class after each of its combinations. */
static thaw_status note_separator(builder *b, const thaw_dataset_spec *spec) {
    const thaw_list *list = spec->list[THAW_SPLIT_TRAIN];
    for (size_t k = 0; list && !spec->classes && k < list->n_classes; k++)
        if (strchr(list->classes[k], ';'))
            return add_note(b, thaw_arena_printf(&b->dataset->arena,
                                                 "'%.200s' is the name of one class: several of a "
                                                 "picture have %c between",
                                                 list->classes[k], THAW_LIST_SEPARATOR));
    return THAW_OK;
}

static thaw_status decide_several(builder *b, const thaw_dataset_spec *spec) {
    const thaw_list *list;
    const char *name = find_several(spec, &list);
    b->several = spec->several == THAW_SEVERAL_YES || (spec->several == THAW_SEVERAL_AUTO && name);
    if (name && !b->several)
        return thaw_fail(
            b->err, THAW_ERR_DATA,
            "'%.300s' has pictures of several classes or of none, such as '%.200s', and softmax "
            "tells one class of each: that takes a training with head.loss = sigmoid",
            list->file, name);
    THAW_TRY(note_separator(b, spec));
    if (!b->several || spec->n_folds == 0) return THAW_OK;
    return thaw_fail(b->err, THAW_ERR_USAGE,
                     "data.fold deals pictures by their class, and these may have several: give "
                     "data.validation and data.test");
}

/* Finds the set of each class of what is being read, as match_classes does the class. */
static thaw_status match_sets(builder *b, bool given) {
    const source *from = &b->from;
    b->set = thaw_arena_array(&b->dataset->arena, from->n_classes, sizeof *b->set);
    b->unknown = thaw_arena_array(&b->dataset->arena, from->n_classes, sizeof *b->unknown);
    b->n_unknown = 0;
    if (!b->set || !b->unknown) return fail_memory(b->err);
    for (size_t k = 0; k < from->n_classes; k++) {
        char unknown[THAW_SETS_NAME];
        bool other = from->list && from->list->first[k] == from->list->first[k + 1];
        b->set[k] = NOWHERE;
        if (other) continue; /* Its rows are in another split. */
        if (!from->list && strchr(from->classes[k], THAW_LIST_SEPARATOR))
            return thaw_fail(
                b->err, THAW_ERR_DATA,
                "the folder '%.200s' of '%.300s' has a %c in its name, which parts classes where "
                "a picture may have several: rename it",
                from->classes[k], from->path, THAW_LIST_SEPARATOR);
        THAW_TRY(thaw_sets_find(&b->sets, &b->classes, from->classes[k], &b->set[k], unknown,
                                &b->dataset->arena, b->err));
        if (b->set[k] != NOWHERE) continue;
        if (!given) return fail_class(b, unknown);
        b->unknown[b->n_unknown++] = k;
    }
    return THAW_OK;
}

/* ---- pictures ------------------------------------------------------------------------------- */

/* Finds the pictures of class k of what is being read: in a folder, by scanning it. */
static thaw_status count_class(builder *b, size_t k, size_t *n) {
    *n = b->from.list ? b->from.list->first[k + 1] - b->from.list->first[k] : 0;
    if (b->from.list) return THAW_OK;
    const char *path = thaw_file_join(&b->dataset->arena, b->from.path, b->from.classes[k]);
    THAW_TRY(path ? thaw_scan_files(&b->scan, path, b->err) : fail_memory(b->err));
    *n = b->scan.n;
    return THAW_OK;
}

static thaw_status fail_no_picture(builder *b, const char *name) {
    if (b->from.list)
        return thaw_fail(
            b->err, THAW_ERR_DATA,
            "no row of class '%.120s' in '%.600s' is trained on: add some or remove the "
            "class",
            name, b->from.path);
    return thaw_fail(b->err, THAW_ERR_DATA,
                     "no image in class '%.120s' ('%.400s/%.120s', other files: %zu): add some "
                     "or remove the folder",
                     name, b->from.path, name, b->scan.n_skipped);
}

static thaw_status add_class(builder *b, thaw_split split, size_t label, bool needed, size_t *n) {
    size_t k = b->place[label];
    THAW_TRY(count_class(b, k, n));
    if (needed && *n == 0) return fail_no_picture(b, b->classes.name[label]);
    return b->from.list ? append_listed(b, k, label, split) : append_scanned(b, label, split);
}

/* Adds all pictures of what is being read by their sets; each class that is needed has some. */
static thaw_status add_sets(builder *b, thaw_split split, bool needed, bool *missing) {
    for (size_t label = 0; label < b->classes.n; label++)
        missing[label] = true;
    for (size_t k = 0; k < b->from.n_classes; k++) {
        size_t n;
        if (b->set[k] == NOWHERE) continue;
        THAW_TRY(count_class(b, k, &n));
        THAW_TRY(b->from.list ? append_listed(b, k, b->set[k], split)
                              : append_scanned(b, b->set[k], split));
        for (size_t label = 0; label < b->classes.n; label++)
            missing[label] &= n == 0 || !thaw_sets_has(&b->sets, b->set[k], label);
    }
    for (size_t label = 0; label < b->classes.n; label++)
        if (needed && missing[label]) return fail_no_picture(b, b->classes.name[label]);
    return THAW_OK;
}

/* Takes the pictures of the classes that are none as strangers, unless pictures may have several classes, and
 * says so. */
static thaw_status take_unknown(builder *b) {
    thaw_text list = {0}, advice = {0};
    size_t total = 0;
    if (!b->n_unknown) return THAW_OK;
    for (size_t i = 0; i < b->n_unknown; i++) {
        size_t n;
        const char *name = b->from.classes[b->unknown[i]];
        THAW_TRY(count_class(b, b->unknown[i], &n));
        if (!b->several) THAW_TRY(append_strangers(b, b->unknown[i], n));
        total += n;
        if (i < LISTED_MAX) thaw_text_add(&list, "%s'%.120s'", i ? ", " : "", name);
        if (!advice.n) thaw_classes_advise(&b->classes, name, &advice);
    }
    if (b->n_unknown > LISTED_MAX) thaw_text_add(&list, " and %zu more", b->n_unknown - LISTED_MAX);
    return add_note(
        b, thaw_arena_printf(&b->dataset->arena,
                             "%zu pictures in '%s' are of classes that the training did "
                             "not know, and are %s: %s%s",
                             total, b->from.path, b->several ? "left out" : "measured as unknown",
                             list.text, advice.text));
}

/* What the classes of a source are called in sentences. */
static const char *kind(const builder *b) {
    return b->from.list ? "list" : "folder";
}

static thaw_status fail_none(const builder *b, thaw_split split) {
    if (b->n_unknown)
        return thaw_fail(b->err, THAW_ERR_DATA,
                         "'%.400s' has no picture of the %zu classes of the training, but a %s "
                         "'%.120s': expected %s called '%.120s' and so on",
                         b->from.path, b->classes.n, b->from.list ? "class" : "folder",
                         b->from.classes[b->unknown[0]], b->from.list ? "classes" : "folders",
                         b->classes.name[0]);
    return thaw_fail(b->err, THAW_ERR_DATA, "no image in any class of the %s %s '%.600s'",
                     thaw_split_name(split), kind(b), b->from.path);
}

/* Adds the pictures of one folder or list; missing has room for a flag a class. */
static thaw_status add_source(builder *b, const thaw_dataset_spec *spec, thaw_split split,
                              bool *missing) {
    thaw_dataset *d = b->dataset;
    bool given = spec->classes != NULL;
    size_t n_before = b->n, n_skipped = 0;
    THAW_TRY(open_source(b, spec, split));
    bool list = b->from.list;
    size_t n_outside = list ? 0 : b->scan.n_skipped, n_again = list ? 0 : b->scan.n_again;
    bool others = given || (split == THAW_SPLIT_TEST && spec->n_folds == 0);
    THAW_TRY(b->several ? match_sets(b, given) : match_classes(b, others));
    if (b->several) THAW_TRY(add_sets(b, split, !given && split == THAW_SPLIT_TRAIN, missing));
    for (size_t label = 0; label < d->n_classes && !b->several; label++) {
        size_t n = 0;
        if (b->place[label] != NOWHERE)
            THAW_TRY(add_class(b, split, label, !given && split == THAW_SPLIT_TRAIN, &n));
        missing[label] = n == 0;
        if (list || b->place[label] == NOWHERE) continue;
        n_skipped += b->scan.n_skipped;
        n_again += b->scan.n_again;
    }
    if (b->n == n_before) return fail_none(b, split);
    THAW_TRY(take_unknown(b));
    THAW_TRY(note_missing(b, missing,
                          thaw_arena_printf(&d->arena, "the %s %s '%s' has no picture of",
                                            thaw_split_name(split), kind(b), b->from.path)));
    THAW_TRY(note_count(b, "rows that say once more what another one says, ignored,",
                        list ? b->from.list->n_again : 0));
    THAW_TRY(note_count(b, "samples that have a class and no picture, ignored,",
                        list ? b->from.list->n_pictureless : 0));
    THAW_TRY(note_count(b, "files outside of the class folders, ignored,", n_outside));
    THAW_TRY(note_count(b, "files that are no pictures, skipped,", n_skipped));
    return note_count(b, "links to folders that are read elsewhere, not followed,", n_again);
}

/* ---- holding out ---------------------------------------------------------------------------- */

/* Says what the grouping does and does not do with the n training pictures. */
static thaw_status note_groups(builder *b, const thaw_grouping *grouping, const char *group,
                               size_t n) {
    size_t n_nested = 0, n_fitting = 0, first = n;
    for (size_t i = 0; i < n; i++) {
        bool fits = thaw_grouping_fits(grouping, b->key[i]);
        /* A list's path may name no class's folder, and is its key then: what it lies in tells nothing. */
        bool in_class = !b->dataset->list[b->source[i]] || b->key[i] != b->name[i];
        n_nested += in_class && strchr(b->key[i], '/') != NULL;
        n_fitting += fits;
        if (!fits && first == n) first = i;
    }
    bool grouped = group && strcasecmp(group, "none") != 0;
    if (!grouped && !b->has_groups && 2 * n_nested > n)
        return add_note(b,
                        "most pictures lie in folders within their class: if those of one folder "
                        "show the same thing, data.group = folder keeps them on one side");
    if (!grouped || n_fitting == n) return THAW_OK;
    if (!n_fitting)
        return thaw_fail(b->err, THAW_ERR_USAGE,
                         "data.group = %.200s: no picture has such a group; the first is '%.400s' "
                         "in its class",
                         group, b->key[0]);
    return add_note(b, thaw_arena_printf(&b->dataset->arena,
                                         "%zu of %zu training pictures have no group by data.group "
                                         "= %s, such as '%s': each is one of its own",
                                         n - n_fitting, n, group, b->key[first]));
}

/* Splits the train folder, whose n pictures come first and stand by class. */
static thaw_status hold_out(builder *b, const thaw_grouping *grouping, double fraction, size_t n,
                            bool *missing) {
    size_t total = 0;
    bool *held_out = thaw_arena_array(&b->dataset->arena, n, sizeof *held_out);
    if (!held_out) return fail_memory(b->err);
    for (size_t first = 0, end; first < n; first = end) {
        for (end = first + 1; end < n && b->label[end] == b->label[first]; end++)
            continue;
        size_t n_held_out =
            thaw_hold_out(grouping, end - first, b->key + first, fraction, held_out + first);
        missing[b->label[first]] = n_held_out == 0;
        total += n_held_out;
    }
    for (size_t i = 0; i < n; i++)
        if (held_out[i]) b->split[i] = THAW_SPLIT_VALIDATION;
    if (total == 0)
        return add_note(b,
                        "nothing is held out for validation: each class has one picture, or one "
                        "group of them");
    return note_missing(b, missing,
                        "nothing is held out for validation where there is one picture, or one "
                        "group of them:");
}

/* The same where pictures have several classes: of all n together, and none of a class that nothing would be left
 * to learn from. */
static thaw_status hold_out_sets(builder *b, const thaw_grouping *grouping, double fraction,
                                 size_t n, bool *missing) {
    size_t K = b->classes.n, total = 0;
    bool *held_out = thaw_arena_array(&b->dataset->arena, n, sizeof *held_out);
    size_t *left = thaw_arena_array(&b->dataset->arena, K, sizeof *left);
    if (!held_out || !left) return fail_memory(b->err);
    thaw_hold_out(grouping, n, b->key, fraction, held_out);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < K && !held_out[i]; k++)
            left[k] += thaw_sets_has(&b->sets, b->label[i], k);
    for (size_t k = 0; k < K; k++)
        missing[k] = true;
    for (size_t i = 0; i < n; i++) {
        bool needed = false;
        for (size_t k = 0; k < K && held_out[i]; k++)
            needed |= left[k] == 0 && thaw_sets_has(&b->sets, b->label[i], k);
        double group = needed ? thaw_hold_out_position(grouping, b->key[i]) : 0;
        for (size_t j = 0; j < n && needed; j++) /* With all of its group. */
            held_out[j] &= thaw_hold_out_position(grouping, b->key[j]) != group;
    }
    for (size_t i = 0; i < n; i++) {
        if (!held_out[i]) continue;
        b->split[i] = THAW_SPLIT_VALIDATION;
        total++;
        for (size_t k = 0; k < K; k++)
            missing[k] &= !thaw_sets_has(&b->sets, b->label[i], k);
    }
    return total
               ? note_missing(b, missing, "nothing that is held out for validation is of")
               : add_note(b,
                          "nothing is held out for validation: there is one picture, or one group "
                          "of them");
}

static thaw_status hold_out_by(builder *b, const thaw_dataset_spec *spec, bool *missing) {
    size_t n = 0;
    thaw_grouping *grouping;
    thaw_status status = thaw_grouping_open(&grouping, spec->group, b->err);
    while (n < b->n && b->source[n] == THAW_SPLIT_TRAIN)
        n++;
    if (status == THAW_OK)
        status = (b->several ? hold_out_sets : hold_out)(b, grouping, spec->validation_fraction, n,
                                                         missing);
    if (status == THAW_OK) status = note_groups(b, grouping, spec->group, n);
    thaw_grouping_close(grouping);
    return status;
}

/* ---- folds ---------------------------------------------------------------------------------- */

/* The n pictures of a class, which index lists: one part is the test, of the others some validate. */
static thaw_status deal_class(builder *b, const thaw_dataset_spec *spec,
                              const thaw_grouping *grouping, size_t n, const size_t *index,
                              const char **names, int *fold, bool *held_out) {
    for (size_t k = 0; k < n; k++)
        names[k] = b->key[index[k]];
    THAW_TRY(thaw_deal(grouping, n, names, spec->n_folds, fold, b->err));
    size_t n_others = 0;
    for (size_t k = 0; k < n; k++) {
        b->split[index[k]] = fold[k] == spec->fold ? THAW_SPLIT_TEST : THAW_SPLIT_TRAIN;
        if (fold[k] != spec->fold) names[n_others++] = b->key[index[k]];
    }
    if (spec->validation_fraction > 0)
        thaw_hold_out(grouping, n_others, names, spec->validation_fraction, held_out);
    for (size_t k = 0, other = 0; k < n && spec->validation_fraction > 0; k++)
        if (fold[k] != spec->fold && held_out[other++]) b->split[index[k]] = THAW_SPLIT_VALIDATION;
    return THAW_OK;
}

static thaw_status deal_by(builder *b, const thaw_dataset_spec *spec) {
    thaw_arena *arena = &b->dataset->arena;
    size_t *index = thaw_arena_array(arena, b->n, sizeof *index);
    const char **names = thaw_arena_array(arena, b->n, sizeof *names);
    int *fold = thaw_arena_array(arena, b->n, sizeof *fold);
    bool *held_out = thaw_arena_array(arena, b->n, sizeof *held_out);
    if (!index || !names || !fold || !held_out) return fail_memory(b->err);
    thaw_grouping *grouping;
    thaw_status status = thaw_grouping_open(&grouping, spec->group, b->err);
    for (size_t label = 0; status == THAW_OK && label < b->dataset->n_classes; label++) {
        size_t n = 0;
        for (size_t i = 0; i < b->n; i++)
            if (b->label[i] == label) index[n++] = i;
        status = deal_class(b, spec, grouping, n, index, names, fold, held_out);
    }
    if (status == THAW_OK) status = note_groups(b, grouping, spec->group, b->n);
    thaw_grouping_close(grouping);
    return status;
}

/* A part without a picture of a class cannot be measured, and a class without one cannot be learnt. */
static thaw_status check_folds(builder *b, const thaw_dataset_spec *spec) {
    for (size_t label = 0; label < b->dataset->n_classes; label++) {
        size_t n = 0;
        for (size_t i = 0; i < b->n; i++)
            n += b->label[i] == label;
        if (n < (size_t)spec->n_folds)
            return thaw_fail(
                b->err, THAW_ERR_DATA,
                "data.fold: class '%.120s' has %zu pictures, which do not make %d parts; "
                "ask for fewer folds",
                b->classes.name[label], n, spec->n_folds);
    }
    return deal_by(b, spec);
}

/* ---- the whole ------------------------------------------------------------------------------ */

/* Notes where the pictures of a split are. */
static thaw_status keep_paths(builder *b, const thaw_dataset_spec *spec, thaw_split split) {
    thaw_dataset *d = b->dataset;
    const thaw_list *list = spec->list[split];
    const char *folder = list ? list->root : spec->folder[split];
    if (!folder) return THAW_OK;
    size_t n = strlen(folder);
    while (n > 1 && folder[n - 1] == '/')
        n--;
    d->folder[split] = thaw_arena_string(&d->arena, folder, n);
    if (list) d->list[split] = thaw_arena_string(&d->arena, list->file, strlen(list->file));
    b->has_groups |= list && list->has_groups;
    return d->folder[split] && (d->list[split] || !list) ? THAW_OK : fail_memory(b->err);
}

static thaw_status build(builder *b, const thaw_dataset_spec *spec) {
    thaw_dataset *d = b->dataset;
    for (int s = 0; s < THAW_SPLIT_COUNT; s++)
        THAW_TRY(keep_paths(b, spec, (thaw_split)s));
    d->validation_fraction = spec->validation_fraction;
    d->fold = spec->fold;
    d->n_folds = spec->n_folds;
    b->notes = thaw_arena_array(&d->arena, NOTES_MAX, sizeof *b->notes);
    if (!b->notes) return fail_memory(b->err);
    THAW_TRY(decide_several(b, spec));
    THAW_TRY(find_classes(b, spec));
    bool *missing = thaw_arena_array(&d->arena, d->n_classes, sizeof *missing);
    b->place = thaw_arena_array(&d->arena, d->n_classes, sizeof *b->place);
    if (!missing || !b->place) return fail_memory(b->err);
    for (int s = 0; s < THAW_SPLIT_COUNT; s++)
        if (d->folder[s]) THAW_TRY(add_source(b, spec, (thaw_split)s, missing));
    if (spec->n_folds > 0)
        THAW_TRY(check_folds(b, spec));
    else if (spec->validation_fraction > 0)
        THAW_TRY(hold_out_by(b, spec, missing));
    return finish(b);
}

thaw_status thaw_dataset_open(thaw_dataset *dataset, const thaw_dataset_spec *spec,
                              thaw_error *err) {
    assert(spec->classes || spec->folder[THAW_SPLIT_TRAIN] || spec->list[THAW_SPLIT_TRAIN]);
    *dataset = (thaw_dataset){0};
    builder b = {
        .dataset = dataset, .err = err, .scan = {.arena = &dataset->arena, .stop = spec->stop}};
    thaw_status status = build(&b, spec);
    free_builder(&b);
    return status;
}

void thaw_dataset_close(thaw_dataset *dataset) {
    thaw_arena_free(&dataset->arena);
}

/* Of a picture in a folder, which has one. */
static size_t class_of(const thaw_dataset *d, size_t i) {
    size_t k = 0;
    if (!d->sets) return d->label[i];
    while (!thaw_label_has(d->sets, d->label[i], (int64_t)k))
        k++;
    return k;
}

void thaw_dataset_path(const thaw_dataset *dataset, size_t i, char path[PATH_MAX]) {
    /* It fits: the scan has opened the file's folder by a path of this length, and so has the list looked. */
    const char *folder = dataset->folder[dataset->source[i]];
    if (dataset->list[dataset->source[i]])
        snprintf(path, PATH_MAX, "%s%s%s", folder, *folder && strcmp(folder, "/") != 0 ? "/" : "",
                 dataset->name[i]);
    else
        snprintf(path, PATH_MAX, "%s/%s/%s", folder, dataset->class_name[class_of(dataset, i)],
                 dataset->name[i]);
}

void thaw_dataset_tally(const thaw_dataset *d, uint32_t label, size_t n, size_t *classes) {
    if (!d->sets) classes[label] += n;
    for (size_t k = 0; d->sets && k < d->n_classes; k++)
        if (thaw_label_has(d->sets, label, (int64_t)k)) classes[k] += n;
}

size_t thaw_dataset_count(const thaw_dataset *dataset, thaw_split split) {
    size_t n = 0;
    for (size_t i = 0; i < dataset->n; i++)
        n += dataset->split[i] == split;
    return n;
}
