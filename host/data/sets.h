/* Sets of classes by the texts that name them: "rose|lily", "" for none. */
#ifndef THAW_SETS_H
#define THAW_SETS_H

#include "classes.h"
#include "label_sets.h"
#include "words.h"

enum { THAW_SETS_NAME = 256 }; /* Bytes of a class's name that a sentence shows. */

/* Sets under construction; all zero is none. */
typedef struct thaw_sets {
    size_t K;
    thaw_words keys; /* A set's classes as a text; its place is the set's number. */
    uint64_t *bits;  /* [keys.n, words of K] */
    size_t capacity;
} thaw_sets;

/* The classes that n texts name, each once and in natural order, in the arena. ERR_DATA: a name between two
 * separators is empty, or a text names a class twice. ERR_NOMEM. */
thaw_status thaw_sets_classes(const char *const *texts, size_t n, thaw_arena *arena,
                              const char *const **names, size_t *n_names, thaw_error *err);

/* The number of the set that a text names, SIZE_MAX: one of its classes is none, whose name unknown receives.
 * ERR_DATA as above; ERR_NOMEM. */
thaw_status thaw_sets_find(thaw_sets *sets, const thaw_classes *classes, const char *text,
                           size_t *set, char unknown[THAW_SETS_NAME], thaw_arena *arena,
                           thaw_error *err);

bool thaw_sets_has(const thaw_sets *sets, size_t set, size_t k);

/* What was found, in the arena. ERR_NOMEM. */
thaw_status thaw_sets_finish(const thaw_sets *sets, thaw_arena *arena, const thaw_label_sets **out,
                             thaw_error *err);
void thaw_sets_free(thaw_sets *sets);

#endif
