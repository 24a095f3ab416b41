/* The top as a whole: whole networks' gradients against differences of their own losses, for every kind
 * of network, cut and BN; bits that do not depend on threads; what is frozen stays.
 *
 * Along each tensor's own gradient the loss grows by that gradient's length, which the loss a little to
 * either side tells within a part in thirty. A gradient that misses a path, adds one twice, or reads
 * memory that the planner has given to another is off by more.
 */
#include "onnx/onnx_build.h"
#include "tempdir.h"
#include "top/fit.h"
#include "top_testing.h"

/* How fast the loss grows along a segment's gradient, by central differences of length h. */
static double slope_along(thaw_top *top, const network *net, const thaw_segment *g,
                          const float *gradient, const float *start, float *unused, double h) {
    thaw_error err = {0};
    float *values = thaw_top_params(top)->values + g->offset;
    double length = 0, loss[2];
    for (int64_t i = 0; i < g->n; i++)
        length += (double)gradient[g->offset + i] * gradient[g->offset + i];
    for (int side = 0; side < 2; side++) {
        for (int64_t i = 0; i < g->n; i++)
            values[i] = (float)(start[g->offset + i] +
                                (side ? h : -h) * gradient[g->offset + i] / sqrt(length));
        assert_int_equal(thaw_top_update(top, &err), THAW_OK);
        loss[side] = gradient_at(top, net, unused);
    }
    memcpy(values, start + g->offset, (size_t)g->n * sizeof *start);
    return (loss[1] - loss[0]) / (2 * h);
}

static void expect_gradient_with(float dropout, int64_t hidden, const char *name, int cut,
                                 thaw_norm norm, const thaw_backend *backend) {
    network net = open_network(name, cut);
    net.dropout = dropout;
    net.hidden = hidden;
    fill(&net, backend);
    thaw_error err = {0};
    thaw_top *top;
    thaw_top_spec spec = spec_of(&net, norm);
    if (thaw_top_create(&top, &spec, backend, &err) != THAW_OK)
        fail_msg("%s, cut %d: %s", name, cut, err.text);
    thaw_params *p = thaw_top_params(top);
    float *gradient = thaw_arena_array(&net.arena, (size_t)p->n, sizeof *gradient);
    float *start = thaw_arena_array(&net.arena, (size_t)p->n, sizeof *start);
    float *unused = thaw_arena_array(&net.arena, (size_t)p->n, sizeof *unused);
    gradient_at(top, &net, gradient);
    memcpy(start, p->values, (size_t)p->n * sizeof *start);
    double whole = 0;
    for (int64_t i = 0; i < p->n; i++)
        whole += (double)gradient[i] * gradient[i];
    assert_true(whole > 0);
    for (int s = 0; s < p->n_segments; s++) {
        const thaw_segment *g = &p->segments[s];
        double length = 0, nearest = INFINITY;
        for (int64_t i = 0; i < g->n; i++)
            length += (double)gradient[g->offset + i] * gradient[g->offset + i];
        length = sqrt(length);
        if (length < 1e-2 * sqrt(whole) || length < 3e-3)
            continue; /* Lost in the loss's own roundings. */
        /* By how much the loss moves: more rounds less, less crosses fewer corners. */
        static const double moves[] = {1e-1, 1e-2, 1e-3, 2e-4, 5e-5, 2e-5, 5e-6};
        for (size_t m = 0; m < sizeof moves / sizeof *moves; m++) {
            double slope = slope_along(top, &net, g, gradient, start, unused, moves[m] / length);
            if (fabs(slope - length) < fabs(nearest - length)) nearest = slope;
        }
        if (fabs(nearest - length) > 0.03 * length)
            fail_msg(
                "%s above cut %d, BN %d, %s: the loss falls by %g along its gradient, which is "
                "%g long",
                name, cut, norm, g->name, nearest, length);
    }
    thaw_top_free(top);
    close_network(&net);
}

static void expect_gradient(const char *name, int cut, thaw_norm norm,
                            const thaw_backend *backend) {
    expect_gradient_with(0, 0, name, cut, norm, backend);
}

