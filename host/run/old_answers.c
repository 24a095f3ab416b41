#include "old_answers.h"

#include <stdlib.h>

#include "utf8.h"

/* By falling number; equal ones by rising answer. */
static int compare_counts(const void *a, const void *b) {
    const thaw_old_count *x = a, *y = b;
    if (x->n != y->n) return x->n > y->n ? -1 : 1;
    return x->answer < y->answer ? -1 : x->answer > y->answer;
}

static thaw_status count(thaw_old_answers *old, const thaw_metrics *metrics, thaw_arena *arena,
                         thaw_error *err) {
    int64_t all = (int64_t)old->kept->n_labels;
    old->counts = thaw_arena_array(arena, (size_t)all, sizeof *old->counts);
    if (!old->counts) return thaw_fail_memory(err, "for the old head's answers");
    for (int64_t k = 0; k < all; k++)
        old->counts[k].answer = k;
    for (int64_t i = 0; i < old->n; i++) {
        thaw_old_count *c = &old->counts[old->answers[i].answer];
        c->n++;
        c->right += metrics->answers[i].answer == metrics->answers[i].label;
    }
    qsort(old->counts, (size_t)all, sizeof *old->counts, compare_counts);
    while (old->n_counts < all && old->counts[old->n_counts].n > 0)
        old->n_counts++;
    return THAW_OK;
}

thaw_status thaw_old_answers_of(thaw_kept_head *kept, const thaw_rows *rows,
                                const thaw_metrics *metrics, thaw_arena *arena,
                                thaw_old_answers *old, thaw_error *err) {
    *old = (thaw_old_answers){0};
    thaw_kept_answer *answers = thaw_arena_array(arena, (size_t)rows->n, sizeof *answers);
    if (!answers) return thaw_fail_memory(err, "for the old head's answers");
    THAW_TRY(thaw_kept_head_answer(kept, rows, 0, rows->n, answers, err));
    *old = (thaw_old_answers){.kept = kept, .answers = answers, .n = rows->n};
    return count(old, metrics, arena, err);
}

void thaw_old_answers_json(const thaw_old_answers *old, thaw_json *json, json_t *into) {
    if (!old->kept) return;
    json_t *object = thaw_json_object(json, into, "old");
    thaw_json_text(json, object, "output", old->kept->output);
    thaw_json_boolean(json, object, "exact", old->kept->exact);
    json_t *list = thaw_json_array(json, object, "answers");
    for (int64_t i = 0; i < old->n_counts; i++) {
        const thaw_old_count *c = &old->counts[i];
        json_t *one = thaw_json_object(json, list, NULL);
        thaw_json_text(json, one, "answer", old->kept->labels[c->answer]);
        thaw_json_integer(json, one, "n", c->n);
        thaw_json_real(json, one, "top1", (double)c->right / (double)c->n);
    }
}

void thaw_old_answers_print(FILE *out, const thaw_old_answers *old) {
    enum { MOST = 5 }; /* ImageNet's classes are no news. */
    if (!old->kept) return;
    for (int64_t i = 0; i < old->n_counts && i < MOST; i++) {
        const thaw_old_count *c = &old->counts[i];
        fputs(i == 0 ? "old head    " : "            ", out);
        thaw_utf8_put(out, old->kept->labels[c->answer], 0);
        fprintf(out, " %.1f %% (%lld pictures, of which the new head names %.1f %% rightly)\n",
                100 * (double)c->n / (double)old->n, (long long)c->n,
                100 * (double)c->right / (double)c->n);
    }
    if (old->n_counts > MOST)
        fprintf(out, "            and %lld more answers\n", (long long)(old->n_counts - MOST));
}
