/* Which points of a sweep's axes are tried.
 *
 * Lists alone make a grid: all of it, or as many of its points as are wanted, drawn at random. With a
 * range the points fill the box evenly, however many they are: the additive recurrence
 * frac(shift + i / g^(j+1)) in dimension j, where g is the positive root of g^(d+1) = g + 1 (Roberts 2018,
 * "The unreasonable effectiveness of quasirandom sequences"), shifted at random (Cranley & Patterson
 * 1976).
 */
#ifndef THAW_POINTS_H
#define THAW_POINTS_H

#include <stdint.h>

#include "options/axes.h"

typedef struct thaw_points {
    size_t n;
    const char *const *values; /* [n, axes] as text; in the arena. */
} thaw_points;

/* n points that differ, a function of axes and seed; n = 0: 64, or what a grid has if that is less.
 * ERR_USAGE: there are not so many; ERR_NOMEM. */
thaw_status thaw_points_draw(const thaw_axes *axes, size_t n, uint64_t seed, thaw_arena *arena,
                             thaw_points *points, thaw_error *err);

#endif
