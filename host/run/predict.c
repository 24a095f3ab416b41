#include "predict.h"

#include <math.h>

#include "model/scorer.h"

typedef struct predictor {
    const thaw_predict_job *job;
    thaw_scorer scorer;
    size_t n_without; /* Pictures that were read, but have no scores. */
} predictor;

static thaw_status take_batch(void *ctx, size_t n, const thaw_piped *pictures, float *features,
                              thaw_error *err) {
    predictor *p = ctx;
    thaw_scorer *s = &p->scorer;
    THAW_TRY(thaw_scorer_run(s, n, features, err));
    for (size_t k = 0; k < n; k++) {
        thaw_prediction one = {.path = pictures[k].path,
                               .problem = pictures[k].problem,
                               .scores = s->scores + k * s->bundle->n_labels,
                               .old = s->old ? &s->old[k] : NULL,
                               .unknown = thaw_scorer_is_unknown(s, k),
                               .distance = s->distance ? s->distance[k] : NAN};
        if (!one.problem && (one.problem = thaw_scorer_problem(s, k))) p->n_without++;
        THAW_TRY(p->job->take(p->job->ctx, &one, err));
    }
    thaw_log_progress_add(p->job->log, n);
    return THAW_OK;
}

thaw_status thaw_predict(const thaw_predict_job *job, thaw_pipeline_result *result,
                         thaw_error *err) {
    const thaw_bundle *b = job->bundle;
    thaw_arena arena = {0};
    predictor p = {.job = job};
    thaw_pipeline pipeline = {.network = &b->network,
                              .backend = b->backend,
                              .batch = job->batch,
                              .compute = thaw_bundle_precision(b->backend),
                              .source = job->source,
                              .sink = {take_batch, &p},
                              .stop = job->stop,
                              .log = job->log};
    *result = (thaw_pipeline_result){0};
    thaw_status status = thaw_scorer_open(&p.scorer, job->bundle, (size_t)job->batch, &arena, err);
    if (status == THAW_OK) status = thaw_pipeline_run(&pipeline, result, err);
    result->n_bad += p.n_without;
    thaw_arena_free(&arena);
    return status;
}
