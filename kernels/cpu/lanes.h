/* Eight floats as one, for loops of our own that are sized for AVX2's sixteen registers. */
#ifndef THAW_LANES_H
#define THAW_LANES_H

#include <stdint.h>
#include <string.h>

#include "clones.h"

enum { LANES = 8 };

typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));
typedef float loose __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline))

/* Eight floats, wherever they lie. */
INLINE loose *at(const float *p) {
    return (loose *)p;
}

/* The first n of them, and zeros. */
INLINE void some(const float *p, int64_t n, lanes *v) {
    *v = (lanes){0};
    memcpy(v, p, (size_t)n * sizeof *p);
}

#endif
