#include "rows.h"

/* The first view of each, which is the picture as it is. */
static thaw_status gather_pictures(void *ctx, const int64_t *index, int64_t M, float *out,
                                   thaw_error *err) {
    enum { PART = 256 };
    const thaw_split_rows *r = ctx;
    int64_t first[PART];
    for (int64_t start = 0; start < M; start += PART) {
        int64_t n = M - start < PART ? M - start : PART;
        for (int64_t i = 0; i < n; i++)
            first[i] = index[start + i] * r->n_views;
        THAW_TRY(thaw_features_gather(r->features, first, n, out + start * r->rows.D, err));
    }
    return THAW_OK;
}

/* Readable pictures of the split, and the keys and labels of their views. Returns how many. */
static size_t list(thaw_split_rows *out, const thaw_session *s, thaw_split split, thaw_hash *keys,
                   int32_t *labels, int32_t *view_labels) {
    const thaw_extraction *x = &s->extraction;
    size_t n = 0, n_keys = 0;
    for (size_t i = 0; i < x->n; i++) {
        if (s->dataset.split[i] != split) continue;
        if (x->rejected[i]) {
            out->n_rejected++;
            continue;
        }
        out->picture[n] = i;
        labels[n++] = (int32_t)s->dataset.label[i];
        for (int64_t v = 0; v < out->n_views; v++) {
            view_labels[n_keys] = (int32_t)s->dataset.label[i];
            keys[n_keys++] = x->keys[(size_t)v * x->n + i];
        }
    }
    return n;
}

/* keys: room for those of all views of `most` pictures. */
static thaw_status open_rows(thaw_split_rows *out, thaw_session *s, const thaw_network *network,
                             thaw_split split, size_t most, thaw_hash *keys, thaw_error *err) {
    bool views = out->n_views > 1;
    int32_t *labels = thaw_arena_array(&s->arena, most, sizeof *labels), *view_labels = labels;
    if (views)
        view_labels = thaw_arena_array(&s->arena, most, (size_t)out->n_views * sizeof *view_labels);
    out->picture = thaw_arena_array(&s->arena, most, sizeof *out->picture);
    if (!labels || !view_labels || !out->picture)
        return thaw_fail_memory(err, "for %zu rows", most);
    int64_t n = (int64_t)list(out, s, split, keys, labels, view_labels);
    out->rows = (thaw_rows){.n = n,
                            .D = network->n_features,
                            .gather = gather_pictures,
                            .ctx = out,
                            .label = labels,
                            .sets = s->dataset.sets,
                            .stored = s->stored};
    if (!n) return THAW_OK;
    THAW_TRY(thaw_storage_rows(&s->memory, s->cache, keys, n * out->n_views, network->n_features,
                               &out->features, err));
    out->views = out->rows;
    out->views.n = n * out->n_views;
    out->views.gather = thaw_features_gather;
    out->views.ctx = out->features;
    out->views.label = view_labels;
    return THAW_OK;
}

thaw_status thaw_split_rows_open(thaw_split_rows *out, thaw_session *s, const thaw_network *network,
                                 thaw_split split, thaw_error *err) {
    *out = (thaw_split_rows){.n_views = 1};
    if (split == THAW_SPLIT_TRAIN) out->n_views = (int64_t)s->extraction.n_views;
    size_t most = thaw_dataset_count(&s->dataset, split), views = (size_t)out->n_views;
    thaw_hash *keys = calloc(most + 1, views * sizeof *keys);
    thaw_status status = keys ? open_rows(out, s, network, split, most, keys, err)
                              : thaw_fail_memory(err, "for %zu rows", most);
    free(keys);
    return status;
}

void thaw_split_rows_close(thaw_split_rows *rows) {
    thaw_features_close(rows->features);
    rows->features = NULL;
}
