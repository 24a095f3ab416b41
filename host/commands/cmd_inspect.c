/* thaw inspect MODEL [FOLDER]: what is in the file, where it can be cut, and which preprocessing pictures speak
 * for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "graph/ops.h"
#include "inspect_train.h"
#include "model/network.h"
#include "run/device.h"
#include "run/precision.h"
#include "run/preset_probe.h"
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
    for (int i = 0; i < m->n_outputs; i++) {
        const thaw_value *other = &graph->values[m->outputs[i]];
        if (m->outputs[i] == graph->output || graph->tail) continue;
        thaw_value_shape_text(other, text, sizeof text);
        printf("            and %s, %s\n", shown(m, other->name), text);
    }
    print_operators(graph);
    print_batch_norm(graph);
    printf("preprocess  %s\n", shown(m, network->preprocess_choice.why));
    if (network->preprocess_choice.certainty != THAW_CERTAIN)
        printf("            thaw inspect MODEL FOLDER asks pictures; preprocess = NAME says it\n");
    printf("old head    %s\n", shown(m, network->head));
    if (network->cuts.head >= 0) printf("            head.at = NODE says otherwise\n");
    for (int i = 0; i < network->n_notes; i++)
        printf("note        %s\n", shown(m, network->notes[i]));
    thaw_hash_text(network->trunk_hash, text);
    printf("trunk       %lld features an image, hash %s\n", (long long)network->n_features, text);
}

/* All, or each stage's narrowest, and those that are called last and none. */
static void print_cuts(thaw_network *network, bool all) {
    const thaw_cuts *cuts = &network->cuts;
    int left_out = 0;
    printf("\n                                                    parameters, M           GFLOP\n");
    printf("  cut  %-9s %-20s %9s %10s %10s %9s %9s  %s\n", "stage", "shape", "KB/image", "below",
           "above", "below", "above", "node");
    for (int i = 0; i < cuts->n; i++) {
        const thaw_cut *cut = &cuts->cuts[i];
        if (all || i == 0 || i == cuts->last || thaw_cut_is_narrowest(cuts, cut))
            print_cut(&network->model, cuts, cut);
        else
            left_out++;
    }
    printf("\n* is freeze = last: only the head above it is trained.%s\n",
           network->pooled ? " Its mean over height and width is what is kept." : "");
    if (left_out)
        printf("Of each stage the narrowest cut stands here; --all lists %d more.\n", left_out);
}

/* ---- presets ------------------------------------------------------------------------------- */

static void print_presets(const thaw_preset_probe *probe) {
    printf("\npreprocess  %zu pictures of %zu classes", probe->n_pictures, probe->n_classes);
    if (probe->n_classes < probe->n_classes_there) printf(" (of %zu)", probe->n_classes_there);
    if (probe->n_bad) printf(", %zu could not be read", probe->n_bad);
    printf(
        "; a linear head, each picture scored once by one that has not seen it\n\n"
        "  %-20s %16s %9s  %s\n",
        "preset", "top-1, %", "loss", "higher by (95 %), p of top-1");
    for (int k = 0; k < probe->n; k++) {
        const thaw_probed *p = &probe->list[k];
        printf("%c %-20s", k == probe->advised && probe->n_alike ? '*' : ' ', p->name);
        if (!p->finite)
            printf(" %16s\n", "not finite");
        else
            printf(" %7.2f +- %5.2f %9.4f", 100 * p->top1.mean, 100 * p->top1.error, p->loss);
        if (p->finite && k > 0)
            printf("  %.4f (%+.4f to %+.4f), %.2g", p->behind, p->low, p->high, p->p);
        if (p->finite) printf("%s\n", k > 0 && k < probe->n_alike ? ", not told apart" : "");
    }
}

static void print_advice(const thaw_network *network, const thaw_preset_probe *probe) {
    const thaw_probed *best = &probe->list[probe->advised];
    char name[64];
    if (!probe->n_alike) {
        printf("\nNo preset gives features that are numbers: the network may be damaged.\n");
        return;
    }
    snprintf(name, sizeof name, "%.*s", (int)strcspn(best->name, ","), best->name);
    bool own = best->chosen && !thaw_preprocess_name(&network->preprocess);
    printf("\n* is what to take: %s%s",
           own ? "" : "preprocess = ", own ? "leave it as it is" : name);
    if (best->chosen) printf(", which is what auto takes");
    if (probe->n_alike == 1)
        printf(".\nAll others are behind.\n");
    else
        printf(".\nThese pictures do not tell it from %d other%s; --pictures=N asks more.\n",
               probe->n_alike - 1, probe->n_alike > 2 ? "s" : "");
}

static thaw_status compare_presets(const thaw_network *network, const char *folder,
                                   const thaw_options *options, thaw_error *err) {
    thaw_backend backend;
    thaw_preset_probe probe;
    THAW_TRY(thaw_device_open(options, &backend, err));
    thaw_status status = thaw_network_settle(network, &backend, err);
    if (status == THAW_OK)
        status = thaw_preset_probe_run(network, folder, (size_t)options->inspect.pictures,
                                       options->batch, &backend, NULL, &probe, err);
    thaw_backend_close(&backend);
    if (status != THAW_OK) return status;
    print_presets(&probe);
    print_advice(network, &probe);
    return THAW_OK;
}

thaw_status thaw_cmd_inspect(const thaw_cli *cli, const thaw_options *options, thaw_error *err) {
    thaw_options inspected = *options;
    inspected.model = cli->args[0];
    inspected.freeze = "last";
    thaw_network network;
    thaw_status status = thaw_network_open(&network, &inspected, err);
    if (status == THAW_OK) {
        print_model(&network);
        print_cuts(&network, options->inspect.all);
        if (options->inspect.train) status = thaw_inspect_train(&network, options, err);
        if (status == THAW_OK && options->inspect.plan) status = explain(&network, options, err);
        if (status == THAW_OK && cli->n_args > 1)
            status = compare_presets(&network, cli->args[1], options, err);
    }
    thaw_network_close(&network);
    return status;
}
