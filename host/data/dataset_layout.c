/* Which folders hold the splits of a dataset. */
#include <string.h>

#include "dataset.h"
#include "file.h"
#include "scan.h"

/* The split that a folder's name stands for; THAW_SPLIT_COUNT for none. */
static thaw_split split_of_name(const char *name) {
    static const struct {
        const char *name;
        thaw_split split;
    } names[] = {
        {"train", THAW_SPLIT_TRAIN},    {"validation", THAW_SPLIT_VALIDATION},
        {"val", THAW_SPLIT_VALIDATION}, {"valid", THAW_SPLIT_VALIDATION},
        {"test", THAW_SPLIT_TEST},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(names[i].name, name)) return names[i].split;
    return THAW_SPLIT_COUNT;
}

/* True when the folders are train and at least one other split, and nothing else. */
static bool are_splits(const thaw_scan *scan) {
    bool has_train = false;
    for (size_t i = 0; i < scan->n; i++) {
        thaw_split split = split_of_name(scan->names[i]);
        if (split == THAW_SPLIT_COUNT) return false;
        has_train = has_train || split == THAW_SPLIT_TRAIN;
    }
    return has_train && scan->n >= 2;
}

static thaw_status take_splits(const char *folder, const thaw_scan *scan, thaw_dataset_spec *spec,
                               thaw_arena *arena, thaw_error *err) {
    for (size_t i = 0; i < scan->n; i++) {
        const char **split = &spec->folder[split_of_name(scan->names[i])];
        if (*split)
            return thaw_fail(err, THAW_ERR_DATA,
                             "'%.600s' has two validation folders, '%s' and '%s': keep one of them",
                             folder, strrchr(*split, '/') + 1, scan->names[i]);
        *split = thaw_file_join(arena, folder, scan->names[i]);
        if (!*split) return thaw_fail_memory(err, "for the paths");
    }
    return THAW_OK;
}

thaw_status thaw_dataset_find_splits(const char *folder, thaw_dataset_spec *spec, thaw_arena *arena,
                                     thaw_error *err) {
    thaw_scan scan = {.arena = arena};
    memset(spec->folder, 0, sizeof spec->folder);
    thaw_status status = thaw_scan_folders(&scan, folder, err);
    if (status == THAW_OK && are_splits(&scan))
        status = take_splits(folder, &scan, spec, arena, err);
    else
        spec->folder[THAW_SPLIT_TRAIN] = folder;
    thaw_scan_free(&scan);
    return status;
}

thaw_status thaw_dataset_spec_from_options(const thaw_options *options, thaw_dataset_spec *spec,
                                           thaw_arena *arena, thaw_error *err) {
    *spec = (thaw_dataset_spec){0};
    THAW_TRY(thaw_options_require(options, "data.train", err));
    THAW_TRY(thaw_dataset_find_splits(options->data.train, spec, arena, err));
    const char **validation = &spec->folder[THAW_SPLIT_VALIDATION];
    if (thaw_options_is_set(options, "data.validation"))
        *validation = options->data.validation.folder;
    if (!*validation) spec->validation_fraction = options->data.validation.fraction;
    if (*options->data.test) spec->folder[THAW_SPLIT_TEST] = options->data.test;
    return THAW_OK;
}
