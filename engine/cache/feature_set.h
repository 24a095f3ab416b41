/* The features of a dataset by row number: what fits into a budget in memory, the rest in the
 * cache.
 */
#ifndef THAW_FEATURE_SET_H
#define THAW_FEATURE_SET_H

#include "cache.h"

typedef struct thaw_features thaw_features;

/* Row i is the record keys[i] of the cache (keys are copied). The first rows, as many as
 * budget_bytes holds, are read now into one block; the others are read whenever they are gathered.
 * The cache must outlive it. ERR_NOMEM; ERR_MISMATCH: a record is missing. */
thaw_status thaw_features_open(thaw_features **features, thaw_cache *cache, const thaw_hash *keys,
                               int64_t n, int64_t D, size_t budget_bytes, thaw_error *err);
void thaw_features_close(thaw_features *features); /* NULL: nothing. */

/* Copies the M rows that index names to out [M, D]. ctx is the features: this is a thaw_rows
 * gather. Several threads may gather at once. */
thaw_status thaw_features_gather(void *ctx, const int64_t *index, int64_t M, float *out,
                                 thaw_error *err);

/* Rows that lie in memory: the first ones. */
int64_t thaw_features_in_memory(const thaw_features *features);

/* All rows [n, D], valid until close; NULL when not all of them lie in memory. */
const float *thaw_features_block(const thaw_features *features);

#endif
