/* A few steps of training above a cut, with everything given: the worker of test_training.py.
 *
 * usage: train_top MODEL CUT NORM LANE THREADS STEPS LR MOMENTUM DECAY DATA OUT
 *
 * DATA: int32 n, batch, K, D; u8 pixels [n, H, W, C]; int32 labels [n]; float w [K, D], b [K] of the
 * head, which stands on D features. Step s takes rows s * batch and on, modulo n; pixels enter as
 * x / 64 - 2. Prints a line a step, "loss L", and three more: "value NAME" of the tensor at the cut,
 * "seconds S" of all steps but the first, "bytes B" of memory. OUT receives, as text, name and L2 norm of each trained tensor at the end.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "file.h"
#include "graph/cuts.h"
#include "onnx/onnx_read.h"
#include "top/program.h"
#include "trunk/trunk.h"

static const float scale[3] = {1 / 64.0f, 1 / 64.0f, 1 / 64.0f}, shift[3] = {-2, -2, -2};

typedef struct task {
    const char *model, *cut, *norm, *out, *value;
    int64_t lane, steps;
    int threads;
    float lr, momentum, decay;
    int32_t n, batch, K, D;
    const uint8_t *pixels;
    int32_t *labels;
    float *w, *b;
} task;

static const char *const norms[] = {THAW_NORM_LIST(THAW_ENUM_NAME)};

static void read_data(task *t, const thaw_model *m, const char *bytes) {
    int32_t head[4];
    memcpy(head, bytes, sizeof head);
    t->n = head[0], t->batch = head[1], t->K = head[2], t->D = head[3];
    size_t pixels = (size_t)(t->n * m->height * m->width * m->channels);
    t->pixels = (const uint8_t *)bytes + sizeof head;
    bytes += sizeof head + pixels;
    t->labels = malloc((size_t)t->n * sizeof(int32_t));
    t->w = malloc((size_t)(t->K * t->D + t->K) * sizeof(float));
    t->b = t->w + t->K * t->D;
    memcpy(t->labels, bytes, (size_t)t->n * sizeof(int32_t));
    memcpy(t->w, bytes + (size_t)t->n * sizeof(int32_t),
           (size_t)(t->K * t->D + t->K) * sizeof(float));
}

static thaw_status run_steps(task *t, thaw_top *top, const float *features, thaw_error *err) {
    thaw_top_size size = thaw_top_measure(top);
    thaw_params *p = thaw_top_params(top);
    int64_t rows = (t->batch + t->lane - 1) / t->lane * t->lane;
    float *x = malloc((size_t)(rows * size.D) * sizeof *x), *loss = malloc((size_t)rows * 4);
    float *logits = malloc((size_t)(rows * size.K) * sizeof *logits);
    float *gradient = calloc((size_t)p->n, sizeof *gradient);
    float *velocity = calloc((size_t)p->n, sizeof *velocity);
    int32_t *label = malloc((size_t)rows * sizeof *label);
    double start = 0;
    thaw_status status = THAW_OK;
    for (int64_t s = 0; s < t->steps && status == THAW_OK; s++) {
        if (s == 1) start = thaw_now_s();
        for (int64_t i = 0; i < t->batch; i++) {
            int64_t row = (s * t->batch + i) % t->n;
            memcpy(x + i * size.D, features + row * size.D, (size_t)size.D * sizeof *x);
            label[i] = t->labels[row];
        }
        thaw_top_batch batch = {.M = t->batch,
                                .x = x,
                                .label = label,
                                .norm = (float)t->batch,
                                .logits = logits,
                                .loss = loss};
        status = thaw_top_gradient(top, &batch, gradient, err);
        if (status != THAW_OK) break;
        thaw_top_follow(top, 0.1f);
        for (int i = 0; i < p->n_segments; i++) {
            const thaw_segment *g = &p->segments[i];
            thaw_cpu_kernels.top.sgd(g->n, p->values + g->offset, gradient + g->offset,
                                     velocity + g->offset, t->lr, t->momentum,
                                     g->decays ? t->decay : 0);
        }
        status = thaw_top_update(top, err);
        double sum = 0;
        for (int64_t i = 0; i < t->batch; i++)
            sum += loss[i];
        printf("loss %.9g\n", sum / t->batch);
    }
    printf("value %s\n", t->value);
    printf("seconds %.6f\n", thaw_now_s() - start);
    printf("bytes %zu\n", (size_t)size.instances * (size.activation_bytes + size.gradient_bytes));
    FILE *out = fopen(t->out, "w");
    for (int i = 0; out && i < p->n_segments; i++) {
        double norm = 0;
        for (int64_t k = 0; k < p->segments[i].n; k++) {
            double v = p->values[p->segments[i].offset + k];
            norm += v * v;
        }
        fprintf(out, "%s %.9g\n", p->segments[i].name, sqrt(norm));
    }
    if (out) fclose(out);
    free(x), free(loss), free(logits), free(gradient), free(velocity), free(label);
    return status;
}

static thaw_status train(task *t, const char *bytes, thaw_model *m, thaw_backend *backend,
                         thaw_error *err) {
    thaw_cuts cuts;
    const thaw_cut *cut;
    thaw_trunk *trunk;
    THAW_TRY(thaw_cuts_find(&m->graph, &cuts, err));
    THAW_TRY(thaw_cuts_select(&m->graph, &cuts, t->cut, &cut, err));
    t->value = m->graph.values[cut->value].name;
    read_data(t, m, bytes);
    thaw_trunk_options options = {.batch = 8, .compute = THAW_F32, .scale = scale, .shift = shift};
    THAW_TRY(thaw_trunk_create(&trunk, &m->graph, cut, &options, backend, err));
    float *features = malloc((size_t)(t->n * cut->elements) * sizeof *features);
    thaw_status status = thaw_trunk_run(trunk, t->n, t->pixels, features, err);
    thaw_trunk_free(trunk);
    thaw_head head = {.n_layers = 1,
                      .layers = {{.D = t->D, .K = t->K, .w = t->w, .b = t->b}},
                      .params = t->w,
                      .n_params = (int64_t)t->K * t->D + t->K};
    thaw_top_spec spec = {.graph = &m->graph,
                          .from = cut->value,
                          .to = cuts.cuts[cuts.last].value,
                          .pooled = thaw_cut_is_map(&m->graph, &cuts.cuts[cuts.last]),
                          .head = &head,
                          .lane = t->lane,
                          .most_lanes = (int)((t->batch + t->lane - 1) / t->lane)};
    for (int i = 0; i < 3; i++)
        if (strcmp(norms[i], t->norm) == 0) spec.norm = (thaw_norm)i;
    thaw_top *top = NULL;
    if (status == THAW_OK) status = thaw_top_create(&top, &spec, backend, err);
    if (status == THAW_OK) status = run_steps(t, top, features, err);
    thaw_top_free(top);
    free(features), free(t->labels), free(t->w);
    return status;
}

int main(int argc, char **argv) {
    if (argc != 12) return 2;
    task t = {.model = argv[1],
              .cut = argv[2],
              .norm = argv[3],
              .lane = atoll(argv[4]),
              .threads = atoi(argv[5]),
              .steps = atoll(argv[6]),
              .lr = strtof(argv[7], NULL),
              .momentum = strtof(argv[8], NULL),
              .decay = strtof(argv[9], NULL),
              .out = argv[11]};
    thaw_error err = {0};
    thaw_arena arena = {0};
    thaw_model model = {0};
    thaw_backend backend = {0};
    char *bytes;
    size_t n;
    thaw_status status = thaw_model_read(&model, t.model, 0, 0, &err);
    if (status == THAW_OK) status = thaw_file_read(argv[10], SIZE_MAX, &arena, &bytes, &n, &err);
    if (status == THAW_OK) status = thaw_backend_open(&backend, "cpu", t.threads, &err);
    if (status == THAW_OK) status = train(&t, bytes, &model, &backend, &err);
    thaw_backend_close(&backend);
    thaw_model_free(&model);
    thaw_arena_free(&arena);
    if (status == THAW_OK) return 0;
    printf("error %s\n", err.text);
    return 1;
}
