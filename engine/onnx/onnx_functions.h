/* Operators that a file defines itself: each call becomes the nodes of its function. */
#ifndef THAW_ONNX_FUNCTIONS_H
#define THAW_ONNX_FUNCTIONS_H

#include <stddef.h>

#include "onnx.pb-c.h"
#include "status.h"

/* Puts the functions' nodes in the place of the calls to them, in functions' bodies, too, until none is left; those
 * of operators that Thaw knows stay calls. model is what protobuf-c has unpacked with this allocator, and stays such
 * a thing, also after an error. A value inside is called FUNCTION#CALL/NAME, a node CALLER/NAME. path is for
 * messages. ERR_UNSUPPORTED: more than most_nodes nodes, calls that never end, or functions of another opset than
 * the file's; ERR_FORMAT: a call with more inputs or outputs than its function has; ERR_NOMEM: the allocator gave
 * nothing. Source: onnx.proto, FunctionProto, IR version 8 to 10. */
thaw_status thaw__onnx_inline(Onnx__ModelProto *model, const char *path, size_t most_nodes,
                              ProtobufCAllocator *allocator, thaw_error *err);

#endif
