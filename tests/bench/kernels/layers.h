/* Every distinct convolution of ResNet-50 (stride in the 3x3) and MobileNetV2 1.0 at 224 x 224. */
#ifndef THAW_BENCH_LAYERS_H
#define THAW_BENCH_LAYERS_H

#include <math.h>

#include "cuda_kernels.h"

enum layer_kind { LAYER_STEM, LAYER_CONV, LAYER_DEPTHWISE };
enum layer_act { LAYER_LINEAR, LAYER_RELU, LAYER_RELU6 };

struct layer {
    const char *network;
    layer_kind kind;
    int H, C, K, R, stride; /* H = W; padded by (R - 1) / 2 on all sides. */
    layer_act act;
    bool residual; /* Added before the activation. */
    int count;     /* How often the network has it. */
};

/* clang-format off */
static const layer layers[] = {
    {"resnet50", LAYER_STEM, 224, 3, 64, 7, 2, LAYER_RELU, false, 1},
    {"resnet50", LAYER_CONV, 56, 64, 64, 1, 1, LAYER_RELU, false, 1},
    {"resnet50", LAYER_CONV, 56, 64, 64, 3, 1, LAYER_RELU, false, 3},
    {"resnet50", LAYER_CONV, 56, 64, 256, 1, 1, LAYER_LINEAR, false, 1},
    {"resnet50", LAYER_CONV, 56, 64, 256, 1, 1, LAYER_RELU, true, 3},
    {"resnet50", LAYER_CONV, 56, 256, 64, 1, 1, LAYER_RELU, false, 2},
    {"resnet50", LAYER_CONV, 56, 256, 128, 1, 1, LAYER_RELU, false, 1},
    {"resnet50", LAYER_CONV, 56, 128, 128, 3, 2, LAYER_RELU, false, 1},
    {"resnet50", LAYER_CONV, 56, 256, 512, 1, 2, LAYER_LINEAR, false, 1},
    {"resnet50", LAYER_CONV, 28, 512, 128, 1, 1, LAYER_RELU, false, 3},
    {"resnet50", LAYER_CONV, 28, 128, 128, 3, 1, LAYER_RELU, false, 3},
    {"resnet50", LAYER_CONV, 28, 128, 512, 1, 1, LAYER_RELU, true, 4},
    {"resnet50", LAYER_CONV, 28, 512, 256, 1, 1, LAYER_RELU, false, 1},
    {"resnet50", LAYER_CONV, 28, 256, 256, 3, 2, LAYER_RELU, false, 1},
    {"resnet50", LAYER_CONV, 28, 512, 1024, 1, 2, LAYER_LINEAR, false, 1},
    {"resnet50", LAYER_CONV, 14, 1024, 256, 1, 1, LAYER_RELU, false, 5},
    {"resnet50", LAYER_CONV, 14, 256, 256, 3, 1, LAYER_RELU, false, 5},
    {"resnet50", LAYER_CONV, 14, 256, 1024, 1, 1, LAYER_RELU, true, 6},
    {"resnet50", LAYER_CONV, 14, 1024, 512, 1, 1, LAYER_RELU, false, 1},
    {"resnet50", LAYER_CONV, 14, 512, 512, 3, 2, LAYER_RELU, false, 1},
    {"resnet50", LAYER_CONV, 14, 1024, 2048, 1, 2, LAYER_LINEAR, false, 1},
    {"resnet50", LAYER_CONV, 7, 2048, 512, 1, 1, LAYER_RELU, false, 2},
    {"resnet50", LAYER_CONV, 7, 512, 512, 3, 1, LAYER_RELU, false, 2},
    {"resnet50", LAYER_CONV, 7, 512, 2048, 1, 1, LAYER_RELU, true, 3},

    {"mobilenet_v2", LAYER_STEM, 224, 3, 32, 3, 2, LAYER_RELU6, false, 1},
    {"mobilenet_v2", LAYER_DEPTHWISE, 112, 32, 32, 3, 1, LAYER_RELU6, false, 1},
    {"mobilenet_v2", LAYER_CONV, 112, 32, 16, 1, 1, LAYER_LINEAR, false, 1},
    {"mobilenet_v2", LAYER_CONV, 112, 16, 96, 1, 1, LAYER_RELU6, false, 1},
    {"mobilenet_v2", LAYER_DEPTHWISE, 112, 96, 96, 3, 2, LAYER_RELU6, false, 1},
    {"mobilenet_v2", LAYER_CONV, 56, 96, 24, 1, 1, LAYER_LINEAR, false, 1},
    {"mobilenet_v2", LAYER_CONV, 56, 24, 144, 1, 1, LAYER_RELU6, false, 2},
    {"mobilenet_v2", LAYER_DEPTHWISE, 56, 144, 144, 3, 1, LAYER_RELU6, false, 1},
    {"mobilenet_v2", LAYER_CONV, 56, 144, 24, 1, 1, LAYER_LINEAR, true, 1},
    {"mobilenet_v2", LAYER_DEPTHWISE, 56, 144, 144, 3, 2, LAYER_RELU6, false, 1},
    {"mobilenet_v2", LAYER_CONV, 28, 144, 32, 1, 1, LAYER_LINEAR, false, 1},
    {"mobilenet_v2", LAYER_CONV, 28, 32, 192, 1, 1, LAYER_RELU6, false, 3},
    {"mobilenet_v2", LAYER_DEPTHWISE, 28, 192, 192, 3, 1, LAYER_RELU6, false, 2},
    {"mobilenet_v2", LAYER_CONV, 28, 192, 32, 1, 1, LAYER_LINEAR, true, 2},
    {"mobilenet_v2", LAYER_DEPTHWISE, 28, 192, 192, 3, 2, LAYER_RELU6, false, 1},
    {"mobilenet_v2", LAYER_CONV, 14, 192, 64, 1, 1, LAYER_LINEAR, false, 1},
    {"mobilenet_v2", LAYER_CONV, 14, 64, 384, 1, 1, LAYER_RELU6, false, 4},
    {"mobilenet_v2", LAYER_DEPTHWISE, 14, 384, 384, 3, 1, LAYER_RELU6, false, 4},
    {"mobilenet_v2", LAYER_CONV, 14, 384, 64, 1, 1, LAYER_LINEAR, true, 3},
    {"mobilenet_v2", LAYER_CONV, 14, 384, 96, 1, 1, LAYER_LINEAR, false, 1},
    {"mobilenet_v2", LAYER_CONV, 14, 96, 576, 1, 1, LAYER_RELU6, false, 3},
    {"mobilenet_v2", LAYER_DEPTHWISE, 14, 576, 576, 3, 1, LAYER_RELU6, false, 2},
    {"mobilenet_v2", LAYER_CONV, 14, 576, 96, 1, 1, LAYER_LINEAR, true, 2},
    {"mobilenet_v2", LAYER_DEPTHWISE, 14, 576, 576, 3, 2, LAYER_RELU6, false, 1},
    {"mobilenet_v2", LAYER_CONV, 7, 576, 160, 1, 1, LAYER_LINEAR, false, 1},
    {"mobilenet_v2", LAYER_CONV, 7, 160, 960, 1, 1, LAYER_RELU6, false, 3},
    {"mobilenet_v2", LAYER_DEPTHWISE, 7, 960, 960, 3, 1, LAYER_RELU6, false, 3},
    {"mobilenet_v2", LAYER_CONV, 7, 960, 160, 1, 1, LAYER_LINEAR, true, 2},
    {"mobilenet_v2", LAYER_CONV, 7, 960, 320, 1, 1, LAYER_LINEAR, false, 1},
    {"mobilenet_v2", LAYER_CONV, 7, 320, 1280, 1, 1, LAYER_RELU6, false, 1},
};
/* clang-format on */
constexpr int N_LAYERS = sizeof layers / sizeof *layers;

inline thaw_conv_shape shape_of(const layer &l, int64_t N) {
    int64_t pad = (l.R - 1) / 2, P = (l.H + 2 * pad - l.R) / l.stride + 1;
    int64_t G = l.kind == LAYER_DEPTHWISE ? l.C : 1;
    return {
        N, l.H, l.H, l.C, P, P, l.K, G, {l.R, l.R, l.stride, l.stride, 1, 1, pad, pad, pad, pad}};
}

/* Both activations are clips. */
inline thaw_act act_of(const layer &l) {
    return l.act == LAYER_LINEAR ? THAW_ACT_NONE : THAW_ACT_CLIP;
}
inline float upper_of(const layer &l) {
    return l.act == LAYER_RELU6 ? 6 : INFINITY;
}

#endif
