/* A network as a graph: values (tensors) and nodes (operators), as ONNX has them, with shapes.
 *
 * Shapes are ONNX's: NCHW, batch first. The batch is free: its size is THAW_BATCH, which no
 * arithmetic touches. Everything that does not depend on the pixels is a constant after
 * thaw_graph_infer; everything else is "runtime".
 */
#ifndef THAW_GRAPH_H
#define THAW_GRAPH_H

#include "arena.h"
#include "kernels.h"
#include "status.h"

enum { THAW_MAX_RANK = 8 };

/* The size of the batch dimension. In a constant int64 tensor it stands for "the batch" too, and what
 * follows it for twice the batch, three times, and so on: sizes of what pictures were taken apart into. */
#define THAW_BATCH (-INT64_C(0x7468617762617463))
static inline int64_t thaw_batches(int64_t times) {
    return THAW_BATCH + times - 1;
}
/* How many times the batch a size is; 0: it is a number. */
static inline int64_t thaw_batch_times(int64_t size) {
    return size >= THAW_BATCH && size < THAW_BATCH + INT32_MAX ? size - THAW_BATCH + 1 : 0;
}

typedef struct thaw_value {
    const char *name; /* "" for none. */
    thaw_dtype dtype;
    int rank; /* -1 until inferred. */
    int64_t dims[THAW_MAX_RANK];
    bool nhwc;  /* Dimensions are N,H,W,C: TensorFlow's picture, up to its Transpose. */
    int merged; /* 0: dimensions are the file's. Else the batch was put in front of them, and the
                       * file's axis merged - 1 is the batch times dims[merged]: windows of all pictures,
                       * heads of them, or what has something else in front of the batch. */
    const void *data; /* A constant's elements, dense; NULL: runtime. */
    int64_t step; /* A constant is this much more for each further picture; see fold_places.c. */
    bool repeats; /* A constant is there once for each picture: dims[0], 1, is the batch. */
    int producer; /* Node index; -1: initializer or input. */
    int root;     /* The value whose memory this is: itself, or the one that it renames. */
    int n_uses;   /* By live nodes and as the output; counted at the root. */
} thaw_value;

typedef struct thaw_attr {
    const char *name;
    int64_t i;
    float f;
    const char *s; /* NULL: not a string. */
    const int64_t *ints;
    const float *floats;
    size_t n;   /* Of ints or floats. */
    int tensor; /* Value index, -1: not a tensor. */
} thaw_attr;

typedef struct thaw_node {
    const struct thaw_op *op; /* NULL: an operator without a row. */
    const char *type, *name;  /* name is never empty: the first output's if the file has none. */
    int n_in, n_out, n_attrs;
    int *in, *out; /* Value indices; -1: an optional one that is absent. */
    thaw_attr *attrs;
    bool live;    /* Runtime, and the output depends on it. */
    bool alias;   /* out[0] is in[0] under another name or shape. */
    bool unknown; /* What it makes is not known, and nothing that is computed needs it. */
} thaw_node;

typedef struct thaw_graph {
    thaw_arena *arena; /* Owns everything here. */
    int n_values, n_nodes;
    thaw_value *values;
    thaw_node *nodes; /* In topological order. */
    int input, output;
    bool input_nhwc;       /* The file's input is N,H,W,C (TensorFlow). */
    int64_t opset;         /* Of the default domain. */
    int64_t fixed_batch;   /* The batch size that the file fixes; 0: free. */
    const thaw_node *tail; /* The first node of a tail that was left out; NULL: there is none. */
    size_t fold_room;      /* Bytes that may still be computed from constants; see fold.h. */
} thaw_graph;

/* Infers all shapes, folds constants, marks live nodes and aliases. Fails on an operator without a
 * row (all of them are named with their count), on shapes that do not fit, and as
 * thaw_graph_set_output does. What nobody needs for that never fails: nodes that the output does not
 * depend on, and a tail without weights, such as ArgMax. The output is then what the tail reads. */
thaw_status thaw_graph_infer(thaw_graph *graph, thaw_error *err);

/* Makes a value the output: marks the nodes that it needs. ERR_FORMAT: it does not depend on the
 * input, or a weight of these nodes is not a finite number. */
thaw_status thaw_graph_set_output(thaw_graph *graph, int value, thaw_error *err);

/* marks[i] is set for each node that value depends on; marks has n_nodes zeroed bytes. */
void thaw_graph_mark_below(const thaw_graph *graph, int value, uint8_t *marks);

/* Attributes of a node, with ONNX's default when absent. The pointers live with the graph. */
const thaw_attr *thaw_node_attr(const thaw_node *node, const char *name); /* NULL: absent. */
int64_t thaw_node_int(const thaw_node *node, const char *name, int64_t absent);
float thaw_node_float(const thaw_node *node, const char *name, float absent);

/* The i-th input or output, NULL when absent. */
thaw_value *thaw_node_in(const thaw_graph *graph, const thaw_node *node, int i);
thaw_value *thaw_node_out(const thaw_graph *graph, const thaw_node *node, int i);

/* Elements for one image (batch counts as 1); for a constant, of all of it. -1 on overflow. */
int64_t thaw_value_elements(const thaw_value *value);

/* Channels of a map or a vector, wherever they stand. */
int64_t thaw_value_channels(const thaw_value *value);

/* What an axis behind the batch is of a picture: of N,C,H,W, or N,H,W,C, or N,C. Of three dimensions
 * the last two are H and W, of more, too, and the others together are C. What is N,C and ones is a
 * vector. So the order of a value's numbers is that of N,C,H,W, but for N,H,W,C. */
typedef enum thaw_place { THAW_IN_C, THAW_IN_H, THAW_IN_W } thaw_place;
thaw_place thaw_value_place(const thaw_value *value, int axis);

/* The sizes of its C, H and W. */
void thaw_value_picture(const thaw_value *value, int64_t size[3]);
/* The same with its axes, the last of y's, where y has them: N,T,1 alone is a vector, beside N,T,C a column. */
void thaw_value_picture_beside(const thaw_value *value, const thaw_value *y, int64_t size[3]);

/* Whether two values of equally many numbers are the same memory: they are in the same order and places. */
bool thaw_value_lies_as(const thaw_value *a, const thaw_value *b);

/* Elements of a float constant, or NULL with an error that names the node and what was expected. */
const float *thaw_value_floats(const thaw_graph *graph, const thaw_node *node, int i, int64_t n,
                               thaw_error *err);

/* "N x 3 x 224 x 224" into text. */
void thaw_value_shape_text(const thaw_value *value, char *text, size_t size);

/* What one image costs in this node. */
int64_t thaw_node_flop(const thaw_graph *graph, const thaw_node *node);
/* Trainable numbers in this node. */
int64_t thaw_node_params(const thaw_graph *graph, const thaw_node *node);

#endif
