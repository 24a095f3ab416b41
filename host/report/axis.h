/* An axis of a chart: what it reaches from and to, where its ticks are and what they say. */
#ifndef THAW_AXIS_H
#define THAW_AXIS_H

#include <stdbool.h>
#include <stddef.h>

#include "units.h"

typedef struct thaw_axis {
    const char *label;        /* Below, or beside; NULL: none. */
    double low, high;         /* Of what is shown. Equal ones, or none, are widened. */
    bool log;                 /* Values above zero only. */
    bool whole;               /* Only whole numbers have ticks. */
    bool exact;               /* Ends at low and high, instead of at the ticks around them. */
    thaw_unit unit;           /* Of the ticks. */
    const char *const *names; /* [n_names] at 0, 1, ... in place of ticks; NULL: figures. */
    size_t n_names;
} thaw_axis;

/* An axis that holds all n values, and those it holds already; start with {.low = NAN, .high = NAN}. */
void thaw_axis_hold(thaw_axis *axis, const double *values, size_t n);

/* log becomes true where the values span so much that they could not be told apart otherwise. */
void thaw_axis_choose_log(thaw_axis *axis);

/* ---- for charts ------------------------------------------------------------------------------- */

/* The axis as it is shown, from a rounded number to another one; the functions below take such. */
thaw_axis thaw_axis_settle(const thaw_axis *axis);

/* 0 .. 1 from low to high, beyond them outside of that; NaN for what has no place. */
double thaw_axis_place(const thaw_axis *axis, double value);

/* at: receives the values that have ticks; returns how many. */
enum { THAW_AXIS_MOST_TICKS = 24 };
size_t thaw_axis_ticks(const thaw_axis *axis, double at[THAW_AXIS_MOST_TICKS]);

void thaw_axis_tick_text(char text[THAW_UNIT_TEXT], const thaw_axis *axis, double value);

#endif
