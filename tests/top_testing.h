/* Whole networks above a cut, with features of random pictures and a head, for the tests of the top. */
#ifndef THAW_TOP_TESTING_H
#define THAW_TOP_TESTING_H

#include "graph/cuts.h"
#include "onnx/onnx_read.h"
#include "testing.h"
#include "top/program.h"
#include "trunk/trunk.h"

enum { N = 6, K = 3, LANE = 4 };

typedef struct network {
    thaw_model model;
    thaw_cuts cuts;
    const thaw_cut *cut;
    thaw_arena arena;
    thaw_head head;
    int64_t hidden; /* Units of the head's hidden layer; 0: there is none. */
    float dropout;  /* Of what the head reads, and of these. */
    thaw_top_precision precision;
    float *x; /* [N in whole lanes, D] */
    int32_t label[N];
} network;

static network open_network(const char *name, int cut) {
    network net = {0};
    thaw_error err = {0};
    char path[512];
    snprintf(path, sizeof path, name[0] == '/' ? "%s" : TEST_MODELS "%s.onnx", name);
    if (thaw_model_read(&net.model, path, 0, 0, &err) != THAW_OK) fail_msg("%s", err.text);
    assert_int_equal(thaw_cuts_find(&net.model.graph, &net.cuts, &err), THAW_OK);
    net.cut = &net.cuts.cuts[cut < net.cuts.last ? cut : net.cuts.last];
    return net;
}

/* Features of random pictures, and a head with random weights: nothing is zero. */
static void fill(network *net, const thaw_backend *backend) {
    thaw_error err = {0};
    const thaw_model *m = &net->model;
    size_t image = (size_t)(m->height * m->width * m->channels), D = (size_t)net->cut->elements;
    uint8_t *pixels = thaw_arena_alloc(&net->arena, N * image);
    net->x = thaw_arena_array(&net->arena, 2 * LANE * D, sizeof(float));
    uint64_t random = 4;
    for (size_t i = 0; i < N * image; i++)
        pixels[i] = (uint8_t)test_random(&random);
    static const float scale[] = {1 / 64.0f, 1 / 64.0f, 1 / 64.0f}, shift[] = {-2, -2, -2};
    thaw_trunk_options options = {.batch = 2, .compute = THAW_F32, .scale = scale, .shift = shift};
    thaw_trunk *trunk;
    thaw_backend b = *backend;
    if (thaw_trunk_create(&trunk, &m->graph, net->cut, &options, &b, &err) != THAW_OK)
        fail_msg("%s", err.text);
    assert_int_equal(thaw_trunk_run(trunk, N, pixels, net->x, &err), THAW_OK);
    thaw_trunk_free(trunk);
    const thaw_cut *last = &net->cuts.cuts[net->cuts.last];
    bool pooled = thaw_cut_is_map(&m->graph, last);
    const thaw_value *to = &m->graph.values[last->value];
    int64_t F = pooled ? thaw_value_channels(to) : last->elements;
    assert_int_equal(thaw_head_init(&net->head, F, net->hidden, K, 1, &net->arena, &err), THAW_OK);
    for (int64_t i = 0; i < net->head.n_params; i++)
        net->head.params[i] = test_uniform(&random) / sqrtf((float)F);
    for (int64_t d = 0; d < F; d++) {
        net->head.mean[d] = test_uniform(&random) / 8;
        net->head.scale[d] = 1 + test_uniform(&random) / 2;
    }
    for (int i = 0; i < N; i++)
        net->label[i] = i % K;
}

static void close_network(network *net) {
    thaw_model_free(&net->model);
    thaw_arena_free(&net->arena);
}

static thaw_top_spec spec_of(const network *net, thaw_norm norm) {
    const thaw_cut *last = &net->cuts.cuts[net->cuts.last];
    return (thaw_top_spec){.graph = &net->model.graph,
                           .from = net->cut->value,
                           .to = last->value,
                           .pooled = thaw_cut_is_map(&net->model.graph, last),
                           .norm = norm,
                           .head = &net->head,
                           .dropout = net->dropout,
                           .hidden_dropout = net->dropout,
                           .precision = net->precision,
                           .lane = LANE,
                           .most_lanes = 2};
}

/* Pictures may have several classes: what each has. */
static bool several;
static float targets[2 * LANE * K];

/* The loss of row m by the scores that it had. */
static void expect_own_loss(const float *logits, const float *loss, int m) {
    double sum = 0;
    for (int k = m * K; k < (m + 1) * K; k++)
        sum += log1p(exp(targets[k] > 0 ? -(double)logits[k] : (double)logits[k]));
    if (fabs(sum - loss[m]) > 1e-5 * (1 + sum)) fail_msg("row %d: %g, not %g", m, loss[m], sum);
}

/* The loss and its gradient at the weights of the moment. */
static double gradient_at(thaw_top *top, const network *net, float *gradient) {
    thaw_error err = {0};
    float logits[2 * LANE * K], loss[2 * LANE];
    thaw_top_batch batch = {
        .M = N, .x = net->x, .label = net->label, .norm = N, .logits = logits, .loss = loss};
    if (several) batch.target = targets;
    if (thaw_top_gradient(top, &batch, gradient, &err) != THAW_OK) fail_msg("%s", err.text);
    double sum = 0;
    for (int i = 0; i < N; i++) {
        if (several) expect_own_loss(logits, loss, i);
        sum += loss[i];
    }
    return sum / N;
}

#endif
