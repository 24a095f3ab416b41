/* The loss of a lane and its gradient, by the host's kernels or where a device has the scores; and what the steps of a
 * training sum up to. */
#include <math.h>
#include <string.h>

#include "metrics.h"
#include "optimize.h"
#include "program_parts.h"

/* ---- on the host ---------------------------------------------------------------------------- */

/* Whether of each class it is said rightly whether it is there. */
static bool is_exact(int64_t K, const float *scores, const float *target) {
    for (int64_t k = 0; k < K; k++)
        if (isnan(scores[k]) || (scores[k] > 0) != (target[k] > 0.5f)) return false;
    return true;
}

/* Loss and gradient of n pictures' scores: d receives that of the n rows. */
static void score(thaw_top *top, instance *in, const thaw_top_batch *b, int64_t at, int64_t n,
                  const float *scores, float *d) {
    const thaw_top_slots *kernels = &top->backend->kernels->top;
    int64_t K = top->size.K;
    float *loss = top->loss + at;
    if (b->target) {
        const float *own = b->own ? b->own : b->target;
        kernels->sigmoid_cross_entropy(n, K, scores, b->target + at * K, b->class_weight, b->norm,
                                       loss, d);
        for (int64_t i = 0; i < n; i++)
            top->right[at + i] = is_exact(K, scores + i * K, own + (at + i) * K);
        return;
    }
    kernels->softmax_cross_entropy(n, K, scores, b->label + at, b->class_weight, b->smoothing,
                                   b->norm, loss, d);
    for (int64_t i = 0; i < n; i++)
        top->right[at + i] = thaw_metrics_rank(K, scores + i * K, b->label[at + i]) == 0;
    for (int64_t i = 0; b->other && i < n; i++) {
        float share = b->share[at + i], other[1];
        if (share == 1) continue;
        /* The loss is linear in the target: so are both of them. */
        float *row = d + i * K, *scratch = in->scratch;
        kernels->softmax_cross_entropy(1, K, scores + i * K, b->other + at + i, b->class_weight,
                                       b->smoothing, b->norm, other, scratch);
        loss[i] = share * loss[i] + (1 - share) * other[0];
        for (int64_t k = 0; k < K; k++)
            row[k] = share * row[k] + (1 - share) * scratch[k];
    }
}

void thaw__top_score(thaw_top *top, instance *in, const thaw_top_batch *b, int64_t at, int64_t n) {
    const float *scores = in->program.steps[in->program.n_steps - 1].out->data;
    float *d = in->made[0].data;
    int64_t K = top->size.K;
    memset(d, 0, (size_t)(top->spec.lane * K) * sizeof *d);
    if (b->logits) memcpy(b->logits + at * K, scores, (size_t)(n * K) * sizeof *scores);
    score(top, in, b, at, n, scores, d);
}

/* ---- on a device ---------------------------------------------------------------------------- */

/* What a lane's loss is computed from, as it is brought: this, labels, class weights, second labels and shares; then
 * targets and the pictures' own, which not all have. What comes of it lies behind. */
typedef struct loss_head {
    int64_t step;
    float norm;
} loss_head;

static size_t aligned(size_t bytes) {
    return (bytes + 15) / 16 * 16;
}

/* Places in the piece of memory, the same on both sides. */
typedef struct loss_places {
    size_t label, class_weight, other, share, target, own; /* Brought, up to: */
    size_t small_end, end;
    size_t loss, right, other_loss, other_d, sums, all; /* The device's alone. */
} loss_places;

static loss_places places_of(const thaw_top *top, const instance *in) {
    const size_t rows = (size_t)top->spec.lane, one = sizeof(float);
    const size_t K = (size_t)top->head.layers[top->head.n_layers - 1].K;
    loss_places p = {.label = aligned(sizeof(loss_head))};
    p.class_weight = p.label + aligned(rows * sizeof(int32_t));
    p.other = p.class_weight + aligned(K * one);
    p.share = p.other + aligned(rows * sizeof(int32_t));
    p.small_end = p.target = p.share + aligned(rows * one);
    p.own = p.target + aligned(rows * K * one);
    p.end = p.loss = p.own + aligned(rows * K * one);
    p.right = p.loss + aligned(rows * one);
    p.other_loss = p.right + aligned(rows);
    p.other_d = p.other_loss + aligned(rows * one);
    p.sums = p.other_d + aligned(in->made[0].bytes);
    p.all = p.sums + aligned(sizeof(thaw_loss_sums));
    return p;
}

