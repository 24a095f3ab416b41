/* Cuts: the places in a network where exactly one tensor passes.
 *
 * What lies below a cut is a pure function of the picture: it can be frozen, run once, and its
 * output kept. Cut 0 is the picture itself; the last one is the network's output.
 */
#ifndef THAW_CUTS_H
#define THAW_CUTS_H

#include "graph.h"
#include "hash.h"

typedef struct thaw_cut {
    int index;
    int value; /* The tensor that passes: a root in graph->values. */
    int shape; /* The same numbers as a map or a vector, which a new head in the file reads: value
                        * itself, or one that renames it, such as what a channel shuffle ends as. */
    int node;  /* The last node below the cut; -1 for the picture. */
    const char *name;  /* The node's name, "input" for the picture. */
    const char *stage; /* "stage3.2": second residual block of the third resolution; "stage3": the
                        * last cut at that resolution; NULL: neither. */
    int64_t elements;  /* For one image. */
    int64_t params_below, params_above;
    int64_t flop_below, flop_above; /* For one image. */
} thaw_cut;

typedef struct thaw_cuts {
    thaw_cut *cuts; /* In the graph's arena. */
    int n;
    int last; /* Index of the cut that only the head is above. */
    int head; /* The node that the old head begins with; -1: the network ends without one. */
} thaw_cuts;

/* Finds all cuts, and the old head by its look: the last layer if nothing stands behind it but what
 * can stand behind a classifier. Fails with ERR_NOMEM only. */
thaw_status thaw_cuts_find(thaw_graph *graph, thaw_cuts *cuts, thaw_error *err);

/* Says where the old head begins: NULL (as found), "none", or the name of a node; what is at it or
 * above it is then replaced. ERR_USAGE with the nearest name when there is none such. */
thaw_status thaw_cuts_set_head(const thaw_graph *graph, thaw_cuts *cuts, const char *at,
                               thaw_error *err);

/* The cut that `freeze` means: last, none (cut 0), half (as much is frozen as leaves
 * half of the weights below the head, or more, to be trained), an index, a stage, a node's or tensor's name.
 * ERR_USAGE with the nearest name when there is none such. */
thaw_status thaw_cuts_select(const thaw_graph *graph, const thaw_cuts *cuts, const char *freeze,
                             const thaw_cut **cut, thaw_error *err);

/* Whether the cut is its stage's narrowest below the head: no other has a smaller tensor, nor one as small that
 * stands higher. False of a cut without a stage. */
bool thaw_cut_is_narrowest(const thaw_cuts *cuts, const thaw_cut *cut);

/* Whether layers with weights lie between the cut and the head: then they can be trained, too. */
bool thaw_cut_trains(const thaw_graph *graph, const thaw_cuts *cuts, const thaw_cut *cut);

/* Content hash of the sub-graph below the cut: operators, attributes, wiring and weights, without
 * names. pooled: a global mean follows. Two files with the same frozen function mostly agree. */
thaw_status thaw_cut_hash(const thaw_graph *graph, const thaw_cut *cut, bool pooled,
                          thaw_hash *hash, thaw_error *err);

/* Whether the tensor at the cut is a feature map (height or width above 1). */
bool thaw_cut_is_map(const thaw_graph *graph, const thaw_cut *cut);

#endif
