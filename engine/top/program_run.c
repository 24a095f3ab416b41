/* The top's passes: lanes forward and back, on the host or on a device. */
#include <string.h>

#include "held.h"
#include "program_parts.h"

static void pack_step(void *context, int i) {
    thaw_top *top = context;
    instance *in = &top->instances[0];
    const thaw_step *step = &in->program.steps[i];
    int code = slots(top)->pack(step, top->backend->stream);
    if (code) thaw__top_refused(top, step, code, &in->error);
}

static void derive_part(void *context, int i) {
    const thaw_top *top = context;
    thaw_params_derive(&top->params, (thaw_part){i, top->parts});
}

thaw_status thaw__top_pack(thaw_top *top, thaw_error *err) {
    int n = top->instances[0].program.n_steps;
    if (!device_of(top)) slots(top)->side_by_side(n, pack_step, top);
    for (int i = 0; device_of(top) && i < n && !top->instances[0].error.code; i++)
        pack_step(top, i);
    return thaw__top_error(top, err);
}

thaw_status thaw_top_update(thaw_top *top, thaw_error *err) {
    if (top->weights) return thaw__top_send_weights(top, err);
    slots(top)->side_by_side(top->parts, derive_part, top);
    if (device_of(top))
        THAW_TRY(
            thaw__top_device_status(top,
                                    device_of(top)->upload(top->backend->stream, top->numbers,
                                                           top->params.steps, block_bytes(top)),
                                    err));
    return thaw__top_pack(top, err);
}

/* What a pass over a batch does with each lane. */
typedef struct pass {
    thaw_top *top;
    const thaw_top_batch *batch; /* Gradients; NULL: scores or features. */
    int64_t step;                /* Of a training. */
    way then;                    /* What a device does with the last lane of a batch. */
    int64_t M;
    float *x; /* Or rows that the device holds: */
    const thaw_held *held;
    const int64_t *row;
    float *out;    /* Scores or features. */
    bool features; /* Otherwise scores. */
    int first;     /* The wave's first lane. */
} pass;

/* A device's port receives the first n rows of the host's floats, and zeros; returns the native code. */
static int send(const thaw_top *top, const instance *in, const float *rows, int64_t n,
                const thaw_port *to) {
    void *stream = top->backend->stream;
    size_t bytes = (size_t)(n * to->H * to->W * to->C) * sizeof *rows;
    int code = device_of(top)->upload(stream, in->brought, rows, bytes);
    return code ? code : slots(top)->gather(to, in->brought, THAW_F32, NULL, n, stream);
}

/* Fills the mask that step i takes, if it is one: for the pictures of a batch from number `at` on, or,
 * outside of training (NULL), with ones. */
static int draw_mask(const thaw_top *top, const instance *in, int i, const thaw_top_batch *batch,
                     int64_t at) {
    const thaw_port *port = in->program.steps[i].out;
    int64_t each = port->H * port->W * port->C;
    float *mask = device_of(top) ? in->mask : port->data;
    for (int k = 0; k < top->n_masks; k++) {
        if (top->masks[k].step != i) continue;
        for (int64_t j = 0; j < port->N * each; j++)
            mask[j] = 1;
        for (int64_t row = 0; batch && row < port->N; row++) {
            thaw_rng rng = batch->dropout;
            rng.stream ^= (uint64_t)(k + 1) << 40;
            rng.counter = (uint64_t)(at + row) * (uint64_t)((each + 3) / 4);
            rng.left = 0;
            thaw_rng_dropout(&rng, each, top->masks[k].rate, mask + row * each);
        }
        if (device_of(top)) return send(top, in, mask, port->N, port);
    }
    return 0;
}

/* What a run said of a kernel, with the step that it was for. */
static thaw_status failed(const thaw_top *top, instance *in, const thaw_step *step, int code,
                          const thaw_error *why) {
    if (!why->text[0]) return thaw__top_refused(top, step, code, &in->error);
    return thaw_fail(&in->error, THAW_ERR_BACKEND, "%s (%s): %.800s", step->name,
                     thaw_step_kind_name(step->kind), why->text);
}

