#include "trunk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lower.h"

/* Between the host's memory and a device's: one group each. */
typedef struct staging {
    uint8_t *pixels, *pinned_pixels;   /* On the device; on the host, page-locked. */
    float *features, *pinned_features; /* The same. */
    void *graph;                       /* All steps, to be replayed. */
} staging;

struct thaw_trunk {
    thaw_arena arena; /* The plan's: steps, packed weights, layouts. */
    thaw_backend *backend;
    thaw_program program;
    thaw_trunk_size size;
    void *activations, *workspace;
    size_t image_bytes; /* Pixels of one image. */
    /* One group each, for the last images of a run that do not fill a group. */
    uint8_t *tail_pixels;
    float *tail_features;
    staging staging; /* Of a device that does not work on the host's memory. */
};

static const char *const kind_names[] = {
#define X(name, text) #name,
    THAW_STEP_LIST(X)
#undef X
};

/* ---- memory -------------------------------------------------------------------------------- */

/* A buffer and the steps between which it is in use. */
typedef struct buffer {
    size_t bytes, offset;
    int first, last;
    int owner; /* Port whose buffer this port shares (in-place steps); itself otherwise. */
} buffer;

static void find_lifetimes(const thaw_program *p, buffer *buffers) {
    for (int i = 0; i < p->n_ports; i++)
        buffers[i] = (buffer){.first = -1, .owner = i};
    for (int s = 0; s < p->n_steps; s++) {
        const thaw_step *step = &p->steps[s];
        for (int i = 0; i < step->n_in; i++) {
            buffer *in = &buffers[buffers[step->in[i] - p->ports].owner];
            if (in->last < s) in->last = s;
        }
        int out = (int)(step->out - p->ports);
        if (step->in_place) buffers[out].owner = buffers[step->in[step->n_in - 1] - p->ports].owner;
        buffer *owner = &buffers[buffers[out].owner];
        if (owner->first < 0) owner->first = s;
        owner->last = s;
        if (step->out->bytes > owner->bytes) owner->bytes = step->out->bytes;
    }
}

/* Puts each buffer, largest first, at the lowest offset where no buffer of the same time lies
 * (Pisarchyk & Lee 2020, "greedy by size"). Returns the total. */
static size_t place_buffers(buffer *buffers, int n, int *order) {
    for (int i = 0; i < n; i++) {
        int k = i;
        for (; k > 0 && buffers[order[k - 1]].bytes < buffers[i].bytes; k--)
            order[k] = order[k - 1];
        order[k] = i;
    }
    size_t total = 0;
    for (int i = 0; i < n; i++) {
        buffer *b = &buffers[order[i]];
        if (!b->bytes) continue;
        bool moved = true;
        while (moved) {
            moved = false;
            for (int k = 0; k < i; k++) {
                const buffer *o = &buffers[order[k]];
                bool together = o->bytes && o->first <= b->last && b->first <= o->last;
                if (!together || o->offset >= b->offset + b->bytes ||
                    b->offset >= o->offset + o->bytes)
                    continue;
                b->offset = (o->offset + o->bytes + 63) / 64 * 64;
                moved = true;
            }
        }
        if (b->offset + b->bytes > total) total = b->offset + b->bytes;
    }
    return total;
}

static thaw_status allocate(thaw_trunk *trunk, thaw_error *err) {
    thaw_program *p = &trunk->program;
    buffer *buffers = calloc((size_t)p->n_ports + 1, sizeof *buffers);
    int *order = calloc((size_t)p->n_ports + 1, sizeof *order);
    if (buffers && order) {
        find_lifetimes(p, buffers);
        trunk->size.activation_bytes = place_buffers(buffers, p->n_ports, order);
        trunk->activations = trunk->backend->alloc(trunk->size.activation_bytes);
        trunk->workspace = trunk->backend->alloc(trunk->size.workspace_bytes);
    }
    bool ok = trunk->activations && trunk->workspace;
    for (int i = 0; ok && i < p->n_ports; i++)
        p->ports[i].data = (char *)trunk->activations + buffers[buffers[i].owner].offset;
    free(buffers);
    free(order);
    if (ok) return THAW_OK;
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
    return thaw_fail(err, THAW_ERR_BACKEND, "%s (%s): the %s backend failed: %s (%d)",
                     step ? step->name : "trunk", step ? kind_names[step->kind] : "copy",
                     kernels->name,
                     detail && detail->text[0] ? detail->text : kernels->explain(code), code);
}

