#include "auroc.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

typedef struct scored {
    float value;
    bool above;
} scored;

static int compare_scored(const void *a, const void *b) {
    const scored *x = a, *y = b;
    return x->value < y->value ? -1 : x->value > y->value;
}

/* Each of the above, by how many of the below are lower: the statistic of Mann and Whitney. */
static double count_lower(const scored *all, size_t n) {
    double lower = 0, pairs = 0;
    for (size_t i = 0, end; i < n; i = end) {
        double n_below = 0, n_above = 0;
        for (end = i; end < n && all[end].value == all[i].value; end++)
            *(all[end].above ? &n_above : &n_below) += 1;
        pairs += n_above * (lower + n_below / 2);
        lower += n_below;
    }
    return pairs;
}

thaw_status thaw_auroc(const float *below, size_t n_below, const float *above, size_t n_above,
                       double *auroc, thaw_error *err) {
    *auroc = NAN;
    if (!n_below || !n_above) return THAW_OK;
    thaw_arena arena = {0};
    scored *all = thaw_arena_array(&arena, n_below + n_above, sizeof *all);
    if (!all) return thaw_fail_memory(err, "to tell %zu rows apart", n_below + n_above);
    for (size_t i = 0; i < n_below; i++)
        all[i] = (scored){below[i], false};
    for (size_t i = 0; i < n_above; i++)
        all[n_below + i] = (scored){above[i], true};
    qsort(all, n_below + n_above, sizeof *all, compare_scored);
    *auroc = count_lower(all, n_below + n_above) / ((double)n_below * (double)n_above);
    thaw_arena_free(&arena);
    return THAW_OK;
}
