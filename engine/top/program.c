#include "program_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "trunk/memory_plan.h"

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "to train above the cut");
}

thaw_status thaw__top_device_status(const thaw_top *top, int code, thaw_error *err) {
    if (code == 0) return THAW_OK;
    return thaw_fail(err, THAW_ERR_BACKEND, "training above the cut: %s: %s (%d)",
                     top->backend->kernels->name, top->backend->kernels->explain(code), code);
}

/* ---- the program ---------------------------------------------------------------------------- */

/* A step behind the last one, which reads what that made. */
static thaw_step *append(thaw_program *p, thaw_step_kind kind, const char *name, thaw_port shape,
                         thaw_arena *arena) {
    thaw_step *step = &p->steps[p->n_steps];
    thaw_port *in = p->steps[p->n_steps - 1].out;
    thaw_port *out = &p->ports[p->n_ports++];
    *out = shape;
    *step = (thaw_step){.kind = kind, .name = name, .n_in = 1, .out = out};
    step->in = thaw_arena_array(arena, 2, sizeof(thaw_port *));
    if (!step->in) return NULL;
    step->in[0] = in;
    p->origins[p->n_steps++] = (thaw_step_origins){.norm = -1};
    return step;
}

/* Dropout of what the last step made: a product with a mask. */
static thaw_status append_dropout(thaw_top *top, instance *in, float rate, thaw_error *err) {
    thaw_program *p = &in->program;
    if (rate <= 0) return THAW_OK;
    thaw_port *x = p->steps[p->n_steps - 1].out;
    thaw_port shape = {.N = x->N, .H = x->H, .W = x->W, .C = x->C};
    thaw_step *mask = append(p, THAW_STEP_load, "dropout", shape, &in->arena);
    thaw_step *product = append(p, THAW_STEP_mul, "dropout", shape, &in->arena);
    if (!mask || !product) return no_memory(err);
    mask->n_in = 0;
    product->n_in = 2;
    product->in[0] = x;
    product->in[1] = mask->out;
    if (in == top->instances)
        top->masks[top->n_masks++] = (mask_step){(int)(mask - p->steps), rate};
    return THAW_OK;
}

static thaw_status append_head(thaw_top *top, instance *in, thaw_error *err) {
    thaw_program *p = &in->program;
    const thaw_head *head = &top->head;
    const thaw_port *x = p->steps[p->n_steps - 1].out;
    int64_t N = x->N;
    if (top->spec.pooled) {
        thaw_port mean = {.N = N, .H = 1, .W = 1, .C = x->C};
        if (!append(p, THAW_STEP_global_mean, "pool", mean, &in->arena)) return no_memory(err);
        x = p->steps[p->n_steps - 1].out;
    }
    /* A vector, too, whose channels may lie in blocks: features are handed out from here. */
    thaw_port flat = {.N = N, .H = 1, .W = 1, .C = x->C * x->H * x->W};
    if (!append(p, THAW_STEP_reshape, "flatten", flat, &in->arena)) return no_memory(err);
    top->features_step = p->n_steps - 1;
    THAW_TRY(append_dropout(top, in, top->spec.dropout, err));
    if (head->mean) {
        thaw_port same = {.N = N, .H = 1, .W = 1, .C = head->layers[0].D};
        float *shift = thaw_arena_array(&in->arena, (size_t)same.C, sizeof *shift);
        thaw_step *step = append(p, THAW_STEP_affine, "head scale", same, &in->arena);
        if (!step || !shift) return no_memory(err);
        for (int64_t d = 0; d < same.C; d++)
            shift[d] = -head->mean[d] * head->scale[d];
        step->scale = head->scale;
        step->shift = shift;
    }
    top->first_head = p->n_steps;
    for (int i = 0; i < head->n_layers; i++) {
        const thaw_layer *layer = &head->layers[i];
        thaw_port rows = {.N = N, .H = 1, .W = 1, .C = layer->K};
        thaw_step *step = append(p, THAW_STEP_dense, "head", rows, &in->arena);
        if (!step) return no_memory(err);
        step->conv = (thaw_conv_shape){.N = N,
                                       .H = 1,
                                       .W = 1,
                                       .C = layer->D,
                                       .P = 1,
                                       .Q = 1,
                                       .K = layer->K,
                                       .G = 1,
                                       .window = {1, 1, 1, 1, 1, 1, 0, 0, 0, 0}};
        step->w = layer->w;
        step->b = layer->b;
        if (i + 1 == head->n_layers) break;
        step->epilogue = (thaw_epilogue){.act = THAW_ACT_CLIP, .b = INFINITY};
        THAW_TRY(append_dropout(top, in, top->spec.hidden_dropout, err));
    }
    return THAW_OK;
}

