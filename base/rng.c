#include "rng.h"

#include <math.h>
#include <string.h>

void thaw_philox(uint64_t seed, uint64_t stream, uint64_t counter, uint32_t out[4]) {
    uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
    uint32_t c[4] = {(uint32_t)counter, (uint32_t)(counter >> 32), (uint32_t)stream,
                     (uint32_t)(stream >> 32)};
    for (int round = 0; round < 10; round++) {
        uint64_t a = UINT64_C(0xD2511F53) * c[0], b = UINT64_C(0xCD9E8D57) * c[2];
        uint32_t next0 = (uint32_t)(b >> 32) ^ c[1] ^ key0;
        uint32_t next2 = (uint32_t)(a >> 32) ^ c[3] ^ key1;
        c[0] = next0;
        c[1] = (uint32_t)b;
        c[2] = next2;
        c[3] = (uint32_t)a;
        key0 += 0x9E3779B9; /* The golden ratio, and the square root of 3 less 1. */
        key1 += 0xBB67AE85;
    }
    memcpy(out, c, sizeof c);
}

thaw_rng thaw_rng_open(uint64_t seed, thaw_rng_use use, uint64_t stream) {
    return (thaw_rng){.seed = seed, .stream = (uint64_t)use << 48 | stream};
}

uint32_t thaw_rng_bits(thaw_rng *rng) {
    if (rng->left == 0) {
        thaw_philox(rng->seed, rng->stream, rng->counter++, rng->block);
        rng->left = 4;
    }
    return rng->block[4 - rng->left--];
}

float thaw_rng_uniform(thaw_rng *rng) {
    return (float)(thaw_rng_bits(rng) >> 8) * 0x1p-24f;
}

float thaw_rng_normal(thaw_rng *rng) {
    float u = 1 - thaw_rng_uniform(rng); /* Never 0, whose logarithm is infinite. */
    float v = thaw_rng_uniform(rng);
    return sqrtf(-2 * logf(u)) * cosf(6.28318530718f * v);
}

uint32_t thaw_rng_below(thaw_rng *rng, uint32_t n) {
    uint64_t product = (uint64_t)thaw_rng_bits(rng) * n;
    uint32_t excess = -n % n; /* 2^32 mod n: that many low halves would count once too often. */
    while ((uint32_t)product < excess)
        product = (uint64_t)thaw_rng_bits(rng) * n;
    return (uint32_t)(product >> 32);
}

void thaw_rng_permutation(thaw_rng *rng, int64_t n, int64_t *index) {
    for (int64_t i = 0; i < n; i++) {
        int64_t j = thaw_rng_below(rng, (uint32_t)(i + 1));
        index[i] = index[j];
        index[j] = i;
    }
}

void thaw_rng_dropout(thaw_rng *rng, int64_t n, float rate, float *x) {
    float scale = 1 / (1 - rate);
    for (int64_t i = 0; i < n; i++)
        x[i] = thaw_rng_uniform(rng) < rate ? 0 : x[i] * scale;
}
