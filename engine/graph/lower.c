#include "lower.h"

#include "cuts.h"
#include "lowering.h"
#include "ops.h"

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "to plan the trunk");
}

/* No node makes more steps than this, and eight for each input and three for each output. */
enum { MOST_STEPS = 8, EACH_INPUT = 8 };

static size_t count_room(const thaw_lowering *l) {
    const thaw_graph *g = l->graph;
    size_t most = THAW_TOP_MORE;
    for (int i = 0; i < g->n_nodes; i++)
        if (l->marks[i] && g->nodes[i].live)
            most +=
                MOST_STEPS + EACH_INPUT * (size_t)g->nodes[i].n_in + 3 * (size_t)g->nodes[i].n_out;
    return most;
}

/* What lies below `to`, and, unless that is -1, not below `from`. */
static thaw_status mark_nodes(thaw_lowering *l, int from, int to, thaw_error *err) {
    const thaw_graph *g = l->graph;
    uint8_t *below = thaw_arena_alloc(l->arena, (size_t)g->n_nodes + 1);
    l->marks = thaw_arena_alloc(l->arena, (size_t)g->n_nodes + 1);
    if (!below || !l->marks) return no_memory(err);
    thaw_graph_mark_below(g, to, l->marks);
    if (from >= 0) thaw_graph_mark_below(g, from, below);
    for (int i = 0; i < g->n_nodes; i++)
        l->marks[i] &= !below[i];
    return THAW_OK;
}

static thaw_status take_arrays(thaw_lowering *l, int from, int to, thaw_error *err) {
    THAW_TRY(mark_nodes(l, from, to, err));
    const thaw_graph *g = l->graph;
    size_t n = (size_t)g->n_values, most = count_room(l);
    l->most = (int)most;
    l->uses = thaw_arena_array(l->arena, n, sizeof *l->uses);
    l->lowered = thaw_arena_array(l->arena, n, sizeof *l->lowered);
    l->reader = thaw_arena_array(l->arena, n, sizeof *l->reader);
    l->step = thaw_arena_array(l->arena, n, sizeof *l->step);
    l->port = thaw_arena_array(l->arena, n, sizeof(thaw_port *));
    l->last_read = thaw_arena_array(l->arena, most, sizeof *l->last_read);
    l->taken = thaw_arena_array(l->arena, most, sizeof *l->taken);
    l->folded = thaw_arena_array(l->arena, most, sizeof *l->folded);
    l->program.steps = thaw_arena_array(l->arena, most, sizeof *l->program.steps);
    l->program.ports = thaw_arena_array(l->arena, most, sizeof *l->program.ports);
    if (l->training)
        l->program.origins = thaw_arena_array(l->arena, most, sizeof *l->program.origins);
    bool all = (l->program.origins || !l->training) && l->uses && l->lowered && l->reader &&
               l->step && l->port && l->last_read && l->taken && l->folded && l->program.steps &&
               l->program.ports;
    if (!all) return no_memory(err);
    for (size_t i = 0; i < n; i++)
        l->step[i] = l->reader[i] = -1;
    return THAW_OK;
}

static void count_readers(thaw_lowering *l, int value) {
    const thaw_graph *g = l->graph;
    l->uses[value] = 1; /* The tap. */
    for (int i = 0; i < g->n_nodes; i++) {
        const thaw_node *node = &g->nodes[i];
        if (!l->marks[i] || !node->live || node->alias) continue;
        for (int k = 0; k < node->n_in; k++) {
            const thaw_value *in = thaw_node_in(g, node, k);
            if (!in || in->data) continue;
            l->uses[in->root]++;
            l->reader[in->root] = i;
        }
    }
}

static thaw_status import_pixels(thaw_lowering *l, const float *scale, const float *shift,
                                 thaw_error *err) {
    thaw_step *import = thaw__lower_step(l, THAW_STEP_import, "input", l->graph->input, 0);
    if (!import) return no_memory(err);
    import->scale = scale;
    import->shift = shift;
    return THAW_OK;
}

static thaw_status lower_nodes(thaw_lowering *l, thaw_error *err) {
    for (int i = 0; i < l->graph->n_nodes; i++) {
        const thaw_node *node = &l->graph->nodes[i];
        if (!l->marks[i] || !node->live || node->alias) continue;
        if (!node->op->lower)
            return thaw_fail(
                err, THAW_ERR_UNSUPPORTED,
                "%s (%s): Thaw cannot run this operator inside the frozen part; freeze "
                "below it",
                node->name, node->type);
        THAW_TRY(node->op->lower(l, node, err));
        thaw__lower_done(l, node);
    }
    return THAW_OK;
}

/* A last step that reads what the one before it made; pooled or as it is. */
static thaw_port *end_with(thaw_lowering *l, thaw_step_kind kind, thaw_port *from) {
    bool pool = kind == THAW_STEP_global_mean;
    thaw_step *step = thaw__lower_step(l, kind, pool ? "pool" : "export", -1, 1);
    if (!step) return NULL;
    thaw__lower_read(l, step, 0, from);
    *step->out =
        (thaw_port){.N = from->N, .C = from->C, .H = pool ? 1 : from->H, .W = pool ? 1 : from->W};
    return step->out;
}

