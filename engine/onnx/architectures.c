#include "architectures.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "onnx_build.h"
#include "rng.h"
#include "text.h"

/* A network that grows. Its tensors are called by what they are followed by ("layer1.0.conv1"). */
typedef struct net {
    thaw_onnx_builder file;
    uint64_t seed, n_drawn; /* Each tensor has a stream of its own. */
    float epsilon;          /* Of normalisations. */
} net;

enum { MOST_NODES = 1024, MOST_TENSORS = 1024, NAME = 96 };

/* ---- weights ------------------------------------------------------------------------------- */

static float *take_floats(net *n, int64_t count) {
    return thaw_onnx_take(&n->file, (size_t)count * sizeof(float));
}

static float *filled(net *n, int64_t count, float value) {
    float *x = take_floats(n, count);
    for (int64_t i = 0; x && i < count; i++)
        x[i] = value;
    return x;
}

static float *normal(net *n, int64_t count, double deviation) {
    thaw_rng rng = thaw_rng_open(n->seed, THAW_RNG_INIT, n->n_drawn++);
    float *x = take_floats(n, count);
    for (int64_t i = 0; x && i < count; i++)
        x[i] = (float)deviation * thaw_rng_normal(&rng);
    return x;
}

static float *uniform(net *n, int64_t count, double bound) {
    thaw_rng rng = thaw_rng_open(n->seed, THAW_RNG_INIT, n->n_drawn++);
    float *x = take_floats(n, count);
    for (int64_t i = 0; x && i < count; i++)
        x[i] = (float)bound * (2 * thaw_rng_uniform(&rng) - 1);
    return x;
}

/* "prefix.suffix", in the arena. */
static const char *join(net *n, const char *prefix, const char *suffix) {
    const char *text = thaw_arena_printf(&n->file.arena, "%s.%s", prefix, suffix);
    if (!text) n->file.short_of_memory = true;
    return text ? text : "";
}

static const char *numbered(net *n, const char *prefix, int i) {
    const char *text = thaw_arena_printf(&n->file.arena, "%s.%d", prefix, i);
    if (!text) n->file.short_of_memory = true;
    return text ? text : "";
}

static const char *add_vector(net *n, const char *name, const char *what, int64_t count,
                              const float *values) {
    const char *full = join(n, name, what);
    thaw_onnx_tensor(&n->file, full, 1, &count, values);
    return full;
}

/* ---- layers: each returns the name of its output ------------------------------------------- */

static const char *node(net *n, const char *type, const char *name, const char *const *inputs,
                        Onnx__NodeProto **made) {
    Onnx__NodeProto *added = thaw_onnx_node(&n->file, type, name, inputs, name);
    if (made) *made = added;
    return name;
}

static const char *unary(net *n, const char *type, const char *name, const char *x) {
    return node(n, type, name, (const char *[]){x, NULL}, NULL);
}

static const char *binary(net *n, const char *type, const char *name, const char *a,
                          const char *b) {
    return node(n, type, name, (const char *[]){a, b, NULL}, NULL);
}

typedef struct conv_shape {
    int64_t in, out, kernel, stride, pad, groups;
} conv_shape;

/* bias NULL: none. */
static const char *conv_of(net *n, const char *x, const char *name, conv_shape s,
                           const float *weights, const float *bias) {
    const char *w = join(n, name, "weight"), *b = NULL;
    thaw_onnx_tensor(&n->file, w, 4, (int64_t[]){s.out, s.in / s.groups, s.kernel, s.kernel},
                     weights);
    if (bias) b = add_vector(n, name, "bias", s.out, bias);
    Onnx__NodeProto *made;
    node(n, "Conv", name, (const char *[]){x, w, b, NULL}, &made);
    thaw_onnx_ints(&n->file, made, "kernel_shape", 2, (int64_t[]){s.kernel, s.kernel});
    thaw_onnx_ints(&n->file, made, "strides", 2, (int64_t[]){s.stride, s.stride});
    thaw_onnx_ints(&n->file, made, "pads", 4, (int64_t[]){s.pad, s.pad, s.pad, s.pad});
    thaw_onnx_int(&n->file, made, "group", s.groups);
    return name;
}

