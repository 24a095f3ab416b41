#include "own_scaling.h"

#include <math.h>
#include <string.h>

/* The first node that runs and reads the value; NULL: none. */
static const thaw_node *reader_of(const thaw_graph *g, int value) {
    for (int i = 0; i < g->n_nodes; i++) {
        const thaw_node *node = &g->nodes[i];
        if (!node->live || node->alias) continue;
        for (int k = 0; k < node->n_in; k++)
            if (node->in[k] >= 0 && g->values[node->in[k]].root == value) return node;
    }
    return NULL;
}

/* The mean of a constant of one number, or one a channel (at most three); false: it is none. */
static bool constant(const thaw_value *v, double *mean) {
    int64_t n = v && v->data && v->dtype == THAW_F32 ? thaw_value_elements(v) : 0;
    *mean = 0;
    for (int64_t i = 0; i < n && n <= 3; i++)
        *mean += ((const float *)v->data)[i] / (double)n;
    return n >= 1 && n <= 3;
}

/* Sub, Add, Mul, Div of the input and a constant. False: it is none of them. */
static bool apply(const thaw_graph *g, const thaw_node *node, thaw_own_scaling *s) {
    double c;
    const thaw_value *first = thaw_node_in(g, node, 0), *second = thaw_node_in(g, node, 1);
    bool swapped = first && first->data;
    if (node->n_in != 2 || !constant(swapped ? first : second, &c)) return false;
    if (strcmp(node->type, "Add") == 0) return s->shift += c, true;
    if (strcmp(node->type, "Mul") == 0) return s->scale *= c, s->shift *= c, true;
    if (strcmp(node->type, "Sub") == 0 && !swapped) return s->shift -= c, true;
    if (strcmp(node->type, "Sub") == 0) return s->scale *= -1, s->shift = c - s->shift, true;
    if (strcmp(node->type, "Div") != 0 || swapped || c == 0) return false;
    return s->scale /= c, s->shift /= c, true;
}

static bool normalise(const thaw_graph *g, const thaw_node *node, thaw_own_scaling *s) {
    double scale, shift, mean, variance;
    if (strcmp(node->type, "BatchNormalization") != 0 ||
        !constant(thaw_node_in(g, node, 1), &scale) ||
        !constant(thaw_node_in(g, node, 2), &shift) || !constant(thaw_node_in(g, node, 3), &mean) ||
        !constant(thaw_node_in(g, node, 4), &variance))
        return false;
    double factor = scale / sqrt(variance + (double)thaw_node_float(node, "epsilon", 1e-5f));
    s->scale *= factor;
    s->shift = (s->shift - mean) * factor + shift;
    return true;
}

thaw_own_scaling thaw_own_scaling_of(const thaw_graph *g) {
    static const char *const passes[] = {"Transpose", "Cast", "Gather", "Slice", "Split", NULL};
    thaw_own_scaling s = {.scale = 1};
    int value = g->input;
    for (int steps = 0; steps < 16; steps++) { /* Nobody scales in more. */
        const thaw_node *node = reader_of(g, value);
        if (!node || node->out[0] < 0) break;
        bool passed = false, scaled = apply(g, node, &s) || normalise(g, node, &s);
        for (int i = 0; passes[i] && !scaled; i++)
            passed |= strcmp(node->type, passes[i]) == 0;
        if (!scaled && !passed) break;
        s.picks |=
            passed && strcmp(node->type, "Transpose") != 0 && strcmp(node->type, "Cast") != 0;
        s.any |= scaled;
        value = g->values[node->out[0]].root;
    }
    return s;
}