/* Computes a group, or queues it on a device. */
static thaw_status run_steps(thaw_trunk *trunk, const uint8_t *pixels, float *features,
                             thaw_error *err) {
    const thaw_kernels *kernels = trunk->backend->kernels;
    thaw_error detail = {0};
    thaw_run_context context = {trunk->backend->stream, trunk->workspace, pixels, features,
                                &detail};
    for (int i = 0; i < trunk->program.n_steps; i++) {
        const thaw_step *step = &trunk->program.steps[i];
        int code = kernels->trunk[step->kind].run(step, &context);
        if (code != 0) return native_failure(trunk, step, code, &detail, err);
    }
    return THAW_OK;
}

static size_t feature_bytes(const thaw_trunk *trunk) {
    const thaw_trunk_size *s = &trunk->size;
    return (size_t)(s->H * s->W * s->C) * sizeof(float);
}

/* The same through a device: up, all steps, down. */
static thaw_status run_on_device(thaw_trunk *trunk, const uint8_t *pixels, float *features,
                                 thaw_error *err) {
    const thaw_memory *memory = trunk->backend->kernels->memory;
    void *stream = trunk->backend->stream;
    staging *s = &trunk->staging;
    size_t N = (size_t)trunk->size.N;
    memcpy(s->pinned_pixels, pixels, N * trunk->image_bytes);
    int code = memory->upload(stream, s->pixels, s->pinned_pixels, N * trunk->image_bytes);
    if (code) return native_failure(trunk, NULL, code, NULL, err);
    if (s->graph) {
        code = memory->replay(stream, s->graph);
    } else {
        THAW_TRY(run_steps(trunk, s->pixels, s->features, err));
    }
    if (!code)
        code = memory->download(stream, s->pinned_features, s->features, N * feature_bytes(trunk));
    if (!code) code = memory->wait(stream);
    if (code) return native_failure(trunk, NULL, code, NULL, err);
    memcpy(features, s->pinned_features, N * feature_bytes(trunk));
    return THAW_OK;
}

static thaw_status run_group(thaw_trunk *trunk, const uint8_t *pixels, float *features,
                             thaw_error *err) {
    return trunk->backend->kernels->memory ? run_on_device(trunk, pixels, features, err)
                                           : run_steps(trunk, pixels, features, err);
}

/* ---- planning ------------------------------------------------------------------------------ */

static thaw_status prepare_steps(thaw_trunk *trunk, thaw_error *err) {
    thaw_plan_context context = {&trunk->arena, trunk->backend->device};
    const thaw_kernels *kernels = trunk->backend->kernels;
    size_t before = trunk->arena.used_bytes;
    for (int i = 0; i < trunk->program.n_steps; i++) {
        thaw_step *step = &trunk->program.steps[i];
        const thaw_trunk_slot *slot = &kernels->trunk[step->kind];
        if (!slot->prepare)
            return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                             "%s: the %s backend has no %s; use device = cpu", step->name,
                             kernels->name, kind_names[step->kind]);
        if (err) *err = (thaw_error){0};
        int code = slot->prepare(step, &context, err);
        if (code != 0 && err && !err->text[0])
            thaw_fail(err, THAW_ERR_BACKEND, "%s (%s): the %s backend refused it: %s (%d)",
                      step->name, kind_names[step->kind], kernels->name, kernels->explain(code),
                      code);
        if (code != 0) return err && err->code ? err->code : THAW_ERR_BACKEND;
        if (step->workspace_bytes > trunk->size.workspace_bytes)
            trunk->size.workspace_bytes = step->workspace_bytes;
    }
    trunk->size.weight_bytes = trunk->arena.used_bytes - before;
    return THAW_OK;
}

