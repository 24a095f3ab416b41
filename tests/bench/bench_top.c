/* How long a step of training above a cut takes: random pictures' features at the cut, cached in memory, a
 * GPU's if there is one.
 *
 * usage: bench_top MODEL CUT BATCH STEPS THREADS [DEVICE [PRECISION]]
 * PRECISION: as top.precision, fp32 if it is missing.
 * Prints one JSON object: the value at the cut, and milliseconds of a step (its loss, its gradient, AdamW,
 * the new weights where they are read), the median and the ends. The first two steps, of which a GPU
 * records the second, are not counted; a step of a GPU ends with the loss of the next.
 */
#include <string.h>

#include "bench.h"
#include "graph/cuts.h"
#include "onnx/onnx_read.h"
#include "top/held.h"
#include "top/optimize.h"
#include "top/tune.h"
#include "trunk/backend.h"

enum { CLASSES = 12, WARM = 2 };

typedef struct sizes {
    int64_t batch, steps;
    int threads;
    thaw_top_precision precision;
} sizes;

static const char *const precisions[] = {THAW_TOP_PRECISION_LIST(THAW_ENUM_NAME)};

static float *some(int64_t n, float low, float high, thaw_rng *rng) {
    float *x = malloc((size_t)n * sizeof *x);
    for (int64_t i = 0; x && i < n; i++)
        x[i] = low + (high - low) * thaw_rng_uniform(rng);
    if (!x) exit(1);
    return x;
}

/* Milliseconds of each step but the first ones. A device's step is waited for when the next has been queued. */
static thaw_status run(thaw_top *top, const sizes *s, const thaw_backend *backend, double *step,
                       thaw_error *err) {
    thaw_rng rng = thaw_rng_open(1, THAW_RNG_INIT, 0);
    thaw_params *p = thaw_top_params(top);
    int64_t D = thaw_top_measure(top).D;
    float *x = some(s->batch * D, 0, 1, &rng);
    float *moments[2] = {some(p->n, 0, 0, &rng), some(p->n, 0, 0, &rng)};
    thaw_top_optimizer adamw = {.beta1 = 0.9f,
                                .beta2 = 0.999f,
                                .epsilon = 1e-8f,
                                .moment = moments[0],
                                .second = moments[1]};
    int32_t *label = malloc((size_t)s->batch * sizeof *label);
    if (!label) exit(1);
    for (int64_t i = 0; i < s->batch; i++)
        label[i] = (int32_t)(i % CLASSES);
    int64_t *row = malloc((size_t)s->batch * sizeof *row);
    thaw_held *held = NULL;
    if (!row) exit(1);
    for (int64_t i = 0; i < s->batch; i++)
        row[i] = s->batch - 1 - i;
    thaw_row_array array = {&thaw_cpu_kernels.top, x, D};
    thaw_rows rows = thaw_rows_of_array(&array, s->batch, label);
    thaw_status status = thaw_held_create(&held, backend, &rows, s->batch, 0, err);
    thaw_top_batch batch = {
        .M = s->batch, .x = x, .held = held, .row = row, .label = label, .norm = (float)s->batch};
    thaw_loss_sums sums;
    int64_t bad_step;
    if (status == THAW_OK) status = thaw_top_begin(top, &adamw, err);
    for (int64_t i = 0; i < WARM + s->steps && status == THAW_OK; i++) {
        double start = bench_now_s();
        status = thaw_top_train(top, &batch, 1e-6, i + 1, 0, &bad_step, err);
        if (i >= WARM) step[i - WARM] = 1e3 * (bench_now_s() - start);
    }
    if (status == THAW_OK) status = thaw_top_settle(top, &sums, err);
    if (status == THAW_OK) status = thaw_top_fetch(top, false, err);
    thaw_held_free(held);
    free(row), free(x), free(moments[0]), free(moments[1]);
    free(label);
    return status;
}

static thaw_status measure(const char *path, const char *name, const sizes *s,
                           const thaw_backend *backend, thaw_error *err) {
    thaw_model model = {0};
    thaw_cuts cuts;
    const thaw_cut *cut, *last;
    THAW_TRY(thaw_model_read(&model, path, 0, 0, err));
    THAW_TRY(thaw_cuts_find(&model.graph, &cuts, err));
    THAW_TRY(thaw_cuts_select(&model.graph, &cuts, name, &cut, err));
    last = &cuts.cuts[cuts.last];
    bool pooled = thaw_cut_is_map(&model.graph, last);
    const thaw_value *to = &model.graph.values[last->value];
    int64_t D = pooled ? thaw_value_channels(to) : thaw_value_elements(to);
    thaw_rng rng = thaw_rng_open(2, THAW_RNG_INIT, 0);
    float *w = some(CLASSES * D + CLASSES, -0.01f, 0.01f, &rng);
    thaw_head head = {.n_layers = 1,
                      .layers = {{.D = D, .K = CLASSES, .w = w, .b = w + CLASSES * D}},
                      .params = w,
                      .n_params = CLASSES * D + CLASSES};
    int64_t lane = thaw_tune_lane(backend, THAW_NORM_FROZEN, s->batch);
    thaw_top_spec spec = {.graph = &model.graph,
                          .from = cut->value,
                          .to = last->value,
                          .pooled = pooled,
                          .head = &head,
                          .precision = s->precision,
                          .lane = lane,
                          .most_lanes = (int)((s->batch + lane - 1) / lane)};
    thaw_top *top;
    THAW_TRY(thaw_top_create(&top, &spec, backend, err));
    double *step = malloc((size_t)s->steps * sizeof *step);
    if (!step) exit(1);
    thaw_status status = run(top, s, backend, step, err);
    if (status == THAW_OK) {
        printf(
            "{\"bench\": \"top\", \"cut\": \"%s\", \"value\": \"%s\", \"batch\": %lld, "
            "\"device\": \"%s\", \"precision\": \"%s\", \"threads\": %d, \"numbers\": %lld, ",
            name, model.graph.values[cut->value].name, (long long)s->batch, backend->kernels->name,
            precisions[s->precision], s->threads, (long long)thaw_top_params(top)->n);
        bench_print_spread("step_ms", step, (size_t)s->steps);
        printf("}\n");
    }
    free(step), free(w);
    thaw_top_free(top);
    thaw_model_free(&model);
    return status;
}

int main(int argc, char **argv) {
    size_t precision = 0, n = sizeof precisions / sizeof *precisions;
    while (argc == 8 && precision < n && strcmp(argv[7], precisions[precision]) != 0)
        precision++;
    if (argc < 6 || argc > 8 || precision == n) {
        fprintf(stderr,
                "usage: bench_top MODEL CUT BATCH STEPS THREADS [DEVICE [fp32|tf32|bf16]]\n");
        return 2;
    }
    sizes s = {bench_number(argv[3], 1), bench_number(argv[4], 1), (int)bench_number(argv[5], 1),
               (thaw_top_precision)precision};
    thaw_error err = {0};
    thaw_backend backend = {0};
    thaw_status status = thaw_backend_open(&backend, argc > 6 ? argv[6] : "cpu", s.threads, &err);
    if (status == THAW_OK) status = measure(argv[1], argv[2], &s, &backend, &err);
    thaw_backend_close(&backend);
    if (status != THAW_OK) return fprintf(stderr, "bench_top: %s\n", err.text), 1;
    return 0;
}