/* Outside of training every BN mode is the frozen network: what the trunk computes up to the head. */
static void expect_trunk(const char *name, const thaw_backend *backend) {
    network net = open_network(name, 0);
    fill(&net, backend);
    thaw_error err = {0};
    thaw_backend b = *backend;
    const thaw_cut *last = &net.cuts.cuts[net.cuts.last];
    thaw_trunk_options options = {
        .batch = N, .compute = THAW_F32, .pooled = thaw_cut_is_map(&net.model.graph, last)};
    float one[] = {1, 1, 1}, zero[] = {0, 0, 0};
    options.scale = one;
    options.shift = zero;
    size_t image = (size_t)net.cut->elements, n = N * (size_t)net.head.layers[0].D;
    uint8_t *pixels = thaw_arena_alloc(&net.arena, N * image);
    float *want = thaw_arena_array(&net.arena, n, sizeof *want);
    float *got = thaw_arena_array(&net.arena, n, sizeof *got);
    uint64_t random = 9;
    for (size_t i = 0; i < N * image; i++)
        pixels[i] = (uint8_t)(test_random(&random) % 5);
    thaw_trunk *trunk;
    if (thaw_trunk_create(&trunk, &net.model.graph, last, &options, &b, &err) != THAW_OK)
        fail_msg("%s", err.text);
    assert_int_equal(thaw_trunk_run(trunk, N, pixels, want, &err), THAW_OK);
    thaw_trunk_free(trunk);
    for (int norm = THAW_NORM_FROZEN; norm <= THAW_NORM_FULL; norm++) {
        thaw_top *top;
        thaw_top_spec spec = spec_of(&net, (thaw_norm)norm);
        for (size_t i = 0; i < N * image; i++)
            net.x[i] = pixels[i];
        assert_int_equal(thaw_top_create(&top, &spec, backend, &err), THAW_OK);
        assert_int_equal(thaw_top_features(top, N, net.x, got, &err), THAW_OK);
        double nmse = test_nmse(n, want, got);
        if (nmse > 1e-9) fail_msg("%s, BN %d: NMSE %g beside the trunk", name, norm, nmse);
        thaw_top_free(top);
    }
    close_network(&net);
}

/* Every kind of layer that the test models have, from the picture on, and from the middle. */
static void gradients_of_networks(void **state) {
    (void)state;
    static const char *const networks[] = {
        "resnet_17",
        "resnet_13_bn",
        "mobilenetv2_13",
        "mobilenetv2_9_bn",
        "convnext_17",
        "vgg_17_bn",
        "densenet_17_bn",
        "squeezenet_13",
        "se_gate",
        "silu",
        "shuffles",
        "parts",
        "residuals",
        "activations",
        "concat_49",
        "residual_pad",
        "pool_avg_ceil_pad_include",
        "pool_lowest_border",
        "class_tokens",
        "unit_lengths",
        "hardswish_pattern",
        "other_norms",
        "selective",
        "attention",
        "spelled_norms",
        "windows",
        "patches",
        "inner_axes",
        "transposed",
        "place_constants",
        "resize",
        "two_maps",
        "borders",
    };
    thaw_backend backend;
    thaw_error err = {0};
    assert_int_equal(thaw_backend_open(&backend, "cpu", 2, &err), THAW_OK);
#ifdef __SANITIZE_ADDRESS__
    const size_t each = 5; /* Slow, and looks for other things. */
#else
    const size_t each = 1;
#endif
    for (size_t i = 0; i < sizeof networks / sizeof *networks; i += each)
        for (int norm = THAW_NORM_FROZEN; norm <= THAW_NORM_FULL; norm++) {
            if (norm == THAW_NORM_FROZEN) expect_trunk(networks[i], &backend);
            expect_gradient(networks[i], 0, (thaw_norm)norm, &backend);
            expect_gradient(networks[i], 4, (thaw_norm)norm, &backend);
        }
    thaw_backend_close(&backend);
}

/* Scores that are sigmoids, each of its own class. */
static void gradients_of_several_classes(void **state) {
    (void)state;
    thaw_backend backend;
    thaw_error err = {0};
    assert_int_equal(thaw_backend_open(&backend, "cpu", 2, &err), THAW_OK);
    for (int i = 0; i < N * K; i++)
        targets[i] = i * i % 7 < 3; /* No row as another lane's. */
    several = true;
    expect_gradient("resnet_13_bn", 4, THAW_NORM_FROZEN, &backend);
    expect_gradient("mobilenetv2_13", 0, THAW_NORM_FROZEN, &backend);
    several = false;
    thaw_backend_close(&backend);
}

/* Sums whose addends have activations of their own, and addends that others read, too: gradients that
 * belong to several tensors at once must not be written to while one of them needs them. */
