#include "hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <xxhash.h>

thaw_hash thaw_hash_bytes(thaw_hash seed, const void *bytes, size_t n) {
    XXH128_hash_t h = XXH3_128bits_withSeed(bytes, n, seed.lo ^ (seed.hi * 0x9e3779b97f4a7c15u));
    /* The high half of the seed goes into the high half of the result, so no seed bit is lost. */
    return (thaw_hash){h.low64, h.high64 ^ (seed.hi << 1 | seed.hi >> 63)};
}

void thaw_hash_text(thaw_hash hash, char text[THAW_HASH_TEXT]) {
    snprintf(text, THAW_HASH_TEXT, "%016" PRIx64 "%016" PRIx64, hash.hi, hash.lo);
}
