/* The top's kernels on the CPU; thaw_top_slots in kernels.h says what each of them computes.
 *
 * All of them return 0, take no memory, and give the same bits on every run and for any number of
 * threads: a thread owns whole elements of the output and sums in one fixed order.
 */
#ifndef THAW_CPU_H
#define THAW_CPU_H

#include "clones.h"
#include "kernels.h"

int cpu_dense_forward(int64_t M, int64_t D, int64_t K, const float *x, const float *w,
                      const float *b, float *y);

int cpu_dense_backward(int64_t M, int64_t D, int64_t K, const float *x, const float *w,
                       const float *dy, float *dx, float *dw, float *db);

int cpu_dense64_forward(int64_t M, int64_t D, int64_t K, const float *x, const double *w,
                        const double *b, double *y);

int cpu_dense64_backward(int64_t M, int64_t D, int64_t K, const float *x, const double *dy,
                         double *dw, double *db);

int cpu_softmax_cross_entropy(int64_t M, int64_t K, const float *logits, const int32_t *label,
                              const float *class_weight, float smoothing, float norm, float *loss,
                              float *dlogits);

int cpu_sigmoid_cross_entropy(int64_t M, int64_t K, const float *logits, const float *target,
                              const float *positive_weight, float norm, float *loss,
                              float *dlogits);

int cpu_adamw(int64_t n, float *w, const float *dw, float *m, float *v, float lr, float beta1,
              float beta2, float eps, float weight_decay, int64_t step);

int cpu_sgd(int64_t n, float *w, const float *dw, float *v, float lr, float momentum,
            float weight_decay);

int cpu_gather(int64_t M, int64_t D, const float *x, const int64_t *index, float *y);

#endif
