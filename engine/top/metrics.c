#include "metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

thaw_status thaw_metrics_init(thaw_metrics *metrics, int64_t K, int64_t most_answers,
                              thaw_arena *arena, thaw_error *err) {
    size_t k = (size_t)K;
    *metrics = (thaw_metrics){
        .K = K,
        .temperature = 1,
        .precision = thaw_arena_array(arena, k, sizeof(double)),
        .recall = thaw_arena_array(arena, k, sizeof(double)),
        .f1 = thaw_arena_array(arena, k, sizeof(double)),
        .support = thaw_arena_array(arena, k, sizeof(int64_t)),
        .right = thaw_arena_array(arena, k, sizeof(int64_t)),
        .answered = thaw_arena_array(arena, k, sizeof(int64_t)),
    };
    if (most_answers)
        metrics->answers = thaw_arena_array(arena, (size_t)most_answers, sizeof(thaw_answer));
    if (!metrics->precision || !metrics->recall || !metrics->f1 || !metrics->support ||
        !metrics->right || !metrics->answered || (most_answers && !metrics->answers))
        return thaw_fail_memory(err, "for the metrics of %lld classes", (long long)K);
    return THAW_OK;
}

thaw_status thaw_metrics_take_sets(thaw_metrics *m, const thaw_label_sets *sets, int64_t most_rows,
                                   thaw_arena *arena, thaw_error *err) {
    size_t rows = (size_t)most_rows, K = (size_t)m->K;
    if (!sets) return THAW_OK;
    m->sets = sets;
    m->average_precision = thaw_arena_array(arena, K, sizeof *m->average_precision);
    m->logits = thaw_arena_array(arena, rows, K * sizeof *m->logits);
    m->row_label = thaw_arena_array(arena, rows, sizeof *m->row_label);
    m->order = thaw_arena_array(arena, rows, sizeof *m->order);
    if (m->average_precision && m->logits && m->row_label && m->order) return THAW_OK;
    return thaw_fail_memory(err, "for the scores of %zu rows of %zu classes", rows, K);
}

