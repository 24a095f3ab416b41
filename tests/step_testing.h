/* One step of every kind and attribute, with what it should put out: the cases that the CPU's kernels are
 * tested with, forwards (test_kernels_cpu) and backwards (test_gradients), and a program of a few steps
 * around each. All memory lies between guard words and begins as NaN.
 */
#ifndef THAW_STEP_TESTING_H
#define THAW_STEP_TESTING_H

#include "arena.h"
#include "kernels.h"
#include "reference.h"
#include "status.h"
#include "testing.h"

enum { MAX_INPUTS = 3, MAX_STEPS = 16, ROUNDINGS = 16 };

typedef struct test_case {
    const char *name;
    thaw_step_kind kind;
    int64_t N, H, W, C;
    int64_t K, G;       /* conv, dense; concat: channels of the second input; slice: K of them;
                         * shuffle, group_norm, softmax: G groups. */
    thaw_window window; /* conv, pool, pad; strides and dilations of 0 mean 1. */
    thaw_epilogue epilogue;
    bool max, count_include_pad, ceil, no_bias;
    int64_t bH, bW, bC; /* add, mul, matmul: the second operand; 0: as the first. resample, reshape,
                         * transpose: the result. */
    int64_t first;      /* slice: the first of its channels. */
    int64_t taps;       /* resample: of each row and column. */
    thaw_permutation axes; /* transpose */
    bool positive;         /* The operation's input is. */
} test_case;

