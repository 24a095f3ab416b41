#include "onednn.h"

#include <math.h>
#include <string.h>

#include "arena.h"
#include "status.h"

int cpu_refuse(cpu_builder *builder, int code, const char *what) {
    thaw_fail(builder->err, THAW_ERR_BACKEND, "%s (%s): oneDNN refused %s with code %d",
              builder->step->name, thaw_step_kind_name(builder->step->kind), what, code);
    return code ? code : -1;
}

int cpu_begin(cpu_builder *builder, thaw_step *step, const thaw_plan_context *plan,
              struct thaw_error *err) {
    *builder = (cpu_builder){.step = step, .plan = plan, .engine = plan->device, .err = err};
    builder->state = thaw_arena_alloc(plan->arena, sizeof(cpu_state));
    if (!builder->state) return cpu_refuse(builder, dnnl_out_of_memory, "the step's state");
    step->state = builder->state;
    if (plan->leader) builder->leader = plan->leader->state;
    return 0;
}

int cpu_begin_backward(cpu_builder *builder, thaw_step *step, const thaw_plan_context *plan,
                       struct thaw_error *err) {
    void *forward = step->state;
    CPU_TRY(cpu_begin(builder, step, plan, err));
    step->backward_state = builder->state;
    step->state = forward;
    if (plan->leader) builder->leader = plan->leader->backward_state;
    return 0;
}

static int bind(cpu_builder *builder, cpu_call *call, cpu_arg arg, cpu_md md) {
    if (call->n_args == call->capacity) return cpu_refuse(builder, -1, "so many arguments");
    int code = dnnl_memory_create(&arg.memory, md, builder->engine, DNNL_MEMORY_NONE);
    if (code) return cpu_refuse(builder, code, "a memory descriptor");
    call->exec[call->n_args] = (dnnl_exec_arg_t){arg.index, arg.memory};
    call->args[call->n_args++] = arg;
    return 0;
}

/* Takes n bytes of the step's workspace. */
static size_t reserve(cpu_builder *builder, size_t n) {
    size_t offset = builder->workspace;
    builder->workspace += (n + 63) / 64 * 64;
    if (builder->workspace > builder->step->workspace_bytes)
        builder->step->workspace_bytes = builder->workspace;
    return offset;
}

int cpu_add_call(cpu_builder *builder, dnnl_primitive_desc_t desc, cpu_call **out) {
    enum { OTHERS = 9 }; /* A layer norm's gradient has most. */
    cpu_call *call = thaw_arena_alloc(builder->plan->arena, sizeof *call);
    cpu_md scratch = NULL;
    if (!call) {
        dnnl_primitive_desc_destroy(desc);
        return cpu_refuse(builder, dnnl_out_of_memory, "memory for a primitive");
    }
    *(builder->state->last ? &builder->state->last->next : &builder->state->first) = call;
    builder->state->last = call;
    call->capacity = builder->step->n_in + OTHERS;
    call->args = thaw_arena_array(builder->plan->arena, (size_t)call->capacity, sizeof(cpu_arg));
    call->exec =
        thaw_arena_array(builder->plan->arena, (size_t)call->capacity, sizeof(dnnl_exec_arg_t));
    int code = call->args && call->exec ? (int)dnnl_primitive_create(&call->primitive, desc)
                                        : (int)dnnl_out_of_memory;
    if (!code) code = cpu_chosen_md(builder, desc, dnnl_query_scratchpad_md, &scratch);
    dnnl_primitive_desc_destroy(desc);
    if (code) return cpu_refuse(builder, code, "to build the primitive");
    *out = call;
    size_t bytes = dnnl_memory_desc_get_size(scratch);
    if (bytes == 0) return 0;
    cpu_arg arg = {DNNL_ARG_SCRATCHPAD, CPU_BIND_WORKSPACE, .offset = reserve(builder, bytes)};
    return bind(builder, call, arg, scratch);
}

/* ---- layouts -------------------------------------------------------------------------------- */

/* The step owns the layout from here on; NULL with a code: there is none. */
static int keep(cpu_builder *builder, int code, dnnl_memory_desc_t made, cpu_md *md) {
    if (code) return cpu_refuse(builder, code, "a layout");
    cpu_kept *kept = thaw_arena_alloc(builder->plan->arena, sizeof *kept);
    if (!kept) {
        dnnl_memory_desc_destroy(made);
        return cpu_refuse(builder, dnnl_out_of_memory, "memory for a layout");
    }
    *kept = (cpu_kept){made, builder->state->kept};
    builder->state->kept = kept;
    *md = made;
    return 0;
}

