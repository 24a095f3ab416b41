#include "novelty_fit.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "auroc.h"
#include "half.h"
#include "whiten.h"

/* The simplest first. One neighbour keeps known what is rare; many would ask for more rows than the smallest class
 * has. */
static const struct {
    thaw_novelty_method method;
    int64_t k;
} ways[THAW_NOVELTY_TRIALS] = {
    {THAW_NOVELTY_KNN, 1}, {THAW_NOVELTY_KNN, 5}, {THAW_NOVELTY_MAHALANOBIS, 0}};

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "to tell what is unknown");
}

/* ---- samples --------------------------------------------------------------------------------- */

static int64_t most_rows(int64_t D) {
    int64_t most = THAW_NOVELTY_MOST_NUMBERS / D;
    return most > 0 ? most : 1;
}

/* Reads the n rows that index names. */
static thaw_status read_sample(thaw_novelty_sample *s, const thaw_rows *rows, const int64_t *index,
                               int64_t n, thaw_arena *arena, thaw_error *err) {
    enum { BLOCK = 256 };
    int64_t D = rows->D;
    *s = (thaw_novelty_sample){.n = n,
                               .D = D,
                               .x = thaw_arena_array(arena, (size_t)n, (size_t)D * sizeof *s->x),
                               .label = thaw_arena_array(arena, (size_t)n, sizeof *s->label),
                               .n_all = rows->n};
    if (!s->x || !s->label) return no_memory(err);
    for (int64_t begin = 0; begin < n; begin += BLOCK) {
        int64_t M = n - begin < BLOCK ? n - begin : BLOCK;
        THAW_TRY(rows->gather(rows->ctx, index + begin, M, s->x + begin * D, err));
    }
    for (int64_t i = 0; i < n; i++) {
        thaw_novelty_normalise(D, s->x + i * D);
        s->label[i] = rows->label[index[i]];
    }
    return THAW_OK;
}