static thaw_status lower(thaw_top *top, instance *in, thaw_error *err) {
    const thaw_top_spec *s = &top->spec;
    int batch_norms = s->norm == THAW_NORM_FULL ? s->first_trained : s->graph->n_nodes;
    THAW_TRY(thaw_lower_top(s->graph, s->from, s->to, batch_norms, s->lane, &in->arena,
                            &in->program, err));
    thaw_program *p = &in->program;
    THAW_TRY(append_head(top, in, err));
    for (int i = 0; i < p->n_ports; i++)
        p->ports[i].dtype = s->precision == THAW_TOP_BF16 ? THAW_BF16 : THAW_F32;
    p->steps[p->n_steps - 1].out->dtype = THAW_F32; /* Scores, and their gradient. */
    size_t n = (size_t)p->n_steps, inputs = 0;
    for (int i = 0; i < p->n_steps; i++)
        inputs += (size_t)p->steps[i].n_in;
    /* A step has its own gradient and a mask, an input its part, and at most a copy and a sum. */
    size_t most_made = n + 2 * inputs + 1;
    in->kept = thaw_arena_array(&in->arena, n, sizeof *in->kept);
    in->acts = thaw_arena_array(&in->arena, 2 * n + 2 * inputs, sizeof *in->acts);
    in->made = thaw_arena_array(&in->arena, most_made, sizeof *in->made);
    in->holders = thaw_arena_array(&in->arena, most_made, sizeof *in->holders);
    in->gradient = thaw_arena_array(&in->arena, (size_t)p->n_ports, sizeof(thaw_port *));
    if (!in->kept || !in->acts || !in->made || !in->holders || !in->gradient) return no_memory(err);
    for (int i = 0; i < p->n_steps; i++)
        p->steps[i].kept = &in->kept[i];
    return THAW_OK;
}

/* ---- preparing ------------------------------------------------------------------------------ */

thaw_status thaw__top_refused(const thaw_top *top, const thaw_step *step, int code,
                              thaw_error *err) {
    const thaw_kernels *kernels = top->backend->kernels;
    if (err->text[0]) return err->code ? err->code : THAW_ERR_BACKEND;
    return thaw_fail(err, THAW_ERR_BACKEND, "%s (%s): the %s backend refused it: %s (%d)",
                     step->name, thaw_step_kind_name(step->kind), kernels->name,
                     kernels->explain(code), code);
}

static thaw_plan_context plan_context(const thaw_top *top, instance *in, int step) {
    bool follows = in != top->instances && step >= 0;
    return (thaw_plan_context){
        .arena = &in->arena,
        .device = top->backend->device,
        .training = true,
        .tf32 = top->spec.precision == THAW_TOP_TF32,
        .leader = follows ? &top->instances[0].program.steps[step] : NULL,
    };
}

static thaw_status prepare_forward(thaw_top *top, instance *in, thaw_error *err) {
    for (int i = 0; i < in->program.n_steps; i++) {
        thaw_step *step = &in->program.steps[i];
        const thaw_trunk_slot *slot = &slots(top)->forward[step->kind];
        thaw_plan_context context = plan_context(top, in, i);
        if (!slot->prepare)
            return thaw_fail(err, THAW_ERR_UNSUPPORTED, "%s: the %s backend has no %s", step->name,
                             top->backend->kernels->name, thaw_step_kind_name(step->kind));
        int code = slot->prepare(step, &context, err);
        if (code) return thaw__top_refused(top, step, code, err);
    }
    return THAW_OK;
}

/* A gradient that lies as the port does. */
static thaw_port *new_gradient(instance *in, const thaw_port *like) {
    thaw_port *g = &in->made[in->n_made++];
    *g = (thaw_port){.N = like->N,
                     .H = like->H,
                     .W = like->W,
                     .C = like->C,
                     .dtype = like->dtype,
                     .bytes = like->bytes,
                     .layout = like->layout};
    return g;
}

static int *holders_of(instance *in, const thaw_port *gradient) {
    return &in->holders[gradient - in->made];
}

static void hold(instance *in, const thaw_port *port, thaw_port *gradient) {
    in->gradient[port - in->program.ports] = gradient;
    ++*holders_of(in, gradient);
}

