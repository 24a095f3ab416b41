/* Reading ONNX: every file in tests/data/onnx loads, is cut where a person would cut it, and
 * computes what ONNX Runtime computes; equal functions have equal hashes.
 *
 * Tolerance: float against float, sums of at most a few thousand terms in another order: each
 * rounds by 2^-24 of its magnitude, so NMSE is near 1e-13; 1e-10 leaves room for cancellation and
 * still is 1e-5 of a feature.
 */
#include "graph/cuts.h"
#include "graph/ops.h"
#include "onnx.pb-c.h"
#include "onnx/onnx_read.h"
#include "onnx_testing.h"
#include "trunk/trunk.h"

/* ---- every file ---------------------------------------------------------------------------- */

typedef struct model_row {
    const char *file;
    int n_cuts, last; /* Cuts in the network; index of the one below the head. */
} model_row;

static const model_row models[] = {
    {"activations", 30, 29},
    {"attention", 6, 5},
    {"bn_after_conv", 4, 3},
    {"bn_alone", 10, 9},
    {"bn_training_14", 9, 7},
    {"bn_training_9", 9, 7},
    {"borders", 9, 8},
    {"cast_like", 5, 4},
    {"channel_attention", 4, 3},
    {"class_tokens", 3, 2},
    {"clip_attr_10", 5, 4},
    {"clip_attr_7", 5, 4},
    {"clip_input", 10, 9},
    {"computed_constants", 3, 2},
    {"concat", 4, 3},
    {"concat_49", 2, 1},
    {"concat_layouts", 5, 4},
    {"conv_1x7", 2, 1},
    {"conv_5x2_s13", 2, 1},
    {"conv_asymmetric", 2, 1},
    {"conv_dilated", 2, 1},
    {"conv_grey", 3, 2},
    {"conv_grouped", 7, 6},
    {"conv_no_bias", 2, 1},
    {"conv_same_lower", 2, 1},
    {"conv_same_upper", 2, 1},
    {"conv_valid", 2, 1},
    {"convnext_17", 11, 9},
    {"densenet_13", 14, 12},
    {"densenet_17_bn", 15, 13},
    {"double", 6, 4},
    {"expand", 5, 4},
    {"external", 7, 5},
    {"external_constant", 5, 3},
    {"flatten_map", 6, 4},
    {"flatten_negative", 6, 4},
    {"functions", 11, 9},
    {"gelu_tanh", 5, 4},
    {"gemm_forms", 8, 6},
    {"group_norm_18", 4, 3},
    {"group_norm_21", 4, 3},
    {"half", 6, 4},
    {"half_between_casts", 5, 3},
    {"hardswish_pattern", 5, 4},
    {"head_conv", 7, 4},
    {"head_conv_3x3", 7, 4},
    {"head_conv_relu", 9, 4},
    {"headless", 8, 7},
    {"headless_matmul", 7, 6},
    {"headless_nhwc", 3, 2},
    {"inner_axes", 9, 8},
    {"ir3", 5, 3},
    {"layer_norm_20", 10, 8},
    {"matmul_add", 11, 7},
    {"mean_attr_11", 5, 3},
    {"mean_attr_13", 5, 3},
    {"mean_input", 5, 3},
    {"mixed_orders", 7, 6},
    {"mixed_orders_alike", 6, 5},
    {"mobilenetv2_13", 18, 16},
    {"mobilenetv2_17_bn", 26, 24},
    {"mobilenetv2_9_bn", 26, 24},
    {"nhwc", 7, 3},
    {"nhwc_normalise", 6, 5},
    {"normalise", 6, 5},
    {"open_size", 5, 3},
    {"orders", 15, 14},
    {"other_norms", 16, 15},
    {"pad_attr", 4, 3},
    {"pad_axes", 3, 2},
    {"pad_input", 7, 6},
    {"parts", 9, 7},
    {"parts_18", 3, 2},
    {"parts_9", 3, 2},
    {"patches", 3, 2},
    {"place_constants", 12, 11},
    {"pool_avg", 3, 2},
    {"pool_avg_ceil", 3, 2},
    {"pool_avg_ceil_pad", 3, 2},
    {"pool_avg_ceil_pad_include", 3, 2},
    {"pool_avg_include", 3, 2},
    {"pool_avg_pad", 3, 2},
    {"pool_lowest_border", 7, 6},
    {"pool_max_ceil", 3, 2},
    {"pool_max_ceil_pad", 3, 2},
    {"pool_max_dilated", 3, 2},
    {"pool_max_pads_0022", 3, 2},
    {"pool_max_same", 3, 2},
    {"rare_activations", 31, 30},
    {"reductions", 10, 9},
    {"reductions_nhwc", 8, 6},
    {"reshape_allowzero", 6, 4},
    {"reshape_batch_1", 6, 4},
    {"reshape_chain", 6, 4},
    {"reshape_slice", 6, 4},
    {"reshape_zero_copies", 6, 4},
    {"residual_pad", 4, 3},
    {"residuals", 9, 8},
    {"resize", 11, 10},
    {"resize_10", 4, 3},
    {"resize_19", 4, 3},
    {"resize_9", 4, 3},
    {"resnet_13_bn", 15, 13},
    {"resnet_17", 14, 12},
    {"resnet_9", 14, 12},
    {"se_gate", 5, 4},
    {"selective", 4, 3},
    {"shuffles", 7, 6},
    {"silu", 7, 6},
    {"spelled_norms", 22, 21},
    {"squeeze_11", 6, 4},
    {"squeeze_13", 6, 4},
    {"squeezenet_13", 13, 9},
    {"tail", 5, 3},
    {"tokens_11", 5, 4},
    {"tokens_17", 3, 2},
    {"transform_input", 4, 3},
    {"transposed", 18, 17},
    {"two_maps", 8, 7},
    {"two_outputs", 7, 5},
    {"typed_fields", 6, 4},
    {"types", 2, 1},
    {"uint8_nhwc", 6, 4},
    {"unit_lengths", 4, 3},
    {"vector_arithmetic", 15, 13},
    {"vgg_17_bn", 13, 11},
    {"vgg_9", 11, 9},
    {"windows", 4, 3},
    {"windows_1", 7, 6},
};

