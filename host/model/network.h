/* A model file made ready: parsed, its cuts found, one chosen, its preprocessing known. */
#ifndef THAW_NETWORK_H
#define THAW_NETWORK_H

#include "onnx/onnx_read.h"
#include "preprocess.h"
#include "top/tune.h"
#include "trunk/trunk.h"

enum { THAW_NETWORK_NOTES = 5 };

typedef struct thaw_network {
    thaw_model model;
    thaw_cuts cuts;
    const thaw_cut *cut; /* What lies below is frozen. */
    const thaw_cut
        *head_cut;      /* What the new head reads: the same, or what is trained lies between. */
    thaw_recipe recipe; /* How that is trained; THAW_RECIPE_HEAD: nothing lies between. */
    bool pooled;        /* What is kept is the mean over the feature map at the cut. */
    bool head_pooled;   /* The head reads the mean over a feature map. */
    int64_t n_features; /* Of one image, as kept. */
    thaw_preprocess preprocess;
    thaw_choice preprocess_choice;
    const char *head; /* One sentence: what was taken for the old head. */
    /* What was chosen where the file leaves a choice that its user may want to make; one sentence
     * each, in the model's arena. */
    const char *notes[THAW_NETWORK_NOTES];
    int n_notes;
    thaw_hash trunk_hash; /* Of the frozen function: operators and weights. */
} thaw_network;

/* Reads options->model, as thaw_model_open does, chooses its output, head, cut and preprocessing as the options say. Close it also after an
 * error. ERR_USAGE, ERR_IO, ERR_FORMAT, ERR_UNSUPPORTED, as the parts say. */
thaw_status thaw_network_open(thaw_network *network, const thaw_options *options, thaw_error *err);

/* The same for a file whose preprocessing record is known (a bundle's), at its last cut. old: the name of
 * the output that was kept beside the new head's, which is then cut off where the two part; NULL: none. */
thaw_status thaw_network_open_bundle(thaw_network *network, const char *path, const char *old,
                                     const thaw_preprocess *preprocess, thaw_error *err);

void thaw_network_close(thaw_network *network);

/* The same network frozen up to another cut, its tensor as it is. Borrows all else: not to be closed. */
thaw_status thaw_network_at(const thaw_network *network, const thaw_cut *cut, thaw_network *at,
                            thaw_error *err);

/* device = auto: takes the CPU in the place of a device that lacks kernels for the network, and says so in
 * backend->note. Before anything is planned on it. ERR_BACKEND, ERR_NOMEM: the device failed. */
thaw_status thaw_network_settle(const thaw_network *network, thaw_backend *backend,
                                thaw_error *err);

/* Plans the trunk for runs of mostly `batch` images. from: NULL, or a cut below at which it begins, as
 * trunk.h tells. The caller frees the trunk before the network. */
thaw_status thaw_network_plan(const thaw_network *network, const thaw_cut *from, int64_t batch,
                              thaw_dtype compute, thaw_backend *backend, thaw_trunk **trunk,
                              thaw_error *err);

#endif
