#include "paired.h"

#include <math.h>
#include <stdlib.h>

#include "rng.h"

/* Draws of the bootstrap and the permutations: enough for two digits of p = 0.01. */
enum { DRAWS = 4000 };
/* So many numbers are drawn at most; of more pictures than that allows the normal distribution tells. */
static const double most_draws = 2e8;
static const double z95 = 1.959963984540054;

/* How often picture i is answered rightly, 0 .. 1. */
static double share(const thaw_trials *t, int64_t i) {
    int n = 0;
    for (int r = 0; r < t->n_runs; r++)
        n += t->right[r * t->n + i];
    return (double)n / t->n_runs;
}

static double run_mean(const thaw_trials *t, int r) {
    int64_t n = 0;
    for (int64_t i = 0; i < t->n; i++)
        n += t->right[r * t->n + i];
    return (double)n / (double)t->n;
}

thaw_accuracy thaw_trials_accuracy(const thaw_trials *t) {
    double sum = 0, pictures = 0, runs = 0;
    for (int64_t i = 0; i < t->n; i++)
        sum += share(t, i);
    double mean = sum / (double)t->n;
    for (int64_t i = 0; i < t->n; i++)
        pictures += pow(share(t, i) - mean, 2);
    for (int r = 0; r < t->n_runs; r++)
        runs += pow(run_mean(t, r) - mean, 2);
    double n = (double)t->n, R = t->n_runs, error = 0;
    if (t->n > 1) error += pictures / (n - 1) / n;
    if (t->n_runs > 1) error += runs / (R - 1) / R;
    return (thaw_accuracy){mean, sqrt(error)};
}

/* P(X <= k) of n fair coins, twice: McNemar's exact test of the smaller number of `n` discordant pairs. */
static double mcnemar(int64_t only_a, int64_t only_b) {
    int64_t n = only_a + only_b, k = only_a < only_b ? only_a : only_b;
    double p = 0;
    for (int64_t i = 0; i <= k; i++)
        p += exp(lgamma((double)n + 1) - lgamma((double)i + 1) - lgamma((double)(n - i) + 1) -
                 (double)n * M_LN2);
    return fmin(1, 2 * p);
}

static int compare_doubles(const void *a, const void *b) {
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Percentiles of the mean over as many pictures drawn with replacement. */
static void bootstrap(int64_t n, const double *d, double *means, thaw_paired *out) {
    thaw_rng rng = thaw_rng_open(1, THAW_RNG_RESAMPLE, 0);
    for (int k = 0; k < DRAWS; k++) {
        double sum = 0;
        for (int64_t i = 0; i < n; i++)
            sum += d[thaw_rng_below(&rng, (uint32_t)n)];
        means[k] = sum / (double)n;
    }
    qsort(means, DRAWS, sizeof *means, compare_doubles);
    out->low = means[(int)(0.025 * DRAWS)];
    out->high = means[(int)(0.975 * DRAWS) - 1];
}

/* How often signs drawn at random give a mean as far from zero; the drawn ones count among them. */
static double permute(int64_t n, const double *d, double mean) {
    thaw_rng rng = thaw_rng_open(1, THAW_RNG_RESAMPLE, 1);
    int as_far = 1;
    for (int k = 0; k < DRAWS; k++) {
        double sum = 0;
        for (int64_t i = 0; i < n; i++)
            if (d[i] != 0) sum += thaw_rng_below(&rng, 2) ? d[i] : -d[i];
        as_far += fabs(sum / (double)n) >= fabs(mean) - 1e-12;
    }
    return (double)as_far / (DRAWS + 1);
}

static void normal(int64_t n, const double *d, thaw_paired *out) {
    double squares = 0;
    for (int64_t i = 0; i < n; i++)
        squares += pow(d[i] - out->difference, 2);
    double error = sqrt(squares / (double)(n - 1) / (double)n);
    out->low = out->difference - z95 * error;
    out->high = out->difference + z95 * error;
    out->p = error > 0 ? erfc(fabs(out->difference) / error / M_SQRT2) : 1;
}

thaw_status thaw_paired_compare(const thaw_trials *a, const thaw_trials *b, thaw_paired *out,
                                thaw_error *err) {
    int64_t n = a->n;
    double *d = malloc(((size_t)n + DRAWS) * sizeof *d), sum = 0;
    if (!d) return thaw_fail_memory(err, "to compare %lld answers", (long long)n);
    *out = (thaw_paired){0};
    for (int64_t i = 0; i < n; i++) {
        d[i] = share(a, i) - share(b, i);
        sum += d[i];
        out->only_a += d[i] > 0;
        out->only_b += d[i] < 0;
    }
    out->difference = sum / (double)n;
    if ((double)n * DRAWS > most_draws) {
        normal(n, d, out);
    } else {
        bootstrap(n, d, d + n, out);
        out->p = permute(n, d, out->difference);
    }
    if (a->n_runs == 1 && b->n_runs == 1) out->p = mcnemar(out->only_a, out->only_b);
    free(d);
    return THAW_OK;
}
