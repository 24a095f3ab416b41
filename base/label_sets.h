/* Labels where a picture may have several classes, or none: label i stands for a set of classes, so that rows go on
 * having one label each. */
#ifndef THAW_LABEL_SETS_H
#define THAW_LABEL_SETS_H

#include <stdbool.h>
#include <stdint.h>

/* Between the classes of a set, as a text has them: "rose|lily". */
#define THAW_LABEL_SEPARATOR "|"

typedef struct thaw_label_sets {
    int64_t n, K;         /* Sets; classes. */
    const uint64_t *bits; /* [n, thaw_label_words(K)], class k at bit k % 64 of word k / 64. */
} thaw_label_sets;

static inline int64_t thaw_label_words(int64_t K) {
    return (K + 63) / 64;
}

/* Whether class k is in the set that the label stands for. */
static inline bool thaw_label_has(const thaw_label_sets *sets, int64_t label, int64_t k) {
    return sets->bits[label * thaw_label_words(sets->K) + k / 64] >> (k % 64) & 1;
}

#endif
