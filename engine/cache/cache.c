#include "cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache_facts.h"
#include "cache_shards.h"
#include "half.h"

enum {
    /* Of one write: enough to make the call's cost vanish, little enough to stay in a processor's
     * cache between encoding and writing. */
    WRITE_RECORDS = 256,
    WRITE_BYTES = 4 << 20,
};
static const size_t usual_shard_bytes = (size_t)1 << 30;

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "for the cache's index");
}

/* ---- records ------------------------------------------------------------------------------- */

static void encode(const thaw_cache *c, thaw_hash key, const float *row, uint8_t *record) {
    const thaw__record_layout *l = &c->layout;
    thaw__record_header *h = (thaw__record_header *)record;
    uint8_t *payload = record + sizeof *h;
    memset(record, 0, l->stride);
    if (l->dtype == THAW_F16)
        thaw_half_from_float(row, (size_t)l->D, (uint16_t *)payload);
    else
        memcpy(payload, row, l->payload);
    h->key = key;
    h->payload_check = thaw__cache_payload_check(l, payload);
    h->header_check = thaw__cache_header_check(l, h);
}

/* Reads and checks the record at place; row may be NULL. ERR_MISMATCH: damaged. */
static thaw_status decode(const thaw_cache *c, int fd, const thaw__cache_place *place, float *row) {
    const thaw__record_layout *l = &c->layout;
    bool direct = row && l->dtype == THAW_F32;
    void *payload = direct ? (void *)row : malloc(l->payload);
    if (!payload) return THAW_ERR_NOMEM;
    thaw__record_header h;
    bool whole = thaw__cache_read_record(fd, l, place->record - 1, &h, payload) &&
                 thaw_hash_equal(h.key, place->key);
    if (whole && row && !direct) thaw_float_from_half(payload, (size_t)l->D, row);
    if (!direct) free(payload);
    return whole ? THAW_OK : THAW_ERR_MISMATCH;
}

/* ---- opening and closing --------------------------------------------------------------------- */

static thaw_status open_folder(thaw_cache *c, const thaw_cache_spec *spec,
                               const thaw__cache_facts *facts, thaw_error *err) {
    char name[THAW_HASH_TEXT];
    thaw_hash_text(c->layout.trunk, name);
    if (snprintf(c->path, sizeof c->path, "%s/%s", spec->root, name) >= (int)sizeof c->path)
        return thaw_fail(err, THAW_ERR_USAGE, "cache.dir = %s: the path is too long", spec->root);
    thaw_status status = thaw__folder_enter(spec->root, spec->shared, c->path, &c->folder, err);
    if (status != THAW_OK && status != THAW_ERR_USAGE)
        return thaw_fail_within(err, status, "cache.dir = %s (choose another, or none)",
                                spec->root);
    THAW_TRY(status);
    /* For people only: a full disk, on which it fails, is no reason to end the run. */
    if (!c->folder.read_only) thaw__facts_write(c->path, facts);
    thaw__claims_open(c);
    return thaw__shards_index(c, err);
}

static thaw_status fill(thaw_cache *c, const thaw_cache_spec *spec, thaw_arena *arena,
                        thaw_error *err) {
    if (!thaw__cache_layout(&c->layout, (thaw_hash){0}, spec->D, spec->dtype))
        return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                         "the cache keeps records of 1 to 2^32 values in fp32 or fp16, not %lld",
                         (long long)spec->D);
    thaw__cache_facts facts;
    THAW_TRY(thaw__facts_of(spec, arena, &facts, err));
    c->layout.trunk = thaw__facts_key(&facts);
    c->shard_bytes = spec->shard_bytes ? spec->shard_bytes : usual_shard_bytes;
    c->memory_bytes = spec->memory_bytes;
    return spec->root ? open_folder(c, spec, &facts, err) : THAW_OK;
}

thaw_status thaw_cache_open(thaw_cache **cache, const thaw_cache_spec *spec, thaw_error *err) {
    *cache = NULL;
    thaw_cache *c = calloc(1, sizeof *c);
    if (!c) return no_memory(err);
    pthread_mutex_init(&c->mutex, NULL);
    c->folder = (thaw__cache_folder){.dir = -1, .lock = -1};
    c->claims = c->writing = -1;
    thaw_arena arena = {0};
    thaw_status status = fill(c, spec, &arena, err);
    thaw_arena_free(&arena);
    if (status != THAW_OK) {
        thaw_cache_close(c);
        return status;
    }
    *cache = c;
    return THAW_OK;
}

thaw_status thaw_cache_kept(const thaw_cache_spec *spec, bool *kept, thaw_error *err) {
    thaw_arena arena = {0};
    thaw__cache_facts facts;
    char name[THAW_HASH_TEXT];
    thaw_status status = thaw__facts_of(spec, &arena, &facts, err);
    *kept = false;
    if (status == THAW_OK) {
        thaw_hash_text(thaw__facts_key(&facts), name);
        char *path = thaw_arena_printf(&arena, "%s/%s", spec->root, name);
        if (!path) status = no_memory(err);
        *kept = path && access(path, F_OK) == 0;
    }
    thaw_arena_free(&arena);
    return status;
}

