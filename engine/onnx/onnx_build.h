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
    bool short_of_memory;
} thaw_onnx_builder;

/* Room for so many nodes and tensors. Free with thaw_arena_free of the arena. */
void thaw_onnx_start(thaw_onnx_builder *b, size_t n_nodes, size_t n_tensors);

void *thaw_onnx_take(thaw_onnx_builder *b, size_t n); /* Zeroed. NULL: out of memory. */
char *thaw_onnx_text(thaw_onnx_builder *b, const char *text);

/* Adds a node; inputs ends with NULL. Returns it, for its attributes, of which there is room for 4;
 * NULL when memory is short, which the functions for attributes take. */
Onnx__NodeProto *thaw_onnx_node(thaw_onnx_builder *b, const char *type, const char *name,
                                const char *const *inputs, const char *output);
void thaw_onnx_int(thaw_onnx_builder *b, Onnx__NodeProto *node, const char *name, int64_t value);
void thaw_onnx_float(thaw_onnx_builder *b, Onnx__NodeProto *node, const char *name, float value);
void thaw_onnx_ints(thaw_onnx_builder *b, Onnx__NodeProto *node, const char *name, int n,
                    const int64_t *values);

/* Adds a float tensor. */
void thaw_onnx_tensor(thaw_onnx_builder *b, const char *name, int n_dims, const int64_t *dims,
                      const float *values);

/* The only input and output: float tensors N x dims[1] ... */
void thaw_onnx_ends(thaw_onnx_builder *b, const char *input, int n_input_dims,
                    const int64_t *input_dims, const char *output, int n_output_dims,
                    const int64_t *output_dims);

/* Appends to m's texts, which have room for it. */
void thaw_onnx_metadata(thaw_onnx_builder *b, Onnx__ModelProto *m, const char *key,
                        const char *value);

/* Writes the graph as a file of this program; m: initialised, with opset, version and metadata.
 * The file appears by rename. ERR_UNSUPPORTED: more than 2 GB; ERR_NOMEM; ERR_IO. */
thaw_status thaw_onnx_save(thaw_onnx_builder *b, Onnx__ModelProto *m, const char *path,
                           thaw_error *err);

#endif