/* The port's gradient gets one more part. What other ports still hold is not written to. */
static void add_part(instance *in, const thaw_port *port, thaw_port *part) {
    thaw_port *have = in->gradient[port - in->program.ports], *to = have;
    if (!have) {
        hold(in, port, part);
        return;
    }
    if (*holders_of(in, have) > 1) {
        to = new_gradient(in, port);
        in->acts[in->n_acts++] = (backward_act){.kind = COPY, .from = have, .to = to};
        --*holders_of(in, have);
        hold(in, port, to);
    }
    in->acts[in->n_acts++] = (backward_act){.kind = SUM, .from = part, .to = to};
}

/* The gradient of the step's sum before its activation, from that of its output. */
static thaw_status mask(instance *in, thaw_step *step, thaw_port *dy, thaw_error *err) {
    thaw_port *to = *holders_of(in, dy) > 1 ? new_gradient(in, step->out) : dy;
    thaw_step *act = thaw_arena_alloc(&in->arena, sizeof *act);
    thaw_port **ports = thaw_arena_array(&in->arena, 1, sizeof *ports);
    if (!act || !ports) return no_memory(err);
    ports[0] = to;
    *act = (thaw_step){.kind = THAW_STEP_act,
                       .name = step->name,
                       .epilogue = step->epilogue,
                       .n_in = 0,
                       .out = step->out,
                       .dy = dy,
                       .dx = ports};
    in->acts[in->n_acts++] = (backward_act){.kind = MASK, .step = act};
    if (to != dy) ++*holders_of(in, to);
    step->dy = to;
    return THAW_OK;
}

/* Whether the addend's gradient is dy itself. */
static bool passes_on(const thaw_top *top, const thaw_step *step, int i) {
    const thaw_port *x = step->in[i], *y = step->out;
    return step->kind == THAW_STEP_add && x->H == y->H && x->W == y->W && x->C == y->C &&
           slots(top)->alike(x, y);
}

static bool needs_backward(const thaw_step *step, const bool *needed, const instance *in) {
    for (int i = 0; i < step->n_in; i++)
        if (needed[step->in[i] - in->program.ports]) return true;
    return false;
}

/* One step's part of the backward pass. */
static thaw_status go_back(thaw_top *top, instance *in, int index, const bool *needed,
                           thaw_error *err) {
    thaw_step *step = &in->program.steps[index];
    thaw_port *dy = in->gradient[step->out - in->program.ports];
    if (!dy) return THAW_OK; /* Nothing above has asked for it. */
    bool own = step->kind == THAW_STEP_act;
    step->dy = dy;
    if (!own && step->epilogue.act != THAW_ACT_NONE) THAW_TRY(mask(in, step, dy, err));
    step->dx = thaw_arena_array(&in->arena, (size_t)step->n_in + 1, sizeof(thaw_port *));
    if (!step->dx) return no_memory(err);
    bool all_passed = step->kind == THAW_STEP_add;
    for (int i = 0; i < step->n_in; i++) {
        if (!needed[step->in[i] - in->program.ports] || passes_on(top, step, i)) continue;
        bool in_place = own && *holders_of(in, dy) == 1;
        step->dx[i] = in_place ? dy : new_gradient(in, step->in[i]);
        all_passed = false;
    }
    if (!all_passed) in->acts[in->n_acts++] = (backward_act){.kind = RUN, .step = step};
    for (int i = 0; i < step->n_in; i++) {
        if (!needed[step->in[i] - in->program.ports]) continue;
        /* A sum's second addend gets what the first still holds. */
        add_part(in, step->in[i], step->dx[i] ? step->dx[i] : step->dy);
    }
    --*holders_of(in, step->dy); /* The output's own. */
    if (step->dy != dy) --*holders_of(in, dy);
    return THAW_OK;
}

/* The list of what runs, from the scores down to the lowest step that is trained. */
static thaw_status plan_backward(thaw_top *top, instance *in, thaw_error *err) {
    thaw_program *p = &in->program;
    bool *needed = thaw_arena_array(&in->arena, (size_t)p->n_ports, sizeof *needed);
    if (!needed) return no_memory(err);
    for (int i = 0; i < p->n_steps; i++) {
        bool trained = thaw_params_trains(&top->params, i);
        needed[p->steps[i].out - p->ports] = trained || needs_backward(&p->steps[i], needed, in);
    }
    const thaw_port *scores = p->steps[p->n_steps - 1].out;
    hold(in, scores, new_gradient(in, scores));
    for (int i = p->n_steps - 1; i > 0; i--)
        if (needed[p->steps[i].out - p->ports]) THAW_TRY(go_back(top, in, i, needed, err));
    return THAW_OK;
}

