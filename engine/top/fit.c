#include "fit.h"

static int64_t lanes_of(const thaw_tune_job *job, int64_t lane) {
    return (job->options.batch + lane - 1) / lane;
}

thaw_status thaw_fit_measure(const thaw_tune_job *job, thaw_top_size *size, thaw_error *err) {
    const thaw_value *to = &job->graph->values[job->to];
    int64_t D = job->pooled ? thaw_value_channels(to) : thaw_value_elements(to);
    thaw_head head;
    thaw_arena arena = {0};
    thaw_top *top = NULL;
    thaw_top_spec spec = {
        .graph = job->graph,
        .from = job->from,
        .to = job->to,
        .pooled = job->pooled,
        .norm = job->options.norm,
        .head = &head,
        .lane = thaw_tune_lane(job->backend, job->options.norm, job->options.batch),
        .most_lanes = 1};
    thaw_status status = thaw_head_init(&head, D, 0, job->head.K, 0, &arena, err);
    if (status == THAW_OK) status = thaw_top_create(&top, &spec, job->backend, err);
    if (status == THAW_OK) *size = thaw_top_measure(top);
    thaw_top_free(top);
    thaw_arena_free(&arena);
    return status;
}

thaw_status thaw_fit_bytes(const thaw_tune_job *job, size_t *bytes, thaw_error *err) {
    thaw_top_size size;
    THAW_TRY(thaw_fit_measure(job, &size, err));
    int64_t lane = thaw_tune_lane(job->backend, job->options.norm, job->options.batch);
    int64_t lanes = lanes_of(job, lane), threads = job->backend->threads;
    /* The statistics of a batch are taken of all its lanes at once. */
    if (job->options.norm != THAW_NORM_FULL && threads < lanes) lanes = threads > 0 ? threads : 1;
    *bytes = (size_t)lanes * (size.activation_bytes + size.gradient_bytes) +
             THAW_TUNE_COPIES * (size_t)size.n_params * sizeof(float) +
             (size_t)(job->options.batch * size.D) * sizeof(float);
    return THAW_OK;
}

/* The nearest cut above the job's that fits, and what it takes; NULL: none does. */
static const thaw_cut *find_fitting(const thaw_tune_job *job, const thaw_cuts *cuts, int first,
                                    size_t free_bytes, size_t *bytes) {
    thaw_tune_job other = *job;
    for (int i = first; i < cuts->last; i++) {
        const thaw_cut *cut = &cuts->cuts[i];
        other.from = cut->value;
        if (thaw_cut_trains(job->graph, cuts, cut) &&
            thaw_fit_bytes(&other, bytes, NULL) == THAW_OK && *bytes <= free_bytes)
            return cut;
    }
    return NULL;
}

thaw_status thaw_fit_check(const thaw_tune_job *job, const thaw_cuts *cuts, const thaw_cut *cut,
                           size_t free_bytes, thaw_error *err) {
    size_t bytes, less;
    THAW_TRY(thaw_fit_bytes(job, &bytes, err));
    if (bytes <= free_bytes) return THAW_OK;
    const thaw_cut *other = find_fitting(job, cuts, cut->index + 1, free_bytes, &less);
    if (!other)
        return thaw_fail(err, THAW_ERR_NOMEM,
                         "training above %s takes about %zu MB, and %zu MB are free; above every "
                         "other cut it does, too: freeze = last trains the head alone",
                         cut->name, bytes >> 20, free_bytes >> 20);
    return thaw_fail(err, THAW_ERR_NOMEM,
                     "training above %s takes about %zu MB, and %zu MB are free: freeze = %d (%s) "
                     "takes %zu MB; a smaller top.batch or fewer threads take less, too",
                     cut->name, bytes >> 20, free_bytes >> 20, other->index, other->name,
                     less >> 20);
}