/* The most rows that each class may have so that all together are at most `most`, but at least one. */
static int64_t share_of_class(const int64_t *count, int64_t K, int64_t most) {
    int64_t low = 1, high = most;
    while (low < high) {
        int64_t middle = low + (high - low + 1) / 2, sum = 0;
        for (int64_t k = 0; k < K; k++)
            sum += count[k] < middle ? count[k] : middle;
        if (sum <= most)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* Whether the i-th of n is among `taken` that lie evenly. */
static bool is_taken(int64_t i, int64_t n, int64_t taken) {
    return taken >= n || (i + 1) * taken / n > i * taken / n;
}

thaw_status thaw_novelty_sample_train(thaw_novelty_sample *s, const thaw_rows *rows, int64_t K,
                                      thaw_arena *arena, thaw_error *err) {
    int64_t *count = thaw_arena_array(arena, (size_t)K, sizeof *count);
    int64_t *seen = thaw_arena_array(arena, (size_t)K, sizeof *seen);
    int64_t *index = thaw_arena_array(arena, (size_t)rows->n, sizeof *index), n = 0;
    uint16_t *half = thaw_arena_array(arena, (size_t)rows->D, sizeof *half);
    if (!count || !seen || !index || !half) return no_memory(err);
    for (int64_t i = 0; i < rows->n; i++)
        count[rows->label[i]]++;
    int64_t most = share_of_class(count, K, most_rows(rows->D));
    for (int64_t i = 0; i < rows->n; i++) {
        int32_t k = rows->label[i];
        if (is_taken(seen[k]++, count[k], most)) index[n++] = i;
    }
    THAW_TRY(read_sample(s, rows, index, n, arena, err));
    for (int64_t i = 0; i < n; i++) {
        thaw_half_from_float(s->x + i * s->D, (size_t)s->D, half);
        thaw_float_from_half(half, (size_t)s->D, s->x + i * s->D);
    }
    return THAW_OK;
}

thaw_status thaw_novelty_sample_validation(thaw_novelty_sample *s, const thaw_rows *rows,
                                           thaw_arena *arena, thaw_error *err) {
    int64_t most = most_rows(rows->D), n = 0;
    if (most > THAW_NOVELTY_MOST_VALIDATION) most = THAW_NOVELTY_MOST_VALIDATION;
    int64_t *index = thaw_arena_array(arena, (size_t)rows->n, sizeof *index);
    if (!index) return no_memory(err);
    for (int64_t i = 0; i < rows->n; i++)
        if (is_taken(i, rows->n, most)) index[n++] = i;
    return read_sample(s, rows, index, n, arena, err);
}

/* ---- one way --------------------------------------------------------------------------------- */

/* The training rows of all classes but those of a group; group -1: of all. */
static thaw_status take_others(const thaw_novelty_sample *train, int64_t group, int64_t n_groups,
                               thaw_arena *arena, thaw_novelty_sample *others, thaw_error *err) {
    *others = *train;
    if (group < 0) return THAW_OK;
    size_t row = (size_t)train->D * sizeof *train->x;
    others->n = 0;
    others->x = thaw_arena_array(arena, (size_t)train->n, row);
    others->label = thaw_arena_array(arena, (size_t)train->n, sizeof *others->label);
    if (!others->x || !others->label) return no_memory(err);
    for (int64_t i = 0; i < train->n; i++) {
        if (train->label[i] % n_groups == group) continue;
        memcpy(others->x + others->n * train->D, train->x + i * train->D, row);
        others->label[others->n++] = train->label[i];
    }
    return THAW_OK;
}

/* Makes the w-th way from rows; method NONE: it does not fit them. */
static thaw_status make_way(int w, const thaw_top_slots *top, int64_t K,
                            const thaw_novelty_sample *known, thaw_arena *arena,
                            thaw_novelty *novelty, thaw_error *err) {
    int64_t D = known->D;
    *novelty = (thaw_novelty){.method = ways[w].method, .D = D, .k = ways[w].k};
    if (ways[w].method == THAW_NOVELTY_KNN) {
        novelty->rows = known->x;
        novelty->n = known->n;
        if (known->n == 0) novelty->method = THAW_NOVELTY_NONE;
        return THAW_OK;
    }
    novelty->method = THAW_NOVELTY_NONE;
    if (D > THAW_WHITEN_MOST_D) return THAW_OK;
    float *centre = thaw_arena_array(arena, (size_t)D, sizeof *centre);
    float *whiten = thaw_arena_array(arena, (size_t)(D * D), sizeof *whiten);
    float *means = thaw_arena_array(arena, (size_t)K, (size_t)D * sizeof *means);
    if (!centre || !whiten || !means) return no_memory(err);
    THAW_TRY(thaw_whiten_fit(top, known->n, D, known->x, known->label, K, centre, whiten, means,
                             &novelty->n, err));
    if (novelty->n > 0) novelty->method = THAW_NOVELTY_MAHALANOBIS;
    novelty->rows = means;
    novelty->centre = centre;
    novelty->whiten = whiten;
    return THAW_OK;
}

static thaw_status measure(const thaw_novelty *novelty, const thaw_top_slots *top,
                           const thaw_novelty_sample *rows, float *distance, thaw_error *err) {
    thaw_arena arena = {0};
    float *scratch = thaw_arena_array(&arena, thaw_novelty_scratch(novelty), sizeof *scratch);
    thaw_status status =
        scratch ? thaw_novelty_measure(novelty, top, rows->n, rows->x, scratch, distance, err)
                : no_memory(err);
    thaw_arena_free(&arena);
    return status;
}

/* ---- the choice ------------------------------------------------------------------------------ */

/* What each way reaches with each group left out. */
typedef struct reached {
    double auroc[THAW_NOVELTY_TRIALS][THAW_NOVELTY_FOLDS];
    int64_t n; /* Groups of which something validates, and of the others. */
} reached;

/* Tries all ways with the classes of a group left out. */
static thaw_status try_without(const thaw_top_slots *top, int64_t K, int64_t group,
                               int64_t n_groups, const thaw_novelty_sample *train,
                               const thaw_novelty_sample *validation, thaw_arena *arena, reached *r,
                               thaw_error *err) {
    thaw_novelty_sample others;
    int64_t n_rows = validation->n, n_known = 0, n_unknown = 0;
    float *distance = thaw_arena_array(arena, (size_t)n_rows, sizeof *distance);
    float *known = thaw_arena_array(arena, (size_t)n_rows, sizeof *known);
    float *unknown = thaw_arena_array(arena, (size_t)n_rows, sizeof *unknown);
    if (!distance || !known || !unknown) return no_memory(err);
    for (int64_t i = 0; i < n_rows; i++)
        *(validation->label[i] % n_groups == group ? &n_unknown : &n_known) += 1;
    if (!n_known || !n_unknown) return THAW_OK;
    THAW_TRY(take_others(train, group, n_groups, arena, &others, err));
    for (int w = 0; w < THAW_NOVELTY_TRIALS; w++) {
        thaw_novelty novelty;
        double auroc = NAN;
        THAW_TRY(make_way(w, top, K, &others, arena, &novelty, err));
        if (novelty.method != THAW_NOVELTY_NONE) {
            THAW_TRY(measure(&novelty, top, validation, distance, err));
            n_known = n_unknown = 0;
            for (int64_t i = 0; i < n_rows; i++)
                if (validation->label[i] % n_groups == group)
                    unknown[n_unknown++] = distance[i];
                else
                    known[n_known++] = distance[i];
            THAW_TRY(thaw_auroc(known, (size_t)n_known, unknown, (size_t)n_unknown, &auroc, err));
        }
        r->auroc[w][r->n] = auroc;
    }
    r->n++;
    return THAW_OK;
}

static thaw_status try_all(const thaw_top_slots *top, int64_t K, const thaw_novelty_sample *train,
                           const thaw_novelty_sample *validation, reached *r, thaw_error *err) {
    int64_t n_groups = K < THAW_NOVELTY_FOLDS ? K : THAW_NOVELTY_FOLDS;
    thaw_status status = THAW_OK;
    for (int64_t group = 0; status == THAW_OK && group < n_groups; group++) {
        thaw_arena arena = {0};
        status = try_without(top, K, group, n_groups, train, validation, &arena, r, err);
        thaw_arena_free(&arena);
    }
    return status;
}

/* The mean of n numbers, NaN of none, and its standard error, 0 of one. */
static double mean_of(const double *x, int64_t n, double *error) {
    double sum = 0, square = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    double mean = n > 0 ? sum / (double)n : NAN;
    for (int64_t i = 0; i < n; i++)
        square += (x[i] - mean) * (x[i] - mean);
    *error = n > 1 ? sqrt(square / (double)(n - 1) / (double)n) : 0;
    return mean;
}

/* The first way that is within a standard error of the best. */
static int choose_way(const reached *r, const thaw_novelty_trial trials[THAW_NOVELTY_TRIALS]) {
    int best = 0, w = 0;
    for (int i = 1; i < THAW_NOVELTY_TRIALS; i++)
        if (trials[i].auroc > trials[best].auroc || isnan(trials[best].auroc)) best = i;
    for (; w < best; w++) {
        double behind[THAW_NOVELTY_FOLDS], error;
        for (int64_t i = 0; i < r->n; i++)
            behind[i] = r->auroc[best][i] - r->auroc[w][i];
        if (mean_of(behind, r->n, &error) <= error) break;
    }
    return isnan(trials[best].auroc) ? 0 : w;
}

static int compare_floats(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

static double threshold_of(int64_t n, const float *ascending, double rate) {
    int64_t rank = (int64_t)ceil((double)(n + 1) * (1 - rate) - 1e-9);
    return fmin(ascending[(rank < n ? rank : n) - 1], FLT_MAX); /* Files hold no infinity. */
}

thaw_status thaw_novelty_choose(const thaw_top_slots *top, int64_t K,
                                const thaw_novelty_sample *train,
                                const thaw_novelty_sample *validation, double rate,
                                thaw_arena *arena, thaw_novelty_fit *fit, thaw_error *err) {
    reached r = {.n = 0};
    double error;
    *fit = (thaw_novelty_fit){.n = validation->n};
    if (validation->n == 0)
        return thaw_fail(err, THAW_ERR_DATA,
                         "nothing validates from which distance on a picture is "
                         "unknown");
    THAW_TRY(try_all(top, K, train, validation, &r, err));
    for (int w = 0; w < THAW_NOVELTY_TRIALS; w++)
        fit->trials[w] =
            (thaw_novelty_trial){ways[w].method, ways[w].k, mean_of(r.auroc[w], r.n, &error)};
    THAW_TRY(make_way(choose_way(&r, fit->trials), top, K, train, arena, &fit->novelty, err));
    if (fit->novelty.method == THAW_NOVELTY_NONE)
        THAW_TRY(make_way(0, top, K, train, arena, &fit->novelty, err));
    fit->distance = thaw_arena_array(arena, (size_t)fit->n, sizeof *fit->distance);
    if (!fit->distance) return no_memory(err);
    THAW_TRY(measure(&fit->novelty, top, validation, fit->distance, err));
    qsort(fit->distance, (size_t)fit->n, sizeof *fit->distance, compare_floats);
    fit->novelty.threshold = threshold_of(fit->n, fit->distance, rate);
    fit->novelty.rate = rate;
    return THAW_OK;
}
