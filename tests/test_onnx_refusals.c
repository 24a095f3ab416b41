/* ONNX files that Thaw cannot read are refused with one sentence, before they cost much. */
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "file.h"
#include "onnx/onnx_read.h"
#include "onnx_testing.h"
#include "tempdir.h"

/* ---- one wrong fact ------------------------------------------------------------------------ */

static Onnx__ValueInfoProto *input_of(Onnx__ModelProto *m) {
    return m->graph->input[0];
}

static void unknown_operators(Onnx__ModelProto *m) {
    Onnx__GraphProto *g = m->graph;
    for (size_t i = 0; i < g->n_node; i++)
        if (strcmp(g->node[i]->op_type, "Relu") == 0)
            test_replace(&g->node[i]->op_type, i < 2 ? "Hardmax" : "Det");
}

static void other_domain(Onnx__ModelProto *m) {
    m->graph->node[0]->domain = strdup("com.microsoft");
}

static void two_inputs(Onnx__ModelProto *m) {
    Onnx__GraphProto *g = m->graph;
    g->input = realloc(g->input, (g->n_input + 1) * sizeof *g->input);
    assert_non_null(g->input);
    Onnx__ValueInfoProto *info = malloc(sizeof *info);
    onnx__value_info_proto__init(info);
    info->name = strdup("mask");
    g->input[g->n_input++] = info;
}

static void two_channels(Onnx__ModelProto *m) {
    input_of(m)->type->tensor_type->shape->dim[1]->dim_value = 2;
}

static void three_dimensions(Onnx__ModelProto *m) {
    Onnx__TensorShapeProto *shape = input_of(m)->type->tensor_type->shape;
    protobuf_c_message_free_unpacked(&shape->dim[--shape->n_dim]->base, NULL);
}

static void open_channels(Onnx__ModelProto *m) {
    Onnx__TensorShapeProto *shape = input_of(m)->type->tensor_type->shape;
    static const char *const names[] = {"batch", "depth", "", NULL};
    for (size_t i = 0; i < 4; i++) {
        Onnx__TensorShapeProto__Dimension *d = shape->dim[i];
        if (d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM)
            free(d->dim_param);
        d->value_case = names[i] ? ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM
                                 : ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE__NOT_SET;
        d->dim_param = names[i] ? strdup(names[i]) : NULL;
    }
}

static void too_small(Onnx__ModelProto *m) {
    Onnx__TensorShapeProto *shape = input_of(m)->type->tensor_type->shape;
    shape->dim[2]->dim_value = shape->dim[3]->dim_value = 2;
}

static void too_large(Onnx__ModelProto *m) {
    input_of(m)->type->tensor_type->shape->dim[2]->dim_value = INT64_C(1) << 40;
}

static void no_input(Onnx__ModelProto *m) {
    onnx__value_info_proto__free_unpacked(m->graph->input[--m->graph->n_input], NULL);
}

static void opset_6(Onnx__ModelProto *m) {
    m->opset_import[0]->version = 6;
}

static void opset_27(Onnx__ModelProto *m) {
    m->opset_import[0]->version = 27;
}

static void no_opset(Onnx__ModelProto *m) {
    onnx__operator_set_id_proto__free_unpacked(m->opset_import[--m->n_opset_import], NULL);
}

static void no_graph(Onnx__ModelProto *m) {
    onnx__graph_proto__free_unpacked(m->graph, NULL);
    m->graph = NULL;
}

static void external_at(Onnx__ModelProto *m, const char *key, const char *value) {
    Onnx__TensorProto *t = m->graph->initializer[0];
    for (size_t i = 0; i < t->n_external_data; i++)
        if (strcmp(t->external_data[i]->key, key) == 0) {
            test_replace(&t->external_data[i]->value, value);
            return;
        }
    fail_msg("no %s", key);
}

static void external_above(Onnx__ModelProto *m) {
    external_at(m, "location", "../external.bin");
}

static void external_above_in_the_middle(Onnx__ModelProto *m) {
    external_at(m, "location", "a/../../external.bin");
}

static void external_absolute(Onnx__ModelProto *m) {
    external_at(m, "location", "/etc/hostname");
}

static void external_missing(Onnx__ModelProto *m) {
    external_at(m, "location", "weights.bin");
}

static void external_folder(Onnx__ModelProto *m) {
    external_at(m, "location", ".");
}

static void external_past_the_end(Onnx__ModelProto *m) {
    external_at(m, "offset", "1000000");
}

static void external_offset_huge(Onnx__ModelProto *m) {
    external_at(m, "offset", "18446744073709551000");
}

static void external_length_short(Onnx__ModelProto *m) {
    external_at(m, "length", "3");
}

