#include "verify.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "graph/cuts.h"
#include "model/model_file.h"
#include "text.h"
#include "trunk/trunk.h"

/* ---- distance ------------------------------------------------------------------------------- */

thaw_distance thaw_distance_of(int64_t n, const float *want, const float *got) {
    thaw_distance d = {0};
    double error = 0, power = 0;
    for (int64_t i = 0; i < n; i++) {
        bool both = isfinite(want[i]) && isfinite(got[i]);
        bool same = both || want[i] == got[i] || (isnan(want[i]) && isnan(got[i]));
        double difference = both ? fabs((double)got[i] - want[i]) : 0;
        error += difference * difference;
        power += both ? (double)want[i] * want[i] : 0;
        if (!same && !d.n_apart++) d.at = i; /* The first of them says more than any difference. */
        if (!d.n_apart && difference > d.largest) d.largest = difference, d.at = i;
    }
    if (d.n_apart) d.largest = INFINITY;
    d.nmse = d.n_apart ? INFINITY : power > 0 ? error / power : error > 0 ? INFINITY : 0;
    return d;
}

/* ---- what is asked for ---------------------------------------------------------------------- */

static thaw_status check_input(const thaw_model *m, const thaw_npy *input, thaw_error *err) {
    const thaw_value *value = &m->graph.values[m->graph.input];
    bool fits = input->rank == value->rank && input->dims[0] > 0;
    for (int i = 1; i < value->rank && fits; i++)
        fits = input->dims[i] == value->dims[i];
    if (fits) return THAW_OK;
    char have[128], want[128];
    thaw_npy_shape_text(input, have, sizeof have);
    thaw_value_shape_text(value, want, sizeof want);
    return thaw_fail(err, THAW_ERR_SHAPE, "%s: the input is %s, and the model takes %s, N from 1",
                     m->path, have, want);
}

/* The runtime value that a name means; -1: none. */
static int find_value(const thaw_graph *graph, const char *name) {
    for (int i = 0; i < graph->n_values; i++)
        if (strcmp(graph->values[i].name, name) == 0) return i;
    for (int i = 0; i < graph->n_nodes; i++)
        if (strcmp(graph->nodes[i].name, name) == 0 && graph->nodes[i].n_out > 0)
            return graph->nodes[i].out[0];
    return -1;
}

static thaw_status choose(thaw_graph *graph, const char *at, thaw_error *err) {
    int value = find_value(graph, at);
    thaw_cuts cuts;
    const thaw_cut *cut;
    if (value < 0) {
        thaw_error why = {0};
        THAW_TRY(thaw_cuts_find(graph, &cuts, err));
        if (thaw_cuts_select(graph, &cuts, at, &cut, &why) != THAW_OK) {
            const char *said = strstr(why.text, ": ");
            return thaw_fail(err, THAW_ERR_USAGE,
                             "verify.at = %.200s: no tensor or node, and %.600s", at,
                             said ? said + 2 : why.text);
        }
        value = cut->shape;
    }
    return thaw_graph_set_output(graph, value, err);
}

thaw_status thaw_verify_open(thaw_model *model, const char *path, const char *at,
                             const thaw_npy *input, thaw_error *err) {
    *model = (thaw_model){0};
    if (input->rank != 4)
        return thaw_fail(err, THAW_ERR_SHAPE,
                         "the input has %d dimensions; expected a batch of pictures, four",
                         input->rank);
    const int64_t *d = input->dims;
    bool nhwc = (d[3] == 1 || d[3] == 3) && d[1] != 1 && d[1] != 3;
    THAW_TRY(thaw_model_open(model, path, nhwc ? d[1] : d[2], nhwc ? d[2] : d[3], err));
    if (at) THAW_TRY(choose(&model->graph, at, err));
    return check_input(model, input, err);
}

/* ---- order of numbers ------------------------------------------------------------------------ */

/* Where number i of a picture that has this value's shape lies in the trunk's [H, W, C]. */
static int64_t place_of(const thaw_value *v, const int64_t size[3], int64_t i) {
    int64_t at[3] = {0}, step[3] = {1, 1, 1};
    for (int axis = v->rank - 1; axis > 0; axis--) {
        thaw_place place = thaw_value_place(v, axis);
        at[place] += i % v->dims[axis] * step[place];
        step[place] *= v->dims[axis];
        i /= v->dims[axis];
    }
    return (at[THAW_IN_H] * size[THAW_IN_W] + at[THAW_IN_W]) * size[THAW_IN_C] + at[THAW_IN_C];
}

typedef enum direction { TO_TRUNK, FROM_TRUNK } direction;

/* Copies n pictures between the value's own order and the trunk's. */
static void reorder(direction way, const thaw_value *v, int64_t n, const float *from, float *to) {
    int64_t size[3], D = thaw_value_elements(v);
    thaw_value_picture(v, size);
    for (int64_t i = 0; i < D; i++) {
        int64_t own = i, trunk = place_of(v, size, i);
        for (int64_t k = 0; k < n; k++)
            to[k * D + (way == TO_TRUNK ? trunk : own)] =
                from[k * D + (way == TO_TRUNK ? own : trunk)];
    }
}

/* ---- running --------------------------------------------------------------------------------- */

static thaw_status run(thaw_model *m, const thaw_npy *input, thaw_trunk *trunk, thaw_arena *arena,
                       float **numbers, thaw_error *err) {
    const thaw_graph *g = &m->graph;
    const thaw_value *in = &g->values[g->input], *out = &g->values[g->output];
    thaw_trunk_size size = thaw_trunk_measure(trunk);
    int64_t n = input->dims[0], D = thaw_value_elements(out);
    if (size.H * size.W * size.C != D)
        return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                         "%s: the numbers of %s lie in another order than Thaw computes them in; "
                         "compare a tensor before it (verify.at)",
                         m->path, out->name);
    float *x = thaw_arena_array(arena, (size_t)input->n, sizeof *x);
    float *y = thaw_arena_array(arena, (size_t)n, (size_t)D * sizeof *y);
    *numbers = thaw_arena_array(arena, (size_t)n, (size_t)D * sizeof *y);
    if (!x || !y || !*numbers) return thaw_fail_memory(err, "for the network's numbers");
    reorder(TO_TRUNK, in, n, input->values, x);
    THAW_TRY(thaw_trunk_run_from(trunk, n, x, y, err));
    reorder(FROM_TRUNK, out, n, y, *numbers);
    return THAW_OK;
}

thaw_status thaw_verify_run(thaw_model *model, const thaw_npy *input, thaw_backend *cpu,
                            thaw_arena *arena, float **numbers, thaw_error *err) {
    enum { MOST = 32 };
    static const float one[3] = {1, 1, 1}, zero[3]; /* Of pixels, which do not come in. */
    thaw_cuts cuts;
    thaw_trunk *trunk = NULL;
    THAW_TRY(thaw_cuts_find(&model->graph, &cuts, err));
    thaw_trunk_options options = {.batch = input->dims[0] < MOST ? input->dims[0] : MOST,
                                  .compute = THAW_F32,
                                  .scale = one,
                                  .shift = zero,
                                  .from = &cuts.cuts[0],
                                  .apart = true};
    thaw_status status =
        thaw_trunk_create(&trunk, &model->graph, &cuts.cuts[cuts.n - 1], &options, cpu, err);
    if (status == THAW_OK) status = run(model, input, trunk, arena, numbers, err);
    thaw_trunk_free(trunk);
    return status;
}