static void shared_gradients(void **state) {
    (void)state;
    tempdir place = tempdir_make();
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/shared.onnx", place.root);
    thaw_onnx_builder b = {0};
    thaw_error err = {0};
    static float w[4][8 * 8];
    uint64_t random = 11;
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 64; k++)
            w[i][k] = test_uniform(&random);
    thaw_onnx_start(&b, 20, 16);
    thaw_onnx_tensor(&b, "w0", 4, (int64_t[]){8, 3, 1, 1}, w[0]);
    thaw_onnx_tensor(&b, "w1", 4, (int64_t[]){8, 8, 1, 1}, w[1]);
    thaw_onnx_tensor(&b, "w2", 4, (int64_t[]){8, 8, 1, 1}, w[2]);
    thaw_onnx_tensor(&b, "w3", 2, (int64_t[]){3, 8}, w[3]);
    static float positive[8], high = 1;
    for (int k = 0; k < 8; k++)
        positive[k] = 1 + w[3][k] / 2;
    thaw_onnx_tensor(&b, "gamma", 1, (int64_t[]){8}, positive);
    thaw_onnx_tensor(&b, "s", 1, (int64_t[]){8}, w[1]);
    thaw_onnx_tensor(&b, "m", 1, (int64_t[]){8}, w[2]);
    thaw_onnx_tensor(&b, "var", 1, (int64_t[]){8}, positive);
    thaw_onnx_tensor(&b, "high", 0, NULL, &high); /* Behind a Relu: two activations in a row. */
    static const char *const nodes[][4] = {
        {"Conv", "x", "w0", "a1"},   {"BatchNormalization", "a1", NULL, "a2"},
        {"Relu", "a2", NULL, "a3"},  {"Clip", "a3", NULL, "a"},
        {"Conv", "a", "w1", "b0"},   {"Relu", "b0", NULL, "b"},
        {"Conv", "a", "w2", "c0"},   {"Sigmoid", "c0", NULL, "c"},
        {"Add", "b", "c", "d"},      {"Add", "d", "b", "e"},
        {"Add", "e", "a", "f0"},     {"Relu", "f0", NULL, "f"},
        {"Add", "f", "d", "g"},      {"Mul", "g", "g", "h"},
        {"Add", "h", "h", "i"},      {"GlobalAveragePool", "i", NULL, "p"},
        {"Flatten", "p", NULL, "v"},
    };
    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++) {
        const char *two[] = {nodes[i][1], nodes[i][2], NULL};
        const char *norm[] = {nodes[i][1], "gamma", "s", "m", "var", NULL};
        const char *clip[] = {nodes[i][1], "", "high", NULL};
        const char *const *in = strcmp(nodes[i][0], "Clip") == 0        ? clip
                                : strncmp(nodes[i][0], "Batch", 5) == 0 ? norm
                                                                        : two;
        thaw_onnx_node(&b, nodes[i][0], nodes[i][3], in, nodes[i][3]);
    }
    Onnx__NodeProto *gemm = thaw_onnx_node(&b, "Gemm", "y", (const char *[]){"v", "w3", NULL}, "y");
    thaw_onnx_int(&b, gemm, "transB", 1);
    thaw_onnx_ends(&b, "x", 4, (int64_t[]){1, 3, 6, 5}, "y", 2, (int64_t[]){1, 3});
    Onnx__ModelProto model;
    onnx__model_proto__init(&model);
    Onnx__OperatorSetIdProto opset, *opsets = &opset;
    onnx__operator_set_id_proto__init(&opset);
    opset.has_version = 1;
    opset.version = 17;
    model.has_ir_version = 1;
    model.ir_version = 8;
    model.n_opset_import = 1;
    model.opset_import = &opsets;
    if (thaw_onnx_save(&b, &model, path, &err) != THAW_OK) fail_msg("%s", err.text);
    thaw_arena_free(&b.arena);
    thaw_backend backend;
    assert_int_equal(thaw_backend_open(&backend, "cpu", 2, &err), THAW_OK);
    expect_trunk(path, &backend);
    expect_gradient(path, 0, THAW_NORM_FROZEN, &backend);
    expect_gradient(path, 0, THAW_NORM_FULL, &backend);
    expect_gradient(path, 1, THAW_NORM_FROZEN, &backend);
    thaw_backend_close(&backend);
    tempdir_remove(&place);
}

/* The scores of a training step in lanes of so many pictures, with a mask of this number; those outside of
 * training, which has none, into `clean`. */
