/* Solves a linear probe for a Python test: reads n, D, K (int64), l2 (double), x [n, D] (float) and
 * label [n] (int32) from standard input, writes mean [D], scale [D] of the scaling that head.h
 * describes, and the weights [K, D] and biases [K] for raw features, all as floats. */
#include <stdio.h>
#include <stdlib.h>

#include "top/trainer.h"

typedef struct task {
    int64_t n, D, K;
    double l2;
    float *x;
    int32_t *label;
} task;

static bool read_task(task *t, thaw_arena *arena) {
    int64_t sizes[3];
    if (fread(sizes, sizeof *sizes, 3, stdin) != 3 || fread(&t->l2, sizeof t->l2, 1, stdin) != 1)
        return false;
    t->n = sizes[0], t->D = sizes[1], t->K = sizes[2];
    size_t n = (size_t)t->n, values = n * (size_t)t->D;
    t->x = thaw_arena_array(arena, values, sizeof *t->x);
    t->label = thaw_arena_array(arena, n, sizeof *t->label);
    return t->x && t->label && fread(t->x, sizeof *t->x, values, stdin) == values &&
           fread(t->label, sizeof *t->label, n, stdin) == n;
}

static thaw_status solve(const task *t, thaw_arena *arena, thaw_error *err) {
    const thaw_top_slots *top = &thaw_cpu_kernels.top;
    thaw_row_array array = {top, t->x, t->D};
    thaw_rows rows = thaw_rows_of_array(&array, t->n, t->label);
    thaw_train_job job = {.top = top, .K = t->K, .train = &rows, .memory_bytes = SIZE_MAX};
    thaw_head head, scaled;
    thaw_train_result result;
    int64_t *index = thaw_arena_array(arena, (size_t)t->n, sizeof *index);
    float *buffer = thaw_arena_array(arena, (size_t)(t->n * t->D), sizeof *buffer);
    if (!index || !buffer) return thaw_fail_memory(err, "for rows");
    job.options = thaw_train_defaults(THAW_HEAD_LINEAR, THAW_OPTIMIZER_SGD, t->n);
    job.options.solver = THAW_SOLVER_LBFGS;
    job.options.weight_decay = t->l2;
    THAW_TRY(thaw_head_init(&scaled, t->D, 0, t->K, 1, arena, err));
    THAW_TRY(thaw_head_fit_scale(&scaled, &rows, t->n, index, buffer, arena, err));
    THAW_TRY(thaw_train(&job, arena, &head, &result, err));
    fwrite(scaled.mean, sizeof *scaled.mean, (size_t)t->D, stdout);
    fwrite(scaled.scale, sizeof *scaled.scale, (size_t)t->D, stdout);
    fwrite(head.params, sizeof *head.params, (size_t)head.n_params, stdout);
    fprintf(stderr, "%lld steps, %lld passes\n", (long long)result.kept.iterations,
            (long long)result.passes);
    return fflush(stdout) == 0 ? THAW_OK : thaw_fail(err, THAW_ERR_IO, "standard output failed");
}

int main(void) {
    thaw_arena arena = {0};
    thaw_error err;
    task t;
    if (!read_task(&t, &arena)) return 2;
    thaw_status status = solve(&t, &arena, &err);
    if (status != THAW_OK) fprintf(stderr, "%s\n", err.text);
    thaw_arena_free(&arena);
    return status != THAW_OK;
}
