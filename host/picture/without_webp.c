/* In the place of webp.c where its library is missing. */
#include "decoder.h"

thaw_status thaw__webp_decode(thaw_decoder *d, const uint8_t *bytes, size_t n, thaw_error *err) {
    (void)d, (void)bytes, (void)n;
    return thaw__picture_unread("WebP", "libwebp-dev", err);
}

void thaw__webp_version(char text[THAW__VERSION]) {
    text[0] = 0;
}
