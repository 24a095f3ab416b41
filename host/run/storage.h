/* How features are kept: in which cache, as which type, in what they were computed, and how much
 * memory they may take. train, eval and `cache explain` go by these rules alike. */
#ifndef THAW_STORAGE_H
#define THAW_STORAGE_H

#include "cache/feature_set.h"
#include "log.h"
#include "model/network.h"

/* The root of the cache that the options mean: NULL for none. It lives in the arena, or in the
 * options. ERR_USAGE when neither cache.dir nor the home folder says where; ERR_NOMEM. */
thaw_status thaw_storage_root(const thaw_options *options, thaw_arena *arena, const char **root,
                              thaw_error *err);

/* The cache that the options mean for a network computed in `compute`: spec without memory_bytes. All
 * that it points to is in the arena, root apart. root NULL: none on disk. ERR_NOMEM. */
thaw_status thaw_storage_spec(const thaw_options *options, const thaw_network *network,
                              const thaw_backend *backend, thaw_dtype compute, const char *root,
                              thaw_arena *arena, thaw_cache_spec *spec, thaw_error *err);

/* What a trunk computes in, before anything is measured: what thaw_precision_asked says, except that
 * `auto` is fp32 where that has features in the cache and the narrower type has none. *kept: `auto`
 * goes by what is there, so that no measured speed may take another type: two runs of one seed would be
 * two models. ERR_UNSUPPORTED: the device has no such type. ERR_NOMEM, ERR_SYSTEM. */
thaw_status thaw_storage_precision(const thaw_options *options, const thaw_network *network,
                                   const thaw_backend *backend, thaw_dtype *compute, bool *kept,
                                   thaw_error *err);

/* Whether `auto` takes the narrower type, whose features are good enough, at these rates: where its
 * features are kept, or where it is so much faster that fewer bits are worth the bother. */
bool thaw_storage_takes_narrow(bool kept, double rate, double fp32_rate);

/* Says what the cache will hold for n pictures, and warns where the disk may become too small: then
 * memory takes the rest. The type stays as it is, since another one makes another model. */
void thaw_storage_say(const thaw_options *options, thaw_cache *cache, const char *root, size_t n,
                      thaw_log *log);

/* The memory that all features of a run may take together. It is decided once: what is free while
 * they are read is less the more of them there are. */
typedef struct thaw_storage_budget {
    size_t all;  /* Half of what was usable; records without a disk may take it. */
    size_t left; /* Of it, what nobody has taken yet. */
    size_t rows; /* Of cache.memory, what rows may still take; SIZE_MAX: what is left. */
} thaw_storage_budget;

thaw_storage_budget thaw_storage_budget_of(const thaw_options *options);

/* Takes off what the cache's records without a disk have taken. */
void thaw_storage_count_records(thaw_storage_budget *budget, thaw_cache *cache);

/* thaw_features_open within the budget, which becomes smaller by what the features take. */
thaw_status thaw_storage_rows(thaw_storage_budget *budget, thaw_cache *cache, const thaw_hash *keys,
                              int64_t n, int64_t D, thaw_features **features, thaw_error *err);

#endif
