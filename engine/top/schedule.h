/* Learning rates: a linear warm-up, then one of three shapes. A pure function of the step. */
#ifndef THAW_SCHEDULE_H
#define THAW_SCHEDULE_H

#include <stdint.h>

#include "enum.h"

/* step: a tenth after half of the steps, a hundredth after three quarters. cosine: half a cosine
 * down to 0 (Loshchilov & Hutter 2017, no restarts). */
#define THAW_SCHEDULE_LIST(X)             \
    X(THAW_SCHEDULE_CONSTANT, "constant") \
    X(THAW_SCHEDULE_STEP, "step")         \
    X(THAW_SCHEDULE_COSINE, "cosine")
typedef enum thaw_schedule_kind { THAW_SCHEDULE_LIST(THAW_ENUM_VALUE) } thaw_schedule_kind;

typedef struct thaw_schedule {
    thaw_schedule_kind kind;
    double lr;            /* At its highest. */
    int64_t warmup_steps; /* Step s of them runs at lr (s + 1) / warmup_steps. */
    int64_t total_steps;
} thaw_schedule;

/* The learning rate of a step, 0 .. total_steps - 1. The shape starts after the warm-up. */
double thaw_schedule_lr(const thaw_schedule *schedule, int64_t step);

#endif