/* One case a line; what a row does not name is 0. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#define CONV THAW_STEP_conv
#define POOL THAW_STEP_pool
#define SQUARE(r, stride, pad) \
    { r, r, stride, stride, 1, 1, pad, pad, pad, pad }
#define ACT(name, a, b) \
    { THAW_ACT_##name, a, b, false }
#define SUM(name, a, b) \
    { THAW_ACT_##name, a, b, true }
#define RELU ACT(CLIP, 0, INFINITY)
#define RELU6 ACT(CLIP, 0, 6)

/* clang-format off */
static const test_case cases[] = {
    /* name, kind, N, H, W, C, K, G, window, epilogue */
    {"import", THAW_STEP_import, 2, 5, 7, 3},
    {"import 1", THAW_STEP_import, 1, 3, 1, 1},
    {"import 17", THAW_STEP_import, 2, 4, 3, 17},

    {"conv 1x1 1->1", CONV, 1, 1, 1, 1, 1, 1, SQUARE(1, 1, 0)},
    {"conv 3x3 s2 3->17", CONV, 2, 11, 13, 3, 17, 1, SQUARE(3, 2, 1)},
    {"conv 3x3 s2 3->24 relu", CONV, 1, 15, 9, 3, 24, 1, SQUARE(3, 2, 1), RELU},
    {"conv 7x7 s2 3->16 relu", CONV, 1, 21, 21, 3, 16, 1, SQUARE(7, 2, 3), RELU},
    /* One column out of one channel: oneDNN 3.7's brgemm is wrong there. */
    {"conv 7x7 1->72 one column", CONV, 2, 14, 6, 1, 72, 1, .window = {7, 7, 1, 2, 1, 1, 2, 0, 2, 2}},
    {"conv 5x6 1->31 one column", CONV, 1, 13, 7, 1, 31, 1, .window = {5, 6, 1, 2, 1, 1, 2, 0, 2, 0}},
    {"conv 3x5 1->30 one column", CONV, 1, 13, 4, 1, 30, 1, .window = {3, 5, 1, 3, 1, 1, 1, 1, 2, 2},
     RELU},
    {"conv 1x1 24->144 relu6", CONV, 2, 7, 5, 24, 144, 1, SQUARE(1, 1, 0), RELU6},
    {"conv 1x1 144->24", CONV, 2, 7, 5, 144, 24, 1, SQUARE(1, 1, 0)},
    {"conv 1x1 17->3 no bias", CONV, 3, 5, 5, 17, 3, 1, SQUARE(1, 1, 0), .no_bias = true},
    {"conv 3x3 17->17", CONV, 1, 8, 9, 17, 17, 1, SQUARE(3, 1, 1)},
    {"conv 3x3 s2 pads 0011", CONV, 1, 12, 12, 16, 32, 1, {3, 3, 2, 2, 1, 1, 0, 0, 1, 1}},
    {"conv 3x3 pads 2013", CONV, 1, 6, 7, 8, 24, 1, {3, 3, 1, 1, 1, 1, 2, 0, 1, 3}},
    {"conv 3x3 dilation 2", CONV, 1, 11, 9, 16, 16, 1, {3, 3, 1, 1, 2, 2, 2, 2, 2, 2}},
    {"conv 3x2 dilation 2,3 s1,2", CONV, 1, 12, 13, 3, 5, 1, {3, 2, 1, 2, 2, 3, 1, 0, 2, 1}},
    {"conv 1x7 17->24", CONV, 1, 5, 12, 17, 24, 1, {1, 7, 1, 1, 1, 1, 0, 3, 0, 3}},
    {"conv 3x3 24->24 g3", CONV, 1, 9, 9, 24, 24, 3, SQUARE(3, 1, 1)},
    {"conv 3x3 s2 32->64 g8 relu", CONV, 2, 9, 7, 32, 64, 8, SQUARE(3, 2, 1), RELU},
    {"conv 1x1 6->9 g3", CONV, 1, 4, 4, 6, 9, 3, SQUARE(1, 1, 0)},
    {"depthwise 3x3 s1 17", CONV, 2, 7, 9, 17, 17, 17, SQUARE(3, 1, 1)},
    {"depthwise 3x3 s1 144 relu6", CONV, 1, 14, 14, 144, 144, 144, SQUARE(3, 1, 1), RELU6},
    {"depthwise 3x3 s2 24 pads 0011", CONV, 2, 8, 8, 24, 24, 24, {3, 3, 2, 2, 1, 1, 0, 0, 1, 1}},
    {"depthwise 3x3 s2 144", CONV, 1, 9, 7, 144, 144, 144, SQUARE(3, 2, 1)},
    {"depthwise 5x5 s1 24", CONV, 1, 9, 7, 24, 24, 24, SQUARE(5, 1, 2), ACT(HARD_SWISH, 0, 0)},
    {"depthwise 5x5 s2 3", CONV, 1, 11, 11, 3, 3, 3, SQUARE(5, 2, 2)},
    {"depthwise 3x3 12->24", CONV, 1, 6, 6, 12, 24, 12, SQUARE(3, 1, 1)},
    {"conv 1x1 144->24 sum", CONV, 2, 7, 7, 144, 24, 1, SQUARE(1, 1, 0), SUM(NONE, 0, 0)},
    {"conv 3x3 17->17 sum clip", CONV, 2, 6, 5, 17, 17, 1, SQUARE(3, 1, 1), SUM(CLIP, -1, 2)},
    {"depthwise 3x3 24 sum silu", CONV, 1, 6, 5, 24, 24, 24, SQUARE(3, 1, 1), SUM(SILU, 0, 0)},
    {"conv 3x3 3->3 sum no bias", CONV, 1, 6, 5, 3, 3, 1, SQUARE(3, 1, 1), SUM(NONE, 0, 0),
     .no_bias = true},
    {"conv 3x3 s2 8->17 sum relu", CONV, 2, 9, 9, 8, 17, 1, SQUARE(3, 2, 1),
     SUM(CLIP, 0, INFINITY)},
    {"conv clip above", CONV, 1, 5, 5, 8, 8, 1, SQUARE(1, 1, 0), ACT(CLIP, -INFINITY, 1)},
    {"conv clip below", CONV, 1, 5, 5, 8, 8, 1, SQUARE(1, 1, 0), ACT(CLIP, -1, INFINITY)},
    {"conv leaky_relu", CONV, 1, 5, 5, 8, 8, 1, SQUARE(1, 1, 0), ACT(LEAKY_RELU, 0.1f, 0)},
    {"conv sigmoid", CONV, 1, 5, 5, 8, 8, 1, SQUARE(1, 1, 0), ACT(SIGMOID, 0, 0)},
    {"conv silu", CONV, 1, 5, 5, 8, 17, 1, SQUARE(1, 1, 0), ACT(SILU, 0, 0)},
    {"conv hard_sigmoid", CONV, 1, 5, 5, 8, 8, 1, SQUARE(1, 1, 0), ACT(HARD_SIGMOID, 0.2f, 0.5f)},
    {"conv hard_swish", CONV, 1, 5, 5, 8, 8, 1, SQUARE(1, 1, 0), ACT(HARD_SWISH, 0, 0)},
    {"conv tanh", CONV, 1, 5, 5, 8, 8, 1, SQUARE(1, 1, 0), ACT(TANH, 0, 0)},
    {"conv gelu", CONV, 1, 5, 5, 8, 17, 1, SQUARE(1, 1, 0), ACT(GELU, 0, 0)},
    {"conv gelu_tanh", CONV, 1, 5, 5, 8, 17, 1, SQUARE(1, 1, 0), ACT(GELU_TANH, 0, 0)},
    {"conv elu", CONV, 1, 5, 5, 8, 17, 1, SQUARE(1, 1, 0), ACT(ELU, 1, 0)},
    {"conv softplus", CONV, 1, 5, 5, 8, 17, 1, SQUARE(1, 1, 0), ACT(SOFTPLUS, 0, 0)},
    {"conv square", CONV, 1, 5, 5, 8, 17, 1, SQUARE(1, 1, 0), ACT(POWER, 2, 0)},

    {"dense 1->1", THAW_STEP_dense, 1, 1, 1, 1, 1},
    {"dense 17->3", THAW_STEP_dense, 3, 1, 1, 17, 3},
    {"dense 144->1000 relu", THAW_STEP_dense, 2, 1, 1, 144, 1000, .epilogue = RELU},
    {"dense 24->24 no bias", THAW_STEP_dense, 5, 1, 1, 24, 24, .no_bias = true},

    {"max 2x2 s2", POOL, 2, 8, 6, 17, .window = SQUARE(2, 2, 0), .max = true},
    {"max 3x3 s2 pad 1", POOL, 1, 11, 9, 24, .window = SQUARE(3, 2, 1), .max = true},
    {"max 3x3 s2 ceil", POOL, 1, 12, 10, 16, .window = SQUARE(3, 2, 0), .max = true, .ceil = true},
    {"max 3x3 s2 pad 1 ceil", POOL, 1, 12, 10, 3, .window = SQUARE(3, 2, 1), .max = true,
     .ceil = true},
    {"max 2x3 dilation 2", POOL, 1, 9, 10, 8, .window = {2, 3, 1, 1, 2, 2, 0, 0, 0, 0},
     .max = true},
    {"max 3x3 s2 pads 0011", POOL, 1, 12, 12, 17, .window = {3, 3, 2, 2, 1, 1, 0, 0, 1, 1},
     .max = true},
    {"mean 2x2 s2", POOL, 2, 8, 6, 17, .window = SQUARE(2, 2, 0)},
    {"mean 3x3 s2 pad 1", POOL, 1, 11, 9, 24, .window = SQUARE(3, 2, 1)},
    {"mean 3x3 s2 pad 1 counts", POOL, 1, 11, 9, 24, .window = SQUARE(3, 2, 1),
     .count_include_pad = true},
    {"mean 3x3 s2, a row and a column left", POOL, 2, 34, 34, 28, .window = SQUARE(3, 2, 0)},
    {"mean 3x3 s2, a row left", POOL, 1, 10, 9, 16, .window = SQUARE(3, 2, 0)},
    {"mean 2x2 s2 ceil", POOL, 1, 7, 9, 3, .window = SQUARE(2, 2, 0), .ceil = true},
    {"mean 3x2 pads 1021", POOL, 1, 7, 9, 16, .window = {3, 2, 2, 1, 1, 1, 1, 0, 2, 1}},

    {"global mean 7x7x17", THAW_STEP_global_mean, 2, 7, 7, 17},
    {"global mean 5x3x144", THAW_STEP_global_mean, 1, 5, 3, 144},
    {"global mean 1x1x24", THAW_STEP_global_mean, 3, 1, 1, 24},

    {"act clip", THAW_STEP_act, 1, 5, 3, 17, .epilogue = ACT(CLIP, -1, 0.5f)},
    {"act relu", THAW_STEP_act, 1, 5, 3, 17, .epilogue = RELU},
    {"act relu6", THAW_STEP_act, 1, 5, 3, 24, .epilogue = RELU6},
    {"act leaky_relu", THAW_STEP_act, 1, 5, 3, 3, .epilogue = ACT(LEAKY_RELU, 0.2f, 0)},
    {"act sigmoid", THAW_STEP_act, 1, 5, 3, 17, .epilogue = ACT(SIGMOID, 0, 0)},
    {"act silu", THAW_STEP_act, 1, 5, 3, 17, .epilogue = ACT(SILU, 0, 0)},
    {"act hard_sigmoid", THAW_STEP_act, 1, 5, 3, 17, .epilogue = ACT(HARD_SIGMOID, 0.3f, 0.4f)},
    {"act hard_swish", THAW_STEP_act, 1, 5, 3, 17, .epilogue = ACT(HARD_SWISH, 0, 0)},
    {"act tanh", THAW_STEP_act, 1, 5, 3, 17, .epilogue = ACT(TANH, 0, 0)},
    {"act gelu", THAW_STEP_act, 1, 5, 3, 17, .epilogue = ACT(GELU, 0, 0)},
    {"act gelu_tanh", THAW_STEP_act, 1, 5, 3, 17, .epilogue = ACT(GELU_TANH, 0, 0)},
    {"act elu", THAW_STEP_act, 1, 5, 3, 17, .epilogue = ACT(ELU, 1.5f, 0)},
    {"act softplus", THAW_STEP_act, 1, 5, 3, 17, .epilogue = ACT(SOFTPLUS, 0, 0)},
    {"act square", THAW_STEP_act, 1, 5, 3, 17, .epilogue = ACT(POWER, 2, 0)},
    {"act cube", THAW_STEP_act, 1, 5, 3, 17, .epilogue = ACT(POWER, 3, 0)},
    {"act root", THAW_STEP_act, 1, 5, 3, 17, .epilogue = ACT(POWER, 0.5f, 0), .positive = true},
    {"act reciprocal", THAW_STEP_act, 1, 5, 3, 17, .epilogue = ACT(POWER, -1, 0),
     .positive = true},
    {"act power -0.75", THAW_STEP_act, 1, 5, 3, 24, .epilogue = ACT(POWER, -0.75f, 0),
     .positive = true},

    {"add", THAW_STEP_add, 2, 5, 3, 17},
    {"add relu", THAW_STEP_add, 1, 5, 3, 24, .epilogue = RELU},
    {"add a channel's", THAW_STEP_add, 2, 5, 3, 17, .bH = 1, .bW = 1, .bC = 17},
    {"add a pixel's", THAW_STEP_add, 2, 5, 3, 24, .bH = 5, .bW = 3, .bC = 1},
    {"add an image's", THAW_STEP_add, 2, 5, 3, 8, .bH = 1, .bW = 1, .bC = 1},
    {"mul", THAW_STEP_mul, 2, 5, 3, 17},
    {"mul gate 144", THAW_STEP_mul, 2, 7, 7, 144, .bH = 1, .bW = 1, .bC = 144},
    {"mul gate 3 silu", THAW_STEP_mul, 1, 4, 5, 3, .bH = 1, .bW = 1, .bC = 3,
     .epilogue = ACT(SILU, 0, 0)},
    {"mul a pixel's", THAW_STEP_mul, 2, 5, 3, 17, .bH = 5, .bW = 3, .bC = 1},

    {"affine 17", THAW_STEP_affine, 2, 5, 3, 17},
    {"affine 24 relu", THAW_STEP_affine, 1, 5, 3, 24, .epilogue = RELU},
    {"affine 1", THAW_STEP_affine, 1, 2, 2, 1},
    {"batch norm 17", THAW_STEP_batch_norm, 2, 5, 3, 17},
    {"batch norm 24 relu6", THAW_STEP_batch_norm, 3, 7, 7, 24, .epilogue = RELU6},
    {"batch norm 1", THAW_STEP_batch_norm, 4, 2, 2, 1},
    {"batch norm of a vector", THAW_STEP_batch_norm, 8, 1, 1, 24},
    {"layer norm 17", THAW_STEP_layer_norm, 2, 5, 3, 17},
    {"layer norm 96", THAW_STEP_layer_norm, 1, 7, 7, 96},
    {"layer norm of a vector", THAW_STEP_layer_norm, 3, 1, 1, 24},

    {"concat 16 + 32", THAW_STEP_concat, 2, 5, 3, 16, 32},
    {"concat 17 + 3", THAW_STEP_concat, 2, 5, 3, 17, 3},
    {"concat 1 + 24", THAW_STEP_concat, 1, 4, 4, 1, 24},

    {"slice 16 of 48", THAW_STEP_slice, 2, 5, 3, 48, 16, .first = 16},
    {"slice 32 of 48, the last", THAW_STEP_slice, 1, 5, 3, 48, 32, .first = 16},
    {"slice 8 of 24", THAW_STEP_slice, 1, 5, 3, 24, 8, .first = 8},
    {"slice 5 of 17", THAW_STEP_slice, 2, 5, 3, 17, 5, .first = 11},
    {"slice 1 of 3", THAW_STEP_slice, 1, 4, 4, 3, 1, .first = 2},
    {"slice 16 of 33", THAW_STEP_slice, 1, 2, 2, 33, 16, .first = 16},
    {"slice a vector", THAW_STEP_slice, 3, 1, 1, 24, 7, .first = 10},

    {"shuffle 24 of 2", THAW_STEP_shuffle, 2, 5, 3, 24, .G = 2},
    {"shuffle 48 of 3", THAW_STEP_shuffle, 1, 5, 3, 48, .G = 3},
    {"shuffle 15 of 5", THAW_STEP_shuffle, 2, 4, 1, 15, .G = 5},
    {"shuffle 116 of 2", THAW_STEP_shuffle, 1, 3, 3, 116, .G = 2},
    {"shuffle 7 of 7", THAW_STEP_shuffle, 1, 2, 2, 7, .G = 7},
    {"shuffle 15 of 5, larger", THAW_STEP_shuffle, 2, 15, 8, 15, .G = 5},

    {"pad 1230", THAW_STEP_pad, 2, 5, 3, 17, .window = {1, 1, 1, 1, 1, 1, 1, 2, 3, 0}},
    {"pad 1111", THAW_STEP_pad, 1, 4, 4, 3, .window = SQUARE(1, 1, 1)},

    {"constant 5x3x17", THAW_STEP_constant, 2, 5, 3, 17},
    {"constant 1x1x24", THAW_STEP_constant, 1, 1, 1, 24},

    {"group norm 24 of 4", THAW_STEP_group_norm, 2, 5, 3, 24, .G = 4},
    {"group norm 17 of 1", THAW_STEP_group_norm, 2, 4, 4, 17, .G = 1},
    {"instance norm 17", THAW_STEP_group_norm, 2, 7, 7, 17, .G = 17},
    {"group norm of a vector", THAW_STEP_group_norm, 3, 1, 1, 24, .G = 3},

    {"softmax 17", THAW_STEP_softmax, 2, 5, 3, 17, .G = 1},
    {"softmax 2 of 24", THAW_STEP_softmax, 2, 1, 1, 24, .G = 12},
    {"softmax 3 of 9", THAW_STEP_softmax, 1, 2, 2, 9, .G = 3},

    {"matmul 5x3 3x7 of 17", THAW_STEP_matmul, 2, 5, 3, 17, .bH = 3, .bW = 7, .bC = 17},
    {"matmul a vector", THAW_STEP_matmul, 1, 16, 9, 1, .bH = 9, .bW = 1, .bC = 1},

    {"resample 1 tap", THAW_STEP_resample, 2, 5, 3, 17, .bH = 7, .bW = 6, .taps = 1},
    {"resample 2 taps", THAW_STEP_resample, 1, 4, 6, 24, .bH = 9, .bW = 3, .taps = 2},
    {"resample 4 taps", THAW_STEP_resample, 2, 7, 7, 3, .bH = 2, .bW = 11, .taps = 4},
    {"resample to one row", THAW_STEP_resample, 1, 5, 4, 16, .bH = 1, .bW = 4, .taps = 5},

    {"transpose 5x3x17", THAW_STEP_transpose, 2, 5, 3, 17, .bH = 17, .bW = 3, .bC = 5,
     .axes = {3, {17, 5, 3}, {1, 0, 2}}},
    {"transpose blocks", THAW_STEP_transpose, 2, 4, 6, 8, .bH = 2, .bW = 3, .bC = 32,
     .axes = {5, {8, 2, 2, 3, 2}, {2, 4, 0, 1, 3}}},
    {"transpose a vector", THAW_STEP_transpose, 3, 1, 1, 24, .bH = 4, .bW = 1, .bC = 6,
     .axes = {2, {4, 6}, {1, 0}}},

    {"reshape 3x5x16 to 15x4x4", THAW_STEP_reshape, 2, 3, 5, 16, .bH = 4, .bW = 4, .bC = 15},
    {"reshape a vector to a row", THAW_STEP_reshape, 2, 1, 1, 17, .bH = 1, .bW = 17, .bC = 1},
    {"flatten 3x5x17", THAW_STEP_reshape, 2, 3, 5, 17},
    {"flatten 7x7x24", THAW_STEP_reshape, 1, 7, 7, 24},
    {"flatten 1x1x3", THAW_STEP_reshape, 2, 1, 1, 3},
};
/* clang-format on */

