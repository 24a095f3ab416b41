/* What train, eval and the cache command have in common: from options to features.
 *
 * A session holds the log, the device, the dataset, the cache and the features' keys. Close it also
 * after an error.
 */
#ifndef THAW_SESSION_H
#define THAW_SESSION_H

#include "cache/feature_set.h"
#include "extract.h"
#include "storage.h"
#include "top/trainer.h"

typedef struct thaw_session {
    const thaw_options *options;
    thaw_log log;
    thaw_backend backend;
    thaw_dataset dataset;
    thaw_cache *cache;
    thaw_dtype compute, stored;
    thaw_extraction extraction;
    thaw_storage_budget memory;
    double images_per_second; /* From files to features, without cache; measured. */
    thaw_arena arena;
} thaw_session;

/* The rows of one split: readable pictures in the dataset's order. */
typedef struct thaw_split_rows {
    thaw_rows rows;
    thaw_features *features; /* NULL: there are none. */
    size_t n_rejected;
} thaw_split_rows;

/* Opens the log and the device. */
thaw_status thaw_session_open(thaw_session *session, const thaw_options *options, thaw_error *err);
void thaw_session_close(thaw_session *session);

/* Opens the dataset, says what is in it, opens the cache and fills it. */
thaw_status thaw_session_extract(thaw_session *session, const thaw_network *network,
                                 const thaw_dataset_spec *spec, const char *rejected_path,
                                 thaw_error *err);

/* The rows of a split. Close with thaw_split_close before the session. */
thaw_status thaw_session_rows(thaw_session *session, const thaw_network *network, thaw_split split,
                              thaw_split_rows *rows, thaw_error *err);
void thaw_split_close(thaw_split_rows *rows);

/* Opens the device that the options name; the caller closes. Fails as thaw_backend_open. */
thaw_status thaw_session_backend(const thaw_options *options, thaw_backend *backend,
                                 thaw_error *err);

/* tune = on: from here on, planning times kernels. ERR_USAGE: there is no cache.dir. */
thaw_status thaw_session_tune(const thaw_options *options, thaw_backend *backend, thaw_arena *arena,
                              thaw_error *err);

/* What a trunk computes in where nothing is tried out: the precision that was asked for, fp16 where
 * there is no other, and for `auto` the narrowest. ERR_UNSUPPORTED: the device does not. */
thaw_status thaw_session_precision(const thaw_options *options, const thaw_backend *backend,
                                   thaw_dtype *compute, thaw_error *err);

/* The facts that identify a trunk's records; texts live in the arena. n receives the count. */
const thaw_fact *thaw_session_facts(const thaw_network *network, const thaw_kernels *kernels,
                                    thaw_dtype compute, thaw_arena *arena, size_t *n);

/* The root of the cache that the options mean: NULL for none. ERR_USAGE when neither cache.dir nor
 * the home folder says where. */
thaw_status thaw_session_cache_root(const thaw_options *options, thaw_arena *arena,
                                    const char **root, thaw_error *err);

/* Non-zero once the user has asked to stop (SIGINT, SIGTERM). */
const volatile int *thaw_session_stop(void);

#endif
