/* The features of a dataset's pictures, and of views of those to train on, in a cache: computed where
 * they are not there yet.
 *
 * Memory does not grow with the number of pictures beyond a record of some bytes for each.
 */
#ifndef THAW_EXTRACT_H
#define THAW_EXTRACT_H

#include "cache/cache.h"
#include "data/dataset.h"
#include "derive.h"
#include "file.h"
#include "log.h"
#include "model/network.h"
#include "picture/view.h"

typedef struct thaw_extraction {
    thaw_hash *keys; /* [n_views, n] Record keys of each picture of the dataset and of its views; of
                      * what is not trained on only the first, which is the picture as it is. */
    bool *rejected;  /* [n] Unreadable: there is no record. */
    size_t n, n_views, n_rejected, hits, misses;
    size_t derived;         /* Of the misses, those from a cut below. */
    double seconds;         /* Wall time of the whole. */
    double plan_seconds;    /* Of which planning the trunk; 0 when all were hits. */
    thaw_rejected *reasons; /* [n_rejected], in the dataset's order. */
    thaw_arena arena;
} thaw_extraction;

typedef struct thaw_extract_options {
    int64_t batch;
    thaw_dtype compute;
    int64_t n_views; /* Of each picture to train on, itself included; 0: one. */
    thaw_view_ranges views;
    thaw_derive *below;        /* Where to look for tensors to go on from; NULL: nowhere. */
    thaw_opt_limit max_bad;    /* More rejected pictures stop the run. */
    const char *rejected_path; /* Table of them, written whatever the outcome; NULL: none. */
    const volatile int *stop;  /* Becomes non-zero: stop soon with ERR_INTERRUPTED. NULL: never. */
} thaw_extract_options;

/* Makes sure that the cache holds a record for every readable picture of the dataset; what another
 * process is computing into it is waited for. What is wrong with a picture rejects it; whatever else
 * fails, memory, descriptors or the disk, ends the run with its status.
 * ERR_DATA: more pictures are bad than max_bad allows; the others' records stay in the cache. What
 * thaw_pipeline_run and the cache return.
 * Free the extraction with thaw_extraction_free, also after an error. */
thaw_status thaw_extract(const thaw_network *network, const thaw_dataset *dataset,
                         const thaw_extract_options *options, thaw_backend *backend,
                         thaw_cache *cache, thaw_log *log, thaw_extraction *extraction,
                         thaw_error *err);

void thaw_extraction_free(thaw_extraction *extraction);

#endif
