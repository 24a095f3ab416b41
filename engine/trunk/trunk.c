#include "trunk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "graph/lower.h"
#include "memory_plan.h"

/* What a batch needs on its way through a device. There are two, so that one batch's copies overlap
 * the other's kernels; activations are shared, so kernels follow each other. */
enum { LANES = 2 };

enum stage { QUEUED, UPLOADED, STARTED, COMPUTED, DOWNLOADED, N_STAGES };

typedef struct lane {
    void *stream;
    uint8_t *pixels;       /* A group, on the device. */
    float *features;       /* A group's, on the device. */
    float *downloaded;     /* A batch's, in page-locked memory of the host. */
    void *graph;           /* All steps, to be replayed. */
    void *event[N_STAGES]; /* Of the last batch, STARTED of its first group. */
} lane;

struct thaw_trunk {
    thaw_arena arena; /* The plan's: steps, packed weights, layouts. */
    thaw_backend *backend;
    thaw_program program;
    thaw_trunk_size size;
    void *activations, *workspace;
    size_t image_bytes; /* Pixels of one image. */
    /* One group each, for the last images of a run that do not fill a group. pixels: black, and of no
     * use where the trunk begins at a cut. */
    uint8_t *tail_pixels;
    float *tail_features;
    /* Batches that were submitted and collected, counted without end. */
    uint64_t submitted, collected;
    float *computed;   /* The last batch's features, where kernels work on the host's memory. */
    double times[2];   /* When its computation began and ended. */
    lane lanes[LANES]; /* Where kernels work on a device's. Batch i takes lane i % LANES. */
    void *origin;      /* An event from which the others' times are counted. */
    double origin_s;   /* When it was, by the host's clock. */
};

/* ---- memory -------------------------------------------------------------------------------- */

static thaw_status allocate(thaw_trunk *trunk, thaw_error *err) {
    thaw_program *p = &trunk->program;
    THAW_TRY(thaw__memory_plan(p, &trunk->size.activation_bytes, err));
    trunk->activations = trunk->backend->alloc(trunk->size.activation_bytes);
    trunk->workspace = trunk->backend->alloc(trunk->size.workspace_bytes);
    for (int i = 0; trunk->activations && i < p->n_ports; i++)
        p->ports[i].data = (char *)trunk->activations + p->ports[i].offset;
    if (trunk->activations && trunk->workspace) return THAW_OK;
    return thaw_fail(
        err, THAW_ERR_NOMEM,
        "the trunk needs %zu MB for activations and %zu MB of workspace at batch %lld, "
        "which the device does not have: lower batch",
        trunk->size.activation_bytes >> 20, trunk->size.workspace_bytes >> 20,
        (long long)trunk->size.N);
}

/* ---- one group ----------------------------------------------------------------------------- */

static thaw_status native_failure(const thaw_trunk *trunk, const thaw_step *step, int code,
                                  const thaw_error *detail, thaw_error *err) {
    const thaw_kernels *kernels = trunk->backend->kernels;
    return thaw_fail(err, THAW_ERR_BACKEND, "%s (%s): %s failed: %s (%d)",
                     step ? step->name : "trunk", step ? thaw_step_kind_name(step->kind) : "copy",
                     kernels->describe ? kernels->describe(trunk->backend->device) : "the CPU",
                     detail && detail->text[0] ? detail->text : kernels->explain(code), code);
}

/* Computes a group, or queues it on a device. */
static thaw_status run_steps(thaw_trunk *trunk, void *stream, const uint8_t *pixels,
                             float *features, thaw_error *err) {
    const thaw_kernels *kernels = trunk->backend->kernels;
    thaw_error detail = {0};
    thaw_run_context context = {.stream = stream,
                                .workspace = trunk->workspace,
                                .pixels = pixels,
                                .features = features,
                                .err = &detail};
    for (int i = 0; i < trunk->program.n_steps; i++) {
        const thaw_step *step = &trunk->program.steps[i];
        int code = kernels->trunk[step->kind].run(step, &context);
        if (code != 0) return native_failure(trunk, step, code, &detail, err);
    }
    return THAW_OK;
}

static int64_t feature_count(const thaw_trunk *trunk) {
    return trunk->size.H * trunk->size.W * trunk->size.C;
}

static size_t feature_bytes(const thaw_trunk *trunk) {
    return (size_t)feature_count(trunk) * sizeof(float);
}

