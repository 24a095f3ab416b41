/* Pictures to features: read, hash, look up, decode, run the trunk, keep.
 *
 * Threads read and decode ahead of the trunk; the trunk runs in the caller's thread on all cores,
 * or on a device, which takes a batch while it computes the one before. At log level debug, each
 * batch's times show what waited for what.
 * Memory does not grow with the number of pictures beyond a record of some bytes for each.
 */
#ifndef THAW_EXTRACT_H
#define THAW_EXTRACT_H

#include "cache/cache.h"
#include "data/dataset.h"
#include "file.h"
#include "log.h"
#include "model/network.h"

typedef struct thaw_extraction {
    thaw_hash *keys; /* [n] Record key of each picture of the dataset. */
    bool *rejected;  /* [n] Unreadable: there is no record. */
    size_t n, n_rejected, hits, misses;
    double seconds;      /* Wall time of the whole. */
    double plan_seconds; /* Of which planning the trunk; 0 when all were hits. */
    /* Busy, beside each other: reading and decoding, of all threads together; trunk; cache. */
    double decode_seconds, trunk_seconds, cache_seconds;
    thaw_rejected *reasons; /* [n_rejected], in the dataset's order. */
    thaw_arena arena;
} thaw_extraction;

typedef struct thaw_extract_options {
    int64_t batch;
    thaw_dtype compute;
    thaw_opt_limit max_bad;    /* More rejected pictures stop the run. */
    const char *rejected_path; /* Table of them, written whatever the outcome; NULL: none. */
    const volatile int *stop;  /* Becomes non-zero: stop soon with ERR_INTERRUPTED. NULL: never. */
} thaw_extract_options;

/* Makes sure that the cache holds a record for every readable picture of the dataset; what another
 * process is computing into it is waited for. What is wrong with a picture rejects it; whatever else
 * fails, memory, descriptors or the disk, ends the run with its status.
 * ERR_DATA: more pictures are bad than max_bad allows; the others' records stay in the cache.
 * Free the extraction with thaw_extraction_free, also after an error. */
thaw_status thaw_extract(const thaw_network *network, const thaw_dataset *dataset,
                         const thaw_extract_options *options, thaw_backend *backend,
                         thaw_cache *cache, thaw_log *log, thaw_extraction *extraction,
                         thaw_error *err);

typedef struct thaw_self_test {
    size_t n;
    double worst;             /* NMSE of the picture that differs most. */
    double images_per_second; /* From files to features, nothing cached. */
} thaw_self_test;

/* Computes up to `most` random pictures anew, in memory, and compares them with their records: a
 * cache that lies is worse than none. Also tells how fast a run without cache would be.
 * ERR_MISMATCH names a picture whose record differs by more than its type and the precision allow.
 */
thaw_status thaw_extract_self_test(const thaw_network *network, const thaw_dataset *dataset,
                                   const thaw_extract_options *options, thaw_backend *backend,
                                   thaw_cache *cache, thaw_dtype stored,
                                   const thaw_extraction *extraction, size_t most,
                                   thaw_self_test *result, thaw_error *err);

/* The NMSE by which a record of a good cache may differ from what is computed again, on another
 * machine or with other kernels. They sum in another order; where a layer's result is then rounded to
 * few bits for the next one (fp16, tf32 and bf16 trunks), that may fall the other way. Measured between
 * kernels for two GPUs, MobileNetV2 in fp16: 1.2e-7. A cache that lies differs by 1e-3 and more. */
double thaw_self_test_tolerance(const thaw_kernels *kernels, thaw_dtype compute, thaw_dtype stored);

/* A way to compute features. */
typedef struct thaw_extract_way {
    thaw_backend *backend;
    thaw_dtype compute;
} thaw_extract_way;

/* What a way gains and costs beside a trusted one: up to `most` random pictures by both. */
typedef struct thaw_way_test {
    double trusted_rate, rate; /* Images per second, from files to features. */
    double nmse;               /* The features' distance; not finite when a feature is not. */
} thaw_way_test;
thaw_status thaw_extract_compare(const thaw_network *network, const thaw_dataset *dataset,
                                 int64_t batch, const thaw_extract_way *trusted,
                                 const thaw_extract_way *way, size_t most, thaw_way_test *result,
                                 thaw_error *err);

void thaw_extraction_free(thaw_extraction *extraction);

#endif
