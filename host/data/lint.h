/* What is odd about pictures once their bytes are known: the same ones on both sides of a split, or in
 * two classes; and classes that are much rarer than others. */
#ifndef THAW_LINT_H
#define THAW_LINT_H

#include "dataset.h"
#include "hash.h"
#include "json.h"
#include "log.h"

/* Two pictures with the same bytes, by their places in the dataset. */
typedef struct thaw_twins {
    size_t one, other; /* one < other; whose split or class differs. */
    size_t picture;    /* Which of them is counted; for it: */
    size_t earlier,
        stranger; /* a picture of an earlier split, and one of another class; itself: none. */
} thaw_twins;

typedef struct thaw_lint {
    const thaw_dataset *dataset;
    size_t n_across_splits;  /* Pictures of validation or test that another split has, too. */
    size_t n_across_classes; /* Pictures whose bytes are in another class, too. */
    thaw_twins *twins;       /* [n_twins], one for each picture that is counted above. */
    size_t n_twins;
    size_t fewest, most; /* Classes with the fewest and with the most pictures to train on. */
    size_t n_fewest, n_most;
} thaw_lint;

/* Looks through the pictures that were read: keys[n] are the hashes of their bytes, rejected[n] tells
 * which could not be used. What it finds lies in the arena. THAW_ERR_NOMEM. */
thaw_status thaw_lint_look(thaw_lint *lint, const thaw_dataset *dataset, const thaw_hash *keys,
                           const bool *rejected, thaw_arena *arena, thaw_error *err);

/* Says it, a warning for each kind of thing. weighted: rare classes weigh more already. */
void thaw_lint_say(const thaw_lint *lint, bool weighted, thaw_log *log);

/* Adds to the object into "duplicates": {"across_splits", "across_classes": numbers, "pairs": [[path,
 * path]], the first thousand}, unless there are none. */
void thaw_lint_json(const thaw_lint *lint, thaw_json *json, json_t *into);

#endif
