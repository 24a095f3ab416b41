#include "held.h"

#include <stdlib.h>

#include "half.h"
#include "trunk/backend.h"

enum { CHUNK_BYTES = 8 << 20, SPARE_BYTES = 256 << 20 };

/* Some at a time, by the host's memory: as floats, and as they are stored. */
static thaw_status bring(thaw_held *h, const thaw_rows *rows, thaw_error *err) {
    const thaw_memory *device = h->backend->kernels->memory;
    int64_t D = rows->D, chunk = CHUNK_BYTES / (D * (int64_t)sizeof(float)) + 1;
    size_t row = (size_t)D * thaw_dtype_bytes(h->stored);
    float *x = malloc((size_t)(chunk * D) * sizeof *x);
    uint16_t *half = malloc((size_t)(chunk * D) * sizeof *half);
    int64_t *index = malloc((size_t)chunk * sizeof *index);
    thaw_status status = THAW_OK;
    if (!x || !half || !index) status = thaw_fail_memory(err, "to bring features to the device");
    for (int64_t at = 0; at < rows->n && status == THAW_OK; at += chunk) {
        int64_t M = rows->n - at < chunk ? rows->n - at : chunk;
        for (int64_t m = 0; m < M; m++)
            index[m] = at + m;
        status = rows->gather(rows->ctx, index, M, x, err);
        if (status != THAW_OK) break;
        bool halves = h->stored == THAW_F16;
        if (halves) thaw_half_from_float(x, (size_t)(M * D), half);
        int code = device->upload(h->backend->stream, (char *)h->rows + (size_t)at * row,
                                  halves ? (void *)half : (void *)x, (size_t)M * row);
        if (!code) code = device->wait(h->backend->stream);
        if (code)
            status =
                thaw_fail(err, THAW_ERR_BACKEND, "features at the cut did not reach the GPU: %s",
                          h->backend->kernels->explain(code));
    }
    free(x), free(half), free(index);
    return status;
}

thaw_status thaw_held_create(thaw_held **out, const thaw_backend *backend, const thaw_rows *rows,
                             int64_t batch, size_t most, thaw_error *err) {
    *out = NULL;
    if (!backend->kernels->memory) return THAW_OK;
    thaw_dtype stored = rows->stored == THAW_F16 ? THAW_F16 : THAW_F32;
    size_t bytes = (size_t)(rows->n * rows->D) * thaw_dtype_bytes(stored);
    if (!bytes || (most && bytes > most)) return THAW_OK;
    thaw_held *h = calloc(1, sizeof *h);
    if (!h) return thaw_fail_memory(err, "to bring features to the device");
    *h = (thaw_held){.stored = stored,
                     .backend = backend,
                     .bytes = bytes,
                     .index_bytes = (size_t)batch * sizeof(int64_t)};
    /* What kernels and graphs still take when they first run is left alone. */
    void *spare = backend->alloc(bytes / 16 + SPARE_BYTES);
    h->rows = backend->alloc(h->bytes);
    h->index = backend->alloc(h->index_bytes);
    bool fits = spare && h->rows && h->index;
    if (spare) backend->release(spare, bytes / 16 + SPARE_BYTES);
    thaw_status status = fits ? bring(h, rows, err) : THAW_OK;
    if (fits && status == THAW_OK)
        *out = h;
    else
        thaw_held_free(h);
    return status;
}

void thaw_held_free(thaw_held *h) {
    if (!h) return;
    if (h->rows) h->backend->release(h->rows, h->bytes);
    if (h->index) h->backend->release(h->index, h->index_bytes);
    free(h);
}