static void leave_out_dropped(thaw_program *p) {
    int kept = 0;
    for (int i = 0; i < p->n_steps; i++) {
        if (!p->steps[i].out) continue;
        if (p->origins) p->origins[kept] = p->origins[i];
        p->steps[kept++] = p->steps[i];
    }
    p->n_steps = kept;
}

static thaw_status finish(thaw_lowering *l, int value, bool pooled, thaw_error *err) {
    thaw_program *p = &l->program;
    thaw_port *from = l->port[value];
    if (pooled) from = end_with(l, THAW_STEP_global_mean, from);
    if (from) from = end_with(l, THAW_STEP_export, from);
    if (!from) return no_memory(err);
    leave_out_dropped(p);
    return THAW_OK;
}

thaw_status thaw_lower(const thaw_graph *graph, int value, bool pooled, int64_t batch,
                       const float *scale, const float *shift, thaw_arena *arena,
                       thaw_program *program, thaw_error *err) {
    thaw_lowering l = {.graph = graph, .arena = arena, .batch = batch};
    THAW_TRY(take_arrays(&l, -1, value, err));
    count_readers(&l, value);
    THAW_TRY(import_pixels(&l, scale, shift, err));
    THAW_TRY(lower_nodes(&l, err));
    THAW_TRY(finish(&l, value, pooled, err));
    *program = l.program;
    return THAW_OK;
}

thaw_status thaw_lower_from(const thaw_graph *graph, int from, int value, bool pooled,
                            int64_t batch, thaw_arena *arena, thaw_program *program,
                            thaw_error *err) {
    thaw_lowering l = {.graph = graph, .arena = arena, .batch = batch};
    THAW_TRY(take_arrays(&l, from, value, err));
    count_readers(&l, value);
    if (!thaw__lower_step(&l, THAW_STEP_load, "record", from, 0)) return no_memory(err);
    THAW_TRY(lower_nodes(&l, err));
    THAW_TRY(finish(&l, value, pooled, err));
    *program = l.program;
    return THAW_OK;
}

/* Both parts have a first and a last step of their own, of which the whole has one each. */
thaw_status thaw_lowers_apart(const thaw_graph *graph, int from, int value, bool pooled,
                              bool *apart, thaw_error *err) {
    enum { ENDS = 2 };
    thaw_arena arena = {0};
    thaw_program whole = {0}, below = {0}, above = {0};
    thaw_status status = thaw_lower(graph, value, pooled, 1, NULL, NULL, &arena, &whole, err);
    if (status == THAW_OK)
        status = thaw_lower(graph, from, false, 1, NULL, NULL, &arena, &below, err);
    if (status == THAW_OK)
        status = thaw_lower_from(graph, from, value, pooled, 1, &arena, &above, err);
    *apart = whole.n_steps == below.n_steps + above.n_steps - ENDS;
    thaw_arena_free(&arena);
    return status;
}

thaw_status thaw_lower_top(const thaw_graph *graph, int from, int to, int batch_norms_from,
                           int64_t batch, thaw_arena *arena, thaw_program *program,
                           thaw_error *err) {
    thaw_lowering l = {.graph = graph,
                       .arena = arena,
                       .batch = batch,
                       .training = true,
                       .batch_norms_from = batch_norms_from};
    THAW_TRY(take_arrays(&l, from, to, err));
    count_readers(&l, to);
    if (!thaw__lower_step(&l, THAW_STEP_load, "features", from, 0)) return no_memory(err);
    THAW_TRY(lower_nodes(&l, err));
    leave_out_dropped(&l.program);
    *program = l.program;
    return THAW_OK;
}

/* ---- types ---------------------------------------------------------------------------------- */

static bool tolerates_bf16(const thaw_step *step) {
    enum { FEW_CHANNELS = 16 };
    bool layer = step->kind == THAW_STEP_conv || step->kind == THAW_STEP_dense;
    return layer && step->conv.C / step->conv.G >= FEW_CHANNELS &&
           step->epilogue.act != THAW_ACT_NONE;
}

void thaw_program_set_types(thaw_program *p, thaw_dtype compute, bool one_type) {
    for (int i = 0; i < p->n_steps; i++) {
        thaw_step *step = &p->steps[i];
        if (one_type) {
            step->compute = step->out->dtype = compute;
            continue;
        }
        step->compute = compute == THAW_BF16 && tolerates_bf16(step) ? THAW_BF16 : THAW_F32;
        step->out->dtype = step->epilogue.residual ? THAW_F32 : step->compute;
        /* Readers come after their producer: each may still veto. */
        for (int k = 0; k < step->n_in; k++)
            if (step->compute == THAW_F32 || k > 0) step->in[k]->dtype = THAW_F32;
    }
}
