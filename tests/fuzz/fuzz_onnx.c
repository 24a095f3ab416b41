/* An ONNX file: what is read can be cut and hashed, and a small network can be planned. */
#include "fuzz.h"
#include "graph/cuts.h"
#include "onnx/onnx_read.h"
#include "trunk/trunk.h"

static thaw_backend backend;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    FUZZ_CHECK(thaw_backend_open(&backend, "cpu", 1, NULL) == THAW_OK);
    return 0;
}

/* Small enough that planning takes no time. */
static bool is_tiny(const thaw_graph *graph, const thaw_cut *cut) {
    int64_t elements = 0;
    for (int i = 0; i < graph->n_nodes; i++)
        for (int k = 0; graph->nodes[i].live && k < graph->nodes[i].n_out; k++) {
            const thaw_value *out = thaw_node_out(graph, &graph->nodes[i], k);
            if (out && out->rank > 0 && !out->data) elements += thaw_value_elements(out);
        }
    return elements < 1 << 16 && cut->flop_below < 1 << 20;
}

static void plan(const thaw_graph *graph, const thaw_cut *cut) {
    static const float scale[3] = {1, 1, 1}, shift[3] = {0, 0, 0};
    thaw_trunk_options options = {.batch = 1, .compute = THAW_F32, .scale = scale, .shift = shift};
    thaw_trunk *trunk;
    thaw_error err = {0};
    thaw_status status = thaw_trunk_create(&trunk, graph, cut, &options, &backend, &err);
    fuzz_check_status(status, &err);
    if (status == THAW_OK) thaw_trunk_free(trunk);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    thaw_model model;
    thaw_cuts cuts;
    thaw_hash hash;
    thaw_error err = {0};
    thaw_status status = thaw_model_parse(&model, data, n, "fuzz.onnx", 0, 0, &err);
    fuzz_check_status(status, &err);
    if (status == THAW_OK) {
        FUZZ_CHECK(thaw_cuts_find(&model.graph, &cuts, &err) == THAW_OK);
        FUZZ_CHECK(cuts.n >= 1 && cuts.last >= 0 && cuts.last < cuts.n);
        const thaw_cut *cut = &cuts.cuts[cuts.last];
        FUZZ_CHECK(thaw_cut_hash(&model.graph, cut, false, &hash, &err) == THAW_OK);
        if (is_tiny(&model.graph, cut)) plan(&model.graph, cut);
    }
    thaw_model_free(&model);
    return 0;
}
