/* How long it takes to train a linear head on random features that lie in memory.
 *
 * usage: bench_head [epochs rows features classes batch threads repeats [device]]
 * Prints one JSON object: the median and the spread of seconds for the whole training, and for one
 * epoch alone, as the trainer clocks it. On a GPU the whole holds the way of the rows to its
 * memory, the epoch does not.
 */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "top/trainer.h"

enum { EPOCHS, ROWS, FEATURES, CLASSES, BATCH, THREADS, REPEATS, N_ARGS };

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Seconds of one training, or a negative number when it failed or ran elsewhere; *epoch: of its
 * last epoch. */
static double train_once(const long arg[N_ARGS], const thaw_backend *backend, const thaw_rows *rows,
                         double *epoch) {
    thaw_arena arena = {0};
    thaw_head head;
    thaw_train_result result;
    thaw_error err = {0};
    thaw_train_job job = {.top = &thaw_cpu_kernels.top,
                          .backend = backend,
                          .tf32 = true,
                          .K = arg[CLASSES],
                          .train = rows};
    job.options = thaw_train_defaults(THAW_HEAD_LINEAR, THAW_OPTIMIZER_ADAMW, rows->n);
    job.options.epochs = arg[EPOCHS];
    job.options.batch = arg[BATCH];
    double start = now();
    thaw_status status = thaw_train(&job, &arena, &head, &result, &err);
    double seconds = now() - start;
    *epoch = result.kept.seconds;
    bool good = status == THAW_OK && !result.note[0];
    if (!good) fprintf(stderr, "bench_head: %s\n", status == THAW_OK ? result.note : err.text);
    thaw_arena_free(&arena);
    return good ? seconds : -1;
}

static thaw_rows random_rows(const long arg[N_ARGS], thaw_row_array *array, thaw_arena *arena) {
    size_t n = (size_t)arg[ROWS], D = (size_t)arg[FEATURES];
    float *x = thaw_arena_array(arena, n * D, sizeof *x);
    int32_t *label = thaw_arena_array(arena, n, sizeof *label);
    if (!x || !label) exit(1);
    thaw_rng rng = thaw_rng_open(1, THAW_RNG_INIT, 0);
    for (size_t i = 0; i < n * D; i++)
        x[i] = thaw_rng_uniform(&rng);
    for (size_t i = 0; i < n; i++)
        label[i] = (int32_t)(i % (size_t)arg[CLASSES]);
    *array = (thaw_row_array){&thaw_cpu_kernels.top, x, arg[FEATURES]};
    return thaw_rows_of_array(array, arg[ROWS], label);
}

int main(int argc, char **argv) {
    long arg[N_ARGS] = {50, 720, 1280, 12, 64, 2, 11};
    if (argc > N_ARGS + 2) return fprintf(stderr, "bench_head: too many arguments\n"), 2;
    const char *device = argc > N_ARGS + 1 ? argv[N_ARGS + 1] : "cpu";
    for (int i = 0; i < N_ARGS && i + 1 < argc; i++) {
        arg[i] = strtol(argv[i + 1], NULL, 10);
        if (arg[i] < 1) return fprintf(stderr, "bench_head: argument %d must be positive\n", i), 2;
    }
    thaw_backend backend;
    thaw_error err = {0};
    if (thaw_backend_open(&backend, device, (int)arg[THREADS], &err) != THAW_OK)
        return fprintf(stderr, "bench_head: %s\n", err.text), 1;
    omp_set_num_threads((int)arg[THREADS]);
    thaw_arena arena = {0};
    thaw_row_array array;
    thaw_rows rows = random_rows(arg, &array, &arena);
    size_t n = (size_t)arg[REPEATS];
    double *seconds = thaw_arena_array(&arena, n, sizeof *seconds);
    double *epochs = thaw_arena_array(&arena, n, sizeof *epochs);
    if (!seconds || !epochs || train_once(arg, &backend, &rows, epochs) < 0)
        return 1; /* The first one warms up. */
    for (size_t i = 0; i < n; i++)
        seconds[i] = train_once(arg, &backend, &rows, &epochs[i]);
    qsort(seconds, n, sizeof *seconds, compare);
    qsort(epochs, n, sizeof *epochs, compare);
    printf(
        "{\"bench\": \"head\", \"optimizer\": \"adamw\", \"epochs\": %ld, \"rows\": %ld, "
        "\"features\": %ld, \"classes\": %ld, \"batch\": %ld, \"threads\": %ld, "
        "\"repeats\": %ld, \"device\": \"%s\", \"median_s\": %.5f, \"min_s\": %.5f, "
        "\"max_s\": %.5f, \"epoch_median_s\": %.6f}\n",
        arg[EPOCHS], arg[ROWS], arg[FEATURES], arg[CLASSES], arg[BATCH], arg[THREADS], arg[REPEATS],
        backend.kernels->name, seconds[n / 2], seconds[0], seconds[n - 1], epochs[n / 2]);
    thaw_backend_close(&backend);
    thaw_arena_free(&arena);
    return 0;
}