/* ---- memory between guards, full of NaN ----------------------------------------------------- */

enum { GUARD = 256 };

typedef struct guarded {
    uint8_t *base;
    size_t n;
} guarded;

static guarded guarded_new(size_t n) {
    guarded g = {NULL, n};
    if (posix_memalign((void **)&g.base, 64, n + 2 * GUARD + 64) != 0) abort();
    memset(g.base, 0x5a, n + 2 * GUARD + 64);
    return g;
}

static void *guarded_data(const guarded *g) {
    return g->base + GUARD;
}

/* All bits set is a NaN in float and in bf16. */
static void guarded_poison(const guarded *g) {
    memset(g->base + GUARD, 0xff, g->n);
}

static bool guarded_intact(const guarded *g) {
    for (int i = 0; i < GUARD; i++)
        if (g->base[i] != 0x5a || g->base[GUARD + g->n + (size_t)i] != 0x5a) return false;
    return true;
}

/* ---- a program of a few steps -------------------------------------------------------------- */

typedef struct program {
    const test_case *row;
    thaw_arena arena;
    thaw_plan_context plan;
    uint64_t random;
    thaw_dtype compute, stored; /* Of factors; of the tensors between steps. */
    int n_steps;
    thaw_step steps[MAX_STEPS];
    thaw_port ports[MAX_STEPS];
    ref_tensor values[MAX_STEPS]; /* What each step should put out. */
    thaw_port *in[MAX_STEPS][MAX_INPUTS];
    guarded memory[MAX_STEPS], workspace, features;
    uint8_t *pixels;
} program;