static thaw_status prepare_backward(thaw_top *top, instance *in, thaw_error *err) {
    THAW_TRY(plan_backward(top, in, err));
    for (int i = 0; i < in->n_acts; i++) {
        thaw_step *step = in->acts[i].step;
        if (!step) continue;
        const thaw_backward_slot *slot = &slots(top)->backward[step->kind];
        bool own = in->acts[i].kind == RUN;
        thaw_plan_context context =
            plan_context(top, in, own ? (int)(step - in->program.steps) : -1);
        if (!slot->prepare)
            return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                             "%s (%s): there is no gradient of this; freeze above it", step->name,
                             thaw_step_kind_name(step->kind));
        int code = slot->prepare(step, &context, err);
        if (code) return thaw__top_refused(top, step, code, err);
    }
    return THAW_OK;
}

/* ---- memory --------------------------------------------------------------------------------- */

/* The timetable of both passes in the planner's words: a step that reads ports and makes one. */
typedef struct timetable {
    thaw_program p;
    thaw_arena *arena;
    bool failed;
} timetable;

enum { MOST_READ = 8 };

static void add_entry(timetable *t, thaw_port **reads, int n, thaw_port *out) {
    thaw_step *step = &t->p.steps[t->p.n_steps++];
    step->in = thaw_arena_array(t->arena, (size_t)n + 1, sizeof(thaw_port *));
    step->n_in = n;
    step->out = out;
    if (step->in && n) memcpy(step->in, reads, (size_t)n * sizeof *reads);
    t->failed |= !step->in;
}

/* All that a part of the backward pass reads; writes that are no gradient of their own are reads. */
static int list_reads(const thaw_top *top, const backward_act *act, thaw_port **reads) {
    int n = 0;
    if (!act->step) {
        reads[n++] = act->from;
        if (act->kind == SUM) reads[n++] = act->to;
        return n;
    }
    const thaw_step *s = act->step;
    const thaw_backward_slot *slot = &slots(top)->backward[s->kind];
    bool act_input = s->kind == THAW_STEP_act && thaw_act_needs_input(&s->epilogue);
    reads[n++] = s->dy;
    if (s->kept && s->kept->bytes) reads[n++] = s->kept;
    if (slot->reads_out && !act_input) reads[n++] = s->out;
    for (int i = 0; (slot->reads_in || act_input) && i < s->n_in; i++)
        reads[n++] = s->in[i];
    return n;
}

static void add_act(timetable *t, const thaw_top *top, const backward_act *act, thaw_port *nobody) {
    int n_in = act->step ? act->step->n_in : 0;
    thaw_port **reads = thaw_arena_array(t->arena, (size_t)n_in + MOST_READ, sizeof(thaw_port *));
    t->failed |= !reads;
    if (!reads) return;
    int n = list_reads(top, act, reads);
    add_entry(t, reads, n, act->kind == COPY ? act->to : nobody);
    if (!act->step) return;
    int outs = act->kind == MASK ? 1 : n_in;
    for (int i = 0; i < outs; i++)
        if (act->step->dx[i] && act->step->dx[i] != act->step->dy)
            add_entry(t, reads, n, act->step->dx[i]);
    /* All of them are there until the last has been written. */
    for (int i = 0; i < outs; i++)
        if (act->step->dx[i]) add_entry(t, &act->step->dx[i], 1, nobody);
}

/* Ports and gradients share one piece of memory, from birth in one pass to the last reader in
 * either. */
