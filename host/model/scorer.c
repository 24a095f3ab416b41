#include "scorer.h"

#include <math.h>

thaw_status thaw_scorer_open(thaw_scorer *s, thaw_bundle *bundle, size_t batch, thaw_arena *arena,
                             thaw_error *err) {
    size_t widest = (size_t)thaw_dense_widest(bundle->layers, bundle->n_layers);
    *s = (thaw_scorer){.bundle = bundle, .batch = batch};
    s->scratch = thaw_arena_array(arena, 2 * batch, widest * sizeof *s->scratch);
    s->scores = thaw_arena_array(arena, batch, bundle->n_labels * sizeof *s->scores);
    if (bundle->old.output) s->old = thaw_arena_array(arena, batch, sizeof *s->old);
    bool complete = s->scratch && s->scores && (s->old || !bundle->old.output);
    if (bundle->novelty.method != THAW_NOVELTY_NONE) {
        size_t n = thaw_novelty_scratch(&bundle->novelty);
        s->distance = thaw_arena_array(arena, batch, sizeof *s->distance);
        s->novelty_scratch = thaw_arena_array(arena, n, sizeof *s->novelty_scratch);
        complete = complete && s->distance && s->novelty_scratch;
    }
    return complete ? THAW_OK : thaw_fail_memory(err, "to predict");
}

thaw_status thaw_scorer_run(thaw_scorer *s, size_t n, const float *features, thaw_error *err) {
    thaw_bundle *b = s->bundle;
    THAW_TRY(thaw_dense_scores(b->backend, b->layers, b->n_layers, (int64_t)n, features, s->scratch,
                               s->scores, err));
    if (s->distance)
        THAW_TRY(thaw_novelty_measure(&b->novelty, &b->backend->kernels->top, (int64_t)n, features,
                                      s->novelty_scratch, s->distance, err));
    if (!s->old) return THAW_OK;
    thaw_row_array array = {&b->backend->kernels->top, features, b->network.n_features};
    thaw_rows rows = thaw_rows_of_array(&array, (int64_t)n, NULL);
    return thaw_kept_head_answer(&b->old, &rows, 0, (int64_t)n, s->old, err);
}

const char *thaw_scorer_problem(const thaw_scorer *s, size_t i) {
    size_t n = s->bundle->n_labels;
    for (size_t k = 0; k < n; k++)
        if (!isfinite(s->scores[i * n + k]))
            return "the network's scores of this picture are not numbers";
    return NULL;
}

bool thaw_scorer_is_unknown(const thaw_scorer *s, size_t i) {
    return s->distance && thaw_novelty_is_unknown(&s->bundle->novelty, s->distance[i]);
}
