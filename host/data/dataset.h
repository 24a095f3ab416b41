/* The index of a dataset of pictures: one folder a class, ROOT/CLASS/any/depth/file.
 *
 * Classes and files stand in natural order (2 before 10). What is a picture is decided by content
 * when it is decoded; here only well-known other files are left out. Names that start with a point,
 * __MACOSX, Thumbs.db and their like do not exist for this program. Links are followed.
 */
#ifndef THAW_DATASET_H
#define THAW_DATASET_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "arena.h"
#include "options/options.h"
#include "status.h"

typedef enum thaw_split {
    THAW_SPLIT_TRAIN,
    THAW_SPLIT_VALIDATION,
    THAW_SPLIT_TEST,
    THAW_SPLIT_COUNT,
} thaw_split;

/* "train", "validation", "test". */
const char *thaw_split_name(thaw_split split);

/* Where the pictures are. A folder that is NULL has no pictures. */
typedef struct thaw_dataset_spec {
    const char *folder[THAW_SPLIT_COUNT];
    double validation_fraction; /* Of each class of the train folder; 0 when there is a folder. */
    const char *const *classes; /* The class names, in order; NULL: those of the train folder. */
    size_t n_classes;
} thaw_dataset_spec;

/* Structure of arrays: picture i is label[i], split[i] and thaw_dataset_path(i). Sorted by folder,
 * then by label, then by name. */
typedef struct thaw_dataset {
    size_t n, n_classes;
    const char *const *class_name; /* [n_classes] */
    const uint32_t *label;         /* [n], index of the class. */
    const uint8_t *split;          /* [n], a thaw_split. */
    const uint8_t *source;         /* [n], index into folder. */
    const char *const *name;       /* [n], path inside the class folder. */
    const char *folder[THAW_SPLIT_COUNT];
    const char *const *notes; /* [n_notes], sentences for the user: what was skipped or is odd. */
    size_t n_notes;
    thaw_arena arena; /* Owns all of it. */
} thaw_dataset;

/* Reads the folders of spec. Free with thaw_dataset_close, also after a failure.
 *
 * THAW_ERR_IO: a folder is missing or cannot be read. THAW_ERR_DATA: a folder without class
 * folders, one class only, a class without a picture in the folder that defines the classes, a
 * class elsewhere that is not among the classes (with the nearest). A class that lacks pictures in
 * a validation or test folder is a note. */
thaw_status thaw_dataset_open(thaw_dataset *dataset, const thaw_dataset_spec *spec,
                              thaw_error *err);

void thaw_dataset_close(thaw_dataset *dataset);

/* Finds out how folder is laid out: one that holds train and at least one of test, validation, val
 * and valid, and no other folder, gives these; any other is itself the train folder. Sets
 * spec->folder: paths in the arena, or folder itself. THAW_ERR_IO; THAW_ERR_DATA when val and
 * validation are both there. */
thaw_status thaw_dataset_find_splits(const char *folder, thaw_dataset_spec *spec, thaw_arena *arena,
                                     thaw_error *err);

/* What data.train, data.validation and data.test ask for: folders found beside data.train's count
 * where an option was left at its default. THAW_ERR_USAGE without data.train. */
thaw_status thaw_dataset_spec_from_options(const thaw_options *options, thaw_dataset_spec *spec,
                                           thaw_arena *arena, thaw_error *err);

/* The path of picture i < n. */
void thaw_dataset_path(const thaw_dataset *dataset, size_t i, char path[PATH_MAX]);

/* How many pictures a split has. */
size_t thaw_dataset_count(const thaw_dataset *dataset, thaw_split split);

/* A table of the classes with their counts in each split, in the arena; NULL without memory. */
const char *thaw_dataset_describe(const thaw_dataset *dataset, thaw_arena *arena);

/* Where the file called name falls, in [0, 1): validation is what is below the fraction. Depends on
 * nothing but the part of name after the last '/' and before "_nohash_", so that adding pictures
 * moves none, and variants of one picture that are named so stay together. */
double thaw_dataset_position(const char *name);

#endif
