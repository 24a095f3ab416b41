#ifndef THAW_LAYER_NORM_H
#define THAW_LAYER_NORM_H

#include "graph/lowering.h"

/* If `first` is the mean that a spelled-out layer normalisation begins with, over the last axis or the
 * channels of a map, appends it as one step, of which its nodes are parts: *done. */
thaw_status thaw__op_melt_layer_norm(thaw_lowering *l, const thaw_node *first, bool *done,
                                     thaw_error *err);

#endif
