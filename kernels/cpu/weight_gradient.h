/* The gradient of a convolution's weights, from plain N,H,W,C to the file's K,C,R,S.
 *
 *   dw[k,c,r,s] = sum over n,p,q of dy[n,p,q,k] x[n, p*stride+r*dilation-pad, ..., c]
 *
 * is a matrix product for each tap r,s: K by C, with one row of dy and x for each pixel of the output.
 * oneDNN's own gradient reads this layout slowly with AVX2. Where filters are 3 x 3 and their stride is 1
 * the products are fewer (Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", 2016, in
 * the form F(3x3, 4x4) for gradients): 4 x 4 pixels of dy and the 6 x 6 of x under them become 36 points
 * each, whose products stand for 144. Its roundings are about twice as large as those of a plain sum.
 *
 * One thread, no memory but the workspace, and one order of all sums.
 */
#ifndef THAW_WEIGHT_GRADIENT_H
#define THAW_WEIGHT_GRADIENT_H

#include "kernels.h"

typedef struct cpu_weight_gradient {
    thaw_conv_shape conv;
    bool matrix; /* 1 x 1: one product of x and dy as they lie, oneDNN's; the rest is not used. */
    bool tiles;  /* A product has a row for each 4 x 4 pixels, and not for each pixel. */
    int64_t points;        /* Products: taps, or what a tile becomes. */
    int64_t height, width; /* Rows of a picture. */
    int64_t pass;          /* Rows that are packed at a time. */
} cpu_weight_gradient;

/* Whether it is for such a layer; then what is to be done. */
bool cpu_weight_gradient_plan(const thaw_conv_shape *conv, cpu_weight_gradient *plan);

size_t cpu_weight_gradient_workspace(const cpu_weight_gradient *plan);

/* x[N,H,W,C], dy[N,P,Q,K] -> dw[K,C,R,S], db[K] or NULL. The workspace is aligned to 64. Returns 0 or
 * oneDNN's code. */
int cpu_weight_gradient_run(const cpu_weight_gradient *plan, const float *x, const float *dy,
                            float *dw, float *db, void *workspace);

#endif
