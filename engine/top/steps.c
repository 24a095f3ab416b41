#include "steps.h"

#include <string.h>

thaw_schedule thaw_steps_schedule(const thaw_train_options *o, int64_t n) {
    int64_t steps = (n + o->batch - 1) / o->batch;
    return (thaw_schedule){
        .kind = o->schedule,
        .lr = o->lr,
        .warmup_steps = (int64_t)(o->warmup * (double)steps),
        .total_steps = steps * o->epochs,
    };
}

thaw_rng thaw_steps_order(const thaw_train_options *o, int64_t epoch, int64_t n, int64_t *order) {
    thaw_rng rng = thaw_rng_open(o->seed, THAW_RNG_SHUFFLE, (uint64_t)epoch);
    thaw_rng_permutation(&rng, n, order);
    return thaw_rng_open(o->seed, THAW_RNG_CHOICE, (uint64_t)epoch);
}

thaw_status thaw_steps_load(const thaw_train_job *job, const int64_t *rows, int64_t M,
                            thaw_rng *choice, int64_t *index, float *x, int32_t *label,
                            thaw_error *err) {
    const thaw_rows *train = job->train, *views = job->views;
    uint32_t n_views = (uint32_t)job->n_views;
    for (int64_t m = 0; m < M; m++)
        label[m] = train->label[rows[m]];
    if (!views) return train->gather(train->ctx, rows, M, x, err);
    for (int64_t m = 0; m < M; m++)
        index[m] = rows[m] * n_views + thaw_rng_below(choice, n_views);
    return views->gather(views->ctx, index, M, x, err);
}

void thaw_steps_class_weights(const int32_t *label, int64_t n, int64_t K, int64_t *count,
                              float *weight) {
    int64_t n_present = 0;
    memset(count, 0, (size_t)K * sizeof *count);
    for (int64_t i = 0; i < n; i++)
        n_present += count[label[i]]++ == 0;
    for (int64_t k = 0; k < K; k++)
        weight[k] = count[k] ? (float)((double)n / ((double)n_present * (double)count[k])) : 1;
}

void thaw_steps_positive_weights(const thaw_label_sets *sets, const int32_t *label, int64_t n,
                                 int64_t *count, float *weight) {
    memset(count, 0, (size_t)sets->K * sizeof *count);
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < sets->K; k++)
            count[k] += thaw_label_has(sets, label[i], k);
    for (int64_t k = 0; k < sets->K; k++)
        weight[k] = count[k] > 0 && count[k] < n ? (float)(n - count[k]) / (float)count[k] : 1;
}

void thaw_steps_targets(const thaw_label_sets *sets, const int32_t *label, int64_t M,
                        float smoothing, float *target) {
    for (int64_t m = 0; m < M; m++)
        for (int64_t k = 0; k < sets->K; k++)
            target[m * sets->K + k] =
                smoothing / 2 + (thaw_label_has(sets, label[m], k) ? 1 - smoothing : 0);
}

int64_t thaw_steps_exact(const thaw_label_sets *sets, int64_t M, const float *logits,
                         const int32_t *label) {
    int64_t n = 0;
    for (int64_t m = 0; m < M; m++) {
        bool exact = true;
        for (int64_t k = 0; k < sets->K && exact; k++) {
            float z = logits[m * sets->K + k];
            exact = z == z && (z > 0) == thaw_label_has(sets, label[m], k);
        }
        n += exact;
    }
    return n;
}

double thaw_steps_weight(const float *class_weight, const int32_t *label, int64_t M) {
    double weight = 0;
    for (int64_t m = 0; m < M; m++)
        weight += class_weight ? class_weight[label[m]] : 1;
    return weight;
}

int thaw_steps_update(const thaw_top_slots *top, const thaw_train_options *o, int64_t n, float *w,
                      const float *dw, float *v, float *second, double lr, double decay,
                      int64_t step) {
    if (o->optimizer == THAW_OPTIMIZER_SGD)
        return top->sgd(n, w, dw, v, (float)lr, (float)o->momentum, (float)decay);
    return top->adamw(n, w, dw, v, second, (float)lr, THAW_STEPS_BETA1, THAW_STEPS_BETA2,
                      THAW_STEPS_EPSILON, (float)decay, step);
}

void thaw_steps_validated(const thaw_metrics *m, thaw_epoch *epoch) {
    epoch->validation_loss = m->loss;
    epoch->validation_top1 = m->top1;
    epoch->validation_map = m->map;
    epoch->validation_f1_micro = m->f1_micro;
    epoch->validation_f1_macro = m->f1_macro;
}

bool thaw_steps_keeps(const thaw_train_options *o, bool validates, const thaw_epoch *epoch,
                      const thaw_epoch *kept) {
    return o->patience == 0 || !validates || kept->epoch == 0 ||
           epoch->validation_loss < kept->validation_loss;
}