/* He et al. 2015, by fan-out: kaiming_normal_(mode="fan_out"). */
static float *kaiming(net *n, conv_shape s) {
    return normal(n, s.out * (s.in / s.groups) * s.kernel * s.kernel,
                  sqrt(2.0 / (double)(s.out * s.kernel * s.kernel)));
}

static const char *batch_norm(net *n, const char *x, const char *name, int64_t C) {
    const char *inputs[] = {x,
                            add_vector(n, name, "weight", C, filled(n, C, 1)),
                            add_vector(n, name, "bias", C, filled(n, C, 0)),
                            add_vector(n, name, "running_mean", C, filled(n, C, 0)),
                            add_vector(n, name, "running_var", C, filled(n, C, 1)),
                            NULL};
    Onnx__NodeProto *made;
    node(n, "BatchNormalization", name, inputs, &made);
    thaw_onnx_float(&n->file, made, "epsilon", n->epsilon);
    return name;
}

static const char *relu(net *n, const char *x) {
    return unary(n, "Relu", join(n, x, "relu"), x);
}

static const char *relu6(net *n, const char *x) {
    const char *low = join(n, x, "min"), *high = join(n, x, "max");
    thaw_onnx_tensor(&n->file, low, 0, NULL, filled(n, 1, 0));
    thaw_onnx_tensor(&n->file, high, 0, NULL, filled(n, 1, 6));
    return node(n, "Clip", join(n, x, "relu6"), (const char *[]){x, low, high, NULL}, NULL);
}

static const char *silu(net *n, const char *x) {
    return binary(n, "Mul", join(n, x, "silu"), x, unary(n, "Sigmoid", join(n, x, "sigmoid"), x));
}

static const char *number(net *n, const char *name, float value) {
    thaw_onnx_tensor(&n->file, name, 0, NULL, filled(n, 1, value));
    return name;
}

/* As PyTorch exports it: x (1 + erf(x / sqrt 2)) / 2. */
static const char *gelu(net *n, const char *x) {
    const char *y =
        binary(n, "Div", join(n, x, "div"), x, number(n, join(n, x, "sqrt2"), 1.41421354f));
    y = unary(n, "Erf", join(n, x, "erf"), y);
    y = binary(n, "Add", join(n, x, "plus"), y, number(n, join(n, x, "one"), 1));
    y = binary(n, "Mul", join(n, x, "times"), x, y);
    return binary(n, "Mul", join(n, x, "gelu"), y, number(n, join(n, x, "half"), 0.5f));
}

static const char *pooled(net *n, const char *x) {
    return unary(n, "GlobalAveragePool", "avgpool", x);
}

static const char *flatten(net *n, const char *x) {
    Onnx__NodeProto *made;
    node(n, "Flatten", "flatten", (const char *[]){x, NULL}, &made);
    thaw_onnx_int(&n->file, made, "axis", 1);
    return "flatten";
}

/* The last layer; its output is the network's. */
static void linear(net *n, const char *x, const char *name, int64_t in, int64_t out,
                   const float *weights, const float *bias) {
    const char *w = join(n, name, "weight");
    thaw_onnx_tensor(&n->file, w, 2, (int64_t[]){out, in}, weights);
    const char *b = add_vector(n, name, "bias", out, bias);
    thaw_onnx_int(&n->file,
                  thaw_onnx_node(&n->file, "Gemm", name, (const char *[]){x, w, b, NULL}, "output"),
                  "transB", 1);
}

/* ---- ResNet (He et al. 2016; stride in the 3x3, as torchvision has it) ---------------------- */

static const char *conv_bn(net *n, const char *x, const char *conv, const char *bn, conv_shape s) {
    return batch_norm(n, conv_of(n, x, conv, s, kaiming(n, s), NULL), bn, s.out);
}

