/* What a JSON file beside a model says of its preprocessing: timm's and Hugging Face's records.
 *
 *   NAME.json, preprocessor_config.json or config.json in the folder of NAME.onnx, or in the one above
 *   when that folder is called onnx; the first that says anything counts.
 *   timm: mean, std, interpolation, crop_pct, crop_mode, input_size, also in "pretrained_cfg" or
 *   "default_cfg".
 *   Hugging Face: image_mean, image_std, resample, size, crop_size, rescale_factor, do_rescale,
 *   do_normalize, do_center_crop, do_flip_channel_order.
 *
 * Sources: timm's data/transforms_factory.py, transformers' image processors.
 */
#ifndef THAW_BESIDE_H
#define THAW_BESIDE_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>

#include "picture/image.h"

typedef struct thaw_beside {
    char file[PATH_MAX];    /* "": there is none, and nothing else counts. */
    int height, width;      /* Of the network's pictures; 0: it does not say. */
    int fit, filter, order; /* thaw_fit, thaw_filter, thaw_order; -1: it does not say. */
    int shorter;            /* Before the crop; 0: it does not say. */
    double crop;  /* The crop's share of the shorter side, in its place; 0: it does not say. */
    bool numbers; /* The next three: input = (pixel * scale - mean) / std. */
    double scale, mean[3], std[3];
    char note[160]; /* What of it Thaw does in another way; "": nothing. */
} thaw_beside;

/* Looks for a file beside the model at path, which may be a folder that holds model.onnx; beside an archive
 * none is looked for. None that says anything: THAW_OK, file is "". ERR_IO; ERR_FORMAT: it is no JSON, or
 * what it says of preprocessing is not what is expected there. */
thaw_status thaw_beside_find(const char *path, thaw_beside *beside, thaw_error *err);

/* The same of a file's JSON; where is its name. */
thaw_status thaw_beside_parse(const json_t *json, const char *where, thaw_beside *beside,
                              thaw_error *err);

#endif