int cpu_dense_md(cpu_builder *builder, int n_dims, const dnnl_dims_t dims, dnnl_data_type_t type,
                 dnnl_format_tag_t tag, cpu_md *md) {
    dnnl_memory_desc_t made = NULL;
    int code = (int)dnnl_memory_desc_create_with_tag(&made, n_dims, dims, type, tag);
    return keep(builder, code, made, md);
}

int cpu_port_md(cpu_builder *builder, const thaw_port *port, dnnl_data_type_t type,
                dnnl_format_tag_t tag, cpu_md *md) {
    const dnnl_dims_t dims = {port->N, port->C, port->H, port->W};
    return cpu_dense_md(builder, 4, dims, type, tag, md);
}

int cpu_strided_md(cpu_builder *builder, int n_dims, const dnnl_dims_t dims,
                   const dnnl_dims_t strides, dnnl_data_type_t type, cpu_md *md) {
    dnnl_memory_desc_t made = NULL;
    int code = (int)dnnl_memory_desc_create_with_strides(&made, n_dims, dims, type, strides);
    return keep(builder, code, made, md);
}

int cpu_part_md(cpu_builder *builder, cpu_md whole, const dnnl_dims_t dims,
                const dnnl_dims_t offsets, cpu_md *md) {
    dnnl_memory_desc_t made = NULL;
    int code = (int)dnnl_memory_desc_create_submemory(&made, whole, dims, offsets);
    return keep(builder, code, made, md);
}

int cpu_chosen_md(cpu_builder *builder, dnnl_primitive_desc_t desc, dnnl_query_t argument,
                  cpu_md *md) {
    dnnl_memory_desc_t made = NULL; /* The descriptor's own dies with it. */
    int code = (int)dnnl_memory_desc_clone(&made, dnnl_primitive_desc_query_md(desc, argument, 0));
    return keep(builder, code, made, md);
}

cpu_md cpu_layout(const thaw_port *port) {
    return port->layout;
}

dnnl_data_type_t cpu_type(thaw_dtype dtype) {
    return dtype == THAW_BF16 ? dnnl_bf16 : dnnl_f32;
}

int cpu_set_output(cpu_builder *builder, cpu_md md) {
    thaw_port *out = builder->step->out;
    /* A vector lies the same way as N,C,H,W and as N,H,W,C. Called the first, oneDNN 3.2's binary
     * adds the first channel's shift of a post-operation to all of them. */
    if (out->H * out->W == 1) {
        cpu_md plain;
        CPU_TRY(cpu_port_md(builder, out, cpu_type(out->dtype), dnnl_nchw, &plain));
        if (dnnl_memory_desc_equal(md, plain))
            CPU_TRY(cpu_port_md(builder, out, cpu_type(out->dtype), dnnl_nhwc, &md));
    }
    out->layout = md;
    out->bytes = dnnl_memory_desc_get_size(md);
    return 0;
}

/* ---- arguments ------------------------------------------------------------------------------ */

int cpu_bind_port_as(cpu_builder *builder, cpu_call *call, int index, const thaw_port *port,
                     cpu_md md) {
    return bind(builder, call, (cpu_arg){index, CPU_BIND_PORT, .port = port}, md);
}

int cpu_bind_port(cpu_builder *builder, cpu_call *call, int index, const thaw_port *port) {
    return cpu_bind_port_as(builder, call, index, port, cpu_layout(port));
}

int cpu_bind_features(cpu_builder *builder, cpu_call *call, int index, cpu_md md) {
    return bind(builder, call, (cpu_arg){.index = index, .binding = CPU_BIND_FEATURES}, md);
}

/* Copies between two memories now, at plan time. */
static int reorder_now(cpu_builder *builder, cpu_md from, void *source, cpu_md to, void *target) {
    dnnl_engine_t engine = builder->engine;
    dnnl_primitive_desc_t desc = NULL;
    dnnl_primitive_t primitive = NULL;
    dnnl_memory_t a = NULL, b = NULL;
    dnnl_stream_t stream = NULL;
    int code = dnnl_reorder_primitive_desc_create(&desc, from, engine, to, engine, NULL);
    if (!code) code = dnnl_primitive_create(&primitive, desc);
    if (!code) code = dnnl_memory_create(&a, from, engine, source);
    if (!code) code = dnnl_memory_create(&b, to, engine, target);
    if (!code) code = dnnl_stream_create(&stream, engine, dnnl_stream_default_flags);
    if (!code) {
        dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, a}, {DNNL_ARG_TO, b}};
        code = dnnl_primitive_execute(primitive, stream, 2, args);
    }
    if (!code) code = dnnl_stream_wait(stream);
    dnnl_stream_destroy(stream);
    dnnl_memory_destroy(a);
    dnnl_memory_destroy(b);
    dnnl_primitive_destroy(primitive);
    dnnl_primitive_desc_destroy(desc);
    return code ? cpu_refuse(builder, code, "to pack the weights") : 0;
}