/* ---- a batch on its way through a device ---------------------------------------------------- */

/* A group of n images: up, all steps, down. Those behind n are what lay there before. */
static int queue_group(thaw_trunk *trunk, lane *l, int64_t n, const uint8_t *pixels,
                       float *downloaded, bool first, thaw_error *err) {
    const thaw_memory *memory = trunk->backend->kernels->memory;
    const lane *other = &trunk->lanes[l == trunk->lanes];
    int code = memory->upload(l->stream, l->pixels, pixels, (size_t)n * trunk->image_bytes);
    if (!code && first) code = memory->mark(l->stream, l->event[UPLOADED]);
    if (!code) code = memory->follow(l->stream, other->event[COMPUTED]);
    if (!code && first) code = memory->mark(l->stream, l->event[STARTED]);
    if (!code && l->graph) code = memory->replay(l->stream, l->graph);
    if (!code && !l->graph && run_steps(trunk, l->stream, l->pixels, l->features, err) != THAW_OK)
        return -1; /* Which has said why. */
    if (!code) code = memory->mark(l->stream, l->event[COMPUTED]);
    if (!code)
        code =
            memory->download(l->stream, downloaded, l->features, (size_t)n * feature_bytes(trunk));
    return code;
}

static thaw_status queue_batch(thaw_trunk *trunk, lane *l, int64_t n, const uint8_t *pixels,
                               thaw_error *err) {
    const thaw_memory *memory = trunk->backend->kernels->memory;
    int64_t N = trunk->size.N;
    int code = memory->mark(l->stream, l->event[QUEUED]);
    for (int64_t i = 0; i < n && !code; i += N) {
        int64_t M = n - i < N ? n - i : N;
        code = queue_group(trunk, l, M, pixels + (size_t)i * trunk->image_bytes,
                           l->downloaded + i * feature_count(trunk), i == 0, err);
    }
    if (!code) code = memory->mark(l->stream, l->event[DOWNLOADED]);
    if (code == -1) return THAW_ERR_BACKEND;
    return code ? native_failure(trunk, NULL, code, NULL, err) : THAW_OK;
}

/* ---- planning ------------------------------------------------------------------------------ */

static thaw_status prepare_steps(thaw_trunk *trunk, thaw_error *err) {
    thaw_plan_context context = {.arena = &trunk->arena, .device = trunk->backend->device};
    const thaw_kernels *kernels = trunk->backend->kernels;
    size_t before = trunk->arena.used_bytes;
    for (int i = 0; i < trunk->program.n_steps; i++) {
        thaw_step *step = &trunk->program.steps[i];
        const thaw_trunk_slot *slot = &kernels->trunk[step->kind];
        if (!slot->prepare)
            return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                             "%s: the %s backend has no %s; use device = cpu", step->name,
                             kernels->name, thaw_step_kind_name(step->kind));
        if (err) *err = (thaw_error){0};
        int code = slot->prepare(step, &context, err);
        if (code != 0 && err && !err->text[0])
            thaw_fail(err, THAW_ERR_BACKEND, "%s (%s): the %s backend refused it: %s (%d)",
                      step->name, thaw_step_kind_name(step->kind), kernels->name,
                      kernels->explain(code), code);
        if (code != 0) return err && err->code ? err->code : THAW_ERR_BACKEND;
        if (step->workspace_bytes > trunk->size.workspace_bytes)
            trunk->size.workspace_bytes = step->workspace_bytes;
    }
    trunk->size.weight_bytes = trunk->arena.used_bytes - before;
    return THAW_OK;
}

static thaw_status open_lane(thaw_trunk *trunk, lane *l, thaw_error *err) {
    const thaw_memory *memory = trunk->backend->kernels->memory;
    size_t pixels = (size_t)trunk->size.N * trunk->image_bytes;
    size_t features = (size_t)trunk->size.N * feature_bytes(trunk);
    size_t downloaded = (size_t)trunk->size.batch * feature_bytes(trunk);
    int code = memory->open_stream(&l->stream);
    for (int i = 0; i < N_STAGES && !code; i++)
        code = memory->create_event(&l->event[i]);
    if (code) return native_failure(trunk, NULL, code, NULL, err);
    code = memory->alloc(pixels, (void **)&l->pixels);
    if (!code) code = memory->alloc(features, (void **)&l->features);
    if (!code) code = memory->alloc_pinned(downloaded, (void **)&l->downloaded);
    if (!code) return THAW_OK;
    return thaw_fail(err, THAW_ERR_NOMEM,
                     "the trunk needs %zu MB on the device and %zu MB of page-locked memory for "
                     "the pixels and features of two batches of %lld images (%s): lower batch",
                     2 * (pixels + features) >> 20, 2 * downloaded >> 20,
                     (long long)trunk->size.batch, trunk->backend->kernels->explain(code));
}

