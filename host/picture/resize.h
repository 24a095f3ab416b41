/* Pillow's antialiased resize, restricted to the part of the result that is wanted. */
#ifndef THAW_RESIZE_H
#define THAW_RESIZE_H

#include "image.h"

/* How one axis is resized: for output i of first .. first + n - 1, the weights of the inputs
 * from[i - first] .. + taps[i - first] - 1 are weight[(i - first) * most_taps + k]; the rest of its
 * most_taps weights are zero. */
typedef struct thaw_axis {
    int n, most_taps;
    int low, high; /* Inputs that any of them reads: low .. high - 1. */
    int *from, *taps;
    float *weight;
} thaw_axis;

/* Which outputs are made of how much: `length` of `in` inputs, the whole but for a part of the last
 * one, to `out` outputs, of which n from `first` on are wanted. */
typedef struct thaw_span {
    int in;
    double length;
    int out, first, n;
    thaw_filter filter;
} thaw_span;

/* Free with thaw_axis_free. ERR_NOMEM. */
thaw_status thaw_axis_make(thaw_axis *axis, const thaw_span *span, thaw_error *err);
void thaw_axis_free(thaw_axis *axis);

/* Resizes u8 RGB rows (row y at rows + (y - y_low) * stride, whose first pixel is column x_low) to
 * out, u8 RGB [y->n, x->n]. scratch: thaw_resize_scratch(x) floats. */
void thaw_resize(const uint8_t *rows, size_t stride, int x_low, int y_low, const thaw_axis *x,
                 const thaw_axis *y, float *scratch, uint8_t *out);
size_t thaw_resize_scratch(const thaw_axis *x);

#endif
