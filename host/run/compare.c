#include "compare.h"

#include <math.h>
#include <string.h>
#include <time.h>

#include "pipeline.h"
#include "rng.h"

/* ---- a sample ------------------------------------------------------------------------------ */

/* Some pictures of a dataset on their way through a pipeline. */
typedef struct sample {
    const thaw_dataset *dataset;
    size_t *picture; /* [n] */
    size_t n, next;
} sample;

static thaw_status draw_sample(sample *s, const thaw_dataset *dataset,
                               const thaw_extraction *extraction, size_t most, thaw_arena *arena,
                               thaw_error *err) {
    *s = (sample){.dataset = dataset, .picture = thaw_arena_array(arena, most, sizeof *s->picture)};
    if (!s->picture) return thaw_fail_memory(err, "for a sample of %zu pictures", most);
    /* Another seed each time: run after run, all records get their turn. */
    thaw_rng rng = thaw_rng_open((uint64_t)time(NULL), THAW_RNG_SAMPLE, 0);
    for (size_t k = 0; k < most; k++) {
        size_t i = thaw_rng_below(&rng, (uint32_t)dataset->n);
        if (!extraction || !extraction->rejected[i]) s->picture[s->n++] = i;
    }
    return THAW_OK;
}

static thaw_status next_path(void *ctx, char path[PATH_MAX], thaw_error *err) {
    (void)err;
    sample *s = ctx;
    path[0] = '\0';
    if (s->next < s->n) thaw_dataset_path(s->dataset, s->picture[s->next++], path);
    return THAW_OK;
}

/* Sends the sample through; rate receives pictures a second, planning left out. */
static thaw_status compute(const thaw_network *network, sample *s, const thaw_way *way,
                           thaw_picture_sink sink, double *rate, thaw_error *err) {
    s->next = 0;
    thaw_pipeline pipeline = {.network = network,
                              .backend = way->backend,
                              .batch = way->batch,
                              .compute = way->compute,
                              .source = {.next = next_path, .ctx = s, .most = s->n},
                              .sink = sink};
    thaw_pipeline_result done;
    THAW_TRY(thaw_pipeline_run(&pipeline, &done, err));
    double seconds = done.seconds - done.plan_seconds;
    *rate = seconds > 0 ? (double)done.n / seconds : 0;
    return THAW_OK;
}

static double nmse(const float *x, const float *reference, size_t n) {
    double difference = 0, power = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)x[i] - reference[i];
        difference += d * d;
        power += (double)reference[i] * reference[i];
    }
    return power > 0 ? difference / power : difference;
}

/* ---- beside the cache ---------------------------------------------------------------------- */

typedef struct beside_cache {
    thaw_cache *cache;
    size_t D;
    float *record; /* [D] */
    double limit;
    thaw_cache_test *result;
} beside_cache;

double thaw_compare_tolerance(const thaw_kernels *kernels, thaw_dtype compute, thaw_dtype stored) {
    if (compute == THAW_BF16) return 1e-3;
    if (strcmp(kernels->precision(compute), "fp32") != 0) return 1e-4;
    return stored == THAW_F16 ? 1e-5 : 1e-8;
}

static thaw_status compare_record(beside_cache *b, const thaw_piped *picture, const float *features,
                                  thaw_error *err) {
    /* A picture that changed between the two passes has another hash; that is no lie. */
    if (picture->problem || !thaw_cache_has(b->cache, picture->hash)) return THAW_OK;
    THAW_TRY(thaw_cache_read(b->cache, picture->hash, b->record, err));
    double difference = nmse(b->record, features, b->D);
    b->result->n++;
    if (difference > b->result->worst || isnan(difference)) b->result->worst = difference;
    if (difference <= b->limit) return THAW_OK;
    return thaw_fail(err, THAW_ERR_MISMATCH,
                     "the cache's record for %s differs from what this program computes (NMSE "
                     "%.1e, %.0e is allowed): remove the cache folder, or choose another cache.dir",
                     picture->path, difference, b->limit);
}

static thaw_status compare_records(void *ctx, size_t n, const thaw_piped *pictures, float *features,
                                   thaw_error *err) {
    beside_cache *b = ctx;
    for (size_t k = 0; k < n; k++)
        THAW_TRY(compare_record(b, &pictures[k], features + k * b->D, err));
    return THAW_OK;
}

thaw_status thaw_compare_cache(const thaw_network *network, const thaw_dataset *dataset,
                               const thaw_extraction *extraction, const thaw_way *way,
                               thaw_cache *cache, thaw_dtype stored, size_t most,
                               thaw_cache_test *result, thaw_error *err) {
    *result = (thaw_cache_test){0};
    thaw_arena arena = {0};
    sample s;
    beside_cache b = {.cache = cache,
                      .D = (size_t)network->n_features,
                      .limit = thaw_compare_tolerance(way->backend->kernels, way->compute, stored),
                      .result = result};
    thaw_status status = draw_sample(&s, dataset, extraction, most, &arena, err);
    b.record = thaw_arena_array(&arena, b.D, sizeof *b.record);
    if (status == THAW_OK && !b.record) status = thaw_fail_memory(err, "for a record");
    if (status == THAW_OK)
        status = compute(network, &s, way, (thaw_picture_sink){compare_records, &b},
                         &result->images_per_second, err);
    thaw_arena_free(&arena);
    return status;
}

/* ---- two ways ------------------------------------------------------------------------------ */

typedef struct beside_way {
    size_t D;
    float *trusted; /* [the sample's n, D] */
    double sum;     /* Of n NMSEs. */
    size_t n;
} beside_way;

static thaw_status note_rows(void *ctx, size_t n, const thaw_piped *pictures, float *features,
                             thaw_error *err) {
    (void)err;
    beside_way *b = ctx;
    for (size_t k = 0; k < n; k++)
        memcpy(b->trusted + pictures[k].i * b->D, features + k * b->D, b->D * sizeof *features);
    return THAW_OK;
}

static thaw_status compare_rows(void *ctx, size_t n, const thaw_piped *pictures, float *features,
                                thaw_error *err) {
    (void)err;
    beside_way *b = ctx;
    for (size_t k = 0; k < n; k++) {
        if (pictures[k].problem) continue;
        b->sum += nmse(features + k * b->D, b->trusted + pictures[k].i * b->D, b->D);
        b->n++;
    }
    return THAW_OK;
}

thaw_status thaw_compare_ways(const thaw_network *network, const thaw_dataset *dataset,
                              const thaw_way *trusted, const thaw_way *way, size_t most,
                              thaw_way_test *result, thaw_error *err) {
    *result = (thaw_way_test){0};
    thaw_arena arena = {0};
    sample s;
    beside_way b = {.D = (size_t)network->n_features};
    thaw_status status = draw_sample(&s, dataset, NULL, most, &arena, err);
    b.trusted = thaw_arena_array(&arena, most, b.D * sizeof *b.trusted);
    if (status == THAW_OK && !b.trusted) status = thaw_fail_memory(err, "for a sample's features");
    if (status == THAW_OK)
        status = compute(network, &s, trusted, (thaw_picture_sink){note_rows, &b},
                         &result->trusted_rate, err);
    if (status == THAW_OK)
        status =
            compute(network, &s, way, (thaw_picture_sink){compare_rows, &b}, &result->rate, err);
    result->nmse = b.n ? b.sum / (double)b.n : 0;
    thaw_arena_free(&arena);
    return status;
}