static void masked_scores(const network *net, const thaw_backend *backend, int64_t lane,
                          uint64_t mask, float *logits, float *clean) {
    thaw_error err = {0};
    thaw_top *top;
    thaw_top_spec spec = spec_of(net, THAW_NORM_FROZEN);
    spec.lane = lane;
    spec.most_lanes = N;
    if (thaw_top_create(&top, &spec, backend, &err) != THAW_OK) fail_msg("%s", err.text);
    float loss[2 * LANE], *gradient = malloc((size_t)thaw_top_params(top)->n * sizeof *gradient);
    thaw_top_batch batch = {.M = N,
                            .x = net->x,
                            .label = net->label,
                            .norm = N,
                            .dropout = thaw_rng_open(1, THAW_RNG_DROPOUT, mask),
                            .logits = logits,
                            .loss = loss};
    assert_int_equal(thaw_top_gradient(top, &batch, gradient, &err), THAW_OK);
    assert_int_equal(thaw_top_forward(top, N, net->x, clean, &err), THAW_OK);
    free(gradient);
    thaw_top_free(top);
}

/* Dropout leaves out, in training alone, another share in each step and the same one whatever the lanes;
 * the mean over many steps is what it would be without. Its gradient is that of the scores it makes. */
static void dropout_leaves_out(void **state) {
    (void)state;
    enum { STEPS = 400, SCORES = N * K };
    thaw_backend backend;
    thaw_error err = {0};
    assert_int_equal(thaw_backend_open(&backend, "cpu", 2, &err), THAW_OK);
    network net = open_network("mobilenetv2_9_bn", 6);
    net.dropout = 0.25f;
    fill(&net, &backend);
    float plain[2 * LANE * K], one[2 * LANE * K], other[2 * LANE * K], clean[2 * LANE * K];
    double mean[SCORES] = {0}, square[SCORES] = {0};
    for (uint64_t step = 0; step < STEPS; step++) {
        masked_scores(&net, &backend, LANE, step, one, clean);
        for (int i = 0; i < SCORES; i++) {
            mean[i] += one[i] / STEPS;
            square[i] += (double)one[i] * one[i] / STEPS;
        }
    }
    masked_scores(&net, &backend, 1, STEPS - 1, other, clean);
    assert_memory_equal(one, other, SCORES * sizeof *one);
    net.dropout = 0;
    masked_scores(&net, &backend, LANE, 0, plain, other);
    assert_memory_equal(plain, clean, SCORES * sizeof *plain);
    assert_memory_equal(plain, other, SCORES * sizeof *plain);
    for (int i = 0; i < SCORES; i++) {
        double deviation = sqrt(square[i] - mean[i] * mean[i]);
        assert_true(deviation > 1e-3 * fabs(mean[i]));
        if (fabs(mean[i] - plain[i]) > 5 * deviation / sqrt(STEPS))
            fail_msg("the mean of score %d is %g, not %g", i, mean[i], (double)plain[i]);
    }
    close_network(&net);
    expect_gradient_with(0.25f, 0, "mobilenetv2_9_bn", 4, THAW_NORM_FULL, &backend);
    expect_gradient_with(0.25f, 0, "vgg_17_bn", 4, THAW_NORM_FROZEN, &backend);
    expect_gradient_with(0.25f, 8, "resnet_13_bn", 4, THAW_NORM_AFFINE, &backend);
    thaw_backend_close(&backend);
}

/* One thread, two, and lanes that wait for each other: the same bits. */
static void threads_do_not_change_bits(void **state) {
    (void)state;
    thaw_error err = {0};
    float *first = NULL;
    for (int threads = 1; threads <= 3; threads++) {
        thaw_backend backend;
        assert_int_equal(thaw_backend_open(&backend, "cpu", threads, &err), THAW_OK);
        network net = open_network("resnet_13_bn", 0);
        fill(&net, &backend);
        thaw_top *top;
        thaw_top_spec spec = spec_of(&net, THAW_NORM_AFFINE);
        spec.lane = 1;
        spec.most_lanes = N;
        assert_int_equal(thaw_top_create(&top, &spec, &backend, &err), THAW_OK);
        thaw_params *p = thaw_top_params(top);
        float *gradient = malloc((size_t)p->n * sizeof *gradient);
        gradient_at(top, &net, gradient);
        if (first) assert_memory_equal(first, gradient, (size_t)p->n * sizeof *gradient);
        if (first) free(gradient);
        if (!first) first = gradient;
        thaw_top_free(top);
        close_network(&net);
        thaw_backend_close(&backend);
    }
    free(first);
}

