/* A trunk program that is being made, and what operators do to it.
 *
 * Nodes are taken in order; each appends a step or melts into an earlier one: BN and other constant
 * scales and shifts into the weights of the convolution before them (or into the pixels' import),
 * activations and residual sums into the epilogue, zero padding into the window.
 */
#ifndef THAW_LOWERING_H
#define THAW_LOWERING_H

#include "lower.h"

typedef struct thaw_lowering {
    const thaw_graph *graph;
    thaw_arena *arena; /* The plan's: fused weights live here. */
    int64_t batch;
    bool training;        /* See thaw_lower_top. */
    int batch_norms_from; /* Training: the first node whose BN takes the batch's statistics. */
    thaw_program program;
    uint8_t *marks; /* For each node: below the cut, and not melted into an earlier one's step. */

    /* By root value. */
    int *uses;        /* Readers below the cut, the tap included. */
    int *lowered;     /* How many of them the program has already. */
    int *reader;      /* One of them, a node's index; -1: the tap alone. */
    int *step;        /* The step that makes it; -1: none. */
    thaw_port **port; /* Where it lies; NULL: not made. */

    /* By step of the program. */
    bool *folded; /* Its constants are copies that may be written to. */

    /* By port of the program. */
    int *last_read; /* The last step that reads it; -1: none. */
    bool *taken;    /* A step writes its sum over this port's memory. */
} thaw_lowering;

/* ERR_NOMEM, naming the node. */
thaw_status thaw__lower_no_memory(const thaw_node *node, thaw_error *err);

/* ---- what is there ------------------------------------------------------------------------- */

/* Input i of the node: its value (NULL: absent), its root's index, and where that lies. */
const thaw_value *thaw__lower_value(const thaw_lowering *l, const thaw_node *node, int i);
int thaw__lower_root(const thaw_lowering *l, int value);
thaw_port *thaw__lower_port(const thaw_lowering *l, const thaw_node *node, int i);

/* The step that makes input i, if this node is its only reader; else NULL. */
thaw_step *thaw__lower_producer(const thaw_lowering *l, const thaw_node *node, int i);

/* Whether the step's output is its sum as it is, without residual or activation. */
bool thaw__lower_is_plain(const thaw_step *step);

/* The number of a step; whether the port is read by a later one; whether some step takes over the
 * port's memory. */
int thaw__lower_number(const thaw_lowering *l, const thaw_step *step);
bool thaw__lower_read_after(const thaw_lowering *l, const thaw_port *port, int step);
bool thaw__lower_is_taken(const thaw_lowering *l, const thaw_port *port);

/* ---- making steps -------------------------------------------------------------------------- */

/* A new step with room for n_in inputs and a residual. Its output is the value `out`, or, with out
 * -1, a port whose shape the caller sets. NULL: out of memory. */
thaw_step *thaw__lower_step(thaw_lowering *l, thaw_step_kind kind, const char *name, int out,
                            int n_in);

/* The same for a node, with its first n_in inputs. */
thaw_step *thaw__lower_step_for(thaw_lowering *l, thaw_step_kind kind, const thaw_node *node,
                                int n_in);

/* The step reads the port as its input i. */
void thaw__lower_read(thaw_lowering *l, thaw_step *step, int i, thaw_port *port);

/* The step adds the port's values to its sum and writes the result over them. */
void thaw__lower_take(thaw_lowering *l, thaw_step *step, thaw_port *residual);

/* The value now lies in the port that the step made. */
void thaw__lower_place(thaw_lowering *l, int value, int step);

/* The node's output is what input i's step makes: the node melted into that step. */
void thaw__lower_melt(thaw_lowering *l, const thaw_node *node, int i);

/* The step melted into another one; it is left out at the end. */
void thaw__lower_drop(thaw_step *step);

/* The node is in the program: its inputs have one reader less to come. The walk calls it for each
 * node, and who melts a later node for that. */
void thaw__lower_done(thaw_lowering *l, const thaw_node *node);

/* Training: where the step's numbers come from; a trunk has nowhere to write it. */
thaw_step_origins *thaw__lower_origins(thaw_lowering *l, const thaw_step *step);

/* ---- constants ----------------------------------------------------------------------------- */

/* n floats in the arena, copied from `from`; NULL: zeros. NULL: out of memory. */
float *thaw__lower_floats(thaw_arena *arena, const float *from, int64_t n);

/* y = x * scale[c] + shift[c] for input i: melted into what makes x, or a step of its own. */
thaw_status thaw__lower_affine(thaw_lowering *l, const thaw_node *node, int i, const double *scale,
                               const double *shift, thaw_error *err);

#endif
