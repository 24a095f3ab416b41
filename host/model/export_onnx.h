/* A run's network as a file for other programs. */
#ifndef THAW_EXPORT_ONNX_H
#define THAW_EXPORT_ONNX_H

#include <stdbool.h>
#include <stddef.h>

#include "status.h"

/* What a training with export.preprocess writes beside model.onnx. */
#define THAW_PIXELS_FILE "pixels.onnx"

/* Writes the model.onnx of the run's folder to the file `to`; preprocess: behind operators that make its input
 * of decoded pixels, u8 [N, H, W, C] in the order R, G, B, of the network's size, so that it answers as predict
 * does of pictures that have it. Such a file is itself a model to train on: it says that it takes pixels as they
 * are. most_bytes: see onnx_build.h, 0 but in tests. ERR_IO, ERR_FORMAT: no bundle, or a damaged one; ERR_USAGE:
 * `to` is the run's own model; what writing returns. */
thaw_status thaw_export_onnx(const char *run, const char *to, bool preprocess, size_t most_bytes,
                             thaw_error *err);

#endif