static thaw_status no_room(const thaw_top *top, thaw_error *err) {
    return thaw_fail(err, THAW_ERR_NOMEM,
                     "training above this cut needs memory for the loss of %lld pictures, which "
                     "there is not: take a smaller top.batch",
                     (long long)top->spec.lane);
}

thaw_status thaw__top_take_loss(thaw_top *top, instance *in, thaw_error *err) {
    const thaw_memory *device = device_of(top);
    const loss_places p = places_of(top, in);
    void *memory = NULL;
    in->loss_bytes = p.all;
    in->loss = top->backend->alloc(p.all);
    in->brought_loss = thaw_arena_alloc(&in->arena, p.end);
    if (!in->loss || !in->brought_loss) return no_room(top, err);
    if (device->alloc_pinned(2 * sizeof(thaw_loss_sums), &memory) != 0) return no_room(top, err);
    top->seen = memory;
    for (int i = 0; i < 2; i++)
        THAW_TRY(thaw__top_device_status(top, device->create_event(&top->queued[i]), err));
    thaw_loss_sums none = {0};
    return thaw_top_count_from(top, &none, err);
}

void thaw__top_free_loss(thaw_top *top) {
    const thaw_memory *device = device_of(top);
    for (int i = 0; device && i < 2; i++)
        if (top->queued[i]) device->release_event(top->queued[i]);
    if (top->seen) device->release_pinned(top->seen);
}

static void *place(const instance *in, size_t at) {
    return (char *)in->loss + at;
}

/* What is recorded holds for losses of this kind only. */
static void take_kind(thaw_top *top, instance *in, const thaw_top_batch *b) {
    loss_kind kind = {b->smoothing, b->class_weight != NULL, b->other != NULL, b->target != NULL};
    const loss_kind *was = &in->kind;
    if (kind.smoothing == was->smoothing && kind.weighted == was->weighted &&
        kind.mixed == was->mixed && kind.sets == was->sets)
        return;
    in->kind = kind;
    for (int w = 0; w < N_WAYS; w++) {
        if (w != LANE && w != WHOLE) continue;
        device_of(top)->release_graph(in->tapes[w].graph);
        in->tapes[w] = (tape){0};
    }
}

/* n rows of one kind of number from `at` on, where there are such, to their place; those behind are none. */
static void put_rows(char *to, const void *from, int64_t at, int64_t n, size_t each) {
    if (from) memcpy(to, (const char *)from + (size_t)at * each, (size_t)n * each);
}

thaw_status thaw__top_bring_loss(thaw_top *top, instance *in, const thaw_top_batch *b, int64_t step,
                                 int64_t at, int64_t n) {
    const loss_places p = places_of(top, in);
    const size_t row = (size_t)top->size.K * sizeof(float);
    char *to = in->brought_loss;
    take_kind(top, in, b);
    memset(to, 0, p.small_end);
    loss_head head = {step, b->norm};
    memcpy(to, &head, sizeof head);
    memset(to + p.label, 0xff, p.class_weight - p.label); /* -1: none. */
    memset(to + p.other, 0xff, p.share - p.other);
    put_rows(to + p.label, b->label, at, n, sizeof *b->label);
    put_rows(to + p.class_weight, b->class_weight, 0, 1, row);
    put_rows(to + p.other, b->other, at, n, sizeof *b->other);
    put_rows(to + p.share, b->share, at, n, sizeof *b->share);
    if (b->target) {
        memset(to + p.target, 0, p.end - p.target);
        put_rows(to + p.target, b->target, at, n, row);
        put_rows(to + p.own, b->own ? b->own : b->target, at, n, row);
    }
    int code =
        device_of(top)->upload(top->backend->stream, in->loss, to, b->target ? p.end : p.small_end);
    return thaw__top_device_status(top, code, &in->error);
}

