/* What a picture is for: to train on, to validate with, to test with. */
#ifndef THAW_SPLIT_H
#define THAW_SPLIT_H

#include "enum.h"

#define THAW_SPLIT_LIST(X)                 \
    X(THAW_SPLIT_TRAIN, "train")           \
    X(THAW_SPLIT_VALIDATION, "validation") \
    X(THAW_SPLIT_TEST, "test")
typedef enum thaw_split {
    THAW_SPLIT_LIST(THAW_ENUM_VALUE) THAW_SPLIT_COUNT,
} thaw_split;

/* "train", "validation", "test". */
const char *thaw_split_name(thaw_split split);

/* The split that the name of a folder, or a word in a list, stands for: train, Training_set, val, dev,
 * testing and their like, in any case. THAW_SPLIT_COUNT: none. */
thaw_split thaw_split_of_name(const char *name);

#endif
