/* What the trunk makes of networks, many in one process: the worker of test_graphs.py.
 *
 * usage: graph_features THREADS
 *
 * Each line of standard input names a network, a file of pixels, u8 [n, H, W, C], a file for the
 * features, and "map" or "pooled". The whole network is the trunk; pixels enter as x / 64 - 2. The
 * features, float [n, h, w, c], are written, and a line is printed: "ok h w c", or "refused " and
 * why.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "graph/cuts.h"
#include "onnx/onnx_read.h"
#include "trunk/trunk.h"

static const float scale[3] = {1 / 64.0f, 1 / 64.0f, 1 / 64.0f}, shift[3] = {-2, -2, -2};

typedef struct request {
    char model[256], pixels[256], features[256], pooled[16];
} request;

static thaw_status run(thaw_trunk *trunk, const thaw_model *model, const request *q,
                       thaw_error *err) {
    thaw_arena arena = {0};
    char *pixels;
    size_t bytes;
    thaw_trunk_size size = thaw_trunk_measure(trunk);
    thaw_status status = thaw_file_read(q->pixels, SIZE_MAX, &arena, &pixels, &bytes, err);
    int64_t image = model->height * model->width * model->channels;
    int64_t n = status == THAW_OK ? (int64_t)bytes / image : 0;
    size_t n_features = (size_t)(n * size.H * size.W * size.C);
    float *features = thaw_arena_array(&arena, n_features, sizeof *features);
    if (status == THAW_OK && !features) status = thaw_fail_memory(err, "for the features");
    if (status == THAW_OK) {
        memset(features, 0xff, n_features * sizeof *features); /* NaN, so that a gap is seen. */
        status = thaw_trunk_run(trunk, n, (const uint8_t *)pixels, features, err);
    }
    if (status == THAW_OK)
        status = thaw_file_write(q->features, features, n_features * sizeof *features, err);
    if (status == THAW_OK)
        printf("ok %lld %lld %lld\n", (long long)size.H, (long long)size.W, (long long)size.C);
    thaw_arena_free(&arena);
    return status;
}

static thaw_status answer(const request *q, thaw_backend *backend, thaw_error *err) {
    enum { BATCH = 2 }; /* Three pictures are then a group and a part of one. */
    thaw_model model;
    thaw_cuts cuts;
    thaw_trunk *trunk = NULL;
    thaw_trunk_options options = {.batch = BATCH,
                                  .compute = THAW_F32,
                                  .scale = scale,
                                  .shift = shift,
                                  .pooled = strcmp(q->pooled, "pooled") == 0};
    thaw_status status = thaw_model_read(&model, q->model, 0, 0, err);
    if (status == THAW_OK) status = thaw_cuts_find(&model.graph, &cuts, err);
    if (status == THAW_OK)
        status =
            thaw_trunk_create(&trunk, &model.graph, &cuts.cuts[cuts.n - 1], &options, backend, err);
    if (status == THAW_OK) status = run(trunk, &model, q, err);
    thaw_trunk_free(trunk);
    thaw_model_free(&model);
    return status;
}

int main(int argc, char **argv) {
    if (argc != 2) return fprintf(stderr, "usage: graph_features THREADS\n"), 2;
    thaw_backend backend;
    thaw_error err = {0};
    if (thaw_backend_open(&backend, "cpu", atoi(argv[1]), &err) != THAW_OK)
        return fprintf(stderr, "graph_features: %s\n", err.text), 1;
    request q;
    while (scanf("%255s %255s %255s %15s", q.model, q.pixels, q.features, q.pooled) == 4) {
        if (answer(&q, &backend, &err) != THAW_OK) printf("refused %s\n", err.text);
        fflush(stdout);
    }
    thaw_backend_close(&backend);
    return 0;
}
