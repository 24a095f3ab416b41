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
    bool keep_old; /* The model's own output stays, under its name, as the file's second. */
} thaw_new_head;

/* Writes the nodes of `model` below `cut`, the new layers above, and a softmax whose output is
 * called "scores" [N, K], which is the file's first output. The nodes are in the form for inference, whatever form the file had: all
 * of it in float, shapes and other constants computed, no dropout, no statistics of a batch. The
 * batch is free. One file, below 2 GB, which appears by rename. What this wrote, with one layer,
 * has the same trunk hash at its last cut as `model` at `cut`.
 * ERR_IO; ERR_UNSUPPORTED when it would be too large; ERR_NOMEM. */
thaw_status thaw_onnx_write(const thaw_model *model, const thaw_cut *cut, const thaw_new_head *head,
                            const char *path, thaw_error *err);

#endif