static void close_lane(thaw_trunk *trunk, lane *l) {
    const thaw_memory *memory = trunk->backend->kernels->memory;
    if (l->stream) memory->wait(l->stream); /* Nobody's memory is written to from here on. */
    memory->close_stream(l->stream);
    for (int i = 0; i < N_STAGES; i++)
        memory->release_event(l->event[i]);
    memory->release_graph(l->graph);
    memory->release(l->pixels);
    memory->release(l->features);
    memory->release_pinned(l->downloaded);
}

/* All launches as one. */
static thaw_status record_graph(thaw_trunk *trunk, lane *l, thaw_error *err) {
    const thaw_memory *memory = trunk->backend->kernels->memory;
    int code = memory->record(l->stream);
    if (code) return native_failure(trunk, NULL, code, NULL, err);
    thaw_status status = run_steps(trunk, l->stream, l->pixels, l->features, err);
    code = memory->end_record(l->stream, &l->graph); /* Also ends a broken one. */
    if (status == THAW_OK && code) return native_failure(trunk, NULL, code, NULL, err);
    return status;
}

/* What its events' times are told from. */
static thaw_status set_origin(thaw_trunk *trunk, thaw_error *err) {
    const thaw_memory *memory = trunk->backend->kernels->memory;
    int code = memory->create_event(&trunk->origin);
    if (!code) code = memory->mark(trunk->lanes[0].stream, trunk->origin);
    if (!code) code = memory->reach(trunk->origin);
    trunk->origin_s = thaw_now_s();
    return code ? native_failure(trunk, NULL, code, NULL, err) : THAW_OK;
}

/* Each lane's first batch is one of black pictures: its graph is made after a run that nothing was
 * wrong with. */
static thaw_status open_lanes(thaw_trunk *trunk, thaw_error *err) {
    float *features;
    for (int i = 0; i < LANES; i++)
        THAW_TRY(open_lane(trunk, &trunk->lanes[i], err));
    THAW_TRY(set_origin(trunk, err));
    for (int i = 0; i < LANES; i++) {
        THAW_TRY(thaw_trunk_submit(trunk, trunk->size.N, trunk->tail_pixels, err));
        THAW_TRY(thaw_trunk_collect(trunk, &features, NULL, err));
        THAW_TRY(record_graph(trunk, &trunk->lanes[i], err));
    }
    return THAW_OK;
}

/* A first run over black pictures: what a library allocates lazily is allocated now, and a kernel
 * that fails does so at plan time. */
static thaw_status warm_up(thaw_trunk *trunk, const thaw_graph *graph, thaw_error *err) {
    const int64_t *d = graph->values[graph->input].dims;
    trunk->image_bytes = (size_t)(d[1] * d[2] * d[3]);
    size_t N = (size_t)trunk->size.N;
    trunk->tail_pixels = thaw_arena_array(&trunk->arena, N, trunk->image_bytes);
    if (!trunk->tail_pixels) return thaw_fail_memory(err, "for a group of images");
    if (trunk->backend->kernels->memory) return open_lanes(trunk, err);
    trunk->tail_features = thaw_arena_array(&trunk->arena, N, feature_bytes(trunk));
    trunk->computed =
        thaw_arena_array(&trunk->arena, (size_t)trunk->size.batch, feature_bytes(trunk));
    if (!trunk->tail_features || !trunk->computed)
        return thaw_fail_memory(err, "for a batch of features");
    thaw_step *first = &trunk->program.steps[0];
    if (first->kind == THAW_STEP_load) {
        const thaw_port *in = first->out;
        memset(in->data, 0, (size_t)(in->N * in->H * in->W * in->C) * sizeof(float));
    }
    return run_steps(trunk, trunk->backend->stream, trunk->tail_pixels, trunk->tail_features, err);
}