static const float scale[3] = {1 / 64.0f, 1 / 64.0f, 1 / 64.0f}, shift[3] = {-2, -2, -2};

static thaw_backend backend;

static int open_backend(void **state) {
    (void)state;
    return thaw_backend_open(&backend, "cpu", 2, NULL);
}

static int close_backend(void **state) {
    (void)state;
    thaw_backend_close(&backend);
    return 0;
}

/* The cut where the named tensor, or what it is another name of, passes; NULL: none. */
static const thaw_cut *cut_at(const thaw_graph *graph, const thaw_cuts *cuts, const char *tensor) {
    for (int v = 0; v < graph->n_values; v++)
        for (int c = 0; c < cuts->n && strcmp(graph->values[v].name, tensor) == 0; c++)
            if (cuts->cuts[c].value == graph->values[v].root) return &cuts->cuts[c];
    return NULL;
}

static double distance_at(const char *file, const thaw_graph *graph, const thaw_cut *cut,
                          const test_expect *expect, const test_tap *tap) {
    thaw_trunk_options options = {
        .batch = expect->n, .compute = THAW_F32, .scale = scale, .shift = shift};
    thaw_trunk *trunk;
    thaw_error err = {0};
    if (thaw_trunk_create(&trunk, graph, cut, &options, &backend, &err) != THAW_OK) {
        print_error("%s at %s: %s\n", file, tap->name, err.text);
        return INFINITY;
    }
    thaw_trunk_size size = thaw_trunk_measure(trunk);
    bool fits = size.H * size.W * size.C == (int64_t)tap->h * tap->w * tap->c;
    size_t n = (size_t)(expect->n * size.H * size.W * size.C);
    float *got = malloc(n * sizeof *got);
    assert_non_null(got);
    for (size_t i = 0; i < n; i++)
        got[i] = NAN;
    double nmse = INFINITY;
    if (fits && thaw_trunk_run(trunk, expect->n, expect->pixels, got, &err) == THAW_OK)
        nmse = test_nmse(n, tap->values, got);
    else
        print_error("%s at %s: %s\n", file, tap->name, fits ? err.text : "has another shape");
    free(got);
    thaw_trunk_free(trunk);
    return nmse;
}

