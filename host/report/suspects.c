#include "suspects.h"

#include <math.h>
#include <stdlib.h>

static double doubt(const thaw_suspect *s) {
    return (double)s->answer.score - s->answer.own;
}

static int by_doubt(const void *a, const void *b) {
    const thaw_suspect *x = a, *y = b;
    if (doubt(x) != doubt(y)) return doubt(x) > doubt(y) ? -1 : 1;
    if (x->set != y->set) return x->set < y->set ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

/* usual [K]: the mean probability of its own class over the pictures of each; 2 where there are none,
 * which no score reaches. */
static void mean_own(const thaw_metrics *const *sets, int n, double *usual, int64_t *count) {
    int64_t K = sets[0]->K;
    for (int s = 0; s < n; s++)
        for (int64_t i = 0; i < sets[s]->n; i++) {
            const thaw_answer *a = &sets[s]->answers[i];
            if (a->answer < 0) continue;
            usual[a->label] += a->own;
            count[a->label]++;
        }
    for (int64_t k = 0; k < K; k++)
        usual[k] = count[k] ? usual[k] / (double)count[k] : 2;
}

static bool is_suspect(const thaw_answer *a, const double *usual) {
    return a->answer >= 0 && a->answer != a->label && a->score >= usual[a->answer];
}

static size_t list(const thaw_metrics *const *sets, int n, const double *usual,
                   thaw_suspect *suspects) {
    size_t found = 0;
    for (int s = 0; s < n; s++)
        for (int64_t i = 0; i < sets[s]->n; i++) {
            const thaw_answer *a = &sets[s]->answers[i];
            if (!is_suspect(a, usual)) continue;
            if (suspects) suspects[found] = (thaw_suspect){i, s, *a};
            found++;
        }
    return found;
}

thaw_status thaw_suspects_find(const thaw_metrics *const *sets, int n, thaw_arena *arena,
                               thaw_suspect **suspects, size_t *n_suspects, thaw_error *err) {
    *suspects = NULL;
    *n_suspects = 0;
    if (n == 0) return THAW_OK;
    size_t K = (size_t)sets[0]->K;
    double *usual = thaw_arena_array(arena, K, sizeof *usual);
    int64_t *count = thaw_arena_array(arena, K, sizeof *count);
    if (!usual || !count) return thaw_fail_memory(err, "for the doubts of %zu classes", K);
    mean_own(sets, n, usual, count);
    *n_suspects = list(sets, n, usual, NULL);
    *suspects = thaw_arena_array(arena, *n_suspects, sizeof **suspects);
    if (!*suspects) return thaw_fail_memory(err, "to list %zu doubtful labels", *n_suspects);
    list(sets, n, usual, *suspects);
    qsort(*suspects, *n_suspects, sizeof **suspects, by_doubt);
    return THAW_OK;
}
