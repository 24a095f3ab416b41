/* In the place of heif.c where its library is missing. */
#include "decoder.h"

thaw_status thaw__heif_decode(thaw_decoder *d, const uint8_t *bytes, size_t n, thaw_error *err) {
    (void)d, (void)bytes, (void)n;
    return thaw__picture_unread("HEIC and AVIF", "libheif-dev and libde265-dev", err);
}

void thaw__heif_version(char text[THAW__VERSION]) {
    text[0] = 0;
}