/* The tensor that the first node of a type has as input i. */
static Onnx__TensorProto *tensor_of(Onnx__ModelProto *m, const char *type, size_t i) {
    Onnx__GraphProto *g = m->graph;
    size_t n = 0;
    while (n < g->n_node && strcmp(g->node[n]->op_type, type) != 0)
        n++;
    for (size_t k = 0; k < g->n_initializer && n < g->n_node; k++)
        if (strcmp(g->initializer[k]->name, g->node[n]->input[i]) == 0) return g->initializer[k];
    fail_msg("no %s has a constant input %zu", type, i);
    return NULL;
}

/* The same of the first node, a convolution. */
static Onnx__TensorProto *input_tensor(Onnx__ModelProto *m, size_t i) {
    return tensor_of(m, "Conv", i);
}

static void set_float(Onnx__TensorProto *t, size_t i, float value) {
    memcpy(t->raw_data.data + i * sizeof value, &value, sizeof value);
}

static void nan_among_the_weights(Onnx__ModelProto *m) {
    set_float(input_tensor(m, 1), 7, NAN);
}

static void infinite_bias(Onnx__ModelProto *m) {
    set_float(input_tensor(m, 2), 5, -INFINITY);
}

static void negative_variance(Onnx__ModelProto *m) {
    set_float(tensor_of(m, "BatchNormalization", 4), 1, -0.25f);
}

static void bias_too_short(Onnx__ModelProto *m) {
    Onnx__TensorProto *bias = input_tensor(m, 2);
    bias->dims[0]--;
    bias->raw_data.len -= sizeof(float);
}

static void int16_weights(Onnx__ModelProto *m) {
    input_tensor(m, 1)->data_type = 5;
}

static void fewer_values_than_declared(Onnx__ModelProto *m) {
    input_tensor(m, 1)->raw_data.len -= 4;
}

static void declared_2_to_the_40(Onnx__ModelProto *m) {
    input_tensor(m, 1)->dims[0] = INT64_C(1) << 40;
}

static void declared_more_than_addresses(Onnx__ModelProto *m) {
    input_tensor(m, 1)->dims[0] = input_tensor(m, 1)->dims[1] = INT64_C(1) << 40;
}

static void declared_negative(Onnx__ModelProto *m) {
    input_tensor(m, 1)->dims[0] = -6;
}

static void declared_as_the_batch(Onnx__ModelProto *m) {
    input_tensor(m, 2)->dims[0] = THAW_BATCH;
}

static void other_channels(Onnx__ModelProto *m) {
    int64_t *dims = input_tensor(m, 1)->dims;
    dims[0] *= dims[1];
    dims[1] = 1;
}

static void same_name_twice(Onnx__ModelProto *m) {
    test_replace(&m->graph->node[1]->output[0], m->graph->node[0]->output[0]);
}

static void reads_what_nobody_makes(Onnx__ModelProto *m) {
    test_replace(&m->graph->node[1]->input[0], "nowhere");
}

static void no_such_output(Onnx__ModelProto *m) {
    test_replace(&m->graph->output[0]->name, "nowhere");
}

static void constant_output(Onnx__ModelProto *m) {
    test_replace(&m->graph->output[0]->name, m->graph->initializer[0]->name);
}

static void wrapping_pad(Onnx__ModelProto *m) {
    Onnx__AttributeProto *a = test_attribute(m->graph, "Pad", "pads");
    Onnx__NodeProto *pad = m->graph->node[0];
    Onnx__AttributeProto *mode = malloc(sizeof *mode);
    onnx__attribute_proto__init(mode);
    mode->name = strdup("mode");
    mode->has_s = 1;
    mode->s.data = (uint8_t *)strdup("wrap");
    mode->s.len = 4;
    assert_ptr_equal(pad->attribute[0], a);
    pad->attribute = realloc(pad->attribute, 4 * sizeof *pad->attribute);
    pad->attribute[pad->n_attribute++] = mode;
}

static void negative_pad(Onnx__ModelProto *m) {
    test_attribute(m->graph, "Pad", "pads")->ints[2] = -15;
}

/* -inf around what a mean reads, +inf, and a border of the channels: each makes numbers that are none. */
static void mean_of_a_lowest_border(Onnx__ModelProto *m) {
    test_replace(&m->graph->node[3]->op_type, "AveragePool");
}

static void highest_border(Onnx__ModelProto *m) {
    set_float(tensor_of(m, "Pad", 2), 0, INFINITY);
}

static void lowest_border_of_channels(Onnx__ModelProto *m) {
    const int64_t one = 1;
    memcpy(tensor_of(m, "Pad", 1)->raw_data.data + sizeof one, &one, sizeof one);
}

