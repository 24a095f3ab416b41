/* thaw inspect MODEL: what is in the file, and every cut. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "network.h"
#include "ops.h"
#include "text.h"

static void print_operators(const thaw_graph *graph) {
    thaw_text list = {0};
    int n_rows;
    const thaw_op *rows = thaw_op_table(&n_rows);
    for (int r = 0; r < n_rows; r++) {
        int count = 0;
        for (int i = 0; i < graph->n_nodes; i++)
            count +=
                graph->nodes[i].live && !graph->nodes[i].alias && graph->nodes[i].op == &rows[r];
        if (count) thaw_text_add(&list, "%s%s %d", list.n ? ", " : "", rows[r].type, count);
    }
    printf("operators   %s\n", list.text);
}

/* Normalisation that is still separate can be trained later; what was folded into convolutions at
 * export cannot, and nobody notices until it matters. */
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
            "            fine for frozen layers\n");
}

static void print_cut(const thaw_graph *graph, const thaw_cuts *cuts, const thaw_cut *cut) {
    char shape[64];
    thaw_value_shape_text(&graph->values[cut->value], shape, sizeof shape);
    printf("%c%4d  %-36.36s %-9s %-20s %9.1f %10.3f %10.3f %9.3f %9.3f\n",
           cut->index == cuts->last ? '*' : ' ', cut->index, cut->name,
           cut->stage ? cut->stage : "", shape, (double)cut->elements * 4 / 1024,
           (double)cut->params_below / 1e6, (double)cut->params_above / 1e6,
           (double)cut->flop_below / 1e9, (double)cut->flop_above / 1e9);
}

thaw_status thaw_cmd_inspect(const thaw_cli *cli, const thaw_options *options, thaw_error *err) {
    thaw_options inspected = *options;
    inspected.model = cli->args[0];
    inspected.freeze = "last";
    thaw_network network;
    thaw_status status = thaw_network_open(&network, &inspected, err);
    if (status == THAW_OK) {
        const thaw_model *m = &network.model;
        const thaw_graph *graph = &m->graph;
        char text[64];
        printf("file        %s, %.1f MB, opset %lld, from %s\n", m->path,
               (double)m->file_bytes / 1e6, (long long)graph->opset, m->producer);
        printf("input       %s, %lld x %lld, %lld channels%s\n", graph->values[graph->input].name,
               (long long)m->width, (long long)m->height, (long long)m->channels,
               graph->input_nhwc ? " (NHWC)" : "");
        thaw_value_shape_text(&graph->values[graph->output], text, sizeof text);
        printf("output      %s, %s\n", graph->values[graph->output].name, text);
        print_operators(graph);
        print_batch_norm(graph);
        printf("preprocess  %s\n", network.preprocess_reason);
        thaw_hash_text(network.trunk_hash, text);
        printf("trunk       %lld features an image, hash %s\n\n", (long long)network.n_features,
               text);
        printf(
            "                                                                               "
            "            parameters, M           GFLOP\n");
        printf("  cut  %-36s %-9s %-20s %9s %10s %10s %9s %9s\n", "node", "stage", "shape",
               "KB/image", "below", "above", "below", "above");
        for (int i = 0; i < network.cuts.n; i++)
            print_cut(graph, &network.cuts, &network.cuts.cuts[i]);
        printf("\n* is freeze = last: only the head above it is trained.%s\n",
               network.pooled ? " Its mean over height and width is what is kept." : "");
    }
    thaw_network_close(&network);
    return status;
}
