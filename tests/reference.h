/* What every trunk operation means, in double, one loop for each letter of the formula.
 *
 * Tensors are dense N,H,W,C; filters K,C/G,R,S. Nothing here is linked into the product. Each
 * function is checked by one case computed by hand, in test_reference.c.
 */
#ifndef THAW_REFERENCE_H
#define THAW_REFERENCE_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "kernels.h"

typedef struct ref_tensor {
    int64_t N, H, W, C;
    double *v;
} ref_tensor;

static inline ref_tensor ref_new(int64_t N, int64_t H, int64_t W, int64_t C) {
    ref_tensor t = {N, H, W, C, (double *)calloc((size_t)(N * H * W * C), sizeof(double))};
    return t;
}

static inline int64_t ref_size(const ref_tensor *t) {
    return t->N * t->H * t->W * t->C;
}

static inline double *ref_at(const ref_tensor *t, int64_t n, int64_t h, int64_t w, int64_t c) {
    return &t->v[((n * t->H + h) * t->W + w) * t->C + c];
}

/* Each element of y, in any order. */
#define REF_EACH(y)                              \
    for (int64_t n = 0; n < (y)->N; n++)         \
        for (int64_t p = 0; p < (y)->H; p++)     \
            for (int64_t q = 0; q < (y)->W; q++) \
                for (int64_t k = 0; k < (y)->C; k++)

/* Zero outside the picture. */
static inline double ref_padded(const ref_tensor *x, int64_t n, int64_t h, int64_t w, int64_t c) {
    return h < 0 || h >= x->H || w < 0 || w >= x->W ? 0 : *ref_at(x, n, h, w, c);
}

static inline void ref_conv(const thaw_conv_shape *s, const ref_tensor *x, const float *w,
                            const float *b, ref_tensor *y) {
    const thaw_window *win = &s->window;
    int64_t each = s->C / s->G; /* Channels that one filter sees. */
    REF_EACH(y) {
        int64_t g = k / (s->K / s->G);
        double sum = b ? b[k] : 0;
        for (int64_t c = 0; c < each; c++)
            for (int64_t r = 0; r < win->R; r++)
                for (int64_t t = 0; t < win->S; t++) {
                    int64_t h = p * win->stride_h + r * win->dilation_h - win->pad_top;
                    int64_t v = q * win->stride_w + t * win->dilation_w - win->pad_left;
                    sum += ref_padded(x, n, h, v, g * each + c) *
                           w[((k * each + c) * win->R + r) * win->S + t];
                }
        *ref_at(y, n, p, q, k) = sum;
    }
}

static inline void ref_dense(const ref_tensor *x, const float *w, const float *b, ref_tensor *y) {
    REF_EACH(y) {
        double sum = b ? b[k] : 0;
        for (int64_t c = 0; c < x->C; c++)
            sum += *ref_at(x, n, 0, 0, c) * w[k * x->C + c];
        *ref_at(y, n, p, q, k) = sum;
    }
}

static inline void ref_pool(const thaw_pool_shape *s, const ref_tensor *x, ref_tensor *y) {
    const thaw_window *win = &s->window;
    REF_EACH(y) {
        double sum = 0, most = -INFINITY;
        int64_t inside = 0;
        for (int64_t r = 0; r < win->R; r++)
            for (int64_t t = 0; t < win->S; t++) {
                int64_t h = p * win->stride_h + r * win->dilation_h - win->pad_top;
                int64_t v = q * win->stride_w + t * win->dilation_w - win->pad_left;
                if (h < 0 || h >= x->H || v < 0 || v >= x->W) continue;
                double value = *ref_at(x, n, h, v, k);
                sum += value;
                if (value > most) most = value;
                inside++;
            }
        int64_t divisor = s->count_include_pad ? win->R * win->S : inside;
        *ref_at(y, n, p, q, k) = s->max ? most : sum / (double)divisor;
    }
}

static inline void ref_global_mean(const ref_tensor *x, ref_tensor *y) {
    REF_EACH(y) {
        double sum = 0;
        for (int64_t h = 0; h < x->H; h++)
            for (int64_t w = 0; w < x->W; w++)
                sum += *ref_at(x, n, h, w, k);
        *ref_at(y, n, p, q, k) = sum / (double)(x->H * x->W);
    }
}

static inline double ref_clamp(double x, double low, double high) {
    return x < low ? low : x > high ? high : x;
}

