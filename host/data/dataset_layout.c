/* Which folders hold the splits of a dataset. */
#include <ctype.h>
#include <string.h>

#include "dataset.h"
#include "file.h"
#include "scan.h"
#include "text.h"

enum { WORD_MAX = 32 }; /* Names of splits are shorter. */

/* Of the training pictures, where nothing says what validates. */
static const double auto_fraction = 0.1;

/* ---- names ---------------------------------------------------------------------------------- */

/* "Training_Set" is "training": small letters, without what only joins words and without what all
 * folders are. "" for what is too long to be one word. */
static void simplify(const char *name, char word[WORD_MAX]) {
    static const char *const suffixes[] = {"set", "data", "images", "pictures", "split"};
    size_t n = 0;
    for (; *name && n + 1 < WORD_MAX; name++)
        if (!strchr("_-. ", *name)) word[n++] = (char)tolower((unsigned char)*name);
    word[*name ? 0 : n] = '\0';
    n = strlen(word);
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        size_t end = strlen(suffixes[i]);
        if (n <= end || strcmp(word + n - end, suffixes[i]) != 0) continue;
        word[n - end] = '\0';
        return;
    }
}

/* The split that a folder's name stands for; THAW_SPLIT_COUNT for none. */
static thaw_split split_of_name(const char *name) {
    static const struct {
        thaw_split split;
        const char *words[8];
    } splits[] = {
        {THAW_SPLIT_TRAIN, {"train", "training", "trn"}},
        {THAW_SPLIT_VALIDATION,
         {"validation", "valid", "val", "dev", "development", "eval", "evaluation"}},
        {THAW_SPLIT_TEST, {"test", "testing", "tst"}},
    };
    char word[WORD_MAX];
    simplify(name, word);
    for (size_t i = 0; i < sizeof splits / sizeof *splits; i++)
        if (thaw_text_find(splits[i].words, word) >= 0) return splits[i].split;
    return THAW_SPLIT_COUNT;
}

/* What the names of a folder's folders say. */
typedef struct layout {
    size_t n_splits, n_others;
    const char *split, *other; /* The first of each. */
} layout;

static layout read_layout(const thaw_scan *scan) {
    layout l = {0};
    for (size_t i = 0; i < scan->n; i++) {
        bool is_split = split_of_name(scan->names[i]) != THAW_SPLIT_COUNT;
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
        if (split_of_name(scan->names[i]) == THAW_SPLIT_COUNT) continue;
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
        thaw_split split = split_of_name(scan->names[i]);
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

thaw_status thaw_dataset_find_splits(const char *folder, thaw_dataset_spec *spec, thaw_arena *arena,
                                     thaw_error *err) {
    thaw_scan scan = {.arena = arena, .stop = spec->stop};
    memset(spec->folder, 0, sizeof spec->folder);
    thaw_status status = thaw_scan_folders(&scan, folder, err);
    if (status == THAW_OK) status = find_splits(folder, &scan, spec, arena, err);
    thaw_scan_free(&scan);
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

thaw_status thaw_dataset_spec_from_options(const thaw_options *options, thaw_dataset_spec *spec,
                                           thaw_arena *arena, thaw_error *err) {
    const char *train = options->data.train;
    thaw_opt_held_out validation = options->data.validation;
    *spec = (thaw_dataset_spec){.group = options->data.group, .stop = spec->stop};
    THAW_TRY(thaw_options_require(options, "data.train", err));
    THAW_TRY(thaw_dataset_find_splits(train, spec, arena, err));
    if (!spec->folder[THAW_SPLIT_TRAIN])
        return thaw_fail(err, THAW_ERR_DATA,
                         "'%.600s' holds splits, but none to train on: expected a folder called "
                         "train beside them, or of classes",
                         train);
    if (!thaw_is_auto(validation.fraction)) spec->folder[THAW_SPLIT_VALIDATION] = validation.folder;
    if (!spec->folder[THAW_SPLIT_VALIDATION])
        spec->validation_fraction =
            thaw_is_auto(validation.fraction) ? auto_fraction : validation.fraction;
    if (!thaw_is_auto(options->data.test)) spec->folder[THAW_SPLIT_TEST] = options->data.test;
    THAW_TRY(read_fold(options->data.fold, spec, err));
    /* A folder's pictures validate no more once they are dealt. */
    if (spec->n_folds && spec->folder[THAW_SPLIT_VALIDATION])
        spec->validation_fraction = auto_fraction;
    return THAW_OK;
}
