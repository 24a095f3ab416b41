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
    int most;       /* Steps, and ports, that there is room for. */
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

/* The only node that reads what `node` makes, if it is below the cut and of this operator; else NULL. */
const thaw_node *thaw__lower_only_reader(const thaw_lowering *l, const thaw_node *node,
                                         const struct thaw_op *op);

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

/* ---- a node as several steps ------------------------------------------------------------------ */

/* Most operators that networks use a few times are no kind of step, but a chain of some. Each of these
 * appends one that reads a port, and returns what it makes; NULL: out of memory, or x was NULL, so that
 * a chain is checked once, by thaw__lower_finish. `node` names the steps. */

/* The activation alone; a x + b of every number; x + y or x * y, the larger first: a smaller one is
 * spread over what it is 1 wide in. */
thaw_port *thaw__lower_act(thaw_lowering *l, const thaw_node *node, thaw_port *x, thaw_epilogue e);
thaw_port *thaw__lower_line(thaw_lowering *l, const thaw_node *node, thaw_port *x, float a,
                            float b);
thaw_port *thaw__lower_pair(thaw_lowering *l, const thaw_node *node, thaw_step_kind kind,
                            thaw_port *x, thaw_port *y);

/* Each channel by a scale and a shift, C of each, which live as long as the plan. */
thaw_port *thaw__lower_scaled(thaw_lowering *l, const thaw_node *node, thaw_port *x,
                              const float *scale, const float *shift);

/* y[k] = b[k] + sum over c of w[k,c] x[c] at every pixel; arrays as above, b may be NULL. */
thaw_port *thaw__lower_mixed(thaw_lowering *l, const thaw_node *node, thaw_port *x, int64_t K,
                             const float *w, const float *b);

/* Maximum or mean over windows of R x S, side by side, into which H x W must divide. */
thaw_port *thaw__lower_pooled(thaw_lowering *l, const thaw_node *node, thaw_port *x, bool max,
                              int64_t R, int64_t S);

/* H x W places, as taps say; arrays as above. */
thaw_port *thaw__lower_resampled(thaw_lowering *l, const thaw_node *node, thaw_port *x, int64_t H,
                                 int64_t W, thaw_taps rows, thaw_taps columns);
/* Rows and columns of which there is one are repeated. */
thaw_port *thaw__lower_spread(thaw_lowering *l, const thaw_node *node, thaw_port *x, int64_t H,
                              int64_t W);

/* C of the channels, from `first` on. */
thaw_port *thaw__lower_sliced(thaw_lowering *l, const thaw_node *node, thaw_port *x, int64_t first,
                              int64_t C);

/* x, which is v, with all of y's channels, of which it has those of some axes: each as often as these
 * say. At most so many, since it is a mixture. */
enum { THAW_MOST_WIDENED = 4096 };
thaw_port *thaw__lower_widened(thaw_lowering *l, const thaw_node *node, thaw_port *x,
                               const thaw_value *v, const thaw_value *y);

/* The only channel, C times. */
thaw_port *thaw__lower_repeated(thaw_lowering *l, const thaw_node *node, thaw_port *x, int64_t C);

/* The same numbers in ONNX's order as C x H x W; x itself where it is that already. */
thaw_port *thaw__lower_reshaped(thaw_lowering *l, const thaw_node *node, thaw_port *x, int64_t C,
                                int64_t H, int64_t W);
thaw_port *thaw__lower_transposed(thaw_lowering *l, const thaw_node *node, thaw_port *x,
                                  const thaw_permutation *axes, int64_t C, int64_t H, int64_t W);

/* Input i in ONNX's order, as C x H x W: what lies N,H,W,C is turned. */
thaw_port *thaw__lower_in_order(thaw_lowering *l, const thaw_node *node, int i, int64_t C,
                                int64_t H, int64_t W);

/* A constant of H x W x C for every picture; the array as above. */
thaw_port *thaw__lower_constant(thaw_lowering *l, const thaw_node *node, int64_t H, int64_t W,
                                int64_t C, const float *w);

/* The node's output is what was made; brought to the dimensions that it should have. */
thaw_status thaw__lower_finish(thaw_lowering *l, const thaw_node *node, thaw_port *made,
                               thaw_error *err);
/* The same for output k of several. */
thaw_status thaw__lower_finish_output(thaw_lowering *l, const thaw_node *node, int k,
                                      thaw_port *made, thaw_error *err);

/* How a value lies: N,C,H,W of a map, N,C of a vector. Of more dimensions the last two are H and W, of
 * three, too, and all others together are C. */
thaw_port thaw__lower_shape(const thaw_lowering *l, const thaw_value *v);

/* ---- constants ----------------------------------------------------------------------------- */

/* n floats in the arena, copied from `from`; NULL: zeros. NULL: out of memory. */
float *thaw__lower_floats(thaw_arena *arena, const float *from, int64_t n);

/* y = x * scale[c] + shift[c] for input i: melted into what makes x, or a step of its own. */
thaw_status thaw__lower_affine(thaw_lowering *l, const thaw_node *node, int i, const double *scale,
                               const double *shift, thaw_error *err);

#endif
