/* Decodes many pictures for tests/peer/test_pictures.py.
 *
 * Standard input: for each picture the number of its bytes, the width and the height that it should
 * have (u32 each, 0 and 0: not known), and the bytes. Standard output: for each a status (i32), and
 * when that is 0 and the size was given, u8 RGB [height, width, 3]. A picture of another size comes
 * out stretched.
 */
#include <stdio.h>
#include <stdlib.h>

#include "picture/image.h"

static thaw_status decode(thaw_decoder *decoder, const uint8_t *bytes, const uint32_t head[3],
                          uint8_t *out) {
    thaw_geometry g = {.width = (int)head[1],
                       .height = (int)head[2],
                       .fit = THAW_FIT_SQUASH,
                       .channels = 3,
                       .background = 255};
    thaw_pixels pixels;
    if (g.width == 0) return thaw_image_decode_full(decoder, bytes, head[0], 255, &pixels, NULL);
    return thaw_image_decode(decoder, bytes, head[0], &g, out, NULL);
}

int main(void) {
    uint32_t head[3];
    thaw_decoder *decoder;
    if (thaw_decoder_create(&decoder, NULL) != THAW_OK) return 1;
    while (fread(head, sizeof head, 1, stdin) == 1) {
        size_t n = (size_t)head[1] * head[2] * 3;
        uint8_t *bytes = malloc((size_t)head[0] + 1), *out = malloc(n + 1);
        if (!bytes || !out || fread(bytes, 1, head[0], stdin) != head[0]) return 1;
        int32_t status = decode(decoder, bytes, head, out);
        fwrite(&status, sizeof status, 1, stdout);
        if (status == THAW_OK) fwrite(out, 1, n, stdout);
        free(bytes);
        free(out);
    }
    thaw_decoder_free(decoder);
    return fflush(stdout) == 0 ? 0 : 1;
}
