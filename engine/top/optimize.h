/* From a batch's gradient to the weights of the next step.
 *
 * On the host an optimizer works on the params' values and the caller's blocks. On a device all of them
 * live in its memory from begin on, beside the gradient: a step is queued behind the backward pass, and
 * nothing of it crosses the bus. There the host's blocks are as old as the last fetch.
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

/* By the gradient of the last backward pass, which is used up: the gradient is clipped, weights, average and
 * running statistics follow, and steps read the new ones. step counts from 1; keep: how much the average
 * keeps of itself. */
thaw_status thaw_top_step(thaw_top *top, double lr, int64_t step, float keep, thaw_error *err);

/* The host's blocks and values become those of the moment: weights, average and running statistics, with
 * `all` the moments, too. And back, all. Nothing to do where they are one. */
thaw_status thaw_top_fetch(thaw_top *top, bool all, thaw_error *err);
thaw_status thaw_top_send(thaw_top *top, thaw_error *err);

#endif
