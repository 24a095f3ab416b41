/* How long many heads take at once, beside the same heads one after another: linear heads with rates
 * from 1e-4 to 0.1 on random features that lie in memory, or on those of a model.
 *
 * usage: bench_sweep [heads epochs batch threads repeats [rows features classes | MODEL.onnx DIR]]
 * The ways take turns in one process, a round each. Prints one JSON object: medians and spread of seconds,
 * of the processors' seconds (on a busy machine they tell more), and of what is gained in each round;
 * halving: at once, with two thirds dropped after a ninth of the epochs, and two thirds of the rest after
 * a third. Training alone includes scoring validation rows after each epoch, at once only at rungs.
 */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "clock.h"
#include "run/train.h"
#include "top/many.h"

enum { HEADS, EPOCHS, BATCH, THREADS, REPEATS, ROWS, FEATURES, CLASSES, N_ARGS };

typedef struct bench {
    long arg[N_ARGS];
    thaw_backend backend;
    thaw_options options_of_run;
    thaw_training *training; /* NULL: rows are random. */
    thaw_row_array array;
    thaw_rows rows;
    thaw_train_job job;
    thaw_train_options *options; /* [HEADS] */
} bench;

static int fail(const char *what) {
    fprintf(stderr, "bench_sweep: %s\n", what);
    return 1;
}

/* Seconds on the wall, and of the processors. */
typedef struct taken {
    double wall, cpu;
} taken;

static taken now(void) {
    return (taken){thaw_now_s(), (double)clock() / CLOCKS_PER_SEC};
}

static taken since(taken start) {
    taken t = now();
    return (taken){t.wall - start.wall, t.cpu - start.cpu};
}

static taken one_after_another(const bench *b, thaw_error *err) {
    taken start = now();
    for (long i = 0; i < b->arg[HEADS]; i++) {
        thaw_arena arena = {0};
        thaw_head head;
        thaw_train_result result;
        thaw_train_job job = b->job;
        job.options = b->options[i];
        thaw_status status = thaw_train(&job, &arena, &head, &result, err);
        thaw_arena_free(&arena);
        if (status != THAW_OK) return (taken){-1, -1};
    }
    return since(start);
}

/* Drops all but the first n. */
static void drop_from(thaw_many *many, long n, long heads) {
    for (long i = n; i < heads; i++)
        thaw_many_drop(many, (int)i);
}

static taken at_once(const bench *b, bool halving, thaw_error *err) {
    taken start = now();
    thaw_many *many;
    long heads = b->arg[HEADS];
    thaw_status status = thaw_many_open(&many, &b->job, b->options, (int)heads, &b->backend, err);
    for (int rung = halving ? 0 : 2; rung < 3 && status == THAW_OK; rung++) {
        status = thaw_many_train(many, pow(3, rung - 2), NULL, NULL, err);
        if (status == THAW_OK)
            drop_from(many, (long)ceil((double)heads * pow(3, -rung - 1)), heads);
    }
    thaw_many_close(many);
    return status == THAW_OK ? since(start) : (taken){-1, -1};
}

static void make_random(bench *b, thaw_arena *arena) {
    size_t n = (size_t)b->arg[ROWS], D = (size_t)b->arg[FEATURES];
    float *x = thaw_arena_array(arena, n * D, sizeof *x);
    int32_t *label = thaw_arena_array(arena, n, sizeof *label);
    if (!x || !label) exit(fail("no memory"));
    thaw_rng rng = thaw_rng_open(1, THAW_RNG_INIT, 0);
    for (size_t i = 0; i < n * D; i++)
        x[i] = thaw_rng_uniform(&rng);
    for (size_t i = 0; i < n; i++)
        label[i] = (int32_t)(i % (size_t)b->arg[CLASSES]);
    b->array = (thaw_row_array){&thaw_cpu_kernels.top, x, b->arg[FEATURES]};
    b->rows = thaw_rows_of_array(&b->array, b->arg[ROWS], label);
    b->job =
        (thaw_train_job){.top = &thaw_cpu_kernels.top, .K = b->arg[CLASSES], .train = &b->rows};
}

/* The features of a folder's pictures. */
static void make_real(bench *b, const char *model, const char *folder) {
    const char *const values[][2] = {
        {"model", model}, {"data.train", folder}, {"device", "cpu"}, {"log", "warn"}};
    thaw_error err;
    thaw_status status = thaw_options_init(&b->options_of_run, &err);
    for (size_t i = 0; i < sizeof values / sizeof *values && status == THAW_OK; i++)
        status = thaw_options_set(&b->options_of_run, values[i][0], values[i][1], "here", &err);
    if (status == THAW_OK)
        status = thaw_training_open(&b->training, &b->options_of_run, "/tmp", &err);
    if (status != THAW_OK) exit(fail(err.text));
    b->job = thaw_training_job(b->training, &b->options_of_run);
    b->arg[ROWS] = (long)b->job.train->n;
    b->arg[FEATURES] = (long)b->job.train->D;
    b->arg[CLASSES] = (long)b->job.K;
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
    enum { WAYS = 3, N_SERIES = 10 };
    static const char *const names[N_SERIES] = {
        "alone_s",       "at_once_s",    "halving_s",    "alone_cpu_s",      "at_once_cpu_s",
        "halving_cpu_s", "at_once_gain", "halving_gain", "at_once_cpu_gain", "halving_cpu_gain",
    };
    long repeats = b->arg[REPEATS];
    thaw_error err = {0};
    double *series[N_SERIES];
    for (int s = 0; s < N_SERIES; s++)
        if (!(series[s] = thaw_arena_array(arena, (size_t)repeats, sizeof(double))))
            return fail("no memory");
    for (long r = -1; r < repeats; r++) {
        taken t[WAYS] = {one_after_another(b, &err)};
        for (int w = 1; w < WAYS && t[w - 1].wall >= 0; w++)
            t[w] = at_once(b, w == 2, &err);
        if (*err.text) return fail(err.text);
        for (int w = 0; w < WAYS && r >= 0; w++) {
            series[w][r] = t[w].wall;
            series[WAYS + w][r] = t[w].cpu;
            if (w > 0) series[2 * WAYS + w - 1][r] = t[0].wall / t[w].wall;
            if (w > 0) series[2 * WAYS + 1 + w][r] = t[0].cpu / t[w].cpu;
        }
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
    bench b = {.arg = {64, 30, 64, 2, 5, 648, 1280, 12}};
    bool real = argc == ROWS + 3;
    if (argc > N_ARGS + 1) return fail("too many arguments"), 2;
    for (int i = 0; i + 1 < argc && !(real && i >= ROWS); i++)
        if ((b.arg[i] = strtol(argv[i + 1], NULL, 10)) < 1)
            return fail("every argument is a positive number"), 2;
    thaw_error err = {0};
    if (thaw_backend_cpu_open(&b.backend, (int)b.arg[THREADS], &err) != THAW_OK)
        return fail(err.text);
    omp_set_num_threads((int)b.arg[THREADS]);
    thaw_arena arena = {0};
    if (real)
        make_real(&b, argv[argc - 2], argv[argc - 1]);
    else
        make_random(&b, &arena);
    b.job.backend = NULL;
    b.options = make_options(&b, &arena);
    int code = b.options ? measure(&b, &arena) : fail("no memory");
    thaw_training_close(b.training);
    thaw_options_free(&b.options_of_run);
    thaw_backend_close(&b.backend);
    thaw_arena_free(&arena);
    return code;
}
