/* A head that is as sure of itself as it is right: one number by which logits are divided (Guo et al. 2017,
 * "On calibration of modern neural networks"). It changes no answer. */
#ifndef THAW_TEMPERATURE_H
#define THAW_TEMPERATURE_H

#include "head.h"

/* The temperature T with the lowest cross-entropy of softmax(logits / T): logits [n, K], label [n] in
 * 0 .. K-1, of rows that the head was not trained on. Rows that hold what is no number do not count.
 *
 * Of each label 1 / (2 (n + 1)) goes to the other classes, as if of one row more a half were wrong (Krichevsky and
 * Trofimov 1981): n right answers do not prove that none is ever wrong, and without it T would be 0 then. In 1/64 .. 64; 1 where there are
 * no rows, or nothing that T could change. In double and in the order of the rows. */
double thaw_temperature_fit(int64_t K, int64_t n, const float *logits, const int32_t *label);

/* The same of a folded head's logits of rows, or of as many as 64 MB of logits are of. ERR_NOMEM; ERR_BACKEND; what
 * gather returns. */
thaw_status thaw_temperature_measure(const thaw_head *head, const thaw_top_slots *top,
                                     const thaw_rows *rows, double *T, thaw_error *err);

/* Divides the last layer by T, so that all that reads the head has calibrated scores. */
void thaw_temperature_apply(thaw_head *head, double T);

#endif
