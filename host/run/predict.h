/* Pictures to scores, with a trained run: the pipeline without a cache, and the head behind it. */
#ifndef THAW_PREDICT_H
#define THAW_PREDICT_H

#include "model/bundle.h"
#include "pipeline.h"

/* What a run says of one picture. */
typedef struct thaw_prediction {
    const char *path;
    const char *problem;         /* One sentence: why there are no scores; NULL: there are. */
    const float *scores;         /* [the bundle's n_labels] */
    const thaw_kept_answer *old; /* NULL: the bundle has no old head. */
    bool unknown;                /* It is unlike all that the bundle knows, */
    float distance;              /* by so much; NaN: the bundle does not tell. */
} thaw_prediction;

typedef struct thaw_predict_job {
    thaw_bundle *bundle;
    int64_t batch; /* Pictures that go through at once. */
    thaw_picture_source source;
    /* Takes one picture after the other, in the source's order, while others are on their way. What
     * fails here ends the job. */
    thaw_status (*take)(void *ctx, const thaw_prediction *prediction, thaw_error *err);
    void *ctx;
    const volatile int *stop;
    thaw_log *log;
} thaw_predict_job;

/* Scores all pictures of the source; `skip` of it is NULL. result is filled also after an error, and
 * counts pictures without scores as bad. Memory is that of a few batches. Fails as
 * thaw_pipeline_run. */
thaw_status thaw_predict(const thaw_predict_job *job, thaw_pipeline_result *result,
                         thaw_error *err);

#endif
