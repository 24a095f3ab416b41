/* What a bundle needs to say `unknown`: "reject" in bundle.json, and known.bin beside it.
 *
 *   knn           known.bin: [rows, features] halves, training rows of length 1
 *   mahalanobis   known.bin: floats, centre [features], whiten [features, features], means [rows, features]
 *
 * Numbers are little-endian; the file's hash stands in bundle.json. */
#ifndef THAW_NOVELTY_FILE_H
#define THAW_NOVELTY_FILE_H

#include "json.h"
#include "top/novelty.h"

#define THAW_NOVELTY_FILE "known.bin"

/* Adds "reject" to an object and writes the file into the folder; nothing for the method none. ERR_IO,
 * ERR_NOMEM. */
thaw_status thaw_novelty_write(const thaw_novelty *novelty, const char *folder, thaw_json *json,
                               json_t *into, thaw_error *err);

/* Reads "reject" of bundle.json, in folder, and its file into the arena; method none where there is no such
 * field. D: features that the head reads. ERR_IO; ERR_FORMAT: damaged; ERR_MISMATCH: another file than bundle.json
 * was written for; ERR_NOMEM. */
thaw_status thaw_novelty_read(thaw_novelty *novelty, const json_t *bundle, const char *folder,
                              int64_t D, thaw_arena *arena, thaw_error *err);

#endif
