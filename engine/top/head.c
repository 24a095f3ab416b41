#include "head.h"

#include <math.h>
#include <string.h>

/* ---- parameters ----------------------------------------------------------------------------- */

static int64_t layer_size(const thaw_layer *layer) {
    return layer->K * layer->D + layer->K;
}

thaw_status thaw_head_init(thaw_head *head, int64_t D, int64_t hidden, int64_t K, uint64_t seed,
                           thaw_arena *arena, thaw_error *err) {
    *head = (thaw_head){.n_layers = hidden ? 2 : 1,
                        .layers = {{.D = D, .K = hidden ? hidden : K}},
                        .temperature = 1};
    if (hidden) head->layers[1] = (thaw_layer){.D = hidden, .K = K};
    for (int i = 0; i < head->n_layers; i++)
        head->n_params += layer_size(&head->layers[i]);
    head->params = thaw_arena_array(arena, (size_t)head->n_params, sizeof(float));
    head->mean = thaw_arena_array(arena, (size_t)D, sizeof(float));
    head->scale = thaw_arena_array(arena, (size_t)D, sizeof(float));
    if (!head->params || !head->mean || !head->scale)
        return thaw_fail_memory(err, "for a head of %lld parameters", (long long)head->n_params);
    float *p = head->params;
    for (int i = 0; i < head->n_layers; i++) {
        head->layers[i].w = p;
        head->layers[i].b = p + head->layers[i].K * head->layers[i].D;
        p += layer_size(&head->layers[i]);
    }
    for (int64_t d = 0; d < D; d++)
        head->scale[d] = 1;
    if (!hidden) return THAW_OK;
    thaw_rng rng = thaw_rng_open(seed, THAW_RNG_INIT, 0);
    float bound = 1 / sqrtf(THAW_HEAD_NORM2);
    for (int64_t i = 0; i < layer_size(&head->layers[0]); i++)
        head->params[i] = bound * (2 * thaw_rng_uniform(&rng) - 1);
    return THAW_OK;
}

/* ---- scaling -------------------------------------------------------------------------------- */

/* sum[d] += x - shift[d], or its square, over all rows in order; shift NULL: 0. */
static thaw_status sum_rows(const thaw_rows *rows, int64_t M, int64_t *index, float *buffer,
                            const double *shift, double *sum, thaw_error *err) {
    int64_t D = rows->D;
    memset(sum, 0, (size_t)D * sizeof *sum);
    for (int64_t start = 0; start < rows->n; start += M) {
        int64_t m = rows->n - start < M ? rows->n - start : M;
        for (int64_t i = 0; i < m; i++)
            index[i] = start + i;
        THAW_TRY(rows->gather(rows->ctx, index, m, buffer, err));
        for (int64_t i = 0; i < m; i++)
            for (int64_t d = 0; d < D; d++) {
                double x = buffer[i * D + d];
                sum[d] += shift ? (x - shift[d]) * (x - shift[d]) : x;
            }
    }
    return THAW_OK;
}

/* scale[d] from the moments, as head.h has it; returns how many features are constant. */
static int64_t scale_of_moments(int64_t D, const double *mean, const double *var, float *scale) {
    double norm2 = 0; /* Mean of |z|^2 with scale = var^-1/4. */
    int64_t n_constant = 0;
    for (int64_t d = 0; d < D; d++)
        norm2 += sqrt(var[d]);
    for (int64_t d = 0; d < D; d++) {
        /* Less spread than the rounding of the mean makes: constant. */
        bool constant = var[d] <= 1e-24 * mean[d] * mean[d];
        scale[d] = constant ? 0 : (float)sqrt(THAW_HEAD_NORM2 / norm2 / sqrt(var[d]));
        n_constant += constant;
    }
    return n_constant;
}

thaw_status thaw_head_fit_scale(thaw_head *head, const thaw_rows *rows, int64_t M, int64_t *index,
                                float *buffer, thaw_arena *arena, thaw_error *err) {
    int64_t D = rows->D;
    double *mean = thaw_arena_array(arena, (size_t)D, sizeof *mean);
    double *var = thaw_arena_array(arena, (size_t)D, sizeof *var);
    if (!mean || !var) return thaw_fail_memory(err, "to scale %lld features", (long long)D);
    THAW_TRY(sum_rows(rows, M, index, buffer, NULL, mean, err));
    for (int64_t d = 0; d < D; d++)
        mean[d] /= (double)rows->n;
    THAW_TRY(sum_rows(rows, M, index, buffer, mean, var, err));
    for (int64_t d = 0; d < D; d++) {
        var[d] /= (double)rows->n;
        head->mean[d] = (float)mean[d];
        if (!isfinite(var[d]))
            return thaw_fail(err, THAW_ERR_DATA,
                             "feature %lld is not a finite number in every training row",
                             (long long)d);
    }
    head->n_constant = scale_of_moments(D, mean, var, head->scale);
    return THAW_OK;
}

void thaw_head_scale(const thaw_head *head, int64_t M, float *x) {
    int64_t D = head->layers[0].D;
    const float *mean = head->mean, *scale = head->scale;
    for (int64_t m = 0; mean && m < M; m++)
        for (int64_t d = 0; d < D; d++)
            x[m * D + d] = (x[m * D + d] - mean[d]) * scale[d];
}

void thaw_head_fold(thaw_head *head) {
    thaw_layer *layer = &head->layers[0];
    for (int64_t k = 0; head->mean && k < layer->K; k++) {
        double b = layer->b[k];
        for (int64_t d = 0; d < layer->D; d++) {
            float *w = &layer->w[k * layer->D + d];
            double folded = (double)*w * head->scale[d];
            b -= folded * head->mean[d];
            *w = (float)folded;
        }
        layer->b[k] = (float)b;
    }
    head->mean = head->scale = NULL;
}

int thaw_head_layers(const thaw_head *head, thaw_dense layers[THAW_HEAD_MAX_LAYERS]) {
    for (int i = 0; i < head->n_layers; i++) {
        const thaw_layer *layer = &head->layers[i];
        bool last = i == head->n_layers - 1;
        layers[i] = (thaw_dense){layer->w, layer->b,      layer->K,
                                 layer->D, .relu = !last, .sigmoid = last && head->sigmoid};
    }
    return head->n_layers;
}

/* ---- forward -------------------------------------------------------------------------------- */

int thaw_head_forward(const thaw_head *head, const thaw_top_slots *top, int64_t M, const float *z,
                      thaw_dropout *dropout, float *hidden, float *logits) {
    const thaw_layer *first = &head->layers[0], *last = &head->layers[head->n_layers - 1];
    if (first != last) {
        int64_t n = M * first->K;
        int code = top->dense_forward(M, first->D, first->K, z, first->w, first->b, hidden);
        if (code) return code;
        for (int64_t i = 0; i < n; i++)
            hidden[i] = hidden[i] < 0 ? 0 : hidden[i]; /* This way round a NaN stays one. */
        if (dropout) thaw_rng_dropout(&dropout->rng, n, dropout->rate, hidden);
        z = hidden;
    }
    return top->dense_forward(M, last->D, last->K, z, last->w, last->b, logits);
}
