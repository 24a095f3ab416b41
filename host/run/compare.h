/* Features of a few random pictures computed anew, beside what should be the same: a cache's
 * records, or what another way to compute them makes. */
#ifndef THAW_COMPARE_H
#define THAW_COMPARE_H

#include "extract.h"

/* A way to compute features. */
typedef struct thaw_way {
    thaw_backend *backend;
    thaw_dtype compute;
    int64_t batch; /* Pictures that go through the trunk at once. */
} thaw_way;

typedef struct thaw_cache_test {
    size_t n;                 /* Records that were compared. */
    double worst;             /* NMSE of the picture that differs most. */
    double images_per_second; /* From files to features, nothing cached. */
} thaw_cache_test;

/* Computes up to `most` random pictures anew and compares them with their records, which hold
 * values of type `stored`: a cache that lies is worse than none. Also tells how fast a run without
 * cache would be. A picture that is not read, or has changed since, is passed over.
 * ERR_MISMATCH names a picture whose record differs by more than its type and the precision allow. */
thaw_status thaw_compare_cache(const thaw_network *network, const thaw_dataset *dataset,
                               const thaw_extraction *extraction, const thaw_way *way,
                               thaw_cache *cache, thaw_dtype stored, size_t most,
                               thaw_cache_test *result, thaw_error *err);

/* The NMSE by which a record of a good cache may differ from what is computed again, on another
 * machine or with other kernels. They sum in another order; where a layer's result is then rounded to
 * few bits for the next one (fp16, tf32 and bf16 trunks), that may fall the other way. Measured between
 * kernels for two GPUs, MobileNetV2 in fp16: 1.2e-7. A cache that lies differs by 1e-3 and more. */
double thaw_compare_tolerance(const thaw_kernels *kernels, thaw_dtype compute, thaw_dtype stored);

/* What a way gains and costs beside a trusted one. */
typedef struct thaw_way_test {
    double trusted_rate, rate; /* Images per second, from files to features. */
    double nmse;               /* The features' distance; not finite when a feature is not. */
} thaw_way_test;

/* Computes up to `most` random pictures both ways. */
thaw_status thaw_compare_ways(const thaw_network *network, const thaw_dataset *dataset,
                              const thaw_way *trusted, const thaw_way *way, size_t most,
                              thaw_way_test *result, thaw_error *err);

#endif