static int check_model(const model_row *row) {
    thaw_model model;
    thaw_cuts cuts;
    thaw_error err = {0};
    char path[512];
    snprintf(path, sizeof path, TEST_MODELS "%s.onnx", row->file);
    int failures = 0;
    if (thaw_model_read(&model, path, 0, 0, &err) != THAW_OK ||
        thaw_cuts_find(&model.graph, &cuts, &err) != THAW_OK) {
        print_error("%s\n", err.text);
        thaw_model_free(&model);
        return 1;
    }
    if (cuts.n != row->n_cuts || cuts.last != row->last) {
        print_error("    {\"%s\", %d, %d},\n", row->file, cuts.n, cuts.last);
        failures++;
    }
    test_expect expect = test_expect_read(row->file);
    for (int i = 0; i < expect.n_taps; i++) {
        const test_tap *tap = &expect.taps[i];
        const thaw_cut *cut = cut_at(&model.graph, &cuts, tap->name);
        if (!cut || (i == 0 && cut->index != cuts.last)) {
            print_error("%s: %s is %s; the last is %d (%s)\n", row->file, tap->name,
                        cut ? "not the last cut" : "no cut", cuts.last, cuts.cuts[cuts.last].name);
            failures++;
            continue;
        }
        double nmse = distance_at(row->file, &model.graph, cut, &expect, tap);
        if (nmse > 1e-10) {
            print_error("%s at %s: NMSE %g against ONNX Runtime\n", row->file, tap->name, nmse);
            failures++;
        }
    }
    test_expect_free(&expect);
    thaw_model_free(&model);
    return failures;
}

static void open_model(const char *file, thaw_model *model, thaw_cuts *cuts) {
    char path[512];
    snprintf(path, sizeof path, TEST_MODELS "%s.onnx", file);
    thaw_error err = {0};
    if (thaw_model_read(model, path, 0, 0, &err) != THAW_OK ||
        thaw_cuts_find(&model->graph, cuts, &err) != THAW_OK)
        fail_msg("%s", err.text);
}

static void every_file_computes_what_onnx_runtime_computes(void **state) {
    (void)state;
    int failures = 0;
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++)
        failures += check_model(&models[i]);
    assert_int_equal(failures, 0);
}

/* Whether the node makes something below marks, or is another name of it. */
static bool is_below(const thaw_graph *graph, int node, const uint8_t *marks) {
    const thaw_value *out = thaw_node_out(graph, &graph->nodes[node], 0);
    int producer = out ? graph->values[out->root].producer : -1;
    return marks[node] || (graph->nodes[node].alias && producer >= 0 && marks[producer]);
}

/* Adds to count, by the row of its operator, each node below the taps that are compared. */
static void count_operators(const char *file, int *count) {
    thaw_model model;
    thaw_cuts cuts;
    open_model(file, &model, &cuts);
    const thaw_graph *graph = &model.graph;
    test_expect expect = test_expect_read(file);
    uint8_t *marks = calloc((size_t)graph->n_nodes + 1, 1);
    assert_non_null(marks);
    for (int i = 0; i < expect.n_taps; i++) {
        const thaw_cut *cut = cut_at(graph, &cuts, expect.taps[i].name);
        if (cut) thaw_graph_mark_below(graph, cut->value, marks);
    }
    int n_ops;
    const thaw_op *const *table = thaw_op_table(&n_ops);
    for (int i = 0; i < graph->n_nodes; i++)
        for (int row = 0; row < n_ops; row++)
            count[row] += graph->nodes[i].op == table[row] && is_below(graph, i, marks);
    free(marks);
    test_expect_free(&expect);
    thaw_model_free(&model);
}

/* A row that no model goes through is a claim that nobody checks. */
static void every_operator_stands_in_a_model(void **state) {
    (void)state;
    int n_ops, count[256] = {0}, missing = 0;
    const thaw_op *const *table = thaw_op_table(&n_ops);
    assert_in_range(n_ops, 1, 256);
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++)
        count_operators(models[i].file, count);
    for (int row = 0; row < n_ops; row++) {
        if (count[row]) continue;
        print_error("no model of tests/data/onnx goes through %s\n", table[row]->type);
        missing++;
    }
    assert_int_equal(missing, 0);
}

/* ---- names, counts ------------------------------------------------------------------------- */

/* 32x32; the stem halves it twice, then two blocks at 8x8 and two at 4x4. */
static void stages_are_where_a_person_sees_them(void **state) {
    (void)state;
    static const struct {
        int cut;
        const char *stage;
    } rows[] = {{2, "stage1"}, {3, NULL},      {4, NULL},  {5, "stage2.1"},
                {6, NULL},     {7, "stage2"},  {8, NULL},  {9, "stage3.1"},
                {10, NULL},    {11, "stage3"}, {12, NULL}, {13, NULL}};
    thaw_model model;
    thaw_cuts cuts;
    open_model("resnet_17", &model, &cuts);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const thaw_cut *cut = &cuts.cuts[rows[i].cut];
        if (!rows[i].stage)
            assert_null(cut->stage);
        else
            assert_string_equal(cut->stage, rows[i].stage);
    }
    thaw_model_free(&model);
}