static inline double ref_act(const thaw_epilogue *e, double x) {
    switch (e->act) {
        case THAW_ACT_NONE:
            return x;
        case THAW_ACT_CLIP:
            return ref_clamp(x, e->a, e->b);
        case THAW_ACT_LEAKY_RELU:
            return x < 0 ? e->a * x : x;
        case THAW_ACT_SIGMOID:
            return 1 / (1 + exp(-x));
        case THAW_ACT_SILU:
            return x / (1 + exp(-x));
        case THAW_ACT_HARD_SIGMOID:
            return ref_clamp(e->a * x + e->b, 0, 1);
        case THAW_ACT_HARD_SWISH:
            return x * ref_clamp(x / 6 + 0.5, 0, 1);
        case THAW_ACT_TANH:
            return tanh(x);
        case THAW_ACT_GELU:
            return x * (1 + erf(x / sqrt(2))) / 2;
        case THAW_ACT_GELU_TANH:
            return x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x))) / 2;
        case THAW_ACT_ELU:
            return x < 0 ? e->a * (exp(x) - 1) : x;
        case THAW_ACT_SOFTPLUS:
            return log(1 + exp(x));
        case THAW_ACT_POWER:
            return pow(x, e->a);
    }
    return NAN;
}

/* y = act(y + residual); residual NULL: none. */
static inline void ref_epilogue(const thaw_epilogue *e, const ref_tensor *residual, ref_tensor *y) {
    for (int64_t i = 0; i < ref_size(y); i++)
        y->v[i] = ref_act(e, y->v[i] + (residual ? residual->v[i] : 0));
}

/* x where y's element is, if x is 1 wide along some axes. */
static inline double ref_broadcast(const ref_tensor *x, int64_t n, int64_t h, int64_t w,
                                   int64_t c) {
    return *ref_at(x, n, x->H == 1 ? 0 : h, x->W == 1 ? 0 : w, x->C == 1 ? 0 : c);
}

static inline void ref_add(const ref_tensor *a, const ref_tensor *b, ref_tensor *y) {
    REF_EACH(y)
    *ref_at(y, n, p, q, k) = ref_broadcast(a, n, p, q, k) + ref_broadcast(b, n, p, q, k);
}

static inline void ref_mul(const ref_tensor *a, const ref_tensor *b, ref_tensor *y) {
    REF_EACH(y)
    *ref_at(y, n, p, q, k) = ref_broadcast(a, n, p, q, k) * ref_broadcast(b, n, p, q, k);
}

static inline void ref_affine(const ref_tensor *x, const float *scale, const float *shift,
                              ref_tensor *y) {
    REF_EACH(y)
    *ref_at(y, n, p, q, k) = *ref_at(x, n, p, q, k) * scale[k] + shift[k];
}

/* With these statistics of each channel; mean NULL: the batch's own. */
static inline void ref_batch_norm(const ref_tensor *x, const float *scale, const float *shift,
                                  const float *mean, const float *var, double epsilon,
                                  ref_tensor *y) {
    double n = (double)(x->N * x->H * x->W);
    for (int64_t c = 0; c < x->C; c++) {
        double m = 0, v = 0;
        for (int64_t i = c; i < ref_size(x); i += x->C)
            m += x->v[i] / n;
        for (int64_t i = c; i < ref_size(x); i += x->C)
            v += (x->v[i] - m) * (x->v[i] - m) / n;
        if (mean) m = mean[c], v = var[c];
        for (int64_t i = c; i < ref_size(x); i += x->C)
            y->v[i] = (x->v[i] - m) / sqrt(v + epsilon) * scale[c] + shift[c];
    }
}

/* Over the channels of each pixel. */
static inline void ref_layer_norm(const ref_tensor *x, const float *scale, const float *shift,
                                  double epsilon, ref_tensor *y) {
    REF_EACH(y) {
        double mean = 0, variance = 0;
        for (int64_t c = 0; c < y->C; c++)
            mean += *ref_at(x, n, p, q, c) / (double)y->C;
        for (int64_t c = 0; c < y->C; c++) {
            double d = *ref_at(x, n, p, q, c) - mean;
            variance += d * d / (double)y->C;
        }
        *ref_at(y, n, p, q, k) =
            (*ref_at(x, n, p, q, k) - mean) / sqrt(variance + epsilon) * scale[k] + shift[k];
    }
}

/* x goes into channels from..from + x->C of y. */
static inline void ref_concat(const ref_tensor *x, int64_t from, ref_tensor *y) {
    REF_EACH(x)
    *ref_at(y, n, p, q, from + k) = *ref_at(x, n, p, q, k);
}

