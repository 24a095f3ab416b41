#include "half.h"

#include <string.h>

static uint16_t half(float value) {
    uint32_t bits, sign;
    memcpy(&bits, &value, sizeof bits);
    sign = bits >> 16 & 0x8000;
    bits &= 0x7fffffff;
    if (bits > 0x7f800000) return (uint16_t)(sign | 0x7e00);  /* NaN */
    if (bits >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* 65520 and more: infinity */
    if (bits < 0x38800000) {
        /* Subnormal: adding 0.5 lets the FPU shift and round the mantissa into its lowest bits. */
        float magnitude;
        memcpy(&magnitude, &bits, sizeof magnitude);
        magnitude += 0.5f;
        memcpy(&bits, &magnitude, sizeof bits);
        return (uint16_t)(sign | (bits - 0x3f000000));
    }
    bits += 0xc8000000 + 0xfff + (bits >> 13 & 1); /* Exponent 127 -> 15, and round to even. */
    return (uint16_t)(sign | bits >> 13);
}

static float from_half(uint16_t value) {
    uint32_t sign = (uint32_t)(value & 0x8000) << 16, rest = value & 0x7fff, bits;
    float result;
    if (rest < 0x0400) { /* Zero and subnormals: rest * 2^-24. */
        result = (float)rest * 0x1p-24f;
        memcpy(&bits, &result, sizeof bits);
        bits |= sign;
    } else {
        bits = sign | ((rest << 13) + (rest >= 0x7c00 ? 0x70000000u : 0x38000000u));
    }
    memcpy(&result, &bits, sizeof result);
    return result;
}

void thaw_half_from_float(const float *from, size_t n, uint16_t *to) {
    for (size_t i = 0; i < n; i++)
        to[i] = half(from[i]);
}

void thaw_float_from_half(const uint16_t *from, size_t n, float *to) {
    for (size_t i = 0; i < n; i++)
        to[i] = from_half(from[i]);
}