int thaw__top_run_loss(const thaw_top *top, instance *in) {
    const loss_places p = places_of(top, in);
    const loss_kind *kind = &in->kind;
    const loss_head *head = in->loss;
    const thaw_loss_problem problem = {
        .rows = top->spec.lane,
        .K = top->size.K,
        .label = place(in, p.label),
        .other = kind->mixed ? place(in, p.other) : NULL,
        .share = place(in, p.share),
        .target = kind->sets ? place(in, p.target) : NULL,
        .own = place(in, p.own),
        .class_weight = kind->weighted ? place(in, p.class_weight) : NULL,
        .smoothing = kind->smoothing,
        .norm = &head->norm,
        .step = &head->step,
        .loss = place(in, p.loss),
        .right = place(in, p.right),
        .other_loss = place(in, p.other_loss),
        .other_d = place(in, p.other_d),
        .sums = place(in, p.sums),
    };
    return slots(top)->loss(in->program.steps[in->program.n_steps - 1].out, &in->made[0], &problem,
                            top->backend->stream);
}

const int64_t *thaw__top_stopped(const thaw_top *top) {
    const instance *in = &top->instances[0];
    const thaw_loss_sums *sums = place(in, places_of(top, in).sums);
    return &sums->bad_step;
}

thaw_status thaw__top_read_loss(thaw_top *top, instance *in, const thaw_top_batch *b, int64_t at,
                                int64_t n) {
    const thaw_port *scores = in->program.steps[in->program.n_steps - 1].out;
    const int64_t K = top->size.K;
    void *stream = top->backend->stream;
    const float *logits = thaw__top_read_port(top, in, scores, in->scores);
    if (!logits) return in->error.code;
    if (b->logits) memcpy(b->logits + at * K, logits, (size_t)(n * K) * sizeof *logits);
    int code = device_of(top)->download(stream, top->loss + at, place(in, places_of(top, in).loss),
                                        (size_t)n * sizeof(float));
    if (!code) code = device_of(top)->wait(stream);
    return thaw__top_device_status(top, code, &in->error);
}

/* ---- sums ----------------------------------------------------------------------------------- */

void thaw__top_count(thaw_top *top, const thaw_top_batch *b, int64_t step) {
    double loss = 0;
    for (int64_t m = 0; m < b->M; m++) {
        loss += top->loss[m];
        top->sums.loss += top->loss[m];
        top->sums.right += top->right[m];
    }
    if (!isfinite(loss) && top->sums.bad_step == 0) top->sums.bad_step = step;
}

thaw_status thaw__top_look_back(thaw_top *top, int64_t step, int64_t *bad_step, thaw_error *err) {
    const thaw_memory *device = device_of(top);
    const instance *in = &top->instances[0];
    void *stream = top->backend->stream;
    const int now = (int)(step % 2), before = 1 - now;
    int code = device->download(stream, &top->seen[now], place(in, places_of(top, in).sums),
                                sizeof top->seen[now]);
    if (!code) code = device->mark(stream, top->queued[now]);
    if (!code) code = device->reach(top->queued[before]);
    if (!code) *bad_step = top->seen[before].bad_step;
    return thaw__top_device_status(top, code, err);
}

thaw_status thaw_top_count_from(thaw_top *top, const thaw_loss_sums *sums, thaw_error *err) {
    const instance *in = &top->instances[0];
    top->sums = *sums;
    if (!device_of(top)) return THAW_OK;
    top->seen[0] = top->seen[1] = *sums;
    int code = device_of(top)->upload(top->backend->stream, place(in, places_of(top, in).sums),
                                      sums, sizeof *sums);
    return thaw__top_device_status(top, code, err);
}

thaw_status thaw_top_settle(thaw_top *top, thaw_loss_sums *sums, thaw_error *err) {
    const instance *in = &top->instances[0];
    void *stream = top->backend->stream;
    if (device_of(top)) {
        int code = device_of(top)->download(stream, &top->seen[0],
                                            place(in, places_of(top, in).sums), sizeof *top->seen);
        if (!code) code = device_of(top)->wait(stream);
        THAW_TRY(thaw__top_device_status(top, code, err));
        top->sums = top->seen[1] = top->seen[0];
    }
    *sums = top->sums;
    return THAW_OK;
}
