#include "inspect_train.h"

#include <stdio.h>
#include <string.h>

#include "top/fit.h"

enum { BATCH = 64 }; /* As top.batch has it. */

/* Of one image in a step: forwards, and backwards by weights and by inputs, but for the inputs of the
 * lowest layer that is trained. */
static double step_flop(const thaw_network *n, const thaw_cut *cut) {
    const thaw_graph *graph = &n->model.graph;
    int64_t above = cut->flop_above - n->head_cut->flop_above, lowest = 0;
    for (int i = cut->node + 1; i <= n->head_cut->node && !lowest; i++)
        if (graph->nodes[i].live && !graph->nodes[i].alias &&
            thaw_node_params(graph, &graph->nodes[i]) > 0)
            lowest = thaw_node_flop(graph, &graph->nodes[i]);
    return 3 * (double)above - (double)lowest;
}

static void print_row(const thaw_network *n, const thaw_cut *cut, const thaw_backend *backend) {
    thaw_error why = {0};
    thaw_top_size size;
    thaw_tune_job job = {.backend = backend,
                         .graph = (thaw_graph *)&n->model.graph, /* Read: nothing is trained. */
                         .from = cut->value,
                         .to = n->head_cut->value,
                         .pooled = n->head_pooled,
                         .options = {.batch = BATCH},
                         .head = {.K = 2}};
    thaw_status status = thaw_fit_measure(&job, &size, &why);
    printf("%5d  %-9s %10.3f %10.3f", cut->index, cut->index ? cut->stage : "none",
           (double)(cut->params_above - n->head_cut->params_above) / 1e6, step_flop(n, cut) / 1e9);
    if (status == THAW_OK)
        printf(" %12.2f %12.1f %12.1f  %s\n",
               (double)size.activation_bytes /
                   (double)thaw_tune_lane(backend, THAW_NORM_FROZEN, BATCH) / 1e6,
               (double)cut->elements * 4 / 1024, THAW_TUNE_COPIES * (double)size.n_params * 4 / 1e6,
               cut->name);
    else
        printf("  %s\n", why.text);
}

thaw_status thaw_inspect_train(const thaw_network *n, const thaw_options *options,
                               thaw_error *err) {
    thaw_backend backend;
    int64_t threads = thaw_is_auto(options->threads) ? 0 : options->threads;
    THAW_TRY(thaw_backend_cpu_open(&backend, (int)threads, err));
    printf(
        "\nTraining above a stage's cut, on the CPU:\n"
        "                  trained    GFLOP of        memory        cache      weights\n"
        "  cut  stage       params, M  an image   MB an image  KB an image    and all, MB  node\n");
    for (int i = 0; i < n->cuts.last; i++) {
        const thaw_cut *cut = &n->cuts.cuts[i];
        bool stage = cut->index == 0 || (cut->stage && !strchr(cut->stage, '.'));
        if (stage && thaw_cut_trains(&n->model.graph, &n->cuts, cut)) print_row(n, cut, &backend);
    }
    printf(
        "\nAn image costs its GFLOP in each step: forwards, and backwards for weights and inputs. "
        "Its "
        "memory is\nneeded for as many images as are under way, %lld for each thread with batches "
        "of "
        "%d, whatever the\nbatch. Weights and all: with gradients, moments and the epoch that is "
        "kept.\n",
        (long long)thaw_tune_lane(&backend, THAW_NORM_FROZEN, BATCH), BATCH);
    thaw_backend_close(&backend);
    return THAW_OK;
}
