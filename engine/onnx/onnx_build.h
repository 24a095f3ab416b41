/* Building an ONNX file: nodes, tensors and the file itself. What is built lives in the builder's
 * arena; tensors' values are only pointed to. Out of memory is remembered, and told at the end. */
#ifndef THAW_ONNX_BUILD_H
#define THAW_ONNX_BUILD_H

#include <stdbool.h>

#include "arena.h"
#include "onnx.pb-c.h"
#include "status.h"

typedef struct thaw_onnx_builder {
    thaw_arena arena;
    Onnx__GraphProto graph; /* Its arrays are as long as start made them. */
    bool short_of_memory;   /* Something is missing: from here on nothing is added. */
    size_t
        most_bytes; /* What one file may have before weights get another; 0: the 2 GB of protobuf. */
} thaw_onnx_builder;

/* Makes room for at most so many nodes and tensors, which the caller counts; all zero before. Free
 * with thaw_arena_free of the arena. */
void thaw_onnx_start(thaw_onnx_builder *b, size_t n_nodes, size_t n_tensors);

/* n zeroed bytes, and a copy of a text, in the arena. NULL: out of memory. */
void *thaw_onnx_take(thaw_onnx_builder *b, size_t n);
char *thaw_onnx_text(thaw_onnx_builder *b, const char *text);

/* Appends a node with one output; nodes must be added in the order in which they run. inputs ends
 * with NULL; "" in it leaves an optional input out. Texts are copied. Returns the node, for its
 * attributes, of which there is room for 4; NULL when memory is short. */
Onnx__NodeProto *thaw_onnx_node(thaw_onnx_builder *b, const char *type, const char *name,
                                const char *const *inputs, const char *output);

/* Give a node that thaw_onnx_node has returned (NULL: nothing happens) an attribute of ONNX's type
 * INT, FLOAT or INTS. name must be one that the operator has and the node has not yet; name and the
 * n values are copied. Out of memory is remembered in b. */
void thaw_onnx_int(thaw_onnx_builder *b, Onnx__NodeProto *node, const char *name, int64_t value);
void thaw_onnx_float(thaw_onnx_builder *b, Onnx__NodeProto *node, const char *name, float value);
void thaw_onnx_ints(thaw_onnx_builder *b, Onnx__NodeProto *node, const char *name, int n,
                    const int64_t *values);

/* Add an initializer of shape dims[n_dims] (n_dims = 0: one number), of floats or of int64. name and
 * dims are copied; the values, dense with the last dimension fastest, are the caller's and are read
 * by thaw_onnx_save. */
void thaw_onnx_tensor(thaw_onnx_builder *b, const char *name, int n_dims, const int64_t *dims,
                      const float *values);
void thaw_onnx_int64_tensor(thaw_onnx_builder *b, const char *name, int n_dims, const int64_t *dims,
                            const int64_t *values);

/* Sets the only input and the first output: float tensors of n_dims dimensions, the first of which is
 * the free batch "N" whatever stands there. Texts and sizes are copied. */
void thaw_onnx_ends(thaw_onnx_builder *b, const char *input, int n_input_dims,
                    const int64_t *input_dims, const char *output, int n_output_dims,
                    const int64_t *output_dims);

/* After that: the input's elements are of this type (ONNX's), in place of float. */
void thaw_onnx_input_type(thaw_onnx_builder *b, int type);

/* After that, and once at most: a second output. */
void thaw_onnx_second_output(thaw_onnx_builder *b, const char *output, int n_dims,
                             const int64_t *dims);

/* Appends a pair to m->metadata_props, which has room for it. Both texts are copied. */
void thaw_onnx_metadata(thaw_onnx_builder *b, Onnx__ModelProto *m, const char *key,
                        const char *value);

/* Writes the graph as a file of this program; m: initialised, with opset, version and metadata. Where one file
 * would have more than most_bytes, weights go into one beside it. Both appear by rename, that of the weights
 * first. ERR_UNSUPPORTED: more than 2 GB even so; ERR_NOMEM; ERR_IO. */
thaw_status thaw_onnx_save(thaw_onnx_builder *b, Onnx__ModelProto *m, const char *path,
                           thaw_error *err);

#endif