/* Values that change: read where they are, or packed again each time. */
static int bind_changing(cpu_builder *builder, cpu_call *call, int index, const float *values,
                         cpu_md from, cpu_md to) {
    cpu_arg arg = {index, CPU_BIND_CONSTANT, .constant = (void *)values};
    if (dnnl_memory_desc_equal(from, to)) return bind(builder, call, arg, to);
    cpu_state *state = builder->state;
    if (state->n_packs == CPU_MAX_PACKS) return cpu_refuse(builder, -1, "so many weights");
    cpu_pack *pack = &state->packs[state->n_packs];
    if (builder->leader) {
        pack->packed = builder->leader->packs[state->n_packs++].packed;
    } else {
        dnnl_engine_t engine = builder->engine;
        dnnl_primitive_desc_t desc;
        pack->packed = thaw_arena_alloc(builder->plan->arena, dnnl_memory_desc_get_size(to));
        if (!pack->packed)
            return cpu_refuse(builder, dnnl_out_of_memory, "memory for packed weights");
        state->n_packs++;
        int code = dnnl_reorder_primitive_desc_create(&desc, from, engine, to, engine, NULL);
        if (code) return cpu_refuse(builder, code, "to pack the weights");
        code = dnnl_primitive_create(&pack->reorder, desc);
        dnnl_primitive_desc_destroy(desc);
        if (!code) code = dnnl_memory_create(&pack->from, from, engine, (void *)values);
        if (!code) code = dnnl_memory_create(&pack->to, to, engine, pack->packed);
        if (code) return cpu_refuse(builder, code, "to pack the weights");
    }
    arg.constant = pack->packed;
    return bind(builder, call, arg, to);
}

int cpu_bind_constant(cpu_builder *builder, cpu_call *call, int index, const float *values,
                      cpu_md from, cpu_md to) {
    if (builder->plan->training) return bind_changing(builder, call, index, values, from, to);
    void *packed = thaw_arena_alloc(builder->plan->arena, dnnl_memory_desc_get_size(to));
    if (!packed) return cpu_refuse(builder, dnnl_out_of_memory, "memory for packed weights");
    CPU_TRY(reorder_now(builder, from, (void *)values, to, packed));
    return bind(builder, call, (cpu_arg){index, CPU_BIND_CONSTANT, .constant = packed}, to);
}

int cpu_copy_desc(cpu_builder *builder, cpu_md from, cpu_md to, dnnl_primitive_desc_t *desc) {
    dnnl_primitive_attr_t attr;
    CPU_TRY(cpu_attributes(NULL, &attr));
    int code = (int)dnnl_reorder_primitive_desc_create(desc, from, builder->engine, to,
                                                       builder->engine, attr);
    dnnl_primitive_attr_destroy(attr);
    return code ? cpu_refuse(builder, code, "to convert a layout") : 0;
}

int cpu_source_in(cpu_builder *builder, const thaw_port *port, cpu_md want, cpu_source *source) {
    cpu_md have = cpu_layout(port);
    *source = (cpu_source){.port = port, .md = want};
    if (dnnl_memory_desc_equal(have, want)) return 0;
    source->reordered = true;
    source->offset = reserve(builder, dnnl_memory_desc_get_size(want));
    dnnl_primitive_desc_t desc;
    CPU_TRY(cpu_copy_desc(builder, have, want, &desc));
    cpu_call *call;
    CPU_TRY(cpu_add_call(builder, desc, &call));
    CPU_TRY(cpu_bind_port(builder, call, DNNL_ARG_FROM, port));
    return cpu_bind_source(builder, call, DNNL_ARG_TO, source);
}

