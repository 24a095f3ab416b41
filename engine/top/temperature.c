#include "temperature.h"

#include <math.h>

/* Of the loss with b = 1 / T, which is convex in b: its slope there, and how that changes. */
typedef struct slope {
    double first, second;
} slope;

static bool is_finite(int64_t K, const float *z) {
    for (int64_t k = 0; k < K; k++)
        if (!isfinite(z[k])) return false;
    return true;
}

/* d/db of log sum e^(b z) is the mean of z under softmax(b z), and d2/db2 its variance. */
static void add_row(int64_t K, const float *z, int32_t label, double spread, double b, slope *s) {
    double most = z[0], sum = 0, mean = 0, square = 0, plain = 0;
    for (int64_t k = 1; k < K; k++)
        most = fmax(most, z[k]);
    for (int64_t k = 0; k < K; k++) {
        double d = z[k] - most, p = exp(b * d);
        sum += p;
        mean += p * d;
        square += p * d * d;
        plain += d;
    }
    mean /= sum;
    s->first += mean - (1 - spread) * (z[label] - most) - spread * plain / (double)K;
    s->second += square / sum - mean * mean;
}

double thaw_temperature_fit(int64_t K, int64_t n, const float *logits, const int32_t *label) {
    enum { MOST_STEPS = 100 };
    double low = 1.0 / 64, high = 64, b = 1, wrong = 0.5 / ((double)n + 1);
    double spread =
        wrong * (double)K / (double)(K - 1); /* Over all classes, the label's own as well. */
    for (int i = 0; i < MOST_STEPS; i++) {
        slope s = {0};
        for (int64_t m = 0; m < n; m++)
            if (is_finite(K, logits + m * K)) add_row(K, logits + m * K, label[m], spread, b, &s);
        if (s.first == 0) break;
        *(s.first > 0 ? &high : &low) = b;
        double next = b - s.first / s.second; /* Newton's, unless it leaves what is left. */
        if (!(next > low && next < high)) next = sqrt(low * high);
        if (fabs(next - b) <= 1e-10 * b) break;
        b = next;
    }
    return 1 / b;
}

thaw_status thaw_temperature_measure(const thaw_head *head, const thaw_top_slots *top,
                                     const thaw_rows *rows, double *T, thaw_error *err) {
    enum { BATCH = 256, MOST_NUMBERS = 16 << 20 };
    thaw_arena arena = {0};
    int64_t K = head->layers[head->n_layers - 1].K, D = head->layers[0].D,
            hidden = head->layers[0].K;
    int64_t most = MOST_NUMBERS / K, n = rows->n < most ? rows->n : most;
    int64_t *index = thaw_arena_array(&arena, (size_t)n, sizeof *index);
    int32_t *label = thaw_arena_array(&arena, (size_t)n, sizeof *label);
    float *logits = thaw_arena_array(&arena, (size_t)n, (size_t)K * sizeof *logits);
    float *x = thaw_arena_array(&arena, BATCH, (size_t)D * sizeof *x);
    float *between = thaw_arena_array(&arena, BATCH, (size_t)hidden * sizeof *between);
    thaw_status status = index && label && logits && x && between
                             ? THAW_OK
                             : thaw_fail_memory(err, "for the temperature");
    for (int64_t i = 0; status == THAW_OK && i < n; i++) {
        index[i] = i * rows->n / n; /* From all over what validates. */
        label[i] = rows->label[index[i]];
    }
    for (int64_t begin = 0; status == THAW_OK && begin < n; begin += BATCH) {
        int64_t M = n - begin < BATCH ? n - begin : BATCH;
        status = rows->gather(rows->ctx, index + begin, M, x, err);
        if (status != THAW_OK) break;
        int code = thaw_head_forward(head, top, M, x, NULL, between, logits + begin * K);
        if (code) status = thaw_fail(err, THAW_ERR_BACKEND, "the head failed: code %d", code);
    }
    if (status == THAW_OK) *T = thaw_temperature_fit(K, n, logits, label);
    thaw_arena_free(&arena);
    return status;
}

void thaw_temperature_apply(thaw_head *head, double T) {
    const thaw_layer *last = &head->layers[head->n_layers - 1];
    head->temperature *= T;
    for (int64_t i = 0; i < last->K * last->D; i++)
        last->w[i] = (float)(last->w[i] / T);
    for (int64_t k = 0; k < last->K; k++)
        last->b[k] = (float)(last->b[k] / T);
}
