/* IEEE 754 half precision (binary16), for storage. */
#ifndef THAW_HALF_H
#define THAW_HALF_H

#include <stddef.h>
#include <stdint.h>

/* Rounds to nearest, ties to even; what is too large becomes infinity; NaN stays NaN. */
void thaw_half_from_float(const float *from, size_t n, uint16_t *to);

/* Exact. */
void thaw_float_from_half(const uint16_t *from, size_t n, float *to);

#endif
