#include "optimize.h"

#include <math.h>
#include <string.h>

#include "program_parts.h"

static const thaw_weights_slots *weights_of(const thaw_top *top) {
    return slots(top)->weights;
}

/* The slots have said what failed. */
static thaw_status status_of(int code, const thaw_error *err) {
    if (!code) return THAW_OK;
    return err && err->code ? err->code : THAW_ERR_BACKEND;
}

/* ---- beginning ------------------------------------------------------------------------------ */

static thaw_status begin_on_device(thaw_top *top, thaw_error *err) {
    const thaw_params *p = &top->params;
    const thaw_top_optimizer *o = &top->optimizer;
    thaw_weights_segment *segments =
        thaw_arena_array(&top->arena, (size_t)p->n_segments, sizeof *segments);
    if (!segments) return thaw_fail_memory(err, "for what is trained");
    for (int i = 0; i < p->n_segments; i++) {
        const thaw_segment *s = &p->segments[i];
        segments[i] = (thaw_weights_segment){s->offset, s->factor, s->decays ? o->weight_decay : 0};
    }
    thaw_weights_problem problem = {.n = p->n,
                                    .n_running = p->n_running,
                                    .segments = segments,
                                    .n_segments = p->n_segments,
                                    .rules = p->rules,
                                    .n_rules = p->n_rules,
                                    .steps = top->numbers,
                                    .steps_gradient = top->total,
                                    .sgd = o->sgd,
                                    .average = o->average != NULL,
                                    .momentum = o->momentum,
                                    .beta1 = o->beta1,
                                    .beta2 = o->beta2,
                                    .eps = o->epsilon,
                                    .running_momentum = o->running,
                                    .clip = o->clip,
                                    .lane = top->spec.lane,
                                    .stopped = thaw__top_stopped(top)};
    int code = weights_of(top)->create(top->backend->stream, &problem, &top->weights, err);
    return code ? status_of(code, err) : thaw_top_send(top, err);
}

thaw_status thaw_top_begin(thaw_top *top, const thaw_top_optimizer *optimizer, thaw_error *err) {
    top->optimizer = *optimizer;
    if (weights_of(top)) return begin_on_device(top, err);
    top->gradient = thaw_arena_array(&top->arena, (size_t)top->params.n, sizeof *top->gradient);
    return top->gradient ? THAW_OK : thaw_fail_memory(err, "for what is trained");
}

/* ---- a step on the host --------------------------------------------------------------------- */

/* Shortens the gradient to the longest that is allowed. */
static void clip(const thaw_top *top) {
    double longest = top->optimizer.clip, sum = 0;
    float *gradient = top->gradient;
    if (longest <= 0) return;
    for (int64_t i = 0; i < top->params.n; i++)
        sum += (double)gradient[i] * gradient[i];
    double length = sqrt(sum);
    if (length <= longest) return;
    float factor = (float)(longest / length);
    for (int64_t i = 0; i < top->params.n; i++)
        gradient[i] *= factor;
}

static int update_segment(const thaw_top *top, const thaw_segment *s, double lr, int64_t step) {
    const thaw_top_slots *kernels = &top->backend->kernels->top;
    const thaw_top_optimizer *o = &top->optimizer;
    float *w = top->params.values + s->offset, *moment = o->moment + s->offset;
    const float *dw = top->gradient + s->offset;
    float rate = (float)lr * s->factor, decay = s->decays ? o->weight_decay : 0;
    if (o->sgd) return kernels->sgd(s->n, w, dw, moment, rate, o->momentum, decay);
    return kernels->adamw(s->n, w, dw, moment, o->second + s->offset, rate, o->beta1, o->beta2,
                          o->epsilon, decay, step);
}

static void average(const thaw_top *top, float keep) {
    float *a = top->optimizer.average;
    for (int64_t i = 0; a && i < top->params.n; i++)
        a[i] = keep * a[i] + (1 - keep) * top->params.values[i];
}

static thaw_status step_on_host(thaw_top *top, double lr, int64_t step, float keep,
                                thaw_error *err) {
    thaw__top_pull(top, top->gradient);
    clip(top);
    for (int s = 0; s < top->params.n_segments; s++)
        if (update_segment(top, &top->params.segments[s], lr, step) != 0)
            return thaw_fail(err, THAW_ERR_BACKEND, "the optimizer failed");
    thaw_top_follow(top, top->optimizer.running);
    average(top, keep);
    return thaw_top_update(top, err);
}