static void *device, *stream;

/* Multiples of 2^-18: a difference of one more is exact. */
static float *numbers(program *p, int64_t n, float low, float high) {
    float *v = thaw_arena_array(&p->arena, (size_t)n, sizeof *v);
    for (int64_t i = 0; i < n; i++)
        v[i] =
            roundf((low + (test_uniform(&p->random) + 1) / 2 * (high - low)) * 0x1p18f) * 0x1p-18f;
    return v;
}

static thaw_step *add_step(program *p, thaw_step_kind kind, int64_t H, int64_t W, int64_t C) {
    int i = p->n_steps++;
    p->ports[i] = (thaw_port){.N = p->row->N, .H = H, .W = W, .C = C, .dtype = p->stored};
    p->values[i] = ref_new(p->row->N, H, W, C);
    p->steps[i] = (thaw_step){.kind = kind,
                              .compute = p->compute,
                              .name = p->row->name,
                              .in = p->in[i],
                              .out = &p->ports[i]};
    return &p->steps[i];
}

/* The i-th step's output becomes an input of the step. */
static void read_from(program *p, thaw_step *step, int i) {
    step->in[step->n_in++] = &p->ports[i];
}

/* Taps of y's places along an axis of x: any places, any weights, of which some are 0. */
static thaw_taps some_taps(program *p, int64_t n, int64_t in, int64_t out) {
    int32_t *from = thaw_arena_array(&p->arena, (size_t)(n * out), sizeof *from);
    float *weight = numbers(p, n * out, -1, 1);
    for (int64_t i = 0; i < n * out; i++) {
        from[i] = (int32_t)(test_random(&p->random) % (uint64_t)in);
        if (i % 5 == 4) weight[i] = 0;
    }
    return (thaw_taps){n, from, weight};
}

