/* Known networks with random weights, as ONNX files: for benchmarks, and for training from scratch.
 *
 * Layers, names of tensors and first weights are those of torchvision 0.15 (BSD licence); batch
 * normalisation is kept, with its first statistics. Numbers come from our own generator, so the
 * weights have PyTorch's distribution and not its bits.
 */
#ifndef THAW_ARCHITECTURES_H
#define THAW_ARCHITECTURES_H

#include <stdint.h>

#include "status.h"

/* What there is, in order. */
#define THAW_ARCHITECTURE_LIST(X) \
    X(resnet18)                   \
    X(resnet50)                   \
    X(resnet_tiny)                \
    X(mobilenet_v2)               \
    X(efficientnet_b0)            \
    X(convnext_tiny)

typedef struct thaw_new_network {
    const char *arch; /* One of thaw_architecture_names. */
    int64_t classes;  /* At least 1. */
    int64_t size;     /* Height and width of the picture, from 32. */
    uint64_t seed;
} thaw_new_network;

/* In order; NULL behind the last. */
const char *const *thaw_architecture_names(void);

/* Writes the network to path, which appears by rename. Input "input" [N,3,size,size], output
 * "output" [N,classes]: scores before softmax. ERR_USAGE: a name that there is not, with the
 * nearest; ERR_IO; ERR_NOMEM; ERR_UNSUPPORTED: more than 2 GB. */
thaw_status thaw_architecture_write(const thaw_new_network *network, const char *path,
                                    thaw_error *err);

#endif