static const char *resnet_block(net *n, const char *x, const char *name, int64_t in, int64_t width,
                                int64_t stride, bool bottleneck) {
    int64_t out = bottleneck ? 4 * width : width;
    const char *y = x, *skip = x;
    if (bottleneck) {
        y = relu(n, conv_bn(n, y, join(n, name, "conv1"), join(n, name, "bn1"),
                            (conv_shape){in, width, 1, 1, 0, 1}));
        y = relu(n, conv_bn(n, y, join(n, name, "conv2"), join(n, name, "bn2"),
                            (conv_shape){width, width, 3, stride, 1, 1}));
        y = conv_bn(n, y, join(n, name, "conv3"), join(n, name, "bn3"),
                    (conv_shape){width, out, 1, 1, 0, 1});
    } else {
        y = relu(n, conv_bn(n, y, join(n, name, "conv1"), join(n, name, "bn1"),
                            (conv_shape){in, width, 3, stride, 1, 1}));
        y = conv_bn(n, y, join(n, name, "conv2"), join(n, name, "bn2"),
                    (conv_shape){width, width, 3, 1, 1, 1});
    }
    if (in != out || stride != 1)
        skip = conv_bn(n, x, join(n, name, "downsample.0"), join(n, name, "downsample.1"),
                       (conv_shape){in, out, 1, stride, 0, 1});
    return relu(n, binary(n, "Add", join(n, name, "add"), y, skip));
}

/* Four stages and the last layer, behind a stem of `in` channels. */
static void resnet_stages(net *n, const char *x, int64_t in, const int64_t widths[4],
                          const int blocks[4], bool bottleneck, int64_t classes) {
    for (int stage = 0; stage < 4; stage++) {
        char layer[NAME];
        snprintf(layer, sizeof layer, "layer%d", stage + 1);
        for (int i = 0; i < blocks[stage]; i++) {
            x = resnet_block(n, x, numbered(n, layer, i), in, widths[stage],
                             i == 0 && stage > 0 ? 2 : 1, bottleneck);
            in = bottleneck ? 4 * widths[stage] : widths[stage];
        }
    }
    double bound = 1 / sqrt((double)in); /* nn.Linear's own. */
    linear(n, flatten(n, pooled(n, x)), "fc", in, classes, uniform(n, in * classes, bound),
           uniform(n, classes, bound));
}

static void resnet(net *n, const int blocks[4], bool bottleneck, int64_t classes) {
    const char *x = relu(n, conv_bn(n, "input", "conv1", "bn1", (conv_shape){3, 64, 7, 2, 3, 1}));
    Onnx__NodeProto *pool;
    x = node(n, "MaxPool", "maxpool", (const char *[]){x, NULL}, &pool);
    thaw_onnx_ints(&n->file, pool, "kernel_shape", 2, (int64_t[]){3, 3});
    thaw_onnx_ints(&n->file, pool, "strides", 2, (int64_t[]){2, 2});
    thaw_onnx_ints(&n->file, pool, "pads", 4, (int64_t[]){1, 1, 1, 1});
    resnet_stages(n, x, 64, (const int64_t[]){64, 128, 256, 512}, blocks, bottleneck, classes);
}

static void resnet18(net *n, int64_t classes) {
    resnet(n, (const int[]){2, 2, 2, 2}, false, classes);
}

static void resnet50(net *n, int64_t classes) {
    resnet(n, (const int[]){3, 4, 6, 3}, true, classes);
}

/* For small pictures and few of them, such as datasets/ draws: a block a stage, no pooling before. */
static void resnet_tiny(net *n, int64_t classes) {
    const char *x = relu(n, conv_bn(n, "input", "conv1", "bn1", (conv_shape){3, 16, 3, 2, 1, 1}));
    resnet_stages(n, x, 16, (const int64_t[]){16, 32, 64, 96}, (const int[]){1, 1, 1, 1}, false,
                  classes);
}

/* ---- MobileNetV2 (Sandler et al. 2018) ------------------------------------------------------ */