int cpu_bind_source(cpu_builder *builder, cpu_call *call, int index, const cpu_source *source) {
    cpu_arg arg = {index, CPU_BIND_PORT, .port = source->port};
    if (source->reordered) arg = (cpu_arg){index, CPU_BIND_WORKSPACE, .offset = source->offset};
    return bind(builder, call, arg, source->md);
}

/* ---- outputs that may lie otherwise ---------------------------------------------------------- */

int cpu_target_open(cpu_builder *builder, cpu_target *target) {
    target->reordered = !dnnl_memory_desc_equal(target->want, target->md);
    if (target->reordered) target->offset = reserve(builder, dnnl_memory_desc_get_size(target->md));
    return 0;
}

/* The place that the values are for. */
static int bind_place(cpu_builder *builder, cpu_call *call, int index, const cpu_target *target) {
    cpu_arg arg = {index, CPU_BIND_PORT, .port = target->port};
    if (!target->port) arg = (cpu_arg){index, CPU_BIND_CONSTANT, .constant = target->memory};
    return bind(builder, call, arg, target->want);
}

int cpu_bind_target(cpu_builder *builder, cpu_call *call, int index, const cpu_target *target) {
    if (!target->reordered) return bind_place(builder, call, index, target);
    cpu_arg arg = {index, CPU_BIND_WORKSPACE, .offset = target->offset};
    return bind(builder, call, arg, target->md);
}

int cpu_target_close(cpu_builder *builder, const cpu_target *target) {
    if (!target->reordered) return 0;
    dnnl_primitive_desc_t desc;
    CPU_TRY(cpu_copy_desc(builder, target->md, target->want, &desc));
    cpu_call *call;
    CPU_TRY(cpu_add_call(builder, desc, &call));
    CPU_TRY(cpu_bind_target(builder, call, DNNL_ARG_FROM, target));
    return bind_place(builder, call, DNNL_ARG_TO, target);
}

int cpu_bind_kept(cpu_builder *builder, cpu_call *call, int index, cpu_md md, size_t offset) {
    cpu_arg arg = {index, CPU_BIND_KEPT, .port = builder->step->kept, .offset = offset};
    return bind(builder, call, arg, md);
}

/* ---- loops ----------------------------------------------------------------------------------- */

int cpu_view_of(cpu_builder *builder, const thaw_port *port, cpu_view *view) {
    static const struct {
        dnnl_format_tag_t tag;
        int width; /* 0: all channels. */
    } usual[] = {{dnnl_nhwc, 0},
                 {dnnl_nChw4c, 4}, /* Of convolutions in groups of four. */
                 {dnnl_nChw8c, 8},
                 {dnnl_nChw16c, 16},
                 {dnnl_nchw, 1}};
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        cpu_md md;
        CPU_TRY(cpu_port_md(builder, port, dnnl_f32, usual[i].tag, &md));
        if (!dnnl_memory_desc_equal(md, cpu_layout(port))) continue;
        int64_t width = usual[i].width ? usual[i].width : port->C;
        *view = (cpu_view){.N = port->N,
                           .C = port->C,
                           .blocks = (port->C + width - 1) / width,
                           .pixels = port->H * port->W,
                           .width = width};
        return 0;
    }
    return cpu_refuse(builder, dnnl_unimplemented, "an unusual layout");
}

/* ---- what follows ---------------------------------------------------------------------------- */

void cpu_act_algorithm(const thaw_epilogue *epilogue, dnnl_alg_kind_t *alg, float *alpha,
                       float *beta) {
    *alg = dnnl_alg_kind_undef;
    *alpha = epilogue->a;
    *beta = epilogue->b;
    switch (epilogue->act) {
        case THAW_ACT_CLIP:
            /* Relu has cheaper code than the general clip. */
            *alg = dnnl_eltwise_clip;
            if (epilogue->a == 0 && isinf(epilogue->b)) {
                *alg = dnnl_eltwise_relu;
                *beta = 0;
            }
            break;
        case THAW_ACT_LEAKY_RELU:
            *alg = dnnl_eltwise_relu;
            break;
        case THAW_ACT_SIGMOID:
            *alg = dnnl_eltwise_logistic;
            break;
        case THAW_ACT_SILU:
            *alg = dnnl_eltwise_swish;
            *alpha = 1;
            break;
        case THAW_ACT_HARD_SIGMOID:
            *alg = dnnl_eltwise_hardsigmoid;
            break;
        case THAW_ACT_HARD_SWISH:
            *alg = dnnl_eltwise_hardswish;
            *alpha = 1.0f / 6;
            *beta = 0.5f;
            break;
        case THAW_ACT_TANH:
            *alg = dnnl_eltwise_tanh;
            break;
        case THAW_ACT_GELU:
            *alg = dnnl_eltwise_gelu_erf;
            break;
        case THAW_ACT_GELU_TANH:
            *alg = dnnl_eltwise_gelu_tanh;
            break;
        case THAW_ACT_ELU:
            *alg = dnnl_eltwise_elu;
            break;
        case THAW_ACT_SOFTPLUS:
            *alg = dnnl_eltwise_soft_relu;
            *alpha = 1;
            break;
        case THAW_ACT_POWER: /* alpha x ^ beta */
            *alg = dnnl_eltwise_pow;
            *alpha = 1;
            *beta = epilogue->a;
            break;
        case THAW_ACT_NONE:
            break;
    }
}