void thaw_metrics_reset(thaw_metrics *metrics) {
    size_t bytes = (size_t)metrics->K * sizeof(int64_t);
    memset(metrics->support, 0, bytes);
    memset(metrics->right, 0, bytes);
    memset(metrics->answered, 0, bytes);
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

/* The highest probability of logits that are so many times z. */
static double score_of(int64_t K, const float *z, float max, double times) {
    double sum = 0;
    for (int64_t k = 0; k < K; k++)
        sum += exp(times * ((double)z[k] - max));
    return 1 / sum;
}

int64_t thaw_metrics_rank(int64_t K, const float *z, int32_t label) {
    int64_t rank = 0;
    for (int64_t k = 0; k < K; k++) {
        if (isnan(z[k])) return K;
        rank += z[k] > z[label] || (z[k] == z[label] && k < label);
    }
    return rank;
}

/* The first class with the highest logit, and the highest of the others; -infinity for K = 1. */
static int64_t first_highest(int64_t K, const float *z, float *next) {
    int64_t best = 0;
    *next = -INFINITY;
    for (int64_t k = 1; k < K; k++) {
        float lower = z[k];
        if (z[k] > z[best]) {
            lower = z[best];
            best = k;
        }
        if (lower > *next) *next = lower;
    }
    return best;
}

/* NULL: it is not kept. */
static thaw_answer *next_answer(thaw_metrics *metrics) {
    return metrics->answers ? &metrics->answers[metrics->n] : NULL;
}

static void add_row(thaw_metrics *metrics, const float *z, int32_t label) {
    int64_t K = metrics->K, rank = thaw_metrics_rank(K, z, label);
    thaw_answer *kept = next_answer(metrics);
    metrics->n++;
    metrics->support[label]++;
    if (kept) *kept = (thaw_answer){.label = label, .answer = -1};
    if (rank == K) {
        metrics->n_nan++;
        return;
    }
    float next;
    int64_t best = first_highest(K, z, &next);
    double sum = log_sum(K, z, z[best]), score = exp(z[best] - sum);
    metrics->n_top1 += rank == 0;
    metrics->n_top5 += rank < 5;
    metrics->right[label] += rank == 0;
    metrics->answered[best]++;
    metrics->loss_sum += sum - z[label];
    if (!kept) return;
    double T = metrics->temperature, plain = T == 1 ? score : score_of(K, z, z[best], T);
    *kept = (thaw_answer){.label = label,
                          .answer = (int32_t)best,
                          .score = (float)score,
                          .margin = (float)(score - exp(next - sum)),
                          .own = (float)exp(z[label] - sum),
                          .plain = (float)plain};
}

/* log(1 + e^z) without overflow. */
static double softplus(double z) {
    return log1p(exp(-fabs(z))) + (z > 0 ? z : 0);
}

/* A row whose label is a set. */
static void add_set(thaw_metrics *m, const float *z, int32_t label) {
    int64_t K = m->K;
    bool nan = false, exact = true;
    double loss = 0;
    thaw_answer *kept = next_answer(m);
    memcpy(m->logits + m->n * K, z, (size_t)K * sizeof *z);
    m->row_label[m->n++] = label;
    for (int64_t k = 0; k < K; k++) {
        m->support[k] += thaw_label_has(m->sets, label, k);
        nan |= isnan(z[k]);
    }
    if (kept) *kept = (thaw_answer){.label = label, .answer = -1};
    m->n_nan += nan;
    for (int64_t k = 0; k < K && !nan; k++) {
        bool is = thaw_label_has(m->sets, label, k), said = z[k] > 0;
        m->answered[k] += said;
        m->right[k] += said && is;
        exact &= said == is;
        loss += softplus(is ? -(double)z[k] : (double)z[k]);
    }
    if (nan) return;
    m->n_top1 += exact;
    m->loss_sum += loss;
    if (!kept) return;
    float next;
    int64_t best = first_highest(K, z, &next);
    kept->answer = (int32_t)best;
    kept->score = (float)(1 / (1 + exp(-(double)z[best])));
}

void thaw_metrics_add(thaw_metrics *metrics, int64_t M, const float *logits, const int32_t *label) {
    for (int64_t m = 0; m < M; m++)
        (metrics->sets ? add_set : add_row)(metrics, logits + m * metrics->K, label[m]);
}

/* Rows by the falling score of a class; NaNs come last. */
typedef struct by_score {
    const float *logits;
    int64_t K, k;
} by_score;

static int compare_scores(const void *a, const void *b, void *ctx) {
    const by_score *s = ctx;
    float x = s->logits[*(const int64_t *)a * s->K + s->k];
    float y = s->logits[*(const int64_t *)b * s->K + s->k];
    if (isnan(x) || isnan(y)) return isnan(x) - isnan(y);
    return x < y ? 1 : x > y ? -1 : 0;
}

static double average_precision(const thaw_metrics *m, int64_t k) {
    by_score by = {m->logits, m->K, k};
    double sum = 0, right = 0, before = 0;
    for (int64_t i = 0; i < m->n; i++)
        m->order[i] = i;
    qsort_r(m->order, (size_t)m->n, sizeof *m->order, compare_scores, &by);
    for (int64_t i = 0; i < m->n; i++) {
        right += thaw_label_has(m->sets, m->row_label[m->order[i]], k);
        if (i + 1 < m->n && compare_scores(&m->order[i], &m->order[i + 1], &by) == 0) continue;
        sum += (right - before) * right / (double)(i + 1);
        before = right;
    }
    return right > 0 ? sum / right : 0;
}

/* What only sets have; f1 is there. */
static void finish_sets(thaw_metrics *m) {
    double right = 0, both = 0, f1 = 0, ap = 0, present = 0;
    for (int64_t k = 0; k < m->K; k++) {
        m->average_precision[k] = average_precision(m, k);
        right += (double)m->right[k];
        both += (double)(m->answered[k] + m->support[k]);
        if (!m->support[k]) continue;
        present++;
        f1 += m->f1[k];
        ap += m->average_precision[k];
    }
    m->map = present > 0 ? ap / present : 0;
    m->f1_macro = present > 0 ? f1 / present : 0;
    m->f1_micro = both > 0 ? 2 * right / both : 0;
}

static double ratio(double part, double whole) {
    return whole > 0 ? part / whole : 0;
}

void thaw_metrics_finish(thaw_metrics *metrics) {
    int64_t K = metrics->K, n_present = 0;
    double n = (double)metrics->n, recalls = 0;
    for (int64_t k = 0; k < K; k++) {
        double right = (double)metrics->right[k];
        double precision = ratio(right, (double)metrics->answered[k]);
        double recall = ratio(right, (double)metrics->support[k]);
        metrics->precision[k] = precision;
        metrics->recall[k] = recall;
        metrics->f1[k] = ratio(2 * precision * recall, precision + recall);
        recalls += recall;
        n_present += metrics->support[k] > 0;
    }
    metrics->balanced = ratio(recalls, (double)n_present);
    int64_t n_scored = metrics->n - metrics->n_nan;
    metrics->loss = n_scored ? metrics->loss_sum / (double)n_scored : metrics->n_nan ? NAN : 0;
    metrics->top1 = ratio((double)metrics->n_top1, n);
    metrics->top5 = ratio((double)metrics->n_top5, n);
    if (metrics->sets) finish_sets(metrics);
}

void thaw_metrics_calibrate(const thaw_metrics *metrics, bool plain, thaw_calibration *c) {
    enum { BINS = THAW_CALIBRATION_BINS };
    int64_t n = 0;
    double distance = 0;
    *c = (thaw_calibration){.ece = NAN};
    for (int64_t i = 0; i < metrics->n; i++) {
        const thaw_answer *a = &metrics->answers[i];
        if (a->answer < 0) continue;
        float score = plain ? a->plain : a->score;
        int bin = (int)ceil((double)score * BINS) - 1;
        bin = bin < 0 ? 0 : bin < BINS ? bin : BINS - 1;
        c->n[bin]++;
        c->score[bin] += score;
        c->right[bin] += a->answer == a->label;
        n++;
    }
    for (int b = 0; b < BINS; b++) {
        distance += fabs(c->score[b] - c->right[b]);
        c->score[b] = c->n[b] ? c->score[b] / (double)c->n[b] : NAN;
        c->right[b] = c->n[b] ? c->right[b] / (double)c->n[b] : NAN;
    }
    if (n) c->ece = distance / (double)n;
}

static int compare_pairs(const void *a, const void *b) {
    const thaw_confusion *x = a, *y = b;
    if (x->label != y->label) return x->label < y->label ? -1 : 1;
    return x->answer < y->answer ? -1 : x->answer > y->answer;
}

thaw_status thaw_metrics_confusion(const thaw_metrics *metrics, thaw_arena *arena,
                                   thaw_confusion **pairs, size_t *n, thaw_error *err) {
    size_t rows = 0, kept = 0;
    thaw_confusion *all = thaw_arena_array(arena, (size_t)metrics->n, sizeof *all);
    if (!all) return thaw_fail_memory(err, "for the pairs of %lld rows", (long long)metrics->n);
    for (int64_t i = 0; i < metrics->n; i++)
        if (metrics->answers[i].answer >= 0)
            all[rows++] =
                (thaw_confusion){metrics->answers[i].label, metrics->answers[i].answer, 1};
    qsort(all, rows, sizeof *all, compare_pairs);
    for (size_t i = 0; i < rows; i++) {
        if (kept && compare_pairs(&all[kept - 1], &all[i]) == 0)
            all[kept - 1].n++;
        else
            all[kept++] = all[i];
    }
    *pairs = all;
    *n = kept;
    return THAW_OK;
}
