/* The CUDA kernel table: for each step, what is decided and packed once, and the launch.
 *
 * A port is N,H,W,Cp in the step's storage type (types.h). Constants of a step lie in device memory
 * that its release frees.
 *
 * Four pairs become one kernel: import and the first convolution, that convolution and a max pool,
 * a depthwise convolution and a 1x1, the two dense layers of a squeeze-excite gate. The second of a
 * pair takes the first along when nobody has asked for the first one's tensor by then; the first
 * runs, and its tensor takes memory, only when some other step reads it (`needed`), which is known
 * once all steps are prepared.
 */
#include <cuda_runtime.h>
#include <stdio.h>
#include <string.h>

#include <vector>

#include "cuda_kernels.h"
#include "device.h"
#include "step.h"
#include "training.h"
#include "tuning.h"
#include "types.h"

namespace thaw {

/* ---- preparing ------------------------------------------------------------------------------ */

int refuse(const thaw_step *step, thaw_error *err, const char *why) {
    thaw_fail(err, THAW_ERR_UNSUPPORTED,
              "%s: the CUDA backend cannot compute it: %s; use device = cpu", step->name, why);
    return (int)cudaErrorInvalidValue;
}

static int not_kept(const thaw_step *step, thaw_error *err, size_t bytes, int code) {
    const char *why = cudaGetErrorString((cudaError_t)code);
    if (code == (int)cudaErrorMemoryAllocation) {
        thaw_fail(err, THAW_ERR_NOMEM, "%s: its weights need %zu bytes of the GPU's memory: %s",
                  step->name, bytes, why);
    } else {
        thaw_fail(err, THAW_ERR_BACKEND, "%s: its weights could not be copied to the GPU: %s (%d)",
                  step->name, why, code);
    }
    return code;
}

static step_state *state_of(const thaw_step *step) {
    return (step_state *)step->state;
}

/* The step that made a port; table.cu keeps it in the port's layout. */
static step_state *maker_of(const thaw_port *port) {
    return (step_state *)port->layout;
}

/* Starts a step: its state, and its output's bytes. */
static int begin(thaw_step *step, const thaw_plan_context *plan, thaw_error *err,
                 step_state **state) {
    thaw_port *y = step->out;
    thaw_cuda_reason reason;
    const char *why = cuda_tensor_refuses(y->N, y->H, y->W, y->C, &reason);
    if (why) return refuse(step, err, why);
    *state = (step_state *)thaw_arena_alloc(plan->arena, sizeof **state);
    if (!*state) {
        thaw_fail(err, THAW_ERR_NOMEM, "not enough memory to plan %s", step->name);
        return (int)cudaErrorMemoryAllocation;
    }
    (*state)->sm = ((const open_device *)plan->device)->facts.sm;
    (*state)->modelled = ((const open_device *)plan->device)->modelled;
    (*state)->step = step;
    step->state = *state;
    y->layout = *state;
    y->bytes = (*state)->bytes =
        (size_t)(y->N * y->H * y->W * padded_channels(y->C)) * thaw_dtype_bytes(y->dtype);
    return 0;
}

/* Somebody reads this port as a tensor: it is made, and takes memory. */
static void need(thaw_port *port) {
    step_state *maker = maker_of(port);
    maker->needed = true;
    port->bytes = maker->bytes;
}

static void need_inputs(const thaw_step *step) {
    for (int i = 0; i < step->n_in; i++)
        need(step->in[i]);
}

int begin_reading(thaw_step *step, const thaw_plan_context *plan, thaw_error *err) {
    step_state *state;
    int code = begin(step, plan, err, &state);
    if (!code) need_inputs(step);
    return code;
}

int keep(const thaw_step *step, int i, const void *from, size_t bytes, thaw_error *err) {
    void **to = &state_of(step)->constants[i];
    if (state_of(step)->modelled) return 0;
    int code = device_memory.alloc(bytes, to);
    if (code) return not_kept(step, err, bytes, code);
    if (bytes == 0) return 0;
    code = (int)(from ? cudaMemcpy(*to, from, bytes, cudaMemcpyHostToDevice)
                      : cudaMemset(*to, 0, bytes));
    return code ? not_kept(step, err, bytes, code) : 0;
}

void step_release(thaw_step *step) {
    if (!step->state) return;
    for (void *&constant : state_of(step)->constants) {
        device_memory.release(constant);
        constant = nullptr;
    }
}

/* ---- running -------------------------------------------------------------------------------- */

static thaw_cuda_launch launch_on(const thaw_step *step, const thaw_run_context *context) {
    thaw_cuda_launch launch = {};
    launch.stream = (cudaStream_t)context->stream;
    launch.overlap = state_of(step)->sm >= 90;
    return launch;
}

int finish(int code, const thaw_cuda_launch &launch, const thaw_run_context *context) {
    if (code && context->err) {
        thaw_fail(context->err, THAW_ERR_BACKEND,
                  "kernel %s, grid %u x %u x %u of %u threads with %zu bytes of shared memory: %s",
                  launch.kernel, launch.grid[0], launch.grid[1], launch.grid[2], launch.threads,
                  launch.shared_bytes, cudaGetErrorString((cudaError_t)code));
    }
    return code;
}

/* ---- import and export ---------------------------------------------------------------------- */

static int import_prepare(thaw_step *step, const thaw_plan_context *plan, thaw_error *err) {
    step_state *state;
    int code = begin(step, plan, err, &state);
    if (code) return code;
    state->is_import = true;
    size_t bytes = (size_t)step->out->C * sizeof(float);
    code = keep(step, 0, step->scale, bytes, err);
    return code ? code : keep(step, 1, step->shift, bytes, err);
}

static int import_run(const thaw_step *step, const thaw_run_context *context) {
    const thaw_port *y = step->out;
    const step_state *state = state_of(step);
    if (!state->needed) return 0;
    thaw_cuda_launch launch = launch_on(step, context);
    return finish(cuda_import(&launch, y->N, y->H, y->W, y->C, y->dtype, context->pixels,
                              (const float *)state->constants[0],
                              (const float *)state->constants[1], y->data),
                  launch, context);
}

static int export_prepare(thaw_step *step, const thaw_plan_context *plan, thaw_error *err) {
    int code = begin_reading(step, plan, err);
    step->out->bytes = 0; /* It goes to the caller's memory. */
    return code;
}

static int export_run(const thaw_step *step, const thaw_run_context *context) {
    const thaw_port *x = step->in[0];
    thaw_cuda_launch launch = launch_on(step, context);
    return finish(
        cuda_export(&launch, x->N, x->H, x->W, x->C, x->dtype, x->data, context->features), launch,
        context);
}

/* ---- convolutions --------------------------------------------------------------------------- */

thaw_conv_shape shape_of(const thaw_step *step) {
    if (step->kind == THAW_STEP_conv) return step->conv;
    const thaw_port *x = step->in[0];
    return {x->N, 1, 1, x->C, 1, 1, step->out->C, 1, {1, 1, 1, 1, 1, 1, 0, 0, 0, 0}};
}

/* The caller's pixels go straight into the first convolution. */
static bool prepare_stem(thaw_step *step, const open_device *device, int *code, thaw_error *err) {
    step_state *state = state_of(step);
    const step_state *from = maker_of(step->in[0]);
    if (!from->is_import || step->epilogue.residual || step->kind != THAW_STEP_conv) return false;
    const float *scale = from->step->scale, *shift = from->step->shift;
    thaw_cuda_reason reason;
    if (cuda_stem_refuses(&step->conv, nullptr, step->epilogue.act, step->compute, scale, shift,
                          &device->facts, &reason))
        return false;
    state->is_stem = true;
    if (!from->needed) step->in[0]->bytes = 0;
    thaw_cuda_stem *s = &state->stem;
    s->shape = step->conv;
    s->dtype = step->compute;
    s->act = step->epilogue.act;
    s->a = step->epilogue.a;
    s->b = step->epilogue.b;
    s->choice = cuda_stem_choose(&s->shape, nullptr, s->dtype, &device->facts);
    std::vector<uint8_t> w(cuda_stem_weight_bytes(&s->shape, s->dtype));
    std::vector<float> constants(cuda_stem_constants(&s->shape));
    cuda_stem_pack(&s->shape, s->dtype, step->w, step->b, scale, shift, w.data(), constants.data());
    *code = keep(step, 0, w.data(), w.size(), err);
    if (!*code) *code = keep(step, 1, constants.data(), constants.size() * sizeof(float), err);
    s->w = state->constants[0];
    s->constants = (const float *)state->constants[1];
    return true;
}

static bool prepare_depthwise(thaw_step *step, int *code, thaw_error *err) {
    step_state *state = state_of(step);
    thaw_cuda_reason reason;
    if (step->kind != THAW_STEP_conv || cuda_depthwise_refuses(&step->conv, &reason)) return false;
    state->is_depthwise = true;
    thaw_cuda_depthwise *d = &state->depthwise;
    d->shape = step->conv;
    d->dtype = step->out->dtype;
    d->act = step->epilogue.act;
    d->a = step->epilogue.a;
    d->b = step->epilogue.b;
    d->residual_place = step->epilogue.residual ? THAW_RESIDUAL_BEFORE_ACT : THAW_NO_RESIDUAL;
    std::vector<float> w(cuda_depthwise_weight_count(&d->shape));
    std::vector<float> b((size_t)padded_channels(d->shape.C));
    cuda_depthwise_pack(&d->shape, step->w, step->b, w.data(), b.data());
    *code = keep(step, 0, w.data(), w.size() * sizeof(float), err);
    if (!*code) *code = keep(step, 1, b.data(), b.size() * sizeof(float), err);
    d->w = (const float *)state->constants[0];
    d->bias = (const float *)state->constants[1];
    return true;
}

/* Packs the weights for a variant of the implicit GEMM. */
static int pack_gemm(thaw_step *step, int sm, thaw_cuda_conv_choice choice, thaw_error *err) {
    step_state *state = state_of(step);
    state->is_gemm = true;
    thaw_cuda_conv *c = &state->conv;
    c->shape = shape_of(step);
    c->dtype = step->out->dtype;
    c->choice = choice;
    c->act = step->epilogue.act;
    c->a = step->epilogue.a;
    c->b = step->epilogue.b;
    c->residual_place = step->epilogue.residual ? THAW_RESIDUAL_BEFORE_ACT : THAW_NO_RESIDUAL;
    std::vector<uint8_t> w(cuda_conv_weight_bytes(&c->shape, c->dtype, sm, &c->choice));
    std::vector<float> b(cuda_conv_bias_count(&c->shape, sm, &c->choice));
    cuda_conv_pack(&c->shape, c->dtype, sm, &c->choice, step->w, step->b, w.data(), b.data());
    int code = keep(step, 0, w.data(), w.size(), err);
    if (!code) code = keep(step, 1, b.data(), b.size() * sizeof(float), err);
    size_t counters = cuda_conv_counters(&c->shape, sm, &c->choice) * sizeof(uint32_t);
    if (!code) code = keep(step, 2, nullptr, counters, err);
    c->w = state->constants[0];
    c->bias = (const float *)state->constants[1];
    c->counters = (uint32_t *)state->constants[2];
    step->workspace_bytes = cuda_conv_workspace_bytes(&c->shape, sm, &c->choice);
    return code;
}

/* The depthwise convolution in front of a 1x1 is computed by it, where that pays. */
static bool prepare_separable(thaw_step *step, const open_device *device, int *code,
                              thaw_error *err) {
    step_state *state = state_of(step);
    const step_state *from = maker_of(step->in[0]);
    if (step->kind != THAW_STEP_conv || !from->is_depthwise || from->needed ||
        from->depthwise.residual_place != THAW_NO_RESIDUAL)
        return false;
    const thaw_conv_shape *d = &from->depthwise.shape, *p = &step->conv;
    thaw_dtype dtype = step->out->dtype;
    thaw_cuda_reason reason;
    if (cuda_separable_refuses(d, p, dtype, &device->facts, &reason) ||
        !cuda_separable_pays(d, p, dtype, &device->facts))
        return false;
    state->is_separable = true;
    state->depthwise = from->depthwise;
    step->in[0]->bytes = 0;
    step->in[0] = from->step->in[0]; /* Which must live until this step. */
    *code = pack_gemm(step, device->facts.sm, cuda_separable_choice(p), err);
    return true;
}

/* A dense layer, by the implicit GEMM: what a gate has two of. */
static bool is_dense(const thaw_step *step) {
    thaw_conv_shape s = shape_of(step);
    const thaw_window &win = s.window;
    return s.H == 1 && s.W == 1 && s.P == 1 && s.Q == 1 && win.R == 1 && win.S == 1 &&
           win.pad_top == 0 && win.pad_left == 0 && s.G == 1 && !step->epilogue.residual;
}

/* The dense layer in front of another one is computed by it, where both are small: a squeeze-excite
 * gate. */
static bool prepare_gate(thaw_step *step, int *code, thaw_error *err) {
    step_state *state = state_of(step);
    const step_state *from = maker_of(step->in[0]);
    thaw_cuda_reason reason;
    if (!is_dense(step) || !from->is_dense || from->needed) return false;
    const thaw_step *first = from->step;
    int64_t C = first->in[0]->C, M = step->in[0]->C;
    if (step->out->C != C || cuda_gate_refuses(C, M, &reason)) return false;
    state->is_gate = true;
    step->in[0]->bytes = 0;
    step->in[0] = first->in[0]; /* Which must live until this step. */
    const thaw_epilogue *e1 = &first->epilogue, *e2 = &step->epilogue;
    std::vector<float> w(cuda_gate_weight_count(C, M));
    cuda_gate_pack(C, M, first->w, first->b, step->w, step->b, w.data());
    *code = keep(step, 0, w.data(), w.size() * sizeof(float), err);
    thaw_cuda_gate *g = &state->gate;
    g->N = step->out->N;
    g->C = C;
    g->M = M;
    g->dtype = step->out->dtype;
    g->act1 = e1->act;
    g->a1 = e1->a;
    g->b1 = e1->b;
    g->act2 = e2->act;
    g->a2 = e2->a;
    g->b2 = e2->b;
    g->w = (const float *)state->constants[0];
    return true;
}

static int prepare_gemm(thaw_step *step, const open_device *device, thaw_error *err) {
    step_state *state = state_of(step);
    thaw_conv_shape shape = shape_of(step);
    thaw_dtype dtype = step->out->dtype;
    thaw_cuda_reason reason;
    const char *why = cuda_conv_refuses(&shape, dtype, &device->facts, &reason);
    if (why) return refuse(step, err, why);
    state->is_dense = is_dense(step);
    thaw_cuda_conv_choice choice = cuda_conv_choose(&shape, dtype, &device->facts);
    if (device->tuning) choice = tuned_choice(step, *device, &state->measured_us);
    return pack_gemm(step, device->facts.sm, choice, err);
}

static int conv_prepare(thaw_step *step, const thaw_plan_context *plan, thaw_error *err) {
    const open_device *device = (const open_device *)plan->device;
    step_state *state;
    int code = begin(step, plan, err, &state);
    if (code || prepare_stem(step, device, &code, err)) return code;
    if (!prepare_depthwise(step, &code, err) && !prepare_separable(step, device, &code, err) &&
        !prepare_gate(step, &code, err))
        code = prepare_gemm(step, device, err);
    need_inputs(step);
    /* Over the residual, unless other blocks still read it as x. */
    step->in_place = step->epilogue.residual && step->in[0] != step->in[step->n_in - 1];
    return code;
}

static int conv_run(const thaw_step *step, const thaw_run_context *context) {
    const step_state *state = state_of(step);
    const void *x = step->in[0]->data, *residual = step->in[step->n_in - 1]->data;
    thaw_cuda_launch launch = launch_on(step, context);
    if (state->is_stem) {
        if (!state->needed) return 0; /* The pool behind it has taken it along. */
        thaw_cuda_stem s = state->stem;
        s.pixels = context->pixels;
        s.y = step->out->data;
        return finish(cuda_stem(&launch, &s), launch, context);
    }
    if (state->is_depthwise) {
        if (!state->needed) return 0; /* The 1x1 behind it has. */
        thaw_cuda_depthwise d = state->depthwise;
        d.x = x;
        d.residual = d.residual_place ? residual : nullptr;
        d.y = step->out->data;
        return finish(cuda_depthwise(&launch, &d), launch, context);
    }
    if (state->is_gate) {
        thaw_cuda_gate g = state->gate;
        g.x = x;
        g.y = step->out->data;
        return finish(cuda_gate(&launch, &g), launch, context);
    }
    if (state->is_dense && !state->needed) return 0; /* The gate has. */
    thaw_cuda_conv c = state->conv;
    c.x = x;
    c.residual = c.residual_place ? residual : nullptr;
    c.y = step->out->data;
    if (state->is_separable) {
        thaw_cuda_separable s = {state->depthwise, c};
        s.depthwise.x = x;
        return finish(cuda_separable(&launch, &s, state->sm), launch, context);
    }
    c.workspace = context->workspace;
    return finish(cuda_conv(&launch, &c, state->sm), launch, context);
}

/* ---- pools ---------------------------------------------------------------------------------- */

/* A max pool right behind the first convolution is computed by it, unless somebody has asked for
 * the convolution's own output by then. */
static void take_stem_along(thaw_step *step, const open_device *device) {
    step_state *state = state_of(step), *from = maker_of(step->in[0]);
    if (!from->is_stem || from->needed || from->stem.pooled) return;
    thaw_cuda_stem s = from->stem;
    thaw_cuda_reason reason;
    const float one[4] = {1, 1, 1, 1}, zero[4] = {0, 0, 0, 0}; /* Taken before: not asked again. */
    if (cuda_stem_refuses(&s.shape, &step->pool, s.act, s.dtype, one, zero, &device->facts,
                          &reason))
        return;
    s.pooled = true;
    s.pool = step->pool;
    s.choice = cuda_stem_choose(&s.shape, &s.pool, s.dtype, &device->facts);
    state->stem = s;
    state->is_stem = true;
    step->in[0]->bytes = 0;
}

static int pool_prepare(thaw_step *step, const thaw_plan_context *plan, thaw_error *err) {
    step_state *state;
    int code = begin(step, plan, err, &state);
    if (code) return code;
    take_stem_along(step, (const open_device *)plan->device);
    if (!state->is_stem) need_inputs(step);
    return 0;
}

static int pool_run(const thaw_step *step, const thaw_run_context *context) {
    const step_state *state = state_of(step);
    thaw_cuda_launch launch = launch_on(step, context);
    if (!state->is_stem) {
        return finish(
            cuda_pool(&launch, &step->pool, step->out->dtype, step->in[0]->data, step->out->data),
            launch, context);
    }
    thaw_cuda_stem s = state->stem;
    s.pixels = context->pixels;
    s.y = step->out->data;
    return finish(cuda_stem(&launch, &s), launch, context);
}

static int global_mean_run(const thaw_step *step, const thaw_run_context *context) {
    const thaw_port *x = step->in[0];
    thaw_cuda_launch launch = launch_on(step, context);
    return finish(
        cuda_global_mean(&launch, x->N, x->H, x->W, x->C, x->dtype, x->data, step->out->data),
        launch, context);
}

/* ---- the rest ------------------------------------------------------------------------------- */

static thaw_cuda_elementwise elements_of(const thaw_step *step) {
    const thaw_port *y = step->out, *x1 = step->in[step->n_in - 1];
    const thaw_epilogue *e = &step->epilogue;
    thaw_cuda_elementwise p = {};
    p.N = y->N;
    p.H = y->H;
    p.W = y->W;
    p.C = y->C;
    p.dtype = y->dtype;
    p.act = e->act;
    p.a = e->a;
    p.b = e->b;
    p.x1_one_pixel = x1->H == 1 && x1->W == 1;
    p.x1_one_channel = x1->C == 1;
    p.x0 = step->in[0]->data;
    p.x1 = x1->data;
    p.y = y->data;
    return p;
}

/* x1 is as large as x0, one pixel, one channel, or both. */
static int binary_prepare(thaw_step *step, const thaw_plan_context *plan, thaw_error *err) {
    const thaw_port *x0 = step->in[0], *x1 = step->in[1];
    bool pixels = (x1->H == x0->H && x1->W == x0->W) || (x1->H == 1 && x1->W == 1);
    bool channels = x1->C == x0->C || x1->C == 1;
    if (!pixels || !channels || x1->N != x0->N) {
        char why[160];
        snprintf(why, sizeof why,
                 "its second operand is %lld x %lld x %lld x %lld, which spreads neither over "
                 "pixels nor over channels",
                 (long long)x1->N, (long long)x1->H, (long long)x1->W, (long long)x1->C);
        return refuse(step, err, why);
    }
    return begin_reading(step, plan, err);
}

static int act_run(const thaw_step *step, const thaw_run_context *context) {
    thaw_cuda_launch launch = launch_on(step, context);
    thaw_cuda_elementwise p = elements_of(step);
    return finish(cuda_act(&launch, &p), launch, context);
}

static int add_run(const thaw_step *step, const thaw_run_context *context) {
    thaw_cuda_launch launch = launch_on(step, context);
    thaw_cuda_elementwise p = elements_of(step);
    return finish(cuda_add(&launch, &p), launch, context);
}

static int mul_run(const thaw_step *step, const thaw_run_context *context) {
    thaw_cuda_launch launch = launch_on(step, context);
    thaw_cuda_elementwise p = elements_of(step);
    return finish(cuda_mul(&launch, &p), launch, context);
}

/* affine, layer_norm, group_norm. */
static int scaled_prepare(thaw_step *step, const thaw_plan_context *plan, thaw_error *err) {
    int code = begin_reading(step, plan, err);
    if (code) return code;
    int64_t C = step->out->C;
    std::vector<float> padded((size_t)padded_channels(C));
    memcpy(padded.data(), step->scale, (size_t)C * sizeof(float));
    code = keep(step, 0, padded.data(), padded.size() * sizeof(float), err);
    memcpy(padded.data(), step->shift, (size_t)C * sizeof(float));
    return code ? code : keep(step, 1, padded.data(), padded.size() * sizeof(float), err);
}

static int affine_run(const thaw_step *step, const thaw_run_context *context) {
    thaw_cuda_launch launch = launch_on(step, context);
    thaw_cuda_elementwise p = elements_of(step);
    p.scale = (const float *)state_of(step)->constants[0];
    p.shift = (const float *)state_of(step)->constants[1];
    return finish(cuda_affine(&launch, &p), launch, context);
}

static int layer_norm_run(const thaw_step *step, const thaw_run_context *context) {
    const thaw_port *y = step->out;
    const step_state *state = state_of(step);
    thaw_cuda_launch launch = launch_on(step, context);
    return finish(cuda_layer_norm(&launch, y->N * y->H * y->W, y->C, step->epsilon, y->dtype,
                                  step->in[0]->data, (const float *)state->constants[0],
                                  (const float *)state->constants[1], y->data),
                  launch, context);
}

static int concat_run(const thaw_step *step, const thaw_run_context *context) {
    const thaw_port *y = step->out;
    int64_t to = 0;
    for (int i = 0; i < step->n_in; i++) {
        const thaw_port *x = step->in[i];
        thaw_cuda_launch launch = launch_on(step, context);
        int code = cuda_channels(&launch, y->N * y->H * y->W, x->C, 0, y->C, to, x->C, y->dtype,
                                 x->data, y->data);
        if (code) return finish(code, launch, context);
        to += x->C;
    }
    return 0;
}

static int slice_run(const thaw_step *step, const thaw_run_context *context) {
    const thaw_port *x = step->in[0], *y = step->out;
    thaw_cuda_launch launch = launch_on(step, context);
    return finish(cuda_channels(&launch, y->N * y->H * y->W, x->C, step->first, y->C, 0, y->C,
                                y->dtype, x->data, y->data),
                  launch, context);
}

static int shuffle_run(const thaw_step *step, const thaw_run_context *context) {
    const thaw_port *y = step->out;
    thaw_cuda_launch launch = launch_on(step, context);
    return finish(cuda_shuffle(&launch, y->N * y->H * y->W, y->C, step->groups, y->dtype,
                               step->in[0]->data, y->data),
                  launch, context);
}

static int pad_run(const thaw_step *step, const thaw_run_context *context) {
    const thaw_port *x = step->in[0];
    thaw_cuda_launch launch = launch_on(step, context);
    return finish(cuda_pad(&launch, x->N, x->H, x->W, x->C, &step->conv.window, x->dtype, x->data,
                           step->out->data),
                  launch, context);
}

static int rearrange_prepare(thaw_step *step, const thaw_plan_context *plan, thaw_error *err) {
    const thaw_port *y = step->out;
    if (y->H * y->W * padded_channels(y->C) > INT32_MAX)
        return refuse(step, err, "a picture has more than 2^31 - 1 numbers there");
    return begin_reading(step, plan, err);
}

static int rearrange(const thaw_step *step, const thaw_permutation &axes,
                     const thaw_run_context *context) {
    const thaw_port *x = step->in[0], *y = step->out;
    thaw_cuda_rearrange r = {x->N, x->H, x->W,     x->C,    y->H,   y->W,
                             y->C, axes, x->dtype, x->data, y->data};
    thaw_cuda_launch launch = launch_on(step, context);
    return finish(cuda_rearrange(&launch, &r), launch, context);
}

static int transpose_run(const thaw_step *step, const thaw_run_context *context) {
    return rearrange(step, step->axes, context);
}

static int reshape_run(const thaw_step *step, const thaw_run_context *context) {
    const thaw_port *x = step->in[0];
    return rearrange(step, {1, {x->H * x->W * x->C}, {0}}, context);
}

static int constant_prepare(thaw_step *step, const thaw_plan_context *plan, thaw_error *err) {
    const thaw_port *y = step->out;
    int code = begin_reading(step, plan, err);
    if (code) return code;
    int64_t C = y->C, Cp = padded_channels(C), pixels = y->H * y->W;
    std::vector<float> padded((size_t)(pixels * Cp));
    for (int64_t p = 0; p < pixels; p++)
        memcpy(&padded[(size_t)(p * Cp)], step->w + p * C, (size_t)C * sizeof(float));
    return keep(step, 0, padded.data(), padded.size() * sizeof(float), err);
}

static int constant_run(const thaw_step *step, const thaw_run_context *context) {
    const thaw_port *y = step->out;
    thaw_cuda_launch launch = launch_on(step, context);
    return finish(cuda_constant(&launch, y->N, y->H * y->W, y->C, y->dtype,
                                (const float *)state_of(step)->constants[0], y->data),
                  launch, context);
}

static int group_norm_prepare(thaw_step *step, const thaw_plan_context *plan, thaw_error *err) {
    step->workspace_bytes = cuda_group_norm_workspace(step->out->N, step->out->C);
    return scaled_prepare(step, plan, err);
}

static int group_norm_run(const thaw_step *step, const thaw_run_context *context) {
    const thaw_port *y = step->out;
    const step_state *state = state_of(step);
    thaw_cuda_launch launch = launch_on(step, context);
    return finish(
        cuda_group_norm(&launch, y->N, y->H * y->W, y->C, step->groups, step->epsilon, y->dtype,
                        step->in[0]->data, (const float *)state->constants[0],
                        (const float *)state->constants[1], (float *)context->workspace, y->data),
        launch, context);
}

static int softmax_run(const thaw_step *step, const thaw_run_context *context) {
    const thaw_port *y = step->out;
    thaw_cuda_launch launch = launch_on(step, context);
    return finish(cuda_softmax(&launch, y->N * y->H * y->W, y->C, step->groups, y->dtype,
                               step->in[0]->data, y->data),
                  launch, context);
}

static int matmul_run(const thaw_step *step, const thaw_run_context *context) {
    const thaw_port *a = step->in[0], *b = step->in[1], *y = step->out;
    thaw_cuda_launch launch = launch_on(step, context);
    return finish(
        cuda_matmul(&launch, y->N, y->H, a->W, y->W, y->C, y->dtype, a->data, b->data, y->data),
        launch, context);
}

static int keep_taps(const thaw_step *step, int i, const thaw_taps &taps, int64_t places,
                     thaw_error *err) {
    std::vector<thaw_cuda_tap> all((size_t)(places * taps.n));
    for (size_t k = 0; k < all.size(); k++)
        all[k] = {taps.from[k], taps.weight[k]};
    return keep(step, i, all.data(), all.size() * sizeof all[0], err);
}

static int resample_prepare(thaw_step *step, const thaw_plan_context *plan, thaw_error *err) {
    int code = begin_reading(step, plan, err);
    if (!code) code = keep_taps(step, 0, step->rows, step->out->H, err);
    return code ? code : keep_taps(step, 1, step->columns, step->out->W, err);
}

static int resample_run(const thaw_step *step, const thaw_run_context *context) {
    const thaw_port *x = step->in[0], *y = step->out;
    const step_state *state = state_of(step);
    thaw_cuda_resample r = {x->N,
                            x->H,
                            x->W,
                            x->C,
                            y->H,
                            y->W,
                            y->dtype,
                            (const thaw_cuda_tap *)state->constants[0],
                            (const thaw_cuda_tap *)state->constants[1],
                            step->rows.n,
                            step->columns.n,
                            x->data,
                            y->data};
    thaw_cuda_launch launch = launch_on(step, context);
    return finish(cuda_resample(&launch, &r), launch, context);
}

/* ---- the table ------------------------------------------------------------------------------ */

static bool computes(const void *device, thaw_dtype dtype) {
    int sm = device ? ((const open_device *)device)->facts.sm : 80;
    return dtype == THAW_F16 || (sm >= 80 && (dtype == THAW_BF16 || dtype == THAW_F32));
}

static const char *precision(thaw_dtype dtype) {
    return dtype == THAW_F16 ? "fp16 (CUDA)" : dtype == THAW_BF16 ? "bf16 (CUDA)" : "tf32 (CUDA)";
}

static const char *describe(const void *device) {
    return ((const open_device *)device)->described;
}

static const char *explain(int code) {
    return cudaGetErrorString((cudaError_t)code);
}

thaw_kernels make_cuda_table() {
    thaw_kernels t = {};
    t.name = "cuda";
    t.open = device_open;
    t.close = device_close;
    t.computes = computes;
    t.precision = precision;
    t.one_type = true;
    t.memory = &device_memory;
    t.describe = describe;
    t.explain = explain;
    t.explain_step = explain_step;
    t.tune = device_tune;
    t.trunk[THAW_STEP_import] = {import_prepare, import_run, step_release};
    t.trunk[THAW_STEP_export] = {export_prepare, export_run, nullptr};
    t.trunk[THAW_STEP_conv] = {conv_prepare, conv_run, step_release};
    t.trunk[THAW_STEP_dense] = {conv_prepare, conv_run, step_release};
    t.trunk[THAW_STEP_pool] = {pool_prepare, pool_run, nullptr};
    t.trunk[THAW_STEP_global_mean] = {begin_reading, global_mean_run, nullptr};
    t.trunk[THAW_STEP_act] = {begin_reading, act_run, nullptr};
    t.trunk[THAW_STEP_add] = {binary_prepare, add_run, nullptr};
    t.trunk[THAW_STEP_mul] = {binary_prepare, mul_run, nullptr};
    t.trunk[THAW_STEP_affine] = {scaled_prepare, affine_run, step_release};
    t.trunk[THAW_STEP_layer_norm] = {scaled_prepare, layer_norm_run, step_release};
    t.trunk[THAW_STEP_concat] = {begin_reading, concat_run, nullptr};
    t.trunk[THAW_STEP_slice] = {begin_reading, slice_run, nullptr};
    t.trunk[THAW_STEP_shuffle] = {begin_reading, shuffle_run, nullptr};
    t.trunk[THAW_STEP_pad] = {begin_reading, pad_run, nullptr};
    t.trunk[THAW_STEP_constant] = {constant_prepare, constant_run, step_release};
    t.trunk[THAW_STEP_group_norm] = {group_norm_prepare, group_norm_run, step_release};
    t.trunk[THAW_STEP_softmax] = {begin_reading, softmax_run, nullptr};
    t.trunk[THAW_STEP_matmul] = {begin_reading, matmul_run, nullptr};
    t.trunk[THAW_STEP_resample] = {resample_prepare, resample_run, step_release};
    t.trunk[THAW_STEP_transpose] = {rearrange_prepare, transpose_run, nullptr};
    t.trunk[THAW_STEP_reshape] = {rearrange_prepare, reshape_run, nullptr};
    t.head = &device_head_slots;
    t.training = make_training_slots(t.trunk);
    t.top = thaw_cpu_kernels.top; /* Heads with a hidden layer, scoring: on the host's memory. */
    return t;
}

}  // namespace thaw

extern "C" const thaw_kernels thaw_cuda_kernels = thaw::make_cuda_table();