/* Convolution and batch normalisation, called name.0 and name.1. */
static const char *pair(net *n, const char *x, const char *name, conv_shape s) {
    return conv_bn(n, x, numbered(n, name, 0), numbered(n, name, 1), s);
}

static const char *inverted_residual(net *n, const char *x, const char *block, int64_t in,
                                     int64_t out, int64_t expand, int64_t stride) {
    const char *name = join(n, block, "conv"), *y = x;
    int64_t wide = in * expand;
    int i = 0;
    if (expand != 1)
        y = relu6(n, pair(n, y, numbered(n, name, i++), (conv_shape){in, wide, 1, 1, 0, 1}));
    y = relu6(n, pair(n, y, numbered(n, name, i++), (conv_shape){wide, wide, 3, stride, 1, wide}));
    y = conv_bn(n, y, numbered(n, name, i), numbered(n, name, i + 1),
                (conv_shape){wide, out, 1, 1, 0, 1});
    return stride == 1 && in == out ? binary(n, "Add", join(n, block, "add"), x, y) : y;
}

static void mobilenet_v2(net *n, int64_t classes) {
    static const int stages[][4] = {{1, 16, 1, 1}, {6, 24, 2, 2},  {6, 32, 3, 2}, {6, 64, 4, 2},
                                    {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};
    const char *x = relu6(n, pair(n, "input", "features.0", (conv_shape){3, 32, 3, 2, 1, 1}));
    int64_t in = 32;
    int block = 1;
    for (size_t s = 0; s < sizeof stages / sizeof stages[0]; s++) {
        for (int i = 0; i < stages[s][2]; i++) {
            x = inverted_residual(n, x, numbered(n, "features", block++), in, stages[s][1],
                                  stages[s][0], i == 0 ? stages[s][3] : 1);
            in = stages[s][1];
        }
    }
    x = relu6(n, pair(n, x, numbered(n, "features", block), (conv_shape){in, 1280, 1, 1, 0, 1}));
    linear(n, flatten(n, pooled(n, x)), "classifier.1", 1280, classes,
           normal(n, 1280 * classes, 0.01), filled(n, classes, 0));
}

/* ---- EfficientNet-B0 (Tan & Le 2019) -------------------------------------------------------- */

static const char *squeeze_excite(net *n, const char *x, const char *name, int64_t C, int64_t M) {
    conv_shape down = {C, M, 1, 1, 0, 1}, up = {M, C, 1, 1, 0, 1};
    const char *y = unary(n, "GlobalAveragePool", join(n, name, "avgpool"), x);
    y = silu(n, conv_of(n, y, join(n, name, "fc1"), down, kaiming(n, down), filled(n, M, 0)));
    y = conv_of(n, y, join(n, name, "fc2"), up, kaiming(n, up), filled(n, C, 0));
    y = unary(n, "Sigmoid", join(n, name, "sigmoid"), y);
    return binary(n, "Mul", join(n, name, "scaled"), x, y);
}

static const char *mb_conv(net *n, const char *x, const char *block, int64_t in, int64_t out,
                           int64_t expand, int64_t kernel, int64_t stride) {
    const char *name = join(n, block, "block"), *y = x;
    int64_t wide = in * expand;
    int i = 0;
    if (expand != 1)
        y = silu(n, pair(n, y, numbered(n, name, i++), (conv_shape){in, wide, 1, 1, 0, 1}));
    y = silu(n, pair(n, y, numbered(n, name, i++),
                     (conv_shape){wide, wide, kernel, stride, kernel / 2, wide}));
    y = squeeze_excite(n, y, numbered(n, name, i++), wide, in / 4 > 1 ? in / 4 : 1);
    y = pair(n, y, numbered(n, name, i), (conv_shape){wide, out, 1, 1, 0, 1});
    return stride == 1 && in == out ? binary(n, "Add", join(n, block, "add"), y, x) : y;
}

static void efficientnet_b0(net *n, int64_t classes) {
    static const int stages[][5] = {{1, 3, 1, 16, 1}, {6, 3, 2, 24, 2},  {6, 5, 2, 40, 2},
                                    {6, 3, 2, 80, 3}, {6, 5, 1, 112, 3}, {6, 5, 2, 192, 4},
                                    {6, 3, 1, 320, 1}};
    const char *x = silu(n, pair(n, "input", "features.0", (conv_shape){3, 32, 3, 2, 1, 1}));
    int64_t in = 32;
    for (int s = 0; s < 7; s++) {
        for (int i = 0; i < stages[s][4]; i++) {
            x = mb_conv(n, x, numbered(n, numbered(n, "features", s + 1), i), in, stages[s][3],
                        stages[s][0], stages[s][1], i == 0 ? stages[s][2] : 1);
            in = stages[s][3];
        }
    }
    x = silu(n, pair(n, x, "features.8", (conv_shape){in, 1280, 1, 1, 0, 1}));
    linear(n, flatten(n, pooled(n, x)), "classifier.1", 1280, classes,
           uniform(n, 1280 * classes, 1 / sqrt((double)classes)), filled(n, classes, 0));
}

/* ---- ConvNeXt-T (Liu et al. 2022) ----------------------------------------------------------- */

/* Normal with deviation 0.02: torchvision's trunc_normal_ cuts at 2, a hundred deviations out. */
static const char *plain_conv(net *n, const char *x, const char *name, conv_shape s) {
    int64_t count = s.out * (s.in / s.groups) * s.kernel * s.kernel;
    return conv_of(n, x, name, s, normal(n, count, 0.02), filled(n, s.out, 0));
}

static const char *transpose(net *n, const char *x, const char *name, bool to_nhwc) {
    Onnx__NodeProto *made;
    node(n, "Transpose", name, (const char *[]){x, NULL}, &made);
    thaw_onnx_ints(&n->file, made, "perm", 4,
                   to_nhwc ? (int64_t[]){0, 2, 3, 1} : (int64_t[]){0, 3, 1, 2});
    return name;
}

/* Over the last axis, the channels. */
static const char *layer_norm(net *n, const char *x, const char *name, int64_t C) {
    const char *w = add_vector(n, name, "weight", C, filled(n, C, 1));
    const char *b = add_vector(n, name, "bias", C, filled(n, C, 0));
    Onnx__NodeProto *made;
    node(n, "LayerNormalization", name, (const char *[]){x, w, b, NULL}, &made);
    thaw_onnx_int(&n->file, made, "axis", -1);
    thaw_onnx_float(&n->file, made, "epsilon", n->epsilon);
    return name;
}

static const char *layer_norm_2d(net *n, const char *x, const char *name, int64_t C) {
    const char *y = transpose(n, x, join(n, name, "to_nhwc"), true);
    return transpose(n, layer_norm(n, y, name, C), join(n, name, "to_nchw"), false);
}

/* nn.Linear on N,H,W,C as it is exported: a product with the transposed weights, and a sum. */
static const char *channel_linear(net *n, const char *x, const char *name, int64_t in,
                                  int64_t out) {
    const char *w = join(n, name, "weight");
    thaw_onnx_tensor(&n->file, w, 2, (int64_t[]){in, out}, normal(n, in * out, 0.02));
    const char *b = add_vector(n, name, "bias", out, filled(n, out, 0));
    return binary(n, "Add", name, binary(n, "MatMul", join(n, name, "matmul"), x, w), b);
}

static const char *convnext_block(net *n, const char *x, const char *name, int64_t C) {
    const char *block = join(n, name, "block");
    const char *y = plain_conv(n, x, numbered(n, block, 0), (conv_shape){C, C, 7, 1, 3, C});
    y = transpose(n, y, numbered(n, block, 1), true);
    y = layer_norm(n, y, numbered(n, block, 2), C);
    y = gelu(n, channel_linear(n, y, numbered(n, block, 3), C, 4 * C));
    y = channel_linear(n, y, numbered(n, block, 5), 4 * C, C);
    y = transpose(n, y, numbered(n, block, 6), false);
    const char *scale = join(n, name, "layer_scale");
    thaw_onnx_tensor(&n->file, scale, 3, (int64_t[]){C, 1, 1}, filled(n, C, 1e-6f));
    y = binary(n, "Mul", join(n, name, "scaled"), scale, y);
    return binary(n, "Add", join(n, name, "add"), y, x);
}

static void convnext_tiny(net *n, int64_t classes) {
    static const int depths[] = {3, 3, 9, 3};
    n->epsilon = 1e-6f;
    int64_t C = 96;
    const char *x = plain_conv(n, "input", "features.0.0", (conv_shape){3, C, 4, 4, 0, 1});
    x = layer_norm_2d(n, x, "features.0.1", C);
    for (int stage = 0; stage < 4; stage++) {
        const char *name = numbered(n, "features", 2 * stage + 1);
        for (int i = 0; i < depths[stage]; i++)
            x = convnext_block(n, x, numbered(n, name, i), C);
        if (stage == 3) break;
        const char *down = numbered(n, "features", 2 * stage + 2);
        x = layer_norm_2d(n, x, numbered(n, down, 0), C);
        x = plain_conv(n, x, numbered(n, down, 1), (conv_shape){C, 2 * C, 2, 2, 0, 1});
        C *= 2;
    }
    x = flatten(n, layer_norm_2d(n, pooled(n, x), "classifier.0", C));
    linear(n, x, "classifier.2", C, classes, normal(n, C * classes, 0.02), filled(n, classes, 0));
}

/* ---- the table ------------------------------------------------------------------------------ */

#define NAME(name) #name,
static const char *const names[] = {THAW_ARCHITECTURE_LIST(NAME) NULL};
#undef NAME
#define MAKER(name) name,
static void (*const makers[])(net *n, int64_t classes) = {THAW_ARCHITECTURE_LIST(MAKER)};
#undef MAKER

const char *const *thaw_architecture_names(void) {
    return names;
}

static thaw_status unknown(const char *arch, thaw_error *err) {
    thaw_text list = {0};
    thaw_nearest nearest = {.word = arch};
    for (int i = 0; names[i]; i++) {
        thaw_text_add(&list, "%s%s", i ? ", " : "", names[i]);
        thaw_nearest_offer(&nearest, names[i]);
    }
    return thaw_fail(err, THAW_ERR_USAGE, "there is no architecture '%.80s'%s%s%s; there are %s",
                     arch, nearest.best ? ", did you mean " : "", nearest.best ? nearest.best : "",
                     nearest.best ? "?" : "", list.text);
}

static thaw_status write_network(net *n, int maker, const thaw_new_network *network,
                                 const char *path, thaw_error *err) {
    enum { OPSET = 17, IR = 8 };
    thaw_onnx_start(&n->file, MOST_NODES, MOST_TENSORS);
    if (!n->file.short_of_memory) makers[maker](n, network->classes);
    thaw_onnx_ends(&n->file, "input", 4, (int64_t[]){0, 3, network->size, network->size}, "output",
                   2, (int64_t[]){0, network->classes});
    Onnx__ModelProto m;
    Onnx__OperatorSetIdProto opset, *opsets[] = {&opset};
    onnx__model_proto__init(&m);
    onnx__operator_set_id_proto__init(&opset);
    opset.has_version = m.has_ir_version = 1;
    opset.domain = "";
    opset.version = OPSET;
    m.ir_version = IR;
    m.n_opset_import = 1;
    m.opset_import = opsets;
    return thaw_onnx_save(&n->file, &m, path, err);
}

thaw_status thaw_architecture_write(const thaw_new_network *network, const char *path,
                                    thaw_error *err) {
    int maker = 0;
    while (names[maker] && strcmp(names[maker], network->arch) != 0)
        maker++;
    if (!names[maker]) return unknown(network->arch, err);
    net n = {.seed = network->seed, .epsilon = 1e-5f};
    thaw_status status = write_network(&n, maker, network, path, err);
    thaw_arena_free(&n.file.arena);
    return status;
}