/* Nothing below the first trained node has a segment, and the frozen function's hash stays. */
static void what_is_frozen_stays(void **state) {
    (void)state;
    thaw_error err = {0};
    thaw_backend backend;
    assert_int_equal(thaw_backend_open(&backend, "cpu", 2, &err), THAW_OK);
    network net = open_network("mobilenetv2_9_bn", 6);
    fill(&net, &backend);
    thaw_hash before, after, whole_before, whole_after;
    const thaw_cut *last = &net.cuts.cuts[net.cuts.last];
    thaw_graph *graph = &net.model.graph;
    assert_int_equal(thaw_cut_hash(graph, net.cut, false, &before, &err), THAW_OK);
    assert_int_equal(thaw_cut_hash(graph, last, false, &whole_before, &err), THAW_OK);
    for (int norm = THAW_NORM_FROZEN; norm <= THAW_NORM_FULL; norm++) {
        thaw_top *top;
        thaw_top_spec spec = spec_of(&net, (thaw_norm)norm);
        assert_int_equal(thaw_top_create(&top, &spec, &backend, &err), THAW_OK);
        thaw_params *p = thaw_top_params(top);
        for (int s = 0; s < p->n_segments; s++)
            assert_true(p->segments[s].node > net.cut->node);
        for (int64_t i = 0; i < p->n; i++)
            p->values[i] += 0.5f;
        for (int64_t i = 0; i < p->n_running; i++)
            p->running[i] += 0.5f;
        assert_int_equal(thaw_params_store(p, graph, &net.arena, &err), THAW_OK);
        assert_int_equal(thaw_cut_hash(graph, net.cut, false, &after, &err), THAW_OK);
        assert_memory_equal(&before, &after, sizeof before);
        assert_int_equal(thaw_cut_hash(graph, last, false, &whole_after, &err), THAW_OK);
        assert_memory_not_equal(&whole_before, &whole_after, sizeof before);
        thaw_top_free(top);
    }
    close_network(&net);
    thaw_backend_close(&backend);
}

/* Memory that will not do: how much is wanted, and which cut would do. */
static void what_does_not_fit_is_said(void **state) {
    (void)state;
    network net = open_network("mobilenetv2_13", 1);
    const thaw_cut *cuts = net.cuts.cuts, *last = &cuts[net.cuts.last];
    thaw_backend backend;
    thaw_error err = {0};
    assert_int_equal(thaw_backend_cpu_open(&backend, 2, &err), THAW_OK);
    thaw_tune_job job = {.backend = &backend,
                         .graph = &net.model.graph,
                         .from = net.cut->value,
                         .to = last->value,
                         .pooled = thaw_cut_is_map(&net.model.graph, last),
                         .options = {.batch = 64},
                         .head = {.K = K}};
    size_t bytes, more, higher;
    assert_int_equal(thaw_fit_bytes(&job, &bytes, &err), THAW_OK);
    backend.threads = 4;
    assert_int_equal(thaw_fit_bytes(&job, &more, &err), THAW_OK);
    assert_true(more > bytes);
    backend.threads = 2;
    job.options.norm = THAW_NORM_FULL;
    assert_int_equal(thaw_fit_bytes(&job, &more, &err), THAW_OK);
    assert_true(more > bytes);
    job.options.norm = THAW_NORM_FROZEN;
    assert_int_equal(thaw_fit_check(&job, &net.cuts, net.cut, bytes, &err), THAW_OK);
    assert_int_equal(thaw_fit_check(&job, &net.cuts, net.cut, 1000, &err), THAW_ERR_NOMEM);
    assert_non_null(strstr(err.text, "above every other cut it does, too: freeze = last"));
    assert_int_equal(thaw_fit_check(&job, &net.cuts, net.cut, bytes - 1, &err), THAW_ERR_NOMEM);
    const char *named = strstr(err.text, "are free: freeze = ");
    if (!named) fail_msg("%s", err.text);
    int index = atoi(named + 19);
    assert_in_range(index, net.cut->index + 1, net.cuts.last - 1);
    job.from = cuts[index].value;
    assert_int_equal(thaw_fit_bytes(&job, &higher, &err), THAW_OK);
    assert_true(higher < bytes);
    thaw_backend_close(&backend);
    close_network(&net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_of_networks), cmocka_unit_test(gradients_of_several_classes),
        cmocka_unit_test(shared_gradients),      cmocka_unit_test(threads_do_not_change_bits),
        cmocka_unit_test(what_is_frozen_stays),  cmocka_unit_test(what_does_not_fit_is_said),
        cmocka_unit_test(dropout_leaves_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