static thaw_status plan_memory(thaw_top *top, instance *in, thaw_arena *arena, thaw_error *err) {
    thaw_program *p = &in->program;
    int n_in = 0;
    for (int i = 0; i < p->n_steps; i++)
        n_in += p->steps[i].n_in;
    int most = 4 * p->n_steps + 4 * in->n_acts + 4 * n_in + 8;
    /* The planner numbers ports by their place in one array. */
    int n_kept = p->n_steps, n_ports = p->n_ports + n_kept + in->n_made + most;
    thaw_port *all = thaw_arena_array(arena, (size_t)n_ports, sizeof *all);
    timetable t = {.p.steps = thaw_arena_array(arena, (size_t)most, sizeof(thaw_step)),
                   .arena = arena};
    if (!all || !t.p.steps) return no_memory(err);
    memcpy(all, p->ports, (size_t)p->n_ports * sizeof *all);
    memcpy(all + p->n_ports, in->kept, (size_t)n_kept * sizeof *all);
    memcpy(all + p->n_ports + n_kept, in->made, (size_t)in->n_made * sizeof *all);
    thaw_port *nobody = all + p->n_ports + n_kept + in->n_made;
    /* load's values are the caller's, unless a device has a copy. */
    if (!device_of(top)) all[p->steps[0].out - p->ports].bytes = 0;
    /* Masks are put there before anything runs. */
    for (int k = 0; device_of(top) && k < top->n_masks; k++)
        add_entry(&t, NULL, 0, p->steps[top->masks[k].step].out);
    for (int i = 0; i < p->n_steps; i++) {
        const thaw_step *s = &p->steps[i];
        add_entry(&t, s->in, s->n_in, s->out);
        if (s->kept->bytes) add_entry(&t, s->in, s->n_in, s->kept);
        if (s->kept->bytes) add_entry(&t, (thaw_port *[]){s->out}, 1, nobody++);
    }
    thaw_port *scores = p->steps[p->n_steps - 1].out;
    add_entry(&t, (thaw_port *[]){scores}, 1, in->made); /* The loss. */
    /* What the head reads may be asked for at the end of the forward pass. */
    add_entry(&t, (thaw_port *[]){p->steps[top->features_step].out}, 1, nobody++);
    for (int i = 0; i < in->n_acts; i++)
        add_act(&t, top, &in->acts[i], nobody++);
    /* And scores at the end of both, where the loss has not read them on the host. */
    if (device_of(top)) add_entry(&t, (thaw_port *[]){scores}, 1, nobody++);
    if (t.failed) return no_memory(err);
    /* From the instance's ports to the planner's copies. */
    for (int i = 0; i < t.p.n_steps; i++) {
        thaw_step *s = &t.p.steps[i];
        for (int k = -1; k < s->n_in; k++) {
            thaw_port **port = k < 0 ? &s->out : &s->in[k];
            if (*port >= p->ports && *port < p->ports + p->n_ports)
                *port = all + (*port - p->ports);
            else if (*port >= in->kept && *port < in->kept + n_kept)
                *port = all + p->n_ports + (*port - in->kept);
            else if (*port >= in->made && *port < in->made + in->n_made)
                *port = all + p->n_ports + n_kept + (*port - in->made);
        }
    }
    t.p.ports = all;
    t.p.n_ports = n_ports;
    THAW_TRY(thaw__memory_plan(&t.p, &in->activation_bytes, err));
    for (int i = 0; i < p->n_ports; i++)
        p->ports[i].offset = all[i].offset;
    for (int i = 0; i < n_kept; i++)
        in->kept[i].offset = all[p->n_ports + i].offset;
    for (int i = 0; i < in->n_made; i++)
        in->made[i].offset = all[p->n_ports + n_kept + i].offset;
    return THAW_OK;
}

static thaw_status allocate(thaw_top *top, instance *in, thaw_error *err) {
    thaw_program *p = &in->program;
    thaw_arena arena = {0};
    thaw_status status = plan_memory(top, in, &arena, err);
    thaw_arena_free(&arena);
    THAW_TRY(status);
    for (int i = 0; i < p->n_steps; i++)
        if (p->steps[i].workspace_bytes > in->workspace_bytes)
            in->workspace_bytes = p->steps[i].workspace_bytes;
    for (int i = 0; i < in->n_acts; i++)
        if (in->acts[i].step && in->acts[i].step->workspace_bytes > in->workspace_bytes)
            in->workspace_bytes = in->acts[i].step->workspace_bytes;
    in->activations = top->backend->alloc(in->activation_bytes);
    in->workspace = top->backend->alloc(in->workspace_bytes);
    if (!in->activations || !in->workspace)
        return thaw_fail(err, THAW_ERR_NOMEM,
                         "training above this cut needs %zu MB for the activations of %lld "
                         "pictures, which there are not: freeze more, or take %s",
                         (in->activation_bytes + in->workspace_bytes) >> 20,
                         (long long)top->spec.lane,
                         device_of(top) ? "a smaller top.batch" : "fewer threads");
    for (int i = 0; i < p->n_ports; i++)
        p->ports[i].data = (char *)in->activations + p->ports[i].offset;
    for (int i = 0; i < p->n_steps; i++)
        in->kept[i].data = (char *)in->activations + in->kept[i].offset;
    for (int i = 0; i < in->n_made; i++)
        in->made[i].data = (char *)in->activations + in->made[i].offset;
    return THAW_OK;
}

/* ---- creating ------------------------------------------------------------------------------- */

/* A step's numbers of one kind, which are n; 0: there are none. */
typedef struct number_field {
    const float **at;
    int64_t n;
    int64_t place; /* In the steps' block; -1: elsewhere. */
} number_field;

enum { NUMBER_FIELDS = 6 };