void thaw_cache_close(thaw_cache *c) {
    if (!c) return;
    if (c->writing >= 0 && !c->shards[c->writing].memory) fdatasync(c->shards[c->writing].fd);
    for (size_t i = 0; i < c->n_shards; i++)
        close(c->shards[i].fd);
    if (c->claims >= 0) close(c->claims);
    thaw__folder_leave(&c->folder);
    free(c->shards);
    thaw__index_free(&c->index);
    pthread_mutex_destroy(&c->mutex);
    free(c);
}

thaw_status thaw_cache_refresh(thaw_cache *c, thaw_error *err) {
    if (c->folder.dir < 0) return THAW_OK;
    pthread_mutex_lock(&c->mutex);
    thaw_status status = thaw__shards_index(c, err);
    pthread_mutex_unlock(&c->mutex);
    return status;
}

/* ---- reading and writing --------------------------------------------------------------------- */

/* Where a copy of the record lies. The descriptor stays open until close: it can be read unlocked.
 */
static bool locate(thaw_cache *c, thaw_hash key, int *fd, thaw__cache_place *place) {
    pthread_mutex_lock(&c->mutex);
    bool there = thaw__index_find(&c->index, key, place);
    if (there) *fd = c->shards[place->shard].fd;
    pthread_mutex_unlock(&c->mutex);
    return there;
}

static void drop(thaw_cache *c, const thaw__cache_place *place) {
    pthread_mutex_lock(&c->mutex);
    if (thaw__index_drop(&c->index, place)) c->n_damaged++;
    pthread_mutex_unlock(&c->mutex);
}

/* Reads the first copy that is whole; those before it are damaged and will not be tried again. */
static thaw_status fetch(thaw_cache *c, thaw_hash key, float *row) {
    int fd;
    thaw__cache_place place;
    while (locate(c, key, &fd, &place)) {
        thaw_status status = decode(c, fd, &place, row);
        if (status != THAW_ERR_MISMATCH) return status;
        drop(c, &place);
    }
    return THAW_ERR_MISMATCH;
}

bool thaw_cache_has(thaw_cache *c, thaw_hash key) {
    return fetch(c, key, NULL) == THAW_OK;
}

thaw_status thaw_cache_read(thaw_cache *c, thaw_hash key, float *row, thaw_error *err) {
    thaw_status status = fetch(c, key, row);
    if (status == THAW_OK) return THAW_OK;
    if (status == THAW_ERR_NOMEM)
        return thaw_fail_memory(err, "for the %zu bytes of a record", c->layout.payload);
    return thaw_fail(err, status,
                     "a record of the cache in %s was there and is now missing or damaged; run "
                     "again, it will be computed anew",
                     thaw__cache_where(c));
}

/* Whether keys[i] stands among the ones before it: one picture under two names. */
static bool repeats(const thaw_hash *keys, size_t i) {
    for (size_t k = 0; k < i; k++)
        if (thaw_hash_equal(keys[k], keys[i])) return true;
    return false;
}

thaw_status thaw_cache_append(thaw_cache *c, const thaw_hash *keys, size_t n, const float *rows,
                              thaw_error *err) {
    const thaw__record_layout *l = &c->layout;
    size_t most = WRITE_BYTES / l->stride;
    most = most < 1 ? 1 : most > WRITE_RECORDS ? WRITE_RECORDS : most;
    if (most > n) most = n;
    uint8_t *buffer = malloc(most * l->stride + 1);
    if (!buffer) return no_memory(err);
    thaw_status status = THAW_OK;
    for (size_t begin = 0; begin < n && status == THAW_OK; begin += most) {
        size_t end = begin + most < n ? begin + most : n, kept = 0;
        for (size_t i = begin; i < end; i++)
            if (!repeats(keys + begin, i - begin) && !thaw_cache_has(c, keys[i]))
                encode(c, keys[i], rows + (size_t)l->D * i, buffer + kept++ * l->stride);
        pthread_mutex_lock(&c->mutex);
        if (kept) status = thaw__shards_append(c, buffer, kept, err);
        pthread_mutex_unlock(&c->mutex);
        for (size_t i = begin; i < end; i++)
            thaw_cache_release(c, keys[i]);
    }
    free(buffer);
    return status;
}

thaw_cache_stats thaw_cache_measure(thaw_cache *c) {
    pthread_mutex_lock(&c->mutex);
    thaw_cache_stats stats = {.records = c->index.n_keys,
                              .damaged = c->n_damaged,
                              .in_memory = c->n_memory,
                              .read_only = c->folder.read_only,
                              .record_bytes = c->layout.stride,
                              .bytes = (uint64_t)c->index.n_keys * c->layout.stride};
    pthread_mutex_unlock(&c->mutex);
    return stats;
}

bool thaw_cache_default_root(char *path, size_t size) {
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = -1;
    if (xdg && xdg[0] == '/')
        n = snprintf(path, size, "%s/thaw", xdg);
    else if (home && home[0])
        n = snprintf(path, size, "%s/.cache/thaw", home);
    return n > 0 && (size_t)n < size;
}