static thaw_status run_forward(thaw_top *top, instance *in, int last, const thaw_top_batch *batch,
                               int64_t at) {
    thaw_error why = {0};
    thaw_run_context context = {.stream = top->backend->stream,
                                .workspace = in->workspace,
                                .training = batch != NULL,
                                .err = &why};
    for (int i = 0; i <= last; i++) {
        const thaw_step *step = &in->program.steps[i];
        if (!device_of(top)) draw_mask(top, in, i, batch, at);
        int code = slots(top)->forward[step->kind].run(step, &context);
        if (code) return failed(top, in, step, code, &why);
    }
    return THAW_OK;
}

/* Sums and copies of gradients; what has a step is not its. */
static int move_gradient(const thaw_top *top, const backward_act *act) {
    if (act->step) return 0;
    const thaw_port *from = act->from, *to = act->to;
    void *stream = top->backend->stream;
    if (act->kind == COPY) return slots(top)->copy(to->bytes, from->data, to->data, stream);
    return slots(top)->add_to(to->bytes / thaw_dtype_bytes(to->dtype), to->dtype, from->data,
                              to->data, stream);
}

static thaw_status run_backward(thaw_top *top, instance *in) {
    thaw_error why = {0};
    thaw_run_context context = {
        .stream = top->backend->stream, .workspace = in->workspace, .training = true, .err = &why};
    for (int i = 0; i < in->n_acts; i++) {
        const backward_act *act = &in->acts[i];
        THAW_TRY(thaw__top_device_status(top, move_gradient(top, act), &in->error));
        if (!act->step) continue;
        int code = slots(top)->backward[act->step->kind].run(act->step, &context);
        if (code) return failed(top, in, act->step, code, &why);
    }
    return THAW_OK;
}

static int last_of(const thaw_top *top, way w) {
    return w == FEATURES ? top->features_step : top->instances[0].program.n_steps - 1;
}

/* n pictures of a batch from number `at` on, forward, and back from their loss. */
static thaw_status run_both(thaw_top *top, instance *in, const thaw_top_batch *batch, int64_t at,
                            int64_t n) {
    THAW_TRY(run_forward(top, in, last_of(top, LANE), batch, at));
    if (device_of(top))
        THAW_TRY(thaw__top_device_status(top, thaw__top_run_loss(top, in), &in->error));
    else
        thaw__top_score(top, in, batch, at, n);
    return run_backward(top, in);
}

static thaw_status run_way(thaw_top *top, instance *in, way w, const thaw_top_batch *batch,
                           int64_t at, int64_t n) {
    if (w == SCORE || w == FEATURES) return run_forward(top, in, last_of(top, w), NULL, at);
    if (w != STEP) THAW_TRY(run_both(top, in, batch, at, n));
    return w == LANE ? THAW_OK : thaw__top_run_step(top, &in->error);
}

/* The same on a device. A step goes before the recording: the first launch of a kernel loads its code,
 * and libraries choose theirs, neither of which a recording allows. */
thaw_status thaw__top_play(thaw_top *top, instance *in, way w, const thaw_top_batch *batch) {
    const thaw_memory *device = device_of(top);
    void *stream = top->backend->stream;
    tape *t = &in->tapes[w];
    if (t->refused || !t->ran) {
        t->ran = true;
        return run_way(top, in, w, batch, 0, 0);
    }
    if (!t->graph && device->record(stream) == 0) {
        thaw_status status = run_way(top, in, w, batch, 0, 0);
        t->refused = device->end_record(stream, &t->graph) != 0 || status != THAW_OK;
    }
    if (t->graph && !t->refused)
        return thaw__top_device_status(top, device->replay(stream, t->graph), &in->error);
    t->refused = true;
    in->error = (thaw_error){0};
    return run_way(top, in, w, batch, 0, 0);
}

/* What a lane reads goes to the device: pictures, masks, and what its loss is computed from. */
static thaw_status give(thaw_top *top, instance *in, int last, const pass *p, int64_t at,
                        int64_t n) {
    const thaw_port *to = in->program.steps[0].out;
    const thaw_top_batch *batch = p->batch;
    const thaw_held *held = p->held;
    void *stream = top->backend->stream;
    int code;
    if (held) {
        code = device_of(top)->upload(stream, held->index, p->row + at, (size_t)n * sizeof *p->row);
        if (!code) code = slots(top)->gather(to, held->rows, held->stored, held->index, n, stream);
    } else {
        code = send(top, in, p->x + at * top->size.D, n, to);
    }
    for (int i = 1; i <= last && !code; i++)
        code = draw_mask(top, in, i, batch, at);
    THAW_TRY(thaw__top_device_status(top, code, &in->error));
    return batch ? thaw__top_bring_loss(top, in, batch, p->step, at, n) : THAW_OK;
}

