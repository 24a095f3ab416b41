/* Sigmoid of each score by itself, its cross-entropy, and the gradient.
 *
 *   p = 1 / (1 + e^-z),  w = positive_weight[k]
 *   loss = sum over k of -(w t log p + (1 - t) log(1 - p))
 *   dz[k] = ((1 - t) p - w t (1 - p)) / norm
 *
 * log p = min(z, 0) - log(1 + e^-|z|), which no logit is too large for. Sums over a row are in double, in ascending
 * k. As PyTorch's BCEWithLogitsLoss(pos_weight), whose mean is this sum's over rows and classes. A logit
 * that is NaN makes the row's loss and its own gradient NaN.
 */
#include <math.h>

#include "cpu.h"

static double backward(double z, double t, double weight, double norm, float *dz) {
    double small = exp(-fabs(z)), rest = log1p(small);
    double p = (z < 0 ? small : 1) / (1 + small), q = (z < 0 ? 1 : small) / (1 + small);
    if (dz) *dz = (float)(((1 - t) * p - weight * t * q) / norm);
    double positive = rest - (z < 0 ? z : 0), negative = rest + (z > 0 ? z : 0);
    double loss = 0; /* An infinite term that does not count is not times zero. */
    if (t > 0) loss += weight * t * positive;
    if (t < 1) loss += (1 - t) * negative;
    return isnan(z) ? z : loss;
}

int cpu_sigmoid_cross_entropy(int64_t M, int64_t K, const float *logits, const float *target,
                              const float *positive_weight, float norm, float *loss,
                              float *dlogits) {
    for (int64_t m = 0; m < M; m++) {
        double sum = 0;
        for (int64_t k = 0; k < K; k++) {
            int64_t i = m * K + k;
            double weight = positive_weight ? (double)positive_weight[k] : 1;
            sum += backward((double)logits[i], (double)target[i], weight, (double)norm,
                            dlogits ? &dlogits[i] : NULL);
        }
        loss[m] = (float)sum;
    }
    return 0;
}
