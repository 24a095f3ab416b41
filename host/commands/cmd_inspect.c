/* thaw inspect MODEL: what is in the file, and every cut. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "graph/ops.h"
#include "inspect_train.h"
#include "model/network.h"
#include "run/device.h"
#include "run/precision.h"
#include "text.h"
#include "utf8.h"

/* A name of the file as a terminal may have it. */
static const char *shown(thaw_model *m, const char *name) {
    char *copy = thaw_arena_string(&m->arena, name, strlen(name));
    if (copy) thaw_utf8_printable(copy);
    return copy ? copy : "?";
}

static void print_operators(const thaw_graph *graph) {
    thaw_text list = {0};
    int n_rows;
    const thaw_op *const *rows = thaw_op_table(&n_rows);
    for (int r = 0; r < n_rows; r++) {
        int count = 0;
        for (int i = 0; i < graph->n_nodes; i++)
            count +=
                graph->nodes[i].live && !graph->nodes[i].alias && graph->nodes[i].op == rows[r];
        if (count) thaw_text_add(&list, "%s%s %d", list.n ? ", " : "", rows[r]->type, count);
    }
    printf("operators   %s\n", list.text);
}

/* Normalisation that is still separate can be trained; what was folded into convolutions at export is
 * trained as a part of them, and nobody notices until it matters. */
static void print_batch_norm(const thaw_graph *graph) {
    int n_norm = 0, n_conv = 0;
    for (int i = 0; i < graph->n_nodes; i++) {
        n_norm += graph->nodes[i].live && strcmp(graph->nodes[i].type, "BatchNormalization") == 0;
        n_conv += graph->nodes[i].live && strcmp(graph->nodes[i].type, "Conv") == 0;
    }
    if (n_norm)
        printf("batch norm  %d layers kept\n", n_norm);
    else if (n_conv)
        printf(
            "batch norm  none: folded into the convolutions at export, or never there. That is\n"
            "            fine for frozen layers, and they can be trained as they are\n");
}

/* The node's name comes last, so that it is whole, to be copied into freeze. */
static void print_cut(thaw_model *m, const thaw_cuts *cuts, const thaw_cut *cut) {
    char shape[64];
    thaw_value_shape_text(&m->graph.values[cut->shape], shape, sizeof shape);
    printf("%c%4d  %-9s %-20s %9.1f %10.3f %10.3f %9.3f %9.3f  %s\n",
           cut->index == cuts->last ? '*' : ' ', cut->index, cut->stage ? cut->stage : "", shape,
           (double)cut->elements * 4 / 1024, (double)cut->params_below / 1e6,
           (double)cut->params_above / 1e6, (double)cut->flop_below / 1e9,
           (double)cut->flop_above / 1e9, shown(m, cut->name));
}

/* Steps, what each runs, and what they add up to. */
static void print_plan(const thaw_trunk *trunk) {
    thaw_trunk_size size = thaw_trunk_measure(trunk);
    double expected = 0, limit = 0;
    printf("\n  step  %-48s %-34s %-26s %12s %12s %9s\n", "", "kernel", "why", "expected, us",
           "products, us", "bytes, us");
    for (int i = 0; i < size.n_steps; i++) {
        char text[128];
        thaw_step_plan plan;
        thaw_trunk_describe(trunk, i, text, sizeof text);
        if (!thaw_trunk_explain(trunk, i, &plan)) {
            printf("  %4d  %s\n", i, text);
            continue;
        }
        printf("  %4d  %-48.48s %-34s %-26s", i, text, plan.kernel, plan.why);
        if (plan.kernel[0])
            printf(" %12.1f %12.1f %9.1f", plan.expected_us, plan.products_us, plan.bytes_us);
        putchar('\n');
        expected += plan.expected_us;
        limit += plan.products_us > plan.bytes_us ? plan.products_us : plan.bytes_us;
    }
    if (limit > 0)
        printf(
            "\nexpected    %.1f us for %lld pictures, %.0f pictures/s; the device's limits: %.1f "
            "us, "
            "%.0f pictures/s.\n            A model's guess at nominal clocks, not a measurement.\n",
            expected, (long long)size.N, 1e6 * (double)size.N / expected, limit,
            1e6 * (double)size.N / limit);
    else
        printf("\nThe CPU's kernels are oneDNN's choice, which it does not tell.\n");
    printf("memory      activations %.1f MB at their peak, workspace %.1f MB, in groups of %lld\n",
           (double)size.activation_bytes / 1e6, (double)size.workspace_bytes / 1e6,
           (long long)size.N);
}

