/* Which folders or rows of a list hold the splits of a dataset. */
#include <string.h>

#include "dataset.h"
#include "file.h"
#include "scan.h"

/* Of the training pictures, where nothing says what validates. */
static const double auto_fraction = 0.1;

/* ---- names ---------------------------------------------------------------------------------- */

/* What the names of a folder's folders say. */
typedef struct layout {
    size_t n_splits, n_others;
    const char *split, *other; /* The first of each. */
} layout;

static layout read_layout(const thaw_scan *scan) {
    layout l = {0};
    for (size_t i = 0; i < scan->n; i++) {
        bool is_split = thaw_split_of_name(scan->names[i]) != THAW_SPLIT_COUNT;
        const char **first = is_split ? &l.split : &l.other;
        if (!*first) *first = scan->names[i];
        *(is_split ? &l.n_splits : &l.n_others) += 1;
    }
    return l;
}

/* ---- looking one level deeper --------------------------------------------------------------- */

/* Lists the folders in folder/name. */
static thaw_status scan_inside(thaw_scan *inside, const char *folder, const char *name,
                               thaw_error *err) {
    const char *path = thaw_file_join(inside->arena, folder, name);
    return path ? thaw_scan_folders(inside, path, err) : thaw_fail_memory(err, "for the paths");
}

/* A folder of vehicles may hold one called train. It is a class like the others when pictures lie in
 * it, a split when folders do. */
static thaw_status check_mixed(const char *folder, const thaw_scan *scan, const layout *l,
                               thaw_error *err) {
    thaw_scan inside = {.arena = scan->arena, .stop = scan->stop};
    thaw_status status = THAW_OK;
    for (size_t i = 0; status == THAW_OK && i < scan->n; i++) {
        if (thaw_split_of_name(scan->names[i]) == THAW_SPLIT_COUNT) continue;
        status = scan_inside(&inside, folder, scan->names[i], err);
        if (status == THAW_OK && inside.n > 0)
            status = thaw_fail(err, THAW_ERR_DATA,
                               "'%.400s' holds '%.100s', which looks like a split, and '%.100s', "
                               "which does not: move away what is no split, or give the folder of "
                               "each split (data.train, data.validation, data.test); if all are "
                               "classes, rename '%.100s'",
                               folder, l->split, l->other, l->split);
    }
    thaw_scan_free(&inside);
    return status;
}

/* A folder of datasets would train on which picture is of which dataset. */
static thaw_status check_level(const char *folder, const thaw_scan *scan, thaw_error *err) {
    enum { LOOKED_INTO = 4 };
    thaw_scan inside = {.arena = scan->arena, .stop = scan->stop};
    thaw_status status = THAW_OK;
    for (size_t i = 0; status == THAW_OK && i < scan->n && i < LOOKED_INTO; i++) {
        status = scan_inside(&inside, folder, scan->names[i], err);
        layout l = read_layout(&inside);
        if (status != THAW_OK || l.n_others > 0 || l.n_splits < 2) continue;
        status =
            thaw_fail(err, THAW_ERR_DATA,
                      "'%.400s' is one level too high: '%.200s' in it holds '%.100s' and other "
                      "splits; give '%.400s/%.200s' instead",
                      folder, scan->names[i], l.split, folder, scan->names[i]);
    }
    thaw_scan_free(&inside);
    return status;
}

/* ---- splits --------------------------------------------------------------------------------- */

static thaw_status take_splits(const char *folder, const thaw_scan *scan, thaw_dataset_spec *spec,
                               thaw_arena *arena, thaw_error *err) {
    for (size_t i = 0; i < scan->n; i++) {
        thaw_split split = thaw_split_of_name(scan->names[i]);
        const char **taken = &spec->folder[split];
        if (*taken)
            return thaw_fail(err, THAW_ERR_DATA,
                             "'%.600s' has two %s folders, '%s' and '%s': keep one of them", folder,
                             thaw_split_name(split), strrchr(*taken, '/') + 1, scan->names[i]);
        *taken = thaw_file_join(arena, folder, scan->names[i]);
        if (!*taken) return thaw_fail_memory(err, "for the paths");
    }
    return THAW_OK;
}