/* Images that go through together: as many as the cache holds the activations of, but enough to
 * keep all threads busy where a layer has few rows. */
static thaw_status choose_group(const thaw_graph *graph, const thaw_cut *cut,
                                const thaw_trunk_options *options, const thaw_backend *backend,
                                int64_t *group, thaw_error *err) {
    if (options->batch < 1) return thaw_fail(err, THAW_ERR_USAGE, "batch must be at least 1");
    *group = options->batch;
    if (!backend->cache_bytes || options->batch == 1) return THAW_OK;
    /* The widest pair of neighbours in the graph is what must be in cache at once. */
    int64_t widest = 1;
    for (int i = 0; i <= cut->node; i++) {
        const thaw_node *node = &graph->nodes[i];
        const thaw_value *x = thaw_node_in(graph, node, 0), *y = thaw_node_out(graph, node, 0);
        if (!node->live || node->alias || !x || x->data) continue;
        int64_t pair = thaw_value_elements(x) + thaw_value_elements(y);
        if (pair > widest) widest = pair;
    }
    int64_t fits = (int64_t)(backend->cache_bytes / 2 / sizeof(float)) / widest;
    int64_t least = (backend->threads + 3) / 4;
    if (fits < least) fits = least;
    if (fits < *group) *group = fits;
    return THAW_OK;
}

/* batch: of a submit; options->batch may be less, for want of memory. */
static thaw_status plan(thaw_trunk *trunk, const thaw_graph *graph, const thaw_cut *cut,
                        const thaw_trunk_options *options, int64_t batch, thaw_error *err) {
    int64_t C = graph->values[graph->input].dims[graph->input_nhwc ? 3 : 1];
    float *scale = thaw_arena_array(&trunk->arena, (size_t)C, sizeof *scale);
    float *shift = thaw_arena_array(&trunk->arena, (size_t)C, sizeof *shift);
    if (!scale || !shift) return thaw_fail_memory(err, "for the trunk");
    memcpy(scale, options->scale, (size_t)C * sizeof *scale);
    memcpy(shift, options->shift, (size_t)C * sizeof *shift);
    int64_t group = 0;
    THAW_TRY(choose_group(graph, cut, options, trunk->backend, &group, err));
    if (options->from)
        THAW_TRY(thaw_lower_from(graph, options->from->value, cut->value, options->pooled, group,
                                 &trunk->arena, &trunk->program, err));
    else
        THAW_TRY(thaw_lower(graph, cut->value, options->pooled, group, scale, shift, &trunk->arena,
                            &trunk->program, err));
    thaw_program_set_types(&trunk->program, options->compute, trunk->backend->kernels->one_type);
    const thaw_port *out = trunk->program.steps[trunk->program.n_steps - 1].out;
    trunk->size.batch = batch;
    trunk->size.lanes = trunk->backend->kernels->memory ? LANES : 1;
    trunk->size.N = out->N;
    trunk->size.H = out->H;
    trunk->size.W = out->W;
    trunk->size.C = out->C;
    trunk->size.n_steps = trunk->program.n_steps;
    THAW_TRY(prepare_steps(trunk, err));
    THAW_TRY(allocate(trunk, err));
    return warm_up(trunk, graph, err);
}

static thaw_status create(thaw_trunk **out, const thaw_graph *graph, const thaw_cut *cut,
                          const thaw_trunk_options *options, int64_t batch, thaw_backend *backend,
                          thaw_error *err) {
    thaw_trunk *trunk = calloc(1, sizeof *trunk);
    if (!trunk) return thaw_fail_memory(err, "for the trunk");
    trunk->backend = backend;
    thaw_status status = plan(trunk, graph, cut, options, batch, err);
    if (status != THAW_OK) {
        thaw_trunk_free(trunk);
        return status;
    }
    *out = trunk;
    return THAW_OK;
}

static thaw_status check_from(const thaw_graph *graph, const thaw_cut *cut,
                              const thaw_trunk_options *options, const thaw_backend *backend,
                              thaw_error *err) {
    if (backend->kernels->memory)
        return thaw_fail(err, THAW_ERR_UNSUPPORTED, "on a GPU trunks begin with pixels");
    bool apart = options->apart;
    if (apart) return THAW_OK;
    THAW_TRY(
        thaw_lowers_apart(graph, options->from->value, cut->value, options->pooled, &apart, err));
    if (apart) return THAW_OK;
    return thaw_fail(err, THAW_ERR_UNSUPPORTED, "a step spans %s", options->from->name);
}