const float *thaw__top_read_port(const thaw_top *top, instance *in, const thaw_port *port,
                                 float *room) {
    if (!device_of(top)) return port->data;
    void *stream = top->backend->stream;
    int code = slots(top)->spread(port, in->brought, stream);
    if (!code)
        code = device_of(top)->download(stream, room, in->brought,
                                        (size_t)(port->N * port->C) * sizeof *room);
    if (!code) code = device_of(top)->wait(stream);
    return thaw__top_device_status(top, code, &in->error) == THAW_OK ? room : NULL;
}

/* The lane's gradient is added to those before it. */
static void add_lane(thaw_top *top, instance *in, bool first) {
    size_t n = (size_t)top->params.n_steps;
    void *stream = top->backend->stream;
    int code = first ? slots(top)->copy(block_bytes(top), in->weights, top->total, stream)
                     : slots(top)->add_to(n, THAW_F32, in->weights, top->total, stream);
    thaw__top_device_status(top, code, &in->error);
}

/* On a device, a batch's lane that begins with picture `at` has been given: forward and back. */
static void train_lane(const pass *p, instance *in, int64_t at, int64_t n) {
    thaw_top *top = p->top;
    bool last = at + n == p->M;
    if (thaw__top_play(top, in, last ? p->then : LANE, p->batch) != THAW_OK) return;
    if (!is_one_lane(top)) add_lane(top, in, at == 0);
    if (p->step == 0) thaw__top_read_loss(top, in, p->batch, at, n);
}

/* What was asked for, from where the lane has it. */
static void take_out(const pass *p, instance *in, const thaw_port *y, int64_t at, int64_t n) {
    int64_t each = y->H * y->W * y->C;
    const float *from = thaw__top_read_port(p->top, in, y, p->features ? in->features : in->scores);
    if (from) memcpy(p->out + at * each, from, (size_t)(n * each) * sizeof(float));
}

static void run_lane(void *context, int i) {
    const pass *p = context;
    thaw_top *top = p->top;
    instance *in = &top->instances[i];
    int64_t lane = top->spec.lane, at = (p->first + i) * lane, D = top->size.D;
    int64_t n = p->M - at < lane ? p->M - at : lane;
    way w = p->batch ? LANE : p->features ? FEATURES : SCORE;
    int last = last_of(top, w);
    if (device_of(top)) {
        if (give(top, in, last, p, at, n) != THAW_OK) return;
        if (p->batch) train_lane(p, in, at, n);
        if (p->batch || thaw__top_play(top, in, w, NULL) != THAW_OK) return;
    } else {
        memset(p->x + (at + n) * D, 0, (size_t)((lane - n) * D) * sizeof *p->x);
        in->program.steps[0].out->data = p->x + at * D;
        if (run_way(top, in, w, p->batch, at, n) != THAW_OK || p->batch) return;
    }
    take_out(p, in, in->program.steps[last].out, at, n);
}

/* What of a block of n numbers is a part's. */
typedef struct range {
    size_t first, end;
} range;

static range range_of(int64_t n, thaw_part part) {
    return (range){(size_t)(n * part.i / part.n), (size_t)(n * (part.i + 1) / part.n)};
}

/* Lanes' weight gradients, in their order, into the sum: a share of the block each. */
typedef struct adding {
    thaw_top *top;
    int lanes;  /* Of the wave. */
    bool first; /* There is nothing in the sum yet. */
} adding;

/* A piece at a time, which stays in the processor's cache while lanes are added to it. */
static void add_share(void *context, int i) {
    enum { PIECE = 4096 };
    const adding *a = context;
    thaw_top *top = a->top;
    range r = range_of(top->params.n_steps, (thaw_part){i, top->n_instances});
    for (size_t at = r.first; at < r.end; at += PIECE) {
        size_t n = r.end - at < PIECE ? r.end - at : PIECE;
        if (a->first) memcpy(top->sum + at, top->instances[0].weights + at, n * sizeof *top->sum);
        for (int k = a->first; k < a->lanes; k++)
            slots(top)->add_to(n, THAW_F32, top->instances[k].weights + at, top->sum + at, NULL);
    }
}