static void list_fields(thaw_step *s, const thaw_step_place *p, number_field f[NUMBER_FIELDS]) {
    const thaw_conv_shape *c = &s->conv;
    bool layer = s->kind == THAW_STEP_conv || s->kind == THAW_STEP_dense;
    int64_t each = layer ? c->C / c->G * c->window.R * c->window.S : 0, C = s->out->C;
    const number_field all[NUMBER_FIELDS] = {
        {&s->w, layer ? c->K * each : s->out->H * s->out->W * C, p->w},
        {&s->b, layer ? c->K : 0, p->b},
        {&s->scale, C, p->scale},
        {&s->shift, C, p->shift},
        {&s->mean, C, p->mean},
        {&s->var, C, p->var}};
    for (int i = 0; i < NUMBER_FIELDS; i++) {
        f[i] = all[i];
        if (!*f[i].at || f[i].place >= 0) f[i].n = 0;
    }
}

/* Numbers that are not trained move to the device, each to a place of its own. */
static thaw_status move_constants(thaw_top *top, instance *in, thaw_error *err) {
    number_field fields[NUMBER_FIELDS];
    int64_t n = 0, at = 0;
    for (int i = 0; i < in->program.n_steps; i++) {
        list_fields(&in->program.steps[i], &top->params.places[i], fields);
        for (int k = 0; k < NUMBER_FIELDS; k++)
            n += (fields[k].n + 63) / 64 * 64;
    }
    in->constant_bytes = (size_t)n * sizeof(float);
    in->constants = top->backend->alloc(in->constant_bytes);
    if (!in->constants)
        return thaw_fail(err, THAW_ERR_NOMEM,
                         "training above this cut needs %zu MB of the device's memory for what is "
                         "frozen above it, which there are not: freeze more",
                         in->constant_bytes >> 20);
    for (int i = 0; i < in->program.n_steps; i++) {
        list_fields(&in->program.steps[i], &top->params.places[i], fields);
        for (int k = 0; k < NUMBER_FIELDS; k++) {
            if (fields[k].n == 0) continue;
            THAW_TRY(thaw__top_device_status(
                top,
                device_of(top)->upload(top->backend->stream, in->constants + at, *fields[k].at,
                                       (size_t)fields[k].n * sizeof(float)),
                err));
            *fields[k].at = in->constants + at;
            at += (fields[k].n + 63) / 64 * 64;
        }
    }
    return THAW_OK;
}

/* n floats where kernels write them, zero: on the host the arena's. */
static thaw_status take_block(thaw_top *top, thaw_arena *arena, float **block, thaw_error *err) {
    if (!device_of(top)) {
        *block = thaw_arena_array(arena, (size_t)top->params.n_steps, sizeof(float));
        return *block ? THAW_OK : no_memory(err);
    }
    *block = top->backend->alloc(block_bytes(top));
    if (!*block)
        return thaw_fail(err, THAW_ERR_NOMEM,
                         "training above this cut needs %zu MB of the device's memory for the "
                         "weights and as many for their gradients, which there are not: freeze "
                         "more",
                         block_bytes(top) >> 20);
    return thaw__top_device_status(
        top, device_of(top)->upload(top->backend->stream, *block, top->sum, block_bytes(top)), err);
}

static size_t numbers_of(const thaw_port *port) {
    return (size_t)(port->N * port->H * port->W * port->C);
}

static size_t larger(size_t a, size_t b) {
    return a > b ? a : b;
}

/* What only a device's instance has. */
static thaw_status take_host_side(thaw_top *top, instance *in, thaw_error *err) {
    size_t n = (size_t)(top->spec.lane * top->head.layers[top->head.n_layers - 1].K);
    if (!device_of(top)) return THAW_OK;
    in->scores = thaw_arena_array(&in->arena, n, sizeof(float));
    size_t features = numbers_of(in->program.steps[top->features_step].out), masks = 0;
    for (int k = 0; k < top->n_masks; k++)
        masks = larger(masks, numbers_of(in->program.steps[top->masks[k].step].out));
    in->features = thaw_arena_array(&in->arena, features, sizeof(float));
    in->mask = thaw_arena_array(&in->arena, masks, sizeof(float));
    if (!in->scores || !in->features || !in->mask) return no_memory(err);
    size_t rows = numbers_of(in->program.steps[0].out);
    in->brought_bytes = larger(larger(rows, features), larger(masks, n)) * sizeof(float);
    in->brought = top->backend->alloc(in->brought_bytes);
    if (!in->brought)
        return thaw_fail(
            err, THAW_ERR_NOMEM,
            "training above this cut needs %zu MB of the device's memory for a batch's "
            "features, which there are not: lower top.batch, or freeze more",
            in->brought_bytes >> 20);
    return move_constants(top, in, err);
}

