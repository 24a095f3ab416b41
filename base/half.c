#include "half.h"

#include <stdbool.h>
#include <string.h>

#include "clones.h"

/* Both directions compute every case and choose by a mask, so that the loops become vector code: a
 * branch around floating point would forbid it. */

static inline uint32_t choose(bool first, uint32_t a, uint32_t b) {
    uint32_t mask = 0u - first;
    return (a & mask) | (b & ~mask);
}

static inline uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint16_t half(float value) {
    uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000;
    bits &= 0x7fffffff;
    /* Exponent 127 -> 15, and round to even. */
    uint32_t normal = (bits + 0xc8000000 + 0xfff + (bits >> 13 & 1)) >> 13;
    /* Adding 0.5 lets the FPU shift and round the mantissa into its lowest bits. */
    uint32_t subnormal = bits_of(float_of(bits) + 0.5f) - 0x3f000000;
    uint32_t special = choose(bits > 0x7f800000, 0x7e00, 0x7c00); /* NaN, infinity */
    uint32_t finite = choose(bits < 0x38800000, subnormal, normal);
    return (uint16_t)(sign | choose(bits >= 0x477ff000, special, finite)); /* From 65520 on. */
}

static inline float from_half(uint16_t value) {
    uint32_t sign = (uint32_t)(value & 0x8000) << 16, rest = value & 0x7fff;
    uint32_t normal = (rest << 13) + choose(rest >= 0x7c00, 0x70000000, 0x38000000);
    uint32_t subnormal = bits_of((float)(int32_t)rest * 0x1p-24f);
    return float_of(sign | choose(rest < 0x0400, subnormal, normal));
}

THAW_CLONES void thaw_half_from_float(const float *from, size_t n, uint16_t *to) {
    for (size_t i = 0; i < n; i++)
        to[i] = half(from[i]);
}

THAW_CLONES void thaw_float_from_half(const uint16_t *from, size_t n, float *to) {
    for (size_t i = 0; i < n; i++)
        to[i] = from_half(from[i]);
}