/* What is there for each picture meets no map there. */
static void token_by_itself(Onnx__ModelProto *m) {
    for (size_t i = 0; i < m->graph->n_node; i++) {
        Onnx__NodeProto *node = m->graph->node[i];
        if (strcmp(node->op_type, "Tile") != 0) continue;
        for (size_t k = i; k < m->graph->n_node; k++)
            if (strcmp(m->graph->node[k]->input[m->graph->node[k]->n_input - 1], node->output[0]) ==
                0)
                test_replace(&m->graph->node[k]->op_type, "Mul");
    }
}

static void enormous_pad(Onnx__ModelProto *m) {
    int64_t *pads = test_attribute(m->graph, "Pad", "pads")->ints;
    pads[2] = pads[3] = pads[6] = pads[7] = INT32_MAX;
}

static void mean_over_pictures(Onnx__ModelProto *m) {
    test_attribute(m->graph, "ReduceMean", "axes")->ints[0] = 0;
}

static void transposed_gemm(Onnx__ModelProto *m) {
    Onnx__AttributeProto *a = test_attribute(m->graph, "Gemm", "transB");
    test_replace(&a->name, "transA");
}

static void quantised_features(Onnx__ModelProto *m) {
    Onnx__GraphProto *g = m->graph;
    for (size_t i = 0; i < g->n_node; i++)
        if (strcmp(g->node[i]->op_type, "Relu") == 0)
            test_replace(&g->node[i]->op_type, "QuantizeLinear");
}

static void windows_of_5(Onnx__ModelProto *m) {
    int64_t sizes[6];
    Onnx__TensorProto *t = tensor_of(m, "Reshape", 1);
    assert_int_equal(t->raw_data.len, sizeof sizes);
    memcpy(sizes, t->raw_data.data, sizeof sizes);
    sizes[3] = 5;
    memcpy(t->raw_data.data, sizes, sizeof sizes);
}

static void pooled_windows(Onnx__ModelProto *m) {
    Onnx__GraphProto *g = m->graph;
    for (size_t i = 0; i < g->n_node; i++)
        if (strcmp(g->node[i]->op_type, "LayerNormalization") == 0)
            test_replace(&g->node[i]->op_type, "GlobalAveragePool");
}

/* Of its maps one lies N,H,W,C in memory, and another only has these for its sizes. */
static void joined_in_two_orders(Onnx__ModelProto *m) {
    Onnx__GraphProto *g = m->graph;
    for (size_t i = 0; i < g->n_node; i++)
        if (strcmp(g->node[i]->op_type, "Sum") == 0) test_replace(&g->node[i]->op_type, "Concat");
}

static void sum_over_pictures(Onnx__ModelProto *m) {
    int64_t batch = 0;
    memcpy(tensor_of(m, "CumSum", 1)->raw_data.data, &batch, sizeof batch);
}

static void other_channels_transposed(Onnx__ModelProto *m) {
    test_attribute(m->graph, "ConvTranspose", "group")->i = 3;
}

static void place_too_far(Onnx__ModelProto *m) {
    int64_t far = 18;
    memcpy(tensor_of(m, "GatherND", 1)->raw_data.data, &far, sizeof far);
}

static void numbers_of_other_pictures(Onnx__ModelProto *m) {
    Onnx__GraphProto *g = m->graph; /* The second of two that each has: not where it begins. */
    for (size_t i = 0; i < g->n_node; i++)
        if (strcmp(g->node[i]->op_type, "Range") == 0) {
            for (size_t k = 0; k < g->n_initializer; k++)
                if (strcmp(g->initializer[k]->name, g->node[i + 1]->input[1]) == 0)
                    g->initializer[k]->raw_data.data[0] = 1;
            return;
        }
    fail_msg("no Range");
}

static void stride_0(Onnx__ModelProto *m) {
    test_attribute(m->graph, "Conv", "strides")->ints[0] = 0;
}

static void window_in_the_padding(Onnx__ModelProto *m) {
    test_attribute(m->graph, "MaxPool", "pads")->ints[2] = 3;
}

static void shorten(Onnx__TensorProto *bias) {
    bias->dims[0]--;
    bias->raw_data.len -= sizeof(float);
}

