/* What the old head says of a split's pictures, where it was kept. */
#ifndef THAW_OLD_ANSWERS_H
#define THAW_OLD_ANSWERS_H

#include <stdio.h>

#include "model/kept_head.h"
#include "top/metrics.h"

/* One answer that occurs. */
typedef struct thaw_old_count {
    int64_t answer;
    int64_t n, right; /* Pictures with that answer; those that the new head names rightly. */
} thaw_old_count;

typedef struct thaw_old_answers {
    const thaw_kept_head *kept; /* NULL: none. */
    thaw_kept_answer *answers;  /* [n] In the rows' order. */
    int64_t n;
    thaw_old_count *counts; /* [n_counts] By falling n. */
    int64_t n_counts;
} thaw_old_answers;

/* Asks the kept head of all rows, and counts; metrics: the new head's, of the same rows. In the arena. What
 * thaw_kept_head_answer returns; ERR_NOMEM. */
thaw_status thaw_old_answers_of(thaw_kept_head *kept, const thaw_rows *rows,
                                const thaw_metrics *metrics, thaw_arena *arena,
                                thaw_old_answers *old, thaw_error *err);

/* Both do nothing where kept is NULL: "old": {"output", "exact", "answers": [{"answer", "n", "top1"}]}, */
void thaw_old_answers_json(const thaw_old_answers *old, thaw_json *json, json_t *into);
/* and a few lines below the results' table. */
void thaw_old_answers_print(FILE *out, const thaw_old_answers *old);

#endif
