/* In the place of tiff.c where its library is missing. */
#include "decoder.h"

thaw_status thaw__tiff_decode(thaw_decoder *d, const uint8_t *bytes, size_t n, thaw_error *err) {
    (void)d, (void)bytes, (void)n;
    return thaw__picture_unread("TIFF", "libtiff-dev", err);
}

void thaw__tiff_version(char text[THAW__VERSION]) {
    text[0] = 0;
}