static int64_t feature_count(const thaw_trunk *trunk) {
    return trunk->size.H * trunk->size.W * trunk->size.C;
}

static thaw_status allocate_staging(thaw_trunk *trunk, thaw_error *err) {
    const thaw_memory *memory = trunk->backend->kernels->memory;
    staging *s = &trunk->staging;
    size_t pixels = (size_t)trunk->size.N * trunk->image_bytes;
    size_t features = (size_t)trunk->size.N * feature_bytes(trunk);
    int code = memory->alloc(pixels, (void **)&s->pixels);
    if (!code) code = memory->alloc(features, (void **)&s->features);
    if (!code) code = memory->alloc_pinned(pixels, (void **)&s->pinned_pixels);
    if (!code) code = memory->alloc_pinned(features, (void **)&s->pinned_features);
    if (!code) return THAW_OK;
    return thaw_fail(err, THAW_ERR_NOMEM,
                     "the trunk needs %zu MB on the device and as much of page-locked memory for "
                     "the pixels and features of %lld images (%s): lower batch",
                     (pixels + features) >> 20, (long long)trunk->size.N,
                     trunk->backend->kernels->explain(code));
}

static void release_staging(thaw_trunk *trunk) {
    const thaw_memory *memory = trunk->backend->kernels->memory;
    staging *s = &trunk->staging;
    memory->release_graph(s->graph);
    memory->release(s->pixels);
    memory->release(s->features);
    memory->release_pinned(s->pinned_pixels);
    memory->release_pinned(s->pinned_features);
    *s = (staging){0};
}

/* After a first run that nothing was wrong with: all launches as one. */
static thaw_status record_graph(thaw_trunk *trunk, thaw_error *err) {
    const thaw_memory *memory = trunk->backend->kernels->memory;
    void *stream = trunk->backend->stream;
    int code = memory->record(stream);
    if (code) return native_failure(trunk, NULL, code, NULL, err);
    thaw_status status = run_steps(trunk, trunk->staging.pixels, trunk->staging.features, err);
    code = memory->end_record(stream, &trunk->staging.graph); /* Also ends a broken one. */
    if (status == THAW_OK && code) return native_failure(trunk, NULL, code, NULL, err);
    return status;
}

/* A first run over black pictures: what a library allocates lazily is allocated now, and a kernel
 * that fails does so at plan time. */
