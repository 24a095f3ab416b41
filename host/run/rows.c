#include "rows.h"

thaw_status thaw_split_rows_open(thaw_split_rows *out, thaw_session *s, const thaw_network *network,
                                 thaw_split split, thaw_error *err) {
    *out = (thaw_split_rows){0};
    size_t most = thaw_dataset_count(&s->dataset, split), n = 0;
    thaw_hash *keys = thaw_arena_array(&s->arena, most, sizeof *keys);
    int32_t *labels = thaw_arena_array(&s->arena, most, sizeof *labels);
    out->picture = thaw_arena_array(&s->arena, most, sizeof *out->picture);
    if (!keys || !labels || !out->picture) return thaw_fail_memory(err, "for %zu rows", most);
    for (size_t i = 0; i < s->dataset.n; i++) {
        if (s->dataset.split[i] != split) continue;
        if (s->extraction.rejected[i]) {
            out->n_rejected++;
            continue;
        }
        out->picture[n] = i;
        keys[n] = s->extraction.keys[i];
        labels[n++] = (int32_t)s->dataset.label[i];
    }
    out->rows = (thaw_rows){.n = (int64_t)n,
                            .D = network->n_features,
                            .gather = thaw_features_gather,
                            .label = labels,
                            .stored = s->stored};
    if (!n) return THAW_OK;
    THAW_TRY(thaw_storage_rows(&s->memory, s->cache, keys, (int64_t)n, network->n_features,
                               &out->features, err));
    out->rows.ctx = out->features;
    return THAW_OK;
}

void thaw_split_rows_close(thaw_split_rows *rows) {
    thaw_features_close(rows->features);
    rows->features = NULL;
}