/* ---- a step on a device --------------------------------------------------------------------- */

static thaw_status derive_on_device(thaw_top *top, thaw_error *err) {
    THAW_TRY(status_of(weights_of(top)->derive(top->weights, err), err));
    return thaw__top_pack(top, err);
}

thaw_status thaw__top_run_step(thaw_top *top, thaw_error *err) {
    THAW_TRY(status_of(weights_of(top)->step(top->weights, err), err));
    return derive_on_device(top, err);
}

/* One lane and the step are one recording. */
static thaw_status train_on_device(thaw_top *top, const thaw_top_batch *batch, double lr,
                                   int64_t step, float keep, thaw_error *err) {
    int lanes = (int)((batch->M + top->spec.lane - 1) / top->spec.lane);
    int code = weights_of(top)->begin(top->weights, (float)lr, step, keep, lanes, err);
    THAW_TRY(status_of(code, err));
    THAW_TRY(thaw__top_run_batch(top, batch, step, is_one_lane(top) ? WHOLE : LANE, err));
    if (!is_one_lane(top)) thaw__top_play(top, &top->instances[0], STEP, NULL);
    return thaw__top_error(top, err);
}

thaw_status thaw_top_train(thaw_top *top, const thaw_top_batch *batch, double lr, int64_t step,
                           float keep, int64_t *bad_step, thaw_error *err) {
    if (top->weights) {
        THAW_TRY(train_on_device(top, batch, lr, step, keep, err));
        return thaw__top_look_back(top, step, bad_step, err);
    }
    THAW_TRY(thaw__top_run_batch(top, batch, step, LANE, err));
    thaw__top_count(top, batch, step);
    *bad_step = top->sums.bad_step;
    return *bad_step ? THAW_OK : step_on_host(top, lr, step, keep, err);
}

/* ---- between the two ------------------------------------------------------------------------ */

/* A block of the host's, and which one it is on the device. */
typedef struct pair {
    thaw_weights_block block;
    float *host;
} pair;

enum { MOMENTS = 2, N_PAIRS = 5 };

/* The moments first. */
static void list_pairs(const thaw_top *top, pair pairs[N_PAIRS]) {
    const thaw_top_optimizer *o = &top->optimizer;
    const pair all[N_PAIRS] = {
        {o->sgd ? THAW_WEIGHTS_SECOND : THAW_WEIGHTS_FIRST, o->moment},
        {THAW_WEIGHTS_SECOND, o->second},
        {THAW_WEIGHTS_VALUES, top->params.values},
        {THAW_WEIGHTS_AVERAGE, o->average},
        {THAW_WEIGHTS_RUNNING, top->params.running},
    };
    memcpy(pairs, all, sizeof all);
}

thaw_status thaw_top_fetch(thaw_top *top, bool all, thaw_error *err) {
    pair pairs[N_PAIRS];
    list_pairs(top, pairs);
    for (int i = all ? 0 : MOMENTS; top->weights && i < N_PAIRS; i++)
        if (pairs[i].host)
            THAW_TRY(status_of(
                weights_of(top)->get(top->weights, pairs[i].block, pairs[i].host, err), err));
    return THAW_OK;
}

static thaw_status send(thaw_top *top, int first, thaw_error *err) {
    pair pairs[N_PAIRS];
    list_pairs(top, pairs);
    for (int i = first; i < N_PAIRS; i++)
        if (pairs[i].host && pairs[i].block != THAW_WEIGHTS_AVERAGE)
            THAW_TRY(status_of(
                weights_of(top)->put(top->weights, pairs[i].block, pairs[i].host, err), err));
    return derive_on_device(top, err);
}

/* The average stays: it may have changed places with the values for a while. */
thaw_status thaw__top_send_weights(thaw_top *top, thaw_error *err) {
    return send(top, MOMENTS, err);
}

thaw_status thaw_top_send(thaw_top *top, thaw_error *err) {
    float *average = top->optimizer.average;
    if (!top->weights) return thaw_top_update(top, err);
    if (average)
        THAW_TRY(
            status_of(weights_of(top)->put(top->weights, THAW_WEIGHTS_AVERAGE, average, err), err));
    return send(top, 0, err);
}
