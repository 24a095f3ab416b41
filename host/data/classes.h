/* The names of the classes, looked up; and what to say of a name that is not among them. */
#ifndef THAW_CLASSES_H
#define THAW_CLASSES_H

#include <stdbool.h>
#include <stddef.h>

#include "arena.h"
#include "status.h"
#include "text.h"

typedef struct thaw_class_entry thaw_class_entry;

typedef struct thaw_classes {
    const char *const *name; /* [n], in the order of the labels. */
    size_t n;
    thaw_class_entry *by_name; /* [n] */
} thaw_classes;

/* Copies the names into the arena, and what finds them. THAW_ERR_NOMEM. */
thaw_status thaw_classes_take(thaw_classes *classes, const char *const *names, size_t n,
                              thaw_arena *arena, thaw_error *err);

/* True when name is a class; *label is its place. */
bool thaw_classes_find(const thaw_classes *classes, const char *name, size_t *label);

/* Adds to advice what may have been meant by a name that is no class: the class that is written in
 * other Unicode, which looks the same, or the nearest. Nothing when there is none. */
void thaw_classes_advise(const thaw_classes *classes, const char *name, thaw_text *advice);

/* The first two classes that look the same and differ in Unicode; false: there are none. */
bool thaw_classes_alike(const thaw_classes *classes, size_t pair[2]);

#endif
