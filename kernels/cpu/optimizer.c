/* One step of an optimizer over n values; every value is on its own, so any order gives the same
 * bits. Threads take pieces of one length, whatever their number: what vectors a value is part of
 * does not depend on it.
 *
 * adamw: Loshchilov & Hutter, "Decoupled weight decay regularization" (2019), algorithm 2, with
 * the decay scaled by the learning rate as PyTorch has it:
 *   w -= lr weight_decay w;  m = beta1 m + (1 - beta1) dw;  v = beta2 v + (1 - beta2) dw^2
 *   w -= lr (m / (1 - beta1^step)) / (sqrt(v / (1 - beta2^step)) + eps)
 * sgd: PyTorch's, with momentum, without dampening; the decay is part of the gradient.
 */
#include <math.h>

#include "cpu.h"

enum { PIECE = 1 << 15 };

static int64_t piece_at(int64_t n, int64_t i) {
    return n - i < PIECE ? n - i : PIECE;
}

/* The factors that do not depend on the value. */
typedef struct adamw_factors {
    float keep;   /* 1 - lr weight_decay */
    float rate;   /* lr / (1 - beta1^step) */
    float second; /* 1 / sqrt(1 - beta2^step) */
    float beta1, beta2, eps;
} adamw_factors;

THAW_CLONES static void adamw(int64_t n, float *restrict w, const float *restrict dw,
                              float *restrict m, float *restrict v, adamw_factors f) {
    for (int64_t i = 0; i < n; i++) {
        float g = dw[i];
        m[i] = f.beta1 * m[i] + (1 - f.beta1) * g;
        v[i] = f.beta2 * v[i] + (1 - f.beta2) * g * g;
        w[i] = f.keep * w[i] - f.rate * m[i] / (sqrtf(v[i]) * f.second + f.eps);
    }
}

int cpu_adamw(int64_t n, float *w, const float *dw, float *m, float *v, float lr, float beta1,
              float beta2, float eps, float weight_decay, int64_t step) {
    adamw_factors f = {
        .keep = 1 - lr * weight_decay,
        .rate = (float)(lr / (1 - pow(beta1, (double)step))),
        .second = (float)(1 / sqrt(1 - pow(beta2, (double)step))),
        .beta1 = beta1,
        .beta2 = beta2,
        .eps = eps,
    };
#pragma omp parallel for schedule(static) if (n > PIECE)
    for (int64_t i = 0; i < n; i += PIECE)
        adamw(piece_at(n, i), w + i, dw + i, m + i, v + i, f);
    return 0;
}

THAW_CLONES static void sgd(int64_t n, float *restrict w, const float *restrict dw,
                            float *restrict v, float lr, float momentum, float weight_decay) {
    for (int64_t i = 0; i < n; i++) {
        v[i] = momentum * v[i] + dw[i] + weight_decay * w[i];
        w[i] -= lr * v[i];
    }
}

int cpu_sgd(int64_t n, float *w, const float *dw, float *v, float lr, float momentum,
            float weight_decay) {
#pragma omp parallel for schedule(static) if (n > PIECE)
    for (int64_t i = 0; i < n; i += PIECE)
        sgd(piece_at(n, i), w + i, dw + i, v + i, lr, momentum, weight_decay);
    return 0;
}