thaw_status thaw_trunk_create(thaw_trunk **out, const thaw_graph *graph, const thaw_cut *cut,
                              const thaw_trunk_options *options, thaw_backend *backend,
                              thaw_error *err) {
    *out = NULL;
    const thaw_kernels *kernels = backend->kernels;
    if (!kernels->computes(backend->device, options->compute))
        return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                         "precision = %s: this %s does not multiply it; use %s",
                         thaw_dtype_name(options->compute), kernels->memory ? "GPU" : "processor",
                         kernels->computes(backend->device, THAW_F32) ? "fp32" : "fp16");
    if (options->from) THAW_TRY(check_from(graph, cut, options, backend, err));
    thaw_trunk_options smaller = *options;
    thaw_status status = create(out, graph, cut, &smaller, options->batch, backend, err);
    /* A device's memory is what it is; the host's would only swap. */
    while (status == THAW_ERR_NOMEM && kernels->memory && smaller.batch > 1) {
        smaller.batch /= 2;
        status = create(out, graph, cut, &smaller, options->batch, backend, err);
    }
    return status;
}

void thaw_trunk_free(thaw_trunk *trunk) {
    if (!trunk) return;
    for (int i = 0; i < trunk->program.n_steps; i++) {
        thaw_step *step = &trunk->program.steps[i];
        const thaw_trunk_slot *slot = &trunk->backend->kernels->trunk[step->kind];
        if (slot->release) slot->release(step);
    }
    for (int i = 0; i < LANES && trunk->backend->kernels->memory; i++)
        close_lane(trunk, &trunk->lanes[i]);
    if (trunk->origin) trunk->backend->kernels->memory->release_event(trunk->origin);
    trunk->backend->release(trunk->activations, trunk->size.activation_bytes);
    trunk->backend->release(trunk->workspace, trunk->size.workspace_bytes);
    thaw_arena_free(&trunk->arena);
    free(trunk);
}

/* ---- running ------------------------------------------------------------------------------- */

/* Where kernels work on the host's memory. */
static thaw_status run_on_host(thaw_trunk *trunk, int64_t n, const uint8_t *pixels, float *features,
                               thaw_error *err) {
    int64_t N = trunk->size.N, n_features = feature_count(trunk), i = 0;
    void *stream = trunk->backend->stream;
    for (; i + N <= n; i += N)
        THAW_TRY(run_steps(trunk, stream, pixels + (size_t)i * trunk->image_bytes,
                           features + i * n_features, err));
    if (i == n) return THAW_OK;
    memcpy(trunk->tail_pixels, pixels + (size_t)i * trunk->image_bytes,
           (size_t)(n - i) * trunk->image_bytes);
    THAW_TRY(run_steps(trunk, stream, trunk->tail_pixels, trunk->tail_features, err));
    memcpy(features + i * n_features, trunk->tail_features,
           (size_t)((n - i) * n_features) * sizeof *features);
    return THAW_OK;
}

thaw_status thaw_trunk_run_from(thaw_trunk *trunk, int64_t n, const float *x, float *features,
                                thaw_error *err) {
    const thaw_port *in = trunk->program.steps[0].out;
    int64_t N = trunk->size.N, D = in->H * in->W * in->C, n_features = feature_count(trunk);
    for (int64_t i = 0; i < n; i += N) {
        int64_t M = n - i < N ? n - i : N;
        memcpy(in->data, x + i * D, (size_t)(M * D) * sizeof *x);
        float *to = M == N ? features + i * n_features : trunk->tail_features;
        THAW_TRY(run_steps(trunk, trunk->backend->stream, NULL, to, err));
        if (M < N) memcpy(features + i * n_features, to, (size_t)(M * n_features) * sizeof *to);
    }
    return THAW_OK;
}

thaw_status thaw_trunk_submit(thaw_trunk *trunk, int64_t n, const uint8_t *pixels,
                              thaw_error *err) {
    uint64_t i = trunk->submitted++;
    if (trunk->backend->kernels->memory)
        return queue_batch(trunk, &trunk->lanes[i % LANES], n, pixels, err);
    trunk->times[0] = thaw_now_s();
    THAW_TRY(run_on_host(trunk, n, pixels, trunk->computed, err));
    trunk->times[1] = thaw_now_s();
    return THAW_OK;
}

