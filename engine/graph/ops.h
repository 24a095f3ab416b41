/* One row an operator: everything that Thaw knows of it. The rows stand in ops/, a family a file,
 * each behind the functions that it names. */
#ifndef THAW_OPS_H
#define THAW_OPS_H

#include "graph.h"

struct thaw_lowering;

typedef struct thaw_op {
    const char *type; /* ONNX's name, default domain, opsets 7 to 26. */
    /* Sets the shapes of the outputs, or their data when it can be known without pixels. */
    thaw_status (*infer)(thaw_graph *graph, thaw_node *node, thaw_error *err);
    /* Appends the node to a trunk program. NULL: only constants and aliases go through here. */
    thaw_status (*lower)(struct thaw_lowering *lowering, const thaw_node *node, thaw_error *err);
    uint32_t params; /* Bit i: input i is trained when it is constant. */
    int64_t (*flop)(const thaw_graph *graph, const thaw_node *node); /* NULL: one an output. */
    thaw_epilogue act; /* An activation: which, with its parameters where the node has none. */
} thaw_op;

/* The row for an operator, NULL when there is none. domain "" and "ai.onnx" are the default. */
const thaw_op *thaw_op_find(const char *domain, const char *type);

/* All rows, in the order of their names; n receives the count. */
const thaw_op *const *thaw_op_table(int *n);

/* The operators. A word here and a row thaw_op_NAME in ops/ make one. */
#define THAW_OP_LIST(X)      \
    X(Abs)                   \
    X(Add)                   \
    X(AveragePool)           \
    X(BatchNormalization)    \
    X(Cast)                  \
    X(CastLike)              \
    X(Clip)                  \
    X(Concat)                \
    X(Constant)              \
    X(Conv)                  \
    X(ConvTranspose)         \
    X(CumSum)                \
    X(DepthToSpace)          \
    X(Div)                   \
    X(Dropout)               \
    X(Elu)                   \
    X(Erf)                   \
    X(Expand)                \
    X(Flatten)               \
    X(Gather)                \
    X(GatherND)              \
    X(Gelu)                  \
    X(Gemm)                  \
    X(GlobalAveragePool)     \
    X(GlobalMaxPool)         \
    X(GroupNormalization)    \
    X(HardSigmoid)           \
    X(HardSwish)             \
    X(Identity)              \
    X(InstanceNormalization) \
    X(LRN)                   \
    X(LayerNormalization)    \
    X(LeakyRelu)             \
    X(MatMul)                \
    X(Max)                   \
    X(MaxPool)               \
    X(Mean)                  \
    X(Min)                   \
    X(Mish)                  \
    X(Mul)                   \
    X(Neg)                   \
    X(PRelu)                 \
    X(Pad)                   \
    X(Pow)                   \
    X(Reciprocal)            \
    X(ReduceL1)              \
    X(ReduceL2)              \
    X(ReduceMax)             \
    X(ReduceMean)            \
    X(ReduceMin)             \
    X(ReduceSum)             \
    X(ReduceSumSquare)       \
    X(Relu)                  \
    X(Reshape)               \
    X(Resize)                \
    X(Selu)                  \
    X(Shape)                 \
    X(Sigmoid)               \
    X(Slice)                 \
    X(Softmax)               \
    X(Softplus)              \
    X(Softsign)              \
    X(SpaceToDepth)          \
    X(Split)                 \
    X(Sqrt)                  \
    X(Squeeze)               \
    X(Sub)                   \
    X(Sum)                   \
    X(Tanh)                  \
    X(Transpose)             \
    X(Unsqueeze)             \
    X(Upsample)              \
    X(Where)

#define X(name) extern const thaw_op thaw_op_##name;
THAW_OP_LIST(X)
#undef X

#define X(name) +1
enum { THAW_OP_COUNT = THAW_OP_LIST(X) };
#undef X

#endif
