/* From a batch's gradient to the weights of the next step.
 *
 * On the host an optimizer works on the params' values and the caller's blocks. On a device all of them
 * live in its memory from begin on, beside the gradient: a step is queued behind the backward pass, and
 * nothing of it crosses the bus but sums of losses, which the host looks at one step late. There the host's
 * blocks are as old as the last fetch.
 */
#ifndef THAW_OPTIMIZE_H
#define THAW_OPTIMIZE_H

#include "program.h"

/* Blocks are of the host, [n of params], laid out like params->values. */
typedef struct thaw_top_optimizer {
    bool sgd; /* Otherwise AdamW. */
    float momentum, beta1, beta2, epsilon, weight_decay;
    double clip;             /* The longest gradient; 0: any. */
    float running;           /* How fast running statistics follow the batch's. */
    float *moment, *average; /* SGD's velocity, AdamW's first moment; NULL: no average is kept. */
    float *second;           /* AdamW's second moment; else NULL. */
} thaw_top_optimizer;

/* Before the first step; the blocks hold what it starts from, and outlive the top. Rates of segments are
 * those of the moment. Once. ERR_NOMEM; ERR_BACKEND. */
thaw_status thaw_top_begin(thaw_top *top, const thaw_top_optimizer *optimizer, thaw_error *err);

/* One step: the batch's gradient is clipped, weights, average and running statistics follow, and what steps of
 * the program read does. step counts from 1; keep: how much the average keeps of itself. A device has only been
 * asked to when this returns, all of it as one graph where the batch is one lane, and the next step is
 * prepared meanwhile.
 *
 * bad_step: the first step whose loss was not finite, from which on nothing changes any more, as far as it is known:
 * on the host up to this one, of a device up to the one before; 0: none. */
thaw_status thaw_top_train(thaw_top *top, const thaw_top_batch *batch, double lr, int64_t step,
                           float keep, int64_t *bad_step, thaw_error *err);

/* What steps add to: from zero, or what a stopped training had; settled before. And what it has become once all
 * steps are made. */
thaw_status thaw_top_count_from(thaw_top *top, const thaw_loss_sums *sums, thaw_error *err);
thaw_status thaw_top_settle(thaw_top *top, thaw_loss_sums *sums, thaw_error *err);

/* The host's blocks and values become those of the moment: weights, average and running statistics, with
 * `all` the moments, too. And back, all. Nothing to do where they are one. */
thaw_status thaw_top_fetch(thaw_top *top, bool all, thaw_error *err);
thaw_status thaw_top_send(thaw_top *top, thaw_error *err);

#endif