/* The trunk as it would run. */
static thaw_status explain(const thaw_network *network, const thaw_options *options,
                           thaw_error *err) {
    thaw_backend backend;
    thaw_arena arena = {0};
    thaw_dtype compute;
    thaw_trunk *trunk = NULL;
    bool model = !thaw_is_auto(options->device) && thaw_device_is_model(options->device);
    THAW_TRY(model ? thaw_backend_open_model(&backend, options->device, err)
                   : thaw_device_open(options, &backend, err));
    thaw_status status = thaw_network_settle(network, &backend, err);
    if (backend.note[0]) printf("\n%s\n", backend.note);
    if (status == THAW_OK) status = thaw_device_tune(options, &backend, &arena, err);
    if (status == THAW_OK) status = thaw_precision_asked(options, &backend, &compute, err);
    if (status == THAW_OK)
        status = thaw_network_plan(network, NULL, options->batch, compute, &backend, &trunk, err);
    if (status == THAW_OK) print_plan(trunk);
    thaw_trunk_free(trunk);
    thaw_backend_close(&backend);
    thaw_arena_free(&arena);
    return status;
}

/* The file, as it was understood. */
static void print_model(thaw_network *network) {
    thaw_model *m = &network->model;
    const thaw_graph *graph = &m->graph;
    char text[64];
    printf("file        %s, %.1f MB, opset %lld, from %s\n", shown(m, m->path),
           (double)m->file_bytes / 1e6, (long long)graph->opset, shown(m, m->producer));
    printf("input       %s, %lld x %lld, %lld channels%s%s%s\n",
           shown(m, graph->values[graph->input].name), (long long)m->width, (long long)m->height,
           (long long)m->channels, graph->input_nhwc ? " (NHWC)" : "",
           m->integer_input ? ", whole numbers" : "", m->open_size ? ", size left open" : "");
    thaw_value_shape_text(&graph->values[graph->output], text, sizeof text);
    printf("output      %s, %s\n", shown(m, graph->values[graph->output].name), text);
    print_operators(graph);
    print_batch_norm(graph);
    printf("preprocess  %s\n", network->preprocess_reason);
    printf("old head    %s\n", shown(m, network->head));
    for (int i = 0; i < network->n_notes; i++)
        printf("note        %s\n", shown(m, network->notes[i]));
    thaw_hash_text(network->trunk_hash, text);
    printf("trunk       %lld features an image, hash %s\n", (long long)network->n_features, text);
}

static void print_cuts(thaw_network *network) {
    printf("\n                                                    parameters, M           GFLOP\n");
    printf("  cut  %-9s %-20s %9s %10s %10s %9s %9s  %s\n", "stage", "shape", "KB/image", "below",
           "above", "below", "above", "node");
    for (int i = 0; i < network->cuts.n; i++)
        print_cut(&network->model, &network->cuts, &network->cuts.cuts[i]);
    printf("\n* is freeze = last: only the head above it is trained.%s\n",
           network->pooled ? " Its mean over height and width is what is kept." : "");
}

thaw_status thaw_cmd_inspect(const thaw_cli *cli, const thaw_options *options, thaw_error *err) {
    thaw_options inspected = *options;
    inspected.model = cli->args[0];
    inspected.freeze = "last";
    thaw_network network;
    thaw_status status = thaw_network_open(&network, &inspected, err);
    if (status == THAW_OK) {
        print_model(&network);
        print_cuts(&network);
        if (options->inspect.train) status = thaw_inspect_train(&network, options, err);
        if (status == THAW_OK && options->inspect.plan) status = explain(&network, options, err);
    }
    thaw_network_close(&network);
    return status;
}
