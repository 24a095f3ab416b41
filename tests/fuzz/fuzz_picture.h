/* One picture format. The bytes get the format's first ones, so that they reach its decoder, and go
 * through two decoders whose memory holds different pictures: what comes out must not tell. */
#ifndef THAW_FUZZ_PICTURE_H
#define THAW_FUZZ_PICTURE_H

#include "fuzz.h"
#include "picture/decoder.h"

enum { FUZZ_SIDE = 6 };

/* Leaves this in the memory that the next function takes for its variables. */
__attribute__((noinline)) static void fuzz_fill_stack(int grey) {
    void *(*volatile fill)(void *, int, size_t) = memset; /* Or it would be left out. */
    uint8_t room[1 << 16];
    fill(room, grey, sizeof room);
}

static inline thaw_status fuzz_decode(const uint8_t *bytes, size_t n, const thaw_geometry *g,
                                      int grey, uint8_t *out) {
    static uint8_t before[13 + 24 * 20] = "P5 24 20 255\n";
    uint8_t unused[FUZZ_SIDE * FUZZ_SIDE * 3];
    thaw_decoder *decoder;
    thaw_error err = {0};
    memset(before + 13, grey, 24 * 20);
    memset(out, 0, FUZZ_SIDE * FUZZ_SIDE * 3);
    FUZZ_CHECK(thaw_decoder_create(&decoder, NULL) == THAW_OK);
    decoder->most_pixels = 1 << 13; /* More takes time and shows no more. */
    FUZZ_CHECK(thaw_image_decode(decoder, before, sizeof before, g, unused, NULL) == THAW_OK);
    fuzz_fill_stack(grey);
    thaw_status status = thaw_image_decode(decoder, bytes, n, g, out, &err);
    fuzz_check_status(status, &err);
    if (status != THAW_OK) memset(out, 0, FUZZ_SIDE * FUZZ_SIDE * 3);
    thaw_decoder_free(decoder);
    return status;
}

/* The first bytes are replaced by magic; how it is resized is up to the number of bytes. */
static inline void fuzz_picture(const char *magic, size_t length, const uint8_t *data, size_t n) {
    if (n < length) return;
    thaw_geometry g = {.width = FUZZ_SIDE,
                       .height = FUZZ_SIDE - n % 3,
                       .fit = n & 1 ? THAW_FIT_CROP : THAW_FIT_SQUASH,
                       .filter = n & 2 ? THAW_FILTER_BICUBIC : THAW_FILTER_BILINEAR,
                       .order = n & 4 ? THAW_ORDER_BGR : THAW_ORDER_RGB,
                       .channels = n & 8 ? 1 : 3,
                       .background = 255,
                       .decode = n & 16 ? THAW_DECODE_FAST : THAW_DECODE_EXACT,
                       .window = n & 32   ? (thaw_pixel_window){THAW_WINDOW_PERCENTILE, 1, 99}
                                 : n & 64 ? (thaw_pixel_window){THAW_WINDOW_MINMAX, 0, 0}
                                          : (thaw_pixel_window){THAW_WINDOW_FILE, 0, 0}};
    uint8_t a[FUZZ_SIDE * FUZZ_SIDE * 3], b[FUZZ_SIDE * FUZZ_SIDE * 3];
    uint8_t *bytes = malloc(n); /* Exactly: a sanitizer sees a read behind the end. */
    FUZZ_CHECK(bytes);
    memcpy(bytes, data, n);
    memcpy(bytes, magic, length);
    thaw_status first = fuzz_decode(bytes, n, &g, 0x11, a);
    FUZZ_CHECK(fuzz_decode(bytes, n, &g, 0xee, b) == first);
    FUZZ_CHECK(memcmp(a, b, sizeof a) == 0);
    free(bytes);
}

#endif
