/* Reading numbers from a file's bytes without ever leaving them: what lies behind the end is zero,
 * and remembered. */
#ifndef THAW_BYTES_H
#define THAW_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct thaw_bytes {
    const uint8_t *at;
    size_t left;
    bool big;   /* The most significant byte comes first. */
    bool ended; /* More was asked for than there is. */
} thaw_bytes;

/* The next n bytes, behind which it goes on; NULL and `ended`, from then on, when there are fewer. */
static inline const uint8_t *thaw_bytes_take(thaw_bytes *b, uint64_t n) {
    if (n > b->left) b->ended = true;
    if (b->ended) b->left = 0;
    if (b->ended) return NULL;
    const uint8_t *taken = b->at;
    b->at += n;
    b->left -= (size_t)n;
    return taken;
}

/* The next number of 1 to 4 bytes; 0 when there are fewer. */
static inline uint32_t thaw_bytes_number(thaw_bytes *b, int size) {
    const uint8_t *p = thaw_bytes_take(b, (uint64_t)size);
    uint32_t number = 0;
    for (int i = 0; p && i < size; i++)
        number = number << 8 | p[b->big ? i : size - 1 - i];
    return number;
}

#endif
