/* Learning curves: what each epoch of a training gave. */
#ifndef THAW_CURVES_H
#define THAW_CURVES_H

#include <stdio.h>

#include "chart.h"
#include "top/trainer.h"

typedef struct thaw_curves {
    const char *title;        /* Of which training; NULL: there is only one. */
    const thaw_epoch *epochs; /* [n] */
    int64_t n;
    int64_t kept;     /* The number of the epoch whose weights are kept; 0: not known. */
    bool penalties;   /* They are not epochs, but what a solver tried. */
    double top1_span; /* The axis of top-1 reaches from 1 down by as much or more, so that several
                        * charts can be compared. */
} thaw_curves;

/* The lowest top-1 among them, NaN when there is none. */
double thaw_curves_least_top1(const thaw_epoch *epochs, int64_t n);

/* A chart of loss, a chart of top-1, of training and validation. ERR_NOMEM. */
thaw_status thaw_curves_put_loss(FILE *out, const thaw_curves *curves, thaw_error *err);
thaw_status thaw_curves_put_top1(FILE *out, const thaw_curves *curves, thaw_error *err);

#endif
