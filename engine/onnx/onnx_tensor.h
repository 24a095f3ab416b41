/* The elements of a tensor in an ONNX file, wherever and in whatever type it keeps them. */
#ifndef THAW_ONNX_TENSOR_H
#define THAW_ONNX_TENSOR_H

#include "graph/graph.h"
#include "onnx.pb-c.h"

/* ONNX's TensorProto.DataType. */
enum {
    THAW_ONNX_FLOAT = 1,
    THAW_ONNX_UINT8 = 2,
    THAW_ONNX_INT8 = 3,
    THAW_ONNX_INT32 = 6,
    THAW_ONNX_INT64 = 7,
    THAW_ONNX_BOOL = 9,
    THAW_ONNX_FLOAT16 = 10,
    THAW_ONNX_DOUBLE = 11,
    THAW_ONNX_BFLOAT16 = 16,
};

/* Reads t into value: rank, dims, data, and dtype, which is float for all floating types and int64
 * for integers and booleans. The data lies in t where it can, else in the arena. External data is
 * read from the folder of the file at model_path, or below it; nothing that a symbolic link leads
 * to. Errors name value->name. ERR_UNSUPPORTED: another element type, or too many dimensions;
 * ERR_FORMAT: sizes that do not fit, or data outside of the folder; ERR_IO: external data that
 * cannot be read; ERR_NOMEM. */
thaw_status thaw__onnx_tensor_read(const Onnx__TensorProto *t, const char *model_path,
                                   thaw_arena *arena, thaw_value *value, thaw_error *err);

/* Whether elements of this type are whole numbers, of those that are read. */
bool thaw__onnx_is_integer(int type);

/* The value of one of n entries by its key, NULL when there is none. Lives with the entries. */
const char *thaw__onnx_entry(size_t n, Onnx__StringStringEntryProto *const *entries,
                             const char *key);

#endif