/* By the host's clock. */
static int tell_times(const thaw_trunk *trunk, const lane *l, thaw_trunk_times *times) {
    const thaw_memory *memory = trunk->backend->kernels->memory;
    double s[N_STAGES];
    for (int i = 0; i < N_STAGES; i++) {
        float ms = 0;
        int code = memory->between(trunk->origin, l->event[i], &ms);
        if (code) return code;
        s[i] = trunk->origin_s + 1e-3 * (double)ms;
    }
    *times = (thaw_trunk_times){
        {s[QUEUED], s[UPLOADED]}, {s[STARTED], s[COMPUTED]}, {s[COMPUTED], s[DOWNLOADED]}};
    return 0;
}

thaw_status thaw_trunk_collect(thaw_trunk *trunk, float **features, thaw_trunk_times *times,
                               thaw_error *err) {
    const thaw_memory *memory = trunk->backend->kernels->memory;
    const lane *l = &trunk->lanes[trunk->collected++ % LANES];
    const double *t = trunk->times;
    if (!memory) {
        *features = trunk->computed;
        if (times) *times = (thaw_trunk_times){{t[0], t[0]}, {t[0], t[1]}, {t[1], t[1]}};
        return THAW_OK;
    }
    int code = memory->reach(l->event[DOWNLOADED]);
    if (!code && times) code = tell_times(trunk, l, times);
    *features = l->downloaded;
    return code ? native_failure(trunk, NULL, code, NULL, err) : THAW_OK;
}

static thaw_status run_on_device(thaw_trunk *trunk, int64_t n, const uint8_t *pixels,
                                 float *features, thaw_error *err) {
    int64_t batch = trunk->size.batch, submitted = 0;
    for (int64_t i = 0; i < n; i += batch) {
        float *some;
        for (; submitted < n && submitted < i + LANES * batch; submitted += batch)
            THAW_TRY(thaw_trunk_submit(trunk, n - submitted < batch ? n - submitted : batch,
                                       pixels + (size_t)submitted * trunk->image_bytes, err));
        THAW_TRY(thaw_trunk_collect(trunk, &some, NULL, err));
        memcpy(features + i * feature_count(trunk), some,
               (size_t)(n - i < batch ? n - i : batch) * feature_bytes(trunk));
    }
    return THAW_OK;
}

thaw_status thaw_trunk_run(thaw_trunk *trunk, int64_t n, const uint8_t *pixels, float *features,
                           thaw_error *err) {
    return trunk->backend->kernels->memory ? run_on_device(trunk, n, pixels, features, err)
                                           : run_on_host(trunk, n, pixels, features, err);
}

thaw_trunk_size thaw_trunk_measure(const thaw_trunk *trunk) {
    return trunk->size;
}

bool thaw_trunk_explain(const thaw_trunk *trunk, int i, thaw_step_plan *plan) {
    const thaw_backend *backend = trunk->backend;
    if (!backend->kernels->explain_step) return false;
    backend->kernels->explain_step(&trunk->program.steps[i], backend->device, plan);
    return true;
}

void thaw_trunk_describe(const thaw_trunk *trunk, int i, char *text, size_t size) {
    const thaw_step *step = &trunk->program.steps[i];
    const thaw_port *y = step->out;
    char window[64] = "";
    const thaw_window *w = step->kind == THAW_STEP_pool ? &step->pool.window : &step->conv.window;
    if (step->kind == THAW_STEP_conv || step->kind == THAW_STEP_pool)
        snprintf(window, sizeof window, " %lldx%lld s%lld%s", (long long)w->R, (long long)w->S,
                 (long long)w->stride_h,
                 step->kind == THAW_STEP_conv && step->conv.G == step->conv.C ? " depthwise" : "");
    snprintf(text, size, "%s%s%s -> %lld x %lld x %lld%s%s%s", thaw_step_kind_name(step->kind),
             window,
             step->compute == THAW_BF16  ? " bf16"
             : step->compute == THAW_F16 ? " fp16"
                                         : "",
             (long long)y->H, (long long)y->W, (long long)y->C,
             step->epilogue.residual ? " + residual" : "",
             step->epilogue.act == THAW_ACT_NONE ? "" : " + ", thaw_act_name(step->epilogue.act));
}