static inline void ref_slice(const ref_tensor *x, int64_t from, ref_tensor *y) {
    REF_EACH(y)
    *ref_at(y, n, p, q, k) = *ref_at(x, n, p, q, from + k);
}

static inline void ref_shuffle(const ref_tensor *x, int64_t groups, ref_tensor *y) {
    REF_EACH(y)
    *ref_at(y, n, p, q, k) = *ref_at(x, n, p, q, k % groups * (x->C / groups) + k / groups);
}

static inline void ref_pad(const ref_tensor *x, const thaw_window *border, ref_tensor *y) {
    REF_EACH(y)
    *ref_at(y, n, p, q, k) = ref_padded(x, n, p - border->pad_top, q - border->pad_left, k);
}

static inline void ref_constant(const float *w, ref_tensor *y) {
    REF_EACH(y)
    *ref_at(y, n, p, q, k) = w[(p * y->W + q) * y->C + k];
}

static inline void ref_group_norm(const ref_tensor *x, int64_t groups, const float *scale,
                                  const float *shift, double epsilon, ref_tensor *y) {
    int64_t each = x->C / groups;
    double count = (double)(each * x->H * x->W);
    REF_EACH(y) {
        double mean = 0, variance = 0;
        for (int64_t i = 0; i < x->H * x->W * each; i++)
            mean += *ref_at(x, n, 0, i / each, k / each * each + i % each) / count;
        for (int64_t i = 0; i < x->H * x->W * each; i++) {
            double d = *ref_at(x, n, 0, i / each, k / each * each + i % each) - mean;
            variance += d * d / count;
        }
        *ref_at(y, n, p, q, k) =
            (*ref_at(x, n, p, q, k) - mean) / sqrt(variance + epsilon) * scale[k] + shift[k];
    }
}

static inline void ref_matmul(const ref_tensor *a, const ref_tensor *b, ref_tensor *y) {
    REF_EACH(y) {
        double sum = 0;
        for (int64_t j = 0; j < a->W; j++)
            sum += *ref_at(a, n, p, j, k) * *ref_at(b, n, j, q, k);
        *ref_at(y, n, p, q, k) = sum;
    }
}

static inline void ref_softmax(const ref_tensor *x, int64_t groups, ref_tensor *y) {
    REF_EACH(y) {
        double sum = 0;
        for (int64_t c = k % groups; c < x->C; c += groups)
            sum += exp(*ref_at(x, n, p, q, c));
        *ref_at(y, n, p, q, k) = exp(*ref_at(x, n, p, q, k)) / sum;
    }
}

static inline void ref_resample(const ref_tensor *x, const thaw_taps *rows,
                                const thaw_taps *columns, ref_tensor *y) {
    REF_EACH(y) {
        double sum = 0;
        for (int64_t i = p * rows->n; i < (p + 1) * rows->n; i++)
            for (int64_t j = q * columns->n; j < (q + 1) * columns->n; j++)
                sum += (double)rows->weight[i] * columns->weight[j] *
                       *ref_at(x, n, rows->from[i], columns->from[j], k);
        *ref_at(y, n, p, q, k) = sum;
    }
}

/* The i-th number of picture n in ONNX's order. */
static inline double *ref_in_order(const ref_tensor *x, int64_t n, int64_t i) {
    return ref_at(x, n, i / x->W % x->H, i % x->W, i / x->W / x->H);
}

static inline void ref_reshape(const ref_tensor *x, ref_tensor *y) {
    for (int64_t n = 0; n < x->N; n++)
        for (int64_t i = 0; i < ref_size(x) / x->N; i++)
            *ref_in_order(y, n, i) = *ref_in_order(x, n, i);
}

static inline void ref_transpose(const ref_tensor *x, const thaw_permutation *axes, ref_tensor *y) {
    for (int64_t i = 0; i < ref_size(x) / x->N; i++) {
        int64_t at[THAW_MAX_AXES] = {0}, left = i, to = 0;
        for (int k = axes->n - 1; k >= 0; left /= axes->dims[k--])
            at[k] = left % axes->dims[k];
        for (int k = 0; k < axes->n; k++)
            to = to * axes->dims[axes->perm[k]] + at[axes->perm[k]];
        for (int64_t n = 0; n < x->N; n++)
            *ref_in_order(y, n, to) = *ref_in_order(x, n, i);
    }
}

#endif
