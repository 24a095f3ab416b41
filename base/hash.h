/* 128-bit content hashes (XXH3). They name things in the cache; they are not a defence against
 * somebody who makes collisions on purpose. */
#ifndef THAW_HASH_H
#define THAW_HASH_H

#include <stddef.h>
#include <stdint.h>

typedef struct thaw_hash {
    uint64_t lo, hi;
} thaw_hash;

enum { THAW_HASH_TEXT = 33 }; /* 32 hexadecimal digits and the NUL. */

/* The hash of n bytes, mixed with seed (another hash, {0, 0} for none): hashes chain. */
thaw_hash thaw_hash_bytes(thaw_hash seed, const void *bytes, size_t n);

/* Writes 32 lower-case digits, high half first. */
void thaw_hash_text(thaw_hash hash, char text[THAW_HASH_TEXT]);

static inline int thaw_hash_equal(thaw_hash a, thaw_hash b) {
    return a.lo == b.lo && a.hi == b.hi;
}

#endif
