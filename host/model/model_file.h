/* What `model` may name: an ONNX file, a run, or a packed run. */
#ifndef THAW_MODEL_FILE_H
#define THAW_MODEL_FILE_H

#include <jansson.h>

#include "onnx/onnx_read.h"
#include "onnx/onnx_write.h"

/* In a run: where its network's weights are when they do not fit into model.onnx. */
#define THAW_MODEL_DATA "model.onnx" THAW_ONNX_DATA

/* Reads the ONNX file at path; where path is a folder or an archive (see archive.h), the model.onnx in it.
 * An archive is unpacked below $TMPDIR, or /tmp, while it is read. model->path is where that file is: in
 * the folder, and of an archive its own path. ERR_MISMATCH when a bundle.json beside it is another model's. As thaw_model_read otherwise, whose statuses come beside
 * those of thaw_archive_unpack. */
thaw_status thaw_model_open(thaw_model *model, const char *path, int64_t height, int64_t width,
                            thaw_error *err);

/* The hash of a model's file, and of its weights where they have one of their own beside it, which its
 * bundle.json has as "model_hash". */
thaw_status thaw_model_hash(const char *path, char text[THAW_HASH_TEXT], thaw_error *err);

/* Holds the file at path against a bundle.json: ERR_MISMATCH when that was written for another. */
thaw_status thaw_model_check_hash(const char *path, const json_t *bundle, thaw_error *err);

#endif
