/* Features from features: where the cache holds a picture's tensor at a cut below, what lies between is
 * computed from there, and the picture is not decoded again. The bits are the same. */
#ifndef THAW_DERIVE_H
#define THAW_DERIVE_H

#include "cache/cache.h"
#include "model/network.h"
#include "storage.h"

typedef struct thaw_derive {
    const thaw_cut *from; /* NULL: no cut below has records. */
    thaw_cache *cache;    /* Its. */
    thaw_network below;   /* The network cut there; borrows the other's model. */
    thaw_trunk *trunk;    /* From there; planned when it is first needed. */
    float *x, *y;         /* [batch, D of there], [batch, D] */
    thaw_arena arena;
} thaw_derive;

/* Looks for the highest cut below the network's own of which root has records that another trunk can begin
 * with: the picture itself, or where a stage or a block ends. spec: of the network's own cut. Where kernels
 * do not work on the host's memory, or records are not kept in float, there is none. Close it also after an
 * error. ERR_NOMEM, ERR_SYSTEM, ERR_IO. */
thaw_status thaw_derive_find(thaw_derive *derive, const thaw_options *options,
                             const thaw_network *network, const thaw_backend *backend,
                             thaw_dtype compute, const thaw_cache_spec *spec, thaw_error *err);
void thaw_derive_close(thaw_derive *derive);

/* Whether the picture's record at the cut below is there and whole. derive NULL: no. */
bool thaw_derive_has(const thaw_derive *derive, thaw_hash key);

/* Computes n records, at most `batch` of thaw_derive_begin, into rows [n, D], which live until the next
 * call. ERR_MISMATCH: one has been damaged since. */
thaw_status thaw_derive_begin(thaw_derive *derive, const thaw_network *network, int64_t batch,
                              thaw_dtype compute, thaw_backend *backend, thaw_error *err);
thaw_status thaw_derive_rows(thaw_derive *derive, const thaw_hash *keys, size_t n, float **rows,
                             thaw_error *err);

#endif
