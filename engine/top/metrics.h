/* What a classifier scored, from rows of logits and their labels.
 *
 * Log-probabilities are logits too (softmax(log p) = p), so either can be given. Rows are added in
 * any number of batches and give the same bits however they are cut into batches.
 */
#ifndef THAW_METRICS_H
#define THAW_METRICS_H

#include "arena.h"
#include "status.h"

#include <stdint.h>

typedef struct thaw_metrics {
    int64_t K;
    int64_t n;          /* Rows. */
    int64_t n_nan;      /* Rows that hold a NaN: wrong in every count, in no column of confusion. */
    double loss;        /* Mean cross-entropy, no smoothing, no class weights. */
    double top1;        /* Share of rows whose label has the highest logit. */
    double top5;        /* ... is among the five highest; all rows when K <= 5, NaN apart. */
    double balanced;    /* Mean of recall over the classes that have rows. */
    double *precision;  /* K: right / predicted; 0 when never predicted. */
    double *recall;     /* K: right / support; 0 when there is no row. */
    double *f1;         /* K: harmonic mean of the two; 0 when both are. */
    int64_t *support;   /* K: rows of the class. */
    int64_t *confusion; /* K, K: [true][predicted]. */

    double loss_sum;
    int64_t n_top1, n_top5;
} thaw_metrics;

/* How many classes rank before the label in one row of K logits: the higher ones, and of equal ones
 * the lower classes. 0: the answer is right. K when the row holds a NaN. */
int64_t thaw_metrics_rank(int64_t K, const float *logits, int32_t label);

/* Empty metrics with their arrays in the arena. ERR_NOMEM. */
thaw_status thaw_metrics_init(thaw_metrics *metrics, int64_t K, thaw_arena *arena, thaw_error *err);

/* Forgets all rows. */
void thaw_metrics_reset(thaw_metrics *metrics);

/* Adds M rows: logits [M,K], label [M] in 0 .. K-1. */
void thaw_metrics_add(thaw_metrics *metrics, int64_t M, const float *logits, const int32_t *label);

/* Computes the shares and means from the rows so far; all are 0 when there is none. */
void thaw_metrics_finish(thaw_metrics *metrics);

#endif
