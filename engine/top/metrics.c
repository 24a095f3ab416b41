#include "metrics.h"

#include <math.h>
#include <string.h>

thaw_status thaw_metrics_init(thaw_metrics *metrics, int64_t K, thaw_arena *arena,
                              thaw_error *err) {
    size_t k = (size_t)K;
    *metrics = (thaw_metrics){
        .K = K,
        .precision = thaw_arena_array(arena, k, sizeof(double)),
        .recall = thaw_arena_array(arena, k, sizeof(double)),
        .f1 = thaw_arena_array(arena, k, sizeof(double)),
        .support = thaw_arena_array(arena, k, sizeof(int64_t)),
        .confusion = thaw_arena_array(arena, k * k, sizeof(int64_t)),
    };
    if (!metrics->precision || !metrics->recall || !metrics->f1 || !metrics->support ||
        !metrics->confusion)
        return thaw_fail_memory(err, "for the metrics of %lld classes", (long long)K);
    return THAW_OK;
}

void thaw_metrics_reset(thaw_metrics *metrics) {
    size_t k = (size_t)metrics->K;
    memset(metrics->support, 0, k * sizeof *metrics->support);
    memset(metrics->confusion, 0, k * k * sizeof *metrics->confusion);
    metrics->n = metrics->n_nan = metrics->n_top1 = metrics->n_top5 = 0;
    metrics->loss_sum = 0;
}

/* log(sum of e^z), in double. */
static double log_sum(int64_t K, const float *z, float max) {
    double sum = 0;
    for (int64_t k = 0; k < K; k++)
        sum += exp((double)z[k] - max);
    return max + log(sum);
}

int64_t thaw_metrics_rank(int64_t K, const float *z, int32_t label) {
    int64_t rank = 0;
    for (int64_t k = 0; k < K; k++) {
        if (isnan(z[k])) return K;
        rank += z[k] > z[label] || (z[k] == z[label] && k < label);
    }
    return rank;
}

static int64_t first_highest(int64_t K, const float *z) {
    int64_t best = 0;
    for (int64_t k = 1; k < K; k++)
        if (z[k] > z[best]) best = k;
    return best;
}

static void add_row(thaw_metrics *metrics, const float *z, int32_t label) {
    int64_t K = metrics->K, rank = thaw_metrics_rank(K, z, label);
    metrics->n++;
    metrics->support[label]++;
    if (rank == K) {
        metrics->n_nan++;
        metrics->loss_sum = NAN;
        return;
    }
    int64_t best = first_highest(K, z);
    metrics->n_top1 += rank == 0;
    metrics->n_top5 += rank < 5;
    metrics->confusion[label * K + best]++;
    metrics->loss_sum += log_sum(K, z, z[best]) - z[label];
}

void thaw_metrics_add(thaw_metrics *metrics, int64_t M, const float *logits, const int32_t *label) {
    for (int64_t m = 0; m < M; m++)
        add_row(metrics, logits + m * metrics->K, label[m]);
}

static double ratio(double part, double whole) {
    return whole > 0 ? part / whole : 0;
}

void thaw_metrics_finish(thaw_metrics *metrics) {
    int64_t K = metrics->K, n_present = 0;
    double n = (double)metrics->n, recalls = 0;
    for (int64_t k = 0; k < K; k++) {
        int64_t predicted = 0, right = metrics->confusion[k * K + k];
        for (int64_t t = 0; t < K; t++)
            predicted += metrics->confusion[t * K + k];
        double precision = ratio((double)right, (double)predicted);
        double recall = ratio((double)right, (double)metrics->support[k]);
        metrics->precision[k] = precision;
        metrics->recall[k] = recall;
        metrics->f1[k] = ratio(2 * precision * recall, precision + recall);
        recalls += recall;
        n_present += metrics->support[k] > 0;
    }
    metrics->balanced = ratio(recalls, (double)n_present);
    metrics->loss = metrics->n ? metrics->loss_sum / n : 0;
    metrics->top1 = ratio((double)metrics->n_top1, n);
    metrics->top5 = ratio((double)metrics->n_top5, n);
}
