/* Where activations are kept: the cache's folder, what identifies a trunk's records in it, and what
 * they are stored in. */
#ifndef THAW_STORAGE_H
#define THAW_STORAGE_H

#include "session.h"

/* The root of the cache that the options mean: NULL for none. It lives in the arena, or in the
 * options. ERR_USAGE when neither cache.dir nor the home folder says where; ERR_NOMEM. */
thaw_status thaw_storage_root(const thaw_options *options, thaw_arena *arena, const char **root,
                              thaw_error *err);

/* The facts that identify a trunk's records; texts live in the arena. n receives the count. NULL:
 * there is no memory. */
const thaw_fact *thaw_storage_facts(const thaw_network *network, const thaw_kernels *kernels,
                                    thaw_dtype compute, thaw_arena *arena, size_t *n);

/* Opens session->cache for this network and the session's dataset and precision, sets
 * session->stored, and says what the cache will take and what is odd about it.
 * ERR_USAGE: as the root; ERR_IO, ERR_NOMEM: as thaw_cache_open. */
thaw_status thaw_storage_open(thaw_session *session, const thaw_network *network, thaw_error *err);

#endif
