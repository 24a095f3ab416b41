/* How long many heads take at once, beside the same heads one after another: linear heads with rates
 * from 1e-4 to 0.1 on random features that lie in memory.
 *
 * usage: bench_sweep [heads epochs rows features classes batch threads repeats]
 * The two take turns in one process, a round each. Prints one JSON object: medians and spread of
 * seconds, and of the quotient in each round; halving: at once, with two thirds dropped after a ninth of
 * the epochs, and two thirds of the rest after a third.
 */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "top/many.h"

enum { HEADS, EPOCHS, ROWS, FEATURES, CLASSES, BATCH, THREADS, REPEATS, N_ARGS };

typedef struct bench {
    long arg[N_ARGS];
    thaw_backend backend;
    thaw_train_job job;
    thaw_train_options *options; /* [HEADS] */
} bench;

static int fail(const char *what) {
    fprintf(stderr, "bench_sweep: %s\n", what);
    return 1;
}

static double one_after_another(const bench *b, thaw_error *err) {
    double start = thaw_now_s();
    for (long i = 0; i < b->arg[HEADS]; i++) {
        thaw_arena arena = {0};
        thaw_head head;
        thaw_train_result result;
        thaw_train_job job = b->job;
        job.options = b->options[i];
        thaw_status status = thaw_train(&job, &arena, &head, &result, err);
        thaw_arena_free(&arena);
        if (status != THAW_OK) return -1;
    }
    return thaw_now_s() - start;
}

/* Drops all but the first n. */
static void drop_from(thaw_many *many, long n, long heads) {
    for (long i = n; i < heads; i++)
        thaw_many_drop(many, (int)i);
}

static double at_once(const bench *b, bool halving, thaw_error *err) {
    double start = thaw_now_s();
    thaw_many *many;
    long heads = b->arg[HEADS];
    thaw_status status = thaw_many_open(&many, &b->job, b->options, (int)heads, &b->backend, err);
    for (int rung = halving ? 0 : 2; rung < 3 && status == THAW_OK; rung++) {
        status = thaw_many_train(many, pow(3, rung - 2), NULL, NULL, err);
        if (status == THAW_OK)
            drop_from(many, (long)ceil((double)heads * pow(3, -rung - 1)), heads);
    }
    thaw_many_close(many);
    return status == THAW_OK ? thaw_now_s() - start : -1;
}

static thaw_rows random_rows(const bench *b, thaw_row_array *array, thaw_arena *arena) {
    size_t n = (size_t)b->arg[ROWS], D = (size_t)b->arg[FEATURES];
    float *x = thaw_arena_array(arena, n * D, sizeof *x);
    int32_t *label = thaw_arena_array(arena, n, sizeof *label);
    if (!x || !label) exit(fail("no memory"));
    thaw_rng rng = thaw_rng_open(1, THAW_RNG_INIT, 0);
    for (size_t i = 0; i < n * D; i++)
        x[i] = thaw_rng_uniform(&rng);
    for (size_t i = 0; i < n; i++)
        label[i] = (int32_t)(i % (size_t)b->arg[CLASSES]);
    *array = (thaw_row_array){&thaw_cpu_kernels.top, x, b->arg[FEATURES]};
    return thaw_rows_of_array(array, b->arg[ROWS], label);
}

static thaw_train_options *make_options(const bench *b, thaw_arena *arena) {
    long heads = b->arg[HEADS];
    thaw_train_options *options = thaw_arena_array(arena, (size_t)heads, sizeof *options);
    for (long i = 0; options && i < heads; i++) {
        options[i] = thaw_train_defaults(THAW_HEAD_LINEAR, THAW_OPTIMIZER_SGD, b->arg[ROWS]);
        options[i].lr = 1e-4 * pow(1000, (double)i / (double)heads);
        options[i].epochs = b->arg[EPOCHS];
        options[i].batch = b->arg[BATCH];
    }
    return options;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print(const char *name, double *values, long n) {
    qsort(values, (size_t)n, sizeof *values, compare);
    printf(", \"%s\": {\"median\": %.4f, \"min\": %.4f, \"max\": %.4f}", name, values[n / 2],
           values[0], values[n - 1]);
}

/* All rounds; the first one warms up. */
static int measure(const bench *b, thaw_arena *arena) {
    enum { ALONE, MANY, HALVING, GAIN, GAIN_HALVING, N_SERIES };
    static const char *const names[] = {"alone_s", "at_once_s", "halving_s", "at_once_gain",
                                        "halving_gain"};
    long repeats = b->arg[REPEATS];
    thaw_error err = {0};
    double *series[N_SERIES];
    for (int s = 0; s < N_SERIES; s++)
        if (!(series[s] = thaw_arena_array(arena, (size_t)repeats, sizeof(double))))
            return fail("no memory");
    for (long r = -1; r < repeats; r++) {
        double alone = one_after_another(b, &err), many = alone < 0 ? -1 : at_once(b, false, &err);
        double halving = many < 0 ? -1 : at_once(b, true, &err);
        if (halving < 0) return fail(err.text);
        if (r < 0) continue;
        series[ALONE][r] = alone;
        series[MANY][r] = many;
        series[HALVING][r] = halving;
        series[GAIN][r] = alone / many;
        series[GAIN_HALVING][r] = alone / halving;
    }
    printf(
        "{\"bench\": \"sweep\", \"heads\": %ld, \"epochs\": %ld, \"rows\": %ld, \"features\": %ld, "
        "\"classes\": %ld, \"batch\": %ld, \"threads\": %ld, \"repeats\": %ld",
        b->arg[HEADS], b->arg[EPOCHS], b->arg[ROWS], b->arg[FEATURES], b->arg[CLASSES],
        b->arg[BATCH], b->arg[THREADS], repeats);
    for (int s = 0; s < N_SERIES; s++)
        print(names[s], series[s], repeats);
    printf("}\n");
    return 0;
}

int main(int argc, char **argv) {
    bench b = {.arg = {64, 30, 648, 1280, 12, 64, 2, 5}};
    if (argc > N_ARGS + 1) return fail("too many arguments"), 2;
    for (int i = 0; i + 1 < argc; i++)
        if ((b.arg[i] = strtol(argv[i + 1], NULL, 10)) < 1)
            return fail("every argument is a positive number"), 2;
    thaw_error err = {0};
    if (thaw_backend_cpu_open(&b.backend, (int)b.arg[THREADS], &err) != THAW_OK)
        return fail(err.text);
    omp_set_num_threads((int)b.arg[THREADS]);
    thaw_arena arena = {0};
    thaw_row_array array;
    thaw_rows rows = random_rows(&b, &array, &arena);
    b.job = (thaw_train_job){
        .top = &thaw_cpu_kernels.top, .K = b.arg[CLASSES], .train = &rows, .memory_bytes = 0};
    b.options = make_options(&b, &arena);
    int code = b.options ? measure(&b, &arena) : fail("no memory");
    thaw_backend_close(&b.backend);
    thaw_arena_free(&arena);
    return code;
}
