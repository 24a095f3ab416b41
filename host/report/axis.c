#include "axis.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void thaw_axis_hold(thaw_axis *axis, const double *values, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(values[i])) continue;
        if (!(axis->low <= values[i])) axis->low = values[i];
        if (!(axis->high >= values[i])) axis->high = values[i];
    }
}

void thaw_axis_choose_log(thaw_axis *axis) {
    enum { MUCH = 15 };
    axis->log = axis->low > 0 && axis->high > MUCH * axis->low;
}

static double rounded_step(double least) {
    double power = pow(10, floor(log10(least))), first = least / power;
    return power * (first <= 1 ? 1 : first <= 2 ? 2 : first <= 5 ? 5 : 10);
}

/* A range that is one, within what a double can divide. */
static void widen(thaw_axis *a) {
    const double most = 1e15;
    if (!isfinite(a->low) || !isfinite(a->high)) a->low = a->log ? 0.1 : 0, a->high = 1;
    a->low = fmax(a->low, a->log ? 1 / most : -most);
    a->high = fmin(a->high, most);
    if (a->high - a->low > 1e-9 * fmax(fabs(a->low), fabs(a->high))) return;
    double middle = a->low, by = a->log ? 0 : middle != 0 ? fabs(middle) / 4 : 0.5;
    a->low = a->log ? middle / 3 : middle - by;
    a->high = a->log ? middle * 3 : middle + by;
}

/* What figures near this one are counted in: their steps are round in that. */
static double counted_in(thaw_unit unit, double value) {
    enum { MINUTE = 60, HOUR = 3600, FROM = 2, STEP = 1024 };
    double base = 1;
    if (unit == THAW_UNIT_SECONDS)
        base = value >= FROM * HOUR ? HOUR : value >= FROM * MINUTE ? MINUTE : 1;
    while (unit == THAW_UNIT_BYTES && value >= base * STEP)
        base *= STEP;
    return base;
}

static double linear_step(const thaw_axis *a) {
    enum { PARTS = 4 };
    double base = counted_in(a->unit, a->high);
    double step = base * rounded_step((a->high - a->low) / PARTS / base);
    return a->whole ? fmax(1, step) : step;
}

/* Leaves some room at both ends. */
static void spread(thaw_axis *a) {
    double factor = pow(a->high / a->low, 0.05);
    a->low /= factor;
    a->high *= factor;
}

thaw_axis thaw_axis_settle(const thaw_axis *given) {
    thaw_axis a = *given;
    if (a.names) {
        a.low = -0.5;
        a.high = (double)(a.n_names ? a.n_names : 1) - 0.5;
        return a;
    }
    widen(&a);
    if (a.log && !a.exact) spread(&a);
    if (a.log || a.exact) return a;
    double step = linear_step(&a);
    bool share = a.unit == THAW_UNIT_SHARE && given->low >= 0 && given->high <= 1;
    a.low = step * floor(a.low / step + 1e-9);
    a.high = step * ceil(a.high / step - 1e-9);
    if (share) a.low = fmax(a.low, 0), a.high = fmin(a.high, 1);
    return a;
}

double thaw_axis_place(const thaw_axis *a, double value) {
    if (a->log) return value > 0 ? log(value / a->low) / log(a->high / a->low) : NAN;
    return (value - a->low) / (a->high - a->low);
}

/* Takes the numbers of a rising list that are on the axis; returns how many there are. */
static size_t pick(const thaw_axis *a, const double *list, size_t n, size_t every,
                   double at[THAW_AXIS_MOST_TICKS]) {
    size_t n_ticks = 0;
    for (size_t i = 0; i < n && n_ticks < THAW_AXIS_MOST_TICKS; i += every)
        if (list[i] >= a->low * (1 - 1e-9) && list[i] <= a->high * (1 + 1e-9))
            at[n_ticks++] = list[i];
    return n_ticks;
}

/* Fills list with base, and each next one by the next of the cycle's factors, up to high. */
static size_t climb(double base, const double *factors, size_t cycle, double high, double *list,
                    size_t most) {
    size_t n = 0;
    for (double value = base; value <= high * (1 + 1e-9) && n < most; n++) {
        list[n] = value;
        value *= factors[n % cycle];
    }
    return n;
}

/* 1, 2, 5, 10 and so on; powers of 2 of bytes; seconds as clocks have them. */
static size_t log_ticks(const thaw_axis *a, double at[THAW_AXIS_MOST_TICKS]) {
    static const double usual[] = {2, 2.5, 2}, bytes[] = {2};
    static const double clock[] = {0.01, 0.1,  0.5,   1,     2,     5,      10,
                                   20,   30,   60,    120,   300,   600,    1800,
                                   3600, 7200, 18000, 36000, 86400, 360000, 3600000};
    enum { MOST = 400, MANY = 7, MINUTE = 60 };
    double list[MOST];
    size_t n, ticks, every = 1;
    if (a->unit == THAW_UNIT_BYTES)
        n = climb(1, bytes, 1, a->high, list, MOST);
    else
        n = climb(pow(10, floor(log10(a->low))), usual, 3, a->high, list, MOST);
    bool clocked = a->unit == THAW_UNIT_SECONDS && a->high > MINUTE;
    if (clocked) {
        n = sizeof clock / sizeof *clock;
        memcpy(list, clock, sizeof clock);
    }
    while ((ticks = pick(a, list, n, every, at)) > MANY)
        every += every == 1 && !clocked && a->unit != THAW_UNIT_BYTES ? 2 : every;
    if (ticks == 0) at[ticks++] = a->low;
    return ticks;
}

size_t thaw_axis_ticks(const thaw_axis *a, double at[THAW_AXIS_MOST_TICKS]) {
    if (a->log) return log_ticks(a, at);
    size_t n = 0;
    double step = linear_step(a), first = step * ceil(a->low / step - 1e-9);
    for (double i = 0; n < THAW_AXIS_MOST_TICKS && first + i * step <= a->high + 1e-9 * step; i++)
        at[n++] = fabs(first + i * step) < 1e-9 * step ? 0 : first + i * step;
    return n;
}

void thaw_axis_tick_text(char text[THAW_UNIT_TEXT], const thaw_axis *a, double value) {
    if (a->unit == THAW_UNIT_SHARE)
        snprintf(text, THAW_UNIT_TEXT, "%.3g %%", 100 * value);
    else
        thaw_unit_text(text, a->unit, value);
}
