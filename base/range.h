/* The legal values of a number. */
#ifndef THAW_RANGE_H
#define THAW_RANGE_H

#include <stdbool.h>

typedef struct thaw_range {
    double least, most; /* Both are legal. */
} thaw_range;

/* Never true of NaN. */
static inline bool thaw_range_holds(const thaw_range *range, double value) {
    return value >= range->least && value <= range->most;
}

#endif