/* Pixels of this shape as an activation; returns its step. */
static int add_source(program *p, int64_t H, int64_t W, int64_t C, bool blocked) {
    thaw_step *import = add_step(p, THAW_STEP_import, H, W, C);
    bool positive = p->row->positive;
    import->scale = numbers(p, C, 0.005f, 0.02f);
    import->shift = numbers(p, C, positive ? 0.5f : -2.5f, positive ? 1 : 0);
    int i = p->n_steps - 1;
    for (int64_t k = 0; k < ref_size(&p->values[i]); k++)
        p->values[i].v[k] = p->pixels[k] * import->scale[k % C] + import->shift[k % C];
    if (!blocked) return i;
    thaw_step *conv = add_step(p, THAW_STEP_conv, H, W, C);
    read_from(p, conv, i);
    conv->conv = (thaw_conv_shape){p->row->N, H, W, C, H, W, C, 1, SQUARE(1, 1, 0)};
    float reach = 1 / sqrtf((float)C);
    conv->w = numbers(p, C * C, positive ? 0 : -reach, reach);
    conv->b = numbers(p, C, positive ? 0.25f : -0.5f, 0.5f);
    ref_conv(&conv->conv, &p->values[i], conv->w, conv->b, &p->values[i + 1]);
    return i + 1;
}

