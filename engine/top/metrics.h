/* What a classifier scored, from rows of logits and their labels.
 *
 * Log-probabilities are logits too (softmax(log p) = p), so either can be given. Rows are added in
 * any number of batches and give the same bits however they are cut into batches. Memory grows with
 * the classes and, where the answers are kept, with the rows, never with classes squared.
 *
 * Where labels are sets of classes (thaw_metrics_take_sets), scores are sigmoids, and a class is answered where its
 * score is above 0.5: top1 is the share of rows where all classes are right, loss the cross-entropy summed over the
 * classes, right, answered, precision, recall and f1 are of each class by itself, top5 is 0, and
 *   map       mean over the classes that have rows of average precision: the mean of the precision at each of the
 *             class's rows, by falling score, equal scores at once (scikit-learn's average_precision_score)
 *   f1_micro  2 right / (answered + support), each summed over the classes
 *   f1_macro  mean of f1 over the classes that have rows
 * Then memory grows with rows times classes.
 */
#ifndef THAW_METRICS_H
#define THAW_METRICS_H

#include "arena.h"
#include "label_sets.h"
#include "status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is said of one row. */
typedef struct thaw_answer {
    int32_t label;       /* The truth. */
    int32_t answer;      /* The class with the highest logit; -1: the row holds a NaN. */
    float score, margin; /* Its probability, and by how much the next one's is lower. */
    float own;           /* The probability of the truth. */
    float plain;         /* What score is without the metrics' temperature. */
} thaw_answer;

typedef struct thaw_metrics {
    int64_t K;
    int64_t n;         /* Rows. */
    int64_t n_nan;     /* Rows that hold a NaN: wrong in every count, and never an answer. */
    double loss;       /* Mean cross-entropy of the others, no smoothing, no class weights; NaN
                           * when there are no others. */
    double top1;       /* Share of rows whose label has the highest logit. */
    double top5;       /* ... is among the five highest; all rows when K <= 5, NaN apart. */
    double balanced;   /* Mean of recall over the classes that have rows. */
    double *precision; /* K: right / answered; 0 when never answered. */
    double *recall;    /* K: right / support; 0 when there is no row. */
    double *f1;        /* K: harmonic mean of the two; 0 when both are. */
    int64_t *support;  /* K: rows of the class, */
    int64_t *right;    /* those of them that were answered right, */
    int64_t *answered; /* and rows, of any class, that were answered with it. */
    const thaw_label_sets *sets; /* NULL: labels are classes; the rest is 0. */
    double map, f1_micro, f1_macro;
    double *average_precision; /* K: 0 when there is no row. */
    float *logits;             /* [most rows, K] */
    int32_t *row_label;        /* [most rows] */
    thaw_answer *answers;      /* [n] in the order of the rows; NULL: not kept. */

    double loss_sum;
    int64_t *order; /* [most rows], for the sums over a class's rows. */
    int64_t n_top1, n_top5;
    double temperature; /* By which the logits were divided before they came; 1: they were not. */
} thaw_metrics;

/* How many classes rank before the label in one row of K logits: the higher ones, and of equal ones
 * the lower classes. 0: the answer is right. K when the row holds a NaN. */
int64_t thaw_metrics_rank(int64_t K, const float *logits, int32_t label);

/* Empty metrics with their arrays in the arena. most_answers: the answers of so many rows are kept,
 * and there will be no more rows; 0: none are kept, of any number. ERR_NOMEM. */
thaw_status thaw_metrics_init(thaw_metrics *metrics, int64_t K, int64_t most_answers,
                              thaw_arena *arena, thaw_error *err);

/* Labels will be sets, of at most so many rows; NULL: nothing. Before any row. ERR_NOMEM. */
thaw_status thaw_metrics_take_sets(thaw_metrics *metrics, const thaw_label_sets *sets,
                                   int64_t most_rows, thaw_arena *arena, thaw_error *err);

/* Forgets all rows. */
void thaw_metrics_reset(thaw_metrics *metrics);

/* Adds M rows: logits [M,K], label [M] in 0 .. K-1, or in the sets. */
void thaw_metrics_add(thaw_metrics *metrics, int64_t M, const float *logits, const int32_t *label);

/* Computes the shares and means from the rows so far; all are 0 when there is none. */
void thaw_metrics_finish(thaw_metrics *metrics);

/* How well probabilities are what they say: of answers with a probability of 0.8, four fifths should be
 * right. Bins of equal width, (b/15, (b+1)/15]; ece is the expected calibration error, the mean over
 * the rows of the distance between score and share of right answers in their bin (Guo et al. 2017). */
enum { THAW_CALIBRATION_BINS = 15 };
typedef struct thaw_calibration {
    double ece; /* NaN without rows. */
    int64_t n[THAW_CALIBRATION_BINS];
    double score[THAW_CALIBRATION_BINS],
        right[THAW_CALIBRATION_BINS]; /* Means; NaN where n is 0. */
} thaw_calibration;

/* Of the answers kept, by their scores, or by the plain ones; NaN rows do not count. */
void thaw_metrics_calibrate(const thaw_metrics *metrics, bool plain, thaw_calibration *calibration);

/* So many rows of a class were answered with this one. */
typedef struct thaw_confusion {
    int32_t label, answer;
    int64_t n;
} thaw_confusion;

/* The pairs that occur among the answers kept, right ones included, by label and then by answer; they
 * lie in the arena. NaN rows are in none. ERR_NOMEM. */
thaw_status thaw_metrics_confusion(const thaw_metrics *metrics, thaw_arena *arena,
                                   thaw_confusion **pairs, size_t *n, thaw_error *err);

#endif
