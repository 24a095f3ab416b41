#include "schedule.h"

#include <math.h>

double thaw_schedule_lr(const thaw_schedule *schedule, int64_t step) {
    int64_t warmup = schedule->warmup_steps;
    if (step < warmup) return schedule->lr * (double)(step + 1) / (double)warmup;
    double done = (double)(step - warmup) / (double)(schedule->total_steps - warmup);
    switch (schedule->kind) {
        case THAW_SCHEDULE_CONSTANT:
            break;
        case THAW_SCHEDULE_STEP:
            return schedule->lr * (done < 0.5 ? 1 : done < 0.75 ? 0.1 : 0.01);
        case THAW_SCHEDULE_COSINE:
            return schedule->lr * 0.5 * (1 + cos(3.14159265358979323846 * done));
    }
    return schedule->lr;
}