/* The biases of the first two convolutions and of the classifier, a group, and numbers in two layers. */
static void many_tensors(Onnx__ModelProto *m) {
    Onnx__GraphProto *g = m->graph;
    size_t n_conv = 0;
    for (size_t i = 0; i < g->n_node; i++) {
        bool conv = strcmp(g->node[i]->op_type, "Conv") == 0,
             gemm = strcmp(g->node[i]->op_type, "Gemm") == 0;
        size_t which = conv ? n_conv++ : 9;
        for (size_t k = 0; k < g->n_initializer && (conv || gemm); k++) {
            Onnx__TensorProto *t = g->initializer[k];
            bool bias = strcmp(t->name, g->node[i]->input[2]) == 0;
            bool weights = strcmp(t->name, g->node[i]->input[1]) == 0;
            if (bias && (which < 2 || gemm)) shorten(t);
            if (weights && (which == 3 || which == 4)) set_float(t, 0, NAN);
        }
    }
    test_attribute(g, "Conv", "group")->i = 3; /* Of the first: it goes with its bias. */
}

static void many_operators_and_more(Onnx__ModelProto *m) {
    many_tensors(m);
    Onnx__GraphProto *g = m->graph;
    for (size_t i = 6; i < g->n_node; i++)
        if (strcmp(g->node[i]->op_type, "Add") == 0) test_replace(&g->node[i]->op_type, "Det");
}

static void function_without_end(Onnx__ModelProto *m) {
    Onnx__NodeProto *node = m->functions[0]->node[0];
    test_replace(&node->op_type, "leaky");
    test_replace(&node->domain, m->functions[0]->domain);
}

static void functions_swapped(Onnx__ModelProto *m) {
    test_replace(&m->functions[0]->name, "layer");
    test_replace(&m->functions[1]->name, "leaky");
}

static void function_of_another_opset(Onnx__ModelProto *m) {
    m->functions[0]->opset_import[0]->version = 17;
}

static void function_elsewhere(Onnx__ModelProto *m) {
    test_replace(&m->functions[0]->domain, "other.layers");
}

/* Twice as many calls each time that they are replaced. */
static void functions_that_grow(Onnx__ModelProto *m) {
    Onnx__FunctionProto *layer = m->functions[1];
    for (size_t i = 0; i < layer->n_node; i += 3) { /* Conv, Mul. */
        test_replace(&layer->node[i]->op_type, "layer");
        test_replace(&layer->node[i]->domain, layer->domain);
    }
}

static void damaged_initializers(Onnx__ModelProto *m) {
    for (size_t k = 0; k < 12; k++)
        m->graph->initializer[k]->raw_data.len -= 4;
    m->graph->initializer[12]->data_type = 8; /* Texts. */
}

