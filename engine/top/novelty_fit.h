/* Which way of saying `unknown` a training takes, and from which distance on.
 *
 * No picture of what will be unknown is needed: some classes are left out in turn, and what validates is
 * measured by the training rows of the others. The way that tells those of the classes left out apart best, by
 * the mean area under the ROC curve, is taken, or the first of those that are within a standard error of it (of
 * the paired differences; Breiman et al. 1984): a handful of pictures tells no nearer ones apart. Its threshold is what the stated share of all that validates
 * lies above. */
#ifndef THAW_NOVELTY_FIT_H
#define THAW_NOVELTY_FIT_H

#include "head.h"
#include "novelty.h"

enum {
    THAW_NOVELTY_TRIALS = 3,
    THAW_NOVELTY_FOLDS = 5, /* Groups of classes that are left out, at most. */
    THAW_NOVELTY_MOST_NUMBERS =
        8 << 20, /* Of training rows that are kept: 16 MB, a millisecond a picture. */
    THAW_NOVELTY_MOST_VALIDATION = 2048,
};

/* Rows that lie in memory, of length 1. */
typedef struct thaw_novelty_sample {
    int64_t n, D;
    float *x;       /* [n, D]; those trained on are numbers of half precision, as they are kept. */
    int32_t *label; /* [n] */
    int64_t n_all;  /* So many there were. */
} thaw_novelty_sample;

/* What is to be known: all training rows, or as many of each class as THAW_NOVELTY_MOST_NUMBERS holds, from all
 * over it. In the arena. ERR_NOMEM; what gather returns. */
thaw_status thaw_novelty_sample_train(thaw_novelty_sample *sample, const thaw_rows *rows, int64_t K,
                                      thaw_arena *arena, thaw_error *err);

/* Of what validates as many as fit and THAW_NOVELTY_MOST_VALIDATION, from all over it. */
thaw_status thaw_novelty_sample_validation(thaw_novelty_sample *sample, const thaw_rows *rows,
                                           thaw_arena *arena, thaw_error *err);

/* One way that was tried. */
typedef struct thaw_novelty_trial {
    thaw_novelty_method method;
    int64_t k;
    double auroc; /* NaN: what validates is all of one class, or the way does not fit these rows. */
} thaw_novelty_trial;

typedef struct thaw_novelty_fit {
    thaw_novelty novelty;
    thaw_novelty_trial trials[THAW_NOVELTY_TRIALS];
    float *distance; /* [n of what validates], ascending. */
    int64_t n;
} thaw_novelty_fit;

/* Chooses; rate is 0 < rate < 1. Of n distances the threshold is the one of rank ceil((n + 1) (1 - rate)), so
 * that a further known picture lies above it with that probability at most; the largest where n is too small
 * for the rate. In the arena. ERR_DATA: nothing validates; ERR_NOMEM; ERR_BACKEND. */
thaw_status thaw_novelty_choose(const thaw_top_slots *top, int64_t K,
                                const thaw_novelty_sample *train,
                                const thaw_novelty_sample *validation, double rate,
                                thaw_arena *arena, thaw_novelty_fit *fit, thaw_error *err);

#endif
