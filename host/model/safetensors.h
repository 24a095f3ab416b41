/* Weights as a safetensors file: eight bytes of length, JSON that names types, shapes and places, numbers.
 * github.com/huggingface/safetensors, format 0.4. */
#ifndef THAW_SAFETENSORS_H
#define THAW_SAFETENSORS_H

#include "onnx/onnx_read.h"

/* Writes the float tensors that nodes behind number `first` of the model's graph read, under their
 * names in the file, each once; *n receives how many. The file appears by rename. ERR_IO, ERR_NOMEM. */
thaw_status thaw_safetensors_write(const thaw_model *model, int first, const char *path, int *n,
                                   thaw_error *err);

#endif
