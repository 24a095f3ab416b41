/* Two ways of answering, compared on the same pictures: so that noise is not taken for a difference. */
#ifndef THAW_PAIRED_H
#define THAW_PAIRED_H

#include <stdint.h>

#include "status.h"

/* right[r * n + i] is 1 where picture i was answered rightly in the r-th of n_runs runs. */
typedef struct thaw_trials {
    int64_t n;
    int n_runs;
    const uint8_t *right;
} thaw_trials;

typedef struct thaw_accuracy {
    double mean;
    double error; /* Its standard error. */
} thaw_accuracy;

/* Over all runs and pictures. The error has two parts, squared and added: of pictures, as if they were drawn
 * from more of their kind, and of runs, by how much their accuracies differ. */
thaw_accuracy thaw_trials_accuracy(const thaw_trials *trials);

typedef struct thaw_paired {
    double difference; /* Accuracy of a minus that of b. */
    double low, high;  /* 95 % of what other pictures of the kind would give (paired bootstrap). */
    double p;          /* Of a difference as large, if there were none. */
    int64_t only_a, only_b; /* Pictures that one answers rightly more often than the other. */
} thaw_paired;

/* a and b have the same pictures in the same order. With one run each p is the exact two-sided McNemar test;
 * with more, each picture's difference is the mean over the runs, and its sign is drawn anew (a permutation
 * test). Random numbers begin at a fixed seed: the same input gives the same bits. ERR_NOMEM. */
thaw_status thaw_paired_compare(const thaw_trials *a, const thaw_trials *b, thaw_paired *paired,
                                thaw_error *err);

#endif
