/* Preprocessing: what happens to a picture before the network sees it.
 *
 * It is part of the model. One record, written into bundle.json and into the ONNX file's metadata,
 * and one implementation (image.c for the pixels, the trunk's import for the numbers), used by
 * train, eval and predict alike.
 */
#ifndef THAW_PREPROCESS_H
#define THAW_PREPROCESS_H

#include "beside.h"
#include "json.h"
#include "onnx/onnx_read.h"
#include "options/options.h"
#include "picture/image.h"

typedef struct thaw_preprocess {
    thaw_geometry geometry; /* Size, fit, filter, channels, colour order, decoding. */
    double scale;           /* Network input = (u8 * scale - mean[c]) / std[c]. */
    double mean[3], std[3];
} thaw_preprocess;

/* How sure the choice is. */
#define THAW_CERTAINTY_LIST(X) \
    X(THAW_CERTAIN, "certain") \
    X(THAW_LIKELY, "likely")   \
    X(THAW_GUESS, "a guess")
typedef enum thaw_certainty { THAW_CERTAINTY_LIST(THAW_ENUM_VALUE) } thaw_certainty;

typedef struct thaw_choice {
    char why[384]; /* One sentence: what was chosen, from what, and how sure that is. */
    const char *reason;
    thaw_certainty certainty;
} thaw_choice;

/* The record for a model under the options: a preset, or, under auto, what the model's own metadata say, or
 * else what stands beside it (see beside.h; NULL: nothing does), or else what its operators, outputs and
 * producer suggest; then each image.* option that is given.
 * ERR_USAGE: a combination that cannot be, such as std = 0. */
thaw_status thaw_preprocess_choose(const thaw_model *model, const thaw_beside *beside,
                                   const thaw_options *options, thaw_preprocess *preprocess,
                                   thaw_choice *choice, thaw_error *err);

/* Takes order, scale, mean and std of a preset; all else stays. */
void thaw_preprocess_take(thaw_preset preset, thaw_preprocess *preprocess);

/* The first preset that has these numbers and this order; NULL: none. */
const char *thaw_preprocess_name(const thaw_preprocess *preprocess);

/* The shorter side of which a crop of `side` takes the share `crop`, as timm rounds it. */
int thaw_preprocess_shorter(int64_t side, double crop);

/* The multiplier and offset of each channel for the trunk: input = u8 * scale + shift. */
void thaw_preprocess_affine(const thaw_preprocess *preprocess, float scale[3], float shift[3]);

/* To and from JSON: "width", "height", "fit", "shorter", "filter", "channels", "order",
 * "background", "scale", "mean", "std" of an object, and "decode" and "window", without which, as in
 * older records, they are exact and file. where is named in errors (ERR_FORMAT). */
void thaw_preprocess_json(thaw_json *json, json_t *into, const thaw_preprocess *preprocess);
thaw_status thaw_preprocess_line(const thaw_preprocess *preprocess, char **line,
                                 thaw_error *err); /* As one line, to be freed. */
thaw_status thaw_preprocess_parse(const json_t *json, const char *where,
                                  thaw_preprocess *preprocess, thaw_error *err);

/* The record as named texts, one a field: the facts that the cache keys on. */
enum { THAW_PREPROCESS_FACTS = 11, THAW_PREPROCESS_FACT_TEXT = 96 };
void thaw_preprocess_facts(const thaw_preprocess *preprocess,
                           const char *names[THAW_PREPROCESS_FACTS],
                           char texts[THAW_PREPROCESS_FACTS][THAW_PREPROCESS_FACT_TEXT]);

#endif