static void cuts_are_selected_by_any_of_their_names(void **state) {
    (void)state;
    thaw_model model;
    thaw_cuts cuts;
    open_model("resnet_17", &model, &cuts);
    static const struct {
        const char *freeze;
        int cut; /* -1: refused */
    } rows[] = {{"last", 12},
                {"none", 0},
                {"0", 0},
                {"13", 13},
                {"14", -1},
                {"-1", -1},
                {"stage2.1", 5},
                {"stage2", 7},
                {"stage9", -1},
                {"input", 0},
                {"/relu/Relu", -1},
                {"", -1},
                {"99999999999999999999", -1}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const thaw_cut *cut = NULL;
        thaw_error err = {0};
        thaw_status status = thaw_cuts_select(&model.graph, &cuts, rows[i].freeze, &cut, &err);
        assert_int_equal(status, rows[i].cut < 0 ? THAW_ERR_USAGE : THAW_OK);
        if (rows[i].cut < 0)
            assert_non_null(strstr(err.text, "freeze = "));
        else
            assert_int_equal(cut->index, rows[i].cut);
    }
    const thaw_cut *by_node = NULL, *by_tensor = NULL;
    const thaw_cut *five = &cuts.cuts[5];
    assert_int_equal(thaw_cuts_select(&model.graph, &cuts, five->name, &by_node, NULL), THAW_OK);
    assert_int_equal(thaw_cuts_select(&model.graph, &cuts, model.graph.values[five->value].name,
                                      &by_tensor, NULL),
                     THAW_OK);
    assert_ptr_equal(by_node, five);
    assert_ptr_equal(by_tensor, five);
    /* half: no cut above it leaves as much to be trained. */
    const thaw_cut *half = NULL;
    int64_t head = cuts.cuts[cuts.last].params_above, all = cuts.cuts[0].params_above - head;
    assert_int_equal(thaw_cuts_select(&model.graph, &cuts, "half", &half, NULL), THAW_OK);
    assert_in_range(half->index, 1, cuts.last - 1);
    assert_true(2 * (half->params_above - head) >= all);
    for (int c = half->index + 1; c <= cuts.last; c++)
        assert_true(2 * (cuts.cuts[c].params_above - head) < all);
    thaw_model_free(&model);
}

/* Sandler et al. 2018 give 300 M multiply-adds and 3.4 M parameters for MobileNetV2 1.0 at 224. */
static void mobilenet_v2_costs_what_its_paper_says(void **state) {
    (void)state;
    const char *path = THAW_SOURCE_DIR "/../shared/models/mobilenet_v2.onnx";
    FILE *file = fopen(path, "rb");
    if (!file) {
        print_message("SKIPPED: there is no %s\n", path);
        skip();
    }
    fclose(file);
    thaw_model model;
    thaw_cuts cuts;
    thaw_error err = {0};
    if (thaw_model_read(&model, path, 0, 0, &err) != THAW_OK ||
        thaw_cuts_find(&model.graph, &cuts, &err) != THAW_OK)
        fail_msg("%s", err.text);
    const thaw_cut *last = &cuts.cuts[cuts.last];
    assert_string_equal(model.graph.values[last->value].name, "Logits_AvgPool");
    assert_int_equal(last->elements, 1280);
    /* Twice the convolutions' multiply-adds, and one for each number that the rest makes or, in the
     * global mean, reads. */
    assert_int_equal(last->flop_below, 605373440);
    assert_int_equal(last->params_below, 2206816);
    assert_int_equal(last->params_above, 1280 * 1001 + 1001);
    thaw_model_free(&model);
}

/* ---- hashes -------------------------------------------------------------------------------- */

static thaw_hash hash_after(const char *file, test_edit *change, bool pooled) {
    size_t n;
    uint8_t *bytes = test_edited(file, change, &n);
    thaw_model model;
    thaw_cuts cuts;
    thaw_hash hash = {0};
    thaw_error err = {0};
    if (thaw_model_parse(&model, bytes, n, TEST_MODELS "edited", 0, 0, &err) != THAW_OK ||
        thaw_cuts_find(&model.graph, &cuts, &err) != THAW_OK ||
        thaw_cut_hash(&model.graph, &cuts.cuts[cuts.last], pooled, &hash, &err) != THAW_OK)
        fail_msg("%s", err.text);
    thaw_model_free(&model);
    free(bytes);
    return hash;
}

