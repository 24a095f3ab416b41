/* Softmax, cross-entropy against a smoothed label, and the gradient, row by row.
 *
 *   p = softmax(z),  t[k] = (1 - s) [k = label] + s / K,  W = class_weight[label]
 *   loss = W * -sum t log p = W * (log sum e^(z - max) - sum t (z - max))
 *   dz[k] = W * (p[k] - t[k]) / norm
 *
 * The row's maximum goes off first, so that no logit is too large. Sums over a row are in double,
 * in ascending k. PyTorch's CrossEntropyLoss(weight, label_smoothing) differs in one point: it
 * weighs the smoothed part by each class's own weight, here a sample has one weight.
 * A logit that is NaN makes the row's loss and gradient NaN.
 */
#include <math.h>

#include "cpu.h"

static float row_max(int64_t K, const float *z) {
    float max = z[0];
    for (int64_t k = 1; k < K; k++)
        if (z[k] > max) max = z[k];
    return max;
}

/* One row; dz may be z or NULL. Returns the loss. */
static float row_backward(int64_t K, const float *z, int32_t label, float weight, float smoothing,
                          float norm, float *dz) {
    float max = row_max(K, z), own = z[label] - max;
    double sum = 0, linear = 0; /* Of e^(z - max), and of z - max. */
    for (int64_t k = 0; k < K; k++) {
        float shifted = z[k] - max, e = expf(shifted);
        sum += e;
        linear += shifted;
        if (dz) dz[k] = e;
    }
    double share = (double)smoothing / (double)K, scale = (double)weight / norm;
    double loss = log(sum) - (1 - smoothing) * (double)own;
    if (share > 0) loss -= share * linear; /* linear can be infinite: not times zero. */
    for (int64_t k = 0; dz && k < K; k++)
        dz[k] = (float)(scale * (dz[k] / sum - share));
    if (dz) dz[label] -= (float)(scale * (1 - smoothing));
    return (float)(weight * loss);
}

int cpu_softmax_cross_entropy(int64_t M, int64_t K, const float *logits, const int32_t *label,
                              const float *class_weight, float smoothing, float norm, float *loss,
                              float *dlogits) {
    for (int64_t m = 0; m < M; m++) {
        float weight = class_weight ? class_weight[label[m]] : 1;
        loss[m] = row_backward(K, logits + m * K, label[m], weight, smoothing, norm,
                               dlogits ? dlogits + m * K : NULL);
    }
    return 0;
}
