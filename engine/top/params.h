/* What is trained: all of it in one block of floats, the weights as the file has them.
 *
 * A segment is one tensor of the file, or of the new head. Steps read something else: their own
 * block, which is made from the segments before each step. Mostly that is a copy; where a BN with
 * running statistics is part of a layer, it is w' = s w and b' = beta + s (b - mean) with
 * s = gamma / sqrt(var + epsilon), so that the BN costs no pass over activations, and the gradients
 * of w, b, gamma and beta follow from those of w' and b'. Gradients, moments and averages are blocks
 * laid out like the segments', so that an optimizer's step is one pass over memory.
 */
#ifndef THAW_PARAMS_H
#define THAW_PARAMS_H

#include "enum.h"
#include "graph/lower.h"

/* frozen: scale, shift and statistics stay; affine: scale and shift are trained, statistics stay;
 * full: statistics of the batch, running ones follow them. */
#define THAW_NORM_LIST(X)         \
    X(THAW_NORM_FROZEN, "frozen") \
    X(THAW_NORM_AFFINE, "affine") \
    X(THAW_NORM_FULL, "full")
typedef enum thaw_norm { THAW_NORM_LIST(THAW_ENUM_VALUE) } thaw_norm;

typedef struct thaw_segment {
    const char *name;  /* The tensor's in the file; "head.N.weight", "head.N.bias". */
    int value;         /* In the graph; -1: the head's. */
    int node;          /* The first node that reads it; the graph's n_nodes for the head. */
    int64_t n, offset; /* Numbers, and where in a block. */
    int64_t rows,
        columns;  /* Of a matrix that the file has transposed; 0: it lies as in the file. */
    bool decays;  /* Weights do, biases and what normalises do not. */
    float factor; /* Of the learning rate; 1 at first. */
} thaw_segment;

/* Where step s of the program has its numbers in the steps' block; -1: it does not. */
typedef struct thaw_step_place {
    int64_t w, b, scale, shift, mean, var;
} thaw_step_place;

typedef struct thaw_params {
    thaw_segment *segments;
    int n_segments;
    int64_t n;      /* Numbers of all segments. */
    float *values;  /* [n] */
    float *running; /* [n_running] Means and variances of BNs that follow the batch's. */
    int64_t n_running;
    float *steps; /* [n_steps] What steps read. */
    int64_t n_steps;
    thaw_step_place *places; /* For each step of the program. */
    thaw_derivation *rules;  /* How steps' numbers come from the segments'. */
    int n_rules;
    int (*statistics)[2]; /* [n_rules] TEST: where the graph has mean and variance. */
} thaw_params;

/* Finds out what of the program, which makes the value `to` of the graph, is trained: everything at
 * node first_trained or later, and the w and b of the head's dense layers, which are the steps from
 * first_head on. Reads the starting values from the graph and the steps. All memory is the arena's.
 * ERR_UNSUPPORTED: a tensor that is also read where it is not trained; ERR_NOMEM. */
thaw_status thaw_params_init(thaw_params *params, const thaw_graph *graph, int to,
                             const thaw_program *program, thaw_norm norm, int first_trained,
                             int first_head, thaw_arena *arena, thaw_error *err);

/* Points the steps of such a program to the block, which is params->steps or a copy of it, and their
 * gradients to one that is laid out like it. */
void thaw_params_bind(const thaw_params *params, thaw_program *program, float *block,
                      float *steps_gradient);

/* Whether a step of the program has numbers that are trained. */
bool thaw_params_trains(const thaw_params *params, int step);

/* One of n equal parts of some work: 0 <= i < n. Parts may run side by side, and no bit depends on n. */
typedef struct thaw_part {
    int i, n;
} thaw_part;

/* steps = f(values). */
void thaw_params_derive(const thaw_params *params, thaw_part part);

/* From the steps' gradients, laid out like steps, to the segments', laid out like values, which are
 * zero. Gradients of a tensor that several steps read add up. */
void thaw_params_pull(const thaw_params *params, const float *steps_gradient, float *gradient,
                      thaw_part part);

/* Running statistics follow the batch's, sums of which over so many lanes of `lane` pictures are in the
 * steps' gradient block where the running ones are in the steps'. running += momentum (mean of lanes -
 * running); a variance of n numbers is multiplied by n / (n - 1) first, as PyTorch has it. */
void thaw_params_follow(const thaw_params *params, const float *steps_gradient, int lanes,
                        int64_t lane, float momentum);

/* Puts the values, in the file's order, where the graph has its constants: into copies, which lie in
 * the arena. ERR_NOMEM. */
thaw_status thaw_params_store(const thaw_params *params, thaw_graph *graph, thaw_arena *arena,
                              thaw_error *err);

#endif