static void prefix(char **text) {
    char longer[256];
    if (!(*text)[0]) return;
    snprintf(longer, sizeof longer, "renamed/%s", *text);
    test_replace(text, longer);
}

static void rename_everything(Onnx__ModelProto *m) {
    Onnx__GraphProto *g = m->graph;
    for (size_t i = 0; i < g->n_node; i++) {
        if (g->node[i]->name) prefix(&g->node[i]->name);
        for (size_t k = 0; k < g->node[i]->n_input; k++)
            prefix(&g->node[i]->input[k]);
        for (size_t k = 0; k < g->node[i]->n_output; k++)
            prefix(&g->node[i]->output[k]);
    }
    for (size_t i = 0; i < g->n_initializer; i++)
        prefix(&g->initializer[i]->name);
    for (size_t i = 0; i < g->n_input; i++)
        prefix(&g->input[i]->name);
    for (size_t i = 0; i < g->n_output; i++)
        prefix(&g->output[i]->name);
}

/* The i-th node's weights. */
static Onnx__TensorProto *weights_of(Onnx__GraphProto *g, const char *type, bool last) {
    Onnx__TensorProto *found = NULL;
    for (size_t i = 0; i < g->n_node && (last || !found); i++)
        for (size_t k = 0; k < g->n_initializer && strcmp(g->node[i]->op_type, type) == 0; k++)
            if (strcmp(g->initializer[k]->name, g->node[i]->input[1]) == 0)
                found = g->initializer[k];
    assert_non_null(found);
    return found;
}

static void flip_a_bit_of_the_trunk(Onnx__ModelProto *m) {
    weights_of(m->graph, "Conv", true)->raw_data.data[0] ^= 1;
}

static void flip_a_bit_of_the_head(Onnx__ModelProto *m) {
    weights_of(m->graph, "Gemm", true)->raw_data.data[0] ^= 1;
}

/* Behind the first node, whose readers then read the copy. */
static void insert_identity(Onnx__ModelProto *m) {
    Onnx__GraphProto *g = m->graph;
    const char *x = g->node[0]->output[0];
    for (size_t i = 1; i < g->n_node; i++)
        for (size_t k = 0; k < g->node[i]->n_input; k++)
            if (strcmp(g->node[i]->input[k], x) == 0) test_replace(&g->node[i]->input[k], "copy");
    Onnx__NodeProto *node = malloc(sizeof *node);
    onnx__node_proto__init(node);
    node->op_type = strdup("Identity");
    node->input = malloc(sizeof(char *));
    node->output = malloc(sizeof(char *));
    node->n_input = node->n_output = 1;
    node->input[0] = strdup(x);
    node->output[0] = strdup("copy");
    g->node = realloc(g->node, (g->n_node + 1) * sizeof *g->node);
    assert_non_null(g->node);
    memmove(g->node + 2, g->node + 1, (g->n_node - 1) * sizeof *g->node);
    g->node[1] = node;
    g->n_node++;
}

static void pad_otherwise(Onnx__ModelProto *m) {
    int64_t *pads = test_attribute(m->graph, "Conv", "pads")->ints;
    pads[0]--;
    pads[2]++;
}

/* As many groups as a group had channels: all shapes of maps stay. */
static void shuffle_otherwise(Onnx__ModelProto *m) {
    int n = 0;
    for (size_t i = 0; i < m->graph->n_initializer; i++) {
        ProtobufCBinaryData *raw = &m->graph->initializer[i]->raw_data;
        int64_t dims[5];
        if (raw->len != sizeof dims) continue;
        memcpy(dims, raw->data, sizeof dims);
        int64_t groups = dims[1];
        dims[1] = dims[2], dims[2] = groups;
        memcpy(raw->data, dims, sizeof dims);
        n++;
    }
    assert_int_equal(n, 2);
}