static int append_act(dnnl_post_ops_t ops, const thaw_epilogue *epilogue) {
    if (epilogue->act == THAW_ACT_NONE) return 0;
    dnnl_alg_kind_t alg;
    float alpha, beta;
    cpu_act_algorithm(epilogue, &alg, &alpha, &beta);
    return (int)dnnl_post_ops_append_eltwise(ops, alg, alpha, beta);
}

int cpu_attributes(dnnl_post_ops_t ops, dnnl_primitive_attr_t *attr) {
    CPU_TRY(dnnl_primitive_attr_create(attr));
    int code = dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user);
    if (!code && ops) code = dnnl_primitive_attr_set_post_ops(*attr, ops);
    if (ops) dnnl_post_ops_destroy(ops);
    if (code) dnnl_primitive_attr_destroy(*attr);
    return code;
}

int cpu_epilogue(cpu_builder *builder, cpu_md shift, dnnl_primitive_attr_t *attr) {
    const thaw_epilogue *epilogue = &builder->step->epilogue;
    dnnl_post_ops_t ops = NULL;
    int code = dnnl_post_ops_create(&ops);
    if (!code && epilogue->residual)
        code = dnnl_post_ops_append_sum(ops, 1, 0, dnnl_data_type_undef);
    if (!code && shift) code = dnnl_post_ops_append_binary(ops, dnnl_binary_add, shift);
    if (!code) code = append_act(ops, epilogue);
    if (code)
        dnnl_post_ops_destroy(ops);
    else
        code = cpu_attributes(ops, attr);
    return code ? cpu_refuse(builder, code, "the epilogue") : 0;
}

static void *argument_data(const cpu_arg *arg, const thaw_run_context *context) {
    switch (arg->binding) {
        case CPU_BIND_PORT:
            return arg->port->data;
        case CPU_BIND_CONSTANT:
            return arg->constant;
        case CPU_BIND_WORKSPACE:
            return (char *)context->workspace + arg->offset;
        case CPU_BIND_KEPT:
            return (char *)arg->port->data + arg->offset;
        case CPU_BIND_FEATURES:
            return context->features;
    }
    return NULL;
}

static int run_call(const cpu_call *call, const thaw_run_context *context) {
    for (int i = 0; i < call->n_args; i++) {
        const cpu_arg *arg = &call->args[i];
        void *data = argument_data(arg, context), *set;
        CPU_TRY(dnnl_memory_get_data_handle(arg->memory, &set));
        /* Setting a handle makes oneDNN zero the padding of blocked layouts, so only when new. */
        if (set != data) CPU_TRY(dnnl_memory_set_data_handle(arg->memory, data));
    }
    return (int)dnnl_primitive_execute(call->primitive, context->stream, call->n_args, call->exec);
}

static int run_from(const cpu_call *call, const cpu_call *to, const thaw_run_context *context) {
    for (; call != to; call = call->next)
        CPU_TRY(run_call(call, context));
    return 0;
}

static int run_calls(const cpu_state *state, const thaw_run_context *context) {
    return state ? run_from(state->first, NULL, context) : 0;
}

int cpu_run(const thaw_step *step, const thaw_run_context *context) {
    const cpu_state *state = step->state;
    if (state->clear_bytes) memset(step->out->data, 0, state->clear_bytes);
    return run_calls(state, context);
}

int cpu_run_backward(const thaw_step *step, const thaw_run_context *context) {
    return run_calls(step->backward_state, context);
}

/* ---- loops of our own ------------------------------------------------------------------------ */

