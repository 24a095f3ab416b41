/* From a picture's features to what a bundle says of it. */
#ifndef THAW_SCORER_H
#define THAW_SCORER_H

#include "bundle.h"

typedef struct thaw_scorer {
    thaw_bundle *bundle;
    size_t batch;          /* Pictures at once, at most. */
    float *scratch;        /* As thaw_dense_scores wants it. */
    float *scores;         /* [batch, n_labels]; NaN or infinite ones are possible, see below. */
    thaw_kept_answer *old; /* [batch]; NULL: the bundle has no old head. */
    float *
        distance; /* [batch], as top/novelty.h; NULL: the bundle says of nothing that it is unknown. */
    float *novelty_scratch;
} thaw_scorer;

/* Memory is the arena's. ERR_NOMEM. */
thaw_status thaw_scorer_open(thaw_scorer *scorer, thaw_bundle *bundle, size_t batch,
                             thaw_arena *arena, thaw_error *err);

/* Fills scores, old and distance for n <= batch pictures' features [n, D]. A row's answer is the same bits whatever
 * stands beside it. One call at a time. */
thaw_status thaw_scorer_run(thaw_scorer *scorer, size_t n, const float *features, thaw_error *err);

/* Why the i-th picture of the last run has no answer; NULL: it has. Static. */
const char *thaw_scorer_problem(const thaw_scorer *scorer, size_t i);

/* Whether the i-th picture of the last run is unlike all that the bundle knows. */
bool thaw_scorer_is_unknown(const thaw_scorer *scorer, size_t i);

#endif
