#include "predict.h"

#include <math.h>

typedef struct predictor {
    const thaw_predict_job *job;
    float *scratch, *scores; /* Of a batch: as thaw_dense_scores wants it; [batch, labels]. */
    thaw_kept_answer *old;   /* [batch] */
    size_t n_without;        /* Pictures that were read, but have no scores. */
} predictor;

static bool are_numbers(const float *scores, size_t n) {
    for (size_t k = 0; k < n; k++)
        if (!isfinite(scores[k])) return false;
    return true;
}

static thaw_status ask_old(predictor *p, size_t n, const float *features, thaw_error *err) {
    thaw_bundle *b = p->job->bundle;
    thaw_row_array array = {&b->backend->kernels->top, features, b->network.n_features};
    thaw_rows rows = thaw_rows_of_array(&array, (int64_t)n, NULL);
    return thaw_kept_head_answer(&b->old, &rows, 0, (int64_t)n, p->old, err);
}

static thaw_status take_batch(void *ctx, size_t n, const thaw_piped *pictures, float *features,
                              thaw_error *err) {
    predictor *p = ctx;
    thaw_bundle *b = p->job->bundle;
    THAW_TRY(thaw_dense_scores(b->backend, b->layers, b->n_layers, (int64_t)n, features, p->scratch,
                               p->scores, err));
    if (b->old.output) THAW_TRY(ask_old(p, n, features, err));
    for (size_t k = 0; k < n; k++) {
        thaw_prediction one = {.path = pictures[k].path,
                               .problem = pictures[k].problem,
                               .scores = p->scores + k * b->n_labels,
                               .old = b->old.output ? &p->old[k] : NULL};
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
                   .scores = thaw_arena_array(&arena, batch, b->n_labels * sizeof *p.scores),
                   .old = thaw_arena_array(&arena, batch, sizeof *p.old)};
    thaw_pipeline pipeline = {.network = &b->network,
                              .backend = b->backend,
                              .batch = job->batch,
                              .compute = thaw_bundle_precision(b->backend),
                              .source = job->source,
                              .sink = {take_batch, &p},
                              .stop = job->stop,
                              .log = job->log};
    *result = (thaw_pipeline_result){0};
    thaw_status status = p.scratch && p.scores && p.old ? thaw_pipeline_run(&pipeline, result, err)
                                                        : thaw_fail_memory(err, "to predict");
    result->n_bad += p.n_without;
    thaw_arena_free(&arena);
    return status;
}
