/* Taps, for what takes a part of a picture; see kernels.h. */
#ifndef THAW_RESAMPLE_H
#define THAW_RESAMPLE_H

#include "graph/lowering.h"
#include "rules.h"

/* Room for n taps at each of `out` places, weights 0. False: out of memory. */
bool thaw__op_take_taps(thaw_lowering *l, int64_t n, int64_t out, int32_t **from, float **weight,
                        thaw_taps *taps);

/* `out` places from `first` on, each `step` behind the one before. from is NULL: out of memory. */
thaw_taps thaw__op_take_part(thaw_lowering *l, int64_t first, int64_t step, int64_t out);

/* Whether a Pad made x, a map, with a border that no pixel is below: only pools of the largest read it, and their
 * windows take it over. Its pads, if so. */
bool thaw__op_lowest_border(const thaw_graph *graph, const thaw_value *x, thaw_window *border);

#endif
