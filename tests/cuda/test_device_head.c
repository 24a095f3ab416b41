/* Training a head on the CUDA backend: the host's trainer, step by step, is the reference.
 *
 * Both take the same rows, orders and rates, in float; sums run in another order. Over the few
 * hundred steps of a case the weights drift apart by rounding only: 1e-4 of the largest weight.
 * Two runs on the device give equal bits, wherever the rows lie. With tf32 the head scores as many
 * of its rows right, one aside, at a loss that differs by a thousandth.
 */
#include "half.h"
#include "testing.h"
#include "top/trainer.h"

typedef struct head_case {
    const char *name;
    int64_t n, D, K, batch, epochs;
    thaw_optimizer optimizer;
    double smoothing;
    thaw_class_weights weights;
    bool validation;
    thaw_dtype stored;
    int64_t on_device; /* Rows that may lie there; 0: all. */
    int64_t hidden;    /* Units; 0: linear. */
    double dropout;
} head_case;

/* How a case is trained on the device. */
typedef struct device_way {
    bool tf32;
    int64_t on_device; /* Rows; 0: all. */
    size_t pinned_bytes;
} device_way;

static const head_case cases[] = {
    {"one of each", 1, 1, 1, 1, 2, THAW_OPTIMIZER_SGD, 0, THAW_CLASS_WEIGHTS_NONE, false, THAW_F32,
     0, 0, 0},
    {"sgd, a short last batch", 301, 37, 5, 64, 12, THAW_OPTIMIZER_SGD, 0, THAW_CLASS_WEIGHTS_NONE,
     true, THAW_F32, 0, 0, 0},
    {"adamw, weights, smoothing", 130, 48, 12, 32, 10, THAW_OPTIMIZER_ADAMW, 0.1,
     THAW_CLASS_WEIGHTS_BALANCED, false, THAW_F32, 0, 0, 0},
    {"adamw, batch larger than n", 40, 17, 3, 256, 20, THAW_OPTIMIZER_ADAMW, 0,
     THAW_CLASS_WEIGHTS_NONE, false, THAW_F32, 0, 0, 0},
    {"sgd, 7 features, 40 classes", 200, 7, 40, 16, 5, THAW_OPTIMIZER_SGD, 0.1,
     THAW_CLASS_WEIGHTS_BALANCED, false, THAW_F32, 0, 0, 0},
    {"half precision", 150, 24, 4, 32, 6, THAW_OPTIMIZER_SGD, 0, THAW_CLASS_WEIGHTS_NONE, false,
     THAW_F16, 0, 0, 0},
    {"rows in both memories", 301, 37, 5, 64, 12, THAW_OPTIMIZER_SGD, 0, THAW_CLASS_WEIGHTS_NONE,
     true, THAW_F32, 100, 0, 0},
    {"halves in both memories", 150, 23, 4, 32, 6, THAW_OPTIMIZER_ADAMW, 0, THAW_CLASS_WEIGHTS_NONE,
     false, THAW_F16, 33, 0, 0},
    {"hidden, sgd, a short last batch", 301, 37, 5, 64, 8, THAW_OPTIMIZER_SGD, 0,
     THAW_CLASS_WEIGHTS_NONE, true, THAW_F32, 0, 19, 0},
    {"hidden, adamw, dropout, weights, smoothing", 130, 48, 12, 32, 6, THAW_OPTIMIZER_ADAMW, 0.1,
     THAW_CLASS_WEIGHTS_BALANCED, true, THAW_F32, 0, 32, 0.3},
    {"hidden, dropout, one unit", 40, 17, 3, 256, 5, THAW_OPTIMIZER_SGD, 0, THAW_CLASS_WEIGHTS_NONE,
     false, THAW_F32, 0, 1, 0.5},
    {"hidden, dropout, halves in both memories", 150, 23, 4, 32, 5, THAW_OPTIMIZER_SGD, 0,
     THAW_CLASS_WEIGHTS_NONE, false, THAW_F16, 33, 7, 0.2},
};

static thaw_backend gpu, cpu;

/* The rows of a case: classes are shifted apart, so that there is something to learn. */
static float *draw_rows(const head_case *c, int32_t *label) {
    float *x = malloc((size_t)(c->n * c->D) * sizeof *x);
    assert_non_null(x);
    uint64_t state = (uint64_t)c->n;
    for (int64_t i = 0; i < c->n; i++) {
        label[i] = (int32_t)(test_random(&state) % (uint64_t)c->K);
        for (int64_t d = 0; d < c->D; d++)
            x[i * c->D + d] = test_uniform(&state) + (d % c->K == label[i] ? 0.5f : 0);
    }
    if (c->stored == THAW_F16) {
        uint16_t *halves = malloc((size_t)(c->n * c->D) * sizeof *halves);
        assert_non_null(halves);
        thaw_half_from_float(x, (size_t)(c->n * c->D), halves);
        thaw_float_from_half(halves, (size_t)(c->n * c->D), x);
        free(halves);
    }
    return x;
}

static void train(const head_case *c, const thaw_backend *backend, device_way way, const float *x,
                  const int32_t *label, thaw_arena *arena, thaw_head *head,
                  thaw_train_result *result) {
    thaw_row_array array = {&cpu.kernels->top, x, c->D};
    thaw_rows rows = thaw_rows_of_array(&array, c->n, label);
    rows.stored = c->stored;
    thaw_head_kind kind = c->hidden ? THAW_HEAD_HIDDEN : THAW_HEAD_LINEAR;
    thaw_train_options options = thaw_train_defaults(kind, c->optimizer, c->n);
    if (c->hidden) options.hidden = c->hidden;
    if (c->hidden) options.dropout = c->dropout;
    options.batch = c->batch;
    options.epochs = c->epochs;
    options.label_smoothing = c->smoothing;
    options.class_weights = c->weights;
    thaw_train_job job = {
        .top = &cpu.kernels->top,
        .backend = backend,
        .device_bytes = (size_t)(way.on_device * c->D) * thaw_dtype_bytes(c->stored),
        .pinned_bytes = way.pinned_bytes,
        .tf32 = way.tf32,
        .options = options,
        .K = c->K,
        .train = &rows,
        .validation = c->validation ? &rows : NULL};
    thaw_error err = {0};
    if (thaw_train(&job, arena, head, result, &err) != THAW_OK)
        fail_msg("%s: %s", c->name, err.text);
}