static void hashes_name_functions(void **state) {
    (void)state;
    static const char *const files[] = {"resnet_17", "mobilenetv2_13", "densenet_13"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        const char *file = files[i];
        thaw_hash plain = hash_after(file, NULL, false);
        assert_true(thaw_hash_equal(plain, hash_after(file, NULL, false)));
        assert_true(thaw_hash_equal(plain, hash_after(file, rename_everything, false)));
        assert_true(thaw_hash_equal(plain, hash_after(file, insert_identity, false)));
        assert_true(thaw_hash_equal(plain, hash_after(file, flip_a_bit_of_the_head, false)));
        assert_false(thaw_hash_equal(plain, hash_after(file, flip_a_bit_of_the_trunk, false)));
        assert_false(thaw_hash_equal(plain, hash_after(file, pad_otherwise, false)));
        assert_false(thaw_hash_equal(plain, hash_after(file, NULL, true)));
    }
    assert_false(thaw_hash_equal(hash_after("shuffles", NULL, false),
                                 hash_after("shuffles", shuffle_otherwise, false)));
    /* The same weights for pictures of another size are another function. */
    thaw_hash small = hash_after("nhwc", NULL, false), other = hash_after("ir3", NULL, false);
    assert_false(thaw_hash_equal(small, other));
}

/* No two cuts of a network have one hash. */
static void every_cut_has_its_own_hash(void **state) {
    (void)state;
    thaw_model model;
    thaw_cuts cuts;
    open_model("mobilenetv2_17_bn", &model, &cuts);
    thaw_hash hashes[64];
    assert_in_range(cuts.n, 2, 64);
    for (int c = 0; c < cuts.n; c++) {
        assert_int_equal(thaw_cut_hash(&model.graph, &cuts.cuts[c], false, &hashes[c], NULL),
                         THAW_OK);
        for (int k = 0; k < c; k++)
            assert_false(thaw_hash_equal(hashes[c], hashes[k]));
    }
    thaw_model_free(&model);
}

/* Scores, LogSoftmax, TopK, ArgMax: the scores are the output. */
static void a_tail_without_weights_is_left_out(void **state) {
    (void)state;
    thaw_model model;
    thaw_cuts cuts;
    open_model("tail", &model, &cuts);
    const thaw_graph *graph = &model.graph;
    assert_string_equal(graph->nodes[graph->values[graph->output].producer].type, "Gemm");
    assert_non_null(graph->tail);
    assert_string_equal(graph->tail->type, "LogSoftmax");
    thaw_error err = {0};
    const char *last = graph->values[model.outputs[0]].name;
    assert_int_equal(thaw_model_choose_output(&model, last, &err), THAW_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "(ArgMax)"));
    thaw_model_free(&model);
}

/* ---- planning ------------------------------------------------------------------------------ */

/* Operators that are understood but have no kernel are refused when the trunk is planned. */
static void take_error_functions(Onnx__ModelProto *m) {
    for (size_t i = 0; i < m->graph->n_node; i++)
        if (strcmp(m->graph->node[i]->op_type, "Relu") == 0)
            test_replace(&m->graph->node[i]->op_type, "Erf");
}

static void what_cannot_be_run_is_refused_by_the_plan(void **state) {
    (void)state;
    size_t n;
    uint8_t *bytes = test_edited("resnet_17", take_error_functions, &n);
    thaw_model model;
    thaw_cuts cuts;
    thaw_error err = {0};
    assert_int_equal(thaw_model_parse(&model, bytes, n, "x.onnx", 0, 0, &err), THAW_OK);
    assert_int_equal(thaw_cuts_find(&model.graph, &cuts, &err), THAW_OK);
    thaw_trunk_options options = {.batch = 2, .compute = THAW_F32, .scale = scale, .shift = shift};
    thaw_trunk *trunk;
    assert_int_equal(
        thaw_trunk_create(&trunk, &model.graph, &cuts.cuts[cuts.last], &options, &backend, &err),
        THAW_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "(Erf): it is supported as a part of GELU only"));
    thaw_model_free(&model);
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_file_computes_what_onnx_runtime_computes),
        cmocka_unit_test(every_operator_stands_in_a_model),
        cmocka_unit_test(stages_are_where_a_person_sees_them),
        cmocka_unit_test(cuts_are_selected_by_any_of_their_names),
        cmocka_unit_test(mobilenet_v2_costs_what_its_paper_says),
        cmocka_unit_test(hashes_name_functions),
        cmocka_unit_test(every_cut_has_its_own_hash),
        cmocka_unit_test(a_tail_without_weights_is_left_out),
        cmocka_unit_test(what_cannot_be_run_is_refused_by_the_plan),
    };
    return cmocka_run_group_tests(tests, open_backend, close_backend);
}
