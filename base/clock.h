/* Time, for measuring and for waiting. */
#ifndef THAW_CLOCK_H
#define THAW_CLOCK_H

/* Seconds of CLOCK_MONOTONIC: they only grow, whatever happens to the date. */
double thaw_now_s(void);

#endif