static int loop_prepare(cpu_builder *builder, cpu_loop *loop, int n_in, thaw_port *const *in,
                        const thaw_port *out) {
    loop->n_in = n_in;
    for (int i = 0; i < n_in; i++) {
        cpu_md plain;
        CPU_TRY(cpu_port_md(builder, in[i], dnnl_f32, dnnl_nhwc, &plain));
        CPU_TRY(cpu_source_in(builder, in[i], plain, &loop->in[i]));
    }
    loop->behind = builder->state->last;
    if (!out) return 0;
    loop->out = (cpu_target){.port = out, .want = cpu_layout(out)};
    CPU_TRY(cpu_port_md(builder, out, dnnl_f32, dnnl_nhwc, &loop->out.md));
    CPU_TRY(cpu_target_open(builder, &loop->out));
    return cpu_target_close(builder, &loop->out);
}

static int open_loop(cpu_builder *builder, cpu_loop **loop) {
    *loop = thaw_arena_alloc(builder->plan->arena, sizeof **loop);
    if (!*loop) return cpu_refuse(builder, dnnl_out_of_memory, "the step's state");
    builder->state = &(*loop)->state;
    return 0;
}

int cpu_loop_prepare(thaw_step *step, const thaw_plan_context *plan, struct thaw_error *err) {
    cpu_builder builder;
    cpu_loop *loop;
    cpu_md md;
    CPU_TRY(cpu_begin(&builder, step, plan, err));
    CPU_TRY(open_loop(&builder, &loop));
    step->state = loop;
    CPU_TRY(cpu_port_md(&builder, step->out, cpu_type(step->out->dtype), dnnl_nhwc, &md));
    CPU_TRY(cpu_set_output(&builder, md));
    return loop_prepare(&builder, loop, step->n_in, step->in, step->out);
}

int cpu_loop_backward_prepare(thaw_step *step, const thaw_plan_context *plan, int n_in,
                              thaw_port *const *in, struct thaw_error *err) {
    cpu_builder builder;
    cpu_loop *loop;
    CPU_TRY(cpu_begin_backward(&builder, step, plan, err));
    CPU_TRY(open_loop(&builder, &loop));
    step->backward_state = loop;
    return loop_prepare(&builder, loop, n_in, in, step->dx[0]);
}

int cpu_loop_start(const cpu_loop *loop, const thaw_run_context *context,
                   const float *in[CPU_LOOP_PORTS], float **out) {
    char *workspace = context->workspace;
    const cpu_call *first = loop->state.first;
    if (loop->behind) CPU_TRY(run_from(first, loop->behind->next, context));
    for (int i = 0; i < loop->n_in; i++) {
        const cpu_source *x = &loop->in[i];
        in[i] = x->reordered ? (float *)(workspace + x->offset) : x->port->data;
    }
    const cpu_target *y = &loop->out;
    *out = !y->port ? NULL : y->reordered ? (float *)(workspace + y->offset) : y->port->data;
    return 0;
}

int cpu_loop_end(const cpu_loop *loop, const thaw_run_context *context) {
    return run_from(loop->behind ? loop->behind->next : loop->state.first, NULL, context);
}

static int pack_weights(const cpu_state *state, void *stream) {
    for (int i = 0; state && i < state->n_packs; i++) {
        const cpu_pack *pack = &state->packs[i];
        dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, pack->from}, {DNNL_ARG_TO, pack->to}};
        if (pack->reorder) CPU_TRY(dnnl_primitive_execute(pack->reorder, stream, 2, args));
    }
    return 0;
}

int cpu_pack_step(const thaw_step *step, void *stream) {
    CPU_TRY(pack_weights(step->state, stream));
    return pack_weights(step->backward_state, stream);
}

static void release_state(cpu_state *state) {
    if (!state) return;
    for (cpu_call *call = state->first; call; call = call->next) {
        for (int k = 0; k < call->n_args; k++)
            dnnl_memory_destroy(call->args[k].memory);
        dnnl_primitive_destroy(call->primitive);
    }
    for (int i = 0; i < state->n_packs; i++) {
        dnnl_primitive_destroy(state->packs[i].reorder);
        dnnl_memory_destroy(state->packs[i].from);
        dnnl_memory_destroy(state->packs[i].to);
    }
    for (const cpu_kept *kept = state->kept; kept; kept = kept->next)
        dnnl_memory_desc_destroy(kept->md);
}

void cpu_release(thaw_step *step) {
    release_state(step->state);
    release_state(step->backward_state);
    step->state = step->backward_state = NULL;
}
