/* What a training of mini-batches is made of, one head or many: in which order rows come, what a batch
 * weighs, how the rate falls, how a step moves the weights, and which epoch is kept. */
#ifndef THAW_STEPS_H
#define THAW_STEPS_H

#include "trainer.h"

/* AdamW's, as everywhere. */
#define THAW_STEPS_BETA1 0.9f
#define THAW_STEPS_BETA2 0.999f
#define THAW_STEPS_EPSILON 1e-8f

/* Of all steps of a training on n rows. */
thaw_schedule thaw_steps_schedule(const thaw_train_options *options, int64_t n);

/* The order in which an epoch, from 1, takes the n rows; returns what chooses their views. */
thaw_rng thaw_steps_order(const thaw_train_options *options, int64_t epoch, int64_t n,
                          int64_t *order);

/* M training rows, or one of the views of each, as they are into x [M,D], and their labels. index is
 * room for M numbers. Rows of an epoch are loaded in its order. Fails as gather does. */
thaw_status thaw_steps_load(const thaw_train_job *job, const int64_t *rows, int64_t M,
                            thaw_rng *choice, int64_t *index, float *x, int32_t *label,
                            thaw_error *err);

/* Inverse frequency with mean 1 over the n rows, into weight [K]; 1 for a class without rows. count is
 * room for K numbers. */
void thaw_steps_class_weights(const int32_t *label, int64_t n, int64_t K, int64_t *count,
                              float *weight);

/* The same for labels that are sets: how much more a class counts where it is there than where it is not, rows
 * without it / rows with it; 1 where either has none. (PyTorch's pos_weight.) */
void thaw_steps_positive_weights(const thaw_label_sets *sets, const int32_t *label, int64_t n,
                                 int64_t *count, float *weight);

/* target[M,K] of M labels that are sets: 1 where the class is there, and 0, both moved by smoothing / 2. */
void thaw_steps_targets(const thaw_label_sets *sets, const int32_t *label, int64_t M,
                        float smoothing, float *target);

/* How many of M rows say of each class rightly whether it is there: logit above 0, and no NaN. */
int64_t thaw_steps_exact(const thaw_label_sets *sets, int64_t M, const float *logits,
                         const int32_t *label);

/* What M rows weigh together; class_weight NULL: ones. */
double thaw_steps_weight(const float *class_weight, const int32_t *label, int64_t M);

/* Step number `step`, from 1, of n parameters by their gradient dw, with the moments v and, AdamW only,
 * second. Returns the kernel's code. */
int thaw_steps_update(const thaw_top_slots *top, const thaw_train_options *options, int64_t n,
                      float *w, const float *dw, float *v, float *second, double lr, double decay,
                      int64_t step);

/* What validation says of an epoch, from finished metrics. */
void thaw_steps_validated(const thaw_metrics *metrics, thaw_epoch *epoch);

/* Whether this epoch's weights are kept instead of those of `kept`: without patience, and where nothing
 * validates, the last ones; otherwise those with the lowest validation loss. */
bool thaw_steps_keeps(const thaw_train_options *options, bool validates, const thaw_epoch *epoch,
                      const thaw_epoch *kept);

#endif
