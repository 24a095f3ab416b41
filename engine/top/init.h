/* Weights from nothing, as PyTorch draws them. */
#ifndef THAW_INIT_H
#define THAW_INIT_H

#include "graph/graph.h"

/* Gives all that can be trained in the nodes behind `first` and up to `last` new values, in copies that
 * lie in the arena: convolutions and dense layers uniform in +-1 / sqrt(fan-in), which is
 * kaiming_uniform with a = sqrt(5), their biases in the same; a BN or layer norm is one that does
 * nothing. What a scale or a shift alone has stays. The numbers depend on seed and node only. ERR_NOMEM. */
thaw_status thaw_init_random(thaw_graph *graph, int first, int last, uint64_t seed,
                             thaw_arena *arena, thaw_error *err);

#endif
