/* How far a row of features is from all that a network was trained on, so that it can say `unknown`.
 *
 * Rows are first divided by their length: what they point at says what is seen, how long they are mostly how
 * clearly (Sun et al. 2022, "Out-of-distribution detection with deep nearest neighbors"; Mueller and Hein
 * 2025, "Mahalanobis++"). Then
 *
 *   knn           1 - cosine of the k-th nearest training row
 *   mahalanobis   the distance from the nearest class mean, in units of what varies within classes (Lee et al.
 *                 2018); sqrt((x - mean)^T covariance^-1 (x - mean)), one covariance for all classes
 */
#ifndef THAW_NOVELTY_H
#define THAW_NOVELTY_H

#include "arena.h"
#include "enum.h"
#include "kernels.h"
#include "status.h"

#define THAW_NOVELTY_LIST(X)     \
    X(THAW_NOVELTY_NONE, "none") \
    X(THAW_NOVELTY_KNN, "knn")   \
    X(THAW_NOVELTY_MAHALANOBIS, "mahalanobis")
typedef enum thaw_novelty_method { THAW_NOVELTY_LIST(THAW_ENUM_VALUE) } thaw_novelty_method;

typedef struct thaw_novelty {
    thaw_novelty_method method; /* NONE: nothing is ever unknown. */
    int64_t D, n; /* Features; rows, of which knn has training rows, mahalanobis class means. */
    int64_t k;    /* Of knn, 1 .. THAW_NOVELTY_MOST_K. */
    const float *rows;   /* [n, D] of length 1; or means, whitened. */
    const float *centre; /* [D]; of mahalanobis, as whiten: */
    const float *whiten; /* [D, D] y = whiten (x - centre) varies by 1 in every direction. */
    double threshold;    /* What is further away is unknown. */
    double rate;         /* Share of known pictures for which that was chosen. */
} thaw_novelty;

enum { THAW_NOVELTY_MOST_K = 10 };

/* What is said in place of a class. */
#define THAW_UNKNOWN "unknown"

/* "none", "knn", "mahalanobis". */
const char *thaw_novelty_name(thaw_novelty_method method);

/* Divides a row of D features by its length. A row of zeros, or one whose length is no number, becomes zeros. */
void thaw_novelty_normalise(int64_t D, float *x);

/* Floats that thaw_novelty_measure needs. */
size_t thaw_novelty_scratch(const thaw_novelty *novelty);

/* distance [M] of rows x [M, D] as the head reads them; infinite, never NaN, where they are no numbers. A
 * row's distance is the same bits whatever stands beside it. Nothing is allocated. ERR_BACKEND. */
thaw_status thaw_novelty_measure(const thaw_novelty *novelty, const thaw_top_slots *top, int64_t M,
                                 const float *x, float *scratch, float *distance, thaw_error *err);

static inline bool thaw_novelty_is_unknown(const thaw_novelty *novelty, float distance) {
    return novelty->method != THAW_NOVELTY_NONE && !((double)distance <= novelty->threshold);
}

#endif
