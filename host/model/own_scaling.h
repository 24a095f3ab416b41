/* What a network does to its pixels before its first layer, which tells what it wants of them. */
#ifndef THAW_OWN_SCALING_H
#define THAW_OWN_SCALING_H

#include "graph/graph.h"

typedef struct thaw_own_scaling {
    bool any; /* There is arithmetic with constants: x * scale + shift, means over the channels. */
    bool picks; /* It begins by taking channels apart. */
    double scale, shift;
} thaw_own_scaling;

/* Follows the input through Sub, Add, Mul, Div and BatchNormalization with constants, past what changes no
 * number, up to anything else. */
thaw_own_scaling thaw_own_scaling_of(const thaw_graph *graph);

#endif