static thaw_status download_sum(thaw_top *top, thaw_error *err) {
    void *stream = top->backend->stream;
    int code = device_of(top)->download(stream, top->sum, top->total, block_bytes(top));
    if (!code) code = device_of(top)->wait(stream);
    return thaw__top_device_status(top, code, err);
}

/* All lanes, as many at once as there are instances. */
static thaw_status run_lanes(pass *p, thaw_error *err) {
    thaw_top *top = p->top;
    int lanes = (int)((p->M + top->spec.lane - 1) / top->spec.lane);
    if (p->batch && lanes > top->spec.most_lanes)
        return thaw_fail(err, THAW_ERR_USAGE, "%lld pictures are more than %d lanes of %lld",
                         (long long)p->M, top->spec.most_lanes, (long long)top->spec.lane);
    for (p->first = 0; p->first < lanes; p->first += top->n_instances) {
        int wave = lanes - p->first < top->n_instances ? lanes - p->first : top->n_instances;
        slots(top)->side_by_side(wave, run_lane, p);
        THAW_TRY(thaw__top_error(top, err));
        adding a = {top, wave, p->first == 0};
        if (p->batch && !device_of(top)) slots(top)->side_by_side(top->n_instances, add_share, &a);
    }
    top->lanes = lanes;
    return THAW_OK;
}

/* The segments' gradients from the steps'. */
typedef struct pulling {
    thaw_top *top;
    float *gradient;
} pulling;

static void clear_part(void *context, int i) {
    const pulling *p = context;
    range r = range_of(p->top->params.n, (thaw_part){i, p->top->parts});
    memset(p->gradient + r.first, 0, (r.end - r.first) * sizeof *p->gradient);
}

static void pull_part(void *context, int i) {
    const pulling *p = context;
    thaw_params_pull(&p->top->params, p->top->sum, p->gradient, (thaw_part){i, p->top->parts});
}

void thaw__top_pull(thaw_top *top, float *gradient) {
    pulling pull = {top, gradient};
    slots(top)->side_by_side(top->parts, clear_part, &pull);
    slots(top)->side_by_side(top->parts, pull_part, &pull);
}

thaw_status thaw__top_run_batch(thaw_top *top, const thaw_top_batch *batch, int64_t step, way then,
                                thaw_error *err) {
    pass p = {.top = top,
              .batch = batch,
              .step = step,
              .then = then,
              .M = batch->M,
              .x = batch->x,
              .held = batch->held,
              .row = batch->row};
    return run_lanes(&p, err);
}

thaw_status thaw_top_backward(thaw_top *top, const thaw_top_batch *batch, thaw_error *err) {
    THAW_TRY(thaw__top_run_batch(top, batch, 0, LANE, err));
    if (batch->loss) memcpy(batch->loss, top->loss, (size_t)batch->M * sizeof *top->loss);
    return THAW_OK;
}

thaw_status thaw_top_read_gradient(thaw_top *top, float *gradient, thaw_error *err) {
    if (device_of(top)) THAW_TRY(download_sum(top, err));
    /* What a BN is folded into is pulled back with the weights of the moment. */
    if (top->weights) THAW_TRY(thaw_top_fetch(top, false, err));
    thaw__top_pull(top, gradient);
    return THAW_OK;
}

thaw_status thaw_top_gradient(thaw_top *top, const thaw_top_batch *batch, float *gradient,
                              thaw_error *err) {
    THAW_TRY(thaw_top_backward(top, batch, err));
    return thaw_top_read_gradient(top, gradient, err);
}

void thaw_top_follow(thaw_top *top, float momentum) {
    thaw_params_follow(&top->params, top->sum, top->lanes, top->spec.lane, momentum);
}

thaw_status thaw_top_forward(thaw_top *top, int64_t M, float *x, float *logits, thaw_error *err) {
    pass p = {.top = top, .M = M, .x = x, .out = logits};
    return run_lanes(&p, err);
}

thaw_status thaw_top_forward_held(thaw_top *top, int64_t M, const thaw_held *held,
                                  const int64_t *row, float *logits, thaw_error *err) {
    pass p = {.top = top, .M = M, .held = held, .row = row, .out = logits};
    return run_lanes(&p, err);
}

thaw_status thaw_top_features(thaw_top *top, int64_t M, float *x, float *out, thaw_error *err) {
    pass p = {.top = top, .M = M, .x = x, .out = out, .features = true};
    return run_lanes(&p, err);
}
