/* ONNX files, opsets 7 to 26, to a graph. */
#ifndef THAW_ONNX_READ_H
#define THAW_ONNX_READ_H

#include "graph/graph.h"
#include "hash.h"

typedef struct thaw_model {
    thaw_arena arena;
    thaw_graph graph;
    struct Onnx__ModelProto *proto; /* The file as it was; thaw_onnx_write copies from it. */
    const char *path;
    const char *producer;            /* "pytorch 2.1"; never NULL. */
    int64_t channels, height, width; /* Of the input picture. */
    bool open_size;                  /* The file leaves height or width open: they were chosen. */
    bool own;                        /* thaw_onnx_write made it. */
    bool integer_input;              /* The file takes pixels as whole numbers, mostly uint8. */
    int *outputs, n_outputs;         /* All outputs, as values; graph.output is one of them. */
    size_t file_bytes;
} thaw_model;

/* Reads, checks and infers shapes. height, width: used where the file leaves the picture's size
 * open (0: 224). Of several outputs the one that most nodes lie below is taken, of a file that Thaw wrote
 * the first. External data is
 * read from the model's own folder only. The caller frees the model, also after an error.
 * ERR_IO: cannot read; ERR_FORMAT: not ONNX, or damaged, or weights that are not finite;
 * ERR_UNSUPPORTED: operators or types that Thaw lacks, named, or more nodes than it reads;
 * ERR_SHAPE: shapes that do not fit; ERR_NOMEM. */
thaw_status thaw_model_read(thaw_model *model, const char *path, int64_t height, int64_t width,
                            thaw_error *err);

/* As above from memory; path is for messages and external data. bytes may be freed afterwards. */
thaw_status thaw_model_parse(thaw_model *model, const void *bytes, size_t n, const char *path,
                             int64_t height, int64_t width, thaw_error *err);

/* Takes the output of this name instead. ERR_USAGE: there is none, with the names of all;
 * ERR_FORMAT: it does not depend on the picture, or its weights are not finite. */
thaw_status thaw_model_choose_output(thaw_model *model, const char *name, thaw_error *err);

/* A text from the file's metadata_props, NULL when absent. Lives with the model. */
const char *thaw_model_metadata(const thaw_model *model, const char *key);

void thaw_model_free(thaw_model *model);

#endif
