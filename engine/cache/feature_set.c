#include "feature_set.h"

#include <stdlib.h>
#include <string.h>

struct thaw_features {
    thaw_cache *cache;
    thaw_hash *keys;
    float *block; /* The first n_block rows. */
    int64_t n, n_block, D;
};

static thaw_status load(thaw_features *f, thaw_error *err) {
    for (int64_t i = 0; i < f->n_block; i++)
        THAW_TRY(thaw_cache_read(f->cache, f->keys[i], f->block + i * f->D, err));
    return THAW_OK;
}

thaw_status thaw_features_open(thaw_features **features, thaw_cache *cache, const thaw_hash *keys,
                               int64_t n, int64_t D, size_t budget_bytes, thaw_error *err) {
    *features = NULL;
    size_t row_bytes = (size_t)D * sizeof(float), fits = budget_bytes / row_bytes;
    thaw_features *f = calloc(1, sizeof *f);
    if (f) {
        *f = (thaw_features){.cache = cache, .n = n, .D = D};
        f->n_block = (uint64_t)n <= fits ? n : (int64_t)fits;
        f->keys = malloc((size_t)n * sizeof *keys + 1);
        f->block = malloc((size_t)f->n_block * row_bytes + 1);
    }
    if (!f || !f->keys || !f->block) {
        thaw_features_close(f);
        return thaw_fail_memory(err, "to hold %zu MB of features; lower cache.memory",
                                budget_bytes >> 20);
    }
    if (n) memcpy(f->keys, keys, (size_t)n * sizeof *keys);
    thaw_status status = load(f, err);
    if (status != THAW_OK) {
        thaw_features_close(f);
        return status;
    }
    *features = f;
    return THAW_OK;
}

void thaw_features_close(thaw_features *f) {
    if (!f) return;
    free(f->keys);
    free(f->block);
    free(f);
}

thaw_status thaw_features_gather(void *ctx, const int64_t *index, int64_t M, float *out,
                                 thaw_error *err) {
    const thaw_features *f = ctx;
    for (int64_t m = 0; m < M; m++, out += f->D) {
        if (index[m] < f->n_block)
            memcpy(out, f->block + index[m] * f->D, (size_t)f->D * sizeof *out);
        else
            THAW_TRY(thaw_cache_read(f->cache, f->keys[index[m]], out, err));
    }
    return THAW_OK;
}

int64_t thaw_features_in_memory(const thaw_features *f) {
    return f->n_block;
}

const float *thaw_features_block(const thaw_features *f) {
    return f->n_block == f->n ? f->block : NULL;
}
