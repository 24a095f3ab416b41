/* Pixels as a JPEG, the same bytes on every processor: for the pictures that are drawn, and for small
 * ones in a report. */
#ifndef THAW_JPEG_ENCODE_H
#define THAW_JPEG_ENCODE_H

#include <stddef.h>
#include <stdint.h>

/* rgb: u8 [height, width, 3]; quality: 1 to 100. bytes is malloc's, to be freed also after a failure.
 * Returns 0, or -1: memory is short. */
int thaw_jpeg_encode(const uint8_t *rgb, int width, int height, int quality, unsigned char **bytes,
                     unsigned long *n_bytes);

#endif
