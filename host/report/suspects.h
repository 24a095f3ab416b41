/* Pictures whose labels may be wrong, by the rule of confident learning (Northcutt, Jiang & Chuang 2021):
 * the answer is another class, and the model is at least as sure of that as it is, in the mean, of the
 * pictures that have this class as their label.
 */
#ifndef THAW_SUSPECTS_H
#define THAW_SUSPECTS_H

#include "top/metrics.h"

typedef struct thaw_suspect {
    int64_t row; /* Of the metrics it was found in. */
    int set;     /* Which of them. */
    thaw_answer answer;
} thaw_suspect;

/* Looks through n sets of answers together, whose K are the same; n_nan rows are none. The list lies in
 * the arena, the surest first: by how much the answer's probability is above the label's. ERR_NOMEM. */
thaw_status thaw_suspects_find(const thaw_metrics *const *sets, int n, thaw_arena *arena,
                               thaw_suspect **suspects, size_t *n_suspects, thaw_error *err);

#endif