static thaw_status make_instance(thaw_top *top, instance *in) {
    thaw_error *err = &in->error;
    if (in != top->instances) THAW_TRY(lower(top, in, err));
    THAW_TRY(take_block(top, &in->arena, &in->weights, err));
    in->scratch = thaw_arena_array(
        &in->arena, (size_t)top->spec.head->layers[top->head.n_layers - 1].K, sizeof(float));
    if (!in->scratch) return no_memory(err);
    THAW_TRY(take_host_side(top, in, err));
    thaw_params_bind(&top->params, &in->program, top->numbers, in->weights);
    THAW_TRY(prepare_forward(top, in, err));
    THAW_TRY(prepare_backward(top, in, err));
    THAW_TRY(allocate(top, in, err));
    return device_of(top) ? thaw__top_take_loss(top, in, err) : THAW_OK;
}

static void make_first(void *context, int i) {
    thaw_top *top = context;
    (void)i;
    make_instance(top, &top->instances[0]);
}

static void make_other(void *context, int i) {
    thaw_top *top = context;
    make_instance(top, &top->instances[1 + i]);
}

thaw_status thaw__top_error(const thaw_top *top, thaw_error *err) {
    for (int i = 0; i < top->n_instances; i++) {
        if (!top->instances[i].error.code) continue;
        if (err) *err = top->instances[i].error;
        return top->instances[i].error.code;
    }
    return THAW_OK;
}

/* The spec's head may change or go; its numbers are here. */
static thaw_status copy_head(thaw_top *top, thaw_error *err) {
    thaw_head *h = &top->head;
    *h = *top->spec.head;
    size_t D = (size_t)h->layers[0].D;
    float *params = thaw_arena_array(&top->arena, (size_t)h->n_params, sizeof *params);
    float *scale = thaw_arena_array(&top->arena, 2 * D, sizeof *scale);
    if (!params || !scale) return no_memory(err);
    memcpy(params, h->params, (size_t)h->n_params * sizeof *params);
    for (int i = 0; i < h->n_layers; i++) {
        h->layers[i].w = params + (h->layers[i].w - h->params);
        h->layers[i].b = params + (h->layers[i].b - h->params);
    }
    h->params = params;
    if (!h->mean) return THAW_OK;
    memcpy(scale, h->scale, D * sizeof *scale);
    memcpy(scale + D, h->mean, D * sizeof *scale);
    h->scale = scale;
    h->mean = scale + D;
    return THAW_OK;
}

static thaw_status create(thaw_top *top, thaw_error *err) {
    const thaw_top_spec *spec = &top->spec;
    const thaw_kernels *kernels = top->backend->kernels;
    if (spec->precision == THAW_TOP_BF16 &&
        !(device_of(top) && kernels->computes(top->backend->device, THAW_BF16)))
        return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                         "training above a cut in bf16: the %s device does not multiply it",
                         kernels->name);
    int n = top->backend->threads < spec->most_lanes ? top->backend->threads : spec->most_lanes;
    if (device_of(top)) n = 1; /* Its lanes come one after the other. */
    top->n_instances = n > 0 ? n : 1;
    top->parts = top->n_instances;
    if (device_of(top) && top->backend->threads > 1) top->parts = top->backend->threads;
    THAW_TRY(copy_head(top, err));
    top->instances =
        thaw_arena_array(&top->arena, (size_t)top->n_instances, sizeof *top->instances);
    if (!top->instances) return no_memory(err);
    THAW_TRY(lower(top, &top->instances[0], err));
    const thaw_program *p = &top->instances[0].program;
    THAW_TRY(thaw_params_init(&top->params, spec->graph, spec->to, p, spec->norm,
                              spec->first_trained, top->first_head, &top->arena, err));
    top->sum = thaw_arena_array(&top->arena, (size_t)top->params.n_steps, sizeof(float));
    size_t rows = (size_t)(spec->most_lanes * spec->lane);
    top->loss = thaw_arena_array(&top->arena, rows, sizeof *top->loss);
    top->right = thaw_arena_array(&top->arena, rows, sizeof *top->right);
    if (!top->sum || !top->loss || !top->right) return no_memory(err);
    top->numbers = top->params.steps;
    if (device_of(top)) {
        THAW_TRY(take_block(top, NULL, &top->numbers, err));
        if (!is_one_lane(top)) THAW_TRY(take_block(top, NULL, &top->total, err));
    }
    slots(top)->side_by_side(1, make_first, top);
    THAW_TRY(thaw__top_error(top, err));
    if (!top->total) top->total = top->instances[0].weights;
    slots(top)->side_by_side(top->n_instances - 1, make_other, top);
    THAW_TRY(thaw__top_error(top, err));
    const instance *in = &top->instances[0];
    const thaw_port *x = p->steps[0].out;
    top->size = (thaw_top_size){
        .D = x->H * x->W * x->C,
        .F = p->steps[top->features_step].out->C,
        .K = p->steps[p->n_steps - 1].out->C,
        .instances = top->n_instances,
        .activation_bytes = in->activation_bytes + in->workspace_bytes,
        .gradient_bytes = (size_t)top->params.n_steps * sizeof(float),
        .n_params = top->params.n,
        .n_steps = p->n_steps,
        .n_backward = in->n_acts,
    };
    return thaw_top_update(top, err);
}