static const struct {
    const char *what, *file;
    test_edit *change;
    thaw_status status;
    const char *says;
} refusals[] = {
    {"operators", "resnet_17", unknown_operators, THAW_ERR_UNSUPPORTED,
     "Hardmax (1, first at node /stem/stem.2/Relu), Det (8, first at node"},
    {"domain", "resnet_17", other_domain, THAW_ERR_UNSUPPORTED, "Conv (1, "},
    {"two inputs", "resnet_17", two_inputs, THAW_ERR_UNSUPPORTED, "more than one input (x, mask)"},
    {"two channels", "conv_valid", two_channels, THAW_ERR_UNSUPPORTED, "has 2 channels"},
    {"open channels", "conv_valid", open_channels, THAW_ERR_UNSUPPORTED,
     "takes batch x depth x ? x ? and does not say how many channels"},
    {"three dimensions", "conv_valid", three_dimensions, THAW_ERR_UNSUPPORTED, "four dimensions"},
    {"too small", "conv_valid", too_small, THAW_ERR_SHAPE, "3 x 3 is larger than the 2 x 2 input"},
    {"too large", "conv_valid", too_large, THAW_ERR_UNSUPPORTED, "larger than 16384 pixels"},
    {"no input", "conv_valid", no_input, THAW_ERR_FORMAT, "no input"},
    {"opset 6", "conv_valid", opset_6, THAW_ERR_UNSUPPORTED, "opset 6; Thaw reads opsets 7 to 26"},
    {"opset 27", "conv_valid", opset_27, THAW_ERR_UNSUPPORTED, "opset 27"},
    {"no opset", "conv_valid", no_opset, THAW_ERR_FORMAT, "is not an ONNX model"},
    {"no graph", "conv_valid", no_graph, THAW_ERR_FORMAT, "is not an ONNX model"},
    {"external ..", "external", external_above, THAW_ERR_FORMAT, "only files in the model's own"},
    {"external a/../..", "external", external_above_in_the_middle, THAW_ERR_FORMAT, "own folder"},
    {"external /", "external", external_absolute, THAW_ERR_FORMAT, "\"/etc/hostname\""},
    {"external missing", "external", external_missing, THAW_ERR_IO, "weights.bin, which cannot"},
    {"external folder", "external", external_folder, THAW_ERR_IO, "not a file"},
    {"external end", "external", external_past_the_end, THAW_ERR_FORMAT, "ends before tensor"},
    {"external offset", "external", external_offset_huge, THAW_ERR_FORMAT, "offset or length"},
    {"external length", "external", external_length_short, THAW_ERR_FORMAT, "offset or length"},
    {"bias", "conv_valid", bias_too_short, THAW_ERR_SHAPE, "constant float tensor of 6 values"},
    {"int16", "conv_valid", int16_weights, THAW_ERR_UNSUPPORTED, "element type 5"},
    {"fewer", "conv_valid", fewer_values_than_declared, THAW_ERR_FORMAT, "should hold 162 values"},
    {"2^40", "conv_valid", declared_2_to_the_40, THAW_ERR_FORMAT, "the file is damaged"},
    {"2^80", "conv_valid", declared_more_than_addresses, THAW_ERR_FORMAT, "impossible size"},
    {"negative", "conv_valid", declared_negative, THAW_ERR_FORMAT, "impossible size"},
    {"batch", "conv_valid", declared_as_the_batch, THAW_ERR_FORMAT, "impossible size"},
    {"channels", "conv_valid", other_channels, THAW_ERR_SHAPE,
     "N x 3 x 11 x 13 and 18 x 1 x 3 x 3"},
    {"same name", "resnet_17", same_name_twice, THAW_ERR_FORMAT, "two tensors are called"},
    {"unmade", "resnet_17", reads_what_nobody_makes, THAW_ERR_FORMAT, "nowhere, which nothing"},
    {"no output", "resnet_17", no_such_output, THAW_ERR_FORMAT, "output nowhere is made by no"},
    {"constant", "resnet_17", constant_output, THAW_ERR_FORMAT, "does not depend on its input"},
    {"wrap", "pad_attr", wrapping_pad, THAW_ERR_UNSUPPORTED, "of mode reflect or edge"},
    {"negative pad", "pad_attr", negative_pad, THAW_ERR_UNSUPPORTED, "nothing of the picture"},
    {"enormous pad", "pad_attr", enormous_pad, THAW_ERR_SHAPE, "empty or too large"},
    {"mean", "mean_attr_11", mean_over_pictures, THAW_ERR_UNSUPPORTED, "the batch is one"},
    {"transA", "gemm_forms", transposed_gemm, THAW_ERR_UNSUPPORTED, "transA"},
    {"quantised", "resnet_17", quantised_features, THAW_ERR_UNSUPPORTED,
     "export the model that it was made from"},
    {"windows", "windows", windows_of_5, THAW_ERR_SHAPE, "shapes do not fit"},
    {"pooled windows", "windows", pooled_windows, THAW_ERR_SHAPE,
     "windows or heads of all pictures in a row with the batch"},
    {"two orders", "mixed_orders", joined_in_two_orders, THAW_ERR_UNSUPPORTED,
     "joins a map that was turned to N,H,W,C and one that was made so"},
    {"sum", "transposed", sum_over_pictures, THAW_ERR_UNSUPPORTED, "its axis is the batch"},
    {"transposed", "transposed", other_channels_transposed, THAW_ERR_SHAPE, "shapes do not fit"},
    {"place", "inner_axes", place_too_far, THAW_ERR_SHAPE, "shapes do not fit"},
    {"other pictures", "inner_axes", numbers_of_other_pictures, THAW_ERR_UNSUPPORTED,
     "constants, or some of the batch"},
    {"function without end", "functions", function_without_end, THAW_ERR_UNSUPPORTED,
     "call one another without an end"},
    {"functions swapped", "functions", functions_swapped, THAW_ERR_FORMAT,
     "calls the function layer with 3 inputs for 2 outputs, and it has 1 and 1"},
    {"function of another opset", "functions", function_of_another_opset, THAW_ERR_UNSUPPORTED,
     "its function leaky is of opset 17, and the file of 18"},
    {"functions that grow", "functions", functions_that_grow, THAW_ERR_UNSUPPORTED,
     "in the place of their calls it has more than 65536 nodes"},
    {"function elsewhere", "functions", function_elsewhere, THAW_ERR_UNSUPPORTED, "leaky"},
    {"stride 0", "conv_same_upper", stride_0, THAW_ERR_UNSUPPORTED, "its window is not one"},
    {"nan", "conv_valid", nan_among_the_weights, THAW_ERR_FORMAT,
     "tensor c0, which node Conv_1 (Conv) reads, holds nan as its number 7"},
    {"infinity", "conv_valid", infinite_bias, THAW_ERR_FORMAT, "holds -inf as its number 5"},
    {"token", "class_tokens", token_by_itself, THAW_ERR_UNSUPPORTED,
     "(Tile): makes a constant of the size of the batch"},
    {"lowest border, mean", "pool_lowest_border", mean_of_a_lowest_border, THAW_ERR_UNSUPPORTED,
     "Pad_2 (Pad): the border must be a finite number, or of mode reflect or edge, or -inf around"},
    {"highest border", "pool_lowest_border", highest_border, THAW_ERR_UNSUPPORTED,
     "Pad_2 (Pad): the border must be a finite number"},
    {"lowest border, channels", "pool_lowest_border", lowest_border_of_channels,
     THAW_ERR_UNSUPPORTED, "Pad_2 (Pad): the border must be a finite number"},
    {"variance", "bn_after_conv", negative_variance, THAW_ERR_FORMAT,
     "(BatchNormalization) reads, holds -0.25 as its number 1, where a variance"},
    {"window", "vgg_9", window_in_the_padding, THAW_ERR_UNSUPPORTED, "padding alone"},
};

