/* The bundle: the folder that training writes and serving reads.
 *
 *   model.onnx    the whole network with its new head, softmax or sigmoid included, and the old one if that is kept
 *                 (its weights in model.onnx.data, where they do not fit into one file)
 *   bundle.json   preprocessing, labels, which of the two scores are, provenance, options, metrics, golden pictures' scores
 *   golden/       three pictures of the dataset, as they were; their scores are checked on loading
 *   known.bin     where it says `unknown`: what that is told by, see novelty_file.h
 *
 * The temperature by which training has calibrated the scores (top/temperature.h) is in the head's last layer
 * already, so that all that runs model.onnx, which ends in a softmax, shows the same probabilities; bundle.json
 * says what it was.
 */
#ifndef THAW_BUNDLE_H
#define THAW_BUNDLE_H

#include <jansson.h>

#include "kept_head.h"
#include "top/dense.h"
#include "top/novelty.h"

enum { THAW_GOLDEN = 3, THAW_BUNDLE_FORMAT = 1 };

/* A network with its labels, ready to score pictures. */
typedef struct thaw_bundle {
    thaw_network network;
    thaw_backend *backend;
    thaw_dense layers[THAW_MAX_DENSE];
    int n_layers;
    const char *const *labels; /* [n_labels], in the order of the scores. */
    size_t n_labels;
    thaw_kept_head old;   /* output NULL: none was kept. */
    thaw_novelty novelty; /* Method none: every picture gets an answer. */
    json_t *json;         /* All of bundle.json. */
    thaw_arena arena;
} thaw_bundle;

/* Loads RUN, a folder or one packed, and scores its golden pictures; a difference above 1e-3 in any score is ERR_MISMATCH
 * (another decoder, a changed file, a broken library). Close it also after an error.
 * ERR_IO, ERR_FORMAT: no bundle, or a damaged one. */
thaw_status thaw_bundle_open(thaw_bundle *bundle, const char *run, thaw_backend *backend,
                             thaw_error *err);

/* Whether a picture may have several classes, or none: those whose scores, of sigmoids, are above 0.5. */
bool thaw_bundle_several(const thaw_bundle *bundle);

void thaw_bundle_close(thaw_bundle *bundle);

/* Lets go of the file's weights but the head's, for whoever runs the trunk elsewhere: what is left scores
 * features. A bundle with an old head keeps all, which that needs. ERR_NOMEM: it can only be closed. */
thaw_status thaw_bundle_shed(thaw_bundle *bundle, thaw_error *err);

/* What the golden pictures' scores are computed in on this device, and what predicting should be: fp32,
 * or fp16 where there is no fp32. */
thaw_dtype thaw_bundle_precision(const thaw_backend *backend);

/* What training knows. */
typedef struct thaw_bundle_spec {
    const thaw_network *network;
    const thaw_dense *layers;
    int n_layers;
    const char *const *labels;
    size_t n_labels;
    const thaw_kept_head *old; /* output NULL: it goes. */
    double temperature;        /* Which the head has. */
    const thaw_novelty *novelty;
    const thaw_options *options;
    json_t *metrics;                 /* Borrowed. */
    const char *golden[THAW_GOLDEN]; /* Paths of pictures; NULL: fewer. */
    thaw_backend *backend;
    size_t most_bytes; /* What model.onnx may have before its weights get a file; 0: 2 GB. */
} thaw_bundle_spec;

/* Writes model.onnx, bundle.json, golden/ and known.bin into an existing folder that is not yet in use. */
thaw_status thaw_bundle_write(const thaw_bundle_spec *spec, const char *folder, thaw_error *err);

#endif
