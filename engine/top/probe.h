/* The linear probe: a linear head at the optimum of its objective, by L-BFGS over all rows at once.
 *
 *   f(W, b) = sum of c_i cross_entropy_i / sum of c_i  +  l2 / 2 |W|^2
 *
 * c: the class weights; the biases bear no penalty. It is convex, so that what comes out is a matter
 * of the rows alone: no seed, no learning rate, no number of epochs. scikit-learn's
 * LogisticRegression minimises the same with C = 1 / (l2 n).
 *
 * The penalty can be chosen on the validation rows: of THAW_PROBE_POINTS from the strongest to the
 * weakest, 1e5 / n to 1e-6 / n, each solution where the next search starts, the one with the lowest
 * validation loss. This is how the transfer papers measure features (Kornblith, Shlens and Le 2019,
 * "Do better ImageNet models transfer better?"), who choose by top-1.
 *
 * That walk goes through the float kernels, whose rounding ends it some digits before the optimum;
 * with the penalty that is kept the search goes on in double.
 */
#ifndef THAW_PROBE_H
#define THAW_PROBE_H

#include "trainer.h"

enum { THAW_PROBE_POINTS = 45 };

/* The i-th penalty of the path for n rows, i from 0. */
double thaw_probe_l2(int64_t i, int64_t n);

/* For thaw_train: solves the head, which is linear, at zero and scaled, and leaves its optimum in it,
 * unfolded. job->options.l2_path: validation chooses the penalty; otherwise it is weight_decay. Calls
 * on_epoch after each penalty. */
thaw_status thaw__probe(const thaw_train_job *job, const float *class_weight, thaw_head *head,
                        thaw_train_result *result, thaw_error *err);

#endif