/* Of all that stands against a file, the list is whole: kinds with their first, and how many more. */
static const struct {
    const char *what;
    test_edit *change;
    thaw_status status;
    const char *says[5];
} lists[] = {
    {"tensors",
     many_tensors,
     THAW_ERR_SHAPE,
     {"5 things stand against it: (1) /stem/stem.0/Conv (Conv): group = 3 does not divide the 3",
      "; (2) /blocks/blocks.0/",
      "(Conv): input 2 must be a constant float tensor of 8 values, the file has 7",
      "(3) /fc/Gemm (Gemm): its bias must be a constant vector of 5 values, the file has 4",
      "holds nan as its number 0"}},
    {"operators",
     many_operators_and_more,
     THAW_ERR_UNSUPPORTED,
     {"(1) the model uses operators that Thaw does not have: Det (4, first at node "
      "/blocks/blocks.0/Add); ",
      "(2) /stem/stem.0/Conv", "(4) tensor ", " (and the same of ", NULL}},
    {"initializers",
     damaged_initializers,
     THAW_ERR_FORMAT,
     {"13 things stand against it: (1) ", "should hold ", "(and the same of ", " more); (2) ",
      "has element type 8"}},
};

/* One sentence, which names the file. */
static bool is_refused(const char *what, const void *bytes, size_t n, thaw_status status,
                       const char *says) {
    thaw_model model;
    thaw_error err = {0};
    thaw_status got = thaw_model_parse(&model, bytes, n, TEST_MODELS "x.onnx", 0, 0, &err);
    thaw_model_free(&model);
    bool ok = got == status && err.code == status && strstr(err.text, says) &&
              strstr(err.text, "x.onnx") && !strchr(err.text, '\n');
    if (!ok)
        print_error("%s: status %d (should be %d), \"%s\" (should say \"%s\")\n", what, got, status,
                    got ? err.text : "", says);
    /* A caller that does not want the words gets the same status. */
    got = thaw_model_parse(&model, bytes, n, TEST_MODELS "x.onnx", 0, 0, NULL);
    thaw_model_free(&model);
    return ok && got == status;
}

static void all_that_stands_against_a_file_is_told_at_once(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        size_t n;
        uint8_t *bytes = test_edited("resnet_17", lists[i].change, &n);
        for (size_t k = 0; k < 5 && lists[i].says[k]; k++)
            assert_true(is_refused(lists[i].what, bytes, n, lists[i].status, lists[i].says[k]));
        free(bytes);
    }
}

static void what_cannot_be_read_is_refused_in_one_sentence(void **state) {
    (void)state;
    int failures = 0;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        size_t n;
        uint8_t *bytes = test_edited(refusals[i].file, refusals[i].change, &n);
        failures += !is_refused(refusals[i].what, bytes, n, refusals[i].status, refusals[i].says);
        free(bytes);
    }
    static const char text[] = "\x89PNG\r\n\x1a\n this is not a network";
    failures += !is_refused("a picture", text, sizeof text, THAW_ERR_FORMAT, "not an ONNX model");
    failures += !is_refused("nothing", "", 0, THAW_ERR_FORMAT, "not an ONNX model");
    assert_int_equal(failures, 0);
}

static void no_part_of_a_file_is_taken_for_the_whole(void **state) {
    (void)state;
    static const char *const files[] = {"resnet_17", "conv_grouped", "typed_fields"};
    int failures = 0;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        size_t n;
        uint8_t *bytes = test_edited(files[i], NULL, &n);
        size_t step = 1 + n / 700;
        for (size_t length = 0; length<n; length += n - length> 64 ? step : 1)
            failures += !is_refused(files[i], bytes, length, THAW_ERR_FORMAT, "part of one");
        free(bytes);
    }
    assert_int_equal(failures, 0);
}

