/* The index of a dataset of pictures: one folder a class, ROOT/CLASS/any/depth/file, or lists of
 * pictures (see list.h).
 *
 * Classes and files stand in natural order (2 before 10). What is a picture is decided by content
 * when it is decoded; here only well-known other files are left out. Names that start with a point,
 * __MACOSX, Thumbs.db and their like, and LICENSE.txt, do not exist for this program. Links are followed.
 */
#ifndef THAW_DATASET_H
#define THAW_DATASET_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "arena.h"
#include "label_sets.h"
#include "list.h"
#include "options/options.h"
#include "status.h"

/* Whether a picture may have several classes, or none. AUTO: where a list says so of one. */
typedef enum thaw_several {
    THAW_SEVERAL_AUTO,
    THAW_SEVERAL_NO, /* A list that says so is refused. */
    THAW_SEVERAL_YES,
} thaw_several;

/* Where the pictures are: for each split a folder of classes, a list, or neither. */
typedef struct thaw_dataset_spec {
    const char *folder[THAW_SPLIT_COUNT];
    const thaw_list *list[THAW_SPLIT_COUNT];
    const char *root; /* Of lists that are still to be read; NULL: as thaw_list_read has it. */
    double validation_fraction; /* Of each class that is trained on; 0 when pictures validate. */
    const char *group;          /* What is held out as a whole, see data.group; NULL: a picture. */
    int fold,
        n_folds; /* Pictures of all splits are dealt to n_folds parts, and number `fold` of them, from
                        * 0, is the test; validation_fraction is of the others. n_folds 0: none of that. */
    const char *const
        *classes; /* The class names, in order, of which folders may hold more or fewer;
                                 * NULL: those of what is trained on. */
    size_t n_classes;
    thaw_several several;
    const volatile int *stop; /* Becomes non-zero: stop soon with ERR_INTERRUPTED. NULL: never. */
} thaw_dataset_spec;

/* A picture of a class that is none of the dataset's. */
typedef struct thaw_stranger {
    const char *path;
    const char *class_name;
} thaw_stranger;

/* Structure of arrays: picture i is label[i], split[i] and thaw_dataset_path(i). Sorted by source,
 * then by label (where a label is a set, by its text in the list), then by name. */
typedef struct thaw_dataset {
    size_t n, n_classes;
    const char *const *class_name; /* [n_classes] */
    const uint32_t *label;         /* [n], index of the class, or into sets. */
    const thaw_label_sets *sets;   /* Of classes; NULL: each picture has one. */
    const uint8_t *split;          /* [n], a thaw_split. */
    const uint8_t *source;         /* [n], index into folder and list. */
    const char *const *name; /* [n], path inside the class folder; of a list, inside its root. */
    const char *folder[THAW_SPLIT_COUNT]; /* Of classes; of a list, its root. */
    const char *list[THAW_SPLIT_COUNT];   /* The list's own path; NULL: the folder holds classes. */
    const thaw_stranger *strangers;       /* Of the test, or of where the classes were given: */
    size_t n_strangers;
    double validation_fraction; /* Of the train folder; 0: nothing of it was to be held out. */
    int fold, n_folds;          /* As asked for. */
    const char *const *notes;   /* [n_notes], sentences for the user: what was skipped or is odd. */
    size_t n_notes;
    thaw_arena arena; /* Owns all of it. */
} thaw_dataset;

/* Reads the folders of spec; of its lists nothing is kept. Free with thaw_dataset_close, also after a failure.
 *
 * THAW_ERR_IO: a folder is missing or cannot be read. THAW_ERR_DATA: a folder without class
 * folders, one class only, a class without a picture in the folder that defines the classes, two
 * class folders that are one; a class of what validates, or of folds, that is not among those of the train
 * folder (with the nearest), or nothing but such classes in a test. A class that lacks pictures in a validation
 * or test folder is a note, and so are a test's classes that are none: strangers. THAW_ERR_USAGE: a
 * group that is no pattern, or fits no picture. THAW_ERR_INTERRUPTED. */
thaw_status thaw_dataset_open(thaw_dataset *dataset, const thaw_dataset_spec *spec,
                              thaw_error *err);

void thaw_dataset_close(thaw_dataset *dataset);

/* Finds out what folder is. A list is read into the arena, and its column of splits, where there is one,
 * gives these. A folder that holds folders whose names stand for splits (see thaw_split_of_name) and no
 * others gives these; one without such names is itself the train folder. Sets spec->folder and
 * spec->list: in the arena, or folder itself. THAW_ERR_IO; THAW_ERR_DATA: two folders for one split, splits
 * beside folders that are none, or a folder one level too high; and what thaw_list_read says. */
thaw_status thaw_dataset_find_splits(const char *folder, thaw_dataset_spec *spec, thaw_arena *arena,
                                     thaw_error *err);

/* What data.train, data.validation, data.test, data.root and data.group ask for; spec->stop stays. Under auto,
 * folders in data.train count, and else a tenth of the training pictures validates. THAW_ERR_USAGE without
 * data.train, THAW_ERR_DATA where that has no pictures to train on. */
thaw_status thaw_dataset_spec_from_options(const thaw_options *options, thaw_dataset_spec *spec,
                                           thaw_arena *arena, thaw_error *err);

/* The path of picture i < n. */
void thaw_dataset_path(const thaw_dataset *dataset, size_t i, char path[PATH_MAX]);

/* Adds n to each class that the label, an index, has. */
void thaw_dataset_tally(const thaw_dataset *dataset, uint32_t label, size_t n, size_t *classes);

/* How many pictures a split has. */
size_t thaw_dataset_count(const thaw_dataset *dataset, thaw_split split);

/* Prints a table of the classes with their counts in each split, and where the splits come from.
 * ERR_NOMEM. */
thaw_status thaw_dataset_print(const thaw_dataset *dataset, FILE *out, thaw_error *err);

#endif