static thaw_status warm_up(thaw_trunk *trunk, const thaw_graph *graph, thaw_error *err) {
    const int64_t *d = graph->values[graph->input].dims;
    trunk->image_bytes = (size_t)(d[1] * d[2] * d[3]);
    size_t N = (size_t)trunk->size.N, n_features = (size_t)feature_count(trunk);
    trunk->tail_pixels = thaw_arena_array(&trunk->arena, N, trunk->image_bytes);
    trunk->tail_features =
        thaw_arena_array(&trunk->arena, N, n_features * sizeof *trunk->tail_features);
    if (!trunk->tail_pixels || !trunk->tail_features)
        return thaw_fail(err, THAW_ERR_NOMEM, "not enough memory for a group of images");
    if (!trunk->backend->kernels->memory)
        return run_group(trunk, trunk->tail_pixels, trunk->tail_features, err);
    THAW_TRY(allocate_staging(trunk, err));
    THAW_TRY(run_group(trunk, trunk->tail_pixels, trunk->tail_features, err));
    return record_graph(trunk, err);
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

static thaw_status plan(thaw_trunk *trunk, const thaw_graph *graph, const thaw_cut *cut,
                        const thaw_trunk_options *options, thaw_error *err) {
    int64_t C = graph->values[graph->input].dims[graph->input_nhwc ? 3 : 1];
    float *scale = thaw_arena_array(&trunk->arena, (size_t)C, sizeof *scale);
    float *shift = thaw_arena_array(&trunk->arena, (size_t)C, sizeof *shift);
    if (!scale || !shift) return thaw_fail(err, THAW_ERR_NOMEM, "not enough memory for the trunk");
    memcpy(scale, options->scale, (size_t)C * sizeof *scale);
    memcpy(shift, options->shift, (size_t)C * sizeof *shift);
    int64_t group = 0;
    THAW_TRY(choose_group(graph, cut, options, trunk->backend, &group, err));
    THAW_TRY(thaw_lower(graph, cut->value, options->pooled, group, scale, shift, &trunk->arena,
                        &trunk->program, err));
    thaw_program_set_types(&trunk->program, options->compute, trunk->backend->kernels->one_type);
    const thaw_port *out = trunk->program.steps[trunk->program.n_steps - 1].out;
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
                          const thaw_trunk_options *options, thaw_backend *backend,
                          thaw_error *err) {
    thaw_trunk *trunk = calloc(1, sizeof *trunk);
    if (!trunk) return thaw_fail(err, THAW_ERR_NOMEM, "not enough memory for the trunk");
    trunk->backend = backend;
    thaw_status status = plan(trunk, graph, cut, options, err);
    if (status != THAW_OK) {
        thaw_trunk_free(trunk);
        return status;
    }
    *out = trunk;
    return THAW_OK;
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
    thaw_trunk_options smaller = *options;
    thaw_status status = create(out, graph, cut, &smaller, backend, err);
    /* A device's memory is what it is; the host's would only swap. */
    while (status == THAW_ERR_NOMEM && kernels->memory && smaller.batch > 1) {
        smaller.batch /= 2;
        status = create(out, graph, cut, &smaller, backend, err);
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
    if (trunk->backend->kernels->memory) release_staging(trunk);
    trunk->backend->release(trunk->activations, trunk->size.activation_bytes);
    trunk->backend->release(trunk->workspace, trunk->size.workspace_bytes);
    thaw_arena_free(&trunk->arena);
    free(trunk);
}

/* ---- running ------------------------------------------------------------------------------- */

thaw_status thaw_trunk_run(thaw_trunk *trunk, int64_t n, const uint8_t *pixels, float *features,
                           thaw_error *err) {
    int64_t N = trunk->size.N, n_features = feature_count(trunk), i = 0;
    for (; i + N <= n; i += N)
        THAW_TRY(run_group(trunk, pixels + (size_t)i * trunk->image_bytes,
                           features + i * n_features, err));
    if (i == n) return THAW_OK;
    memcpy(trunk->tail_pixels, pixels + (size_t)i * trunk->image_bytes,
           (size_t)(n - i) * trunk->image_bytes);
    THAW_TRY(run_group(trunk, trunk->tail_pixels, trunk->tail_features, err));
    memcpy(features + i * n_features, trunk->tail_features,
           (size_t)((n - i) * n_features) * sizeof *features);
    return THAW_OK;
}

thaw_trunk_size thaw_trunk_measure(const thaw_trunk *trunk) {
    return trunk->size;
}

void thaw_trunk_describe(const thaw_trunk *trunk, int i, char *text, size_t size) {
    static const char *const acts[] = {"",        " + clip",         " + leaky_relu", " + sigmoid",
                                       " + silu", " + hard_sigmoid", " + hard_swish", " + tanh",
                                       " + gelu"};
    const thaw_step *step = &trunk->program.steps[i];
    const thaw_port *y = step->out;
    char window[64] = "";
    const thaw_window *w = step->kind == THAW_STEP_pool ? &step->pool.window : &step->conv.window;
    if (step->kind == THAW_STEP_conv || step->kind == THAW_STEP_pool)
        snprintf(window, sizeof window, " %lldx%lld s%lld%s", (long long)w->R, (long long)w->S,
                 (long long)w->stride_h,
                 step->kind == THAW_STEP_conv && step->conv.G == step->conv.C ? " depthwise" : "");
    snprintf(text, size, "%s%s%s -> %lld x %lld x %lld%s%s", kind_names[step->kind], window,
             step->compute == THAW_BF16  ? " bf16"
             : step->compute == THAW_F16 ? " fp16"
                                         : "",
             (long long)y->H, (long long)y->W, (long long)y->C,
             step->epilogue.residual ? " + residual" : "", acts[step->epilogue.act]);
}