static void paths_that_are_no_files_are_refused(void **state) {
    (void)state;
    static const char *const paths[] = {TEST_MODELS "absent.onnx", TEST_MODELS, "", "/dev/null"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        thaw_model model;
        thaw_error err = {0};
        assert_int_equal(thaw_model_read(&model, paths[i], 0, 0, &err), THAW_ERR_IO);
        assert_non_null(strstr(err.text, "cannot read the model"));
        thaw_model_free(&model);
    }
    /* A pipe that nobody writes to does not hang the reader. */
    const char *fifo = THAW_BINARY_DIR "/test_onnx.fifo";
    unlink(fifo);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    thaw_model model;
    thaw_error err = {0};
    assert_int_equal(thaw_model_read(&model, fifo, 0, 0, &err), THAW_ERR_IO);
    thaw_model_free(&model);
    unlink(fifo);
}

/* ---- beyond the folder --------------------------------------------------------------------- */

/* The model with its weights at `location`, in the test's folder. */
static void put_external(const tempdir *place, const char *location) {
    char path[PATH_MAX];
    size_t n;
    uint8_t *bytes = test_read(TEST_MODELS "external.onnx", &n);
    Onnx__ModelProto *m = onnx__model_proto__unpack(NULL, n, bytes);
    assert_non_null(m);
    for (size_t i = 0; i < m->graph->n_initializer; i++)
        test_replace(&m->graph->initializer[i]->external_data[0]->value, location);
    free(bytes);
    n = onnx__model_proto__get_packed_size(m);
    bytes = malloc(n);
    assert_non_null(bytes);
    onnx__model_proto__pack(m, bytes);
    onnx__model_proto__free_unpacked(m, NULL);
    tempdir_path(place, "model/m.onnx", path);
    assert_int_equal(thaw_file_write(path, bytes, n, NULL), THAW_OK);
    free(bytes);
}

static void copy_weights(const tempdir *place, const char *name) {
    char path[PATH_MAX];
    size_t n;
    uint8_t *bytes = test_read(TEST_MODELS "external.bin", &n);
    assert_int_equal(thaw_file_write(tempdir_path(place, name, path), bytes, n, NULL), THAW_OK);
    free(bytes);
}

static void link_to(const tempdir *place, const char *target, const char *name) {
    char path[PATH_MAX];
    assert_int_equal(symlink(target, tempdir_path(place, name, path)), 0);
}

static void weights_come_from_the_models_folder_alone(void **state) {
    (void)state;
    static const struct {
        const char *location, *says; /* NULL: it is read. */
    } rows[] = {{"w.bin", NULL},
                {"./below//w.bin", NULL},
                {"link.bin", "which a symbolic link leads to"},
                {"inner.bin", "which a symbolic link leads to"},
                {"folder/w.bin", "which a symbolic link leads to"},
                {"below/up/w.bin", "which a symbolic link leads to"},
                {"dangling", "which a symbolic link leads to"},
                {"below/../w.bin", "only files in the model's own folder"},
                {"..", "only files in the model's own folder"},
                {"", "only files in the model's own folder"},
                {"below\\..\\w.bin", "only files in the model's own folder"},
                {"w.bin/", "cannot be read (Not a directory)"},
                {"w.bin/w.bin", "cannot be read (Not a directory)"},
                {"below", "not a file"},
                {"fifo", "not a file"}};
    tempdir place = tempdir_make();
    char path[PATH_MAX], model_path[PATH_MAX];
    tempdir_folder(&place, "model/below");
    tempdir_folder(&place, "outside");
    copy_weights(&place, "outside/w.bin");
    copy_weights(&place, "model/w.bin");
    copy_weights(&place, "model/below/w.bin");
    link_to(&place, "../outside/w.bin", "model/link.bin");
    link_to(&place, "w.bin", "model/inner.bin");
    link_to(&place, "../outside", "model/folder");
    link_to(&place, "..", "model/below/up");
    link_to(&place, "nowhere", "model/dangling");
    assert_int_equal(mkfifo(tempdir_path(&place, "model/fifo", path), 0600), 0);
    tempdir_path(&place, "model/m.onnx", model_path);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        thaw_model model;
        thaw_error err = {0};
        put_external(&place, rows[i].location);
        thaw_status status = thaw_model_read(&model, model_path, 0, 0, &err);
        thaw_model_free(&model);
        if (rows[i].says ? !status || !strstr(err.text, rows[i].says) : status)
            fail_msg("%s: %s", rows[i].location, status ? err.text : "was read");
    }
    /* The way to the model itself may have links. */
    link_to(&place, "model", "linked");
    put_external(&place, "w.bin");
    thaw_model model;
    tempdir_path(&place, "linked/m.onnx", model_path);
    assert_int_equal(thaw_model_read(&model, model_path, 0, 0, NULL), THAW_OK);
    thaw_model_free(&model);
    tempdir_remove(&place);
}