static thaw_status find_splits(const char *folder, const thaw_scan *scan, thaw_dataset_spec *spec,
                               thaw_arena *arena, thaw_error *err) {
    layout l = read_layout(scan);
    if (l.n_splits > 0 && l.n_others == 0) return take_splits(folder, scan, spec, arena, err);
    spec->folder[THAW_SPLIT_TRAIN] = folder;
    return l.n_splits ? check_mixed(folder, scan, &l, err) : check_level(folder, scan, err);
}

/* ---- lists ---------------------------------------------------------------------------------- */

static thaw_status read_list(const char *file, const thaw_dataset_spec *spec, thaw_arena *arena,
                             thaw_list **list, thaw_error *err) {
    const thaw_list_spec wanted = {.file = file,
                                   .root = spec->root,
                                   .trained = spec->list[THAW_SPLIT_TRAIN],
                                   .stop = spec->stop};
    *list = thaw_arena_alloc(arena, sizeof **list);
    return *list ? thaw_list_read(*list, &wanted, arena, err)
                 : thaw_fail_memory(err, "for the list '%.600s'", file);
}

/* Gives the rows of a split to it; false in *any: there are none. */
static thaw_status take_rows(const thaw_list *list, thaw_split split, thaw_dataset_spec *spec,
                             thaw_arena *arena, thaw_error *err) {
    thaw_list *rows = thaw_arena_alloc(arena, sizeof *rows);
    if (!rows) return thaw_fail_memory(err, "for the list '%.600s'", list->file);
    THAW_TRY(thaw_list_select(list, split, arena, rows, err));
    spec->list[split] = rows->n ? rows : NULL;
    return THAW_OK;
}

static thaw_status find_listed_splits(const char *file, thaw_dataset_spec *spec, thaw_arena *arena,
                                      thaw_error *err) {
    thaw_list *list;
    THAW_TRY(read_list(file, spec, arena, &list, err));
    spec->list[THAW_SPLIT_TRAIN] = list;
    for (int s = 0; s < THAW_SPLIT_COUNT && list->has_splits; s++)
        THAW_TRY(take_rows(list, (thaw_split)s, spec, arena, err));
    return THAW_OK;
}

/* The pictures of one split, at path: a folder of classes, or a list, of which all counts unless it has a
 * column of splits. */
static thaw_status take_path(const char *path, thaw_split split, thaw_dataset_spec *spec,
                             thaw_arena *arena, thaw_error *err) {
    thaw_list *list;
    bool is_list;
    spec->folder[split] = path;
    spec->list[split] = NULL;
    THAW_TRY(thaw_list_is(path, &is_list, err));
    if (!is_list) return THAW_OK;
    spec->folder[split] = NULL;
    THAW_TRY(read_list(path, spec, arena, &list, err));
    spec->list[split] = list;
    if (!list->has_splits) return THAW_OK;
    THAW_TRY(take_rows(list, split, spec, arena, err));
    if (spec->list[split]) return THAW_OK;
    return thaw_fail(err, THAW_ERR_DATA,
                     "'%.600s' has a column of splits, and no row of it says %s", path,
                     thaw_split_name(split));
}

/* ---- the whole ------------------------------------------------------------------------------ */

thaw_status thaw_dataset_find_splits(const char *folder, thaw_dataset_spec *spec, thaw_arena *arena,
                                     thaw_error *err) {
    thaw_scan scan = {.arena = arena, .stop = spec->stop};
    memset(spec->folder, 0, sizeof spec->folder);
    memset(spec->list, 0, sizeof spec->list);
    bool is_list;
    THAW_TRY(thaw_list_is(folder, &is_list, err));
    if (is_list) return find_listed_splits(folder, spec, arena, err);
    thaw_status status = thaw_scan_folders(&scan, folder, err);
    if (status == THAW_OK) status = find_splits(folder, &scan, spec, arena, err);
    thaw_scan_free(&scan);
    /* A folder of a split may hold shards in place of classes. */
    for (int s = 0; s < THAW_SPLIT_COUNT && status == THAW_OK; s++)
        if (spec->folder[s]) status = take_path(spec->folder[s], (thaw_split)s, spec, arena, err);
    return status;
}

