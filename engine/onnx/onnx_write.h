/* A network with a new head, as an ONNX file. */
#ifndef THAW_ONNX_WRITE_H
#define THAW_ONNX_WRITE_H

#include "graph/cuts.h"
#include "onnx_read.h"
#include "top/dense.h"

/* One text that goes into the file's metadata_props; an older one of the same key goes out. */
typedef struct thaw_metadata {
    const char *key, *value;
} thaw_metadata;

typedef struct thaw_new_head {
    bool pooled;              /* The layers see the mean over height and width. */
    const thaw_dense *layers; /* The last one's K scores go through a softmax, or a sigmoid. */
    int n_layers;
    const thaw_metadata *metadata;
    int n_metadata;
    bool keep_old;     /* The model's own output stays, under its name, as the file's second. */
    size_t most_bytes; /* See onnx_build.h; 0: 2 GB. */
} thaw_new_head;

/* What stands behind a file's name in that of its weights, where these do not fit into it. */
#define THAW_ONNX_DATA ".data"

/* Writes the nodes of `model` below `cut`, the new layers above, and a softmax whose output is
 * called "scores" [N, K], which is the file's first output. The nodes are in the form for inference, whatever
 * form the file had: all of it in float, shapes and other constants computed, no dropout, no statistics of a
 * batch. Names, opset, metadata, and the input with its layout and type are the model's; the batch is free.
 * One file, or, from 2 GB on, one and its weights beside it (PATH.data), which appear by rename. What this
 * wrote, with one layer, has the same trunk hash at its last cut as `model` at `cut`.
 * ERR_IO; ERR_UNSUPPORTED when it would be too large; ERR_NOMEM. */
thaw_status thaw_onnx_write(const thaw_model *model, const thaw_cut *cut, const thaw_new_head *head,
                            const char *path, thaw_error *err);

/* What makes a model's input of decoded pixels, u8 [N, H, W, C] in the order R, G, B: pixel * scale + shift. */
typedef struct thaw_onnx_front {
    float scale[3], shift[3]; /* By the model's own channels. */
    bool flips;               /* Which are B, G, R. */
} thaw_onnx_front;

/* Writes a model that thaw_onnx_write made again: as it is with front NULL, or behind operators that do so, when its
 * input is called "pixels"; where the model takes such pixels already, that is as it is. metadata goes over what the model has. ERR_UNSUPPORTED: the model takes whole numbers, and the front makes
 * others; as thaw_onnx_write otherwise. */
thaw_status thaw_onnx_write_front(const thaw_model *model, const thaw_onnx_front *front,
                                  const thaw_metadata *metadata, int n_metadata, size_t most_bytes,
                                  const char *path, thaw_error *err);

#endif