static int64_t or_1(int64_t n) {
    return n ? n : 1;
}

static int64_t slides(int64_t in, int64_t pads, int64_t reach, int64_t stride, bool ceil) {
    int64_t room = in + pads - reach;
    return room / stride + 1 + (ceil && room % stride ? 1 : 0);
}

/* The operation under test over step `x`. */
static void add_operation(program *p, int x, bool blocked) {
    const test_case *t = p->row;
    thaw_window w = t->window;
    w.stride_h = or_1(w.stride_h), w.stride_w = or_1(w.stride_w);
    w.dilation_h = or_1(w.dilation_h), w.dilation_w = or_1(w.dilation_w);
    int64_t reach_h = (w.R - 1) * w.dilation_h + 1, reach_w = (w.S - 1) * w.dilation_w + 1;
    int64_t P = slides(t->H, w.pad_top + w.pad_bottom, reach_h, w.stride_h, t->ceil);
    int64_t Q = slides(t->W, w.pad_left + w.pad_right, reach_w, w.stride_w, t->ceil);
    int64_t H = t->H, W = t->W, C = t->C, each = t->G ? t->C / t->G * w.R * w.S : t->C;
    float reach = sqrtf(3.0f / (float)each);
    ref_tensor *vx = &p->values[x], *vy = &p->values[p->n_steps];
    int second = -1;
    if (t->kind == THAW_STEP_add || t->kind == THAW_STEP_mul || t->kind == THAW_STEP_matmul)
        second =
            add_source(p, or_1(t->bC ? t->bH : H), t->bC ? t->bW : W, t->bC ? t->bC : C, blocked);
    if (t->kind == THAW_STEP_concat) second = add_source(p, H, W, t->K, blocked);
    if (t->epilogue.residual) second = add_source(p, P, Q, t->K, blocked);
    vy = &p->values[p->n_steps];
    ref_tensor *vb = second >= 0 ? &p->values[second] : NULL;
    thaw_step *step = NULL;
    switch (t->kind) {
        case THAW_STEP_conv:
            step = add_step(p, t->kind, P, Q, t->K);
            step->conv = (thaw_conv_shape){t->N, H, W, C, P, Q, t->K, t->G, w};
            step->w = numbers(p, t->K * each, -reach, reach);
            step->b = t->no_bias ? NULL : numbers(p, t->K, -1, 1);
            ref_conv(&step->conv, vx, step->w, step->b, vy);
            break;
        case THAW_STEP_dense:
            step = add_step(p, t->kind, 1, 1, t->K);
            step->conv = (thaw_conv_shape){t->N, 1, 1, C, 1, 1, t->K, 1, SQUARE(1, 1, 0)};
            step->w = numbers(p, t->K * C, -reach, reach);
            step->b = t->no_bias ? NULL : numbers(p, t->K, -1, 1);
            ref_dense(vx, step->w, step->b, vy);
            break;
        case THAW_STEP_pool:
            step = add_step(p, t->kind, P, Q, C);
            step->pool = (thaw_pool_shape){t->N, H, W, C, P, Q, w, t->max, t->count_include_pad};
            ref_pool(&step->pool, vx, vy);
            break;
        case THAW_STEP_global_mean:
            step = add_step(p, t->kind, 1, 1, C);
            ref_global_mean(vx, vy);
            break;
        case THAW_STEP_act:
            step = add_step(p, t->kind, H, W, C);
            memcpy(vy->v, vx->v, (size_t)ref_size(vx) * sizeof *vx->v);
            break;
        case THAW_STEP_add:
            step = add_step(p, t->kind, H, W, C);
            ref_add(vx, vb, vy);
            break;
        case THAW_STEP_mul:
            step = add_step(p, t->kind, H, W, C);
            ref_mul(vx, vb, vy);
            break;
        case THAW_STEP_affine:
            step = add_step(p, t->kind, H, W, C);
            step->scale = numbers(p, C, -2, 2);
            step->shift = numbers(p, C, -1, 1);
            ref_affine(vx, step->scale, step->shift, vy);
            break;
        case THAW_STEP_batch_norm:
            step = add_step(p, t->kind, H, W, C);
            step->scale = numbers(p, C, -2, 2);
            step->shift = numbers(p, C, -1, 1);
            step->mean = numbers(p, C, -1, 1);
            step->var = numbers(p, C, 0.5f, 2);
            step->epsilon = 1e-3f;
            ref_batch_norm(vx, step->scale, step->shift, step->mean, step->var, step->epsilon, vy);
            break;
        case THAW_STEP_layer_norm:
            step = add_step(p, t->kind, H, W, C);
            step->scale = numbers(p, C, -2, 2);
            step->shift = numbers(p, C, -1, 1);
            step->epsilon = 1e-3f;
            ref_layer_norm(vx, step->scale, step->shift, step->epsilon, vy);
            break;
        case THAW_STEP_concat:
            step = add_step(p, t->kind, H, W, C + t->K);
            ref_concat(vx, 0, vy);
            ref_concat(vb, C, vy);
            break;
        case THAW_STEP_slice:
            step = add_step(p, t->kind, H, W, t->K);
            step->first = t->first;
            ref_slice(vx, t->first, vy);
            break;
        case THAW_STEP_shuffle:
            step = add_step(p, t->kind, H, W, C);
            step->groups = t->G;
            ref_shuffle(vx, t->G, vy);
            break;
        case THAW_STEP_pad:
            step =
                add_step(p, t->kind, H + w.pad_top + w.pad_bottom, W + w.pad_left + w.pad_right, C);
            step->conv.window = w;
            ref_pad(vx, &w, vy);
            break;
        case THAW_STEP_constant:
            step = add_step(p, t->kind, H, W, C);
            step->w = numbers(p, H * W * C, -1, 1);
            ref_constant(step->w, vy);
            return;
        case THAW_STEP_group_norm:
            step = add_step(p, t->kind, H, W, C);
            step->groups = t->G;
            step->scale = numbers(p, C, -2, 2);
            step->shift = numbers(p, C, -1, 1);
            step->epsilon = 1e-3f;
            ref_group_norm(vx, t->G, step->scale, step->shift, step->epsilon, vy);
            break;
        case THAW_STEP_softmax:
            step = add_step(p, t->kind, H, W, C);
            step->groups = t->G;
            ref_softmax(vx, t->G, vy);
            break;
        case THAW_STEP_matmul:
            step = add_step(p, t->kind, H, t->bW, C);
            ref_matmul(vx, vb, vy);
            break;
        case THAW_STEP_resample:
            step = add_step(p, t->kind, t->bH, t->bW, C);
            step->rows = some_taps(p, t->taps, H, t->bH);
            step->columns = some_taps(p, t->taps, W, t->bW);
            ref_resample(vx, &step->rows, &step->columns, vy);
            break;
        case THAW_STEP_transpose:
            step = add_step(p, t->kind, t->bH, t->bW, t->bC);
            step->axes = t->axes;
            ref_transpose(vx, &t->axes, vy);
            break;
        case THAW_STEP_reshape:
            step = t->bC ? add_step(p, t->kind, t->bH, t->bW, t->bC)
                         : add_step(p, t->kind, 1, 1, H * W * C);
            ref_reshape(vx, vy);
            break;
        default:
            return; /* import and export are always there. */
    }
    read_from(p, step, x);
    if (second >= 0) read_from(p, step, second);
    step->epilogue = t->epilogue;
    ref_epilogue(&t->epilogue, t->epilogue.residual ? vb : NULL, vy);
}

#endif
