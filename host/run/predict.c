#include "predict.h"

#include <math.h>

typedef struct predictor {
    const thaw_predict_job *job;
    float *scratch, *scores; /* Of a batch: as thaw_dense_scores wants it; [batch, labels]. */
    size_t n_without;        /* Pictures that were read, but have no scores. */
} predictor;

static bool are_numbers(const float *scores, size_t n) {
    for (size_t k = 0; k < n; k++)
        if (!isfinite(scores[k])) return false;
    return true;
}

static thaw_status take_batch(void *ctx, size_t n, const thaw_piped *pictures, float *features,
                              thaw_error *err) {
    predictor *p = ctx;
    const thaw_bundle *b = p->job->bundle;
    THAW_TRY(thaw_dense_scores(b->backend, b->layers, b->n_layers, (int64_t)n, features, p->scratch,
                               p->scores, err));
    for (size_t k = 0; k < n; k++) {
        thaw_prediction one = {pictures[k].path, pictures[k].problem, p->scores + k * b->n_labels};
        if (!one.problem && !are_numbers(one.scores, b->n_labels)) {
            one.problem = "the network's scores of this picture are not numbers";
            p->n_without++;
        }
        THAW_TRY(p->job->take(p->job->ctx, &one, err));
    }
    thaw_log_progress_add(p->job->log, n);
    return THAW_OK;
}

thaw_status thaw_predict(const thaw_predict_job *job, thaw_pipeline_result *result,
                         thaw_error *err) {
    const thaw_bundle *b = job->bundle;
    thaw_arena arena = {0};
    size_t batch = (size_t)job->batch, widest = (size_t)thaw_dense_widest(b->layers, b->n_layers);
    predictor p = {.job = job,
                   .scratch = thaw_arena_array(&arena, 2 * batch, widest * sizeof *p.scratch),
                   .scores = thaw_arena_array(&arena, batch, b->n_labels * sizeof *p.scores)};
    thaw_pipeline pipeline = {.network = &b->network,
                              .backend = b->backend,
                              .batch = job->batch,
                              .compute = thaw_bundle_precision(b->backend),
                              .source = job->source,
                              .sink = {take_batch, &p},
                              .stop = job->stop,
                              .log = job->log};
    *result = (thaw_pipeline_result){0};
    thaw_status status = p.scratch && p.scores ? thaw_pipeline_run(&pipeline, result, err)
                                               : thaw_fail_memory(err, "to predict");
    result->n_bad += p.n_without;
    thaw_arena_free(&arena);
    return status;
}
