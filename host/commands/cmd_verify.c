/* thaw verify MODEL --input x.npy --output y.npy: whether Thaw makes of a network what another program
 * does. */
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "npy.h"
#include "run/verify.h"
#include "utf8.h"

static void print_name(const char *what, const char *name, const char *behind) {
    printf("%-11s ", what);
    thaw_utf8_put(stdout, name, 0);
    fputs(behind, stdout);
}

/* "[2, 3]": the place of number i. */
static void index_text(const thaw_npy *npy, int64_t i, char *text, size_t size) {
    int64_t index[THAW_NPY_MAX_RANK];
    size_t used = 0;
    for (int axis = npy->rank - 1; axis >= 0; axis--) {
        index[axis] = i % npy->dims[axis];
        i /= npy->dims[axis];
    }
    for (int axis = 0; axis < npy->rank && used < size; axis++)
        used += (size_t)snprintf(text + used, size - used, "%s%lld", axis ? ", " : "[",
                                 (long long)index[axis]);
    if (used < size) snprintf(text + used, size - used, "]");
}

static thaw_status check_output(const thaw_model *m, const char *file, int64_t n,
                                const thaw_npy *want, thaw_error *err) {
    const thaw_graph *g = &m->graph;
    const thaw_value *out = &g->values[g->output];
    bool fits = want->rank == out->rank && want->dims[0] == n;
    for (int i = 1; i < out->rank && fits; i++)
        fits = want->dims[i] == out->dims[i];
    if (fits) return THAW_OK;
    char have[128], shape[128];
    thaw_npy_shape_text(want, have, sizeof have);
    thaw_value_shape_text(out, shape, sizeof shape);
    return thaw_fail(err, THAW_ERR_SHAPE,
                     "%.200s is %s, and the model makes %s at %.200s, of N = %lld pictures%s; "
                     "verify.at = TENSOR compares another tensor",
                     file, have, shape, out->name, (long long)n,
                     g->tail ? " (what stands behind that is left out)" : "");
}

/* A layer that takes the batch's statistics wherever the file is run as it is. */
static bool has_training(const thaw_graph *g) {
    for (int i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].live && !strcmp(g->nodes[i].type, "BatchNormalization") &&
            (g->nodes[i].n_out > 1 || thaw_node_int(&g->nodes[i], "training_mode", 0)))
            return true;
    return false;
}

static thaw_status compare(const thaw_model *m, const thaw_options *options, const thaw_npy *want,
                           const float *got, thaw_error *err) {
    const char *y = options->verify.output;
    thaw_distance d = thaw_distance_of(want->n, want->values, got);
    double tolerance = options->verify.tolerance;
    bool same = d.nmse <= tolerance;
    char where[128];
    index_text(want, d.at, where, sizeof where);
    printf("NMSE        %.3g, at most %g is taken for roundings\n", d.nmse, tolerance);
    if (d.n_apart) printf("not finite  %lld numbers on one side alone\n", (long long)d.n_apart);
    printf("largest     %.3g at %s: %.9g here, %.9g there\n", d.largest, where, (double)got[d.at],
           (double)want->values[d.at]);
    printf("verdict     %s\n", same ? "the same" : "they differ");
    if (same) return THAW_OK;
    return thaw_fail(err, THAW_ERR_MISMATCH, "%s: %s is not what %.200s holds, NMSE %.3g; %s",
                     m->path, m->graph.values[m->graph.output].name, y, d.nmse,
                     has_training(&m->graph)
                         ? "the file was exported in training mode, where its BN takes the batch's "
                           "statistics, and Thaw takes those that it holds: export it from "
                           "model.eval()"
                         : "verify.at with a tensor further below finds where it begins");
}

static thaw_status verify(const char *path, const thaw_options *options, thaw_model *model,
                          thaw_backend *cpu, thaw_arena *arena, thaw_error *err) {
    const char *at = thaw_is_auto(options->verify.at) ? NULL : options->verify.at;
    thaw_npy input, want;
    float *got;
    THAW_TRY(thaw_npy_read(options->verify.input, arena, &input, err));
    THAW_TRY(thaw_npy_read(options->verify.output, arena, &want, err));
    THAW_TRY(thaw_verify_open(model, path, at, &input, err));
    THAW_TRY(check_output(model, options->verify.output, input.dims[0], &want, err));
    THAW_TRY(thaw_verify_run(model, &input, cpu, arena, &got, err));
    char shape[128];
    const thaw_value *out = &model->graph.values[model->graph.output];
    thaw_value_shape_text(out, shape, sizeof shape);
    print_name("model", model->path, "\n");
    print_name("tensor", out->name, ", ");
    printf("%s\n", shape);
    print_name("input", options->verify.input, ", ");
    thaw_npy_shape_text(&input, shape, sizeof shape);
    printf("%s\n", shape);
    return compare(model, options, &want, got, err);
}

thaw_status thaw_cmd_verify(const thaw_cli *cli, const thaw_options *options, thaw_error *err) {
    THAW_TRY(thaw_options_require(options, "verify.input", err));
    THAW_TRY(thaw_options_require(options, "verify.output", err));
    thaw_model model = {0};
    thaw_arena arena = {0};
    thaw_backend cpu;
    int64_t threads = thaw_is_auto(options->threads) ? 0 : options->threads;
    THAW_TRY(thaw_backend_cpu_open(&cpu, (int)threads, err));
    thaw_status status = verify(cli->args[0], options, &model, &cpu, &arena, err);
    thaw_model_free(&model);
    thaw_arena_free(&arena);
    thaw_backend_close(&cpu);
    return status;
}
