/* Decodes many pictures for tests/peer/test_pictures.py.
 *
 * usage: decode_pictures [FORMAT...]
 *
 * With formats: prints those that are read. Else, standard input: for each picture the number of its
 * bytes, the width and the height that it should have (u32 each, 0 and 0: not known), 1 if it is to be
 * decoded fast (u32), and the bytes. Standard output: for each a status (i32), and
 * when that is 0 and the size was given, u8 RGB [height, width, 3]. A picture of another size comes
 * out stretched.
 */
#include <stdio.h>
#include <stdlib.h>

#include "picture/image.h"

static thaw_status decode(thaw_decoder *decoder, const uint8_t *bytes, const uint32_t head[4],
                          uint8_t *out) {
    thaw_geometry g = {.width = (int)head[1],
                       .height = (int)head[2],
                       .fit = THAW_FIT_SQUASH,
                       .channels = 3,
                       .background = 255,
                       .decode = head[3] ? THAW_DECODE_FAST : THAW_DECODE_EXACT};
    thaw_pixels pixels;
    if (g.width == 0) return thaw_image_decode_full(decoder, bytes, head[0], 255, &pixels, NULL);
    return thaw_image_decode(decoder, bytes, head[0], &g, out, NULL);
}

int main(int argc, char **argv) {
    uint32_t head[4];
    thaw_decoder *decoder;
    for (int i = 1; i < argc; i++)
        if (thaw_image_reads(argv[i])) puts(argv[i]);
    if (argc > 1) return 0;
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