/* ---- before it costs much ------------------------------------------------------------------ */

enum { PART = 2, HEADER = 64 };

/* Appends a field's tag and length. */
static void begin_field(uint8_t **at, uint8_t tag, size_t n) {
    *(*at)++ = tag;
    for (; n >= 0x80; n >>= 7)
        *(*at)++ = (uint8_t)(n | 0x80);
    *(*at)++ = (uint8_t)n;
}

/* A model whose graph (or first node, first tensor) is `parts` empty parts of one kind. */
static uint8_t *many_parts(uint8_t part, uint8_t within, int parts, size_t *n) {
    size_t body = (size_t)parts * PART;
    uint8_t *bytes = malloc(body + HEADER), *at = bytes;
    assert_non_null(bytes);
    memcpy(at, "\x08\x08\x42\x04\x0a\x00\x10\x0d", 8); /* IR version 8, opset 13. */
    at += 8;
    begin_field(&at, 0x3a, within ? body + 5 : body);
    if (within) begin_field(&at, within, body);
    for (int i = 0; i < parts; i++) {
        *at++ = part;
        *at++ = 0;
    }
    *n = (size_t)(at - bytes);
    return bytes;
}

/* What lies in memory now, in MB: of a child it counts, too, and a sanitizer keeps what is freed. */
static long megabytes_resident(void) {
    long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    tempdir_check(file && fscanf(file, "%ld %ld", &pages, &resident) == 2, "/proc/self/statm");
    fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) >> 10) >> 10;
}

/* How far memory grows while it is read, in MB; fails unless it is refused with these words. */
static long megabytes_of_refusal(const uint8_t *bytes, size_t n, const char *says) {
    long before = megabytes_resident();
    pid_t child = fork();
    tempdir_check(child >= 0, "fork");
    if (child == 0) {
        thaw_model model;
        thaw_error err = {0};
        thaw_status status = thaw_model_parse(&model, bytes, n, "x.onnx", 0, 0, &err);
        if (status == THAW_OK || !strstr(err.text, says)) print_error("%s\n", err.text);
        _exit(status == THAW_OK || !strstr(err.text, says));
    }
    int status;
    struct rusage usage;
    tempdir_check(wait4(child, &status, 0, &usage) == child, "wait4");
    if (status != 0) fail_msg("not refused because of \"%s\", but with status %d", says, status);
    return (usage.ru_maxrss >> 10) - before;
}

static void many_small_parts_do_not_fill_the_memory(void **state) {
    (void)state;
    enum { MANY = 10000000, MOST_MB = 250 };
    static const char small[] = "so many small parts", nodes[] = "reads networks of up to";
    static const struct {
        const char *what, *says;
        int parts;
        uint8_t part, within; /* Tags; within = 0: of the graph. */
    } rows[] = {{"nodes", small, MANY, 0x0a, 0},
                {"initializers", small, MANY, 0x2a, 0},
                {"inputs", small, MANY, 0x5a, 0},
                {"outputs", small, MANY, 0x62, 0},
                {"value infos", small, MANY, 0x6a, 0},
                {"inputs of a node", small, MANY, 0x0a, 0x0a},
                {"outputs of a node", small, MANY, 0x12, 0x0a},
                {"attributes of a node", small, MANY, 0x2a, 0x0a},
                {"dimensions of a tensor", small, MANY, 0x08, 0x2a},
                {"nodes", nodes, 70000, 0x0a, 0},
                {"outputs of a node", nodes, 1100000, 0x12, 0x0a}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t n;
        uint8_t *bytes = many_parts(rows[i].part, rows[i].within, rows[i].parts, &n);
        long megabytes = megabytes_of_refusal(bytes, n, rows[i].says);
        free(bytes);
        if (megabytes > MOST_MB)
            fail_msg("%d %s take %ld MB", rows[i].parts, rows[i].what, megabytes);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_cannot_be_read_is_refused_in_one_sentence),
        cmocka_unit_test(all_that_stands_against_a_file_is_told_at_once),
        cmocka_unit_test(no_part_of_a_file_is_taken_for_the_whole),
        cmocka_unit_test(paths_that_are_no_files_are_refused),
        cmocka_unit_test(weights_come_from_the_models_folder_alone),
        cmocka_unit_test(many_small_parts_do_not_fill_the_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
