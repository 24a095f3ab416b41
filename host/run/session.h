/* What train, eval and the cache command have in common: from options to features.
 *
 * A session holds the log, the device, the dataset, the cache and the features' keys. Close it also
 * after an error.
 */
#ifndef THAW_SESSION_H
#define THAW_SESSION_H

#include "data/lint.h"
#include "extract.h"
#include "storage.h"

typedef struct thaw_session {
    const thaw_options *options;
    thaw_log log;
    const volatile int *stop; /* Non-zero once the user has asked to stop. */
    thaw_backend backend;
    thaw_dataset dataset;
    thaw_cache *cache;
    thaw_dtype compute, stored;
    thaw_derive below; /* What the cache has of the network below the cut. */
    thaw_extraction extraction;
    thaw_storage_budget memory; /* For features. */
    thaw_lint lint;             /* Of the dataset's pictures. */
    double images_per_second;   /* From files to features, without cache; measured. */
    thaw_arena lists;           /* What the dataset is opened from, which goes once it is. */
    thaw_arena arena;
} thaw_session;

/* Opens the log and the device. */
thaw_status thaw_session_open(thaw_session *session, const thaw_options *options, thaw_error *err);
void thaw_session_close(thaw_session *session);

/* Says why the device is not what `auto` could have taken, if it has not been said: once a bundle is open,
 * too, since not every device computes every network. */
void thaw_session_say_device(thaw_session *session);

/* Opens the dataset, says what is in it, opens the cache and fills it. Frees session->lists, where spec may lie. */
thaw_status thaw_session_extract(thaw_session *session, const thaw_network *network,
                                 const thaw_dataset_spec *spec, const char *rejected_path,
                                 thaw_error *err);

#endif