/* All rows where they may be; the tiers are as they were asked for. */
static void train_on_device(const head_case *c, int64_t on_device, bool tf32, const float *x,
                            const int32_t *label, thaw_arena *arena, thaw_head *head,
                            thaw_train_result *result) {
    train(c, &gpu, (device_way){tf32, on_device, SIZE_MAX}, x, label, arena, head, result);
    if (result->note[0]) fail_msg("%s: %s", c->name, result->note);
    assert_int_equal(result->tiers.on_device, on_device ? on_device : c->n);
    assert_int_equal(result->tiers.pinned, c->n - result->tiers.on_device);
}

static void check_case(const head_case *c) {
    thaw_arena arena = {0};
    int32_t *label = thaw_arena_array(&arena, (size_t)c->n, sizeof *label);
    float *x = draw_rows(c, label);
    thaw_head host, device, again, fast;
    thaw_train_result on_host, on_device, on_device_again, fast_result;
    train(c, NULL, (device_way){0}, x, label, &arena, &host, &on_host);
    train_on_device(c, 0, false, x, label, &arena, &device, &on_device);
    train_on_device(c, c->on_device, false, x, label, &arena, &again, &on_device_again);
    train_on_device(c, 0, true, x, label, &arena, &fast, &fast_result);
    double most = 0, largest = 1e-3;
    for (int64_t i = 0; i < host.n_params; i++) {
        double d = fabs((double)host.params[i] - device.params[i]);
        if (!(d <= most)) most = d;
        if (fabs(host.params[i]) > largest) largest = fabs(host.params[i]);
    }
    if (!(most <= 1e-4 * largest))
        fail_msg("%s: weights differ by %g, the largest is %g", c->name, most, largest);
    if (memcmp(device.params, again.params, (size_t)host.n_params * sizeof(float)) != 0)
        fail_msg("%s: two runs on the device differ", c->name);
    const thaw_epoch *h = &on_host.kept, *d = &on_device.kept;
    if (fabs(h->train_loss - d->train_loss) > 1e-4 * (fabs(h->train_loss) + 1e-3))
        fail_msg("%s: loss %g, on the device %g", c->name, h->train_loss, d->train_loss);
    if (fabs(h->train_top1 - d->train_top1) > 1.5 / (double)c->n)
        fail_msg("%s: top-1 %g, on the device %g", c->name, h->train_top1, d->train_top1);
    if (c->validation) {
        assert_true(on_device.tiers.validates);
        if (fabs(h->validation_loss - d->validation_loss) > 1e-4 * (h->validation_loss + 1e-3))
            fail_msg("%s: validation loss %g, on the device %g", c->name, h->validation_loss,
                     d->validation_loss);
        if (fabs(h->validation_top1 - d->validation_top1) > 1.5 / (double)c->n)
            fail_msg("%s: validation top-1 %g, on the device %g", c->name, h->validation_top1,
                     d->validation_top1);
        assert_int_equal(on_device_again.tiers.validates, c->on_device == 0);
    }
    const thaw_epoch *f = &fast_result.kept;
    if (fabs(h->train_loss - f->train_loss) > 1e-3 * (fabs(h->train_loss) + 1e-2))
        fail_msg("%s: loss %g, with tf32 %g", c->name, h->train_loss, f->train_loss);
    if (fabs(h->train_top1 - f->train_top1) > 1.5 / (double)c->n)
        fail_msg("%s: top-1 %g, with tf32 %g", c->name, h->train_top1, f->train_top1);
    free(x);
    thaw_arena_free(&arena);
}

static void the_device_trains_as_the_host_does(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_case(&cases[i]);
}

static void without_room_the_host_trains(void **state) {
    (void)state;
    const head_case *c = &cases[1];
    thaw_arena arena = {0};
    int32_t *label = thaw_arena_array(&arena, (size_t)c->n, sizeof *label);
    float *x = draw_rows(c, label);
    thaw_head host, device;
    thaw_train_result on_host, result;
    train(c, NULL, (device_way){0}, x, label, &arena, &host, &on_host);
    train(c, &gpu, (device_way){false, 100, 1000}, x, label, &arena, &device, &result);
    assert_int_equal(result.tiers.on_device + result.tiers.pinned, 0);
    assert_non_null(strstr(result.note, "301 rows of 37 features"));
    assert_non_null(strstr(result.note, "cache.pinned"));
    assert_memory_equal(host.params, device.params, (size_t)host.n_params * sizeof(float));
    free(x);
    thaw_arena_free(&arena);
}

int main(void) {
    thaw_error err = {0};
    if (thaw_backend_open(&gpu, "cuda", 0, &err) != THAW_OK) {
        printf("SKIPPED: training a head on a GPU: %s\n", err.text);
        return 77;
    }
    if (thaw_backend_open(&cpu, "cpu", 2, &err) != THAW_OK) return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_device_trains_as_the_host_does),
                                       cmocka_unit_test(without_room_the_host_trains)};
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    thaw_backend_close(&gpu);
    thaw_backend_close(&cpu);
    return failures;
}
