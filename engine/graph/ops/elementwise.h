/* What arithmetic asks of activations, which exporters spell out by it. */
#ifndef THAW_ELEMENTWISE_H
#define THAW_ELEMENTWISE_H

#include "graph/lowering.h"

/* The node is an activation of its first input: in the epilogue of the step that makes that, where it
 * has room and nothing else reads it, or a step of its own. */
thaw_status thaw__op_put_act(thaw_lowering *l, const thaw_node *node, thaw_epilogue e,
                             thaw_error *err);

/* Whether `first`, x / sqrt 2, begins a GELU; then all its nodes are lowered. */
bool thaw__op_melt_gelu(thaw_lowering *l, const thaw_node *first);

/* Whether the product is an activation of its own input, i being the gate. */
bool thaw__op_melt_gate(thaw_lowering *l, const thaw_node *node, int i);

#endif
