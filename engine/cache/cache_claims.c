/* Who computes what, when several processes fill one cache.
 *
 * A claim is a lock of one byte of the file `claims`, at a place that the record's key tells: the
 * kernel keeps it, so that it ends with its process whatever ends that, and it costs no byte. The
 * locks are those of open file descriptions, which all threads of a process share. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cache_shards.h"

void thaw__claims_open(thaw_cache *c) {
    if (!c->folder.read_only)
        c->claims =
            thaw__folder_open_file(c->folder.dir, "claims", O_RDWR | O_CREAT, c->folder.shared);
}

/* Returns 0 or -1 with errno. */
static int set_lock(const thaw_cache *c, thaw_hash key, short type) {
    struct flock lock = {.l_type = type,
                         .l_whence = SEEK_SET,
                         .l_start = (off_t)(key.lo >> 2), /* Some file systems end at 2^63 - 1. */
                         .l_len = 1};
    return fcntl(c->claims, F_OFD_SETLK, &lock);
}

void thaw_cache_release(thaw_cache *c, thaw_hash key) {
    if (c->claims >= 0) set_lock(c, key, F_UNLCK);
}

thaw_cache_claim thaw_cache_claim_record(thaw_cache *c, thaw_hash key) {
    if (thaw_cache_has(c, key)) return THAW_CLAIM_KEPT;
    if (c->claims < 0) return THAW_CLAIM_MINE;
    if (set_lock(c, key, F_WRLCK) != 0)
        return errno == EAGAIN || errno == EACCES ? THAW_CLAIM_OTHERS : THAW_CLAIM_MINE;
    /* Whoever held the claim before has appended the record before it gave it up. */
    pthread_mutex_lock(&c->mutex);
    thaw__shards_look(c);
    pthread_mutex_unlock(&c->mutex);
    if (!thaw_cache_has(c, key)) return THAW_CLAIM_MINE;
    thaw_cache_release(c, key);
    return THAW_CLAIM_KEPT;
}