/* "2/5": the second of five parts. */
static thaw_status read_fold(const char *text, thaw_dataset_spec *spec, thaw_error *err) {
    enum { MOST = 1000 };
    int fold = 0, of = 0, used = 0;
    if (!*text) return THAW_OK;
    bool whole = sscanf(text, "%4d/%4d%n", &fold, &of, &used) == 2 && !text[used];
    if (!whole || of < 2 || of > MOST || fold < 1 || fold > of)
        return thaw_fail(err, THAW_ERR_USAGE,
                         "data.fold = %.60s: expected the number of a fold and how many there are, "
                         "such as 2/5",
                         text);
    spec->fold = fold - 1;
    spec->n_folds = of;
    return THAW_OK;
}

static bool any_list(const thaw_dataset_spec *spec, bool with_groups, const char **file) {
    for (int s = 0; s < THAW_SPLIT_COUNT; s++) {
        const thaw_list *list = spec->list[s];
        if (!list || (with_groups && !list->has_groups)) continue;
        *file = list->file;
        return true;
    }
    return false;
}

/* What was asked for and has no part, or a part that a list has already. */
static thaw_status check_lists(const thaw_options *options, const thaw_dataset_spec *spec,
                               thaw_error *err) {
    const char *file;
    if (spec->root && !any_list(spec, false, &file))
        return thaw_fail(
            err, THAW_ERR_USAGE,
            "data.root = %.300s has no part where no list of pictures is read: leave it "
            "out",
            spec->root);
    if (thaw_options_has_default(options, "data.group") || !any_list(spec, true, &file))
        return THAW_OK;
    return thaw_fail(err, THAW_ERR_USAGE,
                     "data.group = %.200s, and the group column of '%.300s', both say what stays "
                     "together: leave one out",
                     spec->group, file);
}

static bool any_of(const thaw_dataset_spec *spec, thaw_split split) {
    return spec->folder[split] || spec->list[split];
}

static thaw_status fail_untrained(const char *train, const thaw_dataset_spec *spec,
                                  thaw_error *err) {
    const char *file;
    if (any_list(spec, false, &file))
        return thaw_fail(err, THAW_ERR_DATA,
                         "'%.600s' has a column of splits, and no row of it says train", train);
    return thaw_fail(err, THAW_ERR_DATA,
                     "'%.600s' holds splits, but none to train on: expected a folder called "
                     "train beside them, or of classes",
                     train);
}

thaw_status thaw_dataset_spec_from_options(const thaw_options *options, thaw_dataset_spec *spec,
                                           thaw_arena *arena, thaw_error *err) {
    const char *train = options->data.train;
    thaw_opt_held_out validation = options->data.validation;
    *spec = (thaw_dataset_spec){
        .root = options->data.root, .group = options->data.group, .stop = spec->stop};
    if (!thaw_is_auto(options->head.loss))
        spec->several =
            options->head.loss == THAW_LOSS_SIGMOID ? THAW_SEVERAL_YES : THAW_SEVERAL_NO;
    THAW_TRY(thaw_options_require(options, "data.train", err));
    THAW_TRY(thaw_dataset_find_splits(train, spec, arena, err));
    if (!any_of(spec, THAW_SPLIT_TRAIN)) return fail_untrained(train, spec, err);
    if (validation.folder)
        THAW_TRY(take_path(validation.folder, THAW_SPLIT_VALIDATION, spec, arena, err));
    else if (!thaw_is_auto(validation.fraction))
        spec->folder[THAW_SPLIT_VALIDATION] = NULL, spec->list[THAW_SPLIT_VALIDATION] = NULL;
    bool validates = any_of(spec, THAW_SPLIT_VALIDATION);
    if (!validates)
        spec->validation_fraction =
            thaw_is_auto(validation.fraction) ? auto_fraction : validation.fraction;
    if (!thaw_is_auto(options->data.test))
        THAW_TRY(take_path(options->data.test, THAW_SPLIT_TEST, spec, arena, err));
    THAW_TRY(check_lists(options, spec, err));
    THAW_TRY(read_fold(options->data.fold, spec, err));
    /* Pictures validate no more once they are dealt. */
    if (spec->n_folds && validates) spec->validation_fraction = auto_fraction;
    return THAW_OK;
}
