/* Where activations lie: one piece of memory, in which tensors that are never alive together share
 * places. */
#ifndef THAW_MEMORY_PLAN_H
#define THAW_MEMORY_PLAN_H

#include "graph/lower.h"

/* Sets the offset, a multiple of 64, of each port of a prepared program and *bytes, how much they
 * take together. A port lives from the step that makes it to the last one that reads it; what a
 * step makes in place lies where its last input does. Time: n log n for n steps and ports.
 * ERR_NOMEM. */
thaw_status thaw__memory_plan(thaw_program *program, size_t *bytes, thaw_error *err);

#endif