static thaw_status check(const thaw_graph *graph, int from, int to, const thaw_kernels *kernels,
                         thaw_arena *arena, thaw_error *err) {
    thaw_program p;
    THAW_TRY(thaw_lower_top(graph, from, to, graph->n_nodes, 1, arena, &p, err));
    for (int i = 1; i < p.n_steps; i++) /* What reads nothing has no gradient to pass on. */
        if (p.steps[i].n_in > 0 && !kernels->training->backward[p.steps[i].kind].prepare)
            return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                             kernels->memory ? "%s (%s): the GPU has no gradient of this"
                                             : "%s (%s): there is no gradient of this",
                             p.steps[i].name, thaw_step_kind_name(p.steps[i].kind));
    return THAW_OK;
}

thaw_status thaw_top_check(const thaw_graph *graph, int from, int to, const thaw_kernels *kernels,
                           thaw_error *err) {
    thaw_arena arena = {0};
    thaw_status status = check(graph, from, to, kernels, &arena, err);
    thaw_arena_free(&arena);
    return status;
}

thaw_status thaw_top_create(thaw_top **out, const thaw_top_spec *spec, const thaw_backend *backend,
                            thaw_error *err) {
    *out = NULL;
    thaw_top *top = calloc(1, sizeof *top);
    if (!top) return no_memory(err);
    top->backend = backend;
    top->spec = *spec;
    thaw_status status = create(top, err);
    if (status == THAW_OK) *out = top;
    if (status != THAW_OK) thaw_top_free(top);
    return status;
}

static void release(const thaw_top *top, void *memory, size_t bytes) {
    if (memory) top->backend->release(memory, bytes);
}

static void release_step(const thaw_top *top, thaw_step *step) {
    void (*release_it)(thaw_step *) = slots(top)->forward[step->kind].release;
    if (release_it) release_it(step);
}

void thaw_top_free(thaw_top *top) {
    if (!top) return;
    /* What a call that failed has left in the queue may still read what goes. */
    if (device_of(top)) device_of(top)->wait(top->backend->stream);
    for (int i = 0; top->instances && i < top->n_instances; i++) {
        instance *in = &top->instances[i];
        for (int k = 0; k < in->program.n_steps; k++)
            release_step(top, &in->program.steps[k]);
        for (int k = 0; k < in->n_acts; k++)
            if (in->acts[k].kind == MASK) release_step(top, in->acts[k].step);
        for (int w = 0; device_of(top) && w < N_WAYS; w++)
            device_of(top)->release_graph(in->tapes[w].graph);
        release(top, in->activations, in->activation_bytes);
        release(top, in->workspace, in->workspace_bytes);
        release(top, in->constants, in->constant_bytes);
        release(top, in->brought, in->brought_bytes);
        release(top, in->loss, in->loss_bytes);
        if (device_of(top)) release(top, in->weights, block_bytes(top));
        thaw_arena_free(&in->arena);
    }
    if (top->weights) slots(top)->weights->destroy(top->weights);
    if (device_of(top)) {
        if (top->numbers != top->params.steps) release(top, top->numbers, block_bytes(top));
        if (!is_one_lane(top)) release(top, top->total, block_bytes(top));
    }
    thaw__top_free_loss(top);
    thaw_arena_free(&top->arena);
    free(top);
}

thaw_top_size thaw_top_measure(const thaw_top *top) {
    thaw_top_size size = top->size;
    for (int w = 0; w < N_WAYS; w++)
        size.n_graphs += top->instances[0].tapes[w].graph != NULL;
    return size;
}

thaw_params *thaw_top_params(thaw_top *top) {
    return &top->params;
}
